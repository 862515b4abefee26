use super::super::{BodyEncoder, ChunkHead, EncodeError, Exchange, ResponseHead, Shortfall, Version};
use super::*;
use crate::headers::Headers;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn exchange(version: Version, keep_alive: bool) -> Exchange {
    Exchange { version, keep_alive, ..Exchange::REFUSED }
}

const MODERN: fn() -> Exchange = || exchange(Version::Http11, true);

fn encode(status: &str, headers: &[(&str, &str)], exchange: &Exchange) -> (String, BodyEncoder) {
    let headers = Headers::try_from_pairs(headers.iter().copied()).unwrap();
    let head =
        ResponseHead { status: status.as_bytes(), headers: &headers, date: DATE, server: None, length: None };
    let mut out = Vec::new();
    let body = head.encode(exchange, &mut out).unwrap();
    (String::from_utf8(out).unwrap().replace(&format!("Date: {DATE}\r\n"), ""), body)
}

/// The lines of a head about framing and connection, and its body's bytes for two pieces.
fn framed(status: &str, headers: &[(&str, &str)], exchange: &Exchange) -> (Vec<String>, String, bool) {
    let (head, mut body) = encode(status, headers, exchange);
    let lines = head.split("\r\n").skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let mut out = Vec::new();
    for piece in ["abc", "", "de"] {
        body.encode(piece.as_bytes(), &mut out);
    }
    let ended = body.end(&mut out);
    let shown = String::from_utf8(out).unwrap()
        + &ended.map_or_else(|error| format!("|-{}", error.missing), |()| String::new());
    (lines, shown, body.keep_alive())
}

