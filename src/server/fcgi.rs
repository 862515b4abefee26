//! FastCGI: any number of connections, on each any number of requests at the same time.
//!
//! A connection has one [`Intake`]: what has come in, under a lock that is held while bytes are read and decoded, never
//! while anybody waits. Whoever hears of new bytes first takes them in: a worker, or an application that waits for its
//! body. What comes for another request is put where that one finds it.

mod body;
mod feed;
mod intake;
mod outgoing;

use std::cell::RefCell;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use self::body::Body;
use self::feed::{Feed, Key};
pub(in crate::server) use self::intake::Request;
use self::intake::{Fate, Intake, Mine, Place, Which};
use self::outgoing::Outgoing;
use super::core::{Job, Session, Worker, lock};
use super::link::{Link, Received, Wait};
use super::ready::Event;
use super::{Messages as To, Settings, attributes};
use crate::app::refusal;
use crate::environ::{Abort, Role, Vars};
use crate::error::{BoxError, Error};
use crate::handlers::{
    Attributes, BaseCgiHandler, BaseHandler, End, Flow, Outcome, Output, Scratch, Streams,
};
use crate::notice::Notice;

/// Records that wait for room to write, beside those of an answer. A peer that asks and never reads gets no further.
const MOST_ASIDE: usize = 256 * 1024;

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// How long an application that reads its body may turn away from the connection before others read on for it, and see
/// what else the web server has to say.
const TURNED_AWAY: Duration = Duration::from_millis(20);

/// Blocks that are read in one turn. Whoever sends for ever has no worker for itself.
const BLOCKS: usize = 16;

/// One connection.
pub(in crate::server) struct Connection {
    link: Link,
    intake: Mutex<Intake>,
    /// The intake has something new for those who wait for it.
    changed: Condvar,
    out: Mutex<Out>,
    /// Whether `out` has records that wait for room.
    has_rest: AtomicBool,
    /// Somebody heard of room while another one had `out`.
    missed: AtomicBool,
}

/// The writing side: whoever has it writes whole records.
#[derive(Default)]
struct Out {
    /// What there was no room for, and nobody waits to send.
    rest: Vec<u8>,
    /// How the connection broke: what follows a lost piece would be read as something else.
    broken: Option<io::ErrorKind>,
}

/// What is to be done after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The connection waits for the next request, or is closed.
    Nothing,
    /// More may be there already.
    Read,
}

impl Session for Connection {
    fn link(&self) -> &Link {
        &self.link
    }

    fn turn(self: Arc<Self>, worker: &mut Worker<'_>, event: Event) {
        self.drive(None, worker, event);
    }
}

impl Connection {
    pub(super) fn new(link: Link) -> Self {
        let intake = Mutex::new(Intake::new(link.core.settings.max_requests_per_connection));
        Self {
            link,
            intake,
            changed: Condvar::new(),
            out: Mutex::default(),
            has_rest: AtomicBool::new(false),
            missed: AtomicBool::new(false),
        }
    }

    fn settings(&self) -> &Settings {
        &self.link.core.settings
    }

    /// Serves a request that a worker has found and could not serve itself.
    pub(super) fn run(self: Arc<Self>, request: Request, worker: &mut Worker<'_>) {
        worker.ranges.clear();
        self.drive(Some(request), worker, Event::default());
    }

    /// Answers a request with an error in the application's place, and waits neither for its body nor for who writes.
    pub(super) fn turn_away(self: Arc<Self>, mut request: Request, error: Error, worker: &mut Worker<'_>) {
        request.vars.remove("CONTENT_LENGTH");
        request.vars.remove("HTTP_TRANSFER_ENCODING");
        request.error = Some(error);
        request.put_aside = true;
        self.run(request, worker);
    }

    /// Reads, and serves what is ready, until there is nothing to do.
    fn drive(self: Arc<Self>, mut next: Option<Request>, worker: &mut Worker<'_>, mut event: Event) {
        loop {
            let Some(request) = next.take().or_else(|| self.read(worker, event)) else { return };
            if self.serve(request, worker) == After::Nothing {
                return;
            }
            event = Event::default();
        }
    }

    /// Reads what is there. One request that may start is for the caller; others find their own workers.
    fn read(self: &Arc<Self>, worker: &mut Worker<'_>, event: Event) -> Option<Request> {
        if self.has_rest.load(Ordering::Acquire) {
            self.send_rest();
        }
        let mut ready = std::mem::take(&mut worker.ready);
        worker.ranges.clear();
        let asked = self.read_into(&mut ready, worker, event);
        if asked {
            self.send_aside();
            self.close_if_over();
        }
        let first = (worker.may_run && !ready.is_empty()).then(|| ready.remove(0));
        for request in ready.drain(..) {
            self.link.core.leave(Job::Run(Arc::clone(self), Box::new(request), None));
        }
        worker.ready = ready;
        first
    }

