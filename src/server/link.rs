//! A connection as the core knows it: its socket, its deadlines, and its place in the ready set.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, sendmsg};

use super::clock::Millis;
use super::core::{Core, Parked, Session, lock};
use super::ready::{Event, Interest, Token};
use super::{Flag, Stream};

/// How long a connection is read from and dropped before it is closed, and how much of it.
const LINGER: Duration = Duration::from_secs(2);
const MOST_DROPPED: usize = 16 << 20;

/// What a deadline is for. Each has a slot of its own, since several threads may wait on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The connection is parked: a head, a body or anything else is to come.
    Parked,
    /// A thread waits for input.
    Input,
    /// A thread, or the connection, waits for room to write.
    Output,
    /// Nothing is over then: a worker looks at what the thread that was to read has left in the socket.
    Look,
}

const WAITS: [Wait; 4] = [Wait::Parked, Wait::Input, Wait::Output, Wait::Look];

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Some(usize),
    /// Nothing is there yet.
    Nothing,
    /// The peer sends no more.
    End,
}

/// What else, or what less, than input finds a worker.
#[derive(Default)]
struct Wants {
    room: bool,
    /// A thread reads for all: only the end of the connection is heard of.
    quiet: bool,
}

impl Wants {
    fn interest(&self) -> Interest {
        match self {
            Wants { room: true, .. } => Interest::ReadAndWrite,
            Wants { quiet: true, .. } => Interest::End,
            _ => Interest::Read,
        }
    }
}

/// One accepted connection. Dropping it closes the socket.
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) core: Arc<Core>,
    /// 0 until the core has a place for it.
    token: AtomicU64,
    in_set: AtomicBool,
    /// Calls that cannot say themselves that they do not wait were prepared for.
    nonblocking: AtomicBool,
    wants: Mutex<Wants>,
    deadlines: [AtomicU64; 4],
    expired: AtomicU8,
    /// The peer is gone in both directions.
    gone: Flag,
    /// When, on TCP, the peer ended its sending, while a request was under way.
    half_closed: AtomicU64,
    /// That may have happened behind input that nobody had read yet.
    may_end: Flag,
    /// Since when nothing has been under way; 0 while something is.
    idle_since: AtomicU64,
    evicted: Flag,
}

impl Link {
    pub(super) fn new(stream: Stream, core: &Arc<Core>) -> Self {
        core.joined();
        Self {
            stream,
            core: Arc::clone(core),
            token: AtomicU64::new(0),
            in_set: AtomicBool::new(false),
            nonblocking: AtomicBool::new(false),
            wants: Mutex::default(),
            deadlines: [const { AtomicU64::new(0) }; 4],
            expired: AtomicU8::new(0),
            gone: Flag::default(),
            half_closed: AtomicU64::new(0),
            may_end: Flag::default(),
            idle_since: AtomicU64::new(0),
            evicted: Flag::default(),
        }
    }

    /// Reads what is there, without waiting.
    pub(super) fn receive(&self, block: &mut [u8]) -> io::Result<Received> {
        self.receive_by(block, MsgFlags::MSG_DONTWAIT)
    }

