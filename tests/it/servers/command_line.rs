//! Flags, addresses and signals: what is said about them, and the exit status.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;

use super::client::Request;
use super::harness::{Folder, Process, answers, free_port, program, wait_until};

/// What a gateway wrote, and its exit status.
struct Ended {
    status: Option<i32>,
    output: String,
}

#[track_caller]
fn run(folder: &Folder, name: &str, arguments: &[&str]) -> Ended {
    let mut process = Process::start(folder, name, &program(name), |command| {
        command.args(arguments);
    });
    let status = process.wait().code();
    Ended { status, output: process.log() }
}

/// Runs a gateway with wrong arguments: one line, which names what is wrong with which flag.
#[track_caller]
fn assert_refused(folder: &Folder, name: &str, arguments: &[&str], status: i32, named: &[&str]) {
    let ended = run(folder, name, arguments);
    let shown = format!("{name} {}: {}", arguments.join(" "), ended.output);
    assert_eq!(ended.status, Some(status), "{shown}");
    let told: Vec<&str> = ended.output.lines().filter(|line| !line.contains("running as root")).collect();
    assert_eq!(told.len(), 1, "one line: {shown}");
    assert!(told[0].starts_with(&format!("{name}: ")), "{shown}");
    for text in named {
        assert!(told[0].contains(text), "no {text} in {shown}");
    }
}

#[test]
fn wrong_usage_is_one_line_that_names_the_flag_and_status_2() {
    let folder = Folder::new();
    for gateway in ["fcgi-gateway", "scgi-gateway"] {
        for (arguments, named) in [
            (&[][..], &["--socket", "unix:/run/app.sock"][..]),
            (&["demo"], &["--socket"]),
            (&["--socket"], &["--socket"]),
            (&["--socket", ""], &["--socket"]),
            (&["--socket", "9000"], &["--socket", "a port has an address before it, as in 127.0.0.1:9000"]),
            (&["--socket", "localhost:9000"], &["--socket", "tcp:localhost:9000"]),
            (&["--socket", "127.0.0.1:99999"], &["--socket", "99999"]),
            (&["--socket", "::1:9000"], &["--socket", "[::1]:9000"]),
            (&["--socket", "unix:"], &["--socket"]),
            (&["--socket", "0.0.0.0:9000"], &["--socket 0.0.0.0:9000", "--allow"]),
            (&["--socket", "[::]:9000"], &["--socket [::]:9000", "--allow"]),
            (&["--socket", "tcp:0.0.0.0:9000"], &["--socket", "--allow"]),
            (&["--socket", "127.0.0.1:0", "--allow", "localhost"], &["--allow", "192.0.2.7"]),
            (&["--socket", "systemd:"], &["--socket"]),
            (&["--socket", "fd:x"], &["--socket", "fd:3"]),
            (&["--socket", "--help"], &["--socket"]),
            (&["--socket", "/x.sock", "--front", "nonsense"], &["--front", "nonsense", "nginx"]),
            (&["--socket", "/x.sock", "--script-name", "app"], &["--script-name", "/app"]),
            (&["--socket", "/x.sock", "--script-name", "/app/"], &["--script-name", "/app"]),
            (&["--socket", "/x.sock", "--script-name", "/a/../b"], &["--script-name"]),
            (&["--socket", "/x.sock", "--script-name", "/%41"], &["--script-name"]),
            (&["--socket", "/x.sock", "--keep-variable", "A=B"], &["--keep-variable"]),
            (&["--socket", "/x.sock", "--hide-authorization=yes"], &["--hide-authorization"]),
            (&["--socket", "/x.sock", "--socket-mode", "rw"], &["--socket-mode", "0660"]),
            (&["--socket", "/x.sock", "--socket-mode", "1777"], &["--socket-mode"]),
            (&["--socket", "/x.sock", "--no-such-flag"], &["--no-such-flag"]),
            (&["--socket", "/x.sock", "--mount", "demo"], &["--mount", "/PREFIX=APP"]),
            (&["--socket", "/x.sock", "--mount", "a=demo"], &["--mount", "begins with a slash"]),
            (&["--socket", "/x.sock", "--mount", "/a=nonsense"], &["--mount", "nonsense", "dir:PATH"]),
            (&["--socket", "/x.sock", "--mount", "/a=demo", "--mount", "/a/=demo"], &["--mount", "/a/"]),
            (&["--socket", "/x.sock", "--mount", "/=demo", "demo"], &["--mount", "\"/\""]),
            (&["--socket", "/x.sock", "--access-log-format", "xml"], &["--access-log-format", "json"]),
            (&["--socket", "/x.sock", "--dir-links", "some"], &["--dir-links", "inside"]),
            (&["--socket", "/x.sock", "--dir-index", "a/b"], &["--dir-index", "index.html"]),
            (&["--socket", "/x.sock", "--config", "/nowhere/x.toml"], &["--config", "/nowhere/x.toml"]),
            (&["--socket", "/x.sock", "dir:"], &["dir:PATH"]),
            (&["--socket", "/x.sock", "nonsense"], &["nonsense"]),
            (&["--socket", "/x.sock", "cgi:"], &["cgi:", "cgi:/usr/lib/cgi-bin"]),
            (&["--socket", "/x.sock", "--first-byte-timeout", "30"], &["--first-byte-timeout", "30s"]),
            (&["--socket", "/x.sock", "--spool-max", "4 G"], &["--spool-max", "1G"]),
            (&["--socket", "/x.sock", "--interpreter", ".py"], &["--interpreter", ".py=/usr/bin/python3"]),
            (&["--socket", "/x.sock", "--interpreter", ".py=python3"], &["--interpreter", "absolute"]),
            (&["--socket", "/x.sock", "--env", "NAME"], &["--env", "equals sign"]),
            (&["--socket", "/x.sock", "--stderr", "both"], &["--stderr", "web", "log"]),
            (&["--socket", "/x.sock", "--local-redirect", "x"], &["--local-redirect", "client", "own"]),
            (&["--socket", "/x.sock", "--max-programs", "few"], &["--max-programs"]),
            (&["--socket", "/x.sock", "demo", "demo"], &["demo"]),
            (&["--socket", "/x.sock", "line\nfeed"], &["line"]),
        ] {
            assert_refused(&folder, gateway, arguments, 2, named);
        }
    }
    for (arguments, named) in [
        (&["--no-such-flag"][..], &["--no-such-flag"][..]),
        (&["--socket", "/x.sock"], &["--socket"]),
        (&["--front", "nonsense"], &["--front", "nginx"]),
        (&["--script-name", "/app/"], &["--script-name", "/app"]),
        (&["--mount", "/a"], &["--mount", "/PREFIX=APP"]),
        (&["nonsense"], &["nonsense"]),
    ] {
        assert_refused(&folder, "cgi-gateway", arguments, 2, named);
    }
}

