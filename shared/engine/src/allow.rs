//! Networks that may send webhooks: a firewall before the signature, for who knows the addresses of its senders.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a list of networks looks like, for whoever wrote one that does not.
pub const FORM: &str = "networks like 192.0.2.0/24 or 2001:db8::/32 with commas";

/// Networks, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Networks with commas; a single address needs its length too (`192.0.2.7/32`). `None`: that is no such list.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|net| net.trim().parse().ok()).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether an address is in one of them; one that nobody told is in none. An IPv4 address in the dress of IPv6, as a
    /// socket for both gives it, is the IPv4 address.
    #[must_use]
    pub fn hold(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.0.iter().any(|net| net.contains(&address.to_canonical())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_networks_and_nothing_else() {
        for text in
            ["", "192.0.2.0", "192.0.2.0/33", "192.0.2.0/24,", "anywhere", "192.0.2.0/24;2001:db8::/32"]
        {
            assert_eq!(Networks::parse(text), None, "{text}");
        }
        let both = Networks::parse("192.0.2.0/24, 2001:db8::/32").unwrap();
        let held = |address: &str| both.hold(address.parse().ok());
        assert!(held("192.0.2.255") && held("2001:db8::1") && held("::ffff:192.0.2.9"));
        assert!(!held("192.0.3.0") && !held("2001:db9::1") && !held("::ffff:192.0.3.9") && !held("unknown"));
    }
}
