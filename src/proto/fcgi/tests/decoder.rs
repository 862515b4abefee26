//! The application's side.

use super::*;
use crate::error::{Error, Fault};
use proptest::collection::vec;
use proptest::prelude::*;

fn began(id: u16) -> Seen {
    Seen::Event(Event::Begin { id, role: Role::RESPONDER, keep_conn: true })
}

fn event(event: Event<'static>) -> Seen {
    Seen::Event(event)
}

fn stdin(id: u16, data: &[u8]) -> Seen {
    Seen::Bytes(Stream::Stdin, id, data.to_vec())
}

fn responder(id: u16) -> Vec<u8> {
    begin(id, Role::RESPONDER, 1)
}

/// The events of `parts` put together, which must be free of errors.
fn events(parts: &[Vec<u8>]) -> Vec<Seen> {
    let (seen, outcome) = decode(&parts.concat());
    assert_eq!(outcome, Ok(()));
    seen
}

fn error(parts: &[Vec<u8>]) -> DecodeError {
    decode(&parts.concat()).1.unwrap_err()
}

/// A request with everything in it.
fn whole_request() -> Vec<u8> {
    let block = [pair(b"A", b"b"), pair(b"LONG", &[b'x'; 200])].concat();
    let (one, two) = block.split_at(150);
    [
        responder(1),
        record(RecordType::PARAMS, 1, one, 1),
        record(RecordType::GET_VALUES, 0, &pair(b"FCGI_MAX_REQS", b""), 2),
        record(RecordType::PARAMS, 1, two, 0),
        record(RecordType::PARAMS, 1, b"", 5),
        record(RecordType::STDIN, 1, b"hel", 255),
        record(RecordType::STDIN, 1, b"lo", 0),
        record(RecordType::STDIN, 1, b"", 0),
    ]
    .concat()
}

#[test]
fn a_whole_request_comes_as_its_events() {
    let block = [pair(b"A", b"b"), pair(b"LONG", &[b'x'; 200])].concat();
    let (one, two) = block.split_at(150);
    let names = Names { max_reqs: true, ..Names::default() };
    assert_eq!(
        events(&[whole_request()]),
        [
            began(1),
            Seen::Bytes(Stream::Params, 1, one.to_vec()),
            event(Event::GetValues(names)),
            Seen::Bytes(Stream::Params, 1, two.to_vec()),
            event(Event::ParamsEnd { id: 1 }),
            stdin(1, b"hello"),
            event(Event::StdinEnd { id: 1 }),
        ]
    );
}

#[test]
fn fragments_are_slices_of_the_input() {
    let wire = [responder(1), record(RecordType::STDIN, 1, &[b'x'; 1000], 0)].concat();
    let mut decoder = Decoder::new(1);
    let mut input = &wire[..];
    decoder.decode(&mut input).unwrap();
    let Ok(Some(Event::Stdin { id: 1, data })) = decoder.decode(&mut input) else { panic!() };
    assert_eq!(data.len(), 1000);
    assert!(wire.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn needing_more_is_no_error_and_no_event() {
    let wire = responder(1);
    for cut in 0..16 {
        let mut decoder = Decoder::new(1);
        let mut input = &wire[..cut];
        assert_eq!(decoder.decode(&mut input), Ok(None), "{cut} bytes");
    }
}

#[test]
fn end_of_input_inside_a_record_is_an_error_and_at_its_edges_none() {
    let wire = whole_request();
    let mut edges = vec![0];
    while let Some(header) = wire[*edges.last().unwrap()..].first_chunk() {
        let header = Header::decode(*header);
        let end = edges.last().unwrap()
            + HEADER_LEN
            + usize::from(header.content_length)
            + usize::from(header.padding_length);
        edges.push(end);
    }
    let start_of = |cut: usize| u64::try_from(*edges.iter().rfind(|edge| **edge < cut).unwrap()).unwrap();
    for cut in 0..=wire.len() {
        let mut decoder = Decoder::new(1);
        let (_, outcome) = feed(&mut decoder, [&wire[..cut]]);
        assert_eq!(outcome, Ok(()));
        let expected = match cut {
            0 => Ok(EndOfInput::Clean),
            _ if edges.contains(&cut) => Ok(EndOfInput::Live),
            _ => Err(DecodeError::Truncated { offset: start_of(cut) }),
        };
        assert_eq!(decoder.end_of_input(), expected, "{cut} bytes");
        assert_eq!(decoder.is_inside_record(), expected.is_err());
        decoder.finish(1);
        if edges.contains(&cut) {
            assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Clean));
        }
    }
}

