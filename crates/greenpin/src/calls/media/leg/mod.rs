//! Leg on its media thread.

mod packet_order;
mod playback;
mod rtcp;
mod srtp;

use std::{net::SocketAddr, ops::Range, time::Duration};

use media::{
    Channel, Codec, ComfortNoise, Decoder, Digit, DigitSource, Encoder, EventReceiver, FRAME,
    Forward, Header, InboundClock, NegotiatedFormats, OutboundStream, Packet, ReceiverStats,
    SRTP_OVERHEAD, ToneDetector, Unforwarded, forward,
};
use signalling::sdes::Secrets;
use tokio::sync::mpsc::UnboundedSender;

use super::peer_address::PeerAddress;
use super::ports::PortPair;
use super::{MediaId, MediaReport, PeerReport, Remote};
use crate::calls::media::recording::writer::LegRecording;

use self::packet_order::PacketOrder;
use self::playback::{KeySender, Playback};
use self::srtp::LegSrtp;

/// Leg on its media thread: sockets, playback and statistics.
pub(super) struct MediaLeg {
    pub(super) id: MediaId,
    pub(super) ports: PortPair,
    /// Slot of the bridged leg.
    pub(super) bridged: Option<usize>,
    /// Slot of the leg whose early media is played to this leg. That leg is bridged in one direction only.
    pub(super) early_source: Option<usize>,
    pub(super) recording: Option<Box<LegRecording>>,
    pub(super) listener: Option<UnboundedSender<Vec<i16>>>,
    pub(super) ticking: bool,
    /// `true` if the peer's present key press is forwarded to the bridged leg. Only a press that starts during the
    /// bridge is forwarded. The last digit of a PIN thus never reaches the other party, and no press counts twice.
    pub(super) forwards_press: bool,
    negotiated: Option<NegotiatedMedia>,
    out: OutboundStream,
    clock: InboundClock,
    srtp: LegSrtp,
    playback: Playback,
    keys: Option<Box<KeySender>>,
    stats: ReceiverStats,
    events: EventReceiver,
    /// Present only for streams decoded in order.
    packet_order: Option<Box<PacketOrder>>,
    late: u64,
    decoder: Decoder,
    encoder: Encoder,
    detector: Option<Box<ToneDetector>>,
    foreign: u64,
    malformed: u64,
    unauthenticated: u64,
    last_received: Option<Duration>,
    rtcp_state: RtcpState,
}

/// Result of the last offer and answer.
struct NegotiatedMedia {
    peer: PeerAddress,
    formats: NegotiatedFormats,
    send: bool,
    receive: bool,
    send_rtcp: bool,
}

struct RtcpState {
    cname: [u8; 24],
    due: Duration,
    phase: Duration,
    last_sender: Option<(u32, Duration)>,
    peer_report: Option<PeerReport>,
}

impl MediaLeg {
    /// Creates a leg. The random octets set the start of its stream and its RTCP name.
    pub(super) fn new(id: MediaId, ports: PortPair, random: &[u8; 34], secrets: Secrets) -> Self {
        let mut cname = [b'0'; 24];
        let letters = cname.iter_mut().zip(random.iter().skip(10));
        letters.for_each(|(letter, octet)| *letter = b'a'.saturating_add(octet % 26));
        let phase =
            rtcp::REPORT_INTERVAL.mul_f64(f64::from(random.last().copied().unwrap_or(0)) / 256.0);
        let rtcp_state = RtcpState {
            cname,
            due: Duration::ZERO,
            phase,
            last_sender: None,
            peer_report: None,
        };
        Self {
            id,
            ports,
            bridged: None,
            early_source: None,
            recording: None,
            listener: None,
            ticking: false,
            forwards_press: false,
            negotiated: None,
            out: outbound_stream(random),
            clock: InboundClock::default(),
            srtp: LegSrtp::new(secrets),
            playback: Playback::Nothing,
            keys: None,
            stats: ReceiverStats::default(),
            events: EventReceiver::default(),
            packet_order: None,
            late: 0,
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            detector: None,
            foreign: 0,
            malformed: 0,
            unauthenticated: 0,
            last_received: None,
            rtcp_state,
        }
    }

