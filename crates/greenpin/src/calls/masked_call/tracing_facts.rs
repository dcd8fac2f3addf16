//! Facts of a call for its trace: inputs and actions of the call machine, keys, attempts and media.

use call::{Action, CallCause, Cause, DialAttempt, Input, Route, Side, Verdict};
use media::DigitSource;

use super::MaskedCall;
use crate::calls::context::EngineContext;
use crate::calls::leg_owner::Role;
use crate::calls::media::MediaReport;
use crate::calls::trace::{TraceLegIndex, TraceOwner, masked_number};
use crate::store::TraceFact;

/// Name, reason and text of a decision.
type Decision = (&'static str, Option<&'static str>, &'static str);

impl MaskedCall {
    /// Returns the owner of the trace; `None` if the tenant keeps none.
    pub(in crate::calls) fn trace_owner(&self) -> Option<TraceOwner> {
        let tenant = self.tenant.as_ref()?;
        let numbers = self.attempts.numbers().chain(self.caller_number);
        Some(TraceOwner {
            tenant_id: tenant.tenant_id.clone(),
            call_sid: self.sid.clone(),
            numbers: numbers.chain([self.number]).collect(),
            hides_caller: self.is_caller_withheld,
        })
    }

    fn trace_leg(&self, attempt: DialAttempt) -> Option<TraceLegIndex> {
        self.attempts.trace_leg(attempt)
    }

    fn trace_leg_of(&self, role: Role) -> Option<TraceLegIndex> {
        match role {
            Role::Caller => Some(0),
            Role::Callee(attempt) => self.trace_leg(attempt),
        }
    }

    fn trace_leg_of_side(&self, side: Side) -> Option<TraceLegIndex> {
        match side {
            Side::Caller => Some(0),
            Side::Callee => self
                .bridged_attempt
                .and_then(|attempt| self.trace_leg(attempt)),
        }
    }

    fn trace_fact(
        &self,
        leg: Option<TraceLegIndex>,
        fact: impl FnOnce() -> TraceFact,
        context: &mut EngineContext,
    ) {
        if let Some(tracer) = context.agent.tracer() {
            tracer.fact(self.id, leg, fact());
        }
    }

    /// Records a pressed key, without the digit.
    pub(super) fn trace_key(&self, role: Role, source: DigitSource, context: &mut EngineContext) {
        let method = match source {
            DigitSource::Event => "rfc4733",
            DigitSource::Info => "info",
            DigitSource::InBand => "in_band",
        };
        let fact = || TraceFact::Digit {
            method: method.into(),
        };
        self.trace_fact(self.trace_leg_of(role), fact, context);
    }

    /// Records a number that is not dialled.
    pub(super) fn trace_refused(&self, number: call::PhoneNumber, context: &mut EngineContext) {
        let fact = || TraceFact::Dial {
            trunk: None,
            number: masked_number(number),
        };
        self.trace_fact(None, fact, context);
    }

    /// Records the end of an attempt.
    pub(super) fn trace_attempt_end(
        &self,
        attempt: DialAttempt,
        sip_status: Option<u16>,
        cause: CallCause,
        context: &mut EngineContext,
    ) {
        let fact = || TraceFact::DialEnd {
            sip_status,
            cause: cause.as_str().into(),
        };
        self.trace_fact(self.trace_leg(attempt), fact, context);
    }

    /// Records the statistics of a closed stream.
    pub(super) fn trace_media(
        &self,
        role: Role,
        report: &MediaReport,
        context: &mut EngineContext,
    ) {
        self.trace_fact(self.trace_leg_of(role), || media_fact(report), context);
    }

    /// Records the statistics of an open stream.
    pub(in crate::calls) fn trace_media_so_far(
        &self,
        role: Role,
        report: &MediaReport,
        context: &mut EngineContext,
    ) {
        if let (Some(tracer), Some(leg)) = (context.agent.tracer(), self.trace_leg_of(role)) {
            tracer.media_so_far(self.id, leg, media_fact(report));
        }
    }

    /// Records a change of the recording.
    pub(super) fn trace_recording(
        &self,
        state: &'static str,
        duration: Option<u64>,
        context: &mut EngineContext,
    ) {
        let fact = || TraceFact::Recording {
            state: state.into(),
            duration,
        };
        self.trace_fact(None, fact, context);
    }

    /// Records an input of the call machine.
    pub(super) fn trace_input(&self, input: &Input, context: &mut EngineContext) {
        let leg = match input {
            Input::Rerouted(attempt)
            | Input::Ringing(attempt)
            | Input::EarlyMediaStarted(attempt)
            | Input::EarlyMediaStopped(attempt)
            | Input::Answered(attempt)
            | Input::Failed(attempt, _) => self.trace_leg(*attempt),
            Input::HungUp(side, _) => self.trace_leg_of_side(*side),
            Input::Confirmed => Some(0),
            _ => None,
        };
        if let Some(decision) = input_decision(input)
            && let Some(tracer) = context.agent.tracer()
        {
            tracer.decision(self.id, leg, decision);
        }
    }

    /// Records an action of the call machine.
    pub(super) fn trace_action(&self, action: &Action, context: &mut EngineContext) {
        let leg = match action {
            Action::Reject(_) | Action::Answer | Action::Play(..) | Action::PlayRingback => Some(0),
            Action::PlayTo(attempt, ..)
            | Action::PlayEarlyMedia(attempt)
            | Action::Abandon(attempt)
            | Action::Bridge(attempt) => self.trace_leg(*attempt),
            Action::HangUp(side, _) => self.trace_leg_of_side(*side),
            _ => None,
        };
        if let Some(decision) = action_decision(action)
            && let Some(tracer) = context.agent.tracer()
        {
            tracer.decision(self.id, leg, decision);
        }
    }
}

/// Returns the word of a cause; `None` for an ordinary end.
fn cause_word(cause: Cause) -> Option<&'static str> {
    (cause != Cause::Normal).then(|| CallCause::from(cause).as_str())
}

