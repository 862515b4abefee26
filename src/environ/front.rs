//! What each web server really sends, made what PEP 3333 and RFC 3875 ask for.
//!
//! [`Front`] names the web server, [`FrontSettings`] is everything that a gateway can be told about it, and
//! [`FrontSettings::apply`] changes a request's variables accordingly, before a handler sees them. Nothing is decoded,
//! cut or joined unless this table says so:
//!
//! | repair | web server | when |
//! |---|---|---|
//! | [`repair::absolute_request_uri`] | HAProxy | always: no path begins with `http://` |
//! | [`repair::path_info_with_script_name`] | IIS | SERVER_SOFTWARE says IIS, or by name |
//! | [`repair::undecoded_path_info`] | Apache | SERVER_SOFTWARE says Apache and REQUEST_URI proves it, or by name |
//! | [`repair::rest_in_script_filename`] | Apache | by name |
//! | [`repair::proxy_script_filename`] | Apache | always: no file's path begins with `proxy:` |
//! | [`repair::redirected_authentication`] | Apache | by name |
//! | [`repair::path_info_in_script_filename`] | lighttpd | by name |
//! | [`repair::document_uri_without_path_info`] | Caddy | by name |
//! | [`repair::path_in_document_uri_only`] | nginx | by name |
//! | [`repair::script_name_with_slash`] | all | always: the two still say the same path together |
//! | [`repair::absent_path_info`] | lighttpd | by name |
//! | [`repair::absent_query_string`] | HAProxy | SERVER_SOFTWARE says HAProxy, or by name |
//!
//! *Always* is under every name but [`Front::None`]. What needs no repair here: repeated names, `CONTENT_LENGTH=-1` and
//! empty values that mean absent are settled for every peer, by [`Collector`](super::Collector), by the FastCGI server and by
//! [`sanitise`](super::sanitise). What cannot be repaired, since the request does not say where the application is
//! mounted, [`ScriptName`] says: nginx's stock parameters, Apache's SCRIPT_NAME that is the whole path, lighttpd's
//! prefixes that end in `/`, HAProxy without `path-info`.

pub mod repair;
mod script_name;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub use script_name::ScriptName;

use super::{Known, Vars};
use crate::error::Error;

/// The web server in front of a gateway, and so what may be wrong with its variables.
///
/// ```
/// use gatewright::environ::{Vars, front::Front};
///
/// let mut vars = Vars::from([("SCRIPT_FILENAME", "proxy:fcgi://127.0.0.1:9000/srv/app.cgi")]);
/// "apache".parse::<Front>()?.repair(&mut vars);
/// assert_eq!(vars.get("SCRIPT_FILENAME"), Some(&b"/srv/app.cgi"[..]));
/// # Ok::<(), gatewright::environ::front::FrontError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Front {
    /// Whichever SERVER_SOFTWARE names: only what is certain is repaired.
    #[default]
    Auto,
    /// nginx.
    Nginx,
    /// Apache with `mod_proxy_fcgi`, `mod_proxy_scgi` or CGI.
    Apache,
    /// lighttpd.
    Lighttpd,
    /// Caddy.
    Caddy,
    /// HAProxy.
    Haproxy,
    /// Microsoft IIS.
    Iis,
    /// Variables are taken as they come.
    None,
}

impl Front {
    /// All of them, in the order of their declaration.
    pub const ALL: [Front; 8] = [
        Front::Auto,
        Front::Nginx,
        Front::Apache,
        Front::Lighttpd,
        Front::Caddy,
        Front::Haproxy,
        Front::Iis,
        Front::None,
    ];

    /// The name by which it is parsed, as in `--front nginx`.
    pub const fn name(self) -> &'static str {
        match self {
            Front::Auto => "auto",
            Front::Nginx => "nginx",
            Front::Apache => "apache",
            Front::Lighttpd => "lighttpd",
            Front::Caddy => "caddy",
            Front::Haproxy => "haproxy",
            Front::Iis => "iis",
            Front::None => "none",
        }
    }

    /// The web server that SERVER_SOFTWARE names; a client cannot set it.
    ///
    /// ```
    /// use gatewright::environ::{Vars, front::Front};
    ///
    /// let vars = Vars::from([("SERVER_SOFTWARE", "Apache/2.4.71 (Debian)")]);
    /// assert_eq!(Front::of(&vars), Some(Front::Apache));
    /// assert_eq!(Front::of(&Vars::new()), None);
    /// ```
    pub fn of(vars: &Vars) -> Option<Front> {
        const SOFTWARE: [(&[u8], Front); 6] = [
            (b"nginx", Front::Nginx),
            (b"apache", Front::Apache),
            (b"lighttpd", Front::Lighttpd),
            (b"caddy", Front::Caddy),
            (b"haproxy", Front::Haproxy),
            (b"microsoft-iis", Front::Iis),
        ];
        let software = vars.known(Known::ServerSoftware)?;
        let product = software.split(|byte| matches!(byte, b'/' | b' ')).next()?;
        SOFTWARE.iter().find(|(name, _)| product.eq_ignore_ascii_case(name)).map(|(_, front)| *front)
    }

    /// Repairs the variables: each line of the [table](self) that applies, in its order.
    pub fn repair(self, vars: &mut Vars) {
        if self == Front::None {
            return;
        }
        let seen = if self == Front::Auto { Front::of(vars) } else { None };
        for repair in &REPAIRS {
            let applies = match repair.when {
                When::Always => true,
                When::Seen(front) => self == front || seen == Some(front),
                When::Named(front) => self == front,
            };
            if applies {
                (repair.run)(vars);
            }
        }
    }
}

