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
    /// A connection was accepted.
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

/// In the order they came.
#[derive(Default)]
pub(super) struct Jobs {
    waiting: Mutex<VecDeque<Job>>,
    count: AtomicUsize,
}

impl Jobs {
    pub(super) fn push(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back(job);
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    pub(super) fn pop(&self) -> Option<Job> {
        if self.is_empty() {
            return None;
        }
        let mut waiting = lock(&self.waiting);
        let job = waiting.pop_front();
        self.count.store(waiting.len(), Ordering::SeqCst);
        job
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
