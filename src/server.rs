//! Servers for the gateways that listen: FastCGI and SCGI.

mod address;
mod listen;

pub use address::{Address, AddressError};
pub use listen::{Listener, SocketRights, Stream};
