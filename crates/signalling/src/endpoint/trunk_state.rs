//! Runtime state of trunks: targets, reachability and registration.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::registration::Registration;
use super::{Endpoint, TimerKey};
use crate::sdp::Codec;
use crate::sip::{HeaderName, Method, RequestBuilder, TransactionKey};
use crate::trunk::{TargetGroup, Trunk, TrunkPeer};
use crate::wire::{Network, Path, Transport};

/// Runtime state of one trunk.
#[derive(Debug)]
pub(super) struct TrunkState {
    /// Transport to the targets.
    transport: Transport,
    /// Addresses for requests, the preferred one first. Empty if the name does not resolve.
    targets: Vec<SocketAddr>,
    /// The same addresses by SRV record, in the same order.
    groups: Vec<TargetGroup>,
    /// Targets that failed. A call that chooses among equal targets leaves them out, until all have failed.
    failed: Vec<SocketAddr>,
    /// Index of the target in use.
    current: usize,
    /// Number of targets that failed since the last successful probe.
    pub(super) failed_targets: usize,
    /// Last known reachability.
    pub(super) up: bool,
    /// Keep-alive probe that awaits its response.
    pub(super) probe: Option<TransactionKey>,
    pub(super) registration: Option<Registration>,
    /// Time at which the peer refused a connection for a large request over TCP.
    pub(super) without_tcp: Option<Instant>,
}

impl TrunkState {
    pub(super) fn new(trunk: &Trunk) -> Self {
        let registration = (trunk.register && trunk.peer.is_some()).then(Registration::default);
        let address = trunk.next_hop().and_then(TrunkPeer::address);
        let up = trunk.next_hop().is_none() || address.is_some();
        let targets = address.into_iter().collect();
        let transport = trunk.next_hop().map_or(Transport::Udp, |hop| hop.transport);
        Self {
            transport,
            targets,
            groups: Vec::new(),
            failed: Vec::new(),
            current: 0,
            failed_targets: 0,
            up,
            probe: None,
            registration,
            without_tcp: None,
        }
    }

    /// Switches to the next target after a failure of the current one.
    pub(super) fn switch_from(&mut self, failed: SocketAddr) {
        if self.targets.contains(&failed) && !self.failed.contains(&failed) {
            self.failed.push(failed);
        }
        if self.failed.len() >= self.targets.len() {
            self.failed.clear();
        }
        if self.targets.get(self.current) == Some(&failed) {
            let next = self.current.saturating_add(1);
            self.current = next.checked_rem(self.targets.len()).unwrap_or(0);
        }
    }

    /// Draws the target of a call by weight, among the SRV records with the priority of the target in use (RFC 2782).
    fn draw_target(&self, random: u64) -> Option<SocketAddr> {
        let current = *self.targets.get(self.current)?;
        let usable = |group: &TargetGroup| {
            if group.addresses.contains(&current) {
                return Some(current);
            }
            // All calls use the IP version of the target in use, for which the audio has its address.
            let fits = |address: &&SocketAddr| {
                address.is_ipv4() == current.is_ipv4() && !self.failed.contains(address)
            };
            group.addresses.iter().find(fits).copied()
        };
        let mut groups = self.groups.iter();
        let Some(priority) = groups
            .find(|group| group.addresses.contains(&current))
            .map(|group| group.priority)
        else {
            return Some(current);
        };
        let equals = self
            .groups
            .iter()
            .filter(|group| group.priority == priority);
        let mut equals: Vec<(u16, SocketAddr)> = equals
            .filter_map(|group| Some((group.weight, usable(group)?)))
            .collect();
        // Targets without weight go first, so that only a drawn 0 chooses them.
        equals.sort_by_key(|(weight, _)| *weight);
        let total: u64 = equals.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let drawn = random.checked_rem(total.saturating_add(1)).unwrap_or(0);
        let mut sum = 0_u64;
        let mut sums = equals.iter().map(|(weight, address)| {
            sum = sum.saturating_add(u64::from(*weight));
            (sum, *address)
        });
        let chosen = sums.find(|(sum, _)| *sum >= drawn);
        chosen.map(|(_, address)| address).or(Some(current))
    }

    /// Returns the first target that was not yet attempted, starting with the current one.
    fn next_target(&self, attempted: &[SocketAddr]) -> Option<SocketAddr> {
        let (before, after) = self.targets.split_at_checked(self.current)?;
        after
            .iter()
            .chain(before)
            .find(|target| !attempted.contains(target))
            .copied()
    }

    /// Counts a failed probe. Returns `true` if targets are left to probe in this round.
    pub(super) fn advance_probe_round(&mut self) -> bool {
        self.failed_targets = self.failed_targets.saturating_add(1);
        self.failed_targets < self.targets.len() || std::mem::take(&mut self.failed_targets) == 0
    }
}

