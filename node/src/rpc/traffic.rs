//! What goes over the services, by method: calls begun and ended, messages and bytes in and out.
//!
//! Counted where a call comes in and its answer goes out, on the frames themselves, so that no
//! service knows of it. A call that nobody waits for any more counts as cancelled.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use revd_api::etcdserverpb::{
    auth_server, cluster_server, kv_server, lease_server, maintenance_server, watch_server,
};
use revd_api::health::health_server;
use revd_api::v3electionpb::election_server;
use revd_api::v3lockpb::lock_server;
use tonic::Code;

/// How many messages go either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One and one.
    Unary,
    /// One in, many out.
    ServerStream,
    /// Many either way.
    BidiStream,
}

impl Shape {
    /// As metrics name it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// How many codes a call can end with.
pub const CODES: usize = 17;

/// The codes as metrics name them, by number.
pub const CODE_NAMES: [&str; CODES] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Upper bounds of the buckets of handling times, in seconds (etcd's).
pub const HANDLING_BOUNDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is counted of one method.
#[derive(Debug)]
pub struct Method {
    /// `package.Service`.
    pub service: &'static str,
    /// Its name in the service.
    pub name: &'static str,
    /// How many messages go either way.
    pub shape: Shape,
    started: AtomicU64,
    handled: [AtomicU64; CODES],
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    handling: [AtomicU64; HANDLING_BOUNDS.len() + 1],
    handling_nanoseconds: AtomicU64,
}

/// The numbers of one method at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Calls begun.
    pub started: u64,
    /// Calls ended, by code.
    pub handled: [u64; CODES],
    /// Messages received.
    pub received: u64,
    /// Their bytes, without what stands before each.
    pub received_bytes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Their bytes, without what stands before each.
    pub sent_bytes: u64,
    /// Calls that took so long, for each bucket of [`HANDLING_BOUNDS`], the open one last; none if
    /// times are not taken.
    pub handling: [u64; HANDLING_BOUNDS.len() + 1],
    /// Sum of their times, in seconds.
    pub handling_seconds: f64,
}

impl Method {
    fn new(service: &'static str, name: &'static str, shape: Shape) -> Self {
        Self {
            service,
            name,
            shape,
            started: AtomicU64::new(0),
            handled: Default::default(),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            handling: Default::default(),
            handling_nanoseconds: AtomicU64::new(0),
        }
    }

