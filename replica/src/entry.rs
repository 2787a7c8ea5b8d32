//! The log entry: one command as bytes, encoded once at the door.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format, 1 |
//! | 1 | 1 | kind, see [`Kind`] |
//! | 2 | 8 | request id |
//! | 10 | 8 | auth revision at the door, 0 while authentication is off |
//! | 18 | 2 | length of the user's name |
//! | 20 | … | the user's name, UTF-8; empty while authentication is off |
//! | … | … | payload: the protobuf message of the kind |
//!
//! All numbers are little-endian. An unknown format or kind stops the member: going on without
//! the entry's effects would make it differ from its peers. A new kind is therefore proposed only
//! once every member is known to understand it.

use bytes::Bytes;
use prost::Message;
use revd_api::etcdserverpb as pb;

use crate::command::{AlarmAction, AlarmType, Command, Membership, RequestId};
use crate::convert;
use crate::members::Member;

const FORMAT: u8 = 1;
const FIXED: usize = 20;

/// What an entry does; the number is part of the format and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Command::Put`]; payload `PutRequest`.
    Put = 1,
    /// [`Command::DeleteRange`]; payload `DeleteRangeRequest`.
    DeleteRange = 2,
    /// [`Command::Txn`]; payload `TxnRequest`.
    Txn = 3,
    /// [`Command::Compact`]; payload `CompactionRequest`.
    Compact = 4,
    /// [`Command::LeaseGrant`]; payload `LeaseGrantRequest`.
    LeaseGrant = 5,
    /// [`Command::LeaseRevoke`]; payload `LeaseRevokeRequest`.
    LeaseRevoke = 6,
    /// [`Command::LeaseExpire`]; payload {1: id, 2: term}.
    LeaseExpire = 7,
    /// [`Command::Alarm`]; payload `AlarmRequest`.
    Alarm = 8,
    /// [`Command::Attributes`]; payload `Member`, of which id, name and client URLs count.
    Attributes = 9,
    /// [`Command::ClusterVersion`]; payload {1: version}.
    ClusterVersion = 10,
    /// [`Command::LeaseCheckpoint`]; payload {repeated 1: {1: id, 2: remaining}, 2: term}.
    LeaseCheckpoint = 11,
    /// [`Command::MemberUpdate`]; payload `Member`, of which id and peer URLs count.
    MemberUpdate = 12,
    /// [`Membership::Add`]; payload `Member`.
    MemberAdd = 13,
    /// [`Membership::Remove`]; payload `Member`, of which the id counts.
    MemberRemove = 14,
    /// [`Membership::Promote`]; payload `Member`, of which the id counts.
    MemberPromote = 15,
    /// [`Membership::Found`]; payload {repeated 1: `Member`}.
    Found = 16,
    /// [`Membership::Survive`]; payload `Member`, of which id and peer URLs count.
    Survive = 17,
}

/// Who asked for a command; checked again when it is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The user, empty while authentication is off.
    pub user: String,
    /// The revision of the auth store against which the door has checked the user.
    pub auth_revision: u64,
}

/// An entry as read from the log.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The request that waits for it on one of the members.
    pub request: RequestId,
    /// Who asked.
    pub author: Author,
    /// What to do.
    pub command: Command,
}

