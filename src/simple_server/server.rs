//! `WSGIServer`: a listening socket, and who answers.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use super::handler::{Connection, RequestHandler, WsgiRequestHandler};
use crate::app::Application;
use crate::environ::Vars;
use crate::error::BoxError;

/// A server of one request at a time.
pub struct WsgiServer<H = RequestHandler> {
    listener: TcpListener,
    address: SocketAddr,
    handler: H,
    base_environ: Vars,
    application: Option<Arc<dyn Application>>,
}

/// Binds a server with an application: `host` and `port` are where, and port 0 lets the system choose one.
///
/// ```
/// use gatewright::simple_server::{demo_app, make_server};
///
/// let server = make_server("127.0.0.1", 0, demo_app)?;
/// assert_ne!(server.server_port(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The host is no address or known name, or the port is taken.
pub fn make_server(host: &str, port: u16, app: impl Application + 'static) -> io::Result<WsgiServer> {
    let mut server = WsgiServer::bind(host, port, RequestHandler)?;
    server.set_app(app);
    Ok(server)
}

impl<H: WsgiRequestHandler> WsgiServer<H> {
    /// Binds a server, without an application yet. No host is every IPv4 address of this machine, as in wsgiref;
    /// SERVER_NAME is `localhost` then.
    ///
    /// # Errors
    /// The host is no address or known name, or the port is taken.
    pub fn bind(host: &str, port: u16, handler: H) -> io::Result<Self> {
        let cannot = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {host}:{port}: {error}"))
        };
        let (place, name) = if host.is_empty() { ("0.0.0.0", "localhost") } else { (host, host) };
        let addresses: Vec<SocketAddr> = (place, port).to_socket_addrs().map_err(cannot)?.collect();
        let listener = TcpListener::bind(addresses.as_slice()).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let port = address.port().to_string();
        let base_environ = Vars::from([
            ("SERVER_NAME", name),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_PORT", &port),
            ("REMOTE_HOST", ""),
            ("CONTENT_LENGTH", ""),
            ("SCRIPT_NAME", ""),
        ]);
        Ok(Self { listener, address, handler, base_environ, application: None })
    }

    /// Sets who answers.
    pub fn set_app(&mut self, app: impl Application + 'static) {
        self.application = Some(Arc::new(app));
    }

    /// Who answers.
    pub fn get_app(&self) -> Option<&Arc<dyn Application>> {
        self.application.as_ref()
    }

    /// The variables of every request.
    pub fn base_environ(&self) -> &Vars {
        &self.base_environ
    }

    /// The variables of every request, to change.
    pub fn base_environ_mut(&mut self) -> &mut Vars {
        &mut self.base_environ
    }

    /// Where it listens.
    pub fn server_address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn server_port(&self) -> u16 {
        self.address.port()
    }

    /// The listening socket.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Waits for one connection, and serves its request. What goes wrong with the connection is logged.
    ///
    /// # Errors
    /// No connection can be accepted, or no application was set.
    pub fn handle_request(&self) -> io::Result<()> {
        let Some(app) = &self.application else {
            return Err(io::Error::other("the server has no application: call set_app first"));
        };
        let (stream, client) = self.listener.accept()?;
        if let Err(error) = self.process(&stream, client, app.as_ref()) {
            self.handler.log_message(&client.ip().to_string(), &format!("connection closed: {error}"));
        }
        Ok(())
    }

    /// Serves connections one after the other, until accepting fails.
    ///
    /// # Errors
    /// See [`handle_request`](Self::handle_request). A connection that went away before it was accepted is none.
    pub fn serve_forever(&self) -> io::Result<Infallible> {
        loop {
            match self.handle_request() {
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
        }
    }

    fn process(&self, stream: &TcpStream, client: SocketAddr, app: &dyn Application) -> Result<(), BoxError> {
        self.handler.handle(&mut Connection {
            rfile: &mut BufReader::new(stream),
            wfile: &mut &*stream,
            client_address: client.ip(),
            base_environ: &self.base_environ,
            app,
        })?;
        Ok(stream.shutdown(std::net::Shutdown::Write)?)
    }
}

impl<H: fmt::Debug> fmt::Debug for WsgiServer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsgiServer")
            .field("address", &self.address)
            .field("handler", &self.handler)
            .finish_non_exhaustive()
    }
}
