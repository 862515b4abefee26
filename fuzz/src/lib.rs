//! What must hold for any bytes at all: one function for each target, called by libFuzzer (`fuzz/run`) and, with every
//! input in `fuzz/corpus` and `fuzz/crashes`, by the ordinary tests (`tests/it/fuzz.rs`).

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatewright::apps::Dir;
use gatewright::environ::front::{Front, FrontSettings, ScriptName};
use gatewright::environ::{Collector, Known, MAX_CONTENT_LENGTH, Vars, content_length, sanitise};
use gatewright::handlers::{BaseCgi, BaseHandler, End};
use gatewright::headers::Headers;
use gatewright::proto::{cgi, fcgi, http, scgi};
use gatewright::util::{guess_scheme, python_repr, shift_path_info};

/// A target: panics where something does not hold for these bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their folders and of their programs in `fuzz_targets`.
pub const TARGETS: [(&str, Target); 14] = [
    ("fcgi_decoder", fcgi_decoder),
    ("fcgi_response", fcgi_response),
    ("fcgi_pairs", fcgi_pairs),
    ("fcgi_values", fcgi_values),
    ("cgi_answer", cgi_answer),
    ("scgi_head", scgi_head),
    ("scgi_pairs", scgi_pairs),
    ("http_requests", http_requests),
    ("http_response", http_response),
    ("length", length),
    ("variables", variables),
    ("front", front),
    ("headers", headers),
    ("dir", dir),
];

/// How many requests a connection may have in these tests.
const MAX_REQUESTS: usize = 3;

/// FastCGI from a web server: the same events in any slicing.
pub fn fcgi_decoder(data: &[u8]) {
    in_any_slicing(data, |slices| {
        let mut decoder = fcgi::Decoder::new(MAX_REQUESTS);
        let mut seen = Vec::new();
        for mut input in slices {
            loop {
                let before = input.len();
                match decoder.decode(&mut input) {
                    Ok(Some(event)) => {
                        assert!(input.len() < before, "an event without progress");
                        see_request(&mut seen, event);
                        // As a server does that answers when a request is whole.
                        if let fcgi::Event::StdinEnd { id } | fcgi::Event::Abort { id } = event {
                            assert!(decoder.finish(id) && decoder.phase(id).is_none());
                        }
                        assert!(decoder.live_count() <= MAX_REQUESTS);
                    }
                    Ok(None) => {
                        assert!(input.is_empty(), "input left over");
                        break;
                    }
                    Err(error) => {
                        assert_eq!(decoder.decode(&mut &b"\x01\x01"[..]), Err(error), "an error lasts");
                        return (seen, Err(error));
                    }
                }
            }
        }
        let live: Vec<(u16, fcgi::Phase)> = decoder.live().collect();
        let end = decoder.end_of_input();
        assert_eq!(end.is_ok_and(|end| end == fcgi::EndOfInput::Clean), end.is_ok() && live.is_empty());
        (seen, end.map(|_| live))
    });
}

/// What was seen: a stream's fragments joined, so that slicing does not show.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(String),
    Bytes(&'static str, u16, Vec<u8>),
}

fn see_request(seen: &mut Vec<Seen>, event: fcgi::Event<'_>) {
    match event {
        fcgi::Event::Params { id, data } => see_bytes(seen, "PARAMS", id, data),
        fcgi::Event::Stdin { id, data } => see_bytes(seen, "STDIN", id, data),
        fcgi::Event::Data { id, data } => see_bytes(seen, "DATA", id, data),
        event => seen.push(Seen::Event(format!("{event:?}"))),
    }
}

fn see_bytes(seen: &mut Vec<Seen>, stream: &'static str, id: u16, data: &[u8]) {
    assert!(!data.is_empty(), "a fragment of nothing");
    match seen.last_mut() {
        Some(Seen::Bytes(last, of, all)) if (*last, *of) == (stream, id) => all.extend_from_slice(data),
        _ => seen.push(Seen::Bytes(stream, id, data.to_vec())),
    }
}

