//! The rules of a cluster of one: standing for election, leading, and what is committed.
//!
//! A lone voter is a majority. It wins its election as soon as its vote is durable (section 5.2: a
//! vote that could be forgotten could be given twice), and an entry of its term is committed as
//! soon as it is durable. It keeps to the rule that older entries are committed only by one of its
//! own term behind them (section 5.4.2).

use bytes::Bytes;

use crate::entry::{Entry, EntryKind};
use crate::error::Refused;
use crate::number::{NUMBER_MAX, NodeId, Position, ReadId};
use crate::output::{HardState, Role};
use crate::raft::Raft;

impl Raft {
    /// One tick of the election clock. A leader without followers has nothing to do in time, and a
    /// candidate waits for its own disk alone: standing again would not hurry it.
    pub(crate) fn tick(&mut self) -> Result<(), Refused> {
        if self.role != Role::Follower || !self.configuration.is_voter(self.config.id) {
            return Ok(());
        }
        self.elapsed += 1;
        if self.elapsed < self.timeout {
            return Ok(());
        }
        self.set_election_clock();
        self.campaign()
    }

    /// Sets the clock back, to ring within one to two election timeouts (section 5.2).
    pub(crate) fn set_election_clock(&mut self) {
        let ticks = self.config.election_ticks;
        self.elapsed = 0;
        self.timeout = ticks.saturating_add(self.chance.below(ticks));
    }

    /// Stands for election, now or as soon as the changes of configuration that are known to be
    /// committed have been applied: before, this member would count by the wrong configuration.
    pub(crate) fn campaign(&mut self) -> Result<(), Refused> {
        if self.role != Role::Follower {
            return Ok(());
        }
        if !self.configuration.is_voter(self.config.id) {
            return Err(Refused::NotVoter { node: self.config.id });
        }
        if self.log.configurations().front().is_some_and(|&index| index <= self.commit) {
            self.campaign_due = true;
            return Ok(());
        }
        let term = self.hard_state.term;
        if term.0 >= NUMBER_MAX {
            return Err(Refused::TermsExhausted { term });
        }
        self.campaign_due = false;
        self.hard_state = HardState { term: term.next(), vote: Some(self.config.id) };
        self.role = Role::Candidate;
        self.stats.campaigns += 1;
        Ok(())
    }

    /// Stands for election if that was put off.
    pub(crate) fn campaign_if_due(&mut self) {
        if self.campaign_due {
            // A refusal is none of the caller's business: what it reported has been taken.
            let _ = self.campaign();
        }
    }

    /// `durable` is on disk. A candidate whose vote for itself it is has won.
    pub(crate) fn vote_persisted(&mut self, durable: HardState) {
        if self.role != Role::Candidate || durable != self.hard_state {
            return;
        }
        self.role = Role::Leader;
        self.leader = Some(self.config.id);
        self.stats.elections_won += 1;
        let first = self.log.append(self.hard_state.term, EntryKind::Empty, Bytes::new());
        self.term_begins = first.index;
    }

    /// Appends an entry to the leader's log.
    pub(crate) fn append(&mut self, kind: EntryKind, data: Bytes) -> Result<Position, Refused> {
        self.check_leader()?;
        let (bytes, limit) = (Entry::OVERHEAD + data.len(), self.config.max_uncommitted_bytes);
        let uncommitted = self.uncommitted_bytes;
        if uncommitted > 0 && bytes > limit.saturating_sub(uncommitted) {
            self.stats.proposals_refused += 1;
            return Err(Refused::Full { uncommitted, bytes, limit });
        }
        self.uncommitted_bytes += bytes;
        self.stats.proposed += 1;
        Ok(self.log.append(self.hard_state.term, kind, data))
    }

    /// Commits what is durable, if that includes an entry of this leader's term.
    pub(crate) fn commit_persisted(&mut self) {
        let durable = self.log.persisted();
        if self.role != Role::Leader || durable < self.term_begins || durable <= self.commit {
            return;
        }
        // The leader's first entry counts for nothing, and all behind it are in memory until they
        // are committed.
        let from = self.commit.next().max(self.term_begins.next());
        let count = usize::try_from(durable.next().0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        let entries = self.log.in_memory(from).expect("uncommitted proposals are in memory");
        let bytes: usize = entries.take(count).map(Entry::bytes).sum();
        self.uncommitted_bytes -= bytes;
        self.commit = durable;
        self.stats.reads += self.reads.answer_waiting(self.commit);
    }

    /// A read asks for its read index.
    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NoLeader);
        }
        if self.reads.held() >= self.config.max_reads {
            return Err(Refused::TooManyReads { waiting: self.reads.held() });
        }
        if self.commit < self.term_begins {
            self.reads.wait(id);
        } else {
            self.stats.reads += 1;
            self.reads.answer(id, self.commit);
        }
        Ok(())
    }

    /// Hands leadership over: there is nobody but this member itself, which has it.
    pub(crate) fn transfer(&mut self, to: NodeId) -> Result<(), Refused> {
        self.check_leader()?;
        if to == self.config.id { Ok(()) } else { Err(Refused::NotVoter { node: to }) }
    }
}
