//! The log: one line per event on standard error, at the level of `GREENPIN_LOG`. It never contains
//! a telephone number.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Levels of libraries. They may warn; their details could contain data that passes through them.
const LIBRARIES: &str = "warn,sipx_sip=off,hyper=off,hyper_util=off,h2=off,reqwest=off,rustls=off,axum=off,mio=off,tokio=off";

/// Starts logging. `GREENPIN_LOG` is off, error, warn, info, debug or trace, else `default`
/// applies. `GREENPIN_LOG_FORMAT=json` selects JSON lines.
pub(super) fn start(default: &str) {
    let level = std::env::var("GREENPIN_LOG").unwrap_or_default();
    let level = match level.as_str() {
        "off" | "error" | "warn" | "info" | "debug" | "trace" => level.as_str(),
        _ => default,
    };
    let filter = EnvFilter::new(format!("{LIBRARIES},greenpin={level}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let json = std::env::var("GREENPIN_LOG_FORMAT").is_ok_and(|format| format == "json");
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
}
