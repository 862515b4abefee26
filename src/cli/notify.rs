//! The service manager's notification socket (`sd_notify`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The variables that tell of it.
pub(super) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A connection to the service manager, if there is one. It is made once: after a change of user or root directory the
/// socket could not be reached any more.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let variable = |name| std::env::var(name).ok();
        match connect(&name) {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: period(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()),
            },
            Err(error) => {
                log::warn!("NOTIFY_SOCKET {}: cannot be reached: {error}", name.display());
                Self::default()
            }
        }
    }

    /// How often the service manager wants to hear that this process is alive.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells the service manager. One that does not listen is no reason not to serve.
    pub(super) fn send(&self, lines: &[&str]) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.join("\n").as_bytes())
        {
            log::debug!("NOTIFY_SOCKET: {error}");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read shall not hold up signals.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Half the time after which the process `own` counts as dead.
fn period(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0 && ours)?;
    Some(Duration::from_micros(micros / 2).max(Duration::from_millis(1)))
}

/// A text that cannot be taken for more than one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_told_at_half_its_time_and_by_the_process_it_watches() {
        let text = |text: &str| Some(text.to_owned());
        for (micros, pid, expected) in [
            (text("30000000"), None, Some(Duration::from_secs(15))),
            (text("30000000"), text("7"), Some(Duration::from_secs(15))),
            (text("30000000"), text("8"), None),
            (text("1"), None, Some(Duration::from_millis(1))),
            (text("0"), None, None),
            (text("-1"), None, None),
            (text("x"), None, None),
            (None, None, None),
            (text("2000"), text("x"), None),
        ] {
            assert_eq!(period(micros.clone(), pid.clone(), 7), expected, "{micros:?} {pid:?}");
        }
    }

    #[test]
    fn sockets_with_and_without_a_file_are_reached() {
        let hidden = format!("gatewright-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&hidden).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(OsStr::new(&format!("@{hidden}"))).unwrap();
        Notify { socket: Some(socket), watchdog: None }.send(&["READY=1", "STATUS=x"]);
        let mut block = [0; 64];
        let length = manager.recv(&mut block).unwrap();
        assert_eq!(&block[..length], b"READY=1\nSTATUS=x");
        assert!(connect(OsStr::new("/nowhere/notify")).is_err());
        assert_eq!(one_line("a\nREADY=0"), "a READY=0");
    }
}
