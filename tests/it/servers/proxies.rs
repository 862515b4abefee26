//! Apache before gateways that it connects to (`mod_proxy_fcgi`, `mod_proxy_scgi`) or starts (`mod_fcgid`).

use nix::sys::signal::Signal;

use super::apache::{self, serve};
use super::client::Request;
use super::environment::Environment;
use super::harness::{Folder, Process, is_root, processes, program, wait_until};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{MOUNT, Site, assert_demo_shows, assert_serves_the_demo, named, recipe};

/// The flags of a gateway behind it.
const FLAGS: [&str; 2] = ["--front", "apache"];

/// Apache trusts nobody with the length of an answer, unless it is told to.
const TRUST: &str = "SetEnv ap_trust_cgilike_cl 1\n";

/// Starts the workbench, and Apache with a proxy before it.
pub(crate) fn start(link: Link) -> Site {
    let reuse = if link.kept { " enablereuse=on" } else { "" };
    site(link, &FLAGS, |target| format!("{TRUST}ProxyPass {MOUNT} {target}/{reuse}\n"))
}

/// Starts the workbench with these flags, and Apache with directives for the proxy's target.
fn site(link: Link, flags: &[&str], directives: impl FnOnce(&str) -> String) -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, link.over);
    let mut gateway = start_workbench(&folder, &socket, link.protocol, flags);
    gateway.ready_when(|| socket.is_served());
    let directives = directives(&target(&socket, link.protocol));
    let module = format!("proxy_{}", link.protocol.name());
    let (port, server) = serve(&folder, &["mpm_event", "setenvif", "proxy", &module], &directives);
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

/// Where the gateway is, as Apache has it.
fn target(socket: &Socket, protocol: Protocol) -> String {
    let scheme = protocol.name();
    match socket {
        Socket::Unix(path) => format!("unix:{}|{scheme}://localhost", path.display()),
        Socket::Tcp(port) => format!("{scheme}://127.0.0.1:{port}"),
    }
}

/// Starts Apache, which starts the workbench.
pub(crate) fn start_fcgid() -> Site {
    let folder = Folder::new();
    folder.mkdir("cgi-bin");
    let script = folder.install(&program("workbench"), "cgi-bin/app").display().to_string();
    let directives = format!(
        "{TRUST}ScriptAlias {MOUNT} {script}\n<Location {MOUNT}>\nSetHandler fcgid-script\n\
         FcgidWrapper \"{script} {} {}\"\n</Location>\n",
        Protocol::FastCgi.name(),
        FLAGS.join(" "),
    );
    let (port, server) = serve_fcgid(&folder, &directives);
    Site { port, server, gateway: None, folder }
}

fn serve_fcgid(folder: &Folder, directives: &str) -> (u16, Process) {
    let root = folder.mkdir_for_all("fcgid").display().to_string();
    let directives = format!(
        "FcgidIPCDir {root}\nFcgidProcessTableFile {root}/table\nFcgidMaxRequestLen 67108864\n{directives}"
    );
    serve(folder, &["mpm_event", "fcgid"], &directives)
}

/// What Apache's proxies tell besides what all do.
pub(crate) fn own_variables(site: &Site, link: Link) -> Vec<(&'static str, String)> {
    let mut own = apache::common_variables();
    own.extend(named([
        // Not decoded, and no file's name: Apache knows of none.
        ("SCRIPT_FILENAME", "//env/x"),
        ("CONTEXT_PREFIX", ""),
        ("CONTEXT_DOCUMENT_ROOT", &format!("{}/docroot", site.folder.root().display())),
    ]));
    if link.protocol == Protocol::FastCgi {
        own.extend(named([("GATEWAY_INTERFACE", "CGI/1.1")]));
    }
    own
}

const FCGI: Link = Link::new(Protocol::FastCgi, Over::Tcp);

/// Apache's SCRIPT_FILENAME begins with where the gateway is, in all three forms, and is no file's name by it.
#[test]
fn the_target_goes_from_script_filename() {
    let unix = Link::new(Protocol::FastCgi, Over::Unix);
    for (link, flags, prefix) in [
        (FCGI, &[][..], None),
        (unix, &[], None),
        (Link::new(Protocol::Scgi, Over::Tcp), &[], None),
        (FCGI, &["--front", "none"], Some("proxy:fcgi://127.0.0.1:")),
        (unix, &["--front", "none"], Some("proxy:fcgi://localhost/")),
    ] {
        let site = site(link, flags, |target| format!("ProxyPass /app {target}/srv/x.cgi\n"));
        let environ = site.environment(&site.request("GET", "/y"));
        let file = String::from_utf8_lossy(environ.get("SCRIPT_FILENAME").expect("it is sent")).into_owned();
        match prefix {
            None => assert_eq!(file, "/srv/x.cgi/y", "{link:?}"),
            Some(prefix) => assert!(file.starts_with(prefix) && file.ends_with("/srv/x.cgi/y"), "{file}"),
        }
    }
}

