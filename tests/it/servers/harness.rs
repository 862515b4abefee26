//! Folders, processes and ports that tests start and that never outlive them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::client::PATIENCE;

/// Asks again and again, for a while that is long for everything tests wait for.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, &mut condition), "waited in vain until {what}");
}

/// Whether it comes true within this time.
pub(crate) fn comes_true(within: Duration, condition: &mut dyn FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        // Between two looks at the condition; nothing relies on its length.
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// A program of this build; of the release build when GATEWRIGHT_TEST_RELEASE is set.
pub(crate) fn program(name: &str) -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_cgi-gateway")).parent().expect("a folder");
    let folder = match std::env::var_os("GATEWRIGHT_TEST_RELEASE") {
        None => debug.to_owned(),
        Some(_) => debug.with_file_name("release"),
    };
    let path = match name {
        "workbench" => folder.join("examples").join(name),
        _ => folder.join(name),
    };
    assert!(path.is_file(), "{} is missing: build it first, or run tests/run", path.display());
    path
}

/// A web server's program, from Debian's packages.
pub(crate) fn installed(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: these tests need it; tests/run installs it"))
}

/// Whether this is root: web servers then drop to www-data, who must be let in.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A folder of a test's own, removed in the end; what it holds is shown when the test fails.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-it-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a new folder for temporary files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner may");
        Self(path)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a folder that can be written");
        path
    }

    pub(crate) fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("a folder that can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner may");
        path
    }

    /// As [`Self::mkdir`], for a web server that writes there as another user.
    pub(crate) fn mkdir_for_all(&self, name: &str) -> PathBuf {
        let path = self.mkdir(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).expect("its owner may");
        path
    }

    /// Puts a program where web servers may run it, whoever they run as.
    pub(crate) fn install(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        if fs::hard_link(program, &path).is_err() {
            // By a process of its own: one that this process forked meanwhile would hold the new file open for
            // writing, and it could not be executed then.
            let copied = Command::new("cp").arg("--").args([program, &path]).status();
            assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", program.display());
        }
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_logs(&self.0);
        }
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

fn show_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension() == Some(OsStr::new("log")) {
            let text = fs::read(&path).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(4000)..];
            eprintln!("--- {}\n{}", path.display(), String::from_utf8_lossy(tail));
        }
    }
}

/// A process in a group of its own, ended and reaped in the end, whatever happens.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    name: String,
    over: Option<ExitStatus>,
}

impl Process {
    /// Starts a program, its output in `name.log`.
    ///
    /// It gets SIGTERM when this test's thread dies in a way that runs no destructor, as by Ctrl-C.
    pub(crate) fn start(
        folder: &Folder,
        name: &str,
        program: &Path,
        arrange: impl FnOnce(&mut Command),
    ) -> Self {
        let log = folder.path(&format!("{name}.log"));
        let file = File::create(&log).expect("a folder that can be written");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        // What runs the tests shall not show in the environment of a request.
        command.env_clear().env("PATH", "/usr/bin:/bin");
        if crate::wire::portable() {
            command.env("GATEWRIGHT_READY", "portable");
        }
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a descriptor")).stderr(file);
        // Apache signals its whole group when it ends.
        command.process_group(0);
        arrange(&mut command);
        let child = command.spawn().expect("setpriv (util-linux) is installed");
        Self { child, log, name: name.to_owned(), over: None }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.over.is_none() {
            self.over = self.child.try_wait().expect("our child");
        }
        self.over
    }

    /// Waits until it is ready. That it ends before is a failure, and shows its log.
    #[track_caller]
    pub(crate) fn ready_when(&mut self, mut condition: impl FnMut() -> bool) {
        let name = self.name.clone();
        let mut status = None;
        wait_until(&format!("{name} is ready"), || {
            status = self.ended();
            status.is_some() || condition()
        });
        if let Some(status) = status {
            panic!("{name} ended with {status}: {}", self.log());
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_until(&format!("{name} has ended"), || self.ended().is_some());
        self.over.expect("it has ended")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.over.is_none() {
            kill(self.pid(), signal).expect("our child");
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        const GRACE: Duration = Duration::from_secs(10);
        self.signal(Signal::SIGTERM);
        let stopped = comes_true(GRACE, &mut || self.ended().is_some());
        // Also for what it may have left behind.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        if !stopped {
            eprintln!("{} did not end at SIGTERM", self.name);
            let _ = self.child.wait();
        }
    }
}

/// The processes that run this very file.
pub(crate) fn processes(program: &Path) -> Vec<Pid> {
    let is_program =
        |entry: &fs::DirEntry| fs::read_link(entry.path().join("exe")).is_ok_and(|runs| runs == program);
    let all = fs::read_dir("/proc").expect("Linux").flatten().filter(is_program);
    all.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))).collect()
}

/// A loopback port that nobody listens on, below those that the system gives to outgoing connections, and no test's that
/// runs at the same time.
pub(crate) fn free_port() -> u16 {
    /// More than one run of all tests takes; runs of other processes have others.
    const PORTS: u16 = 1600;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 11_000 + u16::try_from(std::process::id() % 13).expect("less than 13") * PORTS;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether somebody listens on a loopback port.
pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}
