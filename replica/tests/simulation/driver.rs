//! What drives one member's values, as the server does: proposals handed on once, read indexes,
//! leases, checkpoints, sweeps, room on the disk.
//!
//! It is told the time by the member's own clock, runs a job when the world says that the disk gets
//! to it, and leaves what concerns others (messages, answers) in [`Out`].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use revd_raft::{
    EntryKind, Index, Input, Message, Position, ReadId, Refused, Role, RoleChange, SnapshotRequest,
};
use revd_replica::job::PersistJob;
use revd_replica::{
    Application, Applied, Author, Command, Committed, Consensus, Decoded, Demand, Due, Fatal,
    Installation, Installed, Job, JobDone, LeaseChange, Lessor, Machine, Now, Opened, Received,
    Rejected, Renewal, RequestId, entry, lessor,
};

use crate::event::{MS, SECOND};
use crate::planted::DriverBug;
use crate::room::Room;

/// The number of a call.
pub(crate) type CallId = usize;

/// A read index that was handed to the leader may be lost on the way.
const ASK_AGAIN: u64 = 500 * MS;

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
    /// Reads and renewals were put off for a leader that must confirm that it still is one.
    pub(crate) confirmations: u64,
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
}

/// Calls that wait for something.
#[derive(Default)]
pub(crate) struct Waiting {
    /// For their entry to be applied.
    pub(crate) proposals: BTreeMap<RequestId, (CallId, Demand)>,
    /// For a leader, or for an earlier change of members to be done.
    pub(crate) early: VecDeque<Proposal>,
    /// For a read index that has not been asked for.
    barriers: Vec<CallId>,
    /// For the answer to a read index, with when it was asked for.
    asked: VecDeque<(ReadId, Now, Vec<CallId>)>,
    /// For their read index to be applied.
    reads: Vec<(Index, Vec<CallId>)>,
    last_read: u64,
    /// Renewals, for their lease to be gone or its checkpoint to be unset.
    renewals: BTreeMap<i64, Vec<CallId>>,
    /// Renewals, for the leadership to be confirmed.
    unconfirmed: Vec<(i64, CallId)>,
    /// The read index with which the Lessor confirms its leadership.
    confirmation: Option<ReadId>,
}

pub(crate) struct Driver {
    pub(crate) consensus: Consensus,
    pub(crate) machine: Machine,
    pub(crate) lessor: Lessor,
    pub(crate) role: RoleChange,
    pub(crate) waiting: Waiting,
    pub(crate) room: Room,
    pub(crate) out: Out,
    /// A snapshot that has arrived, until consensus wants it installed.
    pub(crate) received: Option<Received>,
    /// Jobs for the disk besides those of the log.
    pub(crate) jobs: Vec<Job>,
    pub(crate) checkpoint_at: Option<Now>,
    scrub_at: Option<Now>,
    pace: Pace,
    /// What it does wrong, on purpose.
    pub(crate) bug: Option<DriverBug>,
}

