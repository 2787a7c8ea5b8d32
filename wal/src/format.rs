//! The bytes of the log: `FORMAT.md` as code, table by table.
//!
//! All numbers are little-endian. Decoding never panics and never trusts a length.

use crc32fast::Hasher;
use revd_disk::BLOCK;

/// What opens a segment file.
pub(crate) const MAGIC: [u8; 8] = *b"revd-wal";

/// The version of this format.
pub(crate) const VERSION: u32 = 1;

/// The longest entry.
pub(crate) const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The longest batch, headers included. Large enough for the longest entry; what is appended at
/// once is bounded far below by the callers' own limits.
pub(crate) const BATCH_BYTES_MAX: u64 = 1 << 30;

/// No segment is begun at an index, batch or sequence above this one: however much is appended,
/// no number overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// A segment's header takes its first block.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = BLOCK as u64;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const HEADER_CHECKSUM_AT: usize = VERSION_AT + 4;
const OWNER_AT: usize = HEADER_CHECKSUM_AT + 4;
const SEQUENCE_AT: usize = OWNER_AT + 16;
const SALT_AT: usize = SEQUENCE_AT + 8;
const FIRST_INDEX_AT: usize = SALT_AT + 8;
const FIRST_BATCH_AT: usize = FIRST_INDEX_AT + 8;
const CAPACITY_AT: usize = FIRST_BATCH_AT + 8;
const FIRST_CHAIN_AT: usize = CAPACITY_AT + 8;
const FLAGS_AT: usize = FIRST_CHAIN_AT + 4;
const WRITTEN_AT: usize = FLAGS_AT + 4;
pub(crate) const SEGMENT_HEADER_USED: usize = WRITTEN_AT + 8;
const _: () = assert!(SEGMENT_HEADER_USED == 88);

const ORIGIN: u32 = 1;
const STALE: u32 = 2;
const ENTRIES_BEFORE: u32 = 4;

/// The header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) owner: [u8; 16],
    pub(crate) sequence: u64,
    /// Enters the checksum of every batch header, and through the chain that of every frame.
    pub(crate) salt: u64,
    /// The index of the next entry when the segment was begun.
    pub(crate) first_index: u64,
    /// The number of the next batch when the segment was begun.
    pub(crate) first_batch: u64,
    /// The length of the file when it was allocated.
    pub(crate) capacity: u64,
    /// The last checksum of the previous segment.
    pub(crate) first_chain: u32,
    /// Nothing in segments before this one belongs to the log.
    pub(crate) origin: bool,
    /// What lies beyond the end of the log may be left from an earlier use of the file.
    pub(crate) stale: bool,
    /// The segment before holds entries alone and no truncation, so that this header and that one
    /// tell which.
    pub(crate) entries_before: bool,
    /// Up to here the file system had written blocks when the segment was begun.
    pub(crate) written: u64,
}

/// Why the first block of a file is not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Magic { found: u64 },
    Version { found: u32 },
    Checksum { expected: u32, found: u32 },
    Flags { found: u32 },
    Number { what: &'static str, found: u64 },
}

impl SegmentHeader {
    /// Writes the header to the start of a zeroed block.
    pub(crate) fn encode(&self, block: &mut [u8]) {
        let flags =
            [(self.origin, ORIGIN), (self.stale, STALE), (self.entries_before, ENTRIES_BEFORE)];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum::<u32>();
        put(block, MAGIC_AT, &MAGIC);
        put(block, VERSION_AT, &VERSION.to_le_bytes());
        put(block, OWNER_AT, &self.owner);
        put(block, SEQUENCE_AT, &self.sequence.to_le_bytes());
        put(block, SALT_AT, &self.salt.to_le_bytes());
        put(block, FIRST_INDEX_AT, &self.first_index.to_le_bytes());
        put(block, FIRST_BATCH_AT, &self.first_batch.to_le_bytes());
        put(block, CAPACITY_AT, &self.capacity.to_le_bytes());
        put(block, FIRST_CHAIN_AT, &self.first_chain.to_le_bytes());
        put(block, FLAGS_AT, &flags.to_le_bytes());
        put(block, WRITTEN_AT, &self.written.to_le_bytes());
        let checksum = segment_checksum(block);
        put(block, HEADER_CHECKSUM_AT, &checksum.to_le_bytes());
    }

