//! A connection's incoming side: events become requests, and the body of the one under way.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};

use super::outgoing::{Outgoing, given_up};
use crate::environ::{Collector, Known, Vars, content_length};
use crate::error::{BoxError, Error, Fault};
use crate::proto::fcgi::{Decoder, EndOfInput, Event, Names, Pairs, ProtocolStatus, Role, Values};
use crate::server::pool::Shared;
use crate::server::wire::{Incoming as Wire, Patience};
use crate::server::{Settings, Stream, body_too_short, check_body, check_pairs, set_method};

/// A request whose head is whole, and whose body is too if it is small.
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) keep_conn: bool,
    pub(super) vars: Vars,
    /// What is wrong with it: that is answered in the application's place.
    pub(super) error: Option<Error>,
}

/// The request that is being received.
#[derive(Default)]
struct Current {
    id: u16,
    keep_conn: bool,
    params: Vec<u8>,
    too_large: bool,
    head_whole: bool,
    /// Body bytes that came before the application was called.
    gathered: Vec<u8>,
    at: usize,
    body_whole: bool,
    body_bytes: u64,
    aborted: bool,
}

/// What the next records said, after what they asked for was answered.
enum Step {
    /// A piece of the body of so many bytes lies behind so many other bytes.
    Body {
        skip: usize,
        length: usize,
    },
    Other,
    NeedMore,
}

/// The reading side of one connection.
pub(in crate::server) struct Incoming<'s> {
    wire: Wire<'s>,
    settings: &'s Settings,
    decoder: Decoder,
    outgoing: &'s RefCell<Outgoing<'s>>,
    current: Option<Current>,
    /// Bytes at the front of the wire that belong to the body.
    piece: usize,
    close: bool,
}

impl<'s> Incoming<'s> {
    pub(super) fn new(stream: &'s Stream, shared: &'s Shared, outgoing: &'s RefCell<Outgoing<'s>>) -> Self {
        Self {
            wire: Wire::new(stream, shared),
            settings: &shared.settings,
            // One at a time: a second request is told so, and GET_VALUES says it beforehand.
            decoder: Decoder::new(1),
            outgoing,
            current: None,
            piece: 0,
            close: false,
        }
    }

    /// Waits for the next request; `None` when the peer has closed, or was told to go.
    pub(super) fn next_request(&mut self) -> Result<Option<Request>, BoxError> {
        loop {
            match self.step()? {
                Step::Body { skip, length } => self.keep_piece(skip, length)?,
                Step::Other if self.close => return Ok(None),
                Step::Other => {}
                Step::NeedMore => {
                    let patience = if self.has_begun() { Patience::Head } else { Patience::Idle };
                    if !self.wire.read_more(patience)? {
                        return match self.decoder.end_of_input()? {
                            EndOfInput::Clean | EndOfInput::Live => Ok(None),
                        };
                    }
                }
            }
            if self.current.as_ref().is_some_and(|current| current.head_whole)
                && let Some(request) = self.open_request()?
            {
                return Ok(Some(request));
            }
        }
    }

    /// Whether a byte of the next request, or of any record, is here.
    pub(super) fn has_begun(&self) -> bool {
        let between = matches!(self.decoder.end_of_input(), Ok(EndOfInput::Clean));
        self.current.is_some() || !self.wire.bytes().is_empty() || !between
    }

    /// Decodes the next event and answers what needs no application.
    fn step(&mut self) -> Result<Step, BoxError> {
        let before = self.wire.bytes();
        let mut input = before;
        let event = self.decoder.decode(&mut input)?;
        let used = before.len() - input.len();
        let step = match event {
            None => Step::NeedMore,
            Some(Event::Stdin { data, .. }) => {
                let length = data.len();
                return Ok(Step::Body { skip: used - length, length });
            }
            Some(event) => {
                note(
                    event,
                    &mut self.current,
                    &mut self.decoder,
                    self.outgoing,
                    self.settings,
                    &mut self.close,
                )?;
                Step::Other
            }
        };
        self.wire.consume(used);
        Ok(step)
    }

