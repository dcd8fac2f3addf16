//! The telephone exchange: one loop that carries every call, so that no call ever waits for a lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use call::{Cause, DialAttempt, Input, PhoneNumber, Side};
use media::DigitSource;
use signalling::sdes::SrtpMode;
use signalling::{Endpoint, Event, IncomingCall, LegId};
use tokio::sync::{mpsc, oneshot};

use super::call_limits::Tenants;
use super::context::Plant;
use super::masked_call::{MaskedCall, Started};
use super::media::{MediaEvent, MediaId, MediaPlane};
use super::record_writer::{Answer, Ledger};
use super::sip::UserAgent;
use super::trunks::number_format;
use super::{Command, EngineSettings, Load};
use crate::metrics::METRICS;
use crate::store::{CallSid, NewCall, RoutedCall, Store, StoreError, Timestamp};

/// Seconds after which a caller who was refused for want of room may try again.
const RETRY_AFTER: u32 = 5;

/// One call, for as long as this process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId(u64);

/// Whose leg or stream something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) call: CallId,
    pub(super) role: Role,
    /// By which trunk its leg goes.
    pub(super) trunk: usize,
}

/// What a party is in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Caller,
    Callee(DialAttempt),
}

pub(super) struct Exchange {
    plant: Plant,
    store: Store,
    calls: HashMap<CallId, Box<MaskedCall>>,
    alarms: BTreeSet<(Instant, CallId)>,
    next_call: u64,
    answers: mpsc::UnboundedSender<(CallId, Answer)>,
    answer_inbox: mpsc::UnboundedReceiver<(CallId, Answer)>,
    /// Told when the last call is over; no call is taken while somebody waits.
    draining: Vec<oneshot::Sender<()>>,
    admitting: bool,
    tenants: Tenants,
    /// Told when no trunk has a registration of ours any more.
    leaving: Option<oneshot::Sender<()>>,
}

