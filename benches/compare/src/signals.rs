//! SIGINT and SIGTERM end the comparison in order: what it started is ended, its folder removed.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static RECEIVED: AtomicBool = AtomicBool::new(false);

extern "C" fn receive(_: libc::c_int) {
    RECEIVED.store(true, Ordering::Relaxed);
}

/// From now on signals are noted instead of ending the process.
pub fn watch() -> nix::Result<()> {
    let action = SigAction::new(SigHandler::Handler(receive), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler stores into an atomic and does nothing else.
        #[allow(unsafe_code)]
        unsafe {
            sigaction(signal, &action)?;
        }
    }
    Ok(())
}

pub fn received() -> bool {
    RECEIVED.load(Ordering::Relaxed)
}