    /// Keeps body bytes that nobody reads yet, within bounds.
    fn keep_piece(&mut self, skip: usize, length: usize) -> Result<(), BoxError> {
        self.wire.consume(skip);
        let Some(current) = &mut self.current else {
            self.wire.consume(length);
            return Ok(());
        };
        let piece = self.wire.bytes().get(..length).unwrap_or_default();
        if current.gathered.len() + piece.len() > self.settings.body_gather + 0xffff {
            return Err("STDIN came before the end of PARAMS, more than is kept".into());
        }
        current.gathered.extend_from_slice(piece);
        self.wire.consume(length);
        Ok(())
    }

    /// The head is whole: makes the request of it, and gathers a small body. `None` if it is given up meanwhile.
    fn open_request(&mut self) -> Result<Option<Request>, BoxError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let mut request =
            Request { id: current.id, keep_conn: current.keep_conn, vars: Vars::new(), error: None };
        let params = std::mem::take(&mut current.params);
        let too_large = current.too_large;
        let length = match read_params(&params, too_large, &mut request.vars, self.settings) {
            Ok(length) => length,
            // A pair past the end of PARAMS: the peer and we disagree about the bytes themselves.
            Err(Refused::Protocol(error)) => return Err(error),
            Err(Refused::Request(error)) => {
                let pairs = Pairs::new(&params).filter_map(Result::ok);
                set_method(&mut request.vars, pairs);
                request.error = Some(error);
                return Ok(Some(request));
            }
        };
        request.error = self.gather(length)?;
        if self.is_aborted() {
            self.drop_request();
            return Ok(None);
        }
        Ok(Some(request))
    }

    /// Reads on until the body is whole, or longer than what is gathered.
    fn gather(&mut self, length: Option<u64>) -> Result<Option<Error>, BoxError> {
        let enough = match length.map(usize::try_from) {
            Some(Ok(length)) if length <= self.settings.body_gather => length,
            Some(_) => return Ok(None),
            None => self.settings.body_gather,
        };
        loop {
            let Some(current) = self.current.as_mut().filter(|current| !current.aborted) else {
                return Ok(None);
            };
            let count = current.gathered.len();
            if let Err(error) = check_body(count as u64, self.settings) {
                return Ok(Some(error));
            }
            if current.body_whole {
                let short = length.is_some() && count < enough;
                return Ok(short.then(|| body_too_short(count)));
            }
            if count >= enough {
                return Ok(None);
            }
            match self.step()? {
                Step::Body { skip, length } => self.keep_piece(skip, length)?,
                Step::Other => {}
                Step::NeedMore => {
                    if !self.wire.read_more(Patience::Body)? {
                        self.decoder.end_of_input()?;
                        return Err(given_up().into());
                    }
                }
            }
        }
    }

    /// Whether the web server gave the request up by ABORT_REQUEST.
    pub(super) fn is_aborted(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.aborted)
    }

    /// The request was answered: the rest of its body is read and dropped, so that the connection can be used again.
    pub(super) fn finish_request(&mut self) -> Result<(), BoxError> {
        let piece = std::mem::take(&mut self.piece);
        self.wire.consume(piece);
        while self.current.as_ref().is_some_and(|current| !current.body_whole && !current.aborted) {
            match self.step()? {
                Step::Body { skip, length } => self.wire.consume(skip + length),
                Step::Other => {}
                Step::NeedMore => {
                    if !self.wire.read_more(Patience::Body)? {
                        return Ok(());
                    }
                }
            }
        }
        self.drop_request();
        Ok(())
    }

    /// What still comes of the request is ignored.
    fn drop_request(&mut self) {
        if let Some(current) = self.current.take() {
            self.decoder.finish(current.id);
        }
        self.outgoing.borrow_mut().forget();
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            let Some(current) = &mut self.current else { return Ok(()) };
            if current.aborted {
                return Err(given_up());
            }
            if current.at < current.gathered.len() || self.piece > 0 || current.body_whole {
                return Ok(());
            }
            match self.step().map_err(io::Error::other)? {
                Step::Body { skip, length } => {
                    self.wire.consume(skip);
                    self.piece = length;
                }
                Step::Other => {}
                Step::NeedMore => {
                    self.outgoing.borrow_mut().before_waiting()?;
                    if !self.wire.read_more(Patience::Body)? {
                        return Err(given_up());
                    }
                }
            }
        }
    }
}

