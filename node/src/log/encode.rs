//! The bytes of a line.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};

use super::{Format, Level};

/// Appends a JSON string.
pub(crate) fn string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    for c in text.chars() {
        match c {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            c if u32::from(c) < 0x20 => {
                line.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    line.push(b'"');
}

/// The fields of an event, as the inside of a JSON object, and its message.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) message: String,
    pub(crate) json: Vec<u8>,
}

impl Fields {
    fn name(&mut self, field: &Field) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        string(&mut self.json, field.name());
        self.json.push(b':');
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        self.json.extend_from_slice(value.to_string().as_bytes());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail; a Debug that does leaves what it wrote.
            let _ = write!(self.message, "{value:?}");
            return;
        }
        self.name(field);
        string(&mut self.json, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        self.name(field);
        string(&mut self.json, value);
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.name(field);
        if serde_json::from_slice::<serde_json::Value>(value).is_ok() {
            self.json.extend_from_slice(value);
        } else {
            string(&mut self.json, &String::from_utf8_lossy(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.name(field);
            string(&mut self.json, &value.to_string());
        }
    }
}

/// A whole line with its end.
pub(crate) fn line(
    format: Format,
    level: Level,
    time: SystemTime,
    caller: &str,
    fields: &Fields,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(160 + fields.json.len());
    let time = timestamp(time);
    match format {
        Format::Json => {
            for (name, value) in [
                ("{\"level\":", level.as_str()),
                (",\"ts\":", time.as_str()),
                (",\"caller\":", caller),
                (",\"msg\":", fields.message.as_str()),
            ] {
                line.extend_from_slice(name.as_bytes());
                string(&mut line, value);
            }
            if !fields.json.is_empty() {
                line.push(b',');
                line.extend_from_slice(&fields.json);
            }
            line.push(b'}');
        }
        Format::Console => {
            // A message with a line break in it must not look like two lines.
            let message = fields.message.replace('\n', "\\n");
            line.extend_from_slice(
                format!("{time}\t{}\t{caller}\t{message}", level.as_str()).as_bytes(),
            );
            if !fields.json.is_empty() {
                line.extend_from_slice(b"\t{");
                line.extend_from_slice(&fields.json);
                line.push(b'}');
            }
        }
    }
    line.push(b'\n');
    line
}

/// `2026-11-20T20:53:16.221443Z`: always UTC, because the time zone of a process with threads
/// cannot be read safely.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (seconds, days) = (since.as_secs() % 86_400, since.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_micros()
    )
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that the leap day
/// is the last of its year, in eras of 400 years, which all have the same number of days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, micros: u64) -> String {
        timestamp(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros))
    }

    #[test]
    fn timestamps() {
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(at(1_709_251_199, 999_999), "2024-02-29T23:59:59.999999Z");
        assert_eq!(at(1_795_207_996, 221_443), "2026-11-20T20:53:16.221443Z");
        assert_eq!(at(4_102_444_800, 0), "2100-01-01T00:00:00.000000Z");
    }

    #[test]
    fn strings_are_valid_json() {
        let text = "a\"b\\c\nd\u{1}é\u{1f600}";
        let mut bytes = Vec::new();
        string(&mut bytes, text);
        assert_eq!(serde_json::from_slice::<String>(&bytes).unwrap(), text);
    }
}
