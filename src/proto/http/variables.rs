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
        let mut collector = Collector::new(vars);
        variables(self, self.fields(), |name, value| collector.push(name, value))?;
        collector.finish();
        Ok(())
    }
}

const PREFIX: &[u8; 5] = b"HTTP_";

/// What a byte of a field's name becomes, or that it may not be there.
static SPELLING: [u8; 256] = {
    let mut table = [UNFIT; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'-' => b'_',
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => byte.to_ascii_uppercase(),
            _ => UNFIT,
        };
        byte += 1;
    }
    table
};

const UNFIT: u8 = 0x80;

/// Longer names are put together in memory that is taken for them.
const SHORT: usize = 64;

/// Gives the variables of `fields`, which are the request's, wherever they were found.
pub(crate) fn variables<'h, E>(
    request: &Request<'_>,
    fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    mut put: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut short, mut long) = ([0; SHORT], Vec::new());
    let authority = request.target.authority();
    if let Some(authority) = authority {
        put(b"HTTP_HOST", authority.whole)?;
    }
    for (field, value) in fields {
        let length = PREFIX.len() + field.len();
        let variable = match short.get_mut(..length) {
            Some(variable) => variable,
            None => {
                long.resize(length, 0);
                &mut long[..]
            }
        };
        let fit = spell(field, variable);
        let name = variable.get(PREFIX.len()..).unwrap_or_default();
        match name {
            _ if !fit => report_dropped(
                log::Level::Warn,
                field,
                "an HTTP field's name has letters, digits and '-' alone, or another could be taken for it",
            ),
            b"CONTENT_TYPE" | b"CONTENT_LENGTH" => put(name, value)?,
            _ if is_of_the_connection(name) || (authority.is_some() && name == b"HOST") => {}
            _ if request.names_fields && !is_essential(field) && request.connection_names(field) => {}
            _ => put(variable, value)?,
        }
    }
    Ok(())
}

/// Writes the name of the field's variable, as long as both are; says whether there is one.
fn spell(field: &[u8], variable: &mut [u8]) -> bool {
    let Some((prefix, name)) = variable.split_first_chunk_mut() else { return false };
    *prefix = *PREFIX;
    let mut seen = 0;
    for (place, byte) in name.iter_mut().zip(field) {
        *place = SPELLING[usize::from(*byte)];
        seen |= *place;
    }
    seen & UNFIT == 0
}

/// Fields about the connection, and those that a client would pass for a proxy's.
fn is_of_the_connection(name: &[u8]) -> bool {
    match name.first() {
        Some(b'C') => name == b"CONNECTION",
        Some(b'K') => name == b"KEEP_ALIVE",
        Some(b'T') => matches!(name, b"TE" | b"TRAILER"),
        Some(b'U') => name == b"UPGRADE",
        Some(b'P') => name == b"PROXY" || name.starts_with(b"PROXY_"),
        _ => false,
    }
}

/// Fields for every recipient, which no client takes away by naming them in Connection (RFC 9110, section 7.6.1).
fn is_essential(field: &[u8]) -> bool {
    ["host", "authorization", "cookie", "transfer-encoding", "forwarded"]
        .iter()
        .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
        || field.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}
