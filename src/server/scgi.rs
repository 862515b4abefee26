//! SCGI: one request a connection.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::core::{Job, Serve, Session, Spares, Worker, lock};
use super::link::{Link, Received, Wait};
use super::pairs::{Format, collect_pairs};
use super::ready::Event;
use super::{FIRST, Settings, attributes, body_too_short, check_body, log_refusal};
use crate::app::refusal;
use crate::environ::{Abort, Environ, Live, Vars};
use crate::error::{BoxError, Error};
use crate::handlers::{Attributes, BaseCgiHandler, BaseHandler, End, Scratch, Streams, base, live_streams};
use crate::notice::Notice;
use crate::proto::scgi::{Check, HeadDecoder, pair_at, pair_named};
use crate::proto::{NamedPair, PairPlaces};

/// The end of an answer for which there is no room waits in memory up to this size, and holds no worker.
const MOST_REST: usize = 64 * 1024;

/// The size of one read.
const BLOCK: usize = 64 * 1024;

/// One connection.
pub(in crate::server) struct Connection {
    link: Link,
    stage: Mutex<Stage>,
    /// Something was received.
    begun: AtomicBool,
}

/// How far it has come.
enum Stage {
    Head(HeadDecoder, Vec<u8>),
    /// A small body is gathered.
    Body(Request),
    /// The request waits for a worker.
    Whole(Request),
    /// A worker has it.
    Running,
    /// The end of the answer waits for room.
    Sending(Vec<u8>),
    /// Answered; what the peer still sends is read and dropped, so much until now.
    Lingering(usize),
    Closed,
}

struct Request {
    vars: Vars,
    length: u64,
    error: Option<Error>,
    /// Body bytes that came before the application was called.
    gathered: Vec<u8>,
    /// Whether the peer has ended its sending.
    ended: bool,
}

impl Request {
    /// How many bytes of the body are wanted before the application is called.
    fn wanted(&self, settings: &Settings) -> usize {
        match usize::try_from(self.length) {
            Ok(length) if length <= settings.body_gather && self.error.is_none() => length,
            _ => 0,
        }
    }

    /// Whether all of the body is here, and no more than that. nginx that does not gather bodies announces what it has,
    /// 0 for one in chunks, and sends the rest all the same.
    fn is_exact(&self) -> bool {
        self.gathered.len() as u64 == self.length && !self.vars.contains("HTTP_TRANSFER_ENCODING")
    }
}

impl Session for Connection {
    fn link(&self) -> &Link {
        &self.link
    }

    fn turn(self: Arc<Self>, worker: &mut Worker<'_>, event: Event) {
        if let Some(request) = self.read(worker, event) {
            if worker.may_run {
                return self.run(request, worker);
            }
            *lock(&self.stage) = Stage::Whole(request);
            let core = Arc::clone(&self.link.core);
            core.push(Job::Serve(self, None));
        }
    }
}

impl Serve for Connection {
    fn serve(self: Arc<Self>, worker: &mut Worker<'_>) {
        worker.ranges.clear();
        let mut stage = lock(&self.stage);
        if let Stage::Whole(request) = std::mem::replace(&mut *stage, Stage::Running) {
            drop(stage);
            self.run(request, worker);
        }
    }

    fn turn_away(self: Arc<Self>, error: Error, worker: &mut Worker<'_>) {
        let mut stage = lock(&self.stage);
        if let Stage::Whole(mut request) = std::mem::replace(&mut *stage, Stage::Running) {
            drop(stage);
            // Nobody waits for what is missing of the body.
            request.vars.remove("CONTENT_LENGTH");
            request.vars.remove("HTTP_TRANSFER_ENCODING");
            request.error = Some(error);
            worker.ranges.clear();
            self.run(request, worker);
        }
    }
}

impl Connection {
    pub(super) fn new(link: Link) -> Self {
        let decoder = HeadDecoder::new(link.core.settings.max_head_or_none());
        Self { link, stage: Mutex::new(Stage::Head(decoder, Vec::new())), begun: AtomicBool::new(false) }
    }

