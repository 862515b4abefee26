//! CGI programs, started one after the other as a web server would: what starting costs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::cases::Case;
use crate::histogram::Histogram;
use crate::measure::{Setup, WARM_UP};
use crate::peers::Peer;
use crate::protocol::parameters;
use crate::results::Sample;
use crate::signals;

/// How every program's answer ends or goes on: the demo shows the variables behind it.
const SAYS: &str = "\n\nHello world";

/// CPU time is the program's and that of starting it and of reading what it says, which is ours.
///
/// # Errors
/// The program does not start, or does not answer.
pub fn measure(setup: &Setup, case: &Case, peer: &Peer) -> anyhow::Result<Sample> {
    let mut command = setup.command(case, peer)?;
    command.env_clear().envs(parameters(case.ask, None));
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let mut times = Histogram::default();
    repeat(&mut command, WARM_UP, &mut times)?;
    times = Histogram::default();
    let (before, start) = (cpu()?, Instant::now());
    let answers = repeat(&mut command, setup.window, &mut times)?;
    let (used, seconds) = (cpu()? - before, start.elapsed().as_secs_f64());
    Ok(Sample {
        answers,
        rate: answers as f64 / seconds,
        cpu_us: Some(used.as_secs_f64() * 1e6 / answers as f64),
        p50_us: times.quantile(0.5),
        p99_us: times.quantile(0.99),
        served: 1,

        ..Sample::default()
    })
}

fn repeat(command: &mut Command, time: Duration, times: &mut Histogram) -> anyhow::Result<u64> {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time || count == 0 {
        if signals::received() {
            bail!("interrupted");
        }
        let began = Instant::now();
        let output = command.output().with_context(|| command.get_program().display().to_string())?;
        times.add(began.elapsed());
        count += 1;
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        if !output.status.success() || !said.contains(SAYS) {
            bail!("{} and {said:?}", output.status);
        }
    }
    Ok(count)
}

/// Of this process and all that it has started and waited for.
fn cpu() -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        sum += duration(usage.user_time()) + duration(usage.system_time());
    }
    Ok(sum)
}

fn duration(time: TimeVal) -> Duration {
    Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000)
}
