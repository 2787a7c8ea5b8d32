//! The one place where a refusal becomes a gRPC status.
//!
//! A client tells errors apart by code *and* text: Go's client library looks its typed error up by
//! the text alone, so both are part of the interface, byte for byte. [`Refusal`] lists every text
//! of etcd that a member can send, in the order of etcd's own declarations; whatever refuses a call
//! (a check of the request, the replicated state, the driver) is first turned into one of them.
//! What is no refusal of etcd's but a fact about this server ([`not_built`], a broken key space)
//! has its own function below, so that it can never be mistaken for one.

use revd_mvcc as mvcc;
use revd_replica as replica;
use tonic::{Code, Status};

use crate::driver::{CallError, Handle};

macro_rules! refusals {
    ($($name:ident => $code:ident, $text:literal;)+) => {
        /// Why a call is refused: one variant for each text of etcd's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code on the wire.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)+ }
            }

            /// The text on the wire.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

// Two rows carry `Unknown` although their names suggest another code (not enough started members,
// too many requests): that is what etcd really sends.
refusals! {
    EmptyKey => InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound => InvalidArgument, "etcdserver: key not found";
    ValueProvided => InvalidArgument, "etcdserver: value is provided";
    LeaseProvided => InvalidArgument, "etcdserver: lease is provided";
    TooManyOps => InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey => InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientApiVersion => InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption => InvalidArgument, "etcdserver: invalid sort option";
    Compacted => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRevision => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace => ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    LeaseExists => FailedPrecondition, "etcdserver: lease already exists";
    LeaseTtlTooLarge => OutOfRange, "etcdserver: too large lease TTL";
    WatchCanceled => Cancelled, "etcdserver: watch canceled";
    MemberExists => FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlExists => FailedPrecondition, "etcdserver: Peer URLs already exists";
    MemberNotEnoughStarted => Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    MemberBadUrls => InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound => NotFound, "etcdserver: member not found";
    MemberNotLearner => FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady => FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners => FailedPrecondition, "etcdserver: too many learner members in cluster";
    RequestTooLarge => InvalidArgument, "etcdserver: request is too large";
    TooManyRequests => Unknown, "etcdserver: too many requests";
    RootUserNotExist => FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotExist => FailedPrecondition, "etcdserver: root user does not have root role";
    UserAlreadyExists => FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty => InvalidArgument, "etcdserver: user name is empty";
    UserNotFound => FailedPrecondition, "etcdserver: user name not found";
    RoleAlreadyExists => FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound => FailedPrecondition, "etcdserver: role name not found";
    RoleEmpty => InvalidArgument, "etcdserver: role name is empty";
    AuthFailed => InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven => InvalidArgument, "etcdserver: permission not given";
    PermissionDenied => PermissionDenied, "etcdserver: permission denied";
    RoleNotGranted => FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted => FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    AuthNotEnabled => FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken => Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthManagement => InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision => InvalidArgument, "etcdserver: revision of auth store is old";
    NoLeader => Unavailable, "etcdserver: no leader";
    NotLeader => FailedPrecondition, "etcdserver: not leader";
    LeaderChanged => Unavailable, "etcdserver: leader changed";
    NotCapable => FailedPrecondition, "etcdserver: not capable";
    Stopped => Unavailable, "etcdserver: server stopped";
    Timeout => Unavailable, "etcdserver: request timed out";
    TimeoutLeaderFailed => Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutConnectionLost => Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitApplied => Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    Unhealthy => Unavailable, "etcdserver: unhealthy cluster";
    Corrupt => DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner => FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee => FailedPrecondition, "etcdserver: bad leader transferee";
    WrongDowngradeVersionFormat => InvalidArgument,
        "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTarget => InvalidArgument, "etcdserver: invalid downgrade target version";
    ClusterVersionUnavailable => FailedPrecondition,
        "etcdserver: cluster version not found during downgrade";
    DowngradeInProcess => FailedPrecondition,
        "etcdserver: cluster has a downgrade job in progress";
    RequestCanceled => Cancelled, "etcdserver: request canceled";
    RangeStreamSort => Unimplemented, "RangeStream does not support custom sort orders";
    RangeStreamFilter => Unimplemented, "RangeStream does not support revision filters";
    NoPasswordUser => Unknown,
        "auth: authentication failed, password was given for no password user";
    PasswordTooLong => Unknown, "bcrypt: password length exceeds 72 bytes";
    UnknownMethod => Unknown, "etcdserver: unknown method";
    TransferTimeout => Unknown, "etcdserver: request timed out, leader transfer took too long";
    NotPrimaryLessor => Unknown, "not a primary lessor";
    ProposalDropped => Unknown, "raft proposal dropped";
    ElectionNoLeader => Unknown, "election: no leader";
    ElectionNotLeader => Unknown, "election: not leader";
    ElectionLeaderMissing => Unknown, "\"leader\" field must be provided";
    SessionExpired => Unknown, "mutex: session is expired";
    LostWatcher => Unknown, "lost watcher waiting for delete";
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.text())
    }
}

