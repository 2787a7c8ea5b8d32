//! How a version of a key lies in the history tree.
//!
//! A record's place is (main, sub, kind). Its *head* holds everything but the value, so that index
//! rebuild, sweeps and reads of keys alone never touch a large value:
//!
//! ```text
//! head of a put       := flags:u8  age:varint  version:varint  lease:zigzag  name
//! head of a tombstone := flags:u8  name
//! name                := key                      if flags = 0
//!                      | key length:varint        if flags = 1
//! ```
//!
//! `age` is the record's revision less its create revision. With flags 1 the key is too long for a
//! head and stands in front of the value instead.

use bytes::Bytes;
use revd_btree::{Key, Pin, Record};

use crate::encode::{put_varint, take_varint};
use crate::error::Fatal;
use crate::events::Change;
use crate::index::Place;
use crate::key_value::KeyValueRef;

/// Kind of a put's record.
const PUT: u8 = 0;
/// Kind of a tombstone.
const TOMBSTONE: u8 = 1;

/// Longer keys move from the head to the front of the value. Half of the smallest head that the
/// tree promises to take.
const HEAD_KEY_MAX: usize = 8 * 1024;
const KEY_IN_HEAD: u8 = 0;
const KEY_IN_VALUE: u8 = 1;

/// The key of the history tree for a record.
pub(crate) fn tree_key(place: Place) -> Key {
    let kind = if place.is_tombstone() { TOMBSTONE } else { PUT };
    Key { main: place.main, sub: place.sub(), kind }
}

/// The place of a record in the history tree.
pub(crate) fn place(key: Key) -> Result<Place, Fatal> {
    let bad = |reason| Fatal::BadRecord { main: key.main, sub: key.sub, reason };
    if key.kind > TOMBSTONE {
        return Err(bad("unknown kind"));
    }
    if key.main >= Place::MAIN_END {
        return Err(bad("revision out of bounds"));
    }
    if key.sub >= Place::SUB_END {
        return Err(bad("sub-revision out of bounds"));
    }
    Ok(Place::new(key.main, key.sub, key.kind == TOMBSTONE))
}

/// The head of a record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) create: u64,
    pub(crate) version: u64,
    pub(crate) lease: i64,
}

/// Where a record's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    InHead(&'a [u8]),
    /// The first so many bytes of the value.
    InValue(usize),
}

/// Writes the head of `kv` into `head` (cleared first). True if the key must go in front of the
/// value.
pub(crate) fn encode_head(is_put: bool, kv: KeyValueRef<'_>, head: &mut Vec<u8>) -> bool {
    head.clear();
    let is_long = kv.key.len() > HEAD_KEY_MAX;
    head.push(if is_long { KEY_IN_VALUE } else { KEY_IN_HEAD });
    if is_put {
        put_varint((kv.mod_revision - kv.create_revision) as u64, head);
        put_varint(kv.version as u64, head);
        put_varint((kv.lease << 1 ^ kv.lease >> 63) as u64, head);
    }
    if is_long {
        put_varint(kv.key.len() as u64, head);
    } else {
        head.extend_from_slice(kv.key);
    }
    is_long
}

/// Reads a head.
pub(crate) fn decode_head(place: Place, head: &[u8]) -> Result<Head<'_>, Fatal> {
    try_decode_head(place, head).ok_or(Fatal::BadRecord {
        main: place.main,
        sub: place.sub(),
        reason: "its head does not decode",
    })
}

fn try_decode_head(place: Place, head: &[u8]) -> Option<Head<'_>> {
    let (&flags, mut rest) = head.split_first()?;
    let (mut create, mut version, mut lease) = (0, 0, 0);
    if !place.is_tombstone() {
        create = place.main.checked_sub(take_varint(&mut rest)?)?;
        version = take_varint(&mut rest)?;
        let zigzag = take_varint(&mut rest)?;
        lease = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        if version == 0 || i64::try_from(version).is_err() {
            return None;
        }
    }
    let name = match flags {
        KEY_IN_HEAD => Name::InHead(rest),
        KEY_IN_VALUE => Name::InValue(usize::try_from(take_varint(&mut rest)?).ok()?),
        _ => return None,
    };
    Some(Head { name, create, version, lease })
}

/// Key and value of a record.
pub(crate) fn key_and_value<'a>(
    record: &Record<'a>,
    name: Name<'a>,
) -> Result<(&'a [u8], &'a [u8]), Fatal> {
    let value = record.value()?;
    match name {
        Name::InHead(key) => Ok((key, value)),
        Name::InValue(len) => value.split_at_checked(len).ok_or(Fatal::BadRecord {
            main: record.key.main,
            sub: record.key.sub,
            reason: "its key is longer than what is stored",
        }),
    }
}

/// A record as clients see it.
pub(crate) fn key_value<'a>(record: &Record<'a>) -> Result<KeyValueRef<'a>, Fatal> {
    let place = place(record.key)?;
    let head = decode_head(place, record.head)?;
    let (key, value) = key_and_value(record, head.name)?;
    Ok(KeyValueRef {
        key,
        create_revision: head.create as i64,
        mod_revision: place.main as i64,
        version: head.version as i64,
        value,
        lease: head.lease,
    })
}

/// The key of a record; reads the value only for very long keys.
pub(crate) fn user_key<'a>(record: &Record<'a>) -> Result<&'a [u8], Fatal> {
    match decode_head(place(record.key)?, record.head)?.name {
        Name::InHead(key) => Ok(key),
        name @ Name::InValue(_) => Ok(key_and_value(record, name)?.0),
    }
}

