//! A whole cluster in one thread: the queue of events, and what each of them does.

use std::collections::BTreeMap;

use revd_raft::*;
use revd_sim::{Chance, Checked, Life, Network, Queue, Time, Trace, Violation, ensure, runs};

use crate::disk::Job;
use crate::event::{Event, TICK};
use crate::machine::{Effect, State, mix};
use crate::member::Member;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::planted::Bug;
use crate::totals::Totals;

/// A run is healed by then even if little has happened, as where faults leave nobody to act. Most
/// runs are over in a tenth of that.
const TIME_MAX: Time = 20_000 * TICK;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) time: Time,
    pub(crate) queue: Queue<Event>,
    pub(crate) members: Vec<Member>,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) totals: Totals,
    /// Faults and calls have ended.
    pub(crate) healing: bool,
    /// Requests so far.
    pub(crate) requests: u64,
    /// The latest transfer: from which term, to whom.
    pub(crate) transfer: Option<(Term, usize)>,
    /// How members of the first hour are born, and those that join.
    pub(crate) joiner: State,
    /// What every snapshot that was sent contains, by index: all of one index are the same.
    snapshots: BTreeMap<Index, State>,
    bug: Option<Bug>,
    /// The last events, if they are wanted.
    pub(crate) trace: Trace,
    /// Of every output, if it is wanted.
    pub(crate) digest: Option<u64>,
}

/// Keeps a line for the trace, if there is one.
macro_rules! note {
    ($world:expr, $($words:tt)+) => {
        if $world.trace.is_on() {
            $world.note(format!($($words)+));
        }
    };
}
pub(crate) use note;

impl runs::World for World {
    type Bug = Bug;
    type Totals = Totals;
    /// Steps.
    const LENGTH: u64 = 20_000;
    const TRACED: usize = 70;

    fn new(seed: u64, steps: u64, bug: Option<Bug>) -> Checked<World> {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance, steps);
        let ids = |from: u64, count: u64| (from..from + count).map(NodeId);
        let first = Configuration::new(ids(1, plan.voters), ids(plan.voters + 1, plan.learners))
            .map_err(|error| Violation(error.to_string()))?;
        let born = State::new(plan.born, first);
        let nobody = State::new(Position::default(), Configuration::default());
        let mut world = World {
            chance,
            time: 0,
            queue: Queue::default(),
            members: Vec::new(),
            network: Network::new(plan.conditions()),
            oracle: Oracle::new(&born),
            totals: Totals::default(),
            healing: false,
            requests: 0,
            transfer: None,
            joiner: if plan.born.index == Index(0) { born.clone() } else { nobody },
            snapshots: BTreeMap::new(),
            bug,
            trace: Trace::default(),
            digest: None,
            plan,
        };
        for _ in 0..world.plan.voters + world.plan.learners {
            world.add_member(born.clone())?;
        }
        world.queue.push(world.plan.calls, Event::Client);
        world.queue.push(world.plan.faults, Event::Fault);
        world.queue.push(world.plan.upkeep, Event::Upkeep);
        Ok(world)
    }

    fn run(&mut self) -> Checked {
        while self.totals.steps < self.plan.steps && self.time < TIME_MAX {
            self.next()?;
        }
        self.heal()?;
        for member in &self.members {
            if let Some(raft) = &member.raft {
                self.totals.campaigns += raft.stats().campaigns;
            }
        }
        Ok(())
    }

    fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    fn age(&self) -> String {
        format!("{} steps", self.totals.steps)
    }

    fn into_totals(self) -> Totals {
        self.totals
    }
}

