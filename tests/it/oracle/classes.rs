//! The cases about the handler classes themselves, and the demonstration application.

use std::io;

use gatewright::app::{AppResult, BoxError, Respond, Responder};
use gatewright::apps::demo_app;
use gatewright::environ::{Environ, Errors, Input, Vars, Wsgi};
use gatewright::handlers::iis::repair_path_info;
use gatewright::handlers::{
    Attributes, BaseCgi, BaseCgiHandler, BaseHandler, Cgi, CgiHandler, Head, IisCgi, IisCgiHandler,
    OsEnviron, Outcome, SERVER_SOFTWARE, ServerHandler, Simple, SimpleHandler,
};
use gatewright::headers::Headers;
use serde_json::{Map, Value, json};

use super::convert::{given, hex, pairs, process_env, text, version};
use super::fixture::Case;
use super::run::{Checked, equal, fail, same};

/// A class's attributes: those of a rung. What a constructor sets is part of a rung's preset here, while in Python it
/// stands in the instance and hides the class's.
pub(crate) fn attributes(case: &Case) -> Checked {
    let memory = || Simple::new(io::empty(), io::sink(), io::sink(), Vars::new());
    let simple = <Beneath<Simple<io::Empty, io::Sink, io::Sink>>>::SIMPLE;
    let (ours, bases, set) = match case.get("class").as_str() {
        Some("BaseHandler") => (Attributes::BASE, &[][..], json!({})),
        Some("SimpleHandler") => (Attributes::SIMPLE, &["BaseHandler"][..], json!({})),
        Some("BaseCGIHandler") => {
            (Attributes::BASE_CGI, <Beneath<BaseCgi<io::Empty, io::Sink, io::Sink>>>::BASE_CGI, json!({}))
        }
        Some("CGIHandler") => {
            let cgi = Cgi::with_environ(Vars::new());
            (CgiHandler::preset(&cgi), Beneath::<Cgi>::CGI, json!({"wsgi_multithread": false}))
        }
        Some("IISCGIHandler") => {
            let cgi = IisCgi::with_environ(Vars::new());
            (IisCgiHandler::preset(&cgi), Beneath::<IisCgi>::CGI, json!({"wsgi_multithread": false}))
        }
        Some("ServerHandler") => {
            let server = ServerHandler::new(memory(), |_: &Outcome| ());
            (SimpleHandler::preset(&server), simple, json!({"wsgi_multiprocess": false}))
        }
        other => return fail(format!("no handler is a {other:?}")),
    };
    let mut recorded = case.expect().clone();
    for (name, value) in set.as_object().into_iter().flatten() {
        recorded[name] = value.clone();
    }
    same("the bases", json!(bases), case.get("bases"))?;
    same("the attributes", shown(&ours), &recorded)
}

/// The rungs above a type: the compiler checks that it stands beneath each of them.
struct Beneath<T>(std::marker::PhantomData<T>);

impl<T: SimpleHandler + BaseHandler> Beneath<T> {
    const SIMPLE: &'static [&'static str] = &["SimpleHandler", "BaseHandler"];
}

impl<T: BaseCgiHandler + SimpleHandler + BaseHandler> Beneath<T> {
    const BASE_CGI: &'static [&'static str] = Self::SIMPLE;
    const CGI: &'static [&'static str] = &["BaseCGIHandler", "SimpleHandler", "BaseHandler"];
}

/// Attributes as they are recorded, with the state of a run that has not begun.
fn shown(ours: &Attributes<'_>) -> Value {
    let head = Head::default();
    let os_environ = match ours.os_environ {
        OsEnviron::Process => json!("copy of the process environment at import"),
        OsEnviron::Empty => json!({}),
        OsEnviron::Given(vars) => json!(format!("{vars:?}")),
    };
    json!({
        "wsgi_version": version(),
        "wsgi_multithread": ours.wsgi_multithread,
        "wsgi_multiprocess": ours.wsgi_multiprocess,
        "wsgi_run_once": ours.wsgi_run_once,
        "origin_server": ours.origin_server,
        "http_version": ours.http_version,
        "server_software": ours.server_software.map(|own| own.replace(SERVER_SOFTWARE, "WSGIServer CPython/PYVER")),
        "wsgi_file_wrapper": ours.wsgi_file_wrapper.then_some("FileWrapper"),
        // A type of the interface, which nobody can replace.
        "headers_class": "Headers",
        "traceback_limit": ours.traceback_limit,
        "error_status": ours.error_status,
        "error_headers": ours.error_headers,
        "error_body": {"bytes_hex": hex(ours.error_body)},
        "status": head.is_started().then(|| text(Some(head.status()))),
        // An application gives its result away itself; no handler keeps one.
        "result": null,
        "headers_sent": head.is_sent(),
        "headers": head.is_started().then(|| head.headers().len()),
        "bytes_sent": head.bytes_sent(),
        "os_environ": os_environ,
    })
}

/// The rule by itself, and in the environ of the handler that applies it.
pub(crate) fn iis_path_info(case: &Case) -> Checked {
    let vars = process_env(case.get("process_env"))?;
    let mut repaired = vars.clone();
    repair_path_info(&mut repaired);
    same("what the rule leaves", paths(&repaired), case.expect())?;
    let mut errors = io::sink();
    let mut environ = Environ::new(Vars::new(), Input::Empty, Errors::new(&mut errors));
    IisCgi::with_environ(vars).setup_environ(&mut environ);
    same("the environ", paths(&environ.vars), case.expect())
}

fn paths(vars: &Vars) -> Value {
    let names = ["PATH_INFO", "SCRIPT_NAME", "PATH_TRANSLATED"];
    let paths: Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), text(vars.get(name)))).collect();
    Value::Object(paths)
}

/// The recorded environs have no `wsgi.*` values, and here a request always has them: their lines are left out.
pub(crate) fn demo(case: &Case) -> Checked {
    let given = given(case.get("environ"))?;
    let mut response = Response::default();
    if let Err(error) = given.run(|environ| demo_app(environ, Responder::new(&mut response))) {
        return fail(error.to_string());
    }
    let recorded = case.expect();
    same("the status", text(Some(&response.status)), &recorded["status"])?;
    equal("the headers", response.headers, pairs(&recorded["headers"])?)?;
    same("the number of chunks", response.chunks.len(), &recorded["chunks"])?;
    let body = String::from_utf8(response.chunks.concat());
    let Ok(body) = body else { return fail("the body is no UTF-8") };
    let (own, lines): (Vec<&str>, Vec<&str>) =
        body.split_inclusive('\n').partition(|line| line.starts_with("wsgi."));
    equal("the wsgi lines", own.len(), 5)?;
    equal("the version's line", own.last().copied(), Some("wsgi.version = (1, 0)\n"))?;
    equal("what the version is", Wsgi::VERSION, (1, 0))?;
    same("the body", lines.concat(), &recorded["body_utf8"])
}

/// What an application answered.
#[derive(Default)]
struct Response {
    status: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    chunks: Vec<Vec<u8>>,
}

impl Respond for Response {
    fn start(&mut self, status: &[u8], headers: Headers, _cause: Option<BoxError>) -> AppResult {
        self.status = status.to_vec();
        self.headers = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.chunks.push(data.to_vec());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
