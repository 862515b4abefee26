//! A request's head: what it says, and whether it may.

use std::mem::MaybeUninit;

use super::error::DecodeError;
use super::head::Limits;
use super::target::{Authority, Target};
use crate::environ::content_length;

/// The versions that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it stands in a request line, and in SERVER_PROTOCOL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How a request's body is framed (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// There is none.
    Empty,
    /// That many bytes follow the head.
    Length(u64),
    /// Chunks follow the head.
    Chunked,
}

impl Framing {
    /// Whether no byte of a body follows.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Length(0))
    }
}

/// A request's head. It borrows from the bytes that [`HeadDecoder`](super::HeadDecoder) gathered.
///
/// ```
/// use gatewright::proto::http::{Framing, Limits, Request, Version};
///
/// let head = b"POST /form?q HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\n";
/// let request = Request::parse(head, &Limits::default())?;
/// assert_eq!((request.method, request.version), (&b"POST"[..], Version::Http11));
/// assert_eq!((request.framing, request.keep_alive), (Framing::Length(3), true));
/// assert_eq!(request.fields().last(), Some((&b"Content-Length"[..], &b"3"[..])));
/// # Ok::<(), gatewright::proto::http::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'h> {
    /// The method: any token, in its own case.
    pub method: &'h [u8],
    /// The target as it was sent.
    pub uri: &'h [u8],
    /// The target.
    pub target: Target<'h>,
    /// The version.
    pub version: Version,
    /// What Host says; the target's own authority comes before it.
    pub host: Option<Authority<'h>>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the client lets the connection stay open: HTTP/1.1 unless it says otherwise, HTTP/1.0 if it does.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether Connection names anything but Keep-Alive.
    pub(super) names_fields: bool,
    fields: &'h [u8],
}

impl<'h> Request<'h> {
    /// Reads a whole head.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`]: it is answered, and the connection closed.
    pub fn parse(head: &'h [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut few = Slots::new();
        let mut many = Vec::new();
        let slots = match few.0.get_mut(..limits.fields) {
            Some(slots) => slots,
            None => {
                many.resize_with(limits.fields.min(head.len()), MaybeUninit::uninit);
                &mut many[..]
            }
        };
        match Head::read(head, limits, slots) {
            Ok(Some(found)) if found.length == head.len() => Ok(found.request),
            Ok(_) => Err(DecodeError::TruncatedHead),
            Err(error) => Err(error),
        }
    }

    /// The request whose head `input` begins with, and how long that is, if it is whole and nothing in it is to be refused.
    ///
    /// All else is for [`HeadDecoder`](super::HeadDecoder) and [`parse`](Self::parse), which say what is wrong. Whatever is
    /// found here they find, too, at twice the price.
    ///
    /// ```
    /// use gatewright::proto::http::{Limits, Request};
    ///
    /// let limits = Limits { head: 1000, fields: 10 };
    /// let input = b"GET /tea HTTP/1.1\r\nHost: localhost\r\n\r\nGET /more";
    /// let (request, length) = Request::first(input, &limits).expect("a whole head");
    /// assert_eq!((request.uri, length), (&b"/tea"[..], 38));
    /// assert!(Request::first(&input[length..], &limits).is_none());
    /// ```
    #[cfg(unix)]
    pub fn first(input: &'h [u8], limits: &Limits) -> Option<(Self, usize)> {
        let mut slots = Slots::new();
        let found = Head::first(input, limits, &mut slots)?;
        Some((found.request, found.length))
    }

    /// The fields in their order, values without the blanks around them.
    pub fn fields(&self) -> Fields<'h> {
        Fields(self.fields)
    }

    /// The authority that the client asked: the target's, else Host's.
    pub fn authority(&self) -> Option<Authority<'h>> {
        self.target.authority().or(self.host)
    }

    /// Whether the Connection field names this field: it is then for this connection alone.
    pub fn connection_names(&self, name: &[u8]) -> bool {
        self.connection_options().any(|option| option.eq_ignore_ascii_case(name))
    }

    /// What the Connection field says.
    fn connection_options(&self) -> impl Iterator<Item = &'h [u8]> {
        let connection = self.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
        connection.flat_map(|(_, value)| list(value))
    }
}

/// So many fields are parsed without taking memory.
const FEW: usize = 128;

type Slot<'h> = MaybeUninit<httparse::Header<'h>>;

/// Room for what a parser finds.
pub(crate) struct Slots<'h>([Slot<'h>; FEW]);

