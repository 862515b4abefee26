//! The application's side: what a web server sends, as events.

use super::error::DecodeError;
use super::frame::{Framer, Gather, Part};
use super::record::{FLAG_KEEP_CONN, Header, NULL_REQUEST_ID, RecordType, Role, VERSION};
use super::values::{Names, Scanner};

/// Something a web server sent; `data` borrows from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request begins (section 5.1). It is live until [`Decoder::finish`].
    ///
    /// A role that is not served is for the caller to refuse, with [`ProtocolStatus::UNKNOWN_ROLE`] and `finish`.
    ///
    /// [`ProtocolStatus::UNKNOWN_ROLE`]: super::ProtocolStatus::UNKNOWN_ROLE
    Begin {
        /// The request.
        id: u16,
        /// What the web server wants the application to be.
        role: Role,
        /// Whether the connection stays open after this request.
        keep_conn: bool,
    },
    /// A request that would have begun, with as many live as there may be. It is not live, and the rest of it is
    /// ignored: answer with [`ProtocolStatus::OVERLOADED`].
    ///
    /// [`ProtocolStatus::OVERLOADED`]: super::ProtocolStatus::OVERLOADED
    Overloaded {
        /// The request.
        id: u16,
        /// Whether the connection stays open after this request.
        keep_conn: bool,
    },
    /// A fragment of the parameters (section 5.2), never empty. [`Pairs`](super::Pairs) walks them once they are whole.
    Params {
        /// The request.
        id: u16,
        /// The fragment.
        data: &'a [u8],
    },
    /// The parameters are whole.
    ParamsEnd {
        /// The request.
        id: u16,
    },
    /// A fragment of the body (section 5.3), never empty. It may come before the end of the parameters.
    Stdin {
        /// The request.
        id: u16,
        /// The fragment.
        data: &'a [u8],
    },
    /// The body is whole, once in a request.
    StdinEnd {
        /// The request.
        id: u16,
    },
    /// A fragment of the file that a filter works on (section 5.3), never empty. Other roles see none: it is ignored.
    Data {
        /// The request.
        id: u16,
        /// The fragment.
        data: &'a [u8],
    },
    /// The file is whole, once in a request.
    DataEnd {
        /// The request.
        id: u16,
    },
    /// The web server gives the request up (section 5.4). It stays live until [`Decoder::finish`].
    Abort {
        /// The request.
        id: u16,
    },
    /// The web server asks for variables (section 4.1). It may come in the middle of a request.
    GetValues(Names),
    /// A management record that this version does not know (section 4.2): answer with UNKNOWN_TYPE.
    UnknownManagement {
        /// Its type.
        record_type: RecordType,
    },
}

/// How far a live request has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its parameters have not ended.
    Params,
    /// Its parameters have ended, its body has not; for a filter, its body or its file.
    Body,
    /// Everything is here that its role gets. For an authorizer that is the parameters alone.
    Whole,
}

/// What an end of file means where it is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndOfInput {
    /// Between records and with no live request.
    Clean,
    /// Between records, with requests that were not finished; [`Decoder::live`] tells those that came in whole from
    /// those that were cut off.
    Live,
}

/// One live request.
#[derive(Clone, Copy, Debug)]
struct Request {
    id: u16,
    role: Role,
    params_ended: bool,
    stdin_ended: bool,
    data_ended: bool,
}

impl Request {
    fn begun(id: u16, role: Role) -> Self {
        // Whoever is no filter gets no DATA: it is as good as ended.
        Self { id, role, params_ended: false, stdin_ended: false, data_ended: role != Role::FILTER }
    }

    fn phase(&self) -> Phase {
        let body_ended = self.role == Role::AUTHORIZER || self.stdin_ended;
        match (self.params_ended, body_ended && self.data_ended) {
            (false, _) => Phase::Params,
            (true, false) => Phase::Body,
            (true, true) => Phase::Whole,
        }
    }
}

/// What the content of the current record is for.
#[derive(Debug, Default)]
enum Content {
    #[default]
    Ignored,
    Begin {
        id: u16,
        body: Gather,
    },
    Inbound {
        stream: Inbound,
        id: u16,
    },
    GetValues(Scanner),
}

/// The streams that come from a web server.
#[derive(Clone, Copy, Debug)]
enum Inbound {
    Params,
    Stdin,
    Data,
}

