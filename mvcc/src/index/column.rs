//! What a leaf of a [`Map`](super::Map) holds beside its keys.

use std::ops::{Add, Deref, DerefMut, Sub};

/// Entries of a leaf at most, as a rule.
pub(super) const LEAF_MAX: usize = 48;

/// What an entry, or a subtree, counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Keys that exist at the newest state.
    pub(crate) live: u64,
    /// Records beyond one live record a key: older versions and tombstones.
    pub(crate) spare: u64,
}

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { live: self.live + other.live, spare: self.spare + other.spare }
    }
}

impl Sub for Weight {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { live: self.live - other.live, spare: self.spare - other.spare }
    }
}

/// What a [`Map`] holds beside its keys: the entries of one leaf, side by side.
///
/// A column and not an array, as what further belongs to an entry may lie behind all of them.
pub(crate) trait Column: Clone + Default {
    /// An entry on its own.
    type Entry;

    /// Entries of a leaf at most.
    const LEN_MAX: usize;

    /// Number of entries.
    fn len(&self) -> usize;
    /// What an entry counts for.
    fn weight(&self, at: usize) -> Weight;
    /// Inserts an entry before the one at `at`.
    fn insert(&mut self, at: usize, entry: Self::Entry);
    /// Puts another entry in the place of one.
    fn replace(&mut self, at: usize, entry: Self::Entry);
    /// Removes an entry.
    fn remove(&mut self, at: usize);
    /// Cuts the entries from `at` on off and returns them.
    fn split_off(&mut self, at: usize) -> Self;
    /// Appends the entries of another column.
    fn append(&mut self, right: &Self);
}

/// An entry in its column.
#[derive(Debug)]
pub(crate) struct At<'a, C> {
    pub(super) column: &'a C,
    pub(super) at: usize,
}

impl<C> Clone for At<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for At<'_, C> {}

/// An entry in its column, to be changed.
#[derive(Debug)]
pub(crate) struct AtMut<'a, C> {
    pub(super) column: &'a mut C,
    pub(super) at: usize,
}

impl<C: Column> AtMut<'_, C> {
    pub(super) fn shown(&self) -> At<'_, C> {
        At { column: self.column, at: self.at }
    }

    /// Puts another entry in the place of this one.
    pub(crate) fn replace(&mut self, entry: C::Entry) {
        self.column.replace(self.at, entry);
    }
}

/// An entry that has nothing beside it.
pub(crate) trait Plain: Clone {
    /// Entries of a leaf at most.
    const LEAF_MAX: usize = LEAF_MAX;

    /// What it counts for.
    fn weight(&self) -> Weight {
        Weight { live: 1, spare: 0 }
    }
}

/// A bare set. Where there are keys alone, the share of the nodes counts.
impl Plain for () {
    const LEAF_MAX: usize = 128;
}

impl<E: Plain> Column for Vec<E> {
    type Entry = E;

    const LEN_MAX: usize = E::LEAF_MAX;

    fn len(&self) -> usize {
        self.len()
    }

    fn weight(&self, at: usize) -> Weight {
        self[at].weight()
    }

    fn insert(&mut self, at: usize, entry: E) {
        insert_tight(self, at, entry);
    }

    fn replace(&mut self, at: usize, entry: E) {
        self[at] = entry;
    }

    fn remove(&mut self, at: usize) {
        self.remove(at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let right = self.split_off(at);
        self.shrink_to_fit();
        right
    }

    fn append(&mut self, right: &Self) {
        self.extend_from_slice(right);
    }
}

impl<E> Deref for At<'_, Vec<E>> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.column[self.at]
    }
}

impl<E> Deref for AtMut<'_, Vec<E>> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.column[self.at]
    }
}

impl<E> DerefMut for AtMut<'_, Vec<E>> {
    fn deref_mut(&mut self) -> &mut E {
        &mut self.column[self.at]
    }
}

/// Inserts without the doubling of `Vec`: most nodes are filled, copied and then kept for long.
pub(super) fn insert_tight<T>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(4);
    }
    items.insert(at, item);
}
