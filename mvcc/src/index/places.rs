//! Places of records, and lists of them packed into words.
//!
//! A packed place takes twelve bytes, where a struct of a `u64` and a `u32` takes sixteen.

/// Words of a packed place: the low and the high half of its revision, then the rest.
pub(super) const WORDS: usize = 3;

/// Where a record stands in the history tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) main: u64,
    /// Twice the sub-revision, plus one for a tombstone: half the room of two fields.
    pub(super) sub_and_kind: u32,
}

impl Place {
    /// Revisions are below this, so that an entry has a byte to spare: two thousand years at a
    /// million revisions a second.
    pub(crate) const MAIN_END: u64 = 1 << 56;
    /// Sub-revisions are below this.
    pub(crate) const SUB_END: u64 = 1 << 31;

    /// # Panics
    /// If `main` or `sub` is out of bounds: what is read from a file is checked before.
    pub(crate) fn new(main: u64, sub: u64, is_tombstone: bool) -> Self {
        assert!(main < Self::MAIN_END, "revision {main} is out of bounds");
        assert!(sub < Self::SUB_END, "sub-revision {sub} of revision {main} is out of bounds");
        Self { main, sub_and_kind: (sub as u32) << 1 | u32::from(is_tombstone) }
    }

    pub(crate) fn sub(self) -> u64 {
        u64::from(self.sub_and_kind >> 1)
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.sub_and_kind & 1 == 1
    }

    /// Twelve bytes that sort like the place of a put.
    pub(crate) fn sortable(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sub_and_kind.to_be_bytes());
        bytes
    }

    /// The place of which these are the bytes.
    pub(crate) fn from_sortable(bytes: [u8; 12]) -> Self {
        let [main @ .., a, b, c, d] = bytes;
        let sub_and_kind = u32::from_be_bytes([a, b, c, d]);
        Self { main: u64::from_be_bytes(main), sub_and_kind }
    }

    pub(super) fn pack(self) -> [u32; WORDS] {
        let [low, high] = halves(self.main);
        [low, high, self.sub_and_kind]
    }
}

/// A number as its low and its high half.
pub(super) fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

/// A number from its halves.
pub(super) fn whole(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Packed places, ascending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places<'a>(pub(super) &'a [u32]);

impl<'a> Places<'a> {
    pub(super) fn len(self) -> usize {
        self.0.len() / WORDS
    }

    pub(super) fn get(self, at: usize) -> Option<Place> {
        let [low, high, sub_and_kind] = *self.0.get(WORDS * at..)?.first_chunk()?;
        Some(Place { main: whole(low, high), sub_and_kind })
    }

    pub(super) fn first(self) -> Option<Place> {
        self.get(0)
    }

    pub(super) fn last(self) -> Option<Place> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All from position `at` on.
    pub(super) fn from(self, at: usize) -> Places<'a> {
        Places(&self.0[WORDS * at..])
    }

    /// Number of places for which `is_left` holds; those come first.
    pub(super) fn partition_point(self, is_left: impl Fn(Place) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.get(middle).is_some_and(&is_left) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Place> + use<'a> {
        (0..self.len()).filter_map(move |at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_from_their_words() {
        let places = [
            Place::new(1, 0, false),
            Place::new(1, (1 << 31) - 1, true),
            Place::new(u64::from(u32::MAX), 5, false),
            Place::new(Place::MAIN_END - 1, 0, true),
        ];
        let words: Vec<u32> = places.iter().flat_map(|place| place.pack()).collect();
        let packed = Places(&words);
        assert_eq!(packed.iter().collect::<Vec<_>>(), places);
        assert_eq!((packed.first(), packed.last()), (Some(places[0]), Some(places[3])));
        assert_eq!(packed.partition_point(|place| place.main <= 1), 2);
        assert_eq!(packed.from(3).len(), 1);
        assert_eq!(packed.get(4), None);
        assert_eq!(Places::default().last(), None);
    }
}
