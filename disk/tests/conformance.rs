//! What every disk promises, asked of the real one and of the simulated one.

#![expect(unsafe_code, reason = "looks at slices of mappings")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, File, Kind, Lock, Open, Real, Sim};

/// A disk, and a directory on it that goes when the test ends.
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _dir_guard: Option<tempfile::TempDir>,
}

fn real() -> Place {
    // The target directory lies on a real disk, which /tmp often does not.
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Place { disk: Arc::new(Real::new()), dir: guard.path().join("store"), _dir_guard: Some(guard) }
}

fn simulated() -> Place {
    Place { disk: Arc::new(Sim::new(7)), dir: PathBuf::from("/data/store"), _dir_guard: None }
}

/// Runs each claim on both disks.
macro_rules! conformance {
    ($($claim:ident),* $(,)?) => {
        mod of_real {
            $(#[test] fn $claim() { super::$claim(&super::real()); })*
        }
        mod of_sim {
            $(#[test] fn $claim() { super::$claim(&super::simulated()); })*
        }
    };
}

conformance!(
    create_dir_makes_parents_and_may_be_repeated,
    open_minds_whether_the_file_exists,
    what_was_written_is_read,
    reads_are_short_only_at_the_end,
    gaps_read_as_zeros,
    direct_writes_are_seen_by_reads,
    direct_and_buffered_handles_agree,
    misaligned_direct_writes_panic,
    truncate_cuts_and_grows,
    truncated_bytes_do_not_come_back,
    allocate_grows_and_takes_room,
    punch_hole_gives_room_back,
    rename_replaces,
    remove_leaves_open_handles,
    list_is_sorted_and_shallow,
    locks_exclude_and_are_released,
    mapping_shows_later_writes_and_growth,
    errors_name_operation_file_and_offset,
    sync_succeeds,
    random_operations_match_a_vector,
);

impl Place {
    fn with_dir(&self) -> &Path {
        self.disk.create_dir(&self.dir).unwrap();
        &self.dir
    }

    fn file(&self, name: &str, access: Access) -> Arc<dyn File> {
        self.disk.open(&self.with_dir().join(name), Open::either(access)).unwrap()
    }
}

fn content(file: &Arc<dyn File>) -> Vec<u8> {
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

fn aligned(byte: u8, blocks: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(blocks * BLOCK);
    buffer.fill(byte);
    buffer
}

fn kind<T: Debug>(result: Result<T, revd_disk::Error>) -> Kind {
    result.unwrap_err().kind()
}

fn create_dir_makes_parents_and_may_be_repeated(place: &Place) {
    let deep = place.dir.join("a/b");
    assert!(!place.disk.exists(&deep).unwrap());
    place.disk.create_dir(&deep).unwrap();
    place.disk.create_dir(&deep).unwrap();
    assert!(place.disk.exists(&deep).unwrap());
    assert!(place.disk.exists(&place.dir).unwrap());
}

fn open_minds_whether_the_file_exists(place: &Place) {
    let path = place.with_dir().join("file");
    let disk = &place.disk;
    assert_eq!(kind(disk.open(&path, Open::read())), Kind::NotFound);
    assert_eq!(kind(disk.open(&path, Open::existing(Access::Direct))), Kind::NotFound);
    assert!(!disk.exists(&path).unwrap());
    disk.open(&path, Open::new_file(Access::Direct)).unwrap().sync_data().unwrap();
    assert_eq!(kind(disk.open(&path, Open::new_file(Access::Buffered))), Kind::Exists);
    assert!(disk.open(&path, Open::either(Access::Buffered)).unwrap().is_empty().unwrap());
    let orphan = place.dir.join("missing/file");
    assert_eq!(kind(disk.open(&orphan, Open::either(Access::Buffered))), Kind::NotFound);
}

fn what_was_written_is_read(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"hello world", 0).unwrap();
    file.write_at(b"W", 6).unwrap();
    assert_eq!(content(&file), b"hello World");
    assert!(!file.is_direct());
}

fn reads_are_short_only_at_the_end(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(&[7; 5000], 0).unwrap();
    let mut buf = [0; 6000];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5000);
    assert_eq!(file.read_at(&mut buf, 4999).unwrap(), 1);
    assert_eq!(file.read_at(&mut buf, 5000).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(kind(file.read_exact_at(&mut buf, 0)), Kind::UnexpectedEnd);
}

fn gaps_read_as_zeros(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"x", 3 * BLOCK as u64).unwrap();
    let content = content(&file);
    assert_eq!(content.len(), 3 * BLOCK + 1);
    assert!(content[..3 * BLOCK].iter().all(|&byte| byte == 0));
}

fn direct_writes_are_seen_by_reads(place: &Place) {
    let file = place.file("file", Access::Direct);
    assert!(file.is_direct(), "the target directory lies on a file system without O_DIRECT");
    file.allocate(0, 64 * BLOCK as u64).unwrap();
    for round in 1..50_u8 {
        let offset = u64::from(round % 13) * BLOCK as u64;
        file.write_at(&aligned(round, 1 + usize::from(round) % 3), offset).unwrap();
        let mut buf = [0; 10];
        file.read_exact_at(&mut buf, offset + 3).unwrap();
        assert_eq!(buf, [round; 10], "round {round}");
    }
}

fn direct_and_buffered_handles_agree(place: &Place) {
    let direct = place.file("file", Access::Direct);
    let buffered = place.file("file", Access::Buffered);
    buffered.write_at(&[1; 3 * BLOCK], 0).unwrap();
    direct.write_at(&aligned(2, 1), BLOCK as u64).unwrap();
    let mut buf = [0; 3];
    buffered.read_exact_at(&mut buf, BLOCK as u64).unwrap();
    assert_eq!(buf, [2; 3]);
    direct.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(buf, [1; 3]);
}

fn misaligned_direct_writes_panic(place: &Place) {
    let file = place.file("file", Access::Direct);
    let buffer = aligned(1, 2);
    for (from, to, offset) in [(1, 1 + BLOCK, 0), (0, BLOCK, 1), (0, 100, 0)] {
        let write = || file.write_at(&buffer[from..to], offset);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(write));
        assert!(outcome.is_err(), "{from}..{to} at {offset}");
    }
}

