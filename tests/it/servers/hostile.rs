//! Peers that mean harm, against a gateway whose memory, descriptors and time are looked at from outside.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gatewright::proto::fcgi::{Role, Stream, encode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

mod flags;
mod http;
mod names;

use super::client::PATIENCE;
use super::harness::{Folder, Process, program, wait_until};
use crate::wire::{Request, answers, read_answers};

/// A gateway with two workers before the workbench.
struct Target {
    folder: Folder,
    process: Process,
    kind: &'static str,
    /// Descriptors and KiB of memory before anything happened.
    descriptors: usize,
    memory: u64,
}

impl Target {
    fn start(kind: &'static str, flags: &[&str]) -> Self {
        Self::limited(kind, "20000", flags)
    }

    /// With so many descriptors at most.
    fn limited(kind: &'static str, descriptors: &str, flags: &[&str]) -> Self {
        Self::run(kind, descriptors, "2", flags)
    }

    fn with_workers(kind: &'static str, workers: &str, flags: &[&str]) -> Self {
        Self::run(kind, "20000", workers, flags)
    }

    fn run(kind: &'static str, descriptors: &str, workers: &str, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let socket = folder.path("app.sock");
        let most = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1;
        let wanted = descriptors.parse::<u64>().expect("a number").min(most);
        let mut process = Process::start(&folder, "gateway", "prlimit".as_ref(), |command| {
            command.arg(format!("--nofile={wanted}:{wanted}")).arg(program("workbench")).arg(kind);
            command.arg("--socket").arg(&socket).args(["--workers", workers]).args(flags);
        });
        process.ready_when(|| UnixStream::connect(&socket).is_ok());
        let mut target = Self { folder, process, kind, descriptors: 0, memory: 0 };
        target.assert_serves();
        let mut looks = 0;
        wait_until("it rests", || {
            let now = target.count();
            looks = if std::mem::replace(&mut target.descriptors, now) == now { looks + 1 } else { 0 };
            looks == 10
        });
        target.memory = target.peak();
        target
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path("app.sock")).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.process.pid())
    }

    fn count(&self) -> usize {
        fs::read_dir(self.proc("fd")).map_or(0, Iterator::count)
    }

    /// The most memory it ever had, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
        line.trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// Ticks of the clock for which it has run.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    }

    /// A thread that spun would use 100 ticks of a second.
    #[track_caller]
    fn assert_rests(&self) {
        let before = self.ticks();
        std::thread::park_timeout(Duration::from_secs(1));
        let used = self.ticks() - before;
        assert!(used < 30, "{used} ticks in a second");
    }

    #[track_caller]
    fn assert_serves(&self) {
        let answer = exchange(self.connect(), &good(self.kind));
        assert!(answer.contains(ok(self.kind)), "{answer:.300} {}", self.process.log());
    }

    /// The next good request is answered, memory has grown by no more than so many MiB, and every descriptor is back.
    #[track_caller]
    fn assert_unharmed(&self, mebibytes: u64) {
        self.assert_serves();
        let grown = self.peak().saturating_sub(self.memory);
        assert!(grown <= mebibytes * 1024, "memory has grown by {grown} KiB");
        wait_until("its descriptors are back", || self.count() <= self.descriptors);
    }
}

fn good(kind: &str) -> Vec<u8> {
    request(kind, "/here")
}

/// How the answer to that begins, more or less.
fn ok(kind: &str) -> &'static str {
    if kind == "http" { "HTTP/1.1 200 OK" } else { "Status: 200 OK" }
}

fn request(kind: &str, path: &str) -> Vec<u8> {
    match kind {
        "fcgi" => Request { keep_conn: false, ..Request::new(&[("PATH_INFO", path)], b"") }.bytes(),
        "http" => format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes(),
        _ => scgi(&[("CONTENT_LENGTH", "0"), ("SCGI", "1"), ("PATH_INFO", path)]),
    }
}

fn scgi(pairs: &[(&str, &str)]) -> Vec<u8> {
    let head: String = pairs.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    format!("{}:{head},", head.len()).into_bytes()
}

