//! The `APP` argument: which application a gateway serves.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::{Application, app};
use crate::apps::demo_app;
#[cfg(target_os = "linux")]
use crate::apps::{CgiPrograms, ProgramSettings};

/// A parsed `APP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum App {
    #[default]
    Demo,
    /// A program, or a folder of programs.
    #[cfg(target_os = "linux")]
    Cgi(PathBuf),
}

/// Reads an `APP`: an error says what is wrong and what to write instead.
pub(super) fn parse(text: &str) -> Result<App, String> {
    const LATER: [(&str, &str); 3] = [
        ("dir:", "serving a folder"),
        ("fcgi:", "passing on to a FastCGI server"),
        ("scgi:", "passing on to an SCGI server"),
    ];
    const WRITE: &str = "write demo, or cgi: and the path of a program or a folder of programs";
    if text == "demo" {
        return Ok(App::Demo);
    }
    if let Some(path) = text.strip_prefix("cgi:") {
        return parse_cgi(path);
    }
    match LATER.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        Some((_, what)) => Err(format!("{what} is not in this version yet; {WRITE}")),
        None => Err(format!("there is no such application; {WRITE}")),
    }
}

#[cfg(target_os = "linux")]
fn parse_cgi(path: &str) -> Result<App, String> {
    match path {
        "" => {
            Err("cgi: wants the path of a program, or of a folder of programs: cgi:/usr/lib/cgi-bin"
                .to_owned())
        }
        path => Ok(App::Cgi(PathBuf::from(path))),
    }
}

#[cfg(not(target_os = "linux"))]
fn parse_cgi(_: &str) -> Result<App, String> {
    Err("running CGI programs needs Linux; write demo".to_owned())
}

/// An application that is ready to serve.
pub(super) struct Opened {
    pub(super) app: Arc<dyn Application>,
    #[cfg(target_os = "linux")]
    programs: Option<Arc<CgiPrograms>>,
}

impl Opened {
    /// An application of a program's own.
    pub(super) fn own(app: Arc<dyn Application>) -> Self {
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
    /// Opens what the application serves. What is wrong with it is told in one line.
    #[cfg(target_os = "linux")]
    pub(super) fn open(&self, settings: impl FnOnce() -> ProgramSettings) -> Result<Opened, String> {
        match self {
            App::Demo => Ok(Opened::own(Arc::new(app(demo_app)))),
            App::Cgi(path) => {
                let programs = CgiPrograms::open(path, settings())
                    .map_err(|error| format!("cgi:{}: {error}", path.display()))?;
                Ok(Opened::programs(programs))
            }
        }
    }

    /// Opens what the application serves.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(&self) -> Result<Opened, String> {
        match self {
            App::Demo => Ok(Opened::own(Arc::new(app(demo_app)))),
        }
    }
}
