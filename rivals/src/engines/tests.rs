//! Each engine does what its measurements take for granted.

use std::fs;
use std::thread;

use super::{
    LOGS, LogShape, PURGE_BATCH, Purged, RECORD_BYTES_FILE, STORES, Sink, Snapshot, Store, is_kept,
};
use crate::content::{Key, Pool};

const BYTES: usize = 300;

fn put(store: &mut dyn Store, mains: std::ops::RangeInclusive<u64>) {
    let pool = Pool::new(BYTES);
    let puts: Vec<_> = mains.map(|main| (Key(main), pool.slice(main, BYTES))).collect();
    store.put(&puts).unwrap();
    store.commit().unwrap();
}

#[test]
fn stores_keep_what_was_committed_and_lose_what_was_purged() {
    const LAST: u64 = 2 * PURGE_BATCH as u64 + 500;
    // The records of the leaf that is being filled are never swept, so others follow.
    const BEHIND: u64 = 200;
    for engine in STORES.iter().filter(|engine| engine.name != super::FLOOR) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = (engine.open)(dir.path()).unwrap();
        assert_eq!(store.last().unwrap(), None, "{}", engine.name);
        put(&mut *store, 1..=LAST);
        put(&mut *store, LAST + 1..=LAST + BEHIND);
        assert_eq!(store.last().unwrap(), Some(LAST + BEHIND), "{}", engine.name);
        for snapshot in [Snapshot::Reused, Snapshot::Fresh] {
            store.reader().gets(&[1, LAST / 2, LAST], snapshot).unwrap();
            assert!(store.reader().gets(&[LAST + BEHIND + 1], snapshot).is_err());
        }
        assert_eq!(store.reader().scans(&[1, 11], 100).unwrap(), 200, "{}", engine.name);
        let mut deleted = 0;
        loop {
            match store.purge(LAST).unwrap() {
                Purged::Some(number) => deleted += number,
                Purged::Waiting => thread::yield_now(),
                Purged::Done => break,
            }
        }
        store.commit_aside().unwrap();
        store.commit().unwrap();
        let left = (1..=LAST).filter(|main| is_kept(*main)).count() as u64;
        assert_eq!(deleted, LAST - left, "{}", engine.name);
        let scanned = store.reader().scans(&[1], usize::MAX).unwrap();
        assert_eq!(scanned, left + BEHIND, "{}", engine.name);
    }
}

#[test]
fn logs_replay_what_was_appended() {
    let pool = Pool::new(BYTES);
    let records: Vec<_> = (0..100).map(|record| pool.slice(record, BYTES)).collect();
    for engine in LOGS {
        let Some(replay) = engine.replay else { continue };
        let dir = tempfile::tempdir().unwrap();
        let shape = LogShape { appenders: 1, batch_bytes: 100 * BYTES, keep: true };
        let log = (engine.open)(dir.path(), shape).unwrap();
        let mut appender = log.appender(0, &records);
        for _ in 0..50 {
            appender.append().unwrap();
            log.upkeep().unwrap();
        }
        drop(appender);
        drop(log);
        fs::write(dir.path().join(RECORD_BYTES_FILE), BYTES.to_string()).unwrap();
        let (sink, _) = replay(dir.path(), Sink::default()).unwrap();
        assert_eq!(sink.records, 5000, "{}", engine.name);
        assert_eq!(sink.bytes, 5000 * BYTES as u64, "{}", engine.name);
    }
}

#[test]
fn logs_take_several_appenders() {
    let pool = Pool::new(BYTES);
    let records: Vec<_> = (0..4).map(|record| pool.slice(record, BYTES)).collect();
    for engine in LOGS {
        let dir = tempfile::tempdir().unwrap();
        let shape = LogShape { appenders: 4, batch_bytes: 4 * BYTES, keep: false };
        let log = (engine.open)(dir.path(), shape).unwrap();
        thread::scope(|scope| {
            for number in 0..4 {
                let (log, records) = (&log, &records);
                scope.spawn(move || {
                    let mut appender = log.appender(number, records);
                    (0..20).for_each(|_| appender.append().unwrap());
                });
            }
        });
    }
}
