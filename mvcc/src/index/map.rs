//! An ordered map from byte strings that is cheap to clone and to count.
//!
//! A B+tree whose nodes are shared: cloning the map clones the pointer to its root, and a write
//! copies only those nodes on its path that a clone still shares (a few hundred nanoseconds);
//! between two clones, writes happen in place. So a reader that holds a clone reads a state that
//! never changes, without a lock, and without holding up the writer.
//!
//! Each inner node knows the [`Weight`] below each child, so that counting a range costs the
//! logarithm, and a walk for what compaction may drop skips what has nothing to drop.
//!
//! The fan-out of inner nodes is small on purpose. Copying one raises the reference count of each
//! child, and on a big map those counts are not in the processor's cache.

use std::sync::Arc;

use super::column::{At, AtMut, Column, Weight, insert_tight};
use super::keys::{Keys, common_len};

/// Bytes of keys in a leaf of several entries at most, so that long keys do not make copies dear.
const LEAF_BYTES_MAX: usize = 8 * 1024;
/// Children of an inner node at most.
const INNER_MAX: usize = 16;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Map<C> {
    root: Arc<Node<C>>,
    weight: Weight,
}

#[derive(Clone, Debug)]
enum Node<C> {
    Leaf(Leaf<C>),
    Inner(Inner<C>),
}

#[derive(Clone, Debug)]
struct Leaf<C> {
    keys: Keys,
    entries: C,
}

#[derive(Clone, Debug)]
struct Inner<C> {
    /// One less than children: `separators[i]` is above everything in child `i` and not above
    /// anything in child `i + 1`.
    separators: Keys,
    children: Vec<Arc<Node<C>>>,
    weights: Vec<Weight>,
}

/// What splits off at the right of a node that became too big.
struct Split<C> {
    separator: Vec<u8>,
    right: Arc<Node<C>>,
    right_weight: Weight,
}

/// What a write did to a subtree.
struct Written<C, R> {
    before: Weight,
    after: Weight,
    split: Option<Split<C>>,
    answer: R,
}

/// The weight of the first `len` entries.
fn sum<C: Column>(entries: &C, len: usize) -> Weight {
    (0..len).fold(Weight::default(), |sum, at| sum + entries.weight(at))
}

impl<C: Column> Default for Map<C> {
    fn default() -> Self {
        let leaf = Leaf { keys: Keys::default(), entries: C::default() };
        Self { root: Arc::new(Node::Leaf(leaf)), weight: Weight::default() }
    }
}

