//! Hunting: dialling several numbers until a party answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{DialAttempt, PhoneNumber};

/// Numbers that are not dialled yet, and the attempts in progress.
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
    /// Playback of the screening prompt; `None` until the party answers.
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

    /// Returns `true` if no attempt is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.underway.is_empty()
    }

    /// Starts an attempt for the next number; `None` if all numbers have been dialled.
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

    /// Returns the number of an attempt the first time it rings.
    pub(crate) fn on_ringing(&mut self, attempt: DialAttempt) -> Option<PhoneNumber> {
        let underway = self
            .underway
            .iter_mut()
            .find(|underway| underway.attempt == attempt && !underway.ringing)?;
        underway.ringing = true;
        Some(underway.number)
    }

    /// Marks an attempt as answered and sets its deadline for the connection. Returns `None` for an
    /// unknown attempt or a repeated answer.
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

    /// Finds the attempt whose screening prompt has ended, and sets its new deadline.
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

    /// Returns `true` if the party of an attempt has answered and is being screened.
    pub(crate) fn is_screening(&self, attempt: DialAttempt) -> bool {
        self.underway
            .iter()
            .any(|underway| underway.attempt == attempt && underway.screening_playback.is_some())
    }

    /// Removes an attempt that was answered or has failed.
    pub(crate) fn remove(&mut self, attempt: DialAttempt) -> Option<(PhoneNumber, Instant)> {
        let index = self
            .underway
            .iter()
            .position(|underway| underway.attempt == attempt)?;
        let underway = self.underway.swap_remove(index);
        Some((underway.number, underway.dialled_at))
    }

    /// Removes an attempt that has passed its deadline.
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

    /// Returns the attempts in progress, to be withdrawn.
    pub(crate) fn into_attempts(self) -> impl Iterator<Item = DialAttempt> {
        self.underway.into_iter().map(|underway| underway.attempt)
    }
}
