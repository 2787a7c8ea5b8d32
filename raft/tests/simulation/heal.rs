//! The end of a run: nothing fails any more, and the cluster must get going again.

use revd_raft::*;
use revd_sim::{Checked, ensure};

use crate::event::{Event, TICK};
use crate::world::{World, note};

/// How many times the longest election timeout a healed cluster has at most. One passes before
/// anybody stands, a few are lost to split votes and to voters that must first learn of a change,
/// and then a snapshot for a member that is far behind, the end of a joint configuration, and a
/// read at each member take a heartbeat or two each. The worst of 600 seeds took 6, half took 0.5.
const TIMEOUTS: u64 = 20;

/// What the healed cluster has been asked for.
#[derive(Default)]
struct Asked {
    /// A write was committed here since.
    committed: Option<Index>,
    /// The reads of each member. Those handed to a leader that vanished are never answered.
    reads: Vec<Vec<ReadId>>,
}

impl World {
    /// Ends all faults, then waits until a leader is elected, every member of the newest
    /// configuration has applied a new write and has served a read.
    pub(crate) fn heal(&mut self) -> Checked {
        note!(self, "everything is healed");
        self.healing = true;
        self.network.heal();
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            member.paused_until = 0;
            member.slow_until = 0;
            member.tick = TICK;
            self.queue.push(self.time + 1, Event::Start(place));
        }
        let begun = self.time;
        let timeout = 2 * u64::from(self.plan.config.election_ticks);
        let mut asked = Asked::default();
        for tick in 0..TIMEOUTS * timeout {
            while self.queue.next_time().is_some_and(|time| time <= begun + tick * TICK) {
                self.next()?;
            }
            if self.is_healed(&asked) {
                self.totals.healed += 1;
                self.totals.heal_ticks = tick;
                return Ok(());
            }
            if tick.is_multiple_of(timeout / 2) {
                self.ask(&mut asked)?;
            }
        }
        let damaged = self.members.iter().any(|member| member.disk.damage.is_some());
        if damaged && self.plan.changes > 0 {
            self.totals.stood_still += 1;
            return Ok(());
        }
        let up = self.members.iter().filter(|member| member.is_up());
        let standing: Vec<String> = up
            .map(|member| format!("{:?} {:?}", member.status(), member.configuration()))
            .collect();
        ensure!(false, "no progress after {} ticks: {standing:#?}", TIMEOUTS * timeout);
        Ok(())
    }

    /// What an operator and the clients do: end what was left joint, write, and read everywhere.
    fn ask(&mut self, asked: &mut Asked) -> Checked {
        self.retire();
        for place in 0..self.members.len() {
            if self.members[place].is_up() && self.chance.permille(300) {
                self.checkpoint(place)?;
            }
        }
        let Some(leader) = self.leader() else { return Ok(()) };
        if self.members[leader].configuration().is_joint() {
            self.propose_change(leader, Change::Leave, false)?;
        }
        if asked.committed.is_none() {
            asked.committed = Some(self.oracle.committed().next());
        }
        self.put(leader)?;
        asked.reads.resize(self.members.len(), Vec::new());
        for place in 0..self.members.len() {
            if self.members[place].is_up() && !self.is_served(&asked.reads[place]) {
                let id = self.read(place)?;
                asked.reads[place].push(id);
            }
        }
        Ok(())
    }

    fn is_served(&self, reads: &[ReadId]) -> bool {
        reads.iter().any(|&id| self.oracle.reads.is_served(id))
    }

    /// Whether every member of the newest configuration has caught up and answers.
    fn is_healed(&self, asked: &Asked) -> bool {
        let (Some(committed), Some(leader)) = (asked.committed, self.leader()) else {
            return false;
        };
        let configuration = self.members[leader].configuration();
        !configuration.is_joint()
            && configuration == self.oracle.configuration().1
            && configuration.members().iter().all(|node| {
                let place = node.0 as usize - 1;
                let applied = self.members[place].state.position.index;
                let reads = asked.reads.get(place);
                applied >= committed && reads.is_some_and(|reads| self.is_served(reads))
            })
    }
}
