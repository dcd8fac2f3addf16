//! What every call works with: the user agent, the media, the trunks, and whose each leg and stream is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use signalling::LegId;

use super::call_loop::Party;
use super::media::{LegMedia, MediaId, MediaPlane, Prompts};
use super::sip::UserAgent;
use super::{EngineSettings, TrunkState};
use crate::limits::token_bucket::Bucket;
use crate::metrics::METRICS;

/// What calls work with.
pub(super) struct Plant {
    pub(super) agent: UserAgent,
    pub(super) media: MediaPlane,
    pub(super) settings: Arc<EngineSettings>,
    pub(super) prompts: Prompts,
    pub(super) legs: HashMap<LegId, Party>,
    pub(super) streams: HashMap<MediaId, Party>,
    /// In the order of the settings.
    pub(super) trunks: Vec<TrunkState>,
    /// Of trunks that take so many new legs a second.
    rates: HashMap<usize, Bucket>,
}

impl Plant {
    pub(super) fn new(agent: UserAgent, media: MediaPlane, settings: Arc<EngineSettings>) -> Self {
        let plant = Self {
            agent,
            media,
            prompts: settings.prompts.clone(),
            legs: HashMap::new(),
            streams: HashMap::new(),
            trunks: settings.trunks.iter().map(TrunkState::new).collect(),
            rates: HashMap::new(),
            settings,
        };
        plant.show_trunks();
        plant
    }

    /// Whether a trunk's own limits let it have one more leg now.
    pub(super) fn has_room(&mut self, trunk: usize) -> bool {
        let Some(settings) = self.settings.trunks.get(trunk) else {
            return false;
        };
        let legs = || {
            self.legs
                .values()
                .filter(|party| party.trunk == trunk)
                .count()
        };
        if settings.max_calls.is_some_and(|limit| legs() >= limit) {
            return false;
        }
        let Some(a_second) = settings.max_calls_per_second else {
            return true;
        };
        let now = Instant::now();
        let rate = self
            .rates
            .entry(trunk)
            .or_insert_with(|| Bucket::full(a_second, now));
        rate.fill(a_second, a_second, now) >= 1.0
    }

    /// One more leg begins.
    pub(super) fn add(&mut self, leg: LegId, party: Party) {
        if let Some(rate) = self.rates.get_mut(&party.trunk) {
            rate.take();
        }
        self.legs.insert(leg, party);
    }

    /// Whether a trunk is alive, as far as is known.
    pub(super) fn is_up(&self, trunk: usize) -> bool {
        self.trunks.get(trunk).is_some_and(|trunk| trunk.up)
    }

    /// A trunk went away, or came back.
    pub(super) fn reachable(&mut self, index: usize, up: bool) {
        let Some(trunk) = self.trunks.get_mut(index) else {
            return;
        };
        trunk.up = up;
        let name = self.trunk_name(index);
        match up {
            true => tracing::info!(trunk = name, "a trunk is back"),
            false => tracing::warn!(trunk = name, "a trunk is away"),
        }
        self.show_trunks();
    }

    /// A trunk has taken our registration, or has it no more.
    pub(super) fn registered(&mut self, index: usize, registered: bool, status: u16) {
        let Some(trunk) = self.trunks.get_mut(index) else {
            return;
        };
        trunk.registered = Some(registered);
        let name = self.trunk_name(index);
        match registered {
            true => tracing::info!(trunk = name, "a trunk has taken our registration"),
            false if (200..300).contains(&status) => {
                tracing::info!(trunk = name, "a registration was taken back");
            }
            false => tracing::warn!(trunk = name, status, "a trunk has no registration of ours"),
        }
        self.show_trunks();
    }

    fn trunk_name(&self, index: usize) -> &str {
        self.settings
            .trunks
            .get(index)
            .map_or("", |trunk| &trunk.name)
    }

    fn show_trunks(&self) {
        for (settings, state) in self.settings.trunks.iter().zip(&self.trunks) {
            METRICS.trunk(&settings.name, state.up, state.registered);
        }
    }

    /// A leg is given up, and with it its stream, of which nothing more will be heard.
    pub(super) fn forget(&mut self, leg: LegId, stream: Option<&LegMedia>) {
        self.legs.remove(&leg);
        if let Some(stream) = stream {
            self.streams.remove(&stream.id());
        }
    }
}
