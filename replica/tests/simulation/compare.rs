//! What the members hold, compared with the model and with each other.

use std::collections::{BTreeMap, BTreeSet};

use revd_mvcc::{LeaseId, Range, View};
use revd_replica::Machine;
use revd_sim::{Checked, Violation, ensure};

use crate::event::{Event, SECOND};
use crate::oracle::Model;
use crate::world::{World, by};

impl World {
    /// Compares any one member.
    pub(crate) fn compare(&mut self) -> Checked {
        self.queue.push(self.time + SECOND / 2, Event::Compare);
        self.bring_up_and_down();
        let place = self.chance.place(self.members.len());
        if !self.members[place].is_up() {
            return Ok(());
        }
        if self.chance.permille(200) {
            self.compare_hash(place)?;
        }
        self.compare_member(place)
    }

    /// The history of a member as etcd hashes it.
    pub(crate) fn compare_hash(&mut self, place: usize) -> Checked {
        let hashed = self.members[place].driver().machine.view().hash_kv(0);
        match hashed {
            Ok(hashed) => {
                self.totals.hashed += 1;
                self.oracle.hashed(hashed).map_err(by(place))
            }
            Err(error) => {
                ensure!(false, "member {} cannot hash: {error}", place + 1);
                Ok(())
            }
        }
    }

    /// The keys of a member are those of the model at its revision; whatever else there is, too,
    /// if the member has applied everything.
    pub(crate) fn compare_member(&mut self, place: usize) -> Checked {
        self.totals.compared += 1;
        let machine = &self.members[place].driver().machine;
        let applied = machine.applied();
        let committed = self.oracle.committed();
        ensure!(
            applied.index.0 <= committed
                && self.oracle.term_of(applied.index.0) == Some(applied.term),
            "member {} has applied {applied}, which is not committed",
            place + 1
        );
        let hashes = machine.trail().hashes();
        ensure!(machine.state_hash().is_some(), "member {} has lost its state hash", place + 1);
        self.totals.state_hashes += hashes.len() as u64;
        self.oracle.state_hashed(&hashes).map_err(by(place))?;
        let model = &self.oracle.model;
        compare_keys(&machine.view(), model).map_err(by(place))?;
        if applied.index.0 == committed {
            compare_all(machine, model).map_err(by(place))?;
        }
        Ok(())
    }
}

fn compare_keys(view: &View, model: &Model) -> Checked {
    let revision = view.revision().0;
    let all = Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() };
    let found = match view.range(&all) {
        Ok(ranged) => crate::oracle::done::records(&ranged),
        Err(error) => {
            ensure!(false, "cannot read at {revision}: {error}");
            return Ok(());
        }
    };
    let expected = model.range(b"\0", b"\0", revision);
    ensure!(
        revision <= model.revision && found == expected,
        "holds at {revision} {found:?}, it should be {expected:?}"
    );
    Ok(())
}

fn compare_all(machine: &Machine, model: &Model) -> Checked {
    let view = machine.view();
    ensure!(
        (view.revision().0, view.compacted()) == (model.revision, model.compacted),
        "is at revision {} with the floor {}, it should be {} and {}",
        view.revision(),
        view.compacted(),
        model.revision,
        model.compacted
    );
    let leases: BTreeMap<_, _> = machine
        .store()
        .leases()
        .map(|(id, lease)| {
            let keys = view.lease_keys(LeaseId(id.0));
            let keys = keys.map_err(|e| Violation(format!("cannot read the keys of {id}: {e}")))?;
            let keys = keys.into_iter().collect();
            Ok((id.0, crate::oracle::Lease { ttl: lease.ttl, remaining: lease.remaining, keys }))
        })
        .collect::<Result<_, Violation>>()?;
    ensure!(leases == model.leases, "knows the leases {leases:?}, it should be {:?}", model.leases);
    let members: Vec<_> = machine.members().iter().collect();
    ensure!(
        members.iter().copied().eq(model.members.values())
            && machine.members().removed().eq(model.removed.iter().copied()),
        "knows the members {members:?}, it should be {:?}",
        model.members
    );
    let alarms: BTreeSet<_> = machine.alarms().collect();
    ensure!(alarms == model.alarms, "knows the alarms {alarms:?}, it should be {:?}", model.alarms);
    ensure!(
        *machine.configuration() == model.configuration,
        "counts by {:?}, it should be {:?}",
        machine.configuration(),
        model.configuration
    );
    Ok(())
}