/// FastCGI from an application: the same events in any slicing.
pub fn fcgi_response(data: &[u8]) {
    in_any_slicing(data, |slices| {
        let mut decoder = fcgi::ResponseDecoder::new();
        let mut seen = Vec::new();
        for mut input in slices {
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(fcgi::ResponseEvent::Stdout { id, data })) => {
                        see_bytes(&mut seen, "STDOUT", id, data);
                    }
                    Ok(Some(fcgi::ResponseEvent::Stderr { id, data })) => {
                        see_bytes(&mut seen, "STDERR", id, data);
                    }
                    Ok(Some(event)) => seen.push(Seen::Event(format!("{event:?}"))),
                    Ok(None) => {
                        assert!(input.is_empty(), "input left over");
                        break;
                    }
                    Err(error) => {
                        assert_eq!(decoder.decode(&mut &b"\x01\x06"[..]), Err(error), "an error lasts");
                        return (seen, Err(error));
                    }
                }
            }
        }
        (seen, decoder.end_of_input())
    });
}

/// Name-value pairs: what is read is written and read back, and fills the block or ends in an error.
pub fn fcgi_pairs(data: &[u8]) {
    let read: Vec<_> = fcgi::Pairs::new(data).collect();
    let good: Vec<(&[u8], &[u8])> = read.iter().filter_map(|pair| pair.ok()).collect();
    assert!(
        read.len() - good.len() <= 1 && read[..good.len()].iter().all(Result::is_ok),
        "the error is last"
    );
    // A pair takes two bytes at least: no claimed length makes more of them.
    assert!(read.len() <= data.len().div_ceil(2));
    let bytes: usize = good.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= data.len());

    let mut block = Vec::new();
    for (name, value) in &good {
        fcgi::encode::pair(&mut block, name, value).expect("what was read is short enough");
    }
    let again: Vec<_> = fcgi::Pairs::new(&block).map(|pair| pair.expect("a pair of ours")).collect();
    assert_eq!(again, good);

    // The same in records, which cut where they are full.
    let mut wire = Vec::new();
    fcgi::encode::begin_request(&mut wire, 1, fcgi::Role::RESPONDER, true);
    fcgi::encode::params(&mut wire, 1, good.iter().copied()).expect("what was read is short enough");
    let (mut decoder, mut input, mut params, mut ended) =
        (fcgi::Decoder::new(1), &wire[..], Vec::new(), false);
    while let Some(event) = decoder.decode(&mut input).expect("records of ours") {
        match event {
            fcgi::Event::Params { data, .. } => params.extend_from_slice(data),
            fcgi::Event::ParamsEnd { .. } => ended = true,
            _ => {}
        }
    }
    assert!(ended && params == block);
}

/// GET_VALUES and its answer: as many names as fit into a record, or a pair that does not.
pub fn fcgi_values(data: &[u8]) {
    let content = &data[..data.len().min(0xffff)];
    let length = u16::try_from(content.len()).expect("cut to it");
    for record_type in [fcgi::RecordType::GET_VALUES, fcgi::RecordType::GET_VALUES_RESULT] {
        let mut wire = fcgi::Header::new(record_type, fcgi::NULL_REQUEST_ID, length).encode().to_vec();
        wire.extend_from_slice(content);
        if record_type == fcgi::RecordType::GET_VALUES { fcgi_decoder(&wire) } else { fcgi_response(&wire) }
    }
    let whole = fcgi::Pairs::new(content).all(|pair| pair.is_ok());
    let mut wire = fcgi::Header::new(fcgi::RecordType::GET_VALUES, 0, length).encode().to_vec();
    wire.extend_from_slice(content);
    match fcgi::Decoder::new(1).decode(&mut &wire[..]) {
        Ok(Some(fcgi::Event::GetValues(names))) => {
            assert!(whole, "pairs that run past the record");
            let mut asked = Vec::new();
            fcgi::encode::get_values(&mut asked, names);
            let again = fcgi::Decoder::new(1).decode(&mut &asked[..]).expect("a record of ours").is_some();
            assert!(again);
            let named = |name: &[u8]| fcgi::Pairs::new(content).flatten().any(|(given, _)| given == name);
            assert_eq!(names.max_conns, named(b"FCGI_MAX_CONNS"));
            assert_eq!(names.max_reqs, named(b"FCGI_MAX_REQS"));
            assert_eq!(names.mpxs_conns, named(b"FCGI_MPXS_CONNS"));
        }
        Ok(event) => panic!("{event:?}"),
        Err(_) => assert!(!whole),
    }
}

