//! `IISCGIHandler`: a CGI program under IIS, which repeats the script name in PATH_INFO.

use super::attributes::Attributes;
use super::base::BaseHandler;
use super::cgi::{CgiHandler, process_streams};
use super::streams::Streams;
pub use crate::environ::front::repair::path_info_with_script_name as repair_path_info;
use crate::environ::{Vars, read_environ};

/// The last rung: [`CgiHandler`] with the rule of [`repair_path_info`].
///
/// In wsgiref it stands beside CGIHandler; here it stands beneath, and what it supplies is the same.
pub trait IisCgiHandler {
    /// Lends the streams of one request; the default lends the process's own.
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        process_streams(with);
    }

    /// The request's variables, as they came from IIS.
    fn base_env(&self) -> &Vars;

    /// The attributes to start from.
    fn preset(&self) -> Attributes<'static> {
        Attributes::IIS_CGI
    }
}

impl<T: IisCgiHandler + ?Sized> CgiHandler for T {
    fn streams(&self, with: &mut dyn FnMut(Streams<'_>)) {
        IisCgiHandler::streams(self, with);
    }

    fn base_env(&self) -> &Vars {
        IisCgiHandler::base_env(self)
    }

    fn preset(&self) -> Attributes<'static> {
        IisCgiHandler::preset(self)
    }
}

/// `IISCGIHandler()`: this process as a CGI program under IIS.
///
/// ```no_run
/// use gatewright::{app::app, handlers::{BaseHandler, IisCgi}};
///
/// IisCgi::new().run(&app(|_, respond| respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hi")));
/// ```
#[derive(Debug)]
pub struct IisCgi {
    base_env: Vars,
    /// The handler's attributes, to change before it runs.
    pub attributes: Attributes<'static>,
}

impl IisCgi {
    /// Takes the request's variables from the process environment, now.
    pub fn new() -> Self {
        Self::with_environ(read_environ())
    }

    /// Takes these variables for the request's.
    pub fn with_environ(base_env: Vars) -> Self {
        Self { base_env, attributes: Attributes::IIS_CGI }
    }
}

impl Default for IisCgi {
    fn default() -> Self {
        Self::new()
    }
}

impl IisCgiHandler for IisCgi {
    fn base_env(&self) -> &Vars {
        &self.base_env
    }

    fn preset(&self) -> Attributes<'static> {
        self.attributes
    }
}

impl BaseHandler for IisCgi {}
