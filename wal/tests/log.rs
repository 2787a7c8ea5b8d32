//! What a log does while nothing fails, and when the disk refuses.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Effect, Fault, Operation, Real, Sim};
use revd_wal::{End, Error, OpenError, Options, Recovery, Wal};

const DIR: &str = "/data/wal";

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 64 << 10;
    options.fill_ahead_bytes = 32 << 10;
    options
}

fn open(disk: &Sim) -> (Wal, Recovery) {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options()).unwrap()
}

fn entry(index: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (index as usize * 31 + at) as u8).collect()
}

/// Appends entries one by one, of a length that depends on the index.
fn append(wal: &Wal, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        wal.append(index, &[entry(index, index as usize * 7 % 3000)]).unwrap();
    }
}

fn assert_holds(wal: &Wal, indexes: std::ops::RangeInclusive<u64>) {
    let mut expected = indexes.clone();
    for read in wal.replay(*indexes.start()).unwrap() {
        let (index, payload) = read.unwrap();
        assert_eq!(Some(index), expected.next());
        assert!(payload == entry(index, index as usize * 7 % 3000), "entry {index}");
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn an_empty_log_is_empty_and_stays_so() {
    let disk = Sim::new(1);
    let (wal, recovery) = open(&disk);
    assert!(recovery.created);
    assert_eq!((recovery.first, recovery.last, recovery.end), (1, 0, End::Clean));
    assert_eq!(wal.bounds(), (1, 0));
    assert_eq!(wal.replay(1).unwrap().count(), 0);
    wal.append::<&[u8]>(1, &[]).unwrap();
    disk.crash(1);
    let (wal, recovery) = open(&disk);
    assert!(!recovery.created);
    assert_eq!((wal.bounds(), recovery.segments), ((1, 0), 1));
}

#[test]
fn the_first_index_can_be_chosen() {
    let mut options = options();
    options.first_index = 1000;
    let disk: Arc<dyn Disk> = Arc::new(Sim::new(1));
    let (wal, _) = Wal::open(Arc::clone(&disk), Path::new(DIR), options.clone()).unwrap();
    assert_eq!(wal.bounds(), (1000, 999));
    wal.append(1000, &["x"]).unwrap();
    options.first_index = 5;
    let (wal, _) = Wal::open(disk, Path::new(DIR), options).unwrap();
    assert_eq!(wal.bounds(), (1000, 1000));
}

#[test]
fn entries_come_back_over_many_segments_and_reopenings() {
    let disk = Sim::new(1);
    let mut last = 0;
    for round in 0..5 {
        let (wal, recovery) = open(&disk);
        assert_eq!(recovery.last, last, "round {round}");
        append(&wal, last + 1..=last + 60);
        last += 60;
        assert_holds(&wal, 1..=last);
        disk.crash(round);
    }
    let (wal, recovery) = open(&disk);
    assert!(recovery.segments > 5);
    assert_holds(&wal, 1..=last);
    for first in [1, 2, 17, 100, 299, 300] {
        assert_holds(&wal, first..=last);
    }
    assert_eq!(wal.verify().unwrap().entries, last);
}

#[test]
fn one_small_entry_is_one_block_in_one_write() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    let before = disk.operations();
    wal.append(1, &[entry(1, 300)]).unwrap();
    assert_eq!(disk.operations() - before, 1);
    let stats = wal.stats();
    assert_eq!((stats.writes, stats.appended_bytes, stats.appended_batches), (1, 4096, 1));
}

#[test]
fn a_thousand_entries_are_one_write_and_one_sync() {
    let mut options = options();
    options.segment_bytes = 4 << 20;
    let disk = Sim::new(1);
    let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let entries: Vec<Vec<u8>> = (1..=1000).map(|index| entry(index, 300)).collect();
    let before = disk.operations();
    wal.append(1, &entries).unwrap();
    assert_eq!(disk.operations() - before, 2);
    assert_eq!(wal.stats().writes, 1);
    assert_eq!(wal.read(1, 1000, usize::MAX).unwrap(), entries);
}

#[test]
fn empty_and_huge_entries() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    let huge = entry(9, 64 << 20);
    wal.append(1, &[&b""[..], b"", b"x", b""]).unwrap();
    wal.append(5, &[&huge[..], b"behind"]).unwrap();
    wal.append(7, &[b""]).unwrap();
    let check = |wal: &Wal| {
        let entries = wal.read(1, 7, usize::MAX).unwrap();
        let lengths: Vec<usize> = entries.iter().map(Vec::len).collect();
        assert_eq!(lengths, [0, 0, 1, 0, 64 << 20, 6, 0]);
        assert!(entries[4] == huge);
    };
    check(&wal);
    disk.crash(1);
    let (wal, recovery) = open(&disk);
    assert_eq!(recovery.end, End::Clean);
    check(&wal);
    let too_large = vec![0; (64 << 20) + 1];
    assert!(matches!(wal.append(8, &[too_large]), Err(Error::TooLarge { bytes: 0x400_0001 })));
    // The segment of the huge entry is not recycled, being too large.
    wal.append(8, &[entry(8, 60_000)]).unwrap();
    wal.release_prefix(8).unwrap();
    assert_eq!(wal.bounds(), (8, 8));
    while wal.upkeep().unwrap() {}
    assert!(disk.allocated() < 1 << 20, "{}", disk.allocated());
}

