//! One connection: requests come one after the other, and are answered in that order.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use super::body::Body;
use super::environ::{Ends, Site};
use super::handler::Handler;
use super::outgoing::{Outgoing, Progress};
use super::rest::{Rest, Sent};
use crate::app::refusal;
use crate::environ::Vars;
use crate::error::{Error, Fault};
use crate::handlers::{BaseHandler, End};
use crate::notice::Notice;
use crate::proto::http::{self, BodyDecoder, DecodeError, Exchange, HeadDecoder, Limits};
use crate::server::clock::{Clock, Millis};
use crate::server::core::{Job, Serve, Session, Spares, Worker, lock};
use crate::server::link::{Link, Received, Wait};
use crate::server::ready::Event;
use crate::server::{FIRST, Settings};

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// Requests of one connection that are served before it goes behind all others that wait.
const IN_A_ROW: usize = 16;

/// One connection.
pub(in crate::server) struct Connection {
    pub(super) link: Link,
    state: Mutex<State>,
    ends: OnceLock<Ends>,
}

struct State {
    stage: Stage,
    /// Bytes that were received and belong to what comes next.
    pending: Vec<u8>,
    /// There may be more to read that nobody hears of: it happened while a worker had the connection.
    again: bool,
    /// Requests that were answered.
    served: u64,
    /// Since when a body is waited for that no application reads; 0 before.
    waits_since: Millis,
}

/// How far the connection has come.
enum Stage {
    Head(HeadDecoder, Vec<u8>),
    /// A small body is gathered.
    Body(Request),
    /// The request waits for a worker.
    Whole(Request),
    /// A worker has it.
    Running,
    /// The end of the answer waits for room; then what stands beside it.
    Sending(Rest, After),
    /// Answered; what is left of the body is read and dropped, so much until now.
    Skipping(BodyDecoder, u64),
    /// Answered; what the client still sends is read and dropped, so much until now.
    Lingering(usize),
    Closed,
}

impl Stage {
    /// Nothing has come of a request.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Head(decoder, _) if !decoder.has_begun())
    }
}

/// What follows an answer.
enum After {
    /// The next request, behind what is left of the body.
    Next(BodyDecoder),
    /// The connection is closed, but not before the client has heard all.
    Shut,
    /// The connection is closed.
    Leave,
}

struct Request {
    vars: Vars,
    exchange: Exchange,
    decoder: BodyDecoder,
    error: Option<Error>,
    /// What of the body came before the application was called.
    gathered: Vec<u8>,
    /// What came behind that, of the body or of what follows.
    behind: Vec<u8>,
}

impl Request {
    /// Whether it may start: all of a small body is here, or more than is gathered; or it will not be asked for; or the
    /// client holds it back.
    fn may_start(&self, settings: &Settings) -> bool {
        let long = self.decoder.left().is_some_and(|left| {
            left.saturating_add(self.gathered.len() as u64) > settings.body_gather as u64
        });
        self.error.is_some()
            || self.decoder.is_whole()
            || long
            || self.gathered.len() > settings.body_gather
            || (self.exchange.expects_continue && self.gathered.is_empty())
    }
}

impl Request {
    /// Has it answered with an error, without what is missing of its body: nobody knows where the next one begins.
    fn refuse(&mut self, error: Error) {
        self.vars.remove("CONTENT_LENGTH");
        self.vars.remove("HTTP_TRANSFER_ENCODING");
        self.decoder = BodyDecoder::empty();
        self.exchange.keep_alive = false;
        self.error = Some(error);
    }
}

impl Session for Connection {
    fn link(&self) -> &Link {
        &self.link
    }

    fn turn(self: Arc<Self>, worker: &mut Worker<'_>, event: Event) {
        self.drive(None, worker, event);
    }
}

impl Serve for Connection {
    fn serve(self: Arc<Self>, worker: &mut Worker<'_>) {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Whole(request) => {
                drop(state);
                self.drive(Some(request), worker, Event::default());
            }
            other => state.stage = other,
        }
    }

    fn turn_away(self: Arc<Self>, error: Error, worker: &mut Worker<'_>) {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Whole(mut request) => {
                drop(state);
                request.refuse(error);
                self.run(request, worker);
            }
            other => state.stage = other,
        }
    }
}

