//! Forwarding of received packets from one leg to the other.

use std::time::Duration;

use crate::{Codec, ComfortNoise, EventFormat, Header, OutboundStream, Packet};

/// Formats that a party negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiatedFormats {
    /// Codec of the audio to the party.
    pub codec: Codec,
    /// Payload type of that codec.
    pub payload_type: u8,
    /// Telephone-events of the party (RFC 4733); `None` if it does not accept them.
    pub telephone_event: Option<EventFormat>,
    /// Telephone-events of our offer, if the party answered one. It sends with the payload type from
    /// the offer even if its answer names another (RFC 3264, section 6.1).
    pub offered_telephone_event: Option<EventFormat>,
    /// The party sends and accepts comfort noise (RFC 3389).
    pub comfort_noise: bool,
}

impl NegotiatedFormats {
    /// Creates the formats for a codec with our payload type, without telephone-events and comfort
    /// noise.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            payload_type: codec.payload_type(),
            telephone_event: None,
            offered_telephone_event: None,
            comfort_noise: false,
        }
    }

    /// Returns the codec of a payload type: the negotiated codec, or else the codec of a static
    /// payload type.
    pub fn codec_for(&self, payload_type: u8) -> Option<Codec> {
        // A party that answers our offer may send with the payload type from the offer (RFC 3264,
        // section 5.1).
        let ours = self.codec == Codec::Opus && payload_type == Codec::Opus.payload_type();
        let negotiated = payload_type == self.payload_type || ours;
        if negotiated {
            Some(self.codec)
        } else {
            Codec::from_payload_type(payload_type)
        }
    }

    /// Returns the format of telephone-events with this payload type. A payload type of our offer
    /// counts unless the party gave it another meaning.
    pub fn event_format(&self, payload_type: u8) -> Option<EventFormat> {
        let theirs = self.telephone_event?;
        let ours = self
            .offered_telephone_event
            .filter(|_| payload_type != self.payload_type);
        [Some(theirs), ours]
            .into_iter()
            .flatten()
            .find(|format| format.payload_type == payload_type)
    }

    /// Returns `true` if the payload type is one for telephone-events.
    pub fn is_event(&self, payload_type: u8) -> bool {
        self.event_format(payload_type).is_some()
    }
}

/// Decision on a packet from one leg to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Send the payload with this header, converted between the codecs. G.711 A-law and µ-law
    /// convert by [`Codec::transcode`], other pairs by decoding and encoding. The same codec passes
    /// unchanged.
    Audio {
        /// Header of the outgoing packet.
        header: Header,
        /// Codec of the received payload.
        from: Codec,
        /// Codec of the receiver.
        to: Codec,
    },
    /// Send this telephone-event with this header.
    Event {
        /// Header of the outgoing packet.
        header: Header,
        /// Payload of the outgoing packet.
        payload: [u8; 4],
    },
    /// Send this comfort noise with this header.
    Noise {
        /// Header of the outgoing packet.
        header: Header,
        /// Payload of the outgoing packet.
        noise: ComfortNoise,
    },
    /// Send nothing.
    Nothing(Unforwarded),
}

/// Reason for not forwarding a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unforwarded {
    /// The receiver negotiated no telephone-events. Each press must be sent as tones instead.
    EventWithoutReceiver,
    /// The receiver negotiated no comfort noise. The noise must be generated until the next audio
    /// packet.
    NoiseWithoutReceiver(ComfortNoise),
    /// The payload type was not negotiated, or the event or comfort noise is malformed.
    Unknown,
    /// The packet is repeated or too late for its position.
    Late,
}

