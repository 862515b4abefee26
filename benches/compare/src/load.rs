//! The load generator: one thread, one epoll set, closed loops. Each connection has one request under way and asks again
//! once it has its answer, on the same connection or on a new one.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::connect::{self, Address};
use crate::histogram::Histogram;
use crate::protocol::{Answer, Ask, Protocol};
use crate::signals;

/// What is asked, where, and how often at once.
pub struct Plan<'p> {
    pub address: &'p Address,
    pub protocol: &'p dyn Protocol,
    pub ask: &'p Ask,
    /// The folder of what is asked for, where the peer serves one.
    pub root: Option<&'p Path>,
    pub connections: usize,
    /// Many requests for a connection; else each has its own.
    pub keep: bool,
    /// One request for a connection, which then stays open.
    pub once: bool,
}

/// What was seen since the last [`Load::forget`].
#[derive(Debug, Default)]
pub struct Seen {
    pub answers: u64,
    pub latency: Histogram,
    /// Until the first byte of an answer.
    pub first: Histogram,
    /// Wrong or missing answers, by what was wrong.
    pub errors: BTreeMap<String, u64>,
    /// Kept connections that the server closed between two requests.
    pub reconnects: u64,
}

pub struct Load<'p> {
    plan: Plan<'p>,
    request: Vec<u8>,
    set: Epoll,
    conns: Vec<Conn>,
    /// Connections that could not be made yet: the server's queue is full.
    refused: Vec<usize>,
    buffer: Vec<u8>,
    seen: Seen,
}

struct Conn {
    socket: Option<OwnedFd>,
    /// Tells events of an earlier connection in this place from those of this one.
    generation: u32,
    answer: Box<dyn Answer>,
    /// Bytes of the request that are gone.
    sent: usize,
    /// When the request under way was due.
    began: Instant,
    /// Earlier requests of this very connection.
    used: u32,
    /// Of this request's answer: whether anything came, and whether it is whole.
    got: bool,
    whole: bool,
    /// Waits for room to send.
    blocked: bool,
    /// Answers since the last [`Load::forget`].
    answers: u64,
}

/// How often a server that answers nothing right is asked.
const MAX_ERRORS: u64 = 200;

/// Enough to take a whole socket buffer at once.
const BUFFER: usize = 256 << 10;

impl<'p> Load<'p> {
    /// Opens the connections, and sends the first request on each.
    pub fn new(plan: Plan<'p>) -> anyhow::Result<Self> {
        let now = Instant::now();
        let conns = (0..plan.connections).map(|_| Conn {
            socket: None,
            generation: 0,
            answer: plan.protocol.answer(),
            sent: 0,
            began: now,
            used: 0,
            got: false,
            whole: false,
            blocked: false,
            answers: 0,
        });
        let mut load = Self {
            request: plan.protocol.request(plan.ask, plan.keep, plan.root),
            set: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            conns: conns.collect(),
            refused: Vec::new(),
            buffer: vec![0; BUFFER],
            seen: Seen::default(),
            plan,
        };
        (0..load.conns.len()).for_each(|at| load.open(at));
        Ok(load)
    }

    /// Starts counting anew.
    pub fn forget(&mut self) {
        self.seen = Seen::default();
        self.conns.iter_mut().for_each(|conn| conn.answers = 0);
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Connections that got an answer.
    pub fn served(&self) -> usize {
        self.conns.iter().filter(|conn| conn.answers > 0).count()
    }

    /// The longest time that a connection has been waiting for an answer which is still not there.
    pub fn longest_wait(&self) -> Duration {
        let waiting = self.conns.iter().filter(|conn| !(self.plan.once && conn.answers > 0));
        waiting.map(|conn| conn.began.elapsed()).max().unwrap_or_default()
    }

    /// Goes on for that long, or until `enough` says so.
    ///
    /// # Errors
    /// The server answers nothing right, or the user has had enough.
    pub fn run(&mut self, time: Duration, enough: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || enough(self) {
                return Ok(());
            }
            if signals::received() {
                bail!("interrupted");
            }
            let wait = if self.refused.is_empty() { left.min(Duration::from_millis(100)) } else { RETRY };
            let wait = EpollTimeout::try_from(wait.max(RETRY)).unwrap_or(EpollTimeout::ZERO);
            let ready = match self.set.wait(&mut events, wait) {
                Err(Errno::EINTR) => continue,
                ready => ready?,
            };
            for event in &events[..ready] {
                self.ready(event);
            }
            std::mem::take(&mut self.refused).into_iter().for_each(|at| self.connect(at));
            self.give_up()?;
        }
    }