    pub(crate) fn start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, code: Code, took: Option<Duration>) {
        self.handled[code as usize].fetch_add(1, Relaxed);
        let Some(took) = took else { return };
        let bucket = HANDLING_BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.handling[bucket.unwrap_or(HANDLING_BOUNDS.len())].fetch_add(1, Relaxed);
        self.handling_nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn receive(&self, messages: u64, bytes: u64) {
        self.received.fetch_add(messages, Relaxed);
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn send(&self, messages: u64, bytes: u64) {
        self.sent.fetch_add(messages, Relaxed);
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    /// Its numbers.
    pub fn counts(&self) -> Counts {
        let load = |number: &AtomicU64| number.load(Relaxed);
        Counts {
            started: load(&self.started),
            handled: std::array::from_fn(|code| load(&self.handled[code])),
            received: load(&self.received),
            received_bytes: load(&self.received_bytes),
            sent: load(&self.sent),
            sent_bytes: load(&self.sent_bytes),
            handling: std::array::from_fn(|bucket| load(&self.handling[bucket])),
            handling_seconds: load(&self.handling_nanoseconds) as f64 / 1e9,
        }
    }
}

type Listed = (&'static str, &'static [(&'static str, Shape)]);

use Shape::{BidiStream, ServerStream, Unary};

/// All methods, the busiest service first.
const METHODS: &[Listed] = &[
    (
        kv_server::SERVICE_NAME,
        &[
            ("Range", Unary),
            ("Put", Unary),
            ("Txn", Unary),
            ("DeleteRange", Unary),
            ("Compact", Unary),
            ("RangeStream", ServerStream),
        ],
    ),
    (
        lease_server::SERVICE_NAME,
        &[
            ("LeaseGrant", Unary),
            ("LeaseRevoke", Unary),
            ("LeaseKeepAlive", BidiStream),
            ("LeaseTimeToLive", Unary),
            ("LeaseLeases", Unary),
        ],
    ),
    (watch_server::SERVICE_NAME, &[("Watch", BidiStream)]),
    (
        cluster_server::SERVICE_NAME,
        &[
            ("MemberAdd", Unary),
            ("MemberRemove", Unary),
            ("MemberUpdate", Unary),
            ("MemberList", Unary),
            ("MemberPromote", Unary),
        ],
    ),
    (
        maintenance_server::SERVICE_NAME,
        &[
            ("Alarm", Unary),
            ("Status", Unary),
            ("Defragment", Unary),
            ("Hash", Unary),
            ("HashKV", Unary),
            ("Snapshot", ServerStream),
            ("MoveLeader", Unary),
            ("Downgrade", Unary),
        ],
    ),
    (
        auth_server::SERVICE_NAME,
        &[
            ("AuthEnable", Unary),
            ("AuthDisable", Unary),
            ("AuthStatus", Unary),
            ("Authenticate", Unary),
            ("UserAdd", Unary),
            ("UserGet", Unary),
            ("UserList", Unary),
            ("UserDelete", Unary),
            ("UserChangePassword", Unary),
            ("UserGrantRole", Unary),
            ("UserRevokeRole", Unary),
            ("RoleAdd", Unary),
            ("RoleGet", Unary),
            ("RoleList", Unary),
            ("RoleDelete", Unary),
            ("RoleGrantPermission", Unary),
            ("RoleRevokePermission", Unary),
        ],
    ),
    (lock_server::SERVICE_NAME, &[("Lock", Unary), ("Unlock", Unary)]),
    (
        election_server::SERVICE_NAME,
        &[
            ("Campaign", Unary),
            ("Proclaim", Unary),
            ("Leader", Unary),
            ("Observe", ServerStream),
            ("Resign", Unary),
        ],
    ),
    (health_server::SERVICE_NAME, &[("Check", Unary), ("Watch", ServerStream)]),
];

/// What is counted of all methods.
#[derive(Debug)]
pub struct Traffic {
    services: Vec<(&'static str, Vec<Arc<Method>>)>,
    /// Whether it is counted how long calls take.
    pub takes_times: bool,
    /// Calls that were let in, by the version that their client says it has.
    pub requests: Requests,
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Traffic {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(takes_times: bool) -> Self {
        let of_service = |(service, methods): &Listed| {
            let method = |(name, shape): &(&'static str, Shape)| {
                Arc::new(Method::new(service, name, *shape))
            };
            (*service, methods.iter().map(method).collect())
        };
        let services = METHODS.iter().map(of_service).collect();
        Self { services, takes_times, requests: Requests::default() }
    }

    /// The method of a path `/package.Service/Method`, if there is one.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Arc<Method>> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let (_, methods) = self.services.iter().find(|(known, _)| *known == service)?;
        methods.iter().find(|method| method.name == name)
    }

    /// All methods.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.services.iter().flat_map(|(_, methods)| methods).map(|method| &**method)
    }
}

/// Versions of clients that are told apart; all others count as one.
const VERSIONS: usize = 16;

/// What is counted of clients that do not say their version, and of those past the bound.
const UNKNOWN: &str = "unknown";
const OTHERS: &str = "others";

/// Calls that were let in, by the client's version: unary ones and streams.
#[derive(Debug, Default)]
pub struct Requests {
    unknown: [AtomicU64; 2],
    versions: [OnceLock<(Box<str>, [AtomicU64; 2])>; VERSIONS],
    others: [AtomicU64; 2],
}

impl Requests {
    /// Counts a call.
    pub fn count(&self, version: Option<&str>, is_stream: bool) {
        self.of(version)[usize::from(is_stream)].fetch_add(1, Relaxed);
    }

    fn of(&self, version: Option<&str>) -> &[AtomicU64; 2] {
        let version = match version {
            None | Some(UNKNOWN) => return &self.unknown,
            Some(OTHERS) => return &self.others,
            Some(version) => version,
        };
        for place in &self.versions {
            let (known, counts) = place.get_or_init(|| (version.into(), Default::default()));
            if **known == *version {
                return counts;
            }
        }
        &self.others
    }

    /// Each version with its unary calls and its streams; what was never counted is left out.
    pub fn counts(&self) -> Vec<(&str, [u64; 2])> {
        let known = self.versions.iter().filter_map(OnceLock::get);
        let known = known.map(|(version, counts)| (&**version, counts));
        let all = known.chain([(UNKNOWN, &self.unknown), (OTHERS, &self.others)]);
        let all =
            all.map(|(version, counts)| (version, counts.each_ref().map(|n| n.load(Relaxed))));
        all.filter(|(_, counts)| *counts != [0, 0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The table has exactly what the interface has.
    #[test]
    fn every_method_of_the_interface_is_counted() {
        let set = prost_reflect::DescriptorPool::decode(revd_api::FILE_DESCRIPTOR_SET).unwrap();
        let listed: BTreeSet<_> = Traffic::default()
            .methods()
            .map(|method| (format!("{}/{}", method.service, method.name), method.shape.text()))
            .collect();
        let mut declared = BTreeSet::new();
        for service in set.services() {
            for method in service.methods() {
                let shape = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => Unary,
                    (false, true) => ServerStream,
                    _ => BidiStream,
                };
                let name = format!("{}/{}", service.full_name(), method.name());
                declared.insert((name, shape.text()));
            }
        }
        assert_eq!(listed, declared);
    }

    #[test]
    fn a_path_leads_to_its_method() {
        let traffic = Traffic::default();
        assert_eq!(traffic.of("/etcdserverpb.KV/Put").map(|method| method.name), Some("Put"));
        for path in ["/etcdserverpb.KV/Nope", "/nope/Put", "etcdserverpb.KV/Put", "/", ""] {
            assert!(traffic.of(path).is_none(), "{path}");
        }
    }

    #[test]
    fn times_fall_into_their_buckets() {
        let traffic = Traffic::new(true);
        let method = traffic.of("/etcdserverpb.KV/Put").unwrap();
        for millis in [5, 6, 10_000, 10_001] {
            method.end(Code::Unavailable, Some(Duration::from_millis(millis)));
        }
        let counts = method.counts();
        assert_eq!(counts.handled[14], 4);
        assert_eq!((counts.handling[0], counts.handling[1]), (1, 1));
        assert_eq!((counts.handling[10], counts.handling[11]), (1, 1));
        assert!((counts.handling_seconds - 20.012).abs() < 1e-9);
    }

    #[test]
    fn versions_past_the_bound_count_as_one() {
        let requests = Requests::default();
        assert_eq!(requests.counts(), []);
        requests.count(None, false);
        for n in 0..VERSIONS + 2 {
            requests.count(Some(&format!("3.{n}")), true);
        }
        requests.count(Some("3.0"), false);
        let counts = requests.counts();
        assert_eq!(counts.len(), VERSIONS + 2);
        assert_eq!(counts[0], ("3.0", [1, 1]));
        assert_eq!(counts[VERSIONS..], [("unknown", [1, 0]), ("others", [0, 2])]);
    }
}
