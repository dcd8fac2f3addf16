//! Trunk settings and state, and the order of trunks for an outgoing call.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use call::PhoneNumber;
use rlibphonenumber::Region;
use signalling::Transport;
use signalling::sdes::SrtpMode;

use super::number_format::NumberFormat;
use crate::calls::sip::{Identity, TlsPeer};
use crate::destinations::{NumberPrefix, TrunkDestinations};
use crate::store::TenantId;

/// Default statuses after which the next trunk is tried: the trunk is unreachable, overloaded or faulty, or the callee
/// is not available over it.
pub(crate) const DEFAULT_FAILOVER_ON: [u16; 6] = [408, 480, 500, 502, 503, 504];

/// Default time for the first response of a trunk to an INVITE.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

/// Configuration of a trunk to a carrier.
#[derive(Debug, Clone)]
pub struct TrunkSettings {
    /// Name of the trunk in call records and logs.
    pub name: String,
    /// Addresses, credentials and registration for SIP.
    pub sip: signalling::Trunk,
    /// PEM file with the CA certificates for the peer; `None`: the system's CA certificates.
    pub tls_ca: Option<PathBuf>,
    /// Client certificate for TLS connections to the peer; `None`: no client certificate.
    pub tls_identity: Option<Identity>,
    /// Country of numbers without `+` from this trunk.
    pub country: Option<Region>,
    /// Show the tenant the number of a caller that asks to be hidden.
    pub show_withheld: bool,
    /// Address at which the peer reaches the media ports; `None`: that of the trunk's SIP address, else that of the engine.
    pub media_address: Option<IpAddr>,
    /// Media ports of the trunk's legs; `None`: those of all trunks.
    pub media_ports: Option<RangeInclusive<u16>>,
    /// Accept RTP from the first source within the trunk's networks, instead of only from the address in the SDP.
    pub symmetric_rtp: bool,
    /// Allow the trunk's gateway to exchange media directly with the gateway of another trunk.
    pub direct_media: bool,
    /// Play the audio that the trunk sends before the answer of a dialled party to the caller.
    pub early_media: bool,
    /// SRTP mode.
    pub srtp: SrtpMode,
    /// Priority. Trunks with a lower number are tried first.
    pub priority: u16,
    /// Share of calls among trunks of the same priority, from 1 to 100.
    pub weight: u16,
    /// Format of numbers sent to the trunk.
    pub number_format: NumberFormat,
    /// Final statuses after which the next trunk is tried, if the callee is not alerted yet.
    pub failover_on: Vec<u16>,
    /// Digits added before the dialled number.
    pub prefix: String,
    /// Numbers that the trunk takes.
    pub destinations: TrunkDestinations,
    /// Prefixes of the virtual numbers that the trunk may show; empty: all.
    pub virtual_numbers: Vec<NumberPrefix>,
    /// Tenants whose calls go over the trunk; empty: all.
    pub tenants: Vec<TenantId>,
    /// Maximum number of concurrent legs in both directions; `None`: unlimited.
    pub max_calls: Option<usize>,
    /// Maximum rate of new legs per second in both directions, and the maximum burst; `None`: unlimited.
    pub max_calls_per_second: Option<u32>,
}

impl TrunkSettings {
    /// Returns the TLS settings for the peer, if TLS is possible.
    pub(crate) fn tls_peer(&self) -> Option<TlsPeer> {
        let hop = self.sip.next_hop().filter(|hop| hop.may_be_encrypted())?;
        let peer = TlsPeer {
            trunk: self.name.clone(),
            host: hop.host.clone(),
            ca: self.tls_ca.clone(),
            identity: self.tls_identity.clone(),
        };
        // A domain without an explicit transport works without CA certificates, and this system may have none.
        let asked_for = hop.transport == Transport::Tls || self.has_tls_files();
        (asked_for || peer.is_usable()).then_some(peer)
    }

    /// Returns `true` if the trunk takes the call.
    fn takes(&self, call: &OutgoingLeg<'_>) -> bool {
        let mut shown = self.virtual_numbers.iter();
        let may_show = self.virtual_numbers.is_empty()
            || shown.any(|prefix| prefix.is_prefix_of(call.virtual_number));
        let is_for_tenant = self.tenants.is_empty()
            || call
                .tenant
                .is_some_and(|tenant| self.tenants.contains(tenant));
        self.sip.peer.is_some()
            && self.destinations.permit(call.number)
            && may_show
            && is_for_tenant
    }

    /// Returns `true` if the configuration names certificates for the peer. Such a peer is reached only over TLS.
    pub(crate) fn has_tls_files(&self) -> bool {
        self.tls_ca.is_some() || self.tls_identity.is_some()
    }
}

