//! All that the index knows of the keys of a leaf: 32 bytes for each, and twelve for each further
//! record of one that has few.
//!
//! The newest record is held in full, since nearly every question is about it. Of the older ones
//! only their places are held: those of a key that has few in one list for the whole leaf, which is
//! copied with it at the cost of a `memcpy`; those of a key that has many apart, see
//! [`past`](super::past).
//!
//! A generation is a row of records between two tombstones. It needs no structure of its own: a
//! record knows the revision that created its key and its version.

use std::sync::Arc;

use super::column::{At, AtMut, Column, LEAF_MAX, Weight, insert_tight};
use super::past::{Generation, Many, Older};
use super::places::{Place, Places, WORDS};

/// Older records of a key in its leaf, at most: all keys of a leaf that have so many take about six
/// kilobytes, which are copied when one of them is written for the first time after a publication.
const FEW_MAX: usize = 12;

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

/// The newest record of a key: its place, and the lease that the key is attached to. Bytes, so that
/// the discriminant of [`Known`] takes the sixteenth and not eight more.
#[derive(Clone, Copy, Debug)]
struct Newest {
    main: [u8; 7],
    sub_and_kind: [u8; 4],
    lease: [u8; 4],
}

impl Newest {
    fn new(place: Place, lease: u32) -> Self {
        let main = seven_bytes(place.main);
        Self { main, sub_and_kind: place.sub_and_kind.to_le_bytes(), lease: lease.to_le_bytes() }
    }

    fn place(self) -> Place {
        let sub_and_kind = u32::from_le_bytes(self.sub_and_kind);
        Place { main: number_of(self.main), sub_and_kind }
    }
}

/// A revision, all of which are below [`Place::MAIN_END`].
fn seven_bytes(revision: u64) -> [u8; 7] {
    let [bytes @ .., _zero] = revision.to_le_bytes();
    bytes
}

fn number_of(bytes: [u8; 7]) -> u64 {
    let mut number = [0; 8];
    number[..7].copy_from_slice(&bytes);
    u64::from_le_bytes(number)
}

/// What is known of one key. Create revision and version are zero if the newest record is a
/// tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Known(Records);

#[derive(Clone, Debug)]
enum Records {
    /// The places of this number of `older` records are in the leaf's list.
    Few {
        newest: Newest,
        create: [u8; 7],
        version: [u8; 8],
        older: u8,
    },
    Many {
        newest: Newest,
        past: Arc<Many>,
    },
}

impl Known {
    /// A key whose only record is at `place`.
    pub(crate) fn new(place: Place, create: u64, version: u64, lease: u32) -> Self {
        Self::few(Newest::new(place, lease), (create, version), 0)
    }

    fn few(newest: Newest, (create, version): Generation, older: usize) -> Self {
        let create = seven_bytes(create);
        let older = u8::try_from(older).expect("few is far below 256");
        Self(Records::Few { newest, create, version: version.to_le_bytes(), older })
    }

    fn newest(&self) -> Newest {
        let (Records::Few { newest, .. } | Records::Many { newest, .. }) = &self.0;
        *newest
    }

    fn generation(&self) -> Generation {
        match &self.0 {
            Records::Few { create, version, .. } => {
                (number_of(*create), u64::from_le_bytes(*version))
            }
            Records::Many { past, .. } => past.generation,
        }
    }

    /// Older records in the leaf's list.
    fn older_in_leaf(&self) -> usize {
        match &self.0 {
            Records::Few { older, .. } => usize::from(*older),
            Records::Many { .. } => 0,
        }
    }
}

/// The entries of a leaf.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    known: Vec<Known>,
    /// Packed places of the older records of all keys that have few, key by key.
    older: Vec<u32>,
}

/// An entry in its leaf.
pub(crate) type Entry<'a> = At<'a, Entries>;

impl Clone for Entries {
    /// With room for one more entry or record, for which most copies are made.
    fn clone(&self) -> Self {
        let mut known = Vec::with_capacity(self.known.len() + 1);
        known.extend_from_slice(&self.known);
        let mut older = Vec::new();
        if !self.older.is_empty() {
            older.reserve_exact(self.older.len() + WORDS);
            older.extend_from_slice(&self.older);
        }
        Self { known, older }
    }
}

