//! The web server's side.

use super::*;
use crate::error::{Error, Fault};
use proptest::collection::vec;
use proptest::prelude::*;

fn error(parts: &[Vec<u8>]) -> ResponseError {
    decode_response(&parts.concat()).1.unwrap_err()
}

fn end(id: u16) -> Vec<u8> {
    record(RecordType::END_REQUEST, id, b"\x00\x00\x00\x09\x02\xaa\xaa\xaa", 5)
}

fn ended(id: u16) -> Seen {
    let protocol_status = ProtocolStatus::OVERLOADED;
    Seen::Response(ResponseEvent::EndRequest { id, app_status: 9, protocol_status })
}

#[test]
fn a_whole_answer_comes_as_its_events() {
    let wire = [
        record(RecordType::STDERR, 1, b"oops", 4),
        record(RecordType::STDOUT, 1, b"Status: 200\r\n", 3),
        record(RecordType::STDOUT, 1, b"\r\nhi", 0),
        record(RecordType::STDOUT, 1, b"", 0),
        record(RecordType::STDERR, 1, b"", 8),
        end(1),
    ];
    let (seen, outcome) = decode_response(&wire.concat());
    assert_eq!(outcome, Ok(()));
    assert_eq!(
        seen,
        [
            Seen::Bytes(Stream::Stderr, 1, b"oops".to_vec()),
            Seen::Bytes(Stream::Stdout, 1, b"Status: 200\r\n\r\nhi".to_vec()),
            Seen::Response(ResponseEvent::StdoutEnd { id: 1 }),
            Seen::Response(ResponseEvent::StderrEnd { id: 1 }),
            ended(1),
        ]
    );
}

#[test]
fn a_truncated_answer_is_an_error_but_between_records() {
    let parts = [record(RecordType::STDOUT, 1, b"hello", 3), end(1)];
    let wire = parts.concat();
    for cut in 0..=wire.len() {
        let mut decoder = ResponseDecoder::new();
        let (seen, _) = feed_response(&mut decoder, [&wire[..cut]]);
        let expected = match cut {
            0 | 16 => Ok(()),
            _ if cut == wire.len() => Ok(()),
            1..16 => Err(ResponseError::Truncated { offset: 0 }),
            _ => Err(ResponseError::Truncated { offset: 16 }),
        };
        assert_eq!(decoder.end_of_input(), expected, "{cut} bytes");
        assert_eq!(seen.contains(&ended(1)), cut >= 32, "{cut} bytes");
    }
}

#[test]
fn get_values_result_tells_what_is_known() {
    let cases: [(Vec<u8>, Values); 5] = [
        (vec![], Values::default()),
        (pair(b"FCGI_MAX_CONNS", b"10"), Values { max_conns: Some(10), ..Values::default() }),
        (
            [
                pair(b"FCGI_MPXS_CONNS", b"0"),
                pair(b"OTHER", &[b'x'; 400]),
                pair(b"FCGI_MAX_REQS", b"4294967295"),
            ]
            .concat(),
            Values { max_reqs: Some(u32::MAX), mpxs_conns: Some(false), ..Values::default() },
        ),
        (
            [pair(b"FCGI_MAX_REQS", b"1"), pair(b"FCGI_MAX_REQS", b"2")].concat(),
            Values { max_reqs: Some(2), ..Values::default() },
        ),
        (
            [
                pair(b"FCGI_MAX_CONNS", b"4294967296"),
                pair(b"FCGI_MAX_REQS", b"00000000000000001"),
                pair(b"FCGI_MPXS_CONNS", b"yes"),
            ]
            .concat(),
            Values::default(),
        ),
    ];
    for (content, values) in cases {
        let (seen, outcome) = decode_response(&record(RecordType::GET_VALUES_RESULT, 0, &content, 1));
        assert_eq!(outcome, Ok(()));
        assert_eq!(seen, [Seen::Response(ResponseEvent::GetValuesResult(values))]);
    }
}

#[test]
fn unknown_types_and_management_records_with_a_request_id_are_ignored() {
    let wire = [
        record(RecordType(99), 1, b"x", 0),
        record(RecordType(0), 0, b"x", 0),
        record(RecordType::UNKNOWN_TYPE, 1, b"x", 0),
        record(RecordType::GET_VALUES_RESULT, 1, b"\xff", 0),
        end(1),
    ];
    assert_eq!(decode_response(&wire.concat()), (vec![ended(1)], Ok(())));
}

