//! One state of the trees, wherever its nodes are: what all reads go through.
//!
//! The history has four parts in rising order: the leaves below the inner nodes (`base`), the
//! closed leaves that no inner node lists yet (`recent`), the open leaf, and for the writer alone
//! what it has not published.

use crate::format::ROW_BYTES_MAX;
use crate::inner::{Child, InnerView, level_of};
use crate::leaf::{self, LeafView, MemLeaf, RawRecord, Segment, Value};
use crate::link::Link;
use crate::pages::{Epoch, Pages};
use crate::rows::RowsView;
use crate::shelf::Shelf;
use crate::{Error, Key, Table};

/// A closed leaf that no inner node lists.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    /// Its first key.
    pub(crate) first: Key,
    /// [`Link::Leaf`] or [`Link::Disk`].
    pub(crate) link: Link,
}

/// The closed leaves that no inner node lists.
pub(crate) type RecentLeaves = Shelf<Recent, 20>;

/// The roots of all tables.
pub(crate) type TableRoots = [Link; Table::COUNT as usize];

/// The parts of a state, borrowed from whoever holds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) pages: &'a Pages,
    pub(crate) epoch: &'a Epoch,
    pub(crate) base: &'a Link,
    pub(crate) recent: &'a RecentLeaves,
    pub(crate) recent_len: usize,
    /// The open leaf and how many of its segments belong to this state.
    pub(crate) open: Option<(&'a MemLeaf, usize)>,
    /// What is not published: visible to the writer's own reads only.
    pub(crate) pending: Option<&'a Segment>,
    pub(crate) tables: &'a TableRoots,
}

/// A leaf of the history, and its place among its neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafPlace<'a> {
    pub(crate) leaf: LeafView<'a>,
    /// The separator at which it begins: all its keys are at least that.
    pub(crate) low: Key,
    /// The separator of the next leaf, if there is one.
    pub(crate) high: Option<Key>,
}

/// What of the separators decides about a child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seek {
    /// The last child whose separator is at most this key, or the first child.
    At(Key),
    /// The last child whose separator is below this key.
    Before(Key),
}

/// A child of a tree with the separators around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) child: Child<'a>,
    pub(crate) low: Key,
    pub(crate) high: Option<Key>,
}

impl<'a> View<'a> {
    /// A record of the history.
    pub(crate) fn record(self, key: Key) -> Result<Option<RawRecord<'a>>, Error> {
        if let Some(pending) = self.pending {
            let index = pending.lower_bound(key);
            if index < pending.len() && pending.record(index).key == key {
                return Ok(Some(pending.record(index)));
            }
        }
        let Some(place) = self.leaf(Seek::At(key))? else { return Ok(None) };
        let index = place.leaf.lower_bound(key, self.pages)?;
        if index == place.leaf.count() {
            return Ok(None);
        }
        let record = place.leaf.record(index, self.pages)?;
        Ok((record.key == key).then_some(record))
    }

    /// A leaf of the history by its separator; `None` if there is none.
    pub(crate) fn leaf(self, seek: Seek) -> Result<Option<LeafPlace<'a>>, Error> {
        let open = self.open.filter(|(_, segments)| *segments > 0);
        let open_first = open.map(|(leaf, _)| leaf.first);
        let is_at = |first: Key| match seek {
            Seek::At(key) => first <= key,
            Seek::Before(key) => first < key,
        };
        if let Some((leaf, segments)) = open
            && is_at(leaf.first)
        {
            let place = LeafPlace { leaf: leaf.view_of(segments), low: leaf.first, high: None };
            return Ok(Some(place));
        }
        let recent_first = self.recent.iter(self.recent_len.min(1)).next().map(|r| r.first);
        if recent_first.is_some_and(is_at) {
            let after = self.recent.partition_point(self.recent_len, |recent| is_at(recent.first));
            return self.recent_leaf(after - 1, open_first).map(Some);
        }
        let next = recent_first.or(open_first);
        if let Some(found) = descend(Child::Link(self.base), seek, self.pages, self.epoch)? {
            if let (Seek::At(key), Some(pointer)) = (seek, found.child.on_disk()) {
                let mains = found.high.map(|high| found.low.main..high.main);
                leaf::read_ahead(self.pages.read(pointer, self.epoch)?, key.main, mains);
            }
            let leaf = self.leaf_of(found.child)?;
            return Ok(Some(LeafPlace { leaf, low: found.low, high: found.high.or(next) }));
        }
        match seek {
            Seek::Before(_) => Ok(None),
            Seek::At(_) if recent_first.is_some() => self.recent_leaf(0, open_first).map(Some),
            Seek::At(_) => Ok(open.map(|(leaf, segments)| LeafPlace {
                leaf: leaf.view_of(segments),
                low: leaf.first,
                high: None,
            })),
        }
    }

    fn recent_leaf(self, index: usize, open: Option<Key>) -> Result<LeafPlace<'a>, Error> {
        let get = |index| if index < self.recent_len { self.recent.get(index) } else { None };
        let recent: &Recent = get(index).expect("the search has found this index");
        let leaf = self.leaf_of(Child::Link(&recent.link))?;
        let high = get(index + 1).map(|next| next.first).or(open);
        Ok(LeafPlace { leaf, low: recent.first, high })
    }

    /// The leaf of the history that a link leads to.
    pub(crate) fn leaf_of(self, child: Child<'a>) -> Result<LeafView<'a>, Error> {
        match (child, child.on_disk()) {
            (Child::Link(Link::Leaf(leaf)), _) => Ok(leaf.view()),
            (_, Some(pointer)) => {
                let bytes = self.pages.read(pointer, self.epoch)?;
                LeafView::parse(bytes, pointer.block, self.pages)
            }
            (other, None) => unreachable!("{other:?} in place of a history leaf"),
        }
    }

    /// The rows of a table around `key`, and the separator of the next leaf.
    pub(crate) fn rows(
        self,
        table: Table,
        key: Key,
    ) -> Result<Option<(RowsView<'a>, Option<Key>)>, Error> {
        let root = &self.tables[table.index()];
        let level = level_of(root, self.pages, self.epoch)?;
        let found = if level > 0 {
            descend(Child::Link(root), Seek::At(key), self.pages, self.epoch)?
        } else {
            Some(Found { child: Child::Link(root), low: Key::MIN, high: None })
        };
        let Some(found) = found else { return Ok(None) };
        let rows = match (found.child, found.child.on_disk()) {
            (Child::Link(Link::Empty), _) => return Ok(None),
            (Child::Link(Link::Rows(rows)), _) => RowsView::Memory(rows),
            (_, Some(pointer)) => {
                let bytes = self.pages.read(pointer, self.epoch)?;
                RowsView::parse(bytes, pointer.block, self.pages)?
            }
            (other, None) => unreachable!("{other:?} in place of a table leaf"),
        };
        Ok(Some((rows, found.high)))
    }

    /// A row of a table.
    pub(crate) fn row(self, table: Table, key: Key) -> Result<Option<Value<'a>>, Error> {
        let Some((rows, _)) = self.rows(table, key)? else { return Ok(None) };
        let (index, found) = rows.lower_bound(key, self.pages)?;
        if !found {
            return Ok(None);
        }
        Ok(Some(rows.row(index, self.pages)?.1))
    }

    /// The bytes of a value.
    pub(crate) fn value(self, value: Value<'a>) -> Result<&'a [u8], Error> {
        value_bytes(value, self.pages, self.epoch)
    }
}

