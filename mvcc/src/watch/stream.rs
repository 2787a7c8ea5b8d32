//! One client's stream of watchers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::catch_up::{CHUNK_WATCHERS, Chunk, Laggard, read_chunk};
use super::history::{History, Scanned};
use super::hub::{Core, Hub, wake};
use super::key_index::Span;
use super::mailbox::{Delivery, Mailbox, Taken};
use super::request::{Watch, WatchOptions, WatchResponse};
use super::roster::{Filter, Freed, Ticket, Watcher};
use crate::error::Fatal;
use crate::lock::Mutex;
use crate::planted::{Bug, planted};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// Responses taken from the queue between two reads of history, if as many are there. Marks do not
/// count, so that watchers that fell behind together are read for together.
const QUEUE_TURN: usize = 128;

/// A stream of watchers: requests go in, responses come out in one order.
///
/// Made for two tasks: one turns a client's requests into calls of [`create`](Self::create),
/// [`cancel`](Self::cancel) and [`request_progress`](Self::request_progress), awaiting
/// [`poll_ready`](Self::poll_ready) before each; the other polls [`poll_next`](Self::poll_next).
/// Dropping the stream ends its watchers.
///
/// What it promises, for each watcher:
/// - its `created` answer comes before anything else of it, answers come in the order of requests;
/// - events come in order of (main, sub), each once, without a gap from the first revision wanted
///   to the last response, unless a cancellation by compaction says that there is one;
/// - all events of a revision come in one response (or in the fragments of one);
/// - progress at a revision comes after every event up to it.
///
/// Memory is bounded: the queue by [`WatchOptions`], the watchers and the answers by the requests
/// that the caller lets through.
///
/// ```
/// # use std::{path::Path, sync::Arc, task::{Poll, Waker}};
/// # use revd_mvcc::{Options, Put, Store, Watch, WatchOptions};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let disk = Arc::new(revd_disk::Sim::new(1));
/// # let mut store = Store::create(disk, Path::new("tree"), Options::new([7; 16]), b"")?;
/// let stream = store.hub().stream(WatchOptions::default());
/// stream.create(Watch { key: "fruit".into(), ..Watch::default() });
/// store.put(&Put { key: "fruit".into(), value: "pear".into(), ..Put::default() })??;
/// store.publish();
///
/// let mut responses = Vec::new();
/// while let Poll::Ready(response) = stream.poll_next(Waker::noop()) {
///     responses.push(response?);
/// }
/// assert!(responses[0].created);
/// assert_eq!(responses[1].events.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct WatchStream {
    hub: Hub,
    mailbox: Arc<Mailbox>,
    options: WatchOptions,
    /// Locked for a whole poll, a read of history included; before the hub's lock.
    reader: Mutex<Reader>,
}

/// What only the polling side needs.
#[derive(Debug, Default)]
struct Reader {
    /// The rest of a response that is being handed out in fragments: due before all else.
    parts: VecDeque<WatchResponse>,
    /// What the last read of history gave.
    ready: VecDeque<Ready>,
    /// Watchers whose mark came out of the queue. The first waits longest.
    behind: VecDeque<Ticket>,
    /// Responses taken from the queue since the last read of history: both get their turn.
    taken: usize,
}

/// A response out of history.
#[derive(Debug)]
enum Ready {
    Events { ticket: Ticket, fragment: bool, response: WatchResponse },
    Compacted(WatchResponse),
}

impl WatchStream {
    pub(super) fn new(hub: Hub, mailbox: Arc<Mailbox>, options: WatchOptions) -> WatchStream {
        WatchStream { hub, mailbox, options, reader: Mutex::new(Reader::default()) }
    }

