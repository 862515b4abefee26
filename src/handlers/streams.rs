//! What a rung of the ladder lends to one run: the three streams, and memory to use again.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
#[cfg(unix)]
use std::os::fd::BorrowedFd;

use super::head::Head;
use super::outcome::Outcome;
use crate::environ::{Abort, Input, Live, Role, Vars};

/// Output gathers up to this many bytes before it leaves by itself.
pub(crate) const GATHER: usize = 64 * 1024;

/// What a gathering buffer may keep from one request to the next.
const KEPT: usize = 2 * GATHER;

/// The streams of one request, lent to [`run`](super::BaseHandler::run) for its duration.
pub struct Streams<'a> {
    /// The request's body, as raw as it comes: the handler ends it at CONTENT_LENGTH.
    pub stdin: Input<'a>,
    /// A FastCGI filter's second input.
    pub data: Option<&'a mut (dyn BufRead + 'a)>,
    /// The response.
    pub stdout: &'a mut (dyn Output + 'a),
    /// The application's own messages.
    pub stderr: &'a mut (dyn Write + 'a),
    /// Memory that the next request uses again.
    pub scratch: &'a mut Scratch,
    /// Whether the client has gone.
    pub abort: Abort<'a>,
    /// What a FastCGI web server asks for.
    pub role: Role,
    /// Whether `stdin` ends where the body ends, also without CONTENT_LENGTH. A CGI program's may stay open.
    pub stdin_ends: bool,
}

impl<'a> Streams<'a> {
    /// Streams of a responder that cannot tell whether its client has gone.
    pub fn new(
        stdin: &'a mut (dyn BufRead + 'a),
        stdout: &'a mut (dyn Output + 'a),
        stderr: &'a mut (dyn Write + 'a),
        scratch: &'a mut Scratch,
    ) -> Self {
        Self::of(Input::Lent(stdin), stdout, stderr, scratch)
    }

    /// The same of a body that can be asked for what has arrived.
    pub fn live(
        stdin: &'a mut (dyn Live + 'a),
        stdout: &'a mut (dyn Output + 'a),
        stderr: &'a mut (dyn Write + 'a),
        scratch: &'a mut Scratch,
    ) -> Self {
        Self::of(Input::Live(stdin), stdout, stderr, scratch)
    }

    fn of(
        stdin: Input<'a>,
        stdout: &'a mut (dyn Output + 'a),
        stderr: &'a mut (dyn Write + 'a),
        scratch: &'a mut Scratch,
    ) -> Self {
        let (abort, role) = (Abort::never(), Role::Responder);
        Self { stdin, data: None, stdout, stderr, scratch, abort, role, stdin_ends: true }
    }

    /// The same streams, of a client that can be asked for.
    #[must_use]
    pub fn with_abort<'b>(self, abort: Abort<'b>) -> Streams<'b>
    where
        'a: 'b,
    {
        let Streams { stdin, data, stdout, stderr, scratch, abort: _, role, stdin_ends } = self;
        let data = data.map(|data| data as &mut (dyn BufRead + 'b));
        Streams { stdin: stdin.shorten(), data, stdout, stderr, scratch, abort, role, stdin_ends }
    }
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("role", &self.role)
            .field("abort", &self.abort)
            .finish_non_exhaustive()
    }
}

/// When a response leaves, in relation to its request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// When 64 KiB have gathered, when it is flushed, at the end; the handler reads the whole body ahead before that.
    ///
    /// Most web servers are done with the body once the answer begins: nginx stops sending it, and those that run CGI
    /// programs do not read the answer before they have sent it. An application that answers while it reads would wait
    /// for a body that never comes.
    #[default]
    AnswerLast,
    /// As above, but while the body still comes, and also before the application waits for more of it: for web servers
    /// and clients that send and receive at once.
    Duplex,
    /// Each write at once and by itself, as in wsgiref.
    Unbuffered,
}

/// Where a response goes: a stream that gathers what it is given and knows where the response ends.
///
/// `write` may gather; `flush` sends. [`plain_streams`] makes one of any [`Write`].
pub trait Output: Write {
    /// Says when what is written shall leave. The default never gathers anyway.
    fn set_flow(&mut self, flow: Flow) {
        let _ = flow;
    }

    /// Forgets what was written, if none of it has left; `false` when some has. The default cannot.
    fn rewind(&mut self) -> bool {
        false
    }

    /// The response is at its end, for good or ill. What is still gathered leaves here.
    ///
    /// # Errors
    /// The client has gone.
    fn finish(&mut self, outcome: &Outcome) -> io::Result<()> {
        let _ = outcome;
        self.flush()
    }
}

/// Memory that one request leaves to the next, so that the steady state allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) vars: Vars,
    pub(super) head: Head,
    gathered: Vec<u8>,
    /// `vars` are the next request's already.
    pub(super) filled: bool,
}

impl Scratch {
    /// Takes the next request's variables, which a server need not lend as `base_env` then; gives back the memory that
    /// was in their place.
    #[cfg(unix)]
    pub(crate) fn fill(&mut self, vars: Vars) -> Vars {
        self.filled = true;
        std::mem::replace(&mut self.vars, vars)
    }

