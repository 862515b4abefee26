//! Servers for web servers to talk to: FastCGI and SCGI over unix and TCP sockets.
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
mod drain;
mod fcgi;
pub mod http;
mod inherit;
mod listen;
mod notice;
mod pool;
mod privileges;
mod scgi;
mod socket_file;
mod wire;

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
use crate::environ::Vars;
use crate::environ::front::FrontSettings;
use crate::error::Error;
use crate::handlers::Attributes;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// FastCGI 1.0, as a responder.
    FastCgi,
    /// SCGI.
    Scgi,
}

/// Limits, time-outs, and the web server in front.
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
    /// Connections served at once, each by a thread; more wait to be accepted.
    pub max_connections: usize,
    /// Time for a peer to go on sending within a head.
    pub head_timeout: Duration,
    /// Time for a peer to go on sending within a body.
    pub body_timeout: Duration,
    /// Time for a peer to go on reading.
    pub write_timeout: Duration,
    /// Time for requests under way when the server is stopped.
    pub drain_timeout: Duration,
    /// What is known of the web server in front.
    pub front: FrontSettings,
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
            max_connections: 1024,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            front: FrontSettings::default(),
        }
    }
}

/// A server: sockets, and the protocol that is spoken on them.
#[derive(Debug)]
pub struct Server {
    protocol: Protocol,
    listeners: Vec<Listener>,
    /// Limits, time-outs, and the web server in front.
    pub settings: Settings,
}

impl Server {
    /// A server without sockets.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, listeners: Vec::new(), settings: Settings::default() }
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
        pool::serve(self, app, stop)
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
pub struct Stop(Arc<pool::Gate>);

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
    if length <= settings.max_body {
        return Ok(());
    }
    let message =
        format!("the body of {length} bytes is larger than the {} that are allowed", settings.max_body);
    Err(Error::new(crate::error::Fault::Peer, 413, message))
}

/// Whether the request's parameters may be that many.
fn check_pairs(count: usize, settings: &Settings) -> Result<(), Error> {
    if count <= settings.max_pairs {
        return Ok(());
    }
    let message = format!("the request has more than the {} parameters that are allowed", settings.max_pairs);
    Err(Error::new(crate::error::Fault::Peer, 431, message))
}

/// Sets REQUEST_METHOD where the parameters were refused before it came: the answer to HEAD has no body, whatever it is.
fn set_method<'p>(vars: &mut Vars, mut pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>) {
    if let Some((name, method)) = pairs.find(|(name, _)| *name == b"REQUEST_METHOD") {
        vars.set(name, method);
    }
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
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
