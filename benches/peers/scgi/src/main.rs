//! The comparison's application on the scgi crate, which parses; accepting is left to its user. One connection after the
//! other is the least it can cost: a thread each, as in the crate's example, costs more. `scgi-peer PATH`.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

fn main() -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(std::env::args().nth(1).ok_or("write scgi-peer PATH")?)?;
    for stream in listener.incoming() {
        // Whatever is wrong with a request, its connection closes.
        let _ = answer(stream?);
    }
    Ok(())
}

fn answer(stream: UnixStream) -> Result<(), Box<dyn Error>> {
    let (head, mut stream) = scgi::read_headers(stream).map_err(|error| error.to_string())?;
    let head = scgi::str_map(&head).map_err(|error| error.to_string())?;
    let path = head.get("REQUEST_URI").copied().unwrap_or_default();
    let counted;
    let body = match answers::fixed(path.as_bytes()) {
        Some(body) => body,
        None => {
            let length = head.get("CONTENT_LENGTH").ok_or("no CONTENT_LENGTH")?.parse()?;
            counted = std::io::copy(&mut Read::take(&mut stream, length), &mut std::io::sink())?.to_string();
            counted.as_bytes()
        }
    };
    let kind = answers::CONTENT_TYPE;
    write!(stream, "Status: 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    Ok(stream.flush()?)
}
