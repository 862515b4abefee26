//! What has come in on a connection: events become requests, and bodies for those that have started.

use super::feed::{Feed, Inbound, KEPT, Key};
use super::{BLOCK, MOST_ASIDE};
use crate::environ::{Known, Role, Vars, content_length};
use crate::error::{BoxError, Error, Fault};
use crate::proto::fcgi::{
    self, Decoder, EndOfInput, Event, Names, Pairs, ProtocolStatus, Values, encode, pair_at, pair_named,
};
use crate::proto::{NamedPair, PairPlaces};
use crate::server::clock::Millis;
use crate::server::core::Spares;
use crate::server::link::{Link, Wait};
use crate::server::pairs::{Format, collect_pairs, set_line};
use crate::server::{Settings, body_too_short, check_body};

/// A request whose head is whole, and whose body is too if it is small.
pub(in crate::server) struct Request {
    pub(super) key: Key,
    pub(super) role: Role,
    pub(super) vars: Vars,
    /// What is wrong with it: that is answered in the application's place.
    pub(super) error: Option<Error>,
    pub(super) gathered: Vec<u8>,
    /// Nothing more comes for it.
    pub(super) body_whole: bool,
    /// The web server may send others while it is served.
    pub(super) keep_conn: bool,
    /// Its answer comes from a thread that may wait for nobody.
    pub(super) put_aside: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// Answered; what the peer still sends is read and dropped.
    Lingering,
    Closed,
}

/// A piece of a block of input: from, to.
pub(super) type Range = (usize, usize);

/// Which of a request's two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Stdin,
    Data,
}

impl Which {
    pub(super) fn of(self, feed: &mut Feed) -> &mut Inbound {
        match self {
            Which::Stdin => &mut feed.stdin,
            Which::Data => &mut feed.data,
        }
    }
}

/// Where to put what comes in.
pub(super) struct Place<'p> {
    pub(super) settings: &'p Settings,
    pub(super) spares: &'p mut Spares,
    /// Requests that may start.
    pub(super) ready: &'p mut Vec<Request>,
    pub(super) mine: Option<Mine<'p>>,
}

/// What is for the one who reads: its pieces stay where they are.
pub(super) struct Mine<'p> {
    /// The request; `None` until one starts, for a worker that will serve that.
    pub(super) key: Option<Key>,
    pub(super) which: Which,
    pub(super) ranges: &'p mut Vec<Range>,
}

impl Mine<'_> {
    fn of(mine: &mut Option<Self>, key: Key, which: Which) -> Option<&mut Vec<Range>> {
        mine.as_mut()
            .filter(|mine| mine.key == Some(key) && mine.which == which)
            .map(|mine| &mut *mine.ranges)
    }
}

/// The reading side of one connection.
pub(super) struct Intake {
    decoder: Decoder,
    /// Requests that are being received.
    heads: Vec<Head>,
    /// Requests that have started and are not answered.
    pub(super) feeds: Vec<Feed>,
    /// How many have started.
    serial: u64,
    /// Records to send that belong to no answer.
    pub(super) aside: Vec<u8>,
    /// An application's thread waits for input, and reads what comes for everybody.
    pub(super) poller: bool,
    /// How many others wait for what that one reads.
    pub(super) waiters: usize,
    /// The request whose application reads the connection, or soon will: nobody else need keep its body for it.
    reader: Option<Key>,
    /// Events were not answered by parking the connection again, or it hears of none: that is made up for when the reading
    /// ends.
    pub(super) unarmed: bool,
    /// The end of input is there, and nobody will be told of it again.
    end_noted: bool,
    /// The socket may hold unread input, or the end of it, of which nobody will be told again.
    pub(super) more: bool,
    /// So much was read at once that others come first.
    pub(super) later: bool,
    /// Nothing more is read.
    pub(super) deaf: bool,
    /// Requests that are over, but whose last records are still being written.
    answering: usize,
    /// The connection ends after the requests that have started.
    closing: bool,
    /// A request was answered whose body had not come whole.
    unread: bool,
    /// Several requests have been under way at once, or the web server has asked whether they may.
    multiplexed: bool,
    fresh: bool,
    /// When the heads that have begun must be whole.
    head_until: Option<Millis>,
    /// The connection has a deadline.
    timed: bool,
    pub(super) fate: Fate,
    pub(super) dropped: usize,
}

