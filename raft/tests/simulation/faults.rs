//! What goes wrong, and the upkeep that goes on meanwhile: checkpoints, and members that leave.

use revd_raft::*;
use revd_sim::{Checked, Cut, Time};

use crate::disk::{Damage, Job};
use crate::event::Event;
use crate::oracle::has_quorum;
use crate::world::{World, note};

impl World {
    /// One fault.
    pub(crate) fn fault(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        let wait = 1 + self.chance.below(2 * self.plan.faults);
        self.queue.push(self.time + wait, Event::Fault);
        let (crashes, power_cuts) = (self.plan.crashes, self.plan.power_cuts);
        let (cuts, pauses) = (self.plan.cuts, self.plan.pauses);
        let weights = [crashes, power_cuts, cuts, pauses, self.plan.slow_disks, 1];
        let mut drawn = self.chance.below(weights.iter().sum());
        let which = weights.iter().position(|&weight| {
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        });
        // Half of the time it hits whoever leads.
        let anybody = self.chance.below(self.members.len() as u64) as usize;
        let leader = self.leader().filter(|_| self.chance.permille(500));
        let place = leader.unwrap_or(anybody);
        match which {
            Some(0) => {
                // Seldom more than half of them.
                let up = self.members.iter().filter(|member| member.is_up()).count();
                let retired = self.members.iter().filter(|member| member.retired).count();
                if 2 * up <= self.members.len() - retired && self.chance.permille(800) {
                    return Ok(());
                }
                self.crash(place)
            }
            Some(1) => {
                let share = self.chance.pick(&[400, 700, 1_000]);
                (0..self.members.len()).try_for_each(|place| {
                    if self.chance.permille(share) { self.crash(place) } else { Ok(()) }
                })
            }
            Some(2) => {
                self.cut(place);
                Ok(())
            }
            Some(3) if self.members[place].paused_until > self.time => Ok(()),
            Some(3) => {
                self.totals.pauses += 1;
                note!(self, "{}: stands still", place + 1);
                let outage = self.outage();
                self.members[place].paused_until = self.time + outage;
                Ok(())
            }
            Some(4) => {
                self.totals.slow_disks += 1;
                let outage = 2 * self.outage();
                self.members[place].slow_until = self.time + outage;
                Ok(())
            }
            _ => {
                // A connection breaks, and the other end takes it for the end of the leader.
                let life = self.members[anybody].life;
                if let Some(leader) = self.leader().filter(|&leader| leader != anybody) {
                    let leader = NodeId(leader as u64 + 1);
                    self.queue.push(self.time + 1, Event::LeaderLost(life, leader));
                }
                Ok(())
            }
        }
    }

    /// How long a fault lasts.
    fn outage(&mut self) -> Time {
        self.chance.between(self.plan.outage / 4, self.plan.outage)
    }

    fn cut(&mut self, place: usize) {
        if self.network.is_cut() {
            return;
        }
        self.totals.cuts += 1;
        let cut = match self.chance.below(6) {
            0 | 1 => Cut::Full,
            2 => Cut::OneWay,
            3 => Cut::Partial,
            _ => Cut::Alone(place),
        };
        note!(self, "links are cut: {cut:?}");
        self.network.cut(cut, self.members.len(), &mut self.chance);
        let time = self.time + self.outage();
        self.queue.push(time, Event::Reconnect);
    }

    /// The power goes: of what was being written, a beginning survives.
    fn crash(&mut self, place: usize) -> Checked {
        let member = &mut self.members[place];
        let Some(raft) = &member.raft else { return Ok(()) };
        let status = raft.status();
        self.totals.campaigns += raft.stats().campaigns;
        self.totals.crashes += 1;
        note!(self, "{}: crashes", place + 1);
        self.lose_writes(place)?;
        if self.plan.damage > 0 && self.chance.permille(self.plan.damage) {
            self.damage(place);
        }
        self.members[place].forget();
        let down = 1 + self.chance.below(self.plan.outage);
        self.queue.push(self.time + down, Event::Start(place));
        if status.role == Role::Leader && self.chance.permille(500) {
            // Its peers see their connections break.
            for other in 0..self.members.len() {
                let time = self.time + 1 + self.chance.below(2_000);
                let life = self.members[other].life;
                self.queue.push(time, Event::LeaderLost(life, status.id));
            }
        }
        Ok(())
    }

