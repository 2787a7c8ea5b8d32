//! A handle of a simulated file.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use super::fault::Effect;
use super::state::{Asked, Course, InodeId, State, survived};
use super::survival::Survival;
use crate::file::MARK_MAX;
use crate::real::assert_aligned;
use crate::{Access, BLOCK, Error, File, Kind, Mapping, Operation};

pub(super) struct SimFile {
    state: Arc<Mutex<State>>,
    epoch: u64,
    /// Tells its mark from those of other handles.
    handle: u64,
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
            handle: locked.next_handle(),
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
            Err(self.asked(operation).fails(Kind::Crashed))
        } else {
            Ok(state)
        }
    }

    fn asked(&self, operation: Operation) -> Asked<'_> {
        Asked { file: Some(self.inode), ..Asked::new(operation, &self.path) }
    }

    fn read<T>(
        &self,
        asked: &Asked<'_>,
        work: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.live(asked.operation)?;
        state.begin_read(asked)?;
        work(&mut state)
    }

    /// A change of length or room, which faults make fail before it does anything.
    fn change(
        &self,
        asked: &Asked<'_>,
        grows: bool,
        work: impl FnOnce(&mut State, u64),
    ) -> Result<(), Error> {
        self.check_writable(asked)?;
        let mut state = self.live(asked.operation)?;
        let course = state.begin_plain_change(asked)?;
        if grows {
            self.check_room(&mut state, asked)?;
        }
        let order = state.next_order();
        work(&mut state, order);
        survived(course, asked)
    }

    fn check_room(&self, state: &mut State, asked: &Asked<'_>) -> Result<(), Error> {
        let missing = state.inode(self.inode).missing(asked.offset, asked.bytes);
        let taken = if state.capacity == u64::MAX { 0 } else { state.allocated() };
        if missing > state.capacity.saturating_sub(taken) {
            return Err(asked.fails_with(Errno::NOSPC));
        }
        Ok(())
    }

    /// Writes; `synced` says that what was written is to be durable at once.
    fn write(&self, buf: &[u8], offset: u64, synced: bool) -> Result<(), Error> {
        if self.access == Access::Direct {
            assert_aligned(buf, offset);
        }
        let bytes = buf.len() as u64;
        let asked = Asked { offset, bytes, synced, ..self.asked(Operation::Write) };
        let written = self.check_writable(&asked).and_then(|()| {
            let mut state = self.live(Operation::Write)?;
            let course = state.begin_change(&asked)?;
            self.check_room(&mut state, &asked)?;
            match course {
                Course::Struck(effect) => self.write_struck(&mut state, buf, &asked, effect),
                _ => {
                    let order = state.next_order();
                    let durable = synced && course == Course::Normal;
                    state.inode(self.inode).write(buf, offset, order, durable);
                    survived(course, &asked)
                }
            }
        });
        written.map_err(|error| error.at(offset))
    }

    /// A write that a fault strikes.
    fn write_struck(
        &self,
        state: &mut State,
        buf: &[u8],
        asked: &Asked<'_>,
        effect: Effect,
    ) -> Result<(), Error> {
        let (offset, order) = (asked.offset, state.next_order());
        let (inode, random) = state.inode_and_random(self.inode);
        match effect {
            Effect::Lost => return Ok(()),
            Effect::Misdirected(target) => {
                if is_within(target, asked.bytes) {
                    inode.write(buf, target, order, asked.synced);
                }
                return Ok(());
            }
            Effect::Swapped => {
                inode.write(&swapped(buf), offset, order, asked.synced);
                return Ok(());
            }
            Effect::Torn => inode.write_torn(buf, offset, order, random),
            Effect::Short(bytes) => {
                let unit = if self.access == Access::Direct { BLOCK } else { 1 };
                let bytes = usize::try_from(bytes).map_or(buf.len(), |bytes| bytes.min(buf.len()));
                inode.write(&buf[..bytes - bytes % unit], offset, order, asked.synced);
            }
            _ => {}
        }
        let error = asked.struck_by(effect);
        if self.is_direct() && !error.is_full() {
            self.poison();
        }
        Err(error)
    }

    /// Refuses what the operating system would: a change through a handle that was opened for
    /// reading, or has failed, and a range that cannot be counted.
    fn check_writable(&self, asked: &Asked<'_>) -> Result<(), Error> {
        if self.access == Access::Read {
            return Err(asked.fails_with(Errno::BADF));
        }
        if self.poisoned.load(Ordering::Acquire) {
            return Err(asked.fails(Kind::Poisoned));
        }
        if !is_within(asked.offset, asked.bytes) {
            return Err(asked.fails_with(Errno::INVAL));
        }
        Ok(())
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64, Error> {
        self.read(&self.asked(Operation::Length), |state| Ok(state.inode(self.inode).len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        let bytes = buf.len() as u64;
        let asked = Asked { offset, bytes, ..self.asked(Operation::Read) };
        let read = self.read(&asked, |state| {
            if !is_within(offset, bytes) {
                return Err(asked.fails_with(Errno::INVAL));
            }
            Ok(state.inode(self.inode).read(buf, offset))
        });
        read.map_err(|error| error.at(offset))
    }

    fn unexpected_end(&self, offset: u64) -> Error {
        self.asked(Operation::Read).fails(Kind::UnexpectedEnd).at(offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write(buf, offset, self.is_direct())
    }

    fn write_unsynced_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write(buf, offset, false)
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn sync_data(&self) -> Result<(), Error> {
        let asked = self.asked(Operation::Sync);
        if self.poisoned.load(Ordering::Acquire) {
            return Err(asked.fails(Kind::Poisoned));
        }
        let mut state = self.live(Operation::Sync)?;
        let course = state.begin_change(&asked)?;
        match course {
            Course::Normal => state.inode(self.inode).sync(),
            Course::Dying | Course::Struck(Effect::Lost) => {}
            Course::Struck(effect) => {
                let (inode, random) = state.inode_and_random(self.inode);
                let survival = Survival::Each(random.below(256) as u8);
                inode.sync_failed(&survival, random);
                self.poison();
                return Err(asked.struck_by(effect));
            }
        }
        survived(course, &asked)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), Error> {
        let asked = Asked { offset, bytes: len, ..self.asked(Operation::Allocate) };
        let allocated = self.change(&asked, true, |state, order| {
            state.inode(self.inode).allocate(offset, len, order);
        });
        allocated.map_err(|error| error.at(offset))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Error> {
        let asked = Asked { offset, bytes: len, ..self.asked(Operation::PunchHole) };
        let punched = self.change(&asked, false, |state, order| {
            state.inode(self.inode).punch_hole(offset, len, order);
        });
        punched.map_err(|error| error.at(offset))
    }

    fn truncate(&self, len: u64) -> Result<(), Error> {
        let asked = Asked { offset: len, ..self.asked(Operation::Truncate) };
        let truncated = self.change(&asked, false, |state, order| {
            state.inode(self.inode).truncate(len, order);
        });
        truncated.map_err(|error| error.at(len))
    }

    fn allocated(&self) -> Result<u64, Error> {
        self.read(&self.asked(Operation::Allocated), |state| {
            Ok(state.inode(self.inode).allocated())
        })
    }

    fn map(&self, len: u64) -> Result<Mapping, Error> {
        self.read(&self.asked(Operation::Map), |state| {
            let mapped = state.inode(self.inode).map(len);
            mapped.map_err(|source| Error::from_io(Operation::Map, &self.path, source))
        })
    }

    fn mark(&self, at: u64) -> Result<(), Error> {
        let asked = Asked { offset: at, ..self.asked(Operation::Mark) };
        let marked = self.read(&asked, |state| {
            if at > MARK_MAX {
                return Err(asked.fails_with(Errno::INVAL));
            }
            state.inode(self.inode).mark(self.handle, at);
            Ok(())
        });
        marked.map_err(|error| error.at(at))
    }

    fn is_marked(&self, range: Range<u64>) -> Result<bool, Error> {
        let asked = Asked { offset: range.start, ..self.asked(Operation::Mark) };
        let is_marked =
            self.read(&asked, |state| Ok(state.inode(self.inode).is_marked(&range, self.handle)));
        is_marked.map_err(|error| error.at(range.start))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.inode(self.inode).close(self.handle);
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

/// True if the operating system can count a range of a file: it does so with a sign.
fn is_within(offset: u64, len: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| i64::try_from(end).is_ok())
}

/// The bytes with the first and the last block in each other's place.
fn swapped(buf: &[u8]) -> Vec<u8> {
    let mut swapped = buf.to_vec();
    if buf.len() >= 2 * BLOCK {
        let (first, last) = swapped.split_at_mut(buf.len() - BLOCK);
        first[..BLOCK].swap_with_slice(last);
    }
    swapped
}
