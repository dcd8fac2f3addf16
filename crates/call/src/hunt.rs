//! The search for somebody who answers, among several numbers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::PhoneNumber;
use crate::script::Attempt;

/// Numbers still to try, and attempts under way.
#[derive(Debug)]
pub(crate) struct Hunt {
    waiting: VecDeque<PhoneNumber>,
    underway: Vec<Underway>,
    dialled: u32,
    ring_timeout: Duration,
}

#[derive(Debug)]
struct Underway {
    attempt: Attempt,
    number: PhoneNumber,
    dialled_at: Instant,
    until: Instant,
    ringing: bool,
    /// The sound that the party hears since it has answered.
    screened: Option<u32>,
}

impl Hunt {
    pub(crate) fn new(numbers: Vec<PhoneNumber>, ring_timeout: Duration) -> Self {
        Self {
            waiting: numbers.into(),
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
    pub(crate) fn dial_next(&mut self, now: Instant) -> Option<(Attempt, PhoneNumber)> {
        let number = self.waiting.pop_front()?;
        let attempt = Attempt(self.dialled);
        self.dialled = self.dialled.saturating_add(1);
        let until = now + self.ring_timeout;
        self.underway.push(Underway {
            attempt,
            number,
            dialled_at: now,
            until,
            ringing: false,
            screened: None,
        });
        Some((attempt, number))
    }

    /// The number that rings, the first time that it does.
    pub(crate) fn ringing(&mut self, attempt: Attempt) -> Option<PhoneNumber> {
        let found = self
            .underway
            .iter_mut()
            .find(|one| one.attempt == attempt && !one.ringing)?;
        found.ringing = true;
        Some(found.number)
    }

    /// The party of an attempt has answered, and has until a moment to be connected; `None`: there is no such attempt,
    /// or it has answered before.
    pub(crate) fn screen(&mut self, attempt: Attempt, playback: u32, until: Instant) -> Option<()> {
        let found = self
            .underway
            .iter_mut()
            .find(|one| one.attempt == attempt && one.screened.is_none())?;
        (found.screened, found.until) = (Some(playback), until);
        Some(())
    }

    /// The attempt whose party has heard a sound to its end, and has until a moment from now on.
    pub(crate) fn heard(&mut self, playback: u32, until: Instant) -> Option<Attempt> {
        let found = self
            .underway
            .iter_mut()
            .find(|one| one.screened == Some(playback))?;
        found.until = until;
        Some(found.attempt)
    }

    /// Whether the party of an attempt has answered.
    pub(crate) fn is_screened(&self, attempt: Attempt) -> bool {
        self.underway
            .iter()
            .any(|one| one.attempt == attempt && one.screened.is_some())
    }

    /// Takes an attempt out: it was answered or failed.
    pub(crate) fn take(&mut self, attempt: Attempt) -> Option<(PhoneNumber, Instant)> {
        let index = self
            .underway
            .iter()
            .position(|one| one.attempt == attempt)?;
        let one = self.underway.swap_remove(index);
        Some((one.number, one.dialled_at))
    }

    /// Takes out an attempt that has rung too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Attempt> {
        let index = self.underway.iter().position(|one| one.until <= now)?;
        Some(self.underway.swap_remove(index).attempt)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.underway.iter().map(|one| one.until).min()
    }

    /// What is still under way, to be withdrawn.
    pub(crate) fn into_attempts(self) -> impl Iterator<Item = Attempt> {
        self.underway.into_iter().map(|one| one.attempt)
    }
}
