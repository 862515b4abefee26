//! The data attributes of handlers: one plain struct, and a preset for each rung.

use std::borrow::Cow;

use super::{Observer, Policy};
use crate::environ::Vars;
use crate::spool::Store;

/// The data attributes of a handler: wsgiref's class attributes.
///
/// Plain and `Copy`, to be changed by struct update, in other crates too:
///
/// ```
/// use gatewright::handlers::Attributes;
///
/// let once = Attributes { wsgi_run_once: true, ..Attributes::BASE_CGI };
/// assert!(once.wsgi_run_once && !once.origin_server);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// `wsgi.multithread`.
    pub wsgi_multithread: bool,
    /// `wsgi.multiprocess`.
    pub wsgi_multiprocess: bool,
    /// `wsgi.run_once`.
    pub wsgi_run_once: bool,
    /// Whether files may be given to the handler: wsgiref's `wsgi_file_wrapper` is `FileWrapper` rather than `None`.
    pub wsgi_file_wrapper: bool,
    /// Whether the response starts with an HTTP status line, Date and Server; else with CGI's `Status:`.
    pub origin_server: bool,
    /// The version in that status line.
    pub http_version: &'a str,
    /// The Server header of an origin server, and SERVER_SOFTWARE where it is absent.
    pub server_software: Option<&'a str>,
    /// Variables beneath the request's own.
    pub os_environ: OsEnviron<'a>,
    /// Whether an answer may leave while its request's body still comes; see [`Flow`](super::Flow). Under the safe policy.
    pub full_duplex: bool,
    /// Whether the rule of [`repair_path_info`](super::iis::repair_path_info) is applied.
    pub repair_iis: bool,
    /// Names that [`sanitise`](crate::environ::sanitise), the safe policy's rule, does not touch.
    pub keep_variables: &'a [Cow<'static, str>],
    /// How many causes of an error are logged; `None` is all.
    pub traceback_limit: Option<usize>,
    /// The error page's status.
    pub error_status: &'a str,
    /// The error page's headers.
    pub error_headers: &'a [(&'a str, &'a str)],
    /// The error page.
    pub error_body: &'a [u8],
    /// Who is told of each finished request: an access log, for one.
    pub observer: Option<&'a dyn Observer>,
    /// Where the request's body is kept that is read ahead of the application and does not fit into memory; see
    /// [`Flow`](super::Flow). `None` is a store of the whole process: 4 GiB among temporary files.
    pub spool: Option<&'a Store>,
    /// Careful, or as wsgiref.
    pub policy: Policy,
}

/// Variables that every request of a handler gets, beneath its own.
#[derive(Clone, Copy, Debug)]
pub enum OsEnviron<'a> {
    /// The process environment as it was at the first request, under wsgiref's policy. Under the safe one nothing: a
    /// client's request is no place for the settings of this process.
    Process,
    /// None: CGI programs, whose process environment is the request's already.
    Empty,
    /// These.
    Given(&'a Vars),
}

impl Attributes<'_> {
    /// `BaseHandler`'s.
    pub const BASE: Attributes<'static> = Attributes {
        wsgi_multithread: true,
        wsgi_multiprocess: true,
        wsgi_run_once: false,
        wsgi_file_wrapper: true,
        origin_server: true,
        http_version: "1.0",
        server_software: None,
        os_environ: OsEnviron::Process,
        full_duplex: false,
        repair_iis: false,
        keep_variables: &[],
        traceback_limit: None,
        error_status: "500 Internal Server Error",
        error_headers: &[("Content-Type", "text/plain")],
        error_body: b"A server error occurred.  Please contact the administrator.",
        observer: None,
        spool: None,
        policy: Policy::Safe,
    };
    /// `SimpleHandler`'s: the same.
    pub const SIMPLE: Attributes<'static> = Attributes::BASE;
    /// `BaseCGIHandler`'s: no origin server.
    pub const BASE_CGI: Attributes<'static> = Attributes { origin_server: false, ..Attributes::SIMPLE };
    /// `CGIHandler`'s: one request, whose environment is the process's.
    pub const CGI: Attributes<'static> = Attributes {
        wsgi_multithread: false,
        wsgi_run_once: true,
        os_environ: OsEnviron::Empty,
        ..Attributes::BASE_CGI
    };
    /// `IISCGIHandler`'s: the same, with the IIS rule.
    pub const IIS_CGI: Attributes<'static> = Attributes { repair_iis: true, ..Attributes::CGI };
}
