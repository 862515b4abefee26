//! A request's fields as variables.

use super::request::Request;
use crate::environ::{Collector, Vars, report_dropped};
use crate::error::Error;

impl Request<'_> {
    /// Adds CONTENT_TYPE, CONTENT_LENGTH and the HTTP_* variables of the request's fields (RFC 3875, section 4.1.18).
    ///
    /// HTTP_HOST is the target's authority, if it has one. Not passed on are fields about the connection (Connection and
    /// what it names, Keep-Alive, TE, Trailer, Upgrade, Proxy and Proxy-*), and fields with a name that others could be
    /// taken for: any byte but A–Z, a–z, 0–9 and `-`.
    ///
    /// # Errors
    /// None for a request that was [parsed](Request::parse), and vars without CONTENT_LENGTH.
    pub fn variables(&self, vars: &mut Vars) -> Result<(), Error> {
        variables(self, vars)
    }
}

const PREFIX: &[u8] = b"HTTP_";

/// What a byte of a field's name becomes; 0 for one that it may not have.
static SPELLING: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'-' => b'_',
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => byte.to_ascii_uppercase(),
            _ => 0,
        };
        byte += 1;
    }
    table
};

fn variables(request: &Request<'_>, vars: &mut Vars) -> Result<(), Error> {
    let mut collector = Collector::new(vars);
    let mut variable = Vec::with_capacity(64);
    variable.extend_from_slice(PREFIX);
    let names_fields = request.connection_options().any(|option| !option.eq_ignore_ascii_case(b"keep-alive"));
    let authority = request.target.authority();
    if let Some(authority) = authority {
        collector.push(b"HTTP_HOST", authority.whole)?;
    }
    for (field, value) in request.fields() {
        variable.truncate(PREFIX.len());
        variable.extend(field.iter().map(|byte| SPELLING[usize::from(*byte)]));
        let name = variable.get(PREFIX.len()..).unwrap_or_default();
        match name {
            _ if name.contains(&0) => report_dropped(
                log::Level::Warn,
                field,
                "an HTTP field's name has letters, digits and '-' alone, or another could be taken for it",
            ),
            b"CONTENT_TYPE" | b"CONTENT_LENGTH" => collector.push(name, value)?,
            _ if is_of_the_connection(name) || (authority.is_some() && name == b"HOST") => {}
            _ if names_fields && !is_essential(field) && request.connection_names(field) => {}
            _ => collector.push(&variable, value)?,
        }
    }
    collector.finish();
    Ok(())
}

/// Fields about the connection, and those that a client would pass for a proxy's.
fn is_of_the_connection(name: &[u8]) -> bool {
    matches!(name, b"CONNECTION" | b"KEEP_ALIVE" | b"TE" | b"TRAILER" | b"UPGRADE" | b"PROXY")
        || name.starts_with(b"PROXY_")
}

/// Fields for every recipient, which no client takes away by naming them in Connection (RFC 9110, section 7.6.1).
fn is_essential(field: &[u8]) -> bool {
    ["host", "authorization", "cookie", "transfer-encoding", "forwarded"]
        .iter()
        .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
        || field.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}
