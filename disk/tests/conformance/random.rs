//! Random operations on a real and a simulated disk side by side: every result is the same.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Create, Disk, Error, File, Kind, Lock, Open, Operation};

use super::Place;

#[test]
fn random_operations_have_equal_results() {
    run(|| (super::real(), super::simulated()), 1);
}

#[test]
fn random_operations_have_equal_results_without_direct() {
    run(|| (super::real_without_direct(), super::simulated_without_direct()), 1_000_000);
}

/// `SEED=n` runs that seed alone, `ROUNDS=n` so many from the first on.
fn run(places: impl Fn() -> (Place, Place), first: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("ROUNDS").unwrap_or(12),
    };
    for seed in seeds {
        let (real, sim) = places();
        Pair::new(real, sim, seed).run(400);
    }
}

/// A small generator (xorshift64*), so that a failing run is repeated by its seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// The same thing of both disks.
struct Both<T>([T; 2]);

/// An open file, on both disks.
type Files = Both<Arc<dyn File>>;

struct Pair {
    places: Both<Place>,
    files: Vec<Files>,
    locks: Vec<Both<Lock>>,
    random: Random,
    seed: u64,
    step: usize,
}

/// What can be compared of a result.
type Outcome<T> = Result<T, (Kind, Operation, Option<u64>)>;

/// Directories that the operations move among; some are never made.
const DIRS: [&str; 4] = ["", "a", "a/b", "missing"];
const NAMES: [&str; 5] = ["one", "two", "three", "a", "b"];

