//! The iterables and files that recorded applications return.
//!
//! In Python an application returns its iterable and the handler goes through it afterwards. Here the application gives
//! it to [`Body::send_chunks`](gatewright::app::Body::send_chunks), and the library goes through it before the
//! application returns; so what was recorded about an iterable has these counterparts:
//!
//! * `iter`, the handler asks for an iterator: the first call of `next_chunk`;
//! * `len`, it asks for the length: a call of `exactly_one`;
//! * `close`: a call of `close`;
//! * `generator finalised`, a generator's `finally` runs, because it ended, failed, or was closed: the iterable is
//!   dropped, which runs what a Rust iterator has to tidy up;
//! * `file.read(n)`: a `read` with a buffer of `n` bytes;
//! * `file.close`: the file is dropped, which is what closes a Rust file.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewright::app::{AppResult, Chunks};
use gatewright::util::FileSource;

use super::errors;
use super::told::Told;

/// A step of an iteration.
pub(crate) enum Step {
    Chunk(Vec<u8>),
    /// The iteration fails: by a function that returns the error, or panics.
    Fail(Box<dyn FnOnce() -> AppResult + Send>),
}

/// Which of Python's iterables it is, as far as it can be told from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Generator,
    /// An object with `close()`, which may fail.
    Closing {
        fails: bool,
    },
    /// An object that claims a length.
    Sized {
        claims: u64,
    },
}

/// A generator, or an object that is its own iterator.
pub(crate) struct Walk {
    pub(crate) kind: Kind,
    pub(crate) steps: std::vec::IntoIter<Step>,
    pub(crate) begun: bool,
    pub(crate) told: Told,
}

impl Chunks for Walk {
    fn next_chunk(&mut self) -> AppResult<Option<Cow<'_, [u8]>>> {
        if !self.begun && self.kind != Kind::Generator {
            self.told.event("iter");
        }
        self.begun = true;
        match self.steps.next() {
            None => Ok(None),
            Some(Step::Chunk(data)) => Ok(Some(Cow::Owned(data))),
            Some(Step::Fail(fail)) => fail().map(|()| None),
        }
    }

    fn exactly_one(&self) -> bool {
        let Kind::Sized { claims } = self.kind else { return false };
        self.told.event("len");
        claims == 1
    }

    fn close(&mut self) -> AppResult {
        let Kind::Closing { fails } = self.kind else { return Ok(()) };
        self.told.event("close");
        if fails { Err(errors::raised("RuntimeError", "close failed")) } else { Ok(()) }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if self.kind == Kind::Generator {
            self.told.event("generator finalised");
        }
    }
}

/// A file in memory, with a real one behind it for a handler that has the system send it.
pub(crate) struct Source {
    content: Cursor<Vec<u8>>,
    real: File,
    /// Whether anything tells that it is closed. The recorded file without a `close` cannot, nor can one whose wrapper has
    /// no `close`, since nobody closes it; a Rust file is closed all the same.
    tells: bool,
    told: Told,
}

impl Source {
    pub(crate) fn new(content: Vec<u8>, tells: bool, told: Told) -> io::Result<Self> {
        let real = temporary_file(&content)?;
        Ok(Self { content: Cursor::new(content), real, tells, told })
    }
}

fn temporary_file(content: &[u8]) -> io::Result<File> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("source-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.told.event(format!("file.read({})", into.len()));
        self.content.read(into)
    }
}

impl FileSource for Source {
    fn as_file(&mut self) -> Option<&mut File> {
        Some(&mut self.real)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.tells {
            self.told.event("file.close");
        }
    }
}
