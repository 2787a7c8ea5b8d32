//! Which leases have run out: time and leadership in, expiries out.
//!
//! Only the leader counts time, on its own monotonic clock, and renewals change nothing but its
//! clock's deadlines: no entry is written for them. What a lease *is* (its id, its granted
//! seconds, its keys) is replicated and belongs to the key space; this keeps deadlines alone.
//! A new leader does not know how long its predecessor had been waiting, so every lease gets its
//! full time again, and one election timeout on top: a lease may live longer than granted, never
//! shorter.
//!
//! A leader that has not been scheduled for a while may have been deposed meanwhile. After such a
//! gap nothing expires and nothing is renewed until it has confirmed its leadership.

use std::collections::{BTreeMap, BTreeSet};

/// Nanoseconds on the monotonic clock of whoever drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

const SECOND: u64 = 1_000_000_000;

/// Expiries that may be on their way through the log at one time; bounds the burst that a
/// thousand leases of one moment would make.
const IN_FLIGHT: usize = 16;

/// How the Lessor waits.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The election timeout, which a new leader adds to each lease.
    pub election_timeout: u64,
    /// A silence longer than this needs a confirmation of leadership (three heartbeats).
    pub longest_gap: u64,
    /// After this long, an expiry that was proposed and not applied is proposed again.
    pub retry: u64,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    ttl: i64,
    at: Now,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The countdown starts again from this many seconds.
    Renewed(i64),
    /// There is no such lease.
    Unknown,
    /// It has run out, and its removal is on the way: ask again when that is applied.
    Expired,
    /// This member is not the leader, or must confirm that it is.
    Unconfirmed,
}

/// What is due now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Propose the expiry of these leases, in this term.
    Expire {
        /// The leases, oldest deadline first.
        leases: Vec<i64>,
        /// The term in which this member leads.
        term: u64,
    },
    /// Confirm leadership by a read index, then call [`Lessor::confirm`].
    Confirm,
    /// Nothing.
    Nothing,
}

/// The deadlines of all leases on the leader.
#[derive(Debug)]
pub struct Lessor {
    options: Options,
    /// The term in which this member leads.
    leading: Option<u64>,
    confirmed: bool,
    last_seen: Now,
    leases: BTreeMap<i64, Deadline>,
    /// The same leases by deadline; empty while following.
    deadlines: BTreeSet<(Now, i64)>,
    /// Expiries proposed and not applied yet, with the time to propose them again.
    expiring: BTreeMap<i64, Now>,
}

impl Lessor {
    /// A follower's Lessor that knows these leases and their granted seconds.
    pub fn new(options: Options, leases: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let leases =
            leases.into_iter().map(|(id, ttl)| (id, Deadline { ttl, at: Now(0) })).collect();
        Self {
            options,
            leading: None,
            confirmed: false,
            last_seen: Now(0),
            leases,
            deadlines: BTreeSet::new(),
            expiring: BTreeMap::new(),
        }
    }

    /// This member leads, and has applied the first entry of its term: all countdowns start anew.
    pub fn lead(&mut self, term: u64, now: Now) {
        self.follow();
        self.leading = Some(term);
        self.confirmed = true;
        self.last_seen = now;
        for (&id, lease) in &mut self.leases {
            lease.at = after(Now(now.0 + self.options.election_timeout), lease.ttl);
            self.deadlines.insert((lease.at, id));
        }
    }

    /// This member does not lead any more: no clock runs.
    pub fn follow(&mut self) {
        self.leading = None;
        self.deadlines.clear();
        self.expiring.clear();
    }

    /// A lease was granted.
    pub fn granted(&mut self, id: i64, ttl: i64, now: Now) {
        let at = after(now, ttl);
        let old = self.leases.insert(id, Deadline { ttl, at });
        assert!(old.is_none(), "lease {id} was granted twice");
        if self.leading.is_some() {
            self.deadlines.insert((at, id));
        }
    }

    /// A lease is gone.
    pub fn revoked(&mut self, id: i64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.deadlines.remove(&(lease.at, id));
        }
        self.expiring.remove(&id);
    }

    /// Starts the countdown of a lease again.
    pub fn renew(&mut self, id: i64, now: Now) -> Renewal {
        if self.leading.is_none() || !self.is_confirmed(now) {
            return Renewal::Unconfirmed;
        }
        let Some(lease) = self.leases.get_mut(&id) else {
            return Renewal::Unknown;
        };
        if lease.at <= now {
            return Renewal::Expired;
        }
        self.deadlines.remove(&(lease.at, id));
        lease.at = after(now, lease.ttl);
        self.deadlines.insert((lease.at, id));
        Renewal::Renewed(lease.ttl)
    }

    /// Whole seconds that a lease has left, and the seconds granted; `None` if there is no such
    /// lease.
    pub fn remaining(&self, id: i64, now: Now) -> Option<(i64, i64)> {
        let lease = self.leases.get(&id)?;
        let left = lease.at.0.saturating_sub(now.0) / SECOND;
        Some((i64::try_from(left).unwrap_or(i64::MAX), lease.ttl))
    }

    /// The leases, soonest to run out first while leading, else by id.
    pub fn ids(&self) -> Vec<i64> {
        if self.leading.is_some() {
            self.deadlines.iter().map(|&(_, id)| id).collect()
        } else {
            self.leases.keys().copied().collect()
        }
    }

    /// What has to be done at this moment. Call it at [`Self::next_deadline`], and at least once
    /// in each `longest_gap` while leases exist, so that a gap means what it says.
    pub fn due(&mut self, now: Now) -> Due {
        let Some(term) = self.leading else { return Due::Nothing };
        if self.leases.is_empty() {
            self.last_seen = now;
            return Due::Nothing;
        }
        if !self.is_confirmed(now) {
            return Due::Confirm;
        }
        self.last_seen = now;
        self.expiring.retain(|_, retry| *retry > now);
        let room = IN_FLIGHT.saturating_sub(self.expiring.len());
        let leases: Vec<i64> = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|&(_, id)| id)
            .filter(|id| !self.expiring.contains_key(id))
            .take(room)
            .collect();
        let retry = Now(now.0 + self.options.retry);
        self.expiring.extend(leases.iter().map(|&id| (id, retry)));
        if leases.is_empty() { Due::Nothing } else { Due::Expire { leases, term } }
    }

    /// Leadership was confirmed by a read index that was asked for after the gap.
    pub fn confirm(&mut self, now: Now) {
        self.confirmed = true;
        self.last_seen = now;
    }

    /// When [`Self::due`] has something to say next; `None` while no lease is counted down.
    pub fn next_deadline(&self) -> Option<Now> {
        let first = self.deadlines.iter().find(|(_, id)| !self.expiring.contains_key(id));
        let retry = self.expiring.values().min().copied();
        let full = self.expiring.len() >= IN_FLIGHT;
        let next = first.filter(|_| !full).map(|&(at, _)| at);
        next.into_iter().chain(retry).min()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn is_confirmed(&mut self, now: Now) -> bool {
        if now.0.saturating_sub(self.last_seen.0) > self.options.longest_gap {
            self.confirmed = false;
        }
        self.confirmed
    }
}

