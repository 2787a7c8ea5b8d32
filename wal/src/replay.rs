//! Reading entries back.

use std::collections::VecDeque;
use std::sync::Arc;

use revd_disk::Error as DiskError;

use crate::error::{Corruption, Error};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, BatchKind};
use crate::index::Point;
use crate::segment::Segment;
use crate::walk::Frame;
use crate::window::Window;

/// The entries of a log from an index on, as they were when the replay began.
///
/// It holds one window of the log and one entry in memory at a time. Segments that are released
/// meanwhile stay readable until it is dropped. After an error it ends.
#[derive(Debug)]
pub struct Replay {
    /// Those that hold entries which have not been read.
    segments: VecDeque<Arc<Segment>>,
    /// The places at which to read on, the next one in front.
    points: VecDeque<Point>,
    window: Window,
    /// Where the next frame is.
    place: Place,
    /// The index of the entry to return next; entries before it are read over.
    wanted: u64,
    /// The index after the last entry.
    end: u64,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The index of the next entry.
    index: u64,
    offset: u64,
    /// Where the batch began, for messages.
    batch: u64,
    /// Where it ends; the next one begins at the block that follows.
    end: u64,
    /// The last checksum.
    chain: u32,
}

impl Replay {
    /// A replay of `[first, end)`, which the points and segments cover.
    pub(crate) fn new(
        segments: VecDeque<Arc<Segment>>,
        points: VecDeque<Point>,
        first: u64,
        end: u64,
        window: usize,
    ) -> Replay {
        let file = segments.front().expect("a log has a segment").file().clone();
        let place = Place { index: 0, offset: 0, batch: 0, end: 0, chain: 0 };
        let window = Window::new(file, window);
        Replay { segments, points, window, place, wanted: first, end }
    }

    /// The length of the next entry, without reading it; `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<usize>, Error> {
        Ok(self.seek()?.map(|frame| frame.header.length as usize))
    }

    fn read(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let Some(frame) = self.seek()? else {
            return Ok(None);
        };
        // The length was found to lie within a batch whose own checksum is right.
        let mut payload = vec![0; frame.header.length as usize];
        self.check(&frame, &mut payload)?;
        Ok(Some((frame.header.index, payload)))
    }

    /// Goes to the frame of the next entry that is wanted.
    fn seek(&mut self) -> Result<Option<Frame>, Error> {
        if self.wanted >= self.end {
            return Ok(None);
        }
        // Entries before the wanted one are checked too: its checksum goes on from theirs.
        let mut skipped = Vec::new();
        loop {
            let frame = self.frame()?;
            if frame.header.index == self.wanted {
                return Ok(Some(frame));
            }
            skipped.resize(frame.header.length as usize, 0);
            self.check(&frame, &mut skipped)?;
        }
    }

    /// The header of the next frame, wherever that is.
    fn frame(&mut self) -> Result<Frame, Error> {
        let begins = self
            .points
            .front()
            .filter(|point| self.place.end == 0 || point.index == self.place.index);
        if let Some(&point) = begins {
            self.points.pop_front();
            self.enter_segment(point.sequence);
            self.enter_batch(point.offset, point.index)?;
        } else if self.place.offset == self.place.end {
            let next = crate::format::padded(self.place.end);
            self.enter_batch(next, self.place.index)?;
        }
        let Place { offset, end, index, chain, .. } = self.place;
        let frame = Frame::read(&mut self.window, offset, end, index, chain)?;
        frame.ok_or_else(|| self.corruption("frame of entry", index).into())
    }

    /// Reads an entry, checks it and goes on behind it.
    fn check(&mut self, frame: &Frame, payload: &mut [u8]) -> Result<(), Error> {
        read_range(&mut self.window, frame.payload.start, payload)?;
        let mut hasher = frame.hasher.clone();
        hasher.update(payload);
        let chain = hasher.finalize();
        if chain != frame.header.checksum {
            return Err(self.corruption("checksum of entry", frame.header.index).into());
        }
        self.place.offset = frame.payload.end;
        self.place.index += 1;
        self.place.chain = chain;
        Ok(())
    }

    fn enter_segment(&mut self, sequence: u64) {
        let front = |segments: &VecDeque<Arc<Segment>>| segments[0].sequence();
        let before = front(&self.segments);
        while front(&self.segments) < sequence {
            self.segments.pop_front();
        }
        if before != sequence {
            self.window.change_file(self.segments[0].file().clone());
        }
    }

    fn enter_batch(&mut self, offset: u64, index: u64) -> Result<(), Error> {
        self.place.batch = offset;
        let bytes = self.window.array::<BATCH_HEADER_BYTES>(offset)?;
        let header = bytes.and_then(|bytes| BatchHeader::decode(&bytes, self.segments[0].salt()));
        match header {
            Some((header, chain)) if header.kind == BatchKind::Entries && header.first == index => {
                let (batch, end) = (offset, offset + header.bytes);
                let offset = offset + BATCH_HEADER_BYTES as u64;
                self.place = Place { index, offset, batch, end, chain };
                Ok(())
            }
            Some((header, _)) => {
                let what = "index of the first entry";
                Err(self.segments[0].corruption(offset, what, index, header.first).into())
            }
            None => Err(self.corruption("header of the batch of entry", index).into()),
        }
    }

    fn corruption(&self, what: &'static str, index: u64) -> Corruption {
        self.segments[0].corruption(self.place.batch, what, index, 0)
    }
}

impl Iterator for Replay {
    type Item = Result<(u64, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        self.wanted = if read.is_ok() { self.wanted + 1 } else { self.end };
        read.transpose()
    }
}

/// Reads a range through the window if it is there already, or past it if it is long.
fn read_range(window: &mut Window, offset: u64, target: &mut [u8]) -> Result<(), DiskError> {
    let buffered = window.buffered(offset, target.len());
    let (done, rest) = target.split_at_mut(buffered.len());
    done.copy_from_slice(buffered);
    let offset = offset + done.len() as u64;
    if rest.is_empty() {
        return Ok(());
    }
    if rest.len() > window.size() / 2 {
        return window.file().read_exact_at(rest, offset);
    }
    let bytes = window.bytes(offset, rest.len())?;
    if bytes.len() < rest.len() {
        let end = offset + bytes.len() as u64;
        return Err(window.file().unexpected_end(end));
    }
    rest.copy_from_slice(bytes);
    Ok(())
}
