//! Handles of the engine to the media plane and to the media of a leg.

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

use crate::RecordingKey;
use crate::crypto::random;

use super::command::{Command, LegCommand, ThreadHandle};
use super::leg::MediaLeg;
use super::ports::{OpenLegError, PortPair, PortPool, PortReservation};
use super::worker::{WAKER_TOKEN, Worker};
use super::{MediaEvent, MediaId, MediaSettings, Remote};
use crate::calls::media::recording::writer::RecordingWriter;
use crate::supervision::Part;

/// Handle to all media threads. The threads end after the last clone and the last leg have been dropped.
#[derive(Debug, Clone)]
pub struct MediaPlane {
    shared: Arc<PlaneState>,
}

#[derive(Debug)]
struct PlaneState {
    pool: Arc<PortPool>,
    /// Pools of the trunks with their own ports, by the index of the trunk.
    trunk_pools: Vec<Option<Arc<PortPool>>>,
    threads: Vec<ThreadHandle>,
    next_thread: AtomicUsize,
    next_id: AtomicU64,
}

impl MediaPlane {
    /// Starts the media threads and the recording thread. `events` receives the events of all legs.
    pub fn start(settings: MediaSettings, events: UnboundedSender<MediaEvent>) -> io::Result<Self> {
        let writer = RecordingWriter::start(events.clone(), &settings.supervisor)?;
        let mut threads = Vec::new();
        // All threads share one origin, so that timestamps stay valid after a leg moves to another thread.
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
            let guard = settings.supervisor.watch(Part::MediaThread);
            thread::Builder::new()
                .name(format!("media-{number}"))
                .spawn(move || worker.run(guard))?;
            threads.push(ThreadHandle { commands, waker });
        }
        let new_pool = |ports| Arc::new(PortPool::new(settings.bind, ports, settings.dscp));
        let trunk_pools = settings.trunk_ports.iter();
        let trunk_pools = trunk_pools.map(|ports| ports.as_ref().map(new_pool));
        let trunk_pools = trunk_pools.collect();
        let pool = new_pool(&settings.ports);
        let (next_thread, next_id) = (AtomicUsize::new(0), AtomicU64::new(1));
        Ok(Self {
            shared: Arc::new(PlaneState {
                pool,
                trunk_pools,
                threads,
                next_thread,
                next_id,
            }),
        })
    }

    /// Opens a leg: binds an even RTP port and the next port for RTCP. Ports in use by other programs are skipped.
    pub fn open(&self) -> Result<LegMedia, OpenLegError> {
        Ok(self.open_with(self.shared.pool.bind()?))
    }

    /// Opens a leg of a trunk at a local IP address, with a port of the trunk's range.
    pub fn open_for(&self, trunk: usize, bind: IpAddr) -> Result<LegMedia, OpenLegError> {
        Ok(self.open_with(self.shared.pool(trunk).bind_at(bind)?))
    }

    fn open_with(&self, ports: PortPair) -> LegMedia {
        let (mut drawn, mut keys) = ([0; 34], [0; 132]);
        random::fill(&mut drawn);
        random::fill(&mut keys);
        let secrets = Secrets::new(keys);
        let id = MediaId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let count = self.shared.threads.len();
        let next = self.shared.next_thread.fetch_add(1, Ordering::Relaxed);
        let thread = next.checked_rem(count).unwrap_or(0);
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
        leg
    }

    /// Reserves ports for a call from a trunk: those of the caller, and those of one dialled leg in the common range.
    /// `None` if too few are left.
    pub fn reserve_call(&self, trunk: usize) -> Option<[PortReservation; 2]> {
        let caller = self.reserve_leg(trunk)?;
        Some([caller, self.shared.pool.reserve(1)?])
    }

    /// Reserves ports for a leg of a trunk that is opened later; `None` if too few are left.
    pub fn reserve_leg(&self, trunk: usize) -> Option<PortReservation> {
        self.shared.pool(trunk).reserve(1)
    }

    /// Returns `true` if the trunk has its own range of ports.
    pub fn has_own_ports(&self, trunk: usize) -> bool {
        self.shared.own_pool(trunk).is_some()
    }

    /// Returns `true` if ports for that many legs are not reserved.
    pub fn has_room(&self, legs: usize) -> bool {
        self.shared.pool.has_room(legs)
    }

    /// Returns the number of open legs.
    pub fn legs(&self) -> usize {
        let pools = self.shared.trunk_pools.iter().flatten();
        let pools = pools.chain([&self.shared.pool]);
        pools.map(|pool| pool.in_use()).sum()
    }
}

impl PlaneState {
    fn own_pool(&self, trunk: usize) -> Option<&Arc<PortPool>> {
        self.trunk_pools.get(trunk)?.as_ref()
    }

