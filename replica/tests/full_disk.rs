//! A whole member on a simulated disk that fills up: growth is refused at the door, deletions,
//! compaction and reads go on, room that comes back is used; and what got past the door waits, in
//! the log or before the tree, and is carried out when there is room, in order and once.
//!
//! `SEED=…` replays one run; `REVD_FULL_RUNS` sets their number.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use revd_disk::Sim;
use revd_mvcc::{DeleteRange, Put, Range};
use revd_raft::{Config, Input, NodeId};
use revd_replica::job::PersistJob;
use revd_replica::{
    Answer, Author, Command, Consensus, Decoded, Demand, Fatal, Identity, Job, JobDone, Machine,
    RequestId, Retention, Settings, entry, recover,
};

const ID: u64 = 0x8e9e;
const DIR: &str = "data";

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A member whose jobs run at once.
struct Member {
    disk: Sim,
    consensus: Consensus,
    machine: Machine,
    /// Written in order; the first has found the disk full.
    unwritten: Vec<PersistJob>,
    next: u64,
    answered: BTreeMap<u64, bool>,
    /// What the keys must hold once everything proposed is applied.
    model: BTreeMap<Bytes, Bytes>,
}

impl Member {
    fn open(disk: &Sim, segment_bytes: u64) -> Self {
        let identity = Identity { cluster: 0xc1, member: ID };
        let mut log = revd_wal::Options::default();
        log.segment_bytes = segment_bytes;
        log.fill_ahead_bytes = segment_bytes;
        let settings = Settings {
            identity,
            founders: vec![revd_replica::Member { id: ID, ..Default::default() }],
            raft: Config::new(NodeId(ID)),
            log,
            store: revd_mvcc::Options::new(identity.owner()),
            retention: Retention { entries: 20, ..Retention::default() },
            seed: 1,
        };
        let opened = recover::open(Arc::new(disk.clone()), Path::new(DIR), settings).unwrap();
        let mut member = Self {
            disk: disk.clone(),
            consensus: opened.consensus,
            machine: opened.machine,
            unwritten: Vec::new(),
            next: 1,
            answered: BTreeMap::new(),
            model: BTreeMap::new(),
        };
        member.consensus.step(Input::Campaign).unwrap();
        member.turn();
        member
    }

    /// Whether the door would let this in, beside what is under way.
    fn has_room(&mut self, demand: Demand) -> bool {
        self.consensus.has_room(demand.cost) && self.machine.has_room(demand, None).unwrap()
    }

    fn propose(&mut self, command: Command) -> u64 {
        let (author, request) = (Author::default(), RequestId(self.next));
        self.next += 1;
        match &command {
            Command::Put(put) => drop(self.model.insert(put.key.clone(), put.value.clone())),
            Command::DeleteRange(delete) => {
                self.model.retain(|key, _| *key < delete.key || *key >= delete.range_end);
            }
            _ => {}
        }
        let bytes = entry::encode(&command, request, &author);
        self.consensus.propose(bytes, Decoded { request, author, command }).unwrap();
        request.0
    }

    fn turn(&mut self) {
        loop {
            let output = self.consensus.take();
            let idle = output.persist.is_none() && output.committed.is_empty();
            self.unwritten.extend(output.persist);
            self.write();
            for job in output.jobs {
                self.run(job);
            }
            self.apply(output.committed);
            if idle {
                break;
            }
        }
    }

    fn write(&mut self) {
        while let Some(persist) = self.unwritten.first() {
            match persist.run() {
                Ok(done) => self.consensus.done(done).unwrap(),
                Err(fatal) => {
                    assert!(fatal.is_full(), "{fatal}");
                    return;
                }
            }
            self.unwritten.remove(0);
        }
    }

    fn apply(&mut self, committed: Vec<revd_replica::Committed>) {
        let mut application = self.machine.apply(committed).unwrap();
        assert_eq!(application.stalled_by.is_some(), self.machine.is_stalled());
        assert!(application.stalled_by.is_none_or(|fatal| fatal.is_full()));
        let applied = self.machine.applied().index;
        self.consensus.applied(applied, application.reconfigured.take()).unwrap();
        for (id, result) in application.answers {
            assert!(self.answered.insert(id.0, result.is_ok()).is_none(), "answered once");
            assert!(!matches!(result.map(|applied| applied.answer), Ok(Answer::Alarms(_))));
        }
    }

