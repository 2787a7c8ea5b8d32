//! `--config-file`: the options from a file of YAML, or of JSON, which is a part of it.
//!
//! With a file, flags and environment do not count at all, as in etcd: what runs is what the file
//! says. Its keys are the names of the flags but for a few that stand in sections. A value of the
//! wrong kind and an option that is not built are refused; an option that is not built but left
//! empty, as sample files list them, is as good as absent. A key that etcd does not know either is
//! warned about and has no effect.

use std::path::Path;

use serde_json::Value;

use super::flags::{self, Given, refusal};
use super::options::{self, Kind, Standing};
use super::{Error, Notice, Stop};

/// Larger files are not settings.
const LARGEST: u64 = 1 << 20;

/// Options whose keys stand in a section: the path of the key, and the option.
const IN_SECTIONS: &[(&str, &str)] = &[
    ("socket-options.reuse-port", "socket-reuse-port"),
    ("socket-options.reuse-address", "socket-reuse-address"),
    ("discovery-config.token", "discovery-token"),
    ("discovery-config.client.endpoints", "discovery-endpoints"),
    ("discovery-config.client.dial-timeout", "discovery-dial-timeout"),
    ("discovery-config.client.request-timeout", "discovery-request-timeout"),
    ("discovery-config.client.keepalive-time", "discovery-keepalive-time"),
    ("discovery-config.client.keepalive-timeout", "discovery-keepalive-timeout"),
    ("discovery-config.client.secure.insecure-transport", "discovery-insecure-transport"),
    (
        "discovery-config.client.secure.insecure-skip-tls-verify",
        "discovery-insecure-skip-tls-verify",
    ),
    ("discovery-config.client.secure.cert", "discovery-cert"),
    ("discovery-config.client.secure.key", "discovery-key"),
    ("discovery-config.client.secure.cacert", "discovery-cacert"),
    ("discovery-config.client.auth.username", "discovery-user"),
    ("discovery-config.client.auth.password", "discovery-password"),
    ("client-transport-security.cert-file", "cert-file"),
    ("client-transport-security.key-file", "key-file"),
    ("client-transport-security.client-cert-file", "client-cert-file"),
    ("client-transport-security.client-key-file", "client-key-file"),
    ("client-transport-security.client-cert-auth", "client-cert-auth"),
    ("client-transport-security.trusted-ca-file", "trusted-ca-file"),
    ("client-transport-security.auto-tls", "auto-tls"),
    ("client-transport-security.allowed-hostname", "client-cert-allowed-hostname"),
    ("peer-transport-security.cert-file", "peer-cert-file"),
    ("peer-transport-security.key-file", "peer-key-file"),
    ("peer-transport-security.client-cert-file", "peer-client-cert-file"),
    ("peer-transport-security.client-key-file", "peer-client-key-file"),
    ("peer-transport-security.client-cert-auth", "peer-client-cert-auth"),
    ("peer-transport-security.trusted-ca-file", "peer-trusted-ca-file"),
    ("peer-transport-security.auto-tls", "peer-auto-tls"),
    ("peer-transport-security.allowed-cn", "peer-cert-allowed-cn"),
    ("peer-transport-security.allowed-hostname", "peer-cert-allowed-hostname"),
    ("peer-transport-security.skip-client-san-verification", "peer-skip-client-san-verification"),
];

/// Options that have no key at all.
const WITHOUT_KEY: &[&str] = &[
    "client-crl-file",
    "peer-crl-file",
    "raft-read-timeout",
    "raft-write-timeout",
    "discovery-fallback",
    "config-file",
    "version",
];

