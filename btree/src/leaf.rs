//! Leaves of the history: filled from the left, never changed once they are full.
//!
//! On disk (see FORMAT.md): kind 1, a zero, count u16, end u32, base u64; then `count` slots of a
//! delta u32 (`main - base`) and an offset u16; then the cells. A cell is the varint of `sub`,
//! `kind` u8, the varints of the head's length and of twice the value's length (plus one if the
//! value is in an extent), the head, and the value, or else block u32 and checksum u32 of the
//! extent. Delta and offset lie side by side so that a lookup whose guess is right reads one line
//! of the processor's cache for both.
//!
//! In memory a leaf is a [`Shelf`] of segments, one for each publication: what was appended in
//! between is moved there as a whole, so publishing copies no bytes.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use crate::format::{
    BLOCK_BYTES, Decoder, Encode, LEAF_BYTES, Pointer, blocks_of, u16_at, u32_at, u64_at,
    varint_len,
};
use crate::link::Home;
use crate::pages::Pages;
use crate::shelf::Shelf;
use crate::{Error, Key};

/// The first byte of a history leaf.
pub(crate) const LEAF_KIND: u8 = 1;
const HEADER_BYTES: usize = 16;
/// A delta and an offset.
const SLOT_BYTES: usize = 6;
/// Bytes that the processor fetches at once.
const LINE: usize = 64;
/// Bytes of a reference to an extent.
const REFERENCE_BYTES: usize = 8;
/// [`Slot::extent`] of a record whose value is inline, or whose extent is on disk.
const NO_EXTENT: u32 = u32::MAX;

/// A long value that is in memory until a checkpoint has written it.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) home: Home,
}

impl Extent {
    pub(crate) fn new(bytes: &[u8]) -> Arc<Extent> {
        Arc::new(Extent { bytes: bytes.to_vec(), home: Home::default() })
    }

    pub(crate) fn blocks(&self) -> u32 {
        blocks_of(self.bytes.len())
    }

    /// Where an extent of `len` bytes is, by its reference in a cell.
    pub(crate) fn pointer(block: u32, crc: u32, len: usize) -> Option<Pointer> {
        let blocks = u16::try_from(len.div_ceil(BLOCK_BYTES)).ok()?;
        Some(Pointer { block, blocks, crc })
    }
}

/// The value of a record or row, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Inline(&'a [u8]),
    Memory(&'a Arc<Extent>),
    Disk { pointer: Pointer, len: usize },
}

impl Value<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Value::Inline(bytes) => bytes.len(),
            Value::Memory(extent) => extent.bytes.len(),
            Value::Disk { len, .. } => len,
        }
    }

    /// How many bytes it takes in a cell.
    pub(crate) fn inline_len(self) -> usize {
        match self {
            Value::Inline(bytes) => bytes.len(),
            Value::Memory(_) | Value::Disk { .. } => REFERENCE_BYTES,
        }
    }

    /// The number that stands for length and place in a cell.
    pub(crate) fn tag(self) -> u64 {
        (self.len() as u64) << 1 | u64::from(!matches!(self, Value::Inline(_)))
    }

    /// Appends what a cell holds of it. The reference of an extent in memory is left zero until it
    /// has a place.
    pub(crate) fn encode(self, out: &mut impl Encode) {
        match self {
            Value::Inline(bytes) => out.bytes(bytes),
            Value::Memory(extent) => {
                let pointer = extent.home.pointer();
                out.u32(pointer.map_or(0, |pointer| pointer.block));
                out.u32(pointer.map_or(0, |pointer| pointer.crc));
            }
            Value::Disk { pointer, .. } => {
                out.u32(pointer.block);
                out.u32(pointer.crc);
            }
        }
    }

    /// Takes what a cell holds, from where the tag has been read.
    pub(crate) fn decode<'a>(tag: u64, cell: &mut Decoder<'a>) -> Option<Value<'a>> {
        let len = usize::try_from(tag >> 1).ok()?;
        if tag & 1 == 0 {
            return Some(Value::Inline(cell.bytes(len)?));
        }
        let pointer = Extent::pointer(cell.u32()?, cell.u32()?, len)?;
        Some(Value::Disk { pointer, len })
    }
}

