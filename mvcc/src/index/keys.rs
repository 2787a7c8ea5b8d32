//! Sorted byte strings packed into one buffer.
//!
//! A node that holds its keys this way is copied by two `memcpy`s instead of one allocation or one
//! reference count for each key, and spends four bytes on a key beyond its own.

/// Room for a little growth behind a copy: most copies are made to insert one key.
const SLACK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Clone for Keys {
    fn clone(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + SLACK);
        bytes.extend_from_slice(&self.bytes);
        let mut ends = Vec::with_capacity(self.ends.len() + 1);
        ends.extend_from_slice(&self.ends);
        Self { bytes, ends }
    }
}

/// Bytes at the front in which both agree.
pub(super) fn common_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    fn begin(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] as usize }
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.begin(at)..self.ends[at] as usize]
    }

    /// Number of keys below `key`.
    pub(super) fn below(&self, key: &[u8]) -> usize {
        self.partition(|other| other < key)
    }

    /// Number of keys not above `key`.
    pub(super) fn not_above(&self, key: &[u8]) -> usize {
        self.partition(|other| other <= key)
    }

    fn partition(&self, is_left: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if is_left(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The position of `key`, or the one where it would have to be inserted.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let at = self.below(key);
        if at < self.len() && self.get(at) == key { Ok(at) } else { Err(at) }
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        let begin = self.begin(at);
        let len = u32::try_from(key.len()).expect("a request is far smaller than 4 GiB");
        let before = self.bytes.len();
        if self.bytes.capacity() - before < key.len() {
            self.bytes.reserve_exact(key.len() + SLACK);
        }
        self.bytes.resize(before + key.len(), 0);
        self.bytes.copy_within(begin..before, begin + key.len());
        self.bytes[begin..begin + key.len()].copy_from_slice(key);
        super::map::insert_tight(&mut self.ends, at, begin as u32);
        for end in &mut self.ends[at..] {
            *end += len;
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        let (begin, end) = (self.begin(at), self.ends[at] as usize);
        self.bytes.copy_within(end.., begin);
        self.bytes.truncate(self.bytes.len() - (end - begin));
        self.ends.remove(at);
        for later in &mut self.ends[at..] {
            *later -= (end - begin) as u32;
        }
    }

    /// Cuts the keys from `at` on off and returns them.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let begin = self.begin(at);
        let bytes = self.bytes[begin..].to_vec();
        let ends = self.ends[at..].iter().map(|end| end - begin as u32).collect();
        self.bytes.truncate(begin);
        self.ends.truncate(at);
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        Self { bytes, ends }
    }

    /// Appends keys that are all above the present ones.
    pub(super) fn append(&mut self, right: &Self) {
        let shift = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&right.bytes);
        self.ends.extend(right.ends.iter().map(|end| end + shift));
    }

    /// Where to cut so that both sides have about as many bytes; neither side is empty.
    pub(super) fn middle_by_bytes(&self) -> usize {
        let half = self.bytes.len() / 2;
        let at = self.ends.partition_point(|end| (*end as usize) <= half);
        at.clamp(1, self.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_find_remove_split_append() {
        let mut keys = Keys::default();
        for key in ["m", "", "zz", "abc", "n"] {
            let at = keys.find(key.as_bytes()).unwrap_err();
            keys.insert(at, key.as_bytes());
        }
        let all = |keys: &Keys| (0..keys.len()).map(|i| keys.get(i).to_vec()).collect::<Vec<_>>();
        assert_eq!(all(&keys), [&b""[..], b"abc", b"m", b"n", b"zz"]);
        assert_eq!(keys.find(b"m"), Ok(2));
        assert_eq!((keys.below(b"m"), keys.not_above(b"m")), (2, 3));
        keys.remove(1);
        let right = keys.split_off(2);
        assert_eq!(all(&keys), [&b""[..], b"m"]);
        assert_eq!(all(&right), [&b"n"[..], b"zz"]);
        keys.append(&right);
        assert_eq!(all(&keys), [&b""[..], b"m", b"n", b"zz"]);
    }
}