    pub(super) fn connect(&mut self, remote: &Remote, now: Duration) {
        let before = self.negotiated.as_ref().map(|negotiated| &negotiated.peer);
        let peer = PeerAddress::new(remote, before);
        if self.negotiated.is_none() {
            self.rtcp_state.due = now.saturating_add(self.rtcp_state.phase);
        }
        let Remote {
            formats,
            opus,
            send,
            receive,
            ..
        } = *remote;
        let before = self.codec();
        self.negotiated = Some(NegotiatedMedia {
            peer,
            formats,
            send: send && remote.proven,
            receive,
            // 0.0.0.0 is a hold of RFC 2543, in which nothing is sent (RFC 3264, section 8.4).
            send_rtcp: remote.proven && !remote.rtp.ip().is_unspecified(),
        });
        if before != Some(formats.codec) {
            self.switch_codec(formats.codec);
        }
        self.encoder.adapt(opus);
        self.srtp.set_peer_key(remote.crypto);
        self.reset_order();
        self.last_received = Some(now);
        if formats.telephone_event.is_some() {
            self.detector = None;
        } else if self.detector.is_none() {
            self.detector = Some(Box::default());
        }
    }

    /// Switches to another codec: sets its clock and discards partial audio of the previous codec.
    fn switch_codec(&mut self, codec: Codec) {
        self.out.set_ticks(codec.ticks());
        self.clock = InboundClock::default();
        self.encoder.discard_pending();
    }