/// The bytes of a value.
pub(crate) fn value_bytes<'a>(
    value: Value<'a>,
    pages: &'a Pages,
    epoch: &'a Epoch,
) -> Result<&'a [u8], Error> {
    match value {
        Value::Inline(bytes) => Ok(bytes),
        Value::Memory(extent) => Ok(&extent.bytes),
        Value::Disk { pointer, len } => {
            let bytes = pages.read(pointer, epoch)?;
            bytes.get(..len).ok_or_else(|| {
                let what = "length of a long value";
                pages.corrupt(pointer.block, what, bytes.len() as u64, len as u64)
            })
        }
    }
}

/// Goes down from a root to the child of an inner node of level 1; `None` if there is no such
/// child. The root must be an inner node or empty.
pub(crate) fn descend<'a>(
    root: Child<'a>,
    seek: Seek,
    pages: &'a Pages,
    epoch: &'a Epoch,
) -> Result<Option<Found<'a>>, Error> {
    let Some(Parent { node, index, high }) = descend_to_parent(root, seek, pages, epoch)? else {
        return Ok(None);
    };
    let high = if index + 1 < node.count() { Some(node.key(index + 1)) } else { high };
    Ok(Some(Found { child: node.child(index), low: node.key(index), high }))
}

/// An inner node of level 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent<'a> {
    pub(crate) node: InnerView<'a>,
    /// The child that was looked for.
    index: usize,
    /// The separator of the next inner node, if there is one.
    pub(crate) high: Option<Key>,
}

/// The same, to the node that has the child.
pub(crate) fn descend_to_parent<'a>(
    root: Child<'a>,
    seek: Seek,
    pages: &'a Pages,
    epoch: &'a Epoch,
) -> Result<Option<Parent<'a>>, Error> {
    if matches!(root, Child::Link(Link::Empty)) {
        return Ok(None);
    }
    let mut node = root.inner(None, pages, epoch)?;
    let mut high = None;
    loop {
        let Some(index) = choose(node, seek) else { return Ok(None) };
        if node.level() == 1 {
            return Ok(Some(Parent { node, index, high }));
        }
        if index + 1 < node.count() {
            high = Some(node.key(index + 1));
        }
        node = node.child(index).inner(Some(node.level() - 1), pages, epoch)?;
    }
}

/// The child to go on with. For `Before` there is none only in the root, since a child's first
/// separator is that of its parent's entry.
fn choose(node: InnerView<'_>, seek: Seek) -> Option<usize> {
    match seek {
        Seek::At(key) => Some(node.position(key)),
        Seek::Before(key) => node.before(key),
    }
}

const _: () = assert!(ROW_BYTES_MAX <= crate::format::VALUE_BYTES_MAX);
