//! Linux: one epoll set for all workers, edge-triggered. A socket is registered once and never again: a request costs no
//! call but the wait, and that is shared by all that came together.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll as Set, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Event, Interest, ReadySet, Token, WAKE};

/// The most events of one wait.
const MOST: usize = 32;

pub(super) struct Epoll {
    set: Set,
    /// Each write is an edge, and an edge wakes one: nobody ever needs to read it.
    wake: EventFd,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let set = Set::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        set.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        Ok(Self { set, wake })
    }
}

fn asked(interest: Interest) -> EpollFlags {
    let read = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    let flags = match interest {
        Interest::Read => read,
        Interest::ReadAndWrite => read | EpollFlags::EPOLLOUT,
        Interest::Write => EpollFlags::EPOLLOUT,
        Interest::End => EpollFlags::EPOLLRDHUP,
    };
    flags | EpollFlags::EPOLLET
}

impl ReadySet for Epoll {
    fn add(&self, socket: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        Ok(self.set.add(socket, EpollEvent::new(asked(Interest::Read), token))?)
    }

    fn change(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.set.modify(socket, &mut EpollEvent::new(asked(interest), token))?)
    }

    fn rearm(&self, _: BorrowedFd<'_>, _: Token, _: Interest) {}

    /// The kernel does it when the socket is closed.
    fn remove(&self, _: BorrowedFd<'_>, _: Token) {}

    fn wait(&self, events: &mut Vec<Event>, most: usize, timeout: Option<Duration>) -> io::Result<()> {
        let mut found = [EpollEvent::empty(); MOST];
        let place = found.get_mut(..most.clamp(1, MOST)).unwrap_or_default();
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX)
        });
        let count = match self.set.wait(place, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        events.extend(found.iter().take(count).filter(|event| event.data() != WAKE).map(|event| {
            let flags = event.events();
            let gone = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Event { token: event.data(), ended: gone || flags.contains(EpollFlags::EPOLLRDHUP), gone }
        }));
        Ok(())
    }

    fn wake(&self) {
        if self.wake.write(1) == Err(Errno::EAGAIN) {
            // The counter is full after 2^64 wakes; emptied, it can be written again.
            let _ = self.wake.read();
            let _ = self.wake.write(1);
        }
    }
}
