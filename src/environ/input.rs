//! The request body as a stream, and the stream for an application's own messages.

use std::cell::Cell;
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

/// How much of the body is still to come, shared between the stream and the handler that lends it.
#[derive(Debug)]
pub(crate) struct Bound {
    remaining: Cell<Option<u64>>,
    failed: Cell<bool>,
}

impl Bound {
    pub(crate) fn unlimited() -> Self {
        Self { remaining: Cell::new(None), failed: Cell::new(false) }
    }

    pub(crate) fn set(&self, length: u64) {
        self.remaining.set(Some(length));
    }

    /// Whether reading the body failed: the peer is gone or cannot be trusted any more.
    pub(crate) fn failed(&self) -> bool {
        self.failed.get()
    }
}

/// The gateway's stream, cut at the declared length; an earlier end is an error, not the end of the body.
pub(crate) struct BoundedInput<'a> {
    inner: &'a mut (dyn BufRead + 'a),
    bound: &'a Bound,
}

impl<'a> BoundedInput<'a> {
    pub(crate) fn new(inner: &'a mut (dyn BufRead + 'a), bound: &'a Bound) -> Self {
        Self { inner, bound }
    }
}

impl Read for BoundedInput<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        let (Some(from), Some(to)) = (available.get(..count), into.get_mut(..count)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for BoundedInput<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let remaining = self.bound.remaining.get();
        if remaining == Some(0) {
            return Ok(&[]);
        }
        let available = match self.inner.fill_buf() {
            Ok(available) => available,
            Err(error) => {
                // An interrupted call is tried again by every reader; it says nothing about the peer.
                self.bound.failed.set(error.kind() != io::ErrorKind::Interrupted);
                return Err(error);
            }
        };
        let Some(remaining) = remaining else { return Ok(available) };
        if available.is_empty() {
            self.bound.failed.set(true);
            let message = format!("the request body ended {remaining} bytes before its CONTENT_LENGTH");
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
        }
        let count =
            usize::try_from(remaining).map_or(available.len(), |remaining| remaining.min(available.len()));
        Ok(available.get(..count).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if let Some(remaining) = self.bound.remaining.get() {
            self.bound.remaining.set(Some(remaining.saturating_sub(amount as u64)));
        }
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(data: &[u8], length: Option<u64>) -> (io::Result<Vec<u8>>, usize, bool) {
        let mut rest = data;
        let bound = Bound::unlimited();
        if let Some(length) = length {
            bound.set(length);
        }
        let mut all = Vec::new();
        let result = BoundedInput::new(&mut rest, &bound).read_to_end(&mut all).map(|_| all);
        (result, rest.len(), bound.failed())
    }

    #[test]
    fn reading_to_the_end_stops_at_the_declared_length() {
        let (result, rest, failed) = read_all(b"abcdef", Some(4));
        assert_eq!((result.unwrap(), rest, failed), (b"abcd".to_vec(), 2, false));
        assert_eq!(read_all(b"abc", None).0.unwrap(), b"abc");
        assert_eq!(read_all(b"abc", Some(0)).0.unwrap(), b"");
    }

    #[test]
    fn an_early_end_is_an_error() {
        let (result, _, failed) = read_all(b"abc", Some(4));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(failed);
    }
}
