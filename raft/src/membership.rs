//! Changes of configuration: proposed one at a time, in force once applied (section 6 of the paper,
//! chapter 4 of the dissertation).
//!
//! # Why majorities still meet
//!
//! A change is proposed only when every earlier one in the log has been applied and an entry of the
//! leader's own term is committed, and whatever message brings it tells that the earlier one is
//! committed. A member that knows a change to be committed does not stand for election before it
//! has applied it. So every candidate counts by the last change in its log or by the one before.
//!
//! A candidate that counts by an old configuration therefore lacks the second change behind it. If
//! that one is committed, then by a majority of the configuration in between, which meets every
//! majority that the candidate counts by in somebody who holds more than it does, and refuses
//! (section 5.4.1). What is left are configurations that are the same or neighbours, whose
//! majorities meet as in section 5.4.
//!
//! # Why somebody can always be elected
//!
//! The commit index is kept on no disk, and a majority of the new voters need not contain one of
//! the old. After a restart the votes of the old could be needed to find out that a change is
//! committed, although whoever has them was removed, or is the one of three that is away. So the
//! leader *seals* every change of voters with a second change behind it that changes nothing: a log
//! that holds two changes shows that the first is committed. Once the seal is committed, whoever
//! can be elected holds both. Until then a removed voter must stay, and an added one replaces
//! nobody. (A joint configuration needs no seal: whoever decides in it decided before it, too.)
//!
//! Where only one of those who are left knows, it tells: a candidate and its voters tell each other
//! how far they know the log to be committed. Whoever knows and votes stands itself, at last, and
//! so tells the one that holds more and can win.

use bytes::Bytes;

use crate::configuration::{Change, ChangeStep, Configuration};
use crate::entry::{Entry, EntryKind};
use crate::error::Refused;
use crate::message::Body;
use crate::number::{Index, NodeId, Position};
use crate::output::Role;
use crate::planted::Bug;
use crate::progress::Peer;
use crate::raft::{NOTHING, Raft};
use crate::status::Feed;

impl Raft {
    /// Appends a change of configuration to the leader's log and returns where. `data` is what the
    /// log keeps of it; it must not be empty. The configuration changes when the entry has been
    /// applied and its answer is fed back.
    ///
    /// # Errors
    /// As [`Raft::propose`], and when an earlier change is not applied yet or this leader has not
    /// committed an entry of its term, when the change does not fit the configuration, or when it
    /// would promote a learner that lags.
    pub fn propose_configuration(
        &mut self,
        change: &Change,
        data: Bytes,
    ) -> Result<Position, Refused> {
        if let Err(refused) = self.check_change(change, &data) {
            self.stats.proposals_refused += 1;
            return Err(refused);
        }
        self.append(EntryKind::Configuration, data)
    }

    fn check_change(&self, change: &Change, data: &Bytes) -> Result<(), Refused> {
        self.check_leader()?;
        if data.is_empty() {
            return Err(Refused::ChangeWithoutData);
        }
        if !self.planted(Bug::ChangeWhilePending) {
            if let Some(&index) = self.log.configurations().back() {
                return Err(Refused::ConfigurationPending { index });
            }
            if self.commit < self.lead.term_begins {
                return Err(Refused::ConfigurationPending { index: self.lead.term_begins });
            }
        }
        self.configuration.changed(change)?;
        match change {
            Change::Simple(step) => self.check_step(*step),
            Change::Joint { steps, .. } => steps.iter().try_for_each(|&step| self.check_step(step)),
            Change::Keep | Change::Leave => Ok(()),
        }
    }

    /// Whether this leader would take a proposal to promote a learner now.
    ///
    /// # Errors
    /// When this member does not lead, or the learner lags. Who is no learner is not refused here.
    pub fn check_promotion(&self, learner: NodeId) -> Result<(), Refused> {
        self.check_leader()?;
        self.check_step(ChangeStep::AddVoter(learner))
    }

    /// A learner becomes a voter only when it has caught up (section 4.2.1 of the dissertation):
    /// when it is being replicated to, and lacks nothing that was committed an election timeout
    /// ago. A new voter would otherwise stand in the way of every commit until it had.
    fn check_step(&self, step: ChangeStep) -> Result<(), Refused> {
        let ChangeStep::AddVoter(node) = step else { return Ok(()) };
        if !self.configuration.is_learner(node) || self.planted(Bug::PromoteLagging) {
            return Ok(());
        }
        let peer = self.lead.peer(node);
        let matched = peer.map_or(Index(0), |peer| peer.matched);
        let replicating = peer.is_some_and(|peer| peer.feed == Feed::Replicate && peer.counts);
        if replicating && matched >= self.lead.settled {
            return Ok(());
        }
        Err(Refused::NotCaughtUp { node, matched, last: self.log.last().index })
    }

