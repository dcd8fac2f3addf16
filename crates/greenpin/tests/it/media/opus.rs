//! Masked calls in Opus: negotiated, passed on, turned into another codec, encrypted, direct, recorded.

use std::process::Command;
use std::time::Instant;

use media::{Codec, Decoder, Encoder, Oscillator};
use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::http_client::raw;
use crate::support::party::{Party, header};
use crate::support::server::{PATIENCE, SID, Server, TENANT, TOKEN, trunk};
use crate::support::webhook_inbox::Hook;

const SDP: &str = "Content-Type: application/sdp\r\n";
const OPUS_111: &str = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;stereo=1\r\n";
const OPUS_107: &str = "a=rtpmap:107 opus/48000/2\r\n";
/// Ticks of a packet of 20 ms.
const TICKS: u32 = 960;

struct Stage {
    server: Server,
    hook: Hook,
    agent: Party,
    customer: Party,
}

impl Stage {
    /// A server whose trunk has more keys, then more sections.
    fn set(of_trunk: &str, sections: &str) -> Self {
        let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
        let server = Server::with(&(trunk("carrier", agent.address(), of_trunk) + sections));
        agent.set_server(server.sip);
        server.add_number(VN, &[]);
        let hook = Hook::open();
        server.send_events_to(&hook.url);
        let customer = Party::new(CUSTOMER, server.sip);
        Self {
            server,
            hook,
            agent,
            customer,
        }
    }

    /// Connects both; gives the INVITE to the agent.
    fn connect(&mut self, record: bool) -> String {
        let body =
            json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER], "record": record });
        let allocation = self.server.allocate(&body);
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(allocation["pin"].as_str().unwrap());
        let invite = self.agent.invited();
        self.agent.respond(200);
        self.agent.served("ACK");
        self.hook.event("call.answered");
        invite
    }

    /// The customer hangs up; gives the call record.
    fn ended(&mut self) -> Value {
        self.customer.bye();
        self.agent.served("BYE");
        let sid = self.hook.event("call.completed")["data"]["call_sid"].take();
        self.server
            .get(&format!("/calls/{}", sid.as_str().unwrap()))
    }

    /// The codecs of the call, the caller's first.
    fn ended_in(&mut self) -> [Value; 2] {
        let record = self.ended();
        ["caller_media", "callee_media"].map(|side| record[side]["codec"].clone())
    }
}

/// Says a tone in a codec, 20 ms a time.
struct Voice {
    codec: Codec,
    payload_type: u8,
    encoder: Encoder,
    tone: Oscillator,
}

impl Voice {
    fn new(codec: Codec, payload_type: u8, hertz: f64) -> Self {
        Self {
            codec,
            payload_type,
            encoder: Encoder::default(),
            tone: Oscillator::new(hertz, -10.0),
        }
    }

    /// Says the next packet, and gives its payload.
    fn say(&mut self, party: &mut Party) -> Vec<u8> {
        let samples: [i16; 160] = std::array::from_fn(|_| self.tone.next_sample() as i16);
        let mut payload = [0; 160];
        let length = self.encoder.encode(self.codec, &samples, &mut payload);
        let ticks = if self.codec == Codec::Opus {
            TICKS
        } else {
            160
        };
        party.say_packet(self.payload_type, ticks, &payload[..length]);
        payload[..length].to_vec()
    }
}

