//! raft-engine, which keeps many logs in one: each appender has one of its own.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protobuf::descriptor::UninterpretedOption as Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Appender, Log, LogShape, Replayed, Sink};
use crate::Result;

/// Bytes of a file; all that are needed are filled before the measurement.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of files after which old ones are recycled.
const PURGE_BYTES: u64 = 128 << 20;
/// Bytes of files that are filled at the start.
const PREFILL_BYTES: u64 = 192 << 20;
/// Bytes of entries that a replay fetches at a time.
const FETCH_BYTES: usize = 1 << 20;
/// Entries of a log that are kept when old ones are let go of.
const KEPT_ENTRIES: u64 = 1000;
/// The most appenders.
const LOGS_MAX: usize = 8;

/// Entries are messages of protobuf. This one comes with the crate and has what an entry needs: a
/// number and bytes.
#[derive(Clone, Debug)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

struct RaftEngine {
    engine: Engine,
    /// The last index of each log.
    last: [AtomicU64; LOGS_MAX],
    keep: bool,
}

fn config(dir: &Path, keep: bool) -> Config {
    Config {
        dir: dir.display().to_string(),
        // Random bytes do not compress.
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(FILE_BYTES),
        purge_threshold: ReadableSize(if keep { u64::MAX } else { PURGE_BYTES }),
        prefill_for_recycle: !keep,
        prefill_limit: Some(ReadableSize(PREFILL_BYTES)),
        recovery_read_block_size: ReadableSize(FETCH_BYTES as u64 / 4),
        ..Config::default()
    }
}

/// With files that are filled before.
pub(super) fn open(dir: &Path, shape: LogShape) -> Result<Box<dyn Log>> {
    let engine = Engine::open(config(dir, shape.keep))?;
    Ok(Box::new(RaftEngine { engine, last: Default::default(), keep: shape.keep }))
}

impl Log for RaftEngine {
    fn appender<'l>(&'l self, number: usize, records: &'l [&'l [u8]]) -> Box<dyn Appender + 'l> {
        let entry = |record: &&[u8]| {
            let mut entry = Entry::new();
            entry.set_string_value(record.to_vec());
            entry
        };
        let entries = records.iter().map(entry).collect();
        Box::new(RaftAppender { log: self, number, entries, batch: LogBatch::default() })
    }

    fn upkeep(&self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        for (number, last) in self.last.iter().enumerate() {
            let last = last.load(Ordering::Relaxed);
            if last > KEPT_ENTRIES {
                self.engine.compact_to(number as u64 + 1, last - KEPT_ENTRIES);
            }
        }
        self.engine.purge_expired_files()?;
        Ok(())
    }
}

struct RaftAppender<'l> {
    log: &'l RaftEngine,
    number: usize,
    entries: Vec<Entry>,
    batch: LogBatch,
}

impl Appender for RaftAppender<'_> {
    fn append(&mut self) -> Result<()> {
        let last = &self.log.last[self.number];
        let mut index = last.load(Ordering::Relaxed);
        for entry in &mut self.entries {
            index += 1;
            entry.set_positive_int_value(index);
        }
        self.batch.add_entries::<Entries>(self.number as u64 + 1, &self.entries)?;
        self.log.engine.write(&mut self.batch, true)?;
        last.store(index, Ordering::Relaxed);
        Ok(())
    }
}

/// Opens the log, which builds its index, and fetches all entries of the first one.
pub(super) fn replay(dir: &Path, mut sink: Sink) -> Result<(Sink, Replayed)> {
    let start = Instant::now();
    let engine = Engine::open(config(dir, true))?;
    let open = start.elapsed();
    let start = Instant::now();
    let first = engine.first_index(1).ok_or("the log is empty")?;
    let end = engine.last_index(1).ok_or("the log is empty")? + 1;
    let (mut next, mut entries) = (first, Vec::new());
    while next < end {
        // It collects the places of all that are asked for, so they are not asked for at once.
        let until = end.min(next + FETCH_BYTES as u64 / 256);
        engine.fetch_entries_to::<Entries>(1, next, until, Some(FETCH_BYTES), &mut entries)?;
        next += entries.len() as u64;
        entries.drain(..).for_each(|entry| sink.take(entry.get_string_value()));
    }
    Ok((sink, Replayed { open, replay: Some(start.elapsed()) }))
}
