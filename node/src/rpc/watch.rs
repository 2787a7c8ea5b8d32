//! `etcdserverpb.Watch`: one stream for any number of watchers.
//!
//! The key space does the work: `revd_mvcc::WatchStream` answers requests in their order and joins
//! history to what is published. This file connects it to one gRPC stream, and adds what needs a
//! clock: progress for watchers that asked for it, and the end when the leader stays away.
//!
//! There is no task and no queue besides those of the connection: the answer's body *is* the
//! watcher. It is polled when the client has room for more, takes the client's requests first and
//! then what is due; a client that does not read is held back by the key space's own bounds.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use revd_api::etcdserverpb::watch_server::Watch;
use revd_mvcc as mvcc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::checks::{Door, LeaderLoss};
use super::errors::{self, Refusal};
use super::receive_bytes_max;
use super::wording::reworded;

/// Time between two notes of progress, before the jitter; etcd's default.
const PROGRESS_PERIOD: Duration = Duration::from_secs(600);

/// Part of the period by which a stream's own is longer at most, so that streams that were opened
/// together do not speak together.
const PROGRESS_JITTER: f64 = 0.1;

const NO_PUT: i32 = pb::watch_create_request::FilterType::Noput as i32;
const NO_DELETE: i32 = pb::watch_create_request::FilterType::Nodelete as i32;

/// The service.
pub(super) struct WatchService {
    door: Door,
    options: mvcc::WatchOptions,
}

impl WatchService {
    pub(super) fn new(door: Door) -> Self {
        let max_request_bytes = door.handle.config().max_request_bytes as usize;
        let options = mvcc::WatchOptions {
            fragment_bytes: receive_bytes_max(max_request_bytes),
            ..mvcc::WatchOptions::default()
        };
        Self { door, options }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (requests, loss) = self.door.admit_stream(request)?;
        Ok(Response::new(Answers {
            door: self.door.clone(),
            requests: Some(requests),
            watchers: self.door.handle.hub().stream(self.options.clone()),
            progress: None,
            loss,
            is_over: false,
        }))
    }
}

/// What one stream sends.
pub(super) struct Answers {
    door: Door,
    /// The client's side; `None` once it has been closed, which does not end the watchers (5.19).
    requests: Option<Streaming<pb::WatchRequest>>,
    watchers: mvcc::WatchStream,
    /// Runs from the first watcher on that wants to be told.
    progress: Option<Interval>,
    loss: LeaderLoss,
    is_over: bool,
}

impl Stream for Answers {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let answer = ready!(self.poll_answer(cx));
        self.is_over = answer.is_err();
        Poll::Ready(Some(answer))
    }
}

impl Answers {
    /// The next message, or the error that ends the stream.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<pb::WatchResponse, Status>> {
        if Pin::new(&mut self.loss).poll(cx).is_ready() {
            return Poll::Ready(Err(Refusal::NoLeader.into()));
        }
        self.take_requests(cx)?;
        if let Some(progress) = &mut self.progress {
            while progress.poll_tick(cx).is_ready() {
                self.watchers.notify_progress();
            }
        }
        let answer = ready!(self.watchers.poll_next(cx.waker()));
        let answer = answer.map_err(|why| errors::broken(&self.door.handle, why))?;
        Poll::Ready(Ok(self.message(answer)))
    }

    /// Passes on what the client asks, as long as there is room for the answers.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while let Some(requests) = &mut self.requests {
            if self.watchers.poll_ready(cx.waker()).is_pending() {
                return Ok(());
            }
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Ok(request))) => self.take(request),
                Poll::Ready(Some(Err(status))) => return Err(end_of(status)),
            }
        }
        Ok(())
    }

    fn take(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                if request.progress_notify && self.progress.is_none() {
                    self.progress = Some(progress_timer());
                }
                self.watchers.create(watch(request));
            }
            Some(RequestUnion::CancelRequest(request)) => self.watchers.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.watchers.request_progress(),
            // A request that says nothing is passed over (5.16).
            None => {}
        }
    }

    fn message(&self, answer: mvcc::WatchResponse) -> pb::WatchResponse {
        pb::WatchResponse {
            header: self.door.header.at(answer.revision, self.door.handle.status().term),
            watch_id: answer.watch_id,
            created: answer.created,
            canceled: answer.canceled,
            compact_revision: answer.compact_revision,
            cancel_reason: answer.cancel_reason.into_owned(),
            fragment: answer.fragment,
            events: answer.events,
        }
    }
}

fn watch(request: pb::WatchCreateRequest) -> mvcc::Watch {
    mvcc::Watch {
        key: request.key,
        range_end: request.range_end,
        start_revision: request.start_revision,
        watch_id: request.watch_id,
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        progress_notify: request.progress_notify,
        // Unknown filters are passed over (5.15).
        no_put: request.filters.contains(&NO_PUT),
        no_delete: request.filters.contains(&NO_DELETE),
    }
}

/// How a stream ends whose requests failed: a client that has gone cancels its watchers.
fn end_of(status: Status) -> Status {
    match status.code() {
        Code::Cancelled => Refusal::WatchCanceled.into(),
        _ => reworded(status),
    }
}

fn progress_timer() -> Interval {
    let share = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    let period = PROGRESS_PERIOD.mul_f64(1.0 + PROGRESS_JITTER * share);
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    timer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_period_is_ten_minutes_and_up_to_a_tenth() {
        for _ in 0..100 {
            let period = progress_timer().period();
            assert!((600.0..=660.0).contains(&period.as_secs_f64()), "{period:?}");
        }
    }

    #[test]
    fn a_client_that_has_gone_cancels() {
        let status = end_of(Status::cancelled("h2 protocol error"));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Cancelled, "etcdserver: watch canceled")
        );
        assert_eq!(end_of(Status::internal("x")).message(), "x");
    }

    #[test]
    fn unknown_filters_are_passed_over() {
        let request = pb::WatchCreateRequest { filters: vec![7, NO_DELETE], ..Default::default() };
        let watch = watch(request);
        assert!(watch.no_delete);
        assert!(!watch.no_put);
    }
}
