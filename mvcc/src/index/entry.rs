//! All that the index knows of one key.
//!
//! The newest record is held in full, since nearly every question is about it. Of the older ones
//! only their places are held, as a list of runs whose lengths fall at least by half: adding a
//! record copies at most one short tail and a few pointers however long the history is, and finding
//! one costs a logarithm.
//!
//! A generation is a row of records between two tombstones. It needs no structure of its own: a
//! record knows the revision that created its key and its version.

use std::sync::Arc;

use super::map::{Weigh, Weight};

/// Records of a history that are copied with each addition, at most.
const TAIL_MAX: usize = 16;
/// Runs of this length are not joined any more, which bounds what one addition can cost.
const RUN_MAX: usize = 64 * 1024;

/// Where a record stands in the history tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) main: u64,
    /// Twice the sub-revision, plus one for a tombstone: half the room of two fields.
    sub_and_kind: u32,
}

impl Place {
    /// # Panics
    /// If `sub` needs more than 31 bits: an index of two thousand million keys does not exist.
    pub(crate) fn new(main: u64, sub: u64, is_tombstone: bool) -> Self {
        assert!(sub < 1 << 31, "sub-revision {sub} of revision {main} is out of bounds");
        Self { main, sub_and_kind: (sub as u32) << 1 | u32::from(is_tombstone) }
    }

    pub(crate) fn sub(self) -> u64 {
        u64::from(self.sub_and_kind >> 1)
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.sub_and_kind & 1 == 1
    }
}

/// A record as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) place: Place,
    /// Create revision and version; known of the newest record only.
    pub(crate) known: Option<(u64, u64)>,
}

/// What is left of an entry after compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trimmed {
    Kept,
    Gone,
}

/// The entry of one key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Create revision of the newest record; 0 for a tombstone.
    create: u64,
    /// Version of the newest record; 0 for a tombstone.
    version: u64,
    main: u64,
    sub_and_kind: u32,
    /// The lease of the newest record, as its number in the store's list of leases; 0 for none.
    pub(crate) lease: u32,
    older: Option<Arc<History>>,
}

impl Weigh for Entry {
    fn weight(&self) -> Weight {
        let older = self.older.as_ref().map_or(0, |older| older.len as u64);
        let is_live = self.is_live();
        Weight { live: u64::from(is_live), spare: older + u64::from(!is_live) }
    }
}

impl Entry {
    /// The entry of a key whose only record is a put at `place`.
    pub(crate) fn new(place: Place, create: u64, version: u64, lease: u32) -> Self {
        let Place { main, sub_and_kind } = place;
        Self { create, version, main, sub_and_kind, lease, older: None }
    }

    /// The place of the newest record.
    pub(crate) fn place(&self) -> Place {
        Place { main: self.main, sub_and_kind: self.sub_and_kind }
    }

    /// True if the newest record is not a tombstone.
    pub(crate) fn is_live(&self) -> bool {
        self.version > 0
    }

    /// Create revision and version of the newest record; zeros for a tombstone.
    pub(crate) fn generation(&self) -> (u64, u64) {
        (self.create, self.version)
    }

    /// Adds a put and returns its create revision and version.
    pub(crate) fn put(&mut self, place: Place, lease: u32, floor: i64) -> (u64, u64) {
        let (create, version) =
            if self.is_live() { (self.create, self.version + 1) } else { (place.main, 1) };
        self.add(place, create, version, lease, floor);
        (create, version)
    }

    /// Adds a tombstone.
    pub(crate) fn delete(&mut self, place: Place, floor: i64) {
        self.add(place, 0, 0, 0, floor);
    }

    /// Adds a record of which everything is known. Records that compaction at `floor` gives up are
    /// dropped on the way if that costs nothing.
    pub(crate) fn add(&mut self, place: Place, create: u64, version: u64, lease: u32, floor: i64) {
        let before = self.place();
        assert!(before < place, "record {place:?} is not newer than {before:?}");
        if is_at_most(before.main, floor) {
            self.older = None;
        }
        let older = self.older.get_or_insert_with(Arc::default);
        Arc::make_mut(older).push(before);
        let Place { main, sub_and_kind } = place;
        let older = self.older.take();
        *self = Self { create, version, main, sub_and_kind, lease, older };
    }

