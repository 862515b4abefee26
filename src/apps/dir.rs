//! Files of a folder.

mod conditional;
mod encoding;
mod listing;
mod media;
mod range;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use conditional::{Decision, Validators};
use encoding::Encoding;
use range::Ranges;

use super::answer::{add_slash, plain};
use crate::app::{AppResult, Application, Respond, Responder};
use crate::environ::Environ;
use crate::error::{Error, Fault};
use crate::files::{Folder, Found, Links, NotOpened, Root};
use crate::headers::Headers;
use crate::notice::Notice;
use crate::util::FileSource;

/// An application that serves the files of a folder, to GET and HEAD.
///
/// ```
/// use gatewright::apps::Dir;
/// use gatewright::environ::Vars;
/// use gatewright::handlers::{BaseCgi, BaseHandler};
///
/// let dir = Dir::new(".")?;
/// let vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/Cargo.toml"), ("HTTP_RANGE", "bytes=0-8")]);
/// let handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), vars);
/// handler.run(&dir);
/// let (_, output, _) = handler.into_streams();
/// let output = String::from_utf8(output)?;
/// assert!(output.starts_with("Status: 206 Partial Content\r\n"));
/// assert!(output.ends_with("\r\n\r\n[package]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is served
///
/// The file whose path is PATH_INFO. Empty segments are passed over, as web servers do; a `.` or `..`, which clients resolve before they ask, a NUL, or a name too
/// long is 404. A slash that was quoted as `%2F` cannot be told from a plain one any more (RFC 3875, section 4.1.5), and is
/// none the worse for it: what is opened is always beneath the folder, [decided by the system](crate::files).
///
/// - A folder's path gets a slash by a redirect. There the first of the [index files](Dir::index) is served; without
///   one it is 403, or [a listing](Dir::listing) where that is allowed.
/// - Names that begin with a dot are 404, except `.well-known` at the top (RFC 8615), unless [`hidden`](Dir::hidden)
///   says otherwise.
/// - Symbolic links are followed as [`links`](Dir::links) says; by default as long as they stay inside. One that may
///   not be followed is 404, and so are pipes, sockets and devices.
/// - A file that may not be read is 403.
///
/// # How
///
/// - **Media types** by the name; text is taken for UTF-8. What is not known is `application/octet-stream`.
/// - **Conditions** (RFC 9110, section 13): `ETag` from time and length, `Last-Modified`; all five headers, in the
///   standard's order. The tag of a file younger than two seconds is weak: it could change again unnoticed.
/// - **Ranges** (RFC 9110, section 14): single ones, and several as `multipart/byteranges`. More than 64, or more bytes
///   than the file has, give the whole file.
/// - **Encoded neighbours**: with `page.html.br` or `page.html.gz` beside `page.html`, that is what a client gets who
///   accepts it. A neighbour older than its file is passed over. Answers say `Vary: Accept-Encoding`.
/// - A file is sent as it was when it was opened: what is appended meanwhile is not sent. One that is cut short meanwhile
///   gives a truncated answer, or status 500 while nothing has left.
#[derive(Debug)]
pub struct Dir {
    root: Root,
    index: Vec<Vec<u8>>,
    listing: bool,
    hidden: bool,
}

const METHODS: (&str, &str) = ("Allow", "GET, HEAD, OPTIONS");

