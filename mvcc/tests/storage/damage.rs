//! Damaged files: a named error, an older checkpoint that is reported as such, or the same answers;
//! never a wrong one. Every byte of a small store, and every block of a larger one.
//!
//! `DAMAGE_BITS=8` flips every bit of every byte, which takes minutes; the tree's own tests always
//! do.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use revd_disk::{Disk, Effect, Fault, Open, Operation, Sim};
use revd_mvcc::{Fatal, Put, ReadError, ScrubAt, ScrubJob, View};

use crate::load::{self, Durable, Load};
use crate::model::Model;
use crate::{number, verify};

const BLOCK: u64 = 4096;
/// The blocks that hold the root slots: of these, a lost write cannot be told from one that was
/// never made. Whoever keeps a log finds that out by it.
const ROOTS: std::ops::RangeInclusive<u64> = 1..=2;

/// A store on a disk, what it held at its checkpoints, and what the file was before the last one.
struct Specimen {
    disk: Sim,
    earlier: Sim,
    model: Model,
    /// The last is the newest.
    states: Vec<Durable>,
    /// Bytes up to the last that is not zero.
    len: u64,
}

impl Specimen {
    fn new(rounds: u64, work: impl Fn(&mut Load)) -> Self {
        let disk = Sim::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        let mut load = Load::new(load::create(Arc::new(disk.clone())).unwrap(), 3);
        let mut states = vec![load.durable.clone()];
        let mut earlier = disk.fork();
        for _ in 0..rounds {
            earlier = disk.fork();
            work(&mut load);
            load.checkpoint().unwrap();
            states.push(load.durable.clone());
        }
        load.compare();
        let Load { model, store, .. } = load;
        drop(store);
        let content = content(&disk);
        let len = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        Self { disk, earlier, model, states, len: len.next_multiple_of(BLOCK) }
    }

    /// A few records with all that a record can have: a lease, a long value, a deletion; rows; and
    /// a compaction.
    fn tiny() -> Self {
        Self::new(2, |load| {
            let put = |load: &mut Load, key: &str, len: usize| {
                let put = Put {
                    key: Bytes::copy_from_slice(key.as_bytes()),
                    value: Bytes::from(vec![b'v'; len]),
                    lease: load.model.now.leases.keys().next().copied().unwrap_or(0),
                    ..Put::default()
                };
                load.store.put(&put).unwrap().unwrap();
                load.model.put(&put).unwrap();
            };
            put(load, "a", 10);
            if load.durable.0 == 0 {
                load.store.grant(revd_mvcc::LeaseId(1), 9).unwrap().unwrap();
                let granted = crate::model::Granted { ttl: 9, remaining: 0 };
                load.model.now.leases.insert(1, granted);
                put(load, "b", 20);
                put(load, "c", 5_000);
                load.compact().unwrap();
            }
            put(load, "d", 30);
            let delete = revd_mvcc::DeleteRange { key: "a".into(), ..Default::default() };
            load.store.delete_range(&delete).unwrap().unwrap();
            load.model.delete_range(&delete.interval());
        })
    }

    /// Many leaves, tables and swept history.
    fn large() -> Self {
        Self::new(4, |load| {
            for _ in 0..250 {
                load.work().unwrap();
            }
        })
    }
}

fn content(disk: &Sim) -> Vec<u8> {
    let file = disk.open(Path::new(load::TREE), Open::read()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// How damage ended.
#[derive(Debug, Default)]
struct Outcomes {
    named_at_open: u64,
    named_by_reads: u64,
    named_by_verify: u64,
    fell_back: u64,
    harmless: u64,
    /// The one case that cannot be told: see [`ROOTS`].
    lost_root: u64,
}

impl Outcomes {
    fn total(&self) -> u64 {
        let named = self.named_at_open + self.named_by_reads + self.named_by_verify;
        named + self.fell_back + self.harmless + self.lost_root
    }

    /// Tries a damaged disk; `is_stale_root` if the damage is an older root slot.
    fn examine(&mut self, of: &Specimen, disk: &Sim, is_stale_root: bool, what: &str) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.outcome(of, disk, is_stale_root)));
        assert!(outcome.is_ok(), "{what}");
    }

    fn outcome(&mut self, of: &Specimen, disk: &Sim, is_stale_root: bool) {
        let (store, opened) = match load::open(Arc::new(disk.clone())) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(chain(&error).contains(load::TREE), "{}", chain(&error));
                self.named_at_open += 1;
                return;
            }
        };
        let note = load::note(&store);
        let age = of.states.iter().rev().position(|state| state.0 == note).unwrap();
        let is_lost = age == 1 && is_stale_root && !opened.fell_back;
        assert!(age == 0 || opened.fell_back || is_lost, "{age} checkpoints old: {opened:?}");
        let mark = &of.states[of.states.len() - 1 - age].1;
        let all = mark.floor.max(1)..=mark.revision;
        let read = verify::read_all(&store, &of.model, mark, all.step_by(3));
        let verified = store.verify();
        if let Err(ReadError::Fatal(error)) = &read {
            assert!(chain(error).contains(load::TREE), "{}", chain(error));
        }
        *match (read, verified) {
            (Err(_), Err(_)) => &mut self.named_by_reads,
            (Ok(()), Err(_)) => &mut self.named_by_verify,
            (Err(error), Ok(())) => panic!("nothing is wrong, but {error:?}"),
            (Ok(()), Ok(())) if opened.fell_back => &mut self.fell_back,
            (Ok(()), Ok(())) if is_lost => &mut self.lost_root,
            (Ok(()), Ok(())) => &mut self.harmless,
        } += 1;
    }
}

