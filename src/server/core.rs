//! The core of every server: accepts, hands ready connections to workers, keeps time, and ends cleanly.
//!
//! A connection that waits holds no thread: it is parked in the [ready set](super::ready). A worker that hears of one
//! reads what is there and, once a request is whole, runs the application on the spot. Workers share one set, so that an
//! application that takes its time holds up nobody; the housekeeper sees to it that somebody listens, by starting more
//! workers or, where there may be no more, by reading in their place.

mod connections;
mod housekeeper;
mod jobs;
mod pace;
mod workers;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::connections::Connections;
use self::jobs::Jobs;
pub(super) use self::jobs::{Job, Serve};
use self::workers::Workers;
pub(super) use self::workers::{Spares, Worker};
use super::clock::{Clock, Millis};
use super::gate::Gate;
use super::link::Link;
use super::ready::{self, Event, ReadySet, Token};
use super::{Flag, Listener, Protocol, Server, Settings, Stop, Stream, fcgi, http, scgi};
use crate::app::Application;
use crate::notice::Notice;

/// A connection that speaks a protocol.
pub(super) trait Session: Send + Sync {
    /// Its socket.
    fn link(&self) -> &Link;

    /// Something happened: reads what is there, without waiting, and does what can be done.
    fn turn(self: Arc<Self>, worker: &mut Worker<'_>, event: Event);
}

/// What the threads of a server share.
pub(super) struct Core {
    pub(super) app: Arc<dyn Application>,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    protocol: Protocol,
    pub(super) set: Box<dyn ReadySet>,
    pub(super) connections: Connections,
    jobs: Jobs,
    workers: Workers,
    doors: Vec<Mutex<Option<Arc<Listener>>>>,
    /// Connections are waiting outside because there was no room.
    full: AtomicBool,
    /// When to try again to accept, after the system had no room.
    retry: AtomicU64,
    /// How many connections there are.
    count: AtomicUsize,
    /// Bytes of answers that wait in memory, beyond what each connection may keep.
    parked: AtomicUsize,
    /// The next moment at which a deadline may be over.
    next_deadline: AtomicU64,
    draining: Flag,
    bell: Arc<Gate>,
}

/// The first of the tokens that stand for listeners.
const DOORS: Token = 1 << 63;

/// Connections accepted in one go, before the first is served.
const AT_ONCE: usize = 16;

/// Connections that are still accepted from one socket when the server ends. On a socket that others listen on too, new
/// ones may come for ever.
const LAST: usize = 4096;

/// How long accepting rests when the system has no room, in milliseconds.
const REST: Millis = 100;

/// Bytes of answers that may wait in memory, beyond what each connection may keep.
const MOST_PARKED: usize = 64 << 20;

/// The same of one connection: an answer without end shall not take the place of all others.
const MOST_PARKED_OF_ONE: usize = 4 << 20;

/// A panic elsewhere leaves our data as it was: every change of it is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn serve(server: Server, app: Arc<dyn Application>, stop: &Stop) -> io::Result<()> {
    let Server { protocol, listeners, settings, clock } = server;
    let core = Arc::new(Core {
        app,
        clock,
        protocol,
        set: ready::open(settings.ready)?,
        connections: Connections::default(),
        jobs: Jobs::default(),
        workers: Workers::new(settings.workers),
        doors: listeners.into_iter().map(|listener| Mutex::new(Some(Arc::new(listener)))).collect(),
        full: AtomicBool::new(false),
        retry: AtomicU64::new(0),
        count: AtomicUsize::new(0),
        parked: AtomicUsize::new(0),
        next_deadline: AtomicU64::new(Millis::MAX),
        draining: Flag::default(),
        bell: Arc::clone(&stop.0),
        settings,
    });
    for (door, token) in core.doors.iter().zip(DOORS..) {
        if let Some(listener) = &*lock(door) {
            core.set.add(std::os::fd::AsFd::as_fd(&**listener), token)?;
        }
    }
    Workers::begin(&core)?;
    let result = housekeeper::run(&core);
    Workers::end(&core);
    result
}

