//! The body of a request on its way to a program: streamed, or kept until its length is known.

use std::io::{self, BufRead, Seek};

use crate::app::BoxError;
use crate::environ::Environ;
use crate::spool::{Kept, Store};

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
    /// A whole body in a file.
    File(Kept),
}

impl Source {
    /// Decides where the body comes from, and sets CONTENT_LENGTH where it had to be kept to know it.
    pub(super) fn prepare(environ: &mut Environ<'_>, stream: bool, store: &Store) -> Result<Self, BoxError> {
        match environ.content_length()? {
            Some(0) => return Ok(Source::Null),
            Some(_) => return Ok(Source::Stream),
            None if !environ.wsgi.input_terminated => return Ok(Source::Null),
            None if stream => return Ok(Source::Stream),
            None => {}
        }
        let (source, length) = keep(environ, store)?;
        // An empty body that was announced is one; else there was none.
        if length > 0 || environ.vars.contains("HTTP_TRANSFER_ENCODING") {
            environ.vars.set("CONTENT_LENGTH", length.to_string());
        }
        Ok(source)
    }
}

fn keep(environ: &mut Environ<'_>, store: &Store) -> Result<(Source, u64), BoxError> {
    let mut memory = Vec::new();
    let mut file: Option<Kept> = None;
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
        match &mut file {
            Some(file) => file.append(data)?,
            None if memory.len() + count <= IN_MEMORY => memory.extend_from_slice(data),
            none => {
                let file = none.insert(store.open()?);
                file.append(&memory)?;
                file.append(data)?;
            }
        }
        environ.input.consume(count);
    }
    let source = match file {
        Some(kept) => {
            kept.file().rewind()?;
            Source::File(kept)
        }
        None if memory.is_empty() => Source::Null,
        None => Source::Memory(memory),
    };
    Ok((source, length))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::environ::{Errors, Input, Vars};
    use crate::error::Error;

    /// What a body is to a program, and the CONTENT_LENGTH that it gets.
    fn prepare(store: &Store, body: &[u8], vars: Vars, ends: bool) -> Result<(String, String), u16> {
        let (mut body, mut errors) = (body, Vec::new());
        let mut environ = Environ::new(vars, Input::Lent(&mut body), Errors::new(&mut errors));
        environ.wsgi.input_terminated = ends;
        let source = Source::prepare(&mut environ, false, store)
            .map_err(|error| error.downcast::<Error>().map_or(0, |error| error.status()))?;
        let kept = match source {
            Source::Null => "null".to_owned(),
            Source::Stream => "stream".to_owned(),
            Source::Memory(memory) => format!("memory {}", memory.len()),
            Source::File(kept) => {
                let mut all = Vec::new();
                kept.file().read_to_end(&mut all).unwrap();
                assert_eq!(store.used(), all.len() as u64);
                format!("file {}", all.len())
            }
        };
        let length = environ.vars.get("CONTENT_LENGTH").unwrap_or(b"-");
        Ok((kept, String::from_utf8_lossy(length).into_owned()))
    }

    #[test]
    fn a_body_is_streamed_kept_or_not_there() {
        let store = Store::default();
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
            assert_eq!(prepare(&store, &body, vars, ends), Ok((kept.to_owned(), told.to_owned())));
        }
        assert_eq!(store.used(), 0);
    }

    #[test]
    fn what_is_kept_in_files_is_bounded_in_all() {
        let store = Store::new(None, 100_000);
        assert_eq!(prepare(&store, &[0; 100_000], Vars::new(), true).unwrap().0, "file 100000");
        assert_eq!(prepare(&store, &[0; 100_001], Vars::new(), true), Err(503));
        assert_eq!(store.used(), 0);
        let nowhere = Store::new(Some("/nowhere".into()), 0);
        assert_eq!(prepare(&nowhere, &[0; 70_000], Vars::new(), true), Err(503));
    }
}
