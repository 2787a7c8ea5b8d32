//! What drives one member's values, as the server does: proposals handed on once, read indexes,
//! leases, checkpoints, sweeps, room on the disk.
//!
//! It is told the time by the member's own clock, runs a job when the world says that the disk gets
//! to it, and leaves what concerns others (messages, answers) in [`Out`].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use revd_raft::{
    EntryKind, Input, Message, Position, ReadId, Refused, Role, RoleChange, SnapshotRequest,
};
use revd_replica::job::PersistJob;
use revd_replica::{
    Application, Applied, Author, Command, Committed, Consensus, Decoded, Demand, Fatal,
    Installation, Installed, Job, JobDone, Leases, Machine, NotLeader, Now, Opened, Reads,
    Received, Rejected, RequestId, SlowDisk, entry, lessor, slow_disk,
};

use crate::event::SECOND;
use crate::room::Room;

/// The number of a call.
pub(crate) type CallId = usize;

/// What a call is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its command was applied, or rejected by the state that it met.
    Applied(Result<Applied, Rejected>),
    /// The published state may be read now.
    MayRead,
    /// The seconds of its lease count down again; `None` if there is no such lease.
    Renewed(Option<i64>),
    /// Nothing has been done, or nobody knows: ask again.
    Refused,
}

/// What a member has for others.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) messages: Vec<Message>,
    pub(crate) committed: Vec<(Position, EntryKind, Bytes)>,
    pub(crate) answers: Vec<(CallId, Answer)>,
    pub(crate) roles: Vec<RoleChange>,
    pub(crate) snapshots: Vec<SnapshotRequest>,
    /// Members were added or removed, or alarms raised or cleared.
    pub(crate) facts_changed: bool,
    /// Entries or a checkpoint have met a full disk.
    pub(crate) waits: u64,
    /// Times that the leadership had to be confirmed.
    pub(crate) confirmations: u64,
    /// The leader's disk was slower than those of others, and it has begun to hand over.
    pub(crate) handed_over: u64,
}

/// A command on its way.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) call: CallId,
    pub(crate) request: RequestId,
    pub(crate) command: Command,
}

/// How it all is timed.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// From the first change to the checkpoint.
    pub(crate) checkpoint: u64,
    /// From the end of one step of reading everything again to the next.
    pub(crate) scrub: u64,
    /// What the Lessor waits for.
    pub(crate) lessor: lessor::Options,
    /// Which disks are slow.
    pub(crate) slow_disk: slow_disk::Options,
}

/// Calls that wait for something.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For their entry to be applied.
    pub(crate) proposals: BTreeMap<RequestId, (CallId, Demand)>,
    /// For a leader, or for an earlier change of members to be done.
    pub(crate) early: VecDeque<Proposal>,
}

pub(crate) struct Driver {
    pub(crate) consensus: Consensus,
    pub(crate) machine: Machine,
    pub(crate) leases: Leases<CallId>,
    pub(crate) reads: Reads<CallId>,
    /// Confirmations of the leadership that the world knows of.
    confirmations: u64,
    pub(crate) role: RoleChange,
    pub(crate) waiting: Waiting,
    pub(crate) room: Room,
    slow_disk: SlowDisk,
    pub(crate) out: Out,
    /// A snapshot that has arrived, until consensus wants it installed.
    pub(crate) received: Option<Received>,
    /// Jobs for the disk besides those of the log.
    pub(crate) jobs: Vec<Job>,
    pub(crate) checkpoint_at: Option<Now>,
    scrub_at: Option<Now>,
    pace: Pace,
}

