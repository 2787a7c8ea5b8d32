//! The state of a simulated machine's disk: files, names, faults, and the moment of the crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::chance::Lottery;
use super::fault::{Effect, Fault};
use super::inode::Inode;
use super::names::Names;
use super::pace;
use super::survival::{Random, Survival, Survivors};
use crate::{Error, Kind, Operation};

/// Number of a file, whatever its names.
pub(super) type InodeId = u64;

#[derive(Debug)]
pub(super) struct State {
    /// Counts losses of power and killed processes; a handle from before one is dead.
    pub(super) epoch: u64,
    pub(super) operations: u64,
    /// Nanoseconds that all operations so far would have taken.
    pub(super) busy: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    /// The change in the midst of which `crash_at` cut the power.
    pub(super) crashed_in: Option<(Operation, PathBuf)>,
    pub(super) faults: Vec<Fault>,
    pub(super) lottery: Option<Lottery>,
    /// Bytes that all files together may take.
    pub(super) capacity: u64,
    pub(super) refuses_direct: bool,
    pub(super) random: Random,
    /// Counts changes, so that survivors can be chosen by when they were issued.
    order: u64,
    next_inode: InodeId,
    /// Counts the handles that were ever opened.
    handles: u64,
    inodes: BTreeMap<InodeId, Inode>,
    pub(super) names: Names,
    pub(super) locks: BTreeSet<InodeId>,
}

/// An operation, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) operation: Operation,
    pub(super) path: &'a Path,
    /// The file that it is about, if it is one that is open.
    pub(super) file: Option<InodeId>,
    pub(super) offset: u64,
    /// How many bytes it moves.
    pub(super) bytes: u64,
    /// A write that is durable when it returns.
    pub(super) synced: bool,
    /// It makes a new file.
    pub(super) creates: bool,
}

