//! Addresses that webhooks may be sent to. A tenant's URL must not reach the operator's own
//! network.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;

use url::Url;

/// Function that resolves a host name.
pub type Resolver = Arc<dyn Fn(String) -> Lookup + Send + Sync>;
/// The addresses of a host.
type Lookup = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Returns the system's resolver.
pub(super) fn system() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Error for a name without a public address.
#[derive(Debug)]
pub(super) struct NoPublicAddress;

impl fmt::Display for NoPublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no public address")
    }
}

impl Error for NoPublicAddress {}

/// Returns whether the host of a URL is a public address, or a name, which [`CheckedResolver`]
/// checks.
pub(super) fn is_public(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    matches!(url.scheme(), "http" | "https") && host.parse().map_or(true, is_public_address)
}

/// Returns whether an address can be reached over the public Internet.
pub(crate) fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !is_within(address.to_bits().into(), 32, SPECIAL_V4),
        IpAddr::V6(address) => {
            is_within(address.to_bits(), 128, GLOBAL_V6)
                && !is_within(address.to_bits(), 128, SPECIAL_V6)
        }
    }
}

/// Returns whether an address is in one of the blocks. `width`: bits of an address.
fn is_within<A: Copy + Into<IpAddr>>(address: u128, width: u32, blocks: &[(A, u32)]) -> bool {
    blocks.iter().any(|(block, prefix)| {
        let block = match (*block).into() {
            IpAddr::V4(block) => block.to_bits().into(),
            IpAddr::V6(block) => block.to_bits(),
        };
        let ignored = width.saturating_sub(*prefix);
        address.checked_shr(ignored) == u128::checked_shr(block, ignored)
    })
}

/// Blocks of the IANA IPv4 special-purpose address registry that are not globally reachable (RFC 6890), multicast, and
/// the addresses at which clouds serve the credentials of a machine.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // A virtual address of Azure, which is outside the registry.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Includes the metadata services of clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Relays to IPv6 networks (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Global unicast (RFC 4291, section 2.4). Everything else is refused: loopback, link-local, unique local, multicast,
/// and the prefixes with embedded IPv4 addresses.
const GLOBAL_V6: &[(Ipv6Addr, u32)] = &[(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)];

/// Blocks of global unicast that are not globally reachable, or lead to an embedded IPv4 address.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    // IETF protocol assignments: Teredo, benchmarking, ORCHID, drone identities.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::connector::CheckedResolver;

    #[test]
    fn only_public_hosts_are_allowed() {
        for (url, public) in [
            ("https://hooks.example.com/x", true),
            ("https://93.184.216.34/", true),
            ("https://[2606:2800:220:1::1]/", true),
            ("http://127.0.0.1/", false),
            ("http://0x7f000001/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://10.0.0.1/", false),
            ("http://172.31.0.1/", false),
            ("http://192.168.1.1/", false),
            ("http://169.254.169.254/latest/meta-data", false),
            ("http://100.100.0.1/", false),
            ("http://[fd00::1]/", false),
            ("http://[fe80::1]/", false),
            ("http://[64:ff9b::7f00:1]/", false),
            ("http://[2002:7f00:1::]/", false),
            ("http://0.0.0.0/", false),
            ("http://168.63.129.16/", false),
            ("http://168.63.129.17/", true),
            ("http://192.88.99.1/", false),
            ("http://[3fff:1::1]/", false),
            ("http://[2001:20::1]/", false),
            ("http://[2001:1ff::1]/", false),
            ("http://[2001:200::1]/", true),
            ("ftp://hooks.example.com/", false),
        ] {
            assert_eq!(is_public(&Url::parse(url).unwrap()), public, "{url}");
        }
    }

    async fn resolve(found: &[&str], allow_private: bool) -> Option<Vec<String>> {
        let found: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
        let resolver: Resolver = Arc::new(move |_| {
            let found = found.clone();
            Box::pin(async { Ok(found) })
        });
        let checked = CheckedResolver {
            resolver,
            allow_private,
        };
        let given = checked.resolve("hooks.example.com".into()).await.ok()?;
        Some(
            given
                .iter()
                .map(|address| address.ip().to_string())
                .collect(),
        )
    }

    #[tokio::test]
    async fn of_the_addresses_of_a_name_only_public_ones_are_given_out() {
        let public = ["93.184.216.34", "2606:2800:220:1::1"];
        let private = [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0:53aa:64c::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        let all: Vec<&str> = public.into_iter().chain(private).collect();
        assert_eq!(resolve(&all, false).await.unwrap(), public);
        for address in private {
            assert_eq!(resolve(&[address], false).await, None, "{address}");
        }
        assert_eq!(resolve(&private, true).await.unwrap().len(), private.len());
        assert_eq!(resolve(&[], true).await, None);
    }

    #[tokio::test]
    async fn a_name_that_turns_private_between_two_connections_is_refused_at_the_second() {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let resolver: Resolver = Arc::new(move |_| {
            let again = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
            let address: IpAddr = if again { "127.0.0.1" } else { "93.184.216.34" }
                .parse()
                .unwrap();
            Box::pin(async move { Ok(vec![address]) })
        });
        let checked = CheckedResolver {
            resolver,
            allow_private: false,
        };
        let name = || "rebound.example.com".to_owned();
        assert!(checked.clone().resolve(name()).await.is_ok());
        let error = checked.resolve(name()).await.unwrap_err();
        assert!(error.is::<NoPublicAddress>());
    }
}
