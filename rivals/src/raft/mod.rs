//! Consensus: three replicas in one process, on one thread, without disk and network.
//!
//! What is to be persisted counts as durable at once, and what is committed is counted where it is
//! applied. Payloads are cut from one buffer, as a server cuts them from what it has received, so
//! whatever is allocated for a proposal is the engine's own doing.

mod floor;
mod openraft;
mod raft_rs;
mod revd_raft;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::Result;
use crate::content::Pool;
use crate::engines::FLOOR;

/// The crate `raft`.
pub(crate) const REVD_RAFT: &str = "revd-raft";
/// The crates that it is measured against.
pub(crate) const RAFT_RS: &str = "raft-rs";
/// See [`RAFT_RS`].
pub(crate) const OPENRAFT: &str = "openraft";

/// All of them, the floor first.
pub(crate) const CLUSTERS: &[ClusterEngine] = &[
    ClusterEngine { name: FLOOR, start: floor::start, elect: None },
    ClusterEngine { name: REVD_RAFT, start: revd_raft::start, elect: Some(revd_raft::elect) },
    ClusterEngine { name: RAFT_RS, start: raft_rs::start, elect: Some(raft_rs::elect) },
    ClusterEngine { name: OPENRAFT, start: openraft::start, elect: Some(openraft::elect) },
];

/// Replicas of a cluster.
const REPLICAS: usize = 3;
/// The entries that a replica keeps in memory; older ones are let go of, as after a checkpoint.
const KEPT: usize = 4096;
/// The clocks, in milliseconds: an election timeout is drawn between one and two of these.
const ELECTION_MILLIS: u32 = 150;
/// A leader sends a heartbeat as often.
const HEARTBEAT_MILLIS: u32 = 50;

/// An implementation of consensus, by name.
pub(crate) struct ClusterEngine {
    /// What the tables and `--only` call it.
    pub name: &'static str,
    /// Starts three replicas, the first of which leads.
    pub start: fn() -> Result<Box<dyn Cluster>>,
    /// Holds two elections among new replicas, in an order of events that the number decides as far
    /// as the engine allows.
    pub elect: Option<fn(u64) -> Result<Elections>>,
}

/// Three replicas.
pub(crate) trait Cluster {
    /// So many times: proposes so many payloads at once, and goes on until the leader has applied
    /// them all.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn pump(&mut self, payloads: &mut Payloads, outstanding: usize, rounds: usize) -> Result<()>;

    /// Goes on until all replicas have applied everything, and tells what was done since the start.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    fn settle(&mut self) -> Result<Tally>;
}

/// What three replicas have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Proposals that each has applied.
    pub applied: [u64; REPLICAS],
    /// Bytes of payloads that were applied anywhere but where they were made: copies.
    pub copied: u64,
    /// Messages from one to another; a call and its answer are two.
    pub messages: u64,
}

impl Tally {
    /// A replica applies a payload.
    fn apply(&mut self, replica: usize, payload: &Bytes, origin: Origin) {
        self.applied[replica] += 1;
        if !origin.holds(payload) {
            self.copied += payload.len() as u64;
        }
    }
}

/// The time in virtual milliseconds, and the messages, until all replicas that are there know the
/// same leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elections {
    /// From the start of all three.
    pub cold: Election,
    /// From the loss of the leader, without a word to the others.
    pub lost: Election,
}

/// See [`Elections`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Election {
    /// Virtual milliseconds.
    pub millis: u64,
    /// Messages that were sent meanwhile.
    pub messages: u64,
}

/// Payloads without end, cut from one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    buffer: Bytes,
    bytes: usize,
    next: usize,
}

/// Bytes of the buffer: few enough to stay in the processor's cache, for every engine alike.
const BUFFER_BYTES: usize = 256 << 10;

impl Payloads {
    /// Payloads of so many bytes.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Payloads {
        let buffer = Bytes::copy_from_slice(Pool::new(BUFFER_BYTES).slice(0, BUFFER_BYTES));
        // The first clone allocates the counter.
        drop(buffer.clone());
        Payloads { buffer, bytes, next: 0 }
    }

    /// The next one.
    fn take(&mut self) -> Bytes {
        let end = self.next + self.bytes;
        let payload = self.buffer.slice(self.next..end);
        self.next = if end + self.bytes <= BUFFER_BYTES { end } else { 0 };
        payload
    }

    /// Where they are made.
    fn origin(&self) -> Origin {
        Origin { start: self.buffer.as_ptr() as usize }
    }
}

/// Where payloads are made.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    start: usize,
}

impl Origin {
    fn holds(self, payload: &Bytes) -> bool {
        (self.start..self.start + BUFFER_BYTES).contains(&(payload.as_ptr() as usize))
    }
}
