//! rtpengine as the media gateway of a carrier, with a phone behind it and greenpin in front.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::party::{Party, exchange_audio, header};
use crate::support::ports::free_port;
use crate::support::process::ExternalProcess;
use crate::support::server::{Server, TIMEOUT, trunk};
use crate::support::webhook_inbox::WebhookInbox;

/// Value of a command to rtpengine, in bencode.
enum Bencode {
    Text(String),
    List(Vec<Self>),
    Dictionary(BTreeMap<&'static str, Self>),
}

impl Bencode {
    fn write(&self) -> String {
        let text = |text: &str| format!("{}:{text}", text.len());
        match self {
            Self::Text(word) => text(word),
            Self::List(words) => format!("l{}e", words.iter().map(Self::write).collect::<String>()),
            Self::Dictionary(words) => {
                let words = words.iter().map(|(key, word)| text(key) + &word.write());
                format!("d{}e", words.collect::<String>())
            }
        }
    }
}

fn word(text: &str) -> Bencode {
    Bencode::Text(text.to_owned())
}

/// rtpengine in user space, with its control socket.
struct Gateway {
    socket: UdpSocket,
    asked: u32,
    _peer: ExternalProcess,
}

impl Gateway {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The first port is for control, the following ones for audio.
        let port = free_port();
        let listen = format!("--listen-ng=127.0.0.1:{port}");
        let ports = [
            format!("--port-min={}", port + 2),
            format!("--port-max={}", port + 29),
        ];
        let arguments = [
            "--config-file=none",
            "--foreground",
            "--log-stderr",
            "--table=-1",
            "--interface=127.0.0.1",
        ];
        let arguments = [
            &arguments[..],
            &["--num-threads=1", &listen, &ports[0], &ports[1]],
        ]
        .concat();
        let peer = ExternalProcess::run("rtpengine", folder, &arguments);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .connect(SocketAddr::from(([127, 0, 0, 1], port)))
            .unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut gateway = Self {
            socket,
            asked: 0,
            _peer: peer,
        };
        gateway.send_command(BTreeMap::from([("command", word("ping"))]));
        gateway
    }

    /// Repeats a command with the same cookie until there is a response. rtpengine executes a cookie once.
    fn send_command(&mut self, words: BTreeMap<&'static str, Bencode>) -> String {
        self.asked += 1;
        let cookie = format!("question{} ", self.asked);
        let question = cookie.clone() + &Bencode::Dictionary(words).write();
        let deadline = Instant::now() + TIMEOUT;
        let mut buffer = [0; 4096];
        loop {
            assert!(Instant::now() < deadline, "rtpengine never answers");
            let _ = self.socket.send(question.as_bytes());
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some(answer) = answer.strip_prefix(&cookie) {
                return answer.to_owned();
            }
        }
    }

    /// Sends the description of one side and returns the description for the other side.
    fn exchange_sdp(
        &mut self,
        command: &str,
        sdp: &str,
        more: Vec<(&'static str, Bencode)>,
    ) -> String {
        let mut words = BTreeMap::from([
            ("command", word(command)),
            ("call-id", word("a-call")),
            ("from-tag", word("greenpin")),
            ("sdp", word(sdp)),
        ]);
        words.extend(more);
        let answer = self.send_command(words);
        let (_, sdp) = answer
            .split_once("3:sdp")
            .unwrap_or_else(|| panic!("{answer}"));
        let (length, sdp) = sdp.split_once(':').unwrap();
        sdp[..length.parse().unwrap()].to_owned()
    }
}

/// Runs a call with the agent behind the gateway. `codec` is the gateway's codec option. Returns the offer to the
/// gateway, its answer to greenpin, and the media report of the agent's leg.
fn call_through_a_gateway(
    of_trunk: &str,
    codec: Option<BTreeMap<&'static str, Bencode>>,
    talk: impl FnOnce(&mut Party, &mut Party),
) -> (String, String, Value) {
    let mut gateway = Gateway::open();
    let mut agent = Party::unconnected(AGENT);
    let callers = "[[trunks]]\nname = \"callers\"\naccept_from = [\"127.0.0.1/32\"]\n";
    let server = Server::with(&(callers.to_owned() + &trunk("gateway", agent.address(), of_trunk)));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    let invite = agent.receive_invite();
    let offer = invite.split_once("\r\n\r\n").unwrap().1.to_owned();
    let mut more = vec![
        ("transport-protocol", word("RTP/AVP")),
        ("ICE", word("remove")),
    ];
    more.extend(codec.map(|codec| ("codec", Bencode::Dictionary(codec))));
    let shown = gateway.exchange_sdp("offer", &offer, more);
    agent.set_audio_destination(&shown);
    let description = agent.description("sendrecv");
    let answer = gateway.exchange_sdp("answer", &description, vec![("to-tag", word("agent"))]);
    agent.respond_with_sdp(&answer);
    agent.serve("ACK");
    inbox.wait_for_event("call.answered");
    talk(&mut customer, &mut agent);
    customer.bye();
    agent.serve("BYE");
    let completed = inbox.wait_for_event("call.completed");
    let sid = completed["data"]["call_sid"].as_str().unwrap();
    assert_eq!(header(&invite, "Content-Type"), "application/sdp");
    (
        offer,
        answer,
        server.get(&format!("/calls/{sid}"))["callee_media"].take(),
    )
}

#[test]
fn audio_passes_both_ways_through_a_gateway_with_srtp_on_our_side_only() {
    let (offer, answer, media) =
        call_through_a_gateway("srtp = \"required\"", None, |customer, agent| {
            exchange_audio(customer, 0x2a, agent, 0x9c);
        });
    assert!(
        offer.contains("RTP/SAVP") && answer.contains("RTP/SAVP"),
        "{answer}"
    );
    let suite = answer
        .split_once("a=crypto:")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap();
    assert_eq!(
        (&media["srtp"], &media["codec"]),
        (&json!(suite), &json!("PCMA")),
        "{answer}"
    );
    assert!(
        media["packets_received"]
            .as_u64()
            .is_some_and(|packets| packets > 0),
        "{media}"
    );
}

#[test]
fn audio_passes_both_ways_through_a_gateway_that_transcodes_to_g722() {
    let codec = BTreeMap::from([
        ("transcode", Bencode::List(vec![word("PCMA")])),
        ("mask", Bencode::List(vec![word("G722")])),
    ]);
    let of_trunk = "srtp = \"required\"\ncodecs = [\"g722\"]";
    let (offer, _, media) = call_through_a_gateway(of_trunk, Some(codec), |customer, agent| {
        let deadline = Instant::now() + TIMEOUT;
        let (mut one, mut other) = (false, false);
        while !(one && other) {
            assert!(
                Instant::now() < deadline,
                "one of them hears nothing: {one} {other}"
            );
            one |= customer.send_and_check_audio();
            other |= agent.send_and_check_audio();
        }
    });
    assert!(
        offer.contains("G722/8000") && !offer.contains("PCMA"),
        "{offer}"
    );
    assert_eq!(media["codec"], "G722", "{media}");
}