    /// Handles a datagram at the RTP port and decrypts it if necessary. Returns the packet if it comes from the peer
    /// and the leg accepts audio.
    pub(super) fn receive<'a>(
        &mut self,
        datagram: &'a mut [u8],
        from: SocketAddr,
        now: Duration,
    ) -> Option<Packet<'a>> {
        let negotiated = self.negotiated.as_mut()?;
        if self.srtp.is_enabled() && !negotiated.peer.may_accept(from) {
            self.foreign = self.foreign.saturating_add(1);
            return None;
        }
        let Some(length) = self.srtp.decrypt(datagram) else {
            self.unauthenticated = self.unauthenticated.saturating_add(1);
            return None;
        };
        let datagram = datagram.get(..length)?;
        if is_rtcp(datagram) {
            if negotiated.peer.may_accept(from) {
                negotiated.peer.on_received();
            }
            return None;
        }
        let parsed = Packet::parse(datagram);
        // Only valid RTP latches a source.
        let allowed = if parsed.is_ok() {
            negotiated.peer.accepts(from)
        } else {
            negotiated.peer.rtp() == from
        };
        if !allowed {
            self.foreign = self.foreign.saturating_add(1);
            return None;
        }
        let Ok(mut packet) = parsed else {
            self.malformed = self.malformed.saturating_add(1);
            return None;
        };
        // From here on all timestamps count samples at 8 kHz.
        packet.header.timestamp = self
            .clock
            .sample(packet.header.timestamp, negotiated.formats.codec.ticks());
        self.last_received = Some(now);
        negotiated.peer.on_received();
        self.stats
            .receive(&packet.header, packet.payload.len(), now);
        negotiated.receive.then_some(packet)
    }

    /// Returns `true` if the packet is a telephone-event in the negotiated format.
    pub(super) fn is_event(&self, packet: &Packet<'_>) -> bool {
        self.negotiated
            .as_ref()
            .is_some_and(|negotiated| negotiated.formats.is_event(packet.header.payload_type))
    }

    /// Returns the keys whose presses start with this packet.
    pub(super) fn event_digits(&mut self, packet: &Packet<'_>, now: Duration) -> Vec<Digit> {
        let format = self
            .negotiated
            .as_ref()
            .and_then(|negotiated| negotiated.formats.event_format(packet.header.payload_type));
        if let Some(format) = format {
            return self
                .events
                .receive(&packet.header, format, packet.payload, now);
        }
        self.events.on_other_packet(&packet.header);
        Vec::new()
    }

    /// Returns `true` if the packets of the peer's present key press must not be forwarded as they are.
    pub(super) fn is_press_irregular(&self) -> bool {
        self.events.is_irregular()
    }

    /// Decodes audio of the peer. Returns the number of samples.
    pub(super) fn decode(&mut self, codec: Codec, octets: &[u8], samples: &mut [i16]) -> usize {
        self.decoder.decode(codec, octets, samples)
    }

    /// Encodes audio for the peer. Returns the number of octets.
    fn encode(&mut self, codec: Codec, samples: &[i16], octets: &mut [u8]) -> usize {
        self.encoder.encode(codec, samples, octets)
    }

    /// Encodes the next audio of the bridged leg's stream. The timestamp in the header moves back by the samples
    /// buffered in the encoder. Returns the number of octets.
    pub(super) fn encode_next(
        &mut self,
        header: &mut Header,
        codec: Codec,
        samples: &[i16],
        octets: &mut [u8],
    ) -> usize {
        if header.marker {
            self.encoder.discard_pending();
        }
        let waited = self.encoder.pending_samples(codec) as u32;
        header.timestamp = header
            .timestamp
            .wrapping_sub(waited.wrapping_mul(codec.ticks()));
        self.encode(codec, samples, octets)
    }

    /// Returns `true` if the leg itself needs the decoded audio.
    pub(super) fn needs_samples(&self) -> bool {
        self.recording.is_some() || self.listener.is_some() || self.detector.is_some()
    }

    /// Handles decoded audio that starts at this RTP timestamp. `pressed` is called for each key detected as a tone.
    pub(super) fn on_samples(
        &mut self,
        timestamp: u32,
        samples: &[i16],
        now: Duration,
        mut pressed: impl FnMut(Digit, DigitSource),
    ) {
        self.feed_concealment(samples);
        if let Some(recording) = &mut self.recording {
            recording
                .timeline
                .place(Channel::Left, timestamp, samples, now);
        }
        if let Some(listener) = &self.listener
            && listener.send(samples.to_vec()).is_err()
        {
            self.listener = None;
        }
        if let Some(detector) = &mut self.detector {
            detector.process(samples, |digit| pressed(digit, DigitSource::InBand));
        }
    }

    /// Handles comfort noise as silence for the tone detector, so that the same key afterwards is a new press.
    pub(super) fn on_silence(&mut self, packet: &Packet<'_>) {
        if packet.header.payload_type == ComfortNoise::PAYLOAD_TYPE
            && let Some(detector) = &mut self.detector
        {
            detector.process(&[0; 2 * FRAME], |_| ());
        }
    }

    /// Records audio of the bridged peer.
    pub(super) fn record_bridged(&mut self, timestamp: u32, samples: &[i16], now: Duration) {
        if let Some(recording) = &mut self.recording {
            recording
                .timeline
                .place(Channel::Right, timestamp, samples, now);
        }
    }

    /// Returns the negotiated formats.
    pub(super) fn formats(&self) -> Option<NegotiatedFormats> {
        Some(self.negotiated.as_ref()?.formats)
    }

    /// Returns the negotiated codec.
    pub(super) fn codec(&self) -> Option<Codec> {
        self.formats().map(|formats| formats.codec)
    }

    /// Decides about a packet of the bridged leg. `from` holds the formats of the bridged peer. An irregular press is
    /// sent as a press of our own.
    pub(super) fn forward(
        &mut self,
        packet: &Packet<'_>,
        from: &NegotiatedFormats,
        irregular: bool,
        now: Duration,
    ) -> Forward {
        if self.early_source.is_some() && from.codec_for(packet.header.payload_type).is_some() {
            self.stop_ringback();
        }
        let Some(negotiated) = self
            .negotiated
            .as_ref()
            .filter(|negotiated| negotiated.send)
        else {
            return Forward::Nothing(Unforwarded::Unknown);
        };
        if irregular || self.keys.is_some() || self.is_playing_over(packet) {
            // A key pressed during another key must not be lost.
            let late_event = from.is_event(packet.header.payload_type);
            return Forward::Nothing(if late_event {
                Unforwarded::EventWithoutReceiver
            } else {
                Unforwarded::Late
            });
        }
        let decided = forward(packet, from, &negotiated.formats, &mut self.out, now);
        if !matches!(decided, Forward::Nothing(_)) {
            self.stop_noise();
        }
        decided
    }

    /// Skips a packet of the bridged leg in the outgoing stream.
    pub(super) fn skip(&mut self, packet: &Packet<'_>) {
        self.out.skip(&packet.header);
    }

    /// Sends the RTP packet in this range of the buffer. If SRTP is negotiated the packet is encrypted, and the buffer
    /// needs [`SRTP_OVERHEAD`] more octets after it. Packets refused by the system count as lost in the network.
    pub(super) fn send(&mut self, buffer: &mut [u8], packet: Range<usize>) {
        let negotiated = self.negotiated.as_mut();
        let Some(negotiated) = negotiated.filter(|negotiated| negotiated.peer.may_send()) else {
            return;
        };
        let length = packet.len();
        let Some(buffer) = buffer.get_mut(packet.start..) else {
            return;
        };
        let Some(encrypted) = self.srtp.encrypt(buffer, length) else {
            return;
        };
        let sent = buffer
            .get(..encrypted)
            .map(|packet| self.ports.rtp.send_to(packet, negotiated.peer.rtp()));
        negotiated.peer.on_sent(encrypted);
        if sent.is_some_and(|sent| sent.is_ok()) {
            self.out.sent(length.saturating_sub(Header::LENGTH));
        }
    }

    /// Sends a packet of our own stream.
    pub(super) fn send_own(&mut self, header: &Header, payload: &[u8]) {
        let mut buffer = [0; Header::LENGTH + FRAME + SRTP_OVERHEAD];
        if let Some(length) = header.write(payload, &mut buffer).map(<[u8]>::len) {
            self.send(&mut buffer, 0..length);
        }
    }

    /// Handles the return of the peer's stream after a gap.
    pub(super) fn interrupt(&mut self, now: Duration) {
        self.stats.interrupt();
        self.last_received = Some(now);
    }

    /// Pauses sending to an address that nothing has ever come from, so that a forged or wrong address in a session
    /// description gets little.
    pub(super) fn check_answered(&mut self, limit: Duration, now: Duration) {
        let Some(negotiated) = self.negotiated.as_mut() else {
            return;
        };
        if !negotiated.send {
            negotiated.peer.stop_clock();
        } else if negotiated.peer.check_answered(limit, now) {
            tracing::warn!("no audio from a peer; pausing the audio to it");
        }
    }

    /// Returns `true` once if the peer has been silent for longer than the limit.
    pub(super) fn check_silence(&mut self, limit: Duration, now: Duration) -> bool {
        // A peer that has us on hold may be silent: a phone without music on hold sends nothing.
        let talks = self
            .negotiated
            .as_ref()
            .is_some_and(|negotiated| negotiated.receive && negotiated.send);
        let silent = talks
            && self
                .last_received
                .is_some_and(|since| now.saturating_sub(since) > limit);
        if silent {
            self.last_received = None;
        }
        silent
    }

    /// Returns the statistics of the leg.
    pub(super) fn report(&self) -> MediaReport {
        let round_trip = self
            .rtcp_state
            .peer_report
            .and_then(|report| report.round_trip);
        MediaReport {
            codec: self.codec(),
            received: self.stats.report(rtcp::one_way_delay_ms(round_trip)),
            sent_packets: u64::from(self.out.packets()),
            sent_octets: u64::from(self.out.octets()),
            foreign: self.foreign,
            malformed: self.malformed,
            late: self.late(),
            unauthenticated: self.unauthenticated,
            srtp: self.srtp.suite(),
            events: self.events.report(),
            peer_report: self.rtcp_state.peer_report,
        }
    }
}