/// A request that is being received.
struct Head {
    id: u16,
    role: Role,
    keep_conn: bool,
    params: Vec<u8>,
    too_large: bool,
    /// Once the parameters are whole.
    opened: Option<Opened>,
    gathered: Vec<u8>,
    stdin_ended: bool,
    data: Inbound,
}

struct Opened {
    vars: Vars,
    error: Option<Error>,
    length: Option<u64>,
    /// With so many bytes of its body it starts, though the body goes on.
    enough: usize,
}

impl Head {
    fn size(&self) -> usize {
        self.params.len() + self.gathered.len()
    }

    fn may_start(&self) -> bool {
        let whole = self.stdin_ended || self.role == Role::Authorizer;
        self.opened
            .as_ref()
            .is_some_and(|opened| opened.error.is_some() || whole || self.gathered.len() >= opened.enough)
    }
}

impl Intake {
    pub(super) fn new(max_requests: usize) -> Self {
        Self {
            decoder: Decoder::new(if max_requests == 0 { usize::MAX } else { max_requests }),
            heads: Vec::new(),
            feeds: Vec::new(),
            serial: 0,
            aside: Vec::new(),
            poller: false,
            waiters: 0,
            reader: None,
            unarmed: false,
            end_noted: false,
            more: false,
            later: false,
            deaf: false,
            answering: 0,
            closing: false,
            unread: false,
            multiplexed: false,
            fresh: true,
            head_until: None,
            timed: false,
            fate: Fate::Open,
            dropped: 0,
        }
    }

    /// Takes in what has arrived.
    pub(super) fn take_in(&mut self, bytes: &[u8], place: &mut Place<'_>) -> Result<(), BoxError> {
        self.fresh = false;
        let mut input = bytes;
        while let Some(event) = self.decoder.decode(&mut input)? {
            let end = bytes.len() - input.len();
            self.note(event, end, place)?;
            if self.aside.len() > MOST_ASIDE {
                return Err("the peer asks for more and more and reads no answer".into());
            }
        }
        Ok(())
    }

    /// Takes in an event whose bytes end at `end` of the block.
    fn note(&mut self, event: Event<'_>, end: usize, place: &mut Place<'_>) -> Result<(), BoxError> {
        match event {
            Event::Begin { id, role, keep_conn } => self.begin(id, role, keep_conn, place),
            Event::Overloaded { id, .. } => {
                encode::end_request(&mut self.aside, id, 0, ProtocolStatus::OVERLOADED);
            }
            Event::GetValues(asked) => {
                self.multiplexed |= asked.mpxs_conns;
                encode::get_values_result(&mut self.aside, capabilities(place.settings, asked));
            }
            Event::UnknownManagement { record_type } => encode::unknown_type(&mut self.aside, record_type),
            Event::Params { id, data } => {
                if let Some(head) = self.head(id) {
                    match head.params.len() + data.len() <= place.settings.max_head_or_none() {
                        true => head.params.extend_from_slice(data),
                        false => head.too_large = true,
                    }
                }
                self.bound_heads(id, place);
            }
            Event::ParamsEnd { id } => {
                if let Some(head) = self.head(id) {
                    head.open(place)?;
                }
                self.start_if_ready(id, place);
            }
            Event::Stdin { id, data } => self.stdin(id, data, end, place)?,
            Event::StdinEnd { id } => {
                match self.head(id) {
                    Some(head) => head.stdin_ended = true,
                    None => self.live(id).map_or((), |feed| feed.stdin.ended = true),
                }
                self.start_if_ready(id, place);
            }
            Event::Data { id, data } => {
                if let Some(head) = self.head(id) {
                    head.data.keep(data, place.settings);
                } else if let Some(feed) = self.live(id) {
                    match Mine::of(&mut place.mine, feed.key, Which::Data) {
                        Some(ranges) => ranges.push((end - data.len(), end)),
                        None => feed.data.keep(data, place.settings),
                    }
                }
            }
            Event::DataEnd { id } => match self.head(id) {
                Some(head) => head.data.ended = true,
                None => self.live(id).map_or((), |feed| feed.data.ended = true),
            },
            Event::Abort { id } => self.abort(id),
        }
        Ok(())
    }

