//! Trunks: DNS, reachability, TLS, registration, and the networks that may call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::stream::{self, StreamExt as _};
use hickory_resolver::TokioResolver;
use signalling::{Network, Probe, Transport};
use tokio::time::Instant;

use super::Context;
use super::certificates::judge_validity;
use super::deadline::{CHECK_TIMEOUT, TRUNKS_TIMEOUT};
use super::finding::{Check, Finding, Judgement};
use super::public_address::judge_scope;
use crate::calls::TrunkSettings;
use crate::calls::sip::{Listen, ProbeAnswer, ProbeError, ProbeRoute, TlsPeer, send_probe};
use crate::calls::trunks::dns::{TrunkLookup, find_targets, resolver};
use crate::crypto::random;
use crate::crypto::validity::Validity;
use crate::store::Timestamp;

/// Maximum number of trunks that are examined at the same time.
const MAX_CONCURRENT: usize = 64;
/// Maximum number of addresses of a trunk that are examined.
const MAX_TARGETS: usize = 4;

/// Examines all trunks.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let trunks = &context.config.trunks;
    if trunks.is_empty() {
        return vec![Finding::warning(
            Check::Trunks,
            "all",
            "no [[trunks]] are configured: every call is refused",
            "add a [[trunks]] for the carrier; docs/start/with-your-carrier.md shows one",
        )];
    }
    let resolver = resolver(context.config.sip.dns).map_err(|error| error.to_string());
    let deadline = Instant::now() + TRUNKS_TIMEOUT;
    let mut examinations = Vec::new();
    for trunk in trunks {
        let examined = examine_trunk(context, trunk, &resolver);
        examinations.push(until(deadline, &trunk.name, examined));
    }
    let examined = stream::iter(examinations).buffered(MAX_CONCURRENT);
    let findings: Vec<Vec<Finding>> = examined.collect().await;
    findings.into_iter().flatten().collect()
}

/// Waits for the findings on a trunk, until the time for all trunks has passed.
async fn until(
    deadline: Instant,
    trunk: &str,
    examined: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    let examined = tokio::time::timeout_at(deadline, examined).await;
    examined.unwrap_or_else(|_| {
        let why = "too many trunks do not answer";
        let remedy = "correct the others first, then run this command again";
        vec![Finding::not_checked(Check::Trunks, trunk, why, remedy)]
    })
}

async fn examine_trunk(
    context: &Context,
    trunk: &TrunkSettings,
    resolver: &Result<TokioResolver, String>,
) -> Vec<Finding> {
    let name = trunk.name.as_str();
    let mut findings = vec![judge_sources(trunk).on(Check::Trunks, format!("{name}: callers"))];
    let tls = trunk.tls_peer();
    let Some(lookup) = TrunkLookup::of(trunk, tls.is_some()) else {
        findings.push(Finding::ok(Check::Trunks, name, "takes no calls"));
        return findings;
    };
    let (transport, targets) = match resolve(trunk, &lookup, resolver).await {
        Ok((transport, targets, finding)) => {
            findings.extend(finding);
            (transport, targets)
        }
        Err(finding) => {
            let remedy = "correct the name first";
            let why = "its name does not resolve";
            findings.push(finding);
            findings.push(Finding::not_checked(Check::Trunks, name, why, remedy));
            return findings;
        }
    };
    let public = trunk
        .sip
        .advertised
        .unwrap_or(context.config.sip.public_address);
    let scope = targets
        .iter()
        .find_map(|target| judge_scope(public, target.ip()));
    findings.extend(scope.map(|judgement| judgement.on(Check::PublicAddress, name)));
    let reach = Reach {
        context,
        trunk,
        transport,
        tls: tls.as_ref(),
    };
    let asked = targets.iter().map(|target| reach.examine_target(*target));
    let answers = futures_util::future::join_all(asked).await;
    findings.extend(answers.into_iter().flatten());
    findings.extend(state_of_server(context, name));
    if trunk.sip.register {
        let target = targets.first().copied();
        findings.extend(reach.examine_registration(target).await);
    }
    findings
}

