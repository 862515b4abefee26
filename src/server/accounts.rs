//! Users and groups by name or number.

use std::io;

use nix::unistd::{Gid, Group, Uid, User};

pub(super) fn user_id(name: Option<&str>) -> io::Result<Option<Uid>> {
    let Some(name) = name else { return Ok(None) };
    if let Some(number) = number(name) {
        return Ok(Some(Uid::from_raw(number)));
    }
    match User::from_name(name)? {
        Some(user) => Ok(Some(user.uid)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user \"{name}\""))),
    }
}

pub(super) fn group_id(name: Option<&str>) -> io::Result<Option<Gid>> {
    let Some(name) = name else { return Ok(None) };
    if let Some(number) = number(name) {
        return Ok(Some(Gid::from_raw(number)));
    }
    match Group::from_name(name)? {
        Some(group) => Ok(Some(group.gid)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no group \"{name}\""))),
    }
}

/// The last number is nobody's: to the system it means that nothing shall be changed.
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number| *number != u32::MAX)
}

/// A user's name, or number where there is none.
pub(super) fn user_name(id: u32) -> String {
    User::from_uid(id.into()).ok().flatten().map_or_else(|| id.to_string(), |user| user.name)
}

/// A group's name, or number where there is none.
pub(super) fn group_name(id: u32) -> String {
    Group::from_gid(id.into()).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}
