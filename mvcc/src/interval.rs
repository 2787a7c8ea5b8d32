//! What a (`key`, `range_end`) pair means: one key, a half-open interval, or everything from a key.

use bytes::Bytes;

/// The one `range_end` that means "no upper end" (rule 2.4).
const FROM_KEY: &[u8] = b"\0";

/// Keys that a request names, under unsigned bytewise order.
///
/// An empty `range_end` is the one key; the single byte zero is every key from `key` on; anything
/// else is the half-open `[key, range_end)`, which is empty when `key >= range_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    start: Bytes,
    end: Bytes,
}

impl Interval {
    /// The keys that `key` and `range_end` of a request mean.
    #[must_use]
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        Self { start: key.clone(), end: range_end.clone() }
    }

    /// True if exactly one key is meant.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.end.is_empty()
    }

    /// True if no key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.end != FROM_KEY && self.start >= self.end
    }

    /// The first key that can be inside.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The upper end, itself outside; `None` if there is none. A single key has no such bound
    /// either: ask [`Interval::is_single`] first.
    #[must_use]
    pub fn end(&self) -> Option<&Bytes> {
        (!self.end.is_empty() && self.end != FROM_KEY).then_some(&self.end)
    }

    /// True if `key` is inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            return key == self.start;
        }
        key >= &self.start[..] && self.end().is_none_or(|end| key < &end[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(key: &'static [u8], end: &'static [u8]) -> Interval {
        Interval::new(&Bytes::from_static(key), &Bytes::from_static(end))
    }

    #[test]
    fn rule_2_2_an_empty_end_is_one_key() {
        let one = interval(b"a", b"");
        assert!(one.is_single() && !one.is_empty());
        assert!(one.contains(b"a") && !one.contains(b"a\0") && !one.contains(b"b"));
    }

    #[test]
    fn rule_2_3_half_open_and_unsigned() {
        let some = interval(b"a", b"\xff");
        assert!(some.contains(b"a") && some.contains(b"\xfe\xff") && !some.contains(b"\xff"));
        assert!(interval(b"b", b"a").is_empty() && interval(b"a", b"a").is_empty());
        assert!(!interval(b"b", b"a").contains(b"aa"));
    }

    #[test]
    fn rule_2_4_only_the_single_zero_byte_is_open() {
        let open = interval(b"b", b"\0");
        assert!(open.contains(b"b") && open.contains(b"\xff\xff") && !open.contains(b"a"));
        assert!(open.end().is_none() && !open.is_empty());
        let bound = interval(b"\0", b"\0\0");
        assert!(bound.contains(b"\0") && !bound.contains(b"\0\0"));
    }
}
