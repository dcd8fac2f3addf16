//! Supervision of the long-lived tasks and threads of a server.
//!
//! A task that only repeats independent work is restarted. The end of any other one is reported: the server is no longer
//! ready, and stops.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::METRICS;

/// Delay before a task is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Declares the parts with their names in logs and metrics.
macro_rules! parts {
    ($($(#[$attribute:meta])* $part:ident = $name:literal,)*) => {
        /// Long-lived task or thread of a server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Part {
            $($(#[$attribute])* $part,)*
        }

        impl Part {
            /// All parts.
            pub const ALL: &[Self] = &[$(Self::$part),*];

            /// Returns the name in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$part => $name,)*
                }
            }
        }
    };
}

parts! {
    /// Task that carries every call.
    CallLoop = "call_loop",
    /// Task that accepts SIP connections on one listener.
    SipListener = "sip_listener",
    /// Thread that carries the audio of a share of the legs.
    MediaThread = "media_thread",
    /// Thread that writes recordings.
    RecordingThread = "recording_thread",
    /// Thread that writes to the database.
    StoreWriter = "store_writer",
    /// Thread that reads from the database.
    StoreReader = "store_reader",
    /// Thread that empties the log of SQLite.
    StoreCheckpoint = "store_checkpoint",
    /// Task that accepts HTTP connections.
    Http = "http",
    /// Task that writes heartbeats and evicts failed nodes.
    Membership = "membership",
    /// Task that delivers webhooks.
    Webhooks = "webhooks",
    /// Task that emits the events of expired allocations. Restarted.
    Expiry = "expiry",
    /// Task that removes data at the end of its retention. Restarted.
    Retention = "retention",
    /// Task that writes the traces of ended calls. Restarted.
    Traces = "traces",
    /// Task that uploads recordings. Restarted.
    Uploads = "uploads",
    /// Task that returns free memory to the system. Restarted.
    Memory = "memory",
    /// Task that resolves the name of one trunk. Restarted.
    Dns = "dns",
    /// Task that reads changed certificates again. Restarted.
    Certificates = "certificates",
}

/// Runs the processing of one event. After a panic it returns `None`, and the panic is counted.
///
/// The caller ends what the event concerned, because its state may be inconsistent.
pub(crate) fn isolate<T>(process: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(process));
    if result.is_err() {
        METRICS.event_panics.inc();
    }
    result.ok()
}

/// Supervisor of one server. All clones are the same supervisor; the default supervises a server that nobody waits for.
#[derive(Debug, Clone, Default)]
pub struct Supervisor(Arc<State>);

#[derive(Debug)]
struct State {
    failed: watch::Sender<Option<Part>>,
    stopping: AtomicBool,
    #[cfg(test)]
    armed: std::sync::Mutex<Vec<&'static str>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            failed: watch::Sender::new(None),
            stopping: AtomicBool::new(false),
            #[cfg(test)]
            armed: std::sync::Mutex::default(),
        }
    }
}

impl Supervisor {
    /// Creates a supervisor and makes the counters of its parts visible.
    pub fn new() -> Self {
        for part in Part::ALL {
            METRICS.count_task_failures(part.as_str(), 0);
        }
        Self::default()
    }

    /// Starts the supervision of a thread, which lasts until the guard is dropped.
    pub(crate) fn watch(&self, part: Part) -> PartGuard {
        PartGuard {
            supervisor: self.clone(),
            part,
            may_be_canceled: false,
            is_expected: false,
        }
    }

    /// Starts the supervision of a task. Unlike the end of a thread, its cancellation is expected: its owner has aborted
    /// it, or the runtime ends.
    pub(crate) fn watch_task(&self, part: Part) -> PartGuard {
        let mut guard = self.watch(part);
        guard.may_be_canceled = true;
        guard
    }

    /// Spawns a task whose end stops the server.
    pub(crate) fn spawn<F>(&self, part: Part, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = self.watch_task(part);
        tokio::spawn(async move {
            let mut task = std::pin::pin!(task);
            // Dropped before the task, so that this part is reported before those that end with it.
            let mut guard = guard;
            std::future::poll_fn(|context| {
                guard.fail_point();
                task.as_mut().poll(context)
            })
            .await;
            guard.may_be_canceled = false;
        })
    }

