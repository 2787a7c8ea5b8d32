//! A row or a record as it travels: table u8, varints of main and sub, kind u8, varints of the
//! lengths of head and value, head, value.

use revd_btree::{Key, Table};

use crate::encode::{put_varint, take_varint, varint_len};
use crate::record;
use crate::store::{LEASES, OWNER_TABLES, is_lease_row};

/// The history's number among the tables: behind all of them.
pub(super) const HISTORY: u8 = Table::COUNT;

/// A row of a table, with an empty head, or a record of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    pub(super) table: u8,
    pub(super) key: Key,
    pub(super) head: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The tables that travel, in their order: the leases, and the owner's.
pub(super) fn tables() -> impl Iterator<Item = Table> {
    std::iter::once(LEASES).chain((OWNER_TABLES..Table::COUNT).map(Table))
}

impl<'a> Cell<'a> {
    /// How many bytes [`Cell::encode`] appends.
    pub(super) fn len(key: Key, head: usize, value: usize) -> usize {
        let numbers = [key.main, key.sub, head as u64, value as u64];
        2 + numbers.map(varint_len).iter().sum::<usize>() + head + value
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.table);
        put_varint(self.key.main, out);
        put_varint(self.key.sub, out);
        out.push(self.key.kind);
        put_varint(self.head.len() as u64, out);
        put_varint(self.value.len() as u64, out);
        out.extend_from_slice(self.head);
        out.extend_from_slice(self.value);
    }

    /// Takes a cell off the front of `bytes`; `None` if there is none.
    pub(super) fn decode(bytes: &mut &'a [u8]) -> Option<Self> {
        let table = take_byte(bytes)?;
        let (main, sub) = (take_varint(bytes)?, take_varint(bytes)?);
        let key = Key { main, sub, kind: take_byte(bytes)? };
        let (head, value) = (take_varint(bytes)?, take_varint(bytes)?);
        let (head, rest) = bytes.split_at_checked(usize::try_from(head).ok()?)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(value).ok()?)?;
        *bytes = rest;
        Some(Self { table, key, head, value })
    }

    /// What is wrong with the cell, whoever wrote it: a store that held it could not be opened.
    pub(super) fn check(&self, revision: i64) -> Result<(), &'static str> {
        if self.table == HISTORY {
            if self.key.main == 0 || self.key.main > revision as u64 {
                return Err("its revision is not within the snapshot's");
            }
            return record::check(self.key, self.head, self.value);
        }
        if !tables().any(|table| table.0 == self.table) {
            return Err("there is no such table");
        }
        if !self.head.is_empty() {
            return Err("a row has no head");
        }
        if self.table == LEASES.0 && !is_lease_row(self.key, self.value) {
            return Err("it is no lease");
        }
        Ok(())
    }
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(byte)
}
