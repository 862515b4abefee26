//! Limits that are seen only by what others can or cannot do meanwhile, and peers whose machine was cut off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gatewright::proto::fcgi::{Stream, encode};

use super::{Target, begun, good, request, wait_until};
use crate::servers::harness::{Process, free_port, program};
use crate::wire::{PATIENCE, Request, read_answers};

const KINDS: [&str; 3] = ["fcgi", "scgi", "http"];

/// Of the applications that write more than anybody reads, how many have begun.
fn begun_for_ever(target: &Target) -> usize {
    target.process.log().matches("endless has begun").count()
}

#[test]
fn as_many_applications_run_as_there_may_be_workers_and_the_others_wait() {
    for kind in KINDS {
        let target = Target::with_workers(kind, "3", &[]);
        let mut silent: Vec<UnixStream> = (0..3).map(|_| target.connect()).collect();
        for stream in &mut silent {
            stream.write_all(&request(kind, "/endless")).expect("room");
        }
        wait_until("all workers are held", || begun_for_ever(&target) == 3);
        let mut next = target.connect();
        next.write_all(&good(kind)).expect("room");
        next.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        assert!(next.read(&mut [0; 8]).is_err(), "{kind}: a fourth request was answered");
        silent.pop();
        next.set_read_timeout(Some(PATIENCE)).expect("a socket");
        assert!(next.read(&mut [0; 8]).expect("a worker") > 0, "{kind}");
        drop((silent, next));
        target.assert_unharmed(24);
    }
}

#[test]
fn without_a_limit_of_workers_each_request_finds_one() {
    for kind in KINDS {
        let target = Target::with_workers(kind, "0", &[]);
        // More than there would be by default.
        let silent: Vec<UnixStream> = (0..80).map(|_| target.connect()).collect();
        for mut stream in &silent {
            stream.write_all(&request(kind, "/endless")).expect("room");
        }
        wait_until("all run", || begun_for_ever(&target) == 80);
        target.assert_serves();
        drop(silent);
        target.assert_unharmed(64);
    }
}

/// A body up to the limit is awaited before the application is called; a longer one, or any without a limit, streams.
#[test]
fn bodies_are_gathered_up_to_the_limit_and_no_further() {
    for kind in KINDS {
        for (limit, length, sent, streams) in [("10", 10, 9, false), ("10", 30, 20, true), ("0", 5, 1, true)]
        {
            // With it an answer begins before the body is whole.
            let target = Target::start(kind, &["--body-gather", limit, "--full-duplex"]);
            let text = length.to_string();
            let head = match kind {
                "fcgi" => Request::new(&[("PATH_INFO", "/endless"), ("CONTENT_LENGTH", &text)], b"").head(),
                "scgi" => super::scgi(&[("CONTENT_LENGTH", &text), ("SCGI", "1"), ("PATH_INFO", "/endless")]),
                _ => format!("POST /endless HTTP/1.1\r\nHost: h\r\nContent-Length: {text}\r\n\r\n").into(),
            };
            let body = |length: usize| match kind {
                "fcgi" => {
                    let mut wire = Vec::new();
                    encode::stream(&mut wire, Stream::Stdin, 1, &vec![b'x'; length]);
                    wire
                }
                _ => vec![b'x'; length],
            };
            let mut stream = target.connect();
            stream.write_all(&[head, body(sent)].concat()).expect("room");
            if !streams {
                target.assert_serves();
                assert_eq!(begun_for_ever(&target), 0, "{kind} {limit} {length}");
                let mut rest = body(length - sent);
                if kind == "fcgi" {
                    encode::stream_end(&mut rest, Stream::Stdin, 1);
                }
                stream.write_all(&rest).expect("room");
            }
            let what = format!("{kind}: the application has begun, {limit} {length}");
            wait_until(&what, || begun_for_ever(&target) == 1);
        }
    }
}

/// Over TCP only: on a unix socket whoever is gone is gone in both directions. Under HTTP and SCGI the end of a client's
/// sending was not heard of while its application ran, and its program lived on.
#[test]
fn a_half_closed_peer_has_its_grace_and_no_more() {
    for kind in KINDS {
        let bin = crate::programs::Bin::new();
        let root = bin.folder.root().display().to_string();
        let wait = format!("while ! [ -e {root}/go ]; do sleep 0.02; done");
        let answer = "printf 'Content-Type: text/plain\\n\\nhere'";
        bin.script("x", &format!("echo $$ > {root}/$QUERY_STRING\n{wait}\n{answer}"));
        let [given_up, patient] = ["300ms", "0"].map(|grace| half_closed(kind, &bin, grace));
        wait_until("who counts as gone has no program", || !crate::programs::lives(&given_up.pid));
        assert!(crate::programs::lives(&patient.pid), "{kind}");
        bin.folder.write("go", "");
        assert!(patient.answer().contains("here"), "{kind}");
        assert!(!given_up.answer().contains("200 OK"), "{kind}");
    }
}

