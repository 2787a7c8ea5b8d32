//! Elections (section 5.2), and what keeps them from being held for no reason: the pre-vote
//! (section 9.6 of the dissertation) and the lease on a vote (section 6 of the paper, last
//! paragraph).
//!
//! A member that has heard from a leader within an election timeout refuses its vote, and does not
//! even learn the term of whoever asks. That lease only protects a leader from disturbance: **no
//! read depends on it**, each is confirmed by a round of messages. So a member may give it up
//! whenever it has reason to think that the leader is gone ([`Input::LeaderLost`]), and at a
//! transfer, which the leader itself has asked for.
//!
//! [`Input::LeaderLost`]: crate::Input::LeaderLost

use crate::error::Refused;
use crate::message::Body;
use crate::number::{NUMBER_MAX, NodeId, Position, Term};
use crate::output::Role;
use crate::planted::Bug;
use crate::quorum::{Electorate, Outcome};
use crate::raft::Raft;

/// The answers to a candidate, or to one that asks whether to become one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    answers: Vec<(NodeId, bool)>,
    /// The votes have been asked for.
    asked: bool,
    /// The leader wanted this election.
    transfer: bool,
}

impl Votes {
    fn begin(&mut self, transfer: bool) {
        self.answers.clear();
        self.asked = false;
        self.transfer = transfer;
    }

    /// The first answer of each voter counts.
    fn record(&mut self, from: NodeId, granted: bool) {
        if self.of(from).is_none() {
            self.answers.push((from, granted));
        }
    }

    /// This voter's answer counts anew.
    fn forget(&mut self, voter: NodeId) {
        self.answers.retain(|answer| answer.0 != voter);
    }

    fn of(&self, voter: NodeId) -> Option<bool> {
        self.answers.iter().find(|answer| answer.0 == voter).map(|answer| answer.1)
    }
}

impl Raft {
    /// One tick for whoever does not lead. Nobody stands before word from a leader has been missing
    /// for an election timeout; a candidate without a result tries again then.
    pub(crate) fn tick_election_clock(&mut self) -> Result<(), Refused> {
        self.elapsed = self.elapsed.saturating_add(1);
        if self.elapsed < self.timeout || !self.may_stand() {
            return Ok(());
        }
        self.set_election_clock();
        if self.role == Role::Candidate && !self.votes.asked {
            // It waits for its own disk alone: standing again would not hurry that.
            return Ok(());
        }
        self.stand(false)
    }

    /// Sets the clock back, to ring within one to two election timeouts (section 5.2).
    pub(crate) fn set_election_clock(&mut self) {
        let ticks = self.config.election_ticks;
        self.elapsed = 0;
        self.timeout = ticks.saturating_add(self.chance.below(ticks));
    }

    /// [`Input::Campaign`](crate::Input::Campaign).
    pub(crate) fn campaign(&mut self) -> Result<(), Refused> {
        if self.role != Role::Follower {
            return Ok(());
        }
        if !self.configuration.is_voter(self.config.id) {
            return Err(Refused::NotVoter { node: self.config.id });
        }
        if self.is_recovering() {
            return Err(Refused::Recovering);
        }
        self.stand(false)
    }

    /// Stands for election if that was put off.
    pub(crate) fn campaign_if_due(&mut self) {
        if self.campaign_due && self.may_stand() {
            // A refusal is none of the caller's business: what it reported has been taken.
            let _ = self.stand(false);
        }
    }

    /// [`Input::LeaderLost`](crate::Input::LeaderLost): nobody leads any more as far as this member
    /// knows, so its vote is free again.
    pub(crate) fn leader_lost(&mut self, leader: NodeId) -> Result<(), Refused> {
        if self.role != Role::Follower || self.leader != Some(leader) {
            return Ok(());
        }
        self.follow(self.hard_state.term, None);
        if self.may_stand() { self.stand(false) } else { Ok(()) }
    }

    /// The leader wants this member to take over (section 3.10 of the dissertation).
    pub(crate) fn timeout_now(&mut self, from: NodeId) -> Result<(), Refused> {
        self.hear_from_leader(from);
        if self.may_stand() { self.stand(true) } else { Ok(()) }
    }

    fn may_stand(&self) -> bool {
        self.configuration.is_voter(self.config.id) && !self.is_recovering()
    }

    /// Stands for election, now or as soon as the changes of configuration that are known to be
    /// committed have been applied: before, this member would count by the wrong configuration.
    fn stand(&mut self, transfer: bool) -> Result<(), Refused> {
        if self.change_is_due() || self.install.is_some() {
            self.campaign_due = true;
            return Ok(());
        }
        let term = self.hard_state.term;
        if term.0 >= NUMBER_MAX {
            return Err(Refused::TermsExhausted { term });
        }
        self.campaign_due = false;
        if self.config.pre_vote && !transfer {
            self.ask_for_pre_votes();
        } else {
            self.become_candidate(transfer);
        }
        Ok(())
    }

    /// Asks whether an election could be won. Nothing is promised, and no term is raised.
    fn ask_for_pre_votes(&mut self) {
        self.follow(self.hard_state.term, None);
        self.role = Role::PreCandidate;
        self.votes.begin(false);
        let (campaign, last) = (self.hard_state.term.next(), self.log.last());
        let committed = self.committed();
        self.votes.record(self.config.id, true);
        self.ask_voters(&Body::PreVote { campaign, last, committed });
        self.count_votes();
    }

    /// Votes for itself in a new term. Others are asked once that is durable.
    fn become_candidate(&mut self, transfer: bool) {
        self.follow(self.hard_state.term.next(), None);
        self.hard_state.vote = Some(self.config.id);
        self.role = Role::Candidate;
        self.votes.begin(transfer);
        self.stats.campaigns += 1;
    }

