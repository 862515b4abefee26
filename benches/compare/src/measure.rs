//! One case with one peer, once: servers are started, asked, metered and ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::cases::{App, Case, Measure, Via};
use crate::connect::Address;
use crate::group::Group;
use crate::load::{Load, Plan};
use crate::meter::Meter;
use crate::peers::{Folders, Listens, Peer, Site};
use crate::process::{Place, Server, last_words};
use crate::protocol::{Http, Protocol};
use crate::results::Sample;
use crate::{idle, lateness, nginx, spawn};

/// How all cases are measured.
pub struct Setup {
    pub folders: Folders,
    /// For sockets and logs.
    pub temporary: PathBuf,
    pub window: Duration,
    /// Where profiles go, when they are wanted.
    pub profiles: Option<PathBuf>,
}

impl Setup {
    /// The peer's program for that case, in an empty temporary folder.
    ///
    /// # Errors
    /// The folder, or a configuration in it, cannot be written.
    pub fn command(&self, case: &Case, peer: &Peer) -> anyhow::Result<Command> {
        self.command_at(case, peer, &Address::Unix(self.temporary.join("peer.sock")))
    }

    fn command_at(&self, case: &Case, peer: &Peer, address: &Address) -> anyhow::Result<Command> {
        let folder = &self.temporary;
        fs::remove_dir_all(folder).and_then(|()| fs::create_dir(folder)).context("the temporary folder")?;
        let (front, app) = (case.front, case.app);
        peer.command(&Site { folders: &self.folders, front, app, address, temporary: folder })
    }
}

/// Before the window, for caches, threads and the branch predictor.
pub const WARM_UP: Duration = Duration::from_millis(150);

/// Time for large answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// For the count of system calls, which slows the server a little.
const COUNTING: Duration = Duration::from_millis(150);

/// A peer that is up, and nginx where it belongs to the case.
pub struct Stage {
    pub peer: Server,
    pub nginx: Option<Server>,
    /// Where the load goes.
    pub address: Address,
    pub protocol: &'static dyn Protocol,
    pub keep: bool,
    log: PathBuf,
    /// The folder of what it serves.
    root: Option<PathBuf>,
}

impl Stage {
    /// Starts what the case needs.
    ///
    /// # Errors
    /// A server does not start.
    pub fn set(setup: &Setup, case: &Case, peer: &Peer) -> anyhow::Result<Self> {
        Self::set_with(setup, case, peer, &[])
    }

    /// The same, with more arguments for the peer.
    ///
    /// # Errors
    /// A server does not start.
    pub fn set_with(setup: &Setup, case: &Case, peer: &Peer, more: &[&str]) -> anyhow::Result<Self> {
        let folder = &setup.temporary;
        let address = match peer.listens {
            Listens::Port => Address::free_port()?,
            Listens::Path | Listens::Inherited => Address::Unix(folder.join("peer.sock")),
        };
        let mut command = setup.command_at(case, peer, &address)?;
        command.args(more);
        let log = folder.join("peer.log");
        let (group, root) = match case.app {
            // The time of programs is a part of it, whoever waits for them.
            App::Programs => (Group::new(), Some(setup.folders.programs())),
            App::Files => (None, Some(setup.folders.files())),
            App::Own => (None, None),
        };
        let place =
            Place { address: &address, log: &log, inherits: peer.listens == Listens::Inherited, group };
        let mut stage = Self {
            peer: Server::start(command, place)?,
            nginx: None,
            address: address.clone(),
            protocol: case.front.protocol(),
            keep: case.keep,
            log,
            root,
        };
        if case.via == Via::Nginx {
            let (server, socket) = nginx::start(folder, &address, case.front, case.keep)?;
            stage.nginx = Some(server);
            stage.address = Address::Unix(socket);
            stage.protocol = &Http;
            stage.keep = true;
        }
        Ok(stage)
    }

    pub fn plan<'p>(&'p self, case: &Case) -> Plan<'p> {
        Plan {
            address: &self.address,
            protocol: self.protocol,
            ask: case.ask,
            root: self.root.as_deref(),
            connections: case.connections,
            keep: self.keep,
            once: false,
        }
    }

    /// One request, before anything is measured.
    ///
    /// # Errors
    /// It has no right answer.
    pub fn try_once(&self, case: &Case) -> anyhow::Result<()> {
        let plan = Plan { connections: 1, keep: false, ..self.plan(case) };
        let mut load = Load::new(plan)?;
        load.run(Duration::from_secs(10), |load| load.seen().answers > 0 || !load.seen().errors.is_empty())?;
        match load.seen().errors.keys().next() {
            Some(error) => bail!("{error}; its log: {}", last_words(&self.log)),
            None if load.seen().answers == 0 => bail!("no answer; its log: {}", last_words(&self.log)),
            None => Ok(()),
        }
    }
}

/// Measures.
///
/// # Errors
/// A server does not start, or answers nothing right.
pub fn measure(setup: &Setup, case: &Case, peer: &Peer, count_calls: bool) -> anyhow::Result<Sample> {
    match case.measure {
        Measure::Load | Measure::Answers(_) => load(setup, case, peer, count_calls),
        Measure::Spawn => spawn::measure(setup, case, peer),
        Measure::Idle => idle::measure(setup, case, peer),
        Measure::Lateness => lateness::measure(setup, case, peer),
    }
}

