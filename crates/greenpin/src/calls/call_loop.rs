//! Single loop that processes every event of every call. Calls need no locks, because only this loop changes them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use call::{Cause, DialAttempt, Input, PhoneNumber};
use media::DigitSource;
use signalling::sdes::SrtpMode;
use signalling::sdp::RemoteMedia;
use signalling::{Event, IncomingCall, LegId, RefusedInvite};
use tokio::sync::{mpsc, oneshot};

use super::call_limits::CallLimiter;
use super::call_start::CallStart;
use super::context::EngineContext;
use super::leg_owner::{CallId, LegOwner, Role};
use super::masked_call::MaskedCall;
use super::media::{MediaEvent, MediaId, MediaPlane, PortReservation};
use super::record_writer::{CallRecordWriter, StoreReply};
use super::sip::UserAgent;
use super::trunks::number_format;
use super::unproven_calls::UnprovenCalls;
use super::{Command, EngineLoad, EngineSettings, RETRY_AFTER_SECONDS};
use crate::metrics::METRICS;
use crate::numbering::TrunkCaller;
use crate::store::{CallSid, NewCall, RoutedCall, Store, StoreError, Timestamp};
use crate::supervision::{Part, isolate};

/// Legs of a call whose ports are reserved when the call is admitted: the caller and one dialled party.
const LEGS_PER_CALL: usize = 2;
/// Maximum number of reports on refused INVITEs that wait for the loop.
const MAX_REFUSED_REPORTS: usize = 64;

pub(super) struct CallLoop {
    context: EngineContext,
    store: Store,
    calls: HashMap<CallId, Box<MaskedCall>>,
    deadlines: BTreeSet<(Instant, CallId)>,
    next_call: u64,
    replies: mpsc::UnboundedSender<(CallId, StoreReply)>,
    reply_inbox: mpsc::UnboundedReceiver<(CallId, StoreReply)>,
    /// Notified after the last call has ended. While this is not empty, the loop admits no calls.
    draining: Vec<oneshot::Sender<()>>,
    admitting: bool,
    /// Availability that OPTIONS announces.
    available: bool,
    /// INVITEs that the user agent has refused itself.
    refused: mpsc::Receiver<RefusedInvite>,
    call_limiter: CallLimiter,
    unproven: UnprovenCalls,
    /// Notified after every registration has been removed from the trunks.
    unregistering: Option<oneshot::Sender<()>>,
}

