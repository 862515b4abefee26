//! When a program is over, and that nothing of it stays.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewright::apps::{CgiPrograms, ProgramSettings};
use gatewright::handlers::End;
use gatewright::proto::fcgi::{Stream, encode};
use gatewright::server::Protocol;
use nix::sys::signal::Signal;

use super::{Bin, get, lives, run};
use crate::servers::harness::{Process, program, wait_until};
use crate::wire::{PATIENCE, Request, Running, read_answers};

const TEXT: &str = "printf 'Content-Type: text/plain\\n\\n'";

/// Time-outs that are over at once, as tests go.
fn impatient() -> ProgramSettings {
    let mut settings = ProgramSettings::default();
    settings.first_byte_timeout = Duration::from_millis(100);
    settings.output_timeout = Duration::from_millis(100);
    settings.kill_grace = Duration::from_millis(100);
    settings
}

/// The numbers that a program has left in a file.
fn pids(bin: &Bin, count: usize) -> Vec<String> {
    let mut pids = Vec::new();
    wait_until("the program has written its numbers", || {
        let text = fs::read_to_string(bin.folder.path("pids")).unwrap_or_default();
        pids = text.lines().map(str::to_owned).collect();
        pids.len() >= count
    });
    pids
}

#[track_caller]
fn all_gone(pids: &[String]) {
    for pid in pids {
        wait_until(&format!("process {pid} is gone"), || !lives(pid));
    }
}

#[test]
fn a_program_that_says_nothing_is_a_504_and_ends() {
    for text in ["exec sleep 1000", "trap '' TERM; sleep 1000", "trap '' TERM; while :; do sleep 1; done"] {
        let bin = Bin::new();
        bin.script("x", &format!("echo $$ > {}/pids; {text}", bin.folder.root().display()));
        let programs = bin.programs(impatient());
        let answer = run(&programs, &get("/x"), b"").expect("504 Gateway Timeout");
        answer.logged("it wrote nothing within 100ms (--first-byte-timeout)");
        all_gone(&pids(&bin, 1));
    }
}

#[test]
fn a_program_that_says_no_more_is_cut() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; head -c 200000 /dev/zero; sleep 1000"));
    let answer = run(&bin.programs(impatient()), &get("/x"), b"");
    assert_eq!(answer.outcome.end, End::Truncated);
    answer.logged("it wrote nothing more within 100ms (--output-timeout)");
}

#[test]
fn a_program_has_a_time_in_all() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; while echo x; do sleep 0.02; done"));
    let mut settings = ProgramSettings::default();
    settings.request_timeout = Duration::from_millis(200);
    run(&bin.programs(settings), &get("/x"), b"").logged("it did not end within 200ms (--request-timeout)");
}

/// Its children, those that ignore SIGTERM, and a descendant that has left the group while its parents live.
#[test]
fn a_time_out_ends_the_whole_family() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script(
        "x",
        &format!(
            "echo $$ >> {pids_file}\n(trap '' TERM; sh -c 'echo $PPID' >> {pids_file}; sleep 1000) &\n\
             setsid sh -c 'trap \"\" TERM; echo $$ >> {pids_file}; sleep 1000 & echo $! >> {pids_file}; wait' &\n\
             sleep 1000"
        ),
    );
    let mut settings = impatient();
    settings.first_byte_timeout = Duration::from_millis(700);
    let programs = bin.programs(settings);
    run(&programs, &get("/x"), b"").expect("504 Gateway Timeout");
    let pids = pids(&bin, 4);
    all_gone(&pids);
}

#[test]
fn output_that_a_background_process_holds_open_is_not_waited_for() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("x", &format!("{TEXT}; echo whole; sleep 1000 & echo $! > {pids_file}"));
    let mut settings = ProgramSettings::default();
    settings.linger = Duration::from_millis(50);
    let programs = bin.programs(settings);
    let answer = run(&programs, &get("/x"), b"").expect("200 OK");
    assert_eq!((answer.outcome.end, answer.text()), (End::Answered, "whole\n".to_owned()));
    // After a clean exit it lives on.
    let pids = pids(&bin, 1);
    assert!(lives(&pids[0]));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[0].parse().unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
