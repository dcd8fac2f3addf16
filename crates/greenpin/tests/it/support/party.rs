//! A telephone written for the tests, of plain text and plain sockets: it shares no code with the server, says
//! whatever a test wants said, and keeps every byte that it receives.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);
const EVENT_PAYLOAD_TYPE: u8 = 97;

/// One party of a call, with one call at a time.
pub struct Party {
    /// Its own number: in every header and field that could carry it.
    pub number: String,
    server: SocketAddr,
    sip: UdpSocket,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// All that was received over SIP, RTP and RTCP.
    pub received: Vec<u8>,
    /// The request under way (as called party), or the last final response (as caller).
    pub last: String,
    call_id: String,
    sequence: u32,
    remote_to: String,
    remote_target: String,
    remote_rtp: Option<SocketAddr>,
    /// Where it sends RTCP, if that was named.
    remote_rtcp: Option<SocketAddr>,
    rtp_sequence: u16,
    rtp_timestamp: u32,
    invite_branch: String,
    /// Header lines of its INVITE beside the usual ones.
    more: String,
    /// Codecs that it offers and answers with, as payload types.
    formats: &'static str,
    /// Attributes of those beside A-law.
    maps: &'static str,
    /// Keys that were heard, by RTP timestamp.
    presses: Vec<(u32, u8)>,
    /// How it offers and answers encrypted audio.
    crypto: Option<Crypto>,
}

/// Encrypted audio of a party: `AES_CM_128_HMAC_SHA1_80` with a key of its own.
struct Crypto {
    protocol: &'static str,
    seals: media::SrtpSender,
    /// Known with the server's description.
    opens: Option<media::SrtpReceiver>,
}

const SUITE: media::SrtpSuite = media::SrtpSuite::AesCm128HmacSha1_80;
/// Parties that there were.
static PARTIES: AtomicU32 = AtomicU32::new(0);
/// The key of every party that encrypts, and as it stands in a description.
const KEY: &[u8; 30] = b"thirty octets, known to a test";
const INLINE: &str = "AES_CM_128_HMAC_SHA1_80 inline:dGhpcnR5IG9jdGV0cywga25vd24gdG8gYSB0ZXN0";