impl<C: Column> Map<C> {
    /// The sum over all entries.
    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    /// The entry of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<At<'_, C>> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.keys.find(key).ok()?;
                    return Some(At { column: &leaf.entries, at });
                }
                Node::Inner(inner) => node = &inner.children[inner.separators.not_above(key)],
            }
        }
    }

    /// Live entries in `[start, end)`; no `end` means to the last.
    pub(crate) fn count(&self, start: &[u8], end: Option<&[u8]>) -> u64 {
        let below_end = end.map_or(self.weight.live, |end| self.live_below(end));
        below_end.saturating_sub(self.live_below(start))
    }

    fn live_below(&self, key: &[u8]) -> u64 {
        let mut node = &*self.root;
        let mut below = 0;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    return below + sum(&leaf.entries, leaf.keys.below(key)).live;
                }
                Node::Inner(inner) => {
                    let at = inner.separators.not_above(key);
                    below += inner.weights[..at].iter().map(|weight| weight.live).sum::<u64>();
                    node = &inner.children[at];
                }
            }
        }
    }

    /// All entries in `[start, end)`, ascending; no `end` means to the last.
    pub(crate) fn range<'a>(&'a self, start: &[u8], end: Option<&'a [u8]>) -> Cursor<'a, C> {
        Cursor::new(&self.root, start, end, false)
    }

    /// As [`Map::range`], but passes over subtrees in which nothing is live: keys that were deleted
    /// and not compacted cost a walk next to nothing.
    pub(crate) fn range_live<'a>(&'a self, start: &[u8], end: Option<&'a [u8]>) -> Cursor<'a, C> {
        Cursor::new(&self.root, start, end, true)
    }

    /// Visits entries from `start` on, but only in subtrees that have something spare, until
    /// `visit` returns false.
    pub(crate) fn visit_spare(
        &self,
        start: &[u8],
        visit: &mut dyn FnMut(&[u8], At<'_, C>) -> bool,
    ) {
        if self.weight.spare > 0 {
            visit_spare_in(&self.root, start, visit);
        }
    }

    /// Shows `change` the entry of `key`, if there is one, to alter; otherwise inserts what
    /// `change` returns, if anything. Its second result is handed on.
    pub(crate) fn modify<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(Option<AtMut<'_, C>>) -> (Option<C::Entry>, R),
    ) -> R {
        let written = modify_in(&mut self.root, key, true, change);
        let total = self.weight - written.before + written.after;
        self.weight = total;
        if let Some(split) = written.split {
            let mut separators = Keys::default();
            separators.insert(0, &split.separator);
            let weights = vec![total - split.right_weight, split.right_weight];
            let children = vec![Arc::clone(&self.root), split.right];
            self.root = Arc::new(Node::Inner(Inner { separators, children, weights }));
        }
        written.answer
    }

    /// Inserts or replaces; true if there was no entry of `key`.
    pub(crate) fn insert(&mut self, key: &[u8], entry: C::Entry) -> bool {
        self.modify(key, |present| match present {
            Some(mut present) => {
                present.replace(entry);
                (None, false)
            }
            None => (Some(entry), true),
        })
    }

    /// Removes the entry of `key`; false if there is none.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.weight = self.weight - remove_in(&mut self.root, key);
        while let Node::Inner(inner) = &*self.root
            && inner.children.len() == 1
        {
            self.root = Arc::clone(&inner.children[0]);
        }
        true
    }

    /// Checks order, fill and weights of every node.
    ///
    /// # Panics
    /// If something does not hold: only a mistake of this crate can cause that.
    pub(crate) fn assert_sound(&self) {
        let found = assert_sound_in(&self.root, None, None);
        assert_eq!(found, self.weight, "weight of the whole map");
    }
}

fn modify_in<C: Column, R>(
    node: &mut Arc<Node<C>>,
    key: &[u8],
    is_rightmost: bool,
    change: impl FnOnce(Option<AtMut<'_, C>>) -> (Option<C::Entry>, R),
) -> Written<C, R> {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => leaf.modify(key, is_rightmost, change),
        Node::Inner(inner) => {
            let at = inner.separators.not_above(key);
            let is_rightmost = is_rightmost && at + 1 == inner.children.len();
            let mut written = modify_in(&mut inner.children[at], key, is_rightmost, change);
            inner.weights[at] = inner.weights[at] - written.before + written.after;
            if let Some(split) = written.split.take() {
                inner.weights[at] = inner.weights[at] - split.right_weight;
                written.split = inner.insert(at, split, is_rightmost);
            }
            written
        }
    }
}

impl<C: Column> Leaf<C> {
    fn modify<R>(
        &mut self,
        key: &[u8],
        is_rightmost: bool,
        change: impl FnOnce(Option<AtMut<'_, C>>) -> (Option<C::Entry>, R),
    ) -> Written<C, R> {
        let none = Weight::default();
        match self.keys.find(key) {
            Ok(at) => {
                let before = self.entries.weight(at);
                let (_, answer) = change(Some(AtMut { column: &mut self.entries, at }));
                Written { before, after: self.entries.weight(at), split: None, answer }
            }
            Err(at) => {
                let (entry, answer) = change(None);
                let Some(entry) = entry else {
                    return Written { before: none, after: none, split: None, answer };
                };
                self.keys.insert(at, key);
                self.entries.insert(at, entry);
                let after = self.entries.weight(at);
                let is_appended = is_rightmost && at + 1 == self.entries.len();
                Written { before: none, after, split: self.split_if_full(is_appended), answer }
            }
        }
    }

    /// Keys loaded in order fill their leaves to the brim: then only the last one moves over.
    fn split_if_full(&mut self, is_appended: bool) -> Option<Split<C>> {
        let len = self.entries.len();
        let at = if len > C::LEN_MAX {
            if is_appended { len - 1 } else { len / 2 }
        } else if self.keys.bytes_len() > LEAF_BYTES_MAX && len > 1 {
            if is_appended { len - 1 } else { self.keys.middle_by_bytes() }
        } else {
            return None;
        };
        let keys = self.keys.split_off(at);
        let entries = self.entries.split_off(at);
        let separator = separator(self.keys.get(at - 1), keys.get(0)).to_vec();
        let right_weight = sum(&entries, entries.len());
        let right = Arc::new(Node::Leaf(Self { keys, entries }));
        Some(Split { separator, right, right_weight })
    }
}

/// The shortest string above `left` and not above `right`.
fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    &right[..common_len(left, right) + 1]
}

