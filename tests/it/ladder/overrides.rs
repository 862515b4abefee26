//! Every overridable item, overridden on a type of every rung, is what `run` uses.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{Cursor, Read, Write};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use gatewright::app::{AppResult, Application, BoxError, Responder};
use gatewright::environ::{Environ, Vars, Wsgi};
use gatewright::handlers::{Attributes, BaseHandler, Observer, OsEnviron, Outcome, Policy};
use gatewright::headers::Headers;
use gatewright::spool::Store;

use super::rungs::{Change, Memory, OnBase, OnBaseCgi, OnCgi, OnIisCgi, OnSimple};

/// How it shows that an override was used.
#[derive(Clone, Copy)]
enum Proof {
    /// This holds with the override, and not without.
    Holds(fn(&Seen) -> bool),
    /// This is something else than without.
    Differs(fn(&Seen) -> String),
}

/// An overridable item, and the run that shows it.
#[derive(Clone, Copy)]
struct Probe {
    item: &'static str,
    app: fn(&mut Environ<'_>, Responder<'_>) -> AppResult,
    /// The attributes that the run has with and without the override.
    given: Change,
    /// What the override changes, where the item is an attribute.
    change: Change,
    proof: Proof,
}

/// What can be seen of a run.
struct Seen {
    output: String,
    errors: String,
    other_output: Vec<u8>,
    closed: bool,
    observed: Option<u16>,
    environ: Option<(Vars, Wsgi)>,
}

impl Seen {
    fn var(&self, name: &str) -> Option<&[u8]> {
        self.environ.as_ref().and_then(|(vars, _)| vars.get(name))
    }

    fn wsgi(&self) -> Wsgi {
        self.environ.as_ref().map(|(_, wsgi)| wsgi.clone()).unwrap_or_default()
    }
}

thread_local! {
    /// The status that the observer was told in this thread's last run.
    static OBSERVED: Cell<Option<u16>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Notes;

impl Observer for Notes {
    fn finished(&self, request: &Environ<'_>, outcome: &Outcome, _took: Duration) {
        assert_eq!(request.method(), b"GET");
        OBSERVED.set(outcome.status);
    }
}

const SAME: Change = |attributes| attributes;
const ORIGIN: Change = |attributes| Attributes { origin_server: true, ..attributes };

fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", [("Content-Type", "text/plain")])?.send("hello")
}

fn empty(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", Headers::new()).map(drop)
}

fn file(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let kind = if environ.wsgi.file_wrapper { "taken" } else { "not taken" };
    respond.start("200 OK", [("X-Files", kind)])?.send_file(Cursor::new("the file"))
}

fn fails(_: &mut Environ<'_>, _: Responder<'_>) -> AppResult {
    #[derive(Debug)]
    struct Failure(BoxError);
    impl std::fmt::Display for Failure {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("it failed")
        }
    }
    impl std::error::Error for Failure {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&*self.0)
        }
    }
    Err(Failure("the cause".into()).into())
}

fn short(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", [("Content-Length", "9")])?.send("short")
}

/// Writes, waits for input, and fails.
fn fails_late(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", Headers::new())?.write_all(b"written before the input was read")?;
    environ.input.read_to_end(&mut Vec::new())?;
    Err("too late, or not".into())
}

fn reads_late(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", Headers::new())?.flush()?;
    environ.input.read_to_end(&mut Vec::new())?;
    Ok(())
}

static NOWHERE: LazyLock<Store> = LazyLock::new(|| Store::new(Some("/nowhere".into()), 0));

const fn method(
    item: &'static str,
    app: fn(&mut Environ<'_>, Responder<'_>) -> AppResult,
    given: Change,
    holds: fn(&Seen) -> bool,
) -> Probe {
    Probe { item, app, given, change: SAME, proof: Proof::Holds(holds) }
}

