//! The FastCGI server against a raw peer.

use std::io::{Read, Write};
use std::net::Shutdown;

use gatewright::app::{Responder, app};
use gatewright::environ::Environ;
use gatewright::proto::fcgi::{
    Names, ProtocolStatus, RecordType, ResponseDecoder, ResponseEvent, Role, Stream, Values, encode,
};
use gatewright::server::Protocol;

use crate::wire::{Answer, Request, Running, answers, read_answers};

const COMPLETE: Option<ProtocolStatus> = Some(ProtocolStatus::REQUEST_COMPLETE);

/// Echoes the body behind the path; some paths misbehave.
fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> gatewright::app::AppResult {
    let path = environ.path_info().to_vec();
    match path.as_slice() {
        b"/fail" => return Err("the database is gone".into()),
        b"/panic" => panic!("out of luck"),
        b"/ignore" => return respond.start("200 OK", [("Content-Type", "text/plain")])?.send("ignored"),
        _ => {}
    }
    let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
    body.write_all(&path)?;
    if path == b"/fail-late" {
        body.flush()?;
        return Err("too late".into());
    }
    std::io::copy(&mut environ.input, &mut body)?;
    Ok(())
}

fn start() -> Running {
    Running::start(Protocol::FastCgi, app(echo))
}

fn get(path: &str) -> Request<'_> {
    Request::new(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", path)], b"")
}

/// The server is as good as new: a request on a new connection is answered.
fn assert_serves(server: &Running) {
    let all = answers(&server.exchange(&get("/good").bytes()));
    assert!(
        matches!(&all[..], [answer] if answer.text().ends_with("\r\n\r\n/good") && answer.status == COMPLETE),
        "{all:?}"
    );
}

fn one(server: &Running, request: &Request<'_>) -> Answer {
    let mut all = answers(&server.exchange(&request.bytes()));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_kept_connection_serves_one_request_after_the_other() {
    let server = start();
    let mut peer = server.connect();
    for (path, body) in [("/a", "1"), ("/b", ""), ("/c", "three")] {
        let length = body.len().to_string();
        let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", path), ("CONTENT_LENGTH", &length)];
        peer.write_all(&Request::new(&params, body.as_bytes()).bytes()).unwrap();
        let answer = read_answers(&mut peer, 1).remove(0);
        let expected = format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{path}{body}");
        assert_eq!((answer.text(), answer.status), (expected, COMPLETE));
    }
}

#[test]
fn requests_that_come_together_are_all_answered() {
    let server = start();
    let one = |id, path| Request { id, ..get(path) }.bytes();
    let all = [one(1, "/1"), one(2, "/2"), one(3, "/3")].concat();
    let answers = answers(&server.exchange(&all));
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert!(answer.text().ends_with(&format!("/{}", answer.id)), "{answer:?}");
    }
}

#[test]
fn without_keep_conn_the_connection_is_closed() {
    let server = start();
    let mut peer = server.connect();
    peer.write_all(&Request { keep_conn: false, ..get("/x") }.bytes()).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(answers(&all)[0].status, COMPLETE);
}

#[test]
fn requests_arrive_byte_by_byte() {
    let server = start();
    let mut peer = server.connect();
    for byte in Request::new(&[("PATH_INFO", "/slow"), ("CONTENT_LENGTH", "4")], b"body").bytes() {
        peer.write_all(&[byte]).unwrap();
    }
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/slowbody"));
}

#[test]
fn a_large_body_streams_both_ways() {
    let server = start();
    let body: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let length = body.len().to_string();
    let request = Request::new(&[("PATH_INFO", "/"), ("CONTENT_LENGTH", &length)], &body).bytes();
    let mut peer = server.connect();
    let mut writer = peer.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&request).unwrap());
    let answer = read_answers(&mut peer, 1).remove(0);
    sender.join().unwrap();
    let end = answer.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(answer.stdout[end + 5..] == body, "the body came back whole");
}

