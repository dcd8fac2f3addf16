//! The end of a call: its streams close and report, then its record is written.

use std::time::Instant;

use call::CallOutcome;
use media::{DigitCounts, EventReport};

use super::{Leg, MaskedCall};
use crate::calls::media::LegMedia;
use crate::metrics::METRICS;
use crate::store::{CallEnding, DigitReport, LegReport, MediaPath};

/// The call is over; its record waits for the streams to close.
pub(super) struct Ending {
    pub(super) outcome: CallOutcome,
    pub(super) open_streams: usize,
}

impl MaskedCall {
    /// Closes every stream; the record is written when the last has reported.
    pub(super) fn finish(&mut self, outcome: CallOutcome) {
        let legs =
            std::iter::once(&mut self.caller).chain(self.callees.values_mut().map(Box::as_mut));
        let streams: Vec<LegMedia> = legs.filter_map(|leg| leg.stream.take()).collect();
        self.ending = Some(Ending {
            outcome,
            open_streams: streams.len(),
        });
        streams.into_iter().for_each(LegMedia::close);
        self.close_when_silent();
    }

    pub(super) fn close_when_silent(&mut self) {
        let Some(Ending {
            outcome,
            open_streams: 0,
        }) = &self.ending
        else {
            return;
        };
        let ending = self.ending_of(outcome);
        tracing::info!(call_sid = %self.sid, call_type = ?outcome.call_type, hangup_by = ?outcome.hangup_by, "a call ended");
        METRICS.call_ended(ending.call_type.as_str());
        self.ledger.end(ending);
        self.ending = None;
    }

    fn ending_of(&self, outcome: &CallOutcome) -> CallEnding {
        let at = |instant: Instant| self.started.timestamp(instant);
        let callee = self
            .talking_to
            .and_then(|attempt| self.callees.get(&attempt));
        CallEnding {
            ended_at: at(outcome.ended_at),
            answered_at: outcome.answered_at.map(at),
            dialled: outcome.dialled,
            dialled_at: outcome.dialled_at.map(at),
            bridged_at: outcome.bridged_at.map(at),
            call_type: outcome.call_type,
            dial_call_status: outcome.dial_status,
            hangup_by: outcome.hangup_by,
            sip_cause: self.last_status.filter(|_| outcome.bridged_at.is_none()),
            pin_attempts: outcome.pin_attempts,
            recording: self.recording.clone(),
            caller_media: self.leg_report(&self.caller),
            callee_media: callee.and_then(|leg| self.leg_report(leg)),
        }
    }

    fn leg_report(&self, leg: &Leg) -> Option<LegReport> {
        let report = leg.report.as_deref()?;
        let received = report.received;
        Some(LegReport {
            codec: report.codec.map(|codec| codec.name().to_owned()),
            srtp: report.srtp.map(str::to_owned),
            media: if self.direct.was_direct() {
                MediaPath::Direct
            } else {
                MediaPath::Relay
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
