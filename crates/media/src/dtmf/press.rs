//! Recognition of the telephone-event packets of one press.
//!
//! RFC 4733 identifies a press by its RTP timestamp, and marks its first packet. Many senders do
//! neither. Further evidence is therefore used: the sequence number, the key, the end bit, and the
//! course of the duration, which only grows within a press.

use std::{ops::RangeInclusive, time::Duration};

use crate::Digit;

/// Maximum age of a late packet of an earlier press.
const MAX_LATENESS: Duration = Duration::from_secs(5);
/// Limit for the step of sequence numbers inside a press. A step of this size or more is another
/// stream, not loss.
pub(super) const MAX_STEP_IN_PRESS: u16 = 250;
/// Minimum pause between two presses of a key. A packet after a shorter time can be one that the
/// network or a relay has reordered.
const MIN_PAUSE: Duration = Duration::from_millis(40);
/// Pause after which a repeated end packet with a marker is the only packet of a new press.
const MAX_REPETITION_PAUSE: Duration = Duration::from_millis(200);
/// Maximum step of the timestamp between packets of a press, for senders that change it: 100 ms.
const MAX_PACKET_STEP: u32 = 800;
/// Step of the timestamp that is too short for a new press: 40 ms.
const MIN_PRESS_STEP: u32 = 320;
/// Minimum duration of a segment of a long event: 500 ms. No press of a key with a lost end is
/// taken for one.
const MIN_SEGMENT: u16 = 4000;

/// Report of an event in a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) digit: Digit,
    pub(super) end: bool,
    pub(super) duration: u16,
    /// Maximum duration that a packet can hold.
    pub(super) max_duration: u16,
    /// Time of arrival.
    pub(super) now: Duration,
}

/// Press of a key, from its packets so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Press {
    ssrc: u32,
    digit: Digit,
    /// Timestamp of the first packet.
    start: u32,
    /// Timestamp of the last packet.
    timestamp: u32,
    /// Sequence number of the last packet.
    sequence: u16,
    /// Duration in the last packet.
    duration: u16,
    /// Time of arrival of the last packet.
    last_at: Duration,
    pub(super) ended: bool,
    /// Duration in a packet that is either out of order or the first of a new press under the same
    /// timestamp.
    restart: Option<u16>,
}

/// Relation of a report to the current press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Next packet of the press.
    Continues,
    /// Packet of the press that adds nothing: repeated or out of order.
    Repeated,
    /// Packet out of order, of an earlier press.
    Earlier,
    /// First packet of a new press.
    New,
}

impl Press {
    pub(super) fn new(report: &Report) -> Self {
        Self {
            ssrc: report.ssrc,
            digit: report.digit,
            start: report.timestamp,
            timestamp: report.timestamp,
            sequence: report.sequence,
            duration: report.duration,
            last_at: report.now,
            ended: report.end,
            restart: None,
        }
    }

    /// Returns the relation of a report to this press. `earlier` holds the presses before.
    pub(super) fn relation(
        &mut self,
        report: &Report,
        behind: bool,
        earlier: impl IntoIterator<Item = Self>,
    ) -> Relation {
        let same_stream = self.ssrc == report.ssrc || self.moves_to(report);
        if same_stream && behind && !self.is_before(report) {
            return if self.has_timestamp(report) && self.digit == report.digit {
                Relation::Repeated
            } else {
                Relation::Earlier
            };
        }
        if same_stream && self.digit == report.digit {
            if self.has_timestamp(report) {
                return self.relation_under_same_timestamp(report);
            }
            if self.continues_under_new_timestamp(report) {
                return match self.is_before(report) {
                    true => Relation::Continues,
                    false => Relation::Repeated,
                };
            }
        }
        let current = same_stream.then_some(self.timestamp);
        let mut earlier = earlier.into_iter();
        if earlier.any(|press| press.is_repeated_by(report, current)) {
            Relation::Earlier
        } else {
            Relation::New
        }
    }

    /// Returns `true` if a packet with this sequence number was sent before the last packet of this
    /// press, or is that packet.
    pub(super) fn is_behind(&self, report: &Report) -> bool {
        let back = self.sequence.wrapping_sub(report.sequence);
        let same_packet = self.has_timestamp(report) && self.digit == report.digit;
        self.ssrc == report.ssrc
            && report.now.saturating_sub(self.last_at) <= MAX_LATENESS
            && (back < MAX_STEP_IN_PRESS && (back > 0 || same_packet))
    }

    /// Returns `true` if the sender has changed its SSRC within the press, and nothing else.
    fn moves_to(&self, report: &Report) -> bool {
        let step = report.sequence.wrapping_sub(self.sequence);
        (1..MAX_STEP_IN_PRESS).contains(&step)
            && self.digit == report.digit
            && self.has_timestamp(report)
            && report.now.saturating_sub(self.last_at) <= MAX_LATENESS
    }

