//! Telephone written for the tests, on plain text and plain sockets. It shares no signalling code with the server,
//! sends arbitrary messages, and stores every received byte.
//!
//! This file has the signalling, `media` the audio.

mod media;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use self::media::exchange_audio;
use self::media::{Crypto, INLINE};
use super::server::TIMEOUT;

const EVENT_PAYLOAD_TYPE: u8 = 97;

/// Party with one call at a time.
pub struct Party {
    /// Number of the party. Every header and field that could carry it does so.
    pub number: String,
    server: SocketAddr,
    sip: UdpSocket,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// All data received over SIP, RTP and RTCP.
    pub received: Vec<u8>,
    /// Current request of a called party, or last final response to a caller.
    pub last: String,
    call_id: String,
    sequence: u32,
    remote_to: String,
    remote_target: String,
    remote_rtp: Option<SocketAddr>,
    /// Destination of RTCP, if the server has named one.
    remote_rtcp: Option<SocketAddr>,
    rtp_sequence: u16,
    rtp_timestamp: u32,
    invite_branch: String,
    /// Additional header lines of the INVITE.
    extra_headers: String,
    /// Payload types in the party's session descriptions.
    formats: &'static str,
    /// Address of the audio in the party's session descriptions.
    media_host: &'static str,
    /// Attributes of the payload types other than A-law.
    maps: &'static str,
    /// Received keys, by RTP timestamp.
    presses: Vec<(u32, u8)>,
    /// Encryption of the audio.
    crypto: Option<Crypto>,
    /// Source of the last SIP message.
    source: Option<SocketAddr>,
}

/// Number of parties created so far.
static PARTIES: AtomicU32 = AtomicU32::new(0);

impl Party {
    /// Creates a party with a number and a server.
    pub fn new(number: &str, server: SocketAddr) -> Self {
        super::time_limit::watch();
        let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (rtp, rtcp) = port_pair();
        for socket in [&sip, &rtp, &rtcp] {
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
        }
        // The system can reuse a port before the server forgets a transaction.
        let unique = format!(
            "{}-{}",
            sip.local_addr().unwrap().port(),
            PARTIES.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            number: number.to_owned(),
            server,
            sip,
            rtp,
            rtcp,
            received: Vec::new(),
            last: String::new(),
            call_id: format!("{unique}-{number}"),
            sequence: 1,
            remote_to: String::new(),
            remote_target: String::new(),
            remote_rtp: None,
            remote_rtcp: None,
            rtp_sequence: 7,
            rtp_timestamp: 1000,
            invite_branch: format!("z9hG4bK{unique}"),
            extra_headers: String::new(),
            formats: "8",
            media_host: "127.0.0.1",
            maps: "",
            presses: Vec::new(),
            crypto: None,
            source: None,
        }
    }

    /// Returns the source of the last SIP message.
    pub fn last_source(&self) -> SocketAddr {
        self.source.unwrap()
    }

    /// Creates a party without a server, to be called or connected later.
    pub fn unconnected(number: &str) -> Self {
        Self::new(number, "127.0.0.1:9".parse().unwrap())
    }

    /// Adds header lines to later INVITEs.
    pub fn add_headers(&mut self, headers: &str) {
        headers.clone_into(&mut self.extra_headers);
    }

    /// Sets the payload types of later session descriptions.
    pub fn set_codecs(&mut self, formats: &'static str) {
        self.formats = formats;
    }

    /// Sets the address or host name of the audio in later session descriptions. The audio itself stays at 127.0.0.1.
    pub fn set_media_host(&mut self, host: &'static str) {
        self.media_host = host;
    }

    /// Sets payload types with their attributes.
    pub fn set_codecs_with_attributes(&mut self, formats: &'static str, maps: &'static str) {
        (self.formats, self.maps) = (formats, maps);
    }

    /// Returns the SIP address.
    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    /// Sets the address of the server.
    pub fn set_server(&mut self, server: SocketAddr) {
        self.server = server;
    }

