//! The block of addresses that counts as one where clients share something fairly.
//!
//! A client with one machine has mostly a /64 of IPv6 addresses, or a few of a /24 of IPv4. So a share for each address
//! would be as many shares as a client wants.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4_BITS: u32 = 24;
const V6_BITS: u32 = 64;

/// A /24 of IPv4 or a /64 of IPv6, by its first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressBlock(IpAddr);

impl AddressBlock {
    /// An IPv4 address within an IPv6 one is the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << (32 - V4_BITS))).into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - V6_BITS))).into()),
        }
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { V4_BITS } else { V6_BITS };
        write!(f, "{}/{bits}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_block() {
        let block = |text: &str| AddressBlock::of(text.parse().expect("an address")).to_string();
        assert_eq!(block("10.1.2.3"), "10.1.2.0/24");
        assert_eq!(block("::ffff:10.1.2.255"), "10.1.2.0/24");
        assert_eq!(block("10.1.3.3"), "10.1.3.0/24");
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(block("2001:db8:1:3::"), "2001:db8:1:3::/64");
    }
}
