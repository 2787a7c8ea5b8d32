//! The operations on paths.

use std::path::Path;

use rustix::io::Errno;

use super::fault::Effect;
use super::names::Found;
use super::state::{Asked, Course, InodeId, State, survived};
use crate::{Access, Create, Error, Kind, Open, Operation};

impl State {
    /// Finds or creates the file at a path, on behalf of `operation`.
    pub(super) fn open(
        &mut self,
        operation: Operation,
        path: &Path,
        how: Open,
    ) -> Result<InodeId, Error> {
        let mut asked = Asked::new(operation, path);
        let found = self.names.find(path);
        let is_new = matches!(found, Found::Free | Found::Nowhere | Found::Blocked);
        if is_new && how.create != Create::Existing {
            asked.creates = true;
            return self.create(&asked, found);
        }
        if let Found::File(id) = found {
            asked.file = Some(id);
        }
        self.begin_read(&asked)?;
        match found {
            Found::File(id) if how.create != Create::New => Ok(id),
            Found::File(_) | Found::Directory if how.create == Create::New => {
                Err(asked.fails(Kind::Exists))
            }
            _ => Err(wrong(&asked, found)),
        }
    }

    fn create(&mut self, asked: &Asked<'_>, found: Found) -> Result<InodeId, Error> {
        let course = self.begin_plain_change(asked)?;
        if found != Found::Free {
            return Err(wrong(asked, found));
        }
        let (id, order) = (self.new_inode(), self.next_order());
        self.names.change(vec![(asked.path.to_owned(), Some(id))], order);
        survived(course, asked)?;
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Result<(), Error> {
        let asked = Asked::new(Operation::CreateDir, path);
        let course = self.begin_plain_change(&asked)?;
        if matches!(self.names.find(path), Found::File(_) | Found::Blocked) {
            return Err(asked.fails(Kind::Exists));
        }
        for dir in self.names.missing_directories(path) {
            let order = self.next_order();
            match course {
                // Each of them may have come to be, if its parent has.
                Course::Dying => self.names.try_directory(dir, order),
                _ => self.names.add_directory(dir),
            }
        }
        survived(course, &asked)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let asked = Asked::new(Operation::Rename, from);
        let course = self.begin_plain_change(&asked)?;
        let id = match self.names.find(from) {
            Found::File(id) => id,
            found => return Err(wrong(&asked, found)),
        };
        let replaced = match self.names.find(to) {
            Found::File(replaced) => Some(replaced),
            Found::Free => None,
            found => return Err(wrong(&asked, found)),
        };
        if from != to {
            let order = self.next_order();
            self.names.change(vec![(from.to_owned(), None), (to.to_owned(), Some(id))], order);
        }
        survived(course, &asked)?;
        replaced.into_iter().for_each(|id| self.collect(id));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Error> {
        let asked = Asked::new(Operation::Remove, path);
        let course = self.begin_plain_change(&asked)?;
        let id = match self.names.find(path) {
            Found::File(id) => id,
            found => return Err(wrong(&asked, found)),
        };
        let order = self.next_order();
        self.names.change(vec![(path.to_owned(), None)], order);
        survived(course, &asked)?;
        self.collect(id);
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> Result<Vec<String>, Error> {
        let asked = Asked::new(Operation::List, dir);
        self.begin_read(&asked)?;
        match self.names.find(dir) {
            Found::Directory => Ok(self.names.list(dir)),
            found => Err(wrong(&asked, found)),
        }
    }

    pub(super) fn exists(&mut self, path: &Path) -> Result<bool, Error> {
        let asked = Asked::new(Operation::Exists, path);
        self.begin_read(&asked)?;
        match self.names.find(path) {
            Found::File(_) | Found::Directory => Ok(true),
            Found::Free | Found::Nowhere => Ok(false),
            Found::Blocked => Err(wrong(&asked, Found::Blocked)),
        }
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> Result<(), Error> {
        let asked = Asked::new(Operation::SyncDir, dir);
        let course = self.begin_change(&asked)?;
        let found = self.names.find(dir);
        match course {
            Course::Struck(Effect::Lost) | Course::Dying => return survived(course, &asked),
            Course::Struck(effect) => return Err(asked.struck_by(effect)),
            Course::Normal if found != Found::Directory => return Err(wrong(&asked, found)),
            Course::Normal => {}
        }
        self.names.sync(dir);
        self.collect_all();
        Ok(())
    }

    /// Takes the lock of a file, creating it if needed.
    pub(super) fn lock(&mut self, path: &Path) -> Result<InodeId, Error> {
        let how = Open { create: Create::Either, access: Access::Buffered };
        let id = self.open(Operation::Lock, path, how)?;
        if !self.locks.insert(id) {
            return Err(Error::new(Operation::Lock, path, Kind::Locked));
        }
        self.inode(id).handles += 1;
        Ok(id)
    }
}

/// What the operating system says about a path that does not lead where it should.
fn wrong(asked: &Asked<'_>, found: Found) -> Error {
    match found {
        Found::Free | Found::Nowhere => asked.fails_with(Errno::NOENT),
        Found::Directory => asked.fails_with(Errno::ISDIR),
        Found::File(_) | Found::Blocked => asked.fails_with(Errno::NOTDIR),
    }
}
