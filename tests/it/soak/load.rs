//! What all peers share: whether they may begin, and what became of their requests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::peer::{self, Kind};
use crate::random::Random;

/// How a request ended, as its peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// By ABORT_REQUEST.
    Aborted,
    /// The peer left in the middle.
    Left,
    /// The gateway was about to end, and had read nothing of it.
    TurnedAway,
}

pub(super) struct Load {
    pub(super) socket: PathBuf,
    began: Instant,
    held: AtomicBool,
    over: AtomicBool,
    busy: AtomicUsize,
    ends: [AtomicU64; 4],
    kinds: [AtomicU64; Kind::ALL.len()],
    bytes: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// From when until when gateways have been about to end; the last one has no end while it lasts.
    drains: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Load {
    /// It is held until [`hold`](Self::hold) says otherwise.
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            began: Instant::now(),
            held: AtomicBool::new(true),
            over: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            ends: [const { AtomicU64::new(0) }; 4],
            kinds: [const { AtomicU64::new(0) }; Kind::ALL.len()],
            bytes: AtomicU64::new(0),
            failures: Mutex::default(),
            drains: Mutex::default(),
        }
    }

    /// Has the peers end when it is dropped, also by a failure.
    pub(super) fn ends_with_this(&self) -> impl Drop + '_ {
        struct Over<'l>(&'l Load);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        Over(self)
    }

    /// No peer begins any more.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// One peer after the other.
    pub(super) fn keep_asking(&self, number: usize, mut random: Random) {
        while !self.over.load(SeqCst) {
            self.busy.fetch_add(1, SeqCst);
            if self.held.load(SeqCst) {
                self.busy.fetch_sub(1, SeqCst);
                std::thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            let kind = Kind::ALL[(number + random.below(2)) % Kind::ALL.len()];
            self.kinds[kind as usize].fetch_add(1, SeqCst);
            if let Err(failure) = peer::ask(self, kind, &mut random) {
                self.fail(format!("{:.3?} {kind:?}: {failure}", self.began.elapsed()));
            }
            self.busy.fetch_sub(1, SeqCst);
        }
    }

    /// No peer begins while it is held; those under way come to their end.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, SeqCst);
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(SeqCst) || self.over.load(SeqCst)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.busy.load(SeqCst) == 0
    }

    /// A gateway is about to be told to end, or has ended.
    pub(super) fn drains(&self, begins: bool) {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        match drains.last_mut() {
            Some((_, end)) if !begins => *end = Some(Instant::now()),
            _ => drains.push((Instant::now(), None)),
        }
    }

    /// Whether a gateway was about to end at that moment.
    pub(super) fn was_draining(&self, at: Instant) -> bool {
        let drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        drains.iter().rev().any(|(begin, end)| *begin <= at && end.is_none_or(|end| at <= end))
    }

    pub(super) fn count(&self, end: End, bytes: usize) {
        self.ends[end as usize].fetch_add(1, SeqCst);
        self.bytes.fetch_add(bytes as u64, SeqCst);
    }

    pub(super) fn fail(&self, failure: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < 20 {
            eprintln!("failed: {failure}");
            failures.push(failure);
        }
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every kind of peer came, and every end of a request but that of being turned away, which is rare.
    pub(super) fn has_seen_all(&self) -> bool {
        let [ends @ .., _] = &self.ends;
        ends.iter().chain(&self.kinds).all(|count| count.load(SeqCst) > 0)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [answered, aborted, left, turned_away] = [0, 1, 2, 3].map(|end| self.ends[end].load(SeqCst));
        let all = answered + aborted + left + turned_away;
        let failed = self.failures().len();
        write!(
            f,
            "{all} requests, {answered} answered and checked ({} MiB both ways), {aborted} aborted, {left} left by their \
             peers, {turned_away} turned away and asked again, {failed} failed",
            self.bytes.load(SeqCst) >> 20,
        )
    }
}
