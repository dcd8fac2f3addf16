//! `greenpin phone`: an answering party for trials, without a SIP phone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use media::{Clip, Oscillator, SAMPLE_RATE};
use serde_json::{Value, json};
use signalling::{LegId, Network, Transport};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Interval;

use super::output::{CommandError, Lines, exit_code};
use crate::calls::media::read_clip;
use crate::calls::sip::Listen;
use crate::calls::softphone::{Softphone, SoftphoneEvent, SoftphoneSettings};

/// Level of the tone in dBm0.
const TONE_LEVEL: f64 = -12.0;
/// Length of a tone, which then starts again.
const TONE_SECONDS: u32 = 10;
/// Delay of an echo.
const ECHO_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Args)]
#[command(group = ArgGroup::new("audio").multiple(false))]
pub(super) struct Arguments {
    /// Where calls arrive: the `peer` of a trunk
    #[arg(
        long,
        value_name = "udp:ADDRESS:PORT",
        default_value = "udp:127.0.0.1:5070"
    )]
    listen: Listen,
    /// Networks that may call, besides this machine, such as 192.0.2.0/24
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    accept_from: Vec<Network>,
    /// Send the received audio back, a second later (the default)
    #[arg(long, group = "audio")]
    echo: bool,
    /// Send a tone of this frequency, 50 to 3400 Hz
    #[arg(long, value_name = "HZ", group = "audio", value_parser = clap::value_parser!(u16).range(50..=3400))]
    tone: Option<u16>,
    /// Play this file again and again: WAV, 8 kHz, mono, 16-bit PCM, at most 60 s
    #[arg(long, value_name = "FILE", group = "audio")]
    play: Option<PathBuf>,
    /// Refuse each call with this SIP status, 400 to 699
    #[arg(long, value_name = "STATUS", group = "audio", value_parser = clap::value_parser!(u16).range(400..=699))]
    refuse: Option<u16>,
    /// End after this number of calls
    #[arg(long, value_name = "CALLS")]
    calls: Option<u32>,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

fn network(text: &str) -> Result<Network, String> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let single = address.parse().map(Network::single);
    let single = single.map_err(|_| "must be an address or a network such as 192.0.2.0/24")?;
    let width = single.prefix;
    let prefix = match prefix {
        "" => Some(width),
        prefix => prefix.parse().ok().filter(|prefix| *prefix <= width),
    };
    let prefix = prefix.ok_or_else(|| format!("the prefix must be 0 to {width}"))?;
    Ok(Network { prefix, ..single })
}

/// Audio that the phone sends.
enum Audio {
    Echo,
    Clip(Arc<Clip>),
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    exit_code(answer_calls(&arguments).await)
}

async fn answer_calls(arguments: &Arguments) -> Result<(), CommandError> {
    let Listen { transport, address } = arguments.listen;
    if transport == Transport::Tls {
        return Err("--listen must be udp: or tcp:".to_owned().into());
    }
    let mut accept_from = vec![Network::single(address.ip())];
    accept_from.extend(["127.0.0.0/8", "::1"].iter().flat_map(|text| network(text)));
    accept_from.extend(&arguments.accept_from);
    let settings = SoftphoneSettings {
        listen: address,
        media_ports: 45_000..=49_999,
        server: SocketAddr::new(address.ip(), 5060),
        accept_from,
        transport,
    };
    let phone = Softphone::start(settings).await;
    let phone = phone.map_err(|error| error.to_string())?;
    let mut answering = AnsweringPhone {
        audio: audio(arguments)?,
        phone,
        arguments,
        echoes: HashMap::new(),
        ended: 0,
        lines: Lines::default(),
    };
    answering.run().await;
    answering.lines.finish()
}

/// Reads or creates the audio.
fn audio(arguments: &Arguments) -> Result<Audio, String> {
    if let Some(file) = &arguments.play {
        let clip = read_clip(file).map_err(|error| error.to_string())?;
        return Ok(Audio::Clip(Arc::new(clip)));
    }
    let Some(frequency) = arguments.tone else {
        return Ok(Audio::Echo);
    };
    let mut oscillator = Oscillator::new(frequency.into(), TONE_LEVEL);
    let samples = (0..TONE_SECONDS * SAMPLE_RATE)
        .map(|_| oscillator.next_sample() as i16)
        .collect();
    let clip = Clip::new(samples).map_err(|error| error.to_string())?;
    Ok(Audio::Clip(Arc::new(clip)))
}

