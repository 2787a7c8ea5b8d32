//! Questions to another member, asked over its peer port; most can only be answered by the leader.
//!
//! | question | answer |
//! |---|---|
//! | `POST /revd/lease/renew?id=7` | `{"ttl":10}`: the seconds that it counts down from again |
//! | `POST /revd/lease/remaining?id=7` | `{"ttl":4,"granted":10}` |
//! | `POST /members/add` and a member as JSON, `/members/remove/7`, `/members/promote/7` | the members; else a status and why not |
//! | `POST /revd/hashes` | `{"algorithm":1,"hashes":[[index,hash],…]}`, of any member |
//! | `GET /members` | the members, and the id of their cluster in a header |
//!
//! 404 says that there is no such lease, 409 that the member asked does not lead, or cannot be sure
//! that it does; nothing has happened then. A connection is kept for the next question; there are
//! as many as were ever needed at one time, and at most sixteen of them wait unused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use revd_replica::comparison::HashAt;
use revd_replica::state_hash::ALGORITHM;
use serde_json::Value;

use super::dial;

/// Unused connections that are kept to one address.
const IDLE: usize = 16;

/// The longest answer that is read.
const ANSWER: usize = 1 << 20;

/// The path of [`Calls::renew`].
pub const RENEW: &str = "/revd/lease/renew";
/// The path of [`Calls::remaining`].
pub const REMAINING: &str = "/revd/lease/remaining";
/// The path of [`Calls::hashes`].
pub const HASHES: &str = "/revd/hashes";
/// Paths of [`Calls::change`]; behind the last two comes the id of a member.
pub const ADD: &str = "/members/add";
/// See [`ADD`].
pub const REMOVE: &str = "/members/remove/";
/// See [`ADD`].
pub const PROMOTE: &str = "/members/promote/";
/// The path of [`members`].
pub const MEMBERS: &str = "/members";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The member cannot be reached, or is none of ours.
    #[error("the member cannot be asked: {0}")]
    Unreachable(String),
    /// The member was asked, and the connection ended before its answer.
    #[error("the member has not answered: {0}")]
    Unanswered(String),
    /// The member that was asked does not lead.
    #[error("the member does not lead")]
    NotLeader,
}

/// Asks other members; cheap to clone.
#[derive(Clone, Default)]
pub struct Calls {
    idle: Arc<Mutex<BTreeMap<String, Vec<Connection>>>>,
}

type Connection = SendRequest<Full<Bytes>>;

impl Calls {
    /// Restarts the countdown of a lease: its seconds, or `None` if there is no such lease.
    ///
    /// # Errors
    /// [`CallError`]; ask again when another leader is known.
    pub async fn renew(&self, urls: &[String], id: i64) -> Result<Option<i64>, CallError> {
        let answer = self.ask(urls, &format!("{RENEW}?id={id}")).await?;
        Ok(answer.and_then(|answer| answer.get("ttl")?.as_i64()))
    }

    /// Whole seconds left of a lease, and seconds granted; `None` if there is no such lease.
    ///
    /// # Errors
    /// [`CallError`]; ask again when another leader is known.
    pub async fn remaining(
        &self,
        urls: &[String],
        id: i64,
    ) -> Result<Option<(i64, i64)>, CallError> {
        let answer = self.ask(urls, &format!("{REMAINING}?id={id}")).await?;
        let number = |answer: &Value, name: &str| answer.get(name)?.as_i64();
        Ok(answer.and_then(|a| Some((number(&a, "ttl")?, number(&a, "granted")?))))
    }

    /// The state hashes of any member, by rising index; none if it knows another algorithm.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn hashes(&self, urls: &[String]) -> Result<Vec<HashAt>, CallError> {
        let answer = self.ask(urls, HASHES).await?.unwrap_or_default();
        if answer.get("algorithm").and_then(Value::as_u64) != Some(u64::from(ALGORITHM)) {
            return Ok(Vec::new());
        }
        let number = |pair: &Value, at: usize| pair.get(at)?.as_u64();
        let hash = |pair: &Value| Some(HashAt { index: number(pair, 0)?, hash: number(pair, 1)? });
        let mut hashes: Vec<HashAt> = answer
            .get("hashes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(hash)
            .collect();
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// Has the leader change the members: the status of its answer, and the text.
    ///
    /// # Errors
    /// [`CallError`]; ask again when another leader is known, but not after
    /// [`CallError::Unanswered`]: the change may have been made.
    pub async fn change(
        &self,
        urls: &[String],
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let answer = self.post(urls, path, body).await?;
        match answer.status() {
            StatusCode::CONFLICT => Err(CallError::NotLeader),
            status => Ok((status, answer.into_body())),
        }
    }

    /// Asks for an object; `None` stands for 404.
    async fn ask(&self, urls: &[String], path: &str) -> Result<Option<Value>, CallError> {
        let answer = self.post(urls, path, Bytes::new()).await?;
        match answer.status() {
            StatusCode::OK => {
                serde_json::from_slice(answer.body()).map(Some).map_err(|e| unreachable(&e))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::CONFLICT => Err(CallError::NotLeader),
            other => Err(unreachable(&other)),
        }
    }

    /// Asks at the first address where somebody can be asked.
    async fn post(
        &self,
        urls: &[String],
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let mut last = CallError::Unreachable("it has no address".to_owned());
        for url in urls {
            match self.post_at(url, path, body.clone()).await {
                Err(CallError::Unreachable(why)) => last = CallError::Unreachable(why),
                answer => return answer,
            }
        }
        Err(last)
    }

    async fn post_at(
        &self,
        url: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let kept = self.idle.lock().get_mut(url).and_then(Vec::pop);
        let mut connection = match kept.filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => connect(url).await?,
        };
        let request = request(Method::POST, url, path, body)?;
        let answer = exchange(&mut connection, request).await?;
        self.keep(url, connection);
        Ok(answer)
    }

    fn keep(&self, url: &str, connection: Connection) {
        let mut idle = self.idle.lock();
        let connections = idle.entry(url.to_owned()).or_default();
        if connections.len() < IDLE {
            connections.push(connection);
        }
    }
}

/// Asks whoever listens at an address who the members of its cluster are.
///
/// # Errors
/// [`CallError`], if there is no answer.
pub async fn members(url: &str) -> Result<Response<Bytes>, CallError> {
    let request = request(Method::GET, url, MEMBERS, Bytes::new())?;
    let answer = exchange(&mut connect(url).await?, request).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer),
        other => Err(unreachable(&other)),
    }
}

fn request(
    method: Method,
    url: &str,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, CallError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| unreachable(&error))?;
    dial::write_host(request.headers_mut(), url);
    Ok(request)
}

/// One question and its answer.
async fn exchange(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, CallError> {
    let answer = connection.try_send_request(request).await.map_err(|mut error| {
        let was_sent = error.take_message().is_none();
        let why = error.into_error().to_string();
        if was_sent { CallError::Unanswered(why) } else { CallError::Unreachable(why) }
    })?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER).collect().await;
    let body = body.map_err(|error| CallError::Unanswered(error.to_string()))?.to_bytes();
    Ok(Response::from_parts(head, body))
}

fn unreachable(error: &dyn std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}

async fn connect(url: &str) -> Result<Connection, CallError> {
    let stream = dial::connect(url).await.map_err(|error| unreachable(&error))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (connection, driver) = shaken.map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        // An error ends the connection, as the next call on it sees.
        let _ = driver.await;
    });
    Ok(connection)
}
