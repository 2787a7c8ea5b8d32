//! Whatever happens to the bytes of a log at rest: it is named, or called torn in the last batch,
//! or does no harm.
//!
//! `REVD_DAMAGES=n` strikes the large log so many times, from `SEED=` on; `--nocapture` shows the
//! outcomes by class.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cases;
mod kinds;
mod logs;
#[path = "../model/random.rs"]
mod random;
mod verdict;

use kinds::Damage;
use logs::Log;
use random::Random;
use verdict::{Class, Outcomes, judge_open};

/// Where the logs lie.
const DIR: &str = "/data/wal";

/// Strikes each small log with all of its damages.
fn strike_small_logs<D: IntoIterator<Item = Damage>>(
    damages: impl Fn(&Log) -> D + Sync,
    what: &str,
) -> Outcomes {
    let logs = logs::small_logs();
    let strike = |name: &str, log: &Log| {
        let mut outcomes = Outcomes::default();
        for damage in damages(log) {
            outcomes.judge(log, &damage, name);
        }
        println!("{what}, {name}: {outcomes}");
        outcomes
    };
    let all = std::thread::scope(|scope| {
        let strike = &strike;
        let running: Vec<_> =
            logs.iter().map(|(name, log)| scope.spawn(move || strike(name, log))).collect();
        running.into_iter().map(|one| one.join().unwrap()).fold(Outcomes::default(), Outcomes::plus)
    });
    println!("{what}: {all}");
    all
}

#[test]
fn every_flipped_bit_is_told() {
    let outcomes = strike_small_logs(kinds::flips, "flipped bits");
    assert_eq!((outcomes.of(Class::LastLost), outcomes.of(Class::FileLost)), (0, 0));
    assert!(outcomes.of(Class::Named) > 100_000 && outcomes.of(Class::Torn) > 10_000);
}

#[test]
fn every_zeroed_swapped_stale_or_misdirected_block_is_told() {
    let outcomes = strike_small_logs(kinds::blocks, "blocks");
    assert_eq!(outcomes.of(Class::FileLost), 0);
    assert!(outcomes.of(Class::Named) > 300);
}

#[test]
fn every_cut_file_is_told() {
    let outcomes = strike_small_logs(kinds::cuts, "cut files");
    assert!(outcomes.of(Class::Named) > 100_000);
}

#[test]
fn every_missing_or_renamed_file_is_told() {
    let outcomes = strike_small_logs(kinds::names, "names");
    assert!(outcomes.of(Class::Named) > 20);
}

#[test]
fn what_is_damaged_while_the_log_is_open_is_not_believed() {
    for (name, log) in logs::small_logs() {
        let flips = kinds::flips(&log).step_by(7);
        let damages = flips.chain(kinds::blocks(&log));
        let mut named = 0;
        for damage in damages {
            named += u64::from(judge_open(&log, &damage, name) == Class::Named);
        }
        assert!(named > 300, "{name}: {named}");
    }
}

#[test]
fn a_large_log_tells_damages_by_chance() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let log = logs::large_log();
    let blocks = log.blocks();
    let first = number("SEED", 1);
    let mut outcomes = Outcomes::default();
    for seed in first..first + number("REVD_DAMAGES", 10_000) {
        let damage = kinds::any(&log, &blocks, &mut Random::new(seed));
        outcomes.judge(&log, &damage, &format!("SEED={seed}"));
    }
    println!("a large log: {outcomes}");
}
