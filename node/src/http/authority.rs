//! Calls whose `:authority` is a URL, as etcd's Go client 3.4 makes them.
//!
//! That client dials a connection of its own for each call that is meant for one member (status,
//! hash, defragment, move leader). Given an endpoint with a scheme, it names the whole URL there:
//! `:authority: http://127.0.0.1:2379`. An authority has no scheme, so `h2` refuses the call
//! before anything of ours sees it; grpc-go never looks, so the call works with etcd. Nothing of
//! ours looks at an authority either: it must only be one.
//!
//! [`Mended`] reads a connection up to its first block of headers. If the authority there begins
//! with `http://` or `https://`, it is handed on as another header, one that means nothing in a
//! request: `set-cookie`. That is one byte, and all that is ever changed:
//!
//! - Both names are in the table that is known beforehand (RFC 7541, appendix A), and both have
//!   ten letters. So no length changes, neither on the wire nor in the tables of headers that both
//!   ends keep from call to call (RFC 7541, section 4.1).
//! - The first block is enough. All calls of a connection have the same authority, and the later
//!   ones refer to the entry of the table that the first one has made. The exception is a client
//!   whose other headers push the entry out of the table; those calls are refused as ever.
//! - It stands behind `:method`, `:scheme` and `:path`, which may not follow a usual header. In
//!   another order the call is refused as ever.
//! - Whatever is unexpected passes as it is: HTTP/1.1, a frame out of place, a block with padding
//!   or priority or in several frames, an authority that is not to be remembered, a code that
//!   cannot be followed, more than 16 KiB. It is for `h2` to judge. The worst that a client can do
//!   to itself with odd bytes is not to be mended.
//! - Afterwards a read costs one comparison more than without. Writes are never touched.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where the first block of headers must have ended. grpc-go's is within its first 300 bytes.
const LIMIT: usize = 16 * 1024;
/// How much is read at a time until then.
const CHUNK: usize = 2 * 1024;

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of what stands before each frame (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;
/// Types of frames (RFC 9113, section 6).
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Flags of a HEADERS frame.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How a header with a name that is known beforehand and a value that is to be remembered begins
/// (RFC 7541, section 6.2.1): 64 and the number of the name, here `:authority` and `set-cookie`.
const AUTHORITY: u8 = 0x40 | 1;
const SET_COOKIE: u8 = 0x40 | 55;

/// How the authorities begin that are none.
const URLS: [&[u8]; 2] = [b"http://", b"https://"];

/// A stream from a client, without the `:authority` of its first call if that is a URL.
#[derive(Debug)]
pub struct Mended<S> {
    stream: S,
    /// `None` for the rest of the connection.
    opening: Option<Opening>,
}

impl<S> Mended<S> {
    /// Wraps a stream from which nothing has been read.
    pub fn new(stream: S) -> Mended<S> {
        Mended { stream, opening: Some(Opening::default()) }
    }
}

/// The beginning of a connection: `given <= clear <= bytes.len()`.
#[derive(Debug, Default)]
struct Opening {
    /// All that has arrived.
    bytes: Vec<u8>,
    /// How much of it the reader has.
    given: usize,
    /// How much of it will not change any more. After the preface this is where a frame begins.
    clear: usize,
    /// Whether nothing that follows can change either.
    is_over: bool,
}

impl Opening {
    fn give(&mut self, reader: &mut ReadBuf<'_>) {
        let length = reader.remaining().min(self.clear - self.given);
        reader.put_slice(&self.bytes[self.given..self.given + length]);
        self.given += length;
    }

    fn fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(stream).poll_read(context, &mut chunk))?;
        self.bytes.extend_from_slice(chunk.filled());
        let is_at_end = chunk.filled().is_empty();
        if is_at_end || self.advance().is_none() {
            (self.clear, self.is_over) = (self.bytes.len(), true);
        }
        Poll::Ready(Ok(()))
    }

    /// Clears what can be cleared; `None` if there is no more to look for.
    fn advance(&mut self) -> Option<()> {
        if self.clear < PREFACE.len() {
            let length = self.bytes.len().min(PREFACE.len());
            if self.bytes[..length] != PREFACE[..length] {
                return None;
            }
            self.clear = length;
        }
        while let Some(header) = self.bytes[self.clear..].first_chunk::<FRAME_HEADER>() {
            let [high, middle, low, kind, flags, ..] = *header;
            let start = self.clear + FRAME_HEADER;
            let end = start + u32::from_be_bytes([0, high, middle, low]) as usize;
            let is_plain = match kind {
                HEADERS => flags & !END_STREAM == END_HEADERS,
                PRIORITY | SETTINGS | PING | WINDOW_UPDATE => true,
                _ => false,
            };
            if !is_plain || end > LIMIT {
                return None;
            }
            let Some(payload) = self.bytes.get_mut(start..end) else { break };
            if kind == HEADERS {
                Block { bytes: payload, at: 0 }.mend();
                return None;
            }
            self.clear = end;
        }
        Some(())
    }
}