fn load(setup: &Setup, case: &Case, peer: &Peer, count_calls: bool) -> anyhow::Result<Sample> {
    let stage = Stage::set(setup, case, peer)?;
    stage.try_once(case)?;
    let mut load = Load::new(stage.plan(case))?;
    let mut sample;
    let profile;
    if let Measure::Answers(count) = case.measure {
        // From the end of one answer to that of another, so that each counts whole.
        load.run(PATIENCE, |load| load.seen().answers > 0)?;
        profile = Profile::start(setup, case, peer, &stage)?;
        sample = window_until(&mut load, PATIENCE, &stage, |load| load.seen().answers >= count)?;
    } else {
        load.run(WARM_UP, |_| false)?;
        profile = Profile::start(setup, case, peer, &stage)?;
        sample = window(&mut load, setup.window, &stage)?;
        // On a machine that is busy otherwise a short window may pass without an answer; a server that stalls gives none
        // in many.
        for _ in 0..50 {
            if sample.answers > 0 {
                break;
            }
            sample = window(&mut load, setup.window, &stage)?;
        }
    }
    profile.end()?;
    if sample.answers == 0 {
        bail!("stalled: no answer for {:.0} ms; its log: {}", sample.waiting_ms, last_words(&stage.log));
    }
    if count_calls && case.measure == Measure::Load {
        sample.calls = calls(&mut load, &stage.peer.meter())?;
    }
    sample.peak_mib = mib(stage.peer.meter().memory().peak_kib);
    Ok(sample)
}

/// What is seen within a window of time.
pub fn window(load: &mut Load<'_>, time: Duration, stage: &Stage) -> anyhow::Result<Sample> {
    window_until(load, time, stage, |_| false)
}

fn window_until(
    load: &mut Load<'_>,
    time: Duration,
    stage: &Stage,
    enough: impl Fn(&Load<'_>) -> bool,
) -> anyhow::Result<Sample> {
    load.forget();
    let [peer, nginx] = [Some(&stage.peer), stage.nginx.as_ref()].map(|server| server.map(Server::meter));
    let cpu = |meter: &Option<Meter>| meter.as_ref().map(Meter::cpu).transpose();
    let before = (cpu(&peer)?, cpu(&nginx)?, own_cpu()?);
    let start = Instant::now();
    load.run(time, enough)?;
    let seconds = start.elapsed().as_secs_f64();
    let after = (cpu(&peer)?, cpu(&nginx)?, own_cpu()?);
    let seen = load.seen();
    let each = |before: Duration, after: Duration| {
        let used = after.saturating_sub(before).as_secs_f64() * 1e6;
        (seen.answers > 0).then(|| used / seen.answers as f64)
    };
    let each_of = |before: Option<Duration>, after: Option<Duration>| each(before?, after?);
    Ok(Sample {
        answers: seen.answers,
        rate: seen.answers as f64 / seconds,
        cpu_us: each_of(before.0, after.0),
        nginx_cpu_us: each_of(before.1, after.1),
        generator_cpu_us: each(before.2, after.2),
        first_us: seen.first.quantile(0.5),
        p50_us: seen.latency.quantile(0.5),
        p99_us: seen.latency.quantile(0.99),
        waiting_ms: load.longest_wait().as_secs_f64() * 1e3,
        served: load.served(),
        reconnects: seen.reconnects,
        errors: seen.errors.clone(),
        ..Sample::default()
    })
}

fn own_cpu() -> anyhow::Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// System calls per answer; none where the kernel does not count for us.
fn calls(load: &mut Load<'_>, meter: &Meter) -> anyhow::Result<Option<f64>> {
    let Ok(counters) = meter.count_calls() else { return Ok(None) };
    load.forget();
    let before = counters.total()?;
    load.run(COUNTING, |_| false)?;
    let made = counters.total()? - before;
    let answers = load.seen().answers;
    Ok((answers > 0).then(|| made as f64 / answers as f64))
}

pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// `perf record` for the length of a window, where the user wants it.
pub struct Profile(Option<Child>);

impl Profile {
    /// Begins.
    ///
    /// # Errors
    /// There is no perf, or no folder for what it writes.
    pub fn start(setup: &Setup, case: &Case, peer: &Peer, stage: &Stage) -> anyhow::Result<Self> {
        let Some(folder) = &setup.profiles else { return Ok(Self(None)) };
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}-{}.perf", case.name, peer.name));
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-e", "cpu-clock", "-F", "4999", "-g", "-o"]).arg(&file);
        command.args(["-p", &stage.peer.pid().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let perf = command.spawn().context("perf")?;
        eprintln!("profile: perf report --no-children -i {}", file.display());
        // It says nothing once it has begun; the window is long compared to this.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self(Some(perf)))
    }

    /// Has perf write what it saw.
    ///
    /// # Errors
    /// It is gone.
    pub fn end(mut self) -> anyhow::Result<()> {
        if let Some(mut perf) = self.0.take() {
            kill(Pid::from_raw(perf.id() as i32), Signal::SIGINT)?;
            perf.wait()?;
        }
        Ok(())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(perf) = &mut self.0 {
            let _ = perf.kill();
            let _ = perf.wait();
        }
    }
}

impl Sample {
    /// A measurement that did not come about.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self { failed: Some(format!("{error:#}")), ..Self::default() }
    }

    /// With further figures.
    pub fn with(mut self, more: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        self.more =
            more.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>();
        self
    }
}
