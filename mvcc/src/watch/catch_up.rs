//! One bounded read of history for the watchers of a stream that are behind.
//!
//! The reader of a stream does this on its own thread, so that a slow client pays for itself. One
//! read serves up to [`CHUNK_WATCHERS`] watchers: the one that waits longest decides where it
//! begins, and every other that is at or beyond that revision takes part. Afterwards all of them
//! have come equally far, so watchers that fell behind together stay together. What is read is
//! encoded once for all.

use bytes::Bytes;

use super::event::Replayed;
use super::history::{EventBound, History, PastEvent, Scanned};
use super::key_index::{KeyIndex, Span};
use super::request::WatchOptions;
use super::roster::{Filter, Ticket, Watcher};
use crate::error::{Fatal, ReadError, Rejected};

/// Most watchers that one read serves: bounds its memory to that many times `chunk_revisions`
/// handles of shared events (2 MiB with the default options).
pub(super) const CHUNK_WATCHERS: usize = 64;

/// A watcher that takes part in a read, and what it got.
#[derive(Debug)]
pub(super) struct Laggard {
    pub(super) ticket: Ticket,
    pub(super) next: i64,
    span: Span,
    filter: Filter,
    prev_kv: bool,
    /// In order of (main, sub), none below `next`.
    pub(super) events: Vec<Bytes>,
}

impl Laggard {
    pub(super) fn new(ticket: Ticket, watcher: &Watcher) -> Laggard {
        Laggard {
            ticket,
            next: watcher.next,
            span: watcher.span.clone(),
            filter: watcher.filter,
            prev_kv: watcher.prev_kv,
            events: Vec::new(),
        }
    }
}

/// How a read ended.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Everything below `next` has been read.
    Read(Scanned),
    /// The first watcher's next revision is below the compaction floor; nothing was read.
    Compacted,
}

/// Reads one chunk from the first laggard's next revision on; none of the others is before it.
pub(super) fn read_chunk(
    history: &dyn History,
    laggards: &mut [Laggard],
    options: &WatchOptions,
) -> Result<Chunk, Fatal> {
    let from = laggards[0].next;
    let mut index = KeyIndex::new();
    for (place, laggard) in laggards.iter().enumerate() {
        assert!(laggard.next >= from, "a laggard at {} in a read from {from}", laggard.next);
        index.insert(&laggard.span, (place, laggard.next));
    }
    let bound = EventBound {
        revisions: options.chunk_revisions,
        bytes: options.chunk_bytes,
        records: options.chunk_records,
    };
    let mut wanted = |key: &[u8], main: i64| {
        let mut is_wanted = false;
        index.visit(key, &mut |(_, next)| is_wanted |= *next <= main);
        is_wanted
    };
    let mut each = |event: &dyn PastEvent| {
        let mut places = Vec::new();
        index.visit(event.kv().key, &mut |(place, _)| places.push(*place));
        hand_out(event, &places, laggards).map_err(ReadError::Fatal)
    };
    match history.events(from, bound, &mut wanted, &mut each) {
        Ok(scanned) => {
            assert!(scanned.next >= from, "read from {from} came to {}", scanned.next);
            Ok(Chunk::Read(scanned))
        }
        Err(ReadError::Rejected(Rejected::Compacted)) => {
            laggards.iter_mut().for_each(|laggard| laggard.events.clear());
            Ok(Chunk::Compacted)
        }
        Err(ReadError::Fatal(fatal)) => Err(fatal),
        Err(other) => unreachable!("reading events from revision {from} was refused: {other}"),
    }
}

/// Gives one event to those of the laggards at `places` that want it.
fn hand_out(
    event: &dyn PastEvent,
    places: &[usize],
    laggards: &mut [Laggard],
) -> Result<(), Fatal> {
    let main = event.kv().mod_revision;
    let wants = |laggard: &Laggard| laggard.next <= main && laggard.filter.admits(event.is_put());
    let takers = || places.iter().filter(|place| wants(&laggards[**place]));
    if takers().next().is_none() {
        return Ok(());
    }
    let prev_kv = takers().any(|place| laggards[*place].prev_kv);
    let replayed = Replayed::new(event, prev_kv)?;
    for place in places {
        let laggard = &mut laggards[*place];
        if wants(laggard) {
            let encoded = if laggard.prev_kv { &replayed.with_previous } else { &replayed.plain };
            laggard.events.push(encoded.clone());
        }
    }
    Ok(())
}
