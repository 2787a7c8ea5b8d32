//! Takes events from `tracing` and writes them as lines.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::encode::{self, Fields};
use super::sampling::Sampling;
use super::{FATAL, Level, Settings};

/// Writes the events of the process to `sink`, a line at a time.
///
/// The line is written by the thread that logs, under a lock: a sink that blocks holds up who
/// logs, as in etcd. A sink that fails loses the line and nothing else.
#[derive(Debug)]
pub struct Log<W> {
    settings: Settings,
    inner: Mutex<Inner<W>>,
}

#[derive(Debug)]
struct Inner<W> {
    sink: W,
    sampling: Sampling<Identifier>,
}

impl<W: Write + Send + 'static> Log<W> {
    /// A log into `sink`.
    pub fn new(settings: Settings, sink: W) -> Log<W> {
        Log { settings, inner: Mutex::new(Inner { sink, sampling: Sampling::new() }) }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target() == FATAL || is_ours(metadata.target());
        let least = if ours { self.settings.level } else { self.settings.level.max(Level::Warn) };
        metadata.is_event()
            && *metadata.level() <= tracing::Level::DEBUG
            && level(metadata) >= least
    }
}

fn is_ours(target: &str) -> bool {
    target == "revd" || target.starts_with("revd::")
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR if metadata.target() == FATAL => Level::Fatal,
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

/// `dir/file.rs:line`, without the folder that every crate has.
fn caller(metadata: &Metadata<'_>) -> String {
    let parts: Vec<&str> = metadata
        .file()
        .unwrap_or("unknown")
        .split(['/', '\\'])
        .filter(|part| *part != "src")
        .collect();
    let name = parts[parts.len().saturating_sub(2)..].join("/");
    format!("{name}:{}", metadata.line().unwrap_or(0))
}

impl<W: Write + Send + 'static> Subscriber for Log<W> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.settings.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error | Level::Panic | Level::Fatal => LevelFilter::ERROR,
        })
    }

    // Spans are not wanted, so that none is ever entered.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let format = self.settings.format;
        let line =
            encode::line(format, level(metadata), SystemTime::now(), &caller(metadata), &fields);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.sampling.admits(metadata.callsite(), Instant::now()) {
            // Nobody is left to tell when the log itself cannot be written.
            drop(inner.sink.write_all(&line));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::super::{Format, list, took};
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: Settings, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        tracing::subscriber::with_default(Log::new(settings, sink.clone()), events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_keys_come_in_order() {
        let text = logged(Settings::default(), || {
            tracing::info!(
                "data-dir" = "d",
                count = 3,
                rate = 0.5,
                on = true,
                shown = %"x",
                took = took(Duration::from_micros(1500)),
                urls = list(["a", "b"]).as_slice(),
                "opened {}",
                "db"
            );
        });
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
        let expected = "level ts caller msg data-dir count rate on shown took urls";
        assert_eq!(keys.join(" "), expected);
        assert_eq!(
            line["caller"].take().as_str().unwrap().split(':').next(),
            Some("log/subscriber.rs")
        );
        let rest = text.split_once("\"msg\":").unwrap().1;
        assert_eq!(
            rest,
            "\"opened db\",\"data-dir\":\"d\",\"count\":3,\"rate\":0.5,\"on\":true,\
             \"shown\":\"x\",\"took\":\"1.5ms\",\"urls\":[\"a\",\"b\"]}\n"
        );
        assert!(text.starts_with("{\"level\":\"info\",\"ts\":\"20"), "{text}");
    }

    #[test]
    fn console_has_columns() {
        let settings = Settings { format: Format::Console, ..Settings::default() };
        let text = logged(settings, || tracing::warn!(a = 1, "two\nlines"));
        let columns: Vec<&str> = text.trim_end().split('\t').collect();
        assert_eq!(columns.len(), 5, "{text}");
        assert_eq!(columns[1], "warn");
        assert_eq!(&columns[3..], ["two\\nlines", "{\"a\":1}"]);
    }

    #[test]
    fn levels_below_the_least_are_left_out() {
        let events = || {
            tracing::trace!("t");
            tracing::debug!("d");
            tracing::info!("i");
            tracing::warn!("w");
            tracing::error!("e");
            crate::log::fatal!(error = "x", "f");
        };
        for (level, lines) in
            [(Level::Debug, 5), (Level::Info, 4), (Level::Error, 2), (Level::Fatal, 1)]
        {
            let text = logged(Settings { level, ..Settings::default() }, events);
            assert_eq!(text.lines().count(), lines, "{level:?}: {text}");
        }
    }

    #[test]
    fn fatal_is_a_level() {
        let text = logged(Settings::default(), || crate::log::fatal!(error = "x", "end"));
        assert!(text.starts_with("{\"level\":\"fatal\""), "{text}");
    }

    #[test]
    fn others_are_heard_from_warnings_on() {
        let text = logged(Settings { level: Level::Debug, ..Settings::default() }, || {
            tracing::info!(target: "h2::codec", "frame");
            tracing::warn!(target: "h2::codec", "trouble");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn bytes_that_are_no_json_become_a_string() {
        let text = logged(Settings::default(), || {
            tracing::info!(raw = b"\"},{\"level\":\"x".as_slice(), "m");
        });
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }
}
