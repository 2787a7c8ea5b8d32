//! revd-wal.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use revd_disk::Real;
use revd_wal::{Options, Wal};

use super::{Appender, Log, LogShape, Replayed, Sink};
use crate::Result;

#[derive(Debug)]
struct RevdWal {
    wal: Wal,
    /// What the log was when it last grew by a segment.
    seen: Mutex<Seen>,
    shape: LogShape,
}

#[derive(Debug, Default)]
struct Seen {
    segments: usize,
    last: u64,
}

/// An empty log with default options.
pub(super) fn open(dir: &Path, shape: LogShape) -> Result<Box<dyn Log>> {
    let (wal, _) = Wal::open(Arc::new(Real::new()), dir, Options::default())?;
    // As a server does between its start and its first request.
    while wal.upkeep()? {}
    Ok(Box::new(RevdWal { wal, seen: Mutex::default(), shape }))
}

impl Log for RevdWal {
    fn appender<'l>(&'l self, _: usize, records: &'l [&'l [u8]]) -> Box<dyn Appender + 'l> {
        let next = self.wal.bounds().1 + 1;
        let wal = &self.wal;
        if self.shape.appenders == 1 {
            Box::new(Alone { wal, records, next })
        } else {
            Box::new(Together { wal, records })
        }
    }

    fn upkeep(&self) -> Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = self.wal.stats().segments;
        if !self.shape.keep && segments > seen.segments {
            self.wal.release_prefix(seen.last)?;
            *seen = Seen { segments: self.wal.stats().segments, last: self.wal.bounds().1 };
        }
        while self.wal.upkeep()? {}
        Ok(())
    }
}

/// The only appender knows the index of its next entry, as consensus does.
struct Alone<'l> {
    wal: &'l Wal,
    records: &'l [&'l [u8]],
    next: u64,
}

impl Appender for Alone<'_> {
    fn append(&mut self) -> Result<()> {
        self.wal.append(self.next, self.records)?;
        self.next += self.records.len() as u64;
        Ok(())
    }
}

/// One of several.
struct Together<'l> {
    wal: &'l Wal,
    records: &'l [&'l [u8]],
}

impl Appender for Together<'_> {
    fn append(&mut self) -> Result<()> {
        self.wal.push(self.records)?;
        Ok(())
    }
}

/// Opens the log, which verifies it, and replays it.
pub(super) fn replay(dir: &Path, mut sink: Sink) -> Result<(Sink, Replayed)> {
    let start = Instant::now();
    let (wal, recovery) = Wal::open(Arc::new(Real::new()), dir, Options::default())?;
    let open = start.elapsed();
    let start = Instant::now();
    let mut entries = wal.replay(recovery.first)?;
    while let Some((_, entry)) = entries.next_entry()? {
        sink.take(entry);
    }
    Ok((sink, Replayed { open, replay: Some(start.elapsed()) }))
}
