//! Who is compared, and how each is started.
//!
//! A further peer is one more line here, and its program under `peers/`, which `run` builds.

mod web_servers;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cases::{App, Front};
use crate::connect::Address;

pub struct Peer {
    pub name: &'static str,
    pub about: &'static str,
    /// What it serves, and by which protocols.
    pub serves: &'static [(App, &'static [Front])],
    start: fn(&Site<'_>) -> anyhow::Result<Command>,
    pub listens: Listens,
}

/// How a peer comes by its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// It is told a path.
    Path,
    /// It has the listening socket as descriptor 0.
    Inherited,
    /// It knows TCP only.
    Port,
}

/// Where programs are.
pub struct Folders {
    /// `benches/`.
    pub benches: PathBuf,
    /// What Cargo and `run` built.
    pub built: PathBuf,
    /// What the peers serve; see [`Folders::fill`].
    pub served: PathBuf,
}

/// One peer's task.
pub struct Site<'s> {
    pub folders: &'s Folders,
    pub front: Front,
    pub app: App,
    pub address: &'s Address,
    /// For configuration, logs and whatever else the peer writes.
    pub temporary: &'s Path,
}

impl Peer {
    pub fn takes_part(&self, app: App, front: Front) -> bool {
        self.serves.iter().any(|(serves, fronts)| *serves == app && fronts.contains(&front))
    }

    /// # Errors
    /// Its configuration cannot be written.
    pub fn command(&self, site: &Site<'_>) -> anyhow::Result<Command> {
        (self.start)(site)
    }
}

impl Folders {
    /// The CGI programs.
    pub fn programs(&self) -> PathBuf {
        self.served.join("programs")
    }

    /// The folder of files.
    pub fn files(&self) -> PathBuf {
        self.served.join("files")
    }

    /// Lays out the programs and files, where also a web server finds them that gives up its rights.
    ///
    /// # Errors
    /// A file is missing, or cannot be written.
    pub fn fill(&self, programs: bool, files: bool) -> anyhow::Result<()> {
        fs::create_dir_all(&self.served)?;
        if programs {
            let folder = self.programs();
            fs::create_dir(&folder)?;
            let script = self.benches.join("peers/programs/script");
            let program = self.built.join("program");
            for (name, from) in
                [("hello", &program), ("out100m", &program), ("sink", &program), ("script", &script)]
            {
                let to = folder.join(name);
                fs::copy(from, &to).with_context(|| from.display().to_string())?;
                fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
            }
        }
        if files {
            let folder = self.files();
            fs::create_dir(&folder)?;
            for (name, length) in [("1k", 1 << 10), ("100k", 100 << 10), ("100m", 100 << 20)] {
                fs::write(folder.join(name), answers::LINE.repeat(length / answers::LINE.len()))?;
            }
        }
        Ok(())
    }
}

/// The one that all are related to.
pub const FLOOR: &str = "floor";
/// Ours.
pub const OURS: &str = "ours";
/// The reference behind nginx.
pub const HYPER: &str = "hyper";

use App::{Files, Own, Programs};
use Front::{Cgi, Fcgi, Http, Scgi};

