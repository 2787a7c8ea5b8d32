//! What each command does; one file a family.

mod cluster;
mod keys;
mod leases;
mod members;

use revd_mvcc as mvcc;

use crate::command::{Answer, Command, Rejected};
use crate::error::Fatal;
use crate::machine::{Application, Machine};
use crate::planted::{Bug, planted};

/// Carries out one command that was committed in `term`.
pub(crate) fn command(
    machine: &mut Machine,
    command: &Command,
    term: u64,
    result: &mut Application,
) -> Result<Result<Answer, Rejected>, Fatal> {
    if let Err(rejected) = machine.check_alarms(command) {
        return Ok(Err(rejected));
    }
    match command {
        Command::Put(put) => keys::put(machine, put),
        Command::DeleteRange(delete) => keys::delete_range(machine, delete),
        Command::Txn(txn) => keys::txn(machine, txn),
        Command::Compact { revision, .. } => keys::compact(machine, *revision),
        Command::LeaseGrant { id, ttl } => leases::grant(machine, *id, *ttl, result),
        Command::LeaseRevoke { id } => leases::revoke(machine, *id, result),
        Command::LeaseExpire { id, term: at } => {
            let in_its_term = *at == term || planted(Bug::ExpireDeposed);
            leases::expire(machine, *id, in_its_term, result)
        }
        Command::LeaseCheckpoint { remaining, term: at } => {
            leases::checkpoint(machine, remaining, *at == term, result)
        }
        Command::Alarm { action, member, alarm } => {
            cluster::alarm(machine, *action, *member, *alarm, result)
        }
        Command::Attributes { member, name, client_urls } => {
            cluster::attributes(machine, *member, name, client_urls, result)
        }
        Command::ClusterVersion(version) => cluster::version(machine, version, result),
        Command::MemberUpdate { member, peer_urls } => {
            members::update(machine, *member, peer_urls, result)
        }
        Command::Membership(change) => members::change(machine, change, result),
    }
}

/// What commands ask of the storage that they would make grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of the quota; see [`cost`].
    pub cost: u64,
    /// Room on the disk.
    pub growth: mvcc::Growth,
}

impl Demand {
    /// The demand of one command.
    #[must_use]
    pub fn of(command: &Command) -> Self {
        let growth = match command {
            Command::Put(put) => put.growth(),
            Command::Txn(txn) => txn.growth(),
            Command::LeaseGrant { .. } => mvcc::Growth { records: 1, ..Default::default() },
            _ => mvcc::Growth::default(),
        };
        Self { cost: cost(command).unsigned_abs(), growth }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.cost += other.cost;
        self.growth.add(other.growth);
    }

    /// Takes away one that was added before.
    pub fn subtract(&mut self, other: Self) {
        self.cost = self.cost.saturating_sub(other.cost);
        self.growth.subtract(other.growth);
    }
}

/// Bytes of the quota that a command counts for: what it may add, before it is known whether it
/// will. 0 means that it needs no room and is let through under a NOSPACE alarm.
pub fn cost(command: &Command) -> i64 {
    match command {
        Command::Put(put) => put_cost(put),
        Command::Txn(txn) => txn_cost(txn),
        Command::LeaseGrant { .. } => 64,
        _ => 0,
    }
}

/// What a put adds besides its key and value.
const PUT_OVERHEAD: i64 = 256;

fn put_cost(put: &mvcc::Put) -> i64 {
    PUT_OVERHEAD + put.key.len() as i64 + put.value.len() as i64
}

fn txn_cost(txn: &mvcc::Txn) -> i64 {
    let branch = |ops: &[mvcc::Op]| -> i64 {
        ops.iter()
            .map(|op| match op {
                mvcc::Op::Put(put) => put_cost(put),
                mvcc::Op::Txn(txn) => txn_cost(txn),
                _ => 0,
            })
            .sum()
    };
    branch(&txn.success).max(branch(&txn.failure))
}

/// Whether all that a command can do is to change keys. Leases can change them, too.
pub(crate) fn is_about_keys(command: &Command) -> bool {
    matches!(command, Command::Put(_) | Command::DeleteRange(_) | Command::Txn(_))
}

/// Whether a command is refused while data is known to be corrupt. Checkpoints of leases are not:
/// they change no key, and a renewal may wait for one.
pub(crate) fn changes_keys_or_leases(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact { .. }
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseExpire { .. } => true,
        Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. }
        | Command::Attributes { .. }
        | Command::ClusterVersion(_)
        | Command::MemberUpdate { .. }
        | Command::Membership(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_7_28_the_cost_of_a_request() {
        let put = |len: usize| mvcc::Put {
            key: "key".into(),
            value: vec![b'v'; len].into(),
            ..mvcc::Put::default()
        };
        let range = || mvcc::Op::Range(mvcc::Range { key: "key".into(), ..Default::default() });
        let txn = |success, failure| mvcc::Txn { success, failure, ..mvcc::Txn::default() };
        assert_eq!(cost(&Command::Put(put(10))), 256 + 3 + 10);
        assert_eq!(cost(&Command::LeaseGrant { id: 1, ttl: 60 }), 64);

        let two = || vec![mvcc::Op::Put(put(10)), range(), mvcc::Op::Put(put(20))];
        let one = || vec![mvcc::Op::Put(put(100))];
        let sum = 2 * (256 + 3) + 10 + 20;
        assert_eq!(cost(&Command::Txn(txn(two(), one()))), sum, "the larger branch");
        assert_eq!(cost(&Command::Txn(txn(one(), two()))), sum, "whichever it is");
        let nested = mvcc::Op::Txn(txn(one(), two()));
        let outer = vec![nested, mvcc::Op::Put(put(0))];
        assert_eq!(cost(&Command::Txn(txn(Vec::new(), outer))), sum + 256 + 3);

        let delete = || mvcc::DeleteRange { key: "key".into(), ..Default::default() };
        let deletes = txn(vec![mvcc::Op::DeleteRange(delete())], vec![range()]);
        for free in [
            Command::DeleteRange(delete()),
            Command::Txn(deletes),
            Command::Compact { revision: 1, physical: true },
            Command::LeaseRevoke { id: 1 },
        ] {
            assert_eq!(cost(&free), 0, "{free:?}");
        }
    }
}