impl<C: Column> Inner<C> {
    /// Takes what split off child `at`; splits itself if that is one child too many.
    fn insert(&mut self, at: usize, split: Split<C>, is_rightmost: bool) -> Option<Split<C>> {
        self.separators.insert(at, &split.separator);
        insert_tight(&mut self.children, at + 1, split.right);
        insert_tight(&mut self.weights, at + 1, split.right_weight);
        let len = self.children.len();
        if len <= INNER_MAX {
            return None;
        }
        let cut = if is_rightmost { len - 1 } else { len / 2 };
        let separators = self.separators.split_off(cut);
        let separator = self.separators.get(cut - 1).to_vec();
        self.separators.remove(cut - 1);
        let children = self.children.split_off(cut);
        let weights = self.weights.split_off(cut);
        let right_weight = weights.iter().fold(Weight::default(), |sum, weight| sum + *weight);
        let right = Arc::new(Node::Inner(Self { separators, children, weights }));
        Some(Split { separator, right, right_weight })
    }

    /// Drops child `at` if it is empty, or joins it with a neighbour if both are small.
    fn rebalance(&mut self, at: usize) {
        if self.children[at].len() == 0 {
            self.remove_child(at);
            return;
        }
        if self.children[at].is_small() {
            let left = if at + 1 < self.children.len() { Some(at) } else { at.checked_sub(1) };
            if let Some(left) = left
                && self.children[left].fits_with(&self.children[left + 1])
            {
                self.join(left);
            }
        }
    }

    fn remove_child(&mut self, at: usize) {
        self.children.remove(at);
        self.weights.remove(at);
        if self.separators.len() > 0 {
            self.separators.remove(at.saturating_sub(1));
        }
    }

    /// Joins child `left` and the one after it.
    fn join(&mut self, left: usize) {
        let separator = self.separators.get(left).to_vec();
        self.separators.remove(left);
        let right = self.children.remove(left + 1);
        let weight = self.weights.remove(left + 1);
        self.weights[left] = self.weights[left] + weight;
        match (Arc::make_mut(&mut self.children[left]), &*right) {
            (Node::Leaf(into), Node::Leaf(from)) => {
                into.keys.append(&from.keys);
                into.entries.append(&from.entries);
            }
            (Node::Inner(into), Node::Inner(from)) => {
                into.separators.insert(into.separators.len(), &separator);
                into.separators.append(&from.separators);
                into.children.extend_from_slice(&from.children);
                into.weights.extend_from_slice(&from.weights);
            }
            _ => unreachable!("all leaves of a map are at the same depth"),
        }
    }
}

impl<C: Column> Node<C> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.entries.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.entries.len() < C::LEN_MAX / 4,
            Self::Inner(inner) => inner.children.len() < INNER_MAX / 4,
        }
    }

    /// Room is left after a join, so that the next insert does not split it again.
    fn fits_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(a), Self::Leaf(b)) => {
                a.entries.len() + b.entries.len() <= C::LEN_MAX * 3 / 4
                    && a.keys.bytes_len() + b.keys.bytes_len() <= LEAF_BYTES_MAX
            }
            _ => self.len() + other.len() <= INNER_MAX * 3 / 4,
        }
    }
}

/// Removes an entry that is known to be there, and returns what it counted for.
fn remove_in<C: Column>(node: &mut Arc<Node<C>>, key: &[u8]) -> Weight {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => {
            let at = leaf.keys.find(key).expect("looked up before the descent");
            let weight = leaf.entries.weight(at);
            leaf.keys.remove(at);
            leaf.entries.remove(at);
            weight
        }
        Node::Inner(inner) => {
            let at = inner.separators.not_above(key);
            let removed = remove_in(&mut inner.children[at], key);
            inner.weights[at] = inner.weights[at] - removed;
            inner.rebalance(at);
            removed
        }
    }
}

