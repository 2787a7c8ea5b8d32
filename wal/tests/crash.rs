//! The power fails at every step of generated workloads, and whatever survives, the log holds all
//! that was acknowledged and nothing that was not asked for.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_wal::{End, Error, OpenError, Options, Recovery, Wal};

const DIR: &str = "/data/wal";

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 32 << 10;
    options.fill_ahead_bytes = 16 << 10;
    options.owner = *b"a store in tests";
    options
}

fn open(disk: &Sim) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

/// A generator that is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Vec<u8>>),
    /// Keeps so many of a hundred of the entries.
    Truncate(u64),
    Release(u64),
    Reset(u64),
    Upkeep,
}

fn workload(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Random(seed);
    (0..steps)
        .map(|_| match random.below(20) {
            0 | 1 => Step::Truncate(random.below(101)),
            2 | 3 => Step::Release(random.below(130)),
            4 if random.below(3) == 0 => Step::Reset(1 + random.below(40)),
            5..=8 => Step::Upkeep,
            _ => {
                let sizes = [0, 1, 300, 300, 4000, 9000, 40_000];
                let bound = sizes[random.below(sizes.len() as u64) as usize] + 1;
                let entry = |random: &mut Random| {
                    let len = random.below(bound) as usize;
                    vec![random.below(256) as u8; len]
                };
                let count = 1 + random.below(if bound > 5000 { 2 } else { 8 });
                Step::Append((0..count).map(|_| entry(&mut random)).collect())
            }
        })
        .collect()
}

/// What the log must hold.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    /// Released entries stay here: the log may or may not hold them.
    entries: BTreeMap<u64, Vec<u8>>,
    next: u64,
    /// Entries before this one may be gone.
    released: u64,
}

impl Model {
    fn new() -> Model {
        Model { entries: BTreeMap::new(), next: 1, released: 1 }
    }

    /// The state after a step.
    fn after(&self, step: &Step, bounds: (u64, u64)) -> Model {
        let mut after = self.clone();
        match step {
            Step::Append(entries) => {
                for entry in entries {
                    after.entries.insert(after.next, entry.clone());
                    after.next += 1;
                }
            }
            Step::Truncate(percent) => {
                after.next = truncation(bounds, *percent);
                after.entries.split_off(&after.next);
                after.released = after.released.min(after.next);
            }
            Step::Release(percent) => {
                after.released = after.released.max(release(bounds, *percent)).min(after.next);
            }
            Step::Reset(ahead) => {
                after.next += ahead;
                after.released = after.next;
                after.entries.clear();
            }
            Step::Upkeep => {}
        }
        after
    }

    /// Says what is wrong with an opened log.
    fn compare(&self, wal: &Wal) -> Result<(), String> {
        let (first, last) = wal.bounds();
        if last + 1 != self.next {
            return Err(format!("the last entry is {last}, not {}", self.next - 1));
        }
        if first > self.released {
            return Err(format!("the first entry is {first}, above {}", self.released));
        }
        let mut expected = first;
        for entry in wal.replay(first).map_err(|error| error.to_string())? {
            let (index, entry) = entry.map_err(|error| error.to_string())?;
            if index != expected || self.entries.get(&index) != Some(&entry) {
                return Err(format!("entry {index} of {} bytes is wrong", entry.len()));
            }
            expected += 1;
        }
        if expected != self.next {
            Err(format!("the replay ends before {expected}"))
        } else {
            Ok(())
        }
    }
}

fn truncation((first, last): (u64, u64), percent: u64) -> u64 {
    first + (last + 1 - first) * percent / 100
}

fn release((first, last): (u64, u64), percent: u64) -> u64 {
    first + (last + 1 - first) * percent / 100
}

fn apply(wal: &Wal, step: &Step) -> Result<(), Error> {
    let (first, last) = wal.bounds();
    match step {
        Step::Append(entries) => wal.append(last + 1, entries),
        Step::Truncate(percent) => wal.truncate_suffix(truncation((first, last), *percent)),
        Step::Release(percent) => wal.release_prefix(release((first, last), *percent)),
        Step::Reset(ahead) => wal.reset(last + 1 + ahead),
        Step::Upkeep => wal.upkeep().map(|_| ()),
    }
}

/// Runs until the end or the crash. Returns the states that the log may be in.
fn run(disk: &Sim, steps: &[Step]) -> Vec<Model> {
    let mut model = Model::new();
    let Ok((wal, _)) = open(disk) else {
        return vec![model];
    };
    for step in steps {
        let after = model.after(step, wal.bounds());
        match apply(&wal, step) {
            Ok(()) => model = after,
            Err(error) => {
                assert!(!matches!(error, Error::Missing { .. }), "{error}");
                return vec![model, after];
            }
        }
    }
    model.compare(&wal).unwrap();
    wal.verify().unwrap();
    vec![model]
}