/// A record wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) key: Key,
    pub(crate) head: &'a [u8],
    pub(crate) value: Value<'a>,
}

impl RawRecord<'_> {
    /// How many bytes the record takes in a leaf, with its slot.
    pub(crate) fn encoded_len(&self) -> usize {
        let value = self.value;
        SLOT_BYTES
            + varint_len(self.key.sub)
            + 1
            + varint_len(self.head.len() as u64)
            + varint_len(value.tag())
            + self.head.len()
            + value.inline_len()
    }
}

/// Records that are published together.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// How many records of the leaf are in the segments before.
    start: usize,
    slots: Vec<Slot>,
    cells: Vec<u8>,
    extents: Vec<Arc<Extent>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    offset: u32,
    extent: u32,
}

impl Segment {
    pub(crate) fn with_room(start: usize, slots: usize, cells: usize) -> Segment {
        let (slots, cells) = (Vec::with_capacity(slots), Vec::with_capacity(cells));
        Segment { start, slots, cells, extents: Vec::new() }
    }

    /// Makes an empty segment the first of a new leaf.
    pub(crate) fn restart(&mut self) {
        debug_assert!(self.slots.is_empty(), "{} records are in no leaf", self.slots.len());
        self.start = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many bytes its cells take.
    pub(crate) fn cell_bytes(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn extents(&self) -> &[Arc<Extent>] {
        &self.extents
    }

    pub(crate) fn push(&mut self, record: &RawRecord<'_>) {
        let mut slot = Slot { key: record.key, offset: self.cells.len() as u32, extent: NO_EXTENT };
        if let Value::Memory(extent) = record.value {
            slot.extent = self.extents.len() as u32;
            self.extents.push(extent.clone());
        }
        self.slots.push(slot);
        self.cells.varint(record.key.sub);
        self.cells.push(record.key.kind);
        self.cells.varint(record.head.len() as u64);
        self.cells.varint(record.value.tag());
        self.cells.extend_from_slice(record.head);
        record.value.encode(&mut self.cells);
    }

    /// The record at `index`, which is below the length.
    pub(crate) fn record(&self, index: usize) -> RawRecord<'_> {
        let slot = self.slots[index];
        let mut cell = Decoder::new(&self.cells[slot.offset as usize..]);
        let mut take = || {
            let _sub = cell.varint()?;
            let _kind = cell.u8()?;
            let head_len = cell.varint()?;
            let tag = cell.varint()?;
            let head = cell.bytes(head_len as usize)?;
            let value = match self.extents.get(slot.extent as usize) {
                Some(extent) => Value::Memory(extent),
                None => Value::decode(tag, &mut cell)?,
            };
            Some(RawRecord { key: slot.key, head, value })
        };
        take().expect("a cell in memory is as it was encoded")
    }

    /// The first record whose key is not below `key`.
    pub(crate) fn lower_bound(&self, key: Key) -> usize {
        self.slots.partition_point(|slot| slot.key < key)
    }

    fn encode_cells(&self, out: &mut impl Encode) {
        let mut done = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(extent) = self.extents.get(slot.extent as usize) else { continue };
            let end = self.slots.get(index + 1).map_or(self.cells.len(), |s| s.offset as usize);
            let pointer = extent.home.pointer().expect("extents are written before their leaf");
            out.bytes(&self.cells[done..end - REFERENCE_BYTES]);
            out.u32(pointer.block);
            out.u32(pointer.crc);
            done = end;
        }
        out.bytes(&self.cells[done..]);
    }
}

/// A leaf in memory. The records that a view of it has are those of its first `n` segments.
#[derive(Debug)]
pub(crate) struct MemLeaf {
    pub(crate) home: Home,
    /// The first key; deltas count from its `main`.
    pub(crate) first: Key,
    pub(crate) segments: Shelf<Segment, 9>,
}

impl MemLeaf {
    pub(crate) fn new(first: Key) -> MemLeaf {
        MemLeaf { home: Home::default(), first, segments: Shelf::new() }
    }

    /// A leaf that will get no more segments.
    pub(crate) fn closed(first: Key, segment: Segment) -> Arc<MemLeaf> {
        let leaf = MemLeaf::new(first);
        leaf.segments.push(segment);
        Arc::new(leaf)
    }