/// Every flag for a size, a number or a time, with what is none.
#[test]
fn what_is_no_size_number_or_time_is_told_with_its_flag() {
    const SIZES: [&str; 4] = ["--max-head", "--max-body", "--body-gather", "--spool-max"];
    const NUMBERS: [&str; 7] = [
        "--max-pairs",
        "--max-connections",
        "--max-requests-per-connection",
        "--workers",
        "--min-body-rate",
        "--queue",
        "--limit-files",
    ];
    const TIMES: [&str; 8] = [
        "--head-timeout",
        "--body-timeout",
        "--write-timeout",
        "--idle-timeout",
        "--half-close-grace",
        "--drain-timeout",
        "--linger",
        "--limit-cpu",
    ];
    let folder = Folder::new();
    let refused = |flag: &str, value: &str, what: &str| {
        assert_refused(&folder, "fcgi-gateway", &["--socket", "/x.sock", flag, value], 2, &[flag, what]);
    };
    // clap takes a negative number for a flag of its own, and did not say where it stood.
    for flag in SIZES.iter().chain(&NUMBERS) {
        refused(flag, "-1", "negative");
        refused(flag, "99999999999999999999", "");
        refused(flag, "0x10", "0 means none");
    }
    SIZES.iter().for_each(|flag| refused(flag, "18446744073709551615G", "too large"));
    NUMBERS.iter().for_each(|flag| refused(flag, "1K", "whole number"));
    for flag in TIMES {
        refused(flag, "-1s", "negative");
        refused(flag, "1.5s", "500ms");
        refused(flag, "99999999999999999999s", "500ms");
    }
}

