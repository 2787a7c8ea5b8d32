//! Files that become segments, and segments that become files again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, Error as DiskError, File, Open, Operation};

use crate::append::HUGE_PAGE_BYTES;
use crate::format::{SegmentHeader, capacity_for};
use crate::options::Options;
use crate::segment::{Segment, segment_name, spare_name};
use crate::walk::Joint;

/// How much upkeep writes at a time. An append that has caught up with the zeros waits for one
/// such write at most.
const FILL_STEP: u64 = 1 << 20;

/// Prepares the files of coming segments and takes back those of released ones.
///
/// A released segment is recycled by renaming it twice: out of the log, and back into it under a
/// later number. Each step is durable before the next is taken, so that the numbers of the log's
/// segments never show a gap.
#[derive(Debug)]
pub(crate) struct Pool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    spares: VecDeque<Spare>,
    /// Out of the log in memory, but not yet on the disk; the oldest in front.
    retired: VecDeque<Arc<Segment>>,
    /// Above the number of every spare file that there is.
    next_spare: u64,
    zeros: Buffer,
}

/// A file of the right size that is no segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) capacity: u64,
    /// Up to here the file system has written blocks.
    pub(crate) filled: u64,
    /// It may hold bytes of an earlier use.
    pub(crate) stale: bool,
}

/// What is before a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing that counts: the segment is an origin.
    Void,
    /// A segment with entries alone.
    Entries,
    /// A segment with a truncation.
    Truncations,
}

/// A segment could not be begun.
#[derive(Debug)]
pub(crate) struct BeginError {
    pub(crate) error: DiskError,
    /// The disk is full, and the log is as it was before.
    pub(crate) harmless: bool,
}

