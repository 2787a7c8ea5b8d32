//! What clients and operators ask for: writes, reads, changes of configuration, transfers.

use revd_raft::*;
use revd_sim::{Checked, Violation};

use crate::event::Event;
use crate::machine::{self, KEYS};
use crate::plan::{RUNNING_MAX, VOTERS_MAX};
use crate::world::{World, by};

/// Members that run and belong to no configuration, at most: they wait to be added.
const SPARES: usize = 2;

impl World {
    /// A round of calls.
    pub(crate) fn client(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        let wait = 1 + self.chance.below(2 * self.plan.calls);
        self.queue.push(self.time + wait, Event::Client);
        // Without a leader there is little to ask for.
        if self.leader().is_none() && self.chance.permille(800) {
            return Ok(());
        }
        let Some(place) = self.addressee() else { return Ok(()) };
        let drawn = self.chance.below(1_000);
        let (reads, changes) = (self.plan.reads, self.plan.reads + self.plan.changes);
        let transfers = changes + self.plan.transfers;
        if drawn < reads {
            self.read(place).map(drop)
        } else if drawn < changes {
            self.change(place)
        } else if drawn < transfers {
            self.hand_over(place)
        } else if drawn < transfers + 2 {
            self.call(place, Input::Campaign)
        } else {
            let several = if self.chance.permille(200) { self.chance.between(2, 6) } else { 1 };
            for _ in 0..several {
                self.put(place)?;
            }
            Ok(())
        }
    }

    /// Whom a client talks to: mostly the leader of the latest term or whoever thinks it leads,
    /// otherwise anybody that is up.
    fn addressee(&mut self) -> Option<usize> {
        let time = self.time;
        let awake: Vec<usize> = (0..self.members.len())
            .filter(|&place| {
                self.members[place].is_up() && self.members[place].paused_until <= time
            })
            .collect();
        if awake.is_empty() {
            return None;
        }
        let leader = self.leader().filter(|leader| awake.contains(leader));
        let deposed: Vec<usize> = awake
            .iter()
            .copied()
            .filter(|&place| self.members[place].is_leader() && Some(place) != leader)
            .collect();
        match leader {
            _ if !deposed.is_empty() && self.chance.permille(400) => {
                Some(self.chance.pick(&deposed))
            }
            Some(leader) if self.chance.permille(600) => Some(leader),
            _ => Some(self.chance.pick(&awake)),
        }
    }

