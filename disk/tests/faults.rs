//! What the simulated disk does to those who forget to sync, and when it is told to fail.

#![expect(unsafe_code, reason = "looks at slices of mappings")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::{
    Access, BLOCK, Buffer, Chances, Disk, Effect, Fault, File, Kind, Open, Operation, SECTOR, Sim,
};

const DIR: &str = "/data";
const PATH: &str = "/data/file";

fn disk_with_file(access: Access) -> (Sim, Arc<dyn File>) {
    let disk = Sim::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    let file = disk.open(Path::new(PATH), Open::new_file(access)).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    (disk, file)
}

fn content(disk: &Sim) -> Vec<u8> {
    let file = disk.open(Path::new(PATH), Open::read()).unwrap();
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

fn aligned(byte: u8, blocks: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(blocks * BLOCK);
    buffer.fill(byte);
    buffer
}

#[test]
fn a_failed_sync_poisons_and_loses_what_was_pending() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; 64 * SECTOR], 0).unwrap();
    disk.inject(Fault::new(Operation::Sync, Effect::Io).on("file"));
    let error = file.sync_data().unwrap_err();
    assert_eq!(error.to_string(), "cannot sync /data/file: input/output error");
    assert_eq!(file.sync_data().unwrap_err().kind(), Kind::Poisoned);
    assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), Kind::Poisoned);
    // The cache still shows all of it, and another handle believes that it was synced.
    assert_eq!(content(&disk), [1; 64 * SECTOR]);
    let other = disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap();
    other.sync_data().unwrap();
    disk.crash(5);
    assert_ne!(content(&disk), [1; 64 * SECTOR]);
}

#[test]
fn faults_strike_where_they_are_aimed() {
    let (disk, file) = disk_with_file(Access::Buffered);
    disk.inject(Fault::new(Operation::Write, Effect::Full).on("other").forever());
    disk.inject(Fault::new(Operation::Write, Effect::Full).on("file").after(1).times(2));
    let outcomes: Vec<bool> = (0..5).map(|_| file.write_at(b"x", 0).is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, true, true]);
    disk.inject(Fault::new(Operation::Read, Effect::Io).forever());
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind(), Kind::Io);
    disk.heal();
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1);
}

#[test]
fn writes_can_be_lost_misdirected_and_torn() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&aligned(1, 2), 0).unwrap();
    disk.inject(Fault::new(Operation::Write, Effect::Lost));
    file.write_at(&aligned(2, 1), 0).unwrap();
    assert_eq!(content(&disk)[0], 1);
    disk.inject(Fault::new(Operation::Write, Effect::Misdirected(BLOCK as u64)));
    file.write_at(&aligned(3, 1), 0).unwrap();
    assert_eq!((content(&disk)[0], content(&disk)[BLOCK]), (1, 3));
    disk.inject(Fault::new(Operation::Write, Effect::Torn));
    assert_eq!(file.write_at(&aligned(4, 2), 0).unwrap_err().kind(), Kind::Io);
    let torn = content(&disk).iter().filter(|&&byte| byte == 4).count();
    assert!(torn > 0 && torn < 2 * BLOCK && torn.is_multiple_of(SECTOR), "{torn}");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let (disk, file) = disk_with_file(Access::Buffered);
    disk.set_capacity(10 * BLOCK as u64);
    file.write_at(&[1; 8 * BLOCK], 0).unwrap();
    assert!(file.write_at(&[1; 3 * BLOCK], 8 * BLOCK as u64).unwrap_err().is_full());
    assert!(file.allocate(0, 11 * BLOCK as u64).unwrap_err().is_full());
    file.write_at(&[2; 8 * BLOCK], 0).unwrap();
    file.punch_hole(0, 4 * BLOCK as u64).unwrap();
    file.allocate(8 * BLOCK as u64, 6 * BLOCK as u64).unwrap();
    assert_eq!(disk.allocated(), 10 * BLOCK as u64);
    drop(file);
    disk.remove(Path::new(PATH)).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.allocated(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "miri knows no memory files")]
