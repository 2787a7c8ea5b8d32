//! What members say to each other, as bytes.
//!
//! One message fills one frame; where a frame ends is the transport's business. All numbers are
//! little-endian.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | what it says, see below |
//! | 1 | 8 | sender |
//! | 9 | 8 | receiver |
//! | 17 | 8 | the sender's term |
//! | 25 | … | the fields of what it says, in this order |
//!
//! | number | says | fields |
//! |---|---|---|
//! | 1 | pre-vote | campaign: 8, last: position, committed: position |
//! | 2 | pre-vote answer | campaign: 8, granted: flag, committed: position |
//! | 3 | vote | last: position, committed: position, transfer: flag |
//! | 4 | vote answer | granted: flag, committed: position |
//! | 5 | append | previous: position, commit: 8, count: 4, each entry: term: 8, kind: 1, bytes |
//! | 6 | appended | matched: 8, counts: flag |
//! | 7 | append refused | previous: 8, hint: position |
//! | 8 | heartbeat | commit: 8, round: 8 |
//! | 9 | heartbeat answer | round: 8 |
//! | 10 | read | count: 4, each id: 8 |
//! | 11 | read answer | count: 4, each id: 8, index: 8 |
//! | 12 | propose | count: 4, each proposal: 0, bytes; or 1, change, bytes |
//! | 13 | time out now | |
//! | 14 | snapshot | position, bytes (the configuration) |
//!
//! A position is index: 8, term: 8; a flag is one byte, 0 or 1; bytes are a length: 4 and so many
//! bytes. An entry's index is one more than that of the entry before it, so that it need not be
//! said. A change is 0 (keep), 1 and a step, 2 with flag (leaves by itself), count: 4 and steps, or
//! 3 (leave); a step is 0 (voter), 1 (learner) or 2 (remove) and id: 8.
//!
//! A frame that is not exactly one message of this form is refused, and nothing is allocated for a
//! count before the bytes are there that it would need.

use bytes::Bytes;
use revd_raft::{
    Body, Change, ChangeStep, Configuration, Entry, EntryKind, Index, Message, NodeId, Position,
    Proposal, ReadId, ReadReady, Term,
};

use crate::log_store::{kind_from, kind_number};

