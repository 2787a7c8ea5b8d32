//! Random requests, watches, compactions, checkpoints, scrubs, snapshots and losses of power: the
//! store always answers like a list of all versions ever written.
//!
//! A run has a fixed set of seeds and takes over a million steps. `SEED=n cargo test -p revd-mvcc
//! --test model` repeats one of them; `SEEDS=n` runs the first n.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod copying;
mod model;
mod random;
mod verify;
mod watching;
#[path = "../rules/wire.rs"]
mod wire;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use watching::Counts;
use world::World;

/// Steps of one seed: enough for a store of some thousand revisions.
const STEPS: u64 = 4_000;
const SEEDS: u64 = 260;
/// Each on a thread of its own.
const LANES: usize = 2;

/// The least that a whole run must have done of each kind: about two thirds of what it does, so
/// that a change of the chances cannot quietly take a kind out of the test.
const MINIMA: [(&str, u64); 39] = [
    ("put", 120_000),
    ("put refused", 40_000),
    ("delete", 20_000),
    ("txn", 50_000),
    ("txn that nests", 6_000),
    ("txn refused", 30_000),
    ("txn that reads", 12_000),
    ("range", 60_000),
    ("range of the past", 25_000),
    ("range refused", 25_000),
    ("hash", 1_200),
    ("hash remembered", 120),
    ("grant", 3_000),
    ("revoke", 3_000),
    ("remaining time", 3_000),
    ("row", 8_000),
    ("row deleted", 4_000),
    ("compact", 5_000),
    ("compact refused", 5_000),
    ("sweep", 10_000),
    ("swept", 8_500),
    ("scrubbed", 380),
    ("scrubbed to the end", 2_700),
    ("snapshot resumed", 120),
    ("snapshot installed", 500),
    ("checkpoint", 13_000),
    ("publish", 40_000),
    ("crash", 200),
    ("kill", 200),
    ("crash in a checkpoint", 280),
    ("reopen", 400),
    ("watch", 11_000),
    ("stream dropped", 3_000),
    ("created", 10_000),
    ("events", 30_000),
    ("fragment", 1_200),
    ("progress", 250),
    ("progress of all", 1_400),
    ("compacted", 2_500),
];

/// Runs some seeds; what they did.
fn run(next: &AtomicU64, seeds: &Range<u64>) -> (u64, Counts) {
    let (mut steps, mut counts) = (0, Counts::new());
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if !seeds.contains(&seed) {
            return (steps, counts);
        }
        let world = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.publish();
            world.verify();
            world.counts
        }));
        match world {
            Ok(done) => add(&mut counts, done),
            Err(panic) => {
                eprintln!("SEED={seed}");
                resume_unwind(panic);
            }
        }
        steps += STEPS;
    }
}

fn add(counts: &mut Counts, more: Counts) {
    more.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn the_store_answers_like_a_list_of_all_versions() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let lanes: Vec<(u64, Counts)> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(|| run(&next, &seeds))).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    let (mut steps, mut counts) = (0, Counts::new());
    for (more, of_kinds) in lanes {
        steps += more;
        add(&mut counts, of_kinds);
    }
    println!("{steps} steps");
    counts.iter().for_each(|(kind, count)| println!("{count:>9} {kind}"));
    if seeds.end - seeds.start >= SEEDS {
        assert!(steps >= 1_000_000, "{steps} steps");
        for (kind, least) in MINIMA {
            let count = counts.get(kind).copied().unwrap_or(0);
            assert!(count >= least, "{count} of at least {least}: {kind}");
        }
    }
}
