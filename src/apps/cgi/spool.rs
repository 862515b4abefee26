//! The body of a request on its way to a program: streamed, or kept until its length is known.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::ProgramSettings;
use crate::app::BoxError;
use crate::environ::Environ;
use crate::error::{Error, Fault};
use crate::spool::nameless_file;

/// As much as a pipe holds: that needs no file.
const IN_MEMORY: usize = 64 * 1024;

/// What a program reads as its standard input.
#[derive(Debug)]
pub(super) enum Source {
    /// Nothing.
    Null,
    /// The request's body as it comes.
    Stream,
    /// A whole body that was kept in memory.
    Memory(Vec<u8>),
    /// A whole body in a file, which counts against what may be kept.
    File(File, #[allow(dead_code, reason = "held until the file is used no more")] Share),
}

/// Where bodies are kept, and how much of them there is.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    most: u64,
    used: Arc<AtomicU64>,
}

/// Bytes that count against what may be kept, until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl Spool {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        let folder = settings.spool_dir.clone().unwrap_or_else(std::env::temp_dir);
        let most = if settings.spool_max == 0 { u64::MAX } else { settings.spool_max };
        Self { folder, most, used: Arc::default() }
    }

    /// Decides where the body comes from, and sets CONTENT_LENGTH where it had to be kept to know it.
    pub(super) fn prepare(&self, environ: &mut Environ<'_>, stream: bool) -> Result<Source, BoxError> {
        match environ.content_length()? {
            Some(0) => return Ok(Source::Null),
            Some(_) => return Ok(Source::Stream),
            None if !environ.wsgi.input_terminated => return Ok(Source::Null),
            None if stream => return Ok(Source::Stream),
            None => {}
        }
        let (source, length) = self.keep(environ)?;
        // An empty body that was announced is one; else there was none.
        if length > 0 || environ.vars.contains("HTTP_TRANSFER_ENCODING") {
            environ.vars.set("CONTENT_LENGTH", length.to_string());
        }
        Ok(source)
    }

    fn keep(&self, environ: &mut Environ<'_>) -> Result<(Source, u64), BoxError> {
        use std::io::BufRead;
        let mut memory = Vec::new();
        let mut file: Option<(File, Share)> = None;
        let mut length = 0_u64;
        loop {
            let data = match environ.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let count = data.len();
            if count == 0 {
                break;
            }
            length += count as u64;
            if file.is_none() && memory.len() + count <= IN_MEMORY {
                memory.extend_from_slice(data);
            } else {
                let (file, share) = match &mut file {
                    Some(file) => file,
                    none => {
                        let mut share = Share { bytes: 0, used: Arc::clone(&self.used) };
                        self.grow(&mut share, memory.len())?;
                        let mut new = nameless_file(&self.folder).map_err(cannot_keep)?;
                        new.write_all(&memory).map_err(cannot_keep)?;
                        none.insert((new, share))
                    }
                };
                self.grow(share, count)?;
                file.write_all(data).map_err(cannot_keep)?;
            }
            environ.input.consume(count);
        }
        let source = match file {
            Some((mut file, share)) => {
                file.rewind().map_err(cannot_keep)?;
                Source::File(file, share)
            }
            None if memory.is_empty() => Source::Null,
            None => Source::Memory(memory),
        };
        Ok((source, length))
    }

    /// Takes more of what may be kept, before it is written.
    fn grow(&self, share: &mut Share, count: usize) -> Result<(), Error> {
        let count = count as u64;
        let before = self.used.fetch_add(count, Ordering::Relaxed);
        share.bytes += count;
        if before.saturating_add(count) > self.most {
            let message = format!("more than {} bytes of request bodies would be kept in files", self.most);
            return Err(Error::new(Fault::Gateway, 503, message));
        }
        Ok(())
    }
}

fn cannot_keep(error: io::Error) -> Error {
    Error::new(Fault::Gateway, 503, "the request body cannot be kept; --spool-dir names another folder")
        .with_source(error)
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::environ::{Errors, Input, Vars};

    /// What a body is to a program, and the CONTENT_LENGTH that it gets.
    fn prepare(spool: &Spool, body: &[u8], vars: Vars, ends: bool) -> Result<(String, String), u16> {
        let (mut body, mut errors) = (body, Vec::new());
        let mut environ = Environ::new(vars, Input::Lent(&mut body), Errors::new(&mut errors));
        environ.wsgi.input_terminated = ends;
        let source = spool
            .prepare(&mut environ, false)
            .map_err(|error| error.downcast::<Error>().map_or(0, |error| error.status()))?;
        let kept = match source {
            Source::Null => "null".to_owned(),
            Source::Stream => "stream".to_owned(),
            Source::Memory(memory) => format!("memory {}", memory.len()),
            Source::File(mut file, share) => {
                let mut all = Vec::new();
                file.read_to_end(&mut all).unwrap();
                assert_eq!(share.bytes, all.len() as u64);
                format!("file {}", all.len())
            }
        };
        let length = environ.vars.get("CONTENT_LENGTH").unwrap_or(b"-");
        Ok((kept, String::from_utf8_lossy(length).into_owned()))
    }

    #[test]
    fn a_body_is_streamed_kept_or_not_there() {
        let spool = Spool::new(&ProgramSettings::default());
        let chunked = || Vars::from([("HTTP_TRANSFER_ENCODING", "chunked")]);
        let length = |length: &str| Vars::from([("CONTENT_LENGTH", length)]);
        for (body, vars, ends, kept, told) in [
            (0, Vars::new(), true, "null", "-"),
            (0, chunked(), true, "null", "0"),
            (0, length("0"), true, "null", "0"),
            (5, length("5"), true, "stream", "5"),
            (5, Vars::new(), false, "null", "-"),
            (5, Vars::new(), true, "memory 5", "5"),
            (IN_MEMORY, chunked(), true, "memory 65536", "65536"),
            (IN_MEMORY + 1, chunked(), true, "file 65537", "65537"),
            (1_000_000, Vars::new(), true, "file 1000000", "1000000"),
        ] {
            let body = vec![b'x'; body];
            assert_eq!(prepare(&spool, &body, vars, ends), Ok((kept.to_owned(), told.to_owned())));
        }
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_kept_in_files_is_bounded_in_all() {
        let settings = ProgramSettings { spool_max: 100_000, ..ProgramSettings::default() };
        let spool = Spool::new(&settings);
        assert_eq!(prepare(&spool, &[0; 100_000], Vars::new(), true).unwrap().0, "file 100000");
        assert_eq!(prepare(&spool, &[0; 100_001], Vars::new(), true), Err(503));
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
        let nowhere = ProgramSettings { spool_dir: Some("/nowhere".into()), ..ProgramSettings::default() };
        assert_eq!(prepare(&Spool::new(&nowhere), &[0; 70_000], Vars::new(), true), Err(503));
    }
}
