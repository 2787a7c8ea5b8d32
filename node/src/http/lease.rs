//! What the leader answers about leases to the members that do not lead.

use http::{Method, Request, StatusCode};
use serde_json::json;

use super::reply::{self, Reply};
use crate::driver::{CallError, Handle};
use crate::peer::call::{REMAINING, RENEW};

/// Answers one question of another member; `None` if it is about something else.
pub async fn answer<B>(handle: &Handle, request: &Request<B>) -> Option<Reply> {
    let path = request.uri().path();
    if ![RENEW, REMAINING].contains(&path) || request.method() != Method::POST {
        return None;
    }
    let id = request.uri().query().and_then(|query| query.strip_prefix("id=")?.parse().ok());
    let Some(id) = id else {
        return Some(reply::failure(StatusCode::BAD_REQUEST, "a lease is meant by id=number"));
    };
    let status = handle.status();
    let found = if status.leader != status.member_id {
        Err(CallError::NotLeader)
    } else if path == RENEW {
        handle.renew_here(id).await.map(|ttl| ttl.map(|ttl| json!({ "ttl": ttl })))
    } else {
        let found = handle.remaining_here(id).await;
        found.map(|found| found.map(|(ttl, granted)| json!({ "ttl": ttl, "granted": granted })))
    };
    Some(match found {
        Ok(Some(found)) => reply::json(found.to_string()),
        Ok(None) => reply::failure(StatusCode::NOT_FOUND, "no such lease"),
        Err(_) => reply::failure(StatusCode::CONFLICT, "not the leader"),
    })
}
