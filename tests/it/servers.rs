//! The gateways behind real web servers: nginx and Apache as Debian packages them, started by each test for itself.

mod apache;
mod client;
mod harness;
mod nginx;
mod site;
