//! What an application is, and how it answers.
//!
//! An application is a function of the request and a [`Responder`]:
//!
//! ```
//! use gatewright::app::{AppResult, Responder};
//! use gatewright::environ::Environ;
//!
//! fn hello(_environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
//!     respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello, world!\n")
//! }
//! # fn is_an_application(_: impl gatewright::app::Application) {}
//! # is_an_application(hello);
//! ```
//!
//! Starting consumes the responder and gives the [`Body`] to write to, so that an application can neither write before
//! it has started nor start twice: what PEP 3333 forbids does not compile. Beneath both lies [`Respond`], where all of
//! it can be tried and fails as in wsgiref; handlers provide it, and middleware wraps it to see or change head and body:
//!
//! ```
//! use std::io;
//! use gatewright::app::{AppResult, Application, BoxError, Respond, Responder};
//! use gatewright::environ::Environ;
//! use gatewright::headers::Headers;
//!
//! /// Writes everything in capitals, and says so in a header.
//! struct Shout<A>(A);
//!
//! struct Loud<'r>(&'r mut dyn Respond);
//!
//! impl Respond for Loud<'_> {
//!     fn start(&mut self, status: &[u8], mut headers: Headers, cause: Option<BoxError>) -> AppResult {
//!         headers.set("X-Volume", "11")?;
//!         self.0.start(status, headers, cause)
//!     }
//!     fn write(&mut self, data: &[u8]) -> io::Result<()> {
//!         self.0.write(&data.to_ascii_uppercase())
//!     }
//!     fn flush(&mut self) -> io::Result<()> {
//!         self.0.flush()
//!     }
//! }
//!
//! impl<A: Application> Application for Shout<A> {
//!     fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
//!         let mut loud = Loud(respond.into_inner());
//!         self.0.call(environ, Responder::new(&mut loud))
//!     }
//! }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::environ::Environ;
use crate::headers::Headers;
use crate::util::{FileSource, FileWrapper};

pub use crate::error::BoxError;

/// What an application returns: `?` takes any error.
pub type AppResult<T = ()> = Result<T, BoxError>;

/// A web application: called once per request, by several threads at the same time under most fronts.
///
/// Functions and closures of the right shape are applications; [`app`] helps the compiler with closures. An `Err`, or a
/// panic, before anything was sent gives the client the error page, afterwards a truncated response; either is logged,
/// and the next request is served.
pub trait Application: Send + Sync {
    /// Answers one request.
    ///
    /// # Errors
    /// Whatever stopped the application. [`Error`](crate::error::Error) can say which status it deserves.
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult;
}

impl<F> Application for F
where
    F: Fn(&mut Environ<'_>, Responder<'_>) -> AppResult + Send + Sync,
{
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        self(environ, respond)
    }
}

impl<A: Application + ?Sized> Application for Arc<A> {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        (**self).call(environ, respond)
    }
}

/// Lets a closure be an application without naming its arguments' types.
///
/// ```
/// use gatewright::app::app;
///
/// let hello = app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello\n"));
/// # let _ = hello;
/// ```
pub fn app<F>(function: F) -> F
where
    F: Fn(&mut Environ<'_>, Responder<'_>) -> AppResult + Send + Sync,
{
    function
}

/// An application that answers by failing: the handler turns the error into its page and logs it.
#[cfg(any(unix, feature = "cli"))]
pub(crate) fn refusal(error: crate::error::Error) -> impl Application {
    let (fault, status, message) = (error.fault(), error.status(), error.to_string());
    app(move |_: &mut Environ<'_>, _: Responder<'_>| -> AppResult {
        Err(crate::error::Error::new(fault, status, message.clone()).into())
    })
}

