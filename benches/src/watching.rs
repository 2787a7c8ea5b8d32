//! Watchers, many on a stream as real clients have them, and the puts that they see.
//!
//! A put's value begins with the time at which it was sent, so that each watcher measures from put
//! to event. Client and server share the cores: the client looks at no more of a message than its
//! events and their times, on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use revd_api::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use tokio::task::{JoinHandle, LocalSet};

use crate::client::{Connection, Requests, Responses};
use crate::statistics::Latencies;

/// How long events may come in after the last put.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Credit of a stream: what the server may send ahead of one that nobody reads. What Go clients
/// begin with.
const STREAM_WINDOW: u32 = 64 << 10;

/// Connections for the puts.
const PUT_CONNECTIONS: usize = 4;

/// Which keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The watched ones, in turn.
    Watched,
    /// So many others, in turn.
    Others(u64),
}

/// Who watches, and what is written meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Watching {
    /// Connections of the watchers; the streams are spread over them.
    pub connections: usize,
    /// Streams.
    pub streams: usize,
    /// Watchers on each stream.
    pub watchers: usize,
    /// Different keys that are watched: watcher n watches key n modulo this.
    pub watched: u64,
    /// Each such stream is never read once its watchers are made; 0 for none.
    pub unread: usize,
    /// Watchers get previous values.
    pub prev_kv: bool,
    /// The keys that are written.
    pub written: Written,
    /// Clients that write, each with one put under way.
    pub clients: usize,
    /// Puts a second; 0 for as many as are answered.
    pub rate: u64,
    /// No put starts after this long.
    pub duration: Duration,
    /// Bytes of a value, at least 8.
    pub value_bytes: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Puts that were acknowledged.
    pub puts: u64,
    /// From the first put to the last answer.
    pub put_time: Duration,
    /// Send to answer.
    pub put_latencies: Latencies,
    /// Events that came to the watchers that read.
    pub events: u64,
    /// From the first put to the last event.
    pub event_time: Duration,
    /// Send of the put to arrival of the event.
    pub event_latencies: Latencies,
}

struct Shared {
    load: Watching,
    zero: Instant,
    next: Cell<u64>,
    puts: Cell<u64>,
    put_latencies: RefCell<Latencies>,
    events: Cell<u64>,
    last_event: Cell<Duration>,
    event_latencies: RefCell<Latencies>,
    failure: RefCell<Option<String>>,
}

/// Makes the watchers, calls `begin`, writes, and waits until every event has come. Then calls
/// `end` while the watchers are still there.
///
/// # Errors
/// The first connection or call that failed, or that events are missing, as text.
pub fn run<B>(
    address: &str,
    load: Watching,
    begin: impl FnOnce() -> Result<B, String>,
) -> Result<(Outcome, B), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, watch_and_write(address, load, begin))
}

async fn watch_and_write<B>(
    address: &str,
    load: Watching,
    begin: impl FnOnce() -> Result<B, String>,
) -> Result<(Outcome, B), String> {
    let shared = Rc::new(Shared {
        load,
        zero: Instant::now(),
        next: Cell::new(0),
        puts: Cell::new(0),
        put_latencies: RefCell::default(),
        events: Cell::new(0),
        last_event: Cell::new(Duration::ZERO),
        event_latencies: RefCell::default(),
        failure: RefCell::default(),
    });
    let _watchers = watchers(address, &shared).await?;
    let connections = connect(address, PUT_CONNECTIONS).await?;
    let begun = begin()?;
    let start = shared.zero.elapsed();
    let clients: Vec<_> = (0..load.clients)
        .map(|n| {
            let connection = connections[n % connections.len()].clone();
            tokio::task::spawn_local(client(connection, n, start, Rc::clone(&shared)))
        })
        .collect();
    for client in clients {
        client.await.map_err(|e| e.to_string())??;
    }
    let put_time = shared.zero.elapsed() - start;
    drain(&shared).await?;
    let outcome = Outcome {
        puts: shared.puts.get(),
        put_time,
        put_latencies: shared.put_latencies.take(),
        events: shared.events.get(),
        event_time: shared.last_event.get().saturating_sub(start),
        event_latencies: shared.event_latencies.take(),
    };
    Ok((outcome, begun))
}

