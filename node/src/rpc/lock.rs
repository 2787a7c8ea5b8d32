//! `v3lockpb.Lock`: not built yet; both methods say so.

use revd_api::v3lockpb as pb;
use revd_api::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::errors;

/// The service.
pub(super) struct LockService {
    door: Door,
}

impl LockService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        self.door.admit(request)?;
        Err(errors::not_built("Lock"))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        self.door.admit(request)?;
        Err(errors::not_built("Unlock"))
    }
}
