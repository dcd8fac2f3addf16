//! `greenpin call`: a test call with the built-in phone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use call::{PhoneNumber, Pin};
use clap::Args;
use media::Clip;
use serde_json::json;
use signalling::{LegId, Transport};

use super::audio_probe::AudioProbe;
use super::call_result::PlacedCall;
use super::output::{CommandError, Lines, exit_code};
use crate::calls::media::read_clip;
use crate::calls::softphone::{Softphone, SoftphoneEvent, SoftphoneSettings};
use crate::config::Config;

/// Time after which the PIN is pressed even without a prompt.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Arguments {
    /// The virtual number to call
    #[arg(value_name = "VN", value_parser = PhoneNumber::parse)]
    number: PhoneNumber,
    /// The number of the caller
    #[arg(long, value_name = "CALLER", value_parser = PhoneNumber::parse)]
    from: PhoneNumber,
    /// The PIN to press
    #[arg(long, value_name = "NNNN", value_parser = Pin::parse)]
    pin: Pin,
    /// The SIP server to call, over UDP [default: the configured one]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Use TCP instead of UDP
    #[arg(long)]
    tcp: bool,
    /// Audio to play once connected: a WAV file of 8 kHz, mono, 16-bit PCM, at most 60 s
    #[arg(long, value_name = "FILE")]
    play: Option<PathBuf>,
    /// Record the call to a stereo WAV file: received audio left, sent audio right
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Hang up this many seconds after the PIN
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    duration: u64,
    /// The result that makes the exit code 0
    #[arg(long, value_enum, value_name = "RESULT", default_value_t = Expected::Connected)]
    expect: Expected,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Result of a test call that counts as success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Expected {
    /// The other party was connected.
    Connected,
    /// The server rejected the call, or nobody was connected.
    Refused,
}

/// Result of a test call.
struct CallResult {
    /// `None`: not known, because the record of the call is not in the configured store.
    is_connected: Option<bool>,
    /// Sentence that explains the result.
    why: String,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> ExitCode {
    exit_code(run_call(&arguments, config).await)
}

async fn run_call(arguments: &Arguments, config: &Config) -> Result<(), CommandError> {
    let mut lines = Lines::default();
    let call = TestCall::dial(arguments, config, &mut lines).await?;
    let placed = PlacedCall {
        number: arguments.number,
        call_id: call.phone.call_id(call.leg).unwrap_or_default(),
    };
    let talked = call.talk().await?;
    let result = match placed.record(config).await {
        Some(record) => CallResult {
            is_connected: Some(record.bridged_at.is_some()),
            why: record.why().unwrap_or_default(),
        },
        None => talked.result(),
    };
    let connected = match result.is_connected {
        Some(true) => "connected",
        Some(false) => "not_connected",
        None => "unknown",
    };
    print_event(&mut lines, arguments.json, connected, &result.why);
    lines.finish()?;
    let expected = arguments.expect == Expected::Connected;
    let word = match result.is_connected {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "not found in the configured store",
    };
    match result.is_connected {
        Some(is_connected) if is_connected == expected => Ok(()),
        _ => Err(format!("the call was {word}").into()),
    }
}

/// End of a test call, as the phone sees it.
enum PhoneResult {
    /// The server rejected the call with this SIP status, or ended it before the answer.
    Rejected(Option<u16>),
    /// The server hung up.
    ServerHungUp,
    /// The phone hung up.
    HungUp,
}

impl PhoneResult {
    /// Returns the result without the record of the call.
    fn result(&self) -> CallResult {
        let (is_connected, why) = match self {
            Self::Rejected(Some(status)) => (
                Some(false),
                format!("The server rejected the call with SIP status {status}."),
            ),
            Self::Rejected(None) => (
                Some(false),
                "The call ended before it was answered.".to_owned(),
            ),
            Self::ServerHungUp | Self::HungUp => (
                None,
                "The configured store has no record of the call, so it is not known whether anybody was connected."
                    .to_owned(),
            ),
        };
        CallResult { is_connected, why }
    }
}

fn print_event(lines: &mut Lines, json: bool, event: &str, text: &str) {
    if json {
        lines.print(json!({ "event": event, "text": text }));
    } else {
        lines.print(text);
    }
}

struct TestCall<'a> {
    arguments: &'a Arguments,
    phone: Softphone,
    leg: LegId,
    clip: Option<Arc<Clip>>,
    recording: bool,
    lines: &'a mut Lines,
}

