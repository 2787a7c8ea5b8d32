//! A whole cluster in one thread: the queue of events, and what each of them does.

use revd_raft::{Body, Configuration, Input, Message, NodeId, Role};
use revd_replica::{Fatal, wire};
use revd_sim::{Chance, Checked, Life, Network, Queue, Time, Trace, Violation, ensure, runs};

use crate::client::Clients;
use crate::event::{Event, MS, SECOND};
use crate::member::{self, Member};
use crate::operate::Operator;
use crate::oracle::{Model, Oracle};
use crate::plan::Plan;
use crate::planted::Bug;
use crate::snapshot::Transfer;
use crate::totals::Totals;
use crate::watcher::Watcher;

/// Characters of each of the last events that a failure shows.
const LINE: usize = 240;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) time: Time,
    pub(crate) queue: Queue<Event>,
    pub(crate) members: Vec<Member>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) operator: Operator,
    /// Snapshots under way.
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) oracle: Oracle,
    pub(crate) totals: Totals,
    /// Faults have ended.
    pub(crate) healing: bool,
    pub(crate) bug: Option<Bug>,
    /// The last events, if they are wanted.
    pub(crate) trace: Trace,
    /// Of all that members said, if it is wanted.
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
    /// Nanoseconds of the world.
    const LENGTH: Time = 60 * SECOND;
    const TRACED: usize = 60;

    fn new(seed: u64, length: Time, bug: Option<Bug>) -> Checked<World> {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance, length);
        World::planned(plan, chance, bug)
    }

    fn run(&mut self) -> Checked {
        let begun = self.time;
        while self.time < begun + self.plan.length {
            self.next()?;
        }
        self.heal()?;
        self.totals.milliseconds = (self.time - begun) / MS;
        self.totals.expired = self.oracle.expired;
        Ok(())
    }

    fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    fn age(&self) -> String {
        format!("{:.3} s", self.time as f64 / SECOND as f64)
    }

    fn into_totals(self) -> Totals {
        self.totals
    }
}

impl World {
    /// A world of which more is known than its seed.
    pub(crate) fn planned(plan: Plan, chance: Chance, bug: Option<Bug>) -> Checked<World> {
        let founders: Vec<_> = (0..plan.voters as usize).map(member_record).collect();
        let voters = founders.iter().map(|founder| NodeId(founder.id));
        let configuration =
            Configuration::new(voters, []).map_err(|error| Violation(error.to_string()))?;
        let oracle = Oracle::new(Model::new(&founders, configuration), plan.skew);
        let mut world = World {
            chance,
            time: SECOND,
            queue: Queue::default(),
            members: Vec::new(),
            network: Network::new(plan.conditions()),
            clients: Clients::new(plan.clients),
            watchers: Vec::new(),
            operator: Operator::default(),
            transfers: Vec::new(),
            oracle,
            totals: Totals::default(),
            healing: false,
            bug,
            trace: Trace::default(),
            digest: None,
            plan,
        };
        for place in 0..founders.len() {
            let member = Member::new(place, founders.clone(), &world.plan, &mut world.chance);
            world.members.push(member);
            world.queue.push(world.time, Event::Start(place));
        }
        for client in 0..world.plan.clients {
            world.client_later(client);
        }
        for watcher in 0..world.plan.watchers {
            world.watchers.push(Watcher::new(&world.plan, &mut world.chance));
            world.queue.push(world.time, Event::Watch(watcher));
        }
        world.queue.push(world.time + world.plan.faults, Event::Fault);
        world.queue.push(world.time + world.plan.operations, Event::Operate);
        world.queue.push(world.time + SECOND, Event::Compare);
        Ok(world)
    }