/// Returns a fault for a trunk that the running server marks as away.
fn state_of_server(context: &Context, trunk: &str) -> Option<Finding> {
    let server = context.server.as_ref()?;
    let is_away = server.trunk_gauge("greenpin_trunk_up", trunk) == Some(0);
    is_away.then(|| {
        Finding::fault(
            Check::Trunks,
            format!("{trunk}: state"),
            "the running server marks it as away: no calls go out over it",
            "see the finding on OPTIONS; if this command gets an answer, restart the server or look into its log",
        )
    })
}

/// Judges the networks that may send calls over a trunk.
fn judge_sources(trunk: &TrunkSettings) -> Judgement {
    let sip = &trunk.sip;
    let is_everybody = |network: &&Network| network.prefix == 0;
    let has_password = sip.accept_credentials.is_some();
    if sip.accept_from.iter().any(|network| is_everybody(&network)) {
        return Judgement::Warning(
            "accept_from covers every address: anyone may call over this trunk".to_owned(),
            "name the networks of the carrier in accept_from, or use accept_username, accept_password or tls_peer_name"
                .to_owned(),
        );
    }
    let takes_none = sip.accept_from.is_empty() && !sip.accept_resolved;
    if takes_none && !has_password && sip.tls_peer_name.is_none() {
        return Judgement::Warning(
            "accept_from is empty: no address may call over this trunk".to_owned(),
            "name the networks of the carrier in accept_from, if it is to send calls".to_owned(),
        );
    }
    let mut sources: Vec<String> = crate::config::trunk::networks(&sip.accept_from);
    if sip.accept_resolved
        && sip
            .peer
            .as_ref()
            .is_some_and(|peer| peer.address().is_none())
    {
        sources.push("the addresses of its name".to_owned());
    }
    if let Some(name) = &sip.tls_peer_name {
        sources.push(format!("the certificate of {name}"));
    }
    if has_password {
        sources.push("callers with accept_password".to_owned());
    }
    Judgement::Ok(sources.join(", "))
}

type Resolved = (Transport, Vec<SocketAddr>, Option<Finding>);

/// Returns the addresses of a trunk's next hop, and the finding on its name.
async fn resolve(
    trunk: &TrunkSettings,
    lookup: &TrunkLookup,
    resolver: &Result<TokioResolver, String>,
) -> Result<Resolved, Finding> {
    if let Some(address) = lookup.peer.address() {
        return Ok((lookup.peer.transport, vec![address], None));
    }
    let subject = format!("{}: {}", trunk.name, lookup.peer);
    let fault = |reason: String| {
        let remedy =
            "correct peer or outbound_proxy of the trunk, the records of the name, or sip.dns";
        Finding::fault(Check::Dns, &subject, reason, remedy)
    };
    let resolver = resolver.as_ref().map_err(|error| {
        fault(format!(
            "the DNS settings of the system cannot be used: {error}"
        ))
    })?;
    let found = tokio::time::timeout(CHECK_TIMEOUT, find_targets(resolver, lookup)).await;
    let (transport, groups) = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(fault(error.to_string())),
        Err(_) => return Err(fault("the DNS does not answer".to_owned())),
    };
    let mut targets: Vec<SocketAddr> = groups
        .into_iter()
        .flat_map(|group| group.addresses)
        .collect();
    targets.dedup();
    if targets.is_empty() {
        return Err(fault("the name has no address for SIP".to_owned()));
    }
    let shown: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let reason = format!("{} over {}", shown.join(", "), word(transport));
    targets.truncate(MAX_TARGETS);
    let finding = Finding::ok(Check::Dns, subject, reason);
    Ok((transport, targets, Some(finding)))
}

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}

/// Way to a trunk.
struct Reach<'a> {
    context: &'a Context,
    trunk: &'a TrunkSettings,
    transport: Transport,
    tls: Option<&'a TlsPeer>,
}

