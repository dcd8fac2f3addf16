//! Legs of a call, for its record: the attempts to reach a number, and the Call-IDs.

use std::net::IpAddr;

use call::{CallCause, PhoneNumber};
use serde::{Deserialize, Serialize};

use crate::store::{StoreError, Timestamp};

/// Maximum number of attempts in a record. A call beyond it keeps the first ones.
pub const MAX_RECORDED_ATTEMPTS: usize = 50;

/// Legs of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallLegs {
    /// `Call-ID` of the caller's leg.
    pub caller_call_id: Option<String>,
    /// Result of the carrier's check of the caller's number; `None` if the carrier names none.
    pub caller_verification: Option<CallerVerification>,
    /// Attempts to reach a number, oldest first.
    pub attempts: Vec<DialledLeg>,
    /// Address that the server announced to the caller; recorded if the answer was not acknowledged or no audio came.
    pub announced_address: Option<IpAddr>,
}

call::words! {
    /// Result of the carrier's check of the caller's number (`verstat`, 3GPP TS 24.229).
    pub enum CallerVerification {
        /// The signature of the originating carrier is valid.
        Passed = "passed",
        /// The signature is not valid: the number may be forged.
        Failed = "failed",
        /// The carrier has not checked the number.
        NotValidated = "not_validated",
    }
}

/// Attempt to reach a number over one trunk.
#[derive(Debug, Clone, PartialEq)]
pub struct DialledLeg {
    /// Dialled number.
    pub number: PhoneNumber,
    /// Outgoing trunk; `None` if the number was not dialled.
    pub trunk: Option<String>,
    /// `Call-ID` of the leg.
    pub call_id: Option<String>,
    /// Start of the attempt.
    pub started_at: Timestamp,
    /// End of the leg.
    pub ended_at: Timestamp,
    /// Final SIP status of a rejected leg.
    pub sip_status: Option<u16>,
    /// Reason for the end of the leg.
    pub cause: CallCause,
}

/// Stored form of [`CallLegs`].
#[derive(Serialize, Deserialize)]
struct StoredLegs {
    caller_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller_verification: Option<String>,
    attempts: Vec<StoredLeg>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    announced_address: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct StoredLeg {
    number: String,
    trunk: Option<String>,
    call_id: Option<String>,
    started_at: i64,
    ended_at: i64,
    sip_status: Option<u16>,
    cause: String,
}

impl CallLegs {
    /// Returns the text for the database. It contains numbers and is encrypted there.
    pub(crate) fn stored(&self) -> Result<String, StoreError> {
        let attempts = self.attempts.iter().map(|leg| StoredLeg {
            number: leg.number.expose(),
            trunk: leg.trunk.clone(),
            call_id: leg.call_id.clone(),
            started_at: leg.started_at.micros(),
            ended_at: leg.ended_at.micros(),
            sip_status: leg.sip_status,
            cause: leg.cause.as_str().to_owned(),
        });
        let stored = StoredLegs {
            caller_call_id: self.caller_call_id.clone(),
            caller_verification: self
                .caller_verification
                .map(|verification| verification.as_str().to_owned()),
            attempts: attempts.collect(),
            announced_address: self.announced_address,
        };
        serde_json::to_string(&stored).map_err(|_| StoreError::Unreadable("legs of a call"))
    }

    /// Reads the text of the database.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let unreadable = || StoreError::Unreadable("legs of a call");
        let stored: StoredLegs = serde_json::from_str(text).map_err(|_| unreadable())?;
        let leg = |leg: StoredLeg| {
            Some(DialledLeg {
                number: PhoneNumber::parse(&leg.number).ok()?,
                trunk: leg.trunk,
                call_id: leg.call_id,
                started_at: Timestamp::from_micros(leg.started_at),
                ended_at: Timestamp::from_micros(leg.ended_at),
                sip_status: leg.sip_status,
                cause: leg.cause.parse().ok()?,
            })
        };
        let attempts = stored.attempts.into_iter().map(leg);
        Ok(Self {
            caller_call_id: stored.caller_call_id,
            caller_verification: stored
                .caller_verification
                .map(|word| word.parse().map_err(|_| unreadable()))
                .transpose()?,
            attempts: attempts.collect::<Option<_>>().ok_or_else(unreadable)?,
            announced_address: stored.announced_address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_legs_are_read_unchanged() {
        let legs = CallLegs {
            caller_call_id: Some("a@192.0.2.1".into()),
            caller_verification: Some(CallerVerification::Passed),
            announced_address: Some("192.0.2.10".parse().unwrap()),
            attempts: vec![DialledLeg {
                number: PhoneNumber::parse("+919900000001").unwrap(),
                trunk: Some("carrier".into()),
                call_id: None,
                started_at: Timestamp::from_micros(1),
                ended_at: Timestamp::from_micros(2),
                sip_status: Some(486),
                cause: CallCause::Busy,
            }],
        };
        assert_eq!(CallLegs::parse(&legs.stored().unwrap()), Ok(legs));
        assert!(CallLegs::parse("{}").is_err());
    }
}
