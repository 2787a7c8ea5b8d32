//! What a log must do with arbitrary bytes: one function for each way to give it some. The fuzzer
//! calls them, and so do ordinary tests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use revd_disk::{Access, Disk, Open, Sim};
use revd_wal::{Error, OpenError, Options, Wal, inspect};

use super::forge::{self, BLOCK};

const DIR: &str = "/log";
const SEGMENT_BYTES: usize = 4 * BLOCK;

/// The files of a directory.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = SEGMENT_BYTES as u64;
    options.fill_ahead_bytes = 2 * BLOCK as u64;
    options
}

fn open(disk: &Sim) -> Result<(Wal, revd_wal::Recovery), OpenError> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

/// The files of a log of several segments, with a truncation, a long batch and a spare.
pub(crate) fn valid_log() -> &'static Files {
    static LOG: OnceLock<Files> = OnceLock::new();
    LOG.get_or_init(|| {
        let disk = Sim::new(1);
        let (wal, _) = open(&disk).expect("a new log opens");
        let written: Result<(), revd_wal::Error> = (|| {
            wal.append(1, &[&b"one"[..], b"", b"three"])?;
            wal.append(4, &[[4; 5000]])?;
            wal.append(5, &["five", "six"])?;
            wal.truncate_suffix(6)?;
            wal.append(6, &["seven"])?;
            while wal.upkeep()? {}
            Ok(())
        })();
        written.expect("a simulated disk works");
        read_files(&disk)
    })
}

/// Arbitrary bytes as the header of a segment; with an odd first byte its checksum is right.
pub(crate) fn segment_header(data: &[u8]) {
    let Some((&how, header)) = data.split_first() else {
        return;
    };
    let mut files = valid_log().clone();
    let file = &mut files[usize::from(how >> 1) % 2].1;
    let len = header.len().min(BLOCK);
    file[..len].copy_from_slice(&header[..len]);
    if how & 1 == 1 {
        forge::seal_segment(file);
    }
    survive(&files);
}

/// Arbitrary bytes where a batch is expected; with an odd first byte its checksums are right.
pub(crate) fn batch(data: &[u8]) {
    let Some((&how, batch)) = data.split_first() else {
        return;
    };
    let mut files = vec![valid_log()[0].clone()];
    let file = &mut files[0].1;
    let at = BLOCK * (1 + usize::from(how >> 1) % 3);
    let len = batch.len().min(file.len() - at);
    file[at..at + len].copy_from_slice(&batch[..len]);
    if how & 1 == 1 {
        forge::seal_all(file);
    }
    survive(&files);
}

/// Frames of arbitrary lengths and indexes in a batch whose header is right. Each frame is made of
/// a byte that says what is wrong with it, one for its length, and so many bytes.
pub(crate) fn frames(data: &[u8]) {
    let mut files = vec![valid_log()[0].clone()];
    let file = &mut files[0].1;
    file[BLOCK..].fill(0);
    let (mut at, mut count, mut rest) = (BLOCK + 40, 0_u64, data);
    while let [fault, len, after @ ..] = rest {
        let (entry, after) = after.split_at(usize::from(*len).min(after.len()));
        let Some(frame) = file.get_mut(at..at + 16 + entry.len()) else {
            break;
        };
        let claimed = match fault {
            1 => u32::MAX,
            2 => entry.len() as u32 + 1,
            3 => 64 << 20,
            _ => entry.len() as u32,
        };
        let index = if *fault == 4 { u64::MAX } else { 1 + count };
        frame[4..8].copy_from_slice(&claimed.to_le_bytes());
        frame[8..16].copy_from_slice(&index.to_le_bytes());
        frame[16..].copy_from_slice(entry);
        (at, count, rest) = (at + 16 + entry.len(), count + 1, after);
    }
    let header = &mut file[BLOCK..BLOCK + 40];
    header[4] = 1;
    header[8..16].copy_from_slice(&1_u64.to_le_bytes());
    header[16..24].copy_from_slice(&1_u64.to_le_bytes());
    header[24..32].copy_from_slice(&((at - BLOCK) as u64).to_le_bytes());
    header[32..36].copy_from_slice(&(count as u32).to_le_bytes());
    forge::seal_all(file);
    survive(&files);
}

/// Files with arbitrary names, one on each line, that hold the segments of a log or nothing.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut files = Files::new();
    for (number, line) in text.lines().take(16).enumerate() {
        let is_name =
            !line.is_empty() && line != "." && line != ".." && !line.contains(['/', '\0']);
        if is_name && files.iter().all(|(name, _)| name != line) {
            let valid = valid_log();
            let content = valid.get(number % (valid.len() + 1)).map(|(_, bytes)| bytes.clone());
            files.push((line.to_owned(), content.unwrap_or_default()));
        }
    }
    survive(&files);
}

/// Segments of arbitrary bytes: each begins with two bytes for its length.
pub(crate) fn raw_log(data: &[u8]) {
    let (mut files, mut rest) = (Files::new(), data);
    while let [low, high, after @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (content, after) = after.split_at(len.min(after.len()));
        let mut content = content.to_vec();
        content.resize(SEGMENT_BYTES.max(content.len()), 0);
        files.push((format!("{:016x}.wal", files.len() + 1), content));
        rest = after;
        if files.len() == 8 {
            break;
        }
    }
    survive(&files);
}

