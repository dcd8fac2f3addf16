//! `greenpin node`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{CommandError, note, print_line};
use crate::http::operator::node::NodeDetails;
use crate::store::{Actor, OperatorStore, Store, Timestamp};

/// Interval at which `drain --wait` reads the state of the node.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the nodes on the database: version, calls, last heartbeat
    #[command(
        after_help = "Example:\n  greenpin node list --json\n\nA node that stops is no longer listed; one that fails is listed until its calls are closed."
    )]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop new calls and allocations on a node; live calls continue
    #[command(
        after_help = "Example:\n  greenpin node drain node-1 --wait\n\nThe node follows with its next heartbeat, within a fifth of its node.lease. A restart ends the drain."
    )]
    Drain {
        #[command(flatten)]
        target: ByName,
        /// Return once the node has no calls left
        #[arg(long)]
        wait: bool,
    },
    /// Accept new calls and allocations on a node again
    #[command(after_help = "Example:\n  greenpin node undrain node-1")]
    Undrain(ByName),
}

#[derive(Args)]
pub(super) struct ByName {
    /// The name of the node: its node.name
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), CommandError> {
    let store = store.operator(Actor::command_line());
    match command {
        Command::List { json } => {
            let nodes = store.nodes().await.map_err(|error| error.to_string())?;
            for row in nodes {
                print(&row.into(), json)?;
            }
            Ok(())
        }
        Command::Drain { target, wait } => drain(&store, &target, wait).await,
        Command::Undrain(target) => {
            want_drain(&store, &target.name, false).await?;
            print(&find(&store, &target.name).await?, target.json)
        }
    }
}

async fn drain(store: &OperatorStore, target: &ByName, wait: bool) -> Result<(), CommandError> {
    want_drain(store, &target.name, true).await?;
    let mut node = find(store, &target.name).await?;
    let mut reported = None;
    while wait && !(node.draining && node.calls == 0) {
        if reported != Some(node.calls) {
            note(format_args!("{}: {} calls left", node.name, node.calls));
            reported = Some(node.calls);
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
        node = find(store, &target.name).await?;
    }
    print(&node, target.json)
}

async fn want_drain(store: &OperatorStore, name: &str, wanted: bool) -> Result<(), CommandError> {
    let written = store.want_drain(name, wanted, Timestamp::now()).await;
    let is_known = written.map_err(|error| format!("node {name}: {error}"))?;
    is_known.then_some(()).ok_or_else(|| unknown(name))
}

async fn find(store: &OperatorStore, name: &str) -> Result<NodeDetails, CommandError> {
    let nodes = store.nodes().await;
    let nodes = nodes.map_err(|error| format!("node {name}: {error}"))?;
    let node = nodes.into_iter().find(|node| node.node == name);
    node.map(NodeDetails::from).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> CommandError {
    format!("node {name}: no running node has this name; see `greenpin node list`").into()
}

fn print(node: &NodeDetails, json: bool) -> Result<(), CommandError> {
    if json {
        return print_line(json!(node));
    }
    let state = if node.draining { "draining" } else { "serving" };
    print_line(format_args!(
        "{:<24} {:<8} {:>5} calls  {state:<8}  last heartbeat {}",
        node.name, node.version, node.calls, node.last_heartbeat
    ))
}
