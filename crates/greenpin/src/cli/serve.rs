//! `greenpin serve`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging;
use super::output::fail;
use super::systemd;
use crate::calls::Handle;
use crate::config::{Config, Fault, Reload};
use crate::server::Server;
use crate::supervision::Part;

/// Interval at which the log reports the calls that a stop waits for.
const DRAIN_REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the stop after the end of a task.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT; a second signal ends the calls under way. SIGHUP reloads the certificates and the
/// configuration, which is that of `file`.
pub(super) async fn run(mut config: Config, file: Option<&Path>) -> ExitCode {
    logging::set_level(config.log_level);
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ];
    let [mut terminate, mut interrupt, mut hangup] = match kinds.map(signal) {
        [Ok(terminate), Ok(interrupt), Ok(hangup)] => [terminate, interrupt, hangup],
        failed => {
            return failed
                .into_iter()
                .find_map(Result::err)
                .map_or(ExitCode::FAILURE, fail);
        }
    };
    let server = match Server::start(&config).await {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    log_addresses(&config, &server);
    let _watchdog = systemd::report_ready(server.liveness());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => config = reload(&server, config, file),
            part = server.failure() => return stop_after_failure(server, part).await,
        }
    }
    stop(server, config.drain_timeout, terminate, interrupt).await;
    ExitCode::SUCCESS
}

/// Reads the certificates and the configuration again, and returns the configuration that is in use from now on. One
/// with faults changes nothing.
fn reload(server: &Server, running: Config, file: Option<&Path>) -> Config {
    server.reload_certificates();
    let read = match Config::load(file) {
        Ok(read) => read,
        Err(error) => {
            for Fault { origin, message } in error.faults() {
                tracing::error!(origin, "the configuration is not reloaded: {message}");
            }
            return running;
        }
    };
    let Reload {
        config,
        changed,
        needs_restart,
    } = running.reload(&read);
    if let Err(error) = server.reload(&config) {
        tracing::error!("the configuration is not reloaded: {error}");
        return running;
    }
    logging::set_level(config.log_level);
    for key in needs_restart {
        tracing::warn!("a change of {key} needs a restart");
    }
    let changed: Vec<String> = changed.into_iter().collect();
    tracing::info!(changed = changed.join(", "), "configuration reloaded");
    config
}

/// Logs the addresses of the server.
fn log_addresses(config: &Config, server: &Server) {
    let sip: Vec<String> = server.sip_listen.iter().map(ToString::to_string).collect();
    tracing::info!(
        http = %format_args!("{}://{}", server.http_scheme, server.http),
        sip = sip.join(" "),
        store = %config.store.database,
        trunks = config.trunks.len(),
        "greenpin is ready"
    );
    if config.trunks.is_empty() {
        tracing::warn!("no [[trunks]] are configured: every call is refused");
    }
}

/// Stops a server within the time for live calls. A further signal ends the calls, one more ends the process.
async fn stop(
    server: Server,
    drain_timeout: Duration,
    mut terminate: Signal,
    mut interrupt: Signal,
) {
    let calls = server.liveness();
    tracing::info!(
        calls = live_calls(&calls).await,
        timeout = drain_timeout.as_secs(),
        "stopping: no new calls or allocations; waiting for the calls under way"
    );
    systemd::report_stopping();
    let mut signals = 0;
    let stop = server.stop(drain_timeout);
    let start = tokio::time::Instant::now() + DRAIN_REPORT_INTERVAL;
    let mut reports = tokio::time::interval_at(start, DRAIN_REPORT_INTERVAL);
    tokio::pin!(stop);
    while signals < 2 {
        tokio::select! {
            () = &mut stop => break,
            _ = terminate.recv() => signals += 1,
            _ = interrupt.recv() => signals += 1,
            _ = reports.tick() => {
                tracing::info!(calls = live_calls(&calls).await, "waiting for the calls under way");
                continue;
            }
        }
        // The calls end with BYE and their records. One more signal ends the process.
        calls.end_calls();
    }
    tracing::info!("stopped");
}

/// Returns the number of calls in progress.
async fn live_calls(calls: &Handle) -> usize {
    calls.load().await.map_or(0, |load| load.calls)
}

/// Stops a server of which a task has ended: live calls end now, as far as the remaining tasks can end them.
async fn stop_after_failure(server: Server, part: Part) -> ExitCode {
    tracing::error!(task = part.as_str(), "stopping after the end of a task");
    if tokio::time::timeout(FAILURE_TIMEOUT, server.stop(Duration::ZERO))
        .await
        .is_err()
    {
        tracing::error!("stopping took too long; the rest is closed at the next start");
    }
    ExitCode::FAILURE
}
