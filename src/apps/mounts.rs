//! Several applications, each under a path of its own.

use std::fmt;

use super::answer::{add_slash, plain};
use crate::app::{AppResult, Application, Responder};
use crate::environ::Environ;
use crate::environ::front::ScriptName;
use crate::util::shift_path_info;

/// An application that hands each request on to the one whose prefix its path has, the longest first.
///
/// ```
/// use gatewright::app::app;
/// use gatewright::apps::{Mounts, demo_app};
/// use gatewright::environ::Vars;
/// use gatewright::handlers::{BaseCgi, BaseHandler};
///
/// let wiki = app(|environ, respond| {
///     let page = format!("{} of {}", environ.path_info().escape_ascii(), environ.script_name().escape_ascii());
///     respond.start("200 OK", [("Content-Type", "text/plain")])?.send(page)
/// });
/// let site = Mounts::new().mount("/", app(demo_app))?.mount("/wiki/", wiki)?;
///
/// let vars = Vars::from([("SCRIPT_NAME", "/site"), ("PATH_INFO", "/wiki/Home")]);
/// let handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), vars);
/// handler.run(&site);
/// let (_, output, _) = handler.into_streams();
/// assert!(output.ends_with(b"\r\n\r\n/Home of /site/wiki"));
/// # Ok::<(), gatewright::apps::MountError>(())
/// ```
///
/// What matched moves from PATH_INFO to SCRIPT_NAME as by [`shift_path_info`], name by name: `/wiki` is no prefix of
/// `/wikipedia`, and empty names and `.` count for nothing. PATH_TRANSLATED, which belongs to the path before, goes.
///
/// - **A prefix that ends in a slash** wants one in the URL too: GET and HEAD without it are redirected, so that relative
///   links work. Without the slash the application is called with an empty PATH_INFO.
/// - **A path that climbs** out of its mount by `..` is 404, wherever the `..` stands. One that stays below it is handed on
///   as it is.
/// - **A path under no prefix** is 404; the page names nothing.
#[derive(Default)]
pub struct Mounts {
    /// The longest prefix first.
    mounts: Vec<Mount>,
}

struct Mount {
    names: Vec<Vec<u8>>,
    wants_slash: bool,
    app: Box<dyn Application>,
}

impl Mounts {
    /// Nothing mounted: every path is 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an application under a prefix, `/` for all that is under no other.
    ///
    /// # Errors
    /// The prefix is taken, or is no decoded path that begins with a slash; see
    /// [`ScriptName`](crate::environ::front::ScriptName).
    pub fn mount(
        mut self,
        prefix: impl AsRef<[u8]>,
        app: impl Application + 'static,
    ) -> Result<Self, MountError> {
        let prefix = prefix.as_ref();
        let refused = |why: &dyn fmt::Display| {
            MountError(format!("nothing can be mounted at \"{}\": {why}", prefix.escape_ascii()))
        };
        let (path, wants_slash) = match prefix {
            b"/" | b"//" => (prefix, false),
            _ => prefix.strip_suffix(b"/").map_or((prefix, false), |path| (path, true)),
        };
        let path = ScriptName::new(path).map_err(|error| refused(&error))?;
        let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        if self.mounts.iter().any(|mount| mount.names == names) {
            return Err(refused(&"another application is there already"));
        }
        let before = self.mounts.partition_point(|mount| mount.names.len() >= names.len());
        self.mounts.insert(before, Mount { names, wants_slash, app: Box::new(app) });
        Ok(self)
    }

    /// The mount that a path is under, unless the path climbs out of it.
    fn find(&self, path_info: &[u8]) -> Option<&Mount> {
        let names = || path_info.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        let mount = self.mounts.iter().find(|mount| {
            let mut given = names();
            mount.names.iter().all(|name| given.next() == Some(name))
        })?;
        let mut depth = 0usize;
        for name in names().skip(mount.names.len()) {
            depth = if name == b".." { depth.checked_sub(1)? } else { depth + 1 };
        }
        Some(mount)
    }
}

