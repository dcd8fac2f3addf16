//! Mask of traced messages, and bounds of a trace.

use std::time::Instant;

use bytes::Bytes;
use call::PhoneNumber;
use proptest::prelude::*;
use signalling::{SipMessage, Transport};

use super::mask::Mask;
use super::recorder::{
    MAX_MEDIA_FACTS, MAX_TRACE_BYTES, MAX_TRACE_ENTRIES, MAX_UNPROVEN_TRACE_BYTES, RecordedMessage,
    Recorder, TraceOwner,
};
use super::writer::TraceWriter;
use super::{CallTracer, MessageArrival};
use crate::calls::call_start::CallStart;
use crate::calls::leg_owner::CallId;
use crate::metrics::METRICS;
use crate::store::{CallSid, TenantId, Timestamp, TraceFact};

const VN: &str = "+914000000001";
const CALLER: &str = "+919900000042";

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text).unwrap()
}

fn masked(message: &str, hides_caller: bool) -> String {
    let mut mask = Mask::new([number(VN), number(CALLER)].into_iter(), hides_caller);
    mask.learn(message.as_bytes());
    mask.message(message.as_bytes())
}

const INVITE: &str = "INVITE sip:+914000000001@192.0.2.1:5060;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.7:35060;branch=z9hG4bK77;rport=35060;received=198.51.100.7\r\n\
    Max-Forwards: 70\r\n\
    f: \"Asha 9900000042\" <sip:+919900000042@198.51.100.7>;tag=a1b2\r\n\
    To: <sip:+914000000001@192.0.2.1>\r\n\
    Call-ID: 919900000042-77@198.51.100.7\r\n\
    CSeq: 1234567 INVITE\r\n\
    Contact: <sip:+919900000042@198.51.100.7:35060;transport=udp>\r\n\
    P-Asserted-Identity: <tel:+919900000042>, <sip:9900000042;phone-context=+91@carrier.example>\r\n\
    Diversion: <sip:+918800000077@10.0.0.1>;reason=no-answer;counter=1\r\n\
    Authorization: Digest username=\"trunk\", response=\"0123456789abcdef\"\r\n\
    X-Charging: +919900000042\r\n\
    User-Agent: Carrier 12.5\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 333\r\n\
    \r\n\
    v=0\r\no=9900000042 1 1 IN IP4 198.51.100.8\r\ns=call of 9900000042\r\nc=IN IP4 198.51.100.8\r\nt=0 0\r\n\
    m=audio 40000 RTP/SAVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0c2VjcmV0\r\na=sendrecv\r\na=x-caller:+919900000042\r\n";

#[test]
fn an_invite_keeps_its_form_and_loses_numbers_names_and_secrets() {
    let text = masked(INVITE, false);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let expected = "INVITE sip:+9140…01@192.0.2.1:5060;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.7:35060;branch=z9hG4bK77;rport=35060;received=198.51.100.7\r\n\
        Max-Forwards: 70\r\n\
        From: \"…\" <sip:+9199…42@198.51.100.7>;tag=a1b2\r\n\
        To: <sip:+9140…01@192.0.2.1>\r\n\
        Call-ID: 9199…42-77@198.51.100.7\r\n\
        CSeq: 1234567 INVITE\r\n\
        Contact: <sip:+9199…42@198.51.100.7:35060;transport=udp>\r\n\
        P-Asserted-Identity: <tel:+9199…42>, <sip:99…42@carrier.example>\r\n\
        Diversion: <sip:+9188…77@10.0.0.1>;reason=no-answer;counter=1\r\n\
        Authorization: Digest …\r\n\
        User-Agent: Carrier 12.5\r\n\
        Content-Type: application/sdp\r\n\
        X-Hidden-Fields: 1\r\n";
    assert_eq!(head, format!("{expected}Content-Length: {}", body.len()));
    assert_eq!(
        body,
        "v=0\r\no=- 0 0 IN IP4 198.51.100.8\r\ns=-\r\nc=IN IP4 198.51.100.8\r\nt=0 0\r\n\
         m=audio 40000 RTP/SAVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…\r\na=sendrecv\r\n"
    );
}

