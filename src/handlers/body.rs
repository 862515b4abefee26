//! The request's body on its way to the application: cut at its length, and read ahead before the answer begins.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, Read, Seek, Write};

use crate::error::{BoxError, Error, Fault};

/// The size of a reader's own block.
const BLOCK: usize = 64 * 1024;
/// What is read ahead is kept in memory up to so many bytes, then in a file without a name.
const IN_MEMORY: usize = 256 * 1024;

/// The gateway's stream, shared between the application that reads it and the answer that must not overtake it.
pub(super) struct RequestBody<'a> {
    state: RefCell<State<'a>>,
}

struct State<'a> {
    stdin: &'a mut (dyn BufRead + 'a),
    /// What is left of CONTENT_LENGTH.
    remaining: Option<u64>,
    ahead: Spool,
    /// Everything that was to come has come.
    whole: bool,
    /// It came to its end before its length.
    cut_short: bool,
    failed: bool,
    /// What ended reading ahead: told to whoever reads so far.
    error: Option<BoxError>,
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(stdin: &'a mut (dyn BufRead + 'a)) -> Self {
        let state = State {
            stdin,
            remaining: None,
            ahead: Spool::default(),
            whole: false,
            cut_short: false,
            failed: false,
            error: None,
        };
        Self { state: RefCell::new(state) }
    }

    /// The body has that many bytes; an earlier end is an error.
    pub(super) fn set_length(&self, length: u64) {
        self.state.borrow_mut().remaining = Some(length);
    }

    /// Whether reading failed: the peer is gone or cannot be trusted any more.
    pub(super) fn failed(&self) -> bool {
        self.state.borrow().failed
    }

    /// Reads a small body whole before the application is called: one that ends early can still be refused then.
    pub(super) fn gather(&self) -> Result<(), Error> {
        self.read_ahead();
        let state = &mut *self.state.borrow_mut();
        match state.remaining {
            Some(missing @ 1..) if state.cut_short => {
                (state.error, state.failed) = (None, false);
                let message = format!("the request body ended {missing} bytes before its CONTENT_LENGTH");
                Err(Error::bad_request(message))
            }
            _ => Ok(()),
        }
    }

    /// Reads all that is still to come, and keeps it for the application.
    pub(super) fn read_ahead(&self) {
        let state = &mut *self.state.borrow_mut();
        while !state.whole && state.error.is_none() {
            if let Err(error) = state.keep_more() {
                state.error = Some(error);
            }
        }
    }
}

impl State<'_> {
    /// The next bytes from the stream; empty at the end of the body.
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.whole || self.remaining == Some(0) {
            self.whole = true;
            return Ok(&[]);
        }
        let available = match self.stdin.fill_buf() {
            Ok(available) => available,
            Err(error) => {
                // An interrupted call is tried again by every reader; it says nothing about the peer.
                // Nor does a limit of our own.
                let ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
                self.failed |= error.kind() != io::ErrorKind::Interrupted && !ours;
                return Err(error);
            }
        };
        match self.remaining {
            Some(remaining) if available.is_empty() => {
                (self.failed, self.cut_short) = (true, true);
                let message = format!("the request body ended {remaining} bytes before its CONTENT_LENGTH");
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, message))
            }
            Some(remaining) => {
                let most = usize::try_from(remaining).unwrap_or(usize::MAX);
                Ok(available.get(..most).unwrap_or(available))
            }
            None => {
                self.whole = available.is_empty();
                Ok(available)
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(amount as u64));
        self.whole |= self.remaining == Some(0);
        self.stdin.consume(amount);
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.ahead.read(into)?;
        if count > 0 || into.is_empty() {
            return Ok(count);
        }
        if let Some(error) = self.error.take() {
            return Err(again(error));
        }
        let count = self.fill()?.read(into)?;
        self.consume(count);
        Ok(count)
    }

    fn keep_more(&mut self) -> Result<(), BoxError> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let kept = match self.fill() {
            Ok(available) => ahead.write(available).map(|()| available.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error.into()),
        };
        self.ahead = ahead;
        self.consume(kept?);
        Ok(())
    }
}

