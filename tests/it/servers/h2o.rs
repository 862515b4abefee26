//! h2o before FastCGI gateways.

use super::harness::{Folder, Process, answers, free_port, installed, is_root, program};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{Site, assert_serves_the_demo, named, recipe};

/// The flags of a gateway behind it: it does not say where an application is mounted.
const FLAGS: [&str; 2] = ["--script-name", "/app"];

/// Starts the workbench, and h2o before it.
pub(crate) fn start(link: Link) -> Site {
    assert_eq!(link.protocol, Protocol::FastCgi, "h2o speaks no SCGI");
    let folder = Folder::new();
    let socket = Socket::new(&folder, link.over);
    let mut gateway = start_workbench(&folder, &socket, link.protocol, &FLAGS);
    gateway.ready_when(|| socket.is_served());
    let place = match &socket {
        Socket::Unix(path) => format!("{{ type: unix, port: {} }}", path.display()),
        Socket::Tcp(port) => format!("{{ host: 127.0.0.1, port: {port} }}"),
    };
    let keep = if link.kept { "\n        fastcgi.timeout.keepalive: 60000" } else { "" };
    let paths = format!("      \"/app\":\n        fastcgi.connect: {place}{keep}\n");
    let (port, server) = serve(&folder, &format!("    paths:\n{paths}"));
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

/// Starts h2o with this configuration of a host.
fn serve(folder: &Folder, host: &str) -> (u16, Process) {
    let h2o = installed("h2o");
    let port = free_port();
    let user = if is_root() { "user: www-data\n" } else { "" };
    let config = format!(
        "{user}num-threads: 1\nlisten: {{ host: 127.0.0.1, port: {port} }}\nhosts:\n  localhost:\n{host}"
    );
    let config = folder.write("h2o.conf", config);
    let mut server = Process::start(folder, "h2o", &h2o, |command| {
        command.args(["-m", "worker", "-c"]).arg(&config);
    });
    server.ready_when(|| answers(port));
    (port, server)
}

/// What h2o tells besides what all do.
pub(crate) fn own_variables(site: &Site) -> Vec<(&'static str, String)> {
    named([
        ("SERVER_PORT", &site.port.to_string()),
        ("SERVER_SOFTWARE", "*"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("HTTP_CONNECTION", "close"),
    ])
}

/// The recipe of README.md.
#[test]
fn the_recipe_of_the_readme_serves_the_demo() {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Unix);
    let mut gateway = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--script-name", "/demo", "--socket", &socket.address()]);
        if is_root() {
            command.args(["--socket-group", "www-data"]);
        }
        command.arg("demo");
    });
    gateway.ready_when(|| socket.is_served());
    let Socket::Unix(path) = &socket else { unreachable!() };
    let recipe = recipe("h2o-fastcgi");
    let host = recipe.replace("/run/gatewright.sock", &path.display().to_string());
    assert_ne!(host, recipe);
    let (port, _server) = serve(&folder, &host);
    assert_serves_the_demo(port);
}
