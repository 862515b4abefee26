//! Several requests at once on one FastCGI connection, and how an application learns that one was given up.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;

use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::Environ;
use gatewright::proto::fcgi::{ProtocolStatus, ResponseDecoder, ResponseEvent, Role, Stream, encode};
use gatewright::server::{Protocol, ReadyModel, Server, Settings, SocketRights, Stop};
use gatewright::spool::Store;

use crate::random::Random;
use crate::wire::{Answer, PATIENCE, Request, Running, portable, read_answers, stdin_records};

const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];
const COMPLETE: Option<ProtocolStatus> = Some(ProtocolStatus::REQUEST_COMPLETE);

fn get(id: u16, path: &str) -> Vec<u8> {
    Request { id, ..Request::new(&[("REQUEST_METHOD", "GET"), ("PATH_INFO", path)], b"") }.bytes()
}

/// Each would wait for ever for the others if they did not run at the same time.
#[test]
fn requests_of_one_connection_run_at_the_same_time() {
    for together in [2, 8] {
        let all_inside = Arc::new(Barrier::new(together));
        let application = move |_: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
            all_inside.wait();
            respond.start("200 OK", PLAIN)?.send("was inside")
        };
        let server = Running::start(Protocol::FastCgi, app(application));
        let mut peer = server.connect();
        // At once, and one after the other.
        let ids = 1..=u16::try_from(together).unwrap();
        peer.write_all(&ids.clone().flat_map(|id| get(id, "/")).collect::<Vec<_>>()).unwrap();
        assert_eq!(read_answers(&mut peer, together).len(), together);
        for id in ids {
            peer.write_all(&get(id, "/")).unwrap();
        }
        for answer in read_answers(&mut peer, together) {
            assert!(answer.text().ends_with("was inside") && answer.status == COMPLETE, "{answer:?}");
        }
    }
}

/// An application that a test holds back at `/slow` until it says so.
struct Gated {
    inside: Receiver<()>,
    go_on: SyncSender<()>,
    server: Running,
}

impl Gated {
    fn start() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let (tell, inside) = mpsc::channel();
        // Nobody else can take what one is given: it is handed over.
        let (go_on, may_go) = mpsc::sync_channel(0);
        let (tell, may_go) = (Mutex::new(tell), Mutex::new(may_go));
        let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
            let path = environ.path_info().to_vec();
            if path.starts_with(b"/slow") {
                tell.lock().unwrap().send(()).unwrap();
                may_go.lock().unwrap().recv().unwrap();
            }
            let mut whole = path;
            environ.input.read_to_end(&mut whole)?;
            respond.start("200 OK", PLAIN)?.send(whole)
        };
        Self { inside, go_on, server: Running::with(Protocol::FastCgi, app(application), change) }
    }
}

#[test]
fn a_slow_request_holds_up_no_fast_one_of_its_connection() {
    let gated = Gated::start();
    let mut peer = gated.server.connect();
    peer.write_all(&get(1, "/slow")).unwrap();
    gated.inside.recv_timeout(PATIENCE).unwrap();
    let body = vec![b'x'; 300_000];
    for round in 0..20 {
        let path = format!("/fast{round}");
        let params = [("PATH_INFO", &*path), ("CONTENT_LENGTH", "300000")];
        let sent = if round % 4 == 0 { &body[..] } else { b"" };
        let params = if sent.is_empty() { &params[..1] } else { &params[..] };
        let wire = Request { id: 2, ..Request::new(params, sent) }.bytes();
        let mut writer = peer.try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&wire).unwrap());
        let answer = read_answers(&mut peer, 1).remove(0);
        sender.join().unwrap();
        let expected = [path.as_bytes(), sent].concat();
        assert!(answer.id == 2 && answer.stdout.ends_with(&expected), "{answer:?}");
    }
    gated.go_on.send(()).unwrap();
    let slow = read_answers(&mut peer, 1).remove(0);
    assert!(slow.id == 1 && slow.text().ends_with("/slow"), "{slow:?}");
}