/// The one chance to start the response: `start_response` of PEP 3333.
pub struct Responder<'r>(&'r mut (dyn Respond + 'r));

impl<'r> Responder<'r> {
    /// A responder over its dynamic form: how a middleware hands its own on.
    pub fn new(inner: &'r mut dyn Respond) -> Self {
        Self(inner)
    }

    /// The dynamic form, for a middleware to wrap.
    pub fn into_inner(self) -> &'r mut dyn Respond {
        self.0
    }

    /// Starts the response. Nothing is sent before the first byte of the body, or the end.
    ///
    /// # Errors
    /// A status that is not three digits, a blank and a reason; a header with control characters; a hop-by-hop header.
    pub fn start(self, status: impl AsRef<[u8]>, headers: impl Into<Headers>) -> AppResult<Body<'r>> {
        self.0.start(status.as_ref(), headers.into(), None)?;
        Ok(Body(self.0))
    }
}

impl fmt::Debug for Responder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

/// The body of a started response. As an [`io::Write`] it is PEP 3333's `write()`: bodies stream, nothing is collected.
///
/// Output leaves when 64 KiB have gathered, when it is flushed, when the application returns, and before the
/// application waits for more of the request's body. A body that is known whole is best given by [`send`](Body::send).
/// There is no end to write: returning `Ok` is the end, and an error cuts the answer.
///
/// ```
/// use std::io::Write;
/// use gatewright::app::{AppResult, Responder};
/// use gatewright::environ::Environ;
///
/// fn count(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
///     // nginx would gather the lines otherwise.
///     let head = [("Content-Type", "text/plain"), ("X-Accel-Buffering", "no")];
///     let mut body = respond.start("200 OK", head)?;
///     for number in 0..3 {
///         writeln!(body, "{number}")?;
///         body.flush()?;
///     }
///     Ok(())
/// }
/// # fn is_an_application(_: impl gatewright::app::Application) {}
/// # is_an_application(count);
/// ```
pub struct Body<'r>(&'r mut (dyn Respond + 'r));

impl<'r> Body<'r> {
    /// Replaces status and headers after an error: `start_response` with `exc_info`. What sends the whole body consumes
    /// the `Body`, so that this comes between writes.
    ///
    /// # Errors
    /// Once something has been sent it is too late, and `cause` comes back; else as for [`Responder::start`].
    pub fn restart(
        &mut self,
        status: impl AsRef<[u8]>,
        headers: impl Into<Headers>,
        cause: impl Into<BoxError>,
    ) -> AppResult {
        self.0.start(status.as_ref(), headers.into(), Some(cause.into()))
    }

    /// Sends the whole body as exactly one item. It gets a Content-Length if it has none.
    ///
    /// # Errors
    /// The client has gone, or what [`Respond::write`] says.
    pub fn send(self, whole: impl AsRef<[u8]>) -> AppResult {
        Ok(self.0.send(whole.as_ref())?)
    }

    /// Sends an iterable, chunk by chunk, and closes it exactly once, whatever happens.
    ///
    /// ```
    /// use gatewright::app::{AppResult, Responder, chunks};
    /// use gatewright::environ::Environ;
    ///
    /// fn count(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    ///     let numbers = (1..=3).map(|n| format!("{n}\n"));
    ///     respond.start("200 OK", [("Content-Type", "text/plain")])?.send_chunks(chunks(numbers))
    /// }
    /// ```
    ///
    /// # Errors
    /// What the iterable, its closing or the sending gave.
    pub fn send_chunks(self, chunks: impl Chunks) -> AppResult {
        let mut closing = Closing { chunks, closed: false };
        let result = iterate(self.0, &mut closing.chunks);
        match (result, closing.close()) {
            (result, Ok(())) => result,
            (Ok(()), Err(error)) => Err(error),
            (Err(during), Err(error)) => Err(CloseFailed { error, during }.into()),
        }
    }

    /// Sends a file, from where it stands to its end. The handler may have the system do it; it is closed in the end.
    ///
    /// No Content-Length is added: set it where it is known.
    ///
    /// ```
    /// use std::fs::File;
    /// use gatewright::app::{AppResult, Responder};
    /// use gatewright::environ::Environ;
    ///
    /// fn manual(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    ///     let file = File::open("manual.pdf")?;
    ///     let length = file.metadata()?.len().to_string();
    ///     let headers = [("Content-Type", "application/pdf"), ("Content-Length", &length)];
    ///     respond.start("200 OK", headers)?.send_file(file)
    /// }
    /// # let _ = manual;
    /// ```
    ///
    /// # Errors
    /// Reading the file or sending failed.
    pub fn send_file(self, file: impl FileSource) -> AppResult {
        self.send_wrapped_file(FileWrapper::new(file))
    }

    /// Sends a file in blocks of a chosen size, where the handler does not take it as it is.
    ///
    /// # Errors
    /// Reading the file or sending failed.
    pub fn send_wrapped_file<R: FileSource>(self, mut file: FileWrapper<R>) -> AppResult {
        if self.0.send_file(&mut file.filelike)? {
            return Ok(());
        }
        self.send_chunks(file)
    }

    /// Whether output can leave now, or has to wait for the rest of the request's body; see [`Respond::may_leave`].
    pub fn may_leave(&self) -> bool {
        self.0.may_leave()
    }

    /// The dynamic form, for a middleware or a test that needs it.
    pub fn into_inner(self) -> &'r mut dyn Respond {
        self.0
    }
}

