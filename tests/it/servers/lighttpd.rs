//! lighttpd before FastCGI and SCGI gateways, which it connects to or starts.

use nix::sys::signal::{Signal, kill};

use super::client::Request;
use super::harness::{
    Folder, Process, answers, free_port, installed, is_root, processes, program, wait_until,
};
use super::link::{Link, Over, Protocol, Socket, start_workbench};
use super::site::{MOUNT, Site, assert_serves_the_demo, named, recipe};

/// The flags of a gateway behind it.
const FLAGS: [&str; 2] = ["--front", "lighttpd"];

/// Starts `workbench`, or lets lighttpd start it, and lighttpd before it.
pub(crate) fn start(link: Link) -> Site {
    let folder = Folder::new();
    folder.mkdir_for_all("sockets");
    let socket = match link.over {
        Over::Unix => Socket::Unix(folder.path("sockets/app")),
        Over::Tcp => Socket::new(&folder, Over::Tcp),
    };
    let mut host = host(&socket);
    let gateway = if link.spawned {
        let program = folder.install(&program("workbench"), "workbench");
        let command = format!("{} {} {}", program.display(), link.protocol.name(), FLAGS.join(" "));
        // The second process's port would be the next one, which may be somebody else's.
        let processes = if link.over == Over::Unix { 2 } else { 1 };
        host += &format!(", \"bin-path\" => \"{command}\", \"max-procs\" => {processes}");
        None
    } else {
        let mut gateway = start_workbench(&folder, &socket, link.protocol, &FLAGS);
        gateway.ready_when(|| socket.is_served());
        Some((gateway, socket))
    };
    let mut directives = hand_over(link.protocol, MOUNT, &host);
    // Else bytes that are no UTF-8 are refused.
    directives += "server.http-parseopts = ( \"url-normalize\" => \"disable\" )\n";
    if link.streamed {
        directives += "server.stream-request-body = 2\nserver.stream-response-body = 2\n";
    }
    let (port, server) = serve(&folder, &directives);
    Site { port, server, gateway, folder }
}

/// That what is below `prefix` goes to this host.
fn hand_over(protocol: Protocol, prefix: &str, host: &str) -> String {
    let module = if protocol == Protocol::FastCgi { "fastcgi" } else { "scgi" };
    format!("server.modules += ( \"mod_{module}\" )\n{module}.server = ( \"{prefix}\" => (( {host} )) )\n")
}

/// Where the gateway is, as lighttpd has it.
fn host(socket: &Socket) -> String {
    let place = match socket {
        Socket::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        Socket::Tcp(port) => format!("\"host\" => \"127.0.0.1\", \"port\" => {port}"),
    };
    // Else it looks for a file first.
    format!("{place}, \"check-local\" => \"disable\"")
}

/// Starts lighttpd with these directives.
pub(crate) fn serve(folder: &Folder, directives: &str) -> (u16, Process) {
    let lighttpd = installed("lighttpd");
    folder.mkdir("docroot");
    folder.mkdir_for_all("uploads");
    let port = free_port();
    let root = folder.root().display();
    let mut config = format!(
        "server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.document-root = \"{root}/docroot\"\nserver.upload-dirs = ( \"{root}/uploads\" )\n{directives}",
    );
    if is_root() {
        config += "server.username = \"www-data\"\nserver.groupname = \"www-data\"\n";
    }
    let config = folder.write("lighttpd.conf", config);
    let mut server = Process::start(folder, "lighttpd", &lighttpd, |command| {
        command.arg("-D").arg("-f").arg(&config);
    });
    server.ready_when(|| answers(port));
    (port, server)
}

/// What lighttpd tells besides what all do.
pub(crate) fn own_variables(site: &Site) -> Vec<(&'static str, String)> {
    let root = site.folder.root().display();
    named([
        ("REQUEST_SCHEME", "http"),
        ("DOCUMENT_ROOT", "*"),
        ("SERVER_PORT", &site.port.to_string()),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "*"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("REDIRECT_STATUS", "200"),
        ("SCRIPT_FILENAME", &format!("{root}/docroot/app")),
        ("PATH_TRANSLATED", &format!("{root}/docroot/env/x")),
        ("HTTP_CONNECTION", "close"),
    ])
}

/// lighttpd ends what it has started, and nothing stays behind.
#[test]
fn gateways_that_lighttpd_starts_end_cleanly_with_it() {
    for protocol in [Protocol::FastCgi, Protocol::Scgi] {
        let mut site = start(Link::new(protocol, Over::Unix).spawned());
        let program = site.folder.path("workbench");
        wait_until("two gateways listen", || site.log().matches("listening on").count() == 2);
        assert_eq!(processes(&program).len(), 2);
        site.get("/env").expect(200);
        site.server.signal(Signal::SIGTERM);
        // Its own status is 1 now and then.
        site.server.wait();
        wait_until("they have ended too", || processes(&program).is_empty());
        let log = site.log();
        assert_eq!(log.matches("stopping: requests under way").count(), 2, "{log}");
        assert!(!log.contains("panicked"), "{log}");
        let left = std::fs::read_dir(site.folder.path("sockets")).expect("a folder").count();
        assert_eq!(left, 0, "lighttpd removes its sockets");
    }
}

