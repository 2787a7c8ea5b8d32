//! The frame of a chunk. All numbers are little-endian.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 8 | `revdsnap` |
//! | 8 | 1 | format, 1 |
//! | 9 | 1 | kind: 0 opening, 1 cells, 2 closing |
//! | 10 | 2 | zeros |
//! | 12 | 4 | length of the payload |
//! | 16 | 8 | name of the snapshot: the hash of the opening's payload |
//! | 24 | 8 | cells in all chunks before |
//! | 32 | 8 | hash of the stream before this chunk |
//! | 40 | | payload |
//! | | 4 | CRC-32C of everything before it |

use super::error::ChunkError;
use super::fold;

const MAGIC: &[u8; 8] = b"revdsnap";
pub(super) const FORMAT: u8 = 1;
/// Bytes at the start of a chunk that tell its length.
pub const SNAPSHOT_HEADER_BYTES: usize = 40;
const CHECKSUM_BYTES: usize = 4;
/// What a chunk may be asked to hold; a single cell may be longer.
pub(super) const BUDGET_MAX: usize = 64 << 20;
/// The longest cell: a value of 64 MiB, a head of 64 KiB, and their numbers.
const PAYLOAD_MAX: usize = (64 << 20) + (64 << 10) + 64;
/// The longest note of the owner: with it the progress of an import still fits into a note of the
/// tree.
pub(super) const NOTE_MAX: usize = 60 << 10;

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first: what the snapshot is.
    Opening,
    /// Cells, at least one.
    Cells,
    /// The last: its count and hash are those of the whole stream.
    Closing,
}

/// Where a chunk stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) id: u64,
    pub(super) cells: u64,
    pub(super) hash: u64,
}

/// A chunk whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) kind: Kind,
    pub(super) before: Stand,
    pub(super) payload: &'a [u8],
}

/// A buffer with room for the header in front of the payload.
pub(super) fn blank(payload: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(SNAPSHOT_HEADER_BYTES + payload + CHECKSUM_BYTES);
    buffer.resize(SNAPSHOT_HEADER_BYTES, 0);
    buffer
}

/// Completes a buffer of [`blank`] to which a payload was appended.
pub(super) fn seal(mut buffer: Vec<u8>, kind: Kind, before: Stand) -> Vec<u8> {
    let payload = buffer.len() - SNAPSHOT_HEADER_BYTES;
    let len = u32::try_from(payload).expect("a payload is at most 65 MiB long");
    buffer[..8].copy_from_slice(MAGIC);
    buffer[8] = FORMAT;
    buffer[9] = kind as u8;
    buffer[12..16].copy_from_slice(&len.to_le_bytes());
    buffer[16..24].copy_from_slice(&before.id.to_le_bytes());
    buffer[24..32].copy_from_slice(&before.cells.to_le_bytes());
    buffer[32..40].copy_from_slice(&before.hash.to_le_bytes());
    let checksum = crc32c::crc32c(&buffer);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer
}

/// The length of a chunk that begins with `header`, for whoever takes chunks from a file or a
/// connection.
///
/// # Errors
/// [`ChunkError`] if these are fewer than [`SNAPSHOT_HEADER_BYTES`], or no chunk begins so.
pub fn snapshot_chunk_len(header: &[u8]) -> Result<usize, ChunkError> {
    if header.len() < SNAPSHOT_HEADER_BYTES {
        let expected = SNAPSHOT_HEADER_BYTES;
        return Err(ChunkError::Length { expected, found: header.len() });
    }
    if header[..8] != *MAGIC {
        return Err(ChunkError::Magic);
    }
    if header[8] != FORMAT {
        return Err(ChunkError::Format { found: header[8], known: FORMAT });
    }
    let len = header[12..16].try_into().map(u32::from_le_bytes).expect("four bytes");
    let payload = usize::try_from(len).unwrap_or(usize::MAX);
    if payload > PAYLOAD_MAX {
        return Err(ChunkError::TooLarge { bytes: payload, limit: PAYLOAD_MAX });
    }
    Ok(SNAPSHOT_HEADER_BYTES + payload + CHECKSUM_BYTES)
}

impl<'a> Chunk<'a> {
    /// Checks the frame of a chunk.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ChunkError> {
        let expected = snapshot_chunk_len(bytes)?;
        if bytes.len() != expected {
            return Err(ChunkError::Length { expected, found: bytes.len() });
        }
        let (sealed, checksum) = bytes.split_at(expected - CHECKSUM_BYTES);
        let found = checksum.try_into().map(u32::from_le_bytes).expect("four bytes");
        let expected = crc32c::crc32c(sealed);
        if found != expected {
            return Err(ChunkError::Checksum { expected, found });
        }
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let before = Stand { id: number(16), cells: number(24), hash: number(32) };
        let malformed = |what| ChunkError::Malformed { cell: before.cells, what };
        let kind = match sealed[9] {
            0 => Kind::Opening,
            1 => Kind::Cells,
            2 => Kind::Closing,
            _ => return Err(malformed("unknown kind of chunk")),
        };
        if sealed[10..12] != [0, 0] {
            return Err(malformed("zeros are missing from the header"));
        }
        Ok(Self { kind, before, payload: &sealed[SNAPSHOT_HEADER_BYTES..] })
    }
}

/// What the first chunk says: revision i64, compaction floor i64, and the owner's note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) revision: i64,
    /// -1 if nothing was ever compacted.
    pub(super) compacted: i64,
    pub(super) note: Vec<u8>,
}

impl Opening {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.revision.to_le_bytes(), self.compacted.to_le_bytes()];
        [&numbers.concat()[..], &self.note].concat()
    }

    /// What is wrong with the payload, if it is no opening.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, &'static str> {
        let short = "the opening is cut short";
        let (revision, rest) = payload.split_first_chunk().ok_or(short)?;
        let (compacted, note) = rest.split_first_chunk().ok_or(short)?;
        let (revision, compacted) = (i64::from_le_bytes(*revision), i64::from_le_bytes(*compacted));
        if revision < 1 || compacted < -1 || compacted > revision {
            return Err("the revisions of the opening contradict each other");
        }
        if note.len() > NOTE_MAX {
            return Err("the note is too long");
        }
        Ok(Self { revision, compacted, note: note.to_vec() })
    }

    /// The name of the snapshot, with which the hash of its stream begins.
    pub(super) fn id(&self) -> u64 {
        fold(0, &self.encode())
    }
}