impl Slots<'_> {
    pub(crate) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; FEW])
    }
}

/// A request's head where it was received.
pub(crate) struct Head<'s, 'h> {
    pub(crate) request: Request<'h>,
    /// How much of the input it is.
    pub(crate) length: usize,
    #[cfg_attr(not(unix), allow(dead_code))]
    fields: &'s [httparse::Header<'h>],
}

impl<'s, 'h> Head<'s, 'h> {
    /// The head that `input` begins with, if that is whole and has nothing to be refused. All else is for
    /// [`HeadDecoder`](super::HeadDecoder) and [`Request::parse`], which say what is wrong; what is found here they find,
    /// too, looking at each byte several times.
    #[cfg(unix)]
    pub(crate) fn first(input: &'h [u8], limits: &Limits, slots: &'s mut Slots<'h>) -> Option<Self> {
        let slots = slots.0.get_mut(..limits.fields.min(FEW))?;
        // The empty line before a request is the decoder's to count.
        if !crate::headers::is_token_byte(*input.first()?) {
            return None;
        }
        let found = Self::read(input, limits, slots).ok().flatten()?;
        (found.length <= limits.head).then_some(found)
    }

    /// The request's fields, as [`Request::fields`] gives them.
    #[cfg(unix)]
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
        self.fields.iter().map(|field| (field.name.as_bytes(), field.value))
    }

    /// Reads the head that `input` begins with; `None` when it is not whole.
    fn read(
        input: &'h [u8],
        limits: &Limits,
        slots: &'s mut [Slot<'h>],
    ) -> Result<Option<Self>, DecodeError> {
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(input, slots) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(refusal(error, input, limits)),
        };
        let head = input.get(..length).unwrap_or_default();
        let (line, lines) = split_line(head)?;
        let (method, uri, version) = request_line(line)?;
        if method == b"CONNECT" {
            return Err(DecodeError::Connect);
        }
        let target = Target::parse(method, uri)?;
        let mut facts = Facts::default();
        let mut rest = lines;
        for field in parsed.headers.iter() {
            // Line ends of other kinds are the parser's, and not ours: what it sees has to be what is seen later.
            rest = behind(rest, field).ok_or(DecodeError::BareLf { offset: head.len() })?;
            facts.note(field.name.as_bytes(), field.value)?;
        }
        if rest != b"\r\n" {
            return Err(DecodeError::BareLf { offset: head.len() });
        }
        let host = facts.host(version)?;
        let framing = facts.framing(version)?;
        let modern = version == Version::Http11;
        let request = Request {
            method,
            uri,
            target,
            version,
            host,
            framing,
            keep_alive: !facts.close && (modern || facts.keep_alive),
            expects_continue: facts.expects_continue && modern && !framing.is_empty(),
            names_fields: facts.names_fields,
            fields: lines.strip_suffix(b"\r\n").unwrap_or(lines),
        };
        Ok(Some(Self { request, length, fields: parsed.headers }))
    }
}

/// What follows a field that `lines` begin with: its name, a colon, its value between blanks, CR LF.
#[inline]
fn behind<'h>(lines: &'h [u8], field: &httparse::Header<'h>) -> Option<&'h [u8]> {
    let skip_blanks = |mut rest: &'h [u8]| {
        while let [b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        rest
    };
    let name = field.name.as_bytes();
    let rest = lines.get(name.len()..)?.strip_prefix(b":")?;
    let value = skip_blanks(rest);
    let stands =
        std::ptr::eq(lines.as_ptr(), name.as_ptr()) && std::ptr::eq(value.as_ptr(), field.value.as_ptr());
    let rest = skip_blanks(value.get(field.value.len()..)?);
    rest.strip_prefix(b"\r\n").filter(|_| stands)
}

/// The fields of a head; see [`Request::fields`].
#[derive(Clone, Debug)]
pub struct Fields<'h>(&'h [u8]);

impl<'h> Iterator for Fields<'h> {
    type Item = (&'h [u8], &'h [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at_checked(end + 1)?;
        self.0 = rest;
        let line = line.strip_suffix(b"\r\n")?;
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        Some((name, trim(value.get(1..)?)))
    }
}

/// Without blanks and tabs at both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a list, empty ones included.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// What decides about framing and connection.
#[derive(Default)]
struct Facts<'h> {
    host: Option<&'h [u8]>,
    length: Option<u64>,
    coding: Option<&'h [u8]>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    names_fields: bool,
}

