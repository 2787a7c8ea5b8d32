//! Room on a member's disk: what is let in, and what becomes of it when the disk is full.

use std::collections::VecDeque;

use revd_replica::job::PersistJob;
use revd_replica::{
    Alarm, AlarmAction, AlarmType, Command, Demand, Fatal, Now, SpaceAlarm, Verdict,
};

use crate::driver::Driver;
use crate::event::MS;

/// How long what has found the disk full waits before it tries again.
const RETRY: u64 = 100 * MS;

#[derive(Default)]
pub(crate) struct Room {
    /// Of the proposals that were let in and are not applied yet.
    let_in: Demand,
    alarm: SpaceAlarm,
    /// Entries to be made durable, in order; the first may have found the disk full.
    pub(crate) unwritten: VecDeque<PersistJob>,
    /// When what has found the disk full is tried again.
    retry_at: Option<Now>,
    /// The log waits for that.
    pub(crate) is_waiting: bool,
}

impl Room {
    /// A proposal that was let in is applied, or its caller has given up.
    pub(crate) fn let_out(&mut self, demand: Demand) {
        self.let_in.subtract(demand);
    }
}

impl Driver {
    /// Whether a proposal with this demand may be let in. If not, this member's alarm is wanted.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn let_in(&mut self, demand: Demand) -> Result<bool, Fatal> {
        if demand.cost == 0 {
            return Ok(true);
        }
        let mut sum = self.room.let_in;
        sum.add(demand);
        let has_room = self.room.retry_at.is_none()
            && self.consensus.has_room(sum.cost)
            && self.machine.has_room(sum, None)?;
        if has_room {
            self.room.let_in = sum;
        } else {
            self.refused_room();
        }
        Ok(has_room)
    }

    fn refused_room(&mut self) {
        if !self.has_space_alarm() {
            self.room.alarm.refused();
        }
    }

    /// Makes the first of the entries that wait durable; if the disk is full, they wait on.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn write(&mut self, now: Now) -> Result<(), Fatal> {
        let Some(job) = self.next_write() else { return Ok(()) };
        match job.run() {
            Ok(done) => self.consensus.done(done),
            Err(fatal) if fatal.is_full() => {
                self.room.unwritten.push_front(job);
                self.room.is_waiting = true;
                self.found_full(now);
                Ok(())
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Something that must be done found the disk full.
    pub(crate) fn found_full(&mut self, now: Now) {
        self.out.waits += 1;
        self.room.retry_at = Some(Now(now.0 + RETRY));
        self.refused_room();
    }

    /// Tries again what has found the disk full, and sees to this member's alarm.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn look_after_room(&mut self, now: Now) -> Result<(), Fatal> {
        if self.room.retry_at.is_some_and(|at| at <= now) {
            self.try_again(now)?;
        }
        let stands = self.has_space_alarm();
        if !self.room.alarm.is_due(now, stands) {
            return Ok(());
        }
        let is_ample = stands && self.has_ample_room()?;
        let action = match self.room.alarm.look(now, stands, is_ample) {
            Verdict::Nothing => return Ok(()),
            Verdict::Raise => AlarmAction::Activate,
            Verdict::Clear => AlarmAction::Deactivate,
        };
        let Alarm { member, alarm } = self.space_alarm();
        self.propose_unasked(Command::Alarm { action, member, alarm });
        self.turn(now)
    }

    fn try_again(&mut self, now: Now) -> Result<(), Fatal> {
        self.room.retry_at = None;
        self.machine.look_for_room();
        self.consensus.prepare();
        if self.room.is_waiting {
            self.room.is_waiting = false;
            // The log gets room when no checkpoint needs its older segments any more.
            self.consensus.give_up_spare()?;
            match self.machine.renew_checkpoint() {
                Err(fatal) if fatal.is_full() => self.found_full(now),
                done => done?,
            }
        }
        if self.machine.is_stalled() {
            self.apply(Vec::new(), now)?;
        }
        self.checkpoint_at = Some(now);
        Ok(())
    }

    fn has_ample_room(&mut self) -> Result<bool, Fatal> {
        self.consensus.prepare();
        let is_served = self.room.retry_at.is_none() && self.consensus.has_room(0);
        Ok(is_served && self.machine.has_ample_room(None)?)
    }

    fn space_alarm(&self) -> Alarm {
        Alarm { member: self.consensus.status().id.0, alarm: AlarmType::NoSpace }
    }

    fn has_space_alarm(&self) -> bool {
        let own = self.space_alarm();
        self.machine.alarms().any(|standing| standing == own)
    }
}
