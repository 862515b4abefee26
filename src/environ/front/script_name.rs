//! Where the application is mounted, when the web server does not say.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode;

use super::repair::path_of;
use super::{Front, FrontError};
use crate::environ::{Known, Vars};
use crate::error::{Error, Fault};

/// The decoded path at which the application is mounted: what SCRIPT_NAME shall be.
///
/// It begins with `/` and does not end in one; `/` alone is the root, where SCRIPT_NAME is empty. Refused are escapes
/// (`%C3`), NUL, and what a web server's paths do not have: empty segments, `.` and `..`.
///
/// ```
/// use gatewright::environ::front::ScriptName;
///
/// assert_eq!("/app".parse::<ScriptName>()?.as_bytes(), b"/app");
/// assert_eq!("/".parse::<ScriptName>()?.as_bytes(), b"");
/// assert!("/app/".parse::<ScriptName>().is_err());
/// # Ok::<(), gatewright::environ::front::FrontError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptName(Vec<u8>);

impl ScriptName {
    /// Checks a path of any bytes.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, FrontError> {
        let path = path.into();
        let wrong = |what: &'static str| Err(FrontError(Cow::Borrowed(what)));
        if path == b"/" {
            return Ok(Self(Vec::new()));
        }
        let Some(segments) = path.strip_prefix(b"/") else {
            return wrong("it begins with a slash, as in /app; / is the root");
        };
        if path.ends_with(b"/") {
            return wrong("it does not end in a slash: write /app for /app/");
        }
        if path.contains(&0) {
            return wrong("no path has a NUL");
        }
        if segments.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"" | b"." | b"..")) {
            return wrong("it has no empty segment, no . and no ..: write the path that clients ask for");
        }
        if percent_decode(&path).count() != path.len() {
            return wrong("it is decoded: write the characters themselves for %XX");
        }
        Ok(Self(path))
    }

    /// SCRIPT_NAME: empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Sets SCRIPT_NAME to this, and PATH_INFO to the decoded rest of the request's path.
    ///
    /// The path is DOCUMENT_URI, which is decoded and knows of rewrites; where that is missing or empty, and under Caddy,
    /// which leaves PATH_INFO out of it, REQUEST_URI, decoded and without its query; where that is missing too, and under
    /// lighttpd, whose REQUEST_URI knows of no rewrite, SCRIPT_NAME and PATH_INFO together.
    ///
    /// # Errors
    /// Status 404 when the path is not below this one, or climbs out of it by `..`; 400 when it has a NUL.
    pub fn mount(&self, vars: &mut Vars, front: Front) -> Result<(), Error> {
        let path = request_path(vars, front);
        let below = path.strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        let Some(rest) = below.filter(|rest| !climbs(rest)) else {
            let shown = path.get(..SHOWN).unwrap_or(&path).escape_ascii();
            return Err(Error::new(Fault::Peer, 404, format!("the path \"{shown}\" is not below {self}")));
        };
        if rest.contains(&0) {
            return Err(Error::bad_request("the path has a NUL"));
        }
        let rest = rest.to_vec();
        vars.set("SCRIPT_NAME", &self.0);
        vars.set("PATH_INFO", rest);
        Ok(())
    }
}

/// How much of a client's path is worth a place in the log.
const SHOWN: usize = 200;

fn request_path(vars: &Vars, front: Front) -> Cow<'_, [u8]> {
    let server = if front == Front::Auto { Front::of(vars) } else { Some(front) };
    if server != Some(Front::Caddy)
        && let Some(path) = vars.get("DOCUMENT_URI").filter(|path| !path.is_empty())
    {
        return Cow::Borrowed(path);
    }
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    let joined = [script, vars.known(Known::PathInfo).unwrap_or_default()].concat();
    let uri = vars.known(Known::RequestUri).filter(|uri| !uri.is_empty());
    match uri {
        Some(uri) if server != Some(Front::Lighttpd) || joined.is_empty() => {
            percent_decode(path_of(uri)).into()
        }
        _ => Cow::Owned(joined),
    }
}

/// Whether a path leaves its beginning upwards: REQUEST_URI is what the client wrote.
fn climbs(path: &[u8]) -> bool {
    let mut depth = 0_usize;
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

impl FromStr for ScriptName {
    type Err = FrontError;

    fn from_str(text: &str) -> Result<Self, FrontError> {
        Self::new(text)
    }
}

/// As it is written in a flag.
impl fmt::Display for ScriptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: &[u8] = if self.0.is_empty() { b"/" } else { &self.0 };
        write!(f, "{}", String::from_utf8_lossy(path).escape_debug())
    }
}
