//! The handles by which the engine steers media.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use media::{Clip, Digit};
use mio::{Poll, Token, Waker};
use signalling::{
    sdes::{Secrets, SrtpMode},
    sdp::LocalMedia,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::crypto::random;

use super::command::{Command, LegCommand, ThreadHandle};
use super::leg::MediaLeg;
use super::ports::{OpenLegError, PortPool};
use super::worker::{WAKER_TOKEN, Worker};
use super::{MediaEvent, MediaId, MediaSettings, Remote};
use crate::calls::media::recording::writer::RecordingWriter;

/// All media threads. Clones share them; they end when the last clone and the last leg are gone.
#[derive(Debug, Clone)]
pub struct MediaPlane {
    shared: Arc<PlaneState>,
}

#[derive(Debug)]
struct PlaneState {
    pool: Arc<PortPool>,
    threads: Vec<ThreadHandle>,
    next_thread: AtomicUsize,
    next_id: AtomicU64,
}

impl MediaPlane {
    /// Starts the media threads and the recording thread. `events` receives what happens on the legs.
    pub fn start(settings: MediaSettings, events: UnboundedSender<MediaEvent>) -> io::Result<Self> {
        let writer = RecordingWriter::start(events.clone(), settings.recording_key.clone())?;
        let mut threads = Vec::new();
        // One origin for all: a leg that moves to another thread takes its times with it.
        let origin = Instant::now();
        for number in 0..settings.threads.max(1) {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER_TOKEN))?);
            let (commands, inbox) = mpsc::channel();
            let worker = Worker::new(
                poll,
                inbox,
                events.clone(),
                writer.clone(),
                &settings,
                origin,
            );
            thread::Builder::new()
                .name(format!("media-{number}"))
                .spawn(move || worker.run())?;
            threads.push(ThreadHandle { commands, waker });
        }
        let pool = Arc::new(PortPool::new(settings.bind, &settings.ports));
        let (next_thread, next_id) = (AtomicUsize::new(0), AtomicU64::new(1));
        Ok(Self {
            shared: Arc::new(PlaneState {
                pool,
                threads,
                next_thread,
                next_id,
            }),
        })
    }

    /// Opens a leg: binds an even RTP port and the next one for RTCP. Ports that other programs use are skipped.
    pub fn open(&self) -> Result<LegMedia, OpenLegError> {
        let ports = self.shared.pool.bind()?;
        let (mut drawn, mut keys) = ([0; 34], [0; 132]);
        random::fill(&mut drawn);
        random::fill(&mut keys);
        let secrets = Secrets::new(keys);
        let id = MediaId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let count = self.shared.threads.len();
        let thread = self.shared.next_thread.fetch_add(1, Ordering::Relaxed) % count;
        let port = ports.port;
        let thread = AtomicUsize::new(thread);
        let leg = LegMedia {
            id,
            port,
            secrets,
            thread,
            shared: self.shared.clone(),
        };
        leg.send(Command::Adopt(Box::new(MediaLeg::new(
            id, ports, &drawn, secrets,
        ))));
        Ok(leg)
    }

    /// How many legs are open.
    pub fn legs(&self) -> usize {
        self.shared.pool.taken()
    }
}

impl Drop for PlaneState {
    fn drop(&mut self) {
        self.threads
            .iter()
            .for_each(|thread| thread.send(Command::Shutdown));
    }
}

/// The media of one leg: two ports and what they carry. Dropping it closes them and forgets everything without an
/// event; a recording is completed all the same.
///
/// Orders are carried out by the media thread in the order given, soon after the call returns.
#[derive(Debug)]
pub struct LegMedia {
    id: MediaId,
    port: u16,
    secrets: Secrets,
    thread: AtomicUsize,
    shared: Arc<PlaneState>,
}

impl LegMedia {
    /// Its name in events.
    pub fn id(&self) -> MediaId {
        self.id
    }

    /// The RTP port, for SDP; RTCP is the next one.
    pub fn local_port(&self) -> u16 {
        self.port
    }

