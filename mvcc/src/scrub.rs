//! Reading everything again in the background, to find what has rotted.

use revd_btree::{ScrubAt, Scrubbed};

use crate::error::Fatal;
use crate::view::View;

/// A bounded step of a scrub, to be run on any thread: reads a part of the store again from the
/// medium and compares it with its checksums, long values included.
#[derive(Debug)]
#[must_use = "nothing is read until the job is run"]
pub struct ScrubJob {
    view: View,
    at: ScrubAt,
    max_bytes: u64,
}

impl ScrubJob {
    /// The step from `at` on, which reads about `max_bytes`.
    pub fn new(view: View, at: ScrubAt, max_bytes: u64) -> Self {
        Self { view, at, max_bytes }
    }

    /// Reads. The answer says where the next step begins.
    ///
    /// # Errors
    /// [`Fatal`], and the store must not be used any more. If [`Fatal::is_damage`], it is a
    /// [`revd_btree::Error::Corrupt`] that names file, offset and structure.
    pub fn run(self) -> Result<Scrubbed, Fatal> {
        Ok(self.view.pin().scrub(self.at, self.max_bytes)?)
    }
}
