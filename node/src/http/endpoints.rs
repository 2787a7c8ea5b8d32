//! What HTTP/1.1 gets on the client port: health, `/version` and `/metrics`; and on the ports for
//! monitoring alone, which have no `/version`.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    HeaderValue,
};
use http::{Method, Response};
use http_body_util::Full;

use super::reply::{self, Reply};
use super::{Member, exposition, health, probe};
use crate::ETCD_VERSION;

/// Answers a request to the client port. The body of the request is never read: no endpoint has
/// one, and hyper closes the connection over what is left of it.
pub async fn answer(
    member: &impl Member,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Reply {
    let mut reply = match (method, path) {
        (&Method::OPTIONS, _) => Response::new(Full::new(Bytes::new())),
        (&Method::GET, "/version") => version(member),
        (_, "/version") => reply::only_get(),
        _ => monitoring(member, method, path, query).await,
    };
    allow_other_origins(&mut reply);
    reply
}

/// Answers a request to a port for monitoring, `--listen-metrics-urls`.
pub async fn monitoring(
    member: &impl Member,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Reply {
    let query = query.unwrap_or_default();
    match (method, path) {
        // The one endpoint that etcd answers whatever the method is.
        (_, "/metrics") => exposition::answer(member),
        (&Method::GET, "/health") => health::answer(member, query).await,
        (_, "/health") => reply::only_get(),
        _ => {
            let probed = probe::answer(member, method, path, query).await;
            probed.unwrap_or_else(reply::not_found)
        }
    }
}

/// `/version`, which the peer port has as well.
pub(crate) fn version(member: &impl Member) -> Reply {
    let facts = member.facts();
    let cluster = facts.cluster_version.as_deref().map_or("not_decided".to_owned(), patched);
    let body = serde_json::json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": cluster,
        "storage": patched(ETCD_VERSION),
    });
    reply::json(body.to_string())
}

/// A version with the patch level 0: clusters and storage differ by minor versions only.
fn patched(version: &str) -> String {
    let minor: Vec<&str> = version.split('.').take(2).collect();
    format!("{}.0", minor.join("."))
}

/// The headers that let a page of any origin use the port, on every reply.
fn allow_other_origins(reply: &mut Reply) {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::Verdicts;
    use super::super::member::{MemberFacts, MemberRecord, Numbers, PeerNumbers};
    use super::*;
    use crate::rpc::traffic::Traffic;
    use http_body_util::BodyExt;
    use std::sync::Arc;

    /// A member that says what the test wants.
    #[derive(Clone)]
    pub(crate) struct Fake {
        pub(crate) facts: MemberFacts,
        pub(crate) numbers: Numbers,
        pub(crate) members: Vec<MemberRecord>,
        pub(crate) linearizable: Result<(), String>,
        pub(crate) verdicts: Arc<Verdicts>,
        pub(crate) traffic: Arc<Traffic>,
        pub(crate) peers: Vec<PeerNumbers>,
    }

    impl Fake {
        pub(crate) fn leading() -> Fake {
            let cluster_version = Some("3.7.0".to_owned());
            let facts = MemberFacts {
                cluster_id: 10,
                member_id: 11,
                leader: 11,
                cluster_version,
                ..Default::default()
            };
            let members = vec![MemberRecord { id: 11, ..Default::default() }];
            Fake {
                facts,
                numbers: Numbers::default(),
                members,
                linearizable: Ok(()),
                verdicts: Arc::default(),
                traffic: Arc::default(),
                peers: Vec::new(),
            }
        }
    }

    impl Member for Fake {
        fn facts(&self) -> MemberFacts {
            self.facts.clone()
        }

        fn members(&self) -> Vec<MemberRecord> {
            self.members.clone()
        }

        fn numbers(&self) -> Numbers {
            self.numbers.clone()
        }

        fn verdicts(&self) -> &Verdicts {
            &self.verdicts
        }

        fn peers(&self) -> Vec<PeerNumbers> {
            self.peers.clone()
        }

        fn traffic(&self) -> &Traffic {
            &self.traffic
        }

        async fn read(&self, serializable: bool) -> Result<(), String> {
            if serializable { Ok(()) } else { self.linearizable.clone() }
        }
    }

    pub(crate) async fn content(reply: Reply) -> String {
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn get(method: Method, path: &str) -> Reply {
        answer(&Fake::leading(), &method, path, None).await
    }

    #[tokio::test]
    async fn version_before_and_after_the_cluster_has_one() {
        let reply = get(Method::GET, "/version").await;
        assert_eq!(reply.headers()["content-type"], "application/json");
        let expected = "{\"etcdserver\":\"3.7.0\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}";
        assert_eq!(content(reply).await, expected);
        let mut member = Fake::leading();
        member.facts.cluster_version = None;
        assert!(content(version(&member)).await.contains("\"etcdcluster\":\"not_decided\""));
    }

    #[tokio::test]
    async fn unknown_paths_and_methods() {
        for path in ["/", "/nope", "/health/", "/members", "/v3/kv/range"] {
            let reply = get(Method::GET, path).await;
            assert_eq!(reply.status(), 404, "{path}");
            assert_eq!(content(reply).await, "404 page not found\n");
        }
        for path in ["/health", "/version"] {
            let reply = get(Method::POST, path).await;
            assert_eq!(
                (reply.status().as_u16(), &reply.headers()["allow"]),
                (405, &"GET".parse().unwrap())
            );
            assert_eq!(content(reply).await, "Method Not Allowed\n");
        }
    }

    #[tokio::test]
    async fn ports_for_monitoring_have_health_and_metrics_alone() {
        for (path, status) in [
            ("/health", 200),
            ("/readyz", 200),
            ("/livez/serializable_read", 200),
            ("/metrics", 200),
        ] {
            let reply = monitoring(&Fake::leading(), &Method::GET, path, None).await;
            assert_eq!(reply.status(), status, "{path}");
            assert!(reply.headers().get("access-control-allow-origin").is_none());
            assert_eq!(get(Method::GET, path).await.status(), status, "{path}");
        }
        for path in ["/version", "/members", "/"] {
            let reply = monitoring(&Fake::leading(), &Method::GET, path, None).await;
            assert_eq!(reply.status(), 404, "{path}");
        }
    }

    #[tokio::test]
    async fn every_reply_is_open_to_other_origins() {
        for (method, path) in
            [(Method::GET, "/version"), (Method::GET, "/x"), (Method::PUT, "/health")]
        {
            let reply = get(method, path).await;
            assert_eq!(reply.headers()["access-control-allow-origin"], "*");
            assert_eq!(
                reply.headers()["access-control-allow-headers"],
                "accept, content-type, authorization"
            );
        }
    }

    #[tokio::test]
    async fn options_gets_an_empty_reply() {
        let reply = get(Method::OPTIONS, "/nope").await;
        assert_eq!(reply.status(), 200);
        assert_eq!(
            reply.headers()["access-control-allow-methods"],
            "POST, GET, OPTIONS, PUT, DELETE"
        );
        assert_eq!(content(reply).await, "");
    }
}
