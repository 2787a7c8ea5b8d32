//! Reading a file that somebody else writes: in one process on a simulated disk, and from a second
//! process on a real one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use revd_btree::{Key, OpenError, Options, ReadOnly, Table, Tree};
use revd_disk::{Disk, Real, Sim};

const COUNTER: Key = Key::new(1, 0, 0);

fn options() -> Options {
    let mut options = Options::new([7; 16]);
    options.map_bytes = 256 << 20;
    options.reserve_bytes = 64 << 10;
    options
}

fn value_of(main: u64) -> Vec<u8> {
    let len = if main.is_multiple_of(50) { 9_000 } else { main as usize * 7 % 400 };
    (0..len).map(|i| (main as usize * 31 + i) as u8).collect()
}

fn checkpoint(tree: &mut Tree, note: &[u8]) {
    if let Some(frozen) = tree.checkpoint(note).unwrap() {
        let written = frozen.write().unwrap();
        tree.checkpointed(written);
    }
}

/// Appends some records, sweeps nine of ten away, and makes two checkpoints, so that blocks are
/// freed and taken again as fast as can be. A row and the note tell the last key.
fn round(tree: &mut Tree, records: u64) {
    let mut main = tree.last_key().map_or(0, |key| key.main);
    for _ in 0..records {
        main += 1;
        tree.append(Key::new(main, 0, 0), &main.to_le_bytes(), &value_of(main)).unwrap();
    }
    tree.put(Table(0), COUNTER, &main.to_le_bytes()).unwrap();
    checkpoint(tree, &main.to_le_bytes());
    let mut next = Some(Key::MIN);
    while let Some(from) = next {
        let Some(sweep) = tree.plan_sweep(from, 1 << 20) else { break };
        let swept = sweep.run(&mut |key, _| key.main.is_multiple_of(10)).unwrap();
        next = swept.next();
        tree.adopt(swept).unwrap();
    }
    checkpoint(tree, &main.to_le_bytes());
}

/// Walks over all that a view has; returns the last key.
fn walk(tree: &ReadOnly) -> u64 {
    let last = u64::from_le_bytes(tree.note().try_into().unwrap());
    let pin = tree.pin();
    let row = pin.row(Table(0), COUNTER).unwrap().unwrap();
    assert_eq!(u64::from_le_bytes(row.try_into().unwrap()), last);
    let mut tens = 0;
    for record in pin.history(Key::MIN) {
        let record = record.unwrap();
        let main = record.key.main;
        assert_eq!(record.head, main.to_le_bytes());
        assert!(record.value().unwrap() == value_of(main), "value of {main}");
        tens += u64::from(main.is_multiple_of(10));
    }
    assert_eq!(tens, last / 10, "those that are kept are all there");
    last
}

#[test]
fn a_reader_keeps_its_state_until_it_refreshes() {
    let disk = Arc::new(Sim::new(1));
    disk.create_dir(Path::new("/data")).unwrap();
    let path = Path::new("/data/tree");
    let mut tree = Tree::create(disk.clone(), path, options()).unwrap();
    round(&mut tree, 500);
    let (mut reader, opened) = ReadOnly::open(disk.clone(), path, options()).unwrap();
    assert!(!opened.fell_back);
    assert_eq!((reader.sequence(), walk(&reader)), (tree.sequence(), 500));
    assert!(!reader.refresh().unwrap(), "there is nothing newer");
    let kept = reader.reader();
    let pin = kept.pin();
    for _ in 0..10 {
        round(&mut tree, 500);
        assert_eq!(walk(&reader), 500);
    }
    let held = tree.stats();
    assert!(held.pinned_bytes > 100_000, "{held:?}");
    // The first state stays for whoever pinned it.
    assert!(reader.refresh().unwrap());
    assert_eq!(walk(&reader), 5_500);
    round(&mut tree, 500);
    assert!(pin.history(Key::MIN).all(|r| r.unwrap().key.main <= 500));
    assert!(tree.stats().pinned_bytes >= held.pinned_bytes);
    drop(pin);
    reader.refresh().unwrap();
    round(&mut tree, 10);
    assert!(tree.stats().pinned_bytes < held.pinned_bytes / 2, "{:?}", tree.stats());
    tree.verify().unwrap();
}