fn truncate_cuts_and_grows(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(&[1; 5000], 0).unwrap();
    file.truncate(100).unwrap();
    assert_eq!(content(&file), [1; 100]);
    file.truncate(200).unwrap();
    assert_eq!(content(&file)[100..], [0; 100]);
    assert_eq!(file.len().unwrap(), 200);
}

fn truncated_bytes_do_not_come_back(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(&[1; 3 * BLOCK], 0).unwrap();
    file.truncate(10).unwrap();
    file.sync_data().unwrap();
    file.truncate(3 * BLOCK as u64).unwrap();
    assert!(content(&file)[10..].iter().all(|&byte| byte == 0));
}

fn allocate_grows_and_takes_room(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"kept", 0).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    assert!(file.allocated().unwrap() >= 1 << 20);
    let content = content(&file);
    assert_eq!(&content[..4], b"kept");
    assert!(content[4..].iter().all(|&byte| byte == 0));
    file.allocate(0, 4096).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
}

fn punch_hole_gives_room_back(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(&vec![1; 1 << 20], 0).unwrap();
    file.sync_data().unwrap();
    let before = file.allocated().unwrap();
    file.punch_hole(64 << 10, 512 << 10).unwrap();
    file.sync_data().unwrap();
    assert!(file.allocated().unwrap() <= before - (512 << 10));
    let content = content(&file);
    assert_eq!(content.len(), 1 << 20);
    assert!(content[..64 << 10].iter().all(|&byte| byte == 1));
    assert!(content[64 << 10..576 << 10].iter().all(|&byte| byte == 0));
    assert!(content[576 << 10..].iter().all(|&byte| byte == 1));
}

fn rename_replaces(place: &Place) {
    let (one, two) = (place.with_dir().join("one"), place.dir.join("two"));
    let disk = &place.disk;
    place.file("one", Access::Buffered).write_at(b"1", 0).unwrap();
    place.file("two", Access::Buffered).write_at(b"22", 0).unwrap();
    disk.rename(&one, &two).unwrap();
    assert!(!disk.exists(&one).unwrap());
    assert_eq!(content(&disk.open(&two, Open::read()).unwrap()), b"1");
    assert_eq!(kind(disk.rename(&one, &two)), Kind::NotFound);
}

