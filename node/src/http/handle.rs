//! The running member as the endpoints see it.

use bytes::Bytes;
use revd_mvcc::Range;

use super::Verdicts;
use super::member::{Histogram, Member, MemberFacts, MemberRecord, Numbers, PeerNumbers};
use crate::driver::{self, Handle};
use crate::rpc::errors;
use crate::rpc::traffic::Traffic;

impl Member for Handle {
    fn facts(&self) -> MemberFacts {
        let status = self.status();
        MemberFacts {
            cluster_id: status.cluster_id,
            member_id: status.member_id,
            generation: self.generation(),
            leader: status.leader,
            is_learner: status.is_learner,
            cluster_version: self.cluster_version().map(|version| version.to_string()),
            alarms: self.alarms().iter().map(|alarm| i32::from(alarm.alarm.number())).collect(),
        }
    }

    fn members(&self) -> Vec<MemberRecord> {
        let record = |member: &revd_replica::Member| MemberRecord {
            id: member.id,
            peer_urls: member.peer_urls.clone(),
            name: member.name.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        };
        Handle::members(self).iter().map(record).collect()
    }

    fn numbers(&self) -> Numbers {
        let (status, sizes, meters) = (self.status(), self.sizes(), self.meters());
        Numbers {
            leader_changes: meters.leader_changes.get(),
            slow_applies: meters.slow_applies.get(),
            late_heartbeats: meters.late_heartbeats.get(),
            slow_read_indexes: meters.slow_read_indexes.get(),
            failed_read_indexes: meters.failed_read_indexes.get(),
            committed: status.commit,
            applied: status.applied,
            pending: sizes.proposals_pending,
            failed: meters.proposals_failed.get(),
            db_bytes: sizes.db_size,
            db_bytes_in_use: sizes.db_in_use,
            quota: sizes.quota,
            ranges: meters.ranges.get(),
            puts: meters.puts.get(),
            deletes: meters.deletes.get(),
            txns: meters.txns.get(),
            keys: sizes.keys,
            revision: self.view().revision().0,
            compacted: self.view().compacted(),
            wal_bytes: meters.wal_bytes.get(),
            wal_sync: histogram(&meters.wal_sync),
            checkpoint: histogram(&meters.checkpoint),
            sweep_pause: milliseconds(&meters.sweep_pause),
            compaction: milliseconds(&meters.compaction),
            compacted_records: meters.compacted_records.get(),
            scrubbed_bytes: meters.scrubbed_bytes.get(),
            alarms: self
                .alarms()
                .iter()
                .map(|standing| (standing.member, i32::from(standing.alarm.number())))
                .collect(),
        }
    }

    fn verdicts(&self) -> &Verdicts {
        &self.meters().verdicts
    }

    fn peers(&self) -> Vec<PeerNumbers> {
        let own = self.status().member_id;
        let ids = Handle::members(self);
        let others = ids.iter().map(|member| member.id).filter(|id| *id != own);
        let numbers = |id| PeerNumbers {
            id,
            is_active: self.presence().of(id).is_some(),
            counts: self.peer_traffic().counts(id),
        };
        others.map(numbers).collect()
    }

    fn traffic(&self) -> &Traffic {
        &self.meters().traffic
    }

    /// Looks for one key that need not exist: what counts is that the member can look.
    async fn read(&self, serializable: bool) -> Result<(), String> {
        if !serializable {
            let text = |error| errors::call_failed(error).message().to_owned();
            self.barrier().await.map_err(text)?;
        }
        let range =
            Range { key: Bytes::from_static(b"\0"), limit: 1, keys_only: true, ..Range::default() };
        let text = |error| errors::read_failed(self, error).message().to_owned();
        self.view().range(&range).map(drop).map_err(text)
    }
}

fn histogram(counted: &driver::Histogram) -> Histogram {
    let (counts, sum) = counted.read();
    // The bounds of the driver's buckets: 1 ms, doubled.
    let bounds = (0..driver::BOUNDS).map(|n| f64::from(1_u32 << n) / 1000.0).collect();
    Histogram { bounds, counts: counts.to_vec(), sum }
}

/// The same in milliseconds.
fn milliseconds(counted: &driver::Histogram) -> Histogram {
    let Histogram { bounds, counts, sum } = histogram(counted);
    let bounds = bounds.into_iter().map(|seconds| (seconds * 1000.0).round()).collect();
    Histogram { bounds, counts, sum: sum * 1000.0 }
}
