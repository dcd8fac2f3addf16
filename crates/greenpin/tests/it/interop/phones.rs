//! Masked calls with common phones and proxies: baresip, linphone and kamailio.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::party::{Party, header};
use crate::support::ports::free_port;
use crate::support::process::ExternalProcess;
use crate::support::server::{Server, TIMEOUT, trunk};
use crate::support::sipp::{errors, expanded, sipp};
use crate::support::webhook_inbox::WebhookInbox;

/// Fills the placeholders of a configuration in `tests/peers`.
fn configuration(name: &str, places: &[(&str, &str)]) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers")).join(name);
    let text = fs::read_to_string(path).unwrap();
    places.iter().fold(text, |text, (place, value)| {
        text.replace(&format!("{{{place}}}"), value)
    })
}

/// baresip, controlled over its TCP interface.
struct Baresip {
    control: TcpStream,
    address: SocketAddr,
    peer: ExternalProcess,
}

impl Baresip {
    fn start(number: &str, account: &str) -> Self {
        Self::start_with_codec("PCMA", 1, number, account)
    }

    /// Starts a phone with one codec and its number of channels.
    fn start_with_codec(codec: &str, channels: u16, number: &str, account: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, rtp, control) = (free_port(), free_port(), free_port());
        let place = folder.path().display().to_string();
        let [ports, controls, first, last] =
            [port, control, rtp, rtp + 20].map(|port| port.to_string());
        let places = [
            ("port", &*ports),
            ("control", &controls),
            ("rtp", &first),
            ("rtp-end", &last),
            ("folder", &place),
        ];
        fs::write(
            folder.path().join("config"),
            configuration("baresip.conf", &places),
        )
        .unwrap();
        let account = format!("<sip:{number}@127.0.0.1>;regint=0;audio_codecs={codec}{account}\n");
        fs::write(folder.path().join("accounts"), account).unwrap();
        fs::write(folder.path().join("contacts"), "").unwrap();
        let rate = if channels == 2 { 48_000 } else { 8000 };
        write_tone_at(&folder.path().join("says.wav"), rate, channels);
        let peer = ExternalProcess::run("baresip", folder, &["-f", &place, "-v"]);
        let control = connected(SocketAddr::from(([127, 0, 0, 1], control)));
        Self {
            control,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            peer,
        }
    }

    /// Returns `true` if the phone's recording of received audio contains sound.
    fn has_received_sound(&self) -> bool {
        let files = fs::read_dir(self.peer.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let heard = files
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .map(fs::read);
        let octets: Vec<u8> = heard.flat_map(Result::unwrap).skip(44).collect();
        let loud = |two: &[u8]| i16::from_le_bytes([two[0], two[1]]).unsigned_abs() > 2000;
        octets.chunks_exact(2).filter(|two| loud(two)).count() > 12_000
    }

    fn command(&mut self, command: &str, parameter: &str) {
        let text = json!({ "command": command, "params": parameter }).to_string();
        self.control
            .write_all(format!("{}:{text},", text.len()).as_bytes())
            .unwrap();
    }

    /// Waits for an event of a type. Events are netstrings of JSON.
    fn wait_for_event(&mut self, wanted: &str) {
        loop {
            let (mut length, mut octet) = (0, [0]);
            loop {
                self.control
                    .read_exact(&mut octet)
                    .unwrap_or_else(|_| panic!("{wanted} never comes"));
                match octet[0] {
                    b':' => break,
                    digit => length = length * 10 + usize::from(digit - b'0'),
                }
            }
            let mut text = vec![0; length + 1];
            self.control.read_exact(&mut text).unwrap();
            let event: Value = serde_json::from_slice(&text[..length]).unwrap();
            if event["type"] == wanted {
                return;
            }
        }
    }
}

/// Writes a tone of 500 Hz, 30 s long.
fn write_tone(path: &Path) {
    write_tone_at(path, 8000, 1);
}

