//! Our reader of requests against hyper's: what both accept means the same to both. Smuggling lives where two readers
//! differ, and hyper's users are many.
//!
//! Requests are made at random, the same ones at each run: lines near the border of what is allowed, several requests
//! behind each other, and a few bytes changed. That we refuse more is meant so; what we accept and hyper refuses has a
//! reason in [`LAXER`], or fails the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::executor::block_on;
use gatewright::proto::http::{BodyDecoder, HeadDecoder, Limits, Request, Target};
use hyper::body::{Body, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use crate::random::Random;

/// What a reader made of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    authority: Option<String>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    version: &'static str,
    /// Names in lower case. hyper gives those of one name together.
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// `None` where the body was refused, or never came to its end.
    body: Option<Vec<u8>>,
}

/// What we accept and hyper refuses, and why that is right.
///
/// - A path with `<`, `>` or a backquote, a query with `"`, `<` or `>`: no URL has them, hyper takes none. Browsers
///   and scripts send some of them, web servers of all kinds pass them on, wsgiref does, and no reader could see in them
///   the end of anything.
const LAXER: &[fn(&Seen, &str) -> bool] = &[|seen, hypers_end| {
    let odd = |text: &[u8], odd: &[u8]| text.iter().any(|byte| odd.contains(byte));
    let query = seen.query.as_deref().unwrap_or_default();
    hypers_end.contains("Parse(Uri)") && (odd(&seen.path, ODD_IN_PATHS) || odd(query, ODD_IN_QUERIES))
}];
const ODD_IN_PATHS: &[u8] = b"<>`";
const ODD_IN_QUERIES: &[u8] = b"\"<>";

/// Our reading of a connection's bytes.
fn ours(wire: &[u8]) -> Vec<Seen> {
    let limits = Limits::default();
    let (mut seen, mut input) = (Vec::new(), wire);
    loop {
        let mut head = Vec::new();
        if !matches!(HeadDecoder::new(limits).decode(&mut input, &mut head), Ok(true)) {
            return seen;
        }
        let Ok(request) = Request::parse(&head, &limits) else { return seen };
        let mut decoder = BodyDecoder::new(request.framing, u64::MAX).expect("no limit");
        let mut body = Vec::new();
        let failed = loop {
            match decoder.decode(&mut input) {
                Ok(Some(data)) => body.extend_from_slice(data),
                Ok(None) => break !decoder.is_whole(),
                Err(_) => break true,
            }
        };
        let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in request.fields() {
            fields.entry(text(name).to_ascii_lowercase()).or_default().push(value.to_vec());
        }
        let asterisk = request.target == Target::Asterisk;
        seen.push(Seen {
            method: text(request.method),
            authority: request.target.authority().map(|authority| text(authority.whole)),
            path: if asterisk { b"*".to_vec() } else { request.target.path().to_vec() },
            query: request.target.query().map(<[u8]>::to_vec),
            version: request.version.as_str(),
            fields,
            body: (!failed).then_some(body),
        });
        if failed || !request.keep_alive {
            return seen;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// hyper's reading of them, and how it ended.
fn hypers(wire: &[u8]) -> (Vec<Seen>, String) {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(async |request: hyper::Request<Incoming>| {
        let (head, mut body) = request.into_parts();
        let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in &head.headers {
            fields.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
        }
        seen.borrow_mut().push(Seen {
            method: head.method.to_string(),
            authority: head.uri.authority().map(ToString::to_string),
            path: head.uri.path().as_bytes().to_vec(),
            query: head.uri.query().map(|query| query.as_bytes().to_vec()),
            version: if head.version == hyper::Version::HTTP_11 { "HTTP/1.1" } else { "HTTP/1.0" },
            fields,
            body: None,
        });
        let mut whole = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => whole.extend_from_slice(&data),
                Ok(Err(_trailers)) => {}
                Err(_) => return Ok::<_, Infallible>(hyper::Response::new(String::new())),
            }
        }
        if let Some(last) = seen.borrow_mut().last_mut() {
            last.body = Some(whole);
        }
        Ok(hyper::Response::new(String::new()))
    });
    let served = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(Memory(wire.to_vec(), 0), service);
    let end = block_on(served).map_or_else(|error| format!("{error:?}"), |()| "a clean end".to_owned());
    (seen.into_inner(), end)
}

/// A connection whose other end has sent all it will, and does not read.
struct Memory(Vec<u8>, usize);

impl hyper::rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.0[self.1..];
        let now = &left[..left.len().min(into.remaining())];
        into.put_slice(now);
        self.1 += now.len();
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This many requests were the same to both.
    Same(usize),
    /// We accept what hyper refuses, with a reason.
    Laxer,
}

