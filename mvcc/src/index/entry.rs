//! All that the index knows of one key, in 32 bytes as long as that is one record.
//!
//! The newest record is held in full, since nearly every question is about it. Of the older ones
//! only their places are held, see [`past`](super::past).
//!
//! A generation is a row of records between two tombstones. It needs no structure of its own: a
//! record knows the revision that created its key and its version.

use std::sync::Arc;

use super::map::{Weigh, Weight};
use super::past::{Few, Generation, Many, Older, TAIL_MAX};
use super::places::Place;

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
/// the discriminant of an [`Entry`] takes the sixteenth and not eight more.
#[derive(Clone, Copy, Debug)]
struct Newest {
    main: [u8; 7],
    sub_and_kind: [u8; 4],
    lease: [u8; 4],
}

impl Newest {
    fn new(place: Place, lease: u32) -> Self {
        let [main @ .., _zero] = place.main.to_le_bytes();
        Self { main, sub_and_kind: place.sub_and_kind.to_le_bytes(), lease: lease.to_le_bytes() }
    }

    fn place(self) -> Place {
        let mut main = [0; 8];
        main[..7].copy_from_slice(&self.main);
        let sub_and_kind = u32::from_le_bytes(self.sub_and_kind);
        Place { main: u64::from_le_bytes(main), sub_and_kind }
    }
}

/// The entry of one key. Create revision and version are zero if the newest record is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Entry(Records);

#[derive(Clone, Debug)]
enum Records {
    One { newest: Newest, create: u64, version: u64 },
    Few { newest: Newest, past: Few },
    Many { newest: Newest, past: Arc<Many> },
}

impl Weigh for Entry {
    fn weight(&self) -> Weight {
        let (older, version) = match &self.0 {
            Records::One { version, .. } => (0, *version),
            Records::Few { past, .. } => (past.places().len(), past.generation().1),
            Records::Many { past, .. } => (past.len(), past.generation.1),
        };
        let is_live = version > 0;
        Weight { live: u64::from(is_live), spare: older as u64 + u64::from(!is_live) }
    }
}

impl Entry {
    /// The entry of a key whose only record is at `place`.
    pub(crate) fn new(place: Place, create: u64, version: u64, lease: u32) -> Self {
        Self(Records::One { newest: Newest::new(place, lease), create, version })
    }

    fn newest(&self) -> Newest {
        let (Records::One { newest, .. }
        | Records::Few { newest, .. }
        | Records::Many { newest, .. }) = &self.0;
        *newest
    }