impl Default for TrunkSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            sip: signalling::Trunk::default(),
            tls_ca: None,
            tls_identity: None,
            country: None,
            show_withheld: false,
            media_address: None,
            media_ports: None,
            symmetric_rtp: false,
            direct_media: false,
            early_media: false,
            srtp: SrtpMode::Off,
            priority: 10,
            weight: 1,
            number_format: NumberFormat::E164,
            failover_on: DEFAULT_FAILOVER_ON.to_vec(),
            prefix: String::new(),
            destinations: TrunkDestinations::default(),
            virtual_numbers: Vec::new(),
            tenants: Vec::new(),
            max_calls: None,
            max_calls_per_second: None,
        }
    }
}

/// State of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrunkHealth {
    /// The peer is considered reachable.
    pub up: bool,
    /// The trunk has accepted our registration; `None`: the trunk needs no registration.
    pub registered: Option<bool>,
}

impl TrunkHealth {
    /// Returns the initial state. A trunk with an IP address starts as up, a trunk with a name starts as away.
    pub(crate) fn new(settings: &TrunkSettings) -> Self {
        let named = settings
            .sip
            .next_hop()
            .is_some_and(|hop| hop.address().is_none());
        Self {
            up: !named,
            registered: settings.sip.register.then_some(false),
        }
    }
}

/// Leg to dial, as far as the choice of the trunk depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutgoingLeg<'a> {
    /// Number to dial.
    pub(crate) number: PhoneNumber,
    /// Virtual number shown to the dialled party.
    pub(crate) virtual_number: PhoneNumber,
    /// Tenant of the call.
    pub(crate) tenant: Option<&'a TenantId>,
}

/// Returns `false` if no trunk for outgoing calls takes the leg.
pub(crate) fn is_reachable(trunks: &[TrunkSettings], leg: &OutgoingLeg<'_>) -> bool {
    let is_receive_only = trunks.iter().all(|trunk| trunk.sip.peer.is_none());
    is_receive_only || trunks.iter().any(|trunk| trunk.takes(leg))
}

/// Returns the order of trunks for an outgoing call: trunks that are up first, then by ascending priority number. Among
/// equals, the trunk of the incoming call is first, and the rest are drawn by weight. `draw` returns a number below its
/// argument. Trunks that do not take the leg are left out.
pub(crate) fn trunk_order(
    trunks: &[TrunkSettings],
    is_up: impl Fn(usize) -> bool,
    leg: &OutgoingLeg<'_>,
    incoming_trunk: usize,
    mut draw: impl FnMut(u64) -> u64,
) -> Vec<usize> {
    let rank = |(index, trunk): &(usize, &TrunkSettings)| (!is_up(*index), trunk.priority);
    let mut left: Vec<(usize, &TrunkSettings)> = trunks
        .iter()
        .enumerate()
        .filter(|(_, trunk)| trunk.takes(leg))
        .collect();
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(best) = left.iter().map(rank).min() {
        let equals = left.iter().filter(|trunk| rank(trunk) == best);
        let next = equals
            .clone()
            .find(|(index, _)| *index == incoming_trunk)
            .map(|(index, _)| *index);
        let next = next.or_else(|| {
            draw_weighted(
                equals.map(|(index, trunk)| (*index, trunk.weight)),
                &mut draw,
            )
        });
        let Some(next) = next else { break };
        left.retain(|(index, _)| *index != next);
        ordered.push(next);
    }
    ordered
}

