//! Group 7: compaction and HashKV.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use revd_mvcc::{Range, ReadError, Rejected, Revision};

use crate::key_space::{KeySpace, all, put, range, rejected};

/// A record: main, sub, key, and create revision and version unless it is a tombstone. Values are
/// empty.
type Stored<'a> = (i64, u64, &'a str, Option<(i64, i64)>);

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// What HashKV must be over these records (rules 1.10 and 7.15); all numbers below 128.
pub(crate) fn hash_of(stored: &[Stored<'_>]) -> u32 {
    let mut covered = b"key".to_vec();
    for (main, sub, key, put) in stored {
        covered.extend(main.to_be_bytes());
        covered.push(b'_');
        covered.extend(sub.to_be_bytes());
        if put.is_none() {
            covered.push(b't');
        }
        covered.extend([0x0a, key.len() as u8]);
        covered.extend(key.bytes());
        if let Some((create, version)) = put {
            covered.extend([0x10, *create as u8, 0x18, *main as u8, 0x20, *version as u8]);
        }
    }
    crc32c(&covered)
}

#[test]
fn rule_1_10_the_stored_form_that_is_hashed() {
    let mut space = KeySpace::new();
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    space.put("a", "");
    space.delete("a", "");
    let stored = [(2, 0, "a", Some((2, 1))), (3, 0, "a", None)];
    assert_eq!(space.view.hash_kv(3).unwrap().hash, hash_of(&stored));
    assert_eq!(space.view.hash_kv(2).unwrap().hash, hash_of(&stored[..1]));
    assert_eq!(space.view.hash_kv(1).unwrap().hash, hash_of(&[]));
}

#[test]
fn rule_7_1_bounds_of_a_compaction() {
    let mut space = KeySpace::new();
    for _ in 0..4 {
        space.put("a", "");
    }
    assert_eq!(space.compact(6), Err(Rejected::FutureRevision));
    assert_eq!(space.compact(3), Ok(Revision(5)));
    assert_eq!(space.compact(3), Err(Rejected::Compacted));
    assert_eq!(space.compact(2), Err(Rejected::Compacted));
    assert_eq!(space.compact(5), Ok(Revision(5)));
}

#[test]
fn rule_7_9_a_compaction_answers_with_the_newest_revision() {
    let mut space = KeySpace::new();
    for _ in 0..4 {
        space.put("a", "");
    }
    assert_eq!(space.store.compact(3).unwrap(), Ok(Revision(5)));
    assert_eq!(space.store.revision(), Revision(5));
}

#[test]
fn rule_7_2_compacting_to_zero_once() {
    let mut space = KeySpace::new();
    assert_eq!(space.compact(-1), Err(Rejected::Compacted));
    assert_eq!(space.compact(0), Ok(Revision(1)));
    assert_eq!(space.view.compacted(), 0);
    assert_eq!(space.compact(0), Err(Rejected::Compacted));
    space.sweep_all();
    assert_eq!(space.store.finished(), 0);
}

#[test]
fn rule_7_3_the_floor_is_durable() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("a", "");
    space.compact(3).unwrap();
    let mut space = space.reopen();
    assert_eq!(space.view.compacted(), 3);
    assert_eq!(space.refused(&Range { revision: 2, ..all() }), Rejected::Compacted);
    space.sweep_all();
    let space = space.reopen();
    assert_eq!((space.store.finished(), space.store.is_compacting()), (3, false));
}

#[test]
fn rule_7_4_reads_below_the_floor_fail_at_once() {
    let mut space = KeySpace::new();
    for value in ["1", "2", "3"] {
        space.put("a", value);
    }
    space.store.compact(3).unwrap().unwrap();
    assert!(space.get_at("a", 2).is_some(), "not published yet");
    space.store.publish();
    assert_eq!(space.refused(&Range { revision: 2, ..all() }), Rejected::Compacted);
    assert_eq!(&space.get_at("a", 3).unwrap().value[..], b"2");
}

#[test]
fn rule_7_5_what_compaction_keeps() {
    let mut space = KeySpace::new();
    space.put("kept", "1");
    space.put("kept", "2");
    space.put("gone", "");
    space.delete("gone", "");
    space.put("at", "");
    space.delete("at", "");
    space.put("late", "");
    space.compact(7).unwrap();
    space.sweep_all();
    assert_eq!(space.keys(&Range { revision: 7, ..all() }), ["kept"]);
    assert_eq!(&space.get("kept").unwrap().value[..], b"2");
    assert_eq!(space.get("kept").unwrap().version, 2);
    // "gone" has left the index; of "at" the tombstone of the floor's own revision is kept.
    let stats = space.store.stats();
    assert_eq!((stats.keys, stats.spare), (2, 1));
    space.compact(8).unwrap();
    space.sweep_all();
    let stats = space.store.stats();
    assert_eq!((stats.keys, stats.spare), (2, 0));
    let stats = space.reopen().store.stats();
    assert_eq!((stats.keys, stats.spare), (2, 0));
}