fn a_program_may_go_on_after_it_has_closed_its_output() {
    let bin = Bin::new();
    let done = bin.folder.path("done");
    let go = bin.folder.path("go");
    bin.script(
        "x",
        &format!(
            "{TEXT}; echo whole; exec >&- 2>&-; until [ -e {} ]; do sleep 0.02; done; echo > {}",
            go.display(),
            done.display()
        ),
    );
    let programs = bin.programs(ProgramSettings::default());
    assert_eq!(run(&programs, &get("/x"), b"").expect("200 OK").text(), "whole\n");
    assert!(!done.exists(), "the answer did not wait for it");
    fs::write(go, "").unwrap();
    wait_until("the program has done the rest", || done.exists());
}

#[test]
fn the_end_of_the_application_ends_its_programs() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("x", &format!("trap '' TERM; echo $$ > {pids_file}; while :; do sleep 1; done"));
    let mut settings = ProgramSettings::default();
    settings.kill_grace = Duration::from_millis(100);
    let programs = Arc::new(bin.programs(settings));
    let running = std::thread::spawn({
        let programs = Arc::clone(&programs);
        move || run(&programs, &get("/x"), b"").outcome.status
    });
    let pids = pids(&bin, 1);
    programs.end();
    all_gone(&pids);
    assert_eq!(running.join().unwrap(), Some(502));
}

#[test]
fn too_many_programs_wait_and_then_are_refused() {
    let bin = Bin::new();
    let go = bin.folder.path("go");
    bin.script("x", &format!("{TEXT}; until [ -e {} ]; do sleep 0.02; done; echo whole", go.display()));
    bin.script("y", TEXT);
    let mut settings = ProgramSettings::default();
    settings.max_programs = 1;
    settings.queue = 1;
    settings.queue_timeout = Duration::from_millis(50);
    let programs = Arc::new(bin.programs(settings));
    let first = std::thread::spawn({
        let programs = Arc::clone(&programs);
        move || run(&programs, &get("/x"), b"").expect("200 OK").text()
    });
    // The first one may not have its place yet.
    wait_until("a second program is refused", || {
        let answer = run(&programs, &get("/y"), b"");
        answer.head.contains("503 Service Unavailable") && answer.head.contains("\r\nRetry-After: ")
    });
    fs::write(go, "").unwrap();
    assert_eq!(first.join().unwrap(), "whole\n");
    run(&programs, &get("/y"), b"").expect("200 OK");
}

fn serve(programs: CgiPrograms) -> Running {
    Running::start(Protocol::FastCgi, programs)
}

#[test]
fn output_leaves_as_it_is_written() {
    let bin = Bin::new();
    let go = bin.folder.path("go");
    bin.script(
        "x",
        &format!("{TEXT}; echo first; until [ -e {} ]; do sleep 0.02; done; echo second", go.display()),
    );
    let server = serve(bin.programs(ProgramSettings::default()));
    let mut peer = server.connect();
    peer.write_all(&Request::new(&get("/x"), b"").bytes()).unwrap();
    let mut seen = Vec::new();
    while !seen.windows(6).any(|six| six == b"first\n") {
        let mut block = [0; 4096];
        let count = peer.read(&mut block).unwrap();
        assert!(count > 0, "the answer goes on");
        seen.extend_from_slice(&block[..count]);
    }
    assert!(!seen.windows(7).any(|seven| seven == b"second\n"));
    fs::write(go, "").unwrap();
    // The record that was cut by hand is not decoded again: what follows is its tail and the rest.
    wait_until("the rest has come", || {
        let mut block = [0; 4096];
        let count = peer.read(&mut block).unwrap();
        seen.extend_from_slice(&block[..count]);
        seen.windows(7).any(|seven| seven == b"second\n")
    });
}

