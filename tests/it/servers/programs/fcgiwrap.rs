//! `fcgi-gateway` by the name of fcgiwrap, beside the real one: the same requests, the same answers.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::{packaged, succeeds};
use crate::servers::client::Request as Http;
use crate::servers::harness::{Folder, Process, program, wait_until};
use crate::servers::link::{Link, Over, Protocol, Socket};
use crate::servers::nginx::start_before;
use crate::wire::{PATIENCE, Request, answers};

const REAL: &str = "/usr/sbin/fcgiwrap";

/// Starts a program as spawn-fcgi does: the listening socket is its standard input.
fn start(folder: &Folder, name: &str, program: &Path, arguments: &[&str]) -> (Process, PathBuf) {
    let socket = folder.path(&format!("{name}.sock"));
    let listener = UnixListener::bind(&socket).expect("a new socket");
    let process = Process::start(folder, name, program, |command| {
        command.stdin(OwnedFd::from(listener)).args(arguments).env("OF_ITS_OWN", "passed on");
    });
    (process, socket)
}

fn ours(folder: &Folder) -> PathBuf {
    folder.install(&program("fcgi-gateway"), "fcgiwrap")
}

/// A folder of programs, at `bin`.
fn programs(folder: &Folder) -> PathBuf {
    let bin = folder.mkdir("bin");
    folder.mkdir("bin/sub");
    let text = "printf 'Content-Type: text/plain\\n\\n'";
    for (name, body, mode) in [
        (
            "show",
            format!("{text}; echo \"$0 $SCRIPT_FILENAME $SCRIPT_NAME ${{PATH_INFO-unset}}\"; pwd"),
            0o755,
        ),
        ("sub/show", format!("{text}; echo \"$SCRIPT_NAME ${{PATH_INFO-unset}} $OF_ITS_OWN\"; pwd"), 0o755),
        ("echo", format!("{text}; cat"), 0o755),
        ("status", "printf 'Status: 418 Tea\\nContent-Type: text/plain\\n\\nshort\\n'".to_owned(), 0o755),
        ("away", "printf 'Location: http://example.com/\\n\\n'".to_owned(), 0o755),
        ("complain", format!("echo complaint >&2; {text}; echo done"), 0o755),
        ("plain", text.to_owned(), 0o644),
    ] {
        let draft = folder.write("draft", format!("#!/bin/sh\n{body}\n"));
        let path = bin.join(name);
        succeeds(std::process::Command::new("cp").arg(draft).arg(&path));
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    bin
}

/// One request; STDOUT and STDERR of its answer.
fn ask(socket: &Path, params: &[(&str, &str)], body: &str) -> (String, String) {
    let mut peer = UnixStream::connect(socket).expect("somebody listens");
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = Request { keep_conn: false, ..Request::new(params, body.as_bytes()) };
    peer.write_all(&request.bytes()).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    let answer = answers(&all).remove(0);
    (answer.text(), String::from_utf8_lossy(&answer.stderr).into_owned())
}

/// Status and document. What fcgiwrap leaves out where it is 200 we say, and headers' ends are CR LF always.
fn essence(answer: &str) -> (String, String) {
    let (head, document) = answer
        .split_once("\r\n\r\n")
        .or_else(|| answer.split_once("\n\n"))
        .unwrap_or_else(|| panic!("no head: {answer}"));
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let default = if head.contains("Location: ") { "302" } else { "200" };
    let status = status.map_or(default, |status| status.get(..3).unwrap_or(status));
    // Only programs' own documents are compared: error pages are each one's own.
    let document = if status == "403" { "" } else { document };
    (status.to_owned(), document.to_owned())
}

#[test]
fn the_same_requests_have_the_same_answers() {
    packaged(REAL);
    let folder = Folder::new();
    let bin = programs(&folder);
    let (_real, real_socket) = start(&folder, "real", Path::new(REAL), &["-f"]);
    let (_ours, our_socket) = start(&folder, "ours", &ours(&folder), &["-f"]);
    let bin = bin.to_str().unwrap();
    let file = |name: &str| format!("{bin}/{name}");
    let (show, sub, echo) = (file("show"), file("sub/show"), file("echo"));
    let missing = file("none");
    let plain = file("plain");
    let below = file("show/x");
    let root = format!("{bin}/");
    let cases: &[&[(&str, &str)]] = &[
        &[("SCRIPT_FILENAME", &show), ("SCRIPT_NAME", "/cgi/show"), ("PATH_INFO", "/kept")],
        &[("SCRIPT_FILENAME", &show)],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/show")],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/show/a/b")],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/sub/show/a//b/")],
        &[("DOCUMENT_ROOT", &root), ("SCRIPT_NAME", "sub/show")],
        &[("SCRIPT_FILENAME", &sub)],
        &[("SCRIPT_FILENAME", &file("status"))],
        &[("SCRIPT_FILENAME", &file("away"))],
        &[("SCRIPT_FILENAME", &missing)],
        &[("SCRIPT_FILENAME", &plain)],
        &[("SCRIPT_FILENAME", bin)],
        &[("SCRIPT_FILENAME", &below)],
        &[("SCRIPT_FILENAME", "relative")],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/none")],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/plain")],
        &[("DOCUMENT_ROOT", bin), ("SCRIPT_NAME", "/sub")],
        &[("DOCUMENT_ROOT", bin)],
        &[],
    ];
    for case in cases {
        let mut params = vec![("REQUEST_METHOD", "GET")];
        params.extend_from_slice(case);
        let (real, our) = (ask(&real_socket, &params, "").0, ask(&our_socket, &params, "").0);
        assert_eq!(essence(&our), essence(&real), "{case:?}");
    }
    let body = "x".repeat(50_000);
    let length = body.len().to_string();
    let params = [("REQUEST_METHOD", "POST"), ("SCRIPT_FILENAME", &*echo), ("CONTENT_LENGTH", &*length)];
    assert_eq!(essence(&ask(&our_socket, &params, &body).0), essence(&ask(&real_socket, &params, &body).0));
    let params = [("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", &*file("complain"))];
    let (real, our) = (ask(&real_socket, &params, ""), ask(&our_socket, &params, ""));
    // The real one turns each line's end into CR LF.
    assert_eq!(our.1, real.1.replace("\r\n", "\n"), "-f: error text goes to the web server");
    assert_eq!(essence(&our.0), essence(&real.0));
}