#[test]
fn a_configuration_that_is_none_is_told_with_its_file_and_place() {
    let folder = Folder::new();
    let huge = "#".repeat(2 << 20);
    for (text, named) in [
        (&b"workers = "[..], &["line 1"][..]),
        (b"workers = 1\nworkers = 2\n", &["line 2", "duplicate"]),
        (b"nonsense = 1\n", &["nonsense", "--help"]),
        // The key that was meant was not told.
        (b"head_timeout = \"1s\"\n", &["\"head_timeout\", but \"head-timeout\""]),
        (b"listn = \"x\"\n", &["\"listn\", but \"listen\""]),
        (b"config = \"x\"\n", &["config"]),
        (b"[workers]\nx = 1\n", &["workers"]),
        (b"workers = 1.5\n", &["workers"]),
        (b"workers = true\n", &["workers"]),
        (b"workers = -1\n", &["--workers", "whole number"]),
        (b"workers = [1, 2]\n", &["--workers"]),
        (b"full-duplex = \"yes\"\n", &["\"full-duplex\" wants true or false"]),
        (b"socket-mode = 660\n", &["socket-mode = \"0660\""]),
        (b"app = \"nonsense\"\n", &["nonsense", "dir:PATH"]),
        (b"app = \"--help\"\n", &["--help", "application"]),
        (b"\xff = 1\n", &["UTF-8"]),
        (huge.as_bytes(), &["1 MiB"]),
    ] {
        let path = folder.write("gateway.toml", text).display().to_string();
        let named = [&["--config", &path], named].concat();
        assert_refused(&folder, "http-gateway", &["--config", &path], 2, &named);
    }
    for (path, why) in
        [("/nowhere/x.toml", "No such file"), ("/tmp", "Is a directory"), ("/dev/zero", "1 MiB")]
    {
        assert_refused(&folder, "http-gateway", &["--config", path], 2, &["--config", path, why]);
    }
}

/// They would have been missed by some request only.
#[test]
fn what_programs_need_and_is_not_there_is_told_at_the_start() {
    let folder = Folder::new();
    let file = folder.write("file", "").display().to_string();
    let app = format!("cgi:{}", folder.root().display());
    for (flag, value, status, why) in [
        ("--spool-dir", "/nowhere", 1, "No such file"),
        ("--spool-dir", &file, 1, "is no folder"),
        ("--x-sendfile", "/nowhere", 1, "No such file"),
        ("--x-sendfile", &file, 1, "is no folder"),
        ("--interpreter", ".py=/nowhere/python3", 1, "/nowhere/python3: No such file"),
        ("--interpreter", &format!(".py={file}"), 1, "Permission denied"),
        ("--pass-env", "", 2, "name of a variable"),
        ("--pass-env", "A=B", 2, "--env"),
    ] {
        let arguments = ["--listen", "127.0.0.1:0", flag, value, &app];
        assert_refused(&folder, "http-gateway", &arguments, status, &[flag, why]);
    }
}

#[test]
fn wrong_usage_of_the_http_gateway_names_the_flag() {
    let folder = Folder::new();
    for (arguments, named) in [
        (&["--listen", "8000"][..], &["--listen", "127.0.0.1:9000"][..]),
        (&["--socket", "127.0.0.1:99999"], &["--socket", "99999"]),
        (&["--front", "nginx"], &["--front nginx", "--trusted-proxy"]),
        (&["--trusted-proxy", "nginx"], &["--trusted-proxy", "nginx", "unix"]),
        (&["--server-name", "a:80"], &["--server-name", "a:80", "example.com"]),
        (&["--server-name", ""], &["--server-name"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["nonsense"], &["nonsense"]),
    ] {
        assert_refused(&folder, "http-gateway", arguments, 2, named);
    }
}

/// The README's first command, on a port that is free for certain.
#[test]
fn the_http_gateway_serves_the_demo_and_says_where() {
    let folder = Folder::new();
    let port = free_port();
    let mut gateway = Process::start(&folder, "http-gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--server-name", "shop.example"]);
    });
    gateway.ready_when(|| answers(port));
    for line in ["listening on", "serving demo at"] {
        let line = format!("{line} http://127.0.0.1:{port}/");
        assert!(gateway.log().contains(&line), "{}", gateway.log());
    }
    let answer = Request::new("GET", "/a%20b?c").send(port).expect(200);
    let text = String::from_utf8(answer.body).expect("a text of UTF-8");
    for line in
        ["Hello world!", "PATH_INFO = '/a b'", "SERVER_NAME = 'shop.example'", "REMOTE_ADDR = '127.0.0.1'"]
    {
        assert!(text.lines().any(|given| given == line), "{line} is missing in:\n{text}");
    }
}

