//! Poll loop of one media thread.

mod relay;

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use media::{Digit, DigitSource, Ringback, RingbackTone, SRTP_OVERHEAD, StereoTimeline};
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc::UnboundedSender;

use super::command::{Command, LegCommand, ThreadHandle};
use super::leg::MediaLeg;
use super::{MediaEvent, MediaId, MediaReport, MediaSettings, Remote};
use crate::calls::media::recording::writer::{LegRecording, RecordingWriter};
use crate::calls::source_address::unmapped;
use crate::supervision::{PartGuard, Supervisor, isolate};

/// Token of the waker. Legs use two tokens per slot, starting at 0.
pub(super) const WAKER_TOKEN: usize = usize::MAX;
const TICK_INTERVAL: Duration = Duration::from_millis(20);
/// Delay after which missed ticks are dropped.
const MAX_TICK_DELAY: Duration = Duration::from_millis(100);
/// Interval of the checks for silence, RTCP and recordings.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Packet rate above which the thread gathers packets between polls.
const BUSY_PACKETS_PER_SECOND: u32 = 5000;
/// Number of served sockets in a turn after which the thread polls again at once.
const MAX_GATHERED: usize = 256;
/// Maximum number of datagrams read from one socket before the other sockets are served.
const MAX_DATAGRAMS_PER_TURN: usize = 32;
/// Maximum datagram size in octets, as in an Ethernet frame.
const DATAGRAM_BYTES: usize = 1500;

/// State of one media thread.
pub(super) struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    events: UnboundedSender<MediaEvent>,
    writer: RecordingWriter,
    silence_limit: Duration,
    unanswered_limit: Duration,
    gather: Duration,
    ringback: Ringback,
    origin: Instant,
    now: Duration,
    slots: Vec<Option<Box<MediaLeg>>>,
    vacant: Vec<usize>,
    by_id: HashMap<MediaId, usize>,
    /// Queued commands for legs in transit from another thread.
    arriving: HashMap<MediaId, Vec<LegCommand>>,
    /// Legs removed after a panic whose call has not closed them yet.
    failed: HashSet<MediaId>,
    supervisor: Supervisor,
    ticking: Vec<usize>,
    /// Sockets with more datagrams than one turn allows.
    unfinished_sockets: Vec<usize>,
    next_tick: Duration,
    next_sweep: Duration,
    packet_rate: PacketRate,
    /// Taken out of the struct while a socket is read.
    datagram: Vec<u8>,
    samples: [i16; DATAGRAM_BYTES],
}

