//! The log: one line per event on standard error, at the level of `GREENPIN_LOG`. It never contains
//! a telephone number.
//!
//! Lines pass through a bounded queue to a thread that writes them. If standard error cannot be
//! written, lines are lost; everything else continues.

mod panics;
mod queue;
mod rate_limit;
mod span_fields;

use std::env::VarError;
use std::io::{self, IsTerminal as _, stderr};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use self::queue::LogQueue;
use self::rate_limit::LineLimiter;
use self::span_fields::SpanFields;
use crate::config::values::LOG_LEVELS;

/// Levels of libraries. They may warn; their details could contain data that passes through them.
const LIBRARIES: &str = "warn,sipx_sip=off,hyper=off,hyper_util=off,h2=off,reqwest=off,rustls=off,axum=off,mio=off,tokio=off";
/// Time limit for writing the queued lines when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log belongs to the process, like its standard error.
static LOG: LogQueue = LogQueue::new();
/// Filter of the log, whose level can change.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Running log. When it is dropped, queued lines are written.
pub(super) struct Log(());

impl Log {
    /// Starts the thread that writes the log.
    pub(super) fn start() -> io::Result<Self> {
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(|| {
            LOG.write_to(stderr(), |lines| {
                tracing::warn!(lines, "log lines were lost");
            });
        })?;
        Ok(Self(()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        flush();
    }
}

/// Logs events and panics from now on. `GREENPIN_LOG` is off, error, warn, info, debug or trace, else
/// `default` applies. `GREENPIN_LOG_FORMAT=json` selects JSON lines.
pub(super) fn log_events(default: &str) -> Result<(), String> {
    let level = variable("GREENPIN_LOG")?;
    let level = match level.as_str() {
        "" => default,
        level if LOG_LEVELS.contains(&level) => level,
        _ => {
            return Err("GREENPIN_LOG must be off, error, warn, info, debug or trace".to_owned());
        }
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    // Set once: the log is set up once in a process.
    let _ = FILTER.set(handle);
    let lines = fmt::layer().log_internal_errors(false).with_writer(|| &LOG);
    let format = variable("GREENPIN_LOG_FORMAT")?;
    if !["", "text", "json"].contains(&format.as_str()) {
        return Err("GREENPIN_LOG_FORMAT must be text or json".to_owned());
    }
    let lines = match is_json() {
        true => lines
            .json()
            .flatten_event(true)
            .fmt_fields(SpanFields)
            .boxed(),
        false => lines
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(LineLimiter::default())))
        .init();
    panics::log_panics();
    Ok(())
}

/// Returns `true` if the log has lines of JSON.
pub(super) fn is_json() -> bool {
    variable("GREENPIN_LOG_FORMAT").is_ok_and(|format| format == "json")
}

/// Sets the level of the log from now on; `None`: `info`. The environment variable `GREENPIN_LOG` comes first.
pub(super) fn set_level(level: Option<&str>) {
    let is_given = variable("GREENPIN_LOG").is_ok_and(|level| !level.is_empty());
    let Some(handle) = FILTER.get().filter(|_| !is_given) else {
        return;
    };
    if let Err(error) = handle.reload(filter(level.unwrap_or("info"))) {
        tracing::warn!(%error, "the level of the log is not changed");
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{LIBRARIES},greenpin={level}"))
}

/// Returns the value of an environment variable, or an empty text.
fn variable(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Err(VarError::NotUnicode(_)) => Err(format!("{name} must be UTF-8")),
        value => Ok(value.unwrap_or_default()),
    }
}

/// Writes a line to standard error as it is, in order with the lines of the log.
pub(super) fn write_line(line: &str) {
    LOG.push(format!("{line}\n").as_bytes());
}

/// Writes a text to standard error before it returns, such as a question. The limit is [`FLUSH_TIMEOUT`].
pub(super) fn write_now(text: &str) {
    LOG.push(text.as_bytes());
    flush();
}

fn flush() {
    LOG.flush(FLUSH_TIMEOUT);
}
