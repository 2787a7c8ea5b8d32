//! Power loss at every change of the disk, with several surviving subsets each: reopening finds
//! exactly the last acknowledged checkpoint, or the one that was being written.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, OpenError, Tree};
use revd_disk::{Disk, Sim};
use support::{Model, PATH, Rng, Run, options};

fn disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    disk.create_dir(Path::new("/data")).unwrap();
    disk
}

/// Runs a workload until it ends or the power fails. Returns the states that may be found then:
/// none if the file was not created yet.
fn run_until_crash(disk: &Sim, seed: u64, steps: usize) -> Vec<Model> {
    let tree = match Tree::create(Arc::new(disk.clone()), Path::new(PATH), options()) {
        Ok(tree) => tree,
        Err(OpenError::Disk(error)) if error.is_crashed() => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let mut run = Run::new(tree, seed);
    for _ in 0..steps {
        match run.step() {
            Ok(()) => {}
            Err(Error::Disk(error)) if error.is_crashed() => break,
            Err(error) => panic!("{error}"),
        }
    }
    std::iter::once(run.durable).chain(run.in_flight).collect()
}

/// Opens what has survived, crashing in the midst of it a few times first.
fn recover(disk: &Sim, rng: &mut Rng) -> Result<Tree, OpenError> {
    disk.recover(rng.next());
    for _ in 0..rng.below(3) {
        disk.crash_at(disk.operations() + rng.below(3));
        let _ = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options());
        disk.cut_power();
        disk.recover(rng.next());
    }
    Ok(Tree::open(Arc::new(disk.clone()), Path::new(PATH), options())?.0)
}

/// Checks one outcome of a crash, goes on from there, and checks that again.
fn check_outcome(disk: &Sim, states: &[Model], rng: &mut Rng) {
    let tree = match recover(disk, rng) {
        Ok(tree) => tree,
        Err(OpenError::Disk(error)) if error.is_not_found() && states.is_empty() => return,
        Err(error) => panic!("{error}"),
    };
    tree.verify().unwrap();
    let found = match states {
        [] => Model::default(),
        _ => {
            let found = states.iter().find(|state| state.note == tree.note());
            found.expect("the note of the last checkpoint or of the one in flight").clone()
        }
    };
    found.check(&tree.reader().pin(), rng);
    let mut run = Run::new(tree, rng.next());
    run.next = run.tree.last_key().map_or(1, |key| key.main);
    (run.live, run.published, run.durable) = (found.clone(), found.clone(), found);
    for _ in 0..12 {
        run.step().unwrap();
    }
    let mut run = run.reopen(Arc::new(disk.clone()));
    run.check();
    run.tree.verify().unwrap();
}

#[test]
fn a_crash_at_any_moment_leaves_one_of_two_states() {
    // More with `REVD_CRASH_SEEDS=200 cargo test -p revd-btree --test crash`.
    let seeds = std::env::var("REVD_CRASH_SEEDS").map_or(12, |seeds| seeds.parse().unwrap());
    let mut points = 0;
    for seed in 0..seeds {
        let whole = disk(seed);
        run_until_crash(&whole, seed, 120);
        for moment in 0..=whole.operations() {
            let crashed = disk(seed);
            crashed.crash_at(moment);
            let states = run_until_crash(&crashed, seed, 120);
            crashed.cut_power();
            for subset in 0..4 {
                let mut rng = Rng(seed << 40 | moment << 8 | subset);
                let point = format!("SEED={seed} moment={moment} subset={subset}");
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    check_outcome(&crashed.fork(), &states, &mut rng);
                }));
                assert!(outcome.is_ok(), "{point}");
                points += 1;
            }
        }
    }
    println!("{points} crash points");
}

#[test]
fn a_killed_process_loses_at_most_what_was_not_checkpointed() {
    for seed in 0..30 {
        let killed = disk(seed);
        killed.crash_at(60 + 9 * seed);
        let states = run_until_crash(&killed, seed, 200);
        // The machine goes on: everything written is in its page cache, and the next process must
        // not take that for durable.
        killed.heal();
        let survivor = killed.fork();
        survivor.cut_power();
        let mut rng = Rng(seed);
        check_outcome(&survivor, &states, &mut rng);
    }
}