    /// Reads what is there; gives the request once it may start.
    fn read(self: &Arc<Self>, worker: &mut Worker<'_>, event: Event) -> Option<Request> {
        let mut stage = lock(&self.stage);
        match &mut *stage {
            Stage::Head(..) | Stage::Body(_) => {}
            Stage::Sending(_) => {
                self.send_rest(stage);
                return None;
            }
            Stage::Lingering(_) => {
                self.linger(stage);
                return None;
            }
            // The event itself was noted.
            Stage::Whole(_) | Stage::Running => {
                self.link.look_for_end(self, event);
                return None;
            }
            Stage::Closed => return None,
        }
        // A connection without a request is looked at once more: what has just come was sent before its time was over.
        let late = self.link.has_expired(Wait::Parked);
        if late && self.begun.load(Ordering::Relaxed) {
            refuse(&"the peer stopped sending".into());
            self.shut(stage);
            return None;
        }
        loop {
            match self.link.receive(&mut worker.block) {
                Ok(Received::Some(count)) => {
                    if !self.begun.swap(true, Ordering::Relaxed) {
                        self.link.forgive(Wait::Parked);
                        let until = self.link.core.clock.after(self.link.core.settings.head_timeout);
                        self.link.set_deadline(Wait::Parked, until);
                    }
                    let mut bytes = worker.block.get(..count).unwrap_or_default();
                    if let Err(error) = self.take_in(&mut stage, &mut bytes, &mut worker.spares) {
                        refuse(&error);
                        self.shut(stage);
                        return None;
                    }
                    let surplus = (count - bytes.len(), count);
                    if let Some(mut request) = self.startable(&mut stage) {
                        // What came of a large body with its head stays where it is, if the application follows here.
                        worker.ranges.clear();
                        if worker.may_run && request.gathered.is_empty() && !bytes.is_empty() {
                            worker.ranges.push(surplus);
                        } else {
                            request.gathered.extend_from_slice(bytes);
                        }
                        self.link.set_deadline(Wait::Parked, None);
                        self.link.look_for_end(self, event);
                        return Some(request);
                    }
                    if count < worker.block.len() && !event.ended {
                        break;
                    }
                }
                Ok(Received::Nothing) if late && !self.begun.load(Ordering::Relaxed) => {
                    self.leave(stage);
                    return None;
                }
                Ok(Received::Nothing) => break,
                Ok(Received::End) => return self.end_of_input(stage),
                Err(_) => {
                    self.leave(stage);
                    return None;
                }
            }
        }
        self.wait(stage);
        None
    }

    /// Takes in bytes of the head, or of a body that is gathered; leaves the others.
    fn take_in(&self, stage: &mut Stage, bytes: &mut &[u8], spares: &mut Spares) -> Result<(), BoxError> {
        let settings = &self.link.core.settings;
        if let Stage::Head(decoder, head) = stage {
            if head.capacity() == 0 {
                *head = spares.take_bytes();
            }
            if !decoder.decode(bytes, head)? {
                return Ok(());
            }
            let request = read_pairs(head, settings, spares.take_vars());
            spares.give_bytes(std::mem::take(head));
            *stage = Stage::Body(request);
        }
        if let Stage::Body(request) = stage {
            let missing = request.wanted(settings).saturating_sub(request.gathered.len());
            let (taken, left) = bytes.split_at_checked(missing).unwrap_or((*bytes, &[]));
            request.gathered.extend_from_slice(taken);
            *bytes = left;
        }
        Ok(())
    }

    /// The request, if it may start.
    fn startable(&self, stage: &mut Stage) -> Option<Request> {
        let settings = &self.link.core.settings;
        if !matches!(&*stage, Stage::Body(request) if request.gathered.len() >= request.wanted(settings)) {
            return None;
        }
        match std::mem::replace(stage, Stage::Running) {
            Stage::Body(request) => Some(request),
            _ => None,
        }
    }

    /// The peer has ended its sending: what is not whole never will be.
    fn end_of_input(self: &Arc<Self>, mut stage: MutexGuard<'_, Stage>) -> Option<Request> {
        match std::mem::replace(&mut *stage, Stage::Running) {
            Stage::Body(mut request) => {
                request.ended = true;
                request.error = Some(body_too_short(request.gathered.len()));
                Some(request)
            }
            Stage::Head(decoder, _) => {
                if let Err(error) = decoder.end_of_input() {
                    refuse(&error.into());
                }
                self.leave(stage);
                None
            }
            _ => None,
        }
    }

    /// The connection waits for more.
    fn wait(self: &Arc<Self>, stage: MutexGuard<'_, Stage>) {
        let core = &self.link.core;
        let begun = self.begun.load(Ordering::Relaxed);
        if !begun && self.link.is_evicted() {
            return self.leave(stage);
        }
        match &*stage {
            Stage::Body(_) => {
                self.link.set_deadline(Wait::Parked, core.clock.after(core.settings.body_timeout));
            }
            _ if !begun && core.is_draining() => {
                self.link.set_deadline(Wait::Parked, core.clock.after(FIRST));
            }
            // A connection without a request is as good as none; it has the time of a head.
            _ if !begun && self.link.token().is_none() => {
                self.link.set_deadline(Wait::Parked, core.clock.after(core.settings.idle_timeout));
            }
            _ => {}
        }
        self.link.set_idle(!begun);
        if self.link.park(self).is_err() {
            self.leave(stage);
        }
    }

    fn leave(&self, mut stage: MutexGuard<'_, Stage>) {
        *stage = Stage::Closed;
        drop(stage);
        self.link.leave();
    }

