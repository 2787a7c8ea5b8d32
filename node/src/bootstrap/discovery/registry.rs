//! Discovery in a cluster that runs already: its keys are where the members of the new one meet.
//!
//! Below `/_etcd/registry/<token>/` the operator has written `_config/size`. Each member writes
//! `members/<its id>` = `name=url,name=url`, and waits until there are as many as the cluster is to
//! have. The first so many by revision are its members, and all of them see the same; who comes
//! later is told that the cluster is full. A member that was interrupted finds its own entry.

use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::{PutRequest, RangeRequest};
use revd_api::mvccpb::KeyValue;
use tokio::net::TcpStream;
use tonic::body::Body;

use super::DiscoveryError;
use crate::bootstrap::member_id;
use crate::config::{self, Config, InitialCluster};

/// How often it is looked whether the others have come.
const LOOK: Duration = Duration::from_millis(250);

/// The longest pause after a cluster that could not be asked; they double from one second.
const PAUSE_MAX: Duration = Duration::from_secs(256);

/// Why the running cluster has not answered; it is asked again.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Status(String),
}

/// Registers this member, and waits for the others; the initial cluster.
///
/// # Errors
/// [`DiscoveryError`].
pub(super) async fn find(
    config: &Config,
    discovery: &config::Registry,
) -> Result<String, DiscoveryError> {
    let urls = &config.initial_advertise_peer_urls;
    let entry: Vec<String> = urls.iter().map(|url| format!("{}={url}", config.name)).collect();
    let own = format!("{:x}", member_id(urls, &discovery.token));
    Registry { discovery, own, entry: entry.join(",") }.join().await
}

struct Registry<'a> {
    discovery: &'a config::Registry,
    /// Id of this member, as its key ends.
    own: String,
    entry: String,
}

/// A member that has registered.
#[derive(Debug, PartialEq, Eq)]
struct Registered {
    id: String,
    entry: String,
}

