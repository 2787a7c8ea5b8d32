//! What the member does beside requests: checkpoints, steps of compaction, automatic compaction.
//!
//! A step of compaction is read and rewritten on the job thread; the core only plans it and takes
//! over the result. How long each of these holds the core is counted, and the next step waits until
//! steps have had no more than a small share of the core's time: so compaction goes on beside any
//! load, and hardly a request meets it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use revd_raft::{Index, Role};
use revd_replica::{
    Applied, Author, AutoCompaction, Command, Decoded, Fatal, LogDone, Prepared, Rejected,
    RequestId, SlowDisk, TreeDone, entry, slow_disk,
};

use super::core::{Core, answer};
use super::report;

/// The tree is checkpointed after this long, or after so many applied entries, whichever comes
/// first. Both are etcd's for its own backend. The log has everything meanwhile.
pub(super) const CHECKPOINT_AFTER: Duration = Duration::from_millis(100);
const CHECKPOINT_ENTRIES: u64 = 10_000;

/// One part in so many of the core's time is for steps of compaction.
const SWEEP_SHARE: u32 = 200;
/// The next step does not wait for longer than this, however long the last one took.
const SWEEP_PAUSE_MAX: Duration = Duration::from_millis(100);

/// From one step of preparing room in the log, of a mebibyte, to the next: a member that has just
/// started prepares a hundred of them, and whoever shares its disk waits for the syncs of each.
const PREPARE_PAUSE: Duration = Duration::from_millis(20);

/// One step of reading everything again reads so much, and the next comes so much later: 8 MiB a
/// second at most.
const SCRUB_BYTES: u64 = 2 << 20;
const SCRUB_PAUSE: Duration = Duration::from_millis(250);
/// From the start to the first such reading.
const SCRUB_FIRST: Duration = Duration::from_secs(600);
/// From the end of one to the beginning of the next.
const SCRUB_REST: Duration = Duration::from_secs(86_400);

/// What a member's thread knows of its upkeep.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// Since when a compaction is being carried out.
    compacting_since: Option<Instant>,
    /// No step of compaction begins earlier.
    sweep_at: Option<Instant>,
    /// How long the step under way has held the core so far.
    held: Duration,
    /// When the next step of the scrub is due; `None` while one is under way.
    scrub_at: Option<Instant>,
    /// When the log is told that there is more room to prepare; `None` if there is not.
    prepare_at: Option<Instant>,
    /// Whether leadership should go to a member with a quicker disk.
    pub(super) slow_disk: SlowDisk,
    auto: Option<AutoCompaction>,
    /// The automatic compaction that is on its way through the log, and since when.
    asked: Option<(RequestId, Instant)>,
}

impl Upkeep {
    pub(super) fn new(auto: Option<AutoCompaction>, now: Instant) -> Self {
        Self {
            compacting_since: None,
            sweep_at: None,
            held: Duration::ZERO,
            scrub_at: Some(now + SCRUB_FIRST),
            prepare_at: None,
            slow_disk: SlowDisk::new(slow_disk::Options::default()),
            auto,
            asked: None,
        }
    }
}

impl Core {
    /// When upkeep wants the core to wake.
    pub(super) fn upkeep_deadline(&self) -> Option<Instant> {
        let is_waiting = self.machine.is_compacting() && !self.machine.is_sweeping();
        let sweep = self.upkeep.sweep_at.filter(|_| is_waiting);
        let auto = self.upkeep.auto.as_ref().map(|auto| self.clock.instant(auto.deadline()));
        [sweep, auto, self.upkeep.scrub_at, self.upkeep.prepare_at].into_iter().flatten().min()
    }

