//! `--auto-compaction-mode` and `--auto-compaction-retention`.
//!
//! What a retention means depends on the mode, and its forms are etcd's: a number alone is hours or
//! revisions, anything else a duration as Go writes them. A duration in the revision mode counts
//! its nanoseconds; who writes that hardly means it, but scripts that do must go on working.

use revd_replica::Retain;

const SECOND: u64 = 1_000_000_000;

/// Which history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionMode {
    /// That of a stretch of time.
    Periodic,
    /// A number of revisions.
    Revision,
}

impl CompactionMode {
    /// The mode that a flag names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "periodic" => Some(Self::Periodic),
            "revision" => Some(Self::Revision),
            _ => None,
        }
    }

    /// As the flag has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Periodic => "periodic",
            Self::Revision => "revision",
        }
    }
}

/// What the member compacts by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoCompaction {
    /// Which history is kept.
    pub mode: CompactionMode,
    /// How much of it, as given.
    pub retention: String,
    retain: Option<Retain>,
}

impl Default for AutoCompaction {
    fn default() -> Self {
        Self { mode: CompactionMode::Periodic, retention: "0".to_owned(), retain: None }
    }
}

impl AutoCompaction {
    /// Reads a retention; `None` if it is neither a number nor a duration.
    pub(crate) fn new(mode: CompactionMode, retention: &str) -> Option<Self> {
        let retain = match (mode, retention.parse::<u32>()) {
            (CompactionMode::Periodic, Ok(hours)) => {
                Retain::Period(u64::from(hours) * 3_600 * SECOND)
            }
            (CompactionMode::Revision, Ok(revisions)) => Retain::Revisions(i64::from(revisions)),
            (CompactionMode::Periodic, Err(_)) => Retain::Period(duration(retention)?),
            (CompactionMode::Revision, Err(_)) => {
                let count = retention.parse::<u64>().ok().or_else(|| duration(retention))?;
                Retain::Revisions(i64::try_from(count).ok()?)
            }
        };
        let is_on = !matches!(retain, Retain::Period(0) | Retain::Revisions(0));
        let retain = is_on.then_some(retain);
        Some(Self { mode, retention: retention.to_owned(), retain })
    }

    /// What is to be kept; `None` if nothing is compacted by itself.
    #[must_use]
    pub fn retain(&self) -> Option<Retain> {
        self.retain
    }
}

/// Nanoseconds of a duration in Go's form: numbers with a unit each, as in `1h30m` or `1.5s`. Not
/// below zero, and no more than Go can hold.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let units = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(units);
        let nanoseconds = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * nanoseconds;
        rest = tail;
    }
    let is_some = !text.is_empty() && text != "+" && total < i64::MAX as f64;
    is_some.then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_7_11_retentions_are_read_as_etcd_does() {
        use CompactionMode::{Periodic, Revision};
        let minute = 60 * SECOND;
        for (mode, text, expected) in [
            (Periodic, "0", Some(None)),
            (Periodic, "0s", Some(None)),
            (Periodic, "1", Some(Some(Retain::Period(60 * minute)))),
            (Periodic, "5m", Some(Some(Retain::Period(5 * minute)))),
            (Periodic, "1h30m", Some(Some(Retain::Period(90 * minute)))),
            (Periodic, "1.5s", Some(Some(Retain::Period(3 * SECOND / 2)))),
            (Periodic, "100ms", Some(Some(Retain::Period(SECOND / 10)))),
            (Revision, "1000", Some(Some(Retain::Revisions(1000)))),
            (Revision, "0", Some(None)),
            (Revision, "5m", Some(Some(Retain::Revisions(5 * minute as i64)))),
            (Periodic, "", None),
            (Periodic, "-1", None),
            (Periodic, "-5m", None),
            (Periodic, "5", Some(Some(Retain::Period(300 * minute)))),
            (Periodic, "5 m", None),
            (Periodic, "five", None),
            (Periodic, "1.2.3s", None),
            (Periodic, "1d", None),
            (Periodic, "9999999999999h", None),
            (Revision, "x", None),
        ] {
            let read = AutoCompaction::new(mode, text).map(|auto| auto.retain());
            assert_eq!(read, expected, "{mode:?} {text}");
        }
    }
}
