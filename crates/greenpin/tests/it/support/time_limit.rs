//! Time limit for every test with a program or a socket.
//!
//! The test runner has no limit, so a test with an endless wait would block the run. A thread watches each test
//! and ends the process with the name of a test that exceeds the limit.

use std::cell::OnceCell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Maximum duration of a test. The slowest takes about a minute on two busy cores.
const TEST_TIMEOUT: Duration = Duration::from_secs(300);

thread_local! {
    /// Dropped with the thread of the test, which ends the watch.
    static WATCH: OnceCell<Sender<()>> = const { OnceCell::new() };
}

/// Starts the watch of the current test, unless it has started.
pub fn watch() {
    WATCH.with(|watch| {
        watch.get_or_init(|| {
            let (sender, ended) = channel();
            let test = thread::current().name().unwrap_or("a test").to_owned();
            thread::spawn(move || {
                if ended.recv_timeout(TEST_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                    eprintln!(
                        "{test} takes longer than {} s: giving up",
                        TEST_TIMEOUT.as_secs()
                    );
                    std::process::exit(101);
                }
            });
            sender
        });
    });
}
