//! Group commit: several threads append at once.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use revd_disk::{Disk, Effect, Fault, Operation, Real, Sim};
use revd_wal::{Error, Options, Wal};

const DIR: &str = "/data/wal";
const THREADS: u8 = 8;

fn open_in(disk: Arc<dyn Disk>, dir: &Path) -> Wal {
    let mut options = Options::default();
    options.segment_bytes = 256 << 10;
    Wal::open(disk, dir, options).unwrap().0
}

fn open(disk: &Sim) -> Wal {
    open_in(Arc::new(disk.clone()), Path::new(DIR))
}

/// What a thread pushes in its round: up to five entries that tell whose they are.
fn entries(thread: u8, round: u8) -> Vec<Vec<u8>> {
    let count = 1 + (thread ^ round) % 5;
    let len = |number: u8| 3 + usize::from(thread) * usize::from(round) % 700 + usize::from(number);
    (0..count).map(|number| [thread, round, number].repeat(len(number))).collect()
}

/// What one thread was told about its rounds.
type Told = Vec<(u8, Result<u64, Error>)>;

/// All threads push so many rounds; a thread stops after an error that is final.
fn push_all(wal: &Wal, rounds: u8) -> Vec<(u8, Told)> {
    thread::scope(|scope| {
        let push = |number: u8| {
            let mut told = Told::new();
            for round in 0..rounds {
                let pushed = wal.push(&entries(number, round));
                let end = pushed.as_ref().is_err_and(|error| !error.is_full());
                told.push((round, pushed));
                if end {
                    break;
                }
            }
            (number, told)
        };
        let threads: Vec<_> =
            (0..THREADS).map(|number| scope.spawn(move || push(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Everything that was acknowledged is where its thread was told, in the order of its rounds.
fn assert_acknowledged(wal: &Wal, told: &[(u8, Told)]) -> u64 {
    let mut acknowledged = 0;
    for (number, told) in told {
        let mut before = 0;
        for (round, first) in told {
            let Ok(first) = first else {
                continue;
            };
            assert!(
                *first > before,
                "round {round} of thread {number} comes before an earlier one"
            );
            before = *first;
            let entries = entries(*number, *round);
            let last = first + entries.len() as u64 - 1;
            let read = wal.read(*first, last, usize::MAX).unwrap();
            assert!(read == entries, "round {round} of thread {number} at {first}");
            acknowledged += entries.len() as u64;
        }
    }
    acknowledged
}

#[test]
fn all_threads_find_what_they_pushed() {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wal = open_in(Arc::new(Real::new()), guard.path());
    let done = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if !wal.upkeep().unwrap() {
                    thread::yield_now();
                }
            }
        });
        let told = push_all(&wal, 60);
        done.store(true, Ordering::Relaxed);
        told
    });
    let acknowledged = assert_acknowledged(&wal, &told);
    assert_eq!(wal.bounds(), (1, acknowledged));
    drop(wal);
    let wal = open_in(Arc::new(Real::new()), guard.path());
    assert_eq!(assert_acknowledged(&wal, &told), acknowledged);
    assert_eq!(wal.verify().unwrap().entries, acknowledged);
}

#[test]
fn pushes_and_appends_take_turns() {
    let wal = open(&Sim::new(1));
    assert_eq!(wal.push::<&[u8]>(&[]).unwrap(), 1);
    assert_eq!(wal.push(&["one", "two"]).unwrap(), 1);
    wal.append(3, &["three"]).unwrap();
    assert_eq!(wal.push(&["four"]).unwrap(), 4);
    wal.truncate_suffix(3).unwrap();
    assert_eq!(wal.push(&["another three"]).unwrap(), 3);
    let large = vec![vec![9; 1 << 20]; 17];
    assert_eq!(wal.push(&large).unwrap(), 4, "more than a group holds");
    assert_eq!(wal.push(&["twenty-one"]).unwrap(), 21);
    assert_eq!(wal.read(1, 3, 100).unwrap(), [&b"one"[..], b"two", b"another three"]);
    assert!(wal.read(4, 20, usize::MAX).unwrap() == large);
    assert_eq!(wal.read(21, 21, 100).unwrap(), [b"twenty-one"]);
    let too_large = vec![0; (64 << 20) + 1];
    assert!(matches!(wal.push(&[too_large]), Err(Error::TooLarge { .. })));
    wal.reset(1000).unwrap();
    assert_eq!(wal.push(&["x"]).unwrap(), 1000);
}

#[test]
fn a_failed_write_fails_its_group_and_all_that_come_later() {
    for effect in [Effect::Io, Effect::Torn] {
        for nth in [0, 1, 7, 40] {
            let disk = Sim::new(nth);
            let wal = open(&disk);
            disk.inject(Fault::new(Operation::Write, effect).on(".wal").after(nth));
            let mut told = push_all(&wal, 30);
            // However few groups that were, the fault comes sooner or later.
            while !told.iter().any(|(_, told)| told.iter().any(|(_, told)| told.is_err())) {
                told.extend(push_all(&wal, 30));
            }
            assert!(matches!(wal.push(&["x"]), Err(Error::Poisoned)));
            drop(wal);
            let wal = open(&disk);
            let acknowledged = assert_acknowledged(&wal, &told);
            assert!(wal.bounds().1 >= acknowledged, "{effect:?} {nth}");
            wal.push(&["goes on"]).unwrap();
        }
    }
}

#[test]
fn a_full_disk_refuses_pushes_and_lets_them_on_when_there_is_room() {
    let disk = Sim::new(3);
    let wal = open(&disk);
    disk.set_capacity(disk.allocated() + 8192);
    let refused = push_all(&wal, 60);
    let full = |told: &Told| told.iter().any(|(_, told)| told.is_err());
    assert!(refused.iter().any(|(_, told)| full(told)));
    let kept = assert_acknowledged(&wal, &refused);
    assert_eq!(wal.bounds(), (1, kept));
    disk.heal();
    let told = push_all(&wal, 60);
    let added = assert_acknowledged(&wal, &told);
    assert_eq!(wal.bounds(), (1, kept + added));
    disk.crash(5);
    let wal = open(&disk);
    assert_eq!(
        assert_acknowledged(&wal, &refused) + assert_acknowledged(&wal, &told),
        kept + added
    );
}
