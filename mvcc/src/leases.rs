//! Lease records, and which keys hang on which lease.
//!
//! A lease here is a name, a time to live and a set of keys: when it runs out is somebody else's
//! business. Records live in table 1 of the tree. Attachments are not stored: they follow from the
//! newest record of each key.
//!
//! Both are [`Map`]s, so that a reader's copy is a pointer. The keys of the one are the leases'
//! names, made to sort like signed numbers. Those of the other are sixteen bytes each: the short
//! number of a lease, and the place of the newest record of a key that hangs on it, so that the
//! keys of one lease are one range. What the key is stands in the record. A copy of it here would
//! take as much memory as the key in the index, where nearly nobody asks; the price is that a put
//! to a key which stays on its lease moves the attachment.

use crate::index::{Map, Place, Plain};
use crate::key_value::LeaseId;

/// The longest time to live, in seconds.
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Time to live that was granted, in seconds.
    pub ttl: i64,
    /// Time that was left when it was last checkpointed, in seconds; 0 if it never was.
    pub remaining: i64,
}

impl Lease {
    /// A lease that was never checkpointed.
    #[must_use]
    pub fn new(ttl: i64) -> Self {
        Self { ttl, remaining: 0 }
    }

    /// `ttl:i64 remaining:i64`, little-endian.
    pub(crate) fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.ttl.to_le_bytes());
        row[8..].copy_from_slice(&self.remaining.to_le_bytes());
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (ttl, remaining) = row.split_first_chunk()?;
        let remaining = remaining.try_into().ok()?;
        Some(Self { ttl: i64::from_le_bytes(*ttl), remaining: i64::from_le_bytes(remaining) })
    }
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    lease: Lease,
    /// Number in `numbers`; what index entries hold in place of the 64-bit name.
    number: u32,
}

impl Plain for Granted {}

/// All leases of a state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    granted: Map<Vec<Granted>>,
    attached: Map<Vec<()>>,
}

/// Short numbers for leases, from 1: an index entry has four bytes to spare, not eight.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    names: Vec<LeaseId>,
    free: Vec<u32>,
}

impl Numbers {
    /// The lease of this number; `None` for number 0.
    pub(crate) fn name(&self, number: u32) -> Option<LeaseId> {
        number.checked_sub(1).map(|at| self.names[at as usize])
    }

    fn assign(&mut self, id: LeaseId) -> u32 {
        if let Some(number) = self.free.pop() {
            self.names[number as usize - 1] = id;
            return number;
        }
        self.names.push(id);
        u32::try_from(self.names.len()).expect("four thousand million leases do not fit in memory")
    }
}

fn sortable(id: LeaseId) -> [u8; 8] {
    (id.0 as u64 ^ 1 << 63).to_be_bytes()
}

fn unsortable(key: &[u8]) -> LeaseId {
    let bytes = key.try_into().expect("keys of leases have eight bytes");
    LeaseId((u64::from_be_bytes(bytes) ^ 1 << 63) as i64)
}

/// The key of an attachment. Numbers first: the keys of one lease are one range.
fn attachment(number: u32, place: Place) -> [u8; 16] {
    let mut attachment = [0; 16];
    attachment[..4].copy_from_slice(&number.to_be_bytes());
    attachment[4..].copy_from_slice(&place.sortable());
    attachment
}

impl Leases {
    pub(crate) fn get(&self, id: LeaseId) -> Option<Lease> {
        self.granted.get(&sortable(id)).map(|granted| granted.lease)
    }

    /// The short number of a lease; 0 for no lease and for one that does not exist.
    pub(crate) fn number(&self, id: LeaseId) -> u32 {
        self.granted.get(&sortable(id)).map_or(0, |granted| granted.number)
    }

    /// All leases, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, Lease)> {
        self.granted.range(b"", None).map(|(key, granted)| (unsortable(key), granted.lease))
    }

    pub(crate) fn count(&self) -> u64 {
        self.granted.weight().live
    }

    /// The places of the newest records of all keys that are attached to a lease, ascending.
    pub(crate) fn attached_to(&self, id: LeaseId) -> impl Iterator<Item = Place> {
        let number = self.number(id).to_be_bytes();
        let attached = self.attached.range(&number, None);
        attached.map_while(move |(attachment, _)| {
            let place = attachment.strip_prefix(&number)?;
            Some(Place::from_sortable(place.try_into().expect("attachments have sixteen bytes")))
        })
    }

    pub(crate) fn grant(&mut self, numbers: &mut Numbers, id: LeaseId, lease: Lease) {
        let number = numbers.assign(id);
        let is_new = self.granted.insert(&sortable(id), Granted { lease, number });
        assert!(is_new, "lease {id} granted twice");
    }

    pub(crate) fn set(&mut self, id: LeaseId, lease: Lease) {
        self.granted.modify(&sortable(id), |granted| {
            if let Some(mut granted) = granted {
                granted.lease = lease;
            }
            (None, ())
        });
    }

    /// Forgets a lease that no key hangs on any more.
    pub(crate) fn remove(&mut self, numbers: &mut Numbers, id: LeaseId) {
        let number = self.number(id);
        if self.granted.remove(&sortable(id)) {
            numbers.free.push(number);
        }
    }

    /// Attaches the key whose newest record is at `place` to the lease of this number.
    pub(crate) fn attach(&mut self, number: u32, place: Place) {
        self.attached.insert(&attachment(number, place), ());
    }

    /// Takes the attachment of the key whose newest record was at `place` away.
    pub(crate) fn detach(&mut self, number: u32, place: Place) {
        self.attached.remove(&attachment(number, place));
    }

    pub(crate) fn assert_sound(&self) {
        self.granted.assert_sound();
        self.attached.assert_sound();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: u64, sub: u32) -> Place {
        Place::new(main, sub.into(), false)
    }

    #[test]
    fn leases_sort_like_signed_numbers_and_keep_their_keys_apart() {
        let (mut leases, mut numbers) = (Leases::default(), Numbers::default());
        for id in [5, -3, i64::MAX, i64::MIN, 0x100] {
            leases.grant(&mut numbers, LeaseId(id), Lease::new(id));
            let number = leases.number(LeaseId(id));
            leases.attach(number, put(7, number));
            leases.attach(number, put(5, number));
        }
        let ids: Vec<i64> = leases.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [i64::MIN, -3, 5, 0x100, i64::MAX]);
        let attached = |leases: &Leases, id| leases.attached_to(LeaseId(id)).collect::<Vec<_>>();
        leases.detach(1, put(7, 1));
        assert_eq!(attached(&leases, 5), [put(5, 1)]);
        assert_eq!(attached(&leases, i64::MAX), [put(5, 3), put(7, 3)]);
        assert_eq!(attached(&leases, 12), [], "there is no such lease");
        let number = leases.number(LeaseId(-3));
        assert_eq!(numbers.name(number), Some(LeaseId(-3)));
        leases.remove(&mut numbers, LeaseId(-3));
        leases.grant(&mut numbers, LeaseId(9), Lease::new(1));
        assert_eq!(leases.number(LeaseId(9)), number, "numbers are used again");
        assert_eq!(numbers.name(0), None);
        leases.assert_sound();
    }

    #[test]
    fn rows_come_back() {
        let lease = Lease { ttl: -7, remaining: 9 };
        assert_eq!(Lease::decode(&lease.encode()), Some(lease));
        assert_eq!(Lease::decode(&[0; 15]), None);
        assert_eq!(Lease::decode(&[0; 17]), None);
    }
}
