//! What every peer's application answers, chosen by REQUEST_URI. The peers in C, Go and Python say the same in their own
//! words, and the load generator checks each answer against this.
//!
//! | REQUEST_URI | answer |
//! |---|---|
//! | `/hello` | 12 bytes |
//! | `/64k` | 64 KiB |
//! | `/10m` | 10 MiB |
//! | `/sink` | the number of the request body's bytes, all of which were read |

use std::sync::LazyLock;

/// The type of every answer.
pub const CONTENT_TYPE: &str = "text/plain";

/// The 12 bytes.
pub const HELLO: &[u8] = b"Hello world\n";

/// The path whose answer tells the length of the request's body.
pub const SINK: &str = "/sink";

/// The line that large answers repeat.
pub const LINE: &[u8; 16] = b"0123456789abcde\n";

static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| LINE.repeat((10 << 20) / LINE.len()));

/// The answer of a path, but the sink's, which depends on the request.
pub fn fixed(path: &[u8]) -> Option<&'static [u8]> {
    match path {
        b"/hello" => Some(HELLO),
        b"/64k" => LARGE.get(..64 << 10),
        b"/10m" => Some(&LARGE),
        _ => None,
    }
}
