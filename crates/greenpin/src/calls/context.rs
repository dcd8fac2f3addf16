//! State shared by all calls: the user agent, the media plane, the trunks, and the owner of each leg and stream.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use signalling::LegId;

use super::call_limits::DestinationLimiter;
use super::leg_owner::{LegOwner, Role};
use super::media::{LegMedia, MediaId, MediaPlane, Prompts};
use super::refused::{RefusedInvite, RefusedInvites};
use super::sip::UserAgent;
use super::trace::masked_user;
use super::{EngineChanges, EngineSettings, TrunkHealth};
use crate::limits::token_bucket::TokenBucket;
use crate::metrics::METRICS;
use crate::store::Timestamp;

/// State shared by all calls.
pub(super) struct EngineContext {
    pub(super) agent: UserAgent,
    pub(super) media: MediaPlane,
    pub(super) settings: Arc<EngineSettings>,
    pub(super) prompts: Prompts,
    pub(super) legs: HashMap<LegId, LegOwner>,
    pub(super) streams: HashMap<MediaId, LegOwner>,
    /// State of the trunks, in the order of the settings.
    pub(super) trunks: Vec<TrunkHealth>,
    pub(super) destination_limiter: DestinationLimiter,
    pub(super) refused: RefusedInvites,
    /// Token buckets of the trunks with a limit on new legs per second.
    rates: HashMap<usize, TokenBucket>,
}

impl EngineContext {
    pub(super) fn new(agent: UserAgent, media: MediaPlane, settings: Arc<EngineSettings>) -> Self {
        let context = Self {
            agent,
            media,
            prompts: settings.prompts.clone(),
            legs: HashMap::new(),
            streams: HashMap::new(),
            trunks: settings.trunks.iter().map(TrunkHealth::new).collect(),
            destination_limiter: DestinationLimiter::default(),
            refused: RefusedInvites::default(),
            rates: HashMap::new(),
            settings,
        };
        for trunk in &context.settings.trunks {
            METRICS.create_trunk(&trunk.name);
        }
        context.update_metrics();
        context
    }

    /// Takes over changed settings.
    pub(super) fn change(&mut self, changes: EngineChanges) {
        let EngineChanges {
            trunks,
            prompts,
            max_calls,
            tenant_limit,
        } = changes;
        self.agent
            .set_trunks(trunks.iter().map(|trunk| trunk.sip.clone()).collect());
        self.prompts = prompts.clone();
        self.settings = Arc::new(EngineSettings {
            trunks,
            prompts,
            max_calls,
            tenant_limit,
            ..EngineSettings::clone(&self.settings)
        });
    }

    /// Returns `true` if the trunk's limits allow another leg now.
    pub(super) fn has_capacity(&mut self, trunk: usize) -> bool {
        let Some(settings) = self.settings.trunks.get(trunk) else {
            return false;
        };
        let legs = || {
            self.legs
                .values()
                .filter(|owner| owner.trunk == trunk)
                .count()
        };
        if settings.max_calls.is_some_and(|limit| legs() >= limit) {
            return false;
        }
        let Some(per_second) = settings.max_calls_per_second else {
            return true;
        };
        let now = Instant::now();
        let rate = self
            .rates
            .entry(trunk)
            .or_insert_with(|| TokenBucket::full(per_second, now));
        rate.refill(per_second, per_second, now) >= 1.0
    }

    /// Adds a refused INVITE to the list. `called` is the called number as it arrived.
    pub(super) fn note_refused(
        &mut self,
        (source, trunk): (IpAddr, Option<usize>),
        (status, reason): (u16, &'static str),
        called: &str,
    ) {
        let trunk = trunk.map(|trunk| self.trunk_name(trunk).to_owned());
        self.refused.add(RefusedInvite {
            at: Timestamp::now(),
            source,
            trunk,
            status,
            reason,
            number: masked_user(called),
        });
    }

    /// Registers a new leg and counts it against the trunk's rate limit.
    pub(super) fn add_leg(&mut self, leg: LegId, owner: LegOwner) {
        if let Some(rate) = self.rates.get_mut(&owner.trunk) {
            rate.consume();
        }
        self.legs.insert(leg, owner);
        self.count_legs(owner, 1);
    }

    /// Returns `true` if the trunk is considered up.
    pub(super) fn is_up(&self, trunk: usize) -> bool {
        self.trunks.get(trunk).is_some_and(|trunk| trunk.up)
    }

    /// Records a change in the reachability of a trunk.
    pub(super) fn on_reachable(&mut self, index: usize, up: bool) {
        let Some(trunk) = self.trunks.get_mut(index) else {
            return;
        };
        trunk.up = up;
        let name = self.trunk_name(index);
        match up {
            true => tracing::info!(trunk = name, "trunk is up"),
            false => tracing::warn!(trunk = name, "trunk is away"),
        }
        self.update_metrics();
    }

    /// Records the result of a registration with a trunk.
    pub(super) fn on_registered(&mut self, index: usize, registered: bool, status: u16) {
        let Some(trunk) = self.trunks.get_mut(index) else {
            return;
        };
        trunk.registered = Some(registered);
        let name = self.trunk_name(index);
        match registered {
            true => tracing::info!(trunk = name, "registration accepted"),
            false if (200..300).contains(&status) => {
                tracing::info!(trunk = name, "registration removed");
            }
            false => tracing::warn!(trunk = name, status, "registration failed"),
        }
        self.update_metrics();
    }

    /// Returns the name of a trunk.
    pub(super) fn trunk_name(&self, index: usize) -> &str {
        self.settings
            .trunks
            .get(index)
            .map_or("", |trunk| &trunk.name)
    }

    fn update_metrics(&self) {
        for (settings, state) in self.settings.trunks.iter().zip(&self.trunks) {
            METRICS.set_trunk(&settings.name, state.up, state.registered);
        }
    }

    /// Removes a leg. Later events of it are ignored.
    pub(super) fn forget_leg(&mut self, leg: LegId) {
        if let Some(owner) = self.legs.remove(&leg) {
            self.count_legs(owner, -1);
        }
    }

    fn count_legs(&self, owner: LegOwner, change: i64) {
        let direction = match owner.role {
            Role::Caller => "incoming",
            Role::Callee(_) => "outgoing",
        };
        METRICS.add_trunk_legs(self.trunk_name(owner.trunk), direction, change);
    }

    /// Removes a leg and its stream. Later events of both are ignored.
    pub(super) fn remove_leg(&mut self, leg: LegId, stream: Option<&LegMedia>) {
        self.forget_leg(leg);
        if let Some(stream) = stream {
            self.streams.remove(&stream.id());
        }
    }
}