/// Returns the decision that an input stands for. Keys are facts of their own.
fn input_decision(input: &Input) -> Option<Decision> {
    Some(match input {
        Input::Routed(route) => match route {
            Route::UnknownNumber => (
                "route",
                Some("unknown_number"),
                "the called number is unknown",
            ),
            Route::NotInUse => (
                "route",
                Some("not_in_use"),
                "no allocation is active on the number",
            ),
            Route::Collect(_) => (
                "route",
                None,
                "the number has an allocation: a PIN is needed",
            ),
            Route::Refuse(cause) => ("route", cause_word(*cause), "the call is refused"),
        },
        Input::Confirmed => ("confirmed", None, "the caller has acknowledged the answer"),
        Input::PinChecked(Verdict::Accepted(connection)) => match connection.dial.is_empty() {
            true => (
                "pin_accepted",
                Some("no_other_party"),
                "the PIN is right; there is no number to dial",
            ),
            false => ("pin_accepted", None, "the PIN is right"),
        },
        Input::PinChecked(Verdict::Refused) => ("pin_refused", None, "the PIN is refused"),
        Input::Rerouted(_) => (
            "rerouted",
            None,
            "the number is dialled over the next trunk",
        ),
        Input::Ringing(_) => ("ringing", None, "the party is alerted"),
        Input::EarlyMediaStarted(_) => {
            ("early_media", None, "the network of the party sends audio")
        }
        Input::EarlyMediaStopped(_) => (
            "early_media_stopped",
            None,
            "the audio before the answer has ended",
        ),
        Input::Answered(_) => ("answered", None, "the party has answered"),
        Input::Failed(_, cause) => ("failed", cause_word(*cause), "the attempt failed"),
        Input::HungUp(Side::Caller, Cause::Normal) => ("hung_up", None, "the caller hung up"),
        Input::HungUp(Side::Callee, Cause::Normal) => ("hung_up", None, "the callee hung up"),
        Input::HungUp(_, cause) => ("lost", cause_word(*cause), "the leg was lost"),
        Input::StoreFailed => ("store_failed", None, "the database did not answer"),
        Input::EndRequested => ("end_requested", None, "the end of the call was requested"),
        Input::Elapsed => ("deadline", None, "the time limit of this step has passed"),
        Input::Key(_) | Input::CalleeKey(..) | Input::PlaybackFinished(_) => return None,
    })
}

/// Returns the decision of an action. Dialling and recording are facts of their own.
fn action_decision(action: &Action) -> Option<Decision> {
    Some(match action {
        Action::Reject(cause) => ("reject", cause_word(*cause), "reject the caller"),
        Action::Answer => ("answer", None, "answer the caller"),
        Action::Play(prompt, _) => ("play", Some(prompt.as_str()), "play a prompt to the caller"),
        Action::PlayTo(_, prompt, _) => (
            "play",
            Some(prompt.as_str()),
            "play a prompt to the dialled party",
        ),
        Action::PlayToBoth(prompt) => (
            "play",
            Some(prompt.as_str()),
            "play a prompt to both parties",
        ),
        Action::PlayRingback => ("ringback", None, "play ring-back tone to the caller"),
        Action::PlayEarlyMedia(_) => (
            "early_media",
            None,
            "play the audio of the network to the caller",
        ),
        Action::CheckPin(_) => ("check_pin", None, "check the PIN"),
        Action::Abandon(_) => ("abandon", None, "withdraw the attempt"),
        Action::Bridge(_) => ("bridge", None, "connect both parties"),
        Action::HangUp(_, cause) => ("hang_up", cause_word(*cause), "hang up"),
        Action::Finish(outcome) => ("finish", Some(outcome.cause.as_str()), "the call is over"),
        Action::StopPlaying
        | Action::Dial(..)
        | Action::Record
        | Action::ReportRinging(_)
        | Action::ReportAnswered(_) => return None,
    })
}

fn media_fact(report: &MediaReport) -> TraceFact {
    let received = report.received;
    TraceFact::Media {
        codec: report.codec.map(|codec| codec.name().into()),
        packets_received: received.packets,
        packets_lost: received.lost,
        packets_sent: report.sent_packets,
        jitter_ms: (received.jitter_ms * 10.0).round() / 10.0,
        mos: received.mos.map(|mos| (mos * 100.0).round() / 100.0),
    }
}
