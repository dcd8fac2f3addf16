//! `greenpin key`

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{CommandError, note, print_line};
use super::progress_bar;
use crate::config::Config;
use crate::store::{Actor, Database, Rotation, RotationStep, Store, Timestamp};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Replace the master key, beside running servers; the same command continues an interrupted rotation
    #[command(
        after_help = "Example:\n  greenpin key rotate\n  greenpin key rotate --distributed\n\nWith PostgreSQL the first call creates the new key beside the old one. Copy it to all nodes, then call with --distributed."
    )]
    Rotate(Rotate),
}

#[derive(Args)]
pub(super) struct Rotate {
    /// With PostgreSQL: the new key file is on all nodes, or there is only this one
    #[arg(long)]
    distributed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks that there is a database: a rotation must not create one.
pub(super) fn check(config: &Config) -> Result<(), CommandError> {
    match &config.store.database {
        Database::File(file) if !file.exists() => {
            Err(format!("{}: there is no database", file.display()).into())
        }
        _ => Ok(()),
    }
}

pub(super) async fn run(
    Command::Rotate(rotate): Command,
    store: Store,
    config: &Config,
) -> Result<(), CommandError> {
    let is_distributed = rotate.distributed || !store.is_shared();
    let bar = progress_bar::bar(None, "{spinner} {human_pos} tenants  {elapsed}");
    let on_step = |step| {
        if let RotationStep::Resealed(tenants) = step {
            bar.set_position(tenants);
        }
    };
    let store = store.operator(Actor::command_line());
    let rotated = store
        .rotate_master_key(is_distributed, Timestamp::now, on_step)
        .await;
    bar.finish_and_clear();
    let rotation = rotated.map_err(|error| {
        format!("{error}; until greenpin key rotate has finished, keep all key files")
    })?;
    print(&rotation, &config.store.key_file, rotate.json)
}

fn print(rotation: &Rotation, key_file: &Path, json: bool) -> Result<(), CommandError> {
    let key_file = key_file.display().to_string();
    if json {
        return print_line(match rotation {
            Rotation::Prepared { next } => json!({ "state": "prepared", "new_key_file": next }),
            Rotation::Finished { tenants } => {
                json!({ "state": "finished", "key_file": key_file, "tenants": tenants })
            }
            Rotation::CleanedUp => json!({ "state": "cleaned_up", "key_file": key_file }),
        });
    }
    match rotation {
        Rotation::Prepared { next } => {
            print_line(format_args!("new key     {}", next.display()))?;
            note(
                "Nothing has changed yet. Copy the new key file beside the key file of every other node, with the same owner and mode.",
            );
            note("Then run greenpin key rotate --distributed.");
        }
        Rotation::Finished { tenants } => {
            print_line(format_args!("key file    {key_file}"))?;
            print_line(format_args!("tenants     {tenants} keys encrypted again"))?;
            note(
                "The old key is destroyed. Back up the new one; backups from before need the old one.",
            );
        }
        Rotation::CleanedUp => {
            print_line(format_args!("key file    {key_file}"))?;
            note("An interrupted rotation is complete now, and its old key is destroyed.");
        }
    }
    Ok(())
}
