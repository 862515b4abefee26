//! Deadlines, measured by a clock that the tests move. A wait for something to happen has an end, a wait for nothing to
//! happen is not needed: what was not closed still answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::{Address, Protocol, ReadyModel, Server, Settings, SocketRights, Stop};
use crate::app::{AppResult, Application, Responder};
use crate::environ::Environ;
use crate::proto::fcgi::{Role, Stream as RecordStream, encode};
use crate::proto::scgi;

const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];

struct Timed {
    address: String,
    path: std::path::PathBuf,
    now: Arc<AtomicU64>,
    stop: Stop,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Timed {
    fn start(
        protocol: Protocol,
        app: impl Application + 'static,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-unit-{}-{count}.sock", std::process::id()));
        let mut server = Server::new(protocol);
        let now = Arc::new(AtomicU64::new(0));
        server.clock = Clock::Manual(Arc::clone(&now));
        change(&mut server.settings);
        server.bind(&Address::Unix(path.clone()), &SocketRights::default()).unwrap();
        let listeners = server.bind(&"127.0.0.1:0".parse().unwrap(), &SocketRights::default()).unwrap();
        let address = listeners[0].description().to_owned();
        let stop = Stop::new();
        let ours = stop.clone();
        let thread = Some(std::thread::spawn(move || server.serve(Arc::new(app), &ours)));
        Self { address, path, now, stop, thread }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn pass(&self, milliseconds: u64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn end(mut self) -> io::Result<()> {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", PLAIN)?.send("hello")
}

fn head(length: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, 1, Role::RESPONDER, true);
    encode::params(&mut wire, 1, [(&b"CONTENT_LENGTH"[..], length.as_bytes())]).unwrap();
    wire
}

fn whole() -> Vec<u8> {
    let mut wire = head("0");
    encode::stream_end(&mut wire, RecordStream::Stdin, 1);
    wire
}

fn scgi_post(length: u64) -> Vec<u8> {
    let mut wire = Vec::new();
    scgi::encode_head(&mut wire, length, [(&b"REQUEST_METHOD"[..], &b"POST"[..])]).unwrap();
    wire
}

fn scgi_request() -> Vec<u8> {
    let mut wire = Vec::new();
    scgi::encode_head(&mut wire, 0, [(&b"REQUEST_METHOD"[..], &b"GET"[..])]).unwrap();
    wire
}

#[track_caller]
fn assert_answered(stream: &mut impl Read) {
    let mut seen = Vec::new();
    let mut block = [0; 512];
    while !seen.windows(5).any(|five| five == b"hello") {
        let count = stream.read(&mut block).unwrap();
        assert!(count > 0, "the connection was closed");
        seen.extend_from_slice(&block[..count]);
    }
}

/// Reads to the end, which comes once the server's time is over.
#[track_caller]
fn assert_ends(stream: &mut impl Read) {
    io::copy(stream, &mut io::sink()).unwrap();
}

/// Lets time pass until the server ends the connection: not more of it than `most` milliseconds.
#[track_caller]
fn assert_ends_within(server: &Timed, stream: &UnixStream, most: u64) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for _ in 0..most.div_ceil(1_000) {
        server.pass(1_000);
        match (&mut &*stream).read(&mut [0; 64]) {
            Ok(count) => return assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    panic!("the connection is still open");
}

/// Waits until the server has read what was sent.
fn wait_until_read(stream: &impl std::os::fd::AsFd) {
    let mut left: libc::c_int = 1;
    while left > 0 {
        left = crate::sys::unsent(stream.as_fd());
        std::thread::yield_now();
    }
}

#[test]
fn a_head_has_its_time_as_a_whole() {
    for (protocol, wire) in [(Protocol::FastCgi, whole()), (Protocol::Scgi, scgi_request())] {
        let server = Timed::start(protocol, hello, |_| ());
        let (mut quick, mut slow) = (server.connect(), server.connect());
        let (first, second) = wire.split_at(12);
        for stream in [&mut quick, &mut slow] {
            stream.write_all(first).unwrap();
            wait_until_read(stream);
        }
        server.pass(29_000);
        // A byte now and then does not help.
        slow.write_all(&second[..1]).unwrap();
        wait_until_read(&slow);
        quick.write_all(second).unwrap();
        assert_answered(&mut quick);
        assert_ends_within(&server, &slow, 31_000);
        server.end().unwrap();
    }
}

#[test]
fn a_body_that_is_gathered_has_its_time_between_pieces() {
    let server = Timed::start(Protocol::FastCgi, hello, |_| ());
    let (mut stream, mut stalled) = (server.connect(), server.connect());
    stream.write_all(&head("30")).unwrap();
    stalled.write_all(&head("30")).unwrap();
    wait_until_read(&stalled);
    for last in [false, false, true] {
        server.pass(29_000);
        let mut piece = Vec::new();
        encode::stream(&mut piece, RecordStream::Stdin, 1, &[b'x'; 10]);
        if last {
            encode::stream_end(&mut piece, RecordStream::Stdin, 1);
        }
        stream.write_all(&piece).unwrap();
        wait_until_read(&stream);
    }
    assert_answered(&mut stream);
    assert_ends_within(&server, &stalled, 61_000);
    server.end().unwrap();
}

/// A record of the body that came in pieces was given the time of a head.
#[test]
fn a_body_that_is_gathered_has_its_time_between_pieces_of_a_record_too() {
    let server = Timed::start(Protocol::FastCgi, hello, |_| ());
    let mut stream = server.connect();
    stream.write_all(&head("30")).unwrap();
    let mut body = Vec::new();
    encode::stream(&mut body, RecordStream::Stdin, 1, &[b'x'; 30]);
    encode::stream_end(&mut body, RecordStream::Stdin, 1);
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    for piece in body.chunks(11) {
        for _ in 0..20 {
            server.pass(1_000);
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        stream.write_all(piece).unwrap();
        wait_until_read(&stream);
    }
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_answered(&mut stream);
    server.end().unwrap();
}

#[test]
fn an_application_that_waits_for_its_body_is_told() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi] {
        let (tell, told) = mpsc::channel();
        let app = move |environ: &mut Environ<'_>, respond: Responder<'_>| {
            let result = io::copy(&mut environ.input, &mut io::sink());
            tell.send(result.map_err(|error| error.kind())).unwrap();
            respond.start("200 OK", PLAIN)?.send("hello")
        };
        let app = std::sync::Mutex::new(app);
        let server = Timed::start(
            protocol,
            move |environ: &mut Environ<'_>, respond: Responder<'_>| (app.lock().unwrap())(environ, respond),
            |_| (),
        );
        let mut stream = server.connect();
        let mut wire = head("100000");
        if protocol == Protocol::Scgi {
            wire = scgi_post(100_000);
        }
        stream.write_all(&wire).unwrap();
        wait_until_read(&stream);
        // The wait begins some time after the head was read: time passes until it is over.
        let kind = loop {
            server.pass(10_000);
            match told.recv_timeout(Duration::from_millis(20)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                result => break result.unwrap().unwrap_err(),
            }
        };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        server.end().unwrap();
    }
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    for (protocol, wire) in [(Protocol::FastCgi, whole()), (Protocol::Scgi, scgi_request())] {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let app = move |_: &mut Environ<'_>, respond: Responder<'_>| {
            let result = respond.start("200 OK", PLAIN)?.write_all(&vec![b'x'; 4 << 20]);
            tell.lock().unwrap().send(result.map_err(|error| error.kind())).unwrap();
            Ok(())
        };
        let server = Timed::start(protocol, app, |_| ());
        let mut stream = server.connect();
        stream.write_all(&wire).unwrap();
        let kind = loop {
            server.pass(10_000);
            match told.recv_timeout(Duration::from_millis(20)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                result => break result.unwrap().unwrap_err(),
            }
        };
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_ends(&mut stream);
        server.end().unwrap();
    }
}

#[test]
fn kept_connections_are_not_closed_for_age_unless_asked() {
    for (idle, closed) in [(Duration::ZERO, false), (Duration::from_secs(75), true)] {
        let server = Timed::start(Protocol::FastCgi, hello, |settings| settings.idle_timeout = idle);
        let mut stream = server.connect();
        stream.write_all(&whole()).unwrap();
        assert_answered(&mut stream);
        server.pass(74_000);
        stream.write_all(&whole()).unwrap();
        assert_answered(&mut stream);
        if closed {
            assert_ends_within(&server, &stream, 76_000);
        } else {
            server.pass(1_000_000);
            stream.write_all(&whole()).unwrap();
            assert_answered(&mut stream);
        }
        server.end().unwrap();
    }
}

#[test]
fn a_half_closed_tcp_peer_counts_as_gone_after_a_silence() {
    let app = |environ: &mut Environ<'_>, respond: Responder<'_>| {
        while !environ.is_aborted() {
            std::thread::yield_now();
        }
        respond.start("200 OK", PLAIN)?.send("hello")
    };
    let server = Timed::start(Protocol::FastCgi, app, |_| ());
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&whole()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // It is seen at some time; five seconds later it counts.
    loop {
        server.pass(1_000);
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut block = [0; 64];
        match stream.read(&mut block) {
            Ok(count) => break assert!(count > 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(server.now.load(Ordering::SeqCst) >= 5_000);
    server.end().unwrap();
}

/// Who asks for input without waiting, and finds none, need not come back: nobody else read on for it then.
#[test]
fn an_abort_is_heard_of_after_input_was_asked_for_in_vain() {
    for ready in [ReadyModel::Native, ReadyModel::Portable] {
        let (tell, told) = mpsc::channel();
        let (tell, looks) = (std::sync::Mutex::new(tell), Arc::new(AtomicU32::new(0)));
        let still_looks = Arc::clone(&looks);
        let app = move |environ: &mut Environ<'_>, _: Responder<'_>| -> AppResult {
            while still_looks.load(Ordering::SeqCst) == 0 {
                assert_eq!(environ.input.fill_ready()?, None);
            }
            tell.lock().unwrap().send(()).unwrap();
            while !environ.is_aborted() {
                std::thread::yield_now();
            }
            Ok(tell.lock().unwrap().send(())?)
        };
        let server = Timed::start(Protocol::FastCgi, app, |settings| settings.ready = ready);
        let mut stream = server.connect();
        stream.write_all(&head("100000")).unwrap();
        wait_until_read(&stream);
        // Others look after the connection whose application seems to have turned away.
        for _ in 0..10 {
            server.pass(100);
            assert!(told.recv_timeout(Duration::from_millis(10)).is_err());
        }
        looks.store(1, Ordering::SeqCst);
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        let mut wire = Vec::new();
        encode::abort_request(&mut wire, 1);
        stream.write_all(&wire).unwrap();
        let heard = (0..1000).any(|_| {
            server.pass(10);
            told.recv_timeout(Duration::from_millis(10)).is_ok()
        });
        assert!(heard, "{ready:?}: it never hears of it");
        drop(stream);
        server.end().unwrap();
    }
}

/// The end stood behind a body that nobody had read yet when it was heard of, and nobody looked again.
#[test]
fn a_half_closed_tcp_peer_counts_as_gone_behind_a_long_body_too() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi, Protocol::Http] {
        for (ready, at_once) in [
            (ReadyModel::Native, false),
            (ReadyModel::Native, true),
            (ReadyModel::Portable, false),
            (ReadyModel::Portable, true),
        ] {
            let (tell, told) = mpsc::channel();
            let (go, may_go) = mpsc::channel();
            let (tell, may_go) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(may_go));
            let app = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
                if environ.content_length()?.unwrap_or(0) == 0 {
                    return hello(environ, respond);
                }
                tell.lock().unwrap().send(0)?;
                may_go.lock().unwrap().recv()?;
                let count = io::copy(&mut environ.input, &mut io::sink())?;
                tell.lock().unwrap().send(count)?;
                while !environ.is_aborted() {
                    std::thread::yield_now();
                }
                Ok(tell.lock().unwrap().send(count)?)
            };
            let server = Timed::start(protocol, app, |settings| settings.ready = ready);
            let (stream, mut other) = (TcpStream::connect(&server.address).unwrap(), server.connect());
            let (wire, next) = match protocol {
                Protocol::FastCgi => (head("100000"), whole()),
                Protocol::Scgi => (scgi_post(100_000), scgi_request()),
                Protocol::Http => {
                    let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
                    (post.to_vec(), HTTP_GET.to_vec())
                }
            };
            // In two pieces: between them the connection is parked.
            for piece in wire.chunks(20) {
                (&stream).write_all(piece).unwrap();
                wait_until_read(&stream);
            }
            let hears = || told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(hears(), 0);
            let send = |piece: &[u8]| {
                let mut wire = piece.to_vec();
                if protocol == Protocol::FastCgi {
                    wire.clear();
                    encode::stream(&mut wire, RecordStream::Stdin, 1, piece);
                }
                (&stream).write_all(&wire).unwrap();
            };
            let send_rest = || {
                send(&[b'x'; 50_000]);
                if protocol == Protocol::FastCgi {
                    let mut wire = Vec::new();
                    encode::stream_end(&mut wire, RecordStream::Stdin, 1);
                    (&stream).write_all(&wire).unwrap();
                }
            };
            send(&[b'x'; 50_000]);
            if at_once {
                send_rest();
                stream.shutdown(Shutdown::Write).unwrap();
            }
            // What happens on the other connection is heard of later.
            other.write_all(&next).unwrap();
            assert_answered(&mut other);
            go.send(()).unwrap();
            if !at_once {
                wait_until_read(&stream);
                send_rest();
            }
            assert_eq!(hears(), 100_000);
            if !at_once {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let heard = (0..1000).any(|_| {
                server.pass(1_000);
                told.recv_timeout(Duration::from_millis(10)).is_ok()
            });
            assert!(heard, "{protocol:?}, {ready:?}, {at_once}: it never hears of it");
            drop(stream);
            server.end().unwrap();
        }
    }
}

/// The time that was over for the request was taken for that of the farewell: what the client still sent met a reset, which
/// can take the answer with it.
#[test]
fn who_is_told_that_it_was_late_may_finish_its_sentence() {
    for begun in ["GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc"] {
        let server = Timed::start(Protocol::Http, hello, |_| ());
        let mut stream = server.connect();
        stream.write_all(begun.as_bytes()).unwrap();
        wait_until_read(&stream);
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut seen = Vec::new();
        while let Err(error) = stream.read_to_end(&mut seen) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            server.pass(1_000);
        }
        assert!(seen.starts_with(b"HTTP/1.1 408 "), "{}", seen.escape_ascii());
        for _ in 0..10 {
            stream.write_all(b"more").unwrap();
            wait_until_read(&stream);
        }
        drop(stream);
        server.end().unwrap();
    }
}

/// The rest of a head was read by another request's application, and the deadline of that head stayed.
#[test]
fn a_head_that_an_application_has_read_on_is_not_late() {
    let (tell, told) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let (tell, may_go) = (std::sync::Mutex::new(tell), std::sync::Mutex::new(may_go));
    let app = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        tell.lock().unwrap().send(())?;
        may_go.lock().unwrap().recv()?;
        io::copy(&mut environ.input, &mut io::sink())?;
        hello(environ, respond)
    };
    let server = Timed::start(Protocol::FastCgi, app, |_| ());
    let mut stream = server.connect();
    let pass = |milliseconds| {
        server.pass(milliseconds);
        assert!(told.recv_timeout(Duration::from_millis(10)).is_err());
    };
    let inside = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    stream.write_all(&head("100000")).unwrap();
    inside();
    let mut second = Vec::new();
    encode::begin_request(&mut second, 2, Role::RESPONDER, true);
    encode::params(&mut second, 2, [(&b"PATH_INFO"[..], &b"/"[..])]).unwrap();
    encode::stream_end(&mut second, RecordStream::Stdin, 2);
    let (begun, rest) = second.split_at(20);
    stream.write_all(begun).unwrap();
    // The application does not read, and so others do.
    while crate::sys::unsent(std::os::fd::AsFd::as_fd(&stream)) > 0 {
        pass(10);
    }
    go.send(()).unwrap();
    (0..5).for_each(|_| pass(0));
    stream.write_all(rest).unwrap();
    inside();
    (0..20).for_each(|_| pass(2_000));
    let mut wire = Vec::new();
    encode::stream(&mut wire, RecordStream::Stdin, 1, &[b'x'; 100_000]);
    encode::stream_end(&mut wire, RecordStream::Stdin, 1);
    stream.write_all(&wire).unwrap();
    assert_answered(&mut stream);
    go.send(()).unwrap();
    assert_answered(&mut stream);
    drop(stream);
    server.end().unwrap();
}

#[test]
fn draining_ends_with_its_time() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let app = move |environ: &mut Environ<'_>, _: Responder<'_>| -> AppResult {
        tell.lock().unwrap().send(()).unwrap();
        io::copy(&mut environ.input, &mut io::sink())?;
        Ok(())
    };
    let server = Timed::start(Protocol::FastCgi, app, |settings| settings.body_timeout = Duration::ZERO);
    let mut stream = server.connect();
    stream.write_all(&head("100000")).unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    server.stop.stop();
    let (now, path) = (Arc::clone(&server.now), server.path.clone());
    let clock = std::thread::spawn(move || {
        while path.exists() {
            std::thread::yield_now();
        }
        now.fetch_add(31_000, Ordering::SeqCst);
    });
    let error = server.end().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("1 connections still busy"), "{error}");
    clock.join().unwrap();
}

