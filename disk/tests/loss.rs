//! What a loss of power may leave of a simulated disk, exactly: all of that, and nothing else.

// Thousands of crashes take miri hours.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, File, Open, Operation, SECTOR, Sim, Survivors};

const DIR: &str = "/data";
const PATH: &str = "/data/file";

fn disk_with_file(access: Access) -> (Sim, Arc<dyn File>) {
    let disk = Sim::new(1);
    disk.create_dir(Path::new(DIR)).unwrap();
    let file = disk.open(Path::new(PATH), Open::new_file(access)).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    (disk, file)
}

fn content(disk: &Sim, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), Open::read()).unwrap();
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

/// What each of so many crashes leaves, with what the disk says about it.
fn outcomes<T>(disk: &Sim, seeds: u64, look: impl Fn(&Sim) -> T) -> Vec<(Survivors, T)> {
    let outcome = |seed| {
        let fork = disk.fork();
        (fork.recover(seed), look(&fork))
    };
    (0..seeds).map(outcome).collect()
}

/// What many crashes leave, sorted, without repetitions.
fn left<T: Ord>(disk: &Sim, look: impl Fn(&Sim) -> T) -> Vec<T> {
    let left: BTreeSet<T> = outcomes(disk, 300, look).into_iter().map(|(_, left)| left).collect();
    left.into_iter().collect()
}

fn aligned(byte: u8, blocks: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(blocks * BLOCK);
    buffer.fill(byte);
    buffer
}

