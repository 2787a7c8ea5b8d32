//! The file's fixed places and records, as FORMAT.md lays them out: header, root slot, commit
//! record. The nodes have their layout in [`leaf`](crate::leaf), [`rows`](crate::rows) and
//! [`inner`](crate::inner).
//!
//! All numbers are little-endian. Decoders take any bytes: what does not decode is `None`, and the
//! caller names file and offset.

use revd_disk::Buffer;

use crate::Key;

/// The version of the format that this crate reads and writes.
pub(crate) const VERSION: u32 = 1;
/// The unit in which the file is divided.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Block of the header.
pub(crate) const HEADER_BLOCK: u32 = 0;
/// Blocks of the two root slots; the root of checkpoint `n` is written to slot `n % 2`.
pub(crate) const SLOT_BLOCKS: [u32; 2] = [1, 2];
/// The first block that is given out.
pub(crate) const FIRST_FREE_BLOCK: u32 = 3;

/// A history leaf is closed when the next record would make it longer, unless it is empty. 16 KiB
/// lose half a record for each leaf (0.9 % with records of 300 B, 3.1 % with 1 KiB; 4 KiB would
/// lose 12 %), while the open leaf, which each checkpoint writes again, stays cheap.
pub(crate) const LEAF_BYTES: usize = 16 * 1024;
/// The longest leaf or inner node of a table: tables change in place, so that small nodes mean
/// small copies.
pub(crate) const ROWS_BYTES: usize = BLOCK_BYTES;
/// The longest inner node of the history.
pub(crate) const HISTORY_INNER_BYTES: usize = 16 * 1024;
/// The longest inner node of a table.
pub(crate) const TABLE_INNER_BYTES: usize = BLOCK_BYTES;
/// History values longer than this are kept in an extent.
pub(crate) const INLINE_VALUE_BYTES: usize = LEAF_BYTES / 4;
/// Table values longer than this are kept in an extent.
pub(crate) const INLINE_ROW_BYTES: usize = ROWS_BYTES / 4;

/// No file has so many records or rows: each takes some bytes of at most 2^44.
const COUNT_MAX: u64 = 1 << 44;
/// The longest head of a record.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest value of a record.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 20;
/// The longest value of a row.
pub(crate) const ROW_BYTES_MAX: usize = 16 << 20;
/// The longest note.
pub(crate) const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Blocks that one page of the allocation map tells of.
pub(crate) const MAP_PAGE_BLOCKS: u32 = BLOCK_BYTES as u32 * 8;

const HEADER_MAGIC: [u8; 8] = *b"revdtree";
const SLOT_MAGIC: [u8; 8] = *b"revdroot";
const COMMIT_MAGIC: [u8; 8] = *b"revdcomm";

pub(crate) const HEADER_BYTES: usize = 36;
pub(crate) const SLOT_BYTES: usize = 32;
/// Bytes of an encoded [`Key`].
pub(crate) const KEY_BYTES: usize = 17;
/// Bytes of an encoded [`Pointer`].
pub(crate) const POINTER_BYTES: usize = 10;

/// How many blocks hold this many bytes.
pub(crate) fn blocks_of(bytes: usize) -> u32 {
    bytes.div_ceil(BLOCK_BYTES) as u32
}

/// The checksum of whole blocks or of a record.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) block: u32,
    pub(crate) blocks: u32,
}

impl Run {
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.block) * BLOCK_BYTES as u64
    }

    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.blocks) * BLOCK_BYTES as u64
    }

    /// The first block behind it.
    pub(crate) fn end(self) -> u32 {
        self.block + self.blocks
    }
}

/// Where a child is, and the checksum of all its blocks: what is there is accepted only if it
/// matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) block: u32,
    pub(crate) blocks: u16,
    pub(crate) crc: u32,
}

impl Pointer {
    pub(crate) fn run(self) -> Run {
        Run { block: self.block, blocks: u32::from(self.blocks) }
    }
}

