//! nginx before FastCGI, SCGI and HTTP gateways.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::client::Request;
use super::harness::{Folder, Process, answers, free_port, installed, is_root, program, wait_until};
use super::site::{MOUNT, Site, recipe};

/// What nginx and the gateway speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    FastCgi,
    Scgi,
    Http,
}

impl Protocol {
    /// As the workbench has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Protocol::FastCgi => "fcgi",
            Protocol::Scgi => "scgi",
            Protocol::Http => "http",
        }
    }
}

/// Over what they speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Unix,
    Tcp,
}

/// A connection's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) protocol: Protocol,
    pub(crate) over: Over,
    /// Whether nginx keeps connections for the next request.
    pub(crate) kept: bool,
}

impl Link {
    pub(crate) const fn new(protocol: Protocol, over: Over) -> Self {
        Self { protocol, over, kept: false }
    }

    /// The same, with connections kept.
    pub(crate) const fn kept(self) -> Self {
        Self { kept: true, ..self }
    }
}

/// An address for a gateway to listen on.
#[derive(Clone, Debug)]
pub(crate) enum Socket {
    Unix(PathBuf),
    Tcp(u16),
}

impl Socket {
    pub(crate) fn new(folder: &Folder, over: Over) -> Self {
        match over {
            Over::Unix => Socket::Unix(folder.path("app.sock")),
            Over::Tcp => Socket::Tcp(free_port()),
        }
    }

    /// As the gateways and nginx write it.
    pub(crate) fn address(&self) -> String {
        match self {
            Socket::Unix(path) => format!("unix:{}", path.display()),
            Socket::Tcp(port) => format!("127.0.0.1:{port}"),
        }
    }

    pub(crate) fn is_served(&self) -> bool {
        match self {
            Socket::Unix(path) => UnixStream::connect(path).is_ok(),
            Socket::Tcp(port) => answers(*port),
        }
    }
}

/// What stands in the location for the application when the administrator has thought about it.
pub(crate) fn careful_location(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::FastCgi => {
            "location /app {\n include /etc/nginx/fastcgi_params;\n fastcgi_split_path_info ^(/app)(/.*|)$;\n \
             fastcgi_param PATH_INFO $fastcgi_path_info;\n @pass;\n}\n"
        }
        Protocol::Scgi => {
            "location ~ ^/app(?<rest>/.*|)$ {\n include /etc/nginx/scgi_params;\n scgi_param SCRIPT_NAME /app;\n \
             scgi_param PATH_INFO $rest;\n @pass;\n}\n"
        }
        Protocol::Http => {
            "location /app {\n proxy_set_header Host $host;\n proxy_set_header X-Forwarded-For $remote_addr;\n \
             proxy_set_header X-Forwarded-Proto $scheme;\n @pass;\n}\n"
        }
    }
}

/// Starts `workbench` and nginx before it, with a location in which `@pass` stands for the hand-over.
pub(crate) fn start(link: Link, location: &str) -> Site {
    start_before(link, location, |folder, socket| start_workbench(folder, socket, link.protocol))
}

/// Starts any gateway and nginx before it.
pub(crate) fn start_before(
    link: Link,
    location: &str,
    gateway: impl FnOnce(&Folder, &Socket) -> Process,
) -> Site {
    let nginx = installed("nginx");
    let folder = Folder::new();
    let socket = Socket::new(&folder, link.over);
    let mut gateway = gateway(&folder, &socket);
    gateway.ready_when(|| socket.is_served());
    let port = free_port();
    let config = folder.write("nginx.conf", config(&folder, port, link, &socket, location));
    let mut server = Process::start(&folder, "nginx", &nginx, |command| {
        command.arg("-p").arg(folder.root()).arg("-c").arg(&config).args(["-e", "stderr"]);
    });
    server.ready_when(|| answers(port));
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

/// Starts `workbench` as an HTTP server, and nothing before it.
pub(crate) fn start_alone() -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Tcp);
    let mut server = start_workbench(&folder, &socket, Protocol::Http);
    server.ready_when(|| socket.is_served());
    let Socket::Tcp(port) = socket else { unreachable!("it was made for TCP") };
    Site { port, server, gateway: None, folder }
}

fn start_workbench(folder: &Folder, socket: &Socket, protocol: Protocol) -> Process {
    Process::start(folder, "gateway", &program("workbench"), |command| {
        command.arg(protocol.word()).arg(socket.address());
        if protocol == Protocol::Http {
            command.env("WORKBENCH_SCRIPT_NAME", MOUNT);
        }
        if is_root() {
            command.env("WORKBENCH_SOCKET_GROUP", "www-data");
        }
    })
}

