//! From one leg to the other: what becomes of a received packet.

use std::time::Duration;

use crate::{Codec, ComfortNoise, EventPayload, Header, OutboundStream, Packet};

/// What one party negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// What it is sent.
    pub codec: Codec,
    /// Its payload type of telephone-events (RFC 4733); `None` when it takes none.
    pub telephone_event: Option<u8>,
    /// Whether it sends and takes comfort noise (RFC 3389).
    pub comfort_noise: bool,
}

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
    /// Send this comfort noise under this header.
    Noise {
        /// The header of the outgoing packet.
        header: Header,
        /// Its payload.
        noise: ComfortNoise,
    },
    /// Send nothing.
    Nothing(Unforwarded),
}

/// Why a packet is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unforwarded {
    /// A telephone-event for a party that negotiated none: to be sent as tones, once a press.
    EventWithoutReceiver,
    /// Comfort noise for a party that negotiated none: to be made for it until audio comes again.
    NoiseWithoutReceiver(ComfortNoise),
    /// A payload type that was not negotiated, or a malformed event or comfort noise.
    Unknown,
    /// Repeated, or too late to be put in its place.
    Late,
}

/// Decides on one packet of a party that negotiated `from`, for one that negotiated `to`; `stream` numbers all that we
/// send to the receiver.
pub fn forward(
    packet: &Packet<'_>,
    from: &Formats,
    to: &Formats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Forward {
    let decided = if from.telephone_event == Some(packet.header.payload_type) {
        event(packet, to, stream, now)
    } else if let Some(spoken) = Codec::from_payload_type(packet.header.payload_type) {
        let header = stream.relay(&packet.header, to.codec.payload_type(), now);
        header.map(|header| Forward::Audio { header, from: spoken, to: to.codec }).ok_or(Unforwarded::Late)
    } else if from.comfort_noise && packet.header.payload_type == ComfortNoise::PAYLOAD_TYPE {
        noise(packet, to, stream, now)
    } else {
        Err(Unforwarded::Unknown)
    };
    decided.unwrap_or_else(|why| {
        if why != Unforwarded::Late {
            stream.swallow(&packet.header);
        }
        Forward::Nothing(why)
    })
}

fn event(
    packet: &Packet<'_>,
    to: &Formats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Result<Forward, Unforwarded> {
    let payload = EventPayload::parse(packet.payload).ok_or(Unforwarded::Unknown)?.octets();
    let payload_type = to.telephone_event.ok_or(Unforwarded::EventWithoutReceiver)?;
    let header = stream.relay(&packet.header, payload_type, now).ok_or(Unforwarded::Late)?;
    Ok(Forward::Event { header, payload })
}

fn noise(
    packet: &Packet<'_>,
    to: &Formats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Result<Forward, Unforwarded> {
    let noise = ComfortNoise::parse(packet.payload).ok_or(Unforwarded::Unknown)?;
    if !to.comfort_noise {
        return Err(Unforwarded::NoiseWithoutReceiver(noise));
    }
    let header = stream.relay(&packet.header, ComfortNoise::PAYLOAD_TYPE, now).ok_or(Unforwarded::Late)?;
    Ok(Forward::Noise { header, noise })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENDER: Formats = Formats { codec: Codec::Pcma, telephone_event: Some(101), comfort_noise: true };

    fn receiver(telephone_event: Option<u8>, comfort_noise: bool) -> Formats {
        Formats { codec: Codec::Pcmu, telephone_event, comfort_noise }
    }

    fn decide(payload_type: u8, payload: &[u8], event_out: Option<u8>) -> Forward {
        let header = Header { marker: false, payload_type, sequence: 3, timestamp: 5, ssrc: 0xabad_cafe };
        let packet = Packet { header, payload, offset: 12 };
        let mut stream = OutboundStream::new(7, 100, 200);
        forward(&packet, &SENDER, &receiver(event_out, false), &mut stream, Duration::ZERO)
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
            (13, &[200], Some(96), Unforwarded::Unknown),
            (13, &[], Some(96), Unforwarded::Unknown),
            (13, &[50], Some(96), Unforwarded::NoiseWithoutReceiver(ComfortNoise::parse(&[50]).unwrap())),
            (111, &[0; 160], Some(96), Unforwarded::Unknown),
        ] {
            assert_eq!(decide(payload_type, payload, event_out), Forward::Nothing(why));
        }
    }

    #[test]
    fn comfort_noise_passes_between_two_who_negotiated_it() {
        let header = Header { marker: false, payload_type: 13, sequence: 3, timestamp: 5, ssrc: 0xabad_cafe };
        let packet = Packet { header, payload: &[50, 127, 3], offset: 12 };
        let decide = |from: Formats, to: Formats| {
            forward(&packet, &from, &to, &mut OutboundStream::new(7, 100, 200), Duration::ZERO)
        };
        let header = Header { marker: true, payload_type: 13, sequence: 100, timestamp: 200, ssrc: 7 };
        let noise = ComfortNoise::parse(packet.payload).unwrap();
        assert_eq!(decide(SENDER, receiver(None, true)), Forward::Noise { header, noise });
        let silent = Formats { comfort_noise: false, ..SENDER };
        assert_eq!(decide(silent, receiver(None, true)), Forward::Nothing(Unforwarded::Unknown));
    }

    proptest! {
        #[test]
        fn nothing_of_the_senders_numbers_passes(ssrc in any::<u32>(), sequence in any::<u16>(), timestamp in any::<u32>(), payload_type in 0u8..128) {
            let header = Header { marker: false, payload_type, sequence, timestamp, ssrc };
            let packet = Packet { header, payload: &[1, 2, 3, 4], offset: 12 };
            let mut stream = OutboundStream::new(7, 100, 200);
            if let Forward::Audio { header, .. } | Forward::Event { header, .. } | Forward::Noise { header, .. } =
                forward(&packet, &SENDER, &receiver(Some(96), true), &mut stream, Duration::ZERO)
            {
                prop_assert_eq!((header.ssrc, header.sequence, header.timestamp), (7, 100, 200));
            }
        }
    }
}
