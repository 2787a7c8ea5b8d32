//! Lists of entries whose memory is used again, so that a steady load allocates nothing.

use crate::entry::Entry;
use crate::message::{Body, Message};

/// At most so many lists are kept, each of at most so many entries: what one flood has needed is
/// given back.
const LISTS: usize = 64;
const ENTRIES: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(crate) struct Spare {
    lists: Vec<Vec<Entry>>,
}

impl Spare {
    /// An empty list with room for `count` entries.
    pub(crate) fn list(&mut self, count: usize) -> Vec<Entry> {
        let mut list = self.lists.pop().unwrap_or_default();
        list.reserve_exact(count);
        list
    }

    /// Takes a list back.
    pub(crate) fn keep(&mut self, mut list: Vec<Entry>) {
        let fits = 0 < list.capacity() && list.capacity() <= ENTRIES;
        if fits && self.lists.len() < LISTS {
            list.clear();
            self.lists.push(list);
        }
    }

    /// Takes back what a message was made of.
    pub(crate) fn keep_message(&mut self, message: Message) {
        if let Body::Append { entries, .. } = message.body {
            self.keep(entries);
        }
    }
}
