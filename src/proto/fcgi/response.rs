//! The web server's side: what an application answers, as events.

use super::error::ResponseError;
use super::frame::{Framer, Gather, Part};
use super::record::{Header, NULL_REQUEST_ID, ProtocolStatus, RecordType, VERSION};
use super::values::{Scanner, Values};

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
