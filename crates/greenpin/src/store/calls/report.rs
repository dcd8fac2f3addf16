//! Media statistics of a call, for its record.

use serde::{Deserialize, Serialize, Serializer};

/// Media statistics of one leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LegReport {
    /// Name of the codec; `null` if the leg had no media.
    #[schema(required)]
    pub codec: Option<String>,
    /// SRTP suite of the leg; `null` if the audio was not encrypted.
    #[serde(default)]
    #[schema(required)]
    pub srtp: Option<String>,
    /// `direct` if the audio bypassed the server for some time. The counts cover the rest of the call.
    #[serde(default)]
    #[schema(required)]
    pub media: MediaMode,
    /// Number of received RTP packets.
    pub packets_received: u64,
    /// Number of RTP packets that were sent to the server and did not arrive.
    pub packets_lost: u64,
    /// Number of RTP packets that arrived too late to be decoded, or twice. Counted for decoded audio only; 0 for
    /// relayed audio.
    #[serde(default)]
    #[schema(required)]
    pub packets_late: u64,
    /// Number of sent RTP packets.
    pub packets_sent: u64,
    /// Interarrival jitter in milliseconds, to a tenth (RFC 3550).
    #[serde(serialize_with = "in_tenths")]
    #[schema(minimum = 0)]
    pub jitter_ms: f64,
    /// Estimated mean opinion score of the received audio, 1.0 to 4.5, to a hundredth.
    #[serde(serialize_with = "in_hundredths")]
    #[schema(required, minimum = 1, maximum = 5)]
    pub mos: Option<f64>,
    /// Statistics of the pressed keys; `null` for a call before this report existed.
    #[serde(default)]
    #[schema(required)]
    pub digits: Option<DigitReport>,
}

/// Writes a measured value to the precision that it has.
fn in_tenths<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 10.0).round() / 10.0)
}

fn in_hundredths<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value
        .map(|value| (value * 100.0).round() / 100.0)
        .serialize(serializer)
}

/// Path of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaMode {
    /// Through the server, during the whole call.
    #[default]
    Relay,
    /// Directly between the carriers for some time.
    Direct,
}

/// Statistics of the pressed keys of one party: methods, counts and losses. The keys are not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DigitReport {
    /// Number of pressed keys, each counted once.
    pub pressed: u32,
    /// Number of dropped reports of a key that another method had already reported.
    pub duplicates: u32,
    /// Number of keys by telephone-event (RFC 4733).
    pub rfc4733: u32,
    /// Number of keys by SIP INFO.
    pub info: u32,
    /// Number of keys detected as tones in the audio.
    pub in_band: u32,
    /// Number of telephone-event packets lost within a key.
    pub lost_packets: u32,
    /// Number of keys by telephone-event without an end packet.
    pub lost_ends: u32,
    /// Number of keys by telephone-event with end packets only.
    pub end_only: u32,
    /// Number of dropped telephone-event packets that belong to an earlier key.
    pub late_packets: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_values_are_written_to_their_precision() {
        let stored = r#"{ "codec": null, "packets_received": 1, "packets_lost": 0, "packets_sent": 1,
            "jitter_ms": 0.123456789012345, "mos": 4.409285713 }"#;
        let report: LegReport = serde_json::from_str(stored).unwrap();
        let written = serde_json::to_string(&report).unwrap();
        assert!(
            written.contains(r#""jitter_ms":0.1,"mos":4.41,"#),
            "{written}"
        );
    }
}
