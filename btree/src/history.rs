//! Changing the history's inner nodes: closed leaves are added at the right end, and swept leaves
//! take the place of those that they were made from. Appending records is the tree's own business.

use std::sync::Arc;

use crate::format::HISTORY_INNER_BYTES;
use crate::inner::{Child, MemInner, Replacement, capacity, divide, level_of, own, root_of};
use crate::link::{Changes, Link};
use crate::pages::{Epoch, Pages};
use crate::view::{Seek, descend, descend_to_parent};
use crate::{Error, Key};

const CAPACITY: usize = capacity(HISTORY_INNER_BYTES);

/// What a change needs besides the history itself.
pub(crate) struct HistoryEdit<'t> {
    pub(crate) pages: &'t Pages,
    pub(crate) epoch: &'t Epoch,
    pub(crate) changes: &'t mut Changes,
}

impl HistoryEdit<'_> {
    /// Adds a closed leaf behind all others. Nodes are filled to the brim, as leaves are.
    pub(crate) fn push(&mut self, base: &mut Link, first: Key, leaf: Link) -> Result<(), Error> {
        if matches!(base, Link::Empty) {
            *base = Link::Inner(Arc::new(MemInner::new(1, vec![(first, leaf)])));
            return Ok(());
        }
        let level = level_of(base, self.pages, self.epoch)?;
        if let Some(split) = self.push_below(base, level, first, leaf)? {
            let Link::Inner(root) = &*base else {
                unreachable!("a node that was pushed to is in memory")
            };
            let entries = vec![(root.first_key(), std::mem::take(base)), split];
            *base = Link::Inner(Arc::new(MemInner::new(level + 1, entries)));
        }
        Ok(())
    }

    fn push_below(
        &mut self,
        link: &mut Link,
        level: u8,
        first: Key,
        leaf: Link,
    ) -> Result<Option<(Key, Link)>, Error> {
        let inner = own(link, Some(level), self.pages, self.epoch, self.changes)?;
        if level == 1 {
            inner.entries.push((first, leaf));
        } else {
            let (_, last) = inner.entries.last_mut().expect("an inner node has entries");
            let split = self.push_below(last, level - 1, first, leaf)?;
            inner.entries.extend(split);
        }
        if inner.entries.len() <= CAPACITY {
            return Ok(None);
        }
        let right = MemInner::new(level, inner.entries.split_off(CAPACITY));
        Ok(Some((right.first_key(), Link::Inner(Arc::new(right)))))
    }

    /// Puts `new` in the place of all leaves with separators in `[low, high)`; there is a leaf with
    /// the separator `low`, and `new` has no separators out of the range.
    pub(crate) fn replace(
        &mut self,
        base: &mut Link,
        low: Key,
        high: Option<Key>,
        mut new: Replacement,
    ) -> Result<(), Error> {
        if high.is_some_and(|high| high <= low) {
            return Err(self.pages.corrupt(0, "order of leaves", low.main, 0));
        }
        let level = level_of(base, self.pages, self.epoch)?;
        let nodes = self.replace_below(base, level, low, high, &mut new)?;
        if !new.is_empty() {
            return Err(self.pages.corrupt(0, "separators of inner nodes", low.main, 0));
        }
        *base = root_of(nodes, level, CAPACITY);
        while let Link::Inner(inner) = base
            && inner.level > 1
            && inner.entries.len() == 1
        {
            let only = inner.entries[0].1.clone();
            self.changes.retire(base);
            *base = only;
        }
        Ok(())
    }

    fn replace_below(
        &mut self,
        link: &mut Link,
        level: u8,
        low: Key,
        high: Option<Key>,
        new: &mut Replacement,
    ) -> Result<Replacement, Error> {
        let inner = own(link, Some(level), self.pages, self.epoch, self.changes)?;
        let start = inner.entries.partition_point(|(key, _)| *key <= low).saturating_sub(1);
        let end_of_old = high.map_or(inner.entries.len(), |high| {
            inner.entries.partition_point(|(key, _)| *key < high)
        });
        if level == 1 {
            inner.entries.splice(start..end_of_old, new.drain(..));
        } else {
            let mut nodes = Vec::new();
            for (_, child) in &mut inner.entries[start..end_of_old] {
                nodes.extend(self.replace_below(child, level - 1, low, high, new)?);
            }
            let end = start + nodes.len();
            inner.entries.splice(start..end_of_old, nodes);
            self.join_thin(inner, start, end);
        }
        let Link::Inner(inner) = std::mem::take(link) else {
            unreachable!("an owned node is in memory")
        };
        Ok(divide(inner, CAPACITY))
    }

    /// Joins the children in `[start, end)` that have few entries left with the neighbour before
    /// them, so that sweeps leave a tree as low and as full as its size deserves.
    fn join_thin(&mut self, inner: &mut MemInner, start: usize, end: usize) {
        let (mut right, mut end) = (start.max(1), end.min(inner.entries.len()));
        let level = inner.level - 1;
        while right < end {
            // A neighbour that cannot be read is left alone; whoever needs it will be told.
            if !matches!(self.is_joinable(&inner.entries[right - 1..=right], level), Ok(true)) {
                right += 1;
                continue;
            }
            let [(_, first), (_, second)] = &mut inner.entries[right - 1..=right] else {
                unreachable!("a range of two entries has two")
            };
            let Ok(second) = own(second, Some(level), self.pages, self.epoch, self.changes) else {
                return;
            };
            let entries = std::mem::take(&mut second.entries);
            match own(first, Some(level), self.pages, self.epoch, self.changes) {
                Ok(first) => first.entries.extend(entries),
                Err(_) => {
                    second.entries = entries;
                    return;
                }
            }
            inner.entries.remove(right);
            end -= 1;
        }
    }

    fn is_joinable(&self, pair: &[(Key, Link)], level: u8) -> Result<bool, Error> {
        let mut counts = [0; 2];
        for (count, (_, link)) in counts.iter_mut().zip(pair) {
            *count = Child::Link(link).inner(Some(level), self.pages, self.epoch)?.count();
        }
        let [first, second] = counts;
        Ok(first.min(second) < CAPACITY / 4 && first + second <= CAPACITY / 4 * 3)
    }

    /// The leaves from the one that holds `from` on, each with its separator, as long as `more`
    /// wants them; and the separator of the leaf behind.
    pub(crate) fn leaves(
        &self,
        base: &Link,
        from: Key,
        mut more: impl FnMut(&Link) -> bool,
    ) -> Result<(Replacement, Option<Key>), Error> {
        let mut leaves = Vec::new();
        let mut next = Some(from);
        while let Some(at) = next {
            let seek = Seek::At(at);
            let Some(found) = descend(Child::Link(base), seek, self.pages, self.epoch)? else {
                return Ok((leaves, None));
            };
            let link = found.child.to_link();
            if !more(&link) {
                return Ok((leaves, Some(found.low)));
            }
            leaves.push((found.low, link));
            next = found.high;
            if next.is_some_and(|next| next <= at) {
                return Err(self.pages.corrupt(0, "order of leaves", at.main, found.low.main));
            }
        }
        Ok((leaves, None))
    }
}

/// Reads the inner nodes that the writer will need when it adopts a sweep of the leaves from `low`
/// on and plans the next from `next` on, so that it finds them in memory. Whoever needs a node that
/// cannot be read will be told.
pub(crate) fn warm(base: &Link, low: Key, next: Option<Key>, pages: &Pages, epoch: &Epoch) {
    let parent = |seek| descend_to_parent(Child::Link(base), seek, pages, epoch).ok().flatten();
    // A node that has few entries left may be joined with the one before it.
    if let Some(found) = parent(Seek::At(low)) {
        parent(Seek::Before(found.node.key(0)));
    }
    if let Some(behind) = next.and_then(|next| parent(Seek::At(next))?.high) {
        parent(Seek::At(behind));
    }
}
