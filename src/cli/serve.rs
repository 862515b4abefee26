//! `fcgi-gateway`, `scgi-gateway` and `http-gateway`: servers on sockets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Parser;

use super::access::OpenedLog;
use super::app::{Offer, Opened, Place};
use super::front::{FRONT, FrontFlags};
use super::life::{self, Life};
use super::limits::Limits;
use super::logger;
use super::rights::{NOT_LOOPBACK, Rights};
use super::serving::{Around, Serving};
use super::spool::SpoolFlags;
use super::usage::{self, Failure};
use crate::app::Application;
use crate::handlers::{Observer, capture_panics};
use crate::server::http::{ServerName, SiteError, TrustedProxies};
use crate::server::{Address, Listener, Messages, Protocol, Server, SocketRights, Stop};
use crate::util::quote_path;

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

/// What is asked for most.
const EXAMPLES: &str = "\
For example:
  http-gateway --dir-listing dir:.                            the files here
  http-gateway --listen 127.0.0.1:8080 --access-log - dir:.   on another port, with each request
  http-gateway --mount /cgi-bin=cgi:cgi-bin dir:.             and the programs of a folder";

/// Serves an application to clients, or to a proxy.
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES)]
struct HttpArguments {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    sockets: Sockets,
}

/// Serves this application to clients, or to a proxy.
#[derive(Parser, Debug)]
struct OwnHttpArguments {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    sockets: Sockets,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "HTTP")]
struct HttpFlags {
    /// Where to listen, as --socket; may be repeated. Without both: what was handed over, else 127.0.0.1:8000
    #[arg(long, value_name = "ADDR", value_parser = parse_address, allow_hyphen_values = true)]
    listen: Vec<Address>,
    /// Proxies that are believed who the client is and whether it uses https, by X-Forwarded-For, -Proto and -Port or by
    /// Forwarded: addresses, networks, unix for those on unix sockets; may be repeated
    #[arg(long, value_name = "ADDRS", value_parser = parse_proxies)]
    trusted_proxy: Vec<TrustedProxies>,
    /// SERVER_NAME, whatever clients say in Host
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    server_name: Option<ServerName>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Sockets")]
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
    #[command(flatten)]
    around: Around,
    /// Let answers leave while their requests' bodies still come; many web servers cannot, nginx for one
    #[arg(long, help_heading = FRONT)]
    full_duplex: bool,
    /// Where an application's messages go under FastCGI: web, to the web server, whose log they become part of, or log, to
    /// standard error [default: web; log with --front iis]
    #[arg(long, value_name = "WHERE", value_parser = parse_stderr, help_heading = FRONT)]
    pub(super) stderr: Option<Messages>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    spool: SpoolFlags,
    /// A TOML file with further settings: each flag is a key, and flags win
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
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

    /// What the front decides about applications. Only FastCGI has a way for messages to the web server.
    pub(super) fn place(&self, protocol: Protocol) -> Place {
        let own_log = protocol != Protocol::FastCgi || self.messages() == Messages::Log;
        let (mounted, origin) = (self.front.is_mounted(), protocol == Protocol::Http);
        let spool = self.spool.store().clone();
        Place { mounted, own_log, origin, account: self.rights.account(), spool }
    }
}

pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: crate::server::AddressError| error.to_string())
}

fn parse_proxies(text: &str) -> Result<TrustedProxies, String> {
    text.parse().map_err(|error: SiteError| error.to_string())
}

fn parse_name(text: &str) -> Result<ServerName, String> {
    text.parse().map_err(|error: SiteError| error.to_string())
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

/// Runs `http-gateway`.
pub fn http() -> ExitCode {
    const PROGRAM: &str = "http-gateway";
    match usage::parse::<HttpArguments>(PROGRAM, std::env::args_os().skip(1)) {
        Ok(HttpArguments { serving, http, sockets }) => {
            let place = sockets.place(Protocol::Http);
            serve_http(PROGRAM, http, sockets, || open(&serving, place))
        }
        Err(exit) => exit,
    }
}

fn open(serving: &Serving, place: Place) -> Result<Opened, Failure> {
    serving.warn_of_idle_flags();
    serving.open(place)
}

/// Serves an application of the program's own over HTTP, with the arguments behind `http`.
pub(super) fn own_http(program: &str, app: Arc<dyn Application>) -> ExitCode {
    match usage::parse::<OwnHttpArguments>(program, std::env::args_os().skip(2)) {
        Ok(OwnHttpArguments { http, sockets }) => serve_http(program, http, sockets, || Ok(Opened::new(app))),
        Err(exit) => exit,
    }
}

fn serve_http(
    program: &str,
    http: HttpFlags,
    mut sockets: Sockets,
    app: impl FnOnce() -> Result<Opened, Failure>,
) -> ExitCode {
    let HttpFlags { listen, trusted_proxy, server_name } = http;
    sockets.socket.extend(listen);
    let trusted = trusted_proxy.into_iter().fold(TrustedProxies::default(), TrustedProxies::and);
    let mut server = Server::new(Protocol::Http);
    (server.settings.site.trusted, server.settings.site.server_name) = (trusted, server_name);
    serve(program, server, sockets, app)
}

fn gateway(program: &'static str, protocol: Protocol) -> ExitCode {
    match usage::parse::<Arguments>(program, std::env::args_os().skip(1)) {
        Ok(Arguments { serving, sockets }) => {
            let place = sockets.place(protocol);
            serve(program, Server::new(protocol), sockets, || open(&serving, place))
        }
        Err(exit) => exit,
    }
}

/// Serves an application of the program's own, with the arguments behind its name for the protocol.
pub(super) fn own(program: &str, protocol: Protocol, app: Arc<dyn Application>) -> ExitCode {
    match usage::parse::<OwnArguments>(program, std::env::args_os().skip(2)) {
        Ok(OwnArguments { sockets }) => {
            serve(program, Server::new(protocol), sockets, || Ok(Opened::new(app)))
        }
        Err(exit) => exit,
    }
}

pub(super) fn serve(
    program: &str,
    server: Server,
    sockets: Sockets,
    app: impl FnOnce() -> Result<Opened, Failure>,
) -> ExitCode {
    logger::install(program);
    capture_panics();
    match run(program, server, sockets, app) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(program),
    }
}