/// Lets one say a tone until the other has heard half a second of it.
fn hears_tone(
    one: &mut Party,
    mut voice: Voice,
    other: &mut Party,
    codec: Codec,
    number: u8,
    hertz: f64,
) {
    let (mut decoder, mut heard): (_, Vec<i16>) = (Decoder::default(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while heard.len() < 4000 {
        assert!(
            Instant::now() < deadline,
            "nothing of payload type {number} is heard"
        );
        voice.say(one);
        for payload in other.hears_until_quiet(number) {
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

/// A customer in Opus and an agent in A-law, both ways.
fn both_talk(stage: &mut Stage) {
    let Stage {
        agent, customer, ..
    } = stage;
    hears_tone(
        customer,
        Voice::new(Codec::Opus, 111, 440.0),
        agent,
        Codec::Pcma,
        8,
        440.0,
    );
    hears_tone(
        agent,
        Voice::new(Codec::Pcma, 8, 1000.0),
        customer,
        Codec::Opus,
        111,
        1000.0,
    );
}

#[test]
fn who_speaks_opus_alone_talks_to_one_who_speaks_g711() {
    let mut stage = Stage::set("", "");
    stage.customer.speak_with("111", OPUS_111);
    let invite = stage.connect(false);
    assert!(
        stage.customer.last.contains(
            " RTP/AVP 111 97\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
        )
    );
    assert!(invite.contains(" RTP/AVP 96 8 0 97 101\r\n"), "{invite}");
    both_talk(&mut stage);
    stage.customer.press("42");
    assert_eq!(stage.agent.keys_heard(2, 97), "42");
    assert_eq!(stage.ended_in(), ["opus", "PCMA"]);
}

#[test]
fn opus_passes_untouched_between_two_who_speak_it() {
    let mut stage = Stage::set("", "");
    stage.customer.speak_with("111", OPUS_111);
    stage.agent.speak_with("107", OPUS_107);
    stage.connect(false);
    let mut voice = Voice::new(Codec::Opus, 111, 440.0);
    for _ in 0..10 {
        let said = voice.say(&mut stage.customer);
        stage.agent.hears_packet(107, |heard| heard == said);
    }
    let back = Voice::new(Codec::Opus, 107, 440.0).say(&mut stage.agent);
    stage.customer.hears_packet(111, |heard| heard == back);
    assert_eq!(stage.ended_in(), ["opus", "opus"]);
}

#[test]
fn who_speaks_both_is_answered_in_g711_unless_the_trunk_prefers_opus() {
    for (of_trunk, expected) in [
        ("", "RTP/AVP 8 97\r\n"),
        ("codecs = [\"opus\", \"pcma\"]", "RTP/AVP 111 97\r\n"),
    ] {
        let mut stage = Stage::set(of_trunk, "");
        stage.customer.speak_with("111 8", OPUS_111);
        let invite = stage.connect(false);
        assert!(
            stage.customer.last.contains(expected),
            "{}",
            stage.customer.last
        );
        assert_eq!(invite.contains("opus"), !of_trunk.is_empty(), "{invite}");
        stage.ended();
    }
}

#[test]
fn a_call_goes_over_to_opus_and_back_by_re_invites() {
    let mut stage = Stage::set("", "");
    stage.connect(false);
    let g711 = stage.customer.description("sendrecv");
    stage.customer.speak_with("111", OPUS_111);
    let opus = stage.customer.description("sendrecv");
    assert_eq!(stage.customer.within("INVITE", SDP, &opus), 200);
    assert!(
        stage.customer.last.contains("a=rtpmap:111 opus/48000/2"),
        "{}",
        stage.customer.last
    );
    stage.customer.acknowledge();
    both_talk(&mut stage);
    assert_eq!(stage.customer.within("INVITE", SDP, &g711), 200);
    stage.customer.acknowledge();
    let Stage {
        agent, customer, ..
    } = &mut stage;
    hears_tone(
        agent,
        Voice::new(Codec::Pcma, 8, 1000.0),
        customer,
        Codec::Pcma,
        8,
        1000.0,
    );
    assert_eq!(stage.ended_in(), ["PCMA", "PCMA"]);
}

#[test]
fn opus_is_encrypted_like_any_other() {
    let mut stage = Stage::set("", "");
    stage.customer.speak_with("111", OPUS_111);
    stage.customer.encrypt("RTP/SAVP");
    stage.connect(false);
    both_talk(&mut stage);
    let record = stage.ended();
    assert_eq!(
        record["caller_media"]["srtp"], "AES_CM_128_HMAC_SHA1_80",
        "{record}"
    );
}

#[test]
fn gateways_that_both_speak_opus_are_told_of_each_others_numbers() {
    let mut stage = Stage::set("media = \"direct\"", "");
    stage.customer.speak_with("111", OPUS_111);
    stage.agent.speak_with("107", OPUS_107);
    stage.connect(false);
    let to_customer = stage.customer.reinvited();
    let agents = " RTP/AVP 107 97\r\na=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=0\r\n";
    assert!(to_customer.contains(agents), "{to_customer}");
    stage.customer.respond(200);
    stage.customer.served("ACK");
    let to_agent = stage.agent.reinvited();
    let customers =
        " RTP/AVP 111 97\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;stereo=1\r\n";
    assert!(to_agent.contains(customers), "{to_agent}");
    stage.agent.respond(200);
    stage.agent.served("ACK");
    assert_eq!(stage.customer.sends_to(), Some(stage.agent.audio_address()));
    assert!(!header(&to_agent, "From").contains(&CUSTOMER[1..]));
}

/// The frames of a recording, by a decoder that nobody here wrote.
fn played(opus: &[u8]) -> Vec<(i16, i16)> {
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
fn recordings_are_written_as_ogg_opus_in_clear_or_sealed_and_served_as_such() {
    for sealed in [false, true] {
        let sections = format!(
            "[recordings]\nurl = \"file:{{folder}}/recordings\"\nformat = \"opus\"\nencrypt = {sealed}\n"
        );
        let mut stage = Stage::set("", &sections);
        stage.customer.speak_with("111", OPUS_111);
        stage.connect(true);
        both_talk(&mut stage);
        let record = stage.ended();
        let sid = record["call_sid"].as_str().unwrap().to_owned();
        let path = format!("/calls/{sid}/recording");
        let opus = stage.server.recording(&sid);
        assert!(opus.starts_with(b"OggS"), "{:?}", opus.get(..20));
        let loud =
            |samples: &mut dyn Iterator<Item = i16>| samples.filter(|one| one.abs() > 3000).count();
        let frames = played(&opus);
        assert!(
            loud(&mut frames.iter().map(|frame| frame.0)) > 400,
            "the customer is on the left"
        );
        assert!(
            loud(&mut frames.iter().map(|frame| frame.1)) > 400,
            "the agent is on the right"
        );

        let stored = stage
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
        let part = raw(stage.server.http, request.as_bytes());
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
fn what_was_recorded_before_kill_9_is_heard_after_the_next_start() {
    for (format, begins) in [("wav", b"RIFF"), ("opus", b"OggS")] {
        let sections =
            format!("[recordings]\nurl = \"file:{{folder}}/recordings\"\nformat = \"{format}\"\n");
        let mut stage = Stage::set("", &sections);
        stage.connect(true);
        let calls = stage.server.get("/calls");
        let sid = calls[0]["call_sid"]
            .as_str()
            .unwrap_or_else(|| panic!("{calls}"))
            .to_owned();
        let folder = stage.server.database().with_file_name("recordings");
        let part = folder.join(format!("{sid}.{format}.part"));
        let mut voice = Voice::new(Codec::Pcma, 8, 440.0);
        while std::fs::metadata(&part).map_or(0, |part| part.len()) < 9000 {
            voice.say(&mut stage.customer);
            stage.agent.hears_until_quiet(8);
        }
        stage.server.kill();
        stage.server.start_again();
        let record = stage.server.get(&format!("/calls/{sid}"));
        assert!(record["end_time"].is_string() && !part.exists(), "{record}");
        stage.hook.event("recording.ready");
        let audio = stage.server.recording(&sid);
        assert!(audio.starts_with(begins), "{:?}", audio.get(..8));
        let frames = if format == "opus" {
            played(&audio)
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
