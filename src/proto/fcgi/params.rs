//! Name-value pairs (section 3.4): the content of PARAMS, GET_VALUES and GET_VALUES_RESULT.

use crate::error::Error;
use crate::proto::PairPlaces;
#[cfg(unix)]
use crate::proto::{NamedPair, same};
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

/// The longest name or value: 31 bits.
const MAX_LENGTH: u32 = 0x7fff_ffff;

/// The bit that marks a length of four bytes.
const LONG_FORM: u32 = 0x8000_0000;

/// The pairs of a whole PARAMS stream, in the order sent, names and values as slices of it.
///
/// The stream is one block for this purpose: a pair may straddle records, so their contents are to be put together
/// first. A length in the four-byte form is taken even where one byte would do. After an error there are no more items.
///
/// ```
/// use gatewright::proto::fcgi::{PairError, Pairs};
///
/// let block = b"\x0b\x02SERVER_PORT80\x0b\x00SERVER_ADDR\x03\x09HUH";
/// let mut pairs = Pairs::new(block);
/// assert_eq!(pairs.next(), Some(Ok((&b"SERVER_PORT"[..], &b"80"[..]))));
/// assert_eq!(pairs.next(), Some(Ok((&b"SERVER_ADDR"[..], &b""[..]))));
/// assert_eq!(pairs.next(), Some(Err(PairError::Content { offset: 28, needed: 12, left: 3 })));
/// assert_eq!(pairs.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    /// Walks `block`.
    pub fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), PairError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = match pair_at(self.block, &mut self.at)? {
            Ok(places) => places,
            Err(error) => return Some(Err(error)),
        };
        let part = |place| self.block.get::<Range<usize>>(place).unwrap_or_default();
        Some(Ok((part(name), part(value))))
    }
}

/// The places of the name and the value that begin at `at`, which moves on behind them; behind an error, to the end.
/// For those who change what holds the block while they walk it.
#[inline]
pub(crate) fn pair_at(block: &[u8], at: &mut usize) -> Option<Result<PairPlaces, PairError>> {
    let offset = *at;
    // Nearly all pairs are short.
    if let Some([name @ ..0x80, value @ ..0x80, ..]) = block.get(offset..) {
        let start = offset + 2;
        let middle = start + usize::from(*name);
        let end = middle + usize::from(*value);
        if end <= block.len() {
            *at = end;
            return Some(Ok((start..middle, middle..end)));
        }
    }
    *at = block.len();
    let mut rest = block.get(offset..).filter(|rest| !rest.is_empty())?;
    let Some((name, value)) = take_length(&mut rest).zip(take_length(&mut rest)) else {
        return Some(Err(PairError::Lengths { offset }));
    };
    let (needed, left) = (u64::from(name) + u64::from(value), rest.len());
    if needed > left as u64 {
        return Some(Err(PairError::Content { offset, needed, left }));
    }
    // Neither is longer than the block.
    let start = block.len() - left;
    let middle = start + name as usize;
    *at = middle + value as usize;
    Some(Ok((start..middle, middle..*at)))
}

/// The pair that begins at `at`, if it is a short one and has this name.
#[cfg(unix)]
#[inline(always)]
pub(crate) fn pair_named(block: &[u8], at: usize, expected: &[u8]) -> Option<NamedPair> {
    let &[name @ ..0x80, value @ ..0x80, ref rest @ ..] = block.get(at..)? else { return None };
    let (name_len, value_len) = (usize::from(name), usize::from(value));
    let (name, rest) = rest.split_at_checked(name_len)?;
    if value_len > rest.len() || !same(name, expected) {
        return None;
    }
    let value_at = at + 2 + name_len;
    Some(NamedPair { name_at: at + 2, value_at, value_len, end: value_at + value_len })
}

impl FusedIterator for Pairs<'_> {}

/// One length of 1 or 4 bytes off the front of `input`; `None` when it is not all there.
fn take_length(input: &mut &[u8]) -> Option<u32> {
    let (length, rest) = match **input {
        [short, ref rest @ ..] if short < 0x80 => (u32::from(short), rest),
        [b3, b2, b1, b0, ref rest @ ..] => (u32::from_be_bytes([b3, b2, b1, b0]) & MAX_LENGTH, rest),
        _ => return None,
    };
    *input = rest;
    Some(length)
}

/// The lengths that begin a pair, coming in byte by byte; see [`take_length`].
#[derive(Debug, Default)]
pub(super) struct LengthsGather {
    bytes: [u8; 8],
    have: usize,
}

impl LengthsGather {
    pub(super) fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Adds a byte; gives the lengths of name and value, and is empty again, once both are there.
    pub(super) fn push(&mut self, byte: u8) -> Option<(u32, u32)> {
        *self.bytes.get_mut(self.have)? = byte;
        self.have += 1;
        let mut gathered = self.bytes.get(..self.have)?;
        let lengths = (take_length(&mut gathered)?, take_length(&mut gathered)?);
        self.have = 0;
        Some(lengths)
    }
}

/// How many bytes a pair takes; `None` when its name or value is longer than 31 bits can say.
pub(super) fn encoded_len(name: &[u8], value: &[u8]) -> Option<usize> {
    let one = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_LENGTH)?;
        bytes.len().checked_add(if length < 0x80 { 1 } else { 4 })
    };
    one(name)?.checked_add(one(value)?)
}

/// Appends one pair; the lengths are in the one-byte form where they fit.
pub(super) fn encode(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), PairTooLong> {
    let size = encoded_len(name, value).ok_or(PairTooLong)?;
    out.reserve(size);
    for bytes in [name, value] {
        match u8::try_from(bytes.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            _ => {
                let length = u32::try_from(bytes.len()).map_err(|_| PairTooLong)?;
                out.extend_from_slice(&(length | LONG_FORM).to_be_bytes());
            }
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    Ok(())
}

/// A pair that runs past the end of its block. It becomes a peer's [`Error`] with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairError {
    /// The block ends inside the lengths.
    Lengths {
        /// Where the pair begins in the block.
        offset: usize,
    },
    /// The block ends inside the name or the value.
    Content {
        /// Where the pair begins in the block.
        offset: usize,
        /// Bytes of name and value, as the lengths say.
        needed: u64,
        /// Bytes that are left in the block.
        left: usize,
    },
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Lengths { offset } => {
                write!(f, "the name-value pair at byte {offset} of PARAMS ends inside its lengths")
            }
            Self::Content { offset, needed, left } => {
                write!(
                    f,
                    "the name-value pair at byte {offset} of PARAMS runs past the end: it needs {needed} bytes, {left} are left"
                )
            }
        }
    }
}

impl std::error::Error for PairError {}

impl From<PairError> for Error {
    fn from(error: PairError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// A name or value too long to be sent: its length does not fit into 31 bits (section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairTooLong;

impl fmt::Display for PairTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a FastCGI parameter's name or value is longer than {MAX_LENGTH} bytes")
    }
}

impl std::error::Error for PairTooLong {}
