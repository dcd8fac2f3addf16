//! Streams of telephone-events as senders produce them, with virtual time: one press is one digit.

use std::time::Duration;

use media::{Digit, EventFormat, EventReceiver, Header};
use proptest::prelude::*;

/// Habit of a sender beyond RFC 4733.
#[derive(Debug, Clone, Copy)]
struct Habit {
    /// First packet of each press has the marker bit.
    marker: bool,
    /// Every packet has the marker bit.
    all_marked: bool,
    /// Step of the timestamp from one press to the next.
    press_step: u32,
    /// Step of the timestamp from one packet to the next.
    packet_step: u32,
    /// Ticks of the duration for each sample.
    duration_ticks: u16,
    /// Number of end packets.
    ends: usize,
    /// Octets behind the event.
    filler: &'static [u8],
    /// Number of audio packets after each press.
    audio: u64,
}

/// Sender of RFC 4733: 100 ms of key, 60 ms of pause.
const RFC: Habit = Habit {
    marker: true,
    all_marked: false,
    press_step: 1360,
    packet_step: 0,
    duration_ticks: 1,
    ends: 3,
    filler: &[],
    audio: 0,
};

/// Packet with its time of arrival.
#[derive(Debug, Clone)]
struct Arriving {
    at: Duration,
    header: Header,
    payload: Vec<u8>,
}

/// The same without marker bits.
const PLAIN: Habit = Habit {
    marker: false,
    ..RFC
};

/// Habits seen in the field, by name.
const HABITS: [(&str, Habit); 19] = [
    ("as in the RFC", RFC),
    ("no marker", PLAIN),
    (
        "one timestamp for all presses",
        Habit {
            press_step: 0,
            ..RFC
        },
    ),
    (
        "one timestamp, no marker",
        Habit {
            press_step: 0,
            ..PLAIN
        },
    ),
    (
        "one timestamp, audio between",
        Habit {
            press_step: 0,
            audio: 6,
            ..RFC
        },
    ),
    (
        "timestamp runs back",
        Habit {
            press_step: 4000u32.wrapping_neg(),
            ..PLAIN
        },
    ),
    (
        "timestamp steps by the duration",
        Habit {
            press_step: 800,
            ..PLAIN
        },
    ),
    (
        "durations at 16 kHz",
        Habit {
            duration_ticks: 2,
            ..PLAIN
        },
    ),
    (
        "durations at 48 kHz",
        Habit {
            duration_ticks: 6,
            ..PLAIN
        },
    ),
    (
        "durations at 48 kHz, one timestamp",
        Habit {
            duration_ticks: 6,
            press_step: 0,
            ..PLAIN
        },
    ),
    (
        "no durations",
        Habit {
            duration_ticks: 0,
            ..PLAIN
        },
    ),
    (
        "no durations, timestamp per packet",
        Habit {
            duration_ticks: 0,
            packet_step: 160,
            ..PLAIN
        },
    ),
    (
        "timestamp per packet",
        Habit {
            packet_step: 160,
            ..PLAIN
        },
    ),
    (
        "timestamp per packet, each marked",
        Habit {
            packet_step: 160,
            all_marked: true,
            ..RFC
        },
    ),
    (
        "each packet marked",
        Habit {
            all_marked: true,
            ..RFC
        },
    ),
    ("one end packet", Habit { ends: 1, ..PLAIN }),
    (
        "one timestamp, one end packet",
        Habit {
            press_step: 0,
            ends: 1,
            ..PLAIN
        },
    ),
    (
        "filled with zeros",
        Habit {
            filler: &[0; 4],
            ..RFC
        },
    ),
    (
        "filled to an odd length",
        Habit {
            filler: &[0; 7],
            ..PLAIN
        },
    ),
];

impl Habit {
    /// Returns `true` if the packets of the presses differ even if one key is pressed twice.
    fn separates_equal_keys(self) -> bool {
        self.duration_ticks > 0 || self.press_step > 0
    }

    fn send(self, keys: &str) -> Vec<Arriving> {
        let (mut packets, mut at, mut start) = (Vec::new(), 0, 0xffff_f000u32);
        let mut header = Header {
            marker: false,
            payload_type: 101,
            sequence: 65_500,
            timestamp: start,
            ssrc: 7,
        };
        let mut send = |header: &mut Header, at: u64, payload: Vec<u8>| {
            let (at, sent) = (Duration::from_millis(at), *header);
            packets.push(Arriving {
                at,
                header: sent,
                payload,
            });
            header.sequence = header.sequence.wrapping_add(1);
        };
        for symbol in keys.chars() {
            let code = Digit::try_from(symbol).map_or(0, Digit::event);
            for packet in 1..5 + self.ends as u32 {
                let end = packet >= 5;
                let duration = (packet.min(5) * 160) as u16 * self.duration_ticks;
                let [d0, d1] = duration.to_be_bytes();
                header.payload_type = 101;
                header.marker = self.all_marked || self.marker && packet == 1;
                header.timestamp = start.wrapping_add((packet - 1) * self.packet_step);
                let event = [code, u8::from(end) << 7 | 10, d0, d1];
                send(&mut header, at, [&event, self.filler].concat());
                at += 20;
            }
            for _ in 0..self.audio {
                header.payload_type = 8;
                header.marker = false;
                header.timestamp = at as u32 * 8;
                send(&mut header, at, vec![0xd5; 160]);
                at += 20;
            }
            at += 60;
            start = start.wrapping_add(self.press_step);
        }
        packets
    }
}

