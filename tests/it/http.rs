//! The HTTP server against raw clients.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::Environ;
use gatewright::proto::http::{BodyDecoder, Framing};
use gatewright::server::{Protocol, Server, SocketRights, Stop};

use crate::random::Random;
use crate::wire::{PATIENCE, Running};

/// Answers with the path and what was sent; some paths do something else.
fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let plain = [("Content-Type", "text/plain")];
    match environ.path_info() {
        b"/fail" => return Err("no".into()),
        b"/whole" => {
            let mut body = Vec::new();
            environ.input.read_to_end(&mut body)?;
            return respond.start("200 OK", plain)?.send(body);
        }
        b"/file" | b"/file/rest" | b"/file/short" | b"/file/long" => {
            let mut file = std::fs::File::open(std::env::current_exe()?)?;
            let all = file.metadata()?.len();
            let length = match environ.path_info() {
                b"/file/rest" => all - file.seek(SeekFrom::Start(1000))?,
                b"/file/short" => 100_000,
                b"/file/long" => all + 1,
                _ => return respond.start("200 OK", plain)?.send_file(file),
            };
            let length = length.to_string();
            return respond.start("200 OK", [("Content-Length", length.as_str())])?.send_file(file);
        }
        b"/ignore" => return respond.start("200 OK", plain)?.send("ignored"),
        b"/nothing" => return respond.start("204 No Content", [("X-A", "1")])?.send(""),
        b"/short" => {
            let mut body = respond.start("200 OK", [("Content-Length", "5")])?;
            body.write_all(b"four")?;
            body.flush()?;
            return Ok(());
        }
        b"/pieces" => {
            let mut body = respond.start("200 OK", plain)?;
            for piece in ["one ", "two ", "three"] {
                body.write_all(piece.as_bytes())?;
                body.flush()?;
            }
            return Ok(());
        }
        b"/large" => return respond.start("200 OK", plain)?.send(vec![b'x'; 3_000_000]),
        b"/large-pieces" => {
            let mut body = respond.start("200 OK", plain)?;
            (0..300).try_for_each(|_| body.write_all(&[b'y'; 10_000]))?;
            return Ok(());
        }
        _ => {}
    }
    let mut body = respond.start("200 OK", plain)?;
    body.write_all(environ.path_info())?;
    std::io::copy(&mut environ.input, &mut body)?;
    Ok(())
}

fn start() -> Running {
    Running::start(Protocol::Http, app(echo))
}

