//! What is wrong with a head.

use crate::environ::LengthError;
use crate::error::{Error, Fault};
use std::fmt;

/// A breach of the protocol. It becomes a peer's [`Error`], with status 431 for a head that is too long and 400 for
/// the others.
///
/// `offset` counts from the first byte of the connection in errors of the netstring, from the first byte of the head
/// in errors of its pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The netstring's length has, or begins with, a byte that is no digit.
    NotADigit {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: u64,
    },
    /// The netstring's length begins with a zero and goes on.
    LeadingZero,
    /// The netstring's length is above the limit for a head.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The netstring does not end in a comma.
    MissingComma {
        /// What stands there instead.
        byte: u8,
        /// Where it stands.
        offset: u64,
    },
    /// The input ended inside the head.
    Truncated {
        /// How many bytes there were.
        offset: u64,
    },
    /// A name of no bytes.
    EmptyName {
        /// Where it stands.
        offset: usize,
    },
    /// A name, the head's last bytes, without a value.
    NameWithoutValue {
        /// Where the name begins.
        offset: usize,
    },
    /// A value, the head's last bytes, without the NUL that ends it.
    UnterminatedValue {
        /// Where the value begins.
        offset: usize,
    },
    /// The first name is not CONTENT_LENGTH, or there is none.
    ContentLengthNotFirst,
    /// The first CONTENT_LENGTH is empty.
    EmptyContentLength,
    /// The first CONTENT_LENGTH is no decimal number that a body can have.
    ContentLength(LengthError),
    /// A further CONTENT_LENGTH that is neither empty nor equal to the first.
    ConflictingContentLength,
    /// There is no SCGI.
    MissingScgi,
    /// SCGI is not `1`: this is another version of the protocol, or none.
    NotVersion1,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotADigit { byte, offset } => write!(
                f,
                "SCGI netstring has \"{}\" at byte {offset}, not a digit of its length",
                byte.escape_ascii()
            ),
            Self::LeadingZero => f.write_str("SCGI netstring's length has a leading zero"),
            Self::TooLong { limit } => write!(f, "SCGI head is longer than {limit} bytes"),
            Self::MissingComma { byte, offset } => {
                write!(
                    f,
                    "SCGI netstring has \"{}\" at byte {offset}, not its closing comma",
                    byte.escape_ascii()
                )
            }
            Self::Truncated { offset } => write!(f, "end of file inside the SCGI head, after {offset} bytes"),
            Self::EmptyName { offset } => write!(f, "SCGI head has an empty name at byte {offset}"),
            Self::NameWithoutValue { offset } => {
                write!(f, "SCGI head has a name without a value at byte {offset}")
            }
            Self::UnterminatedValue { offset } => {
                write!(f, "SCGI head has a value without its NUL at byte {offset}")
            }
            Self::ContentLengthNotFirst => f.write_str("SCGI head does not begin with CONTENT_LENGTH"),
            Self::EmptyContentLength => f.write_str("SCGI head has an empty CONTENT_LENGTH first"),
            Self::ContentLength(error) => write!(f, "SCGI head: {error}"),
            Self::ConflictingContentLength => {
                f.write_str("SCGI head has a further CONTENT_LENGTH unlike the first")
            }
            Self::MissingScgi => f.write_str("SCGI head has no SCGI variable"),
            Self::NotVersion1 => f.write_str("SCGI head has an SCGI variable other than \"1\""),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        let status = if matches!(error, DecodeError::TooLong { .. }) { 431 } else { 400 };
        Self::new(Fault::Peer, status, error.to_string())
    }
}