#[test]
fn synced_writes_survive_and_pending_sectors_may() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; 4 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 2 * SECTOR], SECTOR as u64).unwrap();
    let outcomes = left(&disk, |disk| {
        let content = content(disk, PATH);
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
    let outcomes = left(&disk, |disk| content(disk, PATH).first().copied());
    // The length may survive without the content, which then reads as zeros.
    assert_eq!(outcomes, [None, Some(0), Some(1), Some(2), Some(3)]);
}

#[test]
fn direct_writes_are_durable_and_cover_what_was_pending_below() {
    let (disk, file) = disk_with_file(Access::Direct);
    let buffered = disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap();
    buffered.write_at(&[1; 3 * BLOCK], 0).unwrap();
    file.write_at(&aligned(2, 1), BLOCK as u64).unwrap();
    let outcomes = left(&disk, |disk| {
        let content = content(disk, PATH);
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
    assert_eq!(left(&disk, |disk| disk.list(dir).unwrap()), [vec![], vec!["one".to_owned()]]);
    disk.sync_dir(dir).unwrap();
    disk.rename(one, two).unwrap();
    let names = |disk: &Sim| disk.list(dir).unwrap();
    assert_eq!(left(&disk, names), [["one"], ["two"]]);
    disk.sync_dir(dir).unwrap();
    disk.remove(two).unwrap();
    assert_eq!(left(&disk, names), [vec![], vec!["two".to_owned()]]);
    disk.sync_dir(dir).unwrap();
    assert_eq!(left(&disk, names), [Vec::<String>::new()]);
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
    assert_eq!(left(&disk, |disk| content(disk, PATH)), [b"new", b"old"]);
}

#[test]
fn a_crash_in_the_midst_of_a_direct_write_tears_it() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&aligned(1, 1), 0).unwrap();
    disk.crash_at(disk.operations());
    let error = file.write_at(&aligned(2, 1), 0).unwrap_err();
    assert!(error.is_crashed(), "{error}");
    assert!(disk.exists(Path::new(PATH)).unwrap_err().is_crashed());
    let outcomes = left(&disk, |disk| {
        content(disk, PATH).chunks(SECTOR).map(|s| usize::from(s[0]) - 1).sum::<usize>()
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
    assert_eq!(content(&disk, PATH), [1; SECTOR]);
    assert_eq!(left(&disk, |disk| content(disk, PATH)).len(), 3, "nothing, zeros, or all of it");
    disk.open(Path::new(PATH), Open::existing(Access::Buffered)).unwrap().sync_data().unwrap();
    assert_eq!(left(&disk, |disk| content(disk, PATH)), [[1; SECTOR]]);
}

#[test]
fn the_same_seed_repeats_a_run() {
    let run = |seed| {
        let (disk, file) = disk_with_file(Access::Buffered);
        for round in 0..40_u8 {
            file.write_at(&[round; 700], u64::from(round) * 300).unwrap();
        }
        disk.crash(seed);
        content(&disk, PATH)
    };
    let runs: Vec<_> = (0..20).map(run).collect();
    assert!(runs.iter().any(|other| *other != runs[0]));
    for (seed, outcome) in runs.iter().enumerate() {
        assert!(run(seed as u64) == *outcome, "SEED={seed}");
    }
}

#[test]
fn all_subsets_of_the_pending_sectors_are_reached() {
    let (disk, file) = disk_with_file(Access::Buffered);
    file.write_at(&[1; 6 * SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 6 * SECTOR], 0).unwrap();
    let look = |disk: &Sim| {
        let sectors = content(disk, PATH);
        sectors.chunks(SECTOR).map(|sector| sector[0]).collect::<Vec<u8>>()
    };
    let outcomes = outcomes(&disk, 4000, look);
    let left: BTreeSet<&Vec<u8>> = outcomes.iter().map(|(_, sectors)| sectors).collect();
    assert_eq!(left.len(), 64);
    for (survivors, sectors) in &outcomes {
        assert_eq!(survivors.pending, 6);
        let kept = sectors.iter().filter(|&&byte| byte == 2).count() as u64;
        assert_eq!(survivors.kept, kept, "{sectors:?}");
    }
}

#[test]
fn digests_tell_outcomes_apart_and_nothing_more() {
    let (disk, file) = disk_with_file(Access::Buffered);
    for byte in 1..=3 {
        file.write_at(&[byte; 2 * SECTOR], 0).unwrap();
    }
    disk.rename(Path::new(PATH), Path::new("/data/renamed")).unwrap();
    let other = disk.open(Path::new("/data/other"), Open::new_file(Access::Buffered)).unwrap();
    other.write_at(&[9; 10], 0).unwrap();
    let look = |disk: &Sim| {
        let names = disk.list(Path::new(DIR)).unwrap();
        names.into_iter().map(|name| content(disk, &format!("{DIR}/{name}"))).collect::<Vec<_>>()
    };
    let named = |disk: &Sim| (disk.list(Path::new(DIR)).unwrap(), look(disk));
    let mut by_digest = BTreeMap::new();
    let mut by_outcome: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    for (survivors, outcome) in outcomes(&disk, 4000, named) {
        let known = by_digest.entry(survivors.digest).or_insert_with(|| outcome.clone());
        assert_eq!(*known, outcome, "two outcomes have the digest {}", survivors.digest);
        by_outcome.entry(outcome).or_default().insert(survivors.digest);
    }
    assert!(by_outcome.len() > 50, "{}", by_outcome.len());
    // Three lengths that are equal are three changes: nothing else may be told apart needlessly.
    let most = by_outcome.values().map(BTreeSet::len).max().unwrap();
    assert!(most <= 4 * 4, "{most} digests for one outcome");
}

#[test]
fn nothing_pending_leaves_one_outcome() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.allocate(0, 4096).unwrap();
    file.sync_data().unwrap();
    let survivors: BTreeSet<_> = (0..50)
        .map(|seed| {
            let survivors = disk.fork().recover(seed);
            (survivors.pending, survivors.kept, survivors.digest)
        })
        .collect();
    assert_eq!(survivors.len(), 1, "{survivors:?}");
    assert_eq!(survivors.first().map(|(pending, ..)| *pending), Some(0));
}

#[test]
fn the_change_that_was_under_way_is_told_until_the_power_is_back() {
    let (disk, file) = disk_with_file(Access::Buffered);
    assert_eq!(disk.crashed_in(), None);
    disk.crash_at(disk.operations() + 1);
    file.write_at(b"before", 0).unwrap();
    assert_eq!(disk.crashed_in(), None);
    assert!(disk.rename(Path::new(PATH), Path::new("/data/other")).unwrap_err().is_crashed());
    let change = Some((Operation::Rename, PathBuf::from(PATH)));
    assert_eq!(disk.crashed_in(), change);
    assert!(file.sync_data().unwrap_err().is_crashed());
    assert_eq!(disk.fork().crashed_in(), change);
    disk.recover(1);
    assert_eq!(disk.crashed_in(), None);
}

#[test]
fn marks_go_with_the_process_and_with_the_power() {
    for ends in [Sim::kill, |disk: &Sim| _ = disk.crash(1)] {
        let (disk, file) = disk_with_file(Access::Buffered);
        file.mark(3).unwrap();
        ends(&disk);
        assert!(file.mark(4).unwrap_err().is_crashed());
        let after = disk.open(Path::new(PATH), Open::read()).unwrap();
        assert!(!after.is_marked(0..u64::MAX).unwrap());
        after.mark(5).unwrap();
        drop(file);
        let other = disk.open(Path::new(PATH), Open::read()).unwrap();
        assert!(other.is_marked(5..6).unwrap());
    }
}

#[test]
fn tears_lie_between_sectors_only() {
    let (disk, file) = disk_with_file(Access::Direct);
    let mut buffer = Buffer::zeroed(4096);
    file.write_at(&buffer, 0).unwrap();
    disk.crash_at(disk.operations());
    buffer.fill(7);
    assert!(file.write_at(&buffer, 0).unwrap_err().is_crashed());
    let torn = outcomes(&disk, 8000, |disk| content(disk, PATH));
    let mut sets = BTreeSet::new();
    for (survivors, content) in torn {
        let sectors: Vec<u8> = content.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(content.chunks(SECTOR).all(|sector| sector.iter().all(|&b| b == sector[0])));
        assert_eq!(survivors.pending, 8);
        sets.insert(sectors);
    }
    assert_eq!(sets.len(), 256);
}

/// A run of changes that sync now and then: what was synced is there after any crash, and what was
/// not is one of the contents that it has had since.
#[test]
fn what_was_synced_is_never_lost() {
    for seed in 0..60 {
        let (disk, file) = disk_with_file(Access::Buffered);
        let direct = disk.open(Path::new(PATH), Open::existing(Access::Direct)).unwrap();
        let mut random = Random(seed);
        // The contents that each sector may have, the durable one first.
        let mut possible = vec![vec![0_u8]; 64];
        direct.write_at(&Buffer::zeroed(64 * SECTOR), 0).unwrap();
        for round in 1..60_u8 {
            let (start, len) = (random.below(60) as usize, 1 + random.below(4) as usize);
            match random.below(8) {
                0 => {
                    file.sync_data().unwrap();
                    possible.iter_mut().for_each(|all| drop(all.drain(..all.len() - 1)));
                }
                1 => {
                    let mut buffer = Buffer::zeroed(4096);
                    buffer.fill(round);
                    direct.write_at(&buffer, (start / 8 * 4096) as u64).unwrap();
                    possible[start / 8 * 8..][..8].iter_mut().for_each(|all| *all = vec![round]);
                }
                2 => {
                    file.punch_hole((start * SECTOR) as u64, (len * SECTOR) as u64).unwrap();
                    possible[start..start + len].iter_mut().for_each(|all| all.push(0));
                }
                _ => {
                    let bytes = vec![round; len * SECTOR];
                    file.write_at(&bytes, (start * SECTOR) as u64).unwrap();
                    possible[start..start + len].iter_mut().for_each(|all| all.push(round));
                }
            }
            let fork = disk.fork();
            fork.crash(random.below(u64::MAX));
            for (number, sector) in content(&fork, PATH).chunks(SECTOR).enumerate() {
                let context = format!("SEED={seed} round {round} sector {number}");
                assert!(sector.iter().all(|&byte| byte == sector[0]), "{context}");
                assert!(possible[number].contains(&sector[0]), "{context}: {}", sector[0]);
            }
        }
    }
}

/// The length that a durable write needs is durable with it, whatever lengths were pending.
#[test]
fn a_direct_write_is_not_lost_to_a_length_that_was_pending() {
    let (disk, file) = disk_with_file(Access::Direct);
    file.write_at(&Buffer::zeroed(20 * 4096), 0).unwrap();
    file.truncate(2 * 4096).unwrap();
    file.truncate(20 * 4096).unwrap();
    let mut buffer = Buffer::zeroed(4096);
    buffer.fill(7);
    file.write_at(&buffer, 5 * 4096).unwrap();
    for (_, content) in outcomes(&disk, 300, |disk| content(disk, PATH)) {
        assert_eq!(content[5 * 4096..6 * 4096], [7; 4096]);
    }
}

/// Each step of a directory survives by itself until it is synced, and then for good.
#[test]
fn all_subsets_of_the_steps_of_a_directory_are_reached() {
    let disk = Sim::new(1);
    let dir = Path::new(DIR);
    disk.create_dir(dir).unwrap();
    for name in ["removed", "renamed"] {
        disk.open(&dir.join(name), Open::new_file(Access::Buffered)).unwrap();
    }
    disk.sync_dir(dir).unwrap();
    disk.open(&dir.join("created"), Open::new_file(Access::Buffered)).unwrap();
    disk.remove(&dir.join("removed")).unwrap();
    disk.rename(&dir.join("renamed"), &dir.join("target")).unwrap();
    let look = |disk: &Sim| disk.list(dir).unwrap();
    let left: BTreeSet<Vec<String>> =
        outcomes(&disk, 300, look).into_iter().map(|(_, names)| names).collect();
    assert_eq!(left.len(), 8, "{left:?}");
    for names in &left {
        let has = |name: &str| names.iter().any(|other| other == name);
        assert_ne!(has("renamed"), has("target"), "a rename as a whole or not at all: {names:?}");
    }
    disk.sync_dir(dir).unwrap();
    for (survivors, names) in outcomes(&disk, 100, look) {
        assert_eq!(names, ["created", "target"]);
        assert_eq!(survivors.pending, 0);
    }
}

/// To sync one of two directories makes the rename between them durable as a whole, over what was
/// pending for its names in the other.
#[test]
fn a_synced_rename_between_directories_is_not_undone_by_older_steps() {
    let disk = Sim::new(1);
    let (from, to) = (Path::new("/data/from"), Path::new("/data/to"));
    disk.create_dir(from).unwrap();
    disk.create_dir(to).unwrap();
    let file = disk.open(&from.join("file"), Open::new_file(Access::Buffered)).unwrap();
    file.write_at(b"content", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(from).unwrap();
    disk.open(&to.join("file"), Open::new_file(Access::Buffered)).unwrap();
    disk.rename(&from.join("file"), &to.join("file")).unwrap();
    disk.sync_dir(from).unwrap();
    for (_, (names, content)) in
        outcomes(&disk, 100, |disk| (disk.list(from).unwrap(), content(disk, "/data/to/file")))
    {
        assert_eq!((names, content), (Vec::new(), b"content".to_vec()));
    }
}

#[test]
fn directories_may_come_to_be_from_the_outside_in() {
    let disk = Sim::new(1);
    disk.crash_at(0);
    assert!(disk.create_dir(Path::new("/a/b/c")).unwrap_err().is_crashed());
    let left: BTreeSet<Vec<bool>> = outcomes(&disk, 300, |disk| {
        ["/a", "/a/b", "/a/b/c"].map(|dir| disk.exists(Path::new(dir)).unwrap()).to_vec()
    })
    .into_iter()
    .map(|(_, there)| there)
    .collect();
    let each = [[false, false, false], [true, false, false], [true, true, false], [true; 3]];
    assert_eq!(left, each.map(Vec::from).into());
    disk.create_dir(Path::new("/a")).unwrap_err();
    disk.kill();
    assert!(!disk.exists(Path::new("/a")).unwrap(), "the process was killed before it");
    disk.create_dir(Path::new("/a/b")).unwrap();
    disk.crash(1);
    assert!(disk.exists(Path::new("/a/b")).unwrap());
}

/// More changes of a page than are told apart between two syncs.
#[test]
fn many_changes_of_a_page_lose_none_at_a_sync() {
    let (disk, file) = disk_with_file(Access::Buffered);
    for round in 0..200_u64 {
        file.write_at(&[round as u8; 40], round * 37 % 4000).unwrap();
    }
    let before = content(&disk, PATH);
    let whole = outcomes(&disk, 300, |disk| content(disk, PATH) == before);
    assert!(whole.iter().any(|(_, is_whole)| *is_whole), "everything may survive");
    file.sync_data().unwrap();
    for (_, content) in outcomes(&disk, 20, |disk| content(disk, PATH)) {
        assert!(content == before);
    }
}

/// A small generator, for the tests' own choices.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 31) % bound
    }
}
