//! Making the published state durable.
//!
//! [`Tree::checkpoint`] freezes it: every node that is only in memory gets its blocks, the
//! allocation map of the new state is made, and all goes into a [`Checkpoint`], a value that any
//! thread may write while the writer goes on. Nothing is copied but the changed map pages: frozen
//! nodes are shared, and the writer copies a frozen node before it changes it.
//!
//! Children are written before their parents, which hold their checksums; the commit record holds
//! those of the roots and of all that was written; one of two root slots holds that of the commit
//! record; and one sync makes all of it durable. If the power fails before, the checksums show that
//! something is missing, and the other slot leads to the state before, none of whose blocks was
//! written to.

use std::sync::Arc;

use revd_disk::Buffer;

use crate::format::{
    BLOCK_BYTES, Commit, Encode, NOTE_BYTES_MAX, Run, SLOT_BLOCKS, Slot, blocks_of, checksum,
};
use crate::history::HistoryEdit;
use crate::inner::MemInner;
use crate::leaf::{Extent, MemLeaf};
use crate::link::{Home, Link};
use crate::pages::{Epoch, Pages};
use crate::rows::MemRows;
use crate::space::MapImage;
use crate::tree::Dirty;
use crate::view::{Recent, RecentLeaves};
use crate::{Error, Key, Tree};

/// More closed leaves than this are put below the inner nodes with the next checkpoint. Until then
/// the commit record lists them, so that small checkpoints write no inner node at all.
const RECENT_LEAVES_MAX: usize = 64;
/// An open leaf whose long values take more than this is closed: they stay in memory as long as
/// their leaf does.
const OPEN_EXTENT_BYTES_MAX: usize = 1 << 20;
/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 4 << 20;
/// Writes of this many bytes go past the page cache: copying them there takes longer than the
/// device, and whoever writes so much at once will not soon read it all.
const DIRECT_BYTES: usize = 256 << 10;

/// The copy of the open leaf that is on disk.
#[derive(Clone, Debug)]
pub(crate) struct OpenSaved {
    pub(crate) leaf: Arc<MemLeaf>,
    pub(crate) segments: usize,
    pub(crate) home: Arc<Home>,
}

/// What the writer must know of a checkpoint until it has been written.
#[derive(Debug)]
pub(crate) struct Outstanding {
    sequence: u64,
    note: Vec<u8>,
    commit: Run,
    open_saved: Option<OpenSaved>,
    retired: Vec<Run>,
    punched: Vec<Run>,
    blocks: u64,
}

impl Outstanding {
    pub(crate) fn punching(&self) -> u64 {
        self.punched.iter().map(|run| u64::from(run.blocks)).sum()
    }
}

/// Everything that has been given its blocks.
struct Frozen {
    pieces: Vec<Piece>,
    map: Vec<MapImage>,
    commit_run: Run,
    open_saved: Option<OpenSaved>,
    retired: Vec<Run>,
    blocks: u64,
}

/// A node or extent that a checkpoint writes.
#[derive(Debug)]
enum Piece {
    Extent(Arc<Extent>),
    Leaf(Arc<MemLeaf>),
    Open(OpenSaved),
    Rows(Arc<MemRows>),
    Inner(Arc<MemInner>),
}

impl Piece {
    fn home(&self) -> &Home {
        match self {
            Piece::Extent(extent) => &extent.home,
            Piece::Leaf(leaf) => &leaf.home,
            Piece::Open(saved) => &saved.home,
            Piece::Rows(rows) => &rows.home,
            Piece::Inner(inner) => &inner.home,
        }
    }

    fn blocks(&self) -> u32 {
        match self {
            Piece::Extent(extent) => extent.blocks(),
            Piece::Leaf(leaf) => blocks_of(leaf.encoded_len(leaf.segments.len())),
            Piece::Open(saved) => blocks_of(saved.leaf.encoded_len(saved.segments)),
            Piece::Rows(rows) => blocks_of(rows.encoded_len()),
            Piece::Inner(inner) => blocks_of(inner.encoded_len()),
        }
    }

