//! `WSGIRequestHandler`: everything about one connection that can be overridden.

use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::time::SystemTime;

use percent_encoding::percent_decode;

use super::input::Body;
use super::page::{self, Refusal};
use super::request::{Parsed, SimpleRequest, read_as_python, read_strictly};
use crate::app::Application;
use crate::environ::Vars;
use crate::error::BoxError;
use crate::handlers::{
    Attributes, BaseHandler, Outcome, SERVER_SOFTWARE, ServerHandler, Simple, SimpleHandler, Streams,
};
use crate::proto::http::{CONTINUE, Exchange, Limits, Request};
use crate::util::is_blank_to_python;

/// The newest wsgiref's `server_version`, which is SERVER_SOFTWARE too.
pub const SERVER_VERSION: &str = "WSGIServer";

/// One connection, and what the server knows.
pub struct Connection<'a> {
    /// What the client sends.
    pub rfile: &'a mut (dyn BufRead + 'a),
    /// What it gets.
    pub wfile: &'a mut (dyn Write + 'a),
    /// Where it is.
    pub client_address: IpAddr,
    /// The variables of every request.
    pub base_environ: &'a Vars,
    /// Who answers.
    pub app: &'a dyn Application,
}

impl std::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("client_address", &self.client_address).finish_non_exhaustive()
    }
}

/// Serves connections, one request each. All methods have defaults; `impl WsgiRequestHandler for Mine {}` takes them all.
///
/// Each default that is worth calling from an override is a function of this module by the same name.
///
/// ```
/// use std::io::Write;
/// use gatewright::environ::Vars;
/// use gatewright::simple_server::{Connection, SimpleRequest, WsgiRequestHandler, demo_app, get_environ};
///
/// /// Tells applications which machine they run on, and logs nothing.
/// struct Mine;
/// impl WsgiRequestHandler for Mine {
///     fn get_environ(&self, request: &SimpleRequest, base_environ: &Vars) -> Vars {
///         let mut environ = get_environ(self, request, base_environ);
///         environ.set("X_MACHINE", "a");
///         environ
///     }
///     fn log_message(&self, _client: &str, _message: &str) {}
/// }
///
/// let mut answer = Vec::new();
/// Mine.handle(&mut Connection {
///     rfile: &mut &b"GET / HTTP/1.0\r\n\r\n"[..],
///     wfile: &mut answer,
///     client_address: "127.0.0.1".parse()?,
///     base_environ: &Vars::new(),
///     app: &demo_app,
/// })?;
/// assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"));
/// assert!(String::from_utf8(answer)?.contains("\nX_MACHINE = 'a'\n"));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait WsgiRequestHandler {
    /// SERVER_SOFTWARE, and the beginning of the Server header of error pages.
    fn server_version(&self) -> &str {
        SERVER_VERSION
    }

    /// The attributes of the handler that runs the application, its policy for one.
    fn attributes(&self) -> Attributes<'static> {
        Attributes {
            wsgi_multithread: false,
            wsgi_multiprocess: false,
            server_software: Some(SERVER_SOFTWARE),
            ..Attributes::SIMPLE
        }
    }

    /// The variables of a request.
    fn get_environ(&self, request: &SimpleRequest, base_environ: &Vars) -> Vars {
        get_environ(self, request, base_environ)
    }

    /// The application's own messages go there: `wsgi.errors`.
    fn get_stderr(&self) -> Box<dyn Write + '_> {
        Box::new(io::stderr())
    }

    /// Serves the one request of a connection.
    ///
    /// # Errors
    /// The connection broke, or the error page failed too.
    fn handle(&self, connection: &mut Connection<'_>) -> Result<(), BoxError> {
        handle(self, connection)
    }

    /// Answers a request that no application sees.
    ///
    /// # Errors
    /// The client has gone.
    fn send_error(
        &self,
        connection: &mut Connection<'_>,
        request: &SimpleRequest,
        code: u16,
        message: &str,
        explain: &str,
    ) -> io::Result<()> {
        send_error(self, connection, request, code, message, explain)
    }

    /// Logs a request that was answered: `code` and `size` are `-` where there is none.
    fn log_request(&self, request: &SimpleRequest, code: &str, size: &str) {
        self.log_message(
            &request.client_address.to_string(),
            &format!("\"{}\" {code} {size}", shown(&request.requestline)),
        );
    }

    /// Logs why a request is refused.
    fn log_error(&self, request: &SimpleRequest, message: &str) {
        self.log_message(&request.client_address.to_string(), message);
    }

    /// Writes a line to the log: client, time, message.
    fn log_message(&self, client: &str, message: &str) {
        log_message(self, client, message);
    }

    /// The time of log lines and error pages.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The handler with all defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHandler;

