//! `BaseHandler`: the algorithm, and everything that can be overridden.
//!
//! The trait's methods stand in the order in which a request meets them. Each default is a free function of this module
//! by the same name, so that an override can call what it replaces: `base::log_exception(self, environ, error)` is what
//! `super().log_exception(…)` is in Python.

use std::io;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::attributes::{Attributes, OsEnviron};
use super::engine;
use super::head::{Head, misuse};
use super::iis;
use super::outcome::Outcome;
use super::streams::{Output, Streams};
use crate::app::{AppResult, Application, BoxError, Responder};
use crate::environ::{Environ, Scheme, Vars, Wsgi, read_environ, sanitise_except};
use crate::error::{Error, Fault, reason};
use crate::headers::{Headers, check_value};
use crate::util::{FileSource, format_date_time, guess_scheme};

/// What a handler must supply: streams and variables. The lower rungs do, by blanket implementations.
pub trait Supply {
    /// Lends the streams of one request: calls `with` once. (`get_stdin`, `get_stderr`, `_write` and `_flush` in
    /// wsgiref.)
    fn lend(&self, with: &mut dyn FnMut(Streams<'_>));

    /// Sets the request's CGI variables over those that are there.
    fn add_cgi_vars(&self, vars: &mut Vars);

    /// The attributes that this rung starts from.
    fn preset(&self) -> Attributes<'static>;
}

/// The top of the ladder: runs an application over streams and variables that someone supplies.
///
/// Every method has a default, and every method may be overridden on a type of any rung: an empty
/// `impl BaseHandler for Mine {}` takes all defaults. See the [module](super) for the ladder's form.
pub trait BaseHandler: Supply {
    /// Serves one request. A handler may be run again after any outcome.
    fn run(&self, app: &dyn Application) -> Outcome {
        run(self, app)
    }

    /// The handler's attributes; the default is the rung's preset.
    fn attributes(&self) -> Attributes<'_> {
        self.preset()
    }

    /// The time of the Date header.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Fills the environment: `os_environ`, the request's variables, the `wsgi.*` values.
    fn setup_environ(&self, environ: &mut Environ<'_>) {
        setup_environ(self, environ);
    }

    /// The URL scheme, from the variables as they are so far.
    fn get_scheme(&self, environ: &Environ<'_>) -> Scheme {
        get_scheme(self, environ)
    }

    /// Checks and stores status and headers.
    ///
    /// # Errors
    /// See [`Respond::start`](crate::app::Respond::start).
    fn start_response(
        &self,
        head: &mut Head,
        status: &[u8],
        headers: Headers,
        cause: Option<BoxError>,
    ) -> AppResult {
        start_response(self, head, status, headers, cause)
    }

    /// Sends a piece of the body, and before the first the head.
    ///
    /// # Errors
    /// Not started, or the client has gone.
    fn write(&self, out: &mut dyn Output, head: &mut Head, data: &[u8]) -> io::Result<()> {
        write(self, out, head, data)
    }

    /// Offered each file of [`Body::send_file`](crate::app::Body::send_file): sends the head and the file and says
    /// `true`, or leaves both to the caller.
    ///
    /// # Errors
    /// The file was taken, and could not be sent whole.
    fn sendfile(&self, out: &mut dyn Output, head: &mut Head, file: &mut dyn FileSource) -> io::Result<bool> {
        sendfile(self, out, head, file)
    }

    /// Sends the head: cleans it up, then preamble and headers.
    ///
    /// # Errors
    /// The client has gone.
    fn send_headers(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
        send_headers(self, out, head)
    }

    /// Last changes to the headers before they are sent: adds Content-Length where it is known.
    fn cleanup_headers(&self, head: &mut Head) {
        cleanup_headers(self, head);
    }

    /// Sets Content-Length if the body is exactly one item.
    fn set_content_length(&self, head: &mut Head) {
        set_content_length(self, head);
    }

    /// Whether the client understands a response head: everything but HTTP/0.9 does.
    ///
    /// # Errors
    /// Under wsgiref's policy, when SERVER_PROTOCOL is missing.
    fn client_is_modern(&self, head: &Head) -> io::Result<bool> {
        client_is_modern(self, head)
    }

    /// Sends what stands before the headers: `Status:`, or the status line, Date and Server.
    ///
    /// # Errors
    /// The client has gone.
    fn send_preamble(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
        send_preamble(self, out, head)
    }

    /// Ends the body: sends the head of an empty one.
    ///
    /// # Errors
    /// Never started, or the client has gone.
    fn finish_content(&self, out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
        finish_content(self, out, head)
    }

    /// Writes an error of the application to `environ.errors`: one line, with request, error and causes.
    fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
        log_exception(self, environ, error);
    }

