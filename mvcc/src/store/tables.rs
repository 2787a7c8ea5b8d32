//! The tables of the tree beside the history: two of the store's own, eight of its owner's.

use revd_btree::{Key, Table, Tree};

use super::Store;
use crate::error::Fatal;

/// What the store has to remember about itself.
pub(super) const META: Table = Table(0);
/// Lease records.
pub(crate) const LEASES: Table = Table(1);
/// The first of the tables that belong to the store's owner; they end before 16.
pub const OWNER_TABLES: u8 = 8;
const TABLES: u8 = 16;

/// Row of [`META`]: the version of this crate's use of the tree, a byte.
pub(super) const FORMAT_ROW: Key = Key { main: 0, sub: 0, kind: 0 };
/// Row of [`META`]: the compaction floor, an i64.
pub(super) const SCHEDULED_ROW: Key = Key { main: 1, sub: 0, kind: 0 };
/// Row of [`META`]: the last compaction whose sweep has finished, an i64.
pub(super) const FINISHED_ROW: Key = Key { main: 2, sub: 0, kind: 0 };

/// The format that this version writes and reads.
pub(super) const FORMAT: u8 = 1;

/// Makes a tree with the rows and records of a snapshot one that [`Store::open`] takes: there is
/// nothing in it below the floor that a sweep would have to remove.
pub(crate) fn describe_import(tree: &mut Tree, compacted: i64) -> Result<(), revd_btree::Error> {
    tree.put(META, FORMAT_ROW, &[FORMAT])?;
    if compacted >= 0 {
        tree.put(META, SCHEDULED_ROW, &compacted.to_le_bytes())?;
        tree.put(META, FINISHED_ROW, &compacted.to_le_bytes())?;
    }
    Ok(())
}

/// # Panics
/// For a table that is not the owner's.
fn assert_of_owner(table: Table) {
    let is_of_owner = (OWNER_TABLES..TABLES).contains(&table.0);
    assert!(is_of_owner, "table {} does not belong to the store's owner", table.0);
}

/// Rows of the tables 8 to 15, which are the owner's and durable with the same checkpoints as the
/// key space. All of these panic for another table.
impl Store {
    /// Writes a row, on a full disk from the reserve: rows are for the little that an owner cannot
    /// go on without.
    ///
    /// # Errors
    /// [`Fatal::Full`], if even the reserve is used up: nothing was changed. Any other [`Fatal`]:
    /// the store must not be used any more.
    pub fn put_record(&mut self, table: Table, key: Key, value: &[u8]) -> Result<(), Fatal> {
        assert_of_owner(table);
        self.writing(|store| {
            store.tree.put_from_reserve(table, key, value).map_err(Fatal::before_change)?;
            store.is_changed = true;
            Ok(())
        })
    }

    /// Removes a row; false if there was none.
    ///
    /// # Errors
    /// [`Fatal`]: the store must not be used any more.
    pub fn delete_record(&mut self, table: Table, key: Key) -> Result<bool, Fatal> {
        assert_of_owner(table);
        self.writing(|store| {
            let was_there = store.tree.delete(table, key)?;
            store.is_changed |= was_there;
            Ok(was_there)
        })
    }

    /// Reads a row, unpublished ones included.
    ///
    /// # Errors
    /// [`Fatal`] if the tree cannot be read.
    pub fn get(&self, table: Table, key: Key) -> Result<Option<Vec<u8>>, Fatal> {
        assert_of_owner(table);
        Ok(self.tree.get(table, key)?)
    }

    /// Shows `each` the rows from `from` on, ascending, until it returns false.
    ///
    /// # Errors
    /// [`Fatal`] if the tree cannot be read.
    pub fn scan(
        &self,
        table: Table,
        from: Key,
        each: &mut dyn FnMut(Key, &[u8]) -> bool,
    ) -> Result<(), Fatal> {
        assert_of_owner(table);
        Ok(self.tree.scan(table, from, each)?)
    }
}