    fn lose_writes(&mut self, place: usize) -> Checked {
        let jobs = std::mem::take(&mut self.members[place].disk.jobs);
        for (turn, job) in jobs.into_iter().enumerate() {
            match job {
                Job::Persist(persist, applied) if turn == 0 => {
                    let parts = persist.entries.len() + 2;
                    let written = self.chance.size(0, parts);
                    self.totals.losses += u64::from(written < parts);
                    self.make_durable(place, persist, applied, written)?;
                }
                Job::Install(state) if turn == 0 => {
                    if self.chance.permille(500) {
                        self.members[place].disk.install(state);
                    }
                }
                _ => self.totals.losses += 1,
            }
        }
        Ok(())
    }

    /// Damage takes the end of a log. The others must be a quorum with whole logs: of more damage
    /// than that no cluster recovers.
    fn damage(&mut self, place: usize) {
        let committed = self.oracle.committed_position();
        let whole = |other: usize| other != place && self.members[other].disk.damage.is_none();
        let disk = &self.members[place].disk;
        let (from, last) = (disk.checkpoint.position.index.next(), disk.last().index);
        if !has_quorum(self.oracle.configuration().1, whole) || last < from {
            return;
        }
        let index = Index(self.chance.between(from.0, last.0));
        note!(self, "{}: loses its log from {index} on", place + 1);
        self.totals.damaged += 1;
        self.members[place].disk.take_damage(index, Damage { committed });
    }

    /// State machines write checkpoints, logs are cut, and removed members are shut down.
    pub(crate) fn upkeep(&mut self) -> Checked {
        if !self.healing {
            let wait = 1 + self.chance.below(2 * self.plan.upkeep);
            self.queue.push(self.time + wait, Event::Upkeep);
        }
        let place = self.chance.below(self.members.len() as u64) as usize;
        if self.members[place].is_up() {
            self.checkpoint(place)?;
        }
        if self.chance.permille(300) {
            self.retire();
        }
        Ok(())
    }

    /// A checkpoint of what the durable log contains, and often the log let go before it.
    pub(crate) fn checkpoint(&mut self, place: usize) -> Checked {
        let keep = if self.chance.permille(500) { 0 } else { self.chance.below(60) };
        let member = &mut self.members[place];
        let position = member.state.position;
        let installing = member.disk.jobs.iter().any(|job| matches!(job, Job::Install(_)));
        if !member.disk.holds(position) || installing {
            return Ok(());
        }
        if position.index > member.disk.checkpoint.position.index {
            member.disk.checkpoint = member.state.clone();
        }
        let sent = member.sending.iter().map(|(_, position)| position.index).min();
        let checkpoint = member.disk.checkpoint.position.index;
        let release = Index(checkpoint.0.saturating_sub(keep)).min(sent.unwrap_or(checkpoint));
        let reported = self.members[place].status().applied;
        if release < self.members[place].disk.first() || release > reported {
            return Ok(());
        }
        self.members[place].disk.release(release);
        self.report(place, Input::Checkpointed(release))
    }

    /// Shuts down for good who was removed, once the removal is sealed: those who are left must do
    /// without its vote, whatever they lose in a crash.
    pub(crate) fn retire(&mut self) {
        if !self.oracle.is_sealed() {
            return;
        }
        let newest = self.oracle.configuration().1;
        let gone = (0..self.members.len()).find(|&place| {
            let node = NodeId(place as u64 + 1);
            !self.members[place].retired && self.oracle.knows(node) && !newest.contains(node)
        });
        if let Some(place) = gone {
            note!(self, "{}: is shut down for good", place + 1);
            self.totals.retired += 1;
            let member = &mut self.members[place];
            member.disk.jobs.clear();
            member.forget();
            member.retired = true;
        }
    }
}
