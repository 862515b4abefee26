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

use Front::{Fcgi, Http, Scgi};

pub static PEERS: &[Peer] = &[
    Peer {
        name: FLOOR,
        about: "one thread, one epoll set, no features: the practical limit",
        fronts: &[Fcgi, Scgi, Http],
        start: rust_with_front,
        inherits: false,
    },
    Peer {
        name: OURS,
        about: "gatewright, an application under `cli::run`",
        fronts: &[Fcgi, Scgi],
        start: |folders, front, socket| {
            let mut command = Command::new(folders.built.join(OURS));
            command.arg(front.to_string()).arg("--socket").arg(format!("unix:{}", socket.display()));
            command
        },
        inherits: false,
    },
];

/// A program of this workspace that is told the protocol and the socket's path.
fn rust_with_front(folders: &Folders, front: Front, socket: &Path) -> Command {
    let mut command = Command::new(folders.built.join("floor"));
    command.arg(front.to_string()).arg(socket);
    command
}
