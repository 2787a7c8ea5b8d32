//! Keys, and the names of tables.

use std::fmt;

/// The key of a record or a row: ordered by `main`, then `sub`, then `kind`.
///
/// What the three mean is the owner's business. For a store of revisions `main` is the revision,
/// `sub` counts the changes of one transaction, and `kind` tells a value from its removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The most significant part.
    pub main: u64,
    /// Orders keys of the same `main`.
    pub sub: u64,
    /// Orders keys of the same `main` and `sub`.
    pub kind: u8,
}

impl Key {
    /// The smallest key.
    pub const MIN: Key = Key { main: 0, sub: 0, kind: 0 };
    /// The largest key.
    pub const MAX: Key = Key { main: u64::MAX, sub: u64::MAX, kind: u8::MAX };

    /// A key of its three parts.
    #[must_use]
    pub const fn new(main: u64, sub: u64, kind: u8) -> Key {
        Key { main, sub, kind }
    }

    /// The smallest key above this one; `None` for the largest.
    #[must_use]
    pub const fn next(self) -> Option<Key> {
        if self.kind < u8::MAX {
            return Some(Key { kind: self.kind + 1, ..self });
        }
        if self.sub < u64::MAX {
            return Some(Key { main: self.main, sub: self.sub + 1, kind: 0 });
        }
        if self.main < u64::MAX {
            return Some(Key { main: self.main + 1, sub: 0, kind: 0 });
        }
        None
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, {})", self.main, self.sub, self.kind)
    }
}

/// One of the [`Table::COUNT`] tables of a file, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

impl Table {
    /// How many tables a file has; their numbers are `0..COUNT`.
    pub const COUNT: u8 = 16;

    /// The place of this table among the roots.
    ///
    /// # Panics
    ///
    /// If there is no table of this number: that is a mistake in the owner's code.
    pub(crate) fn index(self) -> usize {
        assert!(self.0 < Table::COUNT, "there is no table {}, only 0..{}", self.0, Table::COUNT);
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_key_carries_over() {
        assert_eq!(Key::new(1, 2, 3).next(), Some(Key::new(1, 2, 4)));
        assert_eq!(Key::new(1, 2, 255).next(), Some(Key::new(1, 3, 0)));
        assert_eq!(Key::new(1, u64::MAX, 255).next(), Some(Key::new(2, 0, 0)));
        assert_eq!(Key::MAX.next(), None);
    }
}