impl CallLoop {
    pub(super) fn new(
        mut agent: UserAgent,
        media: MediaPlane,
        store: Store,
        settings: Arc<EngineSettings>,
    ) -> Self {
        let (replies, reply_inbox) = mpsc::unbounded_channel();
        let (reports, refused) = mpsc::channel(MAX_REFUSED_REPORTS);
        agent.report_refused(reports);
        Self {
            context: EngineContext::new(agent, media, settings),
            store,
            calls: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_call: 0,
            replies,
            reply_inbox,
            draining: Vec::new(),
            admitting: true,
            available: true,
            refused,
            call_limiter: CallLimiter::default(),
            unproven: UnprovenCalls::default(),
            unregistering: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        loop {
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let traces = self.context.agent.tracer();
            let traces = traces.and_then(|tracer| tracer.deadline());
            let deadline = deadline.into_iter().chain(traces).min();
            tokio::select! {
                event = self.context.agent.event() => self.isolate(|calls| calls.on_sip_event(event)),
                Some((call, reply)) = self.reply_inbox.recv() => {
                    self.isolate(|calls| calls.on_store_reply(call, reply));
                }
                Some(refused) = self.refused.recv() => self.isolate(|calls| calls.on_refused(&refused)),
                Some(event) = media.recv() => self.isolate(|calls| calls.on_media_event(event)),
                () = until(deadline) => self.isolate(Self::fire_deadlines),
                Some(command) = commands.recv() => self.isolate(|calls| calls.on_command(command)),
                else => return,
            }
            self.announce_availability();
            self.context
                .settings
                .supervisor
                .fail_point(Part::CallLoop.as_str());
            self.context.agent.flush();
            if self.unregistering.is_some()
                && self.context.agent.is_unregistered()
                && let Some(reply) = self.unregistering.take()
            {
                let _ = reply.send(());
            }
        }
    }

    /// Processes one event. A panic that concerns no call loses this event and nothing else.
    fn isolate(&mut self, process: impl FnOnce(&mut Self)) {
        if isolate(|| process(self)).is_none() {
            tracing::error!("processing of an event failed");
        }
    }

    fn on_sip_event(&mut self, event: Event) {
        match event {
            Event::IncomingCall(incoming) => self.on_incoming_call(incoming),
            Event::Confirmed { leg, remote } => {
                if let Some(owner) = self.context.legs.get(&leg) {
                    self.unproven.remove(owner.trunk, owner.call);
                }
                self.with_leg(leg, |call, _, context| call.confirmed(remote, context));
            }
            Event::MediaChanged { leg, remote } => {
                self.with_leg(leg, |call, role, context| {
                    call.media_changed(role, remote, context)
                });
            }
            Event::Redirected { leg, remote } => {
                self.with_leg(leg, |call, role, context| {
                    call.redirected(role, remote, context)
                });
            }
            Event::RedirectFailed { leg, status } => {
                self.with_leg(leg, |call, role, context| {
                    call.redirect_failed(role, status, context)
                });
            }
            Event::Ringing(leg) => self.with_attempt(leg, Input::Ringing),
            // Nobody is known to be alerted: the call may still go to the next trunk.
            Event::Progress { .. } => {}
            Event::EarlyMedia { leg, remote } => self.on_early_media(leg, remote),
            Event::EarlyMediaEnded(leg) => self.with_attempt(leg, Input::EarlyMediaStopped),
            Event::Answered { leg, remote } => {
                self.with_leg(leg, |call, role, context| {
                    call.media_changed(role, remote, context)
                });
                self.with_attempt(leg, Input::Answered);
            }
            Event::Failed { leg, status } => self.with_callee(leg, |call, attempt, context| {
                call.callee_failed(attempt, status, context);
            }),
            Event::NoResponse { leg, .. } => {
                self.with_callee(leg, MaskedCall::callee_unresponsive);
            }
            Event::Key { leg, key } => self.with_leg(leg, |call, role, context| {
                if let Ok(digit) = media::Digit::try_from(key) {
                    call.on_key(role, digit, DigitSource::Info, context);
                }
            }),
            Event::HungUp { leg, orderly } => self.on_hung_up(leg, orderly),
            Event::PeerReason { leg, reason } => {
                self.with_leg(leg, |call, role, _| call.on_peer_reason(role, reason));
            }
            Event::Reachable { trunk, up } => self.context.on_reachable(trunk, up),
            Event::Registered {
                trunk,
                registered,
                status,
            } => {
                self.context.on_registered(trunk, registered, status);
            }
        }
    }

    fn on_refused(&mut self, refused: &RefusedInvite) {
        self.context.note_refused(
            (refused.source, refused.trunk),
            (refused.status, refused.reason),
            &refused.called,
        );
    }

    fn on_early_media(&mut self, leg: LegId, remote: RemoteMedia) {
        self.with_callee(leg, |call, attempt, context| {
            call.early_media(attempt, remote, context)
        });
    }

    fn on_hung_up(&mut self, leg: LegId, orderly: bool) {
        let cause = match orderly {
            true => Cause::Normal,
            false => Cause::MediaLost,
        };
        self.with_leg(leg, |call, role, context| {
            call.hung_up(role, cause, context)
        });
        self.context.forget_leg(leg);
    }

    /// Returns `true` if the engine takes a call now.
    fn takes_calls(&self) -> bool {
        let is_stopping = self.unregistering.is_some() || !self.draining.is_empty();
        let has_room = self.calls.len() < self.context.settings.max_calls
            && self.context.media.has_room(LEGS_PER_CALL);
        self.admitting && !is_stopping && has_room
    }

    /// Lets peers know by OPTIONS whether the engine takes calls.
    fn announce_availability(&mut self) {
        let available = self.takes_calls();
        if available != self.available {
            self.available = available;
            let retry_after = (!available).then_some(RETRY_AFTER_SECONDS);
            self.context
                .agent
                .command(|endpoint, _| endpoint.set_unavailable(retry_after));
        }
    }

    /// Admits an incoming call if the engine and the trunk have capacity and the called number is well formed.
    fn on_incoming_call(&mut self, incoming: IncomingCall) {
        let settings = self.context.settings.clone();
        let Some(trunk) = settings.trunks.get(incoming.trunk) else {
            return;
        };
        if !self.takes_calls() {
            return self.refuse(&incoming, 503, "the server takes no calls");
        }
        if !self.context.has_capacity(incoming.trunk) {
            return self.refuse(&incoming, 503, "the trunk is at its limit");
        }
        let in_clear = incoming
            .remote
            .is_some_and(|remote| remote.crypto.is_none());
        if trunk.srtp == SrtpMode::Required && in_clear {
            return self.refuse(&incoming, 488, "audio is not encrypted");
        }
        let Some(number) = number_format::called(&incoming.called, trunk.country) else {
            return self.refuse(&incoming, 404, "called number is not readable");
        };
        let Some(ports) = self.context.media.reserve_call(incoming.trunk) else {
            return self.refuse(&incoming, 503, "no media port is free");
        };
        let mut caller = number_format::caller(&incoming.caller, trunk.country);
        caller.withheld &= !trunk.show_withheld;
        let trunk_name = trunk.name.clone();
        self.begin_call(&incoming, ports, number, caller, trunk_name);
    }

    fn begin_call(
        &mut self,
        incoming: &IncomingCall,
        ports: [PortReservation; 2],
        number: PhoneNumber,
        caller: TrunkCaller,
        trunk: String,
    ) {
        self.next_call = self.next_call.wrapping_add(1);
        let id = CallId(self.next_call);
        let started = CallStart {
            at: Timestamp::now(),
            instant: Instant::now(),
        };
        let sid = CallSid::new(started.at);
        METRICS.calls_started.inc();
        METRICS.calls_active.inc();
        tracing::info!(call_sid = %sid, trunk, "call started");
        let node = self.context.settings.node.clone();
        let trunk_name = trunk.clone();
        let (caller_number, is_withheld) = (caller.number(None), caller.withheld);
        let new = NewCall {
            call_sid: sid.clone(),
            virtual_number: number,
            caller,
            trunk,
            node,
            started_at: started.at,
        };
        let record_writer =
            CallRecordWriter::open(self.store.clone(), id, new, self.replies.clone());
        self.context.add_leg(
            incoming.leg,
            LegOwner {
                call: id,
                role: Role::Caller,
                trunk: incoming.trunk,
            },
        );
        let call_id = self.context.agent.call_id(incoming.leg);
        if let Some(tracer) = self.context.agent.tracer() {
            let trunk = trunk_name.clone();
            tracer.begin(id, call_id.as_deref(), started, trunk, incoming.proven);
            tracer.set_caller(id, caller_number);
        }
        let mut call = MaskedCall::new(id, sid, number, incoming, ports, started, record_writer);
        let country = self.context.settings.trunks.get(incoming.trunk);
        let country = country.and_then(|trunk| trunk.country);
        let verification = number_format::verification(&incoming.caller, country);
        let local = self.context.agent.local_of_leg(incoming.leg);
        let announced = self
            .context
            .settings
            .announced_address(incoming.trunk, local);
        call.set_caller_facts(call_id, verification, announced);
        call.set_caller_number(caller_number, is_withheld);
        self.calls.insert(id, Box::new(call));
        if !incoming.proven
            && let Some(oldest) = self.unproven.add(incoming.trunk, id)
        {
            METRICS.unproven_calls_ended.inc();
            self.with_call(oldest, MaskedCall::give_up);
        }
    }

    fn refuse(&mut self, incoming: &IncomingCall, status: u16, reason: &'static str) {
        let leg = incoming.leg;
        let origin = (incoming.source, Some(incoming.trunk));
        let called = &incoming.called.text;
        self.context.note_refused(origin, (status, reason), called);
        let retry_after = (status == 503).then_some(RETRY_AFTER_SECONDS);
        self.context
            .agent
            .command(|endpoint, now| endpoint.reject(leg, status, retry_after, now));
    }

    fn on_store_reply(&mut self, id: CallId, reply: StoreReply) {
        match reply {
            StoreReply::Routed(begun) => self.routed(id, begun),
            StoreReply::PinChecked(verdict) => {
                self.with_call(id, |call, context| call.pin_checked(verdict, context))
            }
            StoreReply::Closed => self.on_closed(id),
        }
    }

    /// Removes a call whose record is written.
    fn on_closed(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            METRICS.calls_active.dec();
            self.unproven.remove(call.caller_trunk(), id);
            call.tenant()
                .into_iter()
                .for_each(|tenant| self.call_limiter.release(tenant));
            self.context.forget_leg(call.caller_leg());
            self.clear_deadline(id, call.deadline());
            if let Some(tracer) = self.context.agent.tracer() {
                match call.trace_owner() {
                    Some(owner) => tracer.end(id, owner),
                    None => tracer.discard(id),
                }
            }
        }
        if self.calls.is_empty() {
            for reply in self.draining.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    /// Continues with the route of the call, after the check of the tenant's limit. The tenant is known only now,
    /// because it depends on the called number.
    fn routed(&mut self, id: CallId, begun: Result<RoutedCall, StoreError>) {
        let Ok(RoutedCall {
            tenant: Some(tenant),
            ..
        }) = &begun
        else {
            let refusal = match &begun {
                Ok(_) => (404, "called number is unknown"),
                Err(_) => (503, "the database does not answer"),
            };
            self.with_call(id, |call, context| call.note_refused(refusal, context));
            return self.with_call(id, |call, context| call.routed(begun, context));
        };
        let limit = tenant.settings.call_limit;
        let limit = limit.unwrap_or(self.context.settings.tenant_limit);
        if !self
            .call_limiter
            .admit(&tenant.tenant_id, limit, Instant::now())
        {
            let refusal = (503, "the tenant is at its call limit");
            self.with_call(id, |call, context| call.note_refused(refusal, context));
            return self.with_call(id, MaskedCall::reject_over_limit);
        }
        let tenant = tenant.clone();
        self.with_call(id, |call, context| {
            if tenant.settings.retention.trace == 0
                && let Some(tracer) = context.agent.tracer()
            {
                tracer.discard(id);
            }
            call.set_tenant(tenant);
            call.routed(begun, context);
        });
    }

    fn on_media_event(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Digit { id, digit, source } => {
                self.with_stream(id, |call, role, context| {
                    call.on_key(role, digit, source, context)
                });
            }
            MediaEvent::PlayFinished { id, token } => self.with_stream(id, |call, _, context| {
                let playback = u32::try_from(token).unwrap_or_default();
                call.step(Input::PlaybackFinished(playback), context);
            }),
            MediaEvent::Silent { id } => {
                self.with_stream(id, |call, role, context| call.on_silence(role, context));
            }
            MediaEvent::Failed { id } => {
                self.with_stream(id, |call, role, context| {
                    call.on_stream_failed(role, context)
                });
            }
            MediaEvent::Report { id, report } => {
                self.with_stream(id, |call, role, context| {
                    call.trace_media_so_far(role, &report, context);
                });
            }
            MediaEvent::RecordingFinished { id, path, result } => {
                self.with_stream(id, |call, _, context| {
                    call.on_recording_finished(path, result, context)
                });
            }
            MediaEvent::Closed { id, report } => {
                self.with_stream(id, |call, role, context| {
                    call.stream_closed(role, report, context)
                });
                self.context.streams.remove(&id);
            }
        }
    }

    fn fire_deadlines(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            self.with_call(id, |call, context| call.step(Input::Elapsed, context));
        }
        if let Some(tracer) = self.context.agent.tracer() {
            tracer.write_due(now);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Drain(reply) if self.calls.is_empty() => {
                let _ = reply.send(());
            }
            Command::Drain(reply) => self.draining.push(reply),
            Command::Admit(admitting) => self.admitting = admitting,
            Command::EndCall(sid, reply) => {
                let found = self
                    .calls
                    .iter()
                    .find(|(_, call)| *call.sid() == sid)
                    .map(|(id, _)| *id);
                if let Some(id) = found {
                    self.with_call(id, |call, context| call.step(Input::EndRequested, context));
                }
                let _ = reply.send(found.is_some());
            }
            Command::Calls(reply) => {
                let mut calls: Vec<_> = self.calls.values().map(|call| call.summary()).collect();
                calls.sort_unstable_by(|left, right| left.call_sid.cmp(&right.call_sid));
                let _ = reply.send(calls);
            }
            Command::Load(reply) => {
                let _ = reply.send(self.load());
            }
            Command::Targets(trunk, transport, targets) => {
                self.context.agent.set_targets(trunk, transport, targets);
            }
            Command::Trunks(reply) => {
                let _ = reply.send(self.context.trunks.clone());
            }
            Command::Refused(reply) => {
                let _ = reply.send(self.context.refused.list());
            }
            Command::Change(changes) => self.context.change(*changes),
            Command::WriteTraces(reply) => {
                if let Some(tracer) = self.context.agent.tracer() {
                    tracer.flush(reply);
                }
            }
            Command::Unregister(reply) => {
                self.context
                    .agent
                    .command(|endpoint, now| endpoint.unregister_all(now));
                self.unregistering = Some(reply);
            }
            Command::EndCalls => {
                let all: Vec<CallId> = self.calls.keys().copied().collect();
                for id in all {
                    self.with_call(id, |call, context| call.step(Input::EndRequested, context));
                }
            }
        }
    }

