//! Leaves of tables.
//!
//! On disk: kind 2, a zero, count u16, end u32; then `count` offsets u16, then the cells. A cell is
//! the key (main u64, sub u64, kind u8), the varint of twice the value's length (plus one if the
//! value is in an extent), and the value, or else block u32 and checksum u32 of the extent.

use std::sync::Arc;

use crate::format::{
    Decoder, Encode, INLINE_ROW_BYTES, KEY_BYTES, u16_at, u32_at, u64_at, varint_len,
};
use crate::leaf::{Extent, Value};
use crate::link::Home;
use crate::pages::Pages;
use crate::{Error, Key};

/// The first byte of a table leaf.
pub(crate) const ROWS_KIND: u8 = 2;
pub(crate) const HEADER_BYTES: usize = 8;
/// An offset.
const SLOT_BYTES: usize = 2;

/// The value of a row in memory.
#[derive(Clone, Debug)]
pub(crate) enum RowValue {
    Inline(Arc<[u8]>),
    Memory(Arc<Extent>),
    Disk { pointer: crate::format::Pointer, len: usize },
}

impl RowValue {
    /// A new value, in an extent if it is long.
    pub(crate) fn new(bytes: &[u8]) -> RowValue {
        if bytes.len() <= INLINE_ROW_BYTES {
            RowValue::Inline(bytes.into())
        } else {
            RowValue::Memory(Extent::new(bytes))
        }
    }

    pub(crate) fn view(&self) -> Value<'_> {
        match self {
            RowValue::Inline(bytes) => Value::Inline(bytes),
            RowValue::Memory(extent) => Value::Memory(extent),
            RowValue::Disk { pointer, len } => Value::Disk { pointer: *pointer, len: *len },
        }
    }

    fn of(value: Value<'_>) -> RowValue {
        match value {
            Value::Inline(bytes) => RowValue::Inline(bytes.into()),
            Value::Memory(extent) => RowValue::Memory(extent.clone()),
            Value::Disk { pointer, len } => RowValue::Disk { pointer, len },
        }
    }

    /// The blocks that the value takes, or will take, outside of the leaf.
    pub(crate) fn run(&self) -> Option<crate::format::Run> {
        match self {
            RowValue::Inline(_) => None,
            RowValue::Memory(extent) => extent.home.run(),
            RowValue::Disk { pointer, .. } => Some(pointer.run()),
        }
    }
}

/// A leaf in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemRows {
    pub(crate) home: Home,
    /// In rising order.
    pub(crate) rows: Vec<(Key, RowValue)>,
}

impl MemRows {
    pub(crate) fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.rows.iter().map(|(_, value)| row_len(value)).sum::<usize>()
    }

    /// The extents that are in memory.
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Arc<Extent>> {
        self.rows.iter().filter_map(|(_, value)| match value {
            RowValue::Memory(extent) => Some(extent),
            _ => None,
        })
    }

    /// Appends the leaf as a page.
    pub(crate) fn encode(&self, out: &mut impl Encode) {
        out.bytes(&[ROWS_KIND, 0]);
        out.u16(self.rows.len() as u16);
        out.u32(self.encoded_len() as u32);
        let mut offset = HEADER_BYTES + SLOT_BYTES * self.rows.len();
        for (_, value) in &self.rows {
            out.u16(offset as u16);
            offset += row_len(value) - SLOT_BYTES;
        }
        for (key, value) in &self.rows {
            out.key(*key);
            out.varint(value.view().tag());
            value.view().encode(out);
        }
    }
}

/// How many bytes a row takes in a leaf, with its slot.
pub(crate) fn row_len(value: &RowValue) -> usize {
    let value = value.view();
    SLOT_BYTES + KEY_BYTES + varint_len(value.tag()) + value.inline_len()
}

/// A table leaf wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowsView<'a> {
    Memory(&'a MemRows),
    Disk { block: u32, count: usize, bytes: &'a [u8] },
}

impl<'a> RowsView<'a> {
    /// Takes a page for a leaf. `block` is where it is.
    pub(crate) fn parse(bytes: &'a [u8], block: u32, pages: &Pages) -> Result<Self, Error> {
        let view = || {
            let count = usize::from(u16_at(bytes, 2)?);
            let end = u32_at(bytes, 4)? as usize;
            let bytes = bytes.get(..end)?;
            let valid = bytes.first() == Some(&ROWS_KIND) && count > 0;
            valid.then_some(RowsView::Disk { block, count, bytes })
        };
        view().ok_or_else(|| pages.corrupt(block, "not a table leaf", u64::from(ROWS_KIND), 0))
    }

    pub(crate) fn count(self) -> usize {
        match self {
            RowsView::Memory(leaf) => leaf.rows.len(),
            RowsView::Disk { count, .. } => count,
        }
    }

    /// Bytes on disk, without what fills the last block.
    pub(crate) fn encoded_len(self) -> usize {
        match self {
            RowsView::Memory(leaf) => leaf.encoded_len(),
            RowsView::Disk { bytes, .. } => bytes.len(),
        }
    }

    /// The key at `index`, which is below the count.
    fn key(self, index: usize) -> Option<Key> {
        match self {
            RowsView::Memory(leaf) => Some(leaf.rows.get(index)?.0),
            RowsView::Disk { bytes, .. } => {
                let at = usize::from(u16_at(bytes, HEADER_BYTES + SLOT_BYTES * index)?);
                let (main, sub) = (u64_at(bytes, at)?, u64_at(bytes, at + 8)?);
                Some(Key { main, sub, kind: *bytes.get(at + 16)? })
            }
        }
    }

    /// The row at `index`, which is below the count.
    pub(crate) fn row(self, index: usize, pages: &Pages) -> Result<(Key, Value<'a>), Error> {
        let row = || match self {
            RowsView::Memory(leaf) => {
                let (key, value) = leaf.rows.get(index)?;
                Some((*key, value.view()))
            }
            RowsView::Disk { bytes, .. } => {
                let at = usize::from(u16_at(bytes, HEADER_BYTES + SLOT_BYTES * index)?);
                let mut cell = Decoder::new(bytes.get(at..)?);
                let key = cell.key()?;
                let tag = cell.varint()?;
                Some((key, Value::decode(tag, &mut cell)?))
            }
        };
        row().ok_or_else(|| self.corrupt(index, pages))
    }

    /// The first row whose key is not below `key`, and whether it is that very key.
    pub(crate) fn lower_bound(self, key: Key, pages: &Pages) -> Result<(usize, bool), Error> {
        let (mut low, mut high) = (0, self.count());
        let mut found = false;
        while low < high {
            let middle = low.midpoint(high);
            let probe = self.key(middle).ok_or_else(|| self.corrupt(middle, pages))?;
            if probe < key {
                low = middle + 1;
            } else {
                found = probe == key;
                high = middle;
            }
        }
        Ok((low, found))
    }

    /// The same leaf in memory, to be changed.
    pub(crate) fn to_memory(self, pages: &Pages) -> Result<MemRows, Error> {
        let mut rows = Vec::with_capacity(self.count() + 1);
        for index in 0..self.count() {
            let (key, value) = self.row(index, pages)?;
            rows.push((key, RowValue::of(value)));
        }
        Ok(MemRows { home: Home::default(), rows })
    }

    fn corrupt(self, index: usize, pages: &Pages) -> Error {
        let block = match self {
            RowsView::Memory(_) => 0,
            RowsView::Disk { block, .. } => block,
        };
        pages.corrupt(block, "a cell of a table leaf", index as u64, 0)
    }
}
