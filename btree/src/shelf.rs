//! A list that one writer extends while others read it: the reason why publishing copies nothing.
//!
//! Elements never move and are never changed, so a reader may hold references while the writer
//! appends. How much of the list a reader may look at is told by whoever published it, as a length;
//! elements behind that length may exist and are not its business.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements in the smallest level; each further level has twice as many.
const FIRST: usize = 8;

/// An append-only list of at most `FIRST * (2^LEVELS - 1)` elements.
#[derive(Debug)]
pub(crate) struct Shelf<T, const LEVELS: usize> {
    levels: [OnceLock<Box<[OnceLock<T>]>>; LEVELS],
    len: AtomicUsize,
}

impl<T, const LEVELS: usize> Shelf<T, LEVELS> {
    /// The most elements it can have.
    pub(crate) const CAPACITY: usize = FIRST * ((1 << LEVELS) - 1);

    pub(crate) fn new() -> Self {
        Shelf { levels: [const { OnceLock::new() }; LEVELS], len: AtomicUsize::new(0) }
    }

    /// How many elements were pushed. Exact for the writer; for others a lower bound.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Appends an element. There is one writer: that is the caller's promise, and a broken one
    /// panics rather than losing an element.
    ///
    /// # Panics
    ///
    /// If the shelf is full, or two threads push at once.
    pub(crate) fn push(&self, element: T) {
        let index = self.len();
        assert!(index < Self::CAPACITY, "a shelf of {index} elements is full");
        let (level, position) = locate(index);
        let slots = self.levels[level]
            .get_or_init(|| (0..FIRST << level).map(|_| OnceLock::new()).collect());
        assert!(slots[position].set(element).is_ok(), "two writers pushed element {index}");
        self.len.store(index + 1, Ordering::Release);
    }

    /// The element at `index`, if it was pushed.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (level, position) = locate(index);
        self.levels.get(level)?.get()?.get(position)?.get()
    }

    /// The index of the first element among the first `len` for which `before` does not hold;
    /// `before` must hold for a prefix only.
    pub(crate) fn partition_point(&self, len: usize, mut before: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle) {
                Some(element) if before(element) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The first `len` elements.
    pub(crate) fn iter(&self, len: usize) -> impl Iterator<Item = &T> {
        (0..len).map_while(|index| self.get(index))
    }
}

/// The level and the position in it of the element at `index`.
fn locate(index: usize) -> (usize, usize) {
    let level = ((index + FIRST) / FIRST).ilog2() as usize;
    (level, index + FIRST - (FIRST << level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_were_pushed() {
        let shelf: Shelf<usize, 6> = Shelf::new();
        for index in 0..Shelf::<usize, 6>::CAPACITY {
            assert_eq!(shelf.len(), index);
            assert_eq!(shelf.get(index), None);
            shelf.push(index * 3);
        }
        let len = shelf.len();
        assert!(shelf.iter(len).copied().eq((0..len).map(|index| index * 3)));
        for wanted in 0..len * 3 {
            assert_eq!(shelf.partition_point(len, |&x| x < wanted), wanted.div_ceil(3));
        }
    }

    #[test]
    fn a_reader_sees_complete_elements_while_the_writer_pushes() {
        let shelf: Shelf<Vec<usize>, 12> = Shelf::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|index| shelf.push(vec![index; 3])));
            scope.spawn(|| {
                while shelf.len() < 20_000 {
                    let len = shelf.len();
                    if let Some(last) = len.checked_sub(1) {
                        assert_eq!(shelf.get(last), Some(&vec![last; 3]));
                    }
                }
            });
        });
    }
}
