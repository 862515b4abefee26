//! FastCGI: requests one after the other on a connection.

mod outgoing;
mod request;

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::AsFd;

use self::outgoing::Outgoing;
use self::request::{Incoming, Request};
use super::notice::Notice;
use super::pool::Shared;
use super::wire::close_gently;
use super::{Settings, Stream, attributes};
use crate::app::refusal;
use crate::environ::{Abort, Vars};
use crate::error::BoxError;
use crate::handlers::{
    Attributes, BaseCgiHandler, BaseHandler, End, Flow, Outcome, Output, Scratch, Streams,
};
use crate::sys::peer_has_gone;

/// Serves a connection to its end.
pub(super) fn serve(stream: &Stream, shared: &Shared) {
    static CLOSED: Notice = Notice::new();
    if stream.set_write_timeout(Some(shared.settings.write_timeout)).is_err() {
        return;
    }
    let outgoing = RefCell::new(Outgoing::new(stream));
    let mut incoming = Incoming::new(stream, shared, &outgoing);
    match serve_requests(&mut incoming, &outgoing, stream, shared) {
        // A broken answer ends in what is no record. A reset besides would eat what explains it.
        Ok(_) => close_gently(stream),
        Err(error) => {
            // A peer that vanishes is no news; one that breaks the protocol is.
            if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() == io::ErrorKind::TimedOut) {
                CLOSED.warn(format_args!("fcgi: connection closed: {error}"));
            }
            close_gently(stream);
        }
    }
}

fn serve_requests<'s>(
    incoming: &mut Incoming<'s>,
    outgoing: &'s RefCell<Outgoing<'s>>,
    stream: &'s Stream,
    shared: &'s Shared,
) -> Result<End, BoxError> {
    let mut scratch = Scratch::new();
    while let Some(Request { id, keep_conn, vars, error }) = incoming.next_request()? {
        outgoing.borrow_mut().begin(id);
        let handler = Handler {
            stream,
            settings: &shared.settings,
            vars,
            incoming: RefCell::new(&mut *incoming),
            outgoing,
            scratch: RefCell::new(std::mem::take(&mut scratch)),
        };
        let outcome = match error {
            Some(error) => handler.run(&refusal(error)),
            None => handler.run(&shared.app),
        };
        scratch = handler.scratch.into_inner();
        let aborted = incoming.is_aborted();
        if outcome.end != End::Answered && !aborted {
            return Ok(outcome.end);
        }
        if !keep_conn {
            // What is left of the body is dropped with the connection, within bounds.
            break;
        }
        incoming.finish_request()?;
        if shared.drain.has_begun() && !incoming.has_begun() {
            break;
        }
    }
    Ok(End::Answered)
}

/// The rung of the ladder that one FastCGI request is.
struct Handler<'c, 's> {
    stream: &'s Stream,
    settings: &'s Settings,
    vars: Vars,
    incoming: RefCell<&'c mut Incoming<'s>>,
    outgoing: &'s RefCell<Outgoing<'s>>,
    scratch: RefCell<Scratch>,
}

impl BaseCgiHandler for Handler<'_, '_> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let (incoming, scratch) = (&mut **self.incoming.borrow_mut(), &mut *self.scratch.borrow_mut());
        let gone = || peer_has_gone(self.stream.as_fd());
        let (mut answer, mut errors) = (Answer(self.outgoing), Messages(self.outgoing));
        with(Streams::new(incoming, &mut answer, &mut errors, scratch).with_abort(Abort::new(&gone)));
    }

    fn base_env(&self) -> &Vars {
        &self.vars
    }

    fn preset(&self) -> Attributes<'static> {
        attributes(self.settings)
    }
}

impl BaseHandler for Handler<'_, '_> {
    fn attributes(&self) -> Attributes<'_> {
        let observer = self.settings.observer.as_deref();
        Attributes {
            keep_variables: &self.settings.front.keep_variables,
            observer,
            ..attributes(self.settings)
        }
    }
}

/// STDOUT of the request under way.
struct Answer<'a, 's>(&'a RefCell<Outgoing<'s>>);

impl Write for Answer<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().stdout(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().send()
    }
}

impl Output for Answer<'_, '_> {
    fn set_flow(&mut self, flow: Flow) {
        self.0.borrow_mut().set_flow(flow);
    }

    fn rewind(&mut self) -> bool {
        self.0.borrow_mut().rewind()
    }

    fn finish(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.0.borrow_mut().finish(outcome.end)
    }
}

/// STDERR of the request under way.
struct Messages<'a, 's>(&'a RefCell<Outgoing<'s>>);

impl Write for Messages<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().stderr(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
