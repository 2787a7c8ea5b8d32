//! Mappings: they show what positional reads show, after every kind of change.

use std::sync::Arc;

use revd_disk::{Access, BLOCK, File, Mapping};

use super::{Place, aligned, content};

conformance!(
    mapping_shows_later_writes_and_growth,
    mappings_agree_with_reads_after_every_change,
    mappings_agree_with_reads_through_other_handles,
    a_mapping_outlives_handle_and_name,
    a_mapping_of_nothing_is_possible,
    a_mapping_too_large_is_refused,
);

/// Room for everything that these tests write.
const LEN: u64 = 1 << 20;

/// What reads and mappings show is the same, up to the end of the file. Behind it, but within its
/// last page, a mapping shows zeros.
fn agree(file: &Arc<dyn File>, mappings: &[Mapping], after: &str) {
    let content = content(file);
    for (number, mapping) in mappings.iter().enumerate() {
        let len = content.len().min(mapping.len() as usize);
        // SAFETY: the file reaches so far, and nobody changes it while the slice lives.
        let mapped = unsafe { mapping.slice(0, len) };
        assert!(mapped == &content[..len], "mapping {number} after {after}");
    }
}

fn mapping_shows_later_writes_and_growth(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"first", 0).unwrap();
    let mapping = file.map(1 << 30).unwrap();
    assert_eq!((mapping.len(), mapping.is_empty()), (1 << 30, false));
    // SAFETY: these bytes are not written again while the slice lives.
    let first = unsafe { mapping.slice(0, 5) };
    assert_eq!(first, b"first");
    let address = first.as_ptr();
    let later = file.map(LEN).unwrap();
    file.write_at(b"second", 10 * BLOCK as u64).unwrap();
    for mapping in [mapping.clone(), mapping.clone(), later] {
        // SAFETY: as above.
        assert_eq!(unsafe { mapping.slice(10 * BLOCK as u64, 6) }, b"second");
        // SAFETY: as above.
        assert_eq!(unsafe { mapping.slice(5 * BLOCK as u64, 3) }, [0; 3]);
    }
    // SAFETY: as above.
    assert_eq!(unsafe { mapping.slice(0, 5) }.as_ptr(), address, "a mapping stays where it is");
}

fn mappings_agree_with_reads_after_every_change(place: &Place) {
    let (direct, buffered) =
        (place.file("file", Access::Direct), place.file("file", Access::Buffered));
    let block = BLOCK as u64;
    // Some mappings are there before each change, and one comes after each.
    let mut mappings = vec![direct.map(LEN).unwrap(), buffered.map(LEN / 2).unwrap()];
    let mut check = |after| {
        mappings.push(direct.map(LEN).unwrap());
        mappings.push(buffered.map(3 * block).unwrap());
        agree(&direct, &mappings, after);
        agree(&buffered, &mappings, after);
    };
    check("nothing");
    buffered.write_at(&[1; 10_000], 5).unwrap();
    check("a write");
    direct.write_at(&aligned(2, 2), block).unwrap();
    check("a direct write over a cached one");
    buffered.write_at(&[3; 100], block + 50).unwrap();
    check("a write over a direct one");
    direct.write_unsynced_at(&aligned(4, 1), 5 * block).unwrap();
    check("an unsynced direct write behind the end");
    direct.allocate(4 * block, 20 * block).unwrap();
    check("an allocation");
    direct.write_at(&aligned(5, 3), 20 * block).unwrap();
    check("a direct write into allocated room");
    buffered.punch_hole(block + 10, 6 * block).unwrap();
    check("a hole");
    direct.write_at(&aligned(6, 1), 3 * block).unwrap();
    check("a write into a hole");
    buffered.truncate(3 * block + 100).unwrap();
    check("a cut");
    direct.truncate(30 * block).unwrap();
    check("growth after a cut");
    buffered.sync_data().unwrap();
    check("a sync");
    buffered.write_at(&[7; 3], 100 * block).unwrap();
    check("a write far behind the end");
}

fn mappings_agree_with_reads_through_other_handles(place: &Place) {
    let writer = place.file("file", Access::Direct);
    let reader = place.disk.open(&place.dir.join("file"), revd_disk::Open::read()).unwrap();
    let mappings = [reader.map(LEN).unwrap(), writer.map(LEN).unwrap()];
    for round in 1..40_u8 {
        let offset = u64::from(round) * 37 % 60 * BLOCK as u64;
        writer.write_at(&aligned(round, 1 + usize::from(round) % 3), offset).unwrap();
        agree(&reader, &mappings, &format!("round {round}"));
    }
}

fn a_mapping_outlives_handle_and_name(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"content", 0).unwrap();
    let mapping = file.map(LEN).unwrap();
    drop(file);
    place.disk.remove(&place.dir.join("file")).unwrap();
    place.disk.sync_dir(&place.dir).unwrap();
    // SAFETY: no name and no handle leads to these bytes any more.
    assert_eq!(unsafe { mapping.slice(0, 7) }, b"content");
}

fn a_mapping_of_nothing_is_possible(place: &Place) {
    let mapping = place.file("file", Access::Buffered).map(0).unwrap();
    // SAFETY: no byte is looked at.
    assert_eq!(unsafe { mapping.slice(0, 0) }, []);
}

fn a_mapping_too_large_is_refused(place: &Place) {
    let file = place.file("file", Access::Buffered);
    for len in [1 << 62, u64::MAX] {
        let error = file.map(len).unwrap_err();
        assert_eq!(error.operation(), revd_disk::Operation::Map, "{error}");
    }
}