/// What stands at each application's URL, and each program's.
#[test]
fn the_http_gateway_says_which_programs_it_serves_and_where() {
    let (folder, port) = (Folder::new(), free_port());
    for name in ["bin", "bin/sub", "bin/sub/deep", "bin/.git", "docs"] {
        folder.mkdir(name);
    }
    for (name, mode) in [
        ("run", 0o755),
        ("a b", 0o755),
        ("sub/deep/x.cgi", 0o755),
        ("script.py", 0o644),
        ("plain.txt", 0o644),
        ("run~", 0o755),
        (".hidden", 0o755),
        (".git/hook", 0o755),
    ] {
        let path =
            folder.write(&format!("bin/{name}"), "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner may");
    }
    // In circles.
    std::os::unix::fs::symlink("../sub", folder.path("bin/sub/round")).expect("a new link");
    folder.write("docs/index.html", "<p>docs");
    let (bin, docs) = (folder.path("bin").display().to_string(), folder.path("docs").display().to_string());
    let mut gateway = Process::start(&folder, "http-gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--interpreter", ".py=/bin/sh"]);
        command.args([
            "--mount",
            &format!("/docs/=dir:{docs}"),
            "--mount",
            &format!("/cgi=cgi:{bin}"),
            "demo",
        ]);
    });
    gateway.ready_when(|| answers(port));
    wait_until("it has told all", || gateway.log().contains(&format!("cgi:{bin}/sub/deep/x.cgi at")));
    let log = gateway.log();
    let told: Vec<(&str, &str)> = log
        .lines()
        .filter_map(|line| line.split_once("serving ")?.1.split_once(&format!(" at http://127.0.0.1:{port}")))
        .collect();
    for (what, path) in [
        ("demo".to_owned(), "/"),
        (format!("dir:{docs}"), "/docs/"),
        (format!("cgi:{bin}/a b"), "/cgi/a%20b"),
        (format!("cgi:{bin}/run"), "/cgi/run"),
        (format!("cgi:{bin}/script.py"), "/cgi/script.py"),
        (format!("cgi:{bin}/sub/deep/x.cgi"), "/cgi/sub/deep/x.cgi"),
    ] {
        assert!(told.contains(&(&what, path)), "{what} at {path}: {log}");
    }
    assert!(!["plain", "~", "hidden", "hook"].iter().any(|name| log.contains(name)), "{log}");
    for (_, path) in &told {
        Request::new("GET", path).send(port).expect(200);
    }
    // Nothing is there, and that is said so.
    Request::new("GET", "/cgi/").send(port).expect(404);
    wait_until("it is told", || gateway.log().contains("the path \"/\" names no program"));
}

/// A port that is taken: the flag that was written, or would have been.
#[test]
fn a_port_that_is_taken_is_named_with_its_flag() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a socket").to_string();
    assert_refused(
        &folder,
        "http-gateway",
        &["--listen", &address],
        1,
        &["--listen: ", &address, "another program listens"],
    );
    assert_refused(
        &folder,
        "scgi-gateway",
        &["--socket", &address],
        1,
        &["--socket: ", &address, "another program listens"],
    );
}

