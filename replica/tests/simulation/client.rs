//! Clients: each makes one call after the other, waits for its answer for a while, and goes to
//! another member when it was disappointed. What they write is unique.

use std::collections::BTreeMap;

use bytes::Bytes;
use revd_mvcc::{Compare, DeleteRange, Op, Operand, Put, Range, ReadError, Txn};
use revd_replica::{Alarm, AlarmAction, Applied, Command, Fatal, Membership, Rejected, RequestId};
use revd_sim::{Chance, Checked, Time, Violation};

use crate::driver::{Answer, CallId, Proposal};
use crate::event::{Event, MS, SECOND};
use crate::member;
use crate::oracle::Floor;
use crate::world::{World, by, note};

/// Leases that clients remember.
const LEASES_KNOWN: usize = 12;

pub(crate) struct Clients {
    pub(crate) calls: BTreeMap<CallId, Call>,
    /// The member that each client talks to.
    at: Vec<usize>,
    next_call: CallId,
    /// Values and leases so far.
    values: u64,
    next_lease: i64,
    /// Leases that were granted, and may still be there.
    leases: Vec<i64>,
    /// Nobody calls any more.
    pub(crate) quiet: bool,
    /// How many calls each member has answered.
    pub(crate) served: BTreeMap<usize, u64>,
    /// When each write was acknowledged, and how long it took.
    pub(crate) writes: Vec<(Time, Time)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    client: usize,
    pub(crate) member: usize,
    begun: Time,
    floor: Floor,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Write {
        request: RequestId,
        command: Command,
    },
    Read {
        range: Range,
        linearizable: bool,
    },
    /// `is_sure` once the member has confirmed by a read index that it knows every lease.
    Renew {
        lease: i64,
        is_sure: bool,
    },
}

impl Clients {
    pub(crate) fn new(count: usize) -> Clients {
        Clients {
            calls: BTreeMap::new(),
            at: (0..count).collect(),
            next_call: 0,
            values: 0,
            next_lease: 0,
            leases: Vec::new(),
            quiet: false,
            served: BTreeMap::new(),
            writes: Vec::new(),
        }
    }

    /// A value that nobody has written before; most are small, some take pages of their own.
    fn value(&mut self, chance: &mut Chance) -> Bytes {
        self.values += 1;
        let length = match chance.below(40) {
            0 => 5_000 + chance.below(20_000),
            1..4 => chance.below(1_500),
            _ => 0,
        };
        let mut value = format!("value {}", self.values).into_bytes();
        value.resize(value.len() + length as usize, b'.');
        value.into()
    }

    fn known_lease(&self, chance: &mut Chance) -> Option<i64> {
        (!self.leases.is_empty()).then(|| self.leases[chance.place(self.leases.len())])
    }
}

impl World {
    /// The operator, who is one more client, asks any member for a change. False if none is there.
    pub(crate) fn call_of_operator(&mut self, command: Command) -> bool {
        let place = self.chance.place(self.members.len());
        if !self.members[place].is_up() {
            return false;
        }
        let what = self.write(command);
        self.call(self.plan.clients, place, what);
        true
    }

    fn call(&mut self, client: usize, place: usize, what: What) {
        let floor = self.oracle.floor();
        let call = Call { client, member: place, begun: self.time, floor, what };
        let id = self.clients.next_call;
        self.clients.next_call += 1;
        self.clients.calls.insert(id, call);
        let time = self.time + 1 + self.chance.below(MS);
        self.queue.push(time, Event::Call(self.members[place].life, id, false));
        self.queue.push(self.time + self.plan.patience, Event::GiveUp(id));
    }

    /// A client calls again after a while.
    pub(crate) fn client_later(&mut self, client: usize) {
        if client == self.plan.clients {
            self.operator.is_busy = false;
            return;
        }
        let time = self.time + 1 + self.chance.below(self.plan.think);
        self.queue.push(time, Event::Client(client));
    }