/// The reading is left to an application that has a body to read. It holds up nobody when it does something else first, or
/// in between: here it waits for the request that comes behind its body.
#[test]
fn what_stands_behind_a_body_that_is_not_read_yet_is_found_all_the_same() {
    for read_first in [0, 10, 100_000] {
        let (tell, told) = mpsc::channel();
        let (tell, told) = (Mutex::new(tell), Mutex::new(told));
        let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
            let mut body = vec![0; read_first];
            if environ.path_info() == b"/behind" {
                tell.lock().unwrap().send(()).unwrap();
            } else {
                environ.input.read_exact(&mut body)?;
                told.lock().unwrap().recv_timeout(PATIENCE)?;
                environ.input.read_to_end(&mut body)?;
            }
            respond.start("200 OK", PLAIN)?.send(body.len().to_string())
        };
        let server = Running::start(Protocol::FastCgi, app(application));
        let mut peer = server.connect();
        let body = vec![b'x'; 150_000];
        let params = [("PATH_INFO", "/"), ("CONTENT_LENGTH", "150000")];
        let mut wire = Request::new(&params, &body).bytes();
        wire.extend(get(2, "/behind"));
        for _ in 0..3 {
            peer.write_all(&wire).unwrap();
            let mut answers = read_answers(&mut peer, 2);
            answers.sort_unstable_by_key(|answer| answer.id);
            assert!(answers[0].text().ends_with("\r\n150000"), "{answers:?}");
            assert!(answers[1].status == COMPLETE, "{answers:?}");
        }
    }
}

/// An aborted id is free at once, though its application still runs: what that one does later reaches nobody.
/// What waits for an application beside others on its connection goes to files, which `--spool-max` bounds in all: the request
/// whose body would be too much is a 503, and no other one suffers.
#[test]
fn bodies_that_nobody_reads_yet_are_bounded_in_all() {
    let store = Store::new(None, 300_000);
    let gated = Gated::with(|settings| settings.spool = store.clone());
    let mut peer = gated.server.connect();
    let body = vec![b'x'; 500_000];
    let post = |id: u16, length: &str| {
        let params = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/slow"), ("CONTENT_LENGTH", length)];
        Request { id, ..Request::new(&params, b"") }.head()
    };
    let mut heads = post(1, "500000");
    heads.extend(post(2, "500000"));
    peer.write_all(&heads).unwrap();
    (0..2).for_each(|_| gated.inside.recv_timeout(PATIENCE).unwrap());
    // The first fits, beside what memory takes; the second would be too much.
    for id in [1, 2] {
        let mut wire = Vec::new();
        body.chunks(50_000).for_each(|piece| encode::stream(&mut wire, Stream::Stdin, id, piece));
        encode::stream_end(&mut wire, Stream::Stdin, id);
        peer.write_all(&wire).unwrap();
    }
    peer.write_all(&get(3, "/fast")).unwrap();
    let fast = read_answers(&mut peer, 1).remove(0);
    assert!(fast.id == 3 && fast.text().ends_with("/fast"), "{fast:?}");
    assert!((200_000..=300_000).contains(&store.used()), "{}", store.used());
    (0..2).for_each(|_| gated.go_on.send(()).unwrap());
    let mut answers = read_answers(&mut peer, 2);
    answers.sort_unstable_by_key(|answer| answer.id);
    assert!(answers[0].stdout.ends_with(&body), "{:?}", answers[0]);
    assert!(answers[1].text().starts_with("Status: 503 "), "{:?}", answers[1]);
    assert!(String::from_utf8_lossy(&answers[1].stderr).contains("--spool-max"), "{:?}", answers[1]);
    assert_eq!(store.used(), 0);
}

#[test]
fn an_id_is_free_again_after_its_end_and_after_an_abort() {
    let gated = Gated::start();
    let mut peer = gated.server.connect();
    for round in 0..5 {
        peer.write_all(&get(7, "/slow")).unwrap();
        gated.inside.recv_timeout(PATIENCE).unwrap();
        let mut wire = Vec::new();
        encode::abort_request(&mut wire, 7);
        let next = format!("/next{round}");
        wire.extend(get(7, &next));
        peer.write_all(&wire).unwrap();
        let all = read_answers(&mut peer, 2);
        assert_eq!((all[0].id, all[0].text(), all[0].status), (7, String::new(), COMPLETE));
        assert!(all[1].id == 7 && all[1].text().ends_with(&next), "{all:?}");
        gated.go_on.send(()).unwrap();
        peer.write_all(&get(7, "/again")).unwrap();
        assert!(read_answers(&mut peer, 1)[0].text().ends_with("/again"));
    }
    // The same while one under the same id runs beside the one that was given up.
    peer.write_all(&get(7, "/slow1")).unwrap();
    gated.inside.recv_timeout(PATIENCE).unwrap();
    let mut wire = Vec::new();
    encode::abort_request(&mut wire, 7);
    wire.extend(get(7, "/slow2"));
    peer.write_all(&wire).unwrap();
    gated.inside.recv_timeout(PATIENCE).unwrap();
    assert_eq!(read_answers(&mut peer, 1)[0].text(), "");
    gated.go_on.send(()).unwrap();
    gated.go_on.send(()).unwrap();
    let answer = read_answers(&mut peer, 1).remove(0);
    assert!(answer.text().ends_with("/slow2") && answer.status == COMPLETE, "{answer:?}");
}

