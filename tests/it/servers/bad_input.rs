//! Malformed bytes on a gateway's socket, while a web server uses it too.

use std::io::{Read, Write};
use std::net::Shutdown;

use gatewright::proto::fcgi::{ResponseDecoder, ResponseEvent, Role, Stream, encode};
use gatewright::proto::scgi::{encode_head, encode_netstring};

use super::link::{Link, Over, Protocol};
use super::site::{Front, Site};

const FASTCGI: Front = Front::Nginx(Link::new(Protocol::FastCgi, Over::Unix).kept());
const SCGI: Front = Front::Nginx(Link::new(Protocol::Scgi, Over::Unix));

/// Sends bytes, ends the sending side, and reads to the end.
#[track_caller]
fn exchange(site: &Site, bytes: &[u8]) -> Vec<u8> {
    let mut stream = site.connect();
    let mut answer = Vec::new();
    // Either may fail: a gateway closes as soon as it has seen enough.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection stays open"),
        _ => answer,
    }
}

#[track_caller]
fn assert_serves(site: &Site) {
    site.environment(&site.request("GET", "/env/good")).expect("PATH_INFO", "/env/good");
}

const GARBAGE: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"99999999999999999999999:",
    b"\n",
];

#[test]
fn garbage_on_a_fastcgi_socket_is_closed_and_the_next_request_served() {
    let site = FASTCGI.start();
    let mut good = fcgi_request(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/env")]);
    for garbage in GARBAGE {
        assert_eq!(exchange(&site, garbage), b"", "{}", garbage.escape_ascii());
        assert_serves(&site);
    }
    // Every cut of a request before its END_REQUEST can follow: nothing may be answered but a whole request.
    let whole = good.len();
    for cut in (0..whole).step_by(7) {
        let answer = exchange(&site, &good[..cut]);
        assert_eq!(answer, b"", "cut after {cut} of {whole} bytes");
    }
    assert!(fcgi_text(&exchange(&site, &good)).starts_with("Status: 200 OK\r\n"));
    // The version of the first record.
    good[0] = 2;
    assert_eq!(exchange(&site, &good), b"");
    assert_serves(&site);
}

#[test]
fn garbage_on_an_scgi_socket_is_closed_or_400_and_the_next_request_served() {
    let site = SCGI.start();
    for garbage in GARBAGE {
        assert_eq!(exchange(&site, garbage), b"", "{}", garbage.escape_ascii());
        assert_serves(&site);
    }
    let mut good = Vec::new();
    encode_head(&mut good, 4, [(&b"PATH_INFO"[..], &b"/echo"[..])]).expect("names and values without NUL");
    let head = good.len();
    good.extend_from_slice(b"body");
    for cut in 0..good.len() {
        let answer = exchange(&site, &good[..cut]);
        let status: &[u8] = if cut < head { b"" } else { b"Status: 400 " };
        assert!(answer.starts_with(status), "cut after {cut}: {}", answer.escape_ascii());
        assert_eq!(answer.is_empty(), status.is_empty(), "cut after {cut}: {}", answer.escape_ascii());
    }
    assert!(exchange(&site, &good).ends_with(b"\r\n\r\nbody"));
    for head in [
        &b"SCGI\x001\0CONTENT_LENGTH\x000\0"[..],
        b"CONTENT_LENGTH\x000\0",
        b"CONTENT_LENGTH\x000\0SCGI\x002\0",
        b"CONTENT_LENGTH\x000\0SCGI\x001\0NAME\0",
        b"CONTENT_LENGTH\x000\0SCGI\x001\0NAME\0value",
        b"CONTENT_LENGTH\0\0SCGI\x001\0",
        b"",
    ] {
        let mut bytes = Vec::new();
        encode_netstring(&mut bytes, head);
        assert_starts(&exchange(&site, &bytes), "Status: 400 ", head);
        assert_serves(&site);
    }
    for bytes in [&b"024:CONTENT_LENGTH\x000\0SCGI\x001\0,"[..], b"24:CONTENT_LENGTH\x000\0SCGI\x001\0;"] {
        assert_eq!(exchange(&site, bytes), b"", "{}", bytes.escape_ascii());
        assert_serves(&site);
    }
}

/// What is no length of a body.
const NO_LENGTHS: [&str; 7] = ["abc", "1e3", "12345678901234567890", "+4", "-4", "4 ", "0x4"];

#[test]
fn a_malformed_content_length_is_400_under_fastcgi() {
    let site = FASTCGI.start();
    for length in NO_LENGTHS {
        let request = fcgi_request(&[("PATH_INFO", "/echo"), ("CONTENT_LENGTH", length)]);
        assert_starts(fcgi_text(&exchange(&site, &request)).as_bytes(), "Status: 400 ", length.as_bytes());
        assert_serves(&site);
    }
    let twice = |first, second| {
        let names = [("PATH_INFO", "/echo"), ("CONTENT_LENGTH", first), ("CONTENT_LENGTH", second)];
        fcgi_text(&exchange(&site, &fcgi_request(&names)))
    };
    assert_starts(twice("0", "1").as_bytes(), "Status: 400 ", b"twice");
    assert_starts(twice("0", "0").as_bytes(), "Status: 200 ", b"twice the same");
    assert_starts(twice("0", "").as_bytes(), "Status: 200 ", b"once empty");
    assert_serves(&site);
}

#[test]
fn a_malformed_content_length_is_400_under_scgi() {
    let site = SCGI.start();
    for length in NO_LENGTHS {
        let head = format!("CONTENT_LENGTH\0{length}\0SCGI\x001\0PATH_INFO\0/echo\0");
        assert_starts(&exchange_head(&site, &head), "Status: 400 ", length.as_bytes());
        assert_serves(&site);
    }
    let twice = |second| {
        let head = format!("CONTENT_LENGTH\x000\0SCGI\x001\0PATH_INFO\0/echo\0CONTENT_LENGTH\0{second}\0");
        exchange_head(&site, &head)
    };
    assert_starts(&twice("1"), "Status: 400 ", b"twice");
    assert_starts(&twice("0"), "Status: 200 ", b"twice the same");
    assert_serves(&site);
}

#[test]
fn odd_variables_do_not_reach_the_application() {
    let site = FASTCGI.start();
    let names = [
        ("", "empty name"),
        ("A=B", "name with ="),
        ("NUL", "a\0b"),
        ("HTTP_PROXY", "http://evil.example/"),
        ("HTTP_CONTENT_LENGTH", "7"),
        ("HTTP_X-ODD", "alias"),
        ("HTTP_X_ODD", "true"),
        ("lower", "kept\n\u{1}"),
    ];
    let text = fcgi_text(&exchange(&site, &fcgi_request(&names)));
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines: Vec<&str> = body.lines().filter(|line| !line.starts_with("wsgi.")).collect();
    lines.sort_unstable();
    // Of two names that mean the same header the first stays.
    assert_eq!(lines, ["HTTP_X-ODD=alias", "lower=kept%0A%01"]);
}

fn exchange_head(site: &Site, head: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_netstring(&mut bytes, head.as_bytes());
    exchange(site, &bytes)
}

#[track_caller]
fn assert_starts(answer: &[u8], with: &str, what: &[u8]) {
    let (answer_text, what) = (answer.escape_ascii(), what.escape_ascii());
    assert!(answer.starts_with(with.as_bytes()), "{what}: \"{answer_text}\", not {with}");
}

/// A whole request without a body, on a connection for it alone.
fn fcgi_request(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::begin_request(&mut bytes, 1, Role::RESPONDER, false);
    let pairs = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    encode::params(&mut bytes, 1, pairs).expect("short pairs");
    encode::stream_end(&mut bytes, Stream::Stdin, 1);
    bytes
}

/// STDOUT of an answer.
#[track_caller]
fn fcgi_text(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let mut decoder = ResponseDecoder::new();
    while let Some(event) = decoder.decode(&mut bytes).expect("records") {
        if let ResponseEvent::Stdout { data, .. } = event {
            text.extend_from_slice(data);
        }
    }
    String::from_utf8(text).expect("a text of UTF-8")
}
