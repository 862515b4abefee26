//! Each rule broken once, and what only looks like breaking one.

use std::io::{self, BufRead, Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Rule, Side, Strictness, Violation, validator};
use crate::app::{AppResult, Application, BoxError, Respond, Responder, app, chunks, list};
use crate::environ::{Environ, Errors, Input, Scheme, Vars, Wsgi};
use crate::headers::Headers;
use crate::util::FileSource;

const TYPED: (&str, &str) = ("Content-Type", "text/plain");

/// A server: its environ, what it does wrong, and what it got.
struct Server {
    vars: Vars,
    wsgi: Wsgi,
    /// Gives back the cause of a second start.
    too_late: bool,
    takes_files: bool,
    started: usize,
    body: Vec<u8>,
}

impl Default for Server {
    fn default() -> Self {
        let vars = Vars::from([
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/"),
            ("SERVER_NAME", "localhost"),
            ("SERVER_PORT", "80"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
        ]);
        let wsgi = Wsgi { url_scheme: Some(Scheme::HTTP), input_terminated: true, ..Wsgi::default() };
        Self { vars, wsgi, too_late: false, takes_files: false, started: 0, body: Vec::new() }
    }
}

impl Respond for Server {
    fn start(&mut self, _: &[u8], _: Headers, cause: Option<BoxError>) -> AppResult {
        self.started += 1;
        cause.filter(|_| self.too_late).map_or(Ok(()), Err)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.body.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn send_file(&mut self, _: &mut dyn FileSource) -> io::Result<bool> {
        Ok(self.takes_files)
    }
}

impl Server {
    fn with(name: &str, value: &str) -> Self {
        let mut server = Self::default();
        server.vars.set(name, value);
        server
    }

    fn without(name: &str) -> Self {
        let mut server = Self::default();
        server.vars.remove(name);
        server
    }

    fn call<'r>(
        &mut self,
        app: impl Application,
        input: Input<'r>,
        log: &'r mut (dyn Write + 'r),
    ) -> AppResult {
        self.call_as(Strictness::Pep3333, app, input, log)
    }

    fn call_as<'r>(
        &mut self,
        strictness: Strictness,
        app: impl Application,
        input: Input<'r>,
        log: &'r mut (dyn Write + 'r),
    ) -> AppResult {
        let mut environ = Environ::new(self.vars.clone(), input, Errors::new(log));
        environ.wsgi = self.wsgi.clone();
        validator(app).with_strictness(strictness).call(&mut environ, Responder::new(self))
    }

    /// The rule that is broken with this application, and without a body.
    fn broken(&mut self, app: impl Application) -> Option<Rule> {
        rule(self.call(app, Input::Empty, &mut io::sink()))
    }
}

fn rule(result: AppResult) -> Option<Rule> {
    let error = result.err()?;
    Some(Violation::find(&*error).unwrap_or_else(|| panic!("{error} is no violation")).rule())
}

fn good() -> impl Application {
    app(|_, respond| respond.start("200 OK", [TYPED])?.send("x"))
}

/// What a start with this status and headers, and an empty body, breaks.
fn head(status: &'static str, headers: &'static [(&str, &str)]) -> Option<Rule> {
    Server::default().broken(app(move |_, respond| respond.start(status, headers)?.send("")))
}

/// What an application breaks that has the responder in its dynamic form.
fn freely(with: impl Fn(&mut dyn Respond) -> AppResult + Send + Sync) -> Option<Rule> {
    Server::default().broken(app(move |_, respond| with(respond.into_inner())))
}

fn start(respond: &mut dyn Respond) -> AppResult {
    respond.start(b"200 OK", Headers::from([TYPED]), None)
}

