//! What an application is, and what a middleware can do to it.

use std::io::{self, Write};
use std::sync::Arc;

use gatewright::app::{AppResult, Application, BoxError, Respond, Responder, app};
use gatewright::environ::{Environ, Vars};
use gatewright::handlers::{BaseCgi, BaseHandler, End, Outcome, Policy};
use gatewright::headers::Headers;

const POLICIES: [Policy; 2] = [Policy::Safe, Policy::Wsgiref];

/// One run under a policy: output, log, and how it ended.
fn run(policy: Policy, app: &dyn Application) -> (String, String, Outcome) {
    let vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")]);
    let mut handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
    handler.attributes.policy = policy;
    let outcome = handler.run(app);
    let (_, output, errors) = handler.into_streams();
    let text = |bytes| String::from_utf8(bytes).expect("these runs are ASCII");
    (text(output), text(errors), outcome)
}

const HELLO: &str = "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";

#[rustfmt::skip]
fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let headers = [("Content-Type", "text/plain"), ("Content-Length", "14")];
    let mut body = respond.start("200 OK", headers)?;
    Ok(body.write_all(b"Hello, world!\n")?)
}

#[test]
fn hello_world_takes_three_lines() {
    let (_, after) = include_str!("applications.rs").split_once("fn hello(").expect("it stands above");
    let (body, _) = after.split_once("\n}\n").expect("its end");
    assert_eq!(body.lines().count() - 1, 3);
    for policy in POLICIES {
        assert_eq!(run(policy, &hello).0, HELLO);
    }
}

#[test]
fn functions_closures_and_shared_applications_are_applications() {
    let greeting = String::from("Hello, world!\n");
    let closure =
        app(move |_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send(&greeting));
    let shared: Arc<dyn Application> = Arc::new(closure);
    for policy in POLICIES {
        let one: &dyn Application = &hello;
        for app in [one, &shared, &Arc::clone(&shared)] {
            assert_eq!(run(policy, app).0, HELLO);
        }
    }
}

/// A middleware that renames a header it has seen, counts the body it has seen, and turns it around.
struct Mirror<A>(A);

struct Mirrored<'r> {
    inner: &'r mut dyn Respond,
    seen: u64,
}

impl Respond for Mirrored<'_> {
    fn start(&mut self, status: &[u8], mut headers: Headers, cause: Option<BoxError>) -> AppResult {
        let kind = headers.get("Content-Type").unwrap_or_default().to_vec();
        headers.set("X-Was", kind)?;
        headers.remove("Content-Type");
        // Turning pieces around keeps their length, but an application's own length is for the application to know.
        headers.remove("Content-Length");
        self.inner.start(&[status, b" (mirrored)"].concat(), headers, cause)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.seen += data.len() as u64;
        let turned: Vec<u8> = data.iter().rev().copied().collect();
        self.inner.write(&turned)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<A: Application> Application for Mirror<A> {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        environ.vars.set("MIRRORED", "yes");
        let mut mirrored = Mirrored { inner: respond.into_inner(), seen: 0 };
        self.0.call(environ, Responder::new(&mut mirrored))?;
        let seen = mirrored.seen;
        Ok(writeln!(environ.errors, "{seen} bytes mirrored")?)
    }
}

#[test]
fn a_middleware_sees_and_changes_request_head_and_body() {
    let mirror = Mirror(app(|environ, respond| {
        let word = if environ.get("MIRRORED").is_some() { "mirrored" } else { "plain" };
        let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
        Ok(body.write_all(word.as_bytes())?)
    }));
    for policy in POLICIES {
        let (output, errors, outcome) = run(policy, &mirror);
        assert_eq!(output, "Status: 200 OK (mirrored)\r\nX-Was: text/plain\r\n\r\nderorrim");
        assert_eq!((errors.as_str(), outcome.logged), ("8 bytes mirrored\n", false));
    }
}

#[test]
fn restart_replaces_what_was_not_sent() {
    let restarts = app(|_, respond| {
        let mut body = respond.start("200 OK", [("X-First", "1")])?;
        body.restart("404 Not Found", [("X-Second", "2")], "no such thing")?;
        body.send("gone")
    });
    for policy in POLICIES {
        let (output, errors, _) = run(policy, &restarts);
        assert_eq!(output, "Status: 404 Not Found\r\nX-Second: 2\r\nContent-Length: 4\r\n\r\ngone");
        assert_eq!(errors, "");
    }
}

#[test]
fn restart_gives_the_cause_back_when_it_is_too_late() {
    let restarts = app(|_, respond| {
        let mut body = respond.start("200 OK", [("X-First", "1")])?;
        body.write_all(b"part")?;
        body.flush()?;
        body.restart("404 Not Found", [("X-Second", "2")], "no such thing")
    });
    for policy in POLICIES {
        let (output, errors, outcome) = run(policy, &restarts);
        assert_eq!(output, "Status: 200 OK\r\nX-First: 1\r\n\r\npart");
        assert_eq!(errors, "gatewright: GET /: no such thing\n");
        assert_eq!((outcome.end, outcome.body_bytes), (End::Truncated, 4));
    }
}
