//! Bodies stream through: nothing between the two ends collects them.

use std::cell::RefCell;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gatewright::app::{app, try_chunks};
use gatewright::environ::{Abort, Vars};
use gatewright::handlers::{
    BaseCgi, BaseHandler, End, Policy, Scratch, SimpleHandler, Streams, plain_streams,
};
use gatewright::util::FileWrapper;

const TOTAL: u64 = 64 * 1024 * 1024;
/// What may be under way: the gathered output, a reader's buffer, and one block in the application's hand.
const UNDER_WAY: u64 = 256 * 1024;
/// A length that no power of two is a multiple of, so that a lost or repeated block shows.
const PERIOD: usize = 251;

/// The bytes of a body, from any position on.
fn pattern() -> Vec<u8> {
    (0..=250).cycle().take(PERIOD + 64 * 1024).collect()
}

fn at(pattern: &[u8], position: u64, length: usize) -> &[u8] {
    let start = usize::try_from(position % PERIOD as u64).expect("a small number");
    &pattern[start..start + length]
}

/// How far both ends are, and how far apart they ever were.
#[derive(Default)]
struct Progress {
    read: AtomicU64,
    written: AtomicU64,
    furthest: AtomicU64,
}

impl Progress {
    /// Moves one end on; gives where it was.
    fn advance(&self, end: &AtomicU64, count: usize) -> u64 {
        let position = end.fetch_add(count as u64, Ordering::Relaxed);
        let apart = self.read.load(Ordering::Relaxed).abs_diff(self.written.load(Ordering::Relaxed));
        self.furthest.fetch_max(apart, Ordering::Relaxed);
        position
    }

    /// Fails unless all has gone through, and never much of it was under way.
    fn check(&self, told: &str) {
        let [read, written, furthest] =
            [&self.read, &self.written, &self.furthest].map(|count| count.load(Ordering::Relaxed));
        assert_eq!((read, written), (TOTAL, TOTAL), "{told}");
        assert!(furthest <= UNDER_WAY, "{told}: {furthest} bytes were under way");
    }
}

/// A request's body that nobody has in memory.
struct Upload {
    pattern: Vec<u8>,
    progress: Arc<Progress>,
}

impl Read for Upload {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = TOTAL - self.progress.read.load(Ordering::Relaxed);
        let count = into.len().min(usize::try_from(left).unwrap_or(usize::MAX)).min(64 * 1024);
        let position = self.progress.advance(&self.progress.read, count);
        into[..count].copy_from_slice(at(&self.pattern, position, count));
        Ok(count)
    }
}

/// A client that checks what it gets and keeps nothing of it.
struct Download {
    pattern: Vec<u8>,
    progress: Arc<Progress>,
    head: Vec<u8>,
}

