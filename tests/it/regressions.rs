//! Regressions: each test failed on the code it was written against, and is named after what broke.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gatewright::app::{AppResult, Application, Chunks, Responder, app};
use gatewright::environ::{Environ, Vars};
use gatewright::error::{Error, Fault};
use gatewright::handlers::{
    Attributes, BaseCgi, BaseCgiHandler, BaseHandler, End, Head, Outcome, Policy, Scratch, Streams,
    plain_streams,
};
use gatewright::headers::Headers;
use gatewright::proto::fcgi::{Names, ProtocolStatus, ResponseDecoder, ResponseEvent, Role, Stream, encode};
use gatewright::server::{Address, Listener, Protocol, SocketRights};

use super::wire::{PATIENCE, Request, Running, answers, read_answers};

const COMPLETE: Option<ProtocolStatus> = Some(ProtocolStatus::REQUEST_COMPLETE);
const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];

fn hello(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let path = environ.path_info().to_vec();
    respond.start("200 OK", PLAIN)?.send(path)
}

fn get(path: &str) -> Request<'_> {
    Request::new(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", path)], b"")
}

fn run_with(vars: Vars, policy: Policy, app: &dyn Application) -> (Outcome, Vec<u8>, String) {
    let mut handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
    handler.attributes = Attributes { policy, ..handler.attributes };
    let outcome = handler.run(app);
    let (_, output, errors) = handler.into_streams();
    (outcome, output, String::from_utf8_lossy(&errors).into_owned())
}

fn run(app: &dyn Application) -> (Outcome, Vec<u8>, String) {
    run_with(Vars::new(), Policy::Safe, app)
}

/// Between two looks at a condition; nothing relies on its length.
fn look_again() {
    std::thread::park_timeout(Duration::from_millis(5));
}

// ---- panics ----------------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct PanicsWhenShown;

impl std::fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("panicked in Display")
    }
}

impl std::error::Error for PanicsWhenShown {}

#[test]
fn a_panic_in_the_display_of_an_error_leaves_run() {
    let result = std::panic::catch_unwind(|| run(&app(|_, _| Err(PanicsWhenShown.into()))).1);
    let output = result.expect("run() must not unwind");
    assert!(output.starts_with(b"Status: 500 "), "{}", output.escape_ascii());
}

#[test]
fn a_panic_in_the_display_of_an_error_costs_a_thread_for_ever() {
    let app = |environ: &mut Environ<'_>, respond: Responder<'_>| match environ.path_info() {
        b"/bad" => Err(PanicsWhenShown.into()),
        _ => hello(environ, respond),
    };
    let server = Running::with(Protocol::FastCgi, app, |settings| settings.max_connections = 2);
    for _ in 0..2 {
        server.exchange(&get("/bad").bytes());
    }
    let mut peer = server.connect();
    peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    peer.write_all(&get("/good").bytes()).unwrap();
    let mut block = [0; 100];
    let answer = peer.read(&mut block);
    // Otherwise the server's end would wait for the connection that nobody takes.
    drop(peer);
    assert!(
        answer.is_ok_and(|count| count > 0),
        "nobody serves any more: both threads are counted, and gone"
    );
}

#[derive(Debug)]
struct PanicsWhenDropped;

impl std::fmt::Display for PanicsWhenDropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped")
    }
}

impl std::error::Error for PanicsWhenDropped {}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("panicked in Drop")
    }
}

#[test]
fn a_panic_in_the_drop_of_an_error_leaves_run() {
    let result = std::panic::catch_unwind(|| run(&app(|_, _| Err(PanicsWhenDropped.into()))).1);
    assert!(result.is_ok(), "run() must not unwind");
}

#[test]
fn a_panic_in_the_drop_of_a_panic_payload_leaves_run() {
    let result = std::panic::catch_unwind(|| run(&app(|_, _| std::panic::panic_any(PanicsWhenDropped))).1);
    assert!(result.is_ok(), "run() must not unwind");
}

struct PanicsTwice;

impl Chunks for PanicsTwice {
    fn next_chunk(&mut self) -> AppResult<Option<std::borrow::Cow<'_, [u8]>>> {
        panic!("panicked in next_chunk()")
    }

    fn close(&mut self) -> AppResult {
        panic!("panicked in close()")
    }
}

