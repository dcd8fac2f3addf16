//! Actions of the call machine, performed on the legs of a call.

use std::time::Instant;

use call::{Action, CallCause, Cause, DialAttempt, Input, PhoneNumber, Prompt, Side};
use signalling::sdes::SrtpMode;
use signalling::sdp::{Codec, LocalMedia};
use signalling::{EndReason, OutgoingCall};

use super::attempts::TrunkLeg;
use super::media_path::connect;
use super::{CallLeg, DialledNumber, MaskedCall};
use crate::calls::RETRY_AFTER_SECONDS;
use crate::calls::call_limits::DestinationRefusal;
use crate::calls::context::EngineContext;
use crate::calls::leg_owner::{LegOwner, Role};
use crate::calls::media::{LegMedia, PortReservation};
use crate::calls::trunks::selection::{self, OutgoingLeg};
use crate::crypto::random;
use crate::metrics::METRICS;

impl MaskedCall {
    /// Performs one action. Returns an input for the machine if the action fails immediately.
    pub(super) fn perform(&mut self, action: Action, context: &mut EngineContext) -> Option<Input> {
        self.trace_action(&action, context);
        match action {
            Action::Reject(cause) => self.reject(cause, context),
            Action::Answer => self.answer(context),
            Action::Play(prompt, playback) => self.play(prompt, playback, context),
            Action::PlayTo(attempt, prompt, playback) => {
                if let Some(stream) = self
                    .callees
                    .get(&attempt)
                    .and_then(|leg| leg.stream.as_ref())
                {
                    stream.play(
                        context.prompts.get(prompt, self.voice.as_ref()),
                        u64::from(playback),
                    );
                }
            }
            Action::PlayToBoth(prompt) => self.play_to_both(prompt, context),
            Action::PlayRingback => self.caller.stream.iter().for_each(LegMedia::play_ringback),
            Action::PlayEarlyMedia(attempt) => self.play_early_media(attempt),
            Action::StopPlaying => self.caller.stream.iter().for_each(LegMedia::stop_playing),
            Action::CheckPin(pin) => self.record_writer.check_pin(pin),
            Action::Dial(attempt, number) => return self.dial(attempt, number, context),
            Action::Abandon(attempt) => self.abandon(attempt, context),
            Action::Bridge(attempt) => self.bridge(attempt, context),
            Action::Record => self.record(context),
            Action::ReportRinging(number) => self.record_writer.ringing(number),
            Action::ReportAnswered(number) => self.record_writer.answered(number),
            Action::HangUp(side, cause) => self.hang_up(side, cause, context),
            Action::Finish(outcome) => self.finish(outcome),
        }
        None
    }

    fn reject(&mut self, cause: Cause, context: &mut EngineContext) {
        let (leg, status) = (self.caller.id, cause.status());
        let retry_after = (cause == Cause::Overloaded).then_some(RETRY_AFTER_SECONDS);
        context
            .agent
            .command(|endpoint, now| endpoint.reject(leg, status, retry_after, now));
    }

    fn answer(&mut self, context: &mut EngineContext) {
        let Some(stream) = &self.caller.stream else {
            return;
        };
        let local = context.agent.local_of_leg(self.caller.id);
        let local = stream.describe(
            context.settings.media_address(self.caller.trunk, local),
            srtp(context, self.caller.trunk),
        );
        let leg = self.caller.id;
        if let Some(agreed) = context
            .agent
            .command(|endpoint, now| endpoint.answer(leg, local, now))
        {
            self.caller.remote = Some(agreed);
            connect(&self.caller, context);
        }
    }

    fn play(&mut self, prompt: Prompt, playback: u32, context: &mut EngineContext) {
        if let Some(stream) = &self.caller.stream {
            stream.play(
                context.prompts.get(prompt, self.voice.as_ref()),
                u64::from(playback),
            );
        }
    }

    fn play_early_media(&self, attempt: DialAttempt) {
        let callee = self.callees.get(&attempt);
        let callee = callee.and_then(|leg| leg.stream.as_ref());
        if let Some((caller, callee)) = self.caller.stream.as_ref().zip(callee) {
            tracing::debug!(call_sid = %self.sid, "playing early media to the caller");
            caller.play_early_media(callee);
        }
    }

    /// Token 0: the machine does not wait for the end of this prompt.
    fn play_to_both(&mut self, prompt: Prompt, context: &mut EngineContext) {
        let clip = context.prompts.get(prompt, self.voice.as_ref());
        let callee = self
            .bridged_attempt
            .and_then(|attempt| self.callees.get(&attempt))
            .map(Box::as_ref);
        for stream in [Some(&self.caller), callee]
            .into_iter()
            .flatten()
            .filter_map(|leg| leg.stream.as_ref())
        {
            stream.play(clip.clone(), 0);
        }
    }

