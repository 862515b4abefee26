//! What an administrator can say about programs.

use std::path::PathBuf;
use std::time::Duration;

use crate::proto::cgi::Limits;
use crate::spool::Store;

/// How programs are run. A duration or a number of zero means none, where nothing else is said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProgramSettings {
    /// Follow symbolic links that lead out of the folder.
    pub follow_links: bool,
    /// There is no web server in front that says where documents are and that a program may run: DOCUMENT_ROOT and
    /// REDIRECT_STATUS are set where they are absent.
    pub origin_server: bool,
    /// Programs that run files without an executable bit, by the end of their names: `.py` and `/usr/bin/python3`.
    pub interpreters: Vec<(String, PathBuf)>,
    /// Whether SCRIPT_NAME only says where the folder is mounted, so that PATH_INFO alone is looked for in it.
    pub mounted: bool,
    /// Give a program a query without `=` as its arguments (RFC 3875, section 4.4).
    pub query_arguments: bool,
    /// Variables of this process that programs get too.
    pub pass_env: Vec<String>,
    /// Programs get all variables of this process, beneath the request's.
    pub pass_all_env: bool,
    /// HOME, USER and LOGNAME for programs, where those of this process are another user's: of the user that it becomes.
    pub account: Option<Vec<(String, String)>>,
    /// Variables for every program, which come before all others.
    pub env: Vec<(String, String)>,
    /// Pass a body of unknown length on as it comes, without CONTENT_LENGTH, where it would be kept until it is whole.
    pub stream_body: bool,
    /// Where bodies are kept that do not fit into memory.
    pub spool: Store,
    /// Where programs' error text goes.
    pub stderr: Stderr,
    /// What is done with `Location: /path` alone.
    pub local_redirect: LocalRedirect,
    /// The folder whose files programs may send by `X-Sendfile`; without it that header is passed on.
    pub x_sendfile: Option<PathBuf>,
    /// How large the head of an answer may be.
    pub answer_head: Limits,
    /// From a program's start, or the last piece of the body that it took, to its first byte of output.
    pub first_byte_timeout: Duration,
    /// Between bytes of a program's output.
    pub output_timeout: Duration,
    /// For a program in all.
    pub request_timeout: Duration,
    /// How long an answer stays open after its program has ended, while another process holds its end.
    pub linger: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill_grace: Duration,
    /// Programs at once.
    pub max_programs: usize,
    /// Programs at once of one script.
    pub max_programs_per_script: usize,
    /// Requests that wait for a program to end, and how long.
    pub queue: usize,
    /// How long a request waits for a program to end.
    pub queue_timeout: Duration,
    /// What each program may use.
    pub limits: ProgramLimits,
}

impl Default for ProgramSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            follow_links: false,
            origin_server: false,
            interpreters: Vec::new(),
            mounted: false,
            query_arguments: false,
            pass_env: Vec::new(),
            pass_all_env: false,
            account: None,
            env: Vec::new(),
            stream_body: false,
            spool: Store::default(),
            stderr: Stderr::default(),
            local_redirect: LocalRedirect::default(),
            x_sendfile: None,
            answer_head: Limits::default(),
            first_byte_timeout: Duration::from_secs(60),
            output_timeout: Duration::from_secs(60),
            request_timeout: Duration::ZERO,
            linger: Duration::from_secs(2),
            kill_grace: Duration::from_secs(5),
            max_programs: cores.saturating_mul(8).max(16),
            max_programs_per_script: 0,
            queue: 512,
            queue_timeout: Duration::from_secs(30),
            limits: ProgramLimits::default(),
        }
    }
}

/// Where programs' error text goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stderr {
    /// To `wsgi.errors`, byte for byte: under FastCGI that is the web server.
    #[default]
    Web,
    /// To the log, line by line.
    Log,
}

/// What is done with `Location: /path` alone (RFC 3875, section 6.2.2): behind a web server that path is one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalRedirect {
    /// The client is sent there: 302.
    #[default]
    Client,
    /// The web server is told, as a program would tell it: status 200 with a Location, which Apache follows itself.
    Pass,
    /// It is answered by these programs.
    Own,
}

/// What a program may use; zero means that nothing is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramLimits {
    /// Processor time (RLIMIT_CPU).
    pub cpu: Duration,
    /// Bytes of data memory (RLIMIT_DATA).
    pub memory: u64,
    /// Bytes of a file that it writes (RLIMIT_FSIZE).
    pub file_size: u64,
    /// Open descriptors (RLIMIT_NOFILE).
    pub files: u64,
    /// Processes and threads of a program and its descendants together, itself included (the controller pids of a control
    /// group of version 2, which this process has to own: systemd's `Delegate=pids`).
    pub processes: u64,
}
