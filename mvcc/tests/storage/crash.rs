//! Loss of power in the midst of every change of the disk: of generated workloads, of the making of
//! a store, and of the opening after such a loss. What is found is, as a whole and with its note,
//! the last checkpoint that was acknowledged or the one that was being written; and it goes on.
//!
//! A *point* is a distinct (workload, change, surviving subset). `CRASH_SEEDS=100` runs so many
//! workloads, `SEED=7` repeats one.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Operation, Sim};

use crate::load::{self, Durable, Load};
use crate::model::Model;
use crate::random::Random;
use crate::watched::{Moment, Watched};
use crate::{number, verify};

const SEEDS: u64 = 36;
/// Steps of one workload, besides its checkpoints.
const STEPS: u64 = 120;
/// Subsets that are tried of what pends at one change.
const SUBSETS: u64 = 6;

/// What may be found after a loss of power.
struct Expected<'a> {
    model: &'a Model,
    states: Vec<&'a Durable>,
}

/// The points that were tried, by what was under way and which change it was.
#[derive(Default)]
struct Points {
    seed: u64,
    changes: u64,
    seen: HashSet<u64>,
    counts: BTreeMap<String, u64>,
    went_on: u64,
    fell_back: u64,
}

impl Points {
    /// Tries subsets of what pends at some moments, and the end of the process without a loss.
    fn explore(&mut self, moments: Vec<Moment>, what: &str, expected: &Expected<'_>) {
        for moment in moments {
            self.changes += 1;
            for subset in 0..=SUBSETS {
                let mut random = Random::new(mix(mix(self.seed, self.changes), subset));
                let disk = moment.disk.fork();
                let mut left = 0;
                let is_killed = subset == SUBSETS;
                if is_killed {
                    disk.kill();
                } else {
                    left = disk.recover(random.below(1 << 31)).digest;
                }
                if !self.seen.insert(mix(mix(self.seed, self.changes), left)) {
                    continue;
                }
                let place = format!("SEED={} {what} {:?}", self.seed, moment.operation);
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    self.reopen(disk, is_killed, expected, &mut random);
                }));
                assert!(outcome.is_ok(), "{place}, change {}, subset {subset}", self.changes);
                *self.counts.entry(format!("{what} {:?}", moment.operation)).or_default() += 1;
            }
        }
    }

    /// Opens what is left, compares, and sometimes goes on; or loses power again meanwhile.
    fn reopen(&mut self, disk: Sim, is_killed: bool, expected: &Expected<'_>, random: &mut Random) {
        let is_watched = random.one_in(12);
        let watched = Watched::new(disk.clone());
        let files: Arc<dyn Disk> =
            if is_watched { Arc::new(watched.clone()) } else { Arc::new(disk.clone()) };
        let (store, opened) = load::open(files).unwrap();
        self.fell_back += u64::from(opened.fell_back);
        let note = load::note(&store);
        let found = expected.states.iter().find(|state| state.0 == note);
        let found = *found.expect("the note of the last checkpoint or of the one in flight");
        let some = [0; 3].map(|_| random.revision(found.1.revision));
        verify::compare(&store, expected.model, &found.1, some);
        if is_watched {
            drop(store);
            for moment in watched.take() {
                moment.disk.recover(random.below(1 << 31));
                let (store, _) = load::open(Arc::new(moment.disk)).unwrap();
                let note = load::note(&store);
                let again = expected.states.iter().find(|state| state.0 == note).unwrap();
                // After a kill, what is seen may lie in the page cache alone, until it is opened.
                assert!(is_killed || again.0 == found.0, "what was found is found again");
                verify::compare(&store, expected.model, &again.1, []);
                *self.counts.entry(format!("opening {:?}", moment.operation)).or_default() += 1;
            }
        } else if random.one_in(8) {
            self.went_on += 1;
            go_on(store, expected.model, found, random, &disk);
        }
    }
}

/// Works on with what was found, through a loss of power of its own.
fn go_on(store: revd_mvcc::Store, model: &Model, found: &Durable, random: &mut Random, disk: &Sim) {
    let mut load = Load::resume(store, model.clone(), found.clone(), random.below(1 << 31));
    for _ in 0..15 {
        load.work().unwrap();
    }
    load.checkpoint().unwrap();
    load.compare();
    load.put().unwrap();
    let Load { model, durable, store, .. } = load;
    drop(store);
    disk.crash(random.below(1 << 31));
    let (store, _) = load::open(Arc::new(disk.clone())).unwrap();
    assert_eq!(load::note(&store), durable.0);
    verify::compare(&store, &model, &durable.1, []);
}