/// A block of headers. Only lengths are followed, so no table is needed (RFC 7541, section 6).
struct Block<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Block<'_> {
    /// Mends the authority; `None` if there is none, or if the block cannot be followed to it.
    fn mend(&mut self) -> Option<()> {
        loop {
            let start = self.at;
            let first = *self.bytes.get(start)?;
            let (is_literal, prefix) = match first {
                0x80.. => (false, 7),
                0x40.. => (true, 6),
                // Another size for the table.
                0x20.. => (false, 5),
                _ => (true, 4),
            };
            let name = self.integer(prefix)?;
            if !is_literal {
                continue;
            }
            if name == 0 {
                self.string()?;
            }
            let (is_huffman, value) = self.string()?;
            if first == AUTHORITY {
                if is_url(self.bytes.get(value)?, is_huffman) {
                    self.bytes[start] = SET_COOKIE;
                }
                return Some(());
            }
        }
    }

    /// A number in the lower bits of a byte and, if they are all set, in bytes behind it
    /// (RFC 7541, section 5.1). Three of those hold more than [`LIMIT`].
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let most = (1 << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Whether a string is in Huffman's code, and where it is; steps over it.
    fn string(&mut self) -> Option<(bool, Range<usize>)> {
        let is_huffman = self.bytes.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let start = self.at;
        self.at += length;
        Some((is_huffman, start..self.at))
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }
}

fn is_url(value: &[u8], is_huffman: bool) -> bool {
    if !is_huffman {
        return URLS.iter().any(|url| value.starts_with(url));
    }
    // The longer of the two has 46 bits, the shorter 41.
    let Some(&[a, b, c, d, e, f]) = value.first_chunk() else { return false };
    let word = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
    URLS.iter().any(|url| {
        let (code, length) = huffman(url);
        (word ^ code) >> (u64::BITS - length) == 0
    })
}