    /// The error page: an application that answers in place of the one that failed.
    ///
    /// # Errors
    /// What keeps it from answering; that leaves `run` in [`Outcome::escaped`].
    fn error_output(&self, environ: &mut Environ<'_>, error: &BoxError, respond: Responder<'_>) -> AppResult {
        error_output(self, environ, error, respond)
    }

    /// After everything: the place for an access log.
    fn close(&self, outcome: &Outcome) {
        let _ = outcome;
    }
}

/// [`BaseHandler::run`]'s default.
pub fn run<H: BaseHandler + ?Sized>(handler: &H, app: &dyn Application) -> Outcome {
    engine::run(handler, app)
}

/// [`BaseHandler::setup_environ`]'s default.
pub fn setup_environ<H: BaseHandler + ?Sized>(handler: &H, environ: &mut Environ<'_>) {
    static PROCESS: OnceLock<Vars> = OnceLock::new();
    let attributes = handler.attributes();
    match attributes.os_environ {
        OsEnviron::Given(beneath) => environ.vars.update(beneath),
        OsEnviron::Process if !attributes.policy.is_safe() => {
            environ.vars.update(PROCESS.get_or_init(read_environ));
        }
        OsEnviron::Process | OsEnviron::Empty => {}
    }
    handler.add_cgi_vars(&mut environ.vars);
    if attributes.repair_iis {
        iis::repair_path_info(&mut environ.vars);
    }
    if attributes.policy.is_safe() {
        sanitise_except(&mut environ.vars, attributes.keep_variables);
    }
    if environ.vars.has_wsgi_names() {
        drop_wsgi_names(&mut environ.vars);
    }
    environ.wsgi = Wsgi {
        url_scheme: Some(handler.get_scheme(environ)),
        multithread: attributes.wsgi_multithread,
        multiprocess: attributes.wsgi_multiprocess,
        run_once: attributes.wsgi_run_once,
        file_wrapper: attributes.wsgi_file_wrapper,
        input_terminated: attributes.policy.is_safe(),
        role: environ.wsgi.role,
    };
    if let (true, Some(software)) = (attributes.origin_server, attributes.server_software)
        && !software.is_empty()
    {
        environ.vars.set_default("SERVER_SOFTWARE", software);
    }
}

/// The gateway's own values stand in [`Wsgi`]; a variable by such a name would only seem to be one.
fn drop_wsgi_names(vars: &mut Vars) {
    const OWN: [&str; 8] = [
        "wsgi.version",
        "wsgi.url_scheme",
        "wsgi.input",
        "wsgi.errors",
        "wsgi.multithread",
        "wsgi.multiprocess",
        "wsgi.run_once",
        "wsgi.file_wrapper",
    ];
    for name in OWN {
        vars.remove(name);
    }
}

/// [`BaseHandler::get_scheme`]'s default.
pub fn get_scheme<H: BaseHandler + ?Sized>(_handler: &H, environ: &Environ<'_>) -> Scheme {
    guess_scheme(&environ.vars)
}

/// [`BaseHandler::start_response`]'s default.
///
/// # Errors
/// See [`Respond::start`](crate::app::Respond::start).
pub fn start_response<H: BaseHandler + ?Sized>(
    handler: &H,
    head: &mut Head,
    status: &[u8],
    headers: Headers,
    cause: Option<BoxError>,
) -> AppResult {
    match cause {
        Some(cause) if head.is_sent() => return Err(cause),
        None if head.is_started() => {
            return Err(Error::application("the response was started already").into());
        }
        _ => {}
    }
    Ok(head.store(status, headers, handler.attributes().policy)?)
}

