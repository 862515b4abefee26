//! What breaks the protocol, on each side.

use super::record::{RecordType, VERSION};
use crate::error::{Error, Fault};
use std::fmt;

/// A breach of the protocol after which the connection is closed. It becomes a peer's [`Error`] with status 400.
///
/// `offset` is where the record begins in all that came in on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A version other than 1 (section 3.3). Often it is no FastCGI at all.
    Version {
        /// The version.
        version: u8,
        /// Where the record begins.
        offset: u64,
    },
    /// An application record without a request id (section 3.3).
    NullRequestId {
        /// The record's type.
        record_type: RecordType,
        /// Where the record begins.
        offset: u64,
    },
    /// A BEGIN_REQUEST whose body is not 8 bytes (section 5.1).
    BeginLength {
        /// The request.
        id: u16,
        /// The length of the body.
        length: u16,
        /// Where the record begins.
        offset: u64,
    },
    /// A BEGIN_REQUEST for a request that is live (section 3.3).
    BeginTwice {
        /// The request.
        id: u16,
        /// Where the record begins.
        offset: u64,
    },
    /// PARAMS after the empty one that ended them (section 5.2).
    ParamsAfterEnd {
        /// The request.
        id: u16,
        /// Where the record begins.
        offset: u64,
    },
    /// A record that only an application sends (section 8).
    WrongDirection {
        /// The record's type.
        record_type: RecordType,
        /// Where the record begins.
        offset: u64,
    },
    /// A name-value pair of GET_VALUES that runs past the end of its record (section 3.4).
    Pair {
        /// Where the record begins.
        offset: u64,
    },
    /// The input ended inside a record.
    Truncated {
        /// Where the record begins.
        offset: u64,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version { version, offset } => {
                write!(f, "FastCGI record at byte {offset} has version {version}, not {VERSION}")
            }
            Self::NullRequestId { record_type, offset } => {
                write!(f, "FastCGI {record_type} at byte {offset} has request id 0")
            }
            Self::BeginLength { id, length, offset } => write!(
                f,
                "FastCGI BEGIN_REQUEST of request {id} at byte {offset} has a body of {length} bytes, not 8"
            ),
            Self::BeginTwice { id, offset } => {
                write!(f, "FastCGI BEGIN_REQUEST at byte {offset} for request {id}, which is live")
            }
            Self::ParamsAfterEnd { id, offset } => {
                write!(f, "FastCGI PARAMS of request {id} at byte {offset}, after their end")
            }
            Self::WrongDirection { record_type, offset } => {
                write!(f, "FastCGI {record_type} at byte {offset}, which only an application sends")
            }
            Self::Pair { offset } => {
                write!(f, "FastCGI GET_VALUES at byte {offset} has a name-value pair that runs past its end")
            }
            Self::Truncated { offset } => {
                write!(f, "end of file inside the FastCGI record at byte {offset}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// A breach of the protocol by an application, after which the connection is closed. It becomes an application's
/// [`Error`] with status 502.
///
/// `offset` is where the record begins in all that came in on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// A version other than 1 (section 3.3). Often it is no FastCGI at all.
    Version {
        /// The version.
        version: u8,
        /// Where the record begins.
        offset: u64,
    },
    /// An application record without a request id (section 3.3).
    NullRequestId {
        /// The record's type.
        record_type: RecordType,
        /// Where the record begins.
        offset: u64,
    },
    /// An END_REQUEST or UNKNOWN_TYPE whose body is not 8 bytes (sections 5.5 and 4.2).
    BodyLength {
        /// The record's type.
        record_type: RecordType,
        /// The length of the body.
        length: u16,
        /// Where the record begins.
        offset: u64,
    },
    /// A record that only a web server sends (section 8).
    WrongDirection {
        /// The record's type.
        record_type: RecordType,
        /// Where the record begins.
        offset: u64,
    },
    /// A name-value pair of GET_VALUES_RESULT that runs past the end of its record (section 3.4).
    Pair {
        /// Where the record begins.
        offset: u64,
    },
    /// The input ended inside a record.
    Truncated {
        /// Where the record begins.
        offset: u64,
    },
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version { version, offset } => {
                write!(
                    f,
                    "FastCGI record at byte {offset} of the answer has version {version}, not {VERSION}"
                )
            }
            Self::NullRequestId { record_type, offset } => {
                write!(f, "FastCGI {record_type} at byte {offset} of the answer has request id 0")
            }
            Self::BodyLength { record_type, length, offset } => write!(
                f,
                "FastCGI {record_type} at byte {offset} of the answer has a body of {length} bytes, not 8"
            ),
            Self::WrongDirection { record_type, offset } => {
                write!(
                    f,
                    "FastCGI {record_type} at byte {offset} of the answer, which only a web server sends"
                )
            }
            Self::Pair { offset } => write!(
                f,
                "FastCGI GET_VALUES_RESULT at byte {offset} of the answer has a name-value pair that runs past its end"
            ),
            Self::Truncated { offset } => {
                write!(f, "end of file inside the FastCGI record at byte {offset} of the answer")
            }
        }
    }
}

impl std::error::Error for ResponseError {}

impl From<ResponseError> for Error {
    fn from(error: ResponseError) -> Self {
        Self::new(Fault::Application, 502, error.to_string())
    }
}
