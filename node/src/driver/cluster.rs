//! What the core does because there are others: it hears them, waits for a leader, hands over, and
//! carries through changes of members.

use std::time::{Duration, Instant};

use revd_raft::{Input, NodeId, Refused, Role};

use revd_replica::{
    Applied, Command, Demand, Fatal, Membership, Reconfigured, Rejected, RequestId,
    reads::ASK_AGAIN,
};

use super::core::{Core, answer, refusal};
use super::handle::{CallError, Proposal, Slot, WAITING_BOUND};
use super::report;
use crate::peer::Event;

/// How often those who wait are looked through for callers that have given up.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// A member that was removed goes on for so long, so that those who stay can finish (etcd's
/// figure).
const LEAVE_AFTER: Duration = Duration::from_secs(1);

/// Learners that have caught up are looked for each second.
const PROMOTE_AFTER: Duration = Duration::from_secs(1);

/// A change of voters that is applied and not sealed yet: until then a removed voter is needed, so
/// it is not told, is talked to, and whoever wants it gone has no answer (`revd_raft`, membership).
/// Nor has whoever has promoted a learner: the next change would be refused.
pub(super) struct Unsealed {
    answer: Option<(RequestId, Result<Applied, Rejected>)>,
}

impl Core {
    /// Takes what the streams between members bring.
    pub(super) fn peer(&mut self, event: Event, now: Instant) {
        match event {
            Event::Message(message) => self.input(Input::Message(message)),
            Event::Unreachable(id) => self.input(Input::Unreachable(id)),
            Event::Gone(id) if self.role.leader == Some(id) => self.input(Input::LeaderLost(id)),
            Event::Gone(_) => {}
            Event::Snapshot { received, message } => self.received(*received, message),
            Event::SnapshotSent { to, outcome } => self.consensus.sent(to, outcome),
            Event::Met { id, urls } => self.peers.meet(id.0, urls, self.machine.members()),
            Event::Removed => {
                self.removed_at.get_or_insert(now);
            }
        }
    }