/// [`BaseHandler::write`]'s default.
///
/// # Errors
/// Not started, or the client has gone.
pub fn write<H: BaseHandler + ?Sized>(
    handler: &H,
    out: &mut dyn Output,
    head: &mut Head,
    data: &[u8],
) -> io::Result<()> {
    if !head.is_started() || head.status().is_empty() {
        return Err(misuse("write() before start_response()"));
    }
    let safe = handler.attributes().policy.is_safe();
    if safe && data.is_empty() && head.whole_length().is_none() {
        return Ok(());
    }
    if !head.is_sent() {
        handler.send_headers(out, head)?;
    }
    let data = if safe { head.clip(data) } else { data };
    head.add_bytes_sent(data.len() as u64);
    out.write_all(data)?;
    if safe { Ok(()) } else { out.flush() }
}

/// [`BaseHandler::sendfile`]'s default: takes no file.
///
/// # Errors
/// None.
pub fn sendfile<H: BaseHandler + ?Sized>(
    _handler: &H,
    _out: &mut dyn Output,
    _head: &mut Head,
    _file: &mut dyn FileSource,
) -> io::Result<bool> {
    Ok(false)
}

/// [`BaseHandler::send_headers`]'s default.
///
/// # Errors
/// The client has gone.
pub fn send_headers<H: BaseHandler + ?Sized>(
    handler: &H,
    out: &mut dyn Output,
    head: &mut Head,
) -> io::Result<()> {
    seal_headers(handler, head)?;
    let attributes = handler.attributes();
    if !attributes.origin_server || handler.client_is_modern(head)? {
        handler.send_preamble(out, head)?;
        head.with_wire(|head, wire| {
            head.headers().write_to(wire);
            out.write_all(wire)
        })?;
    }
    Ok(())
}

/// The first part of [`send_headers`]: cleans the head up, checks it, and marks it as sent. For overrides of
/// [`BaseHandler::send_headers`] that give it to something else than a stream.
///
/// # Errors
/// A header, the version or the software's name has a control character.
pub fn seal_headers<H: BaseHandler + ?Sized>(handler: &H, head: &mut Head) -> io::Result<()> {
    handler.cleanup_headers(head);
    let attributes = handler.attributes();
    // Whoever changed them after the start, an override for one, is held to the same rule.
    head.headers().check().map_err(io::Error::other)?;
    check_value(attributes.http_version.as_bytes()).map_err(io::Error::other)?;
    check_value(attributes.server_software.unwrap_or_default().as_bytes()).map_err(io::Error::other)?;
    head.mark_sent();
    if attributes.policy.is_safe() {
        head.declare();
    }
    Ok(())
}

/// [`BaseHandler::cleanup_headers`]'s default.
pub fn cleanup_headers<H: BaseHandler + ?Sized>(handler: &H, head: &mut Head) {
    if handler.attributes().policy.is_safe() && head.status_code() == Some(204) {
        head.headers_mut().remove("Content-Length");
    } else if !head.headers().contains("Content-Length") {
        handler.set_content_length(head);
    }
}

/// [`BaseHandler::set_content_length`]'s default.
pub fn set_content_length<H: BaseHandler + ?Sized>(handler: &H, head: &mut Head) {
    let untold = handler.attributes().policy.is_safe() && head.status_code() == Some(304);
    if let (Some(length), false) = (head.whole_length(), untold) {
        head.set_length(length);
    }
}

/// [`BaseHandler::client_is_modern`]'s default.
///
/// # Errors
/// Under wsgiref's policy, when SERVER_PROTOCOL is missing.
pub fn client_is_modern<H: BaseHandler + ?Sized>(handler: &H, head: &Head) -> io::Result<bool> {
    match head.protocol_is_modern() {
        Some(modern) => Ok(modern),
        None if handler.attributes().policy.is_safe() => Ok(true),
        None => Err(misuse("SERVER_PROTOCOL is missing from the environment")),
    }
}

/// [`BaseHandler::send_preamble`]'s default.
///
/// # Errors
/// The client has gone.
pub fn send_preamble<H: BaseHandler + ?Sized>(
    handler: &H,
    out: &mut dyn Output,
    head: &mut Head,
) -> io::Result<()> {
    let attributes = handler.attributes();
    let mut line = |parts: &[&[u8]]| {
        head.with_wire(|head, wire| {
            parts.iter().for_each(|part| wire.extend_from_slice(part));
            if let [.., b" "] = parts {
                wire.extend_from_slice(head.status());
            }
            wire.extend_from_slice(b"\r\n");
            out.write_all(wire)
        })
    };
    if !attributes.origin_server {
        return line(&[b"Status:", b" "]);
    }
    line(&[b"HTTP/", attributes.http_version.as_bytes(), b" "])?;
    if !head.headers().contains("Date") {
        let date = format_date_time(seconds(handler.now()));
        out.write_all(format!("Date: {date}\r\n").as_bytes())?;
    }
    match attributes.server_software {
        Some(software) if !software.is_empty() && !head.headers().contains("Server") => {
            out.write_all(format!("Server: {software}\r\n").as_bytes())
        }
        _ => Ok(()),
    }
}