fn visit_spare_in<C: Column>(
    node: &Node<C>,
    start: &[u8],
    visit: &mut dyn FnMut(&[u8], At<'_, C>) -> bool,
) -> bool {
    match node {
        Node::Leaf(leaf) => {
            let from = leaf.keys.below(start);
            (from..leaf.entries.len())
                .all(|at| visit(leaf.keys.get(at), At { column: &leaf.entries, at }))
        }
        Node::Inner(inner) => {
            let from = inner.separators.not_above(start);
            (from..inner.children.len())
                .filter(|&at| inner.weights[at].spare > 0)
                .all(|at| visit_spare_in(&inner.children[at], start, visit))
        }
    }
}

fn assert_sound_in<C: Column>(node: &Node<C>, from: Option<&[u8]>, to: Option<&[u8]>) -> Weight {
    let keys = match node {
        Node::Leaf(leaf) => &leaf.keys,
        Node::Inner(inner) => &inner.separators,
    };
    for at in 0..keys.len() {
        let key = keys.get(at);
        assert!(at == 0 || keys.get(at - 1) < key, "keys out of order at {at}: {key:?}");
        assert!(from.is_none_or(|from| from <= key), "key {key:?} below its subtree");
        assert!(to.is_none_or(|to| key < to), "key {key:?} above its subtree");
    }
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(keys.len(), leaf.entries.len(), "keys and entries of a leaf");
            sum(&leaf.entries, leaf.entries.len())
        }
        Node::Inner(inner) => {
            assert_eq!(keys.len() + 1, inner.children.len(), "separators and children");
            let mut total = Weight::default();
            for (at, child) in inner.children.iter().enumerate() {
                let from = if at == 0 { from } else { Some(keys.get(at - 1)) };
                let to = if at == keys.len() { to } else { Some(keys.get(at)) };
                let weight = assert_sound_in(child, from, to);
                assert_eq!(weight, inner.weights[at], "weight of child {at}");
                total = total + weight;
            }
            total
        }
    }
}

/// A walk over a [`Map`] in ascending order.
pub(crate) struct Cursor<'a, C> {
    /// Inner nodes above the leaf, each with the child to visit next.
    above: Vec<(&'a Inner<C>, usize)>,
    leaf: Option<(&'a Leaf<C>, usize)>,
    end: Option<&'a [u8]>,
    is_live_only: bool,
}

impl<'a, C: Column> Cursor<'a, C> {
    fn new(mut node: &'a Node<C>, start: &[u8], end: Option<&'a [u8]>, is_live_only: bool) -> Self {
        let mut above = Vec::new();
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let leaf = Some((leaf, leaf.keys.below(start)));
                    return Self { above, leaf, end, is_live_only };
                }
                Node::Inner(inner) => {
                    let at = inner.separators.not_above(start);
                    above.push((inner, at + 1));
                    node = &inner.children[at];
                }
            }
        }
    }

    fn next_leaf(&mut self) -> Option<&'a Leaf<C>> {
        while let Some((inner, next)) = self.above.last_mut() {
            // Behind the end there is nothing to pass over for.
            if let Some(end) = self.end
                && next.checked_sub(1).is_some_and(|at| {
                    at < inner.separators.len() && inner.separators.get(at) >= end
                })
            {
                return None;
            }
            let at = *next;
            let Some(child) = inner.children.get(at) else {
                self.above.pop();
                continue;
            };
            *next += 1;
            if self.is_live_only && inner.weights[at].live == 0 {
                continue;
            }
            match &**child {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => self.above.push((inner, 0)),
            }
        }
        None
    }
}

impl<'a, C: Column> Iterator for Cursor<'a, C> {
    type Item = (&'a [u8], At<'a, C>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (leaf, at) = self.leaf?;
            if at < leaf.entries.len() {
                let key = leaf.keys.get(at);
                if self.end.is_some_and(|end| key >= end) {
                    self.leaf = None;
                    return None;
                }
                self.leaf = Some((leaf, at + 1));
                return Some((key, At { column: &leaf.entries, at }));
            }
            self.leaf = self.next_leaf().map(|leaf| (leaf, 0));
        }
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
