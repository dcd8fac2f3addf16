//! The two parties of the demo: a customer and an agent.

use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use media::{Clip, Oscillator, SAMPLE_RATE};
use signalling::{LegId, Transport};
use tokio::sync::{mpsc, oneshot};

use crate::calls::softphone::{Softphone, SoftphoneEvent, SoftphoneSettings};
use crate::cli::audio_probe::{AudioProbe, is_tone};

/// Tone of the customer, in Hz.
pub(super) const CALLER_TONE: f64 = 440.0;
/// Tone of the agent, in Hz.
pub(super) const AGENT_TONE: f64 = 880.0;
/// Level of both tones in dBm0.
const TONE_LEVEL: f64 = -12.0;
const TONE_SECONDS: u32 = 20;

async fn phone(
    server: SocketAddr,
    ports: std::ops::RangeInclusive<u16>,
) -> Result<Softphone, String> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = SoftphoneSettings {
        listen,
        media_ports: ports,
        server,
        accept_from: Vec::new(),
        transport: Transport::Udp,
    };
    Softphone::start(settings)
        .await
        .map_err(|error| error.to_string())
}

fn tone(frequency: f64) -> Arc<Clip> {
    let mut oscillator = Oscillator::new(frequency, TONE_LEVEL);
    let length = TONE_SECONDS * SAMPLE_RATE;
    let samples = (0..length)
        .map(|_| oscillator.next_sample() as i16)
        .collect();
    Clip::new(samples).map(Arc::new).unwrap_or_default()
}

/// The caller.
pub(super) struct Customer {
    leg: LegId,
    audio: AudioProbe,
    commands: mpsc::UnboundedSender<PhoneCommand>,
}

enum PhoneCommand {
    Press(String),
    Play(Arc<Clip>),
    HangUp,
}

impl Customer {
    /// Calls a number and waits for the answer.
    pub(super) async fn call(server: SocketAddr, own: &str, number: &str) -> Result<Self, String> {
        let mut phone = phone(server, 40_000..=44_999).await?;
        let leg = phone.dial(number, own).map_err(|error| error.to_string())?;
        loop {
            match phone.event().await {
                SoftphoneEvent::Answered(_) => break,
                SoftphoneEvent::Failed(status) => {
                    return Err(format!("the call was refused with SIP status {status}"));
                }
                _ => {}
            }
        }
        let audio = AudioProbe::new(phone.listen(leg));
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(run_phone(phone, leg, inbox));
        Ok(Self {
            leg,
            audio,
            commands,
        })
    }

    pub(super) async fn wait_for_prompt(&mut self) -> Result<(), String> {
        if self.audio.wait_for_prompt().await {
            Ok(())
        } else {
            Err("the call ended".to_owned())
        }
    }

    pub(super) async fn wait_for_tone(&mut self, frequency: f64) -> Result<(), String> {
        if self.audio.wait_for_tone(frequency).await {
            Ok(())
        } else {
            Err("the call ended".to_owned())
        }
    }

    /// Continues for half a second, so that the recording contains both parties.
    pub(super) async fn continue_for_recording(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.wait_for_tone(AGENT_TONE).await?;
        }
        Ok(())
    }

    pub(super) fn press(&self, keys: &str) {
        self.send(PhoneCommand::Press(keys.to_owned()));
    }

    pub(super) fn play_tone(&self) {
        self.send(PhoneCommand::Play(tone(CALLER_TONE)));
    }

    pub(super) fn hang_up(&self) {
        self.send(PhoneCommand::HangUp);
    }

    fn send(&self, command: PhoneCommand) {
        // A closed phone has hung up. The step that waits for it reports that.
        if self.commands.send(command).is_err() {
            tracing::debug!(leg = self.leg.0, "the customer's phone has hung up");
        }
    }
}

/// Carries out commands until one side hangs up, then drives the phone until the BYE is answered.
async fn run_phone(
    mut phone: Softphone,
    leg: LegId,
    mut commands: mpsc::UnboundedReceiver<PhoneCommand>,
) {
    let mut has_hung_up = false;
    loop {
        tokio::select! {
            event = phone.event() => if matches!(event, SoftphoneEvent::HungUp) { return },
            // A closed channel is always ready: it is not polled again.
            command = commands.recv(), if !has_hung_up => match command {
                Some(PhoneCommand::Press(keys)) => phone.press(leg, &keys),
                Some(PhoneCommand::Play(clip)) => phone.play(leg, clip),
                Some(PhoneCommand::HangUp) | None => {
                    phone.hang_up(leg);
                    has_hung_up = true;
                }
            },
        }
    }
}

/// The agent: a phone that answers every call.
pub(super) struct Agent {
    address: SocketAddr,
    rang: Option<oneshot::Receiver<String>>,
    heard: Option<oneshot::Receiver<()>>,
}

/// Starts the agent's phone. It plays [`AGENT_TONE`] and detects [`CALLER_TONE`].
pub(super) async fn agent() -> Result<Agent, String> {
    // The phone only answers calls, so it does not need the address of the server.
    let anybody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let phone = phone(anybody, 45_000..=49_999).await?;
    let address = phone.address();
    let (ring, rang) = oneshot::channel();
    let (hear, heard) = oneshot::channel();
    tokio::spawn(answer(phone, ring, hear));
    Ok(Agent {
        address,
        rang: Some(rang),
        heard: Some(heard),
    })
}

impl Agent {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it rings. Returns the displayed number.
    pub(super) async fn wait_for_ringing(&mut self) -> Result<String, String> {
        let rang = self.rang.take().ok_or("it rang before")?;
        rang.await.map_err(|_| "the agent's phone broke".to_owned())
    }

    /// Waits until it receives the customer's tone.
    pub(super) async fn wait_for_tone(&mut self) -> Result<(), String> {
        let heard = self.heard.take().ok_or("it was heard before")?;
        heard.await.map_err(|_| "the call ended".to_owned())
    }
}

async fn answer(mut phone: Softphone, ring: oneshot::Sender<String>, hear: oneshot::Sender<()>) {
    let (mut ring, mut hear) = (Some(ring), Some(hear));
    loop {
        let SoftphoneEvent::Incoming { leg, shown, .. } = phone.event().await else {
            continue;
        };
        if let Some(ring) = ring.take() {
            let _ = ring.send(shown.unwrap_or_default());
        }
        phone.answer(leg);
        phone.play(leg, tone(AGENT_TONE));
        let mut audio = AudioProbe::new(phone.listen(leg));
        if let Some(hear) = hear.take() {
            tokio::spawn(async move {
                if audio.wait_for_tone(CALLER_TONE).await {
                    let _ = hear.send(());
                }
            });
        }
    }
}

/// Returns whether the left channel of a stereo WAV contains the caller's tone, and the right one
/// the agent's.
pub(super) fn tones_of(wav: &[u8]) -> Result<(bool, bool), String> {
    let reader = hound::WavReader::new(Cursor::new(wav)).map_err(|error| error.to_string())?;
    if reader.spec().channels != 2 {
        return Err("it is not stereo".to_owned());
    }
    let samples: Result<Vec<i16>, _> = reader.into_samples().collect();
    let samples = samples.map_err(|error| error.to_string())?;
    let channel = |offset: usize| {
        samples
            .iter()
            .skip(offset)
            .step_by(2)
            .copied()
            .collect::<Vec<i16>>()
    };
    let holds = |samples: &[i16], frequency| {
        samples
            .chunks_exact(800)
            .any(|part| is_tone(part, frequency))
    };
    Ok((
        holds(&channel(0), CALLER_TONE),
        holds(&channel(1), AGENT_TONE),
    ))
}
