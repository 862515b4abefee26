//! A control group (version 2) for each program: the one bound on processes that counts a program's own.
//!
//! ```text
//! the gateway's group, which systemd has delegated ─ gatewright-PID ─┬─ gateway   this process
//!                                                                    ├─ 1, 2, …   a program each, pids.max
//! ```

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use crate::sys::attribute_begins;

/// Groups that are tried to be removed again when a new one is made.
const RETRIES: usize = 4;

/// Where the groups of programs are made.
#[derive(Debug)]
pub(super) struct Groups {
    /// The group that this process was started in.
    origin: PathBuf,
    /// The folder of all groups of this process.
    folder: PathBuf,
    /// Processes and threads of a program.
    most: u64,
    next: AtomicU64,
    /// Groups that somebody was still in when their program had ended.
    left: Mutex<Vec<PathBuf>>,
}

/// The group of one program, removed with the last process in it.
#[derive(Debug)]
pub(super) struct Group {
    folder: File,
    path: PathBuf,
    groups: Arc<Groups>,
}

/// A step of the preparation that failed, and what can be done about it.
fn refuse(what: impl fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    let what = format!("--limit-processes needs control groups (version 2) of the gateway's own: {what}");
    move |error| {
        let hint = "under systemd write Delegate=pids into its service, or leave the flag out";
        // Of no kind: whoever opens programs explains the others as being about the programs' own path.
        io::Error::other(format!("{what}: {error}; {hint}"))
    }
}

impl Groups {
    /// Moves this process into a group of its own, so that those of programs can be made beside it.
    pub(super) fn prepare(most: u64) -> io::Result<Arc<Self>> {
        let origin = own_group()?;
        let shown = origin.display();
        let available = fs::read_to_string(origin.join("cgroup.controllers"));
        let available = available.map_err(refuse(format!("{shown} cannot be read")))?;
        if !available.split_ascii_whitespace().any(|one| one == "pids") {
            let error = io::Error::new(io::ErrorKind::Unsupported, "it is not among its cgroup.controllers");
            return Err(refuse(format!("the controller pids is not available in {shown}"))(error));
        }
        if is_a_unit(&origin) && !is_delegated(&origin) {
            let error = io::Error::new(io::ErrorKind::PermissionDenied, "it is systemd's own");
            return Err(refuse(format!("{shown} is not delegated"))(error));
        }
        let groups = Self::below(origin, most)?;
        match groups.enter() {
            Ok(()) => Ok(Arc::new(groups)),
            Err(error) => {
                groups.leave();
                Err(error)
            }
        }
    }

    /// Makes the folder of all groups.
    fn below(origin: PathBuf, most: u64) -> io::Result<Self> {
        let folder = origin.join(format!("gatewright-{}", std::process::id()));
        fs::create_dir(&folder).map_err(refuse(format!("{} cannot be made", folder.display())))?;
        Ok(Self { origin, folder, most, next: AtomicU64::new(1), left: Mutex::default() })
    }

    /// A group that bounds others must not have processes itself.
    fn enter(&self) -> io::Result<()> {
        let home = self.folder.join("gateway");
        let moved = fs::create_dir(&home).and_then(|()| fs::write(home.join("cgroup.procs"), "0"));
        moved.map_err(refuse(format!("this process cannot move to {}", home.display())))?;
        for folder in [&self.origin, &self.folder] {
            let turned_on = fs::write(folder.join("cgroup.subtree_control"), "+pids");
            turned_on.map_err(|error| {
                let other = error.kind() == io::ErrorKind::ResourceBusy;
                let why = if other { ", in which other processes are" } else { "" };
                refuse(format!("the controller pids cannot be used below {}{why}", folder.display()))(error)
            })?;
        }
        Ok(())
    }

    /// Lets the user that this process is about to become make groups, and start programs in them.
    pub(super) fn give_to(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let give = |path: &Path| chown(path, user, group);
        give(&self.folder)
            .and_then(|()| give(&self.folder.join("cgroup.procs")))
            .map_err(refuse(format!("{} cannot be given to --user", self.folder.display())))
    }

    /// A new, bounded group.
    pub(super) fn make(self: &Arc<Self>) -> io::Result<Group> {
        self.remove_left(RETRIES);
        let path = self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        // From here on it is removed again, whatever happens.
        let folder = File::open(&path).inspect_err(|_| self.remove(path.clone()))?;
        let group = Group { folder, path, groups: Arc::clone(self) };
        if self.most > 0 {
            fs::write(group.path.join("pids.max"), self.most.to_string())?;
        }
        Ok(group)
    }

    fn remove(&self, path: PathBuf) {
        if fs::remove_dir(&path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.left.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        }
    }

    /// Tries again to remove groups that were not empty, those that have waited longest first.
    fn remove_left(&self, most: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(left.len());
        let tried: Vec<PathBuf> = left.drain(..most).collect();
        drop(left);
        tried.into_iter().for_each(|path| self.remove(path));
    }

