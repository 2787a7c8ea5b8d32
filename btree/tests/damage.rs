//! Damaged files: an error that says so, a fall-back that is reported, or the same answers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, Key, OpenError, Opened, Reader, Tree};
use revd_disk::{Access, Disk, Open, Sim};
use support::{Model, PATH, Rng, TABLES, options};

const BLOCK: u64 = 4096;

/// A small file with all kinds of nodes, and the states of its last two checkpoints.
fn specimen() -> (Sim, [Model; 2]) {
    let disk = Sim::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    let mut options = options();
    options.reserve_bytes = 0;
    let mut tree = Tree::create(Arc::new(disk.clone()), Path::new(PATH), options).unwrap();
    let mut rng = Rng(5);
    let mut states = [Model::default(), Model::default()];
    let mut model = Model::default();
    for round in 0..3u64 {
        for main in 0..1_400u64 {
            let len = if main % 700 == 3 { 5_000 } else { 20 };
            let key = Key::new(round * 10_000 + main, 0, 1);
            let (head, value) = (rng.bytes(3), rng.bytes(len));
            tree.append(key, &head, &value).unwrap();
            model.records.insert(key, (head, value));
        }
        for row in 0..60 {
            let len = if row == 9 { 2_000 } else { 90 };
            let (key, value) = (Key::new(row, 1, 0), rng.bytes(len));
            tree.put(TABLES[row as usize % 2], key, &value).unwrap();
            model.rows.insert((TABLES[row as usize % 2].0, key), value);
        }
        // Puts the leaves so far below an inner node.
        drop(tree.plan_sweep(Key::MIN, 1 << 30));
        model.note = vec![round as u8; 40];
        let written = tree.checkpoint(&model.note).unwrap().unwrap().write().unwrap();
        tree.checkpointed(written);
        states = [states[1].clone(), model.clone()];
    }
    tree.verify().unwrap();
    (disk, states)
}