    pub(crate) fn note(&mut self, line: String) {
        let (ms, rest) = (self.time / MS, self.time % MS / 1_000);
        let short: String = line.chars().take(LINE).collect();
        self.trace.push(format!("{ms:>7}.{rest:03} {short}"));
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Checked {
        let Some((time, event)) = self.queue.pop() else {
            return Err(Violation("nothing is left to happen".to_owned()));
        };
        self.time = time;
        self.totals.events += 1;
        match event {
            Event::Start(place) => self.start(place),
            Event::Client(client) => self.client(client),
            Event::GiveUp(call) => {
                self.give_up(call);
                Ok(())
            }
            Event::Watch(watcher) => self.watch(watcher),
            Event::Fault => self.fault(),
            Event::Operate => self.operate(),
            Event::Compare => self.compare(),
            Event::Chunk(number) => self.chunk(number),
            Event::Reconnect => {
                note!(self, "all links work again");
                self.network.reconnect();
                Ok(())
            }
            Event::MakeRoom(place) => {
                self.make_room(place);
                Ok(())
            }
            Event::Deliver(message) => self.deliver(message),
            Event::Tick(life)
            | Event::Turn(life)
            | Event::Call(life, ..)
            | Event::Persist(life)
            | Event::Work(life)
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
        let now = member.clock(self.time);
        let driver = self.members[place].driver_mut();
        let done = match event {
            Event::Tick(_) => {
                driver.tick(now);
                let done = driver.run(now);
                let again = self.time + self.members[place].tick();
                self.queue.push(again, Event::Tick(life));
                done
            }
            Event::Turn(_) => {
                self.members[place].turn_due = false;
                self.members[place].driver_mut().run(now)
            }
            Event::Call(_, call, handed_on) => self.call_arrives(place, call, handed_on),
            Event::Persist(_) => {
                self.members[place].writing = false;
                self.members[place].driver_mut().write(now)
            }
            Event::Work(_) => self.work(place),
            Event::LeaderLost(_, leader) => {
                driver.input(Input::LeaderLost(leader));
                Ok(())
            }
            Event::Unreachable(_, node) => {
                driver.input(Input::Unreachable(node));
                Ok(())
            }
            _ => Ok(()),
        };
        self.after(place, done)
    }

    /// Any one of the jobs that wait: they may be run in any order.
    fn work(&mut self, place: usize) -> Result<(), Fatal> {
        self.members[place].working = false;
        let now = self.members[place].clock(self.time);
        let driver = self.members[place].driver.as_mut().expect("the event is of its life");
        if driver.jobs.is_empty() {
            return Ok(());
        }
        let job = driver.jobs.swap_remove(self.chance.place(driver.jobs.len()));
        match job {
            revd_replica::Job::Checkpoint(_) => self.totals.checkpoints += 1,
            revd_replica::Job::Sweep(_) => self.totals.sweeps += 1,
            revd_replica::Job::Scrub(_) => self.totals.scrubs += 1,
            revd_replica::Job::Fetch(_) => self.totals.fetches += 1,
            revd_replica::Job::Install(_) => self.totals.snapshots += 1,
            _ => {}
        }
        driver.work(job, now)
    }

    /// What follows from any step of a member: its messages, answers and jobs, or its end.
    pub(crate) fn after(&mut self, place: usize, done: Result<(), Fatal>) -> Checked {
        let out = std::mem::take(&mut self.members[place].driver_mut().out);
        for (at, kind, data) in out.committed {
            let seen = self.oracle.committed_entry(at, kind, &data, self.time);
            seen.map_err(by(place))?;
        }
        if self.members[place].will_crash && self.members[place].has_no_power() {
            self.totals.torn += 1;
            note!(self, "{}: the power fails in an operation", place + 1);
            self.crash(place);
            return Ok(());
        }
        if let Err(fatal) = done {
            return self.stopped(place, &fatal);
        }
        self.totals.waits += out.waits;
        self.totals.confirmations += out.confirmations;
        if out.handed_over > 0 {
            self.totals.handed_over += out.handed_over;
            note!(self, "{}: hands over because of its disk", place + 1);
        }
        for role in out.roles {
            self.role_changed(place, role);
        }
        for (call, answer) in out.answers {
            self.answered(place, call, answer)?;
        }
        self.look_after_refill(place);
        for message in out.messages {
            self.check_word(&message)?;
            self.send(message);
        }
        self.snapshots_wanted(place, &out.snapshots);
        self.schedule(place);
        Ok(())
    }

    /// Has the member's next turn and the disk's next jobs come.
    fn schedule(&mut self, place: usize) {
        let slow = self.members[place].slow_until > self.time;
        let (write, work) = if self.healing { (MS, MS) } else { (self.plan.write, self.plan.work) };
        let stretch = 1 + 40 * u64::from(slow);
        // The tree may lie on a disk of its own.
        let stretch_work = if self.chance.permille(500) { stretch } else { 1 };
        let member = &mut self.members[place];
        let life = member.life;
        let driver = member.driver.as_ref().expect("it has not stopped");
        let writes = !driver.room.unwritten.is_empty() && !driver.room.is_waiting;
        let works = !driver.jobs.is_empty();
        if writes && !member.writing {
            member.writing = true;
            let time = self.time + 1 + self.chance.below(write) * stretch;
            self.queue.push(time, Event::Persist(life));
        }
        if works && !member.working {
            member.working = true;
            let time = self.time + 1 + self.chance.below(work) * stretch_work;
            self.queue.push(time, Event::Work(life));
        }
    }

    /// Something has happened to a member that its next turn will show.
    pub(crate) fn turn_later(&mut self, place: usize) {
        let member = &mut self.members[place];
        if !std::mem::replace(&mut member.turn_due, true) {
            let time = self.time + 1 + self.chance.below(self.plan.puts_off);
            self.queue.push(time, Event::Turn(member.life));
        }
    }

    /// A member must stop.
    fn stopped(&mut self, place: usize, fatal: &Fatal) -> Checked {
        let member = &self.members[place];
        let lost = fatal.lost().filter(|_| member.is_rotten);
        let has_reason = member.is_faulty || lost.is_some();
        ensure!(has_reason, "member {} stops for no reason: {fatal}", place + 1);
        note!(self, "{}: stops: {fatal}", place + 1);
        match lost {
            Some(lost) => self.lost(place, lost),
            None => self.totals.stopped += 1,
        }
        self.kill(place);
        Ok(())
    }

    fn start(&mut self, place: usize) -> Checked {
        if self.members[place].is_up() || self.members[place].retired {
            return Ok(());
        }
        let skew = if self.healing { 0 } else { self.plan.skew };
        self.members[place].begin(self.time, skew, &mut self.chance);
        let opened = match self.members[place].open(&self.plan, &mut self.chance) {
            Ok(opened) => opened,
            Err(error) => return self.not_opened(place, &error),
        };
        self.totals.starts += 1;
        note!(self, "{}: starts: {:?}", place + 1, opened.report);
        let member = &mut self.members[place];
        let now = member.clock(self.time);
        if opened.report.damage.is_some() {
            ensure!(member.is_rotten, "member {} has lost what it had", place + 1);
            member.is_rotten = false;
            member.needs = Some(self.oracle.committed());
            self.totals.lost_logs += 1;
        }
        member.is_refilled |= opened.report.is_refilled;
        let mut driver = crate::driver::Driver::new(opened, self.plan.pace.clone(), now);
        crate::planted::plant(&mut driver, self.bug);
        if driver.consensus.is_lone() {
            driver.input(Input::Campaign);
        }
        member.driver = Some(driver);
        let tick = self.time + 1 + self.chance.below(member.tick());
        self.queue.push(tick, Event::Tick(member.life));
        if !self.read_again(place)? {
            return Ok(());
        }
        self.compare_member(place)?;
        self.after(place, Ok(()))
    }

    fn not_opened(&mut self, place: usize, error: &revd_replica::OpenError) -> Checked {
        let member = &mut self.members[place];
        let crashed = member.will_crash && member.has_no_power();
        if let Some(lost) = error.lost().filter(|_| member.is_rotten) {
            self.lost(place, lost);
            self.kill(place);
            return Ok(());
        }
        ensure!(crashed || member.is_faulty, "member {} cannot be opened: {error}", place + 1);
        note!(self, "{}: does not start: {error}", place + 1);
        if crashed {
            self.totals.torn += 1;
            self.crash(place);
        } else {
            self.kill(place);
        }
        Ok(())
    }

    fn role_changed(&mut self, place: usize, change: revd_raft::RoleChange) {
        note!(self, "{}: is {:?} in term {}", place + 1, change.role, change.term);
        if change.role == Role::Leader {
            self.totals.leaders += 1;
            let leaders = self.members.iter().filter(|member| member.leads()).count();
            self.totals.rivals += u64::from(leaders > 1);
            self.transferred(place);
        }
    }

    /// Who leads, in the newest term if there are several.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leading = self.members.iter().filter(|member| member.leads());
        let newest = leading.max_by_key(|member| member.driver().role.term);
        newest.map(|member| member.life.member)
    }

    fn send(&mut self, message: Message) {
        if let Some(digest) = &mut self.digest {
            let mut bytes = self.time.to_le_bytes().to_vec();
            wire::encode(&message, &mut bytes);
            for byte in bytes {
                *digest = (*digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let (from, to) = (member::place(message.from), member::place(message.to));
        let way = (from, to);
        let [first, second] = self.network.arrivals(&mut self.chance, self.time, way);
        // The streams between members may repeat anything but what was handed on: nobody could tell
        // it from a second proposal.
        if let Some(time) = second
            && !matches!(message.body, Body::Propose { .. })
        {
            self.totals.repeated += 1;
            self.queue.push(time, Event::Deliver(over_the_wire(&message)));
        }
        match first {
            Some(time) => self.queue.push(time, Event::Deliver(message)),
            None => {
                self.totals.lost += 1;
                if self.chance.permille(100) {
                    let life = self.members[from].life;
                    let time = self.time + self.chance.below(10 * MS);
                    self.queue.push(time, Event::Unreachable(life, message.to));
                }
            }
        }
    }

    fn deliver(&mut self, message: Message) -> Checked {
        let (from, to) = (member::place(message.from), member::place(message.to));
        // A network that keeps the order is made of connections, which take with them what is on
        // its way; otherwise that arrives even so.
        let broken = self.plan.in_order && !self.network.reaches(from, to);
        let Some(member) = self.members.get_mut(to).filter(|member| member.is_up() && !broken)
        else {
            self.totals.lost += 1;
            return Ok(());
        };
        if member.paused_until > self.time {
            self.queue.push(member.paused_until + 1, Event::Deliver(message));
            return Ok(());
        }
        self.totals.messages += 1;
        member.driver_mut().input(Input::Message(message));
        self.turn_later(to);
        Ok(())
    }
}

/// A message as its bytes say it.
fn over_the_wire(message: &Message) -> Message {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    wire::decode(bytes.into()).expect("what was encoded decodes")
}

/// What the cluster knows of the member in a place.
pub(crate) fn member_record(place: usize) -> revd_replica::Member {
    let id = member::id(place).0;
    revd_replica::Member {
        id,
        peer_urls: vec![format!("http://member-{id}")],
        ..revd_replica::Member::default()
    }
}

/// Names the member that broke a rule.
pub(crate) fn by(place: usize) -> impl Fn(Violation) -> Violation {
    move |Violation(what)| Violation(format!("member {} {what}", place + 1))
}
