//! Control groups, which know the CPU time of all processes that were ever in them: also of programs whose parent does
//! not wait for them, as Apache's mod_cgid does not, and whose time is therefore nobody's afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A group, for as long as this lives. At its end whoever is still in it is ended.
pub struct Group {
    folder: PathBuf,
    version: Version,
}

enum Version {
    One,
    Two,
}

/// Groups that this program has made.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Group {
    /// A new group; `None` where the system has none, or none for us.
    pub fn new() -> Option<Self> {
        let name = format!("gwb-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let places = [("/sys/fs/cgroup/cpuacct", Version::One), ("/sys/fs/cgroup", Version::Two)];
        places.into_iter().find_map(|(root, version)| {
            let group = Self { folder: PathBuf::from(root).join(&name), version };
            fs::create_dir(&group.folder).ok()?;
            // On a plain file system this was a plain folder.
            let works = group.cpu().is_ok() && group.door().is_ok();
            works.then_some(group)
        })
    }

    /// CPU time of all that were ever in it.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let file = self.folder.join(match self.version {
            Version::One => "cpuacct.usage",
            Version::Two => "cpu.stat",
        });
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let number = |text: &str| text.trim().parse().with_context(|| file.display().to_string());
        match self.version {
            Version::One => Ok(Duration::from_nanos(number(&text)?)),
            Version::Two => {
                let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
                Ok(Duration::from_micros(number(line.unwrap_or_default())?))
            }
        }
    }

    /// A process that writes `0` to it is in the group, and so are its children.
    pub fn door(&self) -> io::Result<File> {
        File::options().write(true).open(self.folder.join("cgroup.procs"))
    }

    fn end_all(&self) {
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

/// What a process does with [`Group::door`] between fork and exec: one system call.
pub fn enter(mut door: &File) -> io::Result<()> {
    door.write_all(b"0")
}

impl Drop for Group {
    fn drop(&mut self) {
        // A killed process is in its group until it has ended.
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            self.end_all();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_time_of_a_child_that_nobody_waits_for_is_counted() {
        let Some(group) = Group::new() else {
            eprintln!("no control groups here");
            return;
        };
        let before = group.cpu().expect("its time");
        let door = group.door().expect("its door");
        let mut command = Command::new("sh");
        // The shell is replaced by one that knows nothing of the child, and so waits for none.
        command.args(["-c", "(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) & exec sleep 0.01"]);
        // SAFETY: only write is called between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || enter(&door));
        }
        assert!(command.status().expect("a shell").success());
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while group.cpu().expect("its time") - before < Duration::from_millis(20) {
            assert!(std::time::Instant::now() < end, "the child's time is not counted");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
