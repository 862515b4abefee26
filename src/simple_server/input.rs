//! The body of a request that was read strictly, out of its frame.

use std::io::{self, BufRead, Read};

use crate::error::Error;
use crate::proto::http::{BodyDecoder, DecodeError, Framing};

/// So much of a body is kept at once.
const BLOCK: usize = 8192;

/// Ends where the body ends.
pub(super) struct Body<'a> {
    rfile: &'a mut dyn BufRead,
    decoder: BodyDecoder,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Body<'a> {
    pub(super) fn new(rfile: &'a mut dyn BufRead, framing: Framing) -> Result<Self, DecodeError> {
        Ok(Self { rfile, decoder: BodyDecoder::new(framing, u64::MAX)?, block: Vec::new(), at: 0 })
    }

    fn refill(&mut self) -> io::Result<()> {
        self.block.clear();
        self.at = 0;
        while self.block.is_empty() && !self.decoder.is_whole() {
            let available = self.rfile.fill_buf()?;
            if available.is_empty() {
                let error = self.decoder.end_of_input().err().map(Error::from);
                let error = error.map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other);
                return Err(error);
            }
            let most = available.get(..BLOCK).unwrap_or(available);
            let mut input = most;
            while let Some(data) =
                self.decoder.decode(&mut input).map_err(|error| io::Error::other(Error::from(error)))?
            {
                self.block.extend_from_slice(data);
            }
            let used = most.len() - input.len();
            self.rfile.consume(used);
        }
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.block.len() {
            self.refill()?;
        }
        Ok(self.block.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.block.len());
    }
}