impl<'a> TestCall<'a> {
    async fn dial(
        arguments: &'a Arguments,
        config: &Config,
        lines: &'a mut Lines,
    ) -> Result<Self, CommandError> {
        let clip = match &arguments.play {
            Some(file) => Some(Arc::new(
                read_clip(file).map_err(|error| error.to_string())?,
            )),
            None => None,
        };
        let settings = phone_settings(arguments, config).await?;
        let calling = format!("calling {}", settings.server);
        print_event(lines, arguments.json, "calling", &calling);
        let mut phone = Softphone::start(settings)
            .await
            .map_err(|error| error.to_string())?;
        let dialled = phone.dial(&arguments.number.expose(), &arguments.from.expose());
        let leg = dialled.map_err(|error| error.to_string())?;
        Ok(Self {
            arguments,
            phone,
            leg,
            clip,
            recording: false,
            lines,
        })
    }

    async fn talk(mut self) -> Result<PhoneResult, CommandError> {
        if let Some(rejected) = self.until_answered().await {
            return Ok(rejected);
        }
        if let Some(file) = &self.arguments.record {
            self.phone.record(self.leg, file.clone());
            self.recording = true;
        }
        let mut audio = AudioProbe::new(self.phone.listen(self.leg));
        tokio::select! {
            _ = audio.wait_for_prompt() => self.print_event("prompt", "a prompt was heard"),
            () = tokio::time::sleep(PROMPT_TIMEOUT) => self.print_event("no_prompt", "no prompt was heard"),
            () = hung_up(&mut self.phone) => {
                self.print_event("hung_up", "the server hung up before the PIN was keyed in");
                return Ok(PhoneResult::ServerHungUp);
            }
        }
        self.phone.press(self.leg, self.arguments.pin.expose());
        self.print_event("pin", "the PIN was keyed in");
        if let Some(clip) = self.clip.take() {
            self.phone.play(self.leg, clip);
        }
        let time = Duration::from_secs(self.arguments.duration);
        let has_hung_up = tokio::time::timeout(time, hung_up(&mut self.phone)).await;
        let result = if has_hung_up.is_ok() {
            self.print_event("hung_up", "the server hung up");
            PhoneResult::ServerHungUp
        } else {
            self.phone.hang_up(self.leg);
            self.print_event("hang_up", "hung up");
            PhoneResult::HungUp
        };
        self.until_recorded().await?;
        Ok(result)
    }

    /// Waits for the answer. Returns the result of a call that was not answered.
    async fn until_answered(&mut self) -> Option<PhoneResult> {
        loop {
            match self.phone.event().await {
                SoftphoneEvent::Answered(_) => {
                    self.print_event("answered", "answered");
                    return None;
                }
                SoftphoneEvent::Failed(status) => return Some(PhoneResult::Rejected(Some(status))),
                SoftphoneEvent::HungUp => return Some(PhoneResult::Rejected(None)),
                _ => {}
            }
        }
    }

    async fn until_recorded(&mut self) -> Result<(), String> {
        while self.recording {
            if let SoftphoneEvent::Recorded(result) = self.phone.event().await {
                let file = result?;
                self.print_event("recorded", &format!("recorded to {}", file.display()));
                self.recording = false;
            }
        }
        Ok(())
    }

    fn print_event(&mut self, event: &str, text: &str) {
        print_event(self.lines, self.arguments.json, event, text);
    }
}

async fn hung_up(phone: &mut Softphone) {
    while !matches!(phone.event().await, SoftphoneEvent::HungUp) {}
}

async fn phone_settings(
    arguments: &Arguments,
    config: &Config,
) -> Result<SoftphoneSettings, String> {
    let server = match &arguments.server {
        Some(server) => resolve(server).await?,
        None => SocketAddr::new(config.sip.public_address, config.sip.udp().port()),
    };
    let own: IpAddr = match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Ok(SoftphoneSettings {
        listen: SocketAddr::new(own, 0),
        media_ports: 40_000..=49_999,
        server,
        accept_from: Vec::new(),
        transport: if arguments.tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        },
    })
}

async fn resolve(server: &str) -> Result<SocketAddr, String> {
    let found = tokio::net::lookup_host(server).await;
    let mut found = found.map_err(|error| format!("--server must be HOST:PORT: {error}"))?;
    found
        .next()
        .ok_or_else(|| "--server names no address".to_owned())
}