/// Turns what a web server sends into [`Event`]s.
///
/// It takes input of any slicing, copies no content, and remembers about eight bytes for each live request, of which
/// there are at most as many as it was made for. The rules:
///
/// - Ignored and skipped: records of requests that are not live, records of unknown types with a request id,
///   GET_VALUES with one, DATA unless the role is filter, STDIN and DATA after their end, unknown flags, content of
///   ABORT_REQUEST, reserved bytes and padding.
/// - Everything in [`DecodeError`] is the end of the connection; the decoder then gives the same error again.
///
/// ```
/// use gatewright::proto::fcgi::{Decoder, EndOfInput, Event, Role, encode};
///
/// let mut wire = Vec::new();
/// encode::begin_request(&mut wire, 7, Role::RESPONDER, false);
/// encode::abort_request(&mut wire, 7);
///
/// let mut decoder = Decoder::new(64);
/// let mut input = &wire[..];
/// let begin = Event::Begin { id: 7, role: Role::RESPONDER, keep_conn: false };
/// assert_eq!(decoder.decode(&mut input), Ok(Some(begin)));
/// assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Abort { id: 7 })));
/// assert_eq!(decoder.decode(&mut input), Ok(None));
/// assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Live));
/// assert!(decoder.finish(7));
/// assert_eq!(decoder.end_of_input(), Ok(EndOfInput::Clean));
/// ```
#[derive(Debug)]
pub struct Decoder {
    framer: Framer,
    content: Content,
    /// Sorted by id.
    requests: Vec<Request>,
    max_requests: usize,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder for a new connection, with at most `max_requests` live at once.
    pub fn new(max_requests: usize) -> Self {
        Self {
            framer: Framer::default(),
            content: Content::default(),
            requests: Vec::new(),
            max_requests,
            failed: None,
        }
    }

