//! Targets for digits in any form, Opus, and the audio of prompts.

use std::time::Duration;

use greenpin::prompt_file;
use media::{
    Arrival, Codec, Decoder, DigitFilter, DigitSource, Encoder, EventFormat, EventReceiver,
    InboundClock, JitterBuffer, Next, Packet, ToneDetector,
};

use crate::packets::datagrams;

/// Datagrams with telephone-events or A-law tones. The filter counts every report by its method,
/// and every press at most once per report.
pub(crate) fn digits(input: &[u8]) {
    let (mut events, mut tones, mut filter) = (
        EventReceiver::default(),
        ToneDetector::default(),
        DigitFilter::default(),
    );
    let (mut now, mut reported) = (Duration::ZERO, 0);
    for datagram in datagrams(input) {
        now += Duration::from_millis(20);
        let Ok(packet) = Packet::parse(datagram) else {
            continue;
        };
        if packet.payload.len() <= 12 {
            let format = EventFormat::at_8000(101);
            for digit in events.receive(&packet.header, format, packet.payload, now) {
                reported += 1;
                filter.is_new(digit, DigitSource::Event, now);
            }
            continue;
        }
        events.on_other_packet(&packet.header);
        let mut samples = vec![0; packet.payload.len()];
        Codec::Pcma.decode(packet.payload, &mut samples);
        tones.process(&samples, |digit| {
            reported += 1;
            filter.is_new(digit, DigitSource::InBand, now);
        });
    }
    let _ = events.report();
    let counts = filter.counts();
    assert_eq!(counts.pressed + counts.duplicates, reported);
    assert_eq!(counts.rfc4733 + counts.info + counts.in_band, reported);
}

/// Opus datagrams on the way to an Opus party and to a G.711 party: put in order, concealed,
/// decoded and encoded. No packet is longer than 120 ms or exceeds its buffer.
pub(crate) fn opus(input: &[u8]) {
    let (mut clock, mut buffer) = (InboundClock::default(), JitterBuffer::default());
    let (mut decoder, mut encoder) = (Decoder::default(), Encoder::default());
    let mut now = Duration::ZERO;
    let mut decode_and_encode = |packet: Option<&[u8]>, next: Option<&[u8]>, lost: usize| {
        let mut samples = [0; 1500];
        let count = match packet {
            Some(packet) => decoder.decode(Codec::Opus, packet, &mut samples),
            None => decoder.conceal(
                Codec::Opus,
                next,
                samples.get_mut(..lost).unwrap_or_default(),
            ),
        };
        assert!(count <= 960);
        let mut octets = [0; 200];
        for codec in [Codec::Pcma, Codec::Opus] {
            let decoded = samples.get(..count).unwrap_or_default();
            assert!(encoder.encode(codec, decoded, &mut octets) <= octets.len());
        }
    };
    for datagram in datagrams(input) {
        now += Duration::from_millis(20);
        let Ok(mut packet) = Packet::parse(datagram) else {
            continue;
        };
        packet.header.timestamp = clock.sample(packet.header.timestamp, Codec::Opus.ticks());
        if buffer.arrive(&packet, now) == Arrival::Due {
            decode_and_encode(Some(packet.payload), None, 0);
        }
        while let Some(next) = buffer.next(now) {
            match next {
                Next::Packet(packet) => decode_and_encode(Some(&packet.payload), None, 0),
                Next::Lost { samples, .. } => {
                    decode_and_encode(
                        None,
                        buffer.front().map(|held| held.payload.as_slice()),
                        samples,
                    );
                }
            }
        }
    }
}

/// File of a prompt. A readable file is within the maximum length and reads the same after it is
/// written again.
pub(crate) fn prompt(input: &[u8]) {
    let Ok(samples) = prompt_file::read(input) else {
        return;
    };
    assert!(samples.len() <= 60 * 8000);
    let read_back = prompt_file::write(&samples).map(|octets| prompt_file::read(&octets));
    assert!(read_back.is_ok_and(|read_back| read_back.as_deref() == Ok(&samples[..])));
}
