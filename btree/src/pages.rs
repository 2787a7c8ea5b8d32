//! Reading from the file: checked the first time, then straight from the mapping.
//!
//! # The pin rule
//!
//! A slice of the mapping is sound as long as nobody rewrites, punches out or cuts off the blocks
//! behind it. [`Pages::slice`] hands out slices bound to the borrow of an [`Epoch`]; that nobody
//! touches the blocks before that borrow ends follows from these facts:
//!
//! 1. Blocks are written by [`Checkpoint::write`](crate::Checkpoint::write) alone, and only blocks
//!    that `Space` gave out for it as free. They are punched out by the same, and only when `Space`
//!    has taken them out of the free ones. The file is never cut.
//! 2. A pointer comes from a tree that was reachable from the writer's roots while the epoch was
//!    the current one: a `State` or a `Sweep` holds the epoch that was current when it was made,
//!    and the writer's own reads borrow the writer, whose roots are current by definition.
//! 3. When a checkpoint has been handed back (`Tree::checkpointed`), the blocks that it no longer
//!    uses form a batch that takes the current epoch along, and a new epoch begins. Every tree
//!    published later is without these blocks. So whoever can reach a block of the batch holds an
//!    epoch that is not younger than the batch's.
//! 4. `Space` gives the blocks of a batch free only when `Arc::get_mut` has shown that nobody else
//!    holds the batch's epoch, and only after all older batches. `Arc::get_mut` orders the last
//!    reader's drop before what follows. Nobody can get hold of an old epoch anew: they are handed
//!    out by the writer, who has given it up, or copied from one that is held.
//!
//! 5. Another process that only reads ([`ReadOnly`](crate::ReadOnly)) cannot hold an epoch of ours.
//!    It reads the numbers of the roots, marks the older one, n, on the file, and reads them again;
//!    it goes on only if the newest is then n or n + 1. Before `Space` gives a batch free, it asks
//!    for marks below the batch's checkpoint.
//!
//!    What root n uses and a later one does not is in a batch of checkpoint n + 1 or later, which
//!    is given free after n + 2 is durable, so after its slot was written, and not while n is
//!    marked. If the mark was set before the writer asked, it was seen. If it was set after, then
//!    the slot of n + 2 had been written before the mark was set, the second reading found n + 2,
//!    and the reader took another root. The mark moves from n to n + 1, if that is the root that is
//!    used, without a moment in which there is none.
//!
//!    A writer that opens the file knows no batches. It keeps back what the root before its own, n,
//!    uses until n + 1 is durable, as for checkpoint n; and if there is a mark below n, all that is
//!    free, until there is none. A mark below n - 1 that is set after it has looked finds root n.
//!
//! Blocks that are free at open are reachable from no tree in memory. What changes a file from
//! outside (another process that writes it) is beyond any rule here; the file belongs to its store.
//!
//! # What is checked
//!
//! The first read of each node or extent goes through `read_at`, so that an I/O error arrives as an
//! error, and compares the checksum of all its blocks with the one in its parent. Its first block
//! is then marked in a bitmap and later reads trust the mapping. The mark is cleared when the
//! blocks are given out anew. Decoders check all bounds all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use revd_disk::{Buffer, File, Mapping};

use crate::format::{BLOCK_BYTES, Pointer, Run};
use crate::{Corruption, Error};

/// Bytes that are read at once to check a long extent.
const CHECK_BYTES: usize = 256 * 1024;

/// A stretch of the tree's life between two checkpoints; see the pin rule.
#[derive(Debug)]
pub(crate) struct Epoch(());

impl Epoch {
    pub(crate) fn new() -> Arc<Epoch> {
        Arc::new(Epoch(()))
    }
}

/// The file, its mapping, and what of it has been checked.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// The same file for large writes past the page cache, where there is such a way.
    pub(crate) direct: Option<Arc<dyn File>>,
    /// Memory in which checkpoints gather what they write.
    pub(crate) write_buffer: Mutex<Buffer>,
    mapping: Mapping,
    /// Length of the file.
    blocks: AtomicU32,
    /// One bit a block: the node or extent that begins here has been checked.
    checked: Vec<AtomicU64>,
    /// Set when a checkpoint could not be written.
    poisoned: AtomicBool,
}

