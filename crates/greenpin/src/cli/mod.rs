//! The command line.

mod allocation;
mod arguments;
mod audio_probe;
mod backup;
mod bench;
mod call;
mod call_result;
mod calls;
mod credential;
mod demo;
mod doctor;
mod events;
mod key;
mod logging;
mod node;
mod number;
mod number_import;
mod output;
mod phone;
mod progress_bar;
mod request_options;
mod serve;
mod store;
mod systemd;
mod tenant;
mod trace;
mod trunk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::logging::Log;
use self::output::{CommandError, exit_code, fail, fail_configuration, fail_without_log};
use crate::config::Config;
use crate::store::Store;

/// Masked calls that you run yourself: a virtual number, a PIN, and neither party sees the other's number.
#[derive(Parser)]
#[command(
    name = "greenpin",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args)]
struct Common {
    /// The configuration file [default: ./greenpin.toml if it exists, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM; SIGHUP reloads its certificates
    #[command(after_help = "Example:\n  greenpin serve --config greenpin.toml")]
    Serve,
    /// Show one masked call from start to end, on this machine alone
    #[command(after_help = "Example:\n  greenpin demo\n  greenpin demo --keep")]
    Demo(demo::Arguments),
    /// Make a test call to a virtual number
    #[command(
        after_help = "Example:\n  greenpin call +914000000001 --from +918800000001 --pin 4821 --record call.wav"
    )]
    Call(call::Arguments),
    /// Answer calls with an echo, a tone or a file, as the other party of a trial
    #[command(after_help = "Example:\n  greenpin phone --listen udp:127.0.0.1:5070 --tone 440")]
    Phone(phone::Arguments),
    /// Check the configuration and everything around the server, and name remedies
    #[command(
        after_help = "Example:\n  greenpin doctor\n  greenpin doctor --json | jq '.checks[] | select(.result != \"ok\")'\n\nWorks before the first start and beside a running server, and changes nothing. Exit code 1: at least one fault."
    )]
    Doctor(doctor::Arguments),
    /// Measure this machine: creates, PIN calls, bridged audio, on a server in its own process
    #[command(after_help = "Example:\n  greenpin bench --only calls --rate 300 --seconds 60")]
    Bench(bench::Arguments),
    /// Print the OpenAPI document of the HTTP API
    #[command(after_help = "Example:\n  greenpin openapi > openapi.json")]
    Openapi,
    /// The bare server that `bench` compares creates with
    #[command(hide = true)]
    BenchBaseline {
        /// A PostgreSQL database instead of an SQLite file
        database: Option<String>,
    },
    /// Create, list, suspend and erase tenants; manage their credentials
    #[command(subcommand, arg_required_else_help = true)]
    Tenant(tenant::Command),
    /// Add, import, list, change and remove virtual numbers
    #[command(subcommand, arg_required_else_help = true)]
    Number(number::Command),
    /// List the carriers of the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Trunk(trunk::Command),
    /// List and drain the nodes on the database
    #[command(subcommand, arg_required_else_help = true)]
    Node(node::Command),
    /// Create, list, show and delete a tenant's allocations
    #[command(subcommand, arg_required_else_help = true)]
    Allocation(allocation::Command),
    /// List and show ended calls of all tenants
    #[command(subcommand, arg_required_else_help = true)]
    Calls(calls::Command),
    /// Print the SIP messages, decisions and events of a call as a ladder
    #[command(
        after_help = "Example:\n  greenpin trace call_06f2n7c8sd3k2q9w4m1x5z0ba7\n  greenpin trace call_06f2n7c8sd3k2q9w4m1x5z0ba7 --pcap call.pcap"
    )]
    Trace(trace::Arguments),
    /// Follow the event log
    #[command(subcommand, arg_required_else_help = true)]
    Events(events::Command),
    /// Copy the store into a folder, also while the server runs
    #[command(
        after_help = "Example:\n  greenpin backup backups/monday\n  greenpin backup backups/tuesday --recordings --json\n\nThe backup holds the database, an index of the recordings and a check of the master key, not the key itself."
    )]
    Backup(backup::BackupArguments),
    /// Put a backup in place, with the server stopped
    #[command(
        after_help = "Example:\n  greenpin restore backups/monday\n  greenpin restore backups/monday --hold-webhooks\n\nChecks all checksums first. Needs the master key of the backup in store.encryption_key_file."
    )]
    Restore(backup::RestoreArguments),
    /// Move the store to another database
    #[command(subcommand, arg_required_else_help = true)]
    Store(store::Command),
    /// Replace the master key
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Command),
    /// Print the completion script of a shell
    #[command(
        after_help = "Example:\n  greenpin completions bash > /etc/bash_completion.d/greenpin"
    )]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Returns the definition of the command line: commands, arguments and options.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the command of the arguments. Exit code 0: done; 1: failed; 2: misuse.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Dropped last, after the runtime.
    let _log = match Log::start() {
        Ok(log) => log,
        Err(error) => return fail_without_log(error),
    };
    // The server logs its activity; the other commands print their own output and log only
    // warnings.
    let level = match cli.command {
        Command::Serve | Command::BenchBaseline { .. } => "info",
        // Its findings say more than warnings of the parts that it tries.
        Command::Doctor(_) => "error",
        _ => "warn",
    };
    if let Err(error) = logging::log_events(level) {
        return fail(error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> ExitCode {
    // These commands need no configuration.
    match cli.command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Phone(arguments) => phone::run(arguments).await,
        Command::BenchBaseline { database } => bench::serve_baseline(database).await,
        Command::Doctor(arguments) => doctor::run(arguments, cli.common.config.as_deref()).await,
        Command::Openapi => exit_code(output::print(crate::http::openapi())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "greenpin", &mut script);
            exit_code(output::print(String::from_utf8_lossy(&script)))
        }
        command => run_configured(command, cli.common.config.as_deref()).await,
    }
}

