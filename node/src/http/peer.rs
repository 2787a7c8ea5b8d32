//! What other members get on the peer port: `/version` and `/members`.

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Request, Response};
use serde_json::{Map, Value, json};

use super::member::MemberRecord;
use super::reply::{self, Reply};
use super::{Member, endpoints};
use crate::peer::GENERATION;

/// The header with the cluster of whoever answers, in hexadecimal digits.
const CLUSTER_ID: &str = "x-etcd-cluster-id";

/// Answers one request of another member.
pub fn answer<B>(member: &impl Member, request: &Request<B>) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/version") => endpoints::version(member),
        (&Method::GET, "/members") => members(member),
        (_, "/version" | "/members") => reply::only_get(),
        _ => reply::not_found(),
    }
}

/// 200 with the members as JSON objects in the order of their ids.
pub(super) fn members(member: &impl Member) -> Reply {
    let list: Vec<Value> = member.members().into_iter().map(record).collect();
    let mut reply = reply::json(format!("{}\n", Value::from(list)));
    let cluster = format!("{:x}", member.facts().cluster_id);
    if let Ok(cluster) = HeaderValue::try_from(cluster) {
        reply.headers_mut().insert(CLUSTER_ID, cluster);
    }
    let generation = HeaderValue::from(member.facts().generation);
    reply.headers_mut().insert(GENERATION, generation);
    reply
}

/// One member; what it does not have yet is left out.
pub(super) fn record(member: MemberRecord) -> Value {
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

/// What `GET /members` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The cluster.
    pub cluster: u64,
    /// How often it has gone on with a single survivor.
    pub generation: u64,
    /// Its members.
    pub members: Vec<MemberRecord>,
}

/// Reads the answer to `GET /members`; `None` if it is of no member of a cluster like this.
pub fn read_members(answer: &Response<Bytes>) -> Option<Roll> {
    let text = |name| answer.headers().get(name)?.to_str().ok();
    let cluster = u64::from_str_radix(text(CLUSTER_ID)?, 16).ok()?;
    let generation = text(GENERATION)?.parse().ok()?;
    Some(Roll { cluster, generation, members: read_list(answer.body())? })
}

/// Reads a list of members.
pub fn read_list(text: &[u8]) -> Option<Vec<MemberRecord>> {
    serde_json::from_slice::<Vec<Value>>(text).ok()?.iter().map(read_record).collect()
}

pub(super) fn read_record(object: &Value) -> Option<MemberRecord> {
    let texts = |name: &str| -> Vec<String> {
        let list = object.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Some(MemberRecord {
        id: object.get("id")?.as_u64()?,
        peer_urls: texts("peerURLs"),
        name: object.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        client_urls: texts("clientURLs"),
        is_learner: object.get("isLearner").and_then(Value::as_bool).unwrap_or_default(),
    })
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
        member.facts.generation = 3;
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
        let head = reply.headers().clone();
        let text = content(reply).await;
        let mut same = Response::new(Bytes::from(text.clone()));
        *same.headers_mut() = head;
        let members = member.members.clone();
        let roll = Roll { cluster: 0x0cdf_8181, generation: 3, members };
        assert_eq!(read_members(&same), Some(roll));
        assert_eq!(
            text,
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
