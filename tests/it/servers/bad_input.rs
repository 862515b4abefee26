//! Malformed bytes on the sockets.
