use super::super::{EndOfInput, TargetError};
use super::*;

const PLAIN: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n";

#[test]
fn a_head_ends_at_its_empty_line_and_leaves_the_rest() {
    let mut wire = PLAIN.to_vec();
    wire.extend_from_slice(b"\r\nGET / HTTP/1.1\r\n");
    assert_eq!(decode(&wire), Ok((PLAIN.to_vec(), b"\r\nGET / HTTP/1.1\r\n".to_vec())));
}

#[test]
fn a_head_cut_anywhere_is_never_whole() {
    for end in 0..PLAIN.len() {
        let mut decoder = HeadDecoder::new(Limits::default());
        let mut head = Vec::new();
        assert_eq!(decoder.decode(&mut &PLAIN[..end], &mut head), Ok(false), "{end}");
        let expected = if end == 0 { Ok(EndOfInput::Empty) } else { Err(DecodeError::TruncatedHead) };
        assert_eq!(decoder.end_of_input(), expected, "{end}");
        assert_eq!(Request::parse(&head, &Limits::default()), Err(DecodeError::TruncatedHead), "{end}");
    }
}

#[test]
fn one_empty_line_before_the_request_is_skipped_and_is_no_request() {
    assert_eq!(decode(&[b"\r\n", PLAIN].concat()), Ok((PLAIN.to_vec(), Vec::new())));
    for wire in [&b"\r"[..], b"\r\n"] {
        let mut decoder = HeadDecoder::new(Limits::default());
        assert_eq!(decoder.decode(&mut &*wire, &mut Vec::new()), Ok(false));
        assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Empty));
        assert!(!decoder.has_begun());
    }
    assert_eq!(refused(&[b"\r\n\r\n", PLAIN].concat()), DecodeError::EmptyLines);
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = HeadDecoder::new(Limits::default());
    let mut head = Vec::new();
    let error = Err(DecodeError::BareLf { offset: 14 });
    assert_eq!(decoder.decode(&mut &b"GET / HTTP/1.0\n\r\n"[..], &mut head), error);
    assert_eq!(decoder.decode(&mut &b"\r\n"[..], &mut head), error);
    assert_eq!(decoder.end_of_input(), Err(DecodeError::BareLf { offset: 14 }));
}

#[test]
fn what_is_no_http_is_refused_at_its_first_byte() {
    for byte in 0..=255_u8 {
        let mut decoder = HeadDecoder::new(Limits::default());
        let outcome = decoder.decode(&mut &[byte][..], &mut Vec::new());
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match byte {
            b'\n' => assert_eq!(outcome, Err(DecodeError::BareLf { offset: 0 })),
            b'\r' => assert_eq!(outcome, Ok(false)),
            _ if token => assert_eq!(outcome, Ok(false)),
            _ => assert_eq!(outcome, Err(DecodeError::NotHttp { byte })),
        }
    }
    assert!(DecodeError::NotHttp { byte: 0x16 }.to_string().contains("TLS"));
}

#[test]
fn a_bad_request_line_is_refused_before_its_fields_come() {
    for (line, expected) in [
        (&b"GET /\r\n"[..], DecodeError::RequestLine),
        (b"GET / HTTP/3.0\r\n", DecodeError::Version),
        (b"CONNECT a:1 HTTP/1.1\r\n", DecodeError::Connect),
        (b"GET /#a HTTP/1.1\r\n", DecodeError::Target(TargetError::Fragment)),
    ] {
        let mut decoder = HeadDecoder::new(Limits::default());
        assert_eq!(decoder.decode(&mut &*line, &mut Vec::new()), Err(expected), "{}", line.escape_ascii());
    }
}

/// Fuzzing found that what was wrong depended on how it came.
#[test]
fn of_several_mistakes_the_first_is_told_however_they_come() {
    for (wire, expected) in [
        (&b"GET /\r\nHost: h\n\r\n"[..], DecodeError::RequestLine),
        (b"GET /#a HTTP/1.1\r\nContent-Length: x\r\n\r\n", DecodeError::Target(TargetError::Fragment)),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", DecodeError::Connect),
    ] {
        assert_eq!(decode(wire), Err(expected), "{}", wire.escape_ascii());
    }
    let limits = Limits { head: 40, fields: 9 };
    let long = [b"GET / HTTP/3.0\r\nX: ", &[b'x'; 100][..]].concat();
    assert_eq!(decode_with(&long, limits), Err(DecodeError::Version));
}

#[test]
fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
    let limits = Limits { head: PLAIN.len(), fields: 100 };
    assert_eq!(decode_with(PLAIN, limits), Ok((PLAIN.to_vec(), Vec::new())));
    let limit = PLAIN.len() - 1;
    let limits = Limits { head: limit, fields: 100 };
    assert_eq!(decode_with(PLAIN, limits), Err(DecodeError::LongHead { limit }));
    let limits = Limits { head: 10, fields: 100 };
    assert_eq!(decode_with(PLAIN, limits), Err(DecodeError::LongTarget { limit: 10 }));
    assert_eq!(DecodeError::LongTarget { limit: 10 }.status(), 414);
    assert_eq!(DecodeError::LongHead { limit }.status(), 431);
}

#[test]
fn a_head_may_have_as_many_fields_as_the_limit_and_no_more() {
    let head = |count: usize| {
        let mut head = b"GET / HTTP/1.0\r\n".to_vec();
        (0..count).for_each(|n| head.extend_from_slice(format!("X-{n}: v\r\n").as_bytes()));
        head.extend_from_slice(b"\r\n");
        head
    };
    assert!(decode(&head(100)).is_ok());
    assert_eq!(decode(&head(101)), Err(DecodeError::ManyFields { limit: 100 }));
    let none = Limits { fields: 0, ..Limits::default() };
    assert!(decode_with(&head(0), none).is_ok());
    assert_eq!(decode_with(&head(1), none), Err(DecodeError::ManyFields { limit: 0 }));
    let many = Limits { fields: 300, ..Limits::default() };
    assert!(feed(&[&head(300)], many).is_ok_and(|found| found.is_some()));
    assert_eq!(feed(&[&head(301)], many), Err(DecodeError::ManyFields { limit: 300 }));
    // The parser by itself keeps to the limit too.
    assert_eq!(
        Request::parse(&head(2), &Limits { fields: 1, ..many }),
        Err(DecodeError::ManyFields { limit: 1 })
    );
}

#[test]
fn the_buffer_grows_only_by_what_came() {
    let mut decoder = HeadDecoder::new(Limits { head: 100, fields: 9 });
    let mut head = Vec::new();
    let long = [b'G'; 5000];
    assert_eq!(decoder.decode(&mut &long[..], &mut head), Err(DecodeError::LongTarget { limit: 100 }));
    assert!(head.len() <= 100);
}
