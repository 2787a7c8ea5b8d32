//! Inner nodes: separators and children.
//!
//! The key of an entry is at most the first key below it, greater than all keys below the entry
//! before it, and equal to the key of the child's first entry if the child is an inner node. The
//! last two make a step to the neighbouring leaf one descent, in either direction.
//!
//! On disk: kind 3, level u8, count u16, 4 zeros; then of each of `count` entries the main u64;
//! then of each the rest, 20 bytes: sub u64, kind u8, a zero, blocks u16, block u32, checksum u32.
//! A search reads mains alone, eight to a line of the processor's cache.

use std::hint::{black_box, select_unpredictable};
use std::sync::Arc;

use crate::format::{Encode, Pointer, u16_at, u32_at, u64_at};
use crate::link::{Changes, Home, Link};
use crate::pages::{Epoch, Pages};
use crate::{Error, Key};

/// The first byte of an inner node.
pub(crate) const INNER_KIND: u8 = 3;
const HEADER_BYTES: usize = 8;
const MAIN_BYTES: usize = 8;
/// What an entry has besides its main.
const REST_BYTES: usize = 20;
const ENTRY_BYTES: usize = MAIN_BYTES + REST_BYTES;
/// How far from where it is expected an entry is looked for before all are searched.
const NEAR: usize = 4;

/// The most entries that fit into a node of `bytes`.
pub(crate) const fn capacity(bytes: usize) -> usize {
    (bytes - HEADER_BYTES) / ENTRY_BYTES
}

/// An inner node in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemInner {
    pub(crate) home: Home,
    /// 1 if the children are leaves.
    pub(crate) level: u8,
    /// Not empty; in rising order.
    pub(crate) entries: Vec<(Key, Link)>,
}

impl MemInner {
    pub(crate) fn new(level: u8, entries: Vec<(Key, Link)>) -> MemInner {
        MemInner { home: Home::default(), level, entries }
    }

    /// The separator of the whole node.
    pub(crate) fn first_key(&self) -> Key {
        self.entries.first().map_or(Key::MIN, |(key, _)| *key)
    }

    pub(crate) fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.entries.len() * ENTRY_BYTES
    }

    /// Appends the node; all children must have been written.
    pub(crate) fn encode(&self, out: &mut impl Encode) {
        out.bytes(&[INNER_KIND, self.level]);
        out.u16(self.entries.len() as u16);
        out.u32(0);
        self.entries.iter().for_each(|(key, _)| out.u64(key.main));
        for (key, link) in &self.entries {
            let child = link.pointer().expect("children are written before their parent");
            out.u64(key.sub);
            out.u8(key.kind);
            out.u8(0);
            out.u16(child.blocks);
            out.u32(child.block);
            out.u32(child.crc);
        }
    }
}

/// An inner node wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InnerView<'a> {
    Memory(&'a MemInner),
    Disk(DiskInner<'a>),
}

/// A page that is an inner node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskInner<'a> {
    level: u8,
    mains: &'a [[u8; MAIN_BYTES]],
    rest: &'a [[u8; REST_BYTES]],
}

impl<'a> DiskInner<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let count = usize::from(u16_at(bytes, 2)?);
        let level = *bytes.get(1)?;
        let (mains, rest) = bytes.get(HEADER_BYTES..)?.split_at_checked(count * MAIN_BYTES)?;
        let (mains, _) = mains.as_chunks();
        let (rest, _) = rest.get(..count * REST_BYTES)?.as_chunks();
        let valid = bytes.first() == Some(&INNER_KIND) && level > 0 && count > 0;
        valid.then_some(DiskInner { level, mains, rest })
    }

    fn main(self, index: usize) -> u64 {
        u64::from_le_bytes(self.mains[index])
    }

    fn key(self, index: usize) -> Key {
        let (main, rest) = (self.main(index), &self.rest[index]);
        let sub = u64_at(rest, 0).expect("an entry has so many bytes");
        Key { main, sub, kind: rest[8] }
    }

    fn child(self, index: usize) -> Pointer {
        let rest = &self.rest[index];
        let blocks = u16_at(rest, 10).expect("an entry has so many bytes");
        let block = u32_at(rest, 12).expect("an entry has so many bytes");
        let crc = u32_at(rest, 16).expect("an entry has so many bytes");
        Pointer { block, blocks, crc }
    }

    /// The first entry whose main is at least `wanted`. Leaves are filled to the brim, so mains
    /// rise evenly, and mostly it is found among a few.
    fn first_from(self, wanted: u64) -> usize {
        let (low, len) = self.bracket(wanted).unwrap_or((0, self.mains.len()));
        low + partition_point(len, |index| self.main(low + index) < wanted)
    }

    /// Where to look for the first entry from `wanted` on, and how many entries there are: around
    /// the place at which it is if mains rise evenly. `None` if it is not there.
    fn bracket(self, wanted: u64) -> Option<(usize, usize)> {
        let last = self.mains.len() - 1;
        let (first_main, last_main) = (self.main(0), self.main(last));
        if wanted <= first_main || wanted > last_main {
            return None;
        }
        let share = (wanted - first_main) as f64 / (last_main - first_main) as f64;
        let guess = (share * last as f64) as usize;
        // What is needed once the entry has been found comes meanwhile.
        black_box(self.rest[guess][0]);
        let (low, high) = (guess.saturating_sub(NEAR - 1), (guess + NEAR).min(last));
        (self.main(low) < wanted && wanted <= self.main(high)).then_some((low, high - low + 1))
    }
}

