//! nginx between the load generator and a peer: one process, so that none can be left behind; both sides on unix sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::Front;
use crate::process::{Place, Server};

/// Starts nginx in front of what listens on `upstream`; also gives the socket that it listens on.
///
/// # Errors
/// It does not start.
pub fn start(folder: &Path, upstream: &Path, front: Front, keep: bool) -> anyhow::Result<(Server, PathBuf)> {
    let socket = folder.join("nginx.sock");
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, configure(folder, &socket, upstream, front, keep))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration).arg("-e").arg(folder.join("error.log"));
    let log = folder.join("nginx.log");
    let server = Server::start(command, &Place { socket: &socket, log: &log, inherits: false })?;
    Ok((server, socket))
}

fn configure(folder: &Path, socket: &Path, upstream: &Path, front: Front, keep: bool) -> String {
    let (folder, socket, upstream) = (folder.display(), socket.display(), upstream.display());
    let keepalive = if keep { "keepalive 64; keepalive_requests 1000000000;" } else { "" };
    let pass = match (front, keep) {
        (Front::Fcgi, true) => "include /etc/nginx/fastcgi_params; fastcgi_pass peer; fastcgi_keep_conn on;",
        (Front::Fcgi, false) => "include /etc/nginx/fastcgi_params; fastcgi_pass peer;",
        (Front::Scgi, _) => "include /etc/nginx/scgi_params; scgi_pass peer;",
        (Front::Http, true) => {
            "proxy_pass http://peer; proxy_http_version 1.1; proxy_set_header Connection ''; \
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;"
        }
        (Front::Http, false) => "proxy_pass http://peer;",
    };
    format!(
        "daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
{user}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  upstream peer {{ server unix:{upstream}; {keepalive} }}
  server {{
    listen unix:{socket} backlog=4096;
    location / {{ {pass} }}
  }}
}}
",
        user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" },
    )
}
