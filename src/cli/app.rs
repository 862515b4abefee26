//! The `APP` argument: which application a gateway serves.

#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use super::serving::Settings;
#[cfg(unix)]
use super::usage::reason;
use crate::app::{Application, app};
#[cfg(target_os = "linux")]
use crate::apps::CgiPrograms;
use crate::apps::demo_app;

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
        None => Err("there is no such application; write demo, dir:PATH or cgi:PATH".to_owned()),
    }
}

/// What is served, and what has to end with it.
pub(super) struct Opened {
    pub(super) app: Arc<dyn Application>,
    /// All programs: those of several applications share what bounds and ends them.
    #[cfg(target_os = "linux")]
    pub(super) programs: Option<Arc<CgiPrograms>>,
}

impl Opened {
    /// An application that needs nothing of that.
    #[cfg(unix)]
    pub(super) fn new(app: Arc<dyn Application>) -> Self {
        Self {
            app,
            #[cfg(target_os = "linux")]
            programs: None,
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn programs(programs: CgiPrograms) -> Self {
        let programs = Arc::new(programs);
        Self { app: Arc::clone(&programs) as Arc<dyn Application>, programs: Some(programs) }
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

    /// Nothing of the application runs any more when this returns.
    pub(super) fn end(&self) {
        #[cfg(target_os = "linux")]
        if let Some(programs) = &self.programs {
            programs.end();
        }
    }
}

impl App {
    /// Makes it ready to serve, beside others that were opened before; an error names it.
    pub(super) fn open(
        &self,
        settings: &Settings,
        place: Place,
        before: &mut Before,
    ) -> Result<Arc<dyn Application>, String> {
        let _ = (settings, place, &before);
        match self {
            App::Demo => Ok(Arc::new(app(demo_app))),
            #[cfg(unix)]
            App::Dir(path) => match settings.dir.open(path) {
                Ok(dir) => Ok(Arc::new(dir)),
                Err(error) => Err(format!("dir:{}: {}", path.display(), reason(&error))),
            },
            #[cfg(target_os = "linux")]
            App::Cgi(path) => {
                settings.programs.check()?;
                let opened = match &before.0 {
                    Some(programs) => programs.beside(path, place.mounted),
                    None => CgiPrograms::open(path, settings.programs.clone().settings(place)),
                };
                let named = |error: std::io::Error| format!("cgi:{}: {}", path.display(), reason(&error));
                let programs = Arc::new(opened.map_err(named)?);
                before.0.get_or_insert_with(|| Arc::clone(&programs));
                Ok(programs)
            }
        }
    }
}

/// Programs that were opened before, whose bounds hold for all.
#[derive(Default)]
pub(super) struct Before(#[cfg(target_os = "linux")] pub(super) Option<Arc<CgiPrograms>>);

/// What of the front decides about an application.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// SCRIPT_NAME says where the application is mounted, and no more.
    pub(super) mounted: bool,
    /// Error text cannot go to the web server, or shall not.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only programs write any"))]
    pub(super) own_log: bool,
    /// There is no web server in front.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only programs mind"))]
    pub(super) origin: bool,
}