/// Decides on a packet from a party with the formats `from` to a party with the formats `to`.
/// `stream` assigns the numbers of all packets to the receiver.
pub fn forward(
    packet: &Packet<'_>,
    from: &NegotiatedFormats,
    to: &NegotiatedFormats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Forward {
    let payload_type = packet.header.payload_type;
    let forwarded = if let Some(events) = from.event_format(payload_type) {
        event(packet, events, to, stream, now)
    } else if let Some(received) = from.codec_for(payload_type) {
        let header = stream.relay(&packet.header, to.payload_type, now);
        header
            .map(|header| Forward::Audio {
                header,
                from: received,
                to: to.codec,
            })
            .ok_or(Unforwarded::Late)
    } else if from.comfort_noise && packet.header.payload_type == ComfortNoise::PAYLOAD_TYPE {
        noise(packet, to, stream, now)
    } else {
        Err(Unforwarded::Unknown)
    };
    forwarded.unwrap_or_else(|reason| {
        if reason != Unforwarded::Late {
            stream.skip(&packet.header);
        }
        Forward::Nothing(reason)
    })
}

fn event(
    packet: &Packet<'_>,
    from: EventFormat,
    to: &NegotiatedFormats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Result<Forward, Unforwarded> {
    let payload = from.parse(packet.payload).ok_or(Unforwarded::Unknown)?;
    let to = to
        .telephone_event
        .ok_or(Unforwarded::EventWithoutReceiver)?;
    let header = stream
        .relay(&packet.header, to.payload_type, now)
        .ok_or(Unforwarded::Late)?;
    Ok(Forward::Event {
        header,
        payload: to.octets(payload),
    })
}

fn noise(
    packet: &Packet<'_>,
    to: &NegotiatedFormats,
    stream: &mut OutboundStream,
    now: Duration,
) -> Result<Forward, Unforwarded> {
    let noise = ComfortNoise::parse(packet.payload).ok_or(Unforwarded::Unknown)?;
    if !to.comfort_noise {
        return Err(Unforwarded::NoiseWithoutReceiver(noise));
    }
    let header = stream
        .relay(&packet.header, ComfortNoise::PAYLOAD_TYPE, now)
        .ok_or(Unforwarded::Late)?;
    Ok(Forward::Noise { header, noise })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENDER: NegotiatedFormats = NegotiatedFormats {
        codec: Codec::Pcma,
        payload_type: 8,
        telephone_event: Some(EventFormat {
            payload_type: 101,
            ticks: 1,
        }),
        offered_telephone_event: None,
        comfort_noise: true,
    };

    fn receiver(telephone_event: Option<u8>, comfort_noise: bool) -> NegotiatedFormats {
        let telephone_event = telephone_event.map(EventFormat::at_8000);
        NegotiatedFormats {
            codec: Codec::Pcmu,
            payload_type: 0,
            telephone_event,
            offered_telephone_event: None,
            comfort_noise,
        }
    }

    fn decide(payload_type: u8, payload: &[u8], event_out: Option<u8>) -> Forward {
        let header = Header {
            marker: false,
            payload_type,
            sequence: 3,
            timestamp: 5,
            ssrc: 0xabad_cafe,
        };
        let packet = Packet {
            header,
            payload,
            offset: 12,
        };
        let mut stream = OutboundStream::new(7, 100, 200);
        forward(
            &packet,
            &SENDER,
            &receiver(event_out, false),
            &mut stream,
            Duration::ZERO,
        )
    }

    #[test]
    fn audio_is_sent_with_our_numbers_in_the_codec_of_the_receiver() {
        let header = Header {
            marker: true,
            payload_type: 0,
            sequence: 100,
            timestamp: 200,
            ssrc: 7,
        };
        assert_eq!(
            decide(8, &[0; 160], None),
            Forward::Audio {
                header,
                from: Codec::Pcma,
                to: Codec::Pcmu
            }
        );
    }

    #[test]
    fn an_event_gets_the_payload_type_of_the_receiver_and_a_clear_reserved_bit() {
        let header = Header {
            marker: true,
            payload_type: 96,
            sequence: 100,
            timestamp: 200,
            ssrc: 7,
        };
        let expected = Forward::Event {
            header,
            payload: [5, 0x8a, 0, 160],
        };
        assert_eq!(decide(101, &[5, 0xca, 0, 160], Some(96)), expected);
    }

    #[test]
    fn events_are_read_under_the_payload_types_of_the_party_and_of_our_offer() {
        let formats = |codec: Codec, payload_type: u8, event: u8| NegotiatedFormats {
            payload_type,
            telephone_event: Some(EventFormat::at_8000(event)),
            ..NegotiatedFormats::new(codec)
        };
        let offerer = formats(Codec::Pcma, 8, 96);
        assert_eq!(offerer.event_format(96), Some(EventFormat::at_8000(96)));
        assert_eq!(offerer.event_format(101), None, "it never saw our number");
        let answerer = NegotiatedFormats {
            offered_telephone_event: Some(EventFormat::at_8000(101)),
            ..offerer
        };
        assert_eq!(answerer.event_format(96), Some(EventFormat::at_8000(96)));
        assert_eq!(answerer.event_format(101), Some(EventFormat::at_8000(101)));
        assert_eq!(answerer.event_format(97), None);
        // A payload type that the party named otherwise has the meaning given by the party.
        let opus = NegotiatedFormats {
            offered_telephone_event: Some(EventFormat::at_8000(101)),
            ..formats(Codec::Opus, 101, 100)
        };
        assert!(!opus.is_event(101));
        assert!(!NegotiatedFormats::new(Codec::Pcma).is_event(101));
    }

    #[test]
    fn payloads_that_the_receiver_does_not_accept_are_not_sent() {
        for (payload_type, payload, event_out, reason) in [
            (
                101,
                &[5, 0, 0, 160][..],
                None,
                Unforwarded::EventWithoutReceiver,
            ),
            (101, &[99, 0, 0, 160], Some(96), Unforwarded::Unknown),
            (
                101,
                b"secret of the other side",
                Some(96),
                Unforwarded::Unknown,
            ),
            (13, &[200], Some(96), Unforwarded::Unknown),
            (13, &[], Some(96), Unforwarded::Unknown),
            (
                13,
                &[50],
                Some(96),
                Unforwarded::NoiseWithoutReceiver(ComfortNoise::parse(&[50]).unwrap()),
            ),
            (111, &[0; 160], Some(96), Unforwarded::Unknown),
        ] {
            assert_eq!(
                decide(payload_type, payload, event_out),
                Forward::Nothing(reason)
            );
        }
    }

    const OPUS: NegotiatedFormats = NegotiatedFormats {
        codec: Codec::Opus,
        payload_type: 111,
        telephone_event: Some(EventFormat {
            payload_type: 110,
            ticks: 6,
        }),
        offered_telephone_event: None,
        comfort_noise: false,
    };

    #[test]
    fn opus_is_sent_with_the_payload_type_of_the_receiver() {
        let decide = |payload_type: u8, from: NegotiatedFormats, to: NegotiatedFormats| {
            let header = Header {
                marker: false,
                payload_type,
                sequence: 3,
                timestamp: 5,
                ssrc: 1,
            };
            let packet = Packet {
                header,
                payload: &[8; 40],
                offset: 12,
            };
            match forward(
                &packet,
                &from,
                &to,
                &mut OutboundStream::new(7, 100, 200),
                Duration::ZERO,
            ) {
                Forward::Audio { header, from, to } => Some((header.payload_type, from, to)),
                _ => None,
            }
        };
        let theirs = NegotiatedFormats {
            payload_type: 107,
            ..OPUS
        };
        assert_eq!(
            decide(111, OPUS, theirs),
            Some((107, Codec::Opus, Codec::Opus))
        );
        assert_eq!(
            decide(96, OPUS, SENDER),
            Some((8, Codec::Opus, Codec::Pcma)),
            "with the payload type from our offer"
        );
        assert_eq!(
            decide(8, SENDER, OPUS),
            Some((111, Codec::Pcma, Codec::Opus))
        );
        assert_eq!(decide(111, SENDER, OPUS), None);
    }

    #[test]
    fn the_duration_of_an_event_is_converted_to_the_clock_of_the_receiver() {
        let header = Header {
            marker: true,
            payload_type: 110,
            sequence: 3,
            timestamp: 5,
            ssrc: 1,
        };
        let packet =
            |header: Header, payload: [u8; 4], from: NegotiatedFormats, to: NegotiatedFormats| {
                let packet = Packet {
                    header,
                    payload: &payload,
                    offset: 12,
                };
                match forward(
                    &packet,
                    &from,
                    &to,
                    &mut OutboundStream::new(7, 100, 200),
                    Duration::ZERO,
                ) {
                    Forward::Event {
                        payload: [_, _, d0, d1],
                        ..
                    } => u16::from_be_bytes([d0, d1]),
                    other => panic!("{other:?}"),
                }
            };
        let [long, short] = [4800u16, 800].map(u16::to_be_bytes);
        assert_eq!(packet(header, [5, 10, long[0], long[1]], OPUS, SENDER), 800);
        let header = Header {
            payload_type: 101,
            ..header
        };
        assert_eq!(
            packet(header, [5, 10, short[0], short[1]], SENDER, OPUS),
            4800
        );
        assert_eq!(packet(header, [5, 10, 0xff, 0xff], SENDER, OPUS), u16::MAX);
    }

    #[test]
    fn comfort_noise_passes_between_parties_that_negotiated_it() {
        let header = Header {
            marker: false,
            payload_type: 13,
            sequence: 3,
            timestamp: 5,
            ssrc: 0xabad_cafe,
        };
        let packet = Packet {
            header,
            payload: &[50, 127, 3],
            offset: 12,
        };
        let decide = |from: NegotiatedFormats, to: NegotiatedFormats| {
            forward(
                &packet,
                &from,
                &to,
                &mut OutboundStream::new(7, 100, 200),
                Duration::ZERO,
            )
        };
        let header = Header {
            marker: true,
            payload_type: 13,
            sequence: 100,
            timestamp: 200,
            ssrc: 7,
        };
        let noise = ComfortNoise::parse(packet.payload).unwrap();
        assert_eq!(
            decide(SENDER, receiver(None, true)),
            Forward::Noise { header, noise }
        );
        let silent = NegotiatedFormats {
            comfort_noise: false,
            ..SENDER
        };
        assert_eq!(
            decide(silent, receiver(None, true)),
            Forward::Nothing(Unforwarded::Unknown)
        );
    }

    proptest! {
        #[test]
        fn the_numbers_of_the_sender_never_pass(ssrc in any::<u32>(), sequence in any::<u16>(), timestamp in any::<u32>(), payload_type in 0u8..128) {
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
