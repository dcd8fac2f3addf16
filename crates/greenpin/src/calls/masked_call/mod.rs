//! One masked call: performs the actions of the call machine on real legs, and passes events back to the machine.

mod actions;
mod attempts;
mod ending;
mod media_path;
mod tracing_facts;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{Call, CallCause, Cause, DialAttempt, Input, Keypress, PhoneNumber, Side, Verdict};
use media::{Digit, DigitFilter, DigitSource};
use signalling::sdp::RemoteMedia;
use signalling::{EndReason, IncomingCall, LegId, PeerReason};

use self::actions::open_stream;
use self::attempts::AttemptLog;
use self::ending::PendingRecord;
use self::media_path::connect;
use super::call_start::CallStart;
use super::context::EngineContext;
use super::direct_media::DirectMedia;
use super::leg_owner::{CallId, LegOwner, Role};
use super::media::{LegMedia, MediaReport, PortReservation, RecordingError};
use super::record_writer::CallRecordWriter;
use super::{ActiveCall, CallState};
use crate::metrics::METRICS;
use crate::store::{
    CallSid, CallTenant, CallerVerification, RecordingFile, RoutedCall, StoreError, TenantId, Voice,
};

pub(super) struct MaskedCall {
    id: CallId,
    sid: CallSid,
    machine: Call,
    number: PhoneNumber,
    /// Number of the caller as the trunk presents it, for the mask of the trace.
    caller_number: Option<PhoneNumber>,
    is_caller_withheld: bool,
    started: CallStart,
    /// Tenant of the call, for its limits and its destination rules.
    tenant: Option<CallTenant>,
    voice: Option<Voice>,
    caller: CallLeg,
    /// Ports of the caller and of one dialled party, until the streams are closed.
    ports: Option<[PortReservation; 2]>,
    /// Boxed, because a table with one entry has space for four.
    callees: HashMap<DialAttempt, Box<CallLeg>>,
    bridged_attempt: Option<DialAttempt>,
    /// Reason that the legs learn which the present input abandons.
    abandon_reason: EndReason,
    direct: DirectMedia,
    /// A recording or a warning tone needs the audio.
    needs_audio: bool,
    /// Keys to send after the media has returned to the server.
    queued_keys: Vec<(Side, Digit)>,
    record_writer: CallRecordWriter,
    last_status: Option<u16>,
    attempts: AttemptLog,
    recording: Option<RecordingFile>,
    ending: Option<PendingRecord>,
}

/// Leg of a call: its dialog and its media stream.
struct CallLeg {
    id: LegId,
    trunk: usize,
    /// Source address of the INVITE; `None` for a leg dialled by the server.
    source: Option<IpAddr>,
    stream: Option<LegMedia>,
    remote: Option<RemoteMedia>,
    report: Option<Box<MediaReport>>,
    keys: DigitFilter,
    /// The peer has sent something that only the receiver of a message of this leg can know. Nothing is sent to it
    /// before.
    proven: bool,
    /// Dialled number and remaining trunks; `None` for the caller.
    dialled: Option<DialledNumber>,
    /// Ports of this leg, if it is dialled beside another one.
    _ports: Option<PortReservation>,
}

/// Dialled number and the trunks to reach it.
struct DialledNumber {
    number: PhoneNumber,
    /// Trunks to try if this trunk fails before the callee is alerted.
    trunks_left: VecDeque<usize>,
}

impl CallLeg {
    fn caller(incoming: &IncomingCall) -> Self {
        Self {
            id: incoming.leg,
            trunk: incoming.trunk,
            source: Some(incoming.source),
            stream: None,
            remote: incoming.remote,
            report: None,
            keys: DigitFilter::default(),
            proven: false,
            dialled: None,
            _ports: None,
        }
    }

    fn callee(
        id: LegId,
        trunk: usize,
        (stream, ports): (LegMedia, Option<PortReservation>),
        dialled: DialledNumber,
    ) -> Self {
        Self {
            id,
            trunk,
            source: None,
            stream: Some(stream),
            remote: None,
            report: None,
            keys: DigitFilter::default(),
            proven: true,
            dialled: Some(dialled),
            _ports: ports,
        }
    }
}

