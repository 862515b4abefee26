//! The `APP` argument: which application a gateway serves.

use std::sync::Arc;

use crate::app::{Application, app};
use crate::apps::demo_app;

/// A parsed `APP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum App {
    #[default]
    Demo,
}

/// Reads an `APP`: an error says what is wrong and what to write instead.
pub(super) fn parse(text: &str) -> Result<App, String> {
    const LATER: [(&str, &str); 4] = [
        ("dir:", "serving a folder"),
        ("cgi:", "running CGI programs"),
        ("fcgi:", "passing on to a FastCGI server"),
        ("scgi:", "passing on to an SCGI server"),
    ];
    if text == "demo" {
        return Ok(App::Demo);
    }
    match LATER.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        Some((_, what)) => Err(format!("{what} is not in this version yet; write demo")),
        None => Err("there is no such application; write demo".to_owned()),
    }
}

impl App {
    pub(super) fn open(&self) -> Arc<dyn Application> {
        match self {
            App::Demo => Arc::new(app(demo_app)),
        }
    }
}
