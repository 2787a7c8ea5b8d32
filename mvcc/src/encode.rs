//! The protobuf form of `mvccpb.KeyValue` and `mvccpb.Event`, written by hand.
//!
//! A record goes from its page into the response in one copy, and `HashKV` covers exactly these
//! bytes, so the form is canonical: fields ascending, defaults omitted. Nothing here can fail; a
//! `Vec` grows as needed, and the `*_len` functions say beforehand by how much.

use crate::key_value::KeyValueRef;

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// Tag of `kvs`, field 2 of a `RangeResponse`.
const RANGE_KVS: u8 = tag(2, LENGTH_DELIMITED);

const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// Appends a base-128 number, least significant group first.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] writes for `value`.
pub(crate) const fn varint_len(value: u64) -> usize {
    // Seven bits a byte; zero takes one byte like one does.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Takes a number off the front of `bytes`; `None` if it is cut off or too long for 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = u64::from(byte & 0x7f);
        if shift == 63 && group > 1 {
            return None;
        }
        value |= group << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_int(field: u8, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(tag(field, VARINT));
        put_varint(value as u64, out);
    }
}

const fn int_len(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value as u64) }
}

fn put_bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(tag(field, LENGTH_DELIMITED));
        put_varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

const fn bytes_len(value: &[u8]) -> usize {
    if value.is_empty() { 0 } else { 1 + varint_len(value.len() as u64) + value.len() }
}

/// Bytes that [`encode_key_value`] writes for `kv`.
#[must_use]
pub fn key_value_len(kv: KeyValueRef<'_>) -> usize {
    bytes_len(kv.key)
        + int_len(kv.create_revision)
        + int_len(kv.mod_revision)
        + int_len(kv.version)
        + bytes_len(kv.value)
        + int_len(kv.lease)
}

/// Appends `kv` as an `mvccpb.KeyValue` message.
pub fn encode_key_value(kv: KeyValueRef<'_>, out: &mut Vec<u8>) {
    encode_before_value(kv, out);
    put_bytes(5, kv.value, out);
    put_int(6, kv.lease, out);
}

fn encode_before_value(kv: KeyValueRef<'_>, out: &mut Vec<u8>) {
    put_bytes(1, kv.key, out);
    put_int(2, kv.create_revision, out);
    put_int(3, kv.mod_revision, out);
    put_int(4, kv.version, out);
}

/// Continues `crc` over the message that [`encode_key_value`] would write, without copying the
/// value. `scratch` is overwritten.
pub(crate) fn crc_of_key_value(crc: u32, kv: KeyValueRef<'_>, scratch: &mut Vec<u8>) -> u32 {
    scratch.clear();
    encode_before_value(kv, scratch);
    if kv.value.is_empty() {
        put_int(6, kv.lease, scratch);
        return crc32c::crc32c_append(crc, scratch);
    }
    scratch.push(tag(5, LENGTH_DELIMITED));
    put_varint(kv.value.len() as u64, scratch);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, scratch), kv.value);
    scratch.clear();
    put_int(6, kv.lease, scratch);
    crc32c::crc32c_append(crc, scratch)
}

/// Appends `kv` as one element of `repeated KeyValue kvs = 2` of a `RangeResponse`.
pub fn encode_range_element(kv: KeyValueRef<'_>, out: &mut Vec<u8>) {
    let len = key_value_len(kv);
    out.reserve(len + 11);
    out.push(RANGE_KVS);
    put_varint(len as u64, out);
    encode_key_value(kv, out);
}

/// Bytes that [`encode_event`] writes.
#[must_use]
pub fn event_len(is_put: bool, kv: KeyValueRef<'_>, previous: Option<KeyValueRef<'_>>) -> usize {
    let message_len = |kv| {
        let len = key_value_len(kv);
        1 + varint_len(len as u64) + len
    };
    int_len(i64::from(!is_put)) + message_len(kv) + previous.map_or(0, message_len)
}

/// Appends an `mvccpb.Event` message: type PUT (0) or DELETE (1), the record, and the one before.
pub fn encode_event(
    is_put: bool,
    kv: KeyValueRef<'_>,
    previous: Option<KeyValueRef<'_>>,
    out: &mut Vec<u8>,
) {
    out.reserve(event_len(is_put, kv, previous));
    put_int(1, i64::from(!is_put), out);
    for (field, kv) in [(2, Some(kv)), (3, previous)] {
        if let Some(kv) = kv {
            out.push(tag(field, LENGTH_DELIMITED));
            put_varint(key_value_len(kv) as u64, out);
            encode_key_value(kv, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv<'a>(key: &'a [u8], value: &'a [u8], lease: i64) -> KeyValueRef<'a> {
        KeyValueRef { key, create_revision: 2, mod_revision: 300, version: 5, value, lease }
    }

    #[test]
    fn key_value_bytes_are_canonical() {
        let mut out = Vec::new();
        encode_key_value(kv(b"k", b"vv", -1), &mut out);
        let mut expected = vec![0x0a, 1, b'k', 0x10, 2, 0x18, 0xac, 0x02, 0x20, 5];
        expected.extend([0x2a, 2, b'v', b'v', 0x30]);
        expected.extend([0xff; 9]);
        expected.push(1);
        assert_eq!(out, expected);
        assert_eq!(key_value_len(kv(b"k", b"vv", -1)), out.len());
    }

    #[test]
    fn defaults_are_omitted() {
        let mut out = Vec::new();
        encode_key_value(KeyValueRef { key: b"k", ..KeyValueRef::default() }, &mut out);
        assert_eq!(out, [0x0a, 1, b'k']);
    }

    #[test]
    fn an_event_has_type_record_and_previous() {
        let deleted = KeyValueRef { key: b"k", mod_revision: 4, ..KeyValueRef::default() };
        let mut out = Vec::new();
        encode_event(false, deleted, Some(kv(b"k", b"", 0)), &mut out);
        let mut expected = vec![0x08, 1, 0x12, 5, 0x0a, 1, b'k', 0x18, 4];
        expected.extend([0x1a, 10, 0x0a, 1, b'k', 0x10, 2, 0x18, 0xac, 0x02, 0x20, 5]);
        assert_eq!(out, expected);
        assert_eq!(event_len(false, deleted, Some(kv(b"k", b"", 0))), out.len());
    }

    #[test]
    fn varints_come_back_and_damaged_ones_are_refused() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "length of {value}");
            assert_eq!(take_varint(&mut &out[..]), Some(value));
            assert_eq!(take_varint(&mut &out[..out.len() - 1]), None);
        }
        assert_eq!(take_varint(&mut &[0xff; 10][..]), None);
    }

    #[test]
    fn the_checksum_in_pieces_equals_the_one_over_the_message() {
        for value in [&b""[..], b"some value"] {
            for lease in [0, 7, -7] {
                let mut message = Vec::new();
                encode_key_value(kv(b"key", value, lease), &mut message);
                let whole = crc32c::crc32c_append(99, &message);
                let pieces = crc_of_key_value(99, kv(b"key", value, lease), &mut Vec::new());
                assert_eq!(pieces, whole);
            }
        }
    }
}
