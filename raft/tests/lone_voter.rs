//! A lone voter against a simple model, under inputs in random order and crashes at any moment.
//!
//! The model is a disk that keeps what was reported durable, and of a write that was under way when
//! the power went as much of its beginning as chance allows; and a state machine that falls back to
//! its last checkpoint. After every step the world checks what the core promises (`World::check`),
//! and each run ends by letting everything finish. `SEED=n` replays one run.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use revd_raft::*;
use revd_sim::{Chance, Replay};

const ME: NodeId = NodeId(7);
const RUNS: u64 = 3_000;
const STEPS: u64 = 1_500;
/// Where the clusters are born.
const BORN: Position = Position::new(Index(3), Term(1));

#[derive(Default, Debug)]
struct Seen {
    crashes: u64,
    torn: u64,
    fetches: u64,
    restarts_below_tail: u64,
    reads: u64,
    reads_waited: u64,
    full: u64,
    changes: u64,
    changes_replayed: u64,
    put_off: u64,
    applied: u64,
}

struct World {
    chance: Chance,
    config: Config,
    raft: Raft,
    /// What survives a crash: term and vote, the log from `log_first` on, the checkpoint.
    hard_state: HardState,
    log: VecDeque<Entry>,
    log_first: Index,
    checkpoint: Position,
    /// Under way.
    persist: Option<Persist>,
    fetches: Vec<Fetch>,
    to_apply: VecDeque<Entry>,
    /// Every entry that was ever handed out: it must never change.
    committed: BTreeMap<Index, Entry>,
    applied: Position,
    handed: Index,
    /// Reads without an answer, each with what was committed when it was asked.
    reads: BTreeMap<ReadId, Index>,
    next_read: u64,
    /// The newest status of this incarnation, and the newest term and vote of all.
    status: Status,
    sworn: HardState,
    leading: bool,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let mut config = Config::new(ME);
        config.election_ticks = 4;
        config.heartbeat_ticks = 1;
        config.max_uncommitted_bytes = 300 + chance.below(3_000) as usize;
        config.max_committed_bytes = 100 + chance.below(2_000) as usize;
        config.tail_bytes = 1 + chance.below(2_000) as usize;
        config.max_reads = 8;
        let hard_state = HardState { term: BORN.term, vote: None };
        let restart = Restart::new(&config, hard_state, BORN, Configuration::lone(ME));
        let raft = Raft::new(config.clone(), restart, seed).unwrap();
        World {
            chance,
            config,
            status: raft.status(),
            raft,
            hard_state,
            log: VecDeque::new(),
            log_first: BORN.index.next(),
            checkpoint: BORN,
            persist: None,
            fetches: Vec::new(),
            to_apply: VecDeque::new(),
            committed: BTreeMap::new(),
            applied: BORN,
            handed: BORN.index,
            reads: BTreeMap::new(),
            next_read: 0,
            sworn: hard_state,
            leading: false,
            seen: Seen::default(),
        }
    }

    fn draw(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.get(index.0.checked_sub(self.log_first.0)? as usize)
    }

    fn durable_last(&self) -> Index {
        Index(self.log_first.0 + self.log.len() as u64 - 1)
    }

    fn step(&mut self) {
        match self.draw(100) {
            0..10 => self.raft.step(Input::Tick).unwrap(),
            10..12 => self.campaign(),
            12..35 => self.propose(),
            35..38 => self.propose_change(),
            38..46 => self.read(),
            46..66 => self.take(),
            66..78 => self.finish_persist(),
            78..84 => self.finish_fetch(),
            84..95 => self.apply(),
            95..97 => self.write_checkpoint(),
            97..98 => self.release(),
            98 => self.confuse(),
            _ if self.draw(3) == 0 => self.crash(),
            _ => {}
        }
        self.check();
    }

    fn campaign(&mut self) {
        let waits = self.raft.status().role == Role::Follower;
        self.raft.step(Input::Campaign).unwrap();
        if waits && self.raft.status().role == Role::Follower {
            self.seen.put_off += 1;
        }
    }

    fn propose(&mut self) {
        let size = self.draw(200) as usize;
        let before = self.raft.status();
        match self.raft.propose(Bytes::from(vec![size as u8; size])) {
            Ok(position) => {
                assert_eq!(before.role, Role::Leader);
                assert_eq!(position, Position::new(before.last.index.next(), before.term));
                let after = self.raft.status().uncommitted_bytes;
                let fits = after <= self.config.max_uncommitted_bytes;
                assert!(fits || before.uncommitted_bytes == 0, "took {after} uncommitted bytes");
            }
            Err(Refused::Full { uncommitted, bytes, limit }) => {
                assert!(uncommitted > 0 && uncommitted + bytes > limit);
                self.seen.full += 1;
            }
            Err(Refused::NotLeader { leader: None }) => assert_ne!(before.role, Role::Leader),
            Err(other) => panic!("{other}"),
        }
        if before.role != Role::Leader {
            assert_eq!(before.last, self.raft.status().last);
        }
    }

    fn propose_change(&mut self) {
        match self.raft.propose_configuration(&Change::Keep, Bytes::from_static(b"keep")) {
            Ok(_) => self.seen.changes += 1,
            Err(Refused::ConfigurationPending { index }) => assert!(index > self.applied.index),
            Err(Refused::NotLeader { .. } | Refused::Full { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn read(&mut self) {
        self.next_read += 1;
        let id = ReadId(self.next_read);
        match self.raft.step(Input::Read(id)) {
            Ok(()) => {
                let committed = self.raft.status().commit;
                let known = self.committed.last_key_value().map_or(BORN.index, |(&index, _)| index);
                self.reads.insert(id, committed.max(known));
                self.seen.reads_waited += u64::from(self.raft.status().reads_waiting > 0);
            }
            Err(Refused::NoLeader) => assert!(!self.leading),
            Err(Refused::TooManyReads { waiting }) => assert_eq!(waiting, 8),
            Err(other) => panic!("{other}"),
        }
    }

    fn take(&mut self) {
        let output = self.raft.take();
        if let Some(persist) = output.persist {
            assert!(self.persist.is_none(), "two persists at once");
            assert!(persist.truncate_from.is_none());
            let first = persist.entries.first().map(|entry| entry.index);
            assert!(first.is_none_or(|first| first == self.durable_last().next()));
            self.persist = Some(persist);
        }
        for entry in output.committed {
            self.hand_out(entry);
        }
        for read in output.reads {
            let asked = self.reads.remove(&read.id).expect("a read is answered once");
            assert!(asked <= read.index, "read at {} saw {asked} before", read.index);
            assert!(read.index <= self.raft.status().commit);
            // Section 8: what is committed is known only by an entry of the leader's own term.
            let term = self.entry(read.index).map(|entry| entry.term);
            let own = term.is_none_or(|term| term == self.raft.status().term);
            assert!(own || read.index < self.log_first, "read before an entry of the term");
            self.seen.reads += 1;
        }
        self.seen.fetches += output.fetches.len() as u64;
        for fetch in output.fetches {
            assert!(self.fetches.is_empty(), "two fetches at once");
            assert!(fetch.first > self.applied.index);
            self.fetches.push(fetch);
        }
        if let Some(role) = output.role {
            self.leading = role.role == Role::Leader;
            assert_eq!(role.leader, self.leading.then_some(ME));
        }
        assert!(output.messages.is_empty() && output.snapshots.is_empty());
        assert!(output.install.is_none() && output.reads_failed.is_empty());
    }

    fn hand_out(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.handed.next(), "handed out once and in order");
        assert_eq!(self.entry(entry.index), Some(&entry), "handed out what is not durable");
        let earlier = self.committed.insert(entry.index, entry.clone());
        assert!(earlier.as_ref().is_none_or(|earlier| *earlier == entry), "{earlier:?} {entry:?}");
        if entry.kind == EntryKind::Configuration && earlier.is_some() {
            self.seen.changes_replayed += 1;
        }
        let behind = self.to_apply.back().map(|entry| entry.kind);
        assert_ne!(behind, Some(EntryKind::Configuration), "handed out behind a change");
        self.handed = entry.index;
        self.to_apply.push_back(entry);
        // One batch at any size, otherwise within the bound.
        let bytes: usize = self.to_apply.iter().map(Entry::bytes).sum();
        assert!(bytes <= self.config.max_committed_bytes || self.to_apply.len() == 1);
    }

    fn finish_persist(&mut self) {
        let Some(persist) = self.persist.take() else { return };
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
        self.log.extend(persist.entries);
        self.raft.step(Input::Persisted(persist.number)).unwrap();
    }

    fn finish_fetch(&mut self) {
        let Some(fetch) = self.fetches.pop() else { return };
        let count = 1 + self.draw(fetch.last.0 - fetch.first.0 + 1);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in (fetch.first.0..).take(count as usize) {
            let entry = self.entry(Index(index)).unwrap().clone();
            bytes += entry.bytes();
            if bytes > fetch.max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        self.raft.step(Input::Fetched(Fetched { number: fetch.number, entries })).unwrap();
    }

    fn apply(&mut self) {
        let most = self.draw(4) + 1;
        for _ in 0..most {
            let Some(entry) = self.to_apply.pop_front() else { return };
            self.applied = entry.position();
            self.seen.applied += 1;
            let index = entry.index;
            let report = match (entry.kind, self.draw(2)) {
                (EntryKind::Configuration, 0) => Input::ConfigurationRejected { index },
                (EntryKind::Configuration, _) => Input::ConfigurationApplied {
                    index,
                    configuration: self.raft.configuration().changed(&Change::Keep).unwrap(),
                },
                _ => Input::Applied(index),
            };
            self.raft.step(report).unwrap();
        }
    }

    fn write_checkpoint(&mut self) {
        self.checkpoint = self.applied;
    }

    fn release(&mut self) {
        let index = self.checkpoint.index;
        while self.log_first <= index {
            self.log.pop_front().unwrap();
            self.log_first = self.log_first.next();
        }
        self.raft.step(Input::Checkpointed(index)).unwrap();
    }

    /// Inputs that a driver must not give: each is refused and changes nothing.
    fn confuse(&mut self) {
        let before = (self.raft.status(), self.raft.hard_state());
        let last = before.0.last.index;
        let message = |from, to| {
            let body = Body::Append {
                previous: Position::new(Index(u64::MAX), Term(u64::MAX)),
                entries: Vec::new(),
                commit: Index(u64::MAX),
            };
            Input::Message(Message { from, to, term: Term(u64::MAX), body })
        };
        for input in [
            Input::Persisted(PersistNumber(u64::MAX)),
            Input::Fetched(Fetched { number: FetchNumber(u64::MAX), entries: Vec::new() }),
            Input::Applied(last.next()),
            Input::Checkpointed(last.next()),
            Input::ConfigurationRejected { index: last.next() },
            Input::Installed(BORN),
            message(ME, ME),
            message(NodeId(8), NodeId(9)),
            message(NodeId(8), ME),
        ] {
            self.raft.step(input.clone()).expect_err(&format!("{input:?}"));
        }
        assert_eq!(before, (self.raft.status(), self.raft.hard_state()));
    }

    /// The power goes: of what was being written, a beginning survives.
    fn crash(&mut self) {
        self.seen.crashes += 1;
        if let Some(persist) = self.persist.take() {
            let kept = self.draw(persist.entries.len() as u64 + 2) as usize;
            if kept > 0 {
                self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
                self.log.extend(persist.entries.into_iter().take(kept - 1));
                self.seen.torn += 1;
            }
        }
        let configuration = Configuration::lone(ME);
        let mut restart =
            Restart::new(&self.config, self.hard_state, self.checkpoint, configuration);
        // A driver may replay from the checkpoint or from further back.
        let back = self.draw(3);
        let from = Index(self.checkpoint.index.next().0.saturating_sub(back)).max(self.log_first);
        for entry in self.log.iter().filter(|entry| entry.index >= from) {
            restart.push(entry.clone()).unwrap();
        }
        restart.log_begins_at(self.log_first);
        let seed = self.draw(u64::MAX);
        self.raft = Raft::new(self.config.clone(), restart, seed).unwrap();
        self.applied = self.checkpoint;
        self.handed = self.checkpoint.index;
        self.fetches.clear();
        self.to_apply.clear();
        self.reads.clear();
        self.leading = false;
        self.status = self.raft.status();
        assert_eq!(self.status.last.index, self.durable_last());
        let in_memory = self.status.memory_bytes;
        let all: usize =
            self.log.iter().filter(|entry| entry.index >= from).map(Entry::bytes).sum();
        self.seen.restarts_below_tail += u64::from(in_memory < all);
    }

    fn check(&mut self) {
        let (old, new) = (self.status, self.raft.status());
        assert!(old.term <= new.term, "term went back: {old:?} {new:?}");
        assert!(old.commit <= new.commit, "commit went back: {old:?} {new:?}");
        assert!(old.persisted <= new.persisted && old.last.index <= new.last.index);
        assert!(old.applied <= new.applied && old.handed_out <= new.handed_out);
        if old.commit < new.commit {
            // Section 5.4.2: what earlier terms left is committed by an entry of the own term only.
            let term = self.raft.term_at(new.commit);
            assert_eq!(term, Some(new.term), "committed by counting: {old:?} {new:?}");
        }
        assert!(new.commit <= new.persisted, "commit before it is durable: {new:?}");
        assert_eq!(new.persisted, self.durable_last(), "{new:?}");
        assert!(new.applied <= new.handed_out && new.handed_out <= new.commit);
        assert_eq!(new.handed_out, self.handed);
        let (sworn, hard_state) = (self.sworn, self.raft.hard_state());
        assert!(
            self.hard_state.term <= hard_state.term,
            "{:?} is durable, {hard_state:?} current",
            self.hard_state
        );
        if self.hard_state.term == sworn.term {
            assert!(sworn.vote.is_none() || sworn.vote == self.hard_state.vote, "voted twice");
        }
        assert!(sworn.term <= self.hard_state.term, "the durable term went back");
        self.sworn = self.hard_state;
        if new.role == Role::Leader {
            assert_eq!(hard_state, self.hard_state, "leads by a vote that is not durable");
        }
        // The tail, and between two takes what has just been committed and what is not yet; each
        // may be exceeded by one entry.
        let limit = self.config.tail_bytes + 2 * self.config.max_uncommitted_bytes + 3 * 300;
        assert!(new.memory_bytes <= limit, "{} bytes in memory, {limit} allowed", new.memory_bytes);
        self.status = new;
    }

    /// Everything that is due happens: a lone voter leads, commits and applies its whole log.
    fn heal(&mut self) {
        for _ in 0..20_000 {
            self.raft.step(Input::Tick).unwrap();
            self.take();
            self.finish_persist();
            self.finish_fetch();
            self.apply();
            self.check();
            let status = self.raft.status();
            let rest = status.role == Role::Leader && status.applied == status.last.index;
            if rest && self.raft.take().is_empty() {
                assert_eq!(status.commit, status.last.index);
                assert!(self.reads.is_empty(), "reads without answer: {:?}", self.reads);
                assert_eq!(status.uncommitted_bytes, 0);
                let terms = self.log.iter().all(|entry| {
                    self.raft.term_at(entry.index).is_none_or(|term| term == entry.term)
                });
                assert!(terms, "terms differ from the log");
                return;
            }
        }
        panic!("no rest: {:?}", self.raft.status());
    }
}

fn run(seed: u64) -> Seen {
    let _replay = Replay(seed);
    let mut world = World::new(seed);
    world.campaign();
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    world.seen
}

#[test]
fn random_orders_and_crashes_keep_every_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        println!("{:?}", run(seed.parse().unwrap()));
        return;
    }
    let mut all = Seen::default();
    for seed in 0..RUNS {
        let seen = run(seed);
        all.crashes += seen.crashes;
        all.torn += seen.torn;
        all.fetches += seen.fetches;
        all.restarts_below_tail += seen.restarts_below_tail;
        all.reads += seen.reads;
        all.reads_waited += seen.reads_waited;
        all.full += seen.full;
        all.changes += seen.changes;
        all.changes_replayed += seen.changes_replayed;
        all.put_off += seen.put_off;
        all.applied += seen.applied;
    }
    println!("{all:?}");
    // Each kind of event must have been met often enough for its checks to mean something: a
    // third of what these seeds gave when this was written.
    for count in [all.crashes, all.torn, all.fetches, all.restarts_below_tail, all.full] {
        assert!(count >= 1_800, "{all:?}");
    }
    for count in [all.reads, all.reads_waited, all.changes, all.changes_replayed, all.put_off] {
        assert!(count >= 300, "{all:?}");
    }
    assert!(all.applied >= 270_000, "{all:?}");
}

#[test]
fn same_seed_and_inputs_same_outputs() {
    let first = format!("{:?}", run(11));
    assert_eq!(first, format!("{:?}", run(11)));
}