/// A request of the property test, and its records that are not sent yet.
struct Sending {
    id: u16,
    body: Vec<u8>,
    records: std::collections::VecDeque<Vec<u8>>,
}

fn any_request(id: u16, random: &mut Random) -> Sending {
    let length = [0, 1, 100, 65_535, 70_000, 200_000][random.below(6)];
    let body: Vec<u8> = {
        let from = random.below(251);
        (from..from + length).map(|at| (at % 251) as u8).collect()
    };
    let (text, path) = (body.len().to_string(), ["/whole", "/pieces", "/late"][random.below(3)]);
    let mut params = vec![("REQUEST_METHOD", "POST"), ("PATH_INFO", path)];
    if random.below(3) > 0 {
        params.push(("CONTENT_LENGTH", &text));
    }
    // BEGIN_REQUEST, PARAMS and its end are records, too.
    let head = Request { id, ..Request::new(&params, b"") }.head();
    let (begin, params) = head.split_at(16);
    let (params, end) = params.split_at(params.len() - 8);
    let mut records: std::collections::VecDeque<_> = [begin, params, end].map(<[u8]>::to_vec).into();
    records.extend(stdin_records(id, &body, || 1 + random.below(65_535)));
    Sending { id, body, records }
}

/// Echoes: whole, in pieces as they come, or not before the body is whole and then in small pieces.
fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut whole = Vec::new();
    if environ.path_info() != b"/pieces" {
        environ.input.read_to_end(&mut whole)?;
    }
    let is_late = environ.path_info() == b"/late";
    let mut body = respond.start("200 OK", PLAIN)?;
    if is_late {
        for piece in whole.chunks(9_999) {
            body.write_all(piece)?;
            body.flush()?;
        }
        return Ok(());
    }
    if whole.is_empty() {
        std::io::copy(&mut environ.input, &mut body)?;
        return Ok(());
    }
    body.send(whole)
}

