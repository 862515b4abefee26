//! The roles of FastCGI that an application may know besides a responder's (FastCGI 1.0, section 6).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::{Environ, Role as Asked};
use gatewright::proto::fcgi::{ProtocolStatus, Role, Stream, encode};
use gatewright::server::{Protocol, Roles};

use crate::random::Random;
use crate::servers::harness::{Folder, Process, program};
use crate::wire::{Answer, PATIENCE, Request, Running, answers, read_answers};

const COMPLETE: Option<ProtocolStatus> = Some(ProtocolStatus::REQUEST_COMPLETE);
const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];

fn start(application: fn(&mut Environ<'_>, Responder<'_>) -> AppResult) -> Running {
    Running::with(Protocol::FastCgi, app(application), |settings| {
        settings.roles = Roles { authorizer: true, filter: true };
    })
}

/// Lets `Basic good` in, and says which role and body it saw.
fn authorize(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    assert_eq!(environ.wsgi.role, Asked::Authorizer);
    let mut body = Vec::new();
    environ.input.read_to_end(&mut body)?;
    let seen =
        [("Variable-AUTH_METHOD", "basic"), ("Variable-BODY", if body.is_empty() { "none" } else { "some" })];
    match environ.header("Authorization") {
        Some(b"Basic good") => respond.start("200 OK", seen)?.send(""),
        Some(b"Basic late") => respond.start("302 Found", [("Location", "/login")])?.send(""),
        _ => respond.start("403 Forbidden", PLAIN)?.send("no\n"),
    }
}

fn authorizer<'a>(params: &[(&'a str, &'a str)]) -> Request<'a> {
    Request { role: Role::AUTHORIZER, ..Request::new(params, b"") }
}

#[test]
fn an_authorizer_says_yes_with_variables_or_answers_anything_else() {
    let server = start(authorize);
    let mut peer = server.connect();
    for (said, status, part) in [
        ("Basic good", "Status: 200 OK\r\n", "Variable-AUTH_METHOD: basic\r\nVariable-BODY: none\r\n"),
        ("Basic bad", "Status: 403 Forbidden\r\n", "\r\n\r\nno\n"),
        ("Basic late", "Status: 302 Found\r\n", "Location: /login\r\n"),
    ] {
        // The web server may say that nothing comes as a body, or not mention it.
        let request = authorizer(&[("REQUEST_METHOD", "GET"), ("HTTP_AUTHORIZATION", said)]);
        for wire in [request.head(), request.bytes()] {
            peer.write_all(&wire).unwrap();
            let answer = read_answers(&mut peer, 1).remove(0);
            let text = answer.text();
            assert!(text.starts_with(status) && text.contains(part), "{answer:?}");
            assert_eq!(answer.status, COMPLETE);
        }
    }
}

/// CONTENT_LENGTH is that of the client's request, whose body goes to the responder.
#[test]
fn an_authorizer_sees_no_body_whatever_is_sent_and_announced() {
    let server = start(authorize);
    let with = |length| {
        let params =
            [("REQUEST_METHOD", "POST"), ("HTTP_AUTHORIZATION", "Basic good"), ("CONTENT_LENGTH", length)];
        authorizer(&params)
    };
    let mut early = with("4").head()[..16].to_vec();
    encode::stream(&mut early, Stream::Stdin, 1, b"body");
    early.extend_from_slice(&with("4").bytes()[16..]);
    let sent = Request { body: b"body", ..with("4") }.bytes();
    for wire in [with("4").head(), with("4").bytes(), sent, early] {
        let mut peer = server.connect();
        for _ in 0..2 {
            peer.write_all(&wire).unwrap();
            let answer = read_answers(&mut peer, 1).remove(0);
            assert!(answer.text().contains("Variable-BODY: none\r\n"), "{answer:?}");
            assert_eq!(answer.status, COMPLETE);
        }
    }
}

/// Answers with the lengths and the sums of both inputs, read in the order that the path names.
fn filter(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    assert_eq!(environ.wsgi.role, Asked::Filter);
    let (mut body, mut data) = (Vec::new(), Vec::new());
    match environ.path_info() {
        b"/data-first" => {
            environ.data.read_to_end(&mut data)?;
            environ.input.read_to_end(&mut body)?;
        }
        b"/data-alone" => drop(environ.data.read_to_end(&mut data)?),
        b"/neither" => {}
        _ => {
            environ.input.read_to_end(&mut body)?;
            environ.data.read_to_end(&mut data)?;
        }
    }
    respond.start("200 OK", PLAIN)?.send(told(&body, &data))
}

fn told(body: &[u8], data: &[u8]) -> String {
    let sum = |bytes: &[u8]| {
        bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
    };
    format!("body {} {:x} data {} {:x}", body.len(), sum(body), data.len(), sum(data))
}