#[test]
fn an_environ_that_breaks_a_rule_never_reaches_the_application() {
    for (name, value, expected) in [
        ("REQUEST_METHOD", "", Rule::Required),
        ("SERVER_NAME", "", Rule::Required),
        ("HTTP_CONTENT_TYPE", "text/plain", Rule::DoubledHeader),
        ("HTTP_CONTENT_LENGTH", "", Rule::DoubledHeader),
        ("wsgi.input", "x", Rule::ReservedName),
        ("SERVER_PORT", "http", Rule::ServerPort),
        ("SERVER_PORT", "0", Rule::ServerPort),
        ("SERVER_PORT", "65536", Rule::ServerPort),
        ("SCRIPT_NAME", "app", Rule::ScriptName),
        ("SCRIPT_NAME", "/", Rule::RootScriptName),
        ("PATH_INFO", "*", Rule::PathInfo),
        ("CONTENT_LENGTH", "+5", Rule::ContentLength),
        ("CONTENT_LENGTH", " 5", Rule::ContentLength),
        ("CONTENT_LENGTH", "9223372036854775808", Rule::ContentLength),
    ] {
        let mut server = Server::with(name, value);
        assert_eq!(server.broken(good()), Some(expected), "{name}={value}");
        assert_eq!((expected.side(), server.started), (Side::Server, 0));
    }
    for name in ["REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"] {
        assert_eq!(Server::without(name).broken(good()), Some(Rule::Required), "{name}");
    }
    assert_eq!(Server::without("PATH_INFO").broken(good()), Some(Rule::NoPath));
    for scheme in [None, Some(Scheme::new("ftp"))] {
        let mut server = Server::default();
        server.wsgi.url_scheme = scheme;
        assert_eq!(server.broken(good()), Some(Rule::UrlScheme));
    }
}

#[test]
fn what_pep_3333_leaves_open_in_an_environ_passes() {
    for (name, value) in [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", ""),
        ("CONTENT_LENGTH", ""),
        ("REQUEST_METHOD", "PROPFIND"),
        ("wsgi.x", "an extension's"),
    ] {
        assert_eq!(Server::with(name, value).broken(good()), None, "{name}={value}");
    }
    assert_eq!(Server::without("SCRIPT_NAME").broken(good()), None);
    let mut mounted = Server::with("SCRIPT_NAME", "/app");
    mounted.vars.remove("PATH_INFO");
    assert_eq!(mounted.broken(good()), None);
    let mut authorizer = Server::without("PATH_INFO");
    authorizer.wsgi.role = crate::environ::Role::Authorizer;
    assert_eq!(authorizer.broken(good()), None);
}

#[test]
fn heads_are_checked_before_the_server_sees_them() {
    for (status, expected) in [
        ("", Rule::StatusCode),
        ("20", Rule::StatusCode),
        ("2000 OK", Rule::StatusCode),
        ("099 Low", Rule::StatusCode),
        (" 200 OK", Rule::StatusCode),
        ("200", Rule::StatusBlank),
        ("200-OK", Rule::StatusBlank),
        ("200 OK\r\nX: y", Rule::StatusControl),
        ("200\tOK", Rule::StatusControl),
    ] {
        assert_eq!(head(status, &[]), Some(expected), "{status:?}");
    }
    for (headers, expected) in [
        (&[("STATUS", "200 OK")][..], Rule::StatusHeader),
        (&[("", "x")], Rule::HeaderName),
        (&[("a b", "x")], Rule::HeaderName),
        (&[("a:", "x")], Rule::HeaderName),
        (&[("a-", "x")], Rule::HeaderNameEnd),
        (&[("a", "x\ty")], Rule::HeaderValue),
        (&[("a", "\x7f")], Rule::HeaderValue),
        (&[("connection", "close")], Rule::HopByHop),
        (&[("Trailer", "x")], Rule::HopByHop),
        (&[("Content-Length", "0"), ("content-length", "0")], Rule::LengthHeader),
        (&[("Content-Length", "")], Rule::LengthHeader),
    ] {
        assert_eq!(head("200 OK", headers), Some(expected), "{headers:?}");
    }
    assert_eq!(head("200 ", &[("3gpp-X", "é"), ("X.Y", "")]), None);
}

