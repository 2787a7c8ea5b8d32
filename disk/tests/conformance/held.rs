//! What a handle holds: locks and marks.

use revd_disk::{Access, Kind, Lock, Open, Operation};

use super::Place;

conformance!(
    locks_exclude_and_are_released,
    a_lock_is_the_file_s_and_not_the_name_s,
    a_lock_does_not_hinder_reads_and_writes,
    marks_are_seen_by_other_handles_only,
    a_mark_moves_and_goes_with_its_handle,
    marks_need_neither_bytes_nor_the_right_to_write,
    a_mark_is_the_file_s_and_not_the_name_s,
    many_handles_may_mark_the_same_number,
);

fn locks_exclude_and_are_released(place: &Place) {
    let path = place.with_dir().join("lock");
    let held: Lock = place.disk.lock(&path).unwrap();
    assert!(place.disk.lock(&path).unwrap_err().is_locked());
    drop(held);
    let again = place.disk.lock(&path).unwrap();
    drop(again);
}

fn a_lock_is_the_file_s_and_not_the_name_s(place: &Place) {
    let (one, two) = (place.with_dir().join("one"), place.dir.join("two"));
    let held = place.disk.lock(&one).unwrap();
    place.disk.rename(&one, &two).unwrap();
    assert!(place.disk.lock(&two).unwrap_err().is_locked());
    let other = place.disk.lock(&one).unwrap();
    drop(held);
    let again = place.disk.lock(&two).unwrap();
    place.disk.remove(&two).unwrap();
    drop((other, again));
    assert_eq!(place.disk.list(&place.dir).unwrap(), ["one"]);
}

fn a_lock_does_not_hinder_reads_and_writes(place: &Place) {
    let lock = place.disk.lock(&place.with_dir().join("file")).unwrap();
    let file = place.file("file", Access::Buffered);
    file.write_at(b"content", 0).unwrap();
    file.mark(3).unwrap();
    assert_eq!(super::content(&file), b"content");
    drop(lock);
}

fn marks_are_seen_by_other_handles_only(place: &Place) {
    let (one, two) = (place.file("file", Access::Buffered), place.file("file", Access::Direct));
    assert!(!two.is_marked(0..u64::MAX).unwrap());
    one.mark(7).unwrap();
    assert!(!one.is_marked(0..u64::MAX).unwrap(), "a mark of one's own");
    let ranges = [(0..7, false), (0..8, true), (7..8, true), (8..99, false), (7..7, false)];
    for (range, is_marked) in ranges.clone() {
        assert_eq!(two.is_marked(range.clone()).unwrap(), is_marked, "{range:?}");
    }
    two.mark(7).unwrap();
    assert!(one.is_marked(7..8).unwrap());
    assert!(!place.file("other", Access::Buffered).is_marked(0..u64::MAX).unwrap());
}

fn a_mark_moves_and_goes_with_its_handle(place: &Place) {
    let (one, two) = (place.file("file", Access::Buffered), place.file("file", Access::Buffered));
    for at in [5, 6, 6, 1 << 40, 0] {
        one.mark(at).unwrap();
        assert!(two.is_marked(at..at + 1).unwrap(), "{at}");
        assert!(!two.is_marked(0..at).unwrap(), "{at}");
        assert!(!two.is_marked(at + 1..u64::MAX).unwrap(), "{at}");
    }
    drop(one);
    assert!(!two.is_marked(0..u64::MAX).unwrap());
}

fn marks_need_neither_bytes_nor_the_right_to_write(place: &Place) {
    let writer = place.file("file", Access::Direct);
    let reader = place.disk.open(&place.dir.join("file"), Open::read()).unwrap();
    let last = i64::MAX as u64 - 1;
    reader.mark(last).unwrap();
    assert!(writer.is_marked(last..last + 1).unwrap());
    assert!(!writer.is_marked(0..last).unwrap());
    assert_eq!(writer.len().unwrap(), 0);
    let error = reader.mark(last + 1).unwrap_err();
    assert_eq!((error.operation(), error.kind()), (Operation::Mark, Kind::Io));
    assert!(writer.is_marked(last..last + 1).unwrap(), "a failed move leaves the mark");
    writer.mark(3).unwrap();
    assert!(reader.is_marked(3..4).unwrap());
}

fn a_mark_is_the_file_s_and_not_the_name_s(place: &Place) {
    let (one, other) = (place.file("one", Access::Buffered), place.file("one", Access::Buffered));
    one.mark(3).unwrap();
    place.disk.rename(&place.dir.join("one"), &place.dir.join("two")).unwrap();
    assert!(other.is_marked(3..4).unwrap());
    assert!(place.file("two", Access::Direct).is_marked(3..4).unwrap());
    assert!(!place.file("one", Access::Direct).is_marked(3..4).unwrap());
    place.disk.remove(&place.dir.join("two")).unwrap();
    assert!(other.is_marked(3..4).unwrap());
}

fn many_handles_may_mark_the_same_number(place: &Place) {
    let writer = place.file("file", Access::Direct);
    let readers: Vec<_> = (0..5).map(|_| place.file("file", Access::Buffered)).collect();
    for reader in &readers {
        reader.mark(8).unwrap();
    }
    for reader in readers {
        assert!(writer.is_marked(8..9).unwrap());
        drop(reader);
    }
    assert!(!writer.is_marked(8..9).unwrap());
}
