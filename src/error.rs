//! The library's one error type: what went wrong, whose fault it is, and the status it deserves.

use std::borrow::Cow;
use std::fmt;

/// Any error an application or a handler may meet: `?` works on everything, and our own [`Error`] can be found again
/// by downcasting.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the system says without Rust's "(os error 2)".
#[cfg(any(unix, feature = "cli"))]
pub(crate) fn os_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text).to_owned()
}

/// Who caused an [`Error`], and so who has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The peer: the client, or the web server that speaks for it. The error page shows it the message.
    Peer,
    /// The application, or the CGI program that is run as one. The message goes to the log, never to the client.
    Application,
    /// The gateway itself, or the machine it runs on. The message goes to the log, never to the client.
    Gateway,
}

/// A failure with its fault and the status a client should see for it.
///
/// ```
/// use gatewright::error::{Error, Fault};
///
/// let error = Error::new(Fault::Peer, 400, "CONTENT_LENGTH \"abc\" is no decimal number");
/// assert_eq!(error.status(), 400);
/// assert_eq!(error.to_string(), "CONTENT_LENGTH \"abc\" is no decimal number");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    fault: Fault,
    status: u16,
    message: Cow<'static, str>,
    source: Option<BoxError>,
}

impl Error {
    /// An error with a message that says what, where and what to do.
    pub fn new(fault: Fault, status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { fault, status, message: message.into(), source: None }
    }

    /// A peer's mistake: status 400.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Fault::Peer, 400, message)
    }

    /// An application's mistake: status 500.
    pub fn application(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Fault::Application, 500, message)
    }

    /// Adds the error that lies beneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The status to answer with, while nothing has been sent yet; under wsgiref's policy it is always 500.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// The reason phrase of a status, for those that we or CGI programs give without one (RFC 9110, section 15).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ if status < 400 => "Success",
        _ => "Error",
    }
}
