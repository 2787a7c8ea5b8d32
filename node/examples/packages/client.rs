//! What is asked of the server, as calls over gRPC.

use std::net::SocketAddr;

use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use revd_api::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, RangeRequest, WatchCreateRequest, WatchRequest,
};
use tonic::transport::Channel;

use crate::Failure;
use crate::stanzas::Packages;

/// What all keys begin with, and the first key behind them.
const PREFIX: &str = "/packages/";
const PREFIX_END: &str = "/packages0";

/// A connection. Its clones share it.
#[derive(Clone)]
pub(crate) struct Client(Channel);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(Channel::from_shared(format!("http://{address}"))?.connect().await?))
    }

    /// Calls of the service KV, with answers as large as they come.
    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.0.clone()).max_decoding_message_size(usize::MAX)
    }

    /// All packages as they were at a revision; 0 is now.
    pub(crate) async fn list(&self, revision: i64) -> Result<Packages, tonic::Status> {
        let range = RangeRequest {
            key: PREFIX.into(),
            range_end: PREFIX_END.into(),
            revision,
            ..RangeRequest::default()
        };
        let kvs = self.kv().range(range).await?.into_inner().kvs.decode();
        let kvs = kvs.map_err(|e| tonic::Status::internal(e.to_string()))?;
        Ok(kvs.into_iter().map(|kv| (name_of(&kv.key), kv.value)).collect())
    }

    /// Gathers what a watch on the prefix delivers, from the first revision on and until so many
    /// packages have come.
    pub(crate) async fn follow(self, expected: usize) -> Result<Packages, Failure> {
        let create = WatchCreateRequest {
            key: PREFIX.into(),
            range_end: PREFIX_END.into(),
            start_revision: 2,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The stream of requests stays open: its end would be that of the watch.
        let open = tokio_stream::pending();
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), open);
        let mut client = WatchClient::new(self.0).max_decoding_message_size(usize::MAX);
        let mut answers = client.watch(requests).await?.into_inner();
        let mut packages = Packages::new();
        while packages.len() < expected {
            let answer = answers.message().await?.ok_or("the watch has ended")?;
            for event in answer.decode_events()? {
                let kv = event.kv.ok_or("an event without a record")?;
                packages.insert(name_of(&kv.key), kv.value);
            }
        }
        Ok(packages)
    }

    /// Deletes the packages whose names begin with `start`; returns how many those were.
    pub(crate) async fn delete_those_with(&self, start: &str) -> Result<i64, Failure> {
        let key = key_of(start);
        let mut range_end = key.clone().into_bytes();
        *range_end.last_mut().ok_or("an empty prefix")? += 1;
        let range_end = range_end.into();
        let delete = DeleteRangeRequest { key: key.into(), range_end, prev_kv: false };
        Ok(self.kv().delete_range(delete).await?.into_inner().deleted)
    }

    /// Gives up what is older than a revision; returns when its room is free.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        self.kv().compact(CompactionRequest { revision, physical: true }).await?;
        Ok(())
    }
}

pub(crate) fn key_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn name_of(key: &[u8]) -> String {
    String::from_utf8_lossy(key).replacen(PREFIX, "", 1)
}
