//! What comes out of the core.

use crate::configuration::Configuration;
use crate::entry::Entry;
use crate::message::Message;
use crate::number::{FetchNumber, Index, NodeId, PersistNumber, Position, ReadId, Term};

/// Everything that is due since the last [`Raft::take`](crate::Raft::take). Its parts may be
/// carried out at the same time and in any order, except where a field says otherwise.
#[must_use = "what is not carried out is never asked for again"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// To be made durable. At most one is outstanding: the next comes once this one has been
    /// answered by [`Input::Persisted`](crate::Input::Persisted).
    pub persist: Option<Persist>,
    /// May be sent at once: what must be durable before it is said has been held back until it
    /// was. Messages to one member should keep their order; nothing breaks if they do not.
    pub messages: Vec<Message>,
    /// To be applied, in order, without waiting for `persist`. Nothing comes behind a
    /// [`Configuration`](crate::EntryKind::Configuration) entry until it has been answered.
    pub committed: Vec<Entry>,
    /// Reads that may be served once their index is applied.
    pub reads: Vec<ReadReady>,
    /// Reads that lost their leader; the driver may ask again.
    pub reads_failed: Vec<ReadId>,
    /// Entries to be read from the log. At most one is outstanding for this member itself, and one
    /// for each member that it sends old entries to.
    pub fetches: Vec<Fetch>,
    /// Members that need a snapshot from this one.
    pub snapshots: Vec<SnapshotRequest>,
    /// A snapshot that has arrived and is to take the place of the state machine and the log.
    pub install: Option<Install>,
    /// Term, role and leader, when one of them has changed.
    pub role: Option<RoleChange>,
}

/// To be made durable, in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// What to answer with.
    pub number: PersistNumber,
    /// First, if present: term and vote, synced before anything behind it is written.
    pub hard_state: Option<HardState>,
    /// Second, if present: entries from here on are cut off the log.
    pub truncate_from: Option<Index>,
    /// Third: entries that go on where the log then ends.
    pub entries: Vec<Entry>,
}

/// What a member must never forget besides its log. The commit index is not part of it: it is
/// learned again, and never falls behind what the state machine has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that this member has seen.
    pub term: Term,
    /// Whom it has voted for in that term.
    pub vote: Option<NodeId>,
}

/// A read that may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// Which one.
    pub id: ReadId,
    /// The state machine must have applied this much first.
    pub index: Index,
}

/// Entries to be read from the durable log, answered by [`Input::Fetched`](crate::Input::Fetched).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// What to answer with.
    pub number: FetchNumber,
    /// The first entry.
    pub first: Index,
    /// The last entry, if all fit.
    pub last: Index,
    /// Stop before more bytes than this, but not before the first entry.
    pub max_bytes: usize,
}

/// A member needs entries that have left the log. The driver sends it a snapshot of the state at
/// whatever position is applied now (at `after` or later), finishes with
/// [`Body::Snapshot`](crate::Body::Snapshot) in a message of this `term`, keeps the log behind that
/// position meanwhile, and reports by [`Input::SnapshotReport`](crate::Input::SnapshotReport).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Who needs it.
    pub to: NodeId,
    /// The term of the message that goes with it.
    pub term: Term,
    /// A snapshot of an earlier index is of no use.
    pub after: Index,
}

/// A snapshot that is to take the place of the state machine and the log, answered by
/// [`Input::Installed`](crate::Input::Installed) or
/// [`Input::InstallFailed`](crate::Input::InstallFailed). Until then nothing is handed out to be
/// applied, and at most a hard state to be persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Who sent it.
    pub from: NodeId,
    /// The last entry that it contains the effects of.
    pub position: Position,
    /// The configuration there.
    pub configuration: Configuration,
}

/// What a member is doing in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes entries from a leader, or waits for one. Learners are followers.
    #[default]
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleChange {
    /// This member's term.
    pub term: Term,
    /// What this member does in it.
    pub role: Role,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
}

impl Output {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.persist.is_none()
            && self.messages.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.reads_failed.is_empty()
            && self.fetches.is_empty()
            && self.snapshots.is_empty()
            && self.install.is_none()
            && self.role.is_none()
    }
}