    /// Spawns a task that is started again after a panic.
    pub(crate) fn spawn_restarting<F>(
        &self,
        part: Part,
        start: impl Fn() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            loop {
                if AssertUnwindSafe(start()).catch_unwind().await.is_ok() {
                    return;
                }
                METRICS.count_task_failures(part.as_str(), 1);
                tracing::error!(task = part.as_str(), "task panicked; restarting it");
                tokio::time::sleep(RESTART_DELAY).await;
            }
        })
    }

    /// Waits for the end of a part that should not end.
    pub async fn failure(&self) -> Part {
        let mut failed = self.0.failed.subscribe();
        loop {
            if let Some(part) = *failed.borrow_and_update() {
                return part;
            }
            // The sender lives as long as `self`.
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns `true` if no part has ended that should run.
    pub fn is_sound(&self) -> bool {
        self.0.failed.borrow().is_none()
    }

    /// From now on the end of a part is expected.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    fn report(&self, part: Part) {
        METRICS.count_task_failures(part.as_str(), 1);
        tracing::error!(task = part.as_str(), "task ended unexpectedly");
        self.0.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(part);
            is_first
        });
    }

    /// Panics once at each point with a name that a test has armed.
    #[inline]
    pub(crate) fn fail_point(&self, name: &'static str) {
        #[cfg(test)]
        self.panic_if_armed(name);
        #[cfg(not(test))]
        let _ = name;
    }

    /// Makes the next passage of a fail point panic.
    #[cfg(test)]
    pub(crate) fn arm(&self, name: &'static str) {
        self.0.armed.lock().unwrap().push(name);
    }

    /// Returns `true` until an armed fail point has panicked.
    #[cfg(test)]
    pub(crate) fn is_armed(&self, name: &'static str) -> bool {
        self.0.armed.lock().unwrap().contains(&name)
    }

    #[cfg(test)]
    fn panic_if_armed(&self, name: &'static str) {
        let mut armed = self.0.armed.lock().unwrap();
        if let Some(index) = armed.iter().position(|point| *point == name) {
            armed.remove(index);
            drop(armed);
            panic!("the fail point {name} is armed");
        }
    }
}

/// Supervision of one running part. Dropping it without [`PartGuard::end`] reports the part, so a panic does too.
#[derive(Debug)]
pub(crate) struct PartGuard {
    supervisor: Supervisor,
    part: Part,
    /// The end of the part without a panic is expected.
    may_be_canceled: bool,
    is_expected: bool,
}

impl PartGuard {
    /// Ends the supervision of a part that has ended as it should.
    pub(crate) fn end(mut self) {
        self.is_expected = true;
    }

    /// Passes the fail point with the name of the part. Each round of a part calls it.
    #[inline]
    pub(crate) fn fail_point(&self) {
        self.supervisor.fail_point(self.part.as_str());
    }
}

impl Drop for PartGuard {
    fn drop(&mut self) {
        let is_canceled = self.may_be_canceled && !std::thread::panicking();
        let is_stopping = self.supervisor.0.stopping.load(Ordering::Relaxed);
        if !self.is_expected && !is_canceled && !is_stopping {
            self.supervisor.report(self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_and_of_a_thread_is_reported() {
        let supervisor = Supervisor::default();
        let task = supervisor.spawn(Part::Http, async { panic!("a test") });
        assert!(task.await.is_err());
        assert_eq!(supervisor.failure().await, Part::Http);
        assert!(!supervisor.is_sound());

        let supervisor = Supervisor::default();
        let guard = supervisor.watch(Part::StoreWriter);
        std::thread::spawn(move || drop(guard)).join().unwrap();
        assert_eq!(supervisor.failure().await, Part::StoreWriter);
    }

    #[tokio::test]
    async fn an_expected_end_is_not_reported() {
        let supervisor = Supervisor::default();
        supervisor.watch(Part::StoreReader).end();
        let task = supervisor.spawn(Part::Http, std::future::pending());
        supervisor.stop();
        task.abort();
        assert!(task.await.is_err());
        assert!(supervisor.is_sound());
    }

    #[tokio::test]
    async fn a_task_is_reported_if_it_returns_but_not_if_it_is_canceled() {
        let supervisor = Supervisor::default();
        let task = supervisor.spawn(Part::SipListener, std::future::pending());
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        assert!(supervisor.is_sound());

        let task = supervisor.spawn(Part::SipListener, std::future::ready(()));
        assert!(task.await.is_ok());
        assert_eq!(supervisor.failure().await, Part::SipListener);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeating_task_is_restarted() {
        let supervisor = Supervisor::default();
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        let (third, mut reached) = watch::channel(false);
        let task = supervisor.spawn_restarting(Part::Expiry, move || {
            let (starts, third) = (counted.clone(), third.clone());
            async move {
                if starts.fetch_add(1, Ordering::Relaxed) == 2 {
                    third.send_replace(true);
                    std::future::pending::<()>().await;
                }
                panic!("a test");
            }
        });
        reached.wait_for(|reached| *reached).await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        assert!(supervisor.is_sound());
        task.abort();
    }
}
