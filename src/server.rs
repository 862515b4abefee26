//! Servers on unix and TCP sockets: FastCGI and SCGI for web servers, HTTP for proxies and for clients.
//!
//! ```no_run
//! use std::sync::Arc;
//! use gatewright::app::app;
//! use gatewright::server::{Protocol, Server, SocketRights, Stop};
//!
//! let hello = app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello\n"));
//! let mut server = Server::new(Protocol::FastCgi);
//! server.bind(&"unix:/run/app.sock".parse()?, &SocketRights::default())?;
//! server.serve(Arc::new(hello), &Stop::new())?;
//! # Ok::<(), gatewright::error::BoxError>(())
//! ```

mod accounts;
mod address;
mod allow;
mod bell;
mod clock;
mod core;
mod fcgi;
mod gate;
pub mod http;
mod inherit;
mod link;
mod listen;
mod pairs;
mod privileges;
mod ready;
mod scgi;
mod socket_file;
mod spool;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use address::{Address, AddressError};
pub use allow::{Peers, PeersError};
#[cfg(feature = "cli")]
pub(crate) use inherit::{VARIABLES as ACTIVATION, keep_private};
pub use listen::{Listener, SocketRights, Stream};
pub use privileges::Privileges;

use crate::app::Application;
use crate::environ::Environ;
use crate::environ::front::FrontSettings;
use crate::error::{BoxError, Error};
use crate::handlers::{Attributes, Observer};
use crate::notice::Notice;
use crate::spool::Store;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// FastCGI 1.0, as a responder.
    FastCgi,
    /// SCGI.
    Scgi,
    /// HTTP/1.1 and HTTP/1.0, as an origin server.
    Http,
}

/// Limits, time-outs, and the web server in front. A limit or a time-out of 0 is none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Who may connect over TCP; `None` is everybody.
    pub allow: Option<Peers>,
    /// Bytes of all parameters of a request; more is answered with 431, and under SCGI, whose length comes first, by closing
    /// the connection.
    pub max_head: usize,
    /// Number of parameters; more is answered with 431.
    pub max_pairs: usize,
    /// Bytes of a body; more is answered with 413, or is an error for an application that reads so far.
    pub max_body: u64,
    /// Bodies up to this size are read before the application is called.
    pub body_gather: usize,
    /// Whether an answer may leave while its request's body still comes: for web servers and clients that send and
    /// receive at once; see [`Flow`](crate::handlers::Flow).
    pub full_duplex: bool,
    /// The roles that the application knows besides that of a responder (FastCGI 1.0, section 6); others are refused
    /// with UNKNOWN_ROLE.
    pub roles: Roles,
    /// Where an application's messages go under FastCGI.
    pub messages: Messages,
    /// Connections at once; more wait to be accepted. The one that has been idle for the longest time is closed for
    /// them, if there is an idle one.
    pub max_connections: usize,
    /// Requests at once on one FastCGI connection; more are refused with OVERLOADED.
    pub max_requests_per_connection: usize,
    /// Workers at most: threads that run applications. There are as many as the machine has cores, and at least two, to
    /// begin with; more come while these are held up, and go after ten seconds without work.
    pub workers: usize,
    /// How long a request waits for a worker where all are held up; then it is answered with 503 and Retry-After.
    pub worker_wait: Duration,
    /// Time for a whole head, from its first byte.
    pub head_timeout: Duration,
    /// Time between two pieces of a body.
    pub body_timeout: Duration,
    /// Bytes a second that a client's body comes at, once it has had [`body_timeout`](Self::body_timeout) altogether while it
    /// was waited for; who is slower is cut off, since applications are held up, or connections. Under HTTP alone: web
    /// servers gather bodies themselves.
    pub min_body_rate: u32,
    /// Time for a peer to go on reading.
    pub write_timeout: Duration,
    /// Time between requests on a connection that is kept.
    pub idle_timeout: Duration,
    /// A peer that has ended its sending over TCP counts as gone when nothing was sent to it for so long.
    pub half_close_grace: Duration,
    /// Time for requests under way when the server is stopped.
    pub drain_timeout: Duration,
    /// What is known of the web server in front.
    pub front: FrontSettings,
    /// What an HTTP server is told about its place on the web.
    pub site: http::Site,
    /// Who is told of each finished request; see [`AccessLog`](crate::access_log::AccessLog).
    pub observer: Option<Arc<dyn Observer>>,
    /// Where bodies are kept that do not fit into memory and that nobody reads yet.
    pub spool: Store,
    /// How threads wait for connections.
    pub ready: ReadyModel,
}