/// An error that was met while reading ahead, for the one who reads there now.
fn again(error: BoxError) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error),
    }
}

/// `wsgi.input` for the application.
pub(super) struct BodyReader<'b, 'a> {
    body: &'b RequestBody<'a>,
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'b, 'a> BodyReader<'b, 'a> {
    pub(super) fn new(body: &'b RequestBody<'a>) -> Self {
        Self { body, block: Vec::new(), start: 0, end: 0 }
    }
}

impl Read for BodyReader<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.body.state.borrow_mut().read(into);
        }
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for BodyReader<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.block.resize(BLOCK, 0);
            (self.start, self.end) = (0, 0);
            self.end = self.body.state.borrow_mut().read(&mut self.block)?;
        }
        Ok(self.block.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.start = self.start.saturating_add(amount).min(self.end);
    }
}

/// Bytes in the order they came: first in memory, then in a file. Written to its end before it is read.
#[derive(Default)]
struct Spool {
    memory: Vec<u8>,
    at: usize,
    file: Option<File>,
    reading: bool,
}

impl Spool {
    fn write(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let full = |error: io::Error| {
            let error = Error::new(Fault::Gateway, 503, "the request body cannot be kept").with_source(error);
            BoxError::from(error)
        };
        if self.file.is_none() && self.memory.len() + data.len() <= IN_MEMORY {
            self.memory.extend_from_slice(data);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless_file().map_err(full)?),
        };
        file.write_all(data).map_err(full)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(rest) = self.memory.get(self.at..).filter(|rest| !rest.is_empty()) {
            let count = (&*rest).read(into)?;
            self.at += count;
            return Ok(count);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        if !self.reading {
            file.rewind()?;
            self.reading = true;
        }
        file.read(into)
    }
}

/// A temporary file that vanishes with its last handle, and that nobody else can open.
pub(crate) fn nameless_file() -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..8 {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let path = std::env::temp_dir().join(format!("gatewright-{random:016x}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        #[cfg(windows)]
        {
            const DELETE_ON_CLOSE: u32 = 0x0400_0000;
            std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, DELETE_ON_CLOSE);
        }
        match options.open(&path) {
            Ok(file) => {
                #[cfg(unix)]
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(data: &[u8], length: Option<u64>, ahead: bool) -> (io::Result<Vec<u8>>, usize, bool) {
        let mut rest = data;
        let body = RequestBody::new(&mut rest);
        if let Some(length) = length {
            body.set_length(length);
        }
        let mut reader = BodyReader::new(&body);
        let mut all = vec![0; 2];
        let begun = reader.read(&mut all).map(|count| all.truncate(count));
        if ahead {
            body.read_ahead();
        }
        let result = begun.and_then(|()| reader.read_to_end(&mut all)).map(|_| all);
        let failed = body.failed();
        drop(body);
        (result, rest.len(), failed)
    }

    #[test]
    fn reading_to_the_end_stops_at_the_declared_length() {
        for ahead in [false, true] {
            let (result, rest, failed) = read_all(b"abcdef", Some(4), ahead);
            assert_eq!((result.unwrap(), rest, failed), (b"abcd".to_vec(), 2, false));
            assert_eq!(read_all(b"abc", None, ahead).0.unwrap(), b"abc");
            assert_eq!(read_all(b"abc", Some(0), ahead).0.unwrap(), b"");
        }
    }

    #[test]
    fn an_early_end_is_an_error_behind_what_did_come() {
        for ahead in [false, true] {
            let (result, _, failed) = read_all(b"abc", Some(4), ahead);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert!(failed);
        }
    }

    #[test]
    fn a_large_body_read_ahead_comes_back_whole() {
        let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let (result, rest, _) = read_all(&data, None, true);
        assert!(result.unwrap() == data && rest == 0);
    }
}
