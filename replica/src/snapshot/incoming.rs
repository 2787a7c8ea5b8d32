//! The receiving side.

use revd_mvcc::{Import, ImportError, Imported, SnapshotPosition};
use revd_raft::{Body, Message, NodeId, Position, Term};

use super::{Claim, TreeFile};
use crate::note::{Note, NoteError, Origin};

/// Why a snapshot could not be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Another is being received, or waits to be installed.
    #[error("another snapshot is being received or installed")]
    Busy,
    /// The stream or the file that takes it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The stream is whole, but does not say where it stands in the log.
    #[error("the snapshot does not say where it stands in the log: {0}")]
    Note(#[from] NoteError),
}

/// A snapshot on its way in, written to a file beside the tree. Its calls block for as long as the
/// disk takes.
#[derive(Debug)]
pub struct Incoming {
    import: Import,
    claim: Claim,
}

impl Incoming {
    /// Begins anew, whatever an earlier reception has left.
    ///
    /// # Errors
    /// [`ReceiveError::Busy`] while there is another, or what came of it; that of the disk if the
    /// file cannot be made.
    pub fn begin(file: &TreeFile) -> Result<Self, ReceiveError> {
        let claim = file.claim().ok_or(ReceiveError::Busy)?;
        let TreeFile { disk, path, options, .. } = file.clone();
        Import::clear(&*disk, &path)?;
        Ok(Self { import: Import::begin(disk, &path, options)?, claim })
    }

    /// Removes what a reception has left that nobody goes on with.
    ///
    /// # Errors
    /// As [`Incoming::begin`].
    pub fn clear(file: &TreeFile) -> Result<(), ReceiveError> {
        let _claim = file.claim().ok_or(ReceiveError::Busy)?;
        Ok(Import::clear(&*file.disk, &file.path)?)
    }

    /// Where the sender can go on; `None` if it has to begin anew.
    pub fn position(&self) -> Option<SnapshotPosition> {
        self.import.position()
    }

    /// Takes the next chunk, which has to continue what is there.
    ///
    /// # Errors
    /// [`ImportError::Chunk`]: nothing was taken, and the right chunk may follow. Any other: this
    /// reception is over.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ImportError> {
        self.import.push(chunk)
    }

    /// Whether the last chunk has arrived.
    pub fn is_complete(&self) -> bool {
        self.import.is_complete()
    }

    /// Makes it durable, still beside the tree.
    ///
    /// # Errors
    /// [`ReceiveError`]; also when the last chunk has not arrived.
    pub fn finish(self) -> Result<Received, ReceiveError> {
        let note = Note::decode(self.import.note().unwrap_or_default())?;
        let note = Note { origin: Origin::Installed, ..note };
        let imported = self.import.finish(&note.encode())?;
        Ok(Received { imported, note, claim: self.claim })
    }
}

/// A snapshot that is whole and durable, and not yet in its place.
#[derive(Debug)]
#[must_use = "the snapshot is not in its place yet"]
pub struct Received {
    pub(super) imported: Imported,
    pub(super) note: Note,
    pub(super) claim: Claim,
}

impl Received {
    /// The last entry whose effects it holds.
    pub fn position(&self) -> Position {
        self.note.applied
    }

    /// What consensus has to hear: in the name of `from`, who sent the snapshot in `term`.
    pub fn message(&self, from: NodeId, to: NodeId, term: Term) -> Message {
        let (position, configuration) = (self.note.applied, self.note.configuration.clone());
        Message { from, to, term, body: Body::Snapshot { position, configuration } }
    }
}
