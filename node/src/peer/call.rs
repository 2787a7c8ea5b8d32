//! Questions that only the leader can answer, asked over its peer port.
//!
//! | question | answer |
//! |---|---|
//! | `POST /revd/lease/renew?id=7` | `{"ttl":10}`: the seconds that it counts down from again |
//! | `POST /revd/lease/remaining?id=7` | `{"ttl":4,"granted":10}` |
//!
//! 404 says that there is no such lease, 409 that the member asked does not lead, or cannot be sure
//! that it does. A connection is kept for the next question; there are as many as were ever needed
//! at one time, and at most sixteen of them wait unused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;

use super::dial;

/// Unused connections that are kept to one address.
const IDLE: usize = 16;

/// The longest answer that is read.
const ANSWER: usize = 4 << 10;

/// The path of [`Calls::renew`].
pub const RENEW: &str = "/revd/lease/renew";
/// The path of [`Calls::remaining`].
pub const REMAINING: &str = "/revd/lease/remaining";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The member cannot be reached, or is none of ours.
    #[error("the member cannot be asked: {0}")]
    Unreachable(String),
    /// The member that was asked does not lead.
    #[error("the member does not lead")]
    NotLeader,
}

/// Asks other members; cheap to clone.
#[derive(Clone, Default)]
pub struct Calls {
    idle: Arc<Mutex<BTreeMap<String, Vec<Connection>>>>,
}

type Connection = SendRequest<Empty<Bytes>>;

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

    /// Asks at the first address that answers; `None` stands for 404.
    async fn ask(&self, urls: &[String], path: &str) -> Result<Option<Value>, CallError> {
        let mut last = CallError::Unreachable("it has no address".to_owned());
        for url in urls {
            match self.ask_at(url, path).await {
                Err(error @ CallError::Unreachable(_)) => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    async fn ask_at(&self, url: &str, path: &str) -> Result<Option<Value>, CallError> {
        let unreachable = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
        let kept = self.idle.lock().get_mut(url).and_then(Vec::pop);
        let mut connection = match kept.filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => connect(url).await?,
        };
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().map_err(|error| unreachable(&error))?;
        dial::write_host(request.headers_mut(), url);
        let response = connection.send_request(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| CallError::Unreachable(error.to_string()))?.to_bytes();
        self.keep(url, connection);
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map(Some).map_err(|error| unreachable(&error))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::CONFLICT => Err(CallError::NotLeader),
            other => Err(unreachable(&other)),
        }
    }

    fn keep(&self, url: &str, connection: Connection) {
        let mut idle = self.idle.lock();
        let connections = idle.entry(url.to_owned()).or_default();
        if connections.len() < IDLE {
            connections.push(connection);
        }
    }
}

async fn connect(url: &str) -> Result<Connection, CallError> {
    let unreachable = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
    let stream = dial::connect(url).await.map_err(|error| unreachable(&error))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (connection, driver) = shaken.map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        // An error ends the connection, as the next call on it sees.
        let _ = driver.await;
    });
    Ok(connection)
}
