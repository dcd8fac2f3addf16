//! `greenpin backup` and `greenpin restore`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output::{CommandError, note, print_line};
use super::progress_bar::CopyBar;
use crate::backup::{self, BackupSource, Manifest, RestoreTarget, VerifiedBackup};
use crate::config::Config;
use crate::server::DatabaseLock;
use crate::store::{Database, Timestamp};

/// Guide on backups.
const GUIDE: &str = "docs/guides/backup.md";

#[derive(Args)]
pub(super) struct BackupArguments {
    /// The folder of the backup; it must not exist, or be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Copy the files of the recordings as well, not only their names, sizes and checksums
    #[arg(long)]
    recordings: bool,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RestoreArguments {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Pause all webhook endpoints, so that waiting events are not sent until each is resumed
    #[arg(long)]
    hold_webhooks: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn make(arguments: &BackupArguments, config: &Config) -> Result<(), CommandError> {
    let source = BackupSource {
        database: database_file(config)?.to_owned(),
        key_file: config.store.key_file.clone(),
        recordings: config.recordings.folder.clone(),
        copies_recordings: arguments.recordings,
    };
    let bar = CopyBar::new();
    let mut show = |progress| bar.show(progress);
    let made = backup::create(&source, &arguments.folder, Timestamp::now(), &mut show);
    drop(bar);
    let manifest = made.map_err(|error| error.to_string())?;
    if arguments.json {
        return print_line(json!(manifest));
    }
    print_line(format_args!("backup      {}", arguments.folder.display()))?;
    print_manifest(&manifest)?;
    note(format_args!(
        "The master key is not in the backup: keep a copy of {} apart from it.",
        config.store.key_file.display()
    ));
    Ok(())
}

fn print_manifest(manifest: &Manifest) -> Result<(), CommandError> {
    print_line(format_args!("made        {}", manifest.created_at))?;
    print_line(format_args!(
        "database    {} bytes, schema version {}",
        manifest.database.bytes, manifest.schema_version
    ))?;
    let recordings = &manifest.recordings;
    let content = if recordings.copied {
        "copied"
    } else {
        "listed, not copied"
    };
    print_line(format_args!(
        "recordings  {} of {} files, {} bytes, {content}",
        recordings.files, recordings.count, recordings.bytes
    ))
}

pub(super) fn restore(arguments: &RestoreArguments, config: &Config) -> Result<(), CommandError> {
    let target = RestoreTarget {
        database: database_file(config)?.to_owned(),
        key_file: config.store.key_file.clone(),
        recordings: config.recordings.folder.clone(),
    };
    let bar = CopyBar::new();
    let mut show = |progress| bar.show(progress);
    let lock = DatabaseLock::acquire(&config.store.database).map_err(|error| error.to_string())?;
    let backup = VerifiedBackup::open(&arguments.folder, &target.key_file, &mut show)
        .map_err(|error| error.to_string())?;
    let restored = backup.restore(&target, arguments.hold_webhooks, &mut show);
    drop((lock, bar));
    restored.map_err(|error| error.to_string())?;
    let manifest = backup.manifest();
    let webhooks = if arguments.hold_webhooks {
        "paused"
    } else {
        "active"
    };
    if arguments.json {
        return print_line(json!({
            "database": target.database,
            "created_at": manifest.created_at,
            "schema_version": manifest.schema_version,
            "recordings": manifest.recordings,
            "webhooks": webhooks,
        }));
    }
    print_line(format_args!("restored    {}", target.database.display()))?;
    print_manifest(manifest)?;
    print_line(format_args!("webhooks    {webhooks}"))?;
    print_next_steps(arguments.hold_webhooks);
    Ok(())
}

fn print_next_steps(holds_webhooks: bool) {
    note(
        "Next: start the server. It closes the records of calls that were open at the time of the backup.",
    );
    note(if holds_webhooks {
        "Waiting webhooks stay waiting until a tenant resumes its endpoint: PUT /settings with \"paused\": false."
    } else {
        "It sends the webhooks that were waiting at the time of the backup; receivers may know some of them."
    });
    note(
        "Everything after the backup is lost: allocations, calls, PIN attempts, and erasures, which must be repeated.",
    );
}

fn database_file(config: &Config) -> Result<&Path, String> {
    match &config.store.database {
        Database::File(file) => Ok(file),
        Database::Server(_) => Err(format!(
            "store.url names a PostgreSQL database: use pg_dump and pg_restore, or pg_basebackup for a point in time, and copy the key file and the recordings; see {GUIDE}"
        )),
    }
}