#[test]
fn an_unread_body_is_drained_and_the_connection_goes_on() {
    let server = start();
    let body = vec![b'x'; 1_000_000];
    let mut peer = server.connect();
    let request = Request::new(&[("PATH_INFO", "/ignore"), ("CONTENT_LENGTH", "1000000")], &body);
    peer.write_all(&request.bytes()).unwrap();
    peer.write_all(&get("/next").bytes()).unwrap();
    let all = read_answers(&mut peer, 2);
    assert!(all[0].text().ends_with("ignored") && all[1].text().ends_with("/next"), "{all:?}");
}

#[test]
fn a_body_longer_than_its_length_is_cut_and_the_connection_goes_on() {
    let server = start();
    let mut peer = server.connect();
    let long = Request::new(&[("PATH_INFO", "/"), ("CONTENT_LENGTH", "3")], b"abcdef");
    for (request, end) in [(long, "/abc"), (get("/n"), "/n")] {
        peer.write_all(&request.bytes()).unwrap();
        let answer = read_answers(&mut peer, 1).remove(0);
        assert!(answer.text().ends_with(end), "{answer:?}");
    }
}

#[test]
fn a_body_without_a_length_ends_with_stdin() {
    let server = start();
    for params in [vec![], vec![("CONTENT_LENGTH", "")], vec![("CONTENT_LENGTH", "-1")]] {
        assert!(
            one(&server, &Request::new(&params, b"until the end")).text().ends_with("until the end"),
            "{params:?}"
        );
    }
}

#[test]
fn a_malformed_content_length_is_answered_with_400() {
    let server = start();
    for length in ["abc", "1e3", "12345678901234567890", "9223372036854775808", "+1", "-2", " 1"] {
        let answer = one(&server, &Request::new(&[("CONTENT_LENGTH", length)], b""));
        assert!(answer.text().starts_with("Status: 400 Bad Request\r\n"), "{length}: {answer:?}");
        assert!(!answer.stderr.is_empty());
    }
    let twice = one(&server, &Request::new(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")], b"x"));
    assert!(twice.text().starts_with("Status: 400 "), "{twice:?}");
    let short = one(&server, &Request::new(&[("CONTENT_LENGTH", "10")], b"short"));
    assert!(short.text().starts_with("Status: 400 "), "{short:?}");
    assert_serves(&server);
}

#[test]
fn limits_are_answered_with_their_status() {
    let server = Running::with(Protocol::FastCgi, app(echo), |settings| {
        (settings.max_head, settings.max_pairs, settings.max_body) = (1000, 10, 100);
    });
    let long = "x".repeat(2000);
    let large = one(&server, &Request::new(&[("X", &long)], b""));
    assert!(large.text().starts_with("Status: 431 "), "{large:?}");
    let many = one(&server, &Request::new(&[("X", "1"); 11], b""));
    assert!(many.text().starts_with("Status: 431 "), "{many:?}");
    let body = one(&server, &Request::new(&[("CONTENT_LENGTH", "101")], &[b'x'; 101]));
    assert!(body.text().starts_with("Status: 413 "), "{body:?}");
    let unknown = one(&server, &Request::new(&[], &vec![b'x'; 1 << 20]));
    assert!(unknown.text().starts_with("Status: 413 "), "{unknown:?}");
    assert_serves(&server);
}

#[test]
fn failures_before_and_after_output_leave_the_server_fresh() {
    gatewright::handlers::capture_panics();
    let server = start();
    let failed = one(&server, &get("/fail"));
    assert!(failed.text().starts_with("Status: 500 Internal Server Error\r\n"), "{failed:?}");
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("GET /fail: the database is gone"),
        "{failed:?}"
    );
    let panicked = one(&server, &get("/panic"));
    assert!(panicked.text().starts_with("Status: 500 Internal Server Error\r\n"), "{panicked:?}");
    let told = String::from_utf8_lossy(&panicked.stderr).into_owned();
    assert!(told.contains("panicked at tests/it/fcgi.rs:") && told.contains("out of luck"), "{told}");
    let bytes = server.exchange(&get("/fail-late").bytes());
    let begun = bytes.strip_suffix(&[0; 8]).expect("a broken answer ends in what is no record");
    let late = &answers(begun)[0];
    assert_eq!(
        (late.text().ends_with("/fail-late"), late.status),
        (true, None),
        "no END_REQUEST for a broken answer"
    );
    assert_serves(&server);
}

#[test]
fn an_error_message_comes_before_the_answer_that_follows_it() {
    let server = start();
    let bytes = server.exchange(&get("/fail").bytes());
    let types: Vec<u8> = record_types(&bytes);
    assert_eq!(types, [7, 6, 6, 7, 3], "STDERR, STDOUT, their ends, END_REQUEST");
}

fn record_types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [_, kind, _, _, high, low, padding, _, rest @ ..] = bytes {
        types.push(*kind);
        bytes = &rest[usize::from(*high) * 256 + usize::from(*low) + usize::from(*padding)..];
    }
    types
}