/// Reads everything, as long as there are no errors. Panics on an answer that is not the model's.
fn read_all(reader: &Reader, model: &Model) -> Result<(), Error> {
    let pin = reader.pin();
    let mut wanted = model.records.iter();
    for record in pin.history(Key::MIN) {
        let record = record?;
        let (key, (head, value)) = wanted.next().expect("no more records than there were");
        assert_eq!((&record.key, record.head), (key, &**head));
        assert_eq!(record.value()?, &**value);
    }
    assert!(wanted.next().is_none(), "records are missing without an error");
    for table in TABLES {
        let mut wanted = model.rows.range((table.0, Key::MIN)..=(table.0, Key::MAX));
        for row in pin.table(table, Key::MIN) {
            let (key, value) = row?;
            let ((_, wanted), bytes) = wanted.next().expect("no more rows than there were");
            assert_eq!((key, value), (*wanted, &**bytes));
        }
        assert!(wanted.next().is_none(), "rows are missing without an error");
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Outcomes {
    harmless: u64,
    refused: u64,
    fell_back: u64,
    reported: u64,
}

impl Outcomes {
    fn try_one(&mut self, disk: &Sim, states: &[Model; 2], what: &str) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let opened = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options());
            let (tree, Opened { fell_back, damage, .. }) = match opened {
                Ok(opened) => opened,
                Err(OpenError::Options(why)) => panic!("{why}"),
                Err(_) => return (false, false, false),
            };
            assert_eq!(fell_back, damage.is_some());
            let newest = tree.note() == states[1].note;
            assert!(newest || (fell_back && tree.note() == states[0].note), "{damage:?}");
            let read = read_all(&tree.reader(), &states[usize::from(newest)]);
            let verified = tree.verify();
            assert!(read.is_ok() || verified.is_err(), "{read:?} but {verified:?}");
            (true, fell_back, read.is_err() || verified.is_err())
        }));
        match outcome {
            Err(_) => panic!("{what}"),
            Ok((false, ..)) => self.refused += 1,
            Ok((_, _, true)) => self.reported += 1,
            Ok((_, true, _)) => self.fell_back += 1,
            Ok(_) => self.harmless += 1,
        }
    }
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let (disk, states) = specimen();
    let file = disk.open(Path::new(PATH), Open::read()).unwrap();
    let used = file.len().unwrap();
    let mut content = vec![0; used as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    drop(file);
    let mut rng = Rng(77);
    let mut outcomes = Outcomes::default();
    for block in 0..used / BLOCK {
        let bytes = &content[(block * BLOCK) as usize..][..BLOCK as usize];
        let is_empty = bytes.iter().all(|&byte| byte == 0);
        // All bytes of the places that everything hangs on, some of the others.
        let step = if block < 3 {
            1
        } else if is_empty {
            2048
        } else {
            127
        };
        let end = if block < 3 { 200 } else { BLOCK };
        let mut at = rng.below(step);
        while at < end {
            let damaged = disk.fork();
            let (offset, mask) = (block * BLOCK + at, 1 << rng.below(8));
            damaged.damage(Path::new(PATH), offset, mask).unwrap();
            outcomes.try_one(&damaged, &states, &format!("bit {mask:#x} at {offset}"));
            at += 1 + rng.below(2 * step);
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes.refused > 0 && outcomes.fell_back > 0 && outcomes.reported > 0);
}

#[test]
fn blocks_that_were_zeroed_swapped_or_cut_off_are_named_or_harmless() {
    let (disk, states) = specimen();
    let path = Path::new(PATH);
    let blocks = disk.open(path, Open::read()).unwrap().len().unwrap() / BLOCK;
    let mut rng = Rng(78);
    let mut outcomes = Outcomes::default();
    for block in 0..blocks {
        let zeroed = disk.fork();
        let file = zeroed.open(path, Open::existing(Access::Buffered)).unwrap();
        file.write_at(&[0; BLOCK as usize], block * BLOCK).unwrap();
        outcomes.try_one(&zeroed, &states, &format!("block {block} zeroed"));

        let swapped = disk.fork();
        let file = swapped.open(path, Open::existing(Access::Buffered)).unwrap();
        let other = rng.below(blocks);
        let (mut a, mut b) = ([0; BLOCK as usize], [0; BLOCK as usize]);
        file.read_exact_at(&mut a, block * BLOCK).unwrap();
        file.read_exact_at(&mut b, other * BLOCK).unwrap();
        file.write_at(&a, other * BLOCK).unwrap();
        file.write_at(&b, block * BLOCK).unwrap();
        outcomes.try_one(&swapped, &states, &format!("blocks {block} and {other} swapped"));

        let cut = disk.fork();
        let file = cut.open(path, Open::existing(Access::Buffered)).unwrap();
        file.truncate(block * BLOCK + rng.below(BLOCK)).unwrap();
        outcomes.try_one(&cut, &states, &format!("cut in block {block}"));
    }
    println!("{outcomes:?}");
    assert!(outcomes.refused > 0 && outcomes.fell_back > 0 && outcomes.reported > 0);
}

#[test]
fn rot_below_a_running_tree_is_an_error() {
    let (disk, states) = specimen();
    // What a checkpoint wrote last is checked at open, the rest when it is first read.
    let (mut tree, _) = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap();
    let file = disk.open(Path::new(PATH), Open::read()).unwrap();
    for block in 3..file.len().unwrap() / BLOCK {
        disk.damage(Path::new(PATH), block * BLOCK + 100, 4).unwrap();
    }
    assert!(matches!(read_all(&tree.reader(), &states[1]), Err(Error::Corrupt(_))));
    assert!(matches!(tree.verify(), Err(Error::Corrupt(_))));
    let Some(sweep) = tree.plan_sweep(Key::MIN, 1 << 20) else { return };
    assert!(matches!(sweep.run(&mut |_, _| true), Err(Error::Corrupt(_))));
}

#[test]
fn an_unknown_version_is_a_clear_error() {
    let (disk, _) = specimen();
    // The version is 1: this makes it 3.
    disk.damage(Path::new(PATH), 8, 2).unwrap();
    let error = Tree::open(Arc::new(disk), Path::new(PATH), options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 3, known: 1, .. }), "{error}");
}