/// A CGI program's answer: the same in any slicing, within its limits, and nothing in it that could be another header.
pub fn cgi_answer(data: &[u8]) {
    let limits = cgi::Limits { bytes: 2000, fields: 20 };
    in_any_slicing(data, |slices| {
        let mut decoder = cgi::Decoder::new(limits);
        let mut document = Vec::new();
        for mut input in slices {
            match decoder.decode(&mut input) {
                Ok(true) => document.extend_from_slice(input),
                Ok(false) => assert!(input.is_empty(), "input left over"),
                Err(error) => {
                    assert_eq!(decoder.decode(&mut &b"A: b\n\n"[..]), Err(error.clone()), "an error lasts");
                    return Err(error);
                }
            }
        }
        let head = decoder.finish()?;
        assert!(data.ends_with(&document) && data.len() - document.len() <= limits.bytes);
        assert!(head.headers.check().is_ok() && head.headers.len() <= limits.fields);
        assert!(head.headers.get_all("Status").next().is_none());
        let code = std::str::from_utf8(&head.status[..3]).expect("digits").parse::<u16>().expect("digits");
        assert!((200..=999).contains(&code) && head.status[3] == b' ' && !head.status.contains(&b'\n'));
        let wire = head.headers.to_bytes();
        assert_eq!(wire.split(|byte| *byte == b'\n').count(), head.headers.len() + 2, "one line each");
        Ok((head.kind, head.status, wire, head.length, document))
    });
}

/// An SCGI request: the same head and body in any slicing, within the limit.
pub fn scgi_head(data: &[u8]) {
    const LIMIT: usize = 2000;
    in_any_slicing(data, |slices| {
        let mut decoder = scgi::HeadDecoder::new(LIMIT);
        let (mut head, mut body) = (Vec::new(), Vec::new());
        for mut input in slices {
            match decoder.decode(&mut input, &mut head) {
                Ok(true) => body.extend_from_slice(input),
                Ok(false) => assert!(input.is_empty(), "input left over"),
                Err(error) => {
                    assert_eq!(decoder.decode(&mut &b"1"[..], &mut head), Err(error), "an error lasts");
                    return Err(error);
                }
            }
            assert!(head.len() <= LIMIT.min(data.len()), "more than came, or than is allowed");
        }
        decoder.end_of_input().map(|end| {
            if end == scgi::EndOfInput::Whole {
                let mut wire = Vec::new();
                scgi::encode_netstring(&mut wire, &head);
                wire.extend_from_slice(&body);
                assert_eq!(wire, data, "a netstring has one form");
                scgi_pairs(&head);
            }
            (head, body)
        })
    });
}

/// The pairs of an SCGI head: what makes a request is written and read back.
pub fn scgi_pairs(data: &[u8]) {
    let read: Vec<_> = scgi::Pairs::new(data).collect();
    let good: Vec<(&[u8], &[u8])> = read.iter().filter_map(|pair| pair.ok()).collect();
    assert!(
        read.len() - good.len() <= 1 && read[..good.len()].iter().all(Result::is_ok),
        "the error is last"
    );
    let joined: Vec<u8> =
        good.iter().flat_map(|(name, value)| [name, &b"\0"[..], value, b"\0"].concat()).collect();
    assert!(data.starts_with(&joined) && (good.len() < read.len() || joined == data));
    let Ok(length) = scgi::check(data) else { return };
    assert!(good.len() == read.len() && length <= MAX_CONTENT_LENGTH);

    let mut wire = Vec::new();
    scgi::encode_head(&mut wire, length, good.iter().copied()).expect("what was read can be written");
    let (mut head, mut input) = (Vec::new(), &wire[..]);
    let decoded = scgi::HeadDecoder::new(usize::MAX).decode(&mut input, &mut head);
    assert!(decoded == Ok(true) && input.is_empty());
    assert_eq!(scgi::check(&head), Ok(length));
    let own = |name: &[u8]| [&b"CONTENT_LENGTH"[..], b"SCGI"].contains(&name);
    let rest = scgi::Pairs::new(&head).flatten().filter(|(name, _)| !own(name));
    assert!(rest.eq(good.iter().copied().filter(|(name, _)| !own(name))));
}