fn text(server: &Running, wire: &str) -> String {
    String::from_utf8_lossy(&server.exchange(wire.as_bytes())).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// One answer, read as a client does.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client with what it has read and not used.
struct Client {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Client {
    fn new(server: &Running) -> Self {
        Self { stream: server.connect(), read: Vec::new() }
    }

    fn send(&mut self, wire: impl AsRef<[u8]>) {
        self.stream.write_all(wire.as_ref()).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut block = [0; 65536];
        let count = self.stream.read(&mut block).unwrap();
        self.read.extend_from_slice(&block[..count]);
        count > 0
    }

    /// Whether the server has closed, with nothing more to say.
    fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    fn answer_to(&mut self, method: &str) -> Answer {
        let end = loop {
            match self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => assert!(self.more(), "no whole head: {}", self.read.escape_ascii()),
            }
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let status = head.get(9..12).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            return answer;
        }
        let framing = match (answer.header("Content-Length"), answer.header("Transfer-Encoding")) {
            (Some(length), None) => Framing::Length(length.parse().unwrap()),
            (None, Some("chunked")) => Framing::Chunked,
            (None, None) => {
                while self.more() {}
                answer.body = std::mem::take(&mut self.read);
                return answer;
            }
            both => panic!("two framings: {both:?}"),
        };
        let mut decoder = BodyDecoder::new(framing, u64::MAX).unwrap();
        loop {
            let mut input = &self.read[..];
            while let Some(data) = decoder.decode(&mut input).unwrap() {
                answer.body.extend_from_slice(data);
            }
            let used = self.read.len() - input.len();
            self.read.drain(..used);
            if decoder.is_whole() {
                return answer;
            }
            assert!(self.more(), "the body broke off after {} bytes", answer.body.len());
        }
    }
}

#[test]
fn a_request_is_answered_and_the_connection_stays_open() {
    let server = start();
    let mut client = Client::new(&server);
    for path in ["/one", "/two", "/three"] {
        client.send(get(path));
        let answer = client.answer();
        assert_eq!((answer.status, answer.body()), (200, path));
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
        let length = path.len().to_string();
        assert_eq!(answer.header("Content-Length"), Some(length.as_str()), "small answers have a length");
        assert_eq!(answer.header("Connection"), None);
        assert!(answer.header("Date").is_some_and(|date| date.ends_with(" GMT")));
    }
    client.send("GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.body(), answer.header("Connection")), ("/last", Some("close")));
    assert!(client.is_closed());
}

#[test]
fn http_1_0_stays_open_only_when_asked() {
    let server = start();
    let mut client = Client::new(&server);
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.body(), answer.header("Connection")), ("/a", Some("keep-alive")));
    client.send("GET /large-pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.body.len(), answer.header("Connection")), (3_000_000, Some("close")));
    assert_eq!((answer.header("Content-Length"), answer.header("Transfer-Encoding")), (None, None));
    let mut client = Client::new(&server);
    client.send("GET /b HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().body(), "/b");
    assert!(client.is_closed());
}

#[test]
fn requests_may_follow_without_waiting() {
    let server = start();
    let mut client = Client::new(&server);
    let mut wire = String::new();
    for n in 0..500 {
        wire += &match n % 4 {
            0 => get(&format!("/{n}")),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"),
            2 => format!(
                "POST /{n} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
            _ => "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        };
    }
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(wire.as_bytes()).unwrap());
    for n in 0..500 {
        let answer = client.answer();
        let expected = match n % 4 {
            0 => format!("/{n}"),
            3 => "ignored".to_owned(),
            _ => format!("/{n}abc"),
        };
        assert_eq!(answer.body(), expected);
    }
    sender.join().unwrap();
    // At every split, too.
    let wire = format!(
        "{}\r\nPOST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n{}",
        get("/a"),
        get("/c")
    );
    for at in 0..wire.len() {
        let mut client = Client::new(&server);
        client.send(&wire[..at]);
        client.send(&wire[at..]);
        for expected in ["/a", "/bx", "/c"] {
            assert_eq!(client.answer().body(), expected, "split at {at}");
        }
    }
}

#[test]
fn a_client_that_ends_its_sending_hears_all_answers() {
    let server = start();
    let wire = format!("{}{}", get("/a"), get("/b"));
    let answers = text(&server, &wire);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("/b"), "{answers}");
}

#[test]
fn bodies_come_in_any_framing_and_size() {
    let server = start();
    let large: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
    let mut chunked = Vec::new();
    for piece in large.chunks(70_001) {
        chunked.extend_from_slice(format!("{:x};e=1\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\nX-Trailer: 1\r\n\r\n");
    let length = format!("Content-Length: {}", large.len());
    for (framing, wire) in [(length.as_str(), &large), ("Transfer-Encoding: chunked", &chunked)] {
        let mut client = Client::new(&server);
        let mut writer = client.stream.try_clone().unwrap();
        let wire = [
            format!("POST /x HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").as_bytes(),
            wire,
            get("/next").as_bytes(),
        ]
        .concat();
        let sender = std::thread::spawn(move || writer.write_all(&wire).unwrap());
        let answer = client.answer();
        assert_eq!(answer.body.len(), large.len() + 2);
        assert!(answer.body.ends_with(&large));
        assert_eq!(client.answer().body(), "/next");
        sender.join().unwrap();
    }
}

#[test]
fn answers_leave_in_the_frame_that_fits() {
    let server = start();
    let mut client = Client::new(&server);
    client.send(get("/pieces"));
    let answer = client.answer();
    assert_eq!((answer.body(), answer.header("Transfer-Encoding")), ("one two three", Some("chunked")));
    client.send(get("/large"));
    let answer = client.answer();
    assert_eq!((answer.body.len(), answer.header("Content-Length")), (3_000_000, Some("3000000")));
    client.send(get("/large-pieces"));
    let answer = client.answer();
    assert_eq!((answer.body.len(), answer.header("Transfer-Encoding")), (3_000_000, Some("chunked")));
    client.send("HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").header("Content-Length"), Some("3000000"));
    client.send("HEAD /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.answer_to("HEAD");
    assert_eq!((answer.header("Content-Length"), answer.header("Transfer-Encoding")), (None, None));
    client.send(get("/nothing"));
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("Content-Length"), answer.header("X-A")),
        (204, None, Some("1"))
    );
    client.send(get("/end"));
    assert_eq!(client.answer().body(), "/end");
}

#[test]
fn files_are_sent_whole_and_no_further_than_their_length() {
    let server = start();
    let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut client = Client::new(&server);
    for (path, expected) in
        [("/file", &whole[..]), ("/file/rest", &whole[1000..]), ("/file/short", &whole[..100_000])]
    {
        client.send(get(path));
        let answer = client.answer();
        assert_eq!(answer.header("Content-Length"), Some(expected.len().to_string().as_str()), "{path}");
        assert!(answer.body == expected, "{path}");
    }
    client.send("HEAD /file/rest HTTP/1.1\r\nHost: h\r\n\r\n");
    let length = (whole.len() - 1000).to_string();
    assert_eq!(client.answer_to("HEAD").header("Content-Length"), Some(length.as_str()));
    client.send(get("/after"));
    assert_eq!(client.answer().body(), "/after");
    // A file that is shorter than was said is no whole answer.
    client.send(get("/file/long"));
    while client.more() {}
    assert!(client.read.ends_with(&whole[whole.len() - 100..]));
    assert!(text(&server, &get("/good")).ends_with("/good"));
}

/// Over TCP: a client that was woken by the head alone would be woken twice.
#[cfg(target_os = "linux")]
#[test]
fn a_file_begins_in_the_packet_of_its_head() {
    let mut server = Server::new(Protocol::Http);
    let listeners = server.bind(&"127.0.0.1:0".parse().unwrap(), &SocketRights::default()).unwrap();
    let address = listeners[0].description().to_owned();
    let (stop, app) = (Stop::new(), Arc::new(app(echo)));
    let ours = stop.clone();
    let thread = std::thread::spawn(move || server.serve(app, &ours));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first_reads_are_joined = || {
        stream.write_all(get("/file/short").as_bytes()).unwrap();
        let (mut block, mut read) = (vec![0; 200_000], 0);
        let mut joined = None;
        let head = loop {
            let count = stream.read(&mut block[read..]).unwrap();
            assert!(count > 0, "the connection was closed");
            read += count;
            let head = block[..read].windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            joined = joined.or(Some(head.is_some_and(|head| read > head)));
            match head {
                Some(head) if read >= head + 100_000 => break head,
                _ => {}
            }
        };
        assert_eq!(read, head + 100_000);
        joined == Some(true)
    };
    // A thread that stands still between the two for too long is another matter.
    let all_joined = (0..10).any(|_| (0..20).all(|_| first_reads_are_joined()));
    stop.stop();
    thread.join().unwrap().unwrap();
    assert!(all_joined);
}

#[test]
fn an_answer_that_fails_half_way_is_no_whole_one() {
    let server = start();
    let mut client = Client::new(&server);
    client.send(get("/fail"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("Connection")), (500, None));
    client.send(get("/short"));
    while client.more() {}
    assert!(client.read.ends_with(b"\r\n\r\nfour"), "{}", client.read.escape_ascii());
}

#[test]
fn continue_is_said_when_the_body_is_wanted_and_not_before() {
    let server = start();
    let mut client = Client::new(&server);
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n";
    client.send(head);
    assert_eq!(client.answer().head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send([b'b'; 100_000]);
    assert_eq!(client.answer().body.len(), 100_002);
    // Who does not want it says so by an answer, and nobody knows what the client will do then.
    client.send(head.replace("/x", "/ignore"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    assert!(client.is_closed());
    // Who sends it all the same is not told to.
    let mut client = Client::new(&server);
    client.send(head.replace("100000", "3") + "abc");
    assert_eq!(client.answer().body(), "/xabc");
}

#[test]
fn a_body_that_nobody_reads_does_not_become_the_next_request() {
    let server = start();
    let mut client = Client::new(&server);
    let body = get("/smuggled").repeat(3000);
    client.send(format!(
        "POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}{}",
        body.len(),
        get("/next")
    ));
    assert_eq!(client.answer().body(), "ignored");
    assert_eq!(client.answer().body(), "/next");
    // One that is too long to be dropped ends the connection.
    let mut client = Client::new(&server);
    client.send("POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
    assert_eq!(client.answer().header("Connection"), Some("close"));
    let mut client = Client::new(&server);
    client.send("POST /ignore HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n");
    client.send(vec![b'x'; 70_000]);
    client.send("\r\nsmuggled\r\n\r\n");
    assert_eq!(client.answer().body(), "ignored");
    while client.more() {}
    assert_eq!(client.read, b"", "what is no chunk ends the connection");
}

/// Old clients send a line end behind a body, which no request begins with; the answer must not be lost for it.
#[test]
fn a_line_end_behind_the_last_body_takes_no_answer_away() {
    let server = start();
    for _ in 0..50 {
        let mut client = Client::new(&server);
        client.send("POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc\r\n");
        assert_eq!(client.answer().body(), "/xabc");
        assert!(client.is_closed());
    }
}

#[test]
fn refusals_are_answered_and_the_connection_ends() {
    let server = start();
    for (wire, status) in [
        ("GET / HTTP/1.1\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01".to_owned(), 400),
        ("GET /#a HTTP/1.1\r\n".to_owned(), 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(70_000)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)), 431),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000000\r\n\r\n".to_owned(), 413),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc".to_owned(), 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".to_owned(), 400),
    ] {
        let shown = wire.get(..60).unwrap_or(&wire).to_owned();
        let answer = text(
            &server,
            &format!(
                "{wire}{}",
                if status == 400 && wire.ends_with("abc") { String::new() } else { get("/after") }
            ),
        );
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{shown:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1 + usize::from(status == 505),
            "{shown:?}: {answer}"
        );
        assert!(text(&server, &get("/good")).ends_with("\r\n\r\n/good"));
    }
    let head = text(&server, "HEAD / HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_chunked_body_breaks_under_the_application_too() {
    let server = start();
    let broken = |path: &str| {
        let mut client = Client::new(&server);
        client
            .send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n"));
        client.send(vec![b'x'; 70_000]);
        client.send("\r\nzz");
        client
    };
    // Who reads it whole before answering is not called a success.
    let mut client = broken("/whole");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("Connection")), (400, Some("close")));
    assert!(client.is_closed());
    // An answer that has begun breaks off.
    let mut client = broken("/x");
    while client.more() {}
    assert!(!client.read.ends_with(b"\r\n0\r\n\r\n"), "it looks whole");
}

#[test]
fn a_request_cut_anywhere_is_never_answered_as_whole() {
    let server = start();
    let whole = "POST /cut HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    for end in 0..whole.len() {
        let answer = text(&server, &whole[..end]);
        assert!(!answer.contains("200 OK"), "{end}: {answer}");
    }
    assert!(text(&server, whole).ends_with("/cutbody"));
}

#[test]
fn who_is_slow_is_told_or_closed() {
    let change = |settings: &mut gatewright::server::Settings| {
        settings.head_timeout = Duration::from_millis(100);
        settings.idle_timeout = Duration::from_millis(100);
        settings.body_timeout = Duration::from_millis(100);
    };
    let server = Running::with(Protocol::Http, app(echo), change);
    for wire in ["GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc"] {
        let mut client = Client::new(&server);
        client.send(wire);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("Connection")), (408, Some("close")), "{wire:?}");
        assert!(client.is_closed());
    }
    let mut client = Client::new(&server);
    assert!(client.is_closed(), "nothing was asked");
    let mut client = Client::new(&server);
    client.send(get("/a"));
    assert_eq!(client.answer().body(), "/a");
    assert!(client.is_closed(), "nothing more was asked");
}