/// Packets per second, to decide about gathering.
#[derive(Default)]
struct PacketRate {
    since: Duration,
    packets: u32,
    busy: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: mpsc::Receiver<Command>,
        events: UnboundedSender<MediaEvent>,
        writer: RecordingWriter,
        settings: &MediaSettings,
        origin: Instant,
    ) -> Self {
        Self {
            poll,
            inbox,
            events,
            writer,
            silence_limit: settings.silence_limit,
            unanswered_limit: settings.unanswered_limit,
            gather: settings.gather,
            ringback: settings.ringback.clone(),
            origin,
            now: Duration::ZERO,
            slots: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::new(),
            arriving: HashMap::new(),
            failed: HashSet::new(),
            supervisor: settings.supervisor.clone(),
            ticking: Vec::new(),
            unfinished_sockets: Vec::new(),
            next_tick: Duration::ZERO,
            next_sweep: Duration::ZERO,
            packet_rate: PacketRate::default(),
            datagram: vec![0; DATAGRAM_BYTES + SRTP_OVERHEAD],
            samples: [0; DATAGRAM_BYTES],
        }
    }

    /// Serves all legs until the plane is dropped.
    pub(super) fn run(mut self, guard: PartGuard) {
        let mut ready = Events::with_capacity(1024);
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.poll_timeout()) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                tracing::error!(%error, "media thread cannot poll its sockets; stopping the thread");
                return;
            }
            guard.fail_point();
            self.now = self.origin.elapsed();
            // Commands go first: a command sent before a packet applies to this packet.
            if self.run_commands().is_err() {
                return guard.end();
            }
            self.unfinished_sockets
                .drain(..)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|token| self.isolate(token / 2, |worker| worker.read_socket(token)));
            ready
                .iter()
                .filter(|event| event.token().0 != WAKER_TOKEN)
                .map(|event| event.token().0)
                .for_each(|token| self.isolate(token / 2, |worker| worker.read_socket(token)));
            self.tick_if_due();
            self.sweep_if_due();
            self.gather_packets(ready.iter().count());
        }
    }

    /// Lets packets gather on a busy thread, so that one poll serves more of them. The thread sleeps to the next point of
    /// a fixed grid: a turn that takes long shortens the sleep. `served` is the number of sockets served in this turn.
    fn gather_packets(&mut self, served: usize) {
        let elapsed = self.origin.elapsed();
        let is_large = served >= MAX_GATHERED || elapsed.saturating_sub(self.now) >= self.gather;
        if self.packet_rate.is_busy(self.now) && self.unfinished_sockets.is_empty() && !is_large {
            thread::sleep(until_grid_point(elapsed, self.gather));
        }
    }

    /// Returns the maximum time for the next poll.
    fn poll_timeout(&self) -> Option<Duration> {
        if !self.unfinished_sockets.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = self.origin.elapsed();
        let tick = (!self.ticking.is_empty()).then(|| self.next_tick.saturating_sub(now));
        let sweep = (!self.by_id.is_empty()).then(|| self.next_sweep.saturating_sub(now));
        tick.into_iter().chain(sweep).min()
    }

    /// Reads the pending datagrams of one socket.
    fn read_socket(&mut self, token: usize) {
        let Some(mut leg) = self.slots.get_mut(token / 2).and_then(Option::take) else {
            return;
        };
        self.supervisor.fail_point("media_leg");
        let is_rtp = token.is_multiple_of(2);
        let mut datagram = std::mem::take(&mut self.datagram);
        let mut read = 0;
        while read < MAX_DATAGRAMS_PER_TURN {
            let socket = if is_rtp {
                &leg.ports.rtp
            } else {
                &leg.ports.rtcp
            };
            match socket.recv_from(datagram.get_mut(..DATAGRAM_BYTES).unwrap_or_default()) {
                Ok((length, from)) if is_rtp => {
                    self.on_datagram(&mut leg, &mut datagram, length, unmapped(from))
                }
                Ok((length, from)) => {
                    leg.receive_rtcp(
                        datagram.get_mut(..length).unwrap_or_default(),
                        unmapped(from),
                        self.now,
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ICMP error for a sent packet: the peer's port is closed (RFC 1122, section 4.1.3.3). Continue to
                // read.
                Err(_) => {}
            }
            read = usize::saturating_add(read, 1);
        }
        self.datagram = datagram;
        if read == MAX_DATAGRAMS_PER_TURN {
            self.unfinished_sockets.push(token);
        }
        if let Some(slot) = self.slots.get_mut(token / 2) {
            *slot = Some(leg);
        }
        self.start_ticks(token / 2);
    }

    /// Runs the processing of one leg. If it panics, that leg ends and no other.
    fn isolate(&mut self, slot: usize, process: impl FnOnce(&mut Self)) {
        let leg = self.slots.get(slot).and_then(Option::as_ref);
        let id = leg.map(|leg| leg.id);
        if isolate(|| process(self)).is_none()
            && let Some(id) = id
        {
            self.on_panic(slot, id);
        }
    }

    /// Removes a leg whose processing panicked.
    fn on_panic(&mut self, slot: usize, id: MediaId) {
        tracing::error!("processing of a leg's media failed; ending its call");
        self.datagram.resize(DATAGRAM_BYTES + SRTP_OVERHEAD, 0);
        if self.by_id.remove(&id).is_none() {
            // The leg was being closed.
            let report = MediaReport::default();
            return emit(&self.events, MediaEvent::Closed { id, report });
        }
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = None;
            self.vacant.push(slot);
        }
        self.ticking.retain(|ticking| *ticking != slot);
        for leg in self.slots.iter_mut().flatten() {
            leg.bridged = leg.bridged.filter(|bridged| *bridged != slot);
            leg.early_source = leg.early_source.filter(|source| *source != slot);
        }
        self.failed.insert(id);
        emit(&self.events, MediaEvent::Failed { id });
    }

    fn start_ticks(&mut self, slot: usize) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        if leg.needs_ticks() && !std::mem::replace(&mut leg.ticking, true) {
            if self.ticking.is_empty() {
                self.next_tick = self.next_tick.max(self.now);
            }
            self.ticking.push(slot);
        }
    }

    fn tick_if_due(&mut self) {
        if self.ticking.is_empty() || self.now < self.next_tick {
            return;
        }
        // After a stall the next tick starts from now, to avoid a burst.
        self.next_tick = if self.now.saturating_sub(self.next_tick) > MAX_TICK_DELAY {
            self.now.saturating_add(TICK_INTERVAL)
        } else {
            self.next_tick.saturating_add(TICK_INTERVAL)
        };
        self.release_overdue();
        let (slots, events, now) = (&mut self.slots, &self.events, self.now);
        let mut failed = Vec::new();
        self.ticking.retain(|slot| {
            let Some(Some(leg)) = slots.get_mut(*slot) else {
                return false;
            };
            let Some(ticked) = isolate(|| leg.tick(now)) else {
                failed.push((*slot, leg.id));
                return false;
            };
            if let Some(token) = ticked.finished {
                emit(events, MediaEvent::PlayFinished { id: leg.id, token });
            }
            leg.ticking = ticked.more;
            ticked.more
        });
        for (slot, id) in failed {
            self.on_panic(slot, id);
        }
    }

    /// Gives up missing packets after their deadline, so that the packets behind them continue.
    fn release_overdue(&mut self) {
        let is_waiting = |slot: &usize| {
            self.slots
                .get(*slot)
                .is_some_and(|leg| leg.as_ref().is_some_and(|leg| leg.is_waiting()))
        };
        let waiting: Vec<usize> = self.ticking.iter().copied().filter(is_waiting).collect();
        for slot in waiting {
            self.isolate(slot, |worker| worker.release_slot(slot));
        }
    }

    fn release_slot(&mut self, slot: usize) {
        let Some(mut leg) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.release_due(&mut leg);
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = Some(leg);
        }
    }

    fn sweep_if_due(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.saturating_add(SWEEP_INTERVAL);
        for slot in 0..self.slots.len() {
            self.isolate(slot, |worker| worker.sweep(slot));
        }
    }

    fn sweep(&mut self, slot: usize) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        leg.check_answered(self.unanswered_limit, self.now);
        if leg.report_if_due(self.now) {
            let (id, report) = (leg.id, leg.report());
            emit(&self.events, MediaEvent::Report { id, report });
        }
        if leg.check_silence(self.silence_limit, self.now) {
            emit(&self.events, MediaEvent::Silent { id: leg.id });
        }
        while let Some(block) = leg
            .recording
            .as_mut()
            .and_then(|recording| recording.timeline.next_block(self.now))
        {
            self.writer.write(leg.id, block);
        }
    }

    /// Runs the pending commands. Returns an error if the plane was dropped.
    fn run_commands(&mut self) -> Result<(), mpsc::TryRecvError> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Shutdown) => return Err(mpsc::TryRecvError::Disconnected),
                Ok(command) => self.run_command(command),
                Err(mpsc::TryRecvError::Empty) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn run_command(&mut self, command: Command) {
        match command {
            Command::Adopt(leg) => self.adopt(leg),
            Command::Expect(id) => drop(self.arriving.insert(id, Vec::new())),
            Command::HandOver(id, to) => self.hand_over(id, &to),
            Command::Leg(id, command) => match self.by_id.get(&id).copied() {
                Some(slot) => self.isolate(slot, |worker| worker.apply_or_queue(id, command)),
                None => self.apply_or_queue(id, command),
            },
            Command::Shutdown => {}
        }
    }

    fn adopt(&mut self, mut leg: Box<MediaLeg>) {
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        let registry = self.poll.registry();
        let token = slot.saturating_mul(2);
        let rtp = registry.register(&mut leg.ports.rtp, Token(token), Interest::READABLE);
        let token = Token(token.saturating_add(1));
        let rtcp = registry.register(&mut leg.ports.rtcp, token, Interest::READABLE);
        if let Err(error) = rtp.and(rtcp) {
            // Such a leg receives nothing, and the silence limit ends its call.
            tracing::error!(%error, "cannot poll a media socket");
        }
        let id = leg.id;
        self.by_id.insert(id, slot);
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = Some(leg);
        }
        self.start_ticks(slot);
        let queued = self.arriving.remove(&id).unwrap_or_default();
        queued
            .into_iter()
            .for_each(|command| self.apply_or_queue(id, command));
    }

    fn hand_over(&mut self, id: MediaId, to: &ThreadHandle) {
        self.apply(id, LegCommand::Unbridge);
        let Some(mut leg) = self.remove(id) else {
            return;
        };
        // The sockets stay open. An error only means that a socket was not registered here.
        let _ = self.poll.registry().deregister(&mut leg.ports.rtp);
        let _ = self.poll.registry().deregister(&mut leg.ports.rtcp);
        leg.ticking = false;
        to.send(Command::Adopt(leg));
    }

    /// Applies a command to a leg, or queues it while the leg, or the leg to bridge with, is in transit.
    fn apply_or_queue(&mut self, id: MediaId, command: LegCommand) {
        if let Some(queued) = self.arriving.get_mut(&id) {
            return queued.push(command);
        }
        match command {
            LegCommand::Bridge(other) if self.arriving.contains_key(&other) => {
                // The bridge is symmetric, so the other leg can execute it.
                self.arriving
                    .entry(other)
                    .or_default()
                    .push(LegCommand::Bridge(id));
            }
            command => self.apply(id, command),
        }
    }

    fn apply(&mut self, id: MediaId, command: LegCommand) {
        let Some(slot) = self.by_id.get(&id).copied() else {
            return self.on_command_for_failed_leg(id, &command);
        };
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        match command {
            LegCommand::Connect(remote) => self.connect(slot, &remote),
            LegCommand::Play(clip, token) => leg.play(clip, token),
            LegCommand::Ringback => self.play_ringback(slot),
            LegCommand::StopPlaying => leg.stop_playing(),
            LegCommand::SendDigits(digits) => leg.send_keys(digits),
            LegCommand::Bridge(other) => self.bridge(slot, other),
            LegCommand::EarlyMediaTo(listener) => self.play_early_media(slot, listener),
            LegCommand::Unbridge => self.unbridge(slot),
            LegCommand::Interrupt => leg.interrupt(self.now),
            LegCommand::Record(path, key) => {
                if leg.recording.is_none() {
                    leg.recording = Some(Box::new(LegRecording {
                        timeline: StereoTimeline::new(self.now),
                    }));
                    self.writer.start_recording(id, path, key);
                }
            }
            LegCommand::Listen(listener) => leg.listener = Some(listener),
            LegCommand::Close { report } => self.close(id, report),
        }
        self.start_ticks(slot);
    }

    /// Answers the close of a leg that is gone after a panic, and completes its recording.
    fn on_command_for_failed_leg(&mut self, id: MediaId, command: &LegCommand) {
        if let LegCommand::Close { report } = command
            && self.failed.remove(&id)
        {
            let report = report.then(MediaReport::default);
            let closed = report.map(|report| MediaEvent::Closed { id, report });
            self.writer.finish(id, closed);
        }
    }

    fn connect(&mut self, slot: usize, remote: &Remote) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        leg.connect(remote, self.now);
        // A peer on hold is silent on purpose.
        if let Some(Some(other)) = leg.bridged.and_then(|other| self.slots.get_mut(other)) {
            other.stop_noise();
        }
    }

    fn bridge(&mut self, slot: usize, other: MediaId) {
        let Some(other) = self
            .by_id
            .get(&other)
            .copied()
            .filter(|other| *other != slot)
        else {
            return;
        };
        self.unbridge(slot);
        self.unbridge(other);
        for (slot, peer) in [(slot, other), (other, slot)] {
            if let Some(Some(leg)) = self.slots.get_mut(slot) {
                leg.bridged = Some(peer);
                leg.forwards_press = false;
                leg.stop_playing();
            }
        }
    }

    fn unbridge(&mut self, slot: usize) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        leg.stop_noise();
        let others = [leg.bridged.take(), leg.early_source.take()];
        for other in others.into_iter().flatten() {
            if let Some(Some(other)) = self.slots.get_mut(other) {
                (other.bridged, other.early_source) = (None, None);
                other.stop_noise();
            }
        }
    }

    /// Plays ringback to a leg in place of early media.
    fn play_ringback(&mut self, slot: usize) {
        let leg = self.slots.get(slot).and_then(Option::as_ref);
        if leg.is_some_and(|leg| leg.early_source.is_some()) {
            self.unbridge(slot);
        }
        if let Some(Some(leg)) = self.slots.get_mut(slot) {
            leg.play_ringback(RingbackTone::new(&self.ringback));
        }
    }

    /// Plays the early media of the leg in `source` to a listener.
    fn play_early_media(&mut self, source: usize, listener: MediaId) {
        let listener = self.by_id.get(&listener).copied();
        let Some(listener) = listener.filter(|listener| *listener != source) else {
            return;
        };
        self.unbridge(source);
        self.unbridge(listener);
        if let Some(Some(leg)) = self.slots.get_mut(source) {
            leg.bridged = Some(listener);
            leg.forwards_press = false;
        }
        if let Some(Some(leg)) = self.slots.get_mut(listener) {
            leg.early_source = Some(source);
        }
    }

    fn close(&mut self, id: MediaId, report: bool) {
        self.apply(id, LegCommand::Unbridge);
        let Some(mut leg) = self.remove(id) else {
            return;
        };
        leg.send_bye(self.now);
        let closed = report.then(|| MediaEvent::Closed {
            id,
            report: leg.report(),
        });
        let recording = leg.recording.take();
        // The ports must be free before the `Closed` event.
        drop(leg);
        match recording {
            Some(mut recording) => {
                while let Some(block) = recording.timeline.finish(self.now) {
                    self.writer.write(id, block);
                }
                self.writer.finish(id, closed);
            }
            None => closed
                .into_iter()
                .for_each(|event| emit(&self.events, event)),
        }
    }

    fn remove(&mut self, id: MediaId) -> Option<Box<MediaLeg>> {
        let slot = self.by_id.remove(&id)?;
        let leg = self.slots.get_mut(slot)?.take();
        self.vacant.push(slot);
        self.ticking.retain(|ticking| *ticking != slot);
        leg
    }
}

