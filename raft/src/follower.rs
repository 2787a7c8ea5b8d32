//! The rules of a follower: it takes what the leader sends (section 5.3).

use bytes::Bytes;

use crate::configuration::Change;
use crate::entry::Entry;
use crate::error::Refused;
use crate::message::{Body, Proposal};
use crate::number::{Index, NodeId, Position};
use crate::output::Role;
use crate::planted::Bug;
use crate::raft::Raft;

#[derive(Clone, Debug, Default)]
pub(crate) struct Following {
    /// This member's log is known to be the leader's up to here, durably or not.
    pub(crate) accepted: Index,
    /// What it has last acknowledged to this leader.
    acknowledged: Index,
    /// The leader waits for an answer, be it news or not.
    answer_due: bool,
    /// A vote has been given and not been said.
    pub(crate) vote_answer_due: bool,
    /// Proposals to be handed to the leader, and what they count for.
    proposals: Vec<Proposal>,
    proposals_bytes: usize,
}

impl Following {
    /// Under a leader of whom nothing is known yet.
    pub(crate) fn begin(&mut self) {
        self.accepted = Index(0);
        self.acknowledged = Index(0);
        self.answer_due = false;
    }

    /// What did not count before counts now.
    pub(crate) fn acknowledge_again(&mut self) {
        self.acknowledged = Index(0);
        self.answer_due = true;
    }

    /// The leader gets an answer, whether there is news or not.
    pub(crate) fn answer_later(&mut self) {
        self.answer_due = true;
    }
}

impl Raft {
    /// Whoever sends this leads in the current term: a candidate has lost, and the election clock
    /// starts anew.
    pub(crate) fn hear_from_leader(&mut self, from: NodeId) {
        if self.role == Role::Follower && self.leader == Some(from) {
            self.elapsed = 0;
        } else {
            self.follow(self.hard_state.term, Some(from));
        }
    }

    /// Entries of the leader's log, `previous` before them.
    pub(crate) fn append_received(
        &mut self,
        from: NodeId,
        previous: Position,
        entries: &mut Vec<Entry>,
        commit: Index,
    ) -> Result<(), Refused> {
        let last = Index(previous.index.0 + entries.len() as u64);
        // Everything committed is in the log of every later leader (section 5.4.3).
        let agrees = previous.index <= self.commit
            || self.log.term(previous.index) == Some(previous.term)
            || (self.planted(Bug::AcceptWithoutPrevious)
                && previous.index <= self.log.last().index);
        let place = if agrees { self.first_new(entries) } else { Ok(0) };
        let Ok(place) = place else {
            return Err(Refused::Malformed { from, what: "entries differ from committed ones" });
        };
        self.hear_from_leader(from);
        if self.install.is_some() {
            // Whatever is appended now would go with the log.
            return Ok(());
        }
        if !agrees {
            self.refuse_append(from, previous);
            return Ok(());
        }
        let empty = entries.is_empty();
        if place < entries.len() {
            let first = entries[place].index;
            if first <= self.log.last().index {
                self.log.truncate(first);
                if !self.planted(Bug::CountTruncatedPersist) {
                    self.persistence.truncated(first);
                }
            }
            entries.drain(..place);
            for entry in entries.drain(..) {
                self.log.push(entry);
            }
        }
        self.following.accepted = self.following.accepted.max(last).max(self.commit);
        let told = self.commit_to(commit.min(last));
        // What only tells the commit index needs no answer.
        let quiet = empty && told && last <= self.following.acknowledged;
        self.following.answer_due |= !quiet;
        self.recover_if_complete();
        Ok(())
    }

