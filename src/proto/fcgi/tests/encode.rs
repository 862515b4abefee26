//! Records as bytes, and both sides agreeing on them.

use super::super::encode;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// The headers in `wire`, and that nothing is left behind them.
fn headers(mut wire: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    while let Some((header, rest)) = wire.split_first_chunk() {
        let header = Header::decode(*header);
        wire = &rest[usize::from(header.content_length) + usize::from(header.padding_length)..];
        headers.push(header);
    }
    assert!(wire.is_empty());
    headers
}

#[test]
fn a_stream_is_cut_into_records_of_65528_bytes() {
    let cases: [(usize, &[u16]); 6] = [
        (0, &[]),
        (1, &[1]),
        (65_528, &[65_528]),
        (65_529, &[65_528, 1]),
        (65_536, &[65_528, 8]),
        (131_057, &[65_528, 65_528, 1]),
    ];
    for (length, expected) in cases {
        let content: Vec<u8> = (0..=250).cycle().take(length).collect();
        let mut wire = Vec::new();
        encode::stream(&mut wire, Stream::Stdout, 3, &content);
        let lengths: Vec<_> = headers(&wire).iter().map(|header| header.content_length).collect();
        assert_eq!(lengths, expected);
        let (seen, outcome) = feed_response(&mut ResponseDecoder::new(), [&wire[..]]);
        assert_eq!(outcome, Ok(()));
        let stdout = (length > 0).then_some(Seen::Bytes(Stream::Stdout, 3, content));
        assert_eq!(seen, stdout.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn encoders_append() {
    let mut out = b"before".to_vec();
    encode::stream(&mut out, Stream::Stderr, 0x0102, b"!");
    encode::stream_end(&mut out, Stream::Stderr, 0x0102);
    encode::end_request(&mut out, 0x0102, 0x0a0b_0c0d, ProtocolStatus::UNKNOWN_ROLE);
    encode::abort_request(&mut out, 7);
    let expected = [
        &b"before"[..],
        b"\x01\x07\x01\x02\x00\x01\x00\x00!",
        b"\x01\x07\x01\x02\x00\x00\x00\x00",
        b"\x01\x03\x01\x02\x00\x08\x00\x00\x0a\x0b\x0c\x0d\x03\x00\x00\x00",
        b"\x01\x02\x00\x07\x00\x00\x00\x00",
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn no_pairs_are_only_the_end_of_params() {
    let mut out = Vec::new();
    encode::params(&mut out, 1, []).unwrap();
    assert_eq!(headers(&out), [Header::new(RecordType::PARAMS, 1, 0)]);
}

#[test]
fn params_are_cut_between_pairs() {
    let value = vec![b'v'; 40_000];
    let pairs = [(&b"A"[..], &value[..]), (b"B", &value[..]), (b"C", b"c")];
    let mut out = Vec::new();
    encode::params(&mut out, 1, pairs).unwrap();
    let lengths: Vec<_> = headers(&out).iter().map(|header| header.content_length).collect();
    assert_eq!(lengths, [40_006, 40_010, 0]);
    assert_eq!(params_in(&out), pairs.map(|(name, value)| (name.to_vec(), value.to_vec())));
}

#[test]
fn params_fill_a_record_to_its_last_byte() {
    for (length, expected) in [(65_522, &[65_528, 0][..]), (65_523, &[65_528, 1, 0])] {
        let value = vec![b'v'; length];
        let mut out = Vec::new();
        encode::params(&mut out, 1, [(&b"A"[..], &value[..])]).unwrap();
        let lengths: Vec<_> = headers(&out).iter().map(|header| header.content_length).collect();
        assert_eq!(lengths, expected);
    }
}

#[test]
fn the_last_pair_of_a_record_may_fill_it() {
    for (length, expected) in [(65_518, &[65_528, 0][..]), (65_519, &[65_525, 4, 0])] {
        let value = vec![b'v'; length];
        let mut out = Vec::new();
        encode::params(&mut out, 1, [(&b"A"[..], &value[..]), (b"B", b"b")]).unwrap();
        let lengths: Vec<_> = headers(&out).iter().map(|header| header.content_length).collect();
        assert_eq!(lengths, expected);
    }
}

#[test]
fn a_pair_that_no_record_holds_is_cut() {
    let value = vec![b'v'; 70_000];
    let pairs = [(&b"A"[..], &b"a"[..]), (b"B", &value[..]), (b"C", b"c")];
    let mut out = Vec::new();
    encode::params(&mut out, 1, pairs).unwrap();
    let lengths: Vec<_> = headers(&out).iter().map(|header| header.content_length).collect();
    assert_eq!(lengths, [4, 65_528, 4_478, 4, 0]);
    assert_eq!(params_in(&out), pairs.map(|(name, value)| (name.to_vec(), value.to_vec())));
}

/// The pairs of a PARAMS stream.
fn params_in(wire: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let wire = [begin(1, Role::RESPONDER, 0), wire.to_vec()].concat();
    let (seen, outcome) = feed(&mut Decoder::new(1), [&wire[..]]);
    assert_eq!(outcome, Ok(()));
    assert_eq!(seen.last(), Some(&Seen::Event(Event::ParamsEnd { id: 1 })));
    let block = match &seen[..] {
        [_, Seen::Bytes(Stream::Params, 1, block), _] => &block[..],
        [_, _] => &[],
        other => panic!("{other:?}"),
    };
    Pairs::new(block).map(|pair| pair.map(|(name, value)| (name.to_vec(), value.to_vec())).unwrap()).collect()
}

#[test]
fn headers_are_read_back_but_for_the_reserved_byte() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(Header::decode(bytes).encode(), [1, 2, 3, 4, 5, 6, 7, 0]);
}

#[test]
fn types_have_the_names_of_the_specification() {
    let names: Vec<_> = (0..=12).map(|number| RecordType(number).to_string()).collect();
    assert_eq!(
        names,
        [
            "type 0",
            "BEGIN_REQUEST",
            "ABORT_REQUEST",
            "END_REQUEST",
            "PARAMS",
            "STDIN",
            "STDOUT",
            "STDERR",
            "DATA",
            "GET_VALUES",
            "GET_VALUES_RESULT",
            "UNKNOWN_TYPE",
            "type 12",
        ]
    );
}

#[test]
fn get_values_is_read_back() {
    for bits in 0..8 {
        let names = Names { max_conns: bits & 1 != 0, max_reqs: bits & 2 != 0, mpxs_conns: bits & 4 != 0 };
        let mut wire = Vec::new();
        encode::get_values(&mut wire, names);
        assert_eq!(decode(&wire), (vec![Seen::Event(Event::GetValues(names))], Ok(())));
    }
}

fn any_pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let long = (0_usize..140_000).prop_map(|length| vec![b'v'; length]);
    let value = prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => long];
    vec((vec(any::<u8>(), 0..140), value), 0..8)
}

proptest! {
    #![proptest_config(crate::repeatable(64))]

    #[test]
    fn a_request_is_read_back(
        id in 1..=u16::MAX,
        role in any::<u16>(),
        keep_conn in any::<bool>(),
        pairs in any_pairs(),
        body in vec(any::<u8>(), 0..300),
        size in 1_usize..70_000,
    ) {
        let mut wire = Vec::new();
        encode::begin_request(&mut wire, id, Role(role), keep_conn);
        encode::params(&mut wire, id, pairs.iter().map(|(name, value)| (&name[..], &value[..]))).unwrap();
        encode::stream(&mut wire, Stream::Stdin, id, &body);
        encode::stream_end(&mut wire, Stream::Stdin, id);

        let block: Vec<u8> = pairs.iter().flat_map(|(name, value)| pair(name, value)).collect();
        let mut expected = vec![Seen::Event(Event::Begin { id, role: Role(role), keep_conn })];
        expected.extend((!block.is_empty()).then_some(Seen::Bytes(Stream::Params, id, block)));
        expected.push(Seen::Event(Event::ParamsEnd { id }));
        expected.extend((!body.is_empty()).then_some(Seen::Bytes(Stream::Stdin, id, body)));
        expected.push(Seen::Event(Event::StdinEnd { id }));

        let mut decoder = Decoder::new(1);
        prop_assert_eq!(feed(&mut decoder, wire.chunks(size)), (expected, Ok(())));
        prop_assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Live));
    }

    #[test]
    fn an_answer_is_read_back(
        id in 1..=u16::MAX,
        stderr in vec(any::<u8>(), 0..50),
        stdout in vec(any::<u8>(), 0..300),
        app_status in any::<u32>(),
        status in any::<u8>(),
        max_conns in proptest::option::of(any::<u32>()),
        mpxs_conns in proptest::option::of(any::<bool>()),
        size in 1_usize..500,
    ) {
        let values = Values { max_conns, max_reqs: None, mpxs_conns };
        let protocol_status = ProtocolStatus(status);
        let mut wire = Vec::new();
        encode::get_values_result(&mut wire, values);
        encode::unknown_type(&mut wire, RecordType(status));
        encode::stream(&mut wire, Stream::Stderr, id, &stderr);
        encode::stream(&mut wire, Stream::Stdout, id, &stdout);
        encode::stream_end(&mut wire, Stream::Stdout, id);
        encode::end_request(&mut wire, id, app_status, protocol_status);

        let mut expected = vec![
            Seen::Response(ResponseEvent::GetValuesResult(values)),
            Seen::Response(ResponseEvent::UnknownType { record_type: RecordType(status) }),
        ];
        expected.extend((!stderr.is_empty()).then_some(Seen::Bytes(Stream::Stderr, id, stderr)));
        expected.extend((!stdout.is_empty()).then_some(Seen::Bytes(Stream::Stdout, id, stdout)));
        expected.push(Seen::Response(ResponseEvent::StdoutEnd { id }));
        expected.push(Seen::Response(ResponseEvent::EndRequest { id, app_status, protocol_status }));

        let mut decoder = ResponseDecoder::new();
        prop_assert_eq!(feed_response(&mut decoder, wire.chunks(size)), (expected, Ok(())));
        prop_assert_eq!(decoder.end_of_input(), Ok(()));
    }
}
