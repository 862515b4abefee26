//! Recorded exceptions as errors of ours, and which of our messages says what a recorded one said.

use std::fmt;
use std::io;

use gatewright::app::BoxError;
use gatewright::error::{Error, Fault};
use serde_json::Value;

use super::super::run::{Checked, Verdict, fail};

/// An exception that is no input or output error. KeyboardInterrupt and SystemExit are of this kind: wsgiref treats them
/// so, and in Rust neither is anything else.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Python's input and output errors by kind.
const IO: &[(&str, io::ErrorKind)] = &[
    ("BrokenPipeError", io::ErrorKind::BrokenPipe),
    ("ConnectionAbortedError", io::ErrorKind::ConnectionAborted),
    ("ConnectionRefusedError", io::ErrorKind::ConnectionRefused),
    ("ConnectionResetError", io::ErrorKind::ConnectionReset),
    ("OSError", io::ErrorKind::Other),
    ("TimeoutError", io::ErrorKind::TimedOut),
];

/// The name, if it is one of an input or output error.
pub(crate) fn io_name(name: &str) -> Option<&'static str> {
    IO.iter().map(|(known, _)| *known).find(|known| *known == name)
}

/// An input or output error.
pub(crate) fn io(name: &str, message: &str) -> io::Error {
    let kind = IO.iter().find(|(known, _)| *known == name).map_or(io::ErrorKind::Other, |(_, kind)| *kind);
    io::Error::new(kind, shown(name, message))
}

/// The type of an error that only this library has: one with a status of its own.
pub(crate) const TYPED: &str = "gatewright::error::Error";

/// Any error that a case raises. Its text begins with the recorded type, as a traceback's last line does.
pub(crate) fn raised(name: &str, message: &str) -> BoxError {
    match io_name(name) {
        Some(name) => io(name, message).into(),
        None if name == TYPED => Error::new(Fault::Peer, 413, message.to_owned()).into(),
        None => Raised(shown(name, message)).into(),
    }
}

pub(crate) fn shown(name: &str, message: &str) -> String {
    format!("{name}: {message}")
}

/// wsgiref's own messages, and the part of ours that says the same.
const SAME: &[(&str, &str)] = &[
    ("AssertionError: Headers already set!", "the response was started already"),
    ("AssertionError: Status must be at least 4 characters", "\" must be at least 4 characters"),
    ("AssertionError: Status message must begin w/3-digit code", "\" must begin with a 3-digit code"),
    ("AssertionError: Status message must have a space after code", "\" must have a blank after the code"),
    ("AssertionError: Hop-by-hop header, '", "hop-by-hop header \""),
    ("AssertionError: write() before start_response()", "write() before start_response()"),
    ("ValueError: Control characters are not allowed in status", "\" has control characters"),
    (
        "ValueError: Control characters not allowed in headers",
        "control characters are not allowed in headers",
    ),
    // wsgiref finds these two only because something that it needs is not there.
    (
        "AttributeError: 'NoneType' object has no attribute 'setdefault'",
        "returned without starting a response",
    ),
    ("KeyError: 'SERVER_PROTOCOL'", "SERVER_PROTOCOL is missing from the environment"),
    // The validator's.
    (
        "AssertionError: The application returns and we started iterating over its body, \
         but start_response has not yet been called",
        "a response is started before its body is written",
    ),
    (
        "AssertionError: No Content-Type header found in headers ([])",
        "a response with content has a Content-Type",
    ),
];

/// Fails unless our text says what was recorded: by the same words where the error is the case's own, by the table
/// where it is wsgiref's.
pub(crate) fn says(what: &str, ours: &str, recorded: &str) -> Checked {
    let wanted = match SAME.iter().find(|(theirs, _)| recorded.starts_with(theirs)) {
        Some((theirs, same)) => {
            // What follows in a message that names something is that name, up to the quote.
            let name = recorded.get(theirs.len()..).and_then(|rest| rest.split('\'').next());
            format!("{same}{}", name.unwrap_or_default())
        }
        None => recorded.to_owned(),
    };
    if ours.contains(&wanted) {
        Ok(())
    } else {
        fail(format!("{what} is {ours:?}, recorded was {recorded:?}"))
    }
}

/// The last line that Python shows for a recorded `{"type", "message"}`.
pub(crate) fn line(recorded: &Value) -> Checked<String> {
    match (recorded["type"].as_str(), recorded["message"].as_str()) {
        (Some(name), Some(message)) => Ok(shown(name, message)),
        _ => Err(Verdict::Fail(format!("{recorded} is no recorded error"))),
    }
}