#[test]
fn content_needs_a_type_and_a_status_that_may_have_it() {
    assert_eq!(head("302 Found", &[("Location", "/")]), None);
    assert_eq!(head("204 No Content", &[TYPED]), None, "it is warned of only");
    let body = |status: &'static str, headers: &'static [(&str, &str)]| {
        Server::default().broken(app(move |_, respond| respond.start(status, headers)?.send("x")))
    };
    assert_eq!(body("404 Not Found", &[]), Some(Rule::ContentTypeMissing));
    for status in ["100 Continue", "204 No Content", "304 Not Modified"] {
        assert_eq!(body(status, &[TYPED]), Some(Rule::BodyForbidden), "{status}");
    }
    let mut server = Server { takes_files: true, ..Server::default() };
    server.wsgi.file_wrapper = true;
    let file = app(|_, respond| respond.start("204 No", [TYPED])?.send_file(Cursor::new("x")));
    assert_eq!(server.broken(file), Some(Rule::BodyForbidden));
}

#[test]
fn a_body_is_as_long_as_its_content_length() {
    let sized = |length: &'static str, items: &'static [&str]| {
        app(move |_, respond| {
            respond.start("200 OK", [TYPED, ("Content-Length", length)])?.send_chunks(chunks(items))
        })
    };
    assert_eq!(Server::default().broken(sized("2", &["a", "b"])), None);
    assert_eq!(Server::default().broken(sized("1", &["a", "b"])), Some(Rule::BodyTooLong));
    assert_eq!(Server::default().broken(sized("3", &["a", "b"])), Some(Rule::BodyTooShort));
    assert_eq!(Server::with("REQUEST_METHOD", "HEAD").broken(sized("3", &[])), None);
    let not_modified = app(|_, respond| respond.start("304 Same", [("Content-Length", "9")])?.send(""));
    assert_eq!(Server::default().broken(not_modified), None);
}

#[test]
fn files_are_taken_where_that_was_offered_and_their_length_is_the_servers() {
    let file = || {
        app(|_, respond| {
            let headers = [TYPED, ("Content-Length", "100")];
            respond.start("200 OK", headers)?.send_file(Cursor::new("short"))
        })
    };
    let mut server = Server { takes_files: true, ..Server::default() };
    assert_eq!(server.broken(file()), Some(Rule::FileUnoffered));
    server.wsgi.file_wrapper = true;
    assert_eq!(server.broken(file()), None);
    server.takes_files = false;
    assert_eq!(server.broken(file()), Some(Rule::BodyTooShort));
}

#[test]
fn calls_come_in_their_order() {
    assert_eq!(freely(|respond| Ok(respond.write(b"x")?)), Some(Rule::WriteBeforeStart));
    assert_eq!(freely(|respond| Ok(respond.write(b"")?)), Some(Rule::WriteBeforeStart));
    assert_eq!(freely(|_| Ok(())), Some(Rule::NeverStarted));
    assert_eq!(freely(|respond| Ok(respond.end()?)), Some(Rule::NeverStarted));
    let twice = |respond: &mut dyn Respond| start(respond).and_then(|()| start(respond));
    assert_eq!(freely(twice), Some(Rule::StartedTwice));
    let late = |respond: &mut dyn Respond| {
        start(respond)?;
        respond.end()?;
        Ok(respond.write(b"x")?)
    };
    assert_eq!(freely(late), Some(Rule::WriteAfterEnd));
    let second = |respond: &mut dyn Respond| {
        start(respond)?;
        respond.send(b"whole")?;
        Ok(respond.write(b"x")?)
    };
    assert_eq!(freely(second), Some(Rule::SecondItem));
}

#[test]
fn a_swallowed_violation_is_reported_all_the_same() {
    let swallowing = freely(|respond| {
        start(respond)?;
        let _ = start(respond);
        respond.write(b"x")?;
        Ok(())
    });
    assert_eq!(swallowing, Some(Rule::StartedTwice));
    let mut server = Server::default();
    let other = app(|_, respond| {
        let _ = respond.into_inner().write(b"x");
        Err("something else".into())
    });
    let error = server.call(other, Input::Empty, &mut io::sink()).unwrap_err();
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("something else"));
}

