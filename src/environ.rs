//! The environment of a request: CGI variables, the streams, and the `wsgi.*` values (PEP 3333).
//!
//! [`Vars`] holds the variables, [`Environ`] adds what else a request has, [`read_environ`] fetches the variables of a
//! CGI program from its process. Variables are bytes: a PEP 3333 native string is a text of latin-1 characters, each of
//! which is one byte, so a byte string is its exact equivalent and cannot hold anything else.

mod accept;
pub mod front;
mod input;
mod known;
mod layout;
mod length;
mod read;
mod spelling;
mod vars;

use std::borrow::Cow;
use std::fmt;

pub(crate) use accept::report_dropped;
pub use accept::{Collector, sanitise, sanitise_except};
pub use input::{Errors, Input, Live};
pub use known::Known;
pub(crate) use length::push_digit;
pub use length::{LengthError, MAX_CONTENT_LENGTH, content_length};
pub use read::{
    FsEncoding, LoneSurrogate, WindowsRule, WindowsValue, needs_transcode, read_environ, transcode_windows,
    windows_rule,
};
pub use vars::Vars;

use crate::error::Error;

/// One request as an application sees it.
///
/// The fields are public on purpose: `let Environ { vars, input, .. } = environ;` borrows them apart, so that a value
/// can be held while the body is read.
///
/// ```
/// use gatewright::environ::{Environ, Errors, Input, Vars};
///
/// let (mut body, mut errors) = (&b"hello"[..], Vec::new());
/// let vars = Vars::from([("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("HTTP_ACCEPT", "text/html")]);
/// let environ = Environ::new(vars, Input::Lent(&mut body), Errors::new(&mut errors));
/// assert_eq!(environ.method(), b"POST");
/// assert_eq!(environ.content_length()?, Some(5));
/// assert_eq!(environ.header("Accept"), Some(&b"text/html"[..]));
/// # Ok::<(), gatewright::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Environ<'r> {
    /// The CGI variables.
    pub vars: Vars,
    /// `wsgi.input`: the request's body.
    pub input: Input<'r>,
    /// The file that a FastCGI filter works on (FastCGI 1.0, section 6.4), to be read after the body; empty for other
    /// roles.
    pub data: Input<'r>,
    /// `wsgi.errors`: the log of the application.
    pub errors: Errors<'r>,
    /// The other `wsgi.*` values.
    pub wsgi: Wsgi,
    /// Whether the client has gone away; see [`is_aborted`](Environ::is_aborted).
    pub abort: Abort<'r>,
}

impl<'r> Environ<'r> {
    /// A request with these variables and streams, and the `wsgi.*` values of [`Wsgi::default`].
    pub fn new(vars: Vars, input: Input<'r>, errors: Errors<'r>) -> Self {
        Self { vars, input, data: Input::Empty, errors, wsgi: Wsgi::default(), abort: Abort::never() }
    }

    /// The value of any variable, by its exact name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.vars.get(name)
    }

    /// A request header by its HTTP name: `header("Accept-Language")` reads HTTP_ACCEPT_LANGUAGE, and the two that CGI
    /// knows by other names (RFC 3875, section 4.1) are found there.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut cgi = String::with_capacity(name.len() + 5);
        cgi.push_str("HTTP_");
        cgi.extend(name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }));
        match cgi.as_str() {
            "HTTP_CONTENT_TYPE" => self.vars.known(Known::ContentType),
            "HTTP_CONTENT_LENGTH" => self.vars.known(Known::ContentLength),
            cgi => self.vars.get(cgi),
        }
    }

    /// REQUEST_METHOD; empty when absent.
    pub fn method(&self) -> &[u8] {
        self.known_or_empty(Known::RequestMethod)
    }

    /// SCRIPT_NAME, the decoded path to the application itself; empty for the root or when absent.
    pub fn script_name(&self) -> &[u8] {
        self.known_or_empty(Known::ScriptName)
    }

    /// PATH_INFO, the decoded rest of the path; empty when absent.
    pub fn path_info(&self) -> &[u8] {
        self.known_or_empty(Known::PathInfo)
    }

    /// QUERY_STRING, undecoded; empty when absent.
    pub fn query_string(&self) -> &[u8] {
        self.known_or_empty(Known::QueryString)
    }

    /// CONTENT_TYPE, unless absent or empty.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.vars.known(Known::ContentType).filter(|value| !value.is_empty())
    }

    /// CONTENT_LENGTH in bytes: `None` when absent or empty, that is, when the body is what comes until its end.
    ///
    /// # Errors
    /// Fault and status of the peer (400) when it is no decimal number, or above 2^63 - 1.
    pub fn content_length(&self) -> Result<Option<u64>, Error> {
        Ok(self.vars.known(Known::ContentLength).map_or(Ok(None), content_length)?)
    }

    /// REMOTE_ADDR, the client's address as the web server wrote it.
    pub fn remote_addr(&self) -> Option<&[u8]> {
        self.vars.known(Known::RemoteAddr)
    }

    /// REMOTE_USER, who the web server says the client is; not set when it has authenticated nobody.
    pub fn remote_user(&self) -> Option<&[u8]> {
        self.vars.known(Known::RemoteUser).filter(|value| !value.is_empty())
    }

    /// `wsgi.url_scheme`, normally `http` or `https`.
    pub fn url_scheme(&self) -> &str {
        self.wsgi.url_scheme.as_ref().map_or("http", Scheme::as_str)
    }

    /// Whether the client or the web server gave this request up. One cheap call, meant for long loops; reading the
    /// body and writing the answer fail by themselves then.
    pub fn is_aborted(&self) -> bool {
        self.abort.is_aborted()
    }

    fn known_or_empty(&self, name: Known) -> &[u8] {
        self.vars.known(name).unwrap_or_default()
    }
}

