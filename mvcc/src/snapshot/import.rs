//! The way in: chunks into a tree of their own, beside the one that it will replace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_btree::{Key, Table, Tree};
use revd_disk::Disk;

use super::cell::{Cell, HISTORY};
use super::chunk::{Chunk, Kind, Opening, Stand};
use super::error::{ChunkError, ImportError};
use super::fold;
use super::position::SnapshotPosition;
use crate::Options;
use crate::error::OpenError;
use crate::key_value::Revision;
use crate::store::describe_import;

/// The first byte of the note of an unfinished import; the position and the opening follow.
const UNFINISHED: &[u8; 8] = b"revdpart";

/// How far the stream has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    opening: Opening,
    stand: Stand,
    /// The last cell; table 0 before the first.
    table: u8,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Empty,
    Open(Progress),
    Ended(Progress),
}

/// A snapshot on its way in.
///
/// It is written to a file beside the store's, named like it with `.import` appended. One that is
/// dropped before its end leaves this file for [`Import::begin`] to go on with.
///
/// ```
/// # use std::{path::Path, sync::Arc};
/// use revd_mvcc::{Import, Options, Put, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let disk = Arc::new(revd_disk::Sim::new(1));
/// let mut store = Store::create(disk.clone(), Path::new("old"), Options::new([7; 16]), b"")?;
/// store.put(&Put { key: "fruit".into(), value: "pear".into(), ..Put::default() })??;
///
/// let mut export = store.export(b"my log up to entry 1")?;
/// let mut import = Import::begin(disk.clone(), Path::new("new"), Options::new([8; 16]))?;
/// while let Some(chunk) = export.next_chunk(64 << 10)? {
///     import.push(&chunk)?;
/// }
/// assert_eq!(import.note(), Some(&b"my log up to entry 1"[..]));
/// import.finish(b"installed at entry 1")?.install()?;
///
/// let (copy, _) = Store::open(disk, Path::new("new"), Options::new([8; 16]))?;
/// assert_eq!(copy.revision(), store.revision());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Import {
    disk: Arc<dyn Disk>,
    target: PathBuf,
    tree: Tree,
    stage: Stage,
    /// Bytes of chunks since the last checkpoint, and how many there may be.
    unsaved: usize,
    unsaved_max: usize,
    has_failed: bool,
}

