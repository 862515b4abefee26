//! The end of an answer that no worker waits for: it leaves as its client makes room.

use std::io::{self, IoSlice};

use crate::server::core::Parked;
use crate::server::link::Link;

/// What has not left of an answer: bytes, then a part of a file.
#[derive(Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    /// How many of them have left.
    sent: usize,
    #[cfg(target_os = "linux")]
    pub(super) file: Option<FilePart>,
    /// Of bytes that are more than a connection may keep by itself.
    parked: Option<Parked>,
}

/// What is left of a file, from a place that nobody else moves.
#[cfg(target_os = "linux")]
pub(super) struct FilePart {
    pub(super) file: std::fs::File,
    pub(super) at: libc::off_t,
    pub(super) left: u64,
}

/// How far a rest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// There is room for more, which is somebody else's turn.
    Some,
    /// There is no more room; whether any of it has left.
    Full(bool),
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        #[cfg(target_os = "linux")]
        if self.file.is_some() {
            return false;
        }
        self.bytes.len() == self.sent
    }

    /// Bytes that have not left.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Keeps what is little enough for a connection by itself.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Keeps what was counted.
    pub(super) fn park(&mut self, pieces: &[IoSlice<'_>], parked: Parked) {
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.parked = Some(parked);
    }

    /// Keeps more behind what is parked, unless there is too much.
    pub(super) fn park_more(&mut self, pieces: &[IoSlice<'_>]) -> bool {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let counted = self.parked.as_mut().is_some_and(|parked| parked.grow(length));
        if counted {
            pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        }
        counted
    }

    /// All bytes have left.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.sent, self.parked) = (Vec::new(), 0, None);
    }

    /// Sends what there is room for, without waiting, and not too much at once.
    ///
    /// # Errors
    /// The client has gone, or the file has become shorter.
    pub(super) fn send(&mut self, link: &Link) -> io::Result<Sent> {
        let bytes = self.bytes();
        if !bytes.is_empty() {
            let count = link.send_now(&[IoSlice::new(bytes)])?;
            self.sent += count;
            if self.sent < self.bytes.len() {
                return Ok(Sent::Full(count > 0));
            }
            self.clear();
        }
        #[cfg(target_os = "linux")]
        if let Some(part) = &mut self.file {
            /// The housekeeper may be the one who sends it.
            const PIECE: u64 = 256 * 1024;
            let Some(count) = link.send_file_now(&part.file, &mut part.at, part.left.min(PIECE))? else {
                return Ok(Sent::Full(false));
            };
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
            }
            part.left = part.left.saturating_sub(count);
            if part.left > 0 {
                return Ok(Sent::Some);
            }
            self.file = None;
        }
        Ok(Sent::All)
    }
}
