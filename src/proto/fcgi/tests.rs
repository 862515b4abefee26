//! Wire bytes against events, whatever the slicing; the tests' names are the rules.

mod decoder;
mod encode;
mod params;
mod response;

use super::*;

/// A record as bytes, with padding that must mean nothing.
fn record(record_type: RecordType, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let content_length = u16::try_from(content.len()).unwrap();
    let header =
        Header { padding_length: padding, ..Header { content_length, ..Header::new(record_type, id, 0) } };
    let mut wire = header.encode().to_vec();
    wire[7] = 0xee; // reserved
    wire.extend_from_slice(content);
    wire.extend(std::iter::repeat_n(0xff, usize::from(padding)));
    wire
}

fn begin(id: u16, role: Role, flags: u8) -> Vec<u8> {
    let [role1, role0] = role.0.to_be_bytes();
    record(RecordType::BEGIN_REQUEST, id, &[role1, role0, flags, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa], 3)
}

fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    super::encode::pair(&mut block, name, value).unwrap();
    block
}

/// An event that owns its bytes; fragments that follow one another are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Event(Event<'static>),
    Response(ResponseEvent<'static>),
    Bytes(Stream, u16, Vec<u8>),
}

fn see(seen: &mut Vec<Seen>, event: Event<'_>) {
    let plain = match event {
        Event::Params { id, data } => return bytes(seen, Stream::Params, id, data),
        Event::Stdin { id, data } => return bytes(seen, Stream::Stdin, id, data),
        Event::Data { id, data } => return bytes(seen, Stream::Data, id, data),
        Event::Begin { id, role, keep_conn } => Event::Begin { id, role, keep_conn },
        Event::Overloaded { id, keep_conn } => Event::Overloaded { id, keep_conn },
        Event::ParamsEnd { id } => Event::ParamsEnd { id },
        Event::StdinEnd { id } => Event::StdinEnd { id },
        Event::DataEnd { id } => Event::DataEnd { id },
        Event::Abort { id } => Event::Abort { id },
        Event::GetValues(names) => Event::GetValues(names),
        Event::UnknownManagement { record_type } => Event::UnknownManagement { record_type },
    };
    seen.push(Seen::Event(plain));
}

fn see_response(seen: &mut Vec<Seen>, event: ResponseEvent<'_>) {
    let plain = match event {
        ResponseEvent::Stdout { id, data } => return bytes(seen, Stream::Stdout, id, data),
        ResponseEvent::Stderr { id, data } => return bytes(seen, Stream::Stderr, id, data),
        ResponseEvent::StdoutEnd { id } => ResponseEvent::StdoutEnd { id },
        ResponseEvent::StderrEnd { id } => ResponseEvent::StderrEnd { id },
        ResponseEvent::EndRequest { id, app_status, protocol_status } => {
            ResponseEvent::EndRequest { id, app_status, protocol_status }
        }
        ResponseEvent::GetValuesResult(values) => ResponseEvent::GetValuesResult(values),
        ResponseEvent::UnknownType { record_type } => ResponseEvent::UnknownType { record_type },
    };
    seen.push(Seen::Response(plain));
}

fn bytes(seen: &mut Vec<Seen>, stream: Stream, id: u16, data: &[u8]) {
    assert!(!data.is_empty(), "an empty fragment");
    match seen.last_mut() {
        Some(Seen::Bytes(last_stream, last_id, gathered)) if (*last_stream, *last_id) == (stream, id) => {
            gathered.extend_from_slice(data);
        }
        _ => seen.push(Seen::Bytes(stream, id, data.to_vec())),
    }
}

/// Feeds all pieces; each must be read to its end, and each event must use up input.
fn feed<'p>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Seen>, Result<(), DecodeError>) {
    let mut seen = Vec::new();
    for mut input in pieces {
        loop {
            let before = input.len();
            match decoder.decode(&mut input) {
                Ok(Some(event)) => {
                    assert!(input.len() < before, "an event without progress");
                    see(&mut seen, event);
                }
                Ok(None) => {
                    assert!(input.is_empty(), "input left over");
                    break;
                }
                Err(error) => {
                    let mut more = &b"\x01\x01"[..];
                    assert_eq!(decoder.decode(&mut more), Err(error), "an error lasts");
                    assert_eq!(decoder.end_of_input(), Err(error));
                    return (seen, Err(error));
                }
            }
        }
    }
    (seen, Ok(()))
}

fn feed_response<'p>(
    decoder: &mut ResponseDecoder,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Seen>, Result<(), ResponseError>) {
    let mut seen = Vec::new();
    for mut input in pieces {
        loop {
            let before = input.len();
            match decoder.decode(&mut input) {
                Ok(Some(event)) => {
                    assert!(input.len() < before, "an event without progress");
                    see_response(&mut seen, event);
                }
                Ok(None) => {
                    assert!(input.is_empty(), "input left over");
                    break;
                }
                Err(error) => {
                    assert_eq!(decoder.decode(&mut &b"\x01\x06"[..]), Err(error), "an error lasts");
                    assert_eq!(decoder.end_of_input(), Err(error));
                    return (seen, Err(error));
                }
            }
        }
    }
    (seen, Ok(()))
}

/// What `wire` says, the same whole, byte by byte, and cut in two anywhere.
fn decode(wire: &[u8]) -> (Vec<Seen>, Result<(), DecodeError>) {
    decode_with(8, wire)
}

fn decode_with(max_requests: usize, wire: &[u8]) -> (Vec<Seen>, Result<(), DecodeError>) {
    let whole = feed(&mut Decoder::new(max_requests), [wire]);
    assert_eq!(feed(&mut Decoder::new(max_requests), wire.chunks(1)), whole, "byte by byte");
    for cut in 0..wire.len() {
        let (head, tail) = wire.split_at(cut);
        assert_eq!(feed(&mut Decoder::new(max_requests), [head, tail]), whole, "cut at {cut}");
    }
    whole
}

fn decode_response(wire: &[u8]) -> (Vec<Seen>, Result<(), ResponseError>) {
    let whole = feed_response(&mut ResponseDecoder::new(), [wire]);
    assert_eq!(feed_response(&mut ResponseDecoder::new(), wire.chunks(1)), whole, "byte by byte");
    for cut in 0..wire.len() {
        let (head, tail) = wire.split_at(cut);
        assert_eq!(feed_response(&mut ResponseDecoder::new(), [head, tail]), whole, "cut at {cut}");
    }
    whole
}