#[test]
fn a_writer_that_opens_the_file_leaves_marked_blocks_alone() {
    let disk = Arc::new(Sim::new(2));
    disk.create_dir(Path::new("/data")).unwrap();
    let path = Path::new("/data/tree");
    let mut tree = Tree::create(disk.clone(), path, options()).unwrap();
    round(&mut tree, 500);
    let (reader, _) = ReadOnly::open(disk.clone(), path, options()).unwrap();
    round(&mut tree, 500);
    round(&mut tree, 500);
    drop(tree);
    let (mut tree, _) = Tree::open(disk.clone(), path, options()).unwrap();
    for _ in 0..5 {
        round(&mut tree, 500);
        assert_eq!(walk(&reader), 500);
    }
    drop(reader);
    round(&mut tree, 500);
    assert!(tree.stats().pinned_bytes < 100_000, "{:?}", tree.stats());
    tree.verify().unwrap();
}

#[test]
fn a_stranger_and_a_missing_file_are_refused() {
    let disk = Arc::new(Sim::new(3));
    disk.create_dir(Path::new("/data")).unwrap();
    let path = Path::new("/data/tree");
    let missing = ReadOnly::open(disk.clone(), path, options()).unwrap_err();
    assert!(matches!(missing, OpenError::Disk(_)), "{missing}");
    drop(Tree::create(disk.clone(), path, options()).unwrap());
    let mut other = options();
    other.owner = [8; 16];
    let refused = ReadOnly::open(disk, path, other).unwrap_err();
    assert!(matches!(refused, OpenError::Owner { .. }), "{refused}");
}

const PATH_VARIABLE: &str = "REVD_BTREE_READ_ONLY_PATH";

/// The part of the second process; without the variable it is none and passes.
#[test]
fn second_process() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else { return };
    let (mut reader, opened) =
        ReadOnly::open(Arc::new(Real::new()), Path::new(&path), options()).unwrap();
    assert!(!opened.fell_back);
    let mut out = std::io::stdout();
    writeln!(out, "\nread {}", walk(&reader)).unwrap();
    // A line asks for a walk over what is held, and then for one over what is newest.
    for line in std::io::stdin().lines() {
        line.unwrap();
        let held = walk(&reader);
        reader.refresh().unwrap();
        writeln!(out, "\nread {held} {}", walk(&reader)).unwrap();
    }
}

fn start(path: &Path) -> (Child, impl FnMut() -> Vec<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process", "--nocapture"])
        .env(PATH_VARIABLE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = move || {
        let found = lines.by_ref().map(|line| line.unwrap()).find(|line| line.starts_with("read "));
        let line = found.expect("the second process has failed");
        line["read ".len()..].split(' ').map(|number| number.parse().unwrap()).collect()
    };
    (child, next)
}

#[test]
fn a_second_process_reads_while_the_first_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    let mut tree = Tree::create(Arc::new(Real::new()), &path, options()).unwrap();
    round(&mut tree, 500);
    let (mut child, mut answers) = start(&path);
    assert_eq!(answers(), [500]);
    let mut stdin = child.stdin.take().unwrap();
    let mut last = 500;
    for turn in 1..=20u64 {
        for _ in 0..3 {
            round(&mut tree, 200);
        }
        writeln!(stdin, "walk").unwrap();
        // It walks while this process goes on.
        for _ in 0..3 {
            round(&mut tree, 200);
        }
        let [held, newest] = answers()[..] else { panic!("two numbers") };
        assert_eq!(held, last, "turn {turn}");
        assert!(newest > held && newest <= 500 + turn * 1_200, "turn {turn}: {newest}");
        last = newest;
    }
    // A dead process leaves no mark.
    child.kill().unwrap();
    child.wait().unwrap();
    round(&mut tree, 10);
    assert_eq!(tree.stats().pinned_bytes, 0, "{:?}", tree.stats());
    tree.verify().unwrap();
}
