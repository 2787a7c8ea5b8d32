//! The hand-written encoders against the generated ones: the same bytes for any record.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use revd_api::mvccpb;
use revd_mvcc::{KeyValue, encode_event, encode_key_value, event_len, key_value_len};

fn record() -> impl Strategy<Value = KeyValue> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let number =
        || prop_oneof![Just(0i64), Just(i64::MAX), Just(i64::MIN), -200..200i64, any::<i64>()];
    (bytes(), bytes(), number(), number(), number(), number()).prop_map(
        |(key, value, create_revision, mod_revision, version, lease)| KeyValue {
            key,
            create_revision,
            mod_revision,
            version,
            value,
            lease,
        },
    )
}

fn generated(kv: &KeyValue) -> mvccpb::KeyValue {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv.clone();
    mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn key_values_equal_the_generated_form(kv in record()) {
        let mut out = Vec::new();
        encode_key_value(kv.as_ref(), &mut out);
        prop_assert_eq!(key_value_len(kv.as_ref()), out.len());
        prop_assert_eq!(out, generated(&kv).encode_to_vec());
    }

    #[test]
    fn events_equal_the_generated_form(
        is_put: bool,
        kv in record(),
        previous in proptest::option::of(record()),
    ) {
        let before = previous.as_ref().map(KeyValue::as_ref);
        let mut out = Vec::new();
        encode_event(is_put, kv.as_ref(), before, &mut out);
        prop_assert_eq!(event_len(is_put, kv.as_ref(), before), out.len());
        let event = mvccpb::Event {
            r#type: i32::from(!is_put),
            kv: Some(generated(&kv)),
            prev_kv: previous.as_ref().map(generated),
        };
        prop_assert_eq!(out, event.encode_to_vec());
    }
}