/// Each record has its own request's bytes only, and no request gets a record before its beginning or behind its end.
fn sort_out(bytes: &[u8], bodies: &HashMap<u16, Vec<u8>>) {
    let (mut decoder, mut input) = (ResponseDecoder::new(), bytes);
    let mut answers: HashMap<u16, (Vec<u8>, Option<ProtocolStatus>)> = HashMap::new();
    while let Some(event) = decoder.decode(&mut input).expect("records, one behind the other") {
        match event {
            ResponseEvent::Stdout { id, data } => {
                let (answer, ended) = answers.entry(id).or_default();
                assert_eq!(*ended, None, "output of {id} behind its end");
                answer.extend_from_slice(data);
            }
            ResponseEvent::EndRequest { id, protocol_status, .. } => {
                let (_, ended) = answers.entry(id).or_default();
                assert_eq!(ended.replace(protocol_status), None, "two ends of {id}");
            }
            ResponseEvent::StdoutEnd { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    decoder.end_of_input().expect("whole records");
    assert_eq!(answers.len(), bodies.len());
    for (id, body) in bodies {
        let (answer, ended) = &answers[id];
        assert_eq!(*ended, COMPLETE, "{id}");
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let differs = answer[head..].iter().zip(body).position(|(one, other)| one != other);
        assert_eq!((answer.len() - head, differs), (body.len(), None), "{id}");
    }
}

#[test]
fn bodies_that_come_record_by_record_in_any_turns_arrive_right() {
    let server = Running::start(Protocol::FastCgi, app(echo));
    for seed in 1..=40 {
        let mut random = Random(seed);
        let count = 1 + random.below(8);
        let ids: Vec<u16> = (0..count).map(|at| [1, 2, 255, 256, 300, 4000, 65_535, 77][at]).collect();
        let mut sending: Vec<_> = ids.iter().map(|id| any_request(*id, &mut random)).collect();
        let bodies: HashMap<_, _> = sending.iter().map(|one| (one.id, one.body.clone())).collect();
        let mut wire = Vec::new();
        while !sending.is_empty() {
            let index = random.below(sending.len());
            match sending[index].records.pop_front() {
                Some(record) => wire.extend(record),
                None => drop(sending.swap_remove(index)),
            }
        }
        let mut peer = server.connect();
        let mut writer = peer.try_clone().unwrap();
        let mut answer = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(&wire).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            peer.read_to_end(&mut answer).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        });
        println!("seed {seed}");
        sort_out(&answer, &bodies);
    }
}

/// Long answers of several requests at once, read in odd pieces: whole records take turns. All have begun before any ends.
#[test]
fn answers_take_turns_at_the_ends_of_records_only() {
    let lines = |path: &[u8]| path.repeat(400_000 / path.len());
    let all_begun = Barrier::new(8);
    let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let path = environ.path_info().to_vec();
        let mut body = respond.start("200 OK", PLAIN)?;
        for (at, piece) in lines(&path).chunks(7_001).enumerate() {
            body.write_all(piece)?;
            if at % 3 == 0 {
                body.flush()?;
            }
            if at == 30 {
                all_begun.wait();
            }
        }
        Ok(())
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let mut peer = server.connect();
    let ids = 1..=8_u16;
    let paths = ids.clone().map(|id| (id, format!("/answer-{id};"))).collect::<HashMap<_, _>>();
    peer.write_all(&ids.flat_map(|id| get(id, &paths[&id])).collect::<Vec<_>>()).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (mut bytes, mut block) = (Vec::new(), [0; 3_333]);
    loop {
        match peer.read(&mut block).unwrap() {
            0 => break,
            count => bytes.extend_from_slice(&block[..count]),
        }
    }
    let bodies =
        paths.iter().map(|(id, path)| (*id, path.repeat(400_000 / path.len()).into_bytes())).collect();
    sort_out(&bytes, &bodies);
    let (mut turns, mut last) = (0, 0);
    let (mut decoder, mut input) = (ResponseDecoder::new(), &bytes[..]);
    while let Some(event) = decoder.decode(&mut input).unwrap() {
        if let ResponseEvent::Stdout { id, .. } = event {
            turns += usize::from(id != last);
            last = id;
        }
    }
    assert!(turns >= 15, "one answer after the other: {turns} turns");
}

/// What an application asks and hears while a test does things to its connection.
struct Asked {
    address: String,
    path: std::path::PathBuf,
    /// The application asks, once for each of these, ...
    ask: Sender<bool>,
    /// ... and this is what it hears. It ends after `false`.
    heard: Receiver<bool>,
    stop: Stop,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Asked {
    fn start() -> Self {
        let (ask, asked) = mpsc::channel::<bool>();
        let (tell, heard) = mpsc::channel();
        let (asked, tell) = (Mutex::new(asked), Mutex::new(tell));
        let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
            let asked = asked.lock().unwrap();
            tell.lock().unwrap().send(environ.is_aborted()).unwrap();
            while asked.recv().unwrap() {
                tell.lock().unwrap().send(environ.is_aborted()).unwrap();
            }
            respond.start("200 OK", PLAIN)?.send("went on")
        };
        let folder = std::env::temp_dir();
        let path = folder.join(format!(
            "gatewright-asked-{}-{:?}.sock",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut server = Server::new(Protocol::FastCgi);
        if portable() {
            server.settings.ready = ReadyModel::Portable;
        }
        server.bind(&gatewright::server::Address::Unix(path.clone()), &SocketRights::default()).unwrap();
        let tcp = server.bind(&"127.0.0.1:0".parse().unwrap(), &SocketRights::default()).unwrap();
        let address = tcp[0].description().to_owned();
        let stop = Stop::new();
        let ours = stop.clone();
        let thread = Some(std::thread::spawn(move || server.serve(Arc::new(app(application)), &ours)));
        Self { address, path, ask, heard, stop, thread }
    }

    fn hears(&self) -> bool {
        self.heard.recv_timeout(PATIENCE).unwrap()
    }

    fn asks(&self) -> bool {
        self.ask.send(true).unwrap();
        self.hears()
    }

    #[track_caller]
    fn hears_of_it_at_last(&self) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.asks() {
            assert!(std::time::Instant::now() < deadline, "it never hears of it");
            std::thread::yield_now();
        }
        assert!(self.asks(), "once given up, for ever given up");
    }

    fn goes_on(&self) {
        self.ask.send(false).unwrap();
    }

    fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap().unwrap();
        }
    }
}

