//! The `APP` argument: which application a gateway serves.

use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use super::serving::Settings;
use crate::app::{Application, app};
#[cfg(target_os = "linux")]
use crate::apps::CgiPrograms;
use crate::apps::demo_app;
use crate::spool::Store;

/// A parsed `APP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum App {
    #[default]
    Demo,
    #[cfg(unix)]
    Dir(PathBuf),
    /// A program, or a folder of programs.
    #[cfg(target_os = "linux")]
    Cgi(PathBuf),
}

/// Reads an `APP`: an error says what is wrong and what to write instead.
pub(super) fn parse(text: &str) -> Result<App, String> {
    const LATER: [(&str, &str); 2] =
        [("fcgi:", "passing on to a FastCGI server"), ("scgi:", "passing on to an SCGI server")];
    match text.split_once(':') {
        None if text == "demo" => return Ok(App::Demo),
        Some(("dir", "")) => return Err("the folder is missing; write dir:PATH".to_owned()),
        #[cfg(unix)]
        Some(("dir", path)) => return Ok(App::Dir(path.into())),
        #[cfg(not(unix))]
        Some(("dir", _)) => return Err("folders are not served on this system; write demo".to_owned()),
        Some(("cgi", "")) => {
            return Err("the program is missing; write cgi:PATH, such as cgi:/usr/lib/cgi-bin".to_owned());
        }
        #[cfg(target_os = "linux")]
        Some(("cgi", path)) => return Ok(App::Cgi(path.into())),
        #[cfg(not(target_os = "linux"))]
        Some(("cgi", _)) => return Err("running CGI programs needs Linux; write demo or dir:PATH".to_owned()),
        _ => {}
    }
    match LATER.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        Some((_, what)) => {
            Err(format!("{what} is not in this version yet; write demo, dir:PATH or cgi:PATH"))
        }
        // Python's server is told its port so.
        None if text.parse::<u16>().is_ok() => Err(format!(
            "that is a port, which servers take by --socket 127.0.0.1:{text}; write demo, dir:PATH or cgi:PATH"
        )),
        None if text.parse::<SocketAddr>().is_ok() => Err(format!(
            "that is an address, which servers take by --socket {text}; write demo, dir:PATH or cgi:PATH"
        )),
        None if text.starts_with("http://") || text.starts_with("https://") => {
            Err("a URL is no application; write demo, dir:PATH or cgi:PATH".to_owned())
        }
        // As others are told what to serve.
        None if text == "." || text.contains('/') || Path::new(text).exists() => {
            Err(format!("write dir:{text} for the files of a folder, or cgi:{text} for programs"))
        }
        None => Err("there is no such application; write demo, dir:PATH or cgi:PATH".to_owned()),
    }
}

/// What is served, and what has to end with it.
pub(super) struct Opened {
    pub(super) app: Arc<dyn Application>,
    /// What is served where; empty where the web server in front knows better.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only servers tell"))]
    pub(super) offers: Vec<Offer>,
    /// All programs: those of several applications share what bounds and ends them.
    #[cfg(target_os = "linux")]
    pub(super) programs: Option<Arc<CgiPrograms>>,
    #[cfg(unix)]
    pub(super) needs: Vec<Need>,
}

/// What the gateway's user has to be allowed to enter or to run.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    kind: &'static str,
    path: PathBuf,
}

#[cfg(unix)]
impl Need {
    /// What to do where this process may not: rights that are given up later are missed by requests alone.
    fn unmet(&self) -> Option<String> {
        nix::unistd::access(&self.path, nix::unistd::AccessFlags::X_OK).err()?;
        let advice = if self.path.is_file() {
            "execute it: chmod +x it, or name what runs it by --interpreter"
        } else {
            "enter it, or a folder above it: change their rights, or run as another user"
        };
        Some(format!("{}:{}: the gateway's user may not {advice}", self.kind, self.path.display()))
    }
}

/// A path, as it stands in a URL, and what is served there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) path: String,
    pub(super) what: String,
}

impl Opened {
    /// An application that needs nothing of that.
    #[cfg(unix)]
    pub(super) fn new(app: Arc<dyn Application>) -> Self {
        Self {
            app,
            offers: Vec::new(),
            #[cfg(target_os = "linux")]
            programs: None,
            needs: Vec::new(),
        }
    }

    /// Warns of what this process may not use, once it is the user that it stays.
    #[cfg(unix)]
    pub(super) fn look(&self) {
        self.needs.iter().filter_map(Need::unmet).for_each(|what| log::warn!("{what}"));
    }

    #[cfg(target_os = "linux")]
    pub(super) fn programs(programs: CgiPrograms) -> Self {
        let programs = Arc::new(programs);
        let app = Arc::clone(&programs) as Arc<dyn Application>;
        Self { programs: Some(programs), ..Self::new(app) }
    }

