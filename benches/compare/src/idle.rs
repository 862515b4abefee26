//! What idle kept connections cost: memory, and the time of the active ones.

use std::time::Duration;

use crate::cases::Case;
use crate::load::{Load, Plan};
use crate::measure::{Setup, Stage, mib, window};
use crate::peers::Peer;
use crate::results::Sample;

/// Connections that go on asking.
const ACTIVE: usize = 8;

/// Time for the idle ones to get their one answer each.
const OPENING: Duration = Duration::from_secs(4);

/// The sample is that of the active connections beside the idle ones. `more` has, in this order of time: what the active
/// ones had alone, how many idle ones got their answer, and the memory that was added.
///
/// # Errors
/// The peer does not start, or answers nothing right.
pub fn measure(setup: &Setup, case: &Case, peer: &Peer) -> anyhow::Result<Sample> {
    let stage = Stage::set(setup, case, peer)?;
    stage.try_once(case)?;
    let active = || Plan { connections: ACTIVE, ..stage.plan(case) };
    let alone = {
        let mut load = Load::new(active())?;
        load.run(setup.window / 4, |_| false)?;
        window(&mut load, setup.window, &stage)?
    };
    let empty = stage.peer.meter().memory();
    let mut idle = Load::new(Plan { once: true, ..stage.plan(case) })?;
    idle.run(OPENING, |load| load.served() == case.connections)?;
    let full = stage.peer.meter().memory();
    let served = idle.served() as f64 - idle.seen().reconnects as f64;
    let mut load = Load::new(active())?;
    load.run(setup.window / 4, |_| false)?;
    let mut beside = window(&mut load, setup.window, &stage)?;
    beside.peak_mib = mib(stage.peer.meter().memory().peak_kib);
    Ok(beside.with([
        ("alone_rate", alone.rate),
        ("alone_cpu_us", alone.cpu_us.unwrap_or_default()),
        ("idle_served", served.max(0.0)),
        ("added_mib", mib(full.pss_kib) - mib(empty.pss_kib)),
        ("threads", full.threads as f64),
    ]))
}
