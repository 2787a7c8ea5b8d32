//! An interval tree: which of many half-open key ranges contain a key.
//!
//! A height-balanced (AVL) tree ordered by (start, end), each node augmented with its *reach*, the
//! largest end below it. A stab visits the nodes whose start is at or before the key and skips
//! every subtree whose reach ends at or before it: O(log n + hits) in practice. Balance comes from
//! heights alone, not from chance, so that no order of requests that a client may choose makes it
//! deep.
//!
//! Equal ranges share a node: a thousand watchers of one prefix cost one comparison.

use std::cmp::Ordering;

use bytes::Bytes;

/// The exclusive upper end of a range. The order is that of the key space: nothing is above
/// `Unbounded`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Keys below these bytes.
    Before(Bytes),
    /// Every key from the start on.
    Unbounded,
}

impl End {
    fn is_above(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < end.as_ref(),
            End::Unbounded => true,
        }
    }
}

/// Place of a node in the arena; `NONE` is the empty subtree.
type Place = u32;
const NONE: Place = Place::MAX;

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    end: End,
    /// The largest `end` of this subtree.
    reach: End,
    /// 1 for a leaf.
    height: u8,
    left: Place,
    right: Place,
    /// In the order of insertion; empty only while the place is free.
    values: Vec<T>,
}

/// Values filed under half-open key ranges.
///
/// Invariants, which [`IntervalTree::verify`] checks: nodes ordered by (start, end) without equals;
/// heights of siblings differ by one at most; reach is the maximum of the own end and the
/// children's reaches; no node without a value.
#[derive(Debug)]
pub(super) struct IntervalTree<T> {
    nodes: Vec<Node<T>>,
    free: Vec<Place>,
    root: Place,
}