impl Driver {
    pub(crate) fn new(opened: Opened, pace: Pace, now: Now) -> Driver {
        Driver {
            consensus: opened.consensus,
            machine: opened.machine,
            leases: Leases::new(pace.lessor, opened.leases),
            reads: Reads::default(),
            confirmations: 0,
            role: RoleChange::default(),
            waiting: Waiting::default(),
            room: Room::default(),
            slow_disk: SlowDisk::new(pace.slow_disk),
            out: Out::default(),
            received: None,
            jobs: Vec::new(),
            checkpoint_at: None,
            scrub_at: Some(Now(now.0 + pace.scrub)),
            pace,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role.role == Role::Leader
    }

    /// Puts an input into consensus, which may refuse it.
    pub(crate) fn input(&mut self, input: Input) {
        let _ = self.consensus.step(input);
    }

    /// Its clock ticks.
    pub(crate) fn tick(&mut self, now: Now) {
        self.input(Input::Tick);
        let (status, successor) = (self.consensus.status(), self.consensus.successor());
        if let Some(slow) = self.slow_disk.look(now, &status, successor) {
            self.out.handed_over += 1;
            self.input(Input::Transfer(slow.to));
        }
        self.reads.overdue(now);
    }

    /// Proposes a command, if there is room for it; without a leader it waits for one.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<(), Fatal> {
        if self.role.leader.is_none() {
            self.waiting.early.push_back(proposal);
            return Ok(());
        }
        let demand = Demand::of(&proposal.command);
        if !self.let_in(demand)? {
            self.answer(proposal.call, Answer::Refused);
            return Ok(());
        }
        let Proposal { call, request, command } = proposal.clone();
        let author = Author::default();
        let bytes = entry::encode(&command, request, &author);
        match self.consensus.propose(bytes, Decoded { request, author, command }) {
            Ok(()) => drop(self.waiting.proposals.insert(request, (call, demand))),
            Err(Refused::ConfigurationPending { .. }) => self.waiting.early.push_back(proposal),
            Err(_) => {
                self.room.let_out(demand);
                self.answer(call, Answer::Refused);
            }
        }
        Ok(())
    }

    /// Proposes a command that nobody waits for.
    pub(crate) fn propose_unasked(&mut self, command: Command) {
        let _ = self.consensus.propose_own(command);
    }

    /// A linearizable read.
    pub(crate) fn barrier(&mut self, call: CallId) {
        self.reads.push(call);
    }

    /// A call whose client has given up.
    pub(crate) fn forget(&mut self, call: CallId) {
        self.waiting.early.retain(|proposal| proposal.call != call);
        self.reads.forget(|&waiting| waiting == call);
        let given_up = self.waiting.proposals.extract_if(.., |_, (waiting, _)| *waiting == call);
        for (_, (_, demand)) in given_up {
            self.room.let_out(demand);
        }
    }

    pub(crate) fn answer(&mut self, call: CallId, answer: Answer) {
        self.out.answers.push((call, answer));
    }

    pub(crate) fn keep_alive(&mut self, id: i64, call: CallId, now: Now) {
        self.leases.renew(&mut self.consensus, id, call, now);
    }

