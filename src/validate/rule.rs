//! The rules, who can break them, and what a broken one is reported as.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::app::AppResult;
use crate::error::BoxError;

/// Who broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What runs the application: web server, gateway, handler, or a middleware around the validator.
    Server,
    /// The application inside the validator, or a middleware around it there.
    Application,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Server => "the server",
            Side::Application => "the application",
        })
    }
}

/// What a rule is about, as messages say it.
struct Facts {
    side: Side,
    place: &'static str,
    demand: &'static str,
    source: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident: $side:ident, $place:literal, $demand:literal, $source:literal;)*) => {
        /// A rule that the validator checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $demand] $(#[$doc])* $rule,)*
        }

        impl Rule {
            /// All rules, the server's first.
            pub const ALL: &[Rule] = &[$(Rule::$rule),*];

            fn facts(self) -> Facts {
                match self {
                    $(Rule::$rule => {
                        Facts { side: Side::$side, place: $place, demand: $demand, source: $source }
                    })*
                }
            }
        }
    };
}

rules! {
    Required: Server, "environ",
        "REQUEST_METHOD, SERVER_NAME, SERVER_PORT and SERVER_PROTOCOL are set, and not empty",
        "PEP 3333, environ Variables";
    DoubledHeader: Server, "environ",
        "HTTP_CONTENT_TYPE and HTTP_CONTENT_LENGTH are absent: their names are CONTENT_TYPE and CONTENT_LENGTH",
        "RFC 3875, section 4.1.18";
    ReservedName: Server, "environ",
        "no variable has the name of a wsgi.* value of the gateway",
        "PEP 3333, environ Variables";
    UrlScheme: Server, "environ",
        "wsgi.url_scheme is \"http\" or \"https\"",
        "PEP 3333, environ Variables";
    ServerPort: Server, "environ",
        "SERVER_PORT is a port number",
        "RFC 3875, section 4.1.15";
    ScriptName: Server, "environ",
        "SCRIPT_NAME is empty or begins with a slash",
        "RFC 3875, section 4.1.13";
    RootScriptName: Server, "environ",
        "SCRIPT_NAME is not \"/\": the root's is empty, and the slash is PATH_INFO's",
        "PEP 3333, environ Variables";
    PathInfo: Server, "environ",
        "PATH_INFO is empty or begins with a slash",
        "RFC 3875, section 4.1.5";
    NoPath: Server, "environ",
        "where SCRIPT_NAME is empty there is a PATH_INFO",
        "PEP 3333, environ Variables";
    ContentLength: Server, "environ",
        "CONTENT_LENGTH is a decimal number, or empty",
        "RFC 3875, section 4.1.2";
    InputCount: Server, "wsgi.input",
        "a read gives no more bytes than there is room for",
        "std::io::Read::read";
    InputAfterEnd: Server, "wsgi.input",
        "behind its end nothing comes any more",
        "PEP 3333, Input and Error Streams";
    InputTakenBack: Server, "wsgi.input",
        "bytes that were shown and not consumed are still there",
        "std::io::BufRead::fill_buf";
    InputTooLong: Server, "wsgi.input",
        "a body that the gateway ends by itself ends at its CONTENT_LENGTH",
        "PEP 3333, Input and Error Streams";
    InputTooShort: Server, "wsgi.input",
        "a body does not end before its CONTENT_LENGTH: it fails",
        "PEP 3333, Input and Error Streams";
    ErrorsCount: Server, "wsgi.errors",
        "a write takes no more bytes than it is given",
        "std::io::Write::write";
    FileUnoffered: Server, "send_file",
        "a file is taken only where wsgi.file_wrapper says so",
        "PEP 3333, Optional Platform-Specific File Handling";
    StatusCode: Application, "start_response",
        "the status begins with a code of three digits, 100 or above",
        "PEP 3333, The start_response() Callable";
    StatusBlank: Application, "start_response",
        "one blank stands between the status code and its explanation",
        "PEP 3333, The start_response() Callable";
    StatusControl: Application, "start_response",
        "the status has no control characters",
        "PEP 3333, The start_response() Callable";
    StatusHeader: Application, "start_response",
        "no header is named Status: it would be a second status to a web server",
        "PEP 3333, The start_response() Callable";
    HeaderName: Application, "start_response",
        "a header name is a field name of HTTP",
        "PEP 3333, The start_response() Callable";
    HeaderNameEnd: Application, "start_response",
        "a header name does not end in punctuation",
        "PEP 3333, The start_response() Callable";
    HeaderValue: Application, "start_response",
        "a header value has no control characters",
        "PEP 3333, The start_response() Callable";
    HopByHop: Application, "start_response",
        "an application sends no hop-by-hop headers",
        "PEP 3333, Other HTTP Features";
    LengthHeader: Application, "start_response",
        "there is one Content-Length at most, and it is a decimal number",
        "RFC 9110, section 8.6";
    ContentTypeForbidden: Application, "start_response",
        "a 204 or 304 response has no Content-Type, as it has no content",
        "RFC 9110, sections 15.3.5 and 15.4.5";
    ContentTypeMissing: Application, "start_response",
        "a response with content has a Content-Type",
        "RFC 3875, section 6.3.1";
    StartedTwice: Application, "start_response",
        "a response is started a second time only with the error that is the cause",
        "PEP 3333, The start_response() Callable";
    CauseSwallowed: Application, "start_response",
        "what a start with a cause gives back leaves the application, which sends no more",
        "PEP 3333, Error Handling";
    WriteBeforeStart: Application, "write",
        "a response is started before its body is written",
        "PEP 3333, Specification Details";
    NeverStarted: Application, "return",
        "an application that returns has started a response",
        "PEP 3333, Specification Details";
    WriteAfterEnd: Application, "write",
        "behind the end of a body nothing is written",
        "PEP 3333, Specification Details";
    BodyForbidden: Application, "write",
        "a 1xx, 204 or 304 response has no body",
        "RFC 9110, section 6.4.1";
    SecondItem: Application, "write",
        "a body that was sent as exactly one item has no second",
        "PEP 3333, Handling the Content-Length Header";
    BodyTooLong: Application, "write",
        "a body is no longer than its Content-Length",
        "PEP 3333, Handling the Content-Length Header";
    BodyTooShort: Application, "return",
        "a body is no shorter than its Content-Length",
        "PEP 3333, Handling the Content-Length Header";
    ConsumedTooMuch: Application, "wsgi.input",
        "no more bytes are consumed than were shown",
        "std::io::BufRead::consume";
    ReadAfterError: Application, "wsgi.input",
        "a body whose reading failed is not read on",
        "PEP 3333, Input and Error Streams";
}