    /// True for nodes that the writer itself will read again, at the next sweep or after it, and
    /// must not have to wait for.
    fn is_read_soon(&self) -> bool {
        matches!(self, Piece::Inner(_) | Piece::Open(_))
    }

    fn encode(&self, out: &mut impl Encode) {
        match self {
            Piece::Extent(extent) => out.bytes(&extent.bytes),
            Piece::Leaf(leaf) => leaf.encode(leaf.segments.len(), out),
            Piece::Open(saved) => saved.leaf.encode(saved.segments, out),
            Piece::Rows(rows) => rows.encode(out),
            Piece::Inner(inner) => inner.encode(out),
        }
    }
}

/// A frozen state that waits to be written, by [`Checkpoint::write`] on any thread.
///
/// Dropping it unwritten leaves the tree without checkpoints for the rest of its life.
#[derive(Debug)]
#[must_use = "a checkpoint is durable only when it has been written"]
pub struct Checkpoint {
    pages: Arc<Pages>,
    pieces: Vec<Piece>,
    map: Vec<MapImage>,
    /// All of the root but what is known only when the pieces are written.
    commit: Commit,
    commit_run: Run,
    base: Link,
    open: Option<Arc<Home>>,
    recent: Vec<(Key, Link)>,
    tables: Vec<(u8, Link)>,
    map_homes: Vec<Arc<Home>>,
    /// Free blocks, some of which the pieces may lie in, that zeros go to first.
    primed: Vec<Run>,
    punched: Vec<Run>,
}

/// The proof that a checkpoint is durable, for [`Tree::checkpointed`].
#[derive(Debug)]
#[must_use = "the tree goes on needing memory and room until it is told"]
pub struct Written {
    sequence: u64,
    bytes: u64,
}