pub(crate) fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// [`BaseHandler::finish_content`]'s default.
///
/// # Errors
/// Never started, or the client has gone.
pub fn finish_content<H: BaseHandler + ?Sized>(
    handler: &H,
    out: &mut dyn Output,
    head: &mut Head,
) -> io::Result<()> {
    if head.is_sent() {
        return Ok(());
    }
    if !head.is_started() {
        return Err(misuse("the application returned without starting a response"));
    }
    if !(handler.attributes().policy.is_safe() && head.is_bodyless()) {
        head.set_length(0);
    }
    handler.send_headers(out, head)
}

/// Causes of an error that are looked at: nothing keeps an error from being its own cause.
pub(super) const MOST_CAUSES: usize = 32;

/// [`BaseHandler::log_exception`]'s default.
pub fn log_exception<H: BaseHandler + ?Sized>(handler: &H, environ: &mut Environ<'_>, error: &BoxError) {
    use std::io::Write as _;
    /// A client may write more of them, for each request anew.
    const MOST_PATH: usize = 8 * 1024;
    let method = environ.method().escape_ascii().to_string();
    let path = [environ.script_name(), environ.path_info()].concat();
    let path = path.get(..MOST_PATH).unwrap_or(&path).escape_ascii();
    let mut line = format!("gatewright: {method} {path}: {error}");
    let mut cause = error.source();
    let mut left = handler.attributes().traceback_limit.unwrap_or(MOST_CAUSES).min(MOST_CAUSES);
    while let (Some(error), 1..) = (cause, left) {
        line.push_str(": caused by: ");
        line.push_str(&error.to_string());
        (cause, left) = (error.source(), left - 1);
    }
    // One error, one line: what a client can put into a message must not look like another entry.
    let mut safe: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    safe.push('\n');
    // A log that cannot be written has nowhere to be reported.
    let _ = environ.errors.write_all(safe.as_bytes()).and_then(|()| environ.errors.flush());
}

/// [`BaseHandler::error_output`]'s default: the page that the attributes say, or, under the safe policy, a plain page
/// with the status that the [`Error`] asks for; a 503 has Retry-After.
///
/// # Errors
/// The page's headers are refused, or the client has gone.
pub fn error_output<H: BaseHandler + ?Sized>(
    handler: &H,
    _environ: &mut Environ<'_>,
    error: &BoxError,
    respond: Responder<'_>,
) -> AppResult {
    let attributes = handler.attributes();
    let respond = respond.into_inner();
    // An error may ask for any number; only a final status can be one.
    let askable = |error: &&Error| error.status() != 500 && (200..=999).contains(&error.status());
    let typed = typed(error).filter(|error| attributes.policy.is_safe() && askable(error));
    if let Some(error) = typed {
        let status = format!("{} {}", error.status(), reason(error.status()));
        let body = match error.fault() {
            Fault::Peer => format!("{status}: {error}\n"),
            _ => format!("{status}\n"),
        };
        let mut headers = Headers::from([("Content-Type", "text/plain; charset=utf-8")]);
        if error.status() == 503 {
            headers.append("Retry-After", RETRY_AFTER)?;
        }
        respond.start(
            status.as_bytes(),
            headers,
            Some(Error::application("the application failed").into()),
        )?;
        return Ok(respond.send(body.as_bytes())?);
    }
    let headers = Headers::from(attributes.error_headers);
    respond.start(
        attributes.error_status.as_bytes(),
        headers,
        Some(Error::application("the application failed").into()),
    )?;
    Ok(respond.send(attributes.error_body)?)
}

/// What passes by itself, such as too many requests, passes in some seconds.
pub(crate) const RETRY_AFTER: &str = "5";

/// Our own error, given as it is or through `io::Error`.
fn typed(error: &BoxError) -> Option<&Error> {
    let through_io = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Error>();
    error.downcast_ref::<Error>().or_else(through_io)
}
