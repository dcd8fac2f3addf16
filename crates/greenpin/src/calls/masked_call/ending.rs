//! End of a call: the streams close and report, then the call record is written.

use std::time::Instant;

use call::{CallCause, CallOutcome};
use media::{DigitCounts, EventReport};

use super::{CallLeg, MaskedCall};
use crate::calls::context::EngineContext;
use crate::calls::media::LegMedia;
use crate::metrics::METRICS;
use crate::store::{CallEnding, CallLegs, DigitReport, LegReport, MediaMode};

/// Ended call with open streams. Its record is written after the last stream has closed.
pub(super) struct PendingRecord {
    pub(super) outcome: CallOutcome,
    pub(super) open_streams: usize,
}

impl MaskedCall {
    /// Closes every stream. The record is written after the last report.
    pub(super) fn finish(&mut self, outcome: CallOutcome) {
        let legs =
            std::iter::once(&mut self.caller).chain(self.callees.values_mut().map(Box::as_mut));
        let streams: Vec<LegMedia> = legs.filter_map(|leg| leg.stream.take()).collect();
        self.ending = Some(PendingRecord {
            outcome,
            open_streams: streams.len(),
        });
        streams.into_iter().for_each(LegMedia::close);
        self.write_record_when_closed();
    }

    /// Ends the call after a panic: hangs up every leg, closes every stream and writes the record, unless that has
    /// happened before. The reports of the streams are lost.
    pub(in crate::calls) fn end_after_panic(&mut self, context: &mut EngineContext) {
        let now = Instant::now();
        let pending = self.ending.take().map(|pending| pending.outcome);
        let outcome = pending.or_else(|| self.machine.abort(now));
        let legs =
            std::iter::once(&mut self.caller).chain(self.callees.values_mut().map(Box::as_mut));
        for leg in legs {
            let id = leg.id;
            context
                .agent
                .command(|endpoint, now| endpoint.hang_up(id, now));
            context.remove_leg(id, leg.stream.take().as_ref());
        }
        if let Some(outcome) = outcome {
            METRICS.count_call_end(outcome.call_type.as_str());
            self.record_writer.end(self.call_ending(&outcome));
        }
    }

    pub(super) fn write_record_when_closed(&mut self) {
        let Some(PendingRecord {
            outcome,
            open_streams: 0,
        }) = &self.ending
        else {
            return;
        };
        let ending = self.call_ending(outcome);
        self.ports = None;
        tracing::info!(call_sid = %self.sid, call_type = ?outcome.call_type, hangup_by = ?outcome.hangup_by, cause = outcome.cause.as_str(), why = ending.why(), "call ended");
        METRICS.count_call_end(ending.call_type.as_str());
        self.record_writer.end(ending);
        self.ending = None;
    }

    fn call_ending(&self, outcome: &CallOutcome) -> CallEnding {
        let at = |instant: Instant| self.started.timestamp(instant);
        let callee = self
            .bridged_attempt
            .and_then(|attempt| self.callees.get(&attempt));
        CallEnding {
            ended_at: at(outcome.ended_at),
            answered_at: outcome.answered_at.map(at),
            dialled: outcome.dialled,
            dialled_at: outcome.dialled_at.map(at),
            bridged_at: outcome.bridged_at.map(at),
            call_type: outcome.call_type,
            cause: outcome.cause,
            legs: self.call_legs(outcome),
            dial_call_status: outcome.dial_status,
            hangup_by: outcome.hangup_by,
            sip_cause: self.last_status.filter(|_| outcome.bridged_at.is_none()),
            pin_attempts: outcome.pin_attempts,
            recording: self.recording.clone(),
            caller_media: self.leg_report(&self.caller),
            callee_media: callee.and_then(|leg| self.leg_report(leg)),
        }
    }

    /// Returns the legs, with the announced address only if it may be the reason that nothing came from the caller.
    fn call_legs(&self, outcome: &CallOutcome) -> CallLegs {
        let report = self.caller.report.as_deref();
        let is_silent = report.is_some_and(|report| report.received.packets == 0);
        let is_doubtful = outcome.cause == CallCause::NotAcknowledged || is_silent;
        let legs = self.attempts.legs(&self.started, outcome);
        CallLegs {
            announced_address: legs.announced_address.filter(|_| is_doubtful),
            ..legs
        }
    }

    fn leg_report(&self, leg: &CallLeg) -> Option<LegReport> {
        let report = leg.report.as_deref()?;
        let received = report.received;
        Some(LegReport {
            codec: report.codec.map(|codec| codec.name().to_owned()),
            srtp: report.srtp.map(str::to_owned),
            media: if self.direct.was_direct() {
                MediaMode::Direct
            } else {
                MediaMode::Relay
            },
            packets_received: received.packets,
            packets_lost: received.lost,
            packets_late: report.late,
            packets_sent: report.sent_packets,
            jitter_ms: received.jitter_ms,
            mos: received.mos,
            digits: Some(digit_report(leg.keys.counts(), report.events)),
        })
    }
}

fn digit_report(counts: DigitCounts, events: EventReport) -> DigitReport {
    DigitReport {
        pressed: counts.pressed,
        duplicates: counts.duplicates,
        rfc4733: counts.rfc4733,
        info: counts.info,
        in_band: counts.in_band,
        lost_packets: events.lost_packets,
        lost_ends: events.lost_ends,
        end_only: events.end_only,
        late_packets: events.late_packets,
    }
}