#[test]
fn a_truncated_request_never_looks_whole() {
    let wire = whole_request();
    for cut in 0..wire.len() {
        let mut decoder = Decoder::new(1);
        let (seen, _) = feed(&mut decoder, [&wire[..cut]]);
        assert!(!seen.contains(&event(Event::StdinEnd { id: 1 })), "{cut} bytes");
        assert_ne!(decoder.phase(1), Some(Phase::Whole));
    }
}

#[test]
fn requests_follow_one_another_on_one_connection() {
    let mut decoder = Decoder::new(1);
    for _ in 0..3 {
        let (seen, outcome) = feed(&mut decoder, [&whole_request()[..]]);
        assert_eq!((seen.len(), outcome), (7, Ok(())));
        assert_eq!(decoder.phase(1), Some(Phase::Whole));
        assert!(decoder.finish(1));
        assert!(!decoder.finish(1));
    }
}

#[test]
fn requests_may_be_interleaved() {
    let seen = events(&[
        responder(2),
        responder(1),
        record(RecordType::PARAMS, 1, b"", 0),
        record(RecordType::STDIN, 1, b"one", 0),
        record(RecordType::PARAMS, 2, b"", 0),
        record(RecordType::STDIN, 2, b"two", 0),
        record(RecordType::STDIN, 1, b"", 0),
    ]);
    assert_eq!(
        seen,
        [
            began(2),
            began(1),
            event(Event::ParamsEnd { id: 1 }),
            stdin(1, b"one"),
            event(Event::ParamsEnd { id: 2 }),
            stdin(2, b"two"),
            event(Event::StdinEnd { id: 1 }),
        ]
    );
}

#[test]
fn live_requests_are_listed_with_their_phases() {
    let wire = [
        responder(9),
        responder(3),
        begin(5, Role::AUTHORIZER, 0),
        begin(6, Role::FILTER, 0),
        record(RecordType::PARAMS, 3, b"", 0),
        record(RecordType::PARAMS, 5, b"", 0),
        record(RecordType::PARAMS, 6, b"", 0),
        record(RecordType::STDIN, 6, b"", 0),
        record(RecordType::STDIN, 9, b"", 0),
    ]
    .concat();
    let mut decoder = Decoder::new(8);
    feed(&mut decoder, [&wire[..]]).1.unwrap();
    let live: Vec<_> = decoder.live().collect();
    assert_eq!(live, [(3, Phase::Body), (5, Phase::Whole), (6, Phase::Body), (9, Phase::Params)]);
    assert_eq!(decoder.live_count(), 4);
    assert_eq!(decoder.phase(4), None);
    feed(&mut decoder, [&record(RecordType::DATA, 6, b"", 0)[..]]).1.unwrap();
    assert_eq!(decoder.phase(6), Some(Phase::Whole));
}

#[test]
fn roles_are_given_as_sent_and_keep_conn_is_one_bit() {
    let cases =
        [(Role(0), 0, false), (Role::FILTER, 1, true), (Role(258), 0xfe, false), (Role(4), 0xff, true)];
    for (role, flags, keep_conn) in cases {
        assert_eq!(events(&[begin(1, role, flags)]), [event(Event::Begin { id: 1, role, keep_conn })]);
    }
}

