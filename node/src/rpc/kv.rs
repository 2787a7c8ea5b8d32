//! `etcdserverpb.KV`: reads, writes, transactions, compaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::kv_server::Kv;
use revd_mvcc::{Range, Ranged, View};
use revd_replica::{Answer, Applied, Command, convert};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::slow::Asked;
use super::{answers, errors, range_stream, slow};

/// Records up to which a range is read on the task of its call. A longer one may take
/// milliseconds, for which other calls on the same thread should not wait.
const SHORT_RANGE: i64 = 128;

/// The service.
pub(super) struct KvService {
    door: Door,
    max_txn_ops: usize,
}

impl KvService {
    pub(super) fn new(door: Door) -> Self {
        let max_txn_ops = door.handle.config().max_txn_ops as usize;
        Self { door, max_txn_ops }
    }

    /// Checks room first, then the request itself: a full member says so even to nonsense.
    async fn check(&self, command: &Command) -> Result<(), Status> {
        self.door.check_room(command)?;
        match command {
            Command::Put(put) => put.check(),
            Command::DeleteRange(delete) => delete.check(),
            Command::Txn(txn) => txn.check(self.max_txn_ops),
            _ => Ok(()),
        }
        .map_err(errors::invalid)
    }

    async fn propose(&self, command: Command) -> Result<Applied, Status> {
        self.door.handle.propose(command).await.map_err(errors::call_failed)
    }

    async fn barrier(&self) -> Result<(), Status> {
        self.door.handle.barrier().await.map_err(errors::call_failed)
    }

    async fn read(&self, range: Range) -> Result<Ranged, Status> {
        let view = self.door.handle.view();
        if is_short(&range) {
            return view.range(&range).map_err(|why| errors::read_failed(&self.door.handle, why));
        }
        let failed = errors::of_read(&self.door.handle);
        apart(view, move |view| view.range(&range).map_err(failed)).await
    }

    /// A transaction that only reads does not go through the log.
    async fn read_only(&self, txn: revd_mvcc::Txn) -> Result<pb::TxnResponse, Status> {
        if !txn.is_serializable() {
            self.barrier().await?;
        }
        let view = self.door.handle.view();
        let failed = errors::of_read(&self.door.handle);
        let done = apart(view, move |view| view.txn(&txn).map_err(failed)).await?;
        self.door.handle.meters().txns.add(1);
        let term = self.door.handle.status().term;
        Ok(answers::txn(self.door.header.at(done.revision.0, term), done))
    }
}

fn is_short(range: &Range) -> bool {
    let is_bounded = range.limit > 0 && range.limit <= SHORT_RANGE;
    let is_sorted = range.sort_order != revd_mvcc::SortOrder::None || range.has_filters();
    range.range_end.is_empty() || range.count_only || (is_bounded && !is_sorted)
}

/// Runs a read that may take long on a thread kept for such; it ends early if the call is dropped,
/// as it is when its client cancels it (rule 2.26).
pub(super) async fn apart<T: Send + 'static>(
    view: &View,
    read: impl FnOnce(View) -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let call = Call::default();
    let view = view.until(Arc::clone(&call.is_gone));
    match tokio::task::spawn_blocking(move || read(view)).await {
        Ok(result) => result,
        Err(error) => Err(Status::internal(format!("the read did not end: {error}"))),
    }
}

