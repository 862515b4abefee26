//! What only the operating system knows. The one module that may hold unsafe code.

use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor of our own for what an inherited number stands for, closed on exec as the inherited one is from now on.
///
/// The number itself is not taken over: nobody can prove that nothing else in this process owns it.
pub(crate) fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    // Standard input, output and error stay what they are, even where one of them is closed.
    const LOWEST: c_int = 3;
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes any integer, and fails for one that is no open descriptor.
    let ours = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, LOWEST) };
    if ours < 0 {
        return Err(io::Error::last_os_error());
    }
    close_on_exec(number)?;
    // SAFETY: the call above has just opened it, so that nobody else can own it.
    Ok(unsafe { OwnedFd::from_raw_fd(ours) })
}

/// Keeps an inherited descriptor from programs that are started later.
pub(crate) fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: fcntl with F_GETFD takes any integer, and fails for one that is no open descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: as above; F_SETFD changes nothing but what an exec would do with the descriptor.
    if flags < 0 || unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How many bytes the other end of a socket has not read yet.
#[cfg(test)]
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> c_int {
    use std::os::fd::AsRawFd;
    let mut count: c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to where it is pointed, which lives for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    assert_eq!(result, 0);
    count
}

/// Adds a socket to a poller; it is to be deleted before it is closed.
pub(crate) fn watch(
    poller: &polling::Poller,
    socket: BorrowedFd<'_>,
    interest: polling::Event,
) -> io::Result<()> {
    // SAFETY: a socket that is closed while it is registered is no matter of memory: the kernel forgets it, or an event
    // arrives for a number that another descriptor has by then. Tokens of closed connections find nothing.
    unsafe { poller.add(&socket, interest) }
}

/// Removes environment variables, so that no program started later gets them; does nothing, and says `false`, where
/// another thread could be reading the environment meanwhile.
#[cfg(feature = "cli")]
pub(crate) fn forget_variables(names: &[&str]) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return false;
    }
    for name in names {
        // SAFETY: this is the process's only thread, as just counted, and only a thread can start another one; so
        // nobody reads or writes the environment during this call.
        unsafe { std::env::remove_var(name) };
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_inherited_is_a_descriptor_of_its_own_and_closed_on_exec() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let ours = inherit(reader.as_raw_fd()).unwrap();
        assert_ne!(ours.as_raw_fd(), reader.as_raw_fd());
        for fd in [&ours as &dyn AsRawFd, &reader] {
            let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
            let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
            let flags = i32::from_str_radix(&flags, 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC, 0);
        }
    }

    #[test]
    fn numbers_that_are_no_descriptors_are_errors() {
        for number in [-1, i32::MIN, 1_000_000, i32::MAX] {
            assert_eq!(inherit(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert_eq!(close_on_exec(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn variables_stay_where_another_thread_could_read_them() {
        assert!(!forget_variables(&["PATH"]), "a test has a thread of its own");
        assert!(std::env::var_os("PATH").is_some());
    }
}
