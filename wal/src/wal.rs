//! The log itself.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use revd_disk::{Disk, Error as DiskError};

use crate::append::{Writer, batch_bytes, buffer_bytes};
use crate::error::{Error, OpenError};
use crate::format::{BatchHeader, BatchKind, NUMBER_MAX, kept_bytes, padded};
use crate::group::{Groups, Role};
use crate::index::{Index, Points};
use crate::options::Options;
use crate::pool::{Before, BeginError, Pool, leaves_file_usable};
use crate::recover::{Recovered, Recovery, recover, walk_sealed};
use crate::replay::{How, Replay};
use crate::walk::{Found, Joint, Walk};

/// A write-ahead log in a directory of its own.
///
/// All calls take `&self` and may come from several threads. Appends, truncations and resets go one
/// after the other; reads, releases and upkeep go on beside them.
///
/// # Invariants
///
/// - A block that was acknowledged is never written again while its segment is in the log.
/// - At most one batch is not durable.
/// - After a failed write nothing is appended until the log is opened anew.
#[derive(Debug)]
pub struct Wal {
    /// Entries of concurrent appenders, which wait to go together. Its lock is taken within the
    /// writer's, or alone.
    groups: Groups,
    /// Locked while a batch is being written. Always taken before the others.
    writer: Mutex<Writer>,
    /// Locked while a file is prepared, filled or disposed of; an append takes it only when it
    /// needs a new segment or has caught up with the zeros. Taken before `index`.
    pool: Mutex<Pool>,
    /// Locked for a moment only.
    index: Mutex<Index>,
}

/// How all entries are read, and how a few.
const REPLAY: How = How { window: 256 << 10, mapped: true };
const READ: How = How { window: 64 << 10, mapped: false };