#[test]
fn appends_out_of_order_are_refused() {
    let (wal, _) = open(&Sim::new(1));
    append(&wal, 1..=3);
    for found in [0, 3, 5] {
        match wal.append(found, &["x"]) {
            Err(Error::OutOfOrder { expected: 4, found: refused }) => assert_eq!(refused, found),
            other => panic!("{other:?}"),
        }
    }
    append(&wal, 4..=4);
}

#[test]
fn reads_are_bounded_by_index_and_by_bytes() {
    let (wal, _) = open(&Sim::new(1));
    for index in 1..=200 {
        wal.append(index, &[entry(index, 1000)]).unwrap();
    }
    assert_eq!(wal.read(50, 60, usize::MAX).unwrap().len(), 11);
    assert_eq!(wal.read(50, 60, 3500).unwrap().len(), 3);
    assert_eq!(wal.read(50, 60, 0).unwrap(), [entry(50, 1000)]);
    assert_eq!(wal.read(200, 200, 0).unwrap(), [entry(200, 1000)]);
    for (first, last, found) in [(0, 5, 0), (100, 201, 201), (300, 301, 300)] {
        match wal.read(first, last, 100) {
            Err(Error::Missing { found: missing, first: 1, last: 200 }) => {
                assert_eq!(missing, found)
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wal.replay(201).unwrap().count(), 0);
    assert!(matches!(wal.replay(202), Err(Error::Missing { found: 202, .. })));
}

#[test]
fn truncated_entries_are_replaced() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=100);
    wal.append(101, &[b"wrong"; 50]).unwrap();
    wal.truncate_suffix(101).unwrap();
    assert_eq!(wal.bounds(), (1, 100));
    assert_holds(&wal, 1..=100);
    append(&wal, 101..=120);
    // Within a batch.
    wal.append(121, &[entry(121, 847), b"wrong".to_vec(), b"wrong".to_vec()]).unwrap();
    wal.truncate_suffix(122).unwrap();
    wal.truncate_suffix(122).unwrap();
    append(&wal, 122..=140);
    assert_holds(&wal, 1..=140);
    disk.crash(3);
    let (wal, _) = open(&disk);
    assert_holds(&wal, 1..=140);
    assert_holds(&wal, 122..=140);
    for from in [0, 142] {
        assert!(matches!(wal.truncate_suffix(from), Err(Error::Missing { .. })), "{from}");
    }
    wal.truncate_suffix(1).unwrap();
    assert_eq!(wal.bounds(), (1, 0));
    append(&wal, 1..=5);
    let (wal, _) = open(&disk);
    assert_holds(&wal, 1..=5);
}

