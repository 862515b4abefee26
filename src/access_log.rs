//! Access logs: a line for each request, written without making the request wait.
//!
//! ```
//! use std::sync::Arc;
//! use gatewright::access_log::{AccessLog, Format, LogFile};
//! use gatewright::server::{Protocol, Server};
//!
//! let file = std::env::temp_dir().join(format!("access-{}.log", std::process::id()));
//! let log = Arc::new(AccessLog::start(LogFile::open(&file)?, Format::Combined)?);
//! let mut server = Server::new(Protocol::FastCgi);
//! server.settings.observer = Some(log.clone());
//! // At SIGUSR1, after the file was renamed:
//! log.reopen();
//! # drop((server, log));
//! # std::fs::remove_file(file)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A request's thread only puts its line together and into memory, of which there is 1 MiB; another thread writes it, each
//! line by one `write`. What finds no room is lost, and so is what cannot be written: the number of lost lines goes to the
//! program's log.

mod file;
mod format;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use file::LogFile;
pub use format::{Format, UnknownFormat};

use crate::environ::Environ;
use crate::error::os_reason;
use crate::handlers::{Observer, Outcome};

/// Bytes of lines that wait to be written.
const WAITING: usize = 1 << 20;

/// How long the end of a log waits for the lines that are still to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// An access log: an [`Observer`] that writes a line for each request.
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Through memory and another thread.
    Queue(Arc<Queue>),
    /// At once, by the request's own thread.
    Direct(Mutex<LogFile>),
}

impl AccessLog {
    /// A log for a server: starts the thread that writes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(file: LogFile, format: Format) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new().name("access log".to_owned()).spawn(move || writer.write_all(file))?;
        Ok(Self { format, way: Way::Queue(queue) })
    }

    /// A log for a program that answers one request: writes at once, when the answer is over.
    pub fn direct(file: LogFile, format: Format) -> Self {
        Self { format, way: Way::Direct(Mutex::new(file)) }
    }

    /// Opens the file anew, by its name, as after it was renamed. Lines that wait already still go to the old one.
    pub fn reopen(&self) {
        match &self.way {
            Way::Queue(queue) => {
                queue.lock().reopen = true;
                queue.changed.notify_all();
            }
            Way::Direct(file) => reopen(&mut file.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Observer for AccessLog {
    fn finished(&self, request: &Environ<'_>, outcome: &Outcome, took: Duration) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let began = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.format.write(line, request, outcome, began, took);
            match &self.way {
                Way::Queue(queue) => queue.push(line),
                Way::Direct(file) => {
                    let file = &mut *file.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = file.write_line(line) {
                        log::warn!("access log {file}: a line is lost: {}", os_reason(&error));
                    }
                }
            }
        });
    }
}

impl AccessLog {
    /// Writes what still waits, for at most two seconds: a stuck pipe must not keep a program from its end. Nothing is
    /// written afterwards. Dropping a log does the same.
    pub fn close(&self) {
        let Way::Queue(queue) = &self.way else { return };
        let mut state = queue.lock();
        state.closing = true;
        queue.changed.notify_all();
        let still_open = |state: &mut State| !state.closed;
        let waited = queue.changed.wait_timeout_while(state, FAREWELL, still_open);
        if !waited.unwrap_or_else(PoisonError::into_inner).0.closed {
            log::warn!("access log: the last lines could not be written in time");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// Lines on their way to the thread that writes them.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    lines: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    /// The writer sleeps until it is woken.
    asleep: bool,
    reopen: bool,
    closing: bool,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        if state.lines.len() + line.len() > WAITING {
            state.lost += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.changed.notify_all();
        }
    }

    fn write_all(&self, mut file: LogFile) {
        let mut lines = Vec::new();
        let mut losses = Losses::default();
        loop {
            let work = self.take(&mut lines, losses.untold());
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                if let Err(error) = file.write_line(line) {
                    losses.add(1, &error);
                }
            }
            if work.lost > 0 {
                losses.add(work.lost, &"they came faster than they could be written");
            }
            losses.tell(&file, work.end);
            if work.reopen {
                reopen(&mut file);
            }
            if work.end {
                break;
            }
        }
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for something to do; when losses are to be told, not for long.
    fn take(&self, lines: &mut Vec<u8>, untold: bool) -> Work {
        lines.clear();
        let mut state = self.lock();
        while state.lines.is_empty() && state.lost == 0 && !state.reopen && !state.closing {
            state.asleep = true;
            if untold {
                state = self.changed.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.lines, lines);
        let (lost, reopen) = (std::mem::take(&mut state.lost), std::mem::take(&mut state.reopen));
        Work { lost, reopen, end: state.closing }
    }
}

/// What the writing thread has to do, besides lines.
struct Work {
    lost: u64,
    reopen: bool,
    end: bool,
}

/// Lines that were lost, told once in a while.
#[derive(Debug, Default)]
struct Losses {
    all: u64,
    told: u64,
    why: String,
    last: Option<Instant>,
}

/// Losses are told no more often than that.
const PERIOD: Duration = Duration::from_secs(1);

impl Losses {
    fn add(&mut self, count: u64, why: &dyn fmt::Display) {
        self.all += count;
        self.why = why.to_string();
    }

    fn untold(&self) -> bool {
        self.all > self.told
    }

    fn tell(&mut self, file: &LogFile, now: bool) {
        let due = self.last.is_none_or(|last| last.elapsed() >= PERIOD);
        if self.untold() && (now || due) {
            let (all, why) = (self.all, &self.why);
            log::warn!("access log {file}: lines lost, {all} since the start: {why}");
            (self.told, self.last) = (all, Some(Instant::now()));
        }
    }
}

fn reopen(file: &mut LogFile) {
    match file.reopen() {
        Ok(()) => log::info!("access log {file}: opened anew"),
        Err(error) => {
            log::error!(
                "access log {file}: cannot be opened anew: {}; the old file is written on",
                os_reason(&error)
            )
        }
    }
}