/// FastCGI roles that an application knows besides that of a responder (FastCGI 1.0, section 6).
///
/// Which one a request asks for is [`Environ::wsgi`](crate::environ::Environ::wsgi)'s `role`.
///
/// ```
/// use std::io::{Read, Write};
/// use std::sync::Arc;
/// use gatewright::app::app;
/// use gatewright::environ::Role;
/// use gatewright::proto::fcgi::{self, Stream, encode};
/// use gatewright::server::{Protocol, Roles, Server, SocketRights, Stop};
///
/// const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];
/// let application = app(|environ, respond| match environ.wsgi.role {
///     Role::Authorizer if environ.header("Authorization") == Some(b"Basic Z29vZA==") => {
///         respond.start("200 OK", [("Variable-LEVEL", "guest")])?.send("")
///     }
///     Role::Authorizer => respond.start("403 Forbidden", PLAIN)?.send("no entry\n"),
///     Role::Filter => {
///         let mut file = String::new();
///         environ.data.read_to_string(&mut file)?;
///         respond.start("200 OK", PLAIN)?.send(file.to_uppercase())
///     }
///     _ => respond.start("200 OK", PLAIN)?.send("hello\n"),
/// });
/// let mut server = Server::new(Protocol::FastCgi);
/// server.settings.roles = Roles { authorizer: true, filter: true };
/// let listeners = server.bind(&"127.0.0.1:0".parse()?, &SocketRights::default())?;
/// let address = listeners[0].description().to_owned();
/// let stop = Stop::new();
/// let stopped = stop.clone();
/// let running = std::thread::spawn(move || server.serve(Arc::new(application), &stopped));
///
/// // What a web server sends to a filter: the request, its body, which is empty, and the file.
/// let mut wire = Vec::new();
/// encode::begin_request(&mut wire, 1, fcgi::Role::FILTER, false);
/// encode::params(&mut wire, 1, [(&b"REQUEST_METHOD"[..], &b"GET"[..])])?;
/// encode::stream_end(&mut wire, Stream::Stdin, 1);
/// encode::stream(&mut wire, Stream::Data, 1, b"the file");
/// encode::stream_end(&mut wire, Stream::Data, 1);
/// let mut peer = std::net::TcpStream::connect(address)?;
/// peer.write_all(&wire)?;
/// let mut answer = Vec::new();
/// peer.read_to_end(&mut answer)?;
/// assert!(String::from_utf8_lossy(&answer).contains("THE FILE"));
///
/// stop.stop();
/// running.join().expect("no panic")?;
/// # Ok::<(), gatewright::error::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// It answers whether a request is allowed: with status 200, and headers that start with `Variable-`, or with any
    /// other answer.
    pub authorizer: bool,
    /// It makes its answer of a file that comes as [`Environ::data`](crate::environ::Environ::data).
    pub filter: bool,
}

/// Where an application's messages go ([`Environ::errors`](crate::environ::Environ::errors)) under FastCGI. Under SCGI they
/// go to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Messages {
    /// To the web server, as STDERR records before later output.
    #[default]
    Web,
    /// To standard error.
    Log,
}

/// How threads wait for connections that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyModel {
    /// The platform's fastest: epoll on Linux.
    #[default]
    Native,
    /// One thread that waits, through the `polling` crate, and a queue. It works on every Unix.
    Portable,
}

impl Settings {
    /// The defaults for a protocol: heads of HTTP are shorter, come from clients, and connections of clients are not kept
    /// for ever.
    fn of(protocol: Protocol) -> Self {
        let settings = Self::default();
        match protocol {
            Protocol::Http => Self {
                max_head: 64 << 10,
                max_pairs: 100,
                head_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(75),
                ..settings
            },
            Protocol::FastCgi | Protocol::Scgi => settings,
        }
    }

    /// How long a body of HTTP may be waited for in all, when so many bytes of it have come; `None` without a limit.
    fn body_patience(&self, received: u64) -> Option<Duration> {
        let earned = received.checked_div(u64::from(self.min_body_rate)).map(Duration::from_secs)?;
        (!self.body_timeout.is_zero()).then(|| self.body_timeout.saturating_add(earned))
    }

    /// The limit of a body, as a number that can be compared with.
    fn max_body_or_none(&self) -> u64 {
        if self.max_body == 0 { u64::MAX } else { self.max_body }
    }

    fn max_connections_or_none(&self) -> usize {
        if self.max_connections == 0 { usize::MAX } else { self.max_connections }
    }

    /// The limit of a head; without one, what variables can hold.
    fn max_head_or_none(&self) -> usize {
        let most = u32::MAX as usize;
        if self.max_head == 0 { most } else { self.max_head.min(most) }
    }

    /// The limit of variables, or of fields.
    fn max_pairs_or_none(&self) -> usize {
        if self.max_pairs == 0 { usize::MAX } else { self.max_pairs }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: None,
            max_head: 256 << 10,
            max_pairs: 4096,
            max_body: 1 << 30,
            body_gather: 64 << 10,
            full_duplex: false,
            roles: Roles::default(),
            messages: Messages::default(),
            max_connections: most_connections(),
            max_requests_per_connection: 64,
            workers: 64,
            worker_wait: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            min_body_rate: 240,
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::ZERO,
            half_close_grace: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            front: FrontSettings::default(),
            site: http::Site::default(),
            spool: Store::default(),
            ready: ReadyModel::default(),
            observer: None,
        }
    }
}

