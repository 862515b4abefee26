//! Applications with any habit of reading their bodies, on FastCGI connections that are kept.

use std::io::{BufRead, Read, Write};

use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::Environ;
use gatewright::proto::fcgi::{ProtocolStatus, encode};
use gatewright::server::{Protocol, ReadyModel};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::random::Random;
use crate::wire::{Request, Running, read_answers, stdin_records};

/// By which an application reads, as PATH_INFO says, and how much of its body at most.
const HABITS: [(&str, usize); 8] = [
    ("/none", 0),
    ("/little", 10),
    ("/half", 40_000),
    ("/all", usize::MAX),
    ("/pieces", usize::MAX),
    ("/ask", usize::MAX),
    ("/spin", usize::MAX),
    ("/mixed", usize::MAX),
];

fn read(environ: &mut Environ<'_>) -> AppResult<Vec<u8>> {
    let mut body = Vec::new();
    let path = environ.path_info().to_vec();
    let input = &mut environ.input;
    if let Some((_, most)) = HABITS[..4].iter().find(|(habit, _)| habit.as_bytes() == path) {
        input.take(*most as u64).read_to_end(&mut body)?;
        return Ok(body);
    }
    for n in 0.. {
        let waits = path == b"/pieces" || path == b"/mixed" && n % 2 == 0;
        let data = if waits { Some(input.fill_buf()?) } else { input.fill_ready()? };
        let count = match data.map(|data| &data[..data.len().min(9_000)]) {
            Some([]) => break,
            Some(data) => {
                body.extend_from_slice(data);
                data.len()
            }
            None => 0,
        };
        input.consume(count);
        if count == 0 && path == b"/ask" {
            input.with_descriptor(&mut |descriptor| {
                if let Some(descriptor) = descriptor {
                    poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
                }
            });
        }
    }
    Ok(body)
}

struct Sending {
    path: &'static str,
    body: Vec<u8>,
    aborts: bool,
    /// The last one first.
    records: Vec<Vec<u8>>,
}

fn any_request(id: u16, random: &mut Random) -> Sending {
    let (path, _) = HABITS[random.below(HABITS.len())];
    let lengths = [0, 1, 9, 60_000, 65_536, 65_537, 100_000, 140_000, 300_000, 700_000];
    let (from, length) = (random.below(251), lengths[random.below(lengths.len())]);
    let body: Vec<u8> = (from..from + length).map(|at| (at % 251) as u8).collect();
    let text = length.to_string();
    let mut params = vec![("REQUEST_METHOD", "POST"), ("PATH_INFO", path)];
    if random.below(4) > 0 {
        params.push(("CONTENT_LENGTH", &text));
    }
    let mut records = stdin_records(id, &body, || 1 + random.below(65_535));
    let aborts = random.below(8) == 0;
    if aborts {
        records.truncate(random.below(records.len()));
        let mut abort = Vec::new();
        encode::abort_request(&mut abort, id);
        records.push(abort);
    }
    records.insert(0, Request { id, ..Request::new(&params, b"") }.head());
    records.reverse();
    Sending { path, body, aborts, records }
}

/// Requests after each other, each of them so many at once at most; whatever is read and left unread, what follows is right.
fn converse(server: &Running, seed: u64, at_once: usize, model: ReadyModel) {
    let mut random = Random(seed * 7919);
    let mut peer = server.connect();
    for turn in 0..30 {
        let count = 1 + random.below(at_once);
        let mut sending: Vec<_> = (1..).take(count).map(|id| any_request(id, &mut random)).collect();
        let mut wire = Vec::new();
        while sending.iter().any(|one| !one.records.is_empty()) {
            wire.extend(sending[random.below(count)].records.pop().unwrap_or_default());
        }
        let (mut writer, piece) = (peer.try_clone().unwrap(), 1_000 + random.below(100_000));
        let sender = std::thread::spawn(move || {
            wire.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        });
        for answer in read_answers(&mut peer, count) {
            let Sending { path, body, aborts, .. } = &sending[usize::from(answer.id) - 1];
            let what = format!("{model:?}, seed {seed}, turn {turn}: {path} of {}", body.len());
            assert_eq!(answer.status, Some(ProtocolStatus::REQUEST_COMPLETE), "{what}");
            if !aborts {
                let most = HABITS.iter().find(|(habit, _)| habit == path).map_or(0, |(_, most)| *most);
                let head = answer.stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
                assert!(answer.stdout[head..] == body[..body.len().min(most)], "{what}: {answer:?}");
            }
        }
        sender.join().unwrap();
    }
}

#[test]
fn whatever_is_read_of_a_body_is_right_and_the_connection_goes_on() {
    for model in [ReadyModel::Native, ReadyModel::Portable] {
        for at_once in [1, 4] {
            let application = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
                let body = read(environ)?;
                respond.start("200 OK", [("Content-Type", "text/plain")])?.send(body)
            };
            let server =
                Running::with(Protocol::FastCgi, app(application), |settings| settings.ready = model);
            std::thread::scope(|scope| {
                for seed in 1..=4 {
                    let server = &server;
                    scope.spawn(move || converse(server, seed, at_once, model));
                }
            });
        }
    }
}
