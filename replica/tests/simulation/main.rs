//! Whole clusters under faults of every kind, from one seed each, with an oracle outside that
//! judges what clients are told and what members hold.
//!
//! - `cargo test -p revd-replica --test simulation` runs what CI runs.
//! - `SEED=n` replays the run of one seed.
//! - `REVD_SIM_MINUTES=n` runs fresh seeds for n minutes.
//!
//! `world` is where to begin: its queue of events drives members (`member`, `driver`, `room`) over
//! a network (`network`), as `plan` says. `client` and `watcher` are those who use the cluster,
//! `operate` who runs it; `faults` break, `heal` mends; `oracle` says what must hold, `compare`
//! looks into the members.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chance;
mod client;
mod compare;
mod driver;
mod faults;
mod heal;
mod member;
mod network;
mod operate;
mod oracle;
mod plan;
mod planted;
mod queue;
mod room;
mod run;
mod snapshot;
mod totals;
mod watcher;
mod world;

use std::time::{Duration, Instant};

use run::{Seeds, run, run_all};
use totals::Totals;

/// What CI runs: five hours of the simulated clusters.
const RUNS: u64 = 300;

#[test]
fn every_promise_holds_under_every_fault() {
    if let Ok(seed) = std::env::var("SEED") {
        let totals = run(seed.parse().expect("SEED is a number")).unwrap_or_else(|failed| {
            panic!("{failed}");
        });
        println!("{totals}");
        return;
    }
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let minutes = number("REVD_SIM_MINUTES");
    let runs = number("REVD_SIM_RUNS");
    let started = Instant::now();
    let seeds = match minutes {
        Some(minutes) => Seeds::Until(started + Duration::from_secs(60 * minutes)),
        None => Seeds::First(runs.unwrap_or(RUNS)),
    };
    let all = run_all(seeds);
    let simulated = all.totals.milliseconds as f64 / 1_000.0;
    println!(
        "{} runs in {:.1} s: {simulated:.0} simulated seconds, {:.1} for each second of a \
         processor",
        all.runs,
        started.elapsed().as_secs_f64(),
        simulated / all.work.as_secs_f64()
    );
    println!("{}", all.totals);
    if minutes.is_none() && runs.is_none() {
        check_minima(&all.totals);
    }
}

/// Each kind of event must be met often enough for its checks to mean something.
fn check_minima(totals: &Totals) {
    let minima = [(totals.acknowledged, 500_000, "client operations acknowledged")];
    for (count, minimum, what) in minima {
        assert!(count >= minimum, "{count} {what}, at least {minimum} are needed");
    }
}

#[test]
fn a_seed_repeats_to_the_last_message() {
    for seed in [3, 4, 5] {
        let first = run::digest(seed);
        assert_eq!(first, run::digest(seed), "seed {seed}");
        assert_ne!(first, run::digest(seed + 10), "seeds {seed} and {} alike", seed + 10);
    }
}
