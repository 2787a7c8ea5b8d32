//! The core thread: consensus, machine and Lessor, driven by one loop.
//!
//! Each turn takes everything that waits in the inbox as one batch, makes it durable with one
//! sync, applies it, publishes it, and answers. As long as this member votes alone, the sync
//! happens on this very thread: a put then crosses threads twice, from its task to the core and
//! back. Whatever else touches the disk (checkpoints, sweeps, preparing the log) goes to the
//! thread of [`super::jobs`], so that no write ever waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use revd_raft::{Index, Input, ReadId, Refused, Role, RoleChange};
use revd_replica::{
    Application, Applied, Command, Consensus, Decoded, Due, Fatal, JobDone, LeaseChange, Lessor,
    Machine, Now, Renewal, RequestId, entry,
};

use super::handle::{CallError, Request, Shared, Slot, Status};
use super::jobs::Jobs;
use super::report;

/// The grain of raft's clock.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The tree is checkpointed after this long, or after so many applied entries, whichever comes
/// first. Both are etcd's for its own backend. The log has everything meanwhile.
const CHECKPOINT_AFTER: Duration = Duration::from_millis(100);
const CHECKPOINT_ENTRIES: u64 = 10_000;

/// While leases are counted down the Lessor is asked at least this often, so that a longer silence
/// means that the thread did not run.
const LEASE_BEAT: Duration = Duration::from_millis(100);

/// Everything that one member's thread owns.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) consensus: Consensus,
    pub(super) machine: Machine,
    pub(super) lessor: Lessor,
    pub(super) jobs: Jobs,
    pub(super) clock: Clock,
    pub(super) waiting: Waiting,
    pub(super) role: RoleChange,
    pub(super) next_tick: Instant,
    /// When the next checkpoint is due; `None` while nothing is new.
    pub(super) checkpoint_at: Option<Instant>,
}

/// The monotonic clock as the values below see it.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) start: Instant,
}

impl Clock {
    fn at(self, now: Instant) -> Now {
        Now(now.duration_since(self.start).as_nanos() as u64)
    }

    fn instant(self, now: Now) -> Instant {
        // A lease may last for centuries; a day is as good for a deadline.
        self.start + Duration::from_nanos(now.0.min(self.start.elapsed().as_nanos() as u64 + DAY))
    }
}

const DAY: u64 = 86_400_000_000_000;

/// Calls that wait for something.
#[derive(Default)]
pub(super) struct Waiting {
    /// For their entry to be applied. At most as many as the inbox takes in between two batches
    /// and consensus accepts by its bound on uncommitted bytes.
    proposals: HashMap<RequestId, Slot<Applied>>,
    /// For a read index that has not been asked for yet.
    barriers: Vec<Slot<()>>,
    /// For the answer to a read index.
    asked: VecDeque<(ReadId, Vec<Slot<()>>)>,
    /// For their read index to be applied.
    reads: Vec<(Index, Vec<Slot<()>>)>,
    last_read: u64,
    /// For an expired lease to be gone.
    expired: Vec<(i64, Slot<Option<i64>>)>,
    /// For compaction to have nothing left to do.
    compactions: Vec<Slot<()>>,
    /// A read index with which the Lessor confirms its leadership.
    confirmation: Option<ReadId>,
    /// Since when a compaction is being carried out.
    compacting_since: Option<Instant>,
}

