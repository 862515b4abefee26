//! How one HTTP request runs: where the handler's streams and variables are, and how its answer leaves.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

use super::body::Body;
use super::connection::Connection;
use super::outgoing::Outgoing;
use crate::environ::{Abort, Environ, Vars};
use crate::error::BoxError;
use crate::handlers::{
    Attributes, BaseHandler, Flow, Head, Outcome, Output, Scratch, SimpleHandler, Streams, base,
};
use crate::server::{Settings, log_refusal};
#[cfg(target_os = "linux")]
use crate::util::FileSource;

/// The rung of the ladder that one HTTP request is.
pub(super) struct Handler<'h, 'c> {
    pub(super) connection: &'c Arc<Connection>,
    /// The request is answered in the application's place.
    pub(super) refused: bool,
    pub(super) body: RefCell<Body<'h, 'c>>,
    pub(super) outgoing: &'h RefCell<Outgoing<'c>>,
    pub(super) scratch: RefCell<&'h mut Scratch>,
}

fn attributes(settings: &Settings) -> Attributes<'static> {
    Attributes {
        wsgi_multiprocess: false,
        full_duplex: settings.full_duplex,
        http_version: "1.1",
        ..Attributes::SIMPLE
    }
}

impl SimpleHandler for Handler<'_, '_> {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        let (body, scratch) = (&mut *self.body.borrow_mut(), &mut **self.scratch.borrow_mut());
        let gone = || {
            let link = &self.connection.link;
            link.enter_set(self.connection).is_err() || link.is_gone()
        };
        let mut answer = Answer(self.outgoing);
        with(Streams::live(body, &mut answer, &mut io::stderr(), scratch).with_abort(Abort::new(&gone)));
    }

    fn base_env(&self) -> &Vars {
        // They stand in the scratch memory, where they will be read.
        static NONE: Vars = Vars::new();
        &NONE
    }

    fn preset(&self) -> Attributes<'static> {
        attributes(self.connection.settings())
    }
}

impl BaseHandler for Handler<'_, '_> {
    fn attributes(&self) -> Attributes<'_> {
        let settings = self.connection.settings();
        Attributes {
            keep_variables: &settings.front.keep_variables,
            observer: settings.observer.as_deref(),
            spool: Some(&settings.spool),
            ..attributes(settings)
        }
    }

    fn send_headers(&self, _out: &mut dyn Output, head: &mut Head) -> io::Result<()> {
        base::seal_headers(self, head)?;
        self.outgoing.borrow_mut().start(head)
    }

    /// Large files are the system's to send, where nothing has to be added between their bytes.
    #[cfg(target_os = "linux")]
    fn sendfile(&self, out: &mut dyn Output, head: &mut Head, file: &mut dyn FileSource) -> io::Result<bool> {
        let part = file.part();
        let plain = file.as_file().filter(|_| !head.is_sent() && !head.is_bodyless());
        let Some(plain) = plain else { return Ok(false) };
        let Some(part) =
            part.or_else(|| rest_of(plain)).filter(|part| part.end.saturating_sub(part.start) >= LARGE)
        else {
            return Ok(false);
        };
        if !head.headers().contains("Content-Length") {
            head.headers_mut()
                .push(b"Content-Length", itoa::Buffer::new().format(part.end - part.start).as_bytes());
        }
        self.send_headers(out, head)?;
        let mut sent = 0;
        let result = self.outgoing.borrow_mut().send_file(plain, part, &mut sent);
        // Also what a client got that has left since.
        head.add_bytes_sent(sent);
        result.map(|()| true)
    }

    fn log_exception(&self, environ: &mut Environ<'_>, error: &BoxError) {
        if !log_refusal("http", self.refused, environ, error) {
            base::log_exception(self, environ, error);
        }
    }
}

/// Files from this size on are sent by the system; smaller ones leave with their head in one write.
#[cfg(target_os = "linux")]
const LARGE: u64 = 32 * 1024;

/// What is left of a regular file.
#[cfg(target_os = "linux")]
fn rest_of(file: &mut std::fs::File) -> Option<std::ops::Range<u64>> {
    use std::io::Seek;
    let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let start = file.stream_position().ok()?;
    Some(start..about.len().max(start))
}

/// The response, as the handler sees it.
struct Answer<'h, 'c>(&'h RefCell<Outgoing<'c>>);

impl Write for Answer<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Output for Answer<'_, '_> {
    fn set_flow(&mut self, flow: Flow) {
        self.0.borrow_mut().set_flow(flow);
    }

    fn rewind(&mut self) -> bool {
        self.0.borrow_mut().rewind()
    }

    fn finish(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.0.borrow_mut().finish(outcome.end)
    }
}
