//! Creating a file, and finding the newest intact checkpoint of one.
//!
//! What is read at open: the header, both root slots, the newest commit record, everything that was
//! written together with it (to be sure that it is all there), the allocation map, and the open
//! leaf. None of it grows with the number of records, but for the map: 4 KiB for each 128 MiB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Disk, Open};

use crate::checkpoint::OpenSaved;
use crate::format::{
    BLOCK_BYTES, Commit, FIRST_FREE_BLOCK, HEADER_BLOCK, Header, Pointer, Run, SLOT_BLOCKS, Slot,
    VERSION, checksum, u64_at,
};
use crate::leaf::{Fill, LeafView, Segment, reopen};
use crate::link::{Changes, Home, Link};
use crate::pages::{Epoch, Pages};
use crate::reader::{Published, State};
use crate::space::Space;
use crate::tree::{Dirty, OpenLeaf};
use crate::view::{Recent, RecentLeaves, TableRoots};
use crate::{Corruption, Error, OpenError, Opened, Options, Table, Tree};

/// Bytes that are written again at once.
const AGAIN_BYTES: u64 = 1 << 20;

/// What a root slot leads to.
pub(crate) struct Root {
    pub(crate) slot: Slot,
    pub(crate) commit: Commit,
}

impl Tree {
    /// Creates a file with an empty tree, durably, under a temporary name first: after a crash
    /// there is no file at `path`, or a complete one.
    ///
    /// # Errors
    ///
    /// [`OpenError::Disk`] if there is a file at `path` already, or the disk fails;
    /// [`OpenError::Options`].
    pub fn create(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Tree, OpenError> {
        options.validate()?;
        if disk.exists(path)? {
            // Opening it as a new file makes the error.
            disk.open(path, Open::new_file(Access::Buffered))?;
        }
        let temporary = temporary_name(path);
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
        let file = disk.open(&temporary, Open::new_file(Access::Buffered))?;
        let header = Header { version: VERSION, owner: options.owner };
        file.write_at(&header.encode(), block_offset(HEADER_BLOCK))?;
        file.truncate(block_offset(FIRST_FREE_BLOCK))?;
        let vacant = Slot::vacant(1);
        file.write_at(&vacant.encode(), block_offset(SLOT_BLOCKS[vacant.place()]))?;
        let direct = disk.open(&temporary, Open::existing(Access::Direct))?;
        let pages = Pages::new(path.to_owned(), file, Some(direct), options.map_bytes)?;
        let commit = Commit { owner: options.owner, ..Commit::default() };
        // The checkpoint before the first.
        let root = Root { slot: Slot::vacant(0), commit };
        let mut tree = assemble(Arc::new(pages), &options, root, Vec::new(), None)?;
        let written = tree.freeze(&[])?.write()?;
        tree.checkpointed(written);
        disk.rename(&temporary, path)?;
        disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        Ok(tree)
    }

    /// Opens a file. If the newest checkpoint is not intact, the one before is taken, and
    /// [`Opened::fell_back`] says so. The caller sees to it that no other process has the file open
    /// for writing.
    ///
    /// # Errors
    ///
    /// [`OpenError::Disk`], also if there is no file; [`OpenError::Version`];
    /// [`OpenError::Owner`]; [`OpenError::Corrupt`] if neither root leads to an intact checkpoint.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: Options,
    ) -> Result<(Tree, Opened), OpenError> {
        options.validate()?;
        let file = disk.open(path, Open::existing(Access::Buffered))?;
        if file.len()? > options.map_bytes {
            return Err(OpenError::Options("map_bytes is less than the length of the file"));
        }
        // The last process may have ended before it made the file's name durable.
        disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        let direct = disk.open(path, Open::existing(Access::Direct))?;
        let pages = Pages::new(path.to_owned(), file, Some(direct), options.map_bytes)?;
        let pages = Arc::new(pages);
        check_header(&pages, &options)?;
        let found = find_roots(&pages, read_slots(&pages)?, options.owner)?;
        let sequence = found.root.slot.sequence;
        write_again(&pages, &found.root)?;
        if found.damage.is_some() {
            cross_out(&pages, sequence)?;
        }
        let tree = assemble(pages, &options, found.root, found.map, found.fallback)?;
        let fell_back = found.damage.is_some();
        Ok((tree, Opened { sequence, fell_back, damage: found.damage }))
    }
}

