//! Many crashes of one log in a row, and processes that end while the machine goes on.

use revd_disk::Sim;

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
