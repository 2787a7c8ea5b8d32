//! Reading entries back.

use std::collections::VecDeque;
use std::sync::Arc;

use revd_disk::Error as DiskError;

use crate::error::{Corruption, Error};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, BatchKind, FRAME_HEADER_BYTES, padded};
use crate::index::Point;
use crate::sealed::Sealed;
use crate::segment::Segment;
use crate::walk::{check_frame, frame_len};
use crate::window::Window;

/// The entries of a log from an index on, as they were when the replay began.
///
/// [`Replay::next_entry`] lends each entry where it lies; as an iterator it gives them as values of
/// their own. Sealed segments are read from a mapping, one at a time; of the newest one, a window
/// and the longest entry are held in memory. Segments that are released meanwhile stay readable
/// until it is dropped. After an error it ends.
#[derive(Debug)]
pub struct Replay {
    /// Those that hold entries which have not been read.
    segments: VecDeque<Arc<Segment>>,
    /// The places at which to read on, the next one in front.
    points: VecDeque<Point>,
    source: Source,
    /// The segment that the source is of; 0 before the first.
    entered: u64,
    how: How,
    /// Where the next frame is.
    place: Place,
    /// The index of the entry to return next; entries before it are read over.
    wanted: u64,
    /// The index after the last entry.
    end: u64,
}

/// How entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    /// So many bytes at a time, where it is done by reading.
    pub(crate) window: usize,
    /// Sealed segments may be mapped, which pays if many entries are read.
    pub(crate) mapped: bool,
}

/// Where bytes come from.
#[derive(Debug)]
enum Source {
    Window(Window),
    Sealed(Sealed),
}

impl Source {
    /// The `len` bytes at `offset`, or fewer at the end.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], DiskError> {
        match self {
            Source::Window(window) => window.bytes(offset, len),
            Source::Sealed(sealed) => Ok(sealed.bytes(offset, len)),
        }
    }

    /// The frame at a place, unless there is none.
    fn frame(&mut self, place: &Place) -> Result<Option<&[u8]>, DiskError> {
        let Place { offset, index, end, .. } = *place;
        let room = end - offset;
        match self {
            Source::Window(window) => {
                let header = window.bytes(offset, FRAME_HEADER_BYTES)?;
                let Some(len) = frame_len(header, index, room) else {
                    return Ok(None);
                };
                let frame = window.bytes(offset, len)?;
                Ok((frame.len() == len).then_some(frame))
            }
            Source::Sealed(sealed) => {
                let rest = sealed.bytes(offset, usize::try_from(room).unwrap_or(usize::MAX));
                Ok(frame_len(rest, index, rest.len() as u64).map(|len| &rest[..len]))
            }
        }
    }
}

/// A place between two frames.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The index of the next entry.
    index: u64,
    offset: u64,
    /// Where the batch began.
    batch: u64,
    /// Its number; 0 if none was entered yet.
    number: u64,
    /// The last checksum before it, as its header says.
    before: u32,
    /// Where it ends.
    end: u64,
    /// The last checksum.
    chain: u32,
    /// The entry with this index is not here, but at the next point.
    until: u64,
}

impl Place {
    /// Checks the frame that was found here and goes behind it; returns its entry.
    fn go_behind<'a>(
        &mut self,
        segment: &Segment,
        frame: Option<&'a [u8]>,
    ) -> Result<&'a [u8], Error> {
        let corruption = |what| segment.corruption(self.batch, what, self.index, 0);
        let frame = frame.ok_or_else(|| corruption("frame of entry"))?;
        let Some(checksum) = check_frame(frame, frame.len(), self.chain) else {
            return Err(corruption("checksum of entry").into());
        };
        self.offset += frame.len() as u64;
        self.index += 1;
        self.chain = checksum;
        Ok(&frame[FRAME_HEADER_BYTES..])
    }
}

impl Replay {
    /// A replay of `[first, end)`, which the points and segments cover. The last segment may be the
    /// one that is being written.
    pub(crate) fn new(
        segments: VecDeque<Arc<Segment>>,
        points: VecDeque<Point>,
        first: u64,
        end: u64,
        how: How,
    ) -> Replay {
        let file = segments.front().expect("a log has a segment").file().clone();
        let place = Place::default();
        let source = Source::Window(Window::new(file, how.window));
        Replay { segments, points, source, entered: 0, how, place, wanted: first, end }
    }

    /// The next entry with its index, where it lies; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if what is read is not what was written; [`Error::Disk`] if the medium
    /// refuses.
    pub fn next_entry(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        if self.wanted >= self.end {
            return Ok(None);
        }
        let index = self.wanted;
        self.wanted = self.end;
        self.seek(index)?;
        let frame = self.source.frame(&self.place)?;
        let entry = self.place.go_behind(&self.segments[0], frame)?;
        self.wanted = index + 1;
        Ok(Some((index, entry)))
    }