/// The valid slots of a file that are not vacant, the newest first.
pub(crate) struct Slots {
    pub(crate) slots: Vec<Slot>,
    /// What is wrong with the slots.
    damage: Option<Corruption>,
}

/// The allocation map of a root: each page with its home.
type Map = Vec<(Vec<u64>, Arc<Home>)>;

/// The newest intact root, and what it takes to go on from it.
pub(crate) struct Found {
    pub(crate) root: Root,
    map: Map,
    /// The map of the root before it, if that is intact.
    fallback: Option<Vec<Vec<u64>>>,
    /// What was wrong with the newer root.
    pub(crate) damage: Option<Corruption>,
}

impl Slots {
    /// True if both slots are valid, and belong together.
    pub(crate) fn is_whole(&self) -> bool {
        self.damage.is_none()
    }
}

/// Reads both slots.
pub(crate) fn read_slots(pages: &Pages) -> Result<Slots, Error> {
    let mut slots = Vec::new();
    let mut damage = None;
    for place in [0, 1] {
        match read_slot(pages, place) {
            Ok(slot) => slots.push(slot),
            Err(Error::Corrupt(corruption)) => damage = damage.or(Some(corruption)),
            Err(error) => return Err(error),
        }
    }
    let newest = slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| slot.sequence).max();
    if let Some(vacant) = slots.iter().find(|slot| slot.is_vacant())
        && Some(vacant.sequence) != newest
    {
        let (block, found) = (SLOT_BLOCKS[vacant.place()], newest.unwrap_or(0));
        let what = "a vacant root slot beside another root";
        damage = damage.or(Some(corruption(pages, block, what, vacant.sequence, found)));
    }
    slots.retain(|slot| !slot.is_vacant());
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.sequence));
    Ok(Slots { slots, damage })
}