/// Takes an event that carries no body in.
fn note(
    event: Event<'_>,
    current: &mut Option<Current>,
    decoder: &mut Decoder,
    outgoing: &RefCell<Outgoing<'_>>,
    settings: &Settings,
    close: &mut bool,
) -> io::Result<()> {
    let mut outgoing = outgoing.borrow_mut();
    match event {
        Event::Begin { id, role, keep_conn } if role == Role::RESPONDER => {
            *current = Some(Current { id, keep_conn, ..Current::default() });
        }
        Event::Begin { id, keep_conn, .. } => {
            decoder.finish(id);
            *close |= !keep_conn;
            outgoing.refuse(id, ProtocolStatus::UNKNOWN_ROLE)?;
        }
        Event::Overloaded { id, .. } => outgoing.refuse(id, ProtocolStatus::CANT_MPX_CONN)?,
        Event::GetValues(asked) => outgoing.values(capabilities(settings, asked))?,
        Event::UnknownManagement { record_type } => outgoing.unknown_type(record_type)?,
        event => {
            if let Some(mut request) = current.take() {
                if request.note(event, settings, &mut outgoing) {
                    *current = Some(request);
                } else {
                    decoder.finish(request.id);
                    *close |= !request.keep_conn;
                }
            }
        }
    }
    Ok(())
}

impl Current {
    /// Takes an event of this request in; `false` when the request is over before it began.
    fn note(&mut self, event: Event<'_>, settings: &Settings, outgoing: &mut Outgoing<'_>) -> bool {
        match event {
            Event::Params { data, .. } if self.params.len() + data.len() <= settings.max_head => {
                self.params.extend_from_slice(data);
            }
            Event::Params { .. } => self.too_large = true,
            Event::ParamsEnd { .. } => self.head_whole = true,
            Event::StdinEnd { .. } => self.body_whole = true,
            Event::Abort { id } => {
                // A peer that cannot be told will be missed at the next read.
                let _ = outgoing.abort(id);
                self.aborted = true;
                return self.head_whole;
            }
            _ => {}
        }
        true
    }
}

/// What GET_VALUES is told.
fn capabilities(settings: &Settings, asked: Names) -> Values {
    let connections = u32::try_from(settings.max_connections).unwrap_or(u32::MAX);
    Values { max_conns: Some(connections), max_reqs: Some(connections), mpxs_conns: Some(false) }.only(asked)
}

/// Why a head makes no request.
enum Refused {
    Protocol(BoxError),
    Request(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Request(error)
    }
}

/// Turns PARAMS into variables; the result is the body's length where it is known.
fn read_params(
    params: &[u8],
    too_large: bool,
    vars: &mut Vars,
    settings: &Settings,
) -> Result<Option<u64>, Refused> {
    if too_large {
        let message =
            format!("the parameters are larger than the {} bytes that are allowed", settings.max_head);
        return Err(Error::new(Fault::Peer, 431, message).into());
    }
    let mut collector = Collector::new(vars);
    for (count, pair) in Pairs::new(params).enumerate() {
        check_pairs(count + 1, settings)?;
        let (name, value) = pair.map_err(|error| Refused::Protocol(error.into()))?;
        collector.push(name, value)?;
    }
    collector.finish();
    if vars.known(Known::ContentLength) == Some(b"-1") {
        // Caddy's way to say that it does not know.
        vars.remove("CONTENT_LENGTH");
    }
    let length = match vars.known(Known::ContentLength).map(content_length) {
        // What is no length is refused by the handler, which has the words for it.
        Some(length) => length.unwrap_or(Some(0)),
        None => None,
    };
    length.map_or(Ok(()), |length| check_body(length, settings))?;
    settings.front.apply(vars)?;
    Ok(length)
}

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Incoming<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()?;
        let Some(current) = &self.current else { return Ok(&[]) };
        if current.at < current.gathered.len() {
            return Ok(current.gathered.get(current.at..).unwrap_or_default());
        }
        if current.body_bytes > self.settings.max_body {
            return Err(io::Error::other(Error::new(Fault::Peer, 413, "the body is larger than is allowed")));
        }
        Ok(self.wire.bytes().get(..self.piece).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let Some(current) = &mut self.current else { return };
        current.body_bytes = current.body_bytes.saturating_add(amount as u64);
        if current.at < current.gathered.len() {
            current.at = current.at.saturating_add(amount).min(current.gathered.len());
        } else {
            let amount = amount.min(self.piece);
            self.piece -= amount;
            self.wire.consume(amount);
        }
    }
}