    /// Everything that is due at this moment.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn run(&mut self, now: Now) -> Result<(), Fatal> {
        self.turn(now)?;
        self.leases.expire(&mut self.consensus, now);
        self.turn(now)?;
        let confirmations = self.leases.confirmations();
        self.out.confirmations += confirmations - self.confirmations;
        self.confirmations = confirmations;
        self.look_after_room(now)?;
        self.start_work(now)
    }

    /// Carries out everything that consensus has become due, until nothing is.
    pub(crate) fn turn(&mut self, now: Now) -> Result<(), Fatal> {
        if self.role.leader.is_some() {
            for proposal in std::mem::take(&mut self.waiting.early) {
                self.propose(proposal)?;
            }
        }
        self.ask_read_index(now);
        loop {
            let output = self.consensus.take();
            let idle = output.committed.is_empty() && output.reads.is_empty();
            if let Some(role) = output.role {
                self.changed_role(role);
            }
            for read in output.reads {
                self.leases.read_known(&mut self.consensus, read.id, now);
                self.reads.known(read);
            }
            for id in output.reads_failed {
                self.read_failed(id);
            }
            self.jobs.extend(output.jobs);
            self.out.messages.extend(output.messages);
            self.out.snapshots.extend(output.snapshots);
            self.room.unwritten.extend(output.persist);
            if let Some(install) = output.install {
                self.install(install.position);
            }
            if !output.committed.is_empty() {
                self.apply(output.committed, now)?;
            }
            let ready = self.reads.ready(self.machine.applied().index);
            self.out.answers.extend(ready.map(|call| (call, Answer::MayRead)));
            if idle {
                break;
            }
        }
        let renewed = self.leases.answers().map(|(call, renewed)| match renewed {
            Ok(seconds) => (call, Answer::Renewed(seconds)),
            Err(NotLeader) => (call, Answer::Refused),
        });
        self.out.answers.extend(renewed);
        Ok(())
    }

    /// Has what has arrived take the place of tree and log.
    fn install(&mut self, position: Position) {
        match self.received.take() {
            Some(received) if received.position() == position => {
                self.machine.install(received, self.consensus.log());
            }
            _ => self.input(Input::InstallFailed(position)),
        }
    }

    fn installed(&mut self, installation: Installation, now: Now) -> Result<(), Fatal> {
        let Installed { position, leases, .. } = self.machine.installed(installation)?;
        self.consensus.installed(position)?;
        self.leases.replace(leases);
        self.checkpoint_at.get_or_insert(Now(now.0 + self.pace.checkpoint));
        Ok(())
    }

    /// Applies entries, or as many as there is room for.
    pub(crate) fn apply(&mut self, committed: Vec<Committed>, now: Now) -> Result<(), Fatal> {
        let seen = committed.iter().map(|entry| (entry.position, entry.kind, entry.data.clone()));
        self.out.committed.extend(seen);
        let mut application = self.machine.apply(committed)?;
        let is_stalled = application.stalled_by.take().is_some();
        let applied = self.machine.applied().index;
        self.consensus.applied(applied, application.reconfigured.take())?;
        self.applied(application, now);
        if is_stalled {
            self.found_full(now);
        }
        Ok(())
    }

    fn applied(&mut self, application: Application, now: Now) {
        let (leases, begun) = (application.leases, application.term_begun);
        self.leases.applied(&mut self.consensus, leases, begun, self.role, now);
        self.out.facts_changed |= application.facts_changed;
        for (id, result) in application.answers {
            if let Some((call, demand)) = self.waiting.proposals.remove(&id) {
                self.room.let_out(demand);
                self.answer(call, Answer::Applied(result));
            }
        }
        self.checkpoint_at.get_or_insert(Now(now.0 + self.pace.checkpoint));
    }

    /// One read index for all that wait.
    fn ask_read_index(&mut self, now: Now) {
        if let Err((_, calls)) = self.reads.ask(&mut self.consensus, now) {
            calls.into_iter().for_each(|call| self.answer(call, Answer::Refused));
        }
    }

    fn read_failed(&mut self, id: ReadId) {
        self.leases.read_failed(id);
        let calls = self.reads.failed(id);
        calls.into_iter().for_each(|call| self.answer(call, Answer::Refused));
    }

    fn changed_role(&mut self, role: RoleChange) {
        if role.role != Role::Leader {
            self.leases.follow();
        }
        self.role = role;
        self.out.roles.push(role);
    }

    /// Starts checkpoints, sweeps and scrubs that are due.
    fn start_work(&mut self, now: Now) -> Result<(), Fatal> {
        self.jobs.extend(self.machine.installation());
        self.jobs.extend(self.machine.sweep()?);
        if self.scrub_at.is_some_and(|at| at <= now) {
            let scrub = self.machine.scrub(64 << 10);
            // While a snapshot is installed there is none.
            self.scrub_at = self.scrub_at.filter(|_| scrub.is_none());
            self.jobs.extend(scrub);
        }
        if self.checkpoint_at.is_some_and(|at| at <= now) && !self.machine.is_checkpointing() {
            self.checkpoint_at = None;
            match self.machine.checkpoint(self.consensus.status().persisted) {
                Ok(Some(checkpoint)) => self.jobs.push(checkpoint),
                Ok(None) if self.machine.applied().index > self.machine.checkpointed() => {
                    self.checkpoint_at = Some(Now(now.0 + self.pace.checkpoint));
                }
                Ok(None) => {}
                Err(fatal) if fatal.is_full() => self.found_full(now),
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(())
    }

    /// Runs a job, and feeds its result back.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn work(&mut self, job: Job, now: Now) -> Result<(), Fatal> {
        match job.run()? {
            JobDone::Log(done) => self.consensus.done(done),
            JobDone::Installed(installation) => self.installed(*installation, now),
            JobDone::Tree(done) => {
                let is_scrub = matches!(done, revd_replica::TreeDone::Scrubbed(_));
                if is_scrub {
                    self.scrub_at = Some(Now(now.0 + self.pace.scrub));
                } else {
                    self.checkpoint_at.get_or_insert(Now(now.0 + self.pace.checkpoint));
                }
                match self.machine.done(done)? {
                    Some(index) => self.consensus.checkpointed(index),
                    None => Ok(()),
                }
            }
        }
    }

    /// The log's next job, to be given back to [`Driver::written`].
    pub(crate) fn next_write(&mut self) -> Option<PersistJob> {
        self.room.unwritten.pop_front()
    }

    /// The Lessor's options for an election timeout and three heartbeats, in nanoseconds.
    pub(crate) fn lessor_options(
        election: u64,
        heartbeat: u64,
        checkpoint: Option<u64>,
    ) -> lessor::Options {
        lessor::Options {
            election_timeout: election,
            longest_gap: 3 * heartbeat,
            retry: 5 * SECOND + 2 * election,
            checkpoint_interval: checkpoint,
        }
    }
}