    /// A client makes its next call.
    pub(crate) fn client(&mut self, client: usize) -> Checked {
        if self.clients.quiet {
            return Ok(());
        }
        let count = self.members.len();
        if self.clients.at[client] >= count || self.healing || self.chance.permille(50) {
            self.clients.at[client] = self.chance.place(count);
        }
        let place = self.clients.at[client];
        if !self.members[place].is_up() {
            self.clients.at[client] = self.chance.place(count);
            self.client_later(client);
            return Ok(());
        }
        let what = self.next_call(place);
        self.call(client, place, what);
        Ok(())
    }

    fn next_call(&mut self, place: usize) -> What {
        if let Some(command) = self.clear_alarm() {
            return self.write(command);
        }
        if self.chance.permille(self.plan.compactions) {
            let back = self.chance.below(60) as i64;
            let revision = (self.members[place].driver().machine.view().revision().0 - back).max(1);
            return self.write(Command::Compact { revision, physical: false });
        }
        match self.chance.below(100) {
            0..36 => self.put(),
            36..41 => self.delete(),
            41..53 => self.swap(),
            53..57 => self.grant(),
            57..62 => match self.clients.known_lease(&mut self.chance) {
                Some(lease) => What::Renew { lease, is_sure: false },
                None => self.grant(),
            },
            62..63 => match self.clients.known_lease(&mut self.chance) {
                Some(id) => self.write(Command::LeaseRevoke { id }),
                None => self.grant(),
            },
            63..85 => What::Read { range: self.range(), linearizable: true },
            85..93 => What::Read { range: self.range(), linearizable: false },
            _ => {
                let told = self.oracle.model.revision;
                let revision = (told + 2 - self.chance.below(100) as i64).max(1);
                let range = Range { revision, ..self.range() };
                What::Read { range, linearizable: self.chance.permille(500) }
            }
        }
    }

    fn write(&mut self, command: Command) -> What {
        What::Write { request: self.oracle.issue(), command }
    }

    /// An operator clears the alarms once every disk has room.
    fn clear_alarm(&mut self) -> Option<Command> {
        let full = self.members.iter().any(|member| member.is_faulty);
        let standing = self.oracle.model.alarms.first().copied();
        let Alarm { member, alarm } = standing.filter(|_| !full && self.chance.permille(300))?;
        Some(Command::Alarm { action: AlarmAction::Deactivate, member, alarm })
    }

    fn key(&mut self) -> Bytes {
        format!("key {:02}", self.chance.below(self.plan.keys)).into()
    }

    /// One key, some keys, or all of them.
    fn range(&mut self) -> Range {
        let (key, range_end) = match self.chance.below(10) {
            0..7 => (self.key(), Bytes::new()),
            7..9 => (self.key(), self.key()),
            _ => ("\0".into(), "\0".into()),
        };
        Range { key, range_end, ..Range::default() }
    }

    fn put(&mut self) -> What {
        let lease = match self.chance.below(5) {
            0 => self.clients.known_lease(&mut self.chance).unwrap_or(0),
            _ => 0,
        };
        let (key, value) = (self.key(), self.clients.value(&mut self.chance));
        let prev_kv = self.chance.permille(200);
        self.write(Command::Put(Put { key, value, lease, prev_kv, ..Put::default() }))
    }

    fn delete(&mut self) -> What {
        let key = self.key();
        let range_end = if self.chance.permille(200) { self.key() } else { Bytes::new() };
        let prev_kv = self.chance.permille(300);
        self.write(Command::DeleteRange(DeleteRange { key, range_end, prev_kv }))
    }