/// Says that it is gone when it is dropped.
#[derive(Default)]
struct Call {
    is_gone: Arc<AtomicBool>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        // A learner answers what needs no quorum.
        let request = match request.get_ref().serializable {
            true => self.door.admit_to_learner(request)?,
            false => self.door.admit(request)?,
        };
        let asked = Asked::range(&request);
        let stats = slow::Request::start(&self.door.handle, "/etcdserverpb.KV/Range", asked);
        let range = convert::range(request);
        range.check().map_err(errors::invalid)?;
        let watch = slow::Watch::start(&self.door.handle, &range);
        if !range.serializable {
            self.barrier().await?;
        }
        let done = self.read(range).await?;
        watch.ended(&done);
        stats.answered(done.count);
        self.door.handle.meters().ranges.add(1);
        let term = self.door.handle.status().term;
        Ok(Response::new(answers::ranged(self.door.header.at(done.revision.0, term), done)))
    }

    type RangeStreamStream = ReceiverStream<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let (request, loss) = self.door.admit_stream(request)?;
        let range = convert::range(request);
        range_stream::check(&range)?;
        if !range.serializable {
            self.barrier().await?;
        }
        Ok(Response::new(range_stream::start(&self.door, range, loss)))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let request = self.door.admit(request)?;
        let asked = Asked::put(&request);
        let stats = slow::Request::start(&self.door.handle, "/etcdserverpb.KV/Put", asked);
        let command = Command::Put(convert::put(request));
        self.check(&command).await?;
        let applied = self.propose(command).await?;
        stats.answered(0);
        let Answer::Put(done) = applied.answer else { return Err(errors::misanswered()) };
        let header = self.door.header.at(applied.revision, applied.term);
        Ok(Response::new(answers::put(header, done)))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = self.door.admit(request)?;
        let asked = Asked::delete(&request);
        let stats = slow::Request::start(&self.door.handle, "/etcdserverpb.KV/DeleteRange", asked);
        let command = Command::DeleteRange(convert::delete_range(request));
        self.check(&command).await?;
        let applied = self.propose(command).await?;
        let Answer::Deleted(done) = applied.answer else { return Err(errors::misanswered()) };
        stats.answered(done.deleted);
        let header = self.door.header.at(applied.revision, applied.term);
        Ok(Response::new(answers::deleted(header, done)))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let request = self.door.admit(request)?;
        let asked = Asked::txn(&request);
        let stats = slow::Request::start(&self.door.handle, "/etcdserverpb.KV/Txn", asked);
        let command = Command::Txn(convert::txn(request));
        self.check(&command).await?;
        let command = match command {
            Command::Txn(txn) if txn.is_read_only() => {
                return self.read_only(txn).await.map(Response::new);
            }
            writing => writing,
        };
        let applied = self.propose(command).await?;
        let Answer::Txn(done) = applied.answer else { return Err(errors::misanswered()) };
        stats.answered(0);
        let header = self.door.header.at(applied.revision, applied.term);
        Ok(Response::new(answers::txn(header, done)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let pb::CompactionRequest { revision, physical } = self.door.admit(request)?;
        let result = self.propose(Command::Compact { revision, physical }).await;
        // Also a refused compaction waits for those before it (rule 7.6).
        if physical {
            let waited = self.door.handle.physically_compacted().await;
            waited.map_err(errors::call_failed)?;
        }
        let applied = result?;
        // The revision is the one at the time of the answer, which may have waited long (1.18).
        let revision = self.door.handle.view().revision().0.max(applied.revision);
        let header = self.door.header.at(revision, applied.term);
        Ok(Response::new(pb::CompactionResponse { header }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revd_disk::Sim;
    use revd_mvcc::{Options, ReadError, Store};

    use super::*;

    #[tokio::test]
    async fn rule_2_26_a_read_ends_with_its_call() {
        let mut options = Options::new([3; 16]);
        options.map_bytes = 1 << 30;
        let disk = Arc::new(Sim::new(1));
        let store = Store::create(disk, Path::new("tree"), options, b"").unwrap();
        let view = store.view();
        let all = || Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() };
        assert_eq!(
            apart(&view, move |view| Ok(view.range(&all()).unwrap().count)).await.unwrap(),
            0
        );

        let (begun, begins) = tokio::sync::oneshot::channel();
        let (ended, ends) = tokio::sync::oneshot::channel();
        let call = apart(&view, move |view| {
            begun.send(()).unwrap();
            // A range without end: it is read again and again until it is refused.
            let refused = loop {
                if let Err(refused) = view.range(&all()) {
                    break refused;
                }
                std::thread::yield_now();
            };
            ended.send(refused).unwrap();
            Ok(())
        });
        tokio::select! {
            result = call => panic!("the call was not cancelled: {result:?}"),
            begun = begins => begun.unwrap(),
        }
        assert!(matches!(ends.await.unwrap(), ReadError::Abandoned));
    }
}
