//! Heads against what they mean, whatever the slicing; the tests' names are the rules.

use super::*;
use crate::environ::LengthError;
use crate::error::{Error, Fault};
use proptest::collection::vec;
use proptest::prelude::*;

type Outcome = Result<(Vec<u8>, Vec<u8>), DecodeError>;

const LIMIT: usize = 100;

/// Head and body of what the pieces say; `Truncated` when they do not say it all.
fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut decoder = HeadDecoder::new(LIMIT);
    let (mut head, mut body) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = piece;
        match decoder.decode(&mut input, &mut head) {
            Ok(true) => body.extend_from_slice(input),
            Ok(false) => assert!(input.is_empty(), "input left over"),
            Err(error) => {
                assert_eq!(decoder.decode(&mut &b"1"[..], &mut head), Err(error), "an error lasts");
                assert_eq!(decoder.end_of_input(), Err(error));
                return Err(error);
            }
        }
    }
    decoder.end_of_input().map(|_| (head, body))
}

/// The same whole, byte by byte, and cut in two anywhere.
fn decode(wire: &[u8]) -> Outcome {
    let whole = feed([wire]);
    assert_eq!(feed(wire.chunks(1)), whole, "byte by byte");
    for cut in 0..wire.len() {
        let (head, tail) = wire.split_at(cut);
        assert_eq!(feed([head, tail]), whole, "cut at {cut}");
    }
    whole
}

const REQUEST: &[u8] =
    b"70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,\
    What is the answer to life?";

#[test]
fn the_request_of_the_specification_is_read() {
    let (head, body) = decode(REQUEST).unwrap();
    assert_eq!(check(&head), Ok(27));
    assert_eq!(body, b"What is the answer to life?");
    let pairs: Vec<_> = Pairs::new(&head).map(Result::unwrap).collect();
    let expected: [(&[u8], &[u8]); 4] = [
        (b"CONTENT_LENGTH", b"27"),
        (b"SCGI", b"1"),
        (b"REQUEST_METHOD", b"POST"),
        (b"REQUEST_URI", b"/deepthought"),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn a_truncated_head_is_an_error_and_never_whole() {
    let end = REQUEST.iter().position(|byte| *byte == b',').unwrap();
    for cut in 1..=end {
        let offset = u64::try_from(cut).unwrap();
        assert_eq!(decode(&REQUEST[..cut]), Err(DecodeError::Truncated { offset }));
    }
    assert!(decode(&REQUEST[..=end]).is_ok());
}

#[test]
fn the_end_of_input_before_the_first_byte_is_no_request() {
    let mut decoder = HeadDecoder::new(LIMIT);
    assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Empty));
    assert_eq!(decoder.decode(&mut &b""[..], &mut Vec::new()), Ok(false));
    assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Empty));
}

#[test]
fn the_body_is_left_alone() {
    let mut decoder = HeadDecoder::new(LIMIT);
    let (mut input, mut head) = (&b"1:A,5:B,"[..], Vec::new());
    for _ in 0..3 {
        assert_eq!(decoder.decode(&mut input, &mut head), Ok(true));
        assert_eq!((input, &head[..]), (&b"5:B,"[..], &b"A"[..]));
    }
    assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Whole));
}

#[test]
fn a_netstring_of_nothing_has_no_content_length() {
    let (head, _) = decode(b"0:,").unwrap();
    assert_eq!(check(&head), Err(DecodeError::ContentLengthNotFirst));
}

#[test]
fn a_length_with_leading_zeros_is_an_error() {
    for wire in [&b"00:,"[..], b"01:A,", b"007:1234567,"] {
        assert_eq!(decode(wire), Err(DecodeError::LeadingZero), "{}", wire.escape_ascii());
    }
}

#[test]
fn a_length_of_anything_but_digits_is_an_error() {
    for wire in [&b":,"[..], b"+1:A,", b"-1:A,", b" 1:A,", b"GET / HTTP/1.1\r\n", b"\x01\x01", b"x:"] {
        let byte = wire[0];
        assert_eq!(decode(wire), Err(DecodeError::NotADigit { byte, offset: 0 }), "{}", wire.escape_ascii());
    }
    for wire in [&b"1 :A,"[..], b"1,", b"1\n", b"0x1:"] {
        let byte = wire[1];
        assert_eq!(decode(wire), Err(DecodeError::NotADigit { byte, offset: 1 }), "{}", wire.escape_ascii());
    }
}

#[test]
fn a_head_longer_than_the_limit_is_refused_by_its_digits() {
    let wire = [b"100:".to_vec(), vec![b'A'; 100], b",".to_vec()].concat();
    assert_eq!(decode(&wire).unwrap().0.len(), 100);
    for wire in [&b"101"[..], b"1000", b"4294967296", b"18446744073709551616", &[b'9'; 1000]] {
        assert_eq!(decode(wire), Err(DecodeError::TooLong { limit: LIMIT }));
    }
}

