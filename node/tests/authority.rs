//! The calls of Debian's `etcdctl` that name a URL as their authority, byte by byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{Server, scratch};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What `etcdctl --endpoints=http://127.0.0.1:42993 endpoint status` of version 3.4.23 sends:
/// POST, http, and seven fields that are to be remembered, the authority as the second.
const FIRST_CALL: &str = "8386459760a924882d9dcb6571afa066a925a87510ac6e48d36a3f\
    41909d29aee30c044eae05c0b86e3427df675f8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2caecff\
    40027465864d833505b11f40899acac8b24d494f6a7f8669f7d96da66d408d25062d495875996ee5b1063d5f\
    03332e34";

/// The same call with the seven fields as remembered.
const LATER_CALL: &str = "8386c4c3c2c1c0bfbe";

/// An empty message as gRPC frames it.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn call(stream: u8, headers: &str) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &unhex(headers));
    [headers, frame(DATA, END_STREAM, stream, EMPTY_MESSAGE)].concat()
}

/// The bytes of the message with which a call is answered; its trailer is taken as well.
fn answer(connection: &mut TcpStream, stream: u8) -> Vec<u8> {
    let mut message = Vec::new();
    loop {
        let mut header = [0; 9];
        connection.read_exact(&mut header).unwrap();
        let [high, middle, low, kind, flags, .., of] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        connection.read_exact(&mut payload).unwrap();
        assert!(kind != RST_STREAM && kind != GO_AWAY, "refused by {header:?} {payload:?}");
        if kind == DATA {
            message.extend(payload);
        }
        if of == stream && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return message;
        }
    }
}

#[tokio::test]
async fn endpoint_status_of_a_url_is_answered() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    drop(server.connect().await);
    let address = server.client_url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &call(1, FIRST_CALL)].concat();
    for byte in opening {
        connection.write_all(&[byte]).unwrap();
    }
    assert!(tells_version(&answer(&mut connection, 1)));

    connection.write_all(&call(3, LATER_CALL)).unwrap();
    assert!(tells_version(&answer(&mut connection, 3)));
}

fn tells_version(message: &[u8]) -> bool {
    let version = revd::ETCD_VERSION.as_bytes();
    message.windows(version.len()).any(|text| text == version)
}
