//! A response's head and body, framed so that the client knows where it ends.

use std::fmt;

use super::request::{Framing, Request, Version, list};
use crate::environ::content_length;
use crate::headers::{Headers, is_token};
use crate::util::is_of_one_connection;

/// What of a request decides how its response is framed. It outlives the request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// The request's version.
    pub version: Version,
    /// Whether the method is HEAD, whose response has no body.
    pub is_head: bool,
    /// Whether the connection may stay open behind the response.
    pub keep_alive: bool,
    /// How the request's body is framed.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl From<&Request<'_>> for Exchange {
    fn from(request: &Request<'_>) -> Self {
        let Request { version, keep_alive, framing, expects_continue, .. } = *request;
        Self { version, is_head: request.method == b"HEAD", keep_alive, framing, expects_continue }
    }
}

impl Exchange {
    /// For a request that was refused before it was understood: a client of HTTP/1.0, and a connection that ends.
    pub const REFUSED: Exchange = Exchange {
        version: Version::Http10,
        is_head: false,
        keep_alive: false,
        framing: Framing::Empty,
        expects_continue: false,
    };
}

/// A response's head before it is framed.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Code, blank, reason.
    pub status: &'a [u8],
    /// The application's headers. Those about the connection do not leave: they are the server's own.
    pub headers: &'a Headers,
    /// Date, where the application gave none.
    pub date: &'a str,
    /// Server, where the application gave none.
    pub server: Option<&'a str>,
    /// The length of the whole body, where it is known and the application did not say.
    pub length: Option<u64>,
}

impl ResponseHead<'_> {
    /// Appends the head of the response to that request, and returns what frames its body.
    ///
    /// The first of these that fits frames the body:
    ///
    /// | response | body |
    /// |---|---|
    /// | to HEAD, or 204, or 304 | none; a Content-Length stays, but for 204 |
    /// | with one valid Content-Length, or a known length | that many bytes |
    /// | to HTTP/1.1 | chunks |
    /// | to HTTP/1.0 | what comes until the connection is closed |
    ///
    /// Connection, Keep-Alive, Transfer-Encoding, TE, Trailer, Upgrade, Proxy-Connection and other headers about the
    /// connection are left out, with those that Connection names, and so are names that are no tokens; of its own the
    /// head has Transfer-Encoding and Connection. An application's `Connection: close` closes the connection.
    /// Content-Lengths that are no number, or that contradict each other, count as none.
    ///
    /// # Errors
    ///
    /// An [`EncodeError`]; nothing is appended then.
    ///
    /// ```
    /// use gatewright::headers::Headers;
    /// use gatewright::proto::http::{Exchange, Limits, Request, ResponseHead};
    ///
    /// let request = Request::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &Limits::default())?;
    /// let headers = Headers::from([("Content-Type", "text/plain")]);
    /// let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    /// let head = ResponseHead { status: b"200 OK", headers: &headers, date, server: None, length: None };
    /// let mut out = Vec::new();
    /// let mut body = head.encode(&Exchange::from(&request), &mut out)?;
    /// body.encode(b"hello", &mut out);
    /// body.end(&mut out)?;
    /// assert_eq!(
    ///     String::from_utf8(out)?,
    ///     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    ///      Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    /// );
    /// # Ok::<(), gatewright::error::BoxError>(())
    /// ```
    pub fn encode(&self, exchange: &Exchange, out: &mut Vec<u8>) -> Result<BodyEncoder, EncodeError> {
        Ok(self.begin(out)?.frame(exchange, self.length, out))
    }

    /// Appends all of the head that does not depend on how the body is framed. Its end is appended by
    /// [`HeadEncoder::frame`], once more is known; `length` is not looked at.
    ///
    /// # Errors
    ///
    /// As for [`encode`](Self::encode).
    pub fn begin(&self, out: &mut Vec<u8>) -> Result<HeadEncoder, EncodeError> {
        let code = self.check()?;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status);
        out.extend_from_slice(b"\r\n");
        let has_connection = self.headers.contains("Connection");
        for (name, value) in self.headers.iter() {
            let named = has_connection && self.connection().any(|option| option.eq_ignore_ascii_case(name));
            if passes(name) && !named {
                line(out, name, value);
            }
        }
        if !self.headers.contains("Date") {
            line(out, b"Date", self.date.as_bytes());
        }
        if let Some(server) = self.server.filter(|_| !self.headers.contains("Server")) {
            line(out, b"Server", server.as_bytes());
        }
        let close = has_connection && self.connection().any(|option| option.eq_ignore_ascii_case(b"close"));
        Ok(HeadEncoder { code, length: self.content_length(), close })
    }

    /// The status code, when all can be sent.
    fn check(&self) -> Result<u16, EncodeError> {
        let code = match self.status {
            [a @ b'2'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
                [a, b, c].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
            }
            _ => return Err(EncodeError::Status),
        };
        let own = [self.status, self.date.as_bytes(), self.server.unwrap_or_default().as_bytes()];
        if own.iter().any(|text| crate::headers::check_value(text).is_err()) || self.headers.check().is_err()
        {
            return Err(EncodeError::Control);
        }
        Ok(code)
    }

    /// The one length that the application's headers agree on.
    fn content_length(&self) -> Option<u64> {
        let mut lengths =
            self.headers.get_all("Content-Length").map(|value| content_length(value).ok().flatten());
        let first = lengths.next()??;
        lengths.all(|length| length == Some(first)).then_some(first)
    }

    fn connection(&self) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all("Connection").flat_map(list)
    }
}

