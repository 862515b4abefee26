//! Why a request is refused.

use std::fmt;

use super::target::TargetError;
use crate::error::{Error, Fault};

/// A request that is refused. It becomes a peer's [`Error`] with [`status`](DecodeError::status); the connection is
/// closed behind the answer, always, since nobody can say any more where the next request begins. The module's table
/// has them all.
///
/// `offset` counts from the first byte of the head, or of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first byte cannot begin a method. Often it is TLS.
    NotHttp {
        /// The byte.
        byte: u8,
    },
    /// More than one empty line before the request.
    EmptyLines,
    /// A line that ends in LF alone.
    BareLf {
        /// Where the LF stands.
        offset: usize,
    },
    /// The request line is no `METHOD TARGET VERSION`, with one blank between each two.
    RequestLine,
    /// The target is none that an origin server knows.
    Target(TargetError),
    /// CONNECT asks for a tunnel.
    Connect,
    /// Another version of HTTP than 1.0 and 1.1.
    Version,
    /// The request line alone is longer than a head may be.
    LongTarget {
        /// The limit in bytes.
        limit: usize,
    },
    /// The head is longer than the limit.
    LongHead {
        /// The limit in bytes.
        limit: usize,
    },
    /// The head has more fields than the limit.
    ManyFields {
        /// The limit.
        limit: usize,
    },
    /// A field's name is no token with a colon right behind it.
    FieldName,
    /// A field's value has a control character.
    FieldValue,
    /// A field goes on in a second line.
    Folded,
    /// HTTP/1.1 without Host.
    MissingHost,
    /// Several Host fields.
    SeveralHosts,
    /// Host is no name or address with an optional port.
    Host,
    /// Content-Length is no decimal number that a body can have.
    ContentLength,
    /// Several Content-Length fields, be they equal.
    SeveralContentLengths,
    /// Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// Transfer-Encoding in HTTP/1.0, which has none.
    CodingInHttp10,
    /// Transfer-Encoding does not end in one `chunked`: nobody knows where the body ends.
    NotChunked,
    /// Another transfer coding beneath `chunked`.
    UnknownCoding,
    /// A chunk's size has, or begins with, a byte that is no hexadecimal digit, or more than 16 of them.
    ChunkSize {
        /// Where it stands.
        offset: u64,
    },
    /// A chunk's extension has a control character, or its line no CR LF.
    ChunkExtension {
        /// Where it stands.
        offset: u64,
    },
    /// Chunk extensions longer than anybody needs.
    LongExtension {
        /// The limit in bytes, of one line or of a whole body.
        limit: usize,
    },
    /// No CR LF behind a chunk's data.
    ChunkEnd {
        /// Where it should stand.
        offset: u64,
    },
    /// A trailer that is no field.
    Trailer {
        /// Where.
        offset: u64,
    },
    /// Trailers longer than the limit.
    LongTrailers {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is larger than the limit.
    LongBody {
        /// The limit in bytes.
        limit: u64,
    },
    /// The input ended inside a head.
    TruncatedHead,
    /// The input ended inside a body.
    TruncatedBody {
        /// How many bytes there were.
        offset: u64,
    },
}

impl DecodeError {
    /// The status that the refusal is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::LongBody { .. } => 413,
            Self::LongTarget { .. } => 414,
            Self::LongHead { .. } | Self::ManyFields { .. } | Self::LongTrailers { .. } => 431,
            Self::Connect | Self::UnknownCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotHttp { byte: 0x16 } => {
                f.write_str("the request begins like TLS, and this port speaks plain HTTP")
            }
            Self::NotHttp { byte } => {
                write!(f, "the request begins with \"{}\", which no method does", byte.escape_ascii())
            }
            Self::EmptyLines => f.write_str("there is more than one empty line before the request"),
            Self::BareLf { offset } => write!(f, "the line that ends at byte {offset} ends in LF, not CR LF"),
            Self::RequestLine => f.write_str("the request line is not METHOD TARGET HTTP/1.1"),
            Self::Target(error) => write!(f, "the request's target {error}"),
            Self::Connect => f.write_str("CONNECT asks for a tunnel, and this is no proxy"),
            Self::Version => f.write_str("only HTTP/1.1 and HTTP/1.0 are spoken here"),
            Self::LongTarget { limit } => write!(f, "the request line is longer than {limit} bytes"),
            Self::LongHead { limit } => write!(f, "the request's head is longer than {limit} bytes"),
            Self::ManyFields { limit } => write!(f, "the request's head has more than {limit} fields"),
            Self::FieldName => f.write_str("a field's name is no token with a colon right behind it"),
            Self::FieldValue => f.write_str("a field's value has a control character"),
            Self::Folded => f.write_str("a field is folded onto a second line"),
            Self::MissingHost => f.write_str("the Host field is missing"),
            Self::SeveralHosts => f.write_str("there are several Host fields"),
            Self::Host => f.write_str("the Host field is no name or address with an optional port"),
            Self::ContentLength => f.write_str("Content-Length is no decimal number, or too large a one"),
            Self::SeveralContentLengths => f.write_str("there are several Content-Length fields"),
            Self::LengthAndCoding => f.write_str("there are both Content-Length and Transfer-Encoding"),
            Self::CodingInHttp10 => f.write_str("HTTP/1.0 has no Transfer-Encoding"),
            Self::NotChunked => f.write_str("Transfer-Encoding does not end in one \"chunked\""),
            Self::UnknownCoding => f.write_str("the only transfer coding known here is \"chunked\""),
            Self::ChunkSize { offset } => {
                write!(f, "a chunk's size at byte {offset} is not 1 to 16 hexadecimal digits")
            }
            Self::ChunkExtension { offset } => {
                write!(f, "a chunk's extension has a control character at byte {offset}")
            }
            Self::LongExtension { limit } => write!(f, "chunk extensions are longer than {limit} bytes"),
            Self::ChunkEnd { offset } => write!(f, "there is no CR LF behind a chunk, at byte {offset}"),
            Self::Trailer { offset } => write!(f, "a trailer is no field, at byte {offset}"),
            Self::LongTrailers { limit } => write!(f, "the trailers are longer than {limit} bytes"),
            Self::LongBody { limit } => {
                write!(f, "the body is larger than the {limit} bytes that are allowed")
            }
            Self::TruncatedHead => f.write_str("end of file inside the request's head"),
            Self::TruncatedBody { offset } => {
                write!(f, "end of file inside the request's body, after {offset} bytes")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<TargetError> for DecodeError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::new(Fault::Peer, error.status(), error.to_string())
    }
}