/// The child half of the next test: it must end by itself, not by SIGABRT.
#[test]
fn child_that_panics_in_next_chunk_and_in_close() {
    if std::env::var_os("GATEWRIGHT_TEST_CHILD").is_none() {
        return;
    }
    let (_, output, _) = run(&app(|_, respond| respond.start("200 OK", PLAIN)?.send_chunks(PanicsTwice)));
    assert!(output.starts_with(b"Status: 500 "), "{}", output.escape_ascii());
}

#[test]
fn a_panic_in_close_after_one_in_next_chunk_aborts_the_process() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "regressions::child_that_panics_in_next_chunk_and_in_close"])
        .env("GATEWRIGHT_TEST_CHILD", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the whole server would be gone: {status}");
}

#[derive(Debug)]
struct OwnCause;

impl std::fmt::Display for OwnCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("own cause")
    }
}

impl std::error::Error for OwnCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&OwnCause)
    }
}

#[test]
fn child_whose_error_is_its_own_cause() {
    if std::env::var_os("GATEWRIGHT_TEST_CHILD").is_none() {
        return;
    }
    let (_, _, log) = run(&app(|_, _| Err(OwnCause.into())));
    assert!(log.len() < 1 << 16);
}

#[test]
fn an_error_that_is_its_own_cause_takes_all_memory() {
    let exe = std::env::current_exe().unwrap();
    let mut child = Command::new("bash")
        .args([
            "-c",
            "ulimit -v 2000000; exec \"$0\" --exact regressions::child_whose_error_is_its_own_cause",
        ])
        .arg(exe)
        .env("GATEWRIGHT_TEST_CHILD", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(15);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > until => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => look_again(),
        }
    };
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}: it ran out of memory, or did not end"
    );
}

// ---- the ladder ------------------------------------------------------------------------------------------------------

/// Takes `limit` bytes, then fails once with a time-out, as a socket does whose peer stopped reading, then goes on.
struct Stalls {
    taken: Vec<u8>,
    limit: usize,
    stalled: bool,
}

impl Write for &mut Stalls {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.stalled && self.taken.len() >= self.limit {
            self.stalled = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let room = if self.stalled { data.len() } else { self.limit - self.taken.len() };
        let count = room.min(data.len());
        self.taken.extend_from_slice(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn output_goes_on_behind_a_hole_after_a_failed_write() {
    let mut stalls = Stalls { taken: Vec::new(), limit: 100_000, stalled: false };
    let whole: Vec<u8> = (0..300_000_u32).map(|at| (at / 1000) as u8).collect();
    let handler = BaseCgi::new(&b""[..], &mut stalls, io::sink(), Vars::new());
    let outcome = handler.run(&app(|_, respond| {
        let mut body = respond.start("200 OK", PLAIN)?;
        for piece in whole.chunks(1000) {
            // An application that does not look: PEP 3333's write() has no result in many a port.
            let _ = body.write(piece);
        }
        Ok(())
    }));
    drop(handler);
    let at = stalls.taken.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = &stalls.taken[at..];
    assert!(whole.starts_with(body), "bytes left after the hole: {} of {}", body.len(), whole.len());
    assert_ne!(outcome.end, End::Answered, "a part of the answer was lost");
}

#[test]
fn a_swallowed_write_error_counts_as_answered() {
    let mut stalls = Stalls { taken: Vec::new(), limit: 10, stalled: false };
    let handler = BaseCgi::new(&b""[..], &mut stalls, io::sink(), Vars::new());
    let outcome = handler.run(&app(|_, respond| {
        let mut body = respond.start("200 OK", PLAIN)?;
        let _ = body.write(b"lost");
        let _ = body.flush();
        let _ = body.write(b"found");
        Ok(())
    }));
    assert_ne!(outcome.end, End::Answered);
}

/// A middleware that answers an error of the application's with a page of its own.
fn excused(
    inner: impl Application,
    status: &'static str,
    length: Option<&'static str>,
    page: &'static [u8],
) -> impl Application {
    app(move |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let respond = respond.into_inner();
        let Err(error) = inner.call(environ, Responder::new(respond)) else { return Ok(()) };
        let mut headers = Headers::from(PLAIN);
        if let Some(length) = length {
            headers.append("Content-Length", length)?;
        }
        respond.start(status.as_bytes(), headers, Some(error))?;
        if !page.is_empty() {
            respond.write(page)?;
        }
        Ok(())
    })
}

struct FailsToClose;

impl Chunks for FailsToClose {
    fn next_chunk(&mut self) -> AppResult<Option<std::borrow::Cow<'_, [u8]>>> {
        Ok(None)
    }

