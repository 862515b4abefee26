//! Where gateways listen: files and their rights, names, families, and sockets that somebody hands over.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gatewright::server::{Address, Listener, SocketRights};
use nix::sys::signal::Signal;

use super::client::PATIENCE;
use super::harness::{Folder, Process, answers, free_port, installed, is_root, program};
use crate::wire::{Request, read_answers};

/// A small request, the connection to be closed behind it.
pub(super) fn request() -> Vec<u8> {
    let params =
        [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x"), ("SERVER_NAME", "here"), ("SERVER_PORT", "80")];
    Request { keep_conn: false, ..Request::new(&params, b"") }.bytes()
}

/// Sends a FastCGI request and expects the demo to answer it.
#[track_caller]
pub(super) fn assert_serves(mut stream: impl Read + Write) {
    stream.write_all(&request()).expect("a peer that reads");
    let text = read_answers(&mut stream, 1).remove(0).text();
    assert!(text.starts_with("Status: 200 OK") && text.contains("Hello world!"), "{text}");
}

#[track_caller]
pub(super) fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

#[track_caller]
fn connect_tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

pub(super) fn gateway(folder: &Folder, arguments: &[&str]) -> Process {
    Process::start(folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(arguments).arg("demo");
    })
}

#[track_caller]
pub(super) fn stop(process: &mut Process) {
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

#[test]
fn several_sockets_of_every_kind_serve_at_once() {
    let folder = Folder::new();
    let (file, port) = (folder.path("app.sock"), free_port());
    let (six, zone, named) = (free_port(), free_port(), free_port());
    let hidden = format!("gatewright-it-{}-{port}", std::process::id());
    let sockets = [
        format!("unix:{}", file.display()),
        format!("unix:@{hidden}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{six}"),
        format!("[::1%lo]:{zone}"),
        format!("tcp:localhost:{named}"),
    ];
    let arguments: Vec<&str> = sockets.iter().flat_map(|socket| ["--socket", socket]).collect();
    let mut process = gateway(&folder, &arguments);
    process.ready_when(|| answers(named));
    let hidden = SocketAddr::from_abstract_name(hidden).expect("a short name");
    assert_serves(connect(&file));
    assert_serves(UnixStream::connect_addr(&hidden).expect("somebody listens"));
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{six}"), format!("[::1]:{zone}")] {
        assert_serves(connect_tcp(&address));
    }
    assert_serves(connect_tcp(&format!("127.0.0.1:{named}")));
    let log = process.log();
    assert!(log.contains("every local user may connect"), "an abstract socket has no rights: {log}");
    stop(&mut process);
    assert!(!file.exists());
    // Connections that this end did not close first are no reason to wait.
    let mut again = gateway(&folder, &arguments);
    again.ready_when(|| answers(named));
    stop(&mut again);
}

#[test]
fn an_ipv6_socket_leaves_ipv4_alone() {
    let folder = Folder::new();
    let port = free_port();
    let mut process = gateway(&folder, &["--socket", &format!("[::]:{port}"), "--allow", "::1"]);
    process.ready_when(|| TcpStream::connect(format!("[::1]:{port}")).is_ok());
    assert!(!answers(port), "IPv4 has an address of its own");
    drop(TcpListener::bind(("127.0.0.1", port)).expect("the port is free for IPv4"));
    assert_serves(connect_tcp(&format!("[::1]:{port}")));
    stop(&mut process);
}

#[test]
fn a_peer_that_is_not_allowed_is_closed_and_logged_once() {
    let folder = Folder::new();
    let port = free_port();
    let address = format!("0.0.0.0:{port}");
    let served = |mut process: Process, expected: bool| {
        process.ready_when(|| answers(port));
        for _ in 0..20 {
            let mut stream = connect_tcp(&format!("127.0.0.1:{port}"));
            if expected {
                assert_serves(stream);
            } else {
                let _ = stream.write_all(&request());
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                assert_eq!(answer, b"");
            }
        }
        let lines = process.log().matches("127.0.0.1 is none of the allowed peers").count();
        assert!(if expected { lines == 0 } else { (1..20).contains(&lines) }, "{}", process.log());
        stop(&mut process);
    };
    let with = |allow: &[&str], list: Option<&str>| {
        Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
            command.args(["--socket", &address]).args(allow).arg("demo");
            command.envs(list.map(|list| ("FCGI_WEB_SERVER_ADDRS", list)));
        })
    };
    served(with(&["--allow", "192.0.2.7,10.0.0.0/8"], None), false);
    served(with(&["--allow", "192.0.2.7,127.0.0.0/8"], None), true);
    served(with(&["--allow", "any"], None), true);
    // The web server's own list, in place of the flag and beneath it.
    served(with(&[], Some("192.0.2.7,192.0.2.8")), false);
    served(with(&[], Some("192.0.2.7,127.0.0.1")), true);
    served(with(&["--allow", "127.0.0.1"], Some("192.0.2.7")), true);
    let mut wrong = with(&[], Some("everybody"));
    assert_eq!(wrong.wait().code(), Some(2), "{}", wrong.log());
    assert!(wrong.log().contains("FCGI_WEB_SERVER_ADDRS: \"everybody\""), "{}", wrong.log());
}