#[test]
fn a_folder_or_a_log_that_is_not_there_is_named_with_the_reason_and_status_1() {
    let folder = Folder::new();
    let file = folder.write("file", "").display().to_string();
    for gateway in ["cgi-gateway", "fcgi-gateway", "scgi-gateway", "http-gateway"] {
        let socket: &[&str] = if gateway == "cgi-gateway" { &[] } else { &["--socket", "/nowhere/x.sock"] };
        let missing = [socket, &["dir:/nowhere"]].concat();
        assert_refused(&folder, gateway, &missing, 1, &["dir:/nowhere", "it does not exist"]);
        let mount = format!("/a=dir:{file}");
        let log = [socket, &["--access-log", "/nowhere/access.log"]].concat();
        let log = if socket.is_empty() { log } else { [&["--socket", "127.0.0.1:0"], &log[2..]].concat() };
        assert_refused(&folder, gateway, &log, 1, &["--access-log /nowhere/access.log", "No such file"]);
        let no_folder = [socket, &["--mount", &mount]].concat();
        assert_refused(&folder, gateway, &no_folder, 1, &[&file, "is no folder"]);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = Folder::new();
    for gateway in ["cgi-gateway", "fcgi-gateway", "scgi-gateway", "http-gateway"] {
        let help = run(&folder, gateway, &["--help"]);
        assert_eq!(help.status, Some(0), "{}", help.output);
        assert!(help.output.contains("Usage:"), "{}", help.output);
        let version = run(&folder, gateway, &["--version"]);
        assert_eq!(
            (version.status, version.output),
            (Some(0), format!("{gateway} {}\n", env!("CARGO_PKG_VERSION")))
        );
    }
}

/// Python's flags were once said to be meant as names of applications, and `--listen` to be like `--validate`.
#[test]
fn what_other_servers_call_otherwise_is_told_by_our_name() {
    for (gateway, arguments, wanted) in [
        (
            "http-gateway",
            &["--directory", "x"][..],
            "unexpected argument '--directory' found; write dir:PATH for",
        ),
        ("http-gateway", &["--cgi"], "unexpected argument '--cgi' found; write cgi:PATH for"),
        ("http-gateway", &["--bind", "x"], "unexpected argument '--bind' found; write --socket ADDR, as in"),
        (
            "scgi-gateway",
            &["--listen", "x"],
            "unexpected argument '--listen' found; write --socket ADDR, as in",
        ),
        ("fcgi-gateway", &["-p", "9000"], "unexpected argument '-p' found; write --socket ADDR, as in"),
        ("http-gateway", &["8080"], "--socket 127.0.0.1:8080; write demo, dir:PATH or cgi:PATH; see --help"),
        (
            "http-gateway",
            &["127.0.0.1:8080"],
            "--socket 127.0.0.1:8080; write demo, dir:PATH or cgi:PATH; see --help",
        ),
        ("http-gateway", &["http://127.0.0.1:8080"], "a URL is no application"),
        // A folder that is there, here that of the tests.
        ("http-gateway", &["src"], "write dir:src for the files of a folder, or cgi:src for programs"),
        ("cgi-gateway", &["--listen", "x"], "unexpected argument '--listen' found"),
        ("http-gateway", &["--zzzz"], "unexpected argument '--zzzz' found; see --help"),
    ] {
        let ended = run(&Folder::new(), gateway, arguments);
        assert_eq!(ended.status, Some(2), "{}", ended.output);
        assert!(ended.output.contains(wanted) && ended.output.lines().count() == 1, "{}", ended.output);
        let told = ended.output.contains("--socket");
        assert!(!(told && gateway == "cgi-gateway"), "it has no sockets: {}", ended.output);
    }
}

/// What follows a group of flags once stood under its heading, sockets among CGI programs.
#[test]
fn every_flag_in_the_help_is_under_its_own_heading() {
    let folder = Folder::new();
    for (gateway, placed) in [
        ("cgi-gateway", &[("--config", "Options"), ("--front", "The web server in front")] as &[_]),
        (
            "scgi-gateway",
            &[("--config", "Options"), ("--mount", "Options"), ("--full-duplex", "The web server in front")],
        ),
        (
            "fcgi-gateway",
            &[("--socket-group", "Sockets"), ("--user", "Rights"), ("--stderr", "The web server in front")],
        ),
        ("http-gateway", &[("--dir-index", "Folders"), ("--queue", "CGI programs"), ("--listen", "HTTP")]),
        (
            "http-gateway",
            &[("--validate", "Access log"), ("--access-log", "Access log"), ("--workers", "Limits")],
        ),
    ] {
        let help = run(&folder, gateway, &["--help"]).output;
        assert!(!help.contains('\\'), "{help}");
        for (flag, heading) in placed {
            let line = |line: &str| line.split_whitespace().next() == Some(flag);
            let above: Vec<&str> = help.lines().take_while(|text| !line(text)).collect();
            assert!(above.len() < help.lines().count(), "{flag} is not in {help}");
            let found = above.iter().rfind(|text| text.ends_with(':') && !text.starts_with(' '));
            assert!(found.is_some_and(|found| found.starts_with(heading)), "{gateway} {flag}: {found:?}");
        }
    }
}

#[test]
fn a_socket_that_cannot_be_bound_is_named_with_the_reason_and_status_1() {
    let folder = Folder::new();
    let regular = folder.write("regular", "precious").display().to_string();
    let missing = folder.path("missing/app.sock").display().to_string();
    let long = folder.path(&"x".repeat(200)).display().to_string();
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let address = format!("127.0.0.1:{port}");
    for gateway in ["fcgi-gateway", "scgi-gateway"] {
        let refused = |address: &str, named: &[&str]| {
            assert_refused(&folder, gateway, &["--socket", address], 1, named);
        };
        refused(&regular, &["--socket", &regular, "no socket"]);
        refused(&missing, &["--socket", &missing, "No such file or directory"]);
        refused(&long, &["--socket", &long, "File name too long"]);
        refused(&address, &["--socket", &address, "Address already in use"]);
        refused("systemd", &["--socket", "systemd", "LISTEN_FDS"]);
        refused("systemd:web", &["--socket", "systemd:web", "FileDescriptorName=web"]);
        refused("fd:0", &["--socket", "fd:0", "descriptor 0 is no socket"]);
        refused("fd:77", &["--socket", "fd:77", "descriptor 77 is not open"]);
        let socket = folder.path("app.sock").display().to_string();
        for flag in ["--socket-owner", "--socket-group"] {
            // The last number means "unchanged" to the system.
            for nobody in ["no-such-user", "4294967295", ""] {
                let owned = ["--socket", &socket, flag, nobody];
                assert_refused(&folder, gateway, &owned, 1, &[flag, nobody]);
            }
        }
        refused("unix:/no\nwhere/x.sock", &["--socket", "No such file or directory"]);
        assert!(!folder.path("app.sock").exists(), "nothing is left behind");
    }
    drop(taken);
    assert_eq!(fs::read(folder.path("regular")).expect("it is still there"), b"precious");
}

#[test]
fn a_live_socket_is_not_stolen_and_a_stale_one_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let text = path.display().to_string();
    for gateway in ["fcgi-gateway", "scgi-gateway"] {
        let live = UnixListener::bind(&path).expect("a free path");
        assert_refused(&folder, gateway, &["--socket", &text], 1, &["--socket", &text, "another server"]);
        drop(live);
        assert!(path.exists(), "closing a listener leaves its file behind: it is stale now");
        let mut process = serve(&folder, gateway, &["--socket", &text, "--socket-mode", "0600"]);
        process.ready_when(|| std::os::unix::net::UnixStream::connect(&path).is_ok());
        let metadata = fs::metadata(&path).expect("the socket file");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        // Two of our own are no different.
        assert_refused(&folder, "fcgi-gateway", &["--socket", &text], 1, &["another server"]);
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(!path.exists(), "its socket file is gone");
    }
}

