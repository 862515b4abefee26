//! Bodies stream through: nothing between the two ends collects them.

use std::cell::{Cell, RefCell};
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    read: Cell<u64>,
    written: Cell<u64>,
    furthest: Cell<u64>,
}

impl Progress {
    fn note(&self) {
        // The head goes out too, so the writer can be ahead.
        let apart = self.read.get().abs_diff(self.written.get());
        self.furthest.set(self.furthest.get().max(apart));
    }
}

/// A request's body that nobody has in memory.
struct Upload {
    pattern: Vec<u8>,
    progress: Rc<Progress>,
}

impl Read for Upload {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let position = self.progress.read.get();
        let left = usize::try_from(TOTAL - position).expect("a 64-bit machine, or the end");
        let count = into.len().min(left).min(64 * 1024);
        into[..count].copy_from_slice(at(&self.pattern, position, count));
        self.progress.read.set(position + count as u64);
        self.progress.note();
        Ok(count)
    }
}

/// A client that checks what it gets and keeps nothing of it.
struct Download {
    pattern: Vec<u8>,
    progress: Rc<Progress>,
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
            let position = self.progress.written.get();
            assert!(piece == at(&self.pattern, position, piece.len()), "near byte {position}");
            self.progress.written.set(position + piece.len() as u64);
        }
        self.progress.note();
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
            let progress = Rc::new(Progress::default());
            let upload = Upload { pattern: pattern(), progress: Rc::clone(&progress) };
            let download = Download { pattern: pattern(), progress: Rc::clone(&progress), head: Vec::new() };
            let vars = Vars::from([("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", &TOTAL.to_string())]);
            let mut handler = BaseCgi::new(BufReader::new(upload), download, io::sink(), vars);
            (handler.attributes.policy, handler.attributes.full_duplex) = (policy, full_duplex);
            let outcome = handler.run(app);
            assert_eq!((outcome.end, outcome.body_bytes), (End::Answered, TOTAL), "{policy:?} {told}");
            assert_eq!((progress.read.get(), progress.written.get()), (TOTAL, TOTAL), "{policy:?} {told}");
            let furthest = progress.furthest.get();
            if policy == Policy::Safe && !full_duplex {
                // No web server has to send and receive at once: the body was here before the answer began.
                assert_eq!(furthest, TOTAL, "{told}");
            } else {
                assert!(furthest <= UNDER_WAY, "{policy:?} {told}: {furthest} bytes were under way");
            }
        }
    }
}

#[test]
fn in_full_duplex_output_leaves_before_the_application_waits_for_input() {
    /// A client that sends its question only after it has seen the greeting.
    struct Client(Rc<RefCell<Vec<u8>>>);

    impl Read for Client {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(self.0.borrow().ends_with(b"\r\n\r\nhello "), "asked before it was greeted");
            into[..3].copy_from_slice(b"you");
            Ok(3)
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
    let stdin = BufReader::new(Client(Rc::clone(&seen)));
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
