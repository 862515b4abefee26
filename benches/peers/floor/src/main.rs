//! `floor fcgi|scgi|http PATH`: the least that a responder can do, as the limit that others are measured against.
//!
//! One thread waits for one epoll set, reads, finds the end of the request, and sends an answer that was framed
//! beforehand. There is no limit, no time-out, no error answer, no multiplexing, no pipelining: whatever it does not know
//! closes the connection. `floor fcgi|http PATH FOLDER` runs the CGI programs of a folder.

mod parse;
mod programs;

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::rc::Rc;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv, send};

use parse::{Framing, Parser, Request};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (protocol, path, folder) = match arguments.as_slice() {
        [protocol, path] => (protocol, path, None),
        [protocol, path, folder] => (protocol, path, Some(folder)),
        _ => bail!("write floor fcgi PATH, floor scgi PATH or floor http PATH, with a folder for programs"),
    };
    let framing = match protocol.as_str() {
        "fcgi" => Framing::Fcgi,
        "scgi" => Framing::Scgi,
        "http" => Framing::Http,
        _ => bail!("the protocol is fcgi, scgi or http"),
    };
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| path.clone())?;
    // std asks for a short queue.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    if let Some(folder) = folder {
        programs::serve(framing, listener, folder.into());
        return Ok(());
    }
    listener.set_nonblocking(true)?;
    Floor { framing, set: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, answers: HashMap::new() }
        .serve(&listener)
}

struct Floor {
    framing: Framing,
    set: Epoll,
    /// Framed answers by path.
    answers: HashMap<&'static [u8], Rc<Vec<u8>>>,
}

/// A connection, in the place of its descriptor's number.
struct Conn {
    socket: OwnedFd,
    parser: Parser,
    /// An answer that the socket did not take at once, and how much of it is gone.
    rest: Option<(Rc<Vec<u8>>, usize)>,
    keep: bool,
}

impl Floor {
    fn serve(mut self, listener: &UnixListener) -> anyhow::Result<()> {
        let door = listener.as_raw_fd();
        self.set.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, tag(door)))?;
        let mut conns: Vec<Option<Conn>> = Vec::new();
        let mut events = [EpollEvent::empty(); 256];
        let mut buffer = vec![0; 256 << 10];
        loop {
            let ready = match self.set.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready?,
            };
            for event in events.iter().take(ready) {
                let number = event.data() as usize;
                if number == door as usize {
                    self.accept(door, &mut conns)?;
                } else if let Some(slot) = conns.get_mut(number)
                    && let Some(conn) = slot
                    && !self.turn(conn, &mut buffer)
                {
                    *slot = None;
                }
            }
        }
    }

    fn accept(&mut self, door: RawFd, conns: &mut Vec<Option<Conn>>) -> anyhow::Result<()> {
        let fd = match accept4(door, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => return Ok(()),
            fd => fd?,
        };
        // SAFETY: accept4 has just made this descriptor, and nothing else has it.
        #[allow(unsafe_code)]
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        self.set.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, tag(fd)))?;
        let number = fd as usize;
        if conns.len() <= number {
            conns.resize_with(number + 1, || None);
        }
        conns[number] = Some(Conn { socket, parser: Parser::new(self.framing), rest: None, keep: false });
        Ok(())
    }

    /// Reads and answers what is there. False: the connection is done.
    fn turn(&mut self, conn: &mut Conn, buffer: &mut [u8]) -> bool {
        if let Some((answer, gone)) = conn.rest.take() {
            return self.send(conn, answer, gone);
        }
        let got = match recv(conn.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(Errno::EAGAIN | Errno::EINTR) => return true,
            Err(_) | Ok(0) => return false,
            Ok(got) => got,
        };
        match conn.parser.feed(&buffer[..got]) {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(request)) => self.answer(conn, &request),
        }
    }

    fn answer(&mut self, conn: &mut Conn, request: &Request) -> bool {
        let framing = self.framing;
        let answer: Rc<Vec<u8>> = match answers_of(&request.path) {
            Some((path, body)) => {
                self.answers.entry(path).or_insert_with(|| framing.frame(body).into()).clone()
            }
            None => framing.frame(request.body.to_string().as_bytes()).into(),
        };
        conn.keep = request.keep;
        self.send(conn, answer, 0)
    }

    fn send(&self, conn: &mut Conn, answer: Rc<Vec<u8>>, gone: usize) -> bool {
        let sent = match send(conn.socket.as_raw_fd(), &answer[gone..], MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => return false,
            Ok(sent) => sent,
        };
        let waiting = gone > 0;
        if gone + sent == answer.len() {
            return conn.keep && (!waiting || self.watch(conn, EpollFlags::EPOLLIN));
        }
        conn.rest = Some((answer, gone + sent));
        waiting || self.watch(conn, EpollFlags::EPOLLOUT)
    }

    fn watch(&self, conn: &Conn, what: EpollFlags) -> bool {
        let mut event = EpollEvent::new(what, tag(conn.socket.as_raw_fd()));
        self.set.modify(conn.socket.as_fd(), &mut event).is_ok()
    }
}

fn answers_of(path: &[u8]) -> Option<(&'static [u8], &'static [u8])> {
    let known: [&'static [u8]; 3] = [b"/hello", b"/64k", b"/10m"];
    let path = known.into_iter().find(|known| *known == path)?;
    Some((path, answers::fixed(path)?))
}

fn tag(fd: RawFd) -> u64 {
    fd as u64
}
