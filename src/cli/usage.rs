//! Wrong usage, in one line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Parser};

use super::config;
use crate::error::os_reason;

/// Exit status for wrong usage or configuration.
pub(super) const WRONG_USAGE: u8 = 2;

/// Why a program did not do what it was started for.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// What failed at run time.
    Run(anyhow::Error),
}

impl Failure {
    pub(super) fn run(what: String) -> Self {
        Self::Run(anyhow::Error::msg(what))
    }

    /// Says why; the result is the exit status for it.
    pub(super) fn tell(&self, program: &str) -> ExitCode {
        match self {
            Self::Usage(what) => wrong(program, what),
            Self::Run(error) => {
                tell(&format!("{program}: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

/// Parses the arguments behind the program's name, and the file that `--config` names. What is wrong with them, or
/// `--help`, is printed, and gives the exit status.
pub(super) fn parse<P: Parser>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
) -> Result<P, ExitCode> {
    let mut all: Vec<OsString> = std::iter::once(OsString::from(program)).chain(args).collect();
    // clap wants a name for ever; there is one a process.
    let mut command = P::command().name(&*program.to_owned().leak());
    let mut matches = try_matches(program, &command, &all)?;
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        let more = config::arguments(path, &command, &matches).map_err(|error| wrong(program, &error))?;
        all.splice(1..1, more);
        // The flags alone were right: what is wrong now stands in the file.
        let program = &format!("{program}: --config {}", path.display());
        matches = try_matches(program, &command, &all)?;
    }
    P::from_arg_matches(&matches).map_err(|error| refused(program, &error.format(&mut command)))
}

fn try_matches(program: &str, command: &clap::Command, all: &[OsString]) -> Result<ArgMatches, ExitCode> {
    command.clone().try_get_matches_from(all).map_err(|error| match negative(all, &error) {
        Some(what) => wrong(program, &what),
        None => refused(program, &error),
    })
}

/// A negative number, which clap takes for a flag: what it was given to.
fn negative(all: &[OsString], error: &clap::Error) -> Option<String> {
    let ContextValue::String(given) = error.get(ContextKind::InvalidArg)? else { return None };
    let digit = given.strip_prefix('-')?.chars().next()?.is_ascii_digit();
    let is_unknown = error.kind() == ErrorKind::UnknownArgument && digit;
    let at = all.iter().position(|one| one.to_string_lossy().starts_with(given.as_str()))?;
    let flag = all.get(at.checked_sub(1)?)?.to_string_lossy().into_owned();
    let value = all.get(at)?.to_string_lossy();
    (is_unknown && flag.starts_with("--"))
        .then(|| format!("{flag} {value}: no number, size or time is negative; see --help"))
}

fn refused(program: &str, error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help and version go to standard output; nobody is left to tell when that is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    wrong(program, &one_line(program, error))
}

/// Says what is wrong with the usage; the result is the exit status for it.
pub(super) fn wrong(program: &str, what: &str) -> ExitCode {
    tell(&format!("{program}: {what}"));
    ExitCode::from(WRONG_USAGE)
}

/// A line on standard error. Where that cannot be written there is nobody to tell.
pub(super) fn tell(line: &str) {
    use std::io::Write;
    // A path may hold a line feed.
    let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether a folder is there that a flag names, if it names one.
///
/// # Errors
/// The flag, the path, and why it cannot be used.
pub(super) fn check_folder(flag: &str, folder: Option<&Path>) -> Result<(), String> {
    let Some(folder) = folder else { return Ok(()) };
    let why = match folder.metadata() {
        Ok(about) if about.is_dir() => return Ok(()),
        Ok(_) => "is no folder".to_owned(),
        Err(error) => os_reason(&error),
    };
    Err(format!("{flag} {}: {why}", folder.display()))
}

/// clap's message without its layout: what is wrong, what was meant, and where to read on.
fn one_line(program: &str, error: &clap::Error) -> String {
    let text = error.to_string();
    let habit = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(given)) if error.kind() == ErrorKind::UnknownArgument => {
            elsewhere(program, given)
        }
        _ => None,
    };
    let told: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| habit.is_none() || !line.starts_with("tip:"))
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        // Nobody who mistypes a flag means an application of that name.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"))
        .collect();
    let told = told.join("; ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    let habit = habit.map(|ours| format!("; write {ours}")).unwrap_or_default();
    format!("{told}{habit}; see --help")
}

/// What other servers call otherwise, spawn-fcgi, fcgiwrap and Python's among them.
fn elsewhere(program: &str, flag: &str) -> Option<&'static str> {
    Some(match flag {
        // It listens nowhere.
        _ if program.starts_with("cgi-") => return None,
        "--listen" | "--bind" | "-b" | "--port" | "-p" | "--address" | "-a" | "-s" => {
            "--socket ADDR, as in --socket 127.0.0.1:8000"
        }
        "--directory" | "-d" | "--root" => "dir:PATH for the files of a folder",
        "--cgi" => "cgi:PATH for a folder of programs",
        _ => return None,
    })
}