/// Why a frame is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends inside of a field.
    #[error("the message ends early, in {0}")]
    Short(&'static str),
    /// A field has a value that nothing writes.
    #[error("the message has no valid {0}")]
    Invalid(&'static str),
    /// Something follows the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Adds the bytes of a message.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    out.push(number(&message.body));
    put(out, message.from.0);
    put(out, message.to.0);
    put(out, message.term.0);
    match &message.body {
        Body::PreVote { campaign, last, committed } => {
            put(out, campaign.0);
            put_position(out, *last);
            put_position(out, *committed);
        }
        Body::PreVoteAnswer { campaign, granted, committed } => {
            put(out, campaign.0);
            out.push(u8::from(*granted));
            put_position(out, *committed);
        }
        Body::Vote { last, committed, transfer } => {
            put_position(out, *last);
            put_position(out, *committed);
            out.push(u8::from(*transfer));
        }
        Body::VoteAnswer { granted, committed } => {
            out.push(u8::from(*granted));
            put_position(out, *committed);
        }
        Body::Append { previous, entries, commit } => put_append(out, *previous, entries, *commit),
        Body::Appended { matched, counts } => {
            put(out, matched.0);
            out.push(u8::from(*counts));
        }
        Body::AppendRefused { previous, hint } => {
            put(out, previous.0);
            put_position(out, *hint);
        }
        Body::Heartbeat { commit, round } => {
            put(out, commit.0);
            put(out, *round);
        }
        Body::HeartbeatAnswer { round } => put(out, *round),
        Body::Read { ids } => {
            put_count(out, ids.len());
            ids.iter().for_each(|id| put(out, id.0));
        }
        Body::ReadAnswer { reads } => {
            put_count(out, reads.len());
            for read in reads {
                put(out, read.id.0);
                put(out, read.index.0);
            }
        }
        Body::Propose { proposals } => {
            put_count(out, proposals.len());
            proposals.iter().for_each(|proposal| put_proposal(out, proposal));
        }
        Body::TimeoutNow => {}
        Body::Snapshot { position, configuration } => {
            put_position(out, *position);
            put_bytes(out, &configuration.encode());
        }
    }
}

/// Reads a message. Payloads share the frame's memory.
///
/// # Errors
/// [`WireError`] when the frame is anything but one message.
pub fn decode(frame: Bytes) -> Result<Message, WireError> {
    let mut reader = Reader { bytes: frame };
    let kind = reader.byte("kind")?;
    let from = NodeId(reader.number("sender")?);
    let to = NodeId(reader.number("receiver")?);
    let term = Term(reader.number("term")?);
    let body = body(kind, &mut reader)?;
    match reader.bytes.len() {
        0 => Ok(Message { from, to, term, body }),
        more => Err(WireError::Trailing(more)),
    }
}

fn body(kind: u8, reader: &mut Reader) -> Result<Body, WireError> {
    Ok(match kind {
        1 => Body::PreVote {
            campaign: Term(reader.number("campaign")?),
            last: reader.position("last")?,
            committed: reader.position("committed")?,
        },
        2 => Body::PreVoteAnswer {
            campaign: Term(reader.number("campaign")?),
            granted: reader.flag("granted")?,
            committed: reader.position("committed")?,
        },
        3 => Body::Vote {
            last: reader.position("last")?,
            committed: reader.position("committed")?,
            transfer: reader.flag("transfer")?,
        },
        4 => Body::VoteAnswer {
            granted: reader.flag("granted")?,
            committed: reader.position("committed")?,
        },
        5 => append(reader)?,
        6 => Body::Appended {
            matched: Index(reader.number("matched")?),
            counts: reader.flag("counts")?,
        },
        7 => Body::AppendRefused {
            previous: Index(reader.number("previous")?),
            hint: reader.position("hint")?,
        },
        8 => Body::Heartbeat {
            commit: Index(reader.number("commit")?),
            round: reader.number("round")?,
        },
        9 => Body::HeartbeatAnswer { round: reader.number("round")? },
        10 => Body::Read {
            ids: reader.list("reads", 8, |reader| Ok(ReadId(reader.number("read")?)))?,
        },
        11 => Body::ReadAnswer {
            reads: reader.list("reads", 16, |reader| {
                let id = ReadId(reader.number("read")?);
                Ok(ReadReady { id, index: Index(reader.number("read index")?) })
            })?,
        },
        12 => Body::Propose { proposals: reader.list("proposals", 5, proposal)? },
        13 => Body::TimeoutNow,
        14 => Body::Snapshot {
            position: reader.position("position")?,
            configuration: Configuration::decode(&reader.bytes("configuration")?)
                .map_err(|_| WireError::Invalid("configuration"))?,
        },
        _ => return Err(WireError::Invalid("kind")),
    })
}

/// The number of what a message says.
fn number(body: &Body) -> u8 {
    match body {
        Body::PreVote { .. } => 1,
        Body::PreVoteAnswer { .. } => 2,
        Body::Vote { .. } => 3,
        Body::VoteAnswer { .. } => 4,
        Body::Append { .. } => 5,
        Body::Appended { .. } => 6,
        Body::AppendRefused { .. } => 7,
        Body::Heartbeat { .. } => 8,
        Body::HeartbeatAnswer { .. } => 9,
        Body::Read { .. } => 10,
        Body::ReadAnswer { .. } => 11,
        Body::Propose { .. } => 12,
        Body::TimeoutNow => 13,
        Body::Snapshot { .. } => 14,
    }
}

fn put_append(out: &mut Vec<u8>, previous: Position, entries: &[Entry], commit: Index) {
    put_position(out, previous);
    put(out, commit.0);
    put_count(out, entries.len());
    let mut expected = previous.index;
    for entry in entries {
        expected = expected.next();
        assert_eq!(entry.index, expected, "entries of an append follow each other");
        put(out, entry.term.0);
        out.push(kind_number(entry.kind));
        put_bytes(out, &entry.data);
    }
}

fn append(reader: &mut Reader) -> Result<Body, WireError> {
    let previous = reader.position("previous")?;
    let commit = Index(reader.number("commit")?);
    let mut index = previous.index.0;
    let entries = reader.list("entries", 13, |reader| {
        index = index.checked_add(1).ok_or(WireError::Invalid("index"))?;
        let term = Term(reader.number("term of an entry")?);
        let kind = entry_kind(reader.byte("kind of an entry")?)?;
        Ok(Entry { term, index: Index(index), kind, data: reader.bytes("entry")? })
    })?;
    Ok(Body::Append { previous, entries, commit })
}

fn entry_kind(number: u8) -> Result<EntryKind, WireError> {
    kind_from(number).ok_or(WireError::Invalid("kind of an entry"))
}

fn put_proposal(out: &mut Vec<u8>, proposal: &Proposal) {
    match proposal {
        Proposal::Normal(data) => {
            out.push(0);
            put_bytes(out, data);
        }
        Proposal::Configuration { change, data } => {
            out.push(1);
            put_change(out, change);
            put_bytes(out, data);
        }
    }
}

fn proposal(reader: &mut Reader) -> Result<Proposal, WireError> {
    match reader.byte("proposal")? {
        0 => Ok(Proposal::Normal(reader.bytes("proposal")?)),
        1 => {
            Ok(Proposal::Configuration { change: change(reader)?, data: reader.bytes("proposal")? })
        }
        _ => Err(WireError::Invalid("proposal")),
    }
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Keep => out.push(0),
        Change::Simple(step) => {
            out.push(1);
            put_step(out, *step);
        }
        Change::Joint { steps, leaves_by_itself } => {
            out.push(2);
            out.push(u8::from(*leaves_by_itself));
            put_count(out, steps.len());
            steps.iter().for_each(|step| put_step(out, *step));
        }
        Change::Leave => out.push(3),
    }
}

