//! One connection, and what a peer does on it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gatewright::proto::fcgi::{ProtocolStatus, ResponseDecoder, ResponseEvent, encode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::load::{End, Load};
use crate::random::Random;
use crate::servers::client::PATIENCE;
use crate::wire::{Request, stdin_records};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection for each request.
    New,
    /// One request after the other.
    Kept,
    /// Up to eight at once, record by record in turns.
    Multiplexed,
    /// Some are given up by ABORT_REQUEST.
    Aborting,
    /// Gone at some moment.
    Leaving,
    /// Sends small pieces, and reads small ones.
    Slow,
}

impl Kind {
    pub(super) const ALL: [Kind; 6] =
        [Kind::New, Kind::Kept, Kind::Multiplexed, Kind::Aborting, Kind::Leaving, Kind::Slow];
}

/// A request, as far as it has come.
struct Exchange {
    id: u16,
    asks: Asks,
    /// What is still to be sent, record by record.
    records: VecDeque<Vec<u8>>,
    /// When its first byte had been sent.
    begun: Option<Instant>,
    /// It is given up when so few records are left.
    abort_at: Option<usize>,
    aborted: bool,
    answer: Vec<u8>,
    first: bool,
}

/// What the workbench is asked for.
#[derive(Clone)]
enum Asks {
    Echo(Vec<u8>),
    Stream(Vec<u8>),
    Big(usize),
    Fail,
}

impl Asks {
    fn any(random: &mut Random) -> Self {
        let size = |random: &mut Random| match random.below(20) {
            0 => random.below(1 << 20),
            1..5 => random.below(100_000),
            5 => 65_535 + random.below(3),
            _ => random.below(2000),
        };
        let body = |random: &mut Random| {
            let (size, from) = (size(random), random.below(251));
            (from..from + size).map(|at| (at % 251) as u8).collect()
        };
        match random.below(16) {
            0..8 => Asks::Echo(body(random)),
            8..11 => Asks::Stream(body(random)),
            11..15 => Asks::Big(size(random)),
            _ => Asks::Fail,
        }
    }

    fn records(&self, id: u16, keep_conn: bool, random: &mut Random) -> VecDeque<Vec<u8>> {
        let none = Vec::new();
        let (path, query, body) = match self {
            Asks::Echo(body) => ("/echo", String::new(), body),
            Asks::Stream(body) => ("/stream", String::new(), body),
            Asks::Big(bytes) => ("/big", format!("bytes={bytes}"), &none),
            Asks::Fail => ("/fail-before", String::new(), &none),
        };
        let length = body.len().to_string();
        let mut params =
            vec![("REQUEST_METHOD", "POST"), ("PATH_INFO", path), ("QUERY_STRING", query.as_str())];
        // Without a length the body ends where STDIN does.
        if random.below(4) > 0 {
            params.push(("CONTENT_LENGTH", length.as_str()));
        }
        let mut records = VecDeque::from([Request { id, keep_conn, ..Request::new(&params, b"") }.head()]);
        let mut length = || {
            let most = [16_384, 65_535, 3000][random.below(3)];
            1 + random.below(most)
        };
        records.extend(stdin_records(id, body, &mut length));
        records
    }

    /// Whether the whole answer is what was asked for.
    fn is_answered_by(&self, answer: &[u8]) -> bool {
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let (head, body) = answer.split_at(head + 4);
        match self {
            Asks::Fail => head.starts_with(b"Status: 500 "),
            _ if !head.starts_with(b"Status: 200 OK\r\n") => false,
            Asks::Echo(sent) | Asks::Stream(sent) => body == sent,
            Asks::Big(bytes) => {
                let lines = body.chunks(16).enumerate();
                let right = |(line, text): (usize, &[u8])| {
                    format!("{:015x}\n", 16 * line).as_bytes().starts_with(text)
                };
                body.len() == *bytes && lines.into_iter().all(right)
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Asks::Echo(body) | Asks::Stream(body) => 2 * body.len(),
            Asks::Big(bytes) => *bytes,
            Asks::Fail => 0,
        }
    }
}

/// Asks on one connection; what was turned away, on others.
pub(super) fn ask(load: &Load, kind: Kind, random: &mut Random) -> Result<(), String> {
    let total = match kind {
        Kind::New => 1,
        Kind::Slow => 1 + random.below(3),
        _ => 1 + random.below(60),
    };
    let mut again: VecDeque<Asks> = (0..total).map(|_| Asks::any(random)).collect();
    let mut kind = kind;
    loop {
        Peer::connect(load, kind)?.converse(&mut again, random)?;
        if again.is_empty() {
            return Ok(());
        }
        // Alone and first on its connection each must be answered.
        kind = Kind::New;
    }
}

struct Peer<'l> {
    load: &'l Load,
    kind: Kind,
    stream: UnixStream,
    connected: Instant,
    decoder: ResponseDecoder,
    live: Vec<Exchange>,
    /// What is being sent, and how far it is.
    out: Vec<u8>,
    sent: usize,
    /// To which of `live` it belongs, by its id, as long as that has not begun.
    beginning: Option<u16>,
    begun: usize,
    /// Some request's first record was sent, which need not be that of the first one.
    has_asked: bool,
}