impl Party {
    /// A party with a number that talks to `server`; without one, it waits to be called.
    pub fn new(number: &str, server: SocketAddr) -> Self {
        super::time_limit::watch();
        let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (rtp, rtcp) = port_pair();
        for socket in [&sip, &rtp, &rtcp] {
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
        }
        // A port comes again sooner than a server forgets a transaction.
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
            more: String::new(),
            formats: "8",
            maps: "",
            presses: Vec::new(),
            crypto: None,
        }
    }

    /// From now on its INVITEs carry further header lines.
    pub fn say_also(&mut self, headers: &str) {
        headers.clone_into(&mut self.more);
    }

    /// From now on it names these payload types in its descriptions.
    pub fn speak(&mut self, formats: &'static str) {
        self.formats = formats;
    }

    /// The same with attributes of its own.
    pub fn speak_with(&mut self, formats: &'static str, maps: &'static str) {
        (self.formats, self.maps) = (formats, maps);
    }

    /// From now on it offers its audio encrypted under this protocol, or in clear with keys beside it.
    pub fn encrypt(&mut self, protocol: &'static str) {
        let seals = media::SrtpSender::new(SUITE, KEY).unwrap();
        self.crypto = Some(Crypto {
            protocol,
            seals,
            opens: None,
        });
    }

    /// Takes the server's key from its description, where it encrypts.
    fn take_key(&mut self, description: &str) {
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

    /// The next RTP packet, opened where it is encrypted; `None` if none comes soon.
    fn rtp_packet(&mut self) -> Option<Vec<u8>> {
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
                .expect("the server seals with its key"),
            None => length,
        };
        Some(buffer[..opened].to_vec())
    }

    /// Where it takes calls.
    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    /// Where the calls that it takes come from, once the server is known.
    pub fn set_server(&mut self, server: SocketAddr) {
        self.server = server;
    }

    fn sdp(&self, events: bool) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        let (number, maps) = (&self.number, self.maps);
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
             c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} {protocol} {format}\r\na=rtpmap:8 PCMA/8000\r\n{map}{key}\
             a=x-number:{number}\r\na=sendrecv\r\n"
        )
    }

    /// Every header in which a number has ever travelled, each with the party's own.
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

    /// Sends a message of a test's own making.
    pub fn say_sip(&self, message: &str) {
        self.send(message);
    }

    fn send(&self, message: &str) {
        self.sip.send_to(message.as_bytes(), self.server).unwrap();
    }

    /// Calls a number. `events`: offer telephone-event.
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
             CSeq: 1 INVITE\r\nContact: <sip:{number}@{address}>\r\n{canaries}{more}Content-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{body}",
            target = self.remote_target,
            to = self.remote_to,
            call_id = self.call_id,
            canaries = self.canaries(),
            more = self.more,
            length = body.len(),
        );
        self.send(&message);
    }

    /// Calls a number and returns the final status; a 2xx is acknowledged.
    pub fn call(&mut self, called: &str) -> u16 {
        self.invite_with(called, true);
        self.final_response()
    }

    /// The final status of the INVITE under way; acknowledged as it must be.
    pub fn final_response(&mut self) -> u16 {
        let status = loop {
            let message =
                self.message(|text| text.starts_with("SIP/2.0 ") && text.contains(" INVITE\r\n"));
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
            self.take_key(&self.last.clone());
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

    /// A request within the call, and the status that it was answered with.
    pub fn within(&mut self, method: &str, headers: &str, body: &str) -> u16 {
        self.sequence += 1;
        let sequence = self.sequence;
        let branch = format!("{}{method}{sequence}", self.invite_branch);
        let request = self.request(method, sequence, &branch, headers, body);
        self.send(&request);
        let wanted = format!("CSeq: {sequence} {method}\r\n");
        let answer = self.message(|text| text.starts_with("SIP/2.0 ") && text.contains(&wanted));
        let status = answer[8..11].parse().unwrap();
        self.last = answer;
        status
    }

    /// A request within the call as the party would send it, for somebody else to send.
    pub fn forged(&self, method: &str, headers: &str, body: &str) -> String {
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
        assert_eq!(self.within("BYE", "", ""), 200);
    }

    /// Waits to be called, and remembers the INVITE.
    pub fn invited(&mut self) -> String {
        let invite = self.message(|text| text.starts_with("INVITE "));
        self.remote_rtp = Some(media_address(&invite));
        self.take_key(&invite);
        self.last = invite.clone();
        invite
    }

    /// Waits for a new INVITE within the call, and remembers it.
    pub fn reinvited(&mut self) -> String {
        let known = self
            .last
            .starts_with("INVITE ")
            .then(|| header(&self.last, "CSeq"));
        let invite = self.message(|text| {
            text.starts_with("INVITE ") && known.as_ref() != Some(&header(text, "CSeq"))
        });
        self.remote_rtp = Some(media_address(&invite));
        self.remote_rtcp = rtcp_address(&invite);
        self.last.clone_from(&invite);
        invite
    }

    /// Waits for a new INVITE within the call, and takes it.
    pub fn redirected(&mut self) {
        self.reinvited();
        self.respond(200);
        self.served("ACK");
    }

    /// Where it sends its audio.
    pub fn sends_to(&self) -> Option<SocketAddr> {
        self.remote_rtp
    }

    /// It has refused to send elsewhere.
    pub fn goes_on_sending_to(&mut self, before: Option<SocketAddr>) {
        (self.remote_rtp, self.remote_rtcp) = (before, None);
    }

    /// Where it takes audio.
    pub fn audio_address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    /// The INVITE, if one comes soon.
    pub fn invited_soon(&mut self) -> Option<String> {
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

    /// Answers the INVITE: a provisional or final status, with audio where it is a 2xx.
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

    /// Answers the INVITE with a description of a test's own making.
    pub fn answer_with(&mut self, description: &str) {
        self.reply(
            &self.last,
            200,
            "Content-Type: application/sdp\r\n",
            description,
        );
    }

    /// From now on it sends its audio where a description says.
    pub fn sends_audio_as(&mut self, description: &str) {
        self.remote_rtp = Some(media_address(description));
    }

    /// Waits for a request other than an INVITE, answers it with a status and further header lines, and returns it.
    pub fn served_with(&mut self, method: &str, status: u16, headers: &str) -> String {
        let start = format!("{method} ");
        let request = self.message(|text| text.starts_with(&start));
        self.reply(&request, status, headers, "");
        request
    }

    /// Refuses the INVITE with further header lines.
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

    /// Waits for a request, answers it with 200, and returns it.
    pub fn served(&mut self, method: &str) -> String {
        let start = format!("{method} ");
        let request = self.message(|text| text.starts_with(&start));
        if method != "ACK" {
            self.reply(&request, 200, "", "");
        }
        request
    }

    /// As the called party: hangs up on the caller.
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
        self.message(|text| text.starts_with("SIP/2.0 200") && text.contains("CSeq: 1 BYE\r\n"));
    }

    /// The next SIP message that fits; everything else is kept and passed over.
    pub fn message(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 65_535];
        while Instant::now() < deadline {
            self.drain_media();
            let Ok((length, _)) = self.sip.recv_from(&mut buffer) else {
                continue;
            };
            self.received.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if fits(&text) {
                return text;
            }
        }
        panic!(
            "the message that was waited for did not come; the last was:\n{}",
            self.last
        );
    }

    /// Waits until the server has nothing more to say: its prompts are over.
    pub fn until_quiet(&mut self) {
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

    /// Waits for a packet of RTCP.
    pub fn hear_rtcp(&mut self) {
        let mut buffer = [0; 2048];
        self.rtcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let (length, _) = self.rtcp.recv_from(&mut buffer).expect("RTCP comes");
        self.received.extend_from_slice(&buffer[..length]);
        self.rtcp
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
    }

    /// Its session description with another direction.
    pub fn description(&self, direction: &str) -> String {
        self.sdp(true).replace("sendrecv", direction)
    }

    /// The ACK of a 2xx to a new INVITE within the call.
    pub fn acknowledge(&self) {
        let sequence = self.sequence;
        let ack = self.request("ACK", sequence, &format!("z9hG4bKACK{sequence}"), "", "");
        self.send(&ack);
    }

    fn drain_media(&mut self) {
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

    /// Presses keys by RFC 4733, each packet sent `copies` times.
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

    /// Presses a key by RFC 4733 of which only the first packet arrives.
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

    /// Presses keys by RFC 4733, in clear although the call is encrypted.
    pub fn press_in_clear(&mut self, keys: &str) {
        let crypto = self.crypto.take();
        self.press(keys);
        self.crypto = crypto;
    }

    /// Presses keys as tones in its audio, G.711 A-law.
    pub fn sound(&mut self, keys: &str) {
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

    /// Presses keys by SIP INFO.
    pub fn press_by_info(&mut self, keys: &str) {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=100\r\n");
            assert_eq!(
                self.within("INFO", "Content-Type: application/dtmf-relay\r\n", &body),
                200
            );
        }
    }

    /// Sends RTCP whose CNAME is the party's number.
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

    /// Says one packet of G.711 A-law made of one octet, with a header extension that holds the party's number.
    pub fn say(&mut self, octet: u8) {
        self.rtp_timestamp += 160;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(8, false, timestamp, &[octet; 160]);
    }

    /// Says one packet of G.711 A-law that comes twice.
    pub fn say_twice(&mut self, octet: u8) {
        self.say(octet);
        self.rtp_sequence = self.rtp_sequence.wrapping_sub(1);
        self.send_rtp(8, false, self.rtp_timestamp, &[octet; 160]);
    }

    /// Says one packet of this payload type that lasts so many ticks of its clock.
    pub fn say_packet(&mut self, payload_type: u8, ticks: u32, payload: &[u8]) {
        self.rtp_timestamp += ticks;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(payload_type, false, timestamp, payload);
    }

    /// Says one packet of comfort noise (RFC 3389).
    pub fn say_noise(&mut self, payload: &[u8]) {
        self.rtp_timestamp += 160;
        let timestamp = self.rtp_timestamp;
        self.send_rtp(13, false, timestamp, payload);
    }

    /// Waits for a packet of this payload type that fits; gives its payload.
    pub fn hears_packet(&mut self, payload_type: u8, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(
                Instant::now() < deadline,
                "no packet of payload type {payload_type} came"
            );
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if packet.len() > 12 && packet[1] & 0x7f == payload_type && fits(&packet[12..]) {
                return packet[12..].to_vec();
            }
        }
    }

    /// The payloads of this payload type that come until none comes for 20 ms: whoever says one packet at a time and waits
    /// so speaks no faster than a phone.
    pub fn hears_until_quiet(&mut self, payload_type: u8) -> Vec<Vec<u8>> {
        let packets = std::iter::from_fn(|| self.rtp_packet());
        let packets =
            packets.filter(|packet| packet.len() > 12 && packet[1] & 0x7f == payload_type);
        packets.map(|packet| packet[12..].to_vec()).collect()
    }

    /// Says something until both parties have heard what they wait for: audio made of one octet.
    fn hear(&mut self, octet: u8, own: u8, deaf: &AtomicUsize) {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = false;
        while deaf.load(Ordering::SeqCst) > 0 {
            assert!(
                Instant::now() < deadline,
                "one party did not hear the other"
            );
            self.say(own);
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if !heard && packet.len() > 100 && packet[12..].iter().all(|byte| *byte == octet) {
                heard = true;
                deaf.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits until a packet of audio made of one octet is heard.
    pub fn hears(&mut self, octet: u8) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(
                Instant::now() < deadline,
                "the party never heard {octet:#x}"
            );
            let Some(packet) = self.rtp_packet() else {
                continue;
            };
            if packet.len() > 100 && packet[12..].iter().all(|byte| *byte == octet) {
                return;
            }
        }
    }

    /// Says something until a packet of audio is heard that comes from now on and is not silence.
    pub fn hears_something(&mut self) {
        self.drain_media();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the party never heard anything");
            if self.says_and_hears_something() {
                return;
            }
        }
    }

    /// Says something; whether the next packet is one of audio that is not silence.
    pub fn says_and_hears_something(&mut self) -> bool {
        self.say(0x2a);
        let heard = |octets: &[u8]| octets.iter().any(|octet| !matches!(octet, 0x55 | 0xd5));
        self.rtp_packet()
            .is_some_and(|packet| packet.len() > 100 && heard(&packet[12..]))
    }

    /// The next `count` keys that are heard by RFC 4733.
    pub fn keys_heard(&mut self, count: usize, payload_type: u8) -> String {
        let deadline = Instant::now() + PATIENCE;
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
}

/// Lets two parties talk, each in one octet, until both have heard each other.
pub fn both_hear_each_other(one: &mut Party, says: u8, other: &mut Party, replies: u8) {
    let deaf = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| one.hear(replies, says, &deaf));
        scope.spawn(|| other.hear(says, replies, &deaf));
    });
}

/// The value of a header.
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

/// The address of `a=rtcp`.
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
