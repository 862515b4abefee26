//! How many programs run at once, and who waits for one to end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::ProgramSettings;

/// How often who waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// The places that programs may take.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Condvar,
    /// Zero means none.
    all: usize,
    per_script: usize,
    queue: usize,
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    scripts: HashMap<Vec<u8>, usize>,
    /// Who waits, in order, each for its script.
    waiting: VecDeque<(u64, Vec<u8>)>,
    next_ticket: u64,
}

/// A place that was taken, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    /// Empty where nobody counts scripts.
    script: Vec<u8>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    QueueFull,
    TimedOut,
    ClientGone,
}

impl Slots {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            all: settings.max_programs,
            per_script: settings.max_programs_per_script,
            queue: settings.queue,
            patience: settings.queue_timeout,
        }
    }

    /// Takes a place for a script, or waits for one, first come, first served.
    pub(super) fn take(self: &Arc<Self>, script: &[u8], gone: impl Fn() -> bool) -> Result<Slot, NoSlot> {
        let script = if self.per_script == 0 { Vec::new() } else { script.to_vec() };
        let mut state = self.lock();
        if state.waiting.is_empty() && state.admits(self, &script) {
            return Ok(self.enter(&mut state, script));
        }
        if state.waiting.len() >= self.queue {
            // A place may be free that only those who wait for another script cannot take.
            if state.is_next(self, None, &script) {
                return Ok(self.enter(&mut state, script));
            }
            return Err(NoSlot::QueueFull);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back((ticket, script.clone()));
        let until = (!self.patience.is_zero()).then(|| Instant::now() + self.patience);
        let result = loop {
            if state.is_next(self, Some(ticket), &script) {
                break Ok(());
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break Err(NoSlot::TimedOut);
            }
            let wait = left.map_or(LOOK, |left| left.min(LOOK));
            let (guard, waited) =
                self.freed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() {
                // The question may take a system call, or another lock.
                drop(state);
                let gone = gone();
                state = self.lock();
                if gone {
                    break Err(NoSlot::ClientGone);
                }
            }
        };
        state.waiting.retain(|(waiting, _)| *waiting != ticket);
        // Whoever stood behind may be next now.
        self.freed.notify_all();
        result.map(|()| self.enter(&mut state, script))
    }

    fn enter(self: &Arc<Self>, state: &mut State, script: Vec<u8>) -> Slot {
        state.running += 1;
        if self.per_script > 0 {
            *state.scripts.entry(script.clone()).or_default() += 1;
        }
        Slot { slots: Arc::clone(self), script }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admits(&self, slots: &Slots, script: &[u8]) -> bool {
        let room = slots.all == 0 || self.running < slots.all;
        room && (slots.per_script == 0
            || self.scripts.get(script).copied().unwrap_or_default() < slots.per_script)
    }

    /// Whether a ticket may enter before all others: nobody before it could.
    fn is_next(&self, slots: &Slots, ticket: Option<u64>, script: &[u8]) -> bool {
        let before = self.waiting.iter().take_while(|(waiting, _)| Some(*waiting) != ticket);
        self.admits(slots, script) && !before.into_iter().any(|(_, other)| self.admits(slots, other))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(count) = state.scripts.get_mut(&self.script) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.scripts.remove(&self.script);
            }
        }
        if !state.waiting.is_empty() {
            self.slots.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn slots(all: usize, per_script: usize, queue: usize, patience: Duration) -> Arc<Slots> {
        Arc::new(Slots::new(&ProgramSettings {
            max_programs: all,
            max_programs_per_script: per_script,
            queue,
            queue_timeout: patience,
            ..ProgramSettings::default()
        }))
    }

    fn waiting(slots: &Slots, count: usize) {
        while slots.lock().waiting.len() != count {
            thread::yield_now();
        }
    }

    #[test]
    fn a_full_house_makes_wait_and_a_full_queue_refuses() {
        let slots = slots(1, 0, 1, Duration::from_secs(60));
        let first = slots.take(b"a", || false).unwrap();
        let waiter = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.take(b"b", || false).map(drop)
        });
        waiting(&slots, 1);
        assert_eq!(slots.take(b"c", || false).unwrap_err(), NoSlot::QueueFull);
        drop(first);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert!(slots.take(b"d", || false).is_ok());
    }

    #[test]
    fn waiting_ends_with_its_time_or_its_client() {
        let slots = slots(1, 0, 5, Duration::from_millis(1));
        let first = slots.take(b"a", || false).unwrap();
        assert_eq!(slots.take(b"b", || false).unwrap_err(), NoSlot::TimedOut);
        drop(first);
        let slots = self::slots(1, 0, 5, Duration::ZERO);
        let first = slots.take(b"a", || false).unwrap();
        assert_eq!(slots.take(b"b", || true).unwrap_err(), NoSlot::ClientGone);
        assert_eq!(slots.lock().waiting.len(), 0);
        drop(first);
        assert_eq!(slots.lock().running, 0);
    }

    #[test]
    fn a_script_at_its_own_limit_holds_up_no_other_one() {
        let slots = slots(3, 1, 5, Duration::from_secs(60));
        let first = slots.take(b"a", || false).unwrap();
        let waiter = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.take(b"a", || false).map(drop)
        });
        waiting(&slots, 1);
        drop(slots.take(b"b", || false).unwrap());
        drop(first);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert!(slots.lock().scripts.is_empty());
    }

    #[test]
    fn first_come_is_first_served() {
        let slots = slots(1, 0, 5, Duration::from_secs(60));
        let first = slots.take(b"", || false).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..4)
            .map(|number| {
                let (slots, order) = (Arc::clone(&slots), Arc::clone(&order));
                let waiter = thread::spawn({
                    let slots = Arc::clone(&slots);
                    move || {
                        let slot = slots.take(b"", || false).unwrap();
                        order.lock().unwrap().push(number);
                        drop(slot);
                    }
                });
                waiting(&slots, number + 1);
                waiter
            })
            .collect();
        drop(first);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }
}
