//! What is set aside of a member that has lost something, when the power fails in the midst of it,
//! and who is not refilled.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::{Access, Disk, Open, Sim};
use revd_raft::{Config, Index, NodeId};
use revd_replica::{
    Identity, Lost, Member, OpenError, Opened, Retention, Settings, recover, refill, survivor,
};

const DIR: &str = "data";

fn settings(founders: u64) -> Settings {
    let identity = Identity { cluster: 7, member: 1 };
    let mut log = revd_wal::Options::default();
    log.segment_bytes = 64 << 10;
    let mut store = revd_mvcc::Options::new(identity.owner());
    store.map_bytes = 1 << 30;
    store.reserve_bytes = 1 << 20;
    Settings {
        identity,
        founders: (1..=founders).map(|id| Member { id, ..Member::default() }).collect(),
        raft: Config::new(NodeId(1)),
        log,
        store,
        retention: Retention::default(),
        seed: 1,
    }
}

fn open(disk: &Sim, founders: u64) -> Result<Opened, OpenError> {
    recover::open(Arc::new(disk.clone()), Path::new(DIR), settings(founders))
}

/// A member that has been made, and does not run.
fn member(founders: u64) -> Sim {
    let disk = Sim::new(1);
    drop(open(&disk, founders).unwrap());
    disk
}

fn read(disk: &Sim, path: &str) -> Option<Vec<u8>> {
    let path = Path::new(DIR).join(path);
    if !disk.exists(&path).unwrap() {
        return None;
    }
    let file = disk.open(&path, Open::read()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn segment(disk: &Sim) -> String {
    disk.list(&Path::new(DIR).join("wal")).unwrap().remove(0)
}

#[test]
fn whenever_the_power_fails_the_files_are_set_aside_and_the_member_decides_nothing() {
    for lost in [Lost::Log, Lost::Tree] {
        let mut is_over = false;
        for moment in 0.. {
            let disk = member(3);
            let (tree, log) = (read(&disk, "tree"), segment(&disk));
            let as_found = read(&disk, &format!("wal/{log}"));
            disk.crash_at(disk.operations() + moment);
            let done = refill::begin(&disk, Path::new(DIR), lost).map_err(OpenError::from);
            let done = done.and_then(|()| open(&disk, 3).map(drop));
            if done.is_ok() {
                disk.cut_power();
                is_over = true;
            }
            disk.recover(moment);
            let opened =
                open(&disk, 3).unwrap_or_else(|error| panic!("{lost:?} {moment}: {error}"));
            let is_marked = refill::is_under_way(&disk, Path::new(DIR)).unwrap();
            assert_eq!(opened.consensus.status().recovering, is_marked, "{lost:?} {moment}");
            assert_eq!(opened.report.is_refilled, is_marked, "{lost:?} {moment}");
            assert!(is_marked || !is_over, "{lost:?} {moment}: what was done is forgotten");
            if is_marked {
                let aside = read(&disk, &format!("damaged/{log}"));
                assert!(aside == as_found, "{lost:?} {moment}: the log is not kept");
                let expected = (lost == Lost::Tree).then_some(()).and(tree);
                assert!(read(&disk, "damaged/tree") == expected, "{lost:?} {moment}: the tree");
                let applied = if lost == Lost::Tree { 0 } else { 1 };
                assert_eq!(opened.machine.applied().index, Index(applied), "{lost:?} {moment}");
            }
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn what_a_refill_finds_damaged_does_not_replace_what_was_kept_first() {
    let disk = member(3);
    let tree = read(&disk, "tree");
    refill::begin(&disk, Path::new(DIR), Lost::Tree).unwrap();
    drop(open(&disk, 3).unwrap());
    refill::begin(&disk, Path::new(DIR), Lost::Log).unwrap();
    refill::begin(&disk, Path::new(DIR), Lost::Tree).unwrap();
    refill::begin(&disk, Path::new(DIR), Lost::Log).unwrap();
    drop(open(&disk, 3).unwrap());
    assert!(read(&disk, "damaged/tree") == tree);
}

#[test]
fn a_damaged_log_is_given_up_only_by_who_is_not_needed() {
    for founders in [1, 2, 3] {
        let disk = member(founders);
        let log = Path::new("wal").join(segment(&disk));
        // A second batch behind the founding, which then cannot be a torn end.
        let path = Path::new(DIR).join("wal");
        let mut options = settings(founders).log;
        options.owner = settings(founders).identity.owner();
        let (wal, _) = revd_wal::Wal::open(Arc::new(disk.clone()), &path, options).unwrap();
        wal.append(2, &[[1, 0, 0, 0, 0, 0, 0, 0, 2]]).unwrap();
        drop(wal);
        disk.damage(&Path::new(DIR).join(&log), 4_096 + 60, 1).unwrap();
        let as_found = read(&disk, log.to_str().unwrap());
        match open(&disk, founders) {
            Ok(opened) => {
                assert_eq!(founders, 3);
                assert!(opened.consensus.status().recovering);
                let damage = opened.report.damage.expect("it was found");
                assert!(damage.contains("is damaged at offset 4096"), "{damage}");
            }
            Err(error) => {
                assert!(founders < 3 && matches!(error, OpenError::Alone { .. }), "{error}");
                assert!(error.to_string().contains("is damaged at offset 4096"), "{error}");
                assert!(read(&disk, log.to_str().unwrap()) == as_found, "nothing was changed");
            }
        }
    }
}

#[test]
fn a_member_that_is_refilled_is_no_survivor() {
    let disk = member(3);
    refill::begin(&disk, Path::new(DIR), Lost::Log).unwrap();
    let survived =
        survivor::survive(Arc::new(disk.clone()), Path::new(DIR), &settings(3), &Vec::new());
    assert!(matches!(survived, Err(OpenError::Refilled)), "{survived:?}");
}

#[test]
fn a_marker_that_says_nothing_readable_is_a_marker() {
    let disk = member(3);
    let path = Path::new(DIR).join("refill");
    let file = disk.open(&path, Open::new_file(Access::Buffered)).unwrap();
    file.write_at(b"rotten, and long enough to be nothing else", 0).unwrap();
    file.sync_data().unwrap();
    let opened = open(&disk, 3).unwrap();
    assert!(opened.consensus.status().recovering);
    assert_eq!(opened.machine.applied().index, Index(1), "nothing was set aside");
}
