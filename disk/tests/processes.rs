//! What one process sees of another. Each test starts this program again, for itself alone.

#![cfg(not(miri))]
#![expect(unsafe_code, reason = "reads mappings and sends signals")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use revd_disk::{Access, BLOCK, Buffer, Disk, Mapping, Open, Real, report_bus_errors};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Tells the second process that it is the second, and where the file is.
const FILE: &str = "REVD_DISK_TEST_FILE";

/// This test again, as a process of its own.
fn second(test: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the second process says `word`.
fn hear(lines: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended before it said {word}");
    }
}

#[test]
fn a_mark_is_seen_by_another_process_until_its_holder_ends() {
    if let Some(path) = std::env::var_os(FILE) {
        let reader = Real::new().open(path.as_ref(), Open::read()).unwrap();
        assert!(reader.is_marked(0..10).unwrap(), "the mark of the first process");
        reader.mark(1 << 50).unwrap();
        println!("marked");
        // Until it is killed: a mark needs nobody to clean up.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let writer = Real::new().open(&path, Open::new_file(Access::Direct)).unwrap();
    writer.mark(9).unwrap();
    let mut child = second("a_mark_is_seen_by_another_process_until_its_holder_ends", &path);
    hear(&mut BufReader::new(child.stdout.take().unwrap()), "marked");
    assert!(writer.is_marked(0..u64::MAX).unwrap());
    assert!(writer.is_marked(1 << 50..(1 << 50) + 1).unwrap());
    assert!(!writer.is_marked(0..1 << 50).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!writer.is_marked(0..u64::MAX).unwrap());
}

#[test]
fn a_lock_excludes_another_process_until_its_holder_ends() {
    if let Some(path) = std::env::var_os(FILE) {
        let _lock = Real::new().lock(path.as_ref()).unwrap();
        println!("locked");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("lock");
    let mut child = second("a_lock_excludes_another_process_until_its_holder_ends", &path);
    hear(&mut BufReader::new(child.stdout.take().unwrap()), "locked");
    assert!(Real::new().lock(&path).unwrap_err().is_locked());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(Real::new().lock(&path).unwrap());
}

/// Whether this is the second process of a test; if so, it leaves no core file when it dies.
fn is_second() -> Option<PathBuf> {
    let path = std::env::var_os(FILE)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    Some(path.into())
}

/// Runs the second process to its end; returns how that was, and the file.
fn end_of_second(test: &str) -> (Output, PathBuf) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("data\nfile");
    (second(test, &path).wait_with_output().unwrap(), path)
}

/// A mapping of four blocks of a file that has only one by now.
fn cut_below_its_mapping(path: &Path) -> Mapping {
    let file = Real::new().open(path, Open::new_file(Access::Buffered)).unwrap();
    file.write_at(&Buffer::zeroed(4 * BLOCK), 0).unwrap();
    let mapping = file.map(4 * BLOCK as u64).unwrap();
    let other = Real::new().open(path, Open::existing(Access::Buffered)).unwrap();
    other.truncate(BLOCK as u64).unwrap();
    mapping
}

/// Reads a byte of a mapping that is not there: the end of this process.
fn read(mapping: &Mapping, offset: u64) {
    // SAFETY: none; the test is about what happens to those who do this.
    let slice = unsafe { mapping.slice(offset, 1) };
    println!("read {}", std::hint::black_box(slice)[0]);
}

#[test]
fn a_page_that_cannot_be_read_is_named_before_the_process_dies() {
    if let Some(path) = is_second() {
        report_bus_errors();
        report_bus_errors();
        let mapping = cut_below_its_mapping(&path);
        read(&mapping, 17);
        return read(&mapping, 2 * BLOCK as u64 + 17);
    }
    let (output, path) =
        end_of_second("a_page_that_cannot_be_read_is_named_before_the_process_dies");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    let line = format!("cannot read {} at offset 8209 through its mapping", path.display());
    let line = line.replace('\n', "?");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().filter(|other| other.starts_with(&line)).count(), 1, "{said}");
    let heard = String::from_utf8_lossy(&output.stdout);
    assert!(heard.contains("read 0") && !heard.contains("read 0\nread"), "{heard}");
}

#[test]
fn a_fault_elsewhere_ends_the_process_without_a_name() {
    if let Some(path) = is_second() {
        report_bus_errors();
        drop(cut_below_its_mapping(&path));
        let file = std::fs::File::open(&path).unwrap();
        let map = memmap2::MmapOptions::new().len(4 * BLOCK).map_raw_read_only(&file).unwrap();
        // SAFETY: none, as above.
        let byte = unsafe { map.as_ptr().add(2 * BLOCK).read_volatile() };
        println!("read {byte}");
        return;
    }
    let (output, _) = end_of_second("a_fault_elsewhere_ends_the_process_without_a_name");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("cannot read"), "{output:?}");
}

#[test]
fn a_signal_that_was_sent_ends_the_process_as_ever() {
    if is_second().is_some() {
        // SAFETY: takes the standard library's handler away, which lets the first signal that was
        // sent pass, and sends one to this thread.
        unsafe {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            report_bus_errors();
            libc::raise(libc::SIGBUS);
        }
        println!("read on");
        return;
    }
    let (output, _) = end_of_second("a_signal_that_was_sent_ends_the_process_as_ever");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("cannot read"), "{output:?}");
}

/// The status with which a handler of this test ends the process.
const HANDLED: i32 = 42;

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: ends the process; safe in a handler.
    unsafe { libc::_exit(HANDLED) }
}

extern "C" fn end_with_information(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t`, and `_exit` ends the process.
    unsafe { libc::_exit(HANDLED + i32::from((*info).si_signo == signal)) }
}

#[test]
fn an_earlier_handler_gets_what_is_not_ours() {
    const TEST: &str = "an_earlier_handler_gets_what_is_not_ours";
    let informed = "REVD_DISK_TEST_INFORMED";
    if is_second().is_some() {
        // SAFETY: all zeros is a `sigaction`; the handlers have the signatures for their flags.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as *const () as libc::sighandler_t;
            if std::env::var_os(informed).is_some() {
                action.sa_sigaction = end_with_information as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO;
            }
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
            report_bus_errors();
            libc::raise(libc::SIGBUS);
        }
        return;
    }
    let (output, _) = end_of_second(TEST);
    assert_eq!(output.status.code(), Some(HANDLED), "{output:?}");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST])
        .envs([(FILE, "none"), (informed, "yes")])
        .stdout(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(HANDLED + 1));
}