    fn sdp(&self, events: bool) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        let (number, maps, host) = (&self.number, self.maps, self.media_host);
        let (format, map) = if events {
            let map = format!("{maps}a=rtpmap:{EVENT_PAYLOAD_TYPE} telephone-event/8000\r\n");
            (format!("{} {EVENT_PAYLOAD_TYPE}", self.formats), map)
        } else {
            (self.formats.to_owned(), maps.to_owned())
        };
        let (protocol, key) = match &self.crypto {
            Some(crypto) => (crypto.protocol, format!("a=crypto:1 {INLINE}\r\n")),
            None => ("RTP/AVP", String::new()),
        };
        format!(
            "v=0\r\no={number} 1 1 IN IP4 127.0.0.1\r\ns=call of {number}\r\ni={number}\r\nu=sip:{number}@example.com\r\n\
             c=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} {protocol} {format}\r\na=rtpmap:8 PCMA/8000\r\n{map}{key}\
             a=x-number:{number}\r\na=sendrecv\r\n"
        )
    }

    /// Returns every header known to carry a number, each with the party's own number.
    fn canaries(&self) -> String {
        let number = &self.number;
        let spaced = format!("{} {}", &number[..3], &number[3..]);
        format!(
            "P-Asserted-Identity: \"{number}\" <sip:{number}@example.com>\r\nP-Preferred-Identity: <tel:{number}>\r\n\
             Remote-Party-ID: <sip:{number}@example.com>;party=calling\r\nDiversion: <sip:{number}@example.com>\r\n\
             History-Info: <sip:{number}@example.com>;index=1\r\nReferred-By: <sip:{number}@example.com>\r\n\
             Identity: {number}\r\nUser-Agent: phone of {spaced}\r\nServer: {spaced}\r\nSubject: {number}\r\n\
             Organization: {number}\r\nReply-To: <sip:{number}@example.com>\r\nCall-Info: <sip:{number}@example.com>\r\n\
             Alert-Info: <sip:{number}@example.com>\r\nReason: SIP;cause=200;text=\"{number}\"\r\n\
             Geolocation: <sip:{number}@example.com>\r\nX-Number: {number}\r\nSupported: histinfo\r\n"
        )
    }

    /// Sends an arbitrary message.
    pub fn send_sip(&self, message: &str) {
        self.send(message);
    }

    fn send(&self, message: &str) {
        self.sip.send_to(message.as_bytes(), self.server).unwrap();
    }

    /// Sends an INVITE. `events` offers telephone-event.
    pub fn invite_with(&mut self, called: &str, events: bool) {
        let (address, number, branch) = (
            self.address(),
            self.number.clone(),
            self.invite_branch.clone(),
        );
        let body = self.sdp(events);
        self.remote_target = format!("sip:{called}@{}", self.server);
        self.remote_to = format!("<sip:{called}@{}>", self.server);
        let message = format!(
            "INVITE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"{number}\" <sip:{number}@{address}>;tag=caller\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:{number}@{address}>\r\n{canaries}{extra_headers}Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            target = self.remote_target,
            to = self.remote_to,
            call_id = self.call_id,
            canaries = self.canaries(),
            extra_headers = self.extra_headers,
            length = body.len(),
        );
        self.send(&message);
    }

    /// Calls a number and returns the final status. Acknowledges a 2xx.
    pub fn call(&mut self, called: &str) -> u16 {
        self.invite_with(called, true);
        self.final_response()
    }

    /// Waits for the final status of the INVITE and acknowledges it.
    pub fn final_response(&mut self) -> u16 {
        let status = loop {
            let message = self.wait_for_message(|text| {
                text.starts_with("SIP/2.0 ") && text.contains(" INVITE\r\n")
            });
            let status: u16 = message[8..11].parse().unwrap();
            self.last = message;
            if status >= 200 {
                break status;
            }
        };
        self.remote_to = header(&self.last, "To");
        let branch = if status < 300 {
            format!("{}-ack", self.invite_branch)
        } else {
            self.invite_branch.clone()
        };
        if status < 300 {
            self.remote_target = uri(&header(&self.last, "Contact"));
            self.remote_rtp = Some(media_address(&self.last));
            self.read_server_key(&self.last.clone());
        }
        let ack = self.request("ACK", 1, &branch, "", "");
        self.send(&ack);
        status
    }

    fn request(
        &self,
        method: &str,
        sequence: u32,
        branch: &str,
        headers: &str,
        body: &str,
    ) -> String {
        let (address, number) = (self.address(), &self.number);
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"{number}\" <sip:{number}@{address}>;tag=caller\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:{number}@{address}>\r\n{canaries}{headers}\
             Content-Length: {length}\r\n\r\n{body}",
            target = self.remote_target,
            to = self.remote_to,
            call_id = self.call_id,
            canaries = self.canaries(),
            length = body.len(),
        )
    }

    /// Sends a request within the dialog and returns the status of its response.
    pub fn send_in_dialog(&mut self, method: &str, headers: &str, body: &str) -> u16 {
        self.sequence += 1;
        let sequence = self.sequence;
        let branch = format!("{}{method}{sequence}", self.invite_branch);
        let request = self.request(method, sequence, &branch, headers, body);
        self.send(&request);
        let wanted = format!("CSeq: {sequence} {method}\r\n");
        let response =
            self.wait_for_message(|text| text.starts_with("SIP/2.0 ") && text.contains(&wanted));
        let status = response[8..11].parse().unwrap();
        self.last = response;
        status
    }

    /// Builds a request within the dialog, to be sent from another source.
    pub fn build_in_dialog(&self, method: &str, headers: &str, body: &str) -> String {
        self.request(
            method,
            self.sequence + 1,
            &format!("z9hG4bKforged{method}"),
            headers,
            body,
        )
    }

    /// Hangs up.
    pub fn bye(&mut self) {
        assert_eq!(self.send_in_dialog("BYE", "", ""), 200);
    }

    /// Waits for an INVITE and stores it.
    pub fn receive_invite(&mut self) -> String {
        let invite = self.wait_for_message(|text| text.starts_with("INVITE "));
        self.remote_rtp = Some(media_address(&invite));
        self.read_server_key(&invite);
        self.last = invite.clone();
        invite
    }

    /// Waits for a re-INVITE and stores it.
    pub fn receive_reinvite(&mut self) -> String {
        let known = self
            .last
            .starts_with("INVITE ")
            .then(|| header(&self.last, "CSeq"));
        let invite = self.wait_for_message(|text| {
            text.starts_with("INVITE ") && known.as_ref() != Some(&header(text, "CSeq"))
        });
        self.remote_rtp = Some(media_address(&invite));
        self.remote_rtcp = rtcp_address(&invite);
        self.last.clone_from(&invite);
        invite
    }

    /// Waits for a re-INVITE and accepts it.
    pub fn accept_reinvite(&mut self) {
        self.receive_reinvite();
        self.respond(200);
        self.serve("ACK");
    }

    /// Returns the destination of the audio.
    pub fn audio_destination(&self) -> Option<SocketAddr> {
        self.remote_rtp
    }

    /// Restores the destination of the audio after a rejected re-INVITE.
    pub fn keep_audio_destination(&mut self, before: Option<SocketAddr>) {
        (self.remote_rtp, self.remote_rtcp) = (before, None);
    }

    /// Returns the address for received audio.
    pub fn audio_address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    /// Returns the INVITE, if one arrives within 2 s.
    pub fn poll_invite(&mut self) -> Option<String> {
        let mut buffer = [0; 65_535];
        self.sip
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let received = self.sip.recv_from(&mut buffer);
        self.sip
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let (length, _) = received.ok()?;
        self.received.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        text.starts_with("INVITE ").then(|| {
            self.last.clone_from(&text);
            text
        })
    }

    /// Responds to the INVITE with a status, and with a session description for 200.
    pub fn respond(&mut self, status: u16) {
        let invite = self.last.clone();
        let body = if status == 200 {
            self.sdp(true)
        } else {
            String::new()
        };
        let content = if status == 200 {
            "Content-Type: application/sdp\r\n"
        } else {
            ""
        };
        self.reply(&invite, status, content, &body);
    }

    /// Sends a provisional response to the INVITE with a session description, before the answer.
    pub fn respond_early(&self, status: u16) {
        let content = "Content-Type: application/sdp\r\n";
        self.reply(&self.last, status, content, &self.sdp(true));
    }

    /// Responds to the INVITE with a given session description.
    pub fn respond_with_sdp(&mut self, description: &str) {
        self.reply(
            &self.last,
            200,
            "Content-Type: application/sdp\r\n",
            description,
        );
    }

    /// Sets the destination of the audio from a session description.
    pub fn set_audio_destination(&mut self, description: &str) {
        self.remote_rtp = Some(media_address(description));
    }

    /// Waits for a request other than an INVITE, responds with a status and header lines, and returns the request.
    pub fn serve_with(&mut self, method: &str, status: u16, headers: &str) -> String {
        let start = format!("{method} ");
        let request = self.wait_for_message(|text| text.starts_with(&start));
        self.reply(&request, status, headers, "");
        request
    }

    /// Rejects the INVITE with further header lines.
    pub fn refuse_with(&mut self, status: u16, headers: &str) {
        self.reply(&self.last.clone(), status, headers, "");
    }

    fn reply(&self, request: &str, status: u16, headers: &str, body: &str) {
        let (address, number) = (self.address(), &self.number);
        let to = header(request, "To");
        let tag = if to.contains("tag=") {
            ""
        } else {
            ";tag=callee"
        };
        let vias: String = request
            .lines()
            .filter(|line| line.starts_with("Via: "))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let message = format!(
            "SIP/2.0 {status} {number}\r\n{vias}From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq}\r\nContact: \"{number}\" <sip:{number}@{address}>\r\n{canaries}{headers}\
             Content-Length: {length}\r\n\r\n{body}",
            from = header(request, "From"),
            call_id = header(request, "Call-ID"),
            cseq = header(request, "CSeq"),
            canaries = self.canaries(),
            length = body.len(),
        );
        self.send(&message);
    }

    /// Waits for a request, responds with 200, and returns the request.
    pub fn serve(&mut self, method: &str) -> String {
        let start = format!("{method} ");
        let request = self.wait_for_message(|text| text.starts_with(&start));
        if method != "ACK" {
            self.reply(&request, 200, "", "");
        }
        request
    }

    /// Hangs up as the called party.
    pub fn bye_as_callee(&mut self) {
        let (invite, address) = (self.last.clone(), self.address());
        let message = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKcalleebye;rport\r\nMax-Forwards: 70\r\n\
             From: {from}{tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n{canaries}\
             Content-Length: 0\r\n\r\n",
            target = uri(&header(&invite, "Contact")),
            from = header(&invite, "To"),
            tag = if header(&invite, "To").contains("tag=") {
                ""
            } else {
                ";tag=callee"
            },
            to = header(&invite, "From"),
            call_id = header(&invite, "Call-ID"),
            canaries = self.canaries(),
        );
        self.send(&message);
        self.wait_for_message(|text| {
            text.starts_with("SIP/2.0 200") && text.contains("CSeq: 1 BYE\r\n")
        });
    }

    /// Waits for a matching SIP message. Other messages are stored and skipped.
    pub fn wait_for_message(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let mut buffer = [0; 65_535];
        while Instant::now() < deadline {
            self.drain_media();
            let Ok((length, source)) = self.sip.recv_from(&mut buffer) else {
                continue;
            };
            self.source = Some(source);
            self.received.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if fits(&text) {
                return text;
            }
        }
        panic!(
            "expected message not received; the last one was:\n{}",
            self.last
        );
    }

    /// Returns the session description with another direction.
    pub fn description(&self, direction: &str) -> String {
        self.sdp(true).replace("sendrecv", direction)
    }

    /// Acknowledges the 2xx to a re-INVITE.
    pub fn acknowledge(&self) {
        let sequence = self.sequence;
        let ack = self.request("ACK", sequence, &format!("z9hG4bKACK{sequence}"), "", "");
        self.send(&ack);
    }

    /// Presses keys by SIP INFO.
    pub fn press_by_info(&mut self, keys: &str) {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=100\r\n");
            assert_eq!(
                self.send_in_dialog("INFO", "Content-Type: application/dtmf-relay\r\n", &body),
                200
            );
        }
    }
}

