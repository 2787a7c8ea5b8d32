//! Byte strings packed into one buffer.
//!
//! A node that holds its keys this way is copied by two `memcpy`s instead of one allocation or one
//! reference count for each key, and spends four bytes on a key beyond its own; none if all keys of
//! the node have one length, as those of most applications have.

/// Room for a little growth behind a copy: most copies are made to insert one key.
const SLACK: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    bounds: Bounds,
}

/// Where each key lies in the buffer.
#[derive(Debug)]
enum Bounds {
    /// All `len` keys have `width` bytes.
    Even { width: u32, len: u32 },
    /// Where each key ends; it begins where the one before ends.
    Ends(Vec<u32>),
}

impl Default for Bounds {
    fn default() -> Self {
        Self::Even { width: 0, len: 0 }
    }
}

impl Clone for Bounds {
    fn clone(&self) -> Self {
        match self {
            Self::Even { width, len } => Self::Even { width: *width, len: *len },
            Self::Ends(ends) => {
                let mut copy = Vec::with_capacity(ends.len() + 1);
                copy.extend_from_slice(ends);
                Self::Ends(copy)
            }
        }
    }
}

impl Clone for Keys {
    fn clone(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + SLACK);
        bytes.extend_from_slice(&self.bytes);
        Self { bytes, bounds: self.bounds.clone() }
    }
}

/// Bytes at the front in which both agree.
pub(super) fn common_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

impl Bounds {
    fn len(&self) -> usize {
        match self {
            Self::Even { len, .. } => *len as usize,
            Self::Ends(ends) => ends.len(),
        }
    }

    fn begin(&self, at: usize) -> usize {
        match self {
            Self::Even { width, .. } => at * *width as usize,
            Self::Ends(ends) => at.checked_sub(1).map_or(0, |before| ends[before] as usize),
        }
    }

    /// The bounds of keys that end at these.
    fn new(ends: impl Iterator<Item = u32> + Clone) -> Self {
        let len = ends.clone().count() as u32;
        let width = ends.clone().next().unwrap_or(0);
        let is_even = ends.clone().zip(1..).all(|(end, nth)| Some(end) == width.checked_mul(nth));
        if is_even { Self::Even { width, len } } else { Self::Ends(ends.collect()) }
    }

    /// Where each key ends, to be changed by a key of another length.
    fn ends(&mut self) -> &mut Vec<u32> {
        if let Self::Even { width, len } = *self {
            let mut ends = Vec::with_capacity(len as usize + 1);
            ends.extend((1..=len).map(|nth| nth * width));
            *self = Self::Ends(ends);
        }
        match self {
            Self::Ends(ends) => ends,
            Self::Even { .. } => unreachable!("just replaced"),
        }
    }

    /// Makes room for a key of `added` bytes at `at`.
    fn insert(&mut self, at: usize, added: u32) {
        if let Self::Even { width, len } = self
            && (*len == 0 || *width == added)
        {
            (*width, *len) = (added, *len + 1);
            return;
        }
        let begin = self.begin(at) as u32;
        let ends = self.ends();
        super::column::insert_tight(ends, at, begin);
        ends[at..].iter_mut().for_each(|end| *end += added);
    }

    fn remove(&mut self, at: usize) {
        match self {
            Self::Even { len, .. } => *len -= 1,
            Self::Ends(ends) => {
                let begin = at.checked_sub(1).map_or(0, |before| ends[before]);
                let removed = ends.remove(at) - begin;
                ends[at..].iter_mut().for_each(|end| *end -= removed);
            }
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Even { width, len } => {
                let right = Self::Even { width: *width, len: *len - at as u32 };
                *len = at as u32;
                right
            }
            Self::Ends(ends) => {
                let begin = at.checked_sub(1).map_or(0, |before| ends[before]);
                let right = Self::new(ends[at..].iter().map(|end| end - begin));
                let left = Self::new(ends[..at].iter().copied());
                *self = left;
                right
            }
        }
    }

