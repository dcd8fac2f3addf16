//! Format and payload of telephone-events (RFC 4733).

use crate::Digit;

/// Maximum length of a payload in octets: ten events. Anything longer is not an event.
const MAX_PAYLOAD: usize = 40;
/// Reserved bit of the second octet.
const RESERVED: u8 = 0x40;

/// Negotiated format of telephone-events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFormat {
    /// RTP payload type.
    pub payload_type: u8,
    /// Ticks of the duration clock per sample of 8 kHz: 1, or 6 for `telephone-event/48000`.
    pub ticks: u16,
}

impl EventFormat {
    /// Returns `telephone-event/8000` with this payload type.
    pub fn at_8000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 1,
        }
    }

    /// Returns `telephone-event/48000` with this payload type.
    pub fn at_48000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 6,
        }
    }

    /// Parses the first event of a payload and converts its duration from this clock to 8 kHz.
    pub fn parse(self, payload: &[u8]) -> Option<EventPayload> {
        self.parse_all(payload).next()
    }

    /// Parses all events of a payload and converts their durations from this clock to 8 kHz.
    pub fn parse_all(self, payload: &[u8]) -> impl Iterator<Item = EventPayload> {
        EventPayload::parse_all(payload).map(move |event| EventPayload {
            duration: event.duration / self.ticks.max(1),
            ..event
        })
    }

    /// Returns the payload of an event with its duration in this clock. A longer duration than the
    /// field can hold saturates.
    pub fn octets(self, event: EventPayload) -> [u8; 4] {
        EventPayload {
            duration: event.duration.saturating_mul(self.ticks),
            ..event
        }
        .octets()
    }
}

/// Payload of a telephone-event packet (RFC 4733, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// The key.
    pub digit: Digit,
    /// End bit: the key was released.
    pub end: bool,
    /// Level in dB below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// Duration since the press, in samples.
    pub duration: u16,
}

impl EventPayload {
    /// Parses the first event of a payload, with a duration in a clock of 8 kHz. Returns `None`
    /// unless it is a key; flash and fax tones are not keys.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        Self::parse_all(payload).next()
    }

    /// Parses all events of a payload. A packet may hold several events that follow each other
    /// without a pause (RFC 4733, section 2.5.1.5). Some senders fill the packet with further
    /// octets; these are ignored.
    pub fn parse_all(payload: &[u8]) -> impl Iterator<Item = Self> {
        let payload = if payload.len() <= MAX_PAYLOAD {
            payload
        } else {
            &[]
        };
        let (events, _) = payload.as_chunks();
        let valid = |(index, octets): (usize, &[u8; 4])| {
            // Only the first report of an event can have no duration yet.
            let filler = index > 0 && (octets[1] & RESERVED != 0 || octets[2..] == [0, 0]);
            Self::from_octets(*octets).filter(|_| !filler)
        };
        events.iter().enumerate().map_while(valid)
    }

    fn from_octets([event, flags, d0, d1]: [u8; 4]) -> Option<Self> {
        let digit = Digit::from_event(event)?;
        let duration = u16::from_be_bytes([d0, d1]);
        Some(Self {
            digit,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration,
        })
    }

    /// Returns the four octets of the payload, with the reserved bit clear.
    pub fn octets(&self) -> [u8; 4] {
        let [d0, d1] = self.duration.to_be_bytes();
        [
            self.digit.event(),
            u8::from(self.end) << 7 | (self.volume & 0x3f),
            d0,
            d1,
        ]
    }
}
