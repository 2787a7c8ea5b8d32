//! What a member answers to others that compare their state with its own.

use http::{Method, Request, StatusCode};
use revd_replica::state_hash::ALGORITHM;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use crate::driver::Handle;
use crate::peer::call::HASHES;

/// Answers the question for the state hashes; `None` if the request is about something else.
pub async fn answer<B>(handle: &Handle, request: &Request<B>) -> Option<Reply> {
    if request.uri().path() != HASHES || request.method() != Method::POST {
        return None;
    }
    Some(match handle.hashes().await {
        Ok(hashes) => {
            let hashes: Vec<Value> = hashes.iter().map(|at| json!([at.index, at.hash])).collect();
            reply::json(json!({ "algorithm": ALGORITHM, "hashes": hashes }).to_string())
        }
        Err(_) => reply::failure(StatusCode::SERVICE_UNAVAILABLE, "the member is busy or stopping"),
    })
}
