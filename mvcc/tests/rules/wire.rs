//! A decoder of `mvccpb.KeyValue`, written independently of the encoder under test.

use bytes::Bytes;
use revd_mvcc::{KeyValue, Ranged};

/// The records of an answer.
pub(crate) fn records(ranged: &Ranged) -> Vec<KeyValue> {
    let mut rest = &ranged.kvs[..];
    let mut found = Vec::new();
    while let Some((tag, tail)) = rest.split_first() {
        assert_eq!(*tag, 0x12, "field 2, length-delimited");
        rest = tail;
        found.push(record(bytes(&mut rest)));
    }
    assert_eq!(found.len(), ranged.returned, "number of records");
    found
}

/// Whether an encoded event is a put, its record, and the record before.
pub(crate) fn event(mut message: &[u8]) -> (bool, KeyValue, Option<KeyValue>) {
    let (mut is_put, mut kv, mut previous) = (true, None, None);
    while let Some((tag, tail)) = message.split_first() {
        message = tail;
        match tag {
            0x08 => is_put = number(&mut message) == 0,
            0x12 => kv = Some(record(bytes(&mut message))),
            0x1a => previous = Some(record(bytes(&mut message))),
            other => panic!("unknown tag {other:#x}"),
        }
    }
    (is_put, kv.expect("an event has a record"), previous)
}

fn record(mut message: &[u8]) -> KeyValue {
    let mut kv = KeyValue::default();
    let mut last = 0;
    while let Some((tag, tail)) = message.split_first() {
        message = tail;
        assert!(*tag > last, "fields ascend");
        last = *tag;
        match tag {
            0x0a => kv.key = Bytes::copy_from_slice(bytes(&mut message)),
            0x10 => kv.create_revision = number(&mut message),
            0x18 => kv.mod_revision = number(&mut message),
            0x20 => kv.version = number(&mut message),
            0x2a => kv.value = Bytes::copy_from_slice(bytes(&mut message)),
            0x30 => kv.lease = number(&mut message),
            other => panic!("unknown tag {other:#x}"),
        }
    }
    kv
}

fn number(rest: &mut &[u8]) -> i64 {
    let mut value = 0u64;
    let mut shift = 0;
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value as i64;
        }
    }
}

fn bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = number(rest) as usize;
    let (taken, tail) = rest.split_at(len);
    *rest = tail;
    taken
}