impl Written {
    /// The number of the checkpoint.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many bytes were written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Tree {
    /// Publishes, and freezes the published state together with a note of at most 64 KiB, to be
    /// written by [`Checkpoint::write`] on any thread, while this tree goes on. `None` if neither
    /// the trees nor the note have changed since the last checkpoint, and there is no room to be
    /// given back to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::CheckpointPending`] if the last one has not been handed back to
    /// [`Tree::checkpointed`]; [`Error::TooLarge`]; [`Error::Full`] if even the reserve does not
    /// suffice; [`Error::Poisoned`]. The tree can go on after each but the last. [`Error::Corrupt`]
    /// or [`Error::Disk`] if nodes that must be changed cannot be read: the tree is poisoned then.
    pub fn checkpoint(&mut self, note: &[u8]) -> Result<Option<Checkpoint>, Error> {
        self.check_usable()?;
        if self.outstanding.is_some() {
            return Err(Error::CheckpointPending);
        }
        if note.len() > NOTE_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "a note",
                bytes: note.len(),
                limit: NOTE_BYTES_MAX,
            });
        }
        self.publish();
        if !self.changed && note == self.note && !self.space.has_surplus() {
            return Ok(None);
        }
        self.freeze(note).map(Some)
    }

    /// Takes notice that a checkpoint is durable: what it holds is read from the file from now on,
    /// and blocks that it no longer uses will be used again once nobody needs them.
    ///
    /// # Panics
    ///
    /// If `done` is not the outstanding checkpoint of this tree.
    pub fn checkpointed(&mut self, done: Written) {
        let outstanding = self.outstanding.take().filter(|o| o.sequence == done.sequence);
        let outstanding = outstanding.expect("the checkpoint handed back is the outstanding one");
        self.sequence = outstanding.sequence;
        self.note = outstanding.note;
        self.commit = outstanding.commit;
        self.open_saved = outstanding.open_saved;
        self.space.note_checkpoint(outstanding.blocks);
        self.forget_written();
        let epoch = std::mem::replace(&mut self.epoch, Epoch::new());
        self.space.retire(self.sequence, epoch, outstanding.retired);
        self.space.punched(outstanding.punched);
        // Without this the state that readers have would keep the old epoch, and the memory.
        if !self.unpublished {
            self.published.replace(self.state());
        }
        self.space.release(self.sequence);
    }

    /// Gives everything that is only in memory its blocks.
    pub(crate) fn freeze(&mut self, note: &[u8]) -> Result<Checkpoint, Error> {
        let open_extents = self.open.as_ref().map_or(0, |open| {
            open.leaf.extents(open.leaf.segments.len()).map(|e| e.bytes.len()).sum()
        });
        if open_extents > OPEN_EXTENT_BYTES_MAX {
            self.close_leaf();
        }
        if self.recent.len() > RECENT_LEAVES_MAX {
            self.fold_recent()?;
        }
        self.check_retired()?;
        let open_saved = self.open_to_save();
        let pieces = self.pieces(open_saved.as_ref());
        let is_long = |piece: &&Piece| !matches!(piece, Piece::Open(_));
        let sizes: Vec<u32> = pieces.iter().filter(is_long).map(Piece::blocks).collect();
        let open = open_saved.as_ref().filter(|saved| !saved.home.is_settled());
        let open = open.map_or(0, |saved| Piece::Open(saved.clone()).blocks());
        let tables = self.tables.iter().filter(|root| !matches!(root, Link::Empty)).count();
        let total = sizes.iter().map(|&size| u64::from(size)).sum::<u64>() + u64::from(open);
        // Placing all this may make the file longer, and so the map.
        let map_pages = self.space.map_pages_after(total);
        let recent = self.recent.len();
        let commit = Commit::encoded_len(recent, tables, map_pages, pieces.len(), note.len());
        let commit = blocks_of(commit);
        let total = total + u64::from(commit) + map_pages as u64;
        self.space.back(total)?;
        let map = self.space.map_pages_guess();
        let (brief, blocks) = self.space.place(open + map + commit, &sizes)?;
        // From here on nothing can fail but by a mistake of ours.
        for ((piece, block), blocks) in pieces.iter().filter(is_long).zip(blocks).zip(sizes) {
            piece.home().settle(Run { block, blocks });
        }
        if open > 0
            && let Some(saved) = &open_saved
        {
            saved.home.settle(Run { block: brief.block, blocks: open });
        }
        let map_run = Run { block: brief.block + open, blocks: map };
        let commit_run = Run { block: map_run.end(), blocks: commit };
        let mut retired = self.retire_replaced(open_saved.as_ref());
        let (map, old_map) = self.space.settle_map(map_run)?;
        retired.extend(old_map);
        let frozen = Frozen { pieces, map, commit_run, open_saved, retired, blocks: total };
        Ok(self.begin(note, frozen))
    }

    /// Puts the recent leaves below the inner nodes.
    pub(crate) fn fold_recent(&mut self) -> Result<(), Error> {
        let mut edit =
            HistoryEdit { pages: &self.pages, epoch: &self.epoch, changes: &mut self.changes };
        for recent in self.recent.iter(self.recent.len()) {
            let pushed = edit.push(&mut self.base, recent.first, recent.link.clone());
            if pushed.is_err() {
                // Some leaves are in both places now.
                self.pages.poison();
            }
            pushed?;
        }
        self.recent = Arc::new(RecentLeaves::new());
        Ok(())
    }

    /// The copy of the open leaf that the checkpoint will have: the last one if nothing was added.
    fn open_to_save(&self) -> Option<OpenSaved> {
        let open = self.open.as_ref()?;
        let segments = open.leaf.segments.len();
        let is_same =
            |saved: &&OpenSaved| Arc::ptr_eq(&saved.leaf, &open.leaf) && saved.segments == segments;
        let last = self.open_saved.as_ref().filter(is_same).cloned();
        Some(last.unwrap_or_else(|| OpenSaved {
            leaf: open.leaf.clone(),
            segments,
            home: Arc::new(Home::default()),
        }))
    }

    /// Everything that has no place on disk, children before their parents.
    fn pieces(&self, open_saved: Option<&OpenSaved>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        gather(&self.base, &mut pieces);
        for recent in self.recent.iter(self.recent.len()) {
            gather(&recent.link, &mut pieces);
        }
        self.tables.iter().for_each(|root| gather(root, &mut pieces));
        if let Some(saved) = open_saved
            && !saved.home.is_settled()
        {
            gather_extents(saved.leaf.extents(saved.segments), &mut pieces);
            pieces.push(Piece::Open(saved.clone()));
        }
        pieces
    }

    /// Checks that all blocks that this checkpoint may give up are in use, once each. If they are
    /// not, the file is damaged, and they would be given out while somebody else uses them.
    fn check_retired(&mut self) -> Result<(), Error> {
        let mut runs = self.changes.retired.clone();
        runs.extend((self.commit.blocks > 0).then_some(self.commit));
        runs.extend(self.open_saved.as_ref().and_then(|saved| saved.home.run()));
        runs.extend(self.space.map_homes().iter().filter_map(|home| home.run()));
        let checked = self.space.check_used(runs);
        if checked.is_err() {
            self.pages.poison();
        }
        checked
    }

    /// Takes the blocks that the new checkpoint does not use off the map.
    fn retire_replaced(&mut self, open_saved: Option<&OpenSaved>) -> Vec<Run> {
        let mut retired = std::mem::take(&mut self.changes.retired);
        retired.push(self.commit);
        if let Some(old) = &self.open_saved {
            let is_kept = open_saved.is_some_and(|new| Arc::ptr_eq(&new.home, &old.home));
            retired.extend(old.home.run().filter(|_| !is_kept));
        }
        for run in &retired {
            self.space.mark(*run, false);
        }
        retired
    }

    /// Makes the checkpoint, and notes what is to be done when it has been written.
    fn begin(&mut self, note: &[u8], frozen: Frozen) -> Checkpoint {
        let sequence = self.sequence + 1;
        let punched = self.space.take_surplus();
        let commit = Commit {
            sequence,
            owner: self.owner,
            records: self.records,
            rows: self.rows,
            leaves: self.leaves,
            last_key: self.last_key,
            note: note.to_vec(),
            ..Commit::default()
        };
        let recent = self.recent.iter(self.recent.len());
        let tables = (0u8..).zip(self.tables.iter());
        let checkpoint = Checkpoint {
            pages: self.pages.clone(),
            commit_run: frozen.commit_run,
            commit,
            base: self.base.clone(),
            open: frozen.open_saved.as_ref().map(|saved| saved.home.clone()),
            recent: recent.map(|recent| (recent.first, recent.link.clone())).collect(),
            tables: tables
                .filter(|(_, root)| !matches!(root, Link::Empty))
                .map(|(table, root)| (table, root.clone()))
                .collect(),
            map_homes: self.space.map_homes(),
            primed: self.space.take_to_prime(),
            punched: punched.clone(),
            pieces: frozen.pieces,
            map: frozen.map,
        };
        self.outstanding = Some(Outstanding {
            sequence,
            note: note.to_vec(),
            commit: frozen.commit_run,
            open_saved: frozen.open_saved,
            retired: frozen.retired,
            punched,
            blocks: frozen.blocks,
        });
        self.changed = false;
        self.changes.dirty_blocks = 0;
        self.dirty = Dirty::default();
        checkpoint
    }

    /// Replaces nodes in memory that have been written by pointers to them.
    fn forget_written(&mut self) {
        forget(&mut self.base);
        Arc::make_mut(&mut self.tables).iter_mut().for_each(forget);
        let recent = RecentLeaves::new();
        for Recent { first, link } in self.recent.iter(self.recent.len()) {
            let mut link = link.clone();
            forget(&mut link);
            recent.push(Recent { first: *first, link });
        }
        self.recent = Arc::new(recent);
    }
}