/// Appends numbers to a record.
pub(crate) trait Encode {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, number: u8) {
        self.bytes(&[number]);
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; the last byte is below 128.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.u8(number as u8);
    }

    fn key(&mut self, key: Key) {
        self.u64(key.main);
        self.u64(key.sub);
        self.u8(key.kind);
    }

    /// `None` is ten zeros: block 0 is the header, so no child is there.
    fn pointer(&mut self, pointer: Option<Pointer>) {
        let pointer = pointer.unwrap_or(Pointer { block: 0, blocks: 0, crc: 0 });
        self.u32(pointer.block);
        self.u16(pointer.blocks);
        self.u32(pointer.crc);
    }
}

impl Encode for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Encode for Buffer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// How many bytes [`Encode::varint`] takes.
pub(crate) fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a record apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn key(&mut self) -> Option<Key> {
        Some(Key { main: self.u64()?, sub: self.u64()?, kind: self.u8()? })
    }

    /// The outer `None` is a failure, the inner one a pointer to nothing.
    pub(crate) fn pointer(&mut self) -> Option<Option<Pointer>> {
        let pointer = Pointer { block: self.u32()?, blocks: self.u16()?, crc: self.u32()? };
        if pointer == (Pointer { block: 0, blocks: 0, crc: 0 }) {
            return Some(None);
        }
        (pointer.block >= FIRST_FREE_BLOCK && pointer.blocks > 0).then_some(Some(pointer))
    }

    fn some_pointer(&mut self) -> Option<Pointer> {
        self.pointer().flatten()
    }
}

/// A number at a fixed place of `bytes`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

/// A number at a fixed place of `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

/// A number at a fixed place of `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// What the first block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) owner: [u8; 16],
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = HEADER_MAGIC.to_vec();
        bytes.u32(self.version);
        bytes.u32(BLOCK_BYTES as u32);
        bytes.extend_from_slice(&self.owner);
        bytes.u32(checksum(&bytes));
        bytes.resize(BLOCK_BYTES, 0);
        bytes
    }

    /// The version is not judged here: a later one may have another layout behind its number.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let mut decoder = Decoder::new(bytes);
        let magic: [u8; 8] = decoder.array()?;
        let version = decoder.u32()?;
        if magic != HEADER_MAGIC {
            return None;
        }
        if version != VERSION {
            return Some(Header { version, owner: [0; 16] });
        }
        let block_bytes = decoder.u32()?;
        let owner = decoder.array()?;
        let crc = decoder.u32()?;
        let valid = block_bytes as usize == BLOCK_BYTES
            && crc == checksum(bytes.get(..HEADER_BYTES - 4)?)
            && bytes.get(HEADER_BYTES..)?.iter().all(|&byte| byte == 0);
        valid.then_some(Header { version, owner })
    }
}

/// What a root slot says: where a commit record is. A slot without blocks is vacant: the root in
/// the other slot was the newest intact one when that was written, and `sequence` is its number. So
/// even a slot that leads nowhere cannot be lost unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) commit: Run,
    /// Checksum of all blocks of the commit record.
    pub(crate) crc: u32,
}

impl Slot {
    /// A slot that leads nowhere, beside that of checkpoint `sequence`.
    pub(crate) fn vacant(sequence: u64) -> Slot {
        Slot { sequence, commit: Run { block: 0, blocks: 0 }, crc: 0 }
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.commit.blocks == 0
    }

    /// Which of the two slots it belongs to.
    pub(crate) fn place(&self) -> usize {
        ((self.sequence + u64::from(self.is_vacant())) % 2) as usize
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.extend_from_slice(&SLOT_MAGIC);
        bytes.u64(self.sequence);
        bytes.u32(self.commit.block);
        bytes.u32(self.commit.blocks);
        bytes.u32(self.crc);
        bytes.u32(checksum(&bytes));
        bytes.resize(BLOCK_BYTES, 0);
        bytes
    }