    /// The next event in `input`, which is moved past what was read; `None` when all of it was read and more is needed.
    ///
    /// Call it until it gives `None`, then again with what comes next on the connection. A whole record that comes in
    /// pieces gives several fragments.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`], from then on always the same: the connection is to be closed.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.advance(input);
        self.failed = outcome.err();
        outcome
    }

    /// Forgets the request `id` once its END_REQUEST is on its way: what still comes for it is ignored, and the id may
    /// be used again. Says whether it was live.
    pub fn finish(&mut self, id: u16) -> bool {
        let found = self.find(id);
        if let Ok(index) = found {
            self.requests.remove(index);
        }
        found.is_ok()
    }

    /// How far the request `id` has come in; `None` when it is not live.
    pub fn phase(&self, id: u16) -> Option<Phase> {
        let index = self.find(id).ok()?;
        self.requests.get(index).map(Request::phase)
    }

    /// The live requests and how far each has come in, by rising id.
    pub fn live(&self) -> impl Iterator<Item = (u16, Phase)> + '_ {
        self.requests.iter().map(|request| (request.id, request.phase()))
    }

    /// How many requests are live.
    pub fn live_count(&self) -> usize {
        self.requests.len()
    }

    /// Whether input stopped inside a record, so that more must follow.
    pub fn is_inside_record(&self) -> bool {
        self.framer.is_inside_record()
    }

    /// What it means that the input ends here.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] inside a record, padding included, and any earlier error again.
    pub fn end_of_input(&self) -> Result<EndOfInput, DecodeError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.is_inside_record() => Err(DecodeError::Truncated { offset: self.offset() }),
            None if self.requests.is_empty() => Ok(EndOfInput::Clean),
            None => Ok(EndOfInput::Live),
        }
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
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

    /// Judges a header: what its content is for, and the event where none is needed to tell.
    fn open(&mut self, header: Header) -> Result<Option<Event<'static>>, DecodeError> {
        let (record_type, id) = (header.record_type, header.request_id);
        self.content = Content::Ignored;
        if header.version != VERSION {
            return Err(DecodeError::Version { version: header.version, offset: self.offset() });
        }
        match record_type {
            RecordType::BEGIN_REQUEST
            | RecordType::ABORT_REQUEST
            | RecordType::PARAMS
            | RecordType::STDIN
            | RecordType::DATA
                if id == NULL_REQUEST_ID =>
            {
                Err(DecodeError::NullRequestId { record_type, offset: self.offset() })
            }
            RecordType::BEGIN_REQUEST => self.open_begin(header),
            RecordType::ABORT_REQUEST => Ok(self.find(id).is_ok().then_some(Event::Abort { id })),
            RecordType::PARAMS => self.open_stream(Inbound::Params, header),
            RecordType::STDIN => self.open_stream(Inbound::Stdin, header),
            RecordType::DATA => self.open_stream(Inbound::Data, header),
            RecordType::END_REQUEST
            | RecordType::STDOUT
            | RecordType::STDERR
            | RecordType::GET_VALUES_RESULT
            | RecordType::UNKNOWN_TYPE => {
                Err(DecodeError::WrongDirection { record_type, offset: self.offset() })
            }
            _ if id != NULL_REQUEST_ID => Ok(None),
            RecordType::GET_VALUES if header.content_length == 0 => {
                Ok(Some(Event::GetValues(Names::default())))
            }
            RecordType::GET_VALUES => {
                self.content = Content::GetValues(Scanner::default());
                Ok(None)
            }
            _ => Ok(Some(Event::UnknownManagement { record_type })),
        }
    }

    fn open_begin(&mut self, header: Header) -> Result<Option<Event<'static>>, DecodeError> {
        let (id, length) = (header.request_id, header.content_length);
        if length != 8 {
            return Err(DecodeError::BeginLength { id, length, offset: self.offset() });
        }
        if self.find(id).is_ok() {
            return Err(DecodeError::BeginTwice { id, offset: self.offset() });
        }
        self.content = Content::Begin { id, body: Gather::default() };
        Ok(None)
    }

    fn open_stream(
        &mut self,
        stream: Inbound,
        header: Header,
    ) -> Result<Option<Event<'static>>, DecodeError> {
        let (id, offset) = (header.request_id, self.offset());
        let Some(request) = self.request_mut(id) else { return Ok(None) };
        let (ended, end) = match stream {
            Inbound::Params => (&mut request.params_ended, Event::ParamsEnd { id }),
            Inbound::Stdin => (&mut request.stdin_ended, Event::StdinEnd { id }),
            Inbound::Data => (&mut request.data_ended, Event::DataEnd { id }),
        };
        match (*ended, stream) {
            (true, Inbound::Params) => return Err(DecodeError::ParamsAfterEnd { id, offset }),
            (true, _) => return Ok(None),
            (false, _) => {}
        }
        if header.content_length == 0 {
            *ended = true;
            return Ok(Some(end));
        }
        self.content = Content::Inbound { stream, id };
        Ok(None)
    }

    fn content<'a>(&mut self, data: &'a [u8]) -> Result<Option<Event<'a>>, DecodeError> {
        match &mut self.content {
            Content::Ignored => Ok(None),
            Content::Begin { id, body } => {
                let id = *id;
                Ok(body.push(data).map(|body| self.begin(id, body)))
            }
            Content::Inbound { stream, id } => {
                let (stream, id) = (*stream, *id);
                // The request may have been finished since the last fragment.
                Ok(self.find(id).is_ok().then_some(match stream {
                    Inbound::Params => Event::Params { id, data },
                    Inbound::Stdin => Event::Stdin { id, data },
                    Inbound::Data => Event::Data { id, data },
                }))
            }
            Content::GetValues(scanner) => {
                scanner.feed(data);
                if self.framer.content_left() > 0 {
                    return Ok(None);
                }
                let found = std::mem::take(scanner).finish();
                let (names, _) = found.ok_or(DecodeError::Pair { offset: self.offset() })?;
                Ok(Some(Event::GetValues(names)))
            }
        }
    }

    fn begin(&mut self, id: u16, body: [u8; 8]) -> Event<'static> {
        let [role1, role0, flags, ..] = body;
        let role = Role(u16::from_be_bytes([role1, role0]));
        let keep_conn = flags & FLAG_KEEP_CONN != 0;
        match self.find(id) {
            Err(index) if self.requests.len() < self.max_requests => {
                self.requests.insert(index, Request::begun(id, role));
                Event::Begin { id, role, keep_conn }
            }
            _ => Event::Overloaded { id, keep_conn },
        }
    }

    /// Where the request `id` is, or where it would be.
    fn find(&self, id: u16) -> Result<usize, usize> {
        self.requests.binary_search_by_key(&id, |request| request.id)
    }

    fn request_mut(&mut self, id: u16) -> Option<&mut Request> {
        let index = self.find(id).ok()?;
        self.requests.get_mut(index)
    }

    fn offset(&self) -> u64 {
        self.framer.record_start()
    }
}