/// 10,000, or what the descriptor limit leaves.
fn most_connections() -> usize {
    const MOST: usize = 10_000;
    /// For listeners, files, pipes.
    const OTHERS: usize = 64;
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let limit = limit.map_or(MOST, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
    limit.saturating_sub(OTHERS).clamp(1, MOST)
}

/// How long a new connection has for its first byte when the server ends.
const FIRST: Duration = Duration::from_millis(500);

/// A server: sockets, and the protocol that is spoken on them.
#[derive(Debug)]
pub struct Server {
    protocol: Protocol,
    listeners: Vec<Listener>,
    clock: clock::Clock,
    /// Limits, time-outs, and the web server in front.
    pub settings: Settings,
}

impl Server {
    /// A server without sockets.
    pub fn new(protocol: Protocol) -> Self {
        let settings = Settings::of(protocol);
        Self { protocol, listeners: Vec::new(), clock: clock::Clock::real(), settings }
    }

    /// Adds a listening socket, or several where the address stands for several; returns them for their description.
    ///
    /// # Errors
    /// The address and the reason, in one line.
    pub fn bind(&mut self, address: &Address, rights: &SocketRights) -> io::Result<&[Listener]> {
        let before = self.listeners.len();
        self.listeners.extend(Listener::bind(address, rights)?);
        Ok(self.listeners.get(before..).unwrap_or_default())
    }

    /// Adds the socket that this process was started with: descriptor 0 if it is a listening socket, as spawn-fcgi,
    /// lighttpd and `mod_fcgid` pass one, else what systemd handed over. Returns them; there may be none.
    ///
    /// # Errors
    /// What was handed over is no listening stream socket.
    pub fn inherit(&mut self) -> io::Result<&[Listener]> {
        let before = self.listeners.len();
        match inherit::standard_input()? {
            Some(listener) => self.listeners.push(listener),
            None => self.listeners.extend(inherit::systemd(None)?),
        }
        Ok(self.listeners.get(before..).unwrap_or_default())
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The sockets so far.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Serves requests until `stop` says otherwise. Then connections that wait are still accepted, the sockets are
    /// closed, and every request of which a byte has arrived is answered.
    ///
    /// # Errors
    /// The system gives no thread, or requests were still under way when [`Settings::drain_timeout`] was over.
    pub fn serve(self, app: Arc<dyn Application>, stop: &Stop) -> io::Result<()> {
        core::serve(self, app, stop)
    }
}

/// Stops a server from another thread.
///
/// The server itself watches no signals: a program that shall end cleanly at SIGTERM has its signal handler, or the thread
/// that waits for signals, call [`stop`](Stop::stop). [`cli::run`](crate::cli::run) and the gateways do that.
///
/// ```
/// use gatewright::server::Stop;
///
/// let stop = Stop::new();
/// stop.stop();
/// assert!(stop.is_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<gate::Gate>);

impl Stop {
    /// Not stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the server finish what is under way, and end.
    pub fn stop(&self) {
        self.0.close();
    }

    /// Whether [`stop`](Stop::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.0.is_closed()
    }
}

/// The attributes of a gateway's handlers.
fn attributes(settings: &Settings) -> Attributes<'static> {
    Attributes { wsgi_multiprocess: false, full_duplex: settings.full_duplex, ..Attributes::BASE_CGI }
}

/// Whether the request's body may be that long.
fn check_body(length: u64, settings: &Settings) -> Result<(), Error> {
    if length <= settings.max_body_or_none() {
        return Ok(());
    }
    let message =
        format!("the body of {length} bytes is larger than the {} that are allowed", settings.max_body);
    Err(Error::new(crate::error::Fault::Peer, 413, message))
}

/// Logs an error that the request itself has brought about: what a peer gets wrong, or asks for in vain, it may at any pace.
/// `false` for other errors, each of which is worth its line.
fn log_refusal(protocol: &str, refused: bool, environ: &Environ<'_>, error: &BoxError) -> bool {
    static REFUSED: Notice = Notice::new();
    static IN_VAIN: Notice = Notice::new();
    /// So much of a path shows where it leads.
    const SHOWN: usize = 200;
    let status = error.downcast_ref::<Error>().map_or(500, Error::status);
    if refused {
        REFUSED.warn(format_args!("{protocol}: request refused: {error}"));
    } else if (400..500).contains(&status) {
        let path = [environ.script_name(), environ.path_info()].concat();
        let path = path.get(..SHOWN).unwrap_or(&path).escape_ascii();
        let method = environ.method().escape_ascii();
        IN_VAIN.warn(format_args!("{protocol}: {method} {path}: {status}: {error}"));
    } else {
        return false;
    }
    true
}

/// The body came to its end before its announced length, and nothing runs yet that could be told by an error.
fn body_too_short(gathered: usize) -> Error {
    Error::bad_request(format!("the body ended after {gathered} bytes, before its CONTENT_LENGTH"))
}

/// A flag that one thread sets for another.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