/// A filter's request: STDIN, then DATA.
fn filter_request(path: &str, lengths: (&str, &str), body: &[u8], data: &[u8]) -> Vec<u8> {
    let params = [
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", path),
        ("CONTENT_LENGTH", lengths.0),
        ("FCGI_DATA_LAST_MOD", "1"),
        ("FCGI_DATA_LENGTH", lengths.1),
    ];
    let mut wire = Request { role: Role::FILTER, ..Request::new(&params, body) }.bytes();
    encode::stream(&mut wire, Stream::Data, 1, data);
    encode::stream_end(&mut wire, Stream::Data, 1);
    wire
}

fn bytes(length: usize, from: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at % 253) as u8).collect()
}

fn ask(server: &Running, wire: &[u8]) -> Answer {
    ask_on(&mut server.connect(), wire)
}

/// Sends and receives at once: neither side may have to wait for the other.
fn ask_on(peer: &mut UnixStream, wire: &[u8]) -> Answer {
    let mut writer = peer.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(wire).unwrap());
        read_answers(peer, 1).remove(0)
    })
}

#[track_caller]
fn assert_told(answer: &Answer, body: &[u8], data: &[u8]) {
    assert!(answer.text().ends_with(&told(body, data)), "{answer:?}, not {}", told(body, data));
    assert_eq!(answer.status, COMPLETE);
}

#[test]
fn a_filter_reads_both_inputs_in_either_order_whatever_their_sizes() {
    let server = start(filter);
    for (body, data) in
        [(0, 0), (5, 7), (0, 70_000), (70_000, 0), (300_000, 5), (100, 1_000_000), (700_000, 900_000)]
    {
        let (body, data) = (bytes(body, 1), bytes(data, 2));
        let lengths = (&*body.len().to_string(), &*data.len().to_string());
        for path in ["/body-first", "/data-first"] {
            let answer = ask(&server, &filter_request(path, lengths, &body, &data));
            assert_told(&answer, &body, &data);
        }
    }
}

#[test]
fn a_filter_that_leaves_input_unread_leaves_the_connection_usable() {
    let server = start(filter);
    let (body, data) = (bytes(400_000, 3), bytes(600_000, 4));
    let mut peer = server.connect();
    for (path, read_of_body, read_of_data) in
        [("/neither", &[][..], &[][..]), ("/data-alone", &[], &data), ("/data-first", &body, &data)]
    {
        let answer = ask_on(&mut peer, &filter_request(path, ("400000", "600000"), &body, &data));
        assert_told(&answer, read_of_body, read_of_data);
    }
}

/// A close with DATA on its way would reset the connection, and the answer with it.
#[test]
fn a_filter_that_answers_before_the_end_of_data_does_not_have_its_connection_reset() {
    let server = start(|environ, respond| {
        environ.data.read_exact(&mut [0; 4])?;
        respond.start("200 OK", PLAIN)?.send("enough")
    });
    let mut peer = server.connect();
    let mut wire = Request { role: Role::FILTER, keep_conn: false, ..Request::new(&[], b"") }.bytes();
    encode::stream(&mut wire, Stream::Data, 1, b"data");
    peer.write_all(&wire).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert!(answers(&answer)[0].text().ends_with("enough"));
    let mut rest = Vec::new();
    encode::stream(&mut rest, Stream::Data, 1, b"more");
    encode::stream_end(&mut rest, Stream::Data, 1);
    peer.write_all(&rest).expect("it is read, and dropped");
}

/// STDIN and DATA may come in turns, in records of any size.
#[test]
fn a_filters_inputs_may_come_in_turns() {
    let server = start(filter);
    let mut random = Random(41);
    for path in ["/body-first", "/data-first"] {
        for _ in 0..10 {
            let (body, data) = (bytes(random.below(200_000), 5), bytes(random.below(400_000), 6));
            let length = body.len().to_string();
            let params = [("PATH_INFO", path), ("CONTENT_LENGTH", &*length)];
            let mut wire = Request { role: Role::FILTER, ..Request::new(&params, b"") }.head();
            let (mut of_body, mut of_data) = (&body[..], &data[..]);
            while !(of_body.is_empty() && of_data.is_empty()) {
                let (rest, stream) = match random.below(2) {
                    0 => (&mut of_body, Stream::Stdin),
                    _ => (&mut of_data, Stream::Data),
                };
                let (now, later) = rest.split_at(rest.len().min(1 + random.below(40_000)));
                // An empty record would be the end.
                if !now.is_empty() {
                    encode::stream(&mut wire, stream, 1, now);
                }
                *rest = later;
            }
            encode::stream_end(&mut wire, Stream::Data, 1);
            encode::stream_end(&mut wire, Stream::Stdin, 1);
            assert_told(&ask(&server, &wire), &body, &data);
        }
    }
}

/// The end of DATA is where its stream ends: FCGI_DATA_LENGTH is the application's to compare. STDIN is cut at
/// CONTENT_LENGTH, and is no request when it is shorter.
#[test]
fn lengths_that_are_not_true() {
    let server = start(filter);
    let (body, data) = (bytes(1000, 1), bytes(2000, 2));
    for said in ["1", "1999", "2001", "9000", "", "x"] {
        assert_told(&ask(&server, &filter_request("/", ("1000", said), &body, &data)), &body, &data);
    }
    assert_told(&ask(&server, &filter_request("/", ("10", "2000"), &body, &data)), &body[..10], &data);
    assert_told(&ask(&server, &filter_request("/", ("", "2000"), &body, &data)), &body, &data);
    let short = ask(&server, &filter_request("/", ("1001", "2000"), &body, &data));
    assert!(short.text().starts_with("Status: 400 ") && short.status == COMPLETE, "{short:?}");
}