    fn begin(&mut self, id: u16, role: fcgi::Role, keep_conn: bool, place: &mut Place<'_>) {
        let role = match role {
            fcgi::Role::RESPONDER => Role::Responder,
            fcgi::Role::AUTHORIZER if place.settings.roles.authorizer => Role::Authorizer,
            fcgi::Role::FILTER if place.settings.roles.filter => Role::Filter,
            _ => {
                self.decoder.finish(id);
                self.closing |= !keep_conn;
                encode::end_request(&mut self.aside, id, 0, ProtocolStatus::UNKNOWN_ROLE);
                return;
            }
        };
        let most = limit(place.settings.max_requests_per_connection);
        if self.heads.len() + self.feeds.len() >= most {
            // The decoder does not count those that were aborted; their applications still run.
            self.decoder.finish(id);
            encode::end_request(&mut self.aside, id, 0, ProtocolStatus::OVERLOADED);
            return;
        }
        self.unread = false;
        self.multiplexed |= !(self.heads.is_empty() && self.feeds.is_empty());
        self.heads.push(Head {
            id,
            role,
            keep_conn,
            params: place.spares.take_bytes(),
            too_large: false,
            opened: None,
            gathered: place.spares.take_bytes(),
            stdin_ended: false,
            data: match role {
                Role::Filter => Inbound::default(),
                _ => Inbound { ended: true, ..Inbound::unwanted() },
            },
        });
    }

    /// Many heads at once may be larger than one, but not without end: the one that grows is refused.
    fn bound_heads(&mut self, id: u16, place: &mut Place<'_>) {
        let most = limit(
            place.settings.max_head.saturating_add(limit(place.settings.body_gather)).saturating_mul(4),
        );
        if self.heads.len() > 1 && self.heads.iter().map(Head::size).sum::<usize>() > most {
            self.drop_head(id);
            encode::end_request(&mut self.aside, id, 0, ProtocolStatus::OVERLOADED);
        }
    }

    fn stdin(&mut self, id: u16, data: &[u8], end: usize, place: &mut Place<'_>) -> Result<(), BoxError> {
        if let Some(head) = self.head(id) {
            if head.gathered.len() + data.len() > place.settings.body_gather.saturating_add(0xffff) {
                return Err("STDIN came before the end of PARAMS, more than is kept".into());
            }
            head.gathered.extend_from_slice(data);
            self.bound_heads(id, place);
            self.start_if_ready(id, place);
            return Ok(());
        }
        let Some(feed) = self.live(id) else { return Ok(()) };
        match Mine::of(&mut place.mine, feed.key, Which::Stdin) {
            Some(ranges) if feed.stdin.lost.is_none() => ranges.push((end - data.len(), end)),
            _ => feed.stdin.keep(data, place.settings),
        }
        Ok(())
    }

