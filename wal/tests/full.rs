//! A full disk costs nothing that was acknowledged, and the log goes on when room returns.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[allow(dead_code, reason = "each test uses its part of it")]
mod model;

use model::{Model, Step, apply, open, options, workload};
use revd_disk::{Effect, Fault, Operation, Sim};
use revd_wal::{Error, OpenError, Options, Wal};

const BLOCK: u64 = 4096;
const STEPS: usize = 40;

fn new_disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    if seed % 2 == 1 {
        disk.refuse_direct();
    }
    disk
}

/// Opens the log, which may find the disk full, but nothing worse.
fn try_open(disk: &Sim, seed: u64, context: &str) -> Option<Wal> {
    match open(disk.clone(), &options(seed)) {
        Ok((wal, _)) => Some(wal),
        Err(OpenError::Disk(error)) if error.is_full() => None,
        Err(error) => panic!("{context}: {error:?}"),
    }
}

/// Does a step that may find the disk full; true if it was done. If not, nothing has happened.
fn try_step(wal: &Wal, step: &Step, model: &mut Model, context: &str) -> bool {
    let after = model.after(step, wal.bounds());
    let done = match apply(wal, step) {
        Ok(()) => true,
        Err(error) if error.is_full() => false,
        Err(error) => panic!("{context}: {error:?}"),
    };
    // Entries that were to be released may be gone, whatever became of their files.
    if done || matches!(step, Step::Release(_)) {
        *model = after;
    }
    done
}

/// The log holds what it must, goes on, and does both again after a crash.
fn goes_on(disk: &Sim, wal: Option<Wal>, seed: u64, mut model: Model, context: &str) {
    disk.heal();
    let wal = wal.unwrap_or_else(|| open(disk.clone(), &options(seed)).unwrap().0);
    for step in [Step::Append(vec![b"room".as_slice().into(); 3]), Step::Upkeep, Step::Truncate(70)]
    {
        let after = model.after(&step, wal.bounds());
        apply(&wal, &step).unwrap_or_else(|error| panic!("{context}, healed: {error:?}"));
        model = after;
    }
    wal.verify().unwrap_or_else(|error| panic!("{context}, healed: {error:?}"));
    let models = [model];
    Model::find(&models, &wal, context);
    drop(wal);
    disk.crash(seed);
    let (wal, _) = open(disk.clone(), &options(seed)).unwrap();
    wal.verify().unwrap_or_else(|error| panic!("{context}, reopened: {error:?}"));
    Model::find(&models, &wal, &format!("{context}, reopened"));
}

/// What a run met.
#[derive(Debug, Default)]
struct Met {
    runs: u64,
    refused: u64,
    truncations_refused: u64,
}

/// Runs a workload on a disk of so many bytes.
fn run_in(capacity: u64, seed: u64, met: &mut Met) {
    let context = format!("SEED={seed} capacity {capacity}");
    let disk = new_disk(seed);
    disk.set_capacity(capacity);
    let mut model = Model::new();
    let mut wal = try_open(&disk, seed, &context);
    met.runs += 1;
    // Something was removed after the last append: the room that is kept for that may be used up.
    let mut marked = false;
    for (number, step) in workload(seed, STEPS, false).iter().enumerate() {
        let context = format!("{context} step {number}");
        let Some(log) = &wal else {
            wal = try_open(&disk, seed, &context);
            continue;
        };
        if matches!(step, Step::Reopen) {
            drop(wal.take());
            wal = try_open(&disk, seed, &context);
            assert!(wal.is_some(), "{context}: a log needs room to be opened");
            continue;
        }
        let before = log.bounds();
        if try_step(log, step, &mut model, &context) {
            marked = match step {
                Step::Truncate(_) => true,
                Step::Append(_) | Step::Push(_) | Step::Reset(_) => false,
                _ => marked,
            };
            continue;
        }
        met.refused += 1;
        assert!(!matches!(step, Step::Release(_)), "{context}: a release needs room");
        assert_eq!(log.bounds(), before, "{context}");
        if matches!(step, Step::Truncate(_)) {
            assert!(marked, "{context}: a truncation needs room");
            met.truncations_refused += 1;
        }
    }
    if let Some(wal) = &wal {
        wal.verify().unwrap_or_else(|error| panic!("{context}: {error:?}"));
        Model::find(std::slice::from_ref(&model), wal, &context);
    }
    let crashed = disk.fork();
    crashed.crash(capacity);
    goes_on(&crashed, None, seed, model.clone(), &format!("{context}, crashed"));
    goes_on(&disk, wal, seed, model, &context);
}