/// A log of which arbitrary numbers are others, with checksums that say nothing about it. Each
/// change is a file, a place, a width, and a number.
pub(crate) fn forged_log(data: &[u8]) {
    let mut files = valid_log().clone();
    let mut changes = data.chunks_exact(8);
    for change in changes.by_ref().take(8) {
        let [file, block, offset, width, number @ ..] = change else {
            break;
        };
        let count = files.len();
        let bytes = &mut files[usize::from(*file) % count].1;
        let blocks = bytes.len() / BLOCK;
        let at = usize::from(*block) % blocks * BLOCK + usize::from(*offset);
        // 4 bytes of a number, sign-extended if it is wider.
        let filling = if number[3] & 0x80 != 0 { 0xff } else { 0 };
        let wide: Vec<u8> = number.iter().copied().chain([filling; 4]).collect();
        let width = [1, 2, 4, 8][usize::from(*width) % 4];
        bytes[at..at + width].copy_from_slice(&wide[..width]);
    }
    let mut chain = 0_u32;
    for (name, bytes) in &mut files {
        if name.ends_with(".wal") {
            // A segment goes on from the one before, unless it says that nothing is before it.
            if bytes[76] & 1 == 0 {
                bytes[72..76].copy_from_slice(&chain.to_le_bytes());
            }
            chain = forge::seal_all(bytes);
        }
    }
    survive(&files);
}

/// Opens the log that these files are. It is refused, and nothing has changed; or it opens, and
/// does all that a log does.
///
/// # Panics
///
/// If it does anything else.
pub(crate) fn survive(files: &Files) {
    let disk = Sim::new(1);
    write_files(&disk, files);
    let shown = inspect(&disk, Path::new(DIR), &mut |_| {});
    let (wal, recovery) = match open(&disk) {
        Ok(opened) => opened,
        Err(OpenError::Disk(error)) => panic!("the disk works, and yet: {error}"),
        Err(error) => {
            assert!(shown.is_err() || matches!(error, OpenError::Foreign { .. }), "{error}");
            let before: std::collections::BTreeSet<_> = files.iter().cloned().collect();
            assert!(
                read_files(&disk).into_iter().collect::<std::collections::BTreeSet<_>>() == before
            );
            return;
        }
    };
    assert_eq!(wal.bounds(), (recovery.first, recovery.last));
    let content = read_all(&wal);
    assert!(content.is_some() || shown.is_err(), "a reader finds what there is not");
    let next = recovery.last + 1;
    if wal.append(next, &["appended"]).is_err() {
        // The index of the last entry that there can be.
        assert!(next > u64::MAX - 2, "entry {next} is refused");
        return;
    }
    drop(wal);
    let (wal, recovery) = open(&disk).expect("what was opened opens again");
    assert_eq!(recovery.last, next);
    let now = read_all(&wal);
    assert_eq!(now.is_some(), content.is_some());
    let (Some(content), Some(now)) = (content, now) else {
        return;
    };
    assert!(now.starts_with(&content) && now.len() == content.len() + 1);
    assert_eq!(now.last().map(Vec::as_slice), Some(&b"appended"[..]));
}

/// All entries, in each way that there is to read them; `None` if one of the segments that opening
/// leaves to the reader is damaged.
fn read_all(wal: &Wal) -> Option<Vec<Vec<u8>>> {
    let (first, last) = wal.bounds();
    if let Err(error) = wal.verify() {
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        let replay = wal.replay(first).expect("the first entry is there");
        let right = replay.map_while(Result::ok).map(|(index, _)| index);
        assert!(right.zip(first..).all(|(index, expected)| index == expected));
        return None;
    }
    let mut entries = Vec::new();
    for (entry, expected) in wal.replay(first).expect("the first entry is there").zip(first..) {
        let (index, entry) = entry.expect("what was opened can be read");
        assert_eq!(index, expected);
        entries.push(entry);
    }
    assert_eq!(entries.len() as u64, last + 1 - first);
    if last >= first {
        assert!(wal.read(first, last, usize::MAX).expect("they were just read") == entries);
    }
    Some(entries)
}

fn write_files(disk: &Sim, files: &Files) {
    let written: Result<(), revd_disk::Error> = (|| {
        disk.create_dir(Path::new(DIR))?;
        for (name, bytes) in files {
            let how = Open::new_file(Access::Buffered);
            disk.open(&Path::new(DIR).join(name), how)?.write_at(bytes, 0)?;
        }
        Ok(())
    })();
    written.expect("a simulated disk works");
}

fn read_files(disk: &Sim) -> Files {
    let read = |name: String| -> Result<(String, Vec<u8>), revd_disk::Error> {
        let path: PathBuf = Path::new(DIR).join(&name);
        let file = disk.open(&path, Open::read())?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((name, bytes))
    };
    let names = disk.list(Path::new(DIR)).expect("a simulated disk works");
    names.into_iter().map(|name| read(name).expect("a simulated disk works")).collect()
}