impl Registry<'_> {
    fn prefix(&self) -> String {
        format!("/_etcd/registry/{}", self.discovery.token)
    }

    /// Registers, and waits until all places are taken; the initial cluster.
    async fn join(&self) -> Result<String, DiscoveryError> {
        let size = self.size().await?;
        let members = place(&self.members().await, &self.own, size)?;
        if !members {
            self.register().await;
        }
        let mut told = 0;
        loop {
            let members = self.members().await;
            place(&members, &self.own, size)?;
            if members.len() >= size {
                return cluster(&members[..size]);
            }
            if members.len() != told {
                told = members.len();
                tracing::info!(size, found = told, "waiting for other members to be discovered");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn size(&self) -> Result<usize, DiscoveryError> {
        let key = format!("{}/_config/size", self.prefix());
        let kvs = self.range(key.clone(), None).await;
        let Some(kv) = kvs.first() else { return Err(DiscoveryError::NoSize(key)) };
        let found = String::from_utf8_lossy(&kv.value).into_owned();
        match found.parse() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(DiscoveryError::BadSize { key, found }),
        }
    }

    /// Who has registered, the first one first.
    async fn members(&self) -> Vec<Registered> {
        let prefix = format!("{}/members/", self.prefix());
        // The prefix with its last character raised by one ends it.
        let end = format!("{}/members0", self.prefix());
        let mut kvs = self.range(prefix.clone(), Some(end)).await;
        kvs.sort_by_key(|kv| kv.create_revision);
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let registered = |kv: &KeyValue| Registered {
            id: text(&kv.key.slice(prefix.len().min(kv.key.len())..)),
            entry: text(&kv.value),
        };
        kvs.iter().map(registered).collect()
    }

    async fn register(&self) {
        let key = format!("{}/members/{}", self.prefix(), self.own);
        let put = PutRequest {
            key: key.into(),
            value: self.entry.clone().into(),
            ..PutRequest::default()
        };
        let ask = |mut kv: Client| {
            let put = put.clone();
            async move { kv.put(put).await.map(drop) }
        };
        self.until_answered(ask).await;
    }

    async fn range(&self, key: String, end: Option<String>) -> Vec<KeyValue> {
        let range = RangeRequest {
            key: key.into(),
            range_end: end.unwrap_or_default().into(),
            ..RangeRequest::default()
        };
        let ask = |mut kv: Client| {
            let range = range.clone();
            async move {
                let answer = kv.range(range).await?.into_inner();
                answer.kvs.decode().map_err(|error| tonic::Status::internal(error.to_string()))
            }
        };
        self.until_answered(ask).await
    }

    /// Asks one address after the other until one answers.
    async fn until_answered<T, F>(&self, ask: impl Fn(Client) -> F) -> T
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let mut pause = Duration::from_secs(1);
        loop {
            for endpoint in &self.discovery.endpoints {
                match self.ask(endpoint, &ask).await {
                    Ok(answer) => return answer,
                    Err(error) => tracing::warn!(
                        endpoint,
                        error = %error,
                        "the discovery service does not answer; trying again"
                    ),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    async fn ask<T, F>(&self, endpoint: &str, ask: &impl Fn(Client) -> F) -> Result<T, Unanswered>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let dialled = tokio::time::timeout(self.discovery.dial_timeout, connect(endpoint)).await;
        let client = dialled.map_err(|_| Unanswered::Timeout)?.map_err(Unanswered::Connect)?;
        let answer = tokio::time::timeout(self.discovery.request_timeout, ask(client)).await;
        let answer = answer.map_err(|_| Unanswered::Timeout)?;
        answer.map_err(|status| Unanswered::Status(status.message().to_owned()))
    }
}

/// Whether this member is among those that have registered.
fn place(members: &[Registered], own: &str, size: usize) -> Result<bool, DiscoveryError> {
    let found = members.iter().position(|member| member.id == own);
    // Who is not there yet would come after all who are.
    if found.unwrap_or(members.len()) >= size {
        return Err(DiscoveryError::Full);
    }
    Ok(found.is_some())
}

/// What has been registered as one initial cluster.
fn cluster(members: &[Registered]) -> Result<String, DiscoveryError> {
    let entries: Vec<&str> = members.iter().map(|member| member.entry.as_str()).collect();
    let text = entries.join(",");
    let malformed = |why: String| DiscoveryError::Malformed(why);
    let parsed = InitialCluster::parse(&text).map_err(|error| malformed(error.to_string()))?;
    if parsed.iter().count() != members.len() {
        return Err(malformed(format!("two members have one name in {text}")));
    }
    Ok(text)
}

type Client = KvClient<Connection>;

/// Calls over one connection; it ends with the last clone of this.
#[derive(Clone)]
struct Connection(http2::SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>,
    >;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}

async fn connect(endpoint: &str) -> Result<Client, String> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let origin = format!("http://{address}").parse();
    let origin = origin.map_err(|error: http::uri::InvalidUri| error.to_string())?;
    Ok(KvClient::with_origin(Connection(sender), origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(names: &[&str]) -> Vec<Registered> {
        let one = |name: &&str| Registered {
            id: (*name).to_owned(),
            entry: format!("{name}=http://{name}:1"),
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn the_first_so_many_are_the_members() {
        let members = registered(&["a", "b"]);
        assert_eq!(place(&members, "b", 2), Ok(true));
        assert_eq!(place(&members, "c", 3), Ok(false));
        assert_eq!(place(&members, "c", 2), Err(DiscoveryError::Full));
        assert_eq!(place(&registered(&["a", "b", "c"]), "c", 2), Err(DiscoveryError::Full));
        assert_eq!(cluster(&members).as_deref(), Ok("a=http://a:1,b=http://b:1"));
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let mut members = registered(&["a", "b"]);
        members[1].entry = "a=http://b:1".to_owned();
        let error = cluster(&members).unwrap_err().to_string();
        assert!(error.contains("two members have one name"), "{error}");
        members[1].entry = "b".to_owned();
        assert!(matches!(cluster(&members), Err(DiscoveryError::Malformed(_))));
    }
}