fn remove_leaves_open_handles(place: &Place) {
    let path = place.with_dir().join("file");
    let file = place.file("file", Access::Buffered);
    file.write_at(b"still here", 0).unwrap();
    place.disk.remove(&path).unwrap();
    place.disk.sync_dir(&place.dir).unwrap();
    assert!(!place.disk.exists(&path).unwrap());
    assert_eq!(content(&file), b"still here");
    assert_eq!(kind(place.disk.remove(&path)), Kind::NotFound);
    assert!(place.file("file", Access::Buffered).is_empty().unwrap());
}

fn list_is_sorted_and_shallow(place: &Place) {
    for name in ["b", "c", "a"] {
        place.file(name, Access::Buffered);
    }
    place.disk.create_dir(&place.dir.join("sub/deeper")).unwrap();
    assert_eq!(place.disk.list(&place.dir).unwrap(), ["a", "b", "c", "sub"]);
    assert_eq!(kind(place.disk.list(&place.dir.join("missing"))), Kind::NotFound);
}

fn locks_exclude_and_are_released(place: &Place) {
    let path = place.with_dir().join("lock");
    let held: Lock = place.disk.lock(&path).unwrap();
    assert!(place.disk.lock(&path).unwrap_err().is_locked());
    drop(held);
    let again = place.disk.lock(&path).unwrap();
    drop(again);
}

fn mapping_shows_later_writes_and_growth(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"first", 0).unwrap();
    let mapping = file.map(1 << 30).unwrap();
    assert_eq!(mapping.len(), 1 << 30);
    // SAFETY: these bytes are not written again while the slice lives.
    assert_eq!(unsafe { mapping.slice(0, 5) }, b"first");
    let later = file.map(1 << 20).unwrap();
    file.write_at(b"second", 10 * BLOCK as u64).unwrap();
    for mapping in [mapping.clone(), mapping, later] {
        // SAFETY: as above.
        assert_eq!(unsafe { mapping.slice(10 * BLOCK as u64, 6) }, b"second");
        // SAFETY: as above.
        assert_eq!(unsafe { mapping.slice(5 * BLOCK as u64, 3) }, [0; 3]);
    }
}

fn errors_name_operation_file_and_offset(place: &Place) {
    let path = place.with_dir().join("none");
    let error = place.disk.open(&path, Open::read()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}: not found", path.display()));
    assert!(error.is_not_found());
    let file = place.file("file", Access::Buffered);
    file.write_at(b"12345", 0).unwrap();
    let error = file.read_exact_at(&mut [0; 10], 2).unwrap_err();
    let path = place.dir.join("file");
    let text = format!("cannot read {} at offset 5: the file ends before", path.display());
    assert_eq!(error.to_string(), text);
    assert_eq!((error.path(), error.offset()), (path.as_path(), Some(5)));
}

fn sync_succeeds(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"content", 0).unwrap();
    file.sync_data().unwrap();
    place.disk.sync_dir(&place.dir).unwrap();
    place.file("file", Access::Direct).sync_data().unwrap();
}

/// The plainest model: a vector of bytes.
fn random_operations_match_a_vector(place: &Place) {
    let file = place.file("file", Access::Buffered);
    let mut model: Vec<u8> = Vec::new();
    let mut state = 42_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % bound
    };
    for round in 0..1500_u64 {
        let (offset, len) = (below(60_000), below(9_000));
        let range = offset as usize..(offset + len) as usize;
        match below(8) {
            0 => {
                file.truncate(offset).unwrap();
                model.resize(offset as usize, 0);
            }
            1 => {
                file.punch_hole(offset, len + 1).unwrap();
                let end = (range.end + 1).min(model.len());
                model.get_mut(range.start..end).into_iter().for_each(|hole| hole.fill(0));
            }
            2 => {
                file.allocate(offset, len + 1).unwrap();
                model.resize(model.len().max(range.end + 1), 0);
            }
            3 => file.sync_data().unwrap(),
            _ => {
                file.write_at(&vec![round as u8; range.len()], offset).unwrap();
                if !range.is_empty() {
                    model.resize(model.len().max(range.end), 0);
                    model[range].fill(round as u8);
                }
            }
        }
        assert_eq!(file.len().unwrap(), model.len() as u64, "round {round}");
        if round % 10 == 0 {
            assert!(content(&file) == model, "round {round}");
        }
    }
}
