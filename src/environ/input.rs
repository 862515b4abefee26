//! The request body as a stream, and the stream for an application's own messages.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

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

    fn stream(&mut self) -> Option<&mut (dyn BufRead + 'r)> {
        match self {
            Input::Empty => None,
            Input::Lent(stream) => Some(&mut **stream),
            Input::Boxed(stream) => Some(&mut **stream),
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream().map_or(Ok(0), |stream| stream.read(into))
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Input::Empty => Ok(&[]),
            Input::Lent(stream) => stream.fill_buf(),
            Input::Boxed(stream) => stream.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(stream) = self.stream() {
            stream.consume(amount);
        }
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Input::Empty => "Input::Empty",
            Input::Lent(_) => "Input::Lent",
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
