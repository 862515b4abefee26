//! nginx, between the load generator and a peer or as one: one process, so that none can be left behind; all on unix
//! sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cases::Front;
use crate::connect::Address;
use crate::process::{Place, Server};

/// Starts nginx in front of what listens on `upstream`; also gives the socket that it listens on.
///
/// # Errors
/// It does not start.
pub fn start(
    folder: &Path,
    upstream: &Address,
    front: Front,
    keep: bool,
) -> anyhow::Result<(Server, PathBuf)> {
    let socket = folder.join("nginx.sock");
    let keepalive = if keep { "keepalive 64; keepalive_requests 1000000000;" } else { "" };
    let upstream = format!("upstream peer {{ server unix:{upstream}; {keepalive} }}");
    let server = format!("location / {{ {} }}", pass(front, keep));
    let command = command(folder, &socket, &upstream, &server)?;
    let (log, address) = (folder.join("nginx.log"), Address::Unix(socket.clone()));
    let place = Place { address: &address, log: &log, inherits: false, group: None };
    Ok((Server::start(command, place)?, socket))
}

fn pass(front: Front, keep: bool) -> &'static str {
    match (front, keep) {
        (Front::Fcgi, true) => "include /etc/nginx/fastcgi_params; fastcgi_pass peer; fastcgi_keep_conn on;",
        (Front::Fcgi, false) => "include /etc/nginx/fastcgi_params; fastcgi_pass peer;",
        (Front::Scgi, _) => "include /etc/nginx/scgi_params; scgi_pass peer;",
        (Front::Http, true) => {
            "proxy_pass http://peer; proxy_http_version 1.1; proxy_set_header Connection ''; \
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;"
        }
        (Front::Http | Front::Cgi, _) => "proxy_pass http://peer;",
    }
}

/// nginx with a configuration, of which a part is given.
///
/// # Errors
/// The configuration cannot be written.
pub fn command(folder: &Path, socket: &Path, http: &str, server: &str) -> anyhow::Result<Command> {
    let configuration = folder.join("nginx.conf");
    let text = configure(folder, socket, http, server);
    fs::write(&configuration, text).with_context(|| configuration.display().to_string())?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration).arg("-e").arg(folder.join("error.log"));
    Ok(command)
}

fn configure(folder: &Path, socket: &Path, http: &str, server: &str) -> String {
    let (folder, socket) = (folder.display(), socket.display());
    format!(
        "daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
{user}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  {http}
  server {{
    listen unix:{socket} backlog=4096;
    {server}
  }}
}}
",
        user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" },
    )
}
