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
use crate::leaf::{LeafView, Segment, reopen};
use crate::link::{Changes, Home, Link};
use crate::pages::{Epoch, Pages};
use crate::reader::{Published, State};
use crate::space::Space;
use crate::tree::{Dirty, OpenLeaf};
use crate::view::{Recent, RecentLeaves, TableRoots};
use crate::{Corruption, Error, OpenError, Opened, Options, Table, Tree};

/// What a root slot leads to.
struct Root {
    slot: Slot,
    commit: Commit,
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
        let pages = Pages::new(path.to_owned(), file, options.map_bytes)?;
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
        // If the last process was killed, what is read here may not be on the disk yet; and the
        // root that it leads to is about to become the only one.
        file.sync_data()?;
        let pages = Arc::new(Pages::new(path.to_owned(), file, options.map_bytes)?);
        check_header(&pages, &options)?;
        let mut slots = Vec::new();
        let mut damage = None;
        for place in [0, 1] {
            match read_slot(&pages, place) {
                Ok(slot) => slots.push(slot),
                Err(Error::Corrupt(corruption)) => damage = damage.or(Some(corruption)),
                Err(error) => return Err(error.into()),
            }
        }
        let newest = slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| slot.sequence).max();
        if let Some(vacant) = slots.iter().find(|slot| slot.is_vacant())
            && Some(vacant.sequence) != newest
        {
            let (block, found) = (SLOT_BLOCKS[vacant.place()], newest.unwrap_or(0));
            let what = "a vacant root slot beside another root";
            damage = damage.or(Some(corruption(&pages, block, what, vacant.sequence, found)));
        }
        slots.retain(|slot| !slot.is_vacant());
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.sequence));
        let mut roots = Vec::new();
        for slot in slots {
            // The root before the newest intact one was intact when that was written.
            let all = roots.is_empty();
            match read_root(&pages, slot, options.owner, all) {
                Ok(root) => roots.push(root),
                Err(Error::Corrupt(corruption)) if all => damage = damage.or(Some(corruption)),
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut roots = roots.into_iter();
        let Some((root, map)) = roots.next() else {
            let none = || corruption(&pages, SLOT_BLOCKS[0], "both root slots are vacant", 1, 0);
            return Err(OpenError::Corrupt(damage.unwrap_or_else(none)));
        };
        let sequence = root.slot.sequence;
        if damage.is_some() {
            cross_out(&pages, sequence)?;
        }
        let fallback = roots.next().map(|(_, map)| map.into_iter().map(|(words, _)| words));
        let tree = assemble(pages, &options, root, map, fallback.map(Iterator::collect))?;
        Ok((tree, Opened { sequence, fell_back: damage.is_some(), damage }))
    }
}

/// Makes the tree of a root.
fn assemble(
    pages: Arc<Pages>,
    options: &Options,
    root: Root,
    map: Vec<(Vec<u64>, Arc<Home>)>,
    fallback: Option<Vec<Vec<u64>>>,
) -> Result<Tree, Error> {
    let Root { slot, commit } = root;
    let limit = (options.map_bytes / BLOCK_BYTES as u64) as u32;
    let reserve = options.reserve_bytes.div_ceil(BLOCK_BYTES as u64);
    let mut space = Space::new(pages.clone(), limit, reserve, map);
    if let Some(words) = fallback {
        space.keep_for_fallback(slot.sequence, &words);
    }
    let recent = RecentLeaves::new();
    for (first, pointer) in commit.recent {
        recent.push(Recent { first, link: Link::Disk(pointer) });
    }
    let mut tables = TableRoots::default();
    for (table, pointer) in commit.tables {
        tables[Table(table).index()] = Link::Disk(pointer);
    }
    let epoch = Epoch::new();
    let (open, open_saved) = open_leaf(&pages, &epoch, commit.open)?;
    let pending = Segment::with_room(open.as_ref().map_or(0, |open| open.fill.count), 8, 4096);
    let base = commit.base.map_or(Link::Empty, Link::Disk);
    let (recent, tables) = (Arc::new(recent), Arc::new(tables));
    let published = Published::new(State {
        pages: pages.clone(),
        epoch: epoch.clone(),
        base: base.clone(),
        recent: recent.clone(),
        recent_len: recent.len(),
        open: open.as_ref().map(|open| (open.leaf.clone(), open.leaf.segments.len())),
        tables: tables.clone(),
    });
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

/// Copies the open leaf into memory, to be filled on.
fn open_leaf(
    pages: &Pages,
    epoch: &Epoch,
    pointer: Option<Pointer>,
) -> Result<(Option<OpenLeaf>, Option<OpenSaved>), Error> {
    let Some(pointer) = pointer else { return Ok((None, None)) };
    let view = LeafView::parse(pages.read(pointer, epoch)?, pointer.block, pages)?;
    let (leaf, fill) = reopen(view, pages)?;
    let leaf = Arc::new(leaf);
    let home = Arc::new(Home::of(pointer));
    let saved = OpenSaved { leaf: leaf.clone(), segments: 1, home };
    Ok((Some(OpenLeaf { leaf, fill }), Some(saved)))
}

fn check_header(pages: &Pages, options: &Options) -> Result<(), OpenError> {
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
#[expect(clippy::type_complexity, reason = "used in one place")]
fn read_root(
    pages: &Pages,
    slot: Slot,
    owner: [u8; 16],
    all: bool,
) -> Result<(Root, Vec<(Vec<u64>, Arc<Home>)>), Error> {
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
    if all {
        for piece in &commit.pieces {
            pages.check(*piece)?;
            pages.mark_checked(piece.block);
        }
    }
    Ok((Root { slot, commit }, map))
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