/// Sends what the other side takes, and reads what comes; either may fail.
fn exchange(mut stream: UnixStream, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    let mut sending = stream.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = sending.write_all(bytes);
            let _ = sending.shutdown(Shutdown::Write);
        });
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "the connection stays open");
        }
    });
    String::from_utf8_lossy(&answer).into_owned()
}

/// A header and the beginning of PARAMS.
fn begun(id: u16) -> Vec<u8> {
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, id, Role::RESPONDER, true);
    wire
}

#[test]
fn claimed_lengths_of_two_gibibytes_take_no_memory() {
    let target = Target::start("fcgi", &[]);
    for (name, value) in [(0x7fff_ffffu32, 1u32), (1, 0x7fff_ffff), (0x7fff_ffff, 0x7fff_ffff)] {
        let lengths = [(name | 1 << 31).to_be_bytes(), (value | 1 << 31).to_be_bytes()].concat();
        let mut wire = begun(1);
        encode::stream(&mut wire, Stream::Params, 1, &[&lengths[..], b"NAME"].concat());
        let held = target.connect();
        (&held).write_all(&wire).expect("room");
        encode::stream_end(&mut wire, Stream::Params, 1);
        assert_eq!(exchange(target.connect(), &wire), "", "a pair past the end");
        target.assert_serves();
    }
    target.assert_unharmed(4);
    let target = Target::start("scgi", &[]);
    for claim in ["2147483648:CONTENT_LENGTH", "99999999999999999999:", "262145:"] {
        assert_eq!(exchange(target.connect(), claim.as_bytes()), "");
    }
    let length = scgi(&[("CONTENT_LENGTH", "2147483648"), ("SCGI", "1"), ("PATH_INFO", "/echo")]);
    assert!(exchange(target.connect(), &length).starts_with("Status: 413 "));
    target.assert_unharmed(4);
}

#[test]
fn sixty_four_mebibytes_of_parameters_are_431_and_not_kept() {
    let target = Target::start("fcgi", &[]);
    let mut wire = begun(1);
    let pair = [&[1, 0x80, 0, 0x80, 0, b'A'][..], &[b'x'; 0x8000]].concat();
    for _ in 0..2048 {
        encode::stream(&mut wire, Stream::Params, 1, &pair);
    }
    encode::stream_end(&mut wire, Stream::Params, 1);
    encode::stream_end(&mut wire, Stream::Stdin, 1);
    assert!(exchange(target.connect(), &wire).contains("Status: 431 "));
    target.assert_unharmed(4);
}

#[test]
fn values_asked_for_by_ten_thousand_names_are_answered_with_those_known() {
    let target = Target::start("fcgi", &[]);
    let names: Vec<u8> = (0..10_000).flat_map(|number| format!("\x05\0N{number:04}").into_bytes()).collect();
    let mut wire = Vec::new();
    for piece in names.chunks(7 * 9_000) {
        let length = u16::try_from(piece.len()).expect("a record").to_be_bytes();
        wire.extend_from_slice(&[1, 9, 0, 0, length[0], length[1], 0, 0]);
        wire.extend_from_slice(piece);
    }
    wire.extend_from_slice(&good("fcgi"));
    assert!(exchange(target.connect(), &wire).contains("Status: 200 OK"));
    target.assert_unharmed(4);
}

/// The records that answer them wait for room; those of an answer that nobody reads are in their way.
#[test]
fn values_asked_for_for_ever_and_never_read_are_bounded() {
    let asked = [&[1, 9, 0, 0, 0, 17, 0, 0][..], b"\x0f\0FCGI_MPXS_CONNS"].concat().repeat(2000);
    for before in [Vec::new(), Request::new(&[("PATH_INFO", "/big")], b"").bytes()] {
        let target = Target::start("fcgi", &[]);
        let mut stream = target.connect();
        stream.write_all(&before).expect("room");
        stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
        // Until it is closed, or not read any further.
        for _ in 0..2000 {
            if stream.write_all(&asked).is_err() {
                break;
            }
        }
        target.assert_serves();
        drop(stream);
        target.assert_unharmed(8);
    }
}

