//! `greenpin trunk`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{CommandError, print_line};
use crate::cli::local_client;
use crate::config::trunk::{networks, peer_uri};
use crate::config::{Config, Trunk};
use crate::crypto::pinned_certificate;
use crate::http::operator::trunks::TrunkDetails;

/// Time limit for the server's answer about its trunks.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the configured carriers and their state; passwords are not shown
    #[command(
        long_about = "List the carriers of the configuration; passwords are not shown. How they are is asked of the \
                      server that runs with the same configuration, where http.operator_token opens its operator API; \
                      a dash: not known.",
        after_help = "Example:\n  greenpin trunk list --json"
    )]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: &Command, config: &Config) -> Result<(), CommandError> {
    let Command::List { json } = command;
    let served = served(config).await.unwrap_or_default();
    for trunk in &config.trunks {
        let known = served
            .iter()
            .find(|served| served["name"] == trunk.name.as_str());
        match (json, known) {
            (true, Some(known)) => print_line(known)?,
            (true, None) => print_line(json!(TrunkDetails::new(trunk, None)))?,
            (false, known) => print_line(line(trunk, known))?,
        }
    }
    Ok(())
}

fn line(trunk: &Trunk, known: Option<&Value>) -> String {
    let peer = peer_uri(trunk).unwrap_or_else(|| "takes no calls".to_owned());
    let state = known
        .and_then(|known| known["state"].as_str())
        .unwrap_or("-");
    let registered = match known.and_then(|known| known["registered"].as_bool()) {
        Some(true) => "registered",
        Some(false) => "not registered",
        None => "-",
    };
    let from = networks(&trunk.sip.accept_from).join(", ");
    format!(
        "{:<16} {peer:<44} {state:<5} {registered:<14} from {from}",
        trunk.name
    )
}

/// Requests the trunks from the running server; `None`: it does not respond.
async fn served(config: &Config) -> Option<Vec<Value>> {
    let token = config.http.operator_token.as_ref()?;
    let (scheme, client) = match &config.http.identity {
        // The names in the certificate are those of the public address.
        Some(identity) => {
            let tls = pinned_certificate::client(&identity.certificate).ok()?;
            (
                "https",
                reqwest::Client::builder()
                    .no_proxy()
                    .tls_backend_preconfigured(tls),
            )
        }
        None => ("http", local_client::builder()),
    };
    let url = format!("{scheme}://{}/v1/admin/trunks", local(config.http.listen));
    let client = client.timeout(TIMEOUT).build().ok()?;
    let answer = client
        .get(url)
        .bearer_auth(token.expose())
        .send()
        .await
        .ok()?
        .error_for_status()
        .ok()?;
    let body: Value = answer.json().await.ok()?;
    body.get("response")?.as_array().cloned()
}

/// Returns the address of a server on this machine; an unspecified listen address becomes loopback.
fn local(listen: SocketAddr) -> SocketAddr {
    match listen.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()),
        false => listen,
    }
}
