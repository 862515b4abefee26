//! A hundred clients at once, and programs that do not want to end: nothing of them may stay.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;

use super::{Bin, lives};
use crate::servers::harness::{Process, comes_true, program, wait_until};
use crate::wire::{PATIENCE, Request};

const TEXT: &str = "printf 'Content-Type: text/plain\\n\\n'";

/// Those that would run for ever if they were let, each with its own way not to end. `HERE` is where they write their
/// numbers.
fn endless() -> BTreeMap<&'static str, String> {
    let mark = "echo $$ >> HERE/pids";
    let stubborn = "trap '' TERM HUP INT QUIT";
    BTreeMap::from([
        ("mute", format!("{mark}; exec sleep 1000")),
        ("deaf", format!("{mark}; {stubborn}; while :; do sleep 1; done")),
        ("loud", format!("{mark}; {TEXT}; exec yes")),
        ("loud-and-deaf", format!("{mark}; {stubborn}; {TEXT}; while :; do echo x; done 2>/dev/null")),
        ("errors", format!("{mark}; exec yes >&2")),
        ("stopped", format!("{mark}; kill -STOP $$; exec sleep 1000")),
        ("stalled", format!("{mark}; {TEXT}; echo begun; exec sleep 1000")),
        ("no-head", format!("{mark}; printf 'X-Begun: 1\\n'; exec sleep 1000")),
        (
            "family",
            format!(
                "{mark}; for n in 1 2 3; do ({stubborn}; sh -c 'echo $PPID' >> HERE/pids; sleep 1000) & done; wait"
            ),
        ),
        (
            "daemon",
            format!(
                "{mark}; setsid sh -c '{mark}; {stubborn_quoted}; sleep 1000' >/dev/null 2>&1 & exec sleep 1000",
                stubborn_quoted = "trap \"\" TERM HUP"
            ),
        ),
    ])
}

/// A gateway, its socket, and what it had before anything happened.
struct Target {
    bin: Bin,
    process: Process,
    kind: &'static str,
    descriptors: usize,
}

impl Target {
    fn start(kind: &'static str, flags: &[&str]) -> Self {
        let bin = Bin::new();
        let root = bin.folder.root().display().to_string();
        for (name, text) in endless() {
            bin.script(name, &text.replace("HERE", &root));
        }
        bin.script("good", &format!("{TEXT}; cat"));
        let spool = bin.folder.mkdir("spool").display().to_string();
        let socket = bin.folder.path("app.sock");
        let mut process =
            Process::start(&bin.folder, "gateway", &program(&format!("{kind}-gateway")), |command| {
                command.args(["--socket", &format!("unix:{}", socket.display()), "--kill-grace", "200ms"]);
                command.args([
                    "--max-programs",
                    "0",
                    "--workers",
                    "120",
                    "--stderr",
                    "log",
                    "--spool-dir",
                    &spool,
                ]);
                command.args(flags).arg(format!("cgi:{root}"));
            });
        process.ready_when(|| UnixStream::connect(&socket).is_ok());
        let mut target = Self { bin, process, kind, descriptors: 0 };
        target.assert_serves();
        let mut looks = 0;
        wait_until("it rests", || {
            let now = target.count();
            looks = if std::mem::replace(&mut target.descriptors, now) == now { looks + 1 } else { 0 };
            looks == 10
        });
        target
    }

