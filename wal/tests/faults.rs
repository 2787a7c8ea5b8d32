//! The disk fails: an error and never a panic, nothing wrong afterwards, and all that was
//! acknowledged when the log is opened anew.

#[allow(dead_code, reason = "each test uses its part of it")]
mod model;

use model::{Model, Random, Step, apply, open, options, workload};
use revd_disk::{Effect, Fault, Kind, Operation, Sim};
use revd_wal::{Error, Wal};

const STEPS: usize = 40;

fn new_disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    if seed % 2 == 1 {
        disk.refuse_direct();
    }
    disk
}

/// Where a run has ended.
struct Ended {
    /// The log, if it was open.
    wal: Option<Wal>,
    /// The states that it may be in.
    states: Vec<Model>,
    /// A change of the log itself failed.
    in_change: bool,
}

/// Runs a workload up to the first error; `None` if there was none.
fn run(disk: &Sim, seed: u64) -> Option<Ended> {
    let mut model = Model::new();
    let Ok((mut wal, _)) = open(disk.clone(), &options(seed)) else {
        return Some(Ended { wal: None, states: vec![model], in_change: false });
    };
    for step in workload(seed, STEPS, false) {
        if matches!(step, Step::Reopen) {
            drop(wal);
            match open(disk.clone(), &options(seed)) {
                Ok((opened, _)) => wal = opened,
                Err(_) => return Some(Ended { wal: None, states: vec![model], in_change: false }),
            }
            continue;
        }
        let after = model.after(&step, wal.bounds());
        if apply(&wal, &step).is_err() {
            let in_change = !matches!(step, Step::Release(_) | Step::Upkeep);
            return Some(Ended { wal: Some(wal), states: vec![model, after], in_change });
        }
        model = after;
    }
    None
}

/// Opens the log, tells its state, appends, and loses power: nothing may be missing then.
fn opens_and_stays(disk: &Sim, seed: u64, states: &[Model], context: &str) {
    let failed = |error: &dyn std::fmt::Debug| -> ! { panic!("{context}: {error:?}") };
    let (wal, _) = open(disk.clone(), &options(seed)).unwrap_or_else(|error| failed(&error));
    wal.verify().unwrap_or_else(|error| failed(&error));
    let mut model = Model::find(states, &wal, context).clone();
    for text in ["one more", "and another"] {
        let step = Step::Append(vec![text.as_bytes().into(); 20]);
        let after = model.after(&step, wal.bounds());
        apply(&wal, &step).unwrap_or_else(|error| failed(&error));
        model = after;
    }
    drop(wal);
    for outcome in 0..3 {
        let disk = disk.fork();
        disk.crash(outcome);
        let (wal, _) = open(disk, &options(seed)).unwrap_or_else(|error| failed(&error));
        Model::find(std::slice::from_ref(&model), &wal, &format!("{context}, later"));
    }
}

/// The handle shows what it showed, and refuses changes if one of the log itself has failed.
fn handle_is_sound(ended: &Ended, context: &str) {
    let Some(wal) = &ended.wal else {
        return;
    };
    let model = Model::find(&ended.states, wal, context);
    let (_, last) = wal.bounds();
    match wal.append(last + 1, &["behind the error"]) {
        Err(Error::Poisoned) => assert!(ended.in_change, "{context}"),
        // Upkeep failed in the file that is appended to.
        Err(Error::Disk(error)) if error.kind() == Kind::Poisoned => {
            assert!(!ended.in_change, "{context}");
        }
        Err(error) => panic!("{context}: {error:?}"),
        Ok(()) => {
            let step = Step::Append(vec![b"behind the error".as_slice().into()]);
            let after = model.after(&step, (0, 0));
            Model::find(&[after], wal, context);
        }
    }
}