    fn dial(
        &mut self,
        attempt: DialAttempt,
        number: PhoneNumber,
        context: &mut EngineContext,
    ) -> Option<Input> {
        if let Err(refusal) = self.check_destination(number, context) {
            METRICS.count_destination_refused(refusal.as_str());
            tracing::warn!(call_sid = %self.sid, reason = refusal.as_str(), "number may not be dialled");
            let cause = Cause::DestinationNotAllowed;
            self.trace_refused(number, context);
            self.attempts
                .refuse(attempt, number, cause.into(), Instant::now());
            return Some(Input::Failed(attempt, cause));
        }
        let trunks_left = selection::trunk_order(
            &context.settings.trunks,
            |trunk| context.is_up(trunk),
            &self.outgoing_leg(number),
            self.caller.trunk,
            random::below,
        )
        .into();
        self.dial_next_trunk(
            attempt,
            DialledNumber {
                number,
                trunks_left,
            },
            context,
        )
    }

    fn outgoing_leg(&self, number: PhoneNumber) -> OutgoingLeg<'_> {
        OutgoingLeg {
            number,
            virtual_number: self.number,
            tenant: self.tenant(),
        }
    }

    /// Checks a number against the rules of the tenant and of the trunks, as they were at the start of the call.
    fn check_destination(
        &self,
        number: PhoneNumber,
        context: &mut EngineContext,
    ) -> Result<(), DestinationRefusal> {
        if !selection::is_reachable(&context.settings.trunks, &self.outgoing_leg(number)) {
            return Err(DestinationRefusal::Trunks);
        }
        let Some(tenant) = &self.tenant else {
            return Ok(());
        };
        let rules = &tenant.settings.destinations;
        if !rules.permit(number) {
            return Err(DestinationRefusal::Tenant);
        }
        let Some(limit) = rules.max_calls_per_country_hour else {
            return Ok(());
        };
        let limiter = &mut context.destination_limiter;
        limiter
            .admit(&tenant.tenant_id, number, limit, Instant::now())
            .then_some(())
            .ok_or(DestinationRefusal::HourlyLimit)
    }

    /// Dials a number over the next trunk with capacity.
    pub(super) fn dial_next_trunk(
        &mut self,
        attempt: DialAttempt,
        mut dialled: DialledNumber,
        context: &mut EngineContext,
    ) -> Option<Input> {
        let number = dialled.number;
        while let Some(trunk) = dialled.next_trunk(context) {
            match self.dial_over(trunk, attempt, dialled, context) {
                Ok(()) => return None,
                Err(remaining) => dialled = remaining,
            }
        }
        let cause = Cause::Unreachable;
        if !self.attempts.has(attempt) {
            self.trace_refused(number, context);
            self.attempts
                .refuse(attempt, number, cause.into(), Instant::now());
        }
        Some(Input::Failed(attempt, cause))
    }

    /// Dials a number over one trunk. Returns the number and the remaining trunks if that is not possible.
    fn dial_over(
        &mut self,
        trunk: usize,
        attempt: DialAttempt,
        dialled: DialledNumber,
        context: &mut EngineContext,
    ) -> Result<(), DialledNumber> {
        let Some((to, from)) = self.dial_strings(trunk, dialled.number, context) else {
            return Err(dialled);
        };
        let owner = LegOwner {
            call: self.id,
            role: Role::Callee(attempt),
            trunk,
        };
        let Some((stream, ports)) = self.open_callee_stream(owner, context) else {
            return Err(dialled);
        };
        let call = self.outgoing_call(trunk, to, from, &stream, context);
        match context
            .agent
            .command(|endpoint, now| endpoint.dial(call, now))
        {
            Ok(id) => {
                context.add_leg(id, owner);
                let name = context.trunk_name(trunk).to_owned();
                let call_id = context.agent.call_id(id);
                let trace_leg = context.agent.tracer().and_then(|tracer| {
                    tracer.add_leg(self.id, call_id.as_deref(), &name, dialled.number)
                });
                let leg = TrunkLeg {
                    trunk: name,
                    call_id,
                    trace_leg,
                };
                self.attempts
                    .start(attempt, dialled.number, leg, Instant::now());
                let leg = CallLeg::callee(id, trunk, (stream, ports), dialled);
                self.callees.insert(attempt, Box::new(leg));
                Ok(())
            }
            Err(error) => {
                context.streams.remove(&stream.id());
                tracing::warn!(call_sid = %self.sid, %error, "number could not be dialled over a trunk");
                Err(dialled)
            }
        }
    }

    /// Opens a stream for a dialled leg. The first leg uses the ports of the call. A further leg, and one over a trunk with
    /// its own range of ports, reserves its own.
    fn open_callee_stream(
        &self,
        owner: LegOwner,
        context: &mut EngineContext,
    ) -> Option<(LegMedia, Option<PortReservation>)> {
        let is_reserved = self.callees.is_empty() && !context.media.has_own_ports(owner.trunk);
        let ports = match is_reserved {
            true => None,
            false => Some(context.media.reserve_leg(owner.trunk)?),
        };
        let local = context.agent.local_of_trunk(owner.trunk);
        Some((open_stream(context, owner, local)?, ports))
    }

    /// Formats the dialled number and the virtual number for the trunk.
    fn dial_strings(
        &self,
        trunk: usize,
        number: PhoneNumber,
        context: &EngineContext,
    ) -> Option<(String, String)> {
        let settings = context.settings.trunks.get(trunk)?;
        let (format, country) = (settings.number_format, settings.country);
        let to = format!("{}{}", settings.prefix, format.write(number, country));
        Some((to, format.write(self.number, country)))
    }

    /// Builds the new leg from the dialled number, the virtual number and the server's own media. Of the caller it uses
    /// the codec and the support for comfort noise, and nothing else.
    fn outgoing_call(
        &self,
        trunk: usize,
        to: String,
        from: String,
        stream: &LegMedia,
        context: &EngineContext,
    ) -> OutgoingCall {
        let caller = self.caller.remote;
        let local = context.agent.local_of_trunk(trunk);
        let address = context.settings.media_address(trunk, local);
        let local = stream.describe(address, srtp(context, trunk));
        OutgoingCall {
            trunk,
            to,
            from,
            local: LocalMedia {
                comfort_noise: caller.is_some_and(|remote| remote.comfort_noise),
                ..local
            },
            preferred: caller.map_or(Codec::Pcma, |remote| remote.codec),
        }
    }

    fn abandon(&mut self, attempt: DialAttempt, context: &mut EngineContext) {
        if let Some(leg) = self.callees.remove(&attempt) {
            let reason = self.abandon_reason;
            let cause = match reason {
                EndReason::CompletedElsewhere => CallCause::AnsweredElsewhere,
                EndReason::NoAnswer => CallCause::NoAnswer,
                _ => CallCause::Canceled,
            };
            self.end_attempt(attempt, None, cause, context);
            context
                .agent
                .command(|endpoint, now| endpoint.hang_up_for(leg.id, reason, now));
            context.remove_leg(leg.id, leg.stream.as_ref());
        }
    }

    fn bridge(&mut self, attempt: DialAttempt, context: &mut EngineContext) {
        self.bridged_attempt = Some(attempt);
        let callee = self
            .callees
            .get(&attempt)
            .and_then(|leg| leg.stream.as_ref());
        if let (Some(caller), Some(callee)) = (&self.caller.stream, callee) {
            caller.bridge(callee);
        }
        tracing::info!(call_sid = %self.sid, "call bridged");
        self.route_media(context);
    }

    fn record(&mut self, context: &mut EngineContext) {
        let settings = &context.settings;
        let (Some(stream), Some(tenant)) = (&self.caller.stream, &self.tenant) else {
            return;
        };
        let extension = settings.recording_format.extension();
        let file = settings
            .recordings
            .join(format!("{}.{extension}", self.sid));
        let is_encrypted = settings.encrypt_recordings;
        stream.record(file, is_encrypted.then(|| tenant.recording_key.clone()));
        self.trace_recording("started", None, context);
    }

    fn hang_up(&mut self, side: Side, cause: Cause, context: &mut EngineContext) {
        let leg = match side {
            Side::Caller => Some(self.caller.id),
            Side::Callee => self
                .bridged_attempt
                .and_then(|attempt| self.callees.get(&attempt))
                .map(|leg| leg.id),
        };
        if let Some(leg) = leg {
            context
                .agent
                .command(|endpoint, now| endpoint.hang_up_for(leg, end_reason(cause), now));
            context.forget_leg(leg);
        }
    }
}

/// Returns the reason that a peer learns when the server ends its leg.
fn end_reason(cause: Cause) -> EndReason {
    match cause {
        Cause::MediaLost => EndReason::Lost,
        _ => EndReason::Normal,
    }
}

/// Opens the media of a leg at this listen address.
pub(super) fn open_stream(
    context: &mut EngineContext,
    owner: LegOwner,
    local: Option<u8>,
) -> Option<LegMedia> {
    let bind = context.settings.media_bind(local);
    match context.media.open_for(owner.trunk, bind) {
        Ok(stream) => {
            context.streams.insert(stream.id(), owner);
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(%error, "no media port available for a leg");
            None
        }
    }
}

/// Returns the SRTP mode of a trunk.
fn srtp(context: &EngineContext, trunk: usize) -> SrtpMode {
    context
        .settings
        .trunks
        .get(trunk)
        .map_or(SrtpMode::Off, |trunk| trunk.srtp)
}
