//! `greenpin store`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{CommandError, note, print_line};
use super::progress_bar::bar;
use crate::config::Config;
use crate::server::DatabaseLock;
use crate::store::{Database, StoreMove, TableToMove, plan_move};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Copy an SQLite database into an empty PostgreSQL database, with the server stopped
    #[command(
        after_help = "Example:\n  greenpin store move --from sqlite:data/greenpin.db --to postgres://greenpin@db.example.net/greenpin --dry-run\n\nThe source stays as it is. After an interruption the same command continues. Keep the master key file."
    )]
    Move(MoveArguments),
}

#[derive(Args)]
pub(super) struct MoveArguments {
    /// The database to copy: sqlite:FILE
    #[arg(long, value_name = "URL", value_parser = source)]
    from: PathBuf,
    /// The empty database: postgres://USER:PASSWORD@HOST/DATABASE [default: store.url of the configuration]
    #[arg(long, value_name = "URL", value_parser = target)]
    to: Option<Server>,
    /// Check both databases and print the rows of each table; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Address of a PostgreSQL server.
#[derive(Clone)]
struct Server(Box<tokio_postgres::Config>);

fn source(text: &str) -> Result<PathBuf, String> {
    match Config::database(text)? {
        Database::File(file) => Ok(file),
        Database::Server(_) => Err("must be an SQLite database: sqlite:FILE".to_owned()),
    }
}

fn target(text: &str) -> Result<Server, String> {
    match Config::database(text)? {
        Database::Server(server) => Ok(Server(server)),
        Database::File(_) => Err("must be a PostgreSQL database: postgres://…".to_owned()),
    }
}

/// Runs the command. Blocks.
pub(super) fn run(command: Command, config: &Config) -> Result<(), CommandError> {
    let Command::Move(arguments) = command;
    let server = match (&arguments.to, &config.store.database) {
        (Some(Server(server)), _) | (None, Database::Server(server)) => server,
        (None, Database::File(_)) => {
            return Err(
                "--to is missing, and store.url names no PostgreSQL database"
                    .to_owned()
                    .into(),
            );
        }
    };
    let source = Database::File(arguments.from.clone());
    // Refuses while a server uses the source.
    let lock = match arguments.from.exists() {
        true => DatabaseLock::acquire(&source).map_err(|error| error.to_string())?,
        false => None,
    };
    let ca = config.store.tls_ca.as_deref();
    let tables = match arguments.dry_run {
        true => plan_move(&arguments.from, server, ca).map_err(|error| error.to_string())?,
        false => copy(&arguments, server, config)?,
    };
    drop(lock);
    print(&arguments, &tables)
}

/// Copies the tables and returns them.
fn copy(
    arguments: &MoveArguments,
    server: &tokio_postgres::Config,
    config: &Config,
) -> Result<Vec<TableToMove>, CommandError> {
    let ca = config.store.tls_ca.as_deref();
    let begun = StoreMove::begin(&arguments.from, server, ca).map_err(|error| error.to_string())?;
    let tables = begun.tables().to_vec();
    let total = tables.iter().map(|table| table.rows).sum();
    let bar = bar(Some(total), "{msg:18} {bar:40} {pos}/{len} rows  {elapsed}");
    let mut before = 0;
    for table in &tables {
        bar.set_message(table.name);
        bar.set_position(before);
        if !table.is_copied {
            let mut progress = |rows| bar.set_position(before + rows);
            let copied = begun.copy(table, &mut progress);
            copied.map_err(|error| error.to_string())?;
        }
        before += table.rows;
    }
    bar.finish_and_clear();
    begun.finish().map_err(|error| error.to_string())?;
    Ok(tables)
}

fn print(arguments: &MoveArguments, tables: &[TableToMove]) -> Result<(), CommandError> {
    if arguments.json {
        let tables: serde_json::Map<_, _> = tables
            .iter()
            .map(|table| (table.name.to_owned(), json!(table.rows)))
            .collect();
        return print_line(json!({ "dry_run": arguments.dry_run, "rows": tables }));
    }
    for table in tables {
        print_line(format_args!("{:<18} {:>12}", table.name, table.rows))?;
    }
    if arguments.dry_run {
        note("Dry run: nothing was copied.");
        return Ok(());
    }
    note(
        "All rows are copied and counted. Next: set store.url to the new database, keep store.encryption_key_file,",
    );
    note(
        "and give the first node the node.name of the old server (default: local), so that it closes and uploads what that left.",
    );
    Ok(())
}
