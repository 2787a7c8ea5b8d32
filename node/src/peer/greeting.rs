//! How a stream begins: who dials whom, for what, and whether it is welcome.
//!
//! ```text
//! GET /revd/stream HTTP/1.1          HTTP/1.1 101 Switching Protocols
//! connection: upgrade                connection: upgrade
//! upgrade: revd-peer/1               upgrade: revd-peer/1
//! x-revd-cluster: cdf818194e3a8c32
//! x-revd-from: 8e9e05c52164694d
//! x-revd-to: 91bc3c398fb3c146
//! x-revd-stream: append
//! x-revd-urls: http://10.0.0.1:2380
//! x-revd-generation: 0
//! ```
//!
//! | answer | because |
//! |---|---|
//! | 101 | the stream begins |
//! | 400 | this is no greeting, or one of another version |
//! | 403 | the greeting is for another member |
//! | 410 | the sender was removed from the cluster, or is left behind by it |
//! | 412 | the sender belongs to another cluster |
//!
//! A sender that is not known here is let in: it was added after everything that this member has
//! applied so far, and may well be the leader that is to bring it up to date. It is answered at the
//! URLs that it says. But if it is of an earlier generation, the cluster has gone on without it
//! (`revd_replica::survivor`).

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};

/// What follows the greeting; another version of it gets another name.
const PROTOCOL: &str = "revd-peer/1";

const CLUSTER: &str = "x-revd-cluster";
const FROM: &str = "x-revd-from";
const TO: &str = "x-revd-to";
const STREAM: &str = "x-revd-stream";
const URLS: &str = "x-revd-urls";
/// How often the cluster has gone on with a single survivor; also said with the list of members.
pub const GENERATION: &str = "x-revd-generation";

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries.
    Append,
    /// Everything else.
    Rest,
    /// One snapshot.
    Snapshot,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Rest => "rest",
            Self::Snapshot => "snapshot",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Append, Self::Rest, Self::Snapshot];
        all.into_iter().find(|kind| kind.text() == text)
    }
}

/// Who dials whom, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The cluster of the sender.
    pub cluster: u64,
    /// Who dials.
    pub from: u64,
    /// Who is dialled.
    pub to: u64,
    /// What the stream will carry.
    pub kind: Kind,
    /// Where the sender is reached.
    pub urls: Vec<String>,
    /// The generation of the cluster that the sender knows.
    pub generation: u64,
}

/// Those who may be greeted: what a member knows of its cluster.
#[derive(Clone, Copy, Debug)]
pub struct Acquaintance<'a> {
    /// Its cluster.
    pub cluster: u64,
    /// Itself.
    pub member: u64,
    /// Ids of the members.
    pub members: &'a [u64],
    /// The generation of the cluster.
    pub generation: u64,
    /// Ids of those who were removed.
    pub removed: &'a [u64],
}

impl Greeting {
    /// The headers that say it.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        write_upgrade(headers);
        for (name, value) in [(CLUSTER, self.cluster), (FROM, self.from), (TO, self.to)] {
            let text = format!("{value:x}");
            headers.insert(name, HeaderValue::try_from(text).expect("hex digits are a value"));
        }
        headers.insert(STREAM, HeaderValue::from_static(self.kind.text()));
        // URLs are made of characters that a value may have.
        if let Ok(urls) = HeaderValue::try_from(self.urls.join(",")) {
            headers.insert(URLS, urls);
        }
        headers.insert(GENERATION, HeaderValue::from(self.generation));
    }

    /// The greeting in the headers of a request.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let id = |name: &str| u64::from_str_radix(text(name)?, 16).ok();
        let protocol = headers.get(UPGRADE).is_some_and(|value| value == PROTOCOL);
        protocol.then_some(())?;
        Some(Self {
            cluster: id(CLUSTER)?,
            from: id(FROM)?,
            to: id(TO)?,
            kind: Kind::parse(text(STREAM)?)?,
            urls: text(URLS)?.split(',').map(str::to_owned).collect(),
            generation: text(GENERATION)?.parse().ok()?,
        })
    }

    /// Whether the sender is welcome; else the status that says why not.
    pub(super) fn judge(&self, known: Acquaintance<'_>) -> Result<(), StatusCode> {
        if self.cluster != known.cluster {
            return Err(StatusCode::PRECONDITION_FAILED);
        }
        if known.removed.contains(&self.from) {
            return Err(StatusCode::GONE);
        }
        let is_left = self.generation < known.generation && !known.members.contains(&self.from);
        if is_left {
            return Err(StatusCode::GONE);
        }
        if self.to != known.member {
            return Err(StatusCode::FORBIDDEN);
        }
        Ok(())
    }
}

/// The headers of the change to our own protocol, which both sides say.
pub(super) fn write_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        let urls = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        Greeting { cluster: 9, from: 1, to: 2, kind: Kind::Append, urls, generation: 1 }
    }

    #[test]
    fn a_greeting_survives_its_headers() {
        for kind in [Kind::Append, Kind::Rest, Kind::Snapshot] {
            let greeting = Greeting { kind, from: u64::MAX, ..greeting() };
            let mut headers = HeaderMap::new();
            greeting.write(&mut headers);
            assert_eq!(Greeting::read(&headers), Some(greeting.clone()));
            for name in [CLUSTER, FROM, TO, STREAM, URLS, GENERATION, "upgrade"] {
                let mut less = headers.clone();
                less.remove(name);
                assert_eq!(Greeting::read(&less), None, "{name}");
            }
        }
    }

    #[test]
    fn strangers_are_told_why() {
        let known =
            Acquaintance { cluster: 9, member: 2, members: &[1, 2], generation: 1, removed: &[7] };
        let status = |greeting: Greeting| greeting.judge(known).map_err(|code| code.as_u16());
        assert_eq!(status(greeting()), Ok(()));
        assert_eq!(status(Greeting { cluster: 8, ..greeting() }), Err(412));
        assert_eq!(status(Greeting { from: 7, ..greeting() }), Err(410));
        assert_eq!(status(Greeting { to: 3, ..greeting() }), Err(403));
        // Unknown is who was added later, but not before the cluster had to begin anew.
        assert_eq!(status(Greeting { from: 4, ..greeting() }), Ok(()));
        assert_eq!(status(Greeting { from: 4, generation: 0, ..greeting() }), Err(410));
        assert_eq!(status(Greeting { generation: 0, ..greeting() }), Ok(()));
    }
}