    fn close(&mut self) -> AppResult {
        Err("cannot close".into())
    }
}

fn fails_to_close(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", PLAIN)?.send_chunks(FailsToClose)
}

#[test]
fn a_restart_after_the_end_without_a_body_sends_nothing_at_all() {
    let (outcome, output, _) = run(&excused(fails_to_close, "503 Later", None, b""));
    assert!(output.starts_with(b"Status: 503 Later\r\n"), "{outcome:?}: \"{}\"", output.escape_ascii());
}

#[test]
fn a_restart_after_the_end_is_not_held_to_its_content_length() {
    let (outcome, output, _) = run(&excused(fails_to_close, "503 Later", Some("10"), b"abc"));
    assert!(
        outcome.end != End::Answered || output.starts_with(b"Status: 500"),
        "{outcome:?}: \"{}\"",
        output.escape_ascii()
    );
}

#[test]
fn a_length_of_a_send_that_failed_is_promised_for_another_body() {
    let (_, output, _) = run(&app(|_, respond| {
        let respond = respond.into_inner();
        let _ = respond.send(b"12345");
        respond.start(b"200 OK", Headers::from(PLAIN), None)?;
        respond.write(b"abc")?;
        respond.write(b"defgh")?;
        Ok(())
    }));
    assert!(output.ends_with(b"\r\n\r\nabcdefgh"), "{}", output.escape_ascii());
}

#[test]
fn an_error_with_an_impossible_status_gets_no_answer_at_all() {
    for status in [0, 42, 100, 199, 1000, 65535] {
        let (outcome, output, _) =
            run(&app(move |_, _| Err(Error::new(Fault::Application, status, "odd").into())));
        assert!(output.starts_with(b"Status: 500 "), "{status}: {outcome:?} \"{}\"", output.escape_ascii());
    }
}

#[test]
fn a_status_refused_under_wsgirefs_policy_splits_the_response_all_the_same() {
    let (_, output, _) = run_with(
        Vars::new(),
        Policy::Wsgiref,
        &app(|_, respond| {
            let respond = respond.into_inner();
            let _ = respond.start(b"200 OK\r\nSet-Cookie: stolen=1", Headers::from(PLAIN), None);
            respond.write(b"x")?;
            Ok(())
        }),
    );
    assert!(!output.windows(14).any(|line| line == b"\r\nSet-Cookie: "), "{}", output.escape_ascii());
}

struct Late {
    vars: Vars,
    output: RefCell<Vec<u8>>,
}

impl BaseCgiHandler for Late {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let output = &mut *self.output.borrow_mut();
        plain_streams(&mut &b""[..], output, &mut io::sink(), &mut Scratch::new(), with);
    }

    fn base_env(&self) -> &Vars {
        &self.vars
    }
}

impl BaseHandler for Late {
    fn cleanup_headers(&self, head: &mut Head) {
        *head.headers_mut() = Headers::from([("X", "a\r\nSet-Cookie: stolen=1")]);
    }
}

#[test]
fn headers_put_in_by_an_overridden_cleanup_leave_unchecked() {
    let late = Late { vars: Vars::new(), output: RefCell::default() };
    late.run(&hello);
    let output = late.output.into_inner();
    assert!(!output.windows(14).any(|line| line == b"\r\nSet-Cookie: "), "{}", output.escape_ascii());
}

#[test]
fn a_panic_after_a_failed_read_is_not_logged() {
    let vars = Vars::from([("CONTENT_LENGTH", "100000")]);
    let (outcome, output, log) = run_with(
        vars,
        Policy::Safe,
        &app(|environ, respond| {
            let mut body = Vec::new();
            if environ.input.read_to_end(&mut body).is_err() {
                // The application copes with a short body.
            }
            panic!("a bug of the application's {}", respond.into_inner().wants_length())
        }),
    );
    assert!(log.contains("a bug of the"), "{outcome:?} \"{}\" \"{log}\"", output.escape_ascii());
}

