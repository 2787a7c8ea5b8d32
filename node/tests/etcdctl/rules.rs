//! What differs from one run to the next although nothing is wrong, by name.
//!
//! A rule rewrites a line that `etcdctl` printed, on both sides, before the lines are compared. It
//! holds for some commands only, and puts one mark in place of what it takes out, so that a value
//! that is missing on one side still shows. A rule that changed nothing in a whole run is a
//! failure: it would only hide things.

use std::collections::BTreeMap;

/// What a rule knows of the side whose line it sees.
pub struct Facts<'a> {
    /// Where the server listens: `127.0.0.1:PORT`.
    pub endpoint: &'a str,
    /// The leases that the script has given a name, with the ids that this server chose.
    pub leases: &'a BTreeMap<String, i64>,
    /// What differs between clusters, longest first, and what it is called; none of lone servers.
    pub names: &'a [(String, String)],
    /// The arguments of the command.
    pub command: &'a str,
}

/// One rule.
pub struct Rule {
    /// What it is about.
    pub name: &'static str,
    /// How the command lines begin for which it holds; empty for all.
    pub command: &'static str,
    change: fn(&Facts<'_>, String) -> String,
}

/// The rules, in the order in which they are applied.
pub const RULES: &[Rule] = &[
    Rule { name: "port of the endpoint", command: "", change: endpoint },
    Rule { name: "ids and ports of a cluster", command: "", change: name },
    Rule { name: "time of a line of the client's log", command: "", change: log_time },
    Rule { name: "number of a client in its log", command: "", change: client },
    Rule { name: "lease id chosen by the server", command: "", change: lease },
    Rule { name: "lease id of a session, in its key", command: "", change: session },
    Rule { name: "time that a check took", command: "endpoint health", change: took },
    Rule { name: "remaining time of a lease", command: "lease timetolive", change: remaining },
    Rule { name: "order of a lease's keys", command: "lease timetolive", change: attached },
    Rule { name: "size of the database", command: "endpoint status", change: size },
    Rule { name: "raft index", command: "endpoint status", change: raft_index },
    Rule { name: "raft term of a cluster", command: "", change: term },
    Rule { name: "width of a table's columns", command: "endpoint ", change: table },
    Rule { name: "width of a table of members", command: "member ", change: table },
    Rule { name: "order of a cluster with a new id", command: "member add", change: initial },
];

/// Applies all rules to one line, and notes which of them changed it.
pub fn reduce(facts: &Facts<'_>, line: &str, used: &mut [bool]) -> String {
    let mut line = line.to_owned();
    for (rule, used) in RULES.iter().zip(used) {
        if facts.command.starts_with(rule.command) {
            let changed = (rule.change)(facts, line.clone());
            *used |= changed != line;
            line = changed;
        }
    }
    line
}

fn endpoint(facts: &Facts<'_>, line: String) -> String {
    line.replace(facts.endpoint, "ENDPOINT")
}

fn name(facts: &Facts<'_>, mut line: String) -> String {
    for (text, name) in facts.names {
        line = line.replace(text, name);
    }
    line
}

/// How many elections a cluster has held depends on time.
fn term(facts: &Facts<'_>, mut line: String) -> String {
    if facts.names.is_empty() {
        return line;
    }
    for field in ["\"raft_term\":", "\"raftTerm\":", "\"RaftTerm\" : "] {
        line = mask(line, field, |c| c.is_ascii_digit(), "TERM");
    }
    if !facts.command.starts_with("endpoint status") {
        return line;
    }
    column(line, 6, |cell| cell.parse::<u64>().is_ok())
}

/// `ETCD_INITIAL_CLUSTER` goes by ids, and that of a new member is made of the time.
fn initial(_: &Facts<'_>, line: String) -> String {
    let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") else { return line };
    let mut entries: Vec<&str> = list.trim_end_matches('"').split(',').collect();
    entries.sort_unstable();
    format!("SORTED {}", entries.join(","))
}

/// `"ts":"2026-01-02T…"` and `"ts":1767312000.5`.
fn log_time(_: &Facts<'_>, line: String) -> String {
    mask(line, "{\"level\":\"warn\",\"ts\":", |c| c != ',', "TIME")
}

fn client(_: &Facts<'_>, line: String) -> String {
    mask(line, "endpoint://client-", |c| c.is_ascii_hexdigit() || c == '-', "CLIENT")
}

/// In hexadecimal, as commands take it, and in decimal, as JSON has it.
fn lease(facts: &Facts<'_>, mut line: String) -> String {
    for (name, id) in facts.leases {
        line = line.replace(&format!("{id:016x}"), &format!("<{name}>"));
        line = line.replace(&id.to_string(), &format!("<{name}>"));
    }
    line
}

/// The key of a lock or a candidate: `name/` and the id of a lease that `etcdctl` made for itself.
fn session(facts: &Facts<'_>, line: String) -> String {
    let has_sessions = ["lock", "elect", "mine/"].iter().any(|part| facts.command.contains(part));
    match line.split_once('/') {
        Some((name, id)) if has_sessions && is_session(id) => format!("{name}/SESSION"),
        _ => line,
    }
}

fn is_session(id: &str) -> bool {
    (15..=16).contains(&id.len()) && id.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn took(_: &Facts<'_>, line: String) -> String {
    let is_duration = |c: char| c.is_alphanumeric() || c == '.';
    let line = mask(line, "took = ", is_duration, "TOOK");
    let line = mask(line, "\"took\":\"", is_duration, "TOOK");
    let line = mask(line, "\"Took\" : ", is_duration, "TOOK");
    column(line, 2, |cell| cell.ends_with('s') && cell.starts_with(|c: char| c.is_ascii_digit()))
}

fn remaining(_: &Facts<'_>, line: String) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let line = mask(line, "remaining(", is_digit, "SOME");
    let line = mask(line, "\"ttl\":", is_digit, "SOME");
    mask(line, "\"TTL\" : ", is_digit, "SOME")
}

/// Rule 6.16: the keys come in no order, by chance also in ours.
fn attached(_: &Facts<'_>, line: String) -> String {
    for (start, separator, end) in [("attached keys([", " ", "])"), ("\"keys\":[", ",", "]}")] {
        let parts =
            line.split_once(start).and_then(|(head, tail)| Some((head, tail.strip_suffix(end)?)));
        if let Some((head, keys)) = parts {
            let mut keys: Vec<&str> = keys.split(separator).collect();
            keys.sort_unstable();
            return format!("{head}{start}SORTED {}{end}", keys.join(separator));
        }
    }
    line
}

fn size(_: &Facts<'_>, mut line: String) -> String {
    for field in ["\"dbSize\":", "\"dbSizeInUse\":", "\"DBSize\" : "] {
        line = mask(line, field, |c| c.is_ascii_digit(), "SIZE");
    }
    column(line, 3, |cell| cell.ends_with('B'))
}

fn raft_index(_: &Facts<'_>, mut line: String) -> String {
    for field in ["\"raftIndex\":", "\"raftAppliedIndex\":"] {
        line = mask(line, field, |c| c.is_ascii_digit(), "INDEX");
    }
    for field in ["\"RaftIndex\" : ", "\"RaftAppliedIndex\" : "] {
        line = mask(line, field, |c| c.is_ascii_digit(), "INDEX");
    }
    let is_number = |cell: &str| cell.parse::<u64>().is_ok();
    column(column(line, 7, is_number), 8, is_number)
}

/// A column is as wide as its widest cell: runs of spaces and dashes become one.
fn table(_: &Facts<'_>, line: String) -> String {
    let filler = match line.get(..1) {
        Some("+") => "--",
        Some("|") => "  ",
        _ => return line,
    };
    let mut line = line;
    while line.contains(filler) {
        line = line.replace(filler, &filler[..1]);
    }
    line
}

/// Replaces the run of characters behind each occurrence of a text.
fn mask(line: String, after: &str, is_part: impl Fn(char) -> bool, with: &str) -> String {
    let mut parts = line.split(after);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(&is_part);
        masked.push_str(after);
        masked.push_str(if rest.len() < part.len() { with } else { "" });
        masked.push_str(rest);
    }
    masked
}

/// Replaces a cell of a row, drawn as a table or joined with commas, if it is of the kind.
fn column(line: String, number: usize, is_kind: impl Fn(&str) -> bool) -> String {
    let (separator, number) = match line.starts_with("| ") {
        true => ("|", number + 1),
        false => (", ", number),
    };
    let mut cells: Vec<&str> = line.split(separator).collect();
    if cells.len() < 4 || !cells.get(number).is_some_and(|cell| is_kind(cell.trim())) {
        return line;
    }
    cells[number] = if separator == "|" { "  CELL  " } else { "CELL" };
    cells.join(separator)
}
