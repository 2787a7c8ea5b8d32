//! Reading what was last published, on any thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::cursor::{Cursor, Record, Rows};
use crate::leaf::MemLeaf;
use crate::link::Link;
use crate::pages::{Epoch, Pages};
use crate::scrub::{ScrubAt, Scrubbed, scrub};
use crate::view::{RecentLeaves, TableRoots, View};
use crate::{Error, Key, Table};

/// A published state. Nothing in it changes any more, except that the shared lists grow behind the
/// lengths that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) pages: Arc<Pages>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) base: Link,
    pub(crate) recent: Arc<RecentLeaves>,
    pub(crate) recent_len: usize,
    pub(crate) open: Option<(Arc<MemLeaf>, usize)>,
    pub(crate) tables: Arc<TableRoots>,
}

impl State {
    pub(crate) fn view(&self) -> View<'_> {
        View {
            pages: &self.pages,
            epoch: &self.epoch,
            base: &self.base,
            recent: &self.recent,
            recent_len: self.recent_len,
            open: self.open.as_ref().map(|(leaf, segments)| (&**leaf, *segments)),
            pending: None,
            tables: &self.tables,
        }
    }
}

/// The state that readers get, replaced as a whole by each publication.
#[derive(Debug)]
pub(crate) struct Published {
    state: RwLock<Arc<State>>,
}

impl Published {
    pub(crate) fn new(state: State) -> Arc<Published> {
        Arc::new(Published { state: RwLock::new(Arc::new(state)) })
    }

    /// Makes `state` the one that readers get. What it replaces is dropped outside of the lock.
    pub(crate) fn replace(&self, state: State) {
        let state = Arc::new(state);
        let old = std::mem::replace(&mut *self.state.write(), state);
        drop(old);
    }

    pub(crate) fn get(&self) -> Arc<State> {
        self.state.read().clone()
    }
}

/// Reads what the writer has published; cheap to clone and to send to other threads.
#[derive(Clone)]
pub struct Reader {
    published: Arc<Published>,
}

impl Reader {
    pub(crate) fn new(published: Arc<Published>) -> Reader {
        Reader { published }
    }

    /// A view of the state that was published last. It does not change while it is held, and the
    /// blocks that it can see are not reused: so hold it for one answer, not for a conversation.
    /// Costs a short lock and the count of an `Arc`; neither waits for the writer's work.
    pub fn pin(&self) -> Pin<'_> {
        Pin { state: self.published.get(), reader: PhantomData }
    }

    /// As [`Reader::pin`], for the rare case that a view must outlive the call that takes it, such
    /// as a copy of small tables that goes out in pieces. The blocks that it can see are not reused
    /// for as long as it is held: bound that time.
    pub fn hold(&self) -> Pin<'static> {
        Pin { state: self.published.get(), reader: PhantomData }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("file", &self.published.get().pages.path).finish()
    }
}

/// A view of one published state; see [`Reader::pin`]. All that it returns borrows from it: bytes
/// are read where they are, in the file's mapping or in memory, and never copied.
#[must_use = "a pin keeps blocks from being reused for nothing"]
pub struct Pin<'r> {
    state: Arc<State>,
    /// Ties the view to one call on the reader; what it sees is kept by `state` alone.
    reader: PhantomData<&'r Reader>,
}

impl Pin<'_> {
    /// The record of the history with this key.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Disk`] if the pages that lead there cannot be read.
    pub fn get(&self, key: Key) -> Result<Option<Record<'_>>, Error> {
        let view = self.state.view();
        Ok(view.record(key)?.map(|record| Record::new(record, view)))
    }

    /// A position in the history before the first record whose key is at least `from`.
    #[must_use]
    pub fn history(&self, from: Key) -> Cursor<'_> {
        Cursor::new(self.state.view(), from)
    }

    /// The value of a row.
    ///
    /// # Errors
    ///
    /// As [`Pin::get`].
    pub fn row(&self, table: Table, key: Key) -> Result<Option<&[u8]>, Error> {
        let view = self.state.view();
        view.row(table, key)?.map(|value| view.value(value)).transpose()
    }

    /// Reads a part of what this state has on disk again, from the medium, and compares it with its
    /// checksums: at least one leaf with its long values, and no more once `max_bytes` were read.
    /// Begin with the default position and go on with that of the answer, each time with a new pin.
    /// What is written meanwhile is read in part; the next scrub comes to the rest.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] names what has rotted; [`Error::Disk`].
    pub fn scrub(&self, at: ScrubAt, max_bytes: u64) -> Result<Scrubbed, Error> {
        scrub(self.state.view(), at, max_bytes)
    }

    /// The rows of a table whose key is at least `from`, in rising order.
    #[must_use]
    pub fn table(&self, table: Table, from: Key) -> Rows<'_> {
        Rows::new(self.state.view(), table, from)
    }
}

impl fmt::Debug for Pin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("file", &self.state.pages.path).finish_non_exhaustive()
    }
}
