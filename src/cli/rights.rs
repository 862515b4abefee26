//! What a server may do and who may talk to it: the flags.

use std::path::PathBuf;

use anyhow::Context;

use crate::server::{Peers, PeersError, Privileges, Protocol};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Rights")]
pub(super) struct Rights {
    /// Who may connect over TCP: addresses and networks with commas, as in 192.0.2.7,10.0.0.0/8,fd00::/8, or any
    #[arg(long, value_name = "ADDRS", value_parser = parse_peers)]
    allow: Option<Peers>,
    /// The user to become once the sockets are bound, by name or number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The only group to be in once the sockets are bound, by name or number; by default the user's own
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The folder to make the root directory once the sockets are bound; the paths of applications and logs are those
    /// inside
    #[arg(long, value_name = "DIR")]
    chroot: Option<PathBuf>,
}

/// Why a server does not start on an address that other machines may reach.
pub(super) const NOT_LOOPBACK: &str = "whoever reaches this port can use it; say who may with --allow, as in \
--allow 192.0.2.7,10.0.0.0/8 or --allow any, or take a loopback address or a socket file";

/// FastCGI 1.0, section 3.2: the web server's own list of the addresses that it connects from.
const WEB_SERVER_ADDRS: &str = "FCGI_WEB_SERVER_ADDRS";

fn parse_peers(text: &str) -> Result<Peers, String> {
    text.parse().map_err(|error: PeersError| error.to_string())
}

impl Rights {
    /// The peers that are served over TCP; `None` where nobody has said. What the administrator says comes before what
    /// the web server does.
    pub(super) fn peers(&self, protocol: Protocol) -> Result<Option<Peers>, String> {
        if self.allow.is_some() || protocol != Protocol::FastCgi {
            return Ok(self.allow.clone());
        }
        let Some(list) = std::env::var_os(WEB_SERVER_ADDRS).filter(|list| !list.is_empty()) else {
            return Ok(None);
        };
        let peers = parse_peers(&list.to_string_lossy());
        peers.map(Some).map_err(|error| format!("{WEB_SERVER_ADDRS}: {error}"))
    }

    /// Whether paths will name something else once the sockets are bound.
    pub(super) fn changes_root(&self) -> bool {
        self.chroot.is_some()
    }

    /// HOME, USER and LOGNAME of `--user`. One that cannot be found is refused where rights are given up.
    pub(super) fn account(&self) -> Option<Vec<(String, String)>> {
        Privileges::resolve(self.user.as_deref(), self.group.as_deref(), None).ok()?.account()
    }

    pub(super) fn privileges(&self) -> anyhow::Result<Privileges> {
        Privileges::resolve(self.user.as_deref(), self.group.as_deref(), self.chroot.as_deref())
            .context("cannot give up rights")
    }
}