impl Asked<'_> {
    pub(super) fn new(operation: Operation, path: &Path) -> Asked<'_> {
        Asked { operation, path, file: None, offset: 0, bytes: 0, synced: false, creates: false }
    }

    pub(super) fn fails(&self, kind: Kind) -> Error {
        Error::new(self.operation, self.path, kind)
    }

    /// Fails with an error of the operating system.
    pub(super) fn fails_with(&self, errno: Errno) -> Error {
        let source = io::Error::from_raw_os_error(errno.raw_os_error());
        Error::from_io(self.operation, self.path, source)
    }

    /// Fails as a fault makes it fail.
    pub(super) fn struck_by(&self, effect: Effect) -> Error {
        match effect {
            Effect::Full | Effect::Short(_) => self.fails_with(Errno::NOSPC),
            _ => self.fails_with(Errno::IO),
        }
    }
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
            busy: 0,
            crash_at: None,
            crashed: false,
            crashed_in: None,
            faults: Vec::new(),
            lottery: None,
            capacity: u64::MAX,
            refuses_direct: false,
            random: Random::new(seed),
            order: 0,
            next_inode: 0,
            handles: 0,
            inodes: BTreeMap::new(),
            names: Names::default(),
            locks: BTreeSet::new(),
        }
    }

    pub(super) fn fork(&self) -> State {
        State {
            epoch: self.epoch,
            operations: self.operations,
            busy: self.busy,
            crash_at: self.crash_at,
            crashed: self.crashed,
            crashed_in: self.crashed_in.clone(),
            faults: self.faults.clone(),
            lottery: self.lottery.clone(),
            capacity: self.capacity,
            refuses_direct: self.refuses_direct,
            random: self.random.clone(),
            order: self.order,
            next_inode: self.next_inode,
            handles: self.handles,
            inodes: self.inodes.iter().map(|(id, inode)| (*id, inode.fork())).collect(),
            names: self.names.clone(),
            locks: BTreeSet::new(),
        }
    }

    /// Starts an operation that changes nothing.
    pub(super) fn begin_read(&mut self, asked: &Asked<'_>) -> Result<(), Error> {
        if self.crashed {
            return Err(asked.fails(Kind::Crashed));
        }
        match self.strike(asked) {
            Some(effect) => Err(asked.struck_by(effect)),
            None => Ok(()),
        }
    }

    /// Starts an operation that changes something, and counts it.
    pub(super) fn begin_change(&mut self, asked: &Asked<'_>) -> Result<Course, Error> {
        if self.crashed {
            return Err(asked.fails(Kind::Crashed));
        }
        if self.crash_at.is_some_and(|moment| moment <= self.operations) {
            self.crashed = true;
            self.crashed_in = Some((asked.operation, asked.path.to_owned()));
            return Ok(Course::Dying);
        }
        self.operations += 1;
        Ok(self.strike(asked).map_or(Course::Normal, Course::Struck))
    }

    /// Starts a change that a fault can only make fail.
    pub(super) fn begin_plain_change(&mut self, asked: &Asked<'_>) -> Result<Course, Error> {
        match self.begin_change(asked)? {
            Course::Struck(effect) => Err(asked.struck_by(effect)),
            course => Ok(course),
        }
    }

    /// Lets an operation take its time, and faults come on top of it; returns the one that decides
    /// how it ends.
    fn strike(&mut self, asked: &Asked<'_>) -> Option<Effect> {
        self.busy = self.busy.saturating_add(pace::duration(asked));
        let (mut beside, mut end) = (Vec::new(), None);
        for fault in &mut self.faults {
            // Of those that would decide, the oldest does, and the others have not seen it.
            if end.is_some() && !fault.effect().is_beside() {
                continue;
            }
            match fault.strike(asked.operation, asked.path) {
                Some(effect) if effect.is_beside() => beside.push(effect),
                Some(effect) => end = Some(effect),
                None => {}
            }
        }
        if let Some(lottery) = &mut self.lottery {
            let file = asked.file.and_then(|id| self.inodes.get(&id));
            let (more, drawn) = lottery.draw(asked, file.map_or(0, Inode::len));
            beside.extend(more);
            end = end.or(drawn);
        }
        for effect in beside {
            self.suffer(effect, asked.file);
        }
        end
    }

    /// Carries out what comes on top of an operation.
    fn suffer(&mut self, effect: Effect, file: Option<InodeId>) {
        match effect {
            Effect::Slow(nanoseconds) => self.busy = self.busy.saturating_add(nanoseconds),
            Effect::Rot => {
                if let Some(inode) = file.and_then(|id| self.inodes.get_mut(&id)) {
                    inode.rot(&mut self.random);
                }
            }
            _ => {}
        }
    }

    /// A number for a handle that is opened now.
    pub(super) fn next_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A new, empty file.
    pub(super) fn new_inode(&mut self) -> InodeId {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    /// The file behind a handle of this epoch, which keeps it alive.
    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a file lives as long as a handle of its epoch")
    }

    /// The file behind a handle, and the chance that decides about it.
    pub(super) fn inode_and_random(&mut self, id: InodeId) -> (&mut Inode, &mut Random) {
        let inode = self.inodes.get_mut(&id);
        (inode.expect("a file lives as long as a handle of its epoch"), &mut self.random)
    }

    /// Bytes that all files together take.
    pub(super) fn allocated(&self) -> u64 {
        self.inodes.values().map(Inode::allocated).sum()
    }

    /// Drops a file that no name and no handle leads to any more.
    pub(super) fn collect(&mut self, id: InodeId) {
        let held = self.inodes.get(&id).is_some_and(|inode| inode.handles > 0);
        if !held && !self.names.lead_to(id) {
            self.inodes.remove(&id);
        }
    }

    pub(super) fn collect_all(&mut self) {
        let all: Vec<InodeId> = self.inodes.keys().copied().collect();
        all.into_iter().for_each(|id| self.collect(id));
    }

    /// The power fails and returns.
    pub(super) fn recover(&mut self, seed: u64) -> Survivors {
        let mut random = Random::new(seed);
        let contents = self.inodes.values().filter_map(Inode::oldest_pending);
        let oldest = contents.chain(self.names.oldest_pending()).min().unwrap_or(self.order);
        let survival = Survival::choose(&mut random, oldest, self.order + 1);
        let mut survivors = self.names.crash(&survival, &mut random);
        let mut contents = Vec::new();
        for (id, inode) in &mut self.inodes {
            contents.push((*id, inode.crash(&survival, &mut random)));
        }
        self.random = random;
        self.faults.clear();
        self.lottery = None;
        self.kill();
        for (id, content) in contents {
            survivors.count(content.pending, content.kept);
            if self.inodes.contains_key(&id) {
                survivors.digest([2, id, content.digest, 0]);
            }
        }
        survivors
    }

    /// The process ends, and another one may start.
    pub(super) fn kill(&mut self) {
        self.epoch += 1;
        self.crashed = false;
        self.crashed_in = None;
        self.crash_at = None;
        self.locks.clear();
        self.names.forget_directories();
        self.inodes.values_mut().for_each(Inode::let_go);
        self.collect_all();
    }
}

/// Ends a change: in an error if the power failed meanwhile.
pub(super) fn survived(course: Course, asked: &Asked<'_>) -> Result<(), Error> {
    match course {
        Course::Dying => Err(asked.fails(Kind::Crashed)),
        Course::Normal | Course::Struck(_) => Ok(()),
    }
}
