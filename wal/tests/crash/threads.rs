//! Several threads append at once, and the power fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use revd_disk::Sim;
use revd_wal::Wal;

use super::model::{Random, open, options};
use super::phase::{Histogram, Phase};
use super::trace::{Moment, Traced};

const THREADS: u64 = 4;
const PUSHES: u64 = 40;

/// An entry says who wrote it, and how many its writer had written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    thread: u64,
    number: u64,
}

impl Stamp {
    fn entry(self, padding: u64) -> Vec<u8> {
        let mut entry = [self.thread.to_le_bytes(), self.number.to_le_bytes()].concat();
        entry.resize(16 + padding as usize, self.thread as u8);
        entry
    }

    fn of(entry: &[u8]) -> Stamp {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        Stamp { thread: word(0), number: word(8) }
    }
}

/// The entries that were acknowledged, with their indexes, in the order of the acknowledgements.
type Acknowledged = Arc<Mutex<Vec<(u64, Stamp)>>>;

/// Lets threads append, and looks at the moments at which the power may fail.
pub(crate) fn explore(seed: u64, histogram: &mut Histogram) {
    let disk = Sim::new(seed);
    if seed % 2 == 1 {
        disk.refuse_direct();
    }
    let (moments, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let kept = Arc::clone(&moments);
    let traced = Traced::new(disk, move |moment| kept.lock().unwrap().push(moment));
    let (wal, _) = open(traced.counting(&count), &options(seed)).unwrap();
    moments.lock().unwrap().clear();
    let acknowledged = Acknowledged::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (wal, acknowledged, count) = (&wal, &acknowledged, &count);
            scope.spawn(move || push(wal, thread, seed, acknowledged, count));
        }
    });
    wal.verify().unwrap();
    assert_eq!(wal.bounds().1, THREADS * PUSHES * 2, "SEED={seed}");
    let acknowledged = acknowledged.lock().unwrap();
    let mut seen = std::collections::HashSet::new();
    for moment in moments.lock().unwrap().iter() {
        for outcome in 0..4 {
            let disk = moment.disk.fork();
            let survivors = disk.recover(outcome);
            if seen.insert((moment.number, survivors.digest)) {
                histogram.count(Phase::Threads);
                check(disk, seed, moment, &acknowledged[..moment.acknowledged]);
            }
        }
    }
}

/// Pushes pairs of entries, and does upkeep now and then.
fn push(wal: &Wal, thread: u64, seed: u64, acknowledged: &Acknowledged, count: &AtomicUsize) {
    let mut random = Random::new(seed * THREADS + thread);
    for number in 0..PUSHES {
        let stamps = [2 * number, 2 * number + 1].map(|number| Stamp { thread, number });
        let first = wal.push(&stamps.map(|stamp| stamp.entry(random.below(900)))).unwrap();
        let mut acknowledged = acknowledged.lock().unwrap();
        acknowledged.extend((first..).zip(stamps));
        count.store(acknowledged.len(), Ordering::SeqCst);
        drop(acknowledged);
        if random.below(8) == 0 {
            wal.upkeep().unwrap();
        }
    }
}

/// What was acknowledged is where it was; what was not is there as a whole pair or not at all; and
/// nothing is there twice or out of its writer's order.
fn check(disk: Sim, seed: u64, moment: &Moment, acknowledged: &[(u64, Stamp)]) {
    let context = format!("SEED={seed}, {:?} {}", moment.operation, moment.path.display());
    let (wal, _) = open(disk, &options(seed)).unwrap_or_else(|error| {
        panic!("{context}: {error:?}");
    });
    wal.verify().unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let mut stamps = Vec::new();
    let mut next = [0; THREADS as usize];
    for entry in wal.replay(1).unwrap() {
        let (_, entry) = entry.unwrap();
        let stamp = Stamp::of(&entry);
        let expected = &mut next[stamp.thread as usize];
        assert_eq!(stamp.number, *expected, "{context}: of thread {}", stamp.thread);
        *expected += 1;
        stamps.push(stamp);
    }
    for (index, stamp) in acknowledged {
        assert_eq!(stamps.get(*index as usize - 1), Some(stamp), "{context}: entry {index}");
    }
    let halves = stamps.chunks(2).filter(|pair| pair.len() < 2 || pair[0].thread != pair[1].thread);
    assert_eq!(halves.count(), 0, "{context}: half of a push");
    for (thread, next) in next.iter().enumerate() {
        let of_thread = |(_, stamp): &&(u64, Stamp)| stamp.thread == thread as u64;
        let known = acknowledged.iter().filter(of_thread).count() as u64;
        // Others may have been acknowledged between the count and the cut.
        assert!(*next >= known, "{context}: {next} entries of thread {thread}, {known} known");
    }
}
