//! The sending side.

use revd_mvcc::{Export, ExportError, SnapshotPosition};
use revd_raft::{NodeId, Position, SnapshotRequest, Term};

/// A snapshot for one member; see [`Machine::export`](crate::Machine::export).
///
/// As long as it lives, compaction removes nothing that it still has to give out. Its end is
/// reported by [`Consensus::sent`](crate::Consensus::sent).
#[derive(Debug)]
#[must_use = "compaction waits for as long as this lives"]
pub struct Outgoing {
    export: Export,
    to: NodeId,
    term: Term,
    position: Position,
    bytes: u64,
    has_begun: bool,
}

impl Outgoing {
    pub(crate) fn new(
        export: Export,
        request: &SnapshotRequest,
        position: Position,
        bytes: u64,
    ) -> Self {
        let SnapshotRequest { to, term, .. } = *request;
        Self { export, to, term, position, bytes, has_begun: false }
    }

    /// Who is to get it.
    pub fn to(&self) -> NodeId {
        self.to
    }

    /// The term of the message that goes with it.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The last entry whose effects it holds.
    pub fn position(&self) -> Position {
        self.position
    }

    /// About how many bytes it has, as the tree counts them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next chunk, with about `budget` bytes; `None` behind the last. Reads the tree.
    ///
    /// # Errors
    /// [`ExportError::Released`] if the machine has gone on to another snapshot itself;
    /// [`ExportError::Fatal`] if the tree cannot be read.
    pub fn next_chunk(&mut self, budget: usize) -> Result<Option<Vec<u8>>, ExportError> {
        self.has_begun = true;
        self.export.next_chunk(budget)
    }

    /// Goes on where the receiver stands, `None` for nowhere, also after a broken connection.
    /// `None` if it cannot: the receiver has lost what this has given out, and needs another
    /// snapshot.
    pub fn resume(&mut self, at: Option<&SnapshotPosition>) -> Option<Start> {
        if at.is_some_and(|at| self.export.resume(at).is_ok()) {
            self.has_begun = true;
            return Some(Start::There);
        }
        (!self.has_begun).then_some(Start::Anew)
    }
}

/// Where the next chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of a reception.
    Anew,
    /// Where the receiver stands.
    There,
}