/// The `wsgi.*` values of PEP 3333 that are not streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wsgi {
    /// `wsgi.url_scheme`; `None` until a handler has set it.
    pub url_scheme: Option<Scheme>,
    /// `wsgi.multithread`: the application may be called at the same time by another thread of this process.
    pub multithread: bool,
    /// `wsgi.multiprocess`: an equal application may run at the same time in another process.
    pub multiprocess: bool,
    /// `wsgi.run_once`: this process will serve this one request only, as under CGI.
    pub run_once: bool,
    /// `wsgi.file_wrapper`: whether the handler takes files as they are.
    pub file_wrapper: bool,
    /// `wsgi.input_terminated`: the body may be read to its end, with or without CONTENT_LENGTH.
    pub input_terminated: bool,
    /// The FastCGI role that the web server asks for (FastCGI 1.0, section 6).
    pub role: Role,
}

impl Wsgi {
    /// `wsgi.version`, as PEP 3333 has it.
    pub const VERSION: (u8, u8) = (1, 0);
}

/// The URL scheme of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme(Cow<'static, str>);

impl Scheme {
    /// `http`
    pub const HTTP: Scheme = Scheme(Cow::Borrowed("http"));
    /// `https`
    pub const HTTPS: Scheme = Scheme(Cow::Borrowed("https"));

    /// Any scheme, for gateways that know others.
    pub fn new(scheme: impl Into<String>) -> Self {
        Scheme(Cow::Owned(scheme.into()))
    }

    /// The scheme's text, without `://`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a FastCGI web server asks an application to be (FastCGI 1.0, section 6). Other fronts have responders only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Answers the request, as a CGI program does.
    #[default]
    Responder,
    /// Says whether the request is allowed: status 200 with `Variable-` headers, or any other answer.
    Authorizer,
    /// Turns a file that the web server sends as a second input into the answer.
    Filter,
}

/// A cheap question: has the client gone?
#[derive(Clone, Copy)]
pub struct Abort<'r>(Option<&'r (dyn Fn() -> bool + 'r)>);

impl<'r> Abort<'r> {
    /// For streams that cannot tell.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Asks `aborted` each time.
    pub const fn new(aborted: &'r (dyn Fn() -> bool + 'r)) -> Self {
        Self(Some(aborted))
    }

    /// Whether the request was given up.
    pub fn is_aborted(&self) -> bool {
        self.0.is_some_and(|aborted| aborted())
    }
}

impl fmt::Debug for Abort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Abort").field(&self.is_aborted()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_their_http_names() {
        let mut errors = Vec::new();
        let vars = Vars::from([("CONTENT_TYPE", "text/html"), ("HTTP_X_A", "1")]);
        let environ = Environ::new(vars, Input::Empty, Errors::new(&mut errors));
        assert_eq!(environ.header("content-type"), Some(&b"text/html"[..]));
        assert_eq!(environ.header("X-A"), Some(&b"1"[..]));
        assert_eq!(environ.header("X-B"), None);
    }
}
