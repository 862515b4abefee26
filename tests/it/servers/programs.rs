//! Real CGI programs behind nginx, by FastCGI and by SCGI: each installed as Debian packages it, asked for its real work.

mod fcgiwrap;
mod git;
mod pages;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::harness::{Folder, Process, is_root, program};
use super::link::{Link, Over, Protocol};
use super::nginx::start_before;
use super::site::Site;

/// The two ways from nginx to a gateway.
const LINKS: [Link; 2] = [Link::new(Protocol::FastCgi, Over::Unix), Link::new(Protocol::Scgi, Over::Unix)];

/// What the recipes' directives are called for a protocol. They are written for FastCGI; SCGI has the same by its name, and
/// HTTP needs no parameters.
fn directives(location: &str, protocol: Protocol) -> String {
    match protocol {
        Protocol::FastCgi => location.to_owned(),
        Protocol::Scgi => location.replace("fastcgi_", "scgi_"),
        Protocol::Http => {
            let lines = location.split_inclusive('\n').filter(|line| !line.contains("fastcgi_"));
            lines.collect()
        }
    }
}

/// Starts nginx with a location, and a gateway with programs behind it.
fn start(link: Link, location: &str, prepare: impl FnOnce(&Folder), arguments: &[&str]) -> Site {
    let location = directives(location, link.protocol);
    start_before(link, &location, |folder, socket| {
        prepare(folder);
        let name = format!("{}-gateway", link.protocol.name());
        Process::start(folder, "gateway", &program(&name), |command| {
            command.args(["--socket", &socket.address(), "--validate"]);
            if is_root() {
                command.args(["--socket-group", "www-data"]);
            }
            let root = folder.root().display().to_string();
            command.args(arguments.iter().map(|argument| argument.replace("@root", &root)));
        })
    })
}

/// Runs a program to its end.
#[track_caller]
fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a program that succeeds; its output as text.
#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// A program of a package that tests/run installs.
#[track_caller]
fn packaged(path: &str) -> &str {
    assert!(Path::new(path).exists(), "{path} is not installed: these tests need it; tests/run installs it");
    path
}