/// What is wrong with a record that arrived from elsewhere: only if nothing is can it be read back.
pub(crate) fn check(key: Key, head: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let reason = |fatal| match fatal {
        Fatal::BadRecord { reason, .. } => reason,
        _ => "it cannot be read",
    };
    let head = place(key).and_then(|place| decode_head(place, head)).map_err(reason)?;
    match head.name {
        Name::InHead([]) => Err("its key is empty"),
        Name::InValue(0) => Err("its key is empty"),
        Name::InValue(len) if len > value.len() => Err("its key is longer than what is stored"),
        Name::InHead(_) | Name::InValue(_) => Ok(()),
    }
}

/// Where records are read from: the tree as a reader sees it, and what the writer has not
/// published yet.
pub(crate) struct Records<'a> {
    pin: Pin<'a>,
    pending: &'a [Change],
}

impl<'a> Records<'a> {
    pub(crate) fn new(pin: Pin<'a>, pending: &'a [Change]) -> Self {
        Self { pin, pending }
    }

    /// The tree's own view.
    pub(crate) fn pin(&self) -> &Pin<'a> {
        &self.pin
    }

    /// The record at `place`, with its value. `key` is what the index has there.
    pub(crate) fn load(&self, key: &[u8], place: Place) -> Result<KeyValueRef<'_>, Fatal> {
        if let Some(change) = self.pending(place) {
            return Ok(change.kv.as_ref());
        }
        let record = self.record(key, place)?;
        let kv = key_value(&record)?;
        check_name(place, kv.key == key)?;
        Ok(kv)
    }

    /// The record at `place` without its value.
    pub(crate) fn load_head(&self, key: &[u8], place: Place) -> Result<Meta, Fatal> {
        if let Some(change) = self.pending(place) {
            let kv = &change.kv;
            let (create, version) = (kv.create_revision as u64, kv.version as u64);
            return Ok(Meta { create, version, lease: kv.lease });
        }
        let record = self.record(key, place)?;
        let head = decode_head(place, record.head)?;
        if let Name::InHead(name) = head.name {
            check_name(place, name == key)?;
        }
        Ok(Meta { create: head.create, version: head.version, lease: head.lease })
    }

    /// The key of the record at `place`, which the index knows to be there.
    pub(crate) fn load_key(&self, place: Place) -> Result<Bytes, Fatal> {
        if let Some(change) = self.pending(place) {
            return Ok(change.kv.key.clone());
        }
        Ok(Bytes::copy_from_slice(user_key(&self.record(b"", place)?)?))
    }

    fn pending(&self, place: Place) -> Option<&'a Change> {
        let first = self.pending.first()?;
        if (place.main as i64) < first.kv.mod_revision {
            return None;
        }
        let wanted = (place.main as i64, place.sub());
        let at = self.pending.binary_search_by_key(&wanted, |c| (c.kv.mod_revision, c.sub)).ok()?;
        Some(&self.pending[at])
    }

    fn record(&self, key: &[u8], place: Place) -> Result<Record<'_>, Fatal> {
        self.pin.get(tree_key(place))?.ok_or_else(|| Fatal::MissingRecord {
            key: Bytes::copy_from_slice(key),
            main: place.main,
            sub: place.sub(),
        })
    }
}

/// What a head says beside the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) create: u64,
    pub(crate) version: u64,
    pub(crate) lease: i64,
}

fn check_name(place: Place, is_same: bool) -> Result<(), Fatal> {
    let reason = "it belongs to another key than the index says";
    let bad = Fatal::BadRecord { main: place.main, sub: place.sub(), reason };
    if is_same { Ok(()) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        for key in [vec![b'k'; 1], vec![b'k'; HEAD_KEY_MAX], vec![b'k'; HEAD_KEY_MAX + 1]] {
            for lease in [0, 1, -1, i64::MAX, i64::MIN] {
                let kv = KeyValueRef {
                    key: &key,
                    create_revision: 5,
                    mod_revision: 900,
                    version: 77,
                    value: b"v",
                    lease,
                };
                let mut bytes = Vec::new();
                let is_long = encode_head(true, kv, &mut bytes);
                let head = decode_head(Place::new(900, 3, false), &bytes).unwrap();
                let name = if is_long { Name::InValue(key.len()) } else { Name::InHead(&key) };
                assert_eq!(is_long, key.len() > HEAD_KEY_MAX);
                assert_eq!(head, Head { name, create: 5, version: 77, lease });
                encode_head(false, kv, &mut bytes);
                let head = decode_head(Place::new(900, 3, true), &bytes).unwrap();
                assert_eq!(head, Head { name, create: 0, version: 0, lease: 0 });
            }
        }
    }

    #[test]
    fn damaged_heads_are_errors() {
        for head in [&b""[..], b"\0", b"\0\x80", b"\0\x05\x00\x00k", b"\x02\0\x01\0k"] {
            assert!(decode_head(Place::new(9, 0, false), head).is_err(), "{head:?}");
        }
        assert!(place(Key { main: 1, sub: 0, kind: 7 }).is_err());
        assert!(place(Key { main: 1, sub: 1 << 31, kind: 0 }).is_err());
        assert!(place(Key { main: 1 << 56, sub: 0, kind: 0 }).is_err());
        assert!(decode_head(Place::new(9, 0, false), b"\0\x0a\x01\0k").is_err(), "age over main");
    }
}
