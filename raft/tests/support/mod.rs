//! A small cluster in memory: members with disks and state machines, and wires between them that a
//! test cuts as it likes. Whatever is applied anywhere is compared with what was applied elsewhere,
//! and whoever leads with who led before in the same term.

// Each test uses its own part of it; and the parts may unwrap like the tests themselves.
#![allow(dead_code, unreachable_pub, reason = "shared by several tests")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use revd_raft::*;

/// What a state machine has applied, and who belongs to the cluster.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub applied: Position,
    pub configuration: Configuration,
    /// The payloads of normal entries.
    pub words: Vec<Bytes>,
}

pub struct Member {
    pub id: NodeId,
    pub config: Config,
    /// None while it is down.
    pub raft: Option<Raft>,
    /// What survives a crash.
    pub hard_state: HardState,
    pub log: VecDeque<Entry>,
    pub log_first: Index,
    pub checkpoint: State,
    /// What does not.
    pub state: State,
    pub persist: Option<Persist>,
    pub committed: VecDeque<Entry>,
    pub fetches: VecDeque<Fetch>,
    pub install: Option<Install>,
    pub reads: Vec<ReadReady>,
    pub reads_failed: Vec<ReadId>,
    /// Its disk answers only when a test says so.
    pub slow_disk: bool,
    /// Its log was damaged, and it has not recovered: remembered over restarts.
    pub damaged: bool,
    pub starts: u64,
}

#[derive(Default)]
pub struct Cluster {
    pub members: BTreeMap<NodeId, Member>,
    pub wires: VecDeque<Message>,
    /// From whom to whom nothing arrives.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// The meaning of the data of changes of configuration: their place here.
    pub changes: Vec<Change>,
    /// The states that snapshots hold.
    pub snapshots: BTreeMap<Index, State>,
    /// Everything that was ever applied.
    pub history: BTreeMap<Index, Entry>,
    pub leaders: BTreeMap<Term, NodeId>,
    /// Settings of new members.
    pub settings: Option<fn(&mut Config)>,
    pub messages: u64,
}

/// The first entry of a cluster holds its founders, and is in no log: who comes later needs a
/// snapshot.
pub const FOUNDED: Position = Position::new(Index(1), Term(1));

pub fn id(number: u64) -> NodeId {
    NodeId(number)
}

pub fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// The change that an entry orders, by the meanings that the cluster has noted.
pub fn change_of(changes: &[Change], entry: &Entry) -> Change {
    if entry.is_leave() {
        return Change::Leave;
    }
    let text = std::str::from_utf8(&entry.data).unwrap();
    changes[text.parse::<usize>().unwrap()].clone()
}

impl Member {
    fn new(id: NodeId, config: Config, state: State) -> Member {
        let mut member = Member {
            id,
            config,
            raft: None,
            hard_state: HardState { term: state.applied.term, vote: None },
            log: VecDeque::new(),
            log_first: state.applied.index.next(),
            checkpoint: state.clone(),
            state,
            persist: None,
            committed: VecDeque::new(),
            fetches: VecDeque::new(),
            install: None,
            reads: Vec::new(),
            reads_failed: Vec::new(),
            slow_disk: false,
            damaged: false,
            starts: 0,
        };
        member.start();
        member
    }

    /// Starts from what the disk has kept.
    pub fn start(&mut self) {
        self.state = self.checkpoint.clone();
        let (applied, configuration) = (self.state.applied, self.state.configuration.clone());
        let mut restart = Restart::new(&self.config, self.hard_state, applied, configuration);
        for entry in self.log.iter().filter(|entry| entry.index > applied.index) {
            restart.push(entry.clone()).unwrap();
        }
        restart.log_begins_at(self.log_first);
        if self.damaged {
            restart.recovering();
        }
        self.starts += 1;
        let seed = self.id.0 * 1_000 + self.starts;
        self.raft = Some(Raft::new(self.config.clone(), restart, seed).unwrap());
    }

    /// Loses everything that is not on the disk; of what was being written, `kept` steps survive.
    pub fn crash(&mut self, kept: usize) {
        self.raft = None;
        if let Some(persist) = self.persist.take()
            && kept > 0
        {
            let entries = persist.entries.len();
            self.write(persist, (kept - 1).min(entries));
        }
        self.committed.clear();
        self.fetches.clear();
        self.install = None;
        self.reads.clear();
        self.reads_failed.clear();
        self.slow_disk = false;
    }