#[test]
fn sigterm_and_sigint_end_cleanly_on_every_socket() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    for (gateway, signal) in [("fcgi-gateway", Signal::SIGTERM), ("scgi-gateway", Signal::SIGINT)] {
        let port = free_port();
        let (unix, tcp) = (path.display().to_string(), format!("127.0.0.1:{port}"));
        let abstract_name = format!("unix:@gatewright-it-{}-{port}", std::process::id());
        let all = ["--socket", &unix, "--socket", &tcp, "--socket", &abstract_name];
        let mut process = serve(&folder, gateway, &all);
        process.ready_when(|| path.exists() && answers(port));
        for socket in [&unix, &tcp, &abstract_name] {
            let socket = socket.trim_start_matches("unix:");
            // The first socket answers before the last one has its line.
            wait_until(&format!("there is a line for {socket}"), || process.log().contains(socket));
        }
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(!path.exists(), "its socket file is gone");
        assert!(!answers(port), "its port is free");
    }
}

/// The web server was refused, and nothing here had said why.
#[test]
fn a_socket_in_a_folder_that_others_may_not_enter_is_warned_of() {
    let folder = Folder::new();
    let closed = folder.mkdir("closed");
    let path = closed.join("app.sock");
    let (socket, entered) = (format!("unix:{}", path.display()), format!("may enter {}", closed.display()));
    for (mode, warned) in [(0o700, true), (0o755, false)] {
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("its owner may");
        let mut process = serve(&folder, "scgi-gateway", &["--socket", &socket, "--socket-mode", "0666"]);
        process.ready_when(|| path.exists());
        process.signal(Signal::SIGTERM);
        process.wait();
        assert_eq!(process.log().contains(&entered), warned, "{}", process.log());
    }
}