    /// Adds a watcher. Whether it was created or refused is told by [`Self::poll_next`].
    ///
    /// A caller that checks permissions does so before, except where `start_revision` is negative:
    /// that is refused here first. See [`Self::refuse`].
    pub fn create(&self, watch: Watch) {
        let wakers = {
            let mut core = self.hub.lock();
            match self.subscribe(&mut core, watch) {
                Ok(wakers) => wakers,
                Err(reason) => {
                    let response = WatchResponse::refused(Cow::Borrowed(reason), core.published);
                    [self.mailbox.lock().push_answer(response), None]
                }
            }
        };
        wake(wakers.into_iter().flatten());
    }

    /// Answers a request for a watcher that the caller does not grant, in its turn.
    pub fn refuse(&self, reason: impl Into<Cow<'static, str>>) {
        let waker = {
            let core = self.hub.lock();
            let response = WatchResponse::refused(reason.into(), core.published);
            self.mailbox.lock().push_answer(response)
        };
        wake(waker);
    }

    /// Ends the watcher `id`, answered unless there is none: it may never have been, or have ended
    /// by compaction. Events that were queued may still come before the answer, none after it.
    pub fn cancel(&self, id: i64) {
        let waker = {
            let mut core = self.hub.lock();
            let mut state = self.mailbox.lock();
            match state.roster.remove(id) {
                Some(Freed::Watcher(ticket, watcher)) => core.unsubscribe(ticket, &watcher.span),
                // Its end was told already; that the id is free again is told as well (5.14).
                Some(Freed::Reservation) => {}
                None => return,
            }
            let response = WatchResponse::about(id, core.published);
            state.push_answer(WatchResponse { canceled: true, ..response })
        };
        wake(waker);
    }

    /// Asks for one response that marks the progress of all watchers of the stream. It is given
    /// only if there are watchers and none is behind or begins in the future; otherwise the client
    /// has to ask again (5.33, 5.34).
    pub fn request_progress(&self) {
        let waker = {
            let core = self.hub.lock();
            let mut state = self.mailbox.lock();
            if !state.have_all_seen(core.published) {
                return;
            }
            state.push_answer(WatchResponse::about(super::NO_WATCHER, core.published))
        };
        wake(waker);
    }

    /// The caller's timer for periodic progress has fired.
    pub fn notify_progress(&self) {
        let waker = {
            let core = self.hub.lock();
            self.mailbox.lock().push_progress(core.published)
        };
        wake(waker);
    }

    /// Ready when the answer to another request finds room. Otherwise `waker` is kept, in place of
    /// an earlier one, and woken when it does, from within [`Self::poll_next`].
    pub fn poll_ready(&self, waker: &Waker) -> Poll<()> {
        if self.mailbox.lock().is_ready(waker) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next response. Without one, `waker` is kept, in place of an earlier one, and woken when
    /// there may be one. Reads history for watchers that are behind, one bounded piece in a poll:
    /// so the streams that are behind take turns on a thread that polls many, and neither they nor
    /// one of them can keep the others from what is live.
    ///
    /// # Errors
    /// Storage failed while history or a previous record was read. Events may be missing after it:
    /// the stream has to be dropped.
    pub fn poll_next(&self, waker: &Waker) -> Poll<Result<WatchResponse, Fatal>> {
        let mut reader = self.reader.lock();
        let mut has_read = false;
        loop {
            if let Some(response) = self.take_ready(&mut reader) {
                return Poll::Ready(Ok(response));
            }
            if reader.is_history_due() {
                if has_read {
                    waker.wake_by_ref();
                    return Poll::Pending;
                }
                has_read = true;
                if let Err(fatal) = self.catch_up(&mut reader) {
                    return Poll::Ready(Err(fatal));
                }
                continue;
            }
            match self.take(&mut reader, waker) {
                Taken::Response(response) => return Poll::Ready(Ok(response)),
                Taken::Delivery(delivery) => {
                    let response = self.encode(&delivery).map(|response| {
                        self.first_part(&mut reader, response, delivery.fragment())
                    });
                    if let Some(response) = response.transpose() {
                        return Poll::Ready(response);
                    }
                }
                Taken::Behind(ticket) => reader.behind.push_back(ticket),
                Taken::Nothing if reader.behind.is_empty() => return Poll::Pending,
                Taken::Nothing => reader.taken = usize::MAX,
            }
        }
    }

    /// Responses and bytes that wait in the queue.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        self.mailbox.lock().load()
    }

