//! Audio, keys and RTCP of a party.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{EVENT_PAYLOAD_TYPE, Party};
use crate::support::server::TIMEOUT;

const SUITE: media::SrtpSuite = media::SrtpSuite::AesCm128HmacSha1_80;
/// SRTP key of every party, and its form in a session description.
const KEY: &[u8; 30] = b"thirty octets, known to a test";
pub(super) const INLINE: &str =
    "AES_CM_128_HMAC_SHA1_80 inline:dGhpcnR5IG9jdGV0cywga25vd24gdG8gYSB0ZXN0";

/// Encrypted audio of a party: `AES_CM_128_HMAC_SHA1_80` with the party's own key.
pub(super) struct Crypto {
    pub(super) protocol: &'static str,
    seals: media::SrtpSender,
    /// Set after the server's session description.
    opens: Option<media::SrtpReceiver>,
}

impl Party {
    /// Reads the server's key from its session description, for a party with encryption.
    pub(super) fn read_server_key(&mut self, description: &str) {
        use base64::Engine as _;
        let line = description
            .lines()
            .find(|line| line.contains("AES_CM_128_HMAC_SHA1_80 inline:"));
        if let (Some(crypto), Some(line)) = (&mut self.crypto, line) {
            let text = line.rsplit(':').next().unwrap();
            let key = base64::prelude::BASE64_STANDARD.decode(text).unwrap();
            assert_ne!(key, KEY);
            crypto.opens = Some(media::SrtpReceiver::new(SUITE, &key).unwrap());
        }
    }

    /// Returns the next RTP packet, decrypted if necessary. `None` if none arrives within 20 ms.
    pub(super) fn rtp_packet(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let (length, _) = self.rtp.recv_from(&mut buffer).ok()?;
        self.received.extend_from_slice(&buffer[..length]);
        let opened = match self
            .crypto
            .as_mut()
            .and_then(|crypto| crypto.opens.as_mut())
        {
            Some(opens) => opens
                .open(&mut buffer[..length])
                .expect("decryption failed"),
            None => length,
        };
        Some(buffer[..opened].to_vec())
    }

    /// Waits until the server sends no audio for 400 ms, after its prompts.
    pub fn wait_until_quiet(&mut self) {
        let mut buffer = [0; 2048];
        self.rtp
            .set_read_timeout(Some(Duration::from_millis(400)))
            .unwrap();
        while let Ok((length, _)) = self.rtp.recv_from(&mut buffer) {
            self.received.extend_from_slice(&buffer[..length]);
        }
        self.rtp
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
    }

    /// Waits for an RTCP packet.
    pub fn wait_for_rtcp(&mut self) {
        let mut buffer = [0; 2048];
        self.rtcp.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (length, _) = self.rtcp.recv_from(&mut buffer).expect("no RTCP received");
        self.received.extend_from_slice(&buffer[..length]);
        self.rtcp
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
    }