fn received_digits(packets: &[Arriving]) -> String {
    let mut receiver = EventReceiver::default();
    let (mut digits, mut now) = (String::new(), Duration::ZERO);
    for packet in packets {
        now = now.max(packet.at);
        if packet.header.payload_type == 101 {
            let format = EventFormat::at_8000(101);
            let received = receiver.receive(&packet.header, format, &packet.payload, now);
            digits.extend(received.into_iter().map(Digit::expose));
        } else {
            receiver.on_other_packet(&packet.header);
        }
    }
    digits
}

#[test]
fn one_press_is_one_digit_for_every_habit_of_a_sender() {
    for (name, habit) in HABITS {
        for keys in ["1234", "1122", "5555", "12121", "0*#D"] {
            if habit.separates_equal_keys() || keys == "1234" {
                assert_eq!(received_digits(&habit.send(keys)), keys, "{name}");
            }
        }
    }
}

#[test]
fn a_relay_that_renumbers_reordered_packets_adds_no_digit() {
    for (name, habit) in HABITS {
        let sent = habit.send("5");
        for (from, to) in [(0, 1), (1, 2), (2, 3), (2, 4), (3, 4), (4, 3)] {
            let mut packets = sent.clone();
            if packets.len() > from.max(to) && !habit.all_marked {
                let moved = packets.remove(from);
                packets.insert(to, moved);
                for (packet, first) in packets.iter_mut().zip(&sent) {
                    (packet.header.sequence, packet.at) = (first.header.sequence, first.at);
                }
                assert_eq!(received_digits(&packets), "5", "{name}: {from} to {to}");
            }
        }
    }
}

#[test]
fn several_events_in_a_packet_are_several_presses() {
    let packet = |sequence: u16, timestamp: u32, payload: &[u8]| Arriving {
        at: Duration::from_millis(u64::from(sequence) * 20),
        header: Header {
            marker: sequence == 0,
            payload_type: 101,
            sequence,
            timestamp,
            ssrc: 7,
        },
        payload: payload.to_vec(),
    };
    let three = [1, 0x8a, 3, 32, 2, 0x8a, 3, 32, 2, 0x8a, 3, 32];
    let sent: Vec<Arriving> = (0..3)
        .map(|sequence| packet(sequence, 8000, &three))
        .collect();
    assert_eq!(received_digits(&sent), "122");
    let continued = [
        packet(0, 8000, &[1, 0x8a, 3, 32, 2, 10, 0, 160]),
        packet(1, 8800, &[2, 10, 1, 64]),
        packet(2, 8800, &[2, 0x8a, 3, 32]),
        packet(3, 8800, &[2, 0x8a, 3, 32]),
    ];
    assert_eq!(received_digits(&continued), "12");
    let repeated = [1, 10, 0, 160, 1, 10, 0, 160];
    assert_eq!(received_digits(&[packet(0, 8000, &repeated)]), "1");
}

#[test]
fn a_key_held_for_long_is_one_press_in_every_clock() {
    for (ticks, packet_type) in [
        (1u32, EventFormat::at_8000(101)),
        (6, EventFormat::at_48000(97)),
    ] {
        for new_timestamp in [true, false] {
            let mut receiver = EventReceiver::default();
            let mut digits = 0;
            for packet in 0..1000u32 {
                let (elapsed, longest) = (
                    (packet + 1) * 160 * ticks,
                    65_535 / (160 * ticks) * 160 * ticks,
                );
                let segment = if new_timestamp {
                    packet * 160 * ticks / longest
                } else {
                    0
                };
                let duration = if new_timestamp {
                    elapsed - segment * longest
                } else {
                    elapsed
                };
                let [.., d0, d1] = duration.to_be_bytes();
                let header = Header {
                    marker: packet == 0,
                    payload_type: 101,
                    sequence: packet as u16,
                    timestamp: 9000 + segment * longest / ticks,
                    ssrc: 7,
                };
                let now = packet * Duration::from_millis(20);
                digits += receiver
                    .receive(&header, packet_type, &[9, 10, d0, d1], now)
                    .len();
            }
            assert_eq!(digits, 1, "{ticks} ticks, new timestamp: {new_timestamp}");
        }
    }
}

proptest! {
    #[test]
    fn repeated_and_reordered_packets_add_no_digit(
        keys in "[0-9*#]{1,8}",
        effects in proptest::collection::vec(0u8..8, 60),
    ) {
        for (name, habit) in HABITS {
            if !habit.separates_equal_keys() {
                continue;
            }
            let sent = habit.send(&keys);
            let mut arriving: Vec<Arriving> = Vec::new();
            for (packet, effect) in sent.iter().zip(effects.iter().cycle()) {
                match effect {
                    0 => arriving.extend([packet.clone(), packet.clone()]),
                    1 => arriving.insert(arriving.len().saturating_sub(1), packet.clone()),
                    2 => arriving.extend([packet.clone(), sent[0].clone()]),
                    _ => arriving.push(packet.clone()),
                }
            }
            prop_assert_eq!(received_digits(&arriving), keys.as_str(), "{}", name);
        }
    }
}