    /// Where in `entries` begins what this log lacks, or holds otherwise. An error if they differ
    /// from what is committed.
    fn first_new(&self, entries: &[Entry]) -> Result<usize, ()> {
        let last = self.log.last().index;
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(0) };
        if first > last {
            return Ok(0);
        }
        let differs = |entry: &Entry| match self.log.term(entry.index) {
            _ if entry.index > last => true,
            Some(_) if self.planted(Bug::KeepConflictingSuffix) => false,
            Some(term) => term != entry.term,
            // Released, so applied.
            None => false,
        };
        let place = entries.iter().position(differs).unwrap_or(entries.len());
        match entries.get(place) {
            Some(entry) if entry.index <= self.commit => Err(()),
            _ => Ok(place),
        }
    }

    /// Tells the leader where to look for the place at which the logs part: it can pass over every
    /// entry of a later term than the refused one, and so needs one append for each term in
    /// question, not for each entry.
    fn refuse_append(&mut self, from: NodeId, previous: Position) {
        let committed = || self.log.position(self.commit);
        let hint = self
            .log
            .may_agree(previous)
            .filter(|hint| hint.index >= self.commit)
            .or_else(committed)
            .unwrap_or_default();
        self.send(from, Body::AppendRefused { previous: previous.index, hint });
    }

    /// The leader is there, and has committed so far of what this member is known to hold.
    pub(crate) fn heartbeat_received(&mut self, from: NodeId, commit: Index, round: u64) {
        self.hear_from_leader(from);
        if self.install.is_none() {
            self.commit_to(commit.min(self.log.last().index));
        }
        // A member that is recovering confirms nothing.
        let round = if self.recovery.is_some() { 0 } else { round };
        self.send(from, Body::HeartbeatAnswer { round });
        self.ask_for_recovery(from);
    }

    /// Everything up to `index` is committed. Whether that is news.
    pub(crate) fn commit_to(&mut self, index: Index) -> bool {
        let news = index > self.commit;
        self.commit = self.commit.max(index);
        news
    }

    /// Acknowledges what is durable, if there is news or somebody waits for it.
    pub(crate) fn acknowledge(&mut self) {
        let Some(leader) = self.leader else { return };
        let persisted = if self.planted(Bug::AcknowledgeUnpersisted) {
            self.log.last().index
        } else {
            self.log.persisted()
        };
        self.recover_if_complete();
        let following = &mut self.following;
        let matched = following.accepted.min(persisted);
        let whole = following.answer_due && matched == following.accepted;
        if matched > following.acknowledged || whole {
            following.acknowledged = matched;
            following.answer_due &= !whole;
            let counts = self.recovery.is_none();
            self.send(leader, Body::Appended { matched, counts });
        }
    }

    /// [`Input::Propose`](crate::Input::Propose).
    pub(crate) fn propose_or_forward(&mut self, data: Bytes) -> Result<(), Refused> {
        if self.role == Role::Leader {
            return self.propose(data).map(drop);
        }
        let bytes = Entry::OVERHEAD + data.len();
        self.forward(bytes, Proposal::Normal(data))
    }

    /// [`Input::ProposeConfiguration`](crate::Input::ProposeConfiguration).
    pub(crate) fn propose_configuration_or_forward(
        &mut self,
        change: Change,
        data: Bytes,
    ) -> Result<(), Refused> {
        if self.role == Role::Leader {
            return self.propose_configuration(&change, data).map(drop);
        }
        if data.is_empty() {
            return Err(Refused::ChangeWithoutData);
        }
        let bytes = Entry::OVERHEAD + data.len();
        self.forward(bytes, Proposal::Configuration { change, data })
    }

    /// Keeps a proposal for the leader until the next [`Raft::take`].
    fn forward(&mut self, bytes: usize, proposal: Proposal) -> Result<(), Refused> {
        let (waiting, limit) = (self.following.proposals_bytes, self.config.max_uncommitted_bytes);
        let refused = if self.leader.is_none() {
            Refused::NoLeader
        } else if waiting > 0 && bytes > limit.saturating_sub(waiting) {
            Refused::Full { uncommitted: waiting, bytes, limit }
        } else {
            self.following.proposals_bytes += bytes;
            self.following.proposals.push(proposal);
            return Ok(());
        };
        self.stats.proposals_refused += 1;
        Err(refused)
    }

    /// Hands everything that waits for the leader to it; what has lost its leader is dropped.
    pub(crate) fn forward_proposals(&mut self) {
        if self.following.proposals.is_empty() {
            return;
        }
        let proposals = std::mem::take(&mut self.following.proposals);
        self.following.proposals_bytes = 0;
        match self.leader {
            Some(leader) if self.role != Role::Leader => {
                self.send(leader, Body::Propose { proposals });
            }
            _ => self.stats.proposals_refused += proposals.len() as u64,
        }
    }

    /// Whether a change of configuration is committed and not applied: this member then does not
    /// know by whose votes to count.
    pub(crate) fn change_is_due(&self) -> bool {
        self.log.configurations().front().is_some_and(|&index| index <= self.commit)
    }
}