    /// All of it.
    pub(crate) fn view(&self) -> LeafView<'_> {
        self.view_of(self.segments.len())
    }

    /// Its first `segments` segments.
    pub(crate) fn view_of(&self, segments: usize) -> LeafView<'_> {
        let last = segments.checked_sub(1).and_then(|last| self.segments.get(last));
        LeafView::Memory { leaf: self, segments, count: last.map_or(0, |s| s.start + s.len()) }
    }

    /// Bytes of the first `segments` segments on disk.
    pub(crate) fn encoded_len(&self, segments: usize) -> usize {
        let cells: usize = self.segments.iter(segments).map(Segment::cell_bytes).sum();
        HEADER_BYTES + SLOT_BYTES * self.view_of(segments).count() + cells
    }

    /// The extents of the first `segments` segments that are in memory.
    pub(crate) fn extents(&self, segments: usize) -> impl Iterator<Item = &Arc<Extent>> {
        self.segments.iter(segments).flat_map(Segment::extents)
    }

    /// Appends the first `segments` segments as a page.
    pub(crate) fn encode(&self, segments: usize, out: &mut impl Encode) {
        let count = self.view_of(segments).count();
        out.bytes(&[LEAF_KIND, 0]);
        out.u16(count as u16);
        out.u32(self.encoded_len(segments) as u32);
        out.u64(self.first.main);
        let mut cells = HEADER_BYTES + SLOT_BYTES * count;
        for segment in self.segments.iter(segments) {
            for slot in &segment.slots {
                let delta = (slot.key.main - self.first.main) as u32;
                let offset = (cells + slot.offset as usize) as u16;
                let mut bytes = [0; SLOT_BYTES];
                bytes[..4].copy_from_slice(&delta.to_le_bytes());
                bytes[4..].copy_from_slice(&offset.to_le_bytes());
                out.bytes(&bytes);
            }
            cells += segment.cell_bytes();
        }
        for segment in self.segments.iter(segments) {
            segment.encode_cells(out);
        }
    }
}

/// What tells when a leaf is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) first: Key,
    pub(crate) bytes: usize,
    pub(crate) count: usize,
}

impl Fill {
    /// An empty leaf that begins with `first`.
    pub(crate) fn new(first: Key) -> Fill {
        Fill { first, bytes: HEADER_BYTES, count: 0 }
    }

    /// True if a record of `encoded_len` bytes may be added.
    pub(crate) fn has_room(&self, key: Key, encoded_len: usize) -> bool {
        let fits = self.bytes + encoded_len <= LEAF_BYTES && self.count < usize::from(u16::MAX);
        self.count == 0 || (fits && key.main - self.first.main <= u64::from(u32::MAX))
    }

    pub(crate) fn add(&mut self, encoded_len: usize) {
        self.bytes += encoded_len;
        self.count += 1;
    }
}

/// A leaf wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeafView<'a> {
    Memory { leaf: &'a MemLeaf, segments: usize, count: usize },
    Disk(DiskLeaf<'a>),
}

/// A page that is a history leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskLeaf<'a> {
    block: u32,
    base: u64,
    count: usize,
    /// The page, cut at the end of the last cell.
    bytes: &'a [u8],
}

impl<'a> LeafView<'a> {
    /// Takes a page for a leaf. `block` is where it is.
    pub(crate) fn parse(bytes: &'a [u8], block: u32, pages: &Pages) -> Result<Self, Error> {
        let view = || {
            let count = usize::from(u16_at(bytes, 2)?);
            let end = u32_at(bytes, 4)? as usize;
            let base = u64_at(bytes, 8)?;
            let bytes = bytes.get(..end)?;
            let valid = bytes.first() == Some(&LEAF_KIND)
                && count > 0
                && end >= HEADER_BYTES + count * SLOT_BYTES;
            valid.then_some(LeafView::Disk(DiskLeaf { block, base, count, bytes }))
        };
        view().ok_or_else(|| pages.corrupt(block, "not a history leaf", u64::from(LEAF_KIND), 0))
    }

    pub(crate) fn count(self) -> usize {
        match self {
            LeafView::Memory { count, .. } => count,
            LeafView::Disk(leaf) => leaf.count,
        }
    }

