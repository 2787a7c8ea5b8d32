//! Single cases, each with its verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Buffer, Disk, Effect, Fault, Open, Operation, Sim};
use revd_wal::{End, Error, OpenError, Options, Part, Wal, inspect};

use super::DIR;

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    options
}

fn open(disk: &Sim) -> Result<(Wal, revd_wal::Recovery), OpenError> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

fn content(wal: &Wal) -> Vec<(u64, Vec<u8>)> {
    wal.replay(wal.bounds().0).unwrap().map(Result::unwrap).collect()
}

/// Two segments, several batches, one of several entries, a truncation.
fn small_log() -> (Sim, Vec<(u64, Vec<u8>)>) {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk).unwrap();
    wal.append(1, &[&b"one"[..], b"", b"three"]).unwrap();
    wal.append(4, &[[4; 5000]]).unwrap();
    wal.append(5, &[b"five"]).unwrap();
    wal.truncate_suffix(5).unwrap();
    wal.append(5, &[b"six", b"two"]).unwrap();
    let content = content(&wal);
    (disk, content)
}

/// Where the newest segment's last batch lies.
fn last_batch(disk: &Sim) -> (PathBuf, std::ops::Range<u64>) {
    let (mut segment, mut range) = (PathBuf::new(), 0..0);
    inspect(disk, Path::new(DIR), &mut |part| match part {
        Part::Segment { path, .. } => segment = path,
        Part::Batch { offset, bytes, .. } => range = offset..offset + bytes,
        _ => {}
    })
    .unwrap();
    (segment, range)
}

#[test]
fn damage_is_named() {
    let (disk, _) = small_log();
    let path = Path::new(DIR).join("0000000000000001.wal");
    disk.damage(&path, 4096 + 60, 1).unwrap();
    // A segment that the log has left behind is verified when it is first read.
    let (wal, _) = open(&disk).unwrap();
    let replayed: Result<Vec<_>, _> = wal.replay(1).unwrap().collect();
    let found = [replayed.map(drop), wal.read(2, 2, 9).map(drop), wal.verify().map(drop)];
    for error in found.map(Result::unwrap_err) {
        let text = error.to_string();
        let place = "/data/wal/0000000000000001.wal is damaged at offset 4096";
        assert!(text.starts_with(place), "{text}");
    }
}

#[test]
fn entries_that_were_not_damaged_can_be_read_beside_those_that_were() {
    let (disk, content) = small_log();
    disk.damage(&Path::new(DIR).join("0000000000000001.wal"), 4096 + 60, 1).unwrap();
    let (wal, recovery) = open(&disk).unwrap();
    assert_eq!(wal.read(4, recovery.last, usize::MAX).unwrap().len() + 3, content.len());
    assert!(matches!(wal.read(3, 4, 9), Err(Error::Corrupt(_))));
}

