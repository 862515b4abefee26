//! The web server's side: what an application answers, as events.

use super::frame::{Framer, Gather, Part};
use super::record::{Header, NULL_REQUEST_ID, ProtocolStatus, RecordType, VERSION};
use super::values::{Scanner, Values};
use crate::error::{Error, Fault};
use std::fmt;

/// Something an application sent; `data` borrows from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseEvent<'a> {
    /// A fragment of the answer (section 5.3), never empty.
    Stdout {
        /// The request.
        id: u16,
        /// The fragment.
        data: &'a [u8],
    },
    /// The answer is whole. An application may leave this out before END_REQUEST, or repeat it.
    StdoutEnd {
        /// The request.
        id: u16,
    },
    /// A fragment of error text (section 5.3), never empty.
    Stderr {
        /// The request.
        id: u16,
        /// The fragment.
        data: &'a [u8],
    },
    /// There is no more error text. An application may leave this out before END_REQUEST, or repeat it.
    StderrEnd {
        /// The request.
        id: u16,
    },
    /// The request is over (section 5.5).
    EndRequest {
        /// The request.
        id: u16,
        /// What would be the exit status of a CGI program.
        app_status: u32,
        /// How it ended.
        protocol_status: ProtocolStatus,
    },
    /// The answer to GET_VALUES (section 4.1), with what of it is known. Of a variable that is set twice the last counts.
    GetValuesResult(Values),
    /// The application does not know a management record it was sent (section 4.2).
    UnknownType {
        /// The type it does not know.
        record_type: RecordType,
    },
}

/// What the content of the current record is for.
#[derive(Debug, Default)]
enum Content {
    #[default]
    Ignored,
    Stdout {
        id: u16,
    },
    Stderr {
        id: u16,
    },
    EndRequest {
        id: u16,
        body: Gather,
    },
    GetValuesResult(Scanner),
    UnknownType(Gather),
}

/// Turns what an application answers into [`ResponseEvent`]s.
///
/// It takes input of any slicing and copies no content. It keeps no list of requests: whether an event's `id` was ever
/// sent is for the caller to judge. Records of unknown types are skipped, and management records with a request id.
///
/// ```
/// use gatewright::proto::fcgi::{ProtocolStatus, ResponseDecoder, ResponseEvent, Stream, encode};
///
/// let mut wire = Vec::new();
/// encode::stream(&mut wire, Stream::Stdout, 1, b"Status: 204\r\n\r\n");
/// encode::end_request(&mut wire, 1, 0, ProtocolStatus::REQUEST_COMPLETE);
///
/// let mut decoder = ResponseDecoder::new();
/// let mut input = &wire[..];
/// let stdout = ResponseEvent::Stdout { id: 1, data: b"Status: 204\r\n\r\n" };
/// assert_eq!(decoder.decode(&mut input), Ok(Some(stdout)));
/// let protocol_status = ProtocolStatus::REQUEST_COMPLETE;
/// let end = ResponseEvent::EndRequest { id: 1, app_status: 0, protocol_status };
/// assert_eq!(decoder.decode(&mut input), Ok(Some(end)));
/// assert_eq!(decoder.decode(&mut input), Ok(None));
/// assert_eq!(decoder.end_of_input(), Ok(()));
/// ```
#[derive(Debug, Default)]
pub struct ResponseDecoder {
    framer: Framer,
    content: Content,
    failed: Option<ResponseError>,
}

