//! Giving up rights for good, once the sockets are bound: slowcgi's order, and nothing goes on after a failed step.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};

use super::accounts::{group_id, group_name, user_id, user_name};

/// What a server shall be once its sockets are bound. Names are looked up before the root changes.
///
/// ```no_run
/// use std::path::Path;
/// use gatewright::server::Privileges;
///
/// let fewer = Privileges::resolve(Some("www-data"), None, Some(Path::new("/var/empty")))?;
/// // … bind sockets here …
/// fewer.apply()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Privileges {
    user: Option<Uid>,
    group: Option<Gid>,
    root: Option<PathBuf>,
}

impl Privileges {
    /// Looks the user and the group up, by name or number. A user's own group is taken where none is given.
    ///
    /// # Errors
    /// There is no such user or group, or a user known by number only comes without a group.
    pub fn resolve(user: Option<&str>, group: Option<&str>, root: Option<&Path>) -> io::Result<Self> {
        let id = user_id(user).map_err(|error| named("--user", &error))?;
        let mut gid = group_id(group).map_err(|error| named("--group", &error))?;
        if let (Some(id), None) = (id, gid) {
            let account = User::from_uid(id)?;
            let without = || named("--user", &format!("user {id} has no account; give --group too"));
            gid = Some(account.map(|account| account.gid).ok_or_else(without)?);
        }
        Ok(Self { user: id, group: gid, root: root.map(Path::to_owned) })
    }

    /// The number of the user that [`apply`](Self::apply) will make of this process's.
    pub fn user(&self) -> Option<u32> {
        self.user.map(Uid::as_raw)
    }

    /// The number of the group that [`apply`](Self::apply) will make of this process's.
    pub fn group(&self) -> Option<u32> {
        self.group.map(Gid::as_raw)
    }

    /// Whether there is nothing to give up.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.group.is_none() && self.root.is_none()
    }

    /// HOME, USER and LOGNAME of the user that it becomes: none where that has no account, `None` where it stays who it is.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn account(&self) -> Option<Vec<(String, String)>> {
        let account = User::from_uid(self.user?).ok().flatten();
        let variables = |account: User| {
            let home = account.dir.to_string_lossy().into_owned();
            [("HOME", home), ("USER", account.name.clone()), ("LOGNAME", account.name)]
        };
        let variables = account.map(variables).into_iter().flatten();
        Some(variables.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Changes the root directory, the groups and the user, in this order, and checks that there is no way back.
    ///
    /// # Errors
    /// The step that failed. The process may have lost some rights by then, and must end.
    pub fn apply(&self) -> io::Result<()> {
        if let Some(root) = &self.root {
            let step = |error| named(&format!("--chroot {}", root.display()), &plain(error));
            change_root(root).map_err(step)?;
        }
        if let Some(group) = self.group {
            let step = |error| named(&format!("--group {}", group_name(group.as_raw())), &plain(error));
            change_group(group).map_err(step)?;
        }
        if let Some(user) = self.user {
            let step = |error| named(&format!("--user {}", user_name(user.as_raw())), &plain(error));
            change_user(user).map_err(step)?;
        }
        self.check()
    }

    /// An answer from the system is not taken for granted where this much depends on it.
    fn check(&self) -> io::Result<()> {
        let kept = |what: &str| Err(io::Error::other(format!("the rights of the {what} were not given up")));
        if let Some(user) = self.user {
            let now = nix::unistd::getresuid()?;
            let regained = !user.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok();
            if [now.real, now.effective, now.saved] != [user; 3] || regained {
                return kept("first user");
            }
        }
        if let Some(group) = self.group {
            let now = nix::unistd::getresgid()?;
            let other = Gid::from_raw(0);
            // Who stays root may change groups as it likes.
            let bound = group != other && !nix::unistd::geteuid().is_root();
            let regained = bound && nix::unistd::setgid(other).is_ok();
            let groups = nix::unistd::getgroups()?;
            let alone = groups.iter().all(|one| *one == group);
            if [now.real, now.effective, now.saved] != [group; 3] || !alone || regained {
                return kept("first groups");
            }
        }
        Ok(())
    }
}

fn change_root(root: &Path) -> nix::Result<()> {
    nix::unistd::chroot(root)?;
    nix::unistd::chdir(Path::new("/"))
}

fn change_group(group: Gid) -> nix::Result<()> {
    nix::unistd::setgroups(&[group])?;
    nix::unistd::setresgid(group, group, group)
}

fn change_user(user: Uid) -> nix::Result<()> {
    nix::unistd::setresuid(user, user, user)
}

fn plain(error: nix::errno::Errno) -> String {
    match error {
        nix::errno::Errno::EPERM => "only root may do this; leave it out".to_owned(),
        error => error.desc().to_owned(),
    }
}

fn named(flag: &str, what: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{flag}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up() {
        let root = Privileges::resolve(Some("root"), None, None).unwrap();
        assert_eq!((root.user, root.group), (Some(Uid::from_raw(0)), Some(Gid::from_raw(0))));
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let account = root.account().unwrap();
        assert!(
            account.contains(&variable("USER", "root")) && account.contains(&variable("LOGNAME", "root"))
        );
        assert!(account.iter().any(|(name, value)| name == "HOME" && value.starts_with('/')));
        let numbers = Privileges::resolve(Some("3999999"), Some("3999998"), None).unwrap();
        assert_eq!(
            (numbers.user, numbers.group),
            (Some(Uid::from_raw(3_999_999)), Some(Gid::from_raw(3_999_998)))
        );
        assert_eq!(numbers.account(), Some(Vec::new()));
        let nobody_else = Privileges::resolve(None, None, None).unwrap();
        assert!(nobody_else.is_empty() && nobody_else.account().is_none());
    }

    #[test]
    fn unknown_names_and_users_without_a_group_are_errors() {
        for (user, group, named) in [
            (Some("no-such-user"), None, "--user: there is no user \"no-such-user\""),
            (None, Some("no-such-group"), "--group: there is no group \"no-such-group\""),
            (Some("3999999"), None, "give --group"),
        ] {
            let error = Privileges::resolve(user, group, None).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