const METHODS: &[Probe] = &[
    method("run", hello, SAME, |seen| seen.output.contains("204 Run By The Override")),
    method("now", hello, ORIGIN, |seen| seen.output.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT")),
    method("setup_environ", hello, SAME, |seen| seen.var("SET_UP_BY").is_some()),
    method("get_scheme", hello, SAME, |seen| {
        seen.wsgi().url_scheme.is_some_and(|scheme| scheme.as_str() == "gopher")
    }),
    method("start_response", hello, SAME, |seen| seen.output.contains("X-Started-By: the override\r\n")),
    method("write", hello, SAME, |seen| seen.output.ends_with("HELLO")),
    method("sendfile", file, SAME, |seen| seen.output.ends_with("\r\n\r\nsent by the system")),
    method("send_headers", hello, SAME, |seen| seen.output == "a head of its own\r\n\r\nhello"),
    method("cleanup_headers", hello, SAME, |seen| seen.output.contains("X-Cleaned-By: the override\r\n")),
    method("set_content_length", hello, SAME, |seen| !seen.output.contains("Content-Length")),
    method("client_is_modern", hello, ORIGIN, |seen| seen.output == "hello"),
    method("send_preamble", hello, SAME, |seen| {
        seen.output.starts_with("a preamble of its own\r\nContent-Type")
    }),
    method("finish_content", empty, SAME, |seen| seen.output.ends_with("\r\n\r\nthe end")),
    method("log_exception", fails, SAME, |seen| seen.errors == "logged by the override"),
    method("error_output", fails, SAME, |seen| seen.output.ends_with("\r\n\r\na page of its own")),
    method("close", hello, SAME, |seen| seen.closed),
];

/// What a rung asks of its types. The first has other names for the same.
const SUPPLIED: &[Probe] = &[
    method("streams", hello, SAME, |seen| seen.output.is_empty() && seen.other_output.ends_with(b"hello")),
    method("base_env", hello, SAME, |seen| seen.var("SUPPLIED_BY").is_some()),
    method("preset", fails, SAME, |seen| seen.output.contains("507 Preset")),
];

const fn attribute(
    item: &'static str,
    app: fn(&mut Environ<'_>, Responder<'_>) -> AppResult,
    given: Change,
    change: Change,
    proof: Proof,
) -> Probe {
    Probe { item, app, given, change, proof }
}

static BENEATH: LazyLock<Vars> = LazyLock::new(|| Vars::from([("BENEATH", "yes")]));

/// A probe of a flag, which is turned over.
macro_rules! flag {
    ($flag:ident, $app:ident, $show:expr) => {
        attribute(
            stringify!($flag),
            $app,
            SAME,
            |attributes| Attributes { $flag: !attributes.$flag, ..attributes },
            Proof::Differs($show),
        )
    };
}

/// A probe of an attribute that gets a value.
macro_rules! value {
    ($name:ident: $value:expr, $app:ident, $given:expr, $holds:expr) => {
        attribute(
            stringify!($name),
            $app,
            $given,
            |attributes| Attributes { $name: $value, ..attributes },
            Proof::Holds($holds),
        )
    };
}

const ATTRIBUTES: &[Probe] = &[
    flag!(wsgi_multithread, hello, |seen| seen.wsgi().multithread.to_string()),
    flag!(wsgi_multiprocess, hello, |seen| seen.wsgi().multiprocess.to_string()),
    flag!(wsgi_run_once, hello, |seen| seen.wsgi().run_once.to_string()),
    flag!(wsgi_file_wrapper, file, |seen| seen.output.clone()),
    flag!(full_duplex, fails_late, |seen| seen.output.clone()),
    flag!(origin_server, hello, |seen| seen.output.clone()),
    flag!(repair_iis, hello, |seen| String::from_utf8_lossy(seen.var("PATH_INFO").unwrap_or_default())
        .into()),
    value!(http_version: "1.1", hello, ORIGIN, |seen| seen.output.starts_with("HTTP/1.1 200 OK\r\n")),
    value!(server_software: Some("Own/1"), hello, ORIGIN, |seen| seen.output.contains("Server: Own/1\r\n")),
    value!(os_environ: OsEnviron::Given(&BENEATH), hello, SAME, |seen| seen.var("BENEATH").is_some()),
    value!(keep_variables: &[Cow::Borrowed("HTTP_PROXY")], hello, SAME, |seen| seen.var("HTTP_PROXY").is_some()),
    value!(traceback_limit: Some(0), fails, SAME, |seen| !seen.errors.contains("the cause")),
    value!(error_status: "599 Own", fails, SAME, |seen| seen.output.contains("599 Own\r\n")),
    value!(error_headers: &[("X-Error", "own")], fails, SAME, |seen| seen.output.contains("X-Error: own\r\n")),
    value!(error_body: b"an own page", fails, SAME, |seen| seen.output.ends_with("\r\n\r\nan own page")),
    value!(observer: Some(&Notes), fails, SAME, |seen| seen.observed == Some(500)),
    value!(spool: Some(&NOWHERE), reads_late, SAME, |seen| seen.errors.contains("--spool-dir")),
    value!(policy: Policy::Wsgiref, short, SAME, |seen| seen.output.contains("Content-Length: 9\r\n")),
];

fn run(probe: &Probe, on: fn(Memory) -> Box<dyn Rung>, overridden: bool) -> Seen {
    let vars = [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/app/x"),
        ("HTTP_PROXY", "a"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ];
    let active = overridden.then_some(probe.item);
    let change = if overridden { probe.change } else { SAME };
    let handler = on(Memory::new(active, [probe.given, change], Vars::from(vars)));
    let environ = Mutex::new(None);
    let app = |request: &mut Environ<'_>, respond: Responder<'_>| {
        *environ.lock().expect("nobody panics here") = Some((request.vars.clone(), request.wsgi.clone()));
        (probe.app)(request, respond)
    };
    OBSERVED.set(None);
    handler.handler().run(&app as &dyn Application);
    let memory = handler.memory();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("these runs are ASCII");
    Seen {
        output: text(memory.output.take()),
        errors: text(memory.errors.take()),
        other_output: memory.other_output.take(),
        closed: memory.closed.get(),
        observed: OBSERVED.get(),
        environ: environ.into_inner().expect("nobody panics here"),
    }
}

/// A type of any rung.
trait Rung {
    fn memory(&self) -> &Memory;
    fn handler(&self) -> &dyn BaseHandler;
}

/// The rungs, from the top, as tests of one function.
macro_rules! rungs {
    ($($test:ident: $rung:ident, $supplied:expr;)*) => {$(
        impl Rung for $rung {
            fn memory(&self) -> &Memory {
                &self.0
            }
            fn handler(&self) -> &dyn BaseHandler {
                self
            }
        }

        #[test]
        fn $test() {
            let supplied: [&'static str; 3] = $supplied;
            let supplied: Vec<Probe> =
                SUPPLIED.iter().zip(supplied).map(|(probe, item)| Probe { item, ..*probe }).collect();
            for probe in METHODS.iter().chain(ATTRIBUTES).chain(&supplied) {
                let [with, without] = [true, false].map(|own| run(probe, |memory| Box::new($rung(memory)), own));
                let used = match probe.proof {
                    Proof::Holds(holds) => holds(&with) && !holds(&without),
                    Proof::Differs(shown) => shown(&with) != shown(&without),
                };
                assert!(used, "{}: {:?}, without {:?}", probe.item, with.output, without.output);
            }
        }
    )*};
}

rungs! {
    on_base_handler: OnBase, ["lend", "add_cgi_vars", "preset"];
    on_simple_handler: OnSimple, ["streams", "base_env", "preset"];
    on_base_cgi_handler: OnBaseCgi, ["streams", "base_env", "preset"];
    on_cgi_handler: OnCgi, ["streams", "base_env", "preset"];
    on_iis_cgi_handler: OnIisCgi, ["streams", "base_env", "preset"];
}

/// The tables above leave nothing out: the methods as the trait's source has them, the fields as the compiler has.
#[test]
fn every_item_has_its_probe() {
    let source = include_str!("../../../src/handlers/base.rs");
    let (_, body) = source.split_once("pub trait BaseHandler: Supply {").expect("the trait");
    let (body, _) = body.split_once("\n}\n").expect("the trait's end");
    let methods = body.lines().filter_map(|line| line.strip_prefix("    fn ")?.split('(').next());
    // `attributes` is overridden in every run; its fields show it one by one.
    let probed: Vec<&str> = METHODS.iter().map(|probe| probe.item).chain(["attributes"]).collect();
    let missing: Vec<&str> = methods.filter(|method| !probed.contains(method)).collect();
    assert_eq!(missing, [""; 0]);

    macro_rules! fields {
        ($($field:ident),*) => {{
            // No `..`: a field that is missing here does not compile.
            let Attributes { $($field: _),* } = Attributes::BASE;
            [$(stringify!($field)),*]
        }};
    }
    let mut fields = fields!(
        wsgi_multithread,
        wsgi_multiprocess,
        wsgi_run_once,
        wsgi_file_wrapper,
        origin_server,
        http_version,
        server_software,
        os_environ,
        full_duplex,
        repair_iis,
        keep_variables,
        traceback_limit,
        error_status,
        error_headers,
        error_body,
        observer,
        spool,
        policy
    );
    let mut probed: Vec<&str> = ATTRIBUTES.iter().map(|probe| probe.item).collect();
    fields.sort_unstable();
    probed.sort_unstable();
    assert_eq!(probed, fields);
}
