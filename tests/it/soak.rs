//! Full load for as long as is asked, from peers of every kind, while the gateway ends and starts again behind a listener
//! that stays. `tests/soak` runs it.
//!
//! Accepted is a request of which the gateway has read a byte. From outside that is surely so for one that was begun
//! before the gateway was told to end, or first on its connection. One that a kept connection brings later may be turned
//! away without a byte of an answer, is asked again on a new connection, and must be answered there.

mod load;
mod peer;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use self::load::Load;
use crate::random::Random;
use crate::servers::client::PATIENCE;
use crate::servers::harness::{Folder, Process, program, wait_until};

/// Peers at once.
const PEERS: usize = 48;

/// Ways in which a gateway gets the listener.
const HANDED_OVER: usize = 3;

/// How much more memory a gateway may hold at the end of its life than in the middle of it, both without a request.
const GROWTH: u64 = 16 << 20;

#[test]
#[ignore = "takes as long as GATEWRIGHT_SOAK_SECONDS says: tests/soak runs it"]
fn soak() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let seconds = number("GATEWRIGHT_SOAK_SECONDS", 20).max(10);
    let seed = number("GATEWRIGHT_SOAK_SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let folder = Folder::new();
    let site = Site::new(&folder);
    let load = Load::new(&site.path);
    let mut lives = Lives::default();
    std::thread::scope(|scope| {
        let _over = load.ends_with_this();
        for peer in 0..PEERS {
            let random = Random(seed * 1009 + peer as u64 + 1);
            let load = &load;
            scope.spawn(move || load.keep_asking(peer, random));
        }
        site.live(&load, Duration::from_secs(seconds), &mut Random(seed * 7919 + 1), &mut lives);
    });
    let result = format!("soak {seconds} s: {load}; {lives}");
    println!("{result}");
    assert!(load.failures().is_empty(), "{:#?}", load.failures());
    assert!(load.has_seen_all(), "{result}");
}

/// What all gateways that follow each other share.
struct Site<'f> {
    folder: &'f Folder,
    path: std::path::PathBuf,
    listener: UnixListener,
    manager: UnixDatagram,
}

impl<'f> Site<'f> {
    fn new(folder: &'f Folder) -> Self {
        let path = folder.path("app.sock");
        let listener = UnixListener::bind(&path).expect("a free path");
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1024).expect("below the most"))
            .expect("a socket that listens");
        let manager = UnixDatagram::bind(folder.path("notify")).expect("a free path");
        manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { folder, path, listener, manager }
    }

    /// The next gateway, which says that it is ready: with the listener as descriptor 0, by systemd's protocol, or by
    /// its number.
    fn next(&self, count: usize) -> Process {
        const SYSTEMD: &str = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
        const NUMBER: &str = "exec \"$0\" \"$@\" --socket fd:3 3<&0 0</dev/null";
        let workbench = program("workbench");
        let shell = Path::new("/bin/sh");
        let how = [None, Some(SYSTEMD), Some(NUMBER)][count % HANDED_OVER];
        let process = Process::start(self.folder, "gateway", how.map_or(&*workbench, |_| shell), |command| {
            if let Some(how) = how {
                command.args(["-c", how]).arg(&workbench);
            }
            command.arg("fcgi").env("NOTIFY_SOCKET", self.folder.path("notify"));
            command.stdin(Stdio::from(OwnedFd::from(self.listener.try_clone().expect("a descriptor"))));
        });
        let mut block = [0; 1024];
        loop {
            let length =
                self.manager.recv(&mut block).unwrap_or_else(|error| panic!("{error}: {}", process.log()));
            if block[..length].starts_with(b"READY=1") {
                return process;
            }
        }
    }

    /// Gateways follow each other; the last one lives for a third of the time.
    fn live(&self, load: &Load, time: Duration, random: &mut Random, lives: &mut Lives) {
        let end = Instant::now() + time;
        let last = time / 3;
        let mut process = self.next(0);
        let descriptors = descriptors(process.pid());
        lives.descriptors = descriptors;
        load.hold(false);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let is_last = left <= last + Duration::from_secs(3);
            // The moment of a restart has nothing to do with what the peers are doing.
            let span = Duration::from_millis(1000 + random.below(11_000) as u64).min(left);
            if is_last || random.below(3) == 0 {
                self.observe(load, &process, if is_last { left } else { span }, lives);
            } else {
                sleep(span);
            }
            let overlap = !is_last && random.below(2) == 0;
            let mut next = overlap.then(|| self.next(lives.count + 1));
            load.drains(true);
            process.signal(Signal::SIGTERM);
            let status = process.wait();
            load.drains(false);
            assert_eq!(status.code(), Some(0), "{}", process.log());
            assert!(!process.log().contains("panic of the server"), "{}", process.log());
            lives.count += 1;
            process = next.take().unwrap_or_else(|| self.next(lives.count));
            if is_last || !load.failures().is_empty() {
                return Self::end(process, load);
            }
        }
    }

    /// The last peers' requests, too, find a gateway.
    fn end(mut process: Process, load: &Load) {
        load.end();
        wait_until("the last requests are over", || load.is_calm());
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    }

    /// Looks at what a gateway holds when nothing is under way, in the middle of its life and late.
    fn observe(&self, load: &Load, process: &Process, span: Duration, lives: &mut Lives) {
        // A descriptor that was handed over by its number stays open as that, beside the gateway's own.
        let descriptors_at_start = lives.descriptors + usize::from(!lives.count.is_multiple_of(HANDED_OVER));
        let look = || {
            load.hold(true);
            wait_until("no peer has anything under way", || load.is_calm());
            wait_until("every descriptor is closed", || descriptors(process.pid()) == descriptors_at_start);
            let memory = resident(process.pid());
            load.hold(false);
            memory
        };
        // The first half is for as many workers, and as much memory kept for the next request, as the load takes.
        sleep(span / 2);
        let early = look();
        sleep(span / 2);
        let late = look();
        println!("{span:.1?}: resident {} KiB, then {} KiB; {load}", early >> 10, late >> 10);
        if late > early + GROWTH {
            load.fail(format!("memory grows from {early} to {late} bytes within the last half of {span:?}"));
        }
        lives.observed += 1;
        lives.early.push(early);
        lives.late.push(late);
        sleep(Duration::from_millis(300));
    }
}

/// What was seen of the gateways.
#[derive(Default)]
struct Lives {
    count: usize,
    observed: usize,
    descriptors: usize,
    early: Vec<u64>,
    late: Vec<u64>,
}

impl std::fmt::Display for Lives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let growth = self.early.iter().zip(&self.late).map(|(early, late)| late.saturating_sub(*early)).max();
        let most = self.late.iter().max().copied().unwrap_or(0);
        write!(
            f,
            "{} gateways, each exit status 0; in {} of them {} descriptors (and the one handed over) when calm as at the start, resident memory at \
             most {} KiB more than in the middle of their lives, {} KiB in all, {} KiB at the end of the last",
            self.count,
            self.observed,
            self.descriptors,
            growth.unwrap_or(0) >> 10,
            most >> 10,
            self.late.last().copied().unwrap_or(0) >> 10,
        )
    }
}

fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("our child lives").count()
}

/// Bytes of memory.
fn resident(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("our child lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process with memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
