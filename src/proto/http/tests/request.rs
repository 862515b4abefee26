use super::super::{Authority, Target, TargetError};
use super::*;
use DecodeError::*;

/// A request with this target and no fields but Host.
fn with_target(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

/// An HTTP/1.1 request with Host and these lines.
fn with(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n").into_bytes()
}

fn parsed<T>(wire: &[u8], with: impl FnOnce(Request<'_>) -> T) -> T {
    let (head, _) = decode(wire).unwrap_or_else(|error| panic!("{}: {error}", wire.escape_ascii()));
    with(Request::parse(&head, &Limits::default()).unwrap())
}

#[test]
fn a_request_line_is_three_words() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.x",
        "GET / HTTP/+1.1",
        "GET / HTTP/1.1.1",
        "GET / HTTP /1.1",
        "GET / FTP/1.1",
        "GET / HTTP/",
        "G@T / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GE\0T / HTTP/1.1",
        "GET HTTP/1.1",
    ] {
        let error = refused(format!("{line}\r\nHost: h\r\n\r\n").as_bytes());
        let odd_start = line.starts_with(' ') && error == (NotHttp { byte: b' ' });
        assert!(error == RequestLine || odd_start, "{line:?}: {error:?}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn other_versions_are_told_which_are_spoken() {
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/1.10", "HTTP/2.0", "HTTP/01.1", "HTTP/11.1", "HTTP/3.0"] {
        assert_eq!(refused(format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes()), Version, "{version}");
    }
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Version);
    assert_eq!(Version.status(), 505);
}

#[test]
fn any_token_is_a_method() {
    for method in ["GET", "get", "BREW", "X-Y_Z", "M-SEARCH", "!#$%&'*+-.^_`|~09"] {
        parsed(&with_target(method, "/"), |request| assert_eq!(request.method, method.as_bytes()));
    }
    assert_eq!(refused(&with_target("CONNECT", "example.com:443")), Connect);
    assert_eq!(refused(&with_target("CONNECT", "/")).status(), 501);
    parsed(&with_target("connect", "/"), |request| assert_eq!(request.method, b"connect"));
}

#[test]
fn targets_of_an_origin_server() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c=/", "/a", Some("b?c=/")),
        ("/%2500?%00", "/%2500", Some("%00")),
        ("//a//b", "//a//b", None),
        ("/%zz%4|{}\"<>\\^`", "/%zz%4|{}\"<>\\^`", None),
        ("http://h", "/", None),
        ("HTTPS://h:1?q", "/", Some("q")),
        ("http://[::1]:8000/p?q", "/p", Some("q")),
        ("http://h:/", "/", None),
    ] {
        parsed(&with_target("GET", target), |request| {
            assert_eq!(request.uri, target.as_bytes());
            let found = (request.target.path(), request.target.query());
            assert_eq!(found, (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        });
    }
    parsed(&with_target("OPTIONS", "*"), |request| {
        assert_eq!((request.target, request.target.path()), (Target::Asterisk, &b""[..]));
    });
}

#[test]
fn other_targets_are_refused() {
    for (target, why) in [
        ("*", TargetError::Asterisk),
        ("a", TargetError::Form),
        ("?a", TargetError::Form),
        ("h:443", TargetError::Form),
        ("ftp://h/", TargetError::Form),
        ("http:/h", TargetError::Form),
        ("http://", TargetError::Authority),
        ("http:///a", TargetError::Authority),
        ("http://u@h/", TargetError::Authority),
        ("http://%68/", TargetError::Authority),
        ("/a%00b", TargetError::Nul),
        ("http://h/%00?q", TargetError::Nul),
        ("http://h:99999/", TargetError::Authority),
        ("http://h:1x/", TargetError::Authority),
        ("http://[::1/", TargetError::Authority),
        ("http://[zz]/", TargetError::Authority),
        ("/a#b", TargetError::Fragment),
        ("http://h/#", TargetError::Fragment),
        ("/caf\u{e9}", TargetError::Byte),
        ("/a\u{7f}", TargetError::Byte),
        ("/a\0", TargetError::Byte),
        ("/a\tb", TargetError::Byte),
    ] {
        assert_eq!(refused(&with_target("GET", target)), Target(why), "{target:?}");
    }
    let latin1 = b"GET /caf\xe9 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(refused(latin1), Target(TargetError::Byte));
}

#[test]
fn lines_end_in_cr_lf() {
    for wire in [
        &b"GET / HTTP/1.1\nHost: h\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert!(matches!(refused(wire), BareLf { .. }), "{}", wire.escape_ascii());
    }
    assert_eq!(refused(&with("X: a\rb")), FieldValue);
    assert_eq!(refused(&with("X: a\r")), FieldValue);
    assert_eq!(refused(&with("\rX: a")), FieldName);
}

/// Whoever skips the decoder and gives the parser a head with line ends that it takes and the walk does not.
#[test]
fn a_head_with_bare_lf_is_refused_without_the_decoder_too() {
    for head in [
        &b"GET / HTTP/1.0\nX: 1\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\nX: 1\n\r\n",
        b"GET / HTTP/1.0\r\nX: 1\r\nY: 2\n\n",
    ] {
        let outcome = Request::parse(head, &Limits::default());
        assert!(matches!(outcome, Err(BareLf { .. })), "{}: {outcome:?}", head.escape_ascii());
    }
}

#[test]
fn names_are_tokens_with_a_colon_behind_them() {
    for line in
        ["X : 1", "X\t: 1", "X", ": 1", "X Y: 1", "X(: 1", "X\0: 1", "caf\u{e9}: 1", "X/Y: 1", "Host h"]
    {
        assert_eq!(refused(&with(line)), FieldName, "{line:?}");
    }
    parsed(&with("X_Y.Z!: 1"), |request| {
        assert_eq!(request.fields().last(), Some((&b"X_Y.Z!"[..], &b"1"[..])))
    });
}

#[test]
fn values_have_no_control_characters_but_tabs() {
    for value in ["a\0b", "a\x01b", "a\x7fb", "\x0b", "a\x1b[0m"] {
        assert_eq!(refused(&with(&format!("X: {value}"))), FieldValue, "{value:?}");
    }
    parsed(&with("X: \t a\tb \u{e9} \t "), |request| {
        assert_eq!(request.fields().last(), Some((&b"X"[..], "a\tb \u{e9}".as_bytes())));
    });
    parsed(&with("X:"), |request| assert_eq!(request.fields().last(), Some((&b"X"[..], &b""[..]))));
}

#[test]
fn folded_fields_are_refused() {
    assert_eq!(refused(&with("X: a\r\n b")), Folded);
    assert_eq!(refused(&with("X: a\r\n\tb")), Folded);
    assert_eq!(refused(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"), Folded);
}

#[test]
fn http_1_1_has_one_host_and_1_0_at_most_one() {
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), MissingHost);
    assert_eq!(refused(b"GET http://h/ HTTP/1.1\r\n\r\n"), MissingHost);
    assert_eq!(refused(&with("hOST: h")), SeveralHosts);
    assert_eq!(refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), SeveralHosts);
    parsed(b"GET / HTTP/1.0\r\n\r\n", |request| assert_eq!(request.host, None));
    parsed(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", |request| assert_eq!(request.host.unwrap().host, b""));
    for host in [
        "a b",
        "a/b",
        "u@h",
        "a,b:x",
        "h:99999",
        "h:-1",
        "h:1:2",
        "[::1",
        "::1",
        "[::1]x",
        "a\"",
        "caf\u{e9}",
    ] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()), Host, "{host:?}");
    }
}