impl Reach<'_> {
    fn route(&self, target: SocketAddr) -> ProbeRoute<'_> {
        ProbeRoute {
            transport: self.transport,
            peer: target,
            from: source_address(
                &self.context.config.sip.listen,
                self.transport,
                target,
                self.trunk.sip.advertised,
            ),
            tls: self.tls,
        }
    }

    /// Judges a listen address from which nothing reaches the trunk.
    fn judge_way(&self, target: SocketAddr) -> Option<Judgement> {
        let from = self.route(target).from;
        (from.is_loopback() && !target.ip().is_loopback()).then(|| {
            Judgement::Fault(
                format!("sip.listen has only {from} for this transport, and {target} cannot be reached from there"),
                "listen on 0.0.0.0, or on the address of this machine in the network of the trunk"
                    .to_owned(),
            )
        })
    }

    /// Sends OPTIONS to an address of the trunk.
    async fn examine_target(&self, target: SocketAddr) -> Vec<Finding> {
        let (trunk, transport) = (&self.trunk.sip, self.transport);
        let subject = format!("{}: {} {target}", self.trunk.name, word(transport));
        if let Some(judgement) = self.judge_way(target) {
            return vec![judgement.on(Check::Trunks, subject)];
        }
        let make = |local| Probe::options(trunk, transport, local, Box::new(random::u64));
        let answer = send_probe(self.route(target), make, CHECK_TIMEOUT).await;
        let mut findings = Vec::new();
        if transport == Transport::Tls {
            findings.push(of_certificates(&answer, &self.trunk.name));
        }
        let judgement = match &answer {
            Ok(ProbeAnswer { status, after, .. }) => judge_status(*status, after.as_millis()),
            Err(error) => judge_failure(error, trunk.keep_alive.is_some()),
        };
        findings.push(judgement.on(Check::Trunks, subject));
        findings
    }

    /// Examines the registration: of the running server, or by a query that changes nothing.
    async fn examine_registration(&self, target: Option<SocketAddr>) -> Option<Finding> {
        let name = &self.trunk.name;
        let subject = format!("{name}: registration");
        let server = self.context.server.as_ref();
        if let Some(server) = server {
            let registered = server.trunk_gauge("greenpin_trunk_registered", name);
            let judgement = judge_registered(registered);
            return Some(judgement.on(Check::Trunks, subject));
        }
        let (trunk, transport) = (&self.trunk.sip, self.transport);
        let make =
            |local| Probe::registration_query(trunk, transport, local, Box::new(random::u64));
        let answer = send_probe(self.route(target?), make, CHECK_TIMEOUT).await;
        let judgement = match answer {
            Ok(answer) => judge_query(answer.status),
            Err(error) => Judgement::Warning(
                format!("not checked: {error}"),
                "make the registrar reachable first".to_owned(),
            ),
        };
        Some(judgement.on(Check::Trunks, subject))
    }
}

/// Returns the local address from which the server reaches a peer; an unspecified one if the system chooses it, as for
/// the connections of a transport with one listen address. `named`: the address that the trunk is given.
fn source_address(
    listen: &[Listen],
    transport: Transport,
    peer: SocketAddr,
    named: Option<IpAddr>,
) -> IpAddr {
    let own = listen
        .iter()
        .filter(|listen| listen.transport == transport)
        .map(|listen| listen.address.ip());
    let is_bound = !transport.is_stream() || own.clone().count() > 1;
    let mut fitting = own.filter(|ip| is_bound && ip.is_ipv4() == peer.is_ipv4());
    let preferred = fitting.clone().find(|ip| Some(*ip) == named);
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    preferred.or_else(|| fitting.next()).unwrap_or(any)
}