    /// Closes the connection once the peer has no more to say: a close with unread input would reset it, and take the
    /// answer with it.
    fn shut(self: &Arc<Self>, mut stage: MutexGuard<'_, Stage>) {
        if !self.link.shut() {
            return self.leave(stage);
        }
        *stage = Stage::Lingering(0);
        self.linger(stage);
    }

    fn linger(self: &Arc<Self>, mut stage: MutexGuard<'_, Stage>) {
        let Stage::Lingering(dropped) = &mut *stage else { return };
        if !self.link.linger(self, dropped) {
            self.leave(stage);
        }
    }

    /// There may be room for the end of the answer.
    fn send_rest(self: &Arc<Self>, mut stage: MutexGuard<'_, Stage>) {
        let Stage::Sending(rest) = &mut *stage else { return };
        let result = match self.link.has_expired(Wait::Output) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => self.link.send_now(&[IoSlice::new(rest)]).inspect(|sent| drop(rest.drain(..*sent))),
        };
        match result {
            Ok(_) if rest.is_empty() => {
                self.link.set_deadline(Wait::Output, None);
                let _ = self.link.want_room(self, || false);
                self.shut(stage);
            }
            Ok(_) => {
                let _ = self.link.park(self);
            }
            Err(_) => {
                self.link.reset_on_close();
                self.leave(stage);
            }
        }
    }

    /// Runs the application. Some of the body may stand in the worker's block.
    fn run(self: &Arc<Self>, request: Request, worker: &mut Worker<'_>) {
        let surplus = worker.ranges.pop();
        let (exact, bodiless) = (surplus.is_none() && request.is_exact(), request.length == 0);
        let Request { vars, length: _, error, gathered, ended } = request;
        let refused = error.is_some();
        let block = std::mem::take(&mut worker.block);
        let (start, end) = surplus.unwrap_or_default();
        let ended = ended || exact;
        let body = Body { connection: self, gathered, at: 0, block, start, end, drained: false, ended };
        let mut scratch = std::mem::take(&mut worker.scratch);
        worker.spares.give_vars(scratch.fill(vars));
        let handler = Handler {
            connection: self,
            refused,
            body: RefCell::new(body),
            rest: RefCell::default(),
            scratch: RefCell::new(scratch),
        };
        let outcome = match error {
            Some(error) => handler.run(&refusal(error)),
            None => handler.run(&self.link.core.app),
        };
        let Handler { body, rest, scratch, .. } = handler;
        worker.scratch = scratch.into_inner();
        let body = body.into_inner();
        worker.spares.give_bytes(body.gathered);
        worker.block = body.block;
        worker.block.resize(BLOCK, 0);
        let (mut stage, rest) = (lock(&self.stage), rest.into_inner());
        match outcome.end {
            // Behind a body more may come than was announced.
            End::Answered if rest.is_empty() && exact && bodiless => self.leave(stage),
            End::Answered if rest.is_empty() => self.shut(stage),
            End::Answered => {
                let most = self.link.core.settings.write_timeout;
                *stage = Stage::Sending(rest);
                self.link.set_deadline(Wait::Output, self.link.core.clock.after(most));
                if self.link.want_room(self, || true).is_err() {
                    self.leave(stage);
                }
            }
            _ => {
                self.link.reset_on_close();
                self.leave(stage);
            }
        }
    }
}

/// What came in is no request, and no answer could be framed.
fn refuse(error: &BoxError) {
    static REFUSED: Notice = Notice::new();
    REFUSED.warn(format_args!("scgi: connection closed: {error}"));
}

/// Turns a whole head into variables, which take its memory over; what is wrong with it is answered.
fn read_pairs(head: &mut Vec<u8>, settings: &Settings, vars: Vars) -> Request {
    let mut request = Request { vars, length: 0, error: None, gathered: Vec::new(), ended: false };
    let (vars, mut pairs) = (&mut request.vars, Pairs::default());
    request.error = collect_pairs(vars, head, settings.max_pairs_or_none(), &mut pairs)
        .and_then(|()| {
            request.length = pairs.0.finish()?;
            check_body(request.length, settings)
        })
        .and_then(|()| settings.front.apply(vars))
        .err();
    request
}

/// The names and values of a head, each ended by a NUL.
#[derive(Default)]
struct Pairs(Check);

impl Format for Pairs {
    type Error = Error;

    #[inline]
    fn next(head: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Error>> {
        Some(pair_at(head, at)?.map_err(Error::from))
    }

    #[inline(always)]
    fn named(head: &[u8], at: usize, name: &[u8]) -> Option<NamedPair> {
        pair_named(head, at, name)
    }

    #[inline]
    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        Ok(self.0.pair(name, value)?)
    }
}