/// The first of `count` indexes that does not satisfy `before`.
///
/// Nobody can foretell which way a step goes, so the processor is not asked to: the bounds are
/// selected, and no step is a branch.
fn partition_point(mut count: usize, before: impl Fn(usize) -> bool) -> usize {
    let mut low = 0;
    while count > 1 {
        let half = count / 2;
        low = select_unpredictable(before(low + half - 1), low + half, low);
        count -= half;
    }
    low + usize::from(count > 0 && before(low))
}

impl<'a> InnerView<'a> {
    /// Takes a page for an inner node. `block` is where it is.
    pub(crate) fn parse(bytes: &'a [u8], block: u32, pages: &Pages) -> Result<Self, Error> {
        let view = DiskInner::parse(bytes).map(InnerView::Disk);
        view.ok_or_else(|| pages.corrupt(block, "not an inner node", u64::from(INNER_KIND), 0))
    }

    pub(crate) fn level(self) -> u8 {
        match self {
            InnerView::Memory(inner) => inner.level,
            InnerView::Disk(inner) => inner.level,
        }
    }

    pub(crate) fn count(self) -> usize {
        match self {
            InnerView::Memory(inner) => inner.entries.len(),
            InnerView::Disk(inner) => inner.mains.len(),
        }
    }

    /// The separator at `index`, which is below the count.
    pub(crate) fn key(self, index: usize) -> Key {
        match self {
            InnerView::Memory(inner) => inner.entries[index].0,
            InnerView::Disk(inner) => inner.key(index),
        }
    }

    /// The child at `index`, which is below the count.
    pub(crate) fn child(self, index: usize) -> Child<'a> {
        match self {
            InnerView::Memory(inner) => Child::Link(&inner.entries[index].1),
            InnerView::Disk(inner) => Child::Disk(inner.child(index)),
        }
    }

    /// The last entry whose key is at most `key`, or the first entry.
    pub(crate) fn position(self, key: Key) -> usize {
        self.first_not(key, |separator| separator <= key).saturating_sub(1)
    }

    /// The last entry whose key is below `key`, if there is one.
    pub(crate) fn before(self, key: Key) -> Option<usize> {
        self.first_not(key, |separator| separator < key).checked_sub(1)
    }

    /// The first entry whose key does not satisfy `before`, which all keys below `key` do and none
    /// above it.
    fn first_not(self, key: Key, before: impl Fn(Key) -> bool) -> usize {
        if let InnerView::Disk(inner) = self {
            let first = inner.first_from(key.main);
            if first == inner.mains.len() || inner.main(first) > key.main {
                return first;
            }
        }
        partition_point(self.count(), |index| before(self.key(index)))
    }

    /// The same node in memory, to be changed.
    pub(crate) fn to_memory(self) -> MemInner {
        let entries = (0..self.count()).map(|i| (self.key(i), self.child(i).to_link()));
        MemInner::new(self.level(), entries.collect())
    }
}

/// A child of an inner node wherever that is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child<'a> {
    Link(&'a Link),
    Disk(Pointer),
}

impl<'a> Child<'a> {
    pub(crate) fn to_link(self) -> Link {
        match self {
            Child::Link(link) => link.clone(),
            Child::Disk(pointer) => Link::Disk(pointer),
        }
    }

    /// Where the child is on disk, if it is not in memory.
    pub(crate) fn on_disk(self) -> Option<Pointer> {
        match self {
            Child::Link(Link::Disk(pointer)) => Some(*pointer),
            Child::Link(_) => None,
            Child::Disk(pointer) => Some(pointer),
        }
    }

    /// The inner node that this leads to; its level must be `level`, if that is given: so no
    /// descent is endless whatever the bytes.
    pub(crate) fn inner(
        self,
        level: Option<u8>,
        pages: &'a Pages,
        epoch: &'a Epoch,
    ) -> Result<InnerView<'a>, Error> {
        let (view, block) = match (self, self.on_disk()) {
            (Child::Link(Link::Inner(inner)), _) => (InnerView::Memory(inner), 0),
            (_, Some(pointer)) => {
                let bytes = pages.read(pointer, epoch)?;
                (InnerView::parse(bytes, pointer.block, pages)?, pointer.block)
            }
            (other, None) => unreachable!("{other:?} in place of an inner node"),
        };
        if level.is_some_and(|level| level != view.level()) {
            let (expected, found) = (level.map_or(0, u64::from), u64::from(view.level()));
            return Err(pages.corrupt(block, "level of an inner node", expected, found));
        }
        Ok(view)
    }
}