impl Dir {
    /// Serves the folder at `path`, which has to exist already. What the path names is looked up for each request:
    /// a deployment may switch a symbolic link.
    ///
    /// # Errors
    /// It does not exist, is no folder, or may not be entered.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let root = Root::new(path.as_ref(), Links::default())?;
        let index = [b"index.html".to_vec(), b"index.htm".to_vec()].into();
        Ok(Self { root, index, listing: false, hidden: false })
    }

    /// Which symbolic links are followed. By default those that stay inside the folder.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.root = self.root.with_links(links);
        self
    }

    /// The names of files that are served for their folder, the first one found. By default `index.html` and `index.htm`.
    #[must_use]
    pub fn index<N: Into<Vec<u8>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.index = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a folder without an index file is listed. By default it is not.
    #[must_use]
    pub fn listing(mut self, allowed: bool) -> Self {
        self.listing = allowed;
        self
    }

    /// Whether names that begin with a dot are served and listed. By default they are not.
    #[must_use]
    pub fn hidden(mut self, served: bool) -> Self {
        self.hidden = served;
        self
    }

    /// PATH_INFO as a path beneath the folder; `None` where no client may look.
    fn path_of<'p>(&self, path_info: &'p [u8]) -> Option<Cow<'p, [u8]>> {
        let names = || path_info.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let allowed = names().enumerate().all(|(at, name)| match name {
            b"." | b".." => false,
            name => self.hidden || !name.starts_with(b".") || (at == 0 && name == b".well-known"),
        });
        allowed.then(|| {
            let inner = path_info.strip_prefix(b"/").unwrap_or(path_info);
            let inner = inner.strip_suffix(b"/").unwrap_or(inner);
            match inner.split(|byte| *byte == b'/').any(<[u8]>::is_empty) {
                true => names().collect::<Vec<_>>().join(&b'/').into(),
                false => inner.into(),
            }
        })
    }

    fn find<'p>(&self, root: &Inside<'_>, path_info: &'p [u8]) -> Result<Target<'p>, NotServed> {
        let path = self.path_of(path_info).ok_or(NotOpened::Missing)?;
        if !path_info.ends_with(b"/") {
            return Ok(match root.open(&path)? {
                Found::File(file, metadata) => Target::File { path, file, metadata },
                Found::Folder(_) => Target::NeedsSlash,
            });
        }
        for name in &self.index {
            let path = beneath(&path, name);
            match root.open(&path) {
                Ok(Found::File(file, metadata)) => {
                    return Ok(Target::File { path: path.into(), file, metadata });
                }
                Ok(Found::Folder(_)) | Err(NotServed::Path(NotOpened::Missing)) => {}
                Err(error) => return Err(error),
            }
        }
        match root.open(&path)? {
            Found::Folder(folder) => Ok(Target::Folder { path, folder }),
            Found::File(..) => Err(NotOpened::NotAFolder.into()),
        }
    }

    fn serve(&self, environ: &Environ<'_>, respond: Responder<'_>) -> AppResult {
        // A mount's own path may come without a slash; the root's cannot.
        let path_info = match environ.path_info() {
            b"" if environ.script_name().iter().all(|byte| *byte == b'/') => b"/",
            b"" => return add_slash(environ, respond),
            [b'/', ..] => environ.path_info(),
            _ => return plain(respond, "400 Bad Request", &[]),
        };
        let root = Inside { root: &self.root, entered: OnceCell::new() };
        match self.find(&root, path_info) {
            Ok(Target::File { path, file, metadata }) => {
                Answer { root: &root, path: &path, environ }.file(file, metadata, respond)
            }
            Ok(Target::NeedsSlash) => add_slash(environ, respond),
            Ok(Target::Folder { path, folder }) if self.listing => {
                let title = [environ.script_name(), path_info].concat();
                let nonce = unguessable();
                let page = root
                    .folder()
                    .and_then(|root| Ok(listing::page(root, &path, &folder, &title, self.hidden, &nonce)?));
                match page {
                    Ok(page) => respond.start("200 OK", listing::headers(&nonce))?.send(page),
                    Err(error) => self.refuse(error, path_info, respond),
                }
            }
            Ok(Target::Folder { .. }) => plain(respond, "403 Forbidden", &[]),
            Err(error) => self.refuse(error, path_info, respond),
        }
    }

    /// The answer where nothing was opened: whether there is something that may not be seen, nobody learns.
    fn refuse(&self, error: NotServed, path_info: &[u8], respond: Responder<'_>) -> AppResult {
        static DENIED: Notice = Notice::new();
        static OUTSIDE: Notice = Notice::new();
        let failed = |message: String, error: io::Error| {
            Err(Error::new(Fault::Gateway, scarce(&error), message).with_source(error).into())
        };
        let shown = path_info.escape_ascii();
        let error = match error {
            NotServed::Root(error) => {
                let message = format!("the folder \"{}\" cannot be entered", self.root.path().display());
                return failed(message, error);
            }
            NotServed::Path(error) => error,
        };
        match error {
            NotOpened::Missing | NotOpened::NotAFolder | NotOpened::Special => {}
            NotOpened::Outside => OUTSIDE.warn(format_args!("dir: {shown}: {error}; answered with 404")),
            NotOpened::Denied => {
                DENIED.warn(format_args!("dir: {shown}: {error}; answered with 403"));
                return plain(respond, "403 Forbidden", &[]);
            }
            NotOpened::Failed(error) => return failed(format!("\"{shown}\" cannot be opened"), error),
        }
        plain(respond, "404 Not Found", &[])
    }
}

