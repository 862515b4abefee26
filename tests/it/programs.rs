//! CGI programs run for requests: real shell scripts, in this process and behind the gateways.

mod answers;
mod given;
mod hostile;
mod life;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gatewright::apps::{CgiPrograms, ProgramSettings};
use gatewright::environ::Vars;
use gatewright::handlers::{BaseCgi, BaseHandler, Outcome};

use crate::servers::harness::Folder;

/// What a request came to.
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    pub(crate) head: String,
    pub(crate) document: Vec<u8>,
    /// The program's error text and the gateway's messages.
    pub(crate) errors: String,
}

impl Answered {
    #[track_caller]
    pub(crate) fn expect(self, status: &str) -> Self {
        let line = format!("Status: {status}");
        let first = self.head.lines().next().unwrap_or_default();
        assert_eq!(first, line, "{}\n{}\n{}", self.head, self.text(), self.errors);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.document).into_owned()
    }

    /// The one line that was logged about a failure.
    #[track_caller]
    pub(crate) fn logged(&self, what: &str) {
        assert!(self.errors.contains(what), "\"{what}\" is missing in: {}", self.errors);
    }
}

/// A folder with programs.
pub(crate) struct Bin {
    pub(crate) folder: Folder,
}

impl Bin {
    pub(crate) fn new() -> Self {
        Self { folder: Folder::new() }
    }

    /// A program whose text is written by a process of its own: one that this process has just started could hold the
    /// file open, and it could not be executed then.
    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path(name);
        let mut cat = Command::new("sh")
            .args(["-c", "cat > \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        cat.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("a reader");
        assert!(cat.wait().expect("our child").success());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its owner may");
        path
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        self.file(name, &format!("#!/bin/sh\n{text}\n"), 0o755)
    }

    pub(crate) fn programs(&self, settings: ProgramSettings) -> CgiPrograms {
        CgiPrograms::open(self.folder.root(), settings).expect("a folder")
    }

    /// Runs the one script with this text for a GET request.
    #[track_caller]
    pub(crate) fn once(text: &str) -> Answered {
        Self::once_with(text, |_| ())
    }

    #[track_caller]
    pub(crate) fn once_with(text: &str, change: impl FnOnce(&mut ProgramSettings)) -> Answered {
        let bin = Self::new();
        bin.script("x", text);
        let mut settings = ProgramSettings::default();
        change(&mut settings);
        run(&bin.programs(settings), &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x")], b"")
    }
}

/// Runs a program for a request of these variables.
pub(crate) fn run(programs: &CgiPrograms, vars: &[(&str, &str)], body: &[u8]) -> Answered {
    let vars: Vars = vars.iter().copied().collect();
    let handler = BaseCgi::new(body, Vec::new(), Vec::new(), vars);
    let outcome = handler.run(programs);
    let (_, output, errors) = handler.into_streams();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").map_or(output.len(), |end| end + 4);
    Answered {
        outcome,
        head: String::from_utf8_lossy(&output[..end]).into_owned(),
        document: output[end..].to_vec(),
        errors: String::from_utf8_lossy(&errors).into_owned(),
    }
}

pub(crate) fn get(path: &str) -> [(&str, &str); 2] {
    [("REQUEST_METHOD", "GET"), ("PATH_INFO", path)]
}

/// Whether a process lives, not counting one that was not reaped yet.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
