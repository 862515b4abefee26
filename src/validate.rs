//! wsgiref's `validate`: a middleware that checks both sides, server and application.
//!
//! wsgiref's documentation teaches it with an application that is about to break. So does this one: it promises twelve
//! bytes and has eleven.
//!
//! ```
//! use gatewright::app::{AppResult, Responder};
//! use gatewright::environ::{Environ, Vars};
//! use gatewright::handlers::{BaseCgi, BaseHandler};
//! use gatewright::validate::validator;
//!
//! // Our callable does not conform to the standard, so the validator is going to break.
//! fn simple_app(_environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
//!     let headers = [("Content-type", "text/plain"), ("Content-Length", "12")];
//!     respond.start("200 OK", headers)?.send("Hello World")
//! }
//!
//! let vars = [
//!     ("REQUEST_METHOD", "GET"),
//!     ("SCRIPT_NAME", ""),
//!     ("PATH_INFO", "/"),
//!     ("SERVER_NAME", "localhost"),
//!     ("SERVER_PORT", "8000"),
//!     ("SERVER_PROTOCOL", "HTTP/1.1"),
//! ];
//! let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), Vars::from(vars));
//! handler.run(&validator(simple_app));
//! let (_, output, log) = handler.into_streams();
//! assert!(output.starts_with(b"Status: 500 Internal Server Error\r\n"));
//! assert_eq!(
//!     String::from_utf8(log)?,
//!     "gatewright: GET /: the application broke a rule in return: a body is no shorter than its Content-Length \
//!      (PEP 3333, Handling the Content-Length Header); seen: 11 bytes, where Content-Length is 12\n"
//! );
//! # Ok::<(), std::string::FromUtf8Error>(())
//! ```
//!
//! # What happens
//!
//! A broken rule is a [`Violation`]: which side broke it, where, and what was seen. The call in question fails with it,
//! and so does the application's, even where the application swallows it, so that the handler logs it and, while nothing
//! has left, answers with its error page. An environ that breaks a rule never reaches the application. What is only
//! unusual is warned of by `log::warn!`, and goes on.
//!
//! The validator alters nothing. What an application does besides is left alone: a file is still offered to the server
//! as a file, and a body of one item still gets its Content-Length, both of which wsgiref's validator prevents. It keeps a
//! few numbers for each request, and costs nothing to those who do not use it.
//!
//! [`Rule`] has all rules. The server's are checked on what arrives here: with a middleware around the validator that is
//! the server to it. The same middleware inside is the application.
//!
//! # What wsgiref checks, and types have made impossible
//!
//! | wsgiref's check | why there is none here |
//! |---|---|
//! | two arguments for the application, two or three for `start_response`, no keywords | functions have signatures |
//! | environ is a plain dictionary, variables are strings | [`Vars`](crate::environ::Vars) holds byte strings, and nothing else |
//! | `wsgi.version` is there, and a tuple | a constant, [`Wsgi::VERSION`](crate::environ::Wsgi::VERSION) |
//! | `wsgi.input`, `wsgi.errors` and the three flags are there | fields of [`Environ`] and [`Wsgi`](crate::environ::Wsgi) |
//! | `wsgi.input` has `read`, `readline`, `readlines` and iteration | [`Input`](crate::environ::Input) is [`BufRead`](std::io::BufRead) |
//! | `wsgi.errors` has `flush`, `write` and `writelines` | [`Errors`](crate::environ::Errors) is [`Write`](std::io::Write) |
//! | `read` has one argument, `readline` and `readlines` at most one | functions have signatures; PEP 3333 allows `read()` by now, which is `read_to_end` |
//! | reads give bytes, or lists of bytes; `wsgi.errors` takes text | nothing else fits in; an error log takes any bytes |
//! | neither stream is closed, nothing but these methods is used | neither trait has a `close`; other methods do not compile |
//! | the status and each header's name and value are strings, headers are a list of pairs | [`Headers`](crate::headers::Headers) holds nothing else |
//! | `exc_info` is a tuple or nothing | an optional error |
//! | `write` and the iteration give bytes | `&[u8]` |
//! | the application returns something to iterate, which is no string | it gives its [`Chunks`](crate::app::Chunks) to the body; text is one chunk there, not one per character |
//! | no item is asked for after `close`, and `close` is called before the iterable is dropped | [`Body::send_chunks`](crate::app::Body::send_chunks) takes the iterable, and closes it exactly once, whatever happens |
//!
//! Two things that PEP 3333 demands cannot be seen from here: that a server gives back the very cause that it was given
//! when it is too late to start again, and that it sends what it has before it asks for more.
//!
//! # Two ways to be strict
//!
//! [`Strictness::Pep3333`] is the default. [`Strictness::Wsgiref`] checks what wsgiref checks, as far as the table above
//! leaves it, and nothing more. All differences:
//!
//! | what | as wsgiref | by default | why |
//! |---|---|---|---|
//! | no SCRIPT_NAME, no PATH_INFO | refused, each by itself | they are empty then; refused only where SCRIPT_NAME is empty and PATH_INFO missing | a mistake in wsgiref: PEP 3333 lets variables without a value be absent, and wsgiref's own check for both is out of reach behind it |
//! | SERVER_PROTOCOL | may be missing | must be there | PEP 3333 |
//! | empty REQUEST_METHOD, SERVER_NAME, SERVER_PORT | allowed | refused | PEP 3333: "can never be empty strings" |
//! | SERVER_PORT | anything | a number from 1 to 65535 | URLs are made of it |
//! | QUERY_STRING missing | warned of | nothing | PEP 3333: it may be absent; nothing reads `sys.argv` in its place |
//! | CONTENT_LENGTH | what Python's `int` takes: `+5`, ` 5 `, `1_000` | decimal digits, up to 2^63 − 1 | what two parties may read differently is refused |
//! | variables named as `wsgi.*` values | not looked at | refused | they would only seem to be the gateway's |
//! | CONNECT | warned of | known | RFC 9110, section 9.3.6 |
//! | status without a blank behind its code, or with blanks before it | warned of | refused | PEP 3333 |
//! | control characters in the status, DEL in a header value | allowed | refused | PEP 3333 |
//! | header names | letters, digits, `-` and `_`, a letter first | tokens of RFC 9110 | `3gpp-X` and `X.Y` are names of HTTP |
//! | header names ending in other punctuation than `-` and `_` | refused, for the character | refused, for the end | PEP 3333 |
//! | hop-by-hop headers; several Content-Lengths, or one that is no number | allowed | refused | PEP 3333; request smuggling |
//! | no Content-Type | refused at the start, unless 204 or 304 | refused when there is content | a redirection without a body needs none |
//! | Content-Type with 204 or 304 | refused | warned of | useless, and harmless |
//! | a second start without a cause | left to the server | refused | PEP 3333 |
//! | what comes back from a start with a cause is swallowed | allowed | refused, when more is sent or the application returns | PEP 3333 |
//! | no start at all | allowed, if nothing is written | refused | PEP 3333 |
//! | content with 1xx, 204, 304; a body longer or shorter than its Content-Length; a second item after the only one; a write behind the end | not looked at | refused | PEP 3333, RFC 9110 |
//! | a body read beyond its CONTENT_LENGTH | not looked at | warned of, or refused where the gateway promises an end | PEP 3333 |
//! | files, and the length of a body of one item | hidden from the server | handed on | a validator should not change what it looks at |

