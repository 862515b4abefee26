//! A web server with a gateway behind it.

use std::os::unix::net::UnixStream;

use super::apache::{self, Starts};
use super::client::{Answer, PATIENCE, Request};
use super::environment::Environment;
use super::harness::{Folder, Process, program};
use super::link::{Link, Over, Protocol, Socket};
use super::{alone, caddy, h2o, haproxy, lighttpd, nginx, proxies};

/// The path under which each site serves its gateway.
pub(crate) const MOUNT: &str = "/app";

/// What stands before the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Apache(Starts),
    Caddy(Link),
    H2o(Link),
    Haproxy(Link),
    Lighttpd(Link),
    Nginx(Link),
    /// `mod_proxy_fcgi` and `mod_proxy_scgi`.
    Proxy(Link),
    /// `mod_fcgid`.
    Fcgid,
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
            Front::Caddy(link) => caddy::start(link),
            Front::H2o(link) => h2o::start(link),
            Front::Haproxy(link) => haproxy::start(link),
            Front::Lighttpd(link) => lighttpd::start(link),
            Front::Nginx(link) => nginx::start(link, nginx::careful_location(link.protocol)),
            Front::Proxy(link) => proxies::start(link),
            Front::Fcgid => proxies::start_fcgid(),
            Front::Http => alone::start(),
        }
    }

    /// Between it and the gateway, unless that is a CGI program.
    pub(crate) fn link(self) -> Option<Link> {
        match self {
            Front::Apache(_) => None,
            Front::Caddy(link)
            | Front::H2o(link)
            | Front::Haproxy(link)
            | Front::Lighttpd(link)
            | Front::Nginx(link)
            | Front::Proxy(link) => Some(link),
            Front::Fcgid => Some(Link::new(Protocol::FastCgi, Over::Unix).spawned()),
            Front::Http => Some(Link::new(Protocol::Http, Over::Tcp)),
        }
    }

    pub(crate) fn is_cgi(self) -> bool {
        self.link().is_none()
    }

    pub(crate) fn is_scgi(self) -> bool {
        self.link().is_some_and(|link| link.protocol == Protocol::Scgi)
    }

    /// Whether the gateway itself reads HTTP.
    pub(crate) fn is_http(self) -> bool {
        self.link().is_some_and(|link| link.protocol == Protocol::Http)
    }

    /// SERVER_PROTOCOL: nginx speaks HTTP/1.0 to a gateway, unless it keeps connections.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Front::Nginx(link) if self.is_http() && !link.kept => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// The variables of its own, for `POST /app/env/x`: `*` stands for any value.
    pub(crate) fn own_variables(self, site: &Site) -> Vec<(&'static str, String)> {
        match self {
            Front::Apache(_) | Front::Fcgid => apache::own_variables(site),
            Front::Caddy(_) => caddy::own_variables(site),
            Front::H2o(_) => h2o::own_variables(site),
            Front::Haproxy(_) => haproxy::own_variables(site),
            Front::Lighttpd(_) => lighttpd::own_variables(site),
            Front::Nginx(link) => nginx::own_variables(site, link),
            Front::Proxy(link) => proxies::own_variables(site, link),
            Front::Http => {
                let mut own = alone::own_variables(&site.port.to_string());
                own.extend(named([("SERVER_ADDR", "127.0.0.1")]));
                own
            }
        }
    }

    /// PATH_INFO for the mount itself: RFC 3875, section 4.1.5, has it absent or empty.
    pub(crate) fn empty_path_info(self) -> Option<&'static str> {
        match self {
            Front::Apache(_) | Front::Haproxy(_) | Front::Proxy(_) | Front::Fcgid => None,
            _ => Some(""),
        }
    }

    /// CONTENT_LENGTH of a request without a body; SCGI always has a length.
    pub(crate) fn length_without_body(self) -> Option<&'static str> {
        match self {
            Front::Caddy(_) | Front::Haproxy(_) | Front::Lighttpd(_) | Front::Fcgid => Some("0"),
            _ => self.is_scgi().then_some("0"),
        }
    }

    /// The headers `Cookie: a=1` and `Cookie: b=2` of one request: some web servers join every repeated header
    /// with a comma before anybody else sees it.
    pub(crate) fn repeated_cookies(self) -> &'static str {
        match self {
            Front::Apache(_) | Front::Caddy(_) | Front::Proxy(_) | Front::Fcgid => "a=1, b=2",
            Front::H2o(_) => "a=1;b=2",
            _ => "a=1; b=2",
        }
    }

    /// The headers `X-Twice: one`, `X-Twice: two` and `X_Twice: alias` of one request, and what may become of them: the
    /// versions of some that Debian has hand the last over under the same name as the others, or in their place.
    pub(crate) fn repeated_and_aliased(self) -> &'static [&'static str] {
        match self {
            Front::Caddy(_) => &["one, two", "alias"],
            Front::H2o(_) | Front::Lighttpd(_) => &["one, two, alias"],
            _ => &["one, two"],
        }
    }

    /// Whether it writes bytes of a path as `%XX` that came as they are.
    pub(crate) fn encodes_paths(self) -> bool {
        matches!(self, Front::Caddy(_))
    }

    /// Whether error text that a gateway sends is lost.
    pub(crate) fn loses_errors(self) -> bool {
        matches!(self, Front::Caddy(_) | Front::H2o(_))
    }

    /// Whether it joins repeated headers of an answer, but for Set-Cookie.
    pub(crate) fn joins_answers(self) -> bool {
        matches!(self, Front::Apache(_) | Front::Proxy(_) | Front::Fcgid)
    }

    /// How it refuses bodies without a length, if it does: HAProxy those that its buffer does not hold.
    pub(crate) fn wants_lengths(self) -> Option<u16> {
        match self {
            Front::Haproxy(_) => Some(400),
            Front::Lighttpd(link) if link.streamed => Some(411),
            Front::Proxy(link) if link.protocol == Protocol::Scgi => Some(411),
            _ => None,
        }
    }

    /// Whether it reads an answer to its end before it sends any of it, and so does not see that a client has gone.
    pub(crate) fn gathers_answers(self) -> bool {
        matches!(self, Front::Lighttpd(link) if !link.streamed)
    }

    /// How many requests at once it stands: HAProxy 2.6 now and then keeps answers back for ever that it has read, when many
    /// large ones share a connection.
    pub(crate) fn most_at_once(self) -> usize {
        match self {
            Front::Haproxy(link) if link.shared => 4,
            _ => usize::MAX,
        }
    }

    /// Whether it refuses bytes of a path and query that should have been `%XX`.
    pub(crate) fn refuses_raw_bytes(self) -> bool {
        matches!(self, Front::Haproxy(_)) || self.is_http()
    }

    /// What a client gets of an answer whose length was not announced when the gateway fails in the middle of it.
    pub(crate) fn failure(self) -> Failure {
        match self {
            // The end of a pipe, or of a unix socket, is the end of the answer.
            Front::Apache(_) => Failure::Hidden,
            Front::Nginx(link) | Front::Proxy(link)
                if (link.protocol, link.over) == (Protocol::Scgi, Over::Unix)
                    || (link.protocol, link.over, link.kept) == (Protocol::Http, Over::Unix, false) =>
            {
                Failure::Hidden
            }
            // They announce the length of what they have got, unless they have announced something before.
            Front::Lighttpd(link) if link.streamed => Failure::Depends,
            Front::Caddy(_) | Front::H2o(_) | Front::Lighttpd(_) => Failure::Hidden,
            Front::Haproxy(_) | Front::Nginx(_) | Front::Proxy(_) | Front::Http => Failure::Cut,
            Front::Fcgid => Failure::Page,
        }
    }
}

/// How a failure in the middle of an answer looks to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The answer is cut visibly.
    Cut,
    /// It looks whole.
    Hidden,
    /// One of the two, which nobody can foresee.
    Depends,
    /// The web server puts its own error page behind what it has sent.
    Page,
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

/// The configuration that the documentation gives under this name.
#[track_caller]
pub(crate) fn recipe(name: &str) -> String {
    let pages = [include_str!("../../../README.md"), include_str!("../../../docs/programs.md")];
    let marked = format!("# recipe: {name}\n");
    let after =
        pages.iter().find_map(|page| Some(page.split_once(&marked)?.1)).expect("a recipe by this name");
    let (lines, _) = after.split_once("```").expect("the end of the recipe");
    lines.to_owned()
}
