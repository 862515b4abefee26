//! What a peer's processes use: all of them, those that they have started included.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::group::Group;

/// A process and its descendants.
#[derive(Clone)]
pub struct Meter {
    pub process: Pid,
    /// The group that they were started in, which then tells their time: no child is missing there.
    pub group: Option<Rc<Group>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The most that was resident, over the life of the processes.
    pub peak_kib: u64,
    /// What is resident now, shared pages divided among those that share them.
    pub pss_kib: u64,
    pub threads: u64,
}

impl Meter {
    /// CPU time so far, to the nanosecond; that of children which have ended as precise as the system tells it.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        if let Some(group) = &self.group {
            return group.cpu();
        }
        let tick = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
        let mut sum = Duration::ZERO;
        for pid in self.processes() {
            // Gone meanwhile: its parent has its time.
            let Ok(now) = ClockId::pid_cpu_clock_id(pid).and_then(ClockId::now) else { continue };
            sum += Duration::from(now);
            let ended: f64 = stat(pid).map_or(0.0, |stat| stat.children_ticks);
            sum += Duration::from_secs_f64(ended / tick);
        }
        Ok(sum)
    }

    pub fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for pid in self.processes() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            sum.peak_kib += field(&status, "VmHWM:");
            sum.threads += field(&status, "Threads:");
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            sum.pss_kib += field(&smaps, "Pss:");
        }
        sum
    }

    /// The process and all its descendants that live.
    pub fn processes(&self) -> Vec<Pid> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let pid = Pid::from_raw(pid);
            parents.extend(stat(pid).map(|stat| (pid, stat.parent)));
        }
        let mut found = vec![self.process];
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        found
    }

    /// Begins to count system calls.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn count_calls(&self) -> anyhow::Result<Calls> {
        let tracing = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
        let id = tracing
            .iter()
            .find_map(|folder| fs::read_to_string(format!("{folder}/events/raw_syscalls/sys_enter/id")).ok());
        let id: u64 = id.context("tracefs is not mounted, or not ours to read")?.trim().parse()?;
        let mut counters = Vec::new();
        for pid in self.processes() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                let Some(task) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                counters.push(open_counter(id, task)?);
            }
        }
        Ok(Calls(counters))
    }
}

/// Counters of system calls, one for each thread and what it starts.
pub struct Calls(Vec<File>);

impl Calls {
    pub fn total(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for mut counter in &self.0 {
            let mut count = [0; 8];
            counter.read_exact(&mut count)?;
            sum += u64::from_ne_bytes(count);
        }
        Ok(sum)
    }
}

/// `perf_event_attr` in its first size, which all kernels know.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config_1: u64,
}

/// Counts a tracepoint in a thread, and in threads and processes that it starts later.
fn open_counter(id: u64, task: libc::pid_t) -> anyhow::Result<File> {
    const TRACEPOINT: u32 = 2;
    const INHERIT: u64 = 1 << 1;
    let size = size_of::<EventAttributes>() as u32;
    let attributes =
        EventAttributes { kind: TRACEPOINT, size, config: id, flags: INHERIT, ..EventAttributes::default() };
    // SAFETY: the kernel reads `size` bytes of the attributes and keeps no reference; the descriptor is new and ours.
    #[allow(unsafe_code)]
    unsafe {
        let (any_cpu, no_group, close_on_exec) = (-1, -1, 8);
        let fd = libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            task,
            any_cpu,
            no_group,
            close_on_exec,
        );
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("perf_event_open");
        }
        Ok(File::from_raw_fd(fd as i32))
    }
}

struct Stat {
    parent: Pid,
    /// User and system time of children that have ended and were waited for.
    children_ticks: f64,
}

fn stat(pid: Pid) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Stat { parent: Pid::from_raw(number(1)?), children_ticks: f64::from(number(13)? + number(14)?) })
}

/// A number of a file with lines such as `VmHWM:  1234 kB`.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}