    /// Takes the result of a job on the log. That there is more room to prepare, the log gets to
    /// know after a pause.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn log_done(&mut self, done: LogDone, now: Instant) -> Result<(), Fatal> {
        if matches!(done, LogDone::Upkeep(Prepared::More)) {
            self.upkeep.prepare_at = Some(now + PREPARE_PAUSE);
            return Ok(());
        }
        self.consensus.done(done)
    }

    /// Goes on preparing room in the log, when that is due.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn prepare_log(&mut self, now: Instant) -> Result<(), Fatal> {
        match self.upkeep.prepare_at.take_if(|at| *at <= now) {
            Some(_) => self.consensus.done(LogDone::Upkeep(Prepared::More)),
            None => Ok(()),
        }
    }

    /// Starts checkpoints and sweeps that are due.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn start_work(&mut self, now: Instant) -> Result<(), Fatal> {
        if let Some(installation) = self.machine.installation() {
            self.jobs.start(installation);
        }
        self.start_sweep(now)?;
        self.start_scrub(now);
        let ahead = self.machine.applied().index.0 - self.machine.checkpointed().0;
        let is_due = self.checkpoint_at.is_some_and(|at| at <= now)
            || ahead >= CHECKPOINT_ENTRIES
            || (!self.waiting.compactions.is_empty() && !self.machine.is_compacting());
        if is_due && !self.machine.is_checkpointing() {
            self.checkpoint_at = None;
            match self.machine.checkpoint(self.consensus.status().persisted) {
                Ok(Some(checkpoint)) => {
                    self.jobs.start(checkpoint);
                    self.found_room();
                }
                Ok(None) => {
                    self.compactions_done();
                    self.found_room();
                }
                Err(fatal) if fatal.is_full() => self.found_full(now, &fatal),
                Err(fatal) => return Err(fatal),
            }
            self.publish_sizes();
        }
        Ok(())
    }

    fn start_sweep(&mut self, now: Instant) -> Result<(), Fatal> {
        if !self.machine.is_compacting() {
            self.upkeep.sweep_at = None;
            if let Some(since) = self.upkeep.compacting_since.take() {
                self.finished_compaction(since);
            }
            return Ok(());
        }
        if self.machine.is_sweeping() || self.upkeep.sweep_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let start = Instant::now();
        if let Some(sweep) = self.machine.sweep()? {
            self.upkeep.held = start.elapsed();
            self.upkeep.compacting_since.get_or_insert(now);
            self.jobs.start(sweep);
        }
        Ok(())
    }

    fn start_scrub(&mut self, now: Instant) {
        if self.upkeep.scrub_at.is_some_and(|at| at <= now)
            && let Some(scrub) = self.machine.scrub(SCRUB_BYTES)
        {
            self.upkeep.scrub_at = None;
            self.jobs.start(scrub);
        }
    }

    fn scrubbed(&mut self, bytes: u64, now: Instant) {
        self.shared.meters.scrubbed_bytes.add(bytes);
        let pause = if self.machine.has_scrubbed_all() {
            report::scrubbed();
            SCRUB_REST
        } else {
            SCRUB_PAUSE
        };
        self.upkeep.scrub_at = Some(now + pause);
    }

    fn finished_compaction(&mut self, since: Instant) {
        self.publish_sizes();
        let size = self.shared.db_size.load(Relaxed);
        let in_use = self.shared.db_in_use.load(Relaxed);
        self.shared.meters.compaction.observe(since.elapsed());
        report::compacted(self.machine.store().compacted(), since.elapsed(), size, in_use);
    }

    /// Takes the result of a job on the tree; see [`revd_replica::Machine::done`].
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn tree_done(
        &mut self,
        done: TreeDone,
        now: Instant,
    ) -> Result<Option<Index>, Fatal> {
        if matches!(done, TreeDone::Checkpointed { .. }) {
            // What it no longer uses is free, or given back, with the next ones: there is one more,
            // as long as that finds something to do.
            self.checkpoint_at.get_or_insert(now + CHECKPOINT_AFTER);
        }
        if let TreeDone::Scrubbed(scrubbed) = &done {
            let bytes = scrubbed.bytes;
            let released = self.machine.done(done)?;
            self.scrubbed(bytes, now);
            return Ok(released);
        }
        let TreeDone::Swept(swept) = &done else { return self.machine.done(done) };
        self.shared.meters.compacted_records.add(swept.removed());
        let start = Instant::now();
        let released = self.machine.done(done)?;
        let held = self.upkeep.held + start.elapsed();
        self.shared.meters.sweep_pause.observe(held);
        let pause = held.saturating_mul(SWEEP_SHARE).min(SWEEP_PAUSE_MAX);
        self.upkeep.sweep_at = Some(now + pause);
        // What was rewritten becomes durable, and room free, without waiting for a write.
        self.checkpoint_at.get_or_insert(now + CHECKPOINT_AFTER);
        Ok(released)
    }

    /// Nothing is left to remove, and the disk knows.
    fn compactions_done(&mut self) {
        if !self.machine.is_compacting() {
            for slot in self.waiting.compactions.drain(..) {
                answer(slot, Ok(()));
            }
        }
    }

    /// Proposes the automatic compaction that is due.
    pub(super) fn compact_by_itself(&mut self, now: Instant) {
        let (at, leads) = (self.clock.at(now), self.role.role == Role::Leader);
        let current = self.machine.store().revision().0;
        let Some(auto) = &mut self.upkeep.auto else { return };
        if !leads && self.upkeep.asked.take().is_some() {
            auto.done(at, false);
        }
        let Some(revision) = auto.due(at, current, leads) else { return };
        report::auto_compaction_starts(&self.shared.config, revision);
        let command = Command::Compact { revision, physical: false };
        let (author, request) = (Author::default(), self.shared.next_request_id());
        let bytes = entry::encode(&command, request, &author);
        match self.consensus.propose(bytes, Decoded { request, author, command }) {
            Ok(()) => self.upkeep.asked = Some((request, now)),
            Err(refused) => {
                report::auto_compaction_failed(&self.shared.config, revision, &refused);
                auto.done(at, false);
            }
        }
    }

    /// Takes the answer of a proposal that no call waits for.
    pub(super) fn answered_unasked(
        &mut self,
        id: RequestId,
        result: &Result<Applied, Rejected>,
        now: Instant,
    ) {
        let Some((_, since)) = self.upkeep.asked.take_if(|(asked, _)| *asked == id) else { return };
        // Somebody else may have compacted meanwhile.
        let compacted = Rejected::KeySpace(revd_mvcc::Rejected::Compacted);
        let is_compacted = match result {
            Ok(_) => true,
            Err(rejected) => *rejected == compacted,
        };
        report::auto_compaction_done(&self.shared.config, is_compacted, since.elapsed());
        let at = self.clock.at(now);
        if let Some(auto) = &mut self.upkeep.auto {
            auto.done(at, is_compacted);
        }
    }
}
