//! Opus in masked calls: negotiation, forwarding, transcoding, encryption, direct media and recording.

use std::process::Command;
use std::time::Instant;

use media::{Codec, Decoder, Encoder, Oscillator};
use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN};
use crate::support::http_client::raw;
use crate::support::party::{Party, header};
use crate::support::server::{SID, TENANT, TIMEOUT, TOKEN};

const SDP: &str = "Content-Type: application/sdp\r\n";
const OPUS_111: &str = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;stereo=1\r\n";
const OPUS_107: &str = "a=rtpmap:107 opus/48000/2\r\n";
/// RTP clock ticks of a 20 ms packet.
const TICKS: u32 = 960;

impl CallSetup {
    /// Connects both parties and returns the INVITE to the agent.
    fn connect_recorded(&mut self, record: bool) -> String {
        let body =
            json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER], "record": record });
        let allocation = self.server.allocate(&body);
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(allocation["pin"].as_str().unwrap());
        let invite = self.agent.receive_invite();
        self.agent.respond(200);
        self.agent.serve("ACK");
        self.inbox.wait_for_event("call.answered");
        invite
    }

    /// Hangs up the customer and returns the call record.
    fn hang_up_and_read_record(&mut self) -> Value {
        self.customer.bye();
        self.agent.serve("BYE");
        let sid = self.inbox.wait_for_event("call.completed")["data"]["call_sid"].take();
        self.server
            .get(&format!("/calls/{}", sid.as_str().unwrap()))
    }

    /// Hangs up the customer and returns the codecs of both legs, the caller's first.
    fn hang_up_and_read_codecs(&mut self) -> [Value; 2] {
        let record = self.hang_up_and_read_record();
        ["caller_media", "callee_media"].map(|side| record[side]["codec"].clone())
    }
}

/// Source of a tone in a codec, in packets of 20 ms.
struct ToneSource {
    codec: Codec,
    payload_type: u8,
    encoder: Encoder,
    tone: Oscillator,
}

impl ToneSource {
    fn new(codec: Codec, payload_type: u8, hertz: f64) -> Self {
        Self {
            codec,
            payload_type,
            encoder: Encoder::default(),
            tone: Oscillator::new(hertz, -10.0),
        }
    }

    /// Sends the next packet and returns its payload.
    fn send_next_packet(&mut self, party: &mut Party) -> Vec<u8> {
        let samples: [i16; 160] = std::array::from_fn(|_| self.tone.next_sample() as i16);
        let mut payload = [0; 160];
        let length = self.encoder.encode(self.codec, &samples, &mut payload);
        let ticks = if self.codec == Codec::Opus {
            TICKS
        } else {
            160
        };
        party.send_packet(self.payload_type, ticks, &payload[..length]);
        payload[..length].to_vec()
    }
}

/// Sends a tone until the other party has received half a second of it.
fn send_tone_until_heard(
    one: &mut Party,
    mut voice: ToneSource,
    other: &mut Party,
    codec: Codec,
    number: u8,
    hertz: f64,
) {
    let (mut decoder, mut heard): (_, Vec<i16>) = (Decoder::default(), Vec::new());
    let deadline = Instant::now() + TIMEOUT;
    while heard.len() < 4000 {
        assert!(
            Instant::now() < deadline,
            "nothing of payload type {number} is heard"
        );
        voice.send_next_packet(one);
        for payload in other.receive_until_quiet(number) {
            let mut samples = [0; 1000];
            let count = decoder.decode(codec, &payload, &mut samples);
            if samples[..count].iter().any(|sample| sample.abs() > 3000) {
                heard.extend(&samples[..count]);
            }
        }
    }
    let upward = heard
        .windows(2)
        .filter(|pair| pair[0] < 0 && pair[1] >= 0)
        .count();
    let found = upward as f64 * 8000.0 / heard.len() as f64;
    assert!((found - hertz).abs() < 25.0, "{found} instead of {hertz}");
}

/// Exchanges tones between a customer with Opus and an agent with A-law.
fn exchange_tones(setup: &mut CallSetup) {
    let CallSetup {
        agent, customer, ..
    } = setup;
    send_tone_until_heard(
        customer,
        ToneSource::new(Codec::Opus, 111, 440.0),
        agent,
        Codec::Pcma,
        8,
        440.0,
    );
    send_tone_until_heard(
        agent,
        ToneSource::new(Codec::Pcma, 8, 1000.0),
        customer,
        Codec::Opus,
        111,
        1000.0,
    );
}

