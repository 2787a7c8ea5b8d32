//! The watchers of one stream, by id and by place.

use std::collections::BTreeMap;

use super::key_index::Span;

/// Which kinds of change a watcher leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

impl Filter {
    pub(super) fn admits(self, is_put: bool) -> bool {
        if is_put { !self.no_put } else { !self.no_delete }
    }
}

/// One watcher. All but the last three fields stay as they were created.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) id: i64,
    pub(super) span: Span,
    pub(super) filter: Filter,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
    /// As requested: no progress is reported below it (5.32). 0 for "from now on".
    pub(super) start_revision: i64,
    /// No event below this revision is wanted any more. Exact while the watcher is behind; a lower
    /// bound while it is live, when the queue tells what has been taken care of.
    pub(super) next: i64,
    /// Live events pass it by; it reads history from `next` on.
    pub(super) is_behind: bool,
    /// No event was handed out since the last periodic progress (5.30).
    pub(super) is_quiet: bool,
}

impl Watcher {
    /// True if the watcher has been offered every event up to `published`, the hub's revision, and
    /// that is not before its beginning (5.32).
    pub(super) fn has_seen(&self, published: i64) -> bool {
        let is_begun = published >= self.start_revision;
        // History may have been read ahead of the hub: then the hub's revision is old news.
        let is_news = published >= self.next - 1;
        !self.is_behind && is_begun && is_news
    }
}

/// Names one watcher for ever: a place is used again, a serial number is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) place: u32,
    pub(super) serial: u64,
}

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Watching(Ticket),
    /// Cancelled by compaction: in use until the client cancels it, too (5.14).
    Reserved,
}

/// What was freed with an id.
#[derive(Debug)]
pub(super) enum Freed {
    /// A watcher.
    Watcher(Ticket, Watcher),
    /// An id whose watcher compaction had ended.
    Reservation,
}

/// The watchers of one stream.
///
/// Invariant: each id whose seat is `Watching` names an occupied place of the same serial, and each
/// occupied place has one such id.
#[derive(Debug, Default)]
pub(super) struct Roster {
    seats: BTreeMap<i64, Seat>,
    places: Vec<Option<(u64, Watcher)>>,
    free: Vec<u32>,
    /// The next id to try when the client leaves the choice to the stream; never goes back (5.11).
    next_id: i64,
}

impl Roster {
    pub(super) fn is_in_use(&self, id: i64) -> bool {
        self.seats.contains_key(&id)
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Watcher> {
        match self.places.get(ticket.place as usize) {
            Some(Some((serial, watcher))) if *serial == ticket.serial => Some(watcher),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Watcher> {
        match self.places.get_mut(ticket.place as usize) {
            Some(Some((serial, watcher))) if *serial == ticket.serial => Some(watcher),
            _ => None,
        }
    }

    /// The live and lagging watchers in the order of their ids.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.seats.values().filter_map(|seat| match seat {
            Seat::Watching(ticket) => Some(*ticket),
            Seat::Reserved => None,
        })
    }

    /// An id that is not in use, counted upwards from 0.
    pub(super) fn choose_id(&mut self) -> i64 {
        while self.is_in_use(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn insert(&mut self, serial: u64, watcher: Watcher) -> Ticket {
        let id = watcher.id;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 watchers fit in memory")
        });
        let ticket = Ticket { place, serial };
        self.places[place as usize] = Some((serial, watcher));
        let before = self.seats.insert(id, Seat::Watching(ticket));
        assert!(before.is_none(), "watch id {id} was in use: {before:?}");
        ticket
    }

    /// Frees `id` at the client's wish; `None` if it was not in use.
    pub(super) fn remove(&mut self, id: i64) -> Option<Freed> {
        match self.seats.remove(&id)? {
            Seat::Watching(ticket) => Some(Freed::Watcher(ticket, self.vacate(ticket)?)),
            Seat::Reserved => Some(Freed::Reservation),
        }
    }

    /// Ends a watcher that compaction overtook; its id stays in use.
    pub(super) fn retire(&mut self, ticket: Ticket) -> Option<Watcher> {
        let watcher = self.vacate(ticket)?;
        self.seats.insert(watcher.id, Seat::Reserved);
        Some(watcher)
    }

    fn vacate(&mut self, ticket: Ticket) -> Option<Watcher> {
        self.get(ticket)?;
        self.free.push(ticket.place);
        let (_, watcher) = self.places[ticket.place as usize].take()?;
        Some(watcher)
    }
}