#[test]
fn rule_7_7_sweeps_remove_records_and_give_room_back() {
    let mut space = KeySpace::new();
    let value = "v".repeat(3_000);
    for round in 0..40 {
        for key in 0..50 {
            space.store.put(&put(&format!("k{key:02}"), &value)).unwrap().unwrap();
        }
        space.store.publish();
        if round % 4 == 0 {
            space.checkpoint();
        }
    }
    space.checkpoint();
    let before = space.store.stats();
    let hash = |space: &KeySpace| space.view.hash_kv(0).unwrap();
    let revision = space.revision();
    space.compact(revision).unwrap();
    space.put("k00", "changed");
    let hash_before = hash(&space);
    space.sweep_all();
    space.checkpoint();
    let after = space.store.stats();
    assert!(
        after.tree.used_bytes < before.tree.used_bytes / 5,
        "used {} then {}",
        before.tree.used_bytes,
        after.tree.used_bytes
    );
    assert_eq!(after.spare, 1);
    assert_eq!(hash(&space), hash_before);
    assert_eq!(space.range(&all()).count, 50);
    space.store.verify().unwrap();
    let space = space.reopen();
    assert_eq!(space.range(&all()).count, 50);
    assert_eq!(hash(&space), hash_before);
}

#[test]
fn rule_7_8_an_interrupted_compaction_is_resumed() {
    let mut space = KeySpace::new();
    for number in 0..2_000 {
        space.put(&format!("k{}", number % 20), &"v".repeat(500));
    }
    space.checkpoint();
    space.compact(space.revision()).unwrap();
    space.checkpoint();
    let job = space.store.sweep().unwrap();
    space.store.swept(job.run().unwrap()).unwrap();
    let mut space = space.reopen();
    assert!(space.store.is_compacting());
    assert_eq!(space.store.stats().spare, 0, "the index starts out compacted");
    space.sweep_all();
    assert_eq!(space.store.finished(), space.revision());
    assert_eq!(space.range(&all()).count, 20);
    space.store.verify().unwrap();
}

#[test]
fn rule_7_15_7_16_the_filter_is_by_the_hashed_revision() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("b", "");
    space.put("b", "");
    space.compact(4).unwrap();
    space.put("a", "");
    // Opened again, it remembers no hash (7.19).
    for _ in 0..3 {
        let stored = [(4, 0, "b", Some((3, 2))), (5, 0, "a", Some((2, 2)))];
        assert_eq!(space.view.hash_kv(5).unwrap().hash, hash_of(&stored));
        let stored = [(2, 0, "a", Some((2, 1))), (4, 0, "b", Some((3, 2)))];
        assert_eq!(space.view.hash_kv(4).unwrap().hash, hash_of(&stored));
        assert!(space.get_at("a", 4).is_some());
        space.sweep_all();
        space = space.reopen();
    }
}

#[test]
fn rule_7_15_without_live_keys_the_filter_is_off() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("b", "");
    space.delete("b", "");
    space.compact(4).unwrap();
    space.delete("a", "");
    for _ in 0..2 {
        let stored = [(2, 0, "a", Some((2, 1))), (5, 0, "a", None)];
        assert_eq!(space.view.hash_kv(5).unwrap().hash, hash_of(&stored), "b's tombstone aside");
        space.sweep_all();
    }
}

#[test]
fn rule_7_17_what_a_hash_is_answered_with() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("a", "");
    let hashed = space.view.hash_kv(0).unwrap();
    assert_eq!((hashed.compact_revision, hashed.hash_revision), (-1, 3));
    space.compact(2).unwrap();
    let hashed = space.view.hash_kv(2).unwrap();
    assert_eq!((hashed.compact_revision, hashed.hash_revision), (2, 2));
}

#[test]
fn rule_7_18_revisions_that_cannot_be_hashed() {
    let mut space = KeySpace::new();
    for _ in 0..3 {
        space.put("a", "");
    }
    space.compact(3).unwrap();
    assert_eq!(rejected(space.view.hash_kv(2)), Rejected::Compacted);
    assert!(space.view.hash_kv(3).is_ok());
    assert_eq!(rejected(space.view.hash_kv(5)), Rejected::FutureRevision);
}

#[test]
fn rule_7_19_the_hash_of_a_compaction_is_remembered() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("a", "");
    space.put("b", "");
    let before = space.view.hash_kv(3).unwrap();
    space.compact(3).unwrap();
    assert_eq!(space.view.hash_kv(3).unwrap().compact_revision, 3, "not before it is finished");
    space.sweep_all();
    assert_eq!(space.view.hash_kv(3).unwrap(), before, "with the floor before, and its records");
    space.put("a", "");
    space.delete("b", "");
    space.compact(6).unwrap();
    space.sweep_all();
    // b's tombstone at the floor is what compaction keeps of it; of the records up to the floor
    // before, a@3 is not among what is kept at 6.
    let stored = [(4, 0, "b", Some((4, 1))), (5, 0, "a", Some((2, 3))), (6, 0, "b", None)];
    let hashed = space.view.hash_kv(6).unwrap();
    assert_eq!((hashed.compact_revision, hashed.hash_revision), (3, 6));
    assert_eq!(hashed.hash, hash_of(&stored));
    assert_eq!(space.view.hash_kv(3).unwrap(), before, "although 3 is compacted now");
    let space = space.reopen();
    assert_eq!(rejected(space.view.hash_kv(3)), Rejected::Compacted);
    assert_eq!(space.view.hash_kv(6).unwrap().compact_revision, 6);
}