impl Endpoint {
    /// Starts keep-alive and registration for all trunks with these settings.
    pub fn start(&mut self, now: Instant) {
        (0..self.trunk_states.len()).for_each(|trunk| self.start_trunk(trunk, now));
    }

    /// Starts one trunk. A trunk whose name is not yet resolved starts once it is.
    fn start_trunk(&mut self, trunk: usize, now: Instant) {
        if self.trunk_path(trunk).is_none() {
            return;
        }
        if self.keep_alive_interval(trunk).is_some() {
            self.timers
                .set(TimerKey::KeepAlive(trunk), now, Duration::ZERO);
        }
        if self
            .trunk_states
            .get(trunk)
            .is_some_and(|state| state.registration.is_some())
        {
            self.timers
                .set(TimerKey::Register(trunk), now, Duration::ZERO);
        }
    }

    /// Stops all keep-alive probes and removes all registrations (RFC 3261, section 10.2.2).
    /// [`Endpoint::is_unregistered`] reports when this is done.
    pub fn unregister_all(&mut self, now: Instant) {
        for trunk in 0..self.trunk_states.len() {
            self.timers.clear(&TimerKey::KeepAlive(trunk));
            self.timers.clear(&TimerKey::Register(trunk));
            self.unregister(trunk, now);
        }
    }

    /// Returns the last known reachability of a trunk.
    pub fn is_up(&self, trunk: usize) -> bool {
        self.trunk_states.get(trunk).is_some_and(|state| state.up)
    }

    /// Sets the resolved addresses and the transport of a trunk, in order of preference (RFC 3263,
    /// section 4). Each call chooses by weight among the groups of one priority. An empty list marks
    /// the trunk as unreachable.
    pub fn set_targets(
        &mut self,
        trunk: usize,
        transport: Transport,
        groups: Vec<TargetGroup>,
        now: Instant,
    ) {
        let addresses = groups.iter().flat_map(|group| &group.addresses);
        let targets: Vec<SocketAddr> = addresses.copied().collect();
        let Some(state) = self.trunk_states.get_mut(trunk) else {
            return;
        };
        state.transport = transport;
        let was_unresolved = state.targets.is_empty();
        // After a failover the trunk stays on the target that works, even if the new order prefers
        // a different one.
        let fallback = state
            .targets
            .get(state.current)
            .filter(|_| state.current > 0);
        let position =
            fallback.and_then(|fallback| targets.iter().position(|target| target == fallback));
        state.current = position.unwrap_or(0);
        state.failed.retain(|failed| targets.contains(failed));
        state.targets = targets;
        state.groups = groups;
        match (was_unresolved, state.targets.is_empty()) {
            (true, false) => {
                self.set_reachable(trunk, true, now);
                self.start_trunk(trunk, now);
            }
            (false, true) => self.set_reachable(trunk, false, now),
            _ => self.register_at_listed_target(trunk, now),
        }
    }

    /// Returns the number of trunks.
    pub fn trunks(&self) -> usize {
        self.settings.trunks.len()
    }

    /// Returns the networks that may send audio for a trunk. They are the same ones that may send
    /// its calls.
    pub fn networks(&self, trunk: usize) -> Vec<Network> {
        let settings = self.settings.trunks.get(trunk);
        let configured = settings
            .into_iter()
            .flat_map(|trunk| trunk.accept_from.iter().copied());
        let resolved = self
            .trunk_states
            .get(trunk)
            .filter(|_| settings.is_some_and(|trunk| trunk.accept_resolved));
        let resolved = resolved.into_iter().flat_map(|state| state.targets.iter());
        configured
            .chain(resolved.map(|target| Network::single(target.ip())))
            .collect()
    }

    /// Returns the codecs allowed on the trunk of a path.
    pub(super) fn codecs_for(&self, path: Path) -> &[Codec] {
        let trunk = path.trunk.and_then(|trunk| self.settings.trunks.get(trunk));
        trunk.map_or(&[], |trunk| &trunk.codecs)
    }

    /// Returns the first trunk that accepts requests from an address over a transport. A trunk that is reached over TLS
    /// accepts nothing in clear.
    pub(super) fn trunk_for_source(&self, address: IpAddr, transport: Transport) -> Option<usize> {
        let same = |target: &SocketAddr| target.ip().to_canonical() == address.to_canonical();
        self.settings
            .trunks
            .iter()
            .zip(&self.trunk_states)
            .position(|(trunk, state)| {
                let known =
                    trunk.lists(address) || trunk.accept_resolved && state.targets.iter().any(same);
                let may_be_clear = transport == Transport::Tls || !trunk.requires_tls();
                known && may_be_clear && trunk.tls_peer_name.is_none()
            })
    }

