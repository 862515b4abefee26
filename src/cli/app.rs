//! The `APP` argument: which application a gateway serves.

#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use super::serving::Settings;
use crate::app::{Application, app};
use crate::apps::demo_app;

/// A parsed `APP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum App {
    #[default]
    Demo,
    #[cfg(unix)]
    Dir(PathBuf),
}

/// Reads an `APP`: an error says what is wrong and what to write instead.
pub(super) fn parse(text: &str) -> Result<App, String> {
    const LATER: [(&str, &str); 3] = [
        ("cgi:", "running CGI programs"),
        ("fcgi:", "passing on to a FastCGI server"),
        ("scgi:", "passing on to an SCGI server"),
    ];
    match text.split_once(':') {
        None if text == "demo" => return Ok(App::Demo),
        Some(("dir", "")) => return Err("the folder is missing; write dir:PATH".to_owned()),
        #[cfg(unix)]
        Some(("dir", path)) => return Ok(App::Dir(path.into())),
        #[cfg(not(unix))]
        Some(("dir", _)) => return Err("folders are not served on this system; write demo".to_owned()),
        _ => {}
    }
    match LATER.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        Some((_, what)) => Err(format!("{what} is not in this version yet; write demo or dir:PATH")),
        None => Err("there is no such application; write demo or dir:PATH".to_owned()),
    }
}

impl App {
    /// Makes it ready to serve; an error names it.
    pub(super) fn open(&self, settings: &Settings) -> Result<Arc<dyn Application>, String> {
        let _ = settings;
        match self {
            App::Demo => Ok(Arc::new(app(demo_app))),
            #[cfg(unix)]
            App::Dir(path) => match settings.dir.open(path) {
                Ok(dir) => Ok(Arc::new(dir)),
                Err(error) => Err(format!("dir:{}: {error}", path.display())),
            },
        }
    }
}
