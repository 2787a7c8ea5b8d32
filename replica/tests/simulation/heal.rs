//! The end of a run: nothing fails any more, and the cluster must get going again.

use revd_sim::{Checked, Time, ensure};

use crate::event::{Event, MS, SECOND};
use crate::watcher::Watcher;
use crate::world::{World, note};

/// How long a healed cluster has to serve again at every member, and then to come to rest: calls
/// answered, leases run out, everything applied everywhere and watched. Many times what it takes.
const SERVES: Time = 60 * SECOND;
const RESTS: Time = 90 * SECOND;

impl World {
    /// Ends all faults, waits until every member serves again and then until nothing is left to
    /// happen, and compares everything.
    pub(crate) fn heal(&mut self) -> Checked {
        note!(self, "everything is healed");
        self.healing = true;
        self.network.heal();
        self.clients.served.clear();
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            member.paused_until = 0;
            member.slow_until = 0;
            member.is_faulty = false;
            member.will_crash = false;
            member.disk.crash_at(u64::MAX);
            member.disk.heal();
            self.queue.push(self.time + 1, Event::Start(place));
        }
        let begun = self.time;
        self.until("every member serves", SERVES, World::is_served)?;
        self.totals.heal_milliseconds += (self.time - begun) / MS;
        self.clients.quiet = true;
        self.until("everything is done", RESTS, World::is_at_rest)?;
        for place in 0..self.members.len() {
            if self.is_member(place) {
                self.compare_member(place)?;
                self.compare_hash(place)?;
            }
        }
        Ok(())
    }

    fn until(&mut self, what: &str, most: Time, is_so: impl Fn(&World) -> bool) -> Checked {
        let begun = self.time;
        while self.time < begun + most {
            let next = self.time + 50 * MS;
            while self.time < next {
                self.next()?;
            }
            if is_so(self) {
                return Ok(());
            }
        }
        let standing: Vec<String> = self
            .members
            .iter()
            .filter(|member| member.is_up())
            .map(|member| {
                let machine = &member.driver().machine;
                let (stalled, applied) = (machine.is_stalled(), machine.applied());
                format!("{:?} {applied} {stalled}", member.driver().consensus.status())
            })
            .collect();
        ensure!(
            false,
            "no progress: it is not so that {what}; calls {:?}, leases {:?}, alarms {:?}, \
             committed {}, watchers {:?}, members {standing:#?}",
            self.clients.calls,
            self.oracle.model.leases.keys(),
            self.oracle.model.alarms,
            self.oracle.committed(),
            self.watchers.iter().map(Watcher::standing).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// Whether somebody is a member of the cluster now.
    pub(crate) fn is_member(&self, place: usize) -> bool {
        self.oracle.model.configuration.contains(crate::member::id(place))
    }

    /// Whether every member has answered calls since, and no alarm is left.
    fn is_served(&self) -> bool {
        let all = 0..self.members.len();
        self.oracle.model.alarms.is_empty()
            && all
                .filter(|&place| self.is_member(place))
                .all(|place| self.clients.served.get(&place).is_some_and(|&served| served >= 3))
    }

    /// Whether nothing is on its way any more.
    fn is_at_rest(&self) -> bool {
        let (committed, revision) = (self.oracle.committed(), self.oracle.model.revision);
        let has_applied = |place: usize| {
            let driver = self.members[place].driver.as_ref();
            driver.is_some_and(|driver| driver.machine.applied().index.0 == committed)
        };
        self.clients.calls.is_empty()
            && self.oracle.model.leases.is_empty()
            && (0..self.members.len()).filter(|&place| self.is_member(place)).all(has_applied)
            && self.watchers.iter().all(|watcher| watcher.has_seen(revision))
    }
}