#[test]
fn a_new_connection_has_a_moment_for_its_first_byte_when_the_server_ends() {
    let server = Timed::start(Protocol::FastCgi, hello, |_| ());
    let (mut quick, mut silent) = (server.connect(), server.connect());
    server.stop.stop();
    while server.path.exists() {
        std::thread::yield_now();
    }
    quick.write_all(&whole()).unwrap();
    assert_answered(&mut quick);
    // The moment begins some time after the sockets are closed.
    silent.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    loop {
        server.pass(600);
        match silent.read(&mut [0; 8]) {
            Ok(count) => break assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    server.end().unwrap();
}

/// The soak met it under load: a byte that came within its time was not looked for when the time was over.
#[test]
fn a_connection_whose_time_is_over_is_read_once_more() {
    let all =
        [(Protocol::FastCgi, whole()), (Protocol::Scgi, scgi_request()), (Protocol::Http, HTTP_GET.to_vec())];
    for (protocol, wire) in all {
        let server =
            Timed::start(protocol, hello, |settings| settings.idle_timeout = Duration::from_secs(10));
        // Nothing is sent; then the request comes in the moment in which its time is over.
        for _ in 0..1000 {
            let mut stream = server.connect();
            stream.write_all(&wire).unwrap();
            server.pass(11_000);
            assert_answered(&mut stream);
        }
        server.end().unwrap();
    }
}

/// An application that is inside, and says so, until it is let go; at `/large` it writes more than anybody reads.
fn stuck() -> (impl Application + 'static, mpsc::Receiver<()>, Arc<AtomicU32>) {
    let (tell, told) = mpsc::channel();
    let (tell, open) = (std::sync::Mutex::new(tell), Arc::new(AtomicU32::new(0)));
    let let_go = Arc::clone(&open);
    let app = move |environ: &mut Environ<'_>, respond: Responder<'_>| {
        tell.lock().unwrap().send(()).unwrap();
        if environ.path_info() == b"/large" {
            return Ok(respond.start("200 OK", PLAIN)?.write_all(&vec![b'x'; 4 << 20])?);
        }
        while open.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        hello(environ, respond)
    };
    (app, told, let_go)
}

/// Lets time pass until the server answers, which shall be with 503, and not before `least` milliseconds.
#[track_caller]
fn assert_turned_away(server: &Timed, stream: &UnixStream, least: u64) {
    let (began, mut seen) = (server.now.load(Ordering::SeqCst), Vec::new());
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // Where the page ends; its head's lines end in CR LF.
    while !seen.windows(12).any(|end| end == b"Unavailable\n") {
        match (&mut &*stream).read_to_end(&mut seen) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(server.now.load(Ordering::SeqCst) - began < 1_000_000, "waited in vain");
        server.pass(1_000);
    }
    let text = seen.escape_ascii().to_string();
    assert!(server.now.load(Ordering::SeqCst) - began >= least, "too early: {text}");
    for part in ["503 Service Unavailable\\r\\n", "\\r\\nRetry-After: 5\\r\\n"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("100 Continue"), "{text}");
}

const HTTP_GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_request_that_finds_all_workers_held_up_is_turned_away_in_time() {
    let gathered =
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".to_vec();
    let streamed =
        [&b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"[..], &[b'x'; 1000]].concat();
    for (protocol, request, others) in [
        (Protocol::FastCgi, whole(), vec![head("1000000")]),
        (Protocol::Scgi, scgi_request(), vec![scgi_post(1_000_000)]),
        (Protocol::Http, HTTP_GET.to_vec(), vec![gathered, streamed]),
    ] {
        let (app, told, let_go) = stuck();
        let server = Timed::start(protocol, app, |settings| settings.workers = 1);
        let mut first = server.connect();
        first.write_all(&request).unwrap();
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        for waiting in std::iter::once(&request).chain(&others) {
            let mut stream = server.connect();
            stream.write_all(waiting).unwrap();
            assert_turned_away(&server, &stream, 29_000);
        }
        let_go.store(1, Ordering::SeqCst);
        assert_answered(&mut first);
        let mut next = server.connect();
        next.write_all(&request).unwrap();
        assert_answered(&mut next);
        server.end().unwrap();
    }
}

#[test]
fn who_waits_as_long_as_is_asked_for_is_not_turned_away() {
    let (app, told, let_go) = stuck();
    let server = Timed::start(Protocol::Http, app, |settings| {
        (settings.workers, settings.worker_wait) = (1, Duration::ZERO);
    });
    let (mut first, mut second) = (server.connect(), server.connect());
    first.write_all(HTTP_GET).unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    second.write_all(HTTP_GET).unwrap();
    wait_until_read(&second);
    server.pass(1_000_000);
    let_go.store(1, Ordering::SeqCst);
    assert_answered(&mut first);
    assert_answered(&mut second);
    server.end().unwrap();
}

/// The one who answers keeps time for all: it may not wait for an answer that shares the connection, and is not read.
#[test]
fn a_request_is_turned_away_beside_an_answer_that_nobody_reads() {
    let (app, told, let_go) = stuck();
    let server = Timed::start(Protocol::FastCgi, app, |settings| {
        (settings.workers, settings.write_timeout) = (1, Duration::ZERO);
    });
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, 7, Role::RESPONDER, true);
    encode::params(&mut wire, 7, [(&b"PATH_INFO"[..], &b"/large"[..])]).unwrap();
    encode::stream_end(&mut wire, RecordStream::Stdin, 7);
    let mut shared = server.connect();
    shared.write_all(&wire).unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    shared.write_all(&whole()).unwrap();
    wait_until_read(&shared);
    let mut alone = server.connect();
    alone.write_all(&whole()).unwrap();
    assert_turned_away(&server, &alone, 29_000);
    // It has left what it had to say for whoever writes.
    let mut seen = Vec::new();
    let mut block = [0; 64 * 1024];
    while !seen.windows(11).any(|part| part == b"Status: 503") {
        let count = shared.read(&mut block).unwrap();
        assert!(count > 0, "the connection was closed");
        seen.extend_from_slice(&block[..count]);
    }
    let_go.store(1, Ordering::SeqCst);
    drop(shared);
    server.end().unwrap();
}

/// What came back, but for the time.
fn without_dates(mut answer: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    while let Some(at) = memchr::memmem::find(answer, b"\r\nDate: ") {
        rest.extend_from_slice(&answer[..at]);
        answer = answer.get(at + 37..).unwrap_or_default();
    }
    [&rest, answer].concat()
}

/// A head that comes whole is read in another way than one that comes in pieces, and behind another request with other
/// memory: none of that can be told from the answers.
#[test]
fn http_requests_mean_the_same_wherever_they_are_cut() {
    let app = |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let mut text = format!("{:?}", environ.vars).into_bytes();
        environ.input.read_to_end(&mut text)?;
        respond.start("200 OK", PLAIN)?.send(text)
    };
    let server = Timed::start(Protocol::Http, app, |settings| {
        (settings.max_head, settings.max_pairs, settings.body_gather) = (160, 5, 10);
    });
    let fields = |count: usize| (1..count).map(|at| format!("X-{at}: {at}\r\n")).collect::<String>();
    let padded = |length: usize| {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(length - 32));
        assert_eq!(head.len(), length);
        head
    };
    let wires = [
        "GET /a?b HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\ncookie: b=2\r\nX_A: 1\r\n\r\n".to_owned(),
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nGET /two HTTP/1.0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /two HTTP/1.1\r\nHost: i\r\nConnection: close\r\n\r\n".to_owned(),
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nabcabcabcabcabcabcabcabcabcabcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nF\r\nabcabcabcabcabc\r\n0\r\nX: y\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nHost: h\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\n X: y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nX:\t y \t\r\nY: \r\nZ:\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\u{1}b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(),
        "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET http://i/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(200)),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(5)),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(6)),
        format!("\r\n{}", padded(160)),
        padded(159),
        padded(160),
        padded(161),
        padded(162),
        "GE\0T / HTTP/1.1\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: x-a, keep-alive\r\nX-A: 1\r\nX-B: 1\r\n\r\n".to_owned(),
    ];
    let ask = |before: &str, wire: &str, cut: usize| {
        let stream = server.connect();
        let (mut peer, before) = (&stream, before.as_bytes());
        peer.write_all(before).unwrap();
        let mut seen = Vec::new();
        if !before.is_empty() {
            let mut block = [0; 4096];
            while !seen.ends_with(b"{end}") {
                let count = peer.read(&mut block).unwrap();
                assert!(count > 0);
                seen.extend_from_slice(&block[..count]);
            }
            seen.clear();
        }
        let (first, second) = wire.as_bytes().split_at(cut);
        for piece in [first, second] {
            // Who is refused early need not be listened to.
            let _ = peer.write_all(piece);
            if !piece.is_empty() && !second.is_empty() {
                wait_until_read(&stream);
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let _ = peer.read_to_end(&mut seen);
        without_dates(&seen)
    };
    let usual = "POST /before?q HTTP/1.1\r\nHost: before\r\nX-A: 0\r\nContent-Length: 5\r\n\r\n{end}";
    for wire in &wires {
        let whole = ask("", wire, wire.len());
        assert!(whole.starts_with(b"HTTP/1.1 "), "{wire:?}: {}", whole.escape_ascii());
        for before in ["", usual] {
            for cut in 0..=wire.len() {
                let text = ask(before, wire, cut);
                assert_eq!(
                    text.escape_ascii().to_string(),
                    whole.escape_ascii().to_string(),
                    "{wire:?} at {cut} {before}"
                );
            }
        }
    }
    server.end().unwrap();
}

/// It was left beside a request that does not end, while the only other worker waited for the ready set: nobody told it.
#[test]
fn a_request_that_is_left_behind_finds_the_worker_that_listens() {
    let (told, came) = mpsc::channel();
    let doors = ["/unread", "/wait"].map(|path| (path, mpsc::channel::<()>()));
    let [unread, wait] = [0, 1].map(|at: usize| doors[at].1.0.clone());
    let doors = doors.map(|(path, (_, door))| (path, std::sync::Mutex::new(door)));
    let app = move |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let (asked, patience) = (environ.path_info().to_owned(), Duration::from_secs(60));
        if let Some((_, door)) = doors.iter().find(|(path, _)| path.as_bytes() == asked) {
            told.send(()).unwrap();
            door.lock().unwrap().recv_timeout(patience).unwrap();
            return respond.start("200 OK", PLAIN)?.send("waited");
        }
        hello(environ, respond)
    };
    let server = Timed::start(Protocol::FastCgi, app, |settings| {
        (settings.workers, settings.body_gather, settings.full_duplex) = (2, 0, true);
    });
    let request = |id: u16, path: &str, length: &str| {
        let mut wire = Vec::new();
        encode::begin_request(&mut wire, id, Role::RESPONDER, true);
        let pairs = [(&b"PATH_INFO"[..], path.as_bytes()), (b"CONTENT_LENGTH", length.as_bytes())];
        encode::params(&mut wire, id, pairs).unwrap();
        wire
    };
    let mut stream = server.connect();
    stream.write_all(&request(1, "/unread", "5")).unwrap();
    came.recv_timeout(Duration::from_secs(20)).unwrap();
    // Both workers know of what follows, and neither reads it before the first request is over.
    let mut rest = Vec::new();
    encode::stream(&mut rest, RecordStream::Stdin, 1, b"12345");
    encode::stream_end(&mut rest, RecordStream::Stdin, 1);
    for (id, path) in [(2, "/wait"), (3, "/")] {
        rest.extend(request(id, path, "0"));
        encode::stream_end(&mut rest, RecordStream::Stdin, id);
    }
    stream.write_all(&rest).unwrap();
    let mut other = server.connect();
    other.write_all(&whole()).unwrap();
    assert_answered(&mut other);
    unread.send(()).unwrap();
    came.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_answered(&mut stream);
    wait.send(()).unwrap();
    server.end().unwrap();
}