fn write_tone_at(path: &Path, sample_rate: u32, channels: u16) {
    let spec = hound::WavSpec {
        channels,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for index in 0..30 * sample_rate {
        let angle = std::f64::consts::TAU * 500.0 * f64::from(index) / f64::from(sample_rate);
        (0..channels).for_each(|_| writer.write_sample((8000.0 * angle.sin()) as i16).unwrap());
    }
    writer.finalize().unwrap();
}

fn connected(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::yield_now();
    }
}

/// linphonec, controlled over its standard input.
struct Linphone {
    input: ChildStdin,
    address: SocketAddr,
    peer: ExternalProcess,
}

impl Linphone {
    fn start(number: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, rtp) = (free_port(), free_port());
        let [ports, rtp] = [port, rtp].map(|port| port.to_string());
        let places = [("port", &*ports), ("rtp", &rtp), ("number", number)];
        fs::create_dir_all(folder.path().join(".local/share/linphone")).unwrap();
        let path = folder.path().join("linphonerc");
        fs::write(&path, configuration("linphonerc", &places)).unwrap();
        let tone = folder.path().join("says.wav");
        write_tone(&tone);
        let path = path.display().to_string();
        let mut peer =
            ExternalProcess::run("linphonec", folder, &[&["-c", &path][..], options].concat());
        let mut input = peer.process.stdin.take().unwrap();
        writeln!(input, "soundcard use files\nplay {}", tone.display()).unwrap();
        Self {
            input,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            peer,
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits for a text in its output.
    fn wait_for_output(&self, wanted: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.peer.log().contains(wanted) {
            assert!(Instant::now() < deadline, "linphonec never says {wanted:?}");
            std::thread::yield_now();
        }
    }
}

/// Server with one number, and the receiver of its events.
struct PhoneSetup {
    server: Server,
    inbox: WebhookInbox,
    allocation: Value,
}

impl PhoneSetup {
    fn start(trunks: &str) -> Self {
        let server = Server::with(trunks);
        server.add_number(VN, &[]);
        let inbox = WebhookInbox::open();
        server.send_events_to(&inbox.url);
        let allocation =
            server.allocate(&json!({ "caller_id_number": VN, "from": AGENT, "to": CUSTOMER }));
        Self {
            server,
            inbox,
            allocation,
        }
    }

    fn pin(&self) -> &str {
        self.allocation["pin"].as_str().unwrap()
    }