#[test]
fn a_party_with_only_opus_can_talk_to_a_party_with_g711() {
    let mut setup = CallSetup::start_with("", "");
    setup.customer.set_codecs_with_attributes("111", OPUS_111);
    let invite = setup.connect_recorded(false);
    assert!(
        setup.customer.last.contains(
            " RTP/AVP 111 97\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
        )
    );
    assert!(invite.contains(" RTP/AVP 96 8 0 97 101\r\n"), "{invite}");
    exchange_tones(&mut setup);
    setup.customer.press("42");
    assert_eq!(setup.agent.receive_keys(2, 97), "42");
    assert_eq!(setup.hang_up_and_read_codecs(), ["opus", "PCMA"]);
}

#[test]
fn opus_passes_unchanged_between_two_parties_with_opus() {
    let mut setup = CallSetup::start_with("", "");
    setup.customer.set_codecs_with_attributes("111", OPUS_111);
    setup.agent.set_codecs_with_attributes("107", OPUS_107);
    setup.connect_recorded(false);
    let mut voice = ToneSource::new(Codec::Opus, 111, 440.0);
    for _ in 0..10 {
        let said = voice.send_next_packet(&mut setup.customer);
        setup.agent.wait_for_packet(107, |heard| heard == said);
    }
    let back = ToneSource::new(Codec::Opus, 107, 440.0).send_next_packet(&mut setup.agent);
    setup.customer.wait_for_packet(111, |heard| heard == back);
    assert_eq!(setup.hang_up_and_read_codecs(), ["opus", "opus"]);
}

#[test]
fn a_party_with_both_codecs_gets_g711_unless_the_trunk_prefers_opus() {
    for (of_trunk, expected) in [
        ("", "RTP/AVP 8 97\r\n"),
        ("codecs = [\"opus\", \"pcma\"]", "RTP/AVP 111 97\r\n"),
    ] {
        let mut setup = CallSetup::start_with(of_trunk, "");
        setup.customer.set_codecs_with_attributes("111 8", OPUS_111);
        let invite = setup.connect_recorded(false);
        assert!(
            setup.customer.last.contains(expected),
            "{}",
            setup.customer.last
        );
        assert_eq!(invite.contains("opus"), !of_trunk.is_empty(), "{invite}");
        setup.hang_up_and_read_record();
    }
}

#[test]
fn a_call_switches_to_opus_and_back_by_re_invites() {
    let mut setup = CallSetup::start_with("", "");
    setup.connect_recorded(false);
    let g711 = setup.customer.description("sendrecv");
    setup.customer.set_codecs_with_attributes("111", OPUS_111);
    let opus = setup.customer.description("sendrecv");
    assert_eq!(setup.customer.send_in_dialog("INVITE", SDP, &opus), 200);
    assert!(
        setup.customer.last.contains("a=rtpmap:111 opus/48000/2"),
        "{}",
        setup.customer.last
    );
    setup.customer.acknowledge();
    exchange_tones(&mut setup);
    assert_eq!(setup.customer.send_in_dialog("INVITE", SDP, &g711), 200);
    setup.customer.acknowledge();
    let CallSetup {
        agent, customer, ..
    } = &mut setup;
    send_tone_until_heard(
        agent,
        ToneSource::new(Codec::Pcma, 8, 1000.0),
        customer,
        Codec::Pcma,
        8,
        1000.0,
    );
    assert_eq!(setup.hang_up_and_read_codecs(), ["PCMA", "PCMA"]);
}

#[test]
fn opus_is_encrypted_like_any_other_codec() {
    let mut setup = CallSetup::start_with("", "");
    setup.customer.set_codecs_with_attributes("111", OPUS_111);
    setup.customer.encrypt("RTP/SAVP");
    setup.connect_recorded(false);
    exchange_tones(&mut setup);
    let record = setup.hang_up_and_read_record();
    assert_eq!(
        record["caller_media"]["srtp"], "AES_CM_128_HMAC_SHA1_80",
        "{record}"
    );
}

#[test]
fn direct_opus_gateways_receive_each_others_payload_types() {
    let mut setup = CallSetup::start_with("media = \"direct\"", "");
    setup.customer.set_codecs_with_attributes("111", OPUS_111);
    setup.agent.set_codecs_with_attributes("107", OPUS_107);
    setup.connect_recorded(false);
    let to_customer = setup.customer.receive_reinvite();
    let agents = " RTP/AVP 107 97\r\na=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=0\r\n";
    assert!(to_customer.contains(agents), "{to_customer}");
    setup.customer.respond(200);
    setup.customer.serve("ACK");
    let to_agent = setup.agent.receive_reinvite();
    let customers =
        " RTP/AVP 111 97\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;stereo=1\r\n";
    assert!(to_agent.contains(customers), "{to_agent}");
    setup.agent.respond(200);
    setup.agent.serve("ACK");
    assert_eq!(
        setup.customer.audio_destination(),
        Some(setup.agent.audio_address())
    );
    assert!(!header(&to_agent, "From").contains(&CUSTOMER[1..]));
}

