//! What a program writes to its standard error.

use std::io::Write;

use super::settings::Stderr;
use crate::environ::Environ;

/// A line in our log is no longer.
const LINE: usize = 8 * 1024;

/// So much of one program's error text goes to our log, each line counted with its [`BESIDE`].
const LOGGED: usize = 1 << 20;

/// What stands beside each line in the log.
const BESIDE: usize = 100;

/// So much of the first line is worth a place in the message about a failure.
const FIRST: usize = 200;

/// Passes error text on, and remembers how it began.
#[derive(Debug, Default)]
pub(super) struct Messages {
    to: Stderr,
    first: Vec<u8>,
    first_is_whole: bool,
    line: Vec<u8>,
    logged: usize,
    left_out: usize,
}

impl Messages {
    pub(super) fn new(to: Stderr) -> Self {
        Self { to, ..Self::default() }
    }

    /// Takes what the program has written.
    pub(super) fn take(&mut self, data: &[u8], environ: &mut Environ<'_>, program: &[u8]) {
        self.remember(data);
        match self.to {
            Stderr::Web => {
                // Where that cannot be written nobody can be told.
                let _ = environ.errors.write_all(data);
            }
            Stderr::Log => self.log(data, environ, program),
        }
    }

    /// How the error text began; `None` when there was none.
    pub(super) fn first(&self) -> Option<&[u8]> {
        Some(&*self.first).filter(|first| !first.is_empty())
    }

    /// The program writes no more.
    pub(super) fn finish(&mut self, environ: &Environ<'_>, program: &[u8]) {
        if !self.line.is_empty() {
            self.end_line(environ, program);
        }
        if self.left_out > 0 {
            let left_out = format!("{} more bytes of its error text are left out", self.left_out);
            log_line(left_out.as_bytes(), environ, program);
        }
    }

    fn remember(&mut self, data: &[u8]) {
        for byte in data {
            match byte {
                _ if self.first_is_whole => return,
                b'\n' | b'\r' => self.first_is_whole = !self.first.is_empty(),
                byte => self.first.push(*byte),
            }
            self.first_is_whole |= self.first.len() >= FIRST;
        }
    }

    fn log(&mut self, data: &[u8], environ: &Environ<'_>, program: &[u8]) {
        let mut pieces = data.split_inclusive(|byte| *byte == b'\n');
        for piece in &mut pieces {
            if self.logged >= LOGGED {
                self.left_out += piece.len() + pieces.map(<[u8]>::len).sum::<usize>();
                return;
            }
            self.line.extend_from_slice(piece);
            while self.line.len() > LINE {
                let rest = self.line.split_off(LINE);
                self.end_line(environ, program);
                self.line = rest;
            }
            if piece.ends_with(b"\n") {
                self.end_line(environ, program);
            }
        }
    }

    fn end_line(&mut self, environ: &Environ<'_>, program: &[u8]) {
        self.logged += self.line.len() + BESIDE;
        log_line(&self.line, environ, program);
        self.line.clear();
    }
}

fn log_line(line: &[u8], environ: &Environ<'_>, program: &[u8]) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Whatever a program writes stays one line.
    let line: String = String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect();
    let method = environ.method().escape_ascii();
    let path = [environ.script_name(), environ.path_info()].concat();
    log::warn!("{method} {}: {}: {line}", path.escape_ascii(), program.escape_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environ::{Errors, Input, Vars};

    #[test]
    fn the_first_line_is_remembered_and_all_goes_to_the_web_server() {
        for size in [1, 3, 100] {
            let mut errors = Vec::new();
            let mut environ = Environ::new(Vars::new(), Input::Empty, Errors::new(&mut errors));
            let mut messages = Messages::new(Stderr::Web);
            assert_eq!(messages.first(), None);
            for piece in b"\nfirst\r\nsecond".chunks(size) {
                messages.take(piece, &mut environ, b"x");
            }
            assert_eq!(messages.first(), Some(&b"first"[..]));
            drop(environ);
            assert_eq!(errors, b"\nfirst\r\nsecond");
        }
    }

    #[test]
    fn a_long_first_line_is_cut() {
        let mut errors = Vec::new();
        let mut environ = Environ::new(Vars::new(), Input::Empty, Errors::new(&mut errors));
        let mut messages = Messages::new(Stderr::Log);
        messages.take(&[b'x'; 100_000], &mut environ, b"x");
        assert_eq!(messages.first().map(<[u8]>::len), Some(FIRST));
        assert!(messages.line.len() <= LINE, "memory is bounded");
    }

    /// A program that wrote to its standard error for ever filled the disk with our log, half a gigabyte in some seconds.
    #[test]
    fn error_text_without_end_is_cut_in_the_log() {
        let mut errors = Vec::new();
        let mut environ = Environ::new(Vars::new(), Input::Empty, Errors::new(&mut errors));
        let mut messages = Messages::new(Stderr::Log);
        let lines = b"y\n".repeat(50_000);
        (0..10).for_each(|_| messages.take(&lines, &mut environ, b"x"));
        assert!(messages.logged <= LOGGED + LINE + BESIDE, "{}", messages.logged);
        assert_eq!(messages.logged / (BESIDE + 2) * 2 + messages.left_out, 10 * lines.len());
        assert!(messages.line.is_empty());
    }
}
