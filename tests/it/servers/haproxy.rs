//! HAProxy before FastCGI gateways.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use super::client::Request;
use super::harness::{Folder, Process, answers, free_port, installed, program, wait_until};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{Site, assert_serves_the_demo, named, recipe};

/// The flags of a gateway behind it.
const FLAGS: [&str; 2] = ["--front", "haproxy"];

/// What the administrator tells HAProxy of the application.
const MOUNTED: &str = "path-info ^(/app)(/.*)?$\n";

/// Starts the workbench, and HAProxy before it.
pub(crate) fn start(link: Link) -> Site {
    assert_eq!(link.protocol, Protocol::FastCgi, "HAProxy speaks no SCGI");
    site(link, &FLAGS, MOUNTED)
}

/// Starts the workbench with these flags, and HAProxy with these lines about the application.
fn site(link: Link, flags: &[&str], app: &str) -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, link.over);
    let mut gateway = start_workbench(&folder, &socket, link.protocol, flags);
    gateway.ready_when(|| socket.is_served());
    let address = match &socket {
        Socket::Unix(path) => format!("unix@{}", path.display()),
        Socket::Tcp(port) => format!("127.0.0.1:{port}"),
    };
    let (port, server) = serve(&folder, &config(link, &address, app));
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

fn config(link: Link, address: &str, app: &str) -> String {
    let reuse = if link.kept { "always" } else { "never" };
    let mut connections = if link.kept { "option keep-conn\n" } else { "no option keep-conn\n" }.to_owned();
    if link.shared {
        connections += "option get-values\noption mpxs-conns\noption max-reqs 8\n";
    }
    format!(
        "backend gateway\nuse-fcgi-app app\nhttp-reuse {reuse}\nserver one {address} proto fcgi\n\
         fcgi-app app\nlog-stderr global\ndocroot /srv/www\n{connections}{app}"
    )
}

/// Starts HAProxy with everything given to the backend `gateway`.
fn serve(folder: &Folder, config: &str) -> (u16, Process) {
    let haproxy = installed("haproxy");
    let port = free_port();
    let config = format!(
        "global\nnbthread 1\nlog stderr local0\ndefaults\nmode http\ntimeout connect 5s\ntimeout client 60s\ntimeout server 60s\n\
         frontend client\nbind 127.0.0.1:{port}\ndefault_backend gateway\n{config}"
    );
    let config = folder.write("haproxy.conf", config);
    let mut server = Process::start(folder, "haproxy", &haproxy, |command| {
        command.arg("-db").arg("-f").arg(&config);
    });
    server.ready_when(|| answers(port));
    (port, server)
}

/// What HAProxy tells besides what all do.
pub(crate) fn own_variables(site: &Site) -> Vec<(&'static str, String)> {
    named([
        ("DOCUMENT_ROOT", "*"),
        ("SERVER_PORT", &site.port.to_string()),
        ("SERVER_SOFTWARE", "*"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SCRIPT_FILENAME", "/srv/www/app"),
        ("PATH_TRANSLATED", "/srv/www/env/x"),
    ])
}

const UNIX: Link = Link::new(Protocol::FastCgi, Over::Unix);

/// Without `path-info` SCRIPT_NAME is the whole path.
#[test]
fn the_mount_is_told_by_one_of_both() {
    for (flags, app, script_name, path_info) in [
        (&[][..], "", "/app/caf\u{e9}/x y", None),
        (&["--script-name", "/app"], "", "/app", Some("/caf\u{e9}/x y")),
        (&[], MOUNTED, "/app", Some("/caf\u{e9}/x y")),
    ] {
        let site = site(UNIX, flags, app);
        let environ = site.environment(&site.request("GET", "/caf%C3%A9/x%20y"));
        environ.expect("SCRIPT_NAME", script_name);
        assert_eq!(environ.get("PATH_INFO"), path_info.map(str::as_bytes), "{flags:?} {app}");
        environ.expect("QUERY_STRING", "");
    }
}

/// HAProxy checks no credentials, and yet names their user: what README.md's recipe does about it.
#[test]
fn who_the_client_says_it_is() {
    let trusted = format!("{MOUNTED}pass-header authorization\n");
    let doubted = format!("{MOUNTED}set-param REMOTE_USER %[str()]\n");
    for (app, user, credentials) in
        [(MOUNTED, Some("x"), None), (&trusted, Some("x"), Some("Basic eDp5")), (&doubted, None, None)]
    {
        let site = site(UNIX, &FLAGS, app);
        let environ = site.environment(&site.request("GET", "/env").header("Authorization", "Basic eDp5"));
        assert_eq!(environ.get("REMOTE_USER"), user.map(str::as_bytes), "{app}");
        assert_eq!(environ.get("HTTP_AUTHORIZATION"), credentials.map(str::as_bytes), "{app}");
    }
}

/// What came behind a body that HAProxy could hold has a length, and other bodies need one.
#[test]
fn small_chunked_bodies_have_a_length() {
    let site = start(UNIX);
    let answer = site.request("POST", "/echo").chunked([&b"four"[..], b"five"]).send(site.port).expect(200);
    assert_eq!(answer.body, b"fourfive");
    let environ = site.environment(&site.request("POST", "/env").chunked([&b"four"[..]]));
    environ.expect("CONTENT_LENGTH", "4");
}

/// A request that does not end, and others meanwhile, on one connection.
#[test]
fn haproxy_sends_several_requests_at_once_over_one_connection() {
    let site = start(UNIX.shared());
    let (gateway, _) = site.gateway.as_ref().expect("a gateway that listens");
    let before = sockets(gateway);
    let endless = TcpStream::connect((Ipv4Addr::LOCALHOST, site.port)).expect("HAProxy");
    (&endless).write_all(&site.request("GET", "/endless").bytes).expect("room in the socket");
    wait_until("it has begun", || site.log().contains("workbench: endless has begun"));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let site = &site;
            scope.spawn(move || {
                let environ = site.environment(&site.request("GET", format!("/env/{number}")));
                environ.expect("PATH_INFO", format!("/env/{number}"));
            });
        }
    });
    assert_eq!(sockets(gateway), before + 1);
    drop(endless);
    wait_until("its end is told", || site.log().contains("workbench: endless has ended"));
    site.get("/env").expect(200);
    assert_eq!(sockets(gateway), before + 1, "the connection outlives a request that was given up");
}

/// How many sockets a process has open.
fn sockets(process: &Process) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).expect("Linux").flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// The recipe of README.md.
#[test]
fn the_recipe_of_the_readme_serves_the_demo() {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Unix);
    let mut gateway = Process::start(&folder, "gateway", &program("fcgi-gateway"), |command| {
        command.args(["--front", "haproxy", "--socket", &socket.address(), "demo"]);
    });
    gateway.ready_when(|| socket.is_served());
    let Socket::Unix(path) = &socket else { unreachable!() };
    let recipe = recipe("haproxy-fastcgi");
    let config = recipe.replace("/run/gatewright.sock", &path.display().to_string());
    assert_ne!(config, recipe);
    let (port, _server) = serve(&folder, &config);
    assert_serves_the_demo(port);
    let request = Request::new("GET", "/demo").header("Authorization", "Basic eDp5");
    let text = String::from_utf8(request.send(port).expect(200).body).expect("a text of UTF-8");
    assert!(!text.contains("REMOTE_USER") && !text.contains("HTTP_AUTHORIZATION"), "{text}");
}