impl Checkpoint {
    /// Writes the frozen state and makes it durable, with one sync. Returns when it is; then hand
    /// the result to [`Tree::checkpointed`].
    ///
    /// # Errors
    ///
    /// [`Error::Disk`]. The tree is poisoned then: it can be read, but must be dropped and opened
    /// anew before it is written to.
    pub fn write(self) -> Result<Written, Error> {
        let pages = self.pages.clone();
        let written = self.write_all();
        if written.is_err() {
            pages.poison();
        }
        written
    }

    fn write_all(mut self) -> Result<Written, Error> {
        let pages = self.pages.clone();
        let mut buffer = pages.write_buffer.lock();
        buffer.clear();
        let bytes: u64 = self.pieces.iter().map(|piece| u64::from(piece.blocks())).sum();
        buffer.reserve(WRITE_BYTES.min(bytes as usize * BLOCK_BYTES + WRITE_BYTES / 32));
        let mut output = Output::new(&pages, &mut buffer);
        for run in &self.primed {
            output.prime(*run)?;
        }
        for piece in &self.pieces {
            let run = piece.home().run().expect("the writer has settled all pieces");
            let crc = match piece {
                Piece::Extent(extent) if extent.bytes.len() >= WRITE_BYTES => {
                    output.write_long(run, &extent.bytes)?
                }
                _ => output.write(run, piece.is_read_soon(), |out| piece.encode(out))?,
            };
            piece.home().seal(crc);
        }
        for image in &self.map {
            let run = image.home.run().expect("the writer has settled all map pages");
            let crc = output.write(run, false, |out| image.encode(out))?;
            image.home.seal(crc);
        }
        self.complete_commit();
        let commit = self.commit.encode();
        let crc = output.write(self.commit_run, false, |out| out.extend_from_slice(&commit))?;
        let sequence = self.commit.sequence;
        let slot = Slot { sequence, commit: self.commit_run, crc };
        let block = SLOT_BLOCKS[(sequence % 2) as usize];
        output
            .write(Run { block, blocks: 1 }, false, |out| out.extend_from_slice(&slot.encode()))?;
        let bytes = output.finish()?;
        buffer.clear_and_shrink(WRITE_BYTES);
        drop(buffer);
        pages.file.sync_data()?;
        for run in &self.punched {
            // Room that is not given back is no loss of data, and not every file system can.
            let _ = pages.file.punch_hole(run.offset(), run.bytes());
        }
        Ok(Written { sequence, bytes })
    }