    /// Reads the header from the first [`SEGMENT_HEADER_USED`] bytes of a file.
    pub(crate) fn decode(block: &[u8; SEGMENT_HEADER_USED]) -> Result<Self, HeaderFault> {
        if block[MAGIC_AT..VERSION_AT] != MAGIC {
            return Err(HeaderFault::Magic { found: u64_at(block, MAGIC_AT) });
        }
        // The version comes before the checksum: another version may compute it otherwise.
        let version = u32_at(block, VERSION_AT);
        if version != VERSION {
            return Err(HeaderFault::Version { found: version });
        }
        let (expected, found) = (segment_checksum(block), u32_at(block, HEADER_CHECKSUM_AT));
        if expected != found {
            return Err(HeaderFault::Checksum { expected, found });
        }
        let flags = u32_at(block, FLAGS_AT);
        let contradicts = ORIGIN | ENTRIES_BEFORE;
        if flags & !(contradicts | STALE) != 0 || flags & contradicts == contradicts {
            return Err(HeaderFault::Flags { found: flags });
        }
        let mut owner = [0; 16];
        owner.copy_from_slice(&block[OWNER_AT..SEQUENCE_AT]);
        let header = SegmentHeader {
            owner,
            sequence: u64_at(block, SEQUENCE_AT),
            salt: u64_at(block, SALT_AT),
            first_index: u64_at(block, FIRST_INDEX_AT),
            first_batch: u64_at(block, FIRST_BATCH_AT),
            capacity: u64_at(block, CAPACITY_AT),
            first_chain: u32_at(block, FIRST_CHAIN_AT),
            origin: flags & ORIGIN != 0,
            stale: flags & STALE != 0,
            entries_before: flags & ENTRIES_BEFORE != 0,
            written: u64_at(block, WRITTEN_AT),
        };
        header.check_numbers()?;
        Ok(header)
    }

    /// The checksum says who wrote the numbers, not that they make sense.
    fn check_numbers(&self) -> Result<(), HeaderFault> {
        let counted = [
            ("number of the segment", self.sequence),
            ("first index", self.first_index),
            ("first batch", self.first_batch),
        ];
        for (what, found) in counted {
            if found == 0 || found > NUMBER_MAX {
                return Err(HeaderFault::Number { what, found });
            }
        }
        let (found, least) = (self.capacity, SEGMENT_HEADER_BYTES + BLOCK as u64);
        if found < least || found > NUMBER_MAX || !found.is_multiple_of(BLOCK as u64) {
            return Err(HeaderFault::Number { what: "capacity", found });
        }
        Ok(())
    }
}

fn segment_checksum(block: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&block[..HEADER_CHECKSUM_AT]);
    hasher.update(&block[OWNER_AT..SEGMENT_HEADER_USED]);
    hasher.finalize()
}

const BATCH_CHECKSUM_AT: usize = 0;
const KIND_AT: usize = BATCH_CHECKSUM_AT + 4;
const BATCH_AT: usize = KIND_AT + 4;
const FIRST_AT: usize = BATCH_AT + 8;
const BYTES_AT: usize = FIRST_AT + 8;
const COUNT_AT: usize = BYTES_AT + 8;
const CHAIN_AT: usize = COUNT_AT + 4;
pub(crate) const BATCH_HEADER_BYTES: usize = CHAIN_AT + 4;
const _: () = assert!(BATCH_HEADER_BYTES == 40);

/// What a batch does to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchKind {
    /// Adds entries.
    Entries,
    /// Removes the entries from an index on.
    Truncation,
}

/// The header of a batch, at the start of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) kind: BatchKind,
    /// Counts the batches of the log.
    pub(crate) batch: u64,
    /// The index of the first entry, or the one that is removed together with all that follow.
    pub(crate) first: u64,
    /// The length of the whole batch, header included and padding not.
    pub(crate) bytes: u64,
    /// The number of frames.
    pub(crate) count: u32,
    /// The last checksum before this batch.
    pub(crate) chain: u32,
}