    pub(super) fn drain_media(&mut self) {
        let mut buffer = [0; 2048];
        for socket in [&self.rtp, &self.rtcp] {
            socket.set_nonblocking(true).unwrap();
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                self.received.extend_from_slice(&buffer[..length]);
            }
            socket.set_nonblocking(false).unwrap();
        }
    }

    fn send_rtp(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        self.rtp_sequence = self.rtp_sequence.wrapping_add(1);
        let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
        packet.extend_from_slice(&self.rtp_sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&0xdead_beef_u32.to_be_bytes());
        packet.extend_from_slice(payload);
        if let Some(crypto) = &mut self.crypto
            && crypto.opens.is_some()
        {
            let length = packet.len();
            packet.resize(length + media::SRTP_OVERHEAD, 0);
            let sealed = crypto.seals.seal(&mut packet, length).unwrap();
            packet.truncate(sealed);
        }
        self.rtp.send_to(&packet, self.remote_rtp.unwrap()).unwrap();
    }

    /// Presses keys by RFC 4733, with `copies` of each packet.
    pub fn press_repeating(&mut self, keys: &str, copies: usize) {
        for key in keys.chars() {
            let event = "0123456789*#ABCD"
                .find(key)
                .and_then(|event| u8::try_from(event).ok())
                .unwrap();
            self.rtp_timestamp += 4000;
            let timestamp = self.rtp_timestamp;
            for (end, duration) in [(0, 160u16), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480)] {
                let [high, low] = duration.to_be_bytes();
                for _ in 0..copies {
                    let payload = [event, end | 10, high, low];
                    self.send_rtp(EVENT_PAYLOAD_TYPE, duration == 160, timestamp, &payload);
                }
            }
        }
    }

    /// Presses a key by RFC 4733 and sends only the first packet.
    pub fn press_without_end(&mut self, key: char) {
        let event = "0123456789*#ABCD"
            .find(key)
            .and_then(|event| u8::try_from(event).ok())
            .unwrap();
        self.rtp_timestamp += 4000;
        self.send_rtp(
            EVENT_PAYLOAD_TYPE,
            true,
            self.rtp_timestamp,
            &[event, 10, 0, 160],
        );
    }

    /// Presses keys by RFC 4733 without encryption, on an encrypted call.
    pub fn press_in_clear(&mut self, keys: &str) {
        let crypto = self.crypto.take();
        self.press(keys);
        self.crypto = crypto;
    }

    /// Presses keys as tones in G.711 A-law audio.
    pub fn play_tones(&mut self, keys: &str) {
        let mut tones = media::DigitTones::default();
        tones.press(keys.chars().map(|key| media::Digit::try_from(key).unwrap()));
        while let Some(frame) = tones.frame() {
            let mut payload = [0; 160];
            media::Codec::Pcma.encode(&frame, &mut payload);
            self.rtp_timestamp += 160;
            self.send_rtp(8, false, self.rtp_timestamp, &payload);
        }
    }

    /// Presses keys by RFC 4733.
    pub fn press(&mut self, keys: &str) {
        self.press_repeating(keys, 1);
    }

    /// Sends RTCP with the party's number as CNAME.
    pub fn send_rtcp(&self) {
        let number = self.number.as_bytes();
        let mut item = vec![
            0xde,
            0xad,
            0xbe,
            0xef,
            1,
            u8::try_from(number.len()).unwrap(),
        ];
        item.extend_from_slice(number);
        item.push(0);
        while !item.len().is_multiple_of(4) {
            item.push(0);
        }
        let words = u16::try_from(item.len() / 4).unwrap();
        let mut packet = vec![0x80, 201, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0x81, 202];
        packet.extend_from_slice(&words.to_be_bytes());
        packet.extend_from_slice(&item);
        let remote = self.remote_rtp.unwrap();
        let rtcp = self
            .remote_rtcp
            .unwrap_or(SocketAddr::new(remote.ip(), remote.port() + 1));
        self.rtcp.send_to(&packet, rtcp).unwrap();
    }

    /// Sends a packet of G.711 A-law made of one octet.
    pub fn send_audio(&mut self, octet: u8) {
        self.rtp_timestamp += 160;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(8, false, timestamp, &[octet; 160]);
    }

    /// Sends a packet of G.711 A-law twice.
    pub fn send_audio_twice(&mut self, octet: u8) {
        self.send_audio(octet);
        self.rtp_sequence = self.rtp_sequence.wrapping_sub(1);
        self.send_rtp(8, false, self.rtp_timestamp, &[octet; 160]);
    }

    /// Sends a packet of a payload type with a duration in clock ticks.
    pub fn send_packet(&mut self, payload_type: u8, ticks: u32, payload: &[u8]) {
        self.rtp_timestamp += ticks;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(payload_type, false, timestamp, payload);
    }

    /// Sends a packet of comfort noise (RFC 3389).
    pub fn send_noise(&mut self, payload: &[u8]) {
        self.rtp_timestamp += 160;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(13, false, timestamp, payload);
    }

    /// Waits for a matching packet of a payload type and returns its payload.
    pub fn wait_for_packet(&mut self, payload_type: u8, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            assert!(
                Instant::now() < deadline,
                "no packet of payload type {payload_type} received"
            );
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if packet.len() > 12 && packet[1] & 0x7f == payload_type && fits(&packet[12..]) {
                return packet[12..].to_vec();
            }
        }
    }

    /// Receives payloads of a payload type until none arrives for 20 ms. A test with one packet per call is
    /// therefore no faster than a phone.
    pub fn receive_until_quiet(&mut self, payload_type: u8) -> Vec<Vec<u8>> {
        let packets = std::iter::from_fn(|| self.rtp_packet());
        let packets =
            packets.filter(|packet| packet.len() > 12 && packet[1] & 0x7f == payload_type);
        packets.map(|packet| packet[12..].to_vec()).collect()
    }

    /// Sends audio until both parties have received the expected octet.
    fn exchange_until_heard(&mut self, octet: u8, own: u8, deaf: &AtomicUsize) {
        let deadline = Instant::now() + TIMEOUT;
        let mut heard = false;
        while deaf.load(Ordering::SeqCst) > 0 {
            assert!(
                Instant::now() < deadline,
                "one party received no audio from the other"
            );
            self.send_audio(own);
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if !heard && packet.len() > 100 && packet[12..].iter().all(|byte| *byte == octet) {
                heard = true;
                deaf.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits for a packet of audio made of one octet.
    pub fn wait_for_audio(&mut self, octet: u8) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            assert!(Instant::now() < deadline, "no audio of {octet:#x} received");
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if packet.len() > 100 && packet[12..].iter().all(|byte| *byte == octet) {
                return;
            }
        }
    }

    /// Sends audio until a new packet with sound arrives.
    pub fn wait_for_any_audio(&mut self) {
        self.drain_media();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            assert!(Instant::now() < deadline, "no audio received");
            if self.send_and_check_audio() {
                return;
            }
        }
    }

    /// Sends audio until another party hears it. That party says something meanwhile.
    pub fn say_until_heard(&mut self, octet: u8, listener: &mut Self, says: u8) {
        let deadline = Instant::now() + TIMEOUT;
        let is_heard = |packet: Vec<u8>| packet.get(12..) == Some(&[octet; 160]);
        loop {
            assert!(Instant::now() < deadline, "no audio of {octet:#x} heard");
            self.send_audio(octet);
            listener.send_audio(says);
            if listener.rtp_packet().is_some_and(is_heard) {
                return;
            }
        }
    }

    /// Waits for a tone. Returns the octets of the uniform packets before it.
    pub fn wait_for_tone(&mut self) -> Vec<u8> {
        self.drain_media();
        let deadline = Instant::now() + TIMEOUT;
        let mut uniform = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "no tone heard");
            let Some(packet) = self.rtp_packet().filter(|packet| packet.len() > 100) else {
                continue;
            };
            let mut octets = packet[12..].to_vec();
            octets.sort_unstable();
            octets.dedup();
            match octets[..] {
                [octet] => uniform.push(octet),
                [_, _] => {}
                _ => return uniform,
            }
        }
    }

    /// Sends a packet of audio. Returns `true` if the next received packet contains sound.
    pub fn send_and_check_audio(&mut self) -> bool {
        self.send_audio(0x2a);
        let heard = |octets: &[u8]| octets.iter().any(|octet| !matches!(octet, 0x55 | 0xd5));
        self.rtp_packet()
            .is_some_and(|packet| packet.len() > 100 && heard(&packet[12..]))
    }

    /// Receives the next `count` keys by RFC 4733.
    pub fn receive_keys(&mut self, count: usize, payload_type: u8) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let known = self.presses.len();
        while self.presses.len() < known + count && Instant::now() < deadline {
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if packet.len() == 16 && packet[1] & 0x7f == payload_type {
                let press = (
                    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
                    packet[12],
                );
                if !self.presses.contains(&press) {
                    self.presses.push(press);
                }
            }
        }
        self.presses[known..]
            .iter()
            .map(|(_, event)| char::from(b"0123456789*#ABCD"[usize::from(*event)]))
            .collect()
    }

    /// Enables encryption with a transport protocol. With `RTP/AVP` the description offers plain audio with a key.
    pub fn encrypt(&mut self, protocol: &'static str) {
        let seals = media::SrtpSender::new(SUITE, KEY).unwrap();
        self.crypto = Some(Crypto {
            protocol,
            seals,
            opens: None,
        });
    }
}

/// Exchanges audio between two parties, each with its own octet, until both have received it.
pub fn exchange_audio(first: &mut Party, says: u8, second: &mut Party, replies: u8) {
    let deaf = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| first.exchange_until_heard(replies, says, &deaf));
        scope.spawn(|| second.exchange_until_heard(says, replies, &deaf));
    });
}