impl Write for Body<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

fn iterate(respond: &mut dyn Respond, chunks: &mut impl Chunks) -> AppResult {
    // As in wsgiref the length question is asked after the first chunk, and only where its answer counts.
    if respond.wants_length() {
        // An iterable that has ended is not asked again: it may begin anew, or read its file once more.
        let Some(first) = chunks.next_chunk()? else { return Ok(respond.end()?) };
        let first = first.into_owned();
        match chunks.exactly_one() {
            true => respond.send(&first)?,
            false => respond.write(&first)?,
        }
    }
    while let Some(chunk) = chunks.next_chunk()? {
        respond.write(&chunk)?;
    }
    Ok(respond.end()?)
}

/// Closes the iterable on every way out, a panic in it included.
struct Closing<C: Chunks> {
    chunks: C,
    closed: bool,
}

impl<C: Chunks> Closing<C> {
    fn close(&mut self) -> AppResult {
        self.closed = true;
        self.chunks.close()
    }
}

impl<C: Chunks> Drop for Closing<C> {
    fn drop(&mut self) {
        // Only while unwinding: the panic is what will be reported.
        if !self.closed {
            // A second panic here would end the process.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.close()));
        }
    }
}

/// An iterable failed, and then its closing failed too.
#[derive(Debug)]
struct CloseFailed {
    error: BoxError,
    during: BoxError,
}

impl fmt::Display for CloseFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (while handling: {})", self.error, self.during)
    }
}

impl std::error::Error for CloseFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.during)
    }
}

/// PEP 3333's iterable: byte strings one after the other, perhaps a length, perhaps a `close()`.
pub trait Chunks {
    /// The next chunk, or `None` at the end.
    ///
    /// # Errors
    /// What stopped the iteration.
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>>;

    /// Whether there is exactly one chunk in all: its length is the response's Content-Length then. Asked after the
    /// first chunk. The default says no.
    fn exactly_one(&self) -> bool {
        false
    }

    /// Frees what the iterable holds. Called exactly once.
    ///
    /// # Errors
    /// What stopped it; that is logged, and never turned into a second response.
    fn close(&mut self) -> AppResult {
        Ok(())
    }
}

impl<R: io::Read> Chunks for FileWrapper<R> {
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        Ok(self.next().transpose()?.map(Cow::Owned))
    }
}

/// Chunks of an iterator; see [`chunks`].
#[derive(Debug)]
pub struct IterChunks<I: Iterator> {
    items: I,
    current: Option<I::Item>,
}

/// An iterator's items as chunks of unknown number.
pub fn chunks<I>(items: I) -> IterChunks<I::IntoIter>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    IterChunks { items: items.into_iter(), current: None }
}

