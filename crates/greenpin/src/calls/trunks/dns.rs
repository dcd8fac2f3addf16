//! Resolution of trunk names with NAPTR, SRV and address records (RFC 3263, section 4; RFC 2782), repeated after the
//! records expire.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use call::deadline;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::NAPTR;
use hickory_resolver::proto::rr::{RData, RecordType};
use signalling::{Host, TargetGroup, Transport, TrunkPeer};
use tokio::sync::mpsc;

use super::selection::TrunkSettings;
use crate::calls::Command;
use crate::crypto::random;
use crate::limits::backoff;

/// Minimum time between two lookups, even if the TTL is shorter.
pub const MIN_LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time between two lookups, even if the TTL is longer.
pub const MAX_LOOKUP_INTERVAL: Duration = Duration::from_secs(3600);
/// Time to the next lookup of a name without addresses.
pub const EMPTY_LOOKUP_INTERVAL: Duration = Duration::from_secs(5);
/// Delay after the first failed lookup. It doubles with each failure.
pub const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum delay after a failed lookup.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Target of an SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SrvTarget {
    priority: u16,
    weight: u16,
    host: String,
    port: u16,
}

/// Trunk peer to resolve.
#[derive(Debug, Clone)]
pub(crate) struct TrunkLookup {
    /// Peer with a host name or a domain.
    pub(crate) peer: TrunkPeer,
    /// Use of TLS for a domain, for a peer without an explicit transport.
    pub(crate) tls: TlsPolicy,
}

/// Use of TLS for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsPolicy {
    /// Never, because the peer has no TLS settings.
    Never,
    /// If DNS offers it.
    Possible,
    /// Always, because the configuration names certificates for the trunk.
    Always,
}

impl TrunkLookup {
    /// Returns the lookup for the next hop of a trunk, also if it is an address; `None` for a trunk without a peer.
    /// `has_tls`: the trunk has TLS settings.
    pub(crate) fn of(trunk: &TrunkSettings, has_tls: bool) -> Option<Self> {
        let tls = match has_tls {
            true if trunk.has_tls_files() => TlsPolicy::Always,
            true => TlsPolicy::Possible,
            false => TlsPolicy::Never,
        };
        let peer = trunk.sip.next_hop()?.clone();
        Some(Self { peer, tls })
    }
}

impl TlsPolicy {
    fn allows(self, transport: Transport) -> bool {
        match self {
            Self::Never => transport != Transport::Tls,
            Self::Possible => true,
            Self::Always => transport == Transport::Tls,
        }
    }
}

/// Addresses of a name, with their expiry.
#[derive(Debug)]
struct LookupResult {
    transport: Transport,
    targets: Vec<TargetGroup>,
    until: Instant,
}