fn went_on(mut stream: impl Read) -> Answer {
    let answer = read_answers(&mut stream, 1).remove(0);
    assert!(answer.text().ends_with("went on"), "{answer:?}");
    answer
}

#[test]
fn is_aborted_after_abort_request() {
    let asked = Asked::start();
    for over_tcp in [false, true] {
        let (mut unix, mut tcp) = (asked.unix(), asked.tcp());
        let peer: &mut dyn ReadWrite = if over_tcp { &mut tcp } else { &mut unix };
        peer.write_all(&get(1, "/")).unwrap();
        assert!(!asked.hears());
        let mut wire = Vec::new();
        encode::abort_request(&mut wire, 1);
        peer.write_all(&wire).unwrap();
        asked.hears_of_it_at_last();
        asked.goes_on();
        let mut peer = peer;
        assert_eq!(read_answers(&mut peer, 1)[0].text(), "", "nothing of an answer that nobody wants");
        // The connection goes on, and so does what comes next on it.
        peer.write_all(&get(1, "/")).unwrap();
        assert!(!asked.hears());
        assert!(!asked.asks());
        asked.goes_on();
        went_on(peer);
    }
}

/// Nothing more was read, and where the ready set is the portable one, nobody heard of the end either.
#[test]
fn is_aborted_after_a_peer_closed_whose_body_nobody_reads() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let application = move |environ: &mut Environ<'_>, _: Responder<'_>| -> AppResult {
        tell.lock().unwrap().send(false)?;
        while !environ.is_aborted() {
            std::thread::yield_now();
        }
        Ok(tell.lock().unwrap().send(true)?)
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let params = [("PATH_INFO", "/"), ("CONTENT_LENGTH", "1000000")];
    let mut peer = server.connect();
    peer.write_all(&Request::new(&params, b"").head()).unwrap();
    assert!(!told.recv_timeout(PATIENCE).unwrap());
    // More than is kept for it, and no more than that and a socket take.
    for record in &stdin_records(1, &[b'x'; 300_000], || 30_000)[..10] {
        peer.write_all(record).unwrap();
    }
    drop(peer);
    assert!(told.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn is_aborted_after_an_abort_behind_a_body_that_is_not_read_yet() {
    let application = |environ: &mut Environ<'_>, _: Responder<'_>| -> AppResult {
        environ.input.read_exact(&mut [0; 10])?;
        while !environ.is_aborted() {
            std::thread::yield_now();
        }
        let error = environ.input.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        Err(error.into())
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let mut peer = server.connect();
    let params = [("PATH_INFO", "/"), ("CONTENT_LENGTH", "150000")];
    let mut wire = Request::new(&params, &[b'x'; 149_000]).head();
    stdin_records(1, &[b'x'; 149_000], || 30_000).iter().for_each(|record| wire.extend_from_slice(record));
    encode::abort_request(&mut wire, 1);
    for _ in 0..3 {
        peer.write_all(&wire).unwrap();
        assert_eq!(read_answers(&mut peer, 1)[0].status, COMPLETE);
    }
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

#[test]
fn is_aborted_after_a_unix_peer_closed() {
    let asked = Asked::start();
    for keep_conn in [false, true] {
        let mut peer = asked.unix();
        peer.write_all(&Request { keep_conn, ..Request::new(&[("PATH_INFO", "/")], b"") }.bytes()).unwrap();
        assert!(!asked.hears());
        drop(peer);
        asked.hears_of_it_at_last();
        asked.goes_on();
    }
}

#[test]
fn is_aborted_after_a_tcp_reset() {
    let asked = Asked::start();
    for keep_conn in [false, true] {
        let mut peer = asked.tcp();
        peer.write_all(&Request { keep_conn, ..Request::new(&[("PATH_INFO", "/")], b"") }.bytes()).unwrap();
        assert!(!asked.hears());
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&peer, nix::sys::socket::sockopt::Linger, &at_once).unwrap();
        drop(peer);
        asked.hears_of_it_at_last();
        asked.goes_on();
    }
}

#[test]
fn is_not_aborted_when_the_peer_has_only_ended_its_sending() {
    let asked = Asked::start();
    for keep_conn in [false, true] {
        let (mut unix, mut tcp) = (asked.unix(), asked.tcp());
        let bytes = Request { keep_conn, ..Request::new(&[("PATH_INFO", "/")], b"") }.bytes();
        unix.write_all(&bytes).unwrap();
        unix.shutdown(Shutdown::Write).unwrap();
        assert!(!asked.hears());
        // Another connection's way through the server: meanwhile it has heard of the end.
        for _ in 0..100 {
            assert!(!asked.asks());
        }
        asked.goes_on();
        went_on(unix);
        tcp.write_all(&bytes).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        assert!(!asked.hears());
        for _ in 0..100 {
            assert!(!asked.asks());
        }
        asked.goes_on();
        went_on(tcp);
    }
}

/// One request of several is given up: only that one hears of it.
#[test]
fn an_abort_is_one_requests_own() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let inside = Arc::new(Barrier::new(4));
    let all_inside = Arc::clone(&inside);
    let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        inside.wait();
        let read = std::io::copy(&mut environ.input, &mut std::io::sink());
        let kind = read.map_err(|error| error.kind());
        tell.lock().unwrap().send((environ.path_info().to_vec(), kind, environ.is_aborted())).unwrap();
        respond.start("200 OK", PLAIN)?.send("read")
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let mut peer = server.connect();
    for (id, path) in [(1, "/1"), (2, "/2"), (3, "/3")] {
        let params = [("PATH_INFO", path), ("CONTENT_LENGTH", "100000")];
        let mut wire = Request { id, role: Role::RESPONDER, ..Request::new(&params, b"") }.head();
        encode::stream(&mut wire, Stream::Stdin, id, &[b'x'; 50_000]);
        peer.write_all(&wire).unwrap();
    }
    // One that is given up before its application has begun never gets there.
    all_inside.wait();
    let mut wire = Vec::new();
    encode::abort_request(&mut wire, 2);
    peer.write_all(&wire).unwrap();
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        (b"/2".to_vec(), Err(std::io::ErrorKind::ConnectionAborted), true)
    );
    let mut wire = Vec::new();
    for id in [3, 1] {
        encode::stream(&mut wire, Stream::Stdin, id, &[b'x'; 50_000]);
        encode::stream_end(&mut wire, Stream::Stdin, id);
    }
    peer.write_all(&wire).unwrap();
    let mut ends: Vec<_> =
        read_answers(&mut peer, 3).into_iter().map(|one| (one.id, one.text().len() > 4)).collect();
    ends.sort_unstable();
    assert_eq!(ends, [(1, true), (2, false), (3, true)]);
    for _ in 0..2 {
        let (path, read, aborted) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((read, aborted), (Ok(100_000), false), "{}", path.escape_ascii());
    }
}

/// The application's next write met the abort while another thread was about to send the END_REQUEST for it: each left
/// that to the other.
#[test]
fn the_end_of_an_aborted_request_was_sent_by_nobody() {
    let begun = Arc::new(Barrier::new(2));
    let has_begun = Arc::clone(&begun);
    let application = move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        begun.wait();
        while !environ.is_aborted() {
            std::hint::spin_loop();
        }
        respond.start("200 OK", PLAIN)?.send("to nobody")
    };
    let server = Running::start(Protocol::FastCgi, app(application));
    let mut peer = server.connect();
    for _ in 0..1000 {
        peer.write_all(&get(1, "/")).unwrap();
        has_begun.wait();
        let mut wire = Vec::new();
        encode::abort_request(&mut wire, 1);
        peer.write_all(&wire).unwrap();
        let [answer] = &read_answers(&mut peer, 1)[..] else { panic!("one answer") };
        assert_eq!((answer.text(), answer.status), (String::new(), COMPLETE));
    }
}
