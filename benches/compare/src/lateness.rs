//! How late `--head-timeout` ends connections whose head does not come.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::cases::Case;
use crate::connect::{self, Address};
use crate::histogram::Histogram;
use crate::measure::{Setup, Stage};
use crate::peers::Peer;
use crate::results::Sample;
use crate::signals;

/// Ours has it.
const FLAG: &str = "--head-timeout";

/// Its value, and the time between two connections, so that no two deadlines are the same.
const TIMEOUT: Duration = Duration::from_secs(1);
const APART: Duration = Duration::from_millis(5);

/// After this a connection counts as never closed.
const PATIENCE: Duration = Duration::from_secs(3);

/// `more` has the lateness in milliseconds.
///
/// # Errors
/// The peer does not start, or closes connections too early or never.
pub fn measure(setup: &Setup, case: &Case, peer: &Peer) -> anyhow::Result<Sample> {
    let value = format!("{}s", TIMEOUT.as_secs());
    let stage = Stage::set_with(setup, case, peer, &[FLAG, &value])?;
    stage.try_once(case)?;
    let mut request = stage.protocol.request(case.ask, true, None);
    request.truncate(request.len() / 2);
    let late = watch(&stage.address, &request, case.connections)?;
    Ok(Sample { served: case.connections, ..Sample::default() }.with([
        ("late_p50_ms", late.quantile(0.5) / 1e3),
        ("late_p99_ms", late.quantile(0.99) / 1e3),
        ("late_max_ms", late.quantile(1.0) / 1e3),
    ]))
}

fn watch(address: &Address, half: &[u8], count: usize) -> anyhow::Result<Histogram> {
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut conns: Vec<Option<(OwnedFd, Instant)>> = Vec::new();
    let mut late = Histogram::default();
    let mut closed = 0;
    let mut events = [EpollEvent::empty(); 64];
    let mut end = Instant::now() + TIMEOUT + PATIENCE;
    while closed < count {
        if signals::received() {
            bail!("interrupted");
        }
        if Instant::now() > end {
            bail!("{} of {count} connections are still open {PATIENCE:?} after their time", count - closed);
        }
        if conns.len() < count {
            let conn = connect::to(address).context("connect")?;
            send(conn.as_raw_fd(), half, MsgFlags::MSG_NOSIGNAL).context("send")?;
            set.add(&conn, EpollEvent::new(EpollFlags::EPOLLIN, conns.len() as u64))?;
            conns.push(Some((conn, Instant::now())));
            end = Instant::now() + TIMEOUT + PATIENCE;
        }
        let ready = match set.wait(&mut events, EpollTimeout::try_from(APART)?) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            let slot = &mut conns[event.data() as usize];
            let Some((conn, began)) = slot else { continue };
            // An answer such as 408 may come first.
            let mut answer = [0; 4096];
            if !matches!(
                recv(conn.as_raw_fd(), &mut answer, MsgFlags::empty()),
                Ok(0) | Err(Errno::ECONNRESET)
            ) {
                continue;
            }
            let waited = began.elapsed();
            // The server's clock may have begun a moment before ours.
            let Some(over) = (waited + Duration::from_millis(5)).checked_sub(TIMEOUT) else {
                bail!("a connection was closed after {waited:?}, before its time");
            };
            late.add(over.saturating_sub(Duration::from_millis(5)));
            *slot = None;
            closed += 1;
        }
    }
    Ok(late)
}
