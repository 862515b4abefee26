//! Threads: one accepts for each listener, the others serve one connection each for as long as it lasts.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::drain::{Drain, Woken};
use super::notice::Notice;
use super::{Listener, Protocol, Server, Settings, Stop, Stream, fcgi, scgi};
use crate::app::Application;

/// How long a thread without a connection waits for one before it ends.
const RETIRE: Duration = Duration::from_secs(10);

/// Connections that are still accepted from one socket when the server ends. On a socket that others listen on too, new
/// ones may come for ever.
const LAST: usize = 4096;

/// What the threads of a server share.
pub(super) struct Shared {
    pub(super) app: Arc<dyn Application>,
    pub(super) settings: Settings,
    /// When connections shall be closed after the answer under way.
    pub(super) drain: Drain,
    protocol: Protocol,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Stream>,
    threads: usize,
    idle: usize,
}

/// Waits until someone closes it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn close(&self) {
        *lock(&self.closed) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        *lock(&self.closed)
    }

    fn wait(&self) {
        let closed = lock(&self.closed);
        drop(self.changed.wait_while(closed, |closed| !*closed).unwrap_or_else(PoisonError::into_inner));
    }
}

/// A panic elsewhere leaves our data as it was: every change of it is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn serve(server: Server, app: Arc<dyn Application>, stop: &Stop) -> io::Result<()> {
    let Server { protocol, listeners, settings } = server;
    let shared = Arc::new(Shared {
        app,
        settings,
        drain: Drain::new()?,
        protocol,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let mut accepting = Vec::new();
    for listener in listeners {
        let shared = Arc::clone(&shared);
        let thread = thread::Builder::new().name("accept".to_owned());
        accepting.push(thread.spawn(move || accept(&shared, &listener))?);
    }
    stop.0.wait();
    shared.drain.begin();
    // Whoever looked before that has begun to wait once this lock is free.
    drop(lock(&shared.state));
    shared.changed.notify_all();
    for thread in accepting {
        // It cannot panic; if it did, there is nothing left for it to do anyway.
        let _ = thread.join();
    }
    shared.finish()
}

/// Accepts until the server ends, then what waits in the queue; the socket is closed behind this.
fn accept(shared: &Arc<Shared>, listener: &Listener) {
    static FAILED: Notice = Notice::new();
    loop {
        match shared.drain.wait(listener.as_fd()) {
            _ if shared.drain.has_begun() => break,
            Ok(Woken::Ready | Woken::Ending) => {}
            Err(error) => shared.pause(&FAILED, listener, &error),
        }
        match listener.try_accept() {
            Ok(stream) => shared.admit(stream),
            Err(error) if passes(&error) => {}
            Err(error) => shared.pause(&FAILED, listener, &error),
        }
    }
    listener.unpublish();
    for _ in 0..LAST {
        match listener.try_accept() {
            Ok(stream) => shared.admit(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => {}
        }
    }
}

/// Whether the error is about a connection that is gone already, or that another process took.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

impl Shared {
    /// Most likely the descriptors are used up: trying again at once would only burn time.
    fn pause(&self, notice: &Notice, listener: &Listener, error: &io::Error) {
        notice.warn(format_args!("{}: cannot accept a connection: {error}", listener.description()));
        drop(self.changed.wait_timeout(lock(&self.state), Duration::from_millis(100)));
    }

    /// Whether the peer may connect; if not, its connection is closed by the caller.
    fn allows(&self, stream: &Stream) -> bool {
        static REFUSED: Notice = Notice::new();
        let Some(allow) = &self.settings.allow else { return true };
        match stream.peer_address() {
            Ok(None) => true,
            Ok(Some(peer)) if allow.allows(peer.ip()) => true,
            Ok(Some(peer)) => {
                let peer = peer.ip().to_canonical();
                REFUSED.warn(format_args!("{peer} is none of the allowed peers; its connection is closed"));
                false
            }
            // It has gone already.
            Err(_) => false,
        }
    }

    /// Gives a connection to a thread, a new one if none is idle; waits while there are as many as may be.
    fn admit(self: &Arc<Self>, stream: Stream) {
        if !self.allows(&stream) {
            return;
        }
        let mut state = lock(&self.state);
        while state.waiting.len() >= state.idle
            && state.threads >= self.settings.max_connections
            && !self.drain.has_begun()
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.push_back(stream);
        if state.waiting.len() <= state.idle || state.threads >= self.settings.max_connections {
            self.changed.notify_all();
            return;
        }
        let shared = Arc::clone(self);
        match thread::Builder::new().name("worker".to_owned()).spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.waiting.pop_back();
                log::error!("cannot start a thread: {error}; the connection is closed");
            }
            // The threads there are will come to it.
            Err(error) => log::warn!("cannot start another thread: {error}"),
        }
    }

    fn work(&self) {
        while let Some(stream) = self.next() {
            let serve = || match self.protocol {
                Protocol::FastCgi => fcgi::serve(&stream, self),
                Protocol::Scgi => scgi::serve(&stream, self),
            };
            // Applications' panics are caught where they are called; whatever else unwinds must not cost a thread.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(serve)) {
                log::error!("a connection ended in a panic of the server");
                std::mem::forget(payload);
            }
        }
    }

    /// The next connection; `None` when there was none for so long that this thread is not needed.
    fn next(&self) -> Option<Stream> {
        let mut state = lock(&self.state);
        state.idle += 1;
        // Whoever waits to hand over a connection must know; once, or idle threads would wake each other for ever.
        self.changed.notify_all();
        let until = Instant::now() + RETIRE;
        loop {
            if let Some(stream) = state.waiting.pop_front() {
                state.idle -= 1;
                return Some(stream);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.idle -= 1;
                state.threads -= 1;
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until every connection is served to its end: those without a request end by themselves.
    fn finish(&self) -> io::Result<()> {
        let until = Instant::now() + self.settings.drain_timeout;
        let mut state = lock(&self.state);
        while state.threads > state.idle || !state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let count = state.threads - state.idle + state.waiting.len();
                let message = format!(
                    "ended with {count} connections still busy after the {:?} that they were given",
                    self.settings.drain_timeout
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}