    fn give_up(&self) -> anyhow::Result<()> {
        let errors: u64 = self.seen.errors.values().sum();
        if self.seen.answers == 0 && errors > MAX_ERRORS {
            bail!("no right answer: {}", self.seen.errors.keys().next().map_or("", String::as_str));
        }
        Ok(())
    }

    /// A new connection for a new request.
    fn open(&mut self, at: usize) {
        self.conns[at].began = Instant::now();
        self.connect(at);
    }

    /// A new connection for the request under way.
    fn connect(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        conn.generation = conn.generation.wrapping_add(1);
        (conn.used, conn.sent, conn.blocked) = (0, 0, false);
        (conn.got, conn.whole) = (false, false);
        conn.answer.reset();
        conn.socket = None;
        match connect::to(self.plan.address) {
            Ok(socket) => {
                if let Err(error) = self.set.add(&socket, interest(at, conn.generation, false)) {
                    return self.fail(at, &format!("epoll: {error}"));
                }
                conn.socket = Some(socket);
                self.send(at);
            }
            Err(Errno::EAGAIN) => self.refused.push(at),
            Err(error) => {
                *self.seen.errors.entry(format!("connect: {error}")).or_default() += 1;
                self.refused.push(at);
            }
        }
    }

    fn ready(&mut self, event: &EpollEvent) {
        let (at, generation) = (event.data() as u32 as usize, (event.data() >> 32) as u32);
        if self.conns[at].generation != generation {
            return;
        }
        let flags = event.events();
        if self.conns[at].blocked && flags.contains(EpollFlags::EPOLLOUT) {
            self.send(at);
        }
        let ending = flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if ending || flags.contains(EpollFlags::EPOLLIN) {
            self.receive(at, ending);
        }
    }

    fn send(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let Some(socket) = &conn.socket else { return };
        while conn.sent < self.request.len() {
            match send(socket.as_raw_fd(), &self.request[conn.sent..], MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => conn.sent += sent,
                Err(Errno::EINTR) => {}
                // By TCP, ENOTCONN: not connected yet.
                Err(Errno::EAGAIN | Errno::ENOTCONN) => break,
                // The server has closed; what it sent before is still there to read.
                Err(_) => conn.sent = self.request.len(),
            }
        }
        let blocked = conn.sent < self.request.len();
        if blocked != conn.blocked {
            conn.blocked = blocked;
            let mut interest = interest(at, conn.generation, blocked);
            if let Err(error) = self.set.modify(socket, &mut interest) {
                self.fail(at, &format!("epoll: {error}"));
            }
        }
    }

    fn receive(&mut self, at: usize, ending: bool) {
        loop {
            let conn = &mut self.conns[at];
            let Some(socket) = &conn.socket else { return };
            let got = match recv(socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET | Errno::EPIPE) | Ok(0) => return self.ended(at),
                Err(error) => return self.fail(at, &format!("recv: {error}")),
                Ok(got) => got,
            };
            if conn.whole || (self.plan.once && conn.used > 0) {
                return self.fail(at, "bytes follow the answer");
            }
            if !conn.got {
                self.seen.first.add(conn.began.elapsed());
            }
            conn.got = true;
            match conn.answer.feed(&self.buffer[..got], self.plan.ask) {
                Err(error) => return self.fail(at, &error),
                Ok(true) if self.plan.keep => return self.answered(at),
                Ok(whole) => conn.whole = whole,
            }
            if got < self.buffer.len() && !ending {
                return;
            }
        }
    }

    /// The server has closed the connection.
    fn ended(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if self.plan.keep && conn.used > 0 && !conn.got {
            // Between two requests, as it may: the one under way goes to a new connection.
            self.seen.reconnects += 1;
            if self.plan.once {
                return conn.socket = None;
            }
            return self.connect(at);
        }
        match conn.answer.end(self.plan.ask) {
            Ok(()) => self.answered(at),
            Err(error) => self.fail(at, &error),
        }
    }

    fn answered(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let now = Instant::now();
        self.seen.answers += 1;
        self.seen.latency.add(now - conn.began);
        conn.answers += 1;
        conn.began = now;
        if !self.plan.keep {
            return self.connect(at);
        }
        conn.used += 1;
        (conn.got, conn.sent) = (false, 0);
        conn.answer.reset();
        if !self.plan.once {
            self.send(at);
        }
    }

    fn fail(&mut self, at: usize, error: &str) {
        *self.seen.errors.entry(error.to_owned()).or_default() += 1;
        self.conns[at].socket = None;
        self.conns[at].began = Instant::now();
        // Not at once: a server that fails each connection must not keep this loop from its end.
        self.refused.push(at);
    }
}

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(1);

fn interest(at: usize, generation: u32, sending: bool) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    flags.set(EpollFlags::EPOLLOUT, sending);
    EpollEvent::new(flags, u64::from(generation) << 32 | at as u64)
}
