//! The three pipes of a program.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Our ends of the pipes, which never block.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) stdin: Option<PipeWriter>,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

/// The program's ends.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) stdin: Option<PipeReader>,
    pub(super) stdout: PipeWriter,
    pub(super) stderr: PipeWriter,
}

/// New pipes; that for the input only where one is wanted.
pub(super) fn open(with_stdin: bool) -> io::Result<(Ours, Theirs)> {
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    set_nonblocking(&stdout)?;
    set_nonblocking(&stderr)?;
    let (their_stdin, stdin) = if with_stdin {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(&writer)?;
        (Some(reader), Some(writer))
    } else {
        (None, None)
    };
    let ours = Ours { stdin, stdout, stderr };
    Ok((ours, Theirs { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr }))
}

/// An end of a pipe is an open file of its own: the other end goes on blocking. No other flag is set on a new one.
pub(super) fn set_nonblocking(end: &impl AsFd) -> io::Result<()> {
    fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Gives a pipe that was found full more room, so that the program and its gateway wait for each other less often. Says
/// whether it has: the system may have none left for us.
pub(super) fn widen(end: &impl AsFd) -> bool {
    /// Four times what a pipe has at first.
    const ROOM: i32 = 256 * 1024;
    fcntl(end, FcntlArg::F_SETPIPE_SZ(ROOM)).is_ok()
}
