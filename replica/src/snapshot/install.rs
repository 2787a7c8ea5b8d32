//! What has arrived takes the place of the tree and the log.

use std::sync::Arc;

use revd_mvcc::{Lease, OpenError, Retired, Store};
use revd_raft::Position;

use super::{Received, TreeFile};
use crate::error::Fatal;
use crate::log_store::LogStore;
use crate::note::Note;

/// Puts a snapshot in place, then opens it, which takes time with the number of keys.
#[derive(Debug)]
pub struct InstallJob {
    pub(crate) received: Received,
    pub(crate) file: TreeFile,
    pub(crate) log: Arc<LogStore>,
}

/// A snapshot in its place, for [`Machine::installed`](crate::Machine::installed).
#[derive(Debug)]
pub struct Installation {
    pub(crate) store: Store,
    pub(crate) note: Note,
}

/// What a machine has become by an installed snapshot.
#[derive(Debug)]
pub struct Installed {
    /// Where it stands in the log, for [`Consensus::installed`](crate::Consensus::installed).
    pub position: Position,
    /// The leases, for [`Lessor::replace`](crate::Lessor::replace).
    pub leases: Vec<(i64, Lease)>,
    /// What is left of the state before; dropping it takes time with the number of keys.
    pub retired: Retired,
}

impl InstallJob {
    /// Renames, empties the log, opens; in this order, each step durable before the next.
    pub(crate) fn run(self) -> Result<Installation, Fatal> {
        let Self { received: Received { imported, note, claim }, file, log } = self;
        imported.install()?;
        drop(claim);
        log.wal().reset(note.applied.index.0 + 1)?;
        let TreeFile { disk, path, options, .. } = file;
        let (store, _) = Store::open(disk, &path, options).map_err(Box::<OpenError>::from)?;
        Ok(Installation { store, note })
    }
}