#[test]
fn a_segment_of_another_log_is_found_by_its_header() {
    let (disk, _) = small_log();
    let path = Path::new(DIR).join("0000000000000002.wal");
    let from = disk.open(&path, Open::read()).unwrap();
    let mut bytes = Buffer::zeroed(from.len().unwrap() as usize);
    from.read_exact_at(&mut bytes, 0).unwrap();
    let disk = Sim::new(1);
    let mut options = options();
    options.first_index = 50;
    let open = || Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
    open().unwrap().0.append(50, &["of one log"]).unwrap();
    disk.open(&path, Open::new_file(Access::Direct)).unwrap().write_at(&bytes, 0).unwrap();
    match open() {
        Err(OpenError::Corrupt(corruption)) => {
            assert_eq!((corruption.path, corruption.what), (path, "first index"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lost_write_is_found_by_the_next_batch() {
    for lost in 0..3 {
        let disk = Sim::new(1);
        let mut options = options();
        options.segment_bytes = 1 << 20;
        let open = || Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
        let (wal, _) = open().unwrap();
        disk.inject(Fault::new(Operation::Write, Effect::Lost).on(".wal").after(lost));
        for index in 1..=4 {
            wal.append(index, &[[7; 300]]).unwrap();
        }
        drop(wal);
        let error = open().unwrap_err();
        match error {
            OpenError::Corrupt(corruption) => {
                assert_eq!(corruption.offset, 4096 * (1 + lost), "{corruption}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_misdirected_write_is_found() {
    let disk = Sim::new(1);
    let mut options = options();
    options.segment_bytes = 1 << 20;
    let open = || Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
    let (wal, _) = open().unwrap();
    wal.append(1, &["a"]).unwrap();
    wal.append(2, &["b"]).unwrap();
    disk.inject(Fault::new(Operation::Write, Effect::Misdirected(4096)).on(".wal"));
    wal.append(3, &["c"]).unwrap();
    drop(wal);
    assert!(matches!(open(), Err(OpenError::Corrupt(_))));
}

#[test]
fn a_batch_of_another_history_is_found() {
    let disk = Sim::new(1);
    let mut options = options();
    options.segment_bytes = 1 << 20;
    let open = |disk: &Sim| Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone());
    open(&disk).unwrap().0.append(1, &["common"]).unwrap();
    let other = disk.fork();
    for (disk, second) in [(&disk, "one way"), (&other, "another")] {
        let (wal, _) = open(disk).unwrap();
        wal.append(2, &[second]).unwrap();
        wal.append(3, &["the same"]).unwrap();
    }
    // The third batch has the same number, salt and entry in both, and another past.
    let path = Path::new(DIR).join("0000000000000001.wal");
    let mut block = Buffer::zeroed(4096);
    other.open(&path, Open::read()).unwrap().read_exact_at(&mut block, 3 * 4096).unwrap();
    let file = disk.open(&path, Open::existing(Access::Direct)).unwrap();
    file.write_at(&block, 3 * 4096).unwrap();
    match open(&disk) {
        Err(OpenError::Corrupt(corruption)) => assert_eq!(corruption.what, "chained checksum"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copied_batch_is_no_continuation() {
    // The bytes of an entry may be anything, a block of the log itself included.
    let disk = Sim::new(1);
    let (wal, _) = open(&disk).unwrap();
    let path = Path::new(DIR).join("0000000000000001.wal");
    wal.append(1, &["a"]).unwrap();
    let mut block = vec![0; 4096];
    disk.open(&path, Open::read()).unwrap().read_exact_at(&mut block, 4096).unwrap();
    // Headers take 56 bytes, so that the copy begins at a block.
    let mut entry = vec![0; 4096 - 56];
    entry.extend_from_slice(&block);
    disk.crash_at(disk.operations());
    assert!(wal.append(2, &[&entry]).is_err());
    drop(wal);
    for seed in 0..64 {
        let disk = disk.fork();
        disk.recover(seed);
        let (wal, recovery) = open(&disk).unwrap();
        assert!(recovery.last <= 2, "SEED={seed}");
        let next = recovery.last + 1;
        wal.append(next, &["c"]).unwrap();
        // Behind the new batch lies what the crash left of the torn one, the copy perhaps.
        drop(wal);
        let (wal, recovery) = open(&disk).unwrap();
        assert_eq!((wal.bounds(), recovery.last), ((1, next), next), "SEED={seed}");
    }
}

#[test]
fn entries_of_an_earlier_use_of_a_file_never_come_back() {
    let disk = Sim::new(1);
    let mut last = 0;
    for round in 0..40 {
        let (wal, recovery) = open(&disk).unwrap();
        assert_eq!((recovery.last, recovery.end), (last, End::Clean), "round {round}");
        for _ in 0..5 {
            last += 1;
            wal.append(last, &[vec![round; 100 + usize::from(round) * 90]]).unwrap();
        }
        wal.release_prefix(last + 1).unwrap();
        let (first, _) = wal.bounds();
        for (index, entry) in content(&wal) {
            assert_eq!(entry[0], ((index - 1) / 5) as u8, "entry {index} of {first}..{last}");
        }
    }
}

#[test]
fn a_cut_file_is_named() {
    let disk = Sim::new(1);
    let (wal, _) = open(&disk).unwrap();
    wal.append(1, &["a"]).unwrap();
    drop(wal);
    let (path, last) = last_batch(&disk);
    // Nothing of the log lies behind, but a segment has its whole length before it has its name.
    let len = last.end.next_multiple_of(4096);
    disk.open(&path, Open::existing(Access::Buffered)).unwrap().truncate(len).unwrap();
    match open(&disk) {
        Err(OpenError::Corrupt(corruption)) => {
            assert_eq!((corruption.what, corruption.offset), ("length of the file", len));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn arbitrary_bytes_behind_the_log_do_no_harm() {
    let (disk, whole) = small_log();
    let (path, last) = last_batch(&disk);
    let file = disk.open(&path, Open::existing(Access::Direct)).unwrap();
    let mut noise = Buffer::zeroed(4096);
    let mut state = 5_u64;
    for byte in noise.iter_mut() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        *byte = (state >> 40) as u8;
    }
    file.write_at(&noise, last.end.next_multiple_of(4096)).unwrap();
    let (wal, recovery) = open(&disk).unwrap();
    assert!(matches!(recovery.end, End::Torn { bytes: 4096, .. }), "{recovery:?}");
    assert_eq!(content(&wal), whole);
}