/// Returns the time from `elapsed` to the next multiple of `interval`; zero for an interval of zero.
fn until_grid_point(elapsed: Duration, interval: Duration) -> Duration {
    let past = elapsed.as_nanos().checked_rem(interval.as_nanos());
    let past = past.and_then(|past| u64::try_from(past).ok());
    past.map_or(Duration::ZERO, |past| {
        interval.saturating_sub(Duration::from_nanos(past))
    })
}

impl PacketRate {
    fn is_busy(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= Duration::from_secs(1) {
            self.busy = self.packets >= BUSY_PACKETS_PER_SECOND;
            self.packets = 0;
            self.since = now;
        }
        self.busy
    }
}

fn emit_digit(
    events: &UnboundedSender<MediaEvent>,
    id: MediaId,
    digit: Digit,
    source: DigitSource,
) {
    emit(events, MediaEvent::Digit { id, digit, source });
}

fn emit(events: &UnboundedSender<MediaEvent>, event: MediaEvent) {
    // The receiver is gone during the shutdown of the engine.
    let _ = events.send(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sleep_ends_at_the_next_point_of_the_grid() {
        let micros = Duration::from_micros;
        let grid = micros(500);
        for (elapsed, sleep) in [(0, 500), (1, 499), (499, 1), (500, 500), (1_700, 300)] {
            assert_eq!(until_grid_point(micros(elapsed), grid), micros(sleep));
        }
        assert_eq!(until_grid_point(micros(7), Duration::ZERO), Duration::ZERO);
    }
}