impl Application for Mounts {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        let path_info = environ.path_info();
        if !path_info.is_empty() && !path_info.starts_with(b"/") {
            return plain(respond, "400 Bad Request", &[]);
        }
        let Some(mount) = self.find(path_info) else { return plain(respond, "404 Not Found", &[]) };
        for _ in &mount.names {
            shift_path_info(&mut environ.vars)?;
        }
        if !mount.names.is_empty() {
            environ.vars.remove("PATH_TRANSLATED");
        }
        if mount.wants_slash && environ.path_info().is_empty() && matches!(environ.method(), b"GET" | b"HEAD")
        {
            return add_slash(environ, respond);
        }
        mount.app.call(environ, respond)
    }
}

impl fmt::Debug for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |mount: &Mount| format!("/{}", mount.names.join(&b'/').escape_ascii());
        f.debug_list().entries(self.mounts.iter().map(path)).finish()
    }
}

/// Why an application cannot be mounted: what is wrong with its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountError(String);

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MountError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::app::app;
    use crate::environ::Vars;
    use crate::handlers::{BaseCgi, BaseHandler};
    use crate::validate::validator;

    /// Says its own name and what it was handed.
    fn named(name: &'static str) -> impl Application {
        app(move |environ: &mut Environ<'_>, respond: Responder<'_>| {
            let (script, path) = (environ.script_name().escape_ascii(), environ.path_info().escape_ascii());
            let translated = if environ.get("PATH_TRANSLATED").is_some() { " translated" } else { "" };
            let text = format!("{name} {script} {path}{translated}");
            respond.start("200 OK", [("Content-Type", "text/plain")])?.send(text)
        })
    }

    fn site() -> Mounts {
        let site = Mounts::new().mount("/a", named("a")).unwrap();
        let site = site.mount("/a/b/c", named("abc")).unwrap().mount("/a/b", named("ab")).unwrap();
        site.mount("/docs/", named("docs")).unwrap().mount("/caf\u{e9}", named("cafe")).unwrap()
    }

    /// The status, and the text or the location.
    fn ask(site: &Mounts, method: &str, script_name: &str, path_info: &str) -> (String, String) {
        let mut vars = Vars::from([("REQUEST_METHOD", method), ("SCRIPT_NAME", script_name)]);
        vars.set("PATH_INFO", path_info);
        vars.set("PATH_TRANSLATED", "/srv");
        vars.set("QUERY_STRING", "q");
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
        handler.run(site);
        let (_, output, log) = handler.into_streams();
        assert_eq!(String::from_utf8(log).unwrap(), "");
        let output = String::from_utf8(output).unwrap();
        let (head, body) = output.split_once("\r\n\r\n").unwrap();
        let field = |name| head.lines().find_map(|line: &str| line.strip_prefix(name));
        let status = field("Status: ").unwrap()[..3].to_owned();
        (status, field("Location: ").unwrap_or(body).to_owned())
    }

    #[test]
    fn the_longest_prefix_is_called_with_its_own_part_of_the_path() {
        let site = site().mount("/", named("root")).unwrap();
        for (path, expected) in [
            ("", "root /x  translated"),
            ("/", "root /x / translated"),
            ("/ab", "root /x /ab translated"),
            ("/A", "root /x /A translated"),
            ("/a", "a /x/a "),
            ("/a/", "a /x/a /"),
            ("/a/bc", "a /x/a /bc"),
            ("/a//b", "ab /x/a/b "),
            ("/a/./b//y/", "ab /x/a/b /y/"),
            ("/a/b/c", "abc /x/a/b/c "),
            ("/a/b/c/d/../e", "abc /x/a/b/c /d/../e"),
            ("/a/.", "a /x/a /."),
            ("/docs/", "docs /x/docs /"),
            ("/caf\u{e9}/x", "cafe /x/caf\\xc3\\xa9 /x"),
            ("/x/../a", "root /x /x/../a translated"),
        ] {
            assert_eq!(ask(&site, "GET", "/x", path), ("200".to_owned(), expected.to_owned()), "{path:?}");
        }
    }

    #[test]
    fn no_path_climbs_out_of_its_mount() {
        let with_root = site().mount("/", named("root")).unwrap();
        for site in [site(), with_root] {
            for path in ["/..", "/../a", "/a/..", "/a/../docs/", "/a/b/../x", "/a/b/c/x/../../y", "/a/./../b"]
            {
                assert_eq!(ask(&site, "GET", "/x", path).0, "404", "{path}");
            }
        }
        for path in ["", "/", "/nothing", "/a%2fb"] {
            assert_eq!(ask(&site(), "GET", "", path), ("404".to_owned(), "404 Not Found\n".to_owned()));
        }
        assert_eq!(ask(&site(), "GET", "", "a").0, "400");
    }

    #[test]
    fn a_prefix_with_a_slash_wants_it_in_the_url() {
        for method in ["GET", "HEAD"] {
            assert_eq!(ask(&site(), method, "/x", "/docs"), ("301".to_owned(), "/x/docs/?q".to_owned()));
        }
        assert_eq!(ask(&site(), "POST", "/x", "/docs"), ("200".to_owned(), "docs /x/docs ".to_owned()));
        assert_eq!(ask(&site(), "GET", "/x", "/a").0, "200");
    }

    #[test]
    fn prefixes_are_paths_and_taken_once() {
        for prefix in ["", "a", "a/", "//", "/a//", "/a/../b", "/a/./b", "/%41", "/a\0"] {
            let error = Mounts::new().mount(prefix, named("x")).unwrap_err().to_string();
            assert!(
                error.contains(&format!("\"{}\"", prefix.escape_debug())) || prefix.contains('\0'),
                "{error}"
            );
        }
        for prefix in ["/a", "/a/", "/docs"] {
            assert!(site().mount(prefix, named("x")).is_err(), "{prefix}");
        }
        assert_eq!(format!("{:?}", Mounts::new().mount("/a/b/", named("x")).unwrap()), "[\"/a/b\"]");
    }

    #[test]
    fn whatever_the_path_the_parts_make_it_up_and_no_rule_is_broken() {
        let names = ["a", "b", "c", "docs", "..", ".", "", "x", "abc"].to_vec();
        let path = prop::collection::vec(prop::sample::select(names), 0..8);
        let mut runner = proptest::test_runner::TestRunner::new(crate::repeatable(500));
        let site = validator(site().mount("/", named("root")).unwrap());
        let result = runner.run(&path, |names| {
            let path = format!("/{}", names.join("/"));
            let mut vars =
                Vars::from([("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/mnt"), ("SERVER_PORT", "80")]);
            vars.set("PATH_INFO", &path);
            vars.set("SERVER_NAME", "localhost");
            vars.set("SERVER_PROTOCOL", "HTTP/1.1");
            let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
            handler.run(&site);
            let (_, output, log) = handler.into_streams();
            prop_assert_eq!(String::from_utf8_lossy(&log), "", "{}", path);
            let output = String::from_utf8(output).unwrap();
            let (head, body) = output.split_once("\r\n\r\n").unwrap();
            if head.starts_with("Status: 200") {
                let mut words = body.split(' ');
                let (_, script, path_info) = (words.next(), words.next().unwrap(), words.next().unwrap());
                prop_assert!(script == "/mnt" || script.starts_with("/mnt/"), "{} became {}", path, body);
                let clean = |path: &str| -> Vec<String> {
                    path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect()
                };
                prop_assert_eq!(clean(&format!("{script}{path_info}")), clean(&format!("/mnt{path}")));
            }
            Ok(())
        });
        result.unwrap();
    }
}