impl Entries {
    /// Where the older places of an entry begin in the list.
    fn begin(&self, at: usize) -> usize {
        WORDS * self.known[..at].iter().map(Known::older_in_leaf).sum::<usize>()
    }

    /// Replaces all that is known of a key.
    fn set(&mut self, at: usize, newest: Newest, generation: Generation, older: &[u32]) {
        let begin = self.begin(at);
        let end = begin + WORDS * self.known[at].older_in_leaf();
        self.older.splice(begin..end, older.iter().copied());
        self.known[at] = Known::few(newest, generation, older.len() / WORDS);
        // What many keys have left behind one by one is given back.
        let spare = self.older.capacity() - self.older.len();
        if spare > self.older.len() / 4 + FEW_MAX * WORDS {
            self.older.shrink_to_fit();
        }
    }

    /// Notes that the newest record of a key that has few is another one now.
    fn push(&mut self, at: usize, newest: Newest, generation: Generation) {
        let (before, older) = (self.known[at].newest().place(), self.known[at].older_in_leaf());
        let end = self.begin(at) + WORDS * older;
        if self.older.capacity() - self.older.len() < WORDS {
            self.older.reserve_exact(4 * WORDS);
        }
        self.older.splice(end..end, before.pack());
        self.known[at] = Known::few(newest, generation, older + 1);
    }
}

impl Column for Entries {
    type Entry = Known;

    const LEN_MAX: usize = LEAF_MAX;

    fn len(&self) -> usize {
        self.known.len()
    }

    fn weight(&self, at: usize) -> Weight {
        let (older, version) = match &self.known[at].0 {
            Records::Few { older, version, .. } => (usize::from(*older), *version),
            Records::Many { past, .. } => (past.len(), past.generation.1.to_le_bytes()),
        };
        let is_live = version != [0; 8];
        Weight { live: u64::from(is_live), spare: older as u64 + u64::from(!is_live) }
    }

    fn insert(&mut self, at: usize, entry: Known) {
        insert_tight(&mut self.known, at, entry);
    }

    fn replace(&mut self, at: usize, entry: Known) {
        self.set(at, entry.newest(), entry.generation(), &[]);
    }

    fn remove(&mut self, at: usize) {
        let begin = self.begin(at);
        let end = begin + WORDS * self.known[at].older_in_leaf();
        self.older.drain(begin..end);
        self.known.remove(at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let older = self.older.split_off(self.begin(at));
        let known = self.known.split_off(at);
        self.known.shrink_to_fit();
        self.older.shrink_to_fit();
        Self { known, older }
    }

    fn append(&mut self, right: &Self) {
        self.known.extend_from_slice(&right.known);
        self.older.extend_from_slice(&right.older);
    }
}

impl<'a> At<'a, Entries> {
    fn known(self) -> &'a Known {
        &self.column.known[self.at]
    }

    fn older(self) -> Older<'a> {
        match &self.known().0 {
            Records::Few { older: 0, .. } => Older::default(),
            Records::Few { older, .. } => {
                let begin = self.column.begin(self.at);
                let words = &self.column.older[begin..begin + WORDS * usize::from(*older)];
                Older::few(Places(words))
            }
            Records::Many { past, .. } => past.older(),
        }
    }

    /// The place of the newest record.
    pub(crate) fn place(self) -> Place {
        self.known().newest().place()
    }

    /// The lease of the newest record, as its number in the store's list of leases; 0 for none.
    pub(crate) fn lease(self) -> u32 {
        u32::from_le_bytes(self.known().newest().lease)
    }

    /// True if the newest record is not a tombstone.
    pub(crate) fn is_live(self) -> bool {
        !self.place().is_tombstone()
    }

    /// Create revision and version of the newest record; zeros for a tombstone.
    pub(crate) fn generation(self) -> Generation {
        self.known().generation()
    }

    /// The newest record with a revision of at most `revision`; it may be a tombstone.
    pub(crate) fn at(self, revision: u64) -> Option<Version> {
        let place = self.place();
        if place.main <= revision {
            return Some(Version { place, known: Some(self.generation()) });
        }
        let place = self.older().at(revision)?;
        Some(Version { place, known: None })
    }

    /// The record visible at `revision`: the newest one, unless it is a tombstone.
    pub(crate) fn visible_at(self, revision: u64) -> Option<Version> {
        self.at(revision).filter(|version| !version.place.is_tombstone())
    }

    /// All records with a revision of at least `revision`, ascending.
    pub(crate) fn since(self, revision: u64) -> impl Iterator<Item = Place> + use<'a> {
        let newest = self.place();
        self.older().since(revision).chain((newest.main >= revision).then_some(newest))
    }

    /// The record that compaction at `floor` keeps of those up to `floor`: the newest one, unless
    /// it is a tombstone of an earlier revision (rule 7.5).
    pub(crate) fn survivor(self, floor: u64) -> Option<Place> {
        let newest = self.at(floor)?.place;
        (!newest.is_tombstone() || newest.main == floor).then_some(newest)
    }

    /// True if [`AtMut::trim`] would drop something.
    pub(crate) fn has_droppable(self, floor: u64) -> bool {
        let oldest = self.older().oldest().unwrap_or(self.place());
        oldest.main <= floor && self.survivor(floor) != Some(oldest)
    }
}

