//! `CONTENT_LENGTH`, read strictly: what two parties may read differently is refused.

use crate::error::Error;
use std::fmt;

/// The largest body length that is accepted: 2^63 − 1, what a signed 64-bit integer still holds.
pub const MAX_CONTENT_LENGTH: u64 = i64::MAX as u64;

/// Reads the value of `CONTENT_LENGTH` (RFC 3875 section 4.1.2): `None` when it is empty, which means the same as
/// absent.
///
/// Leading zeros are digits like any other. A sign, a space or a list is refused; Caddy's `-1` under FastCGI is for
/// the caller to recognise before asking here.
///
/// # Errors
///
/// [`LengthError::NotADigit`] for any byte but an ASCII digit, [`LengthError::TooLarge`] above
/// [`MAX_CONTENT_LENGTH`].
///
/// ```
/// use gatewright::environ::{LengthError, content_length};
///
/// assert_eq!(content_length(b"42"), Ok(Some(42)));
/// assert_eq!(content_length(b""), Ok(None));
/// assert_eq!(content_length(b"+42"), Err(LengthError::NotADigit { byte: b'+', position: 0 }));
/// assert_eq!(content_length(b"9223372036854775808"), Err(LengthError::TooLarge));
/// ```
pub fn content_length(value: &[u8]) -> Result<Option<u64>, LengthError> {
    if value.is_empty() {
        return Ok(None);
    }
    if let Some((position, &byte)) = value.iter().enumerate().find(|(_, byte)| !byte.is_ascii_digit()) {
        return Err(LengthError::NotADigit { byte, position });
    }
    let number = value.iter().try_fold(0_u64, |number, &byte| push_digit(number, byte));
    match number {
        Some(number) if number <= MAX_CONTENT_LENGTH => Ok(Some(number)),
        _ => Err(LengthError::TooLarge),
    }
}

/// `number` with one more decimal digit behind it; `None` for another byte, or when 64 bits do not hold it.
pub(crate) fn push_digit(number: u64, byte: u8) -> Option<u64> {
    let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
    number.checked_mul(10)?.checked_add(u64::from(digit))
}

/// Why a `CONTENT_LENGTH` was refused. It becomes a peer's [`Error`] with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthError {
    /// A byte that is no ASCII digit.
    NotADigit {
        /// The byte.
        byte: u8,
        /// Where it stands in the value, counted from 0.
        position: usize,
    },
    /// A number above [`MAX_CONTENT_LENGTH`].
    TooLarge,
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotADigit { byte, position } => {
                write!(
                    f,
                    "CONTENT_LENGTH has \"{}\" at position {position}, not a digit",
                    byte.escape_ascii()
                )
            }
            Self::TooLarge => write!(f, "CONTENT_LENGTH is above {MAX_CONTENT_LENGTH}"),
        }
    }
}

impl std::error::Error for LengthError {}

impl From<LengthError> for Error {
    fn from(error: LengthError) -> Self {
        Self::bad_request(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use proptest::prelude::*;

    #[test]
    fn decimal_digits_are_a_length() {
        let cases: [(&[u8], u64); 4] =
            [(b"0", 0), (b"1", 1), (b"007", 7), (b"9223372036854775807", MAX_CONTENT_LENGTH)];
        for (value, length) in cases {
            assert_eq!(content_length(value), Ok(Some(length)), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn empty_means_absent() {
        assert_eq!(content_length(b""), Ok(None));
    }

    #[test]
    fn anything_but_digits_is_refused() {
        let values: [&[u8]; 10] =
            [b"-1", b"+1", b" 1", b"1 ", b"1,1", b"0x10", b"1e3", b"1_0", b"1\0", "\u{661}".as_bytes()];
        for value in values {
            let outcome = content_length(value);
            assert!(
                matches!(outcome, Err(LengthError::NotADigit { .. })),
                "{}: {outcome:?}",
                value.escape_ascii()
            );
        }
    }

    #[test]
    fn more_than_63_bits_are_refused() {
        for value in ["9223372036854775808", "18446744073709551616", &"9".repeat(1000)] {
            assert_eq!(content_length(value.as_bytes()), Err(LengthError::TooLarge));
        }
    }

    #[test]
    fn the_error_is_the_peers_and_says_where() {
        let error = Error::from(LengthError::NotADigit { byte: b'x', position: 2 });
        assert_eq!((error.fault(), error.status()), (Fault::Peer, 400));
        assert_eq!(error.to_string(), "CONTENT_LENGTH has \"x\" at position 2, not a digit");
    }

    proptest! {
        #![proptest_config(crate::repeatable(500))]

        #[test]
        fn every_length_is_read_back(length in 0..=MAX_CONTENT_LENGTH, zeros in 0_usize..30) {
            let value = format!("{}{length}", "0".repeat(zeros));
            prop_assert_eq!(content_length(value.as_bytes()), Ok(Some(length)));
        }

        #[test]
        fn any_bytes_agree_with_the_standard_parser(value in proptest::collection::vec(any::<u8>(), 1..25)) {
            let expected = std::str::from_utf8(&value)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<i64>().ok());
            prop_assert_eq!(content_length(&value).ok().flatten(), expected.map(i64::cast_unsigned));
        }
    }
}
