//! Who may connect over TCP: addresses and networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The peers whose TCP connections are served; connections over unix sockets are a matter of the file's rights.
///
/// ```
/// use gatewright::server::Peers;
///
/// let peers: Peers = "192.0.2.7, 10.0.0.0/8, fd00::/8".parse()?;
/// assert!(peers.allows("10.1.2.3".parse().unwrap()));
/// assert!(peers.allows("::ffff:10.1.2.3".parse().unwrap()), "an IPv4 address in IPv6's clothes");
/// assert!(!peers.allows("192.0.2.8".parse().unwrap()));
/// # Ok::<(), gatewright::server::PeersError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers(Vec<Network>);

impl Peers {
    /// Everybody.
    pub fn any() -> Self {
        let all = |address| Network { address, bits: 0 };
        Self(vec![all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())])
    }

    /// These, and others.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether a peer with this address may connect.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(peer))
    }
}

/// Addresses that agree in their first bits. IPv4 addresses mapped into IPv6 are kept as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn contains(self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            // A shift by the whole width is none: then every address matches.
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                (network.to_bits() ^ peer.to_bits()).checked_shr(32 - self.bits).unwrap_or_default() == 0
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                (network.to_bits() ^ peer.to_bits()).checked_shr(128 - self.bits).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

/// Why a text is no list of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersError(String);

impl fmt::Display for PeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PeersError {}

impl FromStr for Peers {
    type Err = PeersError;

    /// `any`, or a list with commas of addresses and networks, as in `192.0.2.7,10.0.0.0/8,fd00::/8`.
    fn from_str(text: &str) -> Result<Self, PeersError> {
        if text.trim() == "any" {
            return Ok(Self::any());
        }
        text.split(',').map(|part| network(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<Network, PeersError> {
    let refuse = || {
        let shown = text.escape_debug();
        PeersError(format!(
            "\"{shown}\" is no address or network; write for example 192.0.2.7, 10.0.0.0/8, fd00::/8, or any"
        ))
    };
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| refuse())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => width,
        Some(bits) => {
            let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
            bits.parse().ok().filter(|bits| digits && *bits <= width).ok_or_else(refuse)?
        }
    };
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    match (address.to_canonical(), address) {
        (IpAddr::V4(inside), IpAddr::V6(_)) if bits >= 96 => {
            Ok(Network { address: inside.into(), bits: bits - 96 })
        }
        _ => Ok(Network { address, bits }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, peer: &str) -> bool {
        list.parse::<Peers>().unwrap().allows(peer.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_of_both_families() {
        for (list, peer, expected) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "192.0.2.200", true),
            ("::ffff:192.0.2.0/120", "192.0.3.1", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.9.8.7/8", "10.1.1.1", true),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.128", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("[::1]", "::1", true),
            ("::1", "127.0.0.1", false),
            ("2001:db8::/32, 192.0.2.1", "192.0.2.1", true),
            ("any", "2001:db8::1", true),
            ("any", "203.0.113.1", true),
            ("any", "::ffff:203.0.113.1", true),
        ] {
            assert_eq!(allows(list, peer), expected, "{list} {peer}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_in_one_line() {
        for list in [
            "",
            ",",
            "192.0.2.7,",
            "any,192.0.2.7",
            "localhost",
            "192.0.2",
            "192.0.2.7/33",
            "192.0.2.7/+8",
            "192.0.2.7/",
            "192.0.2.7/8/8",
            "::/129",
            "fe80::1%eth0",
            "10.0.0.0/99999999999",
        ] {
            let error = list.parse::<Peers>().unwrap_err().to_string();
            assert!(error.contains("for example") && !error.contains('\n'), "{list}: {error}");
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::repeatable(256))]

        #[test]
        fn a_network_holds_what_agrees_in_its_first_bits(a: u128, b: u128, bits in 0u32..=128) {
            let same = (0..bits).all(|bit| (a ^ b) >> (127 - bit) & 1 == 0);
            // Mapped addresses are IPv4's, and have their own test.
            proptest::prop_assume!(a >> 32 != 0xffff && b >> 32 != 0xffff);
            let list = format!("{}/{bits}", Ipv6Addr::from_bits(a));
            proptest::prop_assert_eq!(allows(&list, &Ipv6Addr::from_bits(b).to_string()), same);
        }
    }
}