/// Opens the log and compares it with the states that it may be in; then goes on with it.
fn check(disk: &Sim, states: &[Model], context: &str) {
    let (wal, recovery) = open(disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!((recovery.first, recovery.last), wal.bounds(), "{context}");
    wal.verify().unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let wrong: Vec<String> = states.iter().filter_map(|state| state.compare(&wal).err()).collect();
    assert!(wrong.len() < states.len(), "{context}: {wrong:?}, {recovery:?}");
    let mut model = states.iter().find(|state| state.compare(&wal).is_ok()).unwrap().clone();

    for step in [Step::Append(vec![b"after".to_vec(); 3]), Step::Upkeep, Step::Append(vec![vec![]])]
    {
        let after = model.after(&step, wal.bounds());
        apply(&wal, &step).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        model = after;
    }
    // What was acknowledged after the recovery survives the worst.
    disk.crash(0);
    let (wal, recovery) = open(disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(recovery.end, End::Clean, "{context}");
    model.compare(&wal).unwrap_or_else(|wrong| panic!("{context}, later: {wrong}"));
}

fn crash_everywhere(seed: u64, steps: usize, outcomes: u64, new_disk: fn(u64) -> Sim) {
    let steps = workload(seed, steps);
    let whole = new_disk(seed);
    run(&whole, &steps);
    for moment in 0..=whole.operations() {
        let disk = new_disk(seed);
        disk.crash_at(moment);
        let states = run(&disk, &steps);
        disk.cut_power();
        for outcome in 0..outcomes {
            let context = format!("SEED={seed} moment {moment} outcome {outcome}");
            let disk = disk.fork();
            disk.recover(outcome);
            crash_recovery(&disk, &states, &context, moment + outcome);
            check(&disk, &states, &context);
        }
    }
}

/// The power fails again while the log is being opened, at a moment that varies.
fn crash_recovery(disk: &Sim, states: &[Model], context: &str, moment: u64) {
    let again = disk.fork();
    again.crash_at(again.operations() + moment % 7);
    drop(open(&again));
    again.crash(moment);
    check(&again, states, &format!("{context}, and again"));
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    for seed in 0..16 {
        crash_everywhere(seed, 40, 5, Sim::new);
    }
}

#[test]
fn power_cuts_lose_nothing_where_each_batch_needs_a_sync() {
    for seed in 50..58 {
        crash_everywhere(seed, 30, 5, |seed| {
            let disk = Sim::new(seed);
            disk.refuse_direct();
            disk
        });
    }
}

#[test]
fn long_runs_survive_power_cuts() {
    for seed in 100..103 {
        let steps = workload(seed, 400);
        let whole = Sim::new(seed);
        run(&whole, &steps);
        for moment in (0..=whole.operations()).step_by(17) {
            let disk = Sim::new(seed);
            disk.crash_at(moment);
            let states = run(&disk, &steps);
            disk.recover(moment);
            check(&disk, &states, &format!("SEED={seed} moment {moment}"));
        }
    }
}

#[test]
fn a_killed_process_leaves_nothing_that_a_later_power_cut_could_undo() {
    for seed in 0..12 {
        let steps = workload(seed, 30);
        let whole = Sim::new(seed);
        run(&whole, &steps);
        for moment in 0..=whole.operations() {
            let disk = Sim::new(seed);
            disk.crash_at(moment);
            let states = run(&disk, &steps);
            disk.kill();
            let context = format!("SEED={seed} moment {moment}");
            let (wal, _) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            let seen = states.iter().find(|state| state.compare(&wal).is_ok());
            let seen = seen.unwrap_or_else(|| panic!("{context}: neither state")).clone();
            drop(wal);
            for outcome in 0..4 {
                let fork = disk.fork();
                fork.crash(outcome);
                check(&fork, std::slice::from_ref(&seen), &format!("{context} {outcome}"));
            }
        }
    }
}

#[test]
fn many_crashes_in_a_row_add_up_to_nothing() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let disk = Sim::new(seed);
        let mut states = vec![Model::new()];
        for life in 0..30 {
            let context = format!("SEED={seed} life {life}");
            disk.crash_at(disk.operations() + random.below(40));
            let steps = workload(random.below(1 << 30), 40);
            if let Ok((wal, _)) = open(&disk) {
                let fits = states.iter().find(|state| state.compare(&wal).is_ok());
                let mut model = fits.unwrap_or_else(|| panic!("{context}: {states:?}")).clone();
                states.truncate(0);
                for step in &steps {
                    let after = model.after(step, wal.bounds());
                    if apply(&wal, step).is_err() {
                        states.push(after);
                        break;
                    }
                    model = after;
                }
                states.push(model);
            }
            disk.crash(random.below(1 << 30));
        }
        check(&disk, &states, &format!("SEED={seed}"));
    }
}