    /// The newest record with a revision of at most `revision`; it may be a tombstone.
    pub(crate) fn at(&self, revision: u64) -> Option<Version> {
        if self.main <= revision {
            let known = Some((self.create, self.version));
            return Some(Version { place: self.place(), known });
        }
        let place = self.older.as_ref()?.at(revision)?;
        Some(Version { place, known: None })
    }

    /// The record visible at `revision`: the newest one, unless it is a tombstone.
    pub(crate) fn visible_at(&self, revision: u64) -> Option<Version> {
        self.at(revision).filter(|version| !version.place.is_tombstone())
    }

    /// All records with a revision of at least `revision`, ascending.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = Place> {
        let older = self.older.iter().flat_map(move |older| older.since(revision));
        older.chain((self.main >= revision).then(|| self.place()))
    }

    /// The record that compaction at `floor` keeps of those up to `floor`: the newest one, unless
    /// it is a tombstone of an earlier revision (rule 7.5).
    pub(crate) fn survivor(&self, floor: u64) -> Option<Place> {
        let newest = self.at(floor)?.place;
        (!newest.is_tombstone() || newest.main == floor).then_some(newest)
    }

    /// True if [`Entry::trim`] would drop something.
    pub(crate) fn has_droppable(&self, floor: u64) -> bool {
        let oldest = self.older.as_ref().and_then(|older| older.oldest());
        let first = self.survivor(floor);
        oldest.unwrap_or(self.place()).main <= floor
            && first != Some(oldest.unwrap_or(self.place()))
    }

    /// Drops the records that compaction at `floor` gives up. A key with none left is gone.
    pub(crate) fn trim(&mut self, floor: u64) -> Trimmed {
        let Some(base) = self.at(floor).map(|version| version.place) else { return Trimmed::Kept };
        let keep_base = self.survivor(floor).is_some();
        if base == self.place() {
            self.older = None;
            return if keep_base { Trimmed::Kept } else { Trimmed::Gone };
        }
        if let Some(older) = &self.older {
            self.older = older.after(base, keep_base).map(Arc::new);
        }
        Trimmed::Kept
    }
}

/// True if an unsigned revision is at or below a floor that may be -1.
fn is_at_most(main: u64, floor: i64) -> bool {
    u64::try_from(floor).is_ok_and(|floor| main <= floor)
}

/// The older records of a key, ascending.
#[derive(Clone, Debug, Default)]
struct History {
    /// Each at least twice as long as the next, unless both have reached [`RUN_MAX`].
    runs: Vec<Arc<[Place]>>,
    tail: Vec<Place>,
    len: usize,
}

impl History {
    fn push(&mut self, place: Place) {
        let at = self.tail.len();
        super::map::insert_tight(&mut self.tail, at, place);
        self.len += 1;
        if self.tail.len() >= TAIL_MAX {
            self.seal_tail();
        }
    }

    fn seal_tail(&mut self) {
        let mut run: Vec<Place> = std::mem::take(&mut self.tail);
        while let Some(last) = self.runs.last()
            && last.len() < 2 * run.len()
            && last.len() < RUN_MAX
        {
            let last = self.runs.pop().expect("looked at just now");
            run.splice(0..0, last.iter().copied());
        }
        self.runs.push(run.into());
    }

    fn slices(&self) -> impl DoubleEndedIterator<Item = &[Place]> {
        self.runs.iter().map(|run| &**run).chain([&*self.tail])
    }

    fn oldest(&self) -> Option<Place> {
        self.slices().find_map(|slice| slice.first().copied())
    }

    fn at(&self, revision: u64) -> Option<Place> {
        let slice = self
            .slices()
            .rev()
            .find(|slice| slice.first().is_some_and(|first| first.main <= revision))?;
        Some(slice[slice.partition_point(|place| place.main <= revision) - 1])
    }

    fn since(&self, revision: u64) -> impl Iterator<Item = Place> {
        self.slices()
            .filter(move |slice| slice.last().is_some_and(|last| last.main >= revision))
            .flat_map(move |slice| {
                let from = slice.partition_point(|place| place.main < revision);
                slice[from..].iter().copied()
            })
    }

