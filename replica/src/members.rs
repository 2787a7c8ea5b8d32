//! The members of the cluster and its version, as the tree keeps them.
//!
//! | table | key (main, sub, kind) | value |
//! |---|---|---|
//! | [`MEMBERS`] | (member id, 0, 0) | protobuf `Member` |
//! | [`MEMBERS`] | (member id, 0, 1) | empty: the member was removed, its id is never used again |
//! | [`CLUSTER`] | (0, 0, 0) | the cluster version as text |
//! | [`CLUSTER`] | (0, 0, 1) | the generation, 8 bytes, little-endian; absent for 0 |

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use revd_api::etcdserverpb as pb;
use revd_btree::{Key, Table};
use revd_mvcc::{Fatal, Store};

/// The table of members.
pub const MEMBERS: Table = Table(8);
/// The table of standing alarms: (member id, alarm, 0), empty values.
pub const ALARMS: Table = Table(9);
/// The table of what belongs to the cluster as a whole.
pub const CLUSTER: Table = Table(10);

/// The kind of a record that says that its member was removed.
const REMOVED: u8 = 1;

const VERSION_KEY: Key = Key { main: 0, sub: 0, kind: 0 };
const GENERATION_KEY: Key = Key { main: 0, sub: 0, kind: 1 };

/// One member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id, for life.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started for the first time.
    pub client_urls: Vec<String>,
    /// Whether it only listens and does not vote.
    pub is_learner: bool,
}

/// All members, by id, with the cluster version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    by_id: BTreeMap<u64, Member>,
    /// Ids that are never used again. It grows by one entry for each member ever removed, which is
    /// what keeps a removed one from coming back.
    removed: BTreeSet<u64>,
    version: Option<String>,
    generation: u64,
}

impl Members {
    /// Reads the members that a store holds.
    ///
    /// # Errors
    /// Those of the store, also for a record that is no member.
    pub fn load(store: &Store) -> Result<Self, Fatal> {
        let mut members = Self::default();
        let mut unreadable = None;
        store.scan(MEMBERS, Key { main: 0, sub: 0, kind: 0 }, &mut |key, value| {
            match (key.kind, pb::Member::decode(value)) {
                (REMOVED, _) => drop(members.removed.insert(key.main)),
                (_, Ok(member)) => drop(members.by_id.insert(key.main, Member::from(member))),
                (_, Err(_)) => unreadable = Some(key.main),
            }
            true
        })?;
        if let Some(id) = unreadable {
            return Err(Fatal::damaged(format!("the record of member {id:x} is not readable")));
        }
        members.version = store
            .get(CLUSTER, VERSION_KEY)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Some(bytes) = store.get(CLUSTER, GENERATION_KEY)? {
            let bytes = bytes.as_slice().try_into();
            let bytes =
                bytes.map_err(|_| Fatal::damaged("the generation is not readable".into()))?;
            members.generation = u64::from_le_bytes(bytes);
        }
        Ok(members)
    }

    /// Adds a member, or changes one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn put(&mut self, store: &mut Store, member: Member) -> Result<(), Fatal> {
        let key = Key { main: member.id, sub: 0, kind: 0 };
        store.put_record(MEMBERS, key, &pb::Member::from(member.clone()).encode_to_vec())?;
        self.by_id.insert(member.id, member);
        Ok(())
    }

    /// Takes a member out for good.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove(&mut self, store: &mut Store, id: u64) -> Result<(), Fatal> {
        store.delete_record(MEMBERS, Key { main: id, sub: 0, kind: 0 })?;
        store.put_record(MEMBERS, Key { main: id, sub: 0, kind: REMOVED }, &[])?;
        self.by_id.remove(&id);
        self.removed.insert(id);
        Ok(())
    }

    /// Ids of all members that were removed, in order.
    pub fn removed(&self) -> impl Iterator<Item = u64> + '_ {
        self.removed.iter().copied()
    }

    /// Whether a member of this id was there and is not any more.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Whether the members other than `id` have one of these peer URLs.
    pub fn others_have(&self, id: u64, urls: &[String]) -> bool {
        let mut others = self.iter().filter(|member| member.id != id);
        others.any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    }

    /// Sets the cluster version.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_version(&mut self, store: &mut Store, version: String) -> Result<(), Fatal> {
        store.put_record(CLUSTER, VERSION_KEY, version.as_bytes())?;
        self.version = Some(version);
        Ok(())
    }

    /// One member goes on alone with what was left of the cluster: a new generation begins.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin_generation(&mut self, store: &mut Store) -> Result<(), Fatal> {
        let generation = self.generation + 1;
        store.put_record(CLUSTER, GENERATION_KEY, &generation.to_le_bytes())?;
        self.generation = generation;
        Ok(())
    }

    /// How many times one member has gone on alone with what was left of the cluster.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A member.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// All members in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.by_id.values()
    }

    /// The cluster version, once it has been decided.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl From<pb::Member> for Member {
    fn from(m: pb::Member) -> Self {
        Self {
            id: m.id,
            name: m.name,
            peer_urls: m.peer_urls,
            client_urls: m.client_urls,
            is_learner: m.is_learner,
        }
    }
}

impl From<Member> for pb::Member {
    fn from(m: Member) -> Self {
        Self {
            id: m.id,
            name: m.name,
            peer_urls: m.peer_urls,
            client_urls: m.client_urls,
            is_learner: m.is_learner,
        }
    }
}
