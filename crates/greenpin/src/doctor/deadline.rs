//! Deadline of each check.

use std::time::Duration;

/// Time limit of one check: a connection, a request, a look into a folder.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of all trunks together.
pub(super) const TRUNKS_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a check that blocks, on a thread of its own; `None`: it did not end in time, and its thread is left behind.
pub(super) async fn blocking<T: Send + 'static>(
    check: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    blocking_for(CHECK_TIMEOUT, check).await
}

/// Like [`blocking`], with another time limit.
pub(super) async fn blocking_for<T: Send + 'static>(
    limit: Duration,
    check: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let task = tokio::task::spawn_blocking(check);
    tokio::time::timeout(limit, task).await.ok()?.ok()
}

/// Returns the reason for a check that did not end in time.
pub(super) fn no_answer() -> String {
    format!("no answer within {} s", CHECK_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_is_given_up() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let hangs = blocking_for(Duration::from_millis(1), move || wait.recv()).await;
        assert!(hangs.is_none());
        drop(release);
        assert_eq!(blocking(|| 7).await, Some(7));
    }
}
