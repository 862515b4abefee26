//! The head of the response under way, and what is known about the request it answers.

use std::io;

use super::Policy;
use crate::environ::{Environ, Known};
use crate::error::Error;
use crate::headers::{Headers, is_token};
use crate::util::{is_hop_by_hop, is_of_one_connection};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unset,
    /// A status is stored, its headers were refused: only wsgiref's order of storing and checking gets here.
    StatusOnly,
    Stored,
    Sent,
}

/// Status, headers and counters of one response: what wsgiref keeps in `self.status`, `self.headers`,
/// `self.headers_sent` and `self.bytes_sent`.
#[derive(Debug, Default)]
pub struct Head {
    status: Vec<u8>,
    headers: Headers,
    stage: Stage,
    bytes_sent: u64,
    whole: Option<u64>,
    /// What is left of the declared Content-Length, under the safe policy.
    left: Option<u64>,
    cut: u64,
    is_head_request: bool,
    client_protocol: Option<ClientProtocol>,
    wire: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientProtocol {
    Http09,
    Modern,
}

impl Head {
    /// The status as it was started with; empty before.
    pub fn status(&self) -> &[u8] {
        &self.status
    }

    /// The status code, where the status begins with three ASCII digits.
    pub fn status_code(&self) -> Option<u16> {
        let digits = self.status.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        Some(digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
    }

    /// The headers so far.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The headers, to change before they are sent.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Whether the response was started.
    pub fn is_started(&self) -> bool {
        matches!(self.stage, Stage::Stored | Stage::Sent)
    }

    /// Whether the head was given to the output: wsgiref's `headers_sent`.
    pub fn is_sent(&self) -> bool {
        self.stage == Stage::Sent
    }

    /// Marks the head as given to the output. For handlers that override `send_headers`.
    pub fn mark_sent(&mut self) {
        self.stage = Stage::Sent;
    }

    /// Body bytes given to the output: wsgiref's `bytes_sent`.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Counts body bytes. For handlers that override `write` or `sendfile`.
    pub fn add_bytes_sent(&mut self, count: u64) {
        self.bytes_sent = self.bytes_sent.saturating_add(count);
    }

    /// The length of the whole body, when the application gave it as exactly one item.
    pub fn whole_length(&self) -> Option<u64> {
        self.whole
    }

    /// Whether the request's method is HEAD.
    pub fn is_head_request(&self) -> bool {
        self.is_head_request
    }

    /// Whether no body may follow: HEAD, 1xx, 204, 304 (RFC 9110, section 6.4.1).
    pub fn is_bodyless(&self) -> bool {
        self.is_head_request || matches!(self.status_code(), Some(100..=199 | 204 | 304))
    }

    /// SERVER_PROTOCOL is not HTTP/0.9; `None` when it is missing.
    pub(super) fn protocol_is_modern(&self) -> Option<bool> {
        self.client_protocol.map(|protocol| protocol == ClientProtocol::Modern)
    }

    pub(super) fn set_whole_length(&mut self, length: u64) {
        self.whole = Some(length);
    }

    /// Forgets the last request and its response, and keeps the memory.
    pub(super) fn reset(&mut self) {
        self.restart();
        (self.is_head_request, self.client_protocol) = (false, None);
    }

    /// Notes what in this request decides about its response.
    pub(super) fn observe(&mut self, environ: &Environ<'_>) {
        self.is_head_request = environ.method() == b"HEAD";
        self.client_protocol = environ.vars.known(Known::ServerProtocol).map(|protocol| {
            if protocol.eq_ignore_ascii_case(b"HTTP/0.9") {
                ClientProtocol::Http09
            } else {
                ClientProtocol::Modern
            }
        });
    }

    /// The response is taken back, as if it had never been started.
    pub(super) fn restart(&mut self) {
        self.status.clear();
        self.headers.clear();
        self.stage = Stage::Unset;
        (self.bytes_sent, self.whole, self.left, self.cut) = (0, None, None, 0);
    }

    /// Stores status and headers, in wsgiref's order of storing and checking, or checked first.
    pub(super) fn store(&mut self, status: &[u8], mut headers: Headers, policy: Policy) -> Result<(), Error> {
        if policy.is_safe() {
            check_safe(status, &mut headers)?;
        }
        // Whatever else wsgiref stores before it looks: what would split the response is never stored.
        if status.iter().any(u8::is_ascii_control) {
            return Err(refuse_status("has control characters", status));
        }
        self.status.clear();
        self.status.extend_from_slice(status);
        if self.stage == Stage::Unset {
            self.stage = Stage::StatusOnly;
        }
        if !policy.is_safe()
            && let Err(error) = headers.check_for_good()
        {
            return Err(Error::application(error.to_string()));
        }
        self.headers = headers;
        self.stage = Stage::Stored;
        if policy.is_safe() { Ok(()) } else { check_wsgiref(status, &self.headers) }
    }

    /// Takes `data` as the next piece of the body: how much of it may leave, by status, method and Content-Length.
    pub(super) fn clip<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let kept = match (self.is_bodyless(), self.left) {
            (true, _) => return &[],
            (false, None) => data,
            (false, Some(left)) => {
                let count = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
                data.get(..count).unwrap_or_default()
            }
        };
        let length = kept.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(length));
        self.cut = self.cut.saturating_add((data.len() - kept.len()) as u64);
        kept
    }