#[test]
fn a_body_that_trickles_does_not_hold_an_application_for_ever() {
    let change = |settings: &mut gatewright::server::Settings| {
        settings.body_timeout = Duration::from_millis(300);
        settings.min_body_rate = 1_000_000;
    };
    let server = Running::with(Protocol::Http, app(echo), change);
    let mut client = Client::new(&server);
    client.send("POST /whole HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    // Each piece comes in time; together they would take an hour.
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while writer.write_all(b"x").is_ok() {
            sent += 1;
            std::thread::park_timeout(Duration::from_millis(20));
        }
        sent
    });
    let mut block = [0; 64];
    assert!(!matches!(client.stream.read(&mut block), Ok(1..)), "no answer is given for it");
    assert!(sender.join().unwrap() < 10_000);
    assert!(text(&server, &get("/good")).ends_with("/good"));
}

#[test]
fn an_idle_connection_ends_with_the_server_and_a_request_under_way_is_answered() {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let server = Running::start(
        Protocol::Http,
        app(|environ: &mut Environ<'_>, respond| {
            WAITING.fetch_add(1, Ordering::SeqCst);
            let mut body = Vec::new();
            environ.input.read_to_end(&mut body)?;
            respond.start("200 OK", [("Content-Type", "text/plain")])?.send(body)
        }),
    );
    let (mut idle, mut busy) = (Client::new(&server), Client::new(&server));
    idle.send(get("/"));
    assert_eq!(idle.answer().status, 200);
    busy.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    while WAITING.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let ending = std::thread::spawn(move || drop(server));
    assert!(idle.is_closed());
    busy.send([b'z'; 100_000]);
    let answer = busy.answer();
    assert_eq!((answer.body.len(), answer.header("Connection")), (100_000, Some("close")));
    ending.join().unwrap();
}

