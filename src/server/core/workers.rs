//! Workers: threads that take what is ready, and run applications.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::jobs::Since;
use super::pace::{Pace, Progress};
use super::{Core, DOORS, Job, lock};
use crate::environ::Vars;
use crate::error::{Error, Fault};
use crate::handlers::Scratch;
use crate::server::ready::Event;
use crate::server::{Flag, fcgi};

/// How long a worker beyond the first ones waits for work before it ends.
const RETIRE: Duration = Duration::from_secs(10);

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// Events that a worker takes at once when nobody else is waiting for them.
const BATCH: usize = 16;

/// Jobs after which a worker sees what else is ready. Where there is always another job nobody would listen.
const DEAF: u32 = 64;

/// So many workers are asked how they get on, to know about all.
const ASKED: usize = 32;

/// Empty vectors that a worker keeps for the next requests.
const SPARES: usize = 4;

/// What the vectors that are kept may hold.
const SPARE_SIZE: usize = 64 * 1024;

/// All workers of a server.
pub(super) struct Workers {
    /// How many there are, at the start and at most.
    first: usize,
    most: usize,
    total: AtomicUsize,
    /// Whether one of them waits for the ready set. One is enough: whoever hears of much keeps it for a moment, and a
    /// thread that need not be woken costs nothing.
    listening: AtomicBool,
    /// Those that wait to be called.
    parked: Mutex<Parked>,
    called: Condvar,
    /// Whether jobs have been done quickly of late.
    quick: AtomicBool,
    /// How often a worker has run out of work.
    rests: AtomicU64,
    /// Counts on while the housekeeper watches over busy workers.
    tick: AtomicU64,
    progress: Mutex<Vec<Arc<Progress>>>,
    ended: Flag,
}

/// Workers that nobody needs at the moment.
#[derive(Default)]
struct Parked {
    count: usize,
    /// How many of them were called and have not come yet.
    calls: usize,
}

/// One worker's memory, used again from request to request.
pub(in crate::server) struct Worker<'c> {
    pub(in crate::server) core: &'c Arc<Core>,
    /// Whether applications may run here; the housekeeper's only reads.
    pub(in crate::server) may_run: bool,
    pub(in crate::server) block: Vec<u8>,
    /// Where in the block the body of the request is that comes next.
    pub(in crate::server) ranges: Vec<(usize, usize)>,
    pub(in crate::server) scratch: Scratch,
    pub(in crate::server) buffer: Vec<u8>,
    pub(in crate::server) ready: Vec<fcgi::Request>,
    pub(in crate::server) spares: Spares,
}

/// Memory that requests are received into.
#[derive(Default)]
pub(in crate::server) struct Spares {
    bytes: Vec<Vec<u8>>,
    vars: Vec<Vars>,
}

impl Spares {
    pub(in crate::server) fn take_bytes(&mut self) -> Vec<u8> {
        self.bytes.pop().unwrap_or_default()
    }

    pub(in crate::server) fn give_bytes(&mut self, mut bytes: Vec<u8>) {
        if self.bytes.len() < SPARES && bytes.capacity() > 0 && bytes.capacity() <= SPARE_SIZE {
            bytes.clear();
            self.bytes.push(bytes);
        }
    }

    pub(in crate::server) fn take_vars(&mut self) -> Vars {
        self.vars.pop().unwrap_or_default()
    }

    pub(in crate::server) fn give_vars(&mut self, mut vars: Vars) {
        if self.vars.len() < SPARES {
            vars.clear();
            vars.shrink_to(SPARE_SIZE);
            self.vars.push(vars);
        }
    }
}

impl<'c> Worker<'c> {
    pub(super) fn new(core: &'c Arc<Core>, may_run: bool) -> Self {
        Self {
            core,
            may_run,
            block: vec![0; BLOCK],
            ranges: Vec::new(),
            scratch: Scratch::new(),
            buffer: Vec::new(),
            ready: Vec::new(),
            spares: Spares::default(),
        }
    }