/// A handler for a place without files: what Apache did not find is PATH_INFO.
#[test]
fn a_handler_says_the_mount() {
    let site = site(FCGI, &[], |target| format!("<Location /app>\nSetHandler proxy:{target}\n</Location>\n"));
    let environ = site.environment(&site.request("GET", "/caf%C3%A9/x%20y"));
    environ.expect("SCRIPT_NAME", "/app");
    environ.expect("PATH_INFO", "/caf\u{e9}/x y");
    environ.expect("SCRIPT_FILENAME", format!("{}/docroot/app", site.folder.root().display()));
}

/// `proxy-fcgi-pathinfo` parts the path, but may leave it encoded, with two slashes, or unsaid where it is encoded.
#[test]
fn path_info_is_decoded_and_begins_with_one_slash() {
    const WHOLE: &str = "/app/x.cgi/caf\u{e9}/ y";
    for (how, flags, path_info) in [
        ("first-dot", &[][..], Some("/caf\u{e9}/ y")),
        ("last-dot", &FLAGS, Some("/caf\u{e9}/ y")),
        ("unescape", &[], Some("/x.cgi/caf\u{e9}/ y")),
        ("full", &[], None),
        ("full", &FLAGS, Some("/x.cgi/caf\u{e9}/ y")),
    ] {
        let site = site(FCGI, flags, |target| {
            format!("ProxyPass /app {target}/\nSetEnvIf Request_URI . proxy-fcgi-pathinfo={how}\n")
        });
        let environ = site.environment(&site.request("GET", "/x.cgi/caf%C3%A9/%20y"));
        let path = environ.get("PATH_INFO").map(|path| String::from_utf8_lossy(path).into_owned());
        assert_eq!(path.as_deref(), path_info, "{how} {flags:?}");
        let script_name = WHOLE.strip_suffix(path_info.unwrap_or_default()).expect("the end of the path");
        environ.expect("SCRIPT_NAME", script_name);
    }
}

/// As of programs, Apache believes no length of an answer without `ap_trust_cgilike_cl`.
#[test]
fn lengths_are_passed_on_when_apache_is_told_to() {
    for (link, trust, length) in [
        (FCGI, TRUST, Some("100000")),
        (FCGI, "", None),
        (Link::new(Protocol::Scgi, Over::Tcp), TRUST, Some("100000")),
        (Link::new(Protocol::Scgi, Over::Tcp), "", None),
    ] {
        let site = site(link, &FLAGS, |target| format!("ProxyPass /app {target}/\n{trust}"));
        let head = site.request("HEAD", "/big?bytes=100000").send(site.port).expect(200);
        assert_eq!(head.header("content-length"), length, "{link:?} {trust}");
    }
}

/// Credentials reach a gateway with `CGIPassAuth On` only.
#[test]
fn credentials_are_passed_on_when_apache_is_told_to() {
    for (directive, expected) in
        [("", None), ("<Location /app>\nCGIPassAuth On\n</Location>\n", Some("Basic eDp5"))]
    {
        for protocol in [Protocol::FastCgi, Protocol::Scgi] {
            let link = Link::new(protocol, Over::Tcp);
            let site = site(link, &FLAGS, |target| format!("ProxyPass /app {target}/\n{directive}"));
            let environ =
                site.environment(&site.request("GET", "/env").header("Authorization", "Basic eDp5"));
            assert_eq!(
                environ.get("HTTP_AUTHORIZATION"),
                expected.map(str::as_bytes),
                "{link:?} {directive}"
            );
        }
    }
}

