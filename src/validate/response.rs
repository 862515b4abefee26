//! The application's part of the bargain: what it does with its responder.

use std::io;

use super::rule::{Findings, Rule, Violation, quoted};
use super::{Strictness, warn};
use crate::app::{AppResult, BoxError, Respond};
use crate::environ::content_length;
use crate::headers::{Headers, is_token};
use crate::util::{FileSource, is_blank_to_python, is_of_one_connection};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unset,
    Started,
    Ended,
}

/// [`Respond`] with every call checked before it is handed on.
pub(super) struct Checked<'r> {
    inner: &'r mut dyn Respond,
    findings: &'r Findings,
    strictness: Strictness,
    request: Request,
    stage: Stage,
    /// A start with a cause failed: its error has to leave the application.
    gave_back: bool,
    head: Head,
    /// Bytes of the body.
    written: u64,
    /// Whether the body was sent as exactly one item.
    whole: bool,
}

/// What in a request decides about its response.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) is_head: bool,
    pub(super) takes_files: bool,
}

/// What in a response's head decides about its body.
#[derive(Default)]
struct Head {
    code: u16,
    typed: bool,
    length: Option<u64>,
}

impl Head {
    fn is_bodyless(&self) -> bool {
        matches!(self.code, 100..=199 | 204 | 304)
    }
}

impl<'r> Checked<'r> {
    pub(super) fn new(
        inner: &'r mut dyn Respond,
        findings: &'r Findings,
        strictness: Strictness,
        request: Request,
    ) -> Self {
        Self {
            inner,
            findings,
            strictness,
            request,
            stage: Stage::Unset,
            gave_back: false,
            head: Head::default(),
            written: 0,
            whole: false,
        }
    }

    /// The application returned without an error.
    pub(super) fn returned(&self) -> AppResult {
        if self.gave_back && !self.strictness.is_wsgiref() {
            return Err(self.findings.note(Rule::CauseSwallowed, "the application returned").into());
        }
        if self.stage == Stage::Ended { Ok(()) } else { Ok(self.check_end()?) }
    }

    fn check_start(&self, status: &[u8], headers: &Headers, again: bool) -> Result<Head, Violation> {
        let findings = self.findings;
        let note = |(rule, seen): (Rule, String)| findings.note(rule, seen);
        if self.strictness.is_wsgiref() {
            return check_head_as_wsgiref(status, headers).map_err(note);
        }
        if self.stage != Stage::Unset && !again {
            let seen = format!("{}, after {}", quoted(status), self.head.code);
            return Err(findings.note(Rule::StartedTwice, seen));
        }
        check_head(status, headers).map_err(note)
    }

    fn check_write(&self, data: &[u8]) -> Result<(), Violation> {
        let note = |rule, seen: String| Err(self.findings.note(rule, seen));
        if self.gave_back && !self.strictness.is_wsgiref() {
            return note(Rule::CauseSwallowed, format!("a write of {} bytes", data.len()));
        }
        if self.stage == Stage::Unset {
            return note(Rule::WriteBeforeStart, format!("a write of {} bytes", data.len()));
        }
        if data.is_empty() || self.strictness.is_wsgiref() {
            return Ok(());
        }
        if self.stage == Stage::Ended {
            return note(Rule::WriteAfterEnd, quoted(data));
        }
        self.check_content(|| quoted(data))?;
        if self.whole {
            return note(Rule::SecondItem, quoted(data));
        }
        let written = self.written.saturating_add(data.len() as u64);
        match self.head.length {
            Some(length) if written > length => {
                note(Rule::BodyTooLong, format!("{written} bytes, where Content-Length is {length}"))
            }
            _ => Ok(()),
        }
    }