impl Wal {
    /// Opens the log in `dir`, or creates an empty one if there is none. The caller makes sure that
    /// nobody else has it open.
    ///
    /// The newest segment is read and verified, and with it how the log ends; of the others those
    /// that hold a truncation, and all headers. The rest is verified when it is first read: no
    /// entry comes out of the log that was not checked, and [`Wal::verify`] checks all. What the
    /// crash of an earlier process left un-synced is synced before this returns.
    ///
    /// # Errors
    ///
    /// [`OpenError::Corrupt`] if durable bytes that were read are damaged; nothing is cut off then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Wal, Recovery), OpenError> {
        let room = buffer_bytes(options.segment_bytes);
        let Recovered { index, joint, pool, recovery } = recover(disk, dir, options)?;
        let writer = Writer::new(Arc::clone(index.active()), joint);
        let wal = Wal {
            groups: Groups::new(room),
            writer: Mutex::new(writer),
            pool: Mutex::new(pool),
            index: Mutex::new(index),
        };
        Ok((wal, recovery))
    }

    /// The indexes of the first and the last entry; the last is one less if there is none.
    #[must_use]
    pub fn bounds(&self) -> (u64, u64) {
        let index = self.index.lock();
        (index.first(), index.next - 1)
    }

    /// Appends entries, the first of which has the index `first`, as one batch. They are durable
    /// when this returns.
    ///
    /// After a crash before that, all of them are in the log or none.
    ///
    /// # Errors
    ///
    /// See [`Error`]. If [`Error::is_full`], nothing was appended and the log goes on.
    pub fn append<T: AsRef<[u8]>>(&self, first: u64, entries: &[T]) -> Result<(), Error> {
        let mut writer = self.writer()?;
        let expected = writer.joint.next;
        if first != expected {
            return Err(Error::OutOfOrder { expected, found: first });
        }
        if entries.is_empty() {
            return Ok(());
        }
        let bytes = batch_bytes(entries)?;
        self.write(&mut writer, BatchKind::Entries, first, entries, bytes)
    }

    /// Appends entries behind whatever is there, and returns the index of the first; that of the
    /// next entry if there are none. They are durable when this returns.
    ///
    /// For several threads at once: while one batch is being written, those who come wait, and then
    /// all of them go as one batch, with one sync. Batches gathered in this way are bounded to
    /// 4 MiB; who has more than a third of that goes alone. The entries of one call stay together
    /// and in order; which call comes first is open.
    ///
    /// # Errors
    ///
    /// As [`Wal::append`]. A write that fails fails all the calls whose entries were in it.
    pub fn push<T: AsRef<[u8]>>(&self, entries: &[T]) -> Result<u64, Error> {
        if entries.is_empty() {
            return Ok(self.bounds().1 + 1);
        }
        let bytes = batch_bytes(entries)?;
        if !Groups::takes(bytes) {
            let mut writer = self.writer()?;
            let first = writer.joint.next;
            self.write(&mut writer, BatchKind::Entries, first, entries, bytes)?;
            return Ok(first);
        }
        match self.groups.join(entries, bytes) {
            Role::Follower { ticket, position } => Ok(ticket.wait()? + position),
            Role::Leader => {
                // Others join while this waits.
                let mut writer = self.writer.lock();
                let ticket = self.groups.take(&mut writer.gathered);
                let written = self.write_group(&mut writer);
                drop(writer);
                ticket.tell(&written);
                written
            }
        }
    }

    /// Removes the entries from `from` on. The removal is durable when this returns, and after a
    /// crash before that it has happened or not.
    ///
    /// It is one small write: a marker in the log, behind which entry `from` is appended next. Each
    /// segment keeps room for some: on a full disk a suffix can be removed once, in a segment of
    /// the default size 16 times, without anything being appended in between.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if `from` is before the first entry or after the next one; and see
    /// [`Error`].
    pub fn truncate_suffix(&self, from: u64) -> Result<(), Error> {
        let mut writer = self.writer()?;
        let (first, last) = self.bounds();
        if from < first || from > last + 1 {
            return Err(Error::Missing { found: from, first, last });
        }
        if from == last + 1 {
            return Ok(());
        }
        let none: &[&[u8]] = &[];
        let bytes = batch_bytes(none)?;
        self.write(&mut writer, BatchKind::Truncation, from, none, bytes)
    }

    /// Lets go of entries before `before`: of every segment of which all entries are before it. So
    /// some entries before it may stay.
    ///
    /// Their files are recycled or removed, one durable step after the other; after a crash some of
    /// the entries may be in the log again.
    ///
    /// # Errors
    ///
    /// If a file cannot be disposed of: the entries are out of the log all the same, and the next
    /// call or [`Wal::upkeep`] tries again.
    pub fn release_prefix(&self, before: u64) -> Result<(), Error> {
        let mut pool = self.pool.lock();
        let mut index = self.index.lock();
        while let Some(segment) = index.release_oldest(before) {
            pool.retire([segment]);
        }
        drop(index);
        while pool.dispose_one()? {}
        Ok(())
    }

    /// The first entry that is kept where the log may take `bytes` of the disk: that of the oldest
    /// segment with which it does not take more, and of the newest segment at least.
    #[must_use]
    pub fn first_within(&self, bytes: u64) -> u64 {
        self.index.lock().first_within(bytes)
    }

    /// Empties the log; the next entry has the index `next`. Durable when this returns, and after a
    /// crash before that it has happened or not.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] if `next` is 0 or above 2^62; and see [`Error`]. If
    /// [`Error::is_full`], the log is as it was.
    pub fn reset(&self, next: u64) -> Result<(), Error> {
        let mut writer = self.writer()?;
        if next == 0 || next > NUMBER_MAX {
            return Err(Error::OutOfOrder { expected: next.clamp(1, NUMBER_MAX), found: next });
        }
        let joint = Joint { offset: 0, chain: 0, next, ..writer.joint };
        let mut pool = self.pool.lock();
        let sequence = writer.segment.sequence() + 1;
        let begun = pool.begin(sequence, joint, Before::Void, 0);
        let origin = begun.map_err(|failure| begin_error(&mut writer, failure))?;
        writer.joint = origin.start();
        writer.segment = Arc::clone(&origin);
        let void = self.index.lock().restart(origin);
        // Their files are void, so upkeep or the next open may clear them away.
        pool.retire(void);
        Ok(())
    }

    /// Reads entries `first` to `last`: at least one, and no more once they have `max_bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if not all of them are in the log; [`Error::Corrupt`] if what is read is
    /// not what was written. The first reading in a segment that was sealed before the log was
    /// opened reads and checks all of that segment.
    pub fn read(&self, first: u64, last: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.locate(first)?;
        let mut replay = self.replay_range(first, Some(last), READ)?;
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        while let Some(len) = replay.peek()? {
            bytes = bytes.saturating_add(len);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            let Some((_, entry)) = replay.next().transpose()? else {
                break;
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    /// All entries from `first` on, in order, in bounded memory. None if `first` is the next index.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if `first` is before the first entry or after the next one.
    pub fn replay(&self, first: u64) -> Result<Replay, Error> {
        self.replay_range(first, None, REPLAY)
    }

    /// Does one bounded step of what makes later appends fast: fills a piece with zeros, prepares
    /// the next segment, or disposes of a released one. True if it did something, so that it should
    /// be called again; false if nothing is due until more is appended or released.
    ///
    /// Call it from a thread of its own. An append waits for it for one step at most, and only if
    /// it needs the very place that is being prepared.
    ///
    /// # Errors
    ///
    /// If the disk refuses; the log itself is as it was. The next call tries again. After any error
    /// but a full disk the file that was being filled is poisoned: if it is the one that is
    /// appended to, so is the log.
    pub fn upkeep(&self) -> Result<bool, Error> {
        let mut pool = self.pool.lock();
        let active = Arc::clone(self.index.lock().active());
        if pool.dispose_one()? {
            return Ok(true);
        }
        match pool.fill_one(&active) {
            // The file that is appended to is poisoned. This must not look like an error after
            // which the log goes on.
            Err(error)
                if error.is_full()
                    && !leaves_file_usable(&error)
                    && error.path() == active.path() =>
            {
                Err(Error::Poisoned)
            }
            filled => Ok(filled?),
        }
    }

    /// Reads the whole log and checks every byte of it that matters.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] names what is damaged.
    pub fn verify(&self) -> Result<Verified, Error> {
        let index = self.index.lock();
        let segments = index.segments.clone();
        let end = index.active().end();
        drop(index);
        let mut verified = Verified { segments: segments.len(), ..Verified::default() };
        for (position, segment) in segments.iter().enumerate() {
            let mut walk = Walk::new(segment);
            let successor = segments.get(position + 1);
            let goes_on = |joint: &Joint| match successor {
                Some(successor) => joint.batch < successor.start().batch,
                None => joint.offset < end,
            };
            while goes_on(&walk.joint) {
                let offset = walk.joint.offset;
                let Found::Batch(header) = walk.step()? else {
                    return Err(segment.corruption(offset, "batch", walk.joint.batch, 0).into());
                };
                verified.batches += 1;
                verified.entries += u64::from(header.count);
                verified.bytes += header.padded();
            }
            if let Some(successor) = successor {
                walk.check_seal(successor)?;
            }
        }
        Ok(verified)
    }

    /// Counters, for whoever watches.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let spares = self.pool.lock().spares();
        let index = self.index.lock();
        let appended = index.appended;
        let active = index.active();
        Stats {
            segments: index.segments.len(),
            spares,
            capacity_bytes: index.capacity_bytes(),
            used_bytes: index.segments.iter().map(|segment| segment.end()).sum(),
            filled_ahead_bytes: active.filled() - active.end(),
            appended_batches: appended.batches,
            appended_entries: appended.entries,
            appended_bytes: appended.bytes,
            writes: appended.writes,
        }
    }

    /// The writer, unless an earlier write failed.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        let writer = self.writer.lock();
        if writer.poisoned { Err(Error::Poisoned) } else { Ok(writer) }
    }

    fn write<T: AsRef<[u8]>>(
        &self,
        writer: &mut Writer,
        kind: BatchKind,
        first: u64,
        entries: &[T],
        bytes: u64,
    ) -> Result<(), Error> {
        self.make_room(writer, kind, bytes)?;
        let offset = writer.joint.offset;
        let written = writer.write(kind, first, entries, bytes);
        self.settle(writer, offset, written)
    }

    /// Writes a group, which was taken, as one batch; returns the index of its first entry.
    fn write_group(&self, writer: &mut Writer) -> Result<u64, Error> {
        if writer.poisoned {
            return Err(Error::Poisoned);
        }
        let first = writer.joint.next;
        let bytes = writer.gathered.bytes();
        self.make_room(writer, BatchKind::Entries, bytes)?;
        let offset = writer.joint.offset;
        let written = writer.write_gathered();
        self.settle(writer, offset, written)?;
        Ok(first)
    }

    /// Sees to it that a batch of `bytes` fits behind the end, and that nobody else writes there.
    fn make_room(&self, writer: &mut Writer, kind: BatchKind, bytes: u64) -> Result<(), Error> {
        let capacity = writer.segment.capacity();
        let kept = match kind {
            BatchKind::Entries => kept_bytes(capacity),
            BatchKind::Truncation => 0,
        };
        if writer.joint.offset + padded(bytes) + kept > capacity {
            self.roll(writer, bytes)?;
        }
        let end = writer.joint.offset + padded(bytes);
        let end = end + writer.segment.clearance(end) as u64;
        // Keeps upkeep from writing zeros before the end.
        if end > writer.segment.filled() {
            let _pool = self.pool.lock();
            writer.segment.set_filled(end);
        }
        Ok(())
    }

    /// Shows a durable batch to readers, or decides what a failure means.
    fn settle(
        &self,
        writer: &mut Writer,
        offset: u64,
        written: Result<(BatchHeader, u64), DiskError>,
    ) -> Result<(), Error> {
        match written {
            Ok((header, writes)) => {
                self.publish(writer, &header, offset, writes);
                Ok(())
            }
            Err(error) if leaves_file_usable(&error) => {
                writer.segment.set_littered();
                Err(error.into())
            }
            Err(error) => Err(poison(writer, error)),
        }
    }

    /// Goes on in a new segment that has room for `bytes`.
    fn roll(&self, writer: &mut Writer, bytes: u64) -> Result<(), Error> {
        let mut pool = self.pool.lock();
        let before =
            if writer.segment.is_truncated() { Before::Truncations } else { Before::Entries };
        let begun = pool.begin(writer.segment.sequence() + 1, writer.joint, before, bytes);
        let segment = begun.map_err(|failure| begin_error(writer, failure))?;
        writer.joint = segment.start();
        writer.segment = Arc::clone(&segment);
        self.index.lock().push(segment);
        Ok(())
    }

    fn publish(&self, writer: &Writer, header: &BatchHeader, offset: u64, writes: u64) {
        let mut index = self.index.lock();
        index.appended.batches += 1;
        index.appended.entries += u64::from(header.count);
        index.appended.bytes += header.padded();
        index.appended.writes += writes;
        if header.kind == BatchKind::Truncation {
            writer.segment.set_truncated();
        }
        writer.segment.set_end(writer.joint.offset);
        index.record(header, writer.segment.sequence(), offset);
    }

    /// Reads the segment that holds entry `first`, if that was not done since the log was opened:
    /// reading a few entries then begins near them.
    fn locate(&self, first: u64) -> Result<(), Error> {
        let unread = self.index.lock().unread(first);
        let Some((segment, successor)) = unread else {
            return Ok(());
        };
        let mut points = Points::default();
        let sequence = segment.sequence();
        walk_sealed(&segment, &successor, &mut |header, offset| {
            points.record(header, sequence, offset);
        })?;
        self.index.lock().refine(sequence, points);
        segment.set_verified();
        Ok(())
    }

    fn replay_range(&self, first: u64, last: Option<u64>, how: How) -> Result<Replay, Error> {
        let index = self.index.lock();
        let (from, next) = (index.first(), index.next);
        let end = last.map_or(next, |last| last.saturating_add(1));
        if first < from || first > next || end > next {
            let found = if first < from || first > next { first } else { end - 1 };
            return Err(Error::Missing { found, first: from, last: next - 1 });
        }
        let (segments, points) = index.from(first);
        drop(index);
        Ok(Replay::new(segments, points, first, end, how))
    }
}

