//! Input/output errors at every operation: an error, never a panic and never wrong data. A failed
//! checkpoint poisons the tree, and opening it anew finds what was durable; also after a sync that
//! failed and dropped what it should have written, which is what page caches do.
//!
//! `SEED=7` repeats one seed; `REVD_FAULT_SEEDS=1000` tries more.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, Key, OpenError, Table, Tree};
use revd_disk::{Chances, Disk, Effect, Fault, Operation, Sim};
use support::watch::Watched;
use support::{Model, PATH, Rng, Run, options};

fn disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    disk.create_dir(Path::new("/data")).unwrap();
    disk
}

fn seeds(few: u64) -> Vec<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().unwrap()];
    }
    let seeds = std::env::var("REVD_FAULT_SEEDS").map_or(few, |seeds| seeds.parse().unwrap());
    (0..seeds).collect()
}

/// What a workload with faults came to.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    not_created: u64,
    errors: u64,
    poisoned: u64,
    not_opened: u64,
}

impl Tally {
    /// Runs a workload on a disk with faults, from its creation to its reopening after a loss of
    /// power or without one.
    fn run(&mut self, disk: &Sim, seed: u64, steps: u64) {
        self.runs += 1;
        let Some(tree) = self.create(disk) else { return };
        let mut run = Run::new(tree, seed);
        let mut failed = false;
        for _ in 0..steps {
            match run.step() {
                Ok(()) => {}
                Err(Error::Disk(_)) => {
                    self.errors += 1;
                    failed = true;
                }
                Err(Error::Poisoned) if failed => {
                    self.check_poisoned(&mut run);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
            let read = run.published.read_all(&run.tree.reader());
            assert!(matches!(read, Ok(()) | Err(Error::Disk(_))), "{read:?}");
        }
        let states = [Some(run.durable), run.in_flight];
        drop(run.tree);
        self.reopen(disk, states.iter().flatten().collect(), seed);
    }

    fn failures(&self) -> u64 {
        self.not_created + self.errors + self.not_opened
    }

    fn create(&mut self, disk: &Sim) -> Option<Tree> {
        match Tree::create(Arc::new(disk.clone()), Path::new(PATH), options()) {
            Ok(tree) => Some(tree),
            Err(OpenError::Disk(_)) => {
                self.not_created += 1;
                // Another attempt either finds the file, which is there as a whole, or makes it.
                disk.heal();
                let tree = match Tree::open(Arc::new(disk.clone()), Path::new(PATH), options()) {
                    Ok((tree, _)) => tree,
                    Err(_) => {
                        Tree::create(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap()
                    }
                };
                tree.verify().unwrap();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A tree whose checkpoint has failed can be read and not changed.
    fn check_poisoned(&mut self, run: &mut Run) {
        self.poisoned += 1;
        let key = Key::new(u64::MAX, 0, 0);
        assert!(matches!(run.tree.append(key, b"", b""), Err(Error::Poisoned)));
        assert!(matches!(run.tree.put(Table(0), key, b""), Err(Error::Poisoned)));
        assert!(matches!(run.tree.delete(Table(0), key), Err(Error::Poisoned)));
        assert!(matches!(run.tree.checkpoint(b""), Err(Error::Poisoned)));
    }

    fn reopen(&mut self, disk: &Sim, states: Vec<&Model>, seed: u64) {
        if Rng(seed).one_in(2) {
            disk.crash(seed);
        } else {
            disk.kill();
        }
        let mut opened = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options());
        if let Err(OpenError::Disk(_)) = opened {
            self.not_opened += 1;
            disk.heal();
            opened = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options());
        }
        disk.heal();
        let (tree, _) = opened.unwrap();
        let found = states.iter().find(|state| state.note == tree.note());
        found.expect("a state that is durable").read_all(&tree.reader()).unwrap();
        tree.verify().unwrap();
    }
}

#[test]
fn an_error_at_any_operation_loses_nothing() {
    const KINDS: [(Operation, Effect); 13] = [
        (Operation::Open, Effect::Io),
        (Operation::Exists, Effect::Io),
        (Operation::Rename, Effect::Io),
        (Operation::SyncDir, Effect::Io),
        (Operation::Length, Effect::Io),
        (Operation::Map, Effect::Io),
        (Operation::Read, Effect::Io),
        (Operation::Write, Effect::Io),
        (Operation::Write, Effect::Torn),
        (Operation::Sync, Effect::Io),
        (Operation::Allocate, Effect::Io),
        (Operation::PunchHole, Effect::Io),
        (Operation::Truncate, Effect::Io),
    ];
    let mut tally = Tally::default();
    for seed in seeds(2) {
        for (operation, effect) in KINDS {
            for nth in 0..60 {
                println!("SEED={seed} {operation:?} {effect:?} {nth}");
                let before = tally.failures();
                for times in [1, u64::MAX] {
                    let disk = disk(seed);
                    disk.inject(Fault::new(operation, effect).after(nth).times(times));
                    tally.run(&disk, seed, 60);
                }
                if tally.failures() == before {
                    // There are no so many of these.
                    break;
                }
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.poisoned > 50 && tally.not_created > 50 && tally.errors > 100);
}

#[test]
fn errors_by_chance_lose_nothing() {
    let mut tally = Tally::default();
    for seed in seeds(150) {
        println!("SEED={seed}");
        let (disk, mut rng) = (disk(seed), Rng(seed));
        for _ in 0..4 {
            let operation =
                [Operation::Read, Operation::Write, Operation::Sync, Operation::Allocate]
                    [rng.below(4) as usize];
            let effect = if rng.one_in(4) && operation == Operation::Write {
                Effect::Torn
            } else {
                Effect::Io
            };
            let (after, times) = (5 + rng.below(120), 1 + rng.below(3));
            disk.inject(Fault::new(operation, effect).after(after).times(times));
        }
        tally.run(&disk, seed, 120);
    }
    println!("{tally:?}");
    assert!(tally.poisoned > 20);
}

/// Any operation may fail at any time, in the recovery after a loss of power, too; and again after
/// that.
#[test]
fn a_disk_that_fails_now_and_then_loses_nothing() {
    let mut tally = Tally::default();
    for seed in seeds(200) {
        println!("SEED={seed}");
        let (disk, mut rng) = (disk(seed), Rng(!seed));
        // From hardly ever to one operation of a hundred.
        let often = 1u32 << rng.below(7);
        let chances = Chances {
            read_error: 30 * often,
            write_error: 60 * often,
            sync_error: 150 * often,
            torn_write: 60 * often,
            short_write: 60 * often,
            slow: 1_000,
            ..Chances::default()
        };
        disk.fail_by_chance(seed, chances);
        tally.run(&disk, seed, 150);
    }
    println!("{tally:?}");
    if tally.runs > 100 {
        assert!(tally.poisoned > 10 && tally.not_created > 0 && tally.not_opened > 0);
    }
}

/// A sync fails, and drops an arbitrary part of what it should have written; reads still show all
/// of it. The process ends and another one opens the file: whatever it finds must survive.
fn after_a_failed_sync(seed: u64, checked: &mut u64) {
    let sim = disk(seed);
    let tree = Tree::create(Arc::new(sim.clone()), Path::new(PATH), options()).unwrap();
    let mut run = Run::new(tree, seed);
    while run.durable.note.is_empty() || run.in_flight.is_none() {
        run.step().unwrap();
    }
    sim.inject(Fault::new(Operation::Sync, Effect::Io));
    assert!(matches!(run.end_checkpoint(), Err(Error::Disk(_))));
    let states = [run.durable, run.in_flight.unwrap()];
    drop(run.tree);
    sim.kill();
    let watched = Watched::new(sim);
    let (tree, _) = Tree::open(Arc::new(watched.clone()), Path::new(PATH), options()).unwrap();
    let found = states.iter().find(|state| state.note == tree.note()).unwrap();
    // Before the open has returned, either may be found again.
    for moment in watched.take() {
        check_survivors(&moment.disk, &states.each_ref(), seed, checked);
    }
    let mut run = Run::resume(tree, found, seed);
    for _ in 0..60 {
        let before = run.durable.clone();
        run.step().unwrap();
        for moment in watched.take() {
            check_survivors(&moment.disk, &[&before, &run.durable], seed, checked);
        }
    }
}

fn check_survivors(disk: &Sim, states: &[&Model], seed: u64, checked: &mut u64) {
    for subset in 0..6 {
        let disk = disk.fork();
        disk.recover(seed << 8 | subset);
        let opened = Tree::open(Arc::new(disk), Path::new(PATH), options());
        let (tree, _) = opened.unwrap_or_else(|error| panic!("subset {subset}: {error}"));
        let found = states.iter().find(|state| state.note == tree.note());
        found.expect("a state that was found before").read_all(&tree.reader()).unwrap();
        tree.verify().unwrap();
        *checked += 1;
    }
}

#[test]
fn what_a_failed_sync_dropped_is_not_taken_for_durable_later() {
    let mut checked = 0;
    for seed in seeds(40) {
        println!("SEED={seed}");
        after_a_failed_sync(seed, &mut checked);
    }
    println!("{checked} losses of power after failed syncs");
}

/// The same while the file is created.
#[test]
fn a_failed_sync_of_the_creation_leaves_no_broken_file() {
    for seed in seeds(60) {
        for (nth, operation) in
            [(0, Operation::Sync), (1, Operation::Sync), (0, Operation::SyncDir)]
        {
            println!("SEED={seed} {operation:?} {nth}");
            let sim = disk(seed);
            sim.inject(Fault::new(operation, Effect::Io).after(nth));
            let created = Tree::create(Arc::new(sim.clone()), Path::new(PATH), options());
            let failed = created.is_err();
            drop(created);
            sim.heal();
            sim.kill();
            let opened = Tree::open(Arc::new(sim.clone()), Path::new(PATH), options());
            let was_found = opened.is_ok();
            drop(opened);
            sim.crash(seed);
            match Tree::open(Arc::new(sim), Path::new(PATH), options()) {
                Ok((tree, _)) => drop(tree.verify().unwrap()),
                // A name that was never synced may be lost.
                Err(OpenError::Disk(error)) if failed && error.is_not_found() => {}
                Err(error) => panic!("{error} (found before: {was_found})"),
            }
        }
    }
}