impl BatchHeader {
    /// Writes the header and returns its checksum, from which that of the first frame goes on.
    pub(crate) fn encode(&self, salt: u64) -> ([u8; BATCH_HEADER_BYTES], u32) {
        let kind: u32 = match self.kind {
            BatchKind::Entries => 1,
            BatchKind::Truncation => 2,
        };
        let mut bytes = [0; BATCH_HEADER_BYTES];
        put(&mut bytes, KIND_AT, &kind.to_le_bytes());
        put(&mut bytes, BATCH_AT, &self.batch.to_le_bytes());
        put(&mut bytes, FIRST_AT, &self.first.to_le_bytes());
        put(&mut bytes, BYTES_AT, &self.bytes.to_le_bytes());
        put(&mut bytes, COUNT_AT, &self.count.to_le_bytes());
        put(&mut bytes, CHAIN_AT, &self.chain.to_le_bytes());
        let checksum = batch_checksum(&bytes, salt);
        put(&mut bytes, BATCH_CHECKSUM_AT, &checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// Reads a header that was written with `salt`, with its checksum. `None` for everything else.
    pub(crate) fn decode(bytes: &[u8; BATCH_HEADER_BYTES], salt: u64) -> Option<(Self, u32)> {
        let checksum = u32_at(bytes, BATCH_CHECKSUM_AT);
        let kind = match u32_at(bytes, KIND_AT) {
            1 => BatchKind::Entries,
            2 => BatchKind::Truncation,
            _ => return None,
        };
        if checksum != batch_checksum(bytes, salt) {
            return None;
        }
        let header = BatchHeader {
            kind,
            batch: u64_at(bytes, BATCH_AT),
            first: u64_at(bytes, FIRST_AT),
            bytes: u64_at(bytes, BYTES_AT),
            count: u32_at(bytes, COUNT_AT),
            chain: u32_at(bytes, CHAIN_AT),
        };
        header.is_plausible().then_some((header, checksum))
    }

    /// True if the length can hold the frames, and no number overflows in what is done with it.
    fn is_plausible(&self) -> bool {
        let least = BATCH_HEADER_BYTES as u64 + u64::from(self.count) * FRAME_HEADER_BYTES as u64;
        let counted = match self.kind {
            BatchKind::Entries => self.count > 0 && self.bytes >= least,
            BatchKind::Truncation => self.count == 0 && self.bytes == least,
        };
        counted
            && self.bytes <= BATCH_BYTES_MAX
            && (1..=2 * NUMBER_MAX).contains(&self.first)
            && self.batch <= 2 * NUMBER_MAX
    }

    /// The length in the file, up to the block at which the next batch starts.
    pub(crate) fn padded(&self) -> u64 {
        padded(self.bytes)
    }

    /// The index of the next entry after this batch.
    pub(crate) fn next_index(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// A batch ends at the end of a block, with its footer.
pub(crate) fn padded(bytes: u64) -> u64 {
    (bytes + FOOTER_BYTES as u64).next_multiple_of(BLOCK as u64)
}

/// At the end of a segment, room that only truncations may take: a thousandth, at least one block
/// and at most these.
const KEPT_BYTES_MAX: u64 = 16 * BLOCK as u64;

/// How much of a segment of `capacity` is kept for truncations. On a full disk there is no other
/// segment to go on in, and to remove a suffix must be possible all the same.
pub(crate) fn kept_bytes(capacity: u64) -> u64 {
    let block = BLOCK as u64;
    (capacity >> 10).next_multiple_of(block).clamp(block, KEPT_BYTES_MAX)
}

/// The length of a segment that is made for one batch of `bytes`.
pub(crate) fn capacity_for(bytes: u64) -> u64 {
    let least = SEGMENT_HEADER_BYTES + padded(bytes);
    least + kept_bytes(least + KEPT_BYTES_MAX)
}

fn batch_checksum(bytes: &[u8; BATCH_HEADER_BYTES], salt: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&bytes[KIND_AT..]);
    hasher.finalize()
}

const FOOTER_CHECKSUM_AT: usize = 0;
const BLOCKS_AT: usize = FOOTER_CHECKSUM_AT + 4;
const FOOTER_BATCH_AT: usize = BLOCKS_AT + 4;
pub(crate) const FOOTER_BYTES: usize = FOOTER_BATCH_AT + 8;
const _: () = assert!(FOOTER_BYTES == 16);

/// The last bytes of a batch, at the end of its last block: a second witness that there was a
/// batch, for the case that the block with its header is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The number of blocks that the batch takes.
    pub(crate) blocks: u32,
    /// The number of the batch.
    pub(crate) batch: u64,
}

impl Footer {
    pub(crate) fn encode(&self, salt: u64) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        put(&mut bytes, BLOCKS_AT, &self.blocks.to_le_bytes());
        put(&mut bytes, FOOTER_BATCH_AT, &self.batch.to_le_bytes());
        let checksum = footer_checksum(&bytes, salt);
        put(&mut bytes, FOOTER_CHECKSUM_AT, &checksum.to_le_bytes());
        bytes
    }

    /// Reads a footer that was written with `salt`. `None` for everything else.
    pub(crate) fn decode(bytes: &[u8; FOOTER_BYTES], salt: u64) -> Option<Footer> {
        let (blocks, batch) = (u32_at(bytes, BLOCKS_AT), u64_at(bytes, FOOTER_BATCH_AT));
        let right = || u32_at(bytes, FOOTER_CHECKSUM_AT) == footer_checksum(bytes, salt);
        (blocks > 0 && batch <= 2 * NUMBER_MAX && right()).then_some(Footer { blocks, batch })
    }
}

fn footer_checksum(bytes: &[u8; FOOTER_BYTES], salt: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&bytes[BLOCKS_AT..]);
    hasher.finalize()
}

