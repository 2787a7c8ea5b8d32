use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::etcdserverpb::ResponseHeader;
use crate::mvccpb::Event;

/// What a watch stream sends, with its events in encoded form.
///
/// An event is encoded once when it happens; each response that carries it holds a reference to
/// those bytes. To protobuf a repeated message and a repeated field of bytes look the same, so the
/// derived code sends what the generated message would.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct WatchResponse {
    /// Who answered; the revision is that of the events, or of the store for other responses.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The watch that this is about; -1 when it is about the whole stream.
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    /// Answers a create request.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// The watch has ended, or was refused.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// When history that was wanted is gone: the oldest revision that can be had, else 0.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why the server ended the watch.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More pieces of this response follow.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// Each one an encoded [`Event`], in order of revision.
    ///
    /// Decoding a response takes the bytes as they come; whether they are events shows when they
    /// are looked at.
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub events: Vec<Bytes>,
}

impl WatchResponse {
    /// The events as structs. Keys and values are slices of the encoded events, not copies.
    ///
    /// # Errors
    ///
    /// When the sender put something else in their place.
    pub fn decode_events(&self) -> Result<Vec<Event>, DecodeError> {
        self.events.iter().cloned().map(Event::decode).collect()
    }
}