/// Somebody watches the folder all the time: no file in it ever has rights that its socket shall not have in the end.
#[test]
fn a_socket_file_has_no_wider_rights_at_any_moment() {
    let folder = Folder::new();
    let group = if is_root() { 33 } else { nix::unistd::getegid().as_raw() };
    let rights = || {
        let mut rights = SocketRights::default();
        (rights.mode, rights.group) = (0o620, Some(group.to_string()));
        rights
    };
    let path = folder.path("app.sock");
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for entry in fs::read_dir(folder.root()).expect("our folder").flatten() {
                    let Ok(about) = fs::symlink_metadata(entry.path()) else { continue };
                    let (mode, is_final) = (about.mode() & 0o7777, entry.path() == path);
                    assert!(mode == 0o620 || (!is_final && mode == 0), "{mode:o} {}", entry.path().display());
                    assert!(mode == 0 || about.gid() == group, "with its rights it has its group");
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut rounds = 0;
        while !watch.is_finished() && (rounds < 300 || seen.load(Ordering::Relaxed) < 100) {
            drop(Listener::bind(&Address::Unix(path.clone()), &rights()).expect("a free path"));
            rounds += 1;
        }
        done.store(true, Ordering::Relaxed);
        watch.join().expect("no wider rights were seen");
    });
    assert_eq!(fs::read_dir(folder.root()).expect("our folder").count(), 0, "nothing is left behind");
}

#[test]
fn two_gateways_that_start_at_once_do_not_take_the_path_from_each_other() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    for _ in 0..50 {
        let bind = || Listener::bind(&Address::Unix(path.clone()), &SocketRights::default());
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(bind);
            (bind(), one.join().expect("no panic"))
        });
        assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
        drop(UnixStream::connect(&path).expect("the one that was first listens"));
    }
}

#[test]
fn a_socket_file_of_somebody_else_is_not_removed_in_the_end() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let listener =
        Listener::bind(&Address::Unix(path.clone()), &SocketRights::default()).expect("a free path");
    fs::remove_file(&path).expect("our file");
    let other = UnixListener::bind(&path).expect("a free path");
    drop(listener);
    drop(UnixStream::connect(&path).expect("the other one is still there"));
    drop(other);
    // And one that was the whole time stale, by a name that only just fits.
    let long = folder.root().join("x".repeat(107 - folder.root().as_os_str().len() - 1));
    drop(UnixListener::bind(&long).expect("a path that fits"));
    let listener =
        Listener::bind(&Address::Unix(long.clone()), &SocketRights::default()).expect("it is stale");
    drop(UnixStream::connect(&long).expect("it is ours"));
    drop(listener);
    assert!(!long.exists());
}

/// A gateway started with a listening socket as standard input, as lighttpd and `mod_fcgid` do.
fn on_standard_input(folder: &Folder, listener: OwnedFd, arguments: &[&str]) -> Process {
    Process::start(folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(arguments).stdin(Stdio::from(listener));
    })
}

#[test]
fn a_listening_standard_input_is_served_and_outlives_the_gateway() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    for arguments in [&["demo"][..], &["--socket", "fd:0"]] {
        // Both waits and restarts happen behind the back of whoever connects.
        let waiting = connect(&path);
        let ours = listener.try_clone().expect("a descriptor");
        let mut process = on_standard_input(&folder, ours.into(), arguments);
        assert_serves(waiting);
        assert_serves(connect(&path));
        assert!(process.log().contains("inherited as descriptor 0"), "{}", process.log());
        let link = fs::read_link(format!("/proc/{}/fd/0", process.pid())).expect("a descriptor");
        assert_eq!(link, Path::new("/dev/null"), "nobody reads from the socket");
        stop(&mut process);
        assert!(path.exists(), "the file is not ours to remove");
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("a port").to_string();
    let mut process = on_standard_input(&folder, tcp.into(), &[]);
    assert_serves(connect_tcp(&address));
    stop(&mut process);
}

#[test]
fn a_standard_input_that_does_not_listen_is_no_socket_to_serve() {
    let folder = Folder::new();
    let (connected, _other) = UnixStream::pair().expect("sockets");
    let ours = connected.try_clone().expect("a descriptor");
    let mut process = on_standard_input(&folder, ours.into(), &[]);
    assert_eq!(process.wait().code(), Some(2), "{}", process.log());
    assert!(process.log().contains("--socket is missing"), "{}", process.log());
    let mut process = on_standard_input(&folder, connected.into(), &["--socket", "fd:0"]);
    assert_eq!(process.wait().code(), Some(1), "{}", process.log());
    assert!(process.log().contains("descriptor 0 is a socket that does not listen"), "{}", process.log());
}

