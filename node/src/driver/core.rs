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

use revd_raft::{ChangeError, Input, NodeId, ReadId, Refused, Role, RoleChange};
use revd_replica::{
    Application, Applied, Command, Committed, Consensus, Demand, Fatal, Job, JobDone, Leases,
    Machine, NotLeader, Now, Reads, Received, Rejected, RequestId, refill,
};

use super::cluster::Unsealed;
use super::handle::{CallError, Proposal, Request, Shared, Slot, Status};
use super::jobs::Jobs;
use super::report;
use super::room::Room;
use super::upkeep::{CHECKPOINT_AFTER, Upkeep};
use crate::peer::Peers;

/// The grain of raft's clock.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Everything that one member's thread owns.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) consensus: Consensus,
    pub(super) machine: Machine,
    pub(super) leases: Leases<Slot<Option<i64>>>,
    pub(super) reads: Reads<Slot<()>>,
    pub(super) jobs: Jobs,
    pub(super) peers: Peers,
    pub(super) clock: Clock,
    pub(super) waiting: Waiting,
    pub(super) role: RoleChange,
    pub(super) next_tick: Instant,
    /// When the next checkpoint is due; `None` while nothing is new.
    pub(super) checkpoint_at: Option<Instant>,
    pub(super) room: Room,
    pub(super) upkeep: Upkeep,
    /// A change of voters that is applied and not sealed yet.
    pub(super) unsealed: Option<Unsealed>,
    /// When it is looked for learners that have caught up, if this member promotes them by itself.
    pub(super) promote_at: Option<Instant>,
    /// When this member, which was removed from its cluster, is to end.
    pub(super) removed_at: Option<Instant>,
    /// A snapshot that consensus wants installed, until it says that nothing is in the way.
    pub(super) received: Option<Received>,
}

/// How the core has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The member does not belong to its cluster any more.
    Removed,
    /// The member has lost some of what it had, and begins anew at its next start.
    Lost,
}

/// The monotonic clock as the values below see it.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) start: Instant,
}

impl Clock {
    pub(super) fn at(self, now: Instant) -> Now {
        Now(now.duration_since(self.start).as_nanos() as u64)
    }

