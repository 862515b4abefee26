//! The configurations of web servers that take part themselves.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};

use super::Site;
use crate::cases::App;
use crate::connect::Address;
use crate::nginx;

pub fn nginx(site: &Site<'_>) -> anyhow::Result<Command> {
    let files = site.folders.files();
    let server = format!("root {};", files.display());
    nginx::command(site.temporary, site.address.path(), "", &server)
}

pub fn lighttpd(site: &Site<'_>) -> anyhow::Result<Command> {
    let temporary = site.temporary.display();
    let mut configuration = format!(
        "server.bind = \"{socket}\"
server.port = 80
server.listen-backlog = 1024
server.max-keep-alive-requests = 100000000
server.errorlog = \"{temporary}/error.log\"
server.upload-dirs = ( \"{temporary}\" )
",
        socket = site.address,
    );
    configuration.push_str(&match site.app {
        // Without the second line it gathers an answer in files before it sends any.
        App::Programs => format!(
            "server.document-root = \"{}\"\nserver.stream-response-body = 1\n\
             server.modules = ( \"mod_cgi\" )\ncgi.assign = ( \"\" => \"\" )\n",
            site.folders.programs().display()
        ),
        _ => format!("server.document-root = \"{}\"\n", site.folders.files().display()),
    });
    let path = site.temporary.join("lighttpd.conf");
    fs::write(&path, configuration).context("lighttpd.conf")?;
    let mut command = Command::new("lighttpd");
    command.arg("-D").arg("-f").arg(path);
    Ok(command)
}

pub fn apache(site: &Site<'_>) -> anyhow::Result<Command> {
    let Address::Tcp(port) = site.address else { bail!("Apache listens on ports only") };
    let temporary = site.temporary.display();
    let user = if nix::unistd::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
    let modules: String = ["mpm_event", "authz_core", "alias", "env", "cgid"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    // Without the last line it drops an answer's Content-Length.
    let configuration = format!(
        "ServerRoot {temporary}
DefaultRuntimeDir {temporary}
ServerName localhost
PidFile {temporary}/httpd.pid
Listen 127.0.0.1:{port}
{modules}{user}ErrorLog {temporary}/error.log
ScriptSock {temporary}/cgid.sock
MaxKeepAliveRequests 0
KeepAliveTimeout 75
<Directory />
  Require all granted
</Directory>
ScriptAlias / {programs}/
SetEnv ap_trust_cgilike_cl 1
",
        programs = site.folders.programs().display(),
    );
    let path = site.temporary.join("apache.conf");
    fs::write(&path, configuration).context("apache.conf")?;
    let mut command = Command::new("apache2");
    command.arg("-DFOREGROUND").arg("-f").arg(path);
    Ok(command)
}