impl Application for Dir {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        match environ.method() {
            b"GET" | b"HEAD" => self.serve(environ, respond),
            b"OPTIONS" => {
                respond.start("204 No Content", [METHODS])?;
                Ok(())
            }
            _ => plain(respond, "405 Method Not Allowed", &[METHODS]),
        }
    }
}

/// What a path leads to.
enum Target<'p> {
    File { path: Cow<'p, [u8]>, file: File, metadata: Metadata },
    NeedsSlash,
    Folder { path: Cow<'p, [u8]>, folder: Folder },
}

/// The folder during one request, entered only where that is needed.
struct Inside<'d> {
    root: &'d Root,
    entered: OnceCell<Folder>,
}

impl Inside<'_> {
    fn open(&self, path: &[u8]) -> Result<Found, NotServed> {
        let plain = if self.entered.get().is_none() { self.root.open_plain(path) } else { None };
        plain.map_or_else(|| Ok(self.folder()?.open(path)?), Ok)
    }

    /// The same for what is mostly not there.
    fn open_if_there(&self, path: &[u8]) -> Option<Found> {
        let lacks = self.entered.get().is_none() && self.root.lacks(path);
        if lacks { None } else { self.open(path).ok() }
    }

    fn folder(&self) -> Result<&Folder, NotServed> {
        if let Some(folder) = self.entered.get() {
            return Ok(folder);
        }
        let folder = self.root.enter().map_err(NotServed::Root)?;
        Ok(self.entered.get_or_init(|| folder))
    }
}

/// Why nothing was found to serve.
enum NotServed {
    /// The folder itself cannot be entered.
    Root(io::Error),
    Path(NotOpened),
}

impl From<NotOpened> for NotServed {
    fn from(error: NotOpened) -> Self {
        NotServed::Path(error)
    }
}

/// The path of a name in a folder.
fn beneath(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}

/// A word that nobody who writes a file, or its name, can know beforehand.
fn unguessable() -> String {
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// 503 for what passes by itself.
fn scarce(error: &io::Error) -> u16 {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => 503,
        _ => 500,
    }
}

/// A file on its way to the client.
struct Answer<'a, 'r> {
    root: &'a Inside<'a>,
    path: &'a [u8],
    environ: &'a Environ<'r>,
}

impl Answer<'_, '_> {
    fn file(&self, file: File, metadata: Metadata, respond: Responder<'_>) -> AppResult {
        let (mut file, metadata, encoding) = self.encoded(file, metadata);
        let validators =
            Validators::new(&metadata, encoding.map(|encoding| encoding.name), SystemTime::now());
        let mut headers = Headers::new();
        headers.push(b"ETag", validators.etag());
        headers.push(b"Last-Modified", validators.last_modified().as_bytes());
        headers.push(b"Vary", b"Accept-Encoding");
        match validators.decide(self.environ) {
            Decision::Failed => return plain(respond, "412 Precondition Failed", &[]),
            Decision::NotModified => {
                respond.start("304 Not Modified", headers)?;
                return Ok(());
            }
            Decision::Serve => {}
        }
        let media = media::media_type(self.path);
        if let Some(encoding) = encoding {
            headers.push(b"Content-Encoding", encoding.name.as_bytes());
        }
        let length = metadata.len();
        // RFC 9110, section 14.2: for other methods a range has no meaning.
        let asked = self.environ.get("HTTP_RANGE").filter(|_| self.environ.method() == b"GET");
        let asked = asked.filter(|_| validators.range_counts(self.environ));
        match asked.map_or(Ranges::Whole, |header| range::parse(header, length)) {
            Ranges::Whole => {
                headers.push(b"Accept-Ranges", b"bytes");
                self.part("200 OK", headers, &media, &mut file, 0..length, respond)
            }
            Ranges::Unsatisfiable => {
                let range = format!("bytes */{length}");
                plain(respond, "416 Range Not Satisfiable", &[("Content-Range", &range)])
            }
            Ranges::Parts(parts) => match parts.as_slice() {
                [part] => {
                    headers.push(b"Content-Range", content_range(part, length).as_bytes());
                    self.part("206 Partial Content", headers, &media, &mut file, part.clone(), respond)
                }
                parts => self.parts(headers, &media, &mut file, parts, length, respond),
            },
        }
    }

