//! What the core does because there are others: it hears them, waits for a leader, hands over.

use std::time::{Duration, Instant};

use revd_raft::{Feed, Input, NodeId, Refused, Role};

use revd_replica::{Command, Demand, Fatal, Rejected};

use super::core::{Core, answer, refusal};
use super::handle::{CallError, Proposal, Slot, WAITING_BOUND};
use super::report;
use crate::peer::Event;

/// A read index that was handed to the leader may be lost on the way (etcd's figure).
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How often those who wait are looked through for callers that have given up.
const FORGET_AFTER: Duration = Duration::from_secs(1);

/// A member that was removed goes on for so long, so that those who stay can finish (etcd's
/// figure).
const LEAVE_AFTER: Duration = Duration::from_secs(1);

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
            Event::Removed => {
                tracing::error!("the member has been permanently removed from the cluster");
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
        while let Some((_, asked, _)) = self.waiting.asked.front()
            && *asked + ASK_AGAIN <= now
            && let Some((id, _, slots)) = self.waiting.asked.pop_front()
        {
            report::slow_read_index(id.0, ASK_AGAIN);
            self.shared.meters.slow_read_indexes.add(1);
            self.waiting.barriers.extend(slots.into_iter().filter(|slot| !slot.is_closed()));
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
        let configuration = self.consensus.configuration();
        let able = |id| configuration.is_voter(id) && !configuration.is_joint();
        let successors = self.consensus.peers().filter(|peer| peer.active && able(peer.id));
        let best = successors.max_by_key(|peer| (peer.feed == Feed::Replicate, peer.matched));
        match best.map(|peer| peer.id).filter(|_| self.role.role == Role::Leader) {
            Some(to) => self.transfer(to, slot),
            None => answer(slot, Err(CallError::NotLeader)),
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

    /// Members, alarms or the version have changed.
    pub(super) fn members_changed(&mut self, now: Instant) {
        self.publish_facts();
        let members = self.machine.members();
        self.peers.set(members.iter());
        let own = self.consensus.status().id.0;
        if members.was_removed(own) && self.removed_at.is_none() {
            tracing::warn!(
                "local-member-id" = %format_args!("{own:x}"),
                "this member was removed from its cluster, and ends"
            );
            self.removed_at = Some(now + LEAVE_AFTER);
        }
    }
}
