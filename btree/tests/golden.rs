//! A file made by an earlier build: it must be read as it was meant, and be made again byte by
//! byte. A difference is a change of the format, which needs a new version (see FORMAT.md). Then
//! `UPDATE_GOLDEN=1 cargo test -p revd-btree --test golden` writes the file anew.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_btree::{Key, Options, Table, Tree};
use revd_disk::Real;

const BLOCK: usize = 4096;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.tree")
}

fn options() -> Options {
    let mut options = Options::new(*b"golden file's id");
    options.reserve_bytes = 0;
    options
}

fn value(main: u64) -> Vec<u8> {
    let len = if main == 40 { 5000 } else { 100 };
    (0..len).map(|i| (main + i) as u8).collect()
}

/// Three checkpoints: a leaf below an inner node, a recent leaf, the open leaf, extents, tables.
fn make(path: &Path) {
    let mut tree = Tree::create(Arc::new(Real::new()), path, options()).unwrap();
    for main in 1..=260u64 {
        tree.append(Key::new(main * main, main % 3, 1), b"head", &value(main)).unwrap();
        if main == 120 {
            tree.checkpoint(b"").unwrap().unwrap().write().map(|w| tree.checkpointed(w)).unwrap();
        }
        if main == 150 {
            let sweep = tree.plan_sweep(Key::MIN, 1 << 20).unwrap();
            let swept = sweep.run(&mut |key, _| key.sub != 2).unwrap();
            tree.adopt(swept).unwrap();
        }
    }
    for row in 0..50 {
        let len = if row == 9 { 1500 } else { 80 };
        tree.put(Table(1), Key::new(row, 0, 0), &vec![row as u8; len]).unwrap();
    }
    tree.put(Table(8), Key::new(7, 7, 7), b"a row").unwrap();
    tree.delete(Table(1), Key::new(3, 0, 0)).unwrap();
    let written = tree.checkpoint(b"the note").unwrap().unwrap().write().unwrap();
    tree.checkpointed(written);
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end.next_multiple_of(BLOCK));
    bytes
}

#[test]
fn the_format_has_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    make(&path);
    let made = trimmed(std::fs::read(&path).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
        std::fs::write(golden(), &made).unwrap();
    }
    let kept = std::fs::read(golden()).unwrap();
    let different = made.iter().zip(&kept).position(|(a, b)| a != b);
    assert_eq!((made.len(), different), (kept.len(), None), "the format has changed");
}

#[test]
fn the_golden_file_is_read_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    std::fs::copy(golden(), &path).unwrap();
    let (tree, opened) = Tree::open(Arc::new(Real::new()), &path, options()).unwrap();
    assert!(!opened.fell_back);
    assert_eq!(opened.sequence, 3);
    assert_eq!(tree.note(), b"the note");
    let verified = tree.verify().unwrap();
    assert_eq!((verified.rows, verified.extents), (50, 2));
    let reader = tree.reader();
    let pin = reader.pin();
    let mut main = 0;
    for record in pin.history(Key::MIN) {
        let record = record.unwrap();
        main = (main + 1..).find(|&main| main * main == record.key.main).unwrap();
        assert_eq!((record.key.sub, record.head), (main % 3, &b"head"[..]));
        assert!(record.value().unwrap() == value(main));
    }
    assert_eq!(main, 260);
    assert!(verified.records < 260);
    assert_eq!(pin.row(Table(1), Key::new(9, 0, 0)).unwrap(), Some(&[9; 1500][..]));
    assert_eq!(pin.row(Table(1), Key::new(3, 0, 0)).unwrap(), None);
    assert_eq!(pin.row(Table(8), Key::new(7, 7, 7)).unwrap(), Some(&b"a row"[..]));
}
