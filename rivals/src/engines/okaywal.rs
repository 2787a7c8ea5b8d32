//! okaywal. Its segments are recycled by checkpoints, which it makes on a thread of its own.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use okaywal::{Configuration, Entry, EntryId, LogManager, LogVoid, SegmentReader, WriteAheadLog};

use super::{Appender, Log, LogShape, Replayed, Sink};
use crate::Result;

/// Its own default. Recycled soon, so that small batches overwrite blocks that are there.
const SEGMENT_BYTES_MIN: usize = 1 << 20;
/// Bytes of one read of a recovery, as the floor's; its own default is 16 KiB.
const READ_BYTES: usize = 256 << 10;

#[derive(Debug)]
struct Okaywal(WriteAheadLog);

/// With segments of 16 batches, at least of the default 1 MiB.
pub(super) fn open(dir: &Path, shape: LogShape) -> Result<Box<dyn Log>> {
    let bytes = SEGMENT_BYTES_MIN.max(16 * shape.batch_bytes * shape.appenders);
    let configuration = Configuration::default_for(dir)
        .preallocate_bytes(u32::try_from(bytes)?)
        .checkpoint_after_bytes(bytes as u64 / 4 * 3);
    // What a checkpoint covers is gone, so what is to be kept is one segment.
    let configuration =
        if shape.keep { configuration.checkpoint_after_bytes(u64::MAX) } else { configuration };
    Ok(Box::new(Okaywal(configuration.open(LogVoid)?)))
}

impl Log for Okaywal {
    fn appender<'l>(&'l self, _: usize, records: &'l [&'l [u8]]) -> Box<dyn Appender + 'l> {
        Box::new(OkaywalAppender { log: &self.0, records })
    }
}

struct OkaywalAppender<'l> {
    log: &'l WriteAheadLog,
    records: &'l [&'l [u8]],
}

impl Appender for OkaywalAppender<'_> {
    fn append(&mut self) -> Result<()> {
        let mut entry = self.log.begin_entry()?;
        for record in self.records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }
}

/// Hands over what is recovered.
#[derive(Debug)]
struct Recovering(Arc<Mutex<Sink>>);

impl LogManager for Recovering {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunks) = entry.read_all_chunks()? {
            chunks.iter().for_each(|chunk| sink.take(chunk));
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// Its recovery is its replay.
pub(super) fn replay(dir: &Path, sink: Sink) -> Result<(Sink, Replayed)> {
    let shared = Arc::new(Mutex::new(sink));
    let configuration = Configuration::default_for(dir).buffer_bytes(READ_BYTES);
    let start = Instant::now();
    let log = configuration.open(Recovering(Arc::clone(&shared)))?;
    let open = start.elapsed();
    log.shutdown()?;
    let sink = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((sink, Replayed { open, replay: None }))
}
