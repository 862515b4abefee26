//! Reading a request: as Python's `http.server` does, or strictly.

use std::io::{self, BufRead, Read};
use std::net::IpAddr;

use super::page::{MAX_HEADERS, MAX_LINE, Refusal};
use crate::proto::http::{DecodeError, HeadDecoder, Limits, Request};
use crate::util::is_blank_to_python;

/// A request as its handler sees it: the attributes of wsgiref's `WSGIRequestHandler`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimpleRequest {
    /// The request line without its line end.
    pub requestline: Vec<u8>,
    /// The method.
    pub command: Vec<u8>,
    /// The target.
    pub path: Vec<u8>,
    /// `HTTP/1.0`, for example.
    pub request_version: Vec<u8>,
    /// Names and values in their order. Under wsgiref's policy a value may hold a line break.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the connection comes from.
    pub client_address: IpAddr,
    /// The head, when it was read strictly.
    pub(super) strict: Option<Vec<u8>>,
}

impl SimpleRequest {
    fn new(client_address: IpAddr) -> Self {
        let request_version = b"HTTP/0.9".to_vec();
        Self {
            requestline: Vec::new(),
            command: Vec::new(),
            path: Vec::new(),
            request_version,
            headers: Vec::new(),
            client_address,
            strict: None,
        }
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// What was read of a request, and why it is refused, if it is.
pub(super) type Parsed = (SimpleRequest, Result<(), Refusal>);

/// Reads a head as `http.server` of CPython 3.15 does.
pub(super) fn read_as_python(rfile: &mut dyn BufRead, client: IpAddr) -> io::Result<Parsed> {
    let mut request = SimpleRequest::new(client);
    let line = read_line(rfile)?;
    if line.len() as u64 > MAX_LINE {
        request.request_version.clear();
        return Ok((request, Err(Refusal::LongLine)));
    }
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    request.requestline = line.get(..end).unwrap_or_default().to_vec();
    let outcome = match read_request_line(&mut request) {
        Ok(()) => read_headers(rfile, &mut request)?,
        refused => {
            // Only who is known to speak HTTP/0.9 is answered without a head.
            request.request_version.clear();
            refused
        }
    };
    Ok((request, outcome))
}

/// One line with its end; the end of the input, or one byte more than a line may have, end it too.
fn read_line(rfile: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    rfile.take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn read_request_line(request: &mut SimpleRequest) -> Result<(), Refusal> {
    let line = request.requestline.clone();
    let words: Vec<&[u8]> =
        line.split(|byte| is_blank_to_python(*byte)).filter(|word| !word.is_empty()).collect();
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return Err(Refusal::Nothing) };
    if words.len() >= 3 {
        check_version(last)?;
        request.request_version = last.to_vec();
    }
    let path = match words.as_slice() {
        [_, path] | [_, path, _] => path,
        _ => return Err(Refusal::Syntax(line)),
    };
    if words.len() == 2 && *first != b"GET" {
        return Err(Refusal::OldMethod(first.to_vec()));
    }
    request.command = first.to_vec();
    // A browser would take a path that begins with two slashes for the address of another server.
    let slashes = path.iter().take_while(|byte| **byte == b'/').count().saturating_sub(1);
    request.path = path.get(slashes..).unwrap_or_default().to_vec();
    Ok(())
}

/// `HTTP/` digits `.` digits, below 2.0.
fn check_version(word: &[u8]) -> Result<(), Refusal> {
    let refused = || Refusal::Version(word.to_vec());
    let number = word.strip_prefix(b"HTTP/").ok_or_else(refused)?;
    let mut parts = number.split(|byte| *byte == b'.').map(|part| {
        let digits = !part.is_empty() && part.len() <= 10 && part.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(part).ok().filter(|_| digits)?.parse::<u64>().ok()
    });
    match (parts.next().flatten(), parts.next().flatten(), parts.next()) {
        (Some(2..), Some(_), None) => Err(Refusal::LaterVersion(number.to_vec())),
        (Some(_), Some(_), None) => Ok(()),
        _ => Err(refused()),
    }
}

/// The lines up to an empty one or the end, of which those count that stand before the first bad one.
fn read_headers(rfile: &mut dyn BufRead, request: &mut SimpleRequest) -> io::Result<Result<(), Refusal>> {
    let (mut block, mut count) = (Vec::new(), 0);
    loop {
        let line = read_line(rfile)?;
        if line.len() as u64 > MAX_LINE {
            return Ok(Err(Refusal::LongHeader));
        }
        if matches!(line.as_slice(), b"\r\n" | b"\n" | b"") {
            break;
        }
        count += 1;
        if count > MAX_HEADERS {
            return Ok(Err(Refusal::ManyHeaders));
        }
        block.extend_from_slice(&line);
    }
    request.headers = parse_headers(&block);
    Ok(Ok(()))
}

/// What Python's e-mail parser makes of a block of lines: a CR alone ends one too, and the first that is no header ends
/// the headers.
fn parse_headers(block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    // Whether a folded line has a header to belong to.
    let mut open = false;
    for line in lines(block) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if let Some((_, value)) = headers.last_mut().filter(|_| open) {
                value.extend_from_slice(line);
            }
            continue;
        }
        let is_name = |byte: u8| matches!(byte, 0x21..=0x39 | 0x3b..=0x7e);
        let name = line.iter().take_while(|byte| is_name(**byte)).count();
        open = false;
        match (line.split_at_checked(name), line.get(name)) {
            (Some((name, rest)), Some(b':')) if !name.is_empty() => {
                let value = rest.get(1..).unwrap_or_default();
                headers.push((name.to_vec(), value.to_vec()));
                open = true;
            }
            (_, Some(b':')) => {}
            _ if line.starts_with(b"From ") => {}
            _ => break,
        }
    }
    for (_, value) in &mut headers {
        let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        *value = value.get(start..end).unwrap_or_default().to_vec();
    }
    headers
}

