//! What comes out: everything that is due, at once.

use crate::number::{FetchNumber, Index};
use crate::output::{Output, Role, RoleChange};
use crate::planted::{Bug, invariant};
use crate::raft::Raft;
use crate::status::Status;

impl Raft {
    /// Everything that is due since the last time. Costs next to nothing when nothing is.
    pub fn take(&mut self) -> Output {
        let mut output = Output::default();
        self.take_into(&mut output);
        output
    }

    /// As [`Raft::take`], into an output that was carried out: what is left in it is dropped, and
    /// its memory is used again. A driver that takes nothing out of the lists but by reference or
    /// by draining them runs without allocations.
    pub fn take_into(&mut self, output: &mut Output) {
        self.reclaim(output);
        self.settle_configuration();
        if self.role == Role::Leader {
            self.begin_reads();
            self.feed_peers();
        } else {
            self.hand_on_reads();
            self.say_what_is_durable();
        }
        self.forward_proposals();
        output.persist = self.take_persist();
        output.install = self.take_install();
        self.take_committed(output);
        self.take_fetch();
        // Most of the time there is nothing to swap, and an empty list has no memory to lose.
        std::mem::swap(&mut output.messages, &mut self.outbox);
        std::mem::swap(&mut output.fetches, &mut self.fetches);
        std::mem::swap(&mut output.snapshots, &mut self.snapshots);
        self.reads.take(&mut output.reads, &mut output.reads_failed);
        output.role = self.take_role();
        self.evict();
        self.assert_order();
    }

    /// Empties an output for its next use.
    fn reclaim(&mut self, output: &mut Output) {
        for message in output.messages.drain(..) {
            self.spare.keep_message(message);
        }
        if let Some(persist) = output.persist.take() {
            self.spare.keep(persist.entries);
        }
        output.committed.clear();
        output.reads.clear();
        output.reads_failed.clear();
        output.fetches.clear();
        output.snapshots.clear();
    }

    fn take_committed(&mut self, output: &mut Output) {
        if self.install.is_some() {
            return;
        }
        let commit =
            if self.planted(Bug::ApplyBeyondCommit) { self.log.last().index } else { self.commit };
        self.handout.take(&self.log, commit, &mut output.committed);
        self.stats.handed_out += output.committed.len() as u64;
    }

    /// What is to be applied next, if it has left the memory.
    fn take_fetch(&mut self) {
        let number = FetchNumber(self.last_fetch.0 + 1);
        if let Some(fetch) = self.handout.fetch(&self.log, self.commit, number) {
            self.last_fetch = number;
            self.stats.fetches += 1;
            self.fetches.push(fetch);
        }
    }

    fn take_role(&mut self) -> Option<RoleChange> {
        let now = RoleChange { term: self.hard_state.term, role: self.role, leader: self.leader };
        let changed = now != self.told;
        self.told = now;
        changed.then_some(now)
    }

    /// Lets go of entries that nobody will ask for soon.
    fn evict(&mut self) {
        // What this leader has not committed is still to be counted when it is.
        let keep = if self.role == Role::Leader { self.commit.next() } else { Index(u64::MAX) };
        self.log.evict(self.config.tail_bytes, keep);
        if self.configuration.is_lone(self.config.id) {
            // There is nobody else to send to.
            self.log.evict(0, self.handout.handed().next().min(keep));
        }
    }

    /// How far each step of an entry's way has come.
    fn assert_order(&self) {
        let Status { applied, handed_out, commit, persisted, last, .. } = self.status();
        invariant!(
            applied <= handed_out && handed_out <= commit && commit <= last.index,
            "applied {applied}, handed out {handed_out}, commit {commit}, log ends at {last}"
        );
        invariant!(persisted <= last.index, "persisted {persisted} of a log that ends at {last}");
        let (term, sent) = (self.hard_state.term, self.persistence.sent().term);
        invariant!(
            sent <= term && last.term <= term,
            "term {term} with {sent} handed out and the log at {last}"
        );
        let own = self.log.term(self.lead.term_begins);
        invariant!(
            self.role != Role::Leader || own == Some(term) || self.lead.term_begins < commit,
            "the leader of {term} holds no entry of its own"
        );
    }
}