    /// Proposes a command, if there is room for it; without a leader it waits for one, as long as
    /// its caller does.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn propose(&mut self, proposal: Proposal) -> Result<(), Fatal> {
        if self.role.leader.is_none() {
            self.too_early(proposal);
            return Ok(());
        }
        let Proposal { entry, decoded, slot } = proposal;
        if let Command::Membership(change) = &decoded.command
            && let Err(refused) = self.check_change(change)
        {
            answer(slot, Err(refused));
            return Ok(());
        }
        let (id, demand) = (decoded.request, Demand::of(&decoded.command));
        if !self.let_in(demand)? {
            answer(slot, Err(CallError::Rejected(Rejected::NoSpace)));
            return Ok(());
        }
        let is_change = matches!(decoded.command, Command::Membership(_));
        let again = is_change.then(|| (entry.clone(), decoded.clone()));
        match (self.consensus.propose(entry, decoded), again) {
            (Ok(()), _) => drop(self.waiting.proposals.insert(id, (slot, demand))),
            (Err(Refused::ConfigurationPending { .. }), Some((entry, decoded))) => {
                self.too_early(Proposal { entry, decoded, slot });
            }
            (Err(refused), _) => {
                self.let_out(demand);
                answer(slot, Err(refusal(&refused)));
            }
        }
        Ok(())
    }

    /// Whether a change of members may be proposed here. Only where it is proposed, one after the
    /// other, can the learners be counted: consensus takes none before the last one is applied. So
    /// none is handed on to the leader, who would not count.
    fn check_change(&self, change: &Membership) -> Result<(), CallError> {
        if self.consensus.status().role != Role::Leader {
            return Err(CallError::NotLeader);
        }
        let members = self.machine.members();
        let learners = members.iter().filter(|member| member.is_learner).count();
        match change {
            Membership::Add(member)
                if member.is_learner
                    && !members.others_have(member.id, &member.peer_urls)
                    && learners >= self.shared.config.max_learners as usize =>
            {
                Err(CallError::TooManyLearners)
            }
            _ => Ok(()),
        }
    }

    fn too_early(&mut self, proposal: Proposal) {
        if self.waiting.early.len() < WAITING_BOUND {
            self.waiting.early.push_back(proposal);
        } else {
            answer(proposal.slot, Err(CallError::TooManyRequests));
        }
    }

    /// Proposes what came too early, in its order.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn propose_early(&mut self) -> Result<(), Fatal> {
        self.waiting.early.retain(|proposal| !proposal.slot.is_closed());
        if self.role.leader.is_some() {
            for proposal in std::mem::take(&mut self.waiting.early) {
                self.propose(proposal)?;
            }
        }
        Ok(())
    }

    /// Forgets proposals whose callers have given up: what was handed to a leader that vanished is
    /// never answered.
    pub(super) fn forget_given_up(&mut self, now: Instant) {
        if self.waiting.forget_at.is_some_and(|at| now < at) {
            return;
        }
        self.waiting.forget_at = Some(now + FORGET_AFTER);
        let mut given_up = Demand::default();
        self.waiting.proposals.retain(|_, (slot, demand)| {
            if slot.is_closed() {
                given_up.add(*demand);
            }
            !slot.is_closed()
        });
        self.let_out(given_up);
    }

    /// Asks anew for the read indexes that have been waited for too long.
    pub(super) fn ask_again(&mut self, now: Instant) {
        let overdue = self.reads.overdue(self.clock.at(now));
        if !overdue.is_empty() {
            self.reads.forget(Slot::is_closed);
        }
        for id in overdue {
            report::slow_read_index(id.0, Duration::from_nanos(ASK_AGAIN));
            self.shared.meters.slow_read_indexes.add(1);
        }
    }

    /// Warns when a leader's clock was not looked at for so long that heartbeats went out late:
    /// `tick` is when it should have been.
    pub(super) fn look_after_heartbeats(&self, tick: Instant, now: Instant) {
        if self.role.role != Role::Leader {
            return;
        }
        let interval = Duration::from_millis(u64::from(self.shared.config.heartbeat_interval));
        let expected = 2 * interval;
        let exceeded = now.saturating_duration_since(tick).saturating_sub(expected);
        if !exceeded.is_zero() {
            report::late_heartbeat(interval, expected, exceeded);
            self.shared.meters.late_heartbeats.add(1);
        }
    }

    /// Hands leadership to a member.
    pub(super) fn transfer(&mut self, to: NodeId, slot: Slot<()>) {
        if self.role.role != Role::Leader {
            return answer(slot, Err(CallError::NotLeader));
        }
        if self.role.leader == Some(to) {
            return answer(slot, Ok(()));
        }
        match self.consensus.step(Input::Transfer(to)) {
            Ok(()) => self.waiting.transfers.push((to, slot)),
            Err(Refused::NotVoter { .. }) => answer(slot, Err(CallError::BadTransferee)),
            Err(refused) => answer(slot, Err(refusal(&refused))),
        }
    }

    /// Hands leadership to the voter that holds most of the log, if there is one.
    pub(super) fn hand_over(&mut self, slot: Slot<()>) {
        match self.consensus.successor().filter(|_| self.role.role == Role::Leader) {
            Some(to) => self.transfer(to, slot),
            None => answer(slot, Err(CallError::NotLeader)),
        }
    }

    /// Hands leadership over if the other members have long been waiting less for their disks.
    pub(super) fn look_after_disk(&mut self, now: Instant) {
        if !self.shared.config.hand_over_if_slow {
            return;
        }
        let (at, status) = (self.clock.at(now), self.consensus.status());
        if let Some(slow) = self.upkeep.slow_disk.look(at, &status, self.consensus.successor()) {
            report::slow_disk(status.id.0, &slow);
            self.input(Input::Transfer(slow.to));
        }
    }

    /// Tells those who wait for a transfer, once somebody else leads.
    pub(super) fn transferred(&mut self) {
        let Some(leader) = self.role.leader else { return };
        for (to, slot) in self.waiting.transfers.extract_if(.., |(to, _)| *to == leader) {
            tracing::info!(
                "current-leader-member-id" = %format_args!("{:x}", to.0),
                "leadership has been transferred"
            );
            answer(slot, Ok(()));
        }
    }

    /// A change of configuration was applied, the last entry of its batch, or was none. It seals
    /// the one before, and if it has changed who votes, it is to be sealed itself.
    pub(super) fn reconfigured(
        &mut self,
        reconfigured: &Reconfigured,
        answers: &mut Vec<(RequestId, Result<Applied, Rejected>)>,
        now: Instant,
    ) {
        let before = self.consensus.configuration();
        let (mut is_unsealed, mut waits) = (false, false);
        if let Reconfigured::To(after) = reconfigured {
            is_unsealed = before.voters() != after.voters();
            // Who was added may be needed for the seal, and is started only after the answer.
            let is_promotion = before.learners().len() > after.learners().len();
            waits = is_unsealed && (is_promotion || before.voters().len() > after.voters().len());
        }
        // A member that was removed, and does not lead, hears of no seal any more.
        let hears = self.role.role == Role::Leader
            || !self.machine.members().was_removed(self.consensus.status().id.0);
        let held = if waits && hears { answers.pop() } else { None };
        if let Some(Unsealed { answer: Some(answer) }) = self.unsealed.take() {
            answers.push(answer);
        }
        self.unsealed = is_unsealed.then_some(Unsealed { answer: held });
        if !is_unsealed {
            self.members_changed(now);
            self.peers.part();
        }
    }

    /// When this member ends, because it was removed. As a leader it stays until that is sealed.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        let is_needed = self.unsealed.is_some() && self.role.role == Role::Leader;
        self.removed_at.filter(|_| !is_needed)
    }

    /// Answers whether a learner has caught up.
    pub(super) fn check_promotion(&self, id: NodeId, slot: Slot<()>) {
        let outcome = match self.consensus.check_promotion(id) {
            Err(Refused::NotLeader { .. }) => Err(CallError::NotLeader),
            outcome => outcome.map_err(|refused| refusal(&refused)),
        };
        answer(slot, outcome);
    }

    /// Whether this member leads others that do not vote.
    pub(super) fn has_learners(&self) -> bool {
        let learners = self.consensus.configuration().learners();
        self.role.role == Role::Leader && !learners.is_empty()
    }

    /// Promotes a learner that has caught up, if that is wanted.
    pub(super) fn promote_by_itself(&mut self, now: Instant) {
        if !self.has_learners() || self.promote_at.is_none_or(|at| now < at) {
            return;
        }
        self.promote_at = Some(now + PROMOTE_AFTER);
        let learners = self.consensus.configuration().learners().iter().copied();
        let able: Vec<NodeId> =
            learners.filter(|id| self.consensus.check_promotion(*id).is_ok()).collect();
        // One at a time; the next one follows a second later.
        if let Some(id) = able.first() {
            report::promoting(id.0);
            self.propose_unasked(Command::Membership(Membership::Promote(id.0)));
        }
    }

    /// Members, alarms or the version have changed.
    pub(super) fn members_changed(&mut self, now: Instant) {
        let identity = self.consensus.log().identity();
        report::members(identity, &self.shared.facts.read().members, self.machine.members());
        self.publish_facts();
        let members = self.machine.members();
        self.peers.set(members);
        let own = identity.member;
        if members.was_removed(own) && self.removed_at.is_none() {
            tracing::warn!(
                "local-member-id" = %format_args!("{own:x}"),
                "this member was removed from its cluster, and ends"
            );
            self.removed_at = Some(now + LEAVE_AFTER);
        }
    }
}