/// Lines with their ends, which are CR LF, CR or LF.
fn lines(mut block: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr::memchr2(b'\r', b'\n', block)?;
        let both = block.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n"));
        let (line, rest) = block.split_at_checked(end + if both { 2 } else { 1 })?;
        block = rest;
        Some(line)
    })
}

/// Reads a head by the rules of [`proto::http`](crate::proto::http).
pub(super) fn read_strictly(rfile: &mut dyn BufRead, client: IpAddr) -> io::Result<Parsed> {
    let mut request = SimpleRequest::new(client);
    let limits = Limits::default();
    let (mut decoder, mut head) = (HeadDecoder::new(limits), Vec::new());
    let outcome = loop {
        let available = rfile.fill_buf()?;
        let mut input = available;
        let ended = input.is_empty();
        let outcome = decoder.decode(&mut input, &mut head);
        let used = available.len() - input.len();
        rfile.consume(used);
        match outcome {
            Ok(true) => break Request::parse(&head, &limits).map(|parsed| fill(&mut request, &parsed)),
            Ok(false) if ended && !decoder.has_begun() => return Ok((request, Err(Refusal::Nothing))),
            Ok(false) if ended => break Err(DecodeError::TruncatedHead),
            Ok(false) => {}
            Err(error) => break Err(error),
        }
    };
    match outcome {
        Ok(()) => {
            request.strict = Some(head);
            Ok((request, Ok(())))
        }
        Err(error) => {
            let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            request.requestline = line.to_vec();
            Ok((request, Err(Refusal::Strict(error))))
        }
    }
}

fn fill(request: &mut SimpleRequest, parsed: &Request<'_>) {
    let version = parsed.version.as_str().as_bytes();
    request.requestline = [parsed.method, parsed.uri, version].join(&b' ');
    request.command = parsed.method.to_vec();
    request.path = parsed.uri.to_vec();
    request.request_version = version.to_vec();
    request.headers = parsed.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
}