fn rot_is_seen_by_reads_and_mappings() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[0; 100], 0).unwrap();
    let mapping = file.map(4096).unwrap();
    disk.damage(Path::new(PATH), 40, 0b1000).unwrap();
    assert_eq!(content(&disk)[40], 8);
    // SAFETY: nobody writes these bytes any more.
    assert_eq!(unsafe { mapping.slice(40, 1) }, [8]);
    disk.crash(1);
    assert!(disk.damage(Path::new(PATH), 100, 1).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of sectors take miri minutes")]
fn a_failed_sync_stays_failed_where_its_pages_are_written_again() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = Sim::new(seed);
        disk.create_dir(Path::new(DIR)).unwrap();
        let file = disk.open(Path::new(PATH), Open::new_file(Access::Buffered)).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.write_at(&[1; BLOCK], 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(&[2; BLOCK + 10], 0).unwrap();
        disk.inject(Fault::new(Operation::Sync, Effect::Io));
        file.sync_data().unwrap_err();
        let other = disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap();
        // What is written after the failure is durable after the next sync, and nothing else is.
        other.write_at(&[3; SECTOR], SECTOR as u64).unwrap();
        other.write_at(&[4; 5], BLOCK as u64 + 5).unwrap();
        other.sync_data().unwrap();
        disk.crash(9);
        let content = content(&disk);
        assert_eq!(content[SECTOR..2 * SECTOR], [3; SECTOR], "SEED={seed}");
        assert_eq!(content[BLOCK + 5..], [4; 5], "SEED={seed}");
        lost += content[..BLOCK].chunks(SECTOR).filter(|sector| sector[0] == 1).count();
    }
    assert!((20..120).contains(&lost), "{lost} of 140 sectors were lost");
}

#[test]
fn a_lost_sync_reports_success_and_leaves_everything_pending() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; SECTOR], 0).unwrap();
    disk.inject(Fault::new(Operation::Sync, Effect::Lost));
    file.sync_data().unwrap();
    let survivors = disk.fork().recover(1);
    assert_eq!(survivors.pending, 2, "a sector and a length");
    file.sync_data().unwrap();
    assert_eq!(disk.fork().recover(1).pending, 0);
}