impl AtMut<'_, Entries> {
    /// The lease of the newest record and its place.
    pub(crate) fn attachment(&self) -> (u32, Place) {
        (self.shown().lease(), self.shown().place())
    }

    /// Adds a put and returns its create revision and version.
    pub(crate) fn put(&mut self, place: Place, lease: u32, floor: i64) -> (u64, u64) {
        let (create, version) = match self.shown().generation() {
            (_, 0) => (place.main, 1),
            (create, version) => (create, version + 1),
        };
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
        let before = self.shown().place();
        assert!(before < place, "record {place:?} is not newer than {before:?}");
        let (newest, generation) = (Newest::new(place, lease), (create, version));
        if is_at_most(before.main, floor) {
            self.column.set(self.at, newest, generation, &before.pack());
            return;
        }
        let older = match &mut self.column.known[self.at].0 {
            Records::Many { newest: present, past } => {
                let past = Arc::make_mut(past);
                past.push(before);
                past.generation = generation;
                *present = newest;
                return;
            }
            Records::Few { older, .. } => usize::from(*older),
        };
        if older < FEW_MAX {
            self.column.push(self.at, newest, generation);
        } else {
            let places = self.shown().older().iter().chain([before]);
            let past = Arc::new(Many::new(generation, places));
            self.column.set(self.at, newest, generation, &[]);
            self.column.known[self.at] = Known(Records::Many { newest, past });
        }
    }

    /// Drops the records that compaction at `floor` gives up. A key with none left is gone.
    pub(crate) fn trim(&mut self, floor: u64) -> Trimmed {
        let entry = self.shown();
        let Some(base) = entry.at(floor).map(|version| version.place) else {
            return Trimmed::Kept;
        };
        let keep_base = entry.survivor(floor).is_some();
        let (newest, generation) = (entry.known().newest(), entry.generation());
        if base == entry.place() {
            self.column.set(self.at, newest, generation, &[]);
            return if keep_base { Trimmed::Kept } else { Trimmed::Gone };
        }
        if let Records::Many { past, .. } = &entry.known().0 {
            let past = past.after(base, keep_base);
            if past.len() > FEW_MAX {
                let past = Arc::new(past);
                self.column.known[self.at] = Known(Records::Many { newest, past });
                return Trimmed::Kept;
            }
        }
        let is_kept = |place: &Place| *place > base || (*place == base && keep_base);
        let kept: Vec<u32> = entry.older().iter().filter(is_kept).flat_map(Place::pack).collect();
        self.column.set(self.at, newest, generation, &kept);
        Trimmed::Kept
    }
}