impl Core {
    /// Whether connections shall be closed after the answer under way.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_set()
    }

    /// Gives work to whichever worker is free first.
    pub(super) fn push(&self, job: Job) {
        self.jobs.push(job);
        self.call_one();
    }

    /// Leaves work behind, besides what the calling worker does next.
    pub(super) fn leave(&self, job: Job) {
        if !self.workers.are_quick() {
            return self.push(job);
        }
        self.jobs.push(job);
        self.bell.ring_if_wanted();
    }

    /// A request that has waited for a worker since then has waited too long.
    fn too_long_ago(&self) -> Option<Millis> {
        let most = Millis::try_from(self.settings.worker_wait.as_millis()).ok().filter(|most| *most > 0)?;
        self.clock.now().checked_sub(most)
    }

    /// Whether requests wait, and all the workers that there may be are with others: who waits for a slow peer should leave
    /// that to the connection, if it can.
    pub(super) fn is_pressed(&self) -> bool {
        !self.jobs.is_empty() && !self.workers.listens() && self.workers.are_used_up()
    }

    fn call_one(&self) {
        if self.workers.listens() {
            self.set.wake();
        } else if !self.workers.call() {
            self.bell.ring_if_wanted();
        }
    }

    /// A deadline was set.
    pub(super) fn note_deadline(&self, at: Millis) {
        if self.next_deadline.fetch_min(at, Ordering::SeqCst) > at {
            self.bell.ring();
        }
    }

    pub(super) fn joined(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn left(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        if self.full.swap(false, Ordering::SeqCst) {
            self.look_outside();
        }
        if self.draining.is_set() {
            self.bell.ring();
        }
    }

    /// There may be connections to accept again.
    fn look_outside(&self) {
        for door in 0..self.doors.len() {
            self.push(Job::Accept(door));
        }
    }

    /// Accepts what waits at a door and serves it.
    fn accept(self: &Arc<Self>, door: usize, worker: &mut Worker<'_>) {
        static FULL: Notice = Notice::new();
        static FAILED: Notice = Notice::new();
        let Some(listener) = self.doors.get(door).and_then(|door| lock(door).clone()) else { return };
        let mut first = None;
        for _ in 0..AT_ONCE {
            if self.count.load(Ordering::SeqCst) >= self.settings.max_connections_or_none() {
                self.full.store(true, Ordering::SeqCst);
                // One may have left before it could know.
                if self.count.load(Ordering::SeqCst) >= self.settings.max_connections_or_none() {
                    if !listener.has_waiting() {
                        self.rest_at(door, &listener);
                        return self.begin(first, worker);
                    }
                    let most = self.settings.max_connections_or_none();
                    FULL.warn(format_args!(
                        "{}: {most} connections, as many as may be; others wait",
                        listener.description()
                    ));
                    self.evict();
                    return self.begin(first, worker);
                }
            }
            match listener.try_accept() {
                Ok(stream) => {
                    if let Some(session) = self.admit(stream)
                        && let Some(another) = first.replace(session)
                    {
                        self.leave(Job::New(another));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.rest_at(door, &listener);
                    return self.begin(first, worker);
                }
                Err(error) if passes(&error) => {}
                // The system says so without looking whether anybody waits.
                Err(_) if !listener.has_waiting() => {
                    self.rest_at(door, &listener);
                    return self.begin(first, worker);
                }
                Err(error) => {
                    // Most likely the descriptors are used up: trying again at once would only burn time, unless one of
                    // our own connections leaves.
                    self.full.store(true, Ordering::SeqCst);
                    FAILED.warn(format_args!(
                        "{}: cannot accept a connection: {error}",
                        listener.description()
                    ));
                    self.evict();
                    let at = self.clock.now() + REST;
                    self.retry.store(at, Ordering::SeqCst);
                    self.note_deadline(at);
                    return self.begin(first, worker);
                }
            }
        }
        self.leave(Job::Accept(door));
        self.begin(first, worker);
    }

    /// The next connection that comes shall find a worker.
    fn rest_at(&self, door: usize, listener: &Listener) {
        let token = DOORS + door as Token;
        self.set.rearm(std::os::fd::AsFd::as_fd(listener), token, ready::Interest::Read);
    }

    fn begin(&self, session: Option<Arc<dyn Session>>, worker: &mut Worker<'_>) {
        if let Some(session) = session {
            session.turn(worker, Event::default());
        }
    }

    /// Makes a session of a connection, if its peer may connect.
    fn admit(self: &Arc<Self>, stream: Stream) -> Option<Arc<dyn Session>> {
        static REFUSED: Notice = Notice::new();
        if let Some(allow) = &self.settings.allow {
            match stream.peer_address() {
                Ok(None) => {}
                Ok(Some(peer)) if allow.allows(peer.ip()) => {}
                Ok(Some(peer)) => {
                    let peer = peer.ip().to_canonical();
                    REFUSED
                        .warn(format_args!("{peer} is none of the allowed peers; its connection is closed"));
                    return None;
                }
                // It has gone already.
                Err(_) => return None,
            }
        }
        let link = Link::new(stream, self);
        Some(match self.protocol {
            Protocol::FastCgi => Arc::new(fcgi::Connection::new(link)),
            Protocol::Scgi => Arc::new(scgi::Connection::new(link)),
            Protocol::Http => Arc::new(http::Connection::new(link)),
        })
    }

    /// Makes room: the connection goes that has been idle for the longest time.
    fn evict(&self) {
        if let Some(session) = self.connections.longest_idle() {
            session.link().evict();
            self.visit(&*session);
        }
    }

    /// Has a worker look at a connection, whatever happens on it.
    pub(super) fn visit(&self, session: &dyn Session) {
        if let Some(token) = session.link().token() {
            self.push(Job::Turn(Event { token, ..Event::default() }));
        }
    }
}

/// Bytes of an answer that wait in memory for their peer, counted with those of all connections.
pub(super) struct Parked {
    core: Arc<Core>,
    length: usize,
}

impl Parked {
    /// `None` when too many wait already.
    pub(super) fn new(core: &Arc<Core>, length: usize) -> Option<Self> {
        let mut parked = Self { core: Arc::clone(core), length: 0 };
        parked.grow(length).then_some(parked)
    }

    /// `false` when no more may wait.
    pub(super) fn grow(&mut self, by: usize) -> bool {
        let more = |parked: usize| parked.checked_add(by).filter(|parked| *parked <= MOST_PARKED);
        if self.length.saturating_add(by) > MOST_PARKED_OF_ONE {
            return false;
        }
        let counted = self.core.parked.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        self.length += if counted { by } else { 0 };
        counted
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.core.parked.fetch_sub(self.length, Ordering::SeqCst);
    }
}

/// Whether the error is about a connection that is gone already, or that another process took.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted};
    matches!(error.kind(), Interrupted | ConnectionAborted)
}