// ---- FastCGI -----------------------------------------------------------------------------------------------------------

fn begun(id: u16, length: &'static str) -> Vec<u8> {
    let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/begun"), ("CONTENT_LENGTH", length)];
    Request { id, ..Request::new(&params, b"") }.head()
}

#[test]
fn abort_while_a_small_body_is_gathered_leaves_the_connection_unusable() {
    let server = Running::start(Protocol::FastCgi, hello);
    let mut peer = server.connect();
    let mut wire = begun(1, "10");
    encode::abort_request(&mut wire, 1);
    peer.write_all(&wire).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].status, COMPLETE, "ABORT is answered at once");
    peer.write_all(&get("/after").bytes()).unwrap();
    let mut answer = Vec::new();
    peer.shutdown(Shutdown::Write).unwrap();
    let _ = peer.read_to_end(&mut answer);
    let all = answers(&answer);
    assert!(
        all.first().is_some_and(|answer| answer.text().ends_with("/after")),
        "the next request was not answered: {all:?}"
    );
}

#[test]
fn an_aborted_request_is_answered_a_second_time_when_its_body_still_comes() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server =
        Running::start(Protocol::FastCgi, move |environ: &mut Environ<'_>, respond: Responder<'_>| {
            counted.fetch_add(1, Ordering::Relaxed);
            hello(environ, respond)
        });
    let mut wire = begun(1, "10");
    encode::abort_request(&mut wire, 1);
    encode::stream(&mut wire, Stream::Stdin, 1, b"0123456789");
    encode::stream_end(&mut wire, Stream::Stdin, 1);
    let all = answers(&server.exchange(&wire));
    assert_eq!(all.len(), 1, "one END_REQUEST for one request: {all:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 0, "nobody waits for this answer");
}

#[test]
fn abort_behind_a_whole_answer_is_answered_by_a_second_end_request() {
    let server = Running::start(Protocol::FastCgi, hello);
    let mut peer = server.connect();
    // The application answers without reading its long body.
    let mut wire = begun(1, "900000");
    encode::stream(&mut wire, Stream::Stdin, 1, b"some");
    peer.write_all(&wire).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/begun"));
    // The ABORT crosses the END_REQUEST on the wire; the web server uses the id again.
    let mut wire = Vec::new();
    encode::abort_request(&mut wire, 1);
    wire.extend(get("/next").bytes());
    peer.write_all(&wire).unwrap();
    let next = &read_answers(&mut peer, 1)[0];
    assert!(next.text().ends_with("/next"), "an empty answer took its place: {next:?}");
}

