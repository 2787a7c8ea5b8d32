//! Changing a table: an ordinary B+tree whose nodes are copied when they change.
//!
//! A node that no published state and no checkpoint shares is changed in place, so that many
//! changes between two checkpoints copy each node once for each publication that saw it.

use std::sync::Arc;

use crate::format::{ROWS_BYTES, TABLE_INNER_BYTES};
use crate::inner::{Child, MemInner, Replacement, capacity, level_of, own};
use crate::link::{Changes, Home, Link};
use crate::pages::{Epoch, Pages};
use crate::rows::{MemRows, RowValue, RowsView};
use crate::view::{Seek, descend};
use crate::{Error, Key};

/// What a change needs besides the table itself.
pub(crate) struct TableEdit<'t> {
    pub(crate) pages: &'t Pages,
    pub(crate) epoch: &'t Epoch,
    pub(crate) changes: &'t mut Changes,
}

impl TableEdit<'_> {
    /// Sets a row; true if it is new.
    pub(crate) fn put(&mut self, root: &mut Link, key: Key, bytes: &[u8]) -> Result<bool, Error> {
        let value = RowValue::new(bytes);
        if let RowValue::Memory(extent) = &value {
            self.changes.dirty_blocks += u64::from(extent.blocks());
        }
        if let Link::Empty = root {
            self.changes.dirty_blocks += 1;
            *root =
                Link::Rows(Arc::new(MemRows { home: Home::default(), rows: vec![(key, value)] }));
            return Ok(true);
        }
        let level = level_of(root, self.pages, self.epoch)?;
        let (added, extra) = self.insert(root, level, key, value)?;
        if !extra.is_empty() {
            self.changes.dirty_blocks += 1;
            let mut entries = vec![(first_key(root), std::mem::take(root))];
            entries.extend(extra);
            *root = Link::Inner(Arc::new(MemInner::new(level + 1, entries)));
        }
        Ok(added)
    }

    /// Removes a row; false if there is none.
    pub(crate) fn delete(&mut self, root: &mut Link, key: Key) -> Result<bool, Error> {
        if matches!(root, Link::Empty) {
            return Ok(false);
        }
        let level = level_of(root, self.pages, self.epoch)?;
        if !self.contains(root, level, key)? {
            return Ok(false);
        }
        self.remove(root, level, key)?;
        while let Link::Inner(inner) = root
            && inner.entries.len() == 1
        {
            *root = inner.entries[0].1.clone();
        }
        if is_empty(root) {
            *root = Link::Empty;
        }
        Ok(true)
    }

    fn contains(&self, root: &Link, level: u8, key: Key) -> Result<bool, Error> {
        if level == 0 {
            return Ok(self.view(root)?.lower_bound(key, self.pages)?.1);
        }
        let found = descend(Child::Link(root), Seek::At(key), self.pages, self.epoch)?;
        let Some(found) = found else { return Ok(false) };
        let leaf = found.child.to_link();
        Ok(self.view(&leaf)?.lower_bound(key, self.pages)?.1)
    }

    /// Sets a row below a node; returns whether it is new, and what was split off the node.
    fn insert(
        &mut self,
        link: &mut Link,
        level: u8,
        key: Key,
        value: RowValue,
    ) -> Result<(bool, Replacement), Error> {
        if level == 0 {
            return self.insert_row(link, key, value);
        }
        let inner = own(link, Some(level), self.pages, self.epoch, self.changes)?;
        let index = inner.entries.partition_point(|(first, _)| *first <= key).saturating_sub(1);
        let (separator, child) = &mut inner.entries[index];
        let (added, extra) = self.insert(child, level - 1, key, value)?;
        *separator = (*separator).min(key);
        inner.entries.splice(index + 1..index + 1, extra);
        if inner.entries.len() <= capacity(TABLE_INNER_BYTES) {
            return Ok((added, Vec::new()));
        }
        let right = MemInner::new(level, inner.entries.split_off(inner.entries.len() / 2));
        self.changes.dirty_blocks += 1;
        Ok((added, vec![(right.first_key(), Link::Inner(Arc::new(right)))]))
    }

    fn insert_row(
        &mut self,
        link: &mut Link,
        key: Key,
        value: RowValue,
    ) -> Result<(bool, Replacement), Error> {
        let leaf = self.own_rows(link)?;
        let added = match leaf.rows.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(index) => {
                let old = std::mem::replace(&mut leaf.rows[index].1, value);
                self.changes.retired.extend(old.run());
                false
            }
            Err(index) => {
                leaf.rows.insert(index, (key, value));
                true
            }
        };
        if leaf.encoded_len() <= ROWS_BYTES {
            return Ok((added, Vec::new()));
        }
        let rows = leaf.rows.split_off(middle(&leaf.rows));
        self.changes.dirty_blocks += 1;
        let right = MemRows { home: Home::default(), rows };
        Ok((added, vec![(right.rows[0].0, Link::Rows(Arc::new(right)))]))
    }

    /// Removes a row that is there.
    fn remove(&mut self, link: &mut Link, level: u8, key: Key) -> Result<(), Error> {
        if level == 0 {
            let leaf = self.own_rows(link)?;
            if let Ok(index) = leaf.rows.binary_search_by_key(&key, |(key, _)| *key) {
                let (_, old) = leaf.rows.remove(index);
                self.changes.retired.extend(old.run());
            }
            return Ok(());
        }
        let inner = own(link, Some(level), self.pages, self.epoch, self.changes)?;
        let index = inner.entries.partition_point(|(first, _)| *first <= key).saturating_sub(1);
        self.remove(&mut inner.entries[index].1, level - 1, key)?;
        if is_empty(&inner.entries[index].1) {
            inner.entries.remove(index);
            return Ok(());
        }
        inner.entries[index].0 = first_key(&inner.entries[index].1);
        self.merge(inner, index)
    }

    /// Joins the child at `index`, which is in memory, with a neighbour, if it has become small.
    fn merge(&mut self, inner: &mut MemInner, index: usize) -> Result<(), Error> {
        let left = index.saturating_sub(1);
        // A neighbour that cannot be read is left alone: the row has been removed, and whoever
        // reads the neighbour will be told.
        if !matches!(self.is_mergeable(inner, index, left), Ok(true)) {
            return Ok(());
        }
        let level = inner.level - 1;
        let [(_, first), (_, second)] = &mut inner.entries[left..left + 2] else {
            unreachable!("a range of two entries has two")
        };
        if level == 0 {
            let rows = std::mem::take(&mut self.own_rows(second)?.rows);
            self.own_rows(first)?.rows.extend(rows);
        } else {
            let second = own(second, Some(level), self.pages, self.epoch, self.changes)?;
            let entries = std::mem::take(&mut second.entries);
            own(first, Some(level), self.pages, self.epoch, self.changes)?.entries.extend(entries);
        }
        inner.entries.remove(left + 1);
        Ok(())
    }

    /// True if the child at `index` is small and fits into one node with its neighbour.
    fn is_mergeable(&self, inner: &MemInner, index: usize, left: usize) -> Result<bool, Error> {
        let level = inner.level - 1;
        let limit = if level == 0 { ROWS_BYTES } else { TABLE_INNER_BYTES };
        let small = self.weight(&inner.entries[index].1, level)? < limit / 4;
        if !small || inner.entries.len() < 2 {
            return Ok(false);
        }
        let both = &inner.entries[left..left + 2];
        let weight = self.weight(&both[0].1, level)? + self.weight(&both[1].1, level)?;
        Ok(weight <= limit * 3 / 4)
    }

    /// Bytes of a node, about.
    fn weight(&self, link: &Link, level: u8) -> Result<usize, Error> {
        if level == 0 {
            return Ok(self.view(link)?.encoded_len());
        }
        let count = Child::Link(link).inner(Some(level), self.pages, self.epoch)?.count();
        Ok(count * TABLE_INNER_BYTES / capacity(TABLE_INNER_BYTES))
    }

    fn view<'a>(&'a self, link: &'a Link) -> Result<RowsView<'a>, Error> {
        match link {
            Link::Rows(rows) => Ok(RowsView::Memory(rows)),
            Link::Disk(pointer) => {
                let bytes = self.pages.read(*pointer, self.epoch)?;
                RowsView::parse(bytes, pointer.block, self.pages)
            }
            link => unreachable!("{link:?} in place of a table leaf"),
        }
    }

    /// Makes a leaf one that may be changed: in memory, without a place on disk.
    fn own_rows<'l>(&mut self, link: &'l mut Link) -> Result<&'l mut MemRows, Error> {
        let is_fresh = matches!(link, Link::Rows(rows) if !rows.home.is_settled());
        if !is_fresh {
            let memory = self.view(link)?.to_memory(self.pages)?;
            self.changes.dirty_blocks += 1;
            self.changes.retire(link);
            *link = Link::Rows(Arc::new(memory));
        }
        match link {
            Link::Rows(rows) => Ok(Arc::make_mut(rows)),
            _ => unreachable!("the link was replaced by a leaf in memory above"),
        }
    }
}

/// True if nothing is left of a node that was changed.
fn is_empty(link: &Link) -> bool {
    match link {
        Link::Empty => true,
        Link::Rows(rows) => rows.rows.is_empty(),
        Link::Inner(inner) => inner.entries.is_empty(),
        Link::Disk(_) | Link::Leaf(_) => false,
    }
}

/// The first key below a node that is in memory.
fn first_key(link: &Link) -> Key {
    match link {
        Link::Rows(rows) => rows.rows.first().map_or(Key::MIN, |(key, _)| *key),
        Link::Inner(inner) => inner.first_key(),
        link => unreachable!("{link:?} was not changed"),
    }
}

/// Where to split rows so that both halves have about as many bytes.
fn middle(rows: &[(Key, RowValue)]) -> usize {
    let total: usize = rows.iter().map(|(_, value)| crate::rows::row_len(value)).sum();
    let mut left = 0;
    for (index, (_, value)) in rows.iter().enumerate() {
        if left >= total / 2 {
            return index.max(1);
        }
        left += crate::rows::row_len(value);
    }
    rows.len() - 1
}
