//! The request body as a stream, and the stream for an application's own messages.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
#[cfg(unix)]
use std::os::fd::BorrowedFd;

/// A body that can be asked for what has arrived of it, for who must not wait: a program's output may have to be read
/// meanwhile.
pub trait Live: BufRead {
    /// What has arrived and was not consumed yet: empty at the end of the body, `None` while nothing has arrived.
    ///
    /// # Errors
    /// Those of `fill_buf`.
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>>;

    /// Lends the descriptor to wait for after [`fill_ready`](Live::fill_ready) has said `None`: it is readable once there
    /// may be more, or the peer has gone. `None` where there is no need to wait.
    #[cfg(unix)]
    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>));

    /// Whether nothing is left to arrive: the end of the body is here, read or not.
    fn is_whole(&self) -> bool {
        false
    }

    /// Nobody will read the rest. It need not be kept, but is still the gateway's to take off the connection.
    fn abandon(&mut self) {}
}

/// `wsgi.input`: the request's body, read as it arrives.
///
/// It ends where the body ends, so reading to the end is always safe (PEP 3333 asks servers to simulate that end at
/// CONTENT_LENGTH). An `Err` says that the body cannot come whole any more: the client went away or broke its promise.
///
/// ```
/// use std::io::Read;
/// use gatewright::environ::Input;
///
/// let mut data = &b"name=value"[..];
/// let mut input = Input::Lent(&mut data);
/// let mut text = String::new();
/// input.read_to_string(&mut text)?;
/// assert_eq!(text, "name=value");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub enum Input<'r> {
    /// No body.
    #[default]
    Empty,
    /// A stream that the gateway, or a middleware, lends for this request.
    Lent(&'r mut (dyn BufRead + 'r)),
    /// The same, of a stream that can be asked for what has arrived.
    Live(&'r mut (dyn Live + 'r)),
    /// A stream that the input owns: what [`wrap`](Input::wrap) made.
    Boxed(Box<dyn BufRead + 'r>),
}

impl<'r> Input<'r> {
    /// Puts a middleware's own stream around this one, for all who read later.
    ///
    /// ```
    /// use std::io::{BufReader, Read};
    /// use gatewright::environ::Input;
    ///
    /// let mut data = &b"a long body"[..];
    /// let mut input = Input::Lent(&mut data);
    /// input.wrap(|inner| BufReader::new(inner.take(6)));
    /// let mut text = String::new();
    /// input.read_to_string(&mut text)?;
    /// assert_eq!(text, "a long");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wrap<W: BufRead + 'r>(&mut self, with: impl FnOnce(Input<'r>) -> W) {
        let inner = std::mem::take(self);
        *self = Input::Boxed(Box::new(with(inner)));
    }

    /// The same input for a shorter time: what holds it may not live as long.
    #[must_use]
    pub fn shorten<'s>(self) -> Input<'s>
    where
        'r: 's,
    {
        match self {
            Input::Empty => Input::Empty,
            Input::Lent(stream) => Input::Lent(stream),
            Input::Live(stream) => Input::Live(stream),
            Input::Boxed(stream) => Input::Boxed(stream),
        }
    }

    /// What has arrived, without waiting where the stream can tell ([`Live`]): empty at the end of the body, `None` while
    /// nothing has arrived. Other streams are waited for.
    ///
    /// ```
    /// use gatewright::environ::Input;
    ///
    /// let mut data = &b"all here"[..];
    /// assert_eq!(Input::Lent(&mut data).fill_ready()?, Some(&b"all here"[..]));
    /// assert_eq!(Input::Empty.fill_ready()?, Some(&b""[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of reading.
    pub fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        match self {
            Input::Live(stream) => stream.fill_ready(),
            other => other.fill_buf().map(Some),
        }
    }

    /// Lends the descriptor to wait for once [`fill_ready`](Input::fill_ready) has said `None`.
    #[cfg(unix)]
    pub fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        match self {
            Input::Live(stream) => stream.with_descriptor(with),
            _ => with(None),
        }
    }

    /// Whether it is known that nothing is left to arrive.
    pub fn is_whole(&self) -> bool {
        match self {
            Input::Empty => true,
            Input::Live(stream) => stream.is_whole(),
            Input::Lent(_) | Input::Boxed(_) => false,
        }
    }

    /// Says that the rest will not be read: nobody need keep it before the answer may begin.
    pub fn abandon(&mut self) {
        if let Input::Live(stream) = self {
            stream.abandon();
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Empty => Ok(0),
            Input::Lent(stream) => stream.read(into),
            Input::Live(stream) => stream.read(into),
            Input::Boxed(stream) => stream.read(into),
        }
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Input::Empty => Ok(&[]),
            Input::Lent(stream) => stream.fill_buf(),
            Input::Live(stream) => stream.fill_buf(),
            Input::Boxed(stream) => stream.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Input::Empty => {}
            Input::Lent(stream) => stream.consume(amount),
            Input::Live(stream) => stream.consume(amount),
            Input::Boxed(stream) => stream.consume(amount),
        }
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Input::Empty => "Input::Empty",
            Input::Lent(_) => "Input::Lent",
            Input::Live(_) => "Input::Live",
            Input::Boxed(_) => "Input::Boxed",
        })
    }
}

/// `wsgi.errors`: where an application's messages for the administrator go.
///
/// Under FastCGI that is the STDERR stream to the web server, under CGI the process's standard error.
pub struct Errors<'r>(&'r mut (dyn Write + 'r));

impl<'r> Errors<'r> {
    /// Messages go to `stream`.
    pub fn new(stream: &'r mut (dyn Write + 'r)) -> Self {
        Self(stream)
    }
}

impl Write for Errors<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for Errors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errors")
    }
}
