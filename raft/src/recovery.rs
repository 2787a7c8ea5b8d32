//! A member whose log was damaged, and may lack what it has acknowledged.
//!
//! An entry may be committed because this member said that it held it. Were it to vote as if it
//! never had, a leader without that entry could be elected. So it keeps out of every decision until
//! it holds everything that may have been committed with its help:
//!
//! 1. It begins a term of its own. Every leader that hears of it is deposed, and no later one knows
//!    any acknowledgement of its.
//! 2. It grants no vote, asks for none, confirms no round, and what it says to hold does not count.
//!    So whoever leads meanwhile was elected, and commits, by quorums without it. Such a quorum
//!    meets every quorum that this member was once part of in somebody else, so it knows everything
//!    that was committed with this member's help.
//! 3. It asks the leader for a read index. That is a commit index that a quorum without it has
//!    confirmed since.
//! 4. Once its log is durably the leader's up to there, it is a member like any other.

use crate::message::Body;
use crate::number::{Index, NUMBER_MAX, NodeId, ReadId};
use crate::output::{HardState, Role};
use crate::planted::Bug;
use crate::raft::Raft;

/// The read by which a member learns how much it must hold. No driver uses this id.
pub(crate) const RECOVERY_READ: ReadId = ReadId(u64::MAX);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    /// Everything up to here must be held, durably; none before a leader has said so.
    confirmed: Option<Index>,
}

impl Raft {
    pub(crate) fn begin_recovery(&mut self) {
        let term = self.hard_state.term;
        if term.0 < NUMBER_MAX && !self.planted(Bug::CountRecovering) {
            self.hard_state = HardState { term: term.next(), vote: None };
        }
        self.recovery = Some(Recovery::default());
    }

    /// Asks the leader, at each heartbeat until it answers: messages get lost.
    pub(crate) fn ask_for_recovery(&mut self, leader: NodeId) {
        if self.recovery.is_some_and(|recovery| recovery.confirmed.is_none()) {
            self.send(leader, Body::Read { ids: vec![RECOVERY_READ] });
        }
    }

    /// A leader of a term since the damage was found has confirmed that it leads, without this
    /// member, and has committed up to `index`.
    pub(crate) fn recovery_confirmed(&mut self, index: Index) {
        if let Some(recovery) = &mut self.recovery {
            recovery.confirmed = Some(index);
            self.recover_if_complete();
        }
    }

    /// Whether this member is whole again.
    pub(crate) fn recover_if_complete(&mut self) {
        let Some(Recovery { confirmed: Some(confirmed) }) = self.recovery else { return };
        let holds = self.log.persisted().min(self.following.accepted);
        if self.role == Role::Follower && self.leader.is_some() && holds >= confirmed {
            self.recovery = None;
            self.following.acknowledge_again();
        }
    }
}
