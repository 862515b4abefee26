//! The bell of the housekeeper, and the gate that a [`Stop`](super::Stop) closes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::core::lock;

#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    /// Whether the housekeeper sleeps for long and wants to hear when nobody listens any more.
    wanted: AtomicBool,
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// How often it has rung: what happens after this call ends a [`wait`](Self::wait) for it.
    pub(super) fn seen(&self) -> u64 {
        *lock(&self.rung)
    }

    pub(super) fn ring(&self) {
        let mut rung = lock(&self.rung);
        *rung = rung.wrapping_add(1);
        drop(rung);
        self.changed.notify_all();
    }

    /// Rings for one who has said that it wants to hear of this.
    pub(super) fn ring_if_wanted(&self) {
        if self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Waits until it has rung since `seen`, or the time is over.
    pub(super) fn wait(&self, seen: u64, timeout: Option<Duration>) {
        let rung = lock(&self.rung);
        let same = |rung: &mut u64| *rung == seen;
        match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(rung, timeout, same);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
            None => drop(self.changed.wait_while(rung, same).unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