    /// The file in the encoding that suits the client best, of those that are there.
    fn encoded(&self, file: File, metadata: Metadata) -> (File, Metadata, Option<Encoding>) {
        for encoding in encoding::accepted(self.environ.get("HTTP_ACCEPT_ENCODING")) {
            let path = [self.path, encoding.suffix].concat();
            if let Some(Found::File(neighbour, its)) = self.root.open_if_there(&path)
                && let (Ok(encoded), Ok(plain)) = (its.modified(), metadata.modified())
                && encoded >= plain
            {
                return (neighbour, its, Some(encoding));
            }
        }
        (file, metadata, None)
    }

    fn part(
        &self,
        status: &str,
        mut headers: Headers,
        media: &str,
        file: &mut File,
        part: Range<u64>,
        respond: Responder<'_>,
    ) -> AppResult {
        headers.push(b"Content-Type", media.as_bytes());
        headers.push(b"Content-Length", itoa::Buffer::new().format(part.end - part.start).as_bytes());
        let respond = respond.start(status, headers)?.into_inner();
        if self.environ.method() == b"HEAD" {
            return Ok(());
        }
        // It was opened for this request, and stands at its beginning.
        let mut piece = if part.start == 0 { Piece::new(file, part) } else { Piece::seek(file, part)? };
        if !respond.send_file(&mut piece)? {
            with_block(|block| piece.send(block, respond))?;
        }
        Ok(respond.end()?)
    }

    /// `multipart/byteranges` (RFC 9110, section 14.6).
    fn parts(
        &self,
        mut headers: Headers,
        media: &str,
        file: &mut File,
        parts: &[Range<u64>],
        length: u64,
        respond: Responder<'_>,
    ) -> AppResult {
        let boundary = unguessable();
        let head = |part: &Range<u64>| {
            let range = content_range(part, length);
            format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {range}\r\n\r\n")
        };
        let end = format!("\r\n--{boundary}--\r\n");
        let total: u64 = parts.iter().map(|part| head(part).len() as u64 + (part.end - part.start)).sum();
        headers.push(b"Content-Type", format!("multipart/byteranges; boundary={boundary}").as_bytes());
        headers.push(b"Content-Length", itoa::Buffer::new().format(total + end.len() as u64).as_bytes());
        let respond = respond.start("206 Partial Content", headers)?.into_inner();
        with_block(|block| {
            parts.iter().try_for_each(|part| {
                respond.write(head(part).as_bytes())?;
                Piece::seek(file, part.clone())?.send(block, respond)
            })
        })?;
        respond.write(end.as_bytes())?;
        Ok(respond.end()?)
    }
}

/// Lends memory that a thread keeps for all the files that it sends.
fn with_block<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    const BLOCK: usize = 64 * 1024;
    thread_local! {
        static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut block = KEPT.take();
    block.resize(BLOCK, 0);
    let result = with(&mut block);
    KEPT.set(block);
    result
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

/// A part of a file. That the file ends before it does is an error.
struct Piece<'f> {
    file: &'f mut File,
    /// What is left of it.
    part: Range<u64>,
}

impl<'f> Piece<'f> {
    /// The file stands at the part's beginning already.
    fn new(file: &'f mut File, part: Range<u64>) -> Self {
        Self { file, part }
    }

    fn seek(file: &'f mut File, part: Range<u64>) -> io::Result<Self> {
        file.seek(SeekFrom::Start(part.start))?;
        Ok(Self::new(file, part))
    }

    fn send(&mut self, block: &mut [u8], respond: &mut dyn Respond) -> io::Result<()> {
        loop {
            match self.read(block) {
                Ok(0) => return Ok(()),
                Ok(count) => respond.write(block.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Read for Piece<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.part.end.saturating_sub(self.part.start);
        let most = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
        let into = into.get_mut(..most).unwrap_or_default();
        if into.is_empty() {
            return Ok(0);
        }
        let count = self.file.read(into)?;
        self.part.start += count as u64;
        if count == 0 {
            let message = format!("the file became {left} bytes shorter while it was sent");
            return Err(io::Error::other(Error::new(Fault::Gateway, 500, message)));
        }
        Ok(count)
    }
}

impl FileSource for Piece<'_> {
    fn as_file(&mut self) -> Option<&mut File> {
        Some(self.file)
    }

    fn part(&self) -> Option<Range<u64>> {
        Some(self.part.clone())
    }
}
