//! SCGI: one request a connection.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;

use super::notice::Notice;
use super::pool::Shared;
use super::wire::{Incoming, Patience, close_broken, close_gently, send};
use super::{Settings, Stream, attributes, body_too_short, check_body, check_pairs, set_method};
use crate::app::refusal;
use crate::environ::{Abort, Collector, Environ, Vars};
use crate::error::{BoxError, Error};
use crate::handlers::{Attributes, BaseCgiHandler, BaseHandler, End, Scratch, Streams, base, plain_streams};
use crate::proto::scgi::{EndOfInput, HeadDecoder, Pairs, check};
use crate::sys::peer_has_gone;

/// Serves the one request of a connection.
pub(super) fn serve(stream: &Stream, shared: &Shared) {
    static REFUSED: Notice = Notice::new();
    if stream.set_write_timeout(Some(shared.settings.write_timeout)).is_err() {
        return;
    }
    let mut incoming = Incoming::new(stream, shared);
    let request = match read_head(&mut incoming, &shared.settings) {
        Ok(None) => return,
        Ok(Some(request)) => request,
        Err(error) => {
            REFUSED.warn(format_args!("scgi: connection closed: {error}"));
            return close_gently(stream);
        }
    };
    let mut body = Body { incoming, gathered: Vec::new(), at: 0, ended: false };
    let refused = match request.error {
        None => body.gather(request.length, &shared.settings).err(),
        error => error,
    };
    let handler = Handler {
        stream,
        settings: &shared.settings,
        refused: refused.is_some(),
        vars: request.vars,
        body: RefCell::new(body),
        scratch: RefCell::default(),
    };
    let outcome = match refused {
        Some(error) => handler.run(&refusal(error)),
        None => handler.run(&shared.app),
    };
    match outcome.end {
        End::Answered => close_gently(stream),
        _ => close_broken(stream),
    }
}

struct Request {
    vars: Vars,
    length: u64,
    error: Option<Error>,
}

/// Reads the netstring; `None` when the peer left without a byte. An error means that no answer can be framed.
fn read_head(
    incoming: &mut Incoming<'_>,
    settings: &Settings,
) -> Result<Option<Request>, crate::error::BoxError> {
    let mut decoder = HeadDecoder::new(settings.max_head);
    let mut head = Vec::new();
    let mut patience = Patience::Idle;
    loop {
        let mut input = incoming.bytes();
        let before = input.len();
        let whole = decoder.decode(&mut input, &mut head)?;
        let used = before - input.len();
        incoming.consume(used);
        if whole {
            return Ok(Some(read_pairs(&head, settings)));
        }
        if !incoming.read_more(patience)? {
            return match decoder.end_of_input()? {
                EndOfInput::Empty | EndOfInput::Whole => Ok(None),
            };
        }
        patience = Patience::Head;
    }
}

/// Turns a whole head into variables; what is wrong with it is answered.
fn read_pairs(head: &[u8], settings: &Settings) -> Request {
    let mut request = Request { vars: Vars::new(), length: 0, error: None };
    request.error = (|| {
        request.length = check(head)?;
        check_body(request.length, settings)?;
        let mut collector = Collector::new(&mut request.vars);
        for (count, pair) in Pairs::new(head).enumerate() {
            check_pairs(count + 1, settings)?;
            let (name, value) = pair?;
            collector.push(name, value)?;
        }
        collector.finish();
        settings.front.apply(&mut request.vars)
    })()
    .err();
    if request.error.is_some() {
        set_method(&mut request.vars, Pairs::new(head).filter_map(Result::ok));
    }
    request
}

/// The body: what was gathered before the start, then the connection.
struct Body<'s> {
    incoming: Incoming<'s>,
    gathered: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Body<'_> {
    /// Reads a small body whole, so that the application need not wait for it, and a short one can be refused.
    fn gather(&mut self, length: u64, settings: &Settings) -> Result<(), Error> {
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= settings.body_gather)
        else {
            return Ok(());
        };
        while self.gathered.len() < length {
            let wanted = length - self.gathered.len();
            let available = self.incoming.bytes();
            let taken = available.get(..wanted).unwrap_or(available);
            let count = taken.len();
            self.gathered.extend_from_slice(taken);
            self.incoming.consume(count);
            if count == 0 && !self.incoming.read_more(Patience::Body).unwrap_or(false) {
                return Err(body_too_short(self.gathered.len()));
            }
        }
        self.ended = true;
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.gathered.len() {
            return Ok(self.gathered.get(self.at..).unwrap_or_default());
        }
        if self.incoming.bytes().is_empty() && !self.ended {
            self.ended = !self.incoming.read_more(Patience::Body)?;
        }
        Ok(if self.ended { &[] } else { self.incoming.bytes() })
    }

    fn consume(&mut self, amount: usize) {
        if self.at < self.gathered.len() {
            self.at = self.at.saturating_add(amount).min(self.gathered.len());
        } else {
            self.incoming.consume(amount);
        }
    }
}

/// The rung of the ladder that one SCGI request is.
struct Handler<'s> {
    stream: &'s Stream,
    settings: &'s Settings,
    /// The request is answered in the application's place.
    refused: bool,
    vars: Vars,
    body: RefCell<Body<'s>>,
    scratch: RefCell<Scratch>,
}

impl BaseCgiHandler for Handler<'_> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let (body, scratch) = (&mut *self.body.borrow_mut(), &mut *self.scratch.borrow_mut());
        let gone = || peer_has_gone(self.stream.as_fd());
        plain_streams(body, &mut Answer(self.stream), &mut io::stderr(), scratch, &mut |streams| {
            with(streams.with_abort(Abort::new(&gone)));
        });
    }

    fn base_env(&self) -> &Vars {
        &self.vars
    }

    fn preset(&self) -> Attributes<'static> {
        attributes(self.settings)
    }
}

impl BaseHandler for Handler<'_> {
    fn attributes(&self) -> Attributes<'_> {
        let observer = self.settings.observer.as_deref();
        Attributes {
            keep_variables: &self.settings.front.keep_variables,
            observer,
            ..attributes(self.settings)
        }
    }

    fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
        static REFUSED: Notice = Notice::new();
        // What a peer gets wrong, it may get wrong at any pace.
        match self.refused {
            true => REFUSED.warn(format_args!("scgi: request refused: {error}")),
            false => base::log_exception(self, environ, error),
        }
    }
}

/// The response on its way to the socket.
struct Answer<'s>(&'s Stream);

impl Write for Answer<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        send(self.0, data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