/// Removes a suffix on a full disk again and again; returns how often it could.
fn truncations_when_full(options: &Options) -> u64 {
    let disk = Sim::new(1);
    let (wal, _) = open(disk.clone(), options).unwrap();
    wal.append(1, &[[1; 30]; 100]).unwrap();
    disk.set_capacity(disk.allocated());
    let mut next = 101;
    while wal.append(next, &[[2; 5000]]).map(|()| next += 1).is_ok() {}
    let mut removed = 0;
    let refused = loop {
        if let Err(error) = wal.truncate_suffix(100 - removed) {
            break error;
        }
        removed += 1;
    };
    assert!(refused.is_full(), "{refused:?}");
    assert_eq!(wal.bounds().1, 100 - removed);
    let reopened = disk.fork();
    for (disk, wal) in [(disk, Some(wal)), (reopened, None)] {
        disk.heal();
        let wal = wal.unwrap_or_else(|| open(disk.clone(), options).unwrap().0);
        let next = 101 - removed;
        wal.append(next, &["on"]).unwrap();
        wal.truncate_suffix(next).unwrap();
        assert_eq!(wal.bounds(), (1, next - 1));
        wal.verify().unwrap();
    }
    removed
}

#[test]
fn a_full_disk_leaves_room_to_remove_a_suffix() {
    let mut small = options(0);
    small.segment_bytes = 16 << 10;
    assert_eq!(truncations_when_full(&small), 1);
    let mut large = options(0);
    large.segment_bytes = 16 << 20;
    assert!((4..8).contains(&truncations_when_full(&large)));
}

#[test]
fn a_log_lives_on_a_disk_of_any_size() {
    let mut met = Met::default();
    for seed in 0..12 {
        let whole = new_disk(seed);
        let (mut largest, mut model) = (0, Model::new());
        let (wal, _) = open(whole.clone(), &options(seed)).unwrap();
        for step in workload(seed, STEPS, false) {
            try_step(&wal, &step, &mut model, "the whole");
            largest = largest.max(whole.allocated());
        }
        for capacity in (0..=largest).step_by(BLOCK as usize) {
            run_in(capacity, seed, &mut met);
        }
    }
    println!("{met:?}");
    assert!(met.refused > 1000, "{met:?}");
}

/// Runs a workload in which the disk is full at one operation. False if it was never that far.
fn run_with(operation: Operation, skip: u64, seed: u64, met: &mut Met) -> bool {
    let context = format!("SEED={seed} full at {operation:?} {skip}");
    let disk = new_disk(seed);
    // Only creations need room, and only spare files are created.
    let path = if operation == Operation::Open { ".spare" } else { "" };
    disk.inject(Fault::new(operation, Effect::Full).on(path).after(skip));
    let mut model = Model::new();
    let mut full = 0;
    let mut wal = try_open(&disk, seed, &context).unwrap_or_else(|| {
        full += 1;
        open(disk.clone(), &options(seed)).unwrap().0
    });
    for (number, step) in workload(seed, STEPS, false).iter().enumerate() {
        let context = format!("{context} step {number} {}", wal.bounds().1);
        if matches!(step, Step::Reopen) {
            drop(wal);
            wal = try_open(&disk, seed, &context).unwrap_or_else(|| {
                full += 1;
                open(disk.clone(), &options(seed)).unwrap().0
            });
        } else if !try_step(&wal, step, &mut model, &context) {
            full += 1;
            let again = try_step(&wal, step, &mut model, &context);
            assert!(again, "{context}: refused again");
        }
    }
    met.runs += 1;
    met.refused += full;
    goes_on(&disk, Some(wal), seed, model, &context);
    full > 0
}

#[test]
fn a_disk_that_is_full_at_one_operation_fails_that_call_alone() {
    let mut met = Met::default();
    for seed in 0..6 {
        for operation in [Operation::Open, Operation::Allocate, Operation::Write, Operation::Rename]
        {
            let mut skip = 0;
            while run_with(operation, skip, seed, &mut met) {
                skip += 1;
            }
        }
    }
    println!("{met:?}");
    assert!(met.refused > 300, "{met:?}");
}

#[test]
fn a_disk_that_is_full_when_it_syncs_stops_the_log_and_keeps_what_was_acknowledged() {
    let mut stopped = 0;
    for seed in 0..12 {
        let operations = [Operation::Sync, Operation::SyncDir];
        for (operation, skip) in operations.into_iter().flat_map(|op| (0..60).map(move |n| (op, n)))
        {
            let context = format!("SEED={seed} full at {operation:?} {skip}");
            let disk = new_disk(seed);
            let (wal, _) = open(disk.clone(), &options(seed)).unwrap();
            disk.inject(Fault::new(operation, Effect::Full).after(skip));
            let mut states = vec![Model::new()];
            for step in workload(seed, STEPS, false) {
                let after = states[0].after(&step, wal.bounds());
                match apply(&wal, &step) {
                    Ok(()) => states = vec![after],
                    // The call has changed nothing, or its rest is done by the next.
                    Err(error) if error.is_full() => {
                        if matches!(step, Step::Release(_)) {
                            states = vec![after];
                        }
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::Poisoned), "{context}: {error:?}");
                        states.push(after);
                        stopped += 1;
                        break;
                    }
                }
            }
            drop(wal);
            disk.crash(skip);
            let (wal, _) = open(disk, &options(seed)).unwrap();
            wal.verify().unwrap();
            Model::find(&states, &wal, &context);
        }
    }
    println!("{stopped} logs stopped");
    assert!(stopped > 100, "{stopped}");
}
