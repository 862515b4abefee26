//! Records on their way out: gathered, framed in place, written in large pieces.

use std::io;

use crate::handlers::{End, Flow};
use crate::proto::fcgi::encode;
use crate::proto::fcgi::{
    HEADER_LEN, Header, MAX_CONTENT, NULL_REQUEST_ID, ProtocolStatus, RecordType, Stream as RecordStream,
    Values,
};
use crate::server::Stream;
use crate::server::wire::send;

/// Output leaves when it has grown so large.
const GATHER: usize = 64 * 1024;
/// A header of version 0, which there is none of.
const NO_RECORD: [u8; HEADER_LEN] = [0; HEADER_LEN];
/// What the buffer may keep between requests.
const KEPT: usize = 2 * GATHER;

/// The records of the request under way that have not left yet.
pub(in crate::server) struct Outgoing<'s> {
    stream: &'s Stream,
    buffer: Vec<u8>,
    /// Where the header of the STDOUT record stands that is still growing.
    open: Option<usize>,
    id: u16,
    /// Whether some of the request's STDOUT has left, and whether some is in the buffer.
    left: bool,
    holds_stdout: bool,
    stderr_used: bool,
    flow: Flow,
    /// The web server gave the request up, and was told that it is over.
    aborted: bool,
    /// The request's END_REQUEST is on its way.
    ended: bool,
    /// How the connection broke: what follows a lost piece would be read as something else.
    broken: Option<io::ErrorKind>,
}

impl<'s> Outgoing<'s> {
    pub(super) fn new(stream: &'s Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            open: None,
            id: NULL_REQUEST_ID,
            left: false,
            holds_stdout: false,
            stderr_used: false,
            flow: Flow::default(),
            aborted: false,
            ended: false,
            broken: None,
        }
    }

    /// The next request's answer begins.
    pub(super) fn begin(&mut self, id: u16) {
        self.id = id;
        self.open = None;
        (self.left, self.holds_stdout, self.stderr_used) = (false, false, false);
        (self.aborted, self.ended) = (false, false);
    }

    /// The request is over, and no record of it comes any more.
    pub(super) fn forget(&mut self) {
        self.ended = false;
    }

    pub(super) fn stdout(&mut self, data: &[u8]) -> io::Result<()> {
        if self.aborted {
            return Err(given_up());
        }
        let mut rest = data;
        while !rest.is_empty() {
            let start = *self.open.get_or_insert_with(|| {
                self.buffer.extend_from_slice(&[0; HEADER_LEN]);
                self.buffer.len() - HEADER_LEN
            });
            let room = usize::from(MAX_CONTENT).saturating_sub(self.buffer.len() - start - HEADER_LEN);
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(now);
            self.holds_stdout = true;
            rest = later;
            if !rest.is_empty() {
                self.close_record();
            }
            if self.buffer.len() >= GATHER {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Messages overtake no output and are overtaken by none.
    pub(super) fn stderr(&mut self, data: &[u8]) -> io::Result<()> {
        if self.aborted {
            return Ok(());
        }
        self.close_record();
        encode::stream(&mut self.buffer, RecordStream::Stderr, self.id, data);
        self.stderr_used |= !data.is_empty();
        if self.buffer.len() >= GATHER { self.send() } else { Ok(()) }
    }

    /// Gives the growing record its length.
    fn close_record(&mut self) {
        let Some(start) = self.open.take() else { return };
        let length = u16::try_from(self.buffer.len() - start - HEADER_LEN).unwrap_or(MAX_CONTENT);
        let header = encode::stream_header(RecordStream::Stdout, self.id, length);
        if let Some(place) = self.buffer.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&header);
        }
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.close_record();
        self.left |= std::mem::take(&mut self.holds_stdout);
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    /// Writes whole records, unless an earlier write has left one unfinished.
    fn put(&mut self, records: &[u8]) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        let result = send(self.stream, records);
        self.broken = result.as_ref().err().map(io::Error::kind);
        result
    }

    /// Forgets STDOUT, if none of it has left; what was said on STDERR stays said.
    pub(super) fn rewind(&mut self) -> bool {
        if self.left {
            return false;
        }
        self.close_record();
        let mut kept = Vec::new();
        let mut rest = self.buffer.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let fields = Header::decode(*header);
            let length = usize::from(fields.content_length) + usize::from(fields.padding_length);
            let (content, later) = after.split_at_checked(length).unwrap_or((after, &[]));
            if fields.record_type != RecordType::STDOUT {
                kept.extend_from_slice(header);
                kept.extend_from_slice(content);
            }
            rest = later;
        }
        (self.buffer, self.holds_stdout) = (kept, false);
        true
    }

    /// Ends the answer: a whole one with its END_REQUEST in the same write, a broken one without.
    pub(super) fn finish(&mut self, end: End) -> io::Result<()> {
        match end {
            _ if self.aborted => {}
            End::Answered => {
                self.close_record();
                encode::stream_end(&mut self.buffer, RecordStream::Stdout, self.id);
                if self.stderr_used {
                    encode::stream_end(&mut self.buffer, RecordStream::Stderr, self.id);
                }
                encode::end_request(&mut self.buffer, self.id, 0, ProtocolStatus::REQUEST_COMPLETE);
                self.ended = true;
            }
            End::ClientGone => {
                self.open = None;
                self.buffer.clear();
            }
            _ => {
                // An end of the connection alone is the end of the answer to nginx, unless it keeps connections; what
                // is no record is a failure to every web server.
                self.close_record();
                self.buffer.extend_from_slice(&NO_RECORD);
            }
        }
        let result = self.send();
        self.buffer.shrink_to(KEPT);
        result
    }

    pub(super) fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// The application is about to wait for more of the body.
    pub(super) fn before_waiting(&mut self) -> io::Result<()> {
        if self.flow == Flow::Duplex { self.send() } else { Ok(()) }
    }

    /// Sends a whole record that belongs to no answer under way, past what is gathered of one.
    fn send_aside(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut record = Vec::new();
        put(&mut record);
        self.put(&record)
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, id: u16, status: ProtocolStatus) -> io::Result<()> {
        self.send_aside(|record| encode::end_request(record, id, 0, status))
    }

    pub(super) fn values(&mut self, values: Values) -> io::Result<()> {
        self.send_aside(|record| encode::get_values_result(record, values))
    }

    pub(super) fn unknown_type(&mut self, record_type: RecordType) -> io::Result<()> {
        self.send_aside(|record| encode::unknown_type(record, record_type))
    }

    /// Answers ABORT_REQUEST at once, whatever the application still does.
    pub(super) fn abort(&mut self, id: u16) -> io::Result<()> {
        if std::mem::replace(&mut self.aborted, true) || self.ended {
            // It crossed the end that was sent already.
            return Ok(());
        }
        self.open = None;
        self.buffer.clear();
        encode::end_request(&mut self.buffer, id, 0, ProtocolStatus::REQUEST_COMPLETE);
        self.send()
    }
}

/// What reading and writing say once the web server has given the request up.
pub(super) fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the web server gave the request up")
}
