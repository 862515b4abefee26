//! The netstring that a request begins with.

use super::error::DecodeError;
use crate::environ::push_digit;
use crate::proto::take;

/// Where in the netstring the input stands.
#[derive(Clone, Copy, Debug)]
enum State {
    Length { length: u64, digits: u64 },
    Content { left: u64 },
    Comma,
    Whole,
}

/// What an end of file means where it is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndOfInput {
    /// Nothing came at all: no request.
    Empty,
    /// The head is whole, and how much of the body came is for the caller to know.
    Whole,
}

/// Gathers the netstring that a request begins with, from input of any slicing.
///
/// It is strict: decimal digits without leading zeros, a colon, that many bytes, a comma. Its length is held against
/// the limit digit by digit, and the lent buffer grows only by bytes that came.
///
/// ```
/// use gatewright::proto::scgi::{DecodeError, HeadDecoder};
///
/// let mut head = Vec::new();
/// let mut input = &b"4:A\0b\0,body"[..];
/// assert_eq!(HeadDecoder::new(16).decode(&mut input, &mut head), Ok(true));
/// assert_eq!((&head[..], input), (&b"A\0b\0"[..], &b"body"[..]));
///
/// let mut input = &b"17:"[..];
/// let error = HeadDecoder::new(16).decode(&mut input, &mut head);
/// assert_eq!(error, Err(DecodeError::TooLong { limit: 16 }));
/// ```
#[derive(Clone, Debug)]
pub struct HeadDecoder {
    state: State,
    limit: usize,
    /// Bytes that were read.
    position: u64,
    failed: Option<DecodeError>,
}

impl HeadDecoder {
    /// A decoder for a new connection, with at most `limit` bytes of head.
    pub fn new(limit: usize) -> Self {
        Self { state: State::Length { length: 0, digits: 0 }, limit, position: 0, failed: None }
    }

    /// Reads what is there of the head, and appends its content to `head`, which is the same buffer at each call.
    ///
    /// `input` is moved past what was read. `true` says that the head is whole, and `input` stands at the body, also when
    /// asked again; `false` that all of `input` was read and more is needed.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`], from then on always the same: the connection is to be closed.
    pub fn decode(&mut self, input: &mut &[u8], head: &mut Vec<u8>) -> Result<bool, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.advance(input, head);
        self.failed = outcome.err();
        outcome
    }

    /// What it means that the input ends here.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] inside the head, and any earlier error again.
    pub fn end_of_input(&self) -> Result<EndOfInput, DecodeError> {
        match (self.failed, self.state) {
            (Some(error), _) => Err(error),
            (None, State::Whole) => Ok(EndOfInput::Whole),
            (None, _) if self.position == 0 => Ok(EndOfInput::Empty),
            (None, _) => Err(DecodeError::Truncated { offset: self.position }),
        }
    }

    fn advance(&mut self, input: &mut &[u8], head: &mut Vec<u8>) -> Result<bool, DecodeError> {
        while !matches!(self.state, State::Whole) {
            self.state = match self.state {
                State::Length { length, digits } => {
                    let Some(byte) = self.take_byte(input) else { return Ok(false) };
                    self.length(length, digits, byte)?
                }
                State::Content { left: 0 } => State::Comma,
                State::Content { left } => {
                    let content = take(input, usize::try_from(left).unwrap_or(usize::MAX));
                    if content.is_empty() {
                        return Ok(false);
                    }
                    head.extend_from_slice(content);
                    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
                    self.position = self.position.saturating_add(length);
                    State::Content { left: left.saturating_sub(length) }
                }
                State::Comma => match self.take_byte(input) {
                    Some(b',') => State::Whole,
                    Some(byte) => {
                        return Err(DecodeError::MissingComma {
                            byte,
                            offset: self.position.saturating_sub(1),
                        });
                    }
                    None => return Ok(false),
                },
                State::Whole => State::Whole,
            };
        }
        Ok(true)
    }

    /// One byte of the length, which had `digits` digits so far.
    fn length(&self, length: u64, digits: u64, byte: u8) -> Result<State, DecodeError> {
        if byte == b':' && digits > 0 {
            return Ok(State::Content { left: length });
        }
        if !byte.is_ascii_digit() {
            return Err(DecodeError::NotADigit { byte, offset: self.position.saturating_sub(1) });
        }
        if length == 0 && digits > 0 {
            return Err(DecodeError::LeadingZero);
        }
        let within = |length: &u64| usize::try_from(*length).is_ok_and(|length| length <= self.limit);
        let length = push_digit(length, byte).filter(within);
        let length = length.ok_or(DecodeError::TooLong { limit: self.limit })?;
        Ok(State::Length { length, digits: digits.saturating_add(1) })
    }

    fn take_byte(&mut self, input: &mut &[u8]) -> Option<u8> {
        let byte = take(input, 1).first().copied()?;
        self.position = self.position.saturating_add(1);
        Some(byte)
    }
}