impl Import {
    /// Begins an import for a store that will be at `path`, or goes on with one that was begun
    /// there: [`Import::position`] tells.
    ///
    /// # Errors
    /// [`ImportError::Create`] or [`ImportError::Disk`] if the file cannot be made.
    pub fn begin(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, ImportError> {
        let file = partial(path);
        let is_there = disk.exists(&file)?;
        let found = if is_there { reopen(&disk, &file, &options)? } else { None };
        let (tree, stage) = match found {
            Some((tree, progress)) => (tree, Stage::Open(progress)),
            None => {
                Self::clear(&*disk, path)?;
                let tree = Tree::create(Arc::clone(&disk), &file, options.tree());
                (tree.map_err(OpenError::from)?, Stage::Empty)
            }
        };
        let (target, unsaved_max) = (path.to_owned(), options.import_bytes);
        Ok(Self { disk, target, tree, stage, unsaved: 0, unsaved_max, has_failed: false })
    }

    /// Removes what an unfinished import for a store at `path` has left.
    ///
    /// # Errors
    /// [`ImportError::Disk`].
    pub fn clear(disk: &dyn Disk, path: &Path) -> Result<(), ImportError> {
        let file = partial(path);
        let mut unnamed = file.clone().into_os_string();
        unnamed.push(".new");
        for leftover in [file, PathBuf::from(unnamed)] {
            if disk.exists(&leftover)? {
                disk.remove(&leftover)?;
            }
        }
        Ok(())
    }

    /// Where the exporter shall go on ([`Export::resume`](crate::Export::resume)). `None` until the
    /// history has begun: then the stream must begin anew, and so must an import to which some of
    /// it has come ([`Import::clear`]).
    #[must_use]
    pub fn position(&self) -> Option<SnapshotPosition> {
        match &self.stage {
            Stage::Open(progress) if progress.table == HISTORY => {
                let Stand { id, cells, hash } = progress.stand;
                Some(SnapshotPosition { id, after: progress.key, cells, hash })
            }
            _ => None,
        }
    }

    /// The note of the store's owner that came with the snapshot, once the first chunk is here.
    #[must_use]
    pub fn note(&self) -> Option<&[u8]> {
        match &self.stage {
            Stage::Empty => None,
            Stage::Open(progress) | Stage::Ended(progress) => Some(&progress.opening.note),
        }
    }

    /// True once the whole snapshot is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// Takes the next chunk. From time to time this writes and syncs what has arrived.
    ///
    /// # Errors
    /// [`ImportError::Chunk`]: it is damaged or not the next one, nothing was taken, and the right
    /// one can follow. [`ImportError::Write`]: the import is over.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        if self.has_failed {
            return Err(ImportError::Failed);
        }
        let chunk = Chunk::open(bytes)?;
        match (&self.stage, chunk.kind) {
            (Stage::Empty, Kind::Opening) => self.stage = Stage::Open(opened(&chunk)?),
            (Stage::Empty, _) => {
                let found = chunk.before.cells;
                return Err(ChunkError::OutOfOrder { expected: 0, found }.into());
            }
            (Stage::Open(progress), Kind::Cells) => {
                let next = progress.verify(&chunk)?;
                let written = self.take(chunk.payload, bytes.len(), next);
                self.has_failed = written.is_err();
                written?;
            }
            (Stage::Open(progress), Kind::Closing) => {
                progress.verify_end(&chunk)?;
                self.stage = Stage::Ended(progress.clone());
            }
            (Stage::Open(progress), Kind::Opening) => {
                progress.verify_stand(&chunk)?;
                let (expected, found) = (progress.stand.cells, 0);
                return Err(ChunkError::OutOfOrder { expected, found }.into());
            }
            (Stage::Ended(_), _) => return Err(ChunkError::Ended.into()),
        }
        Ok(())
    }

    /// Makes the imported store durable, with the note that its owner shall find when it is opened.
    ///
    /// # Errors
    /// [`ImportError::Unfinished`] before the last chunk; [`ImportError::Write`].
    pub fn finish(mut self, note: &[u8]) -> Result<Imported, ImportError> {
        if self.has_failed {
            return Err(ImportError::Failed);
        }
        let progress = match &self.stage {
            Stage::Ended(progress) => progress,
            Stage::Open(Progress { stand: Stand { cells, .. }, .. }) => {
                return Err(ImportError::Unfinished { cells: *cells });
            }
            Stage::Empty => return Err(ImportError::Unfinished { cells: 0 }),
        };
        let Progress { opening: Opening { revision, compacted, .. }, stand, .. } = *progress;
        describe_import(&mut self.tree, compacted)?;
        save(&mut self.tree, note)?;
        let Self { disk, target, .. } = self;
        Ok(Imported { disk, target, revision, compacted, cells: stand.cells, hash: stand.hash })
    }

    /// Writes the verified cells of a chunk.
    fn take(&mut self, payload: &[u8], len: usize, next: Progress) -> Result<(), ImportError> {
        let mut rest = payload;
        while let Some(cell) = Cell::decode(&mut rest) {
            if cell.table == HISTORY {
                self.tree.append(cell.key, cell.head, cell.value)?;
            } else {
                self.tree.put(Table(cell.table), cell.key, cell.value)?;
            }
        }
        self.unsaved += len;
        if self.unsaved >= self.unsaved_max {
            save(&mut self.tree, &next.encode())?;
            self.unsaved = 0;
        }
        self.stage = Stage::Open(next);
        Ok(())
    }
}

/// A snapshot that is whole and durable, and not yet in its place.
#[derive(Debug)]
#[must_use = "the snapshot is not in its place yet"]
pub struct Imported {
    disk: Arc<dyn Disk>,
    target: PathBuf,
    revision: i64,
    compacted: i64,
    cells: u64,
    hash: u64,
}

impl Imported {
    /// The newest revision in it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// Its compaction floor; -1 if nothing was ever compacted.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Rows and records in it.
    #[must_use]
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// The hash of its stream: the same for all replicas of the same state and note.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Puts it in the place of the store's file, in one step, durable on return. A store that is
    /// open there must not be used any more.
    ///
    /// # Errors
    /// [`ImportError::Disk`]: after a crash there is the old file or the new one.
    pub fn install(self) -> Result<(), ImportError> {
        self.disk.rename(&partial(&self.target), &self.target)?;
        self.disk.sync_dir(self.target.parent().unwrap_or(Path::new("")))?;
        Ok(())
    }
}

/// The file of an import for a store at `path`.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".import");
    PathBuf::from(name)
}

