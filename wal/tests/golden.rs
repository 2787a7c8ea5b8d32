//! The format does not change by accident: a known log gives known bytes, and yesterday's bytes
//! give the known log. `UPDATE_GOLDEN=1` writes the files anew, when a change is meant.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Buffer, Disk, Open, Sim};
use revd_wal::{End, OpenError, Options, Wal};

const DIR: &str = "/data/wal";

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 20 << 10;
    options.owner = *b"golden store 001";
    options.salt_seed = 0x5a17;
    options.spares_max = 0;
    options
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The known log: more than one entry to a batch, an empty one, a truncation, two segments.
fn write_log(disk: &Sim) {
    let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap();
    wal.append(1, &["one", "", "three"]).unwrap();
    wal.append(4, &["wrong", "worse"]).unwrap();
    wal.truncate_suffix(4).unwrap();
    wal.append(4, &["four".repeat(1200)]).unwrap();
    wal.append(5, &["five"]).unwrap();
}

#[test]
fn the_same_log_gives_the_same_bytes() {
    let disk = Sim::new(1);
    write_log(&disk);
    let names = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names, ["0000000000000001.wal", "0000000000000002.wal"]);
    for name in names {
        let file = disk.open(&Path::new(DIR).join(&name), Open::read()).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let path = golden_dir().join(&name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden_dir()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let golden = std::fs::read(&path).unwrap();
        let differs = golden.iter().zip(&bytes).position(|(golden, now)| golden != now);
        assert_eq!((differs, golden.len()), (None, bytes.len()), "{name}");
    }
}

#[test]
fn the_golden_bytes_give_the_log() {
    let disk = Sim::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    for name in ["0000000000000001.wal", "0000000000000002.wal"] {
        let golden = std::fs::read(golden_dir().join(name)).unwrap();
        let mut bytes = Buffer::new();
        bytes.extend_from_slice(&golden);
        let path = Path::new(DIR).join(name);
        let file = disk.open(&path, Open::new_file(Access::Direct)).unwrap();
        file.write_at(&bytes, 0).unwrap();
    }
    let (wal, recovery) = Wal::open(Arc::new(disk), Path::new(DIR), options()).unwrap();
    assert_eq!((recovery.first, recovery.last, recovery.end), (1, 5, End::Clean));
    assert_eq!((recovery.segments, recovery.batches), (2, 5));
    let entries: Vec<String> =
        wal.replay(1).unwrap().map(|entry| String::from_utf8(entry.unwrap().1).unwrap()).collect();
    assert_eq!(entries, ["one", "", "three", &"four".repeat(1200), "five"]);
}

/// The golden log on a disk, with so many bytes of a segment overwritten.
fn damaged(name: &str, offset: usize, bytes: &[u8]) -> Sim {
    let disk = Sim::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    for golden in ["0000000000000001.wal", "0000000000000002.wal"] {
        let mut content = std::fs::read(golden_dir().join(golden)).unwrap();
        if golden == name {
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let path = Path::new(DIR).join(golden);
        let file = disk.open(&path, Open::new_file(Access::Buffered)).unwrap();
        file.write_at(&content, 0).unwrap();
    }
    disk
}

#[test]
fn an_unknown_version_is_a_clear_error() {
    for name in ["0000000000000001.wal", "0000000000000002.wal"] {
        let disk = damaged(name, 8, &7_u32.to_le_bytes());
        let before = disk.operations();
        let opened = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options());
        let error = opened.expect_err("a log of version 7");
        assert!(matches!(&error, OpenError::Version { found: 7, .. }), "{error:?}");
        let text = format!("/data/wal/{name} has the format 7, and only 1 is known");
        assert_eq!(error.to_string(), text);
        // The directory and its sync, and no change of the log.
        assert!(disk.operations() <= before + 2);
    }
}

#[test]
fn another_magic_is_a_clear_error() {
    let disk = damaged("0000000000000002.wal", 0, b"RAFTLOG\0");
    let error = Wal::open(Arc::new(disk), Path::new(DIR), options()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("0000000000000002.wal is damaged at offset 0: mark of a segment"),
        "{text}"
    );
}
