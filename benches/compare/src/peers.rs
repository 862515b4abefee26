//! Who is compared, and how each is started.
//!
//! A further peer is one more line here, and its program under `peers/`, which `run` builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::Front;

pub struct Peer {
    pub name: &'static str,
    pub about: &'static str,
    pub fronts: &'static [Front],
    /// How it is started, to listen on a unix socket.
    start: fn(&Folders, Front, &Path) -> Command,
    /// Whether it takes the listening socket as descriptor 0 instead of a path.
    pub inherits: bool,
}

/// Where programs are.
pub struct Folders {
    /// `benches/`.
    pub benches: PathBuf,
    /// What Cargo and `run` built.
    pub built: PathBuf,
}

impl Peer {
    pub fn command(&self, folders: &Folders, front: Front, socket: &Path) -> Command {
        (self.start)(folders, front, socket)
    }
}

/// The one that all are related to.
pub const FLOOR: &str = "floor";
/// Ours.
pub const OURS: &str = "ours";
/// The reference behind nginx.
pub const HYPER: &str = "hyper";

use Front::{Fcgi, Http, Scgi};

pub static PEERS: &[Peer] = &[
    Peer {
        name: FLOOR,
        about: "one thread, one epoll set, no features: the practical limit",
        fronts: &[Fcgi, Scgi, Http],
        start: |folders, front, socket| {
            let mut command = Command::new(folders.built.join(FLOOR));
            command.arg(front.to_string()).arg(socket);
            command
        },
        inherits: false,
    },
    Peer {
        name: OURS,
        about: "gatewright, an application under `cli::run`",
        fronts: &[Fcgi, Scgi, Http],
        start: |folders, front, socket| {
            let mut command = Command::new(folders.built.join(OURS));
            command.arg(front.to_string()).arg("--socket").arg(format!("unix:{}", socket.display()));
            command
        },
        inherits: false,
    },
    Peer {
        name: "libfcgi",
        about: "libfcgi in C, one process",
        fronts: &[Fcgi],
        start: |folders, _, socket| with_socket(folders, "libfcgi-peer", socket),
        inherits: false,
    },
    Peer {
        name: "tokio-fastcgi",
        about: "the tokio-fastcgi crate, a task for each connection",
        fronts: &[Fcgi],
        start: |folders, _, socket| with_socket(folders, "tokio-fastcgi-peer", socket),
        inherits: false,
    },
    Peer {
        name: "fastcgi",
        about: "the fastcgi crate, a thread for each connection",
        fronts: &[Fcgi],
        start: |folders, _, _| Command::new(folders.built.join("fastcgi-peer")),
        inherits: true,
    },
    Peer {
        name: "go",
        about: "Go's net/http/fcgi",
        fronts: &[Fcgi],
        start: |folders, _, socket| with_socket(folders, "go-peer", socket),
        inherits: false,
    },
    Peer {
        name: "uwsgi",
        about: "uWSGI with its Python plugin, one process",
        fronts: &[Fcgi, Scgi],
        start: uwsgi,
        inherits: false,
    },
    Peer {
        name: "scgi",
        about: "the scgi crate, one connection after the other",
        fronts: &[Scgi],
        start: |folders, _, socket| with_socket(folders, "scgi-peer", socket),
        inherits: false,
    },
    Peer {
        name: "tokio-scgi",
        about: "the tokio-scgi crate, a task for each connection",
        fronts: &[Scgi],
        start: |folders, _, socket| with_socket(folders, "tokio-scgi-peer", socket),
        inherits: false,
    },
    Peer {
        name: HYPER,
        about: "hyper, one thread, the application inline: the reference for HTTP through nginx",
        fronts: &[Http],
        start: |folders, _, socket| with_socket(folders, "hyper-peer", socket),
        inherits: false,
    },
];

/// A program that `run` has built, told the socket's path.
fn with_socket(folders: &Folders, program: &str, socket: &Path) -> Command {
    let mut command = Command::new(folders.built.join(program));
    command.arg(socket);
    command
}

fn uwsgi(folders: &Folders, front: Front, socket: &Path) -> Command {
    let protocol = if front == Scgi { "--scgi-socket" } else { "--fastcgi-socket" };
    let mut command = Command::new("uwsgi-core");
    command.args(["--plugins-dir", "/usr/lib/uwsgi/plugins", "--plugin", "python3", "--processes", "1"]);
    command.args(["--listen", "1024", "--disable-logging", protocol]).arg(socket);
    command.arg("--wsgi-file").arg(folders.benches.join("peers/uwsgi/peer.py"));
    command
}