/// A request for a path without a body, as each protocol has it.
fn wire_of(protocol: Protocol, path: &str) -> Vec<u8> {
    match protocol {
        Protocol::FastCgi => Request::new(&get(path), b"").bytes(),
        Protocol::Http => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
        _ => {
            let head: [(&[u8], &[u8]); 2] = [(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", path.as_bytes())];
            let mut wire = Vec::new();
            gatewright::proto::scgi::encode_head(&mut wire, 0, head).unwrap();
            wire
        }
    }
}

/// A browser's EventSource is open once the head has come: that does not wait for the first event.
#[test]
fn a_head_leaves_before_there_is_any_document() {
    let bin = Bin::new();
    let go = bin.folder.path("go");
    bin.script("x", &format!("{TEXT}; until [ -e {} ]; do sleep 0.02; done; echo document", go.display()));
    let check = |peer: &mut dyn Read| {
        let mut seen = Vec::new();
        read_until(peer, &mut seen, b"text/plain");
        read_until(peer, &mut seen, b"\r\n\r\n");
        assert!(!seen.windows(8).any(|eight| eight == b"document"), "{}", seen.escape_ascii());
        fs::write(&go, "").unwrap();
        read_until(peer, &mut seen, b"document");
        fs::remove_file(&go).unwrap();
    };
    for protocol in [Protocol::FastCgi, Protocol::Scgi, Protocol::Http] {
        let server = Running::start(protocol, bin.programs(ProgramSettings::default()));
        let mut peer = server.connect();
        peer.write_all(&wire_of(protocol, "/x")).unwrap();
        check(&mut peer);
    }
    let mut command = std::process::Command::new(program("cgi-gateway"));
    let app = format!("cgi:{}", bin.folder.root().display());
    command.arg(app).env("REQUEST_METHOD", "GET").env("PATH_INFO", "/x").stdout(std::process::Stdio::piped());
    let mut gateway = command.spawn().unwrap();
    check(gateway.stdout.as_mut().unwrap());
    assert!(gateway.wait().unwrap().success());
}

#[test]
fn a_client_that_goes_away_takes_its_program_along() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("quiet", &format!("echo $$ > {pids_file}; exec sleep 1000"));
    bin.script("loud", &format!("echo $$ > {pids_file}; {TEXT}; exec yes"));
    bin.script("reader", &format!("echo $$ > {pids_file}; exec cat"));
    for (path, length, body) in [("/quiet", "", ""), ("/loud", "", ""), ("/reader", "1000000", "a little")] {
        let _ = fs::remove_file(bin.folder.path("pids"));
        let server = serve(bin.programs(ProgramSettings::default()));
        let mut peer = server.connect();
        let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", path), ("CONTENT_LENGTH", length)];
        let request = Request::new(&params, body.as_bytes());
        // Without the end of STDIN where the body is not whole.
        let bytes = request.bytes();
        peer.write_all(&bytes[..bytes.len() - if body.is_empty() { 0 } else { 8 }]).unwrap();
        let pids = pids(&bin, 1);
        drop(peer);
        all_gone(&pids);
    }
}

#[test]
fn nothing_stays_after_many_requests() {
    let bin = Bin::new();
    bin.script("good", &format!("{TEXT}; cat"));
    bin.script("bad", "exit 1");
    bin.script("slow", "exec sleep 1000");
    let mut settings = ProgramSettings::default();
    settings.first_byte_timeout = Duration::from_millis(300);
    settings.kill_grace = Duration::from_millis(100);
    let programs = bin.programs(settings);
    let body = vec![b'x'; 100_000];
    for round in 0..60 {
        let path = ["/good", "/bad", "/none", "/slow"][if round % 20 == 0 { 3 } else { round % 3 }];
        run(&programs, &[("REQUEST_METHOD", "POST"), ("PATH_INFO", path)], &body);
    }
    // What belongs to these programs: processes by their working directory.
    let folder = bin.folder.root().to_owned();
    wait_until("no process is left", || {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .all(|entry| fs::read_link(entry.path().join("cwd")).map_or(true, |cwd| cwd != folder))
    });
}

/// A gateway in a process of its own.
fn gateway(bin: &Bin, flags: &[&str]) -> (Process, std::path::PathBuf) {
    let socket = bin.folder.path("app.sock");
    let address = format!("unix:{}", socket.display());
    let app = format!("cgi:{}", bin.folder.root().display());
    let mut process = Process::start(&bin.folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--socket", &address]).args(flags).arg(app);
    });
    process.ready_when(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    (process, socket)
}

fn send(socket: &std::path::Path, path: &str) -> std::os::unix::net::UnixStream {
    let mut peer = std::os::unix::net::UnixStream::connect(socket).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&Request::new(&get(path), b"").bytes()).unwrap();
    peer
}

