//! CGI programs as an application (RFC 3875): one program, or a folder of them.

mod answer;
mod choose;
mod groups;
mod keeper;
mod messages;
mod pipes;
mod run;
mod settings;
mod slots;
mod spool;
mod variables;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::Resource;
use percent_encoding::percent_decode;

use self::answer::{Answer, Next};
use self::choose::{Choice, Source};
use self::groups::{Group, Groups};
use self::keeper::{Keeper, Program};
use self::pipes::Theirs;
use self::run::Run;
use self::slots::{NoSlot, Slot, Slots};
use self::variables::Base;
use crate::app::{AppResult, Application, BoxError, Responder};
use crate::environ::{Environ, Input, Known};
use crate::error::{Error, Fault, os_reason};
use crate::handlers::base::RETRY_AFTER;
use crate::sys::{Given, Limit, SpawnError, spawn};

pub use self::settings::{LocalRedirect, ProgramLimits, ProgramSettings, Stderr};

/// How often one program may send a request on to another.
const REDIRECTS: usize = 10;

/// Runs CGI programs: each request starts one, and its output is the answer.
///
/// A path that is a file is the program for every request. In a folder the program is SCRIPT_FILENAME where that lies
/// inside, else the first file on the request's path; nothing outside the folder is run.
///
/// ```no_run
/// use std::path::{Path, PathBuf};
/// use gatewright::apps::{CgiPrograms, ProgramSettings};
///
/// let programs = CgiPrograms::open(Path::new("/usr/lib/cgi-bin"), ProgramSettings::default())?;
/// # fn is_an_application(_: impl gatewright::app::Application) {}
/// # is_an_application(programs);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct CgiPrograms {
    source: Source,
    settings: ProgramSettings,
    base: Base,
    limits: Vec<Limit>,
    nothing: File,
    shared: Arc<Shared>,
}

/// What bounds and ends programs, those of several applications together.
#[derive(Debug)]
struct Shared {
    slots: Arc<Slots>,
    keeper: Arc<Keeper>,
    groups: Option<Arc<Groups>>,
}

