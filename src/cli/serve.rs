//! `fcgi-gateway` and `scgi-gateway`: servers on sockets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use super::access::OpenedLog;
use super::front::FrontFlags;
use super::life::{self, Life};
use super::limits::Limits;
use super::logger;
use super::rights::{NOT_LOOPBACK, Rights};
use super::serving::{Around, Serving};
use super::usage::{self, Failure};
use crate::app::Application;
use crate::environ::front::Front;
use crate::handlers::{Observer, capture_panics};
use crate::server::{Address, Listener, Messages, Protocol, Server, SocketRights, Stop};

/// Serves an application to a web server.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    sockets: Sockets,
}

/// Serves this application to a web server.
#[derive(Parser, Debug)]
struct OwnArguments {
    #[command(flatten)]
    sockets: Sockets,
}

#[derive(clap::Args, Debug)]
struct Sockets {
    /// Where to listen: unix:/run/app.sock, unix:@name, 127.0.0.1:9000, [::1]:9000, tcp:host:port, fd:N, systemd or
    /// systemd:NAME; may be repeated. Without it: the listening socket that is standard input, else systemd's
    #[arg(long, value_name = "ADDR", value_parser = parse_address, allow_hyphen_values = true)]
    socket: Vec<Address>,
    /// Permission bits of a socket file
    #[arg(long, value_name = "MODE", value_parser = parse_mode, default_value = "0660")]
    socket_mode: u32,
    /// Owner of a socket file, by name or number
    #[arg(long, value_name = "USER")]
    socket_owner: Option<String>,
    /// Group of a socket file, by name or number: the web server's, so that it may connect
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    #[command(flatten)]
    front: FrontFlags,
    #[command(flatten)]
    rights: Rights,
    #[command(flatten)]
    around: Around,
    /// Let answers leave while their requests' bodies still come; many web servers cannot, nginx for one
    #[arg(long)]
    full_duplex: bool,
    /// Where an application's messages go under FastCGI: web, to the web server, whose log they become part of, or log, to
    /// standard error [default: web; log with --front iis]
    #[arg(long, value_name = "WHERE", value_parser = parse_stderr)]
    stderr: Option<Messages>,
    #[command(flatten)]
    limits: Limits,
    /// A TOML file with further settings: each flag is a key, and flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: crate::server::AddressError| error.to_string())
}

fn parse_stderr(text: &str) -> Result<Messages, String> {
    match text {
        "web" => Ok(Messages::Web),
        "log" => Ok(Messages::Log),
        _ => Err("write web or log".to_owned()),
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if digits => Ok(mode),
        _ => Err("permission bits are written in octal, as in 0660".to_owned()),
    }
}

/// Runs `fcgi-gateway`.
pub fn fcgi() -> ExitCode {
    gateway("fcgi-gateway", Protocol::FastCgi)
}

/// Runs `scgi-gateway`.
pub fn scgi() -> ExitCode {
    gateway("scgi-gateway", Protocol::Scgi)
}

fn gateway(program: &'static str, protocol: Protocol) -> ExitCode {
    match usage::parse::<Arguments>(program, std::env::args_os().skip(1)) {
        Ok(Arguments { serving, sockets }) => serve(program, protocol, sockets, || serving.open()),
        Err(exit) => exit,
    }
}

/// Serves an application of the program's own, with the arguments behind its name for the protocol.
pub(super) fn own(program: &str, protocol: Protocol, app: Arc<dyn Application>) -> ExitCode {
    match usage::parse::<OwnArguments>(program, std::env::args_os().skip(2)) {
        Ok(OwnArguments { sockets }) => serve(program, protocol, sockets, || Ok(app)),
        Err(exit) => exit,
    }
}

fn serve(
    program: &str,
    protocol: Protocol,
    sockets: Sockets,
    app: impl FnOnce() -> Result<Arc<dyn Application>, Failure>,
) -> ExitCode {
    logger::install(program);
    capture_panics();
    match run(program, protocol, sockets, app) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(program),
    }
}