    fn run(&mut self, job: Job) {
        match job.run().unwrap() {
            JobDone::Log(done) => self.consensus.done(done).unwrap(),
            JobDone::Tree(done) => {
                if let Some(index) = self.machine.done(done).unwrap() {
                    self.consensus.checkpointed(index).unwrap();
                }
            }
            JobDone::Installed(_) => unreachable!("nobody sends a snapshot to a lone member"),
        }
    }

    /// Sweeps and checkpoints until nothing is left to do; false if a checkpoint had no room.
    fn upkeep(&mut self) -> bool {
        for _ in 0..2_000 {
            let sweep = self.machine.sweep().unwrap();
            let is_swept = sweep.is_none();
            if let Some(sweep) = sweep {
                self.run(sweep);
            }
            match self.machine.checkpoint(self.consensus.status().persisted) {
                Ok(Some(checkpoint)) => self.run(checkpoint),
                Ok(None) if is_swept => {
                    self.turn();
                    return true;
                }
                Ok(None) => {}
                Err(fatal) if fatal.is_full() => return false,
                Err(fatal) => panic!("{fatal}"),
            }
            self.turn();
        }
        panic!("upkeep does not end");
    }

    /// What the driver does every tenth of a second when something has found the disk full.
    fn try_again(&mut self) {
        self.machine.look_for_room();
        self.consensus.prepare();
        if !self.unwritten.is_empty() {
            self.consensus.give_up_spare().unwrap();
            self.machine.renew_checkpoint().unwrap();
            self.write();
        }
        self.apply(Vec::new());
        self.turn();
        self.upkeep();
        self.turn();
    }

    /// Goes on until the log has taken everything: it may first have to give up what it keeps.
    fn settle(&mut self) {
        for _ in 0..5 {
            if self.unwritten.is_empty() {
                break;
            }
            self.try_again();
        }
        assert!(self.unwritten.is_empty(), "what was let in is logged");
        assert!(!self.machine.is_stalled(), "what was let in fits");
    }

    fn count(&self) -> i64 {
        let all = Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() };
        self.machine.view().range(&all).unwrap().count
    }

    /// Compares all keys with the model, which counts everything that was proposed.
    fn check(&self) {
        assert_eq!(self.count(), self.model.len() as i64);
        for (key, value) in &self.model {
            let one = Range { key: key.clone(), ..Range::default() };
            let kvs = self.machine.view().range(&one).unwrap().kvs;
            assert!(kvs.windows(value.len().max(1)).any(|part| part == value), "{key:?}");
        }
    }

    fn reopened(mut self, segment_bytes: u64) -> Self {
        let (disk, model) = (self.disk.clone(), std::mem::take(&mut self.model));
        drop(self);
        let mut member = Self::open(&disk, segment_bytes);
        member.model = model;
        // What the log had was applied once more, and answered to nobody.
        member.answered.clear();
        member
    }
}

fn put(chance: &mut Chance) -> Command {
    let len = match chance.below(8) {
        0 => 5_000 + chance.below(60_000),
        1..3 => 500 + chance.below(3_000),
        _ => 20 + chance.below(300),
    };
    let byte = b'a' + chance.below(26) as u8;
    let key = format!("k{:04}", chance.below(2_000)).into();
    Command::Put(Put { key, value: vec![byte; len as usize].into(), ..Put::default() })
}

fn delete_most() -> Command {
    Command::DeleteRange(DeleteRange { key: "k0100".into(), range_end: "l".into(), prev_kv: false })
}

/// Fills the disk through the door, in batches, with checkpoints now and then.
fn fill(member: &mut Member, chance: &mut Chance) {
    for _ in 0..1_000_000 {
        let mut sum = Demand::default();
        for _ in 0..1 + chance.below(20) {
            let command = put(chance);
            sum.add(Demand::of(&command));
            if !member.has_room(sum) {
                member.turn();
                member.settle();
                return;
            }
            member.propose(command);
        }
        member.turn();
        member.settle();
        if chance.below(10) == 0 {
            assert!(member.upkeep(), "a checkpoint has its reserve");
        }
    }
    panic!("the disk is never full");
}

fn fill_and_make_room(seed: u64) {
    let mut chance = Chance(seed);
    let disk = Sim::new(seed);
    let capacity = (24 << 20) + chance.below(16 << 20);
    disk.set_capacity(capacity);
    let segment = 4 << 20;
    let mut member = Member::open(&disk, segment);
    for _ in 0..2 {
        fill(&mut member, &mut chance);
        member.check();
        if chance.below(2) == 0 {
            member = member.reopened(segment);
            member.check();
        }
        let delete = member.propose(delete_most());
        member.turn();
        member.settle();
        assert_eq!(member.answered.get(&delete), Some(&true), "a deletion goes on");
        let revision = member.machine.store().revision().0;
        let compact = member.propose(Command::Compact { revision, physical: false });
        member.turn();
        member.settle();
        assert_eq!(member.answered.get(&compact), Some(&true), "a compaction goes on");
        assert!(member.upkeep(), "a sweep and its checkpoints have their reserve");
        member.consensus.prepare();
        member.turn();
        member.machine.look_for_room();
        let more = Demand::of(&put(&mut chance));
        assert!(member.has_room(more), "room has come back");
        member.check();
    }
    member.machine.store().verify().unwrap();
}