fn compare(wire: &[u8]) -> Result<Verdict, String> {
    let (ours, (hypers, end)) = (ours(wire), hypers(wire));
    let shown = || wire.escape_ascii();
    for (at, own) in ours.iter().enumerate() {
        let Some(theirs) = hypers.get(at) else {
            return excuse(own, &end)
                .ok_or_else(|| format!("hyper refuses request {at} ({end}): {own:?}\n{}", shown()));
        };
        let heads_agree = Seen { body: None, ..own.clone() } == Seen { body: None, ..theirs.clone() };
        if !heads_agree {
            return Err(format!("request {at} differs: {own:?}\n{theirs:?}\n{}", shown()));
        }
        match (&own.body, &theirs.body) {
            (Some(own), Some(theirs)) if own == theirs => {}
            (None, _) => return Ok(Verdict::Same(at)),
            (Some(_), None) => {
                let failed =
                    || format!("hyper refuses the body of request {at} ({end}): {own:?}\n{}", shown());
                return excuse(own, &end).ok_or_else(failed);
            }
            _ => return Err(format!("the body of request {at} differs: {own:?}\n{theirs:?}\n{}", shown())),
        }
    }
    Ok(Verdict::Same(ours.len()))
}

fn excuse(seen: &Seen, hypers_end: &str) -> Option<Verdict> {
    LAXER.iter().any(|applies| applies(seen, hypers_end)).then_some(Verdict::Laxer)
}

/// Random requests near the border.
struct Maker(Random);

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Mostly the first, now and then one of the others.
    fn mostly<'a>(&mut self, usual: &'a str, others: &[&'a str]) -> &'a str {
        if self.below(5) > 0 { usual } else { self.one(others) }
    }

    fn connection(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        for _ in 0..=self.below(3) {
            self.request(&mut wire);
        }
        for _ in 0..self.below(4).saturating_sub(1) {
            self.mutate(&mut wire);
        }
        wire
    }

    fn request(&mut self, wire: &mut Vec<u8>) {
        let method = self.mostly("GET", &["POST", "HEAD", "OPTIONS", "get", "X!", "CONNECT", "PRI"]);
        let target = self.mostly("/a?b=c", TARGETS);
        let version = self.mostly("HTTP/1.1", &["HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1"]);
        let end = self.mostly("\r\n", &["\r\n", "\r\n", "\r\n", "\n", "\r\r\n"]);
        wire.extend_from_slice(format!("{method} {target} {version}{end}").as_bytes());
        if self.below(10) > 0 {
            wire.extend_from_slice(b"Host: h\r\n");
        }
        for _ in 0..self.below(4) {
            let line = self.mostly("X: 1", LINES);
            let end = self.mostly("\r\n", &["\r\n", "\r\n", "\r\n", "\n", " \r\n"]);
            wire.extend_from_slice(format!("{line}{end}").as_bytes());
        }
        let (framing, body) = self.one_body();
        wire.extend_from_slice(framing.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&body);
    }

    fn one_body(&mut self) -> (&'static str, Vec<u8>) {
        match self.below(5) {
            0 => ("Content-Length: 5\r\n", b"hello".to_vec()),
            1 | 2 => {
                let mut body = Vec::new();
                for _ in 0..self.below(3) {
                    body.extend_from_slice(self.mostly("5\r\nhello\r\n", CHUNKS).as_bytes());
                }
                body.extend_from_slice(self.mostly("0\r\n\r\n", ENDS).as_bytes());
                ("Transfer-Encoding: chunked\r\n", body)
            }
            _ => ("", Vec::new()),
        }
    }

    fn mutate(&mut self, wire: &mut Vec<u8>) {
        const BYTES: &[u8] = b"\r\n\0 \t:;,\x7f\x80\xff0123456789abcdefxX_-/#?*%\"\\HTP.1";
        let at = self.below(wire.len());
        let byte = BYTES[self.below(BYTES.len())];
        match self.below(4) {
            0 => wire.insert(at, byte),
            1 => drop(wire.remove(at)),
            2 => wire[at] = byte,
            _ => {
                let again = wire[at];
                wire.insert(at, again);
            }
        }
        if wire.is_empty() {
            wire.push(byte);
        }
    }
}

const TARGETS: &[&str] = &[
    "/",
    "*",
    "//",
    "/%00",
    "/a#b",
    "http://h/",
    "http://h",
    "http://h:80/x?y",
    "https://[::1]/",
    "http://u@h/",
    "h:1",
    "http://h:/",
    "/caf\u{e9}",
    "/?",
    "?",
    "/a b",
    "/..;/",
    "/%zz",
    "/a|b",
    "/\"",
    "/<>",
    "/^`{}\\",
    "ftp://h/",
    "/~!$&'()*+,;=:@",
    "http:///",
    "http://h?x",
    "HTTP://H/",
    "/a?b?c",
    "/a??",
    "http://a_b/",
];