    /// [`Input::ConfigurationApplied`](crate::Input::ConfigurationApplied).
    pub(crate) fn configuration_applied(
        &mut self,
        index: Index,
        configuration: Configuration,
    ) -> Result<(), Refused> {
        self.handout.check_changing(index)?;
        let before = std::mem::take(&mut self.configuration);
        let voters_changed = before.is_joint() || before.voters() != configuration.voters();
        self.seal_due = voters_changed && !configuration.is_joint();
        self.count_by(configuration);
        self.configuration_answered(index)
    }

    /// [`Input::ConfigurationRejected`](crate::Input::ConfigurationRejected): what is before it is
    /// sealed by it all the same.
    pub(crate) fn configuration_rejected(&mut self, index: Index) -> Result<(), Refused> {
        self.handout.check_changing(index)?;
        self.seal_due = false;
        self.configuration_answered(index)
    }

    fn configuration_answered(&mut self, index: Index) -> Result<(), Refused> {
        self.handout.changed(index)?;
        self.log.forget_configurations(index);
        self.campaign_if_due();
        Ok(())
    }

    /// Puts a configuration in force.
    pub(crate) fn count_by(&mut self, mut configuration: Configuration) {
        if self.planted(Bug::LearnerVotes) && !configuration.is_joint() {
            let members = configuration.members();
            configuration = Configuration::new(members, []).unwrap_or(configuration);
        }
        self.configuration = configuration;
        let (me, next) = (self.config.id, self.log.last().index.next());
        if self.role != Role::Leader {
            let stands = self.role != Role::Follower;
            if stands && !self.configuration.is_voter(me) {
                self.follow(self.hard_state.term, None);
            }
            return;
        }
        let (configuration, lead) = (&self.configuration, &mut self.lead);
        lead.peers.retain(|peer| configuration.contains(peer.id));
        for id in configuration.members() {
            if id != me && lead.peer(id).is_none() {
                // Counted as heard of until it has had the time to be.
                let mut peer = Peer::new(id, next);
                peer.active = true;
                lead.peers.push(peer);
                lead.peers.sort_unstable_by_key(|peer| peer.id);
            }
        }
        let successor = |to| configuration.is_voter(to) && configuration.is_voter(me);
        if lead.transfer.is_some_and(|transfer| !successor(transfer.to)) {
            lead.transfer = None;
        }
        // Fewer may be enough now.
        self.advance_commit();
        self.confirm_reads();
    }

    /// A leader that is no voter any more steps down (section 4.2.2 of the dissertation) once its
    /// removal is sealed: before, those who are left might need it to elect another. Whoever holds
    /// most of its log is told to stand, so that nobody has to wait for a clock.
    fn resign_if_sealed(&mut self) {
        if self.role != Role::Leader || self.lead.until.is_none_or(|seal| seal > self.commit) {
            return;
        }
        self.feed_peers();
        let voters = self.lead.peers.iter().filter(|peer| self.configuration.is_voter(peer.id));
        let best = voters.max_by_key(|peer| (peer.matched, std::cmp::Reverse(peer.id)));
        if let Some(successor) = best.map(|peer| peer.id) {
            self.send(successor, Body::TimeoutNow);
        }
        self.follow(self.hard_state.term, None);
    }

    /// What a leader does about the configuration on its own account, whoever has begun it: leaves
    /// a joint one that is to be left by itself, seals a change of voters, and resigns after its
    /// own removal. Both entries are the same: an order to leave, which changes nothing where
    /// nothing is joint.
    pub(crate) fn settle_configuration(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        self.resign_if_sealed();
        let leaves = self.configuration.is_joint() && self.configuration.leaves_by_itself();
        let due = self.role == Role::Leader
            && (leaves || self.seal_due)
            && self.commit >= self.lead.term_begins
            && self.log.configurations().is_empty()
            && self.lead.transfer.is_none();
        if due {
            self.seal_due = false;
            let kind = EntryKind::Configuration;
            let seal = self.log.append(self.hard_state.term, kind, NOTHING);
            self.stats.proposed += 1;
            self.lead.uncommitted_bytes += Entry::OVERHEAD;
            if !self.configuration.is_voter(self.config.id) {
                self.lead.until = Some(seal.index);
            }
        }
    }
}
