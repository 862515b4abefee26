//! Apache with CGI programs.

use std::path::Path;

use super::harness::{Folder, Process, answers, free_port, installed, is_root};
use super::site::Site;

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
    let apache = installed("apache2");
    let folder = Folder::new();
    for name in ["docroot", "cgi-bin", "run"] {
        folder.mkdir(name);
    }
    let script = folder.install(program, "cgi-bin/app");
    let port = free_port();
    let mut config = modules(starts);
    config += &format!(
        "ServerRoot \"{root}\"\nDefaultRuntimeDir \"{root}/run\"\nPidFile \"{root}/run/apache.pid\"\n\
         ServerName localhost\nListen 127.0.0.1:{port}\nDocumentRoot \"{root}/docroot\"\n\
         ErrorLog \"{root}/errors.log\"\nLogLevel info\nScriptAlias /app \"{script}\"\n{directives}\n",
        root = folder.root().display(),
        script = script.display(),
    );
    if starts == Starts::Daemon {
        config += "ScriptSock cgid.sock\n";
    }
    if is_root() {
        config += "User www-data\nGroup www-data\n";
    }
    let config = folder.write("apache.conf", config);
    let mut server = Process::start(&folder, "apache", &apache, |command| {
        command.arg("-f").arg(&config).args(["-D", "FOREGROUND"]);
    });
    server.ready_when(|| answers(port));
    Site { port, server, gateway: None, folder }
}

fn modules(starts: Starts) -> String {
    let starts: [&str; 2] = match starts {
        Starts::Daemon => ["mpm_event", "cgid"],
        Starts::Itself => ["mpm_prefork", "cgi"],
    };
    let common = ["authz_core", "alias", "env"];
    let load = |name: &&str| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n");
    starts.iter().chain(&common).map(load).collect()
}