impl Driver {
    pub(crate) fn new(opened: Opened, pace: Pace, now: Now) -> Driver {
        Driver {
            consensus: opened.consensus,
            machine: opened.machine,
            lessor: Lessor::new(pace.lessor, opened.leases),
            role: RoleChange::default(),
            waiting: Waiting::default(),
            room: Room::default(),
            out: Out::default(),
            received: None,
            jobs: Vec::new(),
            checkpoint_at: None,
            scrub_at: Some(Now(now.0 + pace.scrub)),
            pace,
            bug: None,
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
        while self.waiting.asked.front().is_some_and(|(_, at, _)| at.0 + ASK_AGAIN <= now.0) {
            let again = self.waiting.asked.pop_front().map(|(.., calls)| calls);
            self.waiting.barriers.extend(again.into_iter().flatten());
        }
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
        let (author, request) = (Author::default(), RequestId(0));
        let bytes = entry::encode(&command, request, &author);
        let _ = self.consensus.propose(bytes, Decoded { request, author, command });
    }

    /// A linearizable read.
    pub(crate) fn barrier(&mut self, call: CallId) {
        self.waiting.barriers.push(call);
    }

    /// A call whose client has given up.
    pub(crate) fn forget(&mut self, call: CallId) {
        self.waiting.early.retain(|proposal| proposal.call != call);
        self.waiting.barriers.retain(|&waiting| waiting != call);
        let given_up = self.waiting.proposals.extract_if(.., |_, (waiting, _)| *waiting == call);
        for (_, (_, demand)) in given_up {
            self.room.let_out(demand);
        }
    }

    pub(crate) fn answer(&mut self, call: CallId, answer: Answer) {
        self.out.answers.push((call, answer));
    }

    pub(crate) fn keep_alive(&mut self, id: i64, call: CallId, now: Now) {
        match self.lessor.renew(id, now) {
            Renewal::Renewed(ttl) => self.answer(call, Answer::Renewed(Some(ttl))),
            Renewal::Unknown => self.answer(call, Answer::Renewed(None)),
            Renewal::Expired => self.waiting.renewals.entry(id).or_default().push(call),
            Renewal::Checkpointed { term } => {
                self.waiting.renewals.entry(id).or_default().push(call);
                let remaining = vec![(id, 0)];
                self.propose_unasked(Command::LeaseCheckpoint { remaining, term });
            }
            Renewal::Unconfirmed => {
                self.waiting.unconfirmed.push((id, call));
                self.confirm_leadership();
            }
            Renewal::Following => self.answer(call, Answer::Refused),
        }
    }

    fn confirm_leadership(&mut self) {
        if self.waiting.confirmation.is_some() {
            return;
        }
        self.out.confirmations += 1;
        let id = self.next_read();
        match self.consensus.step(Input::Read(id)) {
            Ok(()) => self.waiting.confirmation = Some(id),
            Err(_) => self.refuse_renewals(),
        }
    }

    fn refuse_renewals(&mut self) {
        let unconfirmed = std::mem::take(&mut self.waiting.unconfirmed);
        let renewals = std::mem::take(&mut self.waiting.renewals);
        let calls = unconfirmed.into_iter().map(|(_, call)| call);
        for call in calls.chain(renewals.into_values().flatten()) {
            self.answer(call, Answer::Refused);
        }
    }

    fn next_read(&mut self) -> ReadId {
        self.waiting.last_read += 1;
        ReadId(self.waiting.last_read)
    }

    /// Everything that is due at this moment.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(crate) fn run(&mut self, now: Now) -> Result<(), Fatal> {
        self.turn(now)?;
        self.expire_leases(now);
        self.turn(now)?;
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
                self.read_index_known(read.id, read.index, now);
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
            self.serve_reads();
            if idle {
                return Ok(());
            }
        }
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
        self.lessor.replace(leases);
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
        for change in application.leases {
            match change {
                LeaseChange::Granted { id, ttl } => self.lessor.granted(id, ttl, now),
                LeaseChange::Checkpointed { id, remaining } => {
                    self.lessor.checkpointed(id, remaining);
                    self.renew_again(id, now);
                }
                LeaseChange::Revoked { id } => {
                    self.lessor.revoked(id);
                    self.renew_again(id, now);
                }
            }
        }
        if let Some(begun) = application.term_begun
            && self.leads()
            && begun.term == self.role.term
        {
            self.lessor.lead(begun.term.0, now);
        }
        self.out.facts_changed |= application.facts_changed;
        for (id, result) in application.answers {
            if let Some((call, demand)) = self.waiting.proposals.remove(&id) {
                self.room.let_out(demand);
                self.answer(call, Answer::Applied(result));
            }
        }
        self.checkpoint_at.get_or_insert(Now(now.0 + self.pace.checkpoint));
    }

    fn renew_again(&mut self, id: i64, now: Now) {
        for call in self.waiting.renewals.remove(&id).into_iter().flatten() {
            self.keep_alive(id, call, now);
        }
    }

    /// One read index for all that wait.
    fn ask_read_index(&mut self, now: Now) {
        if self.waiting.barriers.is_empty() {
            return;
        }
        let id = self.next_read();
        let calls = std::mem::take(&mut self.waiting.barriers);
        if self.bug == Some(DriverBug::ReadByOwnCommit) {
            let commit = self.consensus.status().commit;
            self.waiting.reads.push((commit, calls));
            return;
        }
        match self.consensus.step(Input::Read(id)) {
            Ok(()) => self.waiting.asked.push_back((id, now, calls)),
            Err(Refused::NoLeader) => self.waiting.barriers = calls,
            Err(_) => calls.into_iter().for_each(|call| self.answer(call, Answer::Refused)),
        }
    }

    fn read_index_known(&mut self, id: ReadId, index: Index, now: Now) {
        if self.waiting.confirmation == Some(id) {
            self.waiting.confirmation = None;
            self.lessor.confirm(now);
            for (lease, call) in std::mem::take(&mut self.waiting.unconfirmed) {
                self.keep_alive(lease, call, now);
            }
        }
        let at = self.waiting.asked.iter().position(|(asked, ..)| *asked == id);
        if let Some((.., calls)) = at.and_then(|at| self.waiting.asked.remove(at)) {
            self.waiting.reads.push((index, calls));
        }
    }

    fn read_failed(&mut self, id: ReadId) {
        if self.waiting.confirmation.take_if(|confirmation| *confirmation == id).is_some() {
            self.refuse_renewals();
        }
        let at = self.waiting.asked.iter().position(|(asked, ..)| *asked == id);
        if let Some((.., calls)) = at.and_then(|at| self.waiting.asked.remove(at)) {
            calls.into_iter().for_each(|call| self.answer(call, Answer::Refused));
        }
    }

    fn serve_reads(&mut self) {
        let applied = self.machine.applied().index;
        let at_once = self.bug == Some(DriverBug::ReadBeforeApplied);
        let reads = &mut self.waiting.reads;
        let ready = reads.extract_if(.., |(index, _)| *index <= applied || at_once);
        let answers = ready.flat_map(|(_, calls)| calls).map(|call| (call, Answer::MayRead));
        self.out.answers.extend(answers);
    }

    fn expire_leases(&mut self, now: Now) {
        match self.lessor.due(now) {
            Due::Nothing => {}
            Due::Propose { expired, checkpoints, term } => {
                for id in expired {
                    self.propose_unasked(Command::LeaseExpire { id, term });
                }
                if !checkpoints.is_empty() {
                    let remaining = checkpoints;
                    self.propose_unasked(Command::LeaseCheckpoint { remaining, term });
                }
            }
            Due::Confirm => self.confirm_leadership(),
        }
    }

    fn changed_role(&mut self, role: RoleChange) {
        if role.role != Role::Leader {
            self.lessor.follow();
            self.refuse_renewals();
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