    /// Registers a watcher and queues its answer, and the mark to read history if it begins there.
    fn subscribe(&self, core: &mut Core, watch: Watch) -> Result<[Option<Waker>; 2], &'static str> {
        if watch.start_revision < 0 {
            return Err(COMPACTED);
        }
        let span = Span::new(watch.key, &watch.range_end).ok_or(EMPTY_RANGE)?;
        let mut state = self.mailbox.lock();
        let id = match watch.watch_id {
            0 => state.roster.choose_id(),
            id if state.roster.is_in_use(id) => return Err(DUPLICATE_ID),
            id => id,
        };
        let is_behind = (1..=core.published).contains(&watch.start_revision);
        let filter = Filter { no_put: watch.no_put, no_delete: watch.no_delete };
        let watcher = Watcher {
            id,
            span: span.clone(),
            filter,
            prev_kv: watch.prev_kv,
            fragment: watch.fragment,
            progress_notify: watch.progress_notify,
            start_revision: watch.start_revision,
            next: if watch.start_revision == 0 { core.published + 1 } else { watch.start_revision },
            is_behind,
            is_quiet: true,
        };
        let ticket = state.roster.insert(core.next_serial(), watcher);
        core.subscribe(&self.mailbox, ticket, &span, filter);
        let response = WatchResponse::about(id, core.published);
        let answered = state.push_answer(WatchResponse { created: true, ..response });
        let marked = if is_behind { state.push_behind(ticket) } else { None };
        Ok([answered, marked])
    }

    /// Takes the head of the queue; with nothing there and nobody behind, `waker` waits for it.
    fn take(&self, reader: &mut Reader, waker: &Waker) -> Taken {
        let waits = reader.behind.is_empty().then_some(waker);
        let (taken, requester) = self.mailbox.lock().take(waits);
        wake(requester);
        if !matches!(taken, Taken::Behind(_)) {
            reader.taken = reader.taken.saturating_add(1);
        }
        taken
    }

    /// What is encoded and due. A watcher cancelled meanwhile still gets it, before the answer to
    /// its cancellation: progress that waits in the queue may cover it.
    fn take_ready(&self, reader: &mut Reader) -> Option<WatchResponse> {
        if let Some(part) = reader.parts.pop_front() {
            return Some(part);
        }
        match reader.ready.pop_front()? {
            Ready::Compacted(response) => Some(response),
            Ready::Events { ticket, fragment, response } => {
                if let Some(watcher) = self.mailbox.lock().roster.get_mut(ticket) {
                    watcher.is_quiet = false;
                }
                self.first_part(reader, response, fragment)
            }
        }
    }

    /// Encodes live events; their header carries their own revision (5.23).
    fn encode(&self, delivery: &Delivery) -> Result<WatchResponse, Fatal> {
        let published = &delivery.published;
        let history = delivery.prev_kv().then(|| self.history());
        let events = published.encoded(delivery.picked(), history.as_deref())?;
        Ok(WatchResponse { events, ..WatchResponse::about(delivery.id(), published.main) })
    }

    /// The response to hand out now, of one that may have to be split.
    fn first_part(
        &self,
        reader: &mut Reader,
        response: WatchResponse,
        fragment: bool,
    ) -> Option<WatchResponse> {
        if !fragment {
            return Some(response);
        }
        reader.parts.extend(response.split(self.options.fragment_bytes));
        reader.parts.pop_front()
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::clone(&self.hub.lock().history)
    }

    /// Reads one chunk of history for the watchers that wait longest.
    fn catch_up(&self, reader: &mut Reader) -> Result<(), Fatal> {
        reader.taken = 0;
        let mut laggards = self.choose_laggards(reader);
        if laggards.is_empty() {
            return Ok(());
        }
        let history = self.history();
        match read_chunk(&*history, &mut laggards, &self.options) {
            Ok(Chunk::Read(scanned)) => self.settle(reader, laggards, scanned),
            Ok(Chunk::Compacted) => self.end_compacted(reader, &laggards, history.compacted()),
            Err(fatal) => {
                reader.behind.extend(laggards.iter().map(|laggard| laggard.ticket));
                return Err(fatal);
            }
        }
        Ok(())
    }

    /// Takes those out of the waiting that the next read serves: the first, and those beside it
    /// that are at or beyond its revision.
    fn choose_laggards(&self, reader: &mut Reader) -> Vec<Laggard> {
        let state = self.mailbox.lock();
        reader.behind.retain(|ticket| state.roster.get(*ticket).is_some());
        let mut laggards: Vec<Laggard> = Vec::new();
        reader.behind.retain(|ticket| {
            let Some(watcher) = state.roster.get(*ticket) else { return false };
            let from = laggards.first().map_or(watcher.next, |first| first.next);
            let is_chosen = laggards.len() < CHUNK_WATCHERS && watcher.next >= from;
            if is_chosen {
                laggards.push(Laggard::new(*ticket, watcher));
            }
            !is_chosen
        });
        laggards
    }

    /// Queues what was read, and turns the watchers live for which nothing is left to read.
    ///
    /// The hub's lock stands between a publish and this step: a revision beyond what was read is
    /// either already published, and the watcher reads on, or will be offered to it.
    fn settle(&self, reader: &mut Reader, laggards: Vec<Laggard>, scanned: Scanned) {
        let core = self.hub.lock();
        let mut state = self.mailbox.lock();
        let mut unserved = Vec::new();
        for Laggard { ticket, next, events, .. } in laggards {
            let Some(watcher) = state.roster.get_mut(ticket) else { continue };
            watcher.next = watcher.next.max(scanned.next);
            let skipped = i64::from(planted(Bug::SkipRevisionAtCatchUp));
            if core.published < scanned.next + skipped {
                watcher.is_behind = false;
            } else if next < scanned.next {
                reader.behind.push_back(ticket);
            } else {
                // The read did not come to it: it keeps its place, and leads the next one.
                unserved.push(ticket);
            }
            if !events.is_empty() {
                let response = WatchResponse::about(watcher.id, scanned.revision);
                let response = WatchResponse { events, ..response };
                let fragment = watcher.fragment;
                reader.ready.push_back(Ready::Events { ticket, fragment, response });
            }
        }
        unserved.into_iter().rev().for_each(|ticket| reader.behind.push_front(ticket));
    }

    /// Ends the watchers that need a revision below `floor` (5.5, 5.39); the others wait again.
    fn end_compacted(&self, reader: &mut Reader, laggards: &[Laggard], floor: i64) {
        let mut core = self.hub.lock();
        let mut state = self.mailbox.lock();
        for Laggard { ticket, next, .. } in laggards {
            if *next >= floor {
                reader.behind.push_back(*ticket);
                continue;
            }
            let Some(watcher) = state.roster.retire(*ticket) else { continue };
            core.unsubscribe(*ticket, &watcher.span);
            reader.ready.push_back(Ready::Compacted(WatchResponse {
                canceled: true,
                compact_revision: floor,
                ..WatchResponse::about(watcher.id, 0)
            }));
        }
    }
}

impl Reader {
    /// True if watchers are behind and the queue has had its turn.
    fn is_history_due(&self) -> bool {
        !self.behind.is_empty() && self.taken >= QUEUE_TURN
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut core = self.hub.lock();
        let state = self.mailbox.lock();
        for ticket in state.roster.tickets() {
            if let Some(watcher) = state.roster.get(ticket) {
                core.unsubscribe(ticket, &watcher.span);
            }
        }
        core.forget(&self.mailbox);
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("serial", &self.mailbox.serial).finish_non_exhaustive()
    }
}
