//! The floor: a log each, to which the payload's reference is copied, and a count of what is
//! applied. No terms, no messages, no answers.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Cluster, KEPT, Payloads, REPLICAS, Tally};
use crate::Result;

#[derive(Debug, Default)]
struct Floor {
    logs: [VecDeque<Bytes>; REPLICAS],
    tally: Tally,
}

/// See [`ClusterEngine::start`](super::ClusterEngine::start).
pub(super) fn start() -> Result<Box<dyn Cluster>> {
    Ok(Box::new(Floor::default()))
}

impl Cluster for Floor {
    fn pump(&mut self, payloads: &mut Payloads, outstanding: usize, rounds: usize) -> Result<()> {
        let origin = payloads.origin();
        for _ in 0..rounds {
            for _ in 0..outstanding {
                let payload = payloads.take();
                self.logs.iter_mut().for_each(|log| log.push_back(payload.clone()));
            }
            for (replica, log) in self.logs.iter_mut().enumerate() {
                for payload in log.range(log.len() - outstanding..) {
                    self.tally.apply(replica, payload, origin);
                }
                log.drain(..log.len().saturating_sub(KEPT));
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Tally> {
        Ok(self.tally)
    }
}
