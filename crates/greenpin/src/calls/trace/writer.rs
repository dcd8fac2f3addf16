//! Task that masks the traces of ended calls and writes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::recorder::{Recorder, TraceOwner};
use crate::metrics::METRICS;
use crate::store::{SealedTrace, Store};
use crate::supervision::{Part, Supervisor, isolate};

/// Maximum number of traces in the queue. Beyond it, traces are dropped: the calls do not wait for them.
pub const MAX_QUEUED_TRACES: usize = 2048;
/// Maximum number of traces in one transaction.
const MAX_BATCH_TRACES: usize = 32;
/// Maximum number of attempts to write traces while the database is away, one per second.
const MAX_ATTEMPTS: u32 = 60;

/// Queue of ended traces.
pub(in crate::calls) struct TraceWriter(mpsc::Sender<Job>);

enum Job {
    Write(Box<(Recorder, TraceOwner)>),
    /// Reply when all earlier traces are written.
    Flush(oneshot::Sender<()>),
}

impl TraceWriter {
    /// Starts the task. `locals` are the addresses of the listen addresses.
    pub(in crate::calls) fn start(
        store: Store,
        locals: Vec<SocketAddr>,
        supervisor: &Supervisor,
    ) -> Self {
        let (sender, jobs) = mpsc::channel(MAX_QUEUED_TRACES);
        let (jobs, locals) = (Arc::new(Mutex::new(jobs)), Arc::new(locals));
        supervisor.spawn_restarting(Part::Traces, move || {
            run(store.clone(), locals.clone(), jobs.clone())
        });
        Self(sender)
    }

    /// Creates a queue of one trace that no task empties.
    #[cfg(test)]
    pub(super) fn stalled() -> (Self, impl Sized) {
        let (sender, jobs) = mpsc::channel(1);
        (Self(sender), jobs)
    }

    pub(super) fn write(&self, recorder: Recorder, owner: TraceOwner) {
        let job = Job::Write(Box::new((recorder, owner)));
        if self.0.try_send(job).is_err() {
            METRICS.traces_dropped.inc();
        }
    }

    pub(super) fn flush(&self, reply: oneshot::Sender<()>) {
        // A full queue drops the reply, and the caller does not wait.
        let _ = self.0.try_send(Job::Flush(reply));
    }
}

async fn run(store: Store, locals: Arc<Vec<SocketAddr>>, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) {
    let mut jobs = jobs.lock().await;
    let mut received = Vec::with_capacity(MAX_BATCH_TRACES);
    while jobs.recv_many(&mut received, MAX_BATCH_TRACES).await > 0 {
        let (mut traces, mut replies) = (Vec::new(), Vec::new());
        for job in received.drain(..) {
            match job {
                Job::Write(trace) => {
                    traces.extend(seal(*trace, &locals));
                    // Masking takes a tenth of a millisecond: other tasks of the thread get their turn.
                    tokio::task::yield_now().await;
                }
                Job::Flush(reply) => replies.push(reply),
            }
        }
        if !traces.is_empty() {
            write(&store, traces).await;
        }
        for reply in replies {
            let _ = reply.send(());
        }
    }
}

/// Masks a trace. A panic loses this trace and nothing else.
fn seal((recorder, owner): (Recorder, TraceOwner), locals: &[SocketAddr]) -> Option<SealedTrace> {
    let call_sid = owner.call_sid.clone();
    let sealed = isolate(|| recorder.seal(owner, locals));
    let sealed = sealed.and_then(Result::ok);
    if sealed.is_none() {
        tracing::error!(%call_sid, "trace of a call could not be encoded");
    }
    sealed
}

async fn write(store: &Store, traces: Vec<SealedTrace>) {
    let count = u64::try_from(traces.len()).unwrap_or(u64::MAX);
    for attempt in 1..=MAX_ATTEMPTS {
        let Err(error) = store.write_traces(traces.clone()).await else {
            return;
        };
        if !error.is_temporary() || attempt == MAX_ATTEMPTS {
            METRICS.traces_dropped.inc_by(count);
            tracing::warn!(%error, count, "traces of calls could not be written; dropping them");
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
