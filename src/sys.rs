//! What only the operating system knows. The one module that may hold unsafe code; so far none is needed.

#[cfg(unix)]
use std::os::fd::BorrowedFd;

/// Whether the other end of a socket has gone for good, asked without waiting. End of file is not that: a peer may stop
/// sending and still wait for its answer.
#[cfg(unix)]
pub(crate) fn peer_has_gone(socket: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut asked = [PollFd::new(socket, PollFlags::empty())];
    match poll(&mut asked, PollTimeout::ZERO) {
        Ok(1..) => asked
            .iter()
            .filter_map(PollFd::revents)
            .any(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)),
        _ => false,
    }
}