    /// Reads what is there or comes, waiting for it as [`wait_for`](Self::wait_for) does, by one call where that can be.
    pub(super) fn receive_or_wait<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        block: &mut [u8],
    ) -> io::Result<Received> {
        let most = self.core.settings.body_timeout;
        self.settle(session)?;
        loop {
            self.set_deadline(Wait::Input, self.core.clock.after(most));
            let received = self.receive_by(block, MsgFlags::empty());
            self.set_deadline(Wait::Input, None);
            self.check_expired(Wait::Input)?;
            match received? {
                // The socket is one that never waits.
                Received::Nothing => self.wait_for(session, Wait::Input, most)?,
                received => return Ok(received),
            }
        }
    }

    fn receive_by(&self, block: &mut [u8], flags: MsgFlags) -> io::Result<Received> {
        loop {
            return match recv(self.stream.as_fd().as_raw_fd(), block, flags) {
                Ok(0) => Ok(Received::End),
                Ok(count) => Ok(Received::Some(count)),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(Received::Nothing),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Writes what there is room for, without waiting; says how many bytes that was.
    pub(super) fn send_now(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_with(pieces, MsgFlags::empty())
    }

    fn send_with(&self, pieces: &[IoSlice<'_>], more: MsgFlags) -> io::Result<usize> {
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | more;
            return match sendmsg::<()>(self.stream.as_fd().as_raw_fd(), pieces, &[], flags, None) {
                Ok(count) => Ok(count),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(0),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Writes all of it, waiting for room as long as `write_timeout` allows between two pieces.
    pub(super) fn send_all<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        pieces: &mut [IoSlice<'_>],
    ) -> io::Result<()> {
        self.send_all_with(session, pieces, MsgFlags::empty())
    }

    /// The same for what a part of a file follows at once: over TCP they share a packet.
    #[cfg(target_os = "linux")]
    pub(super) fn send_ahead<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        pieces: &mut [IoSlice<'_>],
    ) -> io::Result<()> {
        self.send_all_with(session, pieces, MsgFlags::from_bits_retain(libc::MSG_MORE))
    }

    fn send_all_with<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        mut pieces: &mut [IoSlice<'_>],
        flags: MsgFlags,
    ) -> io::Result<()> {
        // Empty ones at the front are no progress.
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match self.send_with(pieces, flags)? {
                0 => self.wait_for(session, Wait::Output, self.core.settings.write_timeout)?,
                count => IoSlice::advance_slices(&mut pieces, count),
            }
        }
        Ok(())
    }

    /// Sends `pieces`, waiting for room as [`send_all`](Self::send_all) does, unless others need this thread before all have
    /// left: what is left of the pieces then is counted as parked.
    pub(super) fn send_most<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        pieces: &mut &mut [IoSlice<'_>],
    ) -> io::Result<Option<Parked>> {
        IoSlice::advance_slices(pieces, 0);
        while !pieces.is_empty() {
            let count = self.send_now(pieces)?;
            if count > 0 {
                IoSlice::advance_slices(pieces, count);
                continue;
            }
            let left = pieces.iter().map(|piece| piece.len()).sum();
            let mut parked = None;
            let give_up = &mut || {
                parked = if self.core.is_pressed() { Parked::new(&self.core, left) } else { None };
                parked.is_some()
            };
            if !self.wait(session, Wait::Output, self.core.settings.write_timeout, Some(give_up))? {
                return Ok(parked);
            }
        }
        Ok(None)
    }

    /// Has the system send `left` bytes of a file from `at` on, both moved by what has left, waiting for room as
    /// [`send_all`](Self::send_all) does. Ends early where the file has become shorter, or, with `true`, where others
    /// need this thread.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        file: &std::fs::File,
        at: &mut libc::off_t,
        left: &mut u64,
    ) -> io::Result<bool> {
        /// So much at once, so that the client is seen to read on.
        const PIECE: u64 = 1 << 20;
        while *left > 0 {
            match self.send_file_now(file, at, (*left).min(PIECE))? {
                Some(0) => break,
                Some(count) => {
                    *left = left.saturating_sub(count);
                    self.note_output();
                }
                None => {
                    let give_up = &mut || self.core.is_pressed();
                    if !self.wait(session, Wait::Output, self.core.settings.write_timeout, Some(give_up))? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Has the system send up to `most` bytes of a file, without waiting; `None` when there is no room.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file_now(
        &self,
        file: &std::fs::File,
        at: &mut libc::off_t,
        most: u64,
    ) -> io::Result<Option<u64>> {
        // All other calls say each time that they do not wait; this one cannot.
        if !self.nonblocking.swap(true, Ordering::Relaxed) {
            self.stream.set_nonblocking()?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        loop {
            return match nix::sys::sendfile::sendfile(self.stream.as_fd(), file, Some(at), most) {
                Ok(count) => Ok(Some(count as u64)),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Has the calling thread wait for input or for room; the housekeeper ends the wait when its time is over.
    pub(super) fn wait_for<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        wait: Wait,
        most: Duration,
    ) -> io::Result<()> {
        self.wait(session, wait, most, None).map(drop)
    }

    /// The same, but with `false` it ends early: `give_up`, which is asked now and then, has said so.
    fn wait<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        wait: Wait,
        most: Duration,
        mut give_up: Option<&mut dyn FnMut() -> bool>,
    ) -> io::Result<bool> {
        /// In milliseconds.
        const ASK: u8 = 100;
        self.settle(session)?;
        self.set_deadline(wait, self.core.clock.after(most));
        let flags = if wait == Wait::Output { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let timeout = if give_up.is_some() { PollTimeout::from(ASK) } else { PollTimeout::NONE };
        let result = loop {
            match poll(&mut [PollFd::new(self.stream.as_fd(), flags)], timeout) {
                Ok(0) if give_up.as_mut().is_some_and(|give_up| give_up()) => break Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Err(error) => break Err(error.into()),
                Ok(_) => break Ok(true),
            }
        };
        self.set_deadline(wait, None);
        self.check_expired(wait)?;
        result
    }

    fn check_expired(&self, wait: Wait) -> io::Result<()> {
        if !self.has_expired(wait) {
            return Ok(());
        }
        let what = if wait == Wait::Output { "the peer stopped reading" } else { "the peer stopped sending" };
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    /// Gives the connection a place where the housekeeper finds it.
    fn settle<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<Token> {
        match self.token.load(Ordering::Acquire) {
            0 => {
                let token = self.core.connections.insert(Arc::<S>::clone(session))?;
                self.token.store(token, Ordering::SeqCst);
                // Draining begins with a look at all that have a place; one of both sees the other.
                if self.core.is_draining() {
                    self.core.visit(&**session);
                }
                Ok(token)
            }
            token => Ok(token),
        }
    }

    /// Whether what happens on it finds a worker.
    pub(super) fn is_in_set(&self) -> bool {
        self.in_set.load(Ordering::Acquire)
    }

    /// Puts the connection into the ready set, once: what happens on it finds a worker from now on.
    pub(super) fn enter_set<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<()> {
        if self.is_in_set() {
            return Ok(());
        }
        let _changing = lock(&self.wants);
        self.enter_set_once(session)
    }

    /// Under the lock of `wants`: nobody may change an entry that is not made yet.
    fn enter_set_once<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<()> {
        if self.is_in_set() {
            return Ok(());
        }
        let token = self.settle(session)?;
        self.core.set.add(self.stream.as_fd(), token)?;
        self.in_set.store(true, Ordering::Release);
        Ok(())
    }

    /// Everything there was has been read: the next change shall find a worker.
    pub(super) fn park<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<()> {
        let mut wants = lock(&self.wants);
        if !self.is_in_set() {
            return self.enter_set_once(session);
        }
        let token = self.token.load(Ordering::Acquire);
        if std::mem::take(&mut wants.quiet) {
            return self.core.set.change(self.stream.as_fd(), token, wants.interest());
        }
        self.core.set.rearm(self.stream.as_fd(), token, wants.interest());
        Ok(())
    }

    /// A thread reads, and is about to wait: nobody else need hear of input, where the ready set can be told so.
    pub(super) fn quieten_for_reader(&self) -> io::Result<()> {
        if self.core.set.tells_each_change() { self.quieten() } else { Ok(()) }
    }

    /// A thread has read, and reads on: what is told by single events is told again.
    pub(super) fn rearm_for_reader<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<()> {
        if self.core.set.tells_each_change() || !self.is_in_set() { Ok(()) } else { self.park(session) }
    }

    /// Has input find no worker until the connection is parked again.
    pub(super) fn quieten(&self) -> io::Result<()> {
        let mut wants = lock(&self.wants);
        if !self.is_in_set() || std::mem::replace(&mut wants.quiet, true) || wants.room {
            return Ok(());
        }
        let token = self.token.load(Ordering::Acquire);
        self.core.set.change(self.stream.as_fd(), token, wants.interest())
    }

    /// There may be more to read: a worker shall hear of that once more, after those who are ready already.
    pub(super) fn park_again<S: Session + 'static>(&self, session: &Arc<S>) -> io::Result<()> {
        let mut wants = lock(&self.wants);
        if !self.is_in_set() {
            return self.enter_set_once(session);
        }
        wants.quiet = false;
        self.core.set.change(self.stream.as_fd(), self.token.load(Ordering::Acquire), wants.interest())
    }

    /// Nothing more is read: only room to write shall find a worker, if it is waited for.
    pub(super) fn park_deaf(&self) {
        if lock(&self.wants).room {
            let token = self.token.load(Ordering::Acquire);
            self.core.set.rearm(self.stream.as_fd(), token, Interest::Write);
        }
    }

    /// Whether room to write shall find a worker, too. That is asked for under a lock: of several threads that say so,
    /// the last one knows best.
    pub(super) fn want_room<S: Session + 'static>(
        &self,
        session: &Arc<S>,
        wanted: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let mut wants = lock(&self.wants);
        let wanted = wanted();
        if std::mem::replace(&mut wants.room, wanted) == wanted {
            return Ok(());
        }
        self.enter_set_once(session)?;
        self.core.set.change(self.stream.as_fd(), self.token.load(Ordering::Acquire), wants.interest())
    }

    pub(super) fn set_deadline(&self, wait: Wait, at: Option<Millis>) {
        let [parked, input, output, look] = &self.deadlines;
        let slot = match wait {
            Wait::Parked => parked,
            Wait::Input => input,
            Wait::Output => output,
            Wait::Look => look,
        };
        slot.store(at.unwrap_or(0), Ordering::SeqCst);
        if let Some(at) = at {
            self.core.note_deadline(at);
        }
    }

    /// Marks what is over; gives the next deadline, and whether something has expired now.
    pub(super) fn check_deadlines(&self, now: Millis) -> (Millis, bool) {
        let (mut next, mut over) = (Millis::MAX, false);
        for (wait, slot) in WAITS.into_iter().zip(&self.deadlines) {
            match slot.load(Ordering::SeqCst) {
                0 => {}
                at if at <= now => {
                    if slot.compare_exchange(at, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        self.expired.fetch_or(1 << wait as u8, Ordering::SeqCst);
                        // It ends the waits of threads.
                        if matches!(wait, Wait::Input | Wait::Output) {
                            let _ = self.stream.shutdown(Shutdown::Both);
                        }
                        over = true;
                    }
                }
                at => next = next.min(at),
            }
        }
        (next, over)
    }

    pub(super) fn has_expired(&self, wait: Wait) -> bool {
        self.expired.load(Ordering::SeqCst) & (1 << wait as u8) != 0
    }

    /// What was waited for has come at the last moment.
    pub(super) fn forgive(&self, wait: Wait) {
        self.expired.fetch_and(!(1 << wait as u8), Ordering::SeqCst);
    }

    /// What the ready set said about the whole connection.
    pub(super) fn note(&self, event: Event) {
        if event.gone {
            self.gone.set();
        }
    }

    /// The peer has ended its sending while a request is under way.
    pub(super) fn note_half_close(&self) {
        let _ =
            self.half_closed.compare_exchange(0, self.core.clock.now(), Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Something happened, and a request is under way whose thread does not read: it may be that the peer has ended its
    /// sending. What follows is heard of by itself where the ready set tells each change. Where it tells one, it is asked for
    /// the next: any, or only the end if there is unread input, of which it would tell for ever.
    pub(super) fn look_for_end<S: Session + 'static>(&self, session: &Arc<S>, event: Event) {
        // Whoever has just put it there is heard of before that one knows.
        let is_in_set = || {
            let _changing = lock(&self.wants);
            self.is_in_set()
        };
        let asks = !self.core.set.tells_each_change() && is_in_set();
        if !event.ended && !asks {
            return;
        }
        let seen = self.peek();
        if asks {
            let _ = if seen == Err(Errno::EAGAIN) { self.park(session) } else { self.quieten() };
        }
    }

    /// Looks whether there is input, or its end.
    fn peek(&self) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        let seen = recv(self.stream.as_fd().as_raw_fd(), &mut [0], flags);
        match seen {
            Ok(0) => self.note_half_close(),
            Ok(_) => self.may_end.set(),
            Err(_) => {}
        }
        seen
    }

    /// Something was sent: whoever has ended its sending still listens.
    pub(super) fn note_output(&self) {
        if self.half_closed.load(Ordering::Relaxed) != 0 {
            self.half_closed.store(self.core.clock.now(), Ordering::Relaxed);
        }
    }

    /// Whether the peer is gone: in both directions, or, on TCP, half and silent for too long.
    pub(super) fn is_gone(&self) -> bool {
        if self.gone.is_set() {
            return true;
        }
        let grace = self.core.settings.half_close_grace;
        match (&self.stream, self.half_closed.load(Ordering::Relaxed)) {
            (Stream::Unix(_), _) => false,
            _ if grace.is_zero() => false,
            (_, 0) => {
                // It was not told apart from what came before it, and is told once only.
                if self.may_end.is_set() {
                    let _ = self.peek();
                }
                false
            }
            (Stream::Tcp(_), since) => {
                let silent = Duration::from_millis(self.core.clock.now().saturating_sub(since));
                silent >= grace
            }
        }
    }

    /// Nothing is under way from now on, or something is.
    pub(super) fn set_idle(&self, idle: bool) {
        self.set_idle_since(if idle { self.core.clock.now() } else { 0 });
    }

    /// The same for who has just looked at the clock; 0 while something is under way.
    pub(super) fn set_idle_since(&self, since: Millis) {
        self.idle_since.store(since, Ordering::Relaxed);
    }

    /// Since when nothing has been under way; 0 while something is.
    pub(super) fn idle_since(&self) -> Millis {
        self.idle_since.load(Ordering::Relaxed)
    }

    /// Its place is needed, unless something comes at this very moment.
    pub(super) fn evict(&self) {
        self.evicted.set();
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.is_set()
    }

    pub(super) fn token(&self) -> Option<Token> {
        match self.token.load(Ordering::SeqCst) {
            0 => None,
            token => Some(token),
        }
    }

    /// The core forgets the connection; it is closed when the last thread turns away from it.
    pub(super) fn leave(&self) {
        let token = self.token.load(Ordering::Acquire);
        if token == 0 {
            return;
        }
        if self.in_set.load(Ordering::Acquire) {
            self.core.set.remove(self.stream.as_fd(), token);
        }
        self.core.connections.remove(token);
    }

    /// Ends the sending, before a close: with unread input that would reset the connection, and take the answer with it.
    /// [`linger`](Self::linger) follows; `false` when there is nothing to wait for.
    pub(super) fn shut(&self) -> bool {
        let open = self.stream.shutdown(Shutdown::Write).is_ok();
        if open {
            self.set_deadline(Wait::Parked, self.core.clock.after(LINGER));
        }
        open
    }

    /// Reads and drops what the peer still sends; `true` while more may come, and the connection is parked for it.
    pub(super) fn linger<S: Session + 'static>(&self, session: &Arc<S>, dropped: &mut usize) -> bool {
        let mut block = [0; 8192];
        while !self.has_expired(Wait::Parked) && *dropped < MOST_DROPPED {
            match self.receive(&mut block) {
                Ok(Received::Some(count)) => *dropped += count,
                Ok(Received::Nothing) => return self.park(session).is_ok(),
                _ => break,
            }
        }
        false
    }

    /// Has a close reset the connection, so that the peer sees a failure and not the end of an answer, where its kind of
    /// socket can say so.
    pub(super) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
            // Without it the close is an ordinary one: nothing more can be done.
            let _ =
                nix::sys::socket::setsockopt(&stream.as_fd(), nix::sys::socket::sockopt::Linger, &at_once);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.core.left();
    }
}