    /// Fills in the checksums that are known now.
    fn complete_commit(&mut self) {
        let pointer = |link: &Link| link.pointer().expect("all that the root refers to is written");
        let commit = &mut self.commit;
        commit.base = self.base.pointer();
        commit.open = self.open.as_ref().and_then(|home| home.pointer());
        commit.recent = self.recent.iter().map(|(key, link)| (*key, pointer(link))).collect();
        commit.tables = self.tables.iter().map(|(table, link)| (*table, pointer(link))).collect();
        let homes = self.map_homes.iter().filter_map(|home| home.pointer());
        commit.map = homes.map(|pointer| (pointer.block, pointer.crc)).collect();
        commit.pieces = self.pieces.iter().filter_map(|piece| piece.home().pointer()).collect();
        assert_eq!(commit.map.len(), self.map_homes.len(), "map pages that were not written");
        assert_eq!(commit.pieces.len(), self.pieces.len(), "pieces that were not written");
    }
}

/// Writes runs of blocks, neighbours with one call.
struct Output<'p> {
    pages: &'p Pages,
    buffer: &'p mut Buffer,
    /// Where the buffer goes.
    offset: u64,
    bytes: u64,
    /// The buffer has a node that is read soon, and may not become so long that it would go past
    /// the page cache.
    is_read_soon: bool,
}

