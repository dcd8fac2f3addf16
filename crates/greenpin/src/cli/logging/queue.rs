//! Queue of log lines with a writer thread. Logging never waits for the reader of the log, and never fails: a line that
//! cannot be queued or written is lost and counted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::metrics::METRICS;

/// Maximum number of queued lines.
const MAX_LINES: usize = 8192;
/// Maximum size of all queued lines.
const MAX_BYTES: usize = 4 << 20;
/// Maximum size of one line. A longer one is cut.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Pause before the next attempt to write to a non-blocking pipe that is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Minimum time between two reports of lost lines while the queue is not empty.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Log lines that wait for the writer thread.
pub(super) struct LogQueue {
    state: Mutex<State>,
    queued: Condvar,
    drained: Condvar,
}

struct State {
    lines: VecDeque<Vec<u8>>,
    /// Size of all lines.
    bytes: usize,
    /// The writer thread waits for lines.
    idle: bool,
    /// Number of lost lines.
    lost: u64,
    writer: Option<ThreadId>,
    /// Line queued by the writer thread itself: its report of lost lines.
    report: Option<Vec<u8>>,
}

impl LogQueue {
    pub(super) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                bytes: 0,
                idle: true,
                lost: 0,
                writer: None,
                report: None,
            }),
            queued: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line. If the queue is full, the line is lost.
    pub(super) fn push(&self, line: &[u8]) {
        let line = cut(line);
        let mut state = self.lock();
        if state.writer == Some(thread::current().id()) {
            state.report = Some(line);
        } else if state.lines.len() == MAX_LINES || state.bytes + line.len() > MAX_BYTES {
            state.lose_line();
        } else {
            state.bytes += line.len();
            state.lines.push_back(line);
            if state.idle {
                self.queued.notify_one();
            }
        }
    }

    /// Waits until all queued lines are written or lost, at most for `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| !state.idle || !state.lines.is_empty();
        drop(self.drained.wait_timeout_while(self.lock(), timeout, busy));
    }

    /// Writes lines for ever. `report` logs the number of lines that were lost.
    pub(super) fn write_to(&self, out: impl Write, report: impl Fn(u64)) {
        self.lock().writer = Some(thread::current().id());
        let mut log = LogFile { out, is_cut: false };
        let mut reported = 0;
        let mut reported_at: Option<Instant> = None;
        loop {
            let line = self.next();
            if log.write(&line).is_err() {
                self.lock().lose_line();
                continue;
            }
            let (lost, is_last) = {
                let state = self.lock();
                (state.lost, state.lines.is_empty())
            };
            let is_due = reported_at.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL);
            if lost > reported && (is_last || is_due) {
                report(lost - reported);
                // The log level may exclude the report.
                let line = self.lock().report.take().unwrap_or_default();
                if log.write(&line).is_ok() {
                    reported = lost;
                    reported_at = Some(Instant::now());
                }
            }
        }
    }

    /// Waits for the next line.
    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.idle = false;
                return line;
            }
            state.idle = true;
            self.drained.notify_all();
            state = self
                .queued
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn lose_line(&mut self) {
        self.lost += 1;
        METRICS.log_lines_lost.inc();
    }
}

/// Each `write` is one line.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies a line, at most [`MAX_LINE_BYTES`] of it.
fn cut(line: &[u8]) -> Vec<u8> {
    match line.get(..MAX_LINE_BYTES - 1) {
        Some(start) if line.len() > MAX_LINE_BYTES => {
            let mut text = String::from_utf8_lossy(start).into_owned();
            text.push('\n');
            text.into_bytes()
        }
        _ => line.to_vec(),
    }
}

/// Destination of the log.
struct LogFile<W> {
    out: W,
    /// An error cut the last line short.
    is_cut: bool,
}

impl<W: Write> LogFile<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut && !line.is_empty() {
            self.write_bytes(b"\n")?;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_cut = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(RETRY_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Destination that writes what the test allows: a number of bytes, or an error for `None`.
    struct Scripted {
        allowed: mpsc::Receiver<Option<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without instructions everything is written.
            match self.allowed.recv().unwrap_or(Some(usize::MAX)) {
                Some(most) => {
                    let part = &bytes[..most.min(bytes.len())];
                    self.written.lock().unwrap().extend(part);
                    Ok(part.len())
                }
                None => Err(ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Setup {
        queue: Arc<LogQueue>,
        written: Arc<Mutex<Vec<u8>>>,
        allow: mpsc::Sender<Option<usize>>,
    }

    impl Setup {
        fn start() -> Self {
            let (allow, allowed) = mpsc::channel();
            let (queue, written) = (Arc::new(LogQueue::new()), Arc::default());
            let out = Scripted {
                allowed,
                written: Arc::clone(&written),
            };
            let writer = Arc::clone(&queue);
            thread::spawn(move || {
                writer.write_to(out, |lines| {
                    writer.push(format!("{lines} lost\n").as_bytes());
                });
            });
            Self {
                queue,
                written,
                allow,
            }
        }

        /// Lets everything be written, and returns it.
        fn finish(self) -> String {
            drop(self.allow);
            self.queue.flush(TIMEOUT);
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_full_queue_loses_lines_and_reports_how_many() {
        let setup = Setup::start();
        for _ in 0..MAX_LINES + 100 {
            setup.queue.push(b"line\n");
        }
        let lost = setup.queue.lock().lost;
        // The writer thread may have taken one line.
        assert!((99..=100).contains(&lost), "{lost}");
        let text = setup.finish();
        let lines = text.lines().filter(|line| *line == "line").count() as u64;
        assert_eq!(lines + lost, MAX_LINES as u64 + 100);
        assert!(text.contains(&format!("{lost} lost\n")), "{lost}");
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_and_a_long_line_is_cut() {
        let setup = Setup::start();
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        for _ in 0..1000 {
            setup.queue.push(&long);
        }
        let state = setup.queue.lock();
        assert!(state.bytes <= MAX_BYTES && state.lost > 900);
        drop(state);
        let text = setup.finish();
        assert!(text.ends_with('\n'));
        assert!(text.lines().all(|line| line.len() < MAX_LINE_BYTES));
    }

    #[test]
    fn after_write_errors_later_lines_are_written_and_the_loss_is_reported() {
        let setup = Setup::start();
        setup.queue.push(b"first\n");
        setup.queue.push(b"second\n");
        setup.queue.push(b"third\n");
        // A disk that becomes full within the first line, stays full, and has room again.
        for allowed in [Some(2), None, None, None] {
            setup.allow.send(allowed).unwrap();
        }
        setup.queue.flush(TIMEOUT);
        setup.queue.push(b"fourth\n");
        assert_eq!(setup.finish(), "fi\nfourth\n3 lost\n");
    }

    #[test]
    fn a_flush_ends_although_the_reader_does_not_read() {
        let setup = Setup::start();
        setup.queue.push(b"line\n");
        setup.queue.flush(Duration::from_millis(1));
        assert!(setup.written.lock().unwrap().is_empty());
        assert_eq!(setup.finish(), "line\n");
    }
}