/// Decodes a recording with an independent decoder.
fn decode(opus: &[u8]) -> Vec<(i16, i16)> {
    let folder = tempfile::tempdir().unwrap();
    let [file, wav] = ["call.opus", "call.wav"].map(|name| folder.path().join(name));
    std::fs::write(&file, opus).unwrap();
    let run = Command::new("opusdec")
        .args(["--quiet", "--rate", "8000"])
        .args([&file, &wav])
        .status();
    assert!(run.expect("opusdec is installed: ./test does it").success());
    let reader = hound::WavReader::open(&wav).unwrap();
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    samples
        .chunks_exact(2)
        .map(|frame| (frame[0], frame[1]))
        .collect()
}

#[test]
fn recordings_are_stored_as_ogg_opus_plain_or_encrypted_and_served_as_ogg_opus() {
    for sealed in [false, true] {
        let sections = format!(
            "[recordings]\nurl = \"file:{{folder}}/recordings\"\nformat = \"opus\"\nencrypt = {sealed}\n"
        );
        let mut setup = CallSetup::start_with("", &sections);
        setup.customer.set_codecs_with_attributes("111", OPUS_111);
        setup.connect_recorded(true);
        exchange_tones(&mut setup);
        let record = setup.hang_up_and_read_record();
        let sid = record["call_sid"].as_str().unwrap().to_owned();
        let path = format!("/calls/{sid}/recording");
        let opus = setup.server.recording(&sid);
        assert!(opus.starts_with(b"OggS"), "{:?}", opus.get(..20));
        let loud = |samples: &mut dyn Iterator<Item = i16>| {
            samples.filter(|sample| sample.abs() > 3000).count()
        };
        let frames = decode(&opus);
        assert!(
            loud(&mut frames.iter().map(|frame| frame.0)) > 400,
            "the customer is on the left"
        );
        assert!(
            loud(&mut frames.iter().map(|frame| frame.1)) > 400,
            "the agent is on the right"
        );

        let stored = setup
            .server
            .database()
            .with_file_name("recordings")
            .join(format!("{sid}.opus"));
        assert_eq!(std::fs::read(stored).unwrap().starts_with(b"OggS"), !sealed);
        let credentials = {
            use base64::Engine as _;
            base64::prelude::BASE64_STANDARD.encode(format!("{SID}:{TOKEN}"))
        };
        let request = format!(
            "GET /v1/tenants/{TENANT}{path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {credentials}\r\n\
             range: bytes=28-35\r\nconnection: close\r\n\r\n"
        );
        let part = raw(setup.server.http, request.as_bytes());
        assert_eq!(
            (part.status, part.header("content-type")),
            (206, Some("audio/ogg"))
        );
        let range = format!("bytes 28-35/{}", opus.len());
        assert_eq!(part.header("content-range"), Some(range.as_str()));
        assert_eq!(&opus[28..36], b"OpusHead");
    }
}

#[test]
fn audio_recorded_before_kill_9_is_available_after_the_next_start() {
    for (format, begins) in [("wav", b"RIFF"), ("opus", b"OggS")] {
        let sections =
            format!("[recordings]\nurl = \"file:{{folder}}/recordings\"\nformat = \"{format}\"\n");
        let mut setup = CallSetup::start_with("", &sections);
        setup.connect_recorded(true);
        let calls = setup.server.get("/calls");
        let sid = calls[0]["call_sid"]
            .as_str()
            .unwrap_or_else(|| panic!("{calls}"))
            .to_owned();
        let folder = setup.server.database().with_file_name("recordings");
        let part = folder.join(format!("{sid}.{format}.part"));
        let mut voice = ToneSource::new(Codec::Pcma, 8, 440.0);
        while std::fs::metadata(&part).map_or(0, |part| part.len()) < 9000 {
            voice.send_next_packet(&mut setup.customer);
            setup.agent.receive_until_quiet(8);
        }
        setup.server.kill();
        setup.server.start_again();
        let record = setup.server.get(&format!("/calls/{sid}"));
        assert!(record["end_time"].is_string() && !part.exists(), "{record}");
        setup.inbox.wait_for_event("recording.ready");
        let audio = setup.server.recording(&sid);
        assert!(audio.starts_with(begins), "{:?}", audio.get(..8));
        let frames = if format == "opus" {
            decode(&audio)
        } else {
            let samples = hound::WavReader::new(&audio[..])
                .unwrap()
                .into_samples()
                .map(Result::unwrap);
            samples
                .collect::<Vec<i16>>()
                .chunks_exact(2)
                .map(|frame| (frame[0], frame[1]))
                .collect()
        };
        assert!(
            frames.iter().filter(|frame| frame.0.abs() > 3000).count() > 400,
            "{format}"
        );
    }
}
