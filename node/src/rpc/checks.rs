//! What is checked before any handler, in etcd's order: a learner refuses most calls, then the
//! metadata `client-api-version` must be text, then `hasleader: true` asks for a known leader.
//!
//! A stream that was opened with `hasleader` also ends when the leader stays away: the member looks
//! once each election timeout, and after three looks in a row without a leader all such streams end
//! together. One task looks for all of them; a stream only waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use revd_replica::Command;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::MissedTickBehavior;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::errors::Refusal;
use super::header::Header;
use crate::driver::Handle;

/// Looks without a leader that end a stream.
const LOOKS_WITHOUT_LEADER: u32 = 3;

/// What every service holds: the way to the member, its header, and the checks before a handler.
#[derive(Clone)]
pub struct Door {
    /// The member.
    pub handle: Handle,
    /// The constant half of every header.
    pub header: Header,
    sentry: Arc<Sentry>,
}

impl Door {
    /// The door of a member; within a runtime, since it starts the task that looks for the leader.
    pub fn new(handle: Handle) -> Self {
        let header = Header::of(&handle);
        let sentry = Sentry::start(&handle);
        Self { handle, header, sentry }
    }

    /// Lets a unary call in.
    ///
    /// # Errors
    /// The refusals of the module's first paragraph.
    pub fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        if self.handle.status().is_learner {
            return Err(Refusal::NotSupportedForLearner.into());
        }
        self.admit_to_learner(request)
    }

    /// Lets in a call that a learner answers too.
    ///
    /// # Errors
    /// As [`Door::admit`], apart from the first.
    pub fn admit_to_learner<T>(&self, request: Request<T>) -> Result<T, Status> {
        self.check(request.metadata(), false)?;
        Ok(request.into_inner())
    }

    /// Lets a stream in, with what tells it that the leader has stayed away.
    ///
    /// # Errors
    /// As [`Door::admit`].
    pub fn admit_stream<T>(&self, request: Request<T>) -> Result<(T, LeaderLoss), Status> {
        if self.handle.status().is_learner {
            return Err(Refusal::NotSupportedForLearner.into());
        }
        let needs_leader = self.check(request.metadata(), true)?;
        let loss = if needs_leader { self.sentry.loss() } else { LeaderLoss::never() };
        Ok((request.into_inner(), loss))
    }

    /// Checks what a call says of itself, and counts it; whether it asks for a leader.
    fn check(&self, metadata: &MetadataMap, is_stream: bool) -> Result<bool, Status> {
        let (version, needs_leader) = read(metadata)?;
        self.handle.meters().traffic.requests.count(version, is_stream);
        if needs_leader && self.handle.status().leader == 0 {
            return Err(Refusal::NoLeader.into());
        }
        Ok(needs_leader)
    }

    /// Refuses what would take the key space over its quota or does not fit on the disk.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`].
    pub fn check_room(&self, command: &Command) -> Result<(), Status> {
        if self.handle.has_room(revd_replica::cost(command)) {
            Ok(())
        } else {
            Err(Refusal::NoSpace.into())
        }
    }
}

/// The version that the client says it has, and whether the call asks for a leader.
fn read(metadata: &MetadataMap) -> Result<(Option<&str>, bool), Status> {
    let headers = metadata.as_ref();
    let version = headers.get("client-api-version");
    let version = version.map(|version| std::str::from_utf8(version.as_bytes())).transpose();
    let version = version.map_err(|_| Refusal::InvalidClientApiVersion)?;
    let needs_leader = headers.get("hasleader").is_some_and(|value| value.as_bytes() == b"true");
    Ok((version, needs_leader))
}

/// Looks for the leader in the name of all streams that need one.
#[derive(Debug, Default)]
struct Sentry {
    lost: Arc<Notify>,
}

impl Sentry {
    fn start(handle: &Handle) -> Arc<Self> {
        let sentry = Arc::new(Self::default());
        let period = Duration::from_millis(u64::from(handle.config().election_timeout).max(1));
        tokio::spawn(look(handle.clone(), Arc::downgrade(&sentry), period));
        sentry
    }

    fn loss(&self) -> LeaderLoss {
        LeaderLoss(Some(Box::pin(Arc::clone(&self.lost).notified_owned())))
    }
}

/// Ends when no service is left to tell.
async fn look(handle: Handle, sentry: Weak<Sentry>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut without_leader = 0;
    loop {
        ticks.tick().await;
        let Some(sentry) = sentry.upgrade() else { return };
        without_leader = if handle.status().leader == 0 { without_leader + 1 } else { 0 };
        if without_leader >= LOOKS_WITHOUT_LEADER {
            sentry.lost.notify_waiters();
        }
    }
}

/// Resolves when the leader has stayed away; never, for a stream that does not care.
#[derive(Debug)]
pub struct LeaderLoss(Option<Pin<Box<OwnedNotified>>>);

impl LeaderLoss {
    const fn never() -> Self {
        Self(None)
    }
}

impl Future for LeaderLoss {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(lost) => lost.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    fn metadata(name: &'static str, value: &[u8]) -> MetadataMap {
        let mut map = MetadataMap::new();
        map.insert(name, MetadataValue::try_from(value).unwrap());
        map
    }

    #[test]
    fn only_the_text_true_asks_for_a_leader() {
        assert_eq!(read(&MetadataMap::new()).unwrap(), (None, false));
        assert!(read(&metadata("hasleader", b"true")).unwrap().1);
        for other in [&b"false"[..], b"1", b"True", b""] {
            assert!(!read(&metadata("hasleader", other)).unwrap().1, "{other:?}");
        }
    }

    #[test]
    fn a_client_version_must_be_text() {
        let named = metadata("client-api-version", "3.7 é".as_bytes());
        assert_eq!(read(&named).unwrap().0, Some("3.7 é"));
        let status = read(&metadata("client-api-version", b"3.\xff")).unwrap_err();
        assert_eq!(status.message(), Refusal::InvalidClientApiVersion.text());
    }
}
