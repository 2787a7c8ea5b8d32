//! One call, sent to both servers, its answers compared field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use crate::expected::{ROWS, Row};
use crate::requests::{Rpc, revoke};
use crate::servers::Server;
use crate::wire::{Answer, Fields, Metadata, Stream};

/// How long the next message of a stream may take; etcd serves late watchers each 100 ms.
const NEXT_LIMIT: Duration = Duration::from_secs(5);
/// How long nothing must come where nothing is due.
const QUIET: Duration = Duration::from_millis(350);

/// Both servers, and what has been found so far.
pub struct Trial {
    etcd: Server,
    revd: Server,
    /// What has been found so far.
    pub report: Report,
}

/// What both servers answered.
pub struct Both {
    /// Debian's etcd.
    pub etcd: Answer,
    /// This build.
    pub revd: Answer,
}

impl Both {
    /// The revision in the header; a difference has been reported already.
    pub fn revision(&self) -> i64 {
        self.revd.number("header.revision")
    }
}

/// The same stream, open to both servers.
pub struct Streams {
    method: &'static str,
    etcd: Stream,
    revd: Stream,
}

impl Streams {
    /// Sends a message on both.
    pub async fn send<M: Message>(&mut self, message: M) {
        self.send_raw(message.encode_to_vec()).await;
    }

    /// Sends bytes on both that need not be a message.
    pub async fn send_raw(&mut self, body: Vec<u8>) {
        let body = Bytes::from(body);
        self.etcd.send(body.clone()).await;
        self.revd.send(body).await;
    }

    /// Ends the client's side of both.
    pub fn half_close(&mut self) {
        self.etcd.half_close();
        self.revd.half_close();
    }
}

impl Trial {
    /// A comparison of these two.
    pub fn new(etcd: Server, revd: Server) -> Self {
        Self { etcd, revd, report: Report::default() }
    }

    /// A call whose answers must agree.
    pub async fn call<R: Rpc>(&mut self, case: &str, request: R) -> Both {
        self.call_with(case, request, &[]).await
    }

    /// The same, with metadata.
    pub async fn call_with<R: Rpc>(
        &mut self,
        case: &str,
        request: R,
        metadata: Metadata<'_>,
    ) -> Both {
        self.raw(case, R::METHOD, request.encode_to_vec(), metadata).await
    }

    /// A call of any method, with any bytes for a request.
    pub async fn raw(
        &mut self,
        case: &str,
        method: &str,
        body: Vec<u8>,
        metadata: Metadata<'_>,
    ) -> Both {
        let body = Bytes::from(body);
        let (etcd, revd) = tokio::join!(
            self.etcd.client.unary(method, body.clone(), metadata),
            self.revd.client.unary(method, body, metadata),
        );
        let both = Both { etcd, revd };
        self.report.compare(case, method, &both);
        self.assert_alive(case);
        both
    }

    /// A call that would bring etcd 3.4 down: only revd is asked, and refuses with this status.
    pub async fn alone<R: Rpc>(
        &mut self,
        case: &str,
        request: R,
        metadata: Metadata<'_>,
        refusal: (Code, &str),
    ) {
        let body = Bytes::from(request.encode_to_vec());
        let revd = self.revd.client.unary(R::METHOD, body, metadata).await;
        self.report.expect_alone(case, R::METHOD, revd, refusal);
    }

    /// Revokes leases whose ids the servers have chosen.
    pub async fn revoke_chosen(&mut self, case: &str, granted: &Both) {
        let body = |answer: &Answer| Bytes::from(revoke(answer.number("ID")).encode_to_vec());
        let method = "etcdserverpb.Lease/LeaseRevoke";
        let etcd = self.etcd.client.unary(method, body(&granted.etcd), &[]).await;
        let revd = self.revd.client.unary(method, body(&granted.revd), &[]).await;
        self.report.compare(case, method, &Both { etcd, revd });
    }

    /// A range whose stream on revd, put together again, must equal etcd's plain answer.
    pub async fn range_as_stream(&mut self, case: &str, request: impl Rpc) -> usize {
        let body = Bytes::from(request.encode_to_vec());
        let etcd = self.etcd.client.unary("etcdserverpb.KV/Range", body.clone(), &[]).await;
        let method = "etcdserverpb.KV/RangeStream";
        let mut stream = self.revd.client.open(method, &[]);
        stream.send(body).await;
        stream.half_close();
        let (revd, messages) = merge(&mut stream).await;
        self.report.compare(case, method, &Both { etcd, revd });
        messages
    }

    /// Opens a stream to both servers.
    pub fn open(
        &self,
        method: &'static str,
        metadata: &'static [(&'static str, &'static [u8])],
    ) -> Streams {
        let etcd = self.etcd.client.open(method, metadata);
        Streams { method, etcd, revd: self.revd.client.open(method, metadata) }
    }

