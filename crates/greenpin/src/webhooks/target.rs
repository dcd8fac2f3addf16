//! Addresses that webhooks may be sent to. A tenant's URL must not reach the operator's own
//! network.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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

/// Resolver that returns public addresses only. The connection uses the checked addresses, so a
/// name cannot change to a private address between check and use.
pub(super) struct CheckedResolver {
    pub(super) resolver: Resolver,
    pub(super) allow_private: bool,
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

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow_private) = (
            (self.resolver)(name.as_str().to_owned()),
            self.allow_private,
        );
        Box::pin(async move {
            let found = lookup.await?;
            let allowed = |address: &IpAddr| allow_private || is_public_address(*address);
            let allowed: Vec<_> = found.into_iter().filter(allowed).collect();
            if allowed.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(
                allowed
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0)),
            ) as Addrs)
        })
    }
}

/// Returns whether the host of a URL is a public address, or a name, which [`CheckedResolver`]
/// checks.
pub(super) fn is_public(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    matches!(url.scheme(), "http" | "https") && host.parse().map_or(true, is_public_address)
}

fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Returns whether an address is outside the special-purpose blocks (RFC 6890): loopback, private,
/// shared, link-local with the metadata services of clouds, multicast, reserved.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

/// Returns whether an address is global unicast (2000::/3), outside the blocks for documentation
/// and for embedded IPv4 addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    let global = first & 0xe000 == 0x2000;
    global && first != 0x2002 && !(first == 0x2001 && matches!(second, 0 | 0x0db8))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let given = CheckedResolver {
            resolver,
            allow_private,
        }
        .resolve("hooks.example.com".parse().unwrap())
        .await;
        given
            .ok()
            .map(|addresses| addresses.map(|address| address.ip().to_string()).collect())
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
        let name = || "rebound.example.com".parse().unwrap();
        assert!(checked.resolve(name()).await.is_ok());
        let error = checked.resolve(name()).await.err().unwrap();
        assert!(error.is::<NoPublicAddress>());
    }
}
