//! Puts and deletions (group 3).

use crate::requests::{REST, delete, grant, put, put_leased, range, revoke, time_to_live, with};
use crate::trial::Trial;

macro_rules! putting {
    ($key:expr, $value:expr $(, $field:ident = $set:expr)* $(,)?) => {
        with(put($key, $value), |r| { $(r.$field = $set;)* })
    };
}

/// All cases of this file.
pub async fn run(t: &mut Trial) {
    puts(t).await;
    leases(t).await;
    deletions(t).await;
    sizes(t).await;
}

async fn puts(t: &mut Trial) {
    t.call("3.1 empty key", put("", "v")).await;
    t.call("3.1 empty key before the flags", putting!("", "v", ignore_value = true)).await;
    t.call("3.2 value with ignore_value", putting!("w/a", "v", ignore_value = true)).await;
    t.call("3.2 lease with ignore_lease", putting!("w/a", "v", ignore_lease = true, lease = 5))
        .await;
    let both = putting!("w/a", "v", ignore_value = true, ignore_lease = true, lease = 5);
    t.call("3.2 the value before the lease", both).await;
    t.call("3.3 ignore_value without the key", putting!("w/a", "", ignore_value = true)).await;
    t.call("3.3 ignore_lease without the key", putting!("w/a", "v", ignore_lease = true)).await;
    t.call("3.11 prev_kv of nothing", putting!("w/a", "1", prev_kv = true)).await;
    t.call("3.11 prev_kv", putting!("w/a", "2", prev_kv = true)).await;
    t.call("3.4 ignore_value", putting!("w/a", "", ignore_value = true, prev_kv = true)).await;
    let both = putting!("w/a", "", ignore_value = true, ignore_lease = true, prev_kv = true);
    t.call("3.4 both flags", both).await;
    t.call("3.19 an empty value", putting!("w/a", "", prev_kv = true)).await;
    t.call("3.19 what is left", range("w/a", "")).await;
    t.call("1.5 a key and value of any bytes", put(b"w/\0\x80\xff", b"\xff\0\xfe")).await;
    t.call("1.5 read back", range(b"w/\0\x80\xff", "")).await;
    t.call("1.5 a long key", put("w/".repeat(4000), "v")).await;
    t.call("1.5 a long key read back", range("w/".repeat(4000), "")).await;
}

async fn leases(t: &mut Trial) {
    t.call("3.7 unknown lease", put_leased("w/l", "v", 77)).await;
    t.call("3.7 nothing was written", range("w/l", "")).await;
    let both = putting!("w/none", "", lease = 77, ignore_value = true);
    t.call("3.8 the lease before the key", both).await;
    t.call("3.9 a lease", grant(701, 1000)).await;
    t.call("3.9 another", grant(702, 1000)).await;
    t.call("3.9 attach", put_leased("w/l", "v", 701)).await;
    t.call("3.9 attached", range("w/l", "")).await;
    t.call("3.5 ignore_value alone detaches", putting!("w/l", "", ignore_value = true)).await;
    t.call("3.5 detached", range("w/l", "")).await;
    let attach = putting!("w/l", "", ignore_value = true, lease = 702);
    t.call("3.6 ignore_value with a lease attaches", attach).await;
    t.call("3.6 attached", range("w/l", "")).await;
    t.call("2.13 keys only and the lease", with(range("w/l", ""), |r| r.keys_only = true)).await;
    let sorted = with(range("w/l", ""), |r| {
        r.keys_only = true;
        r.sort_target = 4;
    });
    t.call("2.18 keys only by value shows the lease", sorted).await;
    let keep = putting!("w/l", "new", ignore_lease = true, prev_kv = true);
    t.call("3.4 ignore_lease keeps the lease", keep).await;
    t.call("3.9 move to another lease", put_leased("w/l", "v", 701)).await;
    t.call("3.9 the old lease has no keys", time_to_live(702)).await;
    t.call("3.9 the new one has", time_to_live(701)).await;
    t.call("3.14 a deleted key leaves its lease", delete("w/l", "")).await;
    t.call("3.14 no keys are left", time_to_live(701)).await;
    t.call("3.9 done with one", revoke(701)).await;
    t.call("3.9 done with the other", revoke(702)).await;
}

async fn deletions(t: &mut Trial) {
    for key in ["d/a", "d/b", "d/c", "d/d"] {
        t.call("3.12 a key to delete", put(key, key)).await;
    }
    t.call("3.1 empty key", delete("", "")).await;
    t.call("3.12 a key that does not exist", delete("d/x", "")).await;
    t.call("3.12 ends the wrong way round", delete("d/c", "d/a")).await;
    let some = |key: &str, end: &str| with(delete(key, end), |r| r.prev_kv = true);
    t.call("3.13 prev_kv of one", some("d/a", "")).await;
    t.call("3.13 prev_kv of a deleted one", some("d/a", "")).await;
    t.call("3.13 prev_kvs of several", some("d/a", "d/d")).await;
    t.call("1.2 one revision for all of them", range("d/", "d0")).await;
    t.call("3.12 from a key on, nothing there", some("zzz", REST)).await;
    t.call("3.12 a prefix", delete("d/", "d0")).await;
}

async fn sizes(t: &mut Trial) {
    // With the default of 1.5 MiB, the limit lies between these two for a key of three bytes.
    const MAX: usize = 1_572_864;
    t.call("3.16 just fits", put("big", "x".repeat(MAX - 30))).await;
    t.call("3.16 just too large", put("big", "x".repeat(MAX - 25))).await;
    t.call("3.16 exactly the limit", put("big", "x".repeat(MAX))).await;
    t.call("3.17 the largest message", put("big", "x".repeat(MAX + 524_288 - 11))).await;
    t.call("3.17 a larger message", put("big", "x".repeat(MAX + 524_288))).await;
    t.call("3.16 what is there", with(range("big", ""), |r| r.keys_only = true)).await;
    t.call("3.16 and goes", delete("big", "")).await;
}