    fn start_if_ready(&mut self, id: u16, place: &mut Place<'_>) {
        let Some(index) = self.heads.iter().position(|head| head.id == id && head.may_start()) else {
            return;
        };
        let head = self.heads.swap_remove(index);
        let Some(opened) = head.opened else { return };
        let mut error = opened.error;
        if error.is_none() {
            error = check_body(head.gathered.len() as u64, place.settings).err();
        }
        let short = opened.length.is_some_and(|length| (head.gathered.len() as u64) < length);
        if error.is_none() && head.stdin_ended && short {
            error = Some(body_too_short(head.gathered.len()));
        }
        place.spares.give_bytes(head.params);
        let kept = if head.role == Role::Authorizer { Inbound::unwanted() } else { Inbound::default() };
        let stdin = Inbound { ended: head.stdin_ended, ..kept };
        let body_whole = head.stdin_ended && (head.role != Role::Filter || head.data.ended);
        self.serial += 1;
        let key = Key { id, serial: self.serial };
        if let (Some(mine), []) = (&mut place.mine, &place.ready[..]) {
            mine.key.get_or_insert(key);
        }
        self.feeds.push(Feed {
            key,
            keep_conn: head.keep_conn,
            aborted: false,
            stdin,
            data: head.data,
            bell: None,
        });
        place.ready.push(Request {
            key,
            role: head.role,
            vars: opened.vars,
            error,
            gathered: head.gathered,
            body_whole,
            keep_conn: head.keep_conn,
            put_aside: false,
        });
    }

    /// Answers ABORT_REQUEST at once, whatever the application still does.
    fn abort(&mut self, id: u16) {
        if self.heads.iter().any(|head| head.id == id) {
            self.drop_head(id);
        } else if let Some(feed) = self.live(id) {
            feed.aborted = true;
            self.decoder.finish(id);
        } else {
            // It crossed the end that was sent already.
            return;
        }
        encode::end_request(&mut self.aside, id, 0, ProtocolStatus::REQUEST_COMPLETE);
    }

    /// A request is over before it has started.
    fn drop_head(&mut self, id: u16) {
        if let Some(index) = self.heads.iter().position(|head| head.id == id) {
            self.closing |= !self.heads.swap_remove(index).keep_conn;
        }
        self.decoder.finish(id);
    }

    fn head(&mut self, id: u16) -> Option<&mut Head> {
        self.heads.iter_mut().find(|head| head.id == id)
    }

