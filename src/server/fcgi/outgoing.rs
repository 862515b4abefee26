//! The records of one answer: gathered, framed in place, written in large pieces.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::Connection;
use super::feed::Key;
use crate::handlers::{End, Flow};
use crate::proto::fcgi::encode;
use crate::proto::fcgi::{
    HEADER_LEN, Header, MAX_CONTENT, ProtocolStatus, RecordType, Stream as RecordStream,
};

/// Output leaves when it has grown so large.
const GATHER: usize = 64 * 1024;
/// A header of version 0, which there is none of.
const NO_RECORD: [u8; HEADER_LEN] = [0; HEADER_LEN];
/// What the buffer may keep between requests.
const KEPT: usize = 2 * GATHER;
/// Output that is at least so large is not copied.
const LARGE: usize = 16 * 1024;
/// Records written in one call.
const AT_ONCE: usize = 16;
/// nginx reads an answer's head into one buffer of so many bytes, or a multiple. Messages before it have it begin anew
/// only where their text fills it to its end: what stands behind the last such place takes room from the head.
const PAGE: usize = 4096;
/// As much of it as messages may take.
const BEFORE_HEAD: usize = 1024;

/// What of an answer has not left yet.
pub(super) struct Outgoing<'c> {
    connection: &'c Arc<Connection>,
    key: Key,
    buffer: Vec<u8>,
    /// Messages that came before any STDOUT, without their headers.
    early: Vec<u8>,
    /// Where the header of the STDOUT record stands that is still growing.
    open: Option<usize>,
    /// Whether some of the request's STDOUT has left, and whether some is in the buffer.
    left: bool,
    holds_stdout: bool,
    stderr_used: bool,
    flow: Flow,
    /// The last record is on its way.
    over: bool,
    /// The answer waits for nobody who writes.
    aside: bool,
}

impl<'c> Outgoing<'c> {
    pub(super) fn new(connection: &'c Arc<Connection>, key: Key, buffer: Vec<u8>) -> Self {
        Self {
            connection,
            key,
            buffer,
            early: Vec::new(),
            open: None,
            left: false,
            holds_stdout: false,
            stderr_used: false,
            flow: Flow::default(),
            over: false,
            aside: false,
        }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The answer, which is short, leaves as a whole, and its sender does not wait.
    pub(super) fn put_aside(&mut self) {
        self.aside = true;
    }

    /// Whether the web server was told that the request is over.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The buffer, to use again.
    pub(super) fn into_buffer(mut self) -> Vec<u8> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
        self.buffer
    }