#[test]
fn the_targets_authority_comes_before_host() {
    parsed(&with_target("GET", "http://Example.com:81/"), |request| {
        let expected = Authority { whole: b"Example.com:81", host: b"Example.com", port: Some(81) };
        assert_eq!(request.authority(), Some(expected));
        assert_eq!(request.host.map(|host| host.host), Some(&b"h"[..]));
    });
}

#[test]
fn the_length_of_a_body_is_said_once_in_digits() {
    for value in ["", "a", "-1", "+1", "1 2", "1,1", "1, 1", "0x10", "1e3", "\u{661}", "9223372036854775808"]
    {
        assert_eq!(refused(&with(&format!("Content-Length: {value}"))), ContentLength, "{value:?}");
    }
    assert_eq!(refused(&with("Content-Length: 1\r\ncontent-length: 2")), SeveralContentLengths);
    assert_eq!(refused(&with("Content-Length: 1\r\nContent-Length: 1")), SeveralContentLengths);
    for (value, length) in [("0", 0), (" 007 ", 7), ("9223372036854775807", i64::MAX as u64)] {
        parsed(&with(&format!("Content-Length:{value}")), |request| {
            assert_eq!(request.framing, Framing::Length(length));
        });
    }
    parsed(&with("X: 1"), |request| assert_eq!(request.framing, Framing::Empty));
    // Other names are no lengths, however much they look like one.
    parsed(&with("Content_Length: 5"), |request| assert_eq!(request.framing, Framing::Empty));
}