/// Finds the newest root that is intact.
pub(crate) fn find_roots(pages: &Pages, slots: Slots, owner: [u8; 16]) -> Result<Found, Error> {
    let Slots { slots, mut damage } = slots;
    let mut roots = Vec::new();
    for slot in slots {
        // The root before the newest intact one was intact when that was written.
        let all = roots.is_empty();
        match read_root(pages, slot, owner, all) {
            Ok(root) => roots.push(root),
            Err(Error::Corrupt(corruption)) if all => damage = damage.or(Some(corruption)),
            Err(Error::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut roots = roots.into_iter();
    let Some((root, map)) = roots.next() else {
        let none = || corruption(pages, SLOT_BLOCKS[0], "both root slots are vacant", 1, 0);
        return Err(Error::Corrupt(damage.unwrap_or_else(none)));
    };
    let fallback = roots.next().map(|(_, map)| map.into_iter().map(|(words, _)| words).collect());
    Ok(Found { root, map, fallback, damage })
}

/// Makes the newest root durable, which is about to become the only one. It may be in the page
/// cache only: the last process may have been killed before its sync, or the sync may have failed,
/// and then the system takes the bytes for written and a later sync leaves them out. So they are
/// written again where they are. They do not change by that, so a crash meanwhile harms nothing.
fn write_again(pages: &Pages, root: &Root) -> Result<(), Error> {
    let slot = Run { block: SLOT_BLOCKS[root.slot.place()], blocks: 1 };
    let map = root.commit.map.iter().map(|&(block, _)| Run { block, blocks: 1 });
    let pieces = root.commit.pieces.iter().map(|piece| piece.run());
    let mut bytes = Vec::new();
    for run in pieces.chain(map).chain([root.slot.commit, slot]) {
        let mut done = 0;
        while done < run.bytes() {
            bytes.resize((run.bytes() - done).min(AGAIN_BYTES) as usize, 0);
            pages.file.read_exact_at(&mut bytes, run.offset() + done)?;
            pages.file.write_at(&bytes, run.offset() + done)?;
            done += bytes.len() as u64;
        }
    }
    Ok(pages.file.sync_data()?)
}

/// Makes the tree of a root.
fn assemble(
    pages: Arc<Pages>,
    options: &Options,
    root: Root,
    map: Map,
    fallback: Option<Vec<Vec<u64>>>,
) -> Result<Tree, Error> {
    let Root { slot, commit } = root;
    let limit = (options.map_bytes / BLOCK_BYTES as u64) as u32;
    let reserve = options.reserve_bytes.div_ceil(BLOCK_BYTES as u64);
    let mut space = Space::new(pages.clone(), limit, reserve, map);
    if let Some(words) = fallback {
        space.keep_for_fallback(slot.sequence, &words);
    }
    space.keep_for_marks(slot.sequence);
    let (state, fill) = state_of(pages.clone(), &commit)?;
    let open = state.open.as_ref().zip(fill);
    let open = open.map(|((leaf, _), fill)| OpenLeaf { leaf: leaf.clone(), fill });
    let open_saved = open.as_ref().zip(commit.open).map(|(open, pointer)| OpenSaved {
        leaf: open.leaf.clone(),
        segments: 1,
        home: Arc::new(Home::of(pointer)),
    });
    let pending = Segment::with_room(open.as_ref().map_or(0, |open| open.fill.count), 8, 4096);
    let State { epoch, base, recent, tables, .. } = state.clone();
    let published = Published::new(state);
    Ok(Tree {
        pages,
        published,
        epoch,
        owner: options.owner,
        base,
        recent,
        open,
        pending,
        last_key: commit.last_key,
        tables,
        records: commit.records,
        rows: commit.rows,
        leaves: commit.leaves,
        changes: Changes::default(),
        dirty: Dirty::default(),
        space,
        unpublished: false,
        changed: false,
        sequence: slot.sequence,
        note: commit.note,
        commit: slot.commit,
        open_saved,
        outstanding: None,
    })
}

/// The state that a root leads to, and how full its open leaf is.
pub(crate) fn state_of(pages: Arc<Pages>, commit: &Commit) -> Result<(State, Option<Fill>), Error> {
    let recent = RecentLeaves::new();
    for &(first, pointer) in &commit.recent {
        recent.push(Recent { first, link: Link::Disk(pointer) });
    }
    let mut tables = TableRoots::default();
    for &(table, pointer) in &commit.tables {
        tables[Table(table).index()] = Link::Disk(pointer);
    }
    let epoch = Epoch::new();
    let (mut open, mut fill) = (None, None);
    if let Some(pointer) = commit.open {
        // The open leaf is filled on, so it is copied into memory.
        let view = LeafView::parse(pages.read(pointer, &epoch)?, pointer.block, &pages)?;
        let (leaf, full) = reopen(view, &pages)?;
        let last = view.record(view.count() - 1, &pages)?.key;
        let before = commit.recent.last().map(|(first, _)| *first);
        if commit.last_key < Some(last) || before.is_some_and(|before| before >= leaf.first) {
            return Err(pages.corrupt(pointer.block, "order of the open leaf", 0, last.main));
        }
        (open, fill) = (Some((Arc::new(leaf), 1)), Some(full));
    }
    let state = State {
        pages,
        epoch,
        base: commit.base.map_or(Link::Empty, Link::Disk),
        recent_len: recent.len(),
        recent: Arc::new(recent),
        open,
        tables: Arc::new(tables),
    };
    Ok((state, fill))
}

pub(crate) fn check_header(pages: &Pages, options: &Options) -> Result<(), OpenError> {
    let mut bytes = vec![0; BLOCK_BYTES];
    pages.file.read_exact_at(&mut bytes, block_offset(HEADER_BLOCK))?;
    let Some(header) = Header::decode(&bytes) else {
        let expected = u64_at(b"revdtree", 0).unwrap_or(0);
        let found = u64_at(&bytes, 0).unwrap_or(0);
        let what = "not the header of a tree";
        return Err(corruption(pages, HEADER_BLOCK, what, expected, found).into());
    };
    let file = pages.path.clone();
    if header.version != VERSION {
        return Err(OpenError::Version { file, found: header.version, known: VERSION });
    }
    if header.owner != options.owner {
        return Err(OpenError::Owner { file, expected: options.owner, found: header.owner });
    }
    Ok(())
}

fn read_slot(pages: &Pages, place: usize) -> Result<Slot, Error> {
    let block = SLOT_BLOCKS[place];
    let mut bytes = vec![0; BLOCK_BYTES];
    pages.file.read_exact_at(&mut bytes, block_offset(block))?;
    let slot = Slot::decode(&bytes).filter(|slot| slot.place() == place);
    slot.ok_or_else(|| pages.corrupt(block, "not a root slot", place as u64, 0))
}

/// Reads the commit record and the map that a slot leads to; with `all`, checks everything that was
/// written together with them.
fn read_root(pages: &Pages, slot: Slot, owner: [u8; 16], all: bool) -> Result<(Root, Map), Error> {
    let commit = read_commit(pages, slot)?;
    let block = slot.commit.block;
    if commit.sequence != slot.sequence {
        let what = "number of a commit record";
        return Err(pages.corrupt(block, what, slot.sequence, commit.sequence));
    }
    if commit.owner != owner {
        return Err(pages.corrupt(block, "owner of a commit record", 1, 0));
    }
    let mut map = Vec::new();
    for &(block, crc) in &commit.map {
        let pointer = Pointer { block, blocks: 1, crc };
        let bytes = pages.load(pointer)?;
        let words = bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect();
        map.push((words, Arc::new(Home::of(pointer))));
    }
    check_map_end(pages, &map)?;
    if all {
        for piece in &commit.pieces {
            pages.check(*piece)?;
            pages.mark_checked(piece.block);
        }
    }
    Ok((Root { slot, commit }, map))
}

/// Checks that no block behind the end of the file is used.
fn check_map_end(pages: &Pages, map: &Map) -> Result<(), Error> {
    let words = map.iter().flat_map(|(words, _)| words);
    let last = (0u64..).zip(words).filter(|(_, word)| **word != 0).last();
    let end = last.map_or(0, |(index, word)| index * 64 + 64 - u64::from(word.leading_zeros()));
    if end > u64::from(pages.blocks()) {
        let what = "the allocation map uses blocks behind the end of the file";
        return Err(pages.corrupt(pages.blocks(), what, u64::from(pages.blocks()), end));
    }
    Ok(())
}

/// Reads the commit record that a slot leads to.
pub(crate) fn read_commit(pages: &Pages, slot: Slot) -> Result<Commit, Error> {
    let Run { block, blocks } = slot.commit;
    let end = u64::from(block) + u64::from(blocks);
    if end > u64::from(pages.blocks()) {
        let what = "a root leads behind the end of the file";
        return Err(pages.corrupt(block, what, u64::from(pages.blocks()), end));
    }
    let mut bytes = vec![0; slot.commit.bytes() as usize];
    pages.file.read_exact_at(&mut bytes, slot.commit.offset())?;
    let found = checksum(&bytes);
    if found != slot.crc {
        let what = "checksum of a commit record";
        return Err(pages.corrupt(block, what, u64::from(slot.crc), u64::from(found)));
    }
    Commit::decode(&bytes).ok_or_else(|| pages.corrupt(block, "not a commit record", 1, 0))
}

/// Makes sure that the checkpoint beside `sequence`, which was found broken, stays so: later writes
/// could by chance complete it.
fn cross_out(pages: &Pages, sequence: u64) -> Result<(), Error> {
    let vacant = Slot::vacant(sequence);
    pages.file.write_at(&vacant.encode(), block_offset(SLOT_BLOCKS[vacant.place()]))?;
    Ok(pages.file.sync_data()?)
}

fn corruption(
    pages: &Pages,
    block: u32,
    what: &'static str,
    expected: u64,
    found: u64,
) -> Corruption {
    Corruption { file: pages.path.clone(), offset: block_offset(block), what, expected, found }
}

fn block_offset(block: u32) -> u64 {
    u64::from(block) * BLOCK_BYTES as u64
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

const _: () = assert!(FIRST_FREE_BLOCK as usize == 1 + SLOT_BLOCKS.len());
