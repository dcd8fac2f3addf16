//! INVITEs with the address of a trunk from somebody who does not receive the responses.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use serde_json::json;

use crate::support::call_setup::{CUSTOMER, CallSetup, VN, pin_of};
use crate::support::party::header;
use crate::support::server::TIMEOUT;

/// More INVITEs than a trunk may have calls without an ACK.
const FORGED: usize = 300;
const MAX_UNPROVEN: usize = 256;

fn forged_invite(index: usize, signalling: SocketAddr, media: SocketAddr) -> String {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n",
        ip = media.ip(),
        port = media.port(),
    );
    format!(
        "INVITE sip:{VN}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {signalling};branch=z9hG4bKforged{index};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{CUSTOMER}@127.0.0.1>;tag=forged{index}\r\nTo: <sip:{VN}@127.0.0.1>\r\n\
         Call-ID: forged{index}\r\nCSeq: 1 INVITE\r\nContact: <sip:{CUSTOMER}@{signalling}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
        length = body.len(),
    )
}

/// Returns the next messages until enough of them have this start.
fn receive(socket: &UdpSocket, start: &str, count: usize) -> Vec<String> {
    let (mut found, mut buffer) = (Vec::new(), [0; 4096]);
    while found.len() < count {
        let length = socket.recv(&mut buffer).expect("the server sends more");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with(start) && !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// Sends each digit of a PIN as telephone-event packets (RFC 4733).
fn press(socket: &UdpSocket, target: SocketAddr, pin: &str) {
    for (index, digit) in pin.bytes().enumerate() {
        let timestamp = 1000 * (index as u32 + 1);
        for (sequence, end) in [(0_u16, 0x00), (1, 0x80), (2, 0x80)] {
            let mut packet = vec![0x80, 101];
            packet.extend((index as u16 * 3 + sequence).to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend([0, 0, 0, 1, digit - b'0', end | 10, 0x03, 0x20]);
            socket.send_to(&packet, target).unwrap();
        }
    }
}

#[test]
fn calls_with_a_forged_source_hear_nothing_dial_nobody_and_harm_no_call() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.both_talk();

    let (signalling, media) = (socket(), socket());
    let (source, audio) = (
        signalling.local_addr().unwrap(),
        media.local_addr().unwrap(),
    );
    signalling
        .send_to(forged_invite(0, source, audio).as_bytes(), setup.server.sip)
        .unwrap();
    let answer = receive(&signalling, "SIP/2.0 200", 1).remove(0);
    // A real forger does not see this port.
    let port = answer.split_once("m=audio ").unwrap().1;
    let port: u16 = port.split(' ').next().unwrap().parse().unwrap();
    let target = SocketAddr::new(audio.ip(), port);
    press(&media, target, pin_of(&allocation));
    for index in 1..FORGED {
        signalling
            .send_to(
                forged_invite(index, source, audio).as_bytes(),
                setup.server.sip,
            )
            .unwrap();
    }
    // The oldest calls make room for the newer ones; the first one is among them.
    let ended = receive(&signalling, "BYE ", FORGED - MAX_UNPROVEN);
    assert!(
        ended
            .iter()
            .any(|bye| header(bye, "Call-ID") == header(&answer, "Call-ID"))
    );
    media.set_nonblocking(true).unwrap();
    let heard = media.recv(&mut [0; 2000]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "audio was sent");
    assert_eq!(setup.agent.poll_invite(), None, "somebody was dialled");

    setup.both_talk();
    setup.hang_up();
    let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
    let (_, answer) = setup.server.request("GET", &path, None);
    assert_eq!(answer["response"]["failed_pin_attempts"], 0);
    assert_eq!(answer["response"]["call_count"], 1);
    // A caller who receives the answer is connected while the forged calls still wait.
    let mut caller = crate::support::party::Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(caller.call(VN), 200);
    caller.wait_for_any_audio();
    caller.press(pin_of(&allocation));
    setup.agent.receive_invite();
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}
