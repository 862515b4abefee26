//! Runs recorded applications under handlers of the recorded classes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewright::app::{AppResult, Application, BoxError, Responder, app};
use gatewright::environ::{Environ, Vars};
use gatewright::handlers::{
    Attributes, BaseCgi, BaseHandler, Cgi, CgiHandler, End, Head, IisCgi, IisCgiHandler, OsEnviron, Outcome,
    Output, Policy, SERVER_SOFTWARE, ServerHandler, Simple, Streams, Supply, base,
};
use gatewright::util::FileSource;
use gatewright::validate::{Strictness, validator};
use serde_json::{Map, Value};

use super::super::convert::{latin1, native, process_env, unhex};
use super::super::fixture::Case;
use super::super::run::{Checked, fail};
use super::errors;
use super::script::{Script, Ways};
use super::streams::{Stderr, Stdout, Wire};
use super::told::Told;
use super::warnings;

/// Everything that can be seen of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) output: Vec<u8>,
    pub(crate) calls: Vec<Value>,
    pub(crate) events: Vec<Value>,
    pub(crate) captured: Map<String, Value>,
    pub(crate) stderr: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) end: End,
    pub(crate) status: Option<u16>,
    pub(crate) body_bytes: u64,
    pub(crate) logged: bool,
    pub(crate) escaped: Option<String>,
    pub(crate) requests: Vec<Request>,
}

/// What ServerHandler reported: status, bytes of the body, and end.
pub(crate) type Request = (Option<u16>, u64, End);

/// Runs one application after the other under one handler.
pub(crate) fn drive(case: &Case, apps: &[&Value], policy: Policy, ways: Ways) -> Checked<Vec<Ran>> {
    let told = Told::default();
    let scripts: Vec<Script> = apps
        .iter()
        .map(|app| Script::read(app, case.get("wrap"), ways, told.clone()))
        .collect::<Checked<_>>()?;
    let own = Overrides::read(case, policy)?;
    let vars = match case.get("process_env") {
        Value::Null => vars(case.get("environ"))?,
        recorded => process_env(recorded)?,
    };
    let stdin = match case.get("stdin_hex") {
        Value::Null => Vec::new(),
        recorded => unhex(recorded)?,
    };
    let (stdout, wire) = Stdout::new(case.get("stdout"))?;
    let stderr = Stderr::default();
    let seen = Seen { wire, stderr: Rc::clone(&stderr.0), told, requests: Rc::default() };
    let (requests, stdin) = (Rc::clone(&seen.requests), stdin.as_slice());
    let log = move |outcome: &Outcome| {
        requests.borrow_mut().push((outcome.status, outcome.body_bytes, outcome.end));
    };
    let memory = |vars| Simple::new(stdin, stdout, stderr, vars);
    Ok(match case.get("class").as_str() {
        Some("BaseCGIHandler") => {
            let (stdin, stdout, stderr) = memory(Vars::new()).into_streams();
            seen.run(&Own { inner: BaseCgi::new(stdin, stdout, stderr, vars), own }, &scripts)
        }
        Some("SimpleHandler") => seen.run(&Own { inner: memory(vars), own }, &scripts),
        Some("ServerHandler") => {
            seen.run(&Own { inner: ServerHandler::new(memory(vars), log), own }, &scripts)
        }
        Some("CGIHandler") => {
            let inner = MemoryCgi { cgi: Cgi::with_environ(vars), memory: memory(Vars::new()) };
            seen.run(&Own { inner, own }, &scripts)
        }
        Some("IISCGIHandler") => {
            let inner = MemoryIisCgi { cgi: IisCgi::with_environ(vars), memory: memory(Vars::new()) };
            seen.run(&Own { inner, own }, &scripts)
        }
        other => return fail(format!("no handler is a {other:?}")),
    })
}

/// Variables just as they are recorded: a `wsgi.*` name among them is a variable like any.
fn vars(recorded: &Value) -> Checked<Vars> {
    let entries = recorded.as_object().into_iter().flatten();
    entries.map(|(name, value)| Ok((name.as_bytes().to_vec(), native(value)?))).collect()
}

struct Seen {
    wire: Rc<RefCell<Wire>>,
    stderr: Rc<RefCell<Vec<u8>>>,
    told: Told,
    requests: Rc<RefCell<Vec<Request>>>,
}

impl Seen {
    fn run(&self, handler: &dyn BaseHandler, scripts: &[Script]) -> Vec<Ran> {
        scripts.iter().map(|script| self.run_one(handler, script)).collect()
    }

    fn run_one(&self, handler: &dyn BaseHandler, script: &Script) -> Ran {
        let (outcome, warnings) = warnings::catching(|| {
            if !script.wrapped {
                return handler.run(script);
            }
            let script = app(|environ, respond| script.call(environ, respond));
            handler.run(&validator(script).with_strictness(Strictness::Wsgiref))
        });
        let (wire, notes) = (self.wire.take(), self.told.take());
        Ran {
            output: wire.bytes,
            calls: wire.calls,
            events: notes.events,
            captured: notes.captured,
            stderr: String::from_utf8_lossy(&self.stderr.take()).into_owned(),
            warnings,
            end: outcome.end,
            status: outcome.status,
            body_bytes: outcome.body_bytes,
            logged: outcome.logged,
            escaped: outcome.escaped.map(|error| error.to_string()),
            requests: self.requests.take(),
        }
    }
}

/// A library's handler with the overrides of a case: it supplies what the other one does, and overrides on top.
struct Own<'c, H> {
    inner: H,
    own: Overrides<'c>,
}

