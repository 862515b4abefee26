//! One application, every gateway: CGI over stdio, FastCGI, SCGI and HTTP over sockets, with wsgiref's handler chain
//! beneath.
//!
//! An application is a function that answers a request. It never learns which gateway it runs under:
//!
//! ```
//! use gatewright::app::{AppResult, Responder};
//! use gatewright::environ::{Environ, Vars};
//! use gatewright::handlers::{BaseCgi, BaseHandler};
//!
//! fn hello(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
//!     let greeting = format!("Hello, {}!\n", environ.path_info().escape_ascii());
//!     respond.start("200 OK", [("Content-Type", "text/plain")])?.send(greeting)
//! }
//!
//! // As a CGI program it would be `Cgi::new().run(&hello)`; here the streams are memory.
//! let handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), Vars::from([("PATH_INFO", "/world")]));
//! handler.run(&hello);
//! let (_, output, _) = handler.into_streams();
//! assert_eq!(output, b"Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nHello, /world!\n");
//! ```
//!
//! # One request
//!
//! ```text
//!  web server                                                                        your function
//!      │                                                                                   ▲
//!      │ bytes          events           variables              environ, responder         │
//!      ▼                                                                                   │
//!  ┌────────┐  ┌───────────────┐  ┌──────────────────┐  ┌──────────────────────┐  ┌────────┴───────┐
//!  │ server │─▶│     proto     │─▶│     environ      │─▶│       handlers       │─▶│      app       │
//!  │ listen │  │ fcgi, scgi:   │  │ Vars, Input,     │  │ the ladder: setup,   │  │ Application,   │
//!  │ threads│  │ no I/O        │  │ Errors, Wsgi     │  │ run, error page, log │  │ Responder, Body│
//!  └────────┘  └───────────────┘  └──────────────────┘  └──────────┬───────────┘  └────────┬───────┘
//!      ▲                                                           │   head and body        │
//!      └────────────── Output: gathers, frames, sends ◀────────────┴◀───────────────────────┘
//! ```
//!
//! Every arrow points one way: a codec knows no socket, a handler no protocol, an application no gateway.
//!
//! # Where to go
//!
//! | you want to | read |
//! |---|---|
//! | write an application or a middleware | [`app`], [`environ`], [`headers`], [`util`] |
//! | serve files, or several applications | [`apps`], [`files`] |
//! | know which requests came | [`access_log`], [`handlers::Observer`] |
//! | run it as a CGI program, under IIS too | [`handlers::Cgi`], [`handlers::IisCgi`] |
//! | serve it to nginx, Apache and others, or by HTTP | [`server`] |
//! | have one binary for all of that | `cli::run` (feature `cli`) |
//! | find what you know from wsgiref | [`wsgiref`], name by name |
//! | have what `wsgiref.simple_server` has | [`simple_server`] |
//! | know what your web server sends, and have it repaired | [`environ::front`] |
//! | know which side breaks the rules, application or server | [`validate`] |
//! | build a gateway of your own | [`handlers`], the ladder; [`proto`], the codecs |
//! | know how safe it is, and how true to wsgiref | [`handlers::Policy`], the one table of differences |

#[cfg(unix)]
pub mod access_log;
pub mod app;
pub mod apps;
#[cfg(feature = "cli")]
pub mod cli;
pub mod environ;
pub mod error;
#[cfg(unix)]
pub mod files;
pub mod handlers;
pub mod headers;
#[cfg(unix)]
mod notice;
pub mod proto;
#[cfg(unix)]
pub mod server;
pub mod simple_server;
pub mod spool;
#[cfg(unix)]
#[allow(unsafe_code)]
mod sys;
pub mod util;
pub mod validate;
pub mod wsgiref;

/// Property tests that are the same at each run, and leave no files.
#[cfg(test)]
pub(crate) fn repeatable(cases: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};

    // PROPTEST_CASES raises all counts in proportion to its own default.
    const USUAL: u32 = 256;
    let usual = Config::default();
    let cases = cases.saturating_mul((usual.cases / USUAL).max(1));
    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..usual }
}
