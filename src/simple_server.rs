//! `wsgiref.simple_server`: one request at a time, one request a connection. For development, for tests, and for
//! programs that were written for it.
//!
//! For everything else there is `server`: connections that stay open, many requests at once, deadlines, unix sockets.
//!
//! ```no_run
//! use gatewright::simple_server::{demo_app, make_server};
//!
//! let server = make_server("127.0.0.1", 8000, demo_app)?;
//! println!("Serving on http://{}", server.server_address());
//! server.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Names of wsgiref
//!
//! | wsgiref | here |
//! |---|---|
//! | `make_server(host, port, app, server_class, handler_class)` | [`make_server`]; with another handler [`WsgiServer::bind`] and [`set_app`](WsgiServer::set_app) |
//! | `demo_app` | [`demo_app`] |
//! | `WSGIServer`: `application`, `set_app`, `get_app`, `base_environ`, `server_address`, `server_port` | [`WsgiServer`] |
//! | `serve_forever`, `handle_request`, `server_close` | [`serve_forever`](WsgiServer::serve_forever), [`handle_request`](WsgiServer::handle_request); dropping it closes it |
//! | `setup_environ` | part of [`bind`](WsgiServer::bind); [`base_environ_mut`](WsgiServer::base_environ_mut) changes what it set |
//! | `WSGIRequestHandler`: `get_environ`, `get_stderr`, `handle`, `server_version`, `log_message` and its like | [`WsgiRequestHandler`], a trait with these methods; [`RequestHandler`] is ready to use |
//! | its attributes `command`, `path`, `request_version`, `headers`, `requestline`, `client_address` | [`SimpleRequest`] |
//! | `ServerHandler` | [`handlers::ServerHandler`](crate::handlers::ServerHandler) |
//! | `server_version`, `software_version` | [`SERVER_VERSION`], [`SERVER_SOFTWARE`](crate::handlers::SERVER_SOFTWARE) |
//!
//! # The two policies
//!
//! [`WsgiRequestHandler::attributes`] says which one holds. wsgiref's is what was recorded from CPython 3.15, to the
//! byte. Under the safe one, the default, besides [what it means for every handler](crate::handlers::Policy):
//!
//! | what | wsgiref | safe | why |
//! |---|---|---|---|
//! | requests | read as Python's `http.server` does: any white space between words, bare LF, HTTP/0.9, headers that end at the first bad line | as [`proto::http`](crate::proto::http) does | who is in front may read them differently |
//! | names with `_` and others | fall together: X_Real is X-Real | dropped | header spoofing |
//! | CONTENT_TYPE without a header | `text/plain` | absent | it was not sent |
//! | CONTENT_LENGTH without a header | empty | absent | the same |
//! | repeated headers | joined with `,` | joined with `, `, cookies with `; ` | a comma breaks cookies |
//! | chunked bodies | passed on as they are | decoded | applications cannot |
//! | `Expect: 100-continue` | no answer | answered before the application is called | clients wait for it |
//! | error pages | HTML, with the request line | one line of text | nothing of the client's is shown |
//!
//! Under both, SERVER_NAME is the host that the server was bound to (`localhost` without one), where wsgiref asks the name service, and times in the
//! log are UTC.

mod handler;
mod input;
mod page;
mod request;
mod server;

pub use crate::apps::demo_app;
pub use handler::{
    Connection, RequestHandler, SERVER_VERSION, WsgiRequestHandler, get_environ, handle, log_message,
    send_error,
};
pub use request::SimpleRequest;
pub use server::{WsgiServer, make_server};