impl<'p> Output<'p> {
    fn new(pages: &'p Pages, buffer: &'p mut Buffer) -> Output<'p> {
        Output { pages, buffer, offset: 0, bytes: 0, is_read_soon: false }
    }

    /// Writes a run and returns the checksum of its blocks.
    fn write(
        &mut self,
        run: Run,
        is_read_soon: bool,
        encode: impl FnOnce(&mut Buffer),
    ) -> Result<u32, Error> {
        let start = self.begin(run, is_read_soon)?;
        encode(self.buffer);
        let len = self.buffer.len() - start;
        assert!(len as u64 <= run.bytes(), "{len} bytes do not fit into {run:?}");
        self.buffer.resize(start + run.bytes() as usize);
        Ok(checksum(&self.buffer[start..]))
    }

    /// The same for many bytes: a part at a time.
    fn write_long(&mut self, run: Run, bytes: &[u8]) -> Result<u32, Error> {
        let mut hasher = crc32fast::Hasher::new();
        let mut block = run.block;
        for part in bytes.chunks(WRITE_BYTES) {
            let start = self.begin(Run { block, blocks: blocks_of(part.len()) }, false)?;
            self.buffer.extend_from_slice(part);
            self.buffer.pad_to_block();
            hasher.update(&self.buffer[start..]);
            block += blocks_of(part.len());
        }
        Ok(hasher.finalize())
    }

    /// Makes the end of the buffer the place of a run; returns where it begins there.
    fn begin(&mut self, run: Run, is_read_soon: bool) -> Result<usize, Error> {
        let follows = self.offset + self.buffer.len() as u64 == run.offset();
        let len = self.buffer.len() + run.bytes() as usize;
        let most = if is_read_soon || self.is_read_soon { DIRECT_BYTES - 1 } else { WRITE_BYTES };
        if !follows || len > most {
            self.flush()?;
            self.offset = run.offset();
        }
        self.is_read_soon |= is_read_soon;
        Ok(self.buffer.len())
    }

    /// Writes zeros to blocks that were never written.
    fn prime(&mut self, run: Run) -> Result<(), Error> {
        self.flush()?;
        self.offset = run.offset();
        self.buffer.resize(run.bytes() as usize);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            match &self.pages.direct {
                Some(direct) if self.buffer.len() >= DIRECT_BYTES => {
                    direct.write_unsynced_at(&*self.buffer, self.offset)?;
                }
                _ => self.pages.file.write_at(&*self.buffer, self.offset)?,
            }
            self.bytes += self.buffer.len() as u64;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.is_read_soon = false;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        Ok(self.bytes)
    }
}

/// Lists the nodes below a link that have no place on disk, children first. A node that has a place
/// has none below it that lacks one.
fn gather(link: &Link, pieces: &mut Vec<Piece>) {
    if link.home().is_none_or(Home::is_settled) {
        return;
    }
    match link {
        Link::Empty | Link::Disk(_) => {}
        Link::Leaf(leaf) => {
            gather_extents(leaf.extents(leaf.segments.len()), pieces);
            pieces.push(Piece::Leaf(leaf.clone()));
        }
        Link::Rows(rows) => {
            gather_extents(rows.extents(), pieces);
            pieces.push(Piece::Rows(rows.clone()));
        }
        Link::Inner(inner) => {
            inner.entries.iter().for_each(|(_, child)| gather(child, pieces));
            pieces.push(Piece::Inner(inner.clone()));
        }
    }
}

fn gather_extents<'a>(extents: impl Iterator<Item = &'a Arc<Extent>>, pieces: &mut Vec<Piece>) {
    let new = extents.filter(|extent| !extent.home.is_settled());
    pieces.extend(new.map(|extent| Piece::Extent(extent.clone())));
}

/// Replaces what has been written below a link by pointers.
fn forget(link: &mut Link) {
    if let Some(pointer) = link.pointer() {
        *link = Link::Disk(pointer);
        return;
    }
    if let Link::Inner(inner) = link
        && inner.entries.iter().any(|(_, child)| !matches!(child, Link::Disk(_)))
    {
        Arc::make_mut(inner).entries.iter_mut().for_each(|(_, child)| forget(child));
    }
}
