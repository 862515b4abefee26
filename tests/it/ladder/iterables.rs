//! An iterable is closed exactly once, whatever becomes of it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewright::app::{AppResult, Chunks, app};
use gatewright::environ::Vars;
use gatewright::handlers::{BaseCgi, BaseHandler, End, Policy, capture_panics};

/// What happens at the second chunk.
#[derive(Clone, Copy, Debug)]
enum Then {
    Ends,
    Fails,
    Panics,
}

struct Counted<'c> {
    then: Then,
    chunks: usize,
    closed: &'c AtomicUsize,
    close_fails: bool,
}

impl Chunks for Counted<'_> {
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        self.chunks += 1;
        match (self.chunks, self.then) {
            (1, _) => Ok(Some(Cow::Borrowed(b"part"))),
            (_, Then::Ends) => Ok(None),
            (_, Then::Fails) => Err("iteration failed".into()),
            (_, Then::Panics) => panic!("iteration failed"),
        }
    }

    fn close(&mut self) -> AppResult {
        self.closed.fetch_add(1, Ordering::Relaxed);
        if self.close_fails { Err("closing failed".into()) } else { Ok(()) }
    }
}

/// A client that takes nothing.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// Runs an application that sends such an iterable: how often it was closed, how the run ended, and its log.
fn closings(then: Then, close_fails: bool, policy: Policy, client: impl Write) -> (usize, End, String) {
    let closed = AtomicUsize::new(0);
    let sends = app(|_, respond| {
        let counted = Counted { then, chunks: 0, closed: &closed, close_fails };
        respond.start("200 OK", [("Content-Type", "text/plain")])?.send_chunks(counted)
    });
    let mut handler = BaseCgi::new(io::empty(), client, Vec::new(), Vars::new());
    handler.attributes.policy = policy;
    let outcome = handler.run(&sends);
    let (_, _, errors) = handler.into_streams();
    (closed.load(Ordering::Relaxed), outcome.end, String::from_utf8_lossy(&errors).into_owned())
}

#[test]
fn closed_once_on_success_error_panic_and_a_gone_client() {
    capture_panics();
    for policy in [Policy::Safe, Policy::Wsgiref] {
        for then in [Then::Ends, Then::Fails, Then::Panics] {
            for close_fails in [false, true] {
                let told = format!("{policy:?} {then:?} {close_fails}");
                let (closed, _, errors) = closings(then, close_fails, policy, io::sink());
                assert_eq!(closed, 1, "{told}");
                assert_eq!(errors.contains("iteration failed"), !matches!(then, Then::Ends), "{told}");
                // While a panic unwinds there is nobody to give the second error to.
                let told_twice = close_fails && !matches!(then, Then::Panics);
                assert_eq!(errors.contains("closing failed"), told_twice, "{told}");
            }
            let (closed, end, errors) = closings(then, false, policy, Gone);
            assert_eq!(closed, 1, "{policy:?} {then:?}");
            if matches!(then, Then::Ends) {
                assert_eq!((end, errors.as_str()), (End::ClientGone, ""), "{policy:?}");
            }
        }
    }
}
