//! Streams from other members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use revd_raft::NodeId;
use tonic::body::Body;

use super::frame::{FrameError, Frames};
use super::greeting::{Acquaintance, Greeting, Kind, write_upgrade};
use super::traffic::{Link, Traffic};
use super::{Event, Listener, Reception};
use crate::http::serve::Stopping;

/// Where a stream is asked for.
pub const PATH: &str = "/revd/stream";

/// Who is connected, and since when.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Mutex<BTreeMap<u64, Present>>>);

#[derive(Debug)]
struct Present {
    streams: usize,
    since: Instant,
}

impl Presence {
    /// How long a member has had a stream to this one without a gap.
    pub fn of(&self, member: u64) -> Option<Duration> {
        self.0.lock().get(&member).map(|present| present.since.elapsed())
    }

    fn enters(&self, member: u64) {
        let mut all = self.0.lock();
        let first = || Present { streams: 0, since: Instant::now() };
        all.entry(member).or_insert_with(first).streams += 1;
    }

    /// Whether it was the member's last stream.
    fn leaves(&self, member: u64) -> bool {
        let mut all = self.0.lock();
        let present = all.get_mut(&member).expect("it was counted");
        present.streams -= 1;
        let is_gone = present.streams == 0;
        if is_gone {
            all.remove(&member);
        }
        is_gone
    }
}

/// Where the streams of other members arrive.
#[derive(Clone)]
pub struct Arrivals {
    listener: Listener,
    presence: Presence,
    reception: Reception,
    traffic: Traffic,
}

/// One stream, counted as open until this is dropped.
struct Arrival {
    from: u64,
    arrivals: Arrivals,
}

impl Arrivals {
    /// What they bring goes to `listener`, who is there to `presence`, snapshots to `reception`,
    /// what is counted to `traffic`.
    #[must_use]
    pub fn new(
        listener: Listener,
        presence: Presence,
        reception: Reception,
        traffic: Traffic,
    ) -> Self {
        Self { listener, presence, reception, traffic }
    }

    fn enter(&self, from: u64) -> Arrival {
        self.presence.enters(from);
        Arrival { from, arrivals: self.clone() }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.arrivals.presence.leaves(self.from) {
            self.arrivals.traffic.of(self.from).disconnected();
            (self.arrivals.listener)(Event::Gone(NodeId(self.from)));
        }
    }
}

/// Answers the request for a stream, and reads the stream in a task of its own until it ends or
/// the server stops.
pub fn accept(
    arrivals: &Arrivals,
    known: Acquaintance<'_>,
    stopping: Stopping,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let Some(greeting) = Greeting::read(request.headers()) else {
        return status(StatusCode::BAD_REQUEST);
    };
    if let Err(refused) = greeting.judge(known) {
        if refused == StatusCode::PRECONDITION_FAILED {
            tracing::warn!(
                "local-member-cluster-id" = %format_args!("{:x}", known.cluster),
                "remote-peer-id" = %format_args!("{:x}", greeting.from),
                "remote-peer-cluster-id" = %format_args!("{:x}", greeting.cluster),
                "request cluster ID mismatch"
            );
        }
        return status(refused);
    }
    let met = Event::Met { id: NodeId(greeting.from), urls: greeting.urls.clone() };
    (arrivals.listener)(met);
    let upgrade = hyper::upgrade::on(&mut request);
    if greeting.kind == Kind::Snapshot {
        let (reception, listener) = (arrivals.reception.clone(), Arc::clone(&arrivals.listener));
        let (arrival, listener) = arrivals.traffic.of(greeting.from).receives_snapshot(listener);
        tokio::spawn(async move {
            reception.receive(greeting, listener, upgrade, stopping).await;
            drop(arrival);
        });
    } else {
        tokio::spawn(receive(arrivals.clone(), greeting, upgrade, stopping));
    }
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    write_upgrade(response.headers_mut());
    response
}

async fn receive(
    arrivals: Arrivals,
    greeting: Greeting,
    upgrade: OnUpgrade,
    mut stopping: Stopping,
) {
    let Ok(connection) = upgrade.await else { return };
    let _arrival = arrivals.enter(greeting.from);
    let link = arrivals.traffic.of(greeting.from);
    let mut frames = Frames::new(TokioIo::new(connection));
    let outcome = tokio::select! {
        outcome = read(&arrivals, &greeting, &mut frames, &link) => outcome,
        () = stopping.requested() => Ok(()),
    };
    if let Err(error) = outcome {
        tracing::warn!(
            "remote-peer-id" = %format_args!("{:x}", greeting.from),
            stream = ?greeting.kind,
            error = %error,
            "lost TCP streaming connection with remote peer"
        );
    }
}

async fn read<R: tokio::io::AsyncRead + Unpin>(
    arrivals: &Arrivals,
    greeting: &Greeting,
    frames: &mut Frames<R>,
    link: &Link,
) -> Result<(), FrameError> {
    while let Some((message, bytes)) = frames.next().await? {
        link.received(bytes);
        // A message of somebody else is no reason to break off: it is only not heard.
        let is_its_own = message.from.0 == greeting.from && message.to.0 == greeting.to;
        if is_its_own && !(arrivals.listener)(Event::Message(message)) {
            return Ok(());
        }
    }
    Ok(())
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