impl<T> IntervalTree<T> {
    pub(super) fn new() -> Self {
        IntervalTree { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }

    /// Calls `visit` with every value whose range contains `key`.
    pub(super) fn stab<'a>(&'a self, key: &[u8], visit: &mut dyn FnMut(&'a T)) {
        self.stab_below(self.root, key, visit);
    }

    pub(super) fn insert(&mut self, start: Bytes, end: End, value: T) {
        self.root = self.insert_below(self.root, start, end, value);
    }

    /// Removes the values of the range (`start`, `end`) that `is_wanted` picks.
    pub(super) fn remove(&mut self, start: &[u8], end: &End, is_wanted: &dyn Fn(&T) -> bool) {
        self.root = self.remove_below(self.root, start, end, is_wanted);
    }

    fn node(&self, at: Place) -> &Node<T> {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: Place) -> &mut Node<T> {
        &mut self.nodes[at as usize]
    }

    fn height(&self, at: Place) -> u8 {
        if at == NONE { 0 } else { self.node(at).height }
    }

    fn stab_below<'a>(&'a self, at: Place, key: &[u8], visit: &mut dyn FnMut(&'a T)) {
        if at == NONE || !self.node(at).reach.is_above(key) {
            return;
        }
        let node = self.node(at);
        self.stab_below(node.left, key, visit);
        if node.start.as_ref() <= key {
            if node.end.is_above(key) {
                node.values.iter().for_each(&mut *visit);
            }
            self.stab_below(node.right, key, visit);
        }
    }

    fn insert_below(&mut self, at: Place, start: Bytes, end: End, value: T) -> Place {
        if at == NONE {
            return self.allocate(start, end, value);
        }
        match (&start, &end).cmp(&(&self.node(at).start, &self.node(at).end)) {
            Ordering::Equal => self.node_mut(at).values.push(value),
            Ordering::Less => {
                let child = self.insert_below(self.node(at).left, start, end, value);
                self.node_mut(at).left = child;
            }
            Ordering::Greater => {
                let child = self.insert_below(self.node(at).right, start, end, value);
                self.node_mut(at).right = child;
            }
        }
        self.balance(at)
    }

    fn remove_below(
        &mut self,
        at: Place,
        start: &[u8],
        end: &End,
        is_wanted: &dyn Fn(&T) -> bool,
    ) -> Place {
        if at == NONE {
            return NONE;
        }
        match (start, end).cmp(&(self.node(at).start.as_ref(), &self.node(at).end)) {
            Ordering::Less => {
                let child = self.remove_below(self.node(at).left, start, end, is_wanted);
                self.node_mut(at).left = child;
            }
            Ordering::Greater => {
                let child = self.remove_below(self.node(at).right, start, end, is_wanted);
                self.node_mut(at).right = child;
            }
            Ordering::Equal => {
                self.node_mut(at).values.retain(|value| !is_wanted(value));
                if self.node(at).values.is_empty() {
                    return self.unlink(at);
                }
            }
        }
        self.balance(at)
    }

    fn allocate(&mut self, start: Bytes, end: End, value: T) -> Place {
        let reach = end.clone();
        let values = vec![value];
        let node = Node { start, end, reach, height: 1, left: NONE, right: NONE, values };
        match self.free.pop() {
            Some(place) => {
                *self.node_mut(place) = node;
                place
            }
            None => {
                self.nodes.push(node);
                Place::try_from(self.nodes.len() - 1).expect("fewer than 2^32 ranges fit in memory")
            }
        }
    }

    /// Takes the node out of the tree and returns what stands in its place.
    fn unlink(&mut self, at: Place) -> Place {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let node = self.node_mut(at);
        node.start = Bytes::new();
        node.end = End::Unbounded;
        node.reach = End::Unbounded;
        self.free.push(at);
        if left == NONE {
            return right;
        }
        if right == NONE {
            return left;
        }
        let (least, rest) = self.take_least(right);
        self.node_mut(least).left = left;
        self.node_mut(least).right = rest;
        self.balance(least)
    }

    /// Splits the least node off a subtree: (that node, the rest).
    fn take_least(&mut self, at: Place) -> (Place, Place) {
        let left = self.node(at).left;
        if left == NONE {
            return (at, self.node(at).right);
        }
        let (least, rest) = self.take_least(left);
        self.node_mut(at).left = rest;
        (least, self.balance(at))
    }

    /// Restores height, reach and balance of a node whose children are in order.
    fn balance(&mut self, at: Place) -> Place {
        let (left, right) = (self.node(at).left, self.node(at).right);
        if self.height(left) > self.height(right) + 1 {
            if self.height(self.node(left).right) > self.height(self.node(left).left) {
                self.node_mut(at).left = self.rotate_left(left);
            }
            return self.rotate_right(at);
        }
        if self.height(right) > self.height(left) + 1 {
            if self.height(self.node(right).left) > self.height(self.node(right).right) {
                self.node_mut(at).right = self.rotate_right(right);
            }
            return self.rotate_left(at);
        }
        self.refresh(at);
        at
    }

    fn rotate_left(&mut self, at: Place) -> Place {
        let up = self.node(at).right;
        self.node_mut(at).right = self.node(up).left;
        self.node_mut(up).left = at;
        self.refresh(at);
        self.refresh(up);
        up
    }

    fn rotate_right(&mut self, at: Place) -> Place {
        let up = self.node(at).left;
        self.node_mut(at).left = self.node(up).right;
        self.node_mut(up).right = at;
        self.refresh(at);
        self.refresh(up);
        up
    }

    fn refresh(&mut self, at: Place) {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let mut reach = &self.node(at).end;
        for child in [left, right] {
            if child != NONE {
                reach = reach.max(&self.node(child).reach);
            }
        }
        let reach = reach.clone();
        let height = 1 + self.height(left).max(self.height(right));
        let node = self.node_mut(at);
        node.reach = reach;
        node.height = height;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> IntervalTree<T> {
        /// Panics unless the invariants of the type hold; returns the number of nodes.
        pub(crate) fn verify(&self) -> usize {
            let mut before = None;
            let count = self.verify_below(self.root, &mut before);
            assert_eq!(count + self.free.len(), self.nodes.len(), "a node was lost");
            count
        }

        fn verify_below<'a>(
            &'a self,
            at: Place,
            before: &mut Option<(&'a Bytes, &'a End)>,
        ) -> usize {
            if at == NONE {
                return 0;
            }
            let node = self.node(at);
            let left = self.verify_below(node.left, before);
            assert!(before.is_none_or(|before| before < (&node.start, &node.end)));
            *before = Some((&node.start, &node.end));
            let right = self.verify_below(node.right, before);
            let (l, r) = (self.height(node.left), self.height(node.right));
            assert!(l.abs_diff(r) <= 1, "heights {l} and {r}");
            assert_eq!(node.height, 1 + l.max(r));
            let children = [node.left, node.right].into_iter().filter(|child| *child != NONE);
            let reach = children.map(|child| &self.node(child).reach).max();
            assert_eq!(Some(&node.reach), reach.max(Some(&node.end)));
            assert!(!node.values.is_empty());
            1 + left + right
        }
    }

    /// A small generator (xorshift), enough to vary the order of operations.
    fn next(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn key(number: u64) -> Bytes {
        Bytes::from(format!("{number:02}"))
    }

    #[test]
    fn stab_agrees_with_a_list_of_ranges() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut tree = IntervalTree::new();
        let mut model: Vec<(Bytes, End, u64)> = Vec::new();
        for serial in 0..4_000 {
            if next(&mut state) % 5 < 3 || model.is_empty() {
                let start = next(&mut state) % 100;
                let end = match next(&mut state) % 8 {
                    0 => End::Unbounded,
                    width => End::Before(key((start + width * 3).min(99).max(start + 1))),
                };
                tree.insert(key(start), end.clone(), serial);
                model.push((key(start), end, serial));
            } else {
                let index = next(&mut state) as usize % model.len();
                let (start, end, gone) = model.swap_remove(index);
                tree.remove(&start, &end, &|value| *value == gone);
            }
            let probe = key(next(&mut state) % 100);
            let mut found = Vec::new();
            tree.stab(&probe, &mut |value| found.push(*value));
            found.sort_unstable();
            let mut expected: Vec<u64> = model
                .iter()
                .filter(|(start, end, _)| *start <= probe && end.is_above(&probe))
                .map(|(_, _, serial)| *serial)
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
            if serial % 64 == 0 {
                tree.verify();
            }
        }
    }

    #[test]
    fn rising_starts_stay_shallow_and_leave_nothing_behind() {
        let mut tree = IntervalTree::new();
        for number in 0..10_000_u32 {
            let start = Bytes::copy_from_slice(&number.to_be_bytes());
            tree.insert(start, End::Unbounded, number);
        }
        assert!(tree.height(tree.root) <= 20, "height {}", tree.height(tree.root));
        for number in 0..10_000_u32 {
            tree.remove(&number.to_be_bytes(), &End::Unbounded, &|value| *value == number);
        }
        assert_eq!(tree.verify(), 0);
    }
}