    /// Does one job. Applications' panics are caught where they are called; whatever else unwinds must not cost a thread.
    pub(super) fn perform(&mut self, job: Job) {
        let core = self.core;
        let done = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Turn(event) if event.token >= DOORS => {
                core.accept(usize::try_from(event.token - DOORS).unwrap_or(usize::MAX), self);
            }
            Job::Turn(event) => {
                if let Some(session) = core.connections.get(event.token) {
                    session.link().note(event);
                    session.turn(self, event);
                }
            }
            Job::New(session) => session.turn(self, Event::default()),
            Job::Accept(door) => core.accept(door, self),
            Job::Run(connection, request, since) => match self.overdue(since) {
                Some(error) => connection.turn_away(*request, error, self),
                None if self.may_run => connection.run(*request, self),
                None => core.push(Job::Run(connection, request, since)),
            },
            Job::Serve(session, since) => match self.overdue(since) {
                Some(error) => session.turn_away(error, self),
                None if self.may_run => session.serve(self),
                None => core.push(Job::Serve(session, since)),
            },
        }));
        if let Err(payload) = done {
            log::error!("a connection ended in a panic of the server");
            std::mem::forget(payload);
            self.block.resize(BLOCK, 0);
            self.ranges.clear();
        }
    }

    /// Why a request is turned away that has waited for a worker too long: whoever asked has most likely gone elsewhere,
    /// and those behind have waited long, too.
    fn overdue(&self, since: Since) -> Option<Error> {
        since.filter(|since| self.core.too_long_ago().is_some_and(|by| *since <= by))?;
        let most = self.core.settings.worker_wait;
        let message = format!("no worker was free for a request within {most:?} (--workers, --worker-wait)");
        Some(Error::new(Fault::Gateway, 503, message))
    }
}

impl Workers {
    pub(super) fn new(most: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = if most == 0 { usize::MAX } else { most };
        Self {
            first: cores.max(2).min(most),
            most,
            total: AtomicUsize::new(0),
            listening: AtomicBool::new(false),
            parked: Mutex::default(),
            called: Condvar::new(),
            quick: AtomicBool::new(true),
            rests: AtomicU64::new(0),
            tick: AtomicU64::new(1),
            progress: Mutex::default(),
            ended: Flag::default(),
        }
    }

    pub(super) fn begin(core: &Arc<Core>) -> io::Result<()> {
        for _ in 0..core.workers.first {
            Self::start(core)?;
        }
        Ok(())
    }

