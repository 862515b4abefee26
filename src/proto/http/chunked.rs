//! Chunks (RFC 9112, section 7.1), and the trailers behind them, which are dropped.

use super::error::DecodeError;
use crate::headers::is_token_byte;
use crate::proto::take;

/// Digits of a chunk's size.
const MOST_DIGITS: u8 = 16;
/// Bytes of one chunk's extension, and of all in a body: nobody uses them, and a byte in each chunk could bring 250.
const EXTENSION: usize = 250;
const EXTENSIONS: usize = 16 << 10;
/// Bytes of all trailers.
const TRAILERS: usize = 8 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, length: usize },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Whole,
}

/// Where in a chunked body the input stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes that were read, frames included.
    position: u64,
    extensions: usize,
    trailers: usize,
}

impl Chunked {
    pub(super) fn new() -> Self {
        let state = State::Size { size: 0, digits: 0 };
        Self { state, position: 0, extensions: 0, trailers: 0 }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// What is left of the chunk under way.
    pub(super) fn left(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Reads what stands before data; `true` at data.
    pub(super) fn open(&mut self, input: &mut &[u8]) -> Result<bool, DecodeError> {
        loop {
            match self.state {
                State::Data { left: 1.. } => return Ok(true),
                State::Data { left: 0 } => self.state = State::DataCr,
                State::Whole => return Ok(false),
                _ => {
                    let Some(&byte) = take(input, 1).first() else { return Ok(false) };
                    self.state = self.step(byte)?;
                    self.position = self.position.saturating_add(1);
                }
            }
        }
    }

    /// What is here of the chunk's data; empty elsewhere.
    pub(super) fn data<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let State::Data { left } = self.state else { return &[] };
        let data = take(input, usize::try_from(left).unwrap_or(usize::MAX));
        let length = data.len() as u64;
        self.position = self.position.saturating_add(length);
        self.state = State::Data { left: left.saturating_sub(length) };
        data
    }

    fn step(&mut self, byte: u8) -> Result<State, DecodeError> {
        let offset = self.position;
        Ok(match (self.state, byte) {
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeLf { size },
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size, length: 0 },
            (State::Size { size, digits }, byte) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < MOST_DIGITS => {
                    State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                }
                _ => return Err(DecodeError::ChunkSize { offset }),
            },
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, length }, byte) => self.extension(size, length, byte)?,
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::SizeLf { .. }, _) => return Err(DecodeError::ChunkExtension { offset }),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::DataCr | State::DataLf, _) => return Err(DecodeError::ChunkEnd { offset }),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Whole,
            (state, byte) => self.trailer(state, byte)?,
        })
    }

    fn extension(&mut self, size: u64, length: usize, byte: u8) -> Result<State, DecodeError> {
        if is_control(byte) {
            return Err(DecodeError::ChunkExtension { offset: self.position });
        }
        let length = length.saturating_add(1);
        self.extensions = self.extensions.saturating_add(1);
        for (used, limit) in [(length, EXTENSION), (self.extensions, EXTENSIONS)] {
            if used > limit {
                return Err(DecodeError::LongExtension { limit });
            }
        }
        Ok(State::Extension { size, length })
    }

    /// One byte of a trailer, which is looked at as any field is, and forgotten.
    fn trailer(&mut self, state: State, byte: u8) -> Result<State, DecodeError> {
        self.trailers = self.trailers.saturating_add(1);
        if self.trailers > TRAILERS {
            return Err(DecodeError::LongTrailers { limit: TRAILERS });
        }
        match (state, byte) {
            (State::TrailerStart | State::TrailerName, byte) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if !is_control(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(DecodeError::Trailer { offset: self.position }),
        }
    }
}

/// A control character other than the tab.
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