#[test]
fn two_hundred_idle_and_half_sent_connections_hold_up_nobody() {
    let server = Running::with(Protocol::Http, app(echo), |settings| settings.workers = 2);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::new(&server)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(if n % 2 == 0 { get("/a") } else { "GET /half HTTP/1.1\r\nHo".to_owned() });
    }
    for client in clients.iter_mut().step_by(2) {
        assert_eq!(client.answer().body(), "/a");
    }
    for client in clients.iter_mut().skip(1).step_by(2) {
        client.send("st: h\r\n\r\n");
        assert_eq!(client.answer().body(), "/half");
    }
}

/// What came while a request ran was forgotten when other requests had come behind that one before.
#[test]
fn requests_that_come_while_one_runs_before_others_are_answered() {
    static ENTERED: AtomicUsize = AtomicUsize::new(0);
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let server = Running::start(
        Protocol::Http,
        app(move |environ: &mut Environ<'_>, respond| {
            if environ.path_info() == b"/wait" {
                ENTERED.fetch_add(1, Ordering::SeqCst);
                gate.lock().unwrap().recv()?;
            }
            let path = environ.path_info().to_vec();
            respond.start("200 OK", [("Content-Type", "text/plain")])?.send(path)
        }),
    );
    let (mut client, mut other) = (Client::new(&server), Client::new(&server));
    client.send(get("/first"));
    assert_eq!(client.answer().body(), "/first");
    client.send(["/wait", "/a", "/b"].map(get).concat());
    while ENTERED.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    client.send(get("/c"));
    // Once these are answered that was heard of, too.
    for _ in 0..20 {
        other.send(get("/other"));
        assert_eq!(other.answer().body(), "/other");
    }
    open.send(()).unwrap();
    for expected in ["/wait", "/a", "/b", "/c"] {
        assert_eq!(client.answer().body(), expected);
    }
}