    pub(super) fn stdout(&mut self, data: &[u8]) -> io::Result<()> {
        self.frame_early();
        if data.len() >= LARGE && self.buffer.len() + data.len() >= GATHER {
            return self.send_uncopied(data);
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

    /// Sends what has gathered, and `data` from where it is.
    fn send_uncopied(&mut self, mut data: &[u8]) -> io::Result<()> {
        self.close_record();
        self.left = true;
        self.holds_stdout = false;
        while !data.is_empty() {
            let mut headers = [[0; HEADER_LEN]; AT_ONCE];
            let mut pieces = [IoSlice::new(&[]); 2 * AT_ONCE + 1];
            let mut places = pieces.iter_mut();
            if let Some(place) = places.next() {
                *place = IoSlice::new(&self.buffer);
            }
            for header in &mut headers {
                let (now, later) = data.split_at_checked(usize::from(MAX_CONTENT)).unwrap_or((data, &[]));
                let (Some(first), Some(second)) = (places.next(), places.next()) else { break };
                if now.is_empty() {
                    break;
                }
                let length = u16::try_from(now.len()).unwrap_or(MAX_CONTENT);
                *header = encode::stream_header(RecordStream::Stdout, self.key.id, length);
                (*first, *second) = (IoSlice::new(header), IoSlice::new(now));
                data = later;
            }
            let result = self.connection.send(self.key, &mut pieces, None);
            self.buffer.clear();
            result?;
        }
        Ok(())
    }

    /// Messages overtake no output and are overtaken by none.
    pub(super) fn stderr(&mut self, data: &[u8]) -> io::Result<()> {
        if !self.left && !self.holds_stdout {
            self.early.extend_from_slice(data);
            return if self.early.len() >= usize::from(MAX_CONTENT) { self.send_early() } else { Ok(()) };
        }
        self.close_record();
        encode::stream(&mut self.buffer, RecordStream::Stderr, self.key.id, data);
        self.stderr_used |= !data.is_empty();
        if self.buffer.len() >= GATHER { self.send() } else { Ok(()) }
    }

    /// Sends whole records of early messages, each as long as a multiple of [`PAGE`].
    fn send_early(&mut self) -> io::Result<()> {
        let early = std::mem::take(&mut self.early);
        let whole = early.len() - early.len() % usize::from(MAX_CONTENT);
        let (now, later) = early.split_at_checked(whole).unwrap_or((&early, &[]));
        encode::stream(&mut self.buffer, RecordStream::Stderr, self.key.id, now);
        self.early.extend_from_slice(later);
        self.stderr_used = true;
        self.send_buffer(false)
    }

    /// Puts what is left of early messages before the first of STDOUT, so that much of a page is left for the head:
    /// otherwise nginx would find it too large.
    fn frame_early(&mut self) {
        if self.early.is_empty() {
            return;
        }
        let early = std::mem::take(&mut self.early);
        let mut rest = early.as_slice();
        let last = (HEADER_LEN + rest.len()) % PAGE;
        if self.buffer.is_empty() && last > BEFORE_HEAD {
            // The text shall go on a little behind the end of a page. All padding stands in the first one.
            let mut shift = PAGE + 2 * HEADER_LEN - last;
            while let (HEADER_LEN.., Some((first, after))) = (shift, rest.split_first_chunk::<1>()) {
                let most = usize::from(u8::MAX).min(shift - HEADER_LEN);
                // What remains is nothing, or enough for a header.
                let padding = match shift - HEADER_LEN - most {
                    short @ 1..HEADER_LEN => most - (HEADER_LEN - short),
                    _ => most,
                };
                let mut header = Header::new(RecordType::STDERR, self.key.id, 1);
                header.padding_length = u8::try_from(padding).unwrap_or(u8::MAX);
                self.buffer.extend_from_slice(&header.encode());
                self.buffer.extend_from_slice(first);
                self.buffer.resize(self.buffer.len() + padding, 0);
                shift -= HEADER_LEN + padding;
                rest = after;
            }
        }
        encode::stream(&mut self.buffer, RecordStream::Stderr, self.key.id, rest);
        self.stderr_used = true;
    }

    /// Gives the growing record its length.
    fn close_record(&mut self) {
        let Some(start) = self.open.take() else { return };
        let length = u16::try_from(self.buffer.len() - start - HEADER_LEN).unwrap_or(MAX_CONTENT);
        let header = encode::stream_header(RecordStream::Stdout, self.key.id, length);
        if let Some(place) = self.buffer.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&header);
        }
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        self.frame_early();
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.close_record();
        self.left |= std::mem::take(&mut self.holds_stdout);
        self.send_buffer(false)
    }

    fn send_buffer(&mut self, last: bool) -> io::Result<()> {
        let result = match (last, self.aside) {
            (true, true) => self.connection.put_aside(self.key, &self.buffer, &mut self.over),
            _ => {
                let over = last.then_some(&mut self.over);
                self.connection.send(self.key, &mut [IoSlice::new(&self.buffer)], over)
            }
        };
        self.buffer.clear();
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
            End::Answered => self.end_request(0),
            End::ClientGone => {
                self.open = None;
                self.buffer.clear();
                Ok(())
            }
            // Others share the connection, and their answers are whole: all that can be said is that this one failed.
            _ if self.connection.is_shared() => self.end_request(1),
            _ => {
                // An end of the connection alone is the end of the answer to nginx, unless it keeps connections; what
                // is no record is a failure to every web server.
                self.frame_early();
                self.close_record();
                self.buffer.extend_from_slice(&NO_RECORD);
                self.send_buffer(false)
            }
        }
    }

    fn end_request(&mut self, status: u32) -> io::Result<()> {
        self.frame_early();
        self.close_record();
        encode::stream_end(&mut self.buffer, RecordStream::Stdout, self.key.id);
        if self.stderr_used {
            encode::stream_end(&mut self.buffer, RecordStream::Stderr, self.key.id);
        }
        encode::end_request(&mut self.buffer, self.key.id, status, ProtocolStatus::REQUEST_COMPLETE);
        self.send_buffer(true)
    }

    pub(super) fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// The application is about to wait for more of the body.
    pub(super) fn before_waiting(&mut self) -> io::Result<()> {
        if self.flow == Flow::Duplex { self.send() } else { Ok(()) }
    }
}
