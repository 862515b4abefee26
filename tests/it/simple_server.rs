//! `simple_server` from outside: its two policies, and a real socket.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use gatewright::app::{AppResult, Responder};
use gatewright::environ::{Environ, Vars};
use gatewright::handlers::{Attributes, OsEnviron, Policy};
use gatewright::simple_server::{
    Connection, RequestHandler, WsgiRequestHandler, WsgiServer, demo_app, make_server,
};

/// A handler whose log is kept.
struct Quiet {
    policy: Policy,
    log: RefCell<Vec<String>>,
}

impl WsgiRequestHandler for Quiet {
    fn attributes(&self) -> Attributes<'static> {
        let own = WsgiRequestHandler::attributes(&RequestHandler);
        Attributes { policy: self.policy, os_environ: OsEnviron::Empty, ..own }
    }

    fn log_message(&self, client: &str, message: &str) {
        self.log.borrow_mut().push(format!("{client} {message}"));
    }
}

/// What came of one connection.
struct Seen {
    answer: String,
    log: Vec<String>,
    vars: Option<Vars>,
}

impl Seen {
    fn var(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.vars.as_ref()?.get(name)?).ok()
    }
}

/// Serves `wire` with an application that sends its input back.
fn serve(policy: Policy, wire: &[u8]) -> Seen {
    let vars = Mutex::new(None);
    let echo = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        *vars.lock().unwrap() = Some(environ.vars.clone());
        let mut body = Vec::new();
        if environ.method() == b"POST" {
            environ.input.read_to_end(&mut body)?;
        }
        respond.start("200 OK", [("Content-Type", "text/plain")])?.send(body)
    };
    let handler = Quiet { policy, log: RefCell::default() };
    let mut answer = Vec::new();
    let base_environ = Vars::from([("SERVER_NAME", "h"), ("CONTENT_LENGTH", ""), ("SCRIPT_NAME", "")]);
    handler
        .handle(&mut Connection {
            rfile: &mut &*wire,
            wfile: &mut answer,
            client_address: "192.0.2.1".parse().unwrap(),
            base_environ: &base_environ,
            app: &echo,
        })
        .unwrap();
    let answer = answer.iter().copied().map(char::from).collect();
    Seen { answer, log: handler.log.into_inner(), vars: vars.into_inner().unwrap() }
}

