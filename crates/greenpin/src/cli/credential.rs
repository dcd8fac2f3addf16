//! `greenpin tenant credential`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::arguments::{account_sid, tenant_id};
use super::output::{CommandError, note, print_line};
use crate::store::{CreatedCredential, NewCredential, OperatorStore, TenantId, Timestamp};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List a tenant's credentials with the time of their last use
    #[command(after_help = "Example:\n  greenpin tenant credential list acme --json")]
    List {
        /// The tenant's name
        #[arg(value_name = "NAME", value_parser = tenant_id)]
        tenant: TenantId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a further credential; its token is printed once
    #[command(
        after_help = "Example:\n  greenpin tenant credential create acme --label 'second shop'"
    )]
    Create(Create),
    /// Replace a credential by a new one
    #[command(
        after_help = "Example:\n  greenpin tenant credential rotate acme AC0001 --overlap 86400\n\nThe old one lives for the overlap; without --overlap until it is revoked."
    )]
    Rotate(Rotate),
    /// Revoke a credential
    #[command(after_help = "Example:\n  greenpin tenant credential revoke acme AC0001")]
    Revoke(Revoke),
}

#[derive(Args)]
pub(super) struct Create {
    /// The tenant's name
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    #[command(flatten)]
    new: New,
}

#[derive(Args)]
pub(super) struct Rotate {
    /// The tenant's name
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// The credential to replace
    #[arg(value_name = "SID", value_parser = account_sid)]
    old: String,
    /// Seconds for which the old credential stays live, at most 7776000 (90 days) [default: until
    /// it is revoked]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=7_776_000))]
    overlap: Option<u64>,
    #[command(flatten)]
    new: New,
}

#[derive(Args)]
struct New {
    /// The user name of the new credential [default: drawn at random]
    #[arg(long, value_name = "SID", value_parser = account_sid)]
    account_sid: Option<String>,
    /// Its purpose, at most 100 characters
    #[arg(long, value_name = "TEXT", value_parser = label)]
    label: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The tenant's name
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// The credential
    #[arg(value_name = "SID", value_parser = account_sid)]
    account_sid: String,
}

pub(super) async fn run(command: Command, store: &OperatorStore) -> Result<(), CommandError> {
    let now = Timestamp::now();
    match command {
        Command::List { tenant, json } => list(&tenant, json, store, now).await,
        Command::Create(Create { tenant, new }) => {
            let json = new.json;
            let made = store
                .create_credential(&tenant, new.credential(), now)
                .await;
            let made = made.map_err(|error| format!("tenant {tenant}: {error}"))?;
            print(&made, json)
        }
        Command::Rotate(Rotate {
            tenant,
            old,
            overlap,
            new,
        }) => {
            let (json, overlap) = (new.json, overlap.map(Duration::from_secs));
            let made = store
                .rotate_credential(&tenant, &old, new.credential(), overlap, now)
                .await;
            let made = made.map_err(|error| format!("credential {old}: {error}"))?;
            print(&made, json)
        }
        Command::Revoke(Revoke {
            tenant,
            account_sid,
        }) => {
            let revoked = store.revoke_credential(&tenant, &account_sid, now).await;
            revoked.map_err(|error| format!("credential {account_sid}: {error}"))?;
            print_line(format_args!("revoked {account_sid}"))
        }
    }
}

impl New {
    fn credential(self) -> NewCredential {
        NewCredential {
            account_sid: self.account_sid,
            label: self.label,
        }
    }
}

/// Prints a new credential. Its token is lost if that fails.
fn print(made: &CreatedCredential, json: bool) -> Result<(), CommandError> {
    let (sid, token) = (&made.account_sid, &made.token);
    let printed = if json {
        print_line(json!({ "account_sid": sid, "token": token }))
    } else {
        print_line(format_args!("account SID  {sid}\ntoken        {token}"))
    };
    printed.map_err(|error| {
        error.into_failure(format_args!(
            "credential {sid} was created and its token is lost: revoke it and create another"
        ))
    })?;
    if !json {
        note("Keep the token: it is not shown again.");
    }
    Ok(())
}

async fn list(
    tenant: &TenantId,
    json: bool,
    store: &OperatorStore,
    now: Timestamp,
) -> Result<(), CommandError> {
    let found = store
        .credentials(tenant)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("tenant {tenant}: there is no such tenant"))?;
    let zone = jiff::tz::TimeZone::UTC;
    let time = |moment: Option<Timestamp>| moment.map(|moment| moment.rfc3339(&zone));
    for one in found {
        if json {
            let line = json!({
                "account_sid": one.account_sid,
                "label": one.label,
                "live": one.is_live(now),
                "created_at": time(Some(one.created_at)),
                "last_used_at": time(one.last_used_at),
                "revoked_at": time(one.revoked_at),
            });
            print_line(line)?;
            continue;
        }
        let used = time(one.last_used_at).unwrap_or_else(|| "never".to_owned());
        let until = time(one.revoked_at)
            .map(|moment| format!("  revoked from {moment}"))
            .unwrap_or_default();
        print_line(format_args!(
            "{:<34} last used {used}{until}  {}",
            one.account_sid,
            one.label.as_deref().unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn label(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= 100 && !text.contains('\0');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must have at most 100 characters".to_owned())
    }
}
