use std::iter::FusedIterator;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::etcdserverpb::ResponseHeader;
use crate::mvccpb::KeyValue;

const HEADER: u32 = 1;
const KVS: u32 = 2;
const MORE: u32 = 3;
const COUNT: u32 = 4;

/// The answer to a Range, with its records in encoded form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeResponse {
    /// Who answered, and at which revision of the key space.
    pub header: Option<ResponseHeader>,
    /// The records that were found.
    pub kvs: Kvs,
    /// The limit cut something off.
    pub more: bool,
    /// Keys in the interval, whatever the limit and the revision bounds kept back.
    pub count: i64,
}

impl Message for RangeResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(header) = &self.header {
            encoding::message::encode(HEADER, header, buf);
        }
        buf.put_slice(&self.kvs.0);
        if self.more {
            encoding::bool::encode(MORE, &self.more, buf);
        }
        if self.count != 0 {
            encoding::int64::encode(COUNT, &self.count, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            HEADER => {
                let header = self.header.get_or_insert_default();
                encoding::message::merge(wire_type, header, buf, ctx)
            }
            KVS => self.kvs.merge(wire_type, buf, ctx),
            MORE => encoding::bool::merge(wire_type, &mut self.more, buf, ctx),
            COUNT => encoding::int64::merge(wire_type, &mut self.count, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let header = self.header.as_ref();
        let more = if self.more { encoding::bool::encoded_len(MORE, &self.more) } else { 0 };
        let count =
            if self.count == 0 { 0 } else { encoding::int64::encoded_len(COUNT, &self.count) };
        header.map_or(0, |header| encoding::message::encoded_len(HEADER, header))
            + self.kvs.0.len()
            + more
            + count
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The records of a [`RangeResponse`] as they go over the wire: for each one the tag of the field
/// `kvs`, its length, and the encoded [`KeyValue`].
///
/// Decoding a response takes the records as they come; whether they are records shows when they
/// are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kvs(Bytes);

impl Kvs {
    /// Takes records that are encoded already, tags and lengths included.
    ///
    /// The bytes are sent as they are: a caller who gives anything else makes a message that no
    /// client can read.
    #[must_use]
    pub const fn from_encoded(records: Bytes) -> Self {
        Self(records)
    }

    /// The records with their tags and lengths.
    #[must_use]
    pub const fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records one by one. Keys and values are slices of the encoded records, not copies.
    #[must_use]
    pub fn iter(&self) -> Records {
        Records(self.0.clone())
    }

    /// All records.
    ///
    /// # Errors
    ///
    /// When the sender put something else in the place of a record.
    pub fn decode(&self) -> Result<Vec<KeyValue>, DecodeError> {
        self.iter().collect()
    }

    /// Appends the record that starts at `buf`, after its tag.
    fn merge(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut record = Bytes::new();
        encoding::bytes::merge(wire_type, &mut record, buf, ctx)?;

        // The buffer is ours alone while a message is decoded, so it is taken back and grown in
        // place; were it copied for each record, a large answer would cost the square of its size.
        let collected = std::mem::take(&mut self.0);
        let mut collected = collected.try_into_mut().unwrap_or_else(|shared| (&shared[..]).into());
        encoding::bytes::encode(KVS, &record, &mut collected);
        self.0 = collected.freeze();
        Ok(())
    }
}

impl<'a> FromIterator<&'a KeyValue> for Kvs {
    fn from_iter<I: IntoIterator<Item = &'a KeyValue>>(records: I) -> Self {
        let mut encoded = BytesMut::new();
        for record in records {
            encoding::message::encode(KVS, record, &mut encoded);
        }
        Self(encoded.freeze())
    }
}

impl IntoIterator for &Kvs {
    type Item = Result<KeyValue, DecodeError>;
    type IntoIter = Records;

    fn into_iter(self) -> Records {
        self.iter()
    }
}

/// Decodes the records of [`Kvs`] one by one; ends after the first that is none.
#[derive(Clone, Debug)]
pub struct Records(Bytes);

impl Records {
    fn decode_next(&mut self) -> Result<KeyValue, DecodeError> {
        let (_, wire_type) = encoding::decode_key(&mut self.0)?;
        let mut record = Bytes::new();
        encoding::bytes::merge(wire_type, &mut record, &mut self.0, DecodeContext::default())?;
        KeyValue::decode(record)
    }
}

impl Iterator for Records {
    type Item = Result<KeyValue, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.decode_next();
        if record.is_err() {
            self.0.clear();
        }
        Some(record)
    }
}

impl FusedIterator for Records {}
