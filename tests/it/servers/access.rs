//! Access logs, as gateways behind web servers write them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::apache::{self, Starts};
use super::client::Request;
use super::harness::{Folder, Process, answers, free_port, is_root, program, wait_until};
use super::link::{Link, Over, Protocol};
use super::nginx::{careful_location, start_before};
use super::site::Site;

fn start(protocol: Protocol, flags: &[&str]) -> Site {
    start_before(Link::new(protocol, Over::Unix), careful_location(protocol), |folder, socket| {
        let gateway = if protocol == Protocol::FastCgi { "fcgi-gateway" } else { "scgi-gateway" };
        // What the gateway's user may make anew, but only there.
        let logs = folder.mkdir("logs");
        fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).expect("its owner may");
        Process::start(folder, "gateway", &program(gateway), |command| {
            command.current_dir(folder.root()).args(["--socket", &socket.address()]).args(flags);
            if is_root() {
                command.args(["--socket-group", "www-data", "--user", "www-data"]);
            }
            command.args(["--mount", "/demo=demo", "--mount", "/files/=dir:logs"]);
        })
    })
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text}");
    text.lines().map(str::to_owned).collect()
}

/// Waits until the log has that many lines.
#[track_caller]
fn wait_for(path: &Path, count: usize) -> Vec<String> {
    wait_until(&format!("{} has {count} lines", path.display()), || {
        // A line is written by one call: a reader sees none of it or all.
        fs::read(path).is_ok_and(|text| text.iter().filter(|byte| **byte == b'\n').count() >= count)
    });
    let lines = lines(path);
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

#[test]
fn every_request_has_a_line_and_a_renamed_file_is_let_go() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi] {
        let mut site = start(protocol, &["--access-log", "logs/access.log", "--access-log-format", "json"]);
        let path = site.folder.path("logs/access.log");
        let length = site.get("/demo/x%20y?q=%22").expect(200).body.len();
        // The line comes after the answer: the next one's could come before it.
        wait_for(&path, 1);
        site.get("/nothing\\x?a\"b").expect(404);
        wait_for(&path, 2);
        site.request("HEAD", "/demo").header("User-Agent", b"caf\xe9 \"x\\").send(site.port).expect(200);
        wait_for(&path, 3);
        site.request("POST", "/files/x").body(b"x").send(site.port).expect(405);
        wait_for(&path, 4);
        site.get("/files").expect(301);
        let told = wait_for(&path, 5);
        let told: Vec<Value> = told.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let statuses: Vec<u64> = told.iter().filter_map(|line| line["status"].as_u64()).collect();
        assert_eq!(statuses, [200, 404, 200, 405, 301]);
        assert_eq!(told[0]["target"], "/app/demo/x%20y?q=%22");
        assert_eq!(told[0]["bytes"], length);
        assert_eq!(told[0]["remote_addr"], "127.0.0.1");
        assert_eq!(told[0]["end"], "answered");
        assert_eq!(told[1]["target"], "/app/nothing\\x?a\"b");
        assert_eq!((&told[2]["bytes"], &told[2]["user_agent"]), (&Value::from(0), &"caf\\xE9 \"x\\".into()));
        let mode = fs::metadata(&path).expect("the log").permissions().mode();
        assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");

        let old = site.folder.path("logs/access.log.1");
        fs::rename(&path, &old).expect("our folder");
        let (gateway, _) = site.gateway.as_ref().expect("a gateway");
        gateway.signal(Signal::SIGUSR1);
        wait_until("a new file is there", || path.exists());
        site.get("/demo").expect(200);
        wait_for(&path, 1);
        assert_eq!(lines(&old).len(), 5);

        // A signal that ends the gateway loses nothing.
        site.get("/demo").expect(200);
        let (gateway, _) = site.gateway.as_mut().expect("a gateway");
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        assert_eq!(lines(&path).len(), 2);
        assert!(!gateway.log().contains("lost"), "{}", gateway.log());
    }
}

#[test]
fn requests_at_once_are_lines_apart() {
    let site = start(Protocol::FastCgi, &["--access-log", "logs/access.log"]);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let site = &site;
            scope.spawn(move || {
                (0..25).for_each(|n| drop(site.get(&format!("/demo/{worker}/{n}")).expect(200)));
            });
        }
    });
    let mut targets: Vec<String> = wait_for(&site.folder.path("logs/access.log"), 200)
        .iter()
        .map(|line| {
            assert!(line.starts_with("127.0.0.1 - - [") && line.ends_with(" \"-\" \"-\""), "{line}");
            line.split(' ').nth(6).expect("a target").to_owned()
        })
        .collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), 200);
}

#[test]
fn refused_and_failed_requests_are_logged_too() {
    let site = start(
        Protocol::Scgi,
        &["--access-log", "-", "--access-log-format", "common", "--script-name", "/else"],
    );
    Request::new("GET", "/app/outside").send(site.port).expect(404);
    let line = "\"GET /app/outside HTTP/1.1\" 404 ";
    wait_until("the line stands on standard error", || site.log().contains(line));
}

