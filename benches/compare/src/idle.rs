//! What idle kept connections cost: memory, and the time of the active ones.

use std::time::Duration;

use crate::cases::Case;
use crate::load::{Load, Plan};
use crate::measure::{Profile, Setup, Stage, mib, window};
use crate::peers::Peer;
use crate::results::Sample;

/// Connections that go on asking.
const ACTIVE: usize = 8;

/// Time for the idle ones to get their one answer each.
const OPENING: Duration = Duration::from_secs(4);

/// The sample is that of the active connections beside the idle ones. `more` has what the active ones had alone, before and
/// after, how many idle ones got their answer, and the memory that was added.
///
/// # Errors
/// The peer does not start, or answers nothing right.
pub fn measure(setup: &Setup, case: &Case, peer: &Peer) -> anyhow::Result<Sample> {
    let stage = Stage::set(setup, case, peer)?;
    stage.try_once(case)?;
    let active = || Plan { connections: ACTIVE, ..stage.plan(case) };
    let run = || {
        let mut load = Load::new(active())?;
        load.run(setup.window / 4, |_| false)?;
        window(&mut load, setup.window, &stage)
    };
    let before = run()?;
    let empty = stage.peer.meter().memory();
    let mut idle = Load::new(Plan { once: true, ..stage.plan(case) })?;
    idle.run(OPENING, |load| load.served() == case.connections)?;
    let full = stage.peer.meter().memory();
    let served = idle.served() as f64 - idle.seen().reconnects as f64;
    let profile = Profile::start(setup, case, peer, &stage)?;
    let mut beside = run()?;
    profile.end()?;
    drop(idle);
    // Before and after, so that a machine that gets slower or faster meanwhile does not count.
    let after = run()?;
    let mean = |figure: fn(&Sample) -> f64| (figure(&before) + figure(&after)) / 2.0;
    beside.peak_mib = mib(stage.peer.meter().memory().peak_kib);
    Ok(beside.with([
        ("alone_rate", mean(|sample| sample.rate)),
        ("alone_cpu_us", mean(|sample| sample.cpu_us.unwrap_or_default())),
        ("idle_served", served.max(0.0)),
        ("added_mib", mib(full.pss_kib) - mib(empty.pss_kib)),
        ("threads", full.threads as f64),
    ]))
}
