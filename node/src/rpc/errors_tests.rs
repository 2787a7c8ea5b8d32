use super::*;
use std::collections::BTreeSet;

/// The texts and codes of the specification, written down a second time and in its own order.
const SPECIFIED: &[(i32, &str)] = &[
    (3, "etcdserver: key is not provided"),
    (3, "etcdserver: key not found"),
    (3, "etcdserver: value is provided"),
    (3, "etcdserver: lease is provided"),
    (3, "etcdserver: too many operations in txn request"),
    (3, "etcdserver: duplicate key given in txn request"),
    (3, "etcdserver: invalid client api version"),
    (3, "etcdserver: invalid sort option"),
    (11, "etcdserver: mvcc: required revision has been compacted"),
    (11, "etcdserver: mvcc: required revision is a future revision"),
    (8, "etcdserver: mvcc: database space exceeded"),
    (5, "etcdserver: requested lease not found"),
    (9, "etcdserver: lease already exists"),
    (11, "etcdserver: too large lease TTL"),
    (1, "etcdserver: watch canceled"),
    (9, "etcdserver: member ID already exist"),
    (9, "etcdserver: Peer URLs already exists"),
    (2, "etcdserver: re-configuration failed due to not enough started members"),
    (3, "etcdserver: given member URLs are invalid"),
    (5, "etcdserver: member not found"),
    (9, "etcdserver: can only promote a learner member"),
    (9, "etcdserver: can only promote a learner member which is in sync with leader"),
    (9, "etcdserver: too many learner members in cluster"),
    (3, "etcdserver: request is too large"),
    (2, "etcdserver: too many requests"),
    (9, "etcdserver: root user does not exist"),
    (9, "etcdserver: root user does not have root role"),
    (9, "etcdserver: user name already exists"),
    (3, "etcdserver: user name is empty"),
    (9, "etcdserver: user name not found"),
    (9, "etcdserver: role name already exists"),
    (9, "etcdserver: role name not found"),
    (3, "etcdserver: role name is empty"),
    (3, "etcdserver: authentication failed, invalid user ID or password"),
    (3, "etcdserver: permission not given"),
    (7, "etcdserver: permission denied"),
    (9, "etcdserver: role is not granted to the user"),
    (9, "etcdserver: permission is not granted to the role"),
    (9, "etcdserver: authentication is not enabled"),
    (16, "etcdserver: invalid auth token"),
    (3, "etcdserver: invalid auth management"),
    (3, "etcdserver: revision of auth store is old"),
    (14, "etcdserver: no leader"),
    (9, "etcdserver: not leader"),
    (14, "etcdserver: leader changed"),
    (9, "etcdserver: not capable"),
    (14, "etcdserver: server stopped"),
    (14, "etcdserver: request timed out"),
    (14, "etcdserver: request timed out, possibly due to previous leader failure"),
    (14, "etcdserver: request timed out, possibly due to connection lost"),
    (14, "etcdserver: request timed out, waiting for the applied index took too long"),
    (14, "etcdserver: unhealthy cluster"),
    (15, "etcdserver: corrupt cluster"),
    (9, "etcdserver: rpc not supported for learner"),
    (9, "etcdserver: bad leader transferee"),
    (3, "etcdserver: wrong downgrade target version format"),
    (3, "etcdserver: invalid downgrade target version"),
    (9, "etcdserver: cluster version not found during downgrade"),
    (9, "etcdserver: cluster has a downgrade job in progress"),
    (1, "etcdserver: request canceled"),
    (12, "RangeStream does not support custom sort orders"),
    (12, "RangeStream does not support revision filters"),
    (2, "auth: authentication failed, password was given for no password user"),
    (2, "bcrypt: password length exceeds 72 bytes"),
    (2, "etcdserver: unknown method"),
    (2, "etcdserver: request timed out, leader transfer took too long"),
    (2, "not a primary lessor"),
    (2, "raft proposal dropped"),
    (2, "election: no leader"),
    (2, "election: not leader"),
    (2, "\"leader\" field must be provided"),
    (2, "mutex: session is expired"),
    (2, "lost watcher waiting for delete"),
    (4, "context deadline exceeded"),
];

#[test]
fn the_table_is_the_specified_one() {
    let table: Vec<_> = Refusal::ALL.iter().map(|r| (r.code() as i32, r.text())).collect();
    assert_eq!(table, SPECIFIED);
    let texts: BTreeSet<_> = table.iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), table.len(), "clients tell errors apart by their text");
}

#[test]
fn a_refusal_becomes_its_row() {
    for refusal in Refusal::ALL {
        let status = Status::from(*refusal);
        assert_eq!((status.code(), status.message()), (refusal.code(), refusal.text()));
        assert!(status.details().is_empty(), "etcd attaches no details");
    }
}

fn assert_row(status: &Status, refusal: Refusal) {
    assert_eq!((status.code(), status.message()), (refusal.code(), refusal.text()));
}

#[test]
fn what_contradicts_itself_has_its_row() {
    use mvcc::Invalid;
    for (why, refusal) in [
        (Invalid::EmptyKey, Refusal::EmptyKey),
        (Invalid::ValueProvided, Refusal::ValueProvided),
        (Invalid::LeaseProvided, Refusal::LeaseProvided),
        (Invalid::TooManyOps, Refusal::TooManyOps),
        (Invalid::DuplicateKey, Refusal::DuplicateKey),
        (Invalid::EmptyOperation, Refusal::KeyNotFound),
        (Invalid::SortOption, Refusal::InvalidSortOption),
    ] {
        assert_row(&invalid(why), refusal);
    }
}

#[test]
fn what_the_state_forbids_has_its_row() {
    use mvcc::Rejected;
    for (why, refusal) in [
        (Rejected::KeyNotFound, Refusal::KeyNotFound),
        (Rejected::LeaseNotFound, Refusal::LeaseNotFound),
        (Rejected::LeaseExists, Refusal::LeaseExists),
        (Rejected::LeaseTtlTooLarge, Refusal::LeaseTtlTooLarge),
        (Rejected::Compacted, Refusal::Compacted),
        (Rejected::FutureRevision, Refusal::FutureRevision),
    ] {
        assert_row(&rejected(why), refusal);
        assert_row(&rejected(why), refusal);
        assert_row(&call_failed(CallError::Rejected(replica::Rejected::KeySpace(why))), refusal);
    }
}

#[test]
fn what_the_driver_did_not_carry_out_has_its_row() {
    for (why, refusal) in [
        (CallError::Rejected(replica::Rejected::NoSpace), Refusal::NoSpace),
        (CallError::Rejected(replica::Rejected::Corrupt), Refusal::Corrupt),
        (CallError::Rejected(replica::Rejected::MemberNotFound), Refusal::MemberNotFound),
        (CallError::TooLarge, Refusal::RequestTooLarge),
        (CallError::TooManyRequests, Refusal::TooManyRequests),
        (CallError::Timeout, Refusal::Timeout),
        (CallError::NoLeader, Refusal::NoLeader),
        (CallError::LeaderChanged, Refusal::LeaderChanged),
        (CallError::NotPrimary, Refusal::NotPrimaryLessor),
        (CallError::Stopped, Refusal::Stopped),
    ] {
        assert_row(&call_failed(why), refusal);
    }
}