fn after(now: Now, ttl: i64) -> Now {
    let nanoseconds = u64::try_from(ttl).unwrap_or(0).saturating_mul(SECOND);
    Now(now.0.saturating_add(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { election_timeout: SECOND, longest_gap: SECOND, retry: 7 * SECOND };

    fn at(tenths: u64) -> Now {
        Now(tenths * SECOND / 10)
    }

    fn leader() -> Lessor {
        let mut lessor = Lessor::new(OPTIONS, []);
        lessor.lead(2, at(0));
        lessor
    }

    /// Moves in steps shorter than the gap, and gathers what expires.
    fn run(lessor: &mut Lessor, from: u64, to: u64) -> Vec<(u64, i64)> {
        let mut expired = Vec::new();
        for tenths in from..=to {
            if let Due::Expire { leases, term } = lessor.due(at(tenths)) {
                assert_eq!(term, 2);
                expired.extend(leases.into_iter().map(|id| (tenths, id)));
            }
        }
        expired
    }

    #[test]
    fn a_lease_expires_at_its_deadline_and_not_before() {
        let mut lessor = leader();
        lessor.granted(5, 2, at(0));
        assert_eq!(lessor.next_deadline(), Some(at(20)));
        assert_eq!(run(&mut lessor, 0, 30), [(20, 5)]);
        lessor.revoked(5);
        assert_eq!(lessor.next_deadline(), None);
    }

    #[test]
    fn rule_6_10_renewal_restarts_the_countdown() {
        let mut lessor = leader();
        lessor.granted(5, 2, at(0));
        run(&mut lessor, 0, 15);
        assert_eq!(lessor.renew(5, at(15)), Renewal::Renewed(2));
        assert_eq!(lessor.remaining(5, at(20)), Some((1, 2)));
        assert_eq!(run(&mut lessor, 15, 40), [(35, 5)]);
    }

    #[test]
    fn rule_6_11_renewal_of_an_expired_lease_waits() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        run(&mut lessor, 0, 10);
        assert_eq!(lessor.renew(5, at(11)), Renewal::Expired);
        lessor.revoked(5);
        assert_eq!(lessor.renew(5, at(11)), Renewal::Unknown);
    }

    #[test]
    fn rule_6_20_an_expiry_that_does_not_complete_is_tried_again() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        assert_eq!(run(&mut lessor, 0, 100), [(10, 5), (80, 5)]);
    }

    #[test]
    fn rule_6_22_a_new_leader_gives_full_time_and_an_election_timeout() {
        let mut lessor = Lessor::new(OPTIONS, [(5, 2)]);
        assert_eq!(lessor.due(at(500)), Due::Nothing);
        lessor.lead(2, at(1000));
        assert_eq!(run(&mut lessor, 1000, 1040), [(1030, 5)]);
    }

    #[test]
    fn rule_6_25_a_follower_expires_nothing() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        lessor.follow();
        assert_eq!(run(&mut lessor, 0, 50), []);
        assert_eq!(lessor.renew(5, at(1)), Renewal::Unconfirmed);
    }

    #[test]
    fn rule_6_13_after_a_gap_leadership_is_confirmed_first() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        assert_eq!(lessor.due(at(60)), Due::Confirm);
        assert_eq!(lessor.renew(5, at(60)), Renewal::Unconfirmed);
        lessor.confirm(at(60));
        assert_eq!(run(&mut lessor, 60, 61), [(60, 5)]);
    }

    #[test]
    fn rule_6_19_a_burst_is_bounded_in_flight() {
        let mut lessor = leader();
        (1..=40).for_each(|id| lessor.granted(id, 1, at(0)));
        let first = run(&mut lessor, 0, 20);
        assert_eq!(first.len(), IN_FLIGHT);
        first.iter().for_each(|&(_, id)| lessor.revoked(id));
        assert_eq!(run(&mut lessor, 21, 22).len(), IN_FLIGHT);
    }
}