/// Reads the options that a file sets.
///
/// # Errors
/// [`Stop::Refused`], with the file and the key.
pub(crate) fn read(path: &Path) -> Result<Given, Stop> {
    let unreadable = |reason: String| {
        Stop::Refused(Error::File { path: path.display().to_string(), reason: one_line(&reason) })
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > LARGEST {
        return Err(unreadable(format!("it has {size} bytes; at most {LARGEST} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|error| unreadable(error.without_snippet().to_string()))?;
    let mut given = Given { is_file: true, ..Given::default() };
    given.notices.push(Notice::ConfigFile(path.display().to_string()));
    match &value {
        // An empty file sets nothing.
        Value::Null => {}
        Value::Object(keys) => {
            for (key, value) in keys {
                add(&mut given, path, key, value)?;
            }
        }
        _ => return Err(unreadable("it holds no keys with values".to_owned())),
    }
    Ok(given)
}

/// Takes one key, or all keys of a section.
fn add(given: &mut Given, path: &Path, key: &str, value: &Value) -> Result<(), Stop> {
    let wrong = |reason| {
        let (path, key) = (path.display().to_string(), key.to_owned());
        Stop::Refused(Error::Key { path, key, reason })
    };
    if is_section(key) {
        return match value {
            Value::Null => Ok(()),
            Value::Object(keys) => keys
                .iter()
                .try_for_each(|(inner, value)| add(given, path, &format!("{key}.{inner}"), value)),
            other => Err(wrong(format!("it is a section with keys of its own, not {other}"))),
        };
    }
    let standing = option_of(key).and_then(|name| Some((name, options::look_up(name)?.0)));
    match standing {
        Some((name, Standing::Known(kind))) => {
            let Some(text) = text_of(kind, value).map_err(wrong)? else { return Ok(()) };
            flags::check(kind, &text).map_err(|reason| wrong(format!("{value}: {reason}")))?;
            given.values.insert(name, text);
        }
        Some((name, Standing::NotBuilt)) if !is_empty(value) => {
            let origin = format!("{key} in {}", path.display());
            return Err(Stop::Refused(refusal(name, origin)));
        }
        Some((_, Standing::NotBuilt)) => {}
        _ => given.notices.push(Notice::UnknownKey(key.to_owned())),
    }
    Ok(())
}

/// Whether a key holds further keys.
fn is_section(key: &str) -> bool {
    let inner =
        |(path, _): &(&str, &str)| path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    IN_SECTIONS.iter().any(inner)
}

/// The option that a key sets.
fn option_of(key: &str) -> Option<&'static str> {
    if let Some((_, name)) = IN_SECTIONS.iter().find(|(path, _)| *path == key) {
        return Some(name);
    }
    let has_key = |name: &&str| {
        !WITHOUT_KEY.contains(name) && !IN_SECTIONS.iter().any(|(_, inner)| inner == name)
    };
    options::names().filter(has_key).find(|name| *name == key)
}

/// The value as a flag would have it; `None` where nothing is set.
fn text_of(kind: Kind, value: &Value) -> Result<Option<String>, String> {
    let expected = match (kind, value) {
        (_, Value::Null) => return Ok(None),
        // An empty list of addresses leaves the default.
        (Kind::Urls, Value::String(text)) if text.is_empty() => return Ok(None),
        (Kind::Text | Kind::Urls | Kind::ClusterState | Kind::LogLevel, Value::String(text)) => {
            return Ok(Some(text.clone()));
        }
        (Kind::Text | Kind::Urls | Kind::ClusterState | Kind::LogLevel, _) => "text in quotes",
        (Kind::Unsigned | Kind::Signed, Value::Number(number)) if !number.is_f64() => {
            return Ok(Some(number.to_string()));
        }
        (Kind::Unsigned | Kind::Signed, _) => "a whole number",
        (Kind::Duration, Value::Number(number)) if !number.is_f64() => {
            return Ok(Some(format!("{number}ns")));
        }
        (Kind::Duration, _) => "a whole number of nanoseconds",
        (Kind::List, Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            match texts {
                Some(texts) => return Ok(Some(texts.join(","))),
                None => "a list of texts",
            }
        }
        (Kind::List, _) => "a list of texts",
        (Kind::Switch, Value::Bool(on)) => return Ok(Some(on.to_string())),
        (Kind::Switch, _) => "true or false",
    };
    Err(format!("expected {expected}, found {value}"))
}

/// Whether a value sets nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.values().all(is_empty),
    }
}

/// The explanation of a mistake, which may be drawn over several lines, as one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_in_a_section_sets_an_option() {
        for (path, name) in IN_SECTIONS {
            assert!(options::look_up(name).is_some(), "{path} sets no option");
            assert_eq!(option_of(path), Some(*name));
        }
        assert_eq!(option_of("cert-file"), None);
        assert_eq!(option_of("config-file"), None);
        assert!(is_section("discovery-config.client") && !is_section("discovery"));
    }
}
