//! Reading a file that another process may be writing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Disk, Open};

use crate::format::BLOCK_BYTES;
use crate::open::{Root, check_header, find_roots, read_slots, state_of};
use crate::pages::Pages;
use crate::reader::{Pin, Published, Reader, State};
use crate::{Key, OpenError, Opened, Options};

/// How often a root that changes while it is read is read again.
const ATTEMPTS: u32 = 100;

/// A file opened for reading alone, also while another process writes it.
///
/// It has the state of one checkpoint, which may be one whose sync has not yet returned to the
/// writer, until [`refresh`](ReadOnly::refresh) takes a newer one. It puts a mark on the file that
/// says which checkpoint it sees ([`revd_disk::File::mark`]), and the writer does not reuse what
/// that checkpoint needs. The mark ends with the last pin on the state, or with the process.
///
/// **What a reader that stays costs**: as long as a mark stands, the writer gives out none of the
/// blocks that become free, so the file grows by all that is written. So refresh, or drop it.
pub struct ReadOnly {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    options: Options,
    published: Arc<Published>,
    reader: Reader,
    sequence: u64,
    note: Vec<u8>,
    last_key: Option<Key>,
}

impl ReadOnly {
    /// Opens a file for reading. Changes nothing in it: if the newest checkpoint is not intact, the
    /// one before is read, and [`Opened::fell_back`] says so.
    ///
    /// # Errors
    ///
    /// As [`Tree::open`](crate::Tree::open); [`OpenError::Busy`].
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: Options,
    ) -> Result<(ReadOnly, Opened), OpenError> {
        options.validate()?;
        let (state, root, opened) = load(&*disk, path, &options)?;
        let published = Published::new(state);
        let tree = ReadOnly {
            disk,
            path: path.to_owned(),
            options,
            reader: Reader::new(published.clone()),
            published,
            sequence: root.slot.sequence,
            note: root.commit.note,
            last_key: root.commit.last_key,
        };
        Ok((tree, opened))
    }

    /// Takes the newest checkpoint; false if it has that already. Pins and readers that exist keep
    /// what they see; readers see the newer state with their next pin. The file is opened anew and
    /// its nodes are checked again when they are first read, so do it some times a second, not for
    /// each question.
    ///
    /// # Errors
    ///
    /// As [`ReadOnly::open`]; the old state stays.
    pub fn refresh(&mut self) -> Result<bool, OpenError> {
        let slots = read_slots(&self.published.get().pages)?.slots;
        if slots.first().is_some_and(|newest| newest.sequence == self.sequence) {
            return Ok(false);
        }
        let (state, root, _) = load(&*self.disk, &self.path, &self.options)?;
        let is_new = root.slot.sequence != self.sequence;
        self.published.replace(state);
        self.sequence = root.slot.sequence;
        self.note = root.commit.note;
        self.last_key = root.commit.last_key;
        Ok(is_new)
    }

    /// A view of the state.
    pub fn pin(&self) -> Pin<'_> {
        self.reader.pin()
    }

    /// A handle for reading on other threads, which follows the refreshes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The number of the checkpoint.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The owner's note of the checkpoint.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The last key ever appended to the history.
    #[must_use]
    pub fn last_key(&self) -> Option<Key> {
        self.last_key
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly")
            .field("file", &self.path)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Marks a root that cannot be reused from then on, and reads it: fact 5 of the pin rule in
/// [`pages`](crate::pages).
fn load(
    disk: &dyn Disk,
    path: &Path,
    options: &Options,
) -> Result<(State, Root, Opened), OpenError> {
    let file = disk.open(path, Open::existing(Access::Read))?;
    if file.len()? > options.map_bytes {
        return Err(OpenError::Options("map_bytes is less than the length of the file"));
    }
    let pages = Arc::new(Pages::new(path.to_owned(), file, None, options.map_bytes)?);
    check_header(&pages, options)?;
    for attempt in 1..=ATTEMPTS {
        // A slot that is being written may look broken: only one that stays so is.
        let before = read_slots(&pages)?;
        if !before.is_whole() && attempt < ATTEMPTS {
            continue;
        }
        // Without any root the search below says so.
        let oldest = before.slots.last().map_or(0, |slot| slot.sequence);
        pages.file.mark(oldest)?;
        let slots = read_slots(&pages)?;
        let newest = slots.slots.first().map_or(0, |slot| slot.sequence);
        if !(oldest..=oldest + 1).contains(&newest) || (!slots.is_whole() && attempt < ATTEMPTS) {
            continue;
        }
        pages.grown_to((pages.file.len()?.min(options.map_bytes) / BLOCK_BYTES as u64) as u32);
        let found = find_roots(&pages, slots, options.owner)?;
        let sequence = found.root.slot.sequence;
        pages.file.mark(sequence)?;
        let (state, _) = state_of(pages, &found.root.commit)?;
        let fell_back = found.damage.is_some();
        return Ok((state, found.root, Opened { sequence, fell_back, damage: found.damage }));
    }
    Err(OpenError::Busy { file: path.to_owned() })
}
