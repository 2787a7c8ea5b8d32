//! What an operator does: has somebody else lead, adds members, promotes and removes them.

use revd_raft::Input;
use revd_replica::{Command, Membership};
use revd_sim::Checked;

use crate::event::Event;
use crate::member::{Member, id};
use crate::plan::MEMBERS_MAX;
use crate::world::{World, member_record, note};

/// No cluster gets more voters and learners than this.
const VOTERS_MAX: usize = 7;
const LEARNERS_MAX: usize = 2;

/// What the operator has begun.
#[derive(Default)]
pub(crate) struct Operator {
    /// Who is to lead.
    transfer: Option<usize>,
    /// A change of members is on its way.
    pub(crate) is_busy: bool,
}

impl World {
    /// One step of an operator.
    pub(crate) fn operate(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        let wait = 1 + self.chance.below(2 * self.plan.operations);
        self.queue.push(self.time + wait, Event::Operate);
        if !self.chance.permille(self.plan.changes) {
            self.transfer();
        } else if !self.operator.is_busy
            && let Some(change) = self.next_change()
        {
            self.operator.is_busy = self.call_of_operator(Command::Membership(change));
        }
        Ok(())
    }

    fn transfer(&mut self) {
        let Some(leader) = self.leader() else { return };
        let to = self.chance.place(self.members.len());
        note!(self, "{}: is to hand over to {}", leader + 1, to + 1);
        self.totals.transfers += 1;
        self.operator.transfer = Some(to).filter(|&to| to != leader);
        self.members[leader].driver_mut().input(Input::Transfer(id(to)));
        self.turn_later(leader);
    }

    /// A member leads now.
    pub(crate) fn transferred(&mut self, place: usize) {
        self.totals.transfers_done += u64::from(self.operator.transfer.take() == Some(place));
    }

    /// A change that leaves at least three voters.
    fn next_change(&mut self) -> Option<Membership> {
        let configuration = &self.oracle.model.configuration;
        let (voters, learners) = (configuration.voters(), configuration.learners());
        match self.chance.below(3) {
            0 if self.members.len() < MEMBERS_MAX => {
                let is_learner = self.chance.permille(500);
                let fits = if is_learner {
                    learners.len() < LEARNERS_MAX
                } else {
                    voters.len() < VOTERS_MAX
                };
                let member = member_record(self.members.len());
                fits.then_some(Membership::Add(revd_replica::Member { is_learner, ..member }))
            }
            1 if !learners.is_empty() && voters.len() < VOTERS_MAX => {
                Some(Membership::Promote(self.chance.pick(learners).0))
            }
            _ if voters.len() > 3 => {
                let members = configuration.members();
                Some(Membership::Remove(self.chance.pick(&members).0))
            }
            _ => None,
        }
    }

    /// Starts who was added, and shuts down for good who was removed, once the removal is sealed:
    /// those who are left must do without its vote, whatever they lose in a crash.
    pub(crate) fn bring_up_and_down(&mut self) {
        let next = id(self.members.len()).0;
        let model = &self.oracle.model;
        if model.members.contains_key(&next) || model.removed.contains(&next) {
            let place = self.members.len();
            note!(self, "{}: joins", place + 1);
            self.totals.added += 1;
            let member = Member::new(place, Vec::new(), &self.plan, &mut self.chance);
            self.members.push(member);
            self.queue.push(self.time + 1, Event::Start(place));
        }
        if !self.oracle.is_sealed() {
            return;
        }
        for place in 0..self.members.len() {
            let is_removed = self.oracle.model.removed.contains(&id(place).0);
            if is_removed && !self.members[place].retired {
                note!(self, "{}: is shut down for good", place + 1);
                self.totals.retired += 1;
                self.members[place].forget();
                self.members[place].retired = true;
                self.members[place].is_rotten = false;
                self.members[place].is_refilled = false;
                self.members[place].needs = None;
            }
        }
    }
}