#[test]
fn a_withheld_caller_leaves_no_digit() {
    let text = masked(INVITE, true);
    for digits in ["9199", "…42", "99…"] {
        assert!(!text.contains(digits), "{digits} in {text}");
    }
}

#[test]
fn a_digit_in_an_info_and_free_text_is_not_shown() {
    let info = "INFO sip:x@192.0.2.1 SIP/2.0\r\nCall-ID: a\r\nContent-Type: application/dtmf-relay\r\n\
        Content-Length: 24\r\n\r\nSignal=7\r\nDuration=160\r\n";
    let text = masked(info, false);
    assert!(
        text.ends_with("Content-Length: 12\r\n\r\nSignal=…\r\n"),
        "{text}"
    );
    let refused = "SIP/2.0 403 PIN 7391 is wrong\r\nReason: Q.850;cause=21;text=\"pin 7391\"\r\n\
        Warning: 399 host \"7391\"\r\nContent-Type: text/plain\r\n\r\n7391";
    let text = masked(refused, false);
    assert!(!text.contains("7391"), "{text}");
    assert!(text.starts_with("SIP/2.0 403 PIN … is wrong\r\n"), "{text}");
    assert!(text.contains("Q.850;cause=21;text=\"pin …\""), "{text}");
}

#[test]
fn a_message_of_any_octets_is_masked_without_a_panic() {
    for message in [
        "",
        "\r\n",
        ":",
        "INVITE",
        "SIP/2.0",
        "a: b: c\r\n\r\n",
        "A sip:@ x\r\nVia:\r\nTo: <<\">\r\n\r\n",
    ] {
        masked(message, false);
    }
}

/// Places of a message in which a peer can repeat a number or a PIN.
fn message_with(place: usize, text: &str) -> String {
    let fill = |wanted: usize, otherwise: &str| match place == wanted {
        true => text.to_owned(),
        false => otherwise.to_owned(),
    };
    let body = format!(
        "v=0\r\no={} 1 1 IN IP4 {}\r\ns={}\r\nc=IN IP4 192.0.2.1\r\nt={} 0\r\nm=audio {} RTP/AVP 8 {}\r\na=rtpmap:8 PCMA/{}\r\na=mid:{}\r\na={}\r\n",
        fill(0, "-"),
        fill(1, "192.0.2.1"),
        fill(2, "-"),
        fill(3, "0"),
        fill(4, "4000"),
        fill(5, "0"),
        fill(6, "8000"),
        fill(7, "a"),
        fill(8, "sendrecv"),
    );
    format!(
        "INVITE sip:{}@192.0.2.1;{}=x SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=x;{}\r\n\
         From: {} <sip:{}:{}@{}?{}=1>;tag=x;p={}\r\nTo: \"{}\" <tel:{}>\r\nCall-ID: a\r\n\
         CSeq: 1 {}\r\nContact: sip:{}@x\r\nReason: SIP;text=\"{}\"\r\n{}: {}\r\nUser-Agent: x \"{}\"\r\n\
         Proxy-Authorization: Digest {}\r\nContent-Type: application/sdp\r\n {}\r\n\r\n{body}",
        fill(9, "x"),
        fill(10, "p"),
        fill(11, "x"),
        fill(12, "p"),
        fill(13, "A"),
        fill(14, "x"),
        fill(15, "x"),
        fill(16, "x"),
        fill(17, "x"),
        fill(18, "x"),
        fill(19, "A"),
        fill(20, "100"),
        fill(21, "INVITE"),
        fill(22, "x"),
        fill(23, "x"),
        fill(24, "X-A"),
        fill(25, "x"),
        fill(26, "x"),
        fill(27, "x"),
        fill(28, "x"),
    )
}

const PLACES: usize = 29;
/// Places in which a number of four digits has another meaning, such as a port or a CSeq.
const SHORT_PLACES: [usize; 4] = [4, 11, 16, 21];

