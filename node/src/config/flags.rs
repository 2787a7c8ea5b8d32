//! The command line, with the syntax of Go's flag package.
//!
//! One dash or two, `--name value` or `--name=value`, a switch takes its value behind `=` only,
//! the first word that is no flag ends the flags. [`normalise`] turns that into the one form
//! `--name=value`, which is then parsed, checked, explained and helped with by clap.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::auto_compaction::duration;
use super::options::{self, KNOWN, Kind, Standing};
use super::{Error, Notice, Stop, Urls};
use crate::log;

/// What was given on the command line, and later by the environment.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Checked texts by option.
    pub(crate) values: BTreeMap<&'static str, String>,
    /// Names of flags of the command line, whatever their standing.
    pub(crate) flags: Vec<&'static str>,
    pub(crate) notices: Vec<Notice>,
    /// Whether all of it comes from a file.
    pub(crate) is_file: bool,
}

impl Given {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// Parses the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Given, Stop> {
    let (tokens, positional) = normalise(arguments)?;
    let mut matches = match command().try_get_matches_from(tokens) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Err(Stop::Help),
        Err(error) => return Err(Stop::Usage(message(&error))),
    };
    if let Some(word) = positional {
        let command = word == "gateway" || word == "grpc-proxy";
        let refused = if command { Error::Command(word) } else { Error::Positional(word) };
        return Err(Stop::Refused(refused));
    }
    let mut given = Given::default();
    for name in options::names() {
        let Some(value) = matches.remove_one::<String>(name) else { continue };
        given.flags.push(name);
        given.values.insert(name, value);
    }
    if given.values.remove("version").is_some_and(|value| switch(&value) == Some(true)) {
        return Err(Stop::Version);
    }
    Ok(given)
}

