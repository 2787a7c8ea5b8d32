//! `etcdserverpb.Maintenance`: what an operator asks of one member.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::downgrade_request::DowngradeAction;
use revd_api::etcdserverpb::maintenance_server::Maintenance;
use revd_replica::{AlarmAction, AlarmType, Answer, Command};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::errors::{self, Refusal};
use crate::ETCD_VERSION;

/// The service.
pub(super) struct MaintenanceService {
    door: Door,
}

impl MaintenanceService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }

    /// What Status shows as wrong: no leader, then each standing alarm.
    fn troubles(&self, leader: u64) -> Vec<String> {
        let mut troubles = Vec::new();
        if leader == 0 {
            troubles.push(Refusal::NoLeader.text().to_owned());
        }
        for standing in self.door.handle.alarms().iter() {
            let name = match standing.alarm {
                AlarmType::None => "NONE",
                AlarmType::NoSpace => "NOSPACE",
                AlarmType::Corrupt => "CORRUPT",
            };
            // The space at the end is etcd's.
            troubles.push(format!("memberID:{} alarm:{name} ", standing.member));
        }
        troubles
    }

    /// Whether a downgrade to `version` would be let through.
    fn check_downgrade(&self, version: &str) -> Result<(), Status> {
        let Some(cluster) = self.door.handle.cluster_version() else {
            return Err(Refusal::ClusterVersionUnavailable.into());
        };
        let target = major_minor(version).ok_or(Refusal::WrongDowngradeVersionFormat)?;
        let current = major_minor(&cluster);
        match current {
            Some((major, minor)) if Some(target) == minor.checked_sub(1).map(|m| (major, m)) => {
                Ok(())
            }
            _ => Err(Refusal::InvalidDowngradeTarget.into()),
        }
    }
}

/// The numbers of `MAJOR.MINOR` or `MAJOR.MINOR.PATCH`.
fn major_minor(version: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = version.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    match numbers[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let pb::AlarmRequest { action, member_id, alarm } = self.door.admit(request)?;
        // A number without meaning stops etcd itself; it must not get into the log.
        let action = match action {
            0 => AlarmAction::Get,
            1 => AlarmAction::Activate,
            2 => AlarmAction::Deactivate,
            _ => return Err(Refusal::UnknownMethod.into()),
        };
        let alarm = AlarmType::from_number(alarm).ok_or(Refusal::UnknownMethod)?;
        let command = Command::Alarm { action, member: member_id, alarm };
        let applied = self.door.handle.propose(command).await.map_err(errors::call_failed)?;
        let Answer::Alarms(found) = applied.answer else { return Err(errors::misanswered()) };
        let alarms = found.into_iter().map(|standing| pb::AlarmMember {
            member_id: standing.member,
            alarm: i32::from(standing.alarm.number()),
        });
        let header = self.door.header.at(applied.revision, applied.term);
        Ok(Response::new(pb::AlarmResponse { header, alarms: alarms.collect() }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.door.admit_to_learner(request)?;
        let handle = &self.door.handle;
        let (status, sizes) = (handle.status(), handle.sizes());
        Ok(Response::new(pb::StatusResponse {
            header: self.door.header.now(handle),
            version: ETCD_VERSION.to_owned(),
            db_size: sizes.db_size,
            leader: status.leader,
            raft_index: status.commit,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: self.troubles(status.leader),
            db_size_in_use: sizes.db_in_use,
            is_learner: status.is_learner,
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: sizes.quota,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    /// Nothing has to stop for it: room is given back while the member works. The answer comes
    /// when all that compactions have given up is gone from the disk.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.door.admit(request)?;
        self.door.handle.physically_compacted().await.map_err(errors::call_failed)?;
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    /// A hash of everything that is replicated as this member holds it: keys, leases, alarms and
    /// members. As in etcd it means something only among members of one kind and version.
    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        self.door.admit(request)?;
        let handle = self.door.handle.clone();
        let view = handle.view().clone();
        let keys = tokio::task::spawn_blocking(move || view.hash_kv(0)).await;
        let keys = keys.map_err(|error| Status::internal(error.to_string()))?;
        let mut hash = keys.map_err(|why| errors::read_failed(&handle, why))?.hash;
        let mut leases = handle.view().lease_ids();
        leases.sort_unstable();
        for id in leases {
            hash = crc32c::crc32c_append(hash, &id.0.to_le_bytes());
        }
        for alarm in handle.alarms().iter() {
            hash = crc32c::crc32c_append(hash, &alarm.member.to_le_bytes());
            hash = crc32c::crc32c_append(hash, &[alarm.alarm.number()]);
        }
        for member in handle.members().iter() {
            hash = crc32c::crc32c_append(hash, format!("{member:?}").as_bytes());
        }
        Ok(Response::new(pb::HashResponse { header: self.door.header.now(&handle), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let pb::HashKvRequest { revision } = self.door.admit(request)?;
        let view = self.door.handle.view().clone();
        let read = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        let found = read.map_err(|why| errors::read_failed(&self.door.handle, why))?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.door.header.now(&self.door.handle),
            hash: found.hash,
            compact_revision: found.compact_revision,
            hash_revision: found.hash_revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(errors::not_built("Snapshot"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let pb::MoveLeaderRequest { target_id } = self.door.admit(request)?;
        let status = self.door.handle.status();
        if status.leader != status.member_id {
            return Err(Refusal::NotLeader.into());
        }
        let members = self.door.handle.members();
        if !members.iter().any(|member| member.id == target_id && !member.is_learner) {
            return Err(Refusal::BadLeaderTransferee.into());
        }
        self.door.handle.transfer(target_id).await.map_err(errors::call_failed)?;
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let pb::DowngradeRequest { action, version } = self.door.admit(request)?;
        let handle = &self.door.handle;
        match DowngradeAction::try_from(action) {
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
                major_minor(&version).ok_or(Refusal::WrongDowngradeVersionFormat)?;
                handle.barrier().await.map_err(errors::call_failed)?;
                self.check_downgrade(&version)?;
                if action == DowngradeAction::Enable as i32 {
                    return Err(errors::not_built("Downgrade"));
                }
            }
            // Nothing can be enabled, so there is nothing to cancel, which is no error (9.51).
            Ok(DowngradeAction::Cancel) => {}
            Err(_) => return Err(Refusal::UnknownMethod.into()),
        }
        let version = handle.cluster_version().map_or_else(String::new, |text| text.to_string());
        Ok(Response::new(pb::DowngradeResponse { header: self.door.header.now(handle), version }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_or_three_numbers() {
        assert_eq!(major_minor("3.6"), Some((3, 6)));
        assert_eq!(major_minor("3.6.0"), Some((3, 6)));
        for bad in ["", "3", "3.6.0.1", "3.x", "v3.6", "3.6.0-rc.0", "3.-6"] {
            assert_eq!(major_minor(bad), None, "{bad}");
        }
    }
}
