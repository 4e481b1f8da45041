use std::net::IpAddr;

/// The network that a client calls from: an IPv4 address, or the first 56 bits of an IPv6 address, which is what a provider gives one home
/// (RFC 6177 section 2). Taken from the gateway's own word, never from a header that a client can write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Network(String);

impl Network {
    /// The network of an address, or of every address that is none: those share their limits.
    pub fn of(address: Option<&str>) -> Self {
        let address = address.and_then(|text| text.trim().parse::<IpAddr>().ok());
        Self(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{:x}::", d & 0xff00)
            }
            None => "unknown".into(),
        })
    }

    /// The network as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_are_one_network() {
        let network = |text| Network::of(Some(text));
        assert_eq!(network("198.51.100.7").as_str(), "198.51.100.7");
        assert_ne!(network("198.51.100.7"), network("198.51.100.8"));
        assert_eq!(network("::ffff:198.51.100.7"), network("198.51.100.7"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:0db8:0001:0002:ffff::9"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:ff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:100::1"));
        for rubbish in ["", "x", "1.2.3", "1.2.3.4, 5.6.7.8", "PACE#"] {
            assert_eq!(network(rubbish), Network::of(None), "{rubbish}");
        }
    }
}
