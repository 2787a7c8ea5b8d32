//! The meeting place of the writer, which publishes, and the streams, which listen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::MutexGuard;

use super::event::{Event, Published};
use super::history::History;
use super::key_index::{KeyIndex, Span};
use super::mailbox::{Hit, Mailbox};
use super::request::WatchOptions;
use super::roster::{Filter, Ticket};
use super::stream::WatchStream;
use crate::events::{Batch, Change};
use crate::lock::Mutex;
use crate::view::View;

/// Hands what the store publishes to whoever watches it.
///
/// A cheap handle; all clones are the same hub. The writer is never blocked by a slow stream: it
/// takes short locks only, and finds a bounded queue that is either not full or passed by.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Mutex<Core>>,
}

/// What the hub's lock protects. Held by the writer while it spreads one batch, by streams while
/// they add or remove a watcher, ask for progress, or turn from behind to live. A mailbox's lock
/// may be taken under it, never the other way round.
#[derive(Debug)]
pub(super) struct Core {
    /// Reads the past; replaced only by [`Hub::reset`].
    pub(super) history: Arc<dyn History>,
    /// The last revision that was spread: every live watcher has been offered all up to it.
    pub(super) published: i64,
    /// All watchers by key, live or behind.
    watchers: KeyIndex<Subscriber>,
    streams: BTreeMap<u64, Arc<Mailbox>>,
    /// The last serial number given to a stream or a watcher.
    serial: u64,
    /// Live events put into queues, since the start.
    events: u64,
}

/// A watcher as the writer sees it.
#[derive(Debug)]
struct Subscriber {
    mailbox: Arc<Mailbox>,
    ticket: Ticket,
    filter: Filter,
}

/// Counters of a hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Those that read history at the moment.
    pub behind: usize,
    /// Matches of a live change and a watcher, since the start.
    pub events: u64,
}

impl Hub {
    /// A hub over `view`'s past, for what is published after it.
    pub(crate) fn new(view: View) -> Hub {
        Hub::over(Arc::new(view))
    }

    pub(super) fn over(history: Arc<dyn History>) -> Hub {
        let core = Core {
            published: history.revision(),
            history,
            watchers: KeyIndex::new(),
            streams: BTreeMap::new(),
            serial: 0,
            events: 0,
        };
        Hub { shared: Arc::new(Mutex::new(core)) }
    }

    /// Opens a stream without watchers.
    ///
    /// # Panics
    /// If a bound of `options` is zero; see [`WatchOptions::validate`].
    #[must_use]
    pub fn stream(&self, options: WatchOptions) -> WatchStream {
        if let Err(error) = options.validate() {
            panic!("{error}");
        }
        let mut core = self.lock();
        let serial = core.next_serial();
        let mailbox = Arc::new(Mailbox::new(serial, options.clone()));
        core.streams.insert(serial, Arc::clone(&mailbox));
        WatchStream::new(self.clone(), mailbox, options)
    }

    /// Counts streams and watchers. Looks at every watcher.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        let core = self.lock();
        let mut stats = HubStats {
            streams: core.streams.len(),
            watchers: core.watchers.len(),
            behind: 0,
            events: core.events,
        };
        for mailbox in core.streams.values() {
            let state = mailbox.lock();
            let watchers = state.roster.tickets().filter_map(|ticket| state.roster.get(ticket));
            stats.behind += watchers.filter(|watcher| watcher.is_behind).count();
        }
        stats
    }

    /// Spreads what the store has just published. Called by the writer, after readers can see it,
    /// once for each publish and in order.
    pub(crate) fn publish(&self, batch: &Batch) {
        let mut wakers = Vec::new();
        {
            let mut core = self.lock();
            assert!(
                batch.revision >= core.published,
                "published revision {} after {}",
                batch.revision,
                core.published
            );
            core.published = batch.revision;
            if core.watchers.len() > 0 {
                let of_one_revision =
                    |a: &Change, b: &Change| a.kv.mod_revision == b.kv.mod_revision;
                for changes in batch.changes.chunk_by(of_one_revision) {
                    core.spread(changes, &mut wakers);
                }
            }
        }
        wake(wakers);
    }

    /// Goes on with another store's past after the key space was replaced as a whole (an installed
    /// snapshot). Every watcher is behind from its next needed revision on, or ended by the new
    /// store's compaction floor.
    pub fn reset(&self, view: View) {
        self.reset_over(Arc::new(view));
    }

    pub(super) fn reset_over(&self, history: Arc<dyn History>) {
        let mut wakers = Vec::new();
        {
            let mut core = self.lock();
            let before = core.published;
            core.published = history.revision();
            core.history = history;
            for mailbox in core.streams.values() {
                let mut state = mailbox.lock();
                let tickets: Vec<Ticket> = state.roster.tickets().collect();
                for ticket in tickets {
                    let Some(watcher) = state.roster.get_mut(ticket) else { continue };
                    if !watcher.is_behind {
                        watcher.is_behind = true;
                        watcher.next = watcher.next.max(before + 1);
                        wakers.extend(state.push_behind(ticket));
                    }
                }
            }
        }
        wake(wakers);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.shared.lock()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats()).finish()
    }
}

impl Core {
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn subscribe(
        &mut self,
        mailbox: &Arc<Mailbox>,
        ticket: Ticket,
        span: &Span,
        filter: Filter,
    ) {
        let subscriber = Subscriber { mailbox: Arc::clone(mailbox), ticket, filter };
        self.watchers.insert(span, subscriber);
    }

    pub(super) fn unsubscribe(&mut self, ticket: Ticket, span: &Span) {
        self.watchers.remove(span, &|subscriber| subscriber.ticket.serial == ticket.serial);
    }

    pub(super) fn forget(&mut self, mailbox: &Mailbox) {
        self.streams.remove(&mailbox.serial);
    }

    /// Offers the changes of one revision to every stream that has a watcher for them.
    fn spread(&mut self, changes: &[Change], wakers: &mut Vec<Waker>) {
        let mut events = Vec::new();
        let mut hits: Vec<(&Arc<Mailbox>, Hit)> = Vec::new();
        for change in changes {
            let before = hits.len();
            let event = u32::try_from(events.len()).expect("fewer than 2^32 changes in a revision");
            self.watchers.visit(&change.kv.key, &mut |subscriber| {
                if subscriber.filter.admits(change.is_put) {
                    hits.push((&subscriber.mailbox, Hit { ticket: subscriber.ticket, event }));
                }
            });
            if hits.len() > before {
                events.push(Event::new(change));
            }
        }
        if hits.is_empty() {
            return;
        }
        self.events += hits.len() as u64;
        let published = Arc::new(Published::new(changes[0].kv.mod_revision, events));
        // Stable: the events of a watcher stay in order.
        hits.sort_by_key(|(mailbox, hit)| (mailbox.serial, hit.ticket.serial));
        for hits in hits.chunk_by(|(a, _), (b, _)| a.serial == b.serial) {
            let mailbox = hits[0].0;
            let hits: Vec<Hit> = hits.iter().map(|(_, hit)| *hit).collect();
            wakers.extend(mailbox.lock().offer(&published, &hits));
        }
    }
}

/// Wakes tasks. Not under a lock: a waker may run anything, even a poll of the stream.
pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