/// The body: what was gathered before the start, then the connection.
struct Body<'c> {
    connection: &'c Arc<Connection>,
    gathered: Vec<u8>,
    at: usize,
    block: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read took all there was: the next one will have to wait.
    drained: bool,
    ended: bool,
}

impl Body<'_> {
    /// Reads on, waiting if need be.
    fn receive(&mut self) -> io::Result<()> {
        if self.drained || !self.receive_now()? {
            let link = &self.connection.link;
            // Nobody else need hear of what this thread waits for.
            let _ = link.quieten_for_reader();
            self.block.resize(BLOCK, 0);
            let received = link.receive_or_wait(self.connection, &mut self.block)?;
            self.take(received);
        }
        Ok(())
    }

    /// Reads what is there; `false` when nothing is.
    fn receive_now(&mut self) -> io::Result<bool> {
        self.block.resize(BLOCK, 0);
        let received = self.connection.link.receive(&mut self.block)?;
        self.take(received);
        Ok(received != Received::Nothing)
    }

    fn take(&mut self, received: Received) {
        (self.start, self.end) = (0, 0);
        match received {
            Received::Some(count) => (self.end, self.drained) = (count, count < self.block.len()),
            Received::End => {
                self.ended = true;
                self.connection.link.note_half_close();
            }
            Received::Nothing => {}
        }
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
        if self.start == self.end && !self.ended {
            self.receive()?;
        }
        Ok(self.block.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if self.at < self.gathered.len() {
            self.at = self.at.saturating_add(amount).min(self.gathered.len());
        } else {
            self.start = self.start.saturating_add(amount).min(self.end);
        }
    }
}

impl Live for Body<'_> {
    fn fill_ready(&mut self) -> io::Result<Option<&[u8]>> {
        let empty = self.at == self.gathered.len() && self.start == self.end;
        if empty && !self.ended && !self.receive_now()? {
            return Ok(None);
        }
        self.fill_buf().map(Some)
    }

    fn with_descriptor(&self, with: &mut dyn FnMut(Option<BorrowedFd<'_>>)) {
        let here = self.at < self.gathered.len() || self.start < self.end || self.ended;
        let _ = self.connection.link.quieten_for_reader();
        with((!here).then(|| self.connection.link.stream.as_fd()));
    }

    fn is_whole(&self) -> bool {
        self.ended
    }
}

/// The rung of the ladder that one SCGI request is.
struct Handler<'c> {
    connection: &'c Arc<Connection>,
    /// The request is answered in the application's place.
    refused: bool,
    body: RefCell<Body<'c>>,
    /// The end of the answer, where there was no room for it.
    rest: RefCell<Vec<u8>>,
    scratch: RefCell<Scratch>,
}

impl Handler<'_> {
    fn settings(&self) -> &Settings {
        &self.connection.link.core.settings
    }
}

impl BaseCgiHandler for Handler<'_> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let (body, scratch) = (&mut *self.body.borrow_mut(), &mut *self.scratch.borrow_mut());
        let gone = || {
            let link = &self.connection.link;
            link.enter_set(self.connection).is_err() || link.is_gone()
        };
        let mut answer = Answer { connection: self.connection, rest: &mut self.rest.borrow_mut() };
        live_streams(body, &mut answer, &mut io::stderr(), scratch, &mut |streams| {
            with(streams.with_abort(Abort::new(&gone)));
        });
    }

    /// They stand in the scratch memory, where they will be read.
    fn base_env(&self) -> &Vars {
        static NONE: Vars = Vars::new();
        &NONE
    }

    fn preset(&self) -> Attributes<'static> {
        attributes(self.settings())
    }
}

impl BaseHandler for Handler<'_> {
    fn attributes(&self) -> Attributes<'_> {
        let settings = self.settings();
        Attributes {
            keep_variables: &settings.front.keep_variables,
            observer: settings.observer.as_deref(),
            spool: Some(&settings.spool),
            ..attributes(settings)
        }
    }

    fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
        if !log_refusal("scgi", self.refused, environ, error) {
            base::log_exception(self, environ, error);
        }
    }
}

/// The response on its way to the socket.
struct Answer<'a> {
    connection: &'a Arc<Connection>,
    rest: &'a mut Vec<u8>,
}

impl Write for Answer<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let link = &self.connection.link;
        if !self.rest.is_empty() {
            link.send_all(self.connection, &mut [IoSlice::new(self.rest)])?;
            self.rest.clear();
        }
        let sent = link.send_now(&[IoSlice::new(data)])?;
        match data.get(sent..) {
            None | Some([]) => {}
            // It may be the last piece: nobody needs to wait for that.
            Some(left) if left.len() <= MOST_REST => self.rest.extend_from_slice(left),
            Some(left) => link.send_all(self.connection, &mut [IoSlice::new(left)])?,
        }
        link.note_output();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