    fn append(&mut self, right: &Self) {
        match (&mut *self, right) {
            (_, Self::Even { len: 0, .. }) => {}
            (Self::Even { width, len }, Self::Even { width: other, len: more })
                if *len == 0 || width == other =>
            {
                (*width, *len) = (*other, *len + *more);
            }
            _ => {
                let shift = self.begin(self.len()) as u32;
                let more = (1..=right.len()).map(|nth| right.begin(nth) as u32 + shift);
                self.ends().extend(more);
            }
        }
    }
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.bounds.len()
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.bounds.begin(at)..self.bounds.begin(at + 1)]
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
        let begin = self.bounds.begin(at);
        let len = u32::try_from(key.len()).expect("a request is far smaller than 4 GiB");
        let before = self.bytes.len();
        if self.bytes.capacity() - before < key.len() {
            self.bytes.reserve_exact(key.len() + SLACK);
        }
        self.bytes.resize(before + key.len(), 0);
        self.bytes.copy_within(begin..before, begin + key.len());
        self.bytes[begin..begin + key.len()].copy_from_slice(key);
        self.bounds.insert(at, len);
    }

    pub(super) fn remove(&mut self, at: usize) {
        let (begin, end) = (self.bounds.begin(at), self.bounds.begin(at + 1));
        self.bytes.copy_within(end.., begin);
        self.bytes.truncate(self.bytes.len() - (end - begin));
        self.bounds.remove(at);
    }

    /// Cuts the keys from `at` on off and returns them.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let begin = self.bounds.begin(at);
        let bytes = self.bytes[begin..].to_vec();
        self.bytes.truncate(begin);
        self.bytes.shrink_to_fit();
        Self { bytes, bounds: self.bounds.split_off(at) }
    }

    /// Appends keys that are all above the present ones.
    pub(super) fn append(&mut self, right: &Self) {
        self.bounds.append(&right.bounds);
        self.bytes.extend_from_slice(&right.bytes);
    }

    /// Where to cut so that both sides have about as many bytes; neither side is empty.
    pub(super) fn middle_by_bytes(&self) -> usize {
        let half = self.bytes.len() / 2;
        let at = (1..=self.len()).take_while(|nth| self.bounds.begin(*nth) <= half).count();
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

    #[test]
    fn keys_of_one_length_are_like_all_others() {
        let mut state = 1_u64;
        let mut drawn = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound as usize
        };
        // Of the keys, none, some, or all have another length than two bytes.
        for others in [0, 1, 20, 100] {
            let (mut keys, mut model) = (Keys::default(), Vec::<Vec<u8>>::new());
            for _ in 0..2_000 {
                match drawn(5) {
                    0 if !model.is_empty() => {
                        let at = drawn(model.len() as u64);
                        keys.remove(at);
                        model.remove(at);
                    }
                    1 if model.len() > 40 => {
                        let at = drawn(model.len() as u64 + 1);
                        let (mut right, cut) = (keys.split_off(at), model.split_off(at));
                        assert!((0..cut.len()).all(|at| right.get(at) == cut[at]));
                        if drawn(2) == 0 {
                            std::mem::swap(&mut keys, &mut right);
                            model = cut;
                        } else if drawn(2) == 0 {
                            keys.append(&right);
                            model.extend(cut);
                        }
                    }
                    _ => {
                        let len = if drawn(100) < others { drawn(4) } else { 2 };
                        let key: Vec<u8> = (0..len).map(|_| drawn(256) as u8).collect();
                        let at = drawn(model.len() as u64 + 1);
                        keys.insert(at, &key);
                        model.insert(at, key);
                    }
                }
                keys = keys.clone();
                let found: Vec<_> = (0..keys.len()).map(|at| keys.get(at).to_vec()).collect();
                assert_eq!(found, model);
                let is_even = matches!(keys.bounds, Bounds::Even { .. });
                assert!(is_even || others > 0, "keys of one length have ends");
            }
        }
    }
}
