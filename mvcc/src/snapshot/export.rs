//! The way out: a published state as chunks.

use std::sync::Arc;

use revd_btree::{Key, Record};

use super::cell::{Cell, HISTORY, tables};
use super::chunk::{BUDGET_MAX, Kind, NOTE_MAX, Opening, Stand, blank, seal};
use super::error::ExportError;
use super::floors::{EXPORTS_MAX, Floors, Hold};
use super::fold;
use super::position::SnapshotPosition;
use crate::error::Fatal;
use crate::index::{Entries, Map};
use crate::key_value::Revision;
use crate::record;
use crate::view::View;

/// Records that are looked at under one pin, at most: it ends within milliseconds, however many of
/// them compaction has given up.
const LOOKS_MAX: usize = 64 * 1024;

/// What the next chunk begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Opening,
    /// A row of this or a later table, from this key on.
    Row(u8, Key),
    /// A record with at least this key.
    Record(Key),
    Closing,
    Nothing,
}

/// A snapshot of a store on its way out; made by [`Store::export`](crate::Store::export).
///
/// May be used on any thread while the store goes on. As long as it lives, sweeps that would remove
/// what it has to send wait, and the part of the index that changes is kept as it was, too.
#[derive(Debug)]
#[must_use = "compaction waits for as long as this lives"]
pub struct Export {
    view: View,
    hold: Hold,
    opening: Opening,
    /// The index of the exported state: which records up to the floor survive.
    keys: Map<Entries>,
    id: u64,
    next: Next,
    cells: u64,
    hash: u64,
}

/// A chunk that is being filled.
struct Filling {
    buffer: Vec<u8>,
    /// The payload should not become longer than this.
    budget: usize,
    cells: u64,
    hash: u64,
}

impl Filling {
    fn payload(&self) -> usize {
        self.buffer.len() - super::SNAPSHOT_HEADER_BYTES
    }

    /// False if there is no room for so many bytes, unless they would be the first.
    fn has_room(&self, len: usize) -> bool {
        self.payload() == 0 || self.payload() + len <= self.budget
    }

    fn push(&mut self, cell: &Cell<'_>) {
        let start = self.buffer.len();
        cell.encode(&mut self.buffer);
        self.hash = fold(self.hash, &self.buffer[start..]);
        self.cells += 1;
    }
}

impl Export {
    /// Exports what `view` shows, which must be the writer's newest state.
    pub(crate) fn begin(
        view: View,
        floors: &Arc<Floors>,
        note: &[u8],
    ) -> Result<Self, ExportError> {
        if note.len() > NOTE_MAX {
            return Err(ExportError::NoteTooLong { bytes: note.len(), limit: NOTE_MAX });
        }
        let snapshot = view.snapshot();
        let (revision, compacted) = (snapshot.revision, snapshot.compacted);
        let hold = floors.hold(compacted, view.hold()).ok_or(ExportError::TooMany(EXPORTS_MAX))?;
        let opening = Opening { revision, compacted, note: note.to_vec() };
        let (keys, id) = (snapshot.keys.clone(), opening.id());
        Ok(Self { view, hold, opening, keys, id, next: Next::Opening, cells: 0, hash: id })
    }

