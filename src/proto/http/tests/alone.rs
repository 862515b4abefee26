//! What httparse takes by itself, and is refused here: when one of these fails, the library has become stricter, and the
//! rule of ours may have become superfluous.

use super::*;

/// Whether the library alone takes `wire` as a whole request.
fn taken_alone(wire: &[u8]) -> bool {
    let mut slots = [httparse::EMPTY_HEADER; 16];
    httparse::Request::new(&mut slots).parse(wire).is_ok_and(|status| status.is_complete())
}

#[test]
fn the_library_alone_takes_what_is_refused_here() {
    for wire in [
        &b"GET / HTTP/1.1\nHost: h\n\n"[..],
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /caf\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n".as_bytes(),
        b"GET /#fragment HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET no-path HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    ] {
        assert!(taken_alone(wire), "{}", wire.escape_ascii());
        refused(wire);
    }
}

/// Underscores are in tokens, and dropped where variables are made of fields.
#[test]
fn names_with_underscores_are_tokens_to_both() {
    let wire = b"GET / HTTP/1.1\r\nHost: h\r\nX_Real: 1\r\n\r\n";
    assert!(taken_alone(wire) && decode(wire).is_ok());
}

/// Why chunk sizes are not read by the library: it takes extensions of any length, and blanks before them.
#[test]
fn the_librarys_chunk_sizes_are_laxer() {
    for line in [&b"5 \r\n"[..], b"5 ;a\r\n", b"5;\x01\r\n"] {
        assert!(matches!(httparse::parse_chunk_size(line), Ok(httparse::Status::Complete((_, 5)))));
        assert!(decode_body(Framing::Chunked, line, 100).is_err(), "{}", line.escape_ascii());
    }
}
