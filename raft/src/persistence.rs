//! What is durable, and what may be said because of it.
//!
//! One persist is under way at a time, while everything else goes on. Three things must not be said
//! before the disk has answered, and are held back here until it has:
//!
//! | said | durable before |
//! | --- | --- |
//! | a vote for another, and the wish for votes | term and vote: forgotten, they could be given twice |
//! | "I hold your log up to here" | the term, and the entries |
//! | a leader's own share in a commit | the entries |
//!
//! Everything else binds nobody. In particular the answer to a heartbeat may come before the term
//! is durable: it says that no later leader had this member's vote yet, and a vote is never given
//! before *its* term is durable.

use crate::error::Refused;
use crate::number::{Index, PersistNumber};
use crate::output::{HardState, Persist, Role};
use crate::planted::Bug;
use crate::raft::Raft;

#[derive(Clone, Debug)]
pub(crate) struct Persistence {
    outstanding: Option<Outstanding>,
    /// The term and vote that were last handed out to be persisted.
    sent: HardState,
    /// The term and vote on disk.
    durable: HardState,
    last: PersistNumber,
}

/// What will be durable once the persist of this number is.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    number: PersistNumber,
    hard_state: HardState,
    /// The last of its entries that is still in the log; none if it changes no entries.
    last: Option<Index>,
}

impl Persistence {
    pub(crate) fn new(durable: HardState) -> Persistence {
        Persistence { outstanding: None, sent: durable, durable, last: PersistNumber(0) }
    }

    /// The term and vote on disk.
    pub(crate) fn durable(&self) -> HardState {
        self.durable
    }

    /// The term and vote that were last handed out.
    pub(crate) fn sent(&self) -> HardState {
        self.sent
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.is_none()
    }

    /// Entries from `from` on have been cut off the log: their becoming durable is no news of what
    /// takes their place.
    pub(crate) fn truncated(&mut self, from: Index) {
        if let Some(Outstanding { last: Some(last), .. }) = &mut self.outstanding {
            *last = (*last).min(from.previous());
        }
    }
}

impl Raft {
    pub(crate) fn take_persist(&mut self) -> Option<Persist> {
        let changed = self.hard_state != self.persistence.sent;
        let forgets = changed && self.hard_state.vote.is_none() && self.planted(Bug::ForgetTerm);
        if forgets {
            self.persistence.sent = self.hard_state;
            self.persistence.durable = self.hard_state;
        }
        let hard_state = (changed && !forgets).then_some(self.hard_state);
        // The log will be another one when the snapshot is in place.
        let entries_due = self.log.has_unsent() && self.install.is_none();
        if !self.persistence.is_idle() || (hard_state.is_none() && !entries_due) {
            return None;
        }
        let (truncate_from, entries) = if entries_due {
            let spare = &mut self.spare;
            self.log.take_unsent(|count| spare.list(count))
        } else {
            (None, Vec::new())
        };
        self.persistence.last.0 += 1;
        self.persistence.sent = self.hard_state;
        let number = self.persistence.last;
        self.persistence.outstanding = Some(Outstanding {
            number,
            hard_state: self.hard_state,
            last: entries.last().map(|entry| entry.index),
        });
        self.stats.persists += 1;
        Some(Persist { number, hard_state, truncate_from, entries })
    }

    pub(crate) fn persisted(&mut self, number: PersistNumber) -> Result<(), Refused> {
        let outstanding = &mut self.persistence.outstanding;
        let done = outstanding.take_if(|outstanding| outstanding.number == number).ok_or(
            Refused::NotPersisting {
                outstanding: outstanding.map(|outstanding| outstanding.number),
                found: number,
            },
        )?;
        self.persistence.durable = done.hard_state;
        if let Some(last) = done.last {
            self.log.persisted_to(last);
        }
        match self.role {
            Role::Leader => self.advance_commit(),
            Role::Candidate => self.ask_for_votes(),
            Role::Follower | Role::PreCandidate => {}
        }
        Ok(())
    }

    /// Whether the current term and vote are durable.
    pub(crate) fn vote_is_durable(&self) -> bool {
        self.persistence.durable == self.hard_state || self.planted(Bug::VoteBeforeDurable)
    }

    /// Says what could not be said before it was durable.
    pub(crate) fn say_what_is_durable(&mut self) {
        if self.following.vote_answer_due && self.vote_is_durable() {
            self.following.vote_answer_due = false;
            if let Some(candidate) = self.hard_state.vote {
                self.answer_vote(candidate, true);
            }
        }
        if self.role == Role::Follower && self.persistence.durable.term == self.hard_state.term {
            self.acknowledge();
        }
        if self.role == Role::Candidate && self.planted(Bug::VoteBeforeDurable) {
            self.ask_for_votes();
        }
    }
}
