//! A descriptor that becomes readable when told: for those who wait for something beside other descriptors.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

pub(super) struct Bell {
    reader: UnixStream,
    writer: UnixStream,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    pub(super) fn ring(&self) {
        // One that is full has rung already.
        let _ = (&self.writer).write(&[0]);
    }

    /// It has not rung since.
    pub(super) fn clear(&self) {
        let mut block = [0; 256];
        while (&self.reader).read(&mut block).is_ok_and(|count| count == block.len()) {}
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_from_ringing_to_clearing() {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let bell = Bell::new().unwrap();
        let readable =
            || poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap();
        assert_eq!(readable(), 0);
        for _ in 0..100_000 {
            bell.ring();
        }
        assert_eq!(readable(), 1);
        bell.clear();
        assert_eq!(readable(), 0);
    }
}
