//! Programs from their start to their end: every one is reaped, and none outlives what it was started for.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs, io, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::groups::Group;
use super::slots::Slot;
use crate::sys::Spawned;

/// How often the keeper looks for what no descriptor tells: members of a group, orphans.
const LOOK: Duration = Duration::from_millis(100);

/// For how long those are looked for that a killed program may have left behind. Most often one look is enough.
const LAST_LOOKS: Duration = Duration::from_secs(3);

/// How often orphans that have ended are reaped.
const SWEEP: Duration = Duration::from_secs(2);

/// The variable by which a program's descendants are known when this process adopts orphans.
pub(super) const MARK: &str = "GATEWRIGHT_PROGRAM";

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Status(i32),
    Signal(Signal),
}

impl Exit {
    fn of(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Exit::Status(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Exit::Signal(signal)),
            _ => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(code) => write!(f, "exit status {code}"),
            Exit::Signal(signal) => write!(f, "killed by {signal}"),
        }
    }
}

/// What knows all programs that run, and has one thread, once it is needed, for those that nobody waits for.
#[derive(Debug)]
pub(super) struct Keeper {
    state: Mutex<State>,
    /// A byte wakes the thread.
    wake: PipeWriter,
    woken: PipeReader,
    grace: Duration,
    /// Orphans of programs become this process's children.
    adopts: AtomicBool,
    /// Programs have been started since orphans were looked for, or ran at that time.
    started: AtomicBool,
    next_mark: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Programs that were not reaped: their numbers, and those of their groups, are surely theirs.
    running: HashMap<i32, Trace>,
    /// New work for the thread.
    given: Vec<Kept>,
    has_thread: bool,
    /// No program shall run any more.
    over: bool,
}

/// A program that was left to the keeper.
#[derive(Debug)]
struct Kept {
    running: Running,
    stage: Stage,
    strays: Vec<Stray>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It may run on.
    Watched,
    /// It was asked to end.
    Asked { until: Instant },
    /// What is left is killed, and looked for again: some may have left the group, or been started, meanwhile.
    Killed { until: Instant },
}

/// A program that runs, whose end the holder waits for. Dropping it ends the program and its group.
#[derive(Debug)]
pub(super) struct Program {
    running: Option<Running>,
    keeper: Arc<Keeper>,
}

/// By what descendants of a program are known that have left its process group.
#[derive(Clone, Debug, Default)]
struct Trace {
    /// A variable, where this process adopts orphans.
    mark: Option<u64>,
    /// A control group, where each program has its own.
    group: Option<Arc<Group>>,
}

#[derive(Debug)]
struct Running {
    spawned: Spawned,
    trace: Trace,
    /// Held until the program has ended.
    _slot: Slot,
}

impl Keeper {
    pub(super) fn new(grace: Duration) -> io::Result<Arc<Self>> {
        let (woken, wake) = io::pipe()?;
        // A full pipe wakes as well as one byte does.
        super::pipes::set_nonblocking(&wake)?;
        super::pipes::set_nonblocking(&woken)?;
        Ok(Arc::new(Self {
            state: Mutex::default(),
            wake,
            woken,
            grace,
            adopts: AtomicBool::new(false),
            started: AtomicBool::new(false),
            next_mark: AtomicU64::new(1),
        }))
    }

    /// Makes orphans of programs this process's children, so that they can be found and reaped.
    pub(super) fn adopt_orphans(self: &Arc<Self>) -> io::Result<()> {
        nix::sys::prctl::set_child_subreaper(true)?;
        self.adopts.store(true, Ordering::Relaxed);
        self.start_thread(&mut self.lock())
    }