#[test]
fn an_unknown_role_is_answered_at_once_and_a_good_request_follows() {
    let server = start();
    let mut begin = Vec::new();
    encode::begin_request(&mut begin, 1, Role::AUTHORIZER, true);
    let mut peer = server.connect();
    peer.write_all(&begin).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].status, Some(ProtocolStatus::UNKNOWN_ROLE));
    peer.write_all(&get("/good").bytes()).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/good"));
}

/// What was refused, or given up before it started, is over as any other request is.
#[test]
fn a_refused_or_aborted_request_ends_a_connection_that_is_not_kept() {
    let server = start();
    let begin = |role| {
        let mut wire = Vec::new();
        encode::begin_request(&mut wire, 1, role, false);
        wire
    };
    let mut aborted = begin(Role::RESPONDER);
    encode::abort_request(&mut aborted, 1);
    for (wire, status) in [(begin(Role::AUTHORIZER), Some(ProtocolStatus::UNKNOWN_ROLE)), (aborted, COMPLETE)]
    {
        let mut peer = server.connect();
        peer.write_all(&wire).unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(answers(&all)[0].status, status);
    }
}

#[test]
fn a_second_request_on_a_busy_connection_is_answered_before_the_first_is_whole() {
    let server = start();
    let first = Request::new(&[("PATH_INFO", "/first"), ("CONTENT_LENGTH", "4")], b"body");
    let mut wire = first.head();
    wire.extend(Request { id: 2, ..get("/second") }.bytes());
    let mut peer = server.connect();
    peer.write_all(&wire).unwrap();
    let second = read_answers(&mut peer, 1).remove(0);
    assert!(second.id == 2 && second.text().ends_with("/second"), "{second:?}");
    let mut wire = Vec::new();
    encode::stream(&mut wire, Stream::Stdin, 1, b"body");
    encode::stream_end(&mut wire, Stream::Stdin, 1);
    peer.write_all(&wire).unwrap();
    let first = read_answers(&mut peer, 1).remove(0);
    assert!(first.id == 1 && first.text().ends_with("/firstbody"), "{first:?}");
}

#[test]
fn get_values_is_answered_truly_also_within_a_request() {
    let server = start();
    let request = get("/x");
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, 1, Role::RESPONDER, true);
    encode::get_values(&mut wire, Names { mpxs_conns: true, ..Names::default() });
    let whole = request.bytes();
    wire.extend_from_slice(&whole[16..]);
    let bytes = server.exchange(&wire);
    let (mut decoder, mut input, mut values) = (ResponseDecoder::new(), &bytes[..], None);
    while let Some(event) = decoder.decode(&mut input).unwrap() {
        if let ResponseEvent::GetValuesResult(got) = event {
            values = Some(got);
        }
    }
    assert_eq!(values, Some(Values { mpxs_conns: Some(true), ..Values::default() }));
    assert!(answers(&bytes).last().unwrap().text().ends_with("/x"));
}