/// The demo was served, and nothing said why no list came.
#[test]
fn a_listing_without_a_folder_is_warned_of() {
    let folder = Folder::new();
    let docs = format!("/docs=dir:{}", folder.mkdir("docs").display());
    for (more, warned) in [(&[][..], true), (&["--mount", &docs], false)] {
        let port = free_port();
        let socket = format!("127.0.0.1:{port}");
        let arguments = [&["--socket", &socket, "--dir-listing"], more].concat();
        let mut process = serve(&folder, "http-gateway", &arguments);
        process.ready_when(|| answers(port));
        assert_eq!(process.log().contains("--dir-listing: no folder is served"), warned, "{}", process.log());
    }
}

#[track_caller]
fn serve(folder: &Folder, gateway: &str, arguments: &[&str]) -> Process {
    // A log of its own, beside that of one that is refused meanwhile.
    Process::start(folder, "serving", &program(gateway), |command| {
        command.args(arguments).arg("demo");
    })
}

#[test]
fn programs_that_are_not_there_are_told_at_the_start() {
    let folder = Folder::new();
    let socket = folder.path("app.sock").display().to_string();
    let named = &["cgi:/no/such/folder: it does not exist"];
    assert_refused(&folder, "fcgi-gateway", &["--socket", &socket, "cgi:/no/such/folder"], 1, named);
    assert_refused(&folder, "cgi-gateway", &["cgi:/no/such/folder"], 1, named);
    assert!(!folder.path("app.sock").exists(), "its socket file is gone");
}

#[test]
fn each_flag_about_programs_is_a_key_of_the_configuration() {
    let folder = Folder::new();
    let socket = folder.path("app.sock");
    let config = folder.write(
        "gateway.toml",
        format!(
            "app = \"cgi:{}\"\nsocket = \"{}\"\ninterpreter = [\".sh=/bin/sh\"]\nfirst-byte-timeout = \"5s\"\n\
             max-programs = 3\nqueue = 0\nspool-max = \"1M\"\nenv = [\"A=1\", \"B=2\"]\nfollow-links = true\n\
             limit-files = 20\nlimit-cpu = \"10s\"\nstderr = \"log\"\n",
            folder.root().display(),
            socket.display()
        ),
    );
    folder.write("x.sh", "printf 'Content-Type: text/plain\\n\\n'; echo $A $B; ulimit -n\n");
    let mut process = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.arg("--config").arg(config);
    });
    process.ready_when(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let mut peer = super::sockets::connect(&socket);
    let params = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x.sh")];
    std::io::Write::write_all(&mut peer, &crate::wire::Request::new(&params, b"").bytes()).unwrap();
    let answer = crate::wire::read_answers(&mut peer, 1).remove(0).text();
    assert!(answer.ends_with("\r\n\r\n1 2\n20\n"), "{answer}");
    let wrong = folder.write("wrong.toml", "first-byte-timeout = 5\n");
    let ended = run(&folder, "scgi-gateway", &["--config", wrong.to_str().unwrap()]);
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.output.contains("wrong.toml") && ended.output.contains("first-byte-timeout"),
        "{}",
        ended.output
    );
}

/// The README speaks of flags that there are.
#[test]
fn every_flag_in_the_readme_is_in_the_help() {
    // Those of cargo, systemctl, Python and this project's own scripts.
    const OTHERS: &[&str] = &[
        "--locked",
        "--path",
        "--root",
        "--open",
        "--signal",
        "--long",
        "--now",
        "--bin",
        "--release",
        "--target",
        "--bind",
        "--directory",
        "--cgi",
    ];
    let folder = Folder::new();
    let help: String = ["cgi-gateway", "fcgi-gateway", "scgi-gateway", "http-gateway"]
        .map(|name| run(&folder, name, &["--help"]).output)
        .concat();
    let readme = include_str!("../../../README.md");
    let is_flag = |c: char| c == '-' || c.is_ascii_lowercase();
    let mut flags: Vec<&str> = readme
        .match_indices("--")
        .filter(|(at, _)| !readme[..*at].ends_with(is_flag))
        .map(|(at, _)| readme[at..].split(|c| !is_flag(c)).next().unwrap_or_default())
        .filter(|flag| flag.len() > 2 && !flag.starts_with("---") && !OTHERS.contains(flag))
        .collect();
    flags.sort_unstable();
    flags.dedup();
    assert!(flags.len() > 15, "{flags:?}");
    for flag in flags {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag}");
    }
}