#[test]
fn the_buffer_grows_only_by_what_came() {
    let mut decoder = HeadDecoder::new(usize::MAX);
    let mut head = Vec::new();
    assert_eq!(decoder.decode(&mut &b"9000000000000:"[..], &mut head), Ok(false));
    assert_eq!(head.capacity(), 0);
    assert_eq!(decoder.decode(&mut &b"ABC"[..], &mut head), Ok(false));
    assert_eq!(head, b"ABC");
    assert!(head.capacity() < 100);
}

#[test]
fn a_netstring_without_its_comma_is_an_error() {
    assert_eq!(decode(b"3:A\0bc,"), Err(DecodeError::MissingComma { byte: b'c', offset: 5 }));
    assert_eq!(decode(b"0:\0"), Err(DecodeError::MissingComma { byte: 0, offset: 2 }));
}

#[test]
fn a_value_without_its_nul_is_an_error() {
    let error = Err(DecodeError::UnterminatedValue { offset: 22 });
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001"), error);
}

#[test]
fn a_name_without_a_value_is_an_error() {
    let error = Err(DecodeError::NameWithoutValue { offset: 24 });
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001\0NAME"), error);
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001\0NAME\0"), error);
}

#[test]
fn an_empty_name_is_an_error() {
    let error = Err(DecodeError::EmptyName { offset: 24 });
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001\0\0value\0"), error);
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001\0\0\0"), error);
    assert_eq!(check(b"CONTENT_LENGTH\x000\0SCGI\x001\0\0"), error);
}

#[test]
fn empty_values_and_repeated_names_are_fine() {
    let head = b"CONTENT_LENGTH\x000\0A\0\0SCGI\x001\0A\0x\0SCGI\x001\0";
    assert_eq!(check(head), Ok(0));
    assert_eq!(Pairs::new(head).count(), 5);
}

#[test]
fn content_length_comes_first() {
    for head in [&b"SCGI\x001\0CONTENT_LENGTH\x000\0"[..], b"SCGI\x001\0", b"content_length\x000\0", b""] {
        assert_eq!(check(head), Err(DecodeError::ContentLengthNotFirst), "{}", head.escape_ascii());
    }
}

#[test]
fn content_length_is_a_decimal_number() {
    assert_eq!(check(b"CONTENT_LENGTH\x009223372036854775807\0SCGI\x001\0"), Ok(9_223_372_036_854_775_807));
    let too_large = DecodeError::ContentLength(LengthError::TooLarge);
    assert_eq!(check(b"CONTENT_LENGTH\x009223372036854775808\0SCGI\x001\0"), Err(too_large));
    for (value, byte, position) in [("-1", b'-', 0), ("1x", b'x', 1), (" 1", b' ', 0), ("5, 5", b',', 1)] {
        let head = format!("CONTENT_LENGTH\0{value}\0SCGI\x001\0");
        let error = DecodeError::ContentLength(LengthError::NotADigit { byte, position });
        assert_eq!(check(head.as_bytes()), Err(error), "{value}");
    }
}

#[test]
fn an_empty_first_content_length_is_an_error() {
    let empty = DecodeError::EmptyContentLength;
    assert_eq!(check(b"CONTENT_LENGTH\0\0SCGI\x001\0"), Err(empty));
    assert_eq!(check(b"CONTENT_LENGTH\0\0SCGI\x001\0CONTENT_LENGTH\x005\0"), Err(empty));
}

#[test]
fn a_repeated_content_length_is_taken_when_empty_or_equal() {
    for second in ["", "5"] {
        let head = format!("CONTENT_LENGTH\x005\0SCGI\x001\0CONTENT_LENGTH\0{second}\0");
        assert_eq!(check(head.as_bytes()), Ok(5), "{second}");
    }
    for second in ["6", "05", "x", "5 ", "-5"] {
        let head = format!("CONTENT_LENGTH\x005\0SCGI\x001\0CONTENT_LENGTH\0{second}\0");
        assert_eq!(check(head.as_bytes()), Err(DecodeError::ConflictingContentLength), "{second}");
    }
}

#[test]
fn scgi_is_present() {
    assert_eq!(check(b"CONTENT_LENGTH\x000\0"), Err(DecodeError::MissingScgi));
    assert_eq!(check(b"CONTENT_LENGTH\x000\0scgi\x001\0"), Err(DecodeError::MissingScgi));
}

#[test]
fn scgi_is_exactly_1() {
    for value in ["", "0", "2", "01", "1 ", "11"] {
        for head in [
            format!("CONTENT_LENGTH\x000\0SCGI\0{value}\0"),
            format!("CONTENT_LENGTH\x000\0SCGI\x001\0SCGI\0{value}\0"),
        ] {
            assert_eq!(check(head.as_bytes()), Err(DecodeError::NotVersion1), "{value}");
        }
    }
}

