//! The configuration, and the files that it names for the start.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::Context;
use super::deadline::{blocking, no_answer};
use super::finding::{Check, Finding};
use crate::calls::media::Prompts;
use crate::config::{Config, ConfigError, DEFAULT_FILE, Fault};
use crate::crypto::private_folder;
use crate::store::Database;

/// Mode bits that let others read a file.
const READ_BY_OTHERS: u32 = 0o004;

/// Returns the findings of a configuration with faults. Nothing else can be checked without it.
pub(super) fn faults(error: &ConfigError) -> Vec<Finding> {
    let of_fault = |Fault { origin, message }: Fault| {
        let subject = match origin.is_empty() {
            true => "configuration".to_owned(),
            false => origin,
        };
        let remedy = "correct it; docs/reference/configuration.md describes each key";
        Finding::fault(Check::Configuration, subject, message, remedy)
    };
    let others = Check::ALL
        .iter()
        .filter(|check| **check != Check::Configuration);
    let skipped = others.map(|check| {
        let remedy = "correct the configuration, then run this command again";
        Finding::not_checked(*check, "all", "the configuration has faults", remedy)
    });
    error
        .faults()
        .into_iter()
        .map(of_fault)
        .chain(skipped)
        .collect()
}

/// Examines a configuration without faults.
pub(super) async fn examine(context: &Context, file: Option<&Path>) -> Vec<Finding> {
    let default = Path::new(DEFAULT_FILE);
    let file = file.or_else(|| default.exists().then_some(default));
    let mut findings = vec![of_file(&context.config, file)];
    findings.extend(of_user(context));
    if let Some(folder) = context.config.media.prompts.clone() {
        findings.push(of_prompts(&folder).await);
    }
    findings
}

fn of_file(config: &Config, file: Option<&Path>) -> Finding {
    let Some(file) = file else {
        let reason =
            format!("no {DEFAULT_FILE} in this folder: built-in defaults, and the environment");
        return Finding::ok(Check::Configuration, "defaults", reason);
    };
    let subject = file.display().to_string();
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & READ_BY_OTHERS != 0 && has_secrets(config) {
        return Finding::warning(
            Check::Configuration,
            &subject,
            format!(
                "valid, but every user can read its secrets (mode {:04o})",
                mode & 0o777
            ),
            format!(
                "run chmod 640 {subject}, with the group of the server, or put the secrets into its environment"
            ),
        );
    }
    Finding::ok(Check::Configuration, subject, "valid")
}

/// Returns `true` for a configuration with passwords or tokens.
fn has_secrets(config: &Config) -> bool {
    let has_password = match &config.store.database {
        Database::Server(server) => server.get_password().is_some(),
        Database::File(_) => false,
    };
    let bucket = config.recordings.bucket.as_ref();
    has_password
        || config.http.operator_token.is_some()
        || bucket.is_some_and(|bucket| bucket.secret_access_key.is_some())
        || config
            .trunks
            .iter()
            .any(|trunk| trunk.sip.credentials.is_some() || trunk.sip.accept_credentials.is_some())
}

/// Warns if the server runs as another user: permissions are then those of this user.
fn of_user(context: &Context) -> Option<Finding> {
    let own = fs::metadata("/proc/self").ok()?.uid();
    let process = context.server.as_ref().and_then(|server| server.pid);
    let (subject, owner) = match (process, &context.config.store.database) {
        (Some(pid), _) => {
            let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
            (format!("the server (pid {pid})"), owner)
        }
        (None, Database::File(file)) => {
            // A private folder hides its files from other users.
            let folder = || private_folder::of(file);
            let found = fs::metadata(file).or_else(|_| fs::metadata(folder()));
            (file.display().to_string(), found.ok()?.uid())
        }
        (None, Database::Server(_)) => return None,
    };
    (own != owner).then(|| {
        Finding::warning(
            Check::Configuration,
            "user",
            format!("{subject} belongs to user {owner}, this command runs as user {own}: permissions are those of user {own}"),
            "run this command as the user of the server, such as sudo -u greenpin greenpin doctor",
        )
    })
}

async fn of_prompts(folder: &Path) -> Finding {
    let subject = "media.prompts";
    let owned = folder.to_owned();
    let remedy = "correct the file, or remove media.prompts: the server does not start with it";
    match blocking(move || Prompts::from_folder(&owned)).await {
        Some(Ok(prompts)) => {
            let languages = prompts.languages().len();
            let reason = format!("{}: {languages} languages", folder.display());
            Finding::ok(Check::Configuration, subject, reason)
        }
        Some(Err(error)) => {
            Finding::fault(Check::Configuration, subject, error.to_string(), remedy)
        }
        None => Finding::fault(Check::Configuration, subject, no_answer(), remedy),
    }
}
