//! Apache with CGI programs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::cases::{assert_same, lines};
use super::client::{PATIENCE, Request};
use super::harness::{Folder, Process, answers, free_port, installed, is_root, program, wait_until};
use super::site::{Site, named, recipe};

/// Where Debian's packages have Apache's modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// How Apache starts CGI programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starts {
    /// `mod_cgid`, from a daemon of its own: what goes with threads, and Debian's default.
    Daemon,
    /// `mod_cgi`, from the server's processes.
    Itself,
}

/// Starts Apache with `program` as the CGI program at `/app`, and `directives` besides.
pub(crate) fn start(starts: Starts, program: &Path, directives: &str) -> Site {
    let folder = Folder::new();
    folder.mkdir("cgi-bin");
    let script = folder.install(program, "cgi-bin/app");
    let mut directives = format!("ScriptAlias /app \"{}\"\n{directives}\n", script.display());
    let modules: [&str; 2] = match starts {
        Starts::Daemon => ["mpm_event", "cgid"],
        Starts::Itself => ["mpm_prefork", "cgi"],
    };
    if starts == Starts::Daemon {
        directives += "ScriptSock cgid.sock\n";
    }
    let (port, mut server) = serve(&folder, &modules, &directives);
    // It answers before the daemon that starts programs can be reached: with 503.
    server.ready_when(|| starts_programs(port));
    Site { port, server, gateway: None, folder }
}

fn starts_programs(port: u16) -> bool {
    let answer = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /app/ready HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 ") && !answer.starts_with(b"HTTP/1.1 503 "))
}

/// Starts Apache with these modules, besides common ones, and these directives.
pub(crate) fn serve(folder: &Folder, modules: &[&str], directives: &str) -> (u16, Process) {
    let apache = installed("apache2");
    for name in ["docroot", "run"] {
        folder.mkdir(name);
    }
    let port = free_port();
    let load = |name: &&str| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n");
    let mut config: String = modules.iter().chain(&["authz_core", "alias", "env"]).map(load).collect();
    config += &format!(
        "ServerRoot \"{root}\"\nDefaultRuntimeDir \"{root}/run\"\nPidFile \"{root}/run/apache.pid\"\n\
         ServerName localhost\nListen 127.0.0.1:{port}\nDocumentRoot \"{root}/docroot\"\n\
         ErrorLog \"{root}/errors.log\"\nLogLevel info\n{directives}\n",
        root = folder.root().display(),
    );
    if is_root() {
        config += "User www-data\nGroup www-data\n";
    }
    let config = folder.write("apache.conf", config);
    let mut server = Process::start(folder, "apache", &apache, |command| {
        command.arg("-f").arg(&config).args(["-D", "FOREGROUND"]);
    });
    server.ready_when(|| answers(port));
    (port, server)
}

/// What Apache tells a program that it starts besides what all do.
pub(crate) fn own_variables(site: &Site) -> Vec<(&'static str, String)> {
    let root = site.folder.root().display();
    let program = format!("{root}/cgi-bin/app");
    let mut own = common_variables();
    own.extend(named([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SCRIPT_FILENAME", &program),
        ("PATH_TRANSLATED", &format!("{root}/docroot/env/x")),
        ("CONTEXT_PREFIX", "/app"),
        ("CONTEXT_DOCUMENT_ROOT", &program),
    ]));
    own
}

/// What Apache tells in any case, besides what all do.
pub(crate) fn common_variables() -> Vec<(&'static str, String)> {
    named([
        ("DOCUMENT_ROOT", "*"),
        ("REQUEST_SCHEME", "http"),
        // Taken from Host, which names none here.
        ("SERVER_PORT", "80"),
        ("SERVER_SOFTWARE", "*"),
        ("SERVER_SIGNATURE", ""),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_ADMIN", "*"),
        ("PATH", "/usr/bin:/bin"),
        ("ap_trust_cgilike_cl", "1"),
        ("HTTP_CONNECTION", "close"),
    ])
}

/// A query without `=` reaches a CGI program as its command line: it must choose nothing there.
#[test]
fn a_query_is_never_taken_for_a_command_line() {
    for starts in [Starts::Daemon, Starts::Itself] {
        let site = start(starts, &program("cgi-gateway"), "");
        for query in
            ["--help", "dir:/etc", "demo", "--front+iis", "--version", "-h", "--no-such-flag", "nonsense"]
        {
            let answer = site.get(&format!("/x?{query}")).expect(200);
            let text = String::from_utf8(answer.body).expect("a text of UTF-8");
            assert!(text.starts_with("Hello world!\n\n"), "?{query}: {text}");
            assert!(text.contains(&format!("QUERY_STRING = '{query}'\n")), "?{query}: {text}");
            assert!(text.contains("PATH_INFO = '/x'\n"), "?{query}: {text}");
        }
    }
}

