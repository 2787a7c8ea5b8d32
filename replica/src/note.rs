//! What the tree's checkpoint says about the log: the note.
//!
//! A checkpoint carries the state and this note in one atomic step, so the state can never be
//! newer or older than the index it claims. All numbers are little-endian.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format, 1 |
//! | 1 | 1 | origin: 0 grown from the log, 1 installed from a snapshot |
//! | 2 | 8 | index of the last applied entry |
//! | 10 | 8 | its term |
//! | 18 | 1 | algorithm of the state hash, 0 for none |
//! | 19 | 8 | state hash after that entry |
//! | 27 | 4 | length of the configuration |
//! | 31 | … | configuration, as `revd_raft::Configuration` encodes it |

use revd_raft::{Configuration, Index, Position, Term};

const FORMAT: u8 = 1;
const FIXED: usize = 31;

/// How a tree came to its state; decides what a log that does not reach it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By applying the log. A log that ends below the tree is corruption.
    Grown,
    /// By installing a snapshot, and nothing was applied since: the log may still be the one that
    /// it has replaced, and is then reset.
    Installed,
}

/// The note of one checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// How the tree came to be.
    pub origin: Origin,
    /// The last entry whose effects are in the tree.
    pub applied: Position,
    /// Which function made [`Self::state_hash`]; 0 means that none is kept.
    pub hash_algorithm: u8,
    /// The rolling hash of the state after the last applied entry.
    pub state_hash: u64,
    /// The configuration in force after the last applied entry.
    pub configuration: Configuration,
}

/// Why a note could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Shorter than its own fields say.
    #[error("the note of the tree is cut short at {0} bytes")]
    Short(usize),
    /// Written by a version that this one does not know.
    #[error("the note of the tree has format {0}, and this version knows {FORMAT}")]
    Format(u8),
    /// A field has a value that nothing writes.
    #[error("the note of the tree holds no valid {0}")]
    Invalid(&'static str),
}

impl Note {
    /// The bytes of this note.
    pub fn encode(&self) -> Vec<u8> {
        let configuration = self.configuration.encode();
        let mut bytes = Vec::with_capacity(FIXED + configuration.len());
        bytes.push(FORMAT);
        bytes.push(u8::from(self.origin == Origin::Installed));
        bytes.extend_from_slice(&self.applied.index.0.to_le_bytes());
        bytes.extend_from_slice(&self.applied.term.0.to_le_bytes());
        bytes.push(self.hash_algorithm);
        bytes.extend_from_slice(&self.state_hash.to_le_bytes());
        bytes.extend_from_slice(&(configuration.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&configuration);
        bytes
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] when the bytes are not a note of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let format = *bytes.first().ok_or(NoteError::Short(0))?;
        if format != FORMAT {
            return Err(NoteError::Format(format));
        }
        if bytes.len() < FIXED {
            return Err(NoteError::Short(bytes.len()));
        }
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let origin = match bytes[1] {
            0 => Origin::Grown,
            1 => Origin::Installed,
            _ => return Err(NoteError::Invalid("origin")),
        };
        let length = u32::from_le_bytes(bytes[27..31].try_into().expect("four bytes")) as usize;
        if bytes.len() != FIXED + length {
            return Err(NoteError::Short(bytes.len()));
        }
        let configuration = Configuration::decode(&bytes[FIXED..])
            .map_err(|_| NoteError::Invalid("configuration"))?;
        Ok(Self {
            origin,
            applied: Position { index: Index(number(2)), term: Term(number(10)) },
            hash_algorithm: bytes[18],
            state_hash: number(19),
            configuration,
        })
    }
}
