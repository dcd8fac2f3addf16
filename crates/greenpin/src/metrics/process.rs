//! Metrics of the operating system process. On other systems than Linux they stay 0.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{SecondsCounter, store_seconds};

/// Clock ticks per second in /proc, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the operating system process.
pub(super) struct Process {
    memory: Gauge,
    cpu: SecondsCounter,
    started: Gauge<f64, std::sync::atomic::AtomicU64>,
    files: Gauge,
}

impl Default for Process {
    fn default() -> Self {
        let process = Self {
            memory: Gauge::default(),
            cpu: SecondsCounter::default(),
            started: Gauge::default(),
            files: Gauge::default(),
        };
        // The metrics are created when the server starts.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        process.started.set(now.as_secs_f64());
        process
    }
}

impl Process {
    pub(super) fn register(&self, to: &mut Registry) {
        let help = "Memory that is in RAM";
        to.register_with_unit(
            "process_resident_memory",
            help,
            Unit::Bytes,
            self.memory.clone(),
        );
        to.register_with_unit(
            "process_cpu",
            "User and system time",
            Unit::Seconds,
            self.cpu.clone(),
        );
        let help = "When the process started, since 1970-01-01T00:00:00Z";
        to.register_with_unit(
            "process_start_time",
            help,
            Unit::Seconds,
            self.started.clone(),
        );
        to.register(
            "process_open_file_descriptors",
            "Open files and sockets",
            self.files.clone(),
        );
    }

    /// Reads the present values.
    pub(super) fn read(&self) {
        if let Some(bytes) = resident() {
            self.memory.set(bytes);
        }
        if let Some(seconds) = cpu() {
            store_seconds(&self.cpu, seconds);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.files
                .set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
    }
}

fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The process name may contain spaces, so the fields start after its last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}