/// It holds, or nothing is served: whoever asks for a bound shall not believe in one that is not there. Which of both depends
/// on the control group that the tests run in; `tests/machine` is where it has to hold.
#[test]
fn a_bound_on_processes_holds_or_the_gateway_does_not_start() {
    let bin = Bin::new();
    bin.script("few", &format!("sleep 1 >/dev/null 2>&1 & {TEXT}; echo whole"));
    bin.script("many", &format!("for n in 1 2 3 4 5 6 7 8 9; do sleep 1 >/dev/null 2>&1 & done; {TEXT}"));
    let socket = bin.folder.path("app.sock");
    let mut gateway = Process::start(&bin.folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--limit-processes", "5", "--stderr", "log", "--socket"]).arg(&socket);
        command.arg(format!("cgi:{}", bin.folder.root().display()));
    });
    let listens = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    wait_until("the gateway listens or has ended", || listens() || gateway.ended().is_some());
    if gateway.ended().is_some() {
        assert_eq!(gateway.wait().code(), Some(1));
        let log = gateway.log();
        let told = log.contains("--limit-processes needs control groups") && log.contains("Delegate=pids");
        assert!(told && log.lines().count() == 1, "{log}");
        return;
    }
    let answer = read_answers(&mut send(&socket, "/few"), 1).remove(0);
    assert!(answer.text().ends_with("whole\n"), "{answer:?}");
    let answer = read_answers(&mut send(&socket, "/many"), 1).remove(0);
    assert!(answer.text().starts_with("Status: 502 "), "{answer:?}");
    let log = gateway.log();
    assert!(log.contains("more processes than --limit-processes allows"), "{log}");
}

#[test]
fn the_end_of_a_gateway_is_the_end_of_its_programs() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script(
        "x",
        &format!("{TEXT}; trap '' TERM; echo $$ > {pids_file}; echo begun; while :; do sleep 1; done"),
    );
    // A program that never ends does not hold up the end for longer than it is given.
    let (mut process, socket) = gateway(&bin, &["--kill-grace", "100ms", "--output-timeout", "1s"]);
    let _peer = send(&socket, "/x");
    let pids = pids(&bin, 1);
    process.signal(Signal::SIGTERM);
    process.wait();
    all_gone(&pids);
}

/// Programs had run on after it, for ever where they wrote nothing.
#[test]
fn a_second_signal_leaves_no_program_behind() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("x", &format!("trap '' TERM; sleep 1000 & echo $$ $! | tr ' ' '\\n' > {pids_file}; wait"));
    let (mut process, socket) = gateway(&bin, &["--first-byte-timeout", "0"]);
    let _peer = send(&socket, "/x");
    let pids = pids(&bin, 2);
    process.signal(Signal::SIGTERM);
    wait_until("nobody new is let in", || !socket.exists());
    // Signals that come together are one; one that comes later ends it.
    wait_until("a later signal ends it", || {
        process.signal(Signal::SIGINT);
        process.ended().is_some()
    });
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    all_gone(&pids);
}

#[test]
fn a_gateway_that_is_killed_leaves_programs_that_end_at_their_next_write() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("x", &format!("{TEXT}; echo $$ > {pids_file}; while echo x; do sleep 0.02; done"));
    let (mut process, socket) = gateway(&bin, &[]);
    let _peer = send(&socket, "/x");
    let pids = pids(&bin, 1);
    process.signal(Signal::SIGKILL);
    process.wait();
    all_gone(&pids);
}

/// Daemons leave the group and their parents: as the one who adopts orphans, the gateway finds them all the same.
#[test]
fn a_daemon_that_has_left_everything_is_found_by_a_gateway() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script(
        "x",
        &format!(
            "setsid sh -c 'sh -c \"echo \\$\\$ >> {pids_file}; exec sleep 1000\" & exit' >/dev/null 2>&1\n\
             echo $$ >> {pids_file}; exec sleep 1000"
        ),
    );
    let (_process, socket) = gateway(&bin, &["--first-byte-timeout", "1s", "--kill-grace", "100ms"]);
    let mut peer = send(&socket, "/x");
    let pids = pids(&bin, 2);
    assert!(pids.iter().all(|pid| lives(pid)));
    let answer = read_answers(&mut peer, 1).remove(0);
    assert!(answer.text().starts_with("Status: 504 Gateway Timeout"), "{answer:?}");
    all_gone(&pids);
}

