//! The differences that are meant: where etcd 3.4 and the baseline that revd follows part.
//!
//! Each row cites the rule of the specification that says so (Δ), or the fact about this version
//! of revd. A difference without a row fails the test, and so does a row without its difference.

/// One expected difference.
#[derive(Debug)]
pub struct Row {
    /// Where it is specified.
    pub rule: &'static str,
    /// How the method ends; empty for any.
    pub method: &'static str,
    /// How the case's name begins; empty for any.
    pub case: &'static str,
    /// The field, with `*` for any run of characters.
    pub field: &'static str,
    /// What etcd 3.4 has there; empty when the field is absent.
    pub etcd: &'static str,
    /// What revd has.
    pub revd: &'static str,
}

macro_rules! rows {
    ($(
        $rule:literal, $method:literal, $case:literal, $field:literal:
            $etcd:literal => $revd:literal;
    )+) => {
        &[$(Row {
            rule: $rule, method: $method, case: $case, field: $field, etcd: $etcd, revd: $revd,
        }),+]
    };
}

/// The table.
pub const ROWS: &[Row] = rows! {
    "1.20 3.4 has no header in Alarm", "/Alarm", "", "header*": "" => "*";
    "2.13 keys_only leaves the lease out", "KV/Range", "2.13 keys only and", "kvs[0].lease":
        "702" => "";
    "2.19 3.4 ignores an unknown order", "KV/Range", "2.19", "status":
        "0 OK" => "3 etcdserver: invalid sort option";
    "2.19 also inside a transaction", "KV/Txn", "4.16", "status":
        "0 OK" => "3 etcdserver: invalid sort option";
    "2.27 3.4 has no RangeStream", "KV/RangeStream", "2.27", "status":
        "12" => "12 RangeStream does not support *";
    "5.7 3.4 removes a tombstone at the floor", "/Watch", "5.7", "status": "silence" => "0 OK";
    "5.8 3.4 takes a negative start for now", "/Watch", "5.8 a negative", "canceled": "" => "true";
    "5.8 3.4 takes a negative start for now", "/Watch", "5.8 a negative", "watch_id": "900" => "-1";
    "5.8 3.4 takes a negative start for now", "/Watch", "5.8 a negative", "cancel_reason":
        "" => "etcdserver: mvcc: required revision has been compacted";
    "5.8 the start before the range", "/Watch", "5.8 before", "cancel_reason":
        "mvcc: watcher range is empty" => "etcdserver: mvcc: required revision has been compacted";
    "5.34 3.4 answers without watchers", "/Watch", "5.34", "watch_id": "-1" => "";
    "5.34 3.4 answers without watchers", "/Watch", "5.34", "created": "" => "true";
    "7.17 hash_revision is of 3.6", "/HashKV", "7.1", "hash_revision": "" => "*";
    "7.18 3.4 refuses the floor", "/HashKV", "7.18 hash at 5", "status":
        "11 etcdserver: mvcc: required revision has been compacted" => "0 OK";
    "7.21 the hash is of a layout", "/Hash", "7.21", "hash": "*" => "*";
    "7.25 revd follows 3.7", "/Status", "", "version": "3.4.23" => "3.7.0";
    "7.25 of 3.6: storage version", "/Status", "", "storageVersion": "" => "3.7.0";
    "7.25 of 3.6: quota", "/Status", "", "dbSizeQuota": "" => "2147483648";
    "7.25 of 3.6: downgrade", "/Status", "", "downgradeInfo": "" => "{}";
    "7.36 3.4 stores an alarm without type", "/Alarm", "7.36", "alarms[0]*": "*" => "";
    "8.5 3.4 looks at tokens while auth is off", "KV/Range", "8.5", "status":
        "16 etcdserver: invalid auth token" => "0 OK";
    "8.6 AuthStatus is of 3.5", "/AuthStatus", "8.6", "status": "12" => "0 OK";
    "8.8 3.4 takes longer passwords", "/UserAdd", "8.8 a long", "status":
        "3 etcdserver: user name is empty" => "2 bcrypt: password length exceeds 72 bytes";
    "8.11 3.4 takes bad ranges", "/RoleGrantPermission", "8.11", "status":
        "9 etcdserver: role name not found" => "3 etcdserver: invalid auth management";
    "9.50 Downgrade is of 3.5", "/Downgrade", "9.50 validate", "status": "12" => "0 OK";
    "9.50 Downgrade is of 3.5", "/Downgrade", "9.50 not one", "status":
        "12" => "3 etcdserver: invalid downgrade target version";
    "9.50 Downgrade is of 3.5", "/Downgrade", "9.50 bad", "status":
        "12" => "3 etcdserver: wrong downgrade target version format";
    "9.50 Downgrade is of 3.5", "/Downgrade", "9.50 enable with", "status":
        "12" => "3 etcdserver: wrong downgrade target version format";
    "9.50 Downgrade is of 3.5", "/Downgrade", "9.50 enable a", "status":
        "12" => "3 etcdserver: invalid downgrade target version";
    "9.51 Downgrade is of 3.5", "/Downgrade", "9.51 cancel", "status": "12" => "0 OK";
    "9.51 Downgrade is of 3.5", "/Downgrade", "9.51 unknown", "status":
        "12" => "2 etcdserver: unknown method";
};