impl World {
    pub(crate) fn note(&mut self, line: String) {
        self.trace.push(format!("{:>9} {line}", self.time));
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Checked {
        let Some((time, event)) = self.queue.pop() else {
            return Err(Violation("nothing is left to happen".to_owned()));
        };
        self.time = time;
        match event {
            Event::Start(place) => self.start(place),
            Event::Client => self.client(),
            Event::Fault => self.fault(),
            Event::Upkeep => self.upkeep(),
            Event::Reconnect => {
                note!(self, "all links work again");
                self.network.reconnect();
                Ok(())
            }
            Event::Deliver(message) => self.deliver(message),
            Event::Snapshot(life, message) => self.deliver_snapshot(life, message),
            Event::Tick(life)
            | Event::Disk(life)
            | Event::Fetch(life, _)
            | Event::Take(life)
            | Event::Apply(life)
            | Event::Report(life, ..)
            | Event::LeaderLost(life, _)
            | Event::Unreachable(life, _) => self.of_a_life(life, event),
        }
    }

    /// An event of one life of a member: void after it, put off while the process stands still.
    fn of_a_life(&mut self, life: Life, event: Event) -> Checked {
        let (place, member) = (life.member, &self.members[life.member]);
        if !member.is_up() || member.life != life {
            return Ok(());
        }
        if member.paused_until > self.time {
            self.queue.push(member.paused_until, event);
            return Ok(());
        }
        match event {
            Event::Tick(_) => self.tick(place),
            Event::Disk(_) => self.disk_done(place),
            Event::Fetch(_, number) => self.fetch_done(place, number),
            Event::Take(_) => {
                self.members[place].take_due = false;
                self.take(place)
            }
            Event::Apply(_) => self.apply(place),
            Event::Report(_, to, outcome) => {
                self.members[place].sending.retain(|(receiver, _)| *receiver != to);
                self.report(place, Input::SnapshotReport { to, outcome })
            }
            Event::LeaderLost(_, leader) => self.report(place, Input::LeaderLost(leader)),
            Event::Unreachable(_, node) => self.report(place, Input::Unreachable(node)),
            _ => Ok(()),
        }
    }

    /// A member that is new to the world, started at once.
    pub(crate) fn add_member(&mut self, born: State) -> Checked<NodeId> {
        let place = self.members.len();
        self.members.push(Member::new(place, &self.plan.config, born));
        self.start(place)?;
        Ok(NodeId(place as u64 + 1))
    }

    fn start(&mut self, place: usize) -> Checked {
        let member = &mut self.members[place];
        if member.is_up() || member.retired {
            return Ok(());
        }
        member.life.incarnation += 1;
        let life = member.life;
        let failed = |error: StartError| Violation(format!("member {place} + 1: {error}"));
        let restart = member.disk.restart(&member.config, &mut self.chance).map_err(failed)?;
        let seed = self.chance.next();
        let raft = Raft::new(member.config.clone(), restart, seed).map_err(failed)?;
        member.raft = Some(raft);
        if let Some(bug) = self.bug {
            crate::planted::plant(member.core_mut(), bug);
        }
        let skew = if self.healing { 0 } else { self.plan.skew };
        member.tick = TICK * self.chance.between(1_000 - skew, 1_000 + skew) / 1_000;
        let first_tick = self.time + self.chance.below(member.tick) + 1;
        self.queue.push(first_tick, Event::Tick(life));
        note!(
            self,
            "{}: starts from {:?}, log {} to {}, checkpoint {}",
            place + 1,
            self.members[place].disk.hard_state,
            self.members[place].disk.first(),
            self.members[place].disk.last(),
            self.members[place].state.position
        );
        self.oracle.started(&self.members[place]).map_err(by(place))?;
        self.due(place)
    }

    fn tick(&mut self, place: usize) -> Checked {
        let member = &mut self.members[place];
        member.tick();
        self.totals.ticks += 1;
        self.queue.push(self.time + member.tick, Event::Tick(member.life));
        self.report(place, Input::Tick)?;
        self.oracle.check_contact(&self.members[place]).map_err(by(place))
    }

    /// Puts an input into a member's core. What it refuses is the caller's to judge.
    pub(crate) fn input(&mut self, place: usize, input: Input) -> Checked<Result<(), Refused>> {
        if self.trace.is_on() && input != Input::Tick {
            self.note(format!("{} <- {input:?}", place + 1));
        }
        let answer = self.members[place].core_mut().step(input);
        self.after(place)?;
        Ok(answer)
    }

    /// What is due after any step of a member's core.
    pub(crate) fn after(&mut self, place: usize) -> Checked {
        self.oracle.stepped(&self.members, place).map_err(by(place))?;
        self.due(place)
    }

    /// A damaged log may be whole again.
    fn recover(&mut self, place: usize) -> Checked {
        let member = &self.members[place];
        if member.disk.damage.is_none() || member.status().recovering {
            return Ok(());
        }
        note!(self, "{}: is recovered", place + 1);
        let member = &mut self.members[place];
        if let Some(damage) = member.disk.damage.take() {
            self.totals.recovered += 1;
            self.oracle.recovered(member, damage).map_err(by(place))?;
        }
        Ok(())
    }

    /// Puts in what the contract allows a driver, which must not be refused.
    pub(crate) fn report(&mut self, place: usize, input: Input) -> Checked {
        let said = self.trace.is_on().then(|| format!("{input:?}"));
        let answer = self.input(place, input)?;
        ensure!(answer.is_ok(), "member {}: {answer:?} to {said:?}", place + 1);
        Ok(())
    }

    /// Takes the output, now or a little later.
    fn due(&mut self, place: usize) -> Checked {
        let member = &mut self.members[place];
        if member.take_due {
            return Ok(());
        }
        if !self.healing && self.chance.permille(self.plan.puts_off) {
            member.take_due = true;
            let time = self.time + 1 + self.chance.below(500);
            self.queue.push(time, Event::Take(member.life));
            return Ok(());
        }
        self.take(place)
    }

    fn take(&mut self, place: usize) -> Checked {
        let mut output = self.members[place].core_mut().take();
        self.recover(place)?;
        if output.is_empty() {
            return Ok(());
        }
        if let Some(digest) = &mut self.digest {
            *digest = format!("{} {output:?}", self.time)
                .bytes()
                .fold(*digest, |digest, byte| mix(digest, u64::from(byte)));
        }
        self.oracle.stepped(&self.members, place).map_err(by(place))?;
        if let Some(role) = output.role {
            self.role_changed(place, role);
        }
        for message in output.messages.drain(..) {
            note!(self, "{} -> {message:?}", place + 1);
            self.oracle.said(&self.members, place, &message).map_err(by(place))?;
            self.send(message);
        }
        if let Some(persist) = output.persist {
            note!(self, "{} persists {persist:?}", place + 1);
            let jobs = &self.members[place].disk.jobs;
            let second = jobs.iter().any(|job| matches!(job, Job::Persist(..)));
            ensure!(!second, "member {} persists two things at once", place + 1);
            let applied = self.members[place].state.position.index;
            self.write(place, Job::Persist(persist, applied));
        }
        for entry in output.committed.drain(..) {
            self.oracle.handed_out(&self.members[place], &entry).map_err(by(place))?;
            self.members[place].handed = entry.index;
            self.members[place].to_apply.push_back(entry);
        }
        self.apply_soon(place);
        for read in output.reads.drain(..) {
            let life = self.members[place].life;
            self.oracle.reads.answered(life, read.id, Some(read.index)).map_err(by(place))?;
            self.members[place].reads.push(read);
        }
        self.serve(place)?;
        for id in output.reads_failed.drain(..) {
            let life = self.members[place].life;
            self.oracle.reads.answered(life, id, None).map_err(by(place))?;
            self.totals.reads_failed += 1;
        }
        for fetch in output.fetches.drain(..) {
            self.fetch(place, fetch);
        }
        for request in output.snapshots.drain(..) {
            self.send_snapshot(place, request)?;
        }
        if let Some(install) = output.install {
            self.install(place, install)?;
        }
        Ok(())
    }

    fn role_changed(&mut self, place: usize, change: RoleChange) {
        note!(self, "{} is {:?} in term {}", place + 1, change.role, change.term);
        if change.role != Role::Leader {
            return;
        }
        self.totals.leaders += 1;
        let others = self.members.iter().filter(|member| member.is_leader()).count() > 1;
        self.totals.rivals += u64::from(others);
        self.members[place].lead();
        if self.transfer.is_some_and(|(term, to)| to == place && term.next() == change.term) {
            self.totals.transfers_done += 1;
        }
    }

    // Messages.

    fn send(&mut self, message: Message) {
        let (from, to) = (message.from.0 as usize - 1, message.to.0 as usize - 1);
        let way = (from, to);
        let [first, second] = self.network.arrivals(&mut self.chance, self.time, way);
        if let Some(time) = second {
            self.totals.repeated += 1;
            self.queue.push(time, Event::Deliver(message.clone()));
        }
        match first {
            Some(time) => self.queue.push(time, Event::Deliver(message)),
            None => {
                self.totals.lost += 1;
                if self.chance.permille(100) {
                    let life = self.members[from].life;
                    let time = self.time + self.chance.below(TICK);
                    self.queue.push(time, Event::Unreachable(life, message.to));
                }
            }
        }
    }

    fn deliver(&mut self, message: Message) -> Checked {
        let (from, to) = (message.from.0 as usize - 1, message.to.0 as usize - 1);
        // A network that keeps the order is made of connections, which take with them what is on
        // its way; otherwise that arrives even so.
        let broken = self.plan.in_order && !self.network.reaches(from, to);
        let member = &mut self.members[to];
        if !member.is_up() || broken {
            self.totals.lost += 1;
            return Ok(());
        }
        if member.paused_until > self.time {
            // A process that wakes up may see its clock and its clients before what has piled up.
            self.queue.push(member.paused_until + TICK, Event::Deliver(message));
            return Ok(());
        }
        if message.term == member.status().term {
            member.heard[from] = member.ticks;
        }
        self.totals.steps += 1;
        self.totals.messages += 1;
        let answer = self.input(to, Input::Message(message))?;
        self.judge(to, answer)
    }

    fn send_snapshot(&mut self, place: usize, request: SnapshotRequest) -> Checked {
        let member = &mut self.members[place];
        let state = &member.state;
        ensure!(
            request.after <= state.position.index,
            "member {} asks for a snapshot at {} or later, applied is {}",
            place + 1,
            request.after,
            state.position
        );
        let body =
            Body::Snapshot { position: state.position, configuration: state.configuration.clone() };
        let message = Message { from: member.config.id, to: request.to, term: request.term, body };
        note!(self, "{} -> {message:?}", place + 1);
        let member = &mut self.members[place];
        member.sending.push((request.to, member.state.position));
        self.snapshots.insert(member.state.position.index, member.state.clone());
        self.totals.snapshots_sent += 1;
        let most = if self.healing { 50 } else { 20 * self.plan.delay.1 };
        let time = self.time + self.chance.between(10, most);
        self.queue.push(time, Event::Snapshot(member.life, message));
        Ok(())
    }

    /// A snapshot arrives, unless something is in its way or its sender is gone.
    fn deliver_snapshot(&mut self, life: Life, message: Message) -> Checked {
        let Message { to, body: Body::Snapshot { position, .. }, .. } = message else {
            return Ok(());
        };
        let receiver = &self.members[to.0 as usize - 1];
        let paused = receiver.paused_until > self.time;
        let sender = &self.members[life.member];
        let reached = receiver.is_up() && self.network.reaches(life.member, to.0 as usize - 1);
        let arrives = !paused && sender.is_up() && sender.life == life && reached;
        let lost = !self.healing && self.chance.permille(self.plan.loss);
        let outcome = if arrives && !lost {
            SnapshotOutcome::Delivered(position)
        } else {
            SnapshotOutcome::Failed
        };
        let time = self.time + 1 + self.chance.below(2 * self.plan.delay.1);
        self.queue.push(time, Event::Report(life, to, outcome));
        if outcome == SnapshotOutcome::Failed {
            self.totals.snapshots_failed += 1;
            return Ok(());
        }
        if !self.healing && self.chance.permille(self.plan.repeats) {
            let time = self.time + self.chance.below(20 * TICK);
            self.queue.push(time, Event::Deliver(message.clone()));
        }
        self.deliver(message)
    }

    // The disk.

    fn write(&mut self, place: usize, job: Job) {
        let member = &mut self.members[place];
        member.disk.jobs.push_back(job);
        if member.disk.jobs.len() == 1 {
            self.write_soon(place);
        }
    }

    fn write_soon(&mut self, place: usize) {
        let member = &self.members[place];
        let most = if self.healing { 20 } else { self.plan.write };
        let slow = if member.slow_until > self.time { self.plan.outage / 2 } else { 0 };
        let time = self.time + 1 + self.chance.below(most + slow);
        self.queue.push(time, Event::Disk(member.life));
    }

    fn disk_done(&mut self, place: usize) -> Checked {
        let Some(job) = self.members[place].disk.jobs.pop_front() else { return Ok(()) };
        if !self.members[place].disk.jobs.is_empty() {
            self.write_soon(place);
        }
        match job {
            Job::Persist(persist, applied) => {
                let number = persist.number;
                self.make_durable(place, persist, applied, usize::MAX)?;
                self.totals.steps += 1;
                self.totals.persists += 1;
                self.report(place, Input::Persisted(number))
            }
            Job::Install(state) => {
                let position = state.position;
                if !self.healing && self.chance.permille(50) {
                    self.totals.snapshots_failed += 1;
                    return self.report(place, Input::InstallFailed(position));
                }
                self.totals.snapshots_installed += 1;
                let member = &mut self.members[place];
                member.disk.install(state.clone());
                member.state = state;
                member.handed = position.index;
                member.to_apply.clear();
                self.report(place, Input::Installed(position))?;
                self.serve(place)
            }
        }
    }

    /// Writes the first `parts` parts of what is to be persisted: term and vote, the cut, and then
    /// each entry.
    pub(crate) fn make_durable(
        &mut self,
        place: usize,
        persist: Persist,
        applied: Index,
        parts: usize,
    ) -> Checked {
        if parts < 1 {
            return Ok(());
        }
        let member = &mut self.members[place];
        if let Some(hard_state) = persist.hard_state {
            let old = std::mem::replace(&mut member.disk.hard_state, hard_state);
            self.oracle.durable_vote(place, old, hard_state).map_err(by(place))?;
        }
        if parts < 2 {
            return Ok(());
        }
        let hard_state = member.disk.hard_state;
        if let Some(from) = persist.truncate_from {
            let first = persist.entries.first().map_or(hard_state.term, |entry| entry.term);
            self.oracle.truncating(member, from, first).map_err(by(place))?;
            let cut = member.disk.truncate(from);
            self.totals.truncations += u64::from(cut > 0);
            self.totals.entries_truncated += cut;
        }
        for entry in persist.entries.into_iter().take(parts - 2) {
            self.oracle.durable_entry(member, &entry, applied).map_err(by(place))?;
            member.disk.push(entry);
        }
        Ok(())
    }

    fn fetch(&mut self, place: usize, fetch: Fetch) {
        note!(self, "{} fetches {fetch:?}", place + 1);
        self.totals.fetches += 1;
        let member = &mut self.members[place];
        let most = if self.healing { 20 } else { self.plan.fetch };
        let time = self.time + 1 + self.chance.below(most);
        self.queue.push(time, Event::Fetch(member.life, fetch.number));
        member.fetches.push(fetch);
    }

    fn fetch_done(&mut self, place: usize, number: FetchNumber) -> Checked {
        let member = &mut self.members[place];
        let Some(which) = member.fetches.iter().position(|fetch| fetch.number == number) else {
            return Ok(());
        };
        let fetch = member.fetches.swap_remove(which);
        let entries = member.disk.read(&fetch, &mut self.chance);
        self.totals.fetches_gone += u64::from(entries.is_empty());
        self.report(place, Input::Fetched(Fetched { number, entries }))
    }

    fn install(&mut self, place: usize, install: Install) -> Checked {
        note!(self, "{} installs {install:?}", place + 1);
        self.oracle.installing(&self.members[place], &install).map_err(by(place))?;
        let idle = self.members[place].disk.jobs.is_empty();
        ensure!(idle, "member {} installs what the disk is still to change", place + 1);
        let Some(state) = self.snapshots.get(&install.position.index) else {
            return Err(Violation(format!("nobody sent a snapshot at {}", install.position)));
        };
        ensure!(
            state.configuration == install.configuration,
            "the snapshot at {} has {:?}, not {:?}",
            install.position,
            state.configuration,
            install.configuration
        );
        let job = Job::Install(state.clone());
        self.write(place, job);
        Ok(())
    }

    // The state machine.

    fn apply_soon(&mut self, place: usize) {
        let member = &mut self.members[place];
        if member.apply_due || member.to_apply.is_empty() {
            return;
        }
        member.apply_due = true;
        let most = if self.healing { 10 } else { self.plan.apply };
        let time = self.time + self.chance.below(most);
        self.queue.push(time, Event::Apply(member.life));
    }

    /// Applies some of what was handed out, and reports it.
    fn apply(&mut self, place: usize) -> Checked {
        self.members[place].apply_due = false;
        let waiting = self.members[place].to_apply.len() as u64;
        let most = if self.chance.permille(700) { waiting } else { self.chance.below(waiting + 1) };
        let mut applied = None;
        for _ in 0..most {
            let member = &mut self.members[place];
            let Some(entry) = member.to_apply.pop_front() else { break };
            let effect = member.state.apply(&entry);
            let first = self.oracle.applied(&member.state, &effect).map_err(by(place))?;
            self.count_applied(place, &effect, first);
            let index = entry.index;
            match effect {
                Effect::Nothing | Effect::Written { .. } => applied = Some(index),
                Effect::Changed(_) => {
                    applied = None;
                    let member = &mut self.members[place];
                    member.hear_all();
                    let configuration = member.state.configuration.clone();
                    self.report(place, Input::ConfigurationApplied { index, configuration })?;
                }
                Effect::Rejected => {
                    applied = None;
                    self.report(place, Input::ConfigurationRejected { index })?;
                }
            }
        }
        if let Some(index) = applied {
            self.report(place, Input::Applied(index))?;
        }
        self.apply_soon(place);
        self.serve(place)
    }

    fn count_applied(&mut self, place: usize, effect: &Effect, first: bool) {
        self.totals.applied += 1;
        self.totals.committed += u64::from(first);
        match effect {
            Effect::Written { request, .. } => {
                let here = request >> 48 == place as u64 + 1;
                self.totals.writes_acknowledged += u64::from(here);
            }
            Effect::Changed(change) if first => match change {
                Change::Joint { .. } => self.totals.changes_joint += 1,
                Change::Leave => self.totals.changes_left += 1,
                _ => self.totals.changes_simple += 1,
            },
            Effect::Rejected if first => self.totals.changes_rejected += 1,
            _ => {}
        }
    }

    /// Serves the reads whose index is applied.
    fn serve(&mut self, place: usize) -> Checked {
        let member = &mut self.members[place];
        let applied = member.state.position.index;
        let mut waiting = std::mem::take(&mut member.reads);
        let mut served = Ok(());
        let led = !waiting.is_empty() && member.is_leader();
        waiting.retain(|read| {
            if read.index > applied || served.is_err() {
                return true;
            }
            self.totals.reads += 1;
            self.totals.reads_by_followers += u64::from(!led);
            let key = (read.id.0 % crate::machine::KEYS as u64) as usize;
            served = self.oracle.reads.served(read.id, key, &self.members[place].state);
            false
        });
        self.members[place].reads = waiting;
        served.map_err(by(place))
    }
}

/// Names the member that broke a rule.
pub(crate) fn by(place: usize) -> impl Fn(Violation) -> Violation {
    move |Violation(what)| Violation(format!("member {} {what}", place + 1))
}
