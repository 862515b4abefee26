//! The names of variables that are found without a search.

use super::spelling::Spelling;

/// The names that nearly every application or gateway reads; [`Vars::known`](super::Vars::known) finds them without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Known {
    AuthType,
    ContentLength,
    ContentType,
    GatewayInterface,
    Https,
    HttpHost,
    PathInfo,
    QueryString,
    RemoteAddr,
    RemoteUser,
    RequestMethod,
    RequestUri,
    ScriptName,
    ServerName,
    ServerPort,
    ServerProtocol,
    ServerSoftware,
}

impl Known {
    /// All of them, in the order of their declaration.
    pub const ALL: [Known; 17] = [
        Known::AuthType,
        Known::ContentLength,
        Known::ContentType,
        Known::GatewayInterface,
        Known::Https,
        Known::HttpHost,
        Known::PathInfo,
        Known::QueryString,
        Known::RemoteAddr,
        Known::RemoteUser,
        Known::RequestMethod,
        Known::RequestUri,
        Known::ScriptName,
        Known::ServerName,
        Known::ServerPort,
        Known::ServerProtocol,
        Known::ServerSoftware,
    ];

    /// The variable's name, as it stands in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Known::AuthType => "AUTH_TYPE",
            Known::ContentLength => "CONTENT_LENGTH",
            Known::ContentType => "CONTENT_TYPE",
            Known::GatewayInterface => "GATEWAY_INTERFACE",
            Known::Https => "HTTPS",
            Known::HttpHost => "HTTP_HOST",
            Known::PathInfo => "PATH_INFO",
            Known::QueryString => "QUERY_STRING",
            Known::RemoteAddr => "REMOTE_ADDR",
            Known::RemoteUser => "REMOTE_USER",
            Known::RequestMethod => "REQUEST_METHOD",
            Known::RequestUri => "REQUEST_URI",
            Known::ScriptName => "SCRIPT_NAME",
            Known::ServerName => "SERVER_NAME",
            Known::ServerPort => "SERVER_PORT",
            Known::ServerProtocol => "SERVER_PROTOCOL",
            Known::ServerSoftware => "SERVER_SOFTWARE",
        }
    }

    /// The known name that `name` is, if it is one.
    pub fn find(name: &[u8]) -> Option<Known> {
        Known::by_tag(Spelling::of(name).tag, name)
    }

    #[inline]
    pub(super) fn by_tag(tag: u32, name: &[u8]) -> Option<Known> {
        let candidate = (*KNOWN.get(place_of(tag))?)?;
        (candidate.name().as_bytes() == name).then_some(candidate)
    }
}

/// The known names, each where its tag says.
static KNOWN: [Option<Known>; 64] = {
    let mut table = [None; 64];
    let mut next = 0;
    while next < Known::ALL.len() {
        let known = Known::ALL[next];
        let place = &mut table[place_of(Spelling::of(known.name().as_bytes()).tag)];
        assert!(place.is_none(), "two known names with one place");
        *place = Some(known);
        next += 1;
    }
    table
};

/// These bits of a tag tell the known names apart.
const fn place_of(tag: u32) -> usize {
    (tag >> 22 & 63) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_and_their_spelling_agree() {
        for (position, known) in Known::ALL.into_iter().enumerate() {
            assert_eq!(Known::find(known.name().as_bytes()), Some(known));
            assert_eq!(known as usize, position);
        }
        assert_eq!(Known::find(b"path_info"), None);
    }
}