#[test]
fn records_of_requests_that_are_not_live_are_ignored() {
    let seen = events(&[
        record(RecordType::PARAMS, 1, b"\xff", 1),
        record(RecordType::PARAMS, 1, b"", 0),
        record(RecordType::STDIN, 1, b"x", 0),
        record(RecordType::STDIN, 1, b"", 0),
        record(RecordType::DATA, 1, b"x", 0),
        record(RecordType::ABORT_REQUEST, 1, b"", 0),
        responder(2),
    ]);
    assert_eq!(seen, [began(2)]);
}

#[test]
fn records_of_a_finished_request_are_ignored_also_in_their_middle() {
    let wire =
        [record(RecordType::STDIN, 1, b"abcdef", 2), record(RecordType::STDIN, 1, b"", 0), responder(1)];
    let wire = wire.concat();
    for cut in 8..=wire.len() {
        let mut decoder = Decoder::new(1);
        feed(&mut decoder, [&responder(1)[..], &wire[..cut.min(12)]]).1.unwrap();
        assert!(decoder.finish(1));
        let (seen, outcome) = feed(&mut decoder, [&wire[cut.min(12)..]]);
        assert_eq!((seen, outcome), (vec![began(1)], Ok(())), "finished before byte {cut}");
    }
}

#[test]
fn unknown_types_with_a_request_id_are_ignored() {
    for record_type in [0, 12, 255].map(RecordType) {
        let seen = events(&[responder(1), record(record_type, 1, b"xyz", 2), record(record_type, 7, b"", 0)]);
        assert_eq!(seen, [began(1)], "{record_type}");
    }
}

#[test]
fn unknown_types_without_a_request_id_are_events() {
    for record_type in [0, 12, 255].map(RecordType) {
        let seen = events(&[record(record_type, 0, b"xyz", 2), record(record_type, 0, b"", 0), responder(1)]);
        let unknown = event(Event::UnknownManagement { record_type });
        assert_eq!(seen, [unknown.clone(), unknown, began(1)], "{record_type}");
    }
}

#[test]
fn data_at_a_responder_is_ignored() {
    let seen = events(&[
        responder(1),
        record(RecordType::DATA, 1, b"xyz", 0),
        record(RecordType::DATA, 1, b"", 0),
        record(RecordType::STDIN, 1, b"x", 0),
    ]);
    assert_eq!(seen, [began(1), stdin(1, b"x")]);
}

#[test]
fn data_at_a_filter_comes_as_events() {
    let seen = events(&[
        begin(1, Role::FILTER, 0),
        record(RecordType::DATA, 1, b"xyz", 0),
        record(RecordType::DATA, 1, b"", 0),
        record(RecordType::DATA, 1, b"late", 0),
        record(RecordType::DATA, 1, b"", 0),
    ]);
    assert_eq!(
        seen,
        [
            event(Event::Begin { id: 1, role: Role::FILTER, keep_conn: false }),
            Seen::Bytes(Stream::Data, 1, b"xyz".to_vec()),
            event(Event::DataEnd { id: 1 }),
        ]
    );
}

#[test]
fn stdin_before_the_end_of_params_is_delivered() {
    let seen = events(&[
        responder(1),
        record(RecordType::STDIN, 1, b"early", 0),
        record(RecordType::STDIN, 1, b"", 0),
        record(RecordType::PARAMS, 1, b"\x00\x00", 0),
        record(RecordType::PARAMS, 1, b"", 0),
    ]);
    assert_eq!(
        seen,
        [
            began(1),
            stdin(1, b"early"),
            event(Event::StdinEnd { id: 1 }),
            Seen::Bytes(Stream::Params, 1, b"\0\0".to_vec()),
            event(Event::ParamsEnd { id: 1 }),
        ]
    );
}

#[test]
fn stdin_after_its_end_is_ignored() {
    let end = record(RecordType::STDIN, 1, b"", 0);
    let seen =
        events(&[responder(1), end.clone(), end.clone(), record(RecordType::STDIN, 1, b"late", 4), end]);
    assert_eq!(seen, [began(1), event(Event::StdinEnd { id: 1 })]);
}