/// The code of a beginning in the highest bits, and its length (RFC 7541, appendix B).
fn huffman(url: &[u8]) -> (u64, u32) {
    url.iter().fold((0, 0), |(word, length), byte| {
        let (code, bits): (u64, u32) = match byte {
            b'/' => (0b01_1000, 6),
            b':' => (0b101_1100, 7),
            b'h' => (0b10_0111, 6),
            b'p' => (0b10_1011, 6),
            b's' => (0b0_1000, 5),
            b't' => (0b0_1001, 5),
            other => unreachable!("{other} is in none of the beginnings"),
        };
        (word | code << (u64::BITS - length - bits), length + bits)
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        reader: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while let Some(opening) = &mut this.opening {
            if opening.given < opening.clear {
                opening.give(reader);
                return Poll::Ready(Ok(()));
            }
            if opening.is_over {
                this.opening = None;
            } else {
                ready!(opening.fill(&mut this.stream, context))?;
            }
        }
        Pin::new(&mut this.stream).poll_read(context, reader)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::body::Incoming;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;

    const RST_STREAM: u8 = 3;
    const PADDED: u8 = 8;
    const PRIORITIZED: u8 = 0x20;

    /// `http://127.0.0.1:42993` in Huffman's code, as sent by etcdctl 3.4.23.
    const CODED: &[u8] = b"\x9d\x29\xae\xe3\x0c\x04\x4e\xae\x05\xc0\xb8\x6e\x34\x27\xdf\x67";
    /// `https://localhost`.
    const CODED_HTTPS: &[u8] = b"\x9d\x29\xad\x17\x18\x62\x83\x90\x74\x4e\x74\x27";

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn string(bytes: &[u8], is_huffman: bool) -> Vec<u8> {
        assert!(bytes.len() < 127);
        let first = u8::try_from(bytes.len()).unwrap() | (u8::from(is_huffman) << 7);
        [&[first], bytes].concat()
    }

    /// `POST http /`, a new size of the table before it, and a header to be remembered.
    fn named(name: u8, value: &[u8], is_huffman: bool) -> Vec<u8> {
        let size = [0x3f, 0xe1, 0x1f];
        [&size, &[0x83, 0x86, 0x84, name][..], &string(value, is_huffman)].concat()
    }

    fn block(authority: &[u8], is_huffman: bool) -> Vec<u8> {
        named(AUTHORITY, authority, is_huffman)
    }

    /// A connection up to the first call, with a second one by index behind it.
    fn connection(flags: u8, block: &[u8]) -> Vec<u8> {
        let second = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x83, 0x86, 0x84, 0xbe]);
        let window = frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]);
        let first = frame(HEADERS, flags, 1, block);
        [PREFACE, &frame(SETTINGS, 0, 0, &[]), &window, &first, &second].concat()
    }

    fn usual(block: &[u8]) -> Vec<u8> {
        connection(END_HEADERS | END_STREAM, block)
    }

    async fn through(stream: impl AsyncRead + Unpin) -> Vec<u8> {
        let (mut mended, mut bytes) = (Mended::new(stream), Vec::new());
        mended.read_to_end(&mut bytes).await.unwrap();
        assert!(mended.opening.is_none());
        bytes
    }

    /// Authority and cookie of the calls that `hyper` gets to see.
    async fn seen_by_hyper<S>(
        sent: &[u8],
        wrap: impl FnOnce(DuplexStream) -> S,
    ) -> Vec<(Option<String>, Option<String>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (tell, mut told) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let authority = request.uri().authority().map(ToString::to_string);
            let cookie = request.headers().get(http::header::SET_COOKIE);
            let cookie = cookie.map(|cookie| cookie.to_str().unwrap().to_owned());
            tell.send((authority, cookie)).unwrap();
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let stream = TokioIo::new(wrap(server));
        let builder = http2::Builder::new(TokioExecutor::new());
        let serving = tokio::spawn(builder.serve_connection(stream, service));
        client.write_all(sent).await.unwrap();
        // Each of the two calls is answered without a body or refused.
        let mut ended = 0;
        while ended < 2 {
            let mut header = [0; FRAME_HEADER];
            client.read_exact(&mut header).await.unwrap();
            let [_, _, length, kind, flags, ..] = header;
            client.read_exact(&mut vec![0; usize::from(length)]).await.unwrap();
            let is_answer = kind == HEADERS && flags & END_STREAM != 0;
            ended += usize::from(is_answer || kind == RST_STREAM);
        }
        serving.abort();
        let mut seen = Vec::new();
        while let Ok(call) = told.try_recv() {
            seen.push(call);
        }
        seen
    }

    #[tokio::test]
    async fn calls_of_a_url_are_taken() {
        for (url, is_huffman, expected) in [
            (CODED, true, "http://127.0.0.1:42993"),
            (CODED_HTTPS, true, "https://localhost"),
            (b"http://127.0.0.1:2379/", false, "http://127.0.0.1:2379/"),
            (b"https://[::1]:2379", false, "https://[::1]:2379"),
        ] {
            let expected = (None, Some(expected.to_owned()));
            let sent = usual(&block(url, is_huffman));
            assert_eq!(seen_by_hyper(&sent, Mended::new).await, [expected.clone(), expected]);
        }
    }

    #[tokio::test]
    async fn calls_of_an_authority_keep_it() {
        let expected = (Some("127.0.0.1:2379".to_owned()), None);
        let sent = usual(&block(b"127.0.0.1:2379", false));
        assert_eq!(seen_by_hyper(&sent, Mended::new).await, [expected.clone(), expected]);
    }

    #[test]
    fn both_names_have_the_same_length() {
        assert_eq!(http::header::SET_COOKIE.as_str().len(), ":authority".len());
    }

    /// The day this fails, `h2` has learnt it and this module has had its time.
    #[tokio::test]
    async fn a_url_is_refused_without_it() {
        let sent = usual(&block(CODED, true));
        assert_eq!(seen_by_hyper(&sent, |stream| stream).await, []);
    }

    #[tokio::test]
    async fn pieces_of_any_size_are_mended() {
        for (url, is_huffman) in [(CODED, true), (b"http://a", false)] {
            let sent = usual(&block(url, is_huffman));
            let expected = usual(&named(SET_COOKIE, url, is_huffman));
            for middle in 0..=sent.len() {
                let (first, second) = sent.split_at(middle);
                assert_eq!(through(first.chain(second)).await, expected, "split at {middle}");
            }
            let (mut client, server) = tokio::io::duplex(1);
            let client = async {
                client.write_all(&sent).await.unwrap();
                drop(client);
            };
            assert_eq!(tokio::join!(client, through(server)).1, expected);
        }
    }

    #[tokio::test]
    async fn what_is_cleared_is_not_kept_back() {
        let sent = usual(&block(CODED, true));
        let (mut client, server) = tokio::io::duplex(1024);
        let mut mended = Mended::new(server);
        for length in [1, PREFACE.len() - 1, FRAME_HEADER] {
            client.write_all(&sent[..length]).await.unwrap();
            // It would wait forever otherwise.
            mended.read_exact(&mut vec![0; length]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_no_url_passes_as_it_is() {
        for authority in
            ["127.0.0.1:2379", "http", "http:80", "http:/a", "https:80", "ahttp://", ""]
        {
            let sent = usual(&block(authority.as_bytes(), false));
            assert_eq!(through(&sent[..]).await, sent, "{authority}");
        }
        // The URL as another header, under a name of its own, and as one not to be remembered.
        let spelled = [&[0x83, 0x86, 0x84, 0x40, 1, b'a'][..], &string(CODED, true)].concat();
        for block in [named(0x53, CODED, true), spelled, named(0x01, CODED, true)] {
            let sent = usual(&block);
            assert_eq!(through(&sent[..]).await, sent, "{block:x?}");
        }
    }

    #[tokio::test]
    async fn what_is_unexpected_passes_as_it_is() {
        let block = block(CODED, true);
        let whole = [PADDED, PRIORITIZED, 0x80].map(|exotic| END_HEADERS | exotic);
        let flags = [0, END_STREAM].into_iter().chain(whole);
        let mut cases: Vec<Vec<u8>> = flags.map(|flags| connection(flags, &block)).collect();
        let call = frame(HEADERS, END_HEADERS, 1, &block);
        let data = frame(0, 0, 1, b"a");
        let long = frame(SETTINGS, 0, 0, &vec![0; LIMIT - PREFACE.len() - FRAME_HEADER]);
        let many = frame(PING, 0, 0, &[0; 8]).repeat(LIMIT / (FRAME_HEADER + 8));
        for before in [data, long, many] {
            cases.push([PREFACE, &before, &call].concat());
        }
        cases.push([b"GET / HTTP/1.1\r\n\r\n", PREFACE, &call].concat());
        cases.push([&PREFACE[..PREFACE.len() - 1], &call].concat());
        // A number without end before the authority.
        let endless = [&[0x3f, 0xff, 0xff, 0xff, 0xff, 0x00], &block[..]].concat();
        cases.push(usual(&endless));
        for sent in cases {
            assert_eq!(through(&sent[..]).await, sent, "{:x?}", &sent[..sent.len().min(200)]);
        }
    }

    #[tokio::test]
    async fn a_broken_connection_keeps_its_length() {
        for (url, is_huffman) in [(CODED, true), (&b"http://a"[..], false)] {
            let sent = usual(&block(url, is_huffman));
            for (at, value) in
                (0..sent.len()).flat_map(|at| (0..=255).map(move |value| (at, value)))
            {
                let mut sent = sent.clone();
                sent[at] = value;
                let got = through(&sent[..]).await;
                assert_eq!(got.len(), sent.len(), "{value} at {at}");
                let changed = got.iter().zip(&sent).filter(|(got, sent)| got != sent).count();
                assert!(changed <= 1, "{value} at {at}: {changed} bytes changed");
            }
            for length in 0..sent.len() {
                assert_eq!(through(&sent[..length]).await.len(), length);
            }
        }
    }
}
