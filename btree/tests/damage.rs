//! Damaged files: an error that names file and offset, a fall-back that is reported, or the same
//! answers. Exhaustive over a small file, at random over a large one; outcomes are counted.
//!
//! `REVD_DAMAGE_CASES=10000` tries so many places of the large file.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use revd_btree::{Corruption, Error, Key, OpenError, Tree};
use revd_disk::{Disk, Sim};
use support::layout::{BLOCK, SLOTS, content, replace, slots};
use support::{Model, PATH, Rng, TABLES, options};

const SIZE: usize = BLOCK as usize;

/// A file, and what it held and was after each checkpoint.
struct Specimen {
    disk: Sim,
    bytes: Vec<u8>,
    /// The last is the newest.
    states: Vec<Model>,
    /// Without the newest.
    earlier: Vec<Vec<u8>>,
    /// The block of the newest root slot.
    newest: usize,
}

impl Specimen {
    /// `shape` fills a tree before each of `rounds` checkpoints.
    fn new(rounds: u64, mut shape: impl FnMut(&mut Tree, &mut Model, u64)) -> Specimen {
        let disk = Sim::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        let mut options = options();
        options.reserve_bytes = 0;
        let mut tree = Tree::create(Arc::new(disk.clone()), Path::new(PATH), options).unwrap();
        let mut states = vec![Model::default()];
        let mut earlier = vec![content(&disk, Path::new(PATH))];
        for round in 0..rounds {
            let mut model = states.last().unwrap().clone();
            shape(&mut tree, &mut model, round);
            // Puts the leaves so far below an inner node.
            drop(tree.plan_sweep(Key::MIN, 1 << 30));
            model.note = vec![round as u8 + 1; 40];
            let written = tree.checkpoint(&model.note).unwrap().unwrap().write().unwrap();
            tree.checkpointed(written);
            states.push(model);
            earlier.push(content(&disk, Path::new(PATH)));
        }
        tree.verify().unwrap();
        drop(tree);
        // Room behind the last block that was ever used is of no interest.
        let used = |bytes: &Vec<u8>| bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) + 1;
        let end = earlier.iter().map(used).max().unwrap().next_multiple_of(SIZE);
        earlier.iter_mut().for_each(|bytes| bytes.resize(end, 0));
        let bytes = earlier.pop().unwrap();
        replace(&disk, Path::new(PATH), &bytes);
        let newest = (0..2).max_by_key(|&at| slots(&disk, Path::new(PATH))[at]).unwrap();
        let newest = SLOTS[newest] as usize;
        Specimen { disk, bytes, states, earlier, newest }
    }

    /// All kinds of nodes in as few blocks as possible.
    fn tiny() -> Specimen {
        let mut rng = Rng(5);
        Specimen::new(2, |tree, model, round| {
            // A leaf ends where a key is too far from its first.
            for near in 0..3u64 {
                let key = Key::new(round << 33 | near, near, 1);
                let len = if round == 0 && near == 1 { 5_000 } else { 20 };
                append(tree, model, &mut rng, key, len);
            }
            let rows = if round == 0 { 0..9 } else { 0..1 };
            for row in rows.step_by(2) {
                put(tree, model, &mut rng, row, if row == 8 { 1_100 } else { 1_000 });
            }
        })
    }

    /// Several checkpoints of many leaves.
    fn large(rounds: u64, records: u64) -> Specimen {
        let mut rng = Rng(6);
        Specimen::new(rounds, |tree, model, round| {
            for main in 0..records {
                let len = if main % 700 == 3 { 60_000 } else { 250 };
                append(tree, model, &mut rng, Key::new(round << 20 | main, 0, 1), len);
            }
            for row in 0..60 {
                put(tree, model, &mut rng, row, if row == 9 { 2_000 } else { 90 });
            }
        })
    }

    fn blocks(&self) -> usize {
        self.bytes.len() / SIZE
    }

    fn block(&self, block: usize) -> &[u8] {
        &self.bytes[block * SIZE..][..SIZE]
    }
}

fn append(tree: &mut Tree, model: &mut Model, rng: &mut Rng, key: Key, len: usize) {
    let (head, value) = (rng.bytes(3), rng.bytes(len));
    tree.append(key, &head, &value).unwrap();
    model.records.insert(key, (head, value));
}