    pub(super) fn instant(self, now: Now) -> Instant {
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
    pub(super) proposals: HashMap<RequestId, (Slot<Applied>, Demand)>,
    /// When it is looked for callers that have given up.
    pub(super) forget_at: Option<Instant>,
    /// For a leader, or for an earlier change of members to be done. As many as the inbox takes.
    pub(super) early: VecDeque<Proposal>,
    /// For compaction to have nothing left to do.
    pub(super) compactions: Vec<Slot<()>>,
    /// For leadership to go to another member.
    pub(super) transfers: Vec<(NodeId, Slot<()>)>,
}

impl Core {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Fatal`]: nothing that was not acknowledged may be trusted to have happened.
    pub(super) fn run(&mut self) -> Result<Ended, Fatal> {
        let mut batch = Vec::new();
        loop {
            self.shared.inbox.take_until(&mut batch, self.deadline());
            let now = Instant::now();
            self.tick(now);
            let mut stop = false;
            for request in batch.drain(..) {
                stop |= self.take(request, now)?;
            }
            self.prepare_log(now)?;
            self.turn(now)?;
            self.leases.expire(&mut self.consensus, self.clock.at(now));
            self.compact_by_itself(now);
            self.promote_by_itself(now);
            self.turn(now)?;
            self.look_after_room(now)?;
            self.start_work(now)?;
            if stop {
                self.finish()?;
                return Ok(Ended::Stopped);
            }
            if self.leaves_at().is_some_and(|at| at <= now) {
                self.finish()?;
                return Ok(Ended::Removed);
            }
        }
    }

    /// When the core must wake although nothing has arrived.
    fn deadline(&self) -> Option<Instant> {
        let tick = (!self.leads_alone()).then_some(self.next_tick);
        let lease = self.leases.next_deadline().map(|at| self.clock.instant(at));
        let checkpoint = self.checkpoint_at.filter(|_| !self.machine.is_checkpointing());
        let (room, upkeep) = (self.room_deadline(), self.upkeep_deadline());
        let promotion = self.promote_at.filter(|_| self.has_learners());
        [tick, lease, checkpoint, room, upkeep, promotion, self.leaves_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A lone leader has nobody to send heartbeats to and nobody who could depose it: it needs no
    /// ticks, and an idle member then does not wake at all.
    fn leads_alone(&self) -> bool {
        self.role.role == Role::Leader && self.consensus.is_lone()
    }

    fn tick(&mut self, now: Instant) {
        if self.leads_alone() {
            self.next_tick = now + TICK;
            return;
        }
        // After a pause the ticks that were missed are not made up for: time stood still for this
        // member, and it must not start an election because of that.
        if now >= self.next_tick {
            self.look_after_heartbeats(self.next_tick, now);
            self.next_tick = now + TICK;
            self.input(Input::Tick);
            self.look_after_disk(now);
            self.ask_again(now);
            self.forget_given_up(now);
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        if let Err(refused) = self.consensus.step(input) {
            tracing::debug!(error = %refused, "consensus refused an input");
        }
    }

    /// Takes one request; true when it is the one to stop.
    fn take(&mut self, request: Request, now: Instant) -> Result<bool, Fatal> {
        match request {
            Request::Propose(proposal) => self.propose(proposal)?,
            Request::RefusedRoom => {
                self.refused_room();
                // Before what the caller asks next, which may be for the standing alarms.
                self.look_after_room(now)?;
            }
            Request::Peer(event) => self.peer(event, now),
            Request::CheckPromotion { id, slot } => self.check_promotion(id, slot),
            Request::Transfer { to, slot } => self.transfer(to, slot),
            Request::HandOver(slot) => self.hand_over(slot),
            Request::Barrier(slot) => self.reads.push(slot),
            Request::KeepAlive { id, slot } => {
                self.leases.renew(&mut self.consensus, id, slot, self.clock.at(now));
            }
            Request::TimeToLive { id, slot } => {
                answer(slot, Ok(self.leases.lessor().remaining(id, self.clock.at(now))));
            }
            Request::LeaseIds(slot) => answer(slot, Ok(self.leases.lessor().ids())),
            Request::Hashes(slot) => answer(slot, Ok(self.machine.trail().hashes())),
            Request::Failed(fatal) => return Err(fatal),
            Request::Damaged(what) if self.is_spare() => return Err(what.into()),
            // Whoever read it has its error, and so has the log.
            Request::Damaged(_) => {}
            Request::PhysicallyCompacted(slot) => self.waiting.compactions.push(slot),
            Request::Persisted(written) => self.persisted(written)?,
            Request::Done(done) => self.done(done?, now)?,
            Request::Stop => return Ok(true),
        }
        Ok(false)
    }

    /// Whether others can refill this member.
    fn is_spare(&self) -> bool {
        refill::is_spare(self.machine.configuration(), self.consensus.status().id)
    }

    fn done(&mut self, done: JobDone, now: Instant) -> Result<(), Fatal> {
        match done {
            JobDone::Log(done) => self.log_done(done, now),
            JobDone::Tree(done) => match self.tree_done(done, now)? {
                Some(index) => self.consensus.checkpointed(index),
                None => Ok(()),
            },
            JobDone::Installed(installation) => self.installed(*installation, now),
        }
    }

    /// Carries out everything that consensus has become due, until nothing is.
    pub(super) fn turn(&mut self, now: Instant) -> Result<(), Fatal> {
        self.propose_early()?;
        self.ask_read_index(now);
        let mut moved = false;
        loop {
            let output = self.consensus.take();
            // A read index may let a renewal go on that proposes something.
            let is_written_here = output.persist.is_some() && self.consensus.is_lone();
            let idle = !is_written_here && output.committed.is_empty() && output.reads.is_empty();
            if let Some(role) = output.role {
                self.changed_role(role);
                moved = true;
            }
            for read in output.reads {
                self.leases.read_known(&mut self.consensus, read.id, self.clock.at(now));
                self.reads.known(read);
            }
            for id in output.reads_failed {
                self.read_failed(id);
            }
            for job in output.jobs {
                if let Job::Release(release) = &job {
                    report::compacted_log(release.before());
                }
                self.jobs.start(job);
            }
            self.peers.send(output.messages);
            self.snapshots_wanted(&output.snapshots)?;
            if let Some(install) = output.install {
                self.install(install.position);
            }
            if output.persist.is_some() {
                self.persist(output.persist)?;
            }
            if !output.committed.is_empty() {
                self.apply(output.committed, now)?;
            }
            for slot in self.reads.ready(self.machine.applied().index) {
                answer(slot, Ok(()));
            }
            if idle {
                break;
            }
        }
        for (slot, renewed) in self.leases.answers() {
            answer(slot, renewed.map_err(|NotLeader| CallError::NotPrimary));
        }
        if moved {
            self.publish_status();
        }
        Ok(())
    }

    /// Applies entries, or as many as there is room for.
    pub(super) fn apply(&mut self, committed: Vec<Committed>, now: Instant) -> Result<(), Fatal> {
        let (begun, before) = (Instant::now(), self.machine.applied().index.0);
        let mut application = self.machine.apply(committed)?;
        let stalled_by = application.stalled_by.take();
        let applied = self.machine.applied().index;
        let limit = self.shared.config.warning_apply;
        if report::applied(begun.elapsed(), limit, applied.0 - before, applied.0) {
            self.shared.meters.slow_applies.add(1);
        }
        if let Some(reconfigured) = &application.reconfigured {
            self.reconfigured(reconfigured, &mut application.answers, now);
        }
        self.consensus.applied(applied, application.reconfigured.take())?;
        // Whoever gets an answer also finds it in what the member says of itself.
        self.publish_status();
        self.applied(application, now);
        if let Some(full) = stalled_by {
            self.found_full(now, &full);
        }
        Ok(())
    }

    /// Tells everyone concerned what a batch has led to.
    fn applied(&mut self, application: Application, now: Instant) {
        self.leases.applied(
            &mut self.consensus,
            application.leases,
            application.term_begun,
            self.role,
            self.clock.at(now),
        );
        if application.facts_changed {
            self.members_changed(now);
        }
        for (id, result) in application.answers {
            self.answer_proposal(id, result, now);
        }
        if self.checkpoint_at.is_none() {
            self.checkpoint_at = Some(now + CHECKPOINT_AFTER);
        }
    }

    fn answer_proposal(&mut self, id: RequestId, result: Result<Applied, Rejected>, now: Instant) {
        match self.waiting.proposals.remove(&id) {
            Some((slot, demand)) => {
                self.let_out(demand);
                answer(slot, result.map_err(CallError::Rejected));
            }
            None => self.answered_unasked(id, &result, now),
        }
    }

    /// One read index for all barriers that wait.
    fn ask_read_index(&mut self, now: Instant) {
        if let Err((refused, slots)) = self.reads.ask(&mut self.consensus, self.clock.at(now)) {
            for slot in slots {
                answer(slot, Err(refusal(&refused)));
            }
        }
    }

    fn read_failed(&mut self, id: ReadId) {
        self.leases.read_failed(id);
        let slots = self.reads.failed(id);
        if !slots.is_empty() {
            self.shared.meters.failed_read_indexes.add(1);
        }
        for slot in slots {
            answer(slot, Err(CallError::LeaderChanged));
        }
    }

    /// Proposes a command that nobody waits for. If it is refused or lost, whoever wanted it asks
    /// again in time.
    pub(super) fn propose_unasked(&mut self, command: Command) {
        if let Err(refused) = self.consensus.propose_own(command) {
            tracing::debug!(error = %refused, "a proposal of the member's own was refused");
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
            self.leases.follow();
            self.peers.stop_snapshots();
        }
        self.role = role;
        self.transferred();
    }

    /// Ends: what waits is refused, a job under way is waited for, and a last checkpoint makes the
    /// next start short.
    fn finish(&mut self) -> Result<(), Fatal> {
        while self.machine.is_checkpointing()
            || self.machine.is_sweeping()
            || self.machine.is_installing()
        {
            let mut batch = Vec::new();
            self.shared.inbox.take_until(&mut batch, None);
            for request in batch {
                if let Request::Done(done) = request {
                    self.done(done?, Instant::now())?;
                }
            }
        }
        match self.machine.checkpoint(self.consensus.status().persisted) {
            Ok(Some(checkpoint)) => {
                let done = checkpoint.run()?;
                self.done(done, Instant::now())
            }
            Ok(None) => Ok(()),
            // The log has everything.
            Err(fatal) if fatal.is_full() => Ok(()),
            Err(fatal) => Err(fatal),
        }
    }

    pub(super) fn publish_status(&mut self) {
        let raft = self.consensus.status();
        let applied = self.machine.applied();
        let is_learner = self.machine.configuration().is_learner(raft.id);
        let mut facts = self.shared.facts.write();
        facts.status = Status {
            leader: raft.leader.map_or(0, |id| id.0),
            term: applied.term.0,
            raft_term: raft.term.0,
            commit: raft.commit.0,
            applied: applied.index.0,
            is_learner,
            ..facts.status
        };
        drop(facts);
        self.shared.used.store(self.machine.store().bytes_in_use(), Relaxed);
        let counted = self.machine.counted();
        self.shared.meters.puts.set(counted.puts);
        self.shared.meters.deletes.set(counted.deletes);
        self.shared.meters.txns.set(counted.txns);
    }

    pub(super) fn publish_facts(&self) {
        let members = self.machine.members();
        let mut facts = self.shared.facts.write();
        facts.members = Arc::new(members.iter().cloned().collect());
        facts.generation = members.generation();
        if self.unsealed.is_none() {
            facts.removed = Arc::new(members.removed().collect());
        }
        facts.alarms = Arc::new(self.machine.alarms().collect());
        facts.cluster_version = members.version().map(Arc::from);
    }

    pub(super) fn publish_sizes(&self) {
        let stats = self.machine.store().stats();
        // The reserve for a full disk is no data, and would only puzzle whoever watches the size;
        // what was given back is no longer taken.
        let free = stats.tree.reserve_bytes + stats.tree.hole_bytes;
        let size = stats.tree.file_bytes.saturating_sub(free).max(stats.tree.used_bytes);
        self.shared.db_size.store(size as i64, Relaxed);
        self.shared.db_in_use.store(stats.tree.used_bytes as i64, Relaxed);
        self.shared.used.store(self.machine.store().bytes_in_use(), Relaxed);
    }
}

/// Answers a call whose caller may have gone.
pub(super) fn answer<T>(slot: Slot<T>, result: Result<T, CallError>) {
    // A caller that has gone wants no answer.
    let _ = slot.send(result);
}

pub(super) fn refusal(refused: &Refused) -> CallError {
    match refused {
        Refused::Transferring { .. } => CallError::Dropped,
        Refused::NotCaughtUp { .. } => CallError::NotCaughtUp,
        // What consensus sees at once, the machine would say of the same change.
        Refused::Change(ChangeError::NoMember { .. }) => {
            CallError::Rejected(Rejected::MemberNotFound)
        }
        Refused::Change(ChangeError::NoVoter) => CallError::Rejected(Rejected::LastVoter),
        Refused::Change(ChangeError::Repeated { .. }) => {
            CallError::Rejected(Rejected::MemberExists)
        }
        Refused::Full { .. } | Refused::TooManyReads { .. } => CallError::TooManyRequests,
        Refused::NotLeader { .. } | Refused::NoLeader => CallError::NoLeader,
        _ => CallError::LeaderChanged,
    }
}
