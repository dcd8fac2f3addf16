//! `greenpin call`: a test call with the built-in phone.

use std::net::SocketAddr;
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
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> ExitCode {
    exit_code(TestCall::make(&arguments, config).await)
}

struct TestCall<'a> {
    arguments: &'a Arguments,
    phone: Softphone,
    leg: LegId,
    clip: Option<Arc<Clip>>,
    recording: bool,
    lines: Lines,
}

impl<'a> TestCall<'a> {
    async fn make(arguments: &'a Arguments, config: &Config) -> Result<(), CommandError> {
        let clip = match &arguments.play {
            Some(file) => Some(Arc::new(
                read_clip(file).map_err(|error| error.to_string())?,
            )),
            None => None,
        };
        let mut phone = Softphone::start(phone_settings(arguments, config).await?)
            .await
            .map_err(|error| error.to_string())?;
        let dialled = phone.dial(&arguments.number.expose(), &arguments.from.expose());
        let leg = dialled.map_err(|error| error.to_string())?;
        Self {
            arguments,
            phone,
            leg,
            clip,
            recording: false,
            lines: Lines::default(),
        }
        .talk()
        .await
    }

    async fn talk(mut self) -> Result<(), CommandError> {
        self.until_answered().await?;
        if let Some(file) = &self.arguments.record {
            self.phone.record(self.leg, file.clone());
            self.recording = true;
        }
        let mut audio = AudioProbe::new(self.phone.listen(self.leg));
        tokio::select! {
            _ = audio.wait_for_prompt() => self.print_event("prompt", "a prompt was heard"),
            () = tokio::time::sleep(PROMPT_TIMEOUT) => self.print_event("no_prompt", "no prompt was heard"),
            () = hung_up(&mut self.phone) => return Err("the server hung up before the PIN was keyed in".to_owned().into()),
        }
        self.phone.press(self.leg, self.arguments.pin.expose());
        self.print_event("pin", "the PIN was keyed in");
        if let Some(clip) = self.clip.take() {
            self.phone.play(self.leg, clip);
        }
        let time = Duration::from_secs(self.arguments.duration);
        if tokio::time::timeout(time, hung_up(&mut self.phone))
            .await
            .is_ok()
        {
            self.print_event("hung_up", "the server hung up");
        } else {
            self.phone.hang_up(self.leg);
            self.print_event("hang_up", "hung up");
        }
        self.until_recorded().await?;
        self.lines.finish()
    }

    async fn until_answered(&mut self) -> Result<(), String> {
        loop {
            match self.phone.event().await {
                SoftphoneEvent::Answered(_) => {
                    self.print_event("answered", "answered");
                    return Ok(());
                }
                SoftphoneEvent::Failed(status) => {
                    return Err(format!("the call was refused with SIP status {status}"));
                }
                SoftphoneEvent::HungUp => {
                    return Err("the call ended before it was answered".to_owned());
                }
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
        if self.arguments.json {
            self.lines.print(json!({ "event": event, "text": text }));
        } else {
            self.lines.print(text);
        }
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
        None => SocketAddr::new(config.sip.public_address, config.sip.udp.port()),
    };
    let own: &str = if server.ip().is_loopback() {
        "127.0.0.1:0"
    } else {
        "0.0.0.0:0"
    };
    Ok(SoftphoneSettings {
        listen: own
            .parse()
            .map_err(|_| "no address of our own".to_owned())?,
        media_ports: 40_000..=49_999,
        server,
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
