//! Tests of the HTTP machine. Each rule has its case, fed whole, byte by byte, at every split, and cut short.

mod alone;
mod body;
mod head;
mod request;
mod response;

use super::{BodyDecoder, DecodeError, Framing, HeadDecoder, Limits, Request};

/// The bytes of a head or a body, and those behind it.
type Split = (Vec<u8>, Vec<u8>);
/// What became of a head.
type Outcome = Result<Split, DecodeError>;

/// Feeds `pieces` to a decoder as far as it goes, then to the parser. `Ok(None)`: more is needed.
fn feed(pieces: &[&[u8]], limits: Limits) -> Result<Option<Split>, DecodeError> {
    let mut decoder = HeadDecoder::new(limits);
    let mut head = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let mut input = *piece;
        if decoder.decode(&mut input, &mut head)? {
            let mut rest = input.to_vec();
            pieces.iter().skip(at + 1).for_each(|piece| rest.extend_from_slice(piece));
            Request::parse(&head, &limits)?;
            return Ok(Some((head, rest)));
        }
        assert_eq!(input, b"", "what is not enough is read whole");
    }
    assert!(decoder.end_of_input() != Ok(super::EndOfInput::Whole));
    Ok(None)
}

/// The outcome for `wire`, which must be the same however it is sliced.
fn decode_with(wire: &[u8], limits: Limits) -> Outcome {
    let whole = feed(&[wire], limits);
    #[cfg(unix)]
    check_first(wire, limits, &whole);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(feed(&bytes, limits), whole, "byte by byte: {}", wire.escape_ascii());
    if wire.len() <= 2000 {
        for at in 0..=wire.len() {
            let halves = [&wire[..at], &wire[at..]];
            assert_eq!(feed(&halves, limits), whole, "split at {at}: {}", wire.escape_ascii());
        }
    }
    whole.map(|found| found.unwrap_or_else(|| panic!("not whole: {}", wire.escape_ascii())))
}

/// What is read from where it was received is what decoder and parser find there, and nothing that they refuse.
#[cfg(unix)]
fn check_first(wire: &[u8], limits: Limits, outcome: &Result<Option<Split>, DecodeError>) {
    let mut slots = super::Slots::new();
    match (super::Head::first(wire, &limits, &mut slots), outcome) {
        (Some(found), Ok(Some((head, rest)))) => {
            assert_eq!(wire.split_at(found.length), (&head[..], &rest[..]), "{}", wire.escape_ascii());
            let request = Request::parse(head, &limits).unwrap();
            assert_eq!(found.request, request);
            assert!(found.fields().eq(request.fields()), "{}", wire.escape_ascii());
        }
        (Some(_), refused) => panic!("taken, but {refused:?}: {}", wire.escape_ascii()),
        (None, Ok(Some((head, _)))) => {
            let fields = Request::parse(head, &limits).unwrap().fields().count();
            assert!(fields > 128 || wire.starts_with(b"\r\n"), "looked at twice: {}", wire.escape_ascii());
        }
        (None, _) => {}
    }
}

fn decode(wire: &[u8]) -> Outcome {
    decode_with(wire, Limits::default())
}

fn refused(wire: &[u8]) -> DecodeError {
    match decode(wire) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {}", wire.escape_ascii()),
    }
}

/// The body's bytes and what follows them; the same however it is sliced. `None`: more is needed.
fn decode_body(framing: Framing, wire: &[u8], limit: u64) -> Result<Option<Split>, DecodeError> {
    fn run(framing: Framing, pieces: &[&[u8]], limit: u64) -> Result<Option<Split>, DecodeError> {
        let mut decoder = BodyDecoder::new(framing, limit)?;
        let (mut body, mut rest) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while let Some(data) = decoder.decode(&mut input)? {
                assert!(!data.is_empty());
                body.extend_from_slice(data);
            }
            assert!(decoder.is_whole() || input.is_empty(), "what is not enough is read whole");
            rest.extend_from_slice(input);
        }
        assert_eq!(decoder.received(), body.len() as u64);
        assert_eq!(decoder.left() == Some(0), decoder.is_whole());
        assert_eq!(decoder.end_of_input().is_ok(), decoder.is_whole());
        Ok(decoder.is_whole().then_some((body, rest)))
    }
    let whole = run(framing, &[wire], limit);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(run(framing, &bytes, limit), whole, "byte by byte: {}", wire.escape_ascii());
    if wire.len() <= 2000 {
        for at in 0..=wire.len() {
            assert_eq!(run(framing, &[&wire[..at], &wire[at..]], limit), whole, "split at {at}");
        }
    }
    whole
}