    /// The length of the next entry; `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<usize>, Error> {
        if self.wanted >= self.end {
            return Ok(None);
        }
        self.seek(self.wanted)?;
        let frame = self.source.frame(&self.place)?;
        Ok(frame.map(|frame| frame.len() - FRAME_HEADER_BYTES))
    }

    /// Goes to the frame of entry `index`.
    fn seek(&mut self, index: u64) -> Result<(), Error> {
        loop {
            if self.place.index == self.place.until || self.place.offset == self.place.end {
                self.enter()?;
            }
            if self.place.index == index {
                return Ok(());
            }
            // Entries before the wanted one are checked too: its checksum goes on from theirs.
            let frame = self.source.frame(&self.place)?;
            self.place.go_behind(&self.segments[0], frame)?;
        }
    }

    /// Goes to the next batch, wherever that is.
    fn enter(&mut self) -> Result<(), Error> {
        let Place { index, batch, number, end, chain, until, offset, .. } = self.place;
        if index != until {
            self.enter_batch(batch + padded(end - batch), index)?;
            return self.check_past(Some((number, chain)), number + 1);
        }
        // Of a batch that is left before its end the last checksum is not known.
        let past = (number > 0 && offset == end).then_some((number, chain));
        let Some(point) = self.points.pop_front() else {
            return Err(self.corruption(batch, "place of entry", index).into());
        };
        self.enter_segment(point.sequence);
        self.place.until = self.points.front().map_or(u64::MAX, |point| point.index);
        self.enter_batch(point.offset, point.index)?;
        let start = self.segments[0].start();
        if point.offset == start.offset {
            self.check_past(Some((start.batch - 1, start.chain)), start.batch)?;
        }
        self.check_past(past, self.place.number)
    }

    /// Checks that the batch that was entered has this number, and that it goes on from the last
    /// checksum of the one before, where that is known by its number.
    ///
    /// What the log has written or verified since it was opened would pass; for all else this is
    /// the verification.
    fn check_past(&self, past: Option<(u64, u32)>, number: u64) -> Result<(), Error> {
        let Place { batch, number: found, before, .. } = self.place;
        let corruption = |what, expected, found| {
            Err(self.segments[0].corruption(batch, what, expected, found).into())
        };
        if found != number {
            return corruption("number of the batch", number, found);
        }
        match past {
            Some((last, chain)) if last + 1 == found && chain != before => {
                corruption("chained checksum", u64::from(chain), u64::from(before))
            }
            _ => Ok(()),
        }
    }

    fn enter_segment(&mut self, sequence: u64) {
        if self.entered == sequence {
            return;
        }
        self.entered = sequence;
        while self.segments[0].sequence() < sequence {
            self.segments.pop_front();
        }
        let segment = &self.segments[0];
        // The last one was the newest when the replay began, and may be being written.
        // And what was not read since the log was opened is read in such a way that a medium that
        // fails gives an error.
        if self.how.mapped && self.segments.len() > 1 && segment.is_verified() {
            // If it cannot be mapped, it can still be read.
            if let Ok(sealed) = Sealed::map(Arc::clone(segment)) {
                self.source = Source::Sealed(sealed);
                return;
            }
        }
        match &mut self.source {
            Source::Window(window) => window.change_file(segment.file().clone()),
            Source::Sealed(_) => {
                let window = Window::new(segment.file().clone(), self.how.window);
                self.source = Source::Window(window);
            }
        }
    }

    fn enter_batch(&mut self, offset: u64, index: u64) -> Result<(), Error> {
        let salt = self.segments[0].salt();
        let bytes = self.source.bytes(offset, BATCH_HEADER_BYTES)?.first_chunk();
        let header = bytes.and_then(|bytes| BatchHeader::decode(bytes, salt));
        match header {
            Some((header, chain)) if header.kind == BatchKind::Entries && header.first == index => {
                let (batch, end) = (offset, offset + header.bytes);
                let offset = offset + BATCH_HEADER_BYTES as u64;
                let (number, before, until) = (header.batch, header.chain, self.place.until);
                self.place = Place { index, offset, batch, number, before, end, chain, until };
                Ok(())
            }
            Some((header, _)) => {
                let what = "index of the first entry";
                Err(self.segments[0].corruption(offset, what, index, header.first).into())
            }
            None => Err(self.corruption(offset, "header of the batch of entry", index).into()),
        }
    }

    fn corruption(&self, offset: u64, what: &'static str, index: u64) -> Corruption {
        self.segments[0].corruption(offset, what, index, 0)
    }
}

impl Iterator for Replay {
    type Item = Result<(u64, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_entry() {
            Ok(entry) => entry.map(|(index, entry)| Ok((index, entry.to_vec()))),
            Err(error) => Some(Err(error)),
        }
    }
}
