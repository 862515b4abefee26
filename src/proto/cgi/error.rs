//! What is wrong with a program's answer.

use std::fmt;

use crate::error::{Error, Fault};

/// A program's mistake. It becomes an application's [`Error`] with status 502: the message is for the log.
///
/// Lines are counted from 1, bytes from the first one that the program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The output ended before its first byte.
    NoOutput,
    /// The output ended inside the head.
    Truncated {
        /// How many bytes there were.
        bytes: usize,
    },
    /// The head is longer than the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The head has more fields than the limit.
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// A line that is no header field: a name, a colon, a value.
    NotAField {
        /// Which line.
        line: usize,
        /// How it begins.
        start: Vec<u8>,
    },
    /// A value with a control character.
    ControlCharacter {
        /// Which line.
        line: usize,
        /// The character.
        byte: u8,
    },
    /// A status that is not three digits and, behind a blank, a reason.
    Status {
        /// How it begins.
        start: Vec<u8>,
    },
    /// A status below 200: that is no final answer.
    NotFinal {
        /// The status.
        status: u16,
    },
    /// A field that can come only once, with a second value.
    Twice {
        /// The field.
        name: &'static str,
    },
    /// A Content-Length that is no decimal number.
    ContentLength {
        /// How it begins.
        start: Vec<u8>,
    },
    /// A Transfer-Encoding: that is the web server's to choose.
    TransferEncoding,
    /// No Content-Type, Location or Status.
    NothingSaid,
}

/// How much of a bad line is worth a place in the log.
pub(super) const SHOWN: usize = 60;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOutput => f.write_str("it wrote nothing"),
            Self::Truncated { bytes } => {
                write!(f, "its output ended after {bytes} bytes, before the empty line that ends the head")
            }
            Self::TooLong { limit } => write!(f, "its head is longer than {limit} bytes"),
            Self::TooManyFields { limit } => write!(f, "its head has more than {limit} fields"),
            Self::NotAField { line, start } => {
                let start = start.escape_ascii();
                write!(f, "line {line} of its head is no header field: \"{start}\"")
            }
            Self::ControlCharacter { line, byte } => {
                let byte = byte.escape_ascii();
                write!(f, "line {line} of its head has the control character \"{byte}\"")
            }
            Self::Status { start } => {
                write!(f, "its status \"{}\" is not three digits and a reason", start.escape_ascii())
            }
            Self::NotFinal { status } => write!(f, "its status {status} is no final answer"),
            Self::Twice { name } => write!(f, "its head has two different {name} fields"),
            Self::ContentLength { start } => {
                write!(f, "its Content-Length \"{}\" is no decimal number", start.escape_ascii())
            }
            Self::TransferEncoding => f.write_str(
                "its head has a Transfer-Encoding, which is the web server's to choose: leave it out, and write the \
                 document as it is",
            ),
            Self::NothingSaid => f.write_str("its head has no Content-Type, Location or Status"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::new(Fault::Application, 502, error.to_string())
    }
}
