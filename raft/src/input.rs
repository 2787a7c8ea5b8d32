//! What goes into the core.

use bytes::Bytes;

use crate::configuration::{Change, Configuration};
use crate::entry::Entry;
use crate::message::Message;
use crate::number::{FetchNumber, Index, NodeId, PersistNumber, Position, ReadId};

/// Everything that can happen to a member. See [`Raft::step`](crate::Raft::step).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A tick of the driver's clock has passed.
    Tick,
    /// Stand for election now. Nothing happens on a leader.
    Campaign,
    /// A message for this member has arrived.
    Message(Message),
    /// Everything in the [`Persist`](crate::Persist) of this number is durable.
    Persisted(PersistNumber),
    /// Entries that a [`Fetch`](crate::Fetch) asked for.
    Fetched(Fetched),
    /// Everything handed out up to here has been applied.
    Applied(Index),
    /// The change of configuration at `index`, the last entry handed out, has been applied and led
    /// to `configuration`. Counts as [`Input::Applied`] too.
    ConfigurationApplied {
        /// Where the entry stands.
        index: Index,
        /// Who belongs to the cluster from now on.
        configuration: Configuration,
    },
    /// The change of configuration at `index`, the last entry handed out, has been refused by the
    /// state machine, on every member alike. Counts as [`Input::Applied`] too.
    ConfigurationRejected {
        /// Where the entry stands.
        index: Index,
    },
    /// Entries up to here, all of them applied, may leave the log from now on: they are not fetched
    /// again. A member that needs them gets a snapshot.
    Checkpointed(Index),
    /// A read wants its read index: the answer is in [`Output::reads`](crate::Output::reads) or in
    /// [`Output::reads_failed`](crate::Output::reads_failed), unless it was handed to a leader that
    /// vanished: the driver tries again after a while, under a new id.
    Read(ReadId),
    /// Propose a normal entry, or hand it to the leader; see
    /// [`Raft::propose`](crate::Raft::propose) for the leader's own way. A proposal that was handed
    /// on may be lost, and is never tried again by this crate.
    Propose(Bytes),
    /// Propose a change of configuration, or hand it to the leader; see
    /// [`Raft::propose_configuration`](crate::Raft::propose_configuration).
    ProposeConfiguration {
        /// What it changes.
        change: Change,
        /// What goes into the log, not empty.
        data: Bytes,
    },
    /// Hand leadership over to this member. Abandoned after an election timeout; how it went is
    /// seen in [`Output::role`](crate::Output::role) and
    /// [`Status::transferring`](crate::Status::transferring).
    Transfer(NodeId),
    /// The connection to this member, the leader, has been lost: its process is gone. Clears the
    /// lease by which this member refuses votes, and stands for election at once.
    LeaderLost(NodeId),
    /// Messages to this member got lost.
    Unreachable(NodeId),
    /// What has become of the snapshot that a [`SnapshotRequest`](crate::SnapshotRequest) asked
    /// for.
    SnapshotReport {
        /// Who was to get it.
        to: NodeId,
        /// How it went.
        outcome: SnapshotOutcome,
    },
    /// The snapshot that an [`Install`](crate::Install) asked for is in place: the state machine
    /// stands at its position, and the durable log is empty and goes on behind it.
    Installed(Position),
    /// That snapshot could not be used; state machine and log are as they were.
    InstallFailed(Position),
}

/// The answer to a [`Fetch`](crate::Fetch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Which one it answers.
    pub number: FetchNumber,
    /// The entries from the first one asked for on, without gap: all of them, or at least one and
    /// about as many bytes as were asked for. None at all means that the first one has left the log
    /// (possible only for entries that [`Input::Checkpointed`] has given up).
    pub entries: Vec<Entry>,
}

/// What has become of a snapshot that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The receiver has got all of it, up to this position.
    Delivered(Position),
    /// It has not, and the driver has given up.
    Failed,
}