#[test]
fn abort_throws_away_what_other_records_were_answered() {
    let server = Running::start(Protocol::FastCgi, hello);
    let mut wire = Vec::new();
    encode::get_values(&mut wire, Names::ALL);
    encode::begin_request(&mut wire, 1, Role::RESPONDER, true);
    encode::begin_request(&mut wire, 2, Role::RESPONDER, true);
    encode::abort_request(&mut wire, 1);
    wire.extend(Request { id: 2, ..get("/") }.bytes().split_off(16));
    let bytes = server.exchange(&wire);
    let (mut decoder, mut input, mut told, mut ended) =
        (ResponseDecoder::new(), &bytes[..], false, Vec::new());
    while let Some(event) = decoder.decode(&mut input).unwrap() {
        match event {
            ResponseEvent::GetValuesResult(_) => told = true,
            ResponseEvent::EndRequest { id, .. } => ended.push(id),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!((told, ended), (true, vec![1, 2]));
}

#[test]
fn messages_that_have_left_keep_the_error_page_from_replacing_output_that_has_not() {
    let server = Running::start(Protocol::FastCgi, |environ: &mut Environ<'_>, respond: Responder<'_>| {
        environ.errors.write_all(&[b'e'; 70_000])?;
        respond.start("200 OK", PLAIN)?.write_all(b"partial")?;
        Err("failed".into())
    });
    let answer = &answers_leniently(&server.exchange(&get("/").bytes()))[0];
    assert!(answer.text().starts_with("Status: 500 "), "no STDOUT had left: {answer:?}");
}

#[test]
fn get_values_within_a_body_keeps_the_error_page_from_replacing_output() {
    let server = Running::start(Protocol::FastCgi, |environ: &mut Environ<'_>, respond: Responder<'_>| {
        io::copy(&mut environ.input, &mut io::sink())?;
        respond.start("200 OK", PLAIN)?.write_all(b"partial")?;
        Err("failed".into())
    });
    let mut peer = server.connect();
    let mut wire = begun(1, "70000");
    encode::stream(&mut wire, Stream::Stdin, 1, &[b'x'; 60000]);
    encode::get_values(&mut wire, Names::ALL);
    peer.write_all(&wire).unwrap();
    // Its answer leaves while the application waits.
    let mut block = [0; 200];
    assert!(peer.read(&mut block).unwrap() > 0);
    let mut wire = Vec::new();
    encode::stream(&mut wire, Stream::Stdin, 1, &[b'x'; 10000]);
    encode::stream_end(&mut wire, Stream::Stdin, 1);
    peer.write_all(&wire).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    let all = answers_leniently(&bytes);
    assert!(all[0].text().starts_with("Status: 500 "), "no STDOUT had left: {all:?}");
}

/// As `answers`, up to what is no record.
fn answers_leniently(bytes: &[u8]) -> Vec<super::wire::Answer> {
    let whole = bytes.strip_suffix(&[0; 8]).unwrap_or(bytes);
    answers(whole)
}

#[test]
fn a_streamed_body_beyond_the_limit_closes_the_connection_without_413() {
    let reads = |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let mut body = Vec::new();
        environ.input.read_to_end(&mut body)?;
        respond.start("200 OK", PLAIN)?.send(body.len().to_string())
    };
    let server = Running::with(Protocol::FastCgi, reads, |settings| settings.max_body = 1_000_000);
    let body = vec![b'x'; 3_000_000];
    let all = answers(&server.exchange(&Request::new(&[("REQUEST_METHOD", "POST")], &body).bytes()));
    assert!(all.first().is_some_and(|answer| answer.text().starts_with("Status: 413 ")), "{all:?}");
}

#[test]
fn a_peer_that_stalls_and_goes_on_reads_an_application_s_bytes_as_records() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let server = Running::with(
        Protocol::FastCgi,
        move |_: &mut Environ<'_>, respond: Responder<'_>| {
            let mut body = respond.start("200 OK", PLAIN)?;
            for _ in 0..100 {
                // An application that looks at no error.
                let _ = body.write(&[0x20; 20_000]);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        },
        |settings| settings.write_timeout = Duration::from_millis(300),
    );
    let mut peer = server.connect();
    peer.write_all(&get("/stall").bytes()).unwrap();
    while written.load(Ordering::SeqCst) < 100 {
        look_again();
    }
    let mut bytes = Vec::new();
    let _ = peer.shutdown(Shutdown::Write);
    peer.read_to_end(&mut bytes).unwrap();
    let (mut decoder, mut input) = (ResponseDecoder::new(), &bytes[..]);
    let mut body = 0;
    let error = loop {
        match decoder.decode(&mut input) {
            Ok(Some(ResponseEvent::Stdout { data, .. })) => body += data.len(),
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(
        error.is_none(),
        "after {body} bytes, the application's own bytes stood where a header stands: {error:?}"
    );
}

#[test]
fn a_peer_that_never_reads_holds_a_thread_for_several_write_time_outs() {
    let done = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&done);
    let server = Running::with(
        Protocol::FastCgi,
        move |_: &mut Environ<'_>, respond: Responder<'_>| {
            let mut body = respond.start("200 OK", PLAIN)?;
            for _ in 0..400 {
                let _ = body.write(&[b'x'; 20_000]);
            }
            noted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        },
        // The first write that fails takes as long; a hundred of them would outlast any patience.
        |settings| settings.write_timeout = Duration::from_secs(1),
    );
    let mut peer = server.connect();
    peer.write_all(&get("/").bytes()).unwrap();
    let until = Instant::now() + PATIENCE;
    while done.load(Ordering::SeqCst) == 0 && Instant::now() < until {
        look_again();
    }
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[test]
fn a_record_that_never_ends_is_not_timed_out_before_a_request() {
    let server = Running::with(Protocol::FastCgi, hello, |settings| {
        settings.head_timeout = Duration::from_millis(300);
    });
    let mut peer = server.connect();
    peer.write_all(&[1, 1, 0, 1]).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let mut block = [0; 16];
    let result = peer.read(&mut block);
    assert!(result.is_ok(), "the head-timeout of 300 ms has not ended it in 4 s: {result:?}");
}

#[test]
fn a_connection_that_ends_with_its_request_drains_an_endless_body() {
    let server = Running::start(Protocol::FastCgi, hello);
    let mut peer = server.connect();
    let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/x"), ("CONTENT_LENGTH", "1000000000")];
    let request = Request { keep_conn: false, ..Request::new(&params, b"") };
    peer.write_all(&request.head()).unwrap();
    assert!(read_answers(&mut peer, 1)[0].text().ends_with("/x"));
    let mut piece = Vec::new();
    encode::stream(&mut piece, Stream::Stdin, 1, &[b'x'; 60_000]);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(5) && sent < 64 << 20 {
        if peer.write_all(&piece).is_err() {
            break;
        }
        sent += piece.len();
    }
    drop(peer);
    assert!(sent <= 20 << 20, "{sent} bytes were read behind the end, where 16 MiB or 2 s are the bound");
}

// ---- sockets and the end -------------------------------------------------------------------------------------------------

fn temporary(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("gatewright-regression-{}-{name}", std::process::id()))
}

#[test]
fn a_server_that_ends_removes_the_socket_of_its_successor() {
    let path = temporary("successor.sock");
    let address = Address::Unix(path.clone());
    let old = Listener::bind(&address, &SocketRights::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let new = Listener::bind(&address, &SocketRights::default()).unwrap();
    drop(old);
    let there = path.exists();
    drop(new);
    assert!(there, "the successor listens, and nobody can reach it");
}

#[test]
fn a_server_that_ends_removes_a_file_that_is_not_its_own() {
    let path = temporary("replaced.sock");
    let listener = Listener::bind(&Address::Unix(path.clone()), &SocketRights::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(listener);
    let there = path.exists();
    let _ = std::fs::remove_file(&path);
    assert!(there);
}

#[test]
fn a_socket_path_that_fits_is_refused_for_its_staging_name() {
    let folder = std::env::temp_dir();
    let room = 107 - folder.as_os_str().len() - 1;
    let path = folder.join("s".repeat(room));
    drop(UnixListener::bind(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let bound = Listener::bind(&Address::Unix(path), &SocketRights::default());
    assert!(bound.is_ok(), "{}", bound.unwrap_err());
}

#[test]
fn a_consume_beyond_what_is_there_panics_or_wraps() {
    // What is consumed has to have been seen: nothing was.
    let server = Running::start(Protocol::FastCgi, |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let mut first = [0; 4];
        environ.input.read_exact(&mut first)?;
        environ.input.consume(usize::MAX);
        let mut rest = Vec::new();
        environ.input.read_to_end(&mut rest)?;
        respond.start("200 OK", PLAIN)?.send(rest)
    });
    let request = Request::new(&[("REQUEST_METHOD", "POST")], b"0123456789");
    let all = answers(&server.exchange(&request.bytes()));
    assert!(all[0].text().ends_with("\r\n\r\n456789"), "{all:?}");
}

// ---- variables -------------------------------------------------------------------------------------------------------

#[test]
fn an_update_of_variables_that_were_emptied_by_remove_reads_other_bytes() {
    let mut vars = Vars::from([("FIRST", "1")]);
    vars.remove("FIRST");
    let other = Vars::from([("PATH_INFO", "/tea"), ("X", "2")]);
    vars.update(&other);
    assert_eq!(vars, other);
}

#[test]
fn a_refused_head_request_gets_a_body() {
    let server = Running::start(Protocol::FastCgi, hello);
    let names: Vec<String> = (0..5000).map(|n| format!("X{n}")).collect();
    let mut params: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    params.push(("REQUEST_METHOD", "HEAD"));
    let text = answers(&server.exchange(&Request::new(&params, b"").bytes()))[0].text();
    assert!(text.starts_with("Status: 431 ") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn an_empty_argument_of_python_s_http_server_is_taken_for_an_application() {
    // For a request without a query, `python3 -m http.server --cgi` passes one empty argument (RFC 3875 asks for none).
    let output = Command::new(env!("CARGO_BIN_EXE_cgi-gateway"))
        .arg("")
        .env_clear()
        .envs([("GATEWAY_INTERFACE", "CGI/1.1"), ("REQUEST_METHOD", "GET"), ("QUERY_STRING", "")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"Status: 200 OK"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_usage_panics_where_standard_error_cannot_be_written() {
    for program in [env!("CARGO_BIN_EXE_cgi-gateway"), env!("CARGO_BIN_EXE_fcgi-gateway")] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = Command::new(program).arg("--bogus").stdin(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(2), "{program}");
    }
}

/// A program with its standard error in a file, killed when dropped.
struct Program(std::process::Child, std::path::PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}

fn start_gateway(name: &str, more: &[&str]) -> Program {
    let path = temporary(name);
    let _ = std::fs::remove_file(&path);
    let child = Command::new(env!("CARGO_BIN_EXE_fcgi-gateway"))
        .args(["--socket", &format!("unix:{}", path.display())])
        .args(more)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while UnixStream::connect(&path).is_err() && Instant::now() < until {
        look_again();
    }
    Program(child, path)
}

fn terminate(program: &Program) {
    Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().unwrap();
}

#[test]
fn a_toml_octal_mode_is_read_as_decimal_digits_and_lets_anybody_in() {
    use std::os::unix::fs::PermissionsExt;
    let config = temporary("mode.toml");
    std::fs::write(&config, "socket-mode = 0o660\n").unwrap();
    let program = start_gateway("mode.sock", &["--config", config.to_str().unwrap()]);
    let mode = std::fs::metadata(&program.1).map(|about| about.permissions().mode() & 0o777);
    let _ = std::fs::remove_file(&config);
    assert!(mode.as_ref().is_ok_and(|mode| *mode == 0o660) || mode.is_err(), "{:04o}", mode.unwrap());
}

#[test]
fn connections_in_the_queue_are_dropped_when_the_gateway_is_told_to_end() {
    let mut program = start_gateway("queue.sock", &[]);
    let wire = Request { keep_conn: false, ..get("/queued") }.bytes();
    let mut peers: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&program.1).unwrap()).collect();
    for peer in &mut peers {
        peer.write_all(&wire).unwrap();
    }
    terminate(&program);
    let answered = peers
        .iter_mut()
        .filter_map(|peer| {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).ok().filter(|count| *count > 0)
        })
        .count();
    let _ = program.0.wait();
    assert_eq!(answered, 100);
}

#[test]
fn refused_scgi_requests_fill_the_log_at_a_peer_s_pace() {
    let path = temporary("log.sock");
    let log = temporary("log.txt");
    let mut child = Command::new(env!("CARGO_BIN_EXE_scgi-gateway"))
        .args(["--socket", &format!("unix:{}", path.display())])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while UnixStream::connect(&path).is_err() && Instant::now() < until {
        look_again();
    }
    for _ in 0..500 {
        let mut peer = UnixStream::connect(&path).unwrap();
        let _ = peer.write_all(b"24:CONTENT_LENGTH\0x\0SCGI\x001\0,");
        let _ = peer.shutdown(Shutdown::Write);
        let _ = peer.read_to_end(&mut Vec::new());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = std::fs::read_to_string(&log).unwrap().lines().count();
    let _ = (std::fs::remove_file(&log), std::fs::remove_file(&path));
    assert!(lines < 50, "{lines} lines for 500 refused requests");
}

#[test]
fn a_client_s_query_replaces_the_administrator_s_application_by_the_demo() {
    let ask = |query: &str| {
        Command::new(env!("CARGO_BIN_EXE_cgi-gateway"))
            // What a wrapper script says; the folder is not there.
            .arg("dir:/nowhere/app")
            .env_clear()
            .envs([
                ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("REQUEST_METHOD", "GET"),
                ("SECRET", "s3"),
                ("QUERY_STRING", query),
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    assert_eq!(ask("a=1").status.code(), Some(1));
    assert_eq!(ask("x").status.code(), Some(2));
    let text = String::from_utf8_lossy(&ask("x").stdout).into_owned();
    assert!(!text.contains("SECRET"), "the client has chosen the demo, which shows the environment:\n{text}");
}

/// Apache with `enablereuse=on` leaves the rest of a body out once it has the answer, and uses the connection again.
#[test]
fn the_next_request_under_an_id_breaks_a_connection_whose_last_body_had_no_end() {
    let server = Running::start(Protocol::FastCgi, hello);
    let mut peer = server.connect();
    let body = vec![b'x'; 100_000];
    let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/first"), ("CONTENT_LENGTH", "400000")];
    let mut wire = Request::new(&params, b"").head();
    encode::stream(&mut wire, Stream::Stdin, 1, &body);
    peer.write_all(&wire).unwrap();
    let first = read_answers(&mut peer, 1).remove(0);
    assert!(first.text().ends_with("/first") && first.status == COMPLETE, "{first:?}");
    // A piece that was on its way, which is of no request, and the next one.
    let mut wire = Vec::new();
    encode::stream(&mut wire, Stream::Stdin, 1, b"late");
    wire.extend(get("/second").bytes());
    peer.write_all(&wire).unwrap();
    let second = read_answers(&mut peer, 1).remove(0);
    assert!(second.text().ends_with("/second") && second.status == COMPLETE, "{second:?}");
}

/// What nginx does to find the end of an answer's head (`ngx_http_fastcgi_process_header`): all is read into one buffer, which
/// begins anew only where text of STDERR ends with what was read. A full buffer without the end of the head is a 502.
fn nginx_finds_the_head(wire: &[u8], size: usize) -> bool {
    let (mut at, mut used, mut head) = (0, 0, Vec::new());
    // What is left of a header, of content of a type, and of padding.
    let (mut header, mut content, mut padding, mut kind) = (Vec::new(), 0, 0, 0);
    'read: while at < wire.len() {
        let end = wire.len().min(at + size - used);
        used += end - at;
        while at < end {
            if content == 0 && padding == 0 {
                header.push(wire[at]);
                at += 1;
                if let [_, of, _, _, high, low, pad, _] = header[..] {
                    (kind, content, padding) =
                        (of, usize::from(u16::from_be_bytes([high, low])), usize::from(pad));
                    header.clear();
                }
            } else if content > 0 {
                let count = content.min(end - at);
                if kind == 6 {
                    head.extend_from_slice(&wire[at..at + count]);
                }
                (at, content) = (at + count, content - count);
                if head.windows(4).any(|four| four == b"\r\n\r\n") {
                    return true;
                }
                if kind == 7 && at == end && head.is_empty() {
                    used = 0;
                    continue 'read;
                }
            } else {
                let count = padding.min(end - at);
                (at, padding) = (at + count, padding - count);
            }
        }
        if used == size {
            return false;
        }
    }
    false
}

/// fcgiwrap's users have programs that warn a lot before they answer. Every sixth of those with more than 4 KiB was a 502.
#[test]
fn error_text_before_the_head_leaves_nginx_room_for_it() {
    let application = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let count: usize = std::str::from_utf8(environ.query_string())?.parse()?;
        // As a program's, in small pieces.
        for piece in vec![b'x'; count].chunks(22) {
            environ.errors.write_all(piece)?;
        }
        respond
            .start("200 OK", [("Content-Type", "text/plain"), ("X-Long", &"y".repeat(2_000))])?
            .send("whole")
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let mut peer = server.connect();
    let counts = (0..20_000).step_by(61).chain(4_070..4_110).chain((60_000..200_000).step_by(1_777));
    for count in counts {
        let query = count.to_string();
        let request = Request::new(&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", &query)], b"");
        peer.write_all(&request.bytes()).unwrap();
        let mut wire = Vec::new();
        let end = [1, 3, 0, 1, 0, 8, 0, 0];
        while wire.len() < 16 || !wire[wire.len() - 16..].starts_with(&end) {
            let mut block = [0; 65_536];
            let read = peer.read(&mut block).unwrap();
            assert!(read > 0);
            wire.extend_from_slice(&block[..read]);
        }
        let answer = answers(&wire).remove(0);
        assert!(answer.stderr == vec![b'x'; count] && answer.text().ends_with("whole"), "{count}");
        for size in [4_096, 8_192, 16_384] {
            assert!(nginx_finds_the_head(&wire, size), "{count} bytes of error text, a buffer of {size}");
        }
    }
}
