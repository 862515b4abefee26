//! `CGIHandler`: this process is a CGI program.

use std::fs::File;
use std::io::{self, BufReader};

use super::attributes::Attributes;
use super::base::BaseHandler;
use super::simple::BaseCgiHandler;
use super::streams::{Scratch, Streams, plain_streams};
use crate::environ::{Vars, read_environ};

/// The fourth rung: wired to the process's standard streams, for one request.
pub trait CgiHandler {
    /// Lends the streams of one request; the default lends the process's own.
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        process_streams(with);
    }

    /// The request's variables.
    fn base_env(&self) -> &Vars;

    /// The attributes to start from.
    fn preset(&self) -> Attributes<'static> {
        Attributes::CGI
    }
}

impl<T: CgiHandler + ?Sized> BaseCgiHandler for T {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        CgiHandler::streams(self, with);
    }

    fn base_env(&self) -> &Vars {
        CgiHandler::base_env(self)
    }

    fn preset(&self) -> Attributes<'static> {
        CgiHandler::preset(self)
    }
}

/// Lends the process's standard input, output and error.
///
/// Output bypasses Rust's line-buffered `stdout`, which would send a page line by line.
pub fn process_streams(with: &mut dyn FnMut(Streams<'_>)) {
    let mut scratch = Scratch::new();
    let mut stdin = Stdin::Unread(standard_input());
    let mut stderr = io::stderr();
    let with = &mut |mut streams: Streams<'_>| {
        streams.stdin_ends = false;
        with(streams);
    };
    match standard_output() {
        Ok(mut stdout) => plain_streams(&mut stdin, &mut stdout, &mut stderr, &mut scratch, with),
        Err(_) => plain_streams(&mut stdin, &mut io::stdout(), &mut stderr, &mut scratch, with),
    }
    #[cfg(unix)]
    drop_unread_body(stdin.into_file());
}

/// Reads what the application has left of the body, where standard input is a socket, as under Apache's `mod_cgid`:
/// ending with unread input would reset the connection, and that would eat the answer.
#[cfg(unix)]
fn drop_unread_body(stdin: Option<File>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::FileTypeExt;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(2);
    const MOST: usize = 16 << 20;
    let Some(mut stdin) = stdin else { return };
    if !stdin.metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
        return;
    }
    // The answer is whole: whoever waits for its end need not wait for this.
    let _ = nix::sys::socket::shutdown(io::stdout().as_raw_fd(), nix::sys::socket::Shutdown::Write);
    let until = Instant::now() + PATIENCE;
    let (mut dropped, mut block) = (0, vec![0; 64 * 1024]);
    while dropped < MOST {
        let left = PollTimeout::try_from(until.saturating_duration_since(Instant::now()));
        let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut readable, left.unwrap_or(PollTimeout::ZERO)).is_ok_and(|count| count > 0) {
            return;
        }
        match stdin.read(&mut block) {
            Ok(count @ 1..) => dropped += count,
            _ => return,
        }
    }
}

/// Standard input without the buffer that it would otherwise pass through twice, and with one of its own once something is
/// read: most requests have no body. A closed one has none either.
enum Stdin {
    Unread(Option<File>),
    Read(BufReader<File>),
}

impl Stdin {
    fn reader(&mut self) -> Option<&mut BufReader<File>> {
        const BLOCK: usize = 64 * 1024;
        if let Self::Unread(file) = self {
            *self = Self::Read(BufReader::with_capacity(BLOCK, file.take()?));
        }
        match self {
            Self::Unread(_) => None,
            Self::Read(reader) => Some(reader),
        }
    }

    #[cfg(unix)]
    fn into_file(self) -> Option<File> {
        match self {
            Self::Unread(file) => file,
            Self::Read(reader) => Some(reader.into_inner()),
        }
    }
}

impl io::Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader().map_or(Ok(0), |reader| reader.read(into))
    }
}

impl io::BufRead for Stdin {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader().map_or(Ok(&[]), io::BufRead::fill_buf)
    }

    fn consume(&mut self, count: usize) {
        if let Self::Read(reader) = self {
            reader.consume(count);
        }
    }
}

#[cfg(unix)]
fn standard_input() -> Option<File> {
    use std::os::fd::AsFd;
    io::stdin().as_fd().try_clone_to_owned().ok().map(File::from)
}

#[cfg(unix)]
fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn standard_input() -> Option<File> {
    use std::os::windows::io::AsHandle;
    io::stdin().as_handle().try_clone_to_owned().ok().map(File::from)
}

#[cfg(windows)]
fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    io::stdout().as_handle().try_clone_to_owned().map(File::from)
}

/// `CGIHandler()`: this process as a CGI program.
///
/// ```no_run
/// use gatewright::{app::app, handlers::{BaseHandler, Cgi}};
///
/// Cgi::new().run(&app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hi")));
/// ```
#[derive(Debug)]
pub struct Cgi {
    base_env: Vars,
    /// The handler's attributes, to change before it runs.
    pub attributes: Attributes<'static>,
}

impl Cgi {
    /// Takes the request's variables from the process environment, now.
    pub fn new() -> Self {
        Self::with_environ(read_environ())
    }

    /// Takes these variables for the request's.
    pub fn with_environ(base_env: Vars) -> Self {
        Self { base_env, attributes: Attributes::CGI }
    }
}

impl Default for Cgi {
    fn default() -> Self {
        Self::new()
    }
}

impl CgiHandler for Cgi {
    fn base_env(&self) -> &Vars {
        &self.base_env
    }

    fn preset(&self) -> Attributes<'static> {
        self.attributes
    }
}

impl BaseHandler for Cgi {}