    fn load(&self) -> EngineLoad {
        let context = &self.context;
        EngineLoad {
            calls: self.calls.len(),
            unproven_calls: self.unproven.len(),
            legs: context.legs.len(),
            streams: context.streams.len(),
            media_legs: context.media.legs(),
            deadlines: self.deadlines.len(),
            sip: context.agent.load(),
        }
    }

    fn with_leg(
        &mut self,
        leg: LegId,
        action: impl FnOnce(&mut MaskedCall, Role, &mut EngineContext),
    ) {
        if let Some(owner) = self.context.legs.get(&leg).copied() {
            self.with_call(owner.call, |call, context| {
                action(call, owner.role, context)
            });
        }
    }

    fn with_stream(
        &mut self,
        id: MediaId,
        action: impl FnOnce(&mut MaskedCall, Role, &mut EngineContext),
    ) {
        if let Some(owner) = self.context.streams.get(&id).copied() {
            self.with_call(owner.call, |call, context| {
                action(call, owner.role, context)
            });
        }
    }

    /// Runs a function on the call and the attempt of a dialled leg.
    fn with_callee(
        &mut self,
        leg: LegId,
        run: impl FnOnce(&mut MaskedCall, DialAttempt, &mut EngineContext),
    ) {
        self.with_leg(leg, |call, role, context| {
            if let Role::Callee(attempt) = role {
                run(call, attempt, context);
            }
        });
    }

