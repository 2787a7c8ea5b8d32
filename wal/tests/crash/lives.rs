//! Many crashes of one log in a row, and processes that end while the machine goes on.

use revd_disk::{Chances, Sim};
use revd_wal::{Options, Wal};

use super::model::{DIR, Model, Random, Step, apply, open, options, workload};

/// Runs steps until one fails; the states that the log may then be in.
fn live(disk: &Sim, seed: u64, steps: &[Step], mut model: Model, context: &str) -> Vec<Model> {
    let Ok((wal, _)) = open(disk.clone(), &options(seed)) else {
        return vec![model];
    };
    Model::find(std::slice::from_ref(&model), &wal, context);
    for step in steps {
        let after = model.after(step, wal.bounds());
        if apply(&wal, step).is_err() {
            return vec![model, after];
        }
        model = after;
    }
    vec![model]
}

/// Opens the log after a crash, and tells its state.
fn state_of(disk: &Sim, seed: u64, states: &[Model], context: &str) -> Model {
    let (wal, _) = open(disk.clone(), &options(seed)).unwrap_or_else(|error| {
        panic!("{context}: {DIR} does not open: {error:?}");
    });
    wal.verify().unwrap_or_else(|error| panic!("{context}: {error:?}"));
    Model::find(states, &wal, context).clone()
}

#[test]
fn a_killed_process_leaves_nothing_that_a_later_power_cut_could_undo() {
    for seed in 0..12 {
        let steps = workload(seed, 30, false);
        let whole = Sim::new(seed);
        live(&whole, seed, &steps, Model::new(), "the whole");
        for moment in 0..=whole.operations() {
            let context = format!("SEED={seed} moment {moment}");
            let disk = Sim::new(seed);
            disk.crash_at(moment);
            let states = live(&disk, seed, &steps, Model::new(), &context);
            disk.kill();
            let seen = state_of(&disk, seed, &states, &context);
            for outcome in 0..4 {
                let disk = disk.fork();
                disk.crash(outcome);
                let context = format!("{context} outcome {outcome}");
                state_of(&disk, seed, std::slice::from_ref(&seen), &context);
            }
        }
    }
}

/// How often each thing fails, in a million operations. Nothing that hides what it does: of that
/// the damage tests tell.
const CHANCES: Chances = Chances {
    read_error: 5_000,
    write_error: 5_000,
    sync_error: 10_000,
    torn_write: 10_000,
    short_write: 10_000,
    full: 10_000,
    lost_write: 0,
    misdirected_write: 0,
    swapped_write: 0,
    rot: 0,
    slow: 0,
};

/// Runs steps on a disk that fails now and then, until the log can do no more; the states that it
/// may then be in, and how many steps were refused or cut short.
fn live_among_faults(disk: &Sim, seed: u64, steps: &[Step], mut model: Model) -> (Vec<Model>, u64) {
    let Ok((wal, _)) = open(disk.clone(), &options(seed)) else {
        return (vec![model], 1);
    };
    let mut failed = 0;
    for step in steps {
        let after = model.after(step, wal.bounds());
        match apply(&wal, step) {
            Ok(()) => model = after,
            Err(error) => {
                failed += 1;
                if !error.is_full() {
                    return (vec![model, after], failed);
                }
                // Refused, and as it was; but entries that were to be released may be gone.
                if matches!(step, Step::Release(_)) {
                    model = after;
                }
            }
        }
    }
    (vec![model], failed)
}

#[test]
fn a_disk_that_fails_by_chance_loses_nothing_that_was_acknowledged() {
    let mut failed = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let disk = Sim::new(seed);
        if seed % 2 == 1 {
            disk.refuse_direct();
        }
        let mut model = Model::new();
        for life in 0..20 {
            let context = format!("SEED={seed} life {life}");
            let steps = workload(random.next(), 40, false);
            disk.fail_by_chance(random.next(), CHANCES);
            if random.below(3) == 0 {
                disk.crash_at(disk.operations() + random.below(60));
            }
            let (states, more) = live_among_faults(&disk, seed, &steps, model);
            failed += more;
            disk.heal();
            if random.below(2) == 0 {
                disk.kill();
            } else {
                disk.crash(random.next());
            }
            model = state_of(&disk, seed, &states, &context);
        }
    }
    println!("{failed} calls failed");
    assert!(failed > 500, "{failed}");
}

#[test]
fn many_crashes_in_a_row_add_up_to_nothing() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let disk = Sim::new(seed);
        let mut model = Model::new();
        for life in 0..30 {
            let context = format!("SEED={seed} life {life}");
            let steps = workload(random.next(), 40, false);
            disk.crash_at(disk.operations() + random.below(60));
            let states = live(&disk, seed, &steps, model, &context);
            disk.crash(random.next());
            model = state_of(&disk, seed, &states, &context);
        }
    }
}

#[test]
fn what_lay_before_an_origin_does_not_come_back_when_the_origin_is_released() {
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    let fill = |wal: &Wal, segments: usize| {
        while wal.stats().segments < segments {
            wal.append(wal.bounds().1 + 1, &[[7; 3000]]).unwrap();
        }
    };
    let whole = Sim::new(1);
    let (wal, _) = open(whole.clone(), &options).unwrap();
    fill(&wal, 4);
    wal.reset(1000).unwrap();
    fill(&wal, 2);
    let last = wal.bounds().1;
    drop(wal);
    for (moment, outcome) in (0..8).flat_map(|moment| (0..16).map(move |outcome| (moment, outcome)))
    {
        let context = format!("moment {moment} outcome {outcome}");
        let disk = whole.fork();
        let (wal, _) = open(disk.clone(), &options).unwrap();
        disk.crash_at(disk.operations() + moment);
        // The power may fail before it is done.
        let _ = wal.release_prefix(last + 1);
        drop(wal);
        disk.crash(outcome);
        let opened = open(disk, &options);
        let (_, recovery) = opened.unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert!(recovery.first >= 1000 && recovery.last == last, "{context}: {recovery:?}");
    }
}