    /// Reads what is there; says whether there are records to send for it.
    fn read_into(self: &Arc<Self>, ready: &mut Vec<Request>, worker: &mut Worker<'_>, event: Event) -> bool {
        let mut intake = lock(&self.intake);
        match intake.fate {
            Fate::Open => {}
            Fate::Lingering => {
                self.linger(intake);
                return false;
            }
            Fate::Closed => return false,
        }
        if self.link.has_expired(Wait::Output) {
            self.close(intake, Fate::Closed);
            return false;
        }
        // A connection without a request is looked at once more: what has just come was sent before its time was over.
        let late = self.link.has_expired(Wait::Parked);
        if late && !intake.is_between_requests() {
            self.end_waiting(intake);
            return false;
        }
        if self.link.has_expired(Wait::Look) {
            self.link.forgive(Wait::Look);
            intake.take_reading();
        }
        intake.note_end(event.ended);
        if intake.is_read() {
            intake.pass_by();
            return false;
        }
        let to_the_end = event.ended || intake.more;
        let (mut blocks, mut left) = (0..BLOCKS, false);
        while !intake.deaf {
            // While nobody reads the answers there are, nothing new begins.
            let unread = self.has_rest.load(Ordering::Acquire) && intake.feeds.is_empty();
            intake.more = true;
            if unread || intake.is_full() || intake.is_ending() {
                break;
            }
            intake.later = blocks.next().is_none() || intake.aside.len() > MOST_ASIDE / 2;
            if intake.later {
                break;
            }
            intake.more = false;
            match self.link.receive(&mut worker.block) {
                Ok(Received::Some(count)) => {
                    let bytes = worker.block.get(..count).unwrap_or_default();
                    // What comes of a body with its head stays where it is: the application follows here.
                    let first = worker.may_run && ready.is_empty();
                    let mine = Mine { key: None, which: Which::Stdin, ranges: &mut worker.ranges };
                    let place = &mut Place {
                        settings: self.settings(),
                        spares: &mut worker.spares,
                        ready: &mut *ready,
                        mine: first.then_some(mine),
                    };
                    if let Err(error) = intake.take_in(bytes, place) {
                        refuse(&mut intake, &error);
                    }
                    let drained = count < worker.block.len() && !to_the_end;
                    if let Some(request) = ready.first() {
                        left = intake.leave_reading(request.key);
                        if left || !worker.ranges.is_empty() {
                            intake.more = !drained;
                            intake.later = !drained && !left && !intake.deaf;
                            break;
                        }
                    }
                    if drained {
                        break;
                    }
                }
                Ok(Received::Nothing) => break,
                Ok(Received::End) => {
                    if let Err(error) = intake.end_of_input() {
                        refuse(&mut intake, &error);
                    }
                    self.link.note_half_close();
                }
                Err(_) => intake.break_off(),
            }
        }
        self.tell(&intake);
        if late && intake.is_between_requests() {
            self.close(intake, Fate::Closed);
            return false;
        } else if late {
            self.link.forgive(Wait::Parked);
        }
        let asked = !intake.aside.is_empty();
        // A new connection whose only request is whole need not be registered when it is closed after that.
        let alone =
            matches!(&ready[..], [request] if worker.may_run && request.body_whole && !request.keep_conn);
        let park = !alone || self.link.is_in_set();
        if left {
            self.look_later();
        }
        self.settle(intake, park) && asked
    }

    /// Decides about the connection after something has changed: it is closed, or it waits. `true` when it stays open.
    fn settle(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>, park: bool) -> bool {
        if let Some(fate) = intake.ends(&self.link, self.has_rest.load(Ordering::Acquire)) {
            self.close(intake, fate);
            return false;
        }
        intake.note_deadline(&self.link);
        self.link.set_idle(intake.is_idle() && !self.has_rest.load(Ordering::Acquire));
        if !std::mem::take(&mut intake.later) {
            if intake.deaf || intake.more && self.link.is_in_set() {
                if !intake.deaf && !intake.is_left() {
                    // Whoever does not read on hears at least that the peer has gone.
                    intake.unarmed = true;
                    let _ = self.link.quieten();
                }
                self.link.park_deaf();
                return true;
            }
            if !park {
                return true;
            }
        }
        if self.park(&mut intake).is_err() {
            // Nobody would ever hear of it again.
            self.close(intake, Fate::Closed);
            return false;
        }
        true
    }

