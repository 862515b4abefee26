//! A request's body for its application: what was gathered, then what comes, out of its frame.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::outgoing::{Outgoing, Progress};
use crate::environ::Live;
use crate::error::Error;
use crate::proto::http::BodyDecoder;
use crate::server::link::{Received, Wait};

/// The size of one read.
const BLOCK: usize = 64 * 1024;

pub(super) struct Body<'h, 'c> {
    connection: &'c Arc<Connection>,
    outgoing: &'h RefCell<Outgoing<'c>>,
    progress: &'c Progress,
    decoder: BodyDecoder,
    /// Decoded before the application was called.
    gathered: Vec<u8>,
    at: usize,
    /// What was read and not decoded: `start..end` of the block, behind `piece`, which was decoded.
    block: Vec<u8>,
    piece: (usize, usize),
    start: usize,
    end: usize,
    /// How long an application has waited for it.
    waited: Duration,
    /// The last read took all there was room for: there may be more.
    full: bool,
}

impl<'h, 'c> Body<'h, 'c> {
    /// `raw` was received behind what is in `gathered`.
    pub(super) fn new(
        connection: &'c Arc<Connection>,
        outgoing: &'h RefCell<Outgoing<'c>>,
        progress: &'c Progress,
        decoder: BodyDecoder,
        gathered: Vec<u8>,
        raw: &[u8],
        mut block: Vec<u8>,
    ) -> Self {
        block.resize(BLOCK.max(raw.len()), 0);
        if let Some(place) = block.get_mut(..raw.len()) {
            place.copy_from_slice(raw);
        }
        let end = raw.len();
        let (at, piece, start, full) = (0, (0, 0), 0, false);
        let waited = Duration::ZERO;
        Self { connection, outgoing, progress, decoder, gathered, at, block, piece, start, end, waited, full }
    }

    /// The decoder, what was received behind the body or of the rest of it, and memory to use again.
    pub(super) fn into_parts(mut self) -> (BodyDecoder, Vec<u8>, Vec<u8>, Vec<u8>) {
        let raw = self.block.get(self.start..self.end).unwrap_or_default().to_vec();
        self.block.truncate(BLOCK);
        self.block.resize(BLOCK, 0);
        (self.decoder, raw, self.gathered, self.block)
    }

    /// Whether the socket may hold more that nobody hears of.
    pub(super) fn was_full(&self) -> bool {
        self.full
    }

    /// What is here.
    fn here(&self) -> &[u8] {
        match self.gathered.get(self.at..) {
            None | Some([]) => self.block.get(self.piece.0..self.piece.1).unwrap_or_default(),
            Some(gathered) => gathered,
        }
    }

    /// Goes on until something is here, or nothing comes any more; `false` when that would take a wait, and there shall be
    /// none.
    fn fill(&mut self, wait: bool) -> io::Result<bool> {
        while self.here().is_empty() && !self.decoder.is_whole() {
            if self.start == self.end && !self.receive(wait)? {
                return Ok(false);
            }
            let raw = self.block.get(self.start..self.end).unwrap_or_default();
            let mut input = raw;
            let decoded = self.decoder.decode(&mut input).map(|data| data.map_or(0, <[u8]>::len));
            self.start += raw.len() - input.len();
            self.progress.left.set(self.decoder.left());
            match decoded {
                // It stands right before what follows it.
                Ok(length) => self.piece = (self.start.saturating_sub(length), self.start),
                Err(error) => {
                    self.progress.broken.set(true);
                    return Err(io::Error::other(Error::from(error)));
                }
            }
        }
        Ok(true)
    }

    /// Reads once; `false` when that would take a wait, and there shall be none.
    fn receive(&mut self, wait: bool) -> io::Result<bool> {
        let link = &self.connection.link;
        self.block.resize(BLOCK, 0);
        (self.start, self.end, self.piece) = (0, 0, (0, 0));
        loop {
            match link.receive(&mut self.block) {
                Ok(Received::Some(count)) => {
                    self.end = count;
                    self.full = count == self.block.len();
                    self.progress.held_back.set(false);
                    return Ok(true);
                }
                Ok(Received::Nothing) => {
                    self.outgoing.borrow_mut().before_waiting()?;
                    if !wait {
                        return Ok(false);
                    }
                    self.wait().inspect_err(|_| self.progress.broken.set(true))?;
                }
                Ok(Received::End) => {
                    self.progress.broken.set(true);
                    link.note_half_close();
                    let message = "the client went away inside its request's body";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
                }
                Err(error) => {
                    self.progress.broken.set(true);
                    return Err(error);
                }
            }
        }
    }
}

impl Body<'_, '_> {
    /// Waits for the next piece: for as long as one may take, and as all of them may take that have come so far.
    fn wait(&mut self) -> io::Result<()> {
        let link = &self.connection.link;
        let settings = &link.core.settings;
        let left = settings.body_patience(self.decoder.received());
        let most = match left.map(|in_all| in_all.saturating_sub(self.waited)) {
            None => settings.body_timeout,
            Some(Duration::ZERO) => {
                let rate = settings.min_body_rate;
                let message = format!("the request's body comes at less than {rate} bytes a second");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Some(left) => left.min(settings.body_timeout),
        };
        let before = link.core.clock.now();
        let waited = link.wait_for(self.connection, Wait::Input, most);
        self.waited += Duration::from_millis(link.core.clock.now().saturating_sub(before));
        waited
    }
}

impl Live for Body<'_, '_> {
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        Ok(if self.fill(false)? { Some(self.here()) } else { None })
    }

    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        let here = !self.here().is_empty() || self.start < self.end || self.decoder.is_whole();
        with((!here).then(|| self.connection.link.stream.as_fd()));
    }

    fn is_whole(&self) -> bool {
        self.decoder.is_whole()
    }
}

impl Read for Body<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill(true)?;
        Ok(self.here())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.here().len());
        if self.at < self.gathered.len() {
            self.at += amount;
        } else {
            self.piece.0 += amount;
        }
    }
}