impl Pages {
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<dyn File>,
        direct: Option<Arc<dyn File>>,
        map_bytes: u64,
    ) -> Result<Pages, Error> {
        let direct = direct.filter(|direct| direct.is_direct());
        let mapping = file.map(map_bytes)?;
        let blocks = (file.len()?.min(map_bytes) / BLOCK_BYTES as u64) as u32;
        let words = (map_bytes / BLOCK_BYTES as u64).div_ceil(64) as usize;
        let mut checked = Vec::new();
        checked.resize_with(words, AtomicU64::default);
        let blocks = AtomicU32::new(blocks);
        let (write_buffer, poisoned) = (Mutex::new(Buffer::new()), AtomicBool::new(false));
        Ok(Pages { path, file, direct, write_buffer, mapping, blocks, checked, poisoned })
    }

    /// Length of the file, in blocks; not beyond the mapping.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Tells that the file has grown.
    pub(crate) fn grown_to(&self, blocks: u32) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }

    /// The blocks of a node, or of an extent, checked.
    pub(crate) fn read<'a>(
        &'a self,
        pointer: Pointer,
        epoch: &'a Epoch,
    ) -> Result<&'a [u8], Error> {
        self.check_bounds(pointer)?;
        if !self.is_checked(pointer.block) {
            self.check(pointer)?;
            self.mark_checked(pointer.block);
        }
        Ok(self.slice(pointer.run(), epoch))
    }

    /// The blocks of a node, or of an extent, read into memory and checked whatever was checked
    /// before.
    pub(crate) fn load(&self, pointer: Pointer) -> Result<Vec<u8>, Error> {
        self.check_bounds(pointer)?;
        let mut bytes = vec![0; pointer.run().bytes() as usize];
        self.file.read_exact_at(&mut bytes, pointer.run().offset())?;
        self.compare(pointer, crate::format::checksum(&bytes))?;
        Ok(bytes)
    }

    /// Compares a node or extent on disk with its checksum.
    pub(crate) fn check(&self, pointer: Pointer) -> Result<(), Error> {
        self.check_bounds(pointer)?;
        let run = pointer.run();
        let mut bytes = vec![0; CHECK_BYTES.min(run.bytes() as usize)];
        let mut hasher = crc32fast::Hasher::new();
        let mut done = 0;
        while done < run.bytes() {
            let len = bytes.len().min((run.bytes() - done) as usize);
            self.file.read_exact_at(&mut bytes[..len], run.offset() + done)?;
            hasher.update(&bytes[..len]);
            done += len as u64;
        }
        self.compare(pointer, hasher.finalize())
    }

    /// The file, past the page cache if there is such a way.
    pub(crate) fn medium(&self) -> &dyn File {
        self.direct.as_deref().unwrap_or(&*self.file)
    }

    /// An error about what a pointer leads to.
    pub(crate) fn corrupt(
        &self,
        block: u32,
        what: &'static str,
        expected: u64,
        found: u64,
    ) -> Error {
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        let file = self.path.clone();
        Error::Corrupt(Corruption { file, offset, what, expected, found })
    }

    pub(crate) fn mark_checked(&self, block: u32) {
        let bit = 1 << (block % 64);
        self.checked[block as usize / 64].fetch_or(bit, Ordering::Relaxed);
    }

    /// Forgets what was checked in blocks that are given out anew.
    pub(crate) fn forget(&self, run: Run) {
        for block in run.block..run.end() {
            self.checked[block as usize / 64].fetch_and(!(1 << (block % 64)), Ordering::Relaxed);
        }
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn is_checked(&self, block: u32) -> bool {
        self.checked
            .get(block as usize / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (block % 64)) != 0)
    }

    pub(crate) fn check_bounds(&self, pointer: Pointer) -> Result<(), Error> {
        let end = u64::from(pointer.block) + u64::from(pointer.blocks);
        let limit = u64::from(self.blocks());
        if end > limit {
            let what = "a pointer leads behind the end of the file";
            return Err(self.corrupt(pointer.block, what, limit, end));
        }
        Ok(())
    }

    pub(crate) fn compare(&self, pointer: Pointer, found: u32) -> Result<(), Error> {
        if found != pointer.crc {
            let (expected, found) = (u64::from(pointer.crc), u64::from(found));
            return Err(self.corrupt(pointer.block, "checksum of a page", expected, found));
        }
        Ok(())
    }

    /// The bytes of blocks that were checked, so that they lie within the file.
    #[expect(unsafe_code, reason = "reads borrow from the mapping instead of copying")]
    fn slice<'a>(&'a self, run: Run, _reachable_in: &'a Epoch) -> &'a [u8] {
        // SAFETY: the blocks lie within the file, since they have been read from it, and the file
        // is never cut. Nobody writes to them or punches them out while the epoch is borrowed: the
        // pin rule, above.
        unsafe { self.mapping.slice(run.offset(), run.bytes() as usize) }
    }
}