    fn proc(&self, name: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.process.pid().to_string()).join(name)
    }

    fn count(&self) -> usize {
        fs::read_dir(self.proc("fd")).expect("it lives").count()
    }

    fn connect(&self, path: &str, length: usize, body: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(self.bin.folder.path("app.sock")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let length = length.to_string();
        let wire = match self.kind {
            "fcgi" => {
                let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", path), ("CONTENT_LENGTH", &length)];
                let mut wire = Request { keep_conn: false, ..Request::new(&params, body) }.bytes();
                if length != body.len().to_string() {
                    // Without the end of its body.
                    wire.truncate(wire.len() - 8);
                }
                wire
            }
            _ => {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                [head.as_bytes(), body].concat()
            }
        };
        stream.write_all(&wire).expect("room");
        stream
    }

    #[track_caller]
    fn assert_serves(&self) {
        let mut answer = Vec::new();
        self.connect("/good", 4, b"body").read_to_end(&mut answer).expect("an answer in time");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("200 OK") && answer.contains("body"), "{answer}");
    }

    fn pids(&self) -> Vec<String> {
        let text = fs::read_to_string(self.bin.folder.path("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// No process in the folder of the programs; those that stay are shown.
    #[track_caller]
    fn assert_no_process(&self) {
        let of = |pid: &Path, name: &str| fs::read_link(pid.join(name)).unwrap_or_default();
        let stays = || -> Vec<String> {
            let all = fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path());
            let ours = all.filter(|pid| of(pid, "cwd") == self.bin.folder.root());
            let shown = |pid: std::path::PathBuf| fs::read_to_string(pid.join("cmdline")).unwrap_or_default();
            ours.map(shown).collect()
        };
        if !comes_true(PATIENCE, &mut || stays().is_empty()) {
            panic!("these stay: {:#?}", stays());
        }
    }

    /// No process of the programs, no descriptor, no temporary file is left.
    #[track_caller]
    fn assert_nothing_stays(&self) {
        self.assert_no_process();
        for pid in self.pids() {
            assert!(!lives(&pid), "process {pid} lives");
        }
        wait_until("its descriptors are back", || self.count() <= self.descriptors);
        let tasks = || fs::read_dir(self.proc("task")).expect("it lives").flatten();
        wait_until("no child is left", || {
            tasks()
                .all(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default().is_empty())
        });
        assert_eq!(fs::read_dir(self.bin.folder.path("spool")).expect("a folder").count(), 0);
        self.assert_serves();
    }
}

/// Each program for some of them, with no body, with all of it, or while it is still awaited.
fn hundred(target: &Target) -> Vec<UnixStream> {
    let names: Vec<String> = endless().into_keys().map(|name| format!("/{name}")).collect();
    let body = vec![b'x'; 150_000];
    (0..100)
        .map(|number| {
            let length = [0, 150_000, 150_000, 1_000_000][number / names.len() % 4];
            let sent = [0, 150_000, 150_000, 100_000][number / names.len() % 4];
            target.connect(&names[number % names.len()], length, &body[..sent])
        })
        .collect()
}

const KINDS: [&str; 2] = ["fcgi", "http"];

/// A daemon that was just leaving its program's group was not found again.
#[test]
fn a_hundred_clients_that_go_away_leave_none_of_their_programs() {
    for kind in KINDS {
        let target = Target::start(kind, &[]);
        let clients = hundred(&target);
        wait_until("all programs run", || target.pids().len() >= 100);
        drop(clients);
        target.assert_nothing_stays();
    }
}

/// Orphans that ended while nothing was started any more stayed as zombies.
#[test]
fn a_hundred_programs_that_take_too_long_are_ended() {
    for kind in KINDS {
        let flags = [
            "--first-byte-timeout",
            "5s",
            "--output-timeout",
            "1s",
            "--write-timeout",
            "1s",
            "--body-timeout",
            "1s",
        ];
        let target = Target::start(kind, &flags);
        let clients = hundred(&target);
        wait_until("all programs run", || target.pids().len() >= 100);
        // Nobody reads anything, nobody goes away.
        target.assert_nothing_stays();
        drop(clients);
    }
}

#[test]
fn the_end_of_a_gateway_ends_a_hundred_programs() {
    for kind in KINDS {
        let mut target = Target::start(kind, &["--drain-timeout", "300ms"]);
        let clients = hundred(&target);
        wait_until("all programs run", || target.pids().len() >= 100);
        target.process.signal(Signal::SIGTERM);
        target.process.wait();
        target.assert_no_process();
        assert!(!target.pids().iter().any(|pid| lives(pid)), "{}", target.process.log());
        assert_eq!(fs::read_dir(target.bin.folder.path("spool")).expect("a folder").count(), 0);
        drop(clients);
    }
}
