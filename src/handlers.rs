//! The handler ladder: wsgiref's five classes as traits with default methods.
//!
//! # The rungs
//!
//! wsgiref's classes exist for different reasons, and each has its Rust form:
//!
//! | wsgiref | what it adds | trait | ready to use |
//! |---|---|---|---|
//! | BaseHandler | the algorithm | [`BaseHandler`] (over [`Supply`]) | |
//! | SimpleHandler | streams and variables | [`SimpleHandler`] | [`Simple`] |
//! | BaseCGIHandler | `Status:` instead of a status line | [`BaseCgiHandler`] | [`BaseCgi`] |
//! | CGIHandler | the process's own streams and environment | [`CgiHandler`] | [`Cgi`] |
//! | IISCGIHandler | a repaired PATH_INFO | [`IisCgiHandler`] | [`IisCgi`] |
//! | simple_server.ServerHandler | an access log | a struct on SimpleHandler | [`ServerHandler`] |
//!
//! ```text
//! IisCgiHandler ─▶ CgiHandler ─▶ BaseCgiHandler ─▶ SimpleHandler ─▶ Supply ◀─ BaseHandler
//!  preset IIS_CGI   preset CGI    preset BASE_CGI    preset SIMPLE     what a     everything that
//!                   process I/O                      streams, vars     run needs  can be overridden
//! ```
//!
//! Each lower rung *supplies*: streams, variables, a preset of [`Attributes`]. An arrow is a blanket implementation: a
//! type on any rung stands on all rungs above. What can be *overridden* stands once, in [`BaseHandler`], whose methods a
//! type of any rung may replace; `impl BaseHandler for Mine {}` takes them all as they are. (A trait's default method
//! cannot be overridden by a trait below it: [`run`](BaseHandler::run) would go on calling its own.)
//!
//! # A run
//!
//! ```text
//! run ─▶ lend streams ─▶ setup_environ ─▶ application ──▶ start_response   checks, stores
//!                         os_environ          │      └──▶ write            first: send_headers
//!                         add_cgi_vars        │                              cleanup_headers ─▶ set_content_length
//!                         get_scheme          │                              send_preamble, headers
//!                                             ▼                            then: the data
//!                                       finish_content    an empty body's head
//!                                             ▼
//!                                    error? log_exception ─▶ nothing has left? error_output
//!                                             ▼
//!                                    Output::finish ─▶ close(outcome)
//! ```
//!
//! # Overriding
//!
//! ```
//! use gatewright::app::{BoxError, app};
//! use gatewright::environ::{Environ, Vars};
//! use gatewright::handlers::{
//!     Attributes, BaseCgiHandler, BaseHandler, Scratch, Streams, base, plain_streams,
//! };
//!
//! /// A gateway with an error page of its own, and a prefix before each logged error.
//! struct Mine { vars: Vars, output: std::cell::RefCell<Vec<u8>> }
//!
//! impl BaseCgiHandler for Mine {
//!     fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
//!         let output = &mut *self.output.borrow_mut();
//!         plain_streams(&mut &b""[..], output, &mut std::io::sink(), &mut Scratch::new(), with);
//!     }
//!     fn base_env(&self) -> &Vars {
//!         &self.vars
//!     }
//! }
//!
//! impl BaseHandler for Mine {
//!     fn attributes(&self) -> Attributes<'_> {
//!         Attributes { error_status: "503 Oops", error_body: b"Later, please.\n", ..Attributes::BASE_CGI }
//!     }
//!     fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
//!         use std::io::Write;
//!         let _ = write!(environ.errors, "mine: ");
//!         base::log_exception(self, environ, error);
//!     }
//! }
//!
//! let mine = Mine { vars: Vars::new(), output: Default::default() };
//! mine.run(&app(|_, _| Err("the database is gone".into())));
//! assert!(mine.output.borrow().starts_with(b"Status: 503 Oops\r\n"));
//! ```
//!
//! # Names of wsgiref
//!
//! `get_stdin`, `get_stderr`, `_write`, `_flush` are the [`Streams`] that [`Supply::lend`] lends; `result_is_file`,
//! `finish_response` and the iteration live in [`Body`](crate::app::Body), which knows by its methods what it is given;
//! `handle_error` is [`log_exception`](BaseHandler::log_exception), then [`error_output`](BaseHandler::error_output);
//! `wsgi_version` is [`Wsgi::VERSION`](crate::environ::Wsgi::VERSION), `headers_class` is
//! [`Headers`](crate::headers::Headers) always. State that wsgiref keeps in the object (`status`, `headers`,
//! `headers_sent`, `bytes_sent`) is in the [`Head`] of one run, so that a handler can be run again after any outcome.

mod attributes;
pub mod base;
mod body;
mod cgi;
mod engine;
mod head;
pub mod iis;
mod observer;
mod outcome;
mod panics;
mod policy;
mod server;
mod simple;
mod streams;

pub use attributes::{Attributes, OsEnviron};
pub use base::{BaseHandler, Supply};
#[cfg(unix)]
pub(crate) use body::nameless_file;
pub use cgi::{Cgi, CgiHandler, process_streams};
pub use head::Head;
pub use iis::{IisCgi, IisCgiHandler};
pub use observer::Observer;
pub use outcome::{End, Outcome};
pub use panics::capture_panics;
pub use policy::Policy;
pub use server::{SERVER_SOFTWARE, ServerHandler};
pub use simple::{BaseCgi, BaseCgiHandler, Simple, SimpleHandler};
pub use streams::{Flow, Output, Scratch, Streams, plain_streams};
