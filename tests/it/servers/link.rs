//! What lies between a web server and a gateway.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::harness::{Folder, Process, answers, free_port, is_root, program};
use super::site::MOUNT;

/// What a web server and a gateway speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    FastCgi,
    Scgi,
    Http,
}

impl Protocol {
    /// As the workbench calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::FastCgi => "fcgi",
            Protocol::Scgi => "scgi",
            Protocol::Http => "http",
        }
    }
}

/// Over what they speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Unix,
    Tcp,
}

/// A connection's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) protocol: Protocol,
    pub(crate) over: Over,
    /// Whether the web server keeps connections for the next request.
    pub(crate) kept: bool,
    /// Whether the web server sends several requests at once over one connection.
    pub(crate) shared: bool,
    /// Whether the web server passes bodies and answers on as they come, where it would else gather them.
    pub(crate) streamed: bool,
    /// Whether the web server starts the gateway, whose socket is then descriptor 0.
    pub(crate) spawned: bool,
}

impl Link {
    pub(crate) const fn new(protocol: Protocol, over: Over) -> Self {
        Self { protocol, over, kept: false, shared: false, streamed: false, spawned: false }
    }

    /// The same, with connections kept.
    pub(crate) const fn kept(self) -> Self {
        Self { kept: true, ..self }
    }

    /// The same, with connections kept, and several requests at once on each.
    pub(crate) const fn shared(self) -> Self {
        Self { kept: true, shared: true, ..self }
    }

    /// The same, with bodies and answers passed on as they come.
    pub(crate) const fn streamed(self) -> Self {
        Self { streamed: true, ..self }
    }

    /// The same, with the gateway started by the web server.
    pub(crate) const fn spawned(self) -> Self {
        Self { spawned: true, ..self }
    }
}

/// An address for a gateway to listen on.
#[derive(Clone, Debug)]
pub(crate) enum Socket {
    Unix(PathBuf),
    Tcp(u16),
}

impl Socket {
    pub(crate) fn new(folder: &Folder, over: Over) -> Self {
        match over {
            Over::Unix => Socket::Unix(folder.path("app.sock")),
            Over::Tcp => Socket::Tcp(free_port()),
        }
    }

    /// As the gateways write it.
    pub(crate) fn address(&self) -> String {
        match self {
            Socket::Unix(path) => format!("unix:{}", path.display()),
            Socket::Tcp(port) => format!("127.0.0.1:{port}"),
        }
    }

    pub(crate) fn is_served(&self) -> bool {
        match self {
            Socket::Unix(path) => UnixStream::connect(path).is_ok(),
            Socket::Tcp(port) => answers(*port),
        }
    }
}

/// Starts the workbench as a server of its own.
pub(crate) fn start_workbench(
    folder: &Folder,
    socket: &Socket,
    protocol: Protocol,
    flags: &[&str],
) -> Process {
    Process::start(folder, "gateway", &program("workbench"), |command| {
        command.args([protocol.name(), "--socket", &socket.address()]).args(flags);
        if protocol == Protocol::Http {
            // Nobody else says where it is mounted, and for whom it is asked.
            command.args(["--script-name", MOUNT, "--trusted-proxy", "unix, 127.0.0.1"]);
        }
        if is_root() {
            command.args(["--socket-group", "www-data"]);
        }
    })
}
