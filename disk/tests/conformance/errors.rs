//! Errors: what they name and how they are told apart.

use revd_disk::{Access, BLOCK, Kind, Open, Operation};

use super::{Place, content, kind};

conformance!(
    errors_name_operation_file_and_offset,
    each_operation_names_itself,
    each_operation_on_a_file_names_the_offset,
    a_handle_for_reading_changes_nothing,
    a_file_that_ends_early_is_told_from_one_that_fails,
);

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

fn each_operation_names_itself(place: &Place) {
    let (disk, none) = (&place.disk, place.with_dir().join("none/none"));
    let said = [
        (disk.open(&none, Open::read()).unwrap_err(), Operation::Open, "open"),
        (disk.rename(&none, &none).unwrap_err(), Operation::Rename, "rename"),
        (disk.remove(&none).unwrap_err(), Operation::Remove, "remove"),
        (disk.list(&none).unwrap_err(), Operation::List, "list"),
        (disk.sync_dir(&none).unwrap_err(), Operation::SyncDir, "sync directory"),
        (disk.lock(&none).unwrap_err(), Operation::Lock, "lock"),
    ];
    for (error, operation, verb) in said {
        assert_eq!((error.operation(), error.path()), (operation, none.as_path()));
        assert_eq!(error.to_string(), format!("cannot {verb} {}: not found", none.display()));
    }
}

fn each_operation_on_a_file_names_the_offset(place: &Place) {
    let file = place.file("file", Access::Buffered);
    let far = u64::MAX - 4095;
    let said = [
        (file.read_at(&mut [0], far).unwrap_err(), Operation::Read),
        (file.write_at(b"x", far).unwrap_err(), Operation::Write),
        (file.allocate(far, 1).unwrap_err(), Operation::Allocate),
        (file.punch_hole(far, 1).unwrap_err(), Operation::PunchHole),
        (file.truncate(far).unwrap_err(), Operation::Truncate),
        (file.mark(far).unwrap_err(), Operation::Mark),
    ];
    for (error, operation) in said {
        assert_eq!((error.operation(), error.offset()), (operation, Some(far)), "{error}");
        assert_eq!(error.path(), place.dir.join("file"));
    }
}

fn a_handle_for_reading_changes_nothing(place: &Place) {
    place.file("file", Access::Buffered).write_at(b"content", 0).unwrap();
    let how = [Open::read(), Open::either(Access::Read)];
    for how in how {
        let file = place.disk.open(&place.dir.join("file"), how).unwrap();
        assert!(!file.is_direct());
        assert_eq!(kind(file.write_at(b"x", 0)), Kind::Io);
        assert_eq!(kind(file.write_unsynced_at(b"x", 0)), Kind::Io);
        assert_eq!(kind(file.allocate(0, 1 << 20)), Kind::Io);
        assert_eq!(kind(file.punch_hole(0, 10)), Kind::Io);
        assert_eq!(kind(file.truncate(0)), Kind::Io);
        file.sync_data().unwrap();
        assert_eq!(content(&file), b"content");
    }
    let new = place.disk.open(&place.dir.join("new"), Open::new_file(Access::Read)).unwrap();
    assert_eq!(kind(new.write_at(b"x", 0)), Kind::Io);
    assert_eq!(new.len().unwrap(), 0);
}

fn a_file_that_ends_early_is_told_from_one_that_fails(place: &Place) {
    let file = place.file("file", Access::Direct);
    file.allocate(0, BLOCK as u64).unwrap();
    let error = file.read_exact_at(&mut [0; 100], BLOCK as u64 - 10).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (Kind::UnexpectedEnd, Some(BLOCK as u64)));
    let error = file.read_exact_at(&mut [0; 100], 1 << 40).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (Kind::UnexpectedEnd, Some(1 << 40)));
}
