//! The state of a simulated machine's disk: names, files, faults, and the moment of the crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::fault::{Effect, Fault};
use super::inode::Inode;
use super::survival::{Random, Survival};
use crate::{Create, Error, Kind, Open, Operation};

/// Number of a file, whatever its names.
pub(super) type InodeId = u64;

#[derive(Debug)]
pub(super) struct State {
    /// Counts losses of power; a handle from before one is dead.
    pub(super) epoch: u64,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) faults: Vec<Fault>,
    /// Bytes that all files together may take.
    pub(super) capacity: u64,
    pub(super) refuses_direct: bool,
    pub(super) random: Random,
    /// Counts changes, so that survivors can be chosen by when they were issued.
    order: u64,
    next_inode: InodeId,
    inodes: BTreeMap<InodeId, Inode>,
    directories: BTreeSet<PathBuf>,
    /// What the names mean now.
    names: BTreeMap<PathBuf, InodeId>,
    /// What they would mean after a loss of power that keeps nothing pending.
    durable: BTreeMap<PathBuf, InodeId>,
    pending: Vec<Step>,
    pub(super) locks: BTreeSet<PathBuf>,
}

/// A change of names that survives as a whole or not at all.
#[derive(Clone, Debug)]
struct Step {
    order: u64,
    /// The names it sets, and those that it removes.
    names: Vec<(PathBuf, Option<InodeId>)>,
}

