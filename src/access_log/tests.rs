use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::environ::{Errors, Input, Vars};
use crate::handlers::{Attributes, BaseCgi, BaseHandler, End};

/// The line that a request with these variables gives.
fn line(format: Format, vars: &[(&str, &[u8])], status: Option<u16>, bytes: u64) -> String {
    let mut all = Vars::new();
    for (name, value) in vars {
        all.set(name, value);
    }
    let mut errors = Vec::new();
    let request = Environ::new(all, Input::Empty, Errors::new(&mut errors));
    let mut outcome = Outcome::new(End::Answered);
    (outcome.status, outcome.body_bytes) = (status, bytes);
    let began = UNIX_EPOCH + Duration::from_millis(1_795_269_909_007);
    let mut out = Vec::new();
    format.write(&mut out, &request, &outcome, began, Duration::from_micros(1_234_567));
    String::from_utf8(out).unwrap()
}

const REQUEST: &[(&str, &[u8])] = &[
    ("REMOTE_ADDR", b"192.0.2.7"),
    ("REMOTE_USER", b"jo"),
    ("REQUEST_METHOD", b"GET"),
    ("REQUEST_URI", b"/app/x%20y?q=1"),
    ("SERVER_PROTOCOL", b"HTTP/1.1"),
    ("HTTP_HOST", b"example.org"),
    ("HTTP_REFERER", b"http://example.org/"),
    ("HTTP_USER_AGENT", b"Browser/1.0 (X)"),
];

#[test]
fn each_format_has_its_fields_in_order() {
    let common = "192.0.2.7 - jo [21/Nov/2026:14:05:09 +0000] \"GET /app/x%20y?q=1 HTTP/1.1\" 200 1234";
    assert_eq!(line(Format::Common, REQUEST, Some(200), 1234), format!("{common}\n"));
    let combined = format!("{common} \"http://example.org/\" \"Browser/1.0 (X)\"\n");
    assert_eq!(line(Format::Combined, REQUEST, Some(200), 1234), combined);
    assert_eq!(
        line(Format::Json, REQUEST, Some(200), 1234),
        "{\"time\":\"2026-11-21T14:05:09.007Z\",\"remote_addr\":\"192.0.2.7\",\"remote_user\":\"jo\",\
         \"host\":\"example.org\",\"method\":\"GET\",\"target\":\"/app/x%20y?q=1\",\"protocol\":\"HTTP/1.1\",\
         \"status\":200,\"bytes\":1234,\"seconds\":1.234567,\"end\":\"answered\",\
         \"referer\":\"http://example.org/\",\"user_agent\":\"Browser/1.0 (X)\"}\n"
    );
}

#[test]
fn what_is_not_known_is_said_to_be() {
    assert_eq!(
        line(Format::Combined, &[], None, 0),
        "- - - [21/Nov/2026:14:05:09 +0000] \"- -\" 000 - \"-\" \"-\"\n"
    );
    let json = line(Format::Json, &[], None, 0);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(
        value["status"].is_null() && value["remote_addr"].is_null() && value["method"].is_null(),
        "{json}"
    );
    let parts: &[(&str, &[u8])] = &[
        ("SCRIPT_NAME", b"/app"),
        ("PATH_INFO", b"/x y"),
        ("QUERY_STRING", b"q"),
        ("REQUEST_METHOD", b"GET"),
    ];
    assert!(line(Format::Common, parts, None, 0).contains("\"GET /app/x%20y?q\""));
}

#[test]
fn no_value_can_look_like_another() {
    let forged: &[(&str, &[u8])] = &[
        ("REMOTE_USER", b"a b"),
        ("REQUEST_METHOD", b"GET"),
        ("REQUEST_URI", b"/\" 200 1\n127.0.0.1 - -"),
        ("HTTP_USER_AGENT", b"\\x\x1b[2J\xff\xc3\xa9\x7f"),
    ];
    assert_eq!(
        line(Format::Combined, forged, Some(404), 1),
        "- - a\\x20b [21/Nov/2026:14:05:09 +0000] \"GET /\\x22\\x20200\\x201\\x0A127.0.0.1\\x20-\\x20-\" 404 1 \"-\" \
         \"\\x5Cx\\x1B[2J\\xFF\\xC3\\xA9\\x7F\"\n"
    );
    let json = line(Format::Json, forged, Some(404), 1);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["target"], "/\" 200 1\n127.0.0.1 - -");
    assert_eq!(value["user_agent"], "\\x\u{1b}[2J\\xFF\u{e9}\u{7f}");
}

#[test]
fn a_line_is_one_line_of_bounded_length_whatever_the_bytes() {
    let mut runner = proptest::test_runner::TestRunner::new(crate::repeatable(500));
    let result = runner.run(&prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        for format in [Format::Common, Format::Combined, Format::Json] {
            let vars: Vec<(&str, &[u8])> = REQUEST.iter().map(|(name, _)| (*name, &bytes[..])).collect();
            let line = line(format, &vars, Some(200), 1);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert!(line.trim_end().chars().all(|c| !c.is_control()));
            if format != Format::Json {
                prop_assert!(line.is_ascii());
                continue;
            }
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            match std::str::from_utf8(&bytes) {
                Ok("") => prop_assert!(value["user_agent"].is_null()),
                Ok(text) => prop_assert_eq!(value["user_agent"].as_str(), Some(text)),
                Err(_) => prop_assert!(value["user_agent"].as_str().unwrap().contains("\\x")),
            }
        }
        Ok(())
    });
    result.unwrap();
    let long = vec![0xff; 1 << 20];
    for format in [Format::Combined, Format::Json] {
        let vars: Vec<(&str, &[u8])> = REQUEST.iter().map(|(name, _)| (*name, &long[..])).collect();
        assert!(line(format, &vars, Some(200), 1).len() < 512 * 1024);
    }
}

struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-log-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn record(log: &AccessLog, target: &str) {
    let mut errors = Vec::new();
    let vars = Vars::from([("REQUEST_METHOD", "GET"), ("REQUEST_URI", target)]);
    let request = Environ::new(vars, Input::Empty, Errors::new(&mut errors));
    log.finished(&request, &Outcome::new(End::Answered), Duration::ZERO);
}

#[test]
fn lines_are_appended_and_all_there_in_the_end() {
    let place = Place::new();
    let path = place.path("access.log");
    for direct in [false, true] {
        let file = LogFile::open(&path).unwrap();
        let log = match direct {
            false => AccessLog::start(file, Format::Common).unwrap(),
            true => AccessLog::direct(file, Format::Common),
        };
        thread::scope(|scope| {
            for worker in 0..4 {
                let log = &log;
                scope.spawn(move || (0..100).for_each(|n| record(log, &format!("/{direct}/{worker}/{n}"))));
            }
        });
    }
    let text = fs::read_to_string(&path).unwrap();
    let mut targets: Vec<&str> = text.lines().map(|line| line.split(' ').nth(6).unwrap()).collect();
    assert!(targets[..400].iter().all(|target| target.starts_with("/false/")), "the second log was appended");
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 800);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
}

#[test]
fn a_renamed_file_is_written_until_it_is_opened_anew() {
    let place = Place::new();
    let (path, old) = (place.path("access.log"), place.path("access.log.1"));
    let log = AccessLog::start(LogFile::open(&path).unwrap(), Format::Common).unwrap();
    record(&log, "/first");
    fs::rename(&path, &old).unwrap();
    record(&log, "/second");
    log.reopen();
    while !path.exists() {
        thread::yield_now();
    }
    record(&log, "/third");
    drop(log);
    let targets = |path: &PathBuf| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split(' ').nth(6).unwrap().trim_end_matches('"').to_owned()).collect()
    };
    assert_eq!(
        (targets(&old), targets(&path)),
        (vec!["/first".into(), "/second".into()], vec!["/third".into()])
    );
}

#[test]
fn a_log_that_is_not_written_holds_up_nobody_and_is_bounded() {
    let place = Place::new();
    let path = place.path("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(LogFile::open(&path).is_err(), "a pipe without a reader");
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = AccessLog::start(LogFile::open(&path).unwrap(), Format::Common).unwrap();
    // Nobody reads: the pipe fills up, then the memory; what comes then is lost, and this test goes on.
    let target = format!("/{}", "x".repeat(1000));
    let Way::Queue(queue) = &log.way else { panic!("a queue") };
    let mut given = 0;
    while queue.lock().lost < 10 {
        record(&log, &target);
        given += 1;
        assert!(given < 10_000, "it is bounded");
        assert!(queue.lock().lines.len() <= WAITING);
    }
    // All the rest arrives, each line whole.
    let mut reader = io::BufReader::new(reader);
    let mut line = Vec::new();
    for _ in 0..given - 10 {
        line.clear();
        io::BufRead::read_until(&mut reader, b'\n', &mut line).unwrap();
        assert!(line.starts_with(b"- - - [") && line.ends_with(b"\" 000 -\n"), "{}", line.escape_ascii());
    }
    drop(log);
}

#[test]
fn a_torn_line_does_not_run_into_the_next() {
    let place = Place::new();
    let path = place.path("access.log");
    let mut file = LogFile::open(&path).unwrap();
    file.write_line(b"one\n").unwrap();
    let mut full = LogFile::open("/dev/full").unwrap();
    assert_eq!(full.write_line(b"lost\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    // As if that had been this file, and its disk were free again.
    file.torn = full.torn;
    file.write_line(b"two\n").unwrap();
    file.write_line(b"three\n").unwrap();
    let mut text = String::new();
    fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n\ntwo\nthree\n");
}

#[test]
fn files_that_cannot_be_opened_are_errors() {
    let place = Place::new();
    for path in [place.path("missing/access.log"), place.0.clone(), PathBuf::from("/"), PathBuf::new()] {
        assert!(LogFile::open(&path).is_err(), "{}", path.display());
    }
}

#[test]
fn error_pages_and_panics_are_logged_with_what_was_sent() {
    let place = Place::new();
    let path = place.path("access.log");
    let log = Box::leak(Box::new(AccessLog::direct(LogFile::open(&path).unwrap(), Format::Json)));
    let run = |app: &dyn crate::app::Application| {
        let mut handler =
            BaseCgi::new(&b""[..], Vec::new(), Vec::new(), Vars::from([("REQUEST_METHOD", "GET")]));
        handler.attributes = Attributes { observer: Some(log), ..handler.attributes };
        handler.run(app);
    };
    crate::handlers::capture_panics();
    run(&crate::apps::demo_app);
    run(&crate::app::app(|_, _| Err("broken".into())));
    run(&crate::app::app(|_, _| panic!("on purpose")));
    run(&crate::app::app(|_, _| Err(crate::error::Error::bad_request("nonsense").into())));
    run(&crate::app::app(|_, respond| respond.start("204 No Content", [("X", "y")])?.send("")));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<u64> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 500, 500, 400, 204]);
    let bytes: Vec<bool> = lines.iter().map(|line| line["bytes"].as_u64().unwrap() > 0).collect();
    assert_eq!(bytes, [true, true, true, true, false]);
}
