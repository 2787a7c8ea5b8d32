//! A handle of a simulated file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::fault::Effect;
use super::state::{Course, InodeId, State, error_of};
use super::survival::Survival;
use crate::real::assert_aligned;
use crate::{Access, Error, File, Kind, Mapping, Operation};

pub(super) struct SimFile {
    state: Arc<Mutex<State>>,
    epoch: u64,
    inode: InodeId,
    path: PathBuf,
    access: Access,
    direct: bool,
    poisoned: AtomicBool,
}

impl SimFile {
    pub(super) fn new(
        state: &Arc<Mutex<State>>,
        locked: &mut State,
        inode: InodeId,
        path: PathBuf,
        access: Access,
    ) -> SimFile {
        locked.inode(inode).handles += 1;
        SimFile {
            state: Arc::clone(state),
            epoch: locked.epoch,
            inode,
            path,
            access,
            direct: access == Access::Direct && !locked.refuses_direct,
            poisoned: AtomicBool::new(false),
        }
    }

    /// The state, unless the power has failed since this handle was opened.
    fn live(&self, operation: Operation) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state.lock();
        if state.epoch != self.epoch {
            Err(self.error(operation, Kind::Crashed))
        } else {
            Ok(state)
        }
    }

    fn read<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.live(operation)?;
        state.begin_read(operation, &self.path)?;
        work(&mut state)
    }

    /// A change of length or room, which faults make fail before it does anything.
    fn change(
        &self,
        operation: Operation,
        growth: Option<(u64, u64)>,
        work: impl FnOnce(&mut State, u64),
    ) -> Result<(), Error> {
        self.check_writable(operation)?;
        let mut state = self.live(operation)?;
        let course = state.begin_change(operation, &self.path)?;
        if let Course::Struck(effect) = course {
            return Err(error_of(effect, operation, &self.path));
        }
        self.check_room(&mut state, operation, growth)?;
        let order = state.next_order();
        work(&mut state, order);
        state.survived(course, operation, &self.path)
    }

    fn check_room(
        &self,
        state: &mut State,
        operation: Operation,
        growth: Option<(u64, u64)>,
    ) -> Result<(), Error> {
        let (offset, len) = growth.unwrap_or((0, 0));
        let missing = state.inode(self.inode).missing(offset, len);
        let taken = if state.capacity == u64::MAX { 0 } else { state.allocated() };
        if missing > state.capacity.saturating_sub(taken) {
            return Err(error_of(Effect::Full, operation, &self.path).at(offset));
        }
        Ok(())
    }

    fn check_writable(&self, operation: Operation) -> Result<(), Error> {
        assert!(self.access != Access::Read, "{} was opened for reading", self.path.display());
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.error(operation, Kind::Poisoned));
        }
        Ok(())
    }

    fn error(&self, operation: Operation, kind: Kind) -> Error {
        Error::new(operation, &self.path, kind)
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64, Error> {
        self.read(Operation::Length, |state| Ok(state.inode(self.inode).len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.read(Operation::Read, |state| Ok(state.inode(self.inode).read(buf, offset)))
            .map_err(|error| error.at(offset))
    }

    fn unexpected_end(&self, offset: u64) -> Error {
        self.error(Operation::Read, Kind::UnexpectedEnd).at(offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        if self.access == Access::Direct {
            assert_aligned(buf, offset);
        }
        self.check_writable(Operation::Write)?;
        let mut state = self.live(Operation::Write)?;
        let course = state.begin_change(Operation::Write, &self.path)?;
        let growth = Some((offset, buf.len() as u64));
        self.check_room(&mut state, Operation::Write, growth)?;
        let order = state.next_order();
        let durable = self.is_direct() && course != Course::Dying;
        match course {
            Course::Normal | Course::Dying => {
                state.inode(self.inode).write(buf, offset, order, durable);
                state.survived(course, Operation::Write, &self.path)
            }
            Course::Struck(Effect::Lost) => Ok(()),
            Course::Struck(Effect::Misdirected(target)) => {
                state.inode(self.inode).write(buf, target, order, durable);
                Ok(())
            }
            Course::Struck(effect) => {
                if effect == Effect::Torn {
                    let mut random = state.random.clone();
                    state.inode(self.inode).write_torn(buf, offset, order, &mut random);
                    state.random = random;
                }
                if self.is_direct() && effect != Effect::Full {
                    self.poison();
                }
                Err(error_of(effect, Operation::Write, &self.path).at(offset))
            }
        }
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.check_writable(Operation::Sync)?;
        let mut state = self.live(Operation::Sync)?;
        let course = state.begin_change(Operation::Sync, &self.path)?;
        match course {
            Course::Normal => state.inode(self.inode).sync(),
            Course::Dying | Course::Struck(Effect::Lost) => {}
            Course::Struck(effect) => {
                let mut random = state.random.clone();
                let survival = Survival::Each(random.below(256) as u8);
                state.inode(self.inode).sync_failed(&survival, &mut random);
                state.random = random;
                self.poison();
                return Err(error_of(effect, Operation::Sync, &self.path));
            }
        }
        state.survived(course, Operation::Sync, &self.path)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.change(Operation::Allocate, Some((offset, len)), |state, order| {
            state.inode(self.inode).allocate(offset, len, order);
        })
        .map_err(|error| error.at(offset))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.change(Operation::PunchHole, None, |state, order| {
            state.inode(self.inode).punch_hole(offset, len, order);
        })
        .map_err(|error| error.at(offset))
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        self.change(Operation::Truncate, None, |state, order| {
            state.inode(self.inode).truncate(len, order);
        })
        .map_err(|error| error.at(len))
    }

    fn allocated(&self) -> Result<u64, Error> {
        self.read(Operation::Allocated, |state| Ok(state.inode(self.inode).allocated()))
    }

    fn map(&self, len: u64) -> Result<Mapping, Error> {
        self.read(Operation::Map, |state| {
            let mapped = state.inode(self.inode).map(len);
            mapped.map_err(|source| Error::from_io(Operation::Map, &self.path, source))
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.inode(self.inode).handles -= 1;
            state.collect(self.inode);
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("path", &self.path)
            .field("access", &self.access)
            .field("inode", &self.inode)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