/// As many connections as are wanted, or as the machine allows.
fn as_many_as(wanted: usize) -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    }
    usize::try_from(hard.saturating_sub(2000)).unwrap_or(usize::MAX).min(wanted)
}

/// Slowloris: heads that come byte by byte, and never to their end. Nobody else notices, and each is told in time.
#[test]
fn five_thousand_heads_that_never_end_harm_nobody() {
    let many = as_many_as(5_000);
    let target = Target::start("http", &["--head-timeout", "5s"]);
    let mut held: Vec<UnixStream> = (0..many)
        .map(|_| {
            let mut stream = target.connect();
            stream.write_all(b"GET /here HTTP/1.1\r\nHost: h\r\nX-Slow: ").expect("room");
            stream
        })
        .collect();
    // On a slow machine the first ones may have had their time by then.
    let first_is_told = || target.process.log().contains("did not come in time");
    wait_until("all are accepted", || target.count() >= target.descriptors + many || first_is_told());
    loop {
        let goes_on = held[0].write_all(b"x").is_ok();
        for (number, stream) in held.iter_mut().enumerate().skip(1) {
            let _ = stream.write_all(b"x");
            if number % 1000 == 0 {
                target.assert_serves();
            }
        }
        if !goes_on {
            break;
        }
    }
    for mut stream in held {
        let mut answer = Vec::new();
        // A byte that came after the server had closed resets the connection.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
    }
    target.assert_unharmed(32);
}

#[test]
fn ten_thousand_idle_and_half_open_connections_hold_no_worker() {
    let many = as_many_as(9_900);
    let target = Target::start("fcgi", &[]);
    let whole = good("fcgi");
    let mut held = Vec::new();
    for number in 0..many {
        let mut stream = target.connect();
        match number % 3 {
            0 => {}
            1 => stream.write_all(&whole[..5]).expect("room"),
            _ => stream.write_all(&whole[..40]).expect("room"),
        }
        held.push(stream);
    }
    wait_until("all are accepted", || target.count() >= target.descriptors + many);
    target.assert_serves();
    // Those that were half-open may go on.
    let mut begun = held.swap_remove(2);
    begun.write_all(&whole[40..]).expect("room");
    assert!(read_answers(&mut begun, 1)[0].text().starts_with("Status: 200"));
    drop((held, begun));
    // About 3 KiB each.
    target.assert_unharmed(32);
}

#[test]
fn thirty_half_sent_bodies_and_slow_bytes_hold_no_worker() {
    for kind in ["fcgi", "scgi", "http"] {
        let target = Target::start(kind, &[]);
        let head = match kind {
            "http" => {
                let mut wire = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n".to_vec();
                wire.resize(wire.len() + 30_000, b'x');
                wire
            }
            "fcgi" => {
                let params = [("PATH_INFO", "/echo"), ("CONTENT_LENGTH", "60000")];
                let mut wire = Request::new(&params, b"").head();
                encode::stream(&mut wire, Stream::Stdin, 1, &[b'x'; 30_000]);
                wire
            }
            "scgi" => {
                let pairs = [("CONTENT_LENGTH", "60000"), ("SCGI", "1"), ("PATH_INFO", "/echo")];
                [scgi(&pairs), vec![b'x'; 30_000]].concat()
            }
            _ => {
                let head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
                [&head[..], &[b'x'; 30_000]].concat()
            }
        };
        let mut held: Vec<UnixStream> = (0..30).map(|_| target.connect()).collect();
        held.iter_mut().for_each(|stream| stream.write_all(&head).expect("room"));
        target.assert_serves();
        let mut slow = target.connect();
        for byte in good(kind) {
            slow.write_all(&[byte]).expect("room");
            target.assert_serves();
        }
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).expect("an answer");
        assert!(String::from_utf8_lossy(&answer).contains(ok(kind)));
        drop(held);
        target.assert_unharmed(16);
    }
}

