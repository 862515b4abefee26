//! The ready set: which connections have something to read, for whichever worker asks next.

#[cfg(target_os = "linux")]
mod epoll;
mod portable;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::ReadyModel;

/// What a registered socket is known by.
pub(super) type Token = u64;

/// Something happened on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) token: Token,
    /// The peer will send no more, or is gone: reading goes on until it says so.
    pub(super) ended: bool,
    /// The connection is gone in both directions.
    pub(super) gone: bool,
}

/// Whether a connection waits for room to write, besides for something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    ReadAndWrite,
    /// The peer has ended its sending, or is not listened to any more.
    Write,
    /// A thread reads: only the end of the connection is told.
    End,
}

/// Sockets that wait, and threads that wait for one of them. Every change of a socket's state reaches one thread, once;
/// that thread reads until nothing is left, and says [`rearm`](ReadySet::rearm) before it turns away.
pub(super) trait ReadySet: Send + Sync {
    /// Adds a socket; what is there already counts as a change.
    fn add(&self, socket: BorrowedFd<'_>, token: Token) -> io::Result<()>;

    /// Changes what the socket waits for; what is there already counts as a change.
    fn change(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// A thread has read all there was: whatever comes from now on is a change.
    fn rearm(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest);

    /// Takes a socket out that is about to be closed.
    fn remove(&self, socket: BorrowedFd<'_>, token: Token);

    /// Waits for up to `most` changes and adds them to `events`; none when woken, or when the time is over.
    fn wait(&self, events: &mut Vec<Event>, most: usize, timeout: Option<Duration>) -> io::Result<()>;

    /// Has one thread that waits come back, now or as soon as it waits.
    fn wake(&self);
}

/// The token of the set's own descriptor.
const WAKE: Token = Token::MAX;

pub(super) fn open(model: ReadyModel) -> io::Result<Box<dyn ReadySet>> {
    match model {
        #[cfg(target_os = "linux")]
        ReadyModel::Native => Ok(Box::new(epoll::Epoll::new()?)),
        #[cfg(not(target_os = "linux"))]
        ReadyModel::Native => Ok(Box::new(portable::Portable::new()?)),
        ReadyModel::Portable => Ok(Box::new(portable::Portable::new()?)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    fn each(test: impl Fn(&dyn ReadySet)) {
        for model in [ReadyModel::Native, ReadyModel::Portable] {
            test(&*open(model).unwrap());
        }
    }

    fn next(set: &dyn ReadySet) -> Vec<Event> {
        let mut events = Vec::new();
        set.wait(&mut events, 16, LONG).unwrap();
        events
    }

    #[test]
    fn each_change_is_seen_once_and_what_was_there_before_too() {
        each(|set| {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(b"a").unwrap();
            set.add(ours.as_fd(), 7).unwrap();
            let [event] = next(set)[..] else { panic!("one event") };
            assert_eq!((event.token, event.gone), (7, false));
            ours.read_exact(&mut [0]).unwrap();
            set.rearm(ours.as_fd(), 7, Interest::Read);
            let mut events = Vec::new();
            set.wait(&mut events, 16, Some(Duration::from_millis(1))).unwrap();
            assert!(events.is_empty());
            theirs.write_all(b"b").unwrap();
            assert_eq!(next(set).first().unwrap().token, 7);
            ours.read_exact(&mut [0]).unwrap();
            set.rearm(ours.as_fd(), 7, Interest::Read);
            drop(theirs);
            let event = *next(set).first().unwrap();
            assert_eq!((event.token, event.ended), (7, true));
            set.remove(ours.as_fd(), 7);
        });
    }

    #[test]
    fn room_to_write_is_told_when_asked_for() {
        each(|set| {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            set.add(ours.as_fd(), 1).unwrap();
            set.change(ours.as_fd(), 1, Interest::ReadAndWrite).unwrap();
            assert_eq!(next(set).first().unwrap().token, 1);
            set.remove(ours.as_fd(), 1);
        });
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_reaches_one() {
        each(|set| {
            set.wake();
            assert!(next(set).is_empty());
            let woken = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        assert!(next(set).is_empty());
                        woken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        // Each passes the wake on to the next.
                        set.wake();
                    });
                }
                set.wake();
            });
            assert_eq!(woken.into_inner(), 3);
        });
    }
}
