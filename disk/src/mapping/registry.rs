//! Which file lies behind which address, for a signal handler: no locks, no allocation.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

/// Mappings that are known at a time. Those beyond are mapped all the same, and not named.
const MAPPINGS_MAX: usize = 64;

/// Bytes of a path that are kept, the last ones.
const PATH_MAX: usize = 256;

static SLOTS: [Slot; MAPPINGS_MAX] = [const { Slot::new() }; MAPPINGS_MAX];

/// A place for one mapping. Whoever reads it looks at `state` before and after, and believes what
/// it read only if that is the same mapping's both times (a sequence lock).
#[derive(Debug)]
struct Slot {
    /// [`FREE`], [`BUSY`] or [`LIVE`], and above these bits a number for each use.
    state: AtomicU64,
    start: AtomicUsize,
    len: AtomicUsize,
    path: [AtomicU8; PATH_MAX],
    path_len: AtomicUsize,
}

const FREE: u64 = 0;
/// Being filled in.
const BUSY: u64 = 1;
const LIVE: u64 = 2;
const STATE_BITS: u64 = 3;
const NEXT_USE: u64 = 4;

/// A mapping that can be found, until this is dropped. That must be before it is unmapped: its
/// addresses may be another's at once.
#[derive(Debug)]
pub(super) struct Entry {
    slot: &'static Slot,
}

/// The place in a file that an address shows.
pub(super) struct Found {
    path: [u8; PATH_MAX],
    path_len: usize,
    pub(super) offset: u64,
}

impl Entry {
    /// Makes a mapping of a file known; `None` if too many are.
    pub(super) fn enter(start: usize, len: usize, path: &Path) -> Option<Entry> {
        let entered = SLOTS.iter().find(|slot| slot.fill(start, len, path));
        entered.map(|slot| Entry { slot })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let state = self.slot.state.load(Ordering::Relaxed);
        self.slot.state.store((state & !STATE_BITS) | FREE, Ordering::Release);
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            state: AtomicU64::new(FREE),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            path: [const { AtomicU8::new(0) }; PATH_MAX],
            path_len: AtomicUsize::new(0),
        }
    }

    /// Fills it in if it is free.
    fn fill(&self, start: usize, len: usize, path: &Path) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let this_use = (state & !STATE_BITS).wrapping_add(NEXT_USE);
        let is_free = state & STATE_BITS == FREE;
        let busy = this_use | BUSY;
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        if !is_free || self.state.compare_exchange(state, busy, success, failure).is_err() {
            return false;
        }
        // What follows is not seen before `BUSY` is.
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        let path = path.as_os_str().as_bytes();
        let path = &path[path.len().saturating_sub(PATH_MAX)..];
        for (kept, &byte) in self.path.iter().zip(path) {
            // It is to be one line.
            kept.store(if byte.is_ascii_control() { b'?' } else { byte }, Ordering::Relaxed);
        }
        self.path_len.store(path.len(), Ordering::Relaxed);
        self.state.store(this_use | LIVE, Ordering::Release);
        true
    }

    fn find(&self, address: usize) -> Option<Found> {
        let state = self.state.load(Ordering::Acquire);
        if state & STATE_BITS != LIVE {
            return None;
        }
        let offset = address.wrapping_sub(self.start.load(Ordering::Relaxed));
        if offset >= self.len.load(Ordering::Relaxed) {
            return None;
        }
        let path_len = self.path_len.load(Ordering::Relaxed).min(PATH_MAX);
        let mut found = Found { path: [0; PATH_MAX], path_len, offset: offset as u64 };
        for (byte, kept) in found.path.iter_mut().zip(&self.path) {
            *byte = kept.load(Ordering::Relaxed);
        }
        // What was read before is not of a later use than the state that is read now.
        fence(Ordering::Acquire);
        (self.state.load(Ordering::Relaxed) == state).then_some(found)
    }
}

impl Found {
    pub(super) fn path(&self) -> &[u8] {
        &self.path[..self.path_len]
    }
}

/// The place that an address shows, if it lies in a mapping that is known. Does nothing that a
/// signal handler may not.
pub(super) fn find(address: usize) -> Option<Found> {
    SLOTS.iter().find_map(|slot| slot.find(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that nothing is mapped to; each test has some of its own.
    const NOWHERE: usize = 1 << 20;

    fn name_of(address: usize) -> Option<(String, u64)> {
        find(address)
            .map(|found| (String::from_utf8_lossy(found.path()).into_owned(), found.offset))
    }

    #[test]
    fn an_address_is_found_as_long_as_its_mapping_is_known() {
        let one = Entry::enter(NOWHERE, 100, Path::new("/one")).unwrap();
        let two = Entry::enter(NOWHERE + 100, 50, Path::new("/two\nlines")).unwrap();
        assert_eq!(name_of(NOWHERE - 1), None);
        assert_eq!(name_of(NOWHERE), Some(("/one".to_owned(), 0)));
        assert_eq!(name_of(NOWHERE + 99), Some(("/one".to_owned(), 99)));
        assert_eq!(name_of(NOWHERE + 100), Some(("/two?lines".to_owned(), 0)));
        assert_eq!(name_of(NOWHERE + 150), None);
        drop(one);
        assert_eq!(name_of(NOWHERE), None);
        assert_eq!(name_of(NOWHERE + 149), Some(("/two?lines".to_owned(), 49)));
        drop(two);
    }

    #[test]
    fn of_a_long_path_the_end_is_kept() {
        let path = format!("/{}/end", "x".repeat(2 * PATH_MAX));
        let _entry = Entry::enter(2 * NOWHERE, 1, Path::new(&path)).unwrap();
        let (name, _) = name_of(2 * NOWHERE).unwrap();
        assert_eq!(name, path[path.len() - PATH_MAX..]);
    }

    /// A thread that looks while others come and go never sees a mixture of two.
    #[test]
    fn what_is_found_belongs_together() {
        const BASE: usize = 3 * NOWHERE;
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|scope| {
            for which in 0..3_usize {
                scope.spawn(move || {
                    for round in 0..rounds {
                        let start = BASE + (which * 2 + round % 2) * 1000;
                        drop(Entry::enter(start, 1000, Path::new(&format!("/{start}"))));
                    }
                });
            }
            scope.spawn(|| {
                for round in 0..rounds {
                    let address = BASE + round % 6 * 1000 + 500;
                    if let Some(found) = name_of(address) {
                        assert_eq!(found, (format!("/{}", address - 500), 500));
                    }
                }
            });
        });
    }
}
