//! How gateways end, which rights they keep, and what they tell the service manager.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::client::{PATIENCE, Request as ClientRequest};
use super::harness::{Folder, Process, answers, free_port, is_root, program, wait_until};
use super::sockets::{assert_serves, connect, gateway, request, stop};
use crate::wire::{Request, read_answers};

/// A gateway on `app.sock` in the folder.
fn start(folder: &Folder, more: &[&str]) -> Process {
    let path = folder.path("app.sock");
    let socket = path.display().to_string();
    let mut process = gateway(folder, &[&["--socket", &socket], more].concat());
    process.ready_when(|| UnixStream::connect(&path).is_ok());
    process
}

#[track_caller]
fn assert_closed(mut stream: UnixStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("closed in order");
    assert_eq!(rest, b"");
}

/// The first and only byte of the request arrives before the signal; the rest when the server is draining.
#[test]
fn a_request_of_which_a_byte_came_is_answered_while_draining() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let mut process = start(&folder, &[]);
    let (all, body) = (request(), request().len() - 8);
    let split = [1, 7, 8, 20, body];
    let mut begun: Vec<UnixStream> = split.iter().map(|_| connect(&path)).collect();
    for (stream, split) in begun.iter_mut().zip(split) {
        stream.write_all(&all[..split]).expect("a peer that reads");
    }
    process.signal(Signal::SIGTERM);
    wait_until("nobody new is let in", || !path.exists());
    for (mut stream, split) in begun.into_iter().zip(split) {
        stream.write_all(&all[split..]).expect("a peer that reads");
        let answer = read_answers(&mut stream, 1).remove(0);
        assert!(answer.text().contains("Hello world!"), "{answer:?}");
        assert_closed(stream);
    }
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn idle_connections_are_closed_after_a_last_read() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut process = start(&folder, &[]);
        let fresh: Vec<UnixStream> = (0..8).map(|_| connect(&path)).collect();
        let mut kept = connect(&path);
        for _ in 0..2 {
            kept.write_all(&Request::new(&[("PATH_INFO", "/")], b"").bytes()).expect("a peer that reads");
            read_answers(&mut kept, 1);
        }
        process.signal(signal);
        for stream in fresh.into_iter().chain([kept]) {
            assert_closed(stream);
        }
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    }
}

/// A stopped process accepts nothing, so that these connections wait in the queue when the signal comes.
#[test]
fn connections_in_the_queue_are_answered_before_the_end() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let mut process = start(&folder, &[]);
    process.signal(Signal::SIGSTOP);
    let state = || fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    wait_until("it stands still", || state().contains(") T "));
    let mut waiting: Vec<UnixStream> = (0..50).map(|_| connect(&path)).collect();
    for stream in &mut waiting {
        stream.write_all(&request()).expect("room for a request");
    }
    process.signal(Signal::SIGTERM);
    process.signal(Signal::SIGCONT);
    for mut stream in waiting {
        assert!(read_answers(&mut stream, 1).remove(0).text().contains("Hello world!"));
    }
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

/// On a kept connection a second request may have come along with the one under way.
#[test]
fn requests_that_came_together_are_all_answered_while_draining() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let mut process = start(&folder, &[]);
    let mut stream = connect(&path);
    let numbered =
        |id| Request { id, ..Request::new(&[("PATH_INFO", "/x"), ("CONTENT_LENGTH", "0")], b"") }.bytes();
    let one = numbered(1);
    let all = [numbered(1), numbered(2), numbered(3)].concat();
    stream.write_all(&all[..one.len() - 8]).expect("a peer that reads");
    process.signal(Signal::SIGTERM);
    wait_until("nobody new is let in", || !path.exists());
    stream.write_all(&all[one.len() - 8..]).expect("a peer that reads");
    assert_eq!(read_answers(&mut stream, 3).len(), 3);
    assert_closed(stream);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn scgi_drains_as_well() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let socket = path.display().to_string();
    let mut process = Process::start(&folder, "gateway", &program("scgi-gateway"), |command| {
        command.args(["--socket", &socket]);
    });
    process.ready_when(|| UnixStream::connect(&path).is_ok());
    let (fresh, mut begun) = (connect(&path), connect(&path));
    begun.write_all(b"24:CONTENT").expect("a peer that reads");
    process.signal(Signal::SIGTERM);
    wait_until("nobody new is let in", || !path.exists());
    begun.write_all(b"_LENGTH\x000\x00SCGI\x001\x00,").expect("a peer that reads");
    let mut answer = String::new();
    begun.read_to_string(&mut answer).expect("a whole answer");
    assert!(answer.starts_with("Status: 200 OK"), "{answer}");
    assert_closed(fresh);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let mut process = start(&folder, &[]);
    let mut begun = connect(&path);
    begun.write_all(&request()[..20]).expect("a peer that reads");
    process.signal(Signal::SIGTERM);
    wait_until("nobody new is let in", || !path.exists());
    assert!(process.ended().is_none(), "a request is under way: {}", process.log());
    // Signals that come together are one; one that comes later ends it.
    wait_until("a later signal ends it", || {
        process.signal(Signal::SIGINT);
        process.ended().is_some()
    });
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    assert!(process.log().contains("second signal"), "{}", process.log());
}

