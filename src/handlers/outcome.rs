//! How a run ended.

use crate::error::BoxError;

/// What a handler did with one request: for access logs, and for fronts that must close a connection after a
/// truncated answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How the response ended.
    pub end: End,
    /// The status code of the response; `None` when none was started.
    pub status: Option<u16>,
    /// Bytes of the body that were sent.
    pub body_bytes: u64,
    /// Whether an error of the application was logged.
    pub logged: bool,
    /// The error that made even the error page fail: what leaves `run` in wsgiref.
    pub escaped: Option<BoxError>,
}

/// The four ends of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// A whole response was sent, be it the error page.
    Answered,
    /// A part of one was sent: the peer must not take it for the whole.
    Truncated,
    /// The client went away.
    ClientGone,
    /// Nothing could be sent.
    Unanswered,
}

impl Outcome {
    pub(crate) fn new(end: End) -> Self {
        Self { end, status: None, body_bytes: 0, logged: false, escaped: None }
    }
}
