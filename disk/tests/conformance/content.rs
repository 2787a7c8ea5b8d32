//! Content: reads, writes, growth, holes, lengths.

use revd_disk::{Access, BLOCK, Buffer, Kind};

use super::{Place, aligned, content, kind};

conformance!(
    what_was_written_is_read,
    reads_are_short_only_at_the_end,
    gaps_read_as_zeros,
    direct_writes_are_seen_by_reads,
    direct_and_buffered_handles_agree,
    unsynced_writes_are_seen_and_can_be_synced,
    misaligned_direct_writes_panic,
    truncate_cuts_and_grows,
    truncated_bytes_do_not_come_back,
    allocate_grows_and_takes_room,
    allocation_keeps_what_is_there,
    punch_hole_gives_room_back,
    holes_do_not_change_the_length,
    nothing_at_all_changes_nothing,
    ranges_that_cannot_be_counted_are_refused,
    threads_may_write_beside_each_other,
    sync_succeeds,
);

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
    let hint = "does the target directory lie on a file system without O_DIRECT?";
    assert_eq!(file.is_direct(), place.knows_direct, "{hint}");
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

fn unsynced_writes_are_seen_and_can_be_synced(place: &Place) {
    for access in [Access::Direct, Access::Buffered] {
        let file = place.file(&format!("{access:?}"), access);
        let mut block = Buffer::zeroed(2 * BLOCK);
        block.fill(1);
        file.write_unsynced_at(&block, 0).unwrap();
        block.fill(2);
        file.write_at(&block[..BLOCK], BLOCK as u64).unwrap();
        file.sync_data().unwrap();
        let content = content(&file);
        assert!(content[..BLOCK].iter().all(|&byte| byte == 1), "{access:?}");
        assert!(content[BLOCK..].iter().all(|&byte| byte == 2), "{access:?}");
    }
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

fn allocation_keeps_what_is_there(place: &Place) {
    let file = place.file("file", Access::Direct);
    file.write_at(&aligned(1, 1), 0).unwrap();
    file.write_at(&aligned(3, 1), 2 * BLOCK as u64).unwrap();
    file.allocate(0, 5 * BLOCK as u64).unwrap();
    file.truncate(4 * BLOCK as u64).unwrap();
    file.allocate(BLOCK as u64, 100).unwrap();
    let blocks: Vec<u8> = content(&file).chunks(BLOCK).map(|block| block[7]).collect();
    assert_eq!(blocks, [1, 0, 3, 0]);
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

fn holes_do_not_change_the_length(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(&[1; 5000], 0).unwrap();
    file.punch_hole(4990, 100_000).unwrap();
    file.punch_hole(1 << 30, 1 << 20).unwrap();
    file.punch_hole(10, 10).unwrap();
    let content = content(&file);
    assert_eq!(content.len(), 5000);
    for (at, byte) in content.into_iter().enumerate() {
        let is_hole = (10..20).contains(&at) || at >= 4990;
        assert_eq!(byte, u8::from(!is_hole), "{at}");
    }
}

/// Neither an empty write nor an empty range makes a file longer.
fn nothing_at_all_changes_nothing(place: &Place) {
    for access in [Access::Buffered, Access::Direct] {
        let file = place.file("file", access);
        file.write_at(&Buffer::zeroed(BLOCK)[..0], 10 * BLOCK as u64).unwrap();
        file.write_unsynced_at(&Buffer::zeroed(BLOCK)[..0], 10 * BLOCK as u64).unwrap();
        file.allocate(1 << 20, 0).unwrap();
        file.punch_hole(1 << 20, 0).unwrap();
        assert_eq!(file.read_at(&mut [], 1 << 20).unwrap(), 0);
        file.read_exact_at(&mut [], 1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 0);
    }
}

fn ranges_that_cannot_be_counted_are_refused(place: &Place) {
    let file = place.file("file", Access::Buffered);
    let far = u64::MAX - 4095;
    assert_eq!(kind(file.read_at(&mut [0; 10], far)), Kind::Io);
    assert_eq!(kind(file.write_at(b"x", far)), Kind::Io);
    assert_eq!(kind(file.write_unsynced_at(b"x", far)), Kind::Io);
    assert_eq!(kind(file.allocate(far, 10)), Kind::Io);
    assert_eq!(kind(file.punch_hole(far, 10)), Kind::Io);
    assert_eq!(kind(file.truncate(far)), Kind::Io);
    let direct = place.file("file", Access::Direct);
    assert_eq!(kind(direct.write_at(&aligned(1, 1), far)), Kind::Io);
    assert_eq!(file.len().unwrap(), 0);
}

fn threads_may_write_beside_each_other(place: &Place) {
    let file = place.file("file", Access::Direct);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..8_u64 {
                    let offset = (round * 4 + u64::from(thread)) * BLOCK as u64;
                    file.write_at(&aligned(thread + 1, 1), offset).unwrap();
                }
            });
        }
    });
    for (number, block) in content(&file).chunks(BLOCK).enumerate() {
        let byte = 1 + number as u8 % 4;
        assert!(block.iter().all(|&other| other == byte), "block {number}");
    }
}

fn sync_succeeds(place: &Place) {
    let file = place.file("file", Access::Buffered);
    file.write_at(b"content", 0).unwrap();
    file.sync_data().unwrap();
    place.disk.sync_dir(&place.dir).unwrap();
    place.file("file", Access::Direct).sync_data().unwrap();
}