    /// The response has content: may it, and does it say of what kind?
    fn check_content(&self, seen: impl Fn() -> String) -> Result<(), Violation> {
        if self.strictness.is_wsgiref() {
            return Ok(());
        }
        let code = self.head.code;
        if self.head.is_bodyless() {
            return Err(self.findings.note(Rule::BodyForbidden, format!("{} in a {code} response", seen())));
        }
        if !self.head.typed {
            let seen = format!("{} in a {code} response without Content-Type", seen());
            return Err(self.findings.note(Rule::ContentTypeMissing, seen));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Violation> {
        if self.strictness.is_wsgiref() {
            return Ok(());
        }
        if self.stage == Stage::Unset {
            return Err(self.findings.note(Rule::NeverStarted, "no start"));
        }
        let written = self.written;
        match self.head.length {
            Some(length) if written < length && !self.request.is_head && !self.head.is_bodyless() => {
                let seen = format!("{written} bytes, where Content-Length is {length}");
                Err(self.findings.note(Rule::BodyTooShort, seen))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, data: &[u8]) {
        self.written = self.written.saturating_add(data.len() as u64);
    }
}

impl Respond for Checked<'_> {
    fn start(&mut self, status: &[u8], headers: Headers, cause: Option<BoxError>) -> AppResult {
        let again = cause.is_some();
        let head = self.check_start(status, &headers, again)?;
        // wsgiref's remembers the call before it is made; here one that failed has not happened.
        if self.strictness.is_wsgiref() {
            self.stage = Stage::Started;
        }
        let result = self.inner.start(status, headers, cause);
        match &result {
            Ok(()) => {
                (self.stage, self.head) = (Stage::Started, head);
                (self.written, self.whole, self.gave_back) = (0, false, false);
            }
            Err(_) => self.gave_back |= again,
        }
        result
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.check_write(data)?;
        self.count(data);
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn send(&mut self, whole: &[u8]) -> io::Result<()> {
        if self.strictness.is_wsgiref() {
            return self.write(whole);
        }
        self.check_write(whole)?;
        self.whole = self.written == 0;
        self.count(whole);
        self.inner.send(whole)
    }

    fn send_file(&mut self, file: &mut dyn FileSource) -> io::Result<bool> {
        // wsgiref's validator wraps the iterable, so that no server sees a file in it.
        if self.strictness.is_wsgiref() {
            return Ok(false);
        }
        self.check_write(b"")?;
        self.check_content(|| "a file".to_owned())?;
        let taken = self.inner.send_file(file)?;
        if taken {
            // How much of it went out is the server's affair.
            self.stage = Stage::Ended;
            if !self.request.takes_files {
                Err(self.findings.note(Rule::FileUnoffered, "a file was taken, wsgi.file_wrapper is false"))?;
            }
        }
        Ok(taken)
    }

    fn wants_length(&self) -> bool {
        !self.strictness.is_wsgiref() && self.inner.wants_length()
    }

    fn end(&mut self) -> io::Result<()> {
        if self.stage != Stage::Ended {
            self.check_end()?;
        }
        self.inner.end()?;
        self.stage = Stage::Ended;
        Ok(())
    }
}

type Refused = (Rule, String);

/// The checks of PEP 3333.
fn check_head(status: &[u8], headers: &Headers) -> Result<Head, Refused> {
    let code = check_status(status)?;
    for (name, value) in headers.iter() {
        check_header(name, value)?;
    }
    let mut lengths = headers.get_all("Content-Length");
    let length = match (lengths.next(), lengths.next()) {
        (_, Some(_)) => return Err((Rule::LengthHeader, "several".to_owned())),
        (None, None) => None,
        (Some(value), None) => match content_length(value) {
            Ok(Some(length)) => Some(length),
            _ => return Err((Rule::LengthHeader, quoted(value))),
        },
    };
    let typed = headers.contains("Content-Type");
    if typed && matches!(code, 204 | 304) {
        warn(&format!("a {code} response has a Content-Type, and no content"));
    }
    Ok(Head { code, typed, length })
}

fn check_status(status: &[u8]) -> Result<u16, Refused> {
    let refused = |rule| Err((rule, quoted(status)));
    if status.iter().any(u8::is_ascii_control) {
        return refused(Rule::StatusControl);
    }
    let Some((code, rest)) = status.split_first_chunk::<3>() else { return refused(Rule::StatusCode) };
    let Some(code) = code_of(code) else { return refused(Rule::StatusCode) };
    match rest {
        [digit, ..] if digit.is_ascii_digit() => refused(Rule::StatusCode),
        [b' ', ..] => Ok(code),
        _ => refused(Rule::StatusBlank),
    }
}

fn code_of(digits: &[u8; 3]) -> Option<u16> {
    let code = digits.iter().try_fold(0, |code, digit| match digit {
        b'0'..=b'9' => Some(code * 10 + u16::from(digit - b'0')),
        _ => None,
    });
    code.filter(|code| *code >= 100)
}

fn check_header(name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let line = || format!("header \"{}: {}\"", name.escape_ascii(), value.escape_ascii());
    let refused = |rule| Err((rule, line()));
    if name.eq_ignore_ascii_case(b"status") {
        return refused(Rule::StatusHeader);
    }
    if !is_token(name) {
        return refused(Rule::HeaderName);
    }
    if !name.last().is_some_and(u8::is_ascii_alphanumeric) {
        return refused(Rule::HeaderNameEnd);
    }
    if value.iter().any(u8::is_ascii_control) {
        return refused(Rule::HeaderValue);
    }
    if is_of_one_connection(name) {
        return refused(Rule::HopByHop);
    }
    Ok(())
}

/// The checks of wsgiref, in its order.
fn check_head_as_wsgiref(status: &[u8], headers: &Headers) -> Result<Head, Refused> {
    let code = check_status_as_wsgiref(status)?;
    for (name, value) in headers.iter() {
        check_header_as_wsgiref(name, value)?;
    }
    let typed = headers.contains("Content-Type");
    match (code, typed) {
        (204 | 304, true) => Err((Rule::ContentTypeForbidden, format!("{headers:?} in a {code} response"))),
        (204 | 304, false) | (_, true) => Ok(Head { code, typed, length: None }),
        (_, false) => Err((Rule::ContentTypeMissing, format!("{headers:?} in a {code} response"))),
    }
}

fn check_status_as_wsgiref(status: &[u8]) -> Result<u16, Refused> {
    let mut words = status.split(|byte| is_blank_to_python(*byte)).filter(|word| !word.is_empty());
    // What Python's int takes besides three digits is below 100.
    let code = words.next().and_then(|word| code_of(word.try_into().ok()?));
    let Some(code) = code else { return Err((Rule::StatusCode, quoted(status))) };
    if status.get(3) != Some(&b' ') {
        warn(&format!("the status {} should be three digits, one blank, and an explanation", quoted(status)));
    }
    Ok(code)
}

fn check_header_as_wsgiref(name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let line = || format!("header \"{}: {}\"", name.escape_ascii(), value.escape_ascii());
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.eq_ignore_ascii_case(b"status") {
        return Err((Rule::StatusHeader, line()));
    }
    if !name.first().is_some_and(u8::is_ascii_alphabetic) || !name.iter().all(known) {
        return Err((Rule::HeaderName, line()));
    }
    if matches!(name.last(), Some(b'-' | b'_')) {
        return Err((Rule::HeaderNameEnd, line()));
    }
    if value.iter().any(|byte| *byte < b' ') {
        return Err((Rule::HeaderValue, line()));
    }
    Ok(())
}