/// HTTP requests behind each other: the same ones in any slicing, and their fields become variables.
pub fn http_requests(data: &[u8]) {
    const LIMITS: http::Limits = http::Limits { head: 4000, fields: 20 };
    const LONGEST: u64 = 3000;
    if let Some((request, length)) = http::Request::first(data, &LIMITS) {
        let (mut input, mut head) = (data, Vec::new());
        assert_eq!(http::HeadDecoder::new(LIMITS).decode(&mut input, &mut head), Ok(true), "the short way");
        assert_eq!((&head[..], input.len()), (&data[..length], data.len() - length), "the short way's end");
        assert_eq!(http::Request::parse(&head, &LIMITS), Ok(request), "what the short way finds");
    }
    in_any_slicing(data, |slices| {
        let (mut seen, mut head, mut body) = (Vec::new(), Vec::new(), Vec::new());
        let mut heads = http::HeadDecoder::new(LIMITS);
        let mut bodies: Option<http::BodyDecoder> = None;
        for mut input in slices {
            while !input.is_empty() {
                let Some(decoder) = &mut bodies else {
                    match heads.decode(&mut input, &mut head) {
                        Ok(false) => assert!(input.is_empty(), "input left over"),
                        Ok(true) => match open(&head, &LIMITS, LONGEST) {
                            Ok(decoder) => bodies = Some(decoder),
                            Err(error) => return (seen, Some(error)),
                        },
                        Err(error) => {
                            assert_eq!(heads.decode(&mut &b"G"[..], &mut head), Err(error), "an error lasts");
                            return (seen, Some(error));
                        }
                    }
                    assert!(head.len() <= LIMITS.head, "more than is allowed");
                    continue;
                };
                match decoder.decode(&mut input) {
                    Ok(Some(data)) => body.extend_from_slice(data),
                    Ok(None) if decoder.is_whole() => {
                        seen.push((std::mem::take(&mut head), std::mem::take(&mut body)));
                        (heads, bodies) = (http::HeadDecoder::new(LIMITS), None);
                    }
                    Ok(None) => assert!(input.is_empty(), "input left over"),
                    Err(error) => {
                        assert_eq!(decoder.decode(&mut &b"0"[..]), Err(error), "an error lasts");
                        return (seen, Some(error));
                    }
                }
                assert!(body.len() as u64 <= LONGEST, "a longer body than is allowed");
            }
        }
        (seen, None)
    });
}

