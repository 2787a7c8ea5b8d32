//! A member's state on its way to another that lacks what has left the log.
//!
//! ```text
//!  the leader                                    the one that is behind
//!
//!  Machine::export ─► Outgoing ── chunks ─► Incoming ─► Received
//!                        │                                 │ Received::message
//!     Consensus::sent ◄──┘                                 ▼
//!                                       Consensus::step ─► Output::install
//!                                                          │
//!                      Machine::install ─► InstallJob ─► Machine::installed
//!                                                          │
//!                                                 Consensus::installed
//! ```
//!
//! The stream is that of [`revd_mvcc::Export`]; its note is a [`Note`](crate::Note) and so carries
//! the position in the log and the configuration. [`Outgoing`] and [`Incoming`] belong to whoever
//! moves the chunks, on any thread: consensus and the machine go on beside them.
//!
//! What has arrived lies in a file beside the tree, durable and verified, before consensus hears of
//! it. It takes the place of tree and log in three steps, each durable before the next: the file
//! is renamed; the folder is synced; the log is emptied, to go on behind the position. A crash in
//! between leaves an installed tree in front of a log that does not know, which
//! [`recover`](crate::recover) finishes. What is left of an unfinished reception is removed at the
//! next start.

mod incoming;
mod install;
mod outgoing;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use revd_disk::Disk;

pub use incoming::{Incoming, ReceiveError, Received};
pub use install::{InstallJob, Installation, Installed};
pub use outgoing::{Outgoing, Start};

/// Where the tree of a member is, and how it is opened. Clones are the same place.
#[derive(Clone, Debug)]
pub struct TreeFile {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) options: revd_mvcc::Options,
    is_claimed: Arc<AtomicBool>,
}

/// The right to the one file beside the tree, from the first chunk until it is the tree.
#[derive(Debug)]
struct Claim(Arc<AtomicBool>);

impl TreeFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, options: revd_mvcc::Options) -> Self {
        Self { disk, path, options, is_claimed: Arc::default() }
    }

    /// `None` while somebody else has it.
    fn claim(&self) -> Option<Claim> {
        let was_claimed = self.is_claimed.swap(true, Ordering::AcqRel);
        (!was_claimed).then(|| Claim(Arc::clone(&self.is_claimed)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
