//! `v3electionpb.Election`: not built yet; its methods say so, after the check that needs only the
//! request.

use revd_api::v3electionpb as pb;
use revd_api::v3electionpb::election_server::Election;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::errors::{self, Refusal};

/// The service.
pub(super) struct ElectionService {
    door: Door,
}

impl ElectionService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        self.door.admit(request)?;
        Err(errors::not_built("Campaign"))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        self.door.admit(request)?.leader.ok_or(Refusal::ElectionLeaderMissing)?;
        Err(errors::not_built("Proclaim"))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        self.door.admit(request)?;
        Err(errors::not_built("Leader"))
    }

    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        self.door.admit_stream(request)?;
        Err(errors::not_built("Observe"))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        self.door.admit(request)?.leader.ok_or(Refusal::ElectionLeaderMissing)?;
        Err(errors::not_built("Resign"))
    }
}