impl Exchange {
    pub(super) fn new(
        agent: UserAgent,
        media: MediaPlane,
        store: Store,
        settings: Arc<EngineSettings>,
    ) -> Self {
        let (answers, answer_inbox) = mpsc::unbounded_channel();
        Self {
            plant: Plant::new(agent, media, settings),
            store,
            calls: HashMap::new(),
            alarms: BTreeSet::new(),
            next_call: 0,
            answers,
            answer_inbox,
            draining: Vec::new(),
            admitting: true,
            tenants: Tenants::default(),
            leaving: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        loop {
            let alarm = self.alarms.first().map(|(at, _)| *at);
            tokio::select! {
                event = self.plant.agent.event() => self.signalled(event),
                Some((call, answer)) = self.answer_inbox.recv() => self.answered(call, answer),
                Some(event) = media.recv() => self.heard(event),
                () = until(alarm) => self.ring_alarms(),
                Some(command) = commands.recv() => self.command(command),
                else => return,
            }
            self.plant.agent.flush();
            if self.leaving.is_some()
                && self.plant.agent.has_left()
                && let Some(waiting) = self.leaving.take()
            {
                let _ = waiting.send(());
            }
        }
    }

    fn signalled(&mut self, event: Event) {
        match event {
            Event::IncomingCall(offer) => self.offered(offer),
            Event::Confirmed { leg, remote } => self.with_party(leg, |call, role, plant| {
                if let Some(remote) = remote {
                    call.media_changed(role, remote, plant);
                }
            }),
            Event::MediaChanged { leg, remote } => {
                self.with_party(leg, |call, role, plant| {
                    call.media_changed(role, remote, plant)
                });
            }
            Event::Redirected { leg, remote } => {
                self.with_party(leg, |call, role, plant| {
                    call.redirected(role, remote, plant)
                });
            }
            Event::RedirectFailed { leg, status } => {
                self.with_party(leg, |call, role, plant| {
                    call.not_redirected(role, status, plant)
                });
            }
            Event::Ringing(leg) => self.with_attempt(leg, Input::Ringing),
            Event::Answered { leg, remote } => {
                self.with_party(leg, |call, role, plant| {
                    call.media_changed(role, remote, plant)
                });
                self.with_attempt(leg, Input::Answered);
            }
            Event::Failed { leg, status } => self.with_party(leg, |call, role, plant| {
                if let Role::Callee(attempt) = role {
                    call.callee_failed(attempt, status, plant);
                }
            }),
            Event::Key { leg, key } => self.with_party(leg, |call, role, plant| {
                if let Ok(digit) = media::Digit::try_from(key) {
                    call.key(role, digit, DigitSource::Info, plant);
                }
            }),
            Event::HungUp { leg, orderly } => {
                let cause = if orderly {
                    Cause::Normal
                } else {
                    Cause::MediaLost
                };
                self.with_party(leg, |call, role, plant| call.hung_up(role, cause, plant));
                self.plant.legs.remove(&leg);
            }
            Event::Reachable { trunk, up } => self.plant.reachable(trunk, up),
            Event::Registered {
                trunk,
                registered,
                status,
            } => {
                self.plant.registered(trunk, registered, status);
            }
        }
    }

    /// Admission: a number that can be one, and room for one more call.
    fn offered(&mut self, offer: IncomingCall) {
        let settings = self.plant.settings.clone();
        let Some(trunk) = settings.trunks.get(offer.trunk) else {
            return;
        };
        let full = self.calls.len() >= settings.max_calls || !self.plant.has_room(offer.trunk);
        let going = self.leaving.is_some() || !self.draining.is_empty();
        if !self.admitting || going || full {
            return self.refuse(offer.leg, 503);
        }
        let in_clear = offer.remote.is_some_and(|remote| remote.crypto.is_none());
        if trunk.srtp == SrtpMode::Required && in_clear {
            return self.refuse(offer.leg, 488);
        }
        let Some(number) = number_format::e164(&offer.called, trunk.country) else {
            return self.refuse(offer.leg, 404);
        };
        let caller = offer
            .caller
            .as_deref()
            .and_then(|caller| number_format::e164(caller, trunk.country));
        let trunk_name = trunk.name.clone();
        self.begin(offer, number, caller, trunk_name);
    }

    fn begin(
        &mut self,
        offer: IncomingCall,
        number: PhoneNumber,
        caller: Option<PhoneNumber>,
        trunk: String,
    ) {
        self.next_call = self.next_call.wrapping_add(1);
        let id = CallId(self.next_call);
        let started = Started {
            at: Timestamp::now(),
            instant: Instant::now(),
        };
        let sid = CallSid::new(started.at);
        METRICS.calls_started.inc();
        METRICS.calls_active.inc();
        tracing::info!(call_sid = %sid, trunk, "a call came in");
        let node = self.plant.settings.node.clone();
        let new = NewCall {
            call_sid: sid.clone(),
            virtual_number: number,
            caller,
            trunk,
            node,
            started_at: started.at,
        };
        let ledger = Ledger::open(self.store.clone(), id, new, self.answers.clone());
        self.plant.add(
            offer.leg,
            Party {
                call: id,
                role: Role::Caller,
                trunk: offer.trunk,
            },
        );
        let call = MaskedCall::new(id, sid, number, offer, started, ledger);
        self.calls.insert(id, Box::new(call));
    }

    fn refuse(&mut self, leg: LegId, status: u16) {
        let retry_after = (status == 503).then_some(RETRY_AFTER);
        self.plant
            .agent
            .command(|endpoint, now| endpoint.reject(leg, status, retry_after, now));
    }

    fn answered(&mut self, id: CallId, answer: Answer) {
        match answer {
            Answer::Routed(begun) => self.routed(id, begun),
            Answer::PinChecked(verdict) => {
                self.with_call(id, |call, plant| call.pin_checked(verdict, plant))
            }
            Answer::Closed => {
                if let Some(call) = self.calls.remove(&id) {
                    METRICS.calls_active.dec();
                    call.tenant()
                        .into_iter()
                        .for_each(|tenant| self.tenants.release(tenant));
                    self.plant.legs.remove(&call.caller_leg());
                    self.clear_alarm(id, call.alarm());
                }
                if self.calls.is_empty() {
                    for waiting in self.draining.drain(..) {
                        let _ = waiting.send(());
                    }
                }
            }
        }
    }

    /// The store says whose number it is: its tenant may have as many calls as it can take.
    fn routed(&mut self, id: CallId, begun: Result<RoutedCall, StoreError>) {
        let Ok(RoutedCall {
            tenant: Some((tenant, limit)),
            ..
        }) = &begun
        else {
            return self.with_call(id, |call, plant| call.routed(begun, plant));
        };
        let limit = limit.unwrap_or(self.plant.settings.tenant_limit);
        if !self.tenants.admit(tenant, limit, Instant::now()) {
            return self.with_call(id, MaskedCall::too_many);
        }
        let tenant = tenant.clone();
        self.with_call(id, |call, plant| {
            call.count_for(tenant);
            call.routed(begun, plant);
        });
    }

    fn heard(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Digit { id, digit, source } => {
                self.with_stream(id, |call, role, plant| call.key(role, digit, source, plant));
            }
            MediaEvent::PlayFinished { id, token } => self.with_stream(id, |call, _, plant| {
                let playback = u32::try_from(token).unwrap_or_default();
                call.step(Input::PlaybackFinished(playback), plant);
            }),
            MediaEvent::Silent { id } => {
                self.with_stream(id, |call, role, plant| call.fell_silent(role, plant));
            }
            MediaEvent::RecordingFinished { id, path, result } => {
                self.with_stream(id, |call, _, _| call.recorded(path, result));
            }
            MediaEvent::Closed { id, report } => {
                self.with_stream(id, |call, role, _| call.stream_closed(role, report));
                self.plant.streams.remove(&id);
            }
        }
    }