fn of_certificates(answer: &Result<ProbeAnswer, ProbeError>, trunk: &str) -> Finding {
    let subject = format!("{trunk}: peer");
    match answer {
        Ok(ProbeAnswer { certificates, .. }) => match Validity::of_all(certificates) {
            Some(validity) => {
                let remedy = "ask the carrier to renew its certificate";
                judge_validity(validity, Timestamp::now(), remedy).on(Check::Tls, subject)
            }
            None => Finding::ok(Check::Tls, subject, "verified"),
        },
        Err(ProbeError::Tls(error)) => Finding::fault(
            Check::Tls,
            subject,
            error.to_string(),
            "the certificate must be for the host in peer, valid, and lead to a CA in tls_ca or of the system",
        ),
        Err(ProbeError::Settings(error)) => Finding::fault(
            Check::Tls,
            subject,
            error.to_string(),
            "correct tls_ca, tls_certificate or tls_key of the trunk",
        ),
        Err(error) => {
            Finding::not_checked(Check::Tls, subject, error, "make the peer reachable first")
        }
    }
}

/// Judges the status of a response to OPTIONS, as the server does for its keep-alive.
fn judge_status(status: u16, milliseconds: u128) -> Judgement {
    let reason = format!("answers {status} in {milliseconds} ms");
    match status {
        408 | 503 => Judgement::Fault(
            format!("{reason}: the server marks the trunk as away"),
            "ask the carrier: its equipment has no capacity, or blocks this address".to_owned(),
        ),
        403 => Judgement::Warning(
            format!("{reason}: it may not know the address of this machine"),
            "ask the carrier which addresses it expects, and compare sip.public_address".to_owned(),
        ),
        _ => Judgement::Ok(reason),
    }
}

/// Judges a probe without a response. `is_probed`: the server sends OPTIONS, too.
fn judge_failure(error: &ProbeError, is_probed: bool) -> Judgement {
    match error {
        ProbeError::Tls(_) | ProbeError::Settings(_) => Judgement::Warning(
            "not checked: there is no TLS connection".to_owned(),
            "correct the certificate first".to_owned(),
        ),
        ProbeError::NoAnswer(_) if !is_probed => Judgement::Warning(
            format!("OPTIONS gets {error}; keep_alive = 0 says that the carrier does not support it"),
            "make a test call; if it fails, check address and port of peer, and the firewall".to_owned(),
        ),
        error => Judgement::Fault(
            format!("OPTIONS fails: {error}"),
            "check address, port and transport of peer, the firewall, and that the carrier knows this address; if it does \
             not support OPTIONS, set keep_alive = 0"
                .to_owned(),
        ),
    }
}

fn judge_registered(gauge: Option<i64>) -> Judgement {
    match gauge {
        Some(0) => Judgement::Fault(
            "the carrier does not accept the registration of the server".to_owned(),
            "check username, password and realm of the trunk; the log of the server has the status"
                .to_owned(),
        ),
        Some(_) => Judgement::Ok("the server is registered".to_owned()),
        None => Judgement::Warning(
            "not checked: the server does not report its state".to_owned(),
            "make the HTTP API of the server answer first".to_owned(),
        ),
    }
}

