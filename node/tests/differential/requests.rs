//! Short ways to write requests.

use prost::Message;
use revd_api::etcdserverpb as pb;

pub use pb::compare::{CompareResult, TargetUnion};

/// A request that belongs to one method.
pub trait Rpc: Message + Default {
    /// `package.Service/Method`.
    const METHOD: &'static str;
}

macro_rules! methods {
    ($($request:ident => $method:literal;)+) => {
        $(impl Rpc for pb::$request {
            const METHOD: &'static str = concat!("etcdserverpb.", $method);
        })+
    };
}

methods! {
    RangeRequest => "KV/Range";
    PutRequest => "KV/Put";
    DeleteRangeRequest => "KV/DeleteRange";
    TxnRequest => "KV/Txn";
    CompactionRequest => "KV/Compact";
    LeaseGrantRequest => "Lease/LeaseGrant";
    LeaseRevokeRequest => "Lease/LeaseRevoke";
    LeaseTimeToLiveRequest => "Lease/LeaseTimeToLive";
    LeaseLeasesRequest => "Lease/LeaseLeases";
    MemberAddRequest => "Cluster/MemberAdd";
    MemberRemoveRequest => "Cluster/MemberRemove";
    MemberUpdateRequest => "Cluster/MemberUpdate";
    MemberListRequest => "Cluster/MemberList";
    MemberPromoteRequest => "Cluster/MemberPromote";
    AlarmRequest => "Maintenance/Alarm";
    StatusRequest => "Maintenance/Status";
    DefragmentRequest => "Maintenance/Defragment";
    HashRequest => "Maintenance/Hash";
    HashKvRequest => "Maintenance/HashKV";
    MoveLeaderRequest => "Maintenance/MoveLeader";
    DowngradeRequest => "Maintenance/Downgrade";
    AuthEnableRequest => "Auth/AuthEnable";
    AuthDisableRequest => "Auth/AuthDisable";
    AuthStatusRequest => "Auth/AuthStatus";
    AuthenticateRequest => "Auth/Authenticate";
    AuthUserAddRequest => "Auth/UserAdd";
    AuthUserGetRequest => "Auth/UserGet";
    AuthUserListRequest => "Auth/UserList";
    AuthUserDeleteRequest => "Auth/UserDelete";
    AuthUserChangePasswordRequest => "Auth/UserChangePassword";
    AuthUserGrantRoleRequest => "Auth/UserGrantRole";
    AuthUserRevokeRoleRequest => "Auth/UserRevokeRole";
    AuthRoleAddRequest => "Auth/RoleAdd";
    AuthRoleGetRequest => "Auth/RoleGet";
    AuthRoleListRequest => "Auth/RoleList";
    AuthRoleDeleteRequest => "Auth/RoleDelete";
    AuthRoleGrantPermissionRequest => "Auth/RoleGrantPermission";
    AuthRoleRevokePermissionRequest => "Auth/RoleRevokePermission";
}

/// The end of "every key from here on".
pub const REST: &str = "\0";

/// A request with some fields set.
pub fn with<R: Rpc>(mut request: R, set: impl FnOnce(&mut R)) -> R {
    set(&mut request);
    request
}

fn bytes(text: impl AsRef<[u8]>) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_ref())
}

/// A range of keys; an empty end names the one key.
pub fn range(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

/// A put.
pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

/// A put with a lease.
pub fn put_leased(key: &str, value: &str, lease: i64) -> pb::PutRequest {
    with(put(key, value), |r| r.lease = lease)
}

/// A deletion; an empty end names the one key.
pub fn delete(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false }
}

/// A compaction.
pub fn compact(revision: i64) -> pb::CompactionRequest {
    pb::CompactionRequest { revision, physical: true }
}

/// A transaction.
pub fn txn(
    compare: Vec<pb::Compare>,
    success: Vec<pb::RequestOp>,
    failure: Vec<pb::RequestOp>,
) -> pb::TxnRequest {
    pb::TxnRequest { compare, success, failure }
}

/// A transaction without condition.
pub fn then(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    txn(Vec::new(), success, Vec::new())
}

/// What can stand in a transaction.
pub trait Operation {
    /// As an operation.
    fn op(self) -> pb::RequestOp;
}

macro_rules! operations {
    ($($request:ident => $variant:ident;)+) => {
        $(impl Operation for pb::$request {
            fn op(self) -> pb::RequestOp {
                pb::RequestOp { request: Some(pb::request_op::Request::$variant(self)) }
            }
        })+
    };
}

operations! {
    RangeRequest => RequestRange;
    PutRequest => RequestPut;
    DeleteRangeRequest => RequestDeleteRange;
    TxnRequest => RequestTxn;
}

/// A list of operations.
#[macro_export]
macro_rules! ops {
    ($($operation:expr),* $(,)?) => { vec![$($crate::requests::Operation::op($operation)),*] };
}

/// A comparison with plain numbers, so that unknown ones can be sent.
pub fn compare_raw(key: &str, target: i32, result: i32, union: Option<TargetUnion>) -> pb::Compare {
    pb::Compare { result, target, key: bytes(key), range_end: bytes(""), target_union: union }
}

/// A comparison whose target follows from its operand.
pub fn compare(key: &str, result: CompareResult, operand: TargetUnion) -> pb::Compare {
    let target = match &operand {
        TargetUnion::Version(_) => 0,
        TargetUnion::CreateRevision(_) => 1,
        TargetUnion::ModRevision(_) => 2,
        TargetUnion::Value(_) => 3,
        TargetUnion::Lease(_) => 4,
    };
    compare_raw(key, target, result as i32, Some(operand))
}

/// The same over a range of keys.
pub fn compare_range(
    key: &str,
    end: &str,
    result: CompareResult,
    operand: TargetUnion,
) -> pb::Compare {
    pb::Compare { range_end: bytes(end), ..compare(key, result, operand) }
}

/// A value to compare with.
pub fn value(text: &str) -> TargetUnion {
    TargetUnion::Value(bytes(text))
}

/// A lease of the client's choice.
pub fn grant(id: i64, ttl: i64) -> pb::LeaseGrantRequest {
    pb::LeaseGrantRequest { id, ttl }
}

/// The end of a lease.
pub fn revoke(id: i64) -> pb::LeaseRevokeRequest {
    pb::LeaseRevokeRequest { id }
}

/// A question for a lease and its keys.
pub fn time_to_live(id: i64) -> pb::LeaseTimeToLiveRequest {
    pb::LeaseTimeToLiveRequest { id, keys: true }
}

/// A watcher to be; an empty end names the one key.
pub fn watch(key: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

/// The message that asks for a watcher.
pub fn create(
    mut request: pb::WatchCreateRequest,
    set: impl FnOnce(&mut pb::WatchCreateRequest),
) -> pb::WatchRequest {
    set(&mut request);
    of(pb::watch_request::RequestUnion::CreateRequest(request))
}

/// The message that ends a watcher.
pub fn cancel(watch_id: i64) -> pb::WatchRequest {
    let request = pb::WatchCancelRequest { watch_id };
    of(pb::watch_request::RequestUnion::CancelRequest(request))
}

/// The message that asks how far the stream has come.
pub fn progress() -> pb::WatchRequest {
    of(pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
}

fn of(request: pb::watch_request::RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(request) }
}