    fn ring_alarms(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, id));
            self.with_call(id, |call, plant| call.step(Input::Elapsed, plant));
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Drain(waiting) if self.calls.is_empty() => {
                let _ = waiting.send(());
            }
            Command::Drain(waiting) => self.draining.push(waiting),
            Command::Admit(admitting) => self.admitting = admitting,
            Command::EndCall(sid, asking) => {
                let found = self
                    .calls
                    .iter()
                    .find(|(_, call)| *call.sid() == sid)
                    .map(|(id, _)| *id);
                if let Some(id) = found {
                    self.with_call(id, |call, plant| call.step(Input::EndRequested, plant));
                }
                let _ = asking.send(found.is_some());
            }
            Command::Calls(asking) => {
                let mut calls: Vec<_> = self.calls.values().map(|call| call.live()).collect();
                calls.sort_unstable_by(|one, other| one.call_sid.cmp(&other.call_sid));
                let _ = asking.send(calls);
            }
            Command::Load(asking) => {
                let _ = asking.send(self.load());
            }
            Command::Targets(trunk, transport, targets) => {
                let told = |endpoint: &mut Endpoint, now| {
                    endpoint.set_targets(trunk, transport, targets, now)
                };
                self.plant.agent.command(told);
            }
            Command::Trunks(asking) => {
                let _ = asking.send(self.plant.trunks.clone());
            }
            Command::Leave(waiting) => {
                self.plant
                    .agent
                    .command(|endpoint, now| endpoint.unregister_all(now));
                self.leaving = Some(waiting);
            }
            Command::EndCalls => {
                let all: Vec<CallId> = self.calls.keys().copied().collect();
                for id in all {
                    self.with_call(id, |call, plant| call.step(Input::EndRequested, plant));
                }
            }
        }
    }

    fn load(&self) -> Load {
        let plant = &self.plant;
        Load {
            calls: self.calls.len(),
            legs: plant.legs.len(),
            streams: plant.streams.len(),
            media_legs: plant.media.legs(),
            alarms: self.alarms.len(),
            sip: plant.agent.load(),
        }
    }

    fn with_party(&mut self, leg: LegId, act: impl FnOnce(&mut MaskedCall, Role, &mut Plant)) {
        if let Some(party) = self.plant.legs.get(&leg).copied() {
            self.with_call(party.call, |call, plant| act(call, party.role, plant));
        }
    }

    fn with_stream(&mut self, id: MediaId, act: impl FnOnce(&mut MaskedCall, Role, &mut Plant)) {
        if let Some(party) = self.plant.streams.get(&id).copied() {
            self.with_call(party.call, |call, plant| act(call, party.role, plant));
        }
    }

    fn with_attempt(&mut self, leg: LegId, input: impl FnOnce(DialAttempt) -> Input) {
        self.with_party(leg, |call, role, plant| {
            if let Role::Callee(attempt) = role {
                call.step(input(attempt), plant);
            }
        });
    }

    /// Lets something happen to a call, and sets its alarm anew.
    fn with_call(&mut self, id: CallId, act: impl FnOnce(&mut MaskedCall, &mut Plant)) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let before = call.alarm();
        act(call, &mut self.plant);
        let after = call.alarm();
        if before != after {
            self.clear_alarm(id, before);
        }
        // Set again even if it is the same: an alarm that has rung was taken out of the table.
        self.alarms.extend(after.map(|at| (at, id)));
    }

    fn clear_alarm(&mut self, id: CallId, alarm: Option<Instant>) {
        if let Some(at) = alarm {
            self.alarms.remove(&(at, id));
        }
    }
}

impl Role {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Caller => Side::Caller,
            Self::Callee(_) => Side::Callee,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
