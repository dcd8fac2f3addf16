//! Sentence that explains the result of a call.

use call::{CallCause, HangupBy};

use crate::store::{CallRecord, DialledLeg};

/// Returns a sentence on the result of a call, without any number; `None` while the call is in progress.
pub(crate) fn why(record: &CallRecord) -> Option<String> {
    let cause = record.cause?;
    let last = record.legs.attempts.last();
    let text = match cause {
        CallCause::Completed => {
            let seconds = record.on_call_duration().unwrap_or(0);
            let by = match record.hangup_by {
                Some(HangupBy::Callee) => "callee",
                _ => "caller",
            };
            return Some(format!(
                "The parties talked for {seconds} s, then the {by} hung up."
            ));
        }
        CallCause::WrongPin => {
            let attempts = record.pin_attempts;
            return Some(format!(
                "The caller entered {attempts} PINs, none of them valid."
            ));
        }
        CallCause::TimeLimit => "The call reached its maximum duration.",
        CallCause::MediaLost => "A party sent no audio for too long, or stopped responding.",
        CallCause::Ended => {
            "The server ended the call on request of the operator, or because of a forged INVITE."
        }
        CallCause::NotInUse => "No allocation was active on the virtual number.",
        CallCause::NoPin => "The caller entered no complete PIN in time.",
        CallCause::CallerHungUp => "The caller hung up before a number was dialled.",
        CallCause::Canceled => "The caller hung up while a number was dialled.",
        CallCause::AnsweredElsewhere => "Another number answered first.",
        CallCause::NoOtherParty => "The allocation has no number on the other side of the caller.",
        CallCause::Busy => "The dialled party was busy",
        CallCause::NoAnswer => "The dialled party did not answer in time",
        CallCause::Declined => "The dialled party or its network declined the call",
        CallCause::NumberNotFound => "The network does not know the dialled number",
        CallCause::Unreachable => "The dialled number could not be reached",
        CallCause::MediaNotAcceptable => "The dialled party has no codec in common with the server",
        CallCause::DestinationNotAllowed => "The rules of the operator deny the dialled number.",
        CallCause::Overloaded => {
            "The server, the tenant or the database had no capacity for the call."
        }
        CallCause::NotAcknowledged => "The trunk did not acknowledge the answer (no ACK).",
        CallCause::NodeFailed => "The node failed during the call.",
        CallCause::Internal => "An internal error ended the call; see the log of the node.",
    };
    Some(match text.ends_with('.') {
        true => text.to_owned(),
        false => format!("{text}{}.", last.map(detail).unwrap_or_default()),
    })
}

/// Returns the status and the trunk of an attempt in brackets.
fn detail(leg: &DialledLeg) -> String {
    match (leg.sip_status, &leg.trunk) {
        (Some(status), Some(trunk)) => format!(" (SIP {status} from trunk {trunk})"),
        (None, Some(trunk)) => format!(" (over trunk {trunk})"),
        _ => " (no trunk was available)".to_owned(),
    }
}
