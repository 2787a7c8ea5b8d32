//! What a stream's two sides share: its watchers, and the queue from the hub to the reader.
//!
//! # The queue
//!
//! One queue carries everything, so that nothing overtakes: answers to requests, live events,
//! progress. It is bounded. A revision is taken in whole, for all watchers of the stream that want
//! it, if fewer than `queue_responses` responses wait and its bytes fit (or no events wait at all);
//! so the queue holds at most one response for each watcher beyond the bound. A revision that is
//! not taken in leaves the watchers that wanted it *behind*: each remembers the revision to resume
//! at, and one mark in the queue, behind everything that it was already promised, tells the reader
//! to go on from history.
//!
//! # Live and behind
//!
//! ```text
//!             create (start 0 or future)            queue full
//!        ┌──────────────────────────────► live ──────────────────┐
//!                                          ▲                     ▼
//!        ┌─ create (start in the past) ────┼──────────────────► behind ──► ended by compaction
//!                                          └── history read up to the hub's revision
//! ```
//!
//! The step from behind to live is taken under the hub's lock: if history was read up to `R` and
//! the hub has not published beyond `R`, every later revision will be offered to the watcher;
//! otherwise it stays behind and reads on. A revision below the watcher's `next` is never taken in:
//! history may have been ahead of the hub. Hence no gap and no repeat.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::MutexGuard;

use super::event::Published;
use super::request::{WatchOptions, WatchResponse};
use super::roster::{Roster, Ticket};
use crate::lock::Mutex;
use crate::planted::{Bug, planted};

/// A watcher's interest in one event of a [`Published`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) ticket: Ticket,
    pub(super) event: u32,
}

/// The part of a stream that the hub reaches.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Never used again for another stream.
    pub(super) serial: u64,
    state: Mutex<State>,
}

impl Mailbox {
    pub(super) fn new(serial: u64, options: WatchOptions) -> Mailbox {
        let state = State {
            options,
            roster: Roster::default(),
            queue: VecDeque::new(),
            live: 0,
            live_bytes: 0,
            answers: 0,
            reader: None,
            requester: None,
        };
        Mailbox { serial, state: Mutex::new(state) }
    }

    /// Locks the mailbox: a few pushes or one pop long, never across a read of history. The hub's
    /// lock is taken before it, if both are needed.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What waits for the reader.
#[derive(Debug)]
enum Item {
    /// The answer to a request.
    Answer(WatchResponse),
    /// Not asked for, or asked for all watchers.
    Progress(WatchResponse),
    /// A revision for the watchers of this stream that want it.
    Live(Live),
    /// From here on the watcher's events come from history.
    Behind(Ticket),
}

#[derive(Debug)]
struct Live {
    published: Arc<Published>,
    /// One for each watcher.
    deliveries: VecDeque<Share>,
}

/// What one watcher gets of a revision. Says all that is needed to send it: a watcher cancelled
/// meanwhile still gets what was queued before, since progress queued behind it may cover it.
#[derive(Debug)]
struct Share {
    ticket: Ticket,
    id: i64,
    prev_kv: bool,
    fragment: bool,
    picked: Picked,
}

/// Which events of a revision a watcher gets, in order. Nearly always one.
#[derive(Debug)]
enum Picked {
    One([u32; 1]),
    Many(Box<[u32]>),
}

impl Picked {
    fn new(hits: &[Hit]) -> Picked {
        match hits {
            [hit] => Picked::One([hit.event]),
            _ => Picked::Many(hits.iter().map(|hit| hit.event).collect()),
        }
    }

    fn as_slice(&self) -> &[u32] {
        match self {
            Picked::One(one) => one,
            Picked::Many(many) => many,
        }
    }
}

/// Live events on their way to a client: everything needed to encode them without a lock.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) published: Arc<Published>,
    share: Share,
}

impl Delivery {
    pub(super) fn id(&self) -> i64 {
        self.share.id
    }

    pub(super) fn prev_kv(&self) -> bool {
        self.share.prev_kv
    }

    pub(super) fn fragment(&self) -> bool {
        self.share.fragment
    }

    pub(super) fn picked(&self) -> &[u32] {
        self.share.picked.as_slice()
    }
}

/// The head of the queue.
#[derive(Debug)]
pub(super) enum Taken {
    /// Goes out as it is.
    Response(WatchResponse),
    /// Has to be encoded.
    Delivery(Delivery),
    /// Reads history from now on.
    Behind(Ticket),
    /// There was none.
    Nothing,
}

/// What the mailbox's lock protects.
#[derive(Debug)]
pub(super) struct State {
    options: WatchOptions,
    pub(super) roster: Roster,
    queue: VecDeque<Item>,
    /// Responses in the queue's `Live` items.
    live: usize,
    /// Bytes in the queue's `Live` items, each revision counted once.
    live_bytes: usize,
    /// `Answer` items in the queue.
    answers: usize,
    /// Wakes the task that reads responses.
    reader: Option<Waker>,
    /// Wakes the task that makes requests.
    requester: Option<Waker>,
}

