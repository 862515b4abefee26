//! Our own gateways and applications under the validator: neither side breaks a rule, and nothing is warned of.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use gatewright::app::{AppResult, Application, Responder, chunks, list};
use gatewright::apps::demo_app;
use gatewright::environ::{Environ, Vars};
use gatewright::handlers::{BaseCgi, BaseHandler, End, Outcome, ServerHandler, Simple};
use gatewright::validate::{Rule, Side, Violation, validator};

use crate::oracle::warnings;

/// What the validator found in all requests: errors of the application, and warnings.
#[derive(Clone, Default)]
struct Found(Arc<Mutex<Vec<String>>>);

impl Found {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An application under the validator, whose findings are kept.
struct Watched<A> {
    app: A,
    found: Found,
}

impl<A: Application> Application for Watched<A> {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        let (result, warned) = warnings::catching(|| self.app.call(environ, respond));
        let mut found = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(warned);
        found.extend(result.as_ref().err().map(ToString::to_string));
        result
    }
}

fn watched() -> (impl Application, Found) {
    let found = Found::default();
    (Watched { app: validator(several), found: found.clone() }, found)
}

/// Several small applications, by path.
fn several(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let text = [("Content-Type", "text/plain")];
    match environ.path_info() {
        b"/" => demo_app(environ, respond),
        b"/echo" => {
            let mut body = respond.start("200 OK", text)?;
            std::io::copy(&mut environ.input, &mut body)?;
            Ok(environ.errors.flush()?)
        }
        b"/head" => {
            let mut begin = [0; 2];
            environ.input.read_exact(&mut begin)?;
            respond.start("200 OK", text)?.send(begin)
        }
        b"/chunks" => respond.start("200 OK", text)?.send_chunks(chunks(["one", "", "two"])),
        b"/list" => respond.start("200 OK", text)?.send_chunks(list(["only"])),
        b"/sized" => {
            let headers = [("Content-Type", "text/plain"), ("Content-Length", "5")];
            respond.start("200 OK", headers)?.send_chunks(chunks(["si", "zed"]))
        }
        b"/file" => {
            let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))?;
            let length = file.metadata()?.len().to_string();
            let headers = [("Content-Type", "text/plain"), ("Content-Length", &length)];
            respond.start("200 OK", headers)?.send_file(file)
        }
        b"/again" => {
            let mut body = respond.start("200 OK", text)?;
            body.write_all(b"half of it")?;
            body.restart("503 Later", text, "the database is gone")?;
            body.send("later")
        }
        b"/nothing" => respond.start("204 No Content", [("X-A", "b")])?.send(""),
        _ => respond.start("302 Found", [("Location", "/")])?.send(""),
    }
}

/// Method, path, body, and the answer's status.
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/", "", "200"),
    ("HEAD", "/", "", "200"),
    ("GET", "/echo", "", "200"),
    ("POST", "/echo", "a body", "200"),
    ("PUT", "/head", "a body that is not read whole", "200"),
    ("GET", "/chunks", "", "200"),
    ("GET", "/list", "", "200"),
    ("GET", "/sized", "", "200"),
    ("HEAD", "/sized", "", "200"),
    ("GET", "/file", "", "200"),
    ("GET", "/again", "", "503"),
    ("DELETE", "/nothing", "", "204"),
    ("OPTIONS", "/elsewhere", "", "302"),
];

/// What a web server tells about a request, with what some tell besides: empty and doubled variables.
fn params<'a>(method: &'a str, path: &'a str, length: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("CONTENT_LENGTH", length),
        ("QUERY_STRING", ""),
        ("REQUEST_METHOD", method),
        ("CONTENT_TYPE", ""),
        ("REQUEST_URI", path),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "localhost"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", path),
        ("HTTP_HOST", "localhost"),
        ("HTTP_CONTENT_LENGTH", length),
    ]
}

fn each_request(mut answer: impl FnMut(&[(&str, &str)], &[u8]) -> String) {
    for (method, path, body, status) in REQUESTS {
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let text = answer(&params(method, path, &length), body.as_bytes());
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first.split(' ').nth(1), Some(*status), "{method} {path}: {text}");
    }
}

fn vars(params: &[(&str, &str)]) -> Vars {
    params.iter().copied().collect()
}

