//! One type on each rung that overrides everything there is. Each override does what it replaces, but for the one that a
//! test asks for.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewright::app::{AppResult, Application, BoxError, Respond, Responder};
use gatewright::environ::{Environ, Scheme, Vars};
use gatewright::handlers::{
    Attributes, BaseCgiHandler, BaseHandler, CgiHandler, Head, IisCgiHandler, Outcome, Output, Scratch,
    SimpleHandler, Streams, Supply, base, plain_streams,
};
use gatewright::headers::Headers;
use gatewright::util::FileSource;

/// A change of attributes.
pub(super) type Change = fn(Attributes<'static>) -> Attributes<'static>;

/// What the types of all rungs hold.
pub(super) struct Memory {
    /// The one override that does something of its own.
    pub(super) active: Option<&'static str>,
    /// What the attributes are changed by, one after the other.
    pub(super) changes: [Change; 2],
    pub(super) vars: Vars,
    pub(super) output: RefCell<Vec<u8>>,
    pub(super) errors: RefCell<Vec<u8>>,
    pub(super) other_output: RefCell<Vec<u8>>,
    pub(super) closed: Cell<bool>,
    scratch: RefCell<Scratch>,
    other_vars: Vars,
}

/// More than is read ahead into memory.
static INPUT: [u8; 300_000] = [b'x'; 300_000];

impl Memory {
    pub(super) fn new(active: Option<&'static str>, changes: [Change; 2], vars: Vars) -> Self {
        let other_vars = Vars::from([("SUPPLIED_BY", "the override")]);
        let (output, errors, other_output) = Default::default();
        let (closed, scratch) = Default::default();
        Self { active, changes, vars, output, errors, other_output, closed, scratch, other_vars }
    }

    fn is_active(&self, name: &str) -> bool {
        self.active == Some(name)
    }

    fn streams(&self, name: &str, with: &mut dyn FnMut(Streams<'_>)) {
        let output = if self.is_active(name) { &self.other_output } else { &self.output };
        let (errors, scratch) = (&mut *self.errors.borrow_mut(), &mut *self.scratch.borrow_mut());
        plain_streams(&mut &INPUT[..], &mut *output.borrow_mut(), errors, scratch, with);
    }

    fn base_env(&self, name: &str) -> &Vars {
        if self.is_active(name) { &self.other_vars } else { &self.vars }
    }

    fn preset(&self, own: Attributes<'static>) -> Attributes<'static> {
        if self.is_active("preset") { Attributes { error_status: "507 Preset", ..own } } else { own }
    }
}

/// Whoever overrides a method on `self.0` with the memory above.
macro_rules! overrides {
    ($name:ident) => {
        impl BaseHandler for $name {
            fn run(&self, app: &dyn Application) -> Outcome {
                if self.0.is_active("run") { base::run(self, &no_content) } else { base::run(self, app) }
            }

            fn attributes(&self) -> Attributes<'_> {
                self.0.changes.iter().fold(Supply::preset(self), |attributes, change| change(attributes))
            }

            fn now(&self) -> SystemTime {
                let seconds = if self.0.is_active("now") { 0 } else { 1_700_000_000 };
                UNIX_EPOCH + Duration::from_secs(seconds)
            }

            fn setup_environ(&self, environ: &mut Environ<'_>) {
                base::setup_environ(self, environ);
                if self.0.is_active("setup_environ") {
                    environ.vars.set("SET_UP_BY", "the override");
                }
            }

            fn get_scheme(&self, environ: &Environ<'_>) -> Scheme {
                if self.0.is_active("get_scheme") {
                    Scheme::new("gopher")
                } else {
                    base::get_scheme(self, environ)
                }
            }

            fn start_response(
                &self,
                head: &mut Head,
                status: &[u8],
                mut headers: Headers,
                cause: Option<BoxError>,
            ) -> AppResult {
                if self.0.is_active("start_response") {
                    headers.set("X-Started-By", "the override")?;
                }
                base::start_response(self, head, status, headers, cause)
            }

            fn write(&self, out: &mut dyn Output, head: &mut Head, data: &[u8]) -> io::Result<()> {
                let loud = if self.0.is_active("write") { data.to_ascii_uppercase() } else { data.to_vec() };
                base::write(self, out, head, &loud)
            }

            fn sendfile(
                &self,
                out: &mut dyn Output,
                head: &mut Head,
                file: &mut dyn FileSource,
            ) -> io::Result<bool> {
                if !self.0.is_active("sendfile") {
                    return base::sendfile(self, out, head, file);
                }
                self.send_headers(out, head)?;
                out.write_all(b"sent by the system")?;
                Ok(true)
            }

            fn send_headers(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
                if !self.0.is_active("send_headers") {
                    return base::send_headers(self, out, head);
                }
                head.mark_sent();
                out.write_all(b"a head of its own\r\n\r\n")
            }

            fn cleanup_headers(&self, head: &mut Head) {
                base::cleanup_headers(self, head);
                if self.0.is_active("cleanup_headers") {
                    head.headers_mut().set("X-Cleaned-By", "the override").expect("a good header");
                }
            }

            fn set_content_length(&self, head: &mut Head) {
                if !self.0.is_active("set_content_length") {
                    base::set_content_length(self, head);
                }
            }

            fn client_is_modern(&self, head: &Head) -> io::Result<bool> {
                if self.0.is_active("client_is_modern") {
                    Ok(false)
                } else {
                    base::client_is_modern(self, head)
                }
            }

            fn send_preamble(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
                if !self.0.is_active("send_preamble") {
                    return base::send_preamble(self, out, head);
                }
                out.write_all(b"a preamble of its own\r\n")
            }

            fn finish_content(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
                if !self.0.is_active("finish_content") {
                    return base::finish_content(self, out, head);
                }
                self.write(out, head, b"the end")
            }

            fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
                if !self.0.is_active("log_exception") {
                    return base::log_exception(self, environ, error);
                }
                environ.errors.write_all(b"logged by the override").expect("memory takes everything");
            }

            fn error_output(
                &self,
                environ: &mut Environ<'_>,
                error: &BoxError,
                respond: Responder<'_>,
            ) -> AppResult {
                if !self.0.is_active("error_output") {
                    return base::error_output(self, environ, error, respond);
                }
                let respond: &mut dyn Respond = respond.into_inner();
                respond.start(b"503 Overridden", Headers::new(), Some("an error".into()))?;
                Ok(respond.send(b"a page of its own")?)
            }

            fn close(&self, outcome: &Outcome) {
                self.0.closed.set(self.0.is_active("close") && outcome.status.is_some());
            }
        }
    };
}

fn no_content(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("204 Run By The Override", Headers::new()).map(drop)
}

pub(super) struct OnBase(pub(super) Memory);

impl Supply for OnBase {
    fn lend(&self, with: &mut dyn FnMut(Streams<'_>)) {
        self.0.streams("lend", with);
    }

    fn add_cgi_vars(&self, vars: &mut Vars) {
        vars.update(self.0.base_env("add_cgi_vars"));
    }

    fn preset(&self) -> Attributes<'static> {
        self.0.preset(Attributes::BASE)
    }
}

overrides!(OnBase);

/// A rung where streams, variables and attributes are supplied by methods of the same names.
macro_rules! rung {
    ($name:ident on $rung:ident with $attributes:ident) => {
        pub(super) struct $name(pub(super) Memory);

        impl $rung for $name {
            fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
                self.0.streams("streams", with);
            }

            fn base_env(&self) -> &Vars {
                self.0.base_env("base_env")
            }

            fn preset(&self) -> Attributes<'static> {
                self.0.preset(Attributes::$attributes)
            }
        }

        overrides!($name);
    };
}

rung!(OnSimple on SimpleHandler with SIMPLE);
rung!(OnBaseCgi on BaseCgiHandler with BASE_CGI);
rung!(OnCgi on CgiHandler with CGI);
rung!(OnIisCgi on IisCgiHandler with IIS_CGI);
