//! Messages as frames on a stream.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the message, little-endian |
//! | 4 | 4 | CRC-32C of the message |
//! | 8 | … | the message |

use bytes::{Buf, Bytes, BytesMut};
use revd_raft::Message;
use revd_replica::wire;
use tokio::io::{AsyncRead, AsyncReadExt};

const HEADER: usize = 8;

/// The longest message that is read: an entry of the longest kind that the log takes, and a batch
/// around it.
const LONGEST: usize = 80 << 20;

/// What is asked of the system at a time. Messages that come in one after the other share such a
/// buffer, for as long as consensus keeps an entry of one of them.
const READ: usize = 64 << 10;

/// Less than that is not worth a read.
const READ_LEAST: usize = 4 << 10;

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] std::io::Error),
    /// It ended inside of a frame.
    #[error("the stream ends inside of a message")]
    Short,
    /// A length that nobody sends.
    #[error("a message of {0} bytes is announced, and {LONGEST} are the most")]
    TooLong(usize),
    /// Something changed on the way.
    #[error("the checksum of a message is wrong")]
    Checksum,
    /// The message is none.
    #[error(transparent)]
    Message(#[from] wire::WireError),
}

/// Adds the frame of a message.
pub(super) fn put(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    wire::encode(message, out);
    let length = out.len() - start - HEADER;
    let sum = crc32c::crc32c(&out[start + HEADER..]);
    let length = u32::try_from(length).expect("consensus bounds its messages");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// Reads the frames of a stream.
#[derive(Debug)]
pub(super) struct Frames<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// The frames of `stream` from here on.
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message, and how many bytes it took; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`FrameError`]; nothing that follows can be trusted.
    pub(super) async fn next(&mut self) -> Result<Option<(Message, usize)>, FrameError> {
        loop {
            if let Some(frame) = self.whole()? {
                let bytes = HEADER + frame.len();
                return Ok(Some((wire::decode(frame)?, bytes)));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_LEAST {
                self.buffer.reserve(READ);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Short) };
            }
        }
    }

    /// The next frame, if all of it is there.
    fn whole(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, sum @ ..] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > LONGEST {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() - HEADER < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let message = self.buffer.split_to(length).freeze();
        if crc32c::crc32c(&message) != u32::from_le_bytes(sum) {
            return Err(FrameError::Checksum);
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revd_raft::{Body, Entry, EntryKind, Index, NodeId, Position, Term};

    fn append(index: u64, length: usize) -> Message {
        let position = |index| Position::new(Index(index), Term(1));
        let entry = Entry {
            term: Term(1),
            index: Index(index),
            kind: EntryKind::Normal,
            data: vec![7; length].into(),
        };
        let body =
            Body::Append { previous: position(index - 1), entries: vec![entry], commit: Index(0) };
        Message { from: NodeId(1), to: NodeId(2), term: Term(1), body }
    }

    async fn read(bytes: &[u8]) -> (Vec<Message>, Result<(), FrameError>) {
        let mut frames = Frames::new(bytes);
        let mut messages = Vec::new();
        loop {
            match frames.next().await {
                Ok(Some((message, _))) => messages.push(message),
                Ok(None) => return (messages, Ok(())),
                Err(error) => return (messages, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let sent: Vec<Message> = (1..50).map(|n| append(n, n as usize * 1000)).collect();
        let mut bytes = Vec::new();
        sent.iter().for_each(|message| put(message, &mut bytes));
        let (messages, end) = read(&bytes).await;
        assert!(end.is_ok() && messages == sent, "{} of {}", messages.len(), sent.len());
    }

    #[tokio::test]
    async fn a_cut_stream_is_no_end() {
        let mut bytes = Vec::new();
        put(&append(1, 20), &mut bytes);
        for length in 1..bytes.len() {
            let (messages, end) = read(&bytes[..length]).await;
            assert!(messages.is_empty() && matches!(end, Err(FrameError::Short)), "{length}");
        }
    }

    #[tokio::test]
    async fn every_changed_bit_is_noticed() {
        let mut bytes = Vec::new();
        put(&append(1, 20), &mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (messages, end) = read(&bytes).await;
            assert!(messages.is_empty() && end.is_err(), "bit {bit}");
        }
    }
}
