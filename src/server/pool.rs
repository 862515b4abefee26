//! Threads: one accepts for each listener, the others serve one connection each for as long as it lasts.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::notice::Notice;
use super::{Flag, Listener, Protocol, Server, Settings, Stop, Stream, fcgi, scgi};
use crate::app::Application;

/// How long a thread without a connection waits for one before it ends.
const RETIRE: Duration = Duration::from_secs(10);

/// What the threads of a server share.
pub(super) struct Shared {
    pub(super) app: Arc<dyn Application>,
    pub(super) settings: Settings,
    /// Set when connections shall be closed after the answer under way.
    pub(super) draining: Flag,
    protocol: Protocol,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Stream>,
    threads: usize,
    idle: usize,
    requests: usize,
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
        draining: Flag::default(),
        protocol,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let listeners: Vec<Arc<Listener>> = listeners.into_iter().map(Arc::new).collect();
    let mut accepting = Vec::new();
    for listener in &listeners {
        let (shared, listener) = (Arc::clone(&shared), Arc::clone(listener));
        let thread = thread::Builder::new().name("accept".to_owned());
        accepting.push(thread.spawn(move || accept(&shared, &listener))?);
    }
    stop.0.wait();
    shared.draining.set();
    shared.changed.notify_all();
    for listener in &listeners {
        listener.close();
    }
    for thread in accepting {
        // It cannot panic; if it did, there is nothing left for it to do anyway.
        let _ = thread.join();
    }
    shared.drain();
    Ok(())
}

fn accept(shared: &Arc<Shared>, listener: &Listener) {
    static FAILED: Notice = Notice::new();
    while !shared.draining.is_set() {
        match listener.accept() {
            Ok(stream) => shared.admit(stream),
            Err(_) if shared.draining.is_set() => return,
            Err(error) => {
                FAILED.warn(format_args!("{}: cannot accept a connection: {error}", listener.description()));
                // Most likely the descriptors are used up: trying again at once would only burn time.
                let state = lock(&shared.state);
                drop(shared.changed.wait_timeout(state, Duration::from_millis(100)));
            }
        }
    }
}

impl Shared {
    /// Gives a connection to a thread, a new one if none is idle; waits while there are as many as may be.
    fn admit(self: &Arc<Self>, stream: Stream) {
        let mut state = lock(&self.state);
        while state.waiting.len() >= state.idle
            && state.threads >= self.settings.max_connections
            && !self.draining.is_set()
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.push_back(stream);
        if state.waiting.len() <= state.idle {
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
            match self.protocol {
                Protocol::FastCgi => fcgi::serve(&stream, self),
                Protocol::Scgi => scgi::serve(&stream, self),
            }
        }
    }

    /// The next connection; `None` when there was none for so long that this thread is not needed.
    fn next(&self) -> Option<Stream> {
        let mut state = lock(&self.state);
        state.idle += 1;
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
            // A thread became free: whoever waits to hand over a connection must know.
            self.changed.notify_all();
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts a request as under way for as long as the result lives.
    pub(super) fn begin_request(&self) -> UnderWay<'_> {
        lock(&self.state).requests += 1;
        UnderWay(self)
    }

    fn drain(&self) {
        let until = Instant::now() + self.settings.drain_timeout;
        let mut state = lock(&self.state);
        while state.requests > 0 || !state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!(
                    "{} requests were still under way when the time for them was over",
                    state.requests
                );
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A request that the server waits for when it is stopped.
pub(super) struct UnderWay<'s>(&'s Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).requests -= 1;
        if self.0.draining.is_set() {
            self.0.changed.notify_all();
        }
    }
}