/// Whether a header leaves as it is, if Connection does not name it.
fn passes(name: &[u8]) -> bool {
    let own = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"status");
    !own && is_token(name) && !is_of_one_connection(name)
}

/// A head that is still without its end; [`ResponseHead::begin`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadEncoder {
    code: u16,
    /// The one that the application gave.
    length: Option<u64>,
    close: bool,
}

impl HeadEncoder {
    /// Appends the end of the head: Content-Length or Transfer-Encoding, Connection, the empty line. `length` is the whole
    /// body's, where it is known and the application did not say.
    pub fn frame(self, exchange: &Exchange, length: Option<u64>, out: &mut Vec<u8>) -> BodyEncoder {
        let bodyless = exchange.is_head || matches!(self.code, 204 | 304);
        let length = self.length.or(length);
        let frame = match length {
            _ if bodyless => Frame::Nothing,
            Some(length) => Frame::Length(length),
            None if exchange.version == Version::Http11 => Frame::Chunks,
            None => Frame::UntilClose,
        };
        let keep_alive = exchange.keep_alive && frame != Frame::UntilClose && !self.close;
        match length {
            Some(length) if self.code != 204 => {
                line(out, b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
            }
            _ if frame == Frame::Chunks => line(out, b"Transfer-Encoding", b"chunked"),
            _ => {}
        }
        match (exchange.version, keep_alive) {
            (_, false) => line(out, b"Connection", b"close"),
            (Version::Http10, true) => line(out, b"Connection", b"keep-alive"),
            (Version::Http11, true) => {}
        }
        out.extend_from_slice(b"\r\n");
        BodyEncoder { frame, keep_alive, cut: 0 }
    }

    /// Whether no body may follow, whatever the request was.
    pub fn is_bodyless(&self) -> bool {
        matches!(self.code, 204 | 304)
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len().saturating_add(value.len()).saturating_add(4));
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Nothing,
    /// What is left of it.
    Length(u64),
    Chunks,
    UntilClose,
}

/// Frames a response's body; [`ResponseHead::encode`] makes it.
#[derive(Clone, Debug)]
#[must_use = "without its end a response is cut short"]
pub struct BodyEncoder {
    frame: Frame,
    keep_alive: bool,
    cut: u64,
}

impl BodyEncoder {
    /// Appends a piece of the body in its frame. What exceeds the length, or may not be there, is [cut](Self::cut).
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.frame == Frame::Chunks {
            if data.is_empty() {
                return;
            }
            out.extend_from_slice(ChunkHead::new(data.len()).as_bytes());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
            return;
        }
        out.extend_from_slice(data.get(..self.take(data.len())).unwrap_or_default());
    }

    /// How many of the next `length` bytes may leave as they are, for bytes that go another way than through
    /// [`encode`](Self::encode), a file's for one; they count as sent, the others as [cut](Self::cut). With chunks, all
    /// of them, between a [`ChunkHead`] and CR LF.
    pub fn take(&mut self, length: usize) -> usize {
        let taken = match &mut self.frame {
            Frame::Nothing => 0,
            Frame::Chunks | Frame::UntilClose => length,
            Frame::Length(left) => {
                let taken = usize::try_from(*left).map_or(length, |left| left.min(length));
                *left = left.saturating_sub(taken as u64);
                taken
            }
        };
        self.cut = self.cut.saturating_add((length - taken) as u64);
        taken
    }

    /// Whether the body leaves in chunks.
    pub fn is_chunked(&self) -> bool {
        self.frame == Frame::Chunks
    }

    /// Whether no body may leave.
    pub fn is_bodyless(&self) -> bool {
        self.frame == Frame::Nothing
    }

    /// Bytes that the application wrote beyond its Content-Length, or where there is no body.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Whether the connection may stay open, once [`end`](Self::end) says that the response is whole.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// [`Shortfall`] when it is shorter than its Content-Length: the connection is to be broken off, so that the client
    /// does not take it for whole. The same is to be done, without an end, for a body that fails half-way.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Shortfall> {
        match self.frame {
            Frame::Length(missing @ 1..) => return Err(Shortfall { missing }),
            Frame::Chunks => out.extend_from_slice(b"0\r\n\r\n"),
            _ => {}
        }
        self.frame = Frame::Nothing;
        Ok(())
    }
}

/// The line before a chunk's data: its length in hexadecimal digits, CR LF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    start: usize,
}

impl ChunkHead {
    /// For `length` bytes. None is what ends a body: there must be some.
    pub fn new(length: usize) -> Self {
        let mut head = Self { bytes: *b"0000000000000000\r\n", start: 16 };
        let mut left = length;
        for place in head.bytes.iter_mut().take(16).rev() {
            *place = b"0123456789abcdef".get(left & 15).copied().unwrap_or_default();
            head.start -= 1;
            left >>= 4;
            if left == 0 {
                break;
            }
        }
        head
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// Says that the client may send the body it holds back (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The status is not a code from 200 to 999, a blank, and a reason.
    Status,
    /// A control character in the status or in a header.
    Control,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the response's status is not a code from 200 to 999, a blank and a reason",
            Self::Control => "the response's status or a header has a control character",
        })
    }
}

impl std::error::Error for EncodeError {}

/// A body that ended before its Content-Length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// How many bytes are missing.
    pub missing: u64,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body is {} bytes shorter than its Content-Length", self.missing)
    }
}

impl std::error::Error for Shortfall {}
