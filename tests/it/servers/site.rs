//! A web server with a gateway behind it.

use std::os::unix::net::UnixStream;

use super::apache::{self, Starts};
use super::client::{Answer, PATIENCE, Request};
use super::environment::Environment;
use super::harness::{Folder, Process, program};
use super::nginx::{self, Link, Over, Protocol, Socket};

/// The path under which each site serves its gateway.
pub(crate) const MOUNT: &str = "/app";

/// What stands before the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Apache(Starts),
    Nginx(Link),
    /// None: the HTTP server by itself.
    Http,
}

impl Front {
    /// Starts the workbench behind it, configured as by an administrator who has thought about it.
    pub(crate) fn start(self) -> Site {
        match self {
            // Apache trusts no program with the length of its answer, unless it is told to.
            Front::Apache(starts) => {
                apache::start(starts, &program("workbench"), "SetEnv ap_trust_cgilike_cl 1")
            }
            Front::Nginx(link) => nginx::start(link, nginx::careful_location(link.protocol)),
            Front::Http => nginx::start_alone(),
        }
    }

    pub(crate) fn is_apache(self) -> bool {
        matches!(self, Front::Apache(_))
    }

    pub(crate) fn is_scgi(self) -> bool {
        matches!(self, Front::Nginx(link) if link.protocol == Protocol::Scgi)
    }

    /// Whether the gateway itself reads HTTP.
    pub(crate) fn is_http(self) -> bool {
        self == Front::Http || self.is_proxy()
    }

    /// Whether a web server passes HTTP on to it.
    pub(crate) fn is_proxy(self) -> bool {
        matches!(self, Front::Nginx(link) if link.protocol == Protocol::Http)
    }

    /// Whether a gateway that fails can say so even when the length of its answer was not announced: not by closing a
    /// pipe, nor a unix socket where the end of the connection is the end of the answer.
    pub(crate) fn can_tell_failure(self) -> bool {
        let ends_by_closing =
            [Protocol::Scgi, Protocol::Http].map(|one| Front::Nginx(Link::new(one, Over::Unix)));
        !self.is_apache() && !ends_by_closing.contains(&self)
    }
}

/// A running web server with an application behind it. Ends with it: web server, gateway, folder, in this order.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) port: u16,
    pub(crate) server: Process,
    /// A gateway that listens, and where.
    pub(crate) gateway: Option<(Process, Socket)>,
    pub(crate) folder: Folder,
}

impl Site {
    /// Requests a path below the mount.
    #[track_caller]
    pub(crate) fn get(&self, below: &str) -> Answer {
        self.request("GET", below).send(self.port)
    }

    /// A request for a path below the mount.
    pub(crate) fn request(&self, method: &str, below: impl AsRef<[u8]>) -> Request {
        let mut target = MOUNT.as_bytes().to_vec();
        target.extend_from_slice(below.as_ref());
        Request::new(method, target)
    }

    /// What the application sees of this request.
    #[track_caller]
    pub(crate) fn environment(&self, request: &Request) -> Environment {
        Environment::parse(&request.send(self.port).expect(200).body)
    }

    /// Everything that was logged: by the web server, and through it or directly by the gateway.
    pub(crate) fn log(&self) -> String {
        let mut log = self.server.log();
        log += &std::fs::read_to_string(self.folder.path("errors.log")).unwrap_or_default();
        log += &self.gateway.as_ref().map(|(gateway, _)| gateway.log()).unwrap_or_default();
        log
    }

    /// Connects to the gateway itself, past the web server.
    pub(crate) fn connect(&self) -> UnixStream {
        let Some((_, Socket::Unix(path))) = &self.gateway else { panic!("no gateway on a unix socket") };
        let stream = UnixStream::connect(path).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration that is not zero");
        stream
    }
}

/// The configuration that README.md gives under this name.
#[track_caller]
pub(crate) fn recipe(name: &str) -> String {
    let readme = include_str!("../../../README.md");
    let (_, after) = readme.split_once(&format!("# recipe: {name}\n")).expect("a recipe by this name");
    let (lines, _) = after.split_once("```").expect("the end of the recipe");
    lines.to_owned()
}
