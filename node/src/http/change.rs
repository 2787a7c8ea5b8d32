//! Changes of members that another member hands on to the leader.
//!
//! Consensus takes one change at a time, and a leader that refuses what was handed to it says
//! nothing; so a change is not handed on as a proposal, but asked for here, where the leader can
//! let it wait for the one before.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use revd_replica::{Member, Membership};
use tonic::Code;

use super::member::MemberRecord;
use super::peer::{self, read_record, record};
use super::reply::{self, Reply};
use crate::driver::Handle;
use crate::peer::call::{ADD, PROMOTE, REMOVE};
use crate::rpc::errors::Refusal;
use crate::rpc::membership;

/// The longest body that is read: of a member with all of its URLs.
const BODY: usize = 1 << 20;

/// A change as it is asked for: path and body. `None` for one that nobody asks for.
#[must_use]
pub fn write(change: &Membership) -> Option<(String, Bytes)> {
    match change {
        Membership::Add(member) => {
            let Member { id, name, peer_urls, client_urls, is_learner } = member.clone();
            let member = MemberRecord { id, peer_urls, name, client_urls, is_learner };
            Some((ADD.to_owned(), record(member).to_string().into()))
        }
        Membership::Remove(id) => Some((format!("{REMOVE}{id}"), Bytes::new())),
        Membership::Promote(id) => Some((format!("{PROMOTE}{id}"), Bytes::new())),
        Membership::Found(_) | Membership::Survive(_) => None,
    }
}

/// The reverse; `None` if it is none of these.
fn read(path: &str, body: &[u8]) -> Option<Membership> {
    if path == ADD {
        let record = read_record(&serde_json::from_slice(body).ok()?)?;
        let MemberRecord { id, peer_urls, name, client_urls, is_learner } = record;
        return Some(Membership::Add(Member { id, name, peer_urls, client_urls, is_learner }));
    }
    match path.strip_prefix(REMOVE) {
        Some(id) => Some(Membership::Remove(id.parse().ok()?)),
        None => Some(Membership::Promote(path.strip_prefix(PROMOTE)?.parse().ok()?)),
    }
}

/// Whether a request asks for a change of members.
pub fn is_meant<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let is_change = path == ADD || path.starts_with(REMOVE) || path.starts_with(PROMOTE);
    is_change && request.method() == Method::POST
}

/// Answers what [`is_meant`]: with the members, or with why not. 409 says that this member does not
/// lead.
pub async fn answer<B: Body>(handle: &Handle, request: Request<B>) -> Reply
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply::failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(change) = read(head.uri.path(), &body) else {
        return reply::failure(StatusCode::BAD_REQUEST, "this is no change of members");
    };
    let refused = match membership::change_here(handle, &change).await {
        Ok(()) => return peer::members(handle),
        Err(refused) => refused,
    };
    let status = match refused.code() {
        _ if refused.message() == Refusal::NotLeader.text() => StatusCode::CONFLICT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::Unknown => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    reply::failure(status, refused.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_they_were_written() {
        let peer_urls = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        let learner = Member { id: u64::MAX, peer_urls, is_learner: true, ..Member::default() };
        for change in
            [Membership::Add(learner), Membership::Remove(7), Membership::Promote(u64::MAX)]
        {
            let (path, body) = write(&change).unwrap();
            assert_eq!(read(&path, &body), Some(change));
            let request = |method| Request::builder().method(method).uri(&path).body(()).unwrap();
            assert!(is_meant(&request("POST")) && !is_meant(&request("GET")));
        }
        assert_eq!(write(&Membership::Found(Vec::new())), None);
    }

    #[test]
    fn what_is_no_change_is_told_apart() {
        for (path, body) in [
            (ADD, ""),
            (ADD, "[]"),
            (ADD, "{\"peerURLs\":[\"http://a:1\"]}"),
            ("/members/remove/", ""),
            ("/members/remove/x", ""),
            ("/members/promote/-1", ""),
            ("/members", ""),
        ] {
            assert_eq!(read(path, body.as_bytes()), None, "{path} {body}");
        }
    }
}
