//! What members say to each other.
//!
//! The driver carries messages as values and gives them bytes of its own. They may be lost,
//! repeated, delayed and put out of order; a message must reach its receiver unchanged or not at
//! all. [`Body`] is exhaustive on purpose: whoever encodes it must learn of a new kind.

use bytes::Bytes;

use crate::configuration::{Change, Configuration};
use crate::entry::Entry;
use crate::number::{Index, NodeId, Position, ReadId, Term};
use crate::output::ReadReady;

/// One message between two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub from: NodeId,
    /// Who gets it.
    pub to: NodeId,
    /// The sender's current term when it was sent.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me in `campaign`? Binds nobody.
    PreVote {
        /// The term in which the sender would stand: the one behind its own.
        campaign: Term,
        /// Where the sender's log ends.
        last: Position,
        /// How far the sender knows the log to be committed. A receiver that has this very position
        /// in its log knows it too then: it may have become a voter without knowing it, and be the
        /// only one who could win.
        committed: Position,
    },
    /// The answer to [`Body::PreVote`].
    PreVoteAnswer {
        /// The term that was asked about.
        campaign: Term,
        /// Whether the vote would be given.
        granted: bool,
        /// How far the voter knows the log to be committed.
        committed: Position,
    },
    /// Vote for me in the message's term.
    Vote {
        /// Where the sender's log ends.
        last: Position,
        /// How far the sender knows the log to be committed, as in [`Body::PreVote`].
        committed: Position,
        /// The leader asked the sender to stand, so a receiver's lease on that leader is no reason
        /// to refuse.
        transfer: bool,
    },
    /// The answer to [`Body::Vote`], of the message's term.
    VoteAnswer {
        /// Whether the vote is given.
        granted: bool,
        /// How far the voter knows the log to be committed. A candidate that has this very position
        /// in its log knows it too then: it may be all that it lacks to know who votes.
        committed: Position,
    },
    /// Entries of the leader's log. One without any tells how far the leader has committed, and
    /// finds out whether what was sent before has arrived.
    Append {
        /// The entry before `entries`, which the receiver must hold.
        previous: Position,
        /// The entries behind it, none or more.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to [`Body::Append`] and [`Body::Snapshot`] that were accepted.
    Appended {
        /// The receiver holds the leader's log up to here, durably.
        matched: Index,
        /// Whether the leader may count on it. A member that is recovering a damaged log says no:
        /// then the answer only keeps the entries flowing. See
        /// [`Restart::recovering`](crate::Restart::recovering).
        counts: bool,
    },
    /// The answer to an [`Body::Append`] whose `previous` the receiver does not hold.
    AppendRefused {
        /// The index of that `previous`.
        previous: Index,
        /// The last position of the receiver's log that may still match: of at most the refused
        /// index and of at most the refused term.
        hint: Position,
    },
    /// I am the leader.
    Heartbeat {
        /// The leader's commit index, or the last entry that the receiver is known to hold if that
        /// is less.
        commit: Index,
        /// Rises with each round of heartbeats in a term. A read counts only answers to rounds
        /// that began after it arrived.
        round: u64,
    },
    /// The answer to [`Body::Heartbeat`].
    HeartbeatAnswer {
        /// The round that is answered; 0, which counts for no read, from a member that is
        /// recovering and in answer to a leader of an earlier term.
        round: u64,
    },
    /// Reads that a follower hands to the leader.
    Read {
        /// The follower's ids of them.
        ids: Vec<ReadId>,
    },
    /// The answer to [`Body::Read`].
    ReadAnswer {
        /// Each with its read index.
        reads: Vec<ReadReady>,
    },
    /// Proposals that a follower hands to the leader, in order. They may be lost; nobody is told.
    Propose {
        /// One or more.
        proposals: Vec<Proposal>,
    },
    /// Stand for election now: the sender, the leader, wants to hand over to the receiver.
    TimeoutNow,
    /// The receiver's driver has received a snapshot of the state at `position` whole. Sent by the
    /// driver of the leader that was told to ([`SnapshotRequest`](crate::SnapshotRequest)) with the
    /// last piece of the snapshot, never by the core.
    Snapshot {
        /// The last entry that the snapshot contains the effects of.
        position: Position,
        /// The configuration there.
        configuration: Configuration,
    },
}

/// What is to become an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// A normal entry.
    Normal(Bytes),
    /// A change of configuration.
    Configuration {
        /// What it changes, for the leader to check; not kept in the log.
        change: Change,
        /// What is kept in the log, not empty: from it the driver must be able to tell the change.
        data: Bytes,
    },
}