#[test]
fn orphans_that_a_gateway_adopts_are_reaped() {
    let bin = Bin::new();
    let pids_file = format!("{}/pids", bin.folder.root().display());
    bin.script("x", &format!("{TEXT}; (sleep 0.1 & echo $! > {pids_file}) >/dev/null 2>&1"));
    let (_process, socket) = gateway(&bin, &[]);
    read_answers(&mut send(&socket, "/x"), 1);
    let pid = pids(&bin, 1).remove(0);
    let begun = Instant::now();
    wait_until("the orphan is reaped", || !std::path::Path::new("/proc").join(&pid).exists());
    assert!(begun.elapsed() < PATIENCE);
}

/// Requests of all kinds, clients that go away anywhere, time-outs: afterwards the gateway has as many descriptors as
/// before, no child, and no temporary file. GATEWRIGHT_TEST_REQUESTS says how many.
#[test]
fn nothing_stays_after_requests_that_end_in_every_way() {
    let count: usize = std::env::var("GATEWRIGHT_TEST_REQUESTS")
        .map_or(400, |text| text.parse().expect("a number of requests"));
    let bin = Bin::new();
    let spool = bin.folder.mkdir("spool");
    bin.script("hello", &format!("{TEXT}; echo hello"));
    bin.script("echo", &format!("{TEXT}; cat"));
    bin.script("big", &format!("{TEXT}; head -c 300000 /dev/zero"));
    bin.script("bad", "exit 1");
    bin.script("slow", "trap '' TERM; sleep 1000");
    bin.script("stall", &format!("{TEXT}; head -c 100000 /dev/zero; exec sleep 1000"));
    bin.script("background", &format!("{TEXT}; echo x; sleep 0.3 &"));
    bin.script("deaf", &format!("{TEXT}; exec <&-; echo x"));
    let spool_flag = spool.display().to_string();
    let flags = [
        "--first-byte-timeout",
        "700ms",
        "--output-timeout",
        "700ms",
        "--kill-grace",
        "100ms",
        "--linger",
        "50ms",
        "--spool-dir",
        &spool_flag,
        "--stderr",
        "log",
    ];
    let (process, socket) = gateway(&bin, &flags);
    let pid = process.pid().to_string();
    let proc_folder = std::path::PathBuf::from(format!("/proc/{pid}"));
    read_answers(&mut send(&socket, "/hello"), 1);
    let descriptors = || fs::read_dir(proc_folder.join("fd")).expect("it lives").count();
    // What this thread holds open to it is closed before each count.
    let before = descriptors();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    one_of_many(&socket, number);
                }
            });
        }
    });
    let tasks = || fs::read_dir(proc_folder.join("task")).expect("it lives").flatten();
    let children = || {
        tasks().any(|task| !fs::read_to_string(task.path().join("children")).unwrap_or_default().is_empty())
    };
    wait_until("no child is left", || !children());
    wait_until("no descriptor is left", || descriptors() <= before);
    assert_eq!(fs::read_dir(&spool).expect("a folder").count(), 0, "temporary files");
    read_answers(&mut send(&socket, "/hello"), 1);
}

