//! Sentence that explains the result of a call. The record, `call.completed`, the log and the trace show the same one.

use std::net::IpAddr;

use call::{CallCause, HangupBy};

use crate::store::calls::ending::CallEnding;
use crate::store::calls::record::CallRecord;
use crate::store::calls::report::LegReport;
use crate::store::{DialledLeg, Timestamp};

/// Facts of an ended call that its sentence names. No number is among them.
#[derive(Debug, Clone, Default)]
struct Facts<'a> {
    is_answered: bool,
    /// Seconds of the conversation; `None` if the parties were not connected.
    talked: Option<u64>,
    hangup_by: Option<HangupBy>,
    pin_attempts: u32,
    /// Attempts to reach a number.
    attempts: &'a [DialledLeg],
    caller_media: Option<&'a LegReport>,
    callee_media: Option<&'a LegReport>,
    announced_address: Option<IpAddr>,
}

impl CallRecord {
    /// Returns a sentence on the result of the call, without any number; `None` while the call is in progress.
    pub fn why(&self) -> Option<String> {
        let facts = Facts {
            is_answered: self.answered_at.is_some(),
            talked: self.bridged_at.and(self.on_call_duration()),
            hangup_by: self.hangup_by,
            pin_attempts: self.pin_attempts,
            attempts: &self.legs.attempts,
            caller_media: self.caller_media.as_ref(),
            callee_media: self.callee_media.as_ref(),
            announced_address: self.legs.announced_address,
        };
        self.cause.map(|cause| sentence(cause, &facts))
    }
}

impl CallEnding {
    /// Returns the sentence of the record that this end makes.
    pub fn why(&self) -> String {
        let talked = |bridged_at: Timestamp| self.ended_at.since(bridged_at).as_secs();
        let facts = Facts {
            is_answered: self.answered_at.is_some(),
            talked: self.bridged_at.map(talked),
            hangup_by: Some(self.hangup_by),
            pin_attempts: self.pin_attempts,
            attempts: &self.legs.attempts,
            caller_media: self.caller_media.as_ref(),
            callee_media: self.callee_media.as_ref(),
            announced_address: self.legs.announced_address,
        };
        sentence(self.cause, &facts)
    }
}

/// Returns the sentence of a cause.
fn sentence(cause: CallCause, facts: &Facts<'_>) -> String {
    match cause {
        CallCause::Completed
        | CallCause::TimeLimit
        | CallCause::MediaLost
        | CallCause::Ended
        | CallCause::NodeFailed
        | CallCause::Internal => facts.end_of_call(cause),
        CallCause::NoPin
        | CallCause::WrongPin
        | CallCause::CallerHungUp
        | CallCause::NotAcknowledged => facts.end_before_dialling(cause),
        CallCause::NotInUse => "No allocation was active on the virtual number.".to_owned(),
        CallCause::NoOtherParty => facts.after_wrong_pins(
            "The PIN was right, but the allocation has no number on the other side.",
        ),
        CallCause::Overloaded => {
            "The server, the tenant or the database had no capacity for the call.".to_owned()
        }
        CallCause::Canceled => {
            facts.end_of_dialling("The caller hung up while the other party was dialled")
        }
        CallCause::AnsweredElsewhere => facts.end_of_dialling("Another number answered first"),
        CallCause::Busy => facts.end_of_dialling("The dialled party was busy"),
        CallCause::NoAnswer => facts.end_of_dialling("The dialled party did not answer in time"),
        CallCause::Declined => {
            facts.end_of_dialling("The dialled party or its network declined the call")
        }
        CallCause::NumberNotFound => {
            facts.end_of_dialling("The network does not know the dialled number")
        }
        CallCause::Unreachable => facts.end_of_dialling("The dialled number could not be reached"),
        CallCause::MediaNotAcceptable => {
            facts.end_of_dialling("The dialled party has no codec in common with the server")
        }
        CallCause::DestinationNotAllowed => facts.after_wrong_pins(
            "The rules of the operator or of the trunks deny the dialled number.",
        ),
    }
}