async fn connect(address: &str, count: usize) -> Result<Vec<Connection>, String> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let connection = Connection::with_stream_window(address, STREAM_WINDOW).await;
        connections.push(connection.map_err(|e| format!("cannot connect to {address}: {e}"))?);
    }
    Ok(connections)
}

/// Opens the streams, waits until all watchers are made, and lets those that are read be read.
/// The streams that are not read end when the returned ones are dropped.
async fn watchers(
    address: &str,
    shared: &Rc<Shared>,
) -> Result<Vec<(Requests, Option<Responses>)>, String> {
    let load = shared.load;
    let connections = connect(address, load.connections).await?;
    let mut open = Vec::new();
    for stream in 0..load.streams {
        let connection = connections[stream % connections.len()].clone();
        let made: JoinHandle<Result<_, String>> =
            tokio::task::spawn_local(make(connection, stream, load));
        open.push(made);
    }
    let mut held = Vec::new();
    for (n, stream) in open.into_iter().enumerate() {
        let (requests, responses) = stream.await.map_err(|e| e.to_string())??;
        if is_unread(load, n) {
            held.push((requests, Some(responses)));
        } else {
            tokio::task::spawn_local(read(responses, Rc::clone(shared)));
            held.push((requests, None));
        }
    }
    Ok(held)
}

/// Whether nobody reads stream `n`. Consecutive streams go to different connections, so the ones
/// left unread are counted within a connection.
fn is_unread(load: Watching, n: usize) -> bool {
    load.unread > 0 && (n / load.connections).is_multiple_of(load.unread)
}

