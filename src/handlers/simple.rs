//! `SimpleHandler` and `BaseCGIHandler`: handlers over given streams.

use std::cell::RefCell;
use std::fmt;
use std::io::{BufRead, Write};

use super::attributes::Attributes;
use super::base::{BaseHandler, Supply};
use super::streams::{Scratch, Streams, plain_streams};
use crate::environ::Vars;

/// The second rung: streams and variables that the handler holds.
///
/// ```
/// use std::cell::RefCell;
/// use gatewright::app::{Responder, app};
/// use gatewright::environ::Vars;
/// use gatewright::handlers::{BaseHandler, Scratch, SimpleHandler, Streams, plain_streams};
///
/// /// A handler over memory, with a Server header of its own.
/// struct Memory { vars: Vars, output: RefCell<Vec<u8>>, scratch: RefCell<Scratch> }
///
/// impl SimpleHandler for Memory {
///     fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
///         let (output, scratch) = (&mut *self.output.borrow_mut(), &mut *self.scratch.borrow_mut());
///         plain_streams(&mut &b""[..], output, &mut std::io::stderr(), scratch, with);
///     }
///     fn base_env(&self) -> &Vars {
///         &self.vars
///     }
/// }
/// impl BaseHandler for Memory {}
///
/// let vars = Vars::from([("REQUEST_METHOD", "GET"), ("SERVER_PROTOCOL", "HTTP/1.0")]);
/// let memory = Memory { vars, output: Default::default(), scratch: Default::default() };
/// memory.run(&app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello")));
/// assert!(memory.output.borrow().starts_with(b"HTTP/1.0 200 OK\r\nDate: "));
/// ```
pub trait SimpleHandler {
    /// Lends the streams of one request: calls `with` once. [`plain_streams`] does for ordinary ones.
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>));

    /// The request's variables: wsgiref's `base_env`.
    fn base_env(&self) -> &Vars;

    /// The attributes to start from.
    fn preset(&self) -> Attributes<'static> {
        Attributes::SIMPLE
    }
}

impl<T: SimpleHandler + ?Sized> Supply for T {
    fn lend(&self, with: &mut dyn FnMut(Streams<'_>)) {
        self.streams(with);
    }

    fn add_cgi_vars(&self, vars: &mut Vars) {
        vars.update(self.base_env());
    }

    fn preset(&self) -> Attributes<'static> {
        SimpleHandler::preset(self)
    }
}

/// The third rung: CGI-style output, `Status:` first. For gateways behind a web server.
pub trait BaseCgiHandler {
    /// Lends the streams of one request: calls `with` once.
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>));

    /// The request's variables.
    fn base_env(&self) -> &Vars;

    /// The attributes to start from.
    fn preset(&self) -> Attributes<'static> {
        Attributes::BASE_CGI
    }
}

impl<T: BaseCgiHandler + ?Sized> SimpleHandler for T {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        BaseCgiHandler::streams(self, with);
    }

    fn base_env(&self) -> &Vars {
        BaseCgiHandler::base_env(self)
    }

    fn preset(&self) -> Attributes<'static> {
        BaseCgiHandler::preset(self)
    }
}

/// Streams, variables and attributes of one ready handler.
struct Held<I, O, E> {
    stdin: RefCell<I>,
    stdout: RefCell<O>,
    stderr: RefCell<E>,
    base_env: Vars,
    scratch: RefCell<Scratch>,
}

impl<I: BufRead, O: Write, E: Write> Held<I, O, E> {
    fn new(stdin: I, stdout: O, stderr: E, base_env: Vars) -> Self {
        let scratch = RefCell::default();
        Self { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), base_env, scratch }
    }

    fn lend(&self, with: &mut dyn FnMut(Streams<'_>)) {
        plain_streams(
            &mut *self.stdin.borrow_mut(),
            &mut *self.stdout.borrow_mut(),
            &mut *self.stderr.borrow_mut(),
            &mut self.scratch.borrow_mut(),
            with,
        );
    }

    fn into_streams(self) -> (I, O, E) {
        (self.stdin.into_inner(), self.stdout.into_inner(), self.stderr.into_inner())
    }
}

/// A ready handler over given streams: all that differs is the rung it stands on.
macro_rules! ready {
    ($(#[$documentation:meta])* $name:ident on $rung:ident, $preset:expr) => {
        $(#[$documentation])*
        pub struct $name<I, O, E> {
            held: Held<I, O, E>,
            /// The handler's attributes, to change before it runs.
            pub attributes: Attributes<'static>,
        }

        impl<I: BufRead, O: Write, E: Write> $name<I, O, E> {
            /// A handler with wsgiref's defaults: `multithread` true, `multiprocess` false.
            pub fn new(stdin: I, stdout: O, stderr: E, environ: Vars) -> Self {
                let attributes = Attributes { wsgi_multiprocess: false, ..$preset };
                Self { held: Held::new(stdin, stdout, stderr, environ), attributes }
            }

            /// The streams, in the order they were given.
            pub fn into_streams(self) -> (I, O, E) {
                self.held.into_streams()
            }
        }

        impl<I: BufRead, O: Write, E: Write> $rung for $name<I, O, E> {
            fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
                self.held.lend(with);
            }

            fn base_env(&self) -> &Vars {
                &self.held.base_env
            }

            fn preset(&self) -> Attributes<'static> {
                self.attributes
            }
        }

        impl<I: BufRead, O: Write, E: Write> BaseHandler for $name<I, O, E> {}

        impl<I, O, E> fmt::Debug for $name<I, O, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("attributes", &self.attributes).finish_non_exhaustive()
            }
        }
    };
}

ready! {
    /// `SimpleHandler(stdin, stdout, stderr, environ)`: an origin server's handler over any streams.
    ///
    /// ```
    /// use gatewright::{app::app, environ::Vars, handlers::{Attributes, BaseHandler, Simple}};
    ///
    /// let vars = Vars::from([("SERVER_PROTOCOL", "HTTP/1.1")]);
    /// let mut handler = Simple::new(&b""[..], Vec::new(), std::io::stderr(), vars);
    /// handler.attributes = Attributes { http_version: "1.1", ..handler.attributes };
    /// handler.run(&app(|_, respond| respond.start("200 OK", [("Date", "never")])?.send("Hi")));
    /// let (_, output, _) = handler.into_streams();
    /// assert_eq!(output, b"HTTP/1.1 200 OK\r\nDate: never\r\nContent-Length: 2\r\n\r\nHi");
    /// ```
    Simple on SimpleHandler, Attributes::SIMPLE
}

ready! {
    /// `BaseCGIHandler(stdin, stdout, stderr, environ)`: a gateway's handler over any streams.
    ///
    /// ```
    /// use gatewright::{app::app, environ::Vars, handlers::{BaseCgi, BaseHandler}};
    ///
    /// let handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), Vars::new());
    /// handler.run(&app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hi")));
    /// let (_, output, _) = handler.into_streams();
    /// assert_eq!(output, b"Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nHi");
    /// ```
    BaseCgi on BaseCgiHandler, Attributes::BASE_CGI
}