/// An unfinished import; `None` if there is none that can be gone on with.
fn reopen(
    disk: &Arc<dyn Disk>,
    file: &Path,
    options: &Options,
) -> Result<Option<(Tree, Progress)>, ImportError> {
    match Tree::open(Arc::clone(disk), file, options.tree()) {
        Ok((tree, _)) => Ok(Progress::decode(tree.note()).map(|progress| (tree, progress))),
        Err(error @ revd_btree::OpenError::Disk(_)) => Err(OpenError::from(error).into()),
        Err(_) => Ok(None),
    }
}

/// A checkpoint of all that is in the tree.
fn save(tree: &mut Tree, note: &[u8]) -> Result<(), revd_btree::Error> {
    if let Some(checkpoint) = tree.checkpoint(note)? {
        let written = checkpoint.write()?;
        tree.checkpointed(written);
    }
    Ok(())
}

/// The beginning of a stream.
fn opened(chunk: &Chunk<'_>) -> Result<Progress, ChunkError> {
    let malformed = |what| ChunkError::Malformed { cell: 0, what };
    let opening = Opening::decode(chunk.payload).map_err(malformed)?;
    let id = opening.id();
    let stand = Stand { id, cells: 0, hash: id };
    if chunk.before != stand {
        return Err(malformed("the opening does not give the name of the snapshot"));
    }
    Ok(Progress { opening, stand, table: 0, key: Key::MIN })
}

impl Progress {
    /// Checks that a chunk is the next one of this stream.
    fn verify_stand(&self, chunk: &Chunk<'_>) -> Result<(), ChunkError> {
        let (expected, found) = (self.stand, chunk.before);
        if found.id != expected.id {
            return Err(ChunkError::OtherSnapshot { expected: expected.id, found: found.id });
        }
        if found.cells != expected.cells {
            return Err(ChunkError::OutOfOrder { expected: expected.cells, found: found.cells });
        }
        if found.hash != expected.hash {
            let (expected, found) = (expected.hash, found.hash);
            return Err(ChunkError::Hash { cells: self.stand.cells, expected, found });
        }
        Ok(())
    }

    /// Checks a chunk of cells; returns the progress once they are taken.
    fn verify(&self, chunk: &Chunk<'_>) -> Result<Progress, ChunkError> {
        self.verify_stand(chunk)?;
        let mut next = self.clone();
        let mut rest = chunk.payload;
        let malformed = |cell, what| ChunkError::Malformed { cell, what };
        if rest.is_empty() {
            return Err(malformed(next.stand.cells, "a chunk without cells"));
        }
        while !rest.is_empty() {
            let number = next.stand.cells;
            let start = rest;
            let cell = Cell::decode(&mut rest).ok_or(malformed(number, "it is cut short"))?;
            cell.check(self.opening.revision).map_err(|what| malformed(number, what))?;
            // No cell is in table 0, so the first one is above the key that stands there.
            if (cell.table, cell.key) <= (next.table, next.key) {
                return Err(malformed(number, "its key does not rise"));
            }
            (next.table, next.key) = (cell.table, cell.key);
            next.stand.hash = fold(next.stand.hash, &start[..start.len() - rest.len()]);
            next.stand.cells += 1;
        }
        Ok(next)
    }

    /// Checks the last chunk.
    fn verify_end(&self, chunk: &Chunk<'_>) -> Result<(), ChunkError> {
        self.verify_stand(chunk)?;
        let malformed = |what| ChunkError::Malformed { cell: self.stand.cells, what };
        if !chunk.payload.is_empty() {
            return Err(malformed("the last chunk holds something"));
        }
        // The newest revision has a record, unless compaction took it and so is the floor.
        let newest = if self.table == HISTORY { self.key.main as i64 } else { 1 };
        if newest.max(self.opening.compacted) < self.opening.revision {
            return Err(malformed("the newest revision is missing"));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let Stand { id, cells, hash } = self.stand;
        let position = SnapshotPosition { id, after: self.key, cells, hash };
        let opening = self.opening.encode();
        [&UNFINISHED[..], &[self.table], &position.encode(), &opening].concat()
    }

    /// The progress that a note tells of, if the history has been reached.
    fn decode(note: &[u8]) -> Option<Self> {
        let (&table, rest) = note.strip_prefix(UNFINISHED)?.split_first()?;
        let (position, opening) = rest.split_at_checked(SnapshotPosition::BYTES)?;
        let SnapshotPosition { id, after, cells, hash } = SnapshotPosition::decode(position)?;
        let opening = Opening::decode(opening).ok()?;
        let progress = Self { opening, stand: Stand { id, cells, hash }, table, key: after };
        (table == HISTORY && progress.opening.id() == id).then_some(progress)
    }
}
