//! All services behind one door: which of them a call is for.
//!
//! A path is `/package.Service/Method`, and its first part decides. The general router of our
//! library would box each request, body and future once more to come to the same answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use revd_api::etcdserverpb::auth_server::{self, AuthServer};
use revd_api::etcdserverpb::cluster_server::{self, ClusterServer};
use revd_api::etcdserverpb::kv_server::{self, KvServer};
use revd_api::etcdserverpb::lease_server::{self, LeaseServer};
use revd_api::etcdserverpb::maintenance_server::{self, MaintenanceServer};
use revd_api::etcdserverpb::watch_server::{self, WatchServer};
use revd_api::health::health_server::{self, HealthServer};
use revd_api::v3electionpb::election_server::{self, ElectionServer};
use revd_api::v3lockpb::lock_server::{self, LockServer};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, StdError};
use tower_service::Service;

use super::auth::AuthService;
use super::checks::Door;
use super::cluster::ClusterService;
use super::election::ElectionService;
use super::health::HealthService;
use super::kv::KvService;
use super::lease::LeaseService;
use super::lock::LockService;
use super::maintenance::MaintenanceService;
use super::receive_bytes_max;
use super::served::{Answer, Question, Served, timeout};
use super::traffic::Traffic;
use super::watch::WatchService;
use super::wording::Wording;
use crate::driver::Handle;

/// The largest message that is sent; etcd's figure, which is the protocol's.
const SEND_BYTES_MAX: usize = i32::MAX as usize;

/// All services of one member. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    all: Arc<All>,
    traffic: Arc<Traffic>,
}

struct All {
    kv: KvServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    health: HealthServer<HealthService>,
}

impl Services {
    pub(super) fn new(handle: Handle) -> Self {
        let receive_max = receive_bytes_max(handle.config().max_request_bytes as usize);
        let traffic = Arc::clone(&handle.meters().traffic);
        let door = Door::new(handle);
        macro_rules! bounded {
            ($server:ident, $service:ident) => {
                $server::new($service::new(door.clone()))
                    .max_decoding_message_size(receive_max)
                    .max_encoding_message_size(SEND_BYTES_MAX)
            };
        }
        let all = All {
            kv: bounded!(KvServer, KvService),
            watch: bounded!(WatchServer, WatchService),
            lease: bounded!(LeaseServer, LeaseService),
            cluster: bounded!(ClusterServer, ClusterService),
            maintenance: bounded!(MaintenanceServer, MaintenanceService),
            auth: bounded!(AuthServer, AuthService),
            lock: bounded!(LockServer, LockService),
            election: bounded!(ElectionServer, ElectionService),
            health: bounded!(HealthServer, HealthService),
        };
        Self { all: Arc::new(all), traffic }
    }

    /// Hands a call to the service that it is for.
    fn pass<B>(&self, request: Request<B>) -> Wording<BoxFuture<Response<Body>, Infallible>>
    where
        B: HttpBody + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        let all = &self.all;
        macro_rules! pass {
            ($field:ident, $module:ident) => {
                Wording::new(all.$field.clone().call(request), $module::SERVICE_NAME)
            };
        }
        match service_of(request.uri().path()) {
            kv_server::SERVICE_NAME => pass!(kv, kv_server),
            watch_server::SERVICE_NAME => pass!(watch, watch_server),
            lease_server::SERVICE_NAME => pass!(lease, lease_server),
            cluster_server::SERVICE_NAME => pass!(cluster, cluster_server),
            maintenance_server::SERVICE_NAME => pass!(maintenance, maintenance_server),
            auth_server::SERVICE_NAME => pass!(auth, auth_server),
            lock_server::SERVICE_NAME => pass!(lock, lock_server),
            election_server::SERVICE_NAME => pass!(election, election_server),
            health_server::SERVICE_NAME => pass!(health, health_server),
            unknown => {
                let status = Status::unimplemented(format!("unknown service {unknown}"));
                Wording::new(Box::pin(async move { Ok(status.into_http()) }), "")
            }
        }
    }
}

impl<B> Service<Request<B>> for Services
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Served<Wording<BoxFuture<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = self.traffic.of(request.uri().path()).cloned();
        let timeout = timeout(request.headers());
        let request = request.map(|body| Question::new(body, method.clone()));
        Served::begin(method, self.traffic.takes_times, timeout, || self.pass(request))
    }
}

/// The service in `/package.Service/Method`; the whole of a path of another form.
fn service_of(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or(path, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_of_a_path_names_the_service() {
        for (path, service) in [
            ("/etcdserverpb.KV/Put", "etcdserverpb.KV"),
            ("/etcdserverpb.KV/", "etcdserverpb.KV"),
            ("/etcdserverpb.KV", "/etcdserverpb.KV"),
            ("//Put", ""),
            ("", ""),
        ] {
            assert_eq!(service_of(path), service, "{path:?}");
        }
    }
}
