//! From one leg to the other: what becomes of a received packet.

use std::time::Duration;

use crate::{Codec, EventPayload, Header, OutboundStream, Packet};

/// What to do with a packet of one leg on its way to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Send the payload under this header, turned from the one codec to the other: between the laws of G.711 by
    /// [`Codec::transcode`], else decoded and encoded anew. The same codec passes untouched.
    Audio {
        /// The header of the outgoing packet.
        header: Header,
        /// The codec of the payload as it came.
        from: Codec,
        /// The codec in which the receiver wants it.
        to: Codec,
    },
    /// Send this telephone-event under this header.
    Event {
        /// The header of the outgoing packet.
        header: Header,
        /// Its payload.
        payload: [u8; 4],
    },
    /// Send nothing.
    Nothing(Unforwarded),
}

/// Why a packet is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unforwarded {
    /// A telephone-event for a party that negotiated none: to be sent as tones, once a press.
    EventWithoutReceiver,
    /// Comfort noise (RFC 3389): the gap in the timestamps tells the receiver the same.
    ComfortNoise,
    /// A payload type that was not negotiated, or a malformed event.
    Unknown,
    /// Repeated, or too late to be put in its place.
    Late,
}

const COMFORT_NOISE: u8 = 13;

/// Decides on one packet. `event_in` is the telephone-event payload type that the sender negotiated, `event_out` the
/// receiver's, `to` the receiver's codec; `stream` numbers all that we send to the receiver.
pub fn forward(
    packet: &Packet<'_>,
    event_in: Option<u8>,
    to: Codec,
    event_out: Option<u8>,
    stream: &mut OutboundStream,
    now: Duration,
) -> Forward {
    let header = &packet.header;
    let decided = if event_in == Some(header.payload_type) {
        event(packet, event_out, stream, now)
    } else if let Some(from) = Codec::from_payload_type(header.payload_type) {
        let numbered = stream.relay(header, to.payload_type(), now);
        return numbered.map_or(Forward::Nothing(Unforwarded::Late), |header| Forward::Audio {
            header,
            from,
            to,
        });
    } else if header.payload_type == COMFORT_NOISE {
        Err(Unforwarded::ComfortNoise)
    } else {
        Err(Unforwarded::Unknown)
    };
    decided.unwrap_or_else(|why| {
        if why != Unforwarded::Late {
            stream.swallow(header);
        }
        Forward::Nothing(why)
    })
}

fn event(
    packet: &Packet<'_>,
    event_out: Option<u8>,
    stream: &mut OutboundStream,
    now: Duration,
) -> Result<Forward, Unforwarded> {
    let payload = EventPayload::parse(packet.payload).ok_or(Unforwarded::Unknown)?.octets();
    let payload_type = event_out.ok_or(Unforwarded::EventWithoutReceiver)?;
    let header = stream.relay(&packet.header, payload_type, now).ok_or(Unforwarded::Late)?;
    Ok(Forward::Event { header, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decide(payload_type: u8, payload: &[u8], event_out: Option<u8>) -> Forward {
        let header = Header { marker: false, payload_type, sequence: 3, timestamp: 5, ssrc: 0xabad_cafe };
        let packet = Packet { header, payload, offset: 12 };
        let mut stream = OutboundStream::new(7, 100, 200);
        forward(&packet, Some(101), Codec::Pcmu, event_out, &mut stream, Duration::ZERO)
    }

    #[test]
    fn audio_leaves_under_our_own_numbers_in_the_receivers_law() {
        let header = Header { marker: true, payload_type: 0, sequence: 100, timestamp: 200, ssrc: 7 };
        assert_eq!(decide(8, &[0; 160], None), Forward::Audio { header, from: Codec::Pcma, to: Codec::Pcmu });
    }

    #[test]
    fn an_event_takes_the_receivers_payload_type_and_loses_its_reserved_bit() {
        let header = Header { marker: true, payload_type: 96, sequence: 100, timestamp: 200, ssrc: 7 };
        let expected = Forward::Event { header, payload: [5, 0x8a, 0, 160] };
        assert_eq!(decide(101, &[5, 0xca, 0, 160], Some(96)), expected);
    }

    #[test]
    fn what_the_receiver_cannot_take_is_not_sent() {
        for (payload_type, payload, event_out, why) in [
            (101, &[5, 0, 0, 160][..], None, Unforwarded::EventWithoutReceiver),
            (101, &[99, 0, 0, 160], Some(96), Unforwarded::Unknown),
            (101, b"secret of the other side", Some(96), Unforwarded::Unknown),
            (13, &[50], Some(96), Unforwarded::ComfortNoise),
            (111, &[0; 160], Some(96), Unforwarded::Unknown),
        ] {
            assert_eq!(decide(payload_type, payload, event_out), Forward::Nothing(why));
        }
    }

    proptest! {
        #[test]
        fn nothing_of_the_senders_numbers_passes(ssrc in any::<u32>(), sequence in any::<u16>(), timestamp in any::<u32>(), payload_type in 0u8..128) {
            let header = Header { marker: false, payload_type, sequence, timestamp, ssrc };
            let packet = Packet { header, payload: &[1, 2, 3, 4], offset: 12 };
            let mut stream = OutboundStream::new(7, 100, 200);
            if let Forward::Audio { header, .. } | Forward::Event { header, .. } =
                forward(&packet, Some(101), Codec::Pcma, Some(96), &mut stream, Duration::ZERO)
            {
                prop_assert_eq!((header.ssrc, header.sequence, header.timestamp), (7, 100, 200));
            }
        }
    }
}