impl Connection {
    pub(in crate::server) fn new(link: Link) -> Self {
        let stage = Stage::Head(head_decoder(&link.core.settings), Vec::new());
        let state = State { stage, pending: Vec::new(), again: false, served: 0, waits_since: 0 };
        Self { link, state: Mutex::new(state), ends: OnceLock::new() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.link.core.settings
    }

    /// Reads and serves until nothing more is here, or others should have their turn.
    fn drive(self: Arc<Self>, mut next: Option<Request>, worker: &mut Worker<'_>, mut event: Event) {
        for _ in 0..IN_A_ROW {
            let Some(request) = next.take().or_else(|| self.read(worker, event)) else { return };
            if !worker.may_run {
                lock(&self.state).stage = Stage::Whole(request);
                return worker.core.push(Job::Serve(self, None));
            }
            if !self.run(request, worker) {
                return;
            }
            event = Event::default();
        }
        worker.core.leave(Job::New(self));
    }

    /// Reads what is there; gives the request once it may start.
    fn read(self: &Arc<Self>, worker: &mut Worker<'_>, event: Event) -> Option<Request> {
        let mut state = lock(&self.state);
        match &state.stage {
            Stage::Head(..) | Stage::Body(_) | Stage::Skipping(..) => {}
            Stage::Sending(..) => state = self.send_rest(state)?,
            Stage::Lingering(_) => {
                self.linger(state);
                return None;
            }
            Stage::Whole(_) | Stage::Running => {
                state.again = true;
                self.link.look_for_end(self, event);
                return None;
            }
            Stage::Closed => return None,
        }
        // That time is over, and what follows has one of its own. A connection without a request is looked at once more: what
        // has just come was sent before.
        let late = self.link.has_expired(Wait::Parked);
        if late {
            self.link.forgive(Wait::Parked);
        }
        if late && !state.stage.is_idle() {
            return self.expire(state, worker);
        }
        // Nobody is told of it again, whatever of it is left when a request runs.
        state.again = true;
        let pending = std::mem::take(&mut state.pending);
        if let Some(request) = self.take_in(&mut state, &pending, &mut worker.spares) {
            self.link.look_for_end(self, Event::default());
            return Some(request);
        }
        loop {
            match self.link.receive(&mut worker.block) {
                Ok(Received::Some(count)) => {
                    let bytes = worker.block.get(..count).unwrap_or_default();
                    let full = count == worker.block.len();
                    if let Some(request) = self.take_in(&mut state, bytes, &mut worker.spares) {
                        state.again = full || event.ended;
                        self.link.look_for_end(self, event);
                        return Some(request);
                    }
                    // What comes from now on is for nobody, and has a bound of its own.
                    if matches!(state.stage, Stage::Lingering(_)) || !full && !event.ended {
                        break;
                    }
                }
                Ok(Received::Nothing) => break,
                Ok(Received::End) => return self.end_of_input(state),
                Err(_) => {
                    self.leave(state);
                    return None;
                }
            }
        }
        if late && state.stage.is_idle() {
            self.leave(state);
        } else {
            self.wait(state);
        }
        None
    }

    /// Takes in bytes, until a request may start; what follows is kept.
    fn take_in(&self, state: &mut State, mut bytes: &[u8], spares: &mut Spares) -> Option<Request> {
        if let Stage::Skipping(decoder, dropped) = &mut state.stage {
            if !skip(decoder, dropped, &mut bytes) {
                // No place from which to go on: what was answered is answered.
                state.stage = Stage::Lingering(0);
                return None;
            }
            if !decoder.is_whole() {
                return None;
            }
            state.stage = Stage::Head(head_decoder(self.settings()), Vec::new());
            self.link.set_deadline(Wait::Parked, None);
        }
        let mut request = match &mut state.stage {
            Stage::Head(decoder, head) => {
                let request = self.take_head(decoder, head, &mut bytes, spares)?;
                state.waits_since = 0;
                request
            }
            Stage::Body(_) => match std::mem::replace(&mut state.stage, Stage::Running) {
                Stage::Body(request) => request,
                _ => return None,
            },
            _ => return None,
        };
        if let Err(error) = gather(&mut request, &mut bytes, self.settings()) {
            request.exchange.keep_alive = false;
            request.error = Some(error.into());
        }
        if !request.may_start(self.settings()) {
            state.stage = Stage::Body(request);
            return None;
        }
        request.behind.extend_from_slice(bytes);
        state.stage = Stage::Running;
        self.link.set_deadline(Wait::Parked, None);
        self.link.set_idle_since(0);
        Some(request)
    }

    /// Takes in what is here of a head; gives the request once that is whole, or refused.
    fn take_head(
        &self,
        decoder: &mut HeadDecoder,
        head: &mut Vec<u8>,
        bytes: &mut &[u8],
        spares: &mut Spares,
    ) -> Option<Request> {
        if bytes.is_empty() {
            return None;
        }
        if head.is_empty() {
            if let Some(request) = self.open_at_once(bytes, spares) {
                return Some(request);
            }
            *head = spares.take_bytes();
        }
        let begun = decoder.has_begun();
        let request = match decoder.decode(bytes, head) {
            Ok(false) => {
                if !begun && decoder.has_begun() {
                    let until = self.link.core.clock.after(self.settings().head_timeout);
                    self.link.set_deadline(Wait::Parked, until);
                }
                return None;
            }
            Ok(true) => match http::Request::parse(head, &limits(self.settings())) {
                Ok(parsed) => self.open(&parsed, parsed.fields(), head, spares),
                Err(error) => self.refused(error, head, spares.take_vars()),
            },
            Err(error) => self.refused(error, head, spares.take_vars()),
        };
        spares.give_bytes(std::mem::take(head));
        Some(request)
    }

    /// A request whose head came whole, as most do, and need not be put together; `bytes` are moved past it.
    fn open_at_once(&self, bytes: &mut &[u8], spares: &mut Spares) -> Option<Request> {
        let mut slots = http::Slots::new();
        let found = http::Head::first(bytes, &limits(self.settings()), &mut slots)?;
        let (head, rest) = bytes.split_at_checked(found.length)?;
        *bytes = rest;
        Some(self.open(&found.request, found.fields(), head, spares))
    }

    /// A request whose head is whole.
    fn open<'h>(
        &self,
        parsed: &http::Request<'_>,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        head: &[u8],
        spares: &mut Spares,
    ) -> Request {
        let settings = self.settings();
        let mut vars = spares.take_vars();
        let decoder = match BodyDecoder::new(parsed.framing, settings.max_body_or_none()) {
            Ok(decoder) => decoder,
            Err(error) => return self.refused(error, head, vars),
        };
        let mut block = spares.take_bytes();
        let gathered = settings.site.gather(parsed, fields, self.ends(), &mut vars, &mut block);
        spares.give_bytes(block);
        if gathered.is_err() {
            Site::refused(head, self.ends(), &mut vars);
        }
        let error = gathered.and_then(|()| settings.front.apply(&mut vars)).err();
        let (exchange, gathered, behind) = (Exchange::from(parsed), Vec::new(), Vec::new());
        Request { vars, exchange, decoder, error, gathered, behind }
    }