    /// Writes a key, and often another one with it, if the key is as the client has seen it.
    fn swap(&mut self) -> What {
        let key = self.key();
        let now = self.oracle.model.range(&key, b"", self.oracle.model.revision).pop();
        let (version, modified, value) =
            now.map_or((0, 0, Bytes::new()), |kv| (kv.version, kv.mod_revision, kv.value));
        let (target, operand) = match self.chance.below(4) {
            0 => (0, Operand::Version(version)),
            1 => (3, Operand::Value(value)),
            2 => (2, Operand::Mod(modified)),
            _ => (2, Operand::Mod(modified - 1)),
        };
        let compare =
            Compare { result: 0, target, key: key.clone(), operand, ..Compare::default() };
        let put = |key, value| Op::Put(Put { key, value, prev_kv: true, ..Put::default() });
        let mut success = vec![put(key.clone(), self.clients.value(&mut self.chance))];
        let other = self.key();
        if other != key {
            success.push(put(other, self.clients.value(&mut self.chance)));
        }
        let failure = vec![Op::Range(Range { key, ..Range::default() })];
        self.write(Command::Txn(Txn { compare: vec![compare], success, failure }))
    }

    fn grant(&mut self) -> What {
        self.clients.next_lease += 1;
        let least = self.plan.pace.lessor.election_timeout.div_ceil(SECOND);
        let ttl = least.max(self.chance.pick(&[1, 2, 4, 9])) as i64;
        let id = self.clients.next_lease;
        self.write(Command::LeaseGrant { id, ttl })
    }

    /// A call reaches a member.
    pub(crate) fn call_arrives(
        &mut self,
        place: usize,
        id: CallId,
        handed_on: bool,
    ) -> Result<(), Fatal> {
        let Some(call) = self.clients.calls.get(&id) else { return Ok(()) };
        let what = call.what.clone();
        let now = self.members[place].clock(self.time);
        let driver = self.members[place].driver_mut();
        match what {
            What::Write { request, command } => {
                driver.propose(Proposal { call: id, request, command })?;
            }
            What::Read { linearizable: true, .. } => driver.barrier(id),
            What::Read { linearizable: false, .. } => driver.answer(id, Answer::MayRead),
            // Its own clock, if it leads.
            What::Renew { lease, .. } if handed_on || driver.leases.lessor().is_leading() => {
                driver.keep_alive(lease, id, now);
            }
            What::Renew { .. } => {
                let leader = driver.role.leader.map(member::place);
                self.hand_on(place, leader, id);
            }
        }
        self.turn_later(place);
        Ok(())
    }

    /// Asks the leader, which alone counts the time of leases.
    fn hand_on(&mut self, place: usize, leader: Option<usize>, id: CallId) {
        let arrival = leader.and_then(|leader| {
            let way = (place, leader);
            let [first, _] = self.network.arrivals(&mut self.chance, self.time, way);
            Some((leader, first?))
        });
        match arrival.filter(|(leader, _)| self.members[*leader].is_up()) {
            Some((leader, time)) => {
                self.queue.push(time, Event::Call(self.members[leader].life, id, true));
            }
            None => self.members[place].driver_mut().answer(id, Answer::Refused),
        }
    }

    /// A client hears no answer, and does not want it any more.
    pub(crate) fn give_up(&mut self, id: CallId) {
        let Some(call) = self.clients.calls.remove(&id) else { return };
        self.totals.given_up += 1;
        if let Some(driver) = &mut self.members[call.member].driver {
            driver.forget(id);
        }
        self.disappointed(call.client);
    }

    fn disappointed(&mut self, client: usize) {
        if let Some(at) = self.clients.at.get_mut(client) {
            *at = self.chance.place(self.members.len());
        }
        self.client_later(client);
    }

