//! `grpc.health.v1.Health`: the standard health service.
//!
//! Only the server as a whole, the empty name, has a health: it serves as soon as its listener
//! does.

use revd_api::health::health_check_response::ServingStatus;
use revd_api::health::health_server::Health;
use revd_api::health::{HealthCheckRequest, HealthCheckResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::errors::Refusal;

/// The service.
pub(super) struct HealthService {
    door: Door,
}

impl HealthService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.door.admit(request)?.service.as_str() {
            "" => Ok(Response::new(answer(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    /// The status never changes: one message, and the stream stays open.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (request, loss) = self.door.admit_stream(request)?;
        let status = match request.service.as_str() {
            "" => ServingStatus::Serving,
            _ => ServingStatus::ServiceUnknown,
        };
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            if answers.send(Ok(answer(status))).await.is_err() {
                return;
            }
            tokio::select! {
                () = loss => drop(answers.send(Err(Refusal::NoLeader.into())).await),
                () = answers.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