impl WsgiRequestHandler for RequestHandler {}

/// [`WsgiRequestHandler::get_environ`]'s default.
pub fn get_environ<H: WsgiRequestHandler + ?Sized>(
    handler: &H,
    request: &SimpleRequest,
    base_environ: &Vars,
) -> Vars {
    let mut vars = base_environ.clone();
    let (path, query) =
        match memchr::memchr(b'?', &request.path).and_then(|at| request.path.split_at_checked(at)) {
            Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
            None => (request.path.as_slice(), &b""[..]),
        };
    vars.set("SERVER_PROTOCOL", &request.request_version);
    vars.set("SERVER_SOFTWARE", handler.server_version());
    vars.set("REQUEST_METHOD", &request.command);
    vars.set("PATH_INFO", percent_decode(path).collect::<Vec<u8>>());
    vars.set("QUERY_STRING", query);
    vars.set("REMOTE_ADDR", request.client_address.to_string());
    match &request.strict {
        Some(head) => strict_variables(&mut vars, head),
        None => python_variables(&mut vars, request),
    }
    vars
}

/// The variables of the headers, as wsgiref has them.
fn python_variables(vars: &mut Vars, request: &SimpleRequest) {
    vars.set("CONTENT_TYPE", request.header("content-type").unwrap_or(b"text/plain"));
    if let Some(length) = request.header("content-length").filter(|length| !length.is_empty()) {
        vars.set("CONTENT_LENGTH", length);
    }
    for (name, value) in &request.headers {
        let plain: Vec<u8> =
            name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }).collect();
        if vars.contains(&plain) {
            continue;
        }
        let mut value = value.as_slice();
        while let [first, rest @ ..] = value
            && is_blank_to_python(*first)
        {
            value = rest;
        }
        while let [rest @ .., last] = value
            && is_blank_to_python(*last)
        {
            value = rest;
        }
        let name = [b"HTTP_", plain.as_slice()].concat();
        let joined = vars.get(&name).map(|earlier| [earlier, value].join(&b','));
        vars.set(&name, joined.as_deref().unwrap_or(value));
    }
}

/// The variables of the fields of a strictly read head, whose target may be a URL.
fn strict_variables(vars: &mut Vars, head: &[u8]) {
    let Ok(request) = Request::parse(head, &Limits::default()) else { return };
    vars.set("PATH_INFO", percent_decode(request.target.path()).collect::<Vec<u8>>());
    vars.set("QUERY_STRING", request.target.query().unwrap_or_default());
    vars.remove("CONTENT_LENGTH");
    if let Err(error) = request.variables(vars) {
        log::error!("a request that was accepted has no variables: {error}");
    }
}

/// [`WsgiRequestHandler::handle`]'s default.
///
/// # Errors
/// The connection broke, or the error page failed too.
pub fn handle<H: WsgiRequestHandler + ?Sized>(
    handler: &H,
    connection: &mut Connection<'_>,
) -> Result<(), BoxError> {
    let safe = handler.attributes().policy.is_safe();
    let read = if safe { read_strictly } else { read_as_python };
    let (request, outcome): Parsed = read(connection.rfile, connection.client_address)?;
    if let Err(refusal) = outcome {
        return refuse(handler, connection, &request, &refusal);
    }
    let environ = handler.get_environ(&request, connection.base_environ);
    let exchange = request.strict.as_deref().and_then(|head| Request::parse(head, &Limits::default()).ok());
    let outcome = match exchange.map(|request| Exchange::from(&request)) {
        None => run(handler, connection, &request, environ),
        Some(exchange) => {
            if exchange.expects_continue {
                connection.wfile.write_all(CONTINUE)?;
            }
            let Connection { rfile, wfile, client_address, base_environ, app } = connection;
            let mut body = Body::new(&mut **rfile, exchange.framing)?;
            let (client_address, base_environ, app) = (*client_address, *base_environ, *app);
            let mut inner =
                Connection { rfile: &mut body, wfile: &mut **wfile, client_address, base_environ, app };
            run(handler, &mut inner, &request, environ)
        }
    };
    connection.wfile.flush()?;
    outcome.escaped.map_or(Ok(()), Err)
}