    /// A client gets its answer.
    pub(crate) fn answered(&mut self, place: usize, id: CallId, answer: Answer) -> Checked {
        let Some(call) = self.clients.calls.remove(&id) else { return Ok(()) };
        note!(self, "{}: answers {:?} with {answer:?}", place + 1, call.what);
        match (&call.what, answer) {
            (_, Answer::Refused) => {
                self.totals.refused += 1;
                self.disappointed(call.client);
                return Ok(());
            }
            (What::Write { request, command }, Answer::Applied(result)) => {
                self.oracle.answered(*request, &result, call.floor).map_err(by(place))?;
                self.written(&call, command, &result);
            }
            (What::Read { range, linearizable }, Answer::MayRead) => {
                self.reads(place, &call, range, *linearizable).map_err(by(place))?;
            }
            // A member that was deposed, or that lags, knows fewer leases than there are.
            (What::Renew { lease, is_sure: false }, Answer::Renewed(None)) => {
                let what = What::Renew { lease: *lease, is_sure: true };
                self.clients.calls.insert(id, Call { what, ..call });
                self.members[place].driver_mut().barrier(id);
                self.turn_later(place);
                return Ok(());
            }
            (What::Renew { lease, is_sure: true }, Answer::MayRead) => {
                let (lease, now) = (*lease, self.members[place].clock(self.time));
                self.clients.calls.insert(id, call);
                self.members[place].driver_mut().keep_alive(lease, id, now);
                self.turn_later(place);
                return Ok(());
            }
            (What::Renew { lease, .. }, Answer::Renewed(Some(ttl))) => {
                self.totals.renewals += 1;
                self.oracle.promised(*lease, ttl, call.begun);
            }
            (What::Renew { lease, is_sure: true }, Answer::Renewed(None)) => {
                self.clients.leases.retain(|known| known != lease);
                self.oracle.unknown_lease(*lease, call.floor).map_err(by(place))?;
            }
            (what, answer) => {
                return Err(Violation(format!("{what:?} is answered with {answer:?}")));
            }
        }
        self.totals.acknowledged += 1;
        let serializable = matches!(call.what, What::Read { linearizable: false, .. });
        *self.clients.served.entry(place).or_default() += u64::from(!serializable);
        self.client_later(call.client);
        Ok(())
    }

    fn written(&mut self, call: &Call, command: &Command, result: &Result<Applied, Rejected>) {
        let Ok(applied) = result else {
            self.totals.rejected += 1;
            return;
        };
        self.totals.writes += 1;
        self.clients.writes.push((self.time, self.time - call.begun));
        match (command, &applied.answer) {
            (Command::LeaseGrant { id, ttl }, _) => {
                self.totals.grants += 1;
                self.oracle.promised(*id, *ttl, call.begun);
                if self.clients.leases.len() == LEASES_KNOWN {
                    self.clients.leases.remove(0);
                }
                self.clients.leases.push(*id);
            }
            (Command::LeaseRevoke { id }, _) => {
                self.totals.revoked += 1;
                self.clients.leases.retain(|known| known != id);
            }
            (Command::Compact { revision, .. }, _) => {
                self.totals.compactions += 1;
                self.oracle.compacted(*revision);
            }
            (Command::Alarm { .. }, _) => self.totals.alarms += 1,
            (Command::Membership(Membership::Promote(_)), _) => self.totals.promoted += 1,
            (Command::Membership(Membership::Remove(_)), _) => self.totals.removed += 1,
            (Command::Txn(_), revd_replica::Answer::Txn(done)) if done.succeeded => {
                self.totals.swaps += 1;
            }
            (Command::Txn(_), _) => self.totals.swaps_failed += 1,
            _ => {}
        }
    }

    fn reads(&mut self, place: usize, call: &Call, range: &Range, linearizable: bool) -> Checked {
        let result = self.members[place].driver().machine.view().range(range);
        if linearizable {
            self.totals.reads += 1;
            self.totals.reads_by_followers += u64::from(!self.members[place].leads());
        } else {
            self.totals.serializable += 1;
        }
        self.totals.old_reads += u64::from(range.revision > 0);
        let compacted = ReadError::Rejected(revd_mvcc::Rejected::Compacted);
        self.totals.compacted_reads +=
            u64::from(matches!(&result, Err(error) if error.to_string() == compacted.to_string()));
        self.oracle.read(range, &result, linearizable.then_some(call.floor))
    }
}
