//! One run of `etcdctl`, in front or in the background.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a command may take that should end.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How often a waiting test looks again.
const LOOK: Duration = Duration::from_millis(1);

/// What a command has left behind.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
    /// Its exit code, `signal N`, or what went wrong.
    pub exit: String,
}

/// A running `etcdctl`; dropping it kills it.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Reader,
    errors: Reader,
}

impl Process {
    /// Starts a command; its input stays open until [`Process::end`] or [`Process::join`].
    pub fn start(endpoint: &str, words: &[Vec<u8>], input: &[u8]) -> Self {
        let mut command = Command::new("etcdctl");
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(b"ETCDCTL_") {
                command.env_remove(name);
            }
        }
        let words = words.iter().map(|word| OsStr::from_bytes(word));
        command.env("ETCDCTL_API", "3");
        // Two lists of endpoints would be joined.
        if !words.clone().any(|word| word.as_bytes().starts_with(b"--endpoints")) {
            command.args(["--endpoints", endpoint]);
        }
        command.args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts");
        let output = Reader::start(child.stdout.take().expect("it is piped"));
        let errors = Reader::start(child.stderr.take().expect("it is piped"));
        let mut process = Self { input: child.stdin.take(), child, output, errors };
        process.tell(input);
        process
    }

    /// Writes to the standard input. A command that does not read it has its reasons.
    pub fn tell(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes);
        }
    }

    /// Waits until a number of lines has been printed; returns whether they came.
    pub fn wait_lines(&mut self, lines: usize) -> bool {
        self.wait(|process| process.output.lines() >= lines)
    }

    /// Waits for the end of the command, which sees the end of its input.
    pub fn join(mut self) -> Outcome {
        self.input = None;
        let is_over = |process: &mut Self| process.child.try_wait().is_ok_and(|end| end.is_some());
        let has_ended = self.wait(is_over);
        self.outcome(has_ended)
    }

    /// Ends the command by a signal to its own id.
    pub fn end(mut self) -> Outcome {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may just have ended by itself; its exit code tells.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let is_over = |process: &mut Self| process.child.try_wait().is_ok_and(|end| end.is_some());
        let has_ended = self.wait(is_over);
        self.outcome(has_ended)
    }

    fn wait(&mut self, mut is_due: impl FnMut(&mut Self) -> bool) -> bool {
        let start = Instant::now();
        while !is_due(self) {
            if start.elapsed() > END_LIMIT {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    fn outcome(mut self, has_ended: bool) -> Outcome {
        if !has_ended {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("the child is ours");
        let exit = match (has_ended, status.code(), status.signal()) {
            (false, ..) => format!("did not end within {END_LIMIT:?}"),
            (true, Some(code), _) => code.to_string(),
            (true, None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        Outcome { output: self.output.finish(), errors: self.errors.finish(), exit }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread that empties a pipe.
struct Reader {
    seen: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let store = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                store.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { seen, thread: Some(thread) }
    }

    fn lines(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    fn finish(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reader of a pipe does not panic");
        }
        text(&self.seen.lock().unwrap())
    }
}

/// Bytes as text in which no two different inputs look alike: what is not UTF-8 is escaped.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
