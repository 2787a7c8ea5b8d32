//! Walks over the history and over tables.

use std::fmt;

use crate::leaf::{RawRecord, Value};
use crate::pages::{Epoch, Pages};
use crate::rows::RowsView;
use crate::view::{LeafPlace, Seek, View, value_bytes};
use crate::{Error, Key, Table};

/// A record of the history, where it is.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Its key.
    pub key: Key,
    /// The owner's description of the value; always beside the key.
    pub head: &'a [u8],
    value: Value<'a>,
    pages: &'a Pages,
    epoch: &'a Epoch,
}

impl<'a> Record<'a> {
    pub(crate) fn new(raw: RawRecord<'a>, view: View<'a>) -> Record<'a> {
        let View { pages, epoch, .. } = view;
        Record { key: raw.key, head: raw.head, value: raw.value, pages, epoch }
    }

    /// The length of the value; does not touch it, even if it is in an extent of its own.
    #[must_use]
    pub fn value_len(&self) -> usize {
        self.value.len()
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Disk`] if it is in an extent that cannot be read.
    pub fn value(&self) -> Result<&'a [u8], Error> {
        value_bytes(self.value, self.pages, self.epoch)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("head", &self.head)
            .field("value_len", &self.value_len())
            .finish()
    }
}

/// A position between two records of the history. As an iterator it yields the records behind it;
/// [`Cursor::prev`] goes the other way. After an error it yields nothing more.
pub struct Cursor<'a> {
    view: View<'a>,
    /// Where it starts, until the first step.
    from: Option<Key>,
    /// The leaf around the position. Unset before the first step, in an empty history, and after an
    /// error.
    place: Option<LeafPlace<'a>>,
    /// How many records of the leaf are before the position.
    index: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(view: View<'a>, from: Key) -> Cursor<'a> {
        Cursor { view, from: Some(from), place: None, index: 0 }
    }

    /// The record before the position, which moves there.
    pub fn prev(&mut self) -> Option<Result<Record<'a>, Error>> {
        let step = self.step_back();
        self.settle(step)
    }

    fn step(&mut self) -> Result<Option<Record<'a>>, Error> {
        self.start()?;
        loop {
            let Some(place) = self.place else { return Ok(None) };
            if self.index < place.leaf.count() {
                let raw = place.leaf.record(self.index, self.view.pages)?;
                self.index += 1;
                return Ok(Some(Record::new(raw, self.view)));
            }
            let Some(high) = place.high else { return Ok(None) };
            let next = self.view.leaf(Seek::At(high))?;
            if next.is_none_or(|next| next.low <= place.low) {
                return Err(self.view.pages.corrupt(0, "order of leaves", high.main, 0));
            }
            self.place = next;
            self.index = 0;
        }
    }

    fn step_back(&mut self) -> Result<Option<Record<'a>>, Error> {
        self.start()?;
        loop {
            let Some(place) = self.place else { return Ok(None) };
            if self.index > 0 {
                let raw = place.leaf.record(self.index - 1, self.view.pages)?;
                self.index -= 1;
                return Ok(Some(Record::new(raw, self.view)));
            }
            let Some(before) = self.view.leaf(Seek::Before(place.low))? else {
                return Ok(None);
            };
            if before.low >= place.low {
                return Err(self.view.pages.corrupt(0, "order of leaves", place.low.main, 0));
            }
            self.index = before.leaf.count();
            self.place = Some(before);
        }
    }

    fn start(&mut self) -> Result<(), Error> {
        if let Some(from) = self.from.take() {
            self.place = self.view.leaf(Seek::At(from))?;
            if let Some(place) = self.place {
                self.index = place.leaf.lower_bound(from, self.view.pages)?;
            }
        }
        Ok(())
    }

    fn settle<T>(&mut self, step: Result<Option<T>, Error>) -> Option<Result<T, Error>> {
        if step.is_err() {
            self.place = None;
        }
        step.transpose()
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        self.settle(step)
    }
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.place.map(|place| place.low);
        f.debug_struct("Cursor").field("leaf", &low).field("index", &self.index).finish()
    }
}

/// The rows of a table from a key on, in rising order. After an error it yields nothing more.
pub struct Rows<'a> {
    view: View<'a>,
    table: Table,
    /// Where the next leaf is to be looked up, when the rows of this one are over.
    next: Option<Key>,
    leaf: Option<RowsView<'a>>,
    index: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(view: View<'a>, table: Table, from: Key) -> Rows<'a> {
        Rows { view, table, next: Some(from), leaf: None, index: 0 }
    }

    fn step(&mut self) -> Result<Option<(Key, &'a [u8])>, Error> {
        loop {
            if let Some(leaf) = self.leaf
                && self.index < leaf.count()
            {
                let (key, value) = leaf.row(self.index, self.view.pages)?;
                self.index += 1;
                return Ok(Some((key, self.view.value(value)?)));
            }
            let Some(from) = self.next.take() else { return Ok(None) };
            let Some((leaf, high)) = self.view.rows(self.table, from)? else { return Ok(None) };
            self.index = leaf.lower_bound(from, self.view.pages)?.0;
            self.leaf = Some(leaf);
            // A separator at or below the one looked up would lead back to the same leaf.
            self.next = high.filter(|high| *high > from);
        }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<(Key, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.leaf = None;
            self.next = None;
        }
        step.transpose()
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("table", &self.table).field("index", &self.index).finish()
    }
}