    /// While it is down, its log loses what is behind `last`, but nothing that the checkpoint has.
    pub fn damage(&mut self, last: Index) {
        let last = last.max(self.checkpoint.applied.index);
        self.log.truncate((last.0 + 1).saturating_sub(self.log_first.0) as usize);
        self.damaged = true;
    }

    fn write(&mut self, persist: Persist, entries: usize) {
        if let Some(hard_state) = persist.hard_state {
            assert!(self.hard_state.term <= hard_state.term);
            let again = self.hard_state.term == hard_state.term && self.hard_state.vote.is_some();
            assert!(!again || self.hard_state.vote == hard_state.vote, "votes twice");
            self.hard_state = hard_state;
        }
        if let Some(from) = persist.truncate_from {
            self.log.truncate(from.0.saturating_sub(self.log_first.0) as usize);
        }
        for entry in persist.entries.into_iter().take(entries) {
            let at = (self.log_first, self.log_last(), self.checkpoint.applied);
            assert_eq!(entry.index, at.1.next(), "the log of {} has a gap, {at:?}", self.id);
            assert!(entry.term <= self.hard_state.term, "an entry before its term");
            self.log.push_back(entry);
        }
    }

    pub fn log_last(&self) -> Index {
        Index(self.log_first.0 + self.log.len() as u64 - 1)
    }

    pub fn raft(&mut self) -> &mut Raft {
        self.raft.as_mut().expect("the member is up")
    }

    pub fn is_up(&self) -> bool {
        self.raft.is_some()
    }

    pub fn finish_persist(&mut self) -> bool {
        let Some(persist) = self.persist.take() else { return false };
        let (number, entries) = (persist.number, persist.entries.len());
        self.write(persist, entries);
        self.raft().step(Input::Persisted(number)).unwrap();
        true
    }

    pub fn finish_fetch(&mut self) -> bool {
        let Some(Fetch { number, first, last, max_bytes }) = self.fetches.pop_front() else {
            return false;
        };
        let mut bytes = 0;
        let wanted = |entry: &&Entry| first <= entry.index && entry.index <= last;
        let mut entries: Vec<Entry> = self.log.iter().filter(wanted).cloned().collect();
        if entries.first().is_some_and(|entry| entry.index > first) {
            entries.clear();
        }
        let mut fits = |entry: &Entry| {
            bytes += entry.bytes();
            bytes <= max_bytes || entry.index == first
        };
        let count = entries.iter().position(|entry| !fits(entry)).unwrap_or(entries.len());
        entries.truncate(count);
        self.raft().step(Input::Fetched(Fetched { number, entries })).unwrap();
        true
    }

    /// Makes the applied state durable, and gives up the log behind it but for `keep` entries.
    pub fn checkpoint(&mut self, keep: u64) {
        // A checkpoint does not get ahead of the durable log.
        let persisted = self.raft().status().persisted;
        if self.state.applied.index > persisted || self.install.is_some() {
            return;
        }
        self.checkpoint = self.state.clone();
        let release = Index(self.state.applied.index.0.saturating_sub(keep));
        while self.log_first <= release {
            self.log.pop_front().unwrap();
            self.log_first = self.log_first.next();
        }
        self.raft().step(Input::Checkpointed(release)).unwrap();
    }
}

impl Cluster {
    /// Voters that start at the same time with empty logs.
    pub fn new(voters: &[u64]) -> Cluster {
        Cluster::with(voters, &[], None)
    }

    pub fn with(voters: &[u64], learners: &[u64], settings: Option<fn(&mut Config)>) -> Cluster {
        let mut cluster = Cluster { settings, ..Cluster::default() };
        let configuration = Configuration::new(ids(voters), ids(learners)).unwrap();
        let founded = State { applied: FOUNDED, configuration, words: Vec::new() };
        for &number in voters.iter().chain(learners) {
            cluster.add(number, founded.clone());
        }
        cluster
    }

    /// A member that starts for the first time, of the founders' state or with none at all.
    pub fn add(&mut self, number: u64, state: State) {
        let mut config = Config::new(id(number));
        config.election_ticks = 10;
        config.heartbeat_ticks = 2;
        if let Some(settings) = self.settings {
            settings(&mut config);
        }
        self.members.insert(id(number), Member::new(id(number), config, state));
    }