/// Returns the value of a header.
pub fn header(message: &str, name: &str) -> String {
    let start = format!("{name}: ");
    let line = message.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("no {name} in:\n{message}"))[start.len()..].to_owned()
}

fn uri(address: &str) -> String {
    address
        .split(['<', '>'])
        .nth(1)
        .unwrap_or(address)
        .to_owned()
}

fn media_address(message: &str) -> SocketAddr {
    let word = |prefix: &str, index: usize| {
        let line = message
            .lines()
            .find(|line| line.starts_with(prefix))
            .unwrap();
        line.split_whitespace().nth(index).unwrap().to_owned()
    };
    format!("{}:{}", word("c=", 2), word("m=audio", 1))
        .parse()
        .unwrap()
}

/// Returns the address in `a=rtcp`.
fn rtcp_address(message: &str) -> Option<SocketAddr> {
    let (port, address) = message
        .lines()
        .find_map(|line| line.strip_prefix("a=rtcp:"))?
        .split_once(" IN IP4 ")?;
    format!("{address}:{port}").parse().ok()
}

fn port_pair() -> (UdpSocket, UdpSocket) {
    loop {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = rtp.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1).filter(|_| port.is_multiple_of(2))
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", next))
        {
            return (rtp, rtcp);
        }
    }
}
