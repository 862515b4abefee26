//! The flags about CGI programs.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::app::Place;
use super::units::{duration, number, size};
use super::usage::check_folder;
use crate::apps::{LocalRedirect, ProgramLimits, ProgramSettings, Stderr};
use crate::proto::cgi::Limits;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "CGI programs (cgi:PATH; sizes as in 64K or 1G, times as in 500ms, 30s or 2m)")]
pub(super) struct ProgramFlags {
    /// What runs files without an executable bit, by the end of their names: .py=/usr/bin/python3; may be repeated
    #[arg(long, value_name = "END=PROGRAM", value_parser = parse_interpreter)]
    interpreter: Vec<(String, PathBuf)>,
    /// Follow symbolic links that lead out of the folder of programs
    #[arg(long)]
    follow_links: bool,
    /// Give a program a query without "=" as its arguments (RFC 3875, section 4.4)
    #[arg(long)]
    query_arguments: bool,
    /// A variable of this process that programs get too; may be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_variable)]
    pass_env: Vec<String>,
    /// A variable for every program, which comes before the request's; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// A request body of unknown length: kept until its length is known, or streamed without CONTENT_LENGTH [default: spool]
    #[arg(long, value_name = "HOW")]
    cgi_body: Option<CgiBody>,
    /// What follows a Location that is a path and nothing else: the client goes there, the web server is told, or
    /// these programs answer [default: client; own under http-gateway]
    #[arg(long, value_name = "WHO")]
    local_redirect: Option<LocalRedirectBy>,
    /// The folder whose files programs may send by the header X-Sendfile, which is passed on otherwise
    #[arg(long, value_name = "DIR")]
    x_sendfile: Option<PathBuf>,
    /// The head of a program's answer at most [default: 64K]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_answer_head: Option<u64>,
    /// Fields in the head of a program's answer at most [default: 200]
    #[arg(long, value_name = "COUNT", value_parser = number::<usize>)]
    max_answer_fields: Option<usize>,
    /// Time for a program's first byte of output, from its start or the last of the body that it took [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    first_byte_timeout: Option<Duration>,
    /// Time between a program's bytes [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    output_timeout: Option<Duration>,
    /// Time for a program in all [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    request_timeout: Option<Duration>,
    /// How long an answer stays open after its program has ended, while another process holds its output [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    linger: Option<Duration>,
    /// From SIGTERM to SIGKILL for a program that is ended [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    kill_grace: Option<Duration>,
    /// Programs at once; by default 8 for each processor, and 16 at least
    #[arg(long, value_name = "COUNT", value_parser = number::<usize>)]
    max_programs: Option<usize>,
    /// Programs at once of one script [default: none]
    #[arg(long, value_name = "COUNT", value_parser = number::<usize>)]
    max_programs_per_script: Option<usize>,
    /// Requests that wait for a program to end [default: 512]
    #[arg(long, value_name = "COUNT", value_parser = number::<usize>)]
    queue: Option<usize>,
    /// How long a request waits for a program to end [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    queue_timeout: Option<Duration>,
    /// Processor time of a program [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    limit_cpu: Option<Duration>,
    /// Data memory of a program [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit_memory: Option<u64>,
    /// Size of the files that a program writes [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit_file_size: Option<u64>,
    /// Open files of a program [default: none]
    #[arg(long, value_name = "COUNT", value_parser = number::<u64>)]
    limit_files: Option<u64>,
    /// Processes and threads of a program and all its descendants, itself included; needs a control group of its own, as by
    /// systemd's Delegate=pids [default: none]
    #[arg(long, value_name = "COUNT", value_parser = number::<u64>)]
    limit_processes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CgiBody {
    Spool,
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LocalRedirectBy {
    Client,
    Pass,
    Own,
}

impl ProgramFlags {
    /// What is not there would be missed by some request only.
    ///
    /// # Errors
    /// The flag, the path, and why it cannot be used.
    pub(super) fn check(&self) -> Result<(), String> {
        check_folder("--x-sendfile", self.x_sendfile.as_deref())?;
        for (_, program) in &self.interpreter {
            if let Err(errno) = nix::unistd::access(program, nix::unistd::AccessFlags::X_OK) {
                return Err(format!("--interpreter {}: {}", program.display(), errno.desc()));
            }
        }
        Ok(())
    }

    /// Whether a file is run by another program, and needs no right to be executed itself.
    pub(super) fn interprets(&self, file: &Path) -> bool {
        let name = file.as_os_str().as_bytes();
        self.interpreter.iter().any(|(end, _)| name.ends_with(end.as_bytes()))
    }

    /// The settings, with what the front decides.
    pub(super) fn settings(self, place: Place) -> ProgramSettings {
        let usual = ProgramSettings::default();
        // Zero is no limit.
        let most = |number: usize| if number == 0 { usize::MAX } else { number };
        let bytes = self.max_answer_head.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        ProgramSettings {
            follow_links: self.follow_links,
            origin_server: place.origin,
            interpreters: self.interpreter,
            mounted: place.mounted,
            query_arguments: self.query_arguments,
            pass_env: self.pass_env,
            pass_all_env: usual.pass_all_env,
            account: place.account,
            env: self.env,
            stream_body: self.cgi_body == Some(CgiBody::Stream),
            spool: place.spool,
            stderr: if place.own_log { Stderr::Log } else { Stderr::Web },
            local_redirect: match self.local_redirect {
                None if place.origin => LocalRedirect::Own,
                None | Some(LocalRedirectBy::Client) => LocalRedirect::Client,
                Some(LocalRedirectBy::Pass) => LocalRedirect::Pass,
                Some(LocalRedirectBy::Own) => LocalRedirect::Own,
            },
            x_sendfile: self.x_sendfile,
            answer_head: Limits {
                bytes: bytes.map_or(usual.answer_head.bytes, most),
                fields: self.max_answer_fields.map_or(usual.answer_head.fields, most),
            },
            first_byte_timeout: self.first_byte_timeout.unwrap_or(usual.first_byte_timeout),
            output_timeout: self.output_timeout.unwrap_or(usual.output_timeout),
            request_timeout: self.request_timeout.unwrap_or(usual.request_timeout),
            linger: self.linger.unwrap_or(usual.linger),
            kill_grace: self.kill_grace.unwrap_or(usual.kill_grace),
            max_programs: self.max_programs.unwrap_or(usual.max_programs),
            max_programs_per_script: self.max_programs_per_script.unwrap_or(usual.max_programs_per_script),
            queue: self.queue.unwrap_or(usual.queue),
            queue_timeout: self.queue_timeout.unwrap_or(usual.queue_timeout),
            limits: ProgramLimits {
                cpu: self.limit_cpu.unwrap_or(usual.limits.cpu),
                memory: self.limit_memory.unwrap_or(usual.limits.memory),
                file_size: self.limit_file_size.unwrap_or(usual.limits.file_size),
                files: self.limit_files.unwrap_or(usual.limits.files),
                processes: self.limit_processes.unwrap_or(usual.limits.processes),
            },
        }
    }
}

fn parse_interpreter(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((end, program)) if !end.is_empty() && program.starts_with('/') => {
            Ok((end.to_owned(), PathBuf::from(program)))
        }
        _ => Err("write the end of a file's name and the absolute path of a program: .py=/usr/bin/python3"
            .to_owned()),
    }
}

fn parse_variable(text: &str) -> Result<String, String> {
    match text {
        "" => Err("write the name of a variable".to_owned()),
        name if name.contains(['=', '\0']) => {
            Err("write the name of a variable alone; --env gives one a value".to_owned())
        }
        name => Ok(name.to_owned()),
    }
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write a name, an equals sign and a value".to_owned()),
    }
}
