//! A whole member on a simulated disk, under random load, losing power at any operation.
//!
//! Consensus, machine, tree, log and vote file run on one thread; jobs finish at moments that the
//! seed chooses. At a random operation of the disk the power goes: of the writes that were not
//! synced an arbitrary subset survives, torn at sectors. The member is opened again (sometimes
//! losing power in the middle of that, too) and must be in the state after exactly the first `n`
//! commands, with `n` not below what was acknowledged.
//!
//! `SEED=…` replays one run; `REVD_POWER_RUNS` sets their number.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod load;
mod member;
mod model;

use std::collections::BTreeMap;

use load::Chance;
use member::{Member, Stage};
use model::Model;
use revd_disk::Sim;

/// Power failures in one run.
const FAILURES: usize = 6;

/// What all runs together have met.
#[derive(Default)]
struct Tally {
    failures: BTreeMap<Stage, usize>,
    acknowledged: usize,
    survived: usize,
    lost: usize,
    sweeps: usize,
}

fn run(seed: u64, tally: &mut Tally) {
    let mut chance = Chance::new(seed);
    let disk = Sim::new(seed);
    let mut model = Model::default();
    for failure in 0..=FAILURES {
        let mut member = start(&disk, &mut chance, tally, seed);
        let snapshot = member.snapshot();
        let found = model.find(&snapshot).unwrap_or_else(|| {
            panic!(
                "SEED={seed}: after failure {failure} the state is that of no command from {} to \
                 {}: revision {}, {} keys, {} leases",
                model.acknowledged(),
                model.proposed(),
                snapshot.revision,
                snapshot.keys.len(),
                snapshot.leases.len()
            )
        });
        tally.survived += found - model.acknowledged();
        tally.lost += model.proposed() - found;
        model.continue_from(found);
        for _ in 0..3 {
            let oldest = snapshot.compacted.max(1);
            let revision = oldest + chance.below((snapshot.revision - oldest + 1) as u64) as i64;
            assert!(
                &member.keys(revision) == model.at(revision),
                "SEED={seed}: revision {revision} of {} has changed",
                snapshot.revision
            );
        }
        if failure == FAILURES {
            member.verify();
            break;
        }
        // Far enough to get through a few checkpoints, near enough to strike inside of each.
        disk.crash_at(disk.operations() + chance.below(160));
        let stage = member.work(&mut model, &mut chance);
        *tally.failures.entry(stage).or_default() += 1;
        tally.sweeps += member.sweeps;
        drop(member);
        disk.recover(chance.next());
    }
    tally.acknowledged += model.acknowledged();
}

/// Opens the member, with the power failing meanwhile now and then.
fn start(disk: &Sim, chance: &mut Chance, tally: &mut Tally, seed: u64) -> Member {
    loop {
        let fails = chance.below(3) == 0;
        if fails {
            disk.crash_at(disk.operations() + chance.below(40));
        }
        match Member::open(disk, chance) {
            // Room prepared ahead is a wish: the start goes on if the power fails in it.
            Ok(member) if disk.crashed_in().is_none() => {
                disk.heal();
                return member;
            }
            Ok(_) => {
                *tally.failures.entry(Stage::Recovery).or_default() += 1;
                disk.recover(chance.next());
            }
            Err((stage, crashed)) => {
                assert!(crashed, "SEED={seed}: the member cannot be opened: {stage:?}");
                *tally.failures.entry(stage).or_default() += 1;
                disk.recover(chance.next());
            }
        }
    }
}

#[test]
fn power_loss_at_any_moment_loses_nothing_acknowledged() {
    let mut tally = Tally::default();
    if let Ok(seed) = std::env::var("SEED") {
        run(seed.parse().expect("SEED is a number"), &mut tally);
        return;
    }
    let runs = std::env::var("REVD_POWER_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    for seed in 1..=runs {
        run(seed, &mut tally);
    }
    println!(
        "{runs} runs: {} commands acknowledged; of those in flight at a failure {} survived and \
         {} did not",
        tally.acknowledged, tally.survived, tally.lost
    );
    for (stage, count) in &tally.failures {
        println!("  power failed {count:5} times during {stage:?}");
    }
    println!("  {} sweeps were run between them", tally.sweeps);
    assert!(tally.sweeps >= runs as usize, "only {} sweeps", tally.sweeps);
    let stages =
        [Stage::Bootstrap, Stage::Recovery, Stage::Persist, Stage::Checkpoint, Stage::LogUpkeep];
    for stage in stages {
        let count = tally.failures.get(&stage).copied().unwrap_or(0);
        assert!(count * 10 >= runs as usize, "only {count} failures during {stage:?}");
    }
}