/// The body of a request whose head is whole, and which has variables then.
fn open(head: &[u8], limits: &http::Limits, longest: u64) -> Result<http::BodyDecoder, http::DecodeError> {
    let request = http::Request::parse(head, limits)?;
    assert!(request.fields().count() <= limits.fields);
    assert!(request.target.path().iter().all(u8::is_ascii_graphic));
    let mut vars = Vars::new();
    request.variables(&mut vars).expect("what is accepted has variables");
    for (name, value) in vars.iter() {
        let plain = name.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        assert!(plain && !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')));
    }
    let length = vars.known(Known::ContentLength).map(content_length);
    match request.framing {
        http::Framing::Length(expected) => assert_eq!(length, Some(Ok(Some(expected)))),
        _ => assert_eq!(length, None),
    }
    http::BodyDecoder::new(request.framing, longest)
}

/// A response: a status, lines `name=value`, an empty line, a body. Whatever they are, a client finds its end where it is.
pub fn http_response(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (status, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let end = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
    let (lines, body) = rest.split_at(end);
    let Ok(headers) = Headers::try_from_pairs(pairs(lines)) else { return };
    for wire in [&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let request = http::Request::parse(wire, &http::Limits::default()).expect("a good request");
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let head = http::ResponseHead { status, headers: &headers, date, server: None, length: None };
        let mut out = Vec::new();
        let Ok(mut encoder) = head.encode(&http::Exchange::from(&request), &mut out) else {
            assert!(out.is_empty(), "half a head");
            return;
        };
        let head_ends = out.len();
        body.chunks(7).for_each(|piece| encoder.encode(piece, &mut out));
        let whole = encoder.end(&mut out).is_ok();
        let (head, sent) = out.split_at(head_ends);
        let first_end = head.windows(4).position(|four| four == b"\r\n\r\n");
        assert_eq!(first_end, Some(head_ends - 4), "a head has one end");
        let fields = |name: &str| {
            let lines = head.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
            let named = lines.filter(|line| {
                line.len() > name.len()
                    && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
                    && line[name.len()] == b':'
            });
            named.count()
        };
        assert!(fields("content-length") + fields("transfer-encoding") <= 1, "two framings");
        assert_eq!(fields("connection"), usize::from(!encoder.keep_alive()));
        if encoder.cut() > 0 && sent.is_empty() {
            continue;
        }
        if fields("transfer-encoding") == 1 {
            let mut decoder = http::BodyDecoder::new(http::Framing::Chunked, u64::MAX).expect("no limit");
            let (mut input, mut read) = (sent, Vec::new());
            while let Some(data) = decoder.decode(&mut input).expect("good chunks") {
                read.extend_from_slice(data);
            }
            assert!(decoder.is_whole() && input.is_empty() && read == body);
        } else {
            assert!(body.starts_with(sent) && (sent.len() == body.len() || encoder.cut() > 0 || !whole));
        }
    }
}

/// CONTENT_LENGTH: digits and nothing else, up to 2^63 − 1.
pub fn length(data: &[u8]) {
    let text = std::str::from_utf8(data).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let expected = text.filter(|text| !text.is_empty()).map(|text| text.parse::<u64>());
    match (content_length(data), expected) {
        (Ok(None), None) => assert!(data.is_empty()),
        (Ok(Some(length)), Some(Ok(number))) => assert!(length == number && length <= MAX_CONTENT_LENGTH),
        (Err(_), Some(Ok(number))) => assert!(number > MAX_CONTENT_LENGTH),
        (Err(_), Some(Err(_)) | None) => {}
        (given, expected) => panic!("{given:?} for {expected:?}"),
    }
}

/// Names and values: lines `name=value` that end in line feeds, the value with any other bytes.
fn pairs(data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    data.split(|byte| *byte == b'\n').map(|line| match line.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&line[..equals], &line[equals + 1..]),
        None => (line, &b""[..]),
    })
}

/// The variables of a peer: no name that an environment cannot hold, none that is dangerous.
pub fn variables(data: &[u8]) {
    let Some(mut vars) = collect(data) else { return };
    for (name, value) in vars.iter() {
        assert!(!name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0));
    }
    let all: usize = vars.iter().map(|(name, value)| name.len() + value.len()).sum();
    // Each separator that joining adds stands for a name that was repeated.
    assert!(all <= 2 * data.len() + 2);
    sanitise(&mut vars);
    assert!(
        !["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"].iter().any(|name| vars.contains(name))
    );
    let mut names: Vec<Vec<u8>> =
        vars.iter().filter(|(name, _)| name.starts_with(b"HTTP_")).map(plain).collect();
    names.sort();
    assert!(names.windows(2).all(|two| two[0] != two[1]), "two names for one header");
    let before = format!("{vars:?}");
    sanitise(&mut vars);
    assert_eq!(format!("{vars:?}"), before, "once is enough");
    let _ = guess_scheme(&vars);
    vars.iter().for_each(|(_, value)| assert!(python_repr(value).is_ascii() || !value.is_ascii()));
    shift(&mut vars);
}

