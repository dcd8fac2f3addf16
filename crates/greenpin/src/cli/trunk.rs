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
        let shown = trunk.shown();
        if *json {
            println!("{shown}");
            continue;
        }
        let peer = shown["peer"].as_str().unwrap_or("takes no calls");
        let from: Vec<_> =
            shown["accept_from"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
        println!("{:<16} {peer:<44} from {}", trunk.name, from.join(", "));
    }
}