fn put(tree: &mut Tree, model: &mut Model, rng: &mut Rng, row: u64, len: usize) {
    let (table, key) = (TABLES[row as usize % 2], Key::new(row, 1, 0));
    let value = rng.bytes(len);
    tree.put(table, key, &value).unwrap();
    model.rows.insert((table.0, key), value);
}

/// How much damage ended how.
#[derive(Debug, Default)]
struct Outcomes {
    named_at_open: u64,
    named_by_reads: u64,
    named_by_verify: u64,
    fell_back: u64,
    harmless: u64,
    /// The one case that cannot be told: see FORMAT.md.
    lost_last_root: u64,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    AtOpen,
    ByReads,
    ByVerify,
    FellBack,
    Harmless,
    LostLastRoot,
}

impl Outcomes {
    fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::AtOpen => &mut self.named_at_open,
            Outcome::ByReads => &mut self.named_by_reads,
            Outcome::ByVerify => &mut self.named_by_verify,
            Outcome::FellBack => &mut self.fell_back,
            Outcome::Harmless => &mut self.harmless,
            Outcome::LostLastRoot => &mut self.lost_last_root,
        } += 1;
    }

    fn total(&self) -> u64 {
        self.named_at_open
            + self.named_by_reads
            + self.named_by_verify
            + self.fell_back
            + self.harmless
            + self.lost_last_root
    }

    /// Tries a disk with a damaged file; `lost_root` if the damage is the lost write of the newest
    /// root slot.
    fn try_disk(&mut self, of: &Specimen, disk: &Sim, lost_root: bool, what: &str) {
        let number = self.total();
        let outcome = catch_unwind(AssertUnwindSafe(|| examine(of, disk, lost_root, number)));
        assert!(outcome.is_ok(), "{what}");
        self.count(outcome.unwrap());
    }

    /// Tries the file with these bytes instead.
    fn try_bytes(&mut self, of: &Specimen, bytes: &[u8], lost_root: bool, what: &str) {
        let disk = of.disk.fork();
        replace(&disk, Path::new(PATH), bytes);
        self.try_disk(of, &disk, lost_root, what);
    }

    fn report(&self, what: &str) {
        println!("{what}: {} cases, {self:?}", self.total());
    }
}

/// Opens a damaged file, reads everything and verifies. `number` counts the cases.
fn examine(of: &Specimen, disk: &Sim, lost_root: bool, number: u64) -> Outcome {
    let opened = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options());
    let (mut tree, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            check_named(&error);
            return Outcome::AtOpen;
        }
    };
    assert_eq!(opened.fell_back, opened.damage.is_some());
    let found = of.states.iter().rposition(|state| state.note == tree.note()).unwrap();
    let age = of.states.len() - 1 - found;
    assert!(age == 0 || opened.fell_back || (age == 1 && lost_root), "{age} old: {opened:?}");
    let state = &of.states[found];
    let read = state.read_all(&tree.reader());
    let verified = tree.verify().map(drop);
    for error in [&read, &verified].into_iter().filter_map(|result| result.as_ref().err()) {
        check_corruption(error);
    }
    match (read, verified) {
        (Err(_), Err(_)) => return Outcome::ByReads,
        (Ok(()), Err(_)) => return Outcome::ByVerify,
        (Err(error), Ok(())) => panic!("verify found nothing, but {error}"),
        (Ok(()), Ok(())) => {}
    }
    // What is intact now stays so when the tree is worked with. That takes its time.
    if number.is_multiple_of(64) {
        work_on(&mut tree);
    }
    match (opened.fell_back, age) {
        (true, _) => Outcome::FellBack,
        (false, 0) => Outcome::Harmless,
        (false, _) => Outcome::LostLastRoot,
    }
}

fn work_on(tree: &mut Tree) {
    let last = tree.last_key().map_or(0, |key| key.main);
    tree.append(Key::new(last + 1, 0, 0), b"", b"more").unwrap();
    let written = tree.checkpoint(b"more").unwrap().unwrap().write().unwrap();
    tree.checkpointed(written);
    tree.verify().unwrap();
}

