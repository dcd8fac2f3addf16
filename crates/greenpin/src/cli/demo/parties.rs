//! The two people of the demo: a customer who calls, and an agent who answers.

use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use media::{Clip, Oscillator, SAMPLE_RATE};
use signalling::{LegId, Transport};
use tokio::sync::{mpsc, oneshot};

use crate::calls::softphone::{Softphone, SoftphoneEvent, SoftphoneSettings};
use crate::cli::audio_probe::{Ear, is_tone};

/// What the customer says, in Hz.
pub(super) const CALLER_TONE: f64 = 440.0;
/// What the agent says, in Hz.
pub(super) const AGENT_TONE: f64 = 880.0;
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
        transport: Transport::Udp,
    };
    Softphone::start(settings)
        .await
        .map_err(|error| error.to_string())
}

fn tone(frequency: f64) -> Arc<Clip> {
    let mut oscillator = Oscillator::new(frequency, 0.25);
    let length = TONE_SECONDS * SAMPLE_RATE;
    let samples = (0..length)
        .map(|_| (oscillator.next_sample() * f64::from(i16::MAX)) as i16)
        .collect();
    Clip::new(samples).map(Arc::new).unwrap_or_default()
}

/// The caller.
pub(super) struct Customer {
    leg: LegId,
    ear: Ear,
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Press(String),
    Play(Arc<Clip>),
    HangUp,
}

impl Customer {
    /// Calls, and is answered.
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
        let ear = Ear::new(phone.listen(leg));
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(obey(phone, leg, inbox));
        Ok(Self { leg, ear, orders })
    }

    pub(super) async fn hear_prompt(&mut self) -> Result<(), String> {
        if self.ear.hear_prompt().await {
            Ok(())
        } else {
            Err("the call ended".to_owned())
        }
    }

    pub(super) async fn hear_tone(&mut self, frequency: f64) -> Result<(), String> {
        if self.ear.hear_tone(frequency).await {
            Ok(())
        } else {
            Err("the call ended".to_owned())
        }
    }

    /// Talks on for half a second, so that the recording holds something of both.
    pub(super) async fn talk_for_the_record(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.hear_tone(AGENT_TONE).await?;
        }
        Ok(())
    }

    pub(super) fn press(&self, keys: &str) {
        self.order(Order::Press(keys.to_owned()));
    }

    pub(super) fn say_tone(&self) {
        self.order(Order::Play(tone(CALLER_TONE)));
    }

    pub(super) fn hang_up(&self) {
        self.order(Order::HangUp);
    }

    fn order(&self, order: Order) {
        // A phone that is gone has hung up; the step that waits for it says so.
        if self.orders.send(order).is_err() {
            tracing::debug!(leg = self.leg.0, "the customer's phone has hung up");
        }
    }
}

async fn obey(mut phone: Softphone, leg: LegId, mut orders: mpsc::UnboundedReceiver<Order>) {
    loop {
        tokio::select! {
            event = phone.event() => if matches!(event, SoftphoneEvent::HungUp) { return },
            order = orders.recv() => match order {
                Some(Order::Press(keys)) => phone.press(leg, &keys),
                Some(Order::Play(clip)) => phone.play(leg, clip),
                Some(Order::HangUp) | None => phone.hang_up(leg),
            },
        }
    }
}

/// The agent: a phone that takes whatever call comes.
pub(super) struct Agent {
    address: SocketAddr,
    rang: Option<oneshot::Receiver<String>>,
    heard: Option<oneshot::Receiver<()>>,
}

/// Plugs the agent's phone in. It says [`AGENT_TONE`] and listens for [`CALLER_TONE`].
pub(super) async fn agent() -> Result<Agent, String> {
    // The server's address is not known yet, and the phone need not know its port.
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

    /// Waits until it rings; what number it shows.
    pub(super) async fn rings(&mut self) -> Result<String, String> {
        let rang = self.rang.take().ok_or("it rang before")?;
        rang.await.map_err(|_| "the agent's phone broke".to_owned())
    }

    /// Waits until the customer's tone is heard.
    pub(super) async fn hears(&mut self) -> Result<(), String> {
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
        let mut ear = Ear::new(phone.listen(leg));
        if let Some(hear) = hear.take() {
            tokio::spawn(async move {
                if ear.hear_tone(CALLER_TONE).await {
                    let _ = hear.send(());
                }
            });
        }
    }
}

/// Whether the left channel of a stereo WAV holds the caller's tone and the right one the agent's.
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