/// A request's method, and its answer's length and end.
type Expected = (&'static str, usize, Vec<u8>);

/// Requests of all kinds behind each other, and the bodies of their answers.
fn conversation(random: &mut Random) -> (Vec<u8>, Vec<Expected>) {
    let (mut wire, mut expected) = (Vec::new(), Vec::new());
    for n in 0..1 + random.below(12) {
        let sizes = [0, 1, 7, 4000, 65_535, 65_536, 65_537, 200_000];
        let body = vec![b'a' + u8::try_from(n).unwrap(); sizes[random.below(sizes.len())]];
        let path = ["/x", "/ignore", "/whole", "/large-pieces"][random.below(4)];
        let method = if path == "/ignore" && random.below(2) == 0 { "HEAD" } else { "POST" };
        let expect = ["", "Expect: 100-continue\r\n"][usize::from(random.below(9) == 0 && path != "/ignore")];
        wire.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{expect}").as_bytes());
        match random.below(2) {
            0 => {
                wire.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                wire.extend_from_slice(&body);
            }
            _ => {
                wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for piece in body.chunks(1 + random.below(80_000)) {
                    wire.extend_from_slice(format!("{:X};e\r\n", piece.len()).as_bytes());
                    wire.extend_from_slice(piece);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\n\r\n");
            }
        }
        expected.push(match path {
            "/ignore" => (method, 7, b"ignored".to_vec()),
            "/whole" => (method, body.len(), body),
            "/large-pieces" => (method, 3_000_000, Vec::new()),
            _ => (method, body.len() + 2, body),
        });
    }
    (wire, expected)
}

#[test]
fn random_conversations_are_answered_in_order() {
    use gatewright::server::ReadyModel;
    for model in [ReadyModel::Native, ReadyModel::Portable] {
        let server = Running::with(Protocol::Http, app(echo), |settings| {
            settings.ready = model;
            settings.workers = 3;
        });
        std::thread::scope(|scope| {
            for seed in 1..=6 {
                let server = &server;
                scope.spawn(move || {
                    let mut random = Random(seed * 7919);
                    (0..12).for_each(|_| converse(server, &mut random));
                });
            }
        });
    }
}

fn converse(server: &Running, random: &mut Random) {
    let (wire, expected) = conversation(random);
    let mut client = Client::new(server);
    let mut writer = client.stream.try_clone().unwrap();
    let slice = [1_000, 3_333, 65_536, 1 << 20][random.below(4)];
    let sender = std::thread::spawn(move || {
        // The server may have said that it ends the connection.
        wire.chunks(slice).try_for_each(|piece| writer.write_all(piece)).is_ok()
    });
    for (at, (method, length, end)) in expected.into_iter().enumerate() {
        let mut answer = client.answer_to(method);
        while answer.status == 100 {
            answer = client.answer_to(method);
        }
        assert_eq!(answer.status, 200, "answer {at}");
        if method != "HEAD" {
            assert_eq!(answer.body.len(), length, "answer {at}");
            assert!(answer.body.ends_with(&end), "answer {at}");
        }
        if answer.header("Connection") == Some("close") {
            while client.more() {}
            break;
        }
    }
    assert_eq!(client.read, b"", "nothing more is said");
    drop(client);
    sender.join().unwrap();
}