    pub fn member(&mut self, number: u64) -> &mut Member {
        self.members.get_mut(&id(number)).unwrap()
    }

    pub fn raft(&mut self, number: u64) -> &mut Raft {
        self.member(number).raft()
    }

    pub fn status(&mut self, number: u64) -> Status {
        self.raft(number).status()
    }

    pub fn role(&mut self, number: u64) -> Role {
        self.status(number).role
    }

    pub fn words(&mut self, number: u64) -> Vec<String> {
        let words = &self.member(number).state.words;
        words.iter().map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
    }

    pub fn ups(&self) -> Vec<NodeId> {
        self.members.values().filter(|member| member.is_up()).map(|member| member.id).collect()
    }

    /// Who leads in the latest term in which anybody up does.
    pub fn leader(&self) -> Option<NodeId> {
        let ups = self.members.values().filter_map(|member| member.raft.as_ref());
        let leads = ups.map(Raft::status).filter(|status| status.role == Role::Leader);
        leads.max_by_key(|status| status.term).map(|status| status.id)
    }

    /// Everything that is due at `id` comes out; what needs no time is done at once.
    pub fn take(&mut self, id: NodeId) -> bool {
        let Some(output) = self.output(id) else { return false };
        let busy = !output.is_empty();
        self.carry_out(id, output);
        busy
    }

    /// Everything that is due at `id`, if it is up.
    pub fn output(&mut self, id: NodeId) -> Option<Output> {
        let member = self.members.get_mut(&id)?;
        let raft = member.raft.as_mut()?;
        let output = raft.take();
        member.damaged &= raft.status().recovering;
        Some(output)
    }

    /// Begins whatever `output` wants done; what needs no time is done at once.
    pub fn carry_out(&mut self, id: NodeId, output: Output) {
        let member = self.members.get_mut(&id).expect("outputs come from members");
        if let Some(persist) = output.persist {
            assert!(member.persist.is_none(), "two persists at once");
            member.persist = Some(persist);
        }
        member.committed.extend(output.committed);
        member.fetches.extend(output.fetches);
        member.reads.extend(output.reads);
        member.reads_failed.extend(output.reads_failed);
        if let Some(install) = output.install {
            assert!(member.install.is_none() && member.persist.is_none());
            member.install = Some(install);
        }
        if let Some(role) = output.role.filter(|role| role.role == Role::Leader) {
            let first = *self.leaders.entry(role.term).or_insert(id);
            assert_eq!(first, id, "two leaders in term {}", role.term);
        }
        for message in output.messages {
            self.messages += 1;
            self.wires.push_back(message);
        }
        for request in output.snapshots {
            self.send_snapshot(id, request);
        }
    }

    fn send_snapshot(&mut self, from: NodeId, request: SnapshotRequest) {
        let state = self.members[&from].state.clone();
        let position = state.applied;
        assert!(position.index >= request.after);
        let body = Body::Snapshot { position, configuration: state.configuration.clone() };
        self.snapshots.insert(position.index, state);
        self.wires.push_back(Message { from, to: request.to, term: request.term, body });
    }

    /// The first message on the wires arrives, or is lost.
    pub fn deliver(&mut self) -> bool {
        let Some(message) = self.wires.pop_front() else { return false };
        self.arrive(message);
        true
    }

    pub fn arrive(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        let snapshot = match &message.body {
            Body::Snapshot { position, .. } => Some(*position),
            _ => None,
        };
        let up = self.members.get(&to).is_some_and(Member::is_up);
        let arrives = up && !self.cut.contains(&(from, to));
        if arrives {
            let taken = self.raft(to.0).step(Input::Message(message));
            taken.unwrap_or_else(|refused| panic!("{from} to {to}: {refused}"));
        }
        if let Some(position) = snapshot
            && let Some(raft) = self.members.get_mut(&from).and_then(|from| from.raft.as_mut())
        {
            let outcome = if arrives {
                SnapshotOutcome::Delivered(position)
            } else {
                SnapshotOutcome::Failed
            };
            raft.step(Input::SnapshotReport { to, outcome }).unwrap();
        }
    }