impl Facts<'_> {
    /// Returns the number of wrong PINs: a dialled number proves that the last one was right.
    fn wrong_pins(&self) -> u32 {
        let is_right = self.talked.is_some() || !self.attempts.is_empty();
        self.pin_attempts.saturating_sub(u32::from(is_right))
    }

    /// Returns the sentence, or names the wrong PINs before it.
    fn after_wrong_pins(&self, sentence: &str) -> String {
        match self.wrong_pins() {
            0 => sentence.to_owned(),
            wrong => format!(
                "The caller entered a wrong PIN {}. {sentence}",
                times(wrong)
            ),
        }
    }

    /// Returns the beginning of a sentence on a conversation.
    fn conversation(&self, talked: u64) -> String {
        match self.wrong_pins() {
            0 => format!("The parties talked for {}", duration(talked)),
            wrong => format!(
                "The caller entered a wrong PIN {}, then talked for {}",
                times(wrong),
                duration(talked)
            ),
        }
    }

    fn end_of_call(&self, cause: CallCause) -> String {
        let talked = self.talked.map(|talked| self.conversation(talked));
        let end = match cause {
            CallCause::Completed => match self.hangup_by {
                Some(HangupBy::Callee) => "the callee hung up",
                Some(HangupBy::System) => "greenpin ended the call",
                _ => "the caller hung up",
            },
            CallCause::TimeLimit => "the call reached its maximum duration",
            CallCause::MediaLost => "a party sent no audio for too long or stopped responding",
            CallCause::Ended => "the operator or a limit of the server ended the call",
            CallCause::NodeFailed => "the node failed during the call",
            _ => "an internal error ended the call, see the log of the node",
        };
        match talked {
            Some(talked) => format!("{talked}; {end}{}.", self.silent_party()),
            None => format!("{}.", capitalized(end)),
        }
    }

    /// Returns a remark on a party that has sent no audio at all.
    fn silent_party(&self) -> &'static str {
        let is_silent = |report: Option<&LegReport>| {
            report.is_some_and(|report| {
                report.packets_received == 0 && report.media == crate::store::MediaMode::Relay
            })
        };
        match (is_silent(self.caller_media), is_silent(self.callee_media)) {
            (true, true) => " (no audio came from either party)",
            (true, false) => " (no audio came from the caller)",
            (false, true) => " (no audio came from the callee)",
            (false, false) => "",
        }
    }

    fn end_before_dialling(&self, cause: CallCause) -> String {
        let wrong = self.pin_attempts;
        let no_audio = self.is_answered
            && self
                .caller_media
                .is_some_and(|report| report.packets_received == 0);
        match (cause, wrong) {
            (CallCause::NotAcknowledged, _) => self.not_acknowledged(no_audio),
            (CallCause::WrongPin, wrong) => format!(
                "The caller entered a wrong PIN {}, the maximum; greenpin ended the call.",
                times(wrong)
            ),
            (CallCause::NoPin, 0) if no_audio => format!(
                "The caller entered no PIN in time, and no audio came{}.",
                self.check_address()
            ),
            (CallCause::NoPin, 0) => match self.pressed_keys() {
                0 => "The caller pressed no key in time.".to_owned(),
                _ => "The caller entered no complete PIN in time.".to_owned(),
            },
            (CallCause::NoPin, wrong) => format!(
                "The caller entered a wrong PIN {}, then no complete PIN in time.",
                times(wrong)
            ),
            (_, 0) if !self.is_answered => {
                "The caller hung up before the call was answered.".to_owned()
            }
            (_, 0) => "The caller hung up before the PIN was complete.".to_owned(),
            (_, wrong) => format!(
                "The caller entered a wrong PIN {}, then hung up.",
                times(wrong)
            ),
        }
    }

    fn not_acknowledged(&self, no_audio: bool) -> String {
        let audio = if no_audio { " and no audio" } else { "" };
        format!("Answered, but no ACK{audio} came{}.", self.check_address())
    }

    fn check_address(&self) -> String {
        match self.announced_address {
            Some(address) => format!(": check sip.public_address ({address})"),
            None => ": check sip.public_address".to_owned(),
        }
    }

    fn pressed_keys(&self) -> u32 {
        let digits = self.caller_media.and_then(|report| report.digits);
        digits.map_or(0, |digits| digits.pressed)
    }

    fn end_of_dialling(&self, text: &str) -> String {
        let last = self.attempts.last().map(detail).unwrap_or_default();
        let others = match self.attempts.len() {
            0 | 1 => String::new(),
            count => format!(", the last of {count} attempts"),
        };
        self.after_wrong_pins(&format!("{text}{last}{others}."))
    }
}