    /// The leader of the latest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leaders = (0..self.members.len()).filter(|&place| self.members[place].is_leader());
        leaders.max_by_key(|&place| self.members[place].status().term)
    }

    /// A call as an input.
    fn call(&mut self, place: usize, input: Input) -> Checked {
        self.totals.steps += 1;
        self.totals.calls += 1;
        let answer = self.input(place, input)?;
        self.judge(place, answer)
    }

    /// Refusals that a client may get. All others are mistakes of somebody's.
    pub(crate) fn judge(&mut self, place: usize, answer: Result<(), Refused>) -> Checked {
        match answer {
            Err(Refused::Full { .. } | Refused::TooManyReads { .. }) => {
                self.totals.refused_full += 1;
            }
            Err(Refused::ConfigurationPending { .. }) => self.totals.refused_pending += 1,
            Ok(())
            | Err(
                Refused::NotLeader { .. }
                | Refused::NoLeader
                | Refused::Transferring { .. }
                | Refused::Change(_)
                | Refused::NotCaughtUp { .. }
                | Refused::Recovering
                | Refused::NotVoter { .. },
            ) => {}
            Err(refused) => return Err(Violation(format!("member {}: {refused:?}", place + 1))),
        }
        Ok(())
    }

    /// A request of this member's clients, with a number of its own.
    fn request(&mut self, place: usize) -> u64 {
        self.requests += 1;
        (place as u64 + 1) << 48 | self.requests
    }

    /// A write, proposed by a leader or handed on.
    pub(crate) fn put(&mut self, place: usize) -> Checked {
        let (request, key) = (self.request(place), self.chance.below(KEYS as u64) as usize);
        let padding = self.chance.size(0, 40);
        let data = machine::write(request, key, padding);
        if !self.members[place].is_leader() || self.chance.permille(300) {
            return self.call(place, Input::Propose(data));
        }
        self.totals.steps += 1;
        self.totals.calls += 1;
        let answer = self.members[place].core_mut().propose(data).map(drop);
        self.after(place)?;
        self.judge(place, answer)
    }

    /// A read, by a leader or handed on.
    pub(crate) fn read(&mut self, place: usize) -> Checked<ReadId> {
        let (life, floor) = (self.members[place].life, self.oracle.committed());
        let id = self.oracle.reads.ask(life, floor);
        self.call(place, Input::Read(id))?;
        Ok(id)
    }

    fn hand_over(&mut self, place: usize) -> Checked {
        let voters = self.members[place].configuration().voters().to_vec();
        if voters.is_empty() {
            return Ok(());
        }
        let to = self.chance.pick(&voters);
        if self.members[place].is_leader() {
            self.totals.transfers += 1;
            self.transfer = Some((self.members[place].status().term, to.0 as usize - 1));
        }
        self.call(place, Input::Transfer(to))
    }

    /// A change of configuration, as an operator sees the cluster at this member.
    fn change(&mut self, place: usize) -> Checked {
        let seen = self.members[place].configuration().clone();
        let Some(change) = self.choose_change(&seen)? else { return Ok(()) };
        let rejected = self.chance.permille(60);
        self.propose_change(place, change, rejected)
    }

    pub(crate) fn propose_change(
        &mut self,
        place: usize,
        change: Change,
        rejected: bool,
    ) -> Checked {
        let data = machine::change_data(&change, self.request(place), rejected);
        if !self.members[place].is_leader() || self.chance.permille(300) {
            return self.call(place, Input::ProposeConfiguration { change, data });
        }
        self.totals.steps += 1;
        self.totals.calls += 1;
        let seen = self.members[place].configuration().clone();
        let core = self.members[place].core_mut();
        let answer = core.propose_configuration(&change, data).map(drop);
        if answer.is_ok() {
            self.totals.promotions += u64::from(promotes(&change, &seen));
            self.oracle.promoting(&self.members, place, &change).map_err(by(place))?;
        }
        self.after(place)?;
        self.judge(place, answer)
    }

    fn choose_change(&mut self, seen: &Configuration) -> Checked<Option<Change>> {
        if seen.is_joint() {
            // Sometimes one that must be refused.
            let leave = self.chance.permille(900);
            return Ok(Some(if leave { Change::Leave } else { Change::Keep }));
        }
        if self.chance.permille(50) {
            return Ok(Some(Change::Keep));
        }
        let joint = self.chance.permille(450);
        let count = if joint { self.chance.between(1, 4) } else { 1 };
        let mut steps: Vec<ChangeStep> = Vec::new();
        let mut voters = seen.voters().len();
        for _ in 0..count {
            let step = self.choose_step(seen, &steps, &mut voters)?;
            steps.extend(step);
        }
        if steps.is_empty() {
            return Ok(None);
        }
        if !joint {
            return Ok(Some(Change::Simple(steps[0])));
        }
        let leaves_by_itself = self.chance.permille(700);
        Ok(Some(Change::Joint { steps, leaves_by_itself }))
    }

    /// Something for one member that the steps so far leave alone.
    fn choose_step(
        &mut self,
        seen: &Configuration,
        steps: &[ChangeStep],
        voters: &mut usize,
    ) -> Checked<Option<ChangeStep>> {
        let free = |node: &NodeId| steps.iter().all(|step| step.node() != *node);
        let (old, learners): (Vec<NodeId>, Vec<NodeId>) = (
            seen.voters().iter().copied().filter(free).collect(),
            seen.learners().iter().copied().filter(free).collect(),
        );
        let step = match self.chance.below(10) {
            0..3 if *voters > 1 && !old.is_empty() => {
                *voters -= 1;
                ChangeStep::Remove(self.chance.pick(&old))
            }
            3 if *voters > 1 && !old.is_empty() => {
                *voters -= 1;
                ChangeStep::AddLearner(self.chance.pick(&old))
            }
            4..7 if *voters < VOTERS_MAX && !learners.is_empty() => {
                *voters += 1;
                ChangeStep::AddVoter(self.chance.pick(&learners))
            }
            7 if !learners.is_empty() => ChangeStep::Remove(self.chance.pick(&learners)),
            drawn => {
                let Some(node) = self.spare(steps)? else { return Ok(None) };
                if drawn < 9 || *voters >= VOTERS_MAX {
                    ChangeStep::AddLearner(node)
                } else {
                    *voters += 1;
                    ChangeStep::AddVoter(node)
                }
            }
        };
        Ok(Some(step))
    }

    /// A member that runs and waits to be added, if need be a new one.
    fn spare(&mut self, steps: &[ChangeStep]) -> Checked<Option<NodeId>> {
        let spares: Vec<NodeId> = (1..=self.members.len() as u64)
            .map(NodeId)
            .filter(|&node| {
                // Whoever has been a member is not added again: its id is spent.
                self.members[node.0 as usize - 1].is_up() && !self.oracle.knows(node)
            })
            .collect();
        let running = self.members.iter().filter(|member| !member.retired).count();
        let room = running < RUNNING_MAX && self.members.len() < crate::plan::MEMBERS_MAX;
        if spares.len() < SPARES && room {
            let born = self.joiner.clone();
            return self.add_member(born).map(Some);
        }
        let free: Vec<NodeId> = spares
            .into_iter()
            .filter(|node| steps.iter().all(|step| step.node() != *node))
            .collect();
        Ok((!free.is_empty()).then(|| self.chance.pick(&free)))
    }
}

/// Whether a change makes a voter of a learner.
fn promotes(change: &Change, seen: &Configuration) -> bool {
    let promoted =
        |step: &ChangeStep| matches!(step, ChangeStep::AddVoter(node) if seen.is_learner(*node));
    match change {
        Change::Simple(step) => promoted(step),
        Change::Joint { steps, .. } => steps.iter().any(promoted),
        Change::Keep | Change::Leave => false,
    }
}