#[test]
fn rule_7_19_ten_hashes_are_remembered() {
    let mut space = KeySpace::new();
    for revision in 2..=13 {
        space.put("a", "");
        space.compact(revision).unwrap();
        space.sweep_all();
    }
    for revision in 2..=13 {
        let hashed = space.view.hash_kv(revision);
        if revision < 4 {
            assert_eq!(rejected(hashed), Rejected::Compacted, "{revision}");
        } else {
            assert_eq!(hashed.unwrap().compact_revision, revision - 1, "{revision}");
        }
    }
}

#[test]
fn rule_7_19_a_tombstone_at_the_floor_is_something_kept() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.compact(2).unwrap();
    space.sweep_all();
    space.delete("a", "");
    let live = space.view.hash_kv(3).unwrap();
    assert_eq!(live.hash, hash_of(&[(2, 0, "a", Some((2, 1))), (3, 0, "a", None)]));
    space.compact(3).unwrap();
    space.sweep_all();
    assert_eq!(space.view.hash_kv(3).unwrap().hash, hash_of(&[(3, 0, "a", None)]));
}

#[test]
fn rule_7_19_an_interrupted_compaction_leaves_no_hash() {
    let mut space = KeySpace::new();
    for number in 0..200 {
        space.put(&format!("k{}", number % 20), "");
    }
    space.compact(100).unwrap();
    let mut space = space.reopen();
    space.sweep_all();
    assert_eq!(space.view.hash_kv(100).unwrap().compact_revision, 100);
}

#[test]
fn a_compaction_that_overtakes_a_hash_goes_without_and_sweeps() {
    let written = || {
        let mut space = KeySpace::new();
        for number in 0..2_000 {
            space.put(&format!("k{}", number % 20), &"v".repeat(500));
        }
        space
    };
    let (mut space, mut calm) = (written(), written());
    space.compact(1_000).unwrap();
    let job = space.store.sweep().unwrap();
    space.store.swept(job.run().unwrap()).unwrap();
    space.compact(1_500).unwrap();
    let job = space.store.sweep().unwrap();
    space.compact(1_600).unwrap();
    space.store.swept(job.run().unwrap()).unwrap();
    space.sweep_all();
    for revision in [1_500, 1_600] {
        calm.compact(revision).unwrap();
        calm.sweep_all();
    }
    for forgotten in [1_000, 1_500] {
        assert_eq!(rejected(space.view.hash_kv(forgotten)), Rejected::Compacted);
    }
    let hashed = space.view.hash_kv(1_600).unwrap();
    assert_eq!(hashed.compact_revision, 1_500);
    assert_eq!(hashed, calm.view.hash_kv(1_600).unwrap());
    space.store.verify().unwrap();
}

#[test]
fn rule_7_20_equal_data_give_equal_hashes_however_far_sweeps_are() {
    let history = |space: &mut KeySpace| {
        for number in 0..300 {
            let key = format!("k{}", number * 7 % 13);
            if number % 5 == 0 {
                space.delete(&key, "");
            } else {
                space.put(&key, &number.to_string());
            }
        }
    };
    let (mut swept, mut unswept) = (KeySpace::new(), KeySpace::new());
    history(&mut swept);
    history(&mut unswept);
    swept.compact(150).unwrap();
    unswept.compact(150).unwrap();
    swept.sweep_all();
    let swept = swept.reopen();
    for revision in 150..=swept.revision() {
        let hashes = [&swept, &unswept].map(|space| space.view.hash_kv(revision).unwrap());
        assert_eq!(hashes[0], hashes[1], "at {revision}");
    }
}

#[test]
fn a_reader_that_a_sweep_passes_gets_its_answer_or_compacted() {
    let mut space = KeySpace::new();
    for number in 0..500 {
        space.put(&format!("k{}", number % 5), &"v".repeat(300));
    }
    space.checkpoint();
    let view = space.view.clone();
    let (done, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Relaxed) {
                let revision = view.revision().0;
                for at in [revision, revision - 20] {
                    match view.range(&Range { revision: at, ..range("k", "l") }) {
                        Ok(found) => assert_eq!((found.count, found.returned), (5, 5)),
                        Err(ReadError::Rejected(Rejected::Compacted)) => {}
                        Err(other) => panic!("at {at}: {other}"),
                    }
                    answers.fetch_add(1, Relaxed);
                }
            }
        });
        let mut round = 0;
        while round < 60 || (answers.load(Relaxed) < 1_000 && !reader.is_finished()) {
            for key in 0..5 {
                space.put(&format!("k{key}"), &"w".repeat(300 + round % 100));
            }
            if round % 2 == 0 {
                space.compact(space.revision() - 10).unwrap();
                space.sweep_all();
            }
            round += 1;
        }
        done.store(true, Relaxed);
    });
    space.store.verify().unwrap();
}