/// Nobody asks the door: the leader has more room than this member.
fn stall_and_go_on(seed: u64) {
    let mut chance = Chance(seed);
    let disk = Sim::new(seed);
    let capacity = (12 << 20) + chance.below(8 << 20);
    disk.set_capacity(capacity);
    // Large segments leave the log room when the tree has none, and small ones the reverse.
    let segment = if seed.is_multiple_of(2) { 4 << 20 } else { 1 << 20 };
    let mut member = Member::open(&disk, segment);
    let mut stalls = 0;
    for _ in 0..100_000 {
        member.propose(put(&mut chance));
        member.turn();
        if chance.below(30) == 0 {
            member.upkeep();
        }
        if !member.unwritten.is_empty() || member.machine.is_stalled() {
            stalls += 1;
            if stalls > 3 {
                break;
            }
            // A little later: checkpoints and the entries kept for followers may make room.
            member.try_again();
        }
    }
    assert!(stalls > 0, "SEED={seed}: the disk is never full");
    assert!(member.count() > 0, "reads go on");
    let waiting = member.propose(put(&mut chance));
    member.turn();
    let is_stopped = !member.unwritten.is_empty() || member.machine.is_stalled();
    assert_eq!(member.answered.contains_key(&waiting), !is_stopped);

    disk.set_capacity(4 * capacity);
    for _ in 0..5 {
        member.try_again();
    }
    assert!(member.unwritten.is_empty() && !member.machine.is_stalled(), "all has gone on");
    assert_eq!(member.answered.len() as u64, member.next - 1, "each proposal has its answer");
    assert!(member.answered.values().all(|is_done| *is_done), "and none was refused");
    member.check();
    let member = member.reopened(segment);
    member.check();
    member.machine.store().verify().unwrap();
}

fn each_seed(run: fn(u64)) {
    if let Ok(seed) = std::env::var("SEED") {
        run(seed.parse().expect("SEED is a number"));
        return;
    }
    let runs = std::env::var("REVD_FULL_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for seed in 1..=runs {
        println!("SEED={seed}");
        run(seed);
    }
}

#[test]
fn growth_is_refused_and_room_comes_back() {
    each_seed(fill_and_make_room);
}

#[test]
fn what_got_past_the_door_waits_and_is_not_refused() {
    each_seed(stall_and_go_on);
}

/// A log that has no room says so, and the very same entries go in later.
#[test]
fn entries_wait_for_the_log() {
    let disk = Sim::new(1);
    let mut member = Member::open(&disk, 1 << 20);
    let mut chance = Chance(1);
    member.propose(put(&mut chance));
    member.turn();
    disk.set_capacity(disk.allocated());
    let mut proposed = 0;
    while member.unwritten.is_empty() {
        proposed = member.propose(put(&mut chance));
        member.turn();
        assert!(proposed < 10_000, "the log is never full");
    }
    let full = member.unwritten[0].run().unwrap_err();
    assert!(matches!(&full, Fatal::Log(error) if error.is_full()), "{full}");
    assert!(!member.answered.contains_key(&proposed), "not acknowledged");
    disk.heal();
    member.try_again();
    assert_eq!(member.answered.get(&proposed), Some(&true));
    member.check();
}

#[test]
fn rule_7_28_a_request_passes_if_it_stays_below_the_quota() {
    let mut member = Member::open(&Sim::new(1), 1 << 20);
    let value = vec![b'v'; 100].into();
    let put = Command::Put(Put { key: "k".into(), value, ..Put::default() });
    let demand = Demand::of(&put);
    assert_eq!(demand.cost, 256 + 1 + 100);
    let limit = member.machine.store().bytes_in_use() + demand.cost;
    for (quota, passes) in [(limit + 1, true), (limit, false), (1, false)] {
        assert_eq!(member.machine.has_room(demand, Some(quota)).unwrap(), passes, "{quota}");
    }
    assert!(member.machine.has_room(demand, None).unwrap(), "without a quota");
}
