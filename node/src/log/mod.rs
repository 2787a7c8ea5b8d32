//! The log: lines of JSON or of tab-separated text on stderr, in the shape of etcd's.
//!
//! A line is `level`, `ts`, `caller`, `msg`, then the fields in the order in which they were
//! written. Events come through `tracing`, whose macros take etcd's kebab-case names as string
//! literals:
//!
//! ```
//! use revd::log;
//! let urls = ["http://localhost:2379"];
//! tracing::info!(
//!     "data-dir" = "default.revd",
//!     "took" = log::took(std::time::Duration::from_micros(1500)),
//!     "listen-client-urls" = log::list(&urls).as_slice(),
//!     "opened backend db"
//! );
//! ```
//!
//! - A field that is a byte slice holds JSON that is already encoded: see [`list`].
//! - A fatal line is `revd::log::fatal!`, for which `tracing` has no level.
//! - Only events of this crate are logged, and those of others from warnings on.
//! - Of equal lines (same place in the source) the first 100 in a second are written, then each
//!   hundredth, so that a flood of failures cannot fill the disk.
//!
//! Not a layer over `tracing-subscriber`: nothing here needs spans, and the price of an event
//! that is not logged must stay one comparison.

mod encode;
mod sampling;
mod subscriber;
mod value;

use std::str::FromStr;

pub(crate) use encode::timestamp;
pub use subscriber::Log;
pub use value::{list, took};

/// How severe a line is, in etcd's words and order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What an operator may want to know.
    #[default]
    Info,
    /// Something is not as it should be.
    Warn,
    /// A call or a task failed.
    Error,
    /// A broken promise of the program itself.
    Panic,
    /// The last line of the process.
    Fatal,
}

impl Level {
    /// As it stands in a line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }
}

/// A word that is no level.
#[derive(Debug, thiserror::Error)]
#[error("it must be debug, info, warn, error, panic or fatal")]
pub struct UnknownLevel;

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Level, UnknownLevel> {
        match text {
            "debug" => Ok(Level::Debug),
            "info" => Ok(Level::Info),
            "warn" => Ok(Level::Warn),
            "error" => Ok(Level::Error),
            "panic" => Ok(Level::Panic),
            "fatal" => Ok(Level::Fatal),
            _ => Err(UnknownLevel),
        }
    }
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// Columns separated by tabs, the fields as one JSON object in the last.
    Console,
}

/// What to log and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Least level that is written.
    pub level: Level,
    /// Shape of a line.
    pub format: Format,
}

/// Starts logging to stderr for the whole process. A second call changes nothing.
pub fn start(settings: Settings) {
    let log = Log::new(settings, std::io::stderr());
    // An error means that there is a log already, which then stays.
    drop(tracing::subscriber::set_global_default(log));
}

/// Target that marks the fatal lines; the levels of `tracing` end at error.
#[doc(hidden)]
pub const FATAL: &str = "fatal";

/// Logs the last line of a process that cannot go on, with the syntax of `tracing::error!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __fatal {
    ($($line:tt)+) => { ::tracing::event!(target: "fatal", ::tracing::Level::ERROR, $($line)+) };
}

#[doc(inline)]
pub use crate::__fatal as fatal;
