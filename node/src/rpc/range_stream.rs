//! A range answered piece by piece (rules 2.27 to 2.31).
//!
//! All pieces show one revision, pinned by the first, and each is a fresh read: nothing of the
//! store is held while a slow client takes its time, so a compaction may pass the revision, and
//! then the stream ends with "compacted". The pieces grow and shrink with their encoded size, and
//! none takes more than four of the largest requests, or one record.
//!
//! Pieces follow one another in key order, whatever target an unordered request names: sorting
//! inside a piece, as etcd does, would lose and repeat keys.

use revd_api::etcdserverpb as pb;
use revd_mvcc::{Range, SortOrder, SortTarget};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::checks::{Door, LeaderLoss};
use super::errors::{self, Refusal};
use super::header::Header;
use crate::driver::Handle;

/// Keys in the first piece; etcd's figure.
const FIRST_KEYS: i64 = 10;

/// Pieces that wait for the client; one is on its way while the next is read.
const PIECES_WAITING: usize = 1;

type Piece = Result<pb::RangeStreamResponse, Status>;

/// Checks a request for a stream.
pub(super) fn check(range: &Range) -> Result<(), Status> {
    range.check().map_err(errors::invalid)?;
    let is_natural = match range.sort_order {
        SortOrder::None => true,
        SortOrder::Ascend => range.sort_target == SortTarget::Key,
        _ => false,
    };
    if !is_natural {
        return Err(Refusal::RangeStreamSort.into());
    }
    if range.has_filters() {
        return Err(Refusal::RangeStreamFilter.into());
    }
    Ok(())
}

/// Starts to answer a checked request, on a task of its own.
pub(super) fn start(door: &Door, range: Range, loss: LeaderLoss) -> ReceiverStream<Piece> {
    let (pieces, stream) = mpsc::channel(PIECES_WAITING);
    let reader = Reader::new(door.handle.clone(), door.header, range);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = loss => drop(pieces.send(Err(Refusal::NoLeader.into())).await),
            () = reader.run(&pieces) => {}
        }
    });
    ReceiverStream::new(stream)
}

/// Where a stream stands.
struct Reader {
    handle: Handle,
    header: Header,
    /// What is still to be read; its key moves on.
    range: Range,
    /// Keys still wanted, if the client set a limit.
    wanted: Option<i64>,
    /// Keys in the whole range; known from the first piece on, since the revision is pinned.
    count: Option<i64>,
    /// The store's revision at the first read.
    revision: i64,
    size: PieceSize,
}

impl Reader {
    fn new(handle: Handle, header: Header, mut range: Range) -> Self {
        range.sort_order = SortOrder::None;
        range.sort_target = SortTarget::Key;
        let wanted = (range.limit > 0).then_some(range.limit);
        let size = PieceSize::new(handle.config().max_request_bytes as usize);
        Self { handle, header, range, wanted, count: None, revision: 0, size }
    }

    async fn run(mut self, pieces: &mpsc::Sender<Piece>) {
        loop {
            let (piece, is_last) = match self.next() {
                Ok((piece, is_last)) => (Ok(piece), is_last),
                Err(status) => (Err(status), true),
            };
            // A client that has gone wants no more pieces.
            if pieces.send(piece).await.is_err() || is_last {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<(pb::RangeStreamResponse, bool), Status> {
        self.range.limit = self.wanted.map_or(self.size.keys, |n| n.min(self.size.keys));
        let is_first = self.count.is_none();
        let piece = self.handle.view().piece(&self.range, self.size.bytes_max(), is_first);
        let done = piece.map_err(|why| errors::read_failed(&self.handle, why))?;
        let count = *self.count.get_or_insert(done.count);
        if is_first {
            self.revision = done.revision.0;
            // From now on all pieces show this revision.
            if self.range.revision <= 0 {
                self.range.revision = self.revision;
            }
        }
        let returned = done.returned as i64;
        self.wanted = self.wanted.map(|n| n - returned);
        let is_last = !done.more || self.wanted == Some(0);
        let kvs = pb::Kvs::from_encoded(done.kvs);
        let response = if is_last {
            self.handle.meters().ranges.add(1);
            let header = self.header.at(self.revision, self.handle.status().term);
            pb::RangeResponse { header, kvs, more: done.more, count }
        } else {
            self.move_behind(&kvs)?;
            pb::RangeResponse { kvs, ..Default::default() }
        };
        Ok((pb::RangeStreamResponse { range_response: Some(response) }, is_last))
    }

    /// The next piece begins right behind the last key of this one.
    fn move_behind(&mut self, kvs: &pb::Kvs) -> Result<(), Status> {
        self.size.follow(kvs.encoded().len());
        let Some(Ok(last)) = kvs.iter().last() else {
            return Err(Status::internal("a piece of a range stream ends with no key"));
        };
        let mut next = Vec::with_capacity(last.key.len() + 1);
        next.extend_from_slice(&last.key);
        next.push(0);
        self.range.key = next.into();
        Ok(())
    }
}

/// How many keys the next piece takes.
struct PieceSize {
    keys: i64,
    max_request_bytes: usize,
}

impl PieceSize {
    /// Bytes at which a piece ends whatever its keys, so that large values behind small ones do not
    /// make a piece of gigabytes.
    const fn bytes_max(&self) -> usize {
        self.max_request_bytes.saturating_mul(4)
    }

    const fn new(max_request_bytes: usize) -> Self {
        Self { keys: FIRST_KEYS, max_request_bytes }
    }

    /// Twice as many after a piece below half of the largest request, half as many after one
    /// above twice it, never none.
    const fn follow(&mut self, encoded: usize) {
        if encoded < self.max_request_bytes / 2 {
            self.keys = self.keys.saturating_mul(2);
        } else if encoded > self.max_request_bytes.saturating_mul(2) && self.keys > 1 {
            self.keys /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_2_30_pieces_grow_and_shrink_with_their_encoded_size() {
        let mut size = PieceSize::new(100);
        for (encoded, keys) in [(49, 20), (50, 20), (200, 20), (201, 10), (10, 20)] {
            size.follow(encoded);
            assert_eq!(size.keys, keys, "after a piece of {encoded} bytes");
        }
        for _ in 0..10 {
            size.follow(1_000);
        }
        assert_eq!(size.keys, 1);
    }

    #[test]
    fn rule_2_27_2_28_orders_and_filters_are_refused() {
        let range = || Range { key: "k".into(), ..Range::default() };
        check(&range()).unwrap();
        check(&Range { sort_order: SortOrder::Ascend, ..range() }).unwrap();
        check(&Range { sort_target: SortTarget::Mod, ..range() }).unwrap();
        for refused in [
            Range { sort_order: SortOrder::Descend, ..range() },
            Range { sort_order: SortOrder::Ascend, sort_target: SortTarget::Mod, ..range() },
        ] {
            assert_eq!(check(&refused).unwrap_err().message(), Refusal::RangeStreamSort.text());
        }
        let filtered = Range { max_mod_revision: -1, ..range() };
        assert_eq!(check(&filtered).unwrap_err().message(), Refusal::RangeStreamFilter.text());
    }
}