impl<I: Iterator> Chunks for IterChunks<I>
where
    I::Item: AsRef<[u8]>,
{
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        self.current = self.items.next();
        Ok(self.current.as_ref().map(|item| Cow::Borrowed(item.as_ref())))
    }
}

/// Chunks of an iterator that may fail; see [`try_chunks`].
#[derive(Debug)]
pub struct TryChunks<I, B> {
    items: I,
    current: Option<B>,
}

/// A fallible iterator's items as chunks of unknown number.
pub fn try_chunks<I, B, E>(items: I) -> TryChunks<I::IntoIter, B>
where
    I: IntoIterator<Item = Result<B, E>>,
    B: AsRef<[u8]>,
    E: Into<BoxError>,
{
    TryChunks { items: items.into_iter(), current: None }
}

impl<I, B, E> Chunks for TryChunks<I, B>
where
    I: Iterator<Item = Result<B, E>>,
    B: AsRef<[u8]>,
    E: Into<BoxError>,
{
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        self.current = self.items.next().transpose().map_err(Into::into)?;
        Ok(self.current.as_ref().map(|item| Cow::Borrowed(item.as_ref())))
    }
}

/// A list of chunks; see [`list`].
#[derive(Debug)]
pub struct List<B> {
    items: std::vec::IntoIter<B>,
    current: Option<B>,
    one: bool,
}

/// A list of chunks, whose number is known: a list of one gets a Content-Length, as in PEP 3333.
pub fn list<B: AsRef<[u8]>>(items: impl Into<Vec<B>>) -> List<B> {
    let items = items.into();
    List { one: items.len() == 1, items: items.into_iter(), current: None }
}

impl<B: AsRef<[u8]>> Chunks for List<B> {
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        self.current = self.items.next();
        Ok(self.current.as_ref().map(|item| Cow::Borrowed(item.as_ref())))
    }

    fn exactly_one(&self) -> bool {
        self.one
    }
}

/// `start_response` and `write` in their dynamic form, where every call can be made at any time and fails as in wsgiref.
///
/// Handlers provide it, a middleware wraps it, applications see it only through [`Responder`] and [`Body`]. The methods
/// with defaults are chances that a middleware may pass on, and loses where it does not: without `send` and
/// `wants_length` a body of one item gets no Content-Length, without `send_file` files are read and written, without
/// `end` an empty answer's head waits until the application returns.
pub trait Respond {
    /// `start_response(status, headers, exc_info)`: `cause` is the error that makes an application start again.
    ///
    /// # Errors
    /// Started already, and no cause given; sent already, and then it is `cause`; a bad status or header.
    fn start(&mut self, status: &[u8], headers: Headers, cause: Option<BoxError>) -> AppResult;

    /// PEP 3333's `write()`.
    ///
    /// # Errors
    /// Not started yet, or the client has gone.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;

    /// Sends out what was written so far; before anything was, the head alone.
    ///
    /// # Errors
    /// The client has gone.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes a body that consists of this one item. The default is a [`write`](Respond::write).
    ///
    /// # Errors
    /// Those of `write`.
    fn send(&mut self, whole: &[u8]) -> io::Result<()> {
        self.write(whole)
    }

    /// Offers a file to send as it is; `false` asks the caller to write it. The default does.
    ///
    /// # Errors
    /// The file was taken, and could not be sent whole.
    fn send_file(&mut self, file: &mut dyn FileSource) -> io::Result<bool> {
        let _ = file;
        Ok(false)
    }

    /// Whether a Content-Length would be added if the body were exactly one item: nothing sent yet, and none set.
    fn wants_length(&self) -> bool {
        true
    }

    /// Whether output can leave now. Where it cannot, a flush reads the rest of the request's body ahead and keeps it:
    /// better avoided by who still passes that body on ([`Flow::AnswerLast`](crate::handlers::Flow::AnswerLast)). The
    /// default says yes.
    fn may_leave(&self) -> bool {
        true
    }

    /// Says that the body is complete: a head that was not sent yet goes out now. Called again without harm.
    ///
    /// # Errors
    /// Never started, or the client has gone.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
