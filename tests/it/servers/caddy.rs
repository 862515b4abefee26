//! Caddy before FastCGI gateways.

use super::harness::{Folder, Process, answers, free_port, installed, program};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{Site, assert_serves_the_demo, named, recipe};

/// The flags of a gateway behind it: it cannot say where an application is mounted.
const FLAGS: [&str; 4] = ["--front", "caddy", "--script-name", "/app"];

/// Starts the workbench, and Caddy before it.
pub(crate) fn start(link: Link) -> Site {
    assert_eq!(link.protocol, Protocol::FastCgi, "Caddy speaks no SCGI");
    site(link, &FLAGS, "@app path /app /app/*\nreverse_proxy @app @gateway {\ntransport fastcgi\n}\n")
}

/// Starts the workbench with these flags, and Caddy with directives in which `@gateway` stands for the address.
fn site(link: Link, flags: &[&str], directives: &str) -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, link.over);
    let mut gateway = start_workbench(&folder, &socket, link.protocol, flags);
    gateway.ready_when(|| socket.is_served());
    let upstream = match &socket {
        Socket::Unix(path) => format!("unix/{}", path.display()),
        Socket::Tcp(port) => format!("127.0.0.1:{port}"),
    };
    let (port, server) = serve(&folder, &directives.replace("@gateway", &upstream));
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

/// Starts Caddy with these directives for its one site.
fn serve(folder: &Folder, directives: &str) -> (u16, Process) {
    let caddy = installed("caddy");
    let port = free_port();
    let config = format!(
        "{{\nadmin off\nauto_https off\n}}\nhttp://:{port} {{\nbind 127.0.0.1\nroot * {}\n{directives}\n}}\n",
        folder.mkdir("docroot").display(),
    );
    let config = folder.write("Caddyfile", config);
    let mut server = Process::start(folder, "caddy", &caddy, |command| {
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&config);
        // What it writes, it writes there.
        command.env("HOME", folder.root());
    });
    server.ready_when(|| answers(port));
    (port, server)
}

/// What Caddy tells besides what all do.
pub(crate) fn own_variables(site: &Site) -> Vec<(&'static str, String)> {
    let docroot = site.folder.path("docroot").display().to_string();
    named([
        ("REQUEST_SCHEME", "http"),
        // Taken from Host, which names none here.
        ("DOCUMENT_ROOT", "*"),
        ("SERVER_PORT", "80"),
        ("SERVER_SOFTWARE", "*"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("DOCUMENT_URI", "/app/env/x"),
        // The root itself, since Caddy was told of no script.
        ("SCRIPT_FILENAME", &docroot),
        ("PATH_TRANSLATED", &format!("{docroot}/app/env/x")),
        ("REMOTE_HOST", "127.0.0.1"),
        // Of the proxy that its transport belongs to.
        ("HTTP_USER_AGENT", ""),
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
        ("HTTP_X_FORWARDED_HOST", "localhost"),
        ("HTTP_X_FORWARDED_PROTO", "http"),
    ])
}

const UNIX: Link = Link::new(Protocol::FastCgi, Over::Unix);

/// Caddy's PATH_INFO is the whole path; `split` is made for files, and happens to part a mount off.
#[test]
fn what_caddy_says_of_a_path() {
    for (flags, split, script_name, path_info) in [
        (&[][..], "", "", "/app/caf\u{e9}/x y"),
        (&FLAGS, "", "/app", "/caf\u{e9}/x y"),
        (&[], "split /app", "/app", "/caf\u{e9}/x y"),
        (&FLAGS, "split /app", "/app", "/caf\u{e9}/x y"),
    ] {
        let transport = format!("reverse_proxy @gateway {{\ntransport fastcgi {{\n{split}\n}}\n}}");
        let site = site(UNIX, flags, &transport);
        let environ = site.environment(&site.request("GET", "/caf%C3%A9/x%20y"));
        environ.expect("SCRIPT_NAME", script_name);
        environ.expect("PATH_INFO", path_info);
        let uri = if flags.is_empty() && split.is_empty() { "" } else { "/app" };
        let document_uri = if flags.is_empty() { uri.to_owned() } else { format!("/app{path_info}") };
        environ.expect("DOCUMENT_URI", document_uri);
    }
}

/// `handle_path` takes the mount off what Caddy says of the path, but for REQUEST_URI.
#[test]
fn the_mount_is_found_where_caddy_has_taken_it_off() {
    let site = site(UNIX, &FLAGS, "handle_path /app/* {\nreverse_proxy @gateway {\ntransport fastcgi\n}\n}");
    let environ = site.environment(&site.request("GET", "/app/x%20y"));
    environ.expect("SCRIPT_NAME", "/app");
    environ.expect("PATH_INFO", "/app/x y");
}

/// Caddy 2.6 says CONTENT_LENGTH=-1 of a chunked body.
#[test]
fn a_chunked_body_has_no_length() {
    let site = start(UNIX);
    let environ = site.environment(&site.request("POST", "/env").chunked([&b"four"[..]]));
    assert_eq!(environ.get("CONTENT_LENGTH"), None);
}

/// The recipe of README.md.
#[test]
fn the_recipe_of_the_readme_serves_the_demo() {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Unix);
    let mut gateway = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        let flags = ["--front", "caddy", "--script-name", "/demo", "--socket", &socket.address(), "demo"];
        command.args(flags);
    });
    gateway.ready_when(|| socket.is_served());
    let Socket::Unix(path) = &socket else { unreachable!() };
    let recipe = recipe("caddy-fastcgi");
    let directives = recipe.replace("/run/gatewright.sock", &path.display().to_string());
    assert_ne!(directives, recipe);
    let (port, _server) = serve(&folder, &directives);
    assert_serves_the_demo(port);
}