impl State {
    /// Queues the answer to a request. Returns whom to wake, once no lock is held.
    #[must_use]
    pub(super) fn push_answer(&mut self, response: WatchResponse) -> Option<Waker> {
        self.answers += 1;
        self.queue.push_back(Item::Answer(response));
        self.reader.take()
    }

    /// Queues progress for every watcher that asked for it, saw no event since the last time and
    /// has been offered everything up to `published` (5.29 to 5.32). A full queue lets the moment
    /// pass: the next one will do.
    #[must_use]
    pub(super) fn push_progress(&mut self, published: i64) -> Option<Waker> {
        let is_full = self.queue.len() >= self.options.queue_responses;
        let tickets: Vec<Ticket> = self.roster.tickets().collect();
        let mut is_changed = false;
        for ticket in tickets {
            let Some(watcher) = self.roster.get_mut(ticket) else { continue };
            let was_quiet = std::mem::replace(&mut watcher.is_quiet, true);
            if watcher.progress_notify && was_quiet && !is_full && watcher.has_seen(published) {
                let response = WatchResponse::about(watcher.id, published);
                self.queue.push_back(Item::Progress(response));
                is_changed = true;
            }
        }
        if is_changed { self.reader.take() } else { None }
    }

    /// True if there are watchers, and all of them have been offered everything up to `published`.
    pub(super) fn have_all_seen(&self, published: i64) -> bool {
        let mut watchers = self.roster.tickets().filter_map(|ticket| self.roster.get(ticket));
        let mut is_any = false;
        watchers.all(|watcher| {
            is_any = true;
            watcher.has_seen(published) || planted(Bug::ProgressWhileBehind)
        }) && is_any
    }

    /// Queues the mark from which a watcher, already set behind, reads history.
    #[must_use]
    pub(super) fn push_behind(&mut self, ticket: Ticket) -> Option<Waker> {
        self.queue.push_back(Item::Behind(ticket));
        self.reader.take()
    }

    /// Takes in one revision for the watchers of this stream that want it, or leaves them behind.
    /// `hits` are sorted by watcher, then by event.
    #[must_use]
    pub(super) fn offer(&mut self, published: &Arc<Published>, hits: &[Hit]) -> Option<Waker> {
        let is_room = self.live < self.options.queue_responses
            && (self.live == 0 || self.live_bytes + published.bytes <= self.options.queue_bytes);
        let mut deliveries = VecDeque::new();
        let mut is_changed = false;
        for hits in hits.chunk_by(|a, b| a.ticket == b.ticket) {
            let ticket = hits[0].ticket;
            let Some(watcher) = self.roster.get_mut(ticket) else { continue };
            if watcher.is_behind || published.main < watcher.next {
                continue;
            }
            is_changed = true;
            if is_room {
                deliveries.push_back(Share {
                    ticket,
                    id: watcher.id,
                    prev_kv: watcher.prev_kv,
                    fragment: watcher.fragment,
                    picked: Picked::new(hits),
                });
            } else if !planted(Bug::DropWhenQueueIsFull) {
                watcher.is_behind = true;
                watcher.next = published.main;
                self.queue.push_back(Item::Behind(ticket));
            }
        }
        if !deliveries.is_empty() {
            self.live += deliveries.len();
            self.live_bytes += published.bytes;
            self.queue.push_back(Item::Live(Live { published: Arc::clone(published), deliveries }));
        }
        if is_changed { self.reader.take() } else { None }
    }

    /// Takes the head of the queue. With nothing there, `reader` is kept and woken when there is.
    /// The second value is whom to wake, once no lock is held.
    pub(super) fn take(&mut self, reader: Option<&Waker>) -> (Taken, Option<Waker>) {
        if let Some(delivery) = self.take_delivery() {
            return (Taken::Delivery(delivery), None);
        }
        match self.queue.pop_front() {
            Some(Item::Behind(ticket)) => (Taken::Behind(ticket), None),
            Some(Item::Progress(response)) => (Taken::Response(response), None),
            Some(Item::Answer(response)) => {
                self.answers -= 1;
                (Taken::Response(response), self.requester.take())
            }
            Some(Item::Live(_)) => unreachable!("a live item without a delivery is never kept"),
            None => {
                self.reader = reader.cloned();
                (Taken::Nothing, None)
            }
        }
    }

    /// True if another request's answer finds room; otherwise `requester` is woken when it does.
    pub(super) fn is_ready(&mut self, requester: &Waker) -> bool {
        let is_ready = self.answers < self.options.pending_requests;
        self.requester = if is_ready { None } else { Some(requester.clone()) };
        is_ready
    }

    /// Responses and bytes that wait in the queue's live items.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        (self.live, self.live_bytes)
    }

    /// Takes the next delivery of the live item at the head, if it is one.
    fn take_delivery(&mut self) -> Option<Delivery> {
        let Some(Item::Live(live)) = self.queue.front_mut() else { return None };
        let share = live.deliveries.pop_front()?;
        let published = Arc::clone(&live.published);
        self.live -= 1;
        if live.deliveries.is_empty() {
            self.live_bytes -= published.bytes;
            self.queue.pop_front();
        }
        if let Some(watcher) = self.roster.get_mut(share.ticket) {
            watcher.is_quiet = false;
        }
        Some(Delivery { published, share })
    }
}