fn run(
    program: &str,
    mut server: Server,
    sockets: Sockets,
    app: impl FnOnce() -> Result<Opened, Failure>,
) -> Result<(), Failure> {
    server.settings.allow = sockets.rights.peers(server.protocol()).map_err(Failure::Usage)?;
    server.settings.messages = sockets.messages();
    server.settings.front = match server.protocol() {
        Protocol::Http => sockets.front.without_front().map_err(Failure::Usage)?,
        _ => sockets.front.settings(),
    };
    server.settings.full_duplex = sockets.full_duplex;
    sockets.limits.apply(&mut server.settings);
    server.settings.spool = sockets.spool.store().clone();
    let fewer = sockets.rights.privileges()?;
    let around = sockets.around.clone();
    let spool = sockets.spool.clone();
    let open = || -> Result<_, Failure> {
        spool.check()?;
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
    if let Ok((app, _)) = &opened {
        app.give_to(&fewer).map_err(anyhow::Error::from)?;
    }
    fewer.apply().context("cannot give up rights")?;
    if nix::unistd::geteuid().is_root() {
        log::warn!("running as root: --user names a user that may do no more than it needs");
    }
    let (app, access_log) = opened.or_else(|open| open())?;
    app.look();
    tell(&server, &app.offers);
    watch(server, app, access_log, life)
}

/// Says what is served where, by URLs that can be tried.
fn tell(server: &Server, offers: &[Offer]) {
    let place =
        server.listeners().iter().map(Listener::description).find(|place| !place.starts_with("unix:"));
    let base = place.map_or(String::new(), |place| format!("http://{place}"));
    let mount = server.settings.front.script_name.as_ref();
    let mount = mount.map_or(String::new(), |name| quote_path(name.as_bytes()));
    offers.iter().for_each(|Offer { path, what }| log::info!("serving {what} at {base}{mount}{path}"));
}

/// Serves until a signal ends it.
fn watch(
    mut server: Server,
    opened: Opened,
    access_log: Option<OpenedLog>,
    life: Life,
) -> Result<(), Failure> {
    opened.own_process();
    let stop = Stop::new();
    let access_log = access_log.map(OpenedLog::start).transpose().context("cannot start a thread")?;
    let access_log = access_log.map(Arc::new);
    server.settings.observer = access_log.clone().map(|log| log as Arc<dyn Observer>);
    let logs = access_log.clone();
    let reopen = move || logs.iter().for_each(|log| log.reopen());
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = opened.cut();
    let cutting = Arc::clone(&is_cut);
    let cut = move || {
        cutting.store(true, Ordering::SeqCst);
        cut();
    };
    life.watch(stop.clone(), server.listeners(), reopen, cut).context("cannot start a thread")?;
    let served = server.serve(Arc::clone(&opened.app), &stop);
    // What was cut off would look like a clean end: the thread that watches signals ends this process.
    while is_cut.load(Ordering::SeqCst) {
        std::thread::park();
    }
    opened.end();
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
    let http = server.protocol() == Protocol::Http;
    // HTTP is for clients, wherever they are; who speaks the others says who the user is, and what is to be run.
    let anyone = server.settings.allow.is_none() && !http;
    let flag = if http { "--listen" } else { "--socket" };
    if let Some(address) = addresses.iter().find(|address| anyone && address.is_exposed()) {
        return Err(Failure::Usage(format!("--socket {address}: {NOT_LOOPBACK}")));
    }
    let nothing =
        addresses.is_empty() && server.inherit().context("the socket that was handed over")?.is_empty();
    if nothing && http {
        let usual = "127.0.0.1:8000".parse().map_err(anyhow::Error::from)?;
        server.bind(&usual, rights).context(flag)?;
    } else if nothing {
        let example = format!("{program} --socket unix:/run/app.sock");
        let what = format!("--socket is missing: say where to listen, as in {example}");
        return Err(Failure::Usage(what));
    }
    for address in addresses {
        server.bind(address, rights).context(flag)?;
    }
    if let Some(listener) = server.listeners().iter().find(|listener| anyone && listener.is_exposed()) {
        return Err(Failure::Usage(format!("{}: {NOT_LOOPBACK}", listener.description())));
    }
    server.listeners().iter().for_each(|listener| announce(listener, http));
    Ok(())
}

fn announce(listener: &Listener, http: bool) {
    let (place, rights) = (listener.description(), listener.rights());
    match http && !place.starts_with("unix:") {
        true => log::info!("listening on http://{place}/{rights}"),
        false => log::info!("listening on {place}{rights}"),
    }
    if let Some(hint) = listener.hint() {
        log::warn!("{hint}");
    }
}