    /// The newest revision in the snapshot.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.opening.revision)
    }

    /// The floor of the snapshot: -1 if nothing was ever compacted.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.opening.compacted
    }

    /// Goes on behind `position`, which an import of this snapshot has reached, perhaps from
    /// another replica's export.
    ///
    /// # Errors
    /// [`ExportError::OtherSnapshot`].
    pub fn resume(&mut self, position: &SnapshotPosition) -> Result<(), ExportError> {
        if position.id != self.id {
            let (expected, found) = (self.id, position.id);
            return Err(ExportError::OtherSnapshot { expected, found });
        }
        self.hold.drop_tables();
        self.next = position.after.next().map_or(Next::Closing, Next::Record);
        (self.cells, self.hash) = (position.cells, position.hash);
        Ok(())
    }

    /// The next chunk, with about `budget` bytes (at most 64 MiB; a longer record goes alone).
    /// `None` when the last was given out. After an error the same chunk can be asked for again.
    ///
    /// # Errors
    /// [`ExportError::Released`]; [`ExportError::Fatal`] if storage fails.
    pub fn next_chunk(&mut self, budget: usize) -> Result<Option<Vec<u8>>, ExportError> {
        let before = Stand { id: self.id, cells: self.cells, hash: self.hash };
        let budget = budget.min(BUDGET_MAX);
        let mut filling =
            Filling { buffer: blank(budget), budget, cells: self.cells, hash: self.hash };
        let mut next = self.next;
        let kind = match next {
            Next::Nothing => return Ok(None),
            Next::Opening => {
                filling.buffer.extend_from_slice(&self.opening.encode());
                next = Next::Row(0, Key::MIN);
                Kind::Opening
            }
            _ => {
                self.fill(&mut filling, &mut next)?;
                if filling.payload() > 0 {
                    Kind::Cells
                } else {
                    next = Next::Nothing;
                    Kind::Closing
                }
            }
        };
        if !matches!(next, Next::Row(..)) {
            self.hold.drop_tables();
        }
        self.next = next;
        (self.cells, self.hash) = (filling.cells, filling.hash);
        Ok(Some(seal(filling.buffer, kind, before)))
    }

    /// Puts cells into the chunk until it is full or there are none.
    fn fill(&self, filling: &mut Filling, next: &mut Next) -> Result<(), ExportError> {
        if let Next::Row(table, from) = *next {
            if let Some(at) = self.rows(filling, table, from)? {
                *next = at;
                return Ok(());
            }
            *next = Next::Record(Key::MIN);
        }
        let mut is_full = false;
        while let (Next::Record(from), false) = (*next, is_full) {
            (*next, is_full) = self.records(filling, from)?;
        }
        Ok(())
    }

    /// Rows from one on; returns the first for which there is no room.
    fn rows(
        &self,
        filling: &mut Filling,
        first: u8,
        from: Key,
    ) -> Result<Option<Next>, ExportError> {
        let pin = self.hold.tables().ok_or(ExportError::Released)?;
        for table in tables().filter(|table| table.0 >= first) {
            let from = if table.0 == first { from } else { Key::MIN };
            for row in pin.table(table, from) {
                let (key, value) = row.map_err(Fatal::from)?;
                let cell = Cell { table: table.0, key, head: &[], value };
                if !filling.has_room(Cell::len(key, 0, value.len())) {
                    return Ok(Some(Next::Row(table.0, key)));
                }
                filling.push(&cell);
            }
        }
        Ok(None)
    }

    /// Records from one on, as many as one pin may last for; returns what comes next, and whether
    /// there is no room for it.
    fn records(&self, filling: &mut Filling, from: Key) -> Result<(Next, bool), ExportError> {
        let pin = self.view.pin();
        // Asked for behind the pin: what was swept later is still in it.
        if !self.hold.is_valid() {
            return Err(ExportError::Released);
        }
        for (looks, stored) in pin.history(from).enumerate() {
            let stored = stored.map_err(Fatal::from)?;
            if stored.key.main > self.opening.revision as u64 {
                break;
            }
            if looks == LOOKS_MAX {
                return Ok((Next::Record(stored.key), false));
            }
            if !self.is_kept(&stored)? {
                continue;
            }
            let (head, len) = (stored.head, stored.value_len());
            if !filling.has_room(Cell::len(stored.key, head.len(), len)) {
                return Ok((Next::Record(stored.key), true));
            }
            let value = stored.value().map_err(Fatal::from)?;
            filling.push(&Cell { table: HISTORY, key: stored.key, head, value });
        }
        Ok((Next::Closing, false))
    }

    /// Rule 7.5, whether a sweep has come by or not: everything above the floor, and of each key
    /// the newest up to it.
    fn is_kept(&self, stored: &Record<'_>) -> Result<bool, Fatal> {
        let floor = self.opening.compacted;
        if stored.key.main as i64 > floor {
            return Ok(true);
        }
        let place = record::place(stored.key)?;
        let entry = self.keys.get(record::user_key(stored)?);
        Ok(entry.and_then(|entry| entry.survivor(floor as u64)) == Some(place))
    }
}
