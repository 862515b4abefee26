//! `wsgi.input` and `wsgi.errors`, with both sides of each call checked.

use std::io::{self, BufRead, Read, Write};

use super::rule::{Findings, Rule};
use super::warn;
use crate::environ::{Environ, Errors, Input, Vars, Wsgi};

/// Lends an environ with checked streams for the duration of one call. What the callee changes in it stays changed.
pub(super) fn lend<T>(
    environ: &mut Environ<'_>,
    findings: &Findings,
    length: Option<u64>,
    with: impl FnOnce(&mut Environ<'_>) -> T,
) -> T {
    let Environ { vars, input, data, errors, wsgi, abort } = environ;
    let reading = Reading { findings, length, ends: wsgi.input_terminated, ..Reading::new(findings) };
    let mut input = CheckedInput { inner: input, reading };
    let mut errors = CheckedErrors { inner: errors, findings };
    let lent = Environ {
        vars: std::mem::take(vars),
        input: Input::Lent(&mut input),
        data: Input::Lent(data),
        errors: Errors::new(&mut errors),
        wsgi: std::mem::take(wsgi),
        abort: *abort,
    };
    with(&mut GiveBack { vars, wsgi, lent }.lent)
}

/// Puts variables and values back where they were, also when the application panics: its log line names the request.
struct GiveBack<'e, 'r> {
    vars: &'e mut Vars,
    wsgi: &'e mut Wsgi,
    lent: Environ<'r>,
}

impl Drop for GiveBack<'_, '_> {
    fn drop(&mut self) {
        *self.vars = std::mem::take(&mut self.lent.vars);
        *self.wsgi = std::mem::take(&mut self.lent.wsgi);
    }
}

struct CheckedInput<'a, 'r> {
    inner: &'a mut Input<'r>,
    reading: Reading<'a>,
}

impl Read for CheckedInput<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reading.begin()?;
        let room = into.len();
        let result = self.inner.read(into);
        let count = self.reading.noting(result)?;
        self.reading.got(count, room)?;
        Ok(count)
    }
}

impl BufRead for CheckedInput<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reading.begin()?;
        let result = self.inner.fill_buf();
        let available = self.reading.noting(result)?;
        self.reading.showed(available.len())?;
        Ok(available)
    }

    fn consume(&mut self, amount: usize) {
        let shown = self.reading.consumed(amount);
        self.inner.consume(amount.min(shown));
    }
}

/// What is known of a body from how it was read so far.
struct Reading<'a> {
    findings: &'a Findings,
    /// CONTENT_LENGTH.
    length: Option<u64>,
    /// Whether the gateway ends the body there.
    ends: bool,
    /// Bytes that the application has.
    taken: u64,
    /// Bytes that it was shown and has not consumed.
    shown: usize,
    ended: bool,
    failed: bool,
    warned: bool,
}

impl<'a> Reading<'a> {
    fn new(findings: &'a Findings) -> Self {
        Self {
            findings,
            length: None,
            ends: false,
            taken: 0,
            shown: 0,
            ended: false,
            failed: false,
            warned: false,
        }
    }

    fn begin(&self) -> io::Result<()> {
        if self.failed {
            Err(self.findings.note(Rule::ReadAfterError, format!("a read after {} bytes", self.taken)))?;
        }
        Ok(())
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        // These three say "not now".
        self.failed =
            result.as_ref().is_err_and(|error| !matches!(error.kind(), Interrupted | TimedOut | WouldBlock));
        result
    }

    fn got(&mut self, count: usize, room: usize) -> io::Result<()> {
        if count > room {
            Err(self.findings.note(Rule::InputCount, format!("{count} bytes for a buffer of {room}")))?;
        }
        if count == 0 && self.shown > 0 && room > 0 {
            Err(self.findings.note(Rule::InputTakenBack, format!("the end, behind {} bytes", self.shown)))?;
        }
        self.shown = self.shown.saturating_sub(count);
        self.take(count);
        if count == 0 && room > 0 { self.end() } else { self.more(count) }
    }

    fn showed(&mut self, available: usize) -> io::Result<()> {
        if available < self.shown {
            let seen = format!("{available} bytes, where {} were shown before", self.shown);
            Err(self.findings.note(Rule::InputTakenBack, seen))?;
        }
        self.shown = available;
        if available == 0 { self.end() } else { self.more(available) }
    }

    /// How many bytes could be consumed.
    fn consumed(&mut self, amount: usize) -> usize {
        let shown = self.shown;
        if amount > shown {
            self.findings.note(Rule::ConsumedTooMuch, format!("{amount} bytes, where {shown} were shown"));
        }
        self.shown = shown.saturating_sub(amount);
        self.take(amount.min(shown));
        shown
    }

    fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count as u64);
        if let Some(length) = self.length.filter(|length| self.taken > *length)
            && !self.ends
            && !self.warned
        {
            self.warned = true;
            warn(&format!("{} bytes were read of a body whose CONTENT_LENGTH is {length}", self.taken));
        }
    }

    fn more(&self, count: usize) -> io::Result<()> {
        if self.ended && count > 0 {
            Err(self.findings.note(Rule::InputAfterEnd, format!("{count} bytes")))?;
        }
        let here = self.taken.saturating_add(self.shown as u64);
        match self.length {
            Some(length) if self.ends && here > length => {
                let seen = format!("{here} bytes, where CONTENT_LENGTH is {length}");
                Err(self.findings.note(Rule::InputTooLong, seen))?
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        match self.length {
            Some(length) if self.ends && self.taken < length => {
                let seen = format!("the end after {} bytes, where CONTENT_LENGTH is {length}", self.taken);
                Err(self.findings.note(Rule::InputTooShort, seen))?
            }
            _ => Ok(()),
        }
    }
}

struct CheckedErrors<'a, 'r> {
    inner: &'a mut Errors<'r>,
    findings: &'a Findings,
}

impl Write for CheckedErrors<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(data)?;
        if count > data.len() {
            let seen = format!("{count} of {} bytes", data.len());
            Err(self.findings.note(Rule::ErrorsCount, seen))?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