    /// As far as it can be done: no program runs any more. The controller stays on, which others may use.
    pub(super) fn leave(&self) {
        self.remove_left(usize::MAX);
        let _ = fs::write(self.origin.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(self.folder.join("gateway"));
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Group {
    /// The folder, for a program to start in.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The processes in it that live.
    pub(super) fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills them all, those that are being made included (Linux 5.14).
    pub(super) fn kill(&self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Whether a process was refused to the program.
    pub(super) fn was_full(&self) -> bool {
        let text = fs::read_to_string(self.path.join("pids.events")).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("max ").is_some_and(|count| count != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.groups.remove(std::mem::take(&mut self.path));
    }
}

/// Whether a group is a unit of systemd's, which may turn any controller off in it that it has not delegated.
fn is_a_unit(group: &Path) -> bool {
    let kinds = ["service", "scope", "slice"];
    group.extension().is_some_and(|end| kinds.iter().any(|kind| end == *kind))
}

/// Whether systemd has left what is below its unit to the unit: it says so by one of two attributes.
fn is_delegated(group: &Path) -> bool {
    let path = CString::new(group.as_os_str().as_bytes());
    path.is_ok_and(|path| {
        [c"user.delegate", c"trusted.delegate"].iter().any(|name| attribute_begins(&path, name, b'1'))
    })
}

/// The folder of the group that this process is in.
fn own_group() -> io::Result<PathBuf> {
    let read = |path: &str| fs::read_to_string(path).map_err(refuse(format!("{path} cannot be read")));
    let (groups, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    find_group(&groups, &mounts).ok_or_else(|| {
        refuse("there is no file system of type cgroup2")(io::Error::from(io::ErrorKind::Unsupported))
    })
}

/// That folder, from what the kernel says of groups and mounts (cgroups(7), proc(5)).
fn find_group(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let below = Path::new(group).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::{Given, Texts, WITHOUT_CLONE3, spawn};

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n\
                      30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let find =
            |groups: &str, mounts: &str| find_group(groups, mounts).map(|path| path.display().to_string());
        let service = "0::/system.slice/gatewright.service\n";
        let expected = Some("/sys/fs/cgroup/system.slice/gatewright.service".to_owned());
        assert_eq!(find(service, mounts), expected);
        // Beside the old version, where only version 2 counts.
        let both = format!("8:pids:/\n1:name=systemd:/x\n{service}");
        assert_eq!(find(&both, mounts), expected);
        assert_eq!(find("0::/\n", mounts), Some("/sys/fs/cgroup".to_owned()).map(|path| path + "/"));
        // A part of the tree, as a container may have it.
        let part = "30 24 0:26 /system.slice /cg rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(service, part), Some("/cg/gatewright.service".to_owned()));
        assert_eq!(find("0::/user.slice\n", part), None);
        assert_eq!(find("8:pids:/\n", mounts), None);
        assert_eq!(find(service, ""), None);
    }

    /// A folder of programs that may not be entered is another matter, and has another cure.
    #[test]
    fn what_is_missing_is_told_and_not_taken_for_a_matter_of_the_programs() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound] {
            let error = refuse("x cannot be made")(kind.into());
            assert_eq!(error.kind(), io::ErrorKind::Other);
            assert!(
                error.to_string().contains("x cannot be made: ")
                    && error.to_string().contains("Delegate=pids")
            );
        }
    }

    #[test]
    fn units_are_known_by_their_names() {
        for (group, unit) in [
            ("/sys/fs/cgroup/system.slice/x.service", true),
            ("/sys/fs/cgroup/user.slice/session-1.scope", true),
            ("/sys/fs/cgroup/system.slice", true),
            ("/sys/fs/cgroup/system.slice/x.service/gateway", false),
            ("/sys/fs/cgroup/", false),
        ] {
            assert_eq!(is_a_unit(Path::new(group)), unit, "{group}");
        }
        assert!(!is_delegated(Path::new("/proc")) && !is_delegated(Path::new("/no/such/group")));
    }

    /// What needs no delegated controller, in whatever group the tests run; the bound itself needs one.
    #[test]
    fn a_program_starts_in_its_group_and_the_group_goes_with_it() {
        let Ok(origin) = own_group() else { panic!("these tests need a file system of type cgroup2") };
        let groups = match Groups::below(origin, 0) {
            Ok(groups) => Arc::new(groups),
            // Only who owns the group can make others in it: then all that can be seen is the refusal.
            Err(error) => return assert!(error.to_string().contains("Delegate=pids"), "{error}"),
        };
        for without_clone3 in [false, true] {
            WITHOUT_CLONE3.set(without_clone3);
            let group = groups.make().unwrap();
            let pid = sleeper(&group);
            let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let name = group.path.file_name().unwrap().to_str().unwrap();
            let end = format!("/gatewright-{}/{name}", std::process::id());
            let line = told.lines().find(|line| line.starts_with("0::")).unwrap();
            assert!(line.ends_with(&end), "{line}");
            assert_eq!(group.processes(), [pid.as_raw()]);
            assert!(!group.was_full());
            // Somebody is in it still: it is removed later.
            let path = group.path.clone();
            drop(group);
            assert!(path.exists());
            let again =
                Group { folder: File::open(&path).unwrap(), path: path.clone(), groups: Arc::clone(&groups) };
            again.kill();
            let ended = waitpid(pid, None).unwrap();
            assert_eq!(ended, WaitStatus::Signaled(pid, Signal::SIGKILL, false));
            drop(again);
            while path.exists() {
                groups.remove_left(RETRIES);
            }
        }
        groups.leave();
        assert!(!groups.folder.exists());
    }

    /// A program in a group that runs until it is killed.
    fn sleeper(group: &Group) -> Pid {
        let nothing = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (mut arguments, environment) = (Texts::default(), Texts::default());
        assert!(arguments.push(&[b"sleep"]) && arguments.push(&[b"1000"]));
        let given = Given {
            path: c"/bin/sleep",
            arguments: &arguments,
            environment: &environment,
            folder: None,
            stdin: nothing.as_fd(),
            stdout: nothing.as_fd(),
            stderr: nothing.as_fd(),
            limits: &[],
            group: Some(group.descriptor()),
        };
        spawn(&given).unwrap().pid
    }
}
