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

fn variables(request: &Request<'_>, vars: &mut Vars) -> Result<(), Error> {
    let mut collector = Collector::new(vars);
    let mut name = Vec::with_capacity(64);
    let names_fields = request.connection_options().any(|option| !option.eq_ignore_ascii_case(b"keep-alive"));
    let authority = request.target.authority();
    if let Some(authority) = authority {
        collector.push(b"HTTP_HOST", authority.whole)?;
    }
    for (field, value) in request.fields() {
        if !field.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            report_dropped(
                log::Level::Warn,
                field,
                "an HTTP field's name has letters, digits and '-' alone, or another could be taken for it",
            );
            continue;
        }
        if is_dropped(field) || (authority.is_some() && field.eq_ignore_ascii_case(b"host")) {
            continue;
        }
        let plain =
            field.eq_ignore_ascii_case(b"content-type") || field.eq_ignore_ascii_case(b"content-length");
        if !plain && names_fields && !is_essential(field) && request.connection_names(field) {
            continue;
        }
        name.clear();
        if !plain {
            name.extend_from_slice(b"HTTP_");
        }
        name.extend(field.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        collector.push(&name, value)?;
    }
    collector.finish();
    Ok(())
}

/// Fields about the connection, and those that a client would pass for a proxy's.
fn is_dropped(field: &[u8]) -> bool {
    let is_proxys = field.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"));
    is_proxys
        || ["connection", "keep-alive", "te", "trailer", "upgrade", "proxy"]
            .iter()
            .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
}

/// Fields for every recipient, which no client takes away by naming them in Connection (RFC 9110, section 7.6.1).
fn is_essential(field: &[u8]) -> bool {
    ["host", "authorization", "cookie", "transfer-encoding", "forwarded"]
        .iter()
        .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
        || field.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}