    /// Whoever is free hears of what comes, and of what is there already where it might be missed.
    fn park(self: &Arc<Self>, intake: &mut Intake) -> io::Result<()> {
        intake.unarmed = false;
        if intake.more { self.link.park_again(self) } else { self.link.park(self) }
    }

    /// The application that reads is looked after, if it does not go on reading.
    fn look_later(&self) {
        self.link.set_deadline(Wait::Look, self.link.core.clock.after(TURNED_AWAY));
    }

    /// An application's thread is about to wait for input, and nobody else need hear of it.
    fn begin_waiting<'i>(&self, mut intake: MutexGuard<'i, Intake>) -> MutexGuard<'i, Intake> {
        intake.poller = true;
        if intake.is_left() {
            self.link.set_deadline(Wait::Look, None);
            intake.unarmed |= self.link.is_in_set();
            let _ = self.link.quieten_for_reader();
        }
        intake
    }

    /// An application's thread has read, and may go on, or leave it to whoever hears of input.
    fn go_on_reading(self: &Arc<Self>, intake: &mut Intake, key: Key) {
        let left = intake.is_left();
        if left && intake.leave_reading(key) {
            let _ = self.link.rearm_for_reader(self);
            return self.look_later();
        }
        if left {
            self.link.set_deadline(Wait::Look, None);
        }
        if self.link.is_in_set() && !intake.deaf {
            let _ = self.park(intake);
        }
    }

    /// The last that the connection waited for may have been that records left.
    fn close_if_over(self: &Arc<Self>) {
        let intake = lock(&self.intake);
        let ends = || intake.ends(&self.link, self.has_rest.load(Ordering::Acquire));
        if let Some(fate) = (intake.fate == Fate::Open).then(ends).flatten() {
            self.close(intake, fate);
        }
    }

    /// What a parked connection waited for has not come in time.
    fn end_waiting(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>) {
        refuse(&mut intake, &"the peer stopped sending".into());
        self.tell(&intake);
        self.settle(intake, false);
    }

    /// Closes the connection, at once or after what the peer still sends was read and dropped: a close with unread
    /// input would reset it, and take the answer with it.
    fn close(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>, fate: Fate) {
        intake.break_off();
        self.tell(&intake);
        if !intake.feeds.is_empty() {
            // Threads hold it that serve those requests, and may wait for it.
            let _ = self.link.stream.shutdown(Shutdown::Both);
        }
        if fate == Fate::Lingering && self.link.shut() {
            intake.fate = Fate::Lingering;
            return self.linger(intake);
        }
        self.leave(intake);
    }

    fn leave(&self, mut intake: MutexGuard<'_, Intake>) {
        intake.fate = Fate::Closed;
        drop(intake);
        self.link.leave();
    }

    /// Reads and drops what a peer still sends, until it ends or the time is over.
    fn linger(self: &Arc<Self>, mut intake: MutexGuard<'_, Intake>) {
        if !self.link.linger(self, &mut intake.dropped) {
            self.leave(intake);
        }
    }

    /// Runs the application for one request.
    fn serve(self: &Arc<Self>, request: Request, worker: &mut Worker<'_>) -> After {
        if lock(&self.intake).is_aborted(request.key) {
            // While it waited for a worker.
            return self.conclude(request.key, false, End::ClientGone);
        }
        let Request { key, role, vars, error, gathered, put_aside, .. } = request;
        let mut outgoing = Outgoing::new(self, key, std::mem::take(&mut worker.buffer));
        if put_aside {
            outgoing.put_aside();
        }
        let outgoing = RefCell::new(outgoing);
        let (block, ranges) = (std::mem::take(&mut worker.block), std::mem::take(&mut worker.ranges));
        let mut scratch = std::mem::take(&mut worker.scratch);
        worker.spares.give_vars(scratch.fill(vars));
        let handler = Handler {
            connection: self,
            role,
            body: RefCell::new(Body::stdin(self, key, gathered, (block, ranges), &outgoing)),
            data: RefCell::new(Body::data(self, key, &outgoing)),
            outgoing: &outgoing,
            scratch: RefCell::new(scratch),
        };
        let outcome = match error {
            Some(error) => handler.run(&refusal(error)),
            None => handler.run(&self.link.core.app),
        };
        let Handler { body, data, scratch, .. } = handler;
        drop(data);
        worker.scratch = scratch.into_inner();
        let (gathered, block, ranges) = body.into_inner().into_memory();
        worker.spares.give_bytes(gathered);
        (worker.block, worker.ranges) = (block, ranges);
        let outgoing = outgoing.into_inner();
        let over = outgoing.is_over();
        worker.buffer = outgoing.into_buffer();
        self.conclude(key, over, outcome.end)
    }

    /// A request is over: the connection goes on, or is closed.
    fn conclude(self: &Arc<Self>, key: Key, over: bool, end: End) -> After {
        let mut intake = lock(&self.intake);
        if over {
            intake.answered();
        } else if !intake.forget(key) && end != End::Answered {
            // No END_REQUEST went out, and the web server has not given the request up: nothing that is sent now would
            // be understood.
            self.close(intake, Fate::Lingering);
            return After::Nothing;
        }
        if intake.fate != Fate::Open {
            return After::Nothing;
        }
        if !intake.deaf && !intake.poller && (intake.more || self.link.core.is_draining()) {
            return After::Read;
        }
        let park = intake.unarmed || !self.link.is_in_set();
        self.settle(intake, park);
        After::Nothing
    }

    /// Sends the records of a request's answer, whole, waiting for room if need be. The last ones are those with an
    /// `over`, which becomes true: the request's id may be used again, and what finds no room is sent later.
    fn send(
        self: &Arc<Self>,
        key: Key,
        pieces: &mut [IoSlice<'_>],
        over: Option<&mut bool>,
    ) -> io::Result<()> {
        let mut out = lock(&self.out);
        let result = self.send_through(&mut out, key, pieces, over);
        drop(out);
        self.watch_for_room();
        // Whoever had others to send met a lock, and left them to us.
        self.send_aside();
        result
    }

    fn send_through(
        self: &Arc<Self>,
        out: &mut Out,
        key: Key,
        pieces: &mut [IoSlice<'_>],
        over: Option<&mut bool>,
    ) -> io::Result<()> {
        let last = over.is_some();
        if let Some(kind) = out.broken {
            return Err(kind.into());
        }
        {
            let mut intake = lock(&self.intake);
            if intake.is_aborted(key) {
                return Err(given_up());
            }
            out.rest.append(&mut intake.aside);
            if let Some(over) = over {
                intake.finish(key);
                *over = true;
            }
        }
        let result = self.put(out, pieces, last);
        out.broken = result.as_ref().err().map(io::Error::kind);
        self.note_rest(out);
        self.link.note_output();
        result
    }

    /// Puts a whole answer beside those that are being written: whoever writes sends it, if that is somebody else.
    fn put_aside(self: &Arc<Self>, key: Key, records: &[u8], over: &mut bool) -> io::Result<()> {
        {
            let mut intake = lock(&self.intake);
            if intake.is_aborted(key) {
                return Err(given_up());
            }
            intake.aside.extend_from_slice(records);
            intake.finish(key);
            *over = true;
        }
        self.send_aside();
        Ok(())
    }

    fn put(self: &Arc<Self>, out: &mut Out, mut pieces: &mut [IoSlice<'_>], last: bool) -> io::Result<()> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if last && !out.rest.is_empty() && out.rest.len() + length <= MOST_ASIDE {
            let sent = self.link.send_now(&[IoSlice::new(&out.rest)])?;
            out.rest.drain(..sent);
        } else if !out.rest.is_empty() {
            let rest = std::mem::take(&mut out.rest);
            self.link.send_all(self, &mut [IoSlice::new(&rest)])?;
        }
        if !last {
            return self.link.send_all(self, pieces);
        }
        if out.rest.is_empty() {
            let sent = self.link.send_now(pieces)?;
            IoSlice::advance_slices(&mut pieces, sent);
        }
        pieces.iter().for_each(|piece| out.rest.extend_from_slice(piece));
        Ok(())
    }

    /// Sends records that belong to no answer under way, unless somebody is writing: that one does it afterwards.
    fn send_aside(self: &Arc<Self>) {
        while !lock(&self.intake).aside.is_empty() {
            let mut out = match self.out.try_lock() {
                Ok(out) => out,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            out.rest.append(&mut lock(&self.intake).aside);
            self.send_what_fits(out);
        }
    }

    /// There may be room again. Whoever has `out` at the moment tries once more afterwards.
    fn send_rest(self: &Arc<Self>) {
        self.missed.store(true, Ordering::SeqCst);
        if let Ok(out) = self.out.try_lock() {
            self.missed.store(false, Ordering::SeqCst);
            self.send_what_fits(out);
            self.send_aside();
        }
    }

    fn send_what_fits(self: &Arc<Self>, mut out: MutexGuard<'_, Out>) {
        let result = match out.broken {
            Some(kind) => Err(kind.into()),
            None => self.link.send_now(&[IoSlice::new(&out.rest)]),
        };
        match result {
            Ok(sent) if out.rest.len() - sent <= MOST_ASIDE => drop(out.rest.drain(..sent)),
            result => {
                out.broken = Some(result.map_or_else(|error| error.kind(), |_| io::ErrorKind::TimedOut));
                out.rest.clear();
                lock(&self.intake).break_off();
            }
        }
        self.note_rest(&out);
        drop(out);
        self.watch_for_room();
    }

    /// Whoever hears of room sends the rest.
    fn note_rest(&self, out: &Out) {
        let waits = !out.rest.is_empty();
        if self.has_rest.swap(waits, Ordering::AcqRel) || waits {
            let most = self.settings().write_timeout;
            let deadline = waits.then(|| self.link.core.clock.after(most)).flatten();
            self.link.set_deadline(Wait::Output, deadline);
        }
    }

    /// Asks to hear of room, while there is a rest. Not under the lock: whoever hears of it needs that.
    fn watch_for_room(self: &Arc<Self>) {
        if self.link.want_room(self, || self.has_rest.load(Ordering::Acquire)).is_err() {
            lock(&self.intake).break_off();
        }
        if self.has_rest.load(Ordering::Acquire) && self.missed.swap(false, Ordering::SeqCst) {
            self.send_rest();
        }
    }
}

impl Connection {
    /// Those who wait for the intake look at it again.
    fn tell(&self, intake: &Intake) {
        // A call for nobody would be a system call all the same.
        if intake.waiters > 0 {
            self.changed.notify_all();
        }
        intake.feeds.iter().for_each(Feed::nudge);
    }

    /// Whether other requests are under way besides the one who asks.
    fn is_shared(&self) -> bool {
        lock(&self.intake).feeds.len() > 1
    }

    /// Whether the web server has given the request up.
    fn is_given_up(self: &Arc<Self>, key: Key) -> bool {
        // From now on somebody hears of it.
        let deaf = self.link.enter_set(self).is_err();
        deaf || self.link.is_gone() || lock(&self.intake).is_aborted(key)
    }
}

/// What came in breaks the protocol, or did not come: nothing more is read, and who waits for input learns of it.
fn refuse(intake: &mut Intake, error: &BoxError) {
    static CLOSED: Notice = Notice::new();
    CLOSED.warn(format_args!("fcgi: connection closed: {error}"));
    intake.break_off();
}

/// What reading and writing say once the web server has given the request up.
fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the web server gave the request up")
}

/// The rung of the ladder that one FastCGI request is.
struct Handler<'h, 'c> {
    connection: &'c Arc<Connection>,
    role: Role,
    body: RefCell<Body<'h, 'c>>,
    data: RefCell<Body<'h, 'c>>,
    outgoing: &'h RefCell<Outgoing<'c>>,
    scratch: RefCell<Scratch>,
}

impl BaseCgiHandler for Handler<'_, '_> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let (body, data) = (&mut *self.body.borrow_mut(), &mut *self.data.borrow_mut());
        let scratch = &mut *self.scratch.borrow_mut();
        let key = self.outgoing.borrow().key();
        let gone = || self.connection.is_given_up(key);
        let mut answer = Answer(self.outgoing);
        let mut errors = Messages { to: self.connection.settings().messages, outgoing: self.outgoing };
        let mut streams =
            Streams::live(body, &mut answer, &mut errors, scratch).with_abort(Abort::new(&gone));
        streams.role = self.role;
        if self.role == Role::Filter {
            streams.data = Some(data);
        }
        with(streams);
    }

    /// They stand in the scratch memory, where they will be read.
    fn base_env(&self) -> &Vars {
        static NONE: Vars = Vars::new();
        &NONE
    }

    fn preset(&self) -> Attributes<'static> {
        attributes(self.connection.settings())
    }
}

impl BaseHandler for Handler<'_, '_> {
    fn attributes(&self) -> Attributes<'_> {
        let settings = self.connection.settings();
        Attributes {
            keep_variables: &settings.front.keep_variables,
            observer: settings.observer.as_deref(),
            spool: Some(&settings.spool),
            ..attributes(settings)
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

/// The application's messages: STDERR of the request under way, or standard error.
struct Messages<'a, 's> {
    to: To,
    outgoing: &'a RefCell<Outgoing<'s>>,
}

impl Write for Messages<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.to {
            To::Web => self.outgoing.borrow_mut().stderr(data)?,
            To::Log => io::stderr().write_all(data)?,
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
