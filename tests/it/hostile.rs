//! Peers that mean harm, against a server in this process: what they can reach and what they can hold up.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;
use gatewright::proto::fcgi::{ProtocolStatus, Role, Stream, encode};
use gatewright::server::Protocol;

use super::servers::harness::wait_until;
use super::wire::{PATIENCE, Request, Running, answers, read_answers};

const PLAIN: [(&str, &str); 1] = [("Content-Type", "text/plain")];

/// A door that applications wait at, and how many came to it.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    changed: Condvar,
    came: AtomicUsize,
}

impl Door {
    fn pass(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let (open, _) = self.changed.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        let opened = *open;
        drop(open);
        assert!(opened, "nobody opened the door");
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// Opens it at the end of a test that fails, too, so that the server can end.
struct Opens(Arc<Door>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn request(id: u16, path: &str) -> Vec<u8> {
    Request { id, ..Request::new(&[("PATH_INFO", path), ("CONTENT_LENGTH", "0")], b"") }.bytes()
}

/// `/wait` waits at the door, `/slow` for a moment, `/large` answers with 32 KiB, all else with a word.
fn application(
    door: &Arc<Door>,
) -> impl Fn(&mut Environ<'_>, Responder<'_>) -> AppResult + Send + Sync + use<> {
    let door = Arc::clone(door);
    move |environ, respond| {
        let path = environ.path_info().to_owned();
        match &path[..] {
            b"/wait" => door.pass(),
            b"/slow" => std::thread::park_timeout(std::time::Duration::from_millis(1)),
            _ => {}
        }
        let large = path == b"/large";
        if large {
            door.came.fetch_add(1, Ordering::SeqCst);
        }
        let mut body = respond.start("200 OK", PLAIN)?;
        body.write_all(if large { &[b'x'; 32 * 1024] } else { b"here" })?;
        Ok(())
    }
}

fn ask(stream: &mut UnixStream, path: &str) {
    stream.write_all(&request(1, path)).unwrap();
    let answer = read_answers(stream, 1).remove(0);
    assert!(answer.text().ends_with("here"), "{answer:?}");
}

/// Workers that were slow of late called a parked one when they left the ready set; when there was none, nobody was told
/// that no one listened any more, and requests waited for the end of those under way.
#[test]
fn a_request_is_heard_when_the_last_worker_stops_listening() {
    const MANY: usize = 7;
    let door = Arc::<Door>::default();
    let server = Running::start(Protocol::FastCgi, application(&door));
    let _opens = Opens(Arc::clone(&door));
    let mut streams: Vec<UnixStream> = (0..MANY).map(|_| server.connect()).collect();
    for _ in 0..5 {
        streams.iter_mut().for_each(|stream| ask(stream, "/slow"));
    }
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&request(1, "/wait")).unwrap();
        wait_until("the request has a worker", || door.came() == index + 1);
    }
    door.open();
    streams.iter_mut().for_each(|stream| assert_eq!(read_answers(stream, 1).len(), 1));
}

/// HTTP/2 knows it as rapid reset: each ABORT made room for another request, though its application still ran or was to
/// run.
#[test]
fn requests_that_are_begun_and_aborted_for_ever_are_not_started_for_ever() {
    const ROUNDS: usize = 5_000;
    let door = Arc::<Door>::default();
    let server = Running::with(Protocol::FastCgi, application(&door), |settings| settings.workers = 2);
    let opens = Opens(Arc::clone(&door));
    let stream = server.connect();
    let mut held = [server.connect(), server.connect()];
    for stream in &mut held {
        stream.write_all(&request(1, "/wait")).unwrap();
    }
    wait_until("both workers are held", || door.came() == 2);
    let mut round = request(1, "/wait");
    encode::abort_request(&mut round, 1);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|_| (&stream).write_all(&round).unwrap()));
        read_answers(&mut &stream, ROUNDS)
    });
    let refused = seen.iter().filter(|answer| answer.status == Some(ProtocolStatus::OVERLOADED)).count();
    assert!(refused >= ROUNDS - 64, "{refused} of {ROUNDS} were refused");
    drop(opens);
    // The connection is as good as before once they have ended.
    let mut stream = stream;
    wait_until("another request may begin", || {
        stream.write_all(&request(1, "/")).unwrap();
        read_answers(&mut stream, 1)[0].status == Some(ProtocolStatus::REQUEST_COMPLETE)
    });
    assert_eq!(door.came(), 2, "none of those that were aborted was called");
}

/// Bytes for ever, none of which needs an application.
#[test]
fn peers_that_never_stop_sending_hold_no_worker() {
    let mut ignored = Vec::new();
    encode::stream(&mut ignored, Stream::Stdin, 9, &[b'x'; 200]);
    let server =
        Running::with(Protocol::FastCgi, application(&Arc::default()), |settings| settings.workers = 2);
    server.assert_serves_beside_floods(b"", &ignored.repeat(1000), || ask(&mut server.connect(), "/"));
}

/// Peers that read their answers, and always have another request on the way.
#[test]
fn requests_without_end_on_kept_connections_starve_no_other() {
    let server =
        Running::with(Protocol::FastCgi, application(&Arc::default()), |settings| settings.workers = 2);
    let requests: Vec<u8> = (1..=u16::MAX).flat_map(|id| request(id, "/")).collect();
    server.assert_serves_beside_floods(b"", &requests, || ask(&mut server.connect(), "/"));
}