proptest! {
    #[test]
    fn no_trace_holds_a_number_of_the_call(
        digits in "[1-9][0-9]{8,13}",
        place in 0..PLACES,
        form in 0..4_usize,
    ) {
        let known = number(&format!("+{digits}"));
        let national = &digits[digits.len() - 9..];
        let text = match form {
            0 => digits.clone(),
            1 => format!("+{digits}"),
            2 => format!("00{digits}"),
            _ => format!("0{national}"),
        };
        let message = message_with(place, &text);
        let mut mask = Mask::new([known].into_iter(), false);
        mask.learn(message.as_bytes());
        let shown = mask.message(message.as_bytes());
        prop_assert!(!shown.contains(national), "{} at {}: {}", text, place, shown);
    }

    #[test]
    fn no_trace_holds_a_number_that_is_not_of_the_call(digits in "[1-9][0-9]{8,13}", place in 0..PLACES) {
        let message = message_with(place, &digits);
        // A CSeq may have any number up to 2^32.
        prop_assume!(place != 21);
        let shown = masked(&message, false);
        prop_assert!(!shown.contains(&digits), "{} at {}: {}", digits, place, shown);
    }

    #[test]
    fn no_trace_holds_a_pin(pin in "[1-9][0-9]{3}", place in 0..PLACES) {
        prop_assume!(!SHORT_PLACES.contains(&place) && !["4000", "8000"].contains(&pin.as_str()));
        let shown = masked(&message_with(place, &pin), false);
        let shown = shown.replace("192.0.2.1", "");
        prop_assert!(!shown.contains(&pin), "{} at {}: {}", pin, place, shown);
    }

    #[test]
    fn no_octets_make_the_mask_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut mask = Mask::new([number(VN)].into_iter(), false);
        mask.learn(&octets);
        mask.message(&octets);
        let message = [INVITE.as_bytes(), &octets].concat();
        mask.message(&message);
    }
}

fn started() -> CallStart {
    CallStart {
        at: Timestamp::from_micros(0),
        instant: Instant::now(),
    }
}

fn recorder(proven: bool) -> Recorder {
    Recorder::new(started(), "carrier".into(), proven)
}