/// An error at open names the file, and where in it the damage is unless that is the version.
fn check_named(error: &OpenError) {
    let path = Path::new(PATH);
    match error {
        OpenError::Corrupt(Corruption { file, .. }) => assert_eq!(file, path),
        OpenError::Disk(error) => {
            assert_eq!((error.path(), error.offset().is_some()), (path, true), "{error}");
        }
        OpenError::Version { file, known, .. } => assert_eq!((&**file, *known), (path, 1)),
        error => panic!("{error}"),
    }
    assert!(error.to_string().contains(PATH) || matches!(error, OpenError::Disk(_)));
}

fn check_corruption(error: &Error) {
    match error {
        Error::Corrupt(corruption) => assert_eq!(corruption.file, Path::new(PATH)),
        Error::Disk(error) => assert!(error.offset().is_some(), "{error}"),
        error => panic!("{error}"),
    }
}

/// Blocks that nothing refers to: whatever they hold is harmless.
fn idle_blocks(of: &Specimen) -> Vec<usize> {
    let is_idle = |block: &usize| {
        let mut bytes = of.bytes.clone();
        bytes[block * SIZE..][..SIZE].fill(0xa5);
        let mut outcomes = Outcomes::default();
        outcomes.try_bytes(of, &bytes, false, &format!("block {block} overwritten"));
        outcomes.harmless == 1
    };
    (0..of.blocks()).filter(is_idle).collect()
}

/// Flips all bits of every second block. Those of blocks that nothing refers to are flipped in all
/// such blocks at once: all of them are harmless if they are together.
fn flip_all_bits(parity: usize) {
    let of = Specimen::tiny();
    let idle = idle_blocks(&of);
    let is_busy = |block: &usize| !idle.contains(block);
    let mut groups: Vec<_> = (0..of.blocks()).filter(is_busy).map(|block| vec![block]).collect();
    groups.push(idle.clone());
    let mut outcomes = Outcomes::default();
    let groups: Vec<_> = groups.into_iter().skip(parity).step_by(2).collect();
    for blocks in &groups {
        for (at, bit) in (0..SIZE).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let damaged = of.disk.fork();
            for block in blocks {
                let at = (block * SIZE + at) as u64;
                damaged.damage(Path::new(PATH), at, 1 << bit).unwrap();
            }
            let harmless = outcomes.harmless;
            outcomes.try_disk(&of, &damaged, false, &format!("bit {bit} of {at} of {blocks:?}"));
            assert!(*blocks != idle || outcomes.harmless > harmless);
        }
    }
    outcomes.report(&format!("bits of {:?}, {} blocks in all", groups, of.blocks()));
    assert_eq!(outcomes.total(), (groups.len() * SIZE * 8) as u64);
    assert_eq!(outcomes.lost_last_root, 0);
    assert!(outcomes.fell_back > 0);
}

// Two tests, for two processors.

#[test]
fn every_flipped_bit_of_a_block_is_named_or_harmless() {
    flip_all_bits(0);
}

#[test]
fn every_flipped_bit_of_the_next_block_is_named_or_harmless() {
    flip_all_bits(1);
}

#[test]
fn every_cut_of_a_small_file_is_named_or_harmless() {
    let of = Specimen::tiny();
    let mut outcomes = Outcomes::default();
    for len in 0..of.bytes.len() {
        outcomes.try_bytes(&of, &of.bytes[..len], false, &format!("cut to {len} bytes"));
    }
    outcomes.report("cuts");
}

#[test]
fn every_misplaced_block_of_a_small_file_is_named_or_harmless() {
    let of = Specimen::tiny();
    let mut zeroed = Outcomes::default();
    let mut swapped = Outcomes::default();
    let mut misdirected = Outcomes::default();
    for block in 0..of.blocks() {
        let place = |block: usize| block * SIZE..(block + 1) * SIZE;
        let mut bytes = of.bytes.clone();
        bytes[place(block)].fill(0);
        zeroed.try_bytes(&of, &bytes, false, &format!("block {block} zeroed"));
        for other in 0..of.blocks() {
            let mut bytes = of.bytes.clone();
            bytes[place(other)].copy_from_slice(of.block(block));
            let what = format!("block {block} over {other}");
            misdirected.try_bytes(&of, &bytes, false, &what);
            // What was to be written there has its old content, besides.
            for (age, earlier) in of.earlier.iter().enumerate() {
                let mut bytes = bytes.clone();
                bytes[place(block)].copy_from_slice(&earlier[place(block)]);
                let what = format!("block {block} went to {other} after checkpoint {age}");
                misdirected.try_bytes(&of, &bytes, block == of.newest, &what);
            }
            let mut bytes = of.bytes.clone();
            bytes[place(other)].copy_from_slice(of.block(block));
            bytes[place(block)].copy_from_slice(of.block(other));
            if other > block {
                swapped.try_bytes(&of, &bytes, false, &format!("{block} and {other} swapped"));
            }
        }
    }
    zeroed.report("zeroed blocks");
    swapped.report("swapped blocks");
    misdirected.report("misdirected blocks");
}

