//! The one thread that never runs an application: it keeps time, sees to it that somebody listens, and ends the server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::workers::{Worker, Workers};
use super::{Core, Job, LAST, lock};
use crate::server::clock::Millis;

/// How long busy workers are left alone between two looks.
const TICK: Duration = Duration::from_millis(1);

/// Between two searches for deadlines that are over, in milliseconds.
const SEARCH: Millis = 5;

/// Keeps house until the server has ended.
pub(super) fn run(core: &Arc<Core>) -> io::Result<()> {
    let mut helper = Worker::new(core, false);
    let mut ends_at = None;
    let (mut searched, mut rests) = (0, 0);
    loop {
        let seen = core.bell.seen();
        core.bell.want(true);
        let now = core.clock.now();
        if core.bell.is_closed() && ends_at.is_none() {
            ends_at = Some(core.clock.after(core.settings.drain_timeout).unwrap_or(Millis::MAX));
            drain(core, &mut helper);
        }
        if let Some(ends_at) = ends_at {
            let busy = core.count.load(Ordering::SeqCst);
            // A worker that is not waiting may have accepted a connection that is not counted yet.
            if busy == 0 && core.jobs.is_empty() && core.workers.all_wait() {
                return Ok(());
            }
            if now >= ends_at {
                let given = core.settings.drain_timeout;
                let message = format!(
                    "ended with {busy} connections still busy after the {given:?} that they were given"
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
        }
        if core.next_deadline.load(Ordering::SeqCst) <= now && now >= searched + SEARCH {
            searched = now;
            search(core, now);
        }
        let wait = if !core.workers.listens() || !core.jobs.is_empty() {
            core.bell.want(false);
            core.workers.tick();
            // A worker that finds no end of work could do with another one beside it.
            let rested = std::mem::replace(&mut rests, core.workers.rests());
            if rested == rests && !core.workers.call() && core.workers.listens() && !core.jobs.is_empty() {
                // Who left it meant to do it next, and has not come to that.
                core.set.wake();
            }
            if !core.workers.listens() {
                help(core, &mut helper);
            }
            Some(Duration::ZERO)
        } else {
            let next = core.next_deadline.load(Ordering::SeqCst).max(searched + SEARCH);
            let next =
                next.min(ends_at.map_or(Millis::MAX, |ends_at| match core.count.load(Ordering::SeqCst) {
                    0 => now + 1,
                    _ => ends_at,
                }));
            (next < Millis::MAX).then(|| core.clock.sleep_for(next.saturating_sub(now).max(1)))
        };
        core.bell.wait(seen, wait);
        if !core.bell.is_wanted() {
            // Nobody listened for a moment. Whether that lasts is seen a moment later.
            core.bell.wait(core.bell.seen(), Some(TICK));
        }
    }
}

/// Ends what is over.
fn search(core: &Arc<Core>, now: Millis) {
    core.next_deadline.store(Millis::MAX, Ordering::SeqCst);
    core.connections.for_each(|session| {
        let (next, over) = session.link().check_deadlines(now);
        core.next_deadline.fetch_min(next, Ordering::SeqCst);
        if over {
            core.visit(session);
        }
    });
    match core.retry.load(Ordering::SeqCst) {
        0 => {}
        at if at <= now => {
            core.retry.store(0, Ordering::SeqCst);
            core.look_outside();
        }
        at => {
            core.next_deadline.fetch_min(at, Ordering::SeqCst);
        }
    }
}

/// All workers are busy. If they are held up rather than quick, there should be more of them; if there may be no more,
/// their connections are read here at least.
fn help(core: &Arc<Core>, helper: &mut Worker<'_>) {
    let missing = core.workers.missing();
    if missing == 0 || core.workers.call() {
        return;
    }
    let mut events = Vec::new();
    if core.set.wait(&mut events, 32, Some(Duration::ZERO)).is_ok() {
        for event in events {
            helper.perform(Job::Turn(event));
        }
    }
    // What needs no application need not wait for a worker, either.
    for _ in 0..core.jobs.len() {
        let Some(job) = core.jobs.pop_other() else { break };
        helper.perform(job);
    }
    Workers::grow(core, missing.min(core.jobs.len()));
    turn_away(core, helper);
}

/// Requests that have waited for a worker too long are answered without one.
fn turn_away(core: &Arc<Core>, helper: &mut Worker<'_>) {
    core.jobs.note_since(core.clock.now());
    let Some(by) = core.too_long_ago() else { return };
    while let Some(job) = core.jobs.pop_since(by) {
        helper.perform(job);
    }
}

/// Empties the accept queues, closes the listeners, and has every connection looked at once more.
fn drain(core: &Arc<Core>, helper: &mut Worker<'_>) {
    core.draining.set();
    for door in &core.doors {
        let Some(listener) = lock(door).take() else { continue };
        listener.unpublish();
        for _ in 0..LAST {
            match listener.try_accept() {
                Ok(stream) => {
                    if let Some(session) = core.admit(stream) {
                        helper.perform(Job::New(session));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        core.set.remove(std::os::fd::AsFd::as_fd(&*listener), 0);
    }
    core.connections.for_each(|session| core.visit(session));
}