/// A segment that could not be begun leaves the log usable only if nothing was changed.
fn begin_error(writer: &mut Writer, failure: BeginError) -> Error {
    if failure.harmless { failure.error.into() } else { poison(writer, failure.error) }
}

/// Refuses all further changes. The error must not look like one after which the log goes on.
fn poison(writer: &mut Writer, error: DiskError) -> Error {
    writer.poisoned = true;
    if error.is_full() { Error::Poisoned } else { error.into() }
}

/// What [`Wal::verify`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Segments.
    pub segments: usize,
    /// Batches in them, truncations included.
    pub batches: u64,
    /// Entries in them, truncated ones included.
    pub entries: u64,
    /// Bytes that the batches take.
    pub bytes: u64,
}

/// Counters of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Segments of the log.
    pub segments: usize,
    /// Files that wait to become segments.
    pub spares: usize,
    /// Bytes that the segments take on the disk.
    pub capacity_bytes: u64,
    /// Bytes of them that are written. A segment that was sealed before the log was opened counts
    /// as a whole until it is read.
    pub used_bytes: u64,
    /// Bytes after the end of the log, in its last segment, that upkeep has prepared.
    pub filled_ahead_bytes: u64,
    /// Batches appended since the log was opened, truncations included.
    pub appended_batches: u64,
    /// Entries appended since the log was opened.
    pub appended_entries: u64,
    /// Bytes that these batches take, in whole blocks of 4096.
    pub appended_bytes: u64,
    /// Write operations for these batches, all of them synchronous.
    pub writes: u64,
}