/// How a connection ended.
enum Over {
    Done,
    Left,
    ByGateway(String),
}

impl<'l> Peer<'l> {
    fn connect(load: &'l Load, kind: Kind) -> Result<Self, String> {
        let stream = UnixStream::connect(&load.socket).map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok(Self {
            load,
            kind,
            stream,
            connected: Instant::now(),
            decoder: ResponseDecoder::new(),
            live: Vec::new(),
            out: Vec::new(),
            sent: 0,
            beginning: None,
            begun: 0,
            has_asked: false,
        })
    }

    /// Asks for all that `wanted` holds; what is left in it, or was turned away, is there in the end.
    fn converse(mut self, wanted: &mut VecDeque<Asks>, random: &mut Random) -> Result<(), String> {
        match self.go_on(wanted, random)? {
            Over::Done => Ok(()),
            Over::Left => {
                for _ in self.live.iter().filter(|exchange| exchange.begun.is_some()) {
                    self.load.count(End::Left, 0);
                }
                wanted.clear();
                Ok(())
            }
            Over::ByGateway(why) => {
                for exchange in std::mem::take(&mut self.live) {
                    self.judge(exchange, &why, wanted)?;
                }
                Ok(())
            }
        }
    }

    /// The gateway has ended the connection with this request open.
    fn judge(&self, exchange: Exchange, why: &str, wanted: &mut VecDeque<Asks>) -> Result<(), String> {
        let Some(begun) = exchange.begun else {
            wanted.push_back(exchange.asks);
            return Ok(());
        };
        if exchange.aborted {
            self.load.count(End::Aborted, 0);
            return Ok(());
        }
        // A gateway that ends waits for the first byte of a new connection, but not for long.
        let hesitated = exchange.first && begun - self.connected > Duration::from_millis(400);
        let may_be = exchange.answer.is_empty() && (!exchange.first || hesitated);
        if may_be && self.load.was_draining(begun) {
            self.load.count(End::TurnedAway, 0);
            wanted.push_back(exchange.asks);
            return Ok(());
        }
        Err(format!(
            "{why}, with request {} of {} on this connection open: {} bytes of an answer, {} records unsent, first: {}, \
             draining: {}",
            exchange.id,
            self.begun,
            exchange.answer.len(),
            exchange.records.len(),
            exchange.first,
            self.load.was_draining(begun),
        ))
    }

    fn go_on(&mut self, wanted: &mut VecDeque<Asks>, random: &mut Random) -> Result<Over, String> {
        let at_once = match self.kind {
            Kind::Multiplexed => 8,
            Kind::Aborting | Kind::Leaving => 1 + random.below(4),
            _ => 1,
        };
        let mut steps_left = match self.kind {
            Kind::Leaving => random.below(200),
            _ => usize::MAX,
        };
        loop {
            self.begin(at_once, wanted, random);
            if self.live.is_empty() {
                return Ok(Over::Done);
            }
            if steps_left == 0 {
                return Ok(self.leave(random));
            }
            steps_left -= 1;
            if self.kind == Kind::Slow && random.below(4) == 0 {
                std::thread::park_timeout(Duration::from_millis(random.below(40) as u64));
            }
            self.fill_out(random);
            self.wait()?;
            if let Err(error) = self.send(random) {
                // What the gateway has answered before is still to be read.
                let why = self.receive_all().unwrap_or_else(|failure| failure);
                return Ok(Over::ByGateway(format!("sending: {error}, then {why}")));
            }
            if let Some(why) = self.receive(random)? {
                return Ok(Over::ByGateway(why));
            }
        }
    }

    /// Leaves the gateway alone: at once, or by ending to send first.
    fn leave(&self, random: &mut Random) -> Over {
        if random.below(3) == 0 {
            let _ = self.stream.shutdown(Shutdown::Write);
            std::thread::park_timeout(Duration::from_millis(random.below(10) as u64));
        }
        Over::Left
    }

    fn begin(&mut self, at_once: usize, wanted: &mut VecDeque<Asks>, random: &mut Random) {
        while self.live.len() < at_once && (self.begun == 0 || self.kind != Kind::New) {
            // Calm is wanted: what has not begun is asked another time.
            if self.begun > 0 && self.load.is_held() {
                wanted.clear();
            }
            let Some(asks) = wanted.pop_front() else { return };
            let id = (1..).find(|id| self.live.iter().all(|other| other.id != *id)).unwrap_or(1);
            let keep_conn = self.kind != Kind::New || random.below(4) == 0;
            let records = asks.records(id, keep_conn, random);
            let aborts = self.kind == Kind::Aborting && random.below(3) == 0;
            let abort_at = aborts.then(|| random.below(records.len() + 1));
            self.begun += 1;
            self.live.push(Exchange {
                id,
                asks,
                records,
                begun: None,
                abort_at,
                aborted: false,
                answer: Vec::new(),
                first: false,
            });
        }
    }

