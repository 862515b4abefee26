//! How workers get on: each for itself, and seen by the housekeeper.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How one worker gets on, for the housekeeper to see.
pub(super) struct Progress {
    /// The tick at which its work began; 0 while it waits.
    since: AtomicU64,
    /// The system's number of the thread; 0 before it runs.
    thread: AtomicI32,
}

impl Progress {
    /// Ticks after which a worker is held up.
    const HELD_UP: u64 = 2;

    /// The same where it only needs the processor, or waits for it: another one would want that, too.
    const BUSY: u64 = 20;

    /// Of a worker that begins at this tick.
    pub(super) fn new(tick: u64) -> Self {
        Self { since: AtomicU64::new(tick), thread: AtomicI32::new(0) }
    }

    /// The calling thread is the worker.
    pub(super) fn note_thread(&self) {
        self.thread.store(thread_id(), Ordering::Relaxed);
    }

    /// Work begins at this tick.
    pub(super) fn work(&self, tick: u64) {
        self.since.store(tick, Ordering::SeqCst);
    }

    pub(super) fn wait(&self) {
        self.since.store(0, Ordering::SeqCst);
    }

    /// Whether it works, and will soon come to what else there is. Where jobs are known to take their time the system is
    /// asked at once.
    pub(super) fn gets_on(&self, tick: u64, jobs_are_quick: bool) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        let begun = since + Self::HELD_UP > tick;
        match since {
            0 => false,
            _ if begun && jobs_are_quick => true,
            _ if since + Self::BUSY <= tick => false,
            _ => is_runnable(self.thread.load(Ordering::Relaxed)).unwrap_or(begun),
        }
    }
}

/// The system's number of the calling thread; 0 where it is of no use.
fn thread_id() -> i32 {
    #[cfg(target_os = "linux")]
    return nix::unistd::gettid().as_raw();
    #[cfg(not(target_os = "linux"))]
    0
}

/// Whether a thread runs, or would if there were a processor for it; `None` where the system does not tell.
fn is_runnable(thread: i32) -> Option<bool> {
    // Number, name and state are the first of it.
    let mut told = [0; 64];
    let count = File::open(format!("/proc/self/task/{thread}/stat")).ok()?.read(&mut told).ok()?;
    // The name is in brackets, and may have any.
    let state = told.get(..count)?.rsplit(|byte| *byte == b')').next()?;
    Some(state.starts_with(b" R "))
}

/// How quickly a worker has got through its jobs of late.
pub(super) struct Pace {
    began: Option<Instant>,
    jobs: u32,
    /// Goes up with each time that was slow, and down with each that was not.
    slow: u32,
    /// What the thread had used when it began, asked for only where it has been slow.
    used: Option<Used>,
}

impl Pace {
    /// Jobs that are done in so little time each are as well done by one worker, one after the other, as by several that
    /// have to be woken first.
    const QUICK: Duration = Duration::from_micros(50);

    /// Once may be the scheduler's doing.
    const OFTEN: u32 = 3;

    /// That of a worker whose colleagues have been so of late.
    pub(super) fn new(quick: bool) -> Self {
        Self { began: None, jobs: 0, slow: if quick { 0 } else { Self::OFTEN }, used: None }
    }

    /// A job begins.
    pub(super) fn go(&mut self) {
        if self.began.is_none() {
            self.began = Some(Instant::now());
            self.used = if self.slow > 0 { Used::so_far() } else { None };
        }
        self.jobs += 1;
    }

    /// No work is left. Says whether there was any.
    pub(super) fn rest(&mut self) -> bool {
        let Some(began) = self.began.take() else { return false };
        let most = Self::QUICK.saturating_mul(std::mem::take(&mut self.jobs));
        // Where others want the processor, too, one more thread that wants it helps nobody.
        let quick =
            began.elapsed() < most || self.used.take().is_some_and(|used| used.only_waited_its_turn(most));
        self.slow = match quick {
            true => self.slow.saturating_sub(1),
            false => (self.slow + 1).min(2 * Self::OFTEN),
        };
        true
    }

    pub(super) fn is_quick(&self) -> bool {
        self.slow < Self::OFTEN
    }
}

/// What a thread has used of the processor, and how often it has waited for something else.
struct Used {
    time: Duration,
    waits: libc::c_long,
}

impl Used {
    /// That of the calling thread; `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    fn so_far() -> Option<Self> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike;
        let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
        let time = (usage.user_time() + usage.system_time()).num_microseconds();
        let time = Duration::from_micros(u64::try_from(time).ok()?);
        Some(Self { time, waits: usage.voluntary_context_switches() })
    }

    #[cfg(not(target_os = "linux"))]
    fn so_far() -> Option<Self> {
        None
    }

    /// Whether less than `most` was used since then, and all other time was that of others.
    fn only_waited_its_turn(self, most: Duration) -> bool {
        Self::so_far().is_some_and(|now| now.waits == self.waits && now.time.saturating_sub(self.time) < most)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// The number of a thread that waits for as long as that is done.
    fn with_one_that_waits(with: impl FnOnce(i32)) {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let waits = thread::spawn(move || {
            tell.send(thread_id()).unwrap();
            let _ = ended.recv();
        });
        let waiting = told.recv().unwrap();
        while is_runnable(waiting) == Some(true) {
            thread::yield_now();
        }
        with(waiting);
        drop(end);
        waits.join().unwrap();
    }

    #[test]
    fn a_thread_that_waits_for_something_is_told_from_one_that_runs() {
        assert_eq!(is_runnable(thread_id()), Some(true));
        assert_eq!(is_runnable(0), None);
        with_one_that_waits(|waiting| assert_eq!(is_runnable(waiting), Some(false)));
    }

    #[test]
    fn time_that_others_had_is_not_counted_as_used() {
        let most = Duration::from_secs(60);
        let before = Used::so_far().unwrap();
        let waits = before.waits;
        assert!(Used { ..before }.only_waited_its_turn(most));
        assert!(!before.only_waited_its_turn(Duration::ZERO));
        thread::sleep(Duration::from_millis(1));
        assert!(!Used { time: Duration::ZERO, waits }.only_waited_its_turn(most));
    }

    #[test]
    fn a_worker_is_held_up_when_it_waits_and_a_while_later_when_it_does_not() {
        let progress = |thread| Progress { since: AtomicU64::new(100), thread: AtomicI32::new(thread) };
        with_one_that_waits(|waiting| {
            for (thread, tick, jobs_are_quick, gets_on) in [
                // Nothing is known of it.
                (0, 101, true, true),
                (0, 102, true, false),
                (0, 101, false, true),
                (0, 102, false, false),
                (waiting, 101, true, true),
                (waiting, 102, true, false),
                (waiting, 100, false, false),
                (thread_id(), 102, true, true),
                (thread_id(), 101, false, true),
                (thread_id(), 119, true, true),
                (thread_id(), 120, true, false),
            ] {
                assert_eq!(
                    progress(thread).gets_on(tick, jobs_are_quick),
                    gets_on,
                    "{thread} {tick} {jobs_are_quick}"
                );
            }
        });
        assert!(!Progress { since: AtomicU64::new(0), ..progress(0) }.gets_on(1, true), "it waits for work");
    }
}