    fn start(core: &Arc<Core>) -> io::Result<()> {
        let workers = &core.workers;
        let progress = Arc::new(Progress::new(workers.tick.load(Ordering::SeqCst)));
        lock(&workers.progress).push(Arc::clone(&progress));
        workers.total.fetch_add(1, Ordering::SeqCst);
        let begun = {
            let (core, progress) = (Arc::clone(core), Arc::clone(&progress));
            thread::Builder::new().name("worker".to_owned()).spawn(move || {
                work(&core, &progress);
                core.workers.forget(&progress);
                core.bell.ring();
            })
        };
        if let Err(error) = begun {
            workers.forget(&progress);
            workers.total.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn forget(&self, progress: &Arc<Progress>) {
        lock(&self.progress).retain(|other| !Arc::ptr_eq(other, progress));
    }

    /// Ends all that wait. Whoever is still in an application stays there.
    pub(super) fn end(core: &Arc<Core>) {
        core.workers.ended.set();
        while !core.workers.none_waits() {
            let seen = core.bell.seen();
            core.set.wake();
            core.workers.called.notify_all();
            core.bell.wait(seen, Some(Duration::from_millis(1)));
        }
    }

    /// Whether somebody waits for the ready set.
    pub(super) fn listens(&self) -> bool {
        self.listening.load(Ordering::SeqCst)
    }

    fn none_waits(&self) -> bool {
        !self.listens() && lock(&self.parked).count == 0
    }

    /// Whether no worker has anything to do.
    pub(super) fn all_wait(&self) -> bool {
        lock(&self.parked).count + usize::from(self.listens()) >= self.total.load(Ordering::SeqCst)
    }

    /// Calls a parked worker; `false` when there is none.
    pub(super) fn call(&self) -> bool {
        let mut parked = lock(&self.parked);
        let any = parked.count > parked.calls;
        if any {
            parked.calls += 1;
            drop(parked);
            self.called.notify_one();
        }
        any
    }

    /// Waits to be called; `false` when this worker is not needed any more.
    fn park(&self, core: &Core) -> bool {
        let until = Instant::now() + RETIRE;
        let mut parked = lock(&self.parked);
        parked.count += 1;
        // Whoever leaves a job, or stops listening, looks for a parked one after that.
        while self.listens() && core.jobs.is_empty() && parked.calls == 0 && !self.ended.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && self.retire() {
                parked.count -= 1;
                return false;
            }
            let left = if left.is_zero() { RETIRE } else { left };
            parked = self.called.wait_timeout(parked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        parked.count -= 1;
        parked.calls = parked.calls.saturating_sub(1);
        true
    }

    /// How often a worker has run out of work, to see whether any has.
    pub(super) fn rests(&self) -> u64 {
        self.rests.load(Ordering::Relaxed)
    }

    /// Whether a job that is left is soon done by the one who leaves it.
    pub(super) fn are_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// Time goes on for workers that are busy.
    pub(super) fn tick(&self) {
        self.tick.fetch_add(1, Ordering::SeqCst);
    }

    /// How many more workers the work needs: those that are held up do not count as busy with what is ready, and the
    /// others should be as many as at the start.
    pub(super) fn missing(&self) -> usize {
        let (tick, quick) = (self.tick.load(Ordering::SeqCst), self.are_quick());
        let all = lock(&self.progress);
        // Another one first each time.
        let begin = usize::try_from(tick).unwrap_or_default() % all.len().max(1);
        let some = all.iter().cycle().skip(begin).take(all.len().min(ASKED));
        let get_on = some.filter(|progress| progress.gets_on(tick, quick)).take(self.first).count();
        self.first.saturating_sub(get_on)
    }

    /// Whether there may be no more, and too few get on.
    pub(super) fn are_used_up(&self) -> bool {
        self.total.load(Ordering::SeqCst) >= self.most && self.missing() > 0
    }

    pub(super) fn grow(core: &Arc<Core>, by: usize) {
        static FAILED: crate::notice::Notice = crate::notice::Notice::new();
        for _ in 0..by {
            if core.workers.total.load(Ordering::SeqCst) >= core.workers.most {
                return;
            }
            if let Err(error) = Self::start(core) {
                FAILED.warn(format_args!("cannot start another worker: {error}"));
                return;
            }
        }
    }

    /// Whether the caller is one too many; if so, it is not counted any more.
    fn retire(&self) -> bool {
        let fewer = |total| (total > self.first).then(|| total - 1);
        self.total.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
    }
}

fn work(core: &Arc<Core>, progress: &Progress) {
    let workers = &core.workers;
    progress.note_thread();
    let mut worker = Worker::new(core, true);
    let mut events = Vec::with_capacity(BATCH);
    let mut pace = Pace::new(workers.are_quick());
    let mut deaf = 0_u32;
    loop {
        if let Some(job) = core.jobs.pop() {
            progress.work(workers.tick.load(Ordering::Relaxed));
            pace.go();
            // Where jobs take their time each has another one called, for the next job or to listen.
            if !(workers.listens() && core.jobs.is_empty()) && (workers.are_quick() || !workers.call()) {
                core.bell.ring_if_wanted();
            }
            worker.perform(job);
            deaf = deaf.wrapping_add(1);
            if deaf.is_multiple_of(DEAF) && core.set.wait(&mut events, BATCH, Some(Duration::ZERO)).is_ok() {
                core.jobs.extend(events.drain(..).map(Job::Turn));
            }
            continue;
        }
        deaf = 0;
        if pace.rest() {
            workers.quick.store(pace.is_quick(), Ordering::Relaxed);
            workers.rests.fetch_add(1, Ordering::Relaxed);
        }
        progress.wait();
        if workers.ended.is_set() {
            return;
        }
        if workers.listening.swap(true, Ordering::SeqCst) {
            if workers.park(core) {
                continue;
            }
            return;
        }
        // Whoever leaves a job looks for one who listens, after that; so one of both sees the other.
        let waited = match core.jobs.is_empty() && !workers.ended.is_set() {
            true => core.set.wait(&mut events, BATCH, None),
            false => Ok(()),
        };
        progress.work(workers.tick.load(Ordering::Relaxed));
        workers.listening.store(false, Ordering::SeqCst);
        if let Err(error) = waited {
            log::error!("cannot wait for connections: {error}");
            thread::sleep(Duration::from_millis(100));
        }
        let mut found = events.drain(..);
        let Some(first) = found.next() else { continue };
        pace.go();
        core.jobs.extend(found.map(Job::Turn));
        // From now on nobody listens. As long as jobs are quick that is no loss, and the housekeeper watches whether
        // they are.
        if pace.is_quick() || !workers.call() {
            core.bell.ring_if_wanted();
        }
        worker.perform(Job::Turn(first));
    }
}