    /// The mark of the next program, if programs are marked.
    pub(super) fn next_mark(&self) -> Option<u64> {
        let marks = self.adopts.load(Ordering::Relaxed);
        marks.then(|| self.next_mark.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes charge of a program that was just started.
    pub(super) fn register(
        self: &Arc<Self>,
        spawned: Spawned,
        mark: Option<u64>,
        slot: Slot,
        group: Option<Group>,
    ) -> Program {
        let trace = Trace { mark, group: group.map(Arc::new) };
        let mut state = self.lock();
        state.running.insert(spawned.pid.as_raw(), trace.clone());
        let over = state.over;
        drop(state);
        let running = Running { spawned, trace, _slot: slot };
        if over {
            // It came too late to be among those that were asked to end.
            let _ = killpg(running.spawned.pid, Signal::SIGKILL);
        }
        if mark.is_some() && !self.started.swap(true, Ordering::Relaxed) {
            self.wake();
        }
        Program { running: Some(running), keeper: Arc::clone(self) }
    }

    /// Ends all programs: asks, waits for the grace time, kills, and waits until none is left.
    pub(super) fn end_all(&self) {
        self.end_within(self.grace);
    }

    /// Kills all programs without asking for long.
    pub(super) fn kill_all(&self) {
        self.end_within(Duration::ZERO);
    }

    fn end_within(&self, grace: Duration) {
        let mut state = self.lock();
        state.over = true;
        // Their holders may reap them before those are found that they leave behind.
        let programs = state.running.clone();
        drop(state);
        let mut strays = self.signal_all(&programs, Signal::SIGTERM);
        let until = Instant::now() + grace;
        while !(self.is_idle() && strays.iter().all(|stray| !stray.lives())) && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(10));
        }
        let until = Instant::now() + LAST_LOOKS;
        loop {
            // Asked first: what a program started before its end is seen by a look after it.
            let idle = self.is_idle();
            strays = self.signal_all(&programs, Signal::SIGKILL);
            if (idle && strays.is_empty()) || Instant::now() >= until {
                break;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        // The thread has nothing to wait for any more.
        self.wake();
    }

    /// Whether all programs have ended. Each is still its holder's to reap, who wants to know how it ended.
    fn is_idle(&self) -> bool {
        self.lock().running.keys().all(|pid| peek(Pid::from_raw(*pid)).is_some())
    }

    /// Sends a signal to these programs' groups and to those that have left them; gives the latter.
    fn signal_all(&self, programs: &HashMap<i32, Trace>, signal: Signal) -> Vec<Stray> {
        let mut strays = Vec::new();
        let all = Snapshot::take();
        for (pid, trace) in programs {
            let is_running = self.lock().running.contains_key(pid);
            // The number of one that was reaped may be another's by now.
            let root = is_running.then(|| Pid::from_raw(*pid));
            strays.extend(all.strays(root, trace).into_iter().filter(Stray::lives));
            self.signal(Pid::from_raw(*pid), signal);
            if signal == Signal::SIGKILL {
                trace.kill();
            }
        }
        strays.iter().for_each(|stray| stray.signal(signal));
        strays
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let _ = (&self.wake).write(&[0]);
    }

    /// Sends a signal to a program's group, as long as that is surely its own.
    fn signal(&self, pid: Pid, signal: Signal) {
        let state = self.lock();
        if state.running.contains_key(&pid.as_raw()) {
            let _ = killpg(pid, signal);
        }
    }

    /// Reaps a program that has ended.
    fn reap(&self, pid: Pid) {
        let mut state = self.lock();
        if state.running.remove(&pid.as_raw()).is_some() {
            if state.over {
                // What it leaves behind would be missed otherwise: its group has this number no longer than it.
                let _ = killpg(pid, Signal::SIGKILL);
            }
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Asks a program to end, and sees to it.
    fn end(self: &Arc<Self>, running: Running) {
        let pid = running.spawned.pid;
        // Those that have left it already are found by the keeper where this process adopts them; elsewhere they can be
        // told only as long as their parents live.
        let strays = match running.trace.mark {
            Some(_) => Vec::new(),
            None => Snapshot::take().strays(Some(pid), &running.trace),
        };
        self.signal(pid, Signal::SIGTERM);
        strays.iter().for_each(|stray| stray.signal(Signal::SIGTERM));
        let until = Instant::now() + self.grace;
        self.keep(Kept { running, stage: Stage::Asked { until }, strays, ended: false });
    }

    fn keep(self: &Arc<Self>, kept: Kept) {
        let mut state = self.lock();
        state.given.push(kept);
        if let Err(error) = self.start_thread(&mut state) {
            log::error!("cannot start the thread that waits for programs: {error}; they are killed");
            for kept in std::mem::take(&mut state.given) {
                let pid = kept.running.spawned.pid;
                if state.running.remove(&pid.as_raw()).is_some() {
                    let _ = killpg(pid, Signal::SIGKILL);
                    let _ = waitpid(pid, None);
                }
            }
        }
        drop(state);
        self.wake();
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if !state.has_thread {
            let keeper = Arc::clone(self);
            thread::Builder::new().name("programs".to_owned()).spawn(move || keeper.work())?;
            state.has_thread = true;
        }
        Ok(())
    }

    fn work(&self) {
        let mut kept: Vec<Kept> = Vec::new();
        let mut swept = Instant::now();
        let mut dead = HashSet::new();
        loop {
            self.wait(&kept);
            let _ = (&self.woken).read(&mut [0; 64]);
            kept.append(&mut self.lock().given);
            // Whoever has ended by now can have no child that the look at all processes does not see.
            kept.iter_mut().for_each(|one| one.ended = peek(one.running.spawned.pid).is_some());
            let all = OnceCell::new();
            kept.retain_mut(|one| !self.look_after(one, &all));
            let mut state = self.lock();
            if state.over && kept.is_empty() && state.given.is_empty() {
                state.has_thread = false;
                return;
            }
            drop(state);
            if self.adopts.load(Ordering::Relaxed) && swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.started.store(false, Ordering::Relaxed);
                // A copy: looking takes longer than anybody should wait who starts a program.
                let running: HashSet<i32> = self.lock().running.keys().copied().collect();
                // What a program leaves behind is an orphan only once it has ended.
                if reap_orphans(&running, &mut dead) || !running.is_empty() {
                    self.started.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until a program ends, something is due, or somebody wakes the thread.
    fn wait(&self, kept: &[Kept]) {
        let now = Instant::now();
        let mut timeout = self.started.load(Ordering::Relaxed).then_some(SWEEP);
        let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        for one in kept {
            let wait = match (one.stage, &one.running.spawned.pidfd) {
                (Stage::Watched, Some(fd)) => {
                    fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
                    None
                }
                (Stage::Asked { until }, _) => Some(until.saturating_duration_since(now).min(LOOK)),
                (Stage::Watched | Stage::Killed { .. }, _) => Some(LOOK),
            };
            timeout = match (timeout, wait) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let timeout = timeout.map_or(PollTimeout::NONE, to_poll);
        // Interrupted or not, everything is looked at behind this.
        let _ = poll(&mut fds, timeout);
    }

    /// Looks at one program; `true` when nothing is left to do.
    fn look_after(&self, one: &mut Kept, all: &OnceCell<Snapshot>) -> bool {
        let pid = one.running.spawned.pid;
        let ended = one.ended;
        let (signal, until) = match one.stage {
            Stage::Watched if !ended => return false,
            Stage::Watched => {
                self.reap(pid);
                return true;
            }
            Stage::Asked { until } => (Signal::SIGTERM, until),
            Stage::Killed { until } => (Signal::SIGKILL, until),
        };
        // The program itself stays unreaped meanwhile: the number of its group cannot become another's.
        let all = all.get_or_init(Snapshot::take);
        let found = one.finds_strays(all, signal);
        let left = !ended || found || all.has_members(pid) || one.strays.iter().any(Stray::lives);
        let in_time = Instant::now() < until;
        match one.stage {
            _ if !left => {}
            Stage::Asked { .. } if in_time => return false,
            Stage::Killed { .. } if ended && !in_time => {}
            stage => {
                self.signal(pid, Signal::SIGKILL);
                one.strays.iter().for_each(|stray| stray.signal(Signal::SIGKILL));
                one.running.trace.kill();
                if !matches!(stage, Stage::Killed { .. }) {
                    one.stage = Stage::Killed { until: Instant::now() + LAST_LOOKS };
                }
                return false;
            }
        }
        self.reap(pid);
        true
    }
}

impl Trace {
    /// Kills all in the control group, if there is one.
    fn kill(&self) {
        self.group.iter().for_each(|group| group.kill());
    }
}

impl Kept {
    /// Looks again for descendants outside the group; whether there are any that were not known. They get the signal.
    fn finds_strays(&mut self, all: &Snapshot, signal: Signal) -> bool {
        let before = self.strays.len();
        for stray in all.strays(Some(self.running.spawned.pid), &self.running.trace) {
            if !self.strays.contains(&stray) && stray.lives() {
                stray.signal(signal);
                self.strays.push(stray);
            }
        }
        self.strays.len() > before
    }
}

impl Program {
    /// How it ended, if it has. It stays to be reaped.
    pub(super) fn peek(&self) -> Option<Exit> {
        peek(self.running.as_ref()?.spawned.pid)
    }

    /// Whether it was refused a process by its limit.
    pub(super) fn was_full(&self) -> bool {
        let group = self.running.as_ref().and_then(|running| running.trace.group.as_ref());
        group.is_some_and(|group| group.was_full())
    }

    /// What becomes readable when it ends.
    pub(super) fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        Some(self.running.as_ref()?.spawned.pidfd.as_ref()?.as_fd())
    }

    /// Its answer is over: it is reaped if it has ended, or runs on by itself until it does. What it has started lives on.
    pub(super) fn release(mut self, ended: bool) {
        let Some(running) = self.running.take() else { return };
        if ended || peek(running.spawned.pid).is_some() {
            self.keeper.reap(running.spawned.pid);
        } else {
            self.keeper.keep(Kept { running, stage: Stage::Watched, strays: Vec::new(), ended: false });
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.keeper.end(running);
        }
    }
}

fn peek(pid: Pid) -> Option<Exit> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(pid), flags) {
        Ok(status) => Exit::of(status),
        // Somebody else has reaped it: there is nothing left to wait for.
        Err(Errno::ECHILD) => Some(Exit::Status(0)),
        Err(_) => None,
    }
}

/// A duration for poll: at least a millisecond unless it is zero, so that nobody turns in circles.
pub(super) fn to_poll(duration: Duration) -> PollTimeout {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

/// A process outside its program's group, and when it was started: its number may become another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stray {
    pid: i32,
    started: u64,
}

impl Stray {
    fn lives(&self) -> bool {
        stat_of(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != b'Z')
    }

    fn signal(&self, signal: Signal) {
        if self.lives() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug)]
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    started: u64,
}

fn stat_of(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything.
    let behind = memchr::memrchr(b')', &text)?;
    let text = std::str::from_utf8(text.get(behind + 2..)?).ok()?;
    let mut fields = text.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, parent, group, started })
}

/// The numbers in `/proc`.
fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The children of a process: of each of its threads.
fn children_of(pid: &str) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// All processes that live, at one moment: looking costs as much as there are, whoever asks.
struct Snapshot {
    all: HashMap<i32, Stat>,
    children: HashMap<i32, Vec<i32>>,
    /// This process's children by the marks that they carry.
    marked: OnceCell<HashMap<u64, Vec<i32>>>,
}

impl Snapshot {
    fn take() -> Self {
        let all = processes().filter_map(|pid| Some((pid, stat_of(pid).filter(|stat| stat.state != b'Z')?)));
        let all: HashMap<i32, Stat> = all.collect();
        let mut children = HashMap::<i32, Vec<i32>>::new();
        for (pid, stat) in &all {
            children.entry(stat.parent).or_default().push(*pid);
        }
        Self { all, children, marked: OnceCell::new() }
    }

    /// Whether anybody but its leader lives in a group.
    fn has_members(&self, leader: Pid) -> bool {
        let leader = leader.as_raw();
        self.all.iter().any(|(pid, stat)| stat.group == leader && *pid != leader)
    }

    fn children_of(&self, pid: i32) -> &[i32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    fn marked(&self, mark: u64) -> &[i32] {
        let marked = self.marked.get_or_init(|| {
            let mut marked = HashMap::<u64, Vec<i32>>::new();
            for pid in self.children_of(i32::try_from(std::process::id()).unwrap_or_default()) {
                if let Some(mark) = mark_of(*pid) {
                    marked.entry(mark).or_default().push(*pid);
                }
            }
            marked
        });
        marked.get(&mark).map_or(&[], Vec::as_slice)
    }

    /// A program's descendants that have left its group: those that can be reached from it, those in its control group,
    /// and, where orphans are adopted, those among them that carry its mark.
    fn strays(&self, leader: Option<Pid>, trace: &Trace) -> Vec<Stray> {
        let leader = leader.map(Pid::as_raw);
        let mut found = leader.map_or_else(Vec::new, |leader| self.children_of(leader).to_vec());
        found.extend_from_slice(trace.mark.map_or(&[], |mark| self.marked(mark)));
        found.extend(trace.group.iter().flat_map(|group| group.processes()));
        let mut seen: HashSet<i32> = leader.into_iter().collect();
        let mut strays = Vec::new();
        while let Some(pid) = found.pop() {
            if seen.insert(pid) {
                found.extend_from_slice(self.children_of(pid));
                let stat = self.all.get(&pid).filter(|stat| Some(stat.group) != leader);
                strays.extend(stat.map(|stat| Stray { pid, started: stat.started }));
            }
        }
        strays
    }
}

/// The number that this process has marked a program and its descendants with.
fn mark_of(pid: i32) -> Option<u64> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let start = format!("{MARK}={}.", std::process::id());
    let mark = environ.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(start.as_bytes()))?;
    std::str::from_utf8(mark).ok()?.parse().ok()
}

/// Reaps adopted processes that have ended, and were seen so the last time too: one that was just started may not be among
/// the `running` yet. `true` when there is something to look at again.
fn reap_orphans(running: &HashSet<i32>, dead: &mut HashSet<i32>) -> bool {
    let orphans: Vec<i32> = children_of("self").into_iter().filter(|pid| !running.contains(pid)).collect();
    let seen = std::mem::take(dead);
    let mut left = false;
    for pid in orphans {
        let ended = peek(Pid::from_raw(pid)).is_some();
        if ended && seen.contains(&pid) {
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            continue;
        }
        left = true;
        if ended {
            dead.insert(pid);
        }
    }
    left
}
