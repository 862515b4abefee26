//! A CGI program that does no more than answer: what `cgi-gateway` is measured against.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(b"Content-Type: text/plain\nContent-Length: 12\n\nHello world\n")
}