#[test]
fn cgi_and_origin_handlers_are_clean() {
    let (app, found) = watched();
    each_request(|params, body| {
        let handler = BaseCgi::new(body, Vec::new(), Vec::new(), vars(params));
        assert_eq!(handler.run(&app).end, End::Answered);
        String::from_utf8(handler.into_streams().1).unwrap()
    });
    each_request(|params, body| {
        let mut out = Vec::new();
        let simple = Simple::new(body, &mut out, std::io::sink(), vars(params));
        assert_eq!(ServerHandler::new(simple, |_: &Outcome| ()).run(&app).end, End::Answered);
        String::from_utf8(out).unwrap()
    });
    assert_eq!(found.take(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn the_fastcgi_server_is_clean() {
    use crate::wire::{Request, Running, answers};

    let (app, found) = watched();
    let server = Running::start(gatewright::server::Protocol::FastCgi, app);
    each_request(|params, body| {
        let all = answers(&server.exchange(&Request::new(params, body).bytes()));
        all.iter().map(crate::wire::Answer::text).collect()
    });
    drop(server);
    assert_eq!(found.take(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn the_scgi_server_is_clean() {
    use crate::wire::Running;
    use gatewright::proto::scgi::encode_head;

    let (app, found) = watched();
    let server = Running::start(gatewright::server::Protocol::Scgi, app);
    each_request(|params, body| {
        let others = params.iter().filter(|(name, _)| *name != "CONTENT_LENGTH");
        let others = others.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut wire = Vec::new();
        encode_head(&mut wire, body.len() as u64, others).unwrap();
        wire.extend_from_slice(body);
        String::from_utf8(server.exchange(&wire)).unwrap()
    });
    drop(server);
    assert_eq!(found.take(), [""; 0]);
}

/// Bodies with a length and in chunks, in both versions; and requests that follow each other.
#[cfg(unix)]
#[test]
fn the_http_server_is_clean() {
    use crate::wire::Running;

    let (app, found) = watched();
    let server = Running::start(gatewright::server::Protocol::Http, app);
    for version in ["1.1", "1.0"] {
        each_request(|params, body| {
            let value =
                |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
            let (method, path) = (value("REQUEST_METHOD"), value("PATH_INFO"));
            let mut wire =
                format!("{method} {path}?q HTTP/{version}\r\nHost: h\r\nConnection: close\r\n").into_bytes();
            match (body.len(), version) {
                (0, _) => wire.extend_from_slice(b"\r\n"),
                (length, "1.0") => {
                    wire.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes())
                }
                (length, _) => {
                    wire.extend_from_slice(
                        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n").as_bytes(),
                    );
                }
            }
            wire.extend_from_slice(body);
            if version == "1.1" && !body.is_empty() {
                wire.extend_from_slice(b"\r\n0\r\n\r\n");
            }
            String::from_utf8(server.exchange(&wire)).unwrap()
        });
    }
    drop(server);
    assert_eq!(found.take(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn large_bodies_that_stream_both_ways_are_clean() {
    use crate::wire::{Request, Running, read_answers};

    let (app, found) = watched();
    let server = Running::start(gatewright::server::Protocol::FastCgi, app);
    let body = vec![b'x'; 3_000_000];
    let request = Request::new(&params("POST", "/echo", "3000000"), &body).bytes();
    let mut peer = server.connect();
    let mut writer = peer.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&request).unwrap());
    let answer = read_answers(&mut peer, 1).remove(0);
    sender.join().unwrap();
    assert!(answer.stdout.ends_with(&body), "the body came back whole");
    drop((peer, server));
    assert_eq!(found.take(), [""; 0]);
}

#[test]
fn a_finding_would_be_seen() {
    let (app, found) = watched();
    for (method, path) in [("TRACK", "/list"), ("GET", "no/path")] {
        let vars = vars(&params(method, path, ""));
        BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars).run(&app);
    }
    let found = found.take();
    let [warned, refused] = &found[..] else { panic!("{found:?}") };
    assert_eq!(warned, "validator: unknown REQUEST_METHOD \"TRACK\"");
    assert!(refused.ends_with("seen: PATH_INFO is \"no/path\""), "{refused}");
}

#[test]
fn what_a_web_server_does_wrong_is_named_as_the_servers() {
    let mut vars = vars(&params("GET", "/", ""));
    vars.set("SCRIPT_NAME", "/");
    let kept = Mutex::new(None);
    let app = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let result = validator(demo_app).call(environ, respond);
        *kept.lock().unwrap() = result.as_ref().err().and_then(|error| Violation::find(&**error).cloned());
        result
    };
    let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
    handler.run(&app);
    let (_, output, log) = handler.into_streams();
    assert!(output.starts_with(b"Status: 500 "), "{}", output.escape_ascii());
    let violation = kept.lock().unwrap().take().expect("a violation");
    assert_eq!((violation.side(), violation.rule()), (Side::Server, Rule::RootScriptName));
    assert!(String::from_utf8_lossy(&log).contains("the server broke a rule in environ: "));
}
