//! The names and values in a head, and whether they make a request.

use super::error::DecodeError;
use super::{CONTENT_LENGTH, SCGI};
use crate::environ::content_length;
use crate::proto::PairPlaces;
#[cfg(unix)]
use crate::proto::{NamedPair, same};
use std::iter::FusedIterator;
use std::ops::Range;

/// The names and values of a whole head, in the order sent, as slices of it.
///
/// Names may repeat: what that means is not for this to decide. After an error there are no more items.
///
/// ```
/// use gatewright::proto::scgi::{DecodeError, Pairs};
///
/// let mut pairs = Pairs::new(b"CONTENT_LENGTH\x000\0SCGI\x001");
/// assert_eq!(pairs.next(), Some(Ok((&b"CONTENT_LENGTH"[..], &b"0"[..]))));
/// assert_eq!(pairs.next(), Some(Err(DecodeError::UnterminatedValue { offset: 22 })));
/// assert_eq!(pairs.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    /// Walks `head`, the content of the netstring.
    pub fn new(head: &'a [u8]) -> Self {
        Self { head, at: 0 }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = match pair_at(self.head, &mut self.at)? {
            Ok(places) => places,
            Err(error) => return Some(Err(error)),
        };
        let part = |place| self.head.get::<Range<usize>>(place).unwrap_or_default();
        Some(Ok((part(name), part(value))))
    }
}

/// The places of the name and the value that begin at `at`, which moves on behind them; behind an error, to the end.
/// For those who change what holds the head while they walk it.
pub(crate) fn pair_at(head: &[u8], at: &mut usize) -> Option<Result<PairPlaces, DecodeError>> {
    let start = std::mem::replace(at, head.len());
    let rest = head.get(start..).filter(|rest| !rest.is_empty())?;
    let name = match memchr::memchr(0, rest) {
        None => return Some(Err(DecodeError::NameWithoutValue { offset: start })),
        Some(0) => return Some(Err(DecodeError::EmptyName { offset: start })),
        Some(length) if length + 1 == rest.len() => {
            return Some(Err(DecodeError::NameWithoutValue { offset: start }));
        }
        Some(length) => start..start + length,
    };
    let start = name.end + 1;
    let Some(length) = memchr::memchr(0, head.get(start..).unwrap_or_default()) else {
        return Some(Err(DecodeError::UnterminatedValue { offset: start }));
    };
    *at = start + length + 1;
    Some(Ok((name, start..start + length)))
}

/// The pair that begins at `at`, if it has this name.
#[cfg(unix)]
#[inline(always)]
pub(crate) fn pair_named(head: &[u8], at: usize, expected: &[u8]) -> Option<NamedPair> {
    let (name, rest) = head.get(at..)?.split_at_checked(expected.len())?;
    let [0, value @ ..] = rest else { return None };
    if !same(name, expected) {
        return None;
    }
    let (value_at, value_len) = (at + name.len() + 1, memchr::memchr(0, value)?);
    Some(NamedPair { name_at: at, value_at, value_len, end: value_at + value_len + 1 })
}

impl FusedIterator for Pairs<'_> {}

/// Decides whether the pairs of a head make a request, told one after the other as they are walked.
///
/// CONTENT_LENGTH comes first and has decimal digits, SCGI is there and `1`, as the specification wants. A further
/// CONTENT_LENGTH is taken when it is empty or has the same bytes as the first: nginx sends its own first and the
/// configured one later. The first counts. Other names may repeat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Check {
    /// Of the body, and how many digits say so: who has both in common has the same bytes.
    content_length: Option<(u64, usize)>,
    has_scgi: bool,
}

impl Check {
    /// A check for a new head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next pair.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] that is about CONTENT_LENGTH or SCGI.
    pub fn pair(&mut self, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let Some((length, digits)) = self.content_length else {
            return self.first_pair(name, value);
        };
        match name {
            CONTENT_LENGTH if value.is_empty() => Ok(()),
            CONTENT_LENGTH if value.len() != digits || content_length(value) != Ok(Some(length)) => {
                Err(DecodeError::ConflictingContentLength)
            }
            SCGI if value != b"1" => Err(DecodeError::NotVersion1),
            SCGI => {
                self.has_scgi = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the head, and gives the length of the body in bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::ContentLengthNotFirst`] for a head without pairs, [`DecodeError::MissingScgi`].
    pub fn finish(self) -> Result<u64, DecodeError> {
        let (length, _) = self.content_length.ok_or(DecodeError::ContentLengthNotFirst)?;
        if self.has_scgi { Ok(length) } else { Err(DecodeError::MissingScgi) }
    }

    fn first_pair(&mut self, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        if name != CONTENT_LENGTH {
            return Err(DecodeError::ContentLengthNotFirst);
        }
        let length = content_length(value).map_err(DecodeError::ContentLength)?;
        self.content_length = Some((length.ok_or(DecodeError::EmptyContentLength)?, value.len()));
        Ok(())
    }
}

/// Walks a whole head with [`Pairs`] and [`Check`], and gives the length of the body in bytes.
///
/// # Errors
///
/// Any [`DecodeError`] of these two.
///
/// ```
/// use gatewright::proto::scgi::{DecodeError, check};
///
/// assert_eq!(check(b"CONTENT_LENGTH\x0027\0SCGI\x001\0"), Ok(27));
/// assert_eq!(check(b"SCGI\x001\0CONTENT_LENGTH\x0027\0"), Err(DecodeError::ContentLengthNotFirst));
/// ```
pub fn check(head: &[u8]) -> Result<u64, DecodeError> {
    let mut check = Check::new();
    for pair in Pairs::new(head) {
        let (name, value) = pair?;
        check.pair(name, value)?;
    }
    check.finish()
}
