//! What other members get on the peer port: `/version` and `/members`.

use http::header::HeaderValue;
use http::{Method, Request};
use serde_json::{Map, Value, json};

use super::member::MemberRecord;
use super::reply::{self, Reply};
use super::{Member, endpoints};

/// Answers one request of another member.
pub fn answer<B>(member: &impl Member, request: &Request<B>) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/version") => endpoints::version(member),
        (&Method::GET, "/members") => members(member),
        (_, "/version" | "/members") => reply::only_get(),
        _ => reply::not_found(),
    }
}

fn members(member: &impl Member) -> Reply {
    let list: Vec<Value> = member.members().into_iter().map(record).collect();
    let mut reply = reply::json(format!("{}\n", Value::from(list)));
    let cluster = format!("{:x}", member.facts().cluster_id);
    if let Ok(cluster) = HeaderValue::try_from(cluster) {
        reply.headers_mut().insert("x-etcd-cluster-id", cluster);
    }
    reply
}

/// One member; what it does not have yet is left out.
fn record(member: MemberRecord) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), json!(member.id));
    object.insert("peerURLs".into(), json!(member.peer_urls));
    if !member.name.is_empty() {
        object.insert("name".into(), json!(member.name));
    }
    if !member.client_urls.is_empty() {
        object.insert("clientURLs".into(), json!(member.client_urls));
    }
    if member.is_learner {
        object.insert("isLearner".into(), json!(true));
    }
    Value::from(object)
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::tests::{Fake, content};
    use super::*;

    fn get(path: &str) -> Reply {
        answer(&Fake::leading(), &Request::get(path).body(()).unwrap())
    }

    #[tokio::test]
    async fn members_as_etcd_lists_them() {
        let mut member = Fake::leading();
        member.facts.cluster_id = 0x0cdf_8181;
        member.members = vec![
            MemberRecord {
                id: u64::MAX,
                peer_urls: vec!["http://a:1".into()],
                name: "a".into(),
                client_urls: vec!["http://a:2".into()],
                is_learner: false,
            },
            MemberRecord { id: 2, is_learner: true, ..Default::default() },
        ];
        let reply = answer(&member, &Request::get("/members").body(()).unwrap());
        assert_eq!(reply.headers()["x-etcd-cluster-id"], "cdf8181");
        assert_eq!(
            content(reply).await,
            "[{\"id\":18446744073709551615,\"peerURLs\":[\"http://a:1\"],\"name\":\"a\",\
             \"clientURLs\":[\"http://a:2\"]},{\"id\":2,\"peerURLs\":[],\"isLearner\":true}]\n"
        );
    }

    #[test]
    fn other_paths_and_methods() {
        assert_eq!(get("/version").status(), 200);
        for path in ["/", "/health", "/metrics", "/raft"] {
            assert_eq!(get(path).status(), 404, "{path}");
        }
        let post = Request::post("/members").body(()).unwrap();
        assert_eq!(answer(&Fake::leading(), &post).status(), 405);
    }
}