    /// Returns the pool of the legs of a trunk.
    fn pool(&self, trunk: usize) -> &Arc<PortPool> {
        self.own_pool(trunk).unwrap_or(&self.pool)
    }
}

impl Drop for PlaneState {
    fn drop(&mut self) {
        self.threads
            .iter()
            .for_each(|thread| thread.send(Command::Shutdown));
    }
}

/// Media of one leg. Dropping it closes the ports without an event; a recording is still completed.
///
/// The media thread executes commands in order, shortly after each method returns.
#[derive(Debug)]
pub struct LegMedia {
    id: MediaId,
    port: u16,
    secrets: Secrets,
    thread: AtomicUsize,
    shared: Arc<PlaneState>,
}

impl LegMedia {
    /// Returns the id in events.
    pub fn id(&self) -> MediaId {
        self.id
    }

    /// Returns the RTP port for the SDP. RTCP uses the next port.
    pub fn local_port(&self) -> u16 {
        self.port
    }

    /// Returns our half of a session description. The session id in `o=` is random and reveals nothing.
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

    /// Sets the peer's address, codec and direction, or replaces them after another offer and answer.
    pub fn connect(&self, remote: Remote) {
        self.send_to_leg(LegCommand::Connect(Box::new(remote)));
    }

    /// Plays a clip and replaces the present clip or tone. `PlayFinished` with this token follows after the end, but
    /// not if the clip is stopped or replaced. During hold the clip runs without being sent.
    pub fn play(&self, clip: Arc<Clip>, token: u64) {
        self.send_to_leg(LegCommand::Play(clip, token));
    }

    /// Plays ringback and replaces the present clip, until stopped, replaced or bridged.
    pub fn play_ringback(&self) {
        self.send_to_leg(LegCommand::Ringback);
    }

    /// Stops a clip or ringback.
    pub fn stop_playing(&self) {
        self.send_to_leg(LegCommand::StopPlaying);
    }

    /// Sends keys as telephone-events (RFC 4733), or as tones if the peer has not negotiated events. They follow the
    /// keys still being sent. Bridged audio pauses meanwhile.
    pub fn send_digits(&self, digits: Vec<Digit>) {
        self.send_to_leg(LegCommand::SendDigits(digits));
    }

    /// Bridges the audio and keys of two legs in both directions. Stops clips on both legs and ends earlier bridges. A
    /// leg of another media thread moves to this leg's thread first.
    pub fn bridge(&self, other: &LegMedia) {
        self.fetch(other);
        self.send_to_leg(LegCommand::Bridge(other.id));
    }

    /// Plays the audio of another leg whose party has not answered. Ringback continues until its first packet. Nothing is
    /// sent back to the other leg, and no keys are passed on. Ends earlier bridges of both legs; the next ringback ends
    /// it.
    pub fn play_early_media(&self, other: &LegMedia) {
        self.fetch(other);
        other.send_to_leg(LegCommand::EarlyMediaTo(self.id));
    }

    /// Moves another leg to the thread of this leg.
    fn fetch(&self, other: &LegMedia) {
        let target = self.thread.load(Ordering::Relaxed);
        let source = other.thread.swap(target, Ordering::Relaxed);
        if target != source
            && let (Some(to), Some(from)) = (
                self.shared.threads.get(target),
                self.shared.threads.get(source),
            )
        {
            to.send(Command::Expect(other.id));
            from.send(Command::HandOver(other.id, to.clone()));
        }
    }

    /// Ends the bridge of both legs, if any.
    pub fn unbridge(&self) {
        self.send_to_leg(LegCommand::Unbridge);
    }

    /// Prepares for the peer's media after a phase of direct media. The gap counts neither as loss nor as silence.
    pub fn interrupt(&self) {
        self.send_to_leg(LegCommand::Interrupt);
    }

    /// Records into a stereo file in the format of its extension. The left channel holds the audio of this leg's peer.
    /// The right channel holds the audio of the bridged peer or, without a bridge, our own audio to this leg. The
    /// folder must exist; the file gets its final name on completion. The recording ends with the leg. A second call
    /// during a recording is ignored. `key` encrypts the file; `None`: it is not encrypted.
    pub fn record(&self, file: PathBuf, key: Option<RecordingKey>) {
        self.send_to_leg(LegCommand::Record(file, key));
    }

    /// Sends the decoded audio to a channel as it arrives, one message per packet.
    pub fn listen(&self, samples: UnboundedSender<Vec<i16>>) {
        self.send_to_leg(LegCommand::Listen(samples));
    }

    /// Closes the leg: sends an RTCP BYE, frees the ports and completes the recording. `MediaEvent::Closed` follows.
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
        // Ignored after `close`, because the leg no longer exists.
        self.send_to_leg(LegCommand::Close { report: false });
    }
}
