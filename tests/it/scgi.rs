//! The SCGI server against a raw peer.

use std::io::Write;

use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::Environ;
use gatewright::proto::scgi::{encode_head, encode_netstring};
use gatewright::server::Protocol;

use crate::wire::Running;

fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    if environ.path_info() == b"/fail" {
        return Err("no".into());
    }
    let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
    body.write_all(environ.path_info())?;
    std::io::copy(&mut environ.input, &mut body)?;
    Ok(())
}

fn start() -> Running {
    Running::start(Protocol::Scgi, app(echo))
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    encode_head(&mut wire, body.len() as u64, [(&b"PATH_INFO"[..], path.as_bytes())]).unwrap();
    wire.extend_from_slice(body);
    wire
}

fn text(server: &Running, wire: &[u8]) -> String {
    String::from_utf8_lossy(&server.exchange(wire)).into_owned()
}

fn assert_serves(server: &Running) {
    assert!(text(server, &request("/good", b"body")).ends_with("\r\n\r\n/goodbody"));
}

#[test]
fn a_request_and_its_body_are_answered() {
    let server = start();
    let expected = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n/xhello";
    assert_eq!(text(&server, &request("/x", b"hello")), expected);
    let large: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut peer = server.connect();
    let mut writer = peer.try_clone().unwrap();
    let wire = request("/", &large);
    let sender = std::thread::spawn(move || writer.write_all(&wire).unwrap());
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut peer, &mut answer).unwrap();
    sender.join().unwrap();
    assert!(answer.ends_with(&large));
}

#[test]
fn violations_of_the_specification_are_answered_with_400() {
    let server = start();
    for (what, head) in [
        ("no CONTENT_LENGTH first", &b"SCGI\x001\x00CONTENT_LENGTH\x000\x00"[..]),
        ("a length of letters", b"CONTENT_LENGTH\x00abc\x00SCGI\x001\x00"),
        ("a length of 20 digits", b"CONTENT_LENGTH\x0012345678901234567890\x00SCGI\x001\x00"),
        ("an empty length", b"CONTENT_LENGTH\x00\x00SCGI\x001\x00"),
        ("two lengths", b"CONTENT_LENGTH\x000\x00SCGI\x001\x00CONTENT_LENGTH\x001\x00"),
        ("no SCGI", b"CONTENT_LENGTH\x000\x00X\x001\x00"),
        ("SCGI 2", b"CONTENT_LENGTH\x000\x00SCGI\x002\x00"),
        ("a name without a value", b"CONTENT_LENGTH\x000\x00SCGI\x001\x00X\x00"),
        ("a value without its NUL", b"CONTENT_LENGTH\x000\x00SCGI\x001\x00X\x00y"),
    ] {
        let mut wire = Vec::new();
        encode_netstring(&mut wire, head);
        let answer = text(&server, &wire);
        assert!(answer.starts_with("Status: 400 Bad Request\r\n"), "{what}: {answer}");
        assert_serves(&server);
    }
}

#[test]
fn a_broken_netstring_closes_the_connection() {
    let server = start();
    for wire in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"024:CONTENT_LENGTH",
        b"5:abcdeX",
        b"99999999999999999999:",
        b"12",
        b":,",
    ] {
        assert_eq!(text(&server, wire), "", "{}", wire.escape_ascii());
        assert_serves(&server);
    }
}

#[test]
fn a_head_beyond_the_limit_closes_the_connection_before_it_is_read() {
    let server = Running::with(Protocol::Scgi, app(echo), |settings| settings.max_head = 100);
    assert_eq!(text(&server, b"101:"), "");
    let mut wire = Vec::new();
    encode_head(&mut wire, 0, [(&b"X"[..], &[b'x'; 50][..])]).unwrap();
    assert!(text(&server, &wire).starts_with("Status: 200 "));
}

#[test]
fn a_body_that_ends_early_is_answered_with_400() {
    let server = start();
    let mut wire = request("/x", b"hello");
    wire.truncate(wire.len() - 1);
    assert!(text(&server, &wire).starts_with("Status: 400 "));
}

#[test]
fn a_failure_is_the_error_page() {
    let server = start();
    assert!(text(&server, &request("/fail", b"")).starts_with("Status: 500 Internal Server Error\r\n"));
    assert_serves(&server);
}

#[test]
fn a_truncated_request_at_any_byte_is_never_a_success() {
    let server = start();
    let whole = request("/cut", b"body");
    for end in 0..whole.len() {
        let answer = text(&server, &whole[..end]);
        assert!(!answer.contains("200 OK"), "{end}: {answer}");
    }
    assert_serves(&server);
}

#[test]
fn a_body_too_large_is_answered_with_413() {
    let server = Running::with(Protocol::Scgi, app(echo), |settings| settings.max_body = 3);
    assert!(text(&server, &request("/x", b"four")).starts_with("Status: 413 "));
}