    /// Adds the next packet of the press.
    pub(super) fn extend(&mut self, report: &Report) {
        self.ssrc = report.ssrc;
        if self.is_before(report) {
            self.timestamp = report.timestamp;
        }
        self.sequence = report.sequence;
        self.duration = report.duration;
        self.last_at = report.now;
        self.ended |= report.end;
        self.restart = None;
    }

    /// Returns `true` if another receiver also takes a press that starts with this report for a new
    /// one: it follows the RFC.
    pub(super) fn is_followed_regularly_by(&self, report: &Report) -> bool {
        let ahead = report.timestamp.wrapping_sub(self.timestamp);
        let distinct =
            report.marker || self.digit != report.digit || ahead > u32::from(self.duration);
        self.ssrc != report.ssrc || (distinct && self.is_before(report))
    }

    fn is_before(&self, report: &Report) -> bool {
        (report.timestamp.wrapping_sub(self.timestamp) as i32) > 0
    }

    fn has_timestamp(&self, report: &Report) -> bool {
        let length = self.timestamp.wrapping_sub(self.start);
        report.timestamp.wrapping_sub(self.start) <= length
    }

    /// Decides on a packet of the same key under a timestamp of this press. Some senders use one
    /// timestamp for all presses.
    fn relation_under_same_timestamp(&mut self, report: &Report) -> Relation {
        let pause = report.now.saturating_sub(self.last_at);
        let falls = report.duration < self.duration;
        let starts = match (self.ended, report.end) {
            (false, true) => false,
            (true, true) => {
                falls && pause >= MIN_PAUSE || report.marker && pause >= MAX_REPETITION_PAUSE
            }
            (true, false) if report.marker => true,
            // The sender may have set the end bit too early.
            (true, false) if report.duration > self.duration => false,
            (false, false) if !falls => false,
            // The counter of a long press has overflowed.
            (false, false) if self.duration >= report.max_duration / 10 * 9 => false,
            // The duration starts again: a new press, or a single packet out of order that a relay
            // has given a new sequence number.
            (_, false) => {
                let grows = |first: u16| report.duration > first;
                if pause < MIN_PAUSE && !self.restart.is_some_and(grows) {
                    self.restart = Some(report.duration);
                    return Relation::Repeated;
                }
                true
            }
        };
        match starts {
            true => Relation::New,
            false if falls && self.ended => Relation::Repeated,
            false => Relation::Continues,
        }
    }

    /// Decides on a packet of the same key under a new timestamp.
    fn continues_under_new_timestamp(&self, report: &Report) -> bool {
        let ahead = report.timestamp.wrapping_sub(self.timestamp);
        let growth = report.duration.checked_sub(self.duration);
        let known = u32::from(self.duration);
        if !self.is_before(report) {
            // Out of order, from a sender that changes the timestamp in each packet.
            let behind = self.timestamp.wrapping_sub(report.timestamp);
            return !report.marker && !self.ended && behind <= MAX_PACKET_STEP;
        }
        if self.ended {
            // Only a repeated end packet follows the end.
            let longest = if report.marker { 0 } else { known };
            let limit = longest.clamp(MIN_PRESS_STEP + 1, MAX_PACKET_STEP + 1);
            return report.end && growth.is_some() && ahead < limit;
        }
        // The timestamp and the duration of such a sender grow alike, even if packets are lost.
        let alike = growth.is_some_and(|growth| ahead.abs_diff(u32::from(growth)) < MIN_PRESS_STEP);
        if report.marker {
            // A sender that marks each packet.
            return alike && growth != Some(0) && ahead <= MAX_PACKET_STEP;
        }
        match growth {
            Some(_) => ahead <= known.max(MAX_PACKET_STEP) || alike,
            None if report.end && ahead <= MAX_PACKET_STEP => true,
            None => {
                // An event longer than 65535 samples continues with a new timestamp (RFC 4733,
                // section 2.5.1.3).
                let segment: RangeInclusive<u32> = known..=known + 2 * MAX_PACKET_STEP;
                self.duration >= MIN_SEGMENT && segment.contains(&ahead)
                    || ahead == u32::from(report.max_duration)
            }
        }
    }

    /// Returns `true` if the report repeats this earlier press, although a relay has given it a new
    /// sequence number. `current` is the timestamp of the current press of the stream.
    fn is_repeated_by(&self, report: &Report, current: Option<u32>) -> bool {
        let age = report.now.saturating_sub(self.last_at);
        if self.ssrc != report.ssrc
            || self.digit != report.digit
            || !self.has_timestamp(report)
            || age > MAX_LATENESS
        {
            return false;
        }
        if current == Some(report.timestamp) {
            // Both presses have this timestamp, so it identifies neither.
            let same = report.end && report.duration == self.duration;
            return same && !report.marker && age < MAX_REPETITION_PAUSE;
        }
        report.end || !report.marker
    }
}