async fn make(
    connection: Connection,
    stream: usize,
    load: Watching,
) -> Result<(Requests, Responses), String> {
    let mut method = connection.method("/etcdserverpb.Watch/Watch");
    let (mut requests, mut responses) = method.stream().await.map_err(|e| e.to_string())?;
    for watcher in 0..load.watchers {
        let n = (stream * load.watchers + watcher) as u64 % load.watched;
        let create = WatchCreateRequest {
            key: watched(n),
            prev_kv: load.prev_kv,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(&request).map_err(|e| e.to_string())?;
    }
    let mut made = 0;
    while made < load.watchers {
        let is_open = responses.read(|_| made += 1).await.map_err(|e| e.to_string())?;
        if !is_open {
            return Err("the server ended a stream of watchers".to_owned());
        }
    }
    Ok((requests, responses))
}

async fn read(mut responses: Responses, shared: Rc<Shared>) {
    loop {
        let read = responses.read(|message| {
            let now = shared.zero.elapsed();
            let mut latencies = shared.event_latencies.borrow_mut();
            let mut count = 0;
            each_event(message, &mut |sent| {
                count += 1;
                latencies.add(now.saturating_sub(Duration::from_nanos(sent)));
            });
            shared.events.set(shared.events.get() + count);
            shared.last_event.set(now);
        });
        match read.await {
            Ok(true) => {}
            Ok(false) => {
                *shared.failure.borrow_mut() = Some("the server ended a stream".to_owned());
                return;
            }
            Err(error) => {
                *shared.failure.borrow_mut() = Some(error.to_string());
                return;
            }
        }
    }
}

async fn drain(shared: &Shared) -> Result<(), String> {
    let load = shared.load;
    if load.written != Written::Watched {
        return Ok(());
    }
    let read = (0..load.streams).filter(|n| !is_unread(load, *n)).count();
    let readers = (read * load.watchers) as u64;
    if !readers.is_multiple_of(load.watched) {
        return Err("each watched key needs equally many watchers that read".to_owned());
    }
    let expected = shared.puts.get() * (readers / load.watched);
    let limit = Instant::now() + DRAIN_LIMIT;
    while shared.events.get() < expected {
        if let Some(failure) = shared.failure.borrow_mut().take() {
            return Err(failure);
        }
        if Instant::now() > limit {
            return Err(format!("{} of {expected} events came", shared.events.get()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let events = shared.events.get();
    if events > expected {
        Err(format!("{events} events came, {expected} are due"))
    } else {
        Ok(())
    }
}

async fn client(
    connection: Connection,
    number: usize,
    start: Duration,
    shared: Rc<Shared>,
) -> Result<(), String> {
    let load = shared.load;
    let mut method = connection.method("/etcdserverpb.KV/Put");
    let mut value = crate::load::incompressible(load.value_bytes).to_vec();
    let mut turn = number as u64;
    loop {
        if load.rate > 0 {
            let due = start + Duration::from_secs_f64(turn as f64 / load.rate as f64);
            turn += load.clients as u64;
            tokio::time::sleep_until((shared.zero + due).into()).await;
        }
        let sent = shared.zero.elapsed();
        if sent - start >= load.duration {
            return Ok(());
        }
        let n = shared.next.get();
        shared.next.set(n + 1);
        value[..8].copy_from_slice(&(sent.as_nanos() as u64).to_le_bytes());
        let key = match load.written {
            Written::Watched => watched(n % load.watched),
            Written::Others(count) => Bytes::from(format!("o{:07}", n % count)),
        };
        let put = PutRequest { key, value: value.clone().into(), ..PutRequest::default() };
        method.call(&put).await.map_err(|e| e.to_string())?;
        shared.put_latencies.borrow_mut().add(shared.zero.elapsed() - sent);
        shared.puts.set(shared.puts.get() + 1);
    }
}

fn watched(n: u64) -> Bytes {
    Bytes::from(format!("w{n:07}"))
}

/// Calls `each` with the first eight bytes of the value of every event of a watch response.
fn each_event(response: &[u8], each: &mut impl FnMut(u64)) {
    const EVENTS: u64 = 11;
    const KV: u64 = 2;
    const VALUE: u64 = 5;
    for event in messages(response, EVENTS) {
        for kv in messages(event, KV) {
            for value in messages(kv, VALUE) {
                each(value.first_chunk().map_or(0, |sent| u64::from_le_bytes(*sent)));
            }
        }
    }
}

/// The contents of the fields `number` of a message, which are messages or bytes themselves.
fn messages(mut message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            let tag = varint(&mut message);
            let length = varint(&mut message);
            // Fields here are numbers or have a length; a number is read by now.
            if tag & 7 == 0 {
                continue;
            }
            let (field, rest) = message.split_at_checked(length as usize)?;
            message = rest;
            if tag >> 3 == number {
                return Some(field);
            }
        }
        None
    })
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use revd_api::etcdserverpb::{ResponseHeader, WatchResponse};
    use revd_api::mvccpb::{Event, KeyValue};

    #[test]
    fn times_are_found_in_responses() {
        let event = |sent: u64| {
            let kv = KeyValue {
                key: Bytes::from_static(b"k"),
                mod_revision: 300,
                value: [sent.to_le_bytes().as_slice(), &[9; 300]].concat().into(),
                ..KeyValue::default()
            };
            Bytes::from(Event { kv: Some(kv), ..Event::default() }.encode_to_vec())
        };
        let response = WatchResponse {
            header: Some(ResponseHeader { revision: 1 << 40, ..ResponseHeader::default() }),
            watch_id: 77,
            events: vec![event(5), event(1 << 50)],
            ..WatchResponse::default()
        };
        let mut sent = Vec::new();
        each_event(&response.encode_to_vec(), &mut |time| sent.push(time));
        assert_eq!(sent, [5, 1 << 50]);
    }
}
