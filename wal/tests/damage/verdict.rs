//! What became of a damaged log, and whether that is allowed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;

use revd_disk::Sim;
use revd_wal::{Corruption, End, Error, OpenError, Recovery, Wal};

use super::kinds::Damage;
use super::logs::Log;

/// The outcomes that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// An error that names the segment and the offset.
    Named,
    /// The last batch is damaged, and reported as torn.
    Torn,
    /// The log holds what it held.
    Harmless,
    /// The last batch is lost as if it had never been written: `FORMAT.md`, "What cannot be told".
    LastLost,
    /// The newest or the oldest segments are missing as a whole: the same section.
    FileLost,
}

/// How many damages had which outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(BTreeMap<Class, u64>);

impl Outcomes {
    /// So many had this one.
    pub(crate) fn of(&self, class: Class) -> u64 {
        self.0.get(&class).copied().unwrap_or(0)
    }

    /// Those of both.
    pub(crate) fn plus(mut self, other: Outcomes) -> Outcomes {
        for (class, count) in other.0 {
            *self.0.entry(class).or_default() += count;
        }
        self
    }

    /// Damages a copy of the log, opens it, and judges.
    ///
    /// # Panics
    ///
    /// If the outcome is not one that is allowed.
    pub(crate) fn judge(&mut self, log: &Log, damage: &Damage, context: &str) {
        let disk = log.disk.fork();
        damage.strike(&disk);
        let class = match log.open(&disk) {
            Err(OpenError::Corrupt(corruption)) => named(&corruption),
            Err(OpenError::Version { .. } | OpenError::Foreign { .. }) => Class::Named,
            Err(error) => panic!("{context}: {damage:?}: {error:?}"),
            Ok((wal, recovery)) => {
                let context = format!("{context}: {damage:?}: {recovery:?}");
                self.judge_opened(log, damage, &disk, wal, &recovery, &context)
            }
        };
        let harmless =
            damage.files().iter().all(|path| path.extension() == Some(OsStr::new("spare")));
        assert!(class == Class::Harmless || !harmless, "{context}: {damage:?}: {class:?}");
        *self.0.entry(class).or_default() += 1;
    }

    fn judge_opened(
        &self,
        log: &Log,
        damage: &Damage,
        disk: &Sim,
        wal: Wal,
        recovery: &Recovery,
        context: &str,
    ) -> Class {
        let read: Result<Vec<_>, Error> = wal.replay(wal.bounds().0).and_then(Iterator::collect);
        // Damage in what was sealed is found by who reads it, unless that was truncated; of those
        // that a replay finds, verify is shown some.
        if let (Err(Error::Corrupt(found)), false) =
            (&read, self.of(Class::Named).is_multiple_of(16))
        {
            return named(found);
        }
        let content = match (read, wal.verify()) {
            (Ok(content), Ok(_)) => content,
            (Err(Error::Corrupt(_)), Err(Error::Corrupt(found))) => return named(&found),
            (Ok(content), Err(Error::Corrupt(found))) if content == log.whole => {
                return named(&found);
            }
            (read, verified) => {
                panic!("{context}: {:?}, {verified:?}", read.map(|read| read.len()));
            }
        };
        let is_torn = matches!(recovery.end, End::Torn { .. });
        let class = if content == log.whole {
            Class::Harmless
        } else if content == log.before_last && is_torn {
            assert_torn_at_last(log, recovery, context);
            Class::Torn
        } else if damage.is_of_names() && is_file_lost(log, &content) {
            Class::FileLost
        } else if content == log.before_last && log.last_is_gone(disk) {
            Class::LastLost
        } else {
            let (held, whole, last) = (content.len(), log.whole.len(), &log.last);
            panic!("{context}: {held} entries of {whole}, the last batch at {last:?}");
        };
        // What is opened can be gone on with.
        let next = recovery.last + 1;
        wal.append(next, &["on"]).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        drop(wal);
        let (wal, recovery) = log.open(disk).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert_eq!(recovery.last, next, "{context}");
        assert_eq!(wal.read(next, next, 9).unwrap(), [b"on"], "{context}");
        class
    }
}

/// Damage is told with its place.
fn named(corruption: &Corruption) -> Class {
    let text = corruption.to_string();
    assert!(text.starts_with("/data/wal/") && text.contains("offset"), "{text}");
    Class::Named
}

/// A torn tail says where it was, and how much was cut off.
fn assert_torn_at_last(log: &Log, recovery: &Recovery, context: &str) {
    let End::Torn { segment, offset, bytes } = &recovery.end else {
        unreachable!("it was found to be torn");
    };
    assert_eq!((segment, *offset), (&log.last.0, log.last.1.start * 4096), "{context}");
    assert!(*bytes > 0, "{context}");
}

/// What is left when whole files are missing: the log before its newest segment, or its end, or
/// nothing.
fn is_file_lost(log: &Log, content: &[(u64, Vec<u8>)]) -> bool {
    content == log.before_newest || log.whole.ends_with(content)
}

/// The log is damaged while it is open: what is read is right, or an error.
pub(crate) fn judge_open(log: &Log, damage: &Damage, context: &str) -> Class {
    let disk = log.disk.fork();
    let (wal, recovery) = log.open(&disk).unwrap();
    damage.strike(&disk);
    let read: Result<Vec<_>, Error> = wal.replay(recovery.first).unwrap().collect();
    let verified = wal.verify();
    match (read, verified) {
        (Ok(read), Ok(_)) if read == log.whole => Class::Harmless,
        // What replay does not need, because it was truncated, verify may still find.
        (Ok(read), Err(Error::Corrupt(_))) if read == log.whole => Class::Named,
        (Err(Error::Corrupt(_)), Err(Error::Corrupt(_))) => Class::Named,
        (read, verified) => {
            panic!("{context}: {damage:?}: {:?}, {verified:?}", read.map(|read| read.len()));
        }
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.0.values().sum();
        write!(f, "{total} damages: {:?}", self.0)
    }
}
