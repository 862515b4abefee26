//! Records: the header that each begins with, and the constants of section 8.

use std::fmt;

/// The only version of the protocol: `FCGI_VERSION_1` (section 3.3).
pub const VERSION: u8 = 1;

/// The length of a record's header in bytes: `FCGI_HEADER_LEN` (section 8).
pub const HEADER_LEN: usize = 8;

/// The request id of management records: `FCGI_NULL_REQUEST_ID` (section 3.3).
pub const NULL_REQUEST_ID: u16 = 0;

/// The bit of BEGIN_REQUEST's flags by which the web server keeps the connection: `FCGI_KEEP_CONN` (section 5.1).
pub const FLAG_KEEP_CONN: u8 = 1;

/// The most content that [`encode`](super::encode) puts into one stream record, in bytes.
///
/// A record can hold 65,535; this is the largest multiple of 8 below, so that records that follow one another stay
/// aligned without padding, as section 3.3 recommends.
pub const MAX_CONTENT: u16 = 65528;

/// The type of a record (section 8). Any byte is one; the known ones have names here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u8);

impl RecordType {
    /// `FCGI_BEGIN_REQUEST` (section 5.1), from the web server.
    pub const BEGIN_REQUEST: Self = Self(1);
    /// `FCGI_ABORT_REQUEST` (section 5.4), from the web server.
    pub const ABORT_REQUEST: Self = Self(2);
    /// `FCGI_END_REQUEST` (section 5.5), from the application.
    pub const END_REQUEST: Self = Self(3);
    /// `FCGI_PARAMS` (section 5.2), a stream from the web server.
    pub const PARAMS: Self = Self(4);
    /// `FCGI_STDIN` (section 5.3), a stream from the web server.
    pub const STDIN: Self = Self(5);
    /// `FCGI_STDOUT` (section 5.3), a stream from the application.
    pub const STDOUT: Self = Self(6);
    /// `FCGI_STDERR` (section 5.3), a stream from the application.
    pub const STDERR: Self = Self(7);
    /// `FCGI_DATA` (section 5.3), a stream from the web server to a filter.
    pub const DATA: Self = Self(8);
    /// `FCGI_GET_VALUES` (section 4.1), a management record from the web server.
    pub const GET_VALUES: Self = Self(9);
    /// `FCGI_GET_VALUES_RESULT` (section 4.1), a management record from the application.
    pub const GET_VALUES_RESULT: Self = Self(10);
    /// `FCGI_UNKNOWN_TYPE` (section 4.2), a management record from the application.
    pub const UNKNOWN_TYPE: Self = Self(11);

    /// The name without its `FCGI_` prefix, when the type is known.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::BEGIN_REQUEST => "BEGIN_REQUEST",
            Self::ABORT_REQUEST => "ABORT_REQUEST",
            Self::END_REQUEST => "END_REQUEST",
            Self::PARAMS => "PARAMS",
            Self::STDIN => "STDIN",
            Self::STDOUT => "STDOUT",
            Self::STDERR => "STDERR",
            Self::DATA => "DATA",
            Self::GET_VALUES => "GET_VALUES",
            Self::GET_VALUES_RESULT => "GET_VALUES_RESULT",
            Self::UNKNOWN_TYPE => "UNKNOWN_TYPE",
            _ => return None,
        })
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

/// A record type that carries a byte stream, ended by an empty record (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Name-value pairs, from the web server (section 5.2).
    Params,
    /// The request body, from the web server (section 5.3).
    Stdin,
    /// The answer, from the application (section 5.3).
    Stdout,
    /// Error text, from the application (section 5.3).
    Stderr,
    /// The file a filter works on, from the web server (section 5.3).
    Data,
}

impl Stream {
    /// The stream's record type.
    pub const fn record_type(self) -> RecordType {
        match self {
            Self::Params => RecordType::PARAMS,
            Self::Stdin => RecordType::STDIN,
            Self::Stdout => RecordType::STDOUT,
            Self::Stderr => RecordType::STDERR,
            Self::Data => RecordType::DATA,
        }
    }
}

/// What the web server wants the application to be (section 5.1). Any 16-bit number is one; the known ones have names
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role(pub u16);

impl Role {
    /// `FCGI_RESPONDER` (section 6.2): what a CGI program does.
    pub const RESPONDER: Self = Self(1);
    /// `FCGI_AUTHORIZER` (section 6.3): gets no body.
    pub const AUTHORIZER: Self = Self(2);
    /// `FCGI_FILTER` (section 6.4): gets a file as DATA besides the body.
    pub const FILTER: Self = Self(3);
}

/// How a request ended, as END_REQUEST says it (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtocolStatus(pub u8);

impl ProtocolStatus {
    /// `FCGI_REQUEST_COMPLETE`: the normal end.
    pub const REQUEST_COMPLETE: Self = Self(0);
    /// `FCGI_CANT_MPX_CONN`: refused, this application takes one request at a time on a connection.
    pub const CANT_MPX_CONN: Self = Self(1);
    /// `FCGI_OVERLOADED`: refused, some resource ran out.
    pub const OVERLOADED: Self = Self(2);
    /// `FCGI_UNKNOWN_ROLE`: refused, the application does not know the role.
    pub const UNKNOWN_ROLE: Self = Self(3);
}

/// The header of a record (section 3.3).
///
/// It is what the bytes say, unchecked: the decoders judge it.
///
/// ```
/// use gatewright::proto::fcgi::{Header, RecordType};
///
/// let header = Header::new(RecordType::STDIN, 258, 5);
/// assert_eq!(header.encode(), [1, 5, 1, 2, 0, 5, 0, 0]);
/// assert_eq!(Header::decode([1, 5, 1, 2, 0, 5, 0, 0]), header);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// [`VERSION`], or a mistake.
    pub version: u8,
    /// What the content is.
    pub record_type: RecordType,
    /// The request, or [`NULL_REQUEST_ID`] for a management record.
    pub request_id: u16,
    /// How many bytes of content follow.
    pub content_length: u16,
    /// How many bytes follow the content and mean nothing.
    pub padding_length: u8,
}

impl Header {
    /// The header of a record without padding.
    pub const fn new(record_type: RecordType, request_id: u16, content_length: u16) -> Self {
        Self { version: VERSION, record_type, request_id, content_length, padding_length: 0 }
    }

    /// Reads the 8 bytes of a header. The last, reserved one is ignored.
    pub const fn decode(bytes: [u8; HEADER_LEN]) -> Self {
        let [version, record_type, id1, id0, length1, length0, padding_length, _reserved] = bytes;
        Self {
            version,
            record_type: RecordType(record_type),
            request_id: u16::from_be_bytes([id1, id0]),
            content_length: u16::from_be_bytes([length1, length0]),
            padding_length,
        }
    }

    /// The 8 bytes of the header.
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [length1, length0] = self.content_length.to_be_bytes();
        [self.version, self.record_type.0, id1, id0, length1, length0, self.padding_length, 0]
    }
}