    fn older(&self) -> Older<'_> {
        match &self.0 {
            Records::One { .. } => Older::default(),
            Records::Few { past, .. } => Older::few(past.places()),
            Records::Many { past, .. } => past.older(),
        }
    }

    /// The place of the newest record.
    pub(crate) fn place(&self) -> Place {
        self.newest().place()
    }

    /// The lease of the newest record, as its number in the store's list of leases; 0 for none.
    pub(crate) fn lease(&self) -> u32 {
        u32::from_le_bytes(self.newest().lease)
    }

    /// True if the newest record is not a tombstone.
    pub(crate) fn is_live(&self) -> bool {
        !self.place().is_tombstone()
    }

    /// Create revision and version of the newest record; zeros for a tombstone.
    pub(crate) fn generation(&self) -> Generation {
        match &self.0 {
            Records::One { create, version, .. } => (*create, *version),
            Records::Few { past, .. } => past.generation(),
            Records::Many { past, .. } => past.generation,
        }
    }

    /// Adds a put and returns its create revision and version.
    pub(crate) fn put(&mut self, place: Place, lease: u32, floor: i64) -> (u64, u64) {
        let (create, version) = match self.generation() {
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
        let before = self.place();
        assert!(before < place, "record {place:?} is not newer than {before:?}");
        let newest = Newest::new(place, lease);
        let generation = (create, version);
        let is_base = is_at_most(before.main, floor);
        if let Records::Many { newest: present, past } = &mut self.0
            && !is_base
        {
            let past = Arc::make_mut(past);
            past.push(before);
            past.generation = generation;
            *present = newest;
            return;
        }
        let older = if is_base { Older::default() } else { self.older() };
        let len = older.slices().map(|slice| slice.len()).sum::<usize>() + 1;
        let places = older.iter().chain([before]);
        self.0 = if len <= TAIL_MAX {
            Records::Few { newest, past: Few::new(generation, places) }
        } else {
            Records::Many { newest, past: Arc::new(Many::new(generation, places)) }
        };
    }

    /// The newest record with a revision of at most `revision`; it may be a tombstone.
    pub(crate) fn at(&self, revision: u64) -> Option<Version> {
        let place = self.place();
        if place.main <= revision {
            return Some(Version { place, known: Some(self.generation()) });
        }
        let place = self.older().at(revision)?;
        Some(Version { place, known: None })
    }

    /// The record visible at `revision`: the newest one, unless it is a tombstone.
    pub(crate) fn visible_at(&self, revision: u64) -> Option<Version> {
        self.at(revision).filter(|version| !version.place.is_tombstone())
    }

    /// All records with a revision of at least `revision`, ascending.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = Place> {
        let newest = self.place();
        self.older().since(revision).chain((newest.main >= revision).then_some(newest))
    }

    /// The record that compaction at `floor` keeps of those up to `floor`: the newest one, unless
    /// it is a tombstone of an earlier revision (rule 7.5).
    pub(crate) fn survivor(&self, floor: u64) -> Option<Place> {
        let newest = self.at(floor)?.place;
        (!newest.is_tombstone() || newest.main == floor).then_some(newest)
    }

    /// True if [`Entry::trim`] would drop something.
    pub(crate) fn has_droppable(&self, floor: u64) -> bool {
        let oldest = self.older().oldest().unwrap_or(self.place());
        oldest.main <= floor && self.survivor(floor) != Some(oldest)
    }

    /// Drops the records that compaction at `floor` gives up. A key with none left is gone.
    pub(crate) fn trim(&mut self, floor: u64) -> Trimmed {
        let Some(base) = self.at(floor).map(|version| version.place) else { return Trimmed::Kept };
        let keep_base = self.survivor(floor).is_some();
        let (newest, generation) = (self.newest(), self.generation());
        if base == self.place() {
            self.0 = one(newest, generation);
            return if keep_base { Trimmed::Kept } else { Trimmed::Gone };
        }
        let kept = match &self.0 {
            Records::One { .. } => return Trimmed::Kept,
            Records::Few { past, .. } => {
                let places = past.places();
                let is_kept = |place: &Place| *place > base || (*place == base && keep_base);
                let mut kept = places.iter().filter(is_kept).peekable();
                kept.peek().is_some().then(|| few(newest, generation, kept))
            }
            Records::Many { past, .. } => {
                let past = past.after(base, keep_base);
                match past.len() {
                    0 => None,
                    1..=TAIL_MAX => Some(few(newest, generation, past.older().iter())),
                    _ => Some(Records::Many { newest, past: Arc::new(past) }),
                }
            }
        };
        self.0 = kept.unwrap_or_else(|| one(newest, generation));
        Trimmed::Kept
    }
}

fn one(newest: Newest, (create, version): Generation) -> Records {
    Records::One { newest, create, version }
}

fn few(newest: Newest, generation: Generation, places: impl Iterator<Item = Place>) -> Records {
    Records::Few { newest, past: Few::new(generation, places) }
}

/// True if an unsigned revision is at or below a floor that may be -1.
fn is_at_most(main: u64, floor: i64) -> bool {
    u64::try_from(floor).is_ok_and(|floor| main <= floor)
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
        assert_eq!(size_of::<Entry>(), 32);
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
        let Records::Many { past, .. } = &entry.0 else { panic!("{entry:?}") };
        assert!(past.runs() < 10, "{} runs", past.runs());
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
