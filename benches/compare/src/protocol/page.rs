//! An answer's head and body, the same under all protocols but for the first line.

use super::Ask;

/// Where the status stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Status {
    /// In a `Status` field, 200 without one.
    Field,
    /// In the first line.
    Line,
}

pub(super) struct Page {
    status: Status,
    head: Vec<u8>,
    /// The last head that was right: most answers repeat it.
    known: Vec<u8>,
    in_body: bool,
    body: usize,
}

/// A longer head is a mistake.
const MAX_HEAD: usize = 16 << 10;

impl Page {
    pub(super) fn new(status: Status) -> Self {
        Self { status, head: Vec::new(), known: Vec::new(), in_body: false, body: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.head.clear();
        (self.in_body, self.body) = (false, 0);
    }

    pub(super) fn is_whole(&self, ask: &Ask) -> bool {
        self.in_body && self.body == ask.length
    }

    pub(super) fn feed(&mut self, bytes: &[u8], ask: &Ask) -> Result<(), String> {
        let body = match self.in_body {
            true => bytes,
            false => match self.take_head(bytes, ask)? {
                Some(taken) => &bytes[taken..],
                None => return Ok(()),
            },
        };
        if let Some(start) = ask.start.get(self.body..) {
            let compared = start.len().min(body.len());
            if start[..compared] != body[..compared] {
                return Err(format!("the body has {:?}", String::from_utf8_lossy(&body[..compared])));
            }
        }
        self.body += body.len();
        if self.body > ask.length {
            return Err("the body is too long".to_owned());
        }
        Ok(())
    }

    pub(super) fn finish(&self, ask: &Ask) -> Result<(), String> {
        match (self.in_body, self.body) {
            (false, _) => Err("the answer ends within its head".to_owned()),
            (true, body) if body != ask.length => Err("the body is too short".to_owned()),
            (true, _) => Ok(()),
        }
    }

    /// How many of these bytes belong to the head, once it is whole.
    fn take_head(&mut self, bytes: &[u8], ask: &Ask) -> Result<Option<usize>, String> {
        if self.head.is_empty() && !self.known.is_empty() && bytes.starts_with(&self.known) {
            self.in_body = true;
            return Ok(Some(self.known.len()));
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = end_of_head(&self.head) else {
            return if self.head.len() > MAX_HEAD {
                Err("the head does not end".to_owned())
            } else {
                Ok(None)
            };
        };
        self.head.truncate(end);
        check(&self.head, self.status, ask)?;
        self.in_body = true;
        std::mem::swap(&mut self.known, &mut self.head);
        self.head.clear();
        Ok(Some(end - before))
    }
}

/// Where the body begins: after an empty line, ended by LF or CR LF.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let line = bytes[start..].iter().position(|byte| *byte == b'\n')?;
        let end = start + line + 1;
        if matches!(&bytes[start..end], b"\n" | b"\r\n") {
            return Some(end);
        }
        start = end;
    }
}

fn check(head: &[u8], place: Status, ask: &Ask) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let mut status = "200";
    if place == Status::Line {
        let line = lines.next().unwrap_or_default();
        status =
            line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).unwrap_or_default();
    }
    let mut length = None;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("the head has {line:?}"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "status" if place == Status::Field => status = value,
            "content-length" => length = Some(value),
            "transfer-encoding" => return Err(format!("the transfer encoding is {value}")),
            _ => {}
        }
    }
    if !status.starts_with("200") {
        return Err(format!("the status is {status:?}"));
    }
    match length {
        Some(length) if length != ask.length.to_string() => Err(format!("the Content-Length is {length}")),
        None if place == Status::Line => Err("there is no Content-Length".to_owned()),
        _ => Ok(()),
    }
}
