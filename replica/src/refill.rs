//! A member that has lost some of what it had: what is left of that is set aside, and the others
//! fill the gap.
//!
//! ```text
//! <data dir>/refill     the member is not what it was yet: begins before anything else is done
//! <data dir>/damaged/   the files as they were found, until the next time
//! ```
//!
//! | lost | set aside | the member goes on |
//! |---|---|---|
//! | the log | the log | behind its tree |
//! | the tree | the tree and the log | from nothing, as one who joins, but as itself: with its term, its vote, its id |
//!
//! Either way its log is not what it has acknowledged. So, from the first moment until it holds
//! everything again, over any number of restarts, it neither votes nor acknowledges nor stands for
//! election (`revd_raft`, recovery). The same goes for a tree that is whole and wrong, because its
//! state hash differs from that of a majority: it could be grown again from a log that is sound,
//! but a log without a tree in front of it says nothing about who belongs to the cluster, and two
//! ways of coming back would be one too many.
//!
//! The marker says what is still to be set aside. Each step can be repeated:
//!
//! 1. What the last refill has set aside is removed; then the marker is made, durable.
//! 2. Files are moved, one by one; what has been moved before is not overwritten.
//! 3. The marker says that nothing is left to be moved. A tree or log that is there is new.
//! 4. The marker is removed when consensus says that the member is whole.
//!
//! Nothing is removed that has no copy on a majority: who could be missed by its cluster, or is
//! alone, is not refilled ([`is_spare`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Disk, Open};
use revd_raft::{Configuration, NodeId};

use crate::log_store;
use crate::recover::TREE_FILE;

/// The marker in the data directory.
const MARKER: &str = "refill";
/// The folder of what was set aside.
pub const DAMAGED: &str = "damaged";

/// What a member has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its log, or a part of it. The tree is as it should be.
    Log,
    /// Its tree, by damage or because it is not what it should be.
    Tree,
}

impl Lost {
    const fn text(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Tree => "tree",
        }
    }
}

/// Whether a majority is left without this member: only then can it be refilled, by the others'
/// word alone.
#[must_use]
pub fn is_spare(configuration: &Configuration, member: NodeId) -> bool {
    let is_spare = |voters: &[NodeId]| {
        let others = voters.iter().filter(|voter| **voter != member).count();
        2 * others > voters.len()
    };
    let (voters, outgoing) = (configuration.voters(), configuration.outgoing());
    is_spare(voters) && (outgoing.is_empty() || is_spare(outgoing))
}

/// Has the member begin anew without what it has lost, at its next start. It must not run any more.
///
/// # Errors
/// Those of the disk; the member is as it was then, or marked.
pub fn begin(disk: &dyn Disk, dir: &Path, lost: Lost) -> Result<(), revd_disk::Error> {
    let marked = read(disk, dir)?;
    if marked.is_none() {
        let aside = dir.join(DAMAGED);
        disk.create_dir(&aside)?;
        for name in disk.list(&aside)? {
            disk.remove(&aside.join(name))?;
        }
        disk.sync_dir(&aside)?;
    }
    let lost = match marked {
        Some(Some(Lost::Tree)) => Lost::Tree,
        _ => lost,
    };
    write(disk, dir, Some(lost))
}

/// Whether the member lacks some of what it had.
///
/// # Errors
/// Those of the disk.
pub fn is_under_way(disk: &dyn Disk, dir: &Path) -> Result<bool, revd_disk::Error> {
    disk.exists(&dir.join(MARKER))
}

/// A member that is being refilled.
#[derive(Clone, Debug)]
pub(crate) struct Refill {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Refill {
    /// `None` if the member is whole. What is still to be set aside is set aside.
    pub(crate) fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<Self>, revd_disk::Error> {
        let Some(lost) = read(&**disk, dir)? else { return Ok(None) };
        if let Some(lost) = lost {
            if lost == Lost::Tree {
                set_aside(&**disk, dir, dir, &[TREE_FILE.to_owned()])?;
            }
            let log = dir.join(log_store::FOLDER);
            if disk.exists(&log)? {
                set_aside(&**disk, dir, &log, &disk.list(&log)?)?;
            }
            write(&**disk, dir, None)?;
        }
        Ok(Some(Self { disk: Arc::clone(disk), dir: dir.to_owned() }))
    }

    /// The member is whole.
    pub(crate) fn end(&self) -> Result<(), revd_disk::Error> {
        self.disk.remove(&self.dir.join(MARKER))?;
        self.disk.sync_dir(&self.dir)
    }
}

/// Moves those files of a folder that are there.
fn set_aside(
    disk: &dyn Disk,
    dir: &Path,
    folder: &Path,
    names: &[String],
) -> Result<(), revd_disk::Error> {
    let aside = dir.join(DAMAGED);
    for name in names {
        let (from, to) = (folder.join(name), aside.join(name));
        if !disk.exists(&from)? {
            continue;
        }
        if disk.exists(&to)? {
            disk.remove(&from)?;
        } else {
            disk.rename(&from, &to)?;
        }
    }
    disk.sync_dir(&aside)?;
    disk.sync_dir(folder)
}

/// What the marker says: `None` if there is none, `Some(None)` if nothing is left to be set aside.
/// Whatever else it may say, the member is not whole.
fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Option<Lost>>, revd_disk::Error> {
    let path = dir.join(MARKER);
    if !disk.exists(&path)? {
        return Ok(None);
    }
    let file = disk.open(&path, Open::read())?;
    let mut bytes = vec![0; usize::try_from(file.len()?.min(16)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    let lost = [Lost::Log, Lost::Tree].into_iter().find(|lost| lost.text().as_bytes() == bytes);
    Ok(Some(lost))
}

fn write(disk: &dyn Disk, dir: &Path, lost: Option<Lost>) -> Result<(), revd_disk::Error> {
    let temporary = dir.join("refill.new");
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.open(&temporary, Open::new_file(Access::Buffered))?;
    file.write_at(lost.map_or("", Lost::text).as_bytes(), 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &dir.join(MARKER))?;
    disk.sync_dir(dir)
}
