//! `fcgi-gateway` by the name of `fcgiwrap`: the same flags, sockets and answers, for those who come from there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::app::Opened;
use super::programs::ProgramFlags;
use super::serve::{Sockets, parse_address, serve};
use super::units::number;
use super::usage::{self, Failure};
use crate::apps::{CgiPrograms, ProgramSettings};
use crate::server::{Address, Messages, Protocol, Server};

const PROGRAM: &str = "fcgiwrap";

/// Runs CGI programs for a web server that speaks FastCGI.
#[derive(Parser, Debug)]
#[command(version, after_help = "This is fcgi-gateway, started by the name of fcgiwrap.")]
struct Arguments {
    /// Send programs' error text to the web server; else it goes to standard error
    #[arg(short)]
    f: bool,
    /// Programs at once; by default 8 for each processor, and 16 at least
    #[arg(short, value_name = "NUMBER", value_parser = number::<usize>)]
    c: Option<usize>,
    /// Where to listen: unix:/path, tcp:a.b.c.d:port or tcp6:[addr]:port
    #[arg(short, value_name = "URL", value_parser = parse_url)]
    s: Vec<Address>,
    /// Run this program only; may be repeated
    #[arg(short, value_name = "PATH")]
    p: Vec<PathBuf>,
    #[command(flatten)]
    sockets: Sockets,
    #[command(flatten)]
    programs: ProgramFlags,
}

fn parse_url(text: &str) -> Result<Address, String> {
    parse_address(text.strip_prefix("tcp6:").unwrap_or(text))
}

/// Whether this process was started by that name.
pub(super) fn is_meant() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    Path::new(&name).file_name().is_some_and(|name| name == PROGRAM)
}

/// Runs it.
pub(super) fn main() -> ExitCode {
    let arguments = match usage::parse::<Arguments>(PROGRAM, given(std::env::args_os().skip(1))) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let Arguments { f, c, s, p, mut sockets, programs } = arguments;
    sockets.socket.extend(s);
    sockets.stderr = sockets.stderr.or(Some(if f { Messages::Web } else { Messages::Log }));
    let place = sockets.place(Protocol::FastCgi);
    let open = || {
        programs.check().map_err(Failure::run)?;
        let settings = programs.settings(place);
        let settings = ProgramSettings {
            pass_all_env: true,
            max_programs: c.unwrap_or(settings.max_programs),
            ..settings
        };
        CgiPrograms::like_fcgiwrap(p, settings)
            .map(Opened::programs)
            .map_err(|error| Failure::Run(error.into()))
    };
    serve(PROGRAM, Server::new(Protocol::FastCgi), sockets, open)
}

/// The arguments as they were meant: Debian's service passes all of DAEMON_OPTS as a single one, be it empty.
fn given(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some(text) if text.is_empty() || (text.starts_with('-') && !text.starts_with("--")) => {
                all.extend(text.split_ascii_whitespace().map(OsString::from));
            }
            _ => all.push(argument),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_one_argument_are_taken_apart() {
        let given = |all: &[&str]| given(all.iter().map(OsString::from)).join(" ".as_ref());
        assert_eq!(given(&[""]), "");
        assert_eq!(given(&["-f -c 4"]), "-f -c 4");
        assert_eq!(given(&["-f", "-p", "/a b", "--env=A=b  c"]), "-f -p /a b --env=A=b  c");
    }

    #[test]
    fn its_addresses_are_ours() {
        assert_eq!(parse_url("tcp6:[::1]:9000"), parse_address("[::1]:9000"));
        assert_eq!(parse_url("tcp:127.0.0.1:9000"), parse_address("tcp:127.0.0.1:9000"));
        assert!(parse_url("unix:/run/x").is_ok() && parse_url("help").is_err());
    }
}
