//! An HTTP/1.1 client that sends exactly the bytes it is given, and can tell a whole answer from a cut one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

/// Nothing a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its framing promised.
    pub(crate) whole: bool,
}

impl Answer {
    /// The values of a header, in order; its name in lower case.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The one value of a header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match self.all(name).as_slice() {
            [] => None,
            [one] => Some(std::str::from_utf8(one).expect("a header of ASCII")),
            many => panic!("{} headers {name}", many.len()),
        }
    }

    /// Panics unless this is a whole answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let shown = self.body[..self.body.len().min(500)].escape_ascii().to_string();
        assert_eq!(self.status, status, "{:?}: {shown}", self.headers);
        assert!(self.whole, "cut after {} bytes of the body: {:?}", self.body.len(), self.headers);
        self
    }
}

/// A request, all its bytes, and whether an answer to it has a body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_head: bool,
}

impl Request {
    /// `method target HTTP/1.1` with a Host, and that the connection is for this request only.
    pub(crate) fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        let mut bytes = format!("{method} ").into_bytes();
        bytes.extend_from_slice(target.as_ref());
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        Self { bytes, is_head: method == "HEAD" }
    }

    /// Adds a header; before a body.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        assert!(self.bytes.ends_with(b"\r\n\r\n"), "the body is there already");
        self.bytes.truncate(self.bytes.len() - 2);
        self.bytes.extend_from_slice(format!("{name}: ").as_bytes());
        self.bytes.extend_from_slice(value.as_ref());
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self
    }

    /// Adds a body and its Content-Length.
    pub(crate) fn body(self, body: &[u8]) -> Self {
        let mut request = self.header("Content-Length", body.len().to_string());
        request.bytes.extend_from_slice(body);
        request
    }

    /// Adds a chunked body.
    pub(crate) fn chunked<'c>(self, chunks: impl IntoIterator<Item = &'c [u8]>) -> Self {
        let mut request = self.header("Transfer-Encoding", "chunked");
        for chunk in chunks {
            request.bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.bytes.extend_from_slice(chunk);
            request.bytes.extend_from_slice(b"\r\n");
        }
        request.bytes.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// Sends it over a new connection and reads the answer.
    #[track_caller]
    pub(crate) fn send(&self, port: u16) -> Answer {
        match self.try_send(port) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer to {:?}: {error}", self.first_line()),
        }
    }

    /// The status of the answer, if there is one for a client that sends no more: no waiting for a body.
    #[track_caller]
    pub(crate) fn send_no_more(&self, port: u16) -> Option<u16> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a web server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration that is not zero");
        (&stream).write_all(&self.bytes).expect("room in the socket");
        // It may have closed already.
        let _ = stream.shutdown(Shutdown::Write);
        match read_answer(&mut BufReader::new(&stream), self.is_head) {
            Ok(answer) => Some(answer.status),
            Err(error) => {
                let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
                assert!(closed.contains(&error.kind()), "{:?}: {error}", self.first_line());
                None
            }
        }
    }

    /// The same, where there may be no answer.
    pub(crate) fn try_send(&self, port: u16) -> io::Result<Answer> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Sent and read at the same time: an echo of more than the buffers hold would else wait for itself.
        std::thread::scope(|scope| {
            // A server may answer, and close, before it has read everything.
            scope.spawn(|| (&stream).write_all(&self.bytes));
            read_answer(&mut BufReader::new(&stream), self.is_head)
        })
    }

    fn first_line(&self) -> String {
        self.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default().escape_ascii().to_string()
    }
}

/// Reads one answer.
pub(crate) fn read_answer(from: &mut impl BufRead, to_head: bool) -> io::Result<Answer> {
    let status_line = read_line(from)?;
    let status = status_line.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let status = status.filter(|_| status_line.starts_with(b"HTTP/1.")).ok_or_else(|| bad(&status_line))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| bad(&line))?;
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    let mut answer = Answer { status, headers, body: Vec::new(), whole: true };
    if to_head || status == 204 || status == 304 {
        // Nothing may follow, and the connection is for this request only.
        until_cut(from.read_to_end(&mut answer.body))?;
    } else {
        read_body(from, &mut answer)?;
    }
    Ok(answer)
}

fn read_body(from: &mut impl BufRead, answer: &mut Answer) -> io::Result<()> {
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.whole = read_chunks(from, &mut answer.body)?;
    } else if let Some(length) = answer.header("content-length") {
        let length: u64 = length.parse().expect("a Content-Length of digits");
        until_cut(from.take(length).read_to_end(&mut answer.body))?;
        answer.whole = answer.body.len() as u64 == length;
    } else {
        answer.whole = until_cut(from.read_to_end(&mut answer.body))?;
    }
    Ok(())
}

/// Whether the last chunk came.
fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let Ok(line) = read_line(from) else { return Ok(false) };
        let text = std::str::from_utf8(&line).map_err(|_| bad(&line))?;
        let length = u64::from_str_radix(text, 16).map_err(|_| bad(&line))?;
        if length == 0 {
            return Ok(read_line(from).is_ok_and(|line| line.is_empty()));
        }
        let before = body.len() as u64;
        until_cut(from.take(length).read_to_end(body))?;
        if body.len() as u64 != before + length || !read_line(from).is_ok_and(|line| line.is_empty()) {
            return Ok(false);
        }
    }
}

/// A reset cuts an answer as an early end does; a time-out is a failure of the test.
fn until_cut(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}

/// A line without its end.
fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(line.to_vec()),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("\"{}\"", line.escape_ascii()))),
    }
}

fn bad(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: \"{}\"", line.escape_ascii()))
}

#[test]
fn cut_answers_are_told_from_whole_ones() {
    let read = |text: &str| read_answer(&mut text.as_bytes(), false).unwrap();
    for (text, body, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "abc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "abc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "abc", false),
        ("HTTP/1.1 200 OK\r\n\r\nabc", "abc", true),
    ] {
        let answer = read(text);
        assert_eq!((answer.body.as_slice(), answer.whole), (body.as_bytes(), whole), "{text}");
    }
    assert!(read_answer(&mut &b"Status: 200 OK\r\n\r\n"[..], false).is_err());
}