impl Pair {
    fn new(one: Place, other: Place, seed: u64) -> Pair {
        for place in [&one, &other] {
            place.disk.create_dir(&place.dir.join("a/b")).unwrap();
        }
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (files, locks) = (Vec::new(), Vec::new());
        Pair { places: Both([one, other]), files, locks, random, seed, step: 0 }
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            self.step = step;
            match self.random.below(10) {
                0..=2 => self.change_names(),
                3 => self.change_held(),
                _ => self.change_content(),
            }
            self.compare_files();
        }
        self.compare_directories();
    }

    fn context(&self, what: &str) -> String {
        format!("SEED={} step {}: {what}", self.seed, self.step)
    }

    /// Does the same on both disks and returns both results, which are equal as far as they can be.
    fn on_disks<T: Debug>(
        &self,
        what: &str,
        act: impl Fn(&dyn Disk, &Path) -> Result<T, Error>,
    ) -> Option<Both<T>> {
        let results = self.places.0.each_ref().map(|place| act(&*place.disk, &place.dir));
        self.equal(what, results, |_| ())
    }

    /// The same on an open file; `tell` is what is to be equal of a success.
    fn on_file<T: Debug + PartialEq>(
        &self,
        which: usize,
        what: &str,
        act: impl Fn(&dyn File) -> Result<T, Error>,
    ) {
        let results = self.files[which].0.each_ref().map(|file| act(&**file));
        let what = format!("{what} on {:?}", self.files[which].0[0]);
        let both = self.equal(&what, results, |_| ());
        if let Some(Both([one, other])) = both {
            assert_eq!(one, other, "{}", self.context(&what));
        }
    }

    fn equal<T: Debug, U: Debug + PartialEq>(
        &self,
        what: &str,
        results: [Result<T, Error>; 2],
        tell: impl Fn(&T) -> U,
    ) -> Option<Both<T>> {
        let outcome = |result: &Result<T, Error>| -> Outcome<U> {
            let told = |error: &Error| (error.kind(), error.operation(), error.offset());
            result.as_ref().map(&tell).map_err(told)
        };
        let [one, other] = results;
        assert_eq!(
            outcome(&one),
            outcome(&other),
            "{}: {:?} and {:?}",
            self.context(what),
            one.as_ref().err(),
            other.as_ref().err()
        );
        Some(Both([one.ok()?, other.ok()?]))
    }

    fn path(&mut self) -> String {
        let dir = DIRS[self.random.below(DIRS.len() as u64) as usize];
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize];
        if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
    }

    fn open(&mut self, path: &str) {
        let create = [Create::Existing, Create::New, Create::Either, Create::Either];
        let access = [Access::Read, Access::Buffered, Access::Direct, Access::Direct];
        let create = create[self.random.below(4) as usize];
        let how = Open { create, access: access[self.random.below(4) as usize] };
        let files = self
            .on_disks(&format!("open {path} {how:?}"), |disk, dir| disk.open(&dir.join(path), how));
        self.files.extend(files);
        if self.files.len() > 6 {
            let which = self.random.below(6) as usize;
            self.files.swap_remove(which);
        }
    }

    fn change_names(&mut self) {
        let (path, other) = (self.path(), self.path());
        match self.random.below(12) {
            0..=3 => self.open(&path),
            4 | 5 => {
                self.on_disks(&format!("rename {path} to {other}"), |disk, dir| {
                    disk.rename(&dir.join(&path), &dir.join(&other))
                });
            }
            6 => {
                self.on_disks(&format!("remove {path}"), |disk, dir| disk.remove(&dir.join(&path)));
            }
            7 => {
                let there = self
                    .on_disks(&format!("exists {path}"), |disk, dir| disk.exists(&dir.join(&path)));
                assert!(there.is_none_or(|Both([one, other])| one == other), "exists {path}");
            }
            8 => {
                self.on_disks(&format!("sync {path}"), |disk, dir| disk.sync_dir(&dir.join(&path)));
            }
            9 => {
                self.on_disks("make a directory", |disk, dir| disk.create_dir(&dir.join(&path)));
            }
            10 => self.compare_directories(),
            _ => {
                let listed =
                    self.on_disks(&format!("list {path}"), |disk, dir| disk.list(&dir.join(&path)));
                assert!(listed.is_none_or(|Both([one, other])| one == other), "list {path}");
            }
        }
    }

    fn change_held(&mut self) {
        let path = self.path();
        if self.random.below(3) == 0 {
            let locks =
                self.on_disks(&format!("lock {path}"), |disk, dir| disk.lock(&dir.join(&path)));
            self.locks.extend(locks);
            if self.locks.len() > 2 {
                self.locks.remove(0);
            }
        }
        let (which, start, len) =
            (self.random.below(8) as usize, self.random.below(20), self.random.below(6));
        if which < self.files.len() {
            self.on_file(which, "mark", |file| file.mark(start));
            let other = (which + 1) % self.files.len();
            self.on_file(other, "is_marked", |file| file.is_marked(start..start + len));
            self.on_file(which, "is_marked", |file| file.is_marked(0..u64::MAX));
        }
    }

    fn change_content(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let which = self.random.below(self.files.len() as u64) as usize;
        let (offset, len) = (self.random.below(60_000), self.random.below(9_000));
        let byte = self.step as u8 | 1;
        match self.random.below(12) {
            0 => self.on_file(which, "truncate", |file| file.truncate(offset)),
            1 => self.on_file(which, "punch", |file| file.punch_hole(offset, len)),
            2 => self.on_file(which, "allocate", |file| file.allocate(offset, len)),
            3 => self.on_file(which, "sync", |file| file.sync_data()),
            4 => self.on_file(which, "length", |file| file.len()),
            5 => self.on_file(which, "read exactly", |file| {
                let mut buffer = vec![0; len as usize];
                file.read_exact_at(&mut buffer, offset).map(|()| buffer)
            }),
            _ => self.write(which, offset, len, byte),
        }
    }

    /// Writes whole blocks, which suit all files, or what suits buffered ones.
    fn write(&mut self, which: usize, offset: u64, len: u64, byte: u8) {
        let block = BLOCK as u64;
        let is_misaligned = format!("{:?}", self.files[which].0[1]).contains("Direct");
        let (offset, len) = if is_misaligned {
            (offset / block * block, len.next_multiple_of(block))
        } else {
            (offset, len)
        };
        let mut buffer = Buffer::zeroed(len as usize);
        buffer.fill(byte);
        let what = format!("write {len} bytes of {byte} at {offset}");
        if self.random.below(4) == 0 {
            self.on_file(which, &what, |file| file.write_unsynced_at(&buffer, offset));
        } else {
            self.on_file(which, &what, |file| file.write_at(&buffer, offset));
        }
    }

    /// All open files have the same content, length and claims.
    fn compare_files(&self) {
        for which in 0..self.files.len() {
            let files = self.files[which].0.each_ref();
            assert_eq!(files[0].is_direct(), files[1].is_direct(), "{}", self.context("direct"));
            if which % 3 != self.step % 3 {
                continue;
            }
            self.on_file(which, "content", |file| {
                let mut content = vec![0; file.len()? as usize];
                file.read_exact_at(&mut content, 0)?;
                let mapping = file.map(1 << 20)?;
                // SAFETY: the file reaches so far, and nobody changes it meanwhile.
                let mapped = unsafe { mapping.slice(0, content.len()) };
                assert!(mapped == content, "{}", self.context("mapping and read differ"));
                Ok(content)
            });
        }
    }

    fn compare_directories(&self) {
        for dir in DIRS {
            let listed = self.on_disks(dir, |disk, root| disk.list(&root.join(dir)));
            if let Some(Both([one, other])) = listed {
                assert_eq!(one, other, "{}", self.context(dir));
            }
        }
    }
}
