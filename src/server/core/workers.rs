//! Workers: threads that take what is ready, and run applications.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::{Core, DOORS, Job, lock};
use crate::environ::Vars;
use crate::handlers::Scratch;
use crate::server::ready::Event;
use crate::server::{Flag, fcgi};

/// How long a worker beyond the first ones waits for work before it ends.
const RETIRE: Duration = Duration::from_secs(10);

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// Events that a worker takes at once when nobody else is waiting for them.
const BATCH: usize = 16;

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
    waiting: AtomicUsize,
    /// Counts on while the housekeeper watches over busy workers.
    tick: AtomicU64,
    /// For each worker the tick at which its work began; 0 while it waits.
    since: Mutex<Vec<Arc<AtomicU64>>>,
    ended: Flag,
}

/// One worker's memory, used again from request to request.
pub(in crate::server) struct Worker<'c> {
    pub(in crate::server) core: &'c Arc<Core>,
    /// Whether applications may run here; the housekeeper's only reads.
    pub(in crate::server) may_run: bool,
    pub(in crate::server) block: Vec<u8>,
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
            Job::Run(connection, request) if self.may_run => connection.run(*request, self),
            Job::Serve(session) if self.may_run => session.serve(self),
            job => core.push(job),
        }));
        if let Err(payload) = done {
            log::error!("a connection ended in a panic of the server");
            std::mem::forget(payload);
            self.block.resize(BLOCK, 0);
        }
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
            waiting: AtomicUsize::new(0),
            tick: AtomicU64::new(1),
            since: Mutex::default(),
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
        let since = Arc::new(AtomicU64::new(workers.tick.load(Ordering::SeqCst)));
        lock(&workers.since).push(Arc::clone(&since));
        workers.total.fetch_add(1, Ordering::SeqCst);
        let begun = {
            let (core, since) = (Arc::clone(core), Arc::clone(&since));
            thread::Builder::new().name("worker".to_owned()).spawn(move || {
                work(&core, &since);
                core.workers.forget(&since);
                core.bell.ring();
            })
        };
        if let Err(error) = begun {
            workers.forget(&since);
            workers.total.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn forget(&self, since: &Arc<AtomicU64>) {
        lock(&self.since).retain(|other| !Arc::ptr_eq(other, since));
    }

    /// Ends all that wait. Whoever is still in an application stays there.
    pub(super) fn end(core: &Arc<Core>) {
        let workers = &core.workers;
        workers.ended.set();
        while workers.waiting() > 0 {
            let seen = core.bell.seen();
            core.set.wake();
            core.bell.wait(seen, Some(Duration::from_millis(1)));
        }
    }

    /// How many wait for work.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn all_wait(&self) -> bool {
        self.waiting() >= self.total.load(Ordering::SeqCst)
    }

    /// Time goes on for workers that are busy.
    pub(super) fn tick(&self) {
        self.tick.fetch_add(1, Ordering::SeqCst);
    }

    /// How many more workers the work needs: those that have been with one job for more than a tick do not count as
    /// busy with what is ready, and the others should be as many as at the start.
    pub(super) fn missing(&self) -> usize {
        let tick = self.tick.load(Ordering::SeqCst);
        let quick = lock(&self.since).iter().filter(|since| since.load(Ordering::SeqCst) + 2 > tick).count();
        self.first.saturating_sub(quick)
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

    /// Whether there are more than at the start.
    fn has_spare(&self) -> bool {
        self.total.load(Ordering::SeqCst) > self.first
    }

    /// Whether the caller is one too many; if so, it is not counted any more.
    fn retire(&self) -> bool {
        let fewer = |total| (total > self.first).then(|| total - 1);
        self.total.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
    }
}

fn work(core: &Arc<Core>, since: &AtomicU64) {
    let workers = &core.workers;
    let mut worker = Worker::new(core, true);
    let mut events = Vec::with_capacity(BATCH);
    loop {
        if let Some(job) = core.jobs.pop() {
            // Who has waited too long already shall not wait for this one's end.
            if !core.jobs.is_empty() {
                core.wake_one();
            }
            since.store(workers.tick.load(Ordering::Relaxed), Ordering::SeqCst);
            worker.perform(job);
            continue;
        }
        since.store(0, Ordering::SeqCst);
        let others = workers.waiting.fetch_add(1, Ordering::SeqCst);
        if workers.ended.is_set() {
            workers.waiting.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        // Whoever pushes a job looks for one who waits, after that; so one of both sees the other.
        if !core.jobs.is_empty() {
            workers.waiting.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let most = if others == 0 { BATCH } else { 1 };
        let patience = workers.has_spare().then_some(RETIRE);
        let began = patience.map(|_| Instant::now());
        let waited = core.set.wait(&mut events, most, patience);
        since.store(workers.tick.load(Ordering::Relaxed), Ordering::SeqCst);
        if workers.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            // From now on nobody listens: the housekeeper has to watch.
            core.bell.ring_if_wanted();
        }
        if let Err(error) = waited {
            log::error!("cannot wait for connections: {error}");
            thread::sleep(Duration::from_millis(100));
        }
        let mut found = events.drain(..);
        let first = found.next();
        for event in found {
            core.push(Job::Turn(event));
        }
        match first {
            Some(event) => worker.perform(Job::Turn(event)),
            None => {
                let idle = began.is_some_and(|began| began.elapsed() >= RETIRE) && core.jobs.is_empty();
                if idle && workers.retire() {
                    return;
                }
            }
        }
    }
}
