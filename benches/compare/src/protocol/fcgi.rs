//! FastCGI, one request at a time, its number 1, as nginx sends it.

use std::path::Path;

use super::page::{Page, Status};
use super::{Answer, Ask, Protocol, parameters, upload};

pub struct Fcgi;

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// Content of a record of a request's body: nginx's, when it has the body in a file.
const PIECE: usize = 32 << 10;

impl Protocol for Fcgi {
    fn request(&self, ask: &Ask, keep: bool, root: Option<&Path>) -> Vec<u8> {
        let mut out = Vec::new();
        record(&mut out, BEGIN, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0]);
        let mut pairs = Vec::new();
        for (name, value) in parameters(ask, root) {
            for length in [name.len(), value.len()] {
                match u8::try_from(length) {
                    Ok(short @ ..=127) => pairs.push(short),
                    _ => pairs.extend_from_slice(&(length as u32 | 1 << 31).to_be_bytes()),
                }
            }
            pairs.extend_from_slice(name.as_bytes());
            pairs.extend_from_slice(value.as_bytes());
        }
        record(&mut out, PARAMS, &pairs);
        record(&mut out, PARAMS, &[]);
        upload(ask).chunks(PIECE).for_each(|piece| record(&mut out, STDIN, piece));
        record(&mut out, STDIN, &[]);
        out
    }

    fn answer(&self) -> Box<dyn Answer> {
        Box::new(Records {
            page: Page::new(Status::Field),
            head: [0; 8],
            head_got: 0,
            kind: 0,
            content: 0,
            padding: 0,
            end: Vec::with_capacity(8),
        })
    }
}

fn record(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let padding = content.len().wrapping_neg() % 8;
    let [high, low] = (content.len() as u16).to_be_bytes();
    out.extend_from_slice(&[1, kind, 0, 1, high, low, padding as u8, 0]);
    out.extend_from_slice(content);
    out.extend(std::iter::repeat_n(0, padding));
}

struct Records {
    page: Page,
    head: [u8; 8],
    head_got: usize,
    kind: u8,
    /// Bytes to come of the record under way.
    content: usize,
    padding: usize,
    /// END_REQUEST's content.
    end: Vec<u8>,
}

impl Records {
    /// Reads a record's head. True: it has one.
    fn begin(&mut self, bytes: &mut &[u8]) -> Result<bool, String> {
        let take = bytes.len().min(8 - self.head_got);
        self.head[self.head_got..self.head_got + take].copy_from_slice(&bytes[..take]);
        self.head_got += take;
        *bytes = &bytes[take..];
        if self.head_got < 8 {
            return Ok(false);
        }
        let [version, kind, id_high, id_low, high, low, padding, _] = self.head;
        if (version, id_high, id_low) != (1, 0, 1) || !matches!(kind, STDOUT | STDERR | END) {
            return Err(format!("a record begins with {:?}", self.head));
        }
        self.head_got = 0;
        self.kind = kind;
        self.content = usize::from(u16::from_be_bytes([high, low]));
        self.padding = usize::from(padding);
        Ok(true)
    }
}

impl Answer for Records {
    fn feed(&mut self, mut bytes: &[u8], ask: &Ask) -> Result<bool, String> {
        loop {
            if self.content > 0 {
                let (now, rest) = bytes.split_at(bytes.len().min(self.content));
                self.content -= now.len();
                bytes = rest;
                match self.kind {
                    STDOUT => self.page.feed(now, ask)?,
                    STDERR => return Err(format!("error text: {}", String::from_utf8_lossy(now))),
                    _ => self.end.extend_from_slice(now),
                }
            }
            let take = bytes.len().min(self.padding);
            self.padding -= take;
            bytes = &bytes[take..];
            if self.content == 0 && self.padding == 0 && self.kind == END {
                self.kind = 0;
                // The application's status and the protocol's; then three reserved bytes.
                if !matches!(self.end[..], [0, 0, 0, 0, 0, _, _, _]) {
                    return Err(format!("the request ends with {:?}", self.end));
                }
                self.page.finish(ask)?;
                if !bytes.is_empty() {
                    return Err("bytes follow END_REQUEST".to_owned());
                }
                return Ok(true);
            }
            if bytes.is_empty() || (self.content == 0 && self.padding == 0 && !self.begin(&mut bytes)?) {
                return Ok(false);
            }
        }
    }

    fn end(&mut self, ask: &Ask) -> Result<(), String> {
        if self.end.len() != 8 {
            return Err("the connection ends before END_REQUEST".to_owned());
        }
        self.page.finish(ask)
    }

    fn reset(&mut self) {
        self.page.reset();
        self.end.clear();
        (self.head_got, self.kind, self.content, self.padding) = (0, 0, 0, 0);
    }
}