/// A request that is answered, or given up at a place that its number decides.
fn one_of_many(socket: &std::path::Path, number: usize) {
    // Mixed, and the same in each run.
    let mixed = number.wrapping_mul(2_654_435_761) >> 7;
    let path = ["/hello", "/echo", "/big", "/bad", "/none", "/background", "/deaf", "/hello"][mixed % 8];
    let path = match number % 50 {
        7 => "/slow",
        13 => "/stall",
        _ => path,
    };
    let body = vec![b'x'; [0, 10, 70_000, 200_000][(mixed >> 3) % 4]];
    let length = body.len().to_string();
    let mut params = vec![("REQUEST_METHOD", "POST"), ("PATH_INFO", path)];
    // Some do not say how long their body is.
    if !(mixed >> 5).is_multiple_of(3) {
        params.push(("CONTENT_LENGTH", &length));
    }
    let bytes = Request::new(&params, &body).bytes();
    let mut peer = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket");
    match (mixed >> 7) % 4 {
        // Gone within the request.
        0 => drop(peer.write_all(&bytes[..bytes.len() * (mixed % 97) / 97])),
        // Gone within the answer.
        1 => {
            drop(peer.write_all(&bytes));
            drop(peer.read(&mut [0; 100]));
        }
        _ => {
            let mut reader = peer.try_clone().expect("a socket");
            std::thread::scope(|scope| {
                scope.spawn(|| peer.write_all(&bytes));
                // A broken answer ends the connection.
                let mut block = [0; 65536];
                let mut seen: Vec<u8> = Vec::new();
                while let Ok(count @ 1..) = reader.read(&mut block) {
                    let kept = seen.len().saturating_sub(16);
                    seen.drain(..kept);
                    seen.extend_from_slice(&block[..count]);
                    let end = [1, 3, 0, 1, 0, 8, 0, 0];
                    if seen.len() >= 16 && seen[seen.len() - 16..].starts_with(&end) {
                        break;
                    }
                }
                let _ = reader.shutdown(std::net::Shutdown::Both);
            });
        }
    }
}

/// The head of a POST, and a piece of its body.
fn begin(path: &str, length: &str, piece: &[u8]) -> Vec<u8> {
    let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", path), ("CONTENT_LENGTH", length)];
    let mut wire = Request::new(&params, b"").head();
    encode::stream(&mut wire, Stream::Stdin, 1, piece);
    wire
}

fn read_until(peer: &mut (impl Read + ?Sized), seen: &mut Vec<u8>, what: &[u8]) {
    while !seen.windows(what.len()).any(|window| window == what) {
        let mut block = [0; 4096];
        let count = peer.read(&mut block).unwrap();
        assert!(count > 0, "the answer ended: {}", seen.escape_ascii());
        seen.extend_from_slice(&block[..count]);
    }
}

#[test]
fn where_the_web_server_can_a_program_talks_both_ways_at_once() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; exec cat"));
    let programs = bin.programs(ProgramSettings::default());
    let server = Running::with(Protocol::FastCgi, programs, |settings| settings.full_duplex = true);
    let mut peer = server.connect();
    peer.write_all(&begin("/x", "100000", b"first piece")).unwrap();
    let mut seen = Vec::new();
    read_until(&mut peer, &mut seen, b"first piece");
    let mut rest = Vec::new();
    encode::stream(&mut rest, Stream::Stdin, 1, b"second piece");
    peer.write_all(&rest).unwrap();
    read_until(&mut peer, &mut seen, b"second piece");
}

/// Nobody waits for a body that nobody will read.
#[test]
fn an_answer_does_not_wait_for_a_body_that_its_program_leaves_unread() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; echo refused"));
    for protocol in [Protocol::FastCgi, Protocol::Scgi] {
        let server = Running::start(protocol, bin.programs(ProgramSettings::default()));
        let mut peer = server.connect();
        match protocol {
            Protocol::FastCgi => peer.write_all(&begin("/x", "10000000", b"a little")).unwrap(),
            _ => {
                let head: [(&[u8], &[u8]); 2] = [(b"REQUEST_METHOD", b"POST"), (b"PATH_INFO", b"/x")];
                let mut wire = Vec::new();
                gatewright::proto::scgi::encode_head(&mut wire, 10_000_000, head).unwrap();
                wire.extend_from_slice(b"a little");
                peer.write_all(&wire).unwrap();
            }
        }
        read_until(&mut peer, &mut Vec::new(), b"refused\n");
    }
}

#[test]
fn a_client_that_stops_sending_is_a_408_and_its_program_ends() {
    let bin = Bin::new();
    bin.script("x", &format!("echo $$ > {}/pids; exec cat", bin.folder.root().display()));
    let server = serve(bin.programs(impatient()));
    let mut peer = server.connect();
    peer.write_all(&begin("/x", "10000000", b"a little")).unwrap();
    let mut seen = Vec::new();
    read_until(&mut peer, &mut seen, b"Status: 408 Request Timeout");
    all_gone(&pids(&bin, 1));
}