/// The end of one answer waited for room without a worker, the next answer on the connection with one.
#[test]
fn small_answers_that_nobody_reads_hold_no_worker() {
    let door = Arc::<Door>::default();
    let server = Running::with(Protocol::FastCgi, application(&door), |settings| settings.workers = 2);
    let mut silent: Vec<UnixStream> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut silent {
        let before = door.came();
        for id in 1..=5 {
            stream.write_all(&request(id, "/large")).unwrap();
            wait_until("it is called", || door.came() >= before + usize::from(id));
        }
        // The buffers of the socket are full after one of these.
        for id in 6..=12 {
            stream.write_all(&request(id, "/large")).unwrap();
        }
    }
    for _ in 0..10 {
        ask(&mut server.connect(), "/");
    }
    // Whoever reads after all gets all of them.
    for stream in &mut silent {
        let answers = read_answers(stream, 12);
        assert!(answers.iter().all(|answer| answer.stdout.len() > 32 * 1024));
    }
}

/// Each new connection cost two idle ones their place: the second one for nobody.
#[test]
fn the_longest_idle_connection_makes_room_and_no_other() {
    let door = Arc::<Door>::default();
    let server =
        Running::with(Protocol::FastCgi, application(&door), |settings| settings.max_connections = 6);
    let _opens = Opens(Arc::clone(&door));
    let mut busy = server.connect();
    busy.write_all(&request(1, "/wait")).unwrap();
    wait_until("it is busy", || door.came() == 1);
    let mut begun = server.connect();
    begun.write_all(&request(1, "/")[..20]).unwrap();
    let mut idle: Vec<UnixStream> = (0..4).map(|_| server.connect()).collect();
    // The one that connected first has been used last.
    for stream in idle.iter_mut().rev() {
        ask(stream, "/");
        std::thread::park_timeout(std::time::Duration::from_millis(3));
    }
    let mut another = server.connect();
    ask(&mut another, "/");
    let mut gone = idle.pop().unwrap();
    assert_eq!(gone.read(&mut [0; 8]).unwrap(), 0, "the longest idle one is closed");
    idle.iter_mut().for_each(|stream| ask(stream, "/"));
    begun.write_all(&request(1, "/")[20..]).unwrap();
    assert_eq!(read_answers(&mut begun, 1).len(), 1);
    door.open();
    assert_eq!(read_answers(&mut busy, 1).len(), 1);
}

/// 64 at once, one of them slow, one aborted, and one too many.
#[test]
fn a_slow_request_holds_up_none_of_its_connection() {
    let door = Arc::<Door>::default();
    let server = Running::start(Protocol::FastCgi, application(&door));
    let opens = Opens(Arc::clone(&door));
    let mut stream = server.connect();
    stream.write_all(&[request(1, "/wait"), request(2, "/wait")].concat()).unwrap();
    wait_until("both are under way", || door.came() == 2);
    let many: Vec<u8> = (3..=64).flat_map(|id| request(id, "/")).collect();
    stream.write_all(&many).unwrap();
    let mut ids: Vec<u16> = read_answers(&mut stream, 62).iter().map(|answer| answer.id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(3..=64));
    let mut abort = Vec::new();
    encode::abort_request(&mut abort, 2);
    stream.write_all(&abort).unwrap();
    let answer = read_answers(&mut stream, 1).remove(0);
    assert_eq!((answer.id, answer.stdout.len()), (2, 0));
    drop(opens);
    let answer = read_answers(&mut stream, 1).remove(0);
    assert!(answer.id == 1 && answer.text().ends_with("here"), "{answer:?}");
}

#[test]
fn one_request_too_many_is_overloaded_and_the_others_go_on() {
    let door = Arc::<Door>::default();
    let server = Running::with(Protocol::FastCgi, application(&door), |settings| {
        settings.max_requests_per_connection = 3;
    });
    let _opens = Opens(Arc::clone(&door));
    let mut stream = server.connect();
    stream.write_all(&(1..=5).flat_map(|id| request(id, "/wait")).collect::<Vec<u8>>()).unwrap();
    for answer in read_answers(&mut stream, 2) {
        assert_eq!((answer.id > 3, answer.status), (true, Some(ProtocolStatus::OVERLOADED)));
    }
    door.open();
    let rest = read_answers(&mut stream, 3);
    assert!(rest.iter().all(|answer| answer.status == Some(ProtocolStatus::REQUEST_COMPLETE)), "{rest:?}");
}

/// BEGIN_REQUEST alone, under every id and for ever.
#[test]
fn begin_request_for_ever_is_overloaded() {
    let server = Running::start(Protocol::FastCgi, application(&Arc::default()));
    let mut wire = Vec::new();
    for id in 1..=u16::MAX {
        encode::begin_request(&mut wire, id, Role::RESPONDER, true);
    }
    let stream = server.connect();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&wire).unwrap());
        read_answers(&mut &stream, usize::from(u16::MAX) - 64)
    });
    assert!(seen.iter().all(|answer| answer.status == Some(ProtocolStatus::OVERLOADED)));
    ask(&mut server.connect(), "/");
    // The same id twice is a breach.
    let mut twice = Vec::new();
    encode::begin_request(&mut twice, 1, Role::RESPONDER, true);
    assert!(answers(&server.exchange(&twice.repeat(2))).is_empty());
}

/// The end of the input came along with a question, and was known before the answer had left: after that nobody looked at
/// the connection again.
#[test]
fn a_peer_that_asks_and_ends_is_closed_behind_the_answer() {
    let server = Running::start(Protocol::FastCgi, application(&Arc::default()));
    for _ in 0..200 {
        let mut stream = server.connect();
        ask(&mut stream, "/");
        stream.write_all(&[1, 9, 0, 0, 0, 0, 0, 0]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it is closed");
        assert_eq!(answer.get(1), Some(&10), "GET_VALUES_RESULT");
    }
}