    /// The record at `index`, which is below the count.
    pub(crate) fn record(self, index: usize, pages: &Pages) -> Result<RawRecord<'a>, Error> {
        match self {
            LeafView::Memory { leaf, segments, .. } => {
                let at = leaf.segments.partition_point(segments, |s| s.start <= index) - 1;
                let segment = leaf.segments.get(at).expect("the view has this many segments");
                Ok(segment.record(index - segment.start))
            }
            LeafView::Disk(leaf) => leaf
                .record(index)
                .ok_or_else(|| pages.corrupt(leaf.block, "a cell of a leaf", index as u64, 0)),
        }
    }

    /// The first record whose key is not below `key`.
    pub(crate) fn lower_bound(self, key: Key, pages: &Pages) -> Result<usize, Error> {
        match self {
            LeafView::Memory { leaf, segments, .. } => {
                let after = leaf.segments.partition_point(segments, |s| {
                    s.slots.first().is_some_and(|slot| slot.key <= key)
                });
                let Some(before) = after.checked_sub(1) else { return Ok(0) };
                let segment = leaf.segments.get(before).expect("the view has this many segments");
                Ok(segment.start + segment.lower_bound(key))
            }
            LeafView::Disk(leaf) => leaf
                .lower_bound(key)
                .ok_or_else(|| pages.corrupt(leaf.block, "a cell of a leaf", key.main, 0)),
        }
    }

    /// Bytes on disk, without what fills the last block.
    pub(crate) fn encoded_len(self) -> usize {
        match self {
            LeafView::Memory { leaf, segments, .. } => leaf.encoded_len(segments),
            LeafView::Disk(leaf) => leaf.bytes.len(),
        }
    }
}

impl<'a> DiskLeaf<'a> {
    fn delta(&self, index: usize) -> Option<u32> {
        u32_at(self.bytes, HEADER_BYTES + SLOT_BYTES * index)
    }

    fn offset(&self, index: usize) -> Option<usize> {
        u16_at(self.bytes, HEADER_BYTES + SLOT_BYTES * index + 4).map(usize::from)
    }

    fn key_and_rest(&self, index: usize) -> Option<(Key, Decoder<'a>)> {
        let start = self.offset(index)?;
        let end = if index + 1 < self.count { self.offset(index + 1)? } else { self.bytes.len() };
        let mut cell = Decoder::new(self.bytes.get(start..end)?);
        let main = self.base.checked_add(u64::from(self.delta(index)?))?;
        let key = Key { main, sub: cell.varint()?, kind: cell.u8()? };
        Some((key, cell))
    }

