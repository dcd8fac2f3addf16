//! `greenpin trunk`

use clap::Subcommand;

use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the carriers of the configuration; passwords are not shown
    #[command(after_help = "Example:\n  greenpin trunk list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command, config: &Config) {
    let Command::List { json } = command;
    for trunk in &config.trunks {
        if *json {
            println!("{}", trunk.shown());
            continue;
        }
        let peer = trunk.peer_uri().unwrap_or_else(|| "takes no calls".to_owned());
        println!("{:<16} {peer:<44} from {}", trunk.name, trunk.networks().join(", "));
    }
}