fn run(
    program: &str,
    protocol: Protocol,
    sockets: Sockets,
    app: impl FnOnce() -> Result<Arc<dyn Application>, Failure>,
) -> Result<(), Failure> {
    let mut server = Server::new(protocol);
    server.settings.allow = sockets.rights.peers(protocol).map_err(Failure::Usage)?;
    server.settings.front = sockets.front.settings();
    server.settings.full_duplex = sockets.full_duplex;
    server.settings.messages = match sockets.stderr {
        Some(messages) => messages,
        // IIS takes any record of STDERR for a failure.
        None if server.settings.front.front == Front::Iis => Messages::Log,
        None => Messages::Web,
    };
    sockets.limits.apply(&mut server.settings);
    let fewer = sockets.rights.privileges()?;
    let around = sockets.around.clone();
    let open = || -> Result<_, Failure> {
        let app = around.wrap(app()?);
        Ok((app, around.access.open().map_err(Failure::run)?))
    };
    // As a rule before anything is bound, and as root, who may make a log file anywhere. A new root directory has its
    // own paths, and nothing that is open shall lead out of it.
    let opened = if sockets.rights.changes_root() { Err(open) } else { Ok(open()?) };
    let life = Life::begin().context("cannot receive signals")?;
    let rights =
        SocketRights { mode: sockets.socket_mode, owner: sockets.socket_owner, group: sockets.socket_group };
    listen(program, &mut server, &sockets.socket, &rights)?;
    life::forget_activation();
    fewer.apply().context("cannot give up rights")?;
    if nix::unistd::geteuid().is_root() {
        log::warn!("running as root: --user names a user that may do no more than it needs");
    }
    let (app, access_log) = opened.or_else(|open| open())?;
    watch(server, app, access_log, life)
}

/// Serves until a signal ends it.
fn watch(
    mut server: Server,
    app: Arc<dyn Application>,
    access_log: Option<OpenedLog>,
    life: Life,
) -> Result<(), Failure> {
    let stop = Stop::new();
    let access_log = access_log.map(OpenedLog::start).transpose().context("cannot start a thread")?;
    let access_log = access_log.map(Arc::new);
    server.settings.observer = access_log.clone().map(|log| log as Arc<dyn Observer>);
    let logs = access_log.clone();
    let reopen = move || logs.iter().for_each(|log| log.reopen());
    life.watch(stop.clone(), server.listeners(), reopen).context("cannot start a thread")?;
    let served = server.serve(app, &stop);
    // Others hold it still: the thread that watches signals, and one that a request keeps beyond the end.
    access_log.iter().for_each(|log| log.close());
    Ok(served.map_err(anyhow::Error::from)?)
}

/// Binds the sockets, or takes what was handed over, and says so.
fn listen(
    program: &str,
    server: &mut Server,
    addresses: &[Address],
    rights: &SocketRights,
) -> Result<(), Failure> {
    let anyone = server.settings.allow.is_none();
    if let Some(address) = addresses.iter().find(|address| anyone && address.is_exposed()) {
        return Err(Failure::Usage(format!("--socket {address}: {NOT_LOOPBACK}")));
    }
    if addresses.is_empty() && server.inherit().context("the socket that was handed over")?.is_empty() {
        let example = format!("{program} --socket unix:/run/app.sock");
        let what = format!("--socket is missing: say where to listen, as in {example}");
        return Err(Failure::Usage(what));
    }
    for address in addresses {
        server.bind(address, rights).context("--socket")?;
    }
    if let Some(listener) = server.listeners().iter().find(|listener| anyone && listener.is_exposed()) {
        return Err(Failure::Usage(format!("{}: {NOT_LOOPBACK}", listener.description())));
    }
    server.listeners().iter().for_each(announce);
    Ok(())
}

fn announce(listener: &Listener) {
    log::info!("listening on {}{}", listener.description(), listener.rights());
    if let Some(hint) = listener.hint() {
        log::warn!("{hint}");
    }
}
