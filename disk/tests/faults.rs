//! What the simulated disk does to those who forget to sync, and when it is told to fail.

#![expect(unsafe_code, reason = "looks at slices of mappings")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::{
    Access, BLOCK, Buffer, Disk, Effect, Fault, File, Kind, Open, Operation, SECTOR, Sim,
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

/// The outcomes of a crash under many seeds, without repetitions.
fn outcomes<T: Ord>(disk: &Sim, look: impl Fn(&Sim) -> T) -> Vec<T> {
    let mut outcomes: Vec<T> = (0..300)
        .map(|seed| {
            let fork = disk.fork();
            fork.recover(seed);
            look(&fork)
        })
        .collect();
    outcomes.sort();
    outcomes.dedup();
    outcomes
}

#[test]
fn synced_writes_survive_and_pending_sectors_may() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; 4 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 2 * SECTOR], SECTOR as u64).unwrap();
    let outcomes = outcomes(&disk, |disk| {
        let content = content(disk);
        assert!(content.chunks(SECTOR).all(|sector| sector.iter().all(|&b| b == sector[0])));
        content.iter().step_by(SECTOR).copied().collect::<Vec<u8>>()
    });
    assert_eq!(outcomes, [[1, 1, 1, 1], [1, 1, 2, 1], [1, 2, 1, 1], [1, 2, 2, 1]]);
}

#[test]
fn a_pending_sector_may_have_any_of_its_contents() {
    let (disk, file) = disk_with_file(Access::Buffered);
    for byte in 1..=3 {
        file.write_at(&[byte; 100], 0).unwrap();
    }
    let outcomes = outcomes(&disk, |disk| content(disk).first().copied());
    // The length may survive without the content, which then reads as zeros.
    assert_eq!(outcomes, [None, Some(0), Some(1), Some(2), Some(3)]);
}

#[test]
fn direct_writes_are_durable_and_cover_what_was_pending_below() {
    let (disk, file) = disk_with_file(Access::Direct);
    let buffered = disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap();
    buffered.write_at(&[1; 3 * BLOCK], 0).unwrap();
    file.write_at(&aligned(2, 1), BLOCK as u64).unwrap();
    let outcomes = outcomes(&disk, |disk| {
        let content = content(disk);
        assert_eq!(content.len(), 3 * BLOCK);
        assert_eq!(content[BLOCK..2 * BLOCK], [2; BLOCK]);
        content[0]
    });
    assert_eq!(outcomes, [0, 1]);
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let disk = Sim::new(1);
    let (dir, one, two) = (Path::new(DIR), Path::new("/data/one"), Path::new("/data/two"));
    disk.create_dir(dir).unwrap();
    let file = disk.open(one, Open::new_file(Access::Buffered)).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, |disk| disk.list(dir).unwrap()), [vec![], vec!["one".to_owned()]]);
    disk.sync_dir(dir).unwrap();
    disk.rename(one, two).unwrap();
    let names = |disk: &Sim| disk.list(dir).unwrap();
    assert_eq!(outcomes(&disk, names), [["one"], ["two"]]);
    disk.sync_dir(dir).unwrap();
    disk.remove(two).unwrap();
    assert_eq!(outcomes(&disk, names), [vec![], vec!["two".to_owned()]]);
    disk.sync_dir(dir).unwrap();
    assert_eq!(outcomes(&disk, names), [Vec::<String>::new()]);
}

#[test]
fn a_rename_over_a_file_leaves_one_or_the_other() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(b"old", 0).unwrap();
    file.sync_data().unwrap();
    let temporary = Path::new("/data/temporary");
    let new = disk.open(temporary, Open::new_file(Access::Buffered)).unwrap();
    new.write_at(b"new", 0).unwrap();
    new.sync_data().unwrap();
    disk.rename(temporary, Path::new(PATH)).unwrap();
    assert_eq!(outcomes(&disk, content), [b"new", b"old"]);
}

#[test]
fn a_crash_in_the_midst_of_a_direct_write_tears_it() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&aligned(1, 1), 0).unwrap();
    disk.crash_at(disk.operations());
    let error = file.write_at(&aligned(2, 1), 0).unwrap_err();
    assert!(error.is_crashed(), "{error}");
    assert!(disk.exists(Path::new(PATH)).unwrap_err().is_crashed());
    let outcomes = outcomes(&disk, |disk| {
        content(disk).chunks(SECTOR).map(|s| usize::from(s[0]) - 1).sum::<usize>()
    });
    assert_eq!(outcomes, (0..=8).collect::<Vec<_>>());
}

#[test]
fn handles_and_locks_die_with_the_power() {
    let (disk, file) = disk_with_file(Access::Buffered);
    let lock = disk.lock(Path::new("/data/lock")).unwrap();
    let operations = disk.operations();
    disk.crash(3);
    assert!(file.len().unwrap_err().is_crashed());
    assert!(file.write_at(b"x", 0).unwrap_err().is_crashed());
    assert!(file.sync_data().unwrap_err().is_crashed());
    assert_eq!(disk.operations(), operations, "what a dead handle does is not counted");
    let again = disk.lock(Path::new("/data/lock")).unwrap();
    drop(lock);
    assert!(disk.lock(Path::new("/data/lock")).unwrap_err().is_locked());
    drop(again);
}

#[test]
fn a_killed_process_leaves_what_is_pending_to_the_next() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; SECTOR], 0).unwrap();
    disk.kill();
    assert!(file.len().unwrap_err().is_crashed());
    assert_eq!(content(&disk), [1; SECTOR]);
    assert_eq!(outcomes(&disk, content).len(), 3, "nothing, zeros, or all of it");
    disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap().sync_data().unwrap();
    assert_eq!(outcomes(&disk, content), [[1; SECTOR]]);
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
fn the_same_seed_repeats_a_run() {
    let run = |seed| {
        let (disk, file) = disk_with_file(Access::Buffered);
        for round in 0..40_u8 {
            file.write_at(&[round; 700], u64::from(round) * 300).unwrap();
        }
        disk.crash(seed);
        content(&disk)
    };
    let runs: Vec<_> = (0..20).map(run).collect();
    assert!(runs.iter().any(|other| *other != runs[0]));
    for (seed, outcome) in runs.iter().enumerate() {
        assert!(run(seed as u64) == *outcome, "SEED={seed}");
    }
}
