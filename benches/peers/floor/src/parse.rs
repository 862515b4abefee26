//! Requests, as little of them as an answer needs, and the framing of answers.

use answers::CONTENT_TYPE;

#[derive(Clone, Copy, PartialEq)]
pub enum Framing {
    Fcgi,
    Scgi,
    Http,
}

/// What an answer depends on.
#[derive(Default)]
pub struct Request {
    pub path: Vec<u8>,
    pub body: u64,
    pub keep: bool,
}

/// The peer sent what the floor does not know.
#[derive(Debug)]
pub struct Unknown;

/// One connection's requests, one after the other.
pub struct Parser {
    framing: Framing,
    request: Request,
    /// The head so far: of a request, or of a FastCGI record.
    head: Vec<u8>,
    /// Bytes of the body, or of a FastCGI record's content and padding, that are still to come.
    left: u64,
    record: Record,
    params: Vec<u8>,
    in_body: bool,
}

#[derive(Default)]
struct Record {
    kind: u8,
    content: u64,
}

pub const BEGIN: u8 = 1;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;

impl Parser {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            request: Request::default(),
            head: Vec::new(),
            left: 0,
            record: Record::default(),
            params: Vec::new(),
            in_body: false,
        }
    }

    /// Takes bytes; gives the request once it is whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Request>, Unknown> {
        match self.framing {
            Framing::Fcgi => self.records(bytes),
            Framing::Scgi | Framing::Http => self.plain(bytes),
        }
    }

    fn records(&mut self, mut bytes: &[u8]) -> Result<Option<Request>, Unknown> {
        loop {
            // Content and padding of the record under way.
            let take = bytes.len().min(self.left as usize);
            let (now, rest) = bytes.split_at(take);
            let content = (take as u64).min(self.record.content);
            match self.record.kind {
                PARAMS => self.params.extend_from_slice(&now[..content as usize]),
                BEGIN if content >= 3 => self.request.keep = now[2] & 1 == 1,
                STDIN => self.request.body += content,
                _ => {}
            }
            self.record.content -= content;
            self.left -= take as u64;
            bytes = rest;
            if bytes.is_empty() {
                return Ok(None);
            }
            let take = bytes.len().min(8 - self.head.len());
            self.head.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let [1, kind, _, _, high, low, padding, _] = self.head[..] else {
                if self.head.len() < 8 { return Ok(None) } else { return Err(Unknown) }
            };
            self.head.clear();
            self.record = Record { kind, content: u64::from(u16::from_be_bytes([high, low])) };
            self.left = self.record.content + u64::from(padding);
            if kind == STDIN && self.record.content == 0 {
                self.request.path = param(&self.params, b"REQUEST_URI").ok_or(Unknown)?.to_vec();
                self.params.clear();
                return Ok(Some(std::mem::take(&mut self.request)));
            }
        }
    }

    fn plain(&mut self, bytes: &[u8]) -> Result<Option<Request>, Unknown> {
        let mut body = bytes.len() as u64;
        if !self.in_body {
            self.head.extend_from_slice(bytes);
            let found = if self.framing == Framing::Scgi { scgi(&self.head)? } else { http(&self.head)? };
            let Some((length, expected, request)) = found else { return Ok(None) };
            (self.request, self.left, self.in_body) = (request, expected, true);
            body = (self.head.len() - length) as u64;
            self.head.clear();
        }
        self.left = self.left.checked_sub(body).ok_or(Unknown)?;
        self.request.body += body;
        if self.left > 0 {
            return Ok(None);
        }
        self.in_body = false;
        Ok(Some(std::mem::take(&mut self.request)))
    }
}

/// A FastCGI parameter's value.
pub fn param<'p>(pairs: &'p [u8], wanted: &[u8]) -> Option<&'p [u8]> {
    params(pairs).find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// FastCGI parameters, up to the first that is not whole.
pub fn params(mut pairs: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fn length(pairs: &mut &[u8]) -> Option<usize> {
        let (first, rest) = pairs.split_first()?;
        if first & 0x80 == 0 {
            *pairs = rest;
            return Some(usize::from(*first));
        }
        let (four, rest) = pairs.split_first_chunk()?;
        *pairs = rest;
        Some((u32::from_be_bytes(*four) & 0x7fff_ffff) as usize)
    }
    std::iter::from_fn(move || {
        let (name, value) = (length(&mut pairs)?, length(&mut pairs)?);
        let (pair, rest) = pairs.split_at_checked(name + value)?;
        pairs = rest;
        Some(pair.split_at(name))
    })
}

/// The head's length, the body's, and the request.
pub type Head = Option<(usize, u64, Request)>;

fn scgi(bytes: &[u8]) -> Result<Head, Unknown> {
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return Ok(None) };
    let length: usize = number(&bytes[..colon])?;
    let Some(head) = bytes.get(colon + 1..colon + 1 + length) else { return Ok(None) };
    if bytes.len() < colon + 2 + length {
        return Ok(None);
    }
    let mut request = Request::default();
    let mut expected = 0;
    let mut words = head.split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            b"REQUEST_URI" => request.path = value.to_vec(),
            b"CONTENT_LENGTH" => expected = number(value)? as u64,
            _ => {}
        }
    }
    Ok(Some((colon + 2 + length, expected, request)))
}

pub fn http(bytes: &[u8]) -> Result<Head, Unknown> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let path = words.nth(1).ok_or(Unknown)?.to_vec();
    let mut request = Request { path, body: 0, keep: true };
    let mut expected = 0;
    for line in lines {
        let line = line.trim_ascii_end();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Err(Unknown) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            expected = number(value)? as u64;
        } else if name.eq_ignore_ascii_case(b"connection") {
            request.keep = !value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some((end + 4, expected, request)))
}

fn number(digits: &[u8]) -> Result<usize, Unknown> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Unknown)
}

impl Framing {
    /// A whole answer, ready to be sent.
    pub fn frame(self, body: &[u8]) -> Vec<u8> {
        let status = if self == Framing::Http { "HTTP/1.1 200 OK" } else { "Status: 200 OK" };
        let mut answer =
            format!("{status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        answer.extend_from_slice(body);
        if self == Framing::Fcgi { records(&answer) } else { answer }
    }
}

fn records(answer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for content in answer.chunks(65_528) {
        let length = (content.len() as u16).to_be_bytes();
        out.extend_from_slice(&[1, 6, 0, 1, length[0], length[1], 0, 0]);
        out.extend_from_slice(content);
    }
    // The answer's end, and the request's.
    out.extend_from_slice(&[1, 6, 0, 1, 0, 0, 0, 0]);
    out.extend_from_slice(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}