fn config(folder: &Folder, port: u16, link: Link, socket: &Socket, location: &str) -> String {
    let (mut pass, kept) = match link.protocol {
        Protocol::FastCgi => ("fastcgi_pass gateway".to_owned(), "fastcgi_keep_conn on"),
        Protocol::Scgi => ("scgi_pass gateway".to_owned(), ""),
        Protocol::Http => (
            "proxy_pass http://gateway".to_owned(),
            "proxy_http_version 1.1; proxy_set_header Connection \"\"",
        ),
    };
    let mut keep = "";
    if link.kept {
        pass += &format!("; {kept}");
        keep = " keepalive 8;";
    }
    let mut text = String::from("daemon off;\nworker_processes 1;\n");
    if is_root() {
        text += "user www-data;\n";
    }
    let root = folder.root().display();
    text += &format!(
        "pid {root}/nginx.pid;\nerror_log stderr info;\nevents {{ worker_connections 1024; }}\nhttp {{\n\
         access_log off;\nclient_max_body_size 64m;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"] {
        text += &format!("{kind}_temp_path {root}/{kind};\n");
    }
    let upstream = socket.address();
    text += &format!(
        "upstream gateway {{ server {upstream};{keep} }}\nserver {{\nlisten 127.0.0.1:{port};\n\
         server_name localhost;\n{location}}}\n}}\n",
        location = location.replace("@pass", &pass),
    );
    text
}

/// What the stock parameter files alone make of a path: nginx does not know where an application is mounted.
#[test]
fn stock_parameters_do_not_tell_the_mount() {
    let fcgi = start(
        Link::new(Protocol::FastCgi, Over::Unix),
        "location /app {\n include /etc/nginx/fastcgi_params;\n @pass;\n}\n",
    );
    let environ = fcgi.environment(&fcgi.request("GET", "/x%20y?q"));
    environ.expect("SCRIPT_NAME", "/app/x y");
    assert_eq!(environ.get("PATH_INFO"), None);
    environ.expect("DOCUMENT_URI", "/app/x y");
    environ.expect("REQUEST_URI", "/app/x%20y?q");

    let scgi = start(
        Link::new(Protocol::Scgi, Over::Unix),
        "location /app {\n include /etc/nginx/scgi_params;\n @pass;\n}\n",
    );
    let environ = scgi.environment(&scgi.request("GET", "/x%20y?q"));
    for absent in ["SCRIPT_NAME", "PATH_INFO", "GATEWAY_INTERFACE"] {
        assert_eq!(environ.get(absent), None, "{absent}");
    }
    environ.expect("DOCUMENT_URI", "/app/x y");
    environ.expect("REQUEST_URI", "/app/x%20y?q");
}

/// That a kept connection is really used again, and after failures of all kinds too.
#[test]
fn nginx_uses_a_kept_connection_again() {
    let link = Link::new(Protocol::FastCgi, Over::Unix).kept();
    let location = careful_location(link.protocol).replace("@pass", "error_log stderr debug;\n @pass");
    let site = start(link, &location);
    let reused = || site.log().matches("get keepalive peer: using connection").count();
    for (number, below) in ["/env", "/headers", "/fail-before", "/panic-before", "/big?bytes=200000", "/env"]
        .into_iter()
        .enumerate()
    {
        let status = if below.contains("before") { 500 } else { 200 };
        site.get(below).expect(status);
        wait_until(&format!("the log shows {number} uses"), || reused() >= number);
    }
    let answer = site.request("POST", "/env").body(&[b'x'; 100_000]).send(site.port).expect(200);
    assert!(!answer.body.is_empty());
    wait_until("an answer that left its body unread was on that connection", || reused() == 6);
    site.get("/env").expect(200);
    wait_until("and one more after it", || reused() == 7);
}

/// The recipes of README.md, with the gateways that they are for.
#[test]
fn the_recipes_of_the_readme_serve_the_demo() {
    for (protocol, gateway, name, flags) in [
        (Protocol::FastCgi, "fcgi-gateway", "nginx-fastcgi", &[][..]),
        (Protocol::Scgi, "scgi-gateway", "nginx-scgi", &[]),
        (Protocol::FastCgi, "fcgi-gateway", "nginx-fastcgi-stock", &["--script-name", "/demo"]),
        (Protocol::Scgi, "scgi-gateway", "nginx-scgi-stock", &["--script-name", "/demo"]),
        (
            Protocol::Http,
            "http-gateway",
            "nginx-http",
            &["--script-name", "/demo", "--trusted-proxy", "unix"],
        ),
    ] {
        let pass = match protocol {
            Protocol::FastCgi => "fastcgi_pass ",
            Protocol::Scgi => "scgi_pass ",
            Protocol::Http => "proxy_pass http://",
        };
        let location = recipe(name).replace(&format!("{pass}unix:/run/gatewright.sock"), "@pass");
        assert!(location.contains("@pass;"), "{location}");
        let site = start_before(Link::new(protocol, Over::Unix), &location, |folder, socket| {
            Process::start(folder, "gateway", &program(gateway), |command| {
                command.args(["--socket", &socket.address()]).args(flags);
                if is_root() {
                    command.args(["--socket-group", "www-data"]);
                }
                command.arg("demo");
            })
        });
        if !flags.is_empty() {
            assert_eq!(Request::new("GET", "/demonstration").send(site.port).status, 404);
        }
        for (target, path_info) in [("/demo", ""), ("/demo/", "/"), ("/demo/caf%C3%A9?q", "/caf\u{c3}\u{a9}")]
        {
            let answer = Request::new("GET", target).send(site.port).expect(200);
            let text = String::from_utf8(answer.body).expect("a text of UTF-8");
            let path_info = format!("PATH_INFO = '{path_info}'");
            for line in ["Hello world!", "SCRIPT_NAME = '/demo'", &path_info, "REMOTE_ADDR = '127.0.0.1'"] {
                assert!(text.lines().any(|given| given == line), "{target}: {line} is missing in:\n{text}");
            }
        }
    }
}
