//! The power fails at every change of generated workloads, and whatever survives, the log holds all
//! that was acknowledged and nothing that was not asked for.
//!
//! A *point* is a distinct (workload, operation, surviving subset); if the power failed several
//! times, of all of them. `REVD_CRASH_MINUTES=n` goes on for so long with fresh seeds, `SEED=n`
//! repeats one. `cargo test -p revd-wal --test crash -- --nocapture` shows the points by phase.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod explore;
mod lives;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "../model/mod.rs"]
mod model;
mod phase;
mod threads;
mod trace;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use explore::{Explorer, Plan};
use phase::{Histogram, Phase};

/// A run on the way to a CI run's points ends here, so that it ends.
const WORKLOADS_MAX: u64 = 600;

/// Runs workloads until there are `total` points, and `each` of every phase.
fn explore(first_seed: u64, total: u64, each: u64, refuse_direct: bool) {
    let mut histogram = Histogram::default();
    let plan = |seed: u64| Plan {
        seed,
        steps: if seed % 8 == 7 { 200 } else { 48 },
        refuse_direct,
        long: seed.is_multiple_of(16),
        outcomes: 8,
    };
    if let Some(seed) = number("SEED") {
        Explorer::run(plan(seed), &mut histogram);
        return println!("{histogram}");
    }
    let begun = Instant::now();
    for seed in first_seed..first_seed + WORKLOADS_MAX {
        if histogram.reaches(total, each) {
            println!("{} workloads, {:.1?}\n{histogram}", seed - first_seed, begun.elapsed());
            break;
        }
        Explorer::run(plan(seed), &mut histogram);
    }
    assert!(histogram.reaches(total, each), "{total} and {each} points wanted:\n{histogram}");
    let Some(minutes) = number("REVD_CRASH_MINUTES") else {
        return;
    };
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    println!("going on with seeds from {fresh}");
    let end = begun + Duration::from_secs(60 * minutes);
    for seed in fresh.. {
        if Instant::now() >= end {
            return println!("{} more workloads\n{histogram}", seed - fresh);
        }
        Explorer::run(plan(seed), &mut histogram);
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    explore(0, 50_000, 1_000, false);
}

#[test]
fn power_cuts_lose_nothing_where_each_batch_needs_a_sync() {
    explore(10_000, 50_000, 1_000, true);
}

#[test]
fn power_cuts_among_threads_lose_nothing_that_was_acknowledged() {
    let mut histogram = Histogram::default();
    for seed in 0..6 {
        threads::explore(seed, &mut histogram);
    }
    println!("{histogram}");
    assert!(histogram.of(Phase::Threads) >= 1000, "{histogram}");
}