    /// A request that is answered with an error, behind which nobody knows where the next one begins.
    fn refused(&self, error: impl Into<Error>, head: &[u8], mut vars: Vars) -> Request {
        vars.clear();
        Site::refused(head, self.ends(), &mut vars);
        let exchange = Exchange { is_head: head.starts_with(b"HEAD "), ..Exchange::REFUSED };
        let decoder = BodyDecoder::empty();
        Request {
            vars,
            exchange,
            decoder,
            error: Some(error.into()),
            gathered: Vec::new(),
            behind: Vec::new(),
        }
    }

    fn ends(&self) -> &Ends {
        // Who cannot be asked any more has gone; it must not pass for one on a unix socket, who has no address.
        let nobody = |_| Some((std::net::Ipv4Addr::UNSPECIFIED, 0).into());
        self.ends.get_or_init(|| Ends {
            peer: self.link.stream.peer_address().unwrap_or_else(nobody),
            local: self.link.stream.local_address().unwrap_or_else(nobody),
        })
    }

    /// What was waited for has not come in time.
    fn expire(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        worker: &mut Worker<'_>,
    ) -> Option<Request> {
        let error = || Error::new(Fault::Peer, 408, "the request did not come in time");
        match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Head(decoder, head) if decoder.has_begun() => {
                Some(self.refused(error(), &head, worker.spares.take_vars()))
            }
            Stage::Body(mut request) => {
                request.refuse(error());
                Some(request)
            }
            _ => {
                self.leave(state);
                None
            }
        }
    }

    /// The client has ended its sending: what is not whole never will be.
    fn end_of_input(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Option<Request> {
        static CUT: Notice = Notice::new();
        match &state.stage {
            Stage::Head(decoder, _) if decoder.has_begun() => {
                CUT.warn(format_args!("http: connection closed: {}", DecodeError::TruncatedHead));
            }
            // Whoever is half-closed can hear why.
            Stage::Body(_) => {
                let Stage::Body(mut request) = std::mem::replace(&mut state.stage, Stage::Running) else {
                    return None;
                };
                let offset = request.decoder.received();
                request.exchange.keep_alive = false;
                request.error = Some(DecodeError::TruncatedBody { offset }.into());
                return Some(request);
            }
            _ => {}
        }
        self.leave(state);
        None
    }

    /// The connection waits for more.
    fn wait(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let core = &self.link.core;
        let now = core.clock.now();
        let idle = state.stage.is_idle();
        if idle && (self.link.is_evicted() || (core.is_draining() && state.served > 0)) {
            return self.leave(state);
        }
        if state.waits_since == 0 {
            state.waits_since = now;
        }
        match &state.stage {
            Stage::Lingering(_) => return self.shut(state),
            Stage::Body(request) => {
                let until = self.body_deadline(state.waits_since, request.decoder.received());
                self.link.set_deadline(Wait::Parked, until);
            }
            Stage::Skipping(_, dropped) => {
                let until = self.body_deadline(state.waits_since, *dropped);
                self.link.set_deadline(Wait::Parked, until);
            }
            _ if idle => {
                let most = if core.is_draining() { FIRST } else { core.settings.idle_timeout };
                self.link.set_deadline(Wait::Parked, Clock::later(now, most));
            }
            _ => {}
        }
        self.link.set_idle_since(if idle { now } else { 0 });
        if self.link.park(self).is_err() {
            self.leave(state);
        }
    }

    /// Until when the next piece of a body has to come, of which so much came since then.
    fn body_deadline(&self, since: Millis, received: u64) -> Option<Millis> {
        let (clock, settings) = (&self.link.core.clock, self.settings());
        let next = clock.after(settings.body_timeout)?;
        let in_all = settings.body_patience(received);
        let waited = Duration::from_millis(clock.now().saturating_sub(since));
        let left = in_all.map(|in_all| in_all.saturating_sub(waited).max(Duration::from_millis(1)));
        Some(left.and_then(|left| clock.after(left)).map_or(next, |left| next.min(left)))
    }

    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.stage = Stage::Closed;
        drop(state);
        self.link.leave();
    }

    /// Closes the connection once the client has no more to say: a close with unread input would reset it, and take the
    /// answer with it.
    fn shut(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !self.link.shut() {
            return self.leave(state);
        }
        state.stage = Stage::Lingering(0);
        self.linger(state);
    }

    fn linger(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let Stage::Lingering(dropped) = &mut state.stage else { return };
        if !self.link.linger(self, dropped) {
            self.leave(state);
        }
    }

    /// There may be room for the end of the answer; gives the state back when the connection goes on behind it.
    fn send_rest<'s>(self: &'s Arc<Self>, mut state: MutexGuard<'s, State>) -> Option<MutexGuard<'s, State>> {
        let Stage::Sending(rest, _) = &mut state.stage else { return Some(state) };
        let result = match self.link.has_expired(Wait::Output) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => rest.send(&self.link),
        };
        match result {
            Ok(Sent::All) => {
                self.link.set_deadline(Wait::Output, None);
                let _ = self.link.want_room(self, || false);
                let after = match std::mem::replace(&mut state.stage, Stage::Running) {
                    Stage::Sending(_, after) => after,
                    _ => After::Leave,
                };
                self.follow(state, after)
            }
            Ok(sent) => {
                if sent != Sent::Full(false) {
                    let until = self.link.core.clock.after(self.settings().write_timeout);
                    self.link.set_deadline(Wait::Output, until);
                }
                let parked = match sent {
                    Sent::Some => self.link.park_again(self),
                    _ => self.link.park(self),
                };
                if parked.is_err() {
                    self.leave(state);
                }
                None
            }
            Err(_) => {
                self.link.reset_on_close();
                self.leave(state);
                None
            }
        }
    }

    /// Does what follows a whole answer; gives the state back when that is another request.
    fn follow<'s>(
        self: &'s Arc<Self>,
        mut state: MutexGuard<'s, State>,
        after: After,
    ) -> Option<MutexGuard<'s, State>> {
        match after {
            After::Next(decoder) => {
                state.served = state.served.saturating_add(1);
                state.stage = match decoder.is_whole() {
                    true => Stage::Head(head_decoder(self.settings()), Vec::new()),
                    false => Stage::Skipping(decoder, 0),
                };
                state.waits_since = 0;
                return Some(state);
            }
            After::Shut => self.shut(state),
            // A close with unread input would take the answer with it: old clients send a line end behind a body.
            After::Leave => match self.link.receive(&mut [0; 64]) {
                Ok(Received::Some(_)) => self.shut(state),
                _ => self.leave(state),
            },
        }
        None
    }

    /// Runs the application; says whether there may be more to read at once.
    fn run(self: &Arc<Self>, request: Request, worker: &mut Worker<'_>) -> bool {
        let Request { vars, exchange, decoder, error, gathered, behind } = request;
        if !decoder.is_whole() && self.link.enter_set(self).is_err() {
            self.leave(lock(&self.state));
            return false;
        }
        let progress = Progress::default();
        progress.left.set(decoder.left());
        progress.held_back.set(exchange.expects_continue && decoder.received() == 0 && behind.is_empty());
        progress.broken.set(error.is_some() && !exchange.keep_alive);
        let (wire, buffer) = (worker.spares.take_bytes(), std::mem::take(&mut worker.buffer));
        let outgoing = Outgoing::new(self, &progress, exchange, wire, buffer);
        let outgoing = RefCell::new(outgoing);
        // A whole body has nothing behind it that would be its own.
        let (own, next) = if decoder.is_whole() { (Vec::new(), behind) } else { (behind, Vec::new()) };
        let block = std::mem::take(&mut worker.block);
        let body = Body::new(self, &outgoing, &progress, decoder, gathered, &own, block);
        let scratch = &mut worker.scratch;
        worker.spares.give_vars(scratch.fill(vars));
        let refused = error.is_some();
        let handler = Handler {
            connection: self,
            refused,
            body: RefCell::new(body),
            outgoing: &outgoing,
            scratch: RefCell::new(scratch),
        };
        let outcome = match error {
            Some(error) => handler.run(&refusal(error)),
            None => handler.run(&self.link.core.app),
        };
        let body = handler.body.into_inner();
        let full = body.was_full();
        let (decoder, left, gathered, block) = body.into_parts();
        worker.spares.give_bytes(gathered);
        worker.block = block;
        worker.block.resize(BLOCK, 0);
        let outgoing = outgoing.into_inner();
        let keeps_alive = outgoing.keeps_alive() && !progress.broken.get();
        let (rest, wire, buffer) = outgoing.into_rest();
        worker.spares.give_bytes(wire);
        worker.buffer = buffer;
        let pending = if next.is_empty() { left } else { next };
        let after = match outcome.end {
            End::Answered if keeps_alive => After::Next(decoder),
            // What was refused may still be on its way.
            End::Answered if decoder.is_whole() && pending.is_empty() && !refused => After::Leave,
            End::Answered => After::Shut,
            _ => {
                self.link.reset_on_close();
                self.leave(lock(&self.state));
                return false;
            }
        };
        let mut state = lock(&self.state);
        state.pending = pending;
        state.again |= full;
        self.answered(state, rest, after)
    }

    /// The answer is on its way, but for `rest`; says whether there may be more to read at once.
    fn answered<'s>(self: &'s Arc<Self>, mut state: MutexGuard<'s, State>, rest: Rest, after: After) -> bool {
        if !rest.is_empty() {
            let most = self.settings().write_timeout;
            state.stage = Stage::Sending(rest, after);
            self.link.set_deadline(Wait::Output, self.link.core.clock.after(most));
            if self.link.want_room(self, || true).is_err() {
                self.leave(state);
            }
            return false;
        }
        let Some(state) = self.follow(state, after) else { return false };
        let more = state.again || !state.pending.is_empty() || self.link.core.is_draining();
        if !more {
            self.wait(state);
        }
        more
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits { head: settings.max_head_or_none(), fields: settings.max_pairs_or_none() }
}

fn head_decoder(settings: &Settings) -> HeadDecoder {
    HeadDecoder::new(limits(settings))
}

/// Drops what is here of a body; `false` when it breaks, or is too long to be dropped.
fn skip(decoder: &mut BodyDecoder, dropped: &mut u64, bytes: &mut &[u8]) -> bool {
    loop {
        match decoder.decode(bytes) {
            Ok(Some(data)) => *dropped = dropped.saturating_add(data.len() as u64),
            Ok(None) => return true,
            Err(_) => return false,
        }
        if *dropped > super::outgoing::MOST_UNREAD {
            return false;
        }
    }
}

/// Takes in a small body.
fn gather(request: &mut Request, bytes: &mut &[u8], settings: &Settings) -> Result<(), DecodeError> {
    while !bytes.is_empty() && request.error.is_none() && request.gathered.len() <= settings.body_gather {
        match request.decoder.decode(bytes)? {
            Some(data) => request.gathered.extend_from_slice(data),
            None => break,
        }
    }
    Ok(())
}