#[test]
fn abort_comes_at_any_stage_and_its_content_is_ignored() {
    let abort = record(RecordType::ABORT_REQUEST, 1, b"xyz", 1);
    let aborted = event(Event::Abort { id: 1 });
    let whole = whole_request();
    for parts in [
        vec![responder(1), abort.clone()],
        vec![responder(1), record(RecordType::PARAMS, 1, b"\x01", 0), abort.clone()],
        vec![whole, abort],
    ] {
        assert_eq!(events(&parts).last(), Some(&aborted));
    }
}

#[test]
fn more_requests_than_allowed_are_overloaded_and_then_ignored() {
    let wire = [
        responder(1),
        responder(2),
        begin(3, Role::RESPONDER, 0),
        begin(4, Role::FILTER, 1),
        record(RecordType::PARAMS, 3, b"x", 0),
        record(RecordType::PARAMS, 3, b"", 0),
        record(RecordType::STDIN, 3, b"", 0),
        record(RecordType::STDIN, 2, b"two", 0),
    ];
    let (seen, outcome) = decode_with(2, &wire.concat());
    assert_eq!(outcome, Ok(()));
    assert_eq!(
        seen,
        [
            began(1),
            began(2),
            event(Event::Overloaded { id: 3, keep_conn: false }),
            event(Event::Overloaded { id: 4, keep_conn: true }),
            stdin(2, b"two"),
        ]
    );
}

#[test]
fn a_finished_request_makes_room() {
    let mut decoder = Decoder::new(1);
    assert_eq!(feed(&mut decoder, [&responder(1)[..]]).0, [began(1)]);
    let overloaded = event(Event::Overloaded { id: 2, keep_conn: true });
    assert_eq!(feed(&mut decoder, [&responder(2)[..]]).0, [overloaded]);
    decoder.finish(1);
    assert_eq!(feed(&mut decoder, [&responder(2)[..]]).0, [began(2)]);
}

#[test]
fn memory_does_not_grow_with_records() {
    let mut decoder = Decoder::new(4);
    for id in 1..=u16::MAX {
        feed(&mut decoder, [&responder(id)[..]]).1.unwrap();
    }
    assert_eq!(decoder.live_count(), 4);
}

#[test]
fn get_values_tells_the_known_names_once() {
    let ask = |names: &[&[u8]]| {
        let content: Vec<_> = names.iter().map(|name| pair(name, b"")).collect();
        events(&[record(RecordType::GET_VALUES, 0, &content.concat(), 3)])
    };
    let told = |max_conns, max_reqs, mpxs_conns| {
        [event(Event::GetValues(Names { max_conns, max_reqs, mpxs_conns }))]
    };
    assert_eq!(ask(&[]), told(false, false, false));
    assert_eq!(ask(&[b"FCGI_MAX_CONNS"]), told(true, false, false));
    assert_eq!(ask(&[b"FCGI_MPXS_CONNS", b"FCGI_MAX_REQS"]), told(false, true, true));
    assert_eq!(ask(&[&b"FCGI_MAX_REQS"[..]; 5]), told(false, true, false));
    assert_eq!(ask(&[b"", b"FCGI_MAX_REQ", b"FCGI_MAX_REQSS", b"fcgi_max_reqs"]), told(false, false, false));
    assert_eq!(ask(&[b"FCGI_MPXS_CONNS_", &[b'F'; 300], b"FCGI_MAX_CONNS"]), told(true, false, false));
}

#[test]
fn get_values_with_values_and_long_lengths_is_understood() {
    let content = b"\x80\x00\x00\x0e\x80\x00\x00\x03FCGI_MAX_CONNSabc\x0d\x80\x00\x00\x00FCGI_MAX_REQS";
    let names = Names { max_conns: true, max_reqs: true, mpxs_conns: false };
    assert_eq!(events(&[record(RecordType::GET_VALUES, 0, content, 0)]), [event(Event::GetValues(names))]);
}