#[test]
fn a_peer_that_disappears_at_any_byte_leaves_nothing_behind() {
    for kind in ["fcgi", "scgi", "http"] {
        let target = Target::start(kind, &[]);
        let whole = request(kind, "/big?bytes=1000000");
        for cut in 0..=whole.len() {
            let mut stream = target.connect();
            stream.write_all(&whole[..cut]).expect("room");
            // Also with a part of the answer read.
            if cut == whole.len() {
                stream.read_exact(&mut [0; 100]).expect("an answer");
            }
        }
        target.assert_unharmed(8);
    }
}

/// More than there are workers, with answers that fit into no buffer: an application that writes has to wait, and no
/// longer than it may.
#[test]
fn peers_that_never_read_are_given_up_in_time() {
    for kind in ["fcgi", "scgi", "http"] {
        let target = Target::start(kind, &["--write-timeout", "300ms"]);
        let silent: Vec<UnixStream> = (0..6).map(|_| target.connect()).collect();
        for mut stream in &silent {
            stream.write_all(&request(kind, "/big")).expect("room");
        }
        target.assert_serves();
        target.assert_unharmed(if kind == "http" { 40 } else { 8 });
    }
}

/// While two requests share a connection neither may stop it from being read: what has no reader yet goes to a file, up to
/// the limit of a body.
#[test]
fn a_body_on_a_shared_connection_is_kept_up_to_its_limit() {
    let target = Target::start("fcgi", &["--max-body", "32M"]);
    let mut stream = target.connect();
    let mut wire = Request { id: 2, ..Request::new(&[("PATH_INFO", "/echo")], b"") }.head();
    wire.extend_from_slice(&Request::new(&[("PATH_INFO", "/echo")], b"").head());
    let piece = vec![b'x'; 0xfff8];
    // More than is allowed.
    for _ in 0..520 {
        encode::stream(&mut wire, Stream::Stdin, 1, &piece);
    }
    for id in [1, 2] {
        encode::stream_end(&mut wire, Stream::Stdin, id);
    }
    stream.write_all(&wire).expect("a peer that reads");
    let mut seen = read_answers(&mut stream, 2);
    seen.sort_by_key(|answer| answer.id);
    assert!(seen[0].text().starts_with("Status: 413 "), "{seen:?}");
    assert!(seen[1].text().starts_with("Status: 200 "), "{seen:?}");
    drop(stream);
    // The application itself gathers what it is given.
    target.assert_unharmed(128);
}

/// No limit but that of descriptors, which are used up.
#[test]
fn exhausted_descriptors_neither_spin_nor_kill() {
    const LIMIT: usize = 40;
    for kind in ["fcgi", "scgi", "http"] {
        let target = Target::limited(kind, &LIMIT.to_string(), &["--max-connections", "0"]);
        let whole = good(kind);
        // Begun, so that none of them may make room.
        let held: Vec<UnixStream> = (0..LIMIT + 20)
            .map(|_| {
                let mut stream = target.connect();
                stream.write_all(&whole[..20]).expect("room");
                stream
            })
            .collect();
        wait_until("there are no more", || target.process.log().contains("cannot accept a connection"));
        target.assert_rests();
        drop(held);
        target.assert_unharmed(8);
    }
}