    /// The started request that the web server means by `id`.
    fn live(&mut self, id: u16) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.key.id == id && !feed.aborted)
    }

    pub(super) fn feed(&mut self, key: Key) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.key == key)
    }

    /// Whether the web server gave the request up, by ABORT_REQUEST or with the whole connection.
    pub(super) fn is_aborted(&self, key: Key) -> bool {
        self.feeds.iter().find(|feed| feed.key == key).is_none_or(|feed| feed.aborted)
    }

    /// The request's END_REQUEST is on its way: its id may be used again, and what still comes for it is ignored.
    pub(super) fn finish(&mut self, key: Key) {
        self.forget(key);
        self.answering += 1;
    }

    /// The last record of a request was written.
    pub(super) fn answered(&mut self) {
        self.answering = self.answering.saturating_sub(1);
    }

    /// A request is over. Says whether the web server had given it up.
    pub(super) fn forget(&mut self, key: Key) -> bool {
        let Some(index) = self.feeds.iter().position(|feed| feed.key == key) else { return true };
        let feed = self.feeds.swap_remove(index);
        self.reader = self.reader.filter(|reader| *reader != key);
        if !feed.aborted {
            self.decoder.finish(key.id);
        }
        self.closing |= !feed.keep_conn;
        self.unread |= !feed.stdin.ended || !feed.data.ended;
        feed.aborted
    }

    /// The peer sends no more.
    pub(super) fn end_of_input(&mut self) -> Result<(), BoxError> {
        let end = self.decoder.end_of_input();
        self.break_off();
        self.unread = false;
        match end? {
            EndOfInput::Clean | EndOfInput::Live => Ok(()),
        }
    }

    /// Nothing more is read: requests that have not started never will.
    pub(super) fn break_off(&mut self) {
        (self.deaf, self.closing, self.unread) = (true, true, true);
        for head in std::mem::take(&mut self.heads) {
            self.decoder.finish(head.id);
        }
    }

    /// Whether so much waits to be read by an application that the peer had better wait, too.
    pub(super) fn is_full(&self) -> bool {
        let [feed] = &self.feeds[..] else { return false };
        let waits = feed.stdin.kept.len().saturating_add(feed.data.kept.len());
        // With the next block, and the application's.
        !self.multiplexed && self.heads.is_empty() && waits.saturating_add(2 * BLOCK as u64) > KEPT as u64
    }

    /// Leaves the reading to this request's application, where nobody else has anything to wait for, until
    /// [`take_reading`](Self::take_reading). `false` where others should hear of input as before.
    pub(super) fn leave_reading(&mut self, key: Key) -> bool {
        let alone = match &self.feeds[..] {
            [feed] if feed.key == key => !feed.aborted && !feed.stdin.ended && feed.stdin.lost.is_none(),
            _ => false,
        };
        let left = alone && !self.multiplexed && !self.deaf && self.heads.is_empty();
        self.reader = left.then_some(key);
        left
    }

    /// Whoever hears of input reads it again.
    pub(super) fn take_reading(&mut self) {
        self.reader = None;
    }

    /// Something happened, and another one reads: perhaps not all of it.
    pub(super) fn pass_by(&mut self) {
        (self.more, self.unarmed) = (true, true);
    }

    /// An event has said whether the peer sends no more: that is somewhere behind what is there to read.
    pub(super) fn note_end(&mut self, ended: bool) {
        self.end_noted |= ended;
    }

    /// A read has taken all there is, or the next one will before anything else is done.
    pub(super) fn note_drained(&mut self) {
        self.more = self.end_noted;
    }

    /// Whether the reading is left to an application.
    pub(super) fn is_left(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether what comes is read by an application.
    pub(super) fn is_read(&self) -> bool {
        self.poller || self.is_left()
    }

    /// Whether nothing but the end is to come: what the peer still sends is for nobody.
    pub(super) fn is_ending(&self) -> bool {
        self.closing && self.feeds.is_empty()
    }

    /// Whether a byte of the next request, or of any record, is here.
    fn has_begun(&self) -> bool {
        !self.heads.is_empty() || !self.is_between_records()
    }

    fn is_between_records(&self) -> bool {
        self.decoder.end_of_input().is_ok()
    }

    pub(super) fn is_between_requests(&self) -> bool {
        self.feeds.is_empty() && self.answering == 0 && !self.has_begun()
    }

    /// Whether the connection could be closed without harm to any request.
    pub(super) fn is_idle(&self) -> bool {
        self.is_between_requests() && self.aside.is_empty()
    }

    /// How the connection ends now; `None` while it goes on.
    pub(super) fn ends(&self, link: &Link, has_rest: bool) -> Option<Fate> {
        if !self.feeds.is_empty() || self.answering > 0 || has_rest || !self.aside.is_empty() {
            return None;
        }
        if self.closing {
            let clean = !self.unread && !self.more && self.heads.is_empty() && self.is_between_records();
            return Some(if clean { Fate::Closed } else { Fate::Lingering });
        }
        let unwanted = link.is_evicted() || (link.core.is_draining() && !self.fresh);
        let fate = if self.unread { Fate::Lingering } else { Fate::Closed };
        (unwanted && !self.has_begun()).then_some(fate)
    }

    /// Tells the connection until when the peer has to go on, where it has to.
    pub(super) fn note_deadline(&mut self, link: &Link) {
        let deadline = self.deadline(link);
        self.timed = deadline.is_some();
        link.set_deadline(Wait::Parked, deadline);
    }

    /// The same for who reads for one request, and mostly has nothing to tell.
    pub(super) fn note_deadline_of_others(&mut self, link: &Link) {
        if self.timed || !self.heads.is_empty() {
            self.note_deadline(link);
        }
    }

    fn deadline(&mut self, link: &Link) -> Option<Millis> {
        let (clock, settings) = (&link.core.clock, &link.core.settings);
        // A record that has begun beside a request is mostly one of its body.
        let begins = self.heads.is_empty() && self.feeds.is_empty() && !self.is_between_records();
        if !begins && self.heads.iter().all(|head| head.opened.is_some()) {
            self.head_until = None;
        } else if self.head_until.is_none() {
            self.head_until = clock.after(settings.head_timeout);
        }
        if self.head_until.is_some() {
            return self.head_until;
        }
        if !self.heads.is_empty() {
            return clock.after(settings.body_timeout);
        }
        match (self.feeds.is_empty(), self.fresh && link.core.is_draining()) {
            (true, true) => clock.after(super::super::FIRST),
            (true, false) => clock.after(settings.idle_timeout),
            (false, _) => None,
        }
    }
}

