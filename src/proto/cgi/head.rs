//! The head of a program's answer.

use super::error::{DecodeError, SHOWN};
use crate::environ::content_length;
use crate::error::reason;
use crate::headers::{Headers, is_token};
use crate::util::is_of_one_connection;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, line ends included.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 10, fields: 200 }
    }
}

/// Which of the specification's answers it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A document, with any status (section 6.2.1).
    Document,
    /// `Location: /path` and nothing else: what the web server has at that path (section 6.2.2).
    LocalRedirect,
    /// A Location that the client shall go to, with or without a document (sections 6.2.3 and 6.2.4).
    ClientRedirect,
    /// An answer with a status line of its own, as programs write whose headers are not parsed (section 5).
    NonParsed,
}

/// What the head of an answer says.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which answer it is.
    pub kind: Kind,
    /// Three digits, a blank, a reason; for a local redirect `302 Found`.
    pub status: Vec<u8>,
    /// The fields in order, without Status and those that concern one connection only.
    pub headers: Headers,
    /// The document's length, where the head says it.
    pub length: Option<u64>,
}

/// Gathers the head of a program's answer, from output of any slicing.
///
/// Lines end in LF, or in CR LF. It is strict in what could be taken for something else: blanks before the colon,
/// continued lines and control characters are errors. What programs are known to write is understood: `HTTP/1.0 200 OK`
/// as the first line, a status without its reason, and the comment with which Python's `cgitb` begins.
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: Limits,
    /// A line whose end has not come yet.
    partial: Vec<u8>,
    bytes: usize,
    lines: usize,
    fields: usize,
    non_parsed: bool,
    status: Option<Vec<u8>>,
    headers: Headers,
    length: Option<u64>,
    whole: bool,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder for the output of a program that has just started.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            partial: Vec::new(),
            bytes: 0,
            lines: 0,
            fields: 0,
            non_parsed: false,
            status: None,
            headers: Headers::new(),
            length: None,
            whole: false,
            failed: None,
        }
    }

    /// Reads what is there of the head.
    ///
    /// `input` is moved past what was read. `true` says that the head is whole, and `input` stands at the document, also
    /// when asked again; `false` that all of `input` was read and more is needed.
    ///
    /// # Errors
    /// What is wrong with the head; the same again when asked again.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<bool, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.decode_lines(input);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn decode_lines(&mut self, input: &mut &[u8]) -> Result<bool, DecodeError> {
        while !self.whole {
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.count(input.len())?;
                self.partial.extend_from_slice(input);
                *input = &[];
                return Ok(false);
            };
            self.count(end + 1)?;
            let (line, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
            *input = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
        }
        Ok(true)
    }

    /// The head's answer, once it is whole.
    ///
    /// # Errors
    /// The output ended before the head did; the head says nothing; what [`decode`](Decoder::decode) said.
    pub fn finish(self) -> Result<Head, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match (self.whole, self.bytes) {
            (true, _) => {}
            (false, 0) => return Err(DecodeError::NoOutput),
            (false, bytes) => return Err(DecodeError::Truncated { bytes }),
        }
        let location = self.headers.get("Location");
        let kind = match location {
            _ if self.non_parsed => Kind::NonParsed,
            // With anything beside it, it would be lost: a cookie, a document.
            Some(path) if self.status.is_none() && is_local(path) && self.fields == 1 => Kind::LocalRedirect,
            Some(_) => Kind::ClientRedirect,
            None if self.status.is_none() && !self.headers.contains("Content-Type") => {
                return Err(DecodeError::NothingSaid);
            }
            None => Kind::Document,
        };
        let default: &[u8] = if location.is_some() { b"302 Found" } else { b"200 OK" };
        let status = self.status.unwrap_or_else(|| default.to_vec());
        Ok(Head { kind, status, headers: self.headers, length: self.length })
    }

    fn count(&mut self, more: usize) -> Result<(), DecodeError> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > self.limits.bytes {
            return Err(DecodeError::TooLong { limit: self.limits.bytes });
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        match line {
            [] => self.whole = true,
            [b'H', b'T', b'T', b'P', b'/', ..] if self.lines == 1 => self.status_line(line)?,
            // cgitb's way to make a page of whatever stands before it.
            [b'<', b'!', b'-', b'-', b':', ..] if self.lines == 1 => {}
            line => self.field(line)?,
        }
        Ok(())
    }

    /// `HTTP/1.0 200 OK`: the version is the program's own affair.
    fn status_line(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        let blank = memchr::memchr(b' ', line).unwrap_or(line.len());
        self.check_value(line)?;
        self.non_parsed = true;
        self.set_status(trim(line.get(blank..).unwrap_or_default()))
    }

    fn field(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        let not_a_field = || DecodeError::NotAField { line: self.lines, start: start_of(line) };
        let colon = memchr::memchr(b':', line).ok_or_else(not_a_field)?;
        let (name, value) = line.split_at_checked(colon).ok_or_else(not_a_field)?;
        if !is_token(name) {
            return Err(not_a_field());
        }
        let value = trim(value.get(1..).unwrap_or_default());
        self.check_value(value)?;
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(DecodeError::TooManyFields { limit: self.limits.fields });
        }
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"status") => return self.status_field(value),
            8 if name.eq_ignore_ascii_case(b"location") => return self.only_one("Location", name, value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let start = || DecodeError::ContentLength { start: start_of(value) };
                let length = content_length(value).map_err(|_| start())?.ok_or_else(start)?;
                self.length = Some(length);
                return self.only_one("Content-Length", name, value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Err(DecodeError::TransferEncoding);
            }
            _ => {}
        }
        // Programs that write a whole answer say `Connection: close`; that ends with this connection.
        if !is_of_one_connection(name) {
            self.append(name, value)?;
        }
        Ok(())
    }

    fn only_one(&mut self, known: &'static str, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        match self.headers.get(known) {
            Some(first) if first == value => Ok(()),
            Some(_) => Err(DecodeError::Twice { name: known }),
            None => self.append(name, value),
        }
    }

    fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let line = self.lines;
        self.headers.append(name, value).map_err(|_| DecodeError::NotAField { line, start: start_of(name) })
    }

    fn check_value(&self, value: &[u8]) -> Result<(), DecodeError> {
        match value.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
            Some(byte) => Err(DecodeError::ControlCharacter { line: self.lines, byte: *byte }),
            None => Ok(()),
        }
    }

    fn status_field(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        match &self.status {
            // What the status line says counts; Apache's mod_cgi has never looked at both.
            Some(_) if self.non_parsed => Ok(()),
            Some(first) if code_of(first) == code_of(value) => Ok(()),
            Some(_) => Err(DecodeError::Twice { name: "Status" }),
            None => self.set_status(value),
        }
    }

    fn set_status(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let code = code_of(value).ok_or_else(|| DecodeError::Status { start: start_of(value) })?;
        if code < 200 {
            return Err(DecodeError::NotFinal { status: code });
        }
        let words = trim(value.get(3..).unwrap_or_default());
        let words = if words.is_empty() { reason(code).as_bytes() } else { words };
        let mut status = value.get(..3).unwrap_or_default().to_vec();
        status.push(b' ');
        status.extend_from_slice(words);
        self.status = Some(status);
        Ok(())
    }
}

/// Whether a Location is a path of this web server: `//host` is another one.
fn is_local(location: &[u8]) -> bool {
    location.starts_with(b"/") && !location.starts_with(b"//")
}

/// The code of a status: three digits, then a blank or nothing.
fn code_of(status: &[u8]) -> Option<u16> {
    let (digits, rest) = status.split_at_checked(3)?;
    let proper = digits.iter().all(u8::is_ascii_digit) && matches!(rest.first(), None | Some(b' ' | b'\t'));
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    proper.then_some(code)
}

fn start_of(line: &[u8]) -> Vec<u8> {
    line.get(..SHOWN).unwrap_or(line).to_vec()
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
