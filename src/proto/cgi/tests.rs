//! Each answer is fed whole, byte by byte, and cut in two at every place.

use super::*;

/// What came of an output: the head, and the document behind it.
type Decoded = Result<(Head, Vec<u8>), DecodeError>;

fn decode_pieces<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: Limits) -> Decoded {
    let mut decoder = Decoder::new(limits);
    let mut document = Vec::new();
    for piece in pieces {
        let mut input = piece;
        if decoder.decode(&mut input)? {
            document.extend_from_slice(input);
        } else {
            assert_eq!(input, b"", "what is not needed yet is kept");
        }
    }
    decoder.finish().map(|head| (head, document))
}

fn text(decoded: &Decoded) -> String {
    match decoded {
        Ok((head, document)) => format!(
            "{:?} {} {} {:?} {}",
            head.kind,
            head.status.escape_ascii(),
            head.headers.to_bytes().escape_ascii(),
            head.length,
            document.escape_ascii()
        ),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn decode(output: &[u8]) -> Decoded {
    let whole = decode_pieces([output], Limits::default());
    let bytewise = decode_pieces(output.chunks(1), Limits::default());
    assert_eq!(text(&whole), text(&bytewise), "byte by byte");
    for cut in 0..=output.len() {
        let (first, second) = output.split_at(cut);
        assert_eq!(text(&whole), text(&decode_pieces([first, second], Limits::default())), "cut at {cut}");
    }
    whole
}

#[track_caller]
fn head(output: &[u8]) -> Head {
    decode(output).expect("a proper answer").0
}

#[track_caller]
fn error(output: &[u8]) -> DecodeError {
    decode(output).expect_err("a bad answer")
}

#[test]
fn a_document_has_status_200_if_it_says_none() {
    let (head, document) = decode(b"Content-Type: text/plain\n\nHello\n").unwrap();
    assert_eq!((head.kind, &head.status[..]), (Kind::Document, &b"200 OK"[..]));
    assert_eq!(head.headers.to_bytes(), b"Content-Type: text/plain\r\n\r\n");
    assert_eq!(document, b"Hello\n");
}

#[test]
fn line_ends_are_cr_lf_or_lf_also_mixed() {
    for output in [
        &b"Content-Type: a/b\r\nX-A:1\r\n\r\n\r\nbody"[..],
        b"Content-Type: a/b\nX-A:1\n\n\r\nbody",
        b"Content-Type: a/b\r\nX-A:1\n\r\n\r\nbody",
    ] {
        let (head, document) = decode(output).unwrap();
        assert_eq!(head.headers.to_bytes(), b"Content-Type: a/b\r\nX-A: 1\r\n\r\n");
        assert_eq!(document, b"\r\nbody");
    }
}

#[test]
fn a_status_is_three_digits_and_perhaps_a_reason() {
    for (status, expected) in [
        ("404 Nobody home", "404 Nobody home"),
        ("404", "404 Not Found"),
        ("404 ", "404 Not Found"),
        ("299", "299 Success"),
        ("999 \u{e4}", "999 \u{e4}"),
        ("404\tx", "404 x"),
    ] {
        assert_eq!(head(format!("Status: {status}\n\n").as_bytes()).status, expected.as_bytes());
    }
    for status in ["", "40", "4040", "abc", "+40", "40x", "200OK", " "] {
        let error = error(format!("Status: {status}\n\n").as_bytes());
        assert!(matches!(error, DecodeError::Status { .. }), "{status}: {error:?}");
    }
    for status in [100, 101, 199, 0] {
        assert_eq!(error(format!("Status: {status:03} x\n\n").as_bytes()), DecodeError::NotFinal { status });
    }
}

#[test]
fn a_location_alone_is_local_or_the_clients() {
    for (output, kind, status) in [
        ("Location: /other?x=1\n\n", Kind::LocalRedirect, "302 Found"),
        ("Location: //host/other\n\n", Kind::ClientRedirect, "302 Found"),
        ("Location: http://host/\n\n", Kind::ClientRedirect, "302 Found"),
        ("Location: /other\nStatus: 301\n\n", Kind::ClientRedirect, "301 Moved Permanently"),
        ("Status: 200 OK\nLocation: /other\n\n", Kind::ClientRedirect, "200 OK"),
        ("Location: /other\nSet-Cookie: a=1\n\n", Kind::ClientRedirect, "302 Found"),
        ("Location: other\n\n", Kind::ClientRedirect, "302 Found"),
    ] {
        let head = head(output.as_bytes());
        assert_eq!((head.kind, &head.status[..]), (kind, status.as_bytes()), "{output}");
    }
}

#[test]
fn a_redirect_keeps_its_document() {
    let (head, document) =
        decode(b"Status: 303 See Other\nLocation: http://a/\nContent-Type: text/html\n\n<p>There").unwrap();
    assert_eq!(head.kind, Kind::ClientRedirect);
    assert!(head.headers.contains("content-type"));
    assert_eq!(document, b"<p>There");
}

#[test]
fn a_status_line_of_its_own_is_the_status() {
    let output =
        b"HTTP/1.0 201 Made\r\nServer: mine\r\nConnection: close\r\nStatus: 500\r\nContent-Type: a/b\r\n\r\nx";
    let head = head(output);
    assert_eq!((head.kind, &head.status[..]), (Kind::NonParsed, &b"201 Made"[..]));
    assert_eq!(head.headers.to_bytes(), b"Server: mine\r\nContent-Type: a/b\r\n\r\n");
    assert_eq!(self::head(b"HTTP/1.1 204\n\n").status, b"204 No Content");
    assert_eq!(error(b"HTTP/1.1 100 Continue\n\n"), DecodeError::NotFinal { status: 100 });
    assert!(matches!(error(b"HTTP/1.1\n\n"), DecodeError::Status { .. }));
    // Only as the first line.
    assert!(matches!(error(b"A: b\nHTTP/1.1 200 OK\n\n"), DecodeError::NotAField { line: 2, .. }));
}

#[test]
fn pythons_cgitb_comment_is_no_header() {
    let (head, document) =
        decode(b"<!--: spam\nContent-Type: text/html\n\n<body><!-- --> A problem").unwrap();
    assert_eq!(head.headers.to_bytes(), b"Content-Type: text/html\r\n\r\n");
    assert_eq!(document, b"<body><!-- --> A problem");
    assert!(matches!(error(b"A: b\n<!--: spam\n\n"), DecodeError::NotAField { line: 2, .. }));
}

#[test]
fn what_could_be_another_header_is_refused() {
    for output in [
        &b"Content-Type : a/b\n\n"[..],
        b"Content-Type: a/b\n continued\n\n",
        b": a\n\n",
        b"hello\n\n",
        b"Cont\x00ent: a\n\n",
        b"A b: c\n\n",
        b"\xc3\xa4: c\n\n",
    ] {
        assert!(matches!(error(output), DecodeError::NotAField { .. }), "{}", output.escape_ascii());
    }
    for (output, line, byte) in [
        (&b"A: a\rSet-Cookie: x\n\n"[..], 1, b'\r'),
        (b"A: b\nA: a\x00\n\n", 2, 0),
        (b"A: \x1b[0m\n\n", 1, 0x1b),
        (b"A: \x7f\n\n", 1, 0x7f),
        (b"A: b\r\r\n\n", 1, b'\r'),
        (b"HTTP/1.0 200 O\x07K\n\n", 1, 7),
    ] {
        assert_eq!(error(output), DecodeError::ControlCharacter { line, byte });
    }
    assert_eq!(head(b"Content-Type: a\tb\xe4\n\n").headers.get("content-type"), Some(&b"a\tb\xe4"[..]));
}

#[test]
fn a_second_response_stays_in_the_document() {
    let (head, document) =
        decode(b"Content-Type: a/b\n\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(head.headers.len(), 1);
    assert_eq!(document, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn what_can_come_once_comes_once() {
    assert_eq!(error(b"Status: 200\nStatus: 404\n\n"), DecodeError::Twice { name: "Status" });
    assert_eq!(head(b"Status: 404\nStatus: 404 Gone\n\n").status, b"404 Not Found");
    assert_eq!(error(b"Location: /a\nLocation: /b\n\n"), DecodeError::Twice { name: "Location" });
    let twice = b"Content-Type: a\nContent-Length: 3\nContent-Length: 4\n\n";
    assert_eq!(error(twice), DecodeError::Twice { name: "Content-Length" });
    let same = head(b"Content-Type: a\nContent-Length: 3\ncontent-length: 3\n\n");
    assert_eq!((same.length, same.headers.len()), (Some(3), 2));
}

#[test]
fn cookies_stay_apart_and_in_order() {
    let head = head(b"Content-Type: a\nSet-Cookie: b=1\nSet-Cookie: a=2\n\n");
    assert_eq!(head.headers.get_all("set-cookie").collect::<Vec<_>>(), [&b"b=1"[..], b"a=2"]);
}

#[test]
fn lengths_are_decimal() {
    assert_eq!(head(b"Content-Type: a\nContent-Length: 12\n\n").length, Some(12));
    for length in ["", "abc", "-1", "1,1", "99999999999999999999"] {
        let output = format!("Content-Type: a\nContent-Length: {length}\n\n");
        assert!(matches!(error(output.as_bytes()), DecodeError::ContentLength { .. }), "{length}");
    }
}

#[test]
fn how_a_connection_is_used_is_the_web_servers() {
    assert_eq!(
        error(b"Content-Type: a\nTransfer-Encoding: chunked\n\n0\r\n\r\n"),
        DecodeError::TransferEncoding
    );
    let head = head(b"Content-Type: a\nConnection: close\nKeep-Alive: 5\nTrailer: x\nUpgrade: h2\n\n");
    assert_eq!(head.headers.len(), 1);
}

#[test]
fn an_answer_that_says_nothing_or_ends_in_its_head_is_none() {
    assert_eq!(error(b""), DecodeError::NoOutput);
    assert_eq!(error(b"\n"), DecodeError::NothingSaid);
    assert_eq!(error(b"\r\n<html>"), DecodeError::NothingSaid);
    assert_eq!(error(b"X-Powered-By: magic\n\nHello"), DecodeError::NothingSaid);
    assert_eq!(error(b"Content-Type: a/b\n"), DecodeError::Truncated { bytes: 18 });
    assert_eq!(error(b"Content-Ty"), DecodeError::Truncated { bytes: 10 });
}

#[test]
fn heads_are_limited_before_memory_is_taken() {
    let limits = Limits { bytes: 20, fields: 2 };
    assert!(decode_pieces([&b"Status: 200 OK\nA:b\n\n"[..]], limits).is_ok());
    for output in [&b"Status: 200 OK\nA:bc\n\n"[..], &[b'x'; 1000]] {
        for size in [1, 7, output.len()] {
            let result = decode_pieces(output.chunks(size), limits);
            assert_eq!(result.unwrap_err(), DecodeError::TooLong { limit: 20 });
        }
    }
    let fields = decode_pieces([&b"A:b\nC:d\nE:f\n\n"[..]], limits);
    assert_eq!(fields.unwrap_err(), DecodeError::TooManyFields { limit: 2 });
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = Decoder::new(Limits::default());
    let error = decoder.decode(&mut &b"hello\n"[..]).unwrap_err();
    assert_eq!(decoder.decode(&mut &b"Content-Type: a\n\n"[..]).unwrap_err(), error);
    assert_eq!(decoder.finish().unwrap_err(), error);
}

proptest::proptest! {
    #![proptest_config(crate::repeatable(256))]

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        output in proptest::collection::vec(
            proptest::sample::select(b"AStatus: 204HTP/1.\r\n\n\n\t-Lo\xff\x00".to_vec()), 0..80),
        cut in 0_usize..80,
    ) {
        let (first, second) = output.split_at(cut.min(output.len()));
        let whole = decode_pieces([&output[..]], Limits::default());
        proptest::prop_assert_eq!(text(&whole), text(&decode_pieces([first, second], Limits::default())));
        proptest::prop_assert_eq!(text(&whole), text(&decode_pieces(output.chunks(1), Limits::default())));
    }
}