/// A gateway that has crashed is started again.
#[test]
fn a_gateway_that_dies_is_replaced() {
    let site = start(Link::new(Protocol::FastCgi, Over::Unix).spawned());
    let program = site.folder.path("workbench");
    wait_until("two gateways run", || processes(&program).len() == 2);
    let request = site.request("GET", "/env");
    let serves = || request.try_send(site.port).is_ok_and(|answer| answer.status == 200);
    // One that dies while lighttpd still starts them takes lighttpd along.
    wait_until("lighttpd serves", serves);
    for process in processes(&program) {
        kill(process, Signal::SIGKILL).expect("a gateway");
    }
    wait_until("lighttpd serves again", serves);
}

/// The workbench with these flags, and lighttpd with what is below `prefix` handed over to it as `more` says.
fn site(prefix: &str, more: &str, rest: &str, flags: &[&str]) -> Site {
    let folder = Folder::new();
    let socket = Socket::new(&folder, Over::Unix);
    let mut gateway = start_workbench(&folder, &socket, Protocol::FastCgi, flags);
    gateway.ready_when(|| socket.is_served());
    let host = format!("{}{more}", host(&socket));
    let (port, server) = serve(&folder, &format!("{rest}{}", hand_over(Protocol::FastCgi, prefix, &host)));
    Site { port, server, gateway: Some((gateway, socket)), folder }
}

/// A prefix that ends in `/` leaves the mount unsaid; the prefix `/` says it with `fix-root-scriptname` only.
#[test]
fn prefixes_and_what_they_say_of_a_path() {
    let fixed = ", \"fix-root-scriptname\" => \"enable\"";
    // Its SCRIPT_NAME ends at the first slash behind the prefix.
    for (prefix, more, flags, script_name, path_info) in [
        ("/app", "", &[][..], "/app", Some("/x y/z")),
        ("/app/", "", &[], "/app/x y", Some("/z")),
        ("/app/", "", &["--script-name", "/app"], "/app", Some("/x y/z")),
        ("/", "", &[], "/app", Some("/x y/z")),
        ("/", "", &["--script-name", "/"], "", Some("/app/x y/z")),
        ("/", fixed, &[], "", Some("/app/x y/z")),
    ] {
        let site = site(prefix, more, "", flags);
        let environ = site.environment(&site.request("GET", "/x%20y//z?q"));
        environ.expect("SCRIPT_NAME", script_name);
        assert_eq!(environ.get("PATH_INFO"), path_info.map(str::as_bytes), "{prefix}{more} {flags:?}");
        environ.expect("REQUEST_URI", "/app/x%20y//z?q");
    }
}

/// The file's name ends in PATH_INFO with this setting, which is for programs that have it from elsewhere.
#[test]
fn path_info_goes_from_script_filename() {
    let broken = ", \"broken-scriptfilename\" => \"enable\"";
    for (flags, file) in [(&[][..], "/docroot/app/x"), (&FLAGS, "/docroot/app")] {
        let site = site("/app", broken, "", flags);
        let environ = site.environment(&site.request("GET", "/x"));
        environ.expect("SCRIPT_FILENAME", format!("{}{file}", site.folder.root().display()));
        environ.expect("PATH_INFO", "/x");
    }
}

#[test]
fn a_rewritten_path_is_the_one_that_counts() {
    let rewrite =
        "server.modules += ( \"mod_rewrite\" )\nurl.rewrite-once = ( \"^/old(.*)\" => \"/app$1\" )\n";
    let site = site("/app", "", rewrite, &["--script-name", "/app"]);
    let environ = site.environment(&Request::new("GET", "/old/x?q"));
    for (name, value) in [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/x"),
        ("REDIRECT_URI", "/app/x?q"),
        ("REQUEST_URI", "/old/x?q"),
    ] {
        environ.expect(name, value);
    }
}

/// lighttpd's own check of URLs, which it has unless it is told otherwise.
#[test]
fn normalised_urls_are_utf_8_or_refused() {
    let site = site("/app", "", "", &FLAGS);
    let environ = site.environment(&site.request("GET", b"/caf\xc3\xa9/%41?q"));
    environ.expect("PATH_INFO", b"/caf\xc3\xa9/A");
    environ.expect("REQUEST_URI", b"/app/caf\xc3\xa9/%41?q");
    assert_eq!(site.get("/%FF").status, 400);
}

/// The recipes of README.md.
#[test]
fn the_recipes_of_the_readme_serve_the_demo() {
    for (name, gateway) in [
        ("lighttpd-fastcgi", Some((Protocol::FastCgi, "fcgi-gateway"))),
        ("lighttpd-scgi", Some((Protocol::Scgi, "scgi-gateway"))),
        ("lighttpd-starts", None),
    ] {
        let folder = Folder::new();
        folder.mkdir_for_all("sockets");
        let socket = Socket::Unix(folder.path("sockets/app"));
        let (text, ours) = (recipe(name), folder.path("sockets/app").display().to_string());
        let place = if gateway.is_some() { "/run/gatewright.sock" } else { "/run/lighttpd/gatewright.sock" };
        let mut directives = text.replace(place, &ours);
        assert_ne!(directives, text);
        let _gateway = gateway.map(|(_, program_name)| {
            let mut process = Process::start(&folder, "gateway", &program(program_name), |command| {
                command.args(["--front", "lighttpd", "--socket", &socket.address(), "demo"]);
                if is_root() {
                    command.args(["--socket-group", "www-data"]);
                }
            });
            process.ready_when(|| socket.is_served());
            process
        });
        if gateway.is_none() {
            let installed = folder.install(&program("fcgi-gateway"), "fcgi-gateway");
            directives = directives.replace("/usr/local/bin/fcgi-gateway", &installed.display().to_string());
        }
        let (port, _server) = serve(&folder, &directives);
        assert_serves_the_demo(port);
    }
}