    /// The next message of both, or their ends, which must agree.
    pub async fn next(&mut self, case: &str, streams: &mut Streams) -> Both {
        let (etcd, revd) =
            tokio::join!(streams.etcd.next(NEXT_LIMIT), streams.revd.next(NEXT_LIMIT));
        let both = Both { etcd, revd };
        self.report.compare(case, streams.method, &both);
        self.assert_alive(case);
        both
    }

    /// The next messages of both until `count` events have come: the events of each watcher must
    /// agree in content and order. In which order watchers are served is not fixed.
    pub async fn events(&mut self, case: &str, streams: &mut Streams, count: usize) {
        let etcd = collect_events(&mut streams.etcd, count).await;
        let revd = collect_events(&mut streams.revd, count).await;
        self.report.compare(case, streams.method, &Both { etcd, revd });
    }

    /// Nothing is due on either stream, and nothing comes.
    pub async fn quiet(&mut self, case: &str, streams: &mut Streams) {
        let (etcd, revd) = tokio::join!(streams.etcd.next(QUIET), streams.revd.next(QUIET));
        if !matches!(etcd, Answer::Silence) {
            self.report.fail(format!("{case}: the case expects silence, etcd sent {etcd:?}"));
        }
        self.report.compare(case, streams.method, &Both { etcd, revd });
    }

    fn assert_alive(&mut self, case: &str) {
        for server in [&mut self.etcd, &mut self.revd] {
            let is_alive = server.is_alive();
            assert!(is_alive, "{case}: {} died:\n{}", server.name, server.log());
        }
    }
}

/// The messages of a range stream as one answer, and their number.
async fn merge(stream: &mut Stream) -> (Answer, usize) {
    let (mut merged, mut kvs, mut messages) = (Fields::new(), 0, 0);
    loop {
        let fields = match stream.next(NEXT_LIMIT).await {
            Answer::Message(fields) => fields,
            Answer::Status(Code::Ok, _) => return (Answer::Message(merged), messages),
            other => return (other, messages),
        };
        messages += 1;
        let first = kvs;
        for (path, value) in fields {
            let Some(path) = path.strip_prefix("range_response.") else { continue };
            let path = match element_of("kvs", path) {
                Some((i, rest)) => {
                    kvs = kvs.max(first + i + 1);
                    format!("kvs[{}]{rest}", first + i)
                }
                None => path.to_owned(),
            };
            if let Some(earlier) = merged.insert(path.clone(), value) {
                merged.insert(format!("{path} (repeated)"), earlier);
            }
        }
    }
}

/// The events of the next messages, counted through for each watcher.
async fn collect_events(stream: &mut Stream, count: usize) -> Answer {
    let mut all = Fields::new();
    let mut next_of: BTreeMap<String, usize> = BTreeMap::new();
    while next_of.values().sum::<usize>() < count {
        let fields = match stream.next(NEXT_LIMIT).await {
            Answer::Message(fields) => fields,
            other => {
                all.insert("events".to_owned(), format!("end with {other:?}"));
                break;
            }
        };
        let watcher = fields.get("watch_id").cloned().unwrap_or_default();
        let next = next_of.entry(watcher.clone()).or_default();
        let first = *next;
        for (path, value) in fields {
            if let Some((i, rest)) = element_of("events", &path) {
                *next = (*next).max(first + i + 1);
                all.insert(format!("watcher[{watcher}].events[{}]{rest}", first + i), value);
            }
        }
    }
    Answer::Message(all)
}

