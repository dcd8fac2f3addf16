//! External programs started by a test.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::time_limit;

/// Sends a signal to a child process before it is reaped.
pub fn send_signal(process: &Child, signal: Signal) {
    let pid = Pid::from_child(process);
    kill_process(pid, signal).unwrap();
}

/// Process that ends with the test.
pub struct ExternalProcess {
    pub process: Child,
    pub folder: TempDir,
}

impl ExternalProcess {
    /// Starts a program in its own folder.
    pub fn run(program: &str, folder: TempDir, arguments: &[&str]) -> Self {
        time_limit::watch();
        let log = fs::File::create(folder.path().join("out.log")).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("HOME", folder.path());
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process = command
            .spawn()
            .unwrap_or_else(|_| panic!("{program} is installed: ./test does it"));
        Self { process, folder }
    }

    /// Returns all output so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("out.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for ExternalProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the peer's log:\n{}", self.log());
        }
        // SIGTERM lets the program end its children.
        if matches!(self.process.try_wait(), Ok(None)) {
            send_signal(&self.process, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
