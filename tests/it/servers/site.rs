//! A web server with a gateway behind it.

use super::client::{Answer, Request};
use super::harness::{Folder, Process};

/// The path under which each site serves its gateway.
pub(crate) const MOUNT: &str = "/app";

/// A running web server with an application behind it. Ends with it: web server, gateway, folder, in this order.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) port: u16,
    pub(crate) server: Process,
    pub(crate) gateway: Option<Process>,
    pub(crate) folder: Folder,
}

impl Site {
    /// Requests a path below the mount.
    #[track_caller]
    pub(crate) fn get(&self, below: &str) -> Answer {
        self.request("GET", below).send(self.port)
    }

    pub(crate) fn request(&self, method: &str, below: impl AsRef<[u8]>) -> Request {
        let mut target = MOUNT.as_bytes().to_vec();
        target.extend_from_slice(below.as_ref());
        Request::new(method, target)
    }
}