#[test]
fn an_error_without_a_violation_is_handed_on() {
    let mut server = Server::default();
    let failing = app(|_, _| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
    let error = server.call(failing, Input::Empty, &mut io::sink()).unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn starting_again_counts_anew_and_what_comes_back_leaves_the_application() {
    let again = || {
        app(|_, respond| {
            let mut body = respond.start("200 OK", [TYPED, ("Content-Length", "3")])?;
            body.write_all(b"ab")?;
            let _ = body.restart("500 Oops", [TYPED, ("Content-Length", "1")], "a cause");
            body.send("x")
        })
    };
    let mut server = Server::default();
    assert_eq!(server.broken(again()), None);
    assert_eq!((server.started, &*server.body), (2, &b"abx"[..]));
    server.too_late = true;
    assert_eq!(server.broken(again()), Some(Rule::CauseSwallowed));
    let returning = app(|_, respond| {
        let mut body = respond.start("200 OK", [TYPED])?;
        let _ = body.restart("500 Oops", [TYPED], "a cause");
        Ok(())
    });
    assert_eq!(server.broken(returning), Some(Rule::CauseSwallowed));
    let leaving = app(|_, respond| respond.start("200 OK", [TYPED])?.restart("500 Oops", [TYPED], "a cause"));
    let error = server.call(leaving, Input::Empty, &mut io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "a cause");
}

/// A stream that does as it is told, call by call.
struct Told(Vec<io::Result<usize>>);

impl Read for Told {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.remove(0)
    }
}

impl BufRead for Told {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.remove(0).map(|count| b"xxxxxxxxxx".get(..count).unwrap_or_default())
    }

    fn consume(&mut self, _: usize) {}
}

/// What reading breaks, with such a stream and a length.
fn reading(
    steps: impl Into<Vec<io::Result<usize>>>,
    length: &str,
    with: impl Fn(&mut Input<'_>) -> io::Result<()> + Send + Sync,
) -> Option<Rule> {
    let mut server = Server::with("CONTENT_LENGTH", length);
    let reader = app(move |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let result = with(&mut environ.input);
        respond.start("200 OK", [TYPED])?.send(format!("{result:?}"))
    });
    rule(server.call(reader, Input::Boxed(Box::new(Told(steps.into()))), &mut io::sink()))
}

fn read_all(input: &mut Input<'_>) -> io::Result<()> {
    let mut block = [0; 8];
    while input.read(&mut block)? > 0 {}
    Ok(())
}

#[test]
fn the_servers_input_keeps_its_promises() {
    let one = |input: &mut Input<'_>| input.read(&mut [0; 4]).map(drop);
    let two = |input: &mut Input<'_>| one(input).and_then(|()| one(input));
    let shown_then_read = |input: &mut Input<'_>| input.fill_buf().map(drop).and_then(|()| one(input));
    let shown_twice = |input: &mut Input<'_>| {
        input.fill_buf()?;
        input.consume(1);
        input.fill_buf().map(drop)
    };
    assert_eq!(reading([Ok(5)], "", one), Some(Rule::InputCount));
    assert_eq!(reading([Ok(0), Ok(1)], "", two), Some(Rule::InputAfterEnd));
    assert_eq!(reading([Ok(3), Ok(0)], "", shown_then_read), Some(Rule::InputTakenBack));
    assert_eq!(reading([Ok(3), Ok(1)], "", shown_twice), Some(Rule::InputTakenBack));
    assert_eq!(reading([Ok(3), Ok(2)], "", shown_twice), None);
    assert_eq!(reading([Ok(4), Ok(4)], "7", two), Some(Rule::InputTooLong));
    assert_eq!(reading([Ok(4), Ok(0)], "7", two), Some(Rule::InputTooShort));
    assert_eq!(reading([Ok(4), Ok(3), Ok(0)], "7", read_all), None);
}

#[test]
fn the_application_reads_as_it_may() {
    let gone = || Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    let again = |input: &mut Input<'_>| {
        let _ = read_all(input);
        read_all(input)
    };
    assert_eq!(reading([Ok(4), gone(), Ok(0)], "", again), Some(Rule::ReadAfterError));
    assert_eq!(reading([Ok(4), gone()], "", read_all), None, "an error by itself is no violation");
    let interrupted = Err(io::Error::from(io::ErrorKind::Interrupted));
    assert_eq!(reading([interrupted, Ok(0)], "", again), None);
    let greedy = |input: &mut Input<'_>| {
        let shown = input.fill_buf()?.len();
        input.consume(shown + 1);
        Ok(())
    };
    assert_eq!(reading([Ok(3)], "", greedy), Some(Rule::ConsumedTooMuch));
}

