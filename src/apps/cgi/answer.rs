//! A program's answer on its way to the client.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::settings::{LocalRedirect, ProgramSettings};
use crate::app::{AppResult, Body, Responder};
use crate::error::{Error, Fault};
use crate::files::{Found, Links, Root};
use crate::headers::Headers;
use crate::proto::cgi::{DecodeError, Decoder, Head, Kind};

/// What follows a program's answer.
pub(super) enum Next<'r> {
    /// Nothing: the request is answered.
    Answered,
    /// Another program answers: that at a path, with its query.
    Again(Vec<u8>, Responder<'r>),
}

/// An answer: first its head, then its document.
pub(super) struct Answer<'s, 'r> {
    settings: &'s ProgramSettings,
    is_head_request: bool,
    state: State<'r>,
    begun: bool,
    /// Nothing of the document is here yet.
    bare: bool,
}

enum State<'r> {
    Head(Box<Decoder>, Responder<'r>),
    /// What is left of the document, where its length is known.
    Document(Body<'r>, Option<u64>),
    Redirected(Vec<u8>, Responder<'r>),
    /// Sent otherwise, or failed.
    Done,
}

impl<'s, 'r> Answer<'s, 'r> {
    pub(super) fn new(settings: &'s ProgramSettings, is_head_request: bool, respond: Responder<'r>) -> Self {
        let decoder = Box::new(Decoder::new(settings.answer_head));
        Self { settings, is_head_request, state: State::Head(decoder, respond), begun: false, bare: true }
    }

    /// Takes what the program has written.
    pub(super) fn take(&mut self, data: &[u8]) -> AppResult {
        self.begun = true;
        let mut data = data;
        match &mut self.state {
            State::Head(decoder, _) => {
                if decoder.decode(&mut data).map_err(Error::from)? {
                    self.start()?;
                    if !data.is_empty() {
                        return self.take(data);
                    }
                }
                Ok(())
            }
            State::Document(body, left) => {
                *left = left.map(|left| left.saturating_sub(data.len() as u64));
                self.bare = false;
                Ok(body.write_all(data)?)
            }
            // What stands behind a redirect or a file goes nowhere.
            State::Redirected(..) | State::Done => Ok(()),
        }
    }

    /// The head is whole: starts the response.
    fn start(&mut self) -> AppResult {
        let State::Head(decoder, respond) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(());
        };
        let mut head = decoder.finish().map_err(Error::from)?;
        if head.kind == Kind::LocalRedirect {
            match self.settings.local_redirect {
                LocalRedirect::Own => {
                    let path = head.headers.get("Location").unwrap_or_default().to_vec();
                    self.state = State::Redirected(path, respond);
                    return Ok(());
                }
                LocalRedirect::Pass => head.status = b"200 OK".to_vec(),
                LocalRedirect::Client => {}
            }
        }
        if let (Some(folder), Some(name)) = (&self.settings.x_sendfile, head.headers.get("X-Sendfile")) {
            let file = open_inside(folder, name)?;
            return send_file(file, head, respond);
        }
        let bodyless = self.is_head_request || matches!(&*head.status, [b'2' | b'3', b'0', b'4', ..]);
        let left = head.length.filter(|_| !bodyless);
        self.state = State::Document(respond.start(&head.status, head.headers)?, left);
        Ok(())
    }

    /// Whether the program has written anything.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether nothing of the document is here yet.
    pub(super) fn is_bare(&self) -> bool {
        self.bare
    }

    /// Whether all of the answer is here, also while the program still runs.
    pub(super) fn is_whole(&self) -> bool {
        match &self.state {
            State::Head(..) => false,
            State::Document(_, left) => *left == Some(0),
            State::Redirected(..) | State::Done => true,
        }
    }

    /// Whether what was written can leave now.
    pub(super) fn may_leave(&self) -> bool {
        matches!(&self.state, State::Document(body, _) if body.may_leave())
    }

    /// Sends out what was written.
    pub(super) fn flush(&mut self) -> AppResult {
        match &mut self.state {
            State::Document(body, _) => Ok(body.flush()?),
            _ => Ok(()),
        }
    }

    /// What is wrong at the end of the output: its head never ended.
    pub(super) fn failure(&self) -> Option<Error> {
        match &self.state {
            State::Head(decoder, _) => decoder.clone().finish().err().map(|error: DecodeError| error.into()),
            _ => None,
        }
    }

    /// The output has ended.
    pub(super) fn finish(self) -> Next<'r> {
        match self.state {
            State::Redirected(path, respond) => Next::Again(path, respond),
            _ => Next::Answered,
        }
    }
}

fn open_inside(folder: &Path, name: &[u8]) -> Result<File, Error> {
    let refused = |why: &str| {
        let message =
            format!("X-Sendfile \"{}\" {why} (--x-sendfile {})", name.escape_ascii(), folder.display());
        Error::new(Fault::Application, 502, message)
    };
    let root = folder.as_os_str().as_bytes();
    let inside = name
        .strip_prefix(root.strip_suffix(b"/").unwrap_or(root))
        .and_then(|rest| rest.strip_prefix(b"/"))
        .filter(|rest| !rest.is_empty())
        .ok_or_else(|| refused("does not lie in the folder"))?;
    let root = Root::new(folder, Links::Inside).and_then(|root| root.enter());
    let root = root.map_err(|error| refused(&error.to_string()))?;
    match root.open(inside) {
        Ok(Found::File(file, _)) => Ok(file),
        Ok(Found::Folder(_)) => Err(refused("is a folder")),
        Err(why) => Err(refused(&why.to_string())),
    }
}

fn send_file(file: File, head: Head, respond: Responder<'_>) -> AppResult {
    let mut headers: Headers = head.headers;
    headers.remove("X-Sendfile");
    headers.set("Content-Length", file.metadata()?.len().to_string())?;
    respond.start(&head.status, headers)?.send_file(file)
}
