//! `etcdserverpb.Lease`: keys that go when nobody keeps them.
//!
//! What depends on a flag, a clock or chance is decided here, before the log: the id of a lease
//! that the server chooses, and the least time that it lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::lease_server::Lease;
use revd_mvcc::{LeaseId, View};
use revd_replica::{Answer, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::checks::{Door, LeaderLoss};
use super::errors::{self, Refusal};
use super::kv::apart;
use super::wording::reworded;

/// Renewals that wait for the client to read; the next request is taken after that.
const RENEWALS_WAITING: usize = 16;

/// The service.
pub(super) struct LeaseService {
    door: Door,
    ttl_min: i64,
    ids: LeaseIds,
}

impl LeaseService {
    pub(super) fn new(door: Door) -> Self {
        let config = door.handle.config();
        let ttl_min = ttl_min(config.election_timeout.into(), config.heartbeat_interval.into());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ids = LeaseIds::new(door.handle.status().member_id, now.as_millis() as u64);
        Self { door, ttl_min, ids }
    }
}

/// The least seconds to live: one and a half election timeouts in whole ticks, rounded up.
fn ttl_min(election_ms: u64, heartbeat_ms: u64) -> i64 {
    let heartbeat_ms = heartbeat_ms.max(1);
    let ticks = election_ms / heartbeat_ms;
    (3 * ticks / 2 * heartbeat_ms).div_ceil(1000) as i64
}

/// Chooses ids of leases: two bytes of the member, then a count that starts at the time of day in
/// units of 1/256 ms. So a member that restarts goes on with larger ones, and no two members
/// choose the same.
#[derive(Debug)]
struct LeaseIds {
    member: u64,
    count: AtomicU64,
}

impl LeaseIds {
    const COUNT_BITS: u32 = 48;

    const fn new(member_id: u64, unix_ms: u64) -> Self {
        Self { member: member_id << Self::COUNT_BITS, count: AtomicU64::new(unix_ms << 8) }
    }

    fn next(&self) -> i64 {
        loop {
            let count = self.count.fetch_add(1, Ordering::Relaxed) & ((1 << Self::COUNT_BITS) - 1);
            let id = ((self.member | count) & i64::MAX as u64) as i64;
            // Zero would ask the server to choose.
            if id != 0 {
                return id;
            }
        }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let pb::LeaseGrantRequest { id, ttl } = self.door.admit(request)?;
        let id = if id == 0 { self.ids.next() } else { id };
        let command = Command::LeaseGrant { id, ttl: ttl.max(self.ttl_min) };
        self.door.check_room(&command)?;
        let applied = self.door.handle.propose(command).await.map_err(errors::call_failed)?;
        let Answer::Granted { id, ttl } = applied.answer else { return Err(errors::misanswered()) };
        Ok(Response::new(pb::LeaseGrantResponse {
            header: self.door.header.at(applied.revision, applied.term),
            id,
            ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let pb::LeaseRevokeRequest { id } = self.door.admit(request)?;
        let applied = self.door.handle.propose(Command::LeaseRevoke { id }).await;
        let applied = applied.map_err(errors::call_failed)?;
        let header = self.door.header.at(applied.revision, applied.term);
        Ok(Response::new(pb::LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (requests, loss) = self.door.admit_stream(request)?;
        let (renewals, stream) = mpsc::channel(RENEWALS_WAITING);
        tokio::spawn(keep_alive(self.door.clone(), requests, loss, renewals));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let pb::LeaseTimeToLiveRequest { id, keys } = self.door.admit(request)?;
        let handle = &self.door.handle;
        let found = handle.time_to_live(id).await.map_err(errors::call_failed)?;
        let header = self.door.header.now(handle);
        // An unknown lease is an answer, not an error (6.15).
        let Some((ttl, granted_ttl)) = found else {
            let answer = pb::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() };
            return Ok(Response::new(answer));
        };
        let failed = errors::of_read(handle);
        let read = move |view: View| view.lease_keys(LeaseId(id)).map_err(failed);
        let keys = if keys { apart(handle.view(), read).await? } else { Vec::new() };
        Ok(Response::new(pb::LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.door.admit(request)?;
        let ids = self.door.handle.lease_ids().await.map_err(errors::call_failed)?;
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        let header = self.door.header.now(&self.door.handle);
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}

type Renewal = Result<pb::LeaseKeepAliveResponse, Status>;

/// Answers one stream of renewals, one after the other, until the client closes its side.
async fn keep_alive(
    door: Door,
    requests: Streaming<pb::LeaseKeepAliveRequest>,
    loss: LeaderLoss,
    renewals: mpsc::Sender<Renewal>,
) {
    let end = tokio::select! {
        biased;
        () = loss => Err(Refusal::NoLeader.into()),
        end = renew(&door, requests, &renewals) => end,
    };
    if let Err(status) = end {
        // If the client has gone, nobody needs the reason.
        let _ = renewals.send(Err(status)).await;
    }
}

async fn renew(
    door: &Door,
    mut requests: Streaming<pb::LeaseKeepAliveRequest>,
    renewals: &mpsc::Sender<Renewal>,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await.map_err(reworded)? {
        // Sampled before the renewal: it may be too low, but never too high (1.21).
        let header = door.header.now(&door.handle);
        let granted = door.handle.keep_alive(request.id).await.map_err(errors::call_failed)?;
        // A lease that does not exist has no time left, and the stream goes on (6.9).
        let ttl = granted.unwrap_or(0);
        let renewal = pb::LeaseKeepAliveResponse { header, id: request.id, ttl };
        if renewals.send(Ok(renewal)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_to_live_follows_the_election_timeout() {
        for (election, heartbeat, seconds) in
            [(1000, 100, 2), (500, 50, 1), (1000, 300, 2), (5000, 500, 8), (50_000, 1, 75)]
        {
            assert_eq!(ttl_min(election, heartbeat), seconds, "{election}/{heartbeat} ms");
        }
    }

    #[test]
    fn rule_1_24_chosen_ids_tell_member_and_time() {
        let (member, unix_ms) = (0x8e9e_05c5_2164_f94d, 0x0198_d5a1_c0fe);
        let ids = LeaseIds::new(member, unix_ms);
        // Two bytes of the member without the top bit, five of the time, one to count.
        let first = 0x794d_98d5_a1c0_fe00;
        let chosen: Vec<i64> = (0..257).map(|_| ids.next()).collect();
        assert_eq!((chosen[0], chosen[1], chosen[255]), (first, first + 1, first + 0xff));
        assert_eq!(chosen[256], 0x794d_98d5_a1c0_ff00, "the count goes on into the time");
    }

    #[test]
    fn rule_1_24_chosen_ids_are_positive_and_rise() {
        for member in [0, 1, 0x8e9e_05c5_2164_694d, u64::MAX] {
            let ids = LeaseIds::new(member, 1_700_000_000_000);
            let (first, second) = (ids.next(), ids.next());
            assert!(first > 0 && second > first, "{first} {second} of member {member:x}");
        }
        assert_eq!(LeaseIds::new(0, 0).next(), 1, "zero is passed over");
    }
}
