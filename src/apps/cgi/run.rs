//! One program and its request: what goes in, what comes out, and when it is over.

use std::cell::Cell;
use std::io::{self, BufRead, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;

use super::answer::{Answer, Next};
use super::keeper::{Exit, Program, to_poll};
use super::messages::Messages;
use super::pipes::{self, Ours};
use super::settings::ProgramSettings;
use crate::app::{AppResult, BoxError};
use crate::environ::Environ;
use crate::error::{Error, Fault};

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// The same for output that fills such a read: whole pages, and two FastCGI records. Whoever reads the answer is woken half
/// as often.
const LARGE_BLOCK: usize = 120 * 1024;

/// Reads from one pipe before the others are looked at again.
const READS: usize = 8;

/// How often the client is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// How often a body is asked for that has no descriptor to wait for.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// Output is about to be followed by more, or by the end: it leaves together with what comes within this time.
const GATHER: Duration = Duration::from_millis(1);

/// The same for a head that nothing follows yet: most often its document does.
const GATHER_HEAD: Duration = Duration::from_millis(20);

/// The same once its output has ended, which most often is the end of the program.
const GATHER_END: Duration = Duration::from_millis(5);

/// After the end of its output a program ends at once, or goes on with something that nobody waits for.
const ENDING: Duration = Duration::from_millis(100);

thread_local! {
    /// The block of the last request of this thread.
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A program that runs for a request.
pub(super) struct Run<'s, 'r> {
    settings: &'s ProgramSettings,
    /// Its path, for messages.
    name: &'s [u8],
    program: Program,
    stdin: Option<PipeWriter>,
    /// What is left of a body that was kept in memory.
    memory: &'s [u8],
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    answer: Answer<'s, 'r>,
    messages: Messages,
    block: Vec<u8>,
    started: Instant,
    /// When something last went in or out.
    moved: Instant,
    /// When it last wrote something.
    wrote: Instant,
    looked: Instant,
    /// The pipe takes no more for now.
    stdin_full: bool,
    /// The two pipes have been given more room, each once it was found full.
    widened: [bool; 2],
    /// The client has sent nothing, and the pipe would take it.
    awaits_client: bool,
    /// Output was passed on that has not left.
    unsent: bool,
    exit: Option<(Exit, Instant)>,
    /// When the end of the answer was seen.
    over: Option<Instant>,
}

/// What poll has found.
#[derive(Default)]
struct Ready {
    /// Anything of the program.
    program: bool,
    stdin: bool,
    stdin_closed: bool,
    stdout: bool,
    stderr: bool,
    exit: bool,
}

/// What has to happen at some time.
#[derive(Clone, Copy)]
enum Due {
    End,
    FirstByte,
    Output,
    Request,
}

impl<'s, 'r> Run<'s, 'r> {
    pub(super) fn new(
        settings: &'s ProgramSettings,
        name: &'s [u8],
        program: Program,
        pipes: Ours,
        memory: &'s [u8],
        answer: Answer<'s, 'r>,
    ) -> Self {
        let now = Instant::now();
        let mut block = KEPT.take();
        block.resize(BLOCK, 0);
        Self {
            settings,
            name,
            program,
            stdin: pipes.stdin,
            memory,
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            answer,
            messages: Messages::new(settings.stderr),
            block,
            started: now,
            moved: now,
            wrote: now,
            looked: now,
            stdin_full: false,
            widened: [false; 2],
            awaits_client: false,
            unsent: false,
            exit: None,
            over: None,
        }
    }

    /// Pumps until the answer is over. On an error the program is ended.
    pub(super) fn pump(mut self, environ: &mut Environ<'_>) -> AppResult<Next<'r>> {
        let result = self.until_over(environ);
        self.messages.finish(environ, self.name);
        self.block.truncate(BLOCK);
        self.block.shrink_to_fit();
        KEPT.set(std::mem::take(&mut self.block));
        let failed = result.err().or_else(|| self.answer.failure().map(BoxError::from));
        let failed = failed.map(|error| self.explain(error));
        if !environ.input.is_whole() {
            environ.input.abandon();
        }
        let Self { program, answer, exit, .. } = self;
        match failed {
            // One that ended by itself is not ended, whatever it has said: what it has started lives on.
            Some(error) if exit.is_some() && is_its_fault(&error) => {
                program.release(true);
                Err(error)
            }
            Some(error) => Err(error),
            None => {
                program.release(exit.is_some());
                Ok(answer.finish())
            }
        }
    }

    fn until_over(&mut self, environ: &mut Environ<'_>) -> AppResult {
        while !self.is_over()? {
            self.feed(environ)?;
            let ready = self.wait(environ)?;
            self.stdin_full &= !ready.stdin;
            if ready.stdin_closed {
                self.close_stdin(environ);
            }
            if ready.stderr {
                self.read_stderr(environ);
            }
            if ready.stdout {
                self.read_stdout()?;
            } else if self.is_due_to_leave() && (self.over.is_none() || !ready.program) {
                self.unsent = false;
                self.answer.flush()?;
                self.moved = Instant::now();
            }
            if ready.exit {
                self.exit = self.exit.or_else(|| Some((self.program.peek()?, Instant::now())));
            }
        }
        // What was written between the last look at the pipes and the end of their program.
        self.read_stdout()?;
        self.read_stderr(environ);
        self.judge()
    }

    /// Passes on what has arrived of the body, as far as the pipe takes it.
    fn feed(&mut self, environ: &mut Environ<'_>) -> AppResult {
        self.awaits_client = false;
        while let Some(pipe) = self.stdin.as_mut().filter(|_| !self.stdin_full) {
            let kept = !self.memory.is_empty();
            let data = if kept { Some(self.memory) } else { environ.input.fill_ready()? };
            let Some(data) = data else {
                self.awaits_client = true;
                return Ok(());
            };
            if data.is_empty() {
                self.stdin = None;
                return Ok(());
            }
            match pipe.write(data) {
                Ok(count) => {
                    if kept {
                        self.memory = self.memory.get(count..).unwrap_or_default();
                    } else {
                        environ.input.consume(count);
                    }
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let [widened, _] = &mut self.widened;
                    if std::mem::replace(widened, true) || !pipes::widen(pipe) {
                        self.stdin_full = true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It reads no more, which is its own affair.
                Err(_) => self.close_stdin(environ),
            }
        }
        Ok(())
    }

    fn close_stdin(&mut self, environ: &mut Environ<'_>) {
        if self.stdin.take().is_some() {
            self.memory = &[];
            self.awaits_client = false;
            environ.input.abandon();
        }
    }

    /// Waits for anything to happen, but not beyond what is due.
    fn wait(&mut self, environ: &Environ<'_>) -> AppResult<Ready> {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            if environ.is_aborted() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has gone").into());
            }
        }
        let mut timeout = LOOK;
        if let Some((due, _)) = self.due() {
            timeout = timeout.min(due.saturating_duration_since(now));
        }
        if self.unsent && self.answer.may_leave() {
            timeout = timeout.min(match self.over {
                Some(_) => GATHER_END,
                None if self.answer.is_bare() => {
                    (self.wrote + GATHER_HEAD).saturating_duration_since(now).max(GATHER)
                }
                None => GATHER,
            });
        }
        let mut ready = Ok(Ready::default());
        match self.awaits_client {
            true => environ.input.with_descriptor(&mut |client| {
                // Without one nothing tells when there is more.
                let timeout = if client.is_none() { timeout.min(ASK_AGAIN) } else { timeout };
                ready = self.poll(client, timeout);
            }),
            false => ready = self.poll(None, timeout),
        }
        Ok(ready?)
    }

    fn poll(&self, client: Option<BorrowedFd<'_>>, timeout: Duration) -> io::Result<Ready> {
        // A pipe whose reader has gone says so unasked.
        let room = if self.stdin_full { PollFlags::POLLOUT } else { PollFlags::empty() };
        let program = self.program.descriptor().filter(|_| self.exit.is_none());
        let asked = [
            (self.stdin.as_ref().map(AsFd::as_fd), room),
            (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::POLLIN),
            (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::POLLIN),
            (program, PollFlags::POLLIN),
            (client, PollFlags::POLLIN),
        ];
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(asked.len());
        fds.extend(asked.into_iter().filter_map(|(fd, events)| Some(PollFd::new(fd?, events))));
        match poll(&mut fds, to_poll(timeout)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Those that are there, in the order in which they were asked.
        let mut found = fds.iter().filter_map(PollFd::revents);
        let mut next = |is_there: bool| match is_there {
            true => found.next().unwrap_or(PollFlags::empty()),
            false => PollFlags::empty(),
        };
        let stdin = next(self.stdin.is_some());
        let stdout = !next(self.stdout.is_some()).is_empty();
        let stderr = !next(self.stderr.is_some()).is_empty();
        let ended = !next(program.is_some()).is_empty();
        Ok(Ready {
            program: stdout || stderr || ended,
            stdin: stdin.contains(PollFlags::POLLOUT),
            stdin_closed: stdin.contains(PollFlags::POLLERR),
            stdout,
            stderr,
            // Where there is no descriptor of the program it has to be asked.
            exit: ended || (program.is_none() && self.exit.is_none()),
        })
    }

    /// Whether output that nothing more has followed can leave now.
    fn is_due_to_leave(&self) -> bool {
        self.unsent
            && self.answer.may_leave()
            && (!self.answer.is_bare() || self.wrote.elapsed() >= GATHER_HEAD || self.over.is_some())
    }

    fn read_stdout(&mut self) -> AppResult {
        for _ in 0..READS {
            let Some(pipe) = &mut self.stdout else { return Ok(()) };
            match pipe.read(&mut self.block) {
                Ok(0) => self.stdout = None,
                Ok(count) => {
                    self.answer.take(self.block.get(..count).unwrap_or_default())?;
                    let [_, widened] = &mut self.widened;
                    if count == BLOCK && !std::mem::replace(widened, true) {
                        pipes::widen(pipe);
                        self.block.resize(LARGE_BLOCK, 0);
                    }
                    self.unsent = true;
                    self.moved = Instant::now();
                    self.wrote = self.moved;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_stderr(&mut self, environ: &mut Environ<'_>) {
        for _ in 0..READS {
            let Some(pipe) = &mut self.stderr else { return };
            match pipe.read(&mut self.block) {
                Ok(count @ 1..) => {
                    let data = self.block.get(..count).unwrap_or_default();
                    self.messages.take(data, environ, self.name);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => self.stderr = None,
            }
        }
    }

    /// What comes next if nothing else happens.
    fn due(&self) -> Option<(Instant, Due)> {
        if let Some(over) = self.over {
            return Some((over + ENDING, Due::End));
        }
        if let Some((_, exit)) = self.exit {
            return Some((exit + self.settings.linger, Due::End));
        }
        let (patience, due) = match self.answer.has_begun() {
            false => (self.settings.first_byte_timeout, Due::FirstByte),
            true => (self.settings.output_timeout, Due::Output),
        };
        let next = (!patience.is_zero()).then(|| (self.moved + patience, due));
        let whole = self.settings.request_timeout;
        let last = (!whole.is_zero()).then(|| (self.started + whole, Due::Request));
        next.into_iter().chain(last).min_by_key(|(when, _)| *when)
    }

    /// Whether nothing more of the answer is waited for.
    fn is_over(&mut self) -> AppResult<bool> {
        let now = Instant::now();
        if self.over.is_none() && (self.stdout.is_none() || self.answer.is_whole()) {
            self.over = Some(now);
        }
        if self.over.is_some() && self.exit.is_some() {
            return Ok(true);
        }
        let Some((when, due)) = self.due() else { return Ok(false) };
        if now < when {
            return Ok(false);
        }
        let after = |what: &str, time: Duration, flag: &str| {
            let message = format!("{what} within {time:?} ({flag}); it is ended");
            Err(Error::new(Fault::Application, 504, message).into())
        };
        match due {
            Due::End => Ok(true),
            Due::FirstByte | Due::Output if self.awaits_client => {
                let message =
                    format!("the client sent nothing more of the body within {:?}", now - self.moved);
                Err(Error::new(Fault::Peer, 408, message).into())
            }
            Due::FirstByte => {
                after("it wrote nothing", self.settings.first_byte_timeout, "--first-byte-timeout")
            }
            Due::Output => after("it wrote nothing more", self.settings.output_timeout, "--output-timeout"),
            Due::Request => after("it did not end", self.settings.request_timeout, "--request-timeout"),
        }
    }

    /// How a program ended decides whether what it wrote is an answer.
    fn judge(&self) -> AppResult {
        match self.exit {
            Some((Exit::Signal(_), _)) if !self.answer.is_whole() => {
                let what =
                    if self.answer.has_begun() { "its answer is not whole" } else { "it wrote nothing" };
                Err(Error::new(Fault::Application, 502, what).into())
            }
            Some((exit @ (Exit::Signal(_) | Exit::Status(1..)), _)) if self.answer.has_begun() => {
                log::info!("{}: {exit}, after its answer", self.name.escape_ascii());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds to a failure of the program what an administrator wants to know of it.
    fn explain(&self, error: BoxError) -> BoxError {
        if !is_its_fault(&error) {
            return error;
        }
        let status = error.downcast_ref::<Error>().map_or(502, Error::status);
        let mut message = format!("{}: {error}", self.name.escape_ascii());
        if let Some((exit, _)) = self.exit {
            message.push_str(&format!("; {exit}"));
            if let Exit::Signal(Signal::SIGXCPU | Signal::SIGXFSZ) = exit {
                message.push_str(", a limit: see --limit-cpu and --limit-file-size");
            }
        }
        if self.program.was_full() {
            message.push_str("; it wanted more processes than --limit-processes allows");
        }
        if let Some(first) = self.messages.first() {
            message.push_str(&format!("; it said \"{}\"", String::from_utf8_lossy(first)));
        }
        Error::new(Fault::Application, status, message).into()
    }
}

fn is_its_fault(error: &BoxError) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.fault() == Fault::Application)
}