/// An error with all its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (format!("{error:?}"), Some(error));
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Flips bits of every byte of every second block.
fn flip_bits(parity: u64) {
    let bits = number("DAMAGE_BITS").unwrap_or(1);
    let of = Specimen::tiny();
    let content = content(&of.disk);
    let mut outcomes = Outcomes::default();
    for at in (0..of.len).filter(|at| at / BLOCK % 2 == parity) {
        let block = &content[(at / BLOCK * BLOCK) as usize..][..BLOCK as usize];
        // A block of zeros is free: a few of its bits stand for all.
        let is_free = block.iter().all(|byte| *byte == 0);
        if is_free && !at.is_multiple_of(61) {
            continue;
        }
        for bit in (0..bits).map(|bit| (at + bit) % 8) {
            let damaged = of.disk.fork();
            damaged.damage(Path::new(load::TREE), at, 1 << bit).unwrap();
            outcomes.examine(&of, &damaged, false, &format!("bit {bit} of byte {at}"));
        }
    }
    println!("bits of {} blocks: {} cases, {outcomes:?}", of.len / BLOCK, outcomes.total());
    assert!(outcomes.total() > 10_000);
    assert!(outcomes.fell_back > 0 && outcomes.harmless > 0 && outcomes.lost_root == 0);
    assert!(outcomes.named_at_open > 0);
}

// Two tests, for two processors.

#[test]
fn a_flipped_bit_of_an_even_block_is_named_or_harmless() {
    flip_bits(0);
}

#[test]
fn a_flipped_bit_of_an_odd_block_is_named_or_harmless() {
    flip_bits(1);
}

fn replace_blocks(of: &Specimen, name: &str) {
    let path = Path::new(load::TREE);
    let mut earlier = content(&of.earlier);
    earlier.resize(of.len as usize, 0);
    let blocks = of.len / BLOCK;
    let [mut zeroed, mut stale, mut swapped] = [0; 3].map(|_| Outcomes::default());
    for block in 0..blocks {
        let what = |kind: &str| format!("{name} store: {kind} block {block}");
        let disk = of.disk.fork();
        disk.overwrite(path, block * BLOCK, &[0; BLOCK as usize]).unwrap();
        zeroed.examine(of, &disk, ROOTS.contains(&block), &what("zeroed"));

        let disk = of.disk.fork();
        let before = &earlier[(block * BLOCK) as usize..][..BLOCK as usize];
        disk.overwrite(path, block * BLOCK, before).unwrap();
        stale.examine(of, &disk, ROOTS.contains(&block), &what("stale"));

        for other in block + 1..blocks.min(block + 12) {
            let disk = of.disk.fork();
            disk.swap_blocks(path, block, other).unwrap();
            swapped.examine(of, &disk, false, &what("swapped"));
        }
    }
    for (kind, outcomes) in [("zeroed", &zeroed), ("stale", &stale), ("swapped", &swapped)] {
        println!("{name} store, {kind} blocks: {} cases, {outcomes:?}", outcomes.total());
    }
    assert!(stale.lost_root <= 1 && zeroed.lost_root <= 1 && swapped.lost_root == 0);
}

#[test]
fn zeroed_stale_and_swapped_blocks_are_named_or_harmless() {
    replace_blocks(&Specimen::tiny(), "a tiny");
    replace_blocks(&Specimen::large(), "a large");
}

/// Scrubs all that a view sees.
fn scrub(view: &View) -> Result<(), Fatal> {
    let mut at = Some(ScrubAt::default());
    while let Some(from) = at {
        at = ScrubJob::new(view.clone(), from, 1 << 16).run()?.next;
    }
    Ok(())
}

/// A disk with a checkpointed store of some hundred blocks, long values among them.
fn filled() -> Sim {
    let disk = Sim::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    let mut store = load::create(Arc::new(disk.clone())).unwrap();
    for number in 0..400_usize {
        let key = format!("key {number}").into();
        let value = vec![b'v'; if number % 50 == 0 { 20_000 } else { 1_000 }].into();
        store.put(&Put { key, value, ..Put::default() }).unwrap().unwrap();
    }
    let written = store.checkpoint(b"").unwrap().unwrap().write().unwrap();
    store.checkpointed(written);
    disk
}

#[test]
fn a_scrub_names_what_rots_under_an_open_store() {
    let disk = filled();
    let path = Path::new(load::TREE);
    let (store, _) = load::open(Arc::new(disk.clone())).unwrap();
    let view = store.view();
    scrub(&view).unwrap();
    let blocks = content(&disk).len() as u64 / BLOCK;
    let mut named = 0;
    for block in 0..blocks {
        let at = block * BLOCK + block * 37 % BLOCK;
        disk.damage(path, at, 1).unwrap();
        if let Err(fatal) = scrub(&view) {
            assert!(fatal.is_damage(), "block {block}: {fatal:?}");
            let Fatal::Tree(revd_btree::Error::Corrupt(found)) = fatal else { panic!("{fatal:?}") };
            assert_eq!((&*found.file, found.offset / BLOCK <= block), (path, true), "{found:?}");
            named += 1;
        }
        disk.damage(path, at, 1).unwrap();
    }
    scrub(&view).unwrap();
    println!("{named} of {blocks} blocks hold what a scrub reads");
    // 400 records and the nodes above them, less what lies in the page that is being filled.
    assert!(named > 100, "{named} of {blocks}");
}

#[test]
fn a_disk_that_fails_is_no_damage() {
    let disk = filled();
    let (store, _) = load::open(Arc::new(disk.clone())).unwrap();
    disk.inject(Fault::new(Operation::Read, Effect::Io).on(load::TREE).forever());
    let fatal = scrub(&store.view()).unwrap_err();
    assert!(!fatal.is_damage(), "{fatal:?}");
}