const FRAME_CHECKSUM_AT: usize = 0;
const LENGTH_AT: usize = FRAME_CHECKSUM_AT + 4;
const INDEX_AT: usize = LENGTH_AT + 4;
pub(crate) const FRAME_HEADER_BYTES: usize = INDEX_AT + 8;
const _: () = assert!(FRAME_HEADER_BYTES == 16);

/// The header of a frame, which is followed by the entry itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) checksum: u32,
    pub(crate) length: u32,
    pub(crate) index: u64,
}

impl FrameHeader {
    /// The header of the frame of `entry`.
    pub(crate) fn encode(index: u64, entry: &[u8], checksum: u32) -> [u8; FRAME_HEADER_BYTES] {
        let length = u32::try_from(entry.len()).expect("an entry's length was checked");
        let mut bytes = [0; FRAME_HEADER_BYTES];
        put(&mut bytes, FRAME_CHECKSUM_AT, &checksum.to_le_bytes());
        put(&mut bytes, LENGTH_AT, &length.to_le_bytes());
        put(&mut bytes, INDEX_AT, &index.to_le_bytes());
        bytes
    }

    /// Reads a frame's header. Whether it is one, only its checksum can tell.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> FrameHeader {
        FrameHeader {
            checksum: u32_at(bytes, FRAME_CHECKSUM_AT),
            length: u32_at(bytes, LENGTH_AT),
            index: u64_at(bytes, INDEX_AT),
        }
    }

    /// Reads the header at the start of a frame of our own making.
    pub(crate) fn of(frame: &[u8]) -> FrameHeader {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes.copy_from_slice(&frame[..FRAME_HEADER_BYTES]);
        FrameHeader::decode(&bytes)
    }
}

/// The checksum of the frame of `entry`, with the checksum before it.
///
/// The length needs no part in it: another one would be a sum of other bytes. Nor does the index,
/// which is known wherever a frame is read. The sums of several entries do not wait for each other,
/// as they would if each went on from the last.
pub(crate) fn frame_checksum(entry: &[u8], chain: u32) -> u32 {
    chained(crc32fast::hash(entry), chain)
}

/// The checksum of a frame, from the sum of its entry and the checksum before it. For each sum,
/// different checksums before it give different results, since the factor is odd.
pub(crate) fn chained(sum: u32, chain: u32) -> u32 {
    sum ^ chain.wrapping_mul(0x9e37_79b1)
}

