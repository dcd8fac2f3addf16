//! Background jobs of the server.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::memory::return_free_memory;
use super::retention;
use crate::recordings::{Recordings, upload_recordings};
use crate::store::{Store, StoreError, Timestamp};
use crate::supervision::{Part, Supervisor};

/// Interval at which `allocation.expired` is emitted. No rule depends on it.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);
/// Rounds of [`EXPIRY_INTERVAL`] between two removals of expired throttles: ten minutes.
const THROTTLE_CLEANUP_ROUNDS: u32 = 1200;
/// Interval of the retention cleanup.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Starts every job; they run until they are aborted. `heartbeats` is the membership of this node.
pub(crate) fn start(
    store: &Store,
    recordings: Recordings,
    node: &str,
    heartbeats: impl Future<Output = ()> + Send + 'static,
    supervisor: &Supervisor,
) -> Vec<JoinHandle<()>> {
    let mut jobs = vec![
        supervisor.spawn(Part::Membership, heartbeats),
        supervisor.spawn_restarting(Part::Memory, return_free_memory),
    ];
    let (owned, uploads, node) = (store.clone(), recordings.clone(), node.to_owned());
    jobs.push(supervisor.spawn_restarting(Part::Uploads, move || {
        upload_recordings(owned.clone(), uploads.clone(), node.clone())
    }));
    let (owned, watched) = (store.clone(), supervisor.clone());
    jobs.push(supervisor.spawn_restarting(Part::Expiry, move || {
        emit_expiries(owned.clone(), watched.clone())
    }));
    let (owned, watched) = (store.clone(), supervisor.clone());
    jobs.push(supervisor.spawn_restarting(Part::Retention, move || {
        run_retention(owned.clone(), recordings.clone(), watched.clone())
    }));
    jobs
}

async fn emit_expiries(store: Store, supervisor: Supervisor) {
    let mut rounds = tokio::time::interval(EXPIRY_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in (0..THROTTLE_CLEANUP_ROUNDS).cycle() {
        rounds.tick().await;
        supervisor.fail_point(Part::Expiry.as_str());
        if let Err(error) = emit_all_expired(&store).await {
            tracing::error!(%error, "emitting the events of expired allocations failed");
        }
        if round == 0
            && let Err(error) = store.delete_old_unlisted_callers(Timestamp::now()).await
        {
            tracing::error!(%error, "removing expired throttles failed");
        }
    }
}

/// Emits the event of every expired allocation, a batch at a time, so that calls and creates run in
/// between.
async fn emit_all_expired(store: &Store) -> Result<(), StoreError> {
    while store.report_expired(Timestamp::now()).await? > 0 {}
    Ok(())
}

/// Runs the retention cleanup at its interval. It has a task of its own, because one round may take
/// long.
async fn run_retention(store: Store, recordings: Recordings, supervisor: Supervisor) {
    let mut rounds = tokio::time::interval(RETENTION_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        supervisor.fail_point(Part::Retention.as_str());
        if let Err(error) = store.refresh_keys().await {
            tracing::error!(%error, "reading the keys again failed");
        }
        if let Err(error) = retention::enforce(&store, &recordings, Timestamp::now()).await {
            tracing::error!(%error, "retention cleanup failed");
        }
    }
}
