//! The older records of a key: their places, ascending.
//!
//! Few of them lie in the leaf, beside those of its other keys: see [`entry`](super::entry). Many
//! are a list of runs whose lengths fall at least by half, and a short tail: adding a record copies
//! at most that tail and a few pointers however long the history is, and finding one costs a
//! logarithm.

use std::sync::Arc;

use super::places::{Place, Places, WORDS};

/// Places in the tail of many, at most.
const TAIL_MAX: usize = 16;
/// Runs of this length are not joined any more, which bounds what one addition can cost.
const RUN_MAX: usize = 64 * 1024;

/// Create revision and version of a key's newest record.
pub(super) type Generation = (u64, u64);

/// A generation and any number of places.
#[derive(Clone, Debug)]
pub(super) struct Many {
    pub(super) generation: Generation,
    /// Each at least twice as long as the next, unless both have reached [`RUN_MAX`].
    runs: Vec<Arc<[u32]>>,
    tail: Vec<u32>,
    len: usize,
}

impl Many {
    pub(super) fn new(generation: Generation, places: impl Iterator<Item = Place>) -> Self {
        let tail: Vec<u32> = places.flat_map(Place::pack).collect();
        let len = tail.len() / WORDS;
        let mut many = Self { generation, runs: Vec::new(), tail, len };
        many.seal_tail();
        many
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn push(&mut self, place: Place) {
        if self.tail.capacity() - self.tail.len() < WORDS {
            self.tail.reserve_exact(4 * WORDS);
        }
        self.tail.extend_from_slice(&place.pack());
        self.len += 1;
        if self.tail.len() >= WORDS * TAIL_MAX {
            self.seal_tail();
        }
    }

    fn seal_tail(&mut self) {
        let mut run = std::mem::take(&mut self.tail);
        while let Some(last) = self.runs.last()
            && last.len() < 2 * run.len()
            && last.len() < WORDS * RUN_MAX
        {
            run.splice(0..0, last.iter().copied());
            self.runs.pop();
        }
        if self.runs.len() == self.runs.capacity() {
            self.runs.reserve_exact(1);
        }
        self.runs.push(run.into());
    }

    pub(super) fn older(&self) -> Older<'_> {
        Older { runs: &self.runs, tail: Places(&self.tail) }
    }

    /// What follows `base`, with or without `base` itself.
    pub(super) fn after(&self, base: Place, keep_base: bool) -> Self {
        let is_dropped = |place: Place| place < base || (place == base && !keep_base);
        let mut kept =
            Self { generation: self.generation, runs: Vec::new(), tail: Vec::new(), len: 0 };
        for run in &self.runs {
            let places = Places(run);
            match places.partition_point(is_dropped) {
                0 => kept.runs.push(Arc::clone(run)),
                from if from < places.len() => kept.runs.push(places.from(from).0.into()),
                _ => {}
            }
        }
        let tail = Places(&self.tail);
        kept.tail = tail.from(tail.partition_point(is_dropped)).0.to_vec();
        kept.len = kept.older().slices().map(Places::len).sum();
        kept
    }
}

/// Older records, wherever they lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Older<'a> {
    runs: &'a [Arc<[u32]>],
    tail: Places<'a>,
}

impl<'a> Older<'a> {
    pub(super) fn few(tail: Places<'a>) -> Self {
        Self { runs: &[], tail }
    }

    pub(super) fn slices(self) -> impl DoubleEndedIterator<Item = Places<'a>> {
        self.runs.iter().map(|run| Places(run)).chain([self.tail])
    }

    pub(super) fn oldest(self) -> Option<Place> {
        self.slices().find_map(Places::first)
    }

    /// The newest one with a revision of at most `revision`.
    pub(super) fn at(self, revision: u64) -> Option<Place> {
        let is_reached = |slice: &Places<'_>| slice.first().is_some_and(|p| p.main <= revision);
        let slice = self.slices().rev().find(is_reached)?;
        slice.get(slice.partition_point(|place| place.main <= revision) - 1)
    }

    /// All with a revision of at least `revision`.
    pub(super) fn since(self, revision: u64) -> impl Iterator<Item = Place> + use<'a> {
        self.slices()
            .filter(move |slice| slice.last().is_some_and(|last| last.main >= revision))
            .flat_map(move |slice| {
                slice.from(slice.partition_point(|place| place.main < revision)).iter()
            })
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Place> + use<'a> {
        self.slices().flat_map(Places::iter)
    }
}