/// An application as error page: the request that failed is told in REDIRECT_ variables, who made it too.
#[test]
fn redirected_requests_tell_who_asked() {
    for (flags, user) in [(&["--front", "apache"], Some("anna")), (&["--front", "auto"], None)] {
        let folder = Folder::new();
        // The password is "secret".
        let users = folder.write("users", "anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
        let socket = Socket::new(&folder, Over::Tcp);
        let mut gateway = start_workbench(&folder, &socket, Protocol::FastCgi, flags);
        gateway.ready_when(|| socket.is_served());
        let directives = format!(
            "ProxyPass /app {}/\nErrorDocument 404 /app/env\n<Location /secret>\nAuthType Basic\nAuthName x\n\
             AuthUserFile {}\nRequire valid-user\n</Location>\n",
            target(&socket, Protocol::FastCgi),
            users.display(),
        );
        let modules =
            ["mpm_event", "proxy", "proxy_fcgi", "auth_basic", "authn_core", "authn_file", "authz_user"];
        let (port, _server) = serve(&folder, &modules, &directives);
        let request = Request::new("GET", "/secret/x?q").header("Authorization", "Basic YW5uYTpzZWNyZXQ=");
        // The status is the error page's own.
        let environ = Environment::parse(&request.send(port).expect(200).body);
        for (name, value) in [
            ("REDIRECT_REMOTE_USER", Some("anna")),
            ("REMOTE_USER", user),
            ("REDIRECT_URL", Some("/secret/x")),
            ("REDIRECT_QUERY_STRING", Some("q")),
            ("REDIRECT_STATUS", Some("404")),
            ("REQUEST_URI", Some("/secret/x?q")),
            ("QUERY_STRING", Some("")),
        ] {
            assert_eq!(environ.get(name), value.map(str::as_bytes), "{name} {flags:?}");
        }
    }
}

#[test]
fn apache_uses_a_kept_connection_again() {
    for over in [Over::Unix, Over::Tcp] {
        let site = site(Link::new(Protocol::FastCgi, over), &FLAGS, |target| {
            // One thread, so that there is one connection.
            format!(
                "LogLevel proxy:trace2\nServerLimit 1\nStartServers 1\nThreadsPerChild 1\nMaxRequestWorkers 1\n\
                 ProxyPass /app {target}/ enablereuse=on\n"
            )
        });
        for below in ["/env", "/headers", "/fail-before", "/panic-before", "/big?bytes=200000", "/env"] {
            let status = if below.contains("before") { 500 } else { 200 };
            site.get(below).expect(status);
        }
        wait_until("five requests were on the first one's connection", || {
            site.log().matches("FCGI: reusing backend connection").count() == 5
        });
    }
}

/// Apache ends what it has started, and nothing stays behind.
#[test]
fn gateways_that_apache_starts_end_cleanly_with_it() {
    let mut site = start_fcgid();
    let program = site.folder.path("cgi-bin/app");
    site.get("/env").expect(200);
    assert!(!processes(&program).is_empty());
    site.server.signal(Signal::SIGTERM);
    assert_eq!(site.server.wait().code(), Some(0));
    wait_until("it has ended too", || processes(&program).is_empty());
    let log = site.log();
    assert!(log.contains("terminated by calling exit(), return code: 0"), "{log}");
}

/// The recipes of README.md for FastCGI and SCGI over TCP and unix sockets, and for a gateway that Apache starts.
#[test]
fn the_recipes_of_the_readme_serve_the_demo() {
    for (name, protocol, over) in [
        ("apache-fastcgi", Protocol::FastCgi, Over::Tcp),
        ("apache-fastcgi-unix", Protocol::FastCgi, Over::Unix),
        ("apache-scgi", Protocol::Scgi, Over::Tcp),
    ] {
        let folder = Folder::new();
        let socket = Socket::new(&folder, over);
        let gateway = format!("{}-gateway", protocol.name());
        let mut process = Process::start(&folder, "gateway", &program(&gateway), |command| {
            command.args(FLAGS).args(["--socket", &socket.address()]);
            if is_root() {
                command.args(["--socket-group", "www-data"]);
            }
            command.arg("demo");
        });
        process.ready_when(|| socket.is_served());
        let (text, address) = (recipe(name), socket.address());
        let place = if over == Over::Unix { "unix:/run/gatewright.sock" } else { "127.0.0.1:9000" };
        let directives = text.replace(place, &address);
        assert_ne!(directives, text);
        let module = format!("proxy_{}", protocol.name());
        let (port, _server) = serve(&folder, &["mpm_event", "proxy", &module], &directives);
        assert_serves_the_demo(port);
        assert_demo_shows(port, "/demo/%2541", "/%41");
        let text =
            String::from_utf8(Request::new("GET", "/demo").send(port).expect(200).body).expect("UTF-8");
        for line in ["SCRIPT_NAME = '/demo'", "SCRIPT_FILENAME = '/'"] {
            assert!(text.lines().any(|given| given == line), "{line} is missing in:\n{text}");
        }
    }
    let folder = Folder::new();
    let installed = folder.install(&program("fcgi-gateway"), "fcgi-gateway").display().to_string();
    let text = recipe("apache-fcgid");
    let directives = text.replace("/usr/local/bin/fcgi-gateway", &installed);
    assert_ne!(directives, text);
    let (port, _server) = serve_fcgid(&folder, &directives);
    assert_serves_the_demo(port);
}
