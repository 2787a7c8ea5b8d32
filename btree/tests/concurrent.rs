//! Readers on other threads while the writer appends, checkpoints and sweeps, on a real file.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use revd_btree::{Checkpoint, Key, Options, Reader, Table, Tree, Written};
use revd_disk::Real;

const RECORDS: u64 = 150_000;
const COUNTER: Key = Key::new(1, 0, 0);

fn value_of(main: u64) -> Vec<u8> {
    let len = if main.is_multiple_of(500) { 10_000 } else { main as usize * 7 % 400 };
    (0..len).map(|i| (main as usize * 31 + i) as u8).collect()
}

/// Each publication sets a row to the last key appended, so a view tells by itself what it should
/// hold; what was swept may be missing, up to the floor that another row tells.
fn read(reader: &Reader, stop: &AtomicBool) -> u64 {
    let mut views = 0;
    let mut last_seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let pin = reader.pin();
        let row = |key| {
            let row = pin.row(Table(0), key).unwrap();
            row.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        };
        let (last, floor) = (row(COUNTER), row(Key::new(2, 0, 0)));
        assert!(last >= last_seen, "views go forward");
        last_seen = last;
        let from = last.saturating_sub(views * 37 % (last + 1));
        let mut expected = None;
        for record in pin.history(Key::new(from, 0, 0)).take(300) {
            let record = record.unwrap();
            let main = record.key.main;
            assert!(main <= last, "{main} was not published, only {last}");
            assert!(record.value().unwrap() == value_of(main), "value of {main}");
            if main > floor {
                assert!(expected.is_none_or(|expected| expected == main), "{main} {expected:?}");
                expected = Some(main + 1);
            }
        }
        let latest = pin.get(Key::new(last, 0, 0)).unwrap();
        assert_eq!(latest.is_some(), last > 0);
        let again = pin.history(Key::new(from, 0, 0)).take(300).map(|r| r.unwrap().key.main);
        let first = pin.history(Key::new(from, 0, 0)).take(300).map(|r| r.unwrap().key.main);
        assert!(first.eq(again));
        views += 1;
    }
    views
}

fn write_checkpoints(frozen: &mpsc::Receiver<Checkpoint>, written: &mpsc::Sender<Written>) {
    for checkpoint in frozen {
        written.send(checkpoint.write().unwrap()).unwrap();
    }
}

#[test]
fn readers_see_whole_publications_while_everything_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    let mut options = Options::new([1; 16]);
    options.reserve_bytes = 1 << 20;
    let mut tree = Tree::create(Arc::new(Real::new()), &path, options.clone()).unwrap();
    let reader = tree.reader();
    let stop = AtomicBool::new(false);
    let views = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let reader = reader.clone();
            scope.spawn(|| {
                let reader = reader;
                *views.lock().unwrap() += read(&reader, &stop);
            });
        }
        let (to_disk, frozen) = mpsc::channel();
        let (done, written) = mpsc::channel();
        scope.spawn(move || write_checkpoints(&frozen, &done));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            write(&mut tree, &to_disk, &written);
        }));
        drop(to_disk);
        stop.store(true, Ordering::Relaxed);
        assert!(outcome.is_ok());
    });
    println!("{} views, {:?}", views.lock().unwrap(), tree.stats());
    tree.verify().unwrap();
    drop((reader, tree));
    let (tree, opened) = Tree::open(Arc::new(Real::new()), &path, options).unwrap();
    assert!(!opened.fell_back);
    tree.verify().unwrap();
}

fn write(tree: &mut Tree, frozen: &mpsc::Sender<Checkpoint>, written: &mpsc::Receiver<Written>) {
    let mut next_sweep = Some(Key::MIN);
    let mut floor = 0u64;
    for main in 1..=RECORDS {
        tree.append(Key::new(main, 0, 0), &main.to_le_bytes(), &value_of(main)).unwrap();
        // A checkpoint publishes, so the counter must be right before one, too.
        if main % 7 == 0 || main % 500 == 0 || main == RECORDS {
            tree.put(Table(0), COUNTER, &main.to_le_bytes()).unwrap();
            tree.publish();
        }
        if let Ok(done) = written.try_recv() {
            tree.checkpointed(done);
        }
        if main % 500 == 0
            && let Ok(Some(checkpoint)) = tree.checkpoint(&main.to_le_bytes())
        {
            frozen.send(checkpoint).unwrap();
        }
        if main % 800 == 0 {
            let from = next_sweep.unwrap_or(Key::MIN);
            floor = floor.max(main / 2);
            tree.put(Table(0), Key::new(2, 0, 0), &floor.to_le_bytes()).unwrap();
            if let Some(sweep) = tree.plan_sweep(from, 1 << 20) {
                let keep = |key: Key| key.main > floor || key.main.is_multiple_of(10);
                let swept = sweep.run(&mut |key, _| keep(key)).unwrap();
                next_sweep = swept.next();
                tree.adopt(swept).unwrap();
            }
        }
    }
    if let Ok(done) = written.recv_timeout(std::time::Duration::from_secs(10)) {
        tree.checkpointed(done);
    }
    while let Some(checkpoint) = tree.checkpoint(b"the end").unwrap() {
        let done = checkpoint.write().unwrap();
        tree.checkpointed(done);
    }
}
