//! Messages to systemd (sd_notify): readiness, stop and watchdog. Without systemd they have no effect.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::{AbortHandle, JoinHandle};

use crate::calls::Handle;

/// Maximum time for the call loop to answer before a watchdog message is left out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Task of the watchdog, which ends when this value is dropped.
pub(super) struct Watchdog(AbortHandle);

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reports that the server is ready. If the unit has `WatchdogSec`, then also reports at half of this interval that the
/// call loop answers.
pub(super) fn report_ready(calls: Handle) -> Option<Watchdog> {
    notify(&[NotifyState::Ready]);
    let mut limit = 0;
    let is_watched = sd_notify::watchdog_enabled(false, &mut limit);
    let limit = is_watched.then(|| Duration::from_micros(limit))?;
    let task: JoinHandle<()> = tokio::spawn(async move {
        let mut rounds = tokio::time::interval(limit / 2);
        loop {
            rounds.tick().await;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, calls.load()).await;
            if answer.is_ok_and(|load| load.is_some()) {
                notify(&[NotifyState::Watchdog]);
            }
        }
    });
    Some(Watchdog(task.abort_handle()))
}

/// Reports that the server stops.
pub(super) fn report_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "cannot send a message to systemd");
    }
}
