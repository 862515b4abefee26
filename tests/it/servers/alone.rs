//! The HTTP server by itself.

use super::harness::Folder;
use super::link::{Over, Protocol, Socket, start_workbench};
use super::site::{Site, named};

pub(crate) fn start() -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Tcp);
    let mut server = start_workbench(&folder, &socket, Protocol::Http, &[]);
    server.ready_when(|| socket.is_served());
    let Socket::Tcp(port) = socket else { unreachable!("it was made for TCP") };
    Site { port, server, gateway: None, folder }
}

/// What the HTTP server's variables have besides what all do.
pub(crate) fn own_variables(port: &str) -> Vec<(&'static str, String)> {
    named([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "*"),
        ("REQUEST_SCHEME", "http"),
        ("SERVER_PORT", port),
    ])
}
