//! Which watchers want a key: exact keys in a map, ranges in an interval tree.
//!
//! The map is a `BTreeMap`: keys come from clients, and a hash without a random seed (which this
//! crate does not allow) would let them choose keys that collide.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::interval_tree::{End, IntervalTree};
use crate::interval::Interval;

/// The keys that a watcher watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// One key.
    Key(Bytes),
    /// All keys from the start up to the end.
    Range(Bytes, End),
}

impl Span {
    /// Reads a request's `key` and `range_end`; `None` if no key can be in between (5.12).
    ///
    /// An empty key stands for the one-byte key `\0` (5.9). The end is read as everywhere (5.10).
    pub(super) fn new(key: Bytes, range_end: &Bytes) -> Option<Span> {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        let interval = Interval::new(&key, range_end);
        if interval.is_empty() {
            None
        } else if interval.is_single() {
            Some(Span::Key(key))
        } else {
            let end = interval.end().map_or(End::Unbounded, |end| End::Before(end.clone()));
            Some(Span::Range(key, end))
        }
    }
}

/// Values filed under the keys that they are interested in.
#[derive(Debug)]
pub(super) struct KeyIndex<T> {
    exact: BTreeMap<Bytes, Vec<T>>,
    ranges: IntervalTree<T>,
    len: usize,
}

impl<T> KeyIndex<T> {
    pub(super) fn new() -> Self {
        KeyIndex { exact: BTreeMap::new(), ranges: IntervalTree::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Calls `visit` with every value that wants `key`, in no particular order.
    pub(super) fn visit<'a>(&'a self, key: &[u8], visit: &mut dyn FnMut(&'a T)) {
        if let Some(values) = self.exact.get(key) {
            values.iter().for_each(&mut *visit);
        }
        self.ranges.stab(key, visit);
    }

    pub(super) fn insert(&mut self, span: &Span, value: T) {
        self.len += 1;
        match span {
            Span::Key(key) => self.exact.entry(key.clone()).or_default().push(value),
            Span::Range(start, end) => self.ranges.insert(start.clone(), end.clone(), value),
        }
    }

    /// Removes the one value under `span` that `is_wanted` picks.
    pub(super) fn remove(&mut self, span: &Span, is_wanted: &dyn Fn(&T) -> bool) {
        self.len -= 1;
        match span {
            Span::Range(start, end) => self.ranges.remove(start, end, is_wanted),
            Span::Key(key) => {
                let values = self.exact.get_mut(key).expect("a watcher is filed under its key");
                values.retain(|value| !is_wanted(value));
                if values.is_empty() {
                    self.exact.remove(key);
                }
            }
        }
    }
}