fn plain((name, _): (&[u8], &[u8])) -> Vec<u8> {
    name.iter().map(|byte| if matches!(byte, b'-' | b'.') { b'_' } else { *byte }).collect()
}

fn collect(data: &[u8]) -> Option<Vars> {
    let mut vars = Vars::new();
    let mut collector = Collector::new(&mut vars);
    for (name, value) in pairs(data) {
        collector.push(name, value).ok()?;
    }
    collector.finish();
    Some(vars)
}

/// Shifting goes on until the path is used up: each step makes it shorter.
fn shift(vars: &mut Vars) {
    let mut left = vars.known(Known::PathInfo).unwrap_or_default().len();
    while let Ok(Some(segment)) = shift_path_info(vars) {
        assert!(!segment.contains(&b'/'));
        let now = vars.known(Known::PathInfo).unwrap_or_default().len();
        assert!(now < left, "no progress");
        left = now;
    }
}

/// What web servers send: any repair of any variables, and any mount.
pub fn front(data: &[u8]) {
    let Some(given) = collect(data) else { return };
    for front in Front::ALL {
        let mut vars = given.clone();
        front.repair(&mut vars);
        let script = |vars: &Vars| vars.known(Known::ScriptName).unwrap_or_default().to_vec();
        if front == Front::None {
            assert_eq!(format!("{vars:?}"), format!("{given:?}"));
        } else {
            assert!(!script(&vars).ends_with(b"/"));
        }
        // Nothing comes out of nowhere: a repair moves, cuts and decodes.
        let bytes = |vars: &Vars| vars.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        assert!(bytes(&vars) <= 3 * bytes(&given) + 200);
        for at in ["/app", "/"] {
            let script_name: ScriptName = at.parse().expect("a path");
            let settings =
                FrontSettings { front, script_name: Some(script_name), ..FrontSettings::default() };
            let mut vars = given.clone();
            if settings.apply(&mut vars).is_ok() {
                assert_eq!(script(&vars), at.trim_end_matches('/').as_bytes());
                let path = vars.known(Known::PathInfo).unwrap_or_default();
                assert!(path.is_empty() || path.starts_with(b"/") || at == "/", "{path:?}");
                assert!(!path.contains(&0));
            }
        }
    }
    if let Some((name, _)) = pairs(data).next()
        && let Ok(mount) = ScriptName::new(name)
    {
        assert!(!mount.as_bytes().ends_with(b"/") && !mount.as_bytes().contains(&0));
        assert_eq!(ScriptName::new(if name == b"/" { b"/" } else { mount.as_bytes() }), Ok(mount.clone()));
    }
}

/// Headers of an answer: whatever is accepted stands in one line of its own.
pub fn headers(data: &[u8]) {
    let mut headers = Headers::new();
    let mut accepted = Vec::new();
    for (name, value) in pairs(data) {
        if headers.append(name, value).is_ok() {
            accepted.push((name.to_vec(), value.to_vec()));
        }
        // Look-ups never fail.
        assert_eq!(headers.contains(name), headers.get(name).is_some());
    }
    assert_eq!(headers.len(), accepted.len());
    let wire = headers.to_bytes();
    let text =
        wire.strip_suffix(b"\r\n\r\n").or(wire.strip_suffix(b"\r\n")).expect("an empty line at the end");
    let lines: Vec<&[u8]> = if accepted.is_empty() { Vec::new() } else { split_lines(text) };
    let expected: Vec<Vec<u8>> =
        accepted.iter().map(|(name, value)| [name, &b": "[..], value].concat()).collect();
    assert_eq!(lines, expected, "nothing of a name or value is a line's end");
    assert!(!text.contains(&0));
}

fn split_lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

