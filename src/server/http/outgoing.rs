//! A response on its way out: gathered, framed once its length is known or may not be known, sent in large pieces.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
#[cfg(target_os = "linux")]
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::connection::Connection;
#[cfg(target_os = "linux")]
use super::rest::FilePart;
use super::rest::{Rest, Sent};
use crate::handlers::{End, Flow, Head};
use crate::proto::http::{BodyEncoder, CONTINUE, ChunkHead, Exchange, HeadEncoder, ResponseHead};
use crate::util::format_date_time;

/// Output leaves when it has grown so large.
const GATHER: usize = 64 * 1024;
/// What the buffer may keep between requests.
const KEPT: usize = 2 * GATHER;
/// The end of an answer for which there is no room waits in memory up to this size, and holds no worker. More of it does
/// so only while workers are needed elsewhere.
const MOST_REST: usize = 64 * 1024;
/// An unread body that is longer is not read only to keep the connection.
pub(super) const MOST_UNREAD: u64 = 1 << 20;

/// How much of the request's body has come, as far as the answer has to know.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What is still to come: 0 when it is whole, `None` when nobody knows.
    pub(super) left: Cell<Option<u64>>,
    /// The client holds the body back until it hears `100 Continue`.
    pub(super) held_back: Cell<bool>,
    /// It broke: where the next request begins is unknown.
    pub(super) broken: Cell<bool>,
}

impl Progress {
    /// Whether the next request can be found behind the body.
    pub(super) fn lets_live(&self) -> bool {
        let short = self.left.get().is_none_or(|left| left <= MOST_UNREAD);
        short && !self.held_back.get() && !self.broken.get()
    }
}

pub(super) struct Outgoing<'c> {
    connection: &'c Arc<Connection>,
    progress: &'c Progress,
    exchange: Exchange,
    /// The head, whose end is not written yet.
    head: Option<HeadEncoder>,
    encoder: Option<BodyEncoder>,
    /// The body so far, not framed.
    body: Vec<u8>,
    /// Framed bytes that have not left.
    wire: Vec<u8>,
    /// The end of the answer, where there was no room for it.
    rest: Rest,
    /// Whether some of the answer has left.
    left: bool,
    flow: Flow,
    broken: Option<io::ErrorKind>,
}

impl<'c> Outgoing<'c> {
    pub(super) fn new(
        connection: &'c Arc<Connection>,
        progress: &'c Progress,
        exchange: Exchange,
        mut wire: Vec<u8>,
        mut body: Vec<u8>,
    ) -> Self {
        wire.clear();
        body.clear();
        Self {
            connection,
            progress,
            exchange,
            head: None,
            encoder: None,
            body,
            wire,
            rest: Rest::default(),
            left: false,
            flow: Flow::default(),
            broken: None,
        }
    }

    /// The answer's head is complete, and leaves with the first of its body.
    pub(super) fn start(&mut self, head: &Head) -> io::Result<()> {
        let begun = with_date(|date| {
            let (status, headers) = (head.status(), head.headers());
            let head = ResponseHead { status, headers, date, server: Some(SERVER), length: None };
            head.begin(&mut self.wire)
        });
        self.head = Some(begun.map_err(io::Error::other)?);
        Ok(())
    }

    pub(super) fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// Forgets the answer, if none of it has left.
    pub(super) fn rewind(&mut self) -> bool {
        if self.left {
            return false;
        }
        (self.head, self.encoder) = (None, None);
        self.body.clear();
        self.wire.clear();
        true
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.check()?;
        if self.body.len() + data.len() <= GATHER {
            self.body.extend_from_slice(data);
            return Ok(());
        }
        let result = self.send_piece(data, true);
        self.noting(result)
    }

