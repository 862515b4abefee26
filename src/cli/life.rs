//! A server's life: signals, and what the service manager is told.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::notify::{self, Notify};
use crate::server::{ACTIVATION, Listener, Stop, keep_private};
use crate::sys;

/// Signals and the service manager, from before the sockets are bound until the end.
pub(super) struct Life {
    signals: SignalFd,
    notify: Notify,
    stopping_since: Cell<Option<Instant>>,
}

/// Signals so close together are one: `timeout`, and terminals with process groups, send it twice.
const TWICE: Duration = Duration::from_millis(200);

impl Life {
    /// Keeps signals for the thread that [`watch`](Self::watch) starts, and finds the service manager while its socket
    /// is in reach: it is not after a change of the root directory.
    pub(super) fn begin() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
            signals.add(signal);
        }
        // Threads started later inherit that.
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals, notify: Notify::from_environment(), stopping_since: Cell::new(None) })
    }

    /// Says that the server is ready, and watches over it: the first SIGTERM or SIGINT stops it when its requests are
    /// answered, a second one at once, once `cut` has returned. SIGUSR1 calls `reopen`, for log files.
    pub(super) fn watch(
        self,
        stop: Stop,
        listeners: &[Listener],
        reopen: impl Fn() + Send + 'static,
        cut: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let addresses: Vec<&str> = listeners.iter().map(Listener::description).collect();
        let status = format!("Listening on {}", addresses.join(", "));
        let start = move || {
            self.notify.send(&["READY=1", &format!("STATUS={}", notify::one_line(&status))]);
            self.run(&stop, &reopen, &cut);
        };
        thread::Builder::new().name("life".to_owned()).spawn(start)?;
        Ok(())
    }

    fn run(&self, stop: &Stop, reopen: &dyn Fn(), cut: &dyn Fn()) {
        let mut alive = Instant::now();
        loop {
            self.wait(alive);
            while let Ok(Some(signal)) = self.signals.read_signal() {
                match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                    Ok(Ok(Signal::SIGUSR1)) => reopen(),
                    _ => self.end(stop, cut),
                }
            }
            if let Some(every) = self.notify.watchdog()
                && alive <= Instant::now()
            {
                self.notify.send(&["WATCHDOG=1"]);
                alive = Instant::now() + every;
            }
        }
    }

    /// Waits for a signal, or until the watchdog wants to hear of us.
    fn wait(&self, alive: Instant) {
        let timeout = match self.notify.watchdog() {
            // A moment too late rather than again and again a moment too early.
            Some(_) => {
                let left = alive.saturating_duration_since(Instant::now()).as_millis() + 1;
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        match poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Nothing is left to wait for then, but signals are still read.
            Err(_) => thread::yield_now(),
        }
    }

    fn end(&self, stop: &Stop, cut: &dyn Fn()) {
        if self.stopping_since.get().is_some_and(|since| since.elapsed() < TWICE) {
            return;
        }
        if stop.is_stopped() {
            log::warn!("ended at once by a second signal: requests under way are cut off");
            cut();
            std::process::exit(1);
        }
        log::info!("stopping: requests under way are answered first; a second signal cuts them off");
        self.notify.send(&["STOPPING=1", "STATUS=Answering the requests under way"]);
        self.stopping_since.set(Some(Instant::now()));
        stop.stop();
    }
}

/// Keeps what was meant for this process from programs that it starts.
pub(super) fn forget_activation() {
    keep_private();
    if !sys::forget_variables(&ACTIVATION) || !sys::forget_variables(&notify::VARIABLES) {
        log::debug!("other threads run already: LISTEN_* and NOTIFY_SOCKET stay in the environment");
    }
}