impl ResponseDecoder {
    /// A decoder for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next event in `input`, which is moved past what was read; `None` when all of it was read and more is needed.
    ///
    /// # Errors
    ///
    /// A [`ResponseError`], from then on always the same: the connection is to be closed.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ResponseEvent<'a>>, ResponseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.advance(input);
        self.failed = outcome.err();
        outcome
    }

    /// Whether the input may end here. Whether the answer was whole is told by its [`ResponseEvent::EndRequest`].
    ///
    /// # Errors
    ///
    /// [`ResponseError::Truncated`] inside a record, padding included, and any earlier error again.
    pub fn end_of_input(&self) -> Result<(), ResponseError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.framer.is_inside_record() => Err(ResponseError::Truncated { offset: self.offset() }),
            None => Ok(()),
        }
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ResponseEvent<'a>>, ResponseError> {
        while let Some(part) = self.framer.next(input) {
            let event = match part {
                Part::Header(header) => self.open(header)?,
                Part::Content(data) => self.content(data)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn open(&mut self, header: Header) -> Result<Option<ResponseEvent<'static>>, ResponseError> {
        let (record_type, id, offset) = (header.record_type, header.request_id, self.offset());
        self.content = Content::Ignored;
        if header.version != VERSION {
            return Err(ResponseError::Version { version: header.version, offset });
        }
        let empty = header.content_length == 0;
        self.content = match record_type {
            RecordType::STDOUT | RecordType::STDERR | RecordType::END_REQUEST if id == NULL_REQUEST_ID => {
                return Err(ResponseError::NullRequestId { record_type, offset });
            }
            RecordType::STDOUT if empty => return Ok(Some(ResponseEvent::StdoutEnd { id })),
            RecordType::STDERR if empty => return Ok(Some(ResponseEvent::StderrEnd { id })),
            RecordType::STDOUT => Content::Stdout { id },
            RecordType::STDERR => Content::Stderr { id },
            RecordType::END_REQUEST => {
                self.eight_bytes(header)?;
                Content::EndRequest { id, body: Gather::default() }
            }
            RecordType::BEGIN_REQUEST
            | RecordType::ABORT_REQUEST
            | RecordType::PARAMS
            | RecordType::STDIN
            | RecordType::DATA
            | RecordType::GET_VALUES => return Err(ResponseError::WrongDirection { record_type, offset }),
            _ if id != NULL_REQUEST_ID => Content::Ignored,
            RecordType::GET_VALUES_RESULT if empty => {
                return Ok(Some(ResponseEvent::GetValuesResult(Values::default())));
            }
            RecordType::GET_VALUES_RESULT => Content::GetValuesResult(Scanner::default()),
            RecordType::UNKNOWN_TYPE => {
                self.eight_bytes(header)?;
                Content::UnknownType(Gather::default())
            }
            _ => Content::Ignored,
        };
        Ok(None)
    }

    fn content<'a>(&mut self, data: &'a [u8]) -> Result<Option<ResponseEvent<'a>>, ResponseError> {
        Ok(match &mut self.content {
            Content::Ignored => None,
            Content::Stdout { id } => Some(ResponseEvent::Stdout { id: *id, data }),
            Content::Stderr { id } => Some(ResponseEvent::Stderr { id: *id, data }),
            Content::EndRequest { id, body } => body.push(data).map(|body| end_request(*id, body)),
            Content::UnknownType(body) => body
                .push(data)
                .map(|[unknown, ..]| ResponseEvent::UnknownType { record_type: RecordType(unknown) }),
            Content::GetValuesResult(scanner) => {
                scanner.feed(data);
                if self.framer.content_left() > 0 {
                    return Ok(None);
                }
                let found = std::mem::take(scanner).finish();
                let (_, values) = found.ok_or(ResponseError::Pair { offset: self.offset() })?;
                Some(ResponseEvent::GetValuesResult(values))
            }
        })
    }

    fn eight_bytes(&self, header: Header) -> Result<(), ResponseError> {
        let (record_type, length) = (header.record_type, header.content_length);
        if length == 8 {
            return Ok(());
        }
        Err(ResponseError::BodyLength { record_type, length, offset: self.offset() })
    }

    fn offset(&self) -> u64 {
        self.framer.record_start()
    }
}

fn end_request(id: u16, body: [u8; 8]) -> ResponseEvent<'static> {
    let [status3, status2, status1, status0, protocol_status, ..] = body;
    ResponseEvent::EndRequest {
        id,
        app_status: u32::from_be_bytes([status3, status2, status1, status0]),
        protocol_status: ProtocolStatus(protocol_status),
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