async fn run_configured(command: Command, file: Option<&Path>) -> ExitCode {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => return fail_configuration(&error),
    };
    match command {
        Command::Serve => serve::run(config, file).await,
        Command::Call(arguments) => call::run(arguments, &config).await,
        Command::Tenant(command) => {
            with_store(&config, |store| tenant::run(command, store, &config)).await
        }
        Command::Number(command) => with_store(&config, |store| number::run(command, store)).await,
        Command::Node(command) => with_store(&config, |store| node::run(command, store)).await,
        Command::Allocation(command) => {
            with_store(&config, |store| allocation::run(command, store)).await
        }
        Command::Calls(command) => with_store(&config, |store| calls::run(command, store)).await,
        Command::Trace(arguments) => {
            with_store(&config, |store| trace::run(arguments, store)).await
        }
        Command::Events(command) => with_store(&config, |store| events::run(command, store)).await,
        Command::Backup(arguments) => exit_code(backup::make(&arguments, &config)),
        Command::Restore(arguments) => exit_code(backup::restore(&arguments, &config)),
        Command::Key(command) => match key::check(&config) {
            Ok(()) => with_store(&config, |store| key::run(command, store, &config)).await,
            Err(error) => exit_code(Err(error)),
        },
        Command::Store(command) => {
            let moved = tokio::task::spawn_blocking(move || store::run(command, &config)).await;
            exit_code(moved.unwrap_or_else(|error| Err(error.to_string().into())))
        }
        Command::Trunk(command) => exit_code(trunk::run(&command, &config).await),
        Command::Demo(_)
        | Command::Phone(_)
        | Command::Doctor(_)
        | Command::Bench(_)
        | Command::BenchBaseline { .. }
        | Command::Openapi
        | Command::Completions { .. } => ExitCode::FAILURE,
    }
}

/// Runs a command on the store itself. It works whether or not the server runs.
async fn with_store<R: Future<Output = Result<(), CommandError>>>(
    config: &Config,
    command: impl FnOnce(Store) -> R,
) -> ExitCode {
    let store = match crate::server::open_store(config, "") {
        Ok(store) => store,
        Err(error) => return fail(error),
    };
    exit_code(command(store).await)
}