impl DialledNumber {
    /// Returns `true` if a trunk with capacity is left.
    fn has_next_trunk(&self, context: &mut EngineContext) -> bool {
        let mut trunks = self.trunks_left.iter();
        trunks.any(|trunk| context.has_capacity(*trunk))
    }

    /// Removes and returns the next trunk with capacity.
    fn next_trunk(&mut self, context: &mut EngineContext) -> Option<usize> {
        std::iter::from_fn(|| self.trunks_left.pop_front())
            .find(|trunk| context.has_capacity(*trunk))
    }
}

impl MaskedCall {
    pub(super) fn new(
        id: CallId,
        sid: CallSid,
        number: PhoneNumber,
        incoming: &IncomingCall,
        ports: [PortReservation; 2],
        started: CallStart,
        record_writer: CallRecordWriter,
    ) -> Self {
        Self {
            id,
            sid,
            machine: Call::new(started.instant),
            number,
            caller_number: None,
            is_caller_withheld: false,
            started,
            tenant: None,
            voice: None,
            caller: CallLeg::caller(incoming),
            ports: Some(ports),
            callees: HashMap::new(),
            bridged_attempt: None,
            abandon_reason: EndReason::Normal,
            direct: DirectMedia::new(),
            needs_audio: false,
            queued_keys: Vec::new(),
            record_writer,
            last_status: None,
            attempts: AttemptLog::default(),
            recording: None,
            ending: None,
        }
    }

    pub(super) fn caller_leg(&self) -> LegId {
        self.caller.id
    }

    pub(super) fn caller_trunk(&self) -> usize {
        self.caller.trunk
    }

    /// Starts the audio of a caller who has acknowledged the answer. `remote` is the caller's audio after a late offer.
    pub(super) fn confirmed(&mut self, remote: Option<RemoteMedia>, context: &mut EngineContext) {
        self.caller.remote = remote.or(self.caller.remote);
        self.caller.proven = true;
        if let Some(tracer) = context.agent.tracer() {
            tracer.prove(self.id);
        }
        connect(&self.caller, context);
        self.step(Input::Confirmed, context);
    }

    /// Ends a call whose source may be forged, in favour of a newer one.
    pub(super) fn give_up(&mut self, context: &mut EngineContext) {
        let leg = self.caller.id;
        context
            .agent
            .command(|endpoint, now| endpoint.give_up(leg, now));
        context.forget_leg(leg);
        self.step(Input::EndRequested, context);
    }

    pub(super) fn sid(&self) -> &CallSid {
        &self.sid
    }