/// Returns the status and the trunk of an attempt in brackets.
fn detail(leg: &DialledLeg) -> String {
    match (leg.sip_status, &leg.trunk) {
        (Some(status), Some(trunk)) => format!(" (SIP {status} from trunk {trunk})"),
        (None, Some(trunk)) => format!(" (over trunk {trunk})"),
        _ => " (no trunk was available)".to_owned(),
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// Returns a duration such as `2 min 11 s`.
fn duration(seconds: u64) -> String {
    let (minutes, rest) = (seconds / 60, seconds % 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {rest} s"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use call::PhoneNumber;

    use super::*;

    fn attempt(sip_status: Option<u16>, trunk: Option<&str>) -> DialledLeg {
        DialledLeg {
            number: PhoneNumber::parse("+919900000001").unwrap(),
            trunk: trunk.map(ToOwned::to_owned),
            call_id: None,
            started_at: Timestamp::from_micros(0),
            ended_at: Timestamp::from_micros(0),
            sip_status,
            cause: CallCause::Busy,
        }
    }

    fn report(packets_received: u64) -> LegReport {
        serde_json::from_value(serde_json::json!({
            "codec": "PCMA", "packets_received": packets_received, "packets_lost": 0, "packets_sent": 1,
            "jitter_ms": 0.0, "mos": null,
        }))
        .unwrap()
    }

    #[test]
    fn each_cause_has_one_sentence_without_a_number() {
        let attempts = [attempt(Some(486), Some("carrier"))];
        let facts = Facts {
            attempts: &attempts,
            pin_attempts: 1,
            ..Facts::default()
        };
        for cause in CallCause::ALL {
            for facts in [&Facts::default(), &facts] {
                let text = sentence(*cause, facts);
                assert!(text.ends_with('.') && !text.ends_with(".."), "{text}");
                assert!(
                    text.starts_with(|first: char| first.is_ascii_uppercase()),
                    "{text}"
                );
                assert!(!text.contains("99000"), "{text}");
                assert_eq!(
                    text.matches('.').count(),
                    1 + text.matches("sip.").count(),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn wrong_pins_and_the_end_of_the_conversation_are_named() {
        let facts = Facts {
            is_answered: true,
            talked: Some(131),
            hangup_by: Some(HangupBy::Callee),
            pin_attempts: 3,
            ..Facts::default()
        };
        assert_eq!(
            sentence(CallCause::Completed, &facts),
            "The caller entered a wrong PIN twice, then talked for 2 min 11 s; the callee hung up."
        );
        let facts = Facts {
            talked: Some(0),
            pin_attempts: 1,
            hangup_by: Some(HangupBy::Caller),
            ..facts
        };
        assert_eq!(
            sentence(CallCause::Completed, &facts),
            "The parties talked for 0 s; the caller hung up."
        );
        let silent = report(0);
        let facts = Facts {
            callee_media: Some(&silent),
            ..facts
        };
        assert_eq!(
            sentence(CallCause::MediaLost, &facts),
            "The parties talked for 0 s; a party sent no audio for too long or stopped responding \
             (no audio came from the callee)."
        );
    }

    #[test]
    fn an_answer_without_ack_names_the_announced_address() {
        let silent = report(0);
        let facts = Facts {
            is_answered: true,
            caller_media: Some(&silent),
            announced_address: Some("192.0.2.10".parse().unwrap()),
            ..Facts::default()
        };
        assert_eq!(
            sentence(CallCause::NotAcknowledged, &facts),
            "Answered, but no ACK and no audio came: check sip.public_address (192.0.2.10)."
        );
        assert_eq!(
            sentence(CallCause::NoPin, &facts),
            "The caller entered no PIN in time, and no audio came: check sip.public_address (192.0.2.10)."
        );
    }

    #[test]
    fn a_failed_attempt_names_its_status_and_trunk() {
        let attempts = [attempt(Some(503), Some("a")), attempt(Some(486), Some("b"))];
        let facts = Facts {
            attempts: &attempts,
            pin_attempts: 2,
            ..Facts::default()
        };
        assert_eq!(
            sentence(CallCause::Busy, &facts),
            "The caller entered a wrong PIN once. The dialled party was busy (SIP 486 from trunk b), the last of 2 attempts."
        );
    }
}
