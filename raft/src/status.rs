//! What can be asked of a member at any time.

use crate::number::{Index, NodeId, Position, Term};
use crate::output::Role;

/// Where a member stands, at no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This member.
    pub id: NodeId,
    /// Its term.
    pub term: Term,
    /// What it does in it.
    pub role: Role,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
    /// To whom leadership is being handed over.
    pub transferring: Option<NodeId>,
    /// The log was damaged, and this member neither votes nor acknowledges before it has got back
    /// what it may have acknowledged. See [`Restart::recovering`](crate::Restart::recovering).
    pub recovering: bool,
    /// The first entry that the log holds; one past `last` when it holds none.
    pub first: Index,
    /// Where the log ends, durable or not.
    pub last: Position,
    /// The log is durable up to here.
    pub persisted: Index,
    /// What is known to be committed.
    pub commit: Index,
    /// What has been handed out to be applied.
    pub handed_out: Index,
    /// What has been applied.
    pub applied: Index,
    /// The snapshot that is being installed, or waits until nothing that it replaces is under way.
    pub installing: Option<Position>,
    /// Bytes of this leader's proposals that are not committed yet.
    pub uncommitted_bytes: usize,
    /// Bytes of entries in memory.
    pub memory_bytes: usize,
    /// Reads that wait for their read index.
    pub reads_waiting: usize,
}

/// What a leader knows of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Which member.
    pub id: NodeId,
    /// It holds the leader's log up to here, durably.
    pub matched: Index,
    /// The next entry to send to it.
    pub next: Index,
    /// How it is being fed.
    pub feed: Feed,
    /// Whether it has been heard of within the last election timeout.
    pub active: bool,
}

/// How a leader feeds a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Feed {
    /// One append a heartbeat, until it is known where the logs agree.
    #[default]
    Probe,
    /// Appends are sent ahead of their answers.
    Replicate,
    /// Nothing is sent while a snapshot is under way.
    Snapshot,
}

/// Plain counters since the start of the member, for whoever publishes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries that this member made as a leader.
    pub proposed: u64,
    /// Proposals that it refused or had to drop.
    pub proposals_refused: u64,
    /// Entries handed out to be applied.
    pub handed_out: u64,
    /// Persists handed out.
    pub persists: u64,
    /// Fetches handed out.
    pub fetches: u64,
    /// Elections that it stood for.
    pub campaigns: u64,
    /// Elections that it won.
    pub elections_won: u64,
    /// Reads given their read index.
    pub reads: u64,
    /// Messages that it had no use for: stale, from strangers, or of a kind it cannot serve.
    pub messages_ignored: u64,
}
