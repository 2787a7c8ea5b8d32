//! Where the entries lie: what readers look up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::{BatchHeader, BatchKind};
use crate::segment::Segment;
use crate::walk::Joint;

/// A place from which entries can be read on, in order, up to the index of the next point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: u64,
    pub(crate) sequence: u64,
    /// Where the batch that begins with entry `index` starts.
    pub(crate) offset: u64,
}

/// A reader skips at most so much, and one batch, before it finds an entry. Costs 24 bytes of
/// memory for each 16 KiB of log. Of a segment that was not read yet only the start is known.
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
    points: Points,
    /// The index of the next entry.
    pub(crate) next: u64,
    /// What was appended since the log was opened.
    pub(crate) appended: Appended,
}

/// Points that rise.
#[derive(Debug, Default)]
pub(crate) struct Points {
    rising: VecDeque<Point>,
    /// The next batch follows a truncation.
    truncated: bool,
}

impl Points {
    /// Takes note of a batch at `offset` of the segment `sequence`.
    pub(crate) fn record(&mut self, header: &BatchHeader, sequence: u64, offset: u64) {
        match header.kind {
            BatchKind::Entries => {
                let near = |last: &Point| {
                    last.sequence == sequence && offset - last.offset < POINT_SPACING
                };
                if self.truncated || !self.rising.back().is_some_and(near) {
                    self.rising.push_back(Point { index: header.first, sequence, offset });
                }
                self.truncated = false;
            }
            BatchKind::Truncation => {
                let kept = self.rising.partition_point(|point| point.index < header.first);
                self.rising.truncate(kept);
                self.truncated = true;
            }
        }
    }
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
        Index { segments, points: Points::default(), next, appended: Appended::default() }
    }

    /// The index of the first entry, or of the next one if there is none.
    pub(crate) fn first(&self) -> u64 {
        self.points.rising.front().map_or(self.next, |point| point.index)
    }

    pub(crate) fn active(&self) -> &Arc<Segment> {
        self.segments.back().expect("a log has a segment")
    }

    /// Bytes of the disk that the segments take.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.capacity()).sum()
    }

    /// The first entry of the oldest segment that fits into `bytes` with all behind it.
    pub(crate) fn first_within(&self, bytes: u64) -> u64 {
        let mut left = bytes;
        let newest_first = self.segments.iter().rev().enumerate();
        let kept = newest_first.take_while(|(age, segment)| {
            let fits = segment.capacity() <= left;
            left = left.saturating_sub(segment.capacity());
            fits || *age == 0
        });
        let oldest = kept.last().map_or(0, |(_, segment)| segment.sequence());
        let at = self.points.rising.partition_point(|point| point.sequence < oldest);
        self.points.rising.get(at).map_or(self.next, |point| point.index)
    }

    /// Takes note of a durable batch at `offset` of the segment `sequence`.
    pub(crate) fn record(&mut self, header: &BatchHeader, sequence: u64, offset: u64) {
        self.points.record(header, sequence, offset);
        self.next = match header.kind {
            BatchKind::Entries => header.next_index(),
            BatchKind::Truncation => header.first,
        };
    }

    /// Takes note of a sealed segment that holds the entries up to `next` alone, unread.
    pub(crate) fn record_unread(&mut self, segment: &Segment, next: u64) {
        let Joint { offset, next: index, .. } = segment.start();
        if index < next {
            let point = Point { index, sequence: segment.sequence(), offset };
            self.points.rising.push_back(point);
            self.points.truncated = false;
        }
        self.next = next;
    }

    /// The segment with entry `index`, and its successor, if the entry lies behind the first one of
    /// a segment that was not read yet.
    pub(crate) fn unread(&self, index: u64) -> Option<(Arc<Segment>, Arc<Segment>)> {
        let points = &self.points.rising;
        let after = points.partition_point(|point| point.index <= index);
        let point = points.get(after.checked_sub(1)?)?;
        let oldest = self.segments.front()?.sequence();
        let position = usize::try_from(point.sequence - oldest).ok()?;
        let (segment, successor) = (self.segments.get(position)?, self.segments.get(position + 1)?);
        let wanted = !segment.is_verified() && point.index < index;
        wanted.then(|| (Arc::clone(segment), Arc::clone(successor)))
    }

    /// Puts all points of a segment, as far as the log still holds its entries, in the place of
    /// those that there were.
    pub(crate) fn refine(&mut self, sequence: u64, points: Points) {
        let all = &mut self.points.rising;
        let from = all.partition_point(|point| point.sequence < sequence);
        let to = all.partition_point(|point| point.sequence <= sequence);
        if from == to {
            return;
        }
        let later = all.split_off(to);
        all.truncate(from);
        let end = later.front().map_or(self.next, |point| point.index);
        all.extend(points.rising.into_iter().filter(|point| point.index < end));
        all.extend(later);
    }

    /// Takes out the oldest segment, if no entry from `before` on needs it.
    pub(crate) fn release_oldest(&mut self, before: u64) -> Option<Arc<Segment>> {
        if self.segments.len() < 2 {
            return None;
        }
        let oldest = self.segments.front()?.sequence();
        let points = &mut self.points.rising;
        let kept = points.partition_point(|point| point.sequence <= oldest);
        let first_after = points.get(kept).map_or(self.next, |point| point.index);
        if first_after > before {
            return None;
        }
        points.drain(..kept);
        self.segments.pop_front()
    }

    /// Goes on with a new, empty segment.
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        self.segments.push_back(segment);
    }

    /// Goes on with a segment before which nothing counts; returns what was before.
    pub(crate) fn restart(&mut self, origin: Arc<Segment>) -> VecDeque<Arc<Segment>> {
        self.points = Points::default();
        self.next = origin.start().next;
        std::mem::replace(&mut self.segments, VecDeque::from([origin]))
    }

    /// The segments and points from which the entries from `first` on can be read.
    pub(crate) fn from(&self, first: u64) -> (VecDeque<Arc<Segment>>, VecDeque<Point>) {
        let points = &self.points.rising;
        let after = points.partition_point(|point| point.index <= first);
        let points: VecDeque<Point> = points.range(after.saturating_sub(1)..).copied().collect();
        let active = self.active().sequence();
        let oldest = points.front().map_or(active, |point| point.sequence);
        let segments = self.segments.iter().filter(|segment| segment.sequence() >= oldest);
        (segments.cloned().collect(), points)
    }
}
