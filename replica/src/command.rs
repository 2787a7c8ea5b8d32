//! What a client can ask of the replicated state, and what comes back.
//!
//! A [`Command`] is complete before it is proposed: whatever depends on a flag, a clock or chance
//! (the id of a lease that the server chooses, a raised TTL, the hash of a password) has been
//! resolved at the door, so that applying it gives the same result on every member.

use revd_mvcc as mvcc;
use revd_raft::{Change, ChangeStep, NodeId};

use crate::members::Member;

/// The number of one request, unique in the life of a cluster; answers are matched by it.
///
/// 0 means that nobody waits for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One change of the replicated state.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write one key.
    Put(mvcc::Put),
    /// Delete a key or a range of keys.
    DeleteRange(mvcc::DeleteRange),
    /// A transaction with at least one operation that is no plain range.
    Txn(mvcc::Txn),
    /// Give up the history below a revision.
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
        /// Whether the caller waits for the room to be given back; no part of the effect.
        physical: bool,
    },
    /// Create a lease.
    LeaseGrant {
        /// Its number, chosen by the client or at the door; never 0.
        id: i64,
        /// Seconds to live, already raised to the minimum.
        ttl: i64,
    },
    /// Remove a lease and its keys at a client's wish.
    LeaseRevoke {
        /// The lease.
        id: i64,
    },
    /// Remove a lease that has run out. Does nothing unless it is applied in the term of the
    /// leader that found it so: a deposed leader's clock must not end anybody's lease.
    LeaseExpire {
        /// The lease.
        id: i64,
        /// The term of the leader whose clock ran out.
        term: u64,
    },
    /// Note how long leases had left, for the next leader. Does nothing unless it is applied in
    /// the term of the leader that says so.
    LeaseCheckpoint {
        /// Leases with the seconds that they had left; 0 for all that was granted.
        remaining: Vec<(i64, i64)>,
        /// The term of the leader.
        term: u64,
    },
    /// Ask for, raise or clear alarms.
    Alarm {
        /// What to do.
        action: AlarmAction,
        /// The member that the alarm is about.
        member: u64,
        /// Which alarm.
        alarm: AlarmType,
    },
    /// A member's name and the URLs at which it serves clients.
    Attributes {
        /// The member.
        member: u64,
        /// Its name.
        name: String,
        /// Its client URLs.
        client_urls: Vec<String>,
    },
    /// The lowest version that all members speak.
    ClusterVersion(String),
    /// Other peer URLs for a member. Who votes stays as it is.
    MemberUpdate {
        /// The member.
        member: u64,
        /// Where its peers reach it from now on.
        peer_urls: Vec<String>,
    },
    /// A change of who belongs to the cluster, or of who votes in it. It travels as an entry of
    /// its own kind, and consensus counts by it once it is applied.
    Membership(Membership),
}

/// A change of who belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The first members, all of them voters: the first entry of every log, never proposed.
    Found(Vec<Member>),
    /// A new member, as voter or as learner.
    Add(Member),
    /// A member goes, and its id is never used again.
    Remove(u64),
    /// A learner votes from now on.
    Promote(u64),
    /// This member is the only one from now on; never proposed (see [`crate::survivor`]). What it
    /// says of itself counts only if it was unknown.
    Survive(Member),
}

impl Membership {
    /// The change as consensus counts it.
    pub fn change(&self) -> Change {
        Change::Simple(match self {
            Self::Found(members) => {
                let steps = members.iter().map(|member| ChangeStep::AddVoter(NodeId(member.id)));
                return Change::Joint { steps: steps.collect(), leaves_by_itself: true };
            }
            // Consensus has no say in it.
            Self::Survive(_) => return Change::Keep,
            Self::Add(member) if member.is_learner => ChangeStep::AddLearner(NodeId(member.id)),
            Self::Add(member) => ChangeStep::AddVoter(NodeId(member.id)),
            Self::Remove(id) => ChangeStep::Remove(NodeId(*id)),
            Self::Promote(id) => ChangeStep::AddVoter(NodeId(*id)),
        })
    }
}

/// What an alarm request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// List the standing alarms of a type.
    Get,
    /// Raise one.
    Activate,
    /// Clear one.
    Deactivate,
}

/// The kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmType {
    /// All of them, in a request for a list; never stands.
    None,
    /// A member's quota or disk is exhausted.
    NoSpace,
    /// A member's data differs from its peers'.
    Corrupt,
}

impl AlarmType {
    /// The number of this alarm in the interface and in the tree.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::NoSpace => 1,
            Self::Corrupt => 2,
        }
    }

    /// The alarm with this number.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::NoSpace),
            2 => Some(Self::Corrupt),
            _ => None,
        }
    }
}

/// A standing alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member that it is about.
    pub member: u64,
    /// What is wrong there.
    pub alarm: AlarmType,
}

/// The result of a command that was carried out.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of [`Command::Put`].
    Put(mvcc::PutDone),
    /// Of [`Command::DeleteRange`].
    Deleted(mvcc::Deleted),
    /// Of [`Command::Txn`].
    Txn(mvcc::TxnDone),
    /// Of [`Command::Compact`]: reads below that revision fail from now on.
    Compacted,
    /// Of [`Command::LeaseGrant`].
    Granted {
        /// The lease.
        id: i64,
        /// Its seconds to live.
        ttl: i64,
    },
    /// Of [`Command::LeaseRevoke`] and [`Command::LeaseExpire`].
    Revoked,
    /// Of [`Command::Alarm`]: the alarms that were found, raised or cleared.
    Alarms(Vec<Alarm>),
    /// Of the commands that have no result of their own.
    Done,
}

/// An answer, with what the header of a response says about the moment of applying.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The result.
    pub answer: Answer,
    /// The current revision after the command.
    pub revision: i64,
    /// The term of the entry that carried it.
    pub term: u64,
}

/// Why a command changed nothing. A closed list, the same on every member: what is local (a
/// clock, a full disk, a flag) never decides here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The key space refused.
    #[error("{0}")]
    KeySpace(#[from] mvcc::Rejected),
    /// A NOSPACE alarm stands, and the command would need room.
    #[error("a NOSPACE alarm stands")]
    NoSpace,
    /// A CORRUPT alarm stands.
    #[error("a CORRUPT alarm stands")]
    Corrupt,
    /// The command names a member that does not exist, or an id that was removed.
    #[error("the member is not part of the cluster")]
    MemberNotFound,
    /// A member with this id is there already.
    #[error("a member with this id is part of the cluster already")]
    MemberExists,
    /// Another member has one of these peer URLs.
    #[error("another member has one of these peer URLs")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("the member is no learner")]
    NotLearner,
    /// Nobody would be left to vote.
    #[error("the last voter cannot be removed")]
    LastVoter,
}

impl Rejected {
    /// A number, not 0, that never changes; those of the key space are its own, below 128.
    pub const fn number(self) -> u8 {
        match self {
            Self::KeySpace(rejected) => rejected.number(),
            Self::NoSpace => 128,
            Self::Corrupt => 129,
            Self::MemberNotFound => 130,
            Self::MemberExists => 131,
            Self::PeerUrlExists => 132,
            Self::NotLearner => 133,
            Self::LastVoter => 134,
        }
    }
}