impl Core {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Fatal`]: nothing that was not acknowledged may be trusted to have happened.
    pub(super) fn run(&mut self) -> Result<(), Fatal> {
        let mut batch = Vec::new();
        loop {
            self.shared.inbox.take_until(&mut batch, self.deadline());
            let now = Instant::now();
            self.tick(now);
            let mut stop = false;
            for request in batch.drain(..) {
                stop |= self.take(request, now)?;
            }
            self.turn(now)?;
            self.expire_leases(now);
            self.turn(now)?;
            self.start_work(now)?;
            if stop {
                return self.finish();
            }
        }
    }

    /// When the core must wake although nothing has arrived.
    fn deadline(&self) -> Option<Instant> {
        let tick = (!self.leads_alone()).then_some(self.next_tick);
        let lease = self
            .lessor
            .next_deadline()
            .map(|at| self.clock.instant(at).min(Instant::now() + LEASE_BEAT));
        let checkpoint = self.checkpoint_at.filter(|_| !self.machine.is_checkpointing());
        [tick, lease, checkpoint].into_iter().flatten().min()
    }

    /// A lone leader has nobody to send heartbeats to and nobody who could depose it: it needs no
    /// ticks, and an idle member then does not wake at all.
    fn leads_alone(&self) -> bool {
        self.role.role == Role::Leader
    }

    fn tick(&mut self, now: Instant) {
        if self.leads_alone() {
            self.next_tick = now + TICK;
            return;
        }
        // After a pause the ticks that were missed are not made up for: time stood still for this
        // member, and it must not start an election because of that.
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.input(Input::Tick);
        }
    }

    fn input(&mut self, input: Input) {
        if let Err(refused) = self.consensus.step(input) {
            tracing::debug!(error = %refused, "consensus refused an input");
        }
    }

    /// Takes one request; true when it is the one to stop.
    fn take(&mut self, request: Request, now: Instant) -> Result<bool, Fatal> {
        match request {
            Request::Propose { entry, decoded, slot } => {
                let id = decoded.request;
                match self.consensus.propose(entry, decoded) {
                    Ok(()) => drop(self.waiting.proposals.insert(id, slot)),
                    Err(refused) => answer(slot, Err(refusal(&refused))),
                }
            }
            Request::Barrier(slot) => self.waiting.barriers.push(slot),
            Request::KeepAlive { id, slot } => self.keep_alive(id, slot, now),
            Request::TimeToLive { id, slot } => {
                answer(slot, Ok(self.lessor.remaining(id, self.clock.at(now))));
            }
            Request::LeaseIds(slot) => answer(slot, Ok(self.lessor.ids())),
            Request::PhysicallyCompacted(slot) => self.waiting.compactions.push(slot),
            Request::Done(done) => self.done(done?)?,
            Request::Stop => return Ok(true),
        }
        Ok(false)
    }

    fn keep_alive(&mut self, id: i64, slot: Slot<Option<i64>>, now: Instant) {
        match self.lessor.renew(id, self.clock.at(now)) {
            Renewal::Renewed(ttl) => answer(slot, Ok(Some(ttl))),
            Renewal::Unknown => answer(slot, Ok(None)),
            Renewal::Expired => self.waiting.expired.push((id, slot)),
            Renewal::Unconfirmed => answer(slot, Err(CallError::NotPrimary)),
        }
    }

    fn done(&mut self, done: JobDone) -> Result<(), Fatal> {
        match done {
            JobDone::Log(done) => self.consensus.done(done),
            JobDone::Tree(done) => match self.machine.done(done)? {
                Some(index) => self.consensus.checkpointed(index),
                None => Ok(()),
            },
        }
    }

    /// Carries out everything that consensus has become due, until nothing is.
    fn turn(&mut self, now: Instant) -> Result<(), Fatal> {
        self.ask_read_index();
        let mut moved = false;
        loop {
            let output = self.consensus.take();
            if let Some(role) = output.role {
                self.changed_role(role);
                moved = true;
            }
            for read in output.reads {
                self.read_index_known(read.id, read.index, now);
            }
            for id in output.reads_failed {
                self.read_failed(id);
            }
            for job in output.jobs {
                self.jobs.start(job);
            }
            let idle = output.persist.is_none() && output.committed.is_empty();
            if let Some(persist) = output.persist {
                self.shared.meters.wal_bytes.add(persist.bytes() as u64);
                let start = Instant::now();
                let done = persist.run()?;
                let took = start.elapsed();
                self.shared.meters.wal_sync.observe(took);
                report::synced(took);
                self.consensus.done(done)?;
            }
            if !output.committed.is_empty() {
                let application = self.machine.apply(output.committed)?;
                self.consensus.applied(self.machine.applied().index)?;
                // Whoever gets an answer also finds it in what the member says of itself.
                self.publish_status();
                self.applied(application, now);
            }
            self.serve_reads();
            if idle {
                break;
            }
        }
        if moved {
            self.publish_status();
        }
        Ok(())
    }

    /// Tells everyone concerned what a batch has led to.
    fn applied(&mut self, application: Application, now: Instant) {
        let at = self.clock.at(now);
        if let Some(begun) = application.term_begun
            && self.role.role == Role::Leader
            && begun.term == self.role.term
        {
            self.lessor.lead(begun.term.0, at);
        }
        for change in application.leases {
            match change {
                LeaseChange::Granted { id, ttl } => self.lessor.granted(id, ttl, at),
                LeaseChange::Revoked { id } => self.revoked(id),
            }
        }
        if application.facts_changed {
            self.publish_facts();
        }
        for (id, result) in application.answers {
            if let Some(slot) = self.waiting.proposals.remove(&id) {
                answer(slot, result.map_err(CallError::Rejected));
            }
        }
        if self.checkpoint_at.is_none() {
            self.checkpoint_at = Some(now + CHECKPOINT_AFTER);
        }
    }

    fn revoked(&mut self, id: i64) {
        self.lessor.revoked(id);
        for (_, slot) in self.waiting.expired.extract_if(.., |(waits_for, _)| *waits_for == id) {
            answer(slot, Ok(None));
        }
    }

    /// One read index for all barriers that wait.
    fn ask_read_index(&mut self) {
        if self.waiting.barriers.is_empty() {
            return;
        }
        self.waiting.last_read += 1;
        let id = ReadId(self.waiting.last_read);
        let slots = std::mem::take(&mut self.waiting.barriers);
        match self.consensus.step(Input::Read(id)) {
            Ok(()) => self.waiting.asked.push_back((id, slots)),
            // Asked again once a leader is known; the callers' own time runs meanwhile.
            Err(Refused::NoLeader) => self.waiting.barriers = slots,
            Err(refused) => {
                for slot in slots {
                    answer(slot, Err(refusal(&refused)));
                }
            }
        }
    }

    fn read_index_known(&mut self, id: ReadId, index: Index, now: Instant) {
        if self.waiting.confirmation == Some(id) {
            self.waiting.confirmation = None;
            self.lessor.confirm(self.clock.at(now));
        }
        let at = self.waiting.asked.iter().position(|(asked, _)| *asked == id);
        if let Some((_, slots)) = at.and_then(|at| self.waiting.asked.remove(at)) {
            self.waiting.reads.push((index, slots));
        }
    }

    fn read_failed(&mut self, id: ReadId) {
        self.waiting.confirmation.take_if(|confirmation| *confirmation == id);
        let at = self.waiting.asked.iter().position(|(asked, _)| *asked == id);
        if let Some((_, slots)) = at.and_then(|at| self.waiting.asked.remove(at)) {
            for slot in slots {
                answer(slot, Err(CallError::LeaderChanged));
            }
        }
    }

    fn serve_reads(&mut self) {
        let applied = self.machine.applied().index;
        for (_, slots) in self.waiting.reads.extract_if(.., |(index, _)| *index <= applied) {
            for slot in slots {
                answer(slot, Ok(()));
            }
        }
    }

    fn expire_leases(&mut self, now: Instant) {
        match self.lessor.due(self.clock.at(now)) {
            Due::Nothing => {}
            Due::Expire { leases, term } => {
                for id in leases {
                    self.propose_unasked(Command::LeaseExpire { id, term });
                }
            }
            Due::Confirm => {
                if self.waiting.confirmation.is_none() {
                    self.waiting.last_read += 1;
                    let id = ReadId(self.waiting.last_read);
                    self.waiting.confirmation = Some(id);
                    self.input(Input::Read(id));
                }
            }
        }
    }

    /// Proposes a command that nobody waits for. If it is refused or lost, whoever wanted it asks
    /// again in time.
    fn propose_unasked(&mut self, command: Command) {
        let author = entry::Author::default();
        let request = RequestId(0);
        let bytes = entry::encode(&command, request, &author);
        if let Err(refused) = self.consensus.propose(bytes, Decoded { request, author, command }) {
            tracing::debug!(error = %refused, "a proposal of the member's own was refused");
        }
    }

    /// Starts checkpoints and sweeps that are due.
    fn start_work(&mut self, now: Instant) -> Result<(), Fatal> {
        if let Some(sweep) = self.machine.sweep()? {
            self.waiting.compacting_since.get_or_insert(now);
            self.jobs.start(sweep);
        } else if !self.machine.is_compacting()
            && let Some(since) = self.waiting.compacting_since.take()
        {
            self.publish_sizes();
            let size = self.shared.db_size.load(Relaxed);
            let in_use = self.shared.db_in_use.load(Relaxed);
            let revision = self.machine.store().compacted();
            report::compacted(revision, since.elapsed(), size, in_use);
        }
        let ahead = self.machine.applied().index.0 - self.machine.checkpointed().0;
        let is_due = self.checkpoint_at.is_some_and(|at| at <= now)
            || ahead >= CHECKPOINT_ENTRIES
            || (!self.waiting.compactions.is_empty() && !self.machine.is_compacting());
        if is_due && !self.machine.is_checkpointing() {
            self.checkpoint_at = None;
            match self.machine.checkpoint(self.consensus.status().persisted)? {
                Some(checkpoint) => self.jobs.start(checkpoint),
                None => self.compactions_done(),
            }
            self.publish_sizes();
        }
        Ok(())
    }

    /// Nothing is left to remove, and the disk knows.
    fn compactions_done(&mut self) {
        if !self.machine.is_compacting() {
            for slot in self.waiting.compactions.drain(..) {
                answer(slot, Ok(()));
            }
        }
    }

    fn changed_role(&mut self, role: RoleChange) {
        let member = self.consensus.status().id.0;
        if role.leader != self.role.leader {
            if role.leader.is_some() {
                self.shared.meters.leader_changes.add(1);
            }
            report::leader(member, self.role, role);
        }
        if role.role != Role::Leader {
            self.lessor.follow();
        }
        self.role = role;
    }

    /// Ends: what waits is refused, a job under way is waited for, and a last checkpoint makes the
    /// next start short.
    fn finish(&mut self) -> Result<(), Fatal> {
        while self.machine.is_checkpointing() || self.machine.is_sweeping() {
            let mut batch = Vec::new();
            self.shared.inbox.take_until(&mut batch, None);
            for request in batch {
                if let Request::Done(done) = request {
                    self.done(done?)?;
                }
            }
        }
        if let Some(checkpoint) = self.machine.checkpoint(self.consensus.status().persisted)? {
            let done = checkpoint.run()?;
            self.done(done)?;
        }
        Ok(())
    }

    fn publish_status(&mut self) {
        let raft = self.consensus.status();
        let applied = self.machine.applied();
        let mut facts = self.shared.facts.write();
        facts.status = Status {
            leader: raft.leader.map_or(0, |id| id.0),
            term: applied.term.0,
            raft_term: raft.term.0,
            commit: raft.commit.0,
            applied: applied.index.0,
            is_learner: false,
            ..facts.status
        };
        drop(facts);
        let counted = self.machine.counted();
        self.shared.meters.puts.set(counted.puts);
        self.shared.meters.deletes.set(counted.deletes);
        self.shared.meters.txns.set(counted.txns);
    }

    pub(super) fn publish_facts(&self) {
        let members = self.machine.members();
        let mut facts = self.shared.facts.write();
        facts.members = Arc::new(members.iter().cloned().collect());
        facts.alarms = Arc::new(self.machine.alarms().collect());
        facts.cluster_version = members.version().map(Arc::from);
    }

    pub(super) fn publish_sizes(&self) {
        let stats = self.machine.store().stats();
        // The reserve for a full disk is no data, and would only puzzle whoever watches the size.
        let size = stats.tree.file_bytes.saturating_sub(stats.tree.reserve_bytes);
        self.shared.db_size.store(size as i64, Relaxed);
        self.shared.db_in_use.store(stats.tree.used_bytes as i64, Relaxed);
    }
}

/// Answers a call whose caller may have gone.
fn answer<T>(slot: Slot<T>, result: Result<T, CallError>) {
    // A caller that has gone wants no answer.
    let _ = slot.send(result);
}

fn refusal(refused: &Refused) -> CallError {
    match refused {
        Refused::Full { .. } | Refused::TooManyReads { .. } => CallError::TooManyRequests,
        Refused::NotLeader { .. } | Refused::NoLeader => CallError::NoLeader,
        _ => CallError::LeaderChanged,
    }
}