/// Removes what the targets have left in the folder for temporary files.
pub fn clean_up() {
    let _ = fs::remove_dir_all(folder());
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("gatewright-fuzz-{}", std::process::id()))
}

/// A folder with files of all kinds, and a secret beside it.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        clean_up();
        let top = folder();
        let root = top.join("root");
        let files: [(&str, &[u8]); 6] = [
            ("index.html", b"<p>index"),
            ("a.txt", b"abcdefghijklmnopqrstuvwxyz"),
            ("a.txt.gz", b"packed"),
            ("empty", b""),
            (".hidden", b"SECRET"),
            ("sub/caf\u{e9} x.bin", b"\x00\x01\x02"),
        ];
        fs::create_dir_all(root.join("sub")).expect("a folder for temporary files");
        for (name, content) in files {
            fs::write(root.join(name), content).expect("a folder that can be written");
        }
        fs::write(top.join("secret"), b"SECRET").expect("a folder that can be written");
        for (name, target) in [("out", "../secret"), ("up", ".."), ("in", "a.txt"), ("loop", "loop")] {
            symlink(target, root.join(name)).expect("a folder that can be written");
        }
        Self(root)
    }
}

/// Files of a folder: whatever is asked, nothing is served from outside or hidden, and the answer is well formed.
pub fn dir(data: &[u8]) {
    static FILES: LazyLock<Files> = LazyLock::new(Files::new);
    let root: &Path = &FILES.0;
    let Some(vars) = collect(data) else { return };
    let head_only = vars.get("REQUEST_METHOD") == Some(b"HEAD");
    for listing in [false, true] {
        let dir = Dir::new(root).expect("the folder").listing(listing);
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars.clone());
        let outcome = handler.run(&dir);
        let (_, answer, _) = handler.into_streams();
        assert!(!contains(&answer, b"SECRET"), "{}", answer.escape_ascii());
        assert_eq!(outcome.end, End::Answered, "{}", answer.escape_ascii());
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let (head, body) = (&answer[..end], &answer[end + 4..]);
        let lines: Vec<&[u8]> = split_lines(head);
        let status = lines[0].strip_prefix(b"Status: ").expect("a status");
        assert!(!status.starts_with(b"5") || status.starts_with(b"501"), "{}", status.escape_ascii());
        let field = |name: &[u8]| lines.iter().find_map(|line| line.strip_prefix(name));
        if let Some(length) = field(b"Content-Length: ") {
            let bodiless = head_only || status.starts_with(b"304");
            let length: usize = std::str::from_utf8(length).expect("digits").parse().expect("a number");
            assert!(body.len() == if bodiless { 0 } else { length }, "{}", answer.escape_ascii());
        }
        if let (true, Some(range)) = (status.starts_with(b"206"), field(b"Content-Range: bytes ")) {
            assert!(
                head_only || contains(b"abcdefghijklmnopqrstuvwxyz<p>index\0\x01\x02packed", body),
                "{range:?}"
            );
        }
        // 64 parts at most, each with a head of its own, and a page that names what was asked for.
        assert!(answer.len() <= 64 * 300 + 4000 + 12 * data.len(), "{} bytes", answer.len());
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    part.is_empty() || all.windows(part.len()).any(|window| window == part)
}

/// Runs it on `data` in one piece, byte by byte, in pieces of some sizes, and cut in two: at each byte of what is short,
/// at one that the bytes choose otherwise. The outcome is the same.
fn in_any_slicing<T: PartialEq + Debug>(data: &[u8], run: impl Fn(Vec<&[u8]>) -> T) {
    const SHORT: usize = 48;
    let whole = run(vec![data]);
    for size in [1, 2, 3, 8, 13] {
        assert_eq!(run(data.chunks(size).collect()), whole, "in pieces of {size}");
    }
    let sum = data.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let cuts = if data.len() <= SHORT { 0..data.len() } else { sum % data.len()..sum % data.len() + 1 };
    for cut in cuts {
        let (head, tail) = data.split_at(cut);
        assert_eq!(run(vec![head, tail]), whole, "cut at {cut}");
    }
}