impl Pool {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: Options,
        spares: VecDeque<Spare>,
        next_spare: u64,
    ) -> Pool {
        let (retired, zeros) = (VecDeque::new(), Buffer::new());
        Pool { disk, dir, options, spares, retired, next_spare, zeros }
    }

    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Makes a durable, empty segment that has room for a batch of `bytes`.
    ///
    /// The header is durable before the file gets its name, and the name before anything is
    /// appended: a crash leaves the log without this segment, or with it and empty.
    pub(crate) fn begin(
        &mut self,
        sequence: u64,
        joint: Joint,
        before: Before,
        bytes: u64,
    ) -> Result<Arc<Segment>, BeginError> {
        let capacity = self.options.segment_bytes.max(capacity_for(bytes));
        let (header, spare) = self
            .prepare(sequence, joint, before, capacity)
            .map_err(|error| BeginError { harmless: error.is_full(), error })?;
        let path = self.dir.join(segment_name(sequence));
        if let Err(error) = self.disk.rename(&spare.path, &path) {
            let harmless = error.is_full();
            self.put_back(spare);
            return Err(BeginError { harmless, error });
        }
        // From here on nobody knows what a crash leaves until it has succeeded.
        self.install(path, header, spare.filled)
            .map_err(|error| BeginError { error, harmless: false })
    }

    fn install(
        &self,
        path: PathBuf,
        header: SegmentHeader,
        filled: u64,
    ) -> Result<Arc<Segment>, DiskError> {
        self.disk.sync_dir(&self.dir)?;
        // A handle under the new name, for the sake of error messages.
        let file = self.disk.open(&path, Open::existing(Access::Direct))?;
        Ok(Arc::new(Segment::new(path, file, header, filled)))
    }

    /// Writes the header of a coming segment into a spare file.
    fn prepare(
        &mut self,
        sequence: u64,
        joint: Joint,
        before: Before,
        capacity: u64,
    ) -> Result<(SegmentHeader, Spare), DiskError> {
        let spare = match self.spares.iter().position(|spare| spare.capacity == capacity) {
            Some(position) => self.spares.remove(position).expect("the position was just found"),
            None => self.create(capacity)?,
        };
        let header = SegmentHeader {
            owner: self.options.owner,
            sequence,
            salt: self.draw_salt(sequence, &spare)?,
            first_index: joint.next,
            first_batch: joint.batch,
            capacity,
            first_chain: joint.chain,
            origin: before == Before::Void,
            stale: spare.stale,
            entries_before: before == Before::Entries,
            written: spare.filled,
        };
        // In a file that was used before, a block of zeros behind it: that there is no batch yet
        // must be seen.
        let mut block = Buffer::zeroed(if spare.stale { 2 * BLOCK } else { BLOCK });
        header.encode(&mut block);
        let written = spare
            .file
            .write_at(&block, 0)
            .and_then(|()| if spare.file.is_direct() { Ok(()) } else { spare.file.sync_data() });
        if let Err(error) = written {
            if leaves_file_usable(&error) {
                self.put_back(spare);
            } else {
                self.discard(&spare);
            }
            return Err(error);
        }
        Ok((header, spare))
    }

    /// Gives up a spare file whose handle is poisoned. It is no segment: if it stays, the next open
    /// deals with it.
    fn discard(&self, spare: &Spare) {
        let _ = self.disk.remove(&spare.path);
    }

    fn put_back(&mut self, spare: Spare) {
        if spare.capacity == self.options.segment_bytes {
            self.spares.push_front(spare);
        } else {
            // Made for one batch, and of no use for another; if it stays, the next open removes it.
            let _ = self.disk.remove(&spare.path);
        }
    }

    /// A number that no batch in the file was written with. What is there already is mixed in, so
    /// that this holds even if the caller's seed is the same each time.
    fn draw_salt(&self, sequence: u64, spare: &Spare) -> Result<u64, DiskError> {
        let mut old = [0; BLOCK];
        if spare.stale {
            spare.file.read_at(&mut old, 0)?;
        }
        let old = u64::from(crc32fast::hash(&old));
        Ok(mix(mix(mix(self.options.salt_seed) ^ sequence) ^ old))
    }

    /// Creates a spare file and reserves its room.
    fn create(&mut self, capacity: u64) -> Result<Spare, DiskError> {
        let path = self.dir.join(spare_name(self.next_spare));
        self.next_spare += 1;
        let file = self.disk.open(&path, Open::new_file(Access::Direct))?;
        if let Err(error) = file.allocate(0, capacity).and_then(|()| file.sync_data()) {
            // Gives back what there is; the first error is the one to tell.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(Spare { path, file, capacity, filled: 0, stale: false })
    }

    /// Takes over segments that have left the log. They leave the disk in this order.
    pub(crate) fn retire(&mut self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        self.retired.extend(segments);
    }

    /// Takes the oldest retired segment off the disk, or keeps its file as a spare. False if there
    /// is none.
    pub(crate) fn dispose_one(&mut self) -> Result<bool, DiskError> {
        let Some(mut segment) = self.retired.pop_front() else {
            return Ok(false);
        };
        let wanted = self.spares.len() < self.options.spares_max
            && segment.capacity() == self.options.segment_bytes;
        // A reader that is under way keeps the file from being overwritten, not from leaving.
        let disposed = match Arc::get_mut(&mut segment) {
            Some(unread) if wanted => self.recycle(unread),
            _ => self.remove(&segment),
        };
        if disposed.is_err() {
            self.retired.push_front(segment);
        }
        disposed.map(|()| true)
    }

    /// Makes a spare of a segment that is borrowed by nobody else, not even by a reader.
    fn recycle(&mut self, segment: &mut Segment) -> Result<(), DiskError> {
        let path = self.dir.join(spare_name(self.next_spare));
        match self.disk.rename(segment.path(), &path) {
            // An earlier attempt came so far, if not further; the next open finds the file.
            Err(error) if error.is_not_found() => return self.disk.sync_dir(&self.dir),
            renamed => renamed?,
        }
        self.next_spare += 1;
        // Nothing is written to the file while a crash might give it its old name back.
        self.disk.sync_dir(&self.dir)?;
        let file = self.disk.open(&path, Open::existing(Access::Direct))?;
        let (capacity, filled) = (segment.capacity(), segment.filled());
        self.spares.push_back(Spare { path, file, capacity, filled, stale: true });
        Ok(())
    }

    fn remove(&self, segment: &Segment) -> Result<(), DiskError> {
        match self.disk.remove(segment.path()) {
            // An earlier attempt came so far.
            Err(error) if !error.is_not_found() => Err(error),
            _ => self.disk.sync_dir(&self.dir),
        }
    }

    /// Writes zeros ahead of the log's end, and prepares the next segment when its turn is near:
    /// one step. False if nothing was due.
    ///
    /// Nothing depends on the zeros but speed.
    pub(crate) fn fill_one(&mut self, active: &Segment) -> Result<bool, DiskError> {
        let wanted = active.end() + self.options.fill_ahead_bytes;
        if active.filled() < wanted.min(active.capacity()) {
            let filled = self.fill(active.file(), active.filled(), active.capacity())?;
            active.set_filled(filled);
            return Ok(true);
        }
        let wanted = wanted.saturating_sub(active.capacity()).min(self.options.segment_bytes);
        if wanted == 0 {
            return Ok(false);
        }
        let Some(spare) = self.spares.front() else {
            let spare = self.create(self.options.segment_bytes)?;
            self.spares.push_back(spare);
            return Ok(true);
        };
        if wanted <= spare.filled {
            return Ok(false);
        }
        let (file, from, capacity) = (Arc::clone(&spare.file), spare.filled, spare.capacity);
        match self.fill(&file, from, capacity) {
            Ok(filled) => {
                self.spares[0].filled = filled;
                Ok(true)
            }
            Err(error) => {
                if !leaves_file_usable(&error)
                    && let Some(spare) = self.spares.pop_front()
                {
                    self.discard(&spare);
                }
                Err(error)
            }
        }
    }

    fn fill(&mut self, file: &Arc<dyn File>, from: u64, capacity: u64) -> Result<u64, DiskError> {
        let len = FILL_STEP.min(capacity - from) as usize;
        if self.zeros.len() < len {
            self.zeros = zeros(len);
        }
        file.write_unsynced_at(&self.zeros[..len], from)?;
        // That the blocks are written now is part of the file's metadata: an append into them would
        // have to wait for the journal.
        file.sync_data()?;
        Ok(from + len as u64)
    }
}

/// True if the file of a write that failed can be used all the same. A write that finds the disk
/// full leaves nothing behind that matters; a sync that finds it so has lost something.
pub(crate) fn leaves_file_usable(error: &DiskError) -> bool {
    error.is_full() && error.operation() == Operation::Write
}

/// At least `len` zeros, in huge pages if it is a whole step.
fn zeros(len: usize) -> Buffer {
    let len = if len as u64 == FILL_STEP { HUGE_PAGE_BYTES } else { len };
    let mut zeros = Buffer::zeroed(len);
    // Memory that was never written to is all the same small page.
    zeros.fill(0);
    zeros
}

/// Spreads a number over all bits (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