pub static PEERS: &[Peer] = &[
    Peer {
        name: FLOOR,
        about: "one thread, one epoll set, no features; for programs threads and posix_spawn: the practical limit",
        serves: &[(Own, &[Fcgi, Scgi, Http]), (Programs, &[Fcgi, Http])],
        start: |site| {
            let mut command = Command::new(site.folders.built.join(FLOOR));
            command.arg(site.front.to_string()).arg(site.address.path());
            if site.app == Programs {
                command.arg(site.folders.programs());
            }
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: OURS,
        about: "gatewright: an application under `cli::run`; the gateways for programs and folders",
        serves: &[(Own, &[Fcgi, Scgi, Http, Cgi]), (Programs, &[Fcgi, Scgi, Http]), (Files, &[Http])],
        start: ours,
        listens: Listens::Path,
    },
    Peer {
        name: "ours-dynamic",
        about: "cgi-gateway as `cargo install` builds it, with shared libraries",
        serves: &[(Own, &[Cgi])],
        start: |site| {
            let mut command = gateway(site)?;
            command.arg("demo");
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: "libfcgi",
        about: "libfcgi in C, one process",
        serves: &[(Own, &[Fcgi])],
        start: |site| Ok(with_socket(site, "libfcgi-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: "tokio-fastcgi",
        about: "the tokio-fastcgi crate, a task for each connection",
        serves: &[(Own, &[Fcgi])],
        start: |site| Ok(with_socket(site, "tokio-fastcgi-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: "fastcgi",
        about: "the fastcgi crate, a thread for each connection",
        serves: &[(Own, &[Fcgi])],
        start: |site| Ok(Command::new(site.folders.built.join("fastcgi-peer"))),
        listens: Listens::Inherited,
    },
    Peer {
        name: "go",
        about: "Go's net/http/fcgi",
        serves: &[(Own, &[Fcgi])],
        start: |site| Ok(with_socket(site, "go-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: "uwsgi",
        about: "uWSGI with its Python plugin, one process; for programs its CGI plugin, 16 threads",
        serves: &[(Own, &[Fcgi, Scgi, Http]), (Programs, &[Http])],
        start: uwsgi,
        listens: Listens::Path,
    },
    Peer {
        name: "scgi",
        about: "the scgi crate, one connection after the other",
        serves: &[(Own, &[Scgi])],
        start: |site| Ok(with_socket(site, "scgi-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: "tokio-scgi",
        about: "the tokio-scgi crate, a task for each connection",
        serves: &[(Own, &[Scgi])],
        start: |site| Ok(with_socket(site, "tokio-scgi-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: HYPER,
        about: "hyper, one thread, the application inline: the reference for HTTP",
        serves: &[(Own, &[Http])],
        start: |site| Ok(with_socket(site, "hyper-peer")),
        listens: Listens::Path,
    },
    Peer {
        name: "hyper-blocking",
        about: "hyper, each call of the application on tokio's threads for blocking work (spawn_blocking)",
        serves: &[(Own, &[Http])],
        start: |site| {
            let mut command = with_socket(site, "hyper-peer");
            command.arg("blocking");
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: "granian",
        about: "Granian, a WSGI function, one worker",
        serves: &[(Own, &[Http])],
        start: |site| {
            let mut command = python(site, "granian");
            command.args(["--interface", "wsgi", "--workers", "1", "--backlog", "2048", "--no-log"]);
            command.arg("--uds").arg(site.address.path()).arg("answers:application");
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: "gunicorn",
        about: "gunicorn, a WSGI function, one worker with 8 threads",
        serves: &[(Own, &[Http])],
        start: |site| {
            let mut command = python(site, "gunicorn");
            command.args(["--worker-class", "gthread", "--threads", "8", "--keep-alive", "75"]);
            command.args(["--backlog", "2048", "--log-level", "error", "--no-control-socket"]);
            command.arg("--bind").arg(format!("unix:{}", site.address)).arg("answers:application");
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: "wsgiref",
        about: "CPython's wsgiref.simple_server; for CGI its CGIHandler with the demo",
        serves: &[(Own, &[Http, Cgi])],
        start: |site| {
            let folder = site.folders.benches.join("peers/python");
            if site.front == Cgi {
                return Ok(Command::new(folder.join("program.py")));
            }
            let mut command = Command::new("/usr/bin/python3");
            command.arg(folder.join("simple.py")).arg(site.address.path());
            Ok(command)
        },
        listens: Listens::Path,
    },
    Peer {
        name: "bare-rust",
        about: "a static program in Rust that does no more than answer",
        serves: &[(Own, &[Cgi])],
        start: |site| Ok(Command::new(site.folders.built.join("bare-static"))),
        listens: Listens::Path,
    },
    Peer {
        name: "bare-c",
        about: "a static program in C that does no more than answer",
        serves: &[(Own, &[Cgi])],
        start: |site| Ok(Command::new(site.folders.built.join("program"))),
        listens: Listens::Path,
    },
    Peer {
        name: "fcgiwrap-1",
        about: "fcgiwrap, one program at a time",
        serves: &[(Programs, &[Fcgi])],
        start: |_| Ok(fcgiwrap("1")),
        listens: Listens::Inherited,
    },
    Peer {
        name: "fcgiwrap-4",
        about: "fcgiwrap, four processes",
        serves: &[(Programs, &[Fcgi])],
        start: |_| Ok(fcgiwrap("4")),
        listens: Listens::Inherited,
    },
    Peer {
        name: "fcgiwrap-16",
        about: "fcgiwrap, 16 processes",
        serves: &[(Programs, &[Fcgi])],
        start: |_| Ok(fcgiwrap("16")),
        listens: Listens::Inherited,
    },
    Peer {
        name: "nginx",
        about: "nginx, one process, with sendfile",
        serves: &[(Files, &[Http])],
        start: web_servers::nginx,
        listens: Listens::Path,
    },
    Peer {
        name: "lighttpd",
        about: "lighttpd, one process; for programs mod_cgi",
        serves: &[(Files, &[Http]), (Programs, &[Http])],
        start: web_servers::lighttpd,
        listens: Listens::Path,
    },
    Peer {
        name: "apache",
        about: "Apache with mpm_event and mod_cgid, by TCP",
        serves: &[(Programs, &[Http])],
        start: web_servers::apache,
        listens: Listens::Port,
    },
];

/// A program that `run` has built, told the socket's path.
fn with_socket(site: &Site<'_>, program: &str) -> Command {
    let mut command = Command::new(site.folders.built.join(program));
    command.arg(site.address.path());
    command
}

fn ours(site: &Site<'_>) -> anyhow::Result<Command> {
    let socket = format!("unix:{}", site.address);
    let mut command = match (site.app, site.front) {
        (Own, Cgi) => {
            let mut command = Command::new(site.folders.built.join("cgi-gateway-static"));
            command.arg("demo");
            return Ok(command);
        }
        (Own, front) => {
            let mut command = Command::new(site.folders.built.join(OURS));
            command.arg(front.to_string());
            command
        }
        (app, _) => {
            let mut command = gateway(site)?;
            command.arg(match app {
                Programs => format!("cgi:{}", site.folders.programs().display()),
                _ => format!("dir:{}", site.folders.files().display()),
            });
            command
        }
    };
    command.arg("--socket").arg(socket);
    Ok(command)
}

/// One of the gateways, all of which are one program under several names.
fn gateway(site: &Site<'_>) -> anyhow::Result<Command> {
    let path = site.temporary.join(format!("{}-gateway", site.front));
    symlink(site.folders.built.join("gateway"), &path).context("a name for the gateway")?;
    Ok(Command::new(path))
}

fn uwsgi(site: &Site<'_>) -> anyhow::Result<Command> {
    let protocol = match site.front {
        Scgi => "--scgi-socket",
        Http => "--http11-socket",
        _ => "--fastcgi-socket",
    };
    let mut command = Command::new("uwsgi-core");
    command.args(["--plugins-dir", "/usr/lib/uwsgi/plugins", "--processes", "1", "--listen", "1024"]);
    command.arg("--disable-logging").arg(protocol).arg(site.address.path());
    if site.app == Programs {
        // Requests are for the plugin of that number.
        command.args(["--http-socket-modifier1", "9", "--plugin", "cgi", "--threads", "16", "--cgi"]);
        command.arg(site.folders.programs());
    } else {
        command.args(["--plugin", "python3", "--wsgi-file"]);
        command.arg(site.folders.benches.join("peers/python/answers.py"));
    }
    Ok(command)
}

/// A program of the virtual environment that `run` makes, beside the application.
fn python(site: &Site<'_>, program: &str) -> Command {
    let environment = site.folders.built.parent().unwrap_or(Path::new(".")).join("python");
    let mut command = Command::new(environment.join("bin").join(program));
    command.current_dir(site.folders.benches.join("peers/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn fcgiwrap(processes: &str) -> Command {
    let mut command = Command::new("fcgiwrap");
    command.args(["-c", processes]);
    command
}