#[test]
fn programs_can_be_named_one_by_one() {
    packaged(REAL);
    let folder = Folder::new();
    let bin = programs(&folder);
    let (show, echo, status) = (
        format!("{}/show", bin.display()),
        format!("{}/echo", bin.display()),
        format!("{}/status", bin.display()),
    );
    let arguments = ["-p", &*show, "-p", &*echo];
    let (_real, real_socket) = start(&folder, "real", Path::new(REAL), &arguments);
    let (_ours, our_socket) = start(&folder, "ours", &ours(&folder), &arguments);
    for (name, expected) in [(&show, "200"), (&echo, "200"), (&status, "403")] {
        let params = [("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", &**name)];
        for socket in [&real_socket, &our_socket] {
            assert_eq!(essence(&ask(socket, &params, "").0).0, expected, "{name} {}", socket.display());
        }
    }
}

/// The real one's later versions know FCGI_CHDIR; Debian's does not.
#[test]
fn the_web_server_may_name_the_folder_to_start_in() {
    let folder = Folder::new();
    let bin = programs(&folder);
    let (_ours, socket) = start(&folder, "ours", &ours(&folder), &[]);
    let sub = format!("{}/sub/show", bin.display());
    // The gateway itself runs where the tests do.
    let here = std::env::current_dir().unwrap();
    for (given, expected) in [("/usr", "/usr"), ("-", here.to_str().unwrap())] {
        let params = [("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", &*sub), ("FCGI_CHDIR", given)];
        let (status, document) = essence(&ask(&socket, &params, "").0);
        assert_eq!((&*status, document.lines().last()), ("200", Some(expected)));
    }
}

/// What the real one cannot: no size of body and output is a deadlock, and one request does not wait for another.
#[test]
fn a_large_echo_comes_back_whole() {
    let folder = Folder::new();
    let bin = programs(&folder);
    let (_ours, socket) = start(&folder, "ours", &ours(&folder), &["-f"]);
    let echo = format!("{}/echo", bin.display());
    let body = "0123456789abcdef".repeat(200_000);
    let length = body.len().to_string();
    let params = [("REQUEST_METHOD", "POST"), ("SCRIPT_FILENAME", &*echo), ("CONTENT_LENGTH", &*length)];
    let (status, document) = essence(&ask(&socket, &params, &body).0);
    assert_eq!(status, "200");
    assert!(document == body);
}

/// Debian's service: a socket by systemd, DAEMON_OPTS as one argument; and Debian's example for nginx, as it is installed.
#[test]
fn debians_service_and_nginx_example_work_unchanged() {
    let unit = fs::read_to_string(packaged("/lib/systemd/system/fcgiwrap.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/sbin/fcgiwrap ${DAEMON_OPTS}") && unit.contains("DAEMON_OPTS=-f\n")
    );
    let example = fs::read_to_string(packaged("/usr/share/doc/fcgiwrap/examples/nginx.conf")).unwrap();
    // The socket's place, and the programs', are this test's own.
    let location = example.replace("fastcgi_pass  unix:/run/fcgiwrap.socket", "@pass");
    assert!(location.contains("@pass;"), "{location}");
    for options in ["-f", "", "-f -c 2"] {
        let site = start_before(Link::new(Protocol::FastCgi, Over::Unix), &location, |folder, socket| {
            let Socket::Unix(path) = socket else { panic!("a unix socket") };
            let listener = UnixListener::bind(path).expect("a new socket");
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
            let wrapped = ours(folder);
            Process::start(folder, "gateway", Path::new("/bin/sh"), |command| {
                let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
                command.stdin(OwnedFd::from(listener)).args(["-c", script, "sh"]).arg(wrapped).arg(options);
            })
        });
        packaged("/usr/lib/cgi-bin/awstats.pl");
        let answer = Http::new("GET", "/cgi-bin/awstats.pl?config=none").send(site.port).expect(200);
        let page = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(page.contains("AWStats"), "{page}");
        assert_eq!(Http::new("GET", "/cgi-bin/none").send(site.port).status, 403);
    }
}

#[test]
fn it_listens_where_it_is_told_and_says_what_it_does_not_know() {
    let folder = Folder::new();
    let bin = programs(&folder);
    let socket = folder.path("own.sock");
    let mut process = Process::start(&folder, "gateway", &ours(&folder), |command| {
        command.args(["-s", &format!("unix:{}", socket.display()), "-c", "3"]);
    });
    process.ready_when(|| UnixStream::connect(&socket).is_ok());
    let show = format!("{}/complain", bin.display());
    let (answer, errors) = ask(&socket, &[("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", &show)], "");
    assert_eq!((essence(&answer).0.as_str(), errors.as_str()), ("200", ""));
    wait_until("without -f error text goes to standard error", || process.log().contains("complaint"));
    let wrong = super::output(std::process::Command::new(folder.path("fcgiwrap")).arg("-x"));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).starts_with("fcgiwrap: "));
}