    pub(crate) fn decode(block: &[u8]) -> Option<Slot> {
        let mut decoder = Decoder::new(block);
        let magic: [u8; 8] = decoder.array()?;
        let sequence = decoder.u64()?;
        let commit = decoder.u32()?;
        let blocks = decoder.u32()?;
        let crc = decoder.u32()?;
        let valid = magic == SLOT_MAGIC
            && decoder.u32()? == checksum(block.get(..SLOT_BYTES - 4)?)
            && block.get(SLOT_BYTES..)?.iter().all(|&byte| byte == 0)
            && sequence > 0
            && if blocks == 0 { commit == 0 } else { commit >= FIRST_FREE_BLOCK };
        valid.then_some(Slot { sequence, commit: Run { block: commit, blocks }, crc })
    }
}

/// How much the closed leaves of the history are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeafTotals {
    pub(crate) count: u64,
    /// The blocks that they take.
    pub(crate) blocks: u64,
    /// The bytes that they have, without what fills the last block of each.
    pub(crate) bytes: u64,
}

impl LeafTotals {
    /// Counts a leaf of this length.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.blocks += u64::from(blocks_of(bytes));
        self.bytes += bytes as u64;
    }

    /// Takes `old` out, which is part of it, and puts `new` in.
    pub(crate) fn replace(&mut self, old: LeafTotals, new: LeafTotals) {
        // The numbers in the file may be wrong until `verify` finds that out.
        self.count = (self.count + new.count).saturating_sub(old.count);
        self.blocks = (self.blocks + new.blocks).saturating_sub(old.blocks);
        self.bytes = (self.bytes + new.bytes).saturating_sub(old.bytes);
    }
}

/// The root of everything: what a checkpoint ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sequence: u64,
    pub(crate) owner: [u8; 16],
    /// Records in the history.
    pub(crate) records: u64,
    /// Rows in all tables.
    pub(crate) rows: u64,
    /// The closed leaves of the history.
    pub(crate) leaves: LeafTotals,
    /// The last key ever appended to the history.
    pub(crate) last_key: Option<Key>,
    /// Root of the history's inner nodes.
    pub(crate) base: Option<Pointer>,
    /// The leaf that is not full yet.
    pub(crate) open: Option<Pointer>,
    /// Full leaves between those below `base` and the open one, each with its first key.
    pub(crate) recent: Vec<(Key, Pointer)>,
    /// Roots of the tables that have rows, by ascending number.
    pub(crate) tables: Vec<(u8, Pointer)>,
    /// Pages of the allocation map: block and checksum.
    pub(crate) map: Vec<(u32, u32)>,
    /// Everything that was written together with this record and must be intact.
    pub(crate) pieces: Vec<Pointer>,
    /// The owner's note.
    pub(crate) note: Vec<u8>,
}

impl Commit {
    /// The length of an encoded record with these many parts.
    pub(crate) fn encoded_len(
        recent: usize,
        tables: usize,
        map: usize,
        pieces: usize,
        note: usize,
    ) -> usize {
        8 + 8
            + 16
            + 8
            + 8
            + 3 * 8
            + 1
            + KEY_BYTES
            + 2 * POINTER_BYTES
            + 5 * 4
            + recent * (KEY_BYTES + POINTER_BYTES)
            + tables * (1 + POINTER_BYTES)
            + map * 8
            + pieces * POINTER_BYTES
            + note
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = COMMIT_MAGIC.to_vec();
        bytes.u64(self.sequence);
        bytes.extend_from_slice(&self.owner);
        bytes.u64(self.records);
        bytes.u64(self.rows);
        bytes.u64(self.leaves.count);
        bytes.u64(self.leaves.blocks);
        bytes.u64(self.leaves.bytes);
        bytes.push(u8::from(self.last_key.is_some()));
        bytes.key(self.last_key.unwrap_or_default());
        bytes.pointer(self.base);
        bytes.pointer(self.open);
        for len in [self.recent.len(), self.tables.len(), self.map.len(), self.pieces.len()] {
            bytes.u32(len as u32);
        }
        bytes.u32(self.note.len() as u32);
        for (key, pointer) in &self.recent {
            bytes.key(*key);
            bytes.pointer(Some(*pointer));
        }
        for (table, pointer) in &self.tables {
            bytes.push(*table);
            bytes.pointer(Some(*pointer));
        }
        for (block, crc) in &self.map {
            bytes.u32(*block);
            bytes.u32(*crc);
        }
        for piece in &self.pieces {
            bytes.pointer(Some(*piece));
        }
        bytes.extend_from_slice(&self.note);
        bytes
    }

