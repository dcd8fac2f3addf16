//! Test events: sent once, at the request of a person, beside the outbox.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::post::Poster;
use crate::store::{Attempt, Delivery};

/// Maximum number of test events under way on a node.
pub const MAX_TEST_EVENTS: usize = 8;

/// Sender of test events, on the threads of the deliveries.
#[derive(Clone)]
pub struct TestSender {
    poster: Arc<Poster>,
    threads: Handle,
    free: Arc<Semaphore>,
}

impl TestSender {
    pub(super) fn new(poster: Arc<Poster>, threads: Handle) -> Self {
        Self {
            poster,
            threads,
            free: Arc::new(Semaphore::new(MAX_TEST_EVENTS)),
        }
    }

    /// Sends an event once. Returns its result; `None` if too many are under way, or the server stops.
    pub async fn send(&self, delivery: Delivery) -> Option<Attempt> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        let poster = self.poster.clone();
        let sending = self.threads.spawn(async move {
            let posted = poster.post(&delivery).await;
            drop(permit);
            posted.attempt
        });
        sending.await.ok()
    }
}
