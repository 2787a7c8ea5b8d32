//! What goes wrong: power, processes, disks, links.

use revd_disk::{Effect, Fault, Operation};
use revd_raft::NodeId;
use revd_sim::{Checked, Cut, Time};

use crate::event::{Event, MS};
use crate::member::id;
use crate::world::{World, note};

impl World {
    /// One fault.
    pub(crate) fn fault(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        let wait = 1 + self.chance.below(2 * self.plan.faults);
        self.queue.push(self.time + wait, Event::Fault);
        let weights = &self.plan.weights;
        let weights = [
            weights.crashes,
            weights.power_cuts,
            weights.failed_writes,
            weights.full_disks,
            weights.slow_disks,
            weights.cuts,
            weights.pauses,
            weights.broken_connections,
            weights.rot,
        ];
        let mut drawn = self.chance.below(weights.iter().sum());
        let which = weights.iter().position(|&weight| {
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        });
        // Half of the time it hits whoever leads.
        let anybody = self.chance.place(self.members.len());
        let place = self.leader().filter(|_| self.chance.permille(500)).unwrap_or(anybody);
        match which {
            Some(0) => self.fall(place),
            Some(1) => {
                let share = self.chance.pick(&[400, 700, 1_000]);
                for place in 0..self.members.len() {
                    if self.members[place].is_up() && self.chance.permille(share) {
                        self.totals.crashes += 1;
                        self.crash(place);
                    }
                }
            }
            Some(2) => self.fail_a_write(place),
            Some(3) => self.fill_disk(place),
            Some(4) => {
                self.totals.slow_disks += 1;
                let outage = 2 * self.outage();
                self.members[place].slow_until = self.time + outage;
            }
            Some(5) => self.cut(place),
            Some(6) => self.pause(place),
            Some(7) => self.break_connection(anybody),
            _ => self.rot(place),
        }
        Ok(())
    }

    /// How long a fault lasts.
    fn outage(&mut self) -> Time {
        self.chance.between(self.plan.outage / 4, self.plan.outage)
    }

    /// One member goes down, one way or another; seldom more than half of them.
    fn fall(&mut self, place: usize) {
        let down = self.members.iter().filter(|member| !member.is_up() && !member.retired).count();
        let all = self.members.iter().filter(|member| !member.retired).count();
        let most = 2 * (down + 1) >= all;
        if !self.members[place].is_up() || (most && self.chance.permille(800)) {
            return;
        }
        let leads = self.members[place].leads();
        match self.chance.below(4) {
            0 => {
                self.totals.kills += 1;
                note!(self, "{}: is killed", place + 1);
                self.kill(place);
            }
            1 => {
                self.totals.crashes += 1;
                note!(self, "{}: loses its power", place + 1);
                self.crash(place);
            }
            _ => {
                // In the midst of one of its next operations; `World::after` sees it.
                let member = &mut self.members[place];
                let moment = member.disk.operations() + self.chance.below(60);
                member.disk.crash_at(moment);
                member.will_crash = true;
            }
        }
        if leads && self.chance.permille(300) {
            self.tell_leader_lost(id(place));
        }
    }

    /// The power goes: of what was not synced, anything may survive.
    pub(crate) fn crash(&mut self, place: usize) {
        let seed = self.chance.next();
        let member = &mut self.members[place];
        member.disk.cut_power();
        member.forget();
        member.disk.recover(seed);
        member.will_crash = false;
        self.comes_back(place);
    }

    /// The process ends, the machine goes on.
    pub(crate) fn kill(&mut self, place: usize) {
        let member = &mut self.members[place];
        member.forget();
        member.disk.kill();
        if member.is_faulty {
            // Whoever starts it again sees to the disk first.
            member.disk.heal();
            member.is_faulty = false;
        }
        self.comes_back(place);
    }

    fn comes_back(&mut self, place: usize) {
        let outage = if self.healing { MS } else { self.plan.outage };
        let down = 1 + self.chance.below(outage);
        self.queue.push(self.time + down, Event::Start(place));
        let member = &mut self.members[place];
        // A new process meets the same disk: what was limited is limited still.
        member.is_faulty &= member.is_up();
        member.disk.heal();
    }

    /// The next write or sync of some file fails, and the member must stop.
    fn fail_a_write(&mut self, place: usize) {
        let member = &mut self.members[place];
        if !member.is_up() || member.is_faulty || member.will_crash {
            return;
        }
        let file = self.chance.pick(&["wal", "tree", "vote", ""]);
        let (operation, effect) = match self.chance.below(3) {
            0 => (Operation::Sync, Effect::Io),
            1 => (Operation::Write, Effect::Io),
            _ => (Operation::Write, Effect::Torn),
        };
        note!(self, "{}: {operation:?} of {file:?} will fail: {effect:?}", place + 1);
        let member = &mut self.members[place];
        member.disk.inject(Fault::new(operation, effect).on(file).after(self.chance.below(3)));
        member.is_faulty = true;
    }

    /// Somebody else takes the room on the disk, for a while.
    fn fill_disk(&mut self, place: usize) {
        let member = &mut self.members[place];
        if !member.is_up() || member.is_faulty || member.will_crash {
            return;
        }
        self.totals.full_disks += 1;
        let left = self.chance.below(300 << 10);
        member.disk.set_capacity(member.disk.allocated() + left);
        member.is_faulty = true;
        note!(self, "{}: has {left} bytes of room", place + 1);
        let outage = 2 * self.outage();
        self.queue.push(self.time + outage, Event::MakeRoom(place));
    }

    /// The disk has room again, and works.
    pub(crate) fn make_room(&mut self, place: usize) {
        let member = &mut self.members[place];
        member.disk.heal();
        member.is_faulty = false;
        note!(self, "{}: has room", place + 1);
    }

    fn cut(&mut self, place: usize) {
        if self.network.is_cut() {
            return;
        }
        self.totals.cuts += 1;
        let cut = match self.chance.below(8) {
            0 | 1 => Cut::Full,
            2 => Cut::OneWay,
            3 => Cut::Partial,
            4 => Cut::Deaf(place),
            5 => Cut::Mute(place),
            _ => Cut::Alone(place),
        };
        note!(self, "links are cut: {cut:?}");
        self.network.cut(cut, self.members.len(), &mut self.chance);
        let time = self.time + self.outage();
        self.queue.push(time, Event::Reconnect);
    }

    fn pause(&mut self, place: usize) {
        if self.members[place].paused_until > self.time || !self.members[place].is_up() {
            return;
        }
        self.totals.pauses += 1;
        note!(self, "{}: stands still", place + 1);
        let outage = self.outage();
        self.members[place].paused_until = self.time + outage;
    }

    /// A connection breaks, and the other end takes it for the end of the leader.
    fn break_connection(&mut self, place: usize) {
        let Some(leader) = self.leader().filter(|&leader| leader != place) else { return };
        self.totals.broken += 1;
        let life = self.members[place].life;
        self.queue.push(self.time + 1, Event::LeaderLost(life, id(leader)));
    }

    /// The peers of a leader that went down see their connections break.
    fn tell_leader_lost(&mut self, leader: NodeId) {
        for other in 0..self.members.len() {
            let time = self.time + 1 + self.chance.below(5 * MS);
            let life = self.members[other].life;
            self.queue.push(time, Event::LeaderLost(life, leader));
        }
    }
}
