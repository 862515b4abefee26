//! The configuration file: each flag is a key, and flags win.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use crate::error::os_reason;

/// The settings of the file at `path` that the command line does not have, as arguments.
///
/// # Errors
/// One line that names the file, and the key or the place.
pub(super) fn arguments(path: &Path, command: &Command, given: &ArgMatches) -> Result<Vec<OsString>, String> {
    let named = |what: String| format!("--config {}: {what}", path.display());
    let text = read(path).map_err(|error| named(format!("cannot be read: {}", os_reason(&error))))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| named(place(&text, &error)))?;
    let mut arguments = Vec::new();
    for (key, value) in table {
        let known =
            command.get_arguments().find(|argument| argument.get_id().as_str().replace('_', "-") == key);
        let Some(known) = known.filter(|_| key != "config") else {
            let meant = meant(command, &key).map(|meant| format!(", but \"{meant}\"")).unwrap_or_default();
            return Err(named(format!(
                "there is no setting \"{key}\"{meant}; see --help for the flags, which are the keys"
            )));
        };
        if given.value_source(known.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        if let (Value::Boolean(on), ArgAction::SetTrue, Some(long)) =
            (&value, known.get_action(), known.get_long())
        {
            arguments.extend(on.then(|| format!("--{long}").into()));
            continue;
        }
        if let ArgAction::SetTrue = known.get_action() {
            return Err(named(format!("\"{key}\" wants true or false")));
        }
        if let (Value::Integer(_), "socket-mode") = (&value, key.as_str()) {
            return Err(named("write the permission bits as a text: socket-mode = \"0660\"".to_owned()));
        }
        for text in texts(&value)
            .ok_or_else(|| named(format!("\"{key}\" wants a text, a number or a list of them")))?
        {
            match known.get_long() {
                Some(long) => arguments.push(format!("--{long}={text}").into()),
                // It would be taken for a flag.
                None if text.starts_with('-') => {
                    return Err(named(format!("\"{key}\": there is no application {text:?}")));
                }
                None => arguments.push(text.into()),
            }
        }
    }
    Ok(arguments)
}

/// The key that a misspelt one was meant to be, as clap guesses flags.
fn meant(command: &Command, key: &str) -> Option<String> {
    let flag = format!("--{}", key.replace('_', "-"));
    if command.get_arguments().any(|argument| argument.get_long() == flag.get(2..)) {
        return flag.strip_prefix("--").filter(|key| *key != "config").map(str::to_owned);
    }
    let error = command.clone().try_get_matches_from([command.get_name(), &flag]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => flag.strip_prefix("--").map(str::to_owned),
        _ => None,
    }
}

/// The file's text; no configuration is so large that it would not fit, and a device may have no end.
fn read(path: &Path) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let mut text = String::new();
    fs::File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', "; "))
}

/// A value as the texts that a flag would be given; `None` for what no flag takes.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Array(values) => {
            let each: Option<Vec<Vec<String>>> = values.iter().map(texts).collect();
            each.map(|each| each.concat())
        }
        _ => None,
    }
}
