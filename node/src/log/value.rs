//! Values of fields that have a form of their own in etcd's log.

use std::fmt::Display;
use std::time::Duration;

/// A list of texts as a JSON array, to be passed as a byte slice.
pub fn list<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut array = vec![b'['];
    for item in items {
        if array.len() > 1 {
            array.push(b',');
        }
        super::encode::string(&mut array, &item.to_string());
    }
    array.push(b']');
    array
}

/// A duration as Go writes it: `1.5ms`, `7s`, `2h0m0s`.
#[must_use]
pub fn took(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => scaled(nanoseconds, 1_000) + "µs",
        1_000_000..1_000_000_000 => scaled(nanoseconds, 1_000_000) + "ms",
        _ => {
            let seconds = nanoseconds / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let below_a_minute = scaled(nanoseconds % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{below_a_minute}s"),
                (0, minutes) => format!("{minutes}m{below_a_minute}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{below_a_minute}s"),
            }
        }
    }
}

/// `value / unit` as a decimal fraction without trailing zeros.
fn scaled(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_json() {
        assert_eq!(list::<&str>([]), b"[]");
        assert_eq!(list(["a", "b\"c"]), br#"["a","b\"c"]"#);
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_000, "1µs"),
            (570_571, "570.571µs"),
            (1_500_000, "1.5ms"),
            (100_000_000, "100ms"),
            (1_000_000_000, "1s"),
            (1_050_000_000, "1.05s"),
            (60_000_000_000, "1m0s"),
            (61_500_000_000, "1m1.5s"),
            (7_200_000_000_000, "2h0m0s"),
        ] {
            assert_eq!(took(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
