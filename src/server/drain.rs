//! The one signal that a server is ending: it wakes whoever waits for a connection, or on an idle one.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Flag;

/// How many milliseconds a new connection has for its first byte when the server ends.
const FIRST: u16 = 500;

/// Set once, when connections shall be closed after the answers under way.
#[derive(Debug)]
pub(super) struct Drain {
    begun: Flag,
    /// Closing it is what wakes those who wait for its other end.
    writer: Mutex<Option<PipeWriter>>,
    reader: PipeReader,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to read or accept, though the server may be ending too.
    Ready,
    /// There is nothing, and the server is ending.
    Ending,
}

impl Drain {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { begun: Flag::default(), writer: Mutex::new(Some(writer)), reader })
    }

    pub(super) fn begin(&self) {
        self.begun.set();
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_set()
    }

    /// Waits as [`wait`](Self::wait) does, and a little longer once the server is ending: who has just connected is
    /// about to send, and has no other connection to go to.
    pub(super) fn wait_for_first(&self, socket: BorrowedFd<'_>) -> io::Result<Woken> {
        if let Woken::Ready = self.wait(socket)? {
            return Ok(Woken::Ready);
        }
        match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], FIRST) {
            Ok(1..) => Ok(Woken::Ready),
            _ => Ok(Woken::Ending),
        }
    }

    /// Waits for something to read on a socket, or for the end of the server. Where both are there, what can be read
    /// comes first: it was sent before.
    pub(super) fn wait(&self, socket: BorrowedFd<'_>) -> io::Result<Woken> {
        let mut asked =
            [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut asked, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match asked.each_ref().map(|one| one.any().unwrap_or(true)) {
                [true, _] => return Ok(Woken::Ready),
                [false, true] => return Ok(Woken::Ending),
                [false, false] => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_wait_ends_with_input_and_with_the_server_and_input_comes_first() {
        let drain = Drain::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drain.wait(ours.as_fd()).unwrap());
            drain.begin();
            assert_eq!(waiting.join().unwrap(), Woken::Ending);
        });
        assert!(drain.has_begun());
        theirs.write_all(b"x").unwrap();
        assert_eq!(drain.wait(ours.as_fd()).unwrap(), Woken::Ready);
    }
}
