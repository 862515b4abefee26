//! `CGIHandler`: this process is a CGI program.

#[cfg(windows)]
use std::fs::File;
use std::io::{self, BufReader};
#[cfg(unix)]
use std::os::fd::BorrowedFd;

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
    let mut stdin = Stdin(None);
    let mut stderr = io::stderr();
    let with = &mut |mut streams: Streams<'_>| {
        streams.stdin_ends = false;
        with(streams);
    };
    plain_streams(&mut stdin, &mut standard_output(), &mut stderr, &mut scratch, with);
    #[cfg(unix)]
    drop_unread_body(standard_input());
}

/// Reads what the application has left of the body, where standard input is a socket, as under Apache's `mod_cgid`:
/// ending with unread input would reset the connection, and that would eat the answer.
#[cfg(unix)]
fn drop_unread_body(mut stdin: Standard) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::{socket, stat};
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(2);
    const MOST: usize = 16 << 20;
    let kind = |mode: stat::mode_t| stat::SFlag::from_bits_truncate(mode) & stat::SFlag::S_IFMT;
    if !stat::fstat(stdin.0).is_ok_and(|about| kind(about.st_mode) == stat::SFlag::S_IFSOCK) {
        return;
    }
    // The answer is whole: whoever waits for its end need not wait for this.
    let _ = socket::shutdown(standard_output().0.as_raw_fd(), socket::Shutdown::Write);
    let until = Instant::now() + PATIENCE;
    let (mut dropped, mut block) = (0, vec![0; 64 * 1024]);
    while dropped < MOST {
        let left = PollTimeout::try_from(until.saturating_duration_since(Instant::now()));
        let mut readable = [PollFd::new(stdin.0, PollFlags::POLLIN)];
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
/// read: most requests have no body.
struct Stdin(Option<BufReader<Standard>>);

impl Stdin {
    fn reader(&mut self) -> &mut BufReader<Standard> {
        const BLOCK: usize = 64 * 1024;
        self.0.get_or_insert_with(|| BufReader::with_capacity(BLOCK, standard_input()))
    }
}

impl io::Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader().read(into)
    }
}

impl io::BufRead for Stdin {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader().fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.reader().consume(count);
    }
}

/// One of the process's own streams, as it is: what std has for them sets up buffers, for a program that may read and write
/// nothing at all or one block.
#[cfg(unix)]
struct Standard(BorrowedFd<'static>);

#[cfg(unix)]
impl io::Read for Standard {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.0, into)?)
    }
}

#[cfg(unix)]
impl io::Write for Standard {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(self.0, data)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
fn standard_input() -> Standard {
    Standard(crate::sys::standard_input())
}

#[cfg(unix)]
fn standard_output() -> Standard {
    Standard(crate::sys::standard_output())
}

/// The same; a process may have none.
#[cfg(windows)]
struct Standard(Option<File>);

#[cfg(windows)]
impl io::Read for Standard {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |file| file.read(into))
    }
}

#[cfg(windows)]
impl io::Write for Standard {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(file) => file.write(data),
            None => io::stdout().write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(windows)]
fn standard_input() -> Standard {
    use std::os::windows::io::AsHandle;
    Standard(io::stdin().as_handle().try_clone_to_owned().ok().map(File::from))
}

#[cfg(windows)]
fn standard_output() -> Standard {
    use std::os::windows::io::AsHandle;
    Standard(io::stdout().as_handle().try_clone_to_owned().ok().map(File::from))
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