/// One line of the table.
struct Repair {
    when: When,
    run: fn(&mut Vars),
}

/// How sure a repair is.
enum When {
    /// The variables themselves prove the need.
    Always,
    /// They do, once SERVER_SOFTWARE or the administrator names the web server.
    Seen(Front),
    /// Only the administrator can know.
    Named(Front),
}

/// In an order in which none undoes, or needs, what a later one does.
const REPAIRS: [Repair; 12] = [
    Repair { when: When::Always, run: repair::absolute_request_uri },
    Repair { when: When::Seen(Front::Iis), run: repair::path_info_with_script_name },
    Repair { when: When::Seen(Front::Apache), run: repair::undecoded_path_info },
    // Before the prefix goes, which tells a proxied path from a file's.
    Repair { when: When::Named(Front::Apache), run: repair::rest_in_script_filename },
    Repair { when: When::Always, run: repair::proxy_script_filename },
    Repair { when: When::Named(Front::Apache), run: repair::redirected_authentication },
    Repair { when: When::Named(Front::Lighttpd), run: repair::path_info_in_script_filename },
    Repair { when: When::Named(Front::Caddy), run: repair::document_uri_without_path_info },
    Repair { when: When::Named(Front::Nginx), run: repair::path_in_document_uri_only },
    Repair { when: When::Always, run: repair::script_name_with_slash },
    // After the slash, which may have become the path.
    Repair { when: When::Named(Front::Lighttpd), run: repair::absent_path_info },
    Repair { when: When::Seen(Front::Haproxy), run: repair::absent_query_string },
];

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Front {
    type Err = FrontError;

    fn from_str(text: &str) -> Result<Self, FrontError> {
        let found = Front::ALL.into_iter().find(|front| front.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Front::ALL.iter().map(|front| front.name()).collect();
            FrontError(format!("there is no such web server; write one of {}", names.join(", ")).into())
        })
    }
}

/// A setting that is none, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontError(Cow<'static, str>);

impl fmt::Display for FrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FrontError {}

/// What a gateway is told about its web server. The default repairs what is certain.
///
/// ```
/// use gatewright::environ::{Vars, front::FrontSettings};
///
/// // nginx with its stock parameters: nothing says where the application is mounted.
/// let mut vars = Vars::from([
///     ("SCRIPT_NAME", "/app/x y"), ("REQUEST_URI", "/app/x%20y?q=1"), ("DOCUMENT_URI", "/app/x y"),
/// ]);
/// let settings = FrontSettings { script_name: Some("/app".parse()?), ..FrontSettings::default() };
/// settings.apply(&mut vars)?;
/// assert_eq!(vars.get("SCRIPT_NAME"), Some(&b"/app"[..]));
/// assert_eq!(vars.get("PATH_INFO"), Some(&b"/x y"[..]));
/// # Ok::<(), gatewright::error::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontSettings {
    /// The web server.
    pub front: Front,
    /// Where the application is mounted; `None` leaves that to the web server.
    pub script_name: Option<ScriptName>,
    /// Whether HTTP_AUTHORIZATION is withheld from the application.
    pub hide_authorization: bool,
    /// Names that [`sanitise`](super::sanitise) would drop, and shall not. A handler has them as
    /// [`Attributes::keep_variables`](crate::handlers::Attributes::keep_variables).
    pub keep_variables: Vec<Cow<'static, str>>,
}

impl FrontSettings {
    /// Repairs the variables, mounts the application, and withholds what is to be hidden.
    ///
    /// # Errors
    /// Status 404 for a path outside [`script_name`](FrontSettings::script_name), 400 for one with a NUL.
    pub fn apply(&self, vars: &mut Vars) -> Result<(), Error> {
        self.front.repair(vars);
        if self.hide_authorization {
            hide_authorization(vars);
        }
        match &self.script_name {
            Some(script_name) => script_name.mount(vars, self.front),
            None => Ok(()),
        }
    }
}

/// Apache keeps a copy under `REDIRECT_` for each internal redirect.
fn hide_authorization(vars: &mut Vars) {
    vars.retain(|name, _| {
        let mut plain = name;
        while let Some(rest) = plain.strip_prefix(b"REDIRECT_") {
            plain = rest;
        }
        plain != b"HTTP_AUTHORIZATION"
    });
}

#[cfg(test)]
mod tests;