fn draw_weighted(
    equals: impl Iterator<Item = (usize, u16)> + Clone,
    draw: &mut impl FnMut(u64) -> u64,
) -> Option<usize> {
    let total: u64 = equals.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut drawn = draw(total.max(1));
    let mut last = None;
    for (index, weight) in equals {
        last = Some(index);
        match drawn.checked_sub(weight.into()) {
            Some(rest) => drawn = rest,
            None => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalling::TrunkPeer;

    fn trunk(priority: u16, weight: u16, takes_calls: bool) -> TrunkSettings {
        let address = "192.0.2.1:5060".parse().unwrap();
        let peer = takes_calls.then_some(TrunkPeer::at(Transport::Udp, address));
        let sip = signalling::Trunk {
            peer,
            ..signalling::Trunk::default()
        };
        TrunkSettings {
            sip,
            priority,
            weight,
            ..TrunkSettings::default()
        }
    }

    fn trunk_order(
        trunks: &[TrunkSettings],
        incoming_trunk: usize,
        draw: impl FnMut(u64) -> u64,
    ) -> Vec<usize> {
        order_among(trunks, |_| true, "+919900000001", incoming_trunk, draw)
    }

    fn order_among(
        trunks: &[TrunkSettings],
        is_up: impl Fn(usize) -> bool,
        number: &str,
        incoming_trunk: usize,
        draw: impl FnMut(u64) -> u64,
    ) -> Vec<usize> {
        super::trunk_order(trunks, is_up, &leg(number), incoming_trunk, draw)
    }

    fn leg(number: &str) -> OutgoingLeg<'static> {
        OutgoingLeg {
            number: PhoneNumber::parse(number).unwrap(),
            virtual_number: PhoneNumber::parse("+914000000001").unwrap(),
            tenant: None,
        }
    }

    #[test]
    fn a_trunk_takes_only_its_virtual_numbers_and_tenants() {
        let [acme, other] = ["acme", "other"].map(|name| TenantId::parse(name).unwrap());
        let mut trunks = [trunk(5, 1, true), trunk(10, 1, true), trunk(20, 1, true)];
        trunks[0].virtual_numbers = vec!["+9141".parse().unwrap()];
        trunks[1].tenants = vec![acme.clone()];
        let order = |virtual_number: &str, tenant| {
            let leg = OutgoingLeg {
                virtual_number: PhoneNumber::parse(virtual_number).unwrap(),
                tenant: Some(tenant),
                ..leg("+919900000001")
            };
            super::trunk_order(&trunks, |_| true, &leg, 9, |_| 0)
        };
        assert_eq!(order("+914000000001", &acme), [1, 2]);
        assert_eq!(order("+914100000001", &acme), [0, 1, 2]);
        assert_eq!(order("+914000000001", &other), [2]);
    }

    #[test]
    fn a_trunk_takes_only_its_destinations() {
        let mut trunks = [trunk(5, 1, true), trunk(10, 1, true), trunk(20, 1, true)];
        trunks[0].destinations.allow = vec!["+91".parse().unwrap()];
        trunks[1].destinations.deny = vec!["+91880".parse().unwrap()];
        for (number, order) in [
            ("+919900000001", &[0, 1, 2][..]),
            ("+918800000001", &[0, 2]),
            ("+4915550000001", &[1, 2]),
        ] {
            assert_eq!(order_among(&trunks, |_| true, number, 9, |_| 0), order);
        }
        trunks[2].destinations.allow = vec!["+1".parse().unwrap()];
        trunks[1].destinations.deny = vec!["+".parse().unwrap()];
        let is_reachable = |number| super::is_reachable(&trunks, &leg(number));
        assert!(is_reachable("+918800000001") && !is_reachable("+4915550000001"));
    }

    #[test]
    fn a_trunk_that_is_away_goes_last_even_with_a_better_priority_or_as_the_incoming_trunk() {
        let trunks = [
            trunk(5, 1, true),
            trunk(10, 1, true),
            trunk(20, 1, true),
            trunk(5, 1, true),
        ];
        assert_eq!(
            order_among(&trunks, |index| index != 0, "+919900000001", 0, |_| 0),
            [3, 1, 2, 0]
        );
        assert_eq!(
            order_among(&trunks, |index| index == 2, "+919900000001", 3, |_| 0),
            [2, 3, 0, 1]
        );
        assert_eq!(
            order_among(&trunks, |_| false, "+919900000001", 3, |_| 0),
            [3, 0, 1, 2],
            "no trunk is up: the usual order"
        );
    }

    #[test]
    fn a_lower_priority_number_goes_first_and_a_trunk_without_a_peer_is_left_out() {
        let trunks = [
            trunk(20, 1, true),
            trunk(10, 1, true),
            trunk(5, 1, false),
            trunk(30, 1, true),
        ];
        assert_eq!(trunk_order(&trunks, 2, |_| 0), [1, 0, 3]);
        assert_eq!(
            trunk_order(&trunks, 3, |_| 0),
            [1, 0, 3],
            "the trunk of the incoming call keeps its priority"
        );
        assert!(trunk_order(&[], 0, |_| 0).is_empty());
    }

    #[test]
    fn among_equals_the_trunk_of_the_incoming_call_goes_first() {
        let trunks = [trunk(10, 1, true), trunk(10, 1, true), trunk(10, 1, true)];
        assert_eq!(trunk_order(&trunks, 1, |_| 0), [1, 0, 2]);
        assert_eq!(trunk_order(&trunks, 9, |limit| limit - 1), [2, 1, 0]);
    }

    #[test]
    fn equal_trunks_are_drawn_in_proportion_to_their_weights() {
        let trunks = [trunk(10, 3, true), trunk(10, 1, true)];
        let first: Vec<usize> = (0..4)
            .map(|drawn| trunk_order(&trunks, 9, |limit| drawn % limit)[0])
            .collect();
        assert_eq!(first, [0, 0, 0, 1]);
    }
}