/// The demo behind Apache, and what the two variables of its configuration do.
#[test]
fn cgi_gateway_serves_the_demo() {
    let site = start(Starts::Daemon, &program("cgi-gateway"), "SetEnv CGI_GATEWAY_APP demo");
    let answer = site.get("/caf%C3%A9?a=b").expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let text = String::from_utf8(answer.body).expect("a text of UTF-8");
    let (greeting, variables) = text.split_at(14);
    assert_eq!(greeting, "Hello world!\n\n");
    let names: Vec<&str> = variables.lines().filter_map(|line| line.split(" = ").next()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for line in [
        "CGI_GATEWAY_APP = 'demo'",
        "GATEWAY_INTERFACE = 'CGI/1.1'",
        "PATH_INFO = '/caf\u{c3}\u{a9}'",
        "QUERY_STRING = 'a=b'",
        "SCRIPT_NAME = '/app'",
        "wsgi.multithread = False",
        "wsgi.run_once = True",
        "wsgi.url_scheme = 'http'",
        "wsgi.version = (1, 0)",
    ] {
        assert!(variables.lines().any(|given| given == line), "{line} is missing in:\n{variables}");
    }
}

/// The recipe of README.md.
#[test]
fn the_recipe_of_the_readme_serves_the_demo() {
    let folder = Folder::new();
    let installed = folder.install(&program("cgi-gateway"), "cgi-gateway");
    let recipe = recipe("apache-cgi");
    let ours = recipe.replace("/usr/local/bin/cgi-gateway", &installed.display().to_string());
    assert_ne!(ours, recipe);
    let site = start(Starts::Daemon, &program("workbench"), &ours);
    let request = Request::new("GET", "/demo/caf%C3%A9?q").header("Authorization", "Basic eDp5");
    let text = String::from_utf8(request.send(site.port).expect(200).body).expect("a text of UTF-8");
    for line in [
        "Hello world!",
        "SCRIPT_NAME = '/demo'",
        "PATH_INFO = '/caf\u{c3}\u{a9}'",
        "HTTP_AUTHORIZATION = 'Basic eDp5'",
    ] {
        assert!(text.lines().any(|given| given == line), "{line} is missing in:\n{text}");
    }
}

/// A wrong setting of the administrator's is no answer, and its line is in the error log.
#[test]
fn a_wrong_application_is_named_in_the_error_log() {
    let site = start(Starts::Daemon, &program("cgi-gateway"), "SetEnv CGI_GATEWAY_APP nonsense");
    assert_eq!(site.get("/x").status, 500);
    wait_until("the error log names it", || site.log().contains("CGI_GATEWAY_APP \"nonsense\""));
}

/// Since 2.4.59 Apache measures the answers of programs itself, so that a cut one looks whole: the administrator's
/// choice, and why the other tests set `ap_trust_cgilike_cl`.
#[test]
fn without_trust_apache_hides_lengths_and_cuts() {
    let site = start(Starts::Daemon, &program("workbench"), "");
    let head = site.request("HEAD", "/big?bytes=100000").send(site.port).expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (None, 0));
    assert_same(&site.get("/big?bytes=100000").expect(200).body, &lines(100_000));
    let cut = site.get("/fail-after?bytes=100000&length=200000").expect(200);
    assert_same(&cut.body, &lines(100_000));
}

/// Under `mod_cgid` a program's input and output are one socket: a body left unread must not reset it, which would eat
/// the answer.
#[test]
fn an_unread_body_does_not_eat_the_answer() {
    for body in [&b"x"[..], &[b'x'; 100_000]] {
        let (mut ours, theirs) = UnixStream::pair().expect("descriptors");
        ours.set_read_timeout(Some(PATIENCE)).expect("a duration that is not zero");
        let folder = Folder::new();
        let mut program = Process::start(&folder, "workbench", &program("workbench"), |command| {
            let stdin = theirs.try_clone().expect("a descriptor");
            command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(theirs));
            command.env("REQUEST_METHOD", "POST").env("PATH_INFO", "/headers");
            command.env("CONTENT_LENGTH", body.len().to_string()).env("GATEWAY_INTERFACE", "CGI/1.1");
        });
        ours.write_all(body).expect("room in the socket");
        ours.shutdown(Shutdown::Write).expect("a socket");
        program.wait();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).expect("no reset");
        assert!(answer.ends_with("\r\n\r\nsee the headers\n"), "{answer}");
    }
}
