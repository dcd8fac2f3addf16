//! Diagnosis of an installation: checks the configuration and everything around the server, before its first start or
//! beside it. It changes nothing.
//!
//! Each file holds one subject. Effects collect facts, functions without effects judge them. Every check has a
//! deadline, and independent checks run at the same time.

mod certificates;
mod clock;
mod configuration;
mod deadline;
mod disk;
mod finding;
mod http;
mod limits;
mod ports;
mod public_address;
mod recordings;
mod running_server;
mod socket_owner;
mod store;
mod trunks;
mod webhooks;

use std::path::Path;

use self::finding::Check;
pub(crate) use self::finding::{Finding, Outcome, Report};
use self::running_server::RunningServer;
use crate::config::Config;

/// Facts that several checks need.
struct Context {
    config: Config,
    /// The server on this machine with this configuration, if it runs.
    server: Option<RunningServer>,
}

/// Examines the installation with this configuration file. Runs on threads of its own, because a check that hangs
/// must not delay the end of the command.
///
/// # Errors
///
/// The system grants no thread.
pub(crate) async fn examine(file: Option<&Path>) -> std::io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("doctor")
        .enable_all()
        .build()?;
    let file = file.map(Path::to_owned);
    let examined = runtime.spawn(async move { examine_all(file.as_deref()).await });
    let findings = examined.await.map_err(std::io::Error::other);
    runtime.shutdown_background();
    findings.map(Report::new)
}

async fn examine_all(file: Option<&Path>) -> Vec<Finding> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => return configuration::faults(&error),
    };
    let server = RunningServer::find(&config).await;
    let context = Context { config, server };
    let (configuration, http, ports, trunks, store, recordings) = tokio::join!(
        configuration::examine(&context, file),
        http::examine(&context),
        examine_addresses(&context),
        trunks::examine(&context),
        examine_store(&context),
        recordings::examine(&context),
    );
    let (certificates, disk, clock, limits) = tokio::join!(
        certificates::examine(&context),
        disk::examine(&context),
        clock::examine(),
        limits::examine(&context),
    );
    let mut all: Vec<Finding> = [
        configuration,
        http,
        ports,
        trunks,
        certificates,
        store,
        disk,
        recordings,
        clock,
        limits,
    ]
    .into_iter()
    .flatten()
    .collect();
    all.extend(without_subject(&all));
    all
}

/// Returns a finding for each area in which there is nothing to check, so that every report names all areas.
fn without_subject(findings: &[Finding]) -> Vec<Finding> {
    let is_missing = |check: &&Check| findings.iter().all(|finding| finding.check != **check);
    let missing = Check::ALL.iter().filter(is_missing);
    missing
        .map(|check| Finding::ok(*check, "all", "nothing to check"))
        .collect()
}

/// Examines the ports, then the public address: without a server, it is checked with the sockets that were bound.
async fn examine_addresses(context: &Context) -> Vec<Finding> {
    let (mut findings, sockets) = ports::examine(context).await;
    findings.extend(public_address::examine(context, sockets).await);
    findings
}

/// Examines the store, then the webhook endpoints in it.
async fn examine_store(context: &Context) -> Vec<Finding> {
    let (mut findings, endpoints) = store::examine(context).await;
    findings.extend(webhooks::examine(context, endpoints).await);
    findings
}
