//! The names on a simulated disk, and what becomes of changes of them that nobody synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::state::InodeId;
use super::survival::{Random, Survival, Survivors, number_of};

/// The directories, and which name means which file.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directories: BTreeSet<PathBuf>,
    /// What the names mean now.
    now: BTreeMap<PathBuf, InodeId>,
    /// What they would mean after a loss of power that keeps nothing pending.
    durable: BTreeMap<PathBuf, InodeId>,
    /// In the order in which they were made.
    pending: Vec<Step>,
}

/// A change of names that survives as a whole or not at all.
#[derive(Clone, Debug)]
struct Step {
    order: u64,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    /// The names that it sets, and those that it removes.
    Names(Vec<(PathBuf, Option<InodeId>)>),
    /// A directory that was being made when the power failed.
    Directory(PathBuf),
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(InodeId),
    Directory,
    /// Nothing, though there is the directory that it would lie in.
    Free,
    /// Not even the directory that it would lie in.
    Nowhere,
    /// Nothing, and nothing can be there: some part before the last is a file.
    Blocked,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            directories: ["", ".", "/"].into_iter().map(PathBuf::from).collect(),
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
        }
    }
}

impl Names {
    pub(super) fn find(&self, path: &Path) -> Found {
        if let Some(id) = self.now.get(path) {
            Found::File(*id)
        } else if self.directories.contains(path) {
            Found::Directory
        } else if path.ancestors().skip(1).any(|part| self.now.contains_key(part)) {
            Found::Blocked
        } else if self.directories.contains(parent_of(path)) {
            Found::Free
        } else {
            Found::Nowhere
        }
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = (self.now.keys().chain(&self.directories))
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        names
    }

    /// Those of a path and its ancestors that are not there, the outermost first.
    pub(super) fn missing_directories(&self, path: &Path) -> Vec<PathBuf> {
        let missing = path.ancestors().take_while(|dir| !self.directories.contains(*dir));
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        missing
    }

    pub(super) fn add_directory(&mut self, dir: PathBuf) {
        self.directories.insert(dir);
    }

    /// A directory may be there when the power is back.
    pub(super) fn try_directory(&mut self, dir: PathBuf, order: u64) {
        self.pending.push(Step { order, change: Change::Directory(dir) });
    }

    /// A process that is killed while it makes directories has not made them.
    pub(super) fn forget_directories(&mut self) {
        self.pending.retain(|step| matches!(step.change, Change::Names(_)));
    }

    /// Changes what names mean, until the next loss of power at least.
    pub(super) fn change(&mut self, names: Vec<(PathBuf, Option<InodeId>)>, order: u64) {
        apply(&mut self.now, &names);
        self.pending.push(Step { order, change: Change::Names(names) });
    }

    /// Makes the pending changes in a directory durable. A rename out of it or into it is one
    /// change, and so takes the other directory's name with it, over whatever was pending for that
    /// before.
    pub(super) fn sync(&mut self, dir: &Path) {
        for step in std::mem::take(&mut self.pending) {
            match step.change {
                Change::Names(names) if names.iter().any(|(name, _)| parent_of(name) == dir) => {
                    self.supersede(&names);
                    apply(&mut self.durable, &names);
                }
                change => self.pending.push(Step { order: step.order, change }),
            }
        }
    }

    /// Forgets what is pending for these names.
    fn supersede(&mut self, newer: &[(PathBuf, Option<InodeId>)]) {
        self.pending.retain_mut(|step| match &mut step.change {
            Change::Directory(_) => true,
            Change::Names(names) => {
                names.retain(|(name, _)| newer.iter().all(|(other, _)| other != name));
                !names.is_empty()
            }
        });
    }

    /// The moment of the oldest change that is still pending.
    pub(super) fn oldest_pending(&self) -> Option<u64> {
        self.pending.iter().map(|step| step.order).min()
    }

    /// A loss of power: what survives is what the names mean.
    pub(super) fn crash(&mut self, survival: &Survival, random: &mut Random) -> Survivors {
        let mut survivors = Survivors::default();
        let mut decisive = BTreeMap::new();
        for step in std::mem::take(&mut self.pending) {
            let spared = survival.spares(step.order, random);
            survivors.count(1, u64::from(spared));
            match step.change {
                _ if !spared => {}
                Change::Names(names) => {
                    decisive.extend(names.iter().map(|(name, _)| (number_of(name), step.order)));
                    apply(&mut self.durable, &names);
                }
                Change::Directory(dir) => {
                    if self.directories.contains(parent_of(&dir)) {
                        decisive.insert(number_of(&dir), step.order);
                        self.directories.insert(dir);
                    }
                }
            }
        }
        decisive.into_iter().for_each(|(name, order)| survivors.digest([3, name, order, 0]));
        self.now = self.durable.clone();
        survivors
    }

    /// True if a name means this file, would after a loss of power, or might.
    pub(super) fn lead_to(&self, id: InodeId) -> bool {
        let pending = self.pending.iter().any(|step| match &step.change {
            Change::Names(names) => names.iter().any(|(_, other)| *other == Some(id)),
            Change::Directory(_) => false,
        });
        pending || self.now.values().chain(self.durable.values()).any(|other| *other == id)
    }
}

fn apply(meanings: &mut BTreeMap<PathBuf, InodeId>, names: &[(PathBuf, Option<InodeId>)]) {
    for (name, id) in names {
        match id {
            Some(id) => drop(meanings.insert(name.clone(), *id)),
            None => drop(meanings.remove(name)),
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
