//! The poll loop of one media thread.

mod relay;

use std::{
    collections::HashMap,
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use media::{Digit, DigitSource, Ringback, RingbackTone, SRTP_OVERHEAD, StereoTimeline};
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc::UnboundedSender;

use super::leg::Leg;
use super::plane::{Command, Order, ThreadLink};
use super::{MediaEvent, MediaId, MediaSettings, Remote};
use crate::calls::media::recording::writer::{Recording, Writer};

/// The token of the waker; legs use two tokens a slot from 0 on.
pub(super) const WAKE: usize = usize::MAX;
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at silence, RTCP and recordings.
const SWEEP: Duration = Duration::from_millis(250);
/// From so many packets in one second on, gathering pays.
const BUSY: u32 = 5000;
/// Datagrams read from one socket before others get their turn.
const FAIR_SHARE: usize = 32;
/// The longest datagram that we take whole: an Ethernet frame.
const DATAGRAM: usize = 1500;

/// One media thread.
pub(super) struct Worker {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    events: UnboundedSender<MediaEvent>,
    writer: Writer,
    silence_limit: Duration,
    gather: Duration,
    ringback: Ringback,
    origin: Instant,
    now: Duration,
    slots: Vec<Option<Box<Leg>>>,
    vacant: Vec<usize>,
    by_id: HashMap<MediaId, usize>,
    /// What was told to legs that are still on their way here.
    expected: HashMap<MediaId, Vec<Order>>,
    ticking: Vec<usize>,
    /// Sockets that had more than their fair share.
    again: Vec<usize>,
    next_tick: Duration,
    next_sweep: Duration,
    load: Load,
    /// Taken out while a socket is read.
    datagram: Vec<u8>,
    samples: [i16; DATAGRAM],
}

/// Packets a second, to tell whether gathering pays.
#[derive(Default)]
struct Load {
    since: Duration,
    packets: u32,
    busy: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: mpsc::Receiver<Command>,
        events: UnboundedSender<MediaEvent>,
        writer: Writer,
        settings: &MediaSettings,
        origin: Instant,
    ) -> Self {
        Self {
            poll,
            inbox,
            events,
            writer,
            silence_limit: settings.silence_limit,
            gather: settings.gather,
            ringback: settings.ringback.clone(),
            origin,
            now: Duration::ZERO,
            slots: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::new(),
            expected: HashMap::new(),
            ticking: Vec::new(),
            again: Vec::new(),
            next_tick: Duration::ZERO,
            next_sweep: Duration::ZERO,
            load: Load::default(),
            datagram: vec![0; DATAGRAM + SRTP_OVERHEAD],
            samples: [0; DATAGRAM],
        }
    }

    /// Serves until the plane is gone.
    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(1024);
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.pause()) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                tracing::error!(%error, "media thread cannot poll its sockets");
                return;
            }
            self.now = self.origin.elapsed();
            // Orders first: what was told before a packet was sent holds for that packet.
            if self.obey().is_err() {
                return;
            }
            self.again
                .drain(..)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|token| self.drain(token));
            ready
                .iter()
                .filter(|event| event.token().0 != WAKE)
                .for_each(|event| self.drain(event.token().0));
            self.tick_if_due();
            self.sweep_if_due();
            if self.load.is_busy(self.now) && self.again.is_empty() && !self.gather.is_zero() {
                thread::sleep(self.gather);
            }
        }
    }

    /// How long the poll may wait.
    fn pause(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = self.origin.elapsed();
        let tick = (!self.ticking.is_empty()).then(|| self.next_tick.saturating_sub(now));
        let sweep = (!self.by_id.is_empty()).then(|| self.next_sweep.saturating_sub(now));
        tick.into_iter().chain(sweep).min()
    }

    /// Reads what waits at one socket.
    fn drain(&mut self, token: usize) {
        let Some(mut leg) = self.slots.get_mut(token / 2).and_then(Option::take) else {
            return;
        };
        let is_rtp = token.is_multiple_of(2);
        let mut datagram = std::mem::take(&mut self.datagram);
        let mut read = 0;
        while read < FAIR_SHARE {
            let socket = if is_rtp {
                &leg.ports.rtp
            } else {
                &leg.ports.rtcp
            };
            match socket.recv_from(datagram.get_mut(..DATAGRAM).unwrap_or_default()) {
                Ok((length, from)) if is_rtp => self.packet(&mut leg, &mut datagram, length, from),
                Ok((length, from)) => {
                    leg.receive_rtcp(
                        datagram.get_mut(..length).unwrap_or_default(),
                        from,
                        self.now,
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error for what we sent (RFC 1122, section 4.1.3.3): the peer's port is closed. Read on.
                Err(_) => {}
            }
            read += 1;
        }
        self.datagram = datagram;
        if read == FAIR_SHARE {
            self.again.push(token);
        }
        if let Some(slot) = self.slots.get_mut(token / 2) {
            *slot = Some(leg);
        }
        self.start_ticks(token / 2);
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
        // After a stall we go on from here rather than send a burst.
        self.next_tick = if self.now - self.next_tick > TICK * 5 {
            self.now + TICK
        } else {
            self.next_tick + TICK
        };
        self.release_waiting();
        let (slots, events, now) = (&mut self.slots, &self.events, self.now);
        self.ticking.retain(|slot| {
            let Some(Some(leg)) = slots.get_mut(*slot) else {
                return false;
            };
            let ticked = leg.tick(now);
            if let Some(token) = ticked.finished {
                tell(events, MediaEvent::PlayFinished { id: leg.id, token });
            }
            leg.ticking = ticked.more;
            ticked.more
        });
    }

    /// Gives up packets that did not come in time, so that those behind them go on.
    fn release_waiting(&mut self) {
        let is_waiting = |slot: &usize| {
            self.slots
                .get(*slot)
                .is_some_and(|leg| leg.as_ref().is_some_and(|leg| leg.is_waiting()))
        };
        let waiting: Vec<usize> = self.ticking.iter().copied().filter(is_waiting).collect();
        for slot in waiting {
            let Some(mut leg) = self.slots.get_mut(slot).and_then(Option::take) else {
                continue;
            };
            self.release(&mut leg);
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(leg);
            }
        }
    }

    fn sweep_if_due(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now + SWEEP;
        for leg in self.slots.iter_mut().flatten() {
            leg.report_if_due(self.now);
            if leg.fell_silent(self.silence_limit, self.now) {
                tell(&self.events, MediaEvent::Silent { id: leg.id });
            }
            while let Some(block) = leg
                .recording
                .as_mut()
                .and_then(|recording| recording.timeline.next_block(self.now))
            {
                self.writer.write(leg.id, block);
            }
        }
    }

    /// Carries out what was told; an error when the plane is gone.
    fn obey(&mut self) -> Result<(), mpsc::TryRecvError> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Shutdown) => return Err(mpsc::TryRecvError::Disconnected),
                Ok(command) => self.command(command),
                Err(mpsc::TryRecvError::Empty) => return Ok(()),
                Err(gone) => return Err(gone),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Adopt(leg) => self.adopt(leg),
            Command::Expect(id) => drop(self.expected.insert(id, Vec::new())),
            Command::HandOver(id, to) => self.hand_over(id, &to),
            Command::Leg(id, order) => self.order_or_keep(id, order),
            Command::Shutdown => {}
        }
    }

    fn adopt(&mut self, mut leg: Box<Leg>) {
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        let registry = self.poll.registry();
        let rtp = registry.register(&mut leg.ports.rtp, Token(slot * 2), Interest::READABLE);
        let rtcp = registry.register(&mut leg.ports.rtcp, Token(slot * 2 + 1), Interest::READABLE);
        if let Err(error) = rtp.and(rtcp) {
            // Such a leg hears nothing; the silence limit ends its call.
            tracing::error!(%error, "media socket cannot be polled");
        }
        let id = leg.id;
        self.by_id.insert(id, slot);
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(leg);
        }
        self.start_ticks(slot);
        let kept = self.expected.remove(&id).unwrap_or_default();
        kept.into_iter()
            .for_each(|order| self.order_or_keep(id, order));
    }

    fn hand_over(&mut self, id: MediaId, to: &ThreadLink) {
        self.order(id, Order::Unbridge);
        let Some(mut leg) = self.remove(id) else {
            return;
        };
        // The sockets stay open; a socket that is not registered here cannot fail to be deregistered.
        let _ = self.poll.registry().deregister(&mut leg.ports.rtp);
        let _ = self.poll.registry().deregister(&mut leg.ports.rtcp);
        leg.ticking = false;
        to.tell(Command::Adopt(leg));
    }

    /// Orders for a leg that is still on its way here wait for it; so does a bridge to one.
    fn order_or_keep(&mut self, id: MediaId, order: Order) {
        if let Some(kept) = self.expected.get_mut(&id) {
            return kept.push(order);
        }
        match order {
            Order::Bridge(other) if self.expected.contains_key(&other) => {
                // Seen from the other leg it is the same bridge.
                self.expected
                    .entry(other)
                    .or_default()
                    .push(Order::Bridge(id));
            }
            order => self.order(id, order),
        }
    }

    fn order(&mut self, id: MediaId, order: Order) {
        let Some(slot) = self.by_id.get(&id).copied() else {
            return;
        };
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        match order {
            Order::Connect(remote) => self.connect(slot, &remote),
            Order::Play(clip, token) => leg.play(clip, token),
            Order::Ringback => leg.play_ringback(RingbackTone::new(&self.ringback)),
            Order::StopPlaying => leg.stop_playing(),
            Order::SendDigits(digits) => leg.press(digits),
            Order::Bridge(other) => self.bridge(slot, other),
            Order::Unbridge => self.unbridge(slot),
            Order::Interrupt => leg.interrupt(self.now),
            Order::Record(path) => {
                if leg.recording.is_none() {
                    leg.recording = Some(Box::new(Recording {
                        timeline: StereoTimeline::new(self.now),
                    }));
                    self.writer.begin(id, path);
                }
            }
            Order::Listen(listener) => leg.listener = Some(listener),
            Order::Close { report } => self.close(id, report),
        }
        self.start_ticks(slot);
    }

    fn connect(&mut self, slot: usize, remote: &Remote) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        leg.connect(remote, self.now);
        // Silence of a peer that is put on hold is silence.
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
        for (here, there) in [(slot, other), (other, slot)] {
            if let Some(Some(leg)) = self.slots.get_mut(here) {
                leg.bridged = Some(there);
                leg.press_passes = false;
                leg.stop_playing();
            }
        }
    }

    fn unbridge(&mut self, slot: usize) {
        let Some(Some(leg)) = self.slots.get_mut(slot) else {
            return;
        };
        leg.stop_noise();
        if let Some(Some(other)) = leg
            .bridged
            .take()
            .and_then(|other| self.slots.get_mut(other))
        {
            other.bridged = None;
            other.stop_noise();
        }
    }

    fn close(&mut self, id: MediaId, report: bool) {
        self.order(id, Order::Unbridge);
        let Some(mut leg) = self.remove(id) else {
            return;
        };
        leg.say_goodbye(self.now);
        let closed = report.then(|| MediaEvent::Closed {
            id,
            report: leg.report(),
        });
        let recording = leg.recording.take();
        // The ports are free before anybody hears that the leg is closed.
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
                .for_each(|event| tell(&self.events, event)),
        }
    }

    fn remove(&mut self, id: MediaId) -> Option<Box<Leg>> {
        let slot = self.by_id.remove(&id)?;
        let leg = self.slots.get_mut(slot)?.take();
        self.vacant.push(slot);
        self.ticking.retain(|ticking| *ticking != slot);
        leg
    }
}

impl Load {
    fn is_busy(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= Duration::from_secs(1) {
            self.busy = self.packets >= BUSY;
            self.packets = 0;
            self.since = now;
        }
        self.busy
    }
}

fn tell_digit(
    events: &UnboundedSender<MediaEvent>,
    id: MediaId,
    digit: Digit,
    source: DigitSource,
) {
    tell(events, MediaEvent::Digit { id, digit, source });
}

fn tell(events: &UnboundedSender<MediaEvent>, event: MediaEvent) {
    // Nobody listens any more while the engine shuts down.
    let _ = events.send(event);
}