fn lines(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn how_a_response_is_framed() {
    let http10 = exchange(Version::Http10, true);
    let closing = exchange(Version::Http11, false);
    let head = Exchange { is_head: true, ..MODERN() };
    let length = ("Content-Length", "5");
    for (status, headers, exchange, expected, body, keeps) in [
        (
            "200 OK",
            &[][..],
            MODERN(),
            &["Transfer-Encoding: chunked"][..],
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            true,
        ),
        ("200 OK", &[length], MODERN(), &["Content-Length: 5"], "abcde", true),
        (
            "200 OK",
            &[],
            closing,
            &["Transfer-Encoding: chunked", "Connection: close"],
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            false,
        ),
        ("200 OK", &[length], closing, &["Content-Length: 5", "Connection: close"], "abcde", false),
        ("200 OK", &[], http10, &["Connection: close"], "abcde", false),
        ("200 OK", &[length], http10, &["Content-Length: 5", "Connection: keep-alive"], "abcde", true),
        ("200 OK", &[length], Exchange::REFUSED, &["Content-Length: 5", "Connection: close"], "abcde", false),
        ("200 OK", &[], head, &[], "", true),
        ("200 OK", &[length], head, &["Content-Length: 5"], "", true),
        ("204 No Content", &[], MODERN(), &[], "", true),
        ("204 No Content", &[length], MODERN(), &[], "", true),
        ("304 Not Modified", &[length], MODERN(), &["Content-Length: 5"], "", true),
        ("404 ", &[], MODERN(), &["Transfer-Encoding: chunked"], "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", true),
    ] {
        assert_eq!(
            framed(status, headers, &exchange),
            (lines(expected), body.to_owned(), keeps),
            "{status} {exchange:?}"
        );
    }
}

#[test]
fn a_length_cuts_what_is_more_and_tells_what_is_less() {
    let (_, mut body) = encode("200 OK", &[("Content-Length", "4")], &MODERN());
    let mut out = Vec::new();
    body.encode(b"abc", &mut out);
    body.encode(b"de", &mut out);
    assert_eq!((&out[..], body.cut()), (&b"abcd"[..], 1));
    assert_eq!(body.end(&mut out), Ok(()));
    let (_, mut body) = encode("200 OK", &[("Content-Length", "4")], &MODERN());
    body.encode(b"abc", &mut Vec::new());
    assert_eq!(body.end(&mut Vec::new()), Err(Shortfall { missing: 1 }));
    let (_, mut body) = encode("204 No Content", &[], &MODERN());
    assert!(body.is_bodyless() && body.take(3) == 0 && body.cut() == 3);
}

#[test]
fn headers_about_the_connection_do_not_leave() {
    let headers = [
        ("Connection", "X-Mine, foo"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "gzip"),
        ("transfer-encoding", "chunked"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Trailers", "X"),
        ("Upgrade", "h2c"),
        ("Proxy-Connection", "close"),
        ("Proxy-Authenticate", "Basic"),
        ("Status", "500 x"),
        ("X-Mine", "1"),
        ("X Y", "1"),
        ("X-Kept", "1"),
    ];
    let (found, _, keeps) = framed("200 OK", &headers, &MODERN());
    assert_eq!((found, keeps), (lines(&["X-Kept: 1", "Transfer-Encoding: chunked"]), true));
    let (found, _, keeps) = framed("200 OK", &[("Connection", "Close")], &MODERN());
    assert_eq!((found, keeps), (lines(&["Transfer-Encoding: chunked", "Connection: close"]), false));
}

#[test]
fn lengths_that_nobody_can_trust_count_as_none() {
    for lengths in [&["abc"][..], &["5", "6"], &["+5"], &[""], &["5", "x"], &["x", "5"], &["5, 5"]] {
        let headers: Vec<_> = lengths.iter().map(|length| ("Content-Length", *length)).collect();
        let (found, _, _) = framed("200 OK", &headers, &MODERN());
        assert_eq!(found, lines(&["Transfer-Encoding: chunked"]), "{lengths:?}");
    }
    let (found, body, _) = framed("200 OK", &[("Content-Length", "5"), ("content-length", "005")], &MODERN());
    assert_eq!((found, body.as_str()), (lines(&["Content-Length: 5"]), "abcde"));
}

#[test]
fn date_and_server_are_the_applications_where_it_gives_them() {
    let none = Headers::new();
    let own = Headers::from([("date", "never"), ("SERVER", "mine")]);
    for (headers, expected) in [
        (&none, "HTTP/1.1 200 OK\r\nDate: now\r\nServer: s\r\nContent-Length: 2\r\n\r\n"),
        (&own, "HTTP/1.1 200 OK\r\ndate: never\r\nSERVER: mine\r\nContent-Length: 2\r\n\r\n"),
    ] {
        let head =
            ResponseHead { status: b"200 OK", headers, date: "now", server: Some("s"), length: Some(2) };
        let mut out = Vec::new();
        let mut body = head.encode(&MODERN(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(body.take(9), 2);
    }
}

#[test]
fn what_would_break_the_head_is_refused_and_nothing_sent() {
    let headers = Headers::new();
    let mut out = Vec::new();
    for status in [
        "",
        "200",
        "20",
        "abc OK",
        "099 x",
        "100 Continue",
        "101 Switching",
        "2000 x",
        "200\tOK",
        "\u{b2}00 x",
    ] {
        let head = ResponseHead {
            status: status.as_bytes(),
            headers: &headers,
            date: DATE,
            server: None,
            length: None,
        };
        assert_eq!(head.encode(&MODERN(), &mut out).err(), Some(EncodeError::Status), "{status:?}");
    }
    let split = "200 OK\r\nX: y";
    let head =
        ResponseHead { status: split.as_bytes(), headers: &headers, date: DATE, server: None, length: None };
    assert_eq!(head.encode(&MODERN(), &mut out).err(), Some(EncodeError::Control));
    let head = ResponseHead { status: b"200 OK", server: Some("a\nb"), ..head };
    assert_eq!(head.encode(&MODERN(), &mut out).err(), Some(EncodeError::Control));
    assert_eq!(out, b"");
}

#[test]
fn chunk_heads_are_hexadecimal() {
    for (length, expected) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65536, "10000\r\n"), (0xdead_beef, "deadbeef\r\n")]
    {
        assert_eq!(ChunkHead::new(length).as_bytes(), expected.as_bytes());
    }
    assert_eq!(ChunkHead::new(usize::MAX).as_bytes(), format!("{:x}\r\n", usize::MAX).as_bytes());
}

#[test]
fn what_matters_of_a_request_is_copied() {
    let head = b"HEAD / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let request = Request::parse(head, &Limits::default()).unwrap();
    let expected = Exchange {
        version: Version::Http11,
        is_head: true,
        keep_alive: true,
        framing: Framing::Length(3),
        expects_continue: true,
    };
    assert_eq!(Exchange::from(&request), expected);
}
