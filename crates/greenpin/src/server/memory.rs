//! Return of free memory to the system.
//!
//! The C library's allocator keeps memory that was freed: after a burst of calls the process would stay at its peak.

use std::time::Duration;

/// Interval at which free memory is returned.
const TRIM_INTERVAL: Duration = Duration::from_secs(15);

/// Returns free memory at its interval, until the task is aborted.
pub(crate) async fn return_free_memory() {
    let mut rounds = tokio::time::interval(TRIM_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        // The call may take milliseconds, so it runs outside the workers of the runtime.
        if let Err(error) = tokio::task::spawn_blocking(trim).await {
            tracing::warn!(%error, "returning free memory failed");
        }
    }
}

/// Asks glibc to return free pages of all its arenas (`malloc_trim(3)`). Other C libraries do that by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "a C function without pointers; it is safe to call from any thread"
)]
fn trim() {
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