fn judge_query(status: u16) -> Judgement {
    match status {
        200..300 => Judgement::Ok(format!("the registrar accepts the credentials ({status})")),
        401 | 403 | 407 => Judgement::Fault(
            format!("the registrar refuses the credentials ({status})"),
            "check username, password and realm of the trunk".to_owned(),
        ),
        404 => Judgement::Fault(
            "the registrar does not know the user (404)".to_owned(),
            "check username of the trunk".to_owned(),
        ),
        status => Judgement::Warning(
            format!("the registrar answers {status} to a query without Contact"),
            "start the server: its log has the result of the registration".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signalling::{Credentials, TrunkPeer};

    use super::*;

    fn trunk(networks: &[(&str, u8)]) -> TrunkSettings {
        let networks = networks.iter().map(|(address, prefix)| Network {
            address: address.parse().unwrap(),
            prefix: *prefix,
        });
        TrunkSettings {
            sip: signalling::Trunk {
                accept_from: networks.collect(),
                ..signalling::Trunk::default()
            },
            ..TrunkSettings::default()
        }
    }

    #[test]
    fn callers_from_everywhere_or_nowhere_are_a_warning() {
        let judged = |networks: &[(&str, u8)]| judge_sources(&trunk(networks));
        assert_eq!(
            judged(&[("192.0.2.0", 24)]),
            Judgement::Ok("192.0.2.0/24".to_owned())
        );
        for networks in [&[][..], &[("192.0.2.0", 24), ("0.0.0.0", 0)], &[("::", 0)]] {
            assert!(matches!(judged(networks), Judgement::Warning(..)));
        }
        let mut known = trunk(&[]);
        known.sip.accept_credentials = Some(Credentials {
            username: "user".into(),
            password: "fictional".into(),
            realm: None,
        });
        assert!(matches!(judge_sources(&known), Judgement::Ok(_)));
        let mut named = trunk(&[]);
        named.sip.accept_resolved = true;
        named.sip.peer = Some(TrunkPeer {
            transport: Transport::Udp,
            host: signalling::Host::Domain("carrier.example".into()),
        });
        assert!(matches!(judge_sources(&named), Judgement::Ok(_)));
    }

    #[test]
    fn a_status_counts_as_for_the_keep_alive_of_the_server() {
        for status in [200, 401, 404, 405, 407, 486, 501] {
            assert!(
                matches!(judge_status(status, 3), Judgement::Ok(_)),
                "{status}"
            );
        }
        assert!(matches!(judge_status(403, 3), Judgement::Warning(..)));
        for status in [408, 503] {
            assert!(
                matches!(judge_status(status, 3), Judgement::Fault(..)),
                "{status}"
            );
        }
    }

    #[test]
    fn no_answer_is_a_fault_unless_the_server_sends_no_options() {
        let lost = ProbeError::NoAnswer(Duration::from_secs(5));
        assert!(matches!(judge_failure(&lost, true), Judgement::Fault(..)));
        assert!(matches!(
            judge_failure(&lost, false),
            Judgement::Warning(..)
        ));
        let refused = ProbeError::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(
            judge_failure(&refused, false),
            Judgement::Fault(..)
        ));
    }

    #[test]
    fn a_registration_is_judged_by_the_server_or_by_a_query() {
        assert!(matches!(judge_registered(Some(1)), Judgement::Ok(_)));
        assert!(matches!(judge_registered(Some(0)), Judgement::Fault(..)));
        assert!(matches!(judge_registered(None), Judgement::Warning(..)));
        assert!(matches!(judge_query(200), Judgement::Ok(_)));
        assert!(matches!(judge_query(500), Judgement::Warning(..)));
        for status in [401, 403, 404, 407] {
            assert!(
                matches!(judge_query(status), Judgement::Fault(..)),
                "{status}"
            );
        }
    }

    #[test]
    fn a_probe_leaves_from_the_address_that_the_server_uses() {
        let from = |listen: &[&str], transport, peer: &str, named: Option<&str>| {
            let listen: Vec<Listen> = listen.iter().map(|word| word.parse().unwrap()).collect();
            let named = named.map(|named| named.parse().unwrap());
            source_address(&listen, transport, peer.parse().unwrap(), named).to_string()
        };
        let one = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"];
        let two = [
            "udp:192.0.2.1:5060",
            "udp:192.0.2.2:5060",
            "tcp:192.0.2.1:5060",
            "tcp:192.0.2.2:5060",
        ];
        let (v4, v6) = ("198.51.100.5:5060", "[2001:db8::5]:5060");
        assert_eq!(from(&one, Transport::Udp, v4, None), "192.0.2.1");
        assert_eq!(from(&one, Transport::Tcp, v4, None), "0.0.0.0");
        assert_eq!(from(&one, Transport::Tls, v4, None), "0.0.0.0");
        assert_eq!(from(&one, Transport::Udp, v6, None), "::");
        assert_eq!(from(&two, Transport::Tcp, v4, None), "192.0.2.1");
        let named = Some("192.0.2.2");
        assert_eq!(from(&two, Transport::Udp, v4, named), "192.0.2.2");
        assert_eq!(from(&two, Transport::Tcp, v4, named), "192.0.2.2");
    }
}