/// Why an entry could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The entry was written in a format that this version does not know.
    #[error("the entry has format {0}, and this version knows {FORMAT}; start a newer version")]
    Format(u8),
    /// The entry is of a kind that this version does not know.
    #[error("the entry is of kind {0}, which this version does not know; start a newer version")]
    Kind(u8),
    /// The entry ends before its own fields do.
    #[error("the entry is cut short at {0} bytes")]
    Short(usize),
    /// A change of members in an entry that is none for consensus, or the reverse.
    #[error("the entry is not of the kind that consensus takes it for")]
    Misplaced,
    /// The payload is not the message of its kind.
    #[error("the payload of an entry of kind {kind} is not readable: {what}")]
    Payload {
        /// The kind.
        kind: u8,
        /// What the decoder said.
        what: String,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExpirePayload {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckpointPayload {
    #[prost(message, repeated, tag = "1")]
    leases: Vec<RemainingPayload>,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RemainingPayload {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    remaining: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FoundPayload {
    #[prost(message, repeated, tag = "1")]
    members: Vec<pb::Member>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionPayload {
    #[prost(string, tag = "1")]
    version: String,
}

/// The bytes of a command.
pub fn encode(command: &Command, request: RequestId, author: &Author) -> Bytes {
    match command {
        Command::Put(put) => message(Kind::Put, request, author, &convert::put_to_api(put)),
        Command::DeleteRange(delete) => {
            message(Kind::DeleteRange, request, author, &convert::delete_range_to_api(delete))
        }
        Command::Txn(txn) => message(Kind::Txn, request, author, &convert::txn_to_api(txn)),
        &Command::Compact { revision, physical } => {
            let payload = pb::CompactionRequest { revision, physical };
            message(Kind::Compact, request, author, &payload)
        }
        &Command::LeaseGrant { id, ttl } => {
            let payload = pb::LeaseGrantRequest { id, ttl };
            message(Kind::LeaseGrant, request, author, &payload)
        }
        &Command::LeaseRevoke { id } => {
            message(Kind::LeaseRevoke, request, author, &pb::LeaseRevokeRequest { id })
        }
        &Command::LeaseExpire { id, term } => {
            message(Kind::LeaseExpire, request, author, &ExpirePayload { id, term })
        }
        Command::LeaseCheckpoint { remaining, term } => {
            let leases =
                remaining.iter().map(|&(id, remaining)| RemainingPayload { id, remaining });
            let payload = CheckpointPayload { leases: leases.collect(), term: *term };
            message(Kind::LeaseCheckpoint, request, author, &payload)
        }
        &Command::Alarm { action, member, alarm } => {
            let payload = pb::AlarmRequest {
                action: action as i32,
                member_id: member,
                alarm: i32::from(alarm.number()),
            };
            message(Kind::Alarm, request, author, &payload)
        }
        Command::Attributes { member, name, client_urls } => {
            let payload = pb::Member {
                id: *member,
                name: name.clone(),
                client_urls: client_urls.clone(),
                ..pb::Member::default()
            };
            message(Kind::Attributes, request, author, &payload)
        }
        Command::ClusterVersion(version) => {
            let payload = VersionPayload { version: version.clone() };
            message(Kind::ClusterVersion, request, author, &payload)
        }
        Command::MemberUpdate { member, peer_urls } => {
            let peer_urls = peer_urls.clone();
            let payload = pb::Member { id: *member, peer_urls, ..pb::Member::default() };
            message(Kind::MemberUpdate, request, author, &payload)
        }
        Command::Membership(change) => membership(change, request, author),
    }
}

fn membership(change: &Membership, request: RequestId, author: &Author) -> Bytes {
    let only = |id: u64| pb::Member { id, ..pb::Member::default() };
    let (kind, payload) = match change {
        Membership::Found(members) => {
            let members = members.iter().cloned().map(pb::Member::from).collect();
            return message(Kind::Found, request, author, &FoundPayload { members });
        }
        Membership::Add(member) => (Kind::MemberAdd, member.clone().into()),
        Membership::Remove(id) => (Kind::MemberRemove, only(*id)),
        Membership::Promote(id) => (Kind::MemberPromote, only(*id)),
        Membership::Survive(member) => (Kind::Survive, member.clone().into()),
    };
    message(kind, request, author, &payload)
}

fn message(kind: Kind, request: RequestId, author: &Author, payload: &impl Message) -> Bytes {
    let user = author.user.as_bytes();
    let user_length = u16::try_from(user.len()).expect("the door bounds the length of user names");
    let mut bytes = Vec::with_capacity(FIXED + user.len() + payload.encoded_len());
    bytes.push(FORMAT);
    bytes.push(kind as u8);
    bytes.extend_from_slice(&request.0.to_le_bytes());
    bytes.extend_from_slice(&author.auth_revision.to_le_bytes());
    bytes.extend_from_slice(&user_length.to_le_bytes());
    bytes.extend_from_slice(user);
    payload.encode(&mut bytes).expect("a vector grows as needed");
    Bytes::from(bytes)
}

/// The number of bytes that `encode` puts around a payload.
pub fn envelope_len(author: &Author) -> usize {
    FIXED + author.user.len()
}

/// Reads an entry.
///
/// # Errors
/// [`EntryError`] when this version cannot carry it out; the member must then stop.
pub fn decode(data: &Bytes) -> Result<Decoded, EntryError> {
    check_fixed(data)?;
    let user_length = usize::from(u16::from_le_bytes([data[18], data[19]]));
    let start = FIXED + user_length;
    if data.len() < start {
        return Err(EntryError::Short(data.len()));
    }
    let kind = data[1];
    let unreadable =
        |what: &dyn std::fmt::Display| EntryError::Payload { kind, what: what.to_string() };
    let user = std::str::from_utf8(&data[FIXED..start]).map_err(|e| unreadable(&e))?.to_owned();
    let author = Author { user, auth_revision: number(data, 10) };
    let command = decode_payload(kind, data.slice(start..))?;
    Ok(Decoded { request: RequestId(number(data, 2)), author, command })
}

fn decode_payload(kind: u8, payload: Bytes) -> Result<Command, EntryError> {
    fn read<M: Message + Default>(kind: u8, payload: Bytes) -> Result<M, EntryError> {
        M::decode(payload).map_err(|e| EntryError::Payload { kind, what: e.to_string() })
    }
    Ok(match kind {
        k if k == Kind::Put as u8 => Command::Put(convert::put(read(kind, payload)?)),
        k if k == Kind::DeleteRange as u8 => {
            Command::DeleteRange(convert::delete_range(read(kind, payload)?))
        }
        k if k == Kind::Txn as u8 => Command::Txn(convert::txn(read(kind, payload)?)),
        k if k == Kind::Compact as u8 => {
            let m: pb::CompactionRequest = read(kind, payload)?;
            Command::Compact { revision: m.revision, physical: m.physical }
        }
        k if k == Kind::LeaseGrant as u8 => {
            let m: pb::LeaseGrantRequest = read(kind, payload)?;
            Command::LeaseGrant { id: m.id, ttl: m.ttl }
        }
        k if k == Kind::LeaseRevoke as u8 => {
            let m: pb::LeaseRevokeRequest = read(kind, payload)?;
            Command::LeaseRevoke { id: m.id }
        }
        k if k == Kind::LeaseExpire as u8 => {
            let m: ExpirePayload = read(kind, payload)?;
            Command::LeaseExpire { id: m.id, term: m.term }
        }
        k if k == Kind::LeaseCheckpoint as u8 => {
            let m: CheckpointPayload = read(kind, payload)?;
            let remaining = m.leases.iter().map(|lease| (lease.id, lease.remaining)).collect();
            Command::LeaseCheckpoint { remaining, term: m.term }
        }
        k if k == Kind::Alarm as u8 => alarm(read(kind, payload)?)?,
        k if k == Kind::Attributes as u8 => {
            let m: pb::Member = read(kind, payload)?;
            Command::Attributes { member: m.id, name: m.name, client_urls: m.client_urls }
        }
        k if k == Kind::ClusterVersion as u8 => {
            Command::ClusterVersion(read::<VersionPayload>(kind, payload)?.version)
        }
        k if k == Kind::MemberUpdate as u8 => {
            let m: pb::Member = read(kind, payload)?;
            Command::MemberUpdate { member: m.id, peer_urls: m.peer_urls }
        }
        k if k == Kind::MemberAdd as u8 => {
            Command::Membership(Membership::Add(read::<pb::Member>(kind, payload)?.into()))
        }
        k if k == Kind::MemberRemove as u8 => {
            Command::Membership(Membership::Remove(read::<pb::Member>(kind, payload)?.id))
        }
        k if k == Kind::MemberPromote as u8 => {
            Command::Membership(Membership::Promote(read::<pb::Member>(kind, payload)?.id))
        }
        k if k == Kind::Found as u8 => {
            let m: FoundPayload = read(kind, payload)?;
            let members = m.members.into_iter().map(Member::from).collect();
            Command::Membership(Membership::Found(members))
        }
        k if k == Kind::Survive as u8 => {
            Command::Membership(Membership::Survive(read::<pb::Member>(kind, payload)?.into()))
        }
        other => return Err(EntryError::Kind(other)),
    })
}

fn alarm(message: pb::AlarmRequest) -> Result<Command, EntryError> {
    let kind = Kind::Alarm as u8;
    let action = match message.action {
        0 => AlarmAction::Get,
        1 => AlarmAction::Activate,
        2 => AlarmAction::Deactivate,
        n => return Err(EntryError::Payload { kind, what: format!("alarm action {n}") }),
    };
    let alarm = AlarmType::from_number(message.alarm)
        .ok_or_else(|| EntryError::Payload { kind, what: format!("alarm {}", message.alarm) })?;
    Ok(Command::Alarm { action, member: message.member_id, alarm })
}

fn check_fixed(data: &[u8]) -> Result<(), EntryError> {
    match data.first() {
        Some(&FORMAT) if data.len() >= FIXED => Ok(()),
        Some(&FORMAT) | None => Err(EntryError::Short(data.len())),
        Some(&other) => Err(EntryError::Format(other)),
    }
}

fn number(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes"))
}