impl Head {
    /// The parameters are whole: makes variables of them.
    fn open(&mut self, place: &mut Place<'_>) -> Result<(), BoxError> {
        let settings = place.settings;
        let mut opened = Opened { vars: place.spares.take_vars(), error: None, length: None, enough: 0 };
        match read_params(&mut self.params, self.too_large, &mut opened.vars, settings) {
            Ok(length) => {
                opened.length = length;
                opened.enough = match length.map(usize::try_from) {
                    // What comes behind its length is never kept.
                    Some(Ok(length)) if length <= settings.body_gather => length + 1,
                    Some(_) => 0,
                    None => settings.body_gather.max(1),
                };
            }
            Err(Refused::Protocol(error)) => return Err(error),
            Err(Refused::Request(error)) => opened.error = Some(error),
        }
        if self.role == Role::Authorizer {
            // It gets no body; the length that a web server may tell is that of the responder's.
            opened.vars.remove("CONTENT_LENGTH");
            opened.length = None;
            self.gathered.clear();
        }
        self.opened = Some(opened);
        Ok(())
    }
}

/// A limit of 0 is none.
fn limit(value: usize) -> usize {
    if value == 0 { usize::MAX } else { value }
}

/// What GET_VALUES is told.
fn capabilities(settings: &Settings, asked: Names) -> Values {
    let number = |count: usize| Some(u32::try_from(limit(count)).unwrap_or(u32::MAX));
    let (connections, requests) =
        (number(settings.max_connections), number(settings.max_requests_per_connection));
    let most = connections.max(requests);
    Values {
        max_conns: connections,
        max_reqs: most,
        mpxs_conns: Some(settings.max_requests_per_connection != 1),
    }
    .only(asked)
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

/// Turns PARAMS into variables, which take its memory over; the result is the body's length where it is known.
fn read_params(
    params: &mut Vec<u8>,
    too_large: bool,
    vars: &mut Vars,
    settings: &Settings,
) -> Result<Option<u64>, Refused> {
    if too_large {
        set_line(vars, Pairs::new(params).filter_map(Result::ok));
        let message = format!(
            "the parameters are larger than the {} bytes that are allowed",
            settings.max_head_or_none()
        );
        return Err(Error::new(Fault::Peer, 431, message).into());
    }
    collect_pairs(vars, params, settings.max_pairs_or_none(), &mut Params)?;
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

/// The names and values of PARAMS, each pair behind its lengths.
struct Params;

impl Format for Params {
    type Error = Refused;

    #[inline]
    fn next(params: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Refused>> {
        // A pair past the end of PARAMS: the peer and we disagree about the bytes themselves.
        Some(pair_at(params, at)?.map_err(|error| Refused::Protocol(error.into())))
    }

    #[inline(always)]
    fn named(params: &[u8], at: usize, name: &[u8]) -> Option<NamedPair> {
        pair_named(params, at, name)
    }
}