#[test]
fn released_segments_are_recycled_within_bounds() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    let mut last = 0;
    for _ in 0..20 {
        append(&wal, last + 1..=last + 40);
        last += 40;
        wal.release_prefix(last - 5).unwrap();
        let (first, end) = wal.bounds();
        assert!(first <= last - 5 && end == last);
        assert_holds(&wal, first..=last);
    }
    let stats = wal.stats();
    assert!(stats.segments <= 3 && stats.spares <= 2, "{stats:?}");
    assert!(disk.allocated() <= 6 * (64 << 10), "{}", disk.allocated());
    wal.release_prefix(u64::MAX).unwrap();
    assert_eq!(wal.stats().segments, 1);
    disk.crash(9);
    let (wal, recovery) = open(&disk);
    assert_eq!(recovery.last, last);
    assert_holds(&wal, recovery.first..=last);
}

#[test]
fn a_release_below_a_truncation_keeps_what_is_needed() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    // Fifteen entries fill the first segment; the truncation reaches back from the second.
    append(&wal, 1..=20);
    wal.truncate_suffix(8).unwrap();
    append(&wal, 8..=10);
    wal.release_prefix(7).unwrap();
    assert_eq!(wal.bounds(), (1, 10), "entry 7 is in the first segment");
    wal.release_prefix(8).unwrap();
    assert_eq!(wal.bounds(), (8, 10));
    assert_holds(&wal, 8..=10);
    disk.crash(1);
    let (wal, recovery) = open(&disk);
    assert_eq!((recovery.first, recovery.last), (8, 10));
    assert_holds(&wal, 8..=10);
    append(&wal, 11..=40);
    assert_holds(&wal, 8..=40);
}

#[test]
fn a_reset_log_is_empty_and_goes_on_elsewhere() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=50);
    wal.reset(1000).unwrap();
    assert_eq!(wal.bounds(), (1000, 999));
    append(&wal, 1000..=1010);
    disk.crash(1);
    let (wal, recovery) = open(&disk);
    assert_eq!((recovery.first, recovery.segments), (1000, 1));
    assert_holds(&wal, 1000..=1010);
    wal.reset(5).unwrap();
    append(&wal, 5..=9);
    while wal.upkeep().unwrap() {}
    assert_holds(&wal, 5..=9);
    assert!(matches!(wal.reset(0), Err(Error::OutOfOrder { .. })));
}

#[test]
fn a_replay_outlives_the_release_of_what_it_reads() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=100);
    let replay = wal.replay(1).unwrap();
    wal.release_prefix(100).unwrap();
    append(&wal, 101..=200);
    assert_eq!(replay.map(Result::unwrap).map(|(index, _)| index).last(), Some(100));
}

#[test]
fn entries_are_lent_from_sealed_segments_and_from_the_newest() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=100);
    wal.truncate_suffix(90).unwrap();
    append(&wal, 90..=110);
    assert!(wal.stats().segments > 2);
    for first in [1, 50, 90, 110, 111] {
        let mut replay = wal.replay(first).unwrap();
        let mut expected = first;
        while let Some((index, payload)) = replay.next_entry().unwrap() {
            assert_eq!(index, expected);
            assert!(payload == entry(index, index as usize * 7 % 3000), "entry {index}");
            expected += 1;
        }
        assert_eq!(expected, 111);
        assert!(replay.next_entry().unwrap().is_none());
    }
}

#[test]
fn what_is_lent_outlives_release_and_recycling() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=100);
    let mut replay = wal.replay(1).unwrap();
    replay.next_entry().unwrap();
    wal.release_prefix(100).unwrap();
    append(&wal, 101..=300);
    wal.release_prefix(300).unwrap();
    for index in 2..=100 {
        let (found, payload) = replay.next_entry().unwrap().unwrap();
        assert!(found == index && payload == entry(index, index as usize * 7 % 3000), "{index}");
    }
    assert!(replay.next_entry().unwrap().is_none());
}

#[test]
fn a_bounded_log_keeps_as_much_of_its_end_as_fits() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=300);
    let bytes = 4 * (64 << 10);
    assert!(wal.stats().capacity_bytes > bytes);
    assert_eq!(wal.first_within(u64::MAX), 1);
    let first = wal.first_within(bytes);
    assert!(first > 100, "{first}");
    wal.release_prefix(first).unwrap();
    assert_eq!((wal.stats().capacity_bytes, wal.bounds()), (bytes, (first, 300)));
    assert_holds(&wal, first..=300);
    assert_eq!(wal.first_within(bytes), first, "all of it fits");
    let newest = wal.first_within(0);
    wal.release_prefix(newest).unwrap();
    assert_eq!((wal.stats().segments, wal.bounds()), (1, (newest, 300)));
}