fn mix(a: u64, b: u64) -> u64 {
    let mixed = (a.rotate_left(23) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// Runs one workload, and loses power in each of its changes.
fn run(points: &mut Points, seed: u64) {
    points.seed = seed;
    let sim = Sim::new(seed);
    sim.create_dir(Path::new("/data")).unwrap();
    let disk = Watched::new(sim);
    let store = load::create(Arc::new(disk.clone())).unwrap();
    disk.take();
    let mut load = Load::new(store, seed);
    for _ in 0..STEPS {
        if load.random.below(5) > 0 {
            let what = load.work().unwrap();
            let expected = Expected { model: &load.model, states: vec![&load.durable] };
            points.explore(disk.take(), what, &expected);
            continue;
        }
        let Some(checkpoint) = load.begin_checkpoint().unwrap() else { continue };
        // The writer goes on meanwhile.
        load.put().unwrap();
        let in_flight = load.in_flight.take().unwrap();
        let written = checkpoint.write().unwrap();
        let states = vec![&load.durable, &in_flight];
        points.explore(disk.take(), "checkpoint", &Expected { model: &load.model, states });
        load.durable = in_flight;
        load.store.checkpointed(written);
        let expected = Expected { model: &load.model, states: vec![&load.durable] };
        points.explore(disk.take(), "taking a checkpoint", &expected);
    }
    load.compare();
}

#[test]
fn power_fails_at_every_change_of_a_workload() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let is_whole = seeds.end - seeds.start >= SEEDS;
    let next = std::sync::Mutex::new(seeds);
    let lane = || {
        let mut points = Points::default();
        loop {
            let Some(seed) = next.lock().unwrap().next() else { return points };
            run(&mut points, seed);
        }
    };
    let lanes = std::thread::scope(|scope| {
        let lanes = [scope.spawn(lane), scope.spawn(lane)];
        lanes.map(|lane| lane.join().unwrap())
    });
    let mut counts = BTreeMap::<String, u64>::new();
    for points in &lanes {
        for (kind, count) in &points.counts {
            *counts.entry(kind.clone()).or_default() += count;
        }
    }
    let total: u64 = counts.values().sum();
    let sum = |of: fn(&Points) -> u64| lanes.iter().map(of).sum::<u64>();
    let (fell_back, went_on) = (sum(|points| points.fell_back), sum(|points| points.went_on));
    println!("{total} points; fell back {fell_back}, went on {went_on}");
    counts.iter().for_each(|(kind, count)| println!("{count:>7} {kind}"));
    if is_whole {
        assert!(total >= 20_000, "{total} points");
        assert!(fell_back >= 500 && went_on >= 500);
        for kind in ["checkpoint Write", "checkpoint Sync", "opening Write", "opening Sync"] {
            let count = counts.get(kind).copied().unwrap_or(0);
            assert!(count >= 500, "{count} points: {kind}");
        }
    }
}

#[test]
fn power_fails_while_a_store_is_made() {
    let (mut whole, mut unfinished) = (0, 0);
    for seed in 0..8 {
        let sim = Sim::new(seed);
        sim.create_dir(Path::new("/data")).unwrap();
        let disk = Watched::new(sim);
        drop(load::create(Arc::new(disk.clone())).unwrap());
        let model = Model::new();
        for moment in disk.take() {
            for subset in 0..12 {
                let disk = moment.disk.fork();
                disk.recover(mix(seed, subset));
                if let Ok((store, _)) = load::open(Arc::new(disk.clone())) {
                    verify::compare(&store, &model, &model.now, []);
                    whole += 1;
                    continue;
                }
                // Whoever makes a store removes what an unfinished attempt has left.
                let _ = disk.remove(Path::new(load::TREE));
                let store = load::create(Arc::new(disk)).unwrap();
                verify::compare(&store, &model, &model.now, []);
                unfinished += 1;
            }
        }
    }
    println!("{whole} whole, {unfinished} unfinished");
    assert!(whole > 0 && unfinished > 300);
}

/// The kinds of change that a disk can be asked for, and a store asks for.
#[test]
fn watched_disks_see_every_change() {
    let sim = Sim::new(1);
    sim.create_dir(Path::new("/data")).unwrap();
    let disk = Watched::new(sim.clone());
    let before = sim.operations();
    drop(load::create(Arc::new(disk.clone())).unwrap());
    let moments = disk.take();
    assert_eq!(moments.len() as u64, sim.operations() - before);
    assert!(moments.iter().any(|moment| moment.operation == Operation::Sync));
}