#[test]
fn every_lost_write_of_a_small_file_is_named_but_that_of_the_last_root() {
    let of = Specimen::tiny();
    let mut outcomes = Outcomes::default();
    for block in 0..of.blocks() {
        for (age, earlier) in of.earlier.iter().enumerate() {
            let place = block * SIZE..(block + 1) * SIZE;
            let mut bytes = of.bytes.clone();
            bytes[place.clone()].copy_from_slice(&earlier[place]);
            let (is_lost, what) = (block == of.newest, format!("block {block} of {age}"));
            let before = outcomes.lost_last_root;
            outcomes.try_bytes(&of, &bytes, is_lost, &what);
            let is_untold = outcomes.lost_last_root > before;
            assert_eq!(is_untold, is_lost && bytes != of.bytes, "{what} ");
        }
    }
    outcomes.report("stale blocks");
    assert!(outcomes.lost_last_root > 0 && outcomes.fell_back > 0);
}

#[test]
fn damage_at_random_in_a_large_file_is_named_or_harmless() {
    let cases = std::env::var("REVD_DAMAGE_CASES").map_or(240, |cases| cases.parse().unwrap());
    let of = Specimen::large(4, 15_000);
    println!("a file of {} MiB", of.bytes.len() >> 20);
    let mut outcomes = Outcomes::default();
    for seed in 0..cases {
        let mut rng = Rng(seed);
        let damaged = of.disk.fork();
        let file = damaged
            .open(Path::new(PATH), revd_disk::Open::existing(revd_disk::Access::Buffered))
            .unwrap();
        let block = rng.below(of.blocks() as u64);
        let other = rng.below(of.blocks() as u64);
        match rng.below(4) {
            0 => {
                let at = block * BLOCK + rng.below(BLOCK);
                damaged.damage(Path::new(PATH), at, 1 << rng.below(8)).unwrap();
            }
            1 => file.write_at(&[0; SIZE], block * BLOCK).unwrap(),
            2 => file.write_at(of.block(other as usize), block * BLOCK).unwrap(),
            _ => file.truncate(block * BLOCK + rng.below(BLOCK)).unwrap(),
        }
        drop(file);
        outcomes.try_disk(&of, &damaged, false, &format!("SEED={seed}"));
    }
    outcomes.report("a large file");
    assert!(outcomes.named_by_reads > 0);
}

#[test]
fn rot_below_a_running_tree_is_an_error() {
    let of = Specimen::large(3, 1_400);
    let disk = &of.disk;
    // What a checkpoint wrote last is checked at open, the rest when it is first read.
    let (mut tree, _) = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap();
    for block in 3..of.blocks() as u64 {
        disk.damage(Path::new(PATH), block * BLOCK + 100, 4).unwrap();
    }
    let state = of.states.last().unwrap();
    assert!(matches!(state.read_all(&tree.reader()), Err(Error::Corrupt(_))));
    assert!(matches!(tree.verify(), Err(Error::Corrupt(_))));
    let Some(sweep) = tree.plan_sweep(Key::MIN, 1 << 20) else { return };
    assert!(matches!(sweep.run(&mut |_, _| true), Err(Error::Corrupt(_))));
}

#[test]
fn an_unknown_version_is_a_clear_error() {
    let of = Specimen::tiny();
    // The version is 1: this makes it 3.
    of.disk.damage(Path::new(PATH), 8, 2).unwrap();
    let error = Tree::open(Arc::new(of.disk), Path::new(PATH), options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 3, known: 1, .. }), "{error}");
}