    /// `bytes` is the record and the zeros that fill its last block.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Commit> {
        let mut decoder = Decoder::new(bytes);
        if decoder.array()? != COMMIT_MAGIC {
            return None;
        }
        let mut commit = Commit {
            sequence: decoder.u64()?,
            owner: decoder.array()?,
            records: decoder.u64()?,
            rows: decoder.u64()?,
            leaves: LeafTotals {
                count: decoder.u64()?,
                blocks: decoder.u64()?,
                bytes: decoder.u64()?,
            },
            ..Commit::default()
        };
        let has_last = decoder.u8()?;
        let last_key = decoder.key()?;
        commit.last_key = (has_last == 1).then_some(last_key);
        commit.base = decoder.pointer()?;
        commit.open = decoder.pointer()?;
        let mut lens = [0; 5];
        for len in &mut lens {
            *len = decoder.u32()? as usize;
        }
        let [recent, tables, map, pieces, note] = lens;
        // Checked before anything is allocated for these lengths.
        let len = Commit::encoded_len(recent, tables, map, pieces, note);
        if bytes.get(len..)?.iter().any(|&byte| byte != 0) {
            return None;
        }
        for _ in 0..recent {
            commit.recent.push((decoder.key()?, decoder.some_pointer()?));
        }
        for _ in 0..tables {
            commit.tables.push((decoder.u8()?, decoder.some_pointer()?));
        }
        for _ in 0..map {
            commit.map.push((decoder.u32()?, decoder.u32()?));
        }
        for _ in 0..pieces {
            commit.pieces.push(decoder.some_pointer()?);
        }
        commit.note = decoder.bytes(note)?.to_vec();
        let LeafTotals { count, blocks, bytes } = commit.leaves;
        let possible = commit.records.max(commit.rows) < COUNT_MAX
            && blocks <= u64::from(u32::MAX)
            && count <= blocks
            && bytes <= blocks * BLOCK_BYTES as u64;
        let rising = commit.tables.is_sorted_by(|a, b| a.0 < b.0)
            && commit.tables.iter().all(|(table, _)| *table < crate::Table::COUNT)
            && commit.recent.is_sorted_by(|a, b| a.0 < b.0);
        (has_last <= 1 && rising && possible).then_some(commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_varint() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            bytes.varint(number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            assert_eq!(Decoder::new(&bytes).varint(), Some(number));
        }
        assert_eq!(Decoder::new(&[0xff; 10]).varint(), None);
    }

    #[test]
    fn records_survive_and_no_cut_of_them_is_accepted() {
        let commit = Commit {
            sequence: 9,
            owner: [7; 16],
            records: 3,
            rows: 2,
            leaves: LeafTotals { count: 2, blocks: 8, bytes: 32_000 },
            last_key: Some(Key::new(5, 6, 1)),
            base: Some(Pointer { block: 77, blocks: 4, crc: 1 }),
            open: None,
            recent: vec![(Key::new(2, 0, 0), Pointer { block: 90, blocks: 4, crc: 2 })],
            tables: vec![(3, Pointer { block: 99, blocks: 1, crc: 3 })],
            map: vec![(100, 4)],
            pieces: vec![Pointer { block: 77, blocks: 4, crc: 1 }],
            note: b"applied 12".to_vec(),
        };
        let bytes = commit.encode();
        assert_eq!(Commit::decode(&bytes), Some(commit));
        for len in 0..bytes.len() {
            assert_eq!(Commit::decode(&bytes[..len]), None);
        }
        let slot = Slot { sequence: 9, commit: Run { block: 101, blocks: 1 }, crc: 0xabcd };
        assert_eq!(Slot::decode(&slot.encode()), Some(slot));
        let header = Header { version: VERSION, owner: [3; 16] };
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }
}