/// Index and remainder of a path into a repeated field.
fn element_of<'a>(field: &str, path: &'a str) -> Option<(usize, &'a str)> {
    let (index, rest) = path.strip_prefix(field)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// What has been compared, and what did not agree.
#[derive(Default)]
pub struct Report {
    compared: BTreeMap<String, usize>,
    differences: Vec<String>,
    used: BTreeSet<usize>,
    texts: BTreeSet<String>,
    /// Calls that only revd was asked.
    alone: usize,
}

impl Report {
    /// Compares two answers; each difference must have its row in the table of expected ones.
    pub fn compare(&mut self, case: &str, method: &str, both: &Both) {
        *self.compared.entry(method.to_owned()).or_default() += 1;
        if let Answer::Status(_, text) = &both.revd {
            self.texts.insert(text.clone());
        }
        let (etcd, revd) = (both.etcd.fields(), both.revd.fields());
        self.texts.extend(revd.get("cancel_reason").cloned());
        if etcd.contains_key("status") != revd.contains_key("status") {
            let status = |fields: &Fields| match fields.get("status") {
                Some(status) => visible(method, "status", status).to_owned(),
                None => "0 OK".to_owned(),
            };
            self.differ(case, method, "status", &status(&etcd), &status(&revd));
            return;
        }
        let paths: BTreeSet<&String> = etcd.keys().chain(revd.keys()).collect();
        for path in paths {
            let of = |fields: &Fields| {
                let value = fields.get(path).map_or("", String::as_str);
                visible(method, path, value).to_owned()
            };
            self.differ(case, method, path, &of(&etcd), &of(&revd));
        }
    }

    /// Notes an answer that only revd was asked for.
    fn expect_alone(&mut self, case: &str, method: &str, revd: Answer, refusal: (Code, &str)) {
        self.alone += 1;
        let seen = revd.fields().remove("status").unwrap_or_default();
        let wanted = format!("{} {}", refusal.0 as i32, refusal.1);
        self.texts.insert(refusal.1.to_owned());
        if seen != wanted {
            self.fail(format!("{case} [{method}]: revd `{seen}`, and it should be `{wanted}`"));
        }
    }

    fn differ(&mut self, case: &str, method: &str, path: &str, etcd: &str, revd: &str) {
        if etcd == revd {
            return;
        }
        let expected = ROWS.iter().position(|row| is_for(row, case, method, path, etcd, revd));
        match expected {
            Some(row) => drop(self.used.insert(row)),
            None => {
                let (etcd, revd) = (shortened(etcd), shortened(revd));
                self.fail(format!("{case} [{method}] {path}: etcd `{etcd}`, revd `{revd}`"));
            }
        }
    }

    /// Notes a failure.
    pub fn fail(&mut self, what: String) {
        println!("DIFFERENT {what}");
        self.differences.push(what);
    }

    /// Prints the tally, and panics if anything differed that should not, or did not that should,
    /// or if one of `methods` or `texts` was never seen.
    pub fn finish(mut self, methods: &[&str], texts: &[&str]) {
        for method in methods {
            if !self.compared.contains_key(*method) {
                self.fail(format!("{method} was never called"));
            }
        }
        for text in texts {
            if !self.texts.contains(*text) {
                self.fail(format!("the text `{text}` was never seen"));
            }
        }
        for (i, row) in ROWS.iter().enumerate() {
            if !self.used.contains(&i) {
                self.fail(format!(
                    "the expected difference of rule {} did not show: {row:?}",
                    row.rule
                ));
            }
        }
        for (method, count) in &self.compared {
            println!("{count:>6}  {method}");
        }
        let calls: usize = self.compared.values().sum();
        println!(
            "{calls:>6}  answers compared, {} methods, {} error texts, {} of {} expected \
             differences seen, {} unexpected; {} calls that crash etcd sent to revd alone",
            self.compared.len(),
            self.texts.len(),
            self.used.len(),
            ROWS.len(),
            self.differences.len(),
            self.alone
        );
        let differences = self.differences;
        assert!(differences.is_empty(), "revd differs:\n{}", differences.join("\n"));
    }
}

/// A value as far as it is compared: what is local to a run is reduced or left out.
fn visible<'a>(method: &str, path: &str, value: &'a str) -> &'a str {
    let name = path.rsplit('.').next().unwrap_or(path);
    match name {
        "raft_term" | "raftTerm" | "raftIndex" | "raftAppliedIndex" => "",
        "dbSize" | "dbSizeInUse" => "",
        // The remaining seconds of a lease: positive or -1.
        "TTL" if method.ends_with("/LeaseTimeToLive") => match value.starts_with('-') {
            true => value,
            false => "",
        },
        // Chosen by the server: a large number, while the clients of this test choose small ones.
        "ID" if method.ends_with("/LeaseGrant") && is_chosen(value) => "chosen",
        // The texts are the gRPC library's, after the same code.
        "status" if value.starts_with("13 ") => "13",
        "status" if value.starts_with("12 unknown ") || value == "12 " => "12",
        _ => value,
    }
}

/// A value as far as a person wants to see it.
fn shortened(value: &str) -> String {
    value.chars().take(200).collect()
}

fn is_chosen(lease: &str) -> bool {
    lease.parse::<i64>().is_ok_and(|id| id > 1 << 32 && id != i64::MAX)
}

fn is_for(row: &Row, case: &str, method: &str, path: &str, etcd: &str, revd: &str) -> bool {
    method.ends_with(row.method)
        && case.starts_with(row.case)
        && matches(row.field, path)
        && matches(row.etcd, etcd)
        && matches(row.revd, revd)
}

/// Whether a text fits a pattern in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|i| tail.is_char_boundary(i) && matches(rest, &tail[i..]))
        }),
    }
}
