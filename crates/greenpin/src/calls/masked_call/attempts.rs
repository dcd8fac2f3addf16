//! Attempts of a call to reach a number, for its record.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use call::{CallCause, CallOutcome, DialAttempt, PhoneNumber};

use crate::calls::call_start::CallStart;
use crate::calls::trace::TraceLegIndex;
use crate::store::{CallLegs, CallerVerification, DialledLeg, MAX_RECORDED_ATTEMPTS};

/// Attempts of a call, oldest first, with facts of the caller's leg.
#[derive(Debug, Default)]
pub(super) struct AttemptLog {
    pub(super) caller_call_id: Option<String>,
    pub(super) caller_verification: Option<CallerVerification>,
    /// Address that the server announced to the caller.
    pub(super) announced_address: Option<IpAddr>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    attempt: DialAttempt,
    number: PhoneNumber,
    trunk: Option<String>,
    call_id: Option<String>,
    trace_leg: Option<TraceLegIndex>,
    started_at: Instant,
    /// The callee was alerted or has answered.
    is_alerted: bool,
    is_answered: bool,
    end: Option<AttemptEnd>,
}

#[derive(Debug)]
struct AttemptEnd {
    at: Instant,
    status: Option<u16>,
    cause: CallCause,
}

/// Leg over a trunk.
#[derive(Debug)]
pub(super) struct TrunkLeg {
    /// Name of the trunk.
    pub(super) trunk: String,
    /// `Call-ID` of the leg.
    pub(super) call_id: Option<String>,
    /// Leg of the trace.
    pub(super) trace_leg: Option<TraceLegIndex>,
}

impl AttemptLog {
    /// Notes the start of an attempt over a trunk.
    pub(super) fn start(
        &mut self,
        attempt: DialAttempt,
        number: PhoneNumber,
        leg: TrunkLeg,
        now: Instant,
    ) {
        self.push(Entry {
            attempt,
            number,
            trunk: Some(leg.trunk),
            call_id: leg.call_id,
            trace_leg: leg.trace_leg,
            started_at: now,
            is_alerted: false,
            is_answered: false,
            end: None,
        });
    }

    /// Notes a number that was not dialled.
    pub(super) fn refuse(
        &mut self,
        attempt: DialAttempt,
        number: PhoneNumber,
        cause: CallCause,
        now: Instant,
    ) {
        self.push(Entry {
            attempt,
            number,
            trunk: None,
            call_id: None,
            trace_leg: None,
            started_at: now,
            is_alerted: false,
            is_answered: false,
            end: Some(AttemptEnd {
                at: now,
                status: None,
                cause,
            }),
        });
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() < MAX_RECORDED_ATTEMPTS {
            self.entries.push(entry);
        }
    }

    fn open(&mut self, attempt: DialAttempt) -> Option<&mut Entry> {
        let mut open = self.entries.iter_mut();
        open.find(|entry| entry.attempt == attempt && entry.end.is_none())
    }

    /// Notes that the callee is alerted or has answered. Returns the trunk and the time since the INVITE, the first time.
    pub(super) fn alert(
        &mut self,
        attempt: DialAttempt,
        now: Instant,
    ) -> Option<(String, Duration)> {
        let entry = self.open(attempt).filter(|entry| !entry.is_alerted)?;
        entry.is_alerted = true;
        let delay = now.saturating_duration_since(entry.started_at);
        Some((entry.trunk.clone()?, delay))
    }

    /// Notes the answer of an attempt. Returns the trunk, the first time.
    pub(super) fn answer(&mut self, attempt: DialAttempt) -> Option<String> {
        let entry = self.open(attempt).filter(|entry| !entry.is_answered)?;
        entry.is_answered = true;
        entry.trunk.clone()
    }

    /// Notes the end of an attempt with the final status of a rejection. Returns the trunk of an attempt that was not
    /// answered.
    pub(super) fn end(
        &mut self,
        attempt: DialAttempt,
        status: Option<u16>,
        cause: CallCause,
        now: Instant,
    ) -> Option<String> {
        let entry = self.open(attempt)?;
        entry.end = Some(AttemptEnd {
            at: now,
            status,
            cause,
        });
        entry.trunk.clone().filter(|_| !entry.is_answered)
    }

