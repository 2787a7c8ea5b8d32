//! The floor: the same bytes, by one write and one sync, over space that was filled with zeros.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Appender, Log, LogShape, Purged, Reader, Replayed, Sink, Store};
use crate::Result;
use crate::content::Key;

/// Bytes of the space; whoever reaches its end goes on at its start.
const SPACE_BYTES: u64 = 64 << 20;
/// Bytes of one write of zeros: larger ones make the page cache use larger folios.
const FILL_BYTES: usize = 64 << 10;
/// Bytes of one read of a replay.
const READ_BYTES: usize = 256 << 10;
const FILE: &str = "floor";

/// A file of which each byte was written before.
#[derive(Debug)]
struct Space {
    file: File,
    bytes: u64,
    next: AtomicU64,
}

impl Space {
    fn new(path: &Path, bytes: u64) -> Result<Space> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        let zeros = [0; FILL_BYTES];
        for offset in (0..bytes).step_by(FILL_BYTES) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(Space { file, bytes, next: AtomicU64::new(0) })
    }

    /// Takes the next `len` bytes.
    fn take(&self, len: u64) -> u64 {
        let offset = self.next.fetch_add(len, Ordering::Relaxed) % self.bytes;
        // What would go beyond the end goes to the start: nobody reads it.
        if offset + len > self.bytes { 0 } else { offset }
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.take(bytes.len() as u64))?;
        Ok(self.file.sync_data()?)
    }
}

/// The log: each appender writes and syncs for itself, or holds a lock meanwhile.
#[derive(Debug)]
struct FloorLog {
    space: Space,
    lock: Option<Mutex<()>>,
}

/// A log without a lock.
pub(super) fn open_log(dir: &Path, shape: LogShape) -> Result<Box<dyn Log>> {
    open_with(dir, shape, None)
}

/// A log with a lock around write and sync.
pub(super) fn open_locked_log(dir: &Path, shape: LogShape) -> Result<Box<dyn Log>> {
    open_with(dir, shape, Some(Mutex::new(())))
}

fn open_with(dir: &Path, shape: LogShape, lock: Option<Mutex<()>>) -> Result<Box<dyn Log>> {
    let batches = 4 * (shape.batch_bytes * shape.appenders) as u64;
    // What is kept for a replay grows behind its end.
    let bytes = if shape.keep { u64::MAX } else { SPACE_BYTES.max(batches) };
    let space = if shape.keep {
        Space { bytes, ..Space::new(&dir.join(FILE), 0)? }
    } else {
        Space::new(&dir.join(FILE), bytes)?
    };
    Ok(Box::new(FloorLog { space, lock }))
}

impl Log for FloorLog {
    fn appender<'l>(&'l self, _: usize, records: &'l [&'l [u8]]) -> Box<dyn Appender + 'l> {
        Box::new(FloorAppender { log: self, bytes: records.concat() })
    }
}

struct FloorAppender<'l> {
    log: &'l FloorLog,
    bytes: Vec<u8>,
}

impl Appender for FloorAppender<'_> {
    fn append(&mut self) -> Result<()> {
        let lock = self.log.lock.as_ref();
        let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.log.space.write(&self.bytes)
    }
}

/// Reads the file and computes a checksum of each record, all of which are as long as the file
/// beside it says.
pub(super) fn replay(dir: &Path, mut sink: Sink) -> Result<(Sink, Replayed)> {
    let record: usize = std::fs::read_to_string(dir.join(RECORD_BYTES_FILE))?.parse()?;
    let start = Instant::now();
    let file = File::open(dir.join(FILE))?;
    let open = start.elapsed();
    let mut buffer = vec![0; READ_BYTES + record];
    let (mut filled, mut offset, mut checksums) = (0, 0, 0);
    let start = Instant::now();
    loop {
        let read = file.read_at(&mut buffer[filled..filled + READ_BYTES], offset)?;
        if read == 0 {
            break;
        }
        (offset, filled) = (offset + read as u64, filled + read);
        let whole = filled / record * record;
        for bytes in buffer[..whole].chunks_exact(record) {
            checksums ^= crc32fast::hash(bytes);
            sink.take(bytes);
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    std::hint::black_box(checksums);
    Ok((sink, Replayed { open, replay: Some(start.elapsed()) }))
}

/// The file that tells how long each record of a floor's log is.
pub(crate) const RECORD_BYTES_FILE: &str = "record-bytes";

/// The store: keys and values one behind the other. It can only be written.
#[derive(Debug)]
struct FloorStore {
    space: Space,
    pending: Vec<u8>,
}

/// A store that is only written.
pub(super) fn open_store(dir: &Path) -> Result<Box<dyn Store>> {
    let space = Space::new(&dir.join(FILE), SPACE_BYTES)?;
    Ok(Box::new(FloorStore { space, pending: Vec::new() }))
}

impl Store for FloorStore {
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()> {
        for (key, value) in puts {
            self.pending.extend_from_slice(&key.bytes());
            self.pending.extend_from_slice(value);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.space.write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn purge(&mut self, _: u64) -> Result<Purged> {
        Err("the floor deletes nothing".into())
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(Unreadable)
    }

    fn last(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

struct Unreadable;

impl Reader for Unreadable {
    fn gets(&self, _: &[u64], _: super::Snapshot) -> Result<u64> {
        Err("the floor is only written".into())
    }

    fn scans(&self, _: &[u64], _: usize) -> Result<u64> {
        Err("the floor is only written".into())
    }
}
