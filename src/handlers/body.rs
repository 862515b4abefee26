//! The request's body on its way to the application: cut at its length, and read ahead before the answer begins.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Seek};
#[cfg(unix)]
use std::os::fd::BorrowedFd;

use crate::environ::{Input, Live};
use crate::error::{BoxError, Error};
use crate::spool::{Kept, Store};

/// The size of a reader's own block.
const BLOCK: usize = 64 * 1024;
/// What is read ahead is kept in memory up to so many bytes, then in a file without a name.
const IN_MEMORY: usize = 256 * 1024;

/// The gateway's stream, shared between the application that reads it and the answer that must not overtake it.
pub(super) struct RequestBody<'a, 's> {
    state: RefCell<State<'a, 's>>,
}

struct State<'a, 's> {
    stdin: Input<'a>,
    /// What is left of CONTENT_LENGTH.
    remaining: Option<u64>,
    ahead: Spool<'s>,
    /// Everything that was to come has come.
    whole: bool,
    /// It came to its end before its length.
    cut_short: bool,
    failed: bool,
    /// Nobody will read the rest.
    abandoned: bool,
    /// What ended reading ahead: told to whoever reads so far.
    error: Option<BoxError>,
}

impl<'a, 's> RequestBody<'a, 's> {
    /// `store` is where it goes when it is read ahead and does not fit into memory.
    pub(super) fn new(stdin: Input<'a>, store: Option<&'s Store>) -> Self {
        let state = State {
            stdin,
            remaining: None,
            ahead: Spool { store, ..Spool::default() },
            whole: false,
            cut_short: false,
            failed: false,
            abandoned: false,
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

    /// Whether all that was to come is here, read or kept.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.state.borrow();
        state.whole || state.remaining == Some(0) || state.stdin.is_whole()
    }

    /// Whether the answer may begin without a loss: nothing is left to arrive that somebody will read.
    pub(super) fn is_settled(&self) -> bool {
        self.is_whole() || self.state.borrow().abandoned
    }

    /// Reads all that is still to come, and keeps it for the application.
    pub(super) fn read_ahead(&self) {
        let state = &mut *self.state.borrow_mut();
        while !state.whole && !state.abandoned && state.error.is_none() {
            if let Err(error) = state.keep_more() {
                state.error = Some(error);
            }
        }
    }
}

impl<'a> State<'a, '_> {
    /// The next bytes from the stream; empty at the end of the body.
    fn fill(&mut self) -> io::Result<&[u8]> {
        Ok(self.fill_by(|stdin| stdin.fill_buf().map(Some))?.unwrap_or_default())
    }

    /// The same without waiting, where the stream can tell.
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        self.fill_by(Input::fill_ready)
    }

    fn fill_by<'f>(
        &'f mut self,
        fill: impl FnOnce(&'f mut Input<'a>) -> io::Result<Option<&'f [u8]>>,
    ) -> io::Result<Option<&'f [u8]>> {
        if self.whole || self.remaining == Some(0) {
            self.whole = true;
            return Ok(Some(&[]));
        }
        let available = match fill(&mut self.stdin) {
            Ok(None) => return Ok(None),
            Ok(Some(available)) => available,
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
                Ok(Some(available.get(..most).unwrap_or(available)))
            }
            None => {
                self.whole = available.is_empty();
                Ok(Some(available))
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(amount as u64));
        self.whole |= self.remaining == Some(0);
        self.stdin.consume(amount);
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(count) = self.read_kept(into)? {
            return Ok(count);
        }
        let count = self.fill()?.read(into)?;
        self.consume(count);
        Ok(count)
    }

    /// The same without waiting, where the stream can tell; `None` while nothing has arrived.
    fn read_ready(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(count) = self.read_kept(into)? {
            return Ok(Some(count));
        }
        let Some(mut available) = self.fill_ready()? else { return Ok(None) };
        let count = available.read(into)?;
        self.consume(count);
        Ok(Some(count))
    }

    /// From what was read ahead; `None` when that is used up.
    fn read_kept(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let count = self.ahead.read(into)?;
        if count > 0 || into.is_empty() {
            return Ok(Some(count));
        }
        self.error.take().map_or(Ok(None), |error| Err(again(error)))
    }

    fn keep_more(&mut self) -> Result<(), BoxError> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let kept = match self.fill() {
            Ok(available) => ahead.write(available).map(|()| available.len()).map_err(BoxError::from),
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
pub(super) struct BodyReader<'b, 'a, 's> {
    body: &'b RequestBody<'a, 's>,
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'b, 'a, 's> BodyReader<'b, 'a, 's> {
    pub(super) fn new(body: &'b RequestBody<'a, 's>) -> Self {
        Self { body, block: Vec::new(), start: 0, end: 0 }
    }
}

impl Read for BodyReader<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.body.state.borrow_mut().read(into);
        }
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for BodyReader<'_, '_, '_> {
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