    /// Returns the numbers of all attempts.
    pub(super) fn numbers(&self) -> impl Iterator<Item = PhoneNumber> {
        self.entries.iter().map(|entry| entry.number)
    }

    /// Returns the leg of the trace for the last leg of an attempt.
    pub(super) fn trace_leg(&self, attempt: DialAttempt) -> Option<TraceLegIndex> {
        let mut entries = self.entries.iter().rev();
        entries.find(|entry| entry.attempt == attempt)?.trace_leg
    }

    /// Returns `true` if the log has an entry of the attempt.
    pub(super) fn has(&self, attempt: DialAttempt) -> bool {
        self.entries.iter().any(|entry| entry.attempt == attempt)
    }

    /// Returns the legs for the record. Attempts in progress end with the call.
    pub(super) fn legs(&self, start: &CallStart, outcome: &CallOutcome) -> CallLegs {
        let leg = |entry: &Entry| {
            let (at, status, cause) = match &entry.end {
                Some(end) => (end.at, end.status, end.cause),
                None => (outcome.ended_at, None, outcome.cause),
            };
            DialledLeg {
                number: entry.number,
                trunk: entry.trunk.clone(),
                call_id: entry.call_id.clone(),
                started_at: start.timestamp(entry.started_at),
                ended_at: start.timestamp(at),
                sip_status: status,
                cause,
            }
        };
        CallLegs {
            caller_call_id: self.caller_call_id.clone(),
            caller_verification: self.caller_verification,
            attempts: self.entries.iter().map(leg).collect(),
            announced_address: self.announced_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use call::{CallType, HangupBy};

    use super::*;
    use crate::store::Timestamp;

    fn leg(trunk: &str) -> TrunkLeg {
        TrunkLeg {
            trunk: trunk.into(),
            call_id: Some(format!("id-{trunk}")),
            trace_leg: None,
        }
    }

    #[test]
    fn each_trunk_of_a_number_is_an_entry_and_open_ones_end_with_the_call() {
        let (start, number) = (Instant::now(), PhoneNumber::parse("+919900000001").unwrap());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (first, second) = (DialAttempt(0), DialAttempt(1));
        let mut log = AttemptLog::default();
        log.start(first, number, leg("a"), at(0));
        let ended = log.end(first, Some(503), CallCause::Unreachable, at(1));
        assert_eq!(ended.as_deref(), Some("a"));
        log.start(first, number, leg("b"), at(1));
        let delay = Duration::from_secs(2);
        assert_eq!(log.alert(first, at(3)), Some(("b".to_owned(), delay)));
        assert_eq!(log.alert(first, at(4)), None);
        assert_eq!(log.answer(first).as_deref(), Some("b"));
        assert_eq!(log.answer(first), None);
        log.refuse(second, number, CallCause::DestinationNotAllowed, at(2));
        assert_eq!(log.end(second, Some(486), CallCause::Busy, at(3)), None);
        let outcome = CallOutcome {
            call_type: CallType::Completed,
            dial_status: None,
            hangup_by: HangupBy::Caller,
            cause: CallCause::Completed,
            pin_attempts: 1,
            dialled: None,
            answered_at: None,
            dialled_at: None,
            bridged_at: None,
            ended_at: at(9),
        };
        let start = CallStart {
            at: Timestamp::from_micros(0),
            instant: start,
        };
        let legs = log.legs(&start, &outcome).attempts;
        let shown: Vec<_> = legs
            .iter()
            .map(|leg| (leg.trunk.as_deref(), leg.sip_status, leg.cause))
            .collect();
        assert_eq!(
            shown,
            [
                (Some("a"), Some(503), CallCause::Unreachable),
                (Some("b"), None, CallCause::Completed),
                (None, None, CallCause::DestinationNotAllowed),
            ]
        );
        let seconds = |time: Timestamp| time.micros() / 1_000_000;
        let times: Vec<_> = legs
            .iter()
            .map(|leg| (seconds(leg.started_at), seconds(leg.ended_at)))
            .collect();
        assert_eq!(times, [(0, 1), (1, 9), (2, 2)]);
        for _ in 0..MAX_RECORDED_ATTEMPTS {
            log.start(second, number, leg("c"), at(4));
        }
        assert_eq!(
            log.legs(&start, &outcome).attempts.len(),
            MAX_RECORDED_ATTEMPTS
        );
    }
}