    /// Waits for the end of the call and checks for audio from the external phone.
    fn completed(&mut self, hung_up_by: &str, spoke: &str) {
        let record = self.inbox.wait_for_event("call.completed")["data"].take();
        assert_eq!(
            (&record["call_type"], &record["hangup_by"]),
            (&json!("completed"), &json!(hung_up_by))
        );
        let sid = record["call_sid"].as_str().unwrap();
        let media = &self.server.get(&format!("/calls/{sid}"))[spoke];
        assert!(
            media["packets_received"]
                .as_u64()
                .is_some_and(|packets| packets > 0),
            "{media}"
        );
    }
}

/// Returns a called party, and a server with a trunk to it.
fn called_party(of_trunk: &str) -> (Party, PhoneSetup) {
    let mut agent = Party::unconnected(AGENT);
    let setup = PhoneSetup::start(&trunk("carrier", agent.address(), of_trunk));
    agent.set_server(setup.server.sip);
    (agent, setup)
}

fn accept_call(agent: &mut Party) {
    let invite = agent.receive_invite();
    assert!(
        header(&invite, "From").contains(VN) && !invite.contains(&CUSTOMER[1..]),
        "{invite}"
    );
    agent.respond(180);
    agent.respond(200);
    agent.serve("ACK");
}

#[test]
fn baresip_places_a_masked_call_with_its_keys() {
    let (mut agent, mut setup) = called_party("");
    let mut phone = Baresip::start(CUSTOMER, "");
    phone.command("dial", &format!("sip:{VN}@{}", setup.server.sip));
    phone.wait_for_event("CALL_ESTABLISHED");
    phone.command("sndcode", setup.pin());
    accept_call(&mut agent);
    setup.inbox.wait_for_event("call.answered");
    agent.wait_for_any_audio();
    phone.command("hangup", "");
    agent.serve("BYE");
    setup.completed("caller", "caller_media");
}

#[test]
fn baresip_accepts_a_masked_call_and_hangs_up() {
    let mut phone = Baresip::start(AGENT, ";answermode=auto");
    let mut setup = PhoneSetup::start(&trunk("carrier", phone.address, ""));
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(setup.pin());
    phone.wait_for_event("CALL_ESTABLISHED");
    setup.inbox.wait_for_event("call.answered");
    customer.wait_for_any_audio();
    phone.command("hangup", "");
    customer.serve("BYE");
    setup.completed("callee", "callee_media");
}

/// Exchanges tones: the agent sends A-law until the phone has received it, and receives the phone's tone.
fn exchange_tones_with_phone(agent: &mut Party, phone: &Baresip) {
    let deadline = Instant::now() + TIMEOUT;
    let (mut heard, mut tone) = (Vec::new(), media::Oscillator::new(700.0, -10.0));
    while heard.len() < 8000 || !phone.has_received_sound() {
        assert!(
            Instant::now() < deadline,
            "one of them hears nothing: {}",
            heard.len()
        );
        // One packet is sent for each received packet, so the phone's clock paces both.
        let packet = agent.wait_for_packet(8, |payload| payload.len() == 160);
        let mut samples: [i16; 160] = std::array::from_fn(|_| tone.next_sample() as i16);
        let mut payload = [0; 160];
        media::Codec::Pcma.encode(&samples, &mut payload);
        agent.send_packet(8, 160, &payload);
        media::Codec::Pcma.decode(&packet, &mut samples);
        if samples.iter().any(|sample| sample.abs() > 2000) {
            heard.extend(samples);
        }
    }
    let upward = heard
        .windows(2)
        .filter(|pair| pair[0] < 0 && pair[1] >= 0)
        .count();
    let hertz = upward as f64 * 8000.0 / heard.len() as f64;
    assert!((hertz - 500.0).abs() < 25.0, "{hertz}");
}

/// Returns the codecs of a completed call, the caller's first.
fn codecs(setup: &mut PhoneSetup) -> [Value; 2] {
    let sid = setup.inbox.wait_for_event("call.completed")["data"]["call_sid"].take();
    let record = setup
        .server
        .get(&format!("/calls/{}", sid.as_str().unwrap()));
    ["caller_media", "callee_media"].map(|side| record[side]["codec"].clone())
}

#[test]
fn baresip_places_a_call_in_opus_to_a_party_with_g711() {
    let (mut agent, mut setup) = called_party("");
    let mut phone = Baresip::start_with_codec("opus/48000/2", 2, CUSTOMER, "");
    phone.command("dial", &format!("sip:{VN}@{}", setup.server.sip));
    phone.wait_for_event("CALL_ESTABLISHED");
    phone.command("sndcode", setup.pin());
    accept_call(&mut agent);
    setup.inbox.wait_for_event("call.answered");
    exchange_tones_with_phone(&mut agent, &phone);
    phone.command("hangup", "");
    agent.serve("BYE");
    assert_eq!(codecs(&mut setup), ["opus", "PCMA"]);
}

#[test]
fn baresip_accepts_a_call_in_opus_from_a_party_with_g711() {
    let mut phone = Baresip::start_with_codec("opus/48000/2", 2, AGENT, ";answermode=auto");
    let mut setup = PhoneSetup::start(&trunk(
        "carrier",
        phone.address,
        "codecs = [\"opus\", \"pcma\"]",
    ));
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(setup.pin());
    phone.wait_for_event("CALL_ESTABLISHED");
    setup.inbox.wait_for_event("call.answered");
    exchange_tones_with_phone(&mut customer, &phone);
    phone.command("hangup", "");
    customer.serve("BYE");
    assert_eq!(codecs(&mut setup), ["PCMA", "opus"]);
}

#[test]
fn linphone_places_a_masked_call_with_its_keys() {
    // The phone's description names the machine's outer address, but its packets come from
    // the address with a route to the server.
    let (mut agent, mut setup) = called_party("symmetric_rtp = true");
    let mut phone = Linphone::start(CUSTOMER, &[]);
    phone.type_line(&format!("call sip:{VN}@{}", setup.server.sip));
    phone.wait_for_output("Media streams established");
    for key in setup.pin().chars() {
        phone.type_line(&key.to_string());
    }
    accept_call(&mut agent);
    setup.inbox.wait_for_event("call.answered");
    agent.wait_for_any_audio();
    phone.type_line("terminate");
    agent.serve("BYE");
    setup.completed("caller", "caller_media");
}

#[test]
fn linphone_accepts_a_masked_call() {
    let phone = Linphone::start(AGENT, &["-a"]);
    let mut setup = PhoneSetup::start(&trunk("carrier", phone.address, ""));
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(setup.pin());
    setup.inbox.wait_for_event("call.answered");
    customer.wait_for_any_audio();
    customer.bye();
    setup.completed("caller", "callee_media");
}

/// Starts kamailio on its own address and waits until it responds.
fn kamailio(proxy: &str, agent: &str, server: SocketAddr) -> ExternalProcess {
    let folder = tempfile::tempdir().unwrap();
    let (address, server) = (server.ip().to_string(), server.to_string());
    let places = [
        ("proxy", proxy),
        ("agent", agent),
        ("server-address", &address),
        ("server", &server),
    ];
    let file = folder.path().join("kamailio.cfg");
    fs::write(&file, configuration("kamailio.cfg", &places)).unwrap();
    let (file, place) = (
        file.display().to_string(),
        folder.path().display().to_string(),
    );
    let peer = ExternalProcess::run(
        "kamailio",
        folder,
        &[
            "-DD", "-E", "-f", &file, "-w", &place, "-Y", &place, "-m", "32",
        ],
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let own = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:a@{own}>;tag=1\r\nTo: <sip:{proxy}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    let deadline = Instant::now() + TIMEOUT;
    loop {
        assert!(Instant::now() < deadline, "kamailio does not respond");
        let _ = socket.send_to(options.as_bytes(), format!("{proxy}:5060"));
        if socket.recv_from(&mut [0; 2048]).is_ok() {
            return peer;
        }
    }
}

#[test]
fn calls_pass_in_both_directions_through_a_record_routing_proxy() {
    let subnet = std::process::id() % 200 + 20;
    let [proxy, agent, customer] = [1, 2, 3].map(|host| format!("127.{subnet}.255.{host}"));
    let trunk = format!(
        "[[trunks]]\nname = \"proxy\"\npeer = \"sip:{proxy}:5060\"\naccept_from = [\"{proxy}/32\"]\nkeep_alive = 0\n"
    );
    let mut setup = PhoneSetup::start(&trunk);
    let _proxy = kamailio(&proxy, &agent, setup.server.sip);
    let folder = tempfile::tempdir().unwrap();
    let play = |side: &str, name: &str, address: &str, more: &[&str]| {
        let file = expanded(side, name, folder.path());
        let place = [
            "-sf",
            &file,
            "-i",
            address,
            "-mi",
            address,
            "-p",
            "5060",
            "-aa",
            "-trace_err",
        ];
        sipp(folder.path(), &[more, &place].concat())
    };
    let mut called = play("callee", "holds", &agent, &[]);
    let target = format!("{proxy}:5060");
    let keys = [
        "-key",
        "vn",
        VN,
        "-key",
        "caller",
        CUSTOMER,
        "-key",
        "keys",
        setup.pin(),
    ];
    let mut caller = play(
        "caller",
        "pin",
        &customer,
        &[&[&*target][..], &keys].concat(),
    );
    for (side, child) in [("caller", &mut caller), ("callee", &mut called)] {
        let fine = child.wait().unwrap().success();
        assert!(
            fine,
            "the {side} saw something else:\n{}",
            errors(folder.path())
        );
    }
    let record = setup.inbox.wait_for_event("call.completed")["data"].take();
    assert_eq!(
        (&record["call_type"], &record["hangup_by"]),
        (&json!("completed"), &json!("callee"))
    );
}