#[test]
fn a_chunked_body_is_decoded_and_waited_for_under_the_safe_policy() {
    let wire = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
        5\r\nhello\r\n2\r\n, \r\n5;a=b\r\nworld\r\n0\r\nX: y\r\n\r\n";
    let seen = serve(Policy::Safe, wire);
    assert!(seen.answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n"), "{}", seen.answer);
    assert!(seen.answer.ends_with("\r\n\r\nhello, world"), "{}", seen.answer);
    assert_eq!(seen.log, ["192.0.2.1 \"POST /x HTTP/1.1\" 200 12"]);
    assert_eq!(seen.var("CONTENT_LENGTH"), None);
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    for wire in [
        &b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"[..],
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
    ] {
        let seen = serve(Policy::Safe, wire);
        assert!(!seen.answer.contains("200 OK"), "{}: {}", wire.escape_ascii(), seen.answer);
    }
}

#[test]
fn what_is_read_strictly_is_refused_in_one_line() {
    for (wire, expected) in [
        (
            &b"GET / HTTP/1.1\n\n"[..],
            "400 Bad Request: the line that ends at byte 14 ends in LF, not CR LF\n",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request: the Host field is missing\n"),
        (
            b"GET / HTTP/2.0\r\n\r\n",
            "505 HTTP Version Not Supported: only HTTP/1.1 and HTTP/1.0 are spoken here\n",
        ),
        (b"GET / HTTP/1.1\r\nHost:", "400 Bad Request: end of file inside the request's head\n"),
    ] {
        let seen = serve(Policy::Safe, wire);
        assert!(seen.answer.ends_with(expected), "{}: {}", wire.escape_ascii(), seen.answer);
        assert_eq!((seen.vars, seen.log.len()), (None, 2));
    }
    assert_eq!(serve(Policy::Safe, b"").answer, "");
    assert_eq!(serve(Policy::Safe, b"\r\n").answer, "");
}

#[test]
fn the_policies_differ_in_what_becomes_of_headers() {
    let wire = b"GET http://a.example/p%20q?r HTTP/1.0\r\nX_A: 1\r\nX-A: 2\r\nX-A: 3\r\nProxy: evil\r\n\r\n";
    let safe = serve(Policy::Safe, wire);
    assert_eq!((safe.var("HTTP_X_A"), safe.var("HTTP_PROXY")), (Some("2, 3"), None));
    assert_eq!((safe.var("PATH_INFO"), safe.var("QUERY_STRING")), (Some("/p q"), Some("r")));
    assert_eq!((safe.var("CONTENT_TYPE"), safe.var("CONTENT_LENGTH")), (None, None));
    let wsgiref = serve(Policy::Wsgiref, wire);
    assert_eq!((wsgiref.var("HTTP_X_A"), wsgiref.var("HTTP_PROXY")), (Some("1,2,3"), Some("evil")));
    assert_eq!(wsgiref.var("PATH_INFO"), Some("http://a.example/p q"));
    assert_eq!((wsgiref.var("CONTENT_TYPE"), wsgiref.var("CONTENT_LENGTH")), (Some("text/plain"), Some("")));
}

#[test]
fn http_0_9_gets_the_body_alone_as_from_wsgiref_before_3_15() {
    let seen = serve(Policy::Wsgiref, b"GET /x\r\nHost: a\r\n\r\n");
    assert_eq!((seen.answer.as_str(), seen.var("HTTP_HOST")), ("", Some("a")));
    assert_eq!(seen.log, ["192.0.2.1 \"GET /x\" 200 0"]);
    let seen = serve(Policy::Wsgiref, b"POST /\r\n");
    assert!(
        seen.answer.starts_with("HTTP/1.0 400 Bad HTTP/0.9 request type ('POST')\r\n"),
        "{}",
        seen.answer
    );
}

#[test]
fn headers_as_pythons_email_parser_reads_them() {
    let names = |lines: &str| {
        let seen = serve(Policy::Wsgiref, format!("GET / HTTP/1.0\r\n{lines}\r\n\r\n").as_bytes());
        let vars = seen.vars.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let own = vars.iter().filter(|(name, _)| name.starts_with(b"HTTP_"));
        own.map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>()
    };
    assert_eq!(names("A: 1\nB: 2\rC: 3"), ["HTTP_A=1", "HTTP_B=2", "HTTP_C=3"]);
    assert_eq!(names("A: 1\r\nB\r\nC: 3"), ["HTTP_A=1"]);
    assert_eq!(names("A: 1\r\nB : 2\r\nC: 3"), ["HTTP_A=1"]);
    assert_eq!(names("A: 1\r\n: 2\r\n folded\r\nC: 3"), ["HTTP_A=1", "HTTP_C=3"]);
    assert_eq!(names(" folded\r\nA: 1\r\n\t2"), ["HTTP_A=1\r\n\t2"]);
    assert_eq!(names("From me\r\nA: 1"), ["HTTP_A=1"]);
}

#[test]
fn a_server_answers_one_request_a_connection() {
    let server = make_server("127.0.0.1", 0, demo_app).unwrap();
    assert!(server.get_app().is_some());
    let address = server.server_address();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /hello?a=b HTTP/1.1\r\nHost: h\r\n\r\nGET /second HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    server.handle_request().unwrap();
    let answer = client.join().unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("\nPATH_INFO = '/hello'\n") && answer.contains("\nREMOTE_ADDR = '127.0.0.1'\n"),
        "{answer}"
    );
    assert!(answer.contains(&format!("\nSERVER_PORT = '{}'\n", address.port())), "{answer}");
    assert_eq!(answer.matches("HTTP/1.0 200 OK").count(), 1);
}

#[test]
fn a_server_without_an_application_or_an_address_says_so() {
    let server = WsgiServer::bind("127.0.0.1", 0, RequestHandler).unwrap();
    let error = server.handle_request().unwrap_err().to_string();
    assert_eq!(error, "the server has no application: call set_app first");
    let taken = WsgiServer::bind("127.0.0.1", server.server_port(), RequestHandler).unwrap_err().to_string();
    assert!(taken.starts_with(&format!("cannot listen on 127.0.0.1:{}: ", server.server_port())), "{taken}");
}

/// As every example of wsgiref's documentation begins.
#[test]
fn no_host_is_every_address_of_this_machine() {
    let server = make_server("", 0, demo_app).unwrap();
    assert!(server.server_address().ip().is_unspecified());
    assert_eq!(server.base_environ().get("SERVER_NAME"), Some(&b"localhost"[..]));
    let port = server.server_port();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    server.handle_request().unwrap();
    assert!(client.join().unwrap().starts_with("HTTP/1.0 200 OK\r\n"));
}