    fn record(&self, index: usize) -> Option<RawRecord<'a>> {
        let (key, mut cell) = self.key_and_rest(index)?;
        let head_len = usize::try_from(cell.varint()?).ok()?;
        let tag = cell.varint()?;
        let head = cell.bytes(head_len)?;
        let value = Value::decode(tag, &mut cell)?;
        cell.rest().is_empty().then_some(RawRecord { key, head, value })
    }

    fn lower_bound(&self, key: Key) -> Option<usize> {
        let Some(delta) = key.main.checked_sub(self.base) else { return Some(0) };
        let Ok(delta) = u32::try_from(delta) else { return Some(self.count) };
        // Mostly each `main` has one record, and none is missing.
        let dense = delta as usize;
        let is_dense = dense < self.count && self.delta(dense)? == delta;
        let mut low = match dense.checked_sub(1) {
            None if is_dense => 0,
            Some(before) if is_dense && self.delta(before)? < delta => dense,
            _ => self.first_from(delta)?,
        };
        let mut high = low;
        while high < self.count && self.delta(high)? == delta {
            high += 1;
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.key_and_rest(middle)?.0 < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// The first record whose delta is at least `wanted`.
    fn first_from(&self, wanted: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.delta(middle)? < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }
}

/// Begins to read what a lookup of `main` will need of a leaf whose mains lie in a range: its
/// header, the slot, both ends of the cell.
///
/// Each of these is a miss of the processor's caches, and each tells where the next is, so a lookup
/// would wait for one after the other. If the keys are dense and the records of about equal length,
/// the range tells where all of them are, and the processor fetches them at once. If not, these are
/// some reads for nothing, which nobody waits for.
pub(crate) fn read_ahead(bytes: &[u8], main: u64, mains: Option<Range<u64>>) {
    let Some(mains) = mains.filter(|mains| mains.contains(&main)) else { return };
    let (above, width) = (main - mains.start, mains.end - mains.start);
    if width > (bytes.len() / SLOT_BYTES) as u64 {
        return;
    }
    let (above, width) = (above as usize, width as usize);
    let slot = HEADER_BYTES + SLOT_BYTES * above;
    // On the average there is room left for half a record.
    let cells = HEADER_BYTES + SLOT_BYTES * width;
    let len = bytes.len().saturating_sub(cells) * 2 / (width * 2 + 1);
    let (start, end) = (cells + len * above, cells + len * (above + 1));
    let back = |at: usize| at.saturating_sub(LINE);
    let mut sum = 0;
    for at in [0, slot, back(start), start, start + LINE, back(end), end] {
        sum ^= bytes.get(at).copied().unwrap_or(0);
    }
    black_box(sum);
}

/// Copies a leaf from disk into memory, to go on filling it.
pub(crate) fn reopen(view: LeafView<'_>, pages: &Pages) -> Result<(MemLeaf, Fill), Error> {
    let first = view.record(0, pages)?.key;
    let mut fill = Fill::new(first);
    let mut segment = Segment::default();
    for index in 0..view.count() {
        let record = view.record(index, pages)?;
        if segment.slots.last().is_some_and(|slot| slot.key >= record.key) {
            return Err(pages.corrupt(0, "order of the open leaf", index as u64, 0));
        }
        fill.add(record.encoded_len());
        segment.push(&record);
    }
    let leaf = MemLeaf::new(first);
    leaf.segments.push(segment);
    Ok((leaf, fill))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_leaf(mains: &[u64]) -> Vec<u8> {
        let first = Key::new(mains[0], 0, 0);
        let mut segment = Segment::default();
        for (sub, &main) in mains.iter().enumerate() {
            let key = Key::new(main, sub as u64, 1);
            segment.push(&RawRecord { key, head: b"head", value: Value::Inline(b"value") });
        }
        let mut bytes = Vec::new();
        MemLeaf::closed(first, segment).encode(1, &mut bytes);
        bytes
    }

    #[test]
    fn a_lookup_finds_what_a_search_in_order_finds() {
        let dense: Vec<u64> = (100..400).collect();
        let skewed: Vec<u64> = (0..200).map(|i| 10 + i * i * i / 7).collect();
        let equal = vec![7; 50];
        for mains in [dense, skewed, equal, vec![3], vec![3, 1_000_000]] {
            let bytes = disk_leaf(&mains);
            let leaf = DiskLeaf { block: 9, base: mains[0], count: mains.len(), bytes: &bytes };
            for main in (0..500).chain(mains.iter().flat_map(|&m| [m - 1, m, m + 1])) {
                for sub in [0, 1, 25, 49, u64::MAX] {
                    let key = Key::new(main, sub, 1);
                    let wanted = mains
                        .iter()
                        .enumerate()
                        .position(|(sub, &main)| Key::new(main, sub as u64, 1) >= key);
                    assert_eq!(leaf.lower_bound(key), Some(wanted.unwrap_or(mains.len())), "{key}");
                }
            }
        }
    }

    #[test]
    fn a_segment_gives_back_what_was_pushed() {
        let extent = Extent::new(&[5; 9000]);
        let mut segment = Segment::default();
        let records = [
            RawRecord { key: Key::new(1, 0, 0), head: b"", value: Value::Inline(b"") },
            RawRecord { key: Key::new(1, 1, 9), head: b"a", value: Value::Memory(&extent) },
            RawRecord { key: Key::new(9, 0, 1), head: b"bc", value: Value::Inline(b"xyz") },
        ];
        let mut len = 0;
        for record in &records {
            segment.push(record);
            len += record.encoded_len();
        }
        assert_eq!(len, segment.cell_bytes() + SLOT_BYTES * 3);
        for (index, record) in records.iter().enumerate() {
            let found = segment.record(index);
            assert_eq!((found.key, found.head), (record.key, record.head));
            assert_eq!(found.value.len(), record.value.len());
            assert_eq!(segment.lower_bound(record.key), index);
        }
    }
}
