//! Where the entries lie: what readers look up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::{BatchHeader, BatchKind};
use crate::segment::Segment;

/// A place from which entries can be read on, in order, up to the index of the next point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: u64,
    pub(crate) sequence: u64,
    /// Where the batch that begins with entry `index` starts.
    pub(crate) offset: u64,
}

/// A reader skips at most so much, and one batch, before it finds an entry. Costs 24 bytes of
/// memory for each 16 KiB of log.
const POINT_SPACING: u64 = 16 << 10;

/// A sparse index of the log.
///
/// # Invariants
///
/// - Points rise in index, and in place (sequence, offset).
/// - If the log has entries, the first point is that of the first one; if not, there are none.
/// - Each segment with entries has a point at its first one. So has whatever follows a truncation,
///   so that a reader jumps over the marker and over what it removed.
#[derive(Debug)]
pub(crate) struct Index {
    /// The last one is the one that is appended to.
    pub(crate) segments: VecDeque<Arc<Segment>>,
    points: VecDeque<Point>,
    /// The index of the next entry.
    pub(crate) next: u64,
    /// What was appended since the log was opened.
    pub(crate) appended: Appended,
    /// The next batch follows a truncation.
    truncated: bool,
}

/// Counts of what was appended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Appended {
    pub(crate) batches: u64,
    pub(crate) entries: u64,
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
}

impl Index {
    /// A log that begins with `segments`, none of which has been walked.
    pub(crate) fn new(segments: VecDeque<Arc<Segment>>) -> Index {
        let next = segments.front().expect("a log has a segment").start().next;
        Index {
            segments,
            points: VecDeque::new(),
            next,
            appended: Appended::default(),
            truncated: false,
        }
    }

    /// The index of the first entry, or of the next one if there is none.
    pub(crate) fn first(&self) -> u64 {
        self.points.front().map_or(self.next, |point| point.index)
    }

    pub(crate) fn active(&self) -> &Arc<Segment> {
        self.segments.back().expect("a log has a segment")
    }

    /// Bytes of the disk that the segments take.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.capacity()).sum()
    }

    /// Takes note of a durable batch at `offset` of the segment `sequence`.
    pub(crate) fn record(&mut self, header: &BatchHeader, sequence: u64, offset: u64) {
        match header.kind {
            BatchKind::Entries => {
                let near = |last: &Point| {
                    last.sequence == sequence && offset - last.offset < POINT_SPACING
                };
                if self.truncated || !self.points.back().is_some_and(near) {
                    self.points.push_back(Point { index: header.first, sequence, offset });
                }
                self.truncated = false;
                self.next = header.next_index();
            }
            BatchKind::Truncation => {
                let kept = self.points.partition_point(|point| point.index < header.first);
                self.points.truncate(kept);
                self.truncated = true;
                self.next = header.first;
            }
        }
    }

    /// Takes out the oldest segment, if no entry from `before` on needs it.
    pub(crate) fn release_oldest(&mut self, before: u64) -> Option<Arc<Segment>> {
        if self.segments.len() < 2 {
            return None;
        }
        let oldest = self.segments.front()?.sequence();
        let kept = self.points.partition_point(|point| point.sequence <= oldest);
        let first_after = self.points.get(kept).map_or(self.next, |point| point.index);
        if first_after > before {
            return None;
        }
        self.points.drain(..kept);
        self.segments.pop_front()
    }

    /// Goes on with a new, empty segment.
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        self.segments.push_back(segment);
    }

    /// Goes on with a segment before which nothing counts; returns what was before.
    pub(crate) fn restart(&mut self, origin: Arc<Segment>) -> VecDeque<Arc<Segment>> {
        self.points.clear();
        self.truncated = false;
        self.next = origin.start().next;
        std::mem::replace(&mut self.segments, VecDeque::from([origin]))
    }

    /// The segments and points from which the entries from `first` on can be read.
    pub(crate) fn from(&self, first: u64) -> (VecDeque<Arc<Segment>>, VecDeque<Point>) {
        let after = self.points.partition_point(|point| point.index <= first);
        let points: VecDeque<Point> =
            self.points.range(after.saturating_sub(1)..).copied().collect();
        let active = self.active().sequence();
        let oldest = points.front().map_or(active, |point| point.sequence);
        let segments = self.segments.iter().filter(|segment| segment.sequence() >= oldest);
        (segments.cloned().collect(), points)
    }
}