#[test]
fn a_short_write_leaves_its_beginning_and_can_be_repeated() {
    for (access, bytes, left) in
        [(Access::Buffered, 5000, 5000), (Access::Direct, 5000, BLOCK), (Access::Direct, 99, 0)]
    {
        let (disk, file) = disk_with_file(access);
        disk.inject(Fault::new(Operation::Write, Effect::Short(bytes)));
        let error = file.write_at(&aligned(1, 2), 0).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert_eq!(content(&disk), vec![1; left]);
        file.write_at(&aligned(1, 2), 0).unwrap();
        assert_eq!(content(&disk), [1; 2 * BLOCK]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations take miri minutes")]
fn a_torn_write_ends_at_sectors_of_the_file() {
    for seed in 0..50 {
        let disk = Sim::new(seed);
        let file = disk.open(Path::new("/file"), Open::new_file(Access::Buffered)).unwrap();
        file.truncate(BLOCK as u64).unwrap();
        disk.inject(Fault::new(Operation::Write, Effect::Torn));
        assert_eq!(file.write_at(&[1; 1500], 100).unwrap_err().kind(), Kind::Io);
        let mut content = [0; BLOCK];
        file.read_exact_at(&mut content, 0).unwrap();
        let edges = (1..BLOCK).filter(|&at| content[at] != content[at - 1]);
        for edge in edges {
            let is_end = edge == 100 || edge == 1600;
            assert!(is_end || edge % SECTOR == 0, "SEED={seed} edge at {edge}");
        }
    }
}

#[test]
fn blocks_can_be_swapped_while_written_and_at_rest() {
    let (disk, file) = disk_with_file(Access::Direct);
    let mut buffer = aligned(1, 3);
    buffer[BLOCK..2 * BLOCK].fill(2);
    buffer[2 * BLOCK..].fill(3);
    let blocks = || content(&disk).chunks(BLOCK).map(|block| block[9]).collect::<Vec<u8>>();
    disk.inject(Fault::new(Operation::Write, Effect::Swapped).times(2));
    file.write_at(&buffer, 0).unwrap();
    assert_eq!(blocks(), [3, 2, 1]);
    file.write_at(&buffer[BLOCK..2 * BLOCK], 0).unwrap();
    assert_eq!(blocks(), [2, 2, 1], "one block has no other to swap with");
    disk.swap_blocks(Path::new(PATH), 0, 2).unwrap();
    assert_eq!(blocks(), [1, 2, 2]);
    disk.crash(1);
    assert_eq!(blocks(), [1, 2, 2], "it lies on the medium");
    assert!(disk.swap_blocks(Path::new(PATH), 0, 3).is_err());
    assert!(disk.swap_blocks(Path::new(PATH), 0, u64::MAX).is_err());
}

#[test]
fn a_stale_block_is_its_old_content_put_back() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&aligned(1, 2), 0).unwrap();
    let old = content(&disk)[BLOCK..].to_vec();
    file.write_at(&aligned(2, 2), 0).unwrap();
    let operations = disk.operations();
    disk.overwrite(Path::new(PATH), BLOCK as u64, &old).unwrap();
    assert_eq!(disk.operations(), operations);
    disk.crash(1);
    assert_eq!((content(&disk)[0], content(&disk)[BLOCK]), (2, 1));
    for offset in [BLOCK as u64 + 1, u64::MAX] {
        assert!(disk.overwrite(Path::new(PATH), offset, &old).is_err());
    }
    assert!(disk.overwrite(Path::new("/data/none"), 0, &old).unwrap_err().is_not_found());
}

/// What a workload of reads, writes and syncs makes of a disk with these chances.
fn struck(seed: u64, chances: Chances) -> (Vec<(Operation, Kind)>, Vec<u8>, u64) {
    let (disk, _) = disk_with_file(Access::Buffered);
    disk.fail_by_chance(seed, chances);
    let mut failed = Vec::new();
    for round in 0..400_u64 {
        let Ok(file) = disk.open(Path::new(PATH), Open::existing(Access::Direct)) else {
            continue;
        };
        let offset = round % 16 * BLOCK as u64;
        let results = [
            file.write_at(&aligned(round as u8, 2), offset),
            file.allocate(offset, 100),
            file.read_at(&mut [0; 100], offset).map(drop),
            file.sync_data(),
            disk.rename(Path::new(PATH), Path::new(PATH)),
            disk.sync_dir(Path::new(DIR)),
        ];
        let errors = results.into_iter().filter_map(Result::err);
        failed.extend(errors.map(|error| (error.operation(), error.kind())));
    }
    disk.heal();
    let after = content(&disk);
    (failed, after, disk.busy())
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations take miri minutes")]
fn faults_by_chance_are_repeatable_and_end_when_healed() {
    let chances = Chances {
        read_error: 50_000,
        write_error: 50_000,
        sync_error: 50_000,
        torn_write: 50_000,
        short_write: 50_000,
        full: 50_000,
        lost_write: 50_000,
        misdirected_write: 50_000,
        swapped_write: 50_000,
        rot: 50_000,
        slow: 50_000,
    };
    assert!(struck(1, chances) == struck(1, chances));
    assert!(struck(1, chances) != struck(2, chances));
    let (failed, ..) = struck(1, chances);
    for kind in [
        (Operation::Read, Kind::Io),
        (Operation::Write, Kind::Io),
        (Operation::Write, Kind::Full),
        (Operation::Sync, Kind::Poisoned),
        (Operation::Allocate, Kind::Io),
        (Operation::Allocate, Kind::Full),
        (Operation::Sync, Kind::Io),
        (Operation::SyncDir, Kind::Io),
        (Operation::Rename, Kind::Io),
    ] {
        assert!(failed.contains(&kind), "{kind:?}");
    }
}

/// Each chance alone does what it says and nothing else, about as often as it says.
#[test]
#[cfg_attr(miri, ignore = "thousands of operations take miri minutes")]
fn each_chance_strikes_alone() {
    const OFTEN: u32 = 250_000;
    let (none, healthy, busy) = struck(3, Chances::default());
    assert_eq!(none, []);
    let errors = |chances: Chances| struck(3, chances).0;
    let strikes = |chances, operation, kind| {
        let errors = errors(chances);
        let all = errors.iter().filter(|(_, kind)| *kind != Kind::Poisoned).count();
        let right = errors.iter().filter(|error| **error == (operation, kind)).count();
        (right, all)
    };
    let zero = Chances::default();
    let (right, all) = strikes(Chances { read_error: OFTEN, ..zero }, Operation::Read, Kind::Io);
    assert!(right == all && (60..140).contains(&right), "{right} of {all}");
    let (right, all) = strikes(Chances { torn_write: OFTEN, ..zero }, Operation::Write, Kind::Io);
    assert!(right == all && (60..140).contains(&right), "{right} of {all}");
    let short = Chances { short_write: OFTEN, ..zero };
    let (right, all) = strikes(short, Operation::Write, Kind::Full);
    assert!(right == all && (60..140).contains(&right), "{right} of {all}");
    let (right, all) = strikes(Chances { full: OFTEN, ..zero }, Operation::Write, Kind::Full);
    assert!(right < all && (60..140).contains(&right), "{right} of {all}");
    let (right, all) = strikes(Chances { sync_error: OFTEN, ..zero }, Operation::Sync, Kind::Io);
    assert!(right < all && (60..140).contains(&right), "{right} of {all}");
    let (right, all) = strikes(Chances { write_error: OFTEN, ..zero }, Operation::Write, Kind::Io);
    assert!(right < all && (60..140).contains(&right), "{right} of {all}");
    // Silent faults: no error, another content.
    for chances in [
        Chances { lost_write: OFTEN, ..zero },
        Chances { misdirected_write: OFTEN, ..zero },
        Chances { rot: OFTEN, ..zero },
    ] {
        let (errors, content, _) = struck(3, chances);
        assert_eq!(errors, []);
        assert!(content != healthy, "{chances:?}");
    }
    let (errors, content, slow) = struck(3, Chances { slow: OFTEN, ..zero });
    assert_eq!(errors, []);
    assert!(content == healthy && slow > busy + 100_000_000, "{slow} and {busy} ns");
}

#[test]
fn time_is_counted_and_not_spent() {
    let (disk, file) = disk_with_file(Access::Direct);
    let took = |work: &dyn Fn()| {
        let before = disk.busy();
        work();
        disk.busy() - before
    };
    let write = || file.write_at(&aligned(1, 1), 0).unwrap();
    let quick = took(&write);
    assert!(quick > 0);
    assert!(took(&|| assert_eq!(file.len().unwrap(), BLOCK as u64)) < quick);
    assert!(took(&|| file.write_at(&aligned(1, 100), 0).unwrap()) > quick);
    assert!(took(&|| file.write_unsynced_at(&aligned(1, 1), 0).unwrap()) < quick);
    disk.inject(Fault::new(Operation::Write, Effect::Slow(3_000_000_000)));
    assert_eq!(took(&write), quick + 3_000_000_000);
    assert_eq!(took(&write), quick);
    // Slowness comes on top of whatever else strikes.
    disk.inject(Fault::new(Operation::Write, Effect::Slow(7)).forever());
    disk.inject(Fault::new(Operation::Write, Effect::Full));
    assert_eq!(took(&|| assert!(file.write_at(&aligned(1, 1), 0).is_err())), quick + 7);
    assert_eq!(took(&write), quick + 7);
}

#[test]
fn rot_strikes_beside_an_operation() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&aligned(0, 4), 0).unwrap();
    disk.inject(Fault::new(Operation::Read, Effect::Rot));
    file.read_exact_at(&mut [0; 10], 0).unwrap();
    let ones: u32 = content(&disk).iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 1);
    disk.crash(4);
    let ones: u32 = content(&disk).iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 1, "it lies on the medium");
}