/// Passes a request of a dialog from a host to the tracer.
fn receive(tracer: &mut CallTracer, host: &str, method: &str, call_id: &str) {
    let text = format!(
        "{method} sip:x@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK1\r\nFrom: <sip:x@{host}>;tag=1\r\n\
         To: <sip:x@192.0.2.1>\r\ni: {call_id}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    let message = SipMessage::from_datagram(text.into()).unwrap();
    let arrival = MessageArrival {
        transport: Transport::Udp,
        source: format!("{host}:5060").parse().unwrap(),
        local: None,
    };
    tracer.on_received(arrival, &message);
}

/// Returns the number of messages in the trace of a call.
fn messages(tracer: &mut CallTracer, call: CallId) -> usize {
    let recorder = tracer.remove(call).unwrap();
    recorder.masked(&owner(), &[]).entries.len()
}

#[test]
fn a_call_records_its_invite_and_the_messages_of_its_peer_only() {
    let (writer, _jobs) = TraceWriter::stalled();
    let mut tracer = CallTracer::new(writer);
    let (first, second) = (CallId(1), CallId(2));
    receive(&mut tracer, "192.0.2.2", "INVITE", "a");
    tracer.begin(first, Some("a"), started(), "carrier".into(), true);
    receive(&mut tracer, "192.0.2.2", "BYE", "a");
    receive(&mut tracer, "192.0.2.9", "BYE", "a");
    receive(&mut tracer, "192.0.2.2", "BYE", "b");
    // Another call with the same Call-ID does not take the messages of the first one over.
    tracer.begin(second, Some("a"), started(), "carrier".into(), true);
    receive(&mut tracer, "192.0.2.2", "INFO", "a");
    assert_eq!(messages(&mut tracer, second), 0);
    assert_eq!(messages(&mut tracer, first), 3);
    assert!(tracer.dialogs.is_empty() && tracer.calls.is_empty());
}

#[test]
fn traces_beyond_the_queue_are_dropped_and_counted() {
    let (writer, _jobs) = TraceWriter::stalled();
    let mut tracer = CallTracer::new(writer);
    let dropped = METRICS.traces_dropped.get();
    for call in 1..=3 {
        tracer.begin(CallId(call), None, started(), "carrier".into(), true);
        tracer.end(CallId(call), owner());
    }
    tracer.write_due(Instant::now());
    assert_eq!(tracer.calls.len(), 3, "responses may still arrive");
    let (reply, _written) = tokio::sync::oneshot::channel();
    tracer.flush(reply);
    assert!(tracer.calls.is_empty() && tracer.deadline().is_none());
    assert!(METRICS.traces_dropped.get() >= dropped + 2);
}

fn message(size: usize) -> RecordedMessage {
    RecordedMessage {
        received: true,
        transport: Transport::Udp,
        local: None,
        peer: "192.0.2.1:5060".parse().unwrap(),
        text: Bytes::from(vec![b'x'; size]),
    }
}

fn owner() -> TraceOwner {
    TraceOwner {
        tenant_id: TenantId::parse("acme").unwrap(),
        call_sid: CallSid::new(Timestamp::from_micros(0)),
        numbers: Vec::new(),
        hides_caller: false,
    }
}

/// Returns the number of messages of 1 KiB that a trace keeps.
fn kept_messages(mut recorder: Recorder, count: usize) -> (usize, bool) {
    for _ in 0..count {
        recorder.message(0, Instant::now(), message(1024));
    }
    let trace = recorder.masked(&owner(), &[]);
    (trace.entries.len(), trace.truncated)
}

#[test]
fn the_messages_of_a_trace_have_a_limit() {
    let most = MAX_TRACE_BYTES / 1024;
    assert_eq!(kept_messages(recorder(true), most), (most, false));
    assert_eq!(kept_messages(recorder(true), most + 1), (most, true));
    let most = MAX_UNPROVEN_TRACE_BYTES / 1024;
    assert_eq!(kept_messages(recorder(false), most + 1), (most, true));
    let mut proven = recorder(false);
    proven.prove();
    assert_eq!(kept_messages(proven, most + 1), (most + 1, false));
}

#[test]
fn the_entries_of_a_trace_have_a_limit() {
    let mut recorder = recorder(true);
    for _ in 0..=MAX_TRACE_ENTRIES {
        let method = "info".into();
        recorder.fact(Some(0), TraceFact::Digit { method });
    }
    let trace = recorder.masked(&owner(), &[]);
    assert_eq!(
        (trace.entries.len(), trace.truncated),
        (MAX_TRACE_ENTRIES, true)
    );
}

#[test]
fn the_media_facts_of_a_long_call_lie_further_apart() {
    let mut recorder = recorder(true);
    let leg = recorder.add_leg(
        "carrier".into(),
        PhoneNumber::parse("+919900000001").unwrap(),
    );
    let fact = |packets: u64| TraceFact::Media {
        codec: None,
        packets_received: packets,
        packets_lost: 0,
        packets_sent: 0,
        jitter_ms: 0.0,
        mos: None,
    };
    for position in 0..720 {
        recorder.media_so_far(0, fact(position));
        recorder.media_so_far(leg.unwrap(), fact(position));
    }
    let trace = recorder.masked(&owner(), &[]);
    assert!(!trace.truncated);
    for leg in [Some(0), leg] {
        let of_leg = trace.entries.iter().filter(|entry| entry.leg == leg);
        let kept: Vec<u64> = of_leg
            .map(|entry| match entry.fact {
                TraceFact::Media {
                    packets_received, ..
                } => packets_received,
                _ => unreachable!(),
            })
            .collect();
        assert!(
            (30..=MAX_MEDIA_FACTS / 2).contains(&kept.len()),
            "{}",
            kept.len()
        );
        let distance = kept[1] - kept[0];
        assert!(
            kept.windows(2).all(|pair| pair[1] - pair[0] == distance),
            "{kept:?}"
        );
    }
}
