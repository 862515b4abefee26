//! `fcgi-gateway` and `scgi-gateway`: servers on sockets.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};

use super::app::{self, App};
use super::front::FrontFlags;
use super::{logger, usage};
use crate::app::Application;
use crate::handlers::capture_panics;
use crate::server::{Address, Protocol, Server, SocketRights, Stop};

/// Serves an application to a web server.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The application: demo
    #[arg(value_name = "APP", value_parser = app::parse)]
    app: Option<App>,
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
    /// Where to listen: unix:/run/app.sock, unix:@name, 127.0.0.1:9000, [::1]:9000 or tcp:host:port; may be repeated
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
    /// Let answers leave while their requests' bodies still come; many web servers cannot, nginx for one
    #[arg(long)]
    full_duplex: bool,
    /// A TOML file with further settings: each flag is a key, and flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error: crate::server::AddressError| error.to_string())?;
    match &address {
        Address::Descriptor(_) | Address::Systemd(_) => {
            Err("inherited sockets are not in this version yet; write for example unix:/run/app.sock"
                .to_owned())
        }
        Address::Tcp(tcp) if !tcp.ip().to_canonical().is_loopback() => Err(NOT_LOOPBACK.to_owned()),
        Address::TcpName(name, _) if name != "localhost" => Err(NOT_LOOPBACK.to_owned()),
        _ => Ok(address),
    }
}

const NOT_LOOPBACK: &str = "whoever reaches the port can use it, and a list of allowed peers is not in this version \
yet; write a loopback address, as in 127.0.0.1:9000, or a socket file";

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
        Ok(Arguments { app, sockets }) => serve(program, protocol, sockets, app.unwrap_or_default().open()),
        Err(exit) => exit,
    }
}

/// Serves an application of the program's own, with the arguments behind its name for the protocol.
pub(super) fn own(program: &'static str, protocol: Protocol, app: Arc<dyn Application>) -> ExitCode {
    match usage::parse::<OwnArguments>(program, std::env::args_os().skip(2)) {
        Ok(OwnArguments { sockets }) => serve(program, protocol, sockets, app),
        Err(exit) => exit,
    }
}

fn serve(program: &'static str, protocol: Protocol, sockets: Sockets, app: Arc<dyn Application>) -> ExitCode {
    if sockets.socket.is_empty() {
        let example = format!("{program} --socket unix:/run/app.sock");
        return usage::wrong(program, &format!("--socket is missing: say where to listen, as in {example}"));
    }
    logger::install(program);
    capture_panics();
    match run(protocol, sockets, app) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(protocol: Protocol, sockets: Sockets, app: Arc<dyn Application>) -> anyhow::Result<()> {
    let Sockets {
        socket,
        socket_mode: mode,
        socket_owner: owner,
        socket_group: group,
        front,
        full_duplex,
        config: _,
    } = sockets;
    let rights = SocketRights { mode, owner, group };
    let stop = Stop::new();
    let signals = block_signals().context("cannot receive signals")?;
    let mut server = Server::new(protocol);
    server.settings.full_duplex = full_duplex;
    server.settings.front = front.settings();
    for address in &socket {
        let listener = server.bind(address, &rights).context("--socket")?;
        log::info!("listening on {}{}", listener.description(), listener.rights());
        if let Some(hint) = listener.hint() {
            log::warn!("{hint}");
        }
    }
    if nix::unistd::geteuid().is_root() {
        log::warn!("running as root: start it as a user that may do no more than it needs");
    }
    watch_signals(signals, stop.clone()).context("cannot start a thread")?;
    server.serve(app, &stop)?;
    Ok(())
}

/// Keeps SIGTERM and SIGINT for the thread that waits for them; threads started later inherit that.
fn block_signals() -> nix::Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    Ok(signals)
}

/// The first signal stops the server when its requests are answered, a second one at once.
fn watch_signals(signals: SigSet, stop: Stop) -> io::Result<()> {
    let watch = move || {
        if signals.wait().is_ok() {
            stop.stop();
        }
        if signals.wait().is_ok() {
            std::process::exit(1);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}