#[test]
fn get_values_with_ten_thousand_names_is_one_event() {
    for name in [&b""[..], b"N", b"NAME", b"FCGI_MPXS_CONNS"] {
        let pairs = pair(name, b"").repeat(10_000);
        let pairs = &pairs[..pairs.len().min(65_535 / (name.len() + 2) * (name.len() + 2))];
        let wire = record(RecordType::GET_VALUES, 0, pairs, 0);
        let names = Names { mpxs_conns: name.len() > 4, ..Names::default() };
        for size in [1, 7, 4096, 65536] {
            let (seen, outcome) = feed(&mut Decoder::new(1), wire.chunks(size));
            assert_eq!((seen, outcome), (vec![event(Event::GetValues(names))], Ok(())));
        }
    }
}

#[test]
fn get_values_with_a_request_id_is_ignored() {
    let content = pair(b"FCGI_MAX_CONNS", b"");
    let seen = events(&[responder(1), record(RecordType::GET_VALUES, 1, &content, 0)]);
    assert_eq!(seen, [began(1)]);
}

#[test]
fn a_pair_of_get_values_past_its_end_is_an_error() {
    let contents: [&[u8]; 6] = [
        b"\x0e",
        b"\x80\x00",
        b"\x0e\x80\x00\x00",
        b"\x0e\x00FCGI_MAX_CONN",
        b"\x01\x01A",
        b"\xff\xff\xff\xff\xff\xff\xff\xffFCGI_MAX_CONNS",
    ];
    for content in contents {
        let wire = [responder(1), record(RecordType::GET_VALUES, 0, content, 0)];
        assert_eq!(error(&wire), DecodeError::Pair { offset: 19 }, "{}", content.escape_ascii());
    }
}

#[test]
fn a_version_other_than_1_is_an_error() {
    for version in [0, 2, b'G'] {
        let mut bad = responder(2);
        bad[0] = version;
        assert_eq!(error(&[responder(1), bad]), DecodeError::Version { version, offset: 19 });
    }
}

#[test]
fn an_application_record_with_request_id_0_is_an_error() {
    for record_type in [
        RecordType::BEGIN_REQUEST,
        RecordType::ABORT_REQUEST,
        RecordType::PARAMS,
        RecordType::STDIN,
        RecordType::DATA,
    ] {
        let wire = [record(record_type, 0, b"12345678", 0)];
        assert_eq!(error(&wire), DecodeError::NullRequestId { record_type, offset: 0 });
    }
}

#[test]
fn a_begin_body_other_than_8_bytes_is_an_error() {
    for length in [0, 7, 9, 16, 65535] {
        let wire = record(RecordType::BEGIN_REQUEST, 1, &vec![0; length], 0);
        let outcome = feed(&mut Decoder::new(1), [&wire[..]]).1;
        let length = u16::try_from(length).unwrap();
        assert_eq!(outcome, Err(DecodeError::BeginLength { id: 1, length, offset: 0 }));
    }
}

#[test]
fn begin_of_a_live_request_is_an_error_also_when_full() {
    let (_, outcome) = decode_with(1, &[responder(1), responder(1)].concat());
    assert_eq!(outcome, Err(DecodeError::BeginTwice { id: 1, offset: 19 }));
}

#[test]
fn params_after_their_end_are_an_error() {
    let end = record(RecordType::PARAMS, 1, b"", 0);
    for late in [end.clone(), record(RecordType::PARAMS, 1, b"\0\0", 0)] {
        let wire = [responder(1), end.clone(), late];
        assert_eq!(error(&wire), DecodeError::ParamsAfterEnd { id: 1, offset: 27 });
    }
}

