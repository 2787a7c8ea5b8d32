//! A full disk, at every change and at every size: nothing is lost, reads, deletions, compaction
//! and checkpoints go on, and growth succeeds again when there is room.

use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Effect, Fault, Operation, Sim};
use revd_mvcc::{DeleteRange, Fatal};

use crate::load::{self, Load};

fn disk(seed: u64) -> Sim {
    let disk = Sim::new(seed);
    disk.create_dir(Path::new("/data")).unwrap();
    disk
}

fn is_full(error: &Fatal) -> bool {
    format!("{error:?}").contains("Full")
}

/// What storage refused.
#[derive(Debug, Default)]
struct Refused {
    writes: u64,
    checkpoints: u64,
    opens: u64,
    /// Refusals after which the store had to be opened again.
    reopened: u64,
}

/// A store at work on a disk that has no room.
struct Squeezed {
    disk: Sim,
    load: Load,
    refused: Refused,
}

impl Squeezed {
    fn new(disk: Sim, seed: u64) -> Self {
        let store = load::create(Arc::new(disk.clone())).unwrap();
        Self { disk, load: Load::new(store, seed), refused: Refused::default() }
    }

    /// Lets a refusal for want of room be: the store goes on as if nothing had been asked, or is
    /// opened again and holds its last checkpoint. True if nothing was refused.
    fn outlive(self, done: Result<&'static str, Fatal>) -> (Self, bool) {
        let Err(error) = done else { return (self, true) };
        assert!(is_full(&error), "{error:?}");
        if let Fatal::Full { free_bytes, needed_bytes } = error {
            assert!(free_bytes < needed_bytes, "{error:?}");
        }
        (self.go_on(), false)
    }

    fn go_on(mut self) -> Self {
        let is_written = self.load.in_flight.is_some();
        if is_written {
            self.refused.checkpoints += 1;
        } else {
            self.refused.writes += 1;
        }
        // Refused as long as the store lives, whatever it holds.
        let is_alive = self.load.store.compact(i64::MIN).is_ok();
        if is_alive && !is_written {
            return self;
        }
        self.reopen()
    }

    fn reopen(self) -> Self {
        let Self { disk, load, mut refused } = self;
        let Load { store, model, durable, in_flight, mut random, .. } = load;
        drop(store);
        disk.kill();
        let opened = load::open(Arc::new(disk.clone())).or_else(|error| {
            assert!(format!("{error:?}").contains("Full"), "{error:?}");
            refused.opens += 1;
            disk.heal();
            load::open(Arc::new(disk.clone()))
        });
        let (store, _) = opened.unwrap();
        refused.reopened += 1;
        let note = load::note(&store);
        let found = in_flight.filter(|state| state.0 == note).unwrap_or(durable);
        assert_eq!(found.0, note, "a checkpoint is lost");
        let mut load = Load::resume(store, model, found, random.below(1 << 31));
        load.compare();
        Self { disk, load, refused }
    }
}

/// Has changes of a kind fail for want of room: in each run others.
fn fill_at_each(fault: impl Fn() -> Fault, runs: u64, steps: u64) {
    let mut sum = Refused::default();
    for at in 0..runs {
        let disk = disk(at);
        let mut squeezed = Squeezed::new(disk.clone(), 7);
        disk.inject(fault().after(at));
        for step in 0..steps {
            let load = &mut squeezed.load;
            let done = match step % 7 {
                6 => load.checkpoint(),
                4 => load.put_large(),
                _ => load.work(),
            };
            (squeezed, _) = squeezed.outlive(done);
        }
        let Refused { writes, checkpoints, opens, reopened } = squeezed.refused;
        disk.heal();
        squeezed.load.compare();
        squeezed = grow(squeezed, 1);
        sum.writes += writes;
        sum.checkpoints += checkpoints;
        sum.opens += opens;
        sum.reopened += reopened;
    }
    println!("{:?}: {runs} runs, {sum:?}", fault());
    assert!(sum.writes + sum.checkpoints >= runs / 2, "{sum:?}");
}

/// Puts after room has come back. The store may have to ask the file system again first.
fn grow(mut squeezed: Squeezed, puts: u64) -> Squeezed {
    let (mut done, mut refused) = (0, 0);
    while done < puts {
        let put = squeezed.load.put_large();
        let is_done;
        (squeezed, is_done) = squeezed.outlive(put);
        *(if is_done { &mut done } else { &mut refused }) += 1;
        assert!(refused < 100, "there is room, but {refused} puts were refused");
    }
    squeezed.load.checkpoint().unwrap();
    squeezed.load.compare();
    squeezed
}

#[test]
fn the_disk_is_full_at_each_write() {
    fill_at_each(|| Fault::new(Operation::Write, Effect::Full), 40, 60);
    fill_at_each(|| Fault::new(Operation::Write, Effect::Short(4096)), 40, 60);
}

#[test]
fn the_disk_is_full_from_each_growth_on() {
    fill_at_each(|| Fault::new(Operation::Allocate, Effect::Full).forever(), 6, 900);
}

/// Fills a disk of so many bytes with puts; deletes and compacts all of it while it is full; and
/// fills it again.
fn fill_and_empty(capacity: u64, seed: u64) -> Refused {
    let disk = disk(seed);
    disk.set_capacity(capacity);
    let mut squeezed = Squeezed::new(disk.clone(), seed);
    for round in 0..2 {
        let (mut refused_in_a_row, mut puts) = (0, 0u64);
        while refused_in_a_row < 3 {
            let done = squeezed.load.put_large();
            let is_done;
            (squeezed, is_done) = squeezed.outlive(done);
            refused_in_a_row = if is_done { 0 } else { refused_in_a_row + 1 };
            puts += u64::from(is_done);
            if puts.is_multiple_of(50) {
                let done = squeezed.load.checkpoint();
                (squeezed, _) = squeezed.outlive(done);
            }
            assert!(puts < 1 << 20, "{capacity} bytes were never full");
        }
        assert!(puts > 20, "{capacity} bytes, round {round}: full after {puts} puts");
        // Reads go on.
        squeezed.load.compare();
        empty(&mut squeezed.load);
    }
    disk.set_capacity(4 * capacity);
    grow(squeezed, 200).refused
}

/// Deletes everything and sweeps it away; none of this may be refused.
fn empty(load: &mut Load) {
    let delete = DeleteRange { key: "\0".into(), range_end: "\0".into(), prev_kv: false };
    load.store.delete_range(&delete).unwrap().unwrap();
    load.model.delete_range(&delete.interval());
    let revision = load.model.now.revision;
    if load.store.compact(revision).unwrap().is_ok() {
        load.model.now.floor = revision;
    }
    load.checkpoint().unwrap();
    while load.store.is_compacting() {
        load.sweep().unwrap();
        load.checkpoint().unwrap();
    }
    load.checkpoint().unwrap();
    load.compare();
}

#[test]
fn a_disk_of_any_size_is_filled_and_emptied() {
    let mut sum = Refused::default();
    for seed in 0..12 {
        let capacity = (5 << 20) + seed * 333 * 4096;
        let refused = fill_and_empty(capacity, seed);
        sum.writes += refused.writes;
        sum.checkpoints += refused.checkpoints;
        sum.reopened += refused.reopened;
    }
    println!("12 sizes: {sum:?}");
    assert!(sum.writes >= 12 * 2 * 3, "{sum:?}");
}
