//! What only HTTP has: heads of clients, chunks, trailers, `100 Continue`, and requests behind each other.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Target, exchange, wait_until};

const HEAD: &str = "POST /echo HTTP/1.1\r\nHost: h\r\n";

/// Where a client may stop: what it has sent by then.
const STAGES: [(&str, &str, &str); 11] = [
    ("request line", "", "GET /he"),
    ("head", "", "GET /here HTTP/1.1\r\nHo"),
    ("end of the head", "", "GET /here HTTP/1.1\r\nHost: h\r\n\r"),
    ("body", HEAD, "Content-Length: 50\r\n\r\nsome"),
    ("no body yet", HEAD, "Content-Length: 50\r\n\r\n"),
    ("chunk size", HEAD, "Transfer-Encoding: chunked\r\n\r\n5"),
    ("chunk extension", HEAD, "Transfer-Encoding: chunked\r\n\r\n5;a=\"b"),
    ("chunk", HEAD, "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    ("end of a chunk", HEAD, "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r"),
    ("trailers", HEAD, "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: a"),
    ("last line", HEAD, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r"),
];

/// Bodies that are longer than what is gathered, and those that are held back: an application waits for them.
const RUNNING: [(&str, &str, &str); 3] = [
    ("long body", HEAD, "Content-Length: 500000\r\n\r\nsome"),
    ("long chunk", HEAD, "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"),
    ("held back", HEAD, "Expect: 100-continue\r\nContent-Length: 50\r\n\r\n"),
];

fn stopped((_, head, rest): (&str, &str, &str)) -> Vec<u8> {
    [head, rest].concat().into_bytes()
}

#[test]
fn clients_that_stop_anywhere_hold_no_worker() {
    let target = Target::start("http", &[]);
    let held: Vec<(UnixStream, &str)> = STAGES
        .iter()
        .flat_map(|stage| {
            (0..20).map(|_| {
                let mut stream = target.connect();
                stream.write_all(&stopped(*stage)).expect("room");
                (stream, stage.0)
            })
        })
        .collect();
    target.assert_serves();
    // They are not closed for that, and hear what became of it when they end.
    for (mut stream, name) in held {
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect(name);
        let is_head = ["request line", "head", "end of the head"].contains(&name);
        assert!(answer.is_empty() == is_head && !answer.contains("200 OK"), "{name}: {answer}");
    }
    target.assert_unharmed(16);
}

#[test]
fn clients_that_vanish_anywhere_leave_nothing_behind() {
    let target = Target::start("http", &[]);
    for stage in STAGES.into_iter().chain(RUNNING) {
        for before in ["", "GET /here HTTP/1.1\r\nHost: h\r\n\r\n"] {
            for _ in 0..20 {
                let mut stream = target.connect();
                stream.write_all(&[before.as_bytes(), &stopped(stage)].concat()).expect("room");
            }
        }
        target.assert_serves();
    }
    target.assert_unharmed(16);
}

#[test]
fn clients_that_are_late_anywhere_hear_408_or_are_cut_off() {
    for timeout in ["--head-timeout", "--body-timeout"] {
        let target = Target::start("http", &[timeout, "500ms"]);
        for stage in STAGES.into_iter().chain(RUNNING) {
            let is_head = stage.1.is_empty();
            if is_head != (timeout == "--head-timeout") {
                continue;
            }
            let mut stream = target.connect();
            stream.write_all(&stopped(stage)).expect("room");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", stage.0));
            let is_running = RUNNING.contains(&stage);
            let answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
            // Under an application the connection breaks off.
            let expected = if is_running { "" } else { "HTTP/1.1 408 " };
            assert!(answer.starts_with(expected) && answer.is_empty() == is_running, "{}: {answer}", stage.0);
        }
        target.assert_unharmed(8);
    }
}

/// One byte at a time, each in time: a small body held a connection for as long as its client liked, and so did the rest of
/// one that was answered without it.
#[test]
fn a_body_that_trickles_does_not_hold_a_connection_for_ever() {
    const MOST: usize = 100;
    let flags = ["--body-timeout", "500ms", "--min-body-rate", "1000000"];
    let target = Target::start("http", &flags);
    for (path, length, answered) in [("echo", 5000, "408"), ("here", 5000, "408"), ("here", 100_000, "200")] {
        let mut stream = target.connect();
        let head = format!("POST /{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("room");
        let mut sending = stream.try_clone().expect("a descriptor");
        let sender = thread::spawn(move || {
            let sent = (0..MOST).take_while(|_| {
                thread::park_timeout(Duration::from_millis(100));
                sending.write_all(b"x").is_ok()
            });
            sent.count()
        });
        let mut answer = Vec::new();
        // Whoever still sends when it is closed hears a reset.
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("/{path} {length}: {error}"),
            _ => {}
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {answered} ")), "/{path} {length}: {answer}");
        assert!(sender.join().expect("a sender") < MOST, "/{path} {length}");
    }
    target.assert_unharmed(8);
}

#[test]
fn draining_answers_what_was_begun_at_any_stage_and_ends() {
    let good = "GET /here HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut target = Target::start("http", &["--drain-timeout", "20s"]);
    let idle = target.connect();
    let mut kept = target.connect();
    kept.write_all(good.as_bytes()).expect("room");
    let mut lines = BufReader::new(kept.try_clone().expect("a descriptor"));
    lines.read_line(&mut String::new()).expect("an answer");
    let held: Vec<(UnixStream, (&str, &str, &str))> = STAGES
        .iter()
        .chain(&RUNNING)
        .map(|stage| {
            let mut stream = target.connect();
            stream.write_all(&stopped(*stage)).expect("room");
            (stream, *stage)
        })
        .collect();
    let open = target.descriptors + held.len() + 2;
    wait_until("all are accepted", || target.count() >= open);
    target.process.signal(Signal::SIGTERM);
    let mut rest = Vec::new();
    lines.read_to_end(&mut rest).expect("the kept one ends");
    // At once: whose body no worker reads yet waits for those whose bodies two workers read.
    thread::scope(|scope| {
        for (mut stream, stage) in held.iter().map(|(stream, stage)| (stream, stage.0)) {
            let rest = match stage {
                "request line" => "re HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
                "head" => "st: h\r\n\r\n".to_owned(),
                "end of the head" | "last line" => "\n".to_owned(),
                "body" => "x".repeat(46),
                "no body yet" | "held back" => "x".repeat(50),
                "chunk size" => "\r\nabcde\r\n0\r\n\r\n".to_owned(),
                "chunk extension" => "\"\r\nabcde\r\n0\r\n\r\n".to_owned(),
                "chunk" => "de\r\n0\r\n\r\n".to_owned(),
                "end of a chunk" => "\n0\r\n\r\n".to_owned(),
                "trailers" => "bc\r\n\r\n".to_owned(),
                "long body" => "x".repeat(500_000 - 4),
                _ => "3\r\nabc\r\n0\r\n\r\n".to_owned(),
            };
            scope.spawn(move || {
                stream.write_all(rest.as_bytes()).unwrap_or_else(|error| panic!("{stage}: {error}"));
            });
        }
    });
    // All are whole: there are fewer workers than those that one was held by.
    for (mut stream, stage) in held {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", stage.0));
        assert!(answer.contains("HTTP/1.1 200 OK"), "{}: {answer}", stage.0);
        assert!(answer.contains("\r\nConnection: close\r\n"), "{}: {answer}", stage.0);
    }
    assert_eq!(target.process.wait().code(), Some(0), "{}", target.process.log());
    drop(idle);
}

/// Many more than there are workers, which each of them held; what waits for them instead is bounded.
#[test]
fn answers_of_megabytes_that_nobody_reads_hold_no_worker_and_little_memory() {
    let target = Target::start("http", &[]);
    let silent: Vec<UnixStream> = (0..28).map(|_| target.connect()).collect();
    for mut stream in &silent {
        stream.write_all(b"GET /big?bytes=2000000 HTTP/1.1\r\nHost: h\r\n\r\n").expect("room");
    }
    (0..3).for_each(|_| target.assert_serves());
    let endless: Vec<UnixStream> = (0..28).map(|_| target.connect()).collect();
    for mut stream in &endless {
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").expect("room");
    }
    wait_until("some of them run", || target.process.log().contains("endless has begun"));
    for mut stream in silent {
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("all of it");
        // Its last line says where it stands.
        assert!(answer.len() > 2_000_000 && answer.ends_with(b"0000000001e8470\n"));
    }
    drop(endless);
    target.assert_unharmed(96);
}

/// Chunks of one byte with as much of an extension as there may be, and one extension that never ends.
#[test]
fn chunk_extensions_of_megabytes_are_refused_early() {
    let target = Target::start("http", &[]);
    let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let long = format!("{head}1;{}", "x".repeat(4 << 20));
    let many = format!("{head}{}", format!("1;{}\r\nx\r\n", "x".repeat(200)).repeat(20_000));
    let sizes = format!("{head}{}", "0".repeat(4 << 20));
    let trailers = format!("{head}0\r\n{}", "X-T: aaaaaaaaaa\r\n".repeat(200_000));
    for (wire, status) in [(long, 400), (many, 400), (sizes, 400), (trailers, 431)] {
        let answer = exchange(target.connect(), wire.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:.200}");
        target.assert_serves();
    }
    target.assert_unharmed(8);
}

#[test]
fn one_kept_connection_has_ten_thousand_requests() {
    let target = Target::start("http", &[]);
    let mut stream = target.connect();
    let wire = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    let mut answers = BufReader::new(stream.try_clone().expect("a descriptor"));
    for _ in 0..10_000 {
        stream.write_all(wire.as_bytes()).expect("room");
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            answers.read_line(&mut line).expect("an answer");
            if let Some(given) = line.strip_prefix("Content-Length: ") {
                length = given.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        answers.read_exact(&mut body).expect("a body");
        assert_eq!(body, b"body");
    }
    drop((stream, answers));
    target.assert_unharmed(4);
}
