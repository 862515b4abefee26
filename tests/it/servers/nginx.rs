//! nginx before FastCGI, SCGI and HTTP gateways.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use super::alone;
use super::client::Request;
use super::harness::{Folder, Process, answers, free_port, installed, is_root, program, wait_until};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{Site, assert_demo_shows, named, recipe};

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
            "location /app {\n proxy_set_header Host $host;\n \
             proxy_set_header X-Forwarded-For $remote_addr:$remote_port;\n \
             proxy_set_header X-Forwarded-Proto $scheme;\n @pass;\n}\n"
        }
    }
}

/// Starts `workbench` and nginx before it, with a location in which `@pass` stands for the hand-over.
pub(crate) fn start(link: Link, location: &str) -> Site {
    start_before(link, location, |folder, socket| start_workbench(folder, socket, link.protocol, &[]))
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

fn config(folder: &Folder, port: u16, link: Link, socket: &Socket, location: &str) -> String {
    let (name, url, kept) = match link.protocol {
        Protocol::FastCgi => ("fastcgi", "", "fastcgi_keep_conn on"),
        Protocol::Scgi => ("scgi", "", ""),
        Protocol::Http => ("proxy", "http://", "proxy_http_version 1.1; proxy_set_header Connection \"\""),
    };
    let (mut pass, mut keep) = (format!("{name}_pass {url}gateway"), "");
    if link.kept {
        pass += &format!("; {kept}");
        keep = " keepalive 8;";
    }
    if link.streamed {
        pass += &format!("; {name}_buffering off");
        // Over SCGI that is broken: see below.
        if link.protocol != Protocol::Scgi {
            pass += &format!("; {name}_request_buffering off");
        }
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

/// What nginx's parameters have besides what all do.
pub(crate) fn own_variables(site: &Site, link: Link) -> Vec<(&'static str, String)> {
    if link.protocol == Protocol::Http {
        let mut own = alone::own_variables("80");
        own.extend(named([("HTTP_X_FORWARDED_FOR", "*"), ("HTTP_X_FORWARDED_PROTO", "http")]));
        if link.over == Over::Tcp {
            own.extend(named([("SERVER_ADDR", "127.0.0.1")]));
        }
        return own;
    }
    let mut own = named([
        ("REQUEST_SCHEME", "http"),
        ("DOCUMENT_ROOT", "*"),
        ("SERVER_PORT", &site.port.to_string()),
        ("DOCUMENT_URI", "/app/env/x"),
        ("HTTP_CONNECTION", "close"),
    ]);
    if link.protocol == Protocol::FastCgi {
        own.extend(named([
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "*"),
            ("SERVER_ADDR", "127.0.0.1"),
            ("REDIRECT_STATUS", "200"),
        ]));
    }
    own
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

/// Until 2026 nginx announces over SCGI what it has of a body, where it was told not to gather it: nothing that a gateway
/// could make good, and the README warns.
#[test]
fn scgi_without_request_buffering_announces_a_wrong_length() {
    let link = Link::new(Protocol::Scgi, Over::Unix);
    let location = careful_location(link.protocol).replace("@pass", "@pass; scgi_request_buffering off");
    let site = start(link, &location);
    let body = vec![b'x'; 1 << 20];
    let answer = site.request("POST", "/echo").body(&body).send(site.port).expect(200);
    assert!(answer.body.len() < body.len(), "this nginx does it right: mend the README");
    assert_eq!(answer.body, body[..answer.body.len()]);
    site.get("/env").expect(200);
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
            assert_demo_shows(site.port, target, path_info);
        }
    }
}

/// Behind nginx, too, a client that comes while every worker is held up hears that it may come again.
#[test]
fn a_client_is_turned_away_while_every_worker_is_held_up() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi, Protocol::Http] {
        let link = Link::new(protocol, Over::Unix).streamed();
        let site = start_before(link, careful_location(protocol), |folder, socket| {
            start_workbench(folder, socket, protocol, &["--workers", "1", "--worker-wait", "50ms"])
        });
        let mut reads_nothing = TcpStream::connect((Ipv4Addr::LOCALHOST, site.port)).expect("nginx");
        reads_nothing.write_all(&site.request("GET", "/endless").bytes).expect("room in the socket");
        wait_until("the worker is held up", || site.log().contains("endless has begun"));
        let answer = site.get("/env").expect(503);
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.body, b"503 Service Unavailable\n");
        drop(reads_nothing);
        wait_until("the worker is free", || site.log().contains("endless has ended"));
        site.get("/env").expect(200);
        assert!(site.log().contains("no worker was free for a request within 50ms"), "{}", site.log());
    }
}