/// `timeout` signals a process, and then its group: that is one wish to end, not two.
#[test]
fn two_signals_at_once_are_one() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let mut process = start(&folder, &[]);
    let mut begun = connect(&path);
    let request = request();
    begun.write_all(&request[..20]).expect("a peer that reads");
    process.signal(Signal::SIGTERM);
    process.signal(Signal::SIGINT);
    wait_until("nobody new is let in", || !path.exists());
    begun.write_all(&request[20..]).expect("a peer that reads");
    let mut answer = Vec::new();
    begun.read_to_end(&mut answer).expect("an answer");
    assert!(!answer.is_empty(), "{}", process.log());
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn sigusr1_is_for_log_files_and_ends_nothing() {
    let folder = Folder::new();
    let mut process = start(&folder, &[]);
    for _ in 0..3 {
        process.signal(Signal::SIGUSR1);
        assert_serves(connect(&folder.path("app.sock")));
    }
    stop(&mut process);
}

/// A listener that outlives its gateways: no connection fails, whoever accepts it.
#[test]
fn restarts_behind_a_listener_that_stays_lose_no_request() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let next = || {
        Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
            command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("a descriptor"))));
        })
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                assert_serves(connect(&path));
                count += 1;
            }
            count
        });
        for _ in 0..5 {
            let mut process = next();
            process.ready_when(|| UnixStream::connect(&path).is_ok());
            assert_serves(connect(&path));
            stop(&mut process);
        }
        let mut last = next();
        over.store(true, Ordering::Relaxed);
        assert!(asking.join().expect("every request was answered") > 0);
        stop(&mut last);
    });
}

/// The service manager's side of its socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a free path");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(socket)
    }

    fn next(&self) -> String {
        let mut block = [0; 1024];
        let length = self.0.recv(&mut block).expect("a message");
        String::from_utf8_lossy(&block[..length]).into_owned()
    }
}

#[test]
fn the_service_manager_hears_of_ready_watchdog_and_stopping() {
    let folder = Folder::new();
    let manager = Manager::new(&folder.path("notify"));
    let path = folder.path("app.sock").display().to_string();
    let mut process = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--socket", &path]).env("NOTIFY_SOCKET", folder.path("notify"));
        command.env("WATCHDOG_USEC", "20000");
    });
    assert_eq!(manager.next(), format!("READY=1\nSTATUS=Listening on unix:{path}"));
    // It listens when it says so.
    assert_serves(connect(&folder.path("app.sock")));
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    process.signal(Signal::SIGTERM);
    let last = std::iter::repeat_with(|| manager.next()).find(|text| text != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1\nSTATUS=Answering the requests under way"));
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn without_a_service_manager_it_serves_as_well() {
    let folder = Folder::new();
    let path = folder.path("app.sock").display().to_string();
    let mut process = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--socket", &path]).env("NOTIFY_SOCKET", folder.path("nobody"));
    });
    process.ready_when(|| UnixStream::connect(&path).is_ok());
    assert!(process.log().contains("NOTIFY_SOCKET"), "{}", process.log());
    stop(&mut process);
}