/// One fault in one run, and each way in which life goes on after it. False if it did not strike.
fn strike(operation: Operation, effect: Effect, skip: u64, seed: u64) -> bool {
    let context = format!("SEED={seed} {effect:?} at {operation:?} {skip}");
    let disk = new_disk(seed);
    disk.inject(Fault::new(operation, effect).after(skip));
    let Some(ended) = run(&disk, seed) else {
        return false;
    };
    disk.heal();
    let (killed, crashed) = (disk.fork(), disk.fork());
    killed.kill();
    opens_and_stays(&killed, seed, &ended.states, &format!("{context}, killed"));
    for outcome in 0..3 {
        let crashed = crashed.fork();
        crashed.crash(outcome);
        opens_and_stays(&crashed, seed, &ended.states, &format!("{context}, crashed"));
    }
    handle_is_sound(&ended, &context);
    true
}

/// Strikes each operation of a kind, one in a run, and counts the runs.
fn strike_each(operation: Operation, effect: Effect, seeds: std::ops::Range<u64>) -> u64 {
    let mut struck = 0;
    for seed in seeds {
        let mut skip = 0;
        while strike(operation, effect, skip, seed) {
            skip += 1;
        }
        struck += skip;
    }
    println!("{operation:?} {effect:?}: {struck}");
    struck
}

#[test]
fn each_failing_write_is_survived() {
    assert!(strike_each(Operation::Write, Effect::Io, 0..8) > 200);
    assert!(strike_each(Operation::Write, Effect::Torn, 0..8) > 200);
}

#[test]
fn each_failing_sync_is_survived() {
    assert!(strike_each(Operation::Sync, Effect::Io, 0..16) > 200);
    assert!(strike_each(Operation::SyncDir, Effect::Io, 0..16) > 200);
}

#[test]
fn each_failing_read_is_survived() {
    assert!(strike_each(Operation::Read, Effect::Io, 0..8) > 20);
}

#[test]
fn each_other_failing_operation_is_survived() {
    let operations = [
        Operation::Open,
        Operation::CreateDir,
        Operation::Rename,
        Operation::Remove,
        Operation::List,
        Operation::Length,
        Operation::Allocate,
    ];
    for operation in operations {
        assert!(strike_each(operation, Effect::Io, 0..8) > 0, "{operation:?}");
    }
}

#[test]
fn a_failing_sync_is_fatal_for_the_handle() {
    let disk = new_disk(1);
    let (wal, _) = open(disk.clone(), &options(1)).unwrap();
    wal.append(1, &["durable"]).unwrap();
    disk.inject(Fault::new(Operation::Sync, Effect::Io));
    assert!(matches!(wal.append(2, &["lost"]), Err(Error::Disk(_))));
    assert!(matches!(wal.append(2, &["lost"]), Err(Error::Poisoned)));
    assert!(matches!(wal.truncate_suffix(1), Err(Error::Poisoned)));
    assert!(matches!(wal.reset(9), Err(Error::Poisoned)));
    assert_eq!(wal.read(1, 1, 100).unwrap(), [b"durable"]);
}

#[test]
fn each_failing_read_of_a_replay_ends_it_with_an_error() {
    for seed in 0..4 {
        let disk = new_disk(seed);
        let (wal, _) = open(disk.clone(), &options(seed)).unwrap();
        let mut random = Random::new(seed);
        for index in 1..=60 {
            let len = random.below(3000) as usize;
            wal.append(index, &[random.bytes(len)]).unwrap();
        }
        let whole: Vec<_> = wal.replay(1).unwrap().map(Result::unwrap).collect();
        let mut skip = 0;
        loop {
            disk.inject(Fault::new(Operation::Read, Effect::Io).after(skip));
            let read: Result<Vec<_>, Error> = wal.replay(1).unwrap().collect();
            disk.heal();
            if let Ok(read) = read {
                assert!(read == whole, "SEED={seed}");
                break;
            }
            skip += 1;
        }
        assert!(skip > 0, "SEED={seed}: no read failed");
        let again: Vec<_> = wal.replay(1).unwrap().map(Result::unwrap).collect();
        assert!(again == whole, "SEED={seed}");
        wal.verify().unwrap();
    }
}