    /// Notes the Content-Length that goes out with the head.
    pub(super) fn declare(&mut self) {
        self.left = match self.is_bodyless() {
            true => None,
            false => self
                .headers
                .get("Content-Length")
                .and_then(|value| crate::environ::content_length(value).ok().flatten()),
        };
    }

    /// Sets Content-Length where there is none.
    pub(super) fn set_length(&mut self, length: u64) {
        if !self.headers.contains("Content-Length") {
            // Digits are no control characters.
            let _ = self.headers.append("Content-Length", itoa::Buffer::new().format(length));
        }
    }

    /// Lends an empty buffer to put bytes together for the wire.
    pub(super) fn with_wire<T>(&mut self, with: impl FnOnce(&Head, &mut Vec<u8>) -> T) -> T {
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        let result = with(self, &mut wire);
        self.wire = wire;
        result
    }

    /// Bytes that the Content-Length promised and the application did not write.
    pub(super) fn missing(&self) -> Option<u64> {
        self.left.filter(|left| *left > 0)
    }

    /// Bytes beyond the Content-Length that were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }
}

/// wsgiref's checks of status and headers (PEP 3333, "The start_response() Callable").
fn check_wsgiref(status: &[u8], headers: &Headers) -> Result<(), Error> {
    check_status(status, |byte| byte.is_ascii_digit() || matches!(byte, 0xb2 | 0xb3 | 0xb9))?;
    headers
        .iter()
        .try_for_each(|(name, value)| if is_hop_by_hop(name) { hop_by_hop(name, value) } else { Ok(()) })
}

fn check_safe(status: &[u8], headers: &mut Headers) -> Result<(), Error> {
    headers.check_for_good().map_err(|error| Error::application(error.to_string()))?;
    check_status(status, |byte| byte.is_ascii_digit())?;
    if !matches!(status.first(), Some(b'2'..=b'9')) {
        return Err(refuse_status("is no final answer: its code must be from 200 to 999", status));
    }
    for (name, value) in headers.iter() {
        check_safe_header(name, value)?;
    }
    let mut lengths = headers.get_all("Content-Length");
    match (lengths.next(), lengths.next()) {
        (_, Some(_)) => Err(Error::application("the response has several Content-Length headers")),
        (Some(length), None) => check_length(length),
        (None, None) => Ok(()),
    }
}

fn check_safe_header(name: &[u8], value: &[u8]) -> Result<(), Error> {
    if is_of_one_connection(name) {
        return hop_by_hop(name, value);
    }
    if name.eq_ignore_ascii_case(b"status") {
        return Err(Error::application(
            "a header may not be named Status: start the response with the status",
        ));
    }
    if !is_token(name) {
        let shown = name.escape_ascii();
        return Err(Error::application(format!(
            "header name \"{shown}\" is no token (RFC 9110, section 5.6.2)"
        )));
    }
    Ok(())
}

fn check_length(value: &[u8]) -> Result<(), Error> {
    match crate::environ::content_length(value) {
        Ok(Some(_)) => Ok(()),
        _ => Err(Error::application(format!(
            "Content-Length \"{}\" is no decimal number",
            value.escape_ascii()
        ))),
    }
}

fn check_status(status: &[u8], is_digit: impl Fn(u8) -> bool) -> Result<(), Error> {
    let why = match status {
        _ if status.iter().any(u8::is_ascii_control) => "has control characters",
        [] | [_] | [_, _] | [_, _, _] => "must be at least 4 characters",
        [a, b, c, ..] if !(is_digit(*a) && is_digit(*b) && is_digit(*c)) => "must begin with a 3-digit code",
        [_, _, _, blank, ..] if *blank != b' ' => "must have a blank after the code",
        _ => return Ok(()),
    };
    Err(refuse_status(why, status))
}

fn refuse_status(why: &str, status: &[u8]) -> Error {
    Error::application(format!("status \"{}\" {why}", status.escape_ascii()))
}

fn hop_by_hop(name: &[u8], value: &[u8]) -> Result<(), Error> {
    let (name, value) = (name.escape_ascii(), value.escape_ascii());
    Err(Error::application(format!(
        "hop-by-hop header \"{name}: {value}\" is not allowed: the web server's own"
    )))
}

/// `write() before start_response()`, and its like.
pub(super) fn misuse(message: &'static str) -> io::Error {
    io::Error::other(Error::application(message))
}
