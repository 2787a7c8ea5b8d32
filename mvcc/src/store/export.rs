//! Snapshots out of a store.

use super::Store;
use crate::error::Fatal;
use crate::snapshot::{Export, ExportError};

impl Store {
    /// Publishes, and gives out that state as a snapshot, with a note of at most 60 KiB that says
    /// where in the owner's log it stands. Costs little: the chunks are read by whoever asks for
    /// them.
    ///
    /// While the export lives, compaction raises the floor as ever but removes nothing above the
    /// export's. At most 16 exports live at once.
    ///
    /// A snapshot is known by its revision, its floor and its note: give different notes to states
    /// that differ, and the same note to replicas of the same state.
    ///
    /// # Errors
    /// [`ExportError::TooMany`]; [`ExportError::NoteTooLong`]; [`ExportError::Fatal`] if the store
    /// has failed before.
    pub fn export(&mut self, note: &[u8]) -> Result<Export, ExportError> {
        if self.is_poisoned {
            return Err(Fatal::Poisoned.into());
        }
        self.publish();
        Export::begin(self.view.clone(), &self.floors, note)
    }

    /// Exports that hold a compaction floor.
    #[must_use]
    pub fn exports(&self) -> usize {
        self.floors.count()
    }

    /// Gives up all exports, so that compaction can go on: their next chunk is
    /// [`ExportError::Released`].
    pub fn release_exports(&self) {
        self.floors.release();
    }
}