/// Each connection had to wait a tenth of a second for its place, although idle ones could make room at once.
#[test]
fn idle_connections_make_room_at_once_when_descriptors_are_used_up() {
    const MANY: usize = 300;
    for kind in ["fcgi", "http"] {
        let target = Target::limited(kind, "40", &["--max-connections", "0"]);
        let wire = match kind {
            "fcgi" => Request::new(&[("PATH_INFO", "/here")], b"").bytes(),
            _ => b"GET /here HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        };
        let kept: Vec<UnixStream> = (0..MANY)
            .map(|_| {
                let mut stream = target.connect();
                stream.write_all(&wire).expect("room");
                stream
            })
            .collect();
        // The last one first: with a tenth of a second for each before it, that would be too late.
        for mut stream in kept.iter().rev() {
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
            assert!(stream.read(&mut [0; 4096]).expect("an answer in time") > 0);
        }
        assert!(target.process.log().contains("cannot accept a connection"), "{}", target.process.log());
        drop(kept);
        target.assert_unharmed(8);
    }
}

/// While no worker was free, the housekeeper took each request that waited from the queue and put it back, a thousand times
/// a second.
#[test]
fn requests_that_wait_for_a_worker_cost_no_time() {
    for kind in ["fcgi", "scgi", "http"] {
        let target = Target::start(kind, &[]);
        let silent = [target.connect(), target.connect()];
        for mut stream in &silent {
            stream.write_all(&request(kind, "/endless")).expect("room");
        }
        wait_until("both workers are held", || {
            target.process.log().matches("endless has begun").count() == 2
        });
        let waiting: Vec<UnixStream> = (0..3000).map(|_| target.connect()).collect();
        for mut stream in &waiting {
            stream.write_all(&good(kind)).expect("room");
        }
        wait_until("all are accepted", || target.count() >= target.descriptors + 3000);
        target.assert_rests();
        drop(silent);
        for mut stream in waiting {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            assert!(String::from_utf8_lossy(&answer).contains("200 OK"));
        }
        target.assert_unharmed(32);
    }
}

/// Each limit at work, and without it.
#[test]
fn each_limit_bites_and_zero_is_none() {
    let long = "x".repeat(3000);
    let many: Vec<(String, String)> = (0..50).map(|number| (format!("N{number}"), "v".to_owned())).collect();
    let mut pairs = vec![("PATH_INFO", "/echo")];
    pairs.extend(many.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let body = vec![b'x'; 5000];
    let bodied = [("PATH_INFO", "/echo"), ("CONTENT_LENGTH", "5000")];
    let cases = [
        ("--max-head", "1K", Request::new(&[("PATH_INFO", "/here"), ("LONG", &long)], b""), "Status: 431 "),
        ("--max-pairs", "20", Request::new(&pairs, b""), "Status: 431 "),
        ("--max-body", "1K", Request::new(&bodied, &body), "Status: 413 "),
        ("--max-body", "1K", Request::new(&[("PATH_INFO", "/echo")], &body), "Status: 413 "),
    ];
    for (flag, value, request, status) in cases {
        for (value, status) in [(value, status), ("0", "Status: 200 ")] {
            let target = Target::start("fcgi", &[flag, value]);
            let answer = answers(exchange_bytes(&target, &request.bytes()).as_slice()).remove(0);
            assert!(answer.text().starts_with(status), "{flag} {value}: {answer:?}");
        }
    }
}

/// The same over HTTP, where a client hears of it.
#[test]
fn each_limit_of_http_bites_and_zero_is_none() {
    let head = |fields: &str| format!("GET /here HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
    let echo = |framing: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{framing}\r\n\r\n{body}")
    };
    let body = "x".repeat(5000);
    for (flag, value, wire, status) in [
        ("--max-head", "1K", head(&format!("X: {}\r\n", "x".repeat(3000))), 431),
        (
            "--max-head",
            "1K",
            format!("GET /{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "x".repeat(3000)),
            414,
        ),
        ("--max-pairs", "20", head(&"X: y\r\n".repeat(30)), 431),
        ("--max-body", "1K", echo("Content-Length: 5000", &body), 413),
        (
            "--max-body",
            "1K",
            echo("Transfer-Encoding: chunked", &format!("1388\r\n{body}\r\n0\r\n\r\n")),
            413,
        ),
    ] {
        for (value, status) in [(value, status), ("0", 200)] {
            let target = Target::start("http", &[flag, value]);
            let answer = exchange(target.connect(), wire.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{flag} {value}: {answer:.300}");
            target.assert_unharmed(4);
        }
    }
    let partial = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab";
    // An application waits for this one.
    let streamed = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nab";
    for (flag, sent, heard) in [
        ("--head-timeout", "GET / HT", "HTTP/1.1 408 "),
        ("--body-timeout", partial, "HTTP/1.1 408 "),
        ("--body-timeout", streamed, ""),
        ("--idle-timeout", "", ""),
    ] {
        let target = Target::start("http", &[flag, "50ms"]);
        let mut late = target.connect();
        late.write_all(sent.as_bytes()).expect("room");
        let mut answer = Vec::new();
        // Cut off by a reset, where the application had not answered.
        let _ = late.read_to_end(&mut answer);
        assert_eq!(answer.get(..heard.len()), Some(heard.as_bytes()), "{flag}: {}", answer.escape_ascii());
        target.assert_unharmed(4);
        let target = Target::start("http", &[flag, "0"]);
        let mut late = target.connect();
        late.write_all(sent.as_bytes()).expect("room");
        late.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        let error = late.read(&mut [0; 8]).expect_err("it stays open");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{flag}");
    }
}

/// Time-outs: a connection that is late is closed, one without a limit stays.
#[test]
fn each_time_out_closes_a_late_connection() {
    let head = Request::new(&[("PATH_INFO", "/echo"), ("CONTENT_LENGTH", "50")], b"").head();
    for (flag, sent) in
        [("--head-timeout", &head[..20]), ("--body-timeout", &head[..]), ("--idle-timeout", &b""[..])]
    {
        // A good request has to come within it on a busy machine, too.
        let target = Target::start("fcgi", &[flag, "500ms"]);
        let mut late = target.connect();
        late.write_all(sent).expect("room");
        assert_eq!(late.read(&mut [0; 8]).expect("closed in order"), 0, "{flag}");
        target.assert_unharmed(4);
        let target = Target::start("fcgi", &[flag, "0"]);
        let mut late = target.connect();
        late.write_all(sent).expect("room");
        late.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        let error = late.read(&mut [0; 8]).expect_err("it stays open");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{flag}");
    }
}

#[test]
fn numbers_of_connections_and_requests_are_limited_and_zero_is_none() {
    for (limit, refused) in [("3", 2), ("0", 0)] {
        let target = Target::start("fcgi", &["--max-requests-per-connection", limit]);
        let mut stream = target.connect();
        stream.write_all(&(1..=5).flat_map(begun).collect::<Vec<u8>>()).expect("room");
        stream.shutdown(Shutdown::Write).expect("a socket");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed in order");
        assert_eq!(answers(&answer).len(), refused, "{limit}");
    }
    let whole = good("fcgi");
    for (limit, waits) in [("3", true), ("0", false)] {
        let target = Target::start("fcgi", &["--max-connections", limit]);
        let mut busy: Vec<UnixStream> = (0..3).map(|_| target.connect()).collect();
        busy.iter_mut().for_each(|stream| stream.write_all(&whole[..20]).expect("room"));
        wait_until("they are accepted", || target.count() == target.descriptors + 3);
        let mut next = target.connect();
        next.write_all(&whole).expect("room");
        if waits {
            wait_until("it is told", || target.process.log().contains("3 connections, as many as may be"));
            busy[0].write_all(&whole[20..]).expect("room");
        }
        assert_eq!(read_answers(&mut next, 1).len(), 1, "{limit}");
        busy[1].write_all(&whole[20..]).expect("room");
        assert_eq!(read_answers(&mut busy[1], 1).len(), 1, "busy ones stay");
    }
}

#[test]
fn draining_has_its_time() {
    let mut target = Target::start("fcgi", &["--drain-timeout", "50ms"]);
    let mut stream = target.connect();
    stream.write_all(&begun(1)).expect("room");
    wait_until("it is accepted", || target.count() > target.descriptors);
    target.process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(target.process.wait().code(), Some(1), "{}", target.process.log());
    assert!(target.process.log().contains("still busy"), "{}", target.process.log());
}

fn exchange_bytes(target: &Target, bytes: &[u8]) -> Vec<u8> {
    let mut stream = target.connect();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
