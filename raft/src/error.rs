//! What can go wrong, by operation.

use thiserror::Error;

use crate::number::{FetchNumber, Index, NodeId, PersistNumber, Position, Term};

/// Settings that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Ids of members start at 1.
    #[error("member id is 0")]
    NoId,
    /// A setting that must not be zero is.
    #[error("{setting} is 0")]
    Zero {
        /// The name of the field.
        setting: &'static str,
    },
    /// An election must outlast several heartbeats, or a healthy leader is deposed.
    #[error("election_ticks {election} is less than twice heartbeat_ticks {heartbeat}")]
    ElectionTooShort {
        /// `election_ticks` as given.
        election: u32,
        /// `heartbeat_ticks` as given.
        heartbeat: u32,
    },
}

/// Why a member cannot start from what it found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot work.
    #[error("settings of the member cannot work")]
    Config(#[from] ConfigError),
    /// The log has a gap or an overlap.
    #[error("log goes on at {found}, expected index {expected}")]
    OutOfOrder {
        /// The index that had to come.
        expected: Index,
        /// What came.
        found: Position,
    },
    /// Terms never fall along a log.
    #[error("log entry {found} follows one of term {previous}")]
    TermFell {
        /// The term before.
        previous: Term,
        /// What came.
        found: Position,
    },
    /// Terms are made durable before the entries made in them.
    #[error("log reaches {found}, but the durable term is {term}")]
    AheadOfTerm {
        /// The last position of the log, or the applied one.
        found: Position,
        /// The durable term.
        term: Term,
    },
    /// The log ends before what the state machine has applied, or contradicts it.
    #[error("log disagrees with the applied position {applied}, it has {found:?} there")]
    BehindApplied {
        /// What the state machine has applied.
        applied: Position,
        /// What the log has at that index.
        found: Option<Term>,
    },
    /// An index or term beyond all reason.
    #[error("number {0} is out of range")]
    OutOfRange(u64),
}

