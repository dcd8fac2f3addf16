//! Keys in any form, and the audio of prompts.

use std::time::Duration;

use greenpin::prompt_file;
use media::{DigitFilter, DigitSource, EventReceiver, Packet, ToneDetector};

use crate::packets::datagrams;

/// Datagrams that are telephone-events, or else A-law tones; each report is one by its method, and no press is counted
/// more often than it was reported.
pub(crate) fn digits(input: &[u8]) {
    let (mut events, mut tones, mut filter) =
        (EventReceiver::default(), ToneDetector::default(), DigitFilter::default());
    let (mut now, mut reported) = (Duration::ZERO, 0);
    for datagram in datagrams(input) {
        now += Duration::from_millis(20);
        let Ok(packet) = Packet::parse(datagram) else { continue };
        if packet.payload.len() == 4 {
            if let Some(digit) = events.receive(&packet.header, packet.payload) {
                reported += 1;
                filter.is_new(digit, DigitSource::Event, now);
            }
            continue;
        }
        events.pass(&packet.header);
        let mut samples = vec![0; packet.payload.len()];
        media::Codec::Pcma.decode(packet.payload, &mut samples);
        tones.listen(&samples, |digit| {
            reported += 1;
            filter.is_new(digit, DigitSource::InBand, now);
        });
    }
    let _ = events.report();
    let counts = filter.counts();
    assert_eq!(counts.pressed + counts.duplicates, reported);
    assert_eq!(counts.rfc4733 + counts.info + counts.in_band, reported);
}

/// A file of a prompt: what can be read is not longer than allowed, and is the same when it was written again.
pub(crate) fn prompt(input: &[u8]) {
    let Ok(samples) = prompt_file::read(input) else { return };
    assert!(samples.len() <= 60 * 8000);
    let again = prompt_file::write(&samples).map(|octets| prompt_file::read(&octets));
    assert!(again.is_ok_and(|again| again.as_deref() == Ok(&samples[..])));
}