#[test]
fn a_recycled_segment_ends_clean_at_every_length() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=100);
    wal.release_prefix(100).unwrap();
    for index in 101..=160 {
        append(&wal, index..=index);
        let fork = disk.fork();
        fork.crash(index);
        let (_, recovery) = open(&fork);
        assert_eq!((recovery.last, recovery.end), (index, End::Clean));
    }
}

#[test]
fn upkeep_fills_ahead_and_then_rests() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    let mut steps = 0;
    while wal.upkeep().unwrap() {
        steps += 1;
        assert!(steps < 100);
    }
    assert!(steps > 0 && wal.stats().filled_ahead_bytes >= 32 << 10, "{:?}", wal.stats());
    append(&wal, 1..=12);
    while wal.upkeep().unwrap() {}
    assert_eq!(wal.stats().spares, 1, "the next segment is prepared in time");
    append(&wal, 13..=40);
    assert_holds(&wal, 1..=40);
}

#[test]
fn upkeep_beside_appends_never_overwrites_them() {
    // A real disk, so that the threads really overlap.
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut options = options();
    options.segment_bytes = 1 << 20;
    options.fill_ahead_bytes = 512 << 10;
    let (wal, _) = Wal::open(Arc::new(Real::new()), guard.path(), options.clone()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if !wal.upkeep().unwrap() {
                    std::thread::yield_now();
                }
            }
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let (first, last) = wal.bounds();
                wal.release_prefix(last.saturating_sub(500)).unwrap();
                let first = wal.bounds().0.max(first);
                match wal.replay(first) {
                    Ok(replay) => assert!(replay.map(Result::unwrap).count() as u64 <= last + 900),
                    Err(Error::Missing { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        append(&wal, 1..=900);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(wal);
    let (wal, recovery) = Wal::open(Arc::new(Real::new()), guard.path(), options).unwrap();
    assert_eq!((recovery.last, recovery.end), (900, End::Clean));
    assert_holds(&wal, recovery.first..=900);
}

#[test]
fn opening_reads_only_the_headers_of_what_was_left_behind() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=200);
    drop(wal);
    disk.inject(Fault::new(Operation::Read, Effect::Io).on("0000000000000003.wal").after(1));
    let (wal, recovery) = open(&disk);
    assert!(recovery.segments > 5, "{recovery:?}");
    assert_eq!((recovery.first, recovery.last, recovery.batches), (1, 200, 200));
    // Who reads it first is told by an error, and not by a signal.
    let replayed: Result<Vec<_>, _> = wal.replay(1).unwrap().collect();
    assert!(matches!(replayed, Err(Error::Disk(_))), "{:?}", replayed.map(|read| read.len()));
    assert_holds(&wal, 1..=200);
    assert_holds(&wal, 150..=200);
}

#[test]
fn a_segment_that_was_left_behind_is_indexed_when_it_is_first_read() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=200);
    drop(wal);
    let (wal, _) = open(&disk);
    let used = wal.stats().used_bytes;
    for index in [199, 100, 101, 7, 1, 200] {
        let expected = entry(index, index as usize * 7 % 3000);
        assert!(wal.read(index, index, 0).unwrap() == [expected], "entry {index}");
    }
    assert!(wal.stats().used_bytes < used);
    // A truncation that reaches into segments that were read, and into one that was not.
    for from in [150, 60] {
        wal.truncate_suffix(from).unwrap();
        assert!(matches!(wal.read(from, from, 0), Err(Error::Missing { .. })));
        wal.append(from, &["another"]).unwrap();
        assert_eq!(wal.read(from, from, 0).unwrap(), [b"another"]);
        assert_eq!(wal.replay(from - 3).unwrap().count(), 4);
    }
    drop(wal);
    let (wal, recovery) = open(&disk);
    assert_eq!(recovery.last, 60);
    assert_eq!(wal.read(59, 60, 9000).unwrap()[1], b"another");
    wal.release_prefix(50).unwrap();
    assert!(wal.bounds().0 > 1);
    assert_eq!(wal.replay(wal.bounds().0).unwrap().count() as u64, 61 - wal.bounds().0);
    wal.verify().unwrap();
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    disk.set_capacity(disk.allocated() + 10_000);
    let mut last = 0;
    let error = loop {
        match wal.append(last + 1, &[entry(last + 1, (last + 1) as usize * 7 % 3000)]) {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error:?}");
    assert_holds(&wal, 1..=last);
    assert!(wal.reset(77).unwrap_err().is_full());
    assert!(wal.append(last + 1, &["x"]).unwrap_err().is_full());
    disk.heal();
    append(&wal, last + 1..=last + 50);
    assert_holds(&wal, 1..=last + 50);
    disk.crash(1);
    assert_holds(&open(&disk).0, 1..=last + 50);
}

