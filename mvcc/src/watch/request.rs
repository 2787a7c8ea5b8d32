//! What a client asks of a stream, what the stream answers, and the stream's bounds.

use std::borrow::Cow;

use bytes::Bytes;
use thiserror::Error;

use crate::encode::varint_len;

/// The id in the answer to a refused request, and in an answer about all watchers of a stream.
pub const NO_WATCHER: i64 = -1;

/// Asks for a watcher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// The key, or the first key of a range. Empty stands for the one-byte key `\0`.
    pub key: Bytes,
    /// Empty: the one key. `\0`: every key from `key` on. Else the exclusive end.
    pub range_end: Bytes,
    /// The first revision wanted, which may lie in the future; 0: everything after now.
    pub start_revision: i64,
    /// The id that the client chooses; 0: the stream does.
    pub watch_id: i64,
    /// Events carry the record that they replaced.
    pub prev_kv: bool,
    /// Very large responses are split.
    pub fragment: bool,
    /// An idle watcher is told the revision at each [`crate::WatchStream::notify_progress`].
    pub progress_notify: bool,
    /// Puts are left out.
    pub no_put: bool,
    /// Deletions are left out.
    pub no_delete: bool,
}

/// One message of a stream.
///
/// What it says follows from its flags: `created` (with `canceled`: refused), `canceled`, neither:
/// events, or progress if there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchResponse {
    /// The watcher meant, or [`NO_WATCHER`].
    pub watch_id: i64,
    /// The header's revision: that of the events if they are live, the store's otherwise, 0 in a
    /// cancellation by compaction. Marks progress only in a response without events and flags.
    pub revision: i64,
    /// Answers a request for a watcher.
    pub created: bool,
    /// The watcher has ended, or never began.
    pub canceled: bool,
    /// The compaction floor that overtook the watcher; 0 otherwise.
    pub compact_revision: i64,
    /// Why a request was refused; empty otherwise.
    pub cancel_reason: Cow<'static, str>,
    /// More of the same response follows.
    pub fragment: bool,
    /// Encoded `mvccpb.Event` messages in order of (main, sub), shared among watchers.
    pub events: Vec<Bytes>,
}

impl WatchResponse {
    /// A bare message about one watcher.
    pub(super) fn about(watch_id: i64, revision: i64) -> Self {
        WatchResponse { watch_id, revision, ..WatchResponse::default() }
    }

    /// The answer to a request for a watcher that is not granted.
    pub(super) fn refused(reason: Cow<'static, str>, revision: i64) -> Self {
        WatchResponse {
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..WatchResponse::about(NO_WATCHER, revision)
        }
    }

    /// Splits the events over as few responses as stay below `limit` encoded bytes (5.27). An event
    /// is never split: alone it may exceed the limit (5.28).
    pub(super) fn split(self, limit: usize) -> Vec<WatchResponse> {
        let part = || WatchResponse {
            fragment: true,
            ..WatchResponse::about(self.watch_id, self.revision)
        };
        let mut parts = vec![part()];
        let mut size = FRAME_BYTES;
        for event in self.events {
            size += event_bytes(&event);
            let open = parts.last_mut().expect("starts with one part and only grows");
            if size < limit || open.events.is_empty() {
                open.events.push(event);
            } else {
                size = FRAME_BYTES + event_bytes(&event);
                parts.push(WatchResponse { events: vec![event], ..part() });
            }
        }
        parts.last_mut().expect("starts with one part and only grows").fragment = false;
        parts
    }
}

/// Most bytes that the fields beside the events take in an encoded response: header (its tag and
/// length, then four numbers of a tag and ten bytes at most), watch id, fragment flag. The header's
/// other numbers are not known here; taking the most splits at worst 59 bytes early.
const FRAME_BYTES: usize = (2 + 4 * 11) + 11 + 2;

/// Bytes of one element of the response's `events`: tag, length, message.
fn event_bytes(event: &Bytes) -> usize {
    1 + varint_len(event.len() as u64) + event.len()
}

/// The bounds of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Live responses that may wait for the reader. A revision is queued for all watchers of the
    /// stream or for none, so that at most one response for each watcher comes on top. Default 128,
    /// as etcd.
    pub queue_responses: usize,
    /// Bytes of live events that may wait for the reader; a single revision may exceed it. Events
    /// shared with other streams count in full. Default 8 MiB.
    pub queue_bytes: usize,
    /// Requests whose answers may wait for the reader before [`crate::WatchStream::poll_ready`]
    /// holds the next one back. Default 16, as etcd.
    pub pending_requests: usize,
    /// Distinct revisions in one response of history. Default 1000, as etcd.
    pub chunk_revisions: usize,
    /// Bytes of events read from history at a time; the revision that crosses the bound is read to
    /// its end. Default 2 MiB.
    pub chunk_bytes: usize,
    /// Records of history looked at, wanted or not, before the reader yields. Default 2048: some
    /// tenths of a millisecond, for which the other streams on its thread wait.
    pub chunk_records: usize,
    /// Encoded size from which a response is split if its watcher asked for fragments. Default
    /// 2 MiB: etcd's largest request of 1.5 MiB and 512 KiB.
    pub fragment_bytes: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions {
            queue_responses: 128,
            queue_bytes: 8 << 20,
            pending_requests: 16,
            chunk_revisions: 1000,
            chunk_bytes: 2 << 20,
            chunk_records: 2048,
            fragment_bytes: 2 << 20,
        }
    }
}

/// A bound of [`WatchOptions`] that would let nothing through.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the watch option {option} must be at least 1")]
#[non_exhaustive]
pub struct WatchOptionsError {
    /// The field's name.
    pub option: &'static str,
}

impl WatchOptions {
    /// Checks that each bound lets something through.
    ///
    /// # Errors
    /// Names the first bound that is zero.
    pub fn validate(&self) -> Result<(), WatchOptionsError> {
        let bounds = [
            ("queue_responses", self.queue_responses),
            ("queue_bytes", self.queue_bytes),
            ("pending_requests", self.pending_requests),
            ("chunk_revisions", self.chunk_revisions),
            ("chunk_bytes", self.chunk_bytes),
            ("chunk_records", self.chunk_records),
            ("fragment_bytes", self.fragment_bytes),
        ];
        match bounds.into_iter().find(|(_, bound)| *bound == 0) {
            Some((option, _)) => Err(WatchOptionsError { option }),
            None => Ok(()),
        }
    }
}
