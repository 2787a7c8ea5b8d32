//! Promotions that another member hands on to the leader.

use http::{Method, Request, StatusCode};
use tonic::Code;

use super::peer;
use super::reply::{self, Reply};
use crate::driver::Handle;
use crate::peer::call::PROMOTE;
use crate::rpc::errors::Refusal;
use crate::rpc::membership;

/// Answers one promotion; `None` if the request is about something else. 409 says that this member
/// does not lead.
pub async fn answer<B>(handle: &Handle, request: &Request<B>) -> Option<Reply> {
    let id = request.uri().path().strip_prefix(PROMOTE)?;
    if request.method() != Method::POST {
        return None;
    }
    let Ok(id) = id.parse() else {
        return Some(reply::failure(StatusCode::BAD_REQUEST, "a member is meant by its number"));
    };
    let refused = match membership::promote_here(handle, id).await {
        Ok(()) => return Some(peer::members(handle)),
        Err(refused) => refused,
    };
    let status = match refused.code() {
        _ if refused.message() == Refusal::NotLeader.text() => StatusCode::CONFLICT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::Unknown => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Some(reply::failure(status, refused.message()))
}
