//! `fcgi-gateway` and `scgi-gateway`: servers on sockets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use super::app::{self, App, Opened};
use super::front::FrontFlags;
use super::life::{self, Life};
use super::limits::Limits;
#[cfg(target_os = "linux")]
use super::programs::ProgramFlags;
use super::rights::{NOT_LOOPBACK, Rights};
use super::{logger, usage};
use crate::app::Application;
#[cfg(target_os = "linux")]
use crate::apps::Stderr;
use crate::handlers::capture_panics;
use crate::server::{Address, Listener, Messages, Protocol, Server, SocketRights, Stop};

/// Serves an application to a web server.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The application: demo, or cgi:PATH, a CGI program or a folder of them
    #[arg(value_name = "APP", value_parser = app::parse)]
    app: Option<App>,
    #[command(flatten)]
    sockets: Sockets,
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    programs: ProgramFlags,
}

/// Serves this application to a web server.
#[derive(Parser, Debug)]
struct OwnArguments {
    #[command(flatten)]
    sockets: Sockets,
}

#[derive(clap::Args, Debug)]
pub(super) struct Sockets {
    /// Where to listen: unix:/run/app.sock, unix:@name, 127.0.0.1:9000, [::1]:9000, tcp:host:port, fd:N, systemd or
    /// systemd:NAME; may be repeated. Without it: the listening socket that is standard input, else systemd's
    #[arg(long, value_name = "ADDR", value_parser = parse_address, allow_hyphen_values = true)]
    pub(super) socket: Vec<Address>,
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
    /// Let answers leave while their requests' bodies still come; many web servers cannot, nginx for one
    #[arg(long)]
    full_duplex: bool,
    /// Where an application's messages go under FastCGI: web, to the web server, whose log they become part of, or log, to
    /// standard error [default: web; log with --front iis]
    #[arg(long, value_name = "WHERE", value_parser = parse_stderr)]
    pub(super) stderr: Option<Messages>,
    #[command(flatten)]
    limits: Limits,
    /// A TOML file with further settings: each flag is a key, and flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Sockets {
    /// Where messages go under FastCGI.
    fn messages(&self) -> Messages {
        match self.stderr {
            Some(messages) => messages,
            // IIS takes any record of STDERR for a failure.
            None if self.front.is_iis() => Messages::Log,
            None => Messages::Web,
        }
    }

    /// Where programs' error text goes: the other protocols have no way for it to the web server.
    #[cfg(target_os = "linux")]
    fn stderr(&self, protocol: Protocol) -> Stderr {
        match self.messages() {
            Messages::Web if protocol == Protocol::FastCgi => Stderr::Web,
            _ => Stderr::Log,
        }
    }
}

pub(super) fn parse_address(text: &str) -> Result<Address, String> {
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

/// Runs `fcgi-gateway`; started by the name of `fcgiwrap` it behaves as that.
pub fn fcgi() -> ExitCode {
    #[cfg(target_os = "linux")]
    if super::fcgiwrap::is_meant() {
        return super::fcgiwrap::main();
    }
    gateway("fcgi-gateway", Protocol::FastCgi)
}

/// Runs `scgi-gateway`.
pub fn scgi() -> ExitCode {
    gateway("scgi-gateway", Protocol::Scgi)
}

fn gateway(program: &'static str, protocol: Protocol) -> ExitCode {
    match usage::parse::<Arguments>(program, std::env::args_os().skip(1)) {
        #[cfg(target_os = "linux")]
        Ok(Arguments { app, sockets, programs }) => {
            let stderr = sockets.stderr(protocol);
            let mounted = sockets.front.is_mounted();
            let open = || app.unwrap_or_default().open(|| programs.settings(stderr, mounted));
            serve(program, protocol, sockets, open)
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Arguments { app, sockets }) => {
            serve(program, protocol, sockets, || app.unwrap_or_default().open())
        }
        Err(exit) => exit,
    }
}

/// Serves an application of the program's own, with the arguments behind its name for the protocol.
pub(super) fn own(program: &str, protocol: Protocol, app: Arc<dyn Application>) -> ExitCode {
    match usage::parse::<OwnArguments>(program, std::env::args_os().skip(2)) {
        Ok(OwnArguments { sockets }) => serve(program, protocol, sockets, || Ok(Opened::own(app))),
        Err(exit) => exit,
    }
}

/// Why a server did not run to its clean end.
enum Failure {
    Usage(String),
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Run(error)
    }
}

/// Opens the application as one of the last steps: after rights were given up, and with the root folder that stays.
pub(super) fn serve(
    program: &str,
    protocol: Protocol,
    sockets: Sockets,
    open: impl FnOnce() -> Result<Opened, String>,
) -> ExitCode {
    logger::install(program);
    capture_panics();
    match run(program, protocol, sockets, open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => usage::wrong(program, &what),
        Err(Failure::Run(error)) => {
            usage::tell(&format!("{program}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    program: &str,
    protocol: Protocol,
    sockets: Sockets,
    open: impl FnOnce() -> Result<Opened, String>,
) -> Result<(), Failure> {
    let mut server = Server::new(protocol);
    server.settings.allow = sockets.rights.peers(protocol).map_err(Failure::Usage)?;
    server.settings.messages = sockets.messages();
    server.settings.front = sockets.front.settings();
    server.settings.full_duplex = sockets.full_duplex;
    sockets.limits.apply(&mut server.settings);
    let fewer = sockets.rights.privileges()?;
    let life = Life::begin().context("cannot receive signals")?;
    let rights =
        SocketRights { mode: sockets.socket_mode, owner: sockets.socket_owner, group: sockets.socket_group };
    listen(program, &mut server, &sockets.socket, &rights)?;
    life::forget_activation();
    fewer.apply().context("cannot give up rights")?;
    if nix::unistd::geteuid().is_root() {
        log::warn!("running as root: --user names a user that may do no more than it needs");
    }
    let opened = open().map_err(Failure::Usage)?;
    opened.own_process();
    let stop = Stop::new();
    life.watch(stop.clone(), server.listeners()).context("cannot start a thread")?;
    let served = server.serve(Arc::clone(&opened.app), &stop);
    opened.end();
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
