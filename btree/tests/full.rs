//! A full disk, at every change and at every size: growth is refused, nothing is lost, deletes,
//! sweeps and checkpoints go on, and growth succeeds again when there is room.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, Key, OpenError, Options, Tree};
use revd_disk::{Disk, Effect, Fault, Operation, Sim};
use support::layout::BLOCK;
use support::{Model, PATH, Rng, Run, TABLES, options};

fn disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    disk.create_dir(Path::new("/data")).unwrap();
    disk
}

/// The reserve that is needed by what these tests do on a full disk.
const RESERVE: u64 = 1 << 20;

fn with_reserve(bytes: u64) -> Options {
    let mut options = options();
    options.reserve_bytes = bytes;
    options
}

/// Appends until there is no room; true if that was refused as it should be.
fn fill(run: &mut Run, most: u64) -> bool {
    for number in 0..most {
        let key = Key::new(run.next, 0, 0);
        run.next += 1;
        let len = if number % 9 == 0 { 30_000 } else { 1_500 };
        let value = run.rng.bytes(len);
        match run.tree.append(key, b"", &value) {
            Ok(()) => drop(run.live.records.insert(key, (b""[..].into(), value))),
            Err(Error::Full { free_bytes, needed_bytes }) => {
                assert!(free_bytes < needed_bytes);
                return true;
            }
            Err(error) => panic!("{error}"),
        }
        if number % 40 == 39 && !checkpoint(run) {
            return true;
        }
    }
    false
}

/// False if there was no room for the checkpoint.
fn checkpoint(run: &mut Run) -> bool {
    match run.begin_checkpoint().and_then(|()| run.end_checkpoint()) {
        Ok(()) => true,
        Err(Error::Full { free_bytes, needed_bytes }) => {
            assert!(free_bytes < needed_bytes);
            run.in_flight = None;
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Deletes rows and sweeps most of the history away.
fn make_room(run: &mut Run) {
    for table in TABLES {
        for row in 0..300 {
            let key = Key::new(row, 0, 0);
            let removed = run.tree.delete(table, key).unwrap();
            assert_eq!(removed, run.live.rows.remove(&(table.0, key)).is_some());
        }
    }
    let mut from = Some(Key::MIN);
    while let Some(sweep) = from.and_then(|from| run.tree.plan_sweep(from, 256 << 10)) {
        let (start, end) = sweep.range();
        let swept = sweep.run(&mut |key, _| key.main % 10 == 0).unwrap();
        from = swept.next().filter(|next| *next > start);
        run.tree.adopt(swept).unwrap();
        run.live.records.retain(|key, _| !(start..end).contains(key) || key.main % 10 == 0);
        assert!(checkpoint(run), "a sweep cannot be made durable on a full disk");
    }
    for _ in 0..2 {
        assert!(checkpoint(run));
    }
}

/// Fills a disk of so many bytes to the brim and makes room again. Without a reserve the checkpoint
/// itself may find no room; it is then made with some, as if an operator had helped.
fn fill_and_recover(capacity: u64, reserve: u64, seed: u64) {
    let disk = disk(seed);
    disk.set_capacity(capacity);
    let tree = Tree::create(Arc::new(disk.clone()), Path::new(PATH), with_reserve(reserve));
    let tree = match tree {
        Ok(tree) => tree,
        Err(OpenError::Disk(error)) if error.is_full() => return,
        Err(OpenError::Options(_)) => return,
        Err(error) => panic!("{error}"),
    };
    let mut run = Run::new(tree, seed);
    let _ = run.put();
    assert!(fill(&mut run, 1 << 20), "{capacity} bytes were never full");
    // Less may still be taken; not for long.
    let is_refused = |run: &mut Run| matches!(run.put(), Err(Error::Full { .. }));
    assert!((0..100).any(|_| is_refused(&mut run)), "{capacity} bytes are never full for rows");
    if reserve > 0 {
        assert!(checkpoint(&mut run), "no room for a checkpoint in spite of the reserve");
        run.check();
        make_room(&mut run);
    } else if !checkpoint(&mut run) {
        disk.heal();
        assert!(checkpoint(&mut run), "no checkpoint although there is room");
    }
    run.check();
    run.tree.verify().unwrap();
    disk.set_capacity(2 * capacity);
    append_again(&mut run);
    let mut run = run.reopen(Arc::new(disk));
    run.check();
    run.tree.verify().unwrap();
}

/// There is room again. It may take some refusals until the tree asks the disk.
fn append_again(run: &mut Run) {
    run.next += 1;
    let key = Key::new(run.next, 0, 0);
    let done = (0..200).any(|_| run.tree.append(key, b"", b"again").is_ok());
    assert!(done, "growth is refused although there is room");
    run.live.records.insert(key, (b""[..].into(), b"again"[..].into()));
    assert!(checkpoint(run));
}

#[test]
fn a_disk_of_any_size_is_filled_and_recovers() {
    let first = 1 << 20;
    let mut tried = 0;
    for (seed, capacity) in (first..first + (3 << 20)).step_by(37 * BLOCK as usize).enumerate() {
        println!("SEED={seed} capacity {capacity}");
        fill_and_recover(capacity, RESERVE, seed as u64);
        fill_and_recover(capacity, 0, seed as u64);
        tried += 2;
    }
    println!("{tried} full disks");
}

/// Runs a workload in which the disk is full at the n-th change of a kind and for some time after
/// it. Returns false if there are not so many changes.
fn full_at(operation: Operation, nth: u64, times: u64, seed: u64) -> bool {
    let disk = disk(seed);
    let fault = Fault::new(operation, Effect::Full).on("tree").after(nth).times(times);
    let created = disk.operations();
    disk.inject(fault);
    let tree = match Tree::create(Arc::new(disk.clone()), Path::new(PATH), options()) {
        Ok(tree) => tree,
        Err(_) => {
            disk.heal();
            Tree::create(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap()
        }
    };
    assert!(disk.operations() > created);
    let mut run = Run::new(tree, seed);
    let mut refused = 0;
    let mut states: Vec<Model> = Vec::new();
    for _ in 0..80 {
        match run.step() {
            Ok(()) => {}
            // A refusal changes nothing, but the step may have come half of its way.
            Err(Error::Full { .. }) => refused += 1,
            Err(Error::Disk(error)) if error.is_full() => refused += 1,
            Err(Error::Poisoned) => break,
            Err(error) => panic!("{error}"),
        }
        run.check_live();
        states = std::iter::once(run.durable.clone()).chain(run.in_flight.clone()).collect();
    }
    disk.heal();
    drop(run);
    let (tree, opened) = Tree::open(Arc::new(disk), Path::new(PATH), options()).unwrap();
    let found = states.iter().find(|state| state.note == tree.note());
    found.unwrap_or_else(|| panic!("{opened:?}")).read_all(&tree.reader()).unwrap();
    tree.verify().unwrap();
    refused > 0
}

#[test]
fn a_disk_that_is_full_at_any_change_loses_nothing() {
    let mut struck = 0;
    for seed in 0..6 {
        for operation in [Operation::Allocate, Operation::Write, Operation::PunchHole] {
            for nth in 0..40 {
                println!("SEED={seed} {operation:?} {nth}");
                struck += u64::from(full_at(operation, nth, 1 + Rng(nth).below(3), seed));
            }
        }
    }
    println!("{struck} runs met a full disk");
    assert!(struck > 50);
}
