//! `simple_server.ServerHandler`: an origin server's handler that writes an access log.

use std::fmt;
use std::io::{BufRead, Write};

use super::attributes::Attributes;
use super::base::BaseHandler;
use super::outcome::Outcome;
use super::simple::{Simple, SimpleHandler};
use super::streams::Streams;
use crate::environ::Vars;

/// A [`Simple`] handler that names its software and reports each response to a log.
///
/// Where wsgiref is silent about requests that failed after their first output or whose client went away, the log has
/// them too: `outcome.end` tells them apart.
///
/// ```
/// use gatewright::{app::app, environ::Vars, handlers::{BaseHandler, ServerHandler, Simple}};
///
/// let simple = Simple::new(&b""[..], Vec::new(), std::io::stderr(), Vars::from([("SERVER_PROTOCOL", "HTTP/1.0")]));
/// let handler = ServerHandler::new(simple, |outcome| assert_eq!((outcome.status, outcome.body_bytes), (Some(200), 2)));
/// handler.run(&app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hi")));
/// ```
pub struct ServerHandler<I, O, E, L> {
    simple: Simple<I, O, E>,
    log_request: L,
}

/// The newest wsgiref's `server_software`, with this crate in Python's place.
pub const SERVER_SOFTWARE: &str = concat!("WSGIServer gatewright/", env!("CARGO_PKG_VERSION"));

impl<I: BufRead, O: Write, E: Write, L: Fn(&Outcome)> ServerHandler<I, O, E, L> {
    /// A handler over `simple`'s streams; `log_request` gets the outcome of each run.
    pub fn new(mut simple: Simple<I, O, E>, log_request: L) -> Self {
        let attributes = simple.attributes;
        let server_software = attributes.server_software.or(Some(SERVER_SOFTWARE));
        simple.attributes = Attributes { server_software, ..attributes };
        Self { simple, log_request }
    }

    /// The handler beneath.
    pub fn into_inner(self) -> Simple<I, O, E> {
        self.simple
    }
}

impl<I: BufRead, O: Write, E: Write, L: Fn(&Outcome)> SimpleHandler for ServerHandler<I, O, E, L> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        self.simple.streams(with);
    }

    fn base_env(&self) -> &Vars {
        self.simple.base_env()
    }

    fn preset(&self) -> Attributes<'static> {
        self.simple.attributes
    }
}

impl<I: BufRead, O: Write, E: Write, L: Fn(&Outcome)> BaseHandler for ServerHandler<I, O, E, L> {
    fn close(&self, outcome: &Outcome) {
        (self.log_request)(outcome);
    }
}

impl<I, O, E, L> fmt::Debug for ServerHandler<I, O, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandler").field("simple", &self.simple).finish_non_exhaustive()
    }
}
