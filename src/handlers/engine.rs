//! One run: the application between its responder and the output.

use std::io::{self, Write};
use std::time::Instant;

use super::base::{BaseHandler, MOST_CAUSES};
use super::body::{BodyReader, RequestBody};
use super::head::Head;
use super::outcome::{End, Outcome};
use super::panics::{catching, discard};
use super::streams::{Flow, Output, Streams};
use crate::app::{AppResult, Application, BoxError, Respond, Responder};
use crate::environ::{Environ, Errors, Input};
use crate::error::Error;
use crate::headers::Headers;
use crate::util::FileSource;

/// What a request's variables may leave behind in memory for the next.
const KEPT_VARS: usize = 64 * 1024;

/// Bodies up to this size are here before the application is called.
const GATHERED: u64 = 64 * 1024;

/// So much of an answer's body surely stays gathered, together with its head, until the end.
const STAYS: u64 = 32 * 1024;

pub(super) fn run<H: BaseHandler + ?Sized>(handler: &H, app: &dyn Application) -> Outcome {
    let mut outcome = None;
    handler.lend(&mut |streams| {
        if outcome.is_none() {
            outcome = Some(run_over(handler, app, streams));
        }
    });
    let outcome = outcome.unwrap_or_else(|| Outcome::new(End::Unanswered));
    if let Err(error) = catching(|| {
        handler.close(&outcome);
        Ok(())
    }) {
        log::error!("a handler's close failed: {error}");
    }
    outcome
}

fn run_over<H: BaseHandler + ?Sized>(handler: &H, app: &dyn Application, streams: Streams<'_>) -> Outcome {
    let Streams { stdin, data, stdout, stderr, scratch, abort, role, stdin_ends } = streams;
    let attributes = handler.attributes();
    let observer = attributes.observer.map(|observer| (observer, Instant::now()));
    let flow = match (attributes.policy.is_safe(), attributes.full_duplex) {
        (false, _) => Flow::Unbuffered,
        (true, true) => Flow::Duplex,
        (true, false) => Flow::AnswerLast,
    };
    stdout.set_flow(flow);
    let body = RequestBody::new(stdin, attributes.spool);
    let mut input = BodyReader::new(&body);
    let mut vars = std::mem::take(&mut scratch.vars);
    if !std::mem::take(&mut scratch.filled) {
        vars.clear();
    }
    let mut environ = Environ::new(vars, Input::Live(&mut input), Errors::new(stderr));
    (environ.abort, environ.wsgi.role) = (abort, role);
    if let Some(data) = data {
        environ.data = Input::Lent(data);
    }
    let head = &mut scratch.head;
    let ahead = flow == Flow::AnswerLast && stdin_ends;
    let mut reply =
        Reply { handler, out: stdout, head, body: &body, flow, ahead, ended: false, broken: None };
    let outcome = answer(&mut reply, app, &mut environ, stdin_ends);
    if let Some((observer, began)) = observer {
        let told = catching(|| {
            observer.finished(&environ, &outcome, began.elapsed());
            Ok(())
        });
        if let Err(error) = told {
            log::error!("the observer of a request failed: {error}");
        }
    }
    let mut vars = std::mem::take(&mut environ.vars);
    discard(environ);
    vars.clear();
    vars.shrink_to(KEPT_VARS);
    scratch.vars = vars;
    outcome
}

fn answer<H: BaseHandler + ?Sized>(
    reply: &mut Reply<'_, '_, H>,
    app: &dyn Application,
    environ: &mut Environ<'_>,
    stdin_ends: bool,
) -> Outcome {
    let handler = reply.handler;
    reply.head.reset();
    let result = catching(|| {
        handler.setup_environ(environ);
        reply.head.observe(environ);
        if handler.attributes().policy.is_safe()
            && let Some(length) = environ.content_length()?
        {
            reply.body.set_length(length);
            if reply.flow == Flow::AnswerLast && length <= GATHERED {
                reply.body.gather()?;
            }
        }
        // A CGI program's standard input may stay open for ever where no length and no coding announces a body.
        let announced =
            environ.vars.contains("CONTENT_LENGTH") || environ.vars.contains("HTTP_TRANSFER_ENCODING");
        reply.ahead |= reply.flow == Flow::AnswerLast && announced;
        environ.wsgi.input_terminated &= stdin_ends || announced;
        app.call(environ, Responder::new(&mut *reply))?;
        Ok(reply.end()?)
    });
    // An application may have swallowed that its output broke: the answer is not whole all the same.
    let result = result.and_then(|()| reply.broken.map_or(Ok(()), |kind| Err(io::Error::from(kind).into())));
    let mut outcome = match result {
        Ok(()) => Outcome::new(End::Answered),
        Err(error) => {
            let quiet = reply.is_quiet(&error, environ);
            let outcome =
                if quiet { Outcome::new(End::ClientGone) } else { handle_error(reply, environ, &error) };
            discard(error);
            outcome
        }
    };
    (outcome.status, outcome.body_bytes) = (reply.head.status_code(), reply.head.bytes_sent());
    if reply.head.cut() > 0 {
        let message = format!("{} bytes beyond the Content-Length were cut", reply.head.cut());
        log_exception(handler, environ, &Error::application(message).into());
        outcome.logged = true;
    }
    if let Err(error) = reply.out.finish(&outcome)
        && outcome.end == End::Answered
    {
        outcome.end = End::ClientGone;
        if !is_connection_error(&error) {
            log_exception(handler, environ, &error.into());
            (outcome.end, outcome.logged) = (End::Truncated, true);
        }
    }
    outcome
}