/// True if an unsigned revision is at or below a floor that may be -1.
fn is_at_most(main: u64, floor: i64) -> bool {
    u64::try_from(floor).is_ok_and(|floor| main <= floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf of three keys of which the middle one is under test: the places of its neighbours
    /// must stay what they are.
    #[derive(Clone)]
    struct Leaf(Entries);

    impl Leaf {
        fn new(place: Place) -> Self {
            let mut entries = Entries::default();
            for at in 0..3 {
                entries.insert(at, Known::new(place, place.main, 1, 0));
            }
            let mut leaf = Self(entries);
            for at in [0, 2] {
                for main in 1_000_000..1_000_003 {
                    AtMut { column: &mut leaf.0, at }.put(put(main), 0, -1);
                }
            }
            leaf
        }

        fn entry(&self) -> Entry<'_> {
            for at in [0, 2] {
                let mains = At { column: &self.0, at }.since(1_000_000).map(|place| place.main);
                assert!(mains.eq(1_000_000..1_000_003), "a neighbour has changed");
            }
            At { column: &self.0, at: 1 }
        }

        fn change(&mut self) -> AtMut<'_, Entries> {
            AtMut { column: &mut self.0, at: 1 }
        }

        fn weight(&self) -> Weight {
            self.0.weight(1)
        }
    }

    fn put(main: u64) -> Place {
        Place::new(main, 0, false)
    }

    fn tombstone(main: u64) -> Place {
        Place::new(main, 0, true)
    }

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Known>(), 32);
    }

    #[test]
    fn rule_1_8_a_key_is_visible_until_its_tombstone() {
        let mut leaf = Leaf::new(put(4));
        leaf.change().delete(tombstone(8), -1);
        let entry = leaf.entry();
        assert!(entry.visible_at(3).is_none() && entry.visible_at(4).is_some());
        assert!(entry.visible_at(7).is_some() && entry.visible_at(8).is_none());
        assert_eq!(leaf.change().put(put(9), 0, -1), (9, 1));
        assert_eq!(leaf.change().put(put(11), 0, -1), (9, 2));
        assert_eq!(leaf.entry().at(10).unwrap().place, put(9));
    }

    #[test]
    fn a_long_history_answers_like_a_plain_list() {
        let mut leaf = Leaf::new(put(10));
        let mains: Vec<u64> = (10..3_000).step_by(3).collect();
        for &main in &mains[1..] {
            leaf.change().put(put(main), 0, -1);
        }
        let entry = leaf.entry();
        for revision in 0..3_005 {
            let expected = mains.iter().rev().find(|&&main| main <= revision).copied();
            assert_eq!(entry.at(revision).map(|v| v.place.main), expected, "at {revision}");
        }
        for revision in [0, 11, 1_500, 2_997, 5_000] {
            let expected: Vec<_> = mains.iter().filter(|&&main| main >= revision).collect();
            let found: Vec<_> = entry.since(revision).map(|place| place.main).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        let Records::Many { past, .. } = &entry.known().0 else { panic!("{entry:?}") };
        assert!(past.runs() < 10, "{} runs", past.runs());
        assert_eq!(leaf.weight(), Weight { live: 1, spare: mains.len() as u64 - 1 });
    }

    #[test]
    fn rule_7_5_compaction_keeps_the_newest_up_to_its_revision() {
        let mut whole = Leaf::new(put(2));
        for main in 3..60 {
            if main % 10 == 0 {
                whole.change().delete(tombstone(main), -1);
            } else {
                whole.change().put(put(main), 0, -1);
            }
        }
        for floor in 0..62 {
            let mut leaf = whole.clone();
            let droppable = leaf.entry().has_droppable(floor);
            let before = leaf.weight();
            let outcome = leaf.change().trim(floor);
            assert_eq!(outcome, Trimmed::Kept, "floor {floor}: the newest is a put");
            assert_eq!(droppable, before != leaf.weight(), "floor {floor}");
            assert!(!leaf.entry().has_droppable(floor), "floor {floor}");
            for revision in floor..62 {
                let visible = |leaf: &Leaf| leaf.entry().visible_at(revision).map(|v| v.place);
                assert_eq!(visible(&leaf), visible(&whole), "floor {floor} at {revision}");
            }
            let kept_tombstone = leaf.entry().since(0).find(|place| place.is_tombstone());
            assert!(kept_tombstone.is_none_or(|place| place.main >= floor));
        }
    }

    #[test]
    fn rule_7_5_a_key_with_nothing_but_a_tombstone_leaves() {
        let mut leaf = Leaf::new(put(2));
        leaf.change().delete(tombstone(5), -1);
        let mut at = leaf.clone();
        assert_eq!(at.change().trim(5), Trimmed::Kept);
        assert_eq!(at.entry().since(0).collect::<Vec<_>>(), [tombstone(5)]);
        assert!(at.entry().has_droppable(6));
        assert_eq!(at.change().trim(6), Trimmed::Gone);
        assert_eq!(leaf.change().trim(6), Trimmed::Gone);
    }
}
