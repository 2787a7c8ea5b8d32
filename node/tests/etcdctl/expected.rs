//! The differences that are meant: where etcd 3.4 and the baseline that revd follows part.
//!
//! Each row cites the rule of the specification that says so (Δ), or the fact about this version
//! of revd. A row explains a line if etcd's text, exchanged for revd's, makes etcd's line revd's.
//! A difference without a row fails the test, and so does a row without its difference.

/// Stands for a line that one side did not print.
pub const ABSENT: &str = "<no line>";

/// One expected difference.
#[derive(Debug)]
pub struct Row {
    /// Where it is specified.
    #[expect(dead_code, reason = "shown when the row is not used")]
    pub rule: &'static str,
    /// How the heading begins; empty for any.
    pub heading: &'static str,
    /// How the command begins.
    pub command: &'static str,
    /// What etcd 3.4 prints.
    pub etcd: &'static str,
    /// What revd prints in that place, with `*` for any run of characters.
    pub revd: &'static str,
}

macro_rules! rows {
    ($($rule:literal, $heading:literal, $command:literal: $etcd:expr => $revd:literal;)+) => {
        &[$(Row {
            rule: $rule, heading: $heading, command: $command, etcd: $etcd, revd: $revd,
        }),+]
    };
}

/// The table.
pub const ROWS: &[Row] = rows! {
    "1.20 3.4 has no header in Alarm", "alarm", "alarm list": "{}" => "{\"header\":{*}}";
    "1.20 the same with an alarm", "alarm NOSPACE", "alarm list":
        "{\"alarms\"" => "{\"header\":{*},\"alarms\"";
    "2.13 keys_only leaves the lease out", "put --lease", "get leased/1 --keys-only":
        ",\"lease\":<FIRST>" => "";
    "5.7 3.4 removes a tombstone at the floor", "a tombstone", "watch c": "" => "DELETE";
    "5.7 the key of that event", "a tombstone", "watch c": ABSENT => "c";
    "5.7 its value and the last line's end", "a tombstone", "watch c": ABSENT => "";
    "7.25 revd follows 3.7", "", "endpoint status": "3.4.23" => "3.7.0";
};