impl Live for BodyReader<'_, '_, '_> {
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        if self.start == self.end {
            self.block.resize(BLOCK, 0);
            (self.start, self.end) = (0, 0);
            match self.body.state.borrow_mut().read_ready(&mut self.block)? {
                Some(count) => self.end = count,
                None => return Ok(None),
            }
        }
        Ok(self.block.get(self.start..self.end))
    }

    #[cfg(unix)]
    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        self.body.state.borrow().stdin.with_descriptor(with);
    }

    fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    fn abandon(&mut self) {
        let mut state = self.body.state.borrow_mut();
        state.abandoned = true;
        state.stdin.abandon();
    }
}

/// Bytes in the order they came: first in memory, then in a file. Written to its end before it is read.
#[derive(Default)]
struct Spool<'s> {
    store: Option<&'s Store>,
    memory: Vec<u8>,
    at: usize,
    file: Option<Kept>,
    reading: bool,
}

impl Spool<'_> {
    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.file.is_none() && self.memory.len() + data.len() <= IN_MEMORY {
            self.memory.extend_from_slice(data);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.store.unwrap_or(Store::usual()).open()?),
        };
        file.append(data)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(rest) = self.memory.get(self.at..).filter(|rest| !rest.is_empty()) {
            let count = (&*rest).read(into)?;
            self.at += count;
            return Ok(count);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        if !self.reading {
            file.file().rewind()?;
            self.reading = true;
        }
        file.file().read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(data: &[u8], length: Option<u64>, ahead: bool) -> (io::Result<Vec<u8>>, usize, bool) {
        let mut rest = data;
        let body = RequestBody::new(Input::Lent(&mut rest), None);
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

    /// A body of which a piece arrives each time after nothing has.
    struct Arriving {
        pieces: Vec<&'static [u8]>,
        here: bool,
        abandoned: bool,
    }

    impl Arriving {
        fn new(mut pieces: Vec<&'static [u8]>) -> Self {
            pieces.reverse();
            Self { pieces, here: false, abandoned: false }
        }
    }

    impl Read for Arriving {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.fill_buf()?.read(into)?;
            self.consume(count);
            Ok(count)
        }
    }

    impl BufRead for Arriving {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            self.here = true;
            Ok(self.pieces.last().copied().unwrap_or_default())
        }

        fn consume(&mut self, amount: usize) {
            let Some(piece) = self.pieces.last_mut() else { return };
            *piece = &piece[amount..];
            if piece.is_empty() {
                (self.here, _) = (false, self.pieces.pop());
            }
        }
    }

    impl Live for Arriving {
        fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
            if !std::mem::replace(&mut self.here, true) {
                return Ok(None);
            }
            self.fill_buf().map(Some)
        }

        #[cfg(unix)]
        fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
            with(None);
        }

        fn abandon(&mut self) {
            self.abandoned = true;
        }
    }

    #[test]
    fn what_has_arrived_is_had_without_waiting() {
        let mut arriving = Arriving::new(vec![b"abc", b"defg"]);
        let body = RequestBody::new(Input::Live(&mut arriving), None);
        body.set_length(5);
        let mut reader = BodyReader::new(&body);
        let mut seen = Vec::new();
        loop {
            let ready = reader.fill_ready().unwrap().map(<[u8]>::to_vec);
            let count = ready.as_ref().map_or(0, Vec::len);
            reader.consume(count);
            let end = ready.as_ref().is_some_and(Vec::is_empty);
            seen.push(ready);
            if end {
                break;
            }
        }
        let expected = [None, Some(b"abc".to_vec()), None, Some(b"de".to_vec()), Some(vec![])];
        assert_eq!(seen, expected, "cut at its length");
        assert!(body.is_whole());
    }

    #[test]
    fn what_was_read_ahead_is_ready_before_what_arrives() {
        let mut arriving = Arriving::new(vec![b"abc", b"defg"]);
        let body = RequestBody::new(Input::Live(&mut arriving), None);
        body.read_ahead();
        let mut reader = BodyReader::new(&body);
        assert_eq!(reader.fill_ready().unwrap(), Some(&b"abcdefg"[..]));
        reader.consume(7);
        assert_eq!(reader.fill_ready().unwrap(), Some(&b""[..]));
    }

    #[test]
    fn an_abandoned_body_is_not_read_ahead() {
        let mut arriving = Arriving::new(vec![b"abc"]);
        let body = RequestBody::new(Input::Live(&mut arriving), None);
        assert!(!body.is_settled());
        BodyReader::new(&body).abandon();
        assert!(body.is_settled());
        body.read_ahead();
        drop(body);
        assert_eq!((arriving.pieces.len(), arriving.abandoned), (1, true));
    }
}