    /// Our side of a session description. Its session id is random: `o=` wants digits that say nothing.
    pub fn describe(&self, address: IpAddr, srtp: SrtpMode) -> LocalMedia {
        let session_id = u32::try_from(random::u64() & 0x7fff_ffff).unwrap_or(1);
        LocalMedia {
            address,
            port: self.port,
            session_id,
            version: 1,
            comfort_noise: true,
            srtp,
            secrets: self.secrets,
        }
    }

    /// Sets or, after another offer and answer, replaces the peer's address, codec and direction.
    pub fn connect(&self, remote: Remote) {
        self.send_to_leg(LegCommand::Connect(Box::new(remote)));
    }

    /// Plays a clip instead of what is playing. `PlayFinished` with this token follows when it was played to its end,
    /// not when it was stopped or replaced. On hold it plays unheard.
    pub fn play(&self, clip: Arc<Clip>, token: u64) {
        self.send_to_leg(LegCommand::Play(clip, token));
    }

    /// Plays ring-back instead of what is playing, until stopped, replaced or bridged.
    pub fn play_ringback(&self) {
        self.send_to_leg(LegCommand::Ringback);
    }

    /// Stops a clip or ring-back.
    pub fn stop_playing(&self) {
        self.send_to_leg(LegCommand::StopPlaying);
    }

    /// Sends keys to the peer as telephone-events (RFC 4733), or as tones where it negotiated none, after those that
    /// are still being sent. Bridged audio pauses meanwhile.
    pub fn send_digits(&self, digits: Vec<Digit>) {
        self.send_to_leg(LegCommand::SendDigits(digits));
    }

    /// Connects this leg's and the other's audio and keys, both ways. Ends what plays on both and earlier bridges.
    /// A leg of another media thread moves to this one's first.
    pub fn bridge(&self, other: &LegMedia) {
        let here = self.thread.load(Ordering::Relaxed);
        let there = other.thread.swap(here, Ordering::Relaxed);
        if here != there
            && let (Some(to), Some(from)) = (
                self.shared.threads.get(here),
                self.shared.threads.get(there),
            )
        {
            to.send(Command::Expect(other.id));
            from.send(Command::HandOver(other.id, to.clone()));
        }
        self.send_to_leg(LegCommand::Bridge(other.id));
    }

    /// Ends the bridge, if there is one, for both legs.
    pub fn unbridge(&self) {
        self.send_to_leg(LegCommand::Unbridge);
    }

    /// The peer's audio begins to arrive again after it went another way: what was missed is neither loss nor silence.
    pub fn interrupt(&self) {
        self.send_to_leg(LegCommand::Interrupt);
    }

    /// Records into a stereo WAV file, 8 kHz, 16 bit: left what this leg's peer says, right what the bridged leg's
    /// peer says or, while there is no bridge, what we play to this leg. The file gets its name when it is complete;
    /// its folder must exist. Ends with the leg; a second call while it runs is ignored.
    pub fn record(&self, file: PathBuf) {
        self.send_to_leg(LegCommand::Record(file));
    }

    /// Hands over the decoded samples as they arrive, one packet a message, in the order of arrival.
    pub fn listen(&self, samples: UnboundedSender<Vec<i16>>) {
        self.send_to_leg(LegCommand::Listen(samples));
    }

    /// Ends the leg: RTCP goodbye, ports freed, the recording completed, then `MediaEvent::Closed`.
    pub fn close(self) {
        self.send_to_leg(LegCommand::Close { report: true });
    }

    fn send_to_leg(&self, command: LegCommand) {
        self.send(Command::Leg(self.id, command));
    }

    fn send(&self, command: Command) {
        if let Some(thread) = self.shared.threads.get(self.thread.load(Ordering::Relaxed)) {
            thread.send(command);
        }
    }
}

impl Drop for LegMedia {
    fn drop(&mut self) {
        // After `close` the leg is gone already and this is ignored.
        self.send_to_leg(LegCommand::Close { report: false });
    }
}