/// Returns `true` for RTCP at the port of RTP: a peer multiplexes both without agreement. RFC 3551, section 6
/// reserves the payload types that equal these packet types.
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(200..=204))
}

/// Creates the outgoing stream with a random SSRC, sequence number and timestamp.
fn outbound_stream(random: &[u8; 34]) -> OutboundStream {
    let [s0, s1, s2, s3, n0, n1, t0, t1, t2, t3, ..] = *random;
    let (ssrc, timestamp) = (
        u32::from_be_bytes([s0, s1, s2, s3]),
        u32::from_be_bytes([t0, t1, t2, t3]),
    );
    // In the lower half, so that a peer without the first packets cannot miss a rollover (RFC 3711, section 3.3.1).
    OutboundStream::new(ssrc, u16::from_be_bytes([n0 & 0x7f, n1]), timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unencrypted_leg_fits_into_1_kib() {
        assert!(size_of::<MediaLeg>() <= 1024, "{}", size_of::<MediaLeg>());
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        assert!(is_rtcp(&[0x80, 200, 0, 6]));
        for rtp in [
            &[0x80, 0x80 | 8][..],
            &[0x80, 101],
            &[0x80, 0x80 | 111],
            &[],
        ] {
            assert!(!is_rtcp(rtp), "{rtp:?}");
        }
    }
}