/// What came before the limit on parameters was passed is not all that there is.
#[test]
fn a_request_with_too_many_parameters_is_logged_with_its_target() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi] {
        let flags = ["--access-log", "-", "--access-log-format", "common", "--max-pairs", "3"];
        let site = start(protocol, &flags);
        site.get("/demo/x%20y?q").expect(431);
        wait_until("the line stands on standard error", || site.log().contains("\" 431 "));
        let log = site.log();
        let line = log.lines().find(|line| line.contains("\" 431 ")).expect("it stands there");
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(line.contains("] \"GET /app/demo/x%20y?q HTTP/1.1\" 431 "), "{line}");
    }
}

/// Requests that HTTP itself refuses, or that never come whole: what was seen of their first line, and who sent them.
#[test]
fn requests_that_cannot_be_read_are_logged_as_far_as_they_came() {
    let folder = Folder::new();
    let (port, path) = (free_port(), folder.path("access.log"));
    let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--max-body", "1000"]);
        command.args(["--head-timeout", "100ms", "--body-timeout", "100ms"]);
        command.arg("--access-log").arg(&path).args(["--access-log-format", "common", "demo"]);
    });
    gateway.ready_when(|| answers(port));
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000));
    let cut = format!("GET /{}", "x".repeat(8 * 1024 - 1));
    for (count, (wire, line, status)) in [
        ("GET /a?b HTTP/1.1\r\nHost: h\r\nbad line\r\n\r\n", "GET /a?b HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1\r\n", "GET /a#b HTTP/1.1", 400),
        ("GET /two words HTTP/1.1\r\n", "GET /two\\x20words HTTP/1.1", 400),
        ("GET /q\"\x01\0\u{e9} HTTP/1.1\r\n", "GET /q\\x22\\x01\\x00\\xC3\\xA9 HTTP/1.1", 400),
        ("GET /old\r\n", "GET /old", 400),
        ("PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0", 505),
        ("GET /9 HTTP/0.9\r\n\r\n", "GET /9 HTTP/0.9", 505),
        ("CONNECT a:1 HTTP/1.1\r\n", "CONNECT a:1 HTTP/1.1", 501),
        ("HEAD /h HTTP/1.1\r\n\r\n", "HEAD /h HTTP/1.1", 400),
        ("POST /l HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", "POST /l HTTP/1.1", 413),
        (&long, &cut, 414),
        ("GET /slow HTTP/1.1\r\nHost:", "GET /slow HTTP/1.1", 408),
        ("GET /slo", "GET /slo", 408),
        ("POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", "POST /body HTTP/1.1", 408),
        ("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz", "POST /c HTTP/1.1", 400),
        ("\x16\x03\x01\x02", "- -", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request { bytes: wire.as_bytes().to_vec(), is_head: wire.starts_with("HEAD") };
        request.send(port).expect(status);
        let told = wait_for(&path, count + 1);
        let told = told.last().expect("a line");
        assert!(told.starts_with("127.0.0.1 - - ["), "{told}");
        assert!(told.contains(&format!("] \"{line}\" {status} ")), "{wire:.60?}: {told:.300}");
    }
}

/// Of a file that the system sends, too: it was 0 for whoever broke a download off.
#[test]
fn a_download_that_is_broken_off_is_logged_with_what_was_sent() {
    const SIZE: u64 = 256 << 20;
    let (folder, port) = (Folder::new(), free_port());
    let path = folder.path("access.log");
    fs::File::create(folder.mkdir("www").join("large"))
        .and_then(|file| file.set_len(SIZE))
        .expect("our folder");
    let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--access-log"]).arg(&path);
        command.args(["--access-log-format", "json"]).arg(format!("dir:{}", folder.path("www").display()));
    });
    gateway.ready_when(|| answers(port));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.write_all(&Request::new("GET", "/large").bytes).expect("room in the socket");
    stream.read_exact(&mut vec![0; 1 << 20]).expect("a part of the file");
    drop(stream);
    let told: Value = serde_json::from_str(&wait_for(&path, 1)[0]).expect("JSON");
    assert_eq!((&told["status"], &told["end"]), (&200.into(), &"client gone".into()));
    let bytes = told["bytes"].as_u64().expect("a number");
    // Its head was among what was read.
    assert!(((1 << 20) - 1000..SIZE).contains(&bytes), "{told}");
}

#[test]
fn a_cgi_program_appends_to_its_log() {
    let folder = Folder::new();
    let path = folder.write("access.log", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("its owner may");
    let directives =
        format!("SetEnv CGI_GATEWAY_OPTIONS \"--access-log {} --access-log-format common\"", path.display());
    let site = apache::start(Starts::Daemon, &program("cgi-gateway"), &directives);
    let before = lines(&path).len();
    site.get("/x?q").expect(200);
    wait_for(&path, before + 1);
    site.get("/y").expect(200);
    let told = wait_for(&path, before + 2);
    assert!(told[before].contains("] \"GET /app/x?q HTTP/1.1\" 200 "), "{}", told[before]);
    assert!(told[before + 1].contains("] \"GET /app/y HTTP/1.1\" 200 "), "{}", told[before + 1]);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_said() {
    let mut site = start(Protocol::Scgi, &["--access-log", "/dev/full"]);
    for _ in 0..20 {
        site.get("/demo").expect(200);
    }
    let (gateway, _) = site.gateway.as_mut().expect("a gateway");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("access log /dev/full: lines lost, ")).collect();
    // One at once, then one a second at most, and what is left at the end.
    assert!((1..20).contains(&told.len()), "{log}");
    let last = told.last().expect("one");
    assert!(last.contains("lost, 20 since the start: No space left on device"), "{log}");
}
