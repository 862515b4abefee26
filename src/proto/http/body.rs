//! A request's body as it comes off the wire.

use super::chunked::Chunked;
use super::error::DecodeError;
use super::request::Framing;
use crate::proto::take;

/// Takes a body out of its frame, from input of any slicing, without copying.
///
/// ```
/// use gatewright::proto::http::{BodyDecoder, Framing};
///
/// let mut decoder = BodyDecoder::new(Framing::Chunked, 1 << 20)?;
/// let mut input = &b"5\r\nhello\r\n0\r\n\r\nGET /"[..];
/// assert_eq!(decoder.decode(&mut input), Ok(Some(&b"hello"[..])));
/// assert_eq!(decoder.decode(&mut input), Ok(None));
/// assert!(decoder.is_whole());
/// assert_eq!(input, b"GET /");
/// # Ok::<(), gatewright::proto::http::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    limit: u64,
    received: u64,
    failed: Option<DecodeError>,
}

#[derive(Clone, Debug)]
enum State {
    /// That much is still to come.
    Length(u64),
    Chunked(Chunked),
}

impl BodyDecoder {
    /// A decoder for a body of at most `limit` bytes; chunks' frames do not count.
    ///
    /// # Errors
    ///
    /// [`DecodeError::LongBody`] when its length, which comes before it, is above that.
    pub fn new(framing: Framing, limit: u64) -> Result<Self, DecodeError> {
        let state = match framing {
            Framing::Length(length) if length > limit => return Err(DecodeError::LongBody { limit }),
            Framing::Empty => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
        };
        Ok(Self { state, limit, received: 0, failed: None })
    }

    /// A decoder for no body.
    pub fn empty() -> Self {
        Self { state: State::Length(0), limit: 0, received: 0, failed: None }
    }

    /// The next piece of the body, never empty, and `input` moved past what was read. `None` when the body
    /// [is whole](BodyDecoder::is_whole), where `input` stands at the next request, and else when all of `input` was
    /// read and more is needed.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`], from then on always the same: where the body ends is unknown.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.advance(input);
        self.failed = outcome.err();
        outcome
    }

    /// Whether all of the body has come, trailers included.
    pub fn is_whole(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_whole(),
        }
    }

    /// How many bytes are still to come; `None` for chunks, which do not say.
    pub fn left(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) => Some(*left),
            State::Chunked(chunked) => chunked.is_whole().then_some(0),
        }
    }

    /// Bytes of the body so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the input may end here.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TruncatedBody`] inside the body, and any earlier error again.
    pub fn end_of_input(&self) -> Result<(), DecodeError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.is_whole() => Ok(()),
            None => Err(DecodeError::TruncatedBody { offset: self.received }),
        }
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        let data = match &mut self.state {
            State::Length(left) => {
                let data = take(input, usize::try_from(*left).unwrap_or(usize::MAX));
                *left = left.saturating_sub(data.len() as u64);
                data
            }
            State::Chunked(chunked) => {
                if chunked.open(input)? && chunked.left() > self.limit.saturating_sub(self.received) {
                    return Err(DecodeError::LongBody { limit: self.limit });
                }
                chunked.data(input)
            }
        };
        self.received = self.received.saturating_add(data.len() as u64);
        Ok(if data.is_empty() { None } else { Some(data) })
    }
}
