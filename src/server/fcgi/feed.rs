//! What comes in for a request after it has started, until its application reads it.

use std::sync::Arc;

use crate::notice::Notice;
use crate::server::Settings;
use crate::server::bell::Bell;
use crate::server::spool::Spool;

/// A body that nobody reads waits in memory up to this size: the connection is not read any further, or, where others
/// share it, the rest goes to a file.
pub(super) const KEPT: usize = 256 * 1024;

/// Which request: its id may stand for another one as soon as the web server was told that it is over, also while the
/// application of an aborted one still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Key {
    pub(super) id: u16,
    pub(super) serial: u64,
}

/// One started request.
pub(super) struct Feed {
    pub(super) key: Key,
    pub(super) keep_conn: bool,
    /// The web server gave the request up, and was told that it is over.
    pub(super) aborted: bool,
    pub(super) stdin: Inbound,
    pub(super) data: Inbound,
    /// Told when there is something new, where its application waits for that beside other things.
    pub(super) bell: Option<Arc<Bell>>,
}

impl Feed {
    /// Tells the one who waits, if anybody does.
    pub(super) fn nudge(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

/// One of its streams.
#[derive(Default)]
pub(super) struct Inbound {
    pub(super) kept: Spool,
    pub(super) ended: bool,
    /// Why it cannot be kept: told to whoever reads so far.
    pub(super) lost: Option<Lost>,
}

/// Why a part of a body is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    TooLarge,
    /// The files have grown too large, or cannot be written.
    NoRoom,
    /// Nobody wants it.
    Abandoned,
}

impl Inbound {
    /// One that the request's role does not have: what comes is skipped, and reads as nothing.
    pub(super) fn unwanted() -> Self {
        Self { lost: Some(Lost::Abandoned), ..Self::default() }
    }

    /// Keeps a piece, as far as the settings allow.
    pub(super) fn keep(&mut self, data: &[u8], settings: &Settings) {
        if self.lost.is_some() {
            return;
        }
        if self.kept.len().saturating_add(data.len() as u64) > settings.max_body_or_none() {
            self.lost = Some(Lost::TooLarge);
        } else if let Err(error) = self.kept.write(data, KEPT, &settings.spool) {
            static CANNOT: Notice = Notice::new();
            CANNOT.warn(format_args!("fcgi: {error}"));
            self.lost = Some(Lost::NoRoom);
        }
    }
}