    /// Returns the tenant whose limit counts this call, if any.
    pub(super) fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.tenant_id)
    }

    /// Sets the number that the trunk presents as the caller's.
    pub(super) fn set_caller_number(&mut self, number: Option<PhoneNumber>, is_withheld: bool) {
        self.caller_number = number;
        self.is_caller_withheld = is_withheld;
    }

    /// Sets the `Call-ID` of the caller's leg and the verification of the caller's number, for the record.
    pub(super) fn set_caller_facts(
        &mut self,
        call_id: Option<String>,
        verification: Option<CallerVerification>,
        announced_address: IpAddr,
    ) {
        self.attempts.caller_call_id = call_id;
        self.attempts.caller_verification = verification;
        self.attempts.announced_address = Some(announced_address);
    }

    pub(super) fn set_tenant(&mut self, tenant: CallTenant) {
        self.tenant = Some(tenant);
    }

    /// Adds the call to the list of refused INVITEs.
    pub(super) fn note_refused(&self, refusal: (u16, &'static str), context: &mut EngineContext) {
        if let Some(source) = self.caller.source {
            let origin = (source, Some(self.caller.trunk));
            context.note_refused(origin, refusal, &self.number.expose());
        }
    }

    /// Rejects a call above the tenant's limit. The call record shows the rejection.
    pub(super) fn reject_over_limit(&mut self, context: &mut EngineContext) {
        tracing::info!(call_sid = %self.sid, "call rejected: tenant is at its call limit");
        self.step(
            Input::Routed(call::Route::Refuse(Cause::Overloaded)),
            context,
        );
    }

    /// Returns the state of the call for the API.
    pub(super) fn summary(&self) -> ActiveCall {
        let state = match (&self.ending, self.bridged_attempt) {
            (Some(_), _) => CallState::Ending,
            (None, Some(_)) => CallState::Bridged,
            (None, None) if self.callees.is_empty() => CallState::Collecting,
            (None, None) => CallState::Dialling,
        };
        ActiveCall {
            call_sid: self.sid.clone(),
            state,
            since: self.started.at,
        }
    }

    /// Deadline of the next [`Input::Elapsed`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// Handles the failure of a dialled leg: the next trunk is tried if the status allows it. The status goes into the
    /// call record.
    pub(super) fn callee_failed(
        &mut self,
        attempt: DialAttempt,
        status: u16,
        context: &mut EngineContext,
    ) {
        self.last_status = Some(status);
        let cause = Cause::from_status(status);
        self.end_attempt(attempt, Some(status), cause.into(), context);
        if let Some(leg) = self.callees.remove(&attempt) {
            context.remove_leg(leg.id, leg.stream.as_ref());
            let trunk = context.settings.trunks.get(leg.trunk);
            let may_continue = trunk.is_some_and(|trunk| trunk.failover_on.contains(&status));
            if let Some(dialled) = leg.dialled.filter(|_| may_continue)
                && self.dial_next_trunk(attempt, dialled, context).is_none()
            {
                tracing::info!(call_sid = %self.sid, status, "trunk failed; trying the next trunk");
                return self.step(Input::Rerouted(attempt), context);
            }
        }
        self.step(Input::Failed(attempt, cause), context);
    }

    /// Handles a trunk that sends no response to the INVITE: the next trunk is tried. Without one, the attempt goes on.
    pub(super) fn callee_unresponsive(
        &mut self,
        attempt: DialAttempt,
        context: &mut EngineContext,
    ) {
        let leg = self.callees.get(&attempt);
        let has_next = leg
            .and_then(|leg| leg.dialled.as_ref())
            .is_some_and(|dialled| dialled.has_next_trunk(context));
        let Some(mut leg) = has_next.then(|| self.callees.remove(&attempt)).flatten() else {
            return;
        };
        self.last_status = Some(408);
        self.end_attempt(attempt, None, CallCause::Unreachable, context);
        context
            .agent
            .command(|endpoint, now| endpoint.hang_up(leg.id, now));
        context.remove_leg(leg.id, leg.stream.as_ref());
        tracing::info!(call_sid = %self.sid, "trunk does not respond; trying the next trunk");
        let failed = leg
            .dialled
            .take()
            .and_then(|dialled| self.dial_next_trunk(attempt, dialled, context));
        self.step(failed.unwrap_or(Input::Rerouted(attempt)), context);
    }

    pub(super) fn routed(
        &mut self,
        begun: Result<RoutedCall, StoreError>,
        context: &mut EngineContext,
    ) {
        if self.machine.is_over() {
            // The caller has left, or has waited too long. No stream must be opened.
            return;
        }
        let route = begun.map(|begun| {
            self.voice = begun.voice;
            begun.route
        });
        let route = match route {
            Ok(route @ (call::Route::UnknownNumber | call::Route::Refuse(_))) => route,
            Ok(call::Route::NotInUse) => self.open_caller_stream(call::Route::NotInUse, context),
            Ok(call::Route::Collect(collect)) => {
                self.needs_audio = collect.warning.is_some();
                self.open_caller_stream(call::Route::Collect(collect), context)
            }
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "call could not be routed");
                call::Route::Refuse(Cause::Overloaded)
            }
        };
        self.step(Input::Routed(route), context);
    }

    /// Opens the caller's stream for a route with audio. Without a free port the call is refused.
    fn open_caller_stream(
        &mut self,
        route: call::Route,
        context: &mut EngineContext,
    ) -> call::Route {
        let owner = LegOwner {
            call: self.id,
            role: Role::Caller,
            trunk: self.caller.trunk,
        };
        let local = context.agent.local_of_leg(self.caller.id);
        match open_stream(context, owner, local) {
            Some(stream) => {
                self.caller.stream = Some(stream);
                route
            }
            None => call::Route::Refuse(Cause::Overloaded),
        }
    }

    pub(super) fn pin_checked(
        &mut self,
        verdict: Result<Verdict, StoreError>,
        context: &mut EngineContext,
    ) {
        METRICS.count_pin_attempt(match &verdict {
            Ok(Verdict::Accepted(_)) => "accepted",
            Ok(Verdict::Refused) => "refused",
            Err(_) => "failed",
        });
        if let Ok(Verdict::Accepted(connection)) = &verdict {
            self.needs_audio |= connection.record;
        }
        let input = match verdict {
            Ok(verdict) => Input::PinChecked(verdict),
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "PIN check failed");
                Input::StoreFailed
            }
        };
        self.step(input, context);
    }

    /// Handles a key of either party. Before the bridge the call machine receives it. Afterwards only keys sent by SIP
    /// INFO are passed on here; others travel with the media.
    pub(super) fn on_key(
        &mut self,
        role: Role,
        digit: Digit,
        source: DigitSource,
        context: &mut EngineContext,
    ) {
        let now = self.started.instant.elapsed();
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        let Some(leg) = leg else { return };
        let is_new = leg.keys.is_new(digit, source, now);
        // The media path passes the event of the same press on.
        let has_event = source == DigitSource::Info && leg.keys.pairs(source, DigitSource::Event);
        if is_new {
            self.trace_key(role, source, context);
        }
        if !is_new || (has_event && self.bridged_attempt.is_some()) {
            return;
        }
        match self.bridged_attempt {
            None => {
                let input = Keypress::new(digit.expose()).map(|key| match role {
                    Role::Caller => Input::Key(key),
                    Role::Callee(attempt) => Input::CalleeKey(attempt, key),
                });
                input
                    .into_iter()
                    .for_each(|input| self.step(input, context));
            }
            Some(_) if source == DigitSource::Info => {
                let other = match role {
                    Role::Caller => Side::Callee,
                    Role::Callee(_) => Side::Caller,
                };
                self.queued_keys.push((other, digit));
                self.route_media(context);
            }
            _ => {}
        }
    }

    pub(super) fn hung_up(&mut self, role: Role, cause: Cause, context: &mut EngineContext) {
        match role {
            Role::Callee(attempt) if self.bridged_attempt != Some(attempt) => {
                // The callee had answered, but was not bridged yet.
                if let Some(leg) = self.callees.remove(&attempt) {
                    context.remove_leg(leg.id, leg.stream.as_ref());
                    self.end_attempt(attempt, None, CallCause::NoAnswer, context);
                    self.step(Input::Failed(attempt, Cause::NoAnswer), context);
                }
            }
            _ => self.step(Input::HungUp(role.side(), cause), context),
        }
    }

    /// Handles a party without RTP for too long: its leg is dead and ends like a hangup.
    pub(super) fn on_silence(&mut self, role: Role, context: &mut EngineContext) {
        if self.direct.may_bypass_server() {
            return;
        }
        tracing::info!(call_sid = %self.sid, "no RTP from a party within the silence limit");
        self.end_leg(role, context);
    }

    /// Handles the loss of a party's stream in the media plane.
    pub(super) fn on_stream_failed(&mut self, role: Role, context: &mut EngineContext) {
        self.end_leg(role, context);
    }

    /// Logs the reason that a party gives for the end of its leg.
    pub(super) fn on_peer_reason(&self, role: Role, reason: PeerReason) {
        let PeerReason { q850, sip } = reason;
        tracing::info!(call_sid = %self.sid, side = ?role.side(), q850, sip, "peer gave a reason for the end of its leg");
    }

    /// Ends a leg without audio like a hangup of its party.
    fn end_leg(&mut self, role: Role, context: &mut EngineContext) {
        let attempt = match role {
            Role::Caller => None,
            Role::Callee(attempt) => Some(attempt),
        };
        let leg = match attempt {
            None => Some(self.caller.id),
            Some(attempt) => self.callees.get(&attempt).map(|leg| leg.id),
        };
        if let Some(leg) = leg {
            context
                .agent
                .command(|endpoint, now| endpoint.hang_up_for(leg, EndReason::Lost, now));
            context.forget_leg(leg);
        }
        self.hung_up(role, Cause::MediaLost, context);
    }

    pub(super) fn on_recording_finished(
        &mut self,
        path: PathBuf,
        result: Result<Duration, RecordingError>,
        context: &mut EngineContext,
    ) {
        match &result {
            Ok(duration) => self.trace_recording("finished", Some(duration.as_secs()), context),
            Err(_) => self.trace_recording("failed", None, context),
        }
        match result {
            Ok(duration) => {
                let location = path.to_string_lossy().into_owned();
                self.recording = Some(RecordingFile { location, duration });
            }
            Err(error) => tracing::error!(call_sid = %self.sid, %error, "recording failed"),
        }
    }

    pub(super) fn stream_closed(
        &mut self,
        role: Role,
        report: MediaReport,
        context: &mut EngineContext,
    ) {
        self.trace_media(role, &report, context);
        METRICS.rtp_received.inc_by(report.received.packets);
        METRICS.rtp_lost.inc_by(report.received.lost);
        METRICS.rtp_late.inc_by(report.late);
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        if let Some(leg) = leg {
            leg.report = Some(Box::new(report));
        }
        if let Some(ending) = &mut self.ending {
            ending.open_streams = ending.open_streams.saturating_sub(1);
            self.write_record_when_closed();
        }
    }

    /// Counts the progress of an attempt for its trunk.
    fn count_progress(&mut self, input: &Input) {
        let (Input::Ringing(attempt) | Input::Answered(attempt)) = input else {
            return;
        };
        if let Some((trunk, delay)) = self.attempts.alert(*attempt, Instant::now()) {
            METRICS.observe_post_dial_delay(trunk, delay);
        }
        if matches!(input, Input::Answered(_))
            && let Some(trunk) = self.attempts.answer(*attempt)
        {
            METRICS.count_trunk_attempt(trunk, "answered");
        }
    }

    /// Notes the end of an attempt for the record, and counts it for its trunk.
    fn end_attempt(
        &mut self,
        attempt: DialAttempt,
        status: Option<u16>,
        cause: CallCause,
        context: &mut EngineContext,
    ) {
        self.trace_attempt_end(attempt, status, cause, context);
        let outcome = match (status, cause) {
            (Some(300..400), _) => "3xx",
            (Some(400..500), _) => "4xx",
            (Some(500..600), _) => "5xx",
            (Some(_), _) => "6xx",
            (None, CallCause::Unreachable) => "no_response",
            (None, CallCause::NoAnswer) => "no_answer",
            (None, _) => "canceled",
        };
        if let Some(trunk) = self.attempts.end(attempt, status, cause, Instant::now()) {
            METRICS.count_trunk_attempt(trunk, outcome);
        }
    }

    /// Feeds one input to the call machine and performs the resulting actions.
    pub(super) fn step(&mut self, input: Input, context: &mut EngineContext) {
        context.settings.supervisor.fail_point("call");
        if let Input::Ringing(attempt) = &input
            && let Some(dialled) = self
                .callees
                .get_mut(attempt)
                .and_then(|leg| leg.dialled.as_mut())
        {
            // The callee is alerted, so its answer or refusal is final.
            dialled.trunks_left.clear();
        }
        self.count_progress(&input);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.abandon_reason = abandon_reason(&input);
            self.trace_input(&input, context);
            self.machine.handle(input, Instant::now());
            while let Some(action) = self.machine.poll() {
                inputs.extend(self.perform(action, context));
            }
        }
    }
}

/// Returns the reason for which an input of the call machine withdraws attempts in progress.
fn abandon_reason(input: &Input) -> EndReason {
    match input {
        Input::Answered(_) | Input::CalleeKey(..) | Input::PlaybackFinished(_) => {
            EndReason::CompletedElsewhere
        }
        Input::Elapsed => EndReason::NoAnswer,
        _ => EndReason::Normal,
    }
}
