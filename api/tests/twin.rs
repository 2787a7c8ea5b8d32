//! The two messages that are written by hand against the same messages as prost generates them.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use revd_api::etcdserverpb::{Kvs, RangeResponse, ResponseHeader, TxnResponse, WatchResponse};
use revd_api::mvccpb::{Event, KeyValue};

/// All of the interface with nothing replaced.
#[allow(missing_docs, dead_code, unreachable_pub, clippy::all, reason = "generated")]
mod generated {
    pub(crate) mod authpb {
        include!(concat!(env!("OUT_DIR"), "/twin/authpb.rs"));
    }
    pub(crate) mod mvccpb {
        include!(concat!(env!("OUT_DIR"), "/twin/mvccpb.rs"));
    }
    pub(crate) mod etcdserverpb {
        include!(concat!(env!("OUT_DIR"), "/twin/etcdserverpb.rs"));
    }
}

use generated::etcdserverpb as twin;

fn bytes() -> impl Strategy<Value = Bytes> {
    // Up to lengths that take two bytes on the wire.
    prop_oneof![3 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 100..200)].prop_map(Bytes::from)
}

/// Defaults are left out on the wire, so they come often.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 1_i64..300, any::<i64>()]
}

fn header() -> impl Strategy<Value = Option<ResponseHeader>> {
    let fields = (any::<u64>(), any::<u64>(), number(), 0_u64..3);
    let header = fields.prop_map(|(cluster_id, member_id, revision, raft_term)| ResponseHeader {
        cluster_id,
        member_id,
        revision,
        raft_term,
    });
    prop_oneof![Just(None), Just(Some(ResponseHeader::default())), header.prop_map(Some)]
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (bytes(), number(), number(), number(), bytes(), number()).prop_map(
        |(key, create_revision, mod_revision, version, value, lease)| KeyValue {
            key,
            create_revision,
            mod_revision,
            version,
            value,
            lease,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let kv = || proptest::option::of(key_value());
    (0..2, kv(), kv()).prop_map(|(r#type, kv, prev_kv)| Event { r#type, kv, prev_kv })
}

/// The same message as another type, by way of the wire.
fn convert<A: Message, B: Message + Default>(message: &A) -> B {
    B::decode(message.encode_to_vec().as_slice()).expect("both describe the same message")
}

/// A range response and its twin.
fn range_response() -> impl Strategy<Value = (RangeResponse, twin::RangeResponse)> {
    (header(), vec(key_value(), 0..6), any::<bool>(), number()).prop_map(
        |(header, records, more, count)| {
            let twin = twin::RangeResponse {
                header: header.as_ref().map(convert),
                kvs: records.iter().map(convert).collect(),
                more,
                count,
            };
            (RangeResponse { header, kvs: Kvs::from_iter(&records), more, count }, twin)
        },
    )
}

/// A watch response and its twin.
fn watch_response() -> impl Strategy<Value = (WatchResponse, twin::WatchResponse)> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (header(), number(), flags, number(), ".{0,5}", vec(event(), 0..6)).prop_map(
        |(header, watch_id, (created, canceled, fragment), compact_revision, reason, events)| {
            let twin = twin::WatchResponse {
                header: header.as_ref().map(convert),
                watch_id,
                created,
                canceled,
                compact_revision,
                cancel_reason: reason.clone(),
                fragment,
                events: events.iter().map(convert).collect(),
            };
            let ours = WatchResponse {
                header,
                watch_id,
                created,
                canceled,
                compact_revision,
                cancel_reason: reason,
                fragment,
                events: events.iter().map(|event| event.encode_to_vec().into()).collect(),
            };
            (ours, twin)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn range_response_is_encoded_like_its_twin((ours, twin) in range_response()) {
        let encoded = ours.encode_to_vec();
        prop_assert_eq!(&encoded, &twin.encode_to_vec());
        prop_assert_eq!(ours.encoded_len(), encoded.len());
        prop_assert_eq!(&RangeResponse::decode(encoded.as_slice()).unwrap(), &ours);

        let records: Vec<generated::mvccpb::KeyValue> =
            ours.kvs.decode().unwrap().iter().map(convert).collect();
        prop_assert_eq!(records, twin.kvs);
    }

    #[test]
    fn watch_response_is_encoded_like_its_twin((ours, twin) in watch_response()) {
        let encoded = ours.encode_to_vec();
        prop_assert_eq!(&encoded, &twin.encode_to_vec());
        prop_assert_eq!(ours.encoded_len(), encoded.len());
        prop_assert_eq!(&WatchResponse::decode(encoded.as_slice()).unwrap(), &ours);

        let events: Vec<generated::mvccpb::Event> =
            ours.decode_events().unwrap().iter().map(convert).collect();
        prop_assert_eq!(events, twin.events);
    }

    /// Concatenated messages are one message to protobuf: fields repeat, records accumulate and
    /// are no longer in one place.
    #[test]
    fn merging_agrees_with_the_twin(parts in vec(range_response(), 1..4)) {
        let joined: Vec<u8> = parts.iter().flat_map(|(ours, _)| ours.encode_to_vec()).collect();
        let ours = RangeResponse::decode(joined.as_slice()).unwrap();
        let twin = twin::RangeResponse::decode(joined.as_slice()).unwrap();
        prop_assert_eq!(ours.encode_to_vec(), twin.encode_to_vec());
    }

    /// Whatever bytes arrive: never a panic, and where both sides can read them, the same answer.
    #[test]
    fn damaged_responses_are_read_like_the_twin(
        (ours, _) in range_response(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut encoded = ours.encode_to_vec();
        if !encoded.is_empty() {
            for (place, mask) in flips {
                let place = place.index(encoded.len());
                encoded[place] ^= mask;
            }
        }
        let ours = RangeResponse::decode(encoded.as_slice());
        let records = ours.as_ref().map_err(Clone::clone).and_then(|ours| ours.kvs.decode());
        match twin::RangeResponse::decode(encoded.as_slice()) {
            Ok(twin) => {
                let records: Vec<generated::mvccpb::KeyValue> =
                    records.unwrap().iter().map(convert).collect();
                let ours = ours.unwrap();
                prop_assert_eq!(records, twin.kvs);
                prop_assert_eq!((ours.more, ours.count), (twin.more, twin.count));
            }
            Err(_) => prop_assert!(records.is_err()),
        }
    }

    #[test]
    fn nested_in_a_transaction_they_still_agree((ours, twin) in range_response()) {
        use revd_api::etcdserverpb::{ResponseOp, response_op::Response};
        let ours = TxnResponse {
            header: None,
            succeeded: true,
            responses: vec![ResponseOp { response: Some(Response::ResponseRange(ours)) }],
        };
        let twin = twin::TxnResponse {
            header: None,
            succeeded: true,
            responses: vec![twin::ResponseOp {
                response: Some(twin::response_op::Response::ResponseRange(twin)),
            }],
        };
        prop_assert_eq!(ours.encode_to_vec(), twin.encode_to_vec());
        prop_assert_eq!(convert::<_, twin::TxnResponse>(&ours), twin);
    }
}

/// Record bytes are taken, not copied, when they are read out of a response.
#[test]
fn records_are_slices_of_the_response() {
    let record = KeyValue { value: vec![7; 1 << 20].into(), ..KeyValue::default() };
    let kvs = Kvs::from_iter([&record]);
    let within = kvs.encoded().as_ptr_range();
    let decoded = kvs.decode().unwrap();
    assert!(within.contains(&decoded[0].value.as_ptr()), "the value was copied");
}

#[test]
fn bytes_that_are_no_record_end_the_iteration_with_an_error() {
    let kvs = Kvs::from_encoded(Bytes::from_static(&[0x12, 0x05, 1]));
    let mut records = kvs.iter();
    assert!(records.next().is_some_and(|record| record.is_err()));
    assert!(records.next().is_none());
}

/// The cost of decoding grows with the size of an answer and not with its square: a hundred
/// thousand records, each merged on its own, would otherwise take minutes.
#[test]
fn large_answers_decode_in_time_proportional_to_their_size() {
    let record = KeyValue { key: vec![1; 100].into(), ..KeyValue::default() };
    let kvs = Kvs::from_iter(std::iter::repeat_n(&record, 100_000));
    let sent = RangeResponse { kvs, count: 100_000, ..RangeResponse::default() };
    let received = RangeResponse::decode(Bytes::from(sent.encode_to_vec())).unwrap();
    assert_eq!(received, sent);
    assert_eq!(received.kvs.iter().count(), 100_000);
}
