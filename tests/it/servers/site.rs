//! A web server with a gateway behind it.

use std::os::unix::net::UnixStream;

use super::apache::{self, Starts};
use super::client::{Answer, PATIENCE, Request};
use super::environment::Environment;
use super::harness::{Folder, Process, program};
use super::link::{Link, Over, Protocol, Socket};
use super::{lighttpd, nginx};

/// The path under which each site serves its gateway.
pub(crate) const MOUNT: &str = "/app";

/// What stands before the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Apache(Starts),
    Lighttpd(Link),
    Nginx(Link),
}

impl Front {
    /// Starts the workbench behind it, configured as by an administrator who has thought about it.
    pub(crate) fn start(self) -> Site {
        match self {
            // Apache trusts no program with the length of its answer, unless it is told to.
            Front::Apache(starts) => {
                apache::start(starts, &program("workbench"), "SetEnv ap_trust_cgilike_cl 1")
            }
            Front::Lighttpd(link) => lighttpd::start(link),
            Front::Nginx(link) => nginx::start(link, nginx::careful_location(link.protocol)),
        }
    }

    /// Between it and the gateway, unless that is a CGI program.
    pub(crate) fn link(self) -> Option<Link> {
        match self {
            Front::Apache(_) => None,
            Front::Lighttpd(link) | Front::Nginx(link) => Some(link),
        }
    }

    pub(crate) fn is_cgi(self) -> bool {
        self.link().is_none()
    }

    pub(crate) fn is_scgi(self) -> bool {
        self.link().is_some_and(|link| link.protocol == Protocol::Scgi)
    }

    /// The variables of its own, for `POST /app/env/x`: `*` stands for any value.
    pub(crate) fn own_variables(self, site: &Site) -> Vec<(&'static str, String)> {
        match self {
            Front::Apache(_) => apache::own_variables(site),
            Front::Lighttpd(_) => lighttpd::own_variables(site),
            Front::Nginx(link) => nginx::own_variables(site, link),
        }
    }

    /// PATH_INFO for the mount itself: RFC 3875, section 4.1.5, has it absent or empty.
    pub(crate) fn empty_path_info(self) -> Option<&'static str> {
        match self {
            Front::Apache(_) => None,
            Front::Lighttpd(_) | Front::Nginx(_) => Some(""),
        }
    }

    /// CONTENT_LENGTH of a request without a body; SCGI always has a length.
    pub(crate) fn length_without_body(self) -> Option<&'static str> {
        match self {
            Front::Lighttpd(_) => Some("0"),
            Front::Apache(_) | Front::Nginx(_) => self.is_scgi().then_some("0"),
        }
    }

    /// The headers `Cookie: a=1` and `Cookie: b=2` of one request: Apache joins every repeated header with a comma before
    /// anybody else sees it.
    pub(crate) fn repeated_cookies(self) -> &'static str {
        match self {
            Front::Apache(_) => "a=1, b=2",
            Front::Lighttpd(_) | Front::Nginx(_) => "a=1; b=2",
        }
    }

    /// The headers `X-Twice: one`, `X-Twice: two` and `X_Twice: alias` of one request: lighttpd before 1.4.80 hands the
    /// last over under the same name as the others.
    pub(crate) fn repeated_and_aliased(self) -> &'static str {
        match self {
            Front::Apache(_) | Front::Nginx(_) => "one, two",
            Front::Lighttpd(_) => "one, two, alias",
        }
    }

    /// Whether it joins repeated headers of an answer, but for Set-Cookie.
    pub(crate) fn joins_answers(self) -> bool {
        matches!(self, Front::Apache(_))
    }

    /// Whether it refuses bodies without a length.
    pub(crate) fn wants_lengths(self) -> bool {
        matches!(self, Front::Lighttpd(link) if link.streamed)
    }

    /// Whether a gateway that fails can say so even when the length of its answer was not announced: not by closing a
    /// pipe, nor a unix socket where the end of the connection is the end of the answer, and not to lighttpd, which
    /// announces the length of what it has got; unless it has announced something before, which nobody can foresee.
    pub(crate) fn tells_failure(self) -> Option<bool> {
        match self {
            Front::Apache(_) => Some(false),
            Front::Lighttpd(link) if link.streamed => None,
            Front::Lighttpd(_) => Some(false),
            Front::Nginx(link) => Some(link.protocol == Protocol::FastCgi || link.over == Over::Tcp),
        }
    }
}

/// Names with what they are expected to be.
pub(crate) fn named<const N: usize>(values: [(&'static str, &str); N]) -> Vec<(&'static str, String)> {
    values.map(|(name, value)| (name, value.to_owned())).into()
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

/// Panics unless the demo is at `/demo`, with its paths parted and decoded.
#[track_caller]
pub(crate) fn assert_serves_the_demo(port: u16) {
    assert_demo_shows(port, "/demo/", "/");
    assert_demo_shows(port, "/demo/caf%C3%A9/x%20y?q=1", "/caf\u{c3}\u{a9}/x y");
}

/// Panics unless the demo below `/demo` shows this PATH_INFO.
#[track_caller]
pub(crate) fn assert_demo_shows(port: u16, target: &str, path_info: &str) {
    let answer = Request::new("GET", target).send(port).expect(200);
    let text = String::from_utf8(answer.body).expect("a text of UTF-8");
    for line in ["Hello world!", "SCRIPT_NAME = '/demo'", &format!("PATH_INFO = '{path_info}'")] {
        assert!(text.lines().any(|given| given == line), "{target}: {line} is missing in:\n{text}");
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