#[test]
fn the_only_transfer_coding_is_chunked() {
    for value in ["chunked", "Chunked", "\tCHUNKED "] {
        parsed(&with(&format!("Transfer-Encoding: {value}")), |request| {
            assert_eq!(request.framing, Framing::Chunked, "{value:?}");
        });
    }
    for value in [
        "",
        "identity",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "xchunked",
        "chunked\u{b}",
        "chunked, gzip",
        "\"chunked\"",
    ] {
        let error = refused(&with(&format!("Transfer-Encoding: {value}")));
        let control = value.contains('\u{b}') && error == FieldValue;
        assert!(error == NotChunked || control, "{value:?}: {error:?}");
        assert_eq!(error.status(), 400);
    }
    assert_eq!(refused(&with("Transfer-Encoding: gzip, chunked")), UnknownCoding);
    assert_eq!(UnknownCoding.status(), 501);
    assert_eq!(refused(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")), NotChunked);
    assert_eq!(refused(&with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked")), NotChunked);
    assert_eq!(refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), CodingInHttp10);
}

#[test]
fn a_length_and_a_coding_together_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: x\r\nContent-Length: 0",
    ] {
        assert_eq!(refused(&with(lines)), LengthAndCoding, "{lines}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(refused(old), LengthAndCoding);
}

#[test]
fn how_long_a_connection_stays_open() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: x, Close", false),
        ("1.1", "Connection: keep-alive, close", false),
        ("1.1", "Connection: closed", true),
        ("1.1", "Connection: x\r\nConnection: close", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close", false),
        ("1.0", "Proxy-Connection: keep-alive", false),
    ] {
        let wire = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n\r\n")
            .replace("\r\n\r\n\r\n", "\r\n\r\n");
        parsed(wire.as_bytes(), |request| assert_eq!(request.keep_alive, expected, "{wire:?}"));
    }
}

#[test]
fn only_a_body_in_http_1_1_is_waited_for() {
    let expects = |wire: &str| parsed(wire.as_bytes(), |request| request.expects_continue);
    let lines = "Host: h\r\nExpect: 100-Continue\r\n";
    assert!(expects(&format!("PUT / HTTP/1.1\r\n{lines}Content-Length: 1\r\n\r\n")));
    assert!(expects(&format!("PUT / HTTP/1.1\r\n{lines}Transfer-Encoding: chunked\r\n\r\n")));
    assert!(!expects(&format!("PUT / HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n")));
    assert!(!expects(&format!("PUT / HTTP/1.1\r\n{lines}\r\n")));
    assert!(!expects(&format!("PUT / HTTP/1.0\r\n{lines}Content-Length: 1\r\n\r\n")));
    assert!(!expects("PUT / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 1\r\n\r\n"));
}

#[test]
fn what_connection_names_is_for_this_connection_alone() {
    parsed(&with("Connection: close, X-A\r\nconnection: x-b"), |request| {
        assert!(request.connection_names(b"x-a") && request.connection_names(b"X-B"));
        assert!(!request.connection_names(b"X-C"));
    });
}

#[test]
fn a_refusal_is_the_peers_fault_with_its_status() {
    let error = crate::error::Error::from(LongHead { limit: 65536 });
    assert_eq!((error.fault(), error.status()), (crate::error::Fault::Peer, 431));
    assert_eq!(error.to_string(), "the request's head is longer than 65536 bytes");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Lines near the border of what is allowed.
    fn line() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("Host".to_owned()),
            Just("Content-Length".to_owned()),
            Just("Transfer-Encoding".to_owned()),
            Just("Connection".to_owned()),
            Just(" X".to_owned()),
            "[A-Za-z_.-]{1,8}",
            "[ -~]{0,6}",
        ];
        let value = prop_oneof![
            Just("chunked".to_owned()),
            Just("close".to_owned()),
            "[0-9]{0,20}",
            "[ -~\t]{0,12}",
            "[\0-\u{ff}]{0,6}",
        ];
        let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
        (name, value, end).prop_map(|(name, value, end)| format!("{name}: {value}{end}"))
    }

    proptest! {
        #![proptest_config(crate::repeatable(400))]

        #[test]
        fn any_bytes_end_in_a_request_or_a_refusal(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = feed(&[&wire], Limits::default());
            #[cfg(unix)]
            check_first(&wire, Limits::default(), &whole);
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            prop_assert_eq!(feed(&bytes, Limits::default()), whole);
        }

        #[test]
        fn heads_near_the_border_are_read_alike_however_sliced(
            line_one in prop_oneof![Just("GET / HTTP/1.1"), Just("GET / HTTP/1.0"), Just("POST http://h/ HTTP/1.1")],
            lines in proptest::collection::vec(line(), 0..6),
            at in any::<proptest::sample::Index>(),
        ) {
            let wire = format!("{line_one}\r\n{}\r\n", lines.concat()).into_bytes();
            let whole = feed(&[&wire], Limits::default());
            #[cfg(unix)]
            check_first(&wire, Limits::default(), &whole);
            let (first, second) = wire.split_at(at.index(wire.len()));
            prop_assert_eq!(feed(&[first, second], Limits::default()), whole.clone());
            if let Ok(Some((head, _))) = whole {
                // What was accepted has exactly the fields that the parser saw, and one body framing.
                let mut slots = [httparse::EMPTY_HEADER; 100];
                let mut parsed = httparse::Request::new(&mut slots);
                prop_assert!(parsed.parse(&head).unwrap().is_complete());
                let theirs: Vec<_> = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
                let request = Request::parse(&head, &Limits::default()).unwrap();
                prop_assert_eq!(request.fields().collect::<Vec<_>>(), theirs);
            }
        }
    }
}
