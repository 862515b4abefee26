//! The comparison's application on the fastcgi crate, on the listening socket that is its descriptor 0.

use std::io::Write;

use fastcgi::Request;

fn main() {
    fastcgi::run(|mut request| {
        // The client has gone.
        let _ = answer(&mut request);
    });
}

fn answer(request: &mut Request) -> std::io::Result<()> {
    let path = request.param("REQUEST_URI").unwrap_or_default();
    let counted;
    let body = match answers::fixed(path.as_bytes()) {
        Some(body) => body,
        None => {
            counted = std::io::copy(&mut request.stdin(), &mut std::io::sink())?.to_string();
            counted.as_bytes()
        }
    };
    let head = format!("Content-Type: {}\r\nContent-Length: {}\r\n\r\n", answers::CONTENT_TYPE, body.len())
        .into_bytes();
    // A small answer in one record, as one would write it by hand.
    if body.len() < 4096 {
        return request.stdout().write_all(&[head.as_slice(), body].concat());
    }
    request.stdout().write_all(&head)?;
    request.stdout().write_all(body)
}