impl<H: BaseHandler> Supply for Own<'_, H> {
    fn lend(&self, with: &mut dyn FnMut(Streams<'_>)) {
        self.inner.lend(with);
    }

    fn add_cgi_vars(&self, vars: &mut Vars) {
        self.inner.add_cgi_vars(vars);
    }

    fn preset(&self) -> Attributes<'static> {
        self.inner.preset()
    }
}

impl<H: BaseHandler> BaseHandler for Own<'_, H> {
    fn attributes(&self) -> Attributes<'_> {
        self.own.over(self.preset())
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn sendfile(&self, out: &mut dyn Output, head: &mut Head, file: &mut dyn FileSource) -> io::Result<bool> {
        match self.own.sendfile {
            SendFile::Inherited => base::sendfile(self, out, head, file),
            SendFile::Claims => Ok(true),
            SendFile::Fails => Err(errors::io("RuntimeError", "sendfile failed")),
            SendFile::Sends => {
                self.send_headers(out, head)?;
                // The file itself, past the object that wraps it: nobody sees it being read.
                let sent = file.as_file().map_or(Ok(0), |file| io::copy(file, out))?;
                head.add_bytes_sent(sent);
                out.flush()?;
                Ok(true)
            }
        }
    }

    fn error_output(&self, environ: &mut Environ<'_>, error: &BoxError, respond: Responder<'_>) -> AppResult {
        if self.own.error_output_fails {
            return Err(errors::raised("RuntimeError", "error page failed"));
        }
        base::error_output(self, environ, error, respond)
    }

    fn close(&self, outcome: &Outcome) {
        self.inner.close(outcome);
    }
}

/// `attrs`, `os_environ` and the policy.
struct Overrides<'c> {
    policy: Policy,
    /// None where the case wants this very process's.
    os_environ: Option<Vars>,
    server_software: Option<&'c str>,
    http_version: Option<&'c str>,
    no_file_wrapper: bool,
    error_headers: Option<Vec<(&'c str, &'c str)>>,
    traceback_limit: Option<usize>,
    sendfile: SendFile,
    error_output_fails: bool,
}

enum SendFile {
    Inherited,
    Claims,
    Sends,
    Fails,
}

impl<'c> Overrides<'c> {
    fn read(case: &'c Case, policy: Policy) -> Checked<Self> {
        let attrs = case.get("attrs");
        let sendfile = match (&attrs["sendfile"], attrs["sendfile"].as_str()) {
            (Value::Null, _) => SendFile::Inherited,
            (Value::Bool(true), _) => SendFile::Claims,
            (_, Some("real")) => SendFile::Sends,
            (_, Some("raise")) => SendFile::Fails,
            (other, _) => return fail(format!("no sendfile is {other}")),
        };
        Ok(Self {
            policy,
            os_environ: match case.get("os_environ").as_str() {
                Some("process") => None,
                _ => Some(vars(case.get("os_environ"))?),
            },
            server_software: attrs["server_software"].as_str(),
            http_version: attrs["http_version"].as_str(),
            no_file_wrapper: attrs.get("wsgi_file_wrapper").is_some_and(Value::is_null),
            error_headers: attrs["error_headers"].as_array().map(|pairs| texts(pairs)).transpose()?,
            traceback_limit: attrs["traceback_limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
            sendfile,
            error_output_fails: attrs["error_output"] == "raise",
        })
    }

    fn over<'a>(&'a self, preset: Attributes<'a>) -> Attributes<'a> {
        Attributes {
            policy: self.policy,
            // Where the process shines through, a case says what its environment held; otherwise nothing that counts.
            os_environ: match (preset.os_environ, &self.os_environ) {
                (OsEnviron::Process, Some(given)) => OsEnviron::Given(given),
                (other, _) => other,
            },
            server_software: self.server_software.or(preset.server_software),
            http_version: self.http_version.unwrap_or(preset.http_version),
            wsgi_file_wrapper: preset.wsgi_file_wrapper && !self.no_file_wrapper,
            traceback_limit: self.traceback_limit.or(preset.traceback_limit),
            error_headers: self.error_headers.as_deref().unwrap_or(preset.error_headers),
            ..preset
        }
    }
}

fn texts(pairs: &[Value]) -> Checked<Vec<(&str, &str)>> {
    fn text(pair: &Value) -> Checked<(&str, &str)> {
        match (pair[0].as_str(), pair[1].as_str()) {
            (Some(name), Some(value)) => Ok((name, value)),
            _ => fail(format!("{pair} is no header")),
        }
    }
    pairs.iter().map(text).collect()
}

type Memory<'i> = Simple<&'i [u8], Stdout, Stderr>;

/// A CGI handler whose streams are in memory.
macro_rules! memory_cgi {
    ($name:ident, $rung:ident, $cgi:ty) => {
        struct $name<'i> {
            cgi: $cgi,
            memory: Memory<'i>,
        }

        impl $rung for $name<'_> {
            fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
                self.memory.lend(with);
            }

            fn base_env(&self) -> &Vars {
                $rung::base_env(&self.cgi)
            }

            fn preset(&self) -> Attributes<'static> {
                $rung::preset(&self.cgi)
            }
        }

        impl BaseHandler for $name<'_> {}
    };
}

memory_cgi!(MemoryCgi, CgiHandler, Cgi);
memory_cgi!(MemoryIisCgi, IisCgiHandler, IisCgi);

/// Bytes as they would be if the newest wsgiref had sent them: it names itself in place of this library.
pub(crate) fn as_recorded(bytes: &[u8]) -> Vec<u8> {
    latin1(bytes)
        .replace(SERVER_SOFTWARE, "WSGIServer CPython/PYVER")
        .chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}