/// Refuses flags that are not built, and sets those aside that etcd ignores.
pub(crate) fn admit(given: &mut Given) -> Result<(), Stop> {
    for name in given.flags.clone() {
        match options::look_up(name) {
            Some((Standing::NotBuilt | Standing::Removed, _)) => {
                return Err(Stop::Refused(refusal(name, format!("--{name}"))));
            }
            Some((Standing::Ignored, _)) => {
                given.values.remove(name);
                given.notices.push(Notice::IgnoredFlag(name.to_owned()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The refusal of an option that exists in etcd, now or once, but not here.
pub(crate) fn refusal(name: &'static str, origin: String) -> Error {
    match options::look_up(name) {
        Some((Standing::Removed, _)) => Error::Removed { name, origin },
        _ => Error::NotBuilt { name, origin },
    }
}

/// Checks a value for its kind.
pub(crate) fn check(kind: Kind, text: &str) -> Result<(), String> {
    let verdict = match kind {
        Kind::Text | Kind::List => None,
        Kind::Duration => duration(text).is_none().then(|| "it must be a duration".to_owned()),
        Kind::Urls => Urls::parse(text).err().map(|error| error.to_string()),
        Kind::Unsigned => text.parse::<u32>().err().map(|error| error.to_string()),
        Kind::Signed => text.parse::<i64>().err().map(|error| error.to_string()),
        Kind::ClusterState => (!["new", "existing"].contains(&text))
            .then(|| "it must be 'new' or 'existing'".to_owned()),
        Kind::LogLevel => text.parse::<log::Level>().err().map(|error| error.to_string()),
        Kind::Switch => switch(text).is_none().then(|| "it must be true or false".to_owned()),
    };
    verdict.map_or(Ok(()), Err)
}

/// The truth values of Go's flag package.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Rewrites the arguments to `--name=value`, and returns the first word that is no flag.
///
/// What is unknown passes unchanged, for clap to refuse.
fn normalise(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Vec<String>, Option<String>), Stop> {
    let mut tokens = vec!["revd".to_owned()];
    let mut arguments = arguments.into_iter().map(|argument| {
        argument
            .into_string()
            .map_err(|raw| Stop::Usage(format!("argument {raw:?} is not valid UTF-8")))
    });
    while let Some(argument) = arguments.next().transpose()? {
        let Some(flag) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return Ok((tokens, Some(argument)));
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            return Ok((tokens, arguments.next().transpose()?));
        }
        if flag.starts_with(['-', '=']) {
            return Err(Stop::Usage(format!("bad flag syntax: {argument}")));
        }
        let takes_next =
            !flag.contains('=') && options::look_up(flag).is_some_and(|(_, is_switch)| !is_switch);
        if takes_next && let Some(value) = arguments.next().transpose()? {
            tokens.push(format!("--{flag}={value}"));
        } else {
            tokens.push(if flag == "h" { "--help".into() } else { format!("--{flag}") });
        }
    }
    Ok((tokens, None))
}

/// The options as clap sees them.
fn command() -> Command {
    let shown = KNOWN.iter().map(|option| {
        argument(option.name, option.kind)
            .help(option.help)
            .help_heading(option.group)
            .default_value_if_shown(option.default)
    });
    let hidden = options::names()
        .filter(|name| !KNOWN.iter().any(|option| option.name == *name))
        .map(|name| {
            let is_switch = options::look_up(name).is_some_and(|(_, is_switch)| is_switch);
            argument(name, if is_switch { Kind::Switch } else { Kind::Text }).hide(true)
        });
    Command::new("revd")
        .args_override_self(true)
        .disable_version_flag(true)
        .override_usage("revd [--flag value | --flag=value ...]")
        .help_template("{all-args}{after-help}")
        .after_help(
            "Each flag can be set by a variable of the environment as well: ETCD_ and the name \
             in capitals,\nwith _ for -, as in ETCD_DATA_DIR; not both at the same time. A flag \
             of etcd that is not\nlisted here is refused by name.\n",
        )
        .args(shown)
        .args(hidden)
}

trait ShowDefault {
    fn default_value_if_shown(self, text: &'static str) -> Self;
}

impl ShowDefault for Arg {
    /// The default is part of the help and not known to clap: whether an option was given matters.
    fn default_value_if_shown(self, text: &'static str) -> Arg {
        if text.is_empty() {
            return self;
        }
        let help = self.get_help().map(ToString::to_string).unwrap_or_default();
        self.help(format!("{help} [default: {text}]"))
    }
}

fn argument(name: &'static str, kind: Kind) -> Arg {
    let argument = Arg::new(name)
        .long(name)
        .action(ArgAction::Set)
        .require_equals(true)
        .value_name(match kind {
            Kind::Text => "TEXT",
            Kind::Urls => "URLS",
            Kind::Unsigned | Kind::Signed => "NUMBER",
            Kind::Duration => "DURATION",
            Kind::List => "LIST",
            Kind::ClusterState => "STATE",
            Kind::LogLevel => "LEVEL",
            Kind::Switch => "BOOL",
        })
        .value_parser(move |text: &str| check(kind, text).map(|()| text.to_owned()));
    match kind {
        Kind::Switch => argument.num_args(0..=1).default_missing_value("true"),
        _ => argument,
    }
}

/// Clap's message without its hints, which are about its own syntax.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("Usage:")).collect();
    let mut lines = lines.join("\n");
    if let Some(end) = lines.find("\n\nFor more information") {
        lines.truncate(end);
    }
    lines.trim_end().to_owned()
}

/// The line that says how to call the program.
#[must_use]
pub fn usage() -> String {
    format!("{}\n", command().render_usage())
}

/// The list of flags.
#[must_use]
pub fn help() -> String {
    command().render_help().to_string()
}

/// What `--version` prints: first what this really is, then etcd's four lines.
#[must_use]
pub fn version() -> String {
    format!(
        "revd {}\netcd Version: {}\nGit SHA: Not provided\nGo Version: none (Rust)\n\
         Go OS/Arch: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        crate::ETCD_VERSION,
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
    )
}