    /// The process is about to become this user.
    #[cfg(unix)]
    pub(super) fn give_to(&self, privileges: &crate::server::Privileges) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(programs) = &self.programs {
            return programs.give_to(privileges.user(), privileges.group());
        }
        let _ = privileges;
        Ok(())
    }

    /// The application's process has no children but the application's.
    #[cfg(unix)]
    pub(super) fn own_process(&self) {
        #[cfg(target_os = "linux")]
        if let Some(programs) = &self.programs
            && let Err(error) = programs.adopt_orphans()
        {
            log::warn!("descendants that leave their program's group cannot be found: {error}");
        }
    }

    /// Kills what the application runs, without its grace time.
    #[cfg(unix)]
    pub(super) fn cut(&self) -> impl Fn() + Send + use<> {
        #[cfg(target_os = "linux")]
        let programs = self.programs.clone();
        move || {
            #[cfg(target_os = "linux")]
            programs.iter().for_each(|programs| programs.kill());
        }
    }

    /// Nothing of the application runs any more when this returns.
    pub(super) fn end(&self) {
        #[cfg(target_os = "linux")]
        if let Some(programs) = &self.programs {
            programs.end();
        }
    }
}

impl App {
    /// Makes it ready to serve under a prefix, beside others that were opened before; an error names it.
    pub(super) fn open(
        &self,
        settings: &Settings,
        (prefix, place): (&str, Place),
        before: &mut Before,
    ) -> Result<Arc<dyn Application>, String> {
        let _ = settings;
        let origin = place.origin;
        let mut offer = |path: &str, what: String| {
            if origin {
                before.offers.push(Offer { path: path.to_owned(), what });
            }
        };
        match self {
            App::Demo => {
                offer(prefix, "demo".to_owned());
                Ok(Arc::new(app(demo_app)))
            }
            #[cfg(unix)]
            App::Dir(path) => {
                let dir = settings.dir.open(path).map_err(|error| cannot_open("dir", path, &error))?;
                offer(prefix, format!("dir:{}", path.display()));
                before.needs.push(Need { kind: "dir", path: path.clone() });
                Ok(Arc::new(dir))
            }
            #[cfg(target_os = "linux")]
            App::Cgi(path) => {
                settings.programs.check()?;
                let opened = match &before.programs {
                    Some(programs) => programs.beside(path, place.mounted),
                    None => CgiPrograms::open(path, settings.programs.clone().settings(place)),
                };
                let programs = Arc::new(opened.map_err(|error| cannot_open("cgi", path, &error))?);
                offer_programs(&programs, path, prefix, &mut offer);
                before.programs.get_or_insert_with(|| Arc::clone(&programs));
                if !settings.programs.interprets(path) {
                    before.needs.push(Need { kind: "cgi", path: path.clone() });
                }
                Ok(programs)
            }
        }
    }
}

/// Each program by its own path: nothing else is served there.
#[cfg(target_os = "linux")]
fn offer_programs(
    programs: &CgiPrograms,
    folder: &std::path::Path,
    prefix: &str,
    offer: &mut dyn FnMut(&str, String),
) {
    use std::os::unix::ffi::OsStrExt;

    /// As many as one looks at.
    const MOST: usize = 50;
    let Ok((paths, more)) = programs.paths(MOST) else { return };
    let shown = folder.display().to_string();
    if paths.is_empty() {
        log::warn!(
            "cgi:{shown}: there is no program: make one executable, or name what runs it by --interpreter"
        );
    }
    for path in paths {
        let name = path.strip_prefix(b"/").map(|name| folder.join(std::ffi::OsStr::from_bytes(name)));
        let name = name.map_or_else(|| shown.clone(), |name| name.display().to_string());
        let prefix = if path.is_empty() { prefix } else { prefix.trim_end_matches('/') };
        offer(&format!("{prefix}{}", crate::util::quote_path(&path)), format!("cgi:{name}"));
    }
    if more {
        offer(prefix, format!("more programs of cgi:{shown}"));
    }
}

/// Why an application's file or folder cannot be served, and what can be done about it.
#[cfg(unix)]
fn cannot_open(kind: &str, path: &std::path::Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let why = match error.kind() {
        NotFound => "it does not exist; create it, or name another".to_owned(),
        NotADirectory => "it, or what stands before it, is no folder; name one".to_owned(),
        PermissionDenied => {
            "this user may not enter it; change its rights, or run as another user".to_owned()
        }
        _ => error.to_string(),
    };
    format!("{kind}:{}: {why}", path.display())
}

/// What was opened before.
#[derive(Default)]
pub(super) struct Before {
    pub(super) offers: Vec<Offer>,
    #[cfg(unix)]
    pub(super) needs: Vec<Need>,
    /// Their bounds hold for all programs.
    #[cfg(target_os = "linux")]
    pub(super) programs: Option<Arc<CgiPrograms>>,
}

/// What of the front decides about an application.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// SCRIPT_NAME says where the application is mounted, and no more.
    pub(super) mounted: bool,
    /// Error text cannot go to the web server, or shall not.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only programs write any"))]
    pub(super) own_log: bool,
    /// There is no web server in front.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only programs mind"))]
    pub(super) origin: bool,
    /// HOME, USER and LOGNAME of the user that the gateway becomes.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only programs have any"))]
    pub(super) account: Option<Vec<(String, String)>>,
    /// Where request bodies are kept.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only programs have more than the server's own")
    )]
    pub(super) spool: Store,
}