/// The values behind a name in `/proc/PID/status`.
fn status(process: &Process, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("its line");
    line.split_whitespace().map(str::to_owned).collect()
}

/// Numbers that no account has: `--user` and `--group` take those too.
const USER: &str = "64999";
const GROUP: &str = "64998";

#[test]
fn rights_are_given_up_for_good_behind_the_socket() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let (path, root) = (folder.path("app.sock"), folder.mkdir("root"));
    let root_text = root.display().to_string();
    for (more, groups, new_root) in [
        (&["--user", USER, "--group", GROUP, "--chroot", &root_text][..], GROUP, root.as_path()),
        (&["--user", "nobody"], "65534", Path::new("/")),
    ] {
        let manager = Manager::new(&folder.path("notify"));
        let socket = path.display().to_string();
        let mut process = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
            command.args(["--socket", &socket]).args(more).env("NOTIFY_SOCKET", folder.path("notify"));
        });
        assert!(manager.next().starts_with("READY=1"));
        let user = more[1].replace("nobody", "65534");
        assert_eq!(status(&process, "Uid"), [user.as_str(); 4]);
        assert_eq!(status(&process, "Gid"), [groups; 4]);
        assert_eq!(status(&process, "Groups"), [groups]);
        for capabilities in ["CapPrm", "CapEff"] {
            assert_eq!(status(&process, capabilities), ["0000000000000000"]);
        }
        let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", process.pid())).expect("it runs");
        assert_eq!(link("root"), new_root);
        assert!(new_root == Path::new("/") || link("cwd") == new_root);
        assert_serves(connect(&path));
        assert!(!process.log().contains("running as root"), "{}", process.log());
        // It is told of the end on the socket that was found before.
        process.signal(Signal::SIGTERM);
        assert!(manager.next().starts_with("STOPPING=1"));
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        // Nobody's process may not remove root's file; the next start replaces it.
        assert!(path.exists());
        fs::remove_file(folder.path("notify")).expect("our socket");
    }
    let mut process = start(&folder, &[]);
    // It listens before it says so.
    wait_until("it warns", || process.log().contains("warning: running as root"));
    stop(&mut process);
}

/// Root opens folders that its own successor may not enter: requests alone told of it.
#[test]
fn what_the_new_user_may_not_enter_or_run_is_told_at_the_start() {
    let folder = Folder::new();
    let closed = folder.mkdir("closed");
    let script = folder.write("script", "#!/bin/sh\n");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("its owner may");
    let (closed, script) = (closed.display().to_string(), script.display().to_string());
    let mut wanted = vec![("cgi", &script, "may not execute it: chmod +x it")];
    let mut more = vec!["--mount".to_owned(), format!("/a=cgi:{script}")];
    if is_root() {
        wanted.push(("dir", &closed, "may not enter it"));
        more.extend(["--user", USER, "--group", GROUP, "--mount"].map(str::to_owned));
        more.push(format!("/b=dir:{closed}"));
    }
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut process = start(&folder, &more);
    for (kind, path, why) in wanted {
        let line = format!("warning: {kind}:{path}: the gateway's user {why}");
        wait_until("it warns", || process.log().contains(&line));
    }
    stop(&mut process);
    let mounted = format!("/a=cgi:{script}");
    let mut process = start(&folder, &["--interpreter", "script=/bin/sh", "--mount", &mounted]);
    stop(&mut process);
    assert!(!process.log().contains("may not"), "{}", process.log());
}

/// Programs looked for their settings in root's folder, which they may not enter: git said so at each push.
#[cfg(target_os = "linux")]
#[test]
fn programs_get_the_account_of_the_user_that_the_gateway_becomes() {
    if !is_root() {
        return;
    }
    let port = free_port();
    for (more, expected) in [
        (&["--user", "www-data"][..], "/var/www www-data www-data"),
        (&["--user", USER, "--group", GROUP], "none none none"),
        (&[], "/before before before"),
    ] {
        let folder = Folder::new();
        let program_path = folder.write(
            "account",
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho ${HOME-none} ${USER-none} ${LOGNAME-none}\n",
        );
        fs::set_permissions(&program_path, fs::Permissions::from_mode(0o755)).expect("its owner may");
        let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
            command.args(["--listen", &format!("127.0.0.1:{port}")]).args(more);
            command.arg(format!("cgi:{}", program_path.display()));
            command.env("HOME", "/before").env("USER", "before").env("LOGNAME", "before");
        });
        gateway.ready_when(|| answers(port));
        let answer = ClientRequest::new("GET", "/").send(port).expect(200);
        assert_eq!(String::from_utf8_lossy(&answer.body).trim_end(), expected, "{more:?}");
        stop(&mut gateway);
    }
}