/// Why an input was not taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Only the leader does this.
    #[error("this member is not the leader, which is {leader:?}")]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// Nobody to hand it to: try again once [`Output::role`](crate::Output::role) names a leader.
    #[error("no leader is known")]
    NoLeader,
    /// Leadership is being handed over; proposals wait until that is done or has failed.
    #[error("leadership is being transferred to {to}")]
    Transferring {
        /// Who takes over.
        to: NodeId,
    },
    /// The log holds too much that is not committed yet.
    #[error("{uncommitted} bytes wait to be committed, {bytes} more exceed the limit of {limit}")]
    Full {
        /// Bytes that wait.
        uncommitted: usize,
        /// What the refused proposal counts for.
        bytes: usize,
        /// The bound, from the settings.
        limit: usize,
    },
    /// Too many reads wait for their read index.
    #[error("{waiting} reads wait for their index, which is the limit")]
    TooManyReads {
        /// Reads that wait.
        waiting: usize,
    },
    /// One change of configuration at a time.
    #[error("the change of configuration at or before index {index} is not applied yet")]
    ConfigurationPending {
        /// Everything up to here must be applied first.
        index: Index,
    },
    /// The change does not fit the configuration.
    #[error("change does not fit the configuration")]
    Change(#[from] ChangeError),
    /// A change must leave something in the log: an entry without data is a leader's own order to
    /// leave a joint configuration.
    #[error("change of configuration has no data for the log")]
    ChangeWithoutData,
    /// A learner that is not caught up with the log must not be promoted.
    #[error("learner {node} holds the log up to {matched}, the leader up to {last}")]
    NotCaughtUp {
        /// The learner.
        node: NodeId,
        /// The last entry that it is known to hold.
        matched: Index,
        /// The leader's last entry.
        last: Index,
    },
    /// The log of this member was damaged: it takes no part in elections before it has got back
    /// what it may have acknowledged.
    #[error("this member's log is not recovered yet")]
    Recovering,
    /// Only a voter of the configuration stands for election or takes over leadership.
    #[error("member {node} is not a voter")]
    NotVoter {
        /// Who is meant.
        node: NodeId,
    },
    /// A message for another member, or from this one to itself.
    #[error("message from {from} to {to} reached another member")]
    Misdirected {
        /// Its sender.
        from: NodeId,
        /// Its receiver.
        to: NodeId,
    },
    /// A message with an index, term or list that cannot be.
    #[error("message from {from} is malformed: {what}")]
    Malformed {
        /// Its sender.
        from: NodeId,
        /// What is wrong.
        what: &'static str,
    },
    /// The driver reported a persist that is not outstanding.
    #[error("persist {found} is reported, outstanding is {outstanding:?}")]
    NotPersisting {
        /// What is outstanding.
        outstanding: Option<PersistNumber>,
        /// What was reported.
        found: PersistNumber,
    },
    /// The driver answered a fetch that was never asked for.
    #[error("fetch {found} is answered, but was never asked for")]
    NotFetching {
        /// What was answered.
        found: FetchNumber,
    },
    /// The driver answered a fetch with other entries than those asked for.
    #[error("fetch {number} brought {found:?} where index {expected} belongs")]
    WrongEntries {
        /// The fetch.
        number: FetchNumber,
        /// The index that was expected.
        expected: Index,
        /// What came in its place; nothing when too few came.
        found: Option<Position>,
    },
    /// The driver reported as applied what was not handed out, or passed by a change of
    /// configuration that has not been answered, or went back.
    #[error("index {found} is reported applied, which must be within {from} and {to}")]
    NotHandedOut {
        /// What was reported.
        found: Index,
        /// The least that fits.
        from: Index,
        /// The most that fits.
        to: Index,
    },
    /// The driver answered a change of configuration that was not the one handed out.
    #[error("change of configuration at {found} is answered, waiting is {waiting:?}")]
    NotChanging {
        /// What waits for its answer.
        waiting: Option<Index>,
        /// What was answered.
        found: Index,
    },
    /// The driver reported as gone from the log what is not applied yet.
    #[error("log is released up to {found}, but applied only up to {applied}")]
    ReleasedTooMuch {
        /// What was reported.
        found: Index,
        /// The last entry that is applied.
        applied: Index,
    },
    /// The driver reported a snapshot that it was not told to install or to send.
    #[error("snapshot at {found} is reported, outstanding is {outstanding:?}")]
    NotInstalling {
        /// What is outstanding.
        outstanding: Option<Position>,
        /// What was reported.
        found: Position,
    },
    /// Terms have run out (a damaged or hostile peer pushed them to the end).
    #[error("term {term} is the last")]
    TermsExhausted {
        /// The current term.
        term: Term,
    },
}

/// Why a change does not fit a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A member that is there already, or named twice.
    #[error("member {node} is there already")]
    Repeated {
        /// The member.
        node: NodeId,
    },
    /// A member that is not there.
    #[error("member {node} is not there")]
    NoMember {
        /// The member.
        node: NodeId,
    },
    /// A demoted member that is not a voter on its way out.
    #[error("member {node} is not a voter on its way out")]
    NotDemoted {
        /// The member.
        node: NodeId,
    },
    /// Nobody would be left to vote.
    #[error("no voter would be left")]
    NoVoter,
    /// The configuration is joint: it must be left first.
    #[error("a joint configuration must be left first")]
    Joint,
    /// The configuration is not joint.
    #[error("the configuration is not joint")]
    NotJoint,
}

/// Why bytes are not a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("configuration needs {needed} more bytes, {left} are left")]
    Short {
        /// Bytes needed next.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// Bytes behind the end.
    #[error("configuration is followed by {bytes} bytes")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Written by another version.
    #[error("configuration is of version {found}, expected {expected}")]
    Version {
        /// What this version writes.
        expected: u8,
        /// What was found.
        found: u8,
    },
    /// A flag that this version does not know.
    #[error("configuration has unknown flags {found:#04x}")]
    Flags {
        /// All flags found.
        found: u8,
    },
    /// The lists contradict each other.
    #[error("configuration contradicts itself")]
    Invalid(#[from] ChangeError),
}
