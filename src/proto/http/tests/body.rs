use super::*;
use DecodeError::*;

fn chunked(wire: &[u8]) -> Result<Option<Split>, DecodeError> {
    decode_body(Framing::Chunked, wire, 1 << 20)
}

fn body_of(wire: &[u8]) -> Vec<u8> {
    chunked(wire).unwrap().unwrap_or_else(|| panic!("not whole: {}", wire.escape_ascii())).0
}

#[test]
fn a_body_of_a_length_ends_there() {
    let next = (b"hello".to_vec(), b"GET".to_vec());
    assert_eq!(decode_body(Framing::Length(5), b"helloGET", 5), Ok(Some(next)));
    assert_eq!(decode_body(Framing::Length(5), b"hell", 5), Ok(None));
    for framing in [Framing::Empty, Framing::Length(0)] {
        assert_eq!(decode_body(framing, b"GET", 5), Ok(Some((Vec::new(), b"GET".to_vec()))));
    }
}

#[test]
fn a_length_above_the_limit_is_refused_before_the_body() {
    assert_eq!(BodyDecoder::new(Framing::Length(6), 5).err(), Some(LongBody { limit: 5 }));
    assert!(BodyDecoder::new(Framing::Length(5), 5).is_ok());
    assert_eq!(LongBody { limit: 5 }.status(), 413);
}

#[test]
fn chunks_are_put_together() {
    let wire = b"5\r\nhello\r\n1; a=b\r\n,\r\n0006\r\n world\r\n0\r\n\r\nGET /";
    assert_eq!(chunked(wire), Ok(Some((b"hello, world".to_vec(), b"GET /".to_vec()))));
    assert_eq!(body_of(b"0\r\n\r\n"), b"");
    assert_eq!(body_of(b"0000000000000001;\r\nx\r\n000;x=\"y\"\r\n\r\n"), b"x");
    let ten = body_of(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(ten, b"01234567890123456789");
}

#[test]
fn a_chunked_body_cut_anywhere_is_never_whole() {
    let wire = b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for end in 0..wire.len() {
        assert_eq!(chunked(&wire[..end]), Ok(None), "{end}");
    }
    assert_eq!(body_of(wire), b"hello");
    let decoder = BodyDecoder::new(Framing::Chunked, 9).unwrap();
    assert_eq!(decoder.end_of_input(), Err(TruncatedBody { offset: 0 }));
}

#[test]
fn chunk_sizes_are_1_to_16_hexadecimal_digits() {
    for (wire, offset) in [
        (&b"\r\n"[..], 0),
        (b";a\r\n", 0),
        (b"g\r\n", 0),
        (b"-1\r\n", 0),
        (b"+1\r\n", 0),
        (b" 1\r\n", 0),
        (b"0x1\r\n", 1),
        (b"1 \r\n", 1),
        (b"1 ;a\r\n", 1),
        (b"1\n", 1),
        (b"1_0\r\n", 1),
        (b"1\0\r\n", 1),
        (b"00000000000000001\r\n", 16),
        ("\u{661}\r\n".as_bytes(), 0),
        (b"1\r\nx\r\n\r\n", 6),
    ] {
        assert_eq!(chunked(wire), Err(ChunkSize { offset }), "{}", wire.escape_ascii());
    }
    assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(LongBody { limit: 1 << 20 }));
}

#[test]
fn chunks_end_in_cr_lf() {
    for (wire, offset) in
        [(&b"1\r\nxy\r\n"[..], 4), (b"1\r\nx\n", 4), (b"1\r\nx\rx", 5), (b"1\r\nx0\r\n\r\n", 4)]
    {
        assert_eq!(chunked(wire), Err(ChunkEnd { offset }), "{}", wire.escape_ascii());
    }
    assert_eq!(chunked(b"1\rx"), Err(ChunkExtension { offset: 2 }));
}

#[test]
fn extensions_are_bounded_and_plain() {
    for (wire, offset) in [(&b"1;a\nx"[..], 3), (b"1;\0\r\n", 2), (b"1;a\rb\r\n", 4), (b"1;\x7f", 2)] {
        assert_eq!(chunked(wire), Err(ChunkExtension { offset }), "{}", wire.escape_ascii());
    }
    let line = |length: usize| format!("1;{}\r\nx\r\n", "a".repeat(length));
    assert_eq!(body_of(format!("{}0\r\n\r\n", line(250)).as_bytes()), b"x");
    assert_eq!(chunked(line(251).as_bytes()), Err(LongExtension { limit: 250 }));
    assert_eq!(body_of(format!("{}0\r\n\r\n", line(128).repeat(128)).as_bytes()).len(), 128);
    assert_eq!(
        chunked(format!("{}1;", line(128).repeat(128) + "1;a").as_bytes()),
        Err(LongExtension { limit: 16384 })
    );
}

#[test]
fn trailers_are_fields_and_are_dropped() {
    let wire = b"1\r\nx\r\n0\r\nX-A: 1\r\nContent-Length: 5\r\nEmpty:\r\n\r\nGET";
    assert_eq!(chunked(wire), Ok(Some((b"x".to_vec(), b"GET".to_vec()))));
    for trailers in [
        &b" X: 1\r\n\r\n"[..],
        b"X : 1\r\n\r\n",
        b"X\r\n\r\n",
        b": 1\r\n\r\n",
        b"X: 1\n\r\n",
        b"X: \0\r\n",
        b"X: 1\rY",
    ] {
        let wire = [b"0\r\n", trailers].concat();
        assert!(matches!(chunked(&wire), Err(Trailer { .. })), "{}", wire.escape_ascii());
    }
    assert_eq!(chunked(b"0\r\n\rx"), Err(Trailer { offset: 4 }));
    assert_eq!(chunked(b"0\r\n\n"), Err(Trailer { offset: 3 }));
    let long = format!("0\r\nX: {}", "a".repeat(8 << 10));
    assert_eq!(chunked(long.as_bytes()), Err(LongTrailers { limit: 8192 }));
    assert_eq!(LongTrailers { limit: 8192 }.status(), 431);
}

#[test]
fn a_chunked_body_grows_to_the_limit_and_no_further() {
    let wire = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert!(decode_body(Framing::Chunked, wire, 5).is_ok_and(|body| body.is_some()));
    // The chunk that passes it is refused by its size, before its data.
    assert_eq!(decode_body(Framing::Chunked, b"3\r\nabc\r\n2\r\n", 4), Err(LongBody { limit: 4 }));
}

#[test]
fn a_failed_body_stays_failed() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, 9).unwrap();
    assert_eq!(decoder.decode(&mut &b"x"[..]), Err(ChunkSize { offset: 0 }));
    assert_eq!(decoder.decode(&mut &b"0\r\n\r\n"[..]), Err(ChunkSize { offset: 0 }));
    assert_eq!(decoder.end_of_input(), Err(ChunkSize { offset: 0 }));
}

mod properties {
    use super::super::super::ChunkHead;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::repeatable(300))]

        #[test]
        fn any_bytes_end_in_a_body_or_a_refusal(wire in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_body(Framing::Chunked, &wire, 50);
        }

        #[test]
        fn what_was_chunked_is_put_together(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        ) {
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend_from_slice(ChunkHead::new(piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nnext");
            prop_assert_eq!(chunked(&wire), Ok(Some((pieces.concat(), b"next".to_vec()))));
        }
    }
}