/// A folder and a log inside the new root, and nothing open that leads out of it.
#[test]
fn paths_are_those_inside_the_new_root() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let root = folder.mkdir("root");
    for name in ["root/www", "root/logs"] {
        fs::set_permissions(folder.mkdir(name), fs::Permissions::from_mode(0o777)).expect("its owner may");
    }
    folder.write("root/www/file.txt", "inside");
    let socket = folder.path("app.sock").display().to_string();
    let start = |app: &str| {
        let root = root.display().to_string();
        Process::start(&folder, "gateway", &program("scgi-gateway"), |command| {
            command.args(["--socket", &socket, "--chroot", &root, "--user", USER, "--group", GROUP]);
            command.args(["--access-log", "/logs/access.log", "--access-log-format", "json", app]);
        })
    };
    let mut process = start("dir:/www");
    process.ready_when(|| UnixStream::connect(&socket).is_ok());
    let ask = || {
        let mut stream = connect(&folder.path("app.sock"));
        let head = "CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET\0PATH_INFO\0/file.txt\0";
        write!(stream, "{}:{head},", head.len()).expect("the gateway reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("Status: 200 ") && answer.ends_with("inside"), "{answer}");
    };
    ask();
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid())).expect("it runs") {
        let Ok(file) = fs::read_link(entry.expect("an entry").path()) else { continue };
        let is_log = file == folder.path("gateway.log");
        let within = !file.is_absolute() || file.starts_with(&root) || file.starts_with("/dev") || is_log;
        assert!(within, "{} is open", file.display());
    }
    let log = root.join("logs/access.log");
    wait_until("the request is logged", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
    fs::rename(&log, root.join("logs/old.log")).expect("our folder");
    process.signal(Signal::SIGUSR1);
    wait_until("the log is opened anew", || log.exists());
    ask();
    stop(&mut process);
    assert_eq!(fs::read_to_string(&log).expect("the log").lines().count(), 1, "{}", process.log());
    fs::remove_file(&socket).expect("root's file, which stays");

    let mut process = start(&format!("dir:{}", root.join("www").display()));
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    assert!(process.log().contains("it does not exist"), "{}", process.log());
}

#[test]
fn a_step_that_fails_ends_the_start() {
    let folder = Folder::new();
    let path = folder.path("app.sock").display().to_string();
    let refused = |process: &mut Process, named: &str| {
        assert_eq!(process.wait().code(), Some(1), "{}", process.log());
        assert!(process.log().contains(named), "no {named} in: {}", process.log());
        assert!(!folder.path("app.sock").exists(), "nothing is left behind");
    };
    let missing = folder.path("missing").display().to_string();
    for (more, named) in [
        (["--user", "no-such-user"], "--user: there is no user \"no-such-user\""),
        (["--group", "no-such-group"], "--group: there is no group \"no-such-group\""),
        (["--user", USER], "give --group"),
        (["--chroot", &missing], "No such file or directory"),
    ] {
        refused(&mut gateway(&folder, &[&["--socket", &path], &more[..]].concat()), named);
    }
    if !is_root() {
        return;
    }
    // Who is not root cannot become anybody else.
    fs::set_permissions(folder.root(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("our folder");
    let ours = folder.install(&program("fcgi-gateway"), "fcgi-gateway");
    for more in [["--user", "root"], ["--group", "0"], ["--chroot", "/"]] {
        let mut process = Process::start(&folder, "gateway", Path::new("/usr/bin/setpriv"), |command| {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&ours);
            command.args(["--socket", &path]).args(more);
        });
        refused(&mut process, "only root may do this");
    }
}
