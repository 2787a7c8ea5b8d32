//! The record of a key as clients see it, owned and borrowed.

use std::fmt;

use bytes::Bytes;

/// A revision of the whole store: the `main` number that all changes of one request share.
///
/// An empty store is at revision 1; the first change is revision 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a lease. Any 64-bit number but zero, negative ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One version of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that began the key's present generation; 0 in a deletion.
    pub create_revision: i64,
    /// The revision that wrote this version.
    pub mod_revision: i64,
    /// 1 for the first version of a generation, one more with each put; 0 in a deletion.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
}

impl KeyValue {
    /// The same record, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> KeyValueRef<'_> {
        KeyValueRef {
            key: &self.key,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: &self.value,
            lease: self.lease,
        }
    }
}

/// One version of a key whose bytes still lie on a page or in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValueRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The revision that began the key's present generation; 0 in a deletion.
    pub create_revision: i64,
    /// The revision that wrote this version.
    pub mod_revision: i64,
    /// 1 for the first version of a generation, one more with each put; 0 in a deletion.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
}

impl KeyValueRef<'_> {
    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned(&self) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(self.key),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: Bytes::copy_from_slice(self.value),
            lease: self.lease,
        }
    }
}