#[test]
fn an_inherited_port_that_others_reach_needs_allowed_peers() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = tcp.local_addr().expect("a port").port();
    let mut process = on_standard_input(&folder, tcp.try_clone().expect("a descriptor").into(), &[]);
    assert_eq!(process.wait().code(), Some(2), "{}", process.log());
    assert!(process.log().contains("--allow"), "{}", process.log());
    let mut process = on_standard_input(&folder, tcp.into(), &["--allow", "127.0.0.1"]);
    assert_serves(connect_tcp(&format!("127.0.0.1:{port}")));
    stop(&mut process);
}

/// Starts a gateway as systemd does: with two sockets at descriptors 3 and 4.
fn activated(folder: &Folder, sockets: [OwnedFd; 2], variables: &str, arguments: &[&str]) -> Process {
    let [first, second] = sockets;
    let script = format!("exec 3<&0 4<&1 0</dev/null 1>&2; {variables} exec \"$@\"");
    Process::start(folder, "gateway", Path::new("/bin/sh"), |command| {
        command.args(["-c", &script, "sh"]).arg(program("fcgi-gateway")).args(arguments);
        command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    })
}

#[test]
fn sockets_from_systemd_are_served_all_or_by_name() {
    let folder = Folder::new();
    let paths = [folder.path("one.sock"), folder.path("two.sock")];
    let all = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:admin";
    for (variables, arguments, served) in [
        (all, &["demo"][..], [true, true]),
        (all, &["--socket", "systemd"], [true, true]),
        (all, &["--socket", "systemd:web"], [true, false]),
        (all, &["--socket", "systemd:admin"], [false, true]),
        (all, &["--socket", "systemd:web", "--socket", "systemd:admin"], [true, true]),
        (all, &["--socket", "fd:4"], [false, true]),
        ("LISTEN_PID=$$ LISTEN_FDS=2", &[], [true, true]),
        ("LISTEN_PID=$$ LISTEN_FDS=1", &[], [true, false]),
        ("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:web", &["--socket", "systemd:web"], [true, true]),
    ] {
        let [one, two] = paths.each_ref().map(|path| {
            let _ = fs::remove_file(path);
            UnixListener::bind(path).expect("a free path")
        });
        let mut process = activated(&folder, [one.into(), two.into()], variables, arguments);
        let name = |path: &Path| format!("listening on unix:{}", path.display());
        process.ready_when(|| paths.iter().zip(served).all(|(path, served)| !served || process_serves(path)));
        for (path, served) in paths.iter().zip(served) {
            assert_eq!(process.log().contains(&name(path)), served, "{arguments:?}: {}", process.log());
        }
        stop(&mut process);
        assert!(paths.iter().all(|path| path.exists()), "the files are not ours to remove");
    }
}

fn process_serves(path: &Path) -> bool {
    assert_serves(connect(path));
    true
}

#[test]
fn what_systemd_hands_to_others_or_hands_over_wrongly_is_refused() {
    let folder = Folder::new();
    for (variables, arguments, status, named) in [
        // For another process, or for nobody.
        ("LISTEN_PID=1 LISTEN_FDS=2", &[][..], 2, "--socket is missing"),
        ("LISTEN_FDS=2", &[], 2, "--socket is missing"),
        ("LISTEN_PID=$$ LISTEN_FDS=0", &[], 2, "--socket is missing"),
        ("LISTEN_PID=$$ LISTEN_FDS=x", &[], 1, "LISTEN_FDS"),
        ("LISTEN_PID=$$ LISTEN_FDS=2147483647", &[], 1, "descriptor 4 is no socket"),
        ("LISTEN_PID=$$ LISTEN_FDS=2", &["--socket", "systemd:other"], 1, "systemd:other"),
        ("LISTEN_PID=$$ LISTEN_FDS=2", &["--socket", "systemd"], 1, "descriptor 4 is no socket"),
    ] {
        let socket = UnixListener::bind(folder.path("x.sock")).expect("a free path");
        let file = fs::File::open("/dev/null").expect("it is there");
        let mut process = activated(&folder, [socket.into(), file.into()], variables, arguments);
        assert_eq!(process.wait().code(), Some(status), "{variables}: {}", process.log());
        assert!(process.log().contains(named), "{variables}: {}", process.log());
        fs::remove_file(folder.path("x.sock")).expect("it is left alone");
    }
}

#[test]
fn spawn_fcgi_starts_the_gateway_on_a_file_and_on_a_port() {
    let folder = Folder::new();
    let (path, port) = (folder.path("app.sock"), free_port());
    let spawn = |arguments: &[&str]| {
        Process::start(&folder, "gateway", &installed("spawn-fcgi"), |command: &mut Command| {
            command.arg("-n").args(arguments).arg("--").arg(program("fcgi-gateway")).arg("demo");
        })
    };
    let mut process = spawn(&["-s", &path.display().to_string()]);
    process.ready_when(|| UnixStream::connect(&path).is_ok());
    assert_serves(connect(&path));
    assert!(process.log().contains("inherited as descriptor 0"), "{}", process.log());
    stop(&mut process);
    let mut process = spawn(&["-a", "127.0.0.1", "-p", &port.to_string()]);
    process.ready_when(|| answers(port));
    assert_serves(connect_tcp(&format!("127.0.0.1:{port}")));
    stop(&mut process);
}