#[test]
fn types_that_only_an_application_sends_are_errors() {
    for record_type in [
        RecordType::END_REQUEST,
        RecordType::STDOUT,
        RecordType::STDERR,
        RecordType::GET_VALUES_RESULT,
        RecordType::UNKNOWN_TYPE,
    ] {
        for id in [0, 1, 2] {
            let wire = [responder(1), record(record_type, id, b"12345678", 0)];
            assert_eq!(error(&wire), DecodeError::WrongDirection { record_type, offset: 19 });
        }
    }
}

#[test]
fn events_before_an_error_are_delivered() {
    let (seen, outcome) = decode(&[whole_request(), vec![0; 8]].concat());
    assert_eq!(seen.len(), 7);
    assert!(outcome.is_err());
}

#[test]
fn errors_are_the_peers_with_status_400_and_say_what_and_where() {
    let (record_type, id, offset) = (RecordType::STDIN, 3, 96);
    let cases = [
        (DecodeError::Version { version: 71, offset }, "FastCGI record at byte 96 has version 71, not 1"),
        (DecodeError::NullRequestId { record_type, offset }, "FastCGI STDIN at byte 96 has request id 0"),
        (
            DecodeError::BeginLength { id, length: 9, offset },
            "FastCGI BEGIN_REQUEST of request 3 at byte 96 has a body of 9 bytes, not 8",
        ),
        (
            DecodeError::BeginTwice { id, offset },
            "FastCGI BEGIN_REQUEST at byte 96 for request 3, which is live",
        ),
        (
            DecodeError::ParamsAfterEnd { id, offset },
            "FastCGI PARAMS of request 3 at byte 96, after their end",
        ),
        (
            DecodeError::WrongDirection { record_type: RecordType::STDOUT, offset },
            "FastCGI STDOUT at byte 96, which only an application sends",
        ),
        (
            DecodeError::Pair { offset },
            "FastCGI GET_VALUES at byte 96 has a name-value pair that runs past its end",
        ),
        (DecodeError::Truncated { offset }, "end of file inside the FastCGI record at byte 96"),
    ];
    for (error, text) in cases {
        let error = Error::from(error);
        assert_eq!((error.fault(), error.status(), &*error.to_string()), (Fault::Peer, 400, text));
    }
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    // Mostly types from a web server, few ids: what leads deep.
    let types = prop_oneof![8 => 0_u8..=9, 1 => any::<u8>()];
    let content = prop_oneof![Just(vec![0, 1, 1, 0, 0, 0, 0, 0]), Just(vec![]), vec(any::<u8>(), 0..40)];
    (types, 0_u16..4, content, 0_u8..9).prop_map(|(record_type, id, content, padding)| {
        record(RecordType(record_type), id, &content, padding)
    })
}

proptest! {
    #![proptest_config(crate::repeatable(500))]

    #[test]
    fn any_slicing_gives_the_same_events(
        records in vec(any_record(), 0..12),
        sizes in vec(1_usize..40, 1..20),
        max_requests in 0_usize..4,
    ) {
        let wire = records.concat();
        let whole = feed(&mut Decoder::new(max_requests), [&wire[..]]);
        let mut pieces = Vec::new();
        let mut rest = &wire[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push(crate::proto::take(&mut rest, *size));
        }
        prop_assert_eq!(feed(&mut Decoder::new(max_requests), pieces), whole);
    }

    #[test]
    fn any_bytes_are_read_to_their_end_or_refused(wire in vec(any::<u8>(), 0..300), size in 1_usize..50) {
        let mut decoder = Decoder::new(2);
        let (_, outcome) = feed(&mut decoder, wire.chunks(size));
        prop_assert!(outcome.is_ok() || decoder.end_of_input() == Err(outcome.unwrap_err()));
        prop_assert!(decoder.live_count() <= 2);
    }

    #[test]
    fn any_bytes_behind_good_headers_are_read_or_refused(records in vec(any_record(), 0..40)) {
        let mut decoder = Decoder::new(2);
        let mut input = &records.concat()[..];
        let mut events = 0;
        while let Ok(Some(_)) = decoder.decode(&mut input) {
            events += 1;
        }
        prop_assert!(events <= 2 * records.len());
    }
}