impl CgiPrograms {
    /// Looks at the program or the folder at `path`.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn open(path: &Path, settings: ProgramSettings) -> io::Result<Self> {
        let source = Source::open(path, &settings)?;
        Self::new(source, settings)
    }

    /// Runs whatever program the web server names by SCRIPT_FILENAME, else by DOCUMENT_ROOT and SCRIPT_NAME, as fcgiwrap
    /// does; where `allowed` names programs, only those. FCGI_CHDIR, where it is sent, is the folder that a program
    /// starts in, `-` this process's own. What cannot be run is a 403.
    ///
    /// # Errors
    /// The system refuses what is needed to run programs at all.
    pub fn like_fcgiwrap(allowed: Vec<PathBuf>, settings: ProgramSettings) -> io::Result<Self> {
        Self::new(Source::Named(allowed), settings)
    }

    /// Another program or folder with the same settings, whose programs count together with these, and end with them.
    /// `mounted` is the one setting that may differ.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn beside(&self, path: &Path, mounted: bool) -> io::Result<Self> {
        let settings = ProgramSettings { mounted, ..self.settings.clone() };
        let source = Source::open(path, &settings)?;
        Self::with(source, settings, Arc::clone(&self.shared))
    }

    fn new(source: Source, settings: ProgramSettings) -> io::Result<Self> {
        let shared = Shared {
            slots: Arc::new(Slots::new(&settings)),
            keeper: Keeper::new(settings.kill_grace)?,
            groups: match settings.limits.processes {
                0 => None,
                most => Some(Groups::prepare(most)?),
            },
        };
        Self::with(source, settings, Arc::new(shared))
    }

    fn with(source: Source, settings: ProgramSettings, shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            source,
            base: Base::new(&settings),
            shared,
            limits: limits(&settings.limits)?,
            nothing: File::open("/dev/null")?,
            settings,
        })
    }

    /// The paths that name its programs, each with a slash in front, in order: at most `most`, and whether there are more.
    /// One program has the empty path; whoever behaves like fcgiwrap knows of none.
    ///
    /// # Errors
    /// The folder cannot be entered any more.
    pub fn paths(&self, most: usize) -> io::Result<(Vec<Vec<u8>>, bool)> {
        self.source.paths(most, &self.settings)
    }

    /// Makes this process the parent of what programs leave behind, so that a time-out finds also those descendants that
    /// have left their program's group. For processes that have no other children: these are reaped too.
    ///
    /// # Errors
    /// The system refuses it, or gives no thread.
    pub fn adopt_orphans(&self) -> io::Result<()> {
        self.shared.keeper.adopt_orphans()
    }

    /// Lets a user run programs that this process will become, by `setuid`, before it does. Only
    /// [`ProgramLimits::processes`] needs it.
    ///
    /// # Errors
    /// The control groups cannot be given to that user.
    pub fn give_to(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        self.shared.groups.as_ref().map_or(Ok(()), |groups| groups.give_to(user, group))
    }

    /// Ends all programs, and lets no new one run: SIGTERM, SIGKILL after the grace time. For the end of a server.
    pub fn end(&self) {
        self.shared.end();
    }

    /// Kills all programs, and lets no new one run: as [`end`](Self::end), without the grace time.
    pub fn kill(&self) {
        self.shared.keeper.kill_all();
        self.shared.leave();
    }

    fn is_like_fcgiwrap(&self) -> bool {
        matches!(self.source, Source::Named(_))
    }

    /// Runs the program for a request.
    fn run<'r>(&self, environ: &mut Environ<'_>, respond: Responder<'r>) -> AppResult<Next<'r>> {
        let choice = self.source.choose(&mut environ.vars, &self.settings)?;
        if self.settings.origin_server {
            environ.vars.set_default("REDIRECT_STATUS", "200");
            if let Some(folder) = self.source.folder() {
                environ.vars.set_default("DOCUMENT_ROOT", folder.as_os_str().as_encoded_bytes());
            }
        }
        variables::complete(&mut environ.vars, choice.interpreter.is_some());
        let body = spool::Source::prepare(environ, self.settings.stream_body, &self.settings.spool)?;
        let name = choice.path.to_bytes();
        let slot = match self.shared.slots.take(name, || environ.is_aborted()) {
            Ok(slot) => slot,
            Err(NoSlot::ClientGone) => {
                let gone = "the client has gone";
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, gone).into());
            }
            Err(why) => return busy(why, &self.settings, respond).map(|()| Next::Answered),
        };
        let (mut ours, theirs) =
            pipes::open(matches!(body, spool::Source::Stream | spool::Source::Memory(_))).map_err(
                |error| Error::new(Fault::Gateway, 503, "no pipes for a program").with_source(error),
            )?;
        let memory = match &body {
            spool::Source::Memory(memory) => memory.as_slice(),
            _ => &[],
        };
        // What the pipe takes at once the program need not wait for.
        let taken =
            ours.stdin.as_mut().filter(|_| !memory.is_empty()).map_or(Ok(0), |pipe| pipe.write(memory));
        let memory = memory.get(taken.unwrap_or(0)..).unwrap_or_default();
        if matches!(body, spool::Source::Memory(_)) && memory.is_empty() {
            ours.stdin = None;
        }
        let stdin = match (&body, &theirs.stdin) {
            (spool::Source::File(kept), _) => kept.file().as_fd(),
            (_, Some(pipe)) => pipe.as_fd(),
            (_, None) => self.nothing.as_fd(),
        };
        let program = self.start(environ, &choice, stdin, &theirs, slot)?;
        drop(theirs);
        let answer = Answer::new(&self.settings, environ.method() == b"HEAD", respond);
        Run::new(&self.settings, name, program, ours, memory, answer).pump(environ)
    }

    fn start(
        &self,
        environ: &Environ<'_>,
        choice: &Choice,
        stdin: std::os::fd::BorrowedFd<'_>,
        theirs: &Theirs,
        slot: Slot,
    ) -> Result<Program, BoxError> {
        let mut environment = variables::environment(&environ.vars, &self.base, &self.settings)?;
        let mark = self.shared.keeper.next_mark();
        if let Some(mark) = mark {
            let mark = format!("{}.{mark}", std::process::id());
            environment.push(&[keeper::MARK.as_bytes(), b"=", mark.as_bytes()]);
        }
        let folder = match environ.get("FCGI_CHDIR") {
            Some(b"-") if self.is_like_fcgiwrap() => None,
            Some(folder) if self.is_like_fcgiwrap() => CString::new(folder).ok(),
            _ => folder_of(&choice.path),
        };
        let group = self.shared.groups.as_ref().map(Groups::make).transpose().map_err(|error| {
            Error::new(Fault::Gateway, 503, "no control group for a program (--limit-processes)")
                .with_source(error)
        })?;
        let start = |interpreter: Option<&CStr>| {
            let from_query = self.settings.query_arguments;
            let arguments = variables::arguments(&choice.path, interpreter, &environ.vars, from_query);
            spawn(&Given {
                path: interpreter.unwrap_or(&choice.path),
                arguments: &arguments,
                environment: &environment,
                folder: folder.as_deref(),
                stdin,
                stdout: theirs.stdout.as_fd(),
                stderr: theirs.stderr.as_fd(),
                limits: &self.limits,
                group: group.as_ref().map(Group::descriptor),
            })
        };
        let spawned = match (start(choice.interpreter.as_deref()), &choice.fallback) {
            (Err(failed), Some(interpreter)) if failed.error.raw_os_error() == Some(libc::ENOEXEC) => {
                start(Some(interpreter))
            }
            (result, _) => result,
        };
        let spawned = spawned.map_err(|failed| cannot_start(&failed, choice))?;
        Ok(self.shared.keeper.register(spawned, mark, slot, group))
    }
}

