//! The data directory: whether it is ours, new or in use.
//!
//! ```text
//! <data dir>/lock    held by the process that uses the directory
//! <data dir>/vote    marks a member that has been made
//! <data dir>/tree    what is stored
//! <data dir>/wal/    the log
//! ```
//!
//! A member that has lost something has a marker and a folder of what it has set aside beside them
//! (`revd_replica::refill`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, Disk, Lock, Open};

/// The file whose lock keeps other processes out.
const LOCK: &str = "lock";

/// The file that a made member has, see `revd_replica::recover`.
const VOTE: &str = "vote";

/// Written and removed at the start, to find out whether the directory can be written.
const PROBE: &str = ".touch";

/// Names that belong to a member. A leftover of an interrupted bootstrap may be any of them.
const OURS: &[&str] = &[
    LOCK,
    VOTE,
    "vote.new",
    "tree",
    "tree.new",
    "tree.fresh",
    "tree.fresh.new",
    "wal",
    "refill",
    "refill.new",
    "damaged",
];

/// Names that say nothing about whose directory it is: a file system of its own has the first.
const NEUTRAL: &[&str] = &["lost+found", PROBE];

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It cannot be made, listed or written.
    #[error("cannot write to data directory {}: {source}", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What was attempted.
        #[source]
        source: revd_disk::Error,
    },
    /// It belongs to an etcd.
    #[error(
        "data directory {} holds the data of an etcd member, which revd cannot read; name \
         another one with --data-dir",
        .0.display()
    )]
    Etcd(PathBuf),
    /// It belongs to somebody else.
    #[error(
        "data directory {} holds something else ({name}); name an empty one with --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        name: String,
    },
    /// Another process uses it.
    #[error("data directory {} is in use by another revd process", .0.display())]
    InUse(PathBuf),
}

/// A data directory that is locked until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    is_new: bool,
    /// Names that do not belong here but do no harm.
    strays: Vec<String>,
    _lock: Lock,
}

impl DataDir {
    /// Makes the directory if it does not exist, checks what it holds, and locks it.
    ///
    /// # Errors
    /// [`DirectoryError`]. Nothing in the directory has been changed then, apart from the lock
    /// file.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<DataDir, DirectoryError> {
        let unwritable = |source| DirectoryError::Unwritable { path: path.to_owned(), source };
        disk.create_dir(path).map_err(unwritable)?;
        let names = disk.list(path).map_err(unwritable)?;
        let strays = check_names(path, &names)?;
        let lock = disk.lock(&path.join(LOCK)).map_err(|error| {
            if error.is_locked() {
                DirectoryError::InUse(path.to_owned())
            } else {
                unwritable(error)
            }
        })?;
        let probe = path.join(PROBE);
        disk.open(&probe, Open::either(Access::Buffered)).map_err(unwritable)?;
        disk.remove(&probe).map_err(unwritable)?;
        let is_new = !disk.exists(&path.join(VOTE)).map_err(unwritable)?;
        Ok(DataDir { path: path.to_owned(), is_new, strays, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no member has been made in it yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Names that do not belong here, to be warned about.
    #[must_use]
    pub fn strays(&self) -> &[String] {
        &self.strays
    }
}

/// Refuses the directory of somebody else; returns the names that are not ours in one that is.
fn check_names(path: &Path, names: &[String]) -> Result<Vec<String>, DirectoryError> {
    let foreign: Vec<String> = names
        .iter()
        .filter(|name| !OURS.contains(&name.as_str()) && !NEUTRAL.contains(&name.as_str()))
        .cloned()
        .collect();
    if foreign.iter().any(|name| name == "member") {
        return Err(DirectoryError::Etcd(path.to_owned()));
    }
    let ours = names.iter().any(|name| name == LOCK || name == VOTE);
    match foreign.first() {
        Some(name) if !ours => {
            Err(DirectoryError::Foreign { path: path.to_owned(), name: name.clone() })
        }
        _ => Ok(foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revd_disk::Real;

    fn open(path: &Path) -> Result<DataDir, DirectoryError> {
        let disk: Arc<dyn Disk> = Arc::new(Real::new());
        DataDir::open(&disk, path)
    }

    #[test]
    fn absent_directory_is_made_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        assert!(open(&path).unwrap().is_new());
        assert!(!path.join(PROBE).exists());
        // What an earlier start has left there does not make it somebody else's.
        assert!(open(&path).unwrap().is_new());
    }

    #[test]
    fn a_member_that_was_made_is_recognised() {
        let root = tempfile::tempdir().unwrap();
        for name in ["vote", "tree", "lock", "stray"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let found = open(root.path()).unwrap();
        assert!(!found.is_new());
        assert_eq!(found.strays(), ["stray"]);
    }

    #[test]
    fn an_etcd_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("member")).unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Etcd(_)), "{error}");
        assert!(!root.path().join(LOCK).exists());
    }

    #[test]
    fn the_directory_of_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("thesis.tex"), "").unwrap();
        let error = open(root.path()).unwrap_err().to_string();
        assert!(error.contains("holds something else (thesis.tex)"), "{error}");
    }

    #[test]
    fn a_second_process_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path()).unwrap();
        assert!(matches!(open(root.path()), Err(DirectoryError::InUse(_))));
        drop(first);
        assert!(open(root.path()).is_ok());
    }

    #[test]
    fn a_directory_that_cannot_be_made() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = open(&file.join("data")).unwrap_err();
        assert!(matches!(error, DirectoryError::Unwritable { .. }), "{error}");
    }
}