/// Logs through the handler. Showing an error runs the application's code, which may panic again.
fn log_exception<H: BaseHandler + ?Sized>(handler: &H, environ: &mut Environ<'_>, error: &BoxError) {
    let logged = catching(|| {
        handler.log_exception(environ, error);
        Ok(())
    });
    if let Err(panic) = logged {
        let line = format!("gatewright: an application failed, and so did logging its error: {panic}\n");
        let _ = environ.errors.write_all(line.as_bytes());
    }
}

/// Logs the error, and answers it with the error page while nothing has left.
fn handle_error<H: BaseHandler + ?Sized>(
    reply: &mut Reply<'_, '_, H>,
    environ: &mut Environ<'_>,
    error: &BoxError,
) -> Outcome {
    let handler = reply.handler;
    log_exception(handler, environ, error);
    let mut outcome = Outcome::new(End::Answered);
    outcome.logged = true;
    if reply.ended {
        // The answer is whole: what fails behind it, the closing of an iterable, takes nothing from it.
        return outcome;
    }
    if reply.broken.is_some() || !reply.take_back() {
        outcome.end = End::Truncated;
        return outcome;
    }
    let page = catching(|| {
        handler.error_output(environ, error, Responder::new(&mut *reply))?;
        Ok(reply.end()?)
    });
    if let Err(error) = page {
        outcome.end = if reply.head.is_sent() { End::Truncated } else { End::Unanswered };
        if handler.attributes().policy.is_safe() && reply.broken.is_none() {
            log_exception(handler, environ, &error);
        }
        outcome.escaped = Some(error);
    }
    outcome
}

/// The handler's side of [`Respond`]: every step goes through an overridable method.
struct Reply<'a, 'b, H: ?Sized> {
    handler: &'a H,
    out: &'a mut (dyn Output + 'a),
    head: &'a mut Head,
    body: &'a RequestBody<'b, 'a>,
    flow: Flow,
    /// Whether the body is read ahead before output leaves.
    ahead: bool,
    ended: bool,
    /// The kind of error by which the output broke.
    broken: Option<io::ErrorKind>,
}

impl<H: BaseHandler + ?Sized> Reply<'_, '_, H> {
    /// Makes the head unsent, if it is or if nothing of it has left yet.
    fn take_back(&mut self) -> bool {
        if !self.head.is_sent() {
            return true;
        }
        let back = self.handler.attributes().policy.is_safe() && self.out.rewind();
        if back {
            self.head.restart();
        }
        back
    }

    /// Whether an error only says that the client has gone, which is nobody's failure.
    fn is_quiet(&self, error: &BoxError, environ: &Environ<'_>) -> bool {
        if self.handler.attributes().policy.is_safe() {
            let client_gone = || {
                let broken = self.broken.is_some_and(is_connection_kind);
                self.body.failed() || broken || environ.is_aborted()
            };
            return is_of_a_connection(error) && client_gone();
        }
        error.downcast_ref::<io::Error>().is_some_and(is_connection_error)
    }

    /// Output is about to leave, or may be: the body has to be here by then.
    fn before_leaving(&mut self) {
        if self.ahead {
            self.ahead = false;
            self.body.read_ahead();
        }
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.get_ref().is_none_or(|inner| !inner.is::<Error>())
        {
            self.broken = Some(error.kind());
        }
        result
    }
}

/// Whether an error, or what lies beneath it, is a connection's.
fn is_of_a_connection(error: &BoxError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    for _ in 0..MOST_CAUSES {
        let Some(error) = cause else { return false };
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return is_connection_error(error) || error.kind() == io::ErrorKind::TimedOut;
        }
        cause = error.source();
    }
    false
}

fn is_connection_error(error: &io::Error) -> bool {
    is_connection_kind(error.kind())
}

fn is_connection_kind(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
}

impl<H: BaseHandler + ?Sized> Respond for Reply<'_, '_, H> {
    fn start(&mut self, status: &[u8], headers: Headers, cause: Option<BoxError>) -> AppResult {
        if cause.is_some() && self.head.is_sent() && self.take_back() {
            self.ended = false;
        }
        self.handler.start_response(self.head, status, headers, cause)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.head.bytes_sent().saturating_add(data.len() as u64) > STAYS {
            self.before_leaving();
        }
        let result = self.handler.write(self.out, self.head, data);
        self.noting(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.before_leaving();
        // A head without any document yet is news too: EventSource's `open`, for one.
        let head = match self.head.is_started() && !self.head.is_sent() {
            true => self.handler.send_headers(self.out, self.head),
            false => Ok(()),
        };
        let result = head.and_then(|()| self.out.flush());
        self.noting(result)
    }

    fn send(&mut self, whole: &[u8]) -> io::Result<()> {
        if self.head.is_started() && !self.head.is_sent() {
            self.head.set_whole_length(whole.len() as u64);
        }
        self.write(whole)
    }

    fn send_file(&mut self, file: &mut dyn FileSource) -> io::Result<bool> {
        if !self.handler.attributes().wsgi_file_wrapper {
            return Ok(false);
        }
        self.before_leaving();
        let result = self.handler.sendfile(self.out, self.head, file);
        // Before the head was sent it was the file that failed, not the output: the error page can still go out.
        let taken = if self.head.is_sent() { self.noting(result)? } else { result? };
        self.ended |= taken;
        Ok(taken)
    }

    fn may_leave(&self) -> bool {
        !self.ahead || self.body.is_settled()
    }

    fn wants_length(&self) -> bool {
        !self.head.is_sent() && !self.head.headers().contains("Content-Length")
    }

    fn end(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let result = self.handler.finish_content(self.out, self.head);
        self.noting(result)?;
        if let Some(missing) = self.head.missing() {
            let message = format!("the body is {missing} bytes shorter than its Content-Length");
            return Err(io::Error::other(Error::application(message)));
        }
        self.ended = true;
        Ok(())
    }
}