    /// A candidate whose own vote is durable asks for the others'.
    pub(crate) fn ask_for_votes(&mut self) {
        if self.votes.asked || !self.vote_is_durable() {
            return;
        }
        self.votes.asked = true;
        let (last, transfer) = (self.log.last(), self.votes.transfer);
        let committed = self.committed();
        self.votes.record(self.config.id, true);
        self.ask_voters(&Body::Vote { last, committed, transfer });
        self.count_votes();
    }

    fn ask_voters(&mut self, body: &Body) {
        for voter in self.configuration.members() {
            if voter != self.config.id && self.configuration.is_voter(voter) {
                self.send(voter, body.clone());
            }
        }
    }

    fn count_votes(&mut self) {
        let outcome = self.electorate().outcome(|voter| self.votes.of(voter));
        match (outcome, self.role) {
            (Outcome::Won, Role::PreCandidate) => self.become_candidate(false),
            (Outcome::Won, _) => self.become_leader(),
            (Outcome::Lost, _) => self.follow(self.hard_state.term, None),
            (Outcome::Open, _) => {}
        }
    }

    /// By whose votes this member counts.
    pub(crate) fn electorate(&self) -> Electorate<'_> {
        let mut electorate = Electorate::of(&self.configuration);
        if self.planted(Bug::SkipJoint) {
            electorate.outgoing = &[];
        }
        electorate
    }

    /// Whether a leader was heard of so lately that a vote would only disturb it.
    fn has_lease(&self) -> bool {
        let heard = self.leader.is_some() && self.elapsed < self.config.election_ticks;
        self.config.check_quorum && (heard || self.role == Role::Leader)
    }

    /// Whether `last`, where a candidate's log ends, shows that it lacks nothing that may be
    /// committed (section 5.4.1).
    fn is_up_to_date(&self, last: Position) -> bool {
        last.is_up_to_date_with(self.log.last()) || self.planted(Bug::VoteForShorterLog)
    }

    /// Would it vote? A pre-candidate for the same term, with a log as good, gives way to the
    /// higher id, which asks it once more: of those who lose their leader at about the same time,
    /// in whatever order, one then stands first.
    pub(crate) fn pre_vote_asked(&mut self, from: NodeId, campaign: Term, last: Position) {
        let rival = self.role == Role::PreCandidate
            && campaign == self.hard_state.term.next()
            && last == self.log.last()
            && from < self.config.id;
        let granted = campaign > self.hard_state.term
            && !self.has_lease()
            && !self.is_recovering()
            && !rival
            && self.is_up_to_date(last);
        let committed = self.committed();
        self.send(from, Body::PreVoteAnswer { campaign, granted, committed });
        if rival {
            // It may have refused when it still heard of the leader. It does not any more.
            self.votes.forget(from);
            self.send(from, Body::PreVote { campaign, last, committed });
        }
    }

    pub(crate) fn pre_vote_answered(
        &mut self,
        from: NodeId,
        term: Term,
        campaign: Term,
        granted: bool,
    ) {
        let own = campaign == self.hard_state.term.next();
        if self.role != Role::PreCandidate || !own {
            self.stats.messages_ignored += 1;
        } else if term > self.hard_state.term {
            // The term was over before it was asked about; the next attempt names a later one.
            self.follow(term, None);
        } else {
            self.votes.record(from, granted);
            self.count_votes();
        }
    }

    /// Wants a vote in `term`. Learners give theirs too: they may have been promoted without
    /// knowing it yet.
    pub(crate) fn vote_asked(&mut self, from: NodeId, term: Term, last: Position, transfer: bool) {
        if term > self.hard_state.term {
            if self.has_lease() && !transfer {
                self.stats.messages_ignored += 1;
                return;
            }
            self.follow(term, None);
        }
        let vote = self.hard_state.vote;
        let free = vote.is_none() || vote == Some(from) || self.planted(Bug::VoteTwice);
        let granted = term == self.hard_state.term
            && free
            && self.leader.is_none()
            && !self.is_recovering()
            && self.is_up_to_date(last);
        if granted {
            self.role = Role::Follower;
            self.hard_state.vote = Some(from);
            self.following.vote_answer_due = true;
            self.set_election_clock();
        } else {
            self.answer_vote(from, false);
        }
    }

    pub(crate) fn answer_vote(&mut self, candidate: NodeId, granted: bool) {
        let committed = self.committed();
        self.send(candidate, Body::VoteAnswer { granted, committed });
    }

    /// How far this member knows the log to be committed.
    fn committed(&self) -> Position {
        self.log.position(self.commit).unwrap_or_default()
    }

    /// Somebody knows that `committed` is committed. Where this log has the same entry, all before
    /// it is the same too (section 5.3).
    pub(crate) fn learn_committed(&mut self, committed: Position) {
        let same = self.log.term(committed.index) == Some(committed.term);
        if same && self.role != Role::Leader && self.install.is_none() {
            self.commit_to(committed.index);
            if self.role == Role::PreCandidate && self.change_is_due() {
                // It has asked by an outdated configuration: again, once the change is applied.
                self.follow(self.hard_state.term, None);
                self.campaign_due = true;
            }
        }
    }

    pub(crate) fn vote_answered(&mut self, from: NodeId, granted: bool) {
        if self.role != Role::Candidate {
            self.stats.messages_ignored += 1;
            return;
        }
        self.votes.record(from, granted);
        self.count_votes();
    }

    /// Whether this member keeps out of every decision.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovery.is_some() && !self.planted(Bug::CountRecovering)
    }
}
