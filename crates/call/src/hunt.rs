//! The search for somebody who answers, among several numbers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{DialAttempt, PhoneNumber};

/// Numbers still to try, and attempts under way.
#[derive(Debug)]
pub(crate) struct Hunt {
    undialled: VecDeque<PhoneNumber>,
    underway: Vec<UnderwayAttempt>,
    dialled: u32,
    ring_timeout: Duration,
}

#[derive(Debug)]
struct UnderwayAttempt {
    attempt: DialAttempt,
    number: PhoneNumber,
    dialled_at: Instant,
    until: Instant,
    ringing: bool,
    /// The sound that the party hears since it has answered.
    screening_playback: Option<u32>,
}

impl Hunt {
    pub(crate) fn new(numbers: Vec<PhoneNumber>, ring_timeout: Duration) -> Self {
        Self {
            undialled: numbers.into(),
            underway: Vec::new(),
            dialled: 0,
            ring_timeout,
        }
    }

    /// Whether no attempt is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.underway.is_empty()
    }

    /// Takes the next number up; `None` when all were tried.
    pub(crate) fn dial_next(&mut self, now: Instant) -> Option<(DialAttempt, PhoneNumber)> {
        let number = self.undialled.pop_front()?;
        let attempt = DialAttempt(self.dialled);
        self.dialled = self.dialled.saturating_add(1);
        let until = now + self.ring_timeout;
        self.underway.push(UnderwayAttempt {
            attempt,
            number,
            dialled_at: now,
            until,
            ringing: false,
            screening_playback: None,
        });
        Some((attempt, number))
    }

    /// The number that rings, the first time that it does.
    pub(crate) fn on_ringing(&mut self, attempt: DialAttempt) -> Option<PhoneNumber> {
        let underway = self
            .underway
            .iter_mut()
            .find(|underway| underway.attempt == attempt && !underway.ringing)?;
        underway.ringing = true;
        Some(underway.number)
    }

    /// The party of an attempt has answered, and has until a moment to be connected; `None`: there is no such attempt,
    /// or it has answered before.
    pub(crate) fn on_answered(
        &mut self,
        attempt: DialAttempt,
        playback: u32,
        until: Instant,
    ) -> Option<()> {
        let underway = self.underway.iter_mut().find(|underway| {
            underway.attempt == attempt && underway.screening_playback.is_none()
        })?;
        (underway.screening_playback, underway.until) = (Some(playback), until);
        Some(())
    }

    /// The attempt whose party has heard a sound to its end, and has until a moment from now on.
    pub(crate) fn on_playback_finished(
        &mut self,
        playback: u32,
        until: Instant,
    ) -> Option<DialAttempt> {
        let underway = self
            .underway
            .iter_mut()
            .find(|underway| underway.screening_playback == Some(playback))?;
        underway.until = until;
        Some(underway.attempt)
    }

    /// Whether the party of an attempt has answered.
    pub(crate) fn is_screening(&self, attempt: DialAttempt) -> bool {
        self.underway
            .iter()
            .any(|underway| underway.attempt == attempt && underway.screening_playback.is_some())
    }

    /// Takes an attempt out: it was answered or failed.
    pub(crate) fn remove(&mut self, attempt: DialAttempt) -> Option<(PhoneNumber, Instant)> {
        let index = self
            .underway
            .iter()
            .position(|underway| underway.attempt == attempt)?;
        let underway = self.underway.swap_remove(index);
        Some((underway.number, underway.dialled_at))
    }

    /// Takes out an attempt that has rung too long.
    pub(crate) fn remove_expired(&mut self, now: Instant) -> Option<DialAttempt> {
        let index = self
            .underway
            .iter()
            .position(|underway| underway.until <= now)?;
        Some(self.underway.swap_remove(index).attempt)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.underway.iter().map(|underway| underway.until).min()
    }

    /// What is still under way, to be withdrawn.
    pub(crate) fn into_attempts(self) -> impl Iterator<Item = DialAttempt> {
        self.underway.into_iter().map(|underway| underway.attempt)
    }
}