/// The status of a request that contradicts itself.
pub fn invalid(why: mvcc::Invalid) -> Status {
    match why {
        mvcc::Invalid::EmptyKey => Refusal::EmptyKey.into(),
        mvcc::Invalid::ValueProvided => Refusal::ValueProvided.into(),
        mvcc::Invalid::LeaseProvided => Refusal::LeaseProvided.into(),
        mvcc::Invalid::TooManyOps => Refusal::TooManyOps.into(),
        mvcc::Invalid::DuplicateKey => Refusal::DuplicateKey.into(),
        // An operation without content is looked up like a key, and not found (rule 4.16).
        mvcc::Invalid::EmptyOperation => Refusal::KeyNotFound.into(),
        mvcc::Invalid::SortOption => Refusal::InvalidSortOption.into(),
        other => Status::invalid_argument(other.to_string()),
    }
}

/// The status of a request that the key space refuses.
pub fn rejected(why: mvcc::Rejected) -> Status {
    match why {
        mvcc::Rejected::KeyNotFound => Refusal::KeyNotFound.into(),
        mvcc::Rejected::LeaseNotFound => Refusal::LeaseNotFound.into(),
        mvcc::Rejected::LeaseExists => Refusal::LeaseExists.into(),
        mvcc::Rejected::LeaseTtlTooLarge => Refusal::LeaseTtlTooLarge.into(),
        mvcc::Rejected::Compacted => Refusal::Compacted.into(),
        mvcc::Rejected::FutureRevision => Refusal::FutureRevision.into(),
        other => Status::unknown(other.to_string()),
    }
}

/// The status of a call that the driver did not carry out.
pub fn call_failed(why: CallError) -> Status {
    match why {
        CallError::Rejected(replica::Rejected::KeySpace(why)) => rejected(why),
        CallError::Rejected(replica::Rejected::NoSpace) => Refusal::NoSpace.into(),
        CallError::Rejected(replica::Rejected::Corrupt) => Refusal::Corrupt.into(),
        CallError::Rejected(replica::Rejected::MemberNotFound) => Refusal::MemberNotFound.into(),
        CallError::Rejected(replica::Rejected::MemberExists) => Refusal::MemberExists.into(),
        CallError::Rejected(replica::Rejected::PeerUrlExists) => Refusal::PeerUrlExists.into(),
        CallError::Rejected(replica::Rejected::NotLearner) => Refusal::MemberNotLearner.into(),
        CallError::Rejected(replica::Rejected::LastVoter) => Refusal::MemberNotEnoughStarted.into(),
        CallError::NoLeaderInTime => Refusal::DeadlineExceeded.into(),
        CallError::Dropped => Refusal::ProposalDropped.into(),
        CallError::NotCaughtUp => Refusal::LearnerNotReady.into(),
        CallError::NotLeader => Refusal::NotLeader.into(),
        CallError::TooManyLearners => Refusal::TooManyLearners.into(),
        CallError::Unanswered => Refusal::TimeoutConnectionLost.into(),
        CallError::BadTransferee => Refusal::BadLeaderTransferee.into(),
        CallError::TransferTimeout => Refusal::TransferTimeout.into(),
        CallError::TooLarge => Refusal::RequestTooLarge.into(),
        CallError::TooManyRequests => Refusal::TooManyRequests.into(),
        CallError::Timeout => Refusal::Timeout.into(),
        CallError::NoLeader => Refusal::NoLeader.into(),
        CallError::LeaderChanged => Refusal::LeaderChanged.into(),
        CallError::NotPrimary => Refusal::NotPrimaryLessor.into(),
        CallError::Stopped => Refusal::Stopped.into(),
    }
}

/// The status of a read that gave no answer.
pub fn read_failed(handle: &Handle, why: mvcc::ReadError) -> Status {
    match why {
        mvcc::ReadError::Rejected(why) => rejected(why),
        // The client has gone, and gets nothing any more.
        mvcc::ReadError::Abandoned => Refusal::RequestCanceled.into(),
        mvcc::ReadError::Fatal(why) => broken(handle, why),
        why => Status::internal(why.to_string()),
    }
}

/// The same, for a read on another thread.
pub fn of_read(handle: &Handle) -> impl FnOnce(mvcc::ReadError) -> Status + Send + use<> {
    let handle = handle.clone();
    move |why| read_failed(&handle, why)
}

/// The status of a read that the disk or the tree failed: no refusal, so the client gets the
/// reason, the log a line, and the member hears of damage.
pub fn broken(handle: &Handle, why: mvcc::Fatal) -> Status {
    tracing::error!(error = %why, "failed to read the key space");
    let status = Status::data_loss(format!("failed to read the key space: {why}"));
    if why.is_damage() {
        handle.damaged(why);
    }
    status
}

/// The status of an answer that does not belong to its command: a fault of this program.
pub fn misanswered() -> Status {
    Status::internal("the member gave an answer of another kind of request")
}

/// The status of a method that this server does not offer yet.
pub fn not_built(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not part of this version of revd"))
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