    /// The next record to send, of whichever request.
    fn fill_out(&mut self, random: &mut Random) {
        if self.sent < self.out.len() {
            return;
        }
        self.out.clear();
        self.sent = 0;
        let from = random.below(self.live.len());
        for index in 0..self.live.len() {
            let index = (from + index) % self.live.len();
            let exchange = &mut self.live[index];
            if exchange.abort_at == Some(exchange.records.len()) && exchange.begun.is_some() {
                exchange.records.clear();
                (exchange.abort_at, exchange.aborted) = (None, true);
                encode::abort_request(&mut self.out, exchange.id);
                return;
            }
            if let Some(record) = exchange.records.pop_front() {
                self.out = record;
                self.beginning = exchange.begun.is_none().then_some(exchange.id);
                return;
            }
        }
    }

    fn wait(&self) -> Result<(), String> {
        let mut flags = PollFlags::POLLIN;
        if self.sent < self.out.len() {
            flags |= PollFlags::POLLOUT;
        }
        let most = PollTimeout::try_from(PATIENCE).expect("a short time");
        match poll(&mut [PollFd::new(self.stream.as_fd(), flags)], most) {
            Ok(0) => {
                let open: Vec<_> =
                    self.live.iter().map(|one| (one.id, one.answer.len(), one.records.len())).collect();
                Err(format!("nothing comes: {open:?} (id, bytes answered, records unsent)"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn send(&mut self, random: &mut Random) -> io::Result<()> {
        let rest = &self.out[self.sent..];
        if rest.is_empty() {
            return Ok(());
        }
        let most = if self.kind == Kind::Slow { 1 + random.below(8000) } else { rest.len() };
        match self.stream.write(&rest[..most.min(rest.len())]) {
            Ok(count) => {
                self.sent += count;
                if let Some(id) = self.beginning.take()
                    && let Some(exchange) = self.live.iter_mut().find(|exchange| exchange.id == id)
                {
                    exchange.begun = Some(Instant::now());
                    exchange.first = !std::mem::replace(&mut self.has_asked, true);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads what is there; says how the connection has ended, if it has.
    fn receive(&mut self, random: &mut Random) -> Result<Option<String>, String> {
        let mut block = [0; 65_536];
        let most = if self.kind == Kind::Slow { 1 + random.below(20_000) } else { block.len() };
        match self.stream.read(&mut block[..most]) {
            Ok(0) => {
                self.decoder.end_of_input().map_err(|error| format!("the end: {error}"))?;
                Ok(Some("the end".to_owned()))
            }
            Ok(count) => {
                self.take_in(&block[..count])?;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Ok(Some(format!("receiving: {error}"))),
        }
    }

    fn receive_all(&mut self) -> Result<String, String> {
        loop {
            self.wait()?;
            if let Some(why) = self.receive(&mut Random(1))? {
                return Ok(why);
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut input = bytes;
        let mut over = Vec::new();
        while let Some(event) = self.decoder.decode(&mut input).map_err(|error| error.to_string())? {
            let id = match event {
                ResponseEvent::Stdout { id, .. }
                | ResponseEvent::Stderr { id, .. }
                | ResponseEvent::EndRequest { id, .. } => id,
                _ => continue,
            };
            let Some(index) = self.live.iter().position(|exchange| exchange.id == id) else {
                return Err(format!("a record for request {id}, which is none: {event:?}"));
            };
            match event {
                ResponseEvent::Stdout { data, .. } => self.live[index].answer.extend_from_slice(data),
                ResponseEvent::EndRequest { protocol_status, .. } => {
                    over.push((self.live.swap_remove(index), protocol_status));
                }
                _ => {}
            }
        }
        over.into_iter().try_for_each(|(exchange, status)| self.check(&exchange, status))
    }

    fn check(&self, exchange: &Exchange, status: ProtocolStatus) -> Result<(), String> {
        if status != ProtocolStatus::REQUEST_COMPLETE {
            return Err(format!("request {} ended with {status:?}", exchange.id));
        }
        if exchange.aborted {
            self.load.count(End::Aborted, 0);
        } else if exchange.asks.is_answered_by(&exchange.answer) {
            self.load.count(End::Answered, exchange.asks.size());
        } else {
            let start = exchange.answer[..exchange.answer.len().min(200)].escape_ascii();
            return Err(format!("request {}: {} bytes: {start}", exchange.id, exchange.answer.len()));
        }
        Ok(())
    }
}
