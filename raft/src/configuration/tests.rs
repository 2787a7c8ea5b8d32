use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::error::DecodeError;

fn ids(list: &[u64]) -> Vec<NodeId> {
    list.iter().copied().map(NodeId).collect()
}

fn configuration(voters: &[u64], learners: &[u64]) -> Configuration {
    Configuration::new(ids(voters), ids(learners)).unwrap()
}

fn joint(steps: &[ChangeStep]) -> Change {
    Change::Joint { steps: steps.to_vec(), leaves_by_itself: true }
}

#[test]
fn simple_changes_move_one_member() {
    use ChangeStep::{AddLearner, AddVoter, Remove};
    let start = configuration(&[3, 1], &[5]);
    assert_eq!(start.voters(), ids(&[1, 3]));
    let step = |step| start.changed(&Change::Simple(step));
    assert_eq!(step(AddVoter(NodeId(2))), Ok(configuration(&[1, 2, 3], &[5])));
    assert_eq!(step(AddVoter(NodeId(5))), Ok(configuration(&[1, 3, 5], &[])), "promoted");
    assert_eq!(step(AddLearner(NodeId(2))), Ok(configuration(&[1, 3], &[2, 5])));
    assert_eq!(step(AddLearner(NodeId(1))), Ok(configuration(&[3], &[1, 5])), "demoted");
    assert_eq!(step(Remove(NodeId(5))), Ok(configuration(&[1, 3], &[])));
    assert_eq!(step(Remove(NodeId(1))), Ok(configuration(&[3], &[5])));
    assert_eq!(step(Remove(NodeId(9))), Err(ChangeError::NoMember { node: NodeId(9) }));
    assert_eq!(step(AddVoter(NodeId(1))), Err(ChangeError::Repeated { node: NodeId(1) }));
    assert_eq!(step(AddLearner(NodeId(5))), Err(ChangeError::Repeated { node: NodeId(5) }));
    let lone = Configuration::lone(NodeId(1));
    let last = Change::Simple(Remove(NodeId(1)));
    assert_eq!(lone.changed(&last), Err(ChangeError::NoVoter));
    assert_eq!(start.changed(&Change::Keep), Ok(start.clone()));
    assert_eq!(start.changed(&Change::Leave), Err(ChangeError::NotJoint));
}

#[test]
fn joint_changes_keep_both_sets_until_left() {
    use ChangeStep::{AddLearner, AddVoter, Remove};
    let start = configuration(&[1, 2, 3], &[8]);
    let steps = [AddVoter(NodeId(4)), Remove(NodeId(1)), AddLearner(NodeId(2))];
    let both = start.changed(&joint(&steps)).unwrap();
    assert!(both.is_joint() && both.leaves_by_itself());
    assert_eq!(both.voters(), ids(&[3, 4]));
    assert_eq!(both.outgoing(), ids(&[1, 2, 3]));
    assert_eq!(both.demoted(), ids(&[2]));
    assert_eq!(both.learners(), ids(&[8]), "a voter of the outgoing set is no learner yet");
    assert_eq!(both.members(), ids(&[1, 2, 3, 4, 8]));
    assert!(both.is_voter(NodeId(1)) && both.is_voter(NodeId(4)));
    assert_eq!(both.changed(&joint(&[])), Err(ChangeError::Joint));
    let simple = Change::Simple(AddVoter(NodeId(9)));
    assert_eq!(both.changed(&simple), Err(ChangeError::Joint));
    let after = both.changed(&Change::Leave).unwrap();
    assert_eq!(after, configuration(&[3, 4], &[2, 8]));

    let twice = joint(&[Remove(NodeId(1)), AddVoter(NodeId(1))]);
    assert_eq!(start.changed(&twice), Err(ChangeError::Repeated { node: NodeId(1) }));
    let nobody = [1, 2, 3].map(|id| Remove(NodeId(id)));
    assert_eq!(start.changed(&joint(&nobody)), Err(ChangeError::NoVoter));
}

