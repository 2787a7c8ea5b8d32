//! Room: what is let in, and what becomes of it when the disk is full.
//!
//! Growth is let in only while the tree and the log have room for it and for all growth that was
//! let in and is not applied yet; the tree takes that room from the file system at once, so it is
//! still there when the entry is applied. What is refused raises this member's NOSPACE alarm, and
//! the alarm is cleared when there has been ample room for a minute.
//!
//! Should the disk be full all the same (somebody else fills it, or a follower has less of it than
//! its leader), nothing is lost or refused any more: entries wait for the log, committed ones for
//! the tree, and all is tried again every tenth of a second. Reads go on meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use revd_replica::job::PersistJob;
use revd_replica::{Alarm, AlarmAction, AlarmType, Command, Demand, Fatal, SpaceAlarm, Verdict};

use super::core::Core;
use super::jobs::{self, Written};
use super::report;

/// How long what has found the disk full waits before it tries again.
const RETRY: Duration = Duration::from_millis(100);

/// What a member's thread knows of room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Of the proposals that were let in and are not applied yet. Each of them is among the calls
    /// that wait.
    let_in: Demand,
    alarm: SpaceAlarm,
    /// Entries that wait for room in the log, or to be written right away.
    unwritten: VecDeque<PersistJob>,
    /// The log's thread is writing.
    is_writing: bool,
    /// When what has found the disk full is tried again; `None` while nothing has.
    retry_at: Option<Instant>,
}

impl Core {
    /// Whether a proposal with this demand may be let in. If not, this member's alarm is wanted.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn let_in(&mut self, demand: Demand) -> Result<bool, Fatal> {
        if demand.cost == 0 {
            return Ok(true);
        }
        let mut sum = self.room.let_in;
        sum.add(demand);
        let quota = self.shared.config.quota();
        let has_room = self.room.retry_at.is_none()
            && self.consensus.has_room(sum.cost)
            && self.machine.has_room(sum, quota)?;
        if has_room {
            self.room.let_in = sum;
        } else {
            self.refused_room();
        }
        Ok(has_room)
    }

    /// A proposal that was let in is applied.
    pub(super) fn let_out(&mut self, demand: Demand) {
        self.room.let_in.subtract(demand);
    }

    /// A request was refused for want of room, here or at the door.
    pub(super) fn refused_room(&mut self) {
        if !self.has_space_alarm() {
            self.room.alarm.refused();
        }
    }

    /// Makes durable what waits for it, in order, until the log finds the disk full: here and now
    /// for a member that is alone, else on the log's own thread.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn persist(&mut self, next: Option<PersistJob>) -> Result<(), Fatal> {
        self.room.unwritten.extend(next);
        while !self.room.is_writing
            && let Some(job) = self.room.unwritten.pop_front()
        {
            if !self.consensus.is_lone() {
                self.room.is_writing = true;
                self.jobs.persist(job);
            } else if !self.written(jobs::write(job))? {
                break;
            }
        }
        Ok(())
    }

    /// Takes what the log's thread has made durable.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn persisted(&mut self, written: Written) -> Result<(), Fatal> {
        self.room.is_writing = false;
        if self.written(written)? { self.persist(None) } else { Ok(()) }
    }

    /// Whether it was written; if not, the disk was full, and it is tried again.
    fn written(&mut self, written: Written) -> Result<bool, Fatal> {
        let Written { job, outcome, took } = written;
        match outcome {
            Ok(done) => {
                self.shared.meters.wal_bytes.add(job.bytes() as u64);
                self.shared.meters.wal_sync.observe(took);
                report::synced(took);
                self.consensus.done(done)?;
                Ok(true)
            }
            Err(fatal) if fatal.is_full() => {
                self.room.unwritten.push_front(job);
                self.found_full(Instant::now(), &fatal);
                Ok(false)
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Something that must be done found the disk full.
    pub(super) fn found_full(&mut self, now: Instant, fatal: &Fatal) {
        if !self.shared.is_full.swap(true, Relaxed) {
            report::disk_full(fatal);
        }
        self.room.retry_at = Some(now + RETRY);
        self.refused_room();
    }

    /// When room is to be looked at next.
    pub(super) fn room_deadline(&self) -> Option<Instant> {
        let alarm = self.room.alarm.deadline(self.has_space_alarm());
        [self.room.retry_at, alarm.map(|at| self.clock.instant(at))].into_iter().flatten().min()
    }

    /// Tries again what has found the disk full, and sees to this member's alarm.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn look_after_room(&mut self, now: Instant) -> Result<(), Fatal> {
        if self.room.retry_at.is_some_and(|at| at <= now) {
            self.try_again(now)?;
        }
        let (at, stands) = (self.clock.at(now), self.has_space_alarm());
        if !self.room.alarm.is_due(at, stands) {
            return Ok(());
        }
        let is_ample = stands && self.has_ample_room()?;
        let action = match self.room.alarm.look(at, stands, is_ample) {
            Verdict::Nothing => return Ok(()),
            Verdict::Raise => AlarmAction::Activate,
            Verdict::Clear => AlarmAction::Deactivate,
        };
        report::space_alarm(action, &self.shared.config);
        let Alarm { member, alarm } = self.space_alarm();
        self.propose_unasked(Command::Alarm { action, member, alarm });
        self.turn(now)
    }

    fn try_again(&mut self, now: Instant) -> Result<(), Fatal> {
        self.room.retry_at = None;
        self.machine.look_for_room();
        self.consensus.prepare();
        if !self.room.unwritten.is_empty() {
            // The log gets room when no checkpoint needs its older segments any more.
            self.consensus.give_up_spare()?;
            match self.machine.renew_checkpoint() {
                Err(fatal) if fatal.is_full() => self.found_full(now, &fatal),
                done => done?,
            }
            self.persist(None)?;
        }
        if self.machine.is_stalled() {
            self.apply(Vec::new(), now)?;
        }
        // The checkpoint that comes next tells whether there is room.
        self.checkpoint_at = Some(now);
        Ok(())
    }

    /// A checkpoint had room; if nothing else waits for it, the disk is full no more.
    pub(super) fn found_room(&mut self) {
        if self.room.retry_at.is_none() && self.shared.is_full.swap(false, Relaxed) {
            report::disk_not_full();
        }
    }

    fn has_ample_room(&mut self) -> Result<bool, Fatal> {
        self.consensus.prepare();
        let is_served = self.room.retry_at.is_none() && self.consensus.has_room(0);
        Ok(is_served && self.machine.has_ample_room(self.shared.config.quota())?)
    }

    fn space_alarm(&self) -> Alarm {
        Alarm { member: self.consensus.status().id.0, alarm: AlarmType::NoSpace }
    }

    fn has_space_alarm(&self) -> bool {
        let own = self.space_alarm();
        self.machine.alarms().any(|standing| standing == own)
    }
}
