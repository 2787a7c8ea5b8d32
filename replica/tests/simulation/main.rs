//! Whole clusters under faults of every kind, from one seed each, with an oracle outside that
//! judges what clients are told and what members hold.
//!
//! - `cargo test -p revd-replica --test simulation` runs what CI runs.
//! - `SEED=n` replays the run of one seed.
//! - `REVD_SIM_MINUTES=n` runs fresh seeds for n minutes, `REVD_SIM_RUNS=n` the first n seeds.
//! - `--features planted-bugs` plants bugs in members, which the oracle must find (`planted`).
//!
//! `world` is where to begin: its queue of events drives members (`member`, `driver`, `room`) over
//! a network, as `plan` says. `client` and `watcher` are those who use the cluster, `operate` who
//! runs it, `snapshot` moves whole states; `faults` break, `rot` makes disks forget, `heal` mends;
//! `oracle` says what must hold, `compare` looks into the members. `slow_disk` is an experiment of
//! its own: who leads, and how long writes take, when disks are slow and nothing else is wrong.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod compare;
mod driver;
mod event;
mod faults;
mod heal;
mod member;
mod operate;
mod oracle;
mod plan;
mod planted;
mod room;
mod rot;
mod slow_disk;
mod snapshot;
mod totals;
mod watcher;
mod world;

use std::time::{Duration, Instant};

use revd_sim::runs::{Seeds, World as _, run, run_all};

use totals::Totals;
use world::World;

/// What CI runs: five hours of the simulated clusters.
const RUNS: u64 = 300;

#[test]
fn every_promise_holds_under_every_fault() {
    if let Ok(seed) = std::env::var("SEED") {
        let totals =
            run::<World>(seed.parse().expect("SEED is a number")).unwrap_or_else(|failed| {
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
    let all = run_all::<World>(seeds);
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

/// Each kind of event must be met often enough for its checks to mean something. The minima are
/// about half of what these seeds gave when this was written.
fn check_minima(totals: &Totals) {
    let minima = [
        (totals.milliseconds, 5 * 3_600_000, "simulated milliseconds"),
        (totals.acknowledged, 500_000, "client operations acknowledged"),
        (totals.writes, 300_000, "writes"),
        (totals.reads, 130_000, "linearizable reads"),
        (totals.reads_by_followers, 90_000, "linearizable reads of followers"),
        (totals.serializable, 60_000, "serializable reads"),
        (totals.old_reads, 35_000, "reads of old revisions"),
        (totals.compacted_reads, 5_000, "reads refused because of a compaction"),
        (totals.swaps, 40_000, "compare-and-swaps that held"),
        (totals.swaps_failed, 20_000, "compare-and-swaps that did not"),
        (totals.given_up, 15_000, "calls given up"),
        (totals.grants, 20_000, "leases granted"),
        (totals.renewals, 20_000, "leases renewed"),
        (totals.revoked, 4_000, "leases revoked"),
        (totals.expired, 15_000, "leases that ran out"),
        (totals.compactions, 1_500, "compactions"),
        (totals.sweeps, 10_000, "steps of compaction"),
        (totals.checkpoints, 200_000, "checkpoints"),
        (totals.fetches, 30_000, "reads of the log"),
        (totals.watch_events, 1_000_000, "events watched"),
        (totals.watch_progress, 100_000, "marks of progress"),
        (totals.watch_resumed, 15_000, "watches resumed on another member"),
        (totals.watch_compacted, 2_000, "watches ended by a compaction"),
        (totals.leaders, 2_500, "leaders"),
        (totals.rivals, 250, "leaders with a rival in office"),
        (totals.confirmations, 120, "leaders that had to confirm their leadership"),
        (totals.transfers_done, 900, "transfers completed"),
        (totals.added, 200, "members added"),
        (totals.promoted, 50, "learners promoted"),
        (totals.retired, 200, "members removed and shut down"),
        (totals.snapshots, 900, "snapshots installed"),
        (totals.snapshots_failed, 1_000, "snapshots that failed"),
        (totals.repeated, 60_000, "messages repeated"),
        (totals.crashes, 700, "power failures between operations"),
        (totals.torn, 450, "power failures within an operation"),
        (totals.kills, 250, "processes killed"),
        (totals.stopped, 200, "members that stopped because a write failed"),
        (totals.full_disks, 250, "disks that became full"),
        (totals.waits, 20, "times that something waited for room"),
        (totals.alarms, 80, "NOSPACE alarms cleared"),
        (totals.slow_disks, 300, "slow disks"),
        (totals.handed_over, 30, "leaders that handed over because of a slow disk"),
        (totals.cuts, 700, "partitions"),
        (totals.pauses, 450, "pauses"),
        (totals.broken, 200, "broken connections"),
        (totals.lost_logs, 60, "logs found damaged"),
        (totals.lost_trees, 60, "trees found damaged"),
        (totals.refilled, 120, "members refilled"),
        (totals.compared, 20_000, "comparisons with the model"),
        (totals.hashed, 4_000, "hashes compared"),
        (totals.state_hashes, 1_000_000, "state hashes compared"),
    ];
    revd_sim::check_minima(&minima);
}

/// A number for all that the members of a run said to each other.
fn digest(seed: u64) -> u64 {
    let mut world = World::new(seed, World::LENGTH / 6, None).expect("a world begins");
    world.digest = Some(0);
    world.run().expect("a run succeeds");
    world.digest.unwrap_or_default()
}

#[test]
fn a_seed_repeats_to_the_last_message() {
    for seed in [3, 4, 5] {
        let first = digest(seed);
        assert_eq!(first, digest(seed), "seed {seed}");
        assert_ne!(first, digest(seed + 10), "seeds {seed} and {} alike", seed + 10);
    }
}