/// Creates a resolver for one DNS server, or for the servers of the system.
pub(crate) fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let Some(server) = server else {
        return TokioResolver::builder_tokio()?.build();
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let config = ResolverConfig::from_name_servers(vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
}

/// Sends the addresses of a trunk's peer to the engine, until the engine stops. A name without addresses is sent as an
/// empty list. After a failed lookup the previous addresses stay in use.
pub(in crate::calls) async fn keep_resolved(
    resolver: TokioResolver,
    (trunk, name): (usize, String),
    lookup: TrunkLookup,
    engine: mpsc::UnboundedSender<Command>,
) {
    let mut failures: u32 = 0;
    while !engine.is_closed() {
        let wait = match resolve(&resolver, &lookup).await {
            Ok(found) => {
                failures = 0;
                let wait = found
                    .until
                    .saturating_duration_since(Instant::now())
                    .clamp(MIN_LOOKUP_INTERVAL, MAX_LOOKUP_INTERVAL);
                let wait = if found.targets.is_empty() {
                    EMPTY_LOOKUP_INTERVAL
                } else {
                    wait
                };
                if engine
                    .send(Command::Targets(trunk, found.transport, found.targets))
                    .is_err()
                {
                    return;
                }
                wait
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(trunk = name, %error, "DNS lookup of a trunk failed");
                }
                backoff::delay(MIN_RETRY_DELAY, MAX_RETRY_DELAY, failures, random::u64())
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Looks up the transport and the addresses of a trunk's peer once.
pub(crate) async fn find_targets(
    resolver: &TokioResolver,
    lookup: &TrunkLookup,
) -> Result<(Transport, Vec<TargetGroup>), NetError> {
    let found = resolve(resolver, lookup).await?;
    Ok((found.transport, found.targets))
}

async fn resolve(resolver: &TokioResolver, lookup: &TrunkLookup) -> Result<LookupResult, NetError> {
    let transport = lookup.peer.transport;
    let mut found = LookupResult {
        transport,
        targets: Vec::new(),
        until: deadline(Instant::now(), MAX_LOOKUP_INTERVAL),
    };
    match &lookup.peer.host {
        Host::Address(address) => found.targets.push(TargetGroup::single(vec![*address])),
        // RFC 3263, section 4.2: with an explicit port only the addresses are looked up.
        Host::Name {
            host,
            port: Some(port),
        } => add_host(resolver, host, *port, &mut found).await?,
        Host::Name { host, port: None } => {
            let srv_names = [(transport, service_name(host, transport))];
            resolve_services(resolver, host, srv_names, &mut found).await?;
        }
        Host::Domain(host) => {
            let mut srv_names = naptr_targets(resolver, host, &mut found).await?;
            if srv_names.is_empty() {
                // A domain without NAPTR records offers the transports of its SRV records.
                let transports = SERVICES.iter().map(|(transport, ..)| *transport);
                srv_names = transports
                    .map(|transport| (transport, service_name(host, transport)))
                    .collect();
            }
            srv_names.retain(|(transport, _)| lookup.tls.allows(*transport));
            // The NAPTR records are binding: without a usable transport the domain has no addresses.
            let Some((first, _)) = srv_names.first() else {
                return Ok(found);
            };
            found.transport = *first;
            resolve_services(resolver, host, srv_names, &mut found).await?;
        }
    }
    Ok(found)
}

/// Transports with their NAPTR services and SRV labels (RFC 3263, sections 4.1 and 4.2), in the order of attempts for a
/// domain without NAPTR records.
const SERVICES: [(Transport, &str, &str); 3] = [
    (Transport::Udp, "SIP+D2U", "_sip._udp"),
    (Transport::Tcp, "SIP+D2T", "_sip._tcp"),
    (Transport::Tls, "SIPS+D2T", "_sips._tcp"),
];

/// Transport and the name of its SRV records.
type SrvName = (Transport, String);

fn service_name(host: &str, transport: Transport) -> String {
    let service = SERVICES
        .iter()
        .find(|(candidate, ..)| *candidate == transport)
        .map_or("", |(_, _, service)| service);
    format!("{service}.{host}.")
}

/// Returns the SRV names in the NAPTR records of a domain, the preferred name first.
async fn naptr_targets(
    resolver: &TokioResolver,
    host: &str,
    found: &mut LookupResult,
) -> Result<Vec<SrvName>, NetError> {
    let answer = match resolver.lookup(format!("{host}."), RecordType::NAPTR).await {
        Ok(answer) => answer,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    found.until = found.until.min(answer.valid_until());
    let records = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::NAPTR(naptr) => Some(((naptr.order, naptr.preference), naptr_target(naptr)?)),
            _ => None,
        });
    let mut srv_names: Vec<_> = records.collect();
    srv_names.sort_by_key(|(order, _)| *order);
    Ok(srv_names.into_iter().map(|(_, target)| target).collect())
}

/// Returns the SRV name of a NAPTR record; `None` if the record is not for SIP over a supported transport.
fn naptr_target(naptr: &NAPTR) -> Option<SrvName> {
    let fits = |service: &str| naptr.services.eq_ignore_ascii_case(service.as_bytes());
    let (transport, ..) = SERVICES.iter().find(|(_, service, _)| fits(service))?;
    let leads_to_services = naptr.flags.eq_ignore_ascii_case(b"s") && naptr.regexp.is_empty();
    leads_to_services.then(|| (*transport, naptr.replacement.to_utf8()))
}

/// Looks up the addresses of the first transport with SRV records, in the order of attempts. Without SRV records, the
/// addresses of the host name itself are used with the transport already chosen.
async fn resolve_services(
    resolver: &TokioResolver,
    host: &str,
    srv_names: impl IntoIterator<Item = SrvName>,
    found: &mut LookupResult,
) -> Result<(), NetError> {
    for (transport, name) in srv_names {
        let services = services(resolver, name, found).await?;
        if services.is_empty() {
            continue;
        }
        found.transport = transport;
        for service in service_order(services, random::below) {
            let addresses = addresses(resolver, &service.host, service.port, found).await?;
            found.targets.push(TargetGroup {
                priority: service.priority,
                weight: service.weight,
                addresses,
            });
        }
        found.targets.retain(|group| !group.addresses.is_empty());
        return Ok(());
    }
    add_host(resolver, host, found.transport.default_port(), found).await
}

/// Adds the addresses of a host name as one group.
async fn add_host(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
    found: &mut LookupResult,
) -> Result<(), NetError> {
    let addresses = addresses(resolver, host, port, found).await?;
    if !addresses.is_empty() {
        found.targets.push(TargetGroup::single(addresses));
    }
    Ok(())
}

/// Returns the targets in the SRV records of a name; empty if it has none.
async fn services(
    resolver: &TokioResolver,
    name: String,
    found: &mut LookupResult,
) -> Result<Vec<SrvTarget>, NetError> {
    let answer = match resolver.lookup(name, RecordType::SRV).await {
        Ok(answer) => answer,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    found.until = found.until.min(answer.valid_until());
    let services = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(SrvTarget {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_utf8(),
                port: srv.port,
            }),
            _ => None,
        });
    Ok(services.collect())
}

async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
    found: &mut LookupResult,
) -> Result<Vec<SocketAddr>, NetError> {
    // RFC 2782: the root as target means that the service is not available.
    if host == "." {
        return Ok(Vec::new());
    }
    let host = if host.ends_with('.') {
        host.to_owned()
    } else {
        format!("{host}.")
    };
    match resolver.lookup_ip(host).await {
        Ok(answer) => {
            found.until = found.until.min(answer.valid_until());
            Ok(answer.iter().map(|ip| SocketAddr::new(ip, port)).collect())
        }
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Sorts SRV targets into the order of attempts (RFC 2782): by ascending priority number, then at random by weight.
/// `draw` returns a number below its argument.
fn service_order(
    mut remaining: Vec<SrvTarget>,
    mut draw: impl FnMut(u64) -> u64,
) -> Vec<SrvTarget> {
    let mut ordered = Vec::with_capacity(remaining.len());
    // Targets without weight go first, so that only a drawn 0 chooses them.
    remaining.sort_by_key(|service| (service.priority, service.weight));
    while let Some(first) = remaining.first() {
        let priority = first.priority;
        let equals = remaining
            .iter()
            .take_while(|service| service.priority == priority);
        let sums: Vec<u64> = equals
            .scan(0_u64, |sum, service| {
                *sum = sum.saturating_add(service.weight.into());
                Some(*sum)
            })
            .collect();
        let drawn = draw(sums.last().map_or(1, |sum| sum.saturating_add(1)));
        let chosen = sums.iter().position(|sum| *sum >= drawn).unwrap_or(0);
        ordered.push(remaining.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    fn service(priority: u16, weight: u16, host: &str) -> SrvTarget {
        SrvTarget {
            priority,
            weight,
            host: host.to_owned(),
            port: 5060,
        }
    }

    fn hosts(services: Vec<SrvTarget>, draw: impl FnMut(u64) -> u64) -> String {
        service_order(services, draw)
            .into_iter()
            .map(|service| service.host)
            .collect()
    }

    #[test]
    fn a_naptr_record_names_srv_records_of_a_supported_transport_or_is_ignored() {
        let record = |flags: &str, service: &str, regexp: &str| {
            let name = Name::from_utf8("_sip._tcp.example.").unwrap();
            let [flags, service, regexp] =
                [flags, service, regexp].map(|text| text.as_bytes().into());
            naptr_target(&NAPTR::new(1, 1, flags, service, regexp, name))
        };
        let leads = |transport| Some((transport, "_sip._tcp.example.".to_owned()));
        assert_eq!(record("s", "SIP+D2T", ""), leads(Transport::Tcp));
        assert_eq!(record("S", "sip+d2u", ""), leads(Transport::Udp));
        assert_eq!(record("s", "SIPS+D2T", ""), leads(Transport::Tls));
        for (flags, service, regexp) in [
            ("s", "SIP+D2S", ""),
            ("u", "SIP+D2T", ""),
            ("s", "SIP+D2T", "!.*!sip:a!"),
            ("", "", ""),
        ] {
            assert_eq!(
                record(flags, service, regexp),
                None,
                "{flags} {service} {regexp}"
            );
        }
    }

    #[test]
    fn srv_targets_are_ordered_by_priority_and_drawn_by_weight() {
        let services = || {
            vec![
                service(20, 9, "z"),
                service(10, 3, "b"),
                service(10, 1, "a"),
                service(10, 0, "n"),
            ]
        };
        assert_eq!(hosts(services(), |_| 0), "nabz");
        assert_eq!(hosts(services(), |limit| limit - 1), "banz");
        let firsts: String = (0..5)
            .map(|drawn| hosts(services(), |limit| drawn % limit).remove(0))
            .collect();
        assert_eq!(firsts, "nabbb");
        assert_eq!(hosts(Vec::new(), |_| 0), "");
    }
}