struct HalfClosed {
    _gateway: Process,
    stream: TcpStream,
    /// Of the program.
    pid: String,
}

impl HalfClosed {
    fn answer(&self) -> String {
        let mut answer = Vec::new();
        let _ = (&self.stream).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A client of a gateway for programs that has asked for `x` and sends no more.
fn half_closed(kind: &str, bin: &crate::programs::Bin, grace: &str) -> HalfClosed {
    let port = free_port();
    let gateway = program(&format!("{kind}-gateway"));
    let mut process = Process::start(&bin.folder, &format!("{kind}-{grace}"), &gateway, |command| {
        command.args(["--socket", &format!("127.0.0.1:{port}"), "--half-close-grace", grace]);
        command.arg(format!("cgi:{}", bin.folder.root().display()));
    });
    process.ready_when(|| crate::servers::harness::answers(port));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let params = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x"), ("QUERY_STRING", grace)];
    let wire = match kind {
        "fcgi" => Request { keep_conn: false, ..Request::new(&params, b"") }.bytes(),
        "scgi" => super::scgi(&[&[("CONTENT_LENGTH", "0"), ("SCGI", "1")], &params[..]].concat()),
        _ => format!("GET /x?{grace} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes(),
    };
    stream.write_all(&wire).expect("room");
    stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    let mut pid = String::new();
    wait_until("the program runs", || {
        pid = std::fs::read_to_string(bin.folder.path(grace)).unwrap_or_default().trim().to_owned();
        !pid.is_empty()
    });
    HalfClosed { _gateway: process, stream, pid }
}

/// Records of an id that is not in use belong to a request that was given up.
#[test]
fn a_body_before_its_request_is_nobodys() {
    let target = Target::start("fcgi", &[]);
    let mut wire = Vec::new();
    for id in [1, 2, 7] {
        encode::stream(&mut wire, Stream::Stdin, id, b"too early");
        encode::stream(&mut wire, Stream::Params, id, b"\x01\x01AB");
        encode::stream_end(&mut wire, Stream::Stdin, id);
        encode::abort_request(&mut wire, id);
    }
    wire.extend_from_slice(&Request::new(&[("PATH_INFO", "/echo")], b"in time").bytes());
    let mut stream = target.connect();
    for _ in 0..3 {
        stream.write_all(&wire).expect("room");
        assert!(read_answers(&mut stream, 1)[0].text().ends_with("\r\n\r\nin time"));
    }
    // For ever, and never a request.
    let mut flood = Vec::new();
    encode::stream(&mut flood, Stream::Stdin, 3, &[b'x'; 60_000]);
    for _ in 0..500 {
        stream.write_all(&flood).expect("it is read");
    }
    drop(stream);
    target.assert_unharmed(4);
}

#[test]
fn one_kept_connection_has_ten_thousand_requests() {
    let target = Target::start("fcgi", &[]);
    let mut stream = target.connect();
    let wire = Request::new(&[("PATH_INFO", "/echo")], b"body").bytes();
    for _ in 0..10_000 {
        stream.write_all(&wire).expect("room");
        assert!(read_answers(&mut stream, 1)[0].text().ends_with("\r\n\r\nbody"));
    }
    drop(stream);
    target.assert_unharmed(4);
}

/// Whoever is cut off says no farewell. The system asks; here it is seen to wait for the moment to do so.
#[test]
fn silent_tcp_peers_are_asked_whether_they_are_there() {
    for kind in KINDS {
        let port = free_port();
        let target = Target::start(kind, &["--socket", &format!("127.0.0.1:{port}")]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        // One that has begun and is silent, and holds no worker.
        let start = if kind == "fcgi" { begun(1) } else { good(kind)[..5].to_vec() };
        stream.write_all(&start).expect("room");
        let peer = stream.local_addr().expect("a socket").port();
        let ends = format!("0100007F:{port:04X} 0100007F:{peer:04X} 01 ");
        wait_until("a timer runs for the connection", || {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
            let line = table.lines().find_map(|line| Some(line.split_once(&ends)?.1.to_owned()));
            // Lengths of queues, then the kind of timer: 2 is keep-alive.
            line.is_some_and(|line| line.split(' ').nth(1).is_some_and(|timer| timer.starts_with("02:")))
        });
        drop(stream);
        target.assert_unharmed(4);
    }
}