#[test]
fn errors_are_the_peers_and_say_what_and_where() {
    let cases = [
        (
            DecodeError::NotADigit { byte: 0, offset: 1 },
            400,
            "SCGI netstring has \"\\x00\" at byte 1, not a digit of its length",
        ),
        (DecodeError::LeadingZero, 400, "SCGI netstring's length has a leading zero"),
        (DecodeError::TooLong { limit: 9 }, 431, "SCGI head is longer than 9 bytes"),
        (
            DecodeError::MissingComma { byte: b'x', offset: 8 },
            400,
            "SCGI netstring has \"x\" at byte 8, not its closing comma",
        ),
        (DecodeError::Truncated { offset: 3 }, 400, "end of file inside the SCGI head, after 3 bytes"),
        (DecodeError::EmptyName { offset: 3 }, 400, "SCGI head has an empty name at byte 3"),
        (DecodeError::NameWithoutValue { offset: 3 }, 400, "SCGI head has a name without a value at byte 3"),
        (
            DecodeError::UnterminatedValue { offset: 3 },
            400,
            "SCGI head has a value without its NUL at byte 3",
        ),
        (DecodeError::ContentLengthNotFirst, 400, "SCGI head does not begin with CONTENT_LENGTH"),
        (DecodeError::EmptyContentLength, 400, "SCGI head has an empty CONTENT_LENGTH first"),
        (
            DecodeError::ContentLength(LengthError::TooLarge),
            400,
            "SCGI head: CONTENT_LENGTH is above 9223372036854775807",
        ),
        (
            DecodeError::ConflictingContentLength,
            400,
            "SCGI head has a further CONTENT_LENGTH unlike the first",
        ),
        (DecodeError::MissingScgi, 400, "SCGI head has no SCGI variable"),
        (DecodeError::NotVersion1, 400, "SCGI head has an SCGI variable other than \"1\""),
    ];
    for (error, status, text) in cases {
        let error = Error::from(error);
        assert_eq!((error.fault(), error.status(), &*error.to_string()), (Fault::Peer, status, text));
    }
}

#[test]
fn the_encoder_appends_and_writes_its_own_variables_once() {
    let mut out = b"before".to_vec();
    let pairs: [(&[u8], &[u8]); 3] = [(b"SCGI", b"2"), (b"A", b"b"), (b"CONTENT_LENGTH", b"9")];
    encode_head(&mut out, 0, pairs).unwrap();
    assert_eq!(out, b"before28:CONTENT_LENGTH\x000\0SCGI\x001\0A\0b\0,");
}

#[test]
fn the_encoder_refuses_what_scgi_cannot_carry_and_appends_nothing() {
    let cases: [(&[u8], &[u8], EncodeError); 3] = [
        (b"", b"x", EncodeError::EmptyName),
        (b"A\0", b"", EncodeError::Nul),
        (b"A", b"\0b", EncodeError::Nul),
    ];
    for (name, value, error) in cases {
        let mut out = Vec::new();
        assert_eq!(encode_head(&mut out, 0, [(&b"X"[..], &b"y"[..]), (name, value)]), Err(error));
        assert!(out.is_empty());
    }
}

fn text(least: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8..=255, least..20)
}

proptest! {
    #![proptest_config(crate::repeatable(500))]

    #[test]
    fn a_request_is_read_back(
        pairs in vec((text(1), text(0)), 0..8),
        body in vec(any::<u8>(), 0..50),
        size in 1_usize..80,
    ) {
        let length = u64::try_from(body.len()).unwrap();
        let mut wire = Vec::new();
        encode_head(&mut wire, length, pairs.iter().map(|(name, value)| (&name[..], &value[..]))).unwrap();
        wire.extend_from_slice(&body);

        let mut decoder = HeadDecoder::new(1000);
        let (mut head, mut rest) = (Vec::new(), Vec::new());
        for mut input in wire.chunks(size) {
            decoder.decode(&mut input, &mut head).unwrap();
            rest.extend_from_slice(input);
        }
        prop_assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Whole));
        prop_assert_eq!(rest, body);
        prop_assert_eq!(check(&head), Ok(length));
        let read: Result<Vec<_>, _> = Pairs::new(&head).skip(2).collect();
        let sent: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(read, Ok(sent));
    }

    #[test]
    fn any_bytes_mean_the_same_in_any_slicing(
        length in "[0-9]{0,3}:?",
        junk in vec(prop_oneof![Just(0), Just(b','), Just(b':'), any::<u8>()], 0..150),
        size in 1_usize..50,
    ) {
        let wire = [length.as_bytes(), &junk].concat();
        prop_assert_eq!(feed(wire.chunks(size)), feed([&wire[..]]));
    }

    #[test]
    fn any_head_is_walked_or_refused(head in vec(prop_oneof![3 => Just(0), 5 => any::<u8>()], 0..100)) {
        let items: Vec<_> = Pairs::new(&head).collect();
        let errors = items.iter().filter(|item| item.is_err()).count();
        prop_assert!(errors == 0 || (errors == 1 && items.last().unwrap().is_err()));
        if errors == 0 {
            let length: usize = items.iter().flatten().map(|(name, value)| name.len() + value.len() + 2).sum();
            prop_assert_eq!(length, head.len());
        }
        let _ = check(&head);
    }
}
