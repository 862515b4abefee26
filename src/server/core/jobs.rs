//! What is to be done and has no worker yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Session, lock};
use crate::error::Error;
use crate::server::clock::Millis;
use crate::server::fcgi;
use crate::server::ready::Event;

pub(in crate::server) enum Job {
    /// Something happened on a registered socket.
    Turn(Event),
    /// A connection was accepted, or may have more to read although nothing happens on it.
    New(Arc<dyn Session>),
    /// There may be connections to accept.
    Accept(usize),
    /// A request is whole, or long enough to begin.
    Run(Arc<fcgi::Connection>, Box<fcgi::Request>, Since),
    /// The same, where a connection has one request only.
    Serve(Arc<dyn Serve>, Since),
}

/// When the housekeeper saw first that a request waits for a worker. It looks only while workers are held up: as long as
/// they are not, nobody asks for the time.
pub(in crate::server) type Since = Option<Millis>;

/// A connection whose request may start.
pub(in crate::server) trait Serve: Send + Sync {
    fn serve(self: Arc<Self>, worker: &mut super::Worker<'_>);

    /// Answers its request with an error in the application's place, without waiting for anybody.
    fn turn_away(self: Arc<Self>, error: Error, worker: &mut super::Worker<'_>);
}

/// In the order they came. Those that need an application stand apart, so that whoever may not run any need not go through
/// them to find the others.
#[derive(Default)]
pub(super) struct Jobs {
    waiting: Mutex<Waiting>,
    count: AtomicUsize,
}

/// Each with its number, by which they are in one order.
#[derive(Default)]
struct Waiting {
    runs: VecDeque<(u64, Job)>,
    others: VecDeque<(u64, Job)>,
    next: u64,
}

impl Waiting {
    fn len(&self) -> usize {
        self.runs.len() + self.others.len()
    }
}

impl Jobs {
    pub(super) fn push(&self, job: Job) {
        self.extend(std::iter::once(job));
    }

    /// Several at once, in their order.
    pub(super) fn extend(&self, jobs: impl ExactSizeIterator<Item = Job>) {
        if jobs.len() == 0 {
            return;
        }
        let waiting = &mut *lock(&self.waiting);
        for job in jobs {
            let queue = match job {
                Job::Run(..) | Job::Serve(..) => &mut waiting.runs,
                Job::Turn(_) | Job::New(_) | Job::Accept(_) => &mut waiting.others,
            };
            queue.push_back((waiting.next, job));
            waiting.next = waiting.next.wrapping_add(1);
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// The one that has waited for the longest time.
    pub(super) fn pop(&self) -> Option<Job> {
        self.pop_where(|waiting| match (waiting.runs.front(), waiting.others.front()) {
            (Some((run, _)), Some((other, _))) if run < other => &mut waiting.runs,
            (Some(_), None) => &mut waiting.runs,
            _ => &mut waiting.others,
        })
    }

    /// The one that has waited for the longest time among those that need no application.
    pub(super) fn pop_other(&self) -> Option<Job> {
        self.pop_where(|waiting| &mut waiting.others)
    }

    /// The requests that nobody has seen waiting before wait since `now`.
    pub(super) fn note_since(&self, now: Millis) {
        for (_, job) in lock(&self.waiting).runs.iter_mut().rev() {
            match job {
                Job::Run(_, _, since @ None) | Job::Serve(_, since @ None) => *since = Some(now),
                // Those before it were seen, too.
                _ => break,
            }
        }
    }

    /// The request that has waited for the longest time, if that began at `by` or earlier.
    pub(super) fn pop_since(&self, by: Millis) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        let (Job::Run(_, _, Some(since)) | Job::Serve(_, Some(since))) = &waiting.runs.front()?.1 else {
            return None;
        };
        let job = (*since <= by).then(|| waiting.runs.pop_front())?;
        self.count.store(waiting.len(), Ordering::SeqCst);
        job.map(|(_, job)| job)
    }

    fn pop_where(&self, queue: impl FnOnce(&mut Waiting) -> &mut VecDeque<(u64, Job)>) -> Option<Job> {
        if self.is_empty() {
            return None;
        }
        let mut waiting = lock(&self.waiting);
        let job = queue(&mut waiting).pop_front();
        self.count.store(waiting.len(), Ordering::SeqCst);
        job.map(|(_, job)| job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
