//! A connection's bytes: read in large pieces, with time-outs, and closed without eating an answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::drain::{Drain, Woken};
use super::pool::Shared;
use super::{Settings, Stream};

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// Why the reader waits: each has its own patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Between requests.
    Idle,
    /// Within a head.
    Head,
    /// Within a body.
    Body,
}

/// Bytes that have arrived on a connection and were not used yet.
pub(super) struct Incoming<'s> {
    stream: &'s Stream,
    settings: &'s Settings,
    drain: &'s Drain,
    block: Vec<u8>,
    start: usize,
    end: usize,
    timeout: Option<Duration>,
    /// When the head that is being received must be whole.
    head_until: Option<Instant>,
    /// Nothing has arrived yet.
    fresh: bool,
}

impl<'s> Incoming<'s> {
    pub(super) fn new(stream: &'s Stream, shared: &'s Shared) -> Self {
        Self {
            stream,
            settings: &shared.settings,
            drain: &shared.drain,
            block: vec![0; BLOCK],
            start: 0,
            end: 0,
            timeout: None,
            head_until: None,
            fresh: true,
        }
    }

    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    /// Forgets the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Waits for more, when all that was there is used; `false` at the end of the input. For a connection between
    /// requests that is also when the server ends, and one last look shows nothing.
    pub(super) fn read_more(&mut self, patience: Patience) -> io::Result<bool> {
        if patience != Patience::Head {
            self.head_until = None;
        }
        let timeout = match patience {
            Patience::Idle => None,
            Patience::Head => Some(self.left_for_head()?),
            Patience::Body => Some(self.settings.body_timeout),
        };
        if timeout != self.timeout {
            self.stream.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        (self.start, self.end) = (0, 0);
        if patience == Patience::Idle && self.wait_idle()? == Woken::Ending {
            return Ok(false);
        }
        self.fresh = false;
        loop {
            match (&mut &*self.stream).read(&mut self.block) {
                Ok(count) => {
                    self.end = count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped sending"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Incoming<'_> {
    fn wait_idle(&self) -> io::Result<Woken> {
        match self.fresh {
            true => self.drain.wait_for_first(self.stream.as_fd()),
            false => self.drain.wait(self.stream.as_fd()),
        }
    }

    /// A head has one time-out for the whole of it, however its bytes trickle in.
    fn left_for_head(&mut self) -> io::Result<Duration> {
        let now = Instant::now();
        let until = *self.head_until.get_or_insert(now + self.settings.head_timeout);
        match until.saturating_duration_since(now) {
            Duration::ZERO => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head took too long"))
            }
            left => Ok(left),
        }
    }
}

/// Closes a connection whose peer may still be sending: a close with unread input would reset the connection and take
/// the answer with it.
pub(super) fn close_gently(stream: &Stream) {
    const PATIENCE: Duration = Duration::from_secs(2);
    const MOST: usize = 16 << 20;
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let until = Instant::now() + PATIENCE;
    let (mut dropped, mut block) = (0, [0; 8192]);
    while dropped < MOST {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match (&mut &*stream).read(&mut block) {
            Ok(0) => return,
            Ok(count) => dropped += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Closes a connection so that the peer sees a failure, not the end of an answer, where its kind of socket can say so.
pub(super) fn close_broken(stream: &Stream) {
    if let Stream::Tcp(stream) = stream {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        // Without it the close is an ordinary one: nothing more can be done.
        let _ = nix::sys::socket::setsockopt(&stream.as_fd(), nix::sys::socket::sockopt::Linger, &at_once);
    }
}

/// Writes all of `data`; a peer that does not read for too long is a broken connection.
pub(super) fn send(stream: &Stream, data: &[u8]) -> io::Result<()> {
    match (&mut &*stream).write_all(data) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading"))
        }
        other => other,
    }
}