impl Write for Download {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut body = data;
        if !self.head.ends_with(b"\r\n\r\n") {
            self.head.extend_from_slice(data);
            let end = self.head.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { return Ok(data.len()) };
            let beyond = self.head.len() - end - 4;
            self.head.truncate(end + 4);
            body = &data[data.len() - beyond..];
        }
        for piece in body.chunks(64 * 1024) {
            let position = self.progress.advance(&self.progress.written, piece.len());
            assert!(piece == at(&self.pattern, position, piece.len()), "near byte {position}");
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_long_body_streams_in_and_out_at_the_same_time() {
    let echo = app(|environ, respond| {
        let mut body = respond.start("200 OK", [("Content-Type", "application/octet-stream")])?;
        io::copy(&mut environ.input, &mut body)?;
        Ok(())
    });
    let blocks = app(|environ, respond| {
        let body = respond.start("200 OK", [("Content-Type", "application/octet-stream")])?;
        body.send_chunks(try_chunks(FileWrapper::new(&mut environ.input)))
    });
    for (policy, full_duplex) in [(Policy::Safe, true), (Policy::Safe, false), (Policy::Wsgiref, false)] {
        for (told, app) in [("copy", &echo as &dyn gatewright::app::Application), ("chunks", &blocks)] {
            let progress = Arc::new(Progress::default());
            let upload = Upload { pattern: pattern(), progress: Arc::clone(&progress) };
            let download = Download { pattern: pattern(), progress: Arc::clone(&progress), head: Vec::new() };
            let vars = Vars::from([("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", &TOTAL.to_string())]);
            let mut handler = BaseCgi::new(BufReader::new(upload), download, io::sink(), vars);
            (handler.attributes.policy, handler.attributes.full_duplex) = (policy, full_duplex);
            let outcome = handler.run(app);
            assert_eq!((outcome.end, outcome.body_bytes), (End::Answered, TOTAL), "{policy:?} {told}");
            if policy == Policy::Safe && !full_duplex {
                // No web server has to send and receive at once: the body was here before the answer began.
                assert_eq!(progress.furthest.load(Ordering::Relaxed), TOTAL, "{told}");
            } else {
                progress.check(&format!("{policy:?} {told}"));
            }
        }
    }
}

#[test]
fn a_long_body_in_small_pieces_is_not_gathered_whole() {
    let progress = Arc::new(Progress::default());
    let (ours, pattern_of_app) = (Arc::clone(&progress), pattern());
    let small = app(move |_, respond| {
        let mut body = respond.start("200 OK", [("Content-Type", "application/octet-stream")])?;
        while ours.read.load(Ordering::Relaxed) < TOTAL {
            let position = ours.advance(&ours.read, 1024);
            body.write_all(at(&pattern_of_app, position, 1024))?;
        }
        Ok(())
    });
    let download = Download { pattern: pattern(), progress: Arc::clone(&progress), head: Vec::new() };
    let outcome = BaseCgi::new(io::empty(), download, io::sink(), Vars::new()).run(&small);
    assert_eq!((outcome.end, outcome.body_bytes), (End::Answered, TOTAL));
    progress.check("small pieces");
}

#[test]
fn in_full_duplex_output_leaves_before_the_application_waits_for_input() {
    /// A client that gives its name only after it has seen the greeting.
    struct Client {
        seen: Rc<RefCell<Vec<u8>>>,
        name: &'static [u8],
    }

    impl Read for Client {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(self.seen.borrow().ends_with(b"\r\n\r\nhello "), "asked before it was greeted");
            self.name.read(into)
        }
    }

    struct Seen(Rc<RefCell<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(data)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let greets = app(|environ, respond| {
        let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
        body.write_all(b"hello ")?;
        let mut name = String::new();
        environ.input.read_to_string(&mut name)?;
        Ok(body.write_all(name.as_bytes())?)
    });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let vars = Vars::from([("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "3")]);
    let stdin = BufReader::new(Client { seen: Rc::clone(&seen), name: b"you" });
    let mut handler = BaseCgi::new(stdin, Seen(Rc::clone(&seen)), io::sink(), vars);
    handler.attributes.full_duplex = true;
    let outcome = handler.run(&greets);
    assert_eq!(outcome.end, End::Answered);
    assert!(seen.borrow().ends_with(b"\r\n\r\nhello you"));
}

/// A handler whose client goes away at some question.
struct Leaving {
    vars: Vars,
    asked: AtomicUsize,
    leaves_at: usize,
}

impl SimpleHandler for Leaving {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let gone = || self.asked.fetch_add(1, Ordering::Relaxed) + 1 >= self.leaves_at;
        let (mut output, mut errors, mut scratch) = (io::sink(), io::sink(), Scratch::new());
        plain_streams(&mut io::empty(), &mut output, &mut errors, &mut scratch, &mut |streams| {
            with(streams.with_abort(Abort::new(&gone)));
        });
    }

    fn base_env(&self) -> &Vars {
        &self.vars
    }
}

impl BaseHandler for Leaving {}

#[test]
fn an_application_can_ask_whether_its_client_has_gone() {
    let rounds = AtomicUsize::new(0);
    let endless = app(|environ, respond| {
        let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
        while !environ.is_aborted() {
            rounds.fetch_add(1, Ordering::Relaxed);
            body.write_all(b"tick\n")?;
        }
        Ok(())
    });
    let handler = Leaving { vars: Vars::new(), asked: AtomicUsize::new(0), leaves_at: 1000 };
    let outcome = handler.run(&endless);
    assert_eq!((rounds.load(Ordering::Relaxed), handler.asked.load(Ordering::Relaxed)), (999, 1000));
    assert_eq!((outcome.end, outcome.body_bytes), (End::Answered, 999 * 5));
    // Streams that cannot tell never say so.
    let asks = app(|environ, respond| {
        let answer = environ.is_aborted().to_string();
        respond.start("200 OK", [("Content-Type", "text/plain")])?.send(answer)
    });
    let plain = BaseCgi::new(io::empty(), Vec::new(), io::sink(), Vars::new());
    plain.run(&asks);
    assert!(plain.into_streams().1.ends_with(b"\r\n\r\nfalse"));
}
