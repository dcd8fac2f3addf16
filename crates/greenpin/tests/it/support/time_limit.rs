//! A time limit for every test that starts a program or opens a socket.
//!
//! The test runner has none: a test that waits for something that never comes would hold up the whole run. A thread
//! watches each test, and ends the process with the name of one that takes too long.

use std::cell::OnceCell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Longest time that a test may take. The slowest takes about a minute on two busy cores.
const TEST_TIMEOUT: Duration = Duration::from_secs(300);

thread_local! {
    /// Dropped with the thread of the test, which ends the watch.
    static WATCH: OnceCell<Sender<()>> = const { OnceCell::new() };
}

/// Starts the watch of the test that runs on this thread, unless it has begun.
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
