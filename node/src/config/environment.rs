//! The `ETCD_*` variables: the same options as the flags, for those that were not given as one.

use super::flags::{self, Given, refusal};
use super::options::{self, Standing};
use super::{Error, Notice, Stop};

/// Variables that start like ours and are read elsewhere or mean nothing to a server.
const FOREIGN: &[&str] = &["ETCD_UNSUPPORTED_ARCH", "ETCD_CLIENT_DEBUG"];

/// Adds the options that the environment sets. An empty variable counts as unset.
pub(crate) fn add(given: &mut Given, environment: Vec<(String, String)>) -> Result<(), Stop> {
    let mut variables: Vec<(String, String)> = environment
        .into_iter()
        .filter(|(name, value)| name.starts_with("ETCD_") && !value.is_empty())
        .filter(|(name, _)| !FOREIGN.contains(&name.as_str()))
        .collect();
    variables.sort();
    for (variable, value) in variables {
        if variable == "ETCD_VERSION" {
            given.notices.push(Notice::VersionVariable);
            continue;
        }
        let Some(name) = options::names().find(|name| options::variable(name) == variable) else {
            given.notices.push(Notice::UnknownVariable(format!("{variable}={value}")));
            continue;
        };
        match options::look_up(name) {
            Some((Standing::Known(kind), _)) => {
                if given.flags.contains(&name) {
                    return Err(Stop::Refused(Error::Shadowed(variable)));
                }
                if let Err(reason) = flags::check(kind, &value) {
                    return Err(Stop::Refused(Error::Variable { variable, value, reason }));
                }
                given.values.insert(name, value.clone());
                given.notices.push(Notice::UsedVariable { name: variable, value });
            }
            Some((Standing::Ignored, _)) => {
                given.notices.push(Notice::IgnoredFlag(name.to_owned()))
            }
            _ => return Err(Stop::Refused(refusal(name, variable))),
        }
    }
    Ok(())
}
