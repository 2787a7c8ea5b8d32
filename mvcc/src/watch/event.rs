//! A change encoded once, however many watchers get it.

use std::sync::OnceLock;

use bytes::Bytes;

use super::history::{History, PastEvent};
use crate::encode::{encode_event, encode_key_value, key_value_len, put_varint};
use crate::error::Fatal;
use crate::events::Change;
use crate::key_value::KeyValueRef;

/// Tag of `prev_kv`, field 3 of an event and its last: appending it completes the plain form.
const PREVIOUS: u8 = 3 << 3 | 2;

/// What an event costs beside its bytes, for the bound of a queue.
const EVENT_OVERHEAD: usize = 128;

/// A live change in both of its encoded forms.
///
/// Holds copies only: the bytes of a [`Change`] may be a slice of a whole request, which a slow
/// watcher must not keep alive.
#[derive(Debug)]
pub(super) struct Event {
    plain: Bytes,
    /// The key whose previous record is asked for; `None` for a creation, which has none (5.25).
    replaced: Option<Bytes>,
    /// Made by the first stream that needs it, on its reader's thread.
    with_previous: OnceLock<Bytes>,
}

impl Event {
    pub(super) fn new(change: &Change) -> Event {
        let mut plain = Vec::new();
        encode_event(change.is_put, change.kv.as_ref(), None, &mut plain);
        let is_creation = change.is_put && change.kv.create_revision == change.kv.mod_revision;
        let replaced = (!is_creation).then(|| Bytes::copy_from_slice(&change.kv.key));
        Event { plain: plain.into(), replaced, with_previous: OnceLock::new() }
    }

    pub(super) fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    /// The form with the previous record, or the plain one if there is none any more.
    fn with_previous(&self, main: i64, history: &dyn History) -> Result<Bytes, Fatal> {
        let Some(key) = &self.replaced else { return Ok(self.plain()) };
        if let Some(known) = self.with_previous.get() {
            return Ok(known.clone());
        }
        // Two streams may read it at the same moment; the first to finish decides for all.
        let read = match history.record_at(key, main - 1)? {
            Some(previous) => append_previous(&self.plain, previous.as_ref()),
            None => self.plain(),
        };
        Ok(self.with_previous.get_or_init(|| read).clone())
    }
}

/// The events of one revision that at least one watcher wants.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) main: i64,
    /// In order of sub.
    events: Box<[Event]>,
    /// What keeping them costs. Previous records are not counted: they are read when a response is
    /// handed out.
    pub(super) bytes: usize,
}

impl Published {
    pub(super) fn new(main: i64, events: Vec<Event>) -> Published {
        let bytes = events.iter().map(|event| event.plain.len() + EVENT_OVERHEAD).sum();
        Published { main, events: events.into(), bytes }
    }

    /// The encoded events that `picked` names; with their previous records if there is a `history`
    /// to read them from.
    pub(super) fn encoded(
        &self,
        picked: &[u32],
        history: Option<&dyn History>,
    ) -> Result<Vec<Bytes>, Fatal> {
        let events = picked.iter().map(|index| &self.events[*index as usize]);
        match history {
            Some(history) => events.map(|e| e.with_previous(self.main, history)).collect(),
            None => Ok(events.map(Event::plain).collect()),
        }
    }
}

/// A change out of history, encoded in the forms that one chunk needs.
pub(super) struct Replayed {
    pub(super) plain: Bytes,
    pub(super) with_previous: Bytes,
}

impl Replayed {
    /// Encodes a past change. Without `prev_kv` both forms are the plain one, and the previous
    /// record is not read.
    pub(super) fn new(event: &dyn PastEvent, prev_kv: bool) -> Result<Replayed, Fatal> {
        let mut plain = Vec::new();
        encode_event(event.is_put(), event.kv(), None, &mut plain);
        let plain = Bytes::from(plain);
        let previous = if prev_kv { event.previous()? } else { None };
        let with_previous = match previous {
            Some(previous) => append_previous(&plain, previous),
            None => plain.clone(),
        };
        Ok(Replayed { plain, with_previous })
    }
}

fn append_previous(plain: &[u8], previous: KeyValueRef<'_>) -> Bytes {
    let len = key_value_len(previous);
    let mut out = Vec::with_capacity(plain.len() + 11 + len);
    out.extend_from_slice(plain);
    out.push(PREVIOUS);
    put_varint(len as u64, &mut out);
    encode_key_value(previous, &mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_value::KeyValue;

    #[test]
    fn appending_the_previous_record_equals_encoding_it_with_the_event() {
        let previous = KeyValue {
            key: Bytes::from_static(b"key"),
            create_revision: 3,
            mod_revision: 9,
            version: 4,
            value: vec![7; 300].into(),
            lease: -5,
        };
        for is_put in [true, false] {
            let kv = KeyValue { mod_revision: 12, ..previous.clone() };
            let (mut plain, mut whole) = (Vec::new(), Vec::new());
            encode_event(is_put, kv.as_ref(), None, &mut plain);
            encode_event(is_put, kv.as_ref(), Some(previous.as_ref()), &mut whole);
            assert_eq!(append_previous(&plain, previous.as_ref()), whole);
        }
    }
}