fn change(reader: &mut Reader) -> Result<Change, WireError> {
    Ok(match reader.byte("change")? {
        0 => Change::Keep,
        1 => Change::Simple(step(reader)?),
        2 => {
            let leaves_by_itself = reader.flag("leaves by itself")?;
            Change::Joint { leaves_by_itself, steps: reader.list("steps", 9, step)? }
        }
        3 => Change::Leave,
        _ => return Err(WireError::Invalid("change")),
    })
}

fn put_step(out: &mut Vec<u8>, step: ChangeStep) {
    out.push(match step {
        ChangeStep::AddVoter(_) => 0,
        ChangeStep::AddLearner(_) => 1,
        ChangeStep::Remove(_) => 2,
    });
    put(out, step.node().0);
}

fn step(reader: &mut Reader) -> Result<ChangeStep, WireError> {
    let kind = reader.byte("step")?;
    let node = NodeId(reader.number("step")?);
    match kind {
        0 => Ok(ChangeStep::AddVoter(node)),
        1 => Ok(ChangeStep::AddLearner(node)),
        2 => Ok(ChangeStep::Remove(node)),
        _ => Err(WireError::Invalid("step")),
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put(out, position.index.0);
    put(out, position.term.0);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("consensus bounds what one message holds");
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// What is left of a frame.
struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, WireError> {
        if self.bytes.len() < length {
            return Err(WireError::Short(what));
        }
        Ok(self.bytes.split_to(length))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let taken = self.take(N, what)?;
        Ok(taken[..].try_into().expect("as many as were asked for"))
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid(what)),
        }
    }

    fn number(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn count(&mut self, what: &'static str) -> Result<usize, WireError> {
        self.array(what).map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn position(&mut self, what: &'static str) -> Result<Position, WireError> {
        let index = Index(self.number(what)?);
        Ok(Position::new(index, Term(self.number(what)?)))
    }

    fn bytes(&mut self, what: &'static str) -> Result<Bytes, WireError> {
        let length = self.count(what)?;
        self.take(length, what)
    }

    /// A list whose items take at least `least` bytes each.
    fn list<T>(
        &mut self,
        what: &'static str,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.count(what)?;
        if self.bytes.len() / least < count {
            return Err(WireError::Short(what));
        }
        (0..count).map(|_| item(self)).collect()
    }
}
