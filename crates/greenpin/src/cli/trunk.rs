//! `greenpin trunk`

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{CommandError, print_line};
use crate::config::trunk::{networks, peer_uri};
use crate::config::{Config, Trunk};
use crate::http::operator::trunks::TrunkDetails;
use crate::server::local_client::LocalServer;

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
    let server = LocalServer::new(&config.http, TIMEOUT)?;
    let body = server.operator_get("/v1/admin/trunks").await?;
    body.get("response")?.as_array().cloned()
}