#[test]
fn a_body_other_than_8_bytes_is_an_error() {
    for (record_type, id) in [(RecordType::END_REQUEST, 1), (RecordType::UNKNOWN_TYPE, 0)] {
        for length in [0, 1, 7, 9] {
            let wire = [end(2), record(record_type, id, &vec![0; usize::from(length)], 0)];
            assert_eq!(error(&wire), ResponseError::BodyLength { record_type, length, offset: 21 });
        }
    }
}

#[test]
fn a_version_other_than_1_is_an_error() {
    let wire = [b"HTTP/1.1 200 OK\r\n".to_vec()];
    assert_eq!(error(&wire), ResponseError::Version { version: b'H', offset: 0 });
}

#[test]
fn an_application_record_with_request_id_0_is_an_error() {
    for record_type in [RecordType::STDOUT, RecordType::STDERR, RecordType::END_REQUEST] {
        let wire = [record(record_type, 0, b"12345678", 0)];
        assert_eq!(error(&wire), ResponseError::NullRequestId { record_type, offset: 0 });
    }
}

#[test]
fn types_that_only_a_web_server_sends_are_errors() {
    for record_type in [
        RecordType::BEGIN_REQUEST,
        RecordType::ABORT_REQUEST,
        RecordType::PARAMS,
        RecordType::STDIN,
        RecordType::DATA,
        RecordType::GET_VALUES,
    ] {
        for id in [0, 1] {
            let wire = [record(record_type, id, b"12345678", 0)];
            assert_eq!(error(&wire), ResponseError::WrongDirection { record_type, offset: 0 });
        }
    }
}

#[test]
fn a_pair_past_the_end_is_an_error() {
    let wire = [record(RecordType::GET_VALUES_RESULT, 0, b"\x0e\x01FCGI_MAX_CONNS", 0)];
    assert_eq!(error(&wire), ResponseError::Pair { offset: 0 });
}

#[test]
fn errors_are_the_applications_with_status_502_and_say_what_and_where() {
    let (record_type, offset) = (RecordType::END_REQUEST, 96);
    let cases = [
        (
            ResponseError::Version { version: 72, offset },
            "FastCGI record at byte 96 of the answer has version 72, not 1",
        ),
        (
            ResponseError::NullRequestId { record_type, offset },
            "FastCGI END_REQUEST at byte 96 of the answer has request id 0",
        ),
        (
            ResponseError::BodyLength { record_type, length: 3, offset },
            "FastCGI END_REQUEST at byte 96 of the answer has a body of 3 bytes, not 8",
        ),
        (
            ResponseError::WrongDirection { record_type: RecordType::STDIN, offset },
            "FastCGI STDIN at byte 96 of the answer, which only a web server sends",
        ),
        (
            ResponseError::Pair { offset },
            "FastCGI GET_VALUES_RESULT at byte 96 of the answer has a name-value pair that runs past its end",
        ),
        (
            ResponseError::Truncated { offset },
            "end of file inside the FastCGI record at byte 96 of the answer",
        ),
    ];
    for (error, text) in cases {
        let error = Error::from(error);
        assert_eq!((error.fault(), error.status(), &*error.to_string()), (Fault::Application, 502, text));
    }
}

proptest! {
    #![proptest_config(crate::repeatable(500))]

    #[test]
    fn any_bytes_are_read_to_their_end_or_refused(
        records in vec((0_u8..13, 0_u16..3, vec(any::<u8>(), 0..20), 0_u8..9), 0..12),
        junk in vec(any::<u8>(), 0..60),
        size in 1_usize..50,
    ) {
        let mut wire: Vec<u8> = records
            .iter()
            .flat_map(|(record_type, id, content, padding)| record(RecordType(*record_type), *id, content, *padding))
            .collect();
        wire.extend_from_slice(&junk);
        let whole = feed_response(&mut ResponseDecoder::new(), [&wire[..]]);
        prop_assert_eq!(feed_response(&mut ResponseDecoder::new(), wire.chunks(size)), whole);
    }
}