#[test]
fn repeated_ids_are_refused() {
    let new = |voters: &[u64], learners: &[u64]| Configuration::new(ids(voters), ids(learners));
    assert_eq!(new(&[1, 1], &[]), Err(ChangeError::Repeated { node: NodeId(1) }));
    assert_eq!(new(&[1], &[2, 1]), Err(ChangeError::Repeated { node: NodeId(1) }));
    assert_eq!(new(&[], &[1]), Err(ChangeError::NoVoter));
    assert_eq!(new(&[], &[]), Ok(Configuration::default()));
}

#[test]
fn format_stays_as_it_is() {
    let bytes = configuration(&[2, 1], &[3]).encode();
    let golden = [
        &[1, 0][..],
        &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0],
        &[1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes, golden);
}

#[test]
fn damaged_bytes_are_named() {
    let good = configuration(&[1, 2], &[3]).encode();
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        Configuration::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 9), DecodeError::Version { expected: 1, found: 9 });
    assert_eq!(with(1, 2), DecodeError::Flags { found: 2 });
    assert_eq!(with(1, 1), DecodeError::Invalid(ChangeError::NotJoint));
    assert!(matches!(with(5, 0xff), DecodeError::Short { .. }), "a count that nobody wrote");
    assert_eq!(with(6, 2), DecodeError::Invalid(ChangeError::Repeated { node: NodeId(2) }));
    let long = [&good[..], &[0]].concat();
    assert_eq!(Configuration::decode(&long), Err(DecodeError::Trailing { bytes: 1 }));
    for length in 0..good.len() {
        let short = Configuration::decode(&good[..length]);
        assert!(matches!(short, Err(DecodeError::Short { .. })), "{length}: {short:?}");
    }
}

fn any_step() -> impl Strategy<Value = ChangeStep> {
    (0..3, 1..8_u64).prop_map(|(kind, node)| match kind {
        0 => ChangeStep::AddVoter(NodeId(node)),
        1 => ChangeStep::AddLearner(NodeId(node)),
        _ => ChangeStep::Remove(NodeId(node)),
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Leave),
        any_step().prop_map(Change::Simple),
        (vec(any_step(), 0..5), any::<bool>())
            .prop_map(|(steps, leaves_by_itself)| Change::Joint { steps, leaves_by_itself }),
    ]
}

/// Whether every majority of `one` meets every majority of `other`, by trying them all.
fn majorities_meet(one: &[NodeId], other: &[NodeId]) -> bool {
    let majorities = |set: &[NodeId]| -> Vec<BTreeSet<NodeId>> {
        (0_u32..1 << set.len())
            .filter(|mask| mask.count_ones() as usize * 2 > set.len())
            .map(|mask| {
                set.iter()
                    .enumerate()
                    .filter(|(i, _)| mask >> i & 1 == 1)
                    .map(|(_, &id)| id)
                    .collect()
            })
            .collect()
    };
    let other = majorities(other);
    majorities(one).iter().all(|one| other.iter().all(|other| !one.is_disjoint(other)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_changes_keep_the_invariants(
        voters in btree_set(1..8_u64, 1..5),
        changes in vec(any_change(), 0..30),
    ) {
        let mut now = Configuration::new(voters.into_iter().map(NodeId), []).unwrap();
        for change in changes {
            let Ok(next) = now.changed(&change) else { continue };
            prop_assert_eq!(next.check(), Ok(()));
            prop_assert!(!next.voters().is_empty());
            prop_assert_eq!(Configuration::decode(&next.encode()), Ok(next.clone()));
            // What one configuration decides and what the next decides have a witness: one of the
            // two majorities of a joint configuration meets those of its neighbour.
            let (old, new) = (&now, &next);
            let meet = majorities_meet(old.voters(), new.voters())
                || (new.is_joint() && old.voters() == new.outgoing())
                || (old.is_joint() && old.voters() == new.voters());
            prop_assert!(meet, "{:?} {:?}", old, new);
            now = next;
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in vec(any::<u8>(), 0..80),
        version in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if version && bytes.len() > 2 {
            bytes[0] = 1;
            bytes[1] = 0;
        }
        if let Ok(configuration) = Configuration::decode(&bytes) {
            prop_assert_eq!(configuration.encode(), bytes);
        }
    }
}
