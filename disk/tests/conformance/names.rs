//! Names: directories, opening, renaming, removing, listing.

use revd_disk::{Access, Kind, Open};

use super::{Place, content, kind};

conformance!(
    create_dir_makes_parents_and_may_be_repeated,
    open_minds_whether_the_file_exists,
    rename_replaces,
    rename_goes_from_directory_to_directory,
    a_rename_to_itself_changes_nothing,
    what_was_replaced_stays_open,
    remove_leaves_open_handles,
    list_is_sorted_and_shallow,
    a_directory_is_no_file,
    a_file_is_no_directory,
    what_is_missing_is_not_found,
);

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

fn rename_goes_from_directory_to_directory(place: &Place) {
    let (one, two) = (place.with_dir().join("one"), place.dir.join("two"));
    place.disk.create_dir(&one).unwrap();
    place.disk.create_dir(&two).unwrap();
    let file = place.file("one/file", Access::Buffered);
    file.write_at(b"content", 0).unwrap();
    place.disk.rename(&one.join("file"), &two.join("other")).unwrap();
    place.disk.sync_dir(&one).unwrap();
    place.disk.sync_dir(&two).unwrap();
    assert_eq!(place.disk.list(&one).unwrap(), [""; 0]);
    assert_eq!(place.disk.list(&two).unwrap(), ["other"]);
    assert_eq!(content(&place.file("two/other", Access::Buffered)), b"content");
    file.write_at(b"C", 0).unwrap();
    assert_eq!(content(&place.file("two/other", Access::Buffered)), b"Content");
}

fn a_rename_to_itself_changes_nothing(place: &Place) {
    let path = place.with_dir().join("file");
    place.file("file", Access::Buffered).write_at(b"x", 0).unwrap();
    place.disk.rename(&path, &path).unwrap();
    assert_eq!(content(&place.file("file", Access::Buffered)), b"x");
}

fn what_was_replaced_stays_open(place: &Place) {
    let (old, new) = (place.file("file", Access::Buffered), place.file("new", Access::Buffered));
    old.write_at(b"old", 0).unwrap();
    new.write_at(b"new", 0).unwrap();
    place.disk.rename(&place.dir.join("new"), &place.dir.join("file")).unwrap();
    place.disk.sync_dir(&place.dir).unwrap();
    old.write_at(b"er", 3).unwrap();
    assert_eq!(content(&old), b"older");
    assert_eq!(content(&place.file("file", Access::Buffered)), b"new");
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

fn a_directory_is_no_file(place: &Place) {
    let dir = place.with_dir().join("dir");
    place.disk.create_dir(&dir).unwrap();
    place.file("file", Access::Buffered);
    let (disk, file) = (&place.disk, place.dir.join("file"));
    assert_eq!(kind(disk.open(&dir, Open::read())), Kind::Io);
    assert_eq!(kind(disk.open(&dir, Open::existing(Access::Buffered))), Kind::Io);
    assert_eq!(kind(disk.open(&dir, Open::either(Access::Direct))), Kind::Io);
    assert_eq!(kind(disk.open(&dir, Open::new_file(Access::Buffered))), Kind::Exists);
    assert_eq!(kind(disk.remove(&dir)), Kind::Io);
    assert_eq!(kind(disk.rename(&dir, &place.dir.join("other"))), Kind::Io);
    assert_eq!(kind(disk.rename(&file, &dir)), Kind::Io);
    assert_eq!(kind(disk.lock(&dir)), Kind::Io);
    assert_eq!(disk.list(&place.dir).unwrap(), ["dir", "file"]);
}

fn a_file_is_no_directory(place: &Place) {
    place.file("file", Access::Buffered);
    place.file("other", Access::Buffered);
    let (disk, file) = (&place.disk, place.dir.join("file"));
    let below = file.join("below");
    assert_eq!(kind(disk.create_dir(&file)), Kind::Exists);
    assert_eq!(kind(disk.create_dir(&below)), Kind::Exists);
    assert_eq!(kind(disk.list(&file)), Kind::Io);
    assert_eq!(kind(disk.sync_dir(&file)), Kind::Io);
    assert_eq!(kind(disk.exists(&below)), Kind::Io);
    assert_eq!(kind(disk.open(&below, Open::read())), Kind::Io);
    assert_eq!(kind(disk.open(&below, Open::new_file(Access::Buffered))), Kind::Io);
    assert_eq!(kind(disk.remove(&below)), Kind::Io);
    assert_eq!(kind(disk.rename(&below, &file)), Kind::Io);
    assert_eq!(kind(disk.rename(&place.dir.join("other"), &below)), Kind::Io);
    assert_eq!(kind(disk.lock(&below)), Kind::Io);
}

fn what_is_missing_is_not_found(place: &Place) {
    place.file("file", Access::Buffered);
    let (disk, missing) = (&place.disk, place.dir.join("missing"));
    let deep = missing.join("deep");
    for path in [&missing, &deep] {
        assert!(!disk.exists(path).unwrap());
        assert_eq!(kind(disk.open(path, Open::read())), Kind::NotFound);
        assert_eq!(kind(disk.remove(path)), Kind::NotFound);
        assert_eq!(kind(disk.rename(path, &place.dir.join("to"))), Kind::NotFound);
        assert_eq!(kind(disk.list(path)), Kind::NotFound);
        assert_eq!(kind(disk.sync_dir(path)), Kind::NotFound);
    }
    assert_eq!(kind(disk.rename(&place.dir.join("file"), &deep)), Kind::NotFound);
    assert_eq!(kind(disk.open(&deep, Open::new_file(Access::Buffered))), Kind::NotFound);
    assert_eq!(kind(disk.lock(&deep)), Kind::NotFound);
}
