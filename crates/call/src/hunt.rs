//! Hunting: dialling several numbers until a party answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{DialAttempt, PhoneNumber, deadline};

/// Numbers that are not dialled yet, and the attempts in progress.
#[derive(Debug)]
pub(crate) struct Hunt {
    queue: VecDeque<PhoneNumber>,
    pending: Vec<PendingAttempt>,
    dialled: u32,
    ring_timeout: Duration,
    /// Attempt whose early media the caller hears instead of ring-back.
    heard: Option<DialAttempt>,
}

/// Change of the sound to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SoundChange {
    /// Early media ends, so that ring-back starts again.
    pub(crate) rings_back: bool,
    /// Attempt whose early media starts.
    pub(crate) starts: Option<DialAttempt>,
}

#[derive(Debug)]
struct PendingAttempt {
    attempt: DialAttempt,
    number: PhoneNumber,
    dialled_at: Instant,
    until: Instant,
    ringing: bool,
    /// The network of the party sends audio.
    has_early_media: bool,
    /// Playback of the screening prompt; `None` until the party answers.
    screening_playback: Option<u32>,
}

impl Hunt {
    pub(crate) fn new(numbers: Vec<PhoneNumber>, ring_timeout: Duration) -> Self {
        Self {
            queue: numbers.into(),
            pending: Vec::new(),
            dialled: 0,
            ring_timeout,
            heard: None,
        }
    }

    /// Returns `true` if no attempt is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Starts an attempt for the next number; `None` if all numbers have been dialled.
    pub(crate) fn dial_next(&mut self, now: Instant) -> Option<(DialAttempt, PhoneNumber)> {
        let number = self.queue.pop_front()?;
        let attempt = DialAttempt(self.dialled);
        self.dialled = self.dialled.saturating_add(1);
        let until = deadline(now, self.ring_timeout);
        self.pending.push(PendingAttempt {
            attempt,
            number,
            dialled_at: now,
            until,
            ringing: false,
            has_early_media: false,
            screening_playback: None,
        });
        Some((attempt, number))
    }

    fn pending_mut(&mut self, attempt: DialAttempt) -> Option<&mut PendingAttempt> {
        let mut pending = self.pending.iter_mut();
        pending.find(|pending| pending.attempt == attempt)
    }

    /// Gives an attempt its whole ring time again, over another trunk.
    pub(crate) fn restart(&mut self, attempt: DialAttempt, now: Instant) {
        let until = deadline(now, self.ring_timeout);
        if let Some(pending) = self.pending_mut(attempt) {
            pending.until = until;
            pending.has_early_media = false;
        }
    }

    /// Notes whether the network of an attempt sends audio before the answer.
    pub(crate) fn set_early_media(&mut self, attempt: DialAttempt, has_early_media: bool) {
        if let Some(pending) = self.pending_mut(attempt) {
            pending.has_early_media = has_early_media;
        }
    }

    /// Returns the attempt whose early media the caller should hear: that of the only attempt that is alerting. While
    /// several attempts alert, or a party is screened, the caller hears ring-back: an announcement about one number says
    /// nothing about the others.
    fn early_media_source(&self) -> Option<DialAttempt> {
        let is_alerting = |pending: &&PendingAttempt| {
            pending.ringing || pending.has_early_media || pending.screening_playback.is_some()
        };
        let mut alerting = self.pending.iter().filter(is_alerting);
        let (only, others) = (alerting.next()?, alerting.next());
        let is_heard =
            only.has_early_media && only.screening_playback.is_none() && others.is_none();
        is_heard.then_some(only.attempt)
    }

    /// Returns the change of the sound to the caller since the last call, if any.
    pub(crate) fn sound_change(&mut self) -> Option<SoundChange> {
        let starts = self.early_media_source();
        let before = std::mem::replace(&mut self.heard, starts);
        let rings_back = before.is_some();
        (before != starts).then_some(SoundChange { rings_back, starts })
    }

    /// Returns the number of an attempt the first time it rings.
    pub(crate) fn on_ringing(&mut self, attempt: DialAttempt) -> Option<PhoneNumber> {
        let pending = self
            .pending
            .iter_mut()
            .find(|pending| pending.attempt == attempt && !pending.ringing)?;
        pending.ringing = true;
        Some(pending.number)
    }

    /// Marks an attempt as answered and sets its deadline for the connection. Returns `None` for an
    /// unknown attempt or a repeated answer.
    pub(crate) fn on_answered(
        &mut self,
        attempt: DialAttempt,
        playback: u32,
        until: Instant,
    ) -> Option<()> {
        let pending = self
            .pending
            .iter_mut()
            .find(|pending| pending.attempt == attempt && pending.screening_playback.is_none())?;
        (pending.screening_playback, pending.until) = (Some(playback), until);
        Some(())
    }

    /// Finds the attempt whose screening prompt has ended, and sets its new deadline.
    pub(crate) fn on_playback_finished(
        &mut self,
        playback: u32,
        until: Instant,
    ) -> Option<DialAttempt> {
        let pending = self
            .pending
            .iter_mut()
            .find(|pending| pending.screening_playback == Some(playback))?;
        pending.until = until;
        Some(pending.attempt)
    }

    /// Returns `true` if the party of an attempt has answered and is being screened.
    pub(crate) fn is_screening(&self, attempt: DialAttempt) -> bool {
        self.pending
            .iter()
            .any(|pending| pending.attempt == attempt && pending.screening_playback.is_some())
    }

    /// Removes an attempt that was answered or has failed.
    pub(crate) fn remove(&mut self, attempt: DialAttempt) -> Option<(PhoneNumber, Instant)> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.attempt == attempt)?;
        let pending = self.pending.swap_remove(index);
        Some((pending.number, pending.dialled_at))
    }

    /// Removes an attempt that has passed its deadline.
    pub(crate) fn remove_expired(&mut self, now: Instant) -> Option<DialAttempt> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.until <= now)?;
        Some(self.pending.swap_remove(index).attempt)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.until).min()
    }

    /// Returns the attempts in progress, to be withdrawn.
    pub(crate) fn into_attempts(self) -> impl Iterator<Item = DialAttempt> {
        self.pending.into_iter().map(|pending| pending.attempt)
    }
}
