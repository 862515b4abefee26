//! The two policies.

/// How a handler treats what wsgiref lets pass.
///
/// The safe policy is the default; wsgiref's keeps the recorded behaviour of CPython 3.15 to the byte. These are all the
/// differences:
///
/// | what | wsgiref | safe | why |
/// |---|---|---|---|
/// | body of a HEAD request, and of a 204 or 304 answer | sent | not sent; a length that the application gave stays for HEAD and 304 | RFC 9110: such answers have no body; HAProxy answers 502, others take it for the next response |
/// | Content-Length added to an empty answer | `0`, always | not for HEAD, 204, 304; a 204 never has one | RFC 9110, section 8.6; for HEAD `0` would be untrue |
/// | status | three digits by Unicode's rules, a blank, anything | three ASCII digits from 200 to 999, a blank, anything | a final answer is no 1xx; web servers refuse the rest |
/// | more body than the Content-Length | sent | cut, and logged | a web server would take it for the next answer, or stop reusing connections |
/// | less body than the Content-Length | not noticed | an error: the error page, or a truncated answer | a client could not tell it from a whole one |
/// | several Content-Lengths, or one that is no number | sent | refused | request smuggling, RFC 9112, section 6.3 |
/// | header names that are no tokens, or `Status` | sent | refused | a blank or colon in a name is another header; a second Status line contradicts the first |
/// | hop-by-hop headers | the eight of RFC 2616's text | `Trailer` and `Proxy-Connection` too | `trailers` was a typing error |
/// | a start that failed its checks | is stored all the same | leaves nothing behind | a swallowed error would send what was refused |
/// | an empty chunk | sends the head | does not | PEP 3333: headers wait for the first non-empty chunk |
/// | each write | flushed at once, and warned of when the stream takes a part only | gathered, up to 64 KiB, and held back until the request's body is here ([`Flow`](super::Flow)) | one system call for a small answer; nginx sends no more of a body once its answer begins |
/// | an error after output that has not left the process | truncated answer | the output is taken back, the error page sent | nobody has seen it yet |
/// | an error in the error page | leaves `run` | leaves `run`, and is logged as well | few look at what leaves `run` |
/// | errors with a status of their own ([`Error`](crate::error::Error)) | the 500 page | a page with that status | a peer's mistake is a 400 |
/// | broken pipes and connection resets | quiet, whatever connection it was | quiet only if it was the client's | an application's failing database connection must not vanish |
/// | the request's body | unlimited | ends at CONTENT_LENGTH; one of up to 64 KiB that ends before is a 400, a longer one an error for who reads it | PEP 3333; reading on would hang |
/// | a malformed CONTENT_LENGTH | passed on | 400 | no one knows how long the body is |
/// | variables | all, and the process's own beneath them | without HTTP_PROXY, HTTP_CONTENT_*, aliases and empty doubles ([`sanitise`](crate::environ::sanitise)) unless [kept](crate::handlers::Attributes::keep_variables), and nothing of the process | httpoxy; settings of the process are no client's |
/// | no SERVER_PROTOCOL, under an origin server | an error after the head counts as sent | taken for HTTP/1.0 or later | nothing else needs it |
///
/// Always, under either: control characters never leave in a status or header, an iterable is closed exactly once, a
/// second response is never appended to the first, and a handler can be used again after any outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What a careful server does. The default.
    #[default]
    Safe,
    /// What wsgiref does.
    Wsgiref,
}

impl Policy {
    /// Whether this is the safe policy.
    pub const fn is_safe(self) -> bool {
        matches!(self, Policy::Safe)
    }
}