#[test]
fn an_unknown_management_record_is_answered_by_its_type() {
    let server = start();
    let bytes = server.exchange(&[1, 77, 0, 0, 0, 0, 0, 0]);
    let (mut decoder, mut input) = (ResponseDecoder::new(), &bytes[..]);
    let event = decoder.decode(&mut input).unwrap();
    assert_eq!(event, Some(ResponseEvent::UnknownType { record_type: RecordType(77) }));
}

#[test]
fn abort_is_answered_and_the_connection_goes_on() {
    let server = start();
    let mut peer = server.connect();
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, 1, Role::RESPONDER, true);
    encode::abort_request(&mut wire, 1);
    peer.write_all(&wire).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].status, COMPLETE);
    // While the application waits for a long body: its next read fails, and nothing of its answer is sent.
    let mut wire = Request::new(&[("PATH_INFO", "/long"), ("CONTENT_LENGTH", "900000")], b"").head();
    encode::stream(&mut wire, Stream::Stdin, 1, &[b'x'; 1000]);
    encode::abort_request(&mut wire, 1);
    peer.write_all(&wire).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].status, COMPLETE);
    peer.write_all(&get("/after").bytes()).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/after"));
}

#[test]
fn a_half_closed_connection_is_answered() {
    let server = start();
    let mut peer = server.connect();
    peer.write_all(&get("/half").bytes()).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/half"));
}

#[test]
fn broken_protocols_close_the_connection_and_nothing_else() {
    let server = start();
    let mut pair_past_the_end = Vec::new();
    encode::begin_request(&mut pair_past_the_end, 1, Role::RESPONDER, true);
    encode::stream(&mut pair_past_the_end, Stream::Params, 1, &[200, 1, 2, 3, 4]);
    encode::stream_end(&mut pair_past_the_end, Stream::Params, 1);
    for (what, bytes) in [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("a version other than 1", vec![2, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]),
        ("id 0 on an application record", vec![1, 1, 0, 0, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]),
        ("a BEGIN of 4 bytes", vec![1, 1, 0, 1, 0, 4, 0, 0, 0, 1, 1, 0]),
        ("END_REQUEST from a web server", vec![1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("an end within a record", vec![1, 1, 0, 1, 0]),
        ("a pair past the end", pair_past_the_end),
    ] {
        assert_eq!(server.exchange(&bytes), b"", "{what}");
        assert_serves(&server);
    }
}

#[test]
fn a_truncated_request_at_any_byte_leaves_the_server_fresh() {
    let server = start();
    let whole = Request::new(&[("PATH_INFO", "/cut"), ("CONTENT_LENGTH", "4")], b"body").bytes();
    // Without the last record, the end of STDIN, the body is whole all the same by its length.
    for end in 0..whole.len() - 8 {
        let all = answers(&server.exchange(&whole[..end]));
        assert!(all.iter().all(|answer| !answer.text().contains("200 OK")), "{end}: {all:?}");
    }
    assert_serves(&server);
}

#[test]
fn a_small_answer_is_one_write() {
    let server = start();
    let mut peer = server.connect();
    peer.write_all(&get("/ignore").bytes()).unwrap();
    let mut block = [0; 4096];
    let length = peer.read(&mut block).unwrap();
    assert_eq!(record_types(&block[..length]), [6, 6, 3], "head, body and end came together");
}

#[test]
fn stdin_before_the_end_of_params_is_kept() {
    let server = start();
    let request = Request::new(&[("PATH_INFO", "/early"), ("CONTENT_LENGTH", "5")], b"");
    let head = request.head();
    let mut wire = head[..16].to_vec();
    encode::stream(&mut wire, Stream::Stdin, 1, b"early");
    wire.extend_from_slice(&head[16..]);
    encode::stream_end(&mut wire, Stream::Stdin, 1);
    assert!(answers(&server.exchange(&wire))[0].text().ends_with("/earlyearly"));
}