impl Application for CgiPrograms {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        let mut respond = respond;
        let mount = if self.settings.mounted { environ.script_name().to_vec() } else { Vec::new() };
        for _ in 0..=REDIRECTS {
            match self.run(environ, respond)? {
                Next::Answered => return Ok(()),
                Next::Again(path, again) if redirect(environ, &mount, &path) => respond = again,
                // What is not below these programs' mount is another application's.
                Next::Again(path, again) => {
                    return again.start("302 Found", [("Location", path)])?.send("");
                }
            }
        }
        let message = format!("programs sent the request on to each other more than {REDIRECTS} times");
        Err(Error::new(Fault::Application, 502, message).into())
    }
}

impl Shared {
    fn end(&self) {
        self.keeper.end_all();
        self.leave();
    }

    fn leave(&self) {
        self.groups.iter().for_each(|groups| groups.leave());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes the request one for another path (RFC 3875, section 6.2.2); `false`, and nothing changed, where that is not below
/// the mount.
fn redirect(environ: &mut Environ<'_>, mount: &[u8], location: &[u8]) -> bool {
    let (path, query) = match memchr::memchr(b'?', location).and_then(|at| location.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
        None => (location, &[][..]),
    };
    let path: Vec<u8> = percent_decode(path).collect();
    let Some(below) = path.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
    else {
        return false;
    };
    let vars = &mut environ.vars;
    let before = [vars.known(Known::ScriptName), vars.known(Known::PathInfo)].map(Option::unwrap_or_default);
    let before = before.concat();
    let query_before = vars.known(Known::QueryString).unwrap_or_default().to_vec();
    vars.set("REDIRECT_STATUS", "200");
    vars.set("REDIRECT_URL", before);
    vars.set("REDIRECT_QUERY_STRING", query_before);
    vars.set("QUERY_STRING", query);
    vars.set("SCRIPT_NAME", mount);
    vars.set("PATH_INFO", below);
    if vars.known(Known::RequestMethod) != Some(b"HEAD") {
        vars.set("REQUEST_METHOD", "GET");
    }
    for gone in
        ["CONTENT_LENGTH", "CONTENT_TYPE", "SCRIPT_FILENAME", "PATH_TRANSLATED", "HTTP_TRANSFER_ENCODING"]
    {
        vars.remove(gone);
    }
    environ.input.abandon();
    environ.input = Input::Empty;
    true
}

/// Too many programs run.
fn busy(why: NoSlot, settings: &ProgramSettings, respond: Responder<'_>) -> AppResult {
    match why {
        NoSlot::QueueFull => log::warn!(
            "{} programs run and {} requests wait (--max-programs, --queue): 503",
            settings.max_programs,
            settings.queue
        ),
        _ => log::warn!("no program has ended within {:?} (--queue-timeout): 503", settings.queue_timeout),
    }
    let headers = [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", RETRY_AFTER)];
    respond.start("503 Service Unavailable", headers)?.send("503 Service Unavailable: try again later\n")
}

/// The folder of a program is its working directory (RFC 3875, section 7.2).
fn folder_of(path: &CStr) -> Option<CString> {
    let path = path.to_bytes();
    let end = memchr::memrchr(b'/', path)?.max(1);
    CString::new(path.get(..end)?).ok()
}

/// Why a program does not run, and what can be done about it.
fn cannot_start(failed: &SpawnError, choice: &Choice) -> Error {
    let path = choice.path.to_bytes();
    let shown = path.escape_ascii();
    let (status, hint) = match failed.error.raw_os_error() {
        Some(libc::ENOENT) => (502, interpreter_hint(path)),
        Some(libc::ENOEXEC) => (502, format_hint(path).to_owned()),
        Some(libc::EACCES) => {
            (403, "; this user may not execute it, or its file system is mounted noexec".to_owned())
        }
        Some(libc::E2BIG) => (431, "; the request's variables are too many for a program".to_owned()),
        // Of processes, memory or descriptors there are no more for now.
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => (503, String::new()),
        _ => (502, String::new()),
    };
    let fault = if status == 431 { Fault::Peer } else { Fault::Application };
    let message = match fault {
        Fault::Peer => "the request's variables are too many for a program".to_owned(),
        _ => format!("{shown}: {}: {}{hint}", failed.step, os_reason(&failed.error)),
    };
    Error::new(fault, status, message)
}

/// How a file begins, if it may be read.
fn start_of(path: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    let mut start = Vec::new();
    File::open(std::ffi::OsStr::from_bytes(path)).ok()?.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

/// The system knows no program that begins like this.
fn format_hint(path: &[u8]) -> &'static str {
    match start_of(path).as_deref() {
        Some([]) => "; it is empty",
        Some([0xef, 0xbb, 0xbf, ..]) => {
            "; it begins with a byte order mark, which Windows editors write: take that away, so that #! comes first"
        }
        _ => "; a script begins with a line such as #!/bin/sh, else --interpreter names what runs it",
    }
}

/// The file is there: it is what its first line names that is not.
fn interpreter_hint(path: &[u8]) -> String {
    let start = start_of(path).unwrap_or_default();
    let Some(line) = start.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next())
    else {
        return "; it, or the loader that it was linked for, is missing".to_owned();
    };
    if line.ends_with(b"\r") {
        return "; its first line ends in CR LF as on Windows: convert it, as with dos2unix".to_owned();
    }
    format!("; the interpreter of its first line, \"{}\", is missing", line.trim_ascii().escape_ascii())
}

/// The limits that are set, as the system wants them.
fn limits(limits: &ProgramLimits) -> io::Result<Vec<Limit>> {
    let mut all = Vec::new();
    let mut add = |resource: Resource, wanted: u64, hard: u64| -> io::Result<()> {
        if wanted > 0 {
            let (_, most) = nix::sys::resource::getrlimit(resource)?;
            all.push(Limit { resource: resource as i32, soft: wanted.min(most), hard: hard.min(most) });
        }
        Ok(())
    };
    let seconds = limits.cpu.as_nanos().div_ceil(1_000_000_000);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    // SIGXCPU first, which tells what it was; SIGKILL for who does not mind that.
    add(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    add(Resource::RLIMIT_DATA, limits.memory, limits.memory)?;
    add(Resource::RLIMIT_FSIZE, limits.file_size, limits.file_size)?;
    add(Resource::RLIMIT_NOFILE, limits.files, limits.files)?;
    Ok(all)
}