#[test]
fn an_input_that_need_not_end_is_read_on_with_a_warning_only() {
    let mut server = Server::with("CONTENT_LENGTH", "3");
    server.wsgi.input_terminated = false;
    let reader = app(|environ: &mut Environ<'_>, respond: Responder<'_>| {
        let mut all = Vec::new();
        environ.input.read_to_end(&mut all)?;
        respond.start("200 OK", [TYPED])?.send(all)
    });
    let mut input = &b"abcdef"[..];
    assert_eq!(rule(server.call(reader, Input::Lent(&mut input), &mut io::sink())), None);
    assert_eq!(server.body, b"abcdef");
}

#[test]
fn a_log_takes_no_more_than_it_is_given() {
    struct Greedy;
    impl Write for Greedy {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            Ok(data.len() + 1)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let logging = || {
        app(|environ: &mut Environ<'_>, respond: Responder<'_>| {
            let _ = environ.errors.write(b"x");
            respond.start("200 OK", [TYPED])?.send("")
        })
    };
    let mut server = Server::default();
    assert_eq!(rule(server.call(logging(), Input::Empty, &mut Greedy)), Some(Rule::ErrorsCount));
    let mut log = Vec::new();
    assert_eq!(rule(server.call(logging(), Input::Empty, &mut log)), None);
    assert_eq!(log, b"x");
}

#[test]
fn what_an_application_changes_in_its_environ_stays_changed() {
    let changing = || {
        app(|environ: &mut Environ<'_>, respond: Responder<'_>| {
            environ.vars.set("X", "1");
            environ.wsgi.run_once = true;
            if environ.vars.contains("FAIL") {
                panic!("on purpose");
            }
            respond.start("200 OK", [TYPED])?.send("")
        })
    };
    for fails in [false, true] {
        let (mut server, mut log) = (Server::default(), io::sink());
        if fails {
            server.vars.set("FAIL", "");
        }
        let mut environ = Environ::new(server.vars.clone(), Input::Empty, Errors::new(&mut log));
        environ.wsgi = server.wsgi.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            validator(changing()).call(&mut environ, Responder::new(&mut server))
        }));
        assert_eq!(result.is_err(), fails);
        assert_eq!(environ.get("X"), Some(&b"1"[..]));
        assert!(environ.wsgi.run_once && environ.method() == b"GET");
    }
}

#[test]
fn as_wsgiref_only_its_own_checks_are_made() {
    let mut server = Server::without("SERVER_PROTOCOL");
    server.vars.set("CONTENT_LENGTH", " +1_0 ");
    let odd = app(|_, respond| {
        let headers = [TYPED, ("Connection", "close"), ("Content-Length", "9")];
        respond.start("200 OK", headers)?.send_chunks(list(["x"]))
    });
    let result = server.call_as(Strictness::Wsgiref, odd, Input::Empty, &mut io::sink());
    assert_eq!((rule(result), &*server.body), (None, &b"x"[..]));
    // A file separator is a blank to Python's texts, and not to its numbers.
    server.vars.set("CONTENT_LENGTH", "\x1c5");
    let result = server.call_as(Strictness::Wsgiref, good(), Input::Empty, &mut io::sink());
    assert_eq!(rule(result), Some(Rule::ContentLength));
    server.vars.remove("CONTENT_LENGTH");
    let untyped = app(|_, respond| respond.start("302 Found", [("Location", "/")])?.send(""));
    let result = server.call_as(Strictness::Wsgiref, untyped, Input::Empty, &mut io::sink());
    assert_eq!(rule(result), Some(Rule::ContentTypeMissing));
}

#[test]
fn every_rule_says_what_it_demands() {
    for rule in Rule::ALL {
        assert!(!rule.demand().is_empty() && !rule.source().is_empty(), "{rule:?}");
        let server = matches!(rule.place(), "environ" | "wsgi.errors" | "send_file");
        let application = matches!(rule.place(), "start_response" | "write" | "return");
        assert!(!(server && rule.side() == Side::Application), "{rule:?}");
        assert!(!(application && rule.side() == Side::Server), "{rule:?}");
    }
}