    /// One committed entry is applied at `id`.
    pub fn apply(&mut self, id: NodeId) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(entry) = member.committed.pop_front() else { return false };
        assert_eq!(entry.index, member.state.applied.index.next(), "once and in order at {id}");
        let earlier = self.history.entry(entry.index).or_insert_with(|| entry.clone());
        assert_eq!(*earlier, entry, "{id} applies what {earlier:?} was elsewhere");
        member.state.applied = entry.position();
        let index = entry.index;
        let report = match entry.kind {
            EntryKind::Configuration => {
                match member.state.configuration.changed(&change_of(&self.changes, &entry)) {
                    Ok(configuration) => {
                        member.state.configuration = configuration.clone();
                        Input::ConfigurationApplied { index, configuration }
                    }
                    Err(_) => Input::ConfigurationRejected { index },
                }
            }
            EntryKind::Normal => {
                member.state.words.push(entry.data);
                Input::Applied(index)
            }
            EntryKind::Empty => Input::Applied(index),
        };
        member.raft().step(report).unwrap();
        true
    }

    /// The snapshot that `id` was told to install is in place.
    pub fn finish_install(&mut self, id: NodeId) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(install) = member.install.take() else { return false };
        let state = self.snapshots[&install.position.index].clone();
        assert_eq!(state.applied, install.position);
        assert!(state.applied.index > member.state.applied.index, "{id} goes back");
        member.state = state.clone();
        member.checkpoint = state;
        member.log.clear();
        member.log_first = install.position.index.next();
        member.raft().step(Input::Installed(install.position)).unwrap();
        true
    }

    /// Everything happens until nothing is left to do; disks that are slow stay so.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = self.deliver();
            for id in self.ups() {
                busy |= self.take(id);
                let member = self.members.get_mut(&id).unwrap();
                if !member.slow_disk {
                    busy |= member.finish_persist();
                }
                busy |= member.finish_fetch();
                busy |= self.apply(id);
                busy |= self.finish_install(id);
            }
            if !busy {
                return;
            }
        }
        panic!("no rest");
    }

    /// So many ticks at every member, with everything that they lead to.
    pub fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for id in self.ups() {
                self.members.get_mut(&id).unwrap().raft().step(Input::Tick).unwrap();
            }
            self.settle();
        }
    }

    /// So many ticks at some members alone.
    pub fn tick_at(&mut self, numbers: &[u64], ticks: u32) {
        for _ in 0..ticks {
            for &number in numbers {
                self.raft(number).step(Input::Tick).unwrap();
            }
            self.settle();
        }
    }

    /// Ticks at some members alone, until one of them leads.
    pub fn elect_among(&mut self, numbers: &[u64]) -> u64 {
        for _ in 0..200 {
            self.tick_at(numbers, 1);
            if let Some(&leader) = numbers.iter().find(|&&number| self.role(number) == Role::Leader)
            {
                return leader;
            }
        }
        panic!("no leader among {numbers:?}");
    }

    /// Makes `number` stand for election, and lets everything happen.
    pub fn elect(&mut self, number: u64) {
        self.raft(number).step(Input::Campaign).unwrap();
        self.settle();
        assert_eq!(self.role(number), Role::Leader);
    }

    pub fn propose(&mut self, number: u64, word: &str) -> Position {
        self.raft(number).propose(Bytes::from(word.to_owned())).unwrap()
    }

    /// The entry's data for a change.
    pub fn change_data(&mut self, change: &Change) -> Bytes {
        self.changes.push(change.clone());
        Bytes::from((self.changes.len() - 1).to_string())
    }

    pub fn change(&mut self, number: u64, change: &Change) -> Result<Position, Refused> {
        let data = self.change_data(change);
        self.raft(number).propose_configuration(change, data)
    }

    /// Nothing gets from one side to the other any more.
    pub fn part(&mut self, one: &[u64], other: &[u64]) {
        for &a in one {
            for &b in other {
                self.cut.insert((id(a), id(b)));
                self.cut.insert((id(b), id(a)));
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn crash(&mut self, number: u64) {
        self.member(number).crash(0);
    }

    pub fn restart(&mut self, number: u64) {
        self.member(number).start();
        self.settle();
    }

    /// Asks for a read and returns its index, if it is answered without time passing.
    pub fn read(&mut self, number: u64, read: u64) -> Option<Index> {
        self.raft(number).step(Input::Read(ReadId(read))).unwrap();
        self.settle();
        self.read_index(number, read)
    }

    pub fn read_index(&mut self, number: u64, read: u64) -> Option<Index> {
        let reads = &self.member(number).reads;
        reads.iter().find(|ready| ready.id == ReadId(read)).map(|ready| ready.index)
    }
}