/// Phone that answers every call.
struct AnsweringPhone<'a> {
    audio: Audio,
    phone: Softphone,
    arguments: &'a Arguments,
    /// Received audio of each call, for the echo.
    echoes: HashMap<LegId, UnboundedReceiver<Vec<i16>>>,
    ended: u32,
    lines: Lines,
}

impl AnsweringPhone<'_> {
    async fn run(&mut self) {
        let address = self.phone.address();
        self.print(
            "listening",
            &format!("listening on {address}; stop with Ctrl-C"),
            json!({ "address": address }),
        );
        let mut rounds = tokio::time::interval(ECHO_DELAY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.lines.is_printed() && self.arguments.calls.is_none_or(|calls| self.ended < calls)
        {
            if !self.step(&mut rounds).await {
                return;
            }
        }
    }

    /// Handles the next event. Returns `false` after Ctrl-C.
    async fn step(&mut self, rounds: &mut Interval) -> bool {
        let has_echoes = !self.echoes.is_empty();
        tokio::select! {
            event = self.phone.event() => self.on_event(event),
            _ = rounds.tick(), if has_echoes => self.echo(),
            _ = tokio::signal::ctrl_c() => return false,
        }
        true
    }

    fn on_event(&mut self, event: SoftphoneEvent) {
        match event {
            SoftphoneEvent::Incoming { leg, called, shown } => self.on_call(leg, &called, shown),
            SoftphoneEvent::Key(digit) => {
                let key = digit.expose();
                self.print(
                    "key",
                    &format!("key {key}"),
                    json!({ "key": key.to_string() }),
                );
            }
            SoftphoneEvent::Played => self.repeat(),
            SoftphoneEvent::HungUp => {
                self.ended += 1;
                self.print("hung_up", "the other side hung up", json!({}));
            }
            SoftphoneEvent::Ringing
            | SoftphoneEvent::Answered(_)
            | SoftphoneEvent::Failed(_)
            | SoftphoneEvent::Recorded(_) => {}
        }
    }

    fn on_call(&mut self, leg: LegId, called: &str, shown: Option<String>) {
        let from = shown.as_deref().unwrap_or("an unknown number");
        let fields = json!({ "called": called, "from": shown });
        if let Some(status) = self.arguments.refuse {
            self.phone.decline(leg, status);
            self.ended += 1;
            let text = format!("call for {called} from {from}, refused with {status}");
            return self.print("refused", &text, fields);
        }
        self.phone.answer(leg);
        self.print(
            "answered",
            &format!("call for {called} from {from}, answered"),
            fields,
        );
        match &self.audio {
            Audio::Echo => drop(self.echoes.insert(leg, self.phone.listen(leg))),
            Audio::Clip(clip) => self.phone.play(leg, clip.clone()),
        }
    }

    /// Starts the clip again in every call. Its end names no call, and all calls play the same clip.
    fn repeat(&mut self) {
        if let Audio::Clip(clip) = &self.audio {
            for leg in self.phone.legs() {
                self.phone.play(leg, clip.clone());
            }
        }
    }

    /// Sends back what has arrived since the last round.
    fn echo(&mut self) {
        self.echoes.retain(|leg, received| {
            let mut samples = Vec::new();
            while let Ok(more) = received.try_recv() {
                samples.extend(more);
            }
            if let Ok(clip) = Clip::new(samples) {
                self.phone.play(*leg, Arc::new(clip));
            }
            !received.is_closed()
        });
    }

    fn print(&mut self, event: &str, text: &str, fields: Value) {
        if self.arguments.json {
            let mut line = json!({ "event": event });
            if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
                line.extend(fields);
            }
            self.lines.print(line);
        } else {
            self.lines.print(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_with_an_optional_prefix() {
        let read = |text: &str| network(text).map(|network| network.prefix).ok();
        assert_eq!(read("192.0.2.0/24"), Some(24));
        assert_eq!(read("192.0.2.1"), Some(32));
        assert_eq!(read("2001:db8::/32"), Some(32));
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/x", "carrier.example"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