    /// Returns the first of the trunks named by a client certificate that accepts requests from an address.
    pub(super) fn trunk_for_certificate(
        &self,
        certified: &[usize],
        address: IpAddr,
    ) -> Option<usize> {
        let accepts = |trunk: &&usize| {
            let settings = self.settings.trunks.get(**trunk);
            settings.is_some_and(|trunk| {
                let from_anywhere = trunk.accept_from.is_empty();
                trunk.tls_peer_name.is_some() && (from_anywhere || trunk.lists(address))
            })
        };
        certified.iter().find(accepts).copied()
    }

    /// Returns the path to a trunk's peer. `None` if the trunk takes no calls or its address is
    /// unknown.
    pub(super) fn trunk_path(&self, trunk: usize) -> Option<Path> {
        let settings = self.settings.trunks.get(trunk)?;
        settings.next_hop()?;
        let state = self.trunk_states.get(trunk)?;
        let destination = state.next_target(&[])?;
        Some(Path {
            transport: state.transport,
            destination,
            connection: Some(destination),
            trunk: Some(trunk),
            local: None,
            nat: settings.nat,
        })
    }

    /// Returns the path of a new call to a trunk's peer.
    pub(super) fn call_path(&mut self, trunk: usize) -> Option<Path> {
        let path = self.trunk_path(trunk)?;
        let random = (self.entropy)();
        let destination = self.trunk_states.get(trunk)?.draw_target(random)?;
        Some(Path {
            destination,
            connection: Some(destination),
            ..path
        })
    }

    /// Returns `true` if requests may go to this address.
    pub(super) fn is_target(&self, trunk: usize, address: SocketAddr) -> bool {
        self.trunk_states
            .get(trunk)
            .is_some_and(|state| state.targets.contains(&address))
    }

    /// Returns `true` if a target has failed and another one is in use.
    pub(super) fn has_failed(&self, trunk: usize, target: SocketAddr) -> bool {
        self.trunk_states
            .get(trunk)
            .is_some_and(|state| state.failed.contains(&target))
    }

    /// Returns `true` if requests may go to a port of this IP address.
    pub(super) fn has_target_at(&self, trunk: usize, address: IpAddr) -> bool {
        self.trunk_states.get(trunk).is_some_and(|state| {
            let mut targets = state.targets.iter();
            targets.any(|target| target.ip().to_canonical() == address.to_canonical())
        })
    }

    /// Returns the path to a target that was not yet attempted. `failed` is the path of the last
    /// attempt.
    pub(super) fn next_path(&mut self, failed: Path, attempted: &[SocketAddr]) -> Option<Path> {
        let state = self.trunk_states.get_mut(failed.trunk?)?;
        state.switch_from(failed.destination);
        let destination = state.next_target(attempted)?;
        Some(Path {
            transport: state.transport,
            destination,
            connection: Some(destination),
            local: None,
            ..failed
        })
    }

    /// Returns the route that the registrar of a trunk named for calls. Registrations and probes do not use it.
    fn service_route(&self, trunk: usize, method: &Method) -> &[String] {
        let registration = self
            .trunk_states
            .get(trunk)
            .and_then(|state| state.registration.as_ref())
            .filter(|_| *method == Method::Invite);
        registration.map_or(&[], |registration| &registration.service_route)
    }

    /// Starts a request to a trunk's peer outside any dialog, without `Via`. An empty user
    /// addresses the peer itself.
    pub(super) fn request_outside(
        &self,
        (trunk, user): (usize, &str),
        method: &Method,
        (from, to): (&str, &str),
        (call_id, sequence): (&str, u32),
    ) -> Option<RequestBuilder> {
        let settings = self.settings.trunks.get(trunk)?;
        let uri = settings.peer.as_ref()?.uri(user)?;
        let mut builder = RequestBuilder::new(method.clone(), uri).max_forwards(70);
        if let Some(proxy) = &settings.outbound_proxy {
            let route = format!("<sip:{proxy}{};lr>", proxy.transport.uri_parameter());
            builder = builder.header(HeaderName::Route, route).ok()?;
        }
        for uri in self.service_route(trunk, method) {
            builder = builder.header(HeaderName::Route, format!("<{uri}>")).ok()?;
        }
        let builder = builder.header(HeaderName::From, from.to_owned()).ok()?;
        let builder = builder.header(HeaderName::To, to.to_owned()).ok()?;
        let builder = builder
            .header(HeaderName::CallId, call_id.to_owned())
            .ok()?;
        builder.cseq(sequence, method).ok()
    }
}