/// Makes the inner node behind a link one that the writer may change: in memory, and without a
/// place on disk.
pub(crate) fn own<'t>(
    link: &'t mut Link,
    level: Option<u8>,
    pages: &Pages,
    epoch: &Epoch,
    changes: &mut Changes,
) -> Result<&'t mut MemInner, Error> {
    let is_fresh = matches!(link, Link::Inner(inner) if !inner.home.is_settled());
    if !is_fresh {
        let view = Child::Link(link).inner(level, pages, epoch)?;
        let memory = view.to_memory();
        // Whoever changes a node relies on its order.
        if !memory.entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            let block = link.run().map_or(0, |run| run.block);
            return Err(pages.corrupt(block, "order of separators", 0, 0));
        }
        changes.dirty_blocks += 1;
        changes.retire(link);
        *link = Link::Inner(Arc::new(memory));
    }
    match link {
        Link::Inner(inner) => Ok(Arc::make_mut(inner)),
        _ => unreachable!("the link was replaced by an inner node above"),
    }
}

/// What a change has made of a node: nothing is left of it, it is one node, or several.
pub(crate) type Replacement = Vec<(Key, Link)>;

/// Cuts the entries of a changed node into as many nodes as they need, of about equal size.
pub(crate) fn divide(mut inner: Arc<MemInner>, capacity: usize) -> Replacement {
    if inner.entries.is_empty() {
        return Vec::new();
    }
    if inner.entries.len() <= capacity {
        return vec![(inner.first_key(), Link::Inner(inner))];
    }
    let inner = Arc::make_mut(&mut inner);
    let nodes = inner.entries.len().div_ceil(capacity);
    let share = inner.entries.len().div_ceil(nodes);
    let mut entries = std::mem::take(&mut inner.entries).into_iter();
    let mut nodes = Vec::new();
    loop {
        let part: Vec<_> = entries.by_ref().take(share).collect();
        let Some((key, _)) = part.first() else { return nodes };
        nodes.push((*key, Link::Inner(Arc::new(MemInner::new(inner.level, part)))));
    }
}

/// The root of what a change has made of the old root, `level` being the old root's (0 for a leaf).
pub(crate) fn root_of(mut nodes: Replacement, mut level: u8, capacity: usize) -> Link {
    while nodes.len() > 1 {
        level += 1;
        nodes = divide(Arc::new(MemInner::new(level, nodes)), capacity);
    }
    nodes.pop().map_or(Link::Empty, |(_, link)| link)
}

/// The number of inner levels below a root: 0 if it is a leaf or empty.
pub(crate) fn level_of(root: &Link, pages: &Pages, epoch: &Epoch) -> Result<u8, Error> {
    match root {
        Link::Empty | Link::Leaf(_) | Link::Rows(_) => Ok(0),
        Link::Inner(inner) => Ok(inner.level),
        Link::Disk(pointer) => match pages.read(*pointer, epoch)?.first() {
            Some(&INNER_KIND) => Ok(Child::Link(root).inner(None, pages, epoch)?.level()),
            _ => Ok(0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_in_a_page_finds_what_a_search_in_order_finds() {
        let even: Vec<u64> = (0..500).map(|i| 7 + i * 60).collect();
        let skewed: Vec<u64> = (0..200).map(|i| 10 + i * i * i / 7).collect();
        let equal = vec![7; 50];
        let last_far = [&even[..], &[u64::MAX]].concat();
        for mains in [even, skewed, equal, vec![3], vec![3, 1_000_000], last_far] {
            let keys: Vec<Key> =
                mains.iter().zip(0..).map(|(&main, sub)| Key::new(main, sub, 1)).collect();
            let link = |block| Link::Disk(Pointer { block, blocks: 4, crc: !block });
            let entries = keys.iter().zip(0..).map(|(key, block)| (*key, link(block))).collect();
            let mut bytes = Vec::new();
            MemInner::new(1, entries).encode(&mut bytes);
            let node = InnerView::Disk(DiskInner::parse(&bytes).unwrap());
            assert_eq!((node.level(), node.count()), (1, keys.len()));
            for (index, key) in keys.iter().enumerate() {
                assert_eq!(node.key(index), *key);
                let block = index as u32;
                let pointer = Pointer { block, blocks: 4, crc: !block };
                assert_eq!(node.child(index).on_disk(), Some(pointer));
            }
            let near = |&main: &u64| [main.saturating_sub(1), main, main.saturating_add(1)];
            for main in (0..500).chain(mains.iter().flat_map(near)) {
                for sub in [0, 1, 25, 49, u64::MAX] {
                    let key = Key::new(main, sub, 1);
                    let below = keys.iter().filter(|at| **at < key).count();
                    let not_above = keys.iter().filter(|at| **at <= key).count();
                    assert_eq!(node.before(key), below.checked_sub(1), "{key}");
                    assert_eq!(node.position(key), not_above.saturating_sub(1), "{key}");
                }
            }
        }
    }
}
