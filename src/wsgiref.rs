//! wsgiref's documentation, name by name: where each lives here, and how it differs.
//!
//! The names are those of Python 3.15's page, methods and attributes that it only mentions included: each has a counterpart.
//! What all of them have in common is not repeated:
//!
//! - Text is bytes. PEP 3333's native strings hold one byte in each character; [`Vars`] and [`Headers`] hold the bytes.
//! - What Python leaves to documentation and checks when it runs is a type where that can be: an application that starts
//!   twice, writes before it starts, or returns no bytes does not compile ([`Responder`], [`Body`]).
//! - Errors are results. An exception of the application is an `Err` or a panic.
//! - The defaults are the safe policy's; [`Policy`] has one table of what it changes, and `Policy::Wsgiref` changes it back.
//!
//! # `wsgiref.util`
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.util.guess_scheme` | [`util::guess_scheme`] | |
//! | `wsgiref.util.request_uri` | [`util::request_uri`] | a missing variable is an error that names it |
//! | `wsgiref.util.application_uri` | [`util::application_uri`] | the same |
//! | `wsgiref.util.shift_path_info` | [`util::shift_path_info`] | a PATH_INFO without any `/` is a 400, where Python fails with an index error |
//! | `wsgiref.util.setup_testing_defaults` | [`util::setup_testing_defaults`] | streams and flags are there already: they are fields |
//! | `wsgiref.util.is_hop_by_hop` | [`util::is_hop_by_hop`] | |
//! | `wsgiref.util.FileWrapper` | [`util::FileWrapper`] | an iterator of results; [`Body::send_file`] makes one by itself |
//! | `wsgiref.util.FileWrapper.close` | dropping it | [`into_inner`](util::FileWrapper::into_inner) keeps the file open |
//!
//! # `wsgiref.headers`
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.headers.Headers` | [`Headers`] | holds its own list, where Python's changes the one that it was given |
//! | `wsgiref.headers.Headers.__getitem__` | [`Headers::get`] | |
//! | `wsgiref.headers.Headers.get` | [`Headers::get`] | the default is `unwrap_or`'s |
//! | `wsgiref.headers.Headers.__setitem__` | [`Headers::set`] | |
//! | `wsgiref.headers.Headers.setdefault` | [`Headers::set_default`] | |
//! | `wsgiref.headers.Headers.__delitem__` | [`Headers::remove`] | |
//! | `wsgiref.headers.Headers.__contains__` | [`Headers::contains`] | |
//! | `wsgiref.headers.Headers.keys` | [`Headers::keys`] | an iterator |
//! | `wsgiref.headers.Headers.values` | [`Headers::values`] | an iterator |
//! | `wsgiref.headers.Headers.items` | [`Headers::iter`] | an iterator |
//! | `wsgiref.headers.Headers.__len__` | [`Headers::len`] | |
//! | `wsgiref.headers.Headers.__bytes__` | [`Headers::to_bytes`] | [`write_to`](Headers::write_to) needs no new memory |
//! | `wsgiref.headers.Headers.get_all` | [`Headers::get_all`] | an iterator |
//! | `wsgiref.headers.Headers.add_header` | [`Headers::add_header`] | parameters in a list, in its order; [`add_header_with`](Headers::add_header_with) for those without a value |
//!
//! # `wsgiref.simple_server`
//!
//! Requests are read strictly under the safe policy: the [module](simple_server) has the table. For the web there is
//! `server`, which `http-gateway` runs.
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.simple_server.make_server` | [`simple_server::make_server`] | other handlers by [`WsgiServer::bind`] |
//! | `wsgiref.simple_server.demo_app` | [`simple_server::demo_app`] | leaves out streams, which have no text that would say something |
//! | `wsgiref.simple_server.WSGIServer` | [`WsgiServer`] | SERVER_NAME is the host that it was bound to, never looked up |
//! | `wsgiref.simple_server.WSGIServer.set_app` | [`WsgiServer::set_app`] | |
//! | `wsgiref.simple_server.WSGIServer.get_app` | [`WsgiServer::get_app`] | |
//! | `wsgiref.simple_server.WSGIServer.serve_forever` | [`WsgiServer::serve_forever`] | ends when no connection can be accepted any more |
//! | `wsgiref.simple_server.WSGIServer.handle_request` | [`WsgiServer::handle_request`] | |
//! | `wsgiref.simple_server.WSGIServer.server_close` | dropping it | |
//! | `wsgiref.simple_server.WSGIServer.base_environ` | [`WsgiServer::base_environ`] | [`base_environ_mut`](WsgiServer::base_environ_mut) to change it |
//! | `wsgiref.simple_server.WSGIRequestHandler` | [`WsgiRequestHandler`] | a trait: one handler serves all requests |
//! | `wsgiref.simple_server.WSGIRequestHandler.get_environ` | [`WsgiRequestHandler::get_environ`] | is given the request and the server's variables |
//! | `wsgiref.simple_server.WSGIRequestHandler.get_stderr` | [`WsgiRequestHandler::get_stderr`] | |
//! | `wsgiref.simple_server.WSGIRequestHandler.handle` | [`WsgiRequestHandler::handle`] | is given the connection, over any streams |
//!
//! # `wsgiref.validate`
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.validate.validator` | [`validate::validator`] | a broken rule is a [`Violation`](validate::Violation) that names the side which broke it; warnings go to the `log` crate; the [module](validate) lists all checks |
//!
//! # `wsgiref.handlers`
//!
//! Classes are traits with ready structs beside them, in one chain; [the module](handlers) says why and how.
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.handlers.CGIHandler` | [`CgiHandler`], [`Cgi`] | |
//! | `wsgiref.handlers.IISCGIHandler` | [`IisCgiHandler`], [`IisCgi`] | stands beneath CGIHandler, and supplies the same |
//! | `wsgiref.handlers.BaseCGIHandler` | [`BaseCgiHandler`], [`BaseCgi`] | nothing of the process's environment shines through |
//! | `wsgiref.handlers.SimpleHandler` | [`SimpleHandler`], [`Simple`] | the same |
//! | `wsgiref.handlers.SimpleHandler.stdin` | [`SimpleHandler::streams`] | lent for a run; [`into_streams`](handlers::Simple::into_streams) gives them back |
//! | `wsgiref.handlers.SimpleHandler.stdout` | [`SimpleHandler::streams`] | the same |
//! | `wsgiref.handlers.SimpleHandler.stderr` | [`SimpleHandler::streams`] | the same |
//! | `wsgiref.handlers.SimpleHandler.environ` | [`SimpleHandler::base_env`] | its name in Python, too: the page errs |
//! | `wsgiref.handlers.BaseHandler` | [`BaseHandler`], over [`Supply`] | can be run again after any outcome |
//! | `wsgiref.handlers.BaseHandler.run` | [`BaseHandler::run`] | gives an [`Outcome`](handlers::Outcome), where Python's raises or says nothing |
//! | `wsgiref.handlers.BaseHandler._write` | [`Output`](handlers::Output)'s `write` | |
//! | `wsgiref.handlers.BaseHandler._flush` | [`Output`](handlers::Output)'s `flush` | |
//! | `wsgiref.handlers.BaseHandler.get_stdin` | [`Streams`](handlers::Streams)`::stdin` | by [`Supply::lend`], all streams at once |
//! | `wsgiref.handlers.BaseHandler.get_stderr` | [`Streams`](handlers::Streams)`::stderr` | the same |
//! | `wsgiref.handlers.BaseHandler.add_cgi_vars` | [`Supply::add_cgi_vars`] | |
//! | `wsgiref.handlers.BaseHandler.environ` | [`Environ`] | made for a run, and given to each method that needs it |
//! | `wsgiref.handlers.BaseHandler.wsgi_multithread` | [`Attributes`](handlers::Attributes)`::wsgi_multithread` | attributes are one struct, made by [`BaseHandler::attributes`] |
//! | `wsgiref.handlers.BaseHandler.wsgi_multiprocess` | [`Attributes`](handlers::Attributes)`::wsgi_multiprocess` | |
//! | `wsgiref.handlers.BaseHandler.wsgi_run_once` | [`Attributes`](handlers::Attributes)`::wsgi_run_once` | |
//! | `wsgiref.handlers.BaseHandler.os_environ` | [`Attributes`](handlers::Attributes)`::os_environ` | empty under the safe policy |
//! | `wsgiref.handlers.BaseHandler.server_software` | [`Attributes`](handlers::Attributes)`::server_software` | |
//! | `wsgiref.handlers.BaseHandler.get_scheme` | [`BaseHandler::get_scheme`] | |
//! | `wsgiref.handlers.BaseHandler.setup_environ` | [`BaseHandler::setup_environ`] | |
//! | `wsgiref.handlers.BaseHandler.log_exception` | [`BaseHandler::log_exception`] | one line with the error and its causes; Rust's errors have no traceback |
//! | `wsgiref.handlers.BaseHandler.traceback_limit` | [`Attributes`](handlers::Attributes)`::traceback_limit` | counts causes |
//! | `wsgiref.handlers.BaseHandler.error_output` | [`BaseHandler::error_output`] | is given the error |
//! | `wsgiref.handlers.BaseHandler.error_status` | [`Attributes`](handlers::Attributes)`::error_status` | errors with a status of their own have a page of their own |
//! | `wsgiref.handlers.BaseHandler.error_headers` | [`Attributes`](handlers::Attributes)`::error_headers` | |
//! | `wsgiref.handlers.BaseHandler.error_body` | [`Attributes`](handlers::Attributes)`::error_body` | |
//! | `wsgiref.handlers.BaseHandler.wsgi_file_wrapper` | [`Attributes`](handlers::Attributes)`::wsgi_file_wrapper` | whether files are taken; their class is [`FileSource`](util::FileSource) always |
//! | `wsgiref.handlers.BaseHandler.sendfile` | [`BaseHandler::sendfile`] | also behind the validator; the HTTP server's has the system send files |
//! | `wsgiref.handlers.BaseHandler.origin_server` | [`Attributes`](handlers::Attributes)`::origin_server` | |
//! | `wsgiref.handlers.BaseHandler.http_version` | [`Attributes`](handlers::Attributes)`::http_version` | |
//! | `wsgiref.handlers.read_environ` | [`environ::read_environ`] | bytes on every system; a lone surrogate of Windows is `?`, where Python fails under IIS |
//!
//! # `wsgiref.types`
//!
//! Types for type checkers there, the types themselves here.
//!
//! | wsgiref | here | what is different |
//! |---|---|---|
//! | `wsgiref.types.StartResponse` | [`Responder`], over [`Respond`] | starting consumes it, and gives the [`Body`]; with an error in place of `exc_info` it is [`Body::restart`] |
//! | `wsgiref.types.WSGIEnvironment` | [`Environ`] | variables in [`Vars`], the `wsgi.*` values in [`Wsgi`](environ::Wsgi), streams as fields |
//! | `wsgiref.types.WSGIApplication` | [`Application`] | sends its body, where Python's returns it: [`send_chunks`](Body::send_chunks) takes an iterable |
//! | `wsgiref.types.InputStream` | [`Input`](environ::Input), a [`BufRead`](std::io::BufRead) | ends where the body ends |
//! | `wsgiref.types.ErrorStream` | [`Errors`](environ::Errors), a [`Write`](std::io::Write) | takes any bytes |
//! | `wsgiref.types.FileWrapper` | [`Body::send_wrapped_file`] | |
//!
//! # The page's examples
//!
//! | wsgiref | here |
//! |---|---|
//! | Hello World | [`app`], and the README's |
//! | a folder's files by `FileWrapper` | [`apps::Dir`], `http-gateway dir:PATH` |
//! | the environment by `setup_testing_defaults` | [`simple_server::demo_app`], and `util`'s own |
//! | an application that the validator refuses | [`validate`] |
//!
//! # Beside the page
//!
//! Names that it leaves out, and people use all the same.
//!
//! | wsgiref | here |
//! |---|---|
//! | `handlers.format_date_time` | [`util::format_date_time`] |
//! | `handlers.BaseHandler.start_response`, `write`, `send_headers`, `send_preamble`, `cleanup_headers`, `set_content_length`, `finish_content`, `client_is_modern`, `close` | [`BaseHandler`]'s methods |
//! | `handlers.BaseHandler.handle_error`, `finish_response`, `result_is_file`, `wsgi_version`, `headers_class`, `headers_sent`, `bytes_sent` | see [`handlers`] |
//! | `simple_server.ServerHandler`, `server_version`, `software_version`, `WSGIServer.setup_environ`, what comes from `http.server` | see [`simple_server`] |
//! | `validate.WSGIWarning` | `log::warn!` |

#[cfg(doc)]
use crate::{
    app::{self, Application, Body, Respond, Responder},
    apps,
    environ::{self, Environ, Vars},
    handlers::{
        self, BaseCgi, BaseCgiHandler, BaseHandler, Cgi, CgiHandler, IisCgi, IisCgiHandler, Policy, Simple,
        SimpleHandler, Supply,
    },
    headers::{self, Headers},
    simple_server::{self, WsgiRequestHandler, WsgiServer},
    util, validate,
};