impl Rule {
    /// Who can break it.
    pub fn side(self) -> Side {
        self.facts().side
    }

    /// Where it is broken: `environ`, `start_response`, `write`, `return`, `send_file`, `wsgi.input` or `wsgi.errors`.
    pub fn place(self) -> &'static str {
        self.facts().place
    }

    /// What it demands.
    pub fn demand(self) -> &'static str {
        self.facts().demand
    }

    /// Where it is written.
    pub fn source(self) -> &'static str {
        self.facts().source
    }
}

/// A broken rule: who broke which, where, and what was seen.
///
/// ```
/// use gatewright::app::{Application, app};
/// use gatewright::environ::Vars;
/// use gatewright::handlers::{BaseCgi, BaseHandler};
/// use gatewright::validate::validator;
///
/// let nothing = validator(app(|_, respond| respond.start("204 No Content", [("Connection", "close")])?.send("")));
/// let vars = [
///     ("REQUEST_METHOD", "GET"),
///     ("PATH_INFO", "/"),
///     ("SERVER_NAME", "localhost"),
///     ("SERVER_PORT", "80"),
///     ("SERVER_PROTOCOL", "HTTP/1.1"),
/// ];
/// let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), Vars::from(vars));
/// handler.run(&nothing);
/// let (_, output, log) = handler.into_streams();
/// assert!(output.starts_with(b"Status: 500 "));
/// assert_eq!(
///     String::from_utf8(log)?,
///     "gatewright: GET /: the application broke a rule in start_response: an application sends no hop-by-hop headers \
///      (PEP 3333, Other HTTP Features); seen: header \"Connection: close\"\n"
/// );
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Violation {
    rule: Rule,
    seen: String,
    also: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Violation {
    pub(super) fn new(rule: Rule, seen: impl Into<String>) -> Self {
        Self { rule, seen: seen.into(), also: None }
    }

    /// Who broke it.
    pub fn side(&self) -> Side {
        self.rule.side()
    }

    /// Which rule it is.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Where it was broken; see [`Rule::place`].
    pub fn place(&self) -> &'static str {
        self.rule.place()
    }

    /// What was seen, unprintable bytes escaped.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// The violation that an error is, or that an input or output error holds.
    pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Violation> {
        let io = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        error.downcast_ref().or_else(io)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { side, place, demand, source } = self.rule.facts();
        write!(f, "{side} broke a rule in {place}: {demand} ({source}); seen: {}", self.seen)
    }
}

/// Its source is the error that the application failed with besides, if it did.
impl std::error::Error for Violation {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.also.as_deref().map(|also| also as &(dyn std::error::Error + 'static))
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        io::Error::other(violation)
    }
}

/// The first violation of one request, kept: an application may swallow the error that it got for it, and some calls
/// have no way to give one.
#[derive(Default)]
pub(super) struct Findings {
    first: RefCell<Option<Violation>>,
}

impl Findings {
    /// Notes a violation, and gives it back for the caller.
    pub(super) fn note(&self, rule: Rule, seen: impl Into<String>) -> Violation {
        let violation = Violation::new(rule, seen);
        self.first.borrow_mut().get_or_insert_with(|| violation.clone());
        violation
    }

    /// What the call returns: its result, or the violation with that beneath.
    pub(super) fn conclude(&self, result: AppResult) -> AppResult {
        let Some(mut violation) = self.first.take() else { return result };
        if let Err(error) = result
            && Violation::find(&*error).is_none()
        {
            violation.also = Some(Arc::from(error));
        }
        Err(BoxError::from(violation))
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        // Only a panic leaves one here: that is what will be answered, and this must not be lost.
        if let Some(violation) = self.first.take() {
            log::warn!("{violation}");
        }
    }
}

/// The beginning of what was seen, in quotes.
pub(super) fn quoted(bytes: &[u8]) -> String {
    const SHOWN: usize = 120;
    match bytes.get(..SHOWN) {
        Some(start) if bytes.len() > SHOWN => {
            format!("\"{}…\" ({} bytes)", start.escape_ascii(), bytes.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}