mod response;
mod rule;
mod streams;
mod variables;

#[cfg(test)]
mod tests;

pub use rule::{Rule, Side, Violation};

use response::{Checked, Request};
use rule::Findings;

use crate::app::{AppResult, Application, Responder};
use crate::environ::{Environ, Role};

/// Which checks are made; the [module](self) has a table of the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// What PEP 3333 demands, of both sides. The default.
    #[default]
    Pep3333,
    /// What wsgiref checks.
    Wsgiref,
}

impl Strictness {
    const fn is_wsgiref(self) -> bool {
        matches!(self, Strictness::Wsgiref)
    }
}

/// An application with the validator around it; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Validator<A> {
    app: A,
    strictness: Strictness,
}

/// Puts the validator around an application.
///
/// ```
/// use gatewright::{apps::demo_app, validate::{Strictness, validator}};
///
/// let careful = validator(demo_app);
/// let as_wsgiref = validator(demo_app).with_strictness(Strictness::Wsgiref);
/// # fn is_an_application(_: impl gatewright::app::Application) {}
/// # is_an_application(careful);
/// # is_an_application(as_wsgiref);
/// ```
pub fn validator<A: Application>(app: A) -> Validator<A> {
    Validator { app, strictness: Strictness::default() }
}

impl<A> Validator<A> {
    /// The same with other checks.
    #[must_use]
    pub fn with_strictness(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }
}

impl<A: Application> Application for Validator<A> {
    /// # Errors
    /// The first [`Violation`], with the application's own error as its source; or that error.
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        variables::check(environ, self.strictness)?;
        let findings = Findings::default();
        let request =
            Request { is_head: environ.method() == b"HEAD", takes_files: environ.wsgi.file_wrapper };
        let mut checked = Checked::new(respond.into_inner(), &findings, self.strictness, request);
        let result = streams::lend(environ, &findings, self.body_length(environ), |environ| {
            self.app.call(environ, Responder::new(&mut checked))
        });
        findings.conclude(result.and_then(|()| checked.returned()))
    }
}

impl<A> Validator<A> {
    /// How long the body has to be, where that is to be checked. A FastCGI filter's input has more in it than the body.
    fn body_length(&self, environ: &Environ<'_>) -> Option<u64> {
        if self.strictness.is_wsgiref() || environ.wsgi.role != Role::Responder {
            return None;
        }
        environ.content_length().ok().flatten()
    }
}

fn warn(message: &str) {
    log::warn!("validator: {message}");
}
