//! Who leads, for what only the leader can do and any member may be asked for.

use std::time::{Duration, Instant};

use super::handle::{CallError, Handle};

/// The pause before a leader is asked again that could not be, or was none (etcd's figure).
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Who is to be asked.
#[derive(Clone, Debug)]
pub enum Leader {
    /// This member.
    Here,
    /// Another one, at these URLs.
    At(Vec<String>),
}

/// A search for somebody who leads for sure, as long as a call may take.
#[derive(Debug)]
pub struct Search {
    until: Instant,
    has_asked: bool,
}

impl Handle {
    /// Where the leader is, if one is known.
    pub fn leader(&self) -> Option<Leader> {
        let status = self.status();
        if status.leader == status.member_id {
            return Some(Leader::Here);
        }
        let members = self.members();
        let leader = members.iter().find(|member| member.id == status.leader)?;
        Some(Leader::At(leader.peer_urls.clone()))
    }

    /// Begins to search for the leader.
    pub fn search(&self) -> Search {
        Search { until: Instant::now() + self.request_timeout(), has_asked: false }
    }
}

impl Search {
    /// Who seems to lead now. When this is asked again, whoever it was before did not lead, or
    /// could not be asked; so there is a pause.
    ///
    /// # Errors
    /// [`CallError::Timeout`], if there is no time left to ask.
    pub async fn next(&mut self, handle: &Handle) -> Result<Leader, CallError> {
        loop {
            if self.has_asked {
                if Instant::now() >= self.until {
                    return Err(CallError::Timeout);
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            self.has_asked = true;
            if let Some(leader) = handle.leader() {
                return Ok(leader);
            }
        }
    }
}