const LINES: &[&str] = &[
    "Host: h",
    "Host:",
    "Host: h:80",
    "host: a, b",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x, close",
    "Connection: Keep-Alive, Close",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 3",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 05",
    "Content-Length:",
    "Content-Length: 18446744073709551616",
    "Content-Length : 5",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding:",
    "Transfer-Encoding: \tchunked",
    "Transfer-Encoding : chunked",
    "Transfer_Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "TE: trailers",
    "X: 1",
    "x: 2",
    "X:",
    "X: \t ",
    "X: a\tb",
    "X: caf\u{e9}",
    "X: \"q\"",
    ": 1",
    "X",
    " X: folded",
    "\tX: folded",
    "X Y: 1",
    "X\0: 1",
    "X: a\0b",
    "X: a\rb",
    "Cookie: a=1",
    "Cookie: b=2",
    "X-Y_Z.!: 1",
    "\u{e9}: 1",
    "Trailer: X",
];

const CHUNKS: &[&str] = &[
    "5\r\nhello\r\n",
    "1\r\nx\r\n",
    "a\r\n0123456789\r\n",
    "A\r\n0123456789\r\n",
    "005\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5;\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "5 ;a\r\nhello\r\n",
    "5;a=\"b;c\"\r\nhello\r\n",
    "5\nhello\r\n",
    "5\r\nhello\n",
    "5\r\nhelloX\r\n",
    "0x5\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "-1\r\n",
    "fffffffffffffffff\r\n",
    "00000000000000005\r\nhello\r\n",
    "5\r\nhell",
    "5;\u{e9}\r\nhello\r\n",
    "5;a\tb\r\nhello\r\n",
    "5;a\x01\r\nhello\r\n",
    "5\t\r\nhello\r\n",
    "2\r\n\r\n\r\n",
];

const ENDS: &[&str] = &[
    "0\r\n\r\n",
    "0\r\nX: 1\r\n\r\n",
    "0;a\r\n\r\n",
    "00\r\n\r\n",
    "0\r\nX: 1\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\n X: 1\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\n\n",
    "0\r\n",
    "0\r\n\n",
    "0 \r\n\r\n",
    "0\r\nX : 1\r\n\r\n",
    "0\r\nX:1\r\nY:2\r\n\r\n",
    "0\r\nX: \0\r\n\r\n",
];

/// So many connections for each seed.
const CONNECTIONS: usize = 20_000;

#[test]
fn what_both_accept_means_the_same_to_both() {
    // A longer search: DIFFERENTIAL_SEEDS=100.
    let seeds = std::env::var("DIFFERENTIAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    let (mut same, mut laxer, mut failures) = (0, 0, Vec::new());
    for seed in 1..=seeds {
        let mut maker = Maker(Random(seed * 7919));
        for _ in 0..CONNECTIONS {
            match compare(&maker.connection()) {
                Ok(Verdict::Same(count)) => same += count,
                Ok(Verdict::Laxer) => laxer += 1,
                Err(failure) => failures.push(failure),
            }
        }
    }
    println!("{same} requests were the same to both, {laxer} are accepted here alone");
    let shown: Vec<&str> = failures.iter().map(String::as_str).take(5).collect();
    assert!(failures.is_empty(), "{} differ, for example:\n{}", failures.len(), shown.join("\n\n"));
    assert!(same > CONNECTIONS / 4 && laxer > 0, "too few to tell: {same}, {laxer}");
}

/// The list of what hyper does not take is exact.
#[test]
fn odd_characters_in_targets_are_refused_by_hyper_alone() {
    let refused = |before: &str| {
        let odd = |byte: &u8| {
            let target = [b"GET ", before.as_bytes(), &[*byte], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
            *byte != b'#' && compare(&target) == Ok(Verdict::Laxer)
        };
        (b'!'..=b'~').filter(odd).collect::<Vec<u8>>()
    };
    assert_eq!((refused("/"), refused("/?")), (ODD_IN_PATHS.to_vec(), ODD_IN_QUERIES.to_vec()));
}

/// The comparison itself tells differences.
#[test]
fn a_difference_is_seen() {
    let wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(compare(wire), Ok(Verdict::Same(1)));
    let own = ours(wire);
    assert_eq!(own, hypers(wire).0);
    assert_ne!(own, hypers(&wire.map(|byte| if byte == b'2' { b'1' } else { byte })).0);
}