#[test]
fn a_failed_write_poisons_until_the_log_is_opened_anew() {
    for effect in [Effect::Io, Effect::Torn] {
        let disk = Sim::new(1);
        let (wal, _) = open(&disk);
        append(&wal, 1..=10);
        disk.inject(Fault::new(Operation::Write, effect).on(".wal"));
        assert!(matches!(wal.append(11, &[entry(11, 9000)]), Err(Error::Disk(_))));
        assert!(matches!(wal.append(11, &["x"]), Err(Error::Poisoned)));
        assert!(matches!(wal.truncate_suffix(5), Err(Error::Poisoned)));
        assert!(matches!(wal.reset(5), Err(Error::Poisoned)));
        assert_holds(&wal, 1..=10);
        drop(wal);
        let (wal, _) = open(&disk);
        append(&wal, 11..=20);
        assert_holds(&wal, 1..=20);
    }
}

#[test]
fn a_failed_roll_poisons() {
    for operation in [Operation::Rename, Operation::SyncDir] {
        let disk = Sim::new(1);
        let (wal, _) = open(&disk);
        wal.append(1, &[entry(1, 50_000)]).unwrap();
        disk.inject(Fault::new(operation, Effect::Io));
        let big = entry(2, 30_000);
        assert!(matches!(wal.append(2, &[&big]), Err(Error::Disk(_))), "{operation:?}");
        assert!(matches!(wal.append(2, &[&big]), Err(Error::Poisoned)), "{operation:?}");
        drop(wal);
        let (wal, recovery) = open(&disk);
        assert_eq!(recovery.last, 1);
        wal.append(2, &[&big]).unwrap();
    }
}

#[test]
fn a_disposal_that_failed_is_repeated() {
    for operation in [Operation::Rename, Operation::SyncDir, Operation::Open] {
        let disk = Sim::new(1);
        let (wal, _) = open(&disk);
        append(&wal, 1..=100);
        disk.inject(Fault::new(operation, Effect::Io));
        assert!(matches!(wal.release_prefix(100), Err(Error::Disk(_))), "{operation:?}");
        append(&wal, 101..=110);
        while wal.upkeep().unwrap() {}
        let names = disk.list(Path::new(DIR)).unwrap();
        let segments = names.iter().filter(|name| name.ends_with(".wal")).count();
        assert_eq!(segments, wal.stats().segments, "{names:?}");
        drop(wal);
        let (wal, recovery) = open(&disk);
        assert_holds(&wal, recovery.first..=110);
    }
}

#[test]
fn logs_of_other_stores_and_versions_are_refused() {
    let disk = Sim::new(1);
    drop(open(&disk));
    let mut other = options();
    other.owner = [1; 16];
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let error = Wal::open(Arc::clone(&shared), Path::new(DIR), other).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    disk.damage(&Path::new(DIR).join("0000000000000001.wal"), 8, 2).unwrap();
    let error = Wal::open(shared, Path::new(DIR), options()).unwrap_err();
    let text = "/data/wal/0000000000000001.wal has the format 3, and only 1 is known";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_missing_segment_is_corruption() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk);
    append(&wal, 1..=200);
    drop(wal);
    let names = disk.list(Path::new(DIR)).unwrap();
    assert!(names.len() > 4, "{names:?}");
    disk.remove(&Path::new(DIR).join(&names[2])).unwrap();
    let error = Wal::open(Arc::new(disk), Path::new(DIR), options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error:?}");
}