    /// Nothing taken yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Lends ordinary streams: output is gathered, and leaves as [`Flow`] says.
///
/// This is what a handler over files, pipes, sockets or memory calls in its `streams` method.
pub fn plain_streams(
    stdin: &mut dyn BufRead,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    scratch: &mut Scratch,
    with: &mut dyn FnMut(Streams<'_>),
) {
    gathering(Input::Lent(stdin), stdout, stderr, scratch, with);
}

/// [`plain_streams`] of a body that can be asked for what has arrived.
pub fn live_streams(
    stdin: &mut dyn Live,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    scratch: &mut Scratch,
    with: &mut dyn FnMut(Streams<'_>),
) {
    gathering(Input::Live(stdin), stdout, stderr, scratch, with);
}

fn gathering(
    stdin: Input<'_>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    scratch: &mut Scratch,
    with: &mut dyn FnMut(Streams<'_>),
) {
    let mut gathered = std::mem::take(&mut scratch.gathered);
    gathered.clear();
    let shared = RefCell::new(Gather { stdout, gathered, flow: Flow::default(), left: false, broken: None });
    let mut input = FlushFirst { stdin: stdin.shorten(), output: &shared, empty: true };
    with(Streams::live(&mut input, &mut Shared(&shared), stderr, scratch));
    drop(input);
    let mut gathered = shared.into_inner().gathered;
    gathered.clear();
    gathered.shrink_to(KEPT);
    scratch.gathered = gathered;
}

/// A response on its way out of the process.
struct Gather<'a> {
    stdout: &'a mut dyn Write,
    gathered: Vec<u8>,
    flow: Flow,
    /// Whether any of it has left.
    left: bool,
    /// How the stream broke: what follows a lost piece must not be sent.
    broken: Option<io::ErrorKind>,
}

impl Gather<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        let result = self.gather(data);
        self.noting(result)
    }

    fn noting(&mut self, result: io::Result<()>) -> io::Result<()> {
        // wsgiref's handlers try again, whatever happened before.
        if self.flow != Flow::Unbuffered {
            self.broken = result.as_ref().err().map(io::Error::kind);
        }
        result
    }

    fn gather(&mut self, data: &[u8]) -> io::Result<()> {
        if self.flow == Flow::Unbuffered {
            return self.pass_on(data);
        }
        if self.gathered.len() + data.len() > GATHER {
            self.send_gathered()?;
        }
        if data.len() >= GATHER {
            self.left = true;
            return self.stdout.write_all(data);
        }
        self.gathered.extend_from_slice(data);
        Ok(())
    }

    /// wsgiref's `_write`: one call of `write`, and where that was not enough, a warning and the rest.
    fn pass_on(&mut self, data: &[u8]) -> io::Result<()> {
        self.left = true;
        let count = loop {
            match self.stdout.write(data) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let rest = data.get(count..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        log::warn!("SimpleHandler.stdout.write() should not do partial writes");
        self.stdout.write_all(rest)
    }

    fn send_gathered(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.left = true;
        let result = self.stdout.write_all(&self.gathered);
        // What could not be sent now never will: the stream is broken.
        self.gathered.clear();
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        let result = self.send_gathered().and_then(|()| self.stdout.flush());
        self.noting(result)
    }
}

struct Shared<'a, 'b>(&'a RefCell<Gather<'b>>);

impl Write for Shared<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Output for Shared<'_, '_> {
    fn set_flow(&mut self, flow: Flow) {
        self.0.borrow_mut().flow = flow;
    }

    fn rewind(&mut self) -> bool {
        let mut output = self.0.borrow_mut();
        let all_here = !output.left;
        if all_here {
            output.gathered.clear();
        }
        all_here
    }
}

/// Input that, in full duplex, sends gathered output before it may have to wait: the client may not go on before it has
/// read that.
struct FlushFirst<'a, 'b> {
    stdin: Input<'a>,
    output: &'a RefCell<Gather<'b>>,
    empty: bool,
}

impl Read for FlushFirst<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl FlushFirst<'_, '_> {
    fn before_waiting(&mut self) -> io::Result<()> {
        let mut output = self.output.borrow_mut();
        if self.empty && output.flow == Flow::Duplex && !output.gathered.is_empty() {
            output.flush()?;
        }
        Ok(())
    }
}

impl Live for FlushFirst<'_, '_> {
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        // Streams that cannot tell are waited for.
        if !matches!(self.stdin, Input::Live(_)) {
            self.before_waiting()?;
        }
        let available = self.stdin.fill_ready()?;
        self.empty = available.is_none_or(<[u8]>::is_empty);
        Ok(available)
    }

    #[cfg(unix)]
    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        self.stdin.with_descriptor(with);
    }

    fn is_whole(&self) -> bool {
        self.stdin.is_whole()
    }

    fn abandon(&mut self) {
        self.stdin.abandon();
    }
}

impl BufRead for FlushFirst<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.before_waiting()?;
        let available = self.stdin.fill_buf()?;
        self.empty = available.is_empty();
        Ok(available)
    }

    fn consume(&mut self, amount: usize) {
        // Without asking the stream again nobody knows whether it holds more; after a whole buffer it rarely does.
        self.empty |= amount > 0;
        self.stdin.consume(amount);
    }
}