/// Runs the application.
fn run<H: WsgiRequestHandler + ?Sized>(
    handler: &H,
    connection: &mut Connection<'_>,
    request: &SimpleRequest,
    environ: Vars,
) -> Outcome {
    let mut simple =
        Simple::new(&mut *connection.rfile, &mut *connection.wfile, handler.get_stderr(), environ);
    simple.attributes = handler.attributes();
    let log = |outcome: &Outcome| {
        let code = outcome.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        handler.log_request(request, &code, &outcome.body_bytes.to_string());
    };
    Answering { handler, inner: ServerHandler::new(simple, log) }.run(connection.app)
}

/// wsgiref's `ServerHandler`, with the clock of whom it answers for.
struct Answering<'h, H: ?Sized, S> {
    handler: &'h H,
    inner: S,
}

impl<H: ?Sized, S: SimpleHandler> SimpleHandler for Answering<'_, H, S> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        self.inner.streams(with);
    }

    fn base_env(&self) -> &Vars {
        self.inner.base_env()
    }

    fn preset(&self) -> Attributes<'static> {
        SimpleHandler::preset(&self.inner)
    }
}

impl<H: WsgiRequestHandler + ?Sized, S: SimpleHandler + BaseHandler> BaseHandler for Answering<'_, H, S> {
    fn now(&self) -> SystemTime {
        self.handler.now()
    }

    fn close(&self, outcome: &Outcome) {
        self.inner.close(outcome);
    }
}

fn refuse<H: WsgiRequestHandler + ?Sized>(
    handler: &H,
    connection: &mut Connection<'_>,
    request: &SimpleRequest,
    refusal: &Refusal,
) -> Result<(), BoxError> {
    match refusal.words() {
        Some((code, message, explain)) => {
            Ok(handler.send_error(connection, request, code, &message, &explain)?)
        }
        None => Ok(()),
    }
}

/// [`WsgiRequestHandler::send_error`]'s default: wsgiref's page of HTML, or a line of text.
///
/// # Errors
/// The client has gone.
pub fn send_error<H: WsgiRequestHandler + ?Sized>(
    handler: &H,
    connection: &mut Connection<'_>,
    request: &SimpleRequest,
    code: u16,
    message: &str,
    explain: &str,
) -> io::Result<()> {
    let safe = handler.attributes().policy.is_safe();
    handler.log_error(request, &format!("code {code}, message {}", if safe { explain } else { message }));
    handler.log_request(request, &code.to_string(), "-");
    let (kind, body) = match safe {
        true => ("text/plain; charset=utf-8", format!("{code} {message}: {explain}\n")),
        false => ("text/html;charset=utf-8", page::html(code, message, explain)),
    };
    let mut answer = Vec::new();
    if request.request_version != b"HTTP/0.9" || safe {
        let (version, software) = (handler.server_version(), SERVER_SOFTWARE.strip_prefix(SERVER_VERSION));
        let head = format!(
            "HTTP/1.0 {code} {message}\r\nServer: {version}{}\r\nDate: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            software.unwrap_or_default(),
            page::date(handler.now()),
            body.len(),
        );
        answer.extend_from_slice(head.as_bytes());
    }
    if request.command != b"HEAD" {
        answer.extend_from_slice(body.as_bytes());
    }
    connection.wfile.write_all(&answer)?;
    connection.wfile.flush()
}

/// [`WsgiRequestHandler::log_message`]'s default: a line to standard error, without control characters.
pub fn log_message<H: WsgiRequestHandler + ?Sized>(handler: &H, client: &str, message: &str) {
    let line = format!("{client} - - [{}] {}\n", page::log_time(handler.now()), page::loggable(message));
    // A log that cannot be written has nowhere to be reported.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// A request line in the log: latin-1, with one blank where there were several.
fn shown(line: &[u8]) -> String {
    let text: String = line.iter().copied().map(char::from).collect();
    let words: Vec<&str> = text.split([' ', '\u{a0}']).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
