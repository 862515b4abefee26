//! Every Unix: one thread waits, through the `polling` crate, and hands what it hears to the workers by a queue.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polling::{Event as Polled, Events, Poller};

use super::{Event, Interest, ReadySet, Token};
use crate::sys;

/// Events that one wait of the thread takes.
const MOST: NonZeroUsize = NonZeroUsize::new(256).unwrap();

pub(super) struct Portable {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    poller: Poller,
    heard: Mutex<Heard>,
    changed: Condvar,
    ended: AtomicBool,
}

#[derive(Default)]
struct Heard {
    events: VecDeque<Event>,
    wakes: usize,
}

impl Portable {
    pub(super) fn new() -> io::Result<Self> {
        let inner = Arc::new(Inner {
            poller: Poller::new()?,
            heard: Mutex::default(),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let listening = Arc::clone(&inner);
        let thread = thread::Builder::new().name("poll".to_owned()).spawn(move || listening.listen())?;
        Ok(Self { inner, thread: Some(thread) })
    }
}

impl Drop for Portable {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        if self.inner.poller.notify().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn listen(&self) {
        let mut events = Events::with_capacity(MOST);
        while !self.ended.load(Ordering::SeqCst) {
            events.clear();
            if let Err(error) = self.poller.wait(&mut events, None) {
                log::error!("cannot wait for connections: {error}");
                thread::sleep(Duration::from_millis(100));
            }
            let mut heard = self.lock();
            for event in events.iter() {
                let gone = event.is_interrupt() || event.is_err() == Some(true);
                // What it hears does not say whether the peer has ended: reading to the end does.
                heard.events.push_back(Event { token: event.key as Token, ended: true, gone });
                self.changed.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asked(token: Token, interest: Interest) -> io::Result<Polled> {
    let key = usize::try_from(token).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let event = match interest {
        Interest::Read => Polled::readable(key),
        Interest::ReadAndWrite => Polled::all(key),
        Interest::Write => Polled::writable(key),
        Interest::End => Polled::none(key),
    };
    Ok(event.with_interrupt())
}

impl ReadySet for Portable {
    fn add(&self, socket: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        sys::watch(&self.inner.poller, socket, asked(token, Interest::Read)?)
    }

    fn change(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.poller.modify(socket, asked(token, interest)?)
    }

    fn rearm(&self, socket: BorrowedFd<'_>, token: Token, interest: Interest) {
        // A socket that cannot be registered again is one that was closed meanwhile.
        let _ = self.change(socket, token, interest);
    }

    fn remove(&self, socket: BorrowedFd<'_>, _: Token) {
        let _ = self.inner.poller.delete(socket);
    }

    fn wait(&self, events: &mut Vec<Event>, most: usize, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut heard = self.inner.lock();
        loop {
            if heard.wakes > 0 {
                heard.wakes -= 1;
                return Ok(());
            }
            if !heard.events.is_empty() {
                let count = most.clamp(1, heard.events.len());
                events.extend(heard.events.drain(..count));
                return Ok(());
            }
            heard = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(()),
                Some(left) => {
                    let waited = self.inner.changed.wait_timeout(heard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.inner.changed.wait(heard).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn wake(&self) {
        let mut heard = self.inner.lock();
        // One is enough: whoever comes back looks for all that there is.
        heard.wakes = 1;
        drop(heard);
        self.inner.changed.notify_one();
    }
}