    fn with_attempt(&mut self, leg: LegId, input: impl FnOnce(DialAttempt) -> Input) {
        self.with_callee(leg, |call, attempt, context| {
            call.step(input(attempt), context);
        });
    }

    /// Runs an action on a call and updates the call's deadline in the table.
    fn with_call(&mut self, id: CallId, action: impl FnOnce(&mut MaskedCall, &mut EngineContext)) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let before = call.deadline();
        let context = &mut self.context;
        if isolate(|| action(call, context)).is_none() {
            return self.end_after_panic(id, before);
        }
        let after = call.deadline();
        if before != after {
            self.clear_deadline(id, before);
        }
        // Inserted even if the deadline is unchanged: a fired deadline has already been removed.
        self.deadlines.extend(after.map(|at| (at, id)));
    }

    /// Ends a call whose processing panicked. Its state may be inconsistent, so the call machine is not asked.
    fn end_after_panic(&mut self, id: CallId, deadline: Option<Instant>) {
        self.clear_deadline(id, deadline);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        tracing::error!(call_sid = %call.sid(), "processing of an event failed; ending its call");
        let context = &mut self.context;
        if isolate(|| call.end_after_panic(context)).is_none() {
            // The record stays open and is closed at the next start.
            self.on_closed(id);
        }
        let legs = &self.context.legs;
        let legs = legs.iter().filter(|(_, owner)| owner.call == id);
        let legs: Vec<LegId> = legs.map(|(leg, _)| *leg).collect();
        for leg in legs {
            self.context.forget_leg(leg);
            self.context
                .agent
                .command(|endpoint, now| endpoint.hang_up(leg, now));
        }
        self.context.streams.retain(|_, owner| owner.call != id);
    }

    fn clear_deadline(&mut self, id: CallId, deadline: Option<Instant>) {
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