    /// What follows `base`, with or without `base` itself; `None` if that is nothing.
    fn after(&self, base: Place, keep_base: bool) -> Option<Self> {
        let mut kept = Self::default();
        let is_dropped = |place: &Place| *place < base || (*place == base && !keep_base);
        for run in &self.runs {
            let from = run.partition_point(is_dropped);
            if from == 0 {
                kept.runs.push(Arc::clone(run));
            } else if from < run.len() {
                kept.runs.push(run[from..].into());
            }
        }
        kept.tail = self.tail[self.tail.partition_point(is_dropped)..].to_vec();
        kept.len = kept.slices().map(<[Place]>::len).sum();
        (kept.len > 0).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: u64) -> Place {
        Place::new(main, 0, false)
    }

    fn tombstone(main: u64) -> Place {
        Place::new(main, 0, true)
    }

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Entry>(), 40);
        assert_eq!(size_of::<Place>(), 16);
    }

    #[test]
    fn rule_1_8_a_key_is_visible_until_its_tombstone() {
        let mut entry = Entry::new(put(4), 4, 1, 0);
        entry.delete(tombstone(8), -1);
        assert!(entry.visible_at(3).is_none() && entry.visible_at(4).is_some());
        assert!(entry.visible_at(7).is_some() && entry.visible_at(8).is_none());
        assert_eq!(entry.put(put(9), 0, -1), (9, 1));
        assert_eq!(entry.put(put(11), 0, -1), (9, 2));
        assert_eq!(entry.at(10).unwrap().place, put(9));
    }

    #[test]
    fn a_long_history_answers_like_a_plain_list() {
        let mut entry = Entry::new(put(10), 10, 1, 0);
        let mains: Vec<u64> = (10..3_000).step_by(3).collect();
        for &main in &mains[1..] {
            entry.put(put(main), 0, -1);
        }
        for revision in 0..3_005 {
            let expected = mains.iter().rev().find(|&&main| main <= revision).copied();
            assert_eq!(entry.at(revision).map(|v| v.place.main), expected, "at {revision}");
        }
        for revision in [0, 11, 1_500, 2_997, 5_000] {
            let expected: Vec<_> = mains.iter().filter(|&&main| main >= revision).collect();
            let found: Vec<_> = entry.since(revision).map(|place| place.main).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        let runs = entry.older.as_ref().unwrap().runs.len();
        assert!(runs < 10, "{runs} runs");
        assert_eq!(entry.weight(), Weight { live: 1, spare: mains.len() as u64 - 1 });
    }

    #[test]
    fn rule_7_5_compaction_keeps_the_newest_up_to_its_revision() {
        let mut whole = Entry::new(put(2), 2, 1, 0);
        for main in 3..60 {
            if main % 10 == 0 {
                whole.delete(tombstone(main), -1);
            } else {
                whole.put(put(main), 0, -1);
            }
        }
        for floor in 0..62 {
            let mut entry = whole.clone();
            let droppable = entry.has_droppable(floor);
            let before = entry.weight();
            let outcome = entry.trim(floor);
            assert_eq!(outcome, Trimmed::Kept, "floor {floor}: the newest is a put");
            assert_eq!(droppable, before != entry.weight(), "floor {floor}");
            assert!(!entry.has_droppable(floor), "floor {floor}");
            for revision in floor..62 {
                let visible = |entry: &Entry| entry.visible_at(revision).map(|v| v.place);
                assert_eq!(visible(&entry), visible(&whole), "floor {floor} at {revision}");
            }
            let kept_tombstone = entry.since(0).find(|place| place.is_tombstone());
            assert!(kept_tombstone.is_none_or(|place| place.main >= floor));
        }
    }

    #[test]
    fn rule_7_5_a_key_with_nothing_but_a_tombstone_leaves() {
        let mut entry = Entry::new(put(2), 2, 1, 0);
        entry.delete(tombstone(5), -1);
        let mut at = entry.clone();
        assert_eq!(at.trim(5), Trimmed::Kept);
        assert_eq!(at.since(0).collect::<Vec<_>>(), [tombstone(5)]);
        assert!(at.has_droppable(6));
        assert_eq!(at.trim(6), Trimmed::Gone);
        assert_eq!(entry.trim(6), Trimmed::Gone);
    }
}