/// Writes index and checksum into the header of a frame.
pub(crate) fn seal_frame(header: &mut [u8], index: u64, checksum: u32) {
    put(header, FRAME_CHECKSUM_AT, &checksum.to_le_bytes());
    put(header, INDEX_AT, &index.to_le_bytes());
}

fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    target[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn segment_headers_are_read_as_written(
            owner: [u8; 16], counted in prop::array::uniform3(1..=NUMBER_MAX), salt: u64,
            capacity in 2..1_u64 << 40, written: u64, first_chain: u32, origin: bool, stale: bool,
            entries_before: bool,
        ) {
            let [sequence, first_index, first_batch] = counted;
            let capacity = capacity * BLOCK as u64;
            let header = SegmentHeader {
                owner, sequence, salt, first_index, first_batch, capacity, first_chain, origin,
                stale, entries_before: entries_before && !origin, written,
            };
            let mut block = [0; SEGMENT_HEADER_USED];
            header.encode(&mut block);
            prop_assert_eq!(SegmentHeader::decode(&block), Ok(header));
        }

        #[test]
        fn batch_headers_are_read_with_their_salt_only(
            batch in 0..NUMBER_MAX, first in 1..NUMBER_MAX, count in 1..1000_u32, chain: u32,
            salt: u64, other: u64,
        ) {
            let bytes = BATCH_HEADER_BYTES as u64 + u64::from(count) * 20;
            let kind = BatchKind::Entries;
            let header = BatchHeader { kind, batch, first, bytes, count, chain };
            let (encoded, checksum) = header.encode(salt);
            prop_assert_eq!(BatchHeader::decode(&encoded, salt), Some((header, checksum)));
            if salt != other {
                prop_assert_eq!(BatchHeader::decode(&encoded, other), None);
            }
        }

        #[test]
        fn arbitrary_bytes_are_no_header(block: [[u8; 22]; 4], salt: u64) {
            let mut bytes = [0; SEGMENT_HEADER_USED];
            bytes.copy_from_slice(block.as_flattened());
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
            let mut header = [0; BATCH_HEADER_BYTES];
            header.copy_from_slice(&bytes[..BATCH_HEADER_BYTES]);
            prop_assert_eq!(BatchHeader::decode(&header, salt), None);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let header = SegmentHeader {
            owner: [7; 16],
            sequence: 1,
            salt: 2,
            first_index: 3,
            first_batch: 4,
            capacity: 8192,
            first_chain: 6,
            origin: true,
            stale: false,
            entries_before: false,
            written: 7,
        };
        let mut block = [0; SEGMENT_HEADER_USED];
        header.encode(&mut block);
        for bit in 0..SEGMENT_HEADER_USED * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_made_for_a_batch_has_room_for_it_and_for_truncations() {
        for bytes in (1..4096).chain((4096..BATCH_BYTES_MAX).step_by(999_983)) {
            let capacity = capacity_for(bytes);
            let room = capacity - SEGMENT_HEADER_BYTES - kept_bytes(capacity);
            assert!(padded(bytes) <= room && capacity.is_multiple_of(BLOCK as u64), "{bytes}");
        }
    }

    #[test]
    fn implausible_batch_headers_are_refused() {
        let good = BatchHeader {
            kind: BatchKind::Entries,
            batch: 1,
            first: 1,
            bytes: 56,
            count: 1,
            chain: 0,
        };
        let accepted = |header: BatchHeader| BatchHeader::decode(&header.encode(9).0, 9).is_some();
        assert!(accepted(good));
        assert!(!accepted(BatchHeader { bytes: 55, ..good }));
        assert!(!accepted(BatchHeader { bytes: BATCH_BYTES_MAX + 1, ..good }));
        assert!(!accepted(BatchHeader { count: 0, ..good }));
        assert!(!accepted(BatchHeader { count: 2, ..good }));
        assert!(!accepted(BatchHeader { first: u64::MAX, ..good }));
        assert!(!accepted(BatchHeader { batch: u64::MAX, ..good }));
        assert!(!accepted(BatchHeader { kind: BatchKind::Truncation, ..good }));
    }
}
