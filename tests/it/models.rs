//! Random writes, flushes and messages around the boundaries of buffers and records.
use super::wire::{Request, Running};
use gatewright::app::{AppResult, Responder, list};
use gatewright::environ::Environ;
use gatewright::proto::fcgi::{ProtocolStatus, ResponseDecoder, ResponseEvent};
use gatewright::server::Protocol;
use std::io::Write;

struct Rng(u64);
impl Rng {
    fn next(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
    fn size(&mut self) -> usize {
        (match self.next(9) {
            0 => self.next(20),
            1 => 65520 + self.next(41),
            2 => 131_060 + self.next(21),
            3 => self.next(3000),
            4 => 65536 - self.next(30),
            5 => 65535,
            6 => 65528,
            7 => 0,
            _ => self.next(70_000),
        }) as usize
    }
}
fn fill(at: &mut u32, n: usize) -> Vec<u8> {
    (0..n)
        .map(|_| {
            *at = at.wrapping_add(1);
            (*at % 251) as u8
        })
        .collect()
}
fn play(seed: u64, mut out: impl FnMut(&[u8]), mut err: impl FnMut(&[u8]), mut flush: impl FnMut()) -> u64 {
    let (mut r, mut at, mut e) = (Rng(seed * 7919 + 1), 0, 1000);
    for _ in 0..r.next(7) {
        match r.next(5) {
            0 => {
                let n = r.size().min(70_000);
                err(&fill(&mut e, n))
            }
            1 => flush(),
            _ => {
                let n = r.size();
                out(&fill(&mut at, n))
            }
        }
    }
    r.next(4)
}
fn app(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let seed: u64 = std::str::from_utf8(environ.query_string()).unwrap().parse().unwrap();
    let body = std::cell::RefCell::new(respond.start("200 OK", [("X-Seed", seed.to_string())])?);
    let errors = std::cell::RefCell::new(&mut environ.errors);
    let how = play(
        seed,
        |d| body.borrow_mut().write_all(d).unwrap(),
        |d| errors.borrow_mut().write_all(d).unwrap(),
        || body.borrow_mut().flush().unwrap(),
    );
    let mut body = body.into_inner();
    match how {
        0 => Err("failed".into()),
        1 => match body.restart("201 Again", [("X", "y")], "cause") {
            Ok(()) => body.send("again"),
            Err(e) => Err(e),
        },
        2 => body.send_chunks(list(vec![vec![b'z'; 65530], vec![b'z'; 12]])),
        _ => Ok(()),
    }
}
#[test]
fn fcgi_accounting() {
    let server = Running::start(Protocol::FastCgi, app);
    let mut counts = [0; 6];
    for seed in 1..3000u64 {
        let q = seed.to_string();
        let bytes =
            server.exchange(&Request::new(&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", &q)], b"").bytes());
        let (mut want, mut werr, mut flushed) = (Vec::new(), Vec::new(), false);
        let how = play(seed, |d| want.extend_from_slice(d), |d| werr.extend_from_slice(d), || flushed = true);
        let broken =
            bytes.ends_with(&[0; 8]) && !bytes.ends_with(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let body = if broken { &bytes[..bytes.len() - 8] } else { &bytes[..] };
        let (mut dec, mut input) = (ResponseDecoder::new(), body);
        let (mut so, mut se, mut ends, mut st) = (Vec::new(), Vec::new(), 0, None);
        while let Some(ev) = dec.decode(&mut input).unwrap() {
            assert_eq!(ends, 0, "records behind the end, {seed}");
            match ev {
                ResponseEvent::Stdout { data, .. } => so.extend_from_slice(data),
                ResponseEvent::Stderr { data, .. } => se.extend_from_slice(data),
                ResponseEvent::EndRequest { protocol_status, .. } => {
                    ends += 1;
                    st = Some(protocol_status)
                }
                _ => {}
            }
        }
        dec.end_of_input().unwrap();
        assert!(se.starts_with(&werr), "{seed}");
        let head = format!("Status: 200 OK\r\nX-Seed: {seed}\r\n\r\n").into_bytes();
        let page = so.starts_with(b"Status: 500");
        let again = so.starts_with(b"Status: 201 Again\r\nX: y\r\nContent-Length: 5\r\n\r\nagain");
        match (how, broken) {
            (0 | 1, true) => {
                let full = [head.clone(), want.clone()].concat();
                let differs = so.iter().zip(&full).position(|(one, other)| one != other);
                assert_eq!((so.len(), differs), (full.len(), None), "{seed}");
                assert_eq!(ends, 0);
                counts[0] += 1
            }
            (0, false) => {
                assert!(page, "{seed} {}", so[..60.min(so.len())].escape_ascii());
                assert_eq!(so.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4 + 59, so.len());
                counts[1] += 1
            }
            (1, false) => {
                assert!(
                    again && so.len() == 51,
                    "{seed} {} {}",
                    so.len(),
                    so[..60.min(so.len())].escape_ascii()
                );
                counts[2] += 1
            }
            (2, false) => {
                assert_eq!(so, [head, want, vec![b'z'; 65542]].concat(), "{seed}");
                counts[3] += 1
            }
            (3, false) => {
                // A head that has left already told no length.
                let head = if want.is_empty() && !flushed {
                    format!("Status: 200 OK\r\nX-Seed: {seed}\r\nContent-Length: 0\r\n\r\n").into_bytes()
                } else {
                    head
                };
                let whole = [head, want].concat();
                let differs = so.iter().zip(&whole).position(|(one, other)| one != other);
                assert_eq!((so.len(), differs), (whole.len(), None), "{seed}");
                counts[4] += 1
            }
            other => panic!("{seed} {other:?}"),
        }
        if !broken {
            assert_eq!((ends, st), (1, Some(ProtocolStatus::REQUEST_COMPLETE)), "{seed}")
        }
    }
    eprintln!("{counts:?}");
}

#[test]
fn vars_model() {
    use gatewright::environ::{Known, Vars};
    let mut r = Rng(99);
    for round in 0..3000 {
        let mut vars = Vars::new();
        let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let set = |model: &mut Vec<(Vec<u8>, Vec<u8>)>, n: &[u8], v: &[u8]| match model
            .iter_mut()
            .find(|(m, _)| m == n)
        {
            Some((_, old)) => *old = v.to_vec(),
            None => model.push((n.to_vec(), v.to_vec())),
        };
        let names = if round % 2 == 0 { 8 } else { 120 };
        for _ in 0..r.next(150) {
            let k = r.next(names);
            let name = if k < 4 { Known::ALL[k as usize * 3].name().to_owned() } else { format!("N{k}") };
            let value = "v".repeat(r.next(12) as usize) + &k.to_string();
            match r.next(if round % 3 == 0 { 12 } else { 9 }) {
                0..=5 => {
                    vars.set(&name, &value);
                    set(&mut model, name.as_bytes(), value.as_bytes())
                }
                6 => {
                    vars.remove(&name);
                    model.retain(|(n, _)| n != name.as_bytes())
                }
                7 => {
                    let c = r.next(3);
                    vars.retain(|n, _| n.len() as u64 % 3 != c);
                    model.retain(|(n, _)| n.len() as u64 % 3 != c)
                }
                8 => vars.shrink_to(0),
                9 => {
                    if vars.set_default(&name, &value) {
                        set(&mut model, name.as_bytes(), value.as_bytes())
                    }
                }
                10 => {
                    let mut other = Vars::new();
                    for j in 0..r.next(60) {
                        other.set(format!("O{j}"), "x");
                    }
                    other.set(&name, &value);
                    if !vars.is_empty() || std::env::var_os("EMPTY").is_some() {
                        vars.update(&other);
                        for (n, v) in other.iter() {
                            set(&mut model, n, v)
                        }
                    }
                }
                _ => {
                    vars.clear();
                    model.clear()
                }
            }
            let all: Vec<_> = vars.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            assert_eq!(all, model, "round {round}");
            for (n, v) in &model {
                assert_eq!(vars.get(n), Some(&v[..]))
            }
        }
    }
}