/// How an operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// As asked.
    Normal,
    /// The power fails while it is under way: it pends, and the caller learns nothing.
    Dying,
    /// A fault strikes it.
    Struck(Effect),
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            epoch: 0,
            operations: 0,
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            capacity: u64::MAX,
            refuses_direct: false,
            random: Random::new(seed),
            order: 0,
            next_inode: 0,
            inodes: BTreeMap::new(),
            directories: ["", ".", "/"].into_iter().map(PathBuf::from).collect(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            locks: BTreeSet::new(),
        }
    }

    pub(super) fn fork(&self) -> State {
        State {
            epoch: self.epoch,
            operations: self.operations,
            crash_at: self.crash_at,
            crashed: self.crashed,
            faults: self.faults.clone(),
            capacity: self.capacity,
            refuses_direct: self.refuses_direct,
            random: self.random.clone(),
            order: self.order,
            next_inode: self.next_inode,
            inodes: self.inodes.iter().map(|(id, inode)| (*id, inode.fork())).collect(),
            directories: self.directories.clone(),
            names: self.names.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            locks: BTreeSet::new(),
        }
    }

    /// Starts an operation that changes nothing.
    pub(super) fn begin_read(&mut self, operation: Operation, path: &Path) -> Result<(), Error> {
        if self.crashed {
            return Err(Error::new(operation, path, Kind::Crashed));
        }
        match self.strike(operation, path) {
            Some(effect) => Err(error_of(effect, operation, path)),
            None => Ok(()),
        }
    }

    /// Starts an operation that changes something, and counts it.
    pub(super) fn begin_change(
        &mut self,
        operation: Operation,
        path: &Path,
    ) -> Result<Course, Error> {
        if self.crashed {
            return Err(Error::new(operation, path, Kind::Crashed));
        }
        if self.crash_at.is_some_and(|moment| moment <= self.operations) {
            self.crashed = true;
            return Ok(Course::Dying);
        }
        self.operations += 1;
        Ok(self.strike(operation, path).map_or(Course::Normal, Course::Struck))
    }

    fn strike(&mut self, operation: Operation, path: &Path) -> Option<Effect> {
        self.faults.iter_mut().find_map(|fault| fault.strike(operation, path))
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// The file behind a handle of this epoch, which keeps it alive.
    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a file lives as long as a handle of its epoch")
    }

    pub(super) fn open(&mut self, path: &Path, how: Open) -> Result<InodeId, Error> {
        let existing = self.names.get(path).copied();
        if existing.is_none() && how.create != Create::Existing {
            return self.create(path);
        }
        self.begin_read(Operation::Open, path)?;
        match existing {
            None => Err(Error::new(Operation::Open, path, Kind::NotFound)),
            Some(_) if how.create == Create::New => {
                Err(Error::new(Operation::Open, path, Kind::Exists))
            }
            Some(id) => Ok(id),
        }
    }

    fn create(&mut self, path: &Path) -> Result<InodeId, Error> {
        let course = self.begin_change(Operation::Open, path)?;
        if let Course::Struck(effect) = course {
            return Err(error_of(effect, Operation::Open, path));
        }
        if !self.directories.contains(parent_of(path)) {
            return Err(Error::new(Operation::Open, path, Kind::NotFound));
        }
        if self.directories.contains(path) {
            return Err(Error::new(Operation::Open, path, Kind::Exists));
        }
        self.next_inode += 1;
        let id = self.next_inode;
        self.inodes.insert(id, Inode::default());
        self.change_names(vec![(path.to_owned(), Some(id))]);
        self.survived(course, Operation::Open, path)?;
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Result<(), Error> {
        let course = self.begin_change(Operation::CreateDir, path)?;
        match course {
            Course::Struck(effect) => return Err(error_of(effect, Operation::CreateDir, path)),
            // Each of the parents may have come to be.
            Course::Dying if self.random.below(2) == 0 => {}
            _ => {
                for dir in path.ancestors() {
                    if self.names.contains_key(dir) {
                        return Err(Error::new(Operation::CreateDir, path, Kind::Exists));
                    }
                    self.directories.insert(dir.to_owned());
                }
            }
        }
        self.survived(course, Operation::CreateDir, path)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let course = self.begin_change(Operation::Rename, from)?;
        if let Course::Struck(effect) = course {
            return Err(error_of(effect, Operation::Rename, from));
        }
        let id = self.names.get(from).copied();
        let Some(id) = id.filter(|_| self.directories.contains(parent_of(to))) else {
            return Err(Error::new(Operation::Rename, from, Kind::NotFound));
        };
        let replaced = self.names.get(to).copied();
        if from != to {
            self.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(id))]);
        }
        self.survived(course, Operation::Rename, from)?;
        replaced.into_iter().for_each(|id| self.collect(id));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Error> {
        let course = self.begin_change(Operation::Remove, path)?;
        if let Course::Struck(effect) = course {
            return Err(error_of(effect, Operation::Remove, path));
        }
        let Some(id) = self.names.get(path).copied() else {
            return Err(Error::new(Operation::Remove, path, Kind::NotFound));
        };
        self.change_names(vec![(path.to_owned(), None)]);
        self.survived(course, Operation::Remove, path)?;
        self.collect(id);
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> Result<Vec<String>, Error> {
        self.begin_read(Operation::List, dir)?;
        if !self.directories.contains(dir) {
            return Err(Error::new(Operation::List, dir, Kind::NotFound));
        }
        let mut names: Vec<String> = (self.names.keys().chain(&self.directories))
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn exists(&mut self, path: &Path) -> Result<bool, Error> {
        self.begin_read(Operation::Exists, path)?;
        Ok(self.names.contains_key(path) || self.directories.contains(path))
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> Result<(), Error> {
        let course = self.begin_change(Operation::SyncDir, dir)?;
        match course {
            Course::Struck(Effect::Lost) | Course::Dying => {
                return self.survived(course, Operation::SyncDir, dir);
            }
            Course::Struck(effect) => return Err(error_of(effect, Operation::SyncDir, dir)),
            Course::Normal => {}
        }
        if !self.directories.contains(dir) {
            return Err(Error::new(Operation::SyncDir, dir, Kind::NotFound));
        }
        let steps = std::mem::take(&mut self.pending);
        for step in steps {
            if step.names.iter().any(|(name, _)| parent_of(name) == dir) {
                self.settle(step);
            } else {
                self.pending.push(step);
            }
        }
        let all: Vec<InodeId> = self.inodes.keys().copied().collect();
        all.into_iter().for_each(|id| self.collect(id));
        Ok(())
    }

    /// Bytes that all files together take.
    pub(super) fn allocated(&self) -> u64 {
        self.inodes.values().map(Inode::allocated).sum()
    }

    /// Drops a file that no name and no handle leads to any more.
    pub(super) fn collect(&mut self, id: InodeId) {
        let held = self.inodes.get(&id).is_some_and(|inode| inode.handles > 0);
        let pending = self.pending.iter().flat_map(|step| &step.names);
        let named = self.names.values().chain(self.durable.values()).any(|other| *other == id)
            || pending.into_iter().any(|(_, other)| *other == Some(id));
        if !held && !named {
            self.inodes.remove(&id);
        }
    }

    /// The power fails and returns.
    pub(super) fn recover(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let steps = self.pending.iter().map(|step| step.order);
        let contents = self.inodes.values().filter_map(Inode::oldest_pending);
        let oldest = steps.chain(contents).min().unwrap_or(self.order);
        let survival = Survival::choose(&mut random, oldest, self.order + 1);
        for step in std::mem::take(&mut self.pending) {
            if survival.spares(step.order, &mut random) {
                self.settle(step);
            }
        }
        self.names = self.durable.clone();
        for inode in self.inodes.values_mut() {
            inode.crash(&survival, &mut random);
        }
        self.random = random;
        self.faults.clear();
        self.kill();
    }

    /// The process ends, and another one may start.
    pub(super) fn kill(&mut self) {
        self.epoch += 1;
        self.crashed = false;
        self.crash_at = None;
        self.locks.clear();
        self.inodes.values_mut().for_each(|inode| inode.handles = 0);
        let all: Vec<InodeId> = self.inodes.keys().copied().collect();
        all.into_iter().for_each(|id| self.collect(id));
    }

    /// Ends an operation: in an error if the power failed meanwhile.
    pub(super) fn survived(
        &self,
        course: Course,
        operation: Operation,
        path: &Path,
    ) -> Result<(), Error> {
        match course {
            Course::Dying => Err(Error::new(operation, path, Kind::Crashed)),
            Course::Normal | Course::Struck(_) => Ok(()),
        }
    }

    fn change_names(&mut self, names: Vec<(PathBuf, Option<InodeId>)>) {
        let order = self.next_order();
        for (name, id) in &names {
            match id {
                Some(id) => drop(self.names.insert(name.clone(), *id)),
                None => drop(self.names.remove(name)),
            }
        }
        self.pending.push(Step { order, names });
    }

    fn settle(&mut self, step: Step) {
        for (name, id) in step.names {
            match id {
                Some(id) => drop(self.durable.insert(name, id)),
                None => drop(self.durable.remove(&name)),
            }
        }
    }
}

/// The error that a fault ends in.
pub(super) fn error_of(effect: Effect, operation: Operation, path: &Path) -> Error {
    let errno = if effect == Effect::Full { Errno::NOSPC } else { Errno::IO };
    Error::from_io(operation, path, io::Error::from_raw_os_error(errno.raw_os_error()))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