impl<'h> Facts<'h> {
    fn note(&mut self, name: &[u8], value: &'h [u8]) -> Result<(), DecodeError> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") && self.host.replace(value).is_some() => Err(DecodeError::SeveralHosts),
            6 if is(b"expect") => {
                self.expects_continue |= list(value).any(|one| one.eq_ignore_ascii_case(b"100-continue"));
                Ok(())
            }
            10 if is(b"connection") => {
                for option in list(value) {
                    let keep_alive = option.eq_ignore_ascii_case(b"keep-alive");
                    self.keep_alive |= keep_alive;
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.names_fields |= !keep_alive;
                }
                Ok(())
            }
            14 if is(b"content-length") => {
                let length = content_length(value).ok().flatten().ok_or(DecodeError::ContentLength)?;
                match self.length.replace(length) {
                    Some(_) => Err(DecodeError::SeveralContentLengths),
                    None => Ok(()),
                }
            }
            17 if is(b"transfer-encoding") && self.coding.replace(value).is_some() => {
                Err(DecodeError::NotChunked)
            }
            _ => Ok(()),
        }
    }

    fn host(&self, version: Version) -> Result<Option<Authority<'h>>, DecodeError> {
        match self.host {
            Some(host) => Authority::parse(host).map(Some).ok_or(DecodeError::Host),
            None if version == Version::Http11 => Err(DecodeError::MissingHost),
            None => Ok(None),
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, DecodeError> {
        let Some(coding) = self.coding else {
            return Ok(self.length.map_or(Framing::Empty, Framing::Length));
        };
        let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        if self.length.is_some() {
            return Err(DecodeError::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(DecodeError::CodingInHttp10);
        }
        let chunks = list(coding).filter(is_chunked).count();
        let last = list(coding).last().is_some_and(|coding| is_chunked(&coding));
        match (chunks, last, list(coding).count()) {
            (1, true, 1) => Ok(Framing::Chunked),
            (1, true, _) if !list(coding).any(<[u8]>::is_empty) => Err(DecodeError::UnknownCoding),
            _ => Err(DecodeError::NotChunked),
        }
    }
}

/// Whether a request line, whose fields are still to come, may stand.
pub(super) fn check_request_line(head: &[u8]) -> Result<(), DecodeError> {
    let (line, _) = split_line(head)?;
    let (method, uri, _) = request_line(line)?;
    if method == b"CONNECT" {
        return Err(DecodeError::Connect);
    }
    Target::parse(method, uri)?;
    Ok(())
}

/// The request line without its CR LF, and what follows.
fn split_line(head: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let end = memchr::memchr(b'\n', head).ok_or(DecodeError::TruncatedHead)?;
    let (line, rest) = head.split_at_checked(end + 1).ok_or(DecodeError::TruncatedHead)?;
    let line = line.strip_suffix(b"\r\n").ok_or(DecodeError::BareLf { offset: end })?;
    Ok((line, rest))
}

/// The three words of a request line.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), DecodeError> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(uri), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(DecodeError::RequestLine);
    };
    if !crate::headers::is_token(method) || uri.is_empty() {
        return Err(DecodeError::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if is_version(other) => return Err(DecodeError::Version),
        _ => return Err(DecodeError::RequestLine),
    };
    Ok((method, uri, version))
}

/// `HTTP/`, digits, a dot, digits.
fn is_version(word: &[u8]) -> bool {
    let Some(numbers) = word.strip_prefix(b"HTTP/") else { return false };
    let mut numbers = numbers.split(|byte| *byte == b'.');
    let mut digits =
        || numbers.next().is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    let both = digits() && digits();
    both && numbers.next().is_none()
}

/// What the parser found, said more closely.
fn refusal(error: httparse::Error, head: &[u8], limits: &Limits) -> DecodeError {
    if let Err(error) = check_request_line(head) {
        return error;
    }
    let folded = || [&b"\r\n "[..], b"\r\n\t"].iter().any(|fold| memchr::memmem::find(head, fold).is_some());
    match error {
        httparse::Error::TooManyHeaders => DecodeError::ManyFields { limit: limits.fields },
        httparse::Error::HeaderValue => DecodeError::FieldValue,
        httparse::Error::HeaderName if folded() => DecodeError::Folded,
        httparse::Error::HeaderName | httparse::Error::NewLine => DecodeError::FieldName,
        _ => DecodeError::RequestLine,
    }
}
