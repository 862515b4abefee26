//! Processes that the comparison starts, and ends on every way out.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::connect::Address;
use crate::group::{self, Group};
use crate::meter::Meter;
use crate::signals;

/// A running server, in a process group of its own.
pub struct Server {
    child: Child,
    group: Option<Rc<Group>>,
}

/// Where a server listens, and where what it says goes.
pub struct Place<'p> {
    pub address: &'p Address,
    pub log: &'p Path,
    /// It gets the listening socket as descriptor 0.
    pub inherits: bool,
    /// The control group that it and all that it starts are in.
    pub group: Option<Group>,
}

/// Time for a server to listen.
const START: Duration = Duration::from_secs(10);

impl Server {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// It ends, or does not listen; with the end of what it said.
    pub fn start(mut command: Command, place: Place<'_>) -> anyhow::Result<Self> {
        let log = File::create(place.log).with_context(|| place.log.display().to_string())?;
        let input = if place.inherits { listener(place.address.path())? } else { Stdio::null() };
        command.stdin(input).stdout(log.try_clone()?).stderr(log).process_group(0);
        let door = place.group.as_ref().map(Group::door).transpose()?;
        // SAFETY: between fork and exec only prctl and write are called, which take no lock and no memory.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                if let Some(door) = &door {
                    group::enter(door)?;
                }
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| program.clone())?;
        let mut server = Self { child, group: place.group.map(Rc::new) };
        server.wait_until_it_listens(place.address, place.log).with_context(|| program)?;
        Ok(server)
    }

    pub fn meter(&self) -> Meter {
        Meter { process: self.pid(), group: self.group.clone() }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn wait_until_it_listens(&mut self, address: &Address, log: &Path) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while !listens(&self.meter(), address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended at once ({status}): {}", last_words(log));
            }
            if signals::received() {
                bail!("interrupted");
            }
            if Instant::now() > end {
                bail!("does not listen on {}: {}", address, last_words(log));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its processes have nothing to lose. The group stays ours until the child is waited for.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn listener(path: &Path) -> anyhow::Result<Stdio> {
    let listener = UnixListener::bind(path)?;
    // std asks for a short queue.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    Ok(Stdio::from(std::os::fd::OwnedFd::from(listener)))
}

/// Whether its socket is there and one of its processes listens. The system is asked, not the server, for which a
/// connection that comes and goes would be work; and not by the path, since a server may bind one name and rename it.
fn listens(server: &Meter, address: &Address) -> bool {
    let listening = match address {
        Address::Unix(path) if path.exists() => listening_sockets("/proc/net/unix", 3, "00010000", 6),
        Address::Unix(_) => return false,
        // 0A is TCP_LISTEN.
        Address::Tcp(_) => listening_sockets("/proc/net/tcp", 3, "0A", 9),
    };
    let opened = |pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links =
        server.processes().into_iter().flat_map(opened).filter_map(|fd| fs::read_link(fd.path()).ok());
    let mut found = links.filter(|link| listening.iter().any(|socket| link.as_os_str() == socket.as_str()));
    found.next().is_some()
}

/// Of a table of the system's, the sockets with that value in that column; their number is in another one.
fn listening_sockets(table: &str, column: usize, value: &str, number: usize) -> Vec<String> {
    let table = fs::read_to_string(table).unwrap_or_default();
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|fields| fields.get(column) == Some(&value))
        .filter_map(|fields| Some(format!("socket:[{}]", fields.get(number)?)))
        .collect()
}

/// The last lines of a log, in one.
pub fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    if last.is_empty() { "it said nothing".to_owned() } else { last.join(" | ") }
}