#[test]
fn an_abort_inside_data_is_an_error_of_its_next_read_and_the_connection_goes_on() {
    let (tell, told_error) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let begun = std::sync::Arc::new(std::sync::Barrier::new(2));
    let has_begun = std::sync::Arc::clone(&begun);
    let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        begun.wait();
        let mut data = Vec::new();
        let read = environ.data.read_to_end(&mut data);
        let read = read.map_err(|error| error.kind());
        tell.lock().unwrap().send((read, data.len(), environ.is_aborted())).unwrap();
        respond.start("200 OK", PLAIN)?.send("read")
    };
    let server = Running::with(Protocol::FastCgi, app(application), |settings| settings.roles.filter = true);
    let mut peer = server.connect();
    for length in [0, 10, 400_000] {
        let mut wire = Request { role: Role::FILTER, ..Request::new(&[], b"") }.bytes();
        encode::stream(&mut wire, Stream::Data, 1, &bytes(length, 1));
        peer.write_all(&wire).unwrap();
        // One that is given up before its application has begun never gets there.
        has_begun.wait();
        let mut wire = Vec::new();
        encode::abort_request(&mut wire, 1);
        peer.write_all(&wire).unwrap();
        let answer = read_answers(&mut peer, 1).remove(0);
        assert_eq!((answer.text(), answer.status), (String::new(), COMPLETE));
        let (read, count, aborted) = told_error.recv_timeout(PATIENCE).unwrap();
        assert_eq!((read, aborted), (Err(std::io::ErrorKind::ConnectionAborted), true));
        assert!(count <= length);
    }
    let mut wire = Request { role: Role::FILTER, ..Request::new(&[], b"") }.bytes();
    encode::stream(&mut wire, Stream::Data, 1, b"data");
    encode::stream_end(&mut wire, Stream::Data, 1);
    peer.write_all(&wire).unwrap();
    has_begun.wait();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("read"));
    assert_eq!(told_error.recv_timeout(PATIENCE).unwrap(), (Ok(4), 4, false));
}

/// DATA at a responder is skipped (FastCGI 1.0 knows it for filters alone): none of it is kept, however much comes.
#[test]
fn data_at_a_responder_or_authorizer_is_skipped() {
    let application = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let (mut body, mut data) = (Vec::new(), Vec::new());
        environ.input.read_to_end(&mut body)?;
        environ.data.read_to_end(&mut data)?;
        respond.start("200 OK", PLAIN)?.send(told(&body, &data))
    };
    let server = Running::with(Protocol::FastCgi, app(application), |settings| {
        settings.roles = Roles { authorizer: true, filter: true };
        // More than this cannot be kept of anything.
        settings.max_body = 1000;
    });
    for role in [Role::RESPONDER, Role::AUTHORIZER] {
        let body = if role == Role::RESPONDER { &b"body"[..] } else { b"" };
        let request = Request { role, ..Request::new(&[("PATH_INFO", "/")], body) };
        let mut wire = request.head();
        encode::stream(&mut wire, Stream::Data, 1, &bytes(500_000, 1));
        wire.extend_from_slice(&request.bytes()[request.head().len()..]);
        encode::stream(&mut wire, Stream::Data, 1, &bytes(500_000, 1));
        wire.extend(Request { id: 2, ..request }.bytes());
        let mut peer = server.connect();
        let mut writer = peer.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&wire).unwrap());
            for answer in read_answers(&mut peer, 2) {
                assert_told(&answer, body, b"");
            }
        });
    }
}

#[test]
fn the_gateways_are_responders() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let socket = path.display().to_string();
    let mut process = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--socket", &socket]);
    });
    process.ready_when(|| UnixStream::connect(&path).is_ok());
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for role in [Role::AUTHORIZER, Role::FILTER, Role(4), Role(0)] {
        let request = Request { role, ..Request::new(&[("PATH_INFO", "/")], b"body") };
        peer.write_all(&request.bytes()).unwrap();
        let answer = read_answers(&mut peer, 1).remove(0);
        assert_eq!(
            (answer.text(), answer.status),
            (String::new(), Some(ProtocolStatus::UNKNOWN_ROLE)),
            "{role:?}"
        );
    }
    let good = Request::new(
        &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("SERVER_NAME", "a"), ("SERVER_PORT", "80")],
        b"",
    );
    peer.write_all(&good.bytes()).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().contains("Hello world!"));
    // Without KEEP_CONN the connection ends with the refusal.
    let last = Request { role: Role::FILTER, keep_conn: false, ..Request::new(&[], b"") };
    peer.write_all(&last.bytes()).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].status, Some(ProtocolStatus::UNKNOWN_ROLE));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}