    /// Sends all that has gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        let result = self.send_piece(&[], false);
        self.noting(result)
    }

    /// The application is about to wait for more of the body.
    pub(super) fn before_waiting(&mut self) -> io::Result<()> {
        if self.progress.held_back.replace(false) && !self.left {
            self.check()?;
            let link = &self.connection.link;
            let sent = link.send_all(self.connection, &mut [IoSlice::new(CONTINUE)]);
            self.noting(sent)?;
        }
        let waits = self.flow == Flow::Duplex && (self.head.is_some() || !self.body.is_empty());
        if waits { self.flush() } else { Ok(()) }
    }

    /// Has the system send a part of a file, which is the body, as the head says; `sent` counts the bytes that left, and
    /// those that are left to the connection.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file(
        &mut self,
        file: &std::fs::File,
        part: Range<u64>,
        sent: &mut u64,
    ) -> io::Result<()> {
        self.check()?;
        let result = self.send_framed_file(file, part, sent);
        self.noting(result)
    }

    #[cfg(target_os = "linux")]
    fn send_framed_file(&mut self, file: &std::fs::File, part: Range<u64>, sent: &mut u64) -> io::Result<()> {
        if !self.body.is_empty() || !self.rest.is_empty() {
            self.send_piece(&[], false)?;
        }
        self.frame_head(None);
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let wanted = encoder.take(usize::try_from(part.end - part.start).unwrap_or(usize::MAX)) as u64;
        let link = &self.connection.link;
        if !self.wire.is_empty() {
            let mut head = [IoSlice::new(&self.wire)];
            self.left = true;
            // What is said to be followed waits for that.
            let result = match wanted {
                0 => link.send_all(self.connection, &mut head),
                _ => link.send_ahead(self.connection, &mut head),
            };
            self.wire.clear();
            result?;
        }
        let mut at = libc::off_t::try_from(part.start).map_err(io::Error::other)?;
        let mut left = wanted;
        let handed_over = link.send_file(self.connection, file, &mut at, &mut left);
        *sent = if matches!(handed_over, Ok(true)) { wanted } else { wanted - left };
        if handed_over? {
            self.rest.file = Some(FilePart { file: file.try_clone()?, at, left });
        } else if left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
        }
        Ok(())
    }

    /// Ends the answer; what there was no room for is left as [`into_rest`](Self::into_rest).
    pub(super) fn finish(&mut self, end: End) -> io::Result<()> {
        if end != End::Answered {
            return Ok(());
        }
        self.check()?;
        let result = self.send_end();
        self.noting(result)
    }

    /// Whether the connection may go on behind the answer.
    pub(super) fn keeps_alive(&self) -> bool {
        self.broken.is_none() && self.encoder.as_ref().is_some_and(BodyEncoder::keep_alive)
    }

    /// The end of the answer that waits for room, and the two pieces of memory to use again.
    pub(super) fn into_rest(mut self) -> (Rest, Vec<u8>, Vec<u8>) {
        self.body.clear();
        self.body.shrink_to(KEPT);
        (self.rest, self.wire, self.body)
    }

    fn check(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn noting(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.broken = self.broken.or(result.as_ref().err().map(io::Error::kind));
        result
    }

    /// Ends the head, if that was not done; `length` is the body's, where all of it is here.
    fn frame_head(&mut self, length: Option<u64>) {
        let Some(head) = self.head.take() else { return };
        let keep_alive =
            self.exchange.keep_alive && self.progress.lets_live() && !self.connection.link.core.is_draining();
        let exchange = Exchange { keep_alive, ..self.exchange };
        // Of what is not sent nobody knows the length.
        let length = length.filter(|_| !exchange.is_head && !head.is_bodyless());
        self.encoder = Some(head.frame(&exchange, length, &mut self.wire));
    }

    /// Sends what has gathered and `data`, which may be large, from where it is. What `may_wait` stays in memory where its
    /// worker is needed elsewhere.
    fn send_piece(&mut self, data: &[u8], may_wait: bool) -> io::Result<()> {
        self.frame_head(None);
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let gathered = encoder.take(self.body.len());
        let taken = encoder.take(data.len());
        let (gathered, data) =
            (self.body.get(..gathered).unwrap_or_default(), data.get(..taken).unwrap_or_default());
        let length = gathered.len() + data.len();
        let chunk = (encoder.is_chunked() && length > 0).then(|| ChunkHead::new(length));
        let before = chunk.as_ref().map_or(&b""[..], ChunkHead::as_bytes);
        let behind = if chunk.is_some() { &b"\r\n"[..] } else { b"" };
        let mut pieces = [&self.wire, before, gathered, data, behind].map(IoSlice::new);
        let result = send_behind(self.connection, &mut self.rest, &mut pieces, may_wait);
        self.left = true;
        self.connection.link.note_output();
        self.wire.clear();
        self.body.clear();
        result
    }

    /// Sends the end in one go with what has gathered; nobody waits for room for it.
    fn send_end(&mut self) -> io::Result<()> {
        self.frame_head(Some(self.body.len() as u64));
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let chunk = (encoder.is_chunked() && !self.body.is_empty()).then(|| ChunkHead::new(self.body.len()));
        let taken = encoder.take(self.body.len());
        let mut end = Vec::new();
        if chunk.is_some() {
            end.extend_from_slice(b"\r\n");
        }
        encoder.end(&mut end).map_err(io::Error::other)?;
        let before = chunk.as_ref().map_or(&b""[..], ChunkHead::as_bytes);
        let body = self.body.get(..taken).unwrap_or_default();
        let pieces = [&self.wire[..], before, body, &end];
        self.left = true;
        let link = &self.connection.link;
        let is_first = self.rest.is_empty() || self.rest.send(link)? == Sent::All;
        if is_first && pieces.iter().any(|piece| !piece.is_empty()) {
            let mut sent = link.send_now(&pieces.map(IoSlice::new))?;
            for piece in pieces {
                let (gone, left) = piece.split_at_checked(sent).unwrap_or((piece, &[]));
                sent -= gone.len();
                self.rest.keep(left);
            }
        } else if !is_first {
            pieces.iter().for_each(|piece| self.rest.keep(piece));
        }
        if is_first && self.rest.bytes().len() > MOST_REST {
            let rest = std::mem::take(&mut self.rest);
            let mut pieces = [IoSlice::new(rest.bytes())];
            send_behind(self.connection, &mut self.rest, &mut pieces, true)?;
        }
        link.note_output();
        self.wire.clear();
        self.body.clear();
        Ok(())
    }
}

/// Sends `pieces` behind what is still to leave before them. What `may_wait` stays in memory where its worker is needed
/// elsewhere.
fn send_behind(
    connection: &Arc<Connection>,
    rest: &mut Rest,
    mut pieces: &mut [IoSlice<'_>],
    may_wait: bool,
) -> io::Result<()> {
    let link = &connection.link;
    if !rest.is_empty() {
        rest.send(link)?;
        if may_wait && !rest.is_empty() && rest.park_more(pieces) {
            return Ok(());
        }
        link.send_all(connection, &mut [IoSlice::new(rest.bytes())])?;
        rest.clear();
    }
    if !may_wait {
        return link.send_all(connection, pieces);
    }
    if let Some(parked) = link.send_most(connection, &mut pieces)? {
        rest.park(pieces, parked);
    }
    Ok(())
}

/// The Server header. Which version it is concerns nobody outside.
const SERVER: &str = "gatewright";

/// Lends the time as the Date header has it, which is put together once a second.
fn with_date<T>(with: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(second, date)| {
        if *second != now || date.is_empty() {
            (*second, *date) = (now, format_date_time(now as f64));
        }
        with(date)
    })
}
